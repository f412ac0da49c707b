//! The two families of ciphers of ICAO 9303 part 11 section 9.7 and 9.8: Triple DES with its MAC (ISO 9797-1), and AES with CMAC.

use aes::{Aes128, Aes192, Aes256};
use cmac::Cmac;
use des::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use des::{Des, TdesEde2};

use super::hash::Hash;

/// A cipher and its length of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// Triple DES with two keys, in CBC; MAC algorithm 3 of ISO 9797-1 with DES.
    Tdes,
    /// AES of 128 bits in CBC; CMAC cut to 8 bytes.
    Aes128,
    /// AES of 192 bits, likewise.
    Aes192,
    /// AES of 256 bits, likewise.
    Aes256,
}

/// Bytes of every checksum.
pub const MAC: usize = 8;

impl Cipher {
    /// All of them, in the order of the object identifiers of PACE and chip authentication.
    pub const ALL: [Self; 4] = [Self::Tdes, Self::Aes128, Self::Aes192, Self::Aes256];

    /// Bytes of a block.
    pub fn block(self) -> usize {
        match self {
            Self::Tdes => 8,
            _ => 16,
        }
    }

    /// Bytes of a key.
    pub fn key(self) -> usize {
        match self {
            Self::Tdes | Self::Aes128 => 16,
            Self::Aes192 => 24,
            Self::Aes256 => 32,
        }
    }

    /// A key from a shared secret: part 11 section 9.7.1. `counter` is 1 for encryption, 2 for checksums, 3 for a password.
    pub fn derive(self, secret: &[u8], counter: u32) -> Vec<u8> {
        let hash = match self {
            Self::Tdes | Self::Aes128 => Hash::Sha1,
            Self::Aes192 | Self::Aes256 => Hash::Sha256,
        };
        let mut key = hash.of(&[secret, &counter.to_be_bytes()]);
        key.truncate(self.key());
        if self == Self::Tdes {
            for byte in &mut key {
                // DES ignores the last bit; the standard has it make the number of ones odd.
                *byte = *byte & 0xfe | u8::from((*byte >> 1).count_ones() % 2 == 0);
            }
        }
        key
    }

    /// Encrypts whole blocks in CBC.
    pub fn encrypt(self, key: &[u8], iv: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Tdes => encrypt::<TdesEde2>(key, iv, data),
            Self::Aes128 => encrypt::<Aes128>(key, iv, data),
            Self::Aes192 => encrypt::<Aes192>(key, iv, data),
            Self::Aes256 => encrypt::<Aes256>(key, iv, data),
        }
    }

    /// Decrypts whole blocks in CBC.
    pub fn decrypt(self, key: &[u8], iv: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Tdes => decrypt::<TdesEde2>(key, iv, data),
            Self::Aes128 => decrypt::<Aes128>(key, iv, data),
            Self::Aes192 => decrypt::<Aes192>(key, iv, data),
            Self::Aes256 => decrypt::<Aes256>(key, iv, data),
        }
    }

    /// The checksum of a message: with Triple DES over the padded message, with AES as CMAC pads it.
    pub fn mac(self, key: &[u8], message: &[u8]) -> [u8; MAC] {
        match self {
            Self::Tdes => retail_mac(key, message),
            Self::Aes128 => cmac_of::<Cmac<Aes128>>(key, message),
            Self::Aes192 => cmac_of::<Cmac<Aes192>>(key, message),
            Self::Aes256 => cmac_of::<Cmac<Aes256>>(key, message),
        }
    }
}

/// Padding method 2 of ISO 9797-1: one bit, then zeros up to a whole block.
pub fn pad(data: &mut Vec<u8>, block: usize) {
    data.push(0x80);
    data.resize(data.len().next_multiple_of(block), 0);
}

/// What was padded by [`pad`]; `None` where there is no padding.
pub fn unpad(data: &[u8]) -> Option<&[u8]> {
    let last = data.iter().rposition(|byte| *byte != 0)?;
    (data[last] == 0x80).then(|| &data[..last])
}

const WHOLE: &str = "only whole blocks are enciphered, with an IV of one";

fn cipher<C: KeyInit>(key: &[u8]) -> C {
    C::new_from_slice(key).expect("keys are derived in the length of their cipher")
}

fn encrypt<C: KeyInit + BlockCipherEncrypt>(key: &[u8], iv: &[u8], data: &[u8]) -> Vec<u8> {
    let cipher: C = cipher(key);
    let mut chain = Array::try_from(iv).expect(WHOLE);
    let mut out = Vec::with_capacity(data.len());
    for block in data.chunks(iv.len()) {
        assert_eq!(block.len(), iv.len(), "{WHOLE}");
        for (byte, plain) in chain.iter_mut().zip(block) {
            *byte ^= plain;
        }
        cipher.encrypt_block(&mut chain);
        out.extend_from_slice(&chain);
    }
    out
}

fn decrypt<C: KeyInit + BlockCipherDecrypt>(key: &[u8], iv: &[u8], data: &[u8]) -> Vec<u8> {
    let cipher: C = cipher(key);
    let mut chain = iv;
    let mut out = Vec::with_capacity(data.len());
    for block in data.chunks(iv.len()) {
        let mut plain = Array::try_from(block).expect(WHOLE);
        cipher.decrypt_block(&mut plain);
        out.extend(plain.iter().zip(chain).map(|(byte, before)| byte ^ before));
        chain = block;
    }
    out
}

/// MAC algorithm 3 of ISO 9797-1 with DES: part 11 section 9.8.6.1.
fn retail_mac(key: &[u8], message: &[u8]) -> [u8; MAC] {
    let (first, second): (Des, Des) = (cipher(&key[..8]), cipher(&key[8..]));
    let mut padded = message.to_vec();
    pad(&mut padded, 8);
    let mut chain = Array::default();
    for block in padded.chunks(8) {
        for (byte, plain) in chain.iter_mut().zip(block) {
            *byte ^= plain;
        }
        first.encrypt_block(&mut chain);
    }
    second.decrypt_block(&mut chain);
    first.encrypt_block(&mut chain);
    chain.into()
}

fn cmac_of<M: cmac::Mac + cmac::KeyInit>(key: &[u8], message: &[u8]) -> [u8; MAC] {
    let mut mac =
        <M as cmac::KeyInit>::new_from_slice(key).expect("keys are derived in the length of their cipher");
    mac.update(message);
    let whole = mac.finalize().into_bytes();
    let mut short = [0; MAC];
    short.copy_from_slice(&whole[..MAC]);
    short
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn keys_of_basic_access_are_the_worked_example() {
        // ICAO 9303 part 11 appendix D.2.
        let seed = &Hash::Sha1.of(&[b"L898902C<369080619406236"])[..16];
        assert_eq!(seed, hex("239AB9CB282DAF66231DC5A4DF6BFBAE"));
        assert_eq!(Cipher::Tdes.derive(seed, 1), hex("AB94FDECF2674FDFB9B391F85D7F76F2"));
        assert_eq!(Cipher::Tdes.derive(seed, 2), hex("7962D9ECE03D1ACD4C76089DCE131543"));
    }

    #[test]
    fn the_enciphered_keys_are_the_worked_example() {
        // Appendix D.3.
        let key = hex("AB94FDECF2674FDFB9B391F85D7F76F2");
        let plain = hex("781723860C06C2264608F919887022120B795240CB7049B01C19B33E32804F0B");
        let cipher = hex("72C29C2371CC9BDB65B779B8E8D37B29ECC154AA56A8799FAE2F498F76ED92F2");
        assert_eq!(Cipher::Tdes.encrypt(&key, &[0; 8], &plain), cipher);
        assert_eq!(Cipher::Tdes.decrypt(&key, &[0; 8], &cipher), plain);
        let mac = Cipher::Tdes.mac(&hex("7962D9ECE03D1ACD4C76089DCE131543"), &cipher);
        assert_eq!(mac[..], hex("5F1448EEA8AD90A7"));
    }

    #[test]
    fn aes_and_cmac_are_those_of_nist() {
        // NIST SP 800-38A F.2.1, F.2.3, F.2.5: first two blocks of CBC.
        let iv = hex("000102030405060708090A0B0C0D0E0F");
        let plain = hex("6BC1BEE22E409F96E93D7E117393172AAE2D8A571E03AC9C9EB76FAC45AF8E51");
        for (cipher, key, enciphered) in [
            (
                Cipher::Aes128,
                "2B7E151628AED2A6ABF7158809CF4F3C",
                "7649ABAC8119B246CEE98E9B12E9197D5086CB9B507219EE95DB113A917678B2",
            ),
            (
                Cipher::Aes192,
                "8E73B0F7DA0E6452C810F32B809079E562F8EAD2522C6B7B",
                "4F021DB243BC633D7178183A9FA071E8B4D9ADA9AD7DEDF4E5E738763F69145A",
            ),
            (
                Cipher::Aes256,
                "603DEB1015CA71BE2B73AEF0857D77811F352C073B6108D72D9810A30914DFF4",
                "F58C4C04D6E5F1BA779EABFB5F7BFBD69CFC4E967EDB808D679F777BC6702C7D",
            ),
        ] {
            let key = hex(key);
            assert_eq!(cipher.encrypt(&key, &iv, &plain), hex(enciphered));
            assert_eq!(cipher.decrypt(&key, &iv, &hex(enciphered)), plain);
        }
        // NIST SP 800-38B appendix D, as corrected: examples of 16 bytes.
        let message = &plain[..16];
        for (cipher, key, mac) in [
            (Cipher::Aes128, "2B7E151628AED2A6ABF7158809CF4F3C", "070A16B46B4D4144"),
            (Cipher::Aes192, "8E73B0F7DA0E6452C810F32B809079E562F8EAD2522C6B7B", "9E99A7BF31E71090"),
            (
                Cipher::Aes256,
                "603DEB1015CA71BE2B73AEF0857D77811F352C073B6108D72D9810A30914DFF4",
                "28A7023F452E8F82",
            ),
        ] {
            assert_eq!(cipher.mac(&hex(key), message)[..], hex(mac));
        }
    }

    #[test]
    fn padding_is_taken_off() {
        for length in 0..40 {
            for block in [8, 16] {
                let data = vec![0; length];
                let mut padded = data.clone();
                pad(&mut padded, block);
                assert!(padded.len() > length && padded.len() % block == 0 && padded.len() <= length + block);
                assert_eq!(unpad(&padded), Some(&data[..]));
            }
        }
        assert_eq!(unpad(&[1, 2, 3]), None);
        assert_eq!(unpad(&[0, 0]), None);
        assert_eq!(unpad(&[]), None);
    }
}
