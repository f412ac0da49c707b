//! `menshen config`.

use std::process::ExitCode;

use clap::Subcommand;
use menshen::Result;
use menshen::config::EXAMPLE;

use super::{ConfigArgs, say};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the whole commented configuration
    Example,
    /// Says whether a configuration can be used
    Check(ConfigArgs),
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Example => say(EXAMPLE.trim_end())?,
        Command::Check(args) => {
            args.load()?;
            say(format_args!("{} can be used", args.path().display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
