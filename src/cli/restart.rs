//! `menshen restart`.

use std::process::ExitCode;

use menshen::service::admin::client::Client;
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// Restarts the gate's machine (`device.system` says how), through the agent that runs on it.
///
/// Exit codes: 0 ordered, 1 refused or the agent cannot be reached.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let admin = config.service.admin.as_ref().ok_or_else(|| {
        Error::new(Kind::Config, "the agent is reached through service.admin, which is not configured")
    })?;
    let nothing: Option<&()> = None;
    Client::new(admin)?.request(hyper::Method::POST, "/api/v1/restart", nothing)?;
    say("the restart is ordered")?;
    Ok(ExitCode::SUCCESS)
}
