//! A simulated state: its signing authority, its signer, and the files of a document (ICAO 9303 parts 10 and 12).

use jiff::civil::DateTime;

use super::sign::SecretKey;
use crate::device::chip::curve::Curve;
use crate::device::chip::hash::Hash;
use crate::device::chip::signature::Scheme;
use crate::device::chip::tlv::object;
use crate::error::Result;

/// The country of all of it: Utopia, which ICAO uses for its specimens.
const COUNTRY: &str = "UT";

/// A signing authority (CSCA), with a key on brainpoolP256r1 that its certificate spells out.
pub struct Authority {
    key: SecretKey,
    certificate: Vec<u8>,
    name: Vec<u8>,
    key_id: Vec<u8>,
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The key is for something else: an authority's for data, a signer's for certificates.
    Usage,
    /// It is for master lists (2.23.136.1.1.3), critical.
    MasterLists,
    /// A signer's says that it is an authority's, an authority's that it is none.
    Authority,
    /// It has a critical extension that nobody knows.
    UnknownExtension,
    /// Outside it names another algorithm than inside.
    OtherAlgorithm,
    /// Its subject has no country.
    NoCountry,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// `Io`: the system gives no random numbers.
    pub fn new(called: &str) -> Result<Self> {
        Self::with(called, VALID, None)
    }

    /// A new one that is valid then, and has this flaw.
    ///
    /// # Errors
    /// As [`Authority::new`].
    pub fn with(called: &str, valid: Validity, flaw: Option<Flaw>) -> Result<Self> {
        let curve = Curve::standardised(13).expect("brainpoolP256r1 is known");
        let key = SecretKey::curve(curve)?;
        let public = key.public(true);
        let key_id = Hash::Sha1.of(&[&public]);
        let name = name(called, flaw != Some(Flaw::NoCountry));
        let extensions = [
            constraints(flaw != Some(Flaw::Authority)),
            usage(flaw == Some(Flaw::Usage)),
            extension(&[0x55, 0x1d, 0x0e], false, &object(4, &[&key_id])),
            flawed(flaw),
        ]
        .concat();
        let subject = Subject { serial: 1, name: &name, public: &public, extensions: &extensions };
        let certificate = certificate(&key, Scheme::Ecdsa(Hash::Sha256), &name, &subject, valid, flaw)?;
        Ok(Self { key, certificate, name, key_id })
    }

    /// Its certificate in DER: what belongs into `documents.csca_dir`.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// A new certificate for a signer with this key.
    fn issue(&self, key: &SecretKey, by: &SignedBy) -> Result<Vec<u8>> {
        let public = key.public(by.explicit);
        let named = object(0x80, &[&self.key_id]);
        let extensions = [
            extension(&[0x55, 0x1d, 0x23], false, &object(0x30, &[&named])),
            usage(by.flaw != Some(Flaw::Usage)),
            if by.flaw == Some(Flaw::Authority) { constraints(true) } else { Vec::new() },
            flawed(by.flaw),
        ]
        .concat();
        let subject = Subject {
            serial: SERIAL,
            name: &name("Simulated document signer", by.flaw != Some(Flaw::NoCountry)),
            public: &public,
            extensions: &extensions,
        };
        certificate(&self.key, Scheme::Ecdsa(Hash::Sha256), &self.name, &subject, by.valid, by.flaw)
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }
}

/// From when until when a certificate is valid.
pub type Validity = (DateTime, DateTime);

/// As long as a simulated document may be used.
pub const VALID: Validity =
    (DateTime::constant(2000, 1, 1, 0, 0, 0, 0), DateTime::constant(2049, 12, 31, 0, 0, 0, 0));

/// The serial number of the signer's certificate.
const SERIAL: u8 = 2;

struct Subject<'a> {
    serial: u8,
    name: &'a [u8],
    public: &'a [u8],
    extensions: &'a [u8],
}

/// basicConstraints: an authority, of signers alone, or none.
fn constraints(authority: bool) -> Vec<u8> {
    let content = if authority { [object(1, &[&[0xff]]), object(2, &[&[0]])].concat() } else { Vec::new() };
    extension(&[0x55, 0x1d, 0x13], true, &object(0x30, &[&content]))
}

/// keyUsage: digitalSignature, or keyCertSign and cRLSign.
fn usage(data: bool) -> Vec<u8> {
    let bits: [u8; 2] = if data { [7, 0x80] } else { [1, 0x06] };
    extension(&[0x55, 0x1d, 0x0f], true, &object(3, &[&bits]))
}

/// The extension that a flaw consists in.
fn flawed(flaw: Option<Flaw>) -> Vec<u8> {
    match flaw {
        Some(Flaw::MasterLists) => {
            let purpose = object(6, &[&[0x67, 0x81, 0x08, 0x01, 0x01, 0x03]]);
            extension(&[0x55, 0x1d, 0x25], true, &object(0x30, &[&purpose]))
        }
        // Name constraints, which documents' certificates do not have.
        Some(Flaw::UnknownExtension) => extension(&[0x55, 0x1d, 0x1e], true, &object(0x30, &[])),
        _ => Vec::new(),
    }
}

fn name(called: &str, country: bool) -> Vec<u8> {
    let pair = |oid: u8, tag: u32, text: &str| {
        object(0x31, &[&object(0x30, &[&object(6, &[&[0x55, 0x04, oid]]), &object(tag, &[text.as_bytes()])])])
    };
    let country = if country { pair(6, 0x13, COUNTRY) } else { Vec::new() };
    object(0x30, &[&country, &pair(3, 0x0c, called)])
}

fn extension(oid: &[u8], critical: bool, content: &[u8]) -> Vec<u8> {
    let critical = if critical { object(1, &[&[0xff]]) } else { Vec::new() };
    object(0x30, &[&object(6, &[oid]), &critical, &object(4, &[content])])
}

fn certificate(
    issuer: &SecretKey,
    scheme: Scheme,
    issuer_name: &[u8],
    subject: &Subject<'_>,
    (from, until): Validity,
    flaw: Option<Flaw>,
) -> Result<Vec<u8>> {
    let inside = if flaw == Some(Flaw::OtherAlgorithm) { Scheme::Ecdsa(Hash::Sha384) } else { scheme };
    let time = |time: DateTime| object(0x17, &[time.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()]);
    let signed = object(
        0x30,
        &[
            &object(0xa0, &[&object(2, &[&[2]])]),
            &object(2, &[&[subject.serial]]),
            &inside.written(),
            issuer_name,
            &object(0x30, &[&time(from), &time(until)]),
            subject.name,
            subject.public,
            &object(0xa3, &[&object(0x30, &[subject.extensions])]),
        ],
    );
    let signature = issuer.sign(scheme, &[&signed])?;
    Ok(object(0x30, &[&signed, &scheme.written(), &object(3, &[&[0], &signature])]))
}

/// How a document is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedBy {
    /// The scheme of the signer.
    pub scheme: Scheme,
    /// The curve of a scheme with one, as its number among the standardised domain parameters.
    pub parameter: u8,
    /// Whether its certificate spells the curve out.
    pub explicit: bool,
    /// The hash of the files.
    pub hash: Hash,
    /// Whether attributes are signed, as nearly all states do, or the content itself.
    pub attributes: bool,
    /// When the signer's certificate is valid.
    pub valid: Validity,
    /// What is wrong with it.
    pub flaw: Option<Flaw>,
    /// What stands before the signer's certificate in EF.SOD, besides it.
    pub besides: &'static [u8],
}

impl Default for SignedBy {
    fn default() -> Self {
        Self {
            scheme: Scheme::Ecdsa(Hash::Sha256),
            parameter: 13,
            explicit: true,
            hash: Hash::Sha256,
            attributes: true,
            valid: VALID,
            flaw: None,
            besides: &[],
        }
    }
}

/// EF.SOD over these files, by the number of their data group.
pub(super) fn sod(authority: &Authority, by: &SignedBy, files: &[(u8, &[u8])]) -> Result<Vec<u8>> {
    let key = match by.scheme {
        Scheme::Ecdsa(_) | Scheme::EcdsaPlain(_) => {
            SecretKey::curve(Curve::standardised(by.parameter).ok_or_else(|| {
                crate::Error::new(
                    crate::Kind::Input,
                    format!("{} are no known domain parameters", by.parameter),
                )
            })?)?
        }
        Scheme::Pkcs1(_) | Scheme::Pss(_) => SecretKey::rsa()?,
    };
    let signer = authority.issue(&key, by)?;
    let algorithm = |hash: Hash| object(0x30, &[&object(6, &[hash.oid()]), &object(5, &[])]);
    let hashes: Vec<u8> = files
        .iter()
        .flat_map(|(group, file)| {
            object(0x30, &[&object(2, &[&[*group]]), &object(4, &[&by.hash.of(&[file])])])
        })
        .collect();
    let content = object(0x30, &[&object(2, &[&[0]]), &algorithm(by.hash), &object(0x30, &[&hashes])]);
    let kind = object(6, &[&[0x67, 0x81, 0x08, 0x01, 0x01, 0x01]]);
    let digest = by.scheme.hash();
    let attribute = |last: u8, value: &[u8]| {
        let oid = object(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, last]]);
        object(0x30, &[&oid, &object(0x31, &[value])])
    };
    let attributes = [attribute(3, &kind), attribute(4, &object(4, &[&digest.of(&[&content])]))].concat();
    let (attributes, signature) = if by.attributes {
        let signature = key.sign(by.scheme, &[&object(0x31, &[&attributes])])?;
        (object(0xa0, &[&attributes]), signature)
    } else {
        (Vec::new(), key.sign(by.scheme, &[&content])?)
    };
    let who = object(0x30, &[authority.name(), &object(2, &[&[SERIAL]])]);
    let info = object(
        0x30,
        &[
            &object(2, &[&[1]]),
            &who,
            &algorithm(digest),
            &attributes,
            &by.scheme.written(),
            &object(4, &[&signature]),
        ],
    );
    let data = object(
        0x30,
        &[
            &object(2, &[&[3]]),
            &object(0x31, &[&algorithm(digest)]),
            &object(0x30, &[&kind, &object(0xa0, &[&object(4, &[&content])])]),
            &object(0xa0, &[by.besides, &signer]),
            &object(0x31, &[&info]),
        ],
    );
    let signed_data = object(6, &[&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02]]);
    Ok(object(0x77, &[&object(0x30, &[&signed_data, &object(0xa0, &[&data])])]))
}

/// DG1 of these lines.
pub(super) fn dg1(lines: &[String]) -> Vec<u8> {
    object(0x61, &[&object(0x5f1f, &[lines.concat().as_bytes()])])
}

/// DG2 with this picture: CBEFF, ISO 19794-5.
pub(super) fn dg2(picture: &[u8]) -> Vec<u8> {
    let length = (20 + 12 + picture.len()) as u32;
    let kind = u8::from(!picture.starts_with(&[0xff, 0xd8]));
    let described = [1, kind, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    let face = [&length.to_be_bytes()[..], &[0; 16], &described, picture].concat();
    let head = [&b"FAC\x00010\x00"[..], &(14 + length).to_be_bytes(), &[0, 1]].concat();
    let header =
        object(0xa1, &[&object(0x81, &[&[2]]), &object(0x87, &[&[1, 1]]), &object(0x88, &[&[0, 8]])]);
    let template = [header, object(0x5f2e, &[&head, &face])].concat();
    object(0x75, &[&object(0x7f61, &[&object(2, &[&[1]]), &object(0x7f60, &[&template])])])
}

/// EF.COM that announces these tags.
pub(super) fn com(tags: &[u8]) -> Vec<u8> {
    object(0x60, &[&object(0x5f01, &[b"0107"]), &object(0x5f36, &[b"040000"]), &object(0x5c, &[tags])])
}
