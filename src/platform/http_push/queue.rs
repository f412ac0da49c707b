//! The order in which records go out: the oldest first, one at a time. What the server refuses three times is set
//! aside, so that those behind it can go, and tried again later. So is what fails again and again while the server takes
//! something else. It stays in the outbox all the while.

use std::collections::{HashMap, HashSet};

use hyper::body::Bytes;

use crate::store::{OutboxId, RecordId};

/// Refusals after which a record is set aside.
const TRIES: u32 = 3;
/// Failures after which a record is set aside, if the server has taken something else since the first of them.
const FAILURES: u32 = 10;
/// Longest pause between refusals, in seconds.
const LONGEST_PAUSE: u64 = 60;

/// A record made ready.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Its place in the outbox.
    pub id: OutboxId,
    /// The record.
    pub record: RecordId,
    /// The body, shared when it is sent again.
    pub body: Bytes,
}

/// What follows a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The same record again after so many seconds.
    Again(u64),
    /// Set aside, for the first time; the next record after so many seconds.
    SetAside(u64),
    /// Tried once more in vain, it stays aside; the next record after so many seconds.
    Still(u64),
}

/// What follows a failure, which may be the server's as well as the record's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failed {
    /// The same record again.
    Again,
    /// Set aside, for the first time; the next record after so many seconds.
    SetAside(u64),
    /// Tried once more in vain, it stays aside; the next record after so many seconds.
    Still(u64),
}

/// Where sending stands.
#[derive(Debug, Default)]
pub struct Queue {
    /// The last that was fetched.
    cursor: Option<OutboxId>,
    /// There may be more behind the cursor.
    more: bool,
    current: Option<Outgoing>,
    /// Delivered, but not yet marked so on the disk.
    unmarked: HashSet<OutboxId>,
    refusals: HashMap<OutboxId, u32>,
    /// Records refused for good since one was accepted.
    streak: u32,
    /// Failures of the record at hand.
    failures: u32,
    /// Whether the server has taken something else since the first of them.
    vouched: bool,
}

impl Queue {
    /// Begins at the oldest again.
    pub fn restart(&mut self) {
        self.cursor = None;
        self.current = None;
        self.forget_failures();
        self.more = true;
    }

    /// Something may have come into the outbox.
    pub fn wake(&mut self) {
        self.more = true;
    }

    /// Whether a record is at hand or may be waiting.
    pub fn has_work(&self) -> bool {
        self.current.is_some() || self.more
    }

    /// Whether something was set aside.
    pub fn has_set_aside(&self) -> bool {
        self.refusals.values().any(|&refusals| refusals >= TRIES)
    }

    /// The record to send, if one is ready.
    pub fn current(&self) -> Option<&Outgoing> {
        self.current.as_ref()
    }

    /// Where to fetch the next one, if it is time to. `Some(None)` is from the oldest.
    pub fn fetch_after(&self) -> Option<Option<OutboxId>> {
        (self.current.is_none() && self.more).then_some(self.cursor)
    }

    /// What a fetch has found.
    pub fn fetched(&mut self, outgoing: Option<Outgoing>) {
        let Some(outgoing) = outgoing else {
            self.more = false;
            return;
        };
        self.cursor = Some(outgoing.id);
        if !self.unmarked.contains(&outgoing.id) {
            self.forget_failures();
            self.current = Some(outgoing);
        }
    }

    /// How many marks are under way.
    pub fn unmarked(&self) -> usize {
        self.unmarked.len()
    }

    /// The server took the record: it is to be marked.
    pub fn accepted(&mut self) -> Option<OutboxId> {
        let outgoing = self.current.take()?;
        self.streak = 0;
        self.refusals.remove(&outgoing.id);
        self.unmarked.insert(outgoing.id);
        Some(outgoing.id)
    }

    /// The mark is on the disk.
    pub fn marked(&mut self, id: OutboxId) {
        self.unmarked.remove(&id);
    }

    /// The server refused the record.
    pub fn refused(&mut self) -> Option<(Outgoing, Refused)> {
        let outgoing = self.current.take()?;
        let refusals = self.refusals.entry(outgoing.id).or_insert(0);
        *refusals = refusals.saturating_add(1);
        let refusals = *refusals;
        if refusals < TRIES {
            self.current = Some(outgoing.clone());
            return Some((outgoing, Refused::Again(1 << (refusals - 1))));
        }
        let pause = self.pass_by();
        let refused = if refusals == TRIES { Refused::SetAside(pause) } else { Refused::Still(pause) };
        Some((outgoing, refused))
    }

    /// The server has taken, or refused for what it is, something else than the record at hand.
    pub fn vouch(&mut self) {
        self.vouched |= self.failures > 0;
    }

    /// The server has not answered something else either: what failed so far says nothing about the record.
    pub fn doubt(&mut self) {
        self.forget_failures();
    }

    /// The record did not get through, and the server did not refuse it either.
    pub fn failed(&mut self) -> Option<(Outgoing, Failed)> {
        let outgoing = self.current.take()?;
        self.failures = self.failures.saturating_add(1);
        let is_aside = self.refusals.get(&outgoing.id).is_some_and(|&refusals| refusals >= TRIES);
        if is_aside {
            return Some((outgoing, Failed::Still(self.pass_by())));
        }
        if self.failures < FAILURES || !self.vouched {
            self.current = Some(outgoing.clone());
            return Some((outgoing, Failed::Again));
        }
        self.refusals.insert(outgoing.id, TRIES);
        Some((outgoing, Failed::SetAside(self.pass_by())))
    }

    fn forget_failures(&mut self) {
        self.failures = 0;
        self.vouched = false;
    }

    /// The pause before the next record, where one is not taken.
    fn pass_by(&mut self) -> u64 {
        // Several in a row: the server is at fault rather than the records. Do not rush through them all.
        let pause = if self.streak == 0 { 0 } else { LONGEST_PAUSE.min(1 << self.streak.min(6)) };
        self.streak = self.streak.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(id: i64) -> Outgoing {
        Outgoing { id: OutboxId(id), record: RecordId(id), body: Default::default() }
    }

    fn fetch(queue: &mut Queue, outbox: &[i64]) {
        if let Some(after) = queue.fetch_after() {
            let next = outbox.iter().find(|&&id| after.is_none_or(|after| id > after.0));
            queue.fetched(next.map(|&id| outgoing(id)));
        }
    }

    #[test]
    fn refused_three_times_it_lets_the_others_by_and_comes_again() {
        let mut queue = Queue::default();
        queue.restart();
        fetch(&mut queue, &[1, 2]);
        for pause in [1, 2] {
            assert_eq!(queue.refused().unwrap().1, Refused::Again(pause));
            assert_eq!(queue.current().unwrap().id, OutboxId(1));
        }
        assert_eq!(queue.refused().unwrap().1, Refused::SetAside(0));
        fetch(&mut queue, &[1, 2]);
        assert_eq!(queue.accepted(), Some(OutboxId(2)));
        queue.marked(OutboxId(2));
        fetch(&mut queue, &[1]);
        assert_eq!(queue.fetch_after(), None, "nothing behind");
        assert!(queue.has_set_aside());
        queue.restart();
        fetch(&mut queue, &[1]);
        assert_eq!(queue.refused().unwrap().1, Refused::Still(0));
        queue.restart();
        fetch(&mut queue, &[1]);
        assert_eq!(queue.accepted(), Some(OutboxId(1)));
        assert!(!queue.has_set_aside());
    }

    #[test]
    fn what_fails_while_something_else_is_taken_lets_the_others_by() {
        let mut queue = Queue::default();
        queue.restart();
        let outbox = [1, 2];
        fetch(&mut queue, &outbox);
        // The server may be at fault: nothing speaks for it.
        queue.vouch();
        for _ in 0..100 {
            assert_eq!(queue.failed().unwrap().1, Failed::Again);
        }
        // It was: it does not answer at all.
        queue.doubt();
        assert_eq!(queue.failed().unwrap().1, Failed::Again);
        queue.vouch();
        for _ in 2..10 {
            assert_eq!(queue.failed().unwrap().1, Failed::Again);
        }
        assert_eq!(queue.failed().unwrap().1, Failed::SetAside(0), "the tenth");
        assert!(queue.has_set_aside());
        // The next one is judged by its own failures.
        fetch(&mut queue, &outbox);
        assert_eq!(queue.failed().unwrap().1, Failed::Again);
        assert_eq!(queue.accepted(), Some(OutboxId(2)));
        queue.marked(OutboxId(2));
        // Tried again later: once, whether it fails or is refused.
        queue.restart();
        fetch(&mut queue, &[1]);
        assert_eq!(queue.failed().unwrap().1, Failed::Still(0));
        queue.restart();
        fetch(&mut queue, &[1]);
        assert_eq!(queue.refused().unwrap().1, Refused::Still(2));
        queue.restart();
        fetch(&mut queue, &[1]);
        assert_eq!(queue.accepted(), Some(OutboxId(1)));
        assert!(!queue.has_set_aside());
    }

    #[test]
    fn a_server_that_refuses_everything_is_not_rushed_through() {
        let mut queue = Queue::default();
        queue.restart();
        let outbox: Vec<i64> = (1..=8).collect();
        let mut pauses = Vec::new();
        for _ in &outbox {
            fetch(&mut queue, &outbox);
            queue.refused();
            queue.refused();
            if let Some((_, Refused::SetAside(pause))) = queue.refused() {
                pauses.push(pause);
            }
        }
        assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_is_delivered_is_not_sent_again_while_its_mark_is_on_its_way() {
        let mut queue = Queue::default();
        queue.restart();
        fetch(&mut queue, &[1, 2]);
        assert_eq!(queue.accepted(), Some(OutboxId(1)));
        queue.restart();
        fetch(&mut queue, &[1, 2]);
        assert!(queue.current().is_none());
        fetch(&mut queue, &[1, 2]);
        assert_eq!(queue.current().unwrap().id, OutboxId(2));
    }
}
