//! `menshen run`.

use std::process::ExitCode;

use menshen::config::Log;
use menshen::{Error, Kind, Result, agent};
use tracing_subscriber::EnvFilter;

use super::ConfigArgs;

pub fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let config = args.load()?;
    start_log(&config.log)?;
    agent::run(config)?;
    Ok(ExitCode::SUCCESS)
}

/// Logs go to standard error, where systemd or a person reads them.
pub fn start_log(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        Error::caused(Kind::Config, format!("log.filter = {:?} cannot be used", log.filter), error)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if log.json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
    Ok(())
}
