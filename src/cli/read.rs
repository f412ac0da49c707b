//! `menshen read`: what a card in a reader says of itself, for a technician.

use std::process::ExitCode;
use std::time::Duration;

use jiff::Zoned;
use menshen::device::bank_card::{self, masked, social_security};
use menshen::device::chip::card::Card as _;
use menshen::device::pcsc::{self, Reader};
use menshen::{Error, Kind, Result};

use super::say;

/// Reads what lies in a reader, without the gate.
///
/// A gate that runs with the same reader keeps the card while it reads it: then try again. What is read is shown here and
/// kept nowhere.
///
/// Exit codes: 0 read, 1 failed, 2 wrong usage, 3 no card came, or it is neither a bank's nor of social security.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// A bank or social security card in a PC/SC reader
    Card(Card),
}

#[derive(clap::Args)]
struct Card {
    /// The reader: any part of its name, as in "pcsc:NAME"; without it the first there is
    #[arg(long, value_name = "NAME", default_value = "")]
    reader: String,
    /// How long a card is waited for, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    within: u64,
    /// Shows names, numbers and tracks whole
    #[arg(long)]
    clear: bool,
}

/// Fields that are not the holder's: of the card's kind, its counters and limits, and its validity.
const PUBLIC: [&str; 27] = [
    "CertificatesType",
    "BalanceLimit",
    "EffectiveDate",
    "SerialNumber",
    "CurrencyCode",
    "PinRetryTime",
    "ExpiryDate",
    "Atc",
    "SingleTradingLimit",
    "ResetThreshold",
    "TransactionLimitNumber_I_N",
    "TransactionLimitNumber_I_C",
    "TradingLimitNumber",
    "TradingLimitNumber_Double",
    "TransactionAmountUpperLimit",
    "CurrencyConversionFactor",
    "TradingFloor",
    "TradingCeiling",
    "AppLock",
    "IcCardAID",
    "TransactionCurrencyCode",
    "SocialSecurityCardType",
    "CardNormVer",
    "VisaInstitution",
    "ValidStart",
    "ValidEnd",
    "Kind",
];

pub fn run(args: &Args) -> Result<ExitCode> {
    let What::Card(args) = &args.what;
    let part = pcsc::part(&args.reader).unwrap_or(&args.reader);
    let mut reader = Reader::new(part);
    let card = reader.wait_card(Duration::from_secs(args.within))?;
    let mut card = card.ok_or_else(|| {
        let name = reader.name().unwrap_or_default();
        Error::new(Kind::NotFound, format!("no card was put into {name} within {} s", args.within))
    })?;
    say(format_args!("Reader: {}", card.reader()))?;
    let atr: String = card.atr().iter().map(|byte| format!("{byte:02X}")).collect();
    say(format_args!("ATR: {atr}"))?;
    let shown = |name: &str, value: &str| match value {
        "" => Ok(()),
        _ if args.clear || PUBLIC.contains(&name) => say(format_args!("{name}: {value}")),
        _ => say(format_args!("{name}: {}", masked(value))),
    };
    match social_security::read(&mut card) {
        Ok(read) => {
            shown("Kind", "social security card")?;
            read.fields().into_iter().try_for_each(|(name, value)| shown(name, value))?;
            if read.withheld {
                say("the card keeps something to itself until it gets a PIN or a key")?;
            }
        }
        Err(error) if error.kind() == Kind::NotFound => {
            let read = bank_card::read(&mut card, Zoned::now().date())?;
            shown("Kind", "bank card")?;
            read.fields().into_iter().try_for_each(|(name, value)| shown(name, value))?;
        }
        Err(error) => return Err(error),
    }
    Ok(ExitCode::SUCCESS)
}
