//! `menshen door`: opens the door, or brings its lines to rest when no agent does.

use std::process::ExitCode;

use clap::Subcommand;
use menshen::service::admin::client::Client;
use menshen::{Error, Kind, Result, gate};

use super::{ConfigArgs, say};

/// Opens the door, or brings its lines to rest.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Opens the door once, through the running agent
    Open(ConfigArgs),
    /// Brings relay and lamp to rest when no agent runs: for ExecStopPost= of the agent's unit
    Safe(ConfigArgs),
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Open(args) => {
            let config = args.load()?;
            let admin = config.service.admin.as_ref().ok_or_else(|| {
                Error::new(
                    Kind::Config,
                    "the agent is reached through service.admin, which is not configured",
                )
            })?;
            let nothing: Option<&()> = None;
            Client::new(admin)?.request(hyper::Method::POST, "/api/v1/door/open", nothing)?;
            say("the door is opened")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Safe(args) => safe(args),
    }
}

/// Each line, whatever becomes of the others.
fn safe(args: &ConfigArgs) -> Result<ExitCode> {
    let mut well = true;
    for (device, outcome) in gate::safe::bring_to_rest(&args.load()?) {
        match outcome {
            Ok(what) => say(format_args!("{device}: {what}"))?,
            Err(error) => {
                well = false;
                eprintln!("menshen: {device}: {error}");
            }
        }
    }
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
