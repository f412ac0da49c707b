//! Watching: the eyes of one visible camera, from a frame to who stands there.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::align::AlignedFace;
use super::calibration::Calibration;
use super::embed::Embedder;
use super::face::{DetectedFace, Rect};
use super::find::{Finder, Step};
use super::gallery::{Found, Gallery};
use super::liveness::{Judge, Judgement, Level, Observation, Patch};
use super::liveness_model::LivenessScorer;
use super::models::Models;
use super::motion::MotionGate;
use super::picture::Picture;
use super::quality::{Limits, Meter, Quality, QualityFault};
use super::template::Template;
use super::track::{TrackId, Tracker};
use crate::error::Result;
use crate::frame::Frame;

/// Templates made of one frame at most: with more faces than this, each gets its turn in one of the next frames.
const TEMPLATES_A_FRAME: usize = 4;
/// A face whose session is decided is compared again every so many frames, to notice that somebody else stands there.
const SETTLED_EVERY: u32 = 10;
/// Score, on the calibration, below which a face is another person's than that of the frame before.
const OTHER_PERSON: f32 = 45.0;
/// Below this it may be: the next frame decides.
const DOUBTFUL: f32 = 70.0;

/// What is asked of a look; changes between frames take effect at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LookParams {
    /// QYZN `DetThres`, 0 to 100: how sure the detector must be.
    pub detect_threshold: u8,
    /// QYZN `Distance`: 0 any, 1 to 5 within 0.5, 1, 1.5, 2 and 3 m. See [`least_width`].
    pub distance: u8,
    /// Width between the ears, in pixels of the frame, of the smallest face to find.
    pub smallest_face: u32,
    /// Whether liveness is looked for, and how strictly.
    pub live_level: Level,
    /// QYZN `LiveThres`, 0 to 100: the score of liveness from which a face is live.
    pub live_threshold: u8,
}

/// What one frame showed.
#[derive(Debug)]
pub struct Look<F, P> {
    /// Nothing moved: the frame was not examined.
    pub idle: bool,
    /// The faces, the largest first.
    pub faces: Vec<SeenFace<F, P>>,
    /// Tracks that ended: out of sight, or replaced.
    pub lost: Vec<TrackId>,
    /// Where the time went.
    pub timings: Timings,
}

/// A face in a frame.
#[derive(Debug)]
pub struct SeenFace<F, P> {
    /// Which visit it belongs to.
    pub track: TrackId,
    /// The track that this one takes the place of: the face there turned out to be another person's. The old track
    /// is in [`Look::lost`] as well.
    pub replaces: Option<TrackId>,
    /// Where.
    pub face: DetectedFace,
    /// How good.
    pub quality: Quality,
    /// Why it was not worth comparing, if it was not.
    pub fault: Option<QualityFault>,
    /// The template, if one was made of this frame.
    pub template: Option<Template>,
    /// Whether the gallery was searched. Then no `found` means that it is empty.
    pub searched: bool,
    /// Whose face it may be. It is not decided here whether it is like enough.
    pub found: Option<Found<F, P>>,
    /// What the liveness model gives for live in this frame, 0 to 1.
    pub live: Option<f32>,
    /// The score of liveness over all frames of the track, 0 to 100; `None` until enough was seen.
    pub liveness: Option<f32>,
    /// What the judge of the track says; [`Judgement::Live`] where liveness is not looked for.
    pub judgement: Judgement,
    /// Whether [`Watcher::settle`] was called for the track.
    pub settled: bool,
}

/// Time spent in the stages of one look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Timings {
    /// The motion gate.
    pub motion: Duration,
    /// Bytes to pixels.
    pub decode: Duration,
    /// Scaling, the detector, its boxes.
    pub detect: Duration,
    /// Taking the faces out and measuring them.
    pub align: Duration,
    /// Templates.
    pub embed: Duration,
    /// Gallery.
    pub search: Duration,
    /// Liveness.
    pub liveness: Duration,
}

/// What is remembered of a track.
#[derive(Default)]
struct Visit {
    /// Of the last frame that was compared.
    template: Option<Template>,
    /// That frame did not quite look like the one before.
    doubtful: bool,
    settled: bool,
    /// Frames since the last template.
    waiting: u32,
    judge: Judge,
}

/// The models, buffers and tracks of one visible camera, used by one thread. Holds no lock while a model runs.
pub struct Watcher {
    finder: Finder,
    embedder: Embedder,
    scorer: Option<LivenessScorer>,
    other_person: f32,
    doubtful: f32,
    gate: MotionGate,
    picture: Picture,
    aligned: Vec<AlignedFace>,
    meter: Meter,
    tracker: Tracker,
    visits: HashMap<TrackId, Visit>,
    expected: Vec<Rect>,
    faces: Vec<DetectedFace>,
    ids: Vec<TrackId>,
    step: Option<Step>,
}

impl Watcher {
    /// Loads the models, each on `threads` threads. The detector follows with the first frame, when its size is
    /// known.
    pub fn new(models: &Models, threads: usize) -> Result<Self> {
        let calibration = Calibration::new(models.manifest().embedder.calibration.points.clone())?;
        Ok(Self {
            finder: Finder::new(models, threads)?,
            embedder: Embedder::new(models, threads)?,
            scorer: LivenessScorer::new(models, threads)?,
            other_person: calibration.cosine(OTHER_PERSON),
            doubtful: calibration.cosine(DOUBTFUL),
            gate: MotionGate::new(),
            picture: Picture::new(),
            aligned: Vec::new(),
            meter: Meter::new(),
            tracker: Tracker::new(),
            visits: HashMap::new(),
            expected: Vec::new(),
            faces: Vec::new(),
            ids: Vec::new(),
            step: None,
        })
    }

    /// The same, which calls `step` after each model that it loads or runs in a look: one look at many faces takes
    /// long on a slow board, and is no hang.
    pub fn stepping(self, step: impl Fn() + Send + Sync + 'static) -> Self {
        let step: Step = Arc::new(step);
        Self { finder: self.finder.stepping(Arc::clone(&step)), step: Some(step), ..self }
    }

    fn step(&self) {
        if let Some(step) = &self.step {
            step();
        }
    }

    /// Mean luminance, 0 to 255, of the frame that was looked at last; of an earlier one if that was idle.
    pub fn brightness(&self) -> u8 {
        self.picture.brightness()
    }

    /// Looks at a frame. `Input` for a damaged frame, which is best skipped; `Model` if a model fails.
    pub fn look<F, P>(
        &mut self,
        frame: &Frame,
        params: &LookParams,
        gallery: &Gallery<F, P>,
    ) -> Result<Look<F, P>>
    where
        F: Copy + Ord + Hash,
        P: Copy + Eq,
    {
        let mut look = Look { idle: false, faces: Vec::new(), lost: Vec::new(), timings: Timings::default() };
        let mut clock = Stopwatch::new();
        let awake = self.gate.wakes(frame)?;
        look.timings.motion = clock.lap();
        if !awake {
            look.idle = true;
            self.faces.clear();
            self.follow(frame.captured, &mut look.lost);
            return Ok(look);
        }
        self.picture.decode_frame(frame)?;
        look.timings.decode = clock.lap();
        self.detect(frame, params)?;
        look.timings.detect = clock.lap();
        self.gate.examined(&self.picture, !self.faces.is_empty(), frame.data().len(), frame.captured);
        look.timings.motion += clock.lap();
        self.follow(frame.captured, &mut look.lost);

        // What is worth a template, the one that waited longest first, then the nearest.
        let mut seen = Vec::with_capacity(self.faces.len());
        self.aligned.resize_with(self.faces.len().max(self.aligned.len()), AlignedFace::new);
        for ((face, &track), aligned) in self.faces.iter().zip(&self.ids).zip(&mut self.aligned) {
            let taken = aligned.take(&self.picture, &face.landmarks, self.embedder.size());
            let quality = if taken { self.meter.measure(face, aligned) } else { Quality::default() };
            seen.push(SeenFace {
                track,
                replaces: None,
                face: *face,
                quality,
                fault: quality.first_failure(&Limits::MATCHING),
                template: None,
                searched: false,
                found: None,
                live: None,
                liveness: None,
                judgement: Judgement::NotYet,
                settled: false,
            });
        }
        look.timings.align = clock.lap();
        let turns = self.turns(&seen);
        for index in turns {
            let seen = &mut seen[index];
            let template = self.embedder.template(&self.aligned[index])?;
            look.timings.embed += clock.lap();
            self.step();
            let alike = self
                .visits
                .get(&seen.track)
                .and_then(|visit| visit.template.as_ref())
                .map(|last| last.cosine(&template));
            let visit = self.visits.entry(seen.track).or_default();
            visit.waiting = 0;
            // A single strange frame may be a grimace or a hand; two, or one that is like nobody's, are somebody else.
            let strange = alike.is_some_and(|alike| alike < self.doubtful);
            let other = alike.is_some_and(|alike| alike < self.other_person || (strange && visit.doubtful));
            if other {
                let old = seen.track;
                seen.track = self.tracker.replace(old);
                seen.replaces = Some(old);
                look.lost.push(old);
                self.visits.remove(&old);
                self.visits
                    .insert(seen.track, Visit { template: Some(template.clone()), ..Visit::default() });
            } else if strange {
                // Not compared: it must not count for the visitor of whom it may not be.
                visit.doubtful = true;
                visit.judge = Judge::new();
                continue;
            } else {
                visit.doubtful = false;
                visit.template = Some(template.clone());
            }
            seen.found = gallery.search(&template)?;
            seen.searched = true;
            seen.template = Some(template);
            look.timings.search += clock.lap();
        }
        clock.lap();
        for seen in &mut seen {
            let visit = self.visits.entry(seen.track).or_default();
            visit.waiting += u32::from(seen.template.is_none());
            seen.settled = visit.settled;
            // Only what was compared counts: a head that is turned away or blurred could be anybody's, and would
            // lend its life to the picture that is held up next.
            if params.live_level != Level::Off && !visit.settled && seen.template.is_some() {
                let rect = seen.face.rect;
                if let Some(scorer) = &mut self.scorer {
                    seen.live = scorer.live(&self.picture, &rect)?;
                    if let Some(step) = &self.step {
                        step();
                    }
                }
                let picture = &self.picture;
                let patch = Patch::sample(&rect, picture.size(), |x, y| {
                    let [red, green, blue] = picture.pixel(x, y).map(u32::from);
                    ((77 * red + 150 * green + 29 * blue) >> 8) as u8
                });
                visit.judge.observe(&Observation {
                    at: frame.captured,
                    rect,
                    landmarks: seen.face.landmarks,
                    model: seen.live,
                    infrared: None,
                    patch: Some(&patch),
                });
            }
            seen.liveness = visit.judge.score();
            seen.judgement = visit.judge.judgement(params.live_level, params.live_threshold);
        }
        look.timings.liveness = clock.lap();
        look.faces = seen;
        Ok(look)
    }

    /// The session of a track has its verdict: its face is compared only now and then from here on.
    pub fn settle(&mut self, track: TrackId) {
        if let Some(visit) = self.visits.get_mut(&track) {
            visit.settled = true;
        }
    }

    /// The track's face is compared in every frame again.
    pub fn unsettle(&mut self, track: TrackId) {
        if let Some(visit) = self.visits.get_mut(&track) {
            visit.settled = false;
        }
    }

    /// The judge of a track's liveness, for its judgement and the parts of its score; `None` if the track is gone.
    pub fn judge(&self, track: TrackId) -> Option<&Judge> {
        self.visits.get(&track).map(|visit| &visit.judge)
    }

    /// The picture of the last frame that was examined.
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Fills `faces`, the largest first.
    fn detect(&mut self, frame: &Frame, params: &LookParams) -> Result<()> {
        let least = least_width(params, frame.size().0);
        let threshold = f32::from(params.detect_threshold.min(100)) / 100.0;
        self.expected.clear();
        self.expected.extend(self.tracker.expected(frame.captured));
        // A threshold of 0 would make a face of every anchor.
        let found =
            self.finder.find(&self.picture, frame.captured, &self.expected, threshold.max(0.05), least)?;
        self.faces.clear();
        self.faces.extend_from_slice(found);
        Ok(())
    }

    /// Matches `faces` with the tracks and forgets those that ended.
    fn follow(&mut self, at: Instant, lost: &mut Vec<TrackId>) {
        self.tracker.update(&self.faces, at, &mut self.ids, lost);
        for track in lost {
            self.visits.remove(track);
        }
    }

    /// Indices of the faces that get a template now.
    fn turns<F, P>(&self, seen: &[SeenFace<F, P>]) -> Vec<usize> {
        let mut turns: Vec<_> = seen
            .iter()
            .enumerate()
            .filter(|(_, seen)| seen.fault.is_none())
            .filter_map(|(index, seen)| match self.visits.get(&seen.track) {
                None => Some((u32::MAX, index)),
                Some(visit) if !visit.settled || visit.doubtful => Some((visit.waiting, index)),
                Some(visit) => (visit.waiting >= SETTLED_EVERY).then_some((visit.waiting, index)),
            })
            .collect();
        turns.sort_by_key(|&(waiting, index)| (std::cmp::Reverse(waiting), index));
        turns.truncate(TEMPLATES_A_FRAME);
        turns.into_iter().map(|(_, index)| index).collect()
    }
}

/// Width in pixels of the frame from which a face counts, for a distance. A face is about 15 cm wide between the
/// ears; a gate's lens sees 60 degrees across, so that a face at one metre covers 0.13 of the frame's width.
pub fn least_width(params: &LookParams, frame_width: u32) -> f32 {
    let metres = match params.distance {
        1 => 0.5,
        2 => 1.0,
        3 => 1.5,
        4 => 2.0,
        5 => 3.0,
        _ => return params.smallest_face.max(1) as f32,
    };
    // 0.15 m / (2 tan 30°)
    frame_width as f32 * 0.1299 / metres
}

/// Time from lap to lap.
struct Stopwatch(Instant);

impl Stopwatch {
    fn new() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let lap = now - self.0;
        self.0 = now;
        lap
    }
}
