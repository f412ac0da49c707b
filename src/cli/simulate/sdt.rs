//! `menshen simulate sdt`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use menshen::simulate::sdt::{Card, Fault, Module, Quirks};
use menshen::{Context, Error, Kind, Result};
use tokio::io::AsyncBufReadExt as _;

use crate::cli::say;

#[derive(clap::Args)]
pub(super) struct Sdt {
    /// Also have its port here, under a name that stays when it is unplugged and plugged in again
    #[arg(long, value_name = "PATH")]
    link: Option<PathBuf>,
    /// Lay this card down at once
    #[arg(long, value_name = "NAME", help = format!("Lay this card down at once: {}", Card::NAMES))]
    card: Option<String>,
    /// Photo of the cards: a file of at most 1024 bytes, for a decoder that knows it
    #[arg(long, value_name = "FILE")]
    photo: Option<PathBuf>,
    /// How it differs from the book, by its number
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help = format!("How it differs from the book: {}", Quirks::NUMBERS))]
    quirk: u8,
    /// Take orders from the standard input; `help` lists them
    #[arg(long)]
    interactive: bool,
}

const HELP: &str = "\
card NAME              lays a card down: resident, fingerprints, long-term, no-last-day, permit, foreigner,
                       new-foreigner
lift                   lifts it
fault NAME [COMMAND]   the next answer goes wrong: stray, check, half, silent, or a status such as 41; only that to
                       COMMAND, such as 2001 (find), 2002 (select), 3001, 3010 (read), 3003 (additional address)
heal                   nothing goes wrong any more
quirk NUMBER           0 none, 1 three lengths always, 2 two lengths always, 3 lengths of zero, 4 no lengths,
                       5 no fingerprints, 6 finds a card again that it has read, 7 says nothing when it is to read
                       fingerprints, 8 stumbles over them
unplug                 pulls it out
plug                   plugs it in again
quit                   ends";

/// A module, and what it is told.
struct Bench {
    module: Module,
    photo: Option<Vec<u8>>,
}

/// Runs it until it is told to end.
pub(super) async fn sdt(args: &Sdt) -> Result<ExitCode> {
    let photo = args.photo.as_deref().map(photo).transpose()?;
    let bench = Bench { module: Module::start(args.link.as_deref())?, photo };
    bench.order(&format!("quirk {}", args.quirk))?;
    if let Some(card) = &args.card {
        bench.order(&format!("card {card}"))?;
    }
    bench.say_where()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context(|| "the signal SIGTERM cannot be listened to")?;
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut interactive = args.interactive;
    loop {
        tokio::select! {
            line = lines.next_line(), if interactive => match line {
                Ok(Some(line)) => match bench.order(line.trim()) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => eprintln!("menshen: {error}"),
                },
                // Without a terminal to type at, it goes on.
                Ok(None) | Err(_) => interactive = false,
            },
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn photo(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).context(|| format!("the photo {} cannot be read", file.display()))
}

impl Bench {
    fn say_where(&self) -> Result<()> {
        let path = self.module.path().unwrap_or_default();
        say(format_args!("the identity card module is at {}", path.display()))
    }

    fn card(&self, name: &str) -> Result<Card> {
        let card = Card::named(name).ok_or_else(|| {
            Error::new(Kind::Input, format!("{name:?} is no card; there are {}", Card::NAMES))
        })?;
        match &self.photo {
            Some(photo) => card
                .with_photo(photo)
                .ok_or_else(|| Error::new(Kind::Input, "a card's photo has at most 1024 bytes")),
            None => Ok(card),
        }
    }

    /// Carries out a line of the standard input; whether to go on.
    fn order(&self, line: &str) -> Result<bool> {
        let usage = || Error::new(Kind::Input, format!("{line:?} is no order; these are:\n{HELP}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["help"] => say(HELP)?,
            ["quit" | "exit"] => return Ok(false),
            ["card", name] => self.module.lay_down(self.card(name)?),
            ["lift"] => self.module.lift(),
            ["fault", name] => self.module.fault(None, name.parse()?),
            ["fault", name, command] => {
                let code = u16::from_str_radix(command, 16).map_err(|_| usage())?;
                self.module.fault(Some(code.to_be_bytes()), name.parse::<Fault>()?);
            }
            ["heal"] => self.module.heal(),
            ["quirk", number] => {
                let quirks = number.parse().ok().and_then(Quirks::number).ok_or_else(usage)?;
                self.module.quirks(quirks);
            }
            ["unplug"] => self.module.unplug(),
            ["plug"] => {
                self.module.plug_in()?;
                self.say_where()?;
            }
            _ => return Err(usage()),
        }
        Ok(true)
    }
}
