//! `menshen simulate terminal-ws`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;

use menshen::simulate::script::Script;
use menshen::simulate::terminal_ws::script::image;
use menshen::simulate::terminal_ws::{Misbehave, Options, Platform};
use menshen::simulate::{Entry, Simulated as _};
use menshen::{Error, Kind, Result};
use serde_json::{Value, json};
use tokio::time::Duration;

use super::{Common, Order, play};
use crate::cli::say;

#[derive(clap::Args)]
pub(super) struct TerminalWs {
    /// Where terminals connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8088")]
    listen: SocketAddr,
    /// Path of the URL; the serial number of the terminal follows
    #[arg(long, default_value = "/devs/")]
    path: String,
    /// Name that terminals must give
    #[arg(long, default_value = "dev")]
    username: String,
    /// Password that terminals must give
    #[arg(long, default_value = "123")]
    password: String,
    /// Serial number of a terminal that is let in, again for each; without it all are
    #[arg(long, value_name = "SERIAL")]
    serial: Vec<String>,
    /// `key` to send with messages about people
    #[arg(long, default_value = "")]
    key: String,
    /// Seconds between the pings of a terminal, as configured there
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    heartbeat: u64,
    /// What to do wrong, with commas between
    #[arg(long, value_name = "NAMES", default_value = "none", help = format!("What to do wrong: {}", Misbehave::NAMES))]
    misbehave: String,
    #[command(flatten)]
    common: Common,
}

const HELP: &str = "\
open                   opens the door
reboot                 restarts the gate
add ID NAME [FILE]     puts a person, with a photo
set ID JSON            puts a person; JSON holds further fields, such as {\"name\":\"x\",\"passCount\":3}
remove ID…             removes people
clear                  removes everybody this platform has sent
send CMD [FORM]        sends any command with a form as it is
text TEXT              sends a text as it is
misbehave NAMES        changes what goes wrong
close                  closes all connections
quit                   ends";

pub(super) async fn terminal_ws(args: &TerminalWs) -> Result<ExitCode> {
    let script = args.common.script.as_deref().map(Script::load).transpose()?;
    let platform = Platform::new(Options {
        username: args.username.clone(),
        password: args.password.clone(),
        serials: args.serial.clone(),
        path: args.path.clone(),
        key: args.key.clone(),
        heartbeat: Duration::from_secs(args.heartbeat.max(1)),
    });
    platform.misbehave(args.misbehave.parse()?);
    let secure = args.common.tls()?;
    let scheme = if secure.is_some() { "wss" } else { "ws" };
    let address = platform.listen_with(args.listen, secure).await?;
    let listening = format!("the WebSocket platform listens on {scheme}://{address}{}", args.path);
    play(&platform, (address, listening), script, &args.common, words, order).await
}

/// An entry in words; `None` for one that nobody wants to see each time.
fn words(entry: &Entry) -> Option<String> {
    let number = |key: &str| entry.int(key).unwrap_or_default();
    Some(match entry.event {
        "connected" => {
            format!("connection {} of {} at {}", entry.connection, entry.serial, entry.text("path"))
        }
        "refused" => format!("refused {} with {}", entry.text("path"), number("status")),
        "closed" => {
            format!("connection {} of {} ended: {}", entry.connection, entry.serial, entry.text("reason"))
        }
        "violation" => format!("VIOLATION by {}: {}", entry.serial, entry.text("what")),
        "answer" => format!("answer to {}: {} {}", entry.text("cmd"), number("status"), entry.text("msg")),
        "sent" => format!("sent {} of {} bytes", entry.text("cmd"), number("bytes")),
        "script" => format!("script: {}", entry.text("text")),
        _ => return None,
    })
}

/// Carries out a line of the standard input.
async fn order(platform: &Platform, line: &str) -> Result<Order> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let usage = || Error::new(Kind::Input, format!("{line:?} is no order; these are:\n{HELP}"));
    match word {
        "" => {}
        "help" => say(HELP)?,
        "quit" | "exit" => return Ok(Order::Quit),
        "open" | "reboot" => drop(platform.send(None, word, json!({}))?),
        "add" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let (id, name, file) = match words[..] {
                [id, name] => (id, name, None),
                [id, name, file] => (id, name, Some(file)),
                _ => return Err(usage()),
            };
            let mut person = json!({
                "id": id, "name": name, "IC_NO": "00000000", "ID_NO": "00000000", "passCount": 10000,
                "startTs": -1, "endTs": -1,
            });
            if let Some(file) = file {
                person["photo"] = json!(image(Path::new(file))?);
            }
            drop(platform.send(None, "setPerson", person)?);
        }
        "set" => {
            let (id, json) = rest.split_once(char::is_whitespace).ok_or_else(usage)?;
            let mut person: Value = serde_json::from_str(json)
                .map_err(|error| Error::caused(Kind::Input, "this is not JSON", error))?;
            if !person.is_object() {
                return Err(usage());
            }
            person["id"] = json!(id);
            drop(platform.send(None, "setPerson", person)?);
        }
        "remove" if !rest.is_empty() => {
            let ids: Vec<&str> = rest.split_whitespace().collect();
            drop(platform.send(None, "removePerson", json!({ "id": ids }))?);
        }
        "clear" => drop(platform.send(None, "removePerson", json!({ "id": [] }))?),
        "send" if !rest.is_empty() => {
            let (cmd, form) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            drop(platform.send_form(None, cmd, form)?);
        }
        "text" => platform.send_text(rest)?,
        "misbehave" => platform.misbehave(rest.parse()?),
        "close" => platform.disconnect(),
        _ => return Err(usage()),
    }
    Ok(Order::Go)
}
