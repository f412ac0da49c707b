//! A chip that is talked to: plain commands or protected ones, and its files (ICAO 9303 part 10 section 3.6).

use std::time::Instant;

use super::apdu::{self, Answer, Command, OK, exchange, refused};
use super::card::Card;
use super::secure::Session;
use super::tlv::{self, LONGEST_HEAD, malformed, value};
use crate::error::{Context as _, Error, Kind, Result};

/// The application of travel documents.
pub const APPLICATION: [u8; 7] = [0xa0, 0, 0, 2, 0x47, 0x10, 0x01];

/// A file of a chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its identifier.
    pub id: u16,
    /// Its name in the standard.
    pub name: &'static str,
    /// How long it may be.
    pub longest: usize,
}

/// The files that are read; their longest lengths are far beyond what is known of any document.
pub mod files {
    use super::File;

    /// How it is opened; before that, anybody may read it.
    pub const CARD_ACCESS: File = File { id: 0x011c, name: "EF.CardAccess", longest: 8 << 10 };
    /// What there is.
    pub const COM: File = File { id: 0x011e, name: "EF.COM", longest: 1 << 10 };
    /// The signed hashes.
    pub const SOD: File = File { id: 0x011d, name: "EF.SOD", longest: 64 << 10 };
    /// The lines for machines.
    pub const DG1: File = File { id: 0x0101, name: "DG1", longest: 1 << 10 };
    /// The holder's face.
    pub const DG2: File = File { id: 0x0102, name: "DG2", longest: 200 << 10 };
    /// How it shows that it is no copy.
    pub const DG14: File = File { id: 0x010e, name: "DG14", longest: 16 << 10 };
    /// The public key of active authentication.
    pub const DG15: File = File { id: 0x010f, name: "DG15", longest: 8 << 10 };
}

/// How many bytes are asked for at once: as many as fit an answer of 256 with what secure messaging adds.
const PIECE: usize = 0xdf;

/// The same with extended length. More would hardly be faster, and readers of 2 KiB of buffer exist.
const LONG_PIECE: usize = 0x600;

/// The status of a command whose length is wrong.
pub(super) const WRONG_LENGTH: u16 = 0x6700;

/// The last position that READ BINARY knows; further ones are said otherwise.
const NEAR: usize = 0x7fff;

/// A chip that is talked to.
pub struct Chip<'a> {
    card: &'a mut dyn Card,
    /// Secure messaging, once it has begun.
    pub session: Option<Session>,
    until: Instant,
    piece: usize,
    /// Whether a command of extended length had no answer at all: it is left out from then on.
    short_only: bool,
    /// Whether the chip has gone: a command had no answer.
    gone: bool,
}

impl<'a> Chip<'a> {
    /// A chip with which nothing was done yet; every command after `until` is an error.
    pub fn new(card: &'a mut dyn Card, until: Instant) -> Self {
        let piece = if knows_extended_length(card.atr()) { LONG_PIECE } else { PIECE };
        Self { card, session: None, until, piece, short_only: false, gone: false }
    }

    /// Sends a command, protected if secure messaging has begun, and gives the whole answer. An answer that does not fit
    /// under secure messaging is its status `61xx` alone. Where the reader cannot bring a command of extended length to the
    /// chip, which readers say by failing, the status is that of a wrong length (`6700`), and the chip is believed to be
    /// there still, once.
    ///
    /// # Errors
    /// As [`exchange`] and [`Session::open`].
    pub fn send(&mut self, command: &Command) -> Result<Answer> {
        let Some(session) = &mut self.session else {
            let answer = exchange(self.card, command, self.until);
            self.gone |= answer.is_err();
            return answer;
        };
        let before = session.clone();
        let mut protected = session.protect(command);
        let mut answer = apdu::send(self.card, &protected, self.until);
        if let Ok(wrong) = &answer
            && let Some(expected) = wrong.right_length()
        {
            session.open(wrong)?;
            // The chip has counted the first one: the same bytes again would have a wrong checksum.
            protected = session.protect(command).expecting(expected);
            answer = apdu::send(self.card, &protected, self.until);
        }
        match answer {
            Ok(answer) => session.open(&answer),
            Err(error) if error.kind() == Kind::Device && protected.is_long() && !self.short_only => {
                tracing::debug!(%error, "the reader does not bring commands of extended length to the chip");
                (self.short_only, self.piece) = (true, PIECE);
                self.session = Some(before);
                Ok(Answer { data: Vec::new(), status: WRONG_LENGTH })
            }
            Err(error) => {
                self.gone = true;
                Err(error)
            }
        }
    }

    /// Whether the chip has gone, so that what failed says nothing of it.
    pub fn gone(&self) -> bool {
        self.gone
    }

    /// Whether the chip says that it knows commands of extended length, and nothing speaks against it.
    pub fn long(&self) -> bool {
        self.piece > PIECE
    }

    /// Whether the reader has failed on a command of extended length.
    pub fn short_only(&self) -> bool {
        self.short_only
    }

    /// Selects the application of travel documents.
    ///
    /// # Errors
    /// `Device`: it has none: it is another card.
    pub fn select_application(&mut self) -> Result<()> {
        let select = Command::new(0xa4, 4, 0x0c).data(APPLICATION);
        self.send(&select)?.ok("the application of travel documents (is this a passport?)").map(drop)
    }

    /// A whole file; `None` where there is none.
    ///
    /// # Errors
    /// `Device`: it cannot be read, is cut off, or is longer than such a file can be.
    pub fn read(&mut self, file: File) -> Result<Option<Vec<u8>>> {
        let select = Command::new(0xa4, 2, 0x0c).data(file.id.to_be_bytes());
        let answer = self.send(&select).context(|| format!("{} cannot be selected", file.name))?;
        match answer.status {
            OK => {}
            // A file that is not there, and one that is not for us.
            0x6a82 | 0x6a88 | 0x6982 => return Ok(None),
            status => return Err(refused(format_args!("to select {}", file.name), status)),
        }
        let mut bytes = self.binary(file, 0, LONGEST_HEAD)?.unwrap_or_default();
        let head = tlv::head(&bytes).context(|| format!("{} cannot be read", file.name))?;
        let length = head.len.saturating_add(head.value);
        if length > file.longest {
            let error = format!("{} has {length} bytes, more than {} at most", file.name, file.longest);
            return Err(malformed(error));
        }
        bytes.truncate(length);
        while bytes.len() < length {
            let wanted = (length - bytes.len()).min(self.piece);
            match self.binary(file, bytes.len(), wanted)? {
                Some(more) => bytes.extend(more),
                None => self.piece = PIECE,
            }
        }
        Ok(Some(bytes))
    }

    /// So many bytes of the selected file at most, at least one; `None` where a chip promised extended length and does not
    /// know it.
    fn binary(&mut self, file: File, position: usize, wanted: usize) -> Result<Option<Vec<u8>>> {
        let what = || format!("{} cannot be read from byte {position}", file.name);
        let answer = if position <= NEAR {
            let [p1, p2] = (position as u16).to_be_bytes();
            self.send(&Command::new(0xb0, p1, p2).expecting(wanted))
        } else {
            // The shortest form of two bytes at least: chips exist that know no longer one below 65536.
            let bytes = (position as u32).to_be_bytes();
            let position = if position <= 0xffff { &bytes[2..] } else { &bytes[1..] };
            // The answer is an object: its tag and length need room too.
            let room = if self.piece > PIECE { self.piece + 4 } else { PIECE };
            let command = Command::new(0xb1, 0, 0).data(tlv::object(0x54, &[position]));
            self.send(&command.expecting((wanted + 4).min(room)))
        };
        let mut answer = answer.context(what)?;
        if answer.status == WRONG_LENGTH && wanted > PIECE {
            return Ok(None);
        }
        // The file may end within what was asked for.
        if answer.status != OK && (answer.status != 0x6282 || answer.data.is_empty()) {
            return Err(refused(format_args!("to read {} from byte {position}", file.name), answer.status));
        }
        if position > NEAR {
            answer.data = value(&answer.data, 0x53).context(what)?.to_vec();
        }
        if answer.data.is_empty() || answer.data.len() > wanted {
            let error = format!("it sends {} bytes where {wanted} were asked for", answer.data.len());
            return Err(Error::new(Kind::Device, error)).context(what);
        }
        Ok(Some(answer.data))
    }
}

/// Whether a card says of itself that it knows commands of extended length: in the third byte of its capabilities, among the
/// historical bytes of its answer to reset (ISO 7816-3 section 8.2, ISO 7816-4 section 8.1.1.2.7).
pub fn knows_extended_length(atr: &[u8]) -> bool {
    historical(atr).is_some_and(|bytes| {
        // 80: compact objects follow. 00: the same with a status behind, of three bytes.
        let mut rest = match bytes.split_first() {
            Some((0x80, rest)) => rest,
            Some((0x00, rest)) => &rest[..rest.len().saturating_sub(3)],
            _ => return false,
        };
        while let Some((head, after)) = rest.split_first() {
            let Some((object, after)) = after.split_at_checked(usize::from(head & 0x0f)) else {
                return false;
            };
            if head >> 4 == 7 {
                return object.get(2).is_some_and(|byte| byte & 0x40 != 0);
            }
            rest = after;
        }
        false
    })
}

/// The historical bytes of an answer to reset; `None` where it is none.
fn historical(atr: &[u8]) -> Option<&[u8]> {
    let (_, rest) = atr.split_first()?;
    let (format, mut rest) = rest.split_first()?;
    let mut follow = format >> 4;
    while follow != 0 {
        let (interface, after) = rest.split_at_checked(follow.count_ones() as usize)?;
        rest = after;
        follow = if follow & 8 != 0 { interface.last()? >> 4 } else { 0 };
    }
    rest.get(..usize::from(format & 0x0f))
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extended_length_is_announced_in_the_historical_bytes() {
        // PC/SC part 3: of a contactless card; capabilities 73 with 40 in the third byte.
        assert!(knows_extended_length(&hex("3B8580018073FEFF40AA")));
        assert!(!knows_extended_length(&hex("3B8580018073FEFF00EA")));
        // With a life cycle object before it and a status behind.
        assert!(knows_extended_length(&hex("3B8A800100310A73000040079000AA")));
        assert!(!knows_extended_length(&hex("3B80800101")));
        assert!(!knows_extended_length(&hex("3B8F8001804F0CA000000306030001000000006A")));
        assert!(!knows_extended_length(&[]));
    }

    proptest! {
        #[test]
        fn any_answer_to_reset_is_no_panic(atr in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = knows_extended_length(&atr);
        }
    }
}
