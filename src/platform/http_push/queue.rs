//! The order in which records go out: the oldest first, one at a time. What the server refuses three times is set
//! aside, so that those behind it can go, and tried again later. It stays in the outbox all the while.

use std::collections::{HashMap, HashSet};

use hyper::body::Bytes;

use crate::store::{OutboxId, RecordId};

/// Refusals after which a record is set aside.
const TRIES: u32 = 3;
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
}

impl Queue {
    /// Begins at the oldest again.
    pub fn restart(&mut self) {
        self.cursor = None;
        self.current = None;
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
        // Several in a row: the server is at fault rather than the records. Do not rush through them all.
        let pause = if self.streak == 0 { 0 } else { LONGEST_PAUSE.min(1 << self.streak.min(6)) };
        self.streak = self.streak.saturating_add(1);
        let refused = if refusals == TRIES { Refused::SetAside(pause) } else { Refused::Still(pause) };
        Some((outgoing, refused))
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
