//! Liveness: is there a head, or a picture of one? One score over the frames of a session, from what a model says of
//! single pictures, what moving pictures tell, and an infrared camera where there is one.

use std::time::Instant;

use super::face::{Landmarks, Rect};

/// Side of a [`Patch`] in its own pixels.
pub const PATCH: usize = 96;

/// The grey square around a face, twice as wide as its box, at a fixed size.
#[derive(Clone)]
pub struct Patch {
    pixels: Box<[u8; PATCH * PATCH]>,
    left: f32,
    top: f32,
    /// Pixels of the frame for one of the patch.
    scale: f32,
    /// Width and height of the frame.
    frame: (u32, u32),
}

impl Patch {
    /// Cuts the patch of a face out of a frame of `width` x `height`, whose brightness at column x and line y is
    /// `luma(x, y)`, asked only within the frame. Each pixel is the mean of four.
    pub fn sample(rect: &Rect, (width, height): (u32, u32), luma: impl Fn(u32, u32) -> u8) -> Self {
        let [x, y] = rect.centre();
        let side = 2.0 * rect.width().max(1.0);
        let scale = side / PATCH as f32;
        let (left, top) = (x - side / 2.0, y - side / 2.0);
        let mut pixels = Box::new([0; PATCH * PATCH]);
        // Saturating casts: what lies outside of the frame is its edge.
        let at = |from: f32, place: usize, part: f32, size: u32| {
            ((from + (place as f32 + part) * scale) as u32).min(size.saturating_sub(1))
        };
        for (line, row) in pixels.chunks_exact_mut(PATCH).enumerate() {
            let lines = [at(top, line, 0.25, height), at(top, line, 0.75, height)];
            for (column, pixel) in row.iter_mut().enumerate() {
                let columns = [at(left, column, 0.25, width), at(left, column, 0.75, width)];
                let sum: u16 = lines.iter().flat_map(|y| columns.map(|x| u16::from(luma(x, *y)))).sum();
                *pixel = (sum / 4) as u8;
            }
        }
        Self { pixels, left, top, scale, frame: (width, height) }
    }
}

/// What one frame shows of the face.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    /// When the frame was captured.
    pub at: Instant,
    /// Where the face is, in pixels of the frame.
    pub rect: Rect,
    /// Its landmarks, in pixels of the frame.
    pub landmarks: Landmarks,
    /// What the model gives for live, 0 to 1, if it was asked for this frame.
    pub model: Option<f32>,
    /// What an infrared camera gives for live, 0 to 1, if there is one.
    pub infrared: Option<f32>,
    /// The grey square around the face.
    pub patch: Option<&'a Patch>,
}

/// How strictly a judgement is asked for: QYZN `LiveSwitch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// 0: not at all.
    Off,
    /// 1: refuses photos and videos.
    Strict,
    /// 2: refuses some of them.
    Lenient,
}

impl Level {
    /// From `LiveSwitch`; anything beyond 2 is taken as 1, the strict one.
    pub fn from_switch(switch: u8) -> Self {
        match switch {
            0 => Self::Off,
            2 => Self::Lenient,
            _ => Self::Strict,
        }
    }
}

/// What the judge says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// More frames are needed.
    NotYet,
    /// A head.
    Live,
    /// A picture of one.
    Attack,
}

/// The parts of a score, for logs.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Parts {
    /// Frames seen.
    pub frames: u32,
    /// What the model gave over the frames, 0 to 1.
    pub model: Option<f32>,
    /// What infrared gave over the frames, 0 to 1.
    pub infrared: Option<f32>,
}

/// Judges one session. Made anew for each.
#[derive(Default)]
pub struct Judge {
    frames: u32,
    model: Vec<f32>,
    infrared: Vec<f32>,
}

impl Judge {
    /// A judge who has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one frame into account. Frames come in the order of their capture.
    pub fn observe(&mut self, observation: &Observation<'_>) {
        self.frames = self.frames.saturating_add(1);
        self.model.extend(observation.model);
        self.infrared.extend(observation.infrared);
    }

    /// 0 (a picture) to 100 (a head); `None` until enough was seen.
    pub fn score(&self) -> Option<f32> {
        (self.model.len() >= 5).then(|| 100.0 * median(&self.model).unwrap_or(0.0))
    }

    /// Whether the face is live, at a level and with a threshold of 0 to 100 (`LiveThres`).
    pub fn judgement(&self, level: Level, threshold: u8) -> Judgement {
        match (level, self.score()) {
            (Level::Off, _) => Judgement::Live,
            (_, None) => Judgement::NotYet,
            (_, Some(score)) if score >= f32::from(threshold) => Judgement::Live,
            _ => Judgement::Attack,
        }
    }

    /// What the score is made of.
    pub fn parts(&self) -> Parts {
        Parts { frames: self.frames, model: median(&self.model), infrared: median(&self.infrared) }
    }
}

fn median(values: &[f32]) -> Option<f32> {
    let mut values = values.to_vec();
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}
