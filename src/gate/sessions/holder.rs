//! Whether a visitor is the holder of a document: the living face against the document's photo, 1:1.
//!
//! The photo is small and old, and one frame may catch a blink. So several frames are tried before it is said that
//! they are two people: [`FRAMES`] at least, and for as long as a face must stay unknown to be a stranger's.
//!
//! The threshold is made for one comparison, and the best of many is better than it should be. So two frames must
//! reach it, unless one is clearly above it, as the gallery has it too.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::CLEARLY_ABOVE;
use crate::access::HolderMatch;
use crate::vision::calibration::Calibration;
use crate::vision::template::Template;

/// Frames that are tried at least.
const FRAMES: u32 = 5;

/// The photo of a document that was presented.
pub(in crate::gate) struct HolderPhoto {
    /// The photo itself, a whole JPEG file: what a record says it was compared with.
    pub(in crate::gate) jpeg: Arc<[u8]>,
    /// The template of the face in it; `None` without a usable one.
    pub(in crate::gate) template: Option<Template>,
}

/// Looks of one visitor at one photo.
pub(super) struct Tries {
    photo: Arc<HolderPhoto>,
    best: f32,
    /// The best but one; 0 before there are two.
    second: f32,
    frames: u32,
    first: Instant,
}

/// What the looks so far come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Looked {
    /// The same person.
    Same(HolderMatch),
    /// Not yet alike; another frame may be better.
    Unlike,
    /// Two people.
    Other(HolderMatch),
}

impl Tries {
    /// Compares a living face with `photo`, counting on from `before` where that was about the same photo. `None` if
    /// there is no face in the photo.
    pub(super) fn look(
        before: &mut Option<Self>,
        photo: &Arc<HolderPhoto>,
        face: &Template,
        calibration: &Calibration,
        at: Instant,
    ) -> Option<()> {
        let score = calibration.score(photo.template.as_ref()?.cosine(face));
        match before {
            Some(tries) if Arc::ptr_eq(&tries.photo, photo) => {
                tries.second = tries.second.max(score.min(tries.best));
                tries.best = tries.best.max(score);
                tries.frames += 1;
            }
            other => {
                let photo = Arc::clone(photo);
                *other = Some(Self { photo, best: score, second: 0.0, frames: 1, first: at });
            }
        }
        Some(())
    }

    /// The best score of all.
    pub(super) fn best(&self) -> f32 {
        self.best
    }

    /// What they come to at the threshold in force. `patience` is how long faces are tried. The score is the one that
    /// decides: that which two frames have reached, or one that is clearly above the threshold.
    pub(super) fn outcome(&self, threshold: f32, patience: Duration, now: Instant) -> Looked {
        let clear = self.best >= (threshold + CLEARLY_ABOVE).min(100.0);
        let score = if clear { self.best } else { self.second };
        let found = HolderMatch { score, same: score >= threshold };
        if found.same {
            return Looked::Same(found);
        }
        let long_enough = now.saturating_duration_since(self.first) >= patience;
        if self.frames >= FRAMES && long_enough { Looked::Other(found) } else { Looked::Unlike }
    }

    /// Whether they are about this photo.
    pub(super) fn are_about(&self, photo: &Arc<HolderPhoto>) -> bool {
        Arc::ptr_eq(&self.photo, photo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_clear_frame_or_two_are_enough_and_several_bad_ones_are_needed() {
        let template = |x: f32, y: f32| Template::normalised(vec![x, y]).unwrap();
        let calibration = Calibration::new(vec![[0.0, 0.0], [1.0, 100.0]]).unwrap();
        let photo = |template| Arc::new(HolderPhoto { jpeg: Arc::from(*b"jpeg"), template });
        let (mine, none) = (photo(Some(template(1.0, 0.0))), photo(None));
        let patience = Duration::from_secs(1);
        let start = Instant::now();
        let mut tries = None;
        // cos 53.13° = 0.6, worked by hand from the 3-4-5 triangle.
        let mut look = |x: f32, y: f32, millis: u64, threshold: f32| {
            let at = start + Duration::from_millis(millis);
            Tries::look(&mut tries, &mine, &template(x, y), &calibration, at).unwrap();
            tries.as_ref().unwrap().outcome(threshold, patience, at)
        };
        for millis in [0, 100, 200, 300, 400, 999] {
            assert_eq!(look(3.0, 4.0, millis, 70.0), Looked::Unlike, "{millis}");
        }
        let Looked::Other(found) = look(0.0, 1.0, 1000, 70.0) else { panic!("long enough") };
        assert!((found.score - 60.0).abs() < 0.01 && !found.same, "{found:?}");
        // 0.8, one frame: not by a threshold of 72.5, clearly by one of 71.
        let Looked::Other(found) = look(4.0, 3.0, 1100, 72.5) else { panic!("it may be chance") };
        assert!((found.score - 60.0).abs() < 0.01 && !found.same, "{found:?}");
        let Looked::Same(found) = tries.as_ref().unwrap().outcome(71.0, patience, start) else {
            panic!("alike at last")
        };
        assert!((found.score - 80.0).abs() < 0.01 && found.same, "{found:?}");
        // The second of two.
        Tries::look(&mut tries, &mine, &template(4.0, 3.0), &calibration, start).unwrap();
        let Looked::Same(found) = tries.as_ref().unwrap().outcome(79.9, patience, start) else {
            panic!("both reach it")
        };
        assert!((found.score - 80.0).abs() < 0.01 && found.same, "{found:?}");
        // Another photo begins anew; one without a face cannot be compared.
        let other = photo(Some(template(0.0, 1.0)));
        assert!(tries.as_ref().unwrap().are_about(&mine));
        Tries::look(&mut tries, &other, &template(1.0, 0.0), &calibration, start).unwrap();
        assert!(!tries.as_ref().unwrap().are_about(&mine));
        assert_eq!(tries.as_ref().unwrap().outcome(70.0, patience, start), Looked::Unlike);
        assert!(Tries::look(&mut tries, &none, &template(1.0, 0.0), &calibration, start).is_none());
        // Few frames of a slow camera are not enough either.
        let late = start + Duration::from_secs(9);
        assert_eq!(tries.unwrap().outcome(70.0, patience, late), Looked::Unlike);
    }
}
