//! `menshen simulate`: the other end of a wire, as a program.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use menshen::simulate::qyzn::script::image;
use menshen::simulate::qyzn::{Misbehave, Platform};
use menshen::simulate::script::Script;
use menshen::simulate::{Entry, Simulated};
use menshen::{Context, Error, Kind, Result};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio::time::Duration;

use super::say;

mod card;
mod passport;
mod scanner;
mod sdt;
mod terminal_ws;

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
    /// The terminal WebSocket platform: lets terminals in, orders what a script or a person says, checks what they
    /// send
    ///
    /// Exit codes: 0 the terminals kept to the document and the script was fulfilled, 1 not.
    TerminalWs(terminal_ws::TerminalWs),
    /// A server that records are pushed to over HTTP: verifies signatures and fields, prints what came
    ///
    /// Exit codes: 0 all requests were as docs/http-push.md lays them down, 1 not.
    HttpPush(super::http_push::Args),
    /// A chip card in a virtual PC/SC reader (Debian's vsmartcard-vpcd)
    Card(card::Card),
    /// A passport with a chip: generated keys and certificates, on a virtual reader or read right here
    ///
    /// Exit codes: 0 it was read and is genuine, or the reader let it go; 1 not.
    Passport(passport::Args),
    /// A module for identity cards on a pseudo terminal, whose path it prints: for device.id_reader = "sdt:PATH"
    ///
    /// Exit codes: 0 it was told to end, 1 it could not be started.
    Sdt(sdt::Sdt),
    /// A scanner of QR and bar codes on a pseudo terminal, whose path it prints: for device.qr_reader = "serial:PATH".
    /// It takes orders from the standard input; `help` lists them
    ///
    /// Exit codes: 0 it was told to end, 1 it could not be started.
    Scanner(scanner::Args),
}

/// What is the same for every platform.
#[derive(clap::Args)]
struct Common {
    /// What to do: one JSON object a line
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// End when the script has ended
    #[arg(long, requires = "script")]
    exit: bool,
    /// Take orders from the standard input; `help` lists them
    #[arg(long)]
    interactive: bool,
    /// Print everything as JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Also write everything as JSON lines to this file
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Speak TLS with this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Qyzn {
    /// Where terminals connect
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5005")]
    listen: SocketAddr,
    /// What to do wrong, with commas between
    #[arg(long, value_name = "NAMES", default_value = "none", help = format!("What to do wrong: {}", Misbehave::NAMES))]
    misbehave: String,
    #[command(flatten)]
    common: Common,
}

const HELP: &str = "\
open_door                     opens the door
add ID NAME FILE [FILE…]      enrols a person with pictures
delete ID                     removes a person
clear                         removes everybody
records clear                 removes all records
upgrade URL MD5 [VERSION]     orders a new version
records again TYPE FROM TO    has records sent again: 0 failed, 1 passed, 2 all; 2026-01-31T08:30:20
get GROUP…                    asks for settings
set GROUP JSON                changes settings
serial HEX                    sends bytes on the RS485 line
wiegand HEX                   sends data on the Wiegand line
send MESSAGE [JSON]           sends any command
answer open|shut|none [TEXT]  what snapshot_face is answered, and the text for the visitor
sync [PREFIX]                 asks for the terminal's people, and gives them ids that begin with PREFIX
snapshot SECONDS [FILE]       asks for a picture of a face, and keeps it in FILE
swipe SECONDS                 asks for the next card or document
qr open|shut                  what qrcode_data is answered
room NUMBER [USER:PHONE…]     makes a room of the intercom, or removes one
misbehave NAMES               changes what goes wrong
close                         closes all connections
quit                          ends";

/// Runs a simulator until it is stopped.
pub fn run(args: &Args) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context(|| "the runtime cannot be started")?;
    let code = runtime.block_on(async {
        match &args.what {
            What::Qyzn(args) => qyzn(args).await,
            What::TerminalWs(args) => terminal_ws::terminal_ws(args).await,
            What::HttpPush(args) => super::http_push::run(args).await,
            What::Card(args) => card::card(args).await,
            What::Passport(args) => tokio::task::block_in_place(|| passport::run(args)),
            What::Sdt(args) => sdt::sdt(args).await,
            What::Scanner(args) => scanner::scanner(args).await,
        }
    });
    // The standard input is read on a thread that only a line ends.
    runtime.shutdown_background();
    code
}

async fn qyzn(args: &Qyzn) -> Result<ExitCode> {
    let script = args.common.script.as_deref().map(Script::load).transpose()?;
    let platform = Platform::default();
    platform.misbehave(args.misbehave.parse()?);
    let address = platform.listen_with(args.listen, args.common.tls()?).await?;
    let listening = format!("the QYZN platform listens on {address}");
    play(&platform, (address, listening), script, &args.common, words, order).await
}

impl Common {
    /// What TLS is spoken with, if it is.
    fn tls(&self) -> Result<Option<Arc<rustls::ServerConfig>>> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(menshen::tls::server(certificate, key)?)),
            _ => Ok(None),
        }
    }
}

/// Runs a platform that listens, until its script ends, somebody ends it, or a signal does.
async fn play<P: Simulated>(
    platform: &P,
    (address, listening): (SocketAddr, String),
    script: Option<Script<P>>,
    args: &Common,
    words: fn(&Entry) -> Option<String>,
    order: impl AsyncFn(&P, &str) -> Result<Order>,
) -> Result<ExitCode> {
    if args.json {
        say(json!({ "event": "listening", "address": address }))?;
    } else {
        say(listening)?;
    }
    let mut printer =
        Printer { json: args.json, file: args.journal.as_deref().map(create).transpose()?, next: 0, words };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context(|| "the signal SIGTERM cannot be listened to")?;
    let scripted = async {
        match &script {
            Some(script) => script.run(platform).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(scripted);
    let mut script_runs = script.is_some();
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut interactive = args.interactive;
    let mut failed = false;
    loop {
        printer.print(platform)?;
        tokio::select! {
            () = more(platform, printer.next) => {}
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
                Ok(Some(line)) => match order(platform, line.trim()).await {
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
    printer.print(platform)?;
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
async fn more<P: Simulated>(platform: &P, next: usize) {
    let never = Duration::from_secs(365 * 24 * 3600);
    let _ = platform.journal().wait_for(next, never, |_| true).await;
}

/// Prints the journal.
struct Printer {
    json: bool,
    file: Option<File>,
    next: usize,
    words: fn(&Entry) -> Option<String>,
}

impl Printer {
    fn print<P: Simulated>(&mut self, platform: &P) -> Result<()> {
        for entry in platform.journal().from(self.next) {
            self.next = entry.number + 1;
            let line = serde_json::to_string(&*entry)
                .map_err(|error| Error::caused(Kind::Io, "an entry cannot be written", error))?;
            if let Some(file) = &mut self.file {
                writeln!(file, "{line}")?;
            }
            if self.json {
                say(line)?;
            } else if let Some(words) = (self.words)(&entry) {
                say(words)?;
            }
        }
        Ok(())
    }
}

/// An entry in words; `None` for one that nobody wants to see each time.
fn words(entry: &Entry) -> Option<String> {
    let number = |key: &str| entry.int(key).unwrap_or_default();
    Some(match entry.event {
        "connected" => format!("connection {} opened", entry.connection),
        "closed" => {
            format!("connection {} of {} ended: {}", entry.connection, entry.serial, entry.text("reason"))
        }
        "tls_failed" => format!("a terminal could not begin TLS: {}", entry.text("reason")),
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
        "device_sync_person" => format!(
            "device_sync_person {} {:?} with {} pictures{}",
            entry.text("personId"),
            entry.text("name"),
            entry.fields.get("faces").and_then(Value::as_array).map_or(0, Vec::len),
            if entry.flag("resent") { " (sent again)" } else { "" },
        ),
        "qrcode_data" => format!("qrcode_data {:?}", entry.text("content")),
        "request" => format!("request {}", entry.text("message")),
        "device_call_param" => {
            format!(
                "device_call_param room {} picture {} bytes",
                entry.text("callNo"),
                number("picture_bytes")
            )
        }
        "device_call_result" => format!(
            "device_call_result room {} {}{}",
            entry.text("callNo"),
            entry.fields.get("callRecords").unwrap_or(&Value::Null),
            if entry.flag("resent") { " (sent again)" } else { "" },
        ),
        "sent" => format!("sent {}", entry.text("message")),
        "script" => format!("script: {}", entry.text("text")),
        _ => return None,
    })
}

/// The longest that a terminal may take to answer: five minutes, and the way there.
const PATIENCE: Duration = Duration::from_secs(320);

/// Waits beside the orders for a picture, and keeps it where a file is named.
fn keep_picture(sent: menshen::simulate::qyzn::Sent, file: &str) {
    let file = (!file.is_empty()).then(|| PathBuf::from(file));
    tokio::spawn(async move {
        let Ok(answer) = sent.answer_within(PATIENCE).await else { return };
        let jpeg = answer["data"]["image"].as_str().and_then(menshen::simulate::qyzn::wire::jpeg);
        let (Some(jpeg), Some(file)) = (jpeg, file) else { return };
        match std::fs::write(&file, &jpeg) {
            Ok(()) => drop(say(format_args!("{} bytes kept in {}", jpeg.len(), file.display()))),
            Err(error) => eprintln!("menshen: {} cannot be written: {error}", file.display()),
        }
    });
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
        "upgrade" => {
            let (url, rest) = rest.split_once(char::is_whitespace).ok_or_else(usage)?;
            let (check, version) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
            let data = json!({ "url": url, "check": check, "version": version.trim() });
            drop(platform.send(None, "device_upgrade", data)?);
        }
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
        "serial" if !rest.is_empty() => {
            drop(platform.send(None, "serial_output", json!({ "index": 0, "content": rest }))?);
        }
        "wiegand" if !rest.is_empty() => {
            drop(platform.send(None, "weigand_output", json!({ "content": rest }))?);
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
        "sync" => {
            let data = match rest {
                "" => json!({}),
                prefix => json!({ "newPersonId": format!("{prefix}{{personId}}"),
                                  "newFaceId": format!("{prefix}{{faceId}}") }),
            };
            platform.answer_with("device_sync_person", 0, data, None);
            drop(platform.send(None, "sync_person", json!({}))?);
        }
        "snapshot" => {
            let (seconds, file) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let seconds: u32 = seconds.parse().map_err(|_| usage())?;
            let sent = platform.send(None, "snapshot_picture", json!({ "timeoutSeconds": seconds }))?;
            keep_picture(sent, file.trim());
        }
        "swipe" => {
            let seconds: u32 = rest.parse().map_err(|_| usage())?;
            let sent = platform.send(None, "swiping_card", json!({ "timeOut": seconds }))?;
            // It may take minutes: other orders go on meanwhile.
            tokio::spawn(async move {
                if let Ok(answer) = sent.answer_within(PATIENCE).await {
                    let _ = say(answer);
                }
            });
        }
        "qr" => {
            let open = match rest {
                "open" => 1,
                "shut" => 0,
                _ => return Err(usage()),
            };
            platform.answer_with("qrcode_data", 0, json!({ "opendoor": open }), None);
        }
        "room" if !rest.is_empty() => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let calleds = words[1..].iter().map(|word| {
                let (user, phone) = word.split_once(':').unwrap_or((word, ""));
                json!({ "userId": user, "token": format!("token-of-{user}"), "phoneNo": phone })
            });
            let calleds: Vec<Value> = calleds.collect();
            platform.room(words[0], (!calleds.is_empty()).then(|| json!(calleds)), 60);
        }
        "misbehave" => platform.misbehave(rest.parse()?),
        "close" => platform.disconnect(),
        _ => return Err(usage()),
    }
    Ok(Order::Go)
}
