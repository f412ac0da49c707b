//! Secret keys of simulated states, signers and chips: made when they are needed, kept nowhere.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{NonZero, Odd, U1024, U2048};

use crate::device::chip::curve::{Curve, Secret, shortest};
use crate::device::chip::hash::Hash;
use crate::device::chip::rsa::{Pss, mask, pkcs1};
use crate::device::chip::signature::{Scheme, curve_key, rsa_key};
use crate::device::chip::tlv::object;
use crate::error::{Error, Kind, Result};

/// Bytes of the modulus of RSA keys that are made here.
const MODULUS: usize = U2048::BYTES;

/// The public exponent of all of them.
const EXPONENT: u32 = 65_537;

/// A secret key.
#[derive(Clone)]
pub enum SecretKey {
    /// On a curve.
    Curve(&'static Curve, Secret),
    /// RSA with 2048 bits.
    Rsa(Box<RsaSecret>),
}

/// A secret RSA key.
#[derive(Clone)]
pub struct RsaSecret {
    params: FixedMontyParams<{ U2048::LIMBS }>,
    exponent: U2048,
}

fn random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes)
        .map_err(|error| Error::caused(Kind::Io, "the system gives no random numbers", error))
}

impl RsaSecret {
    /// A new key; takes some tenths of a second.
    ///
    /// # Errors
    /// `Io`: the system gives no random numbers.
    pub fn new() -> Result<Self> {
        loop {
            let (p, q) = (prime()?, prime()?);
            let modulus: U2048 = p.concatenating_mul(&q);
            let order: U2048 = p.wrapping_sub(&U1024::ONE).concatenating_mul(&q.wrapping_sub(&U1024::ONE));
            let Some(order) = NonZero::new(order).into_option() else { continue };
            let Some(exponent) = U2048::from_u32(EXPONENT).invert_mod(&order).into_option() else { continue };
            let Some(modulus) = Odd::new(modulus).into_option() else { continue };
            return Ok(Self { params: FixedMontyParams::new_vartime(modulus), exponent });
        }
    }

    /// The modulus.
    pub fn modulus(&self) -> Vec<u8> {
        self.params.modulus().as_ref().to_be_bytes().as_slice().to_vec()
    }

    /// A message, as long as the modulus and below it, to the power of the secret exponent.
    fn power(&self, message: &[u8]) -> Vec<u8> {
        let message = FixedMontyForm::new(&U2048::from_be_slice(message), &self.params);
        message.pow(&self.exponent).retrieve().to_be_bytes().as_slice().to_vec()
    }

    /// EMSA-PSS (RFC 8017 section 9.1.1) for this modulus, whose highest bit is set.
    fn pss(&self, pss: Pss, digest: &[u8]) -> Result<Vec<u8>> {
        let mut salt = vec![0; pss.salt];
        random(&mut salt)?;
        let hash = pss.hash.of(&[&[0; 8], digest, &salt]);
        let mut data = vec![0; MODULUS - hash.len() - 1];
        let at = data.len() - salt.len();
        data[at - 1] = 1;
        data[at..].copy_from_slice(&salt);
        for (byte, mask) in data.iter_mut().zip(mask(pss.mask, &hash, MODULUS)) {
            *byte ^= mask;
        }
        data[0] &= 0x7f;
        data.extend(hash);
        data.push(0xbc);
        Ok(self.power(&data))
    }

    /// A signature with recovery over our random bytes and the reader's (ISO 9796-2 scheme 1), with SHA-256.
    ///
    /// # Errors
    /// `Io`: the system gives no random numbers.
    pub fn recoverable(&self, challenge: &[u8]) -> Result<Vec<u8>> {
        let mut message = vec![0; MODULUS - 1 - Hash::Sha256.bytes() - 2];
        random(&mut message)?;
        let hash = Hash::Sha256.of(&[&message, challenge]);
        Ok(self.power(&[&[0x6a], &message[..], &hash, &[0x34, 0xcc]].concat()))
    }
}

/// A prime of 1024 bits with both highest bits set, by Miller and Rabin with 24 bases: a simulator's keys guard nothing.
fn prime() -> Result<U1024> {
    const SMALL: [u32; 53] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
        103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173, 179, 181, 191, 193, 197, 199,
        211, 223, 227, 229, 233, 239, 241, 251,
    ];
    loop {
        let mut bytes = [0; U1024::BYTES];
        random(&mut bytes)?;
        bytes[0] |= 0xc0;
        bytes[U1024::BYTES - 1] |= 1;
        let divides =
            |small: &u32| bytes.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % small) == 0;
        if SMALL.iter().any(divides) {
            continue;
        }
        let candidate = U1024::from_be_slice(&bytes);
        if SMALL.iter().take(24).all(|base| is_probably_prime(&candidate, *base)) {
            return Ok(candidate);
        }
    }
}

fn is_probably_prime(candidate: &U1024, base: u32) -> bool {
    let Some(odd) = Odd::new(*candidate).into_option() else { return false };
    let params = FixedMontyParams::new_vartime(odd);
    let last = candidate.wrapping_sub(&U1024::ONE);
    let twos = last.trailing_zeros();
    let one = FixedMontyForm::one(&params);
    let minus_one = one.neg();
    let mut power = FixedMontyForm::new(&U1024::from_u32(base), &params).pow_vartime(&last.shr(twos));
    if power == one {
        return true;
    }
    for _ in 0..twos {
        if power == minus_one {
            return true;
        }
        power = power.square();
    }
    false
}

impl SecretKey {
    /// A new one on a curve.
    ///
    /// # Errors
    /// `Io`: the system gives no random numbers.
    pub fn curve(curve: &'static Curve) -> Result<Self> {
        Ok(Self::Curve(curve, curve.secret()?))
    }

    /// A new one of RSA.
    ///
    /// # Errors
    /// `Io`: the system gives no random numbers.
    pub fn rsa() -> Result<Self> {
        Ok(Self::Rsa(Box::new(RsaSecret::new()?)))
    }

    /// Its public key as SubjectPublicKeyInfo; `explicit`: the curve is spelled out.
    pub fn public(&self, explicit: bool) -> Vec<u8> {
        match self {
            Self::Curve(curve, secret) => {
                curve_key(curve, &curve.multiply(secret, curve.generator()), explicit)
                    .expect("a secret below the order times the generator is a point")
            }
            Self::Rsa(key) => {
                let modulus = [&[0][..], &key.modulus()].concat();
                rsa_key(shortest(&modulus), shortest(&EXPONENT.to_be_bytes()))
            }
        }
    }

    /// Signs the parts one behind the other. The scheme is one for this key.
    ///
    /// # Errors
    /// `Input`: it is not. `Io`: the system gives no random numbers.
    pub fn sign(&self, scheme: Scheme, parts: &[&[u8]]) -> Result<Vec<u8>> {
        let digest = scheme.hash().of(parts);
        match (self, scheme) {
            (Self::Curve(curve, secret), Scheme::EcdsaPlain(_)) => {
                let (r, s) = curve.sign(secret, &digest)?;
                Ok([r, s].concat())
            }
            (Self::Curve(curve, secret), Scheme::Ecdsa(_)) => {
                let (r, s) = curve.sign(secret, &digest)?;
                let integer = |number: Vec<u8>| object(2, &[shortest(&[&[0][..], &number].concat())]);
                Ok(object(0x30, &[&integer(r), &integer(s)]))
            }
            (Self::Rsa(key), Scheme::Pkcs1(hash)) => {
                let message = pkcs1(hash, &digest, MODULUS).expect("a hash fits into 2048 bits");
                Ok(key.power(&message))
            }
            (Self::Rsa(key), Scheme::Pss(pss)) => key.pss(pss, &digest),
            _ => Err(Error::new(Kind::Input, "this scheme of signing is of another kind than the key")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::chip::signature::PublicKey;

    #[test]
    fn what_is_signed_here_is_checked_there() {
        let rsa = SecretKey::rsa().unwrap();
        let curve = SecretKey::curve(Curve::standardised(14).unwrap()).unwrap();
        let pss = Pss { hash: Hash::Sha256, mask: Hash::Sha256, salt: 32 };
        for (key, scheme) in [
            (&rsa, Scheme::Pkcs1(Hash::Sha256)),
            (&rsa, Scheme::Pkcs1(Hash::Sha512)),
            (&rsa, Scheme::Pss(pss)),
            (&curve, Scheme::Ecdsa(Hash::Sha384)),
            (&curve, Scheme::EcdsaPlain(Hash::Sha1)),
        ] {
            let signature = key.sign(scheme, &[b"a", b"b"]).unwrap();
            let public = PublicKey::read(&key.public(true)).unwrap();
            assert!(public.verifies(scheme, &[b"ab"], &signature).unwrap(), "{scheme:?}");
            assert!(!public.verifies(scheme, &[b"ac"], &signature).unwrap());
        }
        let SecretKey::Rsa(rsa) = rsa else { panic!() };
        let public = crate::device::chip::rsa::RsaKey::new(&rsa.modulus(), &[1, 0, 1]).unwrap();
        assert!(public.recovers(&[7; 8], &rsa.recoverable(&[7; 8]).unwrap()));
    }
}
