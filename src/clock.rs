//! The clock, injected so that a test can set it and so that a jump of the wall clock is one case, not many.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::tz::Offset;
use jiff::{Timestamp, civil};

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

/// Milliseconds between two monotonic instants, 0 when the order is reversed.
pub fn millis_between(earlier: Instant, later: Instant) -> u64 {
    u64::try_from(later.saturating_duration_since(earlier).as_millis()).unwrap_or(u64::MAX)
}
