//! Whether the gate is alive, and who is told: the machine's watchdog and the service manager.
//!
//! Every loop that a passage needs has a [`Heartbeat`] and beats once a turn: the sessions, the outputs, each camera's
//! two threads, and whoever asks the store to answer. [`feeder`] looks at all of them from a thread of its own and
//! feeds the watchdogs only while none is late. A loop that has ended in order has no heartbeat any more; one that
//! hangs keeps it, whatever holds it: a driver that does not return, a lock, a disk, or the runtime that it runs on.
//!
//! A camera that is unplugged, a platform that is away and a disk that is full are no dead loops: those go round and
//! say so. A medium that takes no write and returns no error is one: nobody is let in without a record, and a restart is
//! what helps.

pub mod feeder;
pub mod manager;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::clock::millis_between;

/// How often a loop that waits for work turns all the same, to beat.
pub const TURN: Duration = Duration::from_secs(1);

/// The loops that must be alive. Cheap to clone.
#[derive(Clone)]
pub struct Loops(Arc<Inner>);

struct Inner {
    started: Instant,
    loops: Mutex<Vec<Weak<Pulse>>>,
}

struct Pulse {
    name: String,
    started: Instant,
    /// Milliseconds after `started` at which it beat last.
    last: AtomicU64,
}

/// A loop's heartbeat. The loop counts as ended when the last of its clones has gone.
#[derive(Clone)]
pub struct Heartbeat(Arc<Pulse>);

impl Heartbeat {
    /// The loop has made a turn.
    pub fn beat(&self) {
        let now = millis_between(self.0.started, Instant::now());
        self.0.last.fetch_max(now, Ordering::Relaxed);
    }
}

impl Default for Loops {
    fn default() -> Self {
        Self(Arc::new(Inner { started: Instant::now(), loops: Mutex::default() }))
    }
}

impl Loops {
    /// The heartbeat of the loop with this name, which begins to count now. A loop that has one gets the same.
    pub fn heartbeat(&self, name: impl Into<String>) -> Heartbeat {
        let name = name.into();
        let mut loops = self.0.loops.lock().unwrap_or_else(PoisonError::into_inner);
        loops.retain(|pulse| pulse.strong_count() > 0);
        let known = loops.iter().filter_map(Weak::upgrade).find(|pulse| pulse.name == name);
        let pulse = known.unwrap_or_else(|| {
            let pulse = Arc::new(Pulse { name, started: self.0.started, last: AtomicU64::new(0) });
            loops.push(Arc::downgrade(&pulse));
            pulse
        });
        let heartbeat = Heartbeat(pulse);
        heartbeat.beat();
        heartbeat
    }

    /// The loops that have not turned for `within` at `now`, by name.
    pub fn late(&self, within: Duration, now: Instant) -> Vec<String> {
        let now = millis_between(self.0.started, now);
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let loops = self.0.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let mut late: Vec<String> = loops
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|pulse| now.saturating_sub(pulse.last.load(Ordering::Relaxed)) > within)
            .map(|pulse| pulse.name.clone())
            .collect();
        late.sort();
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_late_until_it_turns_or_ends() {
        let loops = Loops::default();
        let (sessions, outputs) = (loops.heartbeat("sessions"), loops.heartbeat("outputs"));
        let within = Duration::from_secs(10);
        let now = Instant::now();
        assert_eq!(loops.late(within, now + within), [""; 0]);
        // Neither has turned for longer.
        let later = now + within + Duration::from_secs(1);
        assert_eq!(loops.late(within, later), ["outputs", "sessions"]);
        // One has ended in order; the other one's thread began anew and has the same heartbeat.
        drop(outputs);
        assert_eq!(loops.late(within, later), ["sessions"]);
        let again = loops.heartbeat("sessions");
        drop(sessions);
        assert_eq!(loops.late(within, later), ["sessions"], "it is still there");
        drop(again);
        assert_eq!(loops.late(within, later), [""; 0]);
    }

    #[test]
    fn a_turn_counts() {
        let loops = Loops::default();
        let heartbeat = loops.heartbeat("sessions");
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(loops.late(Duration::from_millis(20), Instant::now()), ["sessions"]);
        heartbeat.beat();
        assert_eq!(loops.late(Duration::from_millis(20), Instant::now()), [""; 0]);
    }
}
