//! Wiegand output: frames of 26 and 34 bits.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

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

/// The number that a card or person id stands for on the wire: decimal digits, else hexadecimal ones.
/// `None` for anything else and for numbers beyond 64 bits.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse().ok().or_else(|| u64::from_str_radix(text, 16).ok())
}

/// Two wires, D0 and D1.
pub trait WiegandOut: Send {
    /// Sends one frame; returns when it is on the wire.
    fn send(&mut self, bits: &[bool]) -> Result<()>;
}

/// Wires that exist in memory only; the event bus shows what they carried.
#[derive(Debug, Default)]
pub struct SimulatedWiegand;

impl WiegandOut for SimulatedWiegand {
    fn send(&mut self, _bits: &[bool]) -> Result<()> {
        Ok(())
    }
}

/// The output that `device.wiegand_out` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn WiegandOut>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedWiegand))),
        other => Err(Error::new(
            Kind::Config,
            format!("device.wiegand_out = {other:?} is not supported by this build: use \"sim\" or \"none\""),
        )),
    }
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
}
