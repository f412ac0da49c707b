//! From the bytes of a scanner to codes. A scanner sends what it has read as plain text and ends it with a carriage
//! return, a line feed or both, or with nothing but a pause, as its own configuration says. Pure: bytes and moments go
//! in, codes come out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use encoding_rs::GB18030;

use super::CODE_BYTES;
use crate::error::{Error, Kind, Result};

/// After so long without a byte a code is over that no line end has ended. USB adapters hold bytes back for 16 ms.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Codes that wait to be taken; a hand shows no more than this.
const WAITING: usize = 16;

/// Collects bytes until they are codes.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// What came is longer than any code: the rest of it is thrown away.
    too_long: bool,
    /// When the last byte came.
    last: Option<Instant>,
    done: VecDeque<Result<Code>>,
}

/// What a code says. Its `Debug` does not tell.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(pub String);

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code").field("bytes", &self.0.len()).finish()
    }
}

impl Lines {
    /// Takes bytes that have come in at a moment.
    pub fn feed(&mut self, bytes: &[u8], at: Instant) {
        self.time_passes(at);
        for &byte in bytes {
            if matches!(byte, b'\r' | b'\n') {
                self.finish();
            } else if self.bytes.len() == CODE_BYTES {
                self.too_long = true;
            } else {
                self.bytes.push(byte);
            }
        }
        self.last = (!self.bytes.is_empty()).then_some(at);
    }

    /// What a pause ends, if there was one.
    pub fn time_passes(&mut self, now: Instant) {
        if self.ends_at().is_some_and(|end| end <= now) {
            self.finish();
            self.last = None;
        }
    }

    /// When what has come so far is over, unless more comes.
    pub fn ends_at(&self) -> Option<Instant> {
        Some(self.last? + PAUSE)
    }

    /// The next code, or `Input` for what was none.
    pub fn take(&mut self) -> Option<Result<Code>> {
        self.done.pop_front()
    }

    /// Forgets what has come of a code: the rest of it will not.
    pub fn clear(&mut self) {
        (self.too_long, self.last) = (false, None);
        self.bytes.clear();
    }

    fn finish(&mut self) {
        let code = match std::mem::take(&mut self.too_long) {
            true => Some(Err(not_a_code(&format!("more than {CODE_BYTES} bytes")))),
            false => read(&self.bytes).transpose(),
        };
        self.bytes.clear();
        if let Some(code) = code.filter(|_| self.done.len() < WAITING) {
            self.done.push_back(code);
        }
    }
}

fn not_a_code(what: &str) -> Error {
    Error::new(
        Kind::Input,
        format!(
            "what came from the scanner is no code ({what}): check its speed, and that its wires are shielded"
        ),
    )
}

/// The text of a code; `None` if nothing is left of it. UTF-8 where it is that, else GBK (as GB 18030, which holds it).
fn read(bytes: &[u8]) -> Result<Option<Code>> {
    // Some scanners put STX before and ETX or a tab behind; a line that is plugged in makes zeros.
    let frame = |byte: &u8| matches!(byte, 0 | 2 | 3 | b'\t');
    let Some(first) = bytes.iter().position(|byte| !frame(byte)) else { return Ok(None) };
    let last = bytes.iter().rposition(|byte| !frame(byte)).unwrap_or(first);
    let bytes = bytes.get(first..=last).unwrap_or_default();
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => GB18030
            .decode_without_bom_handling_and_without_replacement(bytes)
            .ok_or_else(|| not_a_code("neither UTF-8 nor GBK"))?
            .into_owned(),
    };
    // GS1 and ISO/IEC 15434 separate their fields with FS, GS, RS, US and EOT.
    let separator = |letter: char| matches!(letter, '\t' | '\u{4}' | '\u{1c}'..='\u{1f}');
    if text.chars().any(|letter| letter.is_control() && !separator(letter)) {
        return Err(not_a_code("control characters"));
    }
    Ok((!text.is_empty()).then_some(Code(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that comes of `parts`, each `ms` after the one before, and of the pause behind them.
    fn codes(parts: &[&[u8]], ms: u64) -> Vec<Option<String>> {
        let (mut lines, mut now) = (Lines::default(), Instant::now());
        let mut codes = Vec::new();
        let take = |lines: &mut Lines, codes: &mut Vec<_>| {
            while let Some(code) = lines.take() {
                codes.push(code.ok().map(|code| code.0));
            }
        };
        for part in parts {
            now += Duration::from_millis(ms);
            lines.feed(part, now);
            take(&mut lines, &mut codes);
        }
        lines.time_passes(now + PAUSE);
        take(&mut lines, &mut codes);
        codes
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn codes_end_with_a_line_or_a_pause() {
        for bytes in
            [&b"adddfffsss\r"[..], b"adddfffsss\n", b"adddfffsss\r\n", b"\r\nadddfffsss", b"adddfffsss"]
        {
            assert_eq!(codes(&[bytes], 0), [text("adddfffsss")], "{bytes:?}");
        }
        assert_eq!(codes(&[b"one\rtwo\r\nthr", b"ee\r"], 1), [text("one"), text("two"), text("three")]);
        assert_eq!(codes(&[b"on", b"e"], 99), [text("one")]);
        assert_eq!(codes(&[b"on", b"e"], 100), [text("on"), text("e")]);
        assert_eq!(codes(&[b"\r\n", b"\r", b"\n\n"], 1), []);
    }

    #[test]
    fn chinese_comes_in_either_code() {
        // 张三 in UTF-8, and in GBK (GB 2312 rows 53 and 40).
        assert_eq!(codes(&[b"\xe5\xbc\xa0\xe4\xb8\x89\r"], 0), [text("张三")]);
        assert_eq!(codes(&[b"\xd5\xc5\xc8\xfd\r"], 0), [text("张三")]);
        assert_eq!(codes(&[b"\xef\xbb\xbfA1\r"], 0), [text("A1")]);
        // A character that comes in two pieces.
        assert_eq!(codes(&[b"\xd5", b"\xc5\r"], 20), [text("张")]);
    }

    #[test]
    fn stray_bytes_are_no_codes() {
        assert_eq!(codes(&[b"\0\0\x02A1\x03\t\r"], 0), [text("A1")]);
        assert_eq!(codes(&[b"\0", b"\0\x02\x03"], 1), []);
        for noise in [&b"\xff"[..], b"A\xff\xfe1", b"A\x081", b"A\x001", b"\x80\x7f"] {
            assert_eq!(codes(&[noise, b"\rA1\r"], 0), [None, text("A1")], "{noise:?}");
        }
        // GS1 keeps its separators.
        assert_eq!(codes(&[b"0112345\x1d10A\r"], 0), [text("0112345\u{1d}10A")]);
    }

    #[test]
    fn a_code_is_never_longer_than_any() {
        let longest = [b'x'; CODE_BYTES];
        assert_eq!(codes(&[&longest, b"\r"], 0), [text(&"x".repeat(CODE_BYTES))]);
        let mut lines = Lines::default();
        let now = Instant::now();
        for _ in 0..1000 {
            lines.feed(&longest, now);
        }
        assert!(lines.bytes.capacity() <= 2 * CODE_BYTES);
        lines.feed(b"\rA1\r", now);
        assert_eq!(lines.take().unwrap().unwrap_err().kind(), Kind::Input);
        assert_eq!(lines.take().unwrap().unwrap(), Code("A1".into()));
        // A scanner that is left to itself fills no memory with codes.
        lines.feed(&b"A\r".repeat(1000), now);
        assert_eq!(std::iter::from_fn(|| lines.take()).count(), WAITING);
        // What was cut off by the plug is not the beginning of the next.
        lines.feed(b"half", now);
        lines.clear();
        lines.feed(b"whole\r", now);
        assert_eq!(lines.take().unwrap().unwrap(), Code("whole".into()));
    }

    #[test]
    fn what_a_code_says_is_not_in_a_log() {
        assert_eq!(format!("{:?}", Code("adddfffsss".into())), "Code { bytes: 10 }");
        let (mut lines, secret) = (Lines::default(), b"secret\x08\r");
        lines.feed(secret, Instant::now());
        let error = lines.take().unwrap().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    proptest! {
        #[test]
        fn every_byte_may_come_in_every_piece(
            pieces in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..40), 0_u64..200), 0..40),
        ) {
            let (mut lines, mut now) = (Lines::default(), Instant::now());
            for (bytes, ms) in &pieces {
                now += Duration::from_millis(*ms);
                lines.feed(bytes, now);
                while let Some(code) = lines.take() {
                    if let Ok(Code(text)) = code {
                        prop_assert!(!text.is_empty() && text.len() <= 2 * CODE_BYTES);
                        prop_assert!(!text.contains(['\r', '\n', '\0']));
                    }
                }
            }
        }

        #[test]
        fn the_pieces_of_a_code_do_not_matter(
            said in "[ -~\u{4e00}-\u{9fa5}]{1,60}", cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut bytes = said.clone().into_bytes();
            bytes.push(b'\r');
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let mut from = 0;
            let parts: Vec<&[u8]> = cuts.iter().map(|to| { let part = &bytes[from..*to]; from = *to; part }).collect();
            prop_assert_eq!(codes(&parts, 50), [Some(said)]);
        }
    }
}
