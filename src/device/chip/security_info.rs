//! What a chip says of itself in EF.CardAccess and DG14: how it is opened and how it shows that it is no copy (ICAO 9303
//! part 11 section 9.2).

use super::cipher::Cipher;
use super::curve::Curve;
use super::hash::Hash;
use super::signature::{PublicKey, Scheme};
use super::tlv::{Objects, value};
use crate::error::Result;

/// The beginning of the identifiers of BSI TR-03110.
const BSI: &[u8] = &[0x04, 0x00, 0x7f, 0x00, 0x07, 0x02, 0x02];
/// The identifier of active authentication: ICAO's, 2.23.136.1.1.5.
const ACTIVE: &[u8] = &[0x67, 0x81, 0x08, 0x01, 0x01, 0x05];

/// One way of PACE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Value of its object identifier.
    pub oid: Vec<u8>,
    /// The cipher of the connection.
    pub cipher: Cipher,
    /// Which standardised domain parameters it has.
    pub parameter: Option<u8>,
}

/// One way of chip authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChipAuthentication {
    /// Value of its object identifier.
    pub oid: Vec<u8>,
    /// The cipher of the connection.
    pub cipher: Cipher,
    /// Which of the chip's keys it is for, where there are several.
    pub key: Option<Vec<u8>>,
}

/// A public key of the chip.
#[derive(Clone)]
pub struct ChipKey {
    /// The key.
    pub key: PublicKey,
    /// Its reference, where there are several.
    pub id: Option<Vec<u8>>,
}

/// All of it that is known here, in the chip's order; other ways are left out.
#[derive(Clone, Default)]
pub struct SecurityInfos {
    /// Ways of PACE: generic mapping over curves.
    pub pace: Vec<Pace>,
    /// Whether there are ways of PACE that are not known here: integrated mapping, other groups.
    pub other_pace: bool,
    /// Ways of chip authentication: over curves.
    pub chip_authentication: Vec<ChipAuthentication>,
    /// Keys of chip authentication.
    pub chip_keys: Vec<ChipKey>,
    /// Whether there are ways or keys of chip authentication that are not known here: groups of numbers, other curves.
    pub other_chip_authentication: bool,
    /// Hash of active authentication with a curve.
    pub active: Option<Hash>,
    /// All that is said of PACE, known here or not, as it is written.
    pub pace_as_written: Vec<Vec<u8>>,
}

/// The most of them that are looked at.
const MOST: usize = 64;

/// The object identifier of PACE with generic mapping over a curve (part 11 section 9.2.1).
pub fn pace_oid(cipher: Cipher) -> Vec<u8> {
    [BSI, &[4, 2, number(cipher)]].concat()
}

/// The object identifier of chip authentication over a curve (section 9.2.5).
pub fn chip_authentication_oid(cipher: Cipher) -> Vec<u8> {
    [BSI, &[3, 2, number(cipher)]].concat()
}

/// The object identifier of a chip's public key on a curve (section 9.2.6).
pub fn chip_key_oid() -> Vec<u8> {
    [BSI, &[1, 2]].concat()
}

/// The object identifier of active authentication (section 9.2.2).
pub fn active_oid() -> Vec<u8> {
    ACTIVE.to_vec()
}

fn number(cipher: Cipher) -> u8 {
    1 + Cipher::ALL.iter().take_while(|other| **other != cipher).count() as u8
}

impl SecurityInfos {
    /// The SecurityInfos of a whole set, as EF.CardAccess is and DG14 has.
    ///
    /// # Errors
    /// `Device`: it is malformed.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let mut infos = Self::default();
        let mut objects = Objects::new(value(bytes, 0x31)?);
        for _ in 0..MOST {
            let Some(info) = objects.take()? else { break };
            if info.tag != 0x30 {
                continue;
            }
            let whole = info.whole;
            let mut info = Objects::new(info.value);
            let oid = info.expect(6)?.value;
            if oid.strip_prefix(BSI).is_some_and(|rest| rest.first() == Some(&4)) {
                infos.pace_as_written.push(whole.to_vec());
            }
            let small = |bytes: &[u8]| match bytes {
                [number] | [0, number] => Some(*number),
                _ => None,
            };
            if oid == ACTIVE {
                info.expect(2)?;
                let algorithm = info.expect(6)?;
                infos.active = Scheme::read(algorithm.whole, None).ok().map(Scheme::hash);
                continue;
            }
            let cipher = |number: u8| Cipher::ALL.get(usize::from(number).wrapping_sub(1)).copied();
            match oid.strip_prefix(BSI) {
                Some(&[4, kind, last]) => match cipher(last).filter(|_| kind == 2) {
                    Some(cipher) => {
                        let version = small(info.expect(2)?.value);
                        let parameter = info.take_if(2)?.and_then(|number| small(number.value));
                        // Version 1 is not that of travel documents.
                        if version == Some(2) {
                            infos.pace.push(Pace { oid: oid.to_vec(), cipher, parameter });
                        }
                    }
                    None => infos.other_pace = true,
                },
                Some([3, 2, last]) => {
                    let Some(cipher) = cipher(*last) else {
                        infos.other_chip_authentication = true;
                        continue;
                    };
                    info.expect(2)?;
                    let key = info.take_if(2)?.map(|key| key.value.to_vec());
                    infos.chip_authentication.push(ChipAuthentication { oid: oid.to_vec(), cipher, key });
                }
                Some([1, 2]) => {
                    let key = info.expect(0x30)?;
                    let id = info.take_if(2)?.map(|id| id.value.to_vec());
                    // A key that is not known here leaves the others usable.
                    match PublicKey::read(key.whole) {
                        Ok(key @ PublicKey::Curve(..)) => infos.chip_keys.push(ChipKey { key, id }),
                        _ => infos.other_chip_authentication = true,
                    }
                }
                // Over groups of numbers.
                Some([3, 1, _] | [1, 1]) => infos.other_chip_authentication = true,
                _ => {}
            }
        }
        Ok(infos)
    }

    /// The best way of PACE that is known here, and its curve: by the cipher, then by the bits of the curve.
    pub fn best_pace(&self) -> Option<(&Pace, &'static Curve)> {
        let known = self.pace.iter().filter_map(|pace| Some((pace, Curve::standardised(pace.parameter?)?)));
        known.max_by_key(|(pace, curve)| (number(pace.cipher), curve.bits()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::super::tlv::object;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_card_access_of_the_worked_example_is_read() {
        // ICAO 9303 part 11 appendix G.1.
        let infos = SecurityInfos::read(&hex("31143012060A04007F0007020204020202010202010D")).unwrap();
        let (pace, curve) = infos.best_pace().unwrap();
        assert_eq!((pace.cipher, pace.parameter), (Cipher::Aes128, Some(13)));
        assert_eq!(pace.oid, hex("04007F00070202040202"));
        assert_eq!(pace.oid, pace_oid(Cipher::Aes128));
        assert_eq!(curve.name, "brainpoolP256r1");
        assert!(!infos.other_pace);
        // Appendix G.2: over a group of numbers, 04007F00070202040102.
        let infos = SecurityInfos::read(&hex("31143012060A04007F00070202040102020102020100")).unwrap();
        assert!(infos.best_pace().is_none() && infos.other_pace);
    }

    #[test]
    fn the_strongest_way_is_taken() {
        let info = |cipher, parameter| {
            object(
                0x30,
                &[&object(6, &[&pace_oid(cipher)]), &object(2, &[&[2]]), &object(2, &[&[parameter]])],
            )
        };
        let set = object(
            0x31,
            &[
                &info(Cipher::Tdes, 12),
                &info(Cipher::Aes256, 17),
                &info(Cipher::Aes128, 13),
                &info(Cipher::Aes256, 99),
            ],
        );
        let infos = SecurityInfos::read(&set).unwrap();
        assert_eq!(infos.best_pace().unwrap().1.name, "brainpoolP512r1");
        assert_eq!(infos.pace_as_written.len(), 4);
        // The stronger curve first, then last: the order says nothing.
        for parameters in [[16, 12], [12, 16]] {
            let [first, second] = parameters.map(|parameter| info(Cipher::Aes128, parameter));
            let infos = SecurityInfos::read(&object(0x31, &[&first, &second])).unwrap();
            assert_eq!(infos.best_pace().unwrap().1.name, "brainpoolP384r1");
        }
    }

    #[test]
    fn chip_authentication_of_another_form_is_noticed() {
        let read = |oid: &[u8], rest: &[u8]| {
            let info = object(0x30, &[&object(6, &[BSI, oid]), rest]);
            SecurityInfos::read(&object(0x31, &[&info])).unwrap()
        };
        let version = object(2, &[&[1]]);
        let number = object(0x30, &[&object(0x30, &[&object(6, &[b"dh"])]), &object(3, &[&[0, 1]])]);
        for (oid, rest) in
            [(&[3, 1, 2][..], &version), (&[3, 2, 9], &version), (&[1, 1], &number), (&[1, 2], &number)]
        {
            let infos = read(oid, rest);
            assert!(infos.other_chip_authentication && infos.chip_keys.is_empty(), "{oid:?}");
        }
        assert!(!read(&[3, 2, 2], &version).other_chip_authentication);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SecurityInfos::read(&bytes);
            let _ = SecurityInfos::read(&object(0x31, &[&bytes]));
            let _ = SecurityInfos::read(&object(0x31, &[&object(0x30, &[&object(6, &[BSI, &[4, 2, 2]]), &bytes])]));
        }
    }
}
