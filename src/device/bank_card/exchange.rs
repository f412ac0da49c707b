//! One command to a card and its whole answer, whichever way the card's protocol brings it. Commands are short, and 32 rounds
//! are more than any card of EMV needs; the chips of travel documents have an exchange of their own
//! ([`device::chip::apdu`](crate::device::chip::apdu)), with extended length, secure messaging, and 300 pieces for files of 64 KiB.

use crate::device::chip::card::{Card, LONGEST_ANSWER};
use crate::error::{Error, Kind, Result};

/// All went well (ISO/IEC 7816-4 chapter 5.1.3).
pub const OK: u16 = 0x9000;

/// The application is there and has been blocked (EMV Book 3 table 32).
pub const BLOCKED: u16 = 0x6283;

/// How often one answer may be fetched on or asked for again. Two do for any card of EMV; a card that goes on for ever is
/// broken, or wants to be in the way.
const ROUNDS: usize = 32;

/// What a card answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The data, without the status.
    pub data: Vec<u8>,
    /// The status word.
    pub status: u16,
}

impl Answer {
    /// The data if the status is "all went well".
    pub fn ok(self) -> Option<Vec<u8>> {
        (self.status == OK).then_some(self.data)
    }
}

/// Sends a short command and collects its answer: `61xx` fetches what is left (GET RESPONSE), `6Cxx` asks again for as many
/// bytes as there are. The command ends with its Le.
///
/// # Errors
/// Those of [`Card::transmit`]; `Device` for a card that never comes to an end.
pub fn ask(card: &mut dyn Card, command: &[u8]) -> Result<Answer> {
    let mut command = command.to_vec();
    let mut data = Vec::new();
    for _ in 0..ROUNDS {
        let mut part = card.transmit(&command)?;
        let (Some(low), Some(high)) = (part.pop(), part.pop()) else {
            return Err(Error::new(Kind::Device, "the card answered without a status: put it in again"));
        };
        match high {
            0x6c if part.is_empty() => {
                if let Some(expected) = command.last_mut() {
                    *expected = low;
                }
                continue;
            }
            0x61 => command = vec![0x00, 0xc0, 0x00, 0x00, low],
            _ => {}
        }
        data.append(&mut part);
        if data.len() > LONGEST_ANSWER {
            break;
        }
        if high != 0x61 {
            return Ok(Answer { data, status: u16::from_be_bytes([high, low]) });
        }
    }
    Err(Error::new(
        Kind::Device,
        "the card never comes to the end of an answer: it is broken, try another one",
    ))
}

/// SELECT by name (ISO/IEC 7816-4 chapter 7.1.1; EMV Book 1 chapter 11.3).
pub fn select(card: &mut dyn Card, name: &[u8]) -> Result<Answer> {
    let mut command = vec![0x00, 0xa4, 0x04, 0x00, u8::try_from(name.len()).unwrap_or(u8::MAX)];
    command.extend_from_slice(name);
    command.push(0x00);
    ask(card, &command)
}

/// READ RECORD by number in a file with a short identifier of 1 to 30 (EMV Book 1 chapter 11.2).
pub fn read_record(card: &mut dyn Card, file: u8, number: u8) -> Result<Answer> {
    ask(card, &[0x00, 0xb2, number, file << 3 | 0x04, 0x00])
}

/// GET DATA of EMV (Book 3 chapter 6.5.7).
pub fn get_data(card: &mut dyn Card, tag: u16) -> Result<Answer> {
    let [high, low] = tag.to_be_bytes();
    ask(card, &[0x80, 0xca, high, low, 0x00])
}
