//! `menshen simulate passport`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use menshen::device::chip::cipher::Cipher;
use menshen::device::chip::{self, AccessKey, Trust, Wanted};
use menshen::simulate::card::{self, Happened};
use menshen::simulate::passport::{Active, Authority, Fault, Options, Passport, photo};
use menshen::{Context as _, Error, Kind, Result};

use crate::cli::say;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Lay it onto the virtual reader that listens there, such as 127.0.0.1:35963 of pcscd's vpcd
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "loopback")]
    vpcd: Option<SocketAddr>,
    /// Read it right here, and say what was read
    #[arg(long, conflicts_with = "vpcd")]
    loopback: bool,
    /// Basic Access Control alone, as older passports have it
    #[arg(long)]
    bac: bool,
    /// The cipher of PACE and chip authentication: 3des, aes-128, aes-192, aes-256
    #[arg(long, value_name = "NAME", default_value = "aes-128")]
    cipher: String,
    /// The curve of both, by its number in ICAO 9303 part 11: 8 to 18
    #[arg(long, value_name = "NUMBER", default_value_t = 12)]
    curve: u8,
    /// Active authentication besides: rsa, ecdsa
    #[arg(long, value_name = "NAME")]
    active: Option<String>,
    /// The photo: a JPEG or JPEG 2000; without one a head is drawn
    #[arg(long, value_name = "FILE")]
    photo: Option<PathBuf>,
    /// Write the certificate of its signing authority there, for documents.csca_dir
    #[arg(long, value_name = "FILE")]
    csca: Option<PathBuf>,
    /// Open it with its access number instead of its lines (with --loopback)
    #[arg(long, conflicts_with = "bac")]
    can: bool,
    /// What it does wrong
    #[arg(long, value_name = "NAME", help = format!("What it does wrong: {}", Fault::NAMES))]
    fault: Option<Fault>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let cipher = match args.cipher.as_str() {
        "3des" => Cipher::Tdes,
        "aes-128" => Cipher::Aes128,
        "aes-192" => Cipher::Aes192,
        "aes-256" => Cipher::Aes256,
        other => {
            let error = format!("{other:?} is no cipher; there are 3des, aes-128, aes-192, aes-256");
            return Err(Error::new(Kind::Input, error));
        }
    };
    let active = match args.active.as_deref() {
        None => None,
        Some("rsa") => Some(Active::Rsa),
        Some("ecdsa") => Some(Active::Curve(args.curve)),
        Some(other) => {
            let error = format!("{other:?} is no active authentication; there are rsa and ecdsa");
            return Err(Error::new(Kind::Input, error));
        }
    };
    let mut options = Options {
        pace: (!args.bac).then_some((cipher, args.curve)),
        chip_authentication: Some((cipher, args.curve)),
        active,
        fault: args.fault,
        ..Options::default()
    };
    if let Some(file) = &args.photo {
        options.photo = photo(file)?;
    }
    let authority = Authority::new("Simulated signing authority")?;
    if let Some(file) = &args.csca {
        std::fs::write(file, authority.certificate())
            .context(|| format!("the certificate {} cannot be written", file.display()))?;
    }
    let passport = Passport::issue(&authority, options)?;
    // The person of the simulator's passport does not exist.
    for line in passport.lines() {
        say(line)?;
    }
    match &args.vpcd {
        Some(address) => {
            say(format_args!("the virtual reader {address} is waited for (pcscd with vpcd)"))?;
            let (tell, told) = std::sync::mpsc::channel();
            let _inserted =
                card::insert(*address, Box::new(passport.chip()), card::Fault::None, move |happened| {
                    // Nobody is told where nobody listens.
                    let _ = tell.send(happened);
                })?;
            for happened in told {
                match happened {
                    Happened::Inserted => {
                        say(format_args!("the passport lies on the virtual reader {address}"))?
                    }
                    Happened::Removed => break,
                    Happened::Asked { .. } => {}
                }
            }
            say("the virtual reader has closed the connection")?;
            Ok(ExitCode::SUCCESS)
        }
        None => loopback(&passport, &authority, if args.can { passport.can() } else { passport.key() }),
    }
}

/// Reads the passport in this process.
fn loopback(passport: &Passport, authority: &Authority, key: &AccessKey) -> Result<ExitCode> {
    let mut trust = Trust::none();
    trust.add(authority.certificate())?;
    let mut card = passport.chip();
    let begun = Instant::now();
    let read = chip::read(&mut card, key, &trust, &Wanted::default())?;
    let millis = begun.elapsed().as_millis();
    let verdict = read.reading.chip.unwrap_or_default();
    say(format_args!("opened with {:?} in {} commands and {millis} ms", read.opened, card.commands()))?;
    let word = |verdict: Option<bool>| match verdict {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "not tried",
    };
    say(format_args!("signed: {}", word(verdict.signed)))?;
    if let Some(signed) = &read.signed {
        say(format_args!("  {signed}"))?;
    }
    say(format_args!("original: {}", word(verdict.original)))?;
    say(format_args!(
        "photo: {} bytes of JPEG",
        read.reading.document.photo.as_ref().map_or(0, |photo| photo.len())
    ))?;
    for note in &read.notes {
        say(note)?;
    }
    let well = verdict.signed == Some(true) && verdict.original != Some(false);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
