//! Electronic passports and other travel documents with a chip (ICAO 9303 parts 10 and 11).

pub mod apdu;
pub mod card;
pub mod cipher;
pub mod curve;
pub mod hash;
pub mod rsa;
pub mod secure;
pub mod tlv;

/// The bytes of hexadecimal digits.
#[cfg(test)]
fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| (digit(pair[0]) << 4) | digit(pair[1])).collect()
}
