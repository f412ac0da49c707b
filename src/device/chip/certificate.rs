//! Certificates of states and of those who sign their documents (RFC 5280, ICAO 9303 part 12 section 7).

use std::fmt;

use jiff::civil::DateTime;

use super::signature::{PublicKey, Scheme, dotted};
use super::tlv::{Objects, malformed, value};
use crate::error::Result;

/// The longest certificate.
pub const LONGEST: usize = 16 << 10;

/// The most extensions that are looked at.
const EXTENSIONS: usize = 64;

const COUNTRY: &[u8] = &[0x55, 0x04, 0x06];
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];
const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];

/// Extensions that may be critical and restrict nothing that is asked here, under 2.5.29: the period of the private key, other
/// names, where revocation lists are, policies.
const HARMLESS: [u8; 5] = [0x10, 0x11, 0x12, 0x1f, 0x20];

/// Purposes of a signer of documents: any (2.5.29.37.0), or the security object itself (2.23.136.1.1.1). Part 12 wants none
/// said; what states say of others' purposes, master lists and lists of deviations, is no leave to sign documents.
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
const DOCUMENTS: &[u8] = &[0x67, 0x81, 0x08, 0x01, 0x01, 0x01];

/// Extensions of ICAO (part 12 section 7.1.1.6), under 2.23.136.1.1.6, that restrict nothing that is asked here: the change of an
/// authority's name, and the kinds of documents that a signer signs.
const OF_DOCUMENTS: [u8; 6] = [0x67, 0x81, 0x08, 0x01, 0x01, 0x06];
const HARMLESS_OF_DOCUMENTS: [u8; 2] = [1, 2];

/// Bits of the key usage: digitalSignature is the first, contentCommitment (nonRepudiation), which some signers have alone,
/// the second, keyCertSign the sixth.
const SIGNS_DATA: u8 = 0xc0;
const SIGNS_CERTIFICATES: u8 = 0x04;

/// A certificate.
#[derive(Clone)]
pub struct Certificate {
    /// Who issued it.
    pub issuer: Name,
    /// Whose it is.
    pub subject: Name,
    /// Its serial number as it is written.
    pub serial: Vec<u8>,
    /// From when on it is valid, UTC.
    pub from: DateTime,
    /// Until when, UTC.
    pub until: DateTime,
    /// Its key.
    pub key: PublicKey,
    /// Identifier of its key.
    pub key_id: Option<Vec<u8>>,
    /// Identifier of its issuer's key.
    pub issuer_key_id: Option<Vec<u8>>,
    /// Whether it is an authority's.
    pub authority: bool,
    /// What its key may be used for (RFC 5280 section 4.2.1.3): the first eight bits; `None`: it does not say.
    usage: Option<u8>,
    /// For which purposes (section 4.2.1.12), as values of object identifiers; `None`: it does not say.
    purposes: Option<Vec<Vec<u8>>>,
    /// Why it cannot be used for anything.
    unusable: Option<String>,
    /// What is signed, how, and the signature.
    signed: Vec<u8>,
    scheme: Scheme,
    signature: Vec<u8>,
}

/// The name of an issuer or a subject.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Name {
    /// As it is written, with its head.
    pub whole: Vec<u8>,
    /// Two or three letters of the country, in capitals.
    pub country: String,
    /// What it is called: common name, else organisation.
    pub called: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.called, self.country)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate of {} from {} until {}", self.subject, self.from, self.until)
    }
}

impl Name {
    fn read(whole: &[u8]) -> Result<Self> {
        let mut name = Self { whole: whole.to_vec(), ..Self::default() };
        let mut organisation = String::new();
        let mut sets = Objects::new(value(whole, 0x30)?);
        while let Some(set) = sets.take()? {
            let mut pairs = Objects::new(set.value);
            while let Some(pair) = pairs.take()? {
                let mut pair = Objects::new(pair.value);
                let oid = pair.expect(6)?.value;
                let Some(text) = pair.take()? else { continue };
                let text: String = String::from_utf8_lossy(text.value)
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(64)
                    .collect();
                match oid {
                    COUNTRY => name.country = text.to_uppercase(),
                    COMMON_NAME => name.called = text,
                    ORGANIZATION => organisation = text,
                    _ => {}
                }
            }
        }
        if name.called.is_empty() {
            name.called = organisation;
        }
        Ok(name)
    }
}

impl Certificate {
    /// The certificate of these bytes, whole.
    ///
    /// # Errors
    /// `Device`: it is malformed, too long, or uses what is not known here.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LONGEST {
            return Err(malformed("a certificate is longer than 16 KiB"));
        }
        let mut outer = Objects::new(value(bytes, 0x30)?);
        let signed = outer.expect(0x30)?;
        let algorithm = outer.expect(0x30)?;
        let signature = outer.expect(3)?.value;
        let Some((0, signature)) = signature.split_first() else {
            return Err(malformed("the signature of a certificate has no whole bytes"));
        };
        let mut inner = Objects::new(signed.value);
        inner.take_if(0xa0)?;
        let serial = inner.expect(2)?.value.to_vec();
        // Section 4.1.1.2: what is named outside is not signed. Parameters of nothing may be left out.
        let named = inner.expect(0x30)?;
        let bare = |value: &[u8]| value.strip_suffix(&[5, 0]).unwrap_or(value).to_vec();
        let unusable = (bare(named.value) != bare(algorithm.value))
            .then(|| "it names two algorithms for its one signature".to_owned());
        let issuer = Name::read(inner.expect(0x30)?.whole)?;
        let mut validity = Objects::new(inner.expect(0x30)?.value);
        let mut moment = || -> Result<DateTime> {
            let time = validity.take()?.ok_or_else(|| malformed("a certificate has no validity"))?;
            time_of(time.tag, time.value).ok_or_else(|| malformed("a certificate's validity is no time"))
        };
        let (from, until) = (moment()?, moment()?);
        let subject = Name::read(inner.expect(0x30)?.whole)?;
        let key = PublicKey::read(inner.expect(0x30)?.whole)?;
        let mut certificate = Self {
            issuer,
            subject,
            serial,
            from,
            until,
            key,
            key_id: None,
            issuer_key_id: None,
            authority: false,
            usage: None,
            purposes: None,
            unusable,
            signed: signed.whole.to_vec(),
            scheme: Scheme::read(algorithm.value, None)?,
            signature: signature.to_vec(),
        };
        if let Some(extensions) = inner.find(0xa3)? {
            certificate.extensions(value(extensions.value, 0x30)?)?;
        }
        Ok(certificate)
    }

    fn extensions(&mut self, extensions: &[u8]) -> Result<()> {
        let mut extensions = Objects::new(extensions);
        for _ in 0..EXTENSIONS {
            let Some(extension) = extensions.take()? else { break };
            let mut extension = Objects::new(extension.value);
            let oid = extension.expect(6)?.value;
            let critical = extension.take_if(1)?.is_some_and(|flag| flag.value != [0]);
            let content = extension.expect(4)?.value;
            match oid {
                SUBJECT_KEY => self.key_id = Some(value(content, 4)?.to_vec()),
                AUTHORITY_KEY => {
                    let id = Objects::new(value(content, 0x30)?).find(0x80)?;
                    self.issuer_key_id = id.map(|id| id.value.to_vec());
                }
                BASIC_CONSTRAINTS => {
                    let authority = Objects::new(value(content, 0x30)?).find(1)?;
                    self.authority = authority.is_some_and(|flag| flag.value != [0]);
                }
                KEY_USAGE => {
                    let (_, bits) = value(content, 3)?
                        .split_first()
                        .ok_or_else(|| malformed("the usage of a certificate's key has no bits"))?;
                    self.usage = Some(bits.first().copied().unwrap_or_default());
                }
                EXTENDED_KEY_USAGE => {
                    let mut purposes = Objects::new(value(content, 0x30)?);
                    let mut named = Vec::new();
                    while let Some(purpose) = purposes.take()? {
                        named.push(purpose.value.to_vec());
                    }
                    self.purposes = Some(named);
                }
                [0x55, 0x1d, last] if HARMLESS.contains(last) => {}
                [group @ .., last] if *group == OF_DOCUMENTS && HARMLESS_OF_DOCUMENTS.contains(last) => {}
                _ if critical => {
                    let what =
                        format!("it has the critical extension {} that is not known here", dotted(oid));
                    self.unusable.get_or_insert(what);
                }
                _ => {}
            }
        }
        match extensions.rest() {
            [] => Ok(()),
            // One of those that are not looked at may be critical.
            _ => Err(malformed("a certificate has more than 64 extensions")),
        }
    }

    /// Why it is none by which others are issued; `None`: it is one (part 12 section 7.1.1).
    pub fn no_authority(&self) -> Option<String> {
        if let Some(why) = &self.unusable {
            return Some(why.clone());
        }
        let signs = self.usage.is_none_or(|bits| bits & SIGNS_CERTIFICATES != 0);
        (!self.authority || !signs).then(|| format!("{} is not allowed to issue certificates", self.subject))
    }

    /// Why it is none by which documents are signed; `None`: it is one.
    pub fn no_signer(&self) -> Option<String> {
        if let Some(why) = &self.unusable {
            return Some(why.clone());
        }
        if self.authority {
            return Some("it is an authority's own".to_owned());
        }
        if self.usage.is_some_and(|bits| bits & SIGNS_DATA == 0) {
            return Some("its key is not for signatures".to_owned());
        }
        let documents = |purpose: &Vec<u8>| [ANY_PURPOSE, DOCUMENTS].contains(&purpose.as_slice());
        let purposes = self.purposes.as_ref().filter(|purposes| !purposes.iter().any(documents))?;
        let named: Vec<String> = purposes.iter().map(|purpose| dotted(purpose)).collect();
        Some(format!("it is for another purpose: {}", named.join(", ")))
    }

    /// Whether it is signed with this key.
    pub fn signed_with(&self, key: &PublicKey) -> bool {
        key.verifies(self.scheme, &[&self.signed], &self.signature).unwrap_or(false)
    }

    /// Whether it is valid at a time, UTC.
    pub fn valid_at(&self, time: DateTime) -> bool {
        self.from <= time && time <= self.until
    }
}

/// UTCTime or GeneralizedTime (RFC 5280 section 4.1.2.5), in UTC.
fn time_of(tag: u32, value: &[u8]) -> Option<DateTime> {
    let text = std::str::from_utf8(value).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    // Some states leave the seconds out.
    let part = |at: usize| match rest.get(at..at + 2) {
        Some(digits) => digits.parse::<i8>().ok(),
        None => (at == 8).then_some(0),
    };
    if !matches!(rest.len(), 8 | 10) || !(1..=9999).contains(&year) {
        return None;
    }
    DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tlv::object;
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    #[test]
    fn times_are_read() {
        assert_eq!(time_of(0x17, b"491231235959Z"), Some(date(2049, 12, 31).at(23, 59, 59, 0)));
        assert_eq!(time_of(0x17, b"500101000000Z"), Some(date(1950, 1, 1).at(0, 0, 0, 0)));
        assert_eq!(time_of(0x17, b"2005061234Z"), Some(date(2020, 5, 6).at(12, 34, 0, 0)));
        assert_eq!(time_of(0x18, b"20500101000000Z"), Some(date(2050, 1, 1).at(0, 0, 0, 0)));
        for wrong in
            ["", "Z", "2013010000Z0", "201301000000Z", "-00101000000Z", "200101000000", "20010100000Z"]
        {
            assert_eq!(time_of(0x17, wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(time_of(0x18, b"00000101000000Z"), None);
    }

    fn authority() -> Certificate {
        let authority = crate::simulate::passport::Authority::new("Authority under test").unwrap();
        Certificate::read(authority.certificate()).unwrap()
    }

    #[test]
    fn a_signer_signs_data_or_commits_to_content() {
        let mut signer = authority();
        signer.authority = false;
        // RFC 5280 section 4.2.1.3: bit 0 is the highest.
        for (usage, signs) in
            [(0x80, true), (0x40, true), (0xc0, true), (0x20, false), (0x06, false), (0x00, false)]
        {
            signer.usage = Some(usage);
            assert_eq!(signer.no_signer().is_none(), signs, "{usage:02x}");
        }
    }

    #[test]
    fn critical_extensions_of_icao_are_known() {
        for (oid, refused) in [
            // 2.23.136.1.1.6.1, .2 and .3, and 2.23.136.1.1.7.1.
            (&[0x67, 0x81, 0x08, 0x01, 0x01, 0x06, 0x01][..], None),
            (&[0x67, 0x81, 0x08, 0x01, 0x01, 0x06, 0x02], None),
            (&[0x67, 0x81, 0x08, 0x01, 0x01, 0x06, 0x03], Some("2.23.136.1.1.6.3")),
            (&[0x67, 0x81, 0x08, 0x01, 0x01, 0x07, 0x01], Some("2.23.136.1.1.7.1")),
        ] {
            let mut certificate = authority();
            let extension =
                object(0x30, &[&object(6, &[oid]), &object(1, &[&[0xff]]), &object(4, &[&[5, 0]])]);
            certificate.extensions(&extension).unwrap();
            let said =
                refused.map(|oid| format!("it has the critical extension {oid} that is not known here"));
            assert_eq!(certificate.no_authority(), said);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Certificate::read(&bytes);
            let _ = Name::read(&object(0x30, &[&bytes]));
            let _ = time_of(0x17, &bytes);
            let _ = time_of(0x18, &bytes);
        }
    }
}
