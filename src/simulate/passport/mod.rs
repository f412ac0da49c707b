//! A virtual passport: generated keys and certificates, and a chip that answers commands as ICAO 9303 part 11 says, or
//! misbehaves. It is a [`Card`] itself, and it can be put onto a virtual reader
//! ([`insert`](super::card::insert)).

mod chip;
mod issue;
mod sign;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jpeg_encoder::{ColorType, Encoder};

pub use chip::VirtualChip;
pub use issue::{Authority, Flaw, SignedBy, VALID, Validity};
pub use sign::SecretKey;

use crate::device::chip::cipher::Cipher;
use crate::device::chip::curve::Curve;
use crate::device::chip::hash::Hash;
use crate::device::chip::security_info::{active_oid, chip_authentication_oid, chip_key_oid, pace_oid};
use crate::device::chip::session::files;
use crate::device::chip::signature::Scheme;
use crate::device::chip::tlv::object;
use crate::device::chip::{AccessKey, Wanted};
use crate::document::mrz::{Zone, check};
use crate::error::{Context as _, Error, Kind, Result};

/// What a virtual passport does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A checksum of secure messaging is wrong once the photo is read.
    WrongMac,
    /// The photo's file ends before its length says.
    TruncatedTlv,
    /// The photo is another than was signed.
    ReplacedGroup,
    /// Another authority than the given one has signed.
    UnknownSigner,
    /// It is a copy: the signed files are the true ones, the secret keys are not.
    Cloned,
    /// The same, and the files that would show it are left out as well.
    Stripped,
    /// It is taken away while the photo is read.
    TakenAway,
}

impl Fault {
    const ALL: [(&'static str, Self); 7] = [
        ("wrong-mac", Self::WrongMac),
        ("truncated-tlv", Self::TruncatedTlv),
        ("replaced-dg", Self::ReplacedGroup),
        ("unknown-signer", Self::UnknownSigner),
        ("cloned", Self::Cloned),
        ("stripped", Self::Stripped),
        ("taken-away", Self::TakenAway),
    ];

    /// Their names, for the command line.
    pub const NAMES: &'static str =
        "wrong-mac, truncated-tlv, replaced-dg, unknown-signer, cloned, stripped, taken-away";
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, fault)| fault).ok_or_else(|| {
            Error::new(Kind::Input, format!("{text:?} is no fault; there are {}", Self::NAMES))
        })
    }
}

/// How a chip shows that it is no copy with active authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    /// RSA with recovery.
    Rsa,
    /// ECDSA on a curve, by its number among the standardised domain parameters.
    Curve(u8),
}

/// What a virtual passport is like.
#[derive(Clone)]
pub struct Options {
    /// Lines for machines.
    pub lines: Vec<String>,
    /// Card access number.
    pub can: String,
    /// The photo: a JPEG or a JPEG 2000.
    pub photo: Vec<u8>,
    /// PACE, with the standardised domain parameters; `None`: BAC alone.
    pub pace: Option<(Cipher, u8)>,
    /// How it is signed.
    pub signed: SignedBy,
    /// Active authentication.
    pub active: Option<Active>,
    /// Chip authentication, with the number of the curve of its key.
    pub chip_authentication: Option<(Cipher, u8)>,
    /// Whether it knows commands of extended length.
    pub extended: bool,
    /// Whether it says so in its answer to reset.
    pub announced: bool,
    /// What it does wrong.
    pub fault: Option<Fault>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("pace", &self.pace)
            .field("active", &self.active)
            .field("chip_authentication", &self.chip_authentication)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl Default for Options {
    /// As passports are today: PACE with AES-128 on P-256, chip authentication with the same, signed with ECDSA.
    fn default() -> Self {
        Self {
            lines: specimen(),
            can: "123456".to_owned(),
            photo: drawing(),
            pace: Some((Cipher::Aes128, 12)),
            signed: SignedBy::default(),
            active: None,
            chip_authentication: Some((Cipher::Aes128, 12)),
            extended: true,
            announced: true,
            fault: None,
        }
    }
}

/// The lines of the specimen of ICAO 9303 part 4 appendix B, valid until the end of 2049.
pub fn specimen() -> Vec<String> {
    passport_lines("L898902C3", "740812", "F", "491231", "ERIKSSON<<ANNA<MARIA")
}

/// The lines of a passport of Utopia; what is given must be made of capital letters, digits and fillers.
pub fn passport_lines(number: &str, birthday: &str, sex: &str, expires: &str, name: &str) -> Vec<String> {
    let digit = |field: &str| char::from(check::digit(field.bytes()));
    let first = format!("{:<<44}", format!("P<UTO{name}"));
    let number = format!("{number:<<9}");
    let optional = "<".repeat(14);
    let second = format!(
        "{number}{}UTO{birthday}{}{sex}{expires}{}{optional}{}",
        digit(&number),
        digit(birthday),
        digit(expires),
        digit(&optional)
    );
    let all = [&second[..10], &second[13..20], &second[21..43]].concat();
    vec![first, format!("{second}{}", digit(&all))]
}

/// A photo without a person: a drawn head, as a JPEG.
pub fn drawing() -> Vec<u8> {
    const WIDTH: u16 = 240;
    const HEIGHT: u16 = 320;
    let mut pixels = Vec::with_capacity(usize::from(WIDTH) * usize::from(HEIGHT) * 3);
    for y in 0..i32::from(HEIGHT) {
        for x in 0..i32::from(WIDTH) {
            let within = |left: i32, top: i32, wide: i32, high: i32| {
                let (across, down) = (x - left, y - top);
                across * across * high * high + down * down * wide * wide <= wide * wide * high * high
            };
            pixels.extend(match () {
                () if within(92, 140, 9, 6) || within(148, 140, 9, 6) => [60, 50, 45],
                () if within(120, 200, 24, 6) => [170, 90, 80],
                () if within(120, 150, 66, 88) => [222, 184, 160],
                () if within(120, 330, 110, 90) => [60, 80, 120],
                () => [232, 236, 240],
            });
        }
    }
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, 90)
        .encode(&pixels, WIDTH, HEIGHT, ColorType::Rgb)
        .expect("a picture of this size is a JPEG");
    jpeg
}

/// A passport with its files and secrets; its copies and chips share them.
#[derive(Clone)]
pub struct Passport(Arc<Parts>);

/// What it is made of.
#[derive(Clone)]
struct Parts {
    options: Options,
    files: BTreeMap<u16, Vec<u8>>,
    mrz: AccessKey,
    can: AccessKey,
    active: Option<SecretKey>,
    chip_authentication: Option<(Cipher, &'static Curve, crate::device::chip::curve::Secret)>,
}

impl Passport {
    /// A new passport, signed under an authority.
    ///
    /// # Errors
    /// `Input`: the lines, the access number or a curve cannot be. `Io`: the system gives no random numbers.
    pub fn issue(authority: &Authority, options: Options) -> Result<Self> {
        let mrz = AccessKey::zone(&Zone::parse(&options.lines, Wanted::default().now.date())?);
        let can = AccessKey::can(&options.can)?;
        let curve = |parameter: u8| {
            Curve::standardised(parameter).ok_or_else(|| {
                Error::new(Kind::Input, format!("{parameter} are no domain parameters of a curve (8 to 18)"))
            })
        };
        let mut groups = vec![(1, issue::dg1(&options.lines)), (2, issue::dg2(&options.photo))];

        let mut infos = Vec::new();
        let mut access = Vec::new();
        if let Some((cipher, parameter)) = options.pace {
            curve(parameter)?;
            access = object(
                0x30,
                &[&object(6, &[&pace_oid(cipher)]), &object(2, &[&[2]]), &object(2, &[&[parameter]])],
            );
            infos.extend_from_slice(&access);
        }
        let mut chip_authentication = None;
        if let Some((cipher, parameter)) = options.chip_authentication {
            let curve = curve(parameter)?;
            let key = SecretKey::curve(curve)?;
            let id = object(2, &[&[1]]);
            infos.extend(object(0x30, &[&object(6, &[&chip_key_oid()]), &key.public(true), &id]));
            let oid = object(6, &[&chip_authentication_oid(cipher)]);
            infos.extend(object(0x30, &[&oid, &object(2, &[&[1]]), &id]));
            if let SecretKey::Curve(curve, secret) = key {
                chip_authentication = Some((cipher, curve, secret));
            }
        }
        let mut active = None;
        if let Some(kind) = options.active {
            let key = match kind {
                Active::Rsa => SecretKey::rsa()?,
                Active::Curve(parameter) => {
                    let scheme = Scheme::EcdsaPlain(Hash::Sha256).written();
                    // The identifier alone, without the sequence around it.
                    let plain = &scheme[2..];
                    infos.extend(object(0x30, &[&object(6, &[&active_oid()]), &object(2, &[&[1]]), plain]));
                    SecretKey::curve(curve(parameter)?)?
                }
            };
            groups.push((15, object(0x6f, &[&key.public(true)])));
            active = Some(key);
        }
        if !infos.is_empty() {
            groups.push((14, object(0x6e, &[&object(0x31, &[&infos])])));
        }
        groups.sort_by_key(|(number, _)| *number);

        let listed: Vec<(u8, &[u8])> = groups.iter().map(|(number, file)| (*number, &file[..])).collect();
        let other;
        let signer = if options.fault == Some(Fault::UnknownSigner) {
            other = Authority::new("Somebody else")?;
            &other
        } else {
            authority
        };
        let sod = issue::sod(signer, &options.signed, &listed)?;
        match options.fault {
            Some(Fault::ReplacedGroup) => groups[1].1 = issue::dg2(&replaced(&options.photo)),
            Some(Fault::TruncatedTlv) => {
                let half = groups[1].1.len() / 2;
                groups[1].1.truncate(half);
            }
            Some(Fault::Cloned | Fault::Stripped) => {
                // What cannot be read out of a chip cannot be copied.
                if let Some((_, curve, secret)) = &mut chip_authentication {
                    *secret = curve.secret()?;
                }
                active = match active {
                    Some(SecretKey::Curve(curve, _)) => Some(SecretKey::curve(curve)?),
                    Some(SecretKey::Rsa(_)) => Some(SecretKey::rsa()?),
                    None => None,
                };
                if options.fault == Some(Fault::Stripped) {
                    groups.retain(|(number, _)| *number < 14);
                }
            }
            _ => {}
        }
        let tags: Vec<u8> = groups
            .iter()
            .map(|(number, _)| match number {
                1 => 0x61,
                2 => 0x75,
                14 => 0x6e,
                _ => 0x6f,
            })
            .collect();
        let mut files = BTreeMap::from([(files::COM.id, issue::com(&tags)), (files::SOD.id, sod)]);
        if !access.is_empty() {
            files.insert(files::CARD_ACCESS.id, object(0x31, &[&access]));
        }
        files.extend(groups.into_iter().map(|(number, file)| (0x0100 | u16::from(number), file)));
        Ok(Self(Arc::new(Parts { options, files, mrz, can, active, chip_authentication })))
    }

    /// The key of its lines.
    pub fn key(&self) -> &AccessKey {
        &self.0.mrz
    }

    /// The key of its access number.
    pub fn can(&self) -> &AccessKey {
        &self.0.can
    }

    /// Its lines.
    pub fn lines(&self) -> &[String] {
        &self.0.options.lines
    }

    /// Its photo as it was signed.
    pub fn photo(&self) -> &[u8] {
        &self.0.options.photo
    }

    /// Its file with this identifier.
    pub fn file(&self, id: u16) -> Option<&[u8]> {
        self.0.files.get(&id).map(Vec::as_slice)
    }

    /// The same with another file of this identifier, or one more: what was signed stays as it was.
    pub fn with_file(&self, id: u16, file: Vec<u8>) -> Self {
        let mut parts = Parts::clone(&self.0);
        parts.files.insert(id, file);
        Self(Arc::new(parts))
    }

    /// The same without a file.
    pub fn without_file(&self, id: u16) -> Self {
        let mut parts = Parts::clone(&self.0);
        parts.files.remove(&id);
        Self(Arc::new(parts))
    }

    /// Its chip, with power and nothing done.
    pub fn chip(&self) -> VirtualChip {
        VirtualChip::new(Arc::clone(&self.0))
    }
}

/// Another photo of the same length: its last byte but two is another.
fn replaced(photo: &[u8]) -> Vec<u8> {
    let mut other = photo.to_vec();
    if let Some(at) = other.len().checked_sub(3) {
        other[at] ^= 1;
    }
    other
}

/// Reads a photo for a virtual passport.
///
/// # Errors
/// `NotFound` or `Io`: the file cannot be read. `Input`: it is too long for a chip.
pub fn photo(file: &std::path::Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(file).context(|| format!("the photo {} cannot be read", file.display()))?;
    if bytes.len() > files::DG2.longest - 1024 {
        let error = format!("the photo {} has {} bytes; a chip holds 199 KiB", file.display(), bytes.len());
        return Err(Error::new(Kind::Input, error));
    }
    Ok(bytes)
}
