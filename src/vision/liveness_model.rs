//! The model that looks for a print or a screen in one colour picture. It is weak alone (its limits stand in the
//! manifest); [`super::liveness::Judge`] makes one answer of it and of what moving pictures tell.

use ort::session::Session;
use ort::value::Tensor;

use super::detect::tensor;
use super::face::Rect;
use super::models::{LivenessModel, Models, run_failed, uniform};
use super::picture::{Normalisation, Picture, Region, Scaler};
use crate::error::{Error, Kind, Result};

/// The model with buffers of its own.
pub struct LivenessScorer {
    session: Session,
    model: LivenessModel,
    normalisation: Normalisation,
    input: Tensor<f32>,
    scaler: Scaler,
}

impl LivenessScorer {
    /// The liveness model of the manifest on `threads` threads; `None` if the manifest has none. `Model` if it does
    /// not fit its description.
    pub fn new(models: &Models, threads: usize) -> Result<Option<Self>> {
        let Some(model) = models.manifest().liveness.clone() else { return Ok(None) };
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
        let mut scorer = Self { session, model, normalisation, input, scaler: Scaler::sampling() };
        scorer.run()?;
        Ok(Some(scorer))
    }

    /// The probability, 0 to 1, that the face is one before the camera; `None` if its box holds no pixels.
    pub fn live(&mut self, picture: &Picture, rect: &Rect) -> Result<Option<f32>> {
        let Some(region) = Region::around(rect, self.model.crop, picture) else { return Ok(None) };
        let size = (self.model.size, self.model.size);
        let (_, values) = self.input.extract_tensor_mut();
        self.scaler.fill(picture, region, size, size, &self.normalisation, values)?;
        self.run().map(Some)
    }

    fn run(&mut self) -> Result<f32> {
        let model = &self.model;
        let outputs =
            self.session.run([(&self.input).into()]).map_err(|error| run_failed(&model.name, error))?;
        let (_, values) = outputs
            .get(&model.output)
            .ok_or_else(|| Error::new(Kind::Model, format!("{} gave no {}", model.name, model.output)))?
            .try_extract_tensor::<f32>()
            .map_err(|error| run_failed(&model.name, error))?;
        if values.len() != model.classes {
            return Err(Error::new(
                Kind::Model,
                format!("{} gave {} classes instead of {}", model.name, values.len(), model.classes),
            ));
        }
        softmax_of(values, model.live_class)
            .ok_or_else(|| Error::new(Kind::Model, format!("{} gave no numbers", model.name)))
    }
}

/// The share of one class after a softmax; `None` if one of the values is not finite.
fn softmax_of(values: &[f32], class: usize) -> Option<f32> {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = values.iter().map(|value| (value - most).exp()).sum();
    let share = (values.get(class)? - most).exp() / sum;
    values.iter().all(|value| value.is_finite()).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_become_shares() {
        // e^1, e^2, e^3 over their sum, to five places.
        for (class, share) in [(0, 0.09003), (1, 0.24473), (2, 0.66524)] {
            assert!((softmax_of(&[1.0, 2.0, 3.0], class).unwrap() - share).abs() < 1e-5);
        }
        assert_eq!(softmax_of(&[1000.0, 0.0], 0), Some(1.0));
        assert_eq!(softmax_of(&[f32::NAN, 0.0], 1), None);
        assert_eq!(softmax_of(&[0.0], 1), None);
    }
}
