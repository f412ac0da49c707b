//! A passport in a reader of passports: its page under a camera, and beneath it the chip.

use std::sync::Arc;
use std::time::Duration;

use menshen::Result;
use menshen::clock::ManualClock;
use menshen::device::chip::{Card, Trust};
use menshen::device::id_reader::{IdReader, Wanted};
use menshen::document::{Happening, Reading};
use menshen::gate::passport_reader::{ChipField, PassportReader};
use menshen::simulate::passport::{Authority, Passport};

struct Page(Option<Happening>);

impl IdReader for Page {
    fn name(&self) -> &str {
        "page"
    }

    fn look(&mut self, _: &Wanted) -> Result<Option<Happening>> {
        Ok(self.0.take())
    }

    fn period(&self) -> Duration {
        Duration::ZERO
    }
}

struct Field(Option<Passport>);

impl ChipField for Field {
    fn chip(&mut self, _: Duration) -> Result<Option<Box<dyn Card>>> {
        Ok(self.0.take().map(|passport| Box::new(passport.chip()) as Box<dyn Card>))
    }

    fn anew(&mut self) {}
}

/// What becomes of a page over the chip of `passport`, on 1 March 2027, where `believed` is the only authority.
pub fn laid_down(page: Reading, passport: &Passport, believed: Option<&Authority>) -> Option<Happening> {
    let certificate = believed.map(|authority| authority.certificate().to_vec());
    let authorities = Box::new(move || {
        let mut trust = Trust::none();
        if let Some(certificate) = &certificate {
            trust.add(certificate)?;
        }
        Ok(trust)
    });
    let clock = ManualClock::new("2027-03-01T12:00:00Z".parse().unwrap());
    let page = Page(Some(Happening::Read(Arc::new(page))));
    let field = Field(Some(passport.clone()));
    let mut reader = PassportReader::new(Box::new(page), Box::new(field), authorities, clock);
    reader.look(&Wanted::default()).unwrap()
}
