//! Aligned faces to templates.

use ort::session::Session;
use ort::value::Tensor;

use super::align::AlignedFace;
use super::detect::tensor;
use super::models::{EmbedderModel, Models, run_failed, uniform};
use super::picture::Normalisation;
use super::template::Template;
use crate::error::{Error, Kind, Result};

/// The embedder with buffers of its own.
pub struct Embedder {
    session: Session,
    model: EmbedderModel,
    normalisation: Normalisation,
    input: Tensor<f32>,
}

impl Embedder {
    /// The embedder of the manifest on `threads` threads. `Model` if it does not fit its description.
    pub fn new(models: &Models, threads: usize) -> Result<Self> {
        let model = models.manifest().embedder.clone();
        let side = i64::from(model.size);
        let session = models.session(
            &model.file,
            &model.sha256,
            threads,
            &model.input,
            [1, 3, side, side],
            &[&model.output],
        )?;
        let normalisation = uniform(model.colour, model.mean, model.scale);
        let input = tensor(&model.name, (model.size, model.size))?;
        let mut embedder = Self { session, model, normalisation, input };
        // Finds out a wrong dimension now; what it makes of grey is of no use to anybody.
        embedder.run()?;
        Ok(embedder)
    }

    /// Side of the aligned face it takes.
    pub fn size(&self) -> u32 {
        self.model.size
    }

    /// The template of a face.
    pub fn template(&mut self, face: &AlignedFace) -> Result<Template> {
        Template::normalised(self.values(face, false)?)
    }

    /// The template of a face and its mirror image together, for enrolment: half the noise for twice the time.
    pub fn mirrored_template(&mut self, face: &AlignedFace) -> Result<Template> {
        let straight = self.template(face)?;
        let mirrored = Template::normalised(self.values(face, true)?)?;
        let sum = straight.values().iter().zip(mirrored.values()).map(|(one, other)| one + other).collect();
        Template::normalised(sum)
    }

    fn values(&mut self, face: &AlignedFace, mirrored: bool) -> Result<Vec<f32>> {
        if face.size() != self.model.size {
            return Err(Error::new(
                Kind::Model,
                format!(
                    "a face of {} pixels for {}, which takes {}",
                    face.size(),
                    self.model.name,
                    self.model.size
                ),
            ));
        }
        let (_, values) = self.input.extract_tensor_mut();
        face.write(&self.normalisation, mirrored, values);
        self.run()
    }

    fn run(&mut self) -> Result<Vec<f32>> {
        let model = &self.model;
        let outputs =
            self.session.run([(&self.input).into()]).map_err(|error| run_failed(&model.name, error))?;
        let (_, values) = outputs
            .get(&model.output)
            .ok_or_else(|| Error::new(Kind::Model, format!("{} gave no {}", model.name, model.output)))?
            .try_extract_tensor::<f32>()
            .map_err(|error| run_failed(&model.name, error))?;
        if values.len() != model.dimension {
            return Err(Error::new(
                Kind::Model,
                format!("{} gave {} values instead of {}", model.name, values.len(), model.dimension),
            ));
        }
        Ok(values.to_vec())
    }
}
