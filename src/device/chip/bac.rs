//! Basic Access Control (ICAO 9303 part 11 section 4.3): who knows the lines for machines may read.

use super::apdu::{Answer, Command, OK, refused};
use super::cipher::{Cipher, MAC};
use super::hash::same;
use super::key::AccessKey;
use super::secure::Session;
use super::session::Chip;
use super::tlv::malformed;
use crate::error::{Error, Kind, Result};

/// The random numbers of our side.
pub(crate) struct Random {
    /// RND.IFD.
    pub challenge: [u8; 8],
    /// K.IFD.
    pub key: [u8; 16],
}

impl Random {
    /// New ones from the operating system.
    pub(crate) fn new() -> Result<Self> {
        let mut random = Self { challenge: [0; 8], key: [0; 16] };
        getrandom::fill(&mut random.challenge)
            .and_then(|()| getrandom::fill(&mut random.key))
            .map_err(|error| Error::caused(Kind::Io, "the system gives no random numbers", error))?;
        Ok(random)
    }
}

/// The error of a key that a chip does not take.
pub(crate) fn wrong_key(status: u16) -> Error {
    Error::new(
        Kind::Input,
        format!(
            "the chip does not open ({status:04X}): the lines or the number that were read are not those of this document; \
             read the page again"
        ),
    )
}

/// Begins secure messaging; the application must be selected.
///
/// # Errors
/// `Input`: the key is not of this document, or of a kind that BAC does not know. `Device`: as [`Chip::send`].
pub(crate) fn open(chip: &mut Chip<'_>, key: &AccessKey, random: &Random) -> Result<()> {
    let secret = key.basic().ok_or_else(|| {
        Error::new(
            Kind::Input,
            "this chip opens with the lines for machines alone, not with an access number",
        )
    })?;
    let theirs = chip.send(&Command::new(0x84, 0, 0).expecting(8))?.ok("a random number")?;
    let theirs: [u8; 8] = theirs.try_into().map_err(|_| malformed("a random number has not 8 bytes"))?;
    let keys = Keys::new(&secret);
    let command = Command::new(0x82, 0, 0).data(keys.seal(&[&random.challenge, &theirs, &random.key]));
    let answer = chip.send(&command.expecting(40))?;
    chip.session = Some(keys.finish(random, theirs, &answer)?);
    Ok(())
}

/// The two keys that come from the lines.
pub(crate) struct Keys {
    encryption: Vec<u8>,
    checksums: Vec<u8>,
}

impl Keys {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { encryption: Cipher::Tdes.derive(secret, 1), checksums: Cipher::Tdes.derive(secret, 2) }
    }

    /// The parts enciphered, with a checksum behind; they are whole blocks.
    pub(crate) fn seal(&self, parts: &[&[u8]]) -> Vec<u8> {
        let mut sealed = Cipher::Tdes.encrypt(&self.encryption, &[0; 8], &parts.concat());
        let checksum = Cipher::Tdes.mac(&self.checksums, &sealed);
        sealed.extend(checksum);
        sealed
    }

    /// What was sealed; `None` where the checksum is wrong.
    pub(crate) fn unseal(&self, sealed: &[u8]) -> Option<[u8; 32]> {
        let (enciphered, checksum) = sealed.split_last_chunk::<MAC>()?;
        if enciphered.len() != 32 || !same(&Cipher::Tdes.mac(&self.checksums, enciphered), checksum) {
            return None;
        }
        Cipher::Tdes.decrypt(&self.encryption, &[0; 8], enciphered).try_into().ok()
    }

    fn finish(&self, random: &Random, theirs: [u8; 8], answer: &Answer) -> Result<Session> {
        match answer.status {
            OK => {}
            0x6300..=0x63ff | 0x6982 | 0x6985 | 0x6988 => return Err(wrong_key(answer.status)),
            status => return Err(refused("mutual authentication", status)),
        }
        let opened = self.unseal(&answer.data);
        let opened = opened.filter(|plain| plain[..8] == theirs && plain[8..16] == random.challenge);
        let opened = opened.ok_or_else(|| {
            Error::new(
                Kind::Device,
                "the chip's proof that it knows the lines is wrong; lay the document down again",
            )
        })?;
        let mut their_key = [0; 16];
        their_key.copy_from_slice(&opened[16..]);
        Ok(session(random, theirs, their_key))
    }
}

/// The session of both sides' random numbers.
pub(crate) fn session(ours: &Random, challenge: [u8; 8], key: [u8; 16]) -> Session {
    let secret: Vec<u8> = ours.key.iter().zip(key).map(|(ours, theirs)| ours ^ theirs).collect();
    let counter = [&challenge[4..], &ours.challenge[4..]].concat();
    Session::with_counter(Cipher::Tdes, &secret, counter)
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn the_worked_example() {
        // ICAO 9303 part 11 appendix D.3.
        let keys = Keys::new(&AccessKey::mrz("L898902C<", "690806", "940623").unwrap().basic().unwrap());
        let random = Random {
            challenge: hex("781723860C06C226").try_into().unwrap(),
            key: hex("0B795240CB7049B01C19B33E32804F0B").try_into().unwrap(),
        };
        let theirs: [u8; 8] = hex("4608F91988702212").try_into().unwrap();
        assert_eq!(
            keys.seal(&[&random.challenge, &theirs, &random.key]),
            hex("72C29C2371CC9BDB65B779B8E8D37B29ECC154AA56A8799FAE2F498F76ED92F25F1448EEA8AD90A7")
        );
        let data = hex("46B9342A41396CD7386BF5803104D7CEDC122B9132139BAF2EEDC94EE178534F2F2D235D074D7449");
        let mut session = keys.finish(&random, theirs, &Answer { data: data.clone(), status: OK }).unwrap();
        let select = session.protect(&Command::new(0xa4, 2, 0x0c).data([0x01, 0x1e]));
        assert_eq!(select.bytes().unwrap(), hex("0CA4020C158709016375432908C044F68E08BF8B92D635FF24F800"));

        for at in [0, 20, 39] {
            let mut wrong = data.clone();
            wrong[at] ^= 1;
            let error = keys.finish(&random, theirs, &Answer { data: wrong, status: OK }).err().unwrap();
            assert_eq!(error.kind(), Kind::Device);
        }
        assert!(keys.finish(&random, [0; 8], &Answer { data, status: OK }).is_err());
        let error = keys.finish(&random, theirs, &Answer { data: Vec::new(), status: 0x6300 }).err().unwrap();
        assert_eq!(error.kind(), Kind::Input);
    }
}
