//! How many frames a second each camera delivers, for whoever looks after the gate.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Over so long a time the rate is measured.
const SPAN: Duration = Duration::from_secs(2);

/// A camera that has delivered nothing for so long delivers none.
const SILENT: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy)]
struct Measured {
    since: Instant,
    frames: u32,
    last: Instant,
    rate: Option<f32>,
}

/// The rates, by camera.
#[derive(Debug, Default)]
pub(super) struct FrameRates(Mutex<Vec<Option<Measured>>>);

impl FrameRates {
    /// A frame came at `now`.
    pub(super) fn count(&self, camera: usize, now: Instant) {
        let mut cameras = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cameras.len() <= camera {
            cameras.resize(camera + 1, None);
        }
        let begun = Measured { since: now, frames: 0, last: now, rate: None };
        // The first frame begins a span and does not end one.
        let Some(measured) = cameras[camera].as_mut().filter(|known| now.duration_since(known.last) < SILENT)
        else {
            cameras[camera] = Some(begun);
            return;
        };
        measured.frames += 1;
        measured.last = now;
        let span = now.duration_since(measured.since);
        if span >= SPAN {
            *measured = Measured {
                since: now,
                frames: 0,
                last: now,
                rate: Some(measured.frames as f32 / span.as_secs_f32()),
            };
        }
    }

    /// Frames a second at `now`; `None` before anything was measured.
    pub(super) fn of(&self, camera: usize, now: Instant) -> Option<f32> {
        let cameras = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let measured = (*cameras.get(camera)?)?;
        if now.duration_since(measured.last) >= SILENT { Some(0.0) } else { measured.rate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_frames_over_time() {
        let (rates, begin) = (FrameRates::default(), Instant::now());
        let at = |ms: u64| begin + Duration::from_millis(ms);
        assert_eq!(rates.of(1, begin), None);
        for frame in 0..=60 {
            rates.count(1, at(frame * 50));
        }
        assert_eq!(rates.of(1, at(3000)), Some(20.0));
        assert_eq!(rates.of(0, at(3000)), None);
        assert_eq!(rates.of(1, at(6500)), Some(0.0), "it is gone");
        rates.count(1, at(9000));
        assert_eq!(rates.of(1, at(9000)), None, "it is back, and not measured yet");
    }
}
