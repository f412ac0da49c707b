//! How good a face is to look at: whether it can be enrolled, and whether it is worth comparing.

use serde::Serialize;

use super::align::{ARCFACE_112, AlignedFace};
use super::face::{DetectedFace, Landmarks};

/// What was measured of one face.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Quality {
    /// Between the pupils, in pixels of the picture.
    pub pupil_distance: f32,
    /// The share of its detail that the aligned face would lose to a further blur, 0 (there is none left to lose)
    /// to 1, across or down, whichever is less: a face that moved is blurred in one direction only.
    pub sharpness: f32,
    /// Mean brightness of the face, 0 to 255.
    pub brightness: f32,
    /// Share of the face, 0 to 1, that is black or white without detail.
    pub clipped: f32,
    /// Head turned so that the nose points to the left of the picture (negative) or the right, in degrees.
    pub yaw: f32,
    /// Head raised (positive) or lowered, in degrees. Rough: faces differ in where the nose is.
    pub pitch: f32,
    /// Head tilted, clockwise in the picture, in degrees.
    pub roll: f32,
    /// Share of the face, 0 to 1, that lies inside the picture.
    pub inside: f32,
    /// Brightness around the eyes over that of the cheeks; far below 1 behind sunglasses.
    pub eyes: f32,
    /// Warmth of the colour around the mouth over that around the nose; far below 1 behind most masks. 1 where the
    /// light has no colour to tell by, and where lips or teeth stand out.
    pub mouth: f32,
}

/// What is wrong with a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityFault {
    /// Too few pixels between the eyes.
    TooSmall,
    /// The edge of the picture cuts it.
    CutOff,
    /// Too dark.
    TooDark,
    /// Too bright.
    TooBright,
    /// Out of focus, moved, or enlarged from a small picture.
    Blurred,
    /// Turned aside, up or down.
    TurnedAway,
    /// Sunglasses.
    EyesCovered,
    /// A mask.
    MouthCovered,
}

impl QualityFault {
    /// The word for logs and machines, as it is serialised.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooSmall => "too_small",
            Self::CutOff => "cut_off",
            Self::TooDark => "too_dark",
            Self::TooBright => "too_bright",
            Self::Blurred => "blurred",
            Self::TurnedAway => "turned_away",
            Self::EyesCovered => "eyes_covered",
            Self::MouthCovered => "mouth_covered",
        }
    }
}

/// What is asked of a face. Units as in [`Quality`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Least.
    pub pupil_distance: f32,
    /// Least.
    pub sharpness: f32,
    /// Least and most.
    pub brightness: (f32, f32),
    /// Most.
    pub clipped: f32,
    /// Most, to either side.
    pub yaw: f32,
    /// Most, up or down.
    pub pitch: f32,
    /// Most, to either side.
    pub roll: f32,
    /// Least.
    pub inside: f32,
    /// Least.
    pub eyes: f32,
    /// Least.
    pub mouth: f32,
}

impl Limits {
    /// For a picture that will be compared for years.
    ///
    /// Sharpness: in focus, photos come to 0.31 and more here, among them single frames of an old webcam with 42
    /// pixels between the pupils; a photo enlarged eight times comes to 0.15, moved by 25 pixels to 0.16, blurred with
    /// a tenth of the pupils' distance to 0.09. From there on templates of strangers become alike: the highest cosine
    /// among ten people was 0.23 sharp, 0.31 with half of that blur (none of which enrols), 0.59 with it, and 0.86
    /// with twice of it.
    pub const ENROLMENT: Self = Self {
        pupil_distance: 24.0,
        sharpness: 0.27,
        brightness: (40.0, 230.0),
        clipped: 0.3,
        yaw: 40.0,
        pitch: 40.0,
        roll: 50.0,
        inside: 0.93,
        eyes: 0.35,
        mouth: 0.25,
    };

    /// For the photo of an identity document: 102 by 126 pixels in the chip of a Chinese one, with some 25 pixels
    /// between the pupils, and packed into 1024 bytes. It cannot be taken again, so that only what is no portrait at
    /// all is refused; what its coarseness costs is in the threshold for such photos.
    pub const DOCUMENT: Self = Self {
        pupil_distance: 12.0,
        sharpness: 0.08,
        brightness: (25.0, 245.0),
        clipped: 0.6,
        yaw: 45.0,
        pitch: 45.0,
        roll: 30.0,
        inside: 0.8,
        eyes: f32::NEG_INFINITY,
        mouth: f32::NEG_INFINITY,
    };

    /// For a frame that is worth a template: the next one comes soon, but so does the visitor's impatience.
    pub const MATCHING: Self = Self {
        pupil_distance: 14.0,
        sharpness: 0.14,
        brightness: (25.0, 240.0),
        clipped: 0.5,
        yaw: 55.0,
        pitch: 55.0,
        roll: 60.0,
        inside: 0.8,
        eyes: f32::NEG_INFINITY,
        mouth: f32::NEG_INFINITY,
    };
}

impl Quality {
    /// The first thing in which the face falls short, those first that make the others meaningless; `None` if it is
    /// good enough. What is not a number falls short.
    pub fn first_failure(&self, limits: &Limits) -> Option<QualityFault> {
        let checks = [
            (self.pupil_distance >= limits.pupil_distance, QualityFault::TooSmall),
            (self.inside >= limits.inside, QualityFault::CutOff),
            (self.brightness >= limits.brightness.0, QualityFault::TooDark),
            (self.brightness <= limits.brightness.1, QualityFault::TooBright),
            (
                self.clipped <= limits.clipped,
                if self.brightness < 128.0 { QualityFault::TooDark } else { QualityFault::TooBright },
            ),
            (self.sharpness >= limits.sharpness, QualityFault::Blurred),
            (
                self.yaw.abs() <= limits.yaw
                    && self.pitch.abs() <= limits.pitch
                    && self.roll.abs() <= limits.roll,
                QualityFault::TurnedAway,
            ),
            (self.eyes >= limits.eyes, QualityFault::EyesCovered),
            (self.mouth >= limits.mouth, QualityFault::MouthCovered),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map(|(_, fault)| fault)
    }
}

/// A rectangle of an aligned face, in pixels of 112.
#[derive(Clone, Copy)]
struct Area {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

/// Eyes, nose and mouth without hair and background.
const FACE: Area = Area { left: 20.0, top: 34.0, right: 92.0, bottom: 104.0 };
const RIGHT_EYE: Area = Area { left: 29.0, top: 46.0, right: 48.0, bottom: 57.0 };
const LEFT_EYE: Area = Area { left: 64.0, top: 46.0, right: 83.0, bottom: 57.0 };
const RIGHT_CHEEK: Area = Area { left: 29.0, top: 64.0, right: 46.0, bottom: 76.0 };
const LEFT_CHEEK: Area = Area { left: 66.0, top: 64.0, right: 83.0, bottom: 76.0 };
const NOSE: Area = Area { left: 47.0, top: 54.0, right: 65.0, bottom: 68.0 };
const MOUTH: Area = Area { left: 40.0, top: 84.0, right: 72.0, bottom: 104.0 };

/// Measures faces, with a buffer of its own.
#[derive(Debug, Default)]
pub struct Meter {
    grey: Vec<f32>,
}

impl Meter {
    /// With an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Measures a face and what was taken of it.
    pub fn measure(&mut self, face: &DetectedFace, aligned: &AlignedFace) -> Quality {
        let size = aligned.size() as usize;
        self.grey.clear();
        self.grey.extend(aligned.pixels().iter().map(|[r, g, b]| 0.299 * r + 0.587 * g + 0.114 * b));
        let grey = |area: Area| mean(places(area, size), |at| self.grey[at]);
        let (cheeks, eyes) = (
            (grey(RIGHT_CHEEK) + grey(LEFT_CHEEK)) / 2.0,
            // One eye in the shade is no sunglasses.
            grey(RIGHT_EYE).max(grey(LEFT_EYE)),
        );
        let warmth = |area: Area| {
            let colour: [f32; 3] =
                std::array::from_fn(|channel| mean(places(area, size), |at| aligned.pixels()[at][channel]));
            (colour[0] - colour[2]) / colour.iter().sum::<f32>().max(1.0)
        };
        let (nose, mouth) = (warmth(NOSE), warmth(MOUTH));
        let spread = |area: Area| {
            let middle = grey(area);
            mean(places(area, size), |at| (self.grey[at] - middle).abs())
        };
        // Coloured lamps make a mouth cold as well, but not smooth.
        let smooth = spread(MOUTH) < 0.6 * spread(RIGHT_EYE).max(spread(LEFT_EYE));
        let [yaw, pitch, roll] = pose(&face.landmarks);
        Quality {
            pupil_distance: face.landmarks.pupil_distance(),
            sharpness: self.kept_detail(size, 1).min(self.kept_detail(size, size)),
            brightness: grey(FACE),
            clipped: mean(places(FACE, size), |at| {
                f32::from(u8::from(!(10.0..=247.0).contains(&self.grey[at])))
            }),
            yaw,
            pitch,
            roll,
            inside: mean(places(FACE, size), |at| f32::from(u8::from(aligned.is_inside(at)))),
            eyes: eyes / cheeks.max(1.0),
            // Below this the light is as good as grey (an infrared camera) and says nothing about skin.
            mouth: if nose < 0.08 || !smooth { 1.0 } else { mouth / nose },
        }
    }

    /// After Crété-Roffet et al., The Blur Effect (2007): a sharp picture changes much from pixel to pixel and
    /// little after a blur; a blurred one changes as little before as after. `step` is from a pixel to the next
    /// across or down. Independent of contrast and brightness.
    fn kept_detail(&self, size: usize, step: usize) -> f32 {
        let (mut all, mut lost) = (0.0, 0.0);
        for at in places(FACE, size) {
            let change = (self.grey[at] - self.grey[at - step]).abs();
            // The difference of the means of five pixels around here and around the one before.
            let blurred = ((self.grey[at + 2 * step] - self.grey[at - 3 * step]) / 5.0).abs();
            all += change;
            lost += (change - blurred).max(0.0);
        }
        if all > 0.0 { lost / all } else { 0.0 }
    }
}

/// Indices of the pixels of an area in an aligned face of `size`.
fn places(area: Area, size: usize) -> impl Iterator<Item = usize> {
    let scaled = move |at: f32| (at * size as f32 / 112.0) as usize;
    let (left, right) = (scaled(area.left), scaled(area.right));
    (scaled(area.top)..scaled(area.bottom)).flat_map(move |y| (left..right).map(move |x| y * size + x))
}

fn mean(places: impl Iterator<Item = usize>, value: impl Fn(usize) -> f32) -> f32 {
    let (mut sum, mut count) = (0.0, 0.0);
    for place in places {
        sum += value(place);
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Yaw, pitch and roll in degrees, signs as in [`Quality`], from the closest projection of a rigid face seen from
/// afar. All 0 for landmarks that are no face.
pub fn pose(landmarks: &Landmarks) -> [f32; 3] {
    let face = rigid_face();
    let centre = |axis: usize| landmarks.0.iter().map(|point| f64::from(point[axis])).sum::<f64>() / 5.0;
    let centre = [centre(0), centre(1)];
    // Least squares for the two lines of the projection: gram * line = cross.
    let mut gram = [[0.0; 3]; 3];
    let mut cross = [[0.0; 3]; 2];
    for (point, place) in face.iter().zip(&landmarks.0) {
        for row in 0..3 {
            for column in 0..3 {
                gram[row][column] += point[row] * point[column];
            }
            for axis in 0..2 {
                cross[axis][row] += point[row] * (f64::from(place[axis]) - centre[axis]);
            }
        }
    }
    let [across, down] = cross.map(|cross| solve(gram, cross));
    let slope = |line: [f64; 3]| {
        let length = line.iter().map(|value| value * value).sum::<f64>().sqrt();
        if length > 0.0 { (line[2] / length).asin().to_degrees() } else { 0.0 }
    };
    let [right, left, ..] = landmarks.0;
    let roll = (left[1] - right[1]).atan2(left[0] - right[0]).to_degrees();
    // In the picture y points down: a nose that moves down by its depth belongs to a lowered head.
    [slope(across) as f32, -slope(down) as f32, roll]
}

/// The five landmarks of a frontal face, around their centre: x to the right of the picture, y down, z towards the
/// camera. Places are ArcFace's mean face, in its pixels (35 between the pupils, 63 mm on people), with the tip of
/// the nose 2.5 lower, where RetinaFace puts it on frontal faces; the nose stands 28 mm and the mouth's corners
/// 7 mm before the eyes.
fn rigid_face() -> [[f64; 3]; 5] {
    const LOWER: [f32; 5] = [0.0, 0.0, 2.5, 0.0, 0.0];
    const DEPTH: [f64; 5] = [0.0, 0.0, 15.5, 4.0, 4.0];
    let mut face: [[f64; 3]; 5] = std::array::from_fn(|point| {
        let [x, y] = ARCFACE_112[point];
        [f64::from(x), f64::from(y + LOWER[point]), DEPTH[point]]
    });
    for axis in 0..3 {
        let centre = face.iter().map(|point| point[axis]).sum::<f64>() / 5.0;
        face.iter_mut().for_each(|point| point[axis] -= centre);
    }
    face
}

/// Cramer's rule; zeros for a matrix without an inverse.
fn solve(matrix: [[f64; 3]; 3], right: [f64; 3]) -> [f64; 3] {
    let determinant = |m: &[[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let whole = determinant(&matrix);
    if whole == 0.0 {
        return [0.0; 3];
    }
    std::array::from_fn(|column| {
        let mut changed = matrix;
        for row in 0..3 {
            changed[row][column] = right[row];
        }
        determinant(&changed) / whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rigid face turned by angles in degrees: first up or down, then aside, then tilted; seen from afar.
    fn turned(yaw: f64, pitch: f64, roll: f64) -> Landmarks {
        let (yaw, pitch, roll) = (yaw.to_radians(), pitch.to_radians(), roll.to_radians());
        Landmarks(rigid_face().map(|[x, y, z]| {
            // Raised: what is in front goes up, which is towards smaller y.
            let (y, z) = (y * pitch.cos() - z * pitch.sin(), y * pitch.sin() + z * pitch.cos());
            let x = x * yaw.cos() + z * yaw.sin();
            let (x, y) = (x * roll.cos() - y * roll.sin(), x * roll.sin() + y * roll.cos());
            [300.0 + 2.0 * x as f32, 200.0 + 2.0 * y as f32]
        }))
    }

    #[test]
    fn the_pose_is_that_of_the_head() {
        for (yaw, pitch, roll) in
            [(0.0, 0.0, 0.0), (30.0, 0.0, 0.0), (-45.0, 0.0, 0.0), (0.0, 20.0, 0.0), (0.0, -35.0, 0.0)]
        {
            let [y, p, r] = pose(&turned(yaw, pitch, roll));
            assert!((y - yaw as f32).abs() < 0.5, "yaw {y} for {yaw}");
            assert!((p - pitch as f32).abs() < 0.5, "pitch {p} for {pitch}");
            assert!((r - roll as f32).abs() < 0.5, "roll {r} for {roll}");
        }
        let [_, _, roll] = pose(&turned(0.0, 0.0, 25.0));
        assert!((roll - 25.0).abs() < 0.5, "{roll}");
        assert_eq!(pose(&Landmarks::default()), [0.0; 3]);
    }

    #[test]
    fn the_first_fault_is_named() {
        let good = Quality {
            pupil_distance: 60.0,
            sharpness: 0.5,
            brightness: 120.0,
            clipped: 0.0,
            yaw: 0.0,
            pitch: 0.0,
            roll: 0.0,
            inside: 1.0,
            eyes: 0.8,
            mouth: 1.0,
        };
        let fault = |quality: Quality| quality.first_failure(&Limits::ENROLMENT);
        assert_eq!(fault(good), None);
        for (quality, expected) in [
            (Quality { pupil_distance: 10.0, sharpness: 0.0, ..good }, QualityFault::TooSmall),
            (Quality { inside: 0.5, ..good }, QualityFault::CutOff),
            (Quality { brightness: 10.0, sharpness: 0.0, ..good }, QualityFault::TooDark),
            (Quality { brightness: 250.0, ..good }, QualityFault::TooBright),
            (Quality { brightness: 100.0, clipped: 0.6, ..good }, QualityFault::TooDark),
            (Quality { brightness: 200.0, clipped: 0.6, ..good }, QualityFault::TooBright),
            (Quality { sharpness: 0.1, yaw: 80.0, ..good }, QualityFault::Blurred),
            (Quality { sharpness: f32::NAN, ..good }, QualityFault::Blurred),
            (Quality { yaw: -60.0, ..good }, QualityFault::TurnedAway),
            (Quality { pitch: f32::NAN, ..good }, QualityFault::TurnedAway),
            (Quality { eyes: 0.2, ..good }, QualityFault::EyesCovered),
            (Quality { mouth: -0.4, ..good }, QualityFault::MouthCovered),
        ] {
            assert_eq!(fault(quality), Some(expected));
            assert_eq!(serde_json::to_value(expected).unwrap(), expected.word());
        }
    }
}
