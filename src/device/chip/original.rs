//! Whether a chip is no copy: active authentication (ICAO 9303 part 11 section 6.1) and chip authentication (section 6.2). A chip
//! shows that it holds a secret key that cannot be read out; the public one is among the signed files.

use super::apdu::{Command, OK};
use super::cipher::Cipher;
use super::hash::Hash;
use super::secure::Session;
use super::security_info::{ChipAuthentication, ChipKey, SecurityInfos, chip_authentication_oid};
use super::session::{Chip, WRONG_LENGTH, files};
use super::signature::{PublicKey, Scheme};
use super::tlv::{object, value};
use crate::error::{Error, Kind, Result};

/// The longest answer without extended length, secure messaging taken off.
const SHORT: usize = 0xdf;

/// Active authentication with the key of DG15: whether the chip signs our random number. `dg14` says the hash of ECDSA.
///
/// A signature by a long RSA key needs an answer of extended length, which some chips know that do not say so, and some
/// readers do not bring: both lengths are tried, the likelier first.
///
/// # Errors
/// `Device`: DG15 is malformed or of a kind that is not known here, the signature does not come in any length, or the chip
/// has gone.
pub(crate) fn active(chip: &mut Chip<'_>, dg15: &[u8], infos: Option<&SecurityInfos>) -> Result<bool> {
    let key = PublicKey::read(value(dg15, 0x6f)?)?;
    let longest = match &key {
        PublicKey::Rsa(key) => key.bytes(),
        PublicKey::Curve(curve, _) => 2 * curve.order_bytes() + 16,
    };
    let lengths = match longest {
        ..=SHORT => vec![256],
        _ if chip.long() => vec![longest.max(257), 256],
        _ if chip.short_only() => vec![256],
        _ => vec![256, longest.max(257)],
    };
    for (tried, expected) in lengths.into_iter().enumerate() {
        // Another one each time: the chip may have signed the one before.
        let mut challenge = [0; 8];
        getrandom::fill(&mut challenge)
            .map_err(|error| Error::caused(Kind::Io, "the system gives no random numbers", error))?;
        let command = Command::new(0x88, 0, 0).data(challenge).expecting(expected);
        match chip.send(&command) {
            Ok(answer) if answer.status == OK => {
                let hash = infos.and_then(|infos| infos.active);
                return Ok(proves(&key, hash, &challenge, &answer.data));
            }
            // It does not fit, which says nothing of the key.
            Ok(answer) if answer.status == WRONG_LENGTH || answer.status >> 8 == 0x61 => {}
            Err(error) if chip.gone() => return Err(error),
            // A chip that has the file and not the key refuses, or says nothing of use. After a length that was wrong it
            // may have ended secure messaging.
            Ok(_) | Err(_) if tried == 0 => return Ok(false),
            Ok(_) | Err(_) => break,
        }
    }
    let why = if chip.short_only() {
        "the reader fails on commands of extended length, take one that knows them"
    } else if longest <= SHORT || chip.long() {
        // As far as the chip itself says.
        "it would fit, this may be a copy"
    } else {
        "the reader must know extended length"
    };
    Err(Error::new(
        Kind::Device,
        format!("a signature of {longest} bytes does not come from the chip: {why}"),
    ))
}

/// Whether a signature over our random number is by this key.
pub(crate) fn proves(key: &PublicKey, hash: Option<Hash>, challenge: &[u8; 8], signature: &[u8]) -> bool {
    match key {
        PublicKey::Rsa(key) => key.recovers(challenge, signature),
        PublicKey::Curve(curve, _) => {
            // DG14 must say the hash; some leave it out, and take the one that fits the curve.
            let hash = hash.unwrap_or(match curve.order_bytes() {
                ..=24 => Hash::Sha1,
                25..=28 => Hash::Sha224,
                29..=40 => Hash::Sha256,
                41..=48 => Hash::Sha384,
                _ => Hash::Sha512,
            });
            // Two numbers as the standard says, or a sequence as some chips have it.
            let schemes = [Scheme::EcdsaPlain(hash), Scheme::Ecdsa(hash)];
            schemes.into_iter().any(|scheme| key.verifies(scheme, &[challenge], signature).unwrap_or(false))
        }
    }
}

/// The way of chip authentication to take, and its key; `None` where the chip has none that is known here.
pub(crate) fn way(infos: &SecurityInfos) -> Option<(ChipAuthentication, ChipKey)> {
    let mut ways = infos.chip_authentication.clone();
    if ways.is_empty() {
        // The first documents had the key alone (BSI TR-03110 part 3 section A.1.1.3): Triple DES.
        let oid = chip_authentication_oid(Cipher::Tdes);
        ways.push(ChipAuthentication { oid, cipher: Cipher::Tdes, key: None });
    }
    ways.sort_by_key(|way| std::cmp::Reverse(Cipher::ALL.iter().position(|cipher| *cipher == way.cipher)));
    ways.into_iter().find_map(|way| {
        let key =
            infos.chip_keys.iter().find(|key| way.key.is_none() || key.id.is_none() || key.id == way.key)?;
        Some((way, key.clone()))
    })
}

/// Chip authentication: whether the chip agrees with us on a secret, for which it needs the secret key of its public one. After it
/// secure messaging has other keys, or is of no use.
///
/// # Errors
/// `Device`: the chip has gone.
pub(crate) fn chip(chip: &mut Chip<'_>, (way, key): &(ChipAuthentication, ChipKey)) -> Result<bool> {
    let PublicKey::Curve(curve, point) = &key.key else { return Ok(false) };
    let secret = curve.secret()?;
    let public = curve.encode(&curve.multiply(&secret, curve.generator()));
    let public = public.expect("a secret below the order times the generator is a point");
    let id = key.id.as_deref().map_or(Vec::new(), |id| {
        let digits = if let [0, rest @ ..] = id
            && !rest.is_empty()
        {
            rest
        } else {
            id
        };
        object(0x84, &[digits])
    });
    let agreed = agree(chip, way, &public, &id);
    match agreed {
        Ok(true) => {}
        Err(error) if chip.gone() => return Err(error),
        Ok(false) | Err(_) => return Ok(false),
    }
    let Some(shared) = curve.x(&curve.multiply(&secret, point)) else { return Ok(false) };
    chip.session = Some(Session::new(way.cipher, &shared));
    // Whether it has the same keys shows when it is asked something (section 6.2.3): for the file that the key was in, which
    // is there.
    match chip.read(files::DG14) {
        Ok(found) => Ok(found.is_some()),
        Err(error) if chip.gone() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Sends our public key; whether the chip takes it.
fn agree(chip: &mut Chip<'_>, way: &ChipAuthentication, public: &[u8], id: &[u8]) -> Result<bool> {
    if way.cipher == Cipher::Tdes {
        let data = [&object(0x91, &[public]), id].concat();
        return Ok(chip.send(&Command::new(0x22, 0x41, 0xa6).data(data))?.status == OK);
    }
    let choice = [&object(0x80, &[&way.oid]), id].concat();
    if chip.send(&Command::new(0x22, 0x41, 0xa4).data(choice))?.status != OK {
        return Ok(false);
    }
    let data = object(0x7c, &[&object(0x80, &[public])]);
    Ok(chip.send(&Command::new(0x86, 0, 0).data(data).expecting(256))?.status == OK)
}
