//! Pictures that enrol: from a file to a template, or to the reason why not.

use serde::Serialize;

use super::align::AlignedFace;
use super::detect::Detector;
use super::embed::Embedder;
use super::face::DetectedFace;
use super::models::Models;
use super::picture::{Picture, Region};
use super::quality::{Limits, Meter, Quality, QualityFault};
use super::template::Template;
use crate::error::{Error, Kind, Result};
use crate::text::{self, Language};

/// How sure the detector must be that something is a face.
const THRESHOLD: f32 = 0.6;
/// Side of the quick look at the whole picture, and at the surroundings of a face that it found small.
const QUICK: u32 = 320;
/// Side of the second look, if the quick one found nothing.
const THOROUGH: u32 = 640;
/// A face narrower than this share of the picture's longer side is looked at again from near, because its
/// landmarks are only as exact as the pixels of the input: 80 of 320.
const NEAR_ENOUGH: f32 = 0.25;
/// How much of the surroundings that second look takes in, in sides of the face.
const SURROUNDINGS: f32 = 2.5;
/// A second face at least this share of the first one's width is somebody who could be meant as well; anybody
/// smaller stands far behind and is overlooked.
const COMPANION: f32 = 0.4;

/// Why a picture cannot enrol anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PictureFault {
    /// Nobody in it.
    NoFace,
    /// More than one person who could be meant.
    SeveralFaces,
    /// One person, badly visible.
    Quality(QualityFault),
}

impl PictureFault {
    /// The word for logs and machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoFace => "no_face",
            Self::SeveralFaces => "several_faces",
            Self::Quality(fault) => fault.word(),
        }
    }
}

impl From<PictureFault> for Error {
    fn from(fault: PictureFault) -> Self {
        let text = text::picture_fault(fault, Language::English);
        Self::new(Kind::Face, format!("{text} ({}); take another picture", fault.word()))
    }
}

/// What an examination found.
#[derive(Debug, Clone)]
pub enum Examination {
    /// The picture can enrol.
    Good(Box<Examined>),
    /// It cannot.
    Bad(PictureFault),
}

/// A picture that can enrol.
#[derive(Debug, Clone, Serialize)]
pub struct Examined {
    /// The template, mean of the face and its mirror image, of the model [`Examiner::model`].
    #[serde(skip)]
    pub template: Template,
    /// The face, in pixels of the upright picture.
    pub face: DetectedFace,
    /// How good it is.
    pub quality: Quality,
    /// Width and height of the upright picture.
    pub size: (u32, u32),
}

/// Examines pictures, one after the other: the sessions and buffers of one enrolment thread.
pub struct Examiner {
    models: Models,
    threads: usize,
    quick: Detector,
    thorough: Option<Detector>,
    embedder: Embedder,
    picture: Picture,
    aligned: AlignedFace,
    meter: Meter,
    model: String,
}

impl Examiner {
    /// Loads the models, each on `threads` threads (one, if there is an examiner for each core).
    pub fn new(models: &Models, threads: usize) -> Result<Self> {
        Ok(Self {
            models: models.clone(),
            threads,
            quick: Detector::new(models, (QUICK, QUICK), threads)?,
            thorough: None,
            embedder: Embedder::new(models, threads)?,
            picture: Picture::new(),
            aligned: AlignedFace::new(),
            meter: Meter::new(),
            model: models.embedder_id(),
        })
    }

    /// Id of the model that makes the templates.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Examines a JPEG or PNG. `Input` if it cannot be decoded, `Face` if nobody or more than one person is in it or
    /// the one is badly visible (the message ends in the [`PictureFault::word`]), `Model` if a model fails.
    pub fn examine(&mut self, bytes: &[u8]) -> Result<Examined> {
        match self.look(bytes)? {
            Examination::Good(examined) => Ok(*examined),
            Examination::Bad(fault) => Err(fault.into()),
        }
    }

    /// The same with the fault as a value.
    pub fn look(&mut self, bytes: &[u8]) -> Result<Examination> {
        self.picture.decode_file(bytes)?;
        let examination = self.look_at_picture();
        self.picture.shrink();
        examination
    }

    /// The template of the surest face of a picture without a judgement of its quality, as for comparing two
    /// pictures; `None` without a face.
    pub fn template(
        &mut self,
        bytes: &[u8],
        mirrored: bool,
    ) -> Result<Option<(Template, DetectedFace, Quality)>> {
        self.picture.decode_file(bytes)?;
        let found = match self.find()? {
            None => None,
            Some((face, _)) => match self.measure(&face) {
                None => None,
                Some(quality) => {
                    let template = if mirrored {
                        self.embedder.mirrored_template(&self.aligned)?
                    } else {
                        self.embedder.template(&self.aligned)?
                    };
                    Some((template, face, quality))
                }
            },
        };
        self.picture.shrink();
        Ok(found)
    }

    /// The template of the holder's face in the photo of an identity document: such photos are small and old, and
    /// judged by [`Limits::DOCUMENT`]. Errors as those of [`Examiner::examine`].
    pub fn portrait(&mut self, bytes: &[u8]) -> Result<Template> {
        self.picture.decode_file(bytes)?;
        let found = self.look_at_portrait();
        self.picture.shrink();
        found?.map_err(Error::from)
    }

    fn look_at_portrait(&mut self) -> Result<std::result::Result<Template, PictureFault>> {
        let Some((face, companions)) = self.find()? else { return Ok(Err(PictureFault::NoFace)) };
        if companions > 0 {
            return Ok(Err(PictureFault::SeveralFaces));
        }
        let Some(quality) = self.measure(&face) else { return Ok(Err(PictureFault::NoFace)) };
        if let Some(fault) = quality.first_failure(&Limits::DOCUMENT) {
            return Ok(Err(PictureFault::Quality(fault)));
        }
        self.embedder.mirrored_template(&self.aligned).map(Ok)
    }

    fn look_at_picture(&mut self) -> Result<Examination> {
        let Some((face, companions)) = self.find()? else {
            return Ok(Examination::Bad(PictureFault::NoFace));
        };
        if companions > 0 {
            return Ok(Examination::Bad(PictureFault::SeveralFaces));
        }
        let Some(quality) = self.measure(&face) else {
            return Ok(Examination::Bad(PictureFault::NoFace));
        };
        if let Some(fault) = quality.first_failure(&Limits::ENROLMENT) {
            return Ok(Examination::Bad(PictureFault::Quality(fault)));
        }
        let template = self.embedder.mirrored_template(&self.aligned)?;
        let size = self.picture.size();
        Ok(Examination::Good(Box::new(Examined { template, face, quality, size })))
    }

    /// Aligns and measures a face; `None` if its landmarks span nothing.
    fn measure(&mut self, face: &DetectedFace) -> Option<Quality> {
        self.aligned
            .take(&self.picture, &face.landmarks, self.embedder.size())
            .then(|| self.meter.measure(face, &self.aligned))
    }

    /// The largest face and how many others could be meant.
    fn find(&mut self) -> Result<Option<(DetectedFace, usize)>> {
        let mut found = largest(self.quick.detect(&self.picture, THRESHOLD)?);
        if found.is_none() {
            let detector = match &mut self.thorough {
                Some(detector) => detector,
                none => none.insert(Detector::new(&self.models, (THOROUGH, THOROUGH), self.threads)?),
            };
            found = largest(detector.detect(&self.picture, THRESHOLD)?);
        }
        let Some((face, companions)) = found else { return Ok(None) };
        let (width, height) = self.picture.size();
        if companions > 0 || face.rect.width() >= NEAR_ENOUGH * width.max(height) as f32 {
            return Ok(Some((face, companions)));
        }
        // From near the landmarks become exact, and companions that were too small to be seen appear.
        let Some(region) = Region::square_around(&face.rect, SURROUNDINGS, &self.picture) else {
            return Ok(Some((face, companions)));
        };
        let near = self.quick.detect_in(&self.picture, region, THRESHOLD)?;
        Ok(Some(match largest(near) {
            Some((closer, companions)) if closer.rect.iou(&face.rect) > 0.3 => (closer, companions),
            _ => (face, companions),
        }))
    }
}

/// The largest face and how many others are at least [`COMPANION`] of its width.
fn largest(faces: &[DetectedFace]) -> Option<(DetectedFace, usize)> {
    let largest = faces.iter().max_by(|one, other| one.rect.area().total_cmp(&other.rect.area()))?;
    let least = COMPANION * largest.rect.width();
    let companions = faces.iter().filter(|face| face.rect.width() >= least).count() - 1;
    Some((*largest, companions))
}
