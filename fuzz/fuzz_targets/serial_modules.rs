//! Whatever a module on a serial line sends: it is read without a panic, what is done with is no more than what came, and
//! a whole frame behind it is found.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::device::card_reader::frame::{Found, read};
use menshen::device::code_reader::lines::{Code, Lines};
use menshen::device::gymcu;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    loop {
        let (done, found) = read(rest);
        assert!(done <= rest.len());
        let nothing = matches!(found, Ok(Found::Nothing));
        assert!(nothing || done > 0, "a frame is read once");
        rest = &rest[done..];
        if nothing {
            break;
        }
    }
    // A frame that has begun is waited for, and no longer than its length allows.
    assert!(rest.len() <= 2 + 2 + 255 + 1);
    let (mut lines, now) = (Lines::default(), std::time::Instant::now());
    lines.feed(bytes, now);
    lines.feed(b"\r", now);
    while let Some(code) = lines.take() {
        assert!(!matches!(code, Ok(Code(text)) if text.is_empty() || text.contains(['\r', '\n'])));
    }
    lines.feed(b"A1\r", now);
    assert_eq!(lines.take().and_then(Result::ok), Some(Code("A1".into())));
    let sheet = [0x5a, 0x5a, 0x45, 0x04, 0x0c, 0x78, 0x0d, 0x19, 0xa7];
    assert!(gymcu::read(&[bytes, &sheet].concat()).is_some());
});
