//! A serial port of the system: opened, set, written and read, each with a deadline. RS485, OSDP and the modules on
//! serial lines share it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, SpecialCodeIndex,
    Termios, ioctl_tiocexcl, tcflush, tcgetattr, tcsetattr,
};
use serde::{Deserialize, Serialize};

use super::direction::Direction;
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

impl Line {
    /// Eight bits without parity and one stop bit, as nearly every module wants it.
    pub const fn plain(baud: u32) -> Self {
        Self { baud, data_bits: 8, parity: Parity::None, stop_bits: 1 }
    }

    /// How long so many characters take on the wire.
    pub fn time_of(self, characters: usize) -> Duration {
        let parity = u32::from(self.parity != Parity::None);
        let bits = 1 + u32::from(self.data_bits) + parity + u32::from(self.stop_bits);
        let characters = u32::try_from(characters).unwrap_or(u32::MAX);
        Duration::from_secs(1) * characters.saturating_mul(bits) / self.baud.max(1)
    }
}

/// A serial port of the system. Who switches the direction of a line of two wires is its [`Direction`].
///
/// A port that went away is opened again, as it was, by the next call that needs it.
#[derive(Debug)]
pub struct SerialPort {
    path: PathBuf,
    direction: Direction,
    /// What it was opened with last, also while it is away.
    line: Option<Line>,
    port: Option<OwnedFd>,
}

impl SerialPort {
    /// The port at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), direction: Direction::Adapter, line: None, port: None }
    }

    /// The same with another way of switching the direction.
    pub fn with_direction(self, direction: Direction) -> Self {
        Self { direction, ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is open: it was there when it was used last.
    pub fn is_open(&self) -> bool {
        self.port.is_some()
    }

    /// Opens the port, or gives the open one other parameters. On an error it is as it was before.
    pub fn open(&mut self, line: Line) -> Result<()> {
        match &self.port {
            Some(port) => self.set(port, line)?,
            None => self.port = Some(self.opened(line)?),
        }
        self.line = Some(line);
        Ok(())
    }

    /// Closes it; the next call that needs it opens it again.
    pub fn close(&mut self) {
        self.port = None;
    }

    /// Sends bytes; returns when the system has taken them, or, where a GPIO switches the direction, when the last
    /// bit has left. `Device` or `Timeout` if it has not: none or some of them may have gone out.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.reopened()?;
        // Taken out, so that the direction can be switched beside it.
        let Some(port) = self.port.take() else { return Ok(()) };
        let sent = self.send_on(&port, bytes);
        if !sent.as_ref().is_err_and(|error| error.kind() == Kind::Device) {
            self.port = Some(port);
        }
        sent
    }

    fn send_on(&mut self, port: &OwnedFd, bytes: &[u8]) -> Result<()> {
        self.direction.transmit(true)?;
        let mut sent = self.write(port, bytes);
        if sent.is_ok() && self.direction.waits() {
            sent = self.drain(port, bytes.len());
        }
        // Also after a failure: a line that is held in this direction is deaf, and mutes everybody else on it.
        let lowered = self.direction.transmit(false);
        sent.and(lowered)
    }

    /// Reads what has come in, waiting until `until` for the first byte. 0 if none came; `Device` if the line is gone.
    pub fn receive(&mut self, buffer: &mut [u8], until: Instant) -> Result<usize> {
        self.reopened()?;
        let Some(port) = &self.port else { return Ok(0) };
        let received = self.read(port, buffer, until);
        if received.is_err() {
            self.port = None;
        }
        received
    }

    /// Waits until `until` for bytes to read; true if there are some, or the line went away, which
    /// [`SerialPort::receive`] then tells.
    pub fn wait(&mut self, until: Instant) -> Result<bool> {
        self.reopened()?;
        let Some(port) = &self.port else { return Ok(false) };
        Ok(!wait_for(port, PollFlags::IN, until).map_err(|errno| self.gone(errno))?.is_empty())
    }

    /// Throws away what has come in and was not read.
    pub fn discard_input(&mut self) {
        if let Some(port) = &self.port {
            // Nothing worse than old bytes can follow, which every reader sorts out by itself.
            let _ = tcflush(port, QueueSelector::IFlush);
        }
    }

    fn failed(&self, what: impl fmt::Display, advice: &str) -> Error {
        Error::new(Kind::Device, format!("the serial port {} {what}: {advice}", self.path.display()))
    }

    fn gone(&self, errno: Errno) -> Error {
        self.failed(format_args!("is gone ({errno})"), "is the adapter plugged in?")
    }

    /// Opens the port as it was, if it is not open.
    fn reopened(&mut self) -> Result<()> {
        if self.port.is_none() {
            let line = self.line.ok_or_else(|| self.failed("was never opened", "see the log"))?;
            self.port = Some(self.opened(line)?);
        }
        Ok(())
    }

    /// The port, opened and with the parameters of `line`.
    fn opened(&mut self, line: Line) -> Result<OwnedFd> {
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
        match self.direction.prepare(&port) {
            Ok(()) => Ok(port),
            Err(error) => Err(self.failed("cannot be used", &error.to_string())),
        }
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
        while !bytes.is_empty() {
            match rustix::io::write(port, bytes) {
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(self.gone(errno)),
            }
            if Instant::now() >= until {
                return Err(self.held(port));
            }
            let ready = wait_for(port, PollFlags::OUT, until).map_err(|errno| self.gone(errno))?;
            if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                return Err(self.gone(Errno::IO));
            }
        }
        Ok(())
    }

    /// Throws away what stands in the buffer: it would come out of the line much later, before something else.
    fn held(&self, port: &OwnedFd) -> Error {
        let _ = tcflush(port, QueueSelector::OFlush);
        Error::new(
            Kind::Timeout,
            format!("the serial port {} takes no bytes: is something holding the line?", self.path.display()),
        )
    }

    /// Waits until the last bit has left.
    fn drain(&self, port: &OwnedFd, bytes: usize) -> Result<()> {
        let line = self.line.unwrap_or(Line::plain(9600));
        let until = Instant::now() + line.time_of(bytes) + WRITE_WITHIN;
        // The kernel's own wait has no deadline, so it is only asked when nothing but the hardware's few bytes is left.
        loop {
            let waiting = super::direction::unsent(port).map_err(|errno| self.gone(errno))?;
            if waiting == 0 {
                return rustix::termios::tcdrain(port).map_err(|errno| self.gone(errno));
            }
            if Instant::now() >= until {
                return Err(self.held(port));
            }
            std::thread::sleep(line.time_of(waiting).min(Duration::from_millis(20)));
        }
    }

    fn read(&self, port: &OwnedFd, buffer: &mut [u8], until: Instant) -> Result<usize> {
        loop {
            match rustix::io::read(port, &mut *buffer) {
                Ok(0) if !buffer.is_empty() => return Err(self.gone(Errno::IO)),
                Ok(read) => return Ok(read),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(self.gone(errno)),
            }
            if wait_for(port, PollFlags::IN, until).map_err(|errno| self.gone(errno))?.is_empty() {
                return Ok(0);
            }
        }
    }
}

/// Waits for one of `flags`, an error or a hang-up; nothing if `until` came first.
fn wait_for(port: &OwnedFd, flags: PollFlags, until: Instant) -> rustix::io::Result<PollFlags> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = rustix::time::Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut ready = [PollFd::new(port, flags)];
        match poll(&mut ready, Some(&timeout)) {
            Ok(_) => return Ok(ready[0].revents()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
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
    // A read that finds nothing says so; one that returns nothing means that the line is gone.
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::super::direction::TransmitEnable;
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
    }

    #[test]
    fn what_came_in_is_read_and_waited_for_only_so_long() {
        let pty = Pty::new();
        let mut port = SerialPort::new(&pty.path);
        port.open(LINE).unwrap();
        let mut buffer = [0; 16];
        let soon = || Instant::now() + Duration::from_millis(20);
        assert_eq!(port.receive(&mut buffer, soon()).unwrap(), 0);
        assert!(!port.wait(soon()).unwrap());
        rustix::io::write(&pty.end, b"\x00\r\x11\xff").unwrap();
        assert!(port.wait(Instant::now() + Duration::from_secs(5)).unwrap());
        assert_eq!(port.receive(&mut buffer, Instant::now()).unwrap(), 4);
        assert_eq!(&buffer[..4], b"\x00\r\x11\xff");
        rustix::io::write(&pty.end, b"old").unwrap();
        assert!(port.wait(Instant::now() + Duration::from_secs(5)).unwrap());
        port.discard_input();
        rustix::io::write(&pty.end, b"new").unwrap();
        let read = port.receive(&mut buffer, Instant::now() + Duration::from_secs(5)).unwrap();
        assert_eq!(&buffer[..read], b"new");
        drop(pty);
        let error = port.receive(&mut buffer, soon()).unwrap_err();
        assert!(error.message().contains("is gone"), "{error}");
        assert!(!port.is_open());
    }

    /// The direction line of a transceiver, which notes how much the other end has at each switch.
    struct Recorded {
        end: OwnedFd,
        seen: Arc<Mutex<Vec<(bool, u64)>>>,
        stuck: bool,
    }

    impl TransmitEnable for Recorded {
        fn transmit(&mut self, on: bool) -> Result<()> {
            // What was written takes a moment to the other end; what was not does not come.
            let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: if on { 0 } else { 300_000_000 } };
            poll(&mut [PollFd::new(&self.end, PollFlags::IN)], Some(&timeout)).unwrap();
            let arrived = rustix::io::ioctl_fionread(&self.end).unwrap();
            self.seen.lock().unwrap().push((on, arrived));
            if on && self.stuck {
                return Err(Error::new(Kind::Device, "the direction line is stuck"));
            }
            Ok(())
        }
    }

    #[test]
    fn a_direction_line_is_up_while_bytes_go_out_and_down_after_the_last() {
        let pty = Pty::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let line = |stuck| Recorded { end: pty.end.try_clone().unwrap(), seen: Arc::clone(&seen), stuck };
        let mut port = SerialPort::new(&pty.path).with_direction(Direction::Line(Box::new(line(false))));
        port.open(LINE).unwrap();
        port.send(b"hello").unwrap();
        assert_eq!(*seen.lock().unwrap(), [(false, 0), (true, 0), (false, 5)]);
        assert_eq!(pty.read(5), b"hello");
        // Also after bytes that did not go out.
        seen.lock().unwrap().clear();
        assert_eq!(port.send(&[0x55; 1 << 20]).unwrap_err().kind(), Kind::Timeout);
        let switched: Vec<bool> = seen.lock().unwrap().iter().map(|(on, _)| *on).collect();
        assert_eq!(switched, [true, false]);
        // What cannot be switched does not talk over the others.
        let other = Pty::new();
        let mut port = SerialPort::new(&other.path).with_direction(Direction::Line(Box::new(line(true))));
        port.open(LINE).unwrap();
        assert!(port.send(b"x").unwrap_err().message().contains("stuck"));
        assert_eq!(rustix::io::ioctl_fionread(&other.end).unwrap(), 0);
    }

    #[test]
    fn a_port_that_cannot_switch_its_direction_says_so() {
        // A pseudo terminal has no RS485 mode.
        let pty = Pty::new();
        let mut port = SerialPort::new(&pty.path).with_direction(Direction::Kernel);
        let error = port.open(LINE).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("does not switch the direction"), "{error}");
        assert!(!port.is_open());
    }

    #[test]
    fn characters_take_their_time() {
        // 1 start, 8 data and 1 stop bit: ten bits at 9600 are 1.0417 ms.
        assert_eq!(LINE.time_of(96), Duration::from_millis(100));
        let other = Line { parity: Parity::Even, stop_bits: 2, baud: 1200, ..LINE };
        assert_eq!(other.time_of(100), Duration::from_secs(1));
    }
}
