//! `menshen platform`: the platforms of this gate and their servers.

use std::process::ExitCode;

use clap::Subcommand;
use menshen::Result;
use menshen::console::app::Ask;
use menshen::console::orders::Orders;

use super::people::plain;
use super::{ConfigArgs, say};

/// The platforms of this gate.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the configured platforms: name, server, state of the link (- while the agent does not run)
    Show(ConfigArgs),
    /// Changes the address of a platform's server in the configuration file, and nothing else there
    ///
    /// The change counts after the next start of the agent (`menshen restart`). It is refused where it cannot be made
    /// safely; the message says where to make it by hand.
    ///
    /// Exit codes: 0 written, 1 refused, 2 wrong usage.
    SetServer(SetArgs),
}

#[derive(clap::Args)]
struct SetArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// qyzn or terminal_ws
    platform: String,
    /// HOST:PORT for qyzn, ws://… or wss://… for terminal_ws
    server: String,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Show(args) => show(args)?,
        Command::SetServer(args) => {
            menshen::config::server::change(args.config.path(), &args.platform, &args.server)?;
            say("written; it counts after the next start of the agent (menshen restart)")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(args: &ConfigArgs) -> Result<()> {
    let config = args.load()?;
    let status = Orders::new(&config, args.path()).carry_out(&Ask::Status).unwrap_or_default();
    let state = |name: &str| {
        let all = status["platforms"].as_array().into_iter().flatten();
        let one = all.into_iter().find(|platform| platform["platform"] == name);
        one.and_then(|platform| platform["state"].as_str()).unwrap_or("-").to_owned()
    };
    let platform = &config.platform;
    let qyzn = platform.qyzn.iter().map(|qyzn| ("qyzn", &qyzn.server));
    let terminal_ws = platform.terminal_ws.iter().map(|ws| ("terminal_ws", &ws.url));
    for (name, server) in qyzn.chain(terminal_ws) {
        say(format_args!("{name}\t{}\t{}", plain(server), state(name)))?;
    }
    Ok(())
}
