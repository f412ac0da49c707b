//! `menshen simulate`: the other end of a wire, as a program.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use menshen::simulate::qyzn::script::{Script, image};
use menshen::simulate::qyzn::{Entry, Misbehave, Platform};
use menshen::{Context, Error, Kind, Result};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio::time::Duration;

use super::say;

/// What to simulate.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The QYZN platform: accepts terminals, orders what a script or a person says, checks what they send
    ///
    /// Exit codes: 0 the terminals kept to the document and the script was fulfilled, 1 not.
    Qyzn(Qyzn),
}

#[derive(clap::Args)]
struct Qyzn {
    /// Where terminals connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5005")]
    listen: SocketAddr,
    /// What to do: one JSON object a line
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// End when the script has ended
    #[arg(long, requires = "script")]
    exit: bool,
    /// What to do wrong, with commas between
    #[arg(long, value_name = "NAMES", default_value = "none", help = format!("What to do wrong: {}", Misbehave::NAMES))]
    misbehave: String,
    /// Take orders from the standard input; `help` lists them
    #[arg(long)]
    interactive: bool,
    /// Print everything as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Also write everything as JSON lines to this file
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

const HELP: &str = "\
open_door                     opens the door
add ID NAME FILE [FILE…]      enrols a person with pictures
delete ID                     removes a person
clear                         removes everybody
records clear                 removes all records
records again TYPE FROM TO    has records sent again: 0 failed, 1 passed, 2 all; 2026-01-31T08:30:20
get GROUP…                    asks for settings
set GROUP JSON                changes settings
send MESSAGE [JSON]           sends any command
answer open|shut|none [TEXT]  what snapshot_face is answered, and the text for the visitor
misbehave NAMES               changes what goes wrong
close                         closes all connections
quit                          ends";

/// Runs a simulator until it is stopped.
pub fn run(args: &Args) -> Result<ExitCode> {
    let What::Qyzn(args) = &args.what;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context(|| "the runtime cannot be started")?;
    let code = runtime.block_on(qyzn(args));
    // The standard input is read on a thread that only a line ends.
    runtime.shutdown_background();
    code
}

async fn qyzn(args: &Qyzn) -> Result<ExitCode> {
    let script = args.script.as_deref().map(Script::load).transpose()?;
    let platform = Platform::default();
    platform.misbehave(args.misbehave.parse()?);
    let address = platform.listen(args.listen).await?;
    if args.json {
        say(json!({ "event": "listening", "address": address }))?;
    } else {
        say(format_args!("the QYZN platform listens on {address}"))?;
    }
    let mut printer =
        Printer { json: args.json, file: args.journal.as_deref().map(create).transpose()?, next: 0 };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context(|| "the signal SIGTERM cannot be listened to")?;
    let scripted = async {
        match &script {
            Some(script) => script.run(&platform).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(scripted);
    let mut script_runs = script.is_some();
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut interactive = args.interactive;
    let mut failed = false;
    loop {
        printer.print(&platform)?;
        tokio::select! {
            () = more(&platform, printer.next) => {}
            outcome = &mut scripted, if script_runs => {
                script_runs = false;
                let ok = outcome.is_ok();
                let text = outcome.map_or_else(|error| error.to_string(), |()| "the script is fulfilled".into());
                platform.journal().note(0, "", "script", json!({ "ok": ok, "text": text }));
                failed |= !ok;
                if args.exit {
                    break;
                }
            }
            line = lines.next_line(), if interactive => match line {
                Ok(Some(line)) => match order(&platform, line.trim()).await {
                    Ok(Order::Go) => {}
                    Ok(Order::Quit) => break,
                    Err(error) => eprintln!("menshen: {error}"),
                },
                // Without a terminal to type at, it goes on.
                Ok(None) | Err(_) => interactive = false,
            },
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    platform.stop();
    printer.print(&platform)?;
    let violations = platform.violations().len();
    if !args.json {
        say(format_args!("{violations} violations of the document"))?;
    }
    Ok(if failed || violations > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn create(path: &Path) -> Result<File> {
    File::create(path).context(|| format!("the journal {} cannot be written", path.display()))
}

/// Resolves when the journal has an entry from number `next` on.
async fn more(platform: &Platform, next: usize) {
    let never = Duration::from_secs(365 * 24 * 3600);
    let _ = platform.journal().wait_for(next, never, |_| true).await;
}

/// Prints the journal.
struct Printer {
    json: bool,
    file: Option<File>,
    next: usize,
}

impl Printer {
    fn print(&mut self, platform: &Platform) -> Result<()> {
        for entry in platform.journal().from(self.next) {
            self.next = entry.number + 1;
            let line = serde_json::to_string(&*entry)
                .map_err(|error| Error::caused(Kind::Io, "an entry cannot be written", error))?;
            if let Some(file) = &mut self.file {
                writeln!(file, "{line}")?;
            }
            if self.json {
                say(line)?;
            } else if let Some(words) = words(&entry) {
                say(words)?;
            }
        }
        Ok(())
    }
}

/// An entry in words; `None` for one that nobody wants to see each time.
fn words(entry: &Arc<Entry>) -> Option<String> {
    let number = |key: &str| entry.int(key).unwrap_or_default();
    Some(match entry.event {
        "connected" => format!("connection {} opened", entry.connection),
        "closed" => {
            format!("connection {} of {} ended: {}", entry.connection, entry.serial, entry.text("reason"))
        }
        "register" => format!("register {}", entry.serial),
        "logged_in" => format!("logged in {}", entry.serial),
        "violation" => format!("VIOLATION by {}: {}", entry.serial, entry.text("what")),
        "snapshot_face" => format!(
            "snapshot_face {} person {:?} score {} result {} at {} picture {} bytes{}",
            entry.text("fullName"),
            entry.text("personId"),
            number("score"),
            number("result"),
            entry.text("snaptime"),
            number("snapPic_bytes"),
            if entry.flag("resent") { " (sent again)" } else { "" },
        ),
        "answer" => {
            format!("answer to {}: {} {}", entry.text("message"), number("result"), entry.text("desc"))
        }
        "request" => format!("request {}", entry.text("message")),
        "sent" => format!("sent {}", entry.text("message")),
        "script" => format!("script: {}", entry.text("text")),
        _ => return None,
    })
}

/// Whether to go on after an order.
enum Order {
    Go,
    Quit,
}

/// Carries out a line of the standard input.
async fn order(platform: &Platform, line: &str) -> Result<Order> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let usage = || Error::new(Kind::Input, format!("{line:?} is no order; these are:\n{HELP}"));
    let parse = |text: &str| -> Result<Value> {
        if text.is_empty() {
            return Ok(json!({}));
        }
        serde_json::from_str(text).map_err(|error| Error::caused(Kind::Input, "this is not JSON", error))
    };
    match word {
        "" => {}
        "help" => say(HELP)?,
        "quit" | "exit" => return Ok(Order::Quit),
        "open_door" => drop(platform.send(None, "open_door", json!({}))?),
        "add" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let [id, name, files @ ..] = &words[..] else { return Err(usage()) };
            let mut faces = Vec::new();
            for (index, file) in files.iter().enumerate() {
                faces.push(json!({ "faceId": format!("{id}-{index}"), "image": image(Path::new(file))? }));
            }
            if faces.is_empty() {
                return Err(usage());
            }
            let person = json!({
                "personId": id, "personCode": id, "name": name, "type": 1, "passMonday": true,
                "passTuesday": true, "passWednesday": true, "passThursday": true, "passFriday": true,
                "passSaturday": true, "passSunday": true, "passMode": 255, "faces": faces,
            });
            drop(platform.send(None, "add_person_face", person)?);
        }
        "delete" if !rest.is_empty() => {
            drop(platform.send(None, "delete_person", json!({ "idSet": [rest] }))?);
        }
        "clear" => drop(platform.send(None, "clear_person", json!({}))?),
        "records" if rest == "clear" => drop(platform.send(None, "record_clear", json!({}))?),
        "records" => {
            let again: Vec<&str> =
                rest.strip_prefix("again ").ok_or_else(usage)?.split_whitespace().collect();
            let [kind, from, to] = again[..] else { return Err(usage()) };
            let kind: u8 = kind.parse().map_err(|_| usage())?;
            let (from, to) = (from.replace('T', " "), to.replace('T', " "));
            let data = json!({ "recordType": kind, "snapStartTime": from, "snapEndTime": to });
            drop(platform.send(None, "reSend_record_set", data)?);
        }
        "get" if !rest.is_empty() => {
            let groups: Vec<&str> = rest.split_whitespace().collect();
            let answer = platform.request("get_configs", json!({ "groupKey": groups })).await?;
            say(answer)?;
        }
        "set" => {
            let (group, json) = rest.split_once(char::is_whitespace).ok_or_else(usage)?;
            drop(platform.send(None, "config_system", json!({ group: parse(json)? }))?);
        }
        "send" if !rest.is_empty() => {
            let (message, json) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            drop(platform.send(None, message, parse(json)?)?);
        }
        "answer" => {
            let (how, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let mut data = match how {
                "open" => json!({ "opendoor": 1 }),
                "shut" => json!({ "opendoor": 0 }),
                "none" => json!({}),
                _ => return Err(usage()),
            };
            if !text.is_empty() {
                data["screenDisp"] = json!(text);
            }
            platform.answer_with("snapshot_face", 0, data, None);
        }
        "misbehave" => platform.misbehave(rest.parse()?),
        "close" => platform.disconnect(),
        _ => return Err(usage()),
    }
    Ok(Order::Go)
}
