//! A card service whose readers are plugged in and unplugged by the test: pcscd finds new readers over USB alone, which no
//! test has. It speaks what libpcsclite 1.9 asks of its service (protocol 4.4) and no more: readers that come and go, and a
//! card whose reader is pulled out as soon as the card is asked anything.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Readers that the client's library keeps room for, and the bytes of one.
const READERS: usize = 16;
const READER_BYTES: usize = 184;

/// SCARD_ABSENT and SCARD_PRESENT of pcsclite's own states.
const ABSENT: u32 = 0x0002;
const PRESENT: u32 = 0x0004;

/// What a card's reader is not any more.
const READER_UNAVAILABLE: u32 = 0x8010_0017;

const ATR: [u8; 5] = [0x3b, 0x80, 0x80, 0x01, 0x01];

#[derive(Default)]
struct State {
    /// Names, counts of events, whether a card is in.
    readers: Vec<(String, u32, bool)>,
    /// Who waits for an event.
    waiting: Vec<UnixStream>,
}

impl State {
    /// All readers as the library keeps them: name, count, state, sharing, ATR, its length, protocol.
    fn table(&self) -> Vec<u8> {
        let mut table = Vec::with_capacity(READERS * READER_BYTES);
        for (name, count, card) in &self.readers {
            let mut reader = vec![0; 128];
            reader[..name.len()].copy_from_slice(name.as_bytes());
            reader.extend_from_slice(&count.to_ne_bytes());
            reader.extend_from_slice(&if *card { PRESENT } else { ABSENT }.to_ne_bytes());
            reader.extend_from_slice(&[0; 4]);
            let mut atr = [0; 36];
            if *card {
                atr[..ATR.len()].copy_from_slice(&ATR);
            }
            reader.extend_from_slice(&atr);
            reader.extend_from_slice(&if *card { ATR.len() as u32 } else { 0 }.to_ne_bytes());
            reader.extend_from_slice(&1_u32.to_ne_bytes());
            assert_eq!(reader.len(), READER_BYTES);
            table.extend(reader);
        }
        table.resize(READERS * READER_BYTES, 0);
        table
    }

    /// Something has changed: tells whoever waits.
    fn changed(&mut self) {
        for mut client in self.waiting.drain(..) {
            // One that has gone does not wait any more.
            let _ = client.write_all(&[0; 8]);
        }
    }
}

/// The service; it listens as long as the test's process lives.
pub struct Plugging(Arc<Mutex<State>>);

impl Plugging {
    /// Listens where the test's client looks for it, without any reader.
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder.join("ipc")).unwrap();
        let listener = UnixListener::bind(folder.join("ipc/pcscd.comm")).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&shared);
                // A client that goes away ends its own thread.
                std::thread::spawn(move || drop(serve(&client, &state)));
            }
        });
        Self(state)
    }

    /// Plugs a reader in, with or without a card.
    pub fn plug(&self, name: &str, card: bool) {
        let mut state = self.0.lock().unwrap();
        state.readers.push((name.to_owned(), 0, card));
        state.changed();
    }

    /// Unplugs it.
    pub fn unplug(&self, name: &str) {
        unplug(&mut self.0.lock().unwrap(), name);
    }

    /// Puts a card in, or takes it out.
    pub fn card(&self, name: &str, card: bool) {
        let mut state = self.0.lock().unwrap();
        let reader = state.readers.iter_mut().find(|reader| reader.0 == name).unwrap();
        (reader.1, reader.2) = (reader.1 + 1, card);
        state.changed();
    }
}

fn unplug(state: &mut State, name: &str) {
    state.readers.retain(|reader| reader.0 != name);
    state.changed();
}

/// Answers a client: a frame is the length of its body, a command, the body; an answer is the same body filled in.
fn serve(mut client: &UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut connected = String::new();
    loop {
        let mut head = [0; 8];
        client.read_exact(&mut head)?;
        let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        let mut body = vec![0; number(0) as usize];
        client.read_exact(&mut body)?;
        let mut set = |at: usize, value: u32| body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        match number(4) {
            // Context: scope, context, result.
            0x01 => set(4, 1),
            // Connect: context, name, share mode, protocols wanted, card, protocol taken, result.
            0x04 => {
                set(140, 1);
                set(144, 2);
                let name = &body[4..132];
                let end = name.iter().position(|byte| *byte == 0).unwrap();
                connected = String::from_utf8(name[..end].to_vec()).unwrap();
            }
            // Transmit: card, protocols, lengths, result, then the command. The reader is pulled out.
            0x09 => {
                let length = u32::from_ne_bytes(body[12..16].try_into().unwrap());
                client.read_exact(&mut vec![0; length as usize])?;
                body[28..32].copy_from_slice(&READER_UNAVAILABLE.to_ne_bytes());
                unplug(&mut state.lock().unwrap(), &connected);
            }
            // The table of readers, once, and once more with an event to follow.
            0x12 => body = state.lock().unwrap().table(),
            0x13 => {
                let mut state = state.lock().unwrap();
                state.waiting.push(client.try_clone()?);
                body = state.table();
            }
            // Waits no more; if the event was quicker, it is the answer.
            0x14 => {
                let mut state = state.lock().unwrap();
                let before = state.waiting.len();
                let own = client.local_peer();
                state.waiting.retain(|other| other.local_peer() != own);
                if state.waiting.len() == before {
                    continue;
                }
                body = vec![0; 8];
            }
            // Version, end of a context, disconnect, status: as they are, without an error.
            _ => {}
        }
        client.write_all(&body)?;
    }
}

/// Which of the connections a stream is, also as a copy.
trait Same {
    fn local_peer(&self) -> u64;
}

impl Same for UnixStream {
    fn local_peer(&self) -> u64 {
        // The inode of the socket: copies share it.
        rustix::fs::fstat(self).unwrap().st_ino
    }
}
