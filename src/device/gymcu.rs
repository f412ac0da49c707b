//! Infrared thermometer modules GY-MCU90614 and GY-MCU90615 (a Melexis MLX90614 or MLX90615 behind a microcontroller
//! with a UART), as their maker's data sheet describes them: `A5 15 BA` asks, `5A 5A 45 04 TO TO TA TA SUM` answers, with
//! the temperatures of object and module in hundredths of a degree, the high byte first, and the low byte of the sum
//! of all before it. A module that sends by itself is understood as well.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::serial_port::{Line, SerialPort};
use super::thermometer::Thermometer;
use crate::error::{Error, Kind, Result};

/// The question: one measurement.
const ASK: [u8; 3] = [0xa5, 0x15, 0xba];

/// Bytes of an answer.
const FRAME: usize = 9;

/// How every answer begins: header, kind, length.
const HEAD: [u8; 4] = [0x5a, 0x5a, 0x45, 0x04];

/// A module measures some 14 times a second.
const ANSWERED_WITHIN: Duration = Duration::from_millis(85);

/// What is colder than the skin of somebody who comes in from the cold, or hotter than any fever, is no visitor.
const VISITOR: std::ops::RangeInclusive<f32> = 28.0..=45.0;

/// What one answer says, in degrees Celsius.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Of what stands before it.
    pub object: f32,
    /// Of the module itself.
    pub ambient: f32,
}

/// The first whole answer in `bytes`, behind whatever stands before it; `None` if there is none yet. One with a wrong
/// sum is passed over.
pub fn read(bytes: &[u8]) -> Option<Measured> {
    bytes.windows(FRAME).find_map(|frame| {
        let (sum, before) = frame.split_last()?;
        let sound = before.starts_with(&HEAD)
            && before.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == *sum;
        let degrees = |at: usize| {
            let value = i16::from_be_bytes([*before.get(at)?, *before.get(at + 1)?]);
            Some(f32::from(value) / 100.0)
        };
        if sound { Some(Measured { object: degrees(4)?, ambient: degrees(6)? }) } else { None }
    })
}

/// One module.
#[derive(Debug)]
pub struct GyMcu {
    port: SerialPort,
    line: Line,
    buffer: Vec<u8>,
}

impl GyMcu {
    /// The module on the port at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>, baud: u32) -> Self {
        Self { port: SerialPort::new(path), line: Line::plain(baud), buffer: Vec::with_capacity(256) }
    }

    /// Reads `PATH` or `PATH@BAUD`; 9600 is how they are sold.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, baud) = match text.rsplit_once('@') {
            Some((path, baud)) => (path, baud.parse().ok().filter(|baud| [9600, 115_200].contains(baud))?),
            None => (text, 9600),
        };
        path.starts_with('/').then(|| Self::new(path, baud))
    }
}

impl Thermometer for GyMcu {
    fn read(&mut self) -> Result<Option<f32>> {
        if !self.port.is_open() {
            self.port.open(self.line)?;
        }
        // A module that sends by itself has been heard of somebody else before.
        self.port.discard_input();
        self.buffer.clear();
        self.port.send(&ASK)?;
        let until = Instant::now() + ANSWERED_WITHIN;
        let mut bytes = [0; 64];
        // As much as half a second of a module that sends by itself: noise does not fill the memory.
        while self.buffer.len() < 128 {
            let read_now = self.port.receive(&mut bytes, until)?;
            if read_now == 0 {
                break;
            }
            self.buffer.extend_from_slice(bytes.get(..read_now).unwrap_or_default());
            if let Some(measured) = read(&self.buffer) {
                return Ok(Some(measured.object).filter(|degrees| VISITOR.contains(degrees)));
            }
        }
        let path = self.port.path().display();
        Err(match self.buffer.as_slice() {
            [] => Error::new(
                Kind::Timeout,
                format!(
                    "the thermometer on {path} does not answer: check its power and its wires (TX to RX)"
                ),
            ),
            _ => Error::new(
                Kind::Device,
                format!(
                    "the thermometer on {path} answers what cannot be read: check its ground wire, and its speed \
                     (gymcu:PORT@9600 or gymcu:PORT@115200)"
                ),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data sheet's own example: 31.92 and 33.53 degrees.
    const SHEET: [u8; FRAME] = [0x5a, 0x5a, 0x45, 0x04, 0x0c, 0x78, 0x0d, 0x19, 0xa7];

    #[test]
    fn answers_are_the_data_sheets() {
        let measured = Some(Measured { object: 31.92, ambient: 33.53 });
        assert_eq!(read(&SHEET), measured);
        assert_eq!(read(&[&[0x5a, 0x5a][..], &SHEET].concat()), measured, "behind half a frame");
        for length in 0..FRAME {
            assert_eq!(read(&SHEET[..length]), None);
        }
        for byte in 0..FRAME {
            let mut damaged = SHEET;
            damaged[byte] ^= 0x10;
            assert_eq!(read(&damaged), None, "byte {byte}");
            assert_eq!(read(&[damaged, SHEET].concat()), measured, "behind a damaged one, byte {byte}");
        }
        // Below zero: -1.00 is 0xFF9C. The sum by hand: 0x5A + 0x5A + 0x45 + 0x04 = 0xFD,
        // + 0xFF + 0x9C = 0x298, + 0x0D + 0x19 = 0x2BE.
        let cold = [0x5a, 0x5a, 0x45, 0x04, 0xff, 0x9c, 0x0d, 0x19, 0xbe];
        assert_eq!(read(&cold).unwrap().object, -1.0);
    }

    #[test]
    fn ports_and_speeds_are_named() {
        assert_eq!(GyMcu::parse("/dev/ttyS4").unwrap().line, Line::plain(9600));
        assert_eq!(GyMcu::parse("/dev/ttyS4@115200").unwrap().line, Line::plain(115_200));
        for text in ["", "ttyS4", "/dev/ttyS4@", "/dev/ttyS4@4800", "@9600"] {
            assert!(GyMcu::parse(text).is_none(), "{text}");
        }
    }
}
