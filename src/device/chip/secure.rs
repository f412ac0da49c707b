//! Secure messaging (ICAO 9303 part 11 section 9.8): what is said to a chip after BAC, PACE or chip authentication is enciphered
//! and has a checksum over itself and a counter.

use super::apdu::{Answer, Command};
use super::cipher::{Cipher, MAC, pad, unpad};
use super::hash::same;
use super::tlv::{Objects, malformed, object};
use crate::error::{Error, Kind, Result};

/// The keys of one connection with a chip, and how far it has come. It has no `Debug`.
#[derive(Clone)]
pub struct Session {
    pub(crate) cipher: Cipher,
    pub(crate) encryption: Vec<u8>,
    checksums: Vec<u8>,
    /// The send sequence counter, as long as a block.
    counter: Vec<u8>,
}

impl Session {
    /// The session whose keys come from this secret, with the counter at zero: after PACE and chip authentication.
    pub fn new(cipher: Cipher, secret: &[u8]) -> Self {
        Self::with_counter(cipher, secret, vec![0; cipher.block()])
    }

    /// The same with the counter elsewhere: after BAC. It must be as long as a block.
    pub fn with_counter(cipher: Cipher, secret: &[u8], counter: Vec<u8>) -> Self {
        assert_eq!(counter.len(), cipher.block(), "the counter is as long as a block");
        Self { cipher, encryption: cipher.derive(secret, 1), checksums: cipher.derive(secret, 2), counter }
    }

    /// Which cipher it has.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Counts one message.
    pub(crate) fn count(&mut self) {
        for byte in self.counter.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }

    /// The initial vector of this message.
    pub(crate) fn iv(&self) -> Vec<u8> {
        let zero = vec![0; self.cipher.block()];
        match self.cipher {
            Cipher::Tdes => zero,
            _ => self.cipher.encrypt(&self.encryption, &zero, &self.counter),
        }
    }

    /// Enciphers the data of this message.
    pub(crate) fn encipher(&self, data: &[u8]) -> Vec<u8> {
        let mut padded = data.to_vec();
        pad(&mut padded, self.cipher.block());
        self.cipher.encrypt(&self.encryption, &self.iv(), &padded)
    }

    /// Deciphers the data of this message; `None` where it is none.
    pub(crate) fn decipher(&self, data: &[u8]) -> Option<Vec<u8>> {
        if data.is_empty() || !data.len().is_multiple_of(self.cipher.block()) {
            return None;
        }
        let padded = self.cipher.decrypt(&self.encryption, &self.iv(), data);
        unpad(&padded).map(<[u8]>::to_vec)
    }

    /// The checksum of this message: `header` is padded by itself, the objects behind it are padded together.
    pub(crate) fn checksum(&self, header: &[u8], objects: &[&[u8]]) -> [u8; MAC] {
        let block = self.cipher.block();
        let mut message = self.counter.clone();
        if !header.is_empty() {
            message.extend_from_slice(header);
            pad(&mut message, block);
        }
        message.extend(objects.iter().copied().flatten());
        // The MAC of Triple DES pads by itself.
        if self.cipher != Cipher::Tdes {
            pad(&mut message, block);
        }
        self.cipher.mac(&self.checksums, &message)
    }

    /// The last checksum by these keys over data of PACE (part 11 section 4.4.3.4).
    pub(crate) fn token(&self, data: &[u8]) -> [u8; MAC] {
        self.cipher.mac(&self.checksums, data)
    }

    /// A command as it goes to the chip (section 9.8.4).
    pub fn protect(&mut self, command: &Command) -> Command {
        self.count();
        let mut protected = Command { class: command.class | 0x0c, data: Vec::new(), ..command.clone() };
        let mut objects = Vec::new();
        if !command.data.is_empty() {
            let data = self.encipher(&command.data);
            objects.extend(match command.instruction % 2 {
                0 => object(0x87, &[&[1], &data]),
                _ => object(0x85, &[&data]),
            });
        }
        if let Some(expected) = command.expected {
            // 256 and 65536 are written as zeros.
            let length = (expected as u16).to_be_bytes();
            let length = if expected <= 0x100 { &length[1..] } else { &length[..] };
            objects.extend(object(0x97, &[length]));
        }
        let checksum = self.checksum(&protected.header(), &[&objects]);
        objects.extend(object(0x8e, &[&checksum]));
        let long = objects.len() > 0xff || command.expected.is_some_and(|expected| expected > 0x100);
        protected.expected = Some(if long { 0x1_0000 } else { 0x100 });
        protected.data = objects;
        protected
    }

    /// The chip's answer as it was meant.
    ///
    /// # Errors
    /// `Device`: its checksum is wrong or missing, or the chip has ended secure messaging.
    pub fn open(&mut self, answer: &Answer) -> Result<Answer> {
        self.count();
        // The rest would have to be fetched plainly, which ends secure messaging (section 9.8.3); without it there is no
        // checksum either.
        if answer.status >> 8 == 0x61 {
            return Ok(Answer { data: Vec::new(), status: answer.status });
        }
        if answer.data.is_empty() {
            return match answer.status {
                // These end it; so does all being well without a checksum to prove it.
                0x9000 | 0x6882 | 0x6982 | 0x6987 | 0x6988 => Err(Error::new(
                    Kind::Device,
                    format!("the chip has ended secure messaging with {:04X}", answer.status),
                )),
                status => Ok(Answer { data: Vec::new(), status }),
            };
        }
        let mut objects = Objects::new(&answer.data);
        let enciphered = match objects.take_if(0x87)? {
            Some(found) => Some((found, &[1][..])),
            None => objects.take_if(0x85)?.map(|found| (found, &[][..])),
        };
        let status = objects.take_if(0x99)?;
        let signed = &answer.data[..answer.data.len() - objects.rest().len()];
        let checksum = objects.expect(0x8e)?;
        if !objects.rest().is_empty() {
            return Err(malformed("something follows the checksum of secure messaging"));
        }
        if !same(checksum.value, &self.checksum(&[], &[signed])) {
            return Err(Error::new(
                Kind::Device,
                "the chip's answer has a wrong checksum: it was changed on the way, or the chip is faulty; \
                 lay the document down again",
            ));
        }
        let status = match status {
            Some(status) => <[u8; 2]>::try_from(status.value)
                .map(u16::from_be_bytes)
                .map_err(|_| malformed("a status word has not two bytes"))?,
            None => return Err(malformed("the status word has no checksum")),
        };
        let data = match enciphered {
            None => Vec::new(),
            Some((found, indicator)) => {
                let data = found.value.strip_prefix(indicator);
                data.and_then(|data| self.decipher(data))
                    .ok_or_else(|| malformed("what is enciphered has no padding"))?
            }
        };
        Ok(Answer { data, status })
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;
    use proptest::prelude::*;

    fn session() -> Session {
        // ICAO 9303 part 11 appendix D.3.
        let session = Session::with_counter(
            Cipher::Tdes,
            &hex("0036D272F5C350ACAC50C3F572D23600"),
            hex("887022120C06C226"),
        );
        assert_eq!(session.encryption, hex("979EC13B1CBFE9DCD01AB0FED307EAE5"));
        assert_eq!(session.checksums, hex("F1CB1F1FB5ADF208806B89DC579DC1F8"));
        session
    }

    fn answer(text: &str) -> Answer {
        let mut data = hex(text);
        let status = data.split_off(data.len() - 2);
        Answer { data, status: u16::from_be_bytes([status[0], status[1]]) }
    }

    #[test]
    fn reading_ef_com_is_the_worked_example() {
        // Appendix D.4.
        let mut session = session();
        let select = Command::new(0xa4, 2, 0x0c).data([0x01, 0x1e]);
        let bytes = session.protect(&select).bytes().unwrap();
        assert_eq!(bytes, hex("0CA4020C158709016375432908C044F68E08BF8B92D635FF24F800"));
        let opened = session.open(&answer("990290008E08FA855A5D4C50A8ED9000")).unwrap();
        assert!(opened.ok("").unwrap().is_empty());

        let bytes = session.protect(&Command::new(0xb0, 0, 0).expecting(4)).bytes().unwrap();
        assert_eq!(bytes, hex("0CB000000D9701048E08ED6705417E96BA5500"));
        let opened = session.open(&answer("8709019FF0EC34F9922651990290008E08AD55CC17140B2DED9000")).unwrap();
        assert_eq!(opened.ok("").unwrap(), hex("60145F01"));

        let bytes = session.protect(&Command::new(0xb0, 0, 4).expecting(0x12)).bytes().unwrap();
        assert_eq!(bytes, hex("0CB000040D9701128E082EA28A70F3C7B53500"));
        let opened = session
            .open(&answer(
                "871901FB9235F4E4037F2327DCC8964F1F9B8C30F42C8E2FFF224A990290008E08C8B2787EAEA07D749000",
            ))
            .unwrap();
        assert_eq!(opened.ok("").unwrap(), hex("04303130365F36063034303030305C026175"));
        assert_eq!(session.counter, hex("887022120C06C22C"));
    }

    /// Computed from the text of the standard with PyCryptodome, for the secret 00 01 … 1F: selecting EF.COM and its answer,
    /// reading 600 bytes at 0x8000 and its answer of four.
    #[rustfmt::skip]
    const AES: [(&str, &str, &str, &str); 3] = [
        ("0ca4020c1d871101cf4da035455f2b5456cc42ba95475b378e08071d3067131cbf0300",
         "990290008e08b64f8c6b611926889000",
         "0cb10000000020851043978af51a35240250a5a660ef6d3d1f970202588e08190312e19e557e0e0000",
         "851099de6684547d5c83a72a885ca98d3042990262828e08a90cfc825f8fe6e49000"),
        ("0ca4020c1d8711017856991b9e6e6ef65511315c0c0d2a228e08aab4a6049dd15c4000",
         "990290008e08b4e1d5cf7b1e16629000",
         "0cb1000000002085105532b24722e2261948deec8d7c178dfb970202588e087948494c1bda13d40000",
         "8510f77e391b4891b56001c943e76801be9c990262828e08bf661a38518bd6749000"),
        ("0ca4020c1d87110176b019bc53fb8ff35b704d6a4bcd777d8e0864a2d100449cc09100",
         "990290008e08fdf67bb174160a239000",
         "0cb100000000208510ff4efb9a0a88ac06da49174c9b10074a970202588e081fcd8f3f0589a8350000",
         "8510d61cef0f67abc7de61e277c350f7d763990262828e081b9d236345ea067e9000"),
    ];

    #[test]
    fn messages_with_aes_are_as_computed_elsewhere() {
        let secret: Vec<u8> = (0..32).collect();
        for (cipher, (select, selected, read, answered)) in Cipher::ALL.into_iter().skip(1).zip(AES) {
            let mut session = Session::new(cipher, &secret);
            let command = session.protect(&Command::new(0xa4, 2, 0x0c).data([0x01, 0x1e]));
            assert_eq!(command.bytes().unwrap(), hex(select));
            assert_eq!(session.open(&answer(selected)).unwrap().status, 0x9000);
            let command = Command::new(0xb1, 0, 0).data([0x54, 2, 0x80, 0]).expecting(600);
            assert_eq!(session.protect(&command).bytes().unwrap(), hex(read));
            let opened = session.open(&answer(answered)).unwrap();
            assert_eq!((opened.data, opened.status), (hex("530401020304"), 0x6282));
        }
    }

    #[test]
    fn what_was_changed_is_noticed() {
        let whole = hex("990290008E08FA855A5D4C50A8ED");
        for (data, status, what) in [
            (hex("990290008E08FA855A5D4C50A8EE"), 0x9000, "wrong checksum"),
            (hex("99026A828E08FA855A5D4C50A8ED"), 0x9000, "wrong checksum"),
            (hex("99029000"), 0x9000, "object 8E is missing"),
            (hex("8E08FA855A5D4C50A8ED"), 0x9000, "wrong checksum"),
            ([&whole[..], &[0x53, 0]].concat(), 0x9000, "something follows"),
            (Vec::new(), 0x9000, "ended secure messaging"),
            (Vec::new(), 0x6988, "ended secure messaging with 6988"),
        ] {
            let mut session = session();
            session.protect(&Command::new(0xa4, 2, 0x0c).data([0x01, 0x1e]));
            let error = session.open(&Answer { data, status }).err().unwrap();
            assert!(error.to_string().contains(what), "{error}");
        }
        let mut session = session();
        session.protect(&Command::new(0xa4, 2, 0x0c).data([0x01, 0x1e]));
        assert_eq!(session.open(&Answer { data: Vec::new(), status: 0x6a82 }).unwrap().status, 0x6a82);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_answer(data in proptest::collection::vec(any::<u8>(), 1..100), cipher in 0usize..4) {
            let mut session = Session::new(Cipher::ALL[cipher], &[1; 16]);
            let opened = session.open(&Answer { data, status: 0x9000 });
            prop_assert!(opened.is_err());
        }
    }
}
