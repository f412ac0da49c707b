//! What lies on the reader, as far as the service knows, and for how long what was read of it is kept. Nothing is kept for
//! a page that was not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OnceCell;
use tokio::time::{Duration, Instant};

use super::content::Album;
use crate::document::Reading;

/// How long what was read of a document is kept after it was taken away, for the pages that were told of it and ask for
/// its pictures then.
pub(super) const KEPT: Duration = Duration::from_secs(60);

/// How long it is kept at most, for a reader that does not notice that a document was taken away.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// Documents in a row that cannot be read, after which pages are told to ask for help.
const HELPLESS: u32 = 3;

/// A document that was read.
pub(super) struct Read {
    /// One number for each.
    pub number: u64,
    /// What was read of it.
    pub reading: Arc<Reading>,
    /// Its pictures, once they have been made.
    pub album: OnceCell<Album>,
    /// Whether a page was told of it.
    told: AtomicBool,
}

impl Read {
    /// A page is told of it.
    pub(super) fn tell(&self) {
        self.told.store(true, Ordering::Relaxed);
    }
}

/// The plate of the reader.
#[derive(Default)]
pub(super) struct Plate {
    read: Option<Arc<Read>>,
    /// Whether a document lies there, as far as is known.
    lying: bool,
    /// When what was read is to be forgotten.
    forget: Option<Instant>,
    last: u64,
    failures: u32,
}

impl Plate {
    /// A document was laid down.
    pub(super) fn detected(&mut self) {
        self.clear();
        self.lying = true;
    }

    /// It was read.
    pub(super) fn read(&mut self, reading: Arc<Reading>, now: Instant) -> Arc<Read> {
        self.last += 1;
        let read = Arc::new(Read {
            number: self.last,
            reading,
            album: OnceCell::new(),
            told: AtomicBool::new(false),
        });
        (self.lying, self.failures, self.forget) = (true, 0, Some(now + LONGEST));
        self.read = Some(Arc::clone(&read));
        read
    }

    /// It could not be read; whether that has happened so often that somebody should help.
    pub(super) fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures == HELPLESS
    }

    /// It was taken away.
    pub(super) fn taken_away(&mut self, now: Instant) {
        self.lying = false;
        if self.read.as_ref().is_some_and(|read| read.told.load(Ordering::Relaxed)) {
            self.forget = self.forget.map(|until| until.min(now + KEPT));
        } else {
            (self.read, self.forget) = (None, None);
        }
    }

    /// Nothing is known of what lies there: the reader is away, or was not followed.
    pub(super) fn clear(&mut self) {
        (self.lying, self.read, self.forget) = (false, None, None);
    }

    /// When [`Plate::forget`] has something to do.
    pub(super) fn forgets_at(&self) -> Option<Instant> {
        self.forget
    }

    /// Forgets what was kept long enough.
    pub(super) fn forget(&mut self, now: Instant) {
        if self.forget.is_some_and(|until| now >= until) {
            (self.read, self.forget) = (None, None);
        }
    }

    /// Whether a document lies there.
    pub(super) fn lies_there(&self) -> bool {
        self.lying
    }

    /// What was read of the document that lies there.
    pub(super) fn lying(&mut self, now: Instant) -> Option<Arc<Read>> {
        self.forget(now);
        self.read.clone().filter(|_| self.lying)
    }

    /// The same, also shortly after it was taken away for a page that was told of the document of this number last.
    pub(super) fn last(&mut self, told: Option<u64>, now: Instant) -> Option<Arc<Read>> {
        self.forget(now);
        self.read.clone().filter(|read| self.lying || told == Some(read.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn what_was_taken_away_is_there_for_a_minute_for_pages_that_were_told_of_it() {
        let now = Instant::now();
        let mut plate = Plate::default();
        plate.detected();
        assert!(plate.lies_there() && plate.lying(now).is_none());
        let number = {
            let read = plate.read(Arc::default(), now);
            read.tell();
            read.number
        };
        assert_eq!(plate.last(None, now).unwrap().number, number, "it lies there");
        let gone = now + SECOND;
        plate.taken_away(gone);
        assert!(plate.lying(gone).is_none() && !plate.lies_there());
        for stranger in [None, Some(number + 1), Some(number - 1)] {
            assert!(plate.last(stranger, gone).is_none(), "{stranger:?}");
        }
        assert!(plate.last(Some(number), gone + KEPT - SECOND).is_some());
        assert_eq!(plate.forgets_at(), Some(gone + KEPT));
        assert!(plate.last(Some(number), gone + KEPT).is_none());
        assert_eq!(plate.forgets_at(), None);
        assert!(plate.read(Arc::default(), gone).number > number);
    }

    #[tokio::test]
    async fn what_no_page_was_told_of_is_not_kept() {
        let now = Instant::now();
        let mut plate = Plate::default();
        let read = plate.read(Arc::default(), now);
        plate.taken_away(now);
        assert!(plate.last(Some(read.number), now).is_none());
        assert_eq!(Arc::strong_count(&read), 1, "nobody else has it");
    }

    #[tokio::test]
    async fn what_is_never_taken_away_is_forgotten_all_the_same() {
        let now = Instant::now();
        let mut plate = Plate::default();
        plate.read(Arc::default(), now).tell();
        assert!(plate.lying(now + LONGEST - SECOND).is_some());
        assert!(plate.lying(now + LONGEST).is_none());
        assert!(plate.lies_there(), "as far as is known");
        // Taking it away late does not keep it any longer than that.
        let read = plate.read(Arc::default(), now);
        read.tell();
        plate.taken_away(now + LONGEST - SECOND);
        assert!(plate.last(Some(read.number), now + LONGEST).is_none());
    }

    #[tokio::test]
    async fn one_document_makes_room_for_the_next() {
        let now = Instant::now();
        let mut plate = Plate::default();
        let first = plate.read(Arc::default(), now);
        first.tell();
        plate.detected();
        assert!(plate.last(Some(first.number), now).is_none());
        plate.read(Arc::default(), now).tell();
        plate.clear();
        assert!(!plate.lies_there() && plate.last(Some(first.number + 1), now).is_none());
    }
}
