//! EF.SOD: the hashes of a document's files, signed by its issuer (ICAO 9303 part 10 section 4.6.2, RFC 5652), and passive
//! authentication (part 11 section 5.1).

use std::fmt;

use jiff::civil::DateTime;

use super::certificate::{Certificate, Name};
use super::hash::{Hash, same};
use super::signature::{Scheme, dotted, unknown};
use super::tlv::{Objects, malformed, object, value};
use super::trust::Trust;
use crate::error::Result;

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
/// 2.23.136.1.1.1.
const SECURITY_OBJECT: &[u8] = &[0x67, 0x81, 0x08, 0x01, 0x01, 0x01];

/// The most certificates and signers in it that are looked at.
const MOST: usize = 8;

/// The highest number of a data group.
const GROUPS: usize = 16;

/// A whole EF.SOD, read and not yet believed.
pub struct SecurityObject {
    hash: Hash,
    /// The hash of each data group, by its number less one.
    groups: [Option<Vec<u8>>; GROUPS],
    /// What is signed.
    content: Vec<u8>,
    certificates: Vec<Certificate>,
    signer: Signer,
}

struct Signer {
    who: Who,
    digest: Hash,
    /// The signed attributes as they are signed; `None`: the content itself is signed.
    attributes: Option<Attributes>,
    scheme: Scheme,
    signature: Vec<u8>,
}

struct Attributes {
    signed: Vec<u8>,
    digest: Vec<u8>,
}

enum Who {
    /// Name of the issuer, whole, and serial number.
    Issued(Vec<u8>, Vec<u8>),
    /// Identifier of the key.
    Key(Vec<u8>),
}

/// What passive authentication says of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// What was read is what the state has signed.
    Genuine,
    /// Nobody is believed, so nothing was compared but the hashes; it may be genuine.
    NobodyBelieved,
    /// A file is not what was signed: its name.
    Changed(String),
    /// A file that is signed is not there: its name.
    Missing(String),
    /// The signature is not that of the certificate that comes with it.
    Forged,
    /// The certificate is of no authority that is believed: its issuer.
    UnknownSigner(String),
    /// The certificate is not one by which documents are signed: why.
    NoSigner(String),
    /// The document names another state as its issuer than that of the certificate, whose country this is.
    OtherState(String),
    /// The certificate is not valid today: from when until when.
    NotValid(DateTime, DateTime),
}

impl Signed {
    /// As a verdict: `None` where it was not tried.
    pub fn verdict(&self) -> Option<bool> {
        match self {
            Self::NobodyBelieved => None,
            verdict => Some(*verdict == Self::Genuine),
        }
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Genuine => write!(f, "what was read is what the issuing state has signed"),
            Self::NobodyBelieved => {
                write!(f, "no signing authority is known here: put its certificate into documents.csca_dir")
            }
            Self::Changed(file) => write!(f, "{file} is not what was signed: it was changed"),
            Self::Missing(file) => write!(f, "{file} was signed and is not on the chip"),
            Self::Forged => write!(f, "the signature is wrong"),
            Self::UnknownSigner(issuer) => {
                write!(
                    f,
                    "it was signed under {issuer}, of whom documents.csca_dir has no certificate that fits"
                )
            }
            Self::NoSigner(why) => write!(f, "the signer's certificate may not sign documents: {why}"),
            Self::OtherState(country) => {
                write!(f, "it was signed by {country}, and names another state as its issuer")
            }
            Self::NotValid(from, until) => {
                write!(
                    f,
                    "the signer's certificate is valid from {from} until {until} only; is the gate's clock right?"
                )
            }
        }
    }
}

impl SecurityObject {
    /// The object of a whole file.
    ///
    /// # Errors
    /// `Device`: it is malformed or uses what is not known here.
    pub fn read(file: &[u8]) -> Result<Self> {
        let mut info = Objects::new(value(value(file, 0x77)?, 0x30)?);
        let kind = info.expect(6)?.value;
        if kind != SIGNED_DATA {
            return Err(unknown(format_args!("EF.SOD is {}", dotted(kind))));
        }
        let mut data = Objects::new(value(info.expect(0xa0)?.value, 0x30)?);
        data.expect(2)?;
        data.expect(0x31)?;
        let mut inner = Objects::new(data.expect(0x30)?.value);
        let kind = inner.expect(6)?.value;
        if kind != SECURITY_OBJECT {
            return Err(unknown(format_args!("the content of EF.SOD is {}", dotted(kind))));
        }
        let content = value(inner.expect(0xa0)?.value, 4)?;
        let (mut certificates, mut unreadable) = (Vec::new(), None);
        if let Some(found) = data.take_if(0xa0)? {
            let mut found = Objects::new(found.value);
            for _ in 0..MOST {
                let Some(certificate) = found.take()? else { break };
                // Besides the signer's, others may be there.
                match Certificate::read(certificate.whole) {
                    Ok(certificate) => certificates.push(certificate),
                    Err(error) => drop(unreadable.get_or_insert(error)),
                }
            }
        }
        data.take_if(0xa1)?;
        let mut signers = Objects::new(data.expect(0x31)?.value);
        let signer = Signer::read(signers.expect(0x30)?.value)?;
        if let Some(error) = unreadable
            && !certificates.iter().any(|certificate| signer.is(certificate))
        {
            return Err(error);
        }
        let (hash, groups) = hashes(content)?;
        Ok(Self { hash, groups, content: content.to_vec(), certificates, signer })
    }

    /// Whether a data group was signed; 1 to 16.
    pub fn lists(&self, group: usize) -> bool {
        self.expected(group).is_some()
    }

    fn expected(&self, group: usize) -> Option<&[u8]> {
        self.groups.get(group.checked_sub(1)?)?.as_deref()
    }

    /// Passive authentication: whether these files, by the number of their data group, are what a believed state has signed.
    /// `None` stands for a file that was to be read and is not on the chip. `now` is UTC.
    pub fn check(&self, files: &[(usize, Option<&[u8]>)], trust: &Trust, now: DateTime) -> Signed {
        for (group, file) in files {
            let name = || format!("DG{group}");
            match (self.expected(*group), file) {
                (Some(expected), Some(file)) if same(&self.hash.of(&[file]), expected) => {}
                (None, None) => {}
                (Some(_), None) => return Signed::Missing(name()),
                (_, Some(_)) => return Signed::Changed(name()),
            }
        }
        let Some(certificate) = self.certificates.iter().find(|certificate| self.signer.is(certificate))
        else {
            return Signed::Forged;
        };
        if !self.signer.signed(certificate, &self.content) {
            return Signed::Forged;
        }
        if trust.is_empty() {
            return Signed::NobodyBelieved;
        }
        if trust.issuer(certificate).is_none() {
            return Signed::UnknownSigner(certificate.issuer.to_string());
        }
        if let Some(why) = certificate.no_signer() {
            return Signed::NoSigner(why);
        }
        if !certificate.valid_at(now) {
            return Signed::NotValid(certificate.from, certificate.until);
        }
        Signed::Genuine
    }

    /// Who issued the signer's certificate.
    pub fn issuer(&self) -> Option<&Name> {
        let certificate = self.certificates.iter().find(|certificate| self.signer.is(certificate));
        certificate.map(|certificate| &certificate.issuer)
    }
}

impl Signer {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut objects = Objects::new(bytes);
        objects.expect(2)?;
        let who = objects.take()?.ok_or_else(|| malformed("EF.SOD does not say who signed it"))?;
        let who = match who.tag {
            0x30 => {
                let mut issued = Objects::new(who.value);
                Who::Issued(issued.expect(0x30)?.whole.to_vec(), issued.expect(2)?.value.to_vec())
            }
            0x80 => Who::Key(who.value.to_vec()),
            _ => return Err(malformed("EF.SOD does not say who signed it")),
        };
        let digest = value(objects.expect(0x30)?.value, 6)?;
        let digest =
            Hash::from_oid(digest).ok_or_else(|| unknown(format_args!("the hash {}", dotted(digest))))?;
        let attributes = match objects.take_if(0xa0)? {
            None => None,
            Some(found) => {
                let mut kind = None;
                let mut message = None;
                let mut attributes = Objects::new(found.value);
                while let Some(attribute) = attributes.take()? {
                    let mut attribute = Objects::new(attribute.value);
                    let oid = attribute.expect(6)?.value;
                    let set = attribute.expect(0x31)?.value;
                    match oid {
                        MESSAGE_DIGEST => message = Some(value(set, 4)?.to_vec()),
                        CONTENT_TYPE => kind = Some(value(set, 6)?),
                        _ => {}
                    }
                }
                if kind.is_some_and(|kind| kind != SECURITY_OBJECT) {
                    return Err(malformed("the signature of EF.SOD is over another kind of content"));
                }
                // They are signed as the set that they are (RFC 5652 section 5.4).
                let signed = object(0x31, &[found.value]);
                let digest = message.ok_or_else(|| malformed("the signature of EF.SOD has no digest"))?;
                Some(Attributes { signed, digest })
            }
        };
        let scheme = Scheme::read(objects.expect(0x30)?.value, Some(digest))?;
        let signature = objects.expect(4)?.value.to_vec();
        Ok(Self { who, digest, attributes, scheme, signature })
    }

    fn is(&self, certificate: &Certificate) -> bool {
        match &self.who {
            Who::Issued(name, serial) => certificate.issuer.whole == *name && certificate.serial == *serial,
            Who::Key(id) => certificate.key_id.as_ref() == Some(id),
        }
    }

    fn signed(&self, certificate: &Certificate, content: &[u8]) -> bool {
        let message = match &self.attributes {
            None => content,
            Some(attributes) => {
                if !same(&self.digest.of(&[content]), &attributes.digest) {
                    return false;
                }
                &attributes.signed
            }
        };
        certificate.key.verifies(self.scheme, &[message], &self.signature).unwrap_or(false)
    }
}

/// The LDSSecurityObject (part 10 section 4.6.2.3).
fn hashes(content: &[u8]) -> Result<(Hash, [Option<Vec<u8>>; GROUPS])> {
    let mut objects = Objects::new(value(content, 0x30)?);
    objects.expect(2)?;
    let oid = value(objects.expect(0x30)?.value, 6)?;
    let hash = Hash::from_oid(oid).ok_or_else(|| unknown(format_args!("the hash {}", dotted(oid))))?;
    let mut groups = [const { None }; GROUPS];
    let mut list = Objects::new(objects.expect(0x30)?.value);
    while let Some(entry) = list.take()? {
        let mut entry = Objects::new(entry.value);
        let (number, digest) = (entry.expect(2)?.value, entry.expect(4)?.value);
        let place = match number {
            [number @ 1..=16] => &mut groups[usize::from(*number) - 1],
            _ => return Err(malformed("EF.SOD lists a data group that there is not")),
        };
        if place.replace(digest.to_vec()).is_some() {
            return Err(malformed("EF.SOD lists a data group twice"));
        }
    }
    Ok((hash, groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SecurityObject::read(&bytes);
            let _ = hashes(&bytes);
            let _ = hashes(&object(0x30, &[&bytes]));
            let _ = Signer::read(&bytes);
        }

        #[test]
        fn a_damaged_object_signs_nothing_else(
            name in prop::sample::select(vec!["rsa", "pss", "ecdsa", "explicit"]),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passport_chip");
            let file = |suffix| std::fs::read(folder.join(format!("{name}.{suffix}"))).unwrap();
            let mut trust = Trust::none();
            trust.add(&file("csca.der")).unwrap();
            let mut bytes = file("sod");
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(object) = SecurityObject::read(&bytes) {
                let now = jiff::civil::date(2027, 3, 1).at(0, 0, 0, 0);
                let verdict = object.check(&[(1, Some(b"DG1")), (2, Some(b"another"))], &trust, now);
                prop_assert_ne!(verdict, Signed::Genuine);
                let verdict = object.check(&[(1, Some(b"DG1")), (3, Some(b"DG3"))], &trust, now);
                prop_assert_ne!(verdict, Signed::Genuine);
            }
        }
    }
}
