//! Whatever an identity card module sends: it is read without a panic, what is done with is no more than what came, a whole
//! frame behind it is found, and what is taken for a card has the parts of one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::device::id_reader::sdt::card;
use menshen::device::id_reader::sdt::frame::{Answer, Found, LONGEST, read};

fuzz_target!(|bytes: &[u8]| {
    // The answer to Find with a card, and as much silence as the longest frame that the bytes may pretend to begin.
    let found = [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x08, 0x00, 0x00, 0x9f, 0x00, 0x00, 0x00, 0x00, 0x97];
    let all = [bytes, &found, &[0; LONGEST]].concat();
    let (mut rest, mut whole) = (&all[..], false);
    loop {
        let (done, frame) = read(rest);
        assert!(done <= rest.len());
        match frame {
            Found::Nothing => break,
            Found::Damaged(_) => {}
            Found::Answer(answer) => {
                whole |= answer == Answer { status: [0, 0, 0x9f], data: &[0; 4] };
                take(answer.data);
            }
        }
        assert!(done > 0, "a frame is read once");
        rest = &rest[done..];
    }
    assert!(whole, "the frame behind it is found");
    take(bytes);
});

fn take(data: &[u8]) {
    let Some(parts) = card::parts(data) else { return };
    assert!((220..=256).contains(&parts.texts.len()));
    assert!(matches!(parts.photo.len(), 0 | 1024) && matches!(parts.fingerprints.len(), 0 | 512 | 1024));
    let Ok(mut reading) = card::read(parts.texts) else { return };
    card::add_address(&mut reading, data);
    assert!(!reading.document.number.is_empty());
    assert!(reading.texts.iter().all(|text| !text.content.chars().any(char::is_control)));
}
