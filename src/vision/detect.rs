//! Faces and landmarks by RetinaFace (Deng et al., 2019, arXiv:1905.00641).

use ort::session::Session;
use ort::value::Tensor;

use super::face::{DetectedFace, Landmarks, Rect};
use super::models::{DetectorModel, Models, run_failed};
use super::picture::{Normalisation, Picture, Region, Scaler};
use crate::error::{Error, Kind, Result};

/// Two boxes that overlap more than this are one face.
const NMS_IOU: f32 = 0.4;
/// Candidates looked at in one picture, the best first: far more than faces fit, far fewer than anchors.
const MAX_CANDIDATES: usize = 512;

/// A detector for one size of input, with buffers of its own.
pub struct Detector {
    session: Session,
    model: DetectorModel,
    normalisation: Normalisation,
    size: (u32, u32),
    input: Tensor<f32>,
    scaler: Scaler,
    /// Centre and side of each anchor, in pixels of the input.
    anchors: Vec<[f32; 3]>,
    candidates: Vec<DetectedFace>,
    faces: Vec<DetectedFace>,
}

impl Detector {
    /// A detector whose input is `size` (width, height), on `threads` threads. `Model` if the model does not
    /// fit its description.
    pub fn new(models: &Models, size: (u32, u32), threads: usize) -> Result<Self> {
        let model = models.manifest().detector.clone();
        let outputs = &model.outputs;
        let session = models.session(
            &model.file,
            &model.sha256,
            threads,
            &model.input,
            [1, 3, i64::from(size.1), i64::from(size.0)],
            &[&outputs.loc, &outputs.conf, &outputs.landmarks],
        )?;
        let input = tensor(&model.name, size)?;
        let normalisation = Normalisation { colour: model.colour, mean: model.mean, scale: model.scale };
        let anchors = anchors(size, &model.strides, &model.anchors);
        let mut detector = Self {
            session,
            model,
            normalisation,
            size,
            input,
            scaler: Scaler::new(),
            anchors,
            candidates: Vec::new(),
            faces: Vec::new(),
        };
        // A model of another shape is found out now and not by the first visitor.
        detector.run(1.0, [1.0; 4])?;
        Ok(detector)
    }

    /// Width and height of the input.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The faces of a picture with at least `threshold` (0 to 1), the surest first, in pixels of the picture.
    pub fn detect(&mut self, picture: &Picture, threshold: f32) -> Result<&[DetectedFace]> {
        self.detect_in(picture, Region::whole(picture), threshold)
    }

    /// The same in a region of the picture only; places are those of the whole picture.
    pub fn detect_in(
        &mut self,
        picture: &Picture,
        region: Region,
        threshold: f32,
    ) -> Result<&[DetectedFace]> {
        let inner = fit((region.width, region.height), self.size);
        {
            let (_, values) = self.input.extract_tensor_mut();
            self.scaler.fill(picture, region, inner, self.size, &self.normalisation, values)?;
        }
        let across = region.width as f32 / inner.0 as f32;
        let down = region.height as f32 / inner.1 as f32;
        self.run(threshold, [region.x as f32, region.y as f32, across, down])?;
        Ok(&self.faces)
    }

    /// Runs the model on what is in the input. `place` is the offset and the factors from input to picture.
    fn run(&mut self, threshold: f32, place: [f32; 4]) -> Result<()> {
        let model = &self.model;
        let outputs =
            self.session.run([(&self.input).into()]).map_err(|error| run_failed(&model.name, error))?;
        let values = |name: &str, width: usize| -> Result<&[f32]> {
            let (_, values) = outputs
                .get(name)
                .ok_or_else(|| Error::new(Kind::Model, format!("{} gave no {name}", model.name)))?
                .try_extract_tensor::<f32>()
                .map_err(|error| run_failed(&model.name, error))?;
            if values.len() == self.anchors.len() * width {
                return Ok(values);
            }
            Err(Error::new(
                Kind::Model,
                format!(
                    "{} gave {} values of {name} for {} anchors; strides or anchors of the manifest are wrong",
                    model.name,
                    values.len(),
                    self.anchors.len()
                ),
            ))
        };
        let loc = values(&model.outputs.loc, 4)?;
        let conf = values(&model.outputs.conf, 2)?;
        let landmarks = values(&model.outputs.landmarks, 10)?;
        self.candidates.clear();
        for (index, score) in conf.chunks_exact(2).map(|pair| pair[1]).enumerate() {
            // Not a number compares false and is no face.
            if score >= threshold {
                let loc = &loc[index * 4..][..4];
                let landmarks = &landmarks[index * 10..][..10];
                let face = decode(self.anchors[index], loc, landmarks, score, model.variances, place);
                self.candidates.extend(face);
            }
        }
        self.candidates.sort_unstable_by(|one, other| other.score.total_cmp(&one.score));
        self.candidates.truncate(MAX_CANDIDATES);
        self.faces.clear();
        for candidate in &self.candidates {
            if self.faces.iter().all(|face| face.rect.iou(&candidate.rect) <= NMS_IOU) {
                self.faces.push(*candidate);
            }
        }
        Ok(())
    }
}

/// A zeroed input of three planes.
pub(super) fn tensor(model: &str, (width, height): (u32, u32)) -> Result<Tensor<f32>> {
    let (width, height) = (width as usize, height as usize);
    Tensor::from_array(([1, 3, height, width], vec![0.0; 3 * height * width]))
        .map_err(|error| run_failed(model, error))
}

/// The largest size with the shape of `source` that `canvas` holds, at least 1 x 1.
fn fit(source: (u32, u32), canvas: (u32, u32)) -> (u32, u32) {
    let factor = (f64::from(canvas.0) / f64::from(source.0)).min(f64::from(canvas.1) / f64::from(source.1));
    let scaled = |side: u32, most: u32| ((f64::from(side) * factor).round() as u32).clamp(1, most);
    (scaled(source.0, canvas.0), scaled(source.1, canvas.1))
}

/// Centre and side of each anchor: grid by grid, line by line, at each place one for each of the sides.
fn anchors(size: (u32, u32), strides: &[u32], sides: &[Vec<f32>]) -> Vec<[f32; 3]> {
    let mut anchors = Vec::new();
    for (&stride, sides) in strides.iter().zip(sides) {
        for y in 0..size.1.div_ceil(stride) {
            for x in 0..size.0.div_ceil(stride) {
                let centre = |at: u32| (at as f32 + 0.5) * stride as f32;
                anchors.extend(sides.iter().map(|&side| [centre(x), centre(y), side]));
            }
        }
    }
    anchors
}

/// One anchor's face in pixels of the picture; `None` if the model gave no numbers or a box without area.
fn decode(
    [centre_x, centre_y, side]: [f32; 3],
    loc: &[f32],
    landmarks: &[f32],
    score: f32,
    [of_centre, of_size]: [f32; 2],
    [left, top, across, down]: [f32; 4],
) -> Option<DetectedFace> {
    let x = centre_x + loc[0] * of_centre * side;
    let y = centre_y + loc[1] * of_centre * side;
    let half_width = side * (loc[2] * of_size).exp() / 2.0;
    let half_height = side * (loc[3] * of_size).exp() / 2.0;
    let place = |x: f32, y: f32| [left + x * across, top + y * down];
    let [start, end] = [place(x - half_width, y - half_height), place(x + half_width, y + half_height)];
    let rect = Rect { left: start[0], top: start[1], right: end[0], bottom: end[1] };
    let landmarks = Landmarks(std::array::from_fn(|point| {
        let offset = |axis: usize| landmarks[point * 2 + axis] * of_centre * side;
        place(centre_x + offset(0), centre_y + offset(1))
    }));
    let area = rect.area();
    (area.is_finite() && area > 0.0 && landmarks.is_finite()).then_some(DetectedFace {
        rect,
        landmarks,
        score,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_lie_as_the_paper_has_them() {
        let sides = [vec![16.0, 32.0], vec![64.0, 128.0], vec![256.0, 512.0]];
        let anchors = anchors((640, 480), &[8, 16, 32], &sides);
        // (80*60 + 40*30 + 20*15) places with two anchors each.
        assert_eq!(anchors.len(), 12_600);
        assert_eq!(anchors[0], [4.0, 4.0, 16.0]);
        assert_eq!(anchors[1], [4.0, 4.0, 32.0]);
        assert_eq!(anchors[2], [12.0, 4.0, 16.0]);
        assert_eq!(anchors[160], [4.0, 12.0, 16.0]);
        assert_eq!(anchors[9600], [8.0, 8.0, 64.0]);
        assert_eq!(anchors[12_599], [624.0, 464.0, 512.0]);
        // A side that the stride does not divide is rounded up, as convolutions with padding do.
        assert_eq!(super::anchors((330, 10), &[8], &sides[..1]).len(), 42 * 2 * 2);
    }

    #[test]
    fn decodes_an_anchor() {
        // By hand: centre 100 + 2*0.1*32 = 106.4, 50 - 0.1*32 = 46.8; width 32*e^0.2 = 39.0849, height 32;
        // then twice as large across and moved by (10, 20).
        let landmarks = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0];
        let face = decode(
            [100.0, 50.0, 32.0],
            &[2.0, -1.0, 1.0, 0.0],
            &landmarks,
            0.9,
            [0.1, 0.2],
            [10.0, 20.0, 2.0, 1.0],
        )
        .unwrap();
        let close = |one: f32, other: f32| assert!((one - other).abs() < 1e-3, "{one} {other}");
        close(face.rect.left, 10.0 + 2.0 * (106.4 - 19.542_445));
        close(face.rect.right, 10.0 + 2.0 * (106.4 + 19.542_445));
        close(face.rect.top, 20.0 + 46.8 - 16.0);
        close(face.rect.bottom, 20.0 + 46.8 + 16.0);
        assert_eq!(face.landmarks.0[0], [210.0, 70.0]);
        close(face.landmarks.0[1][0], 10.0 + 2.0 * 103.2);
        close(face.landmarks.0[4][1], 20.0 + 46.8);
    }

    #[test]
    fn numbers_that_are_none_are_no_face() {
        let zero = [0.0; 10];
        let decode = |loc: [f32; 4], landmarks: &[f32]| {
            decode([8.0, 8.0, 16.0], &loc, landmarks, 1.0, [0.1, 0.2], [0.0, 0.0, 1.0, 1.0])
        };
        assert!(decode([0.0; 4], &zero).is_some());
        assert!(decode([f32::NAN, 0.0, 0.0, 0.0], &zero).is_none());
        assert!(decode([0.0, 0.0, 1e9, 0.0], &zero).is_none());
        assert!(decode([0.0; 4], &[f32::INFINITY; 10]).is_none());
    }

    #[test]
    fn pictures_fit_into_the_input() {
        assert_eq!(fit((640, 480), (320, 240)), (320, 240));
        assert_eq!(fit((480, 640), (320, 240)), (180, 240));
        assert_eq!(fit((1, 1), (320, 240)), (240, 240));
        assert_eq!(fit((8192, 1), (320, 240)), (320, 1));
    }
}
