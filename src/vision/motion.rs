//! The motion gate: before somebody steps in, frames are glanced at and not examined.

use std::time::{Duration, Instant};

use zune_core::colorspace::ColorSpace;

use super::frame::{Frame, JpegHeader, PixelFormat};
use super::picture::{Picture, decode_jpeg};
use crate::error::Result;

/// Cells of a glance, across and down.
const COLUMNS: usize = 32;
const ROWS: usize = 24;
const CELLS: usize = COLUMNS * ROWS;
/// Pixels from one sample to the next, both ways.
const SAMPLING: usize = 4;
/// A compressed frame is decoded at most this often while nothing moves: every second one at 15 frames a second, so
/// that the second frame that shows somebody is seen.
const GLANCE_EVERY: Duration = Duration::from_millis(100);
/// Unless its length says that it shows something else: bytes over bytes of the last one that was decoded.
const TELLING_LENGTH: f32 = 0.03;
/// Without motion, everything is examined this often all the same: for somebody who came in slower than the
/// background learns, or who turns round.
const PATROL_EVERY: Duration = Duration::from_secs(2);
/// Frames are examined this long after the last motion or face.
const STAYS_AWAKE: Duration = Duration::from_millis(1500);
/// Cells that must have changed: somebody three metres away covers some thirty.
const LEAST_CELLS: usize = 6;
/// A cell changed if it differs by this, of 255, and by this many times what it differs by on its own.
const LEAST_CHANGE: f32 = 6.0;
const LEAST_OVER_NOISE: f32 = 4.0;
/// Time in which the background learns what is there (63 %): while nothing moves, and while something moves but shows
/// no face, such as a door left open.
const LEARNS_IN: Duration = Duration::from_secs(8);
const LEARNS_STRANGE_IN: Duration = Duration::from_millis(1500);
/// Added to both brightnesses before they are divided, so that dark cells do not decide what the light does.
const DARK: f32 = 8.0;

/// Mean brightness of the cells, 0 to 255.
type Glance = [f32; CELLS];

/// Tells when frames are worth examining, and learns what the empty scene looks like.
pub struct MotionGate {
    background: Option<Box<Glance>>,
    /// What each cell differs by without anybody.
    noise: Box<Glance>,
    glance: Box<Glance>,
    luma: Vec<u8>,
    scratch: Vec<u8>,
    ratios: Vec<f32>,
    awake_until: Option<Instant>,
    examined: Option<Instant>,
    glanced: Option<Instant>,
    glanced_bytes: usize,
    /// Since when something moves without a face.
    strange_since: Option<Instant>,
}

impl Default for MotionGate {
    fn default() -> Self {
        Self::new()
    }
}

impl MotionGate {
    /// Awake until it has seen the scene.
    pub fn new() -> Self {
        Self {
            background: None,
            noise: Box::new([1.0; CELLS]),
            glance: Box::new([0.0; CELLS]),
            luma: Vec::new(),
            scratch: Vec::new(),
            ratios: Vec::with_capacity(CELLS),
            awake_until: None,
            examined: None,
            glanced: None,
            glanced_bytes: 0,
            strange_since: None,
        }
    }

    /// Whether a frame is to be examined; if so, [`MotionGate::examined`] follows. While nothing moves this costs a
    /// look at some pixels, and for JPEG the decoding of the brightness of every second frame. `Input` for a
    /// damaged frame.
    pub fn wakes(&mut self, frame: &Frame) -> Result<bool> {
        let at = frame.captured;
        let since = |past: Option<Instant>| past.map(|past| at.saturating_duration_since(past));
        let awake = self.awake_until.is_some_and(|until| at < until);
        let patrol = since(self.examined).is_none_or(|passed| passed >= PATROL_EVERY);
        if awake || patrol || self.background.is_none() {
            return Ok(true);
        }
        if frame.format() == PixelFormat::Jpeg {
            let bytes = frame.data().len() as f32;
            let telling = (bytes / self.glanced_bytes.max(1) as f32 - 1.0).abs() >= TELLING_LENGTH;
            if !telling && since(self.glanced).is_some_and(|passed| passed < GLANCE_EVERY) {
                return Ok(false);
            }
        }
        self.glance_at(frame)?;
        let elapsed = since(self.glanced).unwrap_or_default();
        (self.glanced, self.glanced_bytes) = (Some(at), frame.data().len());
        if self.changed() {
            self.awake_until = Some(at + STAYS_AWAKE);
            return Ok(true);
        }
        self.learn(elapsed, LEARNS_IN);
        Ok(false)
    }

    /// Takes in what the examination of a frame captured at `at` found.
    pub fn examined(&mut self, picture: &Picture, faces: bool, bytes: usize, at: Instant) {
        let elapsed = self.examined.map(|past| at.saturating_duration_since(past)).unwrap_or_default();
        self.examined = Some(at);
        let (width, height) = picture.size();
        let pixels = picture.pixels();
        sample(&mut self.glance, width as usize, height as usize, |x, y| {
            let at = (y * width as usize + x) * 3;
            let [red, green, blue] = [pixels[at], pixels[at + 1], pixels[at + 2]].map(u32::from);
            (77 * red + 150 * green + 29 * blue) >> 8
        });
        (self.glanced, self.glanced_bytes) = (Some(at), bytes);
        if self.background.is_none() {
            self.background = Some(self.glance.clone());
            self.awake_until = Some(at + STAYS_AWAKE);
            return;
        }
        if faces {
            // Who stands still is not learnt.
            self.awake_until = Some(at + STAYS_AWAKE);
            self.strange_since = None;
        } else if self.changed() {
            self.awake_until = Some(at + STAYS_AWAKE);
            let since = *self.strange_since.get_or_insert(at);
            if at.saturating_duration_since(since) >= STAYS_AWAKE {
                self.learn(elapsed, LEARNS_STRANGE_IN);
            }
        } else {
            self.strange_since = None;
            self.learn(elapsed, LEARNS_IN);
        }
    }

    fn glance_at(&mut self, frame: &Frame) -> Result<()> {
        let (width, height) = frame.size();
        let (width, height) = (width as usize, height as usize);
        let (data, stride) = (frame.data(), frame.stride());
        let glance = &mut self.glance;
        match frame.format() {
            PixelFormat::Jpeg => {
                let header = JpegHeader::read(data)?;
                self.luma.resize(width * height, 0);
                decode_jpeg(data, &header, ColorSpace::Luma, &mut self.scratch, &mut self.luma)?;
                let luma = &self.luma;
                sample(glance, width, height, |x, y| u32::from(luma[y * width + x]));
            }
            // Limited range, stretched as the decoder of pictures does.
            PixelFormat::Yuyv => {
                sample(glance, width, height, |x, y| stretched(data[y * stride + 2 * x]));
            }
            PixelFormat::Nv12 => sample(glance, width, height, |x, y| stretched(data[y * stride + x])),
            PixelFormat::Grey => sample(glance, width, height, |x, y| u32::from(data[y * stride + x])),
            PixelFormat::Rgb => sample(glance, width, height, |x, y| {
                let at = y * stride + 3 * x;
                let [red, green, blue] = [data[at], data[at + 1], data[at + 2]].map(u32::from);
                (77 * red + 150 * green + 29 * blue) >> 8
            }),
        }
        Ok(())
    }

    /// What the light does to all cells alike: the median of how much brighter they are.
    fn light(&mut self) -> f32 {
        let Some(background) = &self.background else { return 1.0 };
        self.ratios.clear();
        let cells = self.glance.iter().zip(background.iter());
        self.ratios.extend(cells.map(|(now, then)| (now + DARK) / (then + DARK)));
        let (_, median, _) = self.ratios.select_nth_unstable_by(CELLS / 2, f32::total_cmp);
        *median
    }

    /// Whether the scene differs from the background in more than its light.
    fn changed(&mut self) -> bool {
        let light = self.light();
        let Some(background) = &self.background else { return true };
        let cells = self.glance.iter().zip(background.iter()).zip(self.noise.iter());
        let changed = cells.filter(|((now, then), noise)| {
            let difference = (*now - ((*then + DARK) * light - DARK)).abs();
            difference >= LEAST_CHANGE && difference >= LEAST_OVER_NOISE * **noise
        });
        changed.count() >= LEAST_CELLS
    }

    /// Moves the background towards the last glance, as far as `elapsed` of `time` allows.
    fn learn(&mut self, elapsed: Duration, time: Duration) {
        let share = 1.0 - (-elapsed.as_secs_f32() / time.as_secs_f32()).exp();
        let light = self.light();
        let Some(background) = &mut self.background else { return };
        let cells = self.glance.iter().zip(background.iter_mut()).zip(self.noise.iter_mut());
        for ((now, then), noise) in cells {
            let difference = (now - ((*then + DARK) * light - DARK)).abs();
            *noise += (difference - *noise) * share;
            *then += (now - *then) * share;
        }
    }
}

/// Stretches limited range (16 to 235) to 0 to 255.
fn stretched(luma: u8) -> u32 {
    (u32::from(luma).saturating_sub(16) * 298 / 256).min(255)
}

/// Fills the cells with the mean of every [`SAMPLING`]th pixel both ways. Cells of a picture with fewer samples than
/// cells share the nearest.
fn sample(glance: &mut Glance, width: usize, height: usize, luma: impl Fn(usize, usize) -> u32) {
    let lines = |cell: usize, cells: usize, side: usize| {
        let start = cell * side / cells;
        start..((cell + 1) * side / cells).max(start + 1)
    };
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let (mut sum, mut count) = (0, 0);
            for y in lines(row, ROWS, height).step_by(SAMPLING) {
                for x in lines(column, COLUMNS, width).step_by(SAMPLING) {
                    sum += luma(x, y);
                    count += 1;
                }
            }
            glance[row * COLUMNS + column] = sum as f32 / count as f32;
        }
    }
}
