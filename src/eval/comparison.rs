//! `menshen eval match`: pairs of pictures through the models of the gate, and how well one threshold tells the same
//! person from another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::pairs::Pairs;
use super::statistics::Scores;
use crate::error::{Error, Kind, Result};
use crate::vision::calibration::Calibration;
use crate::vision::template::Template;

/// The false accept rates that are looked at, and what the report calls them.
const RATES: [(&str, f64); 4] = [("1e-1", 1e-1), ("1e-2", 1e-2), ("1e-3", 1e-3), ("1e-4", 1e-4)];

/// What became of one picture.
#[derive(Debug, Clone)]
pub enum Embedded {
    /// Its template.
    Template(Template),
    /// No face was found in it.
    NoFace,
    /// It could not be read, and why.
    Unreadable(String),
}

/// What `menshen eval match` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Id of the embedder that was measured.
    pub model: String,
    /// Pairs of the list: `genuine + impostor + no_face + unreadable`.
    pub pairs: usize,
    /// Pairs of one person that were compared.
    pub genuine: usize,
    /// Pairs of two people that were compared.
    pub impostor: usize,
    /// Pairs left out because one of the pictures has no face.
    pub no_face: usize,
    /// Pairs left out because one of the pictures could not be read.
    pub unreadable: usize,
    /// Lines of the list that are no pair.
    pub malformed: usize,
    /// The least cosine of one person's pictures.
    pub genuine_min: Option<f32>,
    /// The greatest cosine of two people's.
    pub impostor_max: Option<f32>,
    /// Equal error rate, 0 to 1.
    pub eer: Option<f64>,
    /// The cosine at which it is reached, and what the calibration makes of it.
    pub eer_threshold: Option<Threshold>,
    /// By false accept rate, as far as the impostors suffice for it.
    pub tar_at_far: BTreeMap<&'static str, AtFar>,
    /// What a gate does whose `SimilarThres` is the usual 80.
    pub at_score_80: AtScore,
    /// Of documents' photos: what `settings.documents.photo_threshold` could be; `None` of others, or with too few
    /// impostors.
    pub document_photo: Option<Suggested>,
    /// The pictures without a face.
    pub no_face_pictures: BTreeSet<String>,
    /// The pictures that could not be read, and why.
    pub unreadable_pictures: BTreeMap<String, String>,
    /// Numbers of the malformed lines.
    pub malformed_lines: Vec<usize>,
    /// Both lists of cosines, for a plot.
    #[serde(skip)]
    pub scores: Scores,
}

/// A threshold as the embedder and as the protocols have it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Threshold {
    /// Cosine, -1 to 1.
    pub cosine: f32,
    /// Score, 0 to 100.
    pub score: f32,
}

/// What is accepted at a false accept rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtFar {
    /// Share of the genuine that is accepted.
    pub tar: f64,
    /// Share of the impostors that is accepted.
    pub far: f64,
    /// From which cosine on.
    pub cosine: f32,
    /// From which score on.
    pub score: f32,
}

/// A threshold for documents' photos and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Suggested {
    /// Score, 0 to 100.
    pub threshold: u8,
    /// The cosine that the calibration gives for it.
    pub cosine: f32,
    /// Share of the impostors that is accepted.
    pub far: f64,
    /// Share of the genuine that is refused.
    pub frr: f64,
}

/// What is accepted from a score on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AtScore {
    /// The cosine that the calibration gives for the score.
    pub cosine: f32,
    /// Share of the genuine that is accepted.
    pub tar: Option<f64>,
    /// Share of the impostors that is accepted.
    pub far: Option<f64>,
}

/// Which pictures of a list of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Those of `a`.
    A,
    /// Those of `b`.
    B,
    /// All.
    Both,
}

/// Embeds every picture that a column of `pairs` names once, side by side on `workers` threads. Each thread makes an embedder of
/// its own with `make`; what that gives is asked for the bytes of each picture. An error of it that concerns the
/// picture (`Input`) is kept with the picture; any other ends the evaluation.
pub fn embed<E>(
    pairs: &Pairs,
    column: Column,
    root: &Path,
    workers: usize,
    make: impl Fn() -> Result<E> + Sync,
) -> Result<BTreeMap<String, Embedded>>
where
    E: FnMut(&[u8]) -> Result<Option<Template>>,
{
    let a = pairs.pairs.iter().map(|pair| pair.a.as_str()).filter(|_| column != Column::B);
    let b = pairs.pairs.iter().map(|pair| pair.b.as_str()).filter(|_| column != Column::A);
    let names: BTreeSet<&str> = a.chain(b).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        let work = || -> Result<()> {
            let mut embedder = make()?;
            while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                let embedded = match std::fs::read(root.join(name)) {
                    Err(error) => Embedded::Unreadable(error.to_string()),
                    Ok(bytes) => match embedder(&bytes) {
                        Ok(Some(template)) => Embedded::Template(template),
                        Ok(None) => Embedded::NoFace,
                        Err(error) if error.kind() == Kind::Input => Embedded::Unreadable(error.to_string()),
                        Err(error) => return Err(error),
                    },
                };
                let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                done.insert((*name).to_owned(), embedded);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..workers.max(1)).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::new(Kind::Model, "a thread of the evaluation ended")))
        })
    })?;
    Ok(done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Compares the pairs: `a` and `b` have the pictures of the columns, and may be the same. `Input` if none could be
/// compared.
pub fn compare(
    pairs: &Pairs,
    (a, b): (&BTreeMap<String, Embedded>, &BTreeMap<String, Embedded>),
    calibration: &Calibration,
    model: &str,
) -> Result<Report> {
    let (mut genuine, mut impostor) = (Vec::new(), Vec::new());
    let (mut no_face, mut unreadable) = (0, 0);
    for pair in &pairs.pairs {
        match (a.get(&pair.a), b.get(&pair.b)) {
            (Some(Embedded::Template(one)), Some(Embedded::Template(other))) => {
                let list = if pair.same { &mut genuine } else { &mut impostor };
                list.push(one.cosine(other));
            }
            (
                Some(Embedded::NoFace | Embedded::Template(_)),
                Some(Embedded::NoFace | Embedded::Template(_)),
            ) => {
                no_face += 1;
            }
            _ => unreadable += 1,
        }
    }
    if genuine.is_empty() && impostor.is_empty() {
        return Err(Error::new(
            Kind::Input,
            format!(
                "not one pair could be compared: {} pairs, {no_face} without a face, {unreadable} unreadable, {} \
                 malformed lines; check the list and the folder",
                pairs.pairs.len(),
                pairs.malformed.len()
            ),
        ));
    }
    let scores = Scores::new(genuine, impostor);
    let eer = scores.equal_error_rate();
    let at_far = |far: f64| {
        scores.at_far(far).map(|at| AtFar {
            tar: at.tar,
            far: at.far,
            cosine: at.threshold,
            score: calibration.score(at.threshold),
        })
    };
    let usual = calibration.cosine(80.0);
    Ok(Report {
        model: model.to_owned(),
        pairs: pairs.pairs.len(),
        genuine: scores.genuine().len(),
        impostor: scores.impostor().len(),
        no_face,
        unreadable,
        malformed: pairs.malformed.len(),
        genuine_min: scores.genuine().first().copied(),
        impostor_max: scores.impostor().last().copied(),
        eer: eer.map(|eer| eer.rate),
        eer_threshold: eer
            .map(|eer| Threshold { cosine: eer.threshold, score: calibration.score(eer.threshold) }),
        tar_at_far: RATES.into_iter().filter_map(|(name, far)| Some((name, at_far(far)?))).collect(),
        at_score_80: AtScore {
            cosine: usual,
            tar: scores.frr(usual).map(|frr| 1.0 - frr),
            far: scores.far(usual),
        },
        document_photo: None,
        no_face_pictures: a
            .iter()
            .chain(b)
            .filter(|(_, embedded)| matches!(embedded, Embedded::NoFace))
            .map(|(name, _)| name.clone())
            .collect(),
        unreadable_pictures: a
            .iter()
            .chain(b)
            .filter_map(|(name, embedded)| match embedded {
                Embedded::Unreadable(why) => Some((name.clone(), why.clone())),
                _ => None,
            })
            .collect(),
        malformed_lines: pairs.malformed.clone(),
        scores,
    })
}

impl Report {
    /// With what [`Scores::document_photo`] suggests.
    #[must_use]
    pub fn of_document_photos(mut self, calibration: &Calibration) -> Self {
        self.document_photo = self.scores.document_photo(calibration);
        self
    }
}

impl Scores {
    /// Where to put the threshold for documents' photos: the score, rounded up, at the smallest false accept rate of
    /// 1e-2 and 1e-3 that the impostors carry. `None` if they carry neither.
    fn document_photo(&self, calibration: &Calibration) -> Option<Suggested> {
        let at = self.at_far(1e-3).or_else(|| self.at_far(1e-2))?;
        let threshold = calibration.score(at.threshold).ceil();
        let cosine = calibration.cosine(threshold);
        Some(Suggested { threshold: threshold as u8, cosine, far: self.far(cosine)?, frr: self.frr(cosine)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files named after what is to become of them; two numbers are a template.
    #[test]
    fn embeds_each_picture_once_and_counts_what_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("a1", "1 0"), ("a2", "0.8 0.6"), ("b", "0 1"), ("empty", "no face"), ("broken", "broken")]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let pairs = Pairs::parse(
            "a,b,same\na1,a2,1\na1,b,0\na2,b,0\na1,empty,1\nempty,empty,1\nbroken,b,0\na1,missing,0\nempty,missing,1\nwhat\n",
        );
        let asked = Mutex::new(Vec::new());
        let make = || {
            Ok(|bytes: &[u8]| {
                let text = std::str::from_utf8(bytes).unwrap().to_owned();
                asked.lock().unwrap().push(text.clone());
                match text.as_str() {
                    "no face" => Ok(None),
                    "broken" => Err(Error::new(Kind::Input, "half a picture")),
                    numbers => {
                        let numbers = numbers.split(' ').map(|number| number.parse().unwrap()).collect();
                        Template::normalised(numbers).map(Some)
                    }
                }
            })
        };
        let embedded = embed(&pairs, Column::Both, dir.path(), 3, make).unwrap();
        assert_eq!(asked.lock().unwrap().len(), 5);
        let calibration = Calibration::new(vec![[0.0, 0.0], [0.5, 80.0], [1.0, 100.0]]).unwrap();
        let report = compare(&pairs, (&embedded, &embedded), &calibration, "m").unwrap();
        assert_eq!((report.pairs, report.genuine, report.impostor), (8, 1, 2));
        assert_eq!((report.no_face, report.unreadable, report.malformed), (2, 3, 1));
        assert_eq!(report.malformed_lines, [10]);
        assert_eq!(report.no_face_pictures, BTreeSet::from(["empty".to_owned()]));
        let named: Vec<_> = report.unreadable_pictures.keys().map(String::as_str).collect();
        assert_eq!(named, ["broken", "missing"]);
        assert!(report.unreadable_pictures["broken"].contains("half a picture"));
        // Cosines by hand: a1·a2 = 0.8; a1·b = 0, a2·b = 0.6.
        assert!((report.genuine_min.unwrap() - 0.8).abs() < 1e-6);
        assert!((report.impostor_max.unwrap() - 0.6).abs() < 1e-6);
        assert_eq!(report.eer, Some(0.0));
        // Two impostors carry no rate of a tenth.
        assert!(report.tar_at_far.is_empty());
        // 80 stands for 0.5: the pair at 0.6 passes, one of two.
        assert_eq!(
            (report.at_score_80.cosine, report.at_score_80.far, report.at_score_80.tar),
            (0.5, Some(0.5), Some(1.0))
        );
        let json = serde_json::to_value(&report).unwrap();
        assert!((json["eer_threshold"]["score"].as_f64().unwrap() - 92.0).abs() < 1e-3);
    }

    #[test]
    fn a_model_that_fails_ends_the_evaluation() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "x").unwrap();
        let pairs = Pairs::parse("x,x,1");
        let fails = || Ok(|_: &[u8]| Err(Error::new(Kind::Model, "no model")));
        assert_eq!(embed(&pairs, Column::Both, dir.path(), 1, fails).unwrap_err().kind(), Kind::Model);
        let missing = BTreeMap::from([("x".to_owned(), Embedded::NoFace)]);
        let calibration = Calibration::new(vec![[0.0, 0.0], [1.0, 100.0]]).unwrap();
        assert_eq!(compare(&pairs, (&missing, &missing), &calibration, "m").unwrap_err().kind(), Kind::Input);
    }
}
