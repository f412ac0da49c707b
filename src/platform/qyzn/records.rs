//! The order in which records go out: three queues for one wire.
//!
//! One record is on the wire at a time. A platform that takes one read for one frame (there are such) would
//! lose the second of two that arrive together, and what is refused must not have been overtaken. While one is
//! on the wire, the next of each queue is read from the store and encoded, so that the pace is that of the
//! round trip.
//!
//! # Queues
//! A visitor of now may be waiting for the platform's `opendoor` while 100 000 records of a week offline go
//! out. So what waits is split at a number of the outbox, the [`Split`]: up to it is the backlog, behind it is
//! what is new. New records and others take turns, each queue the oldest first; what the platform asked for
//! again comes last, with every fourth turn of the others as long as there is a backlog. A new record never
//! waits for more than the one that is on the wire and those that are as new and came before.
//!
//! # When a record is refused
//! It is tried three times, then set aside so that those behind it can go, and tried once more in every review:
//! after a login and every ten minutes. It stays in the outbox: a platform whose database is down refuses
//! everything, and must get everything when it is back.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::code::{self, Answer};
use super::json::Fields;
use crate::store::{OutboxId, RecordId};

/// Refusals after which a record is set aside.
const TRIES: u32 = 3;
/// Refused records that are remembered; of more, the oldest count as never tried.
const REFUSED: usize = 4096;
/// Acknowledged records whose mark may still be on its way to the disk.
const UNMARKED: usize = 256;
/// Time after which what the store could not do is tried again.
const STORE_AGAIN: Duration = Duration::from_secs(5);
/// The longest wait between refusals.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// Reviews after a login are at least so far apart: a platform that drops the line every few seconds must not
/// get nothing but what it refuses.
const REVIEW_LEAST: Duration = Duration::from_secs(60);
/// A record that has waited this long is not of now any more, and neither is one that was made so long before
/// a login.
const NEW_FOR: Duration = Duration::from_secs(30);
/// Turns of the backlog before what is asked again has one.
const BACKLOG_TURNS: u32 = 3;

/// What waits for the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Made just now.
    New,
    /// Made while there was no line, or no room on it.
    Backlog,
    /// Delivered before, or made for others, and asked for again (4.5.11).
    Again,
}

const QUEUES: [Queue; 3] = [Queue::New, Queue::Backlog, Queue::Again];

/// What is to be read from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// For this queue.
    pub queue: Queue,
    /// The oldest after this one.
    pub after: Option<OutboxId>,
    /// Up to this one.
    pub upto: Option<OutboxId>,
}

/// A question to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// The newest number in the outbox that is not delivered.
    Newest,
    /// A record.
    Record(Wanted),
}

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

/// What is to be noted on the disk about an acknowledged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// Which.
    pub id: OutboxId,
    /// It had been asked for again; else it was owed.
    pub again: bool,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Accepted: to be marked.
    Delivered(Mark),
    /// It will be sent again later.
    Again,
    /// Refused for the third time: set aside for now.
    SetAside,
}

/// One queue.
#[derive(Debug, Default)]
struct Line {
    /// The last that was read from the store.
    after: Option<OutboxId>,
    /// A reading is under way.
    fetching: bool,
    /// There may be more behind `after`.
    more: bool,
    /// Read and not sent yet.
    ready: Option<Framed>,
    /// Sent and to be sent again, before `ready`.
    again: Option<Framed>,
    /// Something may have come before `after`.
    anew: bool,
    /// Until when this queue waits, after a refusal or because the store could not be read.
    hold: Option<Instant>,
}

impl Line {
    fn has_next(&self) -> bool {
        self.hold.is_none() && (self.again.is_some() || self.ready.is_some())
    }

    /// The next may be there in a moment.
    fn may_have_next(&self) -> bool {
        self.hold.is_none() && (self.fetching || self.more)
    }

    fn holds(&self, id: OutboxId) -> bool {
        [&self.again, &self.ready].into_iter().flatten().any(|framed| framed.id == id)
    }

    /// Has everything from `id` on read once more.
    fn begin_at(&mut self, id: OutboxId) {
        self.after = self.after.map(|after| after.min(OutboxId(id.0.saturating_sub(1))));
        self.more = true;
    }
}

/// Where the backlog ends. It is found at the first login and after a time without a line; when new records
/// come faster than they go, it moves on, so that those of now do not wait behind those of an hour ago.
#[derive(Debug, Default)]
struct Split {
    /// The last of the backlog, if there was any.
    at: Option<OutboxId>,
    /// It has been found and holds.
    known: bool,
    /// The store is being asked.
    looking: bool,
    /// Since when there have always been new records, or when the split last moved on.
    since: Option<Instant>,
    /// The newest record at that time: the next place to move to.
    mark: Option<OutboxId>,
    /// When the line was lost.
    lost: Option<Instant>,
}

/// What is on the wire.
#[derive(Debug)]
struct OnWire {
    queue: Queue,
    framed: Framed,
    /// Records were cleared meanwhile, perhaps this one: it is not sent again unless it is read again.
    cleared: bool,
}

/// How often a record was refused.
#[derive(Debug)]
struct Refused {
    times: u32,
    /// The review in which it was tried last.
    review: u64,
}

/// The state of sending.
#[derive(Debug, Default)]
pub struct Records {
    lines: [Line; 3],
    split: Split,
    on_wire: Option<OnWire>,
    /// Increased when what is being read is no longer wanted.
    epoch: u64,
    /// The last turn was that of the new ones.
    new_was_last: bool,
    /// Turns of the backlog since one of what is asked again.
    backlog_turns: u32,
    acknowledged: HashSet<Mark>,
    /// Those whose mark came to the disk while something was being read, which may have been read before it.
    marked_meanwhile: HashSet<Mark>,
    /// Those of them whose mark failed, and when all of these are tried again.
    failed_marks: Vec<Mark>,
    marks_due: Option<Instant>,
    /// No mark has succeeded since one failed.
    marks_fail: bool,
    refused: BTreeMap<OutboxId, Refused>,
    review: u64,
    reviewed: Option<Instant>,
    /// Different records refused since one was accepted.
    streak: u32,
    /// Until when everything waits.
    hold: Option<Instant>,
}

impl Records {
    // What happens to the line.

    /// The terminal is logged in: what was on the wire goes out again, and all goes on where it was.
    pub fn logged_in(&mut self, now: Instant) {
        if let Some(on_wire) = self.on_wire.take() {
            let queue = self.home(on_wire.queue, on_wire.framed.id);
            self.line(queue).begin_at(on_wire.framed.id);
        }
        self.put_back();
        if self.split.lost.is_none_or(|lost| lost + NEW_FOR <= now) {
            self.split.known = false;
        }
        self.wake();
        if self.reviewed.is_none_or(|reviewed| reviewed + REVIEW_LEAST <= now) {
            self.begin_review(now);
        }
    }

    /// The line on which the terminal was logged in is lost.
    pub fn lost(&mut self, now: Instant) {
        self.split.lost = Some(now);
    }

    /// Something may have come into the outbox, or be asked again.
    pub fn wake(&mut self) {
        for line in &mut self.lines {
            line.more = true;
        }
        // What is asked again may be older than all that was asked so far; what is made never is.
        self.line(Queue::Again).anew = true;
    }

    /// Begins every queue at its oldest again if something was set aside, to try that once more. What is on the
    /// wire stays there: its answer is still to come.
    pub fn begin_review(&mut self, now: Instant) {
        self.reviewed = Some(now);
        if !self.has_set_aside() {
            return;
        }
        self.review += 1;
        self.put_back();
        for line in &mut self.lines {
            line.after = None;
            line.more = true;
        }
    }

    /// The records were cleared: forgets what was read, for it may not be on the disk any more, and begins every
    /// queue at its oldest again, for what was made after the clearing is.
    pub fn forget(&mut self) {
        self.epoch += 1;
        for line in &mut self.lines {
            line.ready = None;
            line.again = None;
            line.fetching = false;
            line.after = None;
            line.more = true;
        }
        if let Some(on_wire) = &mut self.on_wire {
            on_wire.cleared = true;
        }
        self.refused.clear();
    }

    /// Lets go of all that was read and not sent; it will be read again.
    fn put_back(&mut self) {
        self.epoch += 1;
        let mut back: Vec<(Queue, OutboxId)> = Vec::new();
        for queue in QUEUES {
            let line = self.line(queue);
            // What was being read is read again as well.
            line.more |= std::mem::take(&mut line.fetching);
            for framed in [line.again.take(), line.ready.take()].into_iter().flatten() {
                back.push((queue, framed.id));
            }
        }
        for (queue, id) in back {
            let queue = self.home(queue, id);
            self.line(queue).begin_at(id);
        }
    }

    /// Where a record is to be found in the store, now that the split may have moved.
    fn home(&self, queue: Queue, id: OutboxId) -> Queue {
        match queue {
            Queue::Again => Queue::Again,
            _ if Some(id) <= self.split.at => Queue::Backlog,
            _ => Queue::New,
        }
    }

    fn line(&mut self, queue: Queue) -> &mut Line {
        &mut self.lines[queue as usize]
    }

    /// Whether something was set aside.
    pub fn has_set_aside(&self) -> bool {
        self.refused.values().any(|refused| refused.times >= TRIES)
    }

    // Reading from the store.

    /// What to read next, if it is time to. To be called until it says nothing.
    pub fn next_fetch(&mut self, now: Instant) -> Option<Fetch> {
        self.tick(now);
        let lags = self.split.since.is_some_and(|since| since + NEW_FOR <= now);
        if !self.split.looking && (lags || !self.split.known) && self.hold.is_none() {
            self.split.looking = true;
            return Some(Fetch::Newest);
        }
        if !self.split.known {
            return None;
        }
        let at = self.split.at;
        for queue in QUEUES {
            let line = self.line(queue);
            if line.fetching || !line.more || line.ready.is_some() || line.hold.is_some() {
                continue;
            }
            // A record that comes while this reading is under way is announced and sets it again.
            line.more = false;
            let (after, upto) = match queue {
                Queue::New => (line.after.max(at), None),
                Queue::Backlog if at.is_none() || line.after >= at => continue,
                Queue::Backlog => (line.after, at),
                Queue::Again => (line.after, None),
            };
            line.fetching = true;
            return Some(Fetch::Record(Wanted { queue, after, upto }));
        }
        None
    }

    /// To be handed back with what the next reading finds.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The newest number in the outbox.
    pub fn newest(&mut self, newest: Option<OutboxId>, now: Instant) {
        self.split.looking = false;
        if !self.split.known {
            self.split.known = true;
            (self.split.since, self.split.mark) = (None, None);
            self.move_split(newest);
        } else {
            let mark = std::mem::replace(&mut self.split.mark, newest);
            self.split.since = Some(now);
            self.move_split(mark);
        }
    }

    fn move_split(&mut self, to: Option<OutboxId>) {
        if to > self.split.at {
            self.split.at = to;
            self.put_back_unsent_new();
            self.line(Queue::Backlog).more = true;
        }
    }

    /// What was new and is backlog now is read again as such, unless it is on the wire.
    fn put_back_unsent_new(&mut self) {
        self.epoch += 1;
        for queue in QUEUES {
            let line = self.line(queue);
            line.more |= std::mem::take(&mut line.fetching);
        }
        let line = self.line(Queue::New);
        let back = [line.again.take(), line.ready.take()];
        for framed in back.into_iter().flatten() {
            let queue = self.home(Queue::New, framed.id);
            self.line(queue).begin_at(framed.id);
        }
    }

    /// The store did not tell the newest number.
    pub fn newest_failed(&mut self, now: Instant) {
        self.split.looking = false;
        self.hold = self.hold.max(Some(now + STORE_AGAIN));
    }

    /// What a reading of `epoch` found. Answers with a mark that is still missing, if what was found is
    /// acknowledged already.
    pub fn fetched(
        &mut self,
        queue: Queue,
        epoch: u64,
        framed: Option<Framed>,
        now: Instant,
    ) -> Option<Mark> {
        if epoch != self.epoch {
            return None;
        }
        let line = self.line(queue);
        line.fetching = false;
        let marked = framed.as_ref().is_some_and(|framed| {
            let mark = Mark { id: framed.id, again: queue == Queue::Again };
            self.marked_meanwhile.contains(&mark)
        });
        if self.lines.iter().all(|line| !line.fetching) {
            self.marked_meanwhile.clear();
        }
        let line = self.line(queue);
        let Some(framed) = framed else {
            if std::mem::take(&mut line.anew) && line.after.take().is_some() {
                line.more = true;
            }
            if queue == Queue::New {
                (self.split.since, self.split.mark) = (None, None);
            }
            return None;
        };
        line.after = Some(framed.id);
        line.more = true;
        if queue == Queue::New {
            self.split.since.get_or_insert(now);
        }
        let mark = Mark { id: framed.id, again: queue == Queue::Again };
        if marked {
            return None;
        }
        if self.acknowledged.contains(&mark) {
            return Some(mark);
        }
        let on_its_way = self.on_wire.as_ref().is_some_and(|on_wire| on_wire.framed.id == framed.id)
            || self.lines.iter().any(|line| line.holds(framed.id));
        let tried = self
            .refused
            .get(&framed.id)
            .is_some_and(|refused| refused.times >= TRIES && refused.review == self.review);
        if !on_its_way && !tried {
            self.line(queue).ready = Some(framed);
        }
        None
    }

    /// A reading failed: wait a moment, then try again.
    pub fn fetch_failed(&mut self, queue: Queue, epoch: u64, now: Instant) {
        if epoch == self.epoch {
            let line = self.line(queue);
            line.fetching = false;
            line.more = true;
            line.hold = Some(now + STORE_AGAIN);
        }
    }

    // Sending.

    /// When there is something to do again without anything happening.
    pub fn due(&self) -> Option<Instant> {
        let lag = self.split.since.filter(|_| !self.split.looking).map(|since| since + NEW_FOR);
        let lines = self.lines.iter().map(|line| line.hold);
        lines.chain([self.hold, lag.max(self.hold.filter(|_| lag.is_some()))]).flatten().min()
    }

    /// Ends what has been held long enough.
    fn tick(&mut self, now: Instant) {
        for hold in self.lines.iter_mut().map(|line| &mut line.hold).chain([&mut self.hold]) {
            if hold.is_some_and(|until| until <= now) {
                *hold = None;
            }
        }
    }

    /// The next to go on the wire, if it is time. To be asked after [`Records::next_fetch`] has said that there
    /// is nothing more to read now: whose turn depends on what is being read.
    pub fn next_to_send(&mut self, now: Instant) -> Option<&Framed> {
        self.tick(now);
        if self.on_wire.is_some() || self.hold.is_some() || self.acknowledged.len() >= UNMARKED {
            return None;
        }
        let queue = self.turn()?;
        let line = self.line(queue);
        let framed = line.again.take().or_else(|| line.ready.take())?;
        self.new_was_last = queue == Queue::New;
        match queue {
            Queue::New => {}
            Queue::Backlog => self.backlog_turns += 1,
            Queue::Again => self.backlog_turns = 0,
        }
        Some(&self.on_wire.insert(OnWire { queue, framed, cleared: false }).framed)
    }

    /// Whose turn it is.
    fn turn(&self) -> Option<Queue> {
        let [new, backlog, again] = &self.lines;
        if !self.new_was_last {
            if new.has_next() {
                return Some(Queue::New);
            }
            // Being read: no other one must slip in before it.
            if new.may_have_next() {
                return None;
            }
        }
        if again.has_next() && self.backlog_turns >= BACKLOG_TURNS {
            return Some(Queue::Again);
        }
        if backlog.has_next() {
            return Some(Queue::Backlog);
        }
        // As fair to it: its turn is not lost because it takes longer to read.
        if backlog.may_have_next() {
            return None;
        }
        [(Queue::Again, again), (Queue::New, new)]
            .into_iter()
            .find_map(|(queue, line)| line.has_next().then_some(queue))
    }

    /// What the request with the sequence `seq` was answered; `None` if that is not the record on the wire.
    pub fn answered(&mut self, seq: u32, answer: &Answer, now: Instant) -> Option<(Queue, Framed, Follow)> {
        let OnWire { queue, framed, cleared } = self.on_wire.take_if(|on_wire| on_wire.framed.seq == seq)?;
        if answer.result == code::SUCCESS {
            self.streak = 0;
            self.refused.remove(&framed.id);
            let mark = Mark { id: framed.id, again: queue == Queue::Again };
            self.acknowledged.insert(mark);
            return Some((queue, framed, Follow::Delivered(mark)));
        }
        let busy = answer.result == code::BUSY;
        if busy {
            let seconds = Fields::of(&answer.data).int("waitSeconds").ok().flatten().unwrap_or(3);
            self.hold = Some(now + Duration::from_secs(seconds.clamp(1, 300).unsigned_abs()));
        }
        if cleared {
            let home = self.home(queue, framed.id);
            self.line(home).begin_at(framed.id);
            return Some((queue, framed, Follow::Again));
        }
        if busy {
            self.line(queue).again = Some(framed.clone());
            return Some((queue, framed, Follow::Again));
        }
        let review = self.review;
        let refused = self.refused.entry(framed.id).or_insert(Refused { times: 0, review });
        refused.times = refused.times.saturating_add(1);
        refused.review = review;
        let times = refused.times;
        if self.refused.len() > REFUSED {
            self.refused.pop_first();
        }
        if times < TRIES {
            let line = self.line(queue);
            line.hold = Some(now + Duration::from_secs(1 << (times - 1)));
            line.again = Some(framed.clone());
            return Some((queue, framed, Follow::Again));
        }
        let first_time = times == TRIES;
        // Several in a row: the platform is at fault rather than the record. Do not rush through them all.
        if first_time && self.streak > 0 {
            self.hold = Some(now + LONGEST_HOLD.min(Duration::from_secs(1 << self.streak.min(6))));
        }
        self.streak = self.streak.saturating_add(1);
        Some((queue, framed, if first_time { Follow::SetAside } else { Follow::Again }))
    }

    // Marks.

    /// The mark of an acknowledged record is on the disk.
    pub fn marked(&mut self, mark: Mark) {
        if self.acknowledged.remove(&mark) && self.lines.iter().any(|line| line.fetching) {
            self.marked_meanwhile.insert(mark);
        }
        self.failed_marks.retain(|&failed| failed != mark);
        self.marks_fail = false;
    }

    /// The mark of an acknowledged record failed: it is tried again in a moment, for sending stops when too
    /// many are missing. Whether this is the first failure since a mark succeeded.
    pub fn mark_failed(&mut self, mark: Mark, now: Instant) -> bool {
        if self.acknowledged.contains(&mark) && !self.failed_marks.contains(&mark) {
            self.failed_marks.push(mark);
        }
        if !self.failed_marks.is_empty() {
            self.marks_due.get_or_insert(now + STORE_AGAIN);
        }
        !std::mem::replace(&mut self.marks_fail, true)
    }

    /// When failed marks are to be tried again.
    pub fn marks_due(&self) -> Option<Instant> {
        self.marks_due
    }

    /// The failed marks, once it is time to try them again.
    pub fn marks_again(&mut self, now: Instant) -> Vec<Mark> {
        if self.marks_due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        self.marks_due = None;
        std::mem::take(&mut self.failed_marks)
    }
}

#[cfg(test)]
mod tests;
