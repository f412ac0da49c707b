//! What comes over the line, as keys.
//!
//! Terminal programs send arrows as `ESC [ A`, `ESC O A` (application mode) or, as a VT52, `ESC A`; some send
//! whole families of sequences nobody asked for (mouse, paste, answers to questions), and a noisy line sends
//! anything. Every sequence is read to its end and, when it is no key of ours, becomes one [`Key::Unknown`].

use std::time::{Duration, Instant};

/// After this silence an `ESC` was the key and not the beginning of a sequence: adapters hold bytes back for 16 ms,
/// and a slow line needs 10 ms for a sequence.
pub const ESCAPE_ALONE: Duration = Duration::from_millis(100);

/// No sequence of a keyboard is longer.
const LONGEST: usize = 64;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A letter, digit or sign.
    Char(char),
    /// Enter: CR, LF, CR LF or CR NUL.
    Enter,
    /// Esc alone.
    Escape,
    /// Backspace or Delete to the left.
    Backspace,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Ctrl-L: the screen is drawn anew.
    Redraw,
    /// Ctrl-C or Ctrl-D: the console is left.
    Leave,
    /// Anything else.
    Unknown,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After CR: an LF or NUL belongs to it.
    Return,
    Escape,
    /// `ESC [`: parameters so far.
    Control(Vec<u8>),
    /// `ESC [ [`: one more byte (function keys of the Linux console).
    Function,
    /// `ESC O`.
    Single,
    /// `ESC ]`, `ESC P` and the like, until BEL or `ESC \`.
    Text {
        bytes: usize,
        escape: bool,
    },
    /// The beginning of a character of several bytes, and how many it has.
    Character(Vec<u8>, usize),
}

/// Makes keys of bytes.
#[derive(Debug, Default)]
pub struct Keys {
    state: State,
    last: Option<Instant>,
}

impl Keys {
    /// Bytes that came at `now`.
    pub fn feed(&mut self, bytes: &[u8], now: Instant, keys: &mut Vec<Key>) {
        self.silence(now, keys);
        for byte in bytes {
            self.byte(*byte, keys);
        }
        self.last = Some(now);
    }

    /// Time has passed without bytes: what was begun and not ended was something else.
    pub fn silence(&mut self, now: Instant, keys: &mut Vec<Key>) {
        if self.last.is_none_or(|last| now.duration_since(last) < ESCAPE_ALONE) {
            return;
        }
        match std::mem::take(&mut self.state) {
            State::Ground | State::Return => {}
            State::Escape => keys.push(Key::Escape),
            _ => keys.push(Key::Unknown),
        }
    }

    /// Whether [`Keys::silence`] has something to say when nothing more comes.
    pub fn waits(&self) -> bool {
        !matches!(self.state, State::Ground | State::Return)
    }

    fn byte(&mut self, byte: u8, keys: &mut Vec<Key>) {
        match std::mem::take(&mut self.state) {
            State::Ground => self.ground(byte, keys),
            State::Return if matches!(byte, b'\n' | 0) => {}
            State::Return => self.ground(byte, keys),
            State::Escape => self.escaped(byte, keys),
            State::Control(parameters) => self.control(parameters, byte, keys),
            State::Function => keys.push(Key::Unknown),
            State::Single => match byte {
                0x1b => self.broken(keys),
                b'M' => keys.push(Key::Enter),
                _ => keys.push(arrow(byte)),
            },
            State::Text { bytes, escape } => match byte {
                0x07 | 0x18 | 0x1a => keys.push(Key::Unknown),
                b'\\' if escape => keys.push(Key::Unknown),
                _ if bytes >= LONGEST => keys.push(Key::Unknown),
                _ => self.state = State::Text { bytes: bytes + 1, escape: byte == 0x1b },
            },
            State::Character(mut begun, whole) => {
                if byte & 0xc0 != 0x80 {
                    keys.push(Key::Unknown);
                    return self.ground(byte, keys);
                }
                begun.push(byte);
                if begun.len() < whole {
                    self.state = State::Character(begun, whole);
                    return;
                }
                let character = std::str::from_utf8(&begun).ok().and_then(|text| text.chars().next());
                keys.push(match character {
                    Some(character) if !character.is_control() => Key::Char(character),
                    _ => Key::Unknown,
                });
            }
        }
    }

    /// A sequence was broken off by the next one.
    fn broken(&mut self, keys: &mut Vec<Key>) {
        keys.push(Key::Unknown);
        self.state = State::Escape;
    }

    fn ground(&mut self, byte: u8, keys: &mut Vec<Key>) {
        match byte {
            b'\r' => {
                keys.push(Key::Enter);
                self.state = State::Return;
            }
            b'\n' => keys.push(Key::Enter),
            0x1b => self.state = State::Escape,
            0x08 | 0x7f => keys.push(Key::Backspace),
            0x03 | 0x04 => keys.push(Key::Leave),
            0x0c => keys.push(Key::Redraw),
            0x20..=0x7e => keys.push(Key::Char(byte.into())),
            0xc2..=0xdf => self.state = State::Character(vec![byte], 2),
            0xe0..=0xef => self.state = State::Character(vec![byte], 3),
            0xf0..=0xf4 => self.state = State::Character(vec![byte], 4),
            _ => keys.push(Key::Unknown),
        }
    }

    fn escaped(&mut self, byte: u8, keys: &mut Vec<Key>) {
        match byte {
            b'[' => self.state = State::Control(Vec::new()),
            b'O' => self.state = State::Single,
            b']' | b'P' | b'X' | b'^' | b'_' => self.state = State::Text { bytes: 0, escape: false },
            0x1b => {
                keys.push(Key::Escape);
                self.state = State::Escape;
            }
            _ => keys.push(arrow(byte)),
        }
    }

    fn control(&mut self, mut parameters: Vec<u8>, byte: u8, keys: &mut Vec<Key>) {
        match byte {
            b'[' if parameters.is_empty() => self.state = State::Function,
            0x20..=0x3f if parameters.len() < LONGEST => {
                parameters.push(byte);
                self.state = State::Control(parameters);
            }
            0x1b => self.broken(keys),
            b'~' => keys.push(match &parameters[..] {
                b"5" => Key::PageUp,
                b"6" => Key::PageDown,
                b"3" => Key::Backspace,
                _ => Key::Unknown,
            }),
            // With a modifier, such as `ESC [ 1 ; 5 A`, it is no plain arrow.
            _ if parameters.is_empty() => keys.push(arrow(byte)),
            _ => keys.push(Key::Unknown),
        }
    }
}

fn arrow(byte: u8) -> Key {
    match byte {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        _ => Key::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let (mut keys, mut parsed, now) = (Keys::default(), Vec::new(), Instant::now());
        keys.feed(bytes, now, &mut parsed);
        keys.silence(now + ESCAPE_ALONE, &mut parsed);
        parsed
    }

    #[test]
    fn the_keys_of_terminal_programs() {
        // DEC VT100 User Guide, chapter 3: cursor keys in both modes; VT52 in its own.
        assert_eq!(keys(b"\x1b[A\x1bOB\x1bC\x1b[D"), [Key::Up, Key::Down, Key::Right, Key::Left]);
        assert_eq!(keys(b"\x1b[5~\x1b[6~"), [Key::PageUp, Key::PageDown]);
        assert_eq!(keys(b"\r\n\r\0\r\r\n\n"), [Key::Enter; 5]);
        assert_eq!(keys(b"\x1b"), [Key::Escape]);
        assert_eq!(keys(b"\x1b\x1b"), [Key::Escape, Key::Escape]);
        assert_eq!(
            keys("a张\x7f\x08".as_bytes()),
            [Key::Char('a'), Key::Char('张'), Key::Backspace, Key::Backspace]
        );
        assert_eq!(keys(b"\x03\x0c"), [Key::Leave, Key::Redraw]);
    }

    #[test]
    fn what_nobody_asked_for_is_one_unknown_key() {
        for odd in [
            &b"\x1b[1;5A"[..],
            b"\x1b[[A",
            b"\x1b[200~",
            b"\x1b[24;80R",
            b"\x1b[?1;2c",
            b"\x1b]0;title\x07",
            b"\x1bP1$r0m\x1b\\",
            b"\x1bz",
            b"\x00",
            b"\xff",
            b"\xe5\xbc",
            b"\x1b[",
            b"\x1b]never ends",
        ] {
            assert_eq!(keys(odd), [Key::Unknown], "{odd:?}");
        }
        assert_eq!(keys(b"\xe5a"), [Key::Unknown, Key::Char('a')]);
        assert_eq!(keys(b"\x1b[1\x1b[A"), [Key::Unknown, Key::Up]);
    }

    #[test]
    fn a_sequence_may_come_in_pieces() {
        let (mut keys, mut parsed, now) = (Keys::default(), Vec::new(), Instant::now());
        for (at, byte) in b"\x1b[B".iter().enumerate() {
            keys.feed(&[*byte], now + Duration::from_millis(16) * u32::try_from(at).unwrap(), &mut parsed);
        }
        assert_eq!(parsed, [Key::Down]);
        keys.feed(b"\x1b", now + Duration::from_secs(1), &mut parsed);
        assert!(keys.waits());
        keys.feed(b"1", now + Duration::from_secs(2), &mut parsed);
        assert_eq!(parsed[1..], [Key::Escape, Key::Char('1')]);
    }
}
