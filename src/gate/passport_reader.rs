//! The reader of passports (`device.id_reader = "pcsc:READER"`): a document camera, and beneath its plate a contactless
//! reader of chips. The lines that the camera reads open the chip; what both tell becomes one reading.

use std::time::Duration;

use crate::clock::SharedClock;
use crate::device::chip::{self, AccessKey, Card, ChipReading, Signed, Trust};
use crate::device::id_reader::{IdReader, Wanted};
use crate::device::pcsc;
use crate::document::mrz::Zone;
use crate::document::{Document, Happening, Reading};
use crate::error::{Error, Kind, Result};

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

    /// Whatever lies there counts as not given out: a page was laid down or taken away, and what its chip has said, or has
    /// failed to say, holds for that page no longer.
    fn anew(&mut self);
}

impl ChipField for pcsc::Reader {
    fn chip(&mut self, within: Duration) -> Result<Option<Box<dyn Card>>> {
        Ok(self.wait_card(within)?.map(|card| Box::new(card) as Box<dyn Card>))
    }

    fn anew(&mut self) {
        self.anew();
    }
}

/// Tells whom to believe; asked until it can be told.
pub type Authorities = Box<dyn FnMut() -> Result<Trust> + Send>;

/// A camera that reads pages, and a field that reads their chips.
pub struct PassportReader {
    page: Box<dyn IdReader>,
    field: Box<dyn ChipField>,
    authorities: Authorities,
    /// Once it was told.
    trust: Option<Trust>,
    clock: SharedClock,
    /// The field did not work when it was wanted last: said once.
    field_failed: bool,
}

impl PassportReader {
    /// Of a reader of pages that tells lines, and a field. As long as `authorities` cannot tell whom to believe, nothing is
    /// read: a reader that believed nobody instead would take forged chips.
    pub fn new(
        page: Box<dyn IdReader>,
        field: Box<dyn ChipField>,
        authorities: Authorities,
        clock: SharedClock,
    ) -> Self {
        Self { page, field, authorities, trust: None, clock, field_failed: false }
    }

    fn trust(&mut self) -> Result<&Trust> {
        if self.trust.is_none() {
            let trust = (self.authorities)()?;
            if trust.is_empty() {
                tracing::warn!(
                    "documents.csca_dir is empty: anybody can make a chip that opens. The photos of chips are not \
                     compared with their holders"
                );
            }
            self.trust = Some(trust);
        }
        Ok(self.trust.get_or_insert_default())
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

    fn read(&mut self, chip: &mut dyn Card, page: &Reading) -> Result<ChipReading> {
        let now = self.clock.now().to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let zone = Zone::parse(&page.mrz, now.date())?;
        let wanted = chip::Wanted { now, ..chip::Wanted::default() };
        chip::read(chip, &AccessKey::zone(&zone), self.trust()?, &wanted)
    }

    /// A chip that its state did not sign, or that is a copy, is no document. Where nobody is believed, because no
    /// authority is configured, nothing is said of it, and its photo is none to compare with ([`chip::read`]). Of the page's
    /// lines those facts must be the chip's that make the document this one; a name that is written otherwise is a note.
    fn judged(&self, read: ChipReading, page: Reading) -> Happening {
        let verdict = read.reading.chip.unwrap_or_default();
        let signed = read.signed.as_ref().map(Signed::to_string).unwrap_or_default();
        let facts = |document: &Document| {
            let Document { kind, number, issuing_state, birthday, expires, .. } = document.clone();
            (kind, number, issuing_state, birthday, expires)
        };
        let another = facts(&read.reading.document) != facts(&page.document);
        let read = read.with_page(page);
        tracing::info!(?verdict, signed, notes = ?read.notes, "the chip of a document was read");
        let refused = match verdict {
            _ if verdict.signed == Some(false) => {
                Some(format!("the chip is not what a state has signed: {signed}"))
            }
            _ if verdict.original == Some(false) => Some("the chip does not show that it is no copy".into()),
            _ if another => Some("the lines of the page are not those of the chip".into()),
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
        // Before anything is read of which nobody could say whether it is genuine.
        self.trust()?;
        let happening = self.page.look(wanted)?;
        if let Some(Happening::Detected | Happening::TakenAway) = happening {
            self.field.anew();
        }
        Ok(match happening {
            // Whoever does not want the chip is shown nothing of it; whether the document is genuine is asked all the same.
            Some(Happening::Read(page)) if !page.mrz.is_empty() => {
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
    use crate::simulate::passport::{Authority, Fault, Options, Passport, passport_lines};

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

    /// A field with a chip that stays there until it is another's, and is given out once for each page.
    struct Field {
        chip: Option<Passport>,
        given: bool,
        /// How often connecting it fails from now on.
        weak: usize,
        unplugged: bool,
    }

    fn field_with(passport: &Passport) -> Field {
        Field { chip: Some(passport.clone()), given: false, weak: 0, unplugged: false }
    }

    impl ChipField for Field {
        fn chip(&mut self, _: Duration) -> Result<Option<Box<dyn Card>>> {
            if self.unplugged {
                return Err(Error::new(Kind::Device, "the reader was unplugged"));
            }
            if self.weak > 0 {
                self.weak -= 1;
                return Err(Error::new(Kind::Device, "the card does not answer"));
            }
            let chip = self.chip.as_ref().filter(|_| !std::mem::replace(&mut self.given, true));
            Ok(chip.map(|passport| Box::new(passport.chip()) as Box<dyn Card>))
        }

        fn anew(&mut self) {
            self.given = false;
        }
    }

    fn passport(authority: &Authority, fault: Option<Fault>) -> Passport {
        Passport::issue(authority, Options { fault, ..Options::default() }).unwrap()
    }

    fn page_of(lines: &[String]) -> Reading {
        Zone::parse(lines, date(2027, 3, 1)).unwrap().into_reading()
    }

    /// A reader that believes the authority, if one is given, with these happenings at its page.
    fn reader(authority: Option<&Authority>, happenings: Vec<Happening>, field: Field) -> PassportReader {
        let mut trust = Trust::none();
        if let Some(authority) = authority {
            trust.add(authority.certificate()).unwrap();
        }
        let page = Box::new(Page(happenings.into()));
        let clock = ManualClock::new("2027-03-01T12:00:00Z".parse().unwrap());
        PassportReader::new(page, Box::new(field), Box::new(move || Ok(trust.clone())), clock)
    }

    /// What becomes of a page with a field, where the authority is believed.
    fn laid_down(authority: Option<&Authority>, page: Reading, field: Field) -> Happening {
        let happenings = vec![Happening::Detected, Happening::Read(Arc::new(page))];
        let mut reader = reader(authority, happenings, field);
        assert!(matches!(reader.look(&Wanted::default()).unwrap(), Some(Happening::Detected)));
        reader.look(&Wanted::default()).unwrap().expect("something becomes of it")
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
        let reading = read(laid_down(Some(&authority), page_of(passport.lines()), field_with(&passport)));
        assert_eq!(reading.chip, Some(ChipVerdict { signed: Some(true), original: Some(true) }));
        assert_eq!(
            reading.document.photo.as_deref(),
            Some(passport.photo()),
            "only the chip's can be proved"
        );
        assert_eq!(reading.mrz, passport.lines());
    }

    #[test]
    fn without_anybody_to_believe_no_photo_is_the_holders() {
        // Whoever has a card printer's worth of chips: their own authority, their own photo, somebody's lines.
        let home_made = passport(&Authority::new("Home-made").unwrap(), None);
        let reading = read(laid_down(None, page_of(home_made.lines()), field_with(&home_made)));
        assert_eq!(reading.chip, Some(ChipVerdict { signed: None, original: Some(true) }));
        assert!(reading.document.photo.is_none(), "it would open the gate to whom it shows");
        assert_eq!(reading.pictures.chip_photo.as_deref(), Some(home_made.photo()), "it may be shown");
    }

    #[test]
    fn a_page_without_a_chip_is_read_alone_and_has_no_photo() {
        let authority = Authority::new("Authority under test").unwrap();
        let passport = passport(&authority, None);
        for field in [
            Field { chip: None, ..field_with(&passport) },
            Field { unplugged: true, ..field_with(&passport) },
        ] {
            let reading = read(laid_down(Some(&authority), page_of(passport.lines()), field));
            assert_eq!((reading.chip, reading.document.photo.is_none()), (None, true));
            assert_eq!(reading.document.number, "L898902C3");
        }
    }

    #[test]
    fn genuineness_is_asked_whatever_is_wanted() {
        let authority = Authority::new("Authority under test").unwrap();
        let wanted = Wanted { chip: false, viz: false, mrz: false, bar_code: false };
        for (fault, genuine) in [(None, true), (Some(Fault::UnknownSigner), false)] {
            let passport = passport(&authority, fault);
            let page = Happening::Read(Arc::new(page_of(passport.lines())));
            let mut reader = reader(Some(&authority), vec![page], field_with(&passport));
            let happened = reader.look(&wanted).unwrap().unwrap();
            assert_eq!(matches!(happened, Happening::Read(_)), genuine, "{happened:?}");
        }
    }

    #[test]
    fn a_chip_that_was_refused_is_refused_again_with_the_same_page() {
        let authority = Authority::new("Authority under test").unwrap();
        let forged = passport(&authority, Some(Fault::UnknownSigner));
        let page = Arc::new(page_of(forged.lines()));
        let laid = || [Happening::Detected, Happening::Read(Arc::clone(&page)), Happening::TakenAway];
        let mut reader = reader(Some(&authority), [laid(), laid()].concat(), field_with(&forged));
        let mut why = Vec::new();
        while let Some(happening) = reader.look(&Wanted::default()).unwrap() {
            match happening {
                Happening::Read(_) => panic!("its page alone is believed"),
                Happening::Failed { why: said } => why.push(said),
                _ => {}
            }
        }
        assert!(why.len() == 2 && why[0] == why[1], "{why:?}");
    }

    #[test]
    fn a_chip_that_did_not_answer_is_read_when_it_is_laid_down_anew() {
        let authority = Authority::new("Authority under test").unwrap();
        let passport = passport(&authority, None);
        let page = Arc::new(page_of(passport.lines()));
        let laid = || [Happening::Detected, Happening::Read(Arc::clone(&page))];
        let field = Field { weak: 1, ..field_with(&passport) };
        let mut reader = reader(Some(&authority), [laid(), laid()].concat(), field);
        let mut looks = std::iter::from_fn(|| reader.look(&Wanted::default()).unwrap());
        assert_eq!(read(looks.nth(1).unwrap()).chip, None);
        assert!(read(looks.nth(1).unwrap()).chip.is_some());
        assert!(!reader.field_failed, "the next time it fails is told again");
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
            let why = failed(laid_down(Some(&authority), page_of(passport.lines()), field_with(&passport)));
            assert!(why.contains(said), "{fault:?}: {why}");
            assert!(!why.contains("L898902C3") && !why.contains("ERIKSSON"), "{why}");
        }
    }

    #[test]
    fn another_documents_chip_is_not_taken_for_the_pages() {
        let authority = Authority::new("Authority under test").unwrap();
        let passport = passport(&authority, None);
        let other = passport_lines("AB2134", "740812", "F", "491231", "SPECIMEN<<ANNA");
        let why = failed(laid_down(Some(&authority), page_of(&other), field_with(&passport)));
        assert!(why.contains("the chip could not be read"), "{why}");
        // The state is not in the chip's key; nor is the kind.
        let mut other = passport.lines().to_vec();
        other[0].replace_range(2..5, "D<<");
        let why = failed(laid_down(Some(&authority), page_of(&other), field_with(&passport)));
        assert_eq!(why, "the lines of the page are not those of the chip");
        // Nor the name, which states shorten and cameras misread: the chip's is taken.
        let mut other = passport.lines().to_vec();
        other[0] = other[0].replace("ANNA", "ANNE");
        let reading = read(laid_down(Some(&authority), page_of(&other), field_with(&passport)));
        assert_eq!(reading.document.name, "ERIKSSON ANNA MARIA");
        assert!(reading.document.photo.is_some());
    }

    #[test]
    fn nothing_is_read_before_it_is_known_whom_to_believe() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("Authority under test").unwrap();
        let passport = passport(&authority, None);
        let page = Happening::Read(Arc::new(page_of(passport.lines())));
        let csca_dir = folder.path().join("csca").to_str().unwrap().to_owned();
        let documents = crate::config::Documents { csca_dir: csca_dir.clone() };
        let mut reader = PassportReader::new(
            Box::new(Page(VecDeque::from([page]))),
            Box::new(field_with(&passport)),
            Box::new(move || Trust::open(&documents)),
            ManualClock::new("2027-03-01T12:00:00Z".parse().unwrap()),
        );
        let mut why = || reader.look(&Wanted::default()).unwrap_err().to_string();
        assert!(why().contains("csca of signing authorities cannot be read"));
        std::fs::create_dir(&csca_dir).unwrap();
        assert!(why().contains("holds no certificate of a signing authority"));
        // No restart is needed once it is there.
        std::fs::write(std::path::Path::new(&csca_dir).join("a.cer"), authority.certificate()).unwrap();
        let reading = read(reader.look(&Wanted::default()).unwrap().unwrap());
        assert_eq!(reading.chip.unwrap().signed, Some(true));
    }

    #[test]
    fn the_field_is_named_by_the_configuration() {
        assert!(field("pcsc:ACR").is_ok() && field("pcsc").is_ok());
        assert_eq!(field("camera").err().map(|error| error.kind()), Some(Kind::Config));
    }
}
