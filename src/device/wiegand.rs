//! Wiegand frames of 26 and 34 bits: their parity, and the numbers that they stand for. [`wiegand_out`] and
//! [`wiegand_in`] have the wires.
//!
//! [`wiegand_out`]: super::wiegand_out
//! [`wiegand_in`]: super::wiegand_in

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::gate::settings::CardConversion;

/// Width of a frame (QYZN `weigand.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Format {
    /// 26 bits: even parity of the first 12, 24 data bits, odd parity of the last 12.
    #[default]
    #[serde(rename = "26")]
    W26,
    /// 34 bits: even parity of the first 16, 32 data bits, odd parity of the last 16.
    #[serde(rename = "34")]
    W34,
}

impl Format {
    /// Data bits between the two parity bits.
    pub fn data_bits(self) -> u32 {
        match self {
            Format::W26 => 24,
            Format::W34 => 32,
        }
    }
}

/// The bits of a frame in the order in which they go over the wire. Data bits beyond the width are cut off at
/// the high end, as card readers do it.
pub fn frame(format: Format, value: u64) -> Vec<bool> {
    let width = format.data_bits();
    let data: Vec<bool> = (0..width).rev().map(|bit| value >> bit & 1 == 1).collect();
    let (first, last) = data.split_at(data.len() / 2);
    let ones = |bits: &[bool]| bits.iter().filter(|bit| **bit).count();
    let mut frame = Vec::with_capacity(data.len() + 2);
    frame.push(ones(first) % 2 == 1);
    frame.extend_from_slice(&data);
    frame.push(ones(last) % 2 == 0);
    frame
}

/// The data of a frame that came in, and its width. `Input` if it has another number of bits than 26 or 34, or a
/// parity bit that is wrong: a bit was lost on the wire, and the number would be somebody else's.
pub fn read(bits: &[bool]) -> Result<(Format, u64)> {
    let format = match bits.len() {
        26 => Format::W26,
        34 => Format::W34,
        other => {
            return Err(Error::new(Kind::Input, format!("a Wiegand frame has 26 or 34 bits, not {other}")));
        }
    };
    let data = &bits[1..bits.len() - 1];
    let value = data.iter().fold(0, |value, bit| value << 1 | u64::from(*bit));
    if frame(format, value) != bits {
        return Err(Error::new(Kind::Input, "the parity of the Wiegand frame is wrong"));
    }
    Ok((format, value))
}

/// The bits that a text of 0 and 1 stands for; blanks between them are skipped. `Input` for any other letter.
pub fn bits(text: &str) -> Result<Vec<bool>> {
    text.chars()
        .filter(|letter| !letter.is_whitespace())
        .map(|letter| match letter {
            '0' => Ok(false),
            '1' => Ok(true),
            other => Err(Error::new(Kind::Input, format!("bits are written 0 and 1, not {other:?}"))),
        })
        .collect()
}

/// The number of a card whose data came in, in decimal digits (QYZN `weigand.InputType`).
///
/// | conversion | 26 bits | 34 bits |
/// |---|---|---|
/// | `HidPid` | site code of 8 bits as 3 digits, then card number of 16 bits as 5 | 16 and 16 bits, 5 and 5 digits |
/// | `Whole` | the 24 bits as one number | the 32 bits as one number |
/// | `LastTwoBytes` | the last 16 bits as one number | the same |
///
/// The document names the conversions and leaves their digits open; these are what readers print on their cards.
/// Leading zeros do not matter: card numbers are compared without them.
pub fn card_number(format: Format, data: u64, conversion: CardConversion) -> String {
    let (site, card) = (data >> 16, data & 0xffff);
    match (conversion, format) {
        (CardConversion::HidPid, Format::W26) => format!("{site:03}{card:05}"),
        (CardConversion::HidPid, Format::W34) => format!("{site:05}{card:05}"),
        (CardConversion::Whole, _) => data.to_string(),
        (CardConversion::LastTwoBytes, _) => card.to_string(),
    }
}

/// The number that a card or person id stands for on the wire: decimal digits, else hexadecimal ones.
/// `None` for anything else and for numbers beyond 64 bits.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| u64::from_str_radix(text, 16).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bits: &[bool]) -> String {
        bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect()
    }

    #[test]
    fn frames_carry_parity() {
        // Facility code 118 and card 1603, worked by hand: 011101100000 has five ones, so even parity adds a
        // one; 011001000011 has five, so odd parity adds a zero.
        assert_eq!(
            text(&frame(Format::W26, 118 << 16 | 1603)),
            "1".to_owned() + "011101100000011001000011" + "0"
        );
        // All zeros: even parity 0, odd parity 1. All ones in 32 bits: 16 and 16 ones, 0 and 1.
        assert_eq!(text(&frame(Format::W26, 0)), "0".repeat(25) + "1");
        assert_eq!(text(&frame(Format::W34, u64::from(u32::MAX))), format!("0{}1", "1".repeat(32)));
        // The high end is cut off.
        assert_eq!(frame(Format::W26, 0xff00_0001), frame(Format::W26, 1));
    }

    #[test]
    fn numbers_are_decimal_before_hexadecimal() {
        assert_eq!(number("157342643"), Some(157_342_643));
        assert_eq!(number(" 00ff "), Some(255));
        assert_eq!(number("张三"), None);
        assert_eq!(number(""), None);
    }

    #[test]
    fn frames_that_came_in_are_checked_and_converted() {
        // 01110110 is 118 and 0000011001000011 is 1603; with parity as worked by hand above.
        let came = bits("1 01110110 0000011001000011 0").unwrap();
        assert_eq!(read(&came).unwrap(), (Format::W26, 118 << 16 | 1603));
        // 118 · 65536 + 1603 = 7733248 + 1603.
        let convert = |conversion| card_number(Format::W26, 118 << 16 | 1603, conversion);
        assert_eq!(convert(CardConversion::HidPid), "11801603");
        assert_eq!(convert(CardConversion::Whole), "7734851");
        assert_eq!(convert(CardConversion::LastTwoBytes), "1603");
        // 157342643 is 0x0960dbb3: 0000100101100000 is 2400 with four ones, so even parity adds a zero;
        // 1101101110110011 is 56243 with eleven ones, so odd parity adds a zero.
        let came = bits("0 0000100101100000 1101101110110011 0").unwrap();
        let (format, data) = read(&came).unwrap();
        assert_eq!((format, data), (Format::W34, 157_342_643));
        assert_eq!(card_number(format, data, CardConversion::HidPid), "0240056243");
        assert_eq!(card_number(format, data, CardConversion::Whole), "157342643");
        assert_eq!(card_number(format, data, CardConversion::LastTwoBytes), "56243");
        assert_eq!(card_number(Format::W26, 7, CardConversion::HidPid), "00000007");
        // One bit turned over, anywhere, is noticed; so is one too many or too few.
        for bit in 0..came.len() {
            let mut damaged = came.clone();
            damaged[bit] = !damaged[bit];
            assert_eq!(read(&damaged).unwrap_err().kind(), Kind::Input, "bit {bit}");
        }
        for length in [0, 1, 25, 27, 33, 35] {
            let error = read(&vec![false; length]).unwrap_err();
            assert!(error.message().ends_with(&format!("not {length}")), "{error}");
        }
        assert!(bits("0120").unwrap_err().message().contains("'2'"));
    }
}
