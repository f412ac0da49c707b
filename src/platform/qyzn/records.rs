//! The order in which records go out.
//!
//! One record is on the wire at a time. A platform that takes one read for one frame (there are such) would
//! lose the second of two that arrive together, and what is refused must not have been overtaken. While one is
//! on the wire the next is read from the store and encoded, so that the pace is that of the round trip.
//!
//! A record that the platform refuses is tried three times, then set aside so that those behind it can go,
//! and tried once more after every login and every ten minutes. It stays in the outbox: a platform whose
//! database is down refuses everything, and must get everything when it is back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::code::{self, Answer};
use super::json::Fields;
use crate::store::{OutboxId, RecordId};

/// Refusals after which a record is set aside.
const TRIES: u32 = 3;
/// Acknowledged records whose mark may still be on its way to the disk.
const UNMARKED: usize = 256;
/// Time after which marks that failed are tried again.
const MARK_AGAIN: Duration = Duration::from_secs(5);
/// The longest wait between refusals.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// A record made ready for the wire.
#[derive(Debug, Clone)]
pub struct OutgoingRecord {
    /// Its place in the outbox.
    pub id: OutboxId,
    /// The record.
    pub record: RecordId,
    /// Its sequence: the same whenever it is sent, whatever happens in between.
    pub seq: u32,
    /// Body of the `snapshot_face` request.
    pub body: Vec<u8>,
}

/// A record as a frame.
#[derive(Debug, Clone)]
pub struct Framed {
    /// Its place in the outbox.
    pub id: OutboxId,
    /// The record.
    pub record: RecordId,
    /// Its sequence.
    pub seq: u32,
    /// The frame.
    pub frame: Arc<[u8]>,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Follow {
    /// Accepted: to be marked as delivered.
    Delivered,
    /// It will be sent again later.
    Again,
    /// Refused for the third time: set aside for now.
    SetAside,
}

/// The state of sending.
#[derive(Debug, Default)]
pub struct Records {
    /// The last that was fetched.
    cursor: Option<OutboxId>,
    /// Increased when what is being fetched is no longer wanted.
    pub epoch: u64,
    /// A fetch is under way.
    pub fetching: bool,
    /// There may be more behind the cursor.
    more: bool,
    ready: Option<Framed>,
    again: Option<Framed>,
    on_wire: Option<Framed>,
    acknowledged: HashSet<OutboxId>,
    /// Those of them whose mark failed, and when all of these are tried again.
    failed_marks: Vec<OutboxId>,
    marks_due: Option<Instant>,
    /// No mark has succeeded since one failed.
    marks_fail: bool,
    refusals: HashMap<OutboxId, u32>,
    /// Different records refused since one was accepted.
    streak: u32,
    hold: Option<Instant>,
}

impl Records {
    /// Begins at the oldest again: after a login, and to try what was set aside.
    pub fn restart(&mut self) {
        self.cursor = None;
        self.ready = None;
        self.again = None;
        self.on_wire = None;
        self.epoch += 1;
        self.more = true;
    }

    /// Forgets what was fetched and not yet sent: the records were cleared.
    pub fn forget(&mut self) {
        self.ready = None;
        self.again = None;
        self.epoch += 1;
        self.more = true;
    }

    /// Something may have come into the outbox.
    pub fn wake(&mut self) {
        self.more = true;
    }

    /// Whether something was set aside.
    pub fn has_set_aside(&self) -> bool {
        self.refusals.values().any(|&refusals| refusals >= TRIES)
    }

    /// Nothing is on the wire and nothing is waiting to go.
    pub fn is_idle(&self) -> bool {
        self.on_wire.is_none() && self.again.is_none() && self.ready.is_none()
    }

    /// Where to fetch the next one, if it is time to. `Some(None)` is from the oldest.
    pub fn fetch_after(&mut self) -> Option<Option<OutboxId>> {
        if self.fetching || !self.more || self.ready.is_some() {
            return None;
        }
        self.fetching = true;
        // A record that comes while this fetch runs is announced and sets it again.
        self.more = false;
        Some(self.cursor)
    }

    /// What a fetch of `epoch` found. Answers with the record if it was acknowledged before and only its mark
    /// is missing.
    pub fn fetched(&mut self, epoch: u64, framed: Option<Framed>) -> Option<Framed> {
        self.fetching = false;
        if epoch != self.epoch {
            self.more = true;
            return None;
        }
        let framed = framed?;
        self.cursor = Some(framed.id);
        self.more = true;
        if self.acknowledged.contains(&framed.id) {
            return Some(framed);
        }
        self.ready = Some(framed);
        None
    }

    /// A fetch failed: wait a moment, then try again.
    pub fn fetch_failed(&mut self, now: Instant) {
        self.fetching = false;
        self.more = true;
        self.hold = Some(now + Duration::from_secs(5));
    }

    /// When sending and fetching goes on, if it is held.
    pub fn held_until(&self) -> Option<Instant> {
        self.hold
    }

    /// Ends a hold that has lasted long enough; whether there is none now.
    pub fn is_free(&mut self, now: Instant) -> bool {
        if self.hold.is_some_and(|until| until <= now) {
            self.hold = None;
        }
        self.hold.is_none()
    }

    /// The next to go on the wire, if it is time.
    pub fn next_to_send(&mut self) -> Option<&Framed> {
        if self.on_wire.is_some() || self.hold.is_some() || self.acknowledged.len() >= UNMARKED {
            return None;
        }
        let next = self.again.take().or_else(|| self.ready.take())?;
        Some(self.on_wire.insert(next))
    }

    /// What the one on the wire was answered.
    pub fn answered(&mut self, answer: &Answer, now: Instant) -> Option<(Framed, Follow)> {
        let framed = self.on_wire.take()?;
        if answer.result == code::SUCCESS {
            self.streak = 0;
            self.refusals.remove(&framed.id);
            self.acknowledged.insert(framed.id);
            return Some((framed, Follow::Delivered));
        }
        if answer.result == code::BUSY {
            let seconds = Fields::of(&answer.data).int("waitSeconds").ok().flatten().unwrap_or(3);
            self.hold = Some(now + Duration::from_secs(seconds.clamp(1, 300).unsigned_abs()));
            self.again = Some(framed.clone());
            return Some((framed, Follow::Again));
        }
        let refusals = self.refusals.entry(framed.id).or_insert(0);
        *refusals = refusals.saturating_add(1);
        if *refusals < TRIES {
            self.hold = Some(now + Duration::from_secs(1 << (*refusals - 1)));
            self.again = Some(framed.clone());
            return Some((framed, Follow::Again));
        }
        let first_time = *refusals == TRIES;
        // Several in a row: the platform is at fault rather than the record. Do not rush through them all.
        if first_time && self.streak > 0 {
            self.hold = Some(now + LONGEST_HOLD.min(Duration::from_secs(1 << self.streak.min(6))));
        }
        self.streak = self.streak.saturating_add(1);
        Some((framed, if first_time { Follow::SetAside } else { Follow::Again }))
    }

    /// The mark of an acknowledged record is on the disk.
    pub fn marked(&mut self, id: OutboxId) {
        self.acknowledged.remove(&id);
        self.failed_marks.retain(|&failed| failed != id);
        self.marks_fail = false;
    }

    /// The mark of an acknowledged record failed: it is tried again in a moment, for sending stops when too
    /// many are missing. Whether this is the first failure since a mark succeeded.
    pub fn mark_failed(&mut self, id: OutboxId, now: Instant) -> bool {
        if self.acknowledged.contains(&id) && !self.failed_marks.contains(&id) {
            self.failed_marks.push(id);
        }
        if !self.failed_marks.is_empty() {
            self.marks_due.get_or_insert(now + MARK_AGAIN);
        }
        !std::mem::replace(&mut self.marks_fail, true)
    }

    /// When failed marks are to be tried again.
    pub fn marks_due(&self) -> Option<Instant> {
        self.marks_due
    }

    /// The failed marks, once it is time to try them again.
    pub fn marks_again(&mut self, now: Instant) -> Vec<OutboxId> {
        if self.marks_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.marks_due = None;
        std::mem::take(&mut self.failed_marks)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn framed(id: i64) -> Framed {
        Framed { id: OutboxId(id), record: RecordId(id), seq: id as u32, frame: Arc::from(&b""[..]) }
    }

    fn feed(records: &mut Records, outbox: &[i64]) {
        if let Some(after) = records.fetch_after() {
            let next = outbox.iter().find(|&&id| after.is_none_or(|after| id > after.0));
            records.fetched(records.epoch, next.map(|&id| framed(id)));
        }
    }

    #[test]
    fn refused_three_times_it_lets_the_others_by_and_comes_again() {
        let mut records = Records::default();
        let mut now = Instant::now();
        records.restart();
        let mut sent = Vec::new();
        let mut marked = HashSet::new();
        let mut aside = Vec::new();
        let mut run = |records: &mut Records, broken: Option<i64>, rounds: u32| {
            for _ in 0..rounds {
                now += Duration::from_secs(61);
                records.is_free(now);
                let outbox: Vec<i64> = (1..=3).filter(|id| !marked.contains(id)).collect();
                feed(records, &outbox);
                let Some(id) = records.next_to_send().map(|framed| framed.id.0) else { continue };
                sent.push(id);
                let answer = if Some(id) == broken { Answer::failure(104, "no") } else { Answer::success() };
                let (framed, follow) = records.answered(&answer, now).unwrap();
                match follow {
                    Follow::Delivered => {
                        marked.insert(id);
                        records.marked(framed.id);
                    }
                    Follow::SetAside => aside.push(id),
                    Follow::Again => {}
                }
            }
            (sent.clone(), aside.clone())
        };
        let (sent, aside) = run(&mut records, Some(1), 10);
        assert_eq!(sent, [1, 1, 1, 2, 3]);
        assert_eq!(aside, [1]);
        assert!(records.has_set_aside());
        records.restart();
        let (sent, aside) = run(&mut records, Some(1), 5);
        assert_eq!(sent, [1, 1, 1, 2, 3, 1], "one more try for a restart");
        assert_eq!(aside, [1], "and no second notice");
        records.restart();
        let (sent, _) = run(&mut records, None, 5);
        assert_eq!(sent, [1, 1, 1, 2, 3, 1, 1]);
        assert!(!records.has_set_aside());
    }

    #[test]
    fn busy_is_no_refusal() {
        let mut records = Records::default();
        let now = Instant::now();
        records.restart();
        for wait in 0..10 {
            feed(&mut records, &[1]);
            assert_eq!(records.next_to_send().unwrap().id, OutboxId(1), "{wait}");
            let busy = Answer { data: json!({"waitSeconds": 7}), ..Answer::failure(109, "") };
            assert_eq!(records.answered(&busy, now).unwrap().1, Follow::Again);
            assert_eq!(records.held_until(), Some(now + Duration::from_secs(7)));
            assert!(records.next_to_send().is_none());
            assert!(records.is_free(now + Duration::from_secs(7)));
        }
        assert!(!records.has_set_aside());
    }

    #[test]
    fn what_is_acknowledged_is_not_sent_again_before_its_mark_is_on_the_disk() {
        let mut records = Records::default();
        records.restart();
        feed(&mut records, &[1, 2]);
        records.next_to_send().unwrap();
        records.answered(&Answer::success(), Instant::now()).unwrap();
        records.restart();
        let after = records.fetch_after().unwrap();
        assert_eq!(after, None);
        assert_eq!(records.fetched(records.epoch, Some(framed(1))).unwrap().id, OutboxId(1));
        feed(&mut records, &[1, 2]);
        assert_eq!(records.next_to_send().unwrap().id, OutboxId(2));
    }

    #[test]
    fn a_fetch_from_before_a_restart_is_not_used() {
        let mut records = Records::default();
        records.restart();
        records.fetch_after().unwrap();
        let epoch = records.epoch;
        records.restart();
        assert!(records.fetched(epoch, Some(framed(7))).is_none());
        assert!(records.is_idle());
        assert_eq!(records.fetch_after(), Some(None));
    }
}
