//! When a frame was captured, and which one it is: from what the kernel says to what the gate counts in.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// A frame that is said to be older than this was stamped by another clock.
const OLDEST: Duration = Duration::from_secs(2);

/// The three clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Of the kernel's `CLOCK_MONOTONIC`, which stamps frames, since it began.
    pub monotonic: Duration,
    /// The same moment for durations.
    pub instant: Instant,
    /// The same moment for records.
    pub wall: Timestamp,
}

impl Now {
    /// The moment of the call, with the gate's wall time.
    pub(super) fn take(wall: Timestamp) -> Self {
        let time = clock_gettime(ClockId::Monotonic);
        // Neither is negative.
        let monotonic = Duration::new(
            u64::try_from(time.tv_sec).unwrap_or_default(),
            u32::try_from(time.tv_nsec).unwrap_or_default(),
        );
        Self { monotonic, instant: Instant::now(), wall }
    }

    /// When a frame was captured that the kernel stamped with `[seconds, microseconds]`. A stamp that is not of this
    /// clock (zero, in the future, or older than a queue of buffers can be: some drivers use the wall clock, some
    /// none) counts for nothing: then it is now.
    pub(super) fn captured(&self, [seconds, micros]: [i64; 2]) -> (Instant, Timestamp) {
        let stamp = match (u64::try_from(seconds), u64::try_from(micros)) {
            (Ok(seconds), Ok(micros)) if micros < 1_000_000 => {
                Duration::from_secs(seconds).checked_add(Duration::from_micros(micros))
            }
            _ => None,
        };
        let age = stamp
            .and_then(|stamp| self.monotonic.checked_sub(stamp))
            .filter(|age| *age <= OLDEST)
            .unwrap_or_default();
        let wall = SignedDuration::try_from(age).ok().and_then(|age| self.wall.checked_sub(age).ok());
        (self.instant.checked_sub(age).unwrap_or(self.instant), wall.unwrap_or(self.wall))
    }
}

/// Counts frames by the numbers that the driver gives them, so that a frame which the driver dropped leaves a gap.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    last: Option<u32>,
    number: u64,
}

impl Sequence {
    /// The number of the next frame, from 1, and how many were dropped before it. A driver that does not count
    /// (always the same) or that began anew is counted for.
    pub(super) fn next(&mut self, sequence: u32) -> (u64, u64) {
        let step = match self.last {
            None => 1,
            Some(last) => match sequence.wrapping_sub(last) {
                0 => 1,
                step if step < 1 << 16 => u64::from(step),
                // Backwards, or a jump that no dropped frames explain.
                _ => 1,
            },
        };
        self.last = Some(sequence);
        self.number += step;
        (self.number, step - 1)
    }
}

/// Lets through as many frames as were asked for, where a camera cannot be made to deliver fewer.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    due: Option<Instant>,
}

impl Pace {
    /// At most `fps` frames a second.
    pub(super) fn new(fps: u32) -> Self {
        Self { period: Duration::from_secs(1) / fps.max(1), due: None }
    }

    /// Whether the frame captured at `at` is wanted. A frame may come a quarter of a period early: what a camera
    /// delivers at the right rate trembles.
    pub(super) fn wants(&mut self, at: Instant) -> bool {
        match self.due {
            Some(due) if at + self.period / 4 < due => false,
            // A camera that is behind is not let catch up.
            Some(due) if due + self.period > at => {
                self.due = Some(due + self.period);
                true
            }
            _ => {
                self.due = Some(at + self.period);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Now {
        Now {
            monotonic: Duration::from_millis(5_000_250),
            instant: Instant::now() + Duration::from_secs(100),
            wall: "2026-03-02T04:00:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_stamp_of_the_kernel_becomes_a_moment_of_ours() {
        let now = now();
        // Stamp, age in microseconds.
        let table = [
            ([5000, 250_000], 0),
            ([5000, 200_000], 50_000),
            ([4999, 999_999], 250_001),
            ([4998, 250_000], 2_000_000),
            // Too old, in the future, none, of the wall clock, nonsense.
            ([4998, 249_999], 0),
            ([5000, 250_001], 0),
            ([0, 0], 0),
            ([1_772_424_000, 0], 0),
            ([-1, 0], 0),
            ([5000, -1], 0),
            ([5000, 1_000_000], 0),
            ([i64::MAX, 999_999], 0),
        ];
        for (stamp, micros) in table {
            let (captured, wall) = now.captured(stamp);
            assert_eq!(now.instant - captured, Duration::from_micros(micros), "{stamp:?}");
            assert_eq!(now.wall.as_microsecond() - wall.as_microsecond(), micros as i64, "{stamp:?}");
        }
    }

    #[test]
    fn the_clocks_are_read_together() {
        let (before, now) = (Instant::now(), Now::take(Timestamp::UNIX_EPOCH));
        assert!(now.instant >= before && now.monotonic > Duration::ZERO);
        // A frame that was stamped a moment ago, as the kernel would have.
        let stamp = now.monotonic - Duration::from_millis(40);
        let (captured, _) = now.captured([stamp.as_secs() as i64, i64::from(stamp.subsec_micros())]);
        let age = now.instant - captured;
        assert!(age >= Duration::from_millis(40) && age < Duration::from_millis(41), "{age:?}");
    }

    #[test]
    fn a_dropped_frame_leaves_a_gap() {
        let mut sequence = Sequence::default();
        // What the driver says, our number, frames dropped.
        let table = [
            (7, 1, 0),
            (8, 2, 0),
            (11, 5, 2),
            (11, 6, 0),
            (u32::MAX, 7, 0),
            (1, 9, 1),
            (0, 10, 0),
            (1 << 20, 11, 0),
        ];
        for (said, number, dropped) in table {
            assert_eq!(sequence.next(said), (number, dropped), "{said}");
        }
    }

    #[test]
    fn a_faster_camera_is_slowed_down_and_a_right_one_is_not() {
        let start = Instant::now();
        let count = |camera_fps: u32, wanted: u32, tremble: u64| {
            let mut pace = Pace::new(wanted);
            (0..10 * camera_fps)
                .filter(|index| {
                    let even = Duration::from_secs(u64::from(*index)) / camera_fps;
                    let late = Duration::from_millis(if index % 2 == 1 { tremble } else { 0 });
                    pace.wants(start + even + late)
                })
                .count()
        };
        assert_eq!(count(30, 15, 0), 150);
        assert_eq!(count(30, 15, 3), 150);
        assert_eq!(count(15, 15, 8), 150);
        assert_eq!(count(10, 15, 0), 100);
        let slowed = count(25, 15, 0);
        assert!((145..=151).contains(&slowed), "{slowed}");
    }
}
