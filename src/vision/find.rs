//! Where the faces of a frame are, for little work: a coarse look at every frame, a full one now and then or when the
//! coarse one shows nobody, and a near one at each face that the coarse one shows too small to be exact.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::detect::Detector;
use super::face::{DetectedFace, Rect};
use super::models::Models;
use super::picture::{Picture, Region};
use crate::error::Result;

/// Width on the input from which the detector finds a face reliably. Measured with real faces in 640 x 480 frames at a
/// threshold of 0.65: 40 pixels 100 %, 35 97 %, 30 92 %, 25 81 %, 20 61 %.
const FOUND_FROM: f32 = 40.0;
/// Width on the input from which a nearer look makes the template no better. Measured as the mean cosine to the
/// template of the original picture, faces of 100 pixels in the frame: 0.922 at 50 pixels on the input, 0.945 at 62,
/// 0.952 at 75, 0.957 at 100.
const EXACT_FROM: f32 = 70.0;
/// Side of the input of the near look, and how much of the surroundings it takes in, in sides of the face: a face is
/// some 77 pixels wide there.
const NEAR_SIDE: u32 = 160;
const NEAR_SURROUNDINGS: f32 = 1.6;
/// Near looks in one frame at most; a full look is cheaper than more.
const NEAR_LOOKS: usize = 4;
/// The full look is due this often while the coarse one shows somebody (who may stand before somebody else), and while
/// it shows nobody.
const FULL_EVERY: Duration = Duration::from_millis(500);
const FULL_EVERY_WITHOUT_FACE: Duration = Duration::from_millis(120);
/// A near look found the same face if the boxes overlap this much.
const SAME: f32 = 0.3;

/// Told after each step of a look that may take long: a model that was loaded, or has run.
pub type Step = Arc<dyn Fn() + Send + Sync>;

/// Finds the faces of one camera's frames.
pub struct Finder {
    models: Models,
    threads: usize,
    coarse: Option<Detector>,
    full: Option<Detector>,
    near: Detector,
    full_at: Option<Instant>,
    faces: Vec<DetectedFace>,
    step: Option<Step>,
}

impl Finder {
    /// Loads the detector for near looks; those for the frames follow when their size is known.
    pub fn new(models: &Models, threads: usize) -> Result<Self> {
        Ok(Self {
            models: models.clone(),
            threads,
            coarse: None,
            full: None,
            near: Detector::new(models, (NEAR_SIDE, NEAR_SIDE), threads)?,
            full_at: None,
            faces: Vec::new(),
            step: None,
        })
    }

    /// The same, which calls `step` after each model that it loads or runs.
    pub(super) fn stepping(self, step: Step) -> Self {
        Self { step: Some(step), ..self }
    }

    /// The faces of at least `threshold` (0 to 1) and about `least` pixels of width, the largest first. `expected` is
    /// where faces should be, from the frames before; `at` when the frame was captured.
    pub fn find(
        &mut self,
        picture: &Picture,
        at: Instant,
        expected: &[Rect],
        threshold: f32,
        least: f32,
    ) -> Result<&[DetectedFace]> {
        let (full, coarse) = input_sizes(picture.size(), least);
        let on_coarse = coarse.0 as f32 / picture.size().0 as f32;
        let step = || {
            if let Some(step) = &self.step {
                step();
            }
        };
        let detector = with_size(&mut self.coarse, &self.models, coarse, self.threads)?;
        step();
        self.faces.clear();
        self.faces.extend_from_slice(detector.detect(picture, threshold)?);
        step();
        let mut on_input = on_coarse;
        let mut near_looks = 0;
        if full != coarse {
            // Those who were there and are too small for the coarse look.
            let missed = |faces: &[DetectedFace], rect: &Rect| {
                rect.width() * on_coarse < 1.5 * FOUND_FROM
                    && faces.iter().all(|face| face.rect.iou(rect) < SAME)
            };
            let missing = expected.iter().filter(|rect| missed(&self.faces, rect)).count();
            let every =
                if self.faces.is_empty() && missing == 0 { FULL_EVERY_WITHOUT_FACE } else { FULL_EVERY };
            let due = self.full_at.is_none_or(|past| at.saturating_duration_since(past) >= every);
            if due || missing > NEAR_LOOKS {
                self.full_at = Some(at);
                on_input = full.0 as f32 / picture.size().0 as f32;
                let detector = with_size(&mut self.full, &self.models, full, self.threads)?;
                step();
                self.faces.clear();
                self.faces.extend_from_slice(detector.detect(picture, threshold)?);
                step();
            } else {
                for rect in expected {
                    if missed(&self.faces, rect) {
                        near_looks += 1;
                        self.faces.extend(look_near(&mut self.near, picture, rect, threshold)?);
                        step();
                    }
                }
            }
        }
        // A fifth of tolerance: boxes tremble, and a distance in metres is an estimate.
        self.faces.retain(|face| face.rect.width() >= 0.8 * least);
        self.faces.sort_unstable_by(|one, other| other.rect.area().total_cmp(&one.rect.area()));
        let inexact = EXACT_FROM / on_input;
        for face in &mut self.faces {
            if near_looks < NEAR_LOOKS && face.rect.width() < inexact {
                near_looks += 1;
                if let Some(exact) = look_near(&mut self.near, picture, &face.rect, threshold)? {
                    *face = DetectedFace { score: exact.score.max(face.score), ..exact };
                }
                step();
            }
        }
        Ok(&self.faces)
    }
}

/// The face at `rect`, seen from near; `None` if there is none.
fn look_near(
    near: &mut Detector,
    picture: &Picture,
    rect: &Rect,
    threshold: f32,
) -> Result<Option<DetectedFace>> {
    let Some(region) = Region::square_around(rect, NEAR_SURROUNDINGS, picture) else { return Ok(None) };
    let faces = near.detect_in(picture, region, threshold)?;
    let best = faces.iter().max_by(|one, other| one.rect.iou(rect).total_cmp(&other.rect.iou(rect)));
    Ok(best.filter(|face| face.rect.iou(rect) >= SAME).copied())
}

fn with_size<'a>(
    slot: &'a mut Option<Detector>,
    models: &Models,
    size: (u32, u32),
    threads: usize,
) -> Result<&'a mut Detector> {
    if slot.as_ref().is_none_or(|detector| detector.size() != size) {
        *slot = Some(Detector::new(models, size, threads)?);
    }
    Ok(slot.as_mut().expect("filled above"))
}

/// The inputs of the full and the coarse look at frames of a size in which faces of `least` pixels are to be found, in
/// eighths of the frame: full is never more than the frame itself, coarse half of full, but at least a quarter of the
/// frame. They are equal where one look does for both.
pub fn input_sizes((width, height): (u32, u32), least: f32) -> ((u32, u32), (u32, u32)) {
    let full = (8.0 * FOUND_FROM / least).ceil().clamp(2.0, 8.0) as u32;
    let coarse = full.div_ceil(2).max(2);
    // The input must hold the largest stride.
    let side = |side: u32, eighths: u32| (side * eighths).div_ceil(8).next_multiple_of(2).max(32);
    let size = |eighths: u32| (side(width, eighths), side(height, eighths));
    (size(full), size(coarse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_follow_from_the_smallest_face() {
        // 40 pixels must stay 40 pixels; 80 may become 40; 166 (half a metre) may become 42.
        assert_eq!(input_sizes((640, 480), 40.0), ((640, 480), (320, 240)));
        assert_eq!(input_sizes((640, 480), 28.0), ((640, 480), (320, 240)));
        assert_eq!(input_sizes((640, 480), 80.0), ((320, 240), (160, 120)));
        assert_eq!(input_sizes((640, 480), 166.0), ((160, 120), (160, 120)));
        assert_eq!(input_sizes((1280, 720), 60.0), ((960, 540), (480, 270)));
        assert_eq!(input_sizes((1, 1), 40.0), ((32, 32), (32, 32)));
    }
}
