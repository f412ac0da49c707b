//! `menshen status`: the running gate in short.

use std::process::ExitCode;

use menshen::Result;
use menshen::console::app::Ask;
use menshen::console::orders::Orders;
use serde_json::Value;

use super::people::plain;
use super::{ConfigArgs, say};

/// The running gate in short.
///
/// Exit codes: 0 it runs, 1 it does not answer, 2 wrong usage.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints JSON, all of it
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let config = args.config.load()?;
    let status = Orders::new(&config, args.config.path()).carry_out(&Ask::Status)?;
    if args.json {
        say(format_args!("{status:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
    say(format_args!("serial: {}", text(&status["serial"])))?;
    say(format_args!("version: {}", text(&status["version"])))?;
    say(format_args!("up for: {} s", status["uptime_s"]))?;
    let store = &status["store"];
    say(format_args!(
        "people: {}, faces: {}, records: {}",
        store["people"], store["faces"], store["records"]
    ))?;
    say(format_args!("door: {}", text(&status["door"]["state"])))?;
    for camera in status["cameras"].as_array().into_iter().flatten() {
        let rate = camera["fps"].as_f64().map_or_else(String::new, |fps| format!(", {fps:.1} frames/s"));
        say(format_args!(
            "camera {}: {}, {}{rate}",
            camera["camera"],
            text(&camera["role"]),
            text(&camera["state"])
        ))?;
    }
    for platform in status["platforms"].as_array().into_iter().flatten() {
        let waiting =
            platform["outbox"].as_u64().map_or_else(String::new, |waiting| format!(", {waiting} to send"));
        say(format_args!(
            "platform {}: {}, {}{waiting}",
            text(&platform["platform"]),
            text(&platform["state"]),
            text(&platform["server"])
        ))?;
    }
    for notice in status["notices"].as_array().into_iter().flatten() {
        say(format_args!("attention: {} {}", text(&notice["kind"]), text(&notice["text"])))?;
    }
    Ok(ExitCode::SUCCESS)
}
