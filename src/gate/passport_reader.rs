//! The reader of passports (`device.id_reader = "pcsc:READER"`): a document camera, and beneath its plate a contactless
//! reader of chips. The lines that the camera reads open the chip; what both tell becomes one reading.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::device::chip::{self, AccessKey, Card, ChipReading, Signed, Trust};
use crate::device::id_reader::{IdReader, Wanted};
use crate::device::pcsc;
use crate::document::{Happening, Reading};
use crate::error::{Error, Kind, Result};
use crate::vision::mrz::Zone;

/// How long a chip is waited for once the lines are read: a passport is laid down in one piece, and its chip answers
/// within some hundred milliseconds.
const CHIP_WITHIN: Duration = Duration::from_secs(2);

/// A field in which chips may be laid.
pub trait ChipField: Send {
    /// The chip that lies there and was not given out before, as soon as one does, or nothing `within` this time.
    ///
    /// # Errors
    /// `Device`: the field is not there.
    fn chip(&mut self, within: Duration) -> Result<Option<Box<dyn Card>>>;
}

impl ChipField for pcsc::Reader {
    fn chip(&mut self, within: Duration) -> Result<Option<Box<dyn Card>>> {
        Ok(self.wait_card(within)?.map(|card| Box::new(card) as Box<dyn Card>))
    }
}

/// A camera that reads pages, and a field that reads their chips.
pub struct PassportReader {
    page: Box<dyn IdReader>,
    field: Box<dyn ChipField>,
    trust: Trust,
    clock: SharedClock,
    /// The field did not work when it was wanted last: said once.
    field_failed: bool,
}

impl PassportReader {
    /// Of a reader of pages that tells lines, and a field. Chips are believed by `trust`.
    pub fn new(page: Box<dyn IdReader>, field: Box<dyn ChipField>, trust: Trust, clock: SharedClock) -> Self {
        Self { page, field, trust, clock, field_failed: false }
    }

    /// What becomes of a page that was read.
    fn with_chip(&mut self, page: Reading) -> Happening {
        let chip = match self.field.chip(CHIP_WITHIN) {
            Ok(chip) => {
                self.field_failed = false;
                chip
            }
            Err(error) => {
                if !std::mem::replace(&mut self.field_failed, true) {
                    tracing::warn!(%error, "chips of passports cannot be read: the page alone is read");
                }
                None
            }
        };
        // A document without a chip, or whose chip lies elsewhere, is its page.
        let Some(mut chip) = chip else { return Happening::Read(page.into()) };
        match self.read(chip.as_mut(), &page) {
            Ok(read) => self.judged(read, page),
            Err(error) => {
                tracing::info!(%error, "the chip of a document could not be read");
                Happening::Failed { why: format!("the chip could not be read: {error}") }
            }
        }
    }

    fn read(&self, chip: &mut dyn Card, page: &Reading) -> Result<ChipReading> {
        let now = self.clock.now().to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let zone = Zone::parse(&page.mrz, now.date())?;
        let wanted = chip::Wanted { now, ..chip::Wanted::default() };
        chip::read(chip, &AccessKey::zone(&zone), &self.trust, &wanted)
    }

    /// A chip that its state did not sign, or that is a copy, is no document. Where nobody is believed, because no
    /// authority is configured, nothing is said of it.
    fn judged(&self, read: ChipReading, page: Reading) -> Happening {
        let verdict = read.reading.chip.unwrap_or_default();
        let signed = read.signed.as_ref().map(Signed::to_string).unwrap_or_default();
        let lines_differ = read.reading.mrz != page.mrz;
        let read = read.with_page(page);
        tracing::info!(?verdict, signed, notes = ?read.notes, "the chip of a document was read");
        let refused = match verdict {
            _ if verdict.signed == Some(false) => {
                Some(format!("the chip is not what a state has signed: {signed}"))
            }
            _ if verdict.original == Some(false) => Some("the chip does not show that it is no copy".into()),
            _ if lines_differ => Some("the lines of the page are not those of the chip".into()),
            _ => None,
        };
        match refused {
            Some(why) => Happening::Failed { why },
            None => Happening::Read(read.reading.into()),
        }
    }
}

impl IdReader for PassportReader {
    fn name(&self) -> &str {
        self.page.name()
    }

    fn look(&mut self, wanted: &Wanted) -> Result<Option<Happening>> {
        Ok(match self.page.look(wanted)? {
            Some(Happening::Read(page)) if wanted.chip && !page.mrz.is_empty() => {
                Some(self.with_chip(Reading::clone(&page)))
            }
            other => other,
        })
    }

    fn period(&self) -> Duration {
        self.page.period()
    }
}

/// The reader of chips that `device.id_reader` names. `Config` if it names none.
pub fn field(name: &str) -> Result<pcsc::Reader> {
    let part = pcsc::part(name).ok_or_else(|| {
        Error::new(
            Kind::Config,
            format!("device.id_reader = {name:?} names no reader of chips: \"pcsc:READER\""),
        )
    })?;
    Ok(pcsc::Reader::new(part))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;

    use jiff::civil::date;

    use super::*;
    use crate::clock::ManualClock;
    use crate::document::ChipVerdict;
    use crate::simulate::passport::{Authority, Fault, Options, Passport};

    /// A page that tells what it is given.
    struct Page(VecDeque<Happening>);

    impl IdReader for Page {
        fn name(&self) -> &str {
            "page"
        }

        fn look(&mut self, _: &Wanted) -> Result<Option<Happening>> {
            Ok(self.0.pop_front())
        }

        fn period(&self) -> Duration {
            Duration::ZERO
        }
    }

    /// A field in which something lies, once.
    enum Field {
        Chip(Option<Box<dyn Card + Send>>),
        Unplugged,
    }

    impl ChipField for Field {
        fn chip(&mut self, _: Duration) -> Result<Option<Box<dyn Card>>> {
            match self {
                Field::Chip(chip) => Ok(chip.take().map(|chip| chip as Box<dyn Card>)),
                Field::Unplugged => Err(Error::new(Kind::Device, "the reader was unplugged")),
            }
        }
    }

    fn passport(authority: &Authority, fault: Option<Fault>) -> &'static Passport {
        let options = Options { fault, ..Options::default() };
        // A virtual chip borrows its passport, and a field gives chips away.
        Box::leak(Box::new(Passport::issue(authority, options).unwrap()))
    }

    fn page_of(lines: &[String]) -> Reading {
        Zone::parse(lines, date(2027, 3, 1)).unwrap().into_reading()
    }

    /// What becomes of a page with a field, where the authority is believed.
    fn laid_down(authority: Option<&Authority>, page: Reading, field: Field, wanted: &Wanted) -> Happening {
        let mut trust = Trust::none();
        if let Some(authority) = authority {
            trust.add(authority.certificate()).unwrap();
        }
        let page = Page(VecDeque::from([Happening::Detected, Happening::Read(Arc::new(page))]));
        let clock = ManualClock::new("2027-03-01T12:00:00Z".parse().unwrap());
        let mut reader = PassportReader::new(Box::new(page), Box::new(field), trust, clock);
        assert!(matches!(reader.look(wanted).unwrap(), Some(Happening::Detected)));
        reader.look(wanted).unwrap().expect("something becomes of it")
    }

    fn read(happening: Happening) -> Arc<Reading> {
        match happening {
            Happening::Read(reading) => reading,
            other => panic!("{other:?}"),
        }
    }

    fn failed(happening: Happening) -> String {
        match happening {
            Happening::Failed { why } => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn page_and_chip_become_one_reading() {
        let authority = Authority::new("Authority under test").unwrap();
        let passport = passport(&authority, None);
        let field = Field::Chip(Some(Box::new(passport.chip())));
        let reading = read(laid_down(Some(&authority), page_of(passport.lines()), field, &Wanted::default()));
        assert_eq!(reading.chip, Some(ChipVerdict { signed: Some(true), original: Some(true) }));
        assert_eq!(
            reading.document.photo.as_deref(),
            Some(passport.photo()),
            "only the chip's can be proved"
        );
        assert_eq!(reading.mrz, passport.lines());
        // Without anybody to believe nothing is said of the signature.
        let field = Field::Chip(Some(Box::new(passport.chip())));
        let reading = read(laid_down(None, page_of(passport.lines()), field, &Wanted::default()));
        assert_eq!(reading.chip, Some(ChipVerdict { signed: None, original: Some(true) }));
    }

    #[test]
    fn a_page_without_a_chip_is_read_alone_and_has_no_photo() {
        let authority = Authority::new("Authority under test").unwrap();
        let passport = passport(&authority, None);
        for field in [Field::Chip(None), Field::Unplugged] {
            let reading =
                read(laid_down(Some(&authority), page_of(passport.lines()), field, &Wanted::default()));
            assert_eq!((reading.chip, reading.document.photo.is_none()), (None, true));
            assert_eq!(reading.document.number, "L898902C3");
        }
        // Nobody wants the chip: it is left alone.
        let field = Field::Chip(Some(Box::new(passport.chip())));
        let wanted = Wanted { chip: false, ..Wanted::default() };
        assert_eq!(read(laid_down(Some(&authority), page_of(passport.lines()), field, &wanted)).chip, None);
    }

    #[test]
    fn what_is_forged_copied_or_torn_is_no_document() {
        let authority = Authority::new("Authority under test").unwrap();
        for (fault, said) in [
            (Fault::ReplacedGroup, "not what a state has signed"),
            (Fault::UnknownSigner, "not what a state has signed"),
            (Fault::Cloned, "no copy"),
            (Fault::WrongMac, "the chip could not be read"),
        ] {
            let passport = passport(&authority, Some(fault));
            let field = Field::Chip(Some(Box::new(passport.chip())));
            let why =
                failed(laid_down(Some(&authority), page_of(passport.lines()), field, &Wanted::default()));
            assert!(why.contains(said), "{fault:?}: {why}");
            assert!(!why.contains("L898902C3") && !why.contains("ERIKSSON"), "{why}");
        }
    }

    #[test]
    fn another_documents_chip_is_not_taken_for_the_pages() {
        let authority = Authority::new("Authority under test").unwrap();
        let passport = passport(&authority, None);
        let other =
            crate::simulate::passport::passport_lines("AB2134", "740812", "F", "491231", "SPECIMEN<<ANNA");
        let field = Field::Chip(Some(Box::new(passport.chip())));
        let why = failed(laid_down(Some(&authority), page_of(&other), field, &Wanted::default()));
        assert!(why.contains("the chip could not be read"), "{why}");
    }

    #[test]
    fn the_field_is_named_by_the_configuration() {
        assert!(field("pcsc:ACR").is_ok() && field("pcsc").is_ok());
        assert_eq!(field("camera").err().map(|error| error.kind()), Some(Kind::Config));
    }
}
