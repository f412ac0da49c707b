//! `menshen eval liveness`: presentations of people and of pictures of them, and how many the gate gets wrong
//! (ISO/IEC 30107-3).
//!
//! A presentation is a folder of frames in the order of their names, played at a steady rate, or one picture by
//! itself. It is judged as the gate judges a session: frame by frame, until the judge says live or attack. A
//! presentation that ends before, as a single picture must, is judged by the model's median alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::list;
use crate::error::{Context, Error, Kind, Result};
use crate::vision::face::{DetectedFace, Rect};
use crate::vision::find::Finder;
use crate::vision::liveness::{Judge, Judgement, Level, Observation, Parts, Patch};
use crate::vision::liveness_model::LivenessScorer;
use crate::vision::models::Models;
use crate::vision::picture::Picture;

/// How presentations are played and judged.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// Frames a second.
    pub fps: f32,
    /// `LiveThres`, 0 to 100.
    pub threshold: u8,
    /// Width between the ears, in pixels, of the smallest face to find.
    pub smallest_face: u32,
    /// How sure the detector must be, 0 to 1.
    pub detect_threshold: f32,
}

/// One presentation and what was made of it.
#[derive(Debug, Clone, Serialize)]
pub struct Presentation {
    /// Folder or picture.
    pub name: String,
    /// Frames, and those with a face.
    pub frames: usize,
    /// Frames with a face.
    pub faces: usize,
    /// Score at the end, 0 to 100.
    pub score: Option<f32>,
    /// Of what it was made.
    pub parts: Parts,
    /// Judged live at `LiveSwitch` 1 and 2, and by the model alone; `None` if no face was found.
    pub strict: Option<bool>,
    /// See `strict`.
    pub lenient: Option<bool>,
    /// See `strict`.
    pub model: Option<bool>,
}

/// Error rates of one way to judge.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Attack presentation classification error rate: share of the attacks that pass.
    pub apcer: Option<f64>,
    /// Bona fide presentation classification error rate: share of the people who are refused.
    pub bpcer: Option<f64>,
    /// The mean of both.
    pub acer: Option<f64>,
}

/// What `menshen eval liveness` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Presentations of people that were judged.
    pub live: usize,
    /// Presentations of attacks that were judged.
    pub attack: usize,
    /// Presentations in which no face was found: no response, counted in no rate.
    pub no_face: Vec<String>,
    /// Pictures that could not be read, and why.
    pub unreadable: BTreeMap<String, String>,
    /// `LiveThres` of all this.
    pub threshold: u8,
    /// At `LiveSwitch` 1.
    #[serde(flatten)]
    pub strict: Rates,
    /// At `LiveSwitch` 2.
    pub lenient: Rates,
    /// By the median of the model alone.
    pub model_alone: Rates,
    /// APCER at `LiveSwitch` 1 for each kind of attack: what stands before the first hyphen of a presentation's name.
    /// ISO/IEC 30107-3 judges a gate by its worst.
    pub apcer_by_kind: BTreeMap<String, f64>,
    /// All presentations of people.
    pub live_presentations: Vec<Presentation>,
    /// All presentations of attacks.
    pub attack_presentations: Vec<Presentation>,
}

/// Judges all presentations of two folders. `Input` if there is none in one of them; `Model` if the manifest has no
/// model of liveness.
pub fn evaluate(models: &Models, live: &Path, attack: &Path, conditions: &Conditions) -> Result<Report> {
    let mut player = Player::new(models, *conditions)?;
    let mut play = |dir: &Path| -> Result<Vec<Presentation>> {
        let presentations = presentations(dir)?;
        if presentations.is_empty() {
            return Err(Error::new(
                Kind::Input,
                format!("{} holds neither pictures nor folders of pictures", dir.display()),
            ));
        }
        presentations.iter().map(|(name, frames)| player.play(name, frames)).collect()
    };
    let (live, attack) = (play(live)?, play(attack)?);
    Ok(report(live, attack, player.unreadable, conditions.threshold))
}

/// Sub-folders and single pictures of a folder, each with its frames.
fn presentations(dir: &Path) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let (pictures, folders) = list(dir)?;
    let mut found = Vec::new();
    for path in folders {
        let (frames, _) = list(&path)?;
        if !frames.is_empty() {
            found.push((name_of(&path), frames));
        }
    }
    found.extend(pictures.into_iter().map(|path| (name_of(&path), vec![path])));
    Ok(found)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The error rates of what was judged.
fn report(
    live: Vec<Presentation>,
    attack: Vec<Presentation>,
    unreadable: BTreeMap<String, String>,
    threshold: u8,
) -> Report {
    let no_face = live.iter().chain(&attack).filter(|p| p.faces == 0).map(|p| p.name.clone()).collect();
    let rates = |judged: fn(&Presentation) -> Option<bool>| {
        let apcer = share(&attack, judged, true);
        let bpcer = share(&live, judged, false);
        Rates { apcer, bpcer, acer: apcer.zip(bpcer).map(|(apcer, bpcer)| (apcer + bpcer) / 2.0) }
    };
    let mut kinds: BTreeMap<String, Vec<&Presentation>> = BTreeMap::new();
    for presentation in &attack {
        let kind = presentation.name.split('-').next().unwrap_or_default();
        kinds.entry(kind.to_owned()).or_default().push(presentation);
    }
    let apcer_by_kind =
        kinds.into_iter().filter_map(|(kind, list)| Some((kind, share(list, |p| p.strict, true)?))).collect();
    Report {
        live: live.iter().filter(|p| p.faces > 0).count(),
        attack: attack.iter().filter(|p| p.faces > 0).count(),
        no_face,
        unreadable,
        threshold,
        strict: rates(|p| p.strict),
        lenient: rates(|p| p.lenient),
        model_alone: rates(|p| p.model),
        apcer_by_kind,
        live_presentations: live,
        attack_presentations: attack,
    }
}

/// The share of those that were judged which were judged `live`.
fn share<'a>(
    list: impl IntoIterator<Item = &'a Presentation>,
    judged: fn(&Presentation) -> Option<bool>,
    live: bool,
) -> Option<f64> {
    let answers: Vec<bool> = list.into_iter().filter_map(judged).collect();
    let wrong = answers.iter().filter(|answer| **answer == live).count();
    (!answers.is_empty()).then(|| wrong as f64 / answers.len() as f64)
}

/// Plays presentations to a judge.
struct Player {
    models: Models,
    conditions: Conditions,
    scorer: LivenessScorer,
    picture: Picture,
    unreadable: BTreeMap<String, String>,
}

impl Player {
    fn new(models: &Models, conditions: Conditions) -> Result<Self> {
        let scorer = LivenessScorer::new(models, 1)?.ok_or_else(|| {
            Error::new(Kind::Model, "the manifest names no model of liveness: there is nothing to evaluate")
        })?;
        Ok(Self {
            models: models.clone(),
            conditions,
            scorer,
            picture: Picture::new(),
            unreadable: BTreeMap::new(),
        })
    }

    fn play(&mut self, name: &str, frames: &[PathBuf]) -> Result<Presentation> {
        let begin = Instant::now();
        let threshold = self.conditions.threshold;
        let mut judge = Judge::new();
        let mut finder = Finder::new(&self.models, 1)?;
        let mut before: Vec<Rect> = Vec::new();
        let mut faces = 0;
        let (mut strict, mut lenient) = (Judgement::NotYet, Judgement::NotYet);
        for (number, path) in frames.iter().enumerate() {
            let bytes = std::fs::read(path).context(|| format!("{} cannot be read", path.display()))?;
            if let Err(error) = self.picture.decode_file(&bytes) {
                self.unreadable.insert(path.display().to_string(), error.to_string());
                continue;
            }
            let at = begin + Duration::from_secs_f32(number as f32 / self.conditions.fps);
            let found = finder.find(
                &self.picture,
                at,
                &before,
                self.conditions.detect_threshold,
                self.conditions.smallest_face.max(1) as f32,
            )?;
            let found = follow(found, before.first());
            before.clear();
            before.extend(found.map(|found| found.rect));
            let Some(found) = found else { continue };
            faces += 1;
            let rect = found.rect;
            let model = self.scorer.live(&self.picture, &rect)?;
            let picture = &self.picture;
            let patch = Patch::sample(&rect, picture.size(), |x, y| {
                let [red, green, blue] = picture.pixel(x, y).map(u32::from);
                ((77 * red + 150 * green + 29 * blue) >> 8) as u8
            });
            judge.observe(&Observation {
                at,
                rect,
                landmarks: found.landmarks,
                model,
                infrared: None,
                patch: Some(&patch),
            });
            if strict == Judgement::NotYet {
                strict = judge.judgement(Level::Strict, threshold);
            }
            if lenient == Judgement::NotYet {
                lenient = judge.judgement(Level::Lenient, threshold);
            }
        }
        let parts = judge.parts();
        let by_model = parts.model.map(|model| 100.0 * model >= f32::from(threshold));
        let live = |judgement| match judgement {
            Judgement::Live => Some(true),
            Judgement::Attack => Some(false),
            Judgement::NotYet => judge.score().map(|score| score >= f32::from(threshold)).or(by_model),
        };
        Ok(Presentation {
            name: name.to_owned(),
            frames: frames.len(),
            faces,
            score: judge.score(),
            parts,
            strict: live(strict),
            lenient: live(lenient),
            model: by_model,
        })
    }
}

/// The face that was there before, or the largest.
fn follow(faces: &[DetectedFace], before: Option<&Rect>) -> Option<DetectedFace> {
    let by = |face: &DetectedFace| match before {
        Some(before) => face.rect.iou(before),
        None => face.rect.area(),
    };
    faces.iter().max_by(|one, other| by(one).total_cmp(&by(other))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presentation(name: &str, strict: Option<bool>, lenient: bool, model: bool) -> Presentation {
        Presentation {
            name: name.into(),
            frames: 3,
            faces: if strict.is_some() { 3 } else { 0 },
            score: None,
            parts: Parts::default(),
            strict,
            lenient: strict.map(|_| lenient),
            model: strict.map(|_| model),
        }
    }

    #[test]
    fn counts_both_errors() {
        let live = vec![
            presentation("a", Some(true), true, true),
            presentation("b", Some(false), true, false),
            presentation("c", Some(true), true, true),
            presentation("d", Some(true), true, false),
            presentation("e", None, true, true),
        ];
        let attack = vec![
            presentation("print-1", Some(false), false, true),
            presentation("print-2", Some(true), true, true),
            presentation("screen-1", Some(false), true, false),
            presentation("screen-2", Some(false), false, true),
            presentation("screen-3", Some(false), false, true),
        ];
        let report = report(live, attack, BTreeMap::new(), 50);
        assert_eq!((report.live, report.attack), (4, 5));
        assert_eq!(report.no_face, ["e"]);
        // One of four people refused; one of five attacks passes.
        assert_eq!(report.strict, Rates { apcer: Some(0.2), bpcer: Some(0.25), acer: Some(0.225) });
        assert_eq!(report.lenient, Rates { apcer: Some(0.4), bpcer: Some(0.0), acer: Some(0.2) });
        assert_eq!(report.model_alone, Rates { apcer: Some(0.8), bpcer: Some(0.5), acer: Some(0.65) });
        assert_eq!(report.apcer_by_kind, BTreeMap::from([("print".into(), 0.5), ("screen".into(), 0.0)]));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["acer"], 0.225);
    }

    #[test]
    fn finds_folders_and_single_pictures() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("two")).unwrap();
        std::fs::create_dir(dir.path().join("nothing")).unwrap();
        for name in ["two/2.jpg", "two/1.JPG", "two/notes.txt", "one.png", "readme.md"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = presentations(dir.path()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, frames)| (name.as_str(), frames.iter().map(|f| name_of(f)).collect::<Vec<_>>()))
            .collect();
        assert_eq!(
            found,
            [("two", vec!["1.JPG".to_owned(), "2.jpg".into()]), ("one.png", vec!["one.png".into()])]
        );
        assert_eq!(presentations(&dir.path().join("none")).unwrap_err().kind(), Kind::NotFound);
    }
}
