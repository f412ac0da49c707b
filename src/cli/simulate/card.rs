//! `menshen simulate card`: a chip card in a virtual reader.

use std::net::SocketAddr;
use std::process::ExitCode;

use menshen::simulate::card::{Fault, Happened, Inserted, Profile, VPCD, insert};
use menshen::{Context as _, Error, Kind, Result};
use tokio::io::AsyncBufReadExt as _;

use super::super::say;

#[derive(clap::Args)]
pub(super) struct Card {
    /// Where the reader's driver vpcd listens
    #[arg(long, value_name = "ADDRESS:PORT", default_value = VPCD)]
    vpcd: SocketAddr,
    /// Which card
    #[arg(long, value_name = "NAME", default_value = "bank", help = format!("Which card: {}", Profile::NAMES))]
    profile: String,
    /// What it does wrong
    #[arg(long, value_name = "NAME", default_value = "none", help = format!("What it does wrong: {}", Fault::NAMES))]
    fault: String,
    /// Take orders from the standard input; `help` lists them
    #[arg(long)]
    interactive: bool,
}

const HELP: &str = "\
insert [CARD [FAULT]]   puts a card in, the one before if none is named
remove                  takes it out
quit                    ends";

/// A card in the reader; what happens to it is printed. Its data are nobody's.
fn put_in(vpcd: SocketAddr, profile: Profile, fault: Fault) -> Result<Inserted> {
    insert(vpcd, profile.chip(), fault, |happened| {
        // Nobody is told where nobody listens.
        let _ = match happened {
            Happened::Inserted => say("inserted"),
            Happened::Removed => say("removed"),
            Happened::Asked { command, answer } => say(format_args!("{} -> {}", hex(&command), hex(&answer))),
        };
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Runs until a signal or the order to end.
pub(super) async fn card(args: &Card) -> Result<ExitCode> {
    let (mut profile, mut fault): (Profile, Fault) = (args.profile.parse()?, args.fault.parse()?);
    let mut inserted = Some(put_in(args.vpcd, profile, fault)?);
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut interactive = args.interactive;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context(|| "the signal SIGTERM cannot be listened to")?;
    loop {
        let line = tokio::select! {
            line = lines.next_line(), if interactive => line,
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        };
        let Ok(Some(line)) = line else {
            // Without a terminal to type at, it goes on.
            interactive = false;
            continue;
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let outcome = match words[..] {
            [] => Ok(()),
            ["quit"] => break,
            ["remove"] => {
                drop(inserted.take());
                Ok(())
            }
            ["insert", ref rest @ ..] if rest.len() <= 2 => {
                named(rest, (profile, fault)).and_then(|named| {
                    (profile, fault) = named;
                    // The one before goes first: the reader takes one card.
                    drop(inserted.take());
                    inserted = Some(put_in(args.vpcd, profile, fault)?);
                    Ok(())
                })
            }
            _ => Err(Error::new(Kind::Input, format!("{line:?} is no order; these are:\n{HELP}"))),
        };
        if let Err(error) = outcome {
            eprintln!("menshen: {error}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The card and its fault that words name; without words those of before.
fn named(words: &[&str], before: (Profile, Fault)) -> Result<(Profile, Fault)> {
    match words {
        [profile, fault, ..] => Ok((profile.parse()?, fault.parse()?)),
        [profile] => Ok((profile.parse()?, Fault::None)),
        [] => Ok(before),
    }
}
