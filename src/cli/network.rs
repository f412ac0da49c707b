//! `menshen network`: the addresses of the network cards.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use hyper::Method;
use menshen::clock::{AdjustedClock, SystemClock};
use menshen::config::Config;
use menshen::device::system::{self, NetworkOrder};
use menshen::service::admin::client::Client;
use menshen::{Error, Kind, Result};
use serde_json::{Value, json};

use super::people::plain;
use super::{ConfigArgs, say};

/// Shows and sets the addresses of the network cards.
///
/// A change holds at once and is on trial for a minute: it is kept when it is confirmed, or when a platform is
/// reached by it, and put back when none is. device.system must be "systemd", and the agent run with service.admin.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no change is on trial.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Shows the cards, what was kept for them, and a change that is on trial
    Show(ShowArgs),
    /// Gives a card its address
    Set(SetArgs),
    /// Keeps the change that is on trial
    Confirm(OnlyConfig),
    /// Puts the change that is on trial back
    PutBack(OnlyConfig),
}

#[derive(clap::Args)]
struct OnlyConfig {
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct SetArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The card, such as eth0
    card: String,
    /// The network gives it its address
    #[arg(long, required_unless_present = "address", conflicts_with_all = ["address", "mask", "gateway", "dns"])]
    dhcp: bool,
    /// Its address, such as 192.168.1.20/24
    #[arg(long)]
    address: Option<String>,
    /// The mask of the network, such as 255.255.255.0, if the address has no /24
    #[arg(long)]
    mask: Option<String>,
    /// The way to other networks
    #[arg(long)]
    gateway: Option<String>,
    /// Who knows names; may be given three times
    #[arg(long)]
    dns: Vec<String>,
    /// Keeps it at once, without a trial
    #[arg(long)]
    keep: bool,
}

fn client(config: &Config) -> Result<Client> {
    let admin = config.service.admin.as_ref().ok_or_else(|| {
        Error::new(Kind::Config, "the network is set by the running agent: set service.admin for a way to it")
    })?;
    Client::new(admin)
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let nothing: Option<&()> = None;
    let order = |args: &OnlyConfig, path: &str| {
        client(&args.config.load()?)?.request(Method::POST, path, nothing)?;
        Ok(ExitCode::SUCCESS)
    };
    match &args.what {
        What::Show(args) => show(args),
        What::Set(args) => set(args),
        What::Confirm(args) => order(args, "/api/v1/network/confirm"),
        What::PutBack(args) => order(args, "/api/v1/network/put_back"),
    }
}

fn set(args: &SetArgs) -> Result<ExitCode> {
    let client = client(&args.config.load()?)?;
    let order = NetworkOrder {
        name: args.card.clone(),
        dhcp: args.dhcp,
        address: args.address.clone().unwrap_or_default(),
        mask: args.mask.clone().unwrap_or_default(),
        gateway: args.gateway.clone().unwrap_or_default(),
        dns: args.dns.clone(),
    };
    let answer = client.request(Method::POST, "/api/v1/network", Some(&order))?;
    if args.keep {
        let nothing: Option<&()> = None;
        client.request(Method::POST, "/api/v1/network/confirm", nothing)?;
        say("set and kept")?;
    } else {
        say(format_args!(
            "set, on trial for {} s: kept when a platform is reached, or with `menshen network confirm`",
            answer["trial_s"]
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ShowArgs) -> Result<ExitCode> {
    let config = args.config.load()?;
    // The agent knows of trials; the cards can be looked at without it.
    let asked = config.service.admin.is_some().then(|| {
        let nothing: Option<&()> = None;
        client(&config)?.request(Method::GET, "/api/v1/network", nothing)
    });
    let view = match asked {
        Some(Ok(view)) => view,
        _ => {
            let clock = AdjustedClock::new(Arc::new(SystemClock));
            let machine = system::open(&config.device.system, clock, &config.terminal.data_dir)?;
            let kept: Vec<NetworkOrder> = machine.kept_network().iter().map(|kept| kept.order()).collect();
            json!({ "cards": machine.interfaces(), "kept": kept, "trial": null })
        }
    };
    if args.json {
        say(format_args!("{view:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    for card in view["cards"].as_array().into_iter().flatten() {
        let name = &card["name"];
        let kept = view["kept"].as_array().into_iter().flatten().find(|kept| kept["name"] == *name);
        let text = |field: &str| match card[field].as_str() {
            Some("") | None => "-".to_owned(),
            Some(text) => plain(text).to_string(),
        };
        say(format_args!(
            "{}  mac {}  address {}  mask {}  gateway {}  dns {}  set by {}",
            text("name"),
            text("mac"),
            text("address"),
            text("mask"),
            text("gateway"),
            text("dns"),
            kept.map_or("the machine", |kept| if kept["dhcp"] == true {
                "menshen: dhcp"
            } else {
                "menshen: static"
            })
        ))?;
    }
    if let Value::Object(trial) = &view["trial"] {
        let (settings, left) = (&trial["settings"], &trial["seconds_left"]);
        let address = settings["address"].as_str().filter(|address| !address.is_empty()).unwrap_or("dhcp");
        say(format_args!(
            "on trial for {left} s more: {} {}",
            plain(settings["name"].as_str().unwrap_or_default()),
            plain(address)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
