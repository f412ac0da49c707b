//! The infrared camera beside a visible one: its latest frames, of which each visible frame finds the one that was
//! captured at the same moment.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::frame::Frame;

/// Infrared frames that are kept: a look may take as long as four of them.
const KEPT: usize = 4;

/// How long after somebody was seen last infrared frames are still kept.
const STAYS: Duration = Duration::from_secs(2);

/// How far an infrared frame is from its visible one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// It was captured so much earlier.
    Earlier(Duration),
    /// Or so much later.
    Later(Duration),
}

impl Apart {
    /// From the moments of the visible and the infrared frame.
    pub fn of(visible: Instant, infrared: Instant) -> Self {
        match visible.checked_duration_since(infrared) {
            Some(by) => Self::Earlier(by),
            None => Self::Later(infrared.saturating_duration_since(visible)),
        }
    }

    /// Milliseconds, less than 0 if the infrared frame was earlier.
    pub fn millis(self) -> f64 {
        match self {
            Self::Earlier(by) => -(by.as_secs_f64() * 1000.0),
            Self::Later(by) => by.as_secs_f64() * 1000.0,
        }
    }

    fn length(self) -> Duration {
        match self {
            Self::Earlier(by) | Self::Later(by) => by,
        }
    }
}

/// What passes between the thread of an infrared camera and that of its visible one.
#[derive(Default)]
pub struct Partner(Mutex<Shared>);

#[derive(Default)]
struct Shared {
    /// The earliest first.
    frames: VecDeque<Frame>,
    /// Buffers that came back.
    spare: Vec<Vec<u8>>,
    wanted_until: Option<Instant>,
}

impl Shared {
    fn spare(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < KEPT {
            self.spare.push(buffer);
        }
    }
}

impl Partner {
    /// Nothing captured yet, nothing wanted.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody stands there: infrared frames are wanted from now on and for a while.
    pub fn want(&self, now: Instant) {
        self.lock().wanted_until = Some(now + STAYS);
    }

    /// A buffer for the next infrared frame; `None` while nobody stands there, and frames are best passed over.
    pub fn buffer(&self, now: Instant) -> Option<Vec<u8>> {
        let mut shared = self.lock();
        shared.wanted_until.is_some_and(|until| now < until).then(|| shared.spare.pop().unwrap_or_default())
    }

    /// Keeps an infrared frame; the earliest makes room.
    pub fn put(&self, frame: Frame) {
        let mut shared = self.lock();
        if shared.frames.len() == KEPT
            && let Some(oldest) = shared.frames.pop_front()
        {
            shared.spare(oldest.into_data());
        }
        shared.frames.push_back(frame);
    }

    /// How far an infrared frame may be from its visible one at a frame rate of `fps`. Cameras without a common trigger
    /// capture at any moment of each other's period, and a visible frame is looked at before the infrared one that
    /// follows it is there: so a whole period, and a quarter for a camera that is late.
    pub fn window(fps: u32) -> Duration {
        Duration::from_secs(1) / fps.max(1) * 5 / 4
    }

    /// The infrared frame that was captured nearest to `visible`, if it is `within` so far, with how far it is. What was
    /// captured before it serves nobody any more.
    pub fn take(&self, visible: Instant, within: Duration) -> Option<(Frame, Apart)> {
        let mut shared = self.lock();
        let apart = |frame: &Frame| Apart::of(visible, frame.captured);
        let nearest = (0..shared.frames.len()).min_by_key(|index| apart(&shared.frames[*index]).length())?;
        if apart(&shared.frames[nearest]).length() > within {
            return None;
        }
        for _ in 0..nearest {
            if let Some(earlier) = shared.frames.pop_front() {
                shared.spare(earlier.into_data());
            }
        }
        let frame = shared.frames.pop_front()?;
        let apart = apart(&frame);
        Some((frame, apart))
    }

    /// Takes the buffer of a frame back.
    pub fn give_back(&self, buffer: Vec<u8>) {
        self.lock().spare(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    fn frame(number: u64, captured: Instant, data: Vec<u8>) -> Frame {
        let wall = jiff::Timestamp::UNIX_EPOCH;
        Frame::raw(data, PixelFormat::Grey, 2, 2, 2, captured, wall, number, 1).unwrap()
    }

    #[test]
    fn every_phase_of_two_cameras_has_its_pairs() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for phase in 0..67 {
            let (partner, mut pairs) = (Partner::new(), 0);
            // The visible frame is looked at 5 ms after its capture.
            let mut number = 0;
            for look in (70..1000).step_by(67) {
                while phase + number * 67 <= look + 5 {
                    partner.put(frame(number, at(phase + number * 67), vec![0; 4]));
                    number += 1;
                }
                pairs += usize::from(partner.take(at(look), Partner::window(15)).is_some());
            }
            assert_eq!(pairs, 14, "the infrared camera {phase} ms behind the visible one");
        }
    }

    #[test]
    fn a_visible_frame_finds_the_nearest_within_bounds() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let half = Duration::from_millis(33);
        // Captures of infrared frames; capture of the visible one; which is found, how far.
        type Row<'a> = (&'a [u64], u64, Option<(u64, f64)>);
        let table: [Row; 8] = [
            (&[100, 166, 233], 170, Some((2, -4.0))),
            (&[100, 166, 233], 230, Some((3, 3.0))),
            (&[100, 166, 233], 133, Some((1, -33.0))),
            (&[100, 166, 233], 67, Some((1, 33.0))),
            (&[100, 166, 233], 66, None),
            (&[100, 166, 233], 267, None),
            (&[100, 166, 233, 300, 366], 100, None),
            (&[], 100, None),
        ];
        for (infrared, visible, found) in table {
            let partner = Partner::new();
            for (number, ms) in (1..).zip(infrared) {
                partner.put(frame(number, at(*ms), vec![0; 4]));
            }
            let taken = partner.take(at(visible), half).map(|(frame, apart)| (frame.number, apart.millis()));
            assert_eq!(taken, found, "{infrared:?} at {visible}");
        }
    }

    #[test]
    fn each_infrared_frame_serves_once_and_buffers_are_used_again() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let half = Duration::from_millis(33);
        let partner = Partner::new();
        assert!(partner.buffer(start).is_none(), "nobody is there");
        partner.want(start);
        assert_eq!(partner.buffer(at(1999)), Some(Vec::new()));
        assert!(partner.buffer(at(2000)).is_none(), "they have gone");
        partner.want(start);
        for number in 0..10 {
            let mut buffer = partner.buffer(start).unwrap();
            // A buffer that came back has room; its bytes do not matter.
            assert_eq!(buffer.capacity() >= 4, number > 4, "{number}");
            buffer.clear();
            buffer.resize(4, 0);
            partner.put(frame(number, at(number * 66), buffer));
        }
        let (taken, _) = partner.take(at(8 * 66), half).unwrap();
        assert_eq!(taken.number, 8);
        partner.give_back(taken.into_data());
        assert!(partner.take(at(8 * 66), half).is_none(), "it is the same frame once more");
        assert!(partner.take(at(7 * 66), half).is_none(), "what was before has gone");
        assert_eq!(partner.take(at(9 * 66), half).unwrap().0.number, 9);
        let shared = partner.lock();
        assert!(shared.frames.is_empty() && shared.spare.len() <= KEPT);
    }
}
