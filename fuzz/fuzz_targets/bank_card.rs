//! Whatever a chip card answers: its data objects are read or refused, and reading it comes to an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::Result;
use menshen::device::bank_card::{self, social_security, tlv};
use menshen::device::chip::card::Card;

/// Answers with one piece after the other, each behind its length, and begins anew when they are used up.
struct Answers<'a> {
    all: &'a [u8],
    rest: &'a [u8],
    asked: usize,
}

impl Card for Answers<'_> {
    fn transmit(&mut self, _apdu: &[u8]) -> Result<Vec<u8>> {
        self.asked += 1;
        if self.rest.is_empty() {
            self.rest = self.all;
        }
        let Some((length, rest)) = self.rest.split_first() else { return Ok(vec![0x6a, 0x82]) };
        let (answer, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        self.rest = rest;
        // A card's driver gives a status in any case.
        Ok(if answer.len() < 2 { vec![0x90, 0x00] } else { answer.to_vec() })
    }

    fn atr(&self) -> &[u8] {
        &[]
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole: usize = tlv::objects(bytes).flatten().map(|object| object.value.len() + 2).sum();
    assert!(whole <= bytes.len());
    let mut kept = tlv::Objects::new();
    if tlv::keep(bytes, &mut kept).is_ok() {
        for (tag, value) in &kept {
            assert_eq!(tlv::find(bytes, *tag).ok().flatten(), Some(&value[..]));
        }
    } else {
        assert!(kept.is_empty());
    }
    let _ = tlv::list(bytes);
    let mut card = Answers { all: bytes, rest: bytes, asked: 0 };
    let _ = bank_card::read(&mut card, jiff::civil::date(2026, 11, 22));
    assert!(card.asked < 100_000);
    card.asked = 0;
    let _ = social_security::read(&mut card);
    let _ = bank_card::chip_number(&mut card);
    assert!(card.asked < 2_000);
});
