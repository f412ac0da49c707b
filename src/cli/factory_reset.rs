//! `menshen factory-reset`.

use std::process::ExitCode;

use menshen::console::orders::Orders;
use menshen::service::admin::RESET_WORD;
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// Removes people, pictures, records, what platforms have set, and keys. Keeps who the gate is (serial number,
/// configuration file) and its network.
///
/// A running agent does it at its next start, which is ordered; without one it is done at once. A power cut does not
/// stop it: the next start goes on. It cannot be undone.
///
/// Exit codes: 0 done or ordered, 1 refused or failed, 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The word RESET, so that nobody does it by mistake
    #[arg(long, value_name = "RESET")]
    confirm: String,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    if args.confirm != RESET_WORD {
        return Err(Error::new(Kind::Input, "nothing was done: confirm with --confirm RESET"));
    }
    let outcome = Orders::new(&config, args.config.path()).reset()?;
    let serial = &config.terminal.serial;
    if outcome["done"] != true {
        say("ordered: the agent restarts, and the gate is empty then")?;
    } else if outcome["key"] == "kept" {
        say("the gate has been reset; its key is a credential of the service manager and stays")?;
    } else {
        say("the gate has been reset")?;
    }
    say(format_args!("kept: the serial number {serial}, {}, the network", args.config.path().display()))?;
    Ok(ExitCode::SUCCESS)
}
