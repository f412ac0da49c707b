//! What a platform has asked of us lately and what became of it, so that a command that is sent again is
//! answered again and not carried out again. Outlives connections: a platform also repeats itself after a
//! line was lost.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
enum State<R> {
    UnderWay(R),
    Done(Arc<[u8]>),
}

/// What is known of a command that has just come.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// It is new.
    No,
    /// It is being carried out; the answer will go to where it was asked last.
    UnderWay,
    /// It was carried out; this is the body of its answer.
    Done(Arc<[u8]>),
}

/// The cache: commands by their key `K`, and where the answer of each goes, `R`.
#[derive(Debug)]
pub struct Answered<K, R> {
    remembered_for: Duration,
    remembered: usize,
    states: HashMap<K, State<R>>,
    order: VecDeque<(Instant, K)>,
}

impl<K: Clone + Eq + Hash, R> Answered<K, R> {
    /// Remembers each command for `remembered_for` (longer while it is under way) and never more than
    /// `remembered`: then the oldest goes.
    pub fn new(remembered_for: Duration, remembered: usize) -> Self {
        Self { remembered_for, remembered, states: HashMap::new(), order: VecDeque::new() }
    }

    /// Whether `key` has come before; if it is under way, its answer goes to `reply` from now on.
    pub fn seen(&mut self, key: &K, reply: R, now: Instant) -> Known {
        self.expire(now);
        match self.states.get_mut(key) {
            None => Known::No,
            Some(State::UnderWay(to)) => {
                *to = reply;
                Known::UnderWay
            }
            Some(State::Done(body)) => Known::Done(Arc::clone(body)),
        }
    }

    /// Notes that a command is being carried out.
    pub fn begin(&mut self, key: K, reply: R, now: Instant) {
        if self.states.insert(key.clone(), State::UnderWay(reply)).is_none() {
            self.order.push_back((now, key));
        }
        while self.order.len() > self.remembered {
            self.drop_oldest();
        }
    }

    /// Notes a command that was carried out before this cache was made.
    pub fn recall(&mut self, key: K, body: Arc<[u8]>, now: Instant) {
        if self.states.insert(key.clone(), State::Done(body)).is_none() {
            self.order.push_back((now, key));
        }
    }

    /// Notes the answer of a command and says where it goes. `None` if the command was not noted.
    pub fn finish(&mut self, key: &K, body: Arc<[u8]>) -> Option<R> {
        match self.states.get_mut(key)? {
            State::Done(_) => None,
            state => match std::mem::replace(state, State::Done(body)) {
                State::UnderWay(reply) => Some(reply),
                State::Done(_) => None,
            },
        }
    }

    /// Forgets a command that was not carried out and may come again (busy), and says where its answer goes.
    pub fn forget(&mut self, key: &K) -> Option<R> {
        let state = self.states.remove(key)?;
        // Rare, and mostly about one of the last.
        if let Some(at) = self.order.iter().rposition(|(_, known)| known == key) {
            self.order.remove(at);
        }
        match state {
            State::UnderWay(reply) => Some(reply),
            State::Done(_) => None,
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((since, key)) = self.order.front()
            && now.duration_since(*since) > self.remembered_for
            && !matches!(self.states.get(key), Some(State::UnderWay(_)))
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.states.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMEMBERED_FOR: Duration = Duration::from_secs(160);
    const REMEMBERED: usize = 16 * 1024;

    fn answered() -> Answered<(u32, u64), u64> {
        Answered::new(REMEMBERED_FOR, REMEMBERED)
    }

    #[test]
    fn remembers_and_forgets() {
        let mut answered = answered();
        let now = Instant::now();
        assert_eq!(answered.seen(&(1, 9), 1, now), Known::No);
        answered.begin((1, 9), 1, now);
        // Asked again on a new connection while under way: that is where the answer goes.
        assert_eq!(answered.seen(&(1, 9), 2, now), Known::UnderWay);
        assert_eq!(answered.finish(&(1, 9), Arc::from(&b"{}"[..])), Some(2));
        assert_eq!(answered.seen(&(1, 9), 2, now), Known::Done(Arc::from(&b"{}"[..])));
        // The same sequence with another body is another command.
        assert_eq!(answered.seen(&(1, 8), 2, now), Known::No);
        let later = now + REMEMBERED_FOR + Duration::from_secs(1);
        assert_eq!(answered.seen(&(1, 9), 2, later), Known::No);
        assert!(answered.order.is_empty() && answered.states.is_empty());
    }

    #[test]
    fn what_was_put_off_may_come_again() {
        let mut answered = answered();
        let now = Instant::now();
        answered.begin((1, 9), 1, now);
        assert_eq!(answered.forget(&(1, 9)), Some(1));
        assert_eq!(answered.seen(&(1, 9), 1, now), Known::No);
    }

    #[test]
    fn what_was_done_before_is_answered_again_for_as_long() {
        let mut answered = answered();
        let now = Instant::now();
        answered.recall((1, 9), Arc::from(&b"{}"[..]), now);
        assert_eq!(answered.seen(&(1, 9), 1, now), Known::Done(Arc::from(&b"{}"[..])));
        assert_eq!(answered.seen(&(2, 9), 1, now), Known::No);
        let later = now + REMEMBERED_FOR + Duration::from_secs(1);
        assert_eq!(answered.seen(&(1, 9), 1, later), Known::No);
    }

    #[test]
    fn is_bounded() {
        let mut answered = answered();
        let now = Instant::now();
        for seq in 0..40_000 {
            answered.begin((seq, 0), 1, now);
            answered.finish(&(seq, 0), Arc::from(&b"{}"[..]));
        }
        assert_eq!(answered.states.len(), REMEMBERED);
        assert_eq!(answered.order.len(), REMEMBERED);
    }
}
