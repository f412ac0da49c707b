//! NXP PN532 over its high-speed UART (HSU): user manual UM0701-02, chapters 6 (frames) and 7 (commands). It finds
//! cards of ISO/IEC 14443 type A (MIFARE and the like) at 106 kbit/s.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{CardReader, Uid};
use crate::device::serial_port::{Line, SerialPort};
use crate::error::{Error, Kind, Result};

/// Speed after power-on (chapter 6.2.1 of the manual: 115200 8N1).
const LINE: Line = Line::plain(115_200);

/// Between two looks: a card held for a moment is seen, and the field is off most of the time.
const PERIOD: Duration = Duration::from_millis(150);

/// The module acknowledges a command within 15 ms (chapter 6.2.2); the line and the system add to it.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(100);

/// A look takes some 10 ms with the retries below, a self-test at start up to 400 ms.
const ANSWERED_WITHIN: Duration = Duration::from_millis(500);

/// Wakes the module from its low battery mode (chapter 7.2.11): it needs some edges, and time until they are over.
const WAKE_UP: [u8; 16] = [0x55, 0x55, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Also ends a command that is under way (chapter 6.2.1.3).
const ACK: [u8; 6] = [0x00, 0x00, 0xff, 0x00, 0xff, 0x00];

/// "Send that again" (chapter 6.2.1.4).
const NACK: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x00, 0x00];

/// Card emulation and secure element off, time-out unused, IRQ pin used (chapter 7.2.10).
const SAM_CONFIGURATION: [u8; 4] = [0x14, 0x01, 0x14, 0x01];

/// MaxRetries (chapter 7.3.1, item 5): ATR and PSL as they are, two attempts to find a card, so that a look without one
/// ends soon instead of never.
const MAX_RETRIES: [u8; 5] = [0x32, 0x05, 0xff, 0x01, 0x01];

/// One target of 106 kbit/s type A (chapter 7.3.5).
const IN_LIST_PASSIVE_TARGET: [u8; 3] = [0x4a, 0x01, 0x00];

/// RF field off until the next look (chapter 7.3.1, item 1): the card starts anew, and is found again if it stays.
const FIELD_OFF: [u8; 3] = [0x32, 0x01, 0x00];

/// The frames, apart from the port.
pub mod frame {
    use super::{Error, Kind, Result};

    /// Longest data of a normal frame, with the identifier before it.
    pub const LONGEST: usize = 255;

    /// A normal information frame to the module: preamble, start code, length, checksum of the length, TFI 0xD4, data,
    /// checksum of the data, postamble (chapter 6.2.1.1). `data` has at most 254 bytes.
    pub fn command(data: &[u8]) -> Vec<u8> {
        let length = u8::try_from(data.len() + 1).unwrap_or(u8::MAX);
        let mut frame = vec![0x00, 0x00, 0xff, length, length.wrapping_neg(), 0xd4];
        frame.extend_from_slice(data);
        let sum = data.iter().fold(0xd4_u8, |sum, byte| sum.wrapping_add(*byte));
        frame.extend_from_slice(&[sum.wrapping_neg(), 0x00]);
        frame
    }

    /// What stands in a buffer.
    #[derive(Debug, PartialEq, Eq)]
    pub enum Found<'a> {
        /// No whole frame yet.
        Nothing,
        /// An ACK.
        Ack,
        /// The module did not understand the command ("syntax error", chapter 6.2.1.5).
        Error,
        /// Data behind TFI 0xD5.
        Data(&'a [u8]),
    }

    /// The first frame in `bytes`, and how many of them are done with. Anything before a start code is skipped.
    /// `Device` for a frame that is damaged; the bytes up to it are done with as well.
    pub fn read(bytes: &[u8]) -> (usize, Result<Found<'_>>) {
        let damaged =
            |done, what: &str| (done, Err(Error::new(Kind::Device, format!("a frame of it has {what}"))));
        let Some(start) = bytes.windows(2).position(|two| two == [0x00, 0xff]) else {
            // The last byte may be the first of a start code.
            let done = if bytes.last() == Some(&0) { bytes.len() - 1 } else { bytes.len() };
            return (done, Ok(Found::Nothing));
        };
        let at = start + 2;
        match bytes.get(at..at + 2) {
            None => return (start, Ok(Found::Nothing)),
            Some([0x00, 0xff]) => return (at + 2, Ok(Found::Ack)),
            Some([0xff, 0xff]) => return damaged(at + 2, "more than 255 bytes, which no answer has"),
            Some([length, sum]) if length.wrapping_add(*sum) != 0 => {
                return damaged(at, "a wrong checksum of its length");
            }
            Some(_) => {}
        }
        let length = bytes.get(at).map_or(LONGEST, |length| usize::from(*length));
        let data = at + 2;
        let Some(whole) = bytes.get(data..=data + length) else { return (start, Ok(Found::Nothing)) };
        let done = data + length + 1;
        if whole.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
            return damaged(done, "a wrong checksum");
        }
        match whole.get(..length) {
            Some([0x7f]) => (done, Ok(Found::Error)),
            Some([0xd5, data @ ..]) => (done, Ok(Found::Data(data))),
            _ => damaged(done, "no identifier of the module"),
        }
    }
}

use frame::Found;

/// One module.
#[derive(Debug)]
pub struct Pn532 {
    port: SerialPort,
    /// It has been told how to work since it was opened.
    ready: bool,
    /// A card with a random number was told of.
    told_random: bool,
    /// What came in and was not understood yet.
    buffer: Vec<u8>,
}

impl Pn532 {
    /// The module on the port at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            port: SerialPort::new(path),
            ready: false,
            told_random: false,
            buffer: Vec::with_capacity(512),
        }
    }

    fn failed(&self, what: &str) -> Error {
        Error::new(
            Kind::Device,
            format!(
                "the card reader on {} {what}: check its power, its wires (TX to RX) and that its switches select HSU",
                self.port.path().display()
            ),
        )
    }

    /// One whole command; its answer is what stands behind the command's code.
    fn command(&mut self, data: &[u8]) -> Result<Vec<u8>> {
        self.port.discard_input();
        self.buffer.clear();
        self.port.send(&frame::command(data))?;
        self.acknowledged()?;
        let code = data.first().copied().unwrap_or_default().wrapping_add(1);
        let until = Instant::now() + ANSWERED_WITHIN;
        let mut again = true;
        loop {
            match self.next_frame(until) {
                Ok(Some(Answer::Data(answer))) if answer.first() == Some(&code) => {
                    return Ok(answer.get(1..).unwrap_or_default().to_vec());
                }
                // Of a command before it.
                Ok(Some(Answer::Data(_) | Answer::Ack)) => {}
                Ok(Some(Answer::Error)) => return Err(self.failed("does not know a command")),
                Ok(None) => return Err(self.failed("does not answer")),
                // Damaged on the wire: it is asked for once more.
                Err(error) if error.kind() == Kind::Device && self.port.is_open() && again => {
                    again = false;
                    self.port.send(&NACK)?;
                }
                Err(error) if self.port.is_open() => {
                    return Err(self.failed(&format!("answers what cannot be read: {}", error.message())));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn acknowledged(&mut self) -> Result<()> {
        let until = Instant::now() + ACKNOWLEDGED_WITHIN;
        loop {
            match self.next_frame(until) {
                Ok(Some(Answer::Ack)) => return Ok(()),
                Ok(Some(Answer::Error)) => return Err(self.failed("does not know a command")),
                Ok(Some(Answer::Data(_))) => {}
                Ok(None) => return Err(self.failed("does not answer")),
                Err(error) if !self.port.is_open() => return Err(error),
                // Half a frame of before, or noise.
                Err(_) => {}
            }
            if Instant::now() >= until {
                return Err(self.failed("does not answer"));
            }
        }
    }

    /// The next frame until then, if one comes.
    fn next_frame(&mut self, until: Instant) -> Result<Option<Answer>> {
        let mut late = 0;
        loop {
            let (done, found) = frame::read(&self.buffer);
            let found = match found {
                Ok(Found::Nothing) => None,
                Ok(Found::Ack) => Some(Ok(Answer::Ack)),
                Ok(Found::Error) => Some(Ok(Answer::Error)),
                Ok(Found::Data(data)) => Some(Ok(Answer::Data(data.to_vec()))),
                Err(error) => Some(Err(error)),
            };
            self.buffer.drain(..done);
            if let Some(found) = found {
                return found.map(Some);
            }
            let mut bytes = [0; 64];
            let read = self.port.receive(&mut bytes, until)?;
            // What has come in time counts, however late it is looked at. A port that is never silent is no module.
            if Instant::now() >= until {
                late += read;
            }
            if read == 0 || late > frame::LONGEST {
                return Ok(None);
            }
            self.buffer.extend_from_slice(bytes.get(..read).unwrap_or_default());
        }
    }

    /// Opens the port if it is not open, and tells the module how to work if it was not told.
    fn prepare(&mut self) -> Result<()> {
        if !self.port.is_open() {
            self.ready = false;
            self.port.open(LINE)?;
        }
        if self.ready {
            return Ok(());
        }
        self.port.send(&WAKE_UP)?;
        // Ends what a program before us may have left under way.
        self.port.send(&ACK)?;
        self.command(&SAM_CONFIGURATION)?;
        self.command(&MAX_RETRIES)?;
        self.ready = true;
        Ok(())
    }

    fn find(&mut self) -> Result<Option<Uid>> {
        self.prepare()?;
        let answer = self.command(&IN_LIST_PASSIVE_TARGET)?;
        self.command(&FIELD_OFF)?;
        // NbTg, then for the first: Tg, SENS_RES (2), SEL_RES, length of the identifier, identifier.
        match answer.as_slice() {
            [0, ..] => Ok(None),
            // ISO/IEC 14443-3, 6.5.4: a number of four bytes that begins with 08 is a random one, new each time the field
            // comes back (phones, cards that protect their holder). It is nobody's card.
            [1, _, _, _, _, 4, 0x08, ..] => {
                if !std::mem::replace(&mut self.told_random, true) {
                    tracing::warn!(
                        "a card or phone with a random number lies on the reader: it opens for nobody"
                    );
                }
                Ok(None)
            }
            [1, _, _, _, _, length, uid @ ..] => match uid.get(..usize::from(*length)).and_then(Uid::new) {
                Some(uid) => Ok(Some(uid)),
                None => Err(self.failed("tells of a card without its number")),
            },
            _ => Err(self.failed("tells of no card, nor of none")),
        }
    }
}

/// A frame that has left the buffer.
enum Answer {
    Ack,
    Error,
    Data(Vec<u8>),
}

impl CardReader for Pn532 {
    fn look(&mut self) -> Result<Option<Uid>> {
        let found = self.find();
        if found.is_err() {
            // It may have lost its power, and with it what it was told.
            self.ready = false;
        }
        found
    }

    fn period(&self) -> Duration {
        PERIOD
    }
}

#[cfg(test)]
mod tests {
    use super::frame::{command, read};
    use super::*;

    #[test]
    fn frames_are_the_manuals() {
        // UM0701-02 and NXP's application note AN133910: GetFirmwareVersion, SAMConfiguration, their answers.
        assert_eq!(command(&[0x02]), [0x00, 0x00, 0xff, 0x02, 0xfe, 0xd4, 0x02, 0x2a, 0x00]);
        assert_eq!(command(&[0x14, 0x01]), [0x00, 0x00, 0xff, 0x03, 0xfd, 0xd4, 0x14, 0x01, 0x17, 0x00]);
        assert_eq!(
            command(&IN_LIST_PASSIVE_TARGET),
            [0x00, 0x00, 0xff, 0x04, 0xfc, 0xd4, 0x4a, 0x01, 0x00, 0xe1, 0x00]
        );
        let version = [0x00, 0x00, 0xff, 0x06, 0xfa, 0xd5, 0x03, 0x32, 0x01, 0x06, 0x07, 0xe8, 0x00];
        let (done, found) = read(&version);
        assert_eq!((done, found.unwrap()), (12, Found::Data(&[0x03, 0x32, 0x01, 0x06, 0x07])));
        assert!(matches!(read(&ACK), (5, Ok(Found::Ack))));
        let error = [0x00, 0x00, 0xff, 0x01, 0xff, 0x7f, 0x81, 0x00];
        assert!(matches!(read(&error), (7, Ok(Found::Error))));
        // Piece by piece, and behind noise.
        for length in 0..11 {
            assert!(matches!(read(&version[..length]).1, Ok(Found::Nothing)), "{length}");
        }
        let behind = [&[0xaa, 0x00, 0x12][..], &version].concat();
        assert!(matches!(read(&behind), (15, Ok(Found::Data(_)))));
    }

    #[test]
    fn damaged_frames_are_noticed_wherever_they_are() {
        let whole = [0x00, 0x00, 0xff, 0x03, 0xfd, 0xd5, 0x15, 0x01, 0x15, 0x00];
        assert!(matches!(read(&whole).1, Ok(Found::Data(&[0x15, 0x01]))));
        for byte in 3..9 {
            for bit in 0..8 {
                let mut damaged = whole;
                damaged[byte] ^= 1 << bit;
                let (_, found) = read(&damaged);
                assert!(!matches!(found, Ok(Found::Data(_))), "byte {byte}, bit {bit}: {found:?}");
            }
        }
    }
}
