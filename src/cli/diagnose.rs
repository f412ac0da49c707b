//! `menshen diagnose`: the diagnosis bundle.

use std::path::PathBuf;
use std::process::ExitCode;

use menshen::console::orders::Orders;
use menshen::{Result, diagnosis};

use super::{ConfigArgs, say};

/// Writes a bundle (tar) with what the maker needs to find out why a gate misbehaves: findings, versions,
/// configuration without secrets, counts, states, the last lines of the log, facts of the machine.
///
/// No pictures, names, ids, numbers of documents or cards, passwords or tokens are in it.
///
/// Exit codes: 0 written, 1 failed, 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where to write it, a new file; `-` is standard output
    #[arg(short, long, value_name = "FILE", default_value = "menshen-diagnosis.tar")]
    output: PathBuf,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let files = Orders::new(&config, args.config.path()).diagnose()?;
    if args.output.as_os_str() == "-" {
        diagnosis::tar(&files, std::io::stdout().lock())?;
    } else {
        diagnosis::write(&files, &args.output)?;
        say(args.output.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
