//! The virtual cards there are. Their numbers are those of test cards, their holders nobody.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::Chip;
use crate::error::{Error, Kind, Result};

/// A test number of UnionPay that card networks publish for integrators; its check digit is right.
pub const ACCOUNT: &str = "6200000000000005";

/// UID of the contactless cards.
pub const UID: [u8; 4] = [0x09, 0x60, 0xdb, 0xb3];

/// What is printed on the social security card: letters that no region uses.
pub const PRINTED: &str = "T00000001";

/// UnionPay debit.
const DEBIT: [u8; 8] = [0xa0, 0x00, 0x00, 0x03, 0x33, 0x01, 0x01, 0x01];

/// With contacts, T=0, eight historical bytes.
const CONTACT_ATR: [u8; 12] = [0x3b, 0x68, 0x00, 0x00, 0x4d, 0x45, 0x4e, 0x53, 0x48, 0x45, 0x4e, 0x31];

/// What readers make of a contactless card without historical bytes (PC/SC part 3 chapter 3.1.3.2.3.1), T=0 and T=1.
const CONTACTLESS_ATR: [u8; 5] = [0x3b, 0x80, 0x80, 0x01, 0x01];

/// A card, by what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// UnionPay debit with electronic cash, with contacts.
    Bank,
    /// The same, contactless: another directory, and a UID.
    BankContactless,
    /// The same as the first, without a directory and without production data.
    BankWithoutDirectory,
    /// Social security, with contacts.
    SocialSecurity,
    /// The same, with the holder's data behind a PIN.
    SocialSecurityPin,
    /// A contactless card with a UID and nothing else.
    Uid,
}

impl Profile {
    /// All names, as a person types them.
    pub const NAMES: &str =
        "bank, bank-contactless, bank-without-directory, social-security, social-security-pin, uid";

    /// A card of this kind.
    pub fn chip(self) -> Box<dyn Chip> {
        Box::new(match self {
            Self::Bank => VirtualCard {
                applications: vec![directory(b"1PAY.SYS.DDF01"), bank()],
                production: Some(production()),
                ..VirtualCard::with_contacts()
            },
            Self::BankContactless => VirtualCard {
                applications: vec![contactless_directory(), bank()],
                ..VirtualCard::contactless()
            },
            Self::BankWithoutDirectory => {
                VirtualCard { applications: vec![bank()], ..VirtualCard::with_contacts() }
            }
            Self::SocialSecurity => {
                VirtualCard { applications: vec![social_security(false)], ..VirtualCard::with_contacts() }
            }
            Self::SocialSecurityPin => {
                VirtualCard { applications: vec![social_security(true)], ..VirtualCard::with_contacts() }
            }
            Self::Uid => VirtualCard::contactless(),
        })
    }
}

impl FromStr for Profile {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "bank" => Self::Bank,
            "bank-contactless" => Self::BankContactless,
            "bank-without-directory" => Self::BankWithoutDirectory,
            "social-security" => Self::SocialSecurity,
            "social-security-pin" => Self::SocialSecurityPin,
            "uid" => Self::Uid,
            _ => {
                return Err(Error::new(
                    Kind::Input,
                    format!("{name:?} is no virtual card; these are: {}", Self::NAMES),
                ));
            }
        })
    }
}

/// A file of records.
#[derive(Default)]
struct File {
    /// By number, from 1.
    records: Vec<Vec<u8>>,
    /// Whether a PIN would have to come first.
    shut: bool,
}

/// What is selected by name.
#[derive(Default)]
struct Application {
    name: Vec<u8>,
    /// Answer to SELECT.
    control: Vec<u8>,
    /// Answer to GET PROCESSING OPTIONS.
    options: Option<Vec<u8>>,
    /// By short identifier.
    files: BTreeMap<u8, File>,
    /// By identifier, selected one after the other.
    elementary: BTreeMap<u16, File>,
    /// Answers to GET DATA, by tag.
    data: BTreeMap<u16, Vec<u8>>,
}

/// A card of applications and files.
struct VirtualCard {
    atr: &'static [u8],
    uid: Option<[u8; 4]>,
    applications: Vec<Application>,
    production: Option<Vec<u8>>,
    /// Transaction counter.
    used: u16,
    application: Option<usize>,
    elementary: Option<u16>,
    /// What GET RESPONSE fetches (T=0).
    pending: Vec<u8>,
}

/// Data and status.
type Said = (Vec<u8>, u16);

const OK: u16 = 0x9000;

fn refused(status: u16) -> Said {
    (Vec::new(), status)
}

impl VirtualCard {
    fn with_contacts() -> Self {
        Self {
            atr: &CONTACT_ATR,
            uid: None,
            applications: Vec::new(),
            production: None,
            used: 6,
            application: None,
            elementary: None,
            pending: Vec::new(),
        }
    }

    fn contactless() -> Self {
        Self { atr: &CONTACTLESS_ATR, uid: Some(UID), ..Self::with_contacts() }
    }

    fn say(&mut self, command: &[u8]) -> Said {
        let [class, instruction, p1, p2, rest @ ..] = command else { return refused(0x6700) };
        let data = match rest {
            [length, data @ ..] => data.get(..usize::from(*length)).unwrap_or_default(),
            [] => &[],
        };
        match (class, instruction, p1, p2) {
            (0xff, 0xca, 0x00, 0x00) => match self.uid {
                Some(uid) => (uid.to_vec(), OK),
                None => refused(0x6a81),
            },
            (0x00, 0xa4, 0x04, _) => self.select(data),
            (0x00, 0xa4, 0x00 | 0x02, _) => self.select_file(data),
            (0x00, 0xb2, number, _) => self.read_record(*number, *p2),
            (0x80, 0xa8, 0x00, 0x00) => self.open(data),
            (0x80, 0xca, high, low) => self.get_data(u16::from_be_bytes([*high, *low])),
            (0x00 | 0x80 | 0xff, ..) => refused(0x6d00),
            _ => refused(0x6e00),
        }
    }

    fn select(&mut self, name: &[u8]) -> Said {
        let begins = |application: &Application| !name.is_empty() && application.name.starts_with(name);
        match self.applications.iter().position(begins) {
            Some(at) => {
                (self.application, self.elementary) = (Some(at), None);
                (self.applications[at].control.clone(), OK)
            }
            None => refused(0x6a82),
        }
    }

    fn selected(&self) -> Option<&Application> {
        self.applications.get(self.application?)
    }

    fn select_file(&mut self, name: &[u8]) -> Said {
        let name = match name {
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => return refused(0x6700),
        };
        match self.selected().is_some_and(|application| application.elementary.contains_key(&name)) {
            true => {
                self.elementary = Some(name);
                refused(OK)
            }
            false => refused(0x6a82),
        }
    }

    fn read_record(&self, number: u8, p2: u8) -> Said {
        let Some(application) = self.selected() else { return refused(0x6985) };
        let (short, how) = (p2 >> 3, p2 & 0x07);
        let file = match (short, self.elementary) {
            (0, None) => return refused(0x6986),
            (0, Some(selected)) => application.elementary.get(&selected),
            (short, _) => application.files.get(&short),
        };
        let Some(file) = file else { return refused(0x6a82) };
        let record = match how {
            0x04 => file.records.get(usize::from(number).wrapping_sub(1)),
            0x00 => file.records.iter().find(|record| record.first() == Some(&number)),
            _ => return refused(0x6a86),
        };
        match record {
            Some(_) if file.shut => refused(0x6982),
            Some(record) => (record.clone(), OK),
            None => refused(0x6a83),
        }
    }

    fn open(&mut self, data: &[u8]) -> Said {
        let options = self.selected().and_then(|application| application.options.clone());
        match (options, data) {
            // What the card has asked for with its PDOL: 83 and 11 bytes.
            (Some(options), [0x83, 11, rest @ ..]) if rest.len() == 11 => {
                self.used = self.used.wrapping_add(1);
                (options, OK)
            }
            (Some(_), _) => refused(0x6700),
            (None, _) => refused(0x6985),
        }
    }

    fn get_data(&self, tag: u16) -> Said {
        let value = match tag {
            0x9f7f => self.production.clone(),
            0x9f36 if self.selected().is_some_and(|application| application.options.is_some()) => {
                Some(self.used.to_be_bytes().to_vec())
            }
            tag => self.selected().and_then(|application| application.data.get(&tag).cloned()),
        };
        match value {
            Some(value) => (tlv(&tag.to_be_bytes(), &value), OK),
            None => refused(0x6a88),
        }
    }
}

impl Chip for VirtualCard {
    fn atr(&self) -> Vec<u8> {
        self.atr.to_vec()
    }

    fn reset(&mut self) {
        (self.application, self.elementary) = (None, None);
        self.pending.clear();
    }

    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        let whole = |(mut data, status): Said| {
            data.extend_from_slice(&status.to_be_bytes());
            data
        };
        // A card of T=0 says how much there is to fetch, or how much it would have said.
        if let [0x00, 0xc0, 0x00, 0x00, _] = command {
            let data = std::mem::take(&mut self.pending);
            return whole(if data.is_empty() { refused(0x6985) } else { (data, OK) });
        }
        let (data, status) = self.say(command);
        let length = u8::try_from(data.len()).unwrap_or(0);
        match command {
            [_, _, _, _, lc, rest @ ..]
                if self.uid.is_none()
                    && !data.is_empty()
                    && rest.len() == usize::from(*lc)
                    && !rest.is_empty() =>
            {
                self.pending = data;
                vec![0x61, length]
            }
            [_, _, _, _, expected] if self.uid.is_none() && !data.is_empty() && *expected != length => {
                vec![0x6c, length]
            }
            _ => whole((data, status)),
        }
    }
}

/// A data object. Its value has at most 255 bytes.
fn tlv(tag: &[u8], value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
    let length = if length < 0x80 { vec![length] } else { vec![0x81, length] };
    [tag, &length, value].concat()
}

/// A record of a social security card.
fn simple(tag: u8, value: &[u8]) -> Vec<u8> {
    tlv(&[tag], value)
}

fn entry() -> Vec<u8> {
    tlv(&[0x61], &[tlv(&[0x4f], &DEBIT), tlv(&[0x50], b"PBOC DEBIT"), tlv(&[0x87], &[0x01])].concat())
}

fn directory(name: &[u8]) -> Application {
    let own = [tlv(&[0x88], &[0x01]), tlv(&[0x5f, 0x2d], b"zh")].concat();
    let control = tlv(&[0x6f], &[tlv(&[0x84], name), tlv(&[0xa5], &own)].concat());
    let file = File { records: vec![tlv(&[0x70], &entry())], shut: false };
    Application { name: name.to_vec(), control, files: BTreeMap::from([(1, file)]), ..Application::default() }
}

fn contactless_directory() -> Application {
    let name = b"2PAY.SYS.DDF01";
    let own = tlv(&[0xbf, 0x0c], &entry());
    let control = tlv(&[0x6f], &[tlv(&[0x84], name), tlv(&[0xa5], &own)].concat());
    Application { name: name.to_vec(), control, ..Application::default() }
}

/// Digits two a byte; an odd one is followed by F.
fn packed(digits: &str) -> Vec<u8> {
    let nibble = |byte: &u8| match byte {
        b'0'..=b'9' => byte - b'0',
        b'D' => 0x0d,
        _ => 0x0f,
    };
    let pair = |pair: &[u8]| nibble(&pair[0]) << 4 | pair.get(1).map_or(0x0f, nibble);
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// Debit and electronic cash of nobody, until the end of 2049.
fn bank() -> Application {
    // Qualifiers, amount, type of transaction.
    let pdol = [0x9f, 0x66, 4, 0x9f, 0x02, 6, 0x9c, 1];
    let own = [
        tlv(&[0x50], b"PBOC DEBIT"),
        tlv(&[0x87], &[0x01]),
        tlv(&[0x9f, 0x38], &pdol),
        tlv(&[0xbf, 0x0c], &tlv(&[0x9f, 0x4d], &[0x0b, 0x0a])),
    ];
    let control = tlv(&[0x6f], &[tlv(&[0x84], &DEBIT), tlv(&[0xa5], &own.concat())].concat());
    let track2 = format!("{ACCOUNT}D49122200000000000");
    let holder = [
        tlv(&[0x57], &packed(&track2)),
        tlv(&[0x5f, 0x20], b"TEST/CARD"),
        tlv(&[0x9f, 0x1f], b"0000000000"),
        tlv(&[0x9f, 0x62], &[0x05]),
        tlv(&[0x9f, 0x61], b"TEST00000000000000"),
    ];
    let card = [
        tlv(&[0x5a], &packed(ACCOUNT)),
        tlv(&[0x5f, 0x24], &[0x49, 0x12, 0x31]),
        tlv(&[0x5f, 0x25], &[0x20, 0x01, 0x01]),
        tlv(&[0x5f, 0x34], &[0x01]),
        tlv(&[0x9f, 0x42], &[0x01, 0x56]),
    ];
    let files = BTreeMap::from([
        (1, File { records: vec![tlv(&[0x70], &holder.concat())], shut: false }),
        (2, File { records: vec![tlv(&[0x70], &card.concat())], shut: false }),
        // Date, time, amount, currency of the last payment.
        (
            11,
            File {
                records: vec![[&packed("260101093000000000001250")[..], &[0x01, 0x56]].concat()],
                shut: false,
            },
        ),
    ]);
    // Interchange profile, then record 1 of file 1 and record 1 of file 2.
    let options = tlv(&[0x80], &[0x7d, 0x00, 0x08, 0x01, 0x01, 0x00, 0x10, 0x01, 0x01, 0x00]);
    let data = BTreeMap::from([
        (0x9f17, vec![0x03]),
        (0x9f79, packed("000000000797")),
        (0x9f77, packed("000000100000")),
        (0x9f78, packed("000000050000")),
        (0x9f6d, packed("000000000000")),
        (0x9f4f, vec![0x9a, 3, 0x9f, 0x21, 3, 0x9f, 0x02, 6, 0x5f, 0x2a, 2]),
    ]);
    Application {
        name: DEBIT.to_vec(),
        control,
        options: Some(options),
        files,
        elementary: BTreeMap::new(),
        data,
    }
}

/// Production data: fabricator, type, system, its date and level, fabrication, serial number, batch, and zeros.
fn production() -> Vec<u8> {
    let mut data = vec![0x00; 42];
    data[0..4].copy_from_slice(&[0x00, 0x01, 0x00, 0x02]);
    data[12..18].copy_from_slice(&[0xde, 0xad, 0x00, 0x01, 0x00, 0x03]);
    data
}

/// Region 000000, which is none; a holder born on the first day of 2000.
fn social_security(shut: bool) -> Application {
    let name = [0x73, 0x78, 0x31, 0x2e, 0x73, 0x68, 0x2e, 0xc9, 0xe7, 0xbb, 0xe1, 0xb1, 0xa3, 0xd5, 0xcf];
    let issuer = vec![
        simple(0x01, &[0x00; 16]),
        simple(0x02, b"1"),
        simple(0x03, b"2.00"),
        simple(0x04, &[0x00; 12]),
        simple(0x05, &[0x20, 0x20, 0x01, 0x01]),
        simple(0x06, &[0x20, 0x49, 0x12, 0x31]),
        simple(0x07, PRINTED.as_bytes()),
    ];
    // 张三 in GB 18030, filled up.
    let mut holder_name = [0; 30];
    holder_name[..4].copy_from_slice(&[0xd5, 0xc5, 0xc8, 0xfd]);
    let holder = vec![
        simple(0x08, b"000000200001010000"),
        simple(0x09, &holder_name),
        simple(0x0a, b"1"),
        simple(0x0b, &[0x01]),
        simple(0x0c, &[0x00; 3]),
        simple(0x0d, &[0x20, 0x00, 0x01, 0x01]),
    ];
    Application {
        name: name.to_vec(),
        control: tlv(&[0x6f], &tlv(&[0x84], &name)),
        elementary: BTreeMap::from([
            (0xef05, File { records: issuer, shut: false }),
            (0xef06, File { records: holder, shut }),
        ]),
        ..Application::default()
    }
}
