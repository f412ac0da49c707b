//! The RS485 line: bytes out, over a serial port of the system.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, Termios,
    ioctl_tiocexcl, tcflush, tcgetattr, tcsetattr,
};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// How long a write may take before the bytes that did not go out are thrown away. 256 bytes at 1200 baud need
/// 2.4 s, and the system's buffer takes them at once.
const WRITE_WITHIN: Duration = Duration::from_secs(2);

/// Parity of a serial line (QYZN `serial.checktype`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    /// 0.
    #[default]
    None,
    /// 1.
    Odd,
    /// 2.
    Even,
    /// 3: the bit is always 1.
    Mark,
    /// 4: the bit is always 0.
    Space,
}

/// How the bits go over a serial line. Written as technicians do: `9600 8N1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Bits a second.
    pub baud: u32,
    /// Data bits of a character, 5 to 8.
    pub data_bits: u8,
    /// Parity bit.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parity = match self.parity {
            Parity::None => 'N',
            Parity::Odd => 'O',
            Parity::Even => 'E',
            Parity::Mark => 'M',
            Parity::Space => 'S',
        };
        write!(f, "{} {}{parity}{}", self.baud, self.data_bits, self.stop_bits)
    }
}

/// A line. A driver may take up to two seconds: it has a thread of its own.
pub trait Rs485: Send {
    /// Opens the line, or gives the open one other parameters. On an error the line is as it was before.
    fn open(&mut self, line: Line) -> Result<()>;

    /// Sends bytes; returns when the system has taken them. `Device` or `Timeout` if it has not: none or some of
    /// them may have gone out. A line that went away is opened again by the next call.
    fn send(&mut self, bytes: &[u8]) -> Result<()>;
}

/// A line that exists in memory only; the event bus shows what it carried.
#[derive(Debug, Default)]
pub struct SimulatedRs485;

impl Rs485 for SimulatedRs485 {
    fn open(&mut self, _line: Line) -> Result<()> {
        Ok(())
    }

    fn send(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// A serial port of the system. It needs no driver of its own for RS485: the adapters that gates have switch the
/// direction themselves.
#[derive(Debug)]
pub struct SerialPort {
    path: PathBuf,
    /// What it was opened with last, also while it is away.
    line: Option<Line>,
    port: Option<OwnedFd>,
}

impl SerialPort {
    /// The port at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), line: None, port: None }
    }

    fn failed(&self, what: impl fmt::Display, advice: &str) -> Error {
        Error::new(Kind::Device, format!("the serial port {} {what}: {advice}", self.path.display()))
    }

    /// The port, opened and with the parameters of `line`.
    fn opened(&self, line: Line) -> Result<OwnedFd> {
        // Not blocking: neither a carrier that never comes nor a full buffer may hold the thread.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let port = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|errno| {
            let advice = match errno {
                Errno::NOENT => "is the adapter plugged in?",
                Errno::ACCESS | Errno::PERM => "may this user open it (group dialout)?",
                Errno::BUSY => "another program has it",
                _ => "check the wiring and `dmesg`",
            };
            self.failed(format_args!("cannot be opened ({errno})"), advice)
        })?;
        // Another program must not mix its bytes into ours.
        ioctl_tiocexcl(&port)
            .map_err(|errno| self.failed(format_args!("is none ({errno})"), "name a serial port"))?;
        self.set(&port, line)?;
        Ok(port)
    }

    /// Gives an open port the parameters of `line`, all of them or none.
    fn set(&self, port: &OwnedFd, line: Line) -> Result<()> {
        let refused = |errno: Errno| {
            self.failed(format_args!("does not take {line} ({errno})"), "choose what the adapter can do")
        };
        let before = tcgetattr(port).map_err(refused)?;
        let mut wanted = before.clone();
        raw(&mut wanted, line);
        wanted.set_speed(line.baud).map_err(refused)?;
        tcsetattr(port, OptionalActions::Now, &wanted).map_err(refused)?;
        // The system calls it a success when some of it was taken: what the hardware does is asked back.
        let taken = tcgetattr(port).map_err(refused)?;
        let shape = ControlModes::CSIZE
            | ControlModes::CSTOPB
            | ControlModes::PARENB
            | ControlModes::PARODD
            | ControlModes::CMSPAR;
        let as_wanted = taken.control_modes & shape == wanted.control_modes & shape
            && taken.output_speed().abs_diff(line.baud) <= line.baud / 50;
        if as_wanted {
            return Ok(());
        }
        // The first refusal is the one that is told.
        let _ = tcsetattr(port, OptionalActions::Now, &before);
        Err(self.failed(format_args!("does not take {line}"), "choose what the adapter can do"))
    }

    fn write(&self, port: &OwnedFd, mut bytes: &[u8]) -> Result<()> {
        let until = Instant::now() + WRITE_WITHIN;
        let lost =
            |errno: Errno| self.failed(format_args!("is gone ({errno})"), "is the adapter plugged in?");
        while !bytes.is_empty() {
            match rustix::io::write(port, bytes) {
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(lost(errno)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // What stands in the buffer would come out of the line much later, before something else.
                let _ = tcflush(port, QueueSelector::OFlush);
                return Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "the serial port {} takes no bytes: is something holding the line?",
                        self.path.display()
                    ),
                ));
            }
            let mut ready = [PollFd::new(port, PollFlags::OUT)];
            let timeout = rustix::time::Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(0),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut ready, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(lost(errno)),
            }
            if ready[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Err(lost(Errno::IO));
            }
        }
        Ok(())
    }
}

/// Bytes as they are, in the shape of `line`.
fn raw(termios: &mut Termios, line: Line) {
    // What `cfmakeraw` does.
    termios.input_modes &= !(InputModes::IGNBRK
        | InputModes::BRKINT
        | InputModes::PARMRK
        | InputModes::ISTRIP
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::ICRNL
        | InputModes::IXON
        | InputModes::IXOFF);
    termios.output_modes &= !OutputModes::OPOST;
    termios.local_modes &=
        !(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
    let control = &mut termios.control_modes;
    *control &= !(ControlModes::CSIZE
        | ControlModes::CSTOPB
        | ControlModes::PARENB
        | ControlModes::PARODD
        | ControlModes::CMSPAR
        | ControlModes::CRTSCTS);
    *control |= ControlModes::CREAD | ControlModes::CLOCAL;
    *control |= match line.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    };
    if line.stop_bits == 2 {
        *control |= ControlModes::CSTOPB;
    }
    *control |= match line.parity {
        Parity::None => ControlModes::empty(),
        Parity::Even => ControlModes::PARENB,
        Parity::Odd => ControlModes::PARENB | ControlModes::PARODD,
        Parity::Mark => ControlModes::PARENB | ControlModes::CMSPAR | ControlModes::PARODD,
        Parity::Space => ControlModes::PARENB | ControlModes::CMSPAR,
    };
}

impl Rs485 for SerialPort {
    fn open(&mut self, line: Line) -> Result<()> {
        match &self.port {
            Some(port) => self.set(port, line)?,
            None => self.port = Some(self.opened(line)?),
        }
        self.line = Some(line);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if self.port.is_none() {
            let line = self.line.ok_or_else(|| self.failed("was never opened", "see the log"))?;
            self.port = Some(self.opened(line)?);
        }
        let Some(port) = &self.port else { return Ok(()) };
        let written = self.write(port, bytes);
        if written.as_ref().is_err_and(|error| error.kind() == Kind::Device) {
            self.port = None;
        }
        written
    }
}

/// The line that `device.rs485` names; `None` for `none`. A port is opened by [`Rs485::open`].
pub fn open(name: &str) -> Result<Option<Box<dyn Rs485>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedRs485))),
        other => match other.strip_prefix("serial:").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Some(Box::new(SerialPort::new(path)))),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.rs485 = {other:?} is not supported by this build: use \"serial:/dev/ttyS1\" (any port), \
                     \"sim\" or \"none\""
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    const LINE: Line = Line { baud: 9600, data_bits: 8, parity: Parity::None, stop_bits: 1 };

    /// A pair of ends: what is written to the port comes out here.
    struct Pty {
        end: OwnedFd,
        path: PathBuf,
    }

    impl Pty {
        fn new() -> Self {
            let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&end).unwrap();
            unlockpt(&end).unwrap();
            let path = ptsname(&end, Vec::new()).unwrap().into_string().unwrap().into();
            Self { end, path }
        }

        fn read(&self, bytes: usize) -> Vec<u8> {
            let mut read = vec![0; bytes];
            let mut filled = 0;
            while filled < bytes {
                filled += rustix::io::read(&self.end, &mut read[filled..]).unwrap();
            }
            read
        }

        /// What the port is set to, as the other end sees it.
        fn set_to(&self) -> Termios {
            tcgetattr(&self.end).unwrap()
        }
    }

    #[test]
    fn lines_are_written_as_technicians_do() {
        assert_eq!(LINE.to_string(), "9600 8N1");
        let other = Line { baud: 115_200, data_bits: 7, parity: Parity::Mark, stop_bits: 2 };
        assert_eq!(other.to_string(), "115200 7M2");
    }

    #[test]
    fn bytes_arrive_as_they_are() {
        let pty = Pty::new();
        let mut port = SerialPort::new(&pty.path);
        port.open(LINE).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        port.send(&all).unwrap();
        assert_eq!(pty.read(256), all);
    }

    #[test]
    fn an_open_port_takes_other_parameters() {
        let pty = Pty::new();
        let mut port = SerialPort::new(&pty.path);
        port.open(LINE).unwrap();
        assert_eq!(pty.set_to().output_speed(), 9600);
        port.open(Line { baud: 57_600, stop_bits: 2, ..LINE }).unwrap();
        assert_eq!(pty.set_to().output_speed(), 57_600);
        assert!(pty.set_to().control_modes.contains(ControlModes::CSTOPB));
        port.send(b"after").unwrap();
        assert_eq!(pty.read(5), b"after");
    }

    #[test]
    fn what_the_port_cannot_do_is_refused_and_it_stays_as_it_was() {
        // A pseudo terminal has eight bits and no parity, whatever it is asked for.
        let pty = Pty::new();
        let mut port = SerialPort::new(&pty.path);
        port.open(LINE).unwrap();
        for line in [
            Line { data_bits: 7, ..LINE },
            Line { parity: Parity::Even, ..LINE },
            Line { parity: Parity::Mark, baud: 1200, ..LINE },
            Line { parity: Parity::Space, ..LINE },
        ] {
            let error = port.open(line).unwrap_err();
            assert_eq!(error.kind(), Kind::Device);
            assert!(error.message().contains(&format!("does not take {line}")), "{error}");
            assert_eq!(pty.set_to().output_speed(), 9600);
        }
        port.send(b"still").unwrap();
        assert_eq!(pty.read(5), b"still");
    }

    #[test]
    fn a_port_that_goes_away_is_an_error_and_comes_back() {
        let pty = Pty::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ttyUSB0");
        std::os::unix::fs::symlink(&pty.path, &path).unwrap();
        let mut port = SerialPort::new(&path);
        port.open(LINE).unwrap();
        drop(pty);
        std::fs::remove_file(&path).unwrap();
        let error = port.send(b"x").unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("ttyUSB0 is gone"), "{error}");
        let error = port.send(b"x").unwrap_err();
        assert!(error.message().contains("is the adapter plugged in?"), "{error}");
        let pty = Pty::new();
        std::os::unix::fs::symlink(&pty.path, &path).unwrap();
        port.send(b"again").unwrap();
        assert_eq!(pty.read(5), b"again");
    }

    #[test]
    fn a_line_that_is_held_does_not_hold_the_gate() {
        // Nobody reads the other end: its buffer is full after some kilobytes.
        let pty = Pty::new();
        let mut port = SerialPort::new(&pty.path);
        port.open(LINE).unwrap();
        let error = port.send(&[0x55; 1 << 20]).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        drop(pty);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = SerialPort::new(&file).open(LINE).unwrap_err();
        assert!(error.message().contains("name a serial port"), "{error}");
        assert!(open("none").unwrap().is_none());
        assert!(open("sim").unwrap().is_some());
        assert!(open("serial:/dev/ttyS1").unwrap().is_some());
        for name in ["serial:", "serial:ttyS1", "/dev/ttyS1", ""] {
            assert!(open(name).err().unwrap().message().contains("device.rs485"), "{name}");
        }
    }
}
