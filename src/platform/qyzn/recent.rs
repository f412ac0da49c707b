//! Which records are of now: an answer that orders something (`screenDisp`, `opendoor`) is meant for the visitor of
//! that record, who is gone when a record of last Tuesday is answered.
//!
//! By the monotonic clock, for the gate's own may be set at any time, and by the numbers of the records, which only
//! grow: one that is not behind a number that was seen a minute ago is older than that.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::RecordId;

/// How old a record may be when the answer comes.
pub const RECENT: Duration = Duration::from_secs(60);
/// Numbers seen within this time are noted as one.
const STEP: Duration = Duration::from_secs(1);

/// The numbers that were seen within the last [`RECENT`].
#[derive(Debug, Default)]
pub struct Recent {
    /// All up to this one are old.
    old: Option<RecordId>,
    seen: VecDeque<(Instant, RecordId)>,
}

impl Recent {
    /// All up to `record` are old.
    pub fn begin_after(&mut self, record: Option<RecordId>) {
        self.old = self.old.max(record);
    }

    /// `record` is there by now.
    pub fn note(&mut self, record: RecordId, now: Instant) {
        self.forget(now);
        match self.seen.back_mut() {
            Some((at, newest)) if now < *at + STEP => *newest = record.max(*newest),
            Some((_, newest)) if record <= *newest => {}
            _ => self.seen.push_back((now, record)),
        }
    }

    /// Whether `record` was made within the last [`RECENT`].
    pub fn is_recent(&mut self, record: RecordId, now: Instant) -> bool {
        self.forget(now);
        Some(record) > self.old
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, record)) = self.seen.front()
            && *at + RECENT <= now
        {
            self.old = self.old.max(Some(*record));
            self.seen.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_after_it_was_seen_a_record_is_old_and_so_are_all_before_it() {
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let mut recent = Recent::default();
        recent.begin_after(Some(RecordId(100)));
        assert!(!recent.is_recent(RecordId(100), began));
        // Answered before the word of it has come.
        assert!(recent.is_recent(RecordId(101), began));
        recent.note(RecordId(103), at(0));
        recent.note(RecordId(102), at(5000));
        recent.note(RecordId(105), at(30_000));
        let mut all = |now| (100..=106).filter(|id| recent.is_recent(RecordId(*id), now)).collect::<Vec<_>>();
        assert_eq!(all(at(59_999)), [101, 102, 103, 104, 105, 106]);
        assert_eq!(all(at(60_000)), [104, 105, 106]);
        assert_eq!(all(at(90_000)), [106]);
        recent.begin_after(None);
        assert!(!recent.is_recent(RecordId(105), at(90_000)));
    }

    #[test]
    fn a_crowd_takes_a_bounded_room() {
        let began = Instant::now();
        let mut recent = Recent::default();
        for number in 0..10_000_u32 {
            recent.note(RecordId(number.into()), began + Duration::from_millis(10) * number);
        }
        assert!(recent.seen.len() <= 61, "{}", recent.seen.len());
        // One a second stands for the others: none is taken for younger than it is.
        let now = began + Duration::from_millis(10) * 10_000;
        assert!(!recent.is_recent(RecordId(4000), now));
        assert!(recent.is_recent(RecordId(4200), now));
    }
}
