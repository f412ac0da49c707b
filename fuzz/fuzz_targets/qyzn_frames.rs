//! Whatever a platform sends, in whatever pieces: the decoder neither panics nor keeps more than it was
//! given, and after a calm moment it finds the next good frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::platform::qyzn::codec::{Body, Decoder, MsgType, encode};

const LIMIT: usize = 1 << 16;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, bool)| {
    let (bytes, cuts, hurry) = input;
    let mut decoder = Decoder::new(LIMIT);
    let mut rest = &bytes[..];
    let mut cuts = cuts.iter().map(|&cut| usize::from(cut) + 1).chain(std::iter::repeat(64));
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(cuts.next().unwrap_or(64)));
        rest = behind;
        decoder.buffer().extend_from_slice(piece);
        if hurry {
            decoder.hurry();
        }
        while let Some(frame) = decoder.next_frame() {
            assert!(frame.len <= 4 * LIMIT);
        }
    }
    while decoder.is_amid() {
        decoder.give_up();
        while decoder.next_frame().is_some() {}
    }
    let good = encode(3, MsgType::Request, 0, 7, br#"{"message":"open_door"}"#);
    decoder.buffer().extend_from_slice(&good);
    let last = std::iter::from_fn(|| decoder.next_frame()).last().expect("the good frame");
    assert_eq!(last.header.seq, 7);
    assert!(matches!(last.body, Body::Json(_)));
});
