//! Virtual chip cards in a real reader: `vpcd`, a driver of `pcscd` (Debian: vsmartcard-vpcd), is a reader whose cards are
//! programs. It listens on a TCP port; a connection is a card that stands in the reader, its end is the card's removal.
//!
//! Both sides send frames of a length of two bytes, high one first, and as many bytes. One byte from the reader is an order:
//! 0 power off, 1 power on, 2 reset, none of which is answered, and 4, which is answered by the ATR. Longer ones are
//! commands to the card.

pub mod profile;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Context as _, Error, Kind, Result};

pub use profile::Profile;

/// Where Debian's vpcd listens.
pub const VPCD: &str = "127.0.0.1:35963";

/// Before a reader that is not there is looked for again.
const AGAIN: Duration = Duration::from_millis(200);

/// Bytes that one answer to READ RECORD loses with [`Fault::Truncated`].
const LOST: usize = 3;

/// A chip, whoever makes it up.
pub trait Chip: Send {
    /// How it announces itself.
    fn atr(&self) -> Vec<u8>;

    /// It has lost its power, or was reset.
    fn reset(&mut self);

    /// The answer to a command, with the status word; empty: it is taken out instead.
    fn answer(&mut self, command: &[u8]) -> Vec<u8>;
}

/// As many bytes are no ATR, which has 33 at most: the reader's driver gives the card up. It would take an answer of no
/// bytes at all for a card that was taken out.
const NO_ATR: usize = 40;

/// What a card does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// Does not announce itself when it gets its power.
    Mute,
    /// Has no file of any name: 6A82 to each SELECT.
    NotFound,
    /// The data of its records end too early.
    Truncated,
    /// Always has more to say: 6110 to each SELECT and to each attempt to fetch it.
    Endless,
    /// Is taken out when its first record is read.
    Removed,
}

impl Fault {
    /// All names, as a person types them.
    pub const NAMES: &str = "none, mute, not-found, truncated, endless, removed";
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "none" => Self::None,
            "mute" => Self::Mute,
            "not-found" => Self::NotFound,
            "truncated" => Self::Truncated,
            "endless" => Self::Endless,
            "removed" => Self::Removed,
            _ => {
                return Err(Error::new(
                    Kind::Input,
                    format!("{name:?} is no fault; these are: {}", Self::NAMES),
                ));
            }
        })
    }
}

/// What happens to a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It stands in the reader.
    Inserted,
    /// It was asked, and has answered.
    Asked {
        /// The command.
        command: Vec<u8>,
        /// The answer with its status.
        answer: Vec<u8>,
    },
    /// It is out of the reader again: taken out, or the reader is gone.
    Removed,
}

/// A card that stands in a reader until it is removed or dropped.
pub struct Inserted {
    stop: Arc<AtomicBool>,
    stream: Arc<Mutex<Option<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Inserted {
    /// Takes it out.
    pub fn remove(self) {
        drop(self);
    }
}

impl Drop for Inserted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(stream) = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // One that has ended by itself is out already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Puts a card into the reader at `vpcd`, as soon as that is there, and again whenever the reader has been away. `tell` hears
/// what happens to it, on the card's own thread.
pub fn insert(
    vpcd: SocketAddr,
    mut chip: Box<dyn Chip>,
    fault: Fault,
    mut tell: impl FnMut(Happened) + Send + 'static,
) -> Result<Inserted> {
    let (stop, stream) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
    let (stopped, shared) = (Arc::clone(&stop), Arc::clone(&stream));
    let stand = move || {
        while !stopped.load(Ordering::Relaxed) {
            let Ok(reader) = TcpStream::connect(vpcd) else {
                std::thread::sleep(AGAIN);
                continue;
            };
            let Ok(copy) = reader.try_clone() else { return };
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
            // It may have been taken out just before the copy was there for whoever does so.
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            tell(Happened::Inserted);
            chip.reset();
            let goes_on = serve(&reader, &mut *chip, fault, &mut tell).unwrap_or(true);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = None;
            drop(reader);
            tell(Happened::Removed);
            if !goes_on {
                return;
            }
            std::thread::sleep(AGAIN);
        }
    };
    let thread = std::thread::Builder::new()
        .name("virtual-card".into())
        .spawn(stand)
        .context(|| "the thread of a virtual card cannot be started")?;
    Ok(Inserted { stop, stream, thread: Some(thread) })
}

/// Serves a reader until it is gone, which is true, or the card goes by itself, which is false.
fn serve(
    mut reader: &TcpStream,
    chip: &mut dyn Chip,
    fault: Fault,
    tell: &mut impl FnMut(Happened),
) -> std::io::Result<bool> {
    let mut powered_just_now = false;
    loop {
        let mut length = [0; 2];
        match reader.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(true),
            other => other?,
        }
        let mut frame = vec![0; usize::from(u16::from_be_bytes(length))];
        reader.read_exact(&mut frame)?;
        let answer = match frame[..] {
            [] => continue,
            [order @ (0..=2)] => {
                chip.reset();
                powered_just_now = order != 0;
                continue;
            }
            // The reader also asks so whether the card is still there.
            [4] if fault == Fault::Mute && powered_just_now => vec![0; NO_ATR],
            [4] => chip.atr(),
            [_] => continue,
            ref command => match answer(chip, command, fault) {
                Some(answer) => {
                    tell(Happened::Asked { command: command.to_vec(), answer: answer.clone() });
                    answer
                }
                None => return Ok(false),
            },
        };
        powered_just_now = false;
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        let frame = [&length.to_be_bytes(), &answer[..usize::from(length)]].concat();
        reader.write_all(&frame)?;
    }
}

/// A chip's answer, with what it does wrong; `None` if it is taken out instead.
pub fn answer(chip: &mut dyn Chip, command: &[u8], fault: Fault) -> Option<Vec<u8>> {
    let instruction = command.get(1).copied().unwrap_or_default();
    match (fault, instruction) {
        (Fault::NotFound, 0xa4) => Some(vec![0x6a, 0x82]),
        (Fault::Endless, 0xa4) => Some(vec![0x61, 0x10]),
        (Fault::Endless, 0xc0) => Some([&[0x11; 16][..], &[0x61, 0x10]].concat()),
        (Fault::Removed, 0xb2) => None,
        (Fault::Truncated, 0xb2) => {
            let mut answer = chip.answer(command);
            if answer.len() > LOST + 2 && answer.ends_with(&[0x90, 0x00]) {
                answer.truncate(answer.len() - 2 - LOST);
                answer.extend_from_slice(&[0x90, 0x00]);
            }
            Some(answer)
        }
        _ => Some(chip.answer(command)).filter(|answer| !answer.is_empty()),
    }
}
