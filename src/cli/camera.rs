//! `menshen camera`.

use std::fmt::Write as _;
use std::process::ExitCode;

use menshen::device::camera::v4l2::{self, Control, Controls, Found, Offer, Sizes};
use menshen::{Error, Kind, Result};
use serde_json::json;

use super::say;

/// Shows the cameras of this machine and sets their controls.
///
/// Works whether the agent runs or not. A camera is named as in the configuration: /dev/video0,
/// /dev/v4l/by-path/…, card=NAME.
///
/// Exit codes: 0 done, 1 failed, 3 no such camera or control.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Lists the nodes with their formats, sizes and rates
    List {
        /// Also those that are no cameras: metadata, outputs, codecs
        #[arg(long)]
        all: bool,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Shows the controls of a camera with what they are set to
    Controls {
        /// The camera
        node: String,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
    /// Sets a control of a camera
    Set {
        /// The camera
        node: String,
        /// The control: its name, or its id as 0x…
        control: String,
        /// A number, on, off, the name of a menu's entry, or default
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List { all, json } => list(*all, *json)?,
        Command::Controls { node, json } => controls(node, *json)?,
        Command::Set { node, control, value, json } => set(node, control, value, *json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::caused(Kind::Io, "the answer cannot be written", error))?;
    say(text)
}

fn list(all: bool, json: bool) -> Result<()> {
    let mut nodes = v4l2::list();
    nodes.retain(|found| all || found.error.is_some() || found.purpose == Some(v4l2::Purpose::Camera));
    if json {
        return print_json(&nodes);
    }
    if nodes.is_empty() {
        return say("no cameras: is one plugged in, and is its driver loaded (`dmesg`)?");
    }
    nodes.iter().try_for_each(|found| say(described(found)))
}

fn described(found: &Found) -> String {
    let mut text = found.node.display().to_string();
    // Writing to a string cannot fail.
    if let Some(purpose) = found.purpose {
        let _ = write!(text, "  {} ({}, {})", found.card, found.driver, found.bus);
        if purpose != v4l2::Purpose::Camera {
            let _ = write!(text, ", {}", purpose.word());
        }
        if found.multi_planar {
            text.push_str(", multi-planar");
        }
    }
    for link in &found.by_path {
        let _ = write!(text, "\n  {}", link.display());
    }
    for offer in &found.formats {
        let unused = if offer.usable { "" } else { "  (not used by Menshen)" };
        let _ = write!(text, "\n  {:5} {}{unused}", offer.fourcc.to_string(), offer.description);
        if offer.usable {
            text.push_str(&sizes(offer));
        }
    }
    if let Some(error) = &found.error {
        let _ = write!(text, "\n  {error}");
    }
    text
}

fn sizes(offer: &Offer) -> String {
    offer.sizes.iter().fold(String::new(), |mut text, sizes| {
        let Sizes { least, largest, step, rates } = sizes;
        let _ = write!(text, "\n        {} x {}", least.0, least.1);
        if least != largest {
            let _ = write!(text, " to {} x {} in steps of {} x {}", largest.0, largest.1, step.0, step.1);
        }
        let rates: Vec<String> = rates
            .iter()
            .map(|rates| match rates.slowest == rates.fastest {
                true => rates.fastest.to_string(),
                false => format!("{} to {}", rates.slowest, rates.fastest),
            })
            .collect();
        if !rates.is_empty() {
            let _ = write!(text, ": {} a second", rates.join(", "));
        }
        text
    })
}

fn controls(node: &str, json: bool) -> Result<()> {
    let controls = Controls::open(node)?;
    let all = controls.all()?;
    if json {
        return print_json(&json!({ "node": controls.path(), "card": controls.card(), "controls": all }));
    }
    say(format_args!("{}  {}", controls.path().display(), controls.card()))?;
    if all.is_empty() {
        return say("  it has no controls");
    }
    let width = all.iter().map(|control| control.name.len()).max().unwrap_or_default();
    all.iter().try_for_each(|control| say(format_args!("  {:width$}  {}", control.name, line(control))))
}

/// What one control is and may be.
fn line(control: &Control) -> String {
    let mut text = format!("{}  [{}", control.shown(), control.range());
    if !matches!(
        control.kind,
        v4l2::ControlKind::Button | v4l2::ControlKind::Text | v4l2::ControlKind::Compound
    ) {
        let _ = write!(text, "; default {}", control.default);
    }
    text.push(']');
    let flags = [
        (control.flags.inactive, "inactive: its automatic rules"),
        (control.flags.read_only, "read only"),
        (control.flags.grabbed, "held"),
        (control.flags.volatile, "changes by itself"),
    ];
    flags.iter().filter(|(set, _)| *set).for_each(|(_, word)| {
        let _ = write!(text, "  {word}");
    });
    text
}

fn set(node: &str, name: &str, value: &str, json: bool) -> Result<()> {
    let controls = Controls::open(node)?;
    let control = controls.named(name)?;
    let now = controls.set(&control, &control.parse(value)?)?;
    if json {
        return print_json(&now);
    }
    say(format_args!("{}  {}", now.name, line(&now)))
}
