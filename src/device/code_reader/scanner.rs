//! A scanner on a serial line.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::CodeReader;
use super::lines::Lines;
use crate::device::serial_port::{Line, SerialPort};
use crate::error::{Kind, Result};

/// One scanner. It speaks by itself and is told nothing.
#[derive(Debug)]
pub struct Scanner {
    port: SerialPort,
    baud: u32,
    lines: Lines,
}

impl Scanner {
    /// The scanner on the port at `path`, which need not be there yet, at `baud` bits a second, 8N1.
    pub fn new(path: impl Into<PathBuf>, baud: u32) -> Self {
        Self { port: SerialPort::new(path), baud, lines: Lines::default() }
    }

    /// Opens the port, if it is not open.
    pub fn open(&mut self) -> Result<()> {
        if self.port.is_open() {
            return Ok(());
        }
        // Half a code before the plug was pulled is no beginning of one after.
        self.lines.clear();
        self.port.open(Line::plain(self.baud))
    }
}

impl CodeReader for Scanner {
    fn next(&mut self, within: Duration) -> Result<Option<String>> {
        let until = Instant::now() + within;
        let mut buffer = [0; 256];
        loop {
            if let Some(code) = self.lines.take() {
                return code.map(|code| Some(code.0));
            }
            self.open()?;
            let wake = self.lines.ends_at().map_or(until, |end| end.min(until));
            let read = match self.port.receive(&mut buffer, wake) {
                Ok(read) => read,
                Err(error) => {
                    if error.kind() == Kind::Device {
                        self.lines.clear();
                    }
                    return Err(error);
                }
            };
            let now = Instant::now();
            match buffer.get(..read) {
                Some(bytes) if !bytes.is_empty() => self.lines.feed(bytes, now),
                _ => self.lines.time_passes(now),
            }
            // Whatever comes: a line that hums without an end of a line is never silent.
            if now >= until {
                return self.lines.take().transpose().map(|code| code.map(|code| code.0));
            }
        }
    }
}
