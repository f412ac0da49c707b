//! `menshen run`.

use std::process::ExitCode;

use menshen::{Result, agent, log};

use super::ConfigArgs;

pub fn run(args: &ConfigArgs) -> Result<ExitCode> {
    let config = args.load()?;
    let level = log::start(&config.log)?;
    agent::run(config, level)?;
    Ok(ExitCode::SUCCESS)
}
