//! Public keys and signatures as certificates and chips write them (RFC 5280, RFC 3279, RFC 4055, RFC 5480, BSI TR-03111).

use super::curve::{Curve, PRIME_FIELD, Point};
use super::hash::Hash;
use super::rsa::{Pss, RsaKey};
use super::tlv::{Objects, malformed, object, value};
use crate::error::{Error, Kind, Result};

/// Object identifiers begin with these.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// BSI TR-03111: ECDSA whose signature is two numbers one behind the other.
const ECDSA_PLAIN: &[u8] = &[0x04, 0x00, 0x7f, 0x00, 0x07, 0x01, 0x01, 0x04, 0x01];
/// BSI TR-03110: a number of part 11 section 9.5.1 instead of a curve.
const STANDARDISED: &[u8] = &[0x04, 0x00, 0x7f, 0x00, 0x07, 0x01, 0x02];

/// A public key.
#[derive(Clone)]
pub enum PublicKey {
    /// RSA.
    Rsa(RsaKey),
    /// A point of a curve.
    Curve(&'static Curve, Box<Point>),
}

/// How something is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5.
    Pkcs1(Hash),
    /// RSASSA-PSS.
    Pss(Pss),
    /// ECDSA; the signature is a sequence of two integers.
    Ecdsa(Hash),
    /// ECDSA; the signature is two numbers one behind the other.
    EcdsaPlain(Hash),
}

/// The error of something that is right and not known here.
pub(crate) fn unknown(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Device, format!("the chip uses what is not known here: {what}"))
}

/// An object identifier in its digits, for errors.
pub(crate) fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut number = 0u64;
    for (at, byte) in oid.iter().enumerate().take(32) {
        number = (number << 7 | u64::from(byte & 0x7f)) & (u64::MAX >> 8);
        if byte & 0x80 == 0 {
            if text.is_empty() && at < 3 {
                let first = (number / 40).min(2);
                text = format!("{first}.{}", number - first * 40);
            } else {
                text += &format!(".{number}");
            }
            number = 0;
        }
    }
    text
}

/// An unsigned integer of DER without the zero before it.
fn integer(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}

impl PublicKey {
    /// The key of a SubjectPublicKeyInfo, whole.
    ///
    /// # Errors
    /// `Device`: it is malformed, or of a kind or curve that is not known here.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut info = Objects::new(value(bytes, 0x30)?);
        let mut algorithm = Objects::new(info.expect(0x30)?.value);
        let oid = algorithm.expect(6)?.value;
        let key = match info.expect(3)?.value.split_first() {
            Some((0, key)) => key,
            _ => return Err(malformed("a public key has no whole bytes")),
        };
        if let Some(last) = oid.strip_prefix(RSA) {
            // rsaEncryption and, for keys of PSS alone, RSASSA-PSS.
            if !matches!(last, [1 | 10]) {
                return Err(unknown(format_args!("a public key {}", dotted(oid))));
            }
            let mut numbers = Objects::new(value(key, 0x30)?);
            let (modulus, exponent) = (numbers.expect(2)?.value, numbers.expect(2)?.value);
            return RsaKey::new(modulus, exponent)
                .map(Self::Rsa)
                .ok_or_else(|| unknown("an RSA key of another length than 1024 to 8192 bits"));
        }
        let parameters = algorithm.take()?.ok_or_else(|| malformed("a public key names no curve"))?;
        let curve = match (oid, parameters.tag) {
            (EC_PUBLIC_KEY, 6) => Curve::from_oid(parameters.value),
            (EC_PUBLIC_KEY, 0x30) => spelled_out(parameters.value)?,
            (STANDARDISED, 2) => match integer(parameters.value) {
                [number] => Curve::standardised(*number),
                _ => None,
            },
            _ => return Err(unknown(format_args!("a public key {}", dotted(oid)))),
        };
        let curve = curve.ok_or_else(|| unknown("a curve that no standard names"))?;
        let point = curve.point(key).ok_or_else(|| malformed("a public key is no point of its curve"))?;
        Ok(Self::Curve(curve, Box::new(point)))
    }

    /// Whether this is the signature of the parts one behind the other.
    ///
    /// # Errors
    /// `Device`: the scheme is not one for this key.
    pub fn verifies(&self, scheme: Scheme, parts: &[&[u8]], signature: &[u8]) -> Result<bool> {
        Ok(match (self, scheme) {
            (Self::Rsa(key), Scheme::Pkcs1(hash)) => key.verifies_pkcs1(hash, &hash.of(parts), signature),
            (Self::Rsa(key), Scheme::Pss(pss)) => key.verifies_pss(pss, &pss.hash.of(parts), signature),
            (Self::Curve(curve, point), Scheme::Ecdsa(hash)) => {
                let halves = || {
                    let mut numbers = Objects::new(value(signature, 0x30).ok()?);
                    Some((numbers.expect(2).ok()?.value, numbers.expect(2).ok()?.value))
                };
                halves().is_some_and(|(r, s)| curve.verifies(point, &hash.of(parts), r, s))
            }
            (Self::Curve(curve, point), Scheme::EcdsaPlain(hash)) => {
                let (r, s) = signature.split_at(signature.len() / 2);
                r.len() == s.len() && curve.verifies(point, &hash.of(parts), r, s)
            }
            _ => return Err(malformed("a signature is of another kind than its key")),
        })
    }
}

/// A point of a curve as SubjectPublicKeyInfo, whole; `explicit`: the curve is spelled out.
pub fn curve_key(curve: &Curve, point: &Point, explicit: bool) -> Option<Vec<u8>> {
    let parameters = if explicit { curve.parameters() } else { object(6, &[curve.oid]) };
    let algorithm = object(0x30, &[&object(6, &[EC_PUBLIC_KEY]), &parameters]);
    Some(object(0x30, &[&algorithm, &object(3, &[&[0], &curve.encode(point)?])]))
}

/// An RSA key as SubjectPublicKeyInfo, whole; both numbers as integers of DER.
pub fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let algorithm = object(0x30, &[&object(6, &[RSA, &[1]]), &object(5, &[])]);
    let key = object(0x30, &[&object(2, &[modulus]), &object(2, &[exponent])]);
    object(0x30, &[&algorithm, &object(3, &[&[0], &key])])
}

/// The curve of the ECParameters, explicit (RFC 3279 section 2.3.5), as ICAO 9303 part 12 wants it.
fn spelled_out(parameters: &[u8]) -> Result<Option<&'static Curve>> {
    let mut parameters = Objects::new(parameters);
    parameters.expect(2)?;
    let mut field = Objects::new(parameters.expect(0x30)?.value);
    if field.expect(6)?.value != PRIME_FIELD {
        return Ok(None);
    }
    let p = field.expect(2)?.value;
    let mut curve = Objects::new(parameters.expect(0x30)?.value);
    let (a, b) = (curve.expect(4)?.value, curve.expect(4)?.value);
    let base = parameters.expect(4)?.value;
    let order = parameters.expect(2)?.value;
    Ok(Curve::spelled_out(p, a, b, base, order))
}

impl Scheme {
    /// The scheme of an AlgorithmIdentifier, its value; `digest` is the hash that is named elsewhere, for schemes that name
    /// none.
    ///
    /// # Errors
    /// `Device`: it is malformed or not known here.
    pub fn read(algorithm: &[u8], digest: Option<Hash>) -> Result<Self> {
        let mut objects = Objects::new(algorithm);
        let oid = objects.expect(6)?.value;
        let unknown = || unknown(format_args!("signatures {}", dotted(oid)));
        if let Some(last) = oid.strip_prefix(RSA) {
            return Ok(match last {
                [1] => Self::Pkcs1(digest.ok_or_else(unknown)?),
                [5] => Self::Pkcs1(Hash::Sha1),
                [11] => Self::Pkcs1(Hash::Sha256),
                [12] => Self::Pkcs1(Hash::Sha384),
                [13] => Self::Pkcs1(Hash::Sha512),
                [14] => Self::Pkcs1(Hash::Sha224),
                [10] => Self::Pss(pss(objects.take()?.map_or(&[][..], |parameters| parameters.value))?),
                _ => return Err(unknown()),
            });
        }
        if let Some(last) = oid.strip_prefix(ECDSA_PLAIN) {
            return match last {
                [number @ 1..=5] => Ok(Self::EcdsaPlain(Hash::ALL[usize::from(number - 1)])),
                _ => Err(unknown()),
            };
        }
        if oid == EC_PUBLIC_KEY {
            return Ok(Self::Ecdsa(digest.ok_or_else(unknown)?));
        }
        match oid.strip_prefix(ECDSA) {
            Some([1]) => Ok(Self::Ecdsa(Hash::Sha1)),
            Some([3, number @ 1..=4]) => Ok(Self::Ecdsa(Hash::ALL[usize::from(*number)])),
            _ => Err(unknown()),
        }
    }

    /// The scheme as an AlgorithmIdentifier, whole.
    pub fn written(self) -> Vec<u8> {
        let oid = |first: &[u8], last: &[u8]| object(6, &[first, last]);
        let hash = |hash: Hash| object(0x30, &[&object(6, &[hash.oid()]), &object(5, &[])]);
        match self {
            Self::Pkcs1(hash) => {
                let last = match hash {
                    Hash::Sha1 => 5,
                    Hash::Sha224 => 14,
                    Hash::Sha256 => 11,
                    Hash::Sha384 => 12,
                    Hash::Sha512 => 13,
                };
                object(0x30, &[&oid(RSA, &[last]), &object(5, &[])])
            }
            Self::Pss(pss) => {
                let mask = object(0x30, &[&oid(RSA, &[8]), &hash(pss.mask)]);
                let salt = object(2, &[&[pss.salt as u8]]);
                let parameters =
                    [object(0xa0, &[&hash(pss.hash)]), object(0xa1, &[&mask]), object(0xa2, &[&salt])]
                        .concat();
                object(0x30, &[&oid(RSA, &[10]), &object(0x30, &[&parameters])])
            }
            Self::Ecdsa(Hash::Sha1) => object(0x30, &[&oid(ECDSA, &[1])]),
            Self::Ecdsa(hash) => object(0x30, &[&oid(ECDSA, &[3, number(hash) - 1])]),
            Self::EcdsaPlain(hash) => object(0x30, &[&oid(ECDSA_PLAIN, &[number(hash)])]),
        }
    }

    /// Its hash.
    pub fn hash(self) -> Hash {
        match self {
            Self::Pkcs1(hash) | Self::Ecdsa(hash) | Self::EcdsaPlain(hash) => hash,
            Self::Pss(pss) => pss.hash,
        }
    }
}

/// A hash's place among all, from 1 on.
fn number(hash: Hash) -> u8 {
    1 + Hash::ALL.iter().take_while(|other| **other != hash).count() as u8
}

/// RSASSA-PSS-params (RFC 4055 section 3.1); what is left out is SHA-1 and 20 bytes of salt.
fn pss(parameters: &[u8]) -> Result<Pss> {
    let algorithm = |bytes: &[u8]| -> Result<Hash> {
        let oid = value(value(bytes, 0x30)?, 6)?;
        Hash::from_oid(oid).ok_or_else(|| unknown(format_args!("the hash {}", dotted(oid))))
    };
    let mut objects = Objects::new(parameters);
    let hash = objects.take_if(0xa0)?.map_or(Ok(Hash::Sha1), |found| algorithm(found.value))?;
    let mask = objects.take_if(0xa1)?.map_or(Ok(Hash::Sha1), |found| {
        let mut mask = Objects::new(value(found.value, 0x30)?);
        mask.expect(6)?;
        algorithm(mask.rest())
    })?;
    let salt = match objects.take_if(0xa2)? {
        None => 20,
        Some(found) => match integer(value(found.value, 2)?) {
            [salt] => usize::from(*salt),
            _ => return Err(malformed("the salt of a signature is too long")),
        },
    };
    Ok(Pss { hash, mask, salt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schemes_are_read_as_they_are_written() {
        let mut schemes = Vec::new();
        for hash in Hash::ALL {
            schemes.extend([Scheme::Pkcs1(hash), Scheme::Ecdsa(hash), Scheme::EcdsaPlain(hash)]);
            schemes.push(Scheme::Pss(Pss { hash, mask: Hash::Sha1, salt: 32 }));
        }
        for scheme in schemes {
            let written = scheme.written();
            assert_eq!(Scheme::read(value(&written, 0x30).unwrap(), None).unwrap(), scheme);
        }
        // RFC 5758 section 3.2: ecdsa-with-SHA256 is 1.2.840.10045.4.3.2.
        let written = Scheme::Ecdsa(Hash::Sha256).written();
        assert_eq!(written, [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        let empty = object(6, &[RSA, &[10]]);
        let usual = Pss { hash: Hash::Sha1, mask: Hash::Sha1, salt: 20 };
        assert_eq!(Scheme::read(&empty, None).unwrap(), Scheme::Pss(usual));
        let error = Scheme::read(&object(6, &[RSA, &[4]]), None).unwrap_err();
        assert!(error.to_string().contains("1.2.840.113549.1.1.4"), "{error}");
    }

    #[test]
    fn a_curve_is_read_from_its_name_and_spelled_out() {
        for curve in Curve::all() {
            for explicit in [false, true] {
                let written = curve_key(curve, curve.generator(), explicit).unwrap();
                let PublicKey::Curve(read, _) = PublicKey::read(&written).unwrap() else { panic!() };
                assert_eq!(read.name, curve.name);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = PublicKey::read(&bytes);
            let _ = PublicKey::read(&object(0x30, &[&bytes]));
            let _ = Scheme::read(&bytes, None);
            let _ = dotted(&bytes);
        }
    }
}
