//! `menshen boot-choice`: the boot loader's choice, as RAUC asks for and sets it (RAUC's reference, "Custom
//! bootloader backend").

use std::path::PathBuf;
use std::process::ExitCode;

use menshen::Result;
use menshen::update::choice::{Copies, FOLDER, Slot};

use super::say;

/// Shows or changes which slot the boot loader starts.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 there is no boot partition.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// Where the boot partition is mounted
    #[arg(long, value_name = "DIR", default_value = FOLDER, global = true)]
    boot: PathBuf,
    /// The kernel's command line, which names the slot that runs
    #[arg(long, value_name = "FILE", default_value = "/proc/cmdline", global = true, hide = true)]
    command_line: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// The slot that is tried next
    GetPrimary,
    /// Prefers a slot
    SetPrimary { slot: Slot },
    /// Whether a slot is good or bad
    GetState { slot: Slot },
    /// Says whether a slot is good or bad
    SetState { slot: Slot, state: State },
    /// The slot that runs
    GetCurrent,
    /// All of it
    Show,
    /// Makes both copies anew, for a fresh image
    Make,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum State {
    Good,
    Bad,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let copies = Copies::new(&args.boot);
    let booted = || std::fs::read_to_string(&args.command_line).ok().and_then(|line| Slot::booted(&line));
    match args.command {
        Command::GetPrimary => say(copies.read()?.primary().as_str())?,
        Command::SetPrimary { slot } => {
            let booted = booted();
            copies.change(|choice| choice.set_primary(slot, booted))?;
        }
        Command::GetState { slot } => say(if copies.read()?.is_good(slot) { "good" } else { "bad" })?,
        Command::SetState { slot, state } => {
            copies.change(|choice| match state {
                State::Good => choice.set_good(slot),
                State::Bad => choice.set_bad(slot),
            })?;
        }
        Command::GetCurrent => match booted() {
            Some(slot) => say(slot.as_str())?,
            None => {
                eprintln!("menshen: the kernel was not started from a slot (no rauc.slot=)");
                return Ok(ExitCode::FAILURE);
            }
        },
        Command::Show => {
            let choice = copies.read()?;
            let order: Vec<&str> = choice.order.iter().map(|slot| slot.as_str()).collect();
            say(format_args!(
                "serial={} order={} left_a={} left_b={} trial={}",
                choice.serial,
                order.join(","),
                choice.left[0],
                choice.left[1],
                choice.trial.map_or("none", Slot::as_str),
            ))?;
        }
        Command::Make => copies.make()?,
    }
    Ok(ExitCode::SUCCESS)
}
