//! Tracks: the same face from frame to frame, so that one visitor is one session.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::face::{DetectedFace, Rect};

/// Number of a track; counts up, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct TrackId(pub u64);

/// How long a face may be out of sight (a hand, a blink of the detector) and still be the same visit.
const LOST_AFTER: Duration = Duration::from_millis(700);
/// Boxes that overlap at least this much, after the expected movement, can be the same face.
const LEAST_IOU: f32 = 0.2;
/// Without overlap, centres at most this many widths apart can be: somebody walks fast or frames are few.
const MOST_WIDTHS: f32 = 0.8;
/// And sizes within this factor of each other.
const MOST_GROWTH: f32 = 1.6;

/// One face over time.
#[derive(Debug, Clone)]
struct Track {
    id: TrackId,
    rect: Rect,
    /// Pixels a second, of the centre.
    velocity: [f32; 2],
    seen: Instant,
}

/// Follows faces.
#[derive(Debug, Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    last: u64,
}

impl Tracker {
    /// Without tracks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the faces of one frame. `ids` becomes the track of each face, in their order; `lost` the tracks that
    /// ended. The closest pairs are matched first, so that two who pass each other keep their tracks unless
    /// they hide each other; whose face it is, the template tells.
    pub fn update(
        &mut self,
        faces: &[DetectedFace],
        at: Instant,
        ids: &mut Vec<TrackId>,
        lost: &mut Vec<TrackId>,
    ) {
        let mut pairs = Vec::with_capacity(self.tracks.len() * faces.len());
        for (track, known) in self.tracks.iter().enumerate() {
            let expected = known.expected(at);
            for (face, found) in faces.iter().enumerate() {
                // Who walked may have stopped.
                let (walking, standing) =
                    (likeness(&expected, &found.rect), likeness(&known.rect, &found.rect));
                let better = match (walking, standing) {
                    (Some(walking), Some(standing)) => Some(walking.max(standing)),
                    (walking, standing) => walking.or(standing),
                };
                pairs.extend(better.map(|likeness| (likeness, track, face)));
            }
        }
        pairs.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
        let mut of_face: Vec<Option<usize>> = vec![None; faces.len()];
        let mut taken = vec![false; self.tracks.len()];
        for (_, track, face) in pairs {
            if of_face[face].is_none() && !taken[track] {
                of_face[face] = Some(track);
                taken[track] = true;
            }
        }
        ids.clear();
        for (face, track) in faces.iter().zip(of_face) {
            ids.push(match track {
                Some(track) => {
                    self.tracks[track].moved(&face.rect, at);
                    self.tracks[track].id
                }
                None => self.begin(&face.rect, at),
            });
        }
        lost.clear();
        self.tracks.retain(|track| {
            let alive = at.saturating_duration_since(track.seen) <= LOST_AFTER;
            if !alive {
                lost.push(track.id);
            }
            alive
        });
    }

    /// Ends a track whose face turned out to be another person's and begins a new one in its place. The old id is
    /// not reported as lost: the caller knows.
    pub fn replace(&mut self, old: TrackId) -> TrackId {
        self.last += 1;
        let new = TrackId(self.last);
        if let Some(track) = self.tracks.iter_mut().find(|track| track.id == old) {
            track.id = new;
        }
        new
    }

    /// Where the faces should be in a frame captured at `at`.
    pub fn expected(&self, at: Instant) -> impl Iterator<Item = Rect> + '_ {
        self.tracks.iter().map(move |track| track.expected(at))
    }

    /// Tracks that are alive.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Whether nobody is followed.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }

    fn begin(&mut self, rect: &Rect, at: Instant) -> TrackId {
        self.last += 1;
        let id = TrackId(self.last);
        self.tracks.push(Track { id, rect: *rect, velocity: [0.0; 2], seen: at });
        id
    }
}

impl Track {
    /// Where the face should be now.
    fn expected(&self, at: Instant) -> Rect {
        // A face that was not seen for long may have turned round: it is expected where it would be after a quarter
        // of a second at most.
        let seconds = at.saturating_duration_since(self.seen).as_secs_f32().min(0.25);
        let [x, y] = self.velocity.map(|speed| speed * seconds);
        Rect {
            left: self.rect.left + x,
            top: self.rect.top + y,
            right: self.rect.right + x,
            bottom: self.rect.bottom + y,
        }
    }

    fn moved(&mut self, rect: &Rect, at: Instant) {
        let seconds = at.saturating_duration_since(self.seen).as_secs_f32();
        if seconds > 0.0 {
            let (from, to) = (self.rect.centre(), rect.centre());
            self.velocity = std::array::from_fn(|axis| {
                // Half of the old speed remains: boxes tremble.
                (self.velocity[axis] + (to[axis] - from[axis]) / seconds) / 2.0
            });
        }
        self.rect = *rect;
        self.seen = at;
    }
}

/// How well a face fits where one is expected: above 1 by overlap, below 1 by distance only; `None` if not at all.
fn likeness(expected: &Rect, found: &Rect) -> Option<f32> {
    let growth = found.area().sqrt() / expected.area().sqrt().max(1.0);
    if !(1.0 / MOST_GROWTH..=MOST_GROWTH).contains(&growth) {
        return None;
    }
    let overlap = expected.iou(found);
    if overlap >= LEAST_IOU {
        return Some(1.0 + overlap);
    }
    let (from, to) = (expected.centre(), found.centre());
    let widths = (to[0] - from[0]).hypot(to[1] - from[1]) / expected.width().max(1.0);
    (widths <= MOST_WIDTHS).then_some(1.0 - widths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, y: f32) -> DetectedFace {
        let rect = Rect { left: x - 30.0, top: y - 40.0, right: x + 30.0, bottom: y + 40.0 };
        DetectedFace { rect, score: 0.9, ..DetectedFace::default() }
    }

    struct Scene {
        tracker: Tracker,
        now: Instant,
        ids: Vec<TrackId>,
        lost: Vec<TrackId>,
    }

    impl Scene {
        fn new() -> Self {
            Self { tracker: Tracker::new(), now: Instant::now(), ids: Vec::new(), lost: Vec::new() }
        }

        /// The next frame, a fifteenth of a second later.
        fn frame(&mut self, faces: &[DetectedFace]) -> Vec<u64> {
            self.now += Duration::from_millis(67);
            self.tracker.update(faces, self.now, &mut self.ids, &mut self.lost);
            self.ids.iter().map(|id| id.0).collect()
        }
    }

    #[test]
    fn a_face_keeps_its_track_while_it_walks_and_blinks() {
        let mut scene = Scene::new();
        for step in 0..20 {
            // 25 pixels a frame: half a face width each time.
            assert_eq!(scene.frame(&[face(60.0 + 25.0 * step as f32, 200.0)]), [1], "step {step}");
        }
        for _ in 0..4 {
            assert_eq!(scene.frame(&[]), [0; 0]);
            assert!(scene.lost.is_empty());
        }
        assert_eq!(scene.frame(&[face(560.0, 200.0)]), [1]);
    }

    #[test]
    fn a_track_ends_and_its_number_is_not_used_again() {
        let mut scene = Scene::new();
        assert_eq!(scene.frame(&[face(100.0, 200.0)]), [1]);
        let mut ended = Vec::new();
        for _ in 0..15 {
            scene.frame(&[]);
            ended.extend(scene.lost.clone());
        }
        assert_eq!(ended, [TrackId(1)]);
        assert!(scene.tracker.is_empty());
        assert_eq!(scene.frame(&[face(100.0, 200.0)]), [2]);
    }

    #[test]
    fn a_face_elsewhere_or_of_another_size_is_another() {
        let mut scene = Scene::new();
        assert_eq!(scene.frame(&[face(100.0, 200.0)]), [1]);
        assert_eq!(scene.frame(&[face(400.0, 200.0)]), [2]);
        let mut near = face(400.0, 200.0);
        near.rect = Rect { left: 300.0, top: 60.0, right: 500.0, bottom: 340.0 };
        assert_eq!(scene.frame(&[near]), [3]);
    }

    #[test]
    fn two_who_pass_each_other_keep_their_tracks() {
        let mut scene = Scene::new();
        for step in 0..30 {
            let x = 20.0 * step as f32;
            // On lines 45 pixels apart: at the crossing their boxes overlap by 30 %.
            let ids = scene.frame(&[face(50.0 + x, 150.0), face(600.0 - x, 195.0)]);
            assert_eq!(ids, [1, 2], "step {step}");
        }
    }

    #[test]
    fn ten_faces_at_once_in_any_order() {
        let mut scene = Scene::new();
        let faces: Vec<_> =
            (0..10).map(|n| face(60.0 + 120.0 * (n % 5) as f32, 150.0 + 200.0 * (n / 5) as f32)).collect();
        let first = scene.frame(&faces);
        let mut reversed = faces.clone();
        reversed.reverse();
        let mut second = scene.frame(&reversed);
        second.reverse();
        assert_eq!(first, second);
        assert_eq!(first, (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn a_replaced_track_gets_a_new_number() {
        let mut scene = Scene::new();
        assert_eq!(scene.frame(&[face(100.0, 200.0)]), [1]);
        assert_eq!(scene.tracker.replace(TrackId(1)), TrackId(2));
        assert_eq!(scene.frame(&[face(102.0, 200.0)]), [2]);
        assert!(scene.lost.is_empty());
    }
}
