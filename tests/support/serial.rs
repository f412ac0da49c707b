//! A technician at the other end of a serial line: a pty, and a terminal that says what is on its screen.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;
use rustix::termios::{Termios, Winsize};

use super::process::PATIENCE;

/// Bits of a byte on the line: start, eight data, stop.
const BITS: u32 = 10;

pub struct Terminal {
    pub child: Child,
    line: Option<File>,
    slave: File,
    before: Termios,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

struct Seen {
    parser: vt100::Parser,
    bytes: usize,
    ended: bool,
}

impl Terminal {
    /// Starts `command` as the first program of a session on a terminal; bytes arrive at `baud`, or as fast as they
    /// come.
    pub fn start(command: &Command, columns: u16, lines: u16, baud: Option<u32>) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let before = rustix::termios::tcgetattr(&slave).unwrap();
        // `setsid -c` makes the terminal the session's, as login does: signals come from it.
        let mut session = Command::new("setsid");
        session.arg("-c").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => session.env(name, value),
                None => session.env_remove(name),
            };
        }
        let end = || slave.try_clone().unwrap();
        let child = session.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let (columns, lines) = if columns == 0 { (80, 24) } else { (columns, lines) };
        let seen = Seen { parser: vt100::Parser::new(lines, columns, 0), bytes: 0, ended: false };
        let seen = Arc::new((Mutex::new(seen), Condvar::new()));
        let line = File::from(master);
        let (mut reading, shared) = (line.try_clone().unwrap(), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            loop {
                let length = reading.read(&mut buffer).unwrap_or(0);
                if let Some(baud) = baud {
                    // So long the line needs for them.
                    std::thread::sleep(Duration::from_secs(1) * u32::try_from(length).unwrap() * BITS / baud);
                }
                let mut seen = shared.0.lock().unwrap();
                seen.parser.process(&buffer[..length]);
                seen.bytes += length;
                seen.ended = length == 0;
                shared.1.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        Self { child, line: Some(line), slave, before, seen }
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) {
        self.bytes_in(text.as_bytes());
    }

    pub fn bytes_in(&mut self, bytes: &[u8]) {
        self.line.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Types, and waits for a screen with all of `texts`.
    pub fn press(&mut self, text: &str, texts: &[&str]) -> String {
        self.type_in(text);
        self.sees(texts)
    }

    /// Waits for a screen with all of `texts` on it.
    pub fn sees(&self, texts: &[&str]) -> String {
        self.sees_that(&format!("{texts:?}"), |screen| texts.iter().all(|text| screen.contains(text)))
    }

    pub fn sees_that(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.sees_within(PATIENCE, wanted)
            .unwrap_or_else(|screen| panic!("{what} is not on the screen:\n{screen}"))
    }

    /// The screen that is as `wanted`, or the last one.
    pub fn sees_within(&self, patience: Duration, wanted: impl Fn(&str) -> bool) -> Result<String, String> {
        let until = Instant::now() + patience;
        let mut seen = self.seen.0.lock().unwrap();
        loop {
            let screen = seen.parser.screen().contents();
            if wanted(&screen) {
                return Ok(screen);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || seen.ended {
                return Err(screen);
            }
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    pub fn screen(&self) -> String {
        self.seen.0.lock().unwrap().parser.screen().contents()
    }

    /// Bytes that have come.
    pub fn bytes(&self) -> usize {
        self.seen.0.lock().unwrap().bytes
    }

    /// Whether the terminal is on its first screen, with a cursor.
    pub fn is_given_back(&self) -> bool {
        let seen = self.seen.0.lock().unwrap();
        let screen = seen.parser.screen();
        !screen.alternate_screen() && !screen.hide_cursor()
    }

    /// Waits until it is: the last bytes of a program that has ended may still be on the line.
    pub fn comes_back(&self) {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.0.lock().unwrap();
        loop {
            let screen = seen.parser.screen();
            if !screen.alternate_screen() && !screen.hide_cursor() {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the terminal is not given back:\n{}", screen.contents());
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// The settings of the line are those from before.
    pub fn settings_are_as_before(&self) -> bool {
        let now = rustix::termios::tcgetattr(self.slave.as_fd()).unwrap();
        let all = |termios: &Termios| {
            (termios.input_modes, termios.output_modes, termios.local_modes, termios.control_modes)
        };
        all(&now) == all(&self.before)
    }

    pub fn resize(&mut self, columns: u16, lines: u16) {
        self.seen.0.lock().unwrap().parser.screen_mut().set_size(lines, columns);
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(self.line.as_ref().unwrap(), size).unwrap();
    }

    /// The line is cut. Nobody else holds its other end.
    pub fn hang_up(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        self.line = None;
        // The thread that reads holds the line as well, so the session is told as the kernel would tell it.
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn ends(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the console does not end:\n{}", self.screen());
            // A child cannot be waited for with a limit but by trying.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
