//! The terminal: taken as it is, given back as it was, whatever happens in between.
//!
//! A thread writes, so that a line that stands still (Ctrl-S, a terminal that is switched off with its handshake)
//! holds nobody up: there is only ever one screen waiting to be written, the newest.

use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{InputModes, OptionalActions, QueueSelector, Termios};

use super::grid::Grid;
use crate::error::{Context, Error, Kind, Result};

/// What a VT100 is told at the start: screen of its own where the terminal has one (others ignore it), no wrapping
/// at the edge, no cursor.
const BEGIN: &[u8] = b"\x1b[?1049h\x1b[?7l\x1b[?25l";

/// The reverse, on a clean screen: a terminal without a second screen begins at the top.
const END: &[u8] = b"\x1b[m\x1b[2J\x1b[H\x1b[?25h\x1b[?7h\x1b[?1049l";

/// Bytes written at once: no more than a line has room for when it says that it has room.
const CHUNK: usize = 256;

/// How long the end may wait for a line that stands still.
const END_WITHIN: Duration = Duration::from_millis(500);

/// The exit code after a defect, as Rust has it.
const PANICKED: i32 = 101;

/// The terminal's settings before, while it is ours.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

fn input() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

fn output() -> BorrowedFd<'static> {
    rustix::stdio::stdout()
}

/// The terminal while it is the console's.
pub struct Terminal {
    shared: Arc<Shared>,
    writer: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    slot: Mutex<Slot>,
    filled: Condvar,
    written: AtomicU64,
}

#[derive(Default)]
struct Slot {
    grid: Option<Grid>,
    /// Whether what the terminal shows is unknown.
    anew: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terminal {
    /// Takes the terminal of this process. `Device` without one.
    pub fn take() -> Result<Self> {
        if !rustix::termios::isatty(input()) || !rustix::termios::isatty(output()) {
            return Err(Error::new(
                Kind::Device,
                "the console needs a terminal: log in on the serial line, or use the commands (menshen help)",
            ));
        }
        let step = || "the terminal cannot be set up";
        let before = rustix::termios::tcgetattr(input()).map_err(std::io::Error::from).context(step)?;
        let mut raw = before.clone();
        let flow = before.input_modes & (InputModes::IXON | InputModes::IXOFF);
        raw.make_raw();
        // A terminal that asks for pauses goes on getting them.
        raw.input_modes |= flow;
        let panic = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The message must be seen, and not on a terminal in disorder. A console that has lost one of its threads
            // is of no use.
            give_back();
            panic(info);
            std::process::exit(PANICKED);
        }));
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        rustix::termios::tcsetattr(input(), OptionalActions::Now, &raw)
            .map_err(std::io::Error::from)
            .context(step)?;
        let shared = Arc::new(Shared {
            slot: Mutex::new(Slot { anew: true, ..Slot::default() }),
            filled: Condvar::new(),
            written: AtomicU64::new(0),
        });
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("console-out".into())
            .spawn(move || write_screens(&writing))
            .context(step)?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Columns and lines; 80 by 24 where the line does not say.
    pub fn size() -> (usize, usize) {
        match rustix::termios::tcgetwinsize(output()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => (80, 24),
        }
    }

    /// Shows a screen as soon as the line can take it; one that waited still is not shown any more.
    pub fn show(&self, grid: Grid) {
        self.shared.lock().grid = Some(grid);
        self.shared.filled.notify_one();
    }

    /// The next screen is drawn from nothing.
    pub fn forget(&self) {
        self.shared.lock().anew = true;
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.filled.notify_one();
        // A writer that is held up by its line is left behind: the process ends soon.
        let until = Instant::now() + END_WITHIN;
        if let Some(writer) = self.writer.take() {
            while !writer.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        give_back();
    }
}

fn write_screens(shared: &Shared) {
    let mut shown: Option<Grid> = None;
    let mut bytes = BEGIN.to_vec();
    loop {
        let wanted = {
            let mut slot = shared.lock();
            loop {
                if slot.ended {
                    return;
                }
                if std::mem::take(&mut slot.anew) {
                    shown = None;
                }
                if let Some(grid) = slot.grid.take() {
                    break grid;
                }
                slot = shared.filled.wait(slot).unwrap_or_else(PoisonError::into_inner);
            }
        };
        wanted.over(shown.as_ref(), &mut bytes);
        for chunk in bytes.chunks(CHUNK) {
            if !write(chunk, || shared.lock().ended) {
                return;
            }
        }
        shared.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        bytes.clear();
        shown = Some(wanted);
    }
}

/// Writes all of it, whenever there is room; false if the terminal is gone, or `stop` says so.
fn write(mut bytes: &[u8], stop: impl Fn() -> bool) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while !bytes.is_empty() {
        let mut ready = [PollFd::from_borrowed_fd(output(), PollFlags::OUT)];
        match rustix::event::poll(&mut ready, Some(&pause)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {
                if stop() {
                    return false;
                }
                continue;
            }
            Ok(_) => {}
            Err(_) => return false,
        }
        match rustix::io::write(output(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => return false,
        }
    }
    true
}

/// Gives the terminal back as it was. Does nothing the second time.
fn give_back() {
    let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    let until = Instant::now() + END_WITHIN;
    if !write(END, || Instant::now() >= until) {
        // What the line has not taken would keep the process from ending.
        let _ = rustix::termios::tcflush(output(), QueueSelector::OFlush);
    }
    let _ = std::io::stdout().flush();
    // What was typed ahead was meant for the console, not for what comes after it.
    let _ = rustix::termios::tcflush(input(), QueueSelector::IFlush);
    let _ = rustix::termios::tcsetattr(input(), OptionalActions::Now, &before);
}

/// What came over the line.
pub enum Input {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The line is gone.
    HungUp,
}

/// Reads until `take` wants no more, on a thread that ends with the process.
pub fn read(mut take: impl FnMut(Input) -> bool + Send + 'static) -> Result<()> {
    std::thread::Builder::new()
        .name("console-in".into())
        .spawn(move || {
            let mut buffer = [0; 256];
            loop {
                match rustix::io::read(input(), &mut buffer) {
                    Ok(0) => break,
                    Ok(length) => {
                        if !take(Input::Bytes(buffer[..length].to_vec())) {
                            return;
                        }
                    }
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                    Err(_) => break,
                }
            }
            take(Input::HungUp);
        })
        .context(|| "the keys cannot be read")?;
    Ok(())
}
