//! `menshen call`: the intercom from the console.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use menshen::service::admin::client::Client;
use menshen::{Context, Error, Kind, Result};
use serde_json::{Value, json};

use super::people::plain;
use super::{ConfigArgs, say};

/// Between two looks at the call.
const LOOK: Duration = Duration::from_millis(200);

/// Calls a room with the intercom of the gate, and says how the call goes until it ends; Ctrl-C hangs up.
///
/// Exit codes: 0 somebody answered (or, with --hang-up, done), 1 nobody did or it failed, 2 wrong usage,
/// 3 no such room, no call, or no intercom.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The room: letters, digits, -, * and #
    #[arg(required_unless_present = "hang_up", conflicts_with = "hang_up")]
    room: Option<String>,
    /// Ends the call that is on
    #[arg(long)]
    hang_up: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let admin = config.service.admin.as_ref().ok_or_else(|| {
        Error::new(Kind::Config, "a call is made by the running agent: set service.admin for a way to it")
    })?;
    let client = Arc::new(Client::new(admin)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(|| "the runtime cannot be started")?;
    runtime.block_on(async {
        match &args.room {
            Some(room) => call(&client, room, args.json).await,
            None => {
                ask(&client, Method::DELETE, None).await?;
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// A request about the call. The client waits on a thread of its own.
async fn ask(client: &Arc<Client>, method: Method, body: Option<Value>) -> Result<Value> {
    let client = Arc::clone(client);
    tokio::task::spawn_blocking(move || client.request(method, "/api/v1/call", body.as_ref()))
        .await
        .map_err(|error| Error::caused(Kind::Io, "the request was not finished", error))?
}

async fn call(client: &Arc<Client>, room: &str, as_json: bool) -> Result<ExitCode> {
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .context(|| "the signal SIGINT cannot be listened to")?;
    let mut view = ask(client, Method::POST, Some(json!({ "room": room }))).await?;
    let number = view["call"].clone();
    let mut said = 0;
    let mut opened = Value::from("none");
    loop {
        // The last of the states is said with how it ended.
        for state in view["states"].as_array().into_iter().flatten().skip(said) {
            said += 1;
            let ended = state == "ended";
            let result = if ended { &view["result"] } else { &Value::Null };
            if as_json {
                say(json!({ "state": state, "room": room, "result": result, "open": view["open"] }))?;
            } else {
                let word = plain(state.as_str().unwrap_or_default());
                match result.as_str() {
                    Some(result) => say(format_args!("{word}: {}", plain(&result.replace('_', " "))))?,
                    None => say(word)?,
                }
            }
        }
        if view["open"] != opened {
            opened = view["open"].clone();
            if !as_json {
                let opened = opened == "opened";
                say(if opened { "the door was opened" } else { "the door did not open" })?;
            }
        }
        if view["state"] == "ended" {
            return Ok(match view["result"].as_str() {
                Some("answered") => ExitCode::SUCCESS,
                Some("no_such_room") => ExitCode::from(3),
                _ => ExitCode::FAILURE,
            });
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = interrupt.recv() => {
                // It may have ended by itself in this moment.
                let _ = ask(client, Method::DELETE, None).await;
            }
        }
        view = ask(client, Method::GET, None).await?;
        if view["call"] != number {
            return Err(Error::new(Kind::NotFound, "the call has ended, and another is on"));
        }
    }
}
