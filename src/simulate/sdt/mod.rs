//! A module for identity cards (SDT) on a pseudo terminal, byte for byte as its makers publish the protocol, with its
//! quirks and faults. It makes its frames itself: what it shared with the driver could not show a mistake of the driver.

mod card;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::error::{Context as _, Error, Kind, Result};

pub use card::Card;

/// What every frame begins with.
const HEAD: [u8; 5] = [0xaa, 0xaa, 0xaa, 0x96, 0x69];

/// How soon the module notices what comes, and that it is to end.
const NOTICES: Duration = Duration::from_millis(10);

/// Number of the module: 05.01-20120411-0000000001-0000000002.
const MODULE_ID: [u8; 16] = [0x05, 0, 0x01, 0, 0x5b, 0x03, 0x33, 0x01, 0x01, 0, 0, 0, 0x02, 0, 0, 0];

/// No SW3: what stands for an answer that does not come.
const SILENT: u8 = 0x00;

/// What goes wrong with one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes of nobody stand before the answer and behind it.
    Stray,
    /// One bit is turned over on the wire.
    Check,
    /// The answer stops in its middle.
    Half,
    /// Nothing comes.
    Silent,
    /// The module says this SW3 instead.
    Status(u8),
}

impl Fault {
    /// Their names.
    pub const NAMES: &'static str = "stray, check, half, silent, or a status such as 41";
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "stray" => Fault::Stray,
            "check" => Fault::Check,
            "half" => Fault::Half,
            "silent" => Fault::Silent,
            other => match u8::from_str_radix(other, 16) {
                Ok(status) if other.len() == 2 => Fault::Status(status),
                _ => {
                    let names = Fault::NAMES;
                    return Err(Error::new(Kind::Input, format!("{other:?} is no fault; there are {names}")));
                }
            },
        })
    }
}

/// How a module differs from the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// It finds a card again that it has read: modules by the book do not, before the card is lifted.
    pub finds_again: bool,
    /// What it does when it is to read fingerprints.
    pub fingerprints: Fingerprints,
    /// Which lengths stand before what it reads.
    pub lengths: Lengths,
}

/// What a module does when it is to read fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fingerprints {
    /// It reads them.
    #[default]
    Read,
    /// It does not know the command (21).
    Unknown,
    /// It says nothing.
    Silent,
    /// It has an error that it cannot tell (24), and forgets that it has selected the card.
    Stumbles,
}

/// The lengths before what a module reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lengths {
    /// Two, or three with fingerprints.
    #[default]
    Book,
    /// Always three, the third zero without fingerprints.
    Three,
    /// Always two, with fingerprints behind the photo all the same.
    Two,
    /// Zeros.
    Zero,
    /// None at all.
    Missing,
}

impl Quirks {
    /// Their numbers, as [`Quirks::number`] knows them.
    pub const NUMBERS: &'static str = "0 none, 1 three lengths always, 2 two lengths always, 3 lengths of zero, 4 no \
                                       lengths, 5 no fingerprints, 6 finds a card again that it has read, 7 says nothing when it \
                                       is to read fingerprints, 8 stumbles over them";

    /// The quirk of a number; `None` for none.
    pub fn number(number: u8) -> Option<Self> {
        let lengths = |lengths| Quirks { lengths, ..Quirks::default() };
        let fingerprints = |fingerprints| Quirks { fingerprints, ..Quirks::default() };
        Some(match number {
            0 => Quirks::default(),
            1 => lengths(Lengths::Three),
            2 => lengths(Lengths::Two),
            3 => lengths(Lengths::Zero),
            4 => lengths(Lengths::Missing),
            5 => fingerprints(Fingerprints::Unknown),
            6 => Quirks { finds_again: true, ..Quirks::default() },
            7 => fingerprints(Fingerprints::Silent),
            8 => fingerprints(Fingerprints::Stumbles),
            _ => return None,
        })
    }
}

#[derive(Default)]
struct State {
    card: Option<Card>,
    found: bool,
    selected: bool,
    /// It was selected since it was laid down.
    known: bool,
    quirks: Quirks,
    /// Looks for a card to come that miss it and change nothing.
    misses: u32,
    /// Faults to come, each for an answer to a command, or to any.
    faults: VecDeque<(Option<[u8; 2]>, Fault)>,
    /// Every command that came, its code.
    heard: Vec<[u8; 2]>,
    line: Option<OwnedFd>,
}

struct Shared {
    state: Mutex<State>,
    heard: Condvar,
    stop: AtomicBool,
    link: Option<PathBuf>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The module. It ends with this.
pub struct Module {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A frame behind its head: length, statuses, data, check.
fn answer(status: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(3 + data.len() + 1).unwrap_or(u16::MAX);
    let mut frame = HEAD.to_vec();
    frame.extend_from_slice(&length.to_be_bytes());
    // SW1 and SW2 are the card's, which is content.
    frame.extend_from_slice(&[0x00, 0x00, status]);
    frame.extend_from_slice(data);
    let mut check = 0;
    for byte in frame.iter().skip(HEAD.len()) {
        check ^= byte;
    }
    frame.push(check);
    frame
}

impl State {
    /// Status and data for a command; [`SILENT`]: no answer.
    fn carry_out(&mut self, command: [u8; 2]) -> (u8, Vec<u8>) {
        match command {
            [0x10, 0xff] => {
                (self.found, self.selected) = (false, false);
                (0x90, Vec::new())
            }
            [0x11, 0xff] => (0x90, Vec::new()),
            [0x12, 0xff] => (0x90, MODULE_ID.to_vec()),
            [0x20, 0x01] => {
                if self.misses > 0 {
                    self.misses -= 1;
                    return (0x80, Vec::new());
                }
                let finds = self.card.is_some() && (self.quirks.finds_again || !self.known);
                if !finds {
                    return (0x80, Vec::new());
                }
                (self.found, self.selected) = (true, false);
                (0x9f, vec![0; 4])
            }
            [0x20, 0x02] => {
                if self.card.is_none() || !(self.found || self.known) {
                    return (0x81, Vec::new());
                }
                (self.selected, self.known) = (true, true);
                (0x90, vec![0; 8])
            }
            [0x30, 0x01 | 0x03 | 0x10] => {
                let Some(card) = self.card.as_ref().filter(|_| self.selected) else {
                    return (0x41, Vec::new());
                };
                match command {
                    [_, 0x03] if card.address.is_empty() => (0x91, Vec::new()),
                    [_, 0x03] => (0x90, card.address.clone()),
                    [_, 0x10] => match self.quirks.fingerprints {
                        Fingerprints::Read => (0x90, read(card, true, self.quirks.lengths)),
                        Fingerprints::Unknown => (0x21, Vec::new()),
                        Fingerprints::Silent => (SILENT, Vec::new()),
                        Fingerprints::Stumbles => {
                            (self.found, self.selected) = (false, false);
                            (0x24, Vec::new())
                        }
                    },
                    _ => (0x90, read(card, false, self.quirks.lengths)),
                }
            }
            _ => (0x21, Vec::new()),
        }
    }
}

/// What is read of a card.
fn read(card: &Card, fingerprints: bool, lengths: Lengths) -> Vec<u8> {
    let fingerprints = if fingerprints { &card.fingerprints[..] } else { &[] };
    let length = |part: &[u8]| u16::try_from(part.len()).unwrap_or_default().to_be_bytes();
    let (texts, photo, third) = (length(&card.texts), length(&card.photo), length(fingerprints));
    let head = match (lengths, fingerprints.is_empty()) {
        (Lengths::Book, true) | (Lengths::Two, _) => [texts, photo].concat(),
        (Lengths::Book, false) | (Lengths::Three, _) => [texts, photo, third].concat(),
        (Lengths::Zero, true) => vec![0; 4],
        (Lengths::Zero, false) => vec![0; 6],
        (Lengths::Missing, _) => Vec::new(),
    };
    [&head[..], &card.texts, &card.photo, fingerprints].concat()
}

/// A pseudo terminal and its path.
pub(super) fn line() -> Result<(OwnedFd, PathBuf)> {
    let failed = |errno: rustix::io::Errno| {
        Error::caused(Kind::Io, "a pseudo terminal cannot be had", std::io::Error::from(errno))
    };
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(failed)?;
    grantpt(&end).map_err(failed)?;
    unlockpt(&end).map_err(failed)?;
    rustix::fs::fcntl_setfl(&end, rustix::fs::OFlags::NONBLOCK).map_err(failed)?;
    let path = ptsname(&end, Vec::new()).map_err(failed)?;
    Ok((end, path.to_string_lossy().into_owned().into()))
}

impl Module {
    /// Plugs a module in. With `link` its port is also there, as an adapter that keeps its name when it is plugged in
    /// again.
    pub fn start(link: Option<&Path>) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            heard: Condvar::new(),
            stop: AtomicBool::new(false),
            link: link.map(Path::to_owned),
        });
        let mut module = Self { shared: Arc::clone(&shared), thread: None };
        module.plug_in()?;
        let thread = std::thread::Builder::new().name("sdt".into()).spawn(move || serve(&shared));
        module.thread = Some(thread.context(|| "the simulated module cannot be started")?);
        Ok(module)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Where it is; `None` while it is unplugged.
    pub fn path(&self) -> Option<PathBuf> {
        let path = ptsname(self.state().line.as_ref()?, Vec::new()).ok()?;
        Some(path.to_string_lossy().into_owned().into())
    }

    /// Plugs it in again, with another pseudo terminal; it has forgotten its card.
    pub fn plug_in(&self) -> Result<()> {
        let (end, path) = line()?;
        if let Some(link) = &self.shared.link {
            let _ = std::fs::remove_file(link);
            std::os::unix::fs::symlink(&path, link)
                .context(|| format!("the link {} cannot be made", link.display()))?;
        }
        let mut state = self.state();
        (state.found, state.selected, state.known) = (false, false, false);
        state.line = Some(end);
        Ok(())
    }

    /// Pulls it out.
    pub fn unplug(&self) {
        self.state().line = None;
        if let Some(link) = &self.shared.link {
            let _ = std::fs::remove_file(link);
        }
    }

    /// Lays a card down, in place of what lay there.
    pub fn lay_down(&self, card: Card) {
        let mut state = self.state();
        (state.found, state.selected, state.known) = (false, false, false);
        state.card = Some(card);
    }

    /// Lifts it.
    pub fn lift(&self) {
        let mut state = self.state();
        (state.found, state.selected, state.known) = (false, false, false);
        state.card = None;
    }

    /// Something goes wrong with the next answer to a command, or to any.
    pub fn fault(&self, command: Option<[u8; 2]>, fault: Fault) {
        self.state().faults.push_back((command, fault));
    }

    /// The next look for a card misses it: it lies at the edge of the field.
    pub fn miss(&self) {
        self.state().misses += 1;
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// How it differs from the book from now on.
    pub fn quirks(&self, quirks: Quirks) {
        self.state().quirks = quirks;
    }

    /// The commands that came so far, their codes.
    pub fn heard(&self) -> Vec<[u8; 2]> {
        self.state().heard.clone()
    }

    /// Waits until `wanted` is true of the commands that came; false if it is not `within` the time.
    pub fn wait(&self, within: Duration, wanted: impl Fn(&[[u8; 2]]) -> bool) -> bool {
        let state = self.state();
        let waited = self.shared.heard.wait_timeout_while(state, within, |state| !wanted(&state.heard));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.unplug();
    }
}

fn serve(shared: &Shared) {
    let mut bytes = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let mut state = shared.lock();
        let mut some = [0; 256];
        let read = match &state.line {
            Some(line) => rustix::io::read(line, &mut some).unwrap_or(0),
            None => 0,
        };
        if read == 0 {
            // Also while nobody has the other end open.
            drop(state);
            std::thread::sleep(NOTICES);
            continue;
        }
        bytes.extend_from_slice(some.get(..read).unwrap_or_default());
        let mut heard = false;
        while let Some(out) = hear(&mut bytes, &mut state) {
            heard = true;
            if let Some(line) = &state.line {
                write(line, &out);
            }
        }
        drop(state);
        if heard {
            shared.heard.notify_all();
        }
    }
}

/// Takes the first whole command from what came; what goes out for it.
fn hear(bytes: &mut Vec<u8>, state: &mut State) -> Option<Vec<u8>> {
    let Some(start) = bytes.windows(HEAD.len()).position(|five| five == HEAD) else {
        bytes.drain(..bytes.len().saturating_sub(HEAD.len() - 1));
        return None;
    };
    let at = start + HEAD.len();
    let length = usize::from(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let frame = bytes.get(at..at + 2 + length)?.to_vec();
    bytes.drain(..at + 2 + length);
    if frame.iter().fold(0, |check, byte| check ^ byte) != 0 {
        return Some(answer(0x10, &[]));
    }
    let &[_, _, command, parameter, _] = &frame[..] else { return Some(answer(0x11, &[])) };
    let command = [command, parameter];
    state.heard.push(command);
    let (status, data) = state.carry_out(command);
    let fault = state.faults.iter().position(|(only, _)| only.is_none_or(|only| only == command));
    let fault = fault.and_then(|index| state.faults.remove(index));
    let mut frame = answer(status, &data);
    match fault.map(|(_, fault)| fault) {
        None if status == SILENT => frame.clear(),
        None => {}
        Some(Fault::Stray) => frame = [&[0x00, 0xaa, 0xaa][..], &frame, &[0xaa, 0xaa, 0xaa, 0x96]].concat(),
        Some(Fault::Check) => {
            if let Some(last) = frame.last_mut() {
                *last ^= 0x40;
            }
        }
        Some(Fault::Half) => frame.truncate(frame.len() / 2),
        Some(Fault::Silent) => frame.clear(),
        Some(Fault::Status(status)) => frame = answer(status, &[]),
    }
    Some(frame)
}

/// In pieces, as a wire brings them.
pub(super) fn write(line: &OwnedFd, bytes: &[u8]) {
    for mut piece in bytes.chunks(61) {
        while !piece.is_empty() {
            match rustix::io::write(line, piece) {
                Ok(written) => piece = piece.get(written..).unwrap_or_default(),
                Err(rustix::io::Errno::AGAIN) => {
                    let timeout = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
                    // Who does not read loses the rest.
                    if !matches!(poll(&mut [PollFd::new(line, PollFlags::OUT)], Some(&timeout)), Ok(1..)) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}
