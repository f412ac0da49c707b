//! `menshen simulate scanner`.

use std::path::PathBuf;
use std::process::ExitCode;

use menshen::simulate::scanner::{Fault, Manner, Scanner};
use menshen::{Context, Error, Kind, Result};
use tokio::io::AsyncBufReadExt as _;

use crate::cli::say;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Also have its port here, under a name that stays when it is unplugged and plugged in again
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
}

const HELP: &str = "\
scan TEXT              holds a code before it
manner END CHARSET     how it sends: cr, lf, crlf or pause; utf-8 or gbk
fault NAME             the next code goes wrong: stray, half (and unplugged), thrice, garbled
unplug                 pulls it out
plug                   plugs it in again
quit                   ends";

/// Runs it on orders from the standard input until it is told to end.
pub(super) async fn scanner(args: &Args) -> Result<ExitCode> {
    let scanner = Scanner::start(args.link.as_deref())?;
    say_where(&scanner)?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context(|| "the signal SIGTERM cannot be listened to")?;
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut listening = true;
    loop {
        tokio::select! {
            line = lines.next_line(), if listening => match line {
                Ok(Some(line)) => match order(&scanner, &line) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => eprintln!("menshen: {error}"),
                },
                // Without a terminal to type at, it goes on.
                Ok(None) | Err(_) => listening = false,
            },
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn say_where(scanner: &Scanner) -> Result<()> {
    say(format_args!("the scanner is at {}", scanner.path().unwrap_or_default().display()))
}

/// Carries out a line of the standard input; whether to go on.
fn order(scanner: &Scanner, line: &str) -> Result<bool> {
    let usage = || Error::new(Kind::Input, format!("{line:?} is no order; these are:\n{HELP}"));
    let line = line.trim();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match (word, rest.trim()) {
        ("", _) => {}
        ("help", "") => say(HELP)?,
        ("quit" | "exit", "") => return Ok(false),
        ("scan", text) if !text.is_empty() => scanner.scan(text)?,
        ("fault", name) => scanner.fault(name.parse::<Fault>()?),
        ("manner", manner) => {
            let (end, charset) = manner.split_once(' ').ok_or_else(usage)?;
            let end = match end {
                "cr" => "\r",
                "lf" => "\n",
                "crlf" => "\r\n",
                "pause" => "",
                _ => return Err(usage()),
            };
            let gbk = match charset.trim() {
                "gbk" => true,
                "utf-8" => false,
                _ => return Err(usage()),
            };
            scanner.manner(Manner { end, gbk });
        }
        ("unplug", "") => scanner.unplug(),
        ("plug", "") => {
            scanner.plug_in()?;
            say_where(scanner)?;
        }
        _ => return Err(usage()),
    }
    Ok(true)
}
