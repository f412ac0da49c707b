//! The reader of chip cards as a reader of credentials: each card that is put in is one number, and never the account
//! number of its holder.

use std::time::Duration;

use super::{Presence, Reader, fault_of, part, uid};
use crate::config;
use crate::device::bank_card::{chip_number, social_security};
use crate::device::card_reader::NumberStyle;
use crate::device::chip::card::Card;
use crate::error::{Error, Kind, Result};

/// What was put in.
#[derive(Debug)]
pub enum Seen {
    /// A card with this number.
    Card(String),
    /// A card that cannot be a credential, and why.
    Unreadable(Error),
}

/// `device.contact_reader`
pub struct ContactReader {
    reader: Reader,
    style: NumberStyle,
    /// The last card that was seen.
    seen: Option<u32>,
}

impl ContactReader {
    /// The first reader with `part` in its name. Opens nothing yet.
    pub fn new(part: &str, style: NumberStyle) -> Self {
        Self { reader: Reader::new(part), style, seen: None }
    }

    /// A card that has been put in since the last call; `None` if none is `within` the time. `Device` if the reader or its
    /// service is not there: it is looked for again with the next call.
    pub fn next(&mut self, within: Duration) -> Result<Option<Seen>> {
        let (card, mute) = match self.reader.presence(within)? {
            Presence::Empty => return Ok(None),
            Presence::Card(card) => (card, false),
            Presence::Mute(card) => (card, true),
        };
        if self.seen.replace(card) == Some(card) {
            return Ok(None);
        }
        if mute {
            let name = self.reader.name().unwrap_or_default();
            return Ok(Some(Seen::Unreadable(fault_of(&name, ::pcsc::Error::UnresponsiveCard))));
        }
        let read = self.reader.connect().and_then(|mut card| number(&mut card, self.style));
        Ok(Some(read.map_or_else(Seen::Unreadable, Seen::Card)))
    }
}

/// The number by which a card is known at the gate, the first of these that it has: its UID, and the number of its chip
/// ([`chip_number`]), both as `style` says; between them, the number that is printed on a social security card, as it is.
/// A bank's account number is none of these. `NotFound` if the card has none of them.
pub fn number(card: &mut dyn Card, style: NumberStyle) -> Result<String> {
    if let Some(uid) = uid(card)? {
        return Ok(uid.number(style));
    }
    if let Some(printed) = social_security::card_number(card)? {
        return Ok(printed);
    }
    if let Some(chip) = chip_number(card)? {
        return Ok(chip.number(style));
    }
    Err(Error::new(
        Kind::NotFound,
        "the card has no number that may be used here: neither a UID nor a number of its chip, and it is no social \
         security card",
    ))
}

/// The reader that `device.contact_reader` names; `None` for `none`.
pub fn open(device: &config::Device) -> Result<Option<ContactReader>> {
    let style = NumberStyle { digits: device.card_number, order: device.card_bytes };
    match device.contact_reader.as_str() {
        "none" => Ok(None),
        other => match part(other) {
            Some(part) => Ok(Some(ContactReader::new(part, style))),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.contact_reader = {other:?} is not supported by this build: use \"pcsc:PART\" with a part \
                     of the reader's name, \"pcsc\" for the first there is, or \"none\""
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
            |name: &str| open(&config::Device { contact_reader: name.into(), ..config::Device::default() });
        assert!(named("none").unwrap().is_none());
        for name in ["pcsc", "pcsc:", "pcsc:ACR39U"] {
            assert!(named(name).unwrap().is_some(), "{name}");
        }
        for name in ["", "sim", "ACR39U", "PCSC:ACR39U"] {
            let error = named(name).err().unwrap();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.message().contains("device.contact_reader"), "{name}: {error}");
        }
    }
}
