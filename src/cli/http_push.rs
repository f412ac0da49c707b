//! `menshen simulate http-push`: a server that records are pushed to.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use menshen::simulate::http_push::Receiver;
use menshen::simulate::qyzn::Entry;
use menshen::{Context, Error, Kind, Result};
use serde_json::json;

use super::say;

/// What it is told.
#[derive(clap::Args)]
pub struct Args {
    /// Where gates connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// The gate's `appSecret`; without it signatures are not looked at
    #[arg(long, value_name = "TEXT")]
    secret: Option<String>,
    /// What it answers
    #[arg(long, value_name = "CODE", default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..600))]
    status: u16,
    /// Print everything as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Speak TLS with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

/// Runs it until Ctrl-C or SIGTERM.
pub async fn run(args: &Args) -> Result<ExitCode> {
    let secure = match (&args.tls_certificate, &args.tls_key) {
        (Some(certificate), Some(key)) => Some(menshen::tls::server(certificate, key)?),
        _ => None,
    };
    let receiver = Receiver::new(args.secret.clone());
    let status = hyper::StatusCode::from_u16(args.status)
        .map_err(|error| Error::caused(Kind::Input, "this is no status of HTTP", error))?;
    receiver.answer_with(status, None);
    let address = receiver.listen(args.listen, secure).await?;
    if args.json {
        say(json!({ "event": "listening", "address": address }))?;
    } else {
        say(format_args!("the HTTP push server listens on {address}"))?;
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context(|| "the signal SIGTERM cannot be listened to")?;
    let mut next = 0;
    loop {
        for entry in receiver.journal().from(next) {
            next = entry.number + 1;
            if args.json {
                let line = serde_json::to_string(&*entry)
                    .map_err(|error| Error::caused(Kind::Io, "an entry cannot be written", error))?;
                say(line)?;
            } else {
                say(words(&entry))?;
            }
        }
        let never = Duration::from_secs(365 * 24 * 3600);
        tokio::select! {
            _ = receiver.journal().wait_for(next, never, |_| true) => {}
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    receiver.stop();
    let violations = receiver.violations().len();
    if !args.json {
        say(format_args!("{violations} violations"))?;
    }
    Ok(if violations > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn words(entry: &Entry) -> String {
    let number = |key: &str| entry.int(key).unwrap_or_default();
    match entry.event {
        "record" => format!(
            "record {} {} score {} result {} {} at {} picture {} bytes{}",
            entry.text("recordId"),
            entry.text("fullName"),
            number("score"),
            number("result"),
            if entry.flag("opened") { "opened" } else { "shut" },
            entry.text("snaptime"),
            number("snapPic_bytes"),
            if entry.flag("resent") { " (sent again)" } else { "" },
        ),
        "heartbeat" => format!("heartbeat of {}, {} records wait", entry.serial, number("waiting")),
        "violation" => format!("VIOLATION by {}: {}", entry.serial, entry.text("what")),
        "tls_failed" => format!("a gate could not begin TLS: {}", entry.text("reason")),
        other => other.to_owned(),
    }
}
