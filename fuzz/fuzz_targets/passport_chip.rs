//! Whatever a chip holds and answers: it is read without a panic and comes to an end, and what is no signature is none.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use menshen::Result;
use menshen::device::chip::apdu::Command;
use menshen::device::chip::card::Card;
use menshen::device::chip::certificate::Certificate;
use menshen::device::chip::security_info::SecurityInfos;
use menshen::device::chip::session::knows_extended_length;
use menshen::device::chip::signature::PublicKey;
use menshen::device::chip::sod::SecurityObject;
use menshen::device::chip::tlv::Objects;
use menshen::device::chip::{AccessKey, Trust, Wanted, dg1, face, read};

/// A card whose answers stand one behind the other, each with its length before it; then it is gone.
struct Answers<'a>(&'a [u8]);

impl Card for Answers<'_> {
    fn transmit(&mut self, _: &[u8]) -> Result<Vec<u8>> {
        let gone = || menshen::Error::new(menshen::Kind::Device, "gone");
        let (length, rest) = self.0.split_first().ok_or_else(gone)?;
        let (answer, rest) = rest.split_at_checked(usize::from(*length)).ok_or_else(gone)?;
        self.0 = rest;
        Ok(answer.to_vec())
    }

    fn atr(&self) -> &[u8] {
        &[0x3b, 0]
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut objects = Objects::new(bytes);
    let mut length = 0;
    while let Ok(Some(object)) = objects.take() {
        length += object.whole.len();
    }
    assert!(length <= bytes.len());
    let _ = dg1::zone(bytes, Wanted::default().now.date());
    let _ = face::picture(bytes);
    let _ = SecurityInfos::read(bytes);
    let _ = PublicKey::read(bytes);
    let _ = Certificate::read(bytes);
    let _ = Command::read(bytes);
    let _ = knows_extended_length(bytes);
    if let Ok(object) = SecurityObject::read(bytes) {
        let verdict = object.check(&[(1, Some(bytes))], &Trust::none(), Wanted::default().now).verdict();
        assert_ne!(verdict, Some(true), "nobody is believed");
    }
    let key = AccessKey::mrz("L898902C3", "740812", "491231").expect("a key of the specimen");
    let wanted = Wanted { patience: Duration::from_secs(5), ..Wanted::default() };
    assert!(read(&mut Answers(bytes), &key, &Trust::none(), &wanted).is_err());
});
