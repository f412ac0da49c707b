//! `menshen door`.

use std::process::ExitCode;

use clap::Subcommand;
use menshen::Result;
use menshen::console::app::Ask;
use menshen::console::orders::Orders;

use super::{ConfigArgs, say};

/// The door of the running gate.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Opens it once, as a technician
    ///
    /// Exit codes: 0 ordered, 1 it did not open or the agent cannot be reached, 2 wrong usage.
    Open(ConfigArgs),
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let Command::Open(args) = &args.command;
    let config = args.load()?;
    Orders::new(&config, args.path()).carry_out(&Ask::OpenDoor)?;
    say("the door was told to open")?;
    Ok(ExitCode::SUCCESS)
}
