//! Liveness: is there a head, or a picture of one? One score over the frames of a session, out of
//!
//! - what a model says of single pictures (their median);
//! - *stirring*: a face blinks, speaks and turns in moments, a picture of one only moves as a whole. After an affine
//!   registration of the face with itself a third of a second earlier, what is left of the difference rises in those
//!   moments above its usual level; for a picture the usual level is all there is, be it held, moved or bent a little;
//! - *carrying*: a head moves before a background that stands still, a print or a screen carries its background
//!   along. Where the surroundings of a moving face are textured, the two explanations are held against each other;
//! - an infrared camera where there is one.
//!
//! Measured and left out, as it told nothing apart on our clips: the parallax of the nose against eyes and mouth (the
//! detector's landmarks tremble as much as a slight turn moves them), and the level of the registered difference by
//! itself (a halftone under a moving camera leaves as much). `docs/liveness.md` has the figures and the limits.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::face::{Landmarks, Rect};

/// Side of a [`Patch`] in its own pixels.
pub const PATCH: usize = 128;

/// Width of a patch in widths of the face's box.
const AROUND: f32 = 3.0;

/// Half the width of the face's box in a patch.
const HALF_FACE: f32 = PATCH as f32 / (2.0 * AROUND);

/// The middle of a patch, in its coordinates: pixel centres are whole numbers.
const MIDDLE: f32 = (PATCH - 1) as f32 / 2.0;

/// Two patches that are registered with each other are at least this far apart in time: about as long as a blink.
const LAG: Duration = Duration::from_millis(300);

/// And at most this far: later, the face is another view.
const LONGEST_LAG: Duration = Duration::from_millis(900);

/// Patches are kept at this distance in time, however fast the camera is.
const SPACING: Duration = Duration::from_millis(50);

/// Frames of the model that a score needs.
const MODEL_FRAMES: usize = 5;

/// Registered pairs that a score needs: two thirds of a second at 15 frames a second.
const PAIRS: usize = 10;

/// Registered pairs after which a score is final: until then a face may still stir, and before then only a score close
/// to 100 counts as live.
const PATIENT_PAIRS: usize = 20;

/// Blocks that the carrying of the background needs.
const BLOCKS: u32 = 10;

/// What is remembered of each series: the last ten seconds at 15 frames a second.
const REMEMBERED: usize = 150;

/// Weights of the score's logit, fitted by logistic regression on recorded presentations (see `docs/liveness.md`).
mod weight {
    /// Of the logit of the model's median, within ±5.
    pub const MODEL: f32 = 1.15;
    /// Of the stirring, 0 to 1.6.
    pub const STIRRING: f32 = 2.85;
    /// Of the carrying, 0 to 2.
    pub const CARRYING: f32 = -2.65;
    /// Of the logit of infrared's median, within ±5. Not fitted: there is no public data for it; it counts as the
    /// model does.
    pub const INFRARED: f32 = 1.0;
    /// Added.
    pub const BIAS: f32 = -4.5;
}

/// The grey square around a face, three times as wide as its box, at a fixed size.
#[derive(Clone)]
pub struct Patch {
    pixels: Box<[u8; PATCH * PATCH]>,
    place: Place,
}

/// Where a patch is in its frame.
#[derive(Clone, Copy)]
struct Place {
    left: f32,
    top: f32,
    /// Pixels of the frame for one of the patch.
    scale: f32,
    /// Width and height of the frame.
    frame: (f32, f32),
}

impl Patch {
    /// Cuts the patch of a face out of a frame of `width` x `height`, whose brightness at column x and line y is
    /// `luma(x, y)`, asked only within the frame. Each pixel is the mean of four.
    pub fn sample(rect: &Rect, (width, height): (u32, u32), luma: impl Fn(u32, u32) -> u8) -> Self {
        let [x, y] = rect.centre();
        let side = AROUND * rect.width().max(1.0);
        let scale = side / PATCH as f32;
        let (left, top) = (x - side / 2.0, y - side / 2.0);
        // Saturating casts: what lies outside of the frame is its edge.
        let at = |from: f32, size: u32| {
            let mut places = [[0_u32; 2]; PATCH];
            for (place, pair) in places.iter_mut().enumerate() {
                *pair = [0.25, 0.75]
                    .map(|part| ((from + (place as f32 + part) * scale) as u32).min(size.saturating_sub(1)));
            }
            places
        };
        let (columns, lines) = (at(left, width), at(top, height));
        let mut pixels = Box::new([0; PATCH * PATCH]);
        for (row, lines) in pixels.chunks_exact_mut(PATCH).zip(&lines) {
            for (pixel, columns) in row.iter_mut().zip(&columns) {
                let sum: u16 =
                    lines.iter().flat_map(|y| columns.iter().map(|x| u16::from(luma(*x, *y)))).sum();
                *pixel = (sum / 4) as u8;
            }
        }
        Self { pixels, place: Place { left, top, scale, frame: (width as f32, height as f32) } }
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
    /// 1: refuses photos and videos. Waits for the motion, and the score must reach the threshold.
    Strict,
    /// 2: refuses some of them. Live as soon as the model says so over some frames; an attack only if neither the
    /// model alone nor the score reaches the threshold.
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
    /// Pairs of frames whose faces were registered with each other.
    pub pairs: usize,
    /// What the model gave over the frames, 0 to 1.
    pub model: Option<f32>,
    /// How far the face's moments rise above its usual level, as a logarithm, 0 to 1.6.
    pub stirring: Option<f32>,
    /// How much better the background is explained by the face's motion than by standing still, as a logarithm, 0
    /// to 2; 0 when standing still explains it better, which a cut-out or a replay on a stand does as well.
    pub carrying: Option<f32>,
    /// What infrared gave over the frames, 0 to 1.
    pub infrared: Option<f32>,
}

/// Judges one session. Made anew for each.
#[derive(Default)]
pub struct Judge {
    frames: u32,
    model: VecDeque<f32>,
    infrared: VecDeque<f32>,
    /// What registration left, relative to the face's contrast.
    residuals: VecDeque<f32>,
    carrying: (f32, u32),
    kept: VecDeque<(Instant, Smooth)>,
    spare: Option<Smooth>,
    registration: Registration,
}

impl Judge {
    /// A judge who has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one frame into account. Frames come in the order of their capture. Costs a fraction of a millisecond.
    pub fn observe(&mut self, observation: &Observation<'_>) {
        self.frames = self.frames.saturating_add(1);
        let finite = |value: Option<f32>| value.filter(|value| value.is_finite());
        finite(observation.model).into_iter().for_each(|value| remember(&mut self.model, value));
        finite(observation.infrared).into_iter().for_each(|value| remember(&mut self.infrared, value));
        let Some(patch) = observation.patch else { return };
        let now = observation.at;
        let age = |at: Instant| now.saturating_duration_since(at);
        while self.kept.front().is_some_and(|(at, _)| age(*at) > LONGEST_LAG) {
            self.spare = self.kept.pop_front().map(|(_, smooth)| smooth);
        }
        if self.kept.back().is_some_and(|(at, _)| age(*at) < SPACING) {
            return;
        }
        let mut smooth = self.spare.take().unwrap_or_default();
        smooth.take(patch);
        // The latest that is old enough.
        let before = self.kept.iter().rev().find(|(at, _)| age(*at) >= LAG);
        if let Some((_, before)) = before
            && let Some(residual) = self.registration.run(before, &smooth)
        {
            remember(&mut self.residuals, residual);
            let (sum, blocks) = carrying(before, &smooth, &self.registration.warp);
            self.carrying.0 += sum;
            self.carrying.1 = self.carrying.1.saturating_add(blocks);
        }
        // All before the one just used have served.
        while self.kept.get(1).is_some_and(|(at, _)| age(*at) >= LAG) {
            self.spare = self.kept.pop_front().map(|(_, smooth)| smooth);
        }
        self.kept.push_back((now, smooth));
    }

    /// 0 (a picture) to 100 (a head); `None` until enough was seen: about a second.
    pub fn score(&self) -> Option<f32> {
        let parts = self.parts();
        if self.model.len() < MODEL_FRAMES && self.infrared.len() < MODEL_FRAMES {
            return None;
        }
        let logit = weight::MODEL * parts.model.map_or(0.0, logit)
            + weight::STIRRING * parts.stirring?
            + weight::CARRYING * parts.carrying.unwrap_or(0.0)
            + weight::INFRARED * parts.infrared.map_or(0.0, logit)
            + weight::BIAS;
        Some(100.0 / (1.0 + (-logit).exp()))
    }

    /// Whether the face is live, at a level and with a threshold of 0 to 100 (`LiveThres`).
    pub fn judgement(&self, level: Level, threshold: u8) -> Judgement {
        let threshold = f32::from(threshold);
        let reaches = |score: Option<f32>| score.is_some_and(|score| score >= threshold);
        let by_model =
            || median(&self.model).filter(|_| self.model.len() >= MODEL_FRAMES).map(|model| 100.0 * model);
        let patient = self.residuals.len() >= PATIENT_PAIRS;
        match level {
            Level::Off => Judgement::Live,
            Level::Lenient if reaches(by_model()) || reaches(self.score()) => Judgement::Live,
            Level::Strict if patient && reaches(self.score()) => Judgement::Live,
            // Each further look is a further chance for an attack: before its time only a sure score counts.
            Level::Strict if self.score().is_some_and(|score| score >= 100.0 - (100.0 - threshold) / 5.0) => {
                Judgement::Live
            }
            _ if patient && self.score().is_some() => Judgement::Attack,
            _ => Judgement::NotYet,
        }
    }

    /// What the score is made of.
    pub fn parts(&self) -> Parts {
        let stirring = || {
            let mut sorted: Vec<f32> = self.residuals.iter().copied().collect();
            sorted.sort_unstable_by(f32::total_cmp);
            let at = |share: f32| sorted[(share * (sorted.len() - 1) as f32).round() as usize];
            (at(0.95).max(f32::MIN_POSITIVE) / at(0.25).max(f32::MIN_POSITIVE)).ln().clamp(0.0, 1.6)
        };
        let (sum, blocks) = self.carrying;
        Parts {
            frames: self.frames,
            pairs: self.residuals.len(),
            model: median(&self.model),
            stirring: (self.residuals.len() >= PAIRS).then(stirring),
            carrying: (blocks >= BLOCKS).then(|| (sum / blocks as f32).max(0.0)),
            infrared: median(&self.infrared),
        }
    }
}

fn remember(series: &mut VecDeque<f32>, value: f32) {
    if series.len() == REMEMBERED {
        series.pop_front();
    }
    series.push_back(value);
}

fn median(values: &VecDeque<f32>) -> Option<f32> {
    let mut values: Vec<f32> = values.iter().copied().collect();
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f32::total_cmp).1)
}

/// The logit of a probability, within ±5: a model's certainty beyond that is not to be believed.
fn logit(probability: f32) -> f32 {
    let probability = probability.clamp(1e-6, 1.0 - 1e-6);
    (probability / (1.0 - probability)).ln().clamp(-5.0, 5.0)
}

/// A patch after a binomial filter of 5 x 5 (standard deviation of 1 pixel), which sensor noise does not survive;
/// 0 to 255.
#[derive(Clone)]
struct Smooth {
    pixels: Vec<f32>,
    place: Place,
}

impl Default for Smooth {
    fn default() -> Self {
        let place = Place { left: 0.0, top: 0.0, scale: 1.0, frame: (0.0, 0.0) };
        Self { pixels: vec![0.0; PATCH * PATCH], place }
    }
}

/// Weights of the binomial filter.
const BINOMIAL: [f32; 5] = [0.0625, 0.25, 0.375, 0.25, 0.0625];

impl Smooth {
    fn take(&mut self, patch: &Patch) {
        self.place = patch.place;
        let mut across = [0.0_f32; PATCH * PATCH];
        for (row, out) in patch.pixels.chunks_exact(PATCH).zip(across.chunks_exact_mut(PATCH)) {
            for (column, out) in out.iter_mut().enumerate() {
                *out = BINOMIAL
                    .iter()
                    .enumerate()
                    .map(|(tap, weight)| weight * f32::from(row[clamped(column + tap)]))
                    .sum();
            }
        }
        for line in 0..PATCH {
            let rows = [0, 1, 2, 3, 4].map(|tap| &across[clamped(line + tap) * PATCH..][..PATCH]);
            for (column, out) in self.pixels[line * PATCH..][..PATCH].iter_mut().enumerate() {
                *out = BINOMIAL.iter().zip(rows).map(|(weight, row)| weight * row[column]).sum();
            }
        }
    }

    fn at(&self, x: usize, y: usize) -> f32 {
        self.pixels[y * PATCH + x]
    }

    /// Change to the right and downwards, grey values a pixel. Not for the edge.
    fn gradient(&self, x: usize, y: usize) -> (f32, f32) {
        ((self.at(x + 1, y) - self.at(x - 1, y)) / 2.0, (self.at(x, y + 1) - self.at(x, y - 1)) / 2.0)
    }

    /// Bilinear; the edge goes on outside.
    fn sample(&self, [x, y]: [f32; 2]) -> f32 {
        let most = (PATCH - 1) as f32;
        // Not a number becomes 0.
        let (x, y) = (x.clamp(0.0, most), y.clamp(0.0, most));
        let (left, top) = ((x as usize).min(PATCH - 2), (y as usize).min(PATCH - 2));
        let (right, down) = (x - left as f32, y - top as f32);
        let upper = self.at(left, top) * (1.0 - right) + self.at(left + 1, top) * right;
        let lower = self.at(left, top + 1) * (1.0 - right) + self.at(left + 1, top + 1) * right;
        upper * (1.0 - down) + lower * down
    }
}

/// Index of the pixel under a tap, `place` being two more than the pixel in the middle.
fn clamped(place: usize) -> usize {
    place.saturating_sub(2).min(PATCH - 1)
}

/// An affine map of patch coordinates, around the middle of the patch: `x' = m + A (x - m) + t`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Affine {
    matrix: [[f32; 2]; 2],
    shift: [f32; 2],
}

impl Affine {
    const IDENTITY: Self = Self { matrix: [[1.0, 0.0], [0.0, 1.0]], shift: [0.0, 0.0] };

    fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        let (x, y) = (x - MIDDLE, y - MIDDLE);
        let [[a, b], [c, d]] = self.matrix;
        [MIDDLE + a * x + b * y + self.shift[0], MIDDLE + c * x + d * y + self.shift[1]]
    }

    /// First the inverse of `step`, then this one. `None` if `step` has no inverse.
    fn after_inverse_of(&self, step: &Self) -> Option<Self> {
        let [[a, b], [c, d]] = step.matrix;
        let determinant = a * d - b * c;
        if determinant.abs() < 0.1 || !determinant.is_finite() {
            return None;
        }
        let inverse = [[d / determinant, -b / determinant], [-c / determinant, a / determinant]];
        let product =
            |row: [f32; 2], column: usize| row[0] * inverse[0][column] + row[1] * inverse[1][column];
        let matrix = self.matrix.map(|row| [product(row, 0), product(row, 1)]);
        let shift = [0, 1]
            .map(|axis| self.shift[axis] - matrix[axis][0] * step.shift[0] - matrix[axis][1] * step.shift[1]);
        Some(Self { matrix, shift })
    }

    /// The map of a place that stands still in the frame, from one patch to another.
    fn standing_still(from: &Place, to: &Place) -> Self {
        let ratio = from.scale / to.scale;
        // Pixel centres lie half a pixel inside.
        let shift = |from_edge: f32, to_edge: f32| {
            (from_edge + (MIDDLE + 0.5) * from.scale - to_edge) / to.scale - 0.5 - MIDDLE
        };
        Self {
            matrix: [[ratio, 0.0], [0.0, ratio]],
            shift: [shift(from.left, to.left), shift(from.top, to.top)],
        }
    }
}

/// Affine registration of the inner face with an earlier one, with a change of light (gain and offset): Lucas and
/// Kanade's method in its inverse compositional form (Baker and Matthews, 2004, IJCV 56(3)).
struct Registration {
    /// Pixels of the ellipse that is registered, and of the smaller one that is measured.
    face: Vec<(usize, usize)>,
    inner: Vec<(usize, usize)>,
    /// Derivatives of the eight parameters at each pixel of the face.
    slopes: Vec<[f32; PARAMETERS]>,
    difference: Vec<f32>,
    blurred: Vec<f32>,
    /// Of the last run: from the earlier patch to the later.
    warp: Affine,
}

/// Four of the matrix, two of the shift, gain and offset.
const PARAMETERS: usize = 8;

/// Steps of a registration at most.
const STEPS: usize = 20;

impl Default for Registration {
    fn default() -> Self {
        let ellipse = |across: f32, down: f32, lower: f32| {
            let mut pixels = Vec::new();
            for y in 1..PATCH - 1 {
                for x in 1..PATCH - 1 {
                    let (dx, dy) = (x as f32 - MIDDLE, y as f32 - MIDDLE - lower);
                    let (dx, dy) = (dx / (HALF_FACE * across), dy / (HALF_FACE * down));
                    if dx * dx + dy * dy < 1.0 {
                        pixels.push((x, y));
                    }
                }
            }
            pixels
        };
        Self {
            face: ellipse(0.85, 1.1, 2.0),
            inner: ellipse(0.7, 0.95, 1.0),
            slopes: Vec::new(),
            difference: vec![0.0; PATCH * PATCH],
            blurred: vec![0.0; PATCH * PATCH],
            warp: Affine::IDENTITY,
        }
    }
}

impl Registration {
    /// Registers `after` with `before` and answers with what is left of the difference in the inner face, smoothed,
    /// as a share of its contrast. `None` if there is nothing to register by or no registration is found.
    fn run(&mut self, before: &Smooth, after: &Smooth) -> Option<f32> {
        self.slopes.clear();
        let count = self.face.len() as f32;
        let mean = self.face.iter().map(|(x, y)| before.at(*x, *y)).sum::<f32>() / count;
        let mut normal = [[0.0_f64; PARAMETERS]; PARAMETERS];
        for &(x, y) in &self.face {
            let (right, down) = before.gradient(x, y);
            let (dx, dy) = ((x as f32 - MIDDLE) / HALF_FACE, (y as f32 - MIDDLE) / HALF_FACE);
            let slope = [
                right * dx,
                right * dy,
                right,
                down * dx,
                down * dy,
                down,
                (before.at(x, y) - mean) / 32.0,
                1.0,
            ];
            for (row, one) in normal.iter_mut().zip(&slope) {
                for (sum, other) in row.iter_mut().zip(&slope) {
                    *sum += f64::from(one * other);
                }
            }
            self.slopes.push(slope);
        }
        let factors = cholesky(normal)?;
        let mut warp = Affine::IDENTITY;
        let mut light = [0.0_f32; 2];
        for _ in 0..STEPS {
            let mut right_side = [0.0_f64; PARAMETERS];
            for (&(x, y), slope) in self.face.iter().zip(&self.slopes) {
                let error = after.sample(warp.apply([x as f32, y as f32])) - before.at(x, y);
                for (sum, slope) in right_side.iter_mut().zip(slope) {
                    *sum += f64::from(error * slope);
                }
            }
            let step = solve(&factors, right_side).map(|value| value as f32);
            light = [step[6], step[7]];
            let turn = Affine {
                matrix: [
                    [1.0 + step[0] / HALF_FACE, step[1] / HALF_FACE],
                    [step[3] / HALF_FACE, 1.0 + step[4] / HALF_FACE],
                ],
                shift: [step[2], step[5]],
            };
            warp = warp.after_inverse_of(&turn)?;
            // How far the rim of the face has moved in this step.
            if step[..6].iter().map(|value| value.abs()).sum::<f32>() < 0.01 {
                break;
            }
        }
        let [[a, b], [c, d]] = warp.matrix;
        let near = [a - 1.0, b, c, d - 1.0].iter().all(|value| value.abs() < 0.35)
            && warp.shift.iter().all(|value| value.abs() < HALF_FACE / 2.0);
        if !near {
            return None;
        }
        self.warp = warp;
        // The difference, smoothed as the patches were, twice over.
        self.difference.fill(0.0);
        for &(x, y) in &self.face {
            let before = before.at(x, y);
            let expected = before + light[0] * (before - mean) / 32.0 + light[1];
            self.difference[y * PATCH + x] = after.sample(warp.apply([x as f32, y as f32])) - expected;
        }
        for _ in 0..2 {
            for stride in [1, PATCH] {
                for &(x, y) in &self.face {
                    let at = y * PATCH + x;
                    self.blurred[at] = BINOMIAL
                        .iter()
                        .enumerate()
                        .map(|(tap, weight)| weight * self.difference[at + tap * stride - 2 * stride])
                        .sum();
                }
                std::mem::swap(&mut self.difference, &mut self.blurred);
            }
        }
        let count = self.inner.len() as f32;
        let mean = self.inner.iter().map(|(x, y)| before.at(*x, *y)).sum::<f32>() / count;
        let contrast = self.inner.iter().map(|(x, y)| (before.at(*x, *y) - mean).powi(2)).sum::<f32>();
        let left = self.inner.iter().map(|(x, y)| self.difference[y * PATCH + x].powi(2)).sum::<f32>();
        // Below two grey values of contrast there is nothing to see.
        (contrast > 4.0 * count).then(|| (left / contrast).sqrt())
    }
}

/// `L` of `A = L Lᵀ`; `None` unless `A` is safely positive definite.
fn cholesky(mut matrix: [[f64; PARAMETERS]; PARAMETERS]) -> Option<[[f64; PARAMETERS]; PARAMETERS]> {
    for row in 0..PARAMETERS {
        for column in 0..=row {
            let sum: f64 = (0..column).map(|k| matrix[row][k] * matrix[column][k]).sum();
            let rest = matrix[row][column] - sum;
            if row == column {
                if rest.is_nan() || rest <= 1e-6 * matrix[row][row].abs().max(1e-3) {
                    return None;
                }
                matrix[row][row] = rest.sqrt();
            } else {
                matrix[row][column] = rest / matrix[column][column];
            }
        }
    }
    Some(matrix)
}

/// `x` of `L Lᵀ x = b`.
fn solve(factors: &[[f64; PARAMETERS]; PARAMETERS], mut x: [f64; PARAMETERS]) -> [f64; PARAMETERS] {
    for row in 0..PARAMETERS {
        let sum: f64 = (0..row).map(|k| factors[row][k] * x[k]).sum();
        x[row] = (x[row] - sum) / factors[row][row];
    }
    for row in (0..PARAMETERS).rev() {
        let sum: f64 = (row + 1..PARAMETERS).map(|k| factors[k][row] * x[k]).sum();
        x[row] = (x[row] - sum) / factors[row][row];
    }
    x
}

/// Side of a block of the background.
const BLOCK: usize = 16;

/// How much better the blocks beside and above the head are explained by the motion of the face than by standing
/// still: the sum of logarithms, each within ±2, and the number of blocks. Only blocks count that are textured, lie
/// in the frame both times, and would lie elsewhere by the one explanation than by the other.
fn carrying(before: &Smooth, after: &Smooth, with_face: &Affine) -> (f32, u32) {
    let still = Affine::standing_still(&before.place, &after.place);
    let half = BLOCK as f32 / 2.0;
    let (mut sum, mut count) = (0.0, 0);
    for top in (0..PATCH).step_by(BLOCK) {
        for left in (0..PATCH).step_by(BLOCK) {
            let centre = [left as f32 + half - 0.5, top as f32 + half - 0.5];
            let (dx, dy) = (centre[0] - MIDDLE, centre[1] - MIDDLE);
            // Hair is within; neck and shoulders below move with the head and are no background.
            if dx.abs().max(dy.abs()) < 1.9 * HALF_FACE + half - 4.0 || dy > HALF_FACE {
                continue;
            }
            let places = [with_face.apply(centre), still.apply(centre)];
            let apart = (places[0][0] - places[1][0]).hypot(places[0][1] - places[1][1]);
            let seen = in_frame(&before.place, centre, half)
                && places.iter().all(|place| {
                    let inside = |at: f32| at >= half && at <= PATCH as f32 - half;
                    inside(place[0]) && inside(place[1]) && in_frame(&after.place, *place, half)
                });
            if apart < 0.7 || !seen || texture(before, left, top) < 0.7 {
                continue;
            }
            let by_face = mismatch(before, after, left, top, with_face);
            let by_standing = mismatch(before, after, left, top, &still);
            sum += ((by_standing + 1.0) / (by_face + 1.0)).ln().clamp(-2.0, 2.0);
            count += 1;
        }
    }
    (sum, count)
}

/// Whether the block around a place of the patch lies within the frame.
fn in_frame(place: &Place, [x, y]: [f32; 2], half: f32) -> bool {
    let inside = |edge: f32, at: f32, size: f32| {
        let (at, margin) = (edge + (at + 0.5) * place.scale, half * place.scale);
        at >= margin && at <= size - margin
    };
    inside(place.left, x, place.frame.0) && inside(place.top, y, place.frame.1)
}

/// Root mean square of the gradient in a block, its outermost pixels left out.
fn texture(patch: &Smooth, left: usize, top: usize) -> f32 {
    let mut sum = 0.0;
    for y in top + 1..top + BLOCK - 1 {
        for x in left + 1..left + BLOCK - 1 {
            let (right, down) = patch.gradient(x, y);
            sum += right * right + down * down;
        }
    }
    (sum / ((BLOCK - 2) * (BLOCK - 2)) as f32).sqrt()
}

/// Mean square of the difference of a block under a map, without a difference of brightness.
fn mismatch(before: &Smooth, after: &Smooth, left: usize, top: usize, map: &Affine) -> f32 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for y in top..top + BLOCK {
        for x in left..left + BLOCK {
            let difference = after.sample(map.apply([x as f32, y as f32])) - before.at(x, y);
            sum += difference;
            squares += difference * difference;
        }
    }
    let count = (BLOCK * BLOCK) as f32;
    (squares / count - (sum / count).powi(2)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: (u32, u32) = (640, 480);

    /// A texture without repetition: waves of several directions and lengths, 28 to 228.
    fn texture_at(x: f32, y: f32) -> f32 {
        let waves =
            [(0.11, 0.04, 0.3), (-0.05, 0.13, 1.1), (0.21, 0.17, 2.0), (0.09, -0.23, 0.7), (0.31, 0.02, 2.9)];
        128.0 + 20.0 * waves.iter().map(|(u, v, phase)| (u * x + v * y + phase).sin()).sum::<f32>()
    }

    /// One frame: a head of 100 pixels at a place, before a background that has moved by itself. `stir` changes its eyes.
    struct Scene {
        head: [f32; 2],
        background: [f32; 2],
        stir: f32,
    }

    impl Scene {
        fn luma(&self, x: u32, y: u32) -> u8 {
            let (x, y) = (x as f32, y as f32);
            let (dx, dy) = (x - self.head[0], y - self.head[1]);
            let value = if (dx / 65.0).powi(2) + (dy / 75.0).powi(2) < 1.0 {
                let eyes = (-((dx.abs() - 20.0) / 8.0).powi(2) - ((dy + 15.0) / 6.0).powi(2)).exp();
                texture_at(dx, dy) + self.stir * eyes
            } else {
                texture_at(x - self.background[0] + 300.0, y - self.background[1] - 500.0)
            };
            value.clamp(0.0, 255.0) as u8
        }

        fn rect(&self) -> Rect {
            let [x, y] = self.head;
            Rect { left: x - 50.0, top: y - 50.0, right: x + 50.0, bottom: y + 50.0 }
        }

        fn patch(&self) -> Patch {
            Patch::sample(&self.rect(), FRAME, |x, y| self.luma(x, y))
        }
    }

    /// Plays scenes at 15 frames a second to a judge whose model gives `model` for each.
    fn play(count: usize, model: f32, scene: impl Fn(usize) -> Scene) -> Judge {
        let begin = Instant::now();
        let mut judge = Judge::new();
        for number in 0..count {
            let scene = scene(number);
            judge.observe(&Observation {
                at: begin + Duration::from_millis(number as u64 * 1000 / 15),
                rect: scene.rect(),
                landmarks: Landmarks::default(),
                model: Some(model),
                infrared: None,
                patch: Some(&scene.patch()),
            });
        }
        judge
    }

    /// Back and forth by some pixels, as a person sways or a hand trembles.
    fn sway(number: usize) -> [f32; 2] {
        let t = number as f32 / 15.0;
        [320.0 + 14.0 * (2.6 * t).sin(), 240.0 + 6.0 * (1.9 * t).sin()]
    }

    fn still_background(number: usize) -> Scene {
        Scene { head: sway(number), background: [0.0, 0.0], stir: 0.0 }
    }

    fn carried_background(number: usize) -> Scene {
        let head = sway(number);
        Scene { head, background: head, stir: 0.0 }
    }

    #[test]
    fn registration_finds_a_known_motion_and_change_of_light() {
        let plain = |x: f32, y: f32| texture_at(x - 64.0, y - 64.0);
        let smooth = |value: &dyn Fn(f32, f32) -> f32| {
            let mut smooth = Smooth::default();
            for (index, pixel) in smooth.pixels.iter_mut().enumerate() {
                *pixel = value((index % PATCH) as f32, (index / PATCH) as f32);
            }
            smooth
        };
        let before = smooth(&plain);
        // x' = m + A (x - m) + t: the later picture at x' is the earlier one at x, brighter and with less contrast.
        let known = Affine { matrix: [[1.04, 0.03], [-0.02, 0.97]], shift: [1.5, -0.8] };
        let back = Affine::IDENTITY.after_inverse_of(&known).unwrap();
        let after = smooth(&|x, y| {
            let [x, y] = back.apply([x, y]);
            0.8 * plain(x, y) + 30.0
        });
        let mut registration = Registration::default();
        let left = registration.run(&before, &after).unwrap();
        assert!(left < 0.01, "{left}");
        for (found, known) in registration.warp.matrix.iter().flatten().zip(known.matrix.iter().flatten()) {
            assert!((found - known).abs() < 0.003, "{:?}", registration.warp);
        }
        for (found, known) in registration.warp.shift.iter().zip(known.shift) {
            assert!((found - known).abs() < 0.05, "{:?}", registration.warp);
        }
        // Nothing to register by.
        assert_eq!(registration.run(&smooth(&|_, _| 90.0), &before), None);
    }

    #[test]
    fn a_map_and_its_inverse_undo_each_other() {
        let map = Affine { matrix: [[1.2, 0.1], [-0.3, 0.9]], shift: [3.0, -4.0] };
        let same = map.after_inverse_of(&map).unwrap();
        let [x, y] = same.apply([10.0, 100.0]);
        assert!((x - 10.0).abs() < 1e-3 && (y - 100.0).abs() < 1e-3, "{same:?}");
        assert_eq!(map.after_inverse_of(&Affine { matrix: [[1.0, 1.0], [1.0, 1.0]], shift: [0.0; 2] }), None);
    }

    #[test]
    fn a_background_is_carried_or_stands_still() {
        let still = play(30, 0.9, still_background).parts();
        let carried = play(30, 0.9, carried_background).parts();
        assert_eq!(still.carrying, Some(0.0), "{still:?}");
        assert!(carried.carrying.unwrap() > 1.0, "{carried:?}");
        // A face that does not move tells nothing.
        let resting =
            play(30, 0.9, |_| Scene { head: [320.0, 240.0], background: [0.0; 2], stir: 0.0 }).parts();
        assert_eq!(resting.carrying, None);
    }

    #[test]
    fn a_blink_stirs_and_a_moving_picture_does_not() {
        let moved = play(34, 0.9, carried_background);
        let blink = |number: usize| {
            let stir = if (20..23).contains(&number) { -60.0 } else { 0.0 };
            Scene { stir, ..still_background(number) }
        };
        let blinked = play(34, 0.9, blink);
        let (moved_stir, blinked_stir) = (moved.parts().stirring.unwrap(), blinked.parts().stirring.unwrap());
        assert!(blinked_stir > moved_stir + 0.3, "{blinked_stir} against {moved_stir}");
        assert!(blinked.score().unwrap() > moved.score().unwrap() + 30.0);
        assert_eq!(moved.judgement(Level::Strict, 50), Judgement::Attack, "{:?}", moved.parts());
        assert_eq!(blinked.judgement(Level::Strict, 50), Judgement::Live, "{:?}", blinked.parts());
    }

    #[test]
    fn waits_for_enough() {
        for frames in 0..=34 {
            let judge = play(frames, 0.2, carried_background);
            let judgement = judge.judgement(Level::Strict, 50);
            // 5 frames lie between the first and the one it is registered with.
            let expected = if frames >= 5 + PATIENT_PAIRS { Judgement::Attack } else { Judgement::NotYet };
            assert_eq!(judgement, expected, "after {frames} frames: {:?}", judge.parts());
            assert_eq!(judge.score().is_some(), frames >= 5 + PAIRS, "after {frames} frames");
            assert_eq!(judge.judgement(Level::Off, 50), Judgement::Live);
        }
    }

    #[test]
    fn the_lenient_level_believes_the_model() {
        let sure = play(5, 0.97, carried_background);
        assert_eq!(sure.judgement(Level::Lenient, 50), Judgement::Live);
        assert_eq!(sure.judgement(Level::Strict, 50), Judgement::NotYet);
        let unsure = play(34, 0.2, carried_background);
        assert_eq!(unsure.judgement(Level::Lenient, 50), Judgement::Attack);
        assert_eq!(
            [0, 1, 2, 3].map(Level::from_switch),
            [Level::Off, Level::Strict, Level::Lenient, Level::Strict]
        );
    }

    #[test]
    fn survives_what_is_no_face() {
        let begin = Instant::now();
        let mut judge = Judge::new();
        let wild = [f32::NAN, f32::INFINITY, -1e30, 0.0];
        for (number, value) in wild.into_iter().cycle().take(40).enumerate() {
            let rect = Rect { left: value, top: -value, right: value, bottom: 3.0 };
            let patch = Patch::sample(&rect, (1, 1), |_, _| 7);
            judge.observe(&Observation {
                at: begin + Duration::from_millis(number as u64 * 66),
                rect,
                landmarks: Landmarks::default(),
                model: Some(value),
                infrared: Some(value),
                patch: Some(&patch),
            });
        }
        assert_eq!(judge.parts().pairs, 0);
        assert_ne!(judge.judgement(Level::Strict, 50), Judgement::Live);
    }
}
