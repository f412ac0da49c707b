//! An NXP PN532 at the other end of a line, byte for byte as UM0701-02 has it, and its faults.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::pty::Pty;

/// What goes wrong with the next answer of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes of nobody stand before the ACK and before the answer.
    Stray,
    /// One bit is turned over on the wire.
    WrongSum,
    /// The answer stops in its middle.
    Half,
    /// Nothing comes, not even the ACK.
    Silent,
}

#[derive(Default)]
struct State {
    card: Option<Vec<u8>>,
    faults: VecDeque<Fault>,
    looks: usize,
    /// Since power-on.
    awake: bool,
    configured: bool,
    gives_up: bool,
    last: Vec<u8>,
}

/// The module; it ends with this.
pub struct Module {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

fn answer(data: &[u8]) -> Vec<u8> {
    let length = data.len() as u8 + 1;
    let sum: u32 = 0xd5 + data.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let mut frame = vec![0x00, 0x00, 0xff, length, (0x100 - u32::from(length)) as u8, 0xd5];
    frame.extend_from_slice(data);
    frame.extend_from_slice(&[((0x100 - sum % 0x100) % 0x100) as u8, 0x00]);
    frame
}

impl State {
    /// What goes out for a command.
    fn command(&mut self, command: &[u8]) -> Vec<u8> {
        if !self.awake {
            return Vec::new();
        }
        let look = command.first() == Some(&0x4a);
        let done = match command {
            [0x14, 0x01, _, _] => {
                self.configured = true;
                answer(&[0x15])
            }
            [0x32, 0x05, _, _, retries] => {
                self.gives_up = *retries != 0xff;
                answer(&[0x33])
            }
            [0x32, 0x01, 0x00] => answer(&[0x33]),
            [0x4a, 0x01, 0x00] => {
                self.looks += 1;
                assert!(self.configured, "a look before SAMConfiguration");
                match &self.card {
                    // NbTg, Tg, SENS_RES, SEL_RES, NFCID.
                    Some(uid) => {
                        answer(&[&[0x4b, 1, 1, 0x00, 0x04, 0x08, uid.len() as u8], &uid[..]].concat())
                    }
                    None if self.gives_up => answer(&[0x4b, 0]),
                    // It looks for a card for ever.
                    None => Vec::new(),
                }
            }
            _ => vec![0x00, 0x00, 0xff, 0x01, 0xff, 0x7f, 0x81, 0x00],
        };
        self.last.clone_from(&done);
        let ack = [0x00, 0x00, 0xff, 0x00, 0xff, 0x00];
        let fault = if look { self.faults.pop_front() } else { None };
        match fault {
            None => [&ack[..], &done].concat(),
            Some(Fault::Stray) => [&[0x55, 0x00][..], &ack, &[0x00, 0x81, 0xff], &done].concat(),
            Some(Fault::WrongSum) => {
                let mut damaged = done;
                damaged[6] ^= 0x40;
                [&ack[..], &damaged].concat()
            }
            Some(Fault::Half) => [&ack[..], &done[..done.len() / 2]].concat(),
            Some(Fault::Silent) => Vec::new(),
        }
    }
}

impl Module {
    pub fn start(line: &Arc<Pty>) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped, line) = (Arc::clone(&state), Arc::clone(&stop), Arc::downgrade(line));
        let thread = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Some(line) = line.upgrade() else { return };
                let mut now = [0; 256];
                let read = line.read_now(&mut now);
                if read == 0 {
                    drop(line);
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                bytes.extend_from_slice(&now[..read]);
                let mut state = shared.lock().unwrap();
                if bytes.windows(2).any(|two| two == [0x55, 0x55]) {
                    state.awake = true;
                }
                // Whole frames, one after the other.
                while let Some(start) = bytes.windows(3).position(|three| three == [0x00, 0x00, 0xff]) {
                    let rest = &bytes[start + 3..];
                    let (done, out) = match rest {
                        [0x00, 0xff, 0x00, ..] => (3, Vec::new()),
                        [0xff, 0x00, 0x00, ..] => (3, state.last.clone()),
                        [length, sum, data @ ..] if data.len() >= usize::from(*length) + 2 => {
                            let length = usize::from(*length);
                            assert_eq!((length as u8).wrapping_add(*sum), 0, "checksum of the length");
                            let sums = data[..=length].iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                            assert_eq!((sums, data[0], data[length + 1]), (0, 0xd4, 0x00), "{data:02x?}");
                            (length + 4, state.command(&data[1..length]))
                        }
                        _ => break,
                    };
                    // In pieces, as a wire brings them.
                    for piece in out.chunks(3) {
                        line.write(piece);
                    }
                    bytes.drain(..start + 3 + done);
                }
            }
        });
        Self { state, stop, thread: Some(thread) }
    }

    pub fn lay_down(&self, uid: &[u8]) {
        self.state.lock().unwrap().card = Some(uid.to_vec());
    }

    pub fn lift(&self) {
        self.state.lock().unwrap().card = None;
    }

    pub fn fault(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push_back(fault);
    }

    /// It loses its power for a moment, and with it all that it was told.
    pub fn power_cycle(&self) {
        let mut state = self.state.lock().unwrap();
        let card = state.card.take();
        *state = State { card, looks: state.looks, ..State::default() };
    }

    /// Waits for so many more looks.
    pub fn looks(&self, more: usize) {
        let until = std::time::Instant::now() + Duration::from_secs(60);
        let wanted = self.state.lock().unwrap().looks + more;
        while self.state.lock().unwrap().looks < wanted {
            assert!(std::time::Instant::now() < until, "the reader is not asked");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        // What it found wrong is the test's failure.
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}
