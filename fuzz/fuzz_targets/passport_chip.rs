//! Whatever a chip holds and answers: it is read without a panic and comes to an end, what is no signature is none, and what
//! was changed after it was signed is not genuine. Besides answers of any bytes there is a virtual passport, so that what
//! comes behind the opening is reached: its files are changed, and what it says on the wire.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use menshen::Result;
use menshen::device::chip::apdu::Command;
use menshen::device::chip::card::Card;
use menshen::device::chip::certificate::Certificate;
use menshen::device::chip::security_info::SecurityInfos;
use menshen::device::chip::session::{files, knows_extended_length};
use menshen::device::chip::signature::PublicKey;
use menshen::device::chip::sod::SecurityObject;
use menshen::device::chip::tlv::Objects;
use menshen::device::chip::{AccessKey, Trust, Wanted, dg1, face, read};
use menshen::simulate::passport::{Authority, Options, Passport, VirtualChip};

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

/// A virtual chip on a line that turns bits of one of its answers.
struct Noisy<'a> {
    chip: VirtualChip,
    /// Before so many answers.
    after: usize,
    noise: &'a [u8],
}

impl Card for Noisy<'_> {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
        let mut answer = self.chip.transmit(apdu)?;
        if self.after == 0 {
            answer.iter_mut().zip(std::mem::take(&mut self.noise)).for_each(|(byte, noise)| *byte ^= noise);
        }
        self.after = self.after.saturating_sub(1);
        Ok(answer)
    }

    fn atr(&self) -> &[u8] {
        Card::atr(&self.chip)
    }
}

/// A passport whose authority is believed.
fn issued() -> &'static (Passport, Trust) {
    static ISSUED: OnceLock<(Passport, Trust)> = OnceLock::new();
    ISSUED.get_or_init(|| {
        let authority = Authority::new("Authority of the fuzzer").expect("there are random numbers");
        let passport = Passport::issue(&authority, Options::default()).expect("the specimen is a passport");
        let mut trust = Trust::none();
        trust.add(authority.certificate()).expect("it is an authority");
        (passport, trust)
    })
}

/// Reads the passport with one file changed, and a noise on the line.
fn changed(bytes: &[u8]) {
    let Some((&[file, high, low, after], noise)) = bytes.split_first_chunk() else { return };
    let (passport, trust) = issued();
    let all = [files::DG1, files::DG2, files::DG14, files::SOD, files::COM, files::CARD_ACCESS];
    let file = all[usize::from(file) % all.len()];
    let before = passport.file(file.id).expect("it has them all");
    let mut after_it = before.to_vec();
    let at = usize::from(u16::from_be_bytes([high, low])) % before.len();
    let (change, noise) = noise.split_at(noise.len() / 2);
    after_it[at..].iter_mut().zip(change).for_each(|(byte, change)| *byte ^= change);
    // The state has signed these three whole.
    let signed = [files::DG1, files::DG2, files::DG14].contains(&file) && after_it != before;
    let passport = passport.with_file(file.id, after_it);
    let mut card = Noisy { chip: passport.chip(), after: usize::from(after), noise };
    let wanted = Wanted { patience: Duration::from_secs(5), ..Wanted::default() };
    if let Ok(read) = read(&mut card, passport.key(), trust, &wanted) {
        let genuine = read.reading.chip.and_then(|chip| chip.signed) == Some(true);
        assert!(!(genuine && signed), "{} was changed", file.name);
        assert!(genuine || read.reading.document.photo.is_none(), "its photo is anybody's");
    }
}

fuzz_target!(|bytes: &[u8]| {
    changed(bytes);
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
