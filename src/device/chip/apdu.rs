//! Commands to a chip and its answers (ISO 7816-4 section 5), short and of extended length.

use std::time::Instant;

use super::card::{Card, LONGEST_ANSWER};
use crate::error::{Error, Kind, Result};

/// A command.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// Class.
    pub class: u8,
    /// Instruction.
    pub instruction: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// Data, up to 65535 bytes.
    pub data: Vec<u8>,
    /// How many bytes are expected at most, 1 to 65536; `None`: none.
    pub expected: Option<usize>,
}

impl Command {
    /// A command without data that expects none.
    pub fn new(instruction: u8, p1: u8, p2: u8) -> Self {
        Self { instruction, p1, p2, ..Self::default() }
    }

    /// The same with data.
    pub fn data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = data.into();
        self
    }

    /// The same with an answer of at most so many bytes.
    pub fn expecting(mut self, bytes: usize) -> Self {
        self.expected = Some(bytes);
        self
    }

    /// The same in the middle of a chain (ISO 7816-4 section 5.3.3).
    pub fn chained(mut self) -> Self {
        self.class |= 0x10;
        self
    }

    /// The four bytes it begins with.
    pub fn header(&self) -> [u8; 4] {
        [self.class, self.instruction, self.p1, self.p2]
    }

    /// Whether it fits no short one.
    pub fn is_long(&self) -> bool {
        self.data.len() > 0xff || self.expected.is_some_and(|bytes| bytes > 0x100)
    }

    /// Its bytes; of extended length only where it must be.
    ///
    /// # Errors
    /// `Input`: there is too much data, or too much is expected.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        if self.data.len() > 0xffff || self.expected.is_some_and(|bytes| bytes == 0 || bytes > 0x1_0000) {
            return Err(Error::new(Kind::Input, "a command to a chip holds at most 65535 bytes"));
        }
        let mut bytes = self.header().to_vec();
        if !self.is_long() {
            if !self.data.is_empty() {
                bytes.push(self.data.len() as u8);
                bytes.extend_from_slice(&self.data);
            }
            // 256 is written as 0.
            bytes.extend(self.expected.map(|expected| expected as u8));
        } else {
            bytes.push(0);
            if !self.data.is_empty() {
                bytes.extend((self.data.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&self.data);
            }
            // 65536 is written as 0.
            bytes.extend(self.expected.iter().flat_map(|expected| (*expected as u16).to_be_bytes()));
        }
        Ok(bytes)
    }

    /// The command of these bytes, as a chip reads it; `None` where they are none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (&[class, instruction, p1, p2], body) = bytes.split_first_chunk()?;
        let mut command = Self { class, instruction, p1, p2, data: Vec::new(), expected: None };
        let short = |byte: u8| if byte == 0 { 0x100 } else { usize::from(byte) };
        let long = |bytes: [u8; 2]| match u16::from_be_bytes(bytes) {
            0 => 0x1_0000,
            length => usize::from(length),
        };
        match *body {
            [] => {}
            [expected] => command.expected = Some(short(expected)),
            [0, high, low] => command.expected = Some(long([high, low])),
            [0, high, low, ref rest @ ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                let (data, rest) = rest.split_at_checked(length)?;
                command.data = data.to_vec();
                match *rest {
                    [] => {}
                    [high, low] => command.expected = Some(long([high, low])),
                    _ => return None,
                }
            }
            [length, ref rest @ ..] => {
                let (data, rest) = rest.split_at_checked(usize::from(length))?;
                command.data = data.to_vec();
                match *rest {
                    [] => {}
                    [expected] => command.expected = Some(short(expected)),
                    _ => return None,
                }
            }
        }
        Some(command)
    }
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Data.
    pub data: Vec<u8>,
    /// Status word: `0x9000` where all is well.
    pub status: u16,
}

/// All is well.
pub const OK: u16 = 0x9000;

impl Answer {
    /// The answer if all is well.
    ///
    /// # Errors
    /// `Device` with the status word in words; `what` is what was asked for.
    pub fn ok(self, what: impl std::fmt::Display) -> Result<Vec<u8>> {
        if self.status == OK { Ok(self.data) } else { Err(refused(what, self.status)) }
    }

    /// How many bytes a chip has that was asked for another number of them (`6Cxx`).
    pub fn right_length(&self) -> Option<usize> {
        match self.status.to_be_bytes() {
            [0x6c, 0] => Some(0x100),
            [0x6c, length] => Some(usize::from(length)),
            _ => None,
        }
    }
}

/// The error of a command that was not carried out.
pub fn refused(what: impl std::fmt::Display, status: u16) -> Error {
    Error::new(Kind::Device, format!("the chip refuses {what}: {status:04X}, {}", meaning(status)))
}

/// What a status word means (ISO 7816-4 section 5.6).
pub fn meaning(status: u16) -> &'static str {
    match status {
        0x9000 => "all is well",
        0x6282 => "the file has ended",
        0x6283 => "the file is deactivated",
        0x6300 => "authentication failed",
        0x63c0..=0x63cf => "authentication failed, and few tries are left",
        0x6700 => "the length is wrong",
        0x6882 => "it knows no secure messaging",
        0x6982 => "authentication is needed first",
        0x6983 => "it is blocked",
        0x6984 => "a key or reference cannot be used",
        0x6985 => "not now",
        0x6987 => "an object of secure messaging is missing",
        0x6988 => "an object of secure messaging is wrong",
        0x6a80 => "the data is wrong",
        0x6a81 => "it does not know the function",
        0x6a82 => "there is no such file",
        0x6a83 => "there is no such record",
        0x6a86 => "the parameters are wrong",
        0x6a88 => "there is no such key",
        0x6b00 => "the position is beyond the file",
        0x6d00 => "it does not know the command",
        0x6e00 => "it does not know the class of command",
        _ => "not further explained",
    }
}

/// How many pieces an answer may come in: as many as the longest has with 256 bytes each, and some.
const PIECES: usize = 300;

/// Sends a plain command and gives the whole answer: further pieces (`61xx`) are fetched, and a wrong expected length
/// (`6Cxx`) is put right once. Not for secure messaging, where nothing is sent twice and nothing plainly.
///
/// # Errors
/// As [`send`]. `Device`: the answer does not end.
pub fn exchange(card: &mut dyn Card, command: &Command, until: Instant) -> Result<Answer> {
    let mut answer = send(card, command, until)?;
    if let Some(expected) = answer.right_length() {
        answer = send(card, &command.clone().expecting(expected), until)?;
    }
    for _ in 0..PIECES {
        let [0x61, length] = answer.status.to_be_bytes() else { return Ok(answer) };
        let mut more = Command::new(0xc0, 0, 0);
        // The logical channel stays; a chain or secure messaging is not of this command.
        more.class = command.class & 0x03;
        let more = more.expecting(if length == 0 { 0x100 } else { usize::from(length) });
        let piece = send(card, &more, until)?;
        answer.data.extend(piece.data);
        answer.status = piece.status;
        if answer.data.len() > LONGEST_ANSWER {
            break;
        }
    }
    Err(Error::new(Kind::Device, "the chip's answer does not end"))
}

/// Sends a command and gives the answer as it came.
///
/// # Errors
/// As [`Card::transmit`]. `Device`: what came is no answer. `Timeout`: `until` has passed.
pub fn send(card: &mut dyn Card, command: &Command, until: Instant) -> Result<Answer> {
    if Instant::now() >= until {
        return Err(Error::new(
            Kind::Timeout,
            "reading the chip takes too long; lay the document down flat and leave it there",
        ));
    }
    let mut data = card.transmit(&command.bytes()?)?;
    if data.len() > LONGEST_ANSWER {
        return Err(Error::new(Kind::Device, "the chip's answer is longer than answers can be"));
    }
    let Some((_, &[high, low])) = data.split_last_chunk() else {
        return Err(Error::new(Kind::Device, "the chip's answer has no status word"));
    };
    data.truncate(data.len() - 2);
    Ok(Answer { data, status: u16::from_be_bytes([high, low]) })
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// A card that is asked and answers in this order.
    struct Script(Vec<(&'static str, &'static str)>);

    impl Card for Script {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
            let (asked, answer) = self.0.remove(0);
            assert_eq!(apdu, hex(asked));
            Ok(hex(answer))
        }

        fn atr(&self) -> &[u8] {
            &[0x3b, 0]
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn commands_are_written_in_their_four_cases() {
        let command = Command::new(0xa4, 2, 0x0c);
        for (command, bytes) in [
            (command.clone(), "00A4020C"),
            (command.clone().expecting(256), "00A4020C00"),
            (command.clone().data([1, 0x1e]), "00A4020C02011E"),
            (command.clone().data([1, 0x1e]).expecting(4), "00A4020C02011E04"),
            (command.clone().expecting(257), "00A4020C000101"),
            (command.clone().data([1]).expecting(65_536), "00A4020C000001010000"),
            (command.clone().chained(), "10A4020C"),
        ] {
            assert_eq!(command.bytes().unwrap(), hex(bytes));
            assert!(Command::read(&hex(bytes)).unwrap() == command);
        }
        let long = command.clone().data([7; 300]);
        assert_eq!(long.bytes().unwrap()[4..7], [0, 1, 44]);
        assert!(Command::read(&long.bytes().unwrap()).unwrap() == long);
        assert!(command.clone().data([0; 65_536]).bytes().is_err());
        assert!(command.clone().expecting(0).bytes().is_err());
        assert!(command.expecting(65_537).bytes().is_err());
    }

    #[test]
    fn pieces_are_put_together() {
        let mut card =
            Script(vec![("00B0000004", "6C02"), ("00B0000002", "016101"), ("00C0000001", "029000")]);
        let answer = exchange(&mut card, &Command::new(0xb0, 0, 0).expecting(4), soon()).unwrap();
        assert_eq!(answer.ok("reading").unwrap(), [1, 2]);
        assert!(card.0.is_empty());
    }

    #[test]
    fn an_answer_without_end_ends() {
        struct Endless;
        impl Card for Endless {
            fn transmit(&mut self, _: &[u8]) -> Result<Vec<u8>> {
                Ok(vec![0, 0x61, 0])
            }
            fn atr(&self) -> &[u8] {
                &[]
            }
        }
        let error = exchange(&mut Endless, &Command::new(0xb0, 0, 0), soon()).err().unwrap();
        assert!(error.to_string().contains("does not end"), "{error}");
    }

    #[test]
    fn what_is_no_answer_is_said() {
        let mut card = Script(vec![("00B00000", "90"), ("00B00000", "6A82")]);
        let command = Command::new(0xb0, 0, 0);
        let error = exchange(&mut card, &command, soon()).err().unwrap();
        assert!(error.to_string().contains("no status word"), "{error}");
        let error = exchange(&mut card, &command, soon()).unwrap().ok("EF.COM").unwrap_err();
        assert_eq!(error.to_string(), "the chip refuses EF.COM: 6A82, there is no such file");
        let error = exchange(&mut card, &command, Instant::now()).err().unwrap();
        assert_eq!(error.kind(), Kind::Timeout);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(header in any::<[u8; 4]>(), data in proptest::collection::vec(any::<u8>(), 0..600),
                                   expected in proptest::option::of(1usize..=65_536)) {
            let [class, instruction, p1, p2] = header;
            let command = Command { class, instruction, p1, p2, data, expected };
            prop_assert!(Command::read(&command.bytes().unwrap()).unwrap() == command);
        }

        #[test]
        fn whatever_is_no_command_is_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Command::read(&bytes);
        }
    }
}
