//! Readers of IC cards on serial lines: one small driver for each module.

mod pn532;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config;
use crate::error::{Error, Kind, Result};

pub use pn532::{Pn532, frame};

/// Longest identifier of a card in bytes (ISO/IEC 14443-3: 4, 7 or 10).
pub const UID_BYTES: usize = 10;

/// The identifier of a card, as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uid {
    bytes: [u8; UID_BYTES],
    length: usize,
}

impl Uid {
    /// 1 to 10 bytes; `None` for any other number of them.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > UID_BYTES {
            return None;
        }
        let mut all = [0; UID_BYTES];
        all.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { bytes: all, length: bytes.len() })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The number that the card is known by.
    pub fn number(&self, style: NumberStyle) -> String {
        let mut bytes = self.bytes().to_vec();
        if style.order == ByteOrder::Reversed {
            bytes.reverse();
        }
        match style.digits {
            Digits::Hexadecimal => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
            // Ten bytes fit well.
            Digits::Decimal => {
                bytes.iter().fold(0_u128, |all, byte| all << 8 | u128::from(*byte)).to_string()
            }
        }
    }
}

/// How the bytes of a card become its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NumberStyle {
    /// In which digits.
    pub digits: Digits,
    /// In which order.
    pub order: ByteOrder,
}

/// `device.card_number`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digits {
    /// One number, without leading zeros.
    #[default]
    Decimal,
    /// Two upper-case digits for each byte.
    Hexadecimal,
}

/// `device.card_bytes`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByteOrder {
    /// The first byte that the card sends is the highest.
    #[default]
    AsSent,
    /// The first byte that the card sends is the lowest, as most USB desk readers print it.
    Reversed,
}

/// One reader. It has a thread of its own, and may take up to a second.
pub trait CardReader: Send {
    /// The card that lies on the reader now, if one does.
    fn look(&mut self) -> Result<Option<Uid>>;

    /// How long to wait between two looks.
    fn period(&self) -> Duration;
}

/// A reader and how its cards become numbers.
pub struct Fitted {
    /// The reader.
    pub reader: Box<dyn CardReader>,
    /// The numbers.
    pub style: NumberStyle,
}

/// The reader that `device.card_reader` names; `None` for `none` and for `sim`, which is driven by hand.
pub fn open(device: &config::Device) -> Result<Option<Fitted>> {
    match device.card_reader.as_str() {
        "none" | "sim" => Ok(None),
        other => match other.strip_prefix("pn532:").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Some(Fitted {
                reader: Box::new(Pn532::new(path)),
                style: NumberStyle { digits: device.card_number, order: device.card_bytes },
            })),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.card_reader = {other:?} is not supported by this build: use \"pn532:/dev/ttyS3\" (any \
                     port), \"sim\" or \"none\""
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_named_by_the_configuration() {
        let named =
            |name: &str| open(&config::Device { card_reader: name.into(), ..config::Device::default() });
        assert!(named("none").unwrap().is_none());
        assert!(named("sim").unwrap().is_none());
        assert!(named("pn532:/dev/ttyS3").unwrap().is_some());
        for name in ["", "pn532:", "pn532:ttyS3", "rc522:/dev/ttyS3", "/dev/ttyS3"] {
            let error = named(name).err().unwrap();
            assert!(error.message().contains("device.card_reader"), "{name}: {error}");
        }
    }

    #[test]
    fn numbers_are_made_as_the_settings_say() {
        let number =
            |bytes: &[u8], digits, order| Uid::new(bytes).unwrap().number(NumberStyle { digits, order });
        // 0x0960DBB3 is 157342643 and 0xB3DB6009 is 3017498633, worked out by hand.
        let card = [0x09, 0x60, 0xdb, 0xb3];
        assert_eq!(number(&card, Digits::Decimal, ByteOrder::AsSent), "157342643");
        assert_eq!(number(&card, Digits::Decimal, ByteOrder::Reversed), "3017498633");
        assert_eq!(number(&card, Digits::Hexadecimal, ByteOrder::AsSent), "0960DBB3");
        assert_eq!(number(&card, Digits::Hexadecimal, ByteOrder::Reversed), "B3DB6009");
        assert_eq!(
            number(&[0x04, 1, 2, 3, 4, 5, 6], Digits::Hexadecimal, ByteOrder::AsSent),
            "04010203040506"
        );
        assert_eq!(number(&[0xff; 10], Digits::Decimal, ByteOrder::AsSent), "1208925819614629174706175");
        assert!(Uid::new(&[]).is_none() && Uid::new(&[0; 11]).is_none());
    }
}
