//! `menshen bench`.

use std::process::ExitCode;

use menshen::Result;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
