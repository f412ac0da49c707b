//! Electronic passports and other travel documents with a chip (ICAO Doc 9303 parts 10 and 11): opened with the lines for
//! machines or the card access number (BAC, PACE), read (DG1, DG2), and looked at whether the issuing state has signed what was
//! read and whether the chip is no copy.
//!
//! Everything here comes from whoever holds the document: every length has a bound, nothing recurses, and the whole has a
//! time. What is about a person stands in no error, log or `Debug`.
//!
//! Certificates and signatures are read here rather than by crates for them: what is signed must be the bytes as they came, states
//! deviate from DER, explicit curve parameters are the rule, and the crates for CMS and RSA have no finished version.

pub mod apdu;
pub(crate) mod bac;
pub mod card;
pub mod certificate;
pub mod cipher;
pub mod curve;
pub mod dg1;
pub mod face;
pub mod hash;
pub mod key;
mod original;
pub(crate) mod pace;
pub mod rsa;
pub mod secure;
pub mod security_info;
pub mod session;
pub mod signature;
pub mod sod;
mod state;
pub mod tlv;
pub mod trust;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub use card::Card;
pub use key::AccessKey;
use security_info::SecurityInfos;
use session::{Chip, File, files};
use sod::SecurityObject;
pub use sod::Signed;
use tlv::{Objects, malformed, value};
pub use trust::Trust;

use crate::document::{ChipVerdict, Pictures, Reading};
use crate::error::{Context as _, Error, Result};

/// What is wanted of a chip.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The photo; it takes most of the time.
    pub photo: bool,
    /// Whether it is to show that it is no copy.
    pub original: bool,
    /// The time now, UTC: certificates are valid or not, and years have two digits.
    pub now: DateTime,
    /// How long reading may take; no command is sent after that.
    pub patience: Duration,
}

impl Default for Wanted {
    fn default() -> Self {
        let now = TimeZone::UTC.to_datetime(Timestamp::now());
        Self { photo: true, original: true, now, patience: Duration::from_secs(30) }
    }
}

/// How a chip was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Basic Access Control.
    Bac,
    /// PACE, with this cipher.
    Pace(cipher::Cipher),
}

/// What was read of a chip.
#[derive(Debug, Clone)]
pub struct ChipReading {
    /// Facts, texts, photo and verdict.
    pub reading: Reading,
    /// How it was opened.
    pub opened: Opened,
    /// What passive authentication says, for a technician; `None`: it was not possible, a note says why.
    pub signed: Option<Signed>,
    /// What else a technician may want to know: what could not be done, and why. Nothing about the person.
    pub notes: Vec<String>,
}

impl ChipReading {
    /// This together with what was read of the page: facts and photo are the chip's, which can be proved; texts of both are kept,
    /// the page's first; a note says where the lines of both differ, as the chip's key covers only a part of them.
    pub fn with_page(mut self, page: Reading) -> Self {
        let mut reading = self.reading;
        if !page.mrz.is_empty() && page.mrz != reading.mrz {
            self.notes.push(
                "the lines of the page are not those of the chip: one of them was changed or misread"
                    .to_owned(),
            );
        }
        reading.texts.splice(0..0, page.texts);
        let chip_photo = reading.pictures.chip_photo.take();
        reading.pictures = Pictures { chip_photo, ..page.pictures };
        if !page.mrz.is_empty() {
            reading.mrz = page.mrz;
        }
        reading.bar_code = page.bar_code;
        Self { reading, ..self }
    }
}

/// Reads a travel document's chip.
///
/// # Errors
/// `Input`: the key is not of this document, or of the wrong kind for it. `Device`: it is no travel document, malformed, or was
/// taken away. `Timeout`: it takes too long. A photo that cannot be decoded and a signature that cannot be checked are no
/// errors: the notes say so. The document has a photo to compare its holder with only where the state has signed it; what else
/// the chip holds is among the pictures.
pub fn read(card: &mut dyn Card, key: &AccessKey, trust: &Trust, wanted: &Wanted) -> Result<ChipReading> {
    let begun = Instant::now();
    let mut chip = Chip::new(card, begun + wanted.patience);
    let (opened, access) = open(&mut chip, key)?;
    let mut notes = Vec::new();

    let announced = match announced(&mut chip) {
        Ok(announced) => announced,
        Err(error) if chip.gone() => return Err(error),
        // It is not signed, and matters only where EF.SOD is missing.
        Err(error) => {
            notes.push(format!("EF.COM cannot be used: {error}"));
            Announced(Vec::new())
        }
    };
    let dg1 = required(&mut chip, files::DG1)?;
    let zone = dg1::zone(&dg1, wanted.now.date())?;
    let dg2 = if wanted.photo { chip.read(files::DG2)? } else { None };
    let sod = chip.read(files::SOD)?;
    let object = sod.as_deref().map(SecurityObject::read).transpose().unwrap_or_else(|error| {
        notes.push(format!("EF.SOD cannot be used: {error}"));
        None
    });
    if sod.is_none() {
        notes.push("the chip has no EF.SOD: nothing in it is signed".to_owned());
    }
    let listed = |group| object.as_ref().map_or_else(|| announced.has(group), |object| object.lists(group));
    let mut group = |number, file| if listed(number) { chip.read(file) } else { Ok(None) };
    let dg14 = group(14, files::DG14)?;
    let dg15 = group(15, files::DG15)?;

    let signed = object.as_ref().map(|object| {
        let mut groups = vec![(1, Some(&dg1[..])), (14, dg14.as_deref()), (15, dg15.as_deref())];
        if wanted.photo {
            groups.push((2, dg2.as_deref()));
        }
        let signed = object.check(&groups, trust, wanted.now);
        match object.issuer() {
            _ if signed != Signed::Genuine => signed,
            Some(issuer) if !state::may_sign(&issuer.country, &zone.issuing_state) => {
                Signed::OtherState(issuer.country.clone())
            }
            // Anybody can change how a chip is opened, unless it is signed as well (part 11 section 4.2).
            _ => match is_signed(&access, dg14.as_deref()) {
                Some(false) => Signed::Changed(files::CARD_ACCESS.name.to_owned()),
                Some(true) => signed,
                None => {
                    notes.push("DG14 says nothing of PACE: EF.CardAccess is not proved".to_owned());
                    signed
                }
            },
        }
    });
    let verdict = match &signed {
        Some(signed) => signed.verdict(),
        // What cannot be shown to be signed is not, where somebody is believed.
        None => (!trust.is_empty()).then_some(false),
    };
    let original = if wanted.original {
        original(&mut chip, dg14.as_deref(), dg15.as_deref(), &mut notes)?
    } else {
        None
    };
    // A key that the state has not signed is anybody's.
    let unsigned = match &signed {
        Some(Signed::Changed(file) | Signed::Missing(file)) => file == "DG14" || file == "DG15",
        _ => false,
    };
    let original = if unsigned && wanted.original { Some(false) } else { original };
    let read = begun.elapsed();

    // What is forged need not be looked at; a picture may be made so that this takes long.
    let face = dg2.as_deref().filter(|_| verdict != Some(false));
    let photo = face.and_then(|dg2| match face::picture(dg2).and_then(face::jpeg) {
        Ok(jpeg) => Some(Arc::<[u8]>::from(jpeg)),
        Err(error) => {
            notes.push(format!("the photo cannot be used: {error}"));
            None
        }
    });
    if wanted.photo && dg2.is_none() {
        notes.push("the chip has no photo (DG2)".to_owned());
    }
    tracing::debug!(
        ?opened,
        millis = read.as_millis() as u64,
        decoding_millis = (begun.elapsed() - read).as_millis() as u64,
        photo_bytes = dg2.map_or(0, |dg2| dg2.len()),
        "a travel document's chip was read"
    );
    let mut reading = dg1::reading(zone);
    // Anybody can make a chip with their own photo: one to compare with is the state's alone.
    reading.document.photo = photo.clone().filter(|_| verdict == Some(true));
    reading.pictures.chip_photo = photo;
    reading.chip = Some(ChipVerdict { signed: verdict, original });
    Ok(ChipReading { reading, opened, signed, notes })
}

/// Whether DG14, which is signed, has all that EF.CardAccess says of PACE; `None` where it says nothing of it, as that of some
/// states: only a contradiction shows that somebody has changed it.
fn is_signed(access: &SecurityInfos, dg14: Option<&[u8]>) -> Option<bool> {
    let signed = dg14.and_then(|dg14| SecurityInfos::read(value(dg14, 0x6e).ok()?).ok()).unwrap_or_default();
    let (access, signed) = (&access.pace_as_written, signed.pace_as_written);
    (access.is_empty() || !signed.is_empty()).then(|| access.iter().all(|pace| signed.contains(pace)))
}

/// Opens a chip: with PACE where it has it, else with BAC. Answers with what EF.CardAccess says too.
fn open(chip: &mut Chip<'_>, key: &AccessKey) -> Result<(Opened, SecurityInfos)> {
    // Another application may be selected from before; not every chip knows the master file by its name.
    let master = apdu::Command::new(0xa4, 0, 0x0c).data([0x3f, 0]);
    chip.send(&master)?;
    let access = match chip.read(files::CARD_ACCESS) {
        Ok(access) => access,
        Err(error) if chip.gone() => return Err(error),
        // Chips from before PACE answer what they like.
        Err(_) => None,
    };
    let infos = access.as_deref().map(SecurityInfos::read).transpose().context(|| "EF.CardAccess")?;
    let infos = infos.unwrap_or_default();
    if let Some((way, curve)) = infos.best_pace() {
        let ambiguous = infos.pace.iter().filter(|other| other.oid == way.oid).count() > 1;
        let secrets = pace::Secrets::new(curve)?;
        pace::open(chip, key, (way, curve), ambiguous, &secrets)?;
        chip.select_application()?;
        return Ok((Opened::Pace(way.cipher), infos));
    }
    chip.select_application()?;
    bac::open(chip, key, &bac::Random::new()?).map_err(|error| match infos.other_pace {
        // Some have PACE alone.
        true => Error::caused(
            error.kind(),
            "the chip has ways of PACE that are not known here, and BAC fails",
            error,
        ),
        false => error,
    })?;
    Ok((Opened::Bac, infos))
}

/// The data groups that EF.COM announces; it is not signed.
struct Announced(Vec<u8>);

impl Announced {
    fn has(&self, group: usize) -> bool {
        // Part 10 section 4.6.1: tags of the groups with keys.
        let tag = match group {
            14 => 0x6e,
            15 => 0x6f,
            _ => return false,
        };
        self.0.contains(&tag)
    }
}

fn announced(chip: &mut Chip<'_>) -> Result<Announced> {
    let Some(com) = chip.read(files::COM)? else { return Ok(Announced(Vec::new())) };
    let list = Objects::new(value(&com, 0x60)?).find(0x5c)?;
    Ok(Announced(list.map_or(Vec::new(), |list| list.value.to_vec())))
}

fn required(chip: &mut Chip<'_>, file: File) -> Result<Vec<u8>> {
    chip.read(file)?.ok_or_else(|| malformed(format_args!("it has no {}", file.name)))
}

/// Whether the chip is no copy; `None` where it has nothing to show it with, or chip authentication alone in a form that is
/// not known here: the notes say so. Whoever copies a chip can make the copy answer so that active authentication cannot be
/// tried: what is not shown then is refused.
fn original(
    chip: &mut Chip<'_>,
    dg14: Option<&[u8]>,
    dg15: Option<&[u8]>,
    notes: &mut Vec<String>,
) -> Result<Option<bool>> {
    let infos = dg14.map(|dg14| SecurityInfos::read(value(dg14, 0x6e)?)).transpose();
    let infos = infos.unwrap_or_else(|error| {
        notes.push(format!("DG14 cannot be used: {error}"));
        None
    });
    let mut original = None;
    let way = infos.as_ref().and_then(original::way);
    if way.is_none() && infos.as_ref().is_some_and(|infos| infos.other_chip_authentication) {
        notes.push(
            "chip authentication cannot be tried: the chip has it in a form that is not known here"
                .to_owned(),
        );
    }
    // First, because it leaves fresh keys behind; what active authentication is asked for in a wrong length may leave none.
    if let Some(way) = way {
        let proved = original::chip(chip, &way)?;
        original = Some(proved);
        if !proved {
            // With a copy the connection has ended.
            notes.push("chip authentication fails: the chip has not the key of DG14".to_owned());
            return Ok(original);
        }
    }
    if let Some(dg15) = dg15 {
        match original::active(chip, dg15, infos.as_ref()) {
            Ok(proved) => {
                original = Some(proved);
                if !proved {
                    notes.push("active authentication fails: the chip has not the key of DG15".to_owned());
                }
            }
            Err(error) if chip.gone() => return Err(error),
            Err(error) => {
                original.get_or_insert(false);
                notes.push(format!("active authentication cannot be tried: {error}"));
            }
        }
    }
    Ok(original)
}

/// The bytes of hexadecimal digits.
#[cfg(test)]
fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| (digit(pair[0]) << 4) | digit(pair[1])).collect()
}
