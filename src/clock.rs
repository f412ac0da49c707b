//! The clock, injected so that a test can set it and so that a jump of the wall clock is one case, not many.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp, civil};

/// Wall time of the gate. Durations are never taken from it: they come from [`Instant`], which does not jump.
pub trait Clock: Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// The clock of the agent, shared by all its parts.
pub type SharedClock = Arc<dyn Clock>;

/// The system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that a file moves: the file holds seconds (signed, decimal) to add to the system's clock.
/// The configuration names it (`terminal.clock = "offset:FILE"`) to try out what a wrong clock does to a gate.
#[derive(Debug, Clone)]
pub struct OffsetClock {
    file: PathBuf,
}

impl OffsetClock {
    /// A clock moved by `file`; a file that is absent or unreadable moves it by nothing.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into() }
    }
}

impl Clock for OffsetClock {
    fn now(&self) -> Timestamp {
        let seconds = std::fs::read_to_string(&self.file)
            .ok()
            .and_then(|text| text.trim().parse::<i64>().ok())
            .unwrap_or(0);
        let now = Timestamp::now();
        now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(now)
    }
}

/// A clock that can be set without touching the machine's: another one, and what was set since it was made.
pub struct AdjustedClock {
    inner: SharedClock,
    /// Microseconds ahead of `inner`.
    ahead: AtomicI64,
}

impl AdjustedClock {
    /// A clock that shows what `inner` shows until it is set.
    pub fn new(inner: SharedClock) -> Arc<Self> {
        Arc::new(Self { inner, ahead: AtomicI64::new(0) })
    }

    /// Sets it; from here it runs on as `inner` does.
    pub fn set(&self, now: Timestamp) {
        // Both are within -9999 to 9999, whose microseconds fit.
        let ahead = now.as_microsecond() - self.inner.now().as_microsecond();
        self.ahead.store(ahead, Ordering::SeqCst);
    }
}

impl Clock for AdjustedClock {
    fn now(&self) -> Timestamp {
        let now = self.inner.now();
        let ahead = SignedDuration::from_micros(self.ahead.load(Ordering::SeqCst));
        now.checked_add(ahead).unwrap_or(now)
    }
}

/// A clock that stands where it is put.
#[derive(Debug)]
pub struct ManualClock(std::sync::Mutex<Timestamp>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(std::sync::Mutex::new(now)))
    }

    /// Puts the clock to `now`, forwards or back.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One moment as the rules see it: a point in time and the offset of the gate's own zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The point in time.
    pub utc: Timestamp,
    /// The zone of the gate (QYZN `time.timezone`), never that of the machine.
    pub offset: Offset,
}

impl Moment {
    /// The civil time on the gate's wall.
    pub fn local(&self) -> civil::DateTime {
        self.offset.to_datetime(self.utc)
    }
}

/// The day on which this program was built (or `SOURCE_DATE_EPOCH` of the build), in UTC: a clock that shows an earlier
/// time was lost.
pub fn built() -> Timestamp {
    let seconds = env!("MENSHEN_BUILT").parse().unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What is wrong with a clock that shows `now`, if it was lost.
pub fn lost(now: Timestamp) -> Option<String> {
    let built = built();
    (now < built).then(|| {
        let day = |time: Timestamp| Offset::UTC.to_datetime(time).date();
        format!(
            "the clock shows {}, before this program was built ({}): it was lost. Is the battery of the real-time clock \
             empty? Validities and TLS go wrong until a platform, NTP or `timedatectl set-time` sets it",
            day(now),
            day(built)
        )
    })
}

/// Milliseconds between two monotonic instants, 0 when the order is reversed.
pub fn millis_between(earlier: Instant, later: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_before_the_build_was_lost() {
        let built = built();
        assert!(built > "2026-01-01T00:00:00Z".parse().unwrap(), "{built}");
        assert_eq!(lost(built), None);
        let before = built.checked_sub(SignedDuration::from_secs(1)).unwrap();
        assert!(lost(before).unwrap().contains("battery"));
        assert!(lost(Timestamp::UNIX_EPOCH).unwrap().starts_with("the clock shows 1970-01-01"));
    }

    #[test]
    fn a_clock_that_was_set_runs_on() {
        let machine = ManualClock::new("2026-03-02T04:00:00Z".parse().unwrap());
        let clock = AdjustedClock::new(machine.clone());
        assert_eq!(clock.now(), machine.now());
        clock.set("1999-12-31T23:59:59.5Z".parse().unwrap());
        machine.set("2026-03-02T04:00:01Z".parse().unwrap());
        assert_eq!(clock.now(), "2000-01-01T00:00:00.5Z".parse().unwrap());
        clock.set("2030-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(clock.now(), "2030-01-01T00:00:00Z".parse().unwrap());
    }
}
