//! `menshen input`: moves a simulated input of the running gate.

use std::process::ExitCode;

use clap::ValueEnum;
use menshen::device::input::Input;
use menshen::service::admin::InputOrder;
use menshen::service::admin::client::Client;
use menshen::{Error, Kind, Result};

use super::{ConfigArgs, say};

/// Moves a simulated input of the running gate.
///
/// The input must be "sim" in the configuration: device.exit_button, device.door_contact, device.tamper. The agent must
/// run, with service.admin. What becomes of it is in the events.
///
/// Exit codes: 0 done, 1 failed (also: the gate has no such input), 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// What to do with it
    order: Order,
    /// exit_button, door_contact or tamper
    #[arg(value_parser = input)]
    input: Input,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// Presses it and lets it go
    Press,
    /// Makes it active: pressed, or open
    On,
    /// Lets it rest: released, or closed
    Off,
}

fn input(text: &str) -> std::result::Result<Input, String> {
    Input::parse(text).ok_or_else(|| format!("the inputs are {}", Input::ALL.map(Input::as_str).join(", ")))
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let admin = config.service.admin.as_ref().ok_or_else(|| {
        Error::new(Kind::Config, "inputs are moved through the admin service: set service.admin")
    })?;
    let client = Client::new(admin)?;
    let states: &[bool] = match args.order {
        Order::Press => &[true, false],
        Order::On => &[true],
        Order::Off => &[false],
    };
    for active in states {
        let order = InputOrder { input: args.input, active: *active };
        client.request(hyper::Method::POST, "/api/v1/input", Some(&order))?;
        say(format_args!("{}: {}", args.input.as_str(), args.input.state(*active)))?;
    }
    Ok(ExitCode::SUCCESS)
}
