//! Social security cards: the two files that their environment SSSE shows first, those of the issuer (EF05) and of the
//! holder (EF06).
//!
//! The card's specification (LD/T 32, parts 3, 5 and 6) is not public as a whole. What is used here is what public programs
//! agree on: the environment's name, the two files, and their records of one byte tag, one byte length and value:
//!
//! | file | tag | what | value |
//! |---|---|---|---|
//! | EF05 | 01 | card identification code | 16 bytes, in digits |
//! | | 02 | type of card | a letter |
//! | | 03 | version of the specification | letters, `2.00` |
//! | | 04 | issuer | 12 bytes, in digits |
//! | | 05, 06 | issued, expires | 4 bytes, `yyyyMMdd` in digits |
//! | | 07 | number of the card, as printed | 9 letters |
//! | EF06 | 08 | social security number | 18 letters |
//! | | 09 | name | 30 bytes of GB 18030 |
//! | | 4E | rest of a long name | the same |
//! | | 0A | sex | 1 male, 2 female |
//! | | 0B | ethnic group | two digits of GB/T 3304 |
//! | | 0C | place of birth | six digits of GB/T 2260 |
//! | | 0D | day of birth | `yyyyMMdd` in digits |
//!
//! Some regions ask for the holder's PIN, or for a terminal's key, before they show a record: it is left out, and
//! [`SocialSecurityCard::withheld`] says so. No PIN is ever tried. Where a region has put something else into a record, that
//! cannot be known here: a record counts only if its tag and its length say what it is.

use std::fmt;

use jiff::civil::Date;

use super::exchange::{ask, select};
use super::{filled_up, hexadecimal, text};
use crate::device::chip::card::Card;
use crate::device::id_reader::codes;
use crate::document::{Document, DocumentKind};
use crate::error::{Error, Kind, Result};

/// Name of the environment: `sx1.sh.社会保障` in GB 18030.
const SSSE: [u8; 15] =
    [0x73, 0x78, 0x31, 0x2e, 0x73, 0x68, 0x2e, 0xc9, 0xe7, 0xbb, 0xe1, 0xb1, 0xa3, 0xd5, 0xcf];

/// Issuer and card.
const EF05: u16 = 0xef05;

/// Holder.
const EF06: u16 = 0xef06;

/// Records that are looked through in a file that does not find them by their tags.
const MOST_RECORDS: u8 = 16;

/// Security status not satisfied (ISO/IEC 7816-4 chapter 5.1.3): a PIN or a key would be wanted.
const WITHHELD: u16 = 0x6982;

/// A social security card as it says it is. Texts are empty where the card says nothing; the names are those of
/// `SocialCardInfo` of the CameraService document, chapter 4.3.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SocialSecurityCard {
    /// Social security number: the holder's identity number.
    pub social_security_number: String,
    /// Number of the card, as printed.
    pub card_number: String,
    /// Name of the holder.
    pub name: String,
    /// Sex, by the name that GB/T 2261.1 has for it; else the letter that the card has.
    pub sex: String,
    /// Ethnic group, by the name that GB/T 3304 has for it; else the two digits that the card has.
    pub nation: String,
    /// Day of birth, `yyyyMMdd`.
    pub birthday: String,
    /// Place of birth: six digits of GB/T 2260.
    pub birthplace: String,
    /// Card identification code, 32 digits.
    pub card_distinguish_code: String,
    /// Type of card: the letter that the card has.
    pub social_security_card_type: String,
    /// Version of the specification that the card keeps to.
    pub card_norm_version: String,
    /// Who issued it: 24 digits.
    pub visa_institution: String,
    /// First day, `yyyyMMdd`.
    pub valid_start: String,
    /// Last day, `yyyyMMdd`.
    pub valid_end: String,
    /// Whether the card keeps something to itself until it gets a PIN or a key.
    pub withheld: bool,
}

impl SocialSecurityCard {
    /// All fields by the names of `SocialCardInfo`, in its order. They are the holder's business.
    pub fn fields(&self) -> [(&'static str, &str); 13] {
        [
            ("SocialSecurityNumber", &self.social_security_number),
            ("CardNumber", &self.card_number),
            ("Name", &self.name),
            ("Sex", &self.sex),
            ("Nation", &self.nation),
            ("Birthday", &self.birthday),
            ("Birthplace", &self.birthplace),
            ("CardDistinguishCode", &self.card_distinguish_code),
            ("SocialSecurityCardType", &self.social_security_card_type),
            ("CardNormVer", &self.card_norm_version),
            ("VisaInstitution", &self.visa_institution),
            ("ValidStart", &self.valid_start),
            ("ValidEnd", &self.valid_end),
        ]
    }

    /// The same as an identity document, whose number is the social security number.
    pub fn document(&self) -> Document {
        let day = |text: &str| Date::strptime("%Y%m%d", text).ok();
        Document {
            kind: DocumentKind::SocialSecurity,
            number: self.social_security_number.clone(),
            name: self.name.clone(),
            gender: self.sex.clone(),
            ethnic: self.nation.clone(),
            birthday: day(&self.birthday),
            valid_from: day(&self.valid_start),
            expires: day(&self.valid_end),
            version: self.card_norm_version.clone(),
            ..Document::default()
        }
    }
}

impl fmt::Debug for SocialSecurityCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocialSecurityCard")
            .field("card_norm_version", &self.card_norm_version)
            .field("valid_end", &self.valid_end)
            .field("withheld", &self.withheld)
            .finish_non_exhaustive()
    }
}

/// The records of one file.
struct File {
    records: Vec<(u8, Vec<u8>)>,
    withheld: bool,
}

impl File {
    fn value(&self, tag: u8) -> &[u8] {
        self.records.iter().find(|(of, _)| *of == tag).map_or(&[], |(_, value)| value)
    }
}

/// A record's tag and value, if it is made so.
fn record(data: &[u8]) -> Option<(u8, &[u8])> {
    let [tag, length, value @ ..] = data else { return None };
    value.get(..usize::from(*length)).map(|value| (*tag, value))
}

/// Reads the records with these tags of a file: by their tags, and those that are not found so by looking through the file.
fn read_file(card: &mut dyn Card, file: u16, tags: &[u8]) -> Result<File> {
    let mut read = File { records: Vec::new(), withheld: false };
    let [high, low] = file.to_be_bytes();
    // "An elementary file under this one"; what does not know that knows "by its identifier".
    let mut there = false;
    for by in [0x02, 0x00] {
        if !there {
            there = ask(card, &[0x00, 0xa4, by, 0x00, 0x02, high, low, 0x00])?.ok().is_some();
        }
    }
    if !there {
        return Ok(read);
    }
    for tag in tags {
        let answer = ask(card, &[0x00, 0xb2, *tag, 0x00, 0x00])?;
        read.withheld |= answer.status == WITHHELD;
        if let Some((found, value)) = answer.ok().as_deref().and_then(record)
            && found == *tag
        {
            read.records.push((found, value.to_vec()));
        }
    }
    let all = |read: &File| tags.iter().all(|tag| read.records.iter().any(|(of, _)| of == tag));
    for number in 1..=MOST_RECORDS {
        if all(&read) {
            break;
        }
        let answer = ask(card, &[0x00, 0xb2, number, 0x04, 0x00])?;
        match answer.status {
            super::exchange::OK => {}
            WITHHELD => {
                read.withheld = true;
                continue;
            }
            // There are no more.
            _ => break,
        }
        if let Some((tag, value)) = record(&answer.data)
            && tags.contains(&tag)
            && !read.records.iter().any(|(of, _)| *of == tag)
        {
            read.records.push((tag, value.to_vec()));
        }
    }
    Ok(read)
}

/// The number that is printed on a social security card; `None` for another card, or if the card does not tell.
pub fn card_number(card: &mut dyn Card) -> Result<Option<String>> {
    if select(card, &SSSE)?.ok().is_none() {
        return Ok(None);
    }
    let number = text(read_file(card, EF05, &[0x07])?.value(0x07));
    Ok((!number.is_empty()).then_some(number))
}

/// Reads a social security card.
///
/// # Errors
/// `NotFound`: it is none. `Device` and `Timeout`: the card or its reader is gone ([`Card::transmit`]).
pub fn read(card: &mut dyn Card) -> Result<SocialSecurityCard> {
    if select(card, &SSSE)?.ok().is_none() {
        return Err(Error::new(Kind::NotFound, "the card is no social security card"));
    }
    let issuer = read_file(card, EF05, &[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07])?;
    let holder = read_file(card, EF06, &[0x08, 0x09, 0x4e, 0x0a, 0x0b, 0x0c, 0x0d])?;
    let sized =
        |value: &[u8], length: usize| if value.len() == length { hexadecimal(value) } else { String::new() };
    let (sex, nation) = (text(holder.value(0x0a)), sized(holder.value(0x0b), 1));
    Ok(SocialSecurityCard {
        social_security_number: text(holder.value(0x08)),
        card_number: text(issuer.value(0x07)),
        name: text(&[filled_up(holder.value(0x09)), holder.value(0x4e)].concat()),
        sex: codes::sex(&sex).map_or(sex, str::to_owned),
        nation: codes::ethnic(&nation).map_or(nation, |name| name.to_owned()),
        birthday: day(holder.value(0x0d)),
        birthplace: sized(holder.value(0x0c), 3),
        card_distinguish_code: sized(issuer.value(0x01), 16),
        social_security_card_type: text(issuer.value(0x02)),
        card_norm_version: text(issuer.value(0x03)),
        visa_institution: sized(issuer.value(0x04), 12),
        valid_start: day(issuer.value(0x05)),
        valid_end: day(issuer.value(0x06)),
        withheld: issuer.withheld || holder.withheld,
    })
}

/// A day of four bytes, if it is one.
fn day(value: &[u8]) -> String {
    let digits = hexadecimal(value);
    if Date::strptime("%Y%m%d", &digits).is_ok() { digits } else { String::new() }
}
