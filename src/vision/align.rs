//! From five landmarks to the upright face that the embedder was trained on.

use super::face::Landmarks;
use super::picture::{Normalisation, Picture};

/// Where ArcFace has the five landmarks on 112 x 112 (Deng et al., 2019, arXiv:1801.07698; the values are
/// those of the authors' `face_align.py`).
pub const ARCFACE_112: [[f32; 2]; 5] =
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]];

/// A turn with a scale and a shift: `(x, y)` goes to `(a x - b y + tx, b x + a y + ty)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Similarity {
    /// Scale times cosine.
    pub a: f32,
    /// Scale times sine.
    pub b: f32,
    /// Shift to the right.
    pub tx: f32,
    /// Shift down.
    pub ty: f32,
}

impl Similarity {
    /// The one that brings `from` closest to `to` by least squares (Umeyama, 1991; in the plane its solution
    /// without reflection is the regression of complex numbers). `None` if all points of `from` are one.
    pub fn between(from: &[[f32; 2]], to: &[[f32; 2]]) -> Option<Self> {
        let count = from.len().min(to.len()) as f64;
        let mean = |points: &[[f32; 2]], axis: usize| {
            points.iter().map(|point| f64::from(point[axis])).sum::<f64>() / count
        };
        let (fx, fy, gx, gy) = (mean(from, 0), mean(from, 1), mean(to, 0), mean(to, 1));
        let (mut along, mut across, mut spread) = (0.0, 0.0, 0.0);
        for (from, to) in from.iter().zip(to) {
            let (x, y) = (f64::from(from[0]) - fx, f64::from(from[1]) - fy);
            let (u, v) = (f64::from(to[0]) - gx, f64::from(to[1]) - gy);
            along += x * u + y * v;
            across += x * v - y * u;
            spread += x * x + y * y;
        }
        let (a, b) = (along / spread, across / spread);
        (spread > 0.0 && a.is_finite() && b.is_finite() && a * a + b * b > 0.0).then_some(Self {
            a: a as f32,
            b: b as f32,
            tx: (gx - a * fx + b * fy) as f32,
            ty: (gy - b * fx - a * fy) as f32,
        })
    }

    /// Size of a thing afterwards over its size before.
    pub fn scale(&self) -> f32 {
        self.a.hypot(self.b)
    }

    /// Where a point goes.
    pub fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty]
    }

    /// The way back.
    pub fn inverse(&self) -> Self {
        let square = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / square, -self.b / square);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }
}

/// Red, green and blue of an upright face, `size` x `size`, each value 0 to 255.
#[derive(Debug, Clone, Default)]
pub struct AlignedFace {
    size: u32,
    pixels: Vec<[f32; 3]>,
    inside: Vec<bool>,
}

impl AlignedFace {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the face with `landmarks` out of `picture`, bilinear, black where the picture ends. A face more
    /// than twice as large as wanted is averaged, so that no pixel is skipped. `false`, and nothing is done, if
    /// the landmarks span nothing.
    pub fn take(&mut self, picture: &Picture, landmarks: &Landmarks, size: u32) -> bool {
        let factor = size as f32 / 112.0;
        let template = ARCFACE_112.map(|[x, y]| [x * factor, y * factor]);
        let Some(forward) = Similarity::between(&landmarks.0, &template) else {
            return false;
        };
        let back = forward.inverse();
        self.size = size;
        self.pixels.clear();
        // Samples a side for each pixel of the aligned face: 1 up to twice its resolution, then more.
        let samples = (back.scale() / 2.0).ceil().clamp(1.0, 16.0) as u32;
        self.inside.clear();
        for y in 0..size {
            for x in 0..size {
                let (pixel, inside) = if samples == 1 {
                    sample(picture, back.apply([x as f32, y as f32]))
                } else {
                    mean_sample(picture, &back, x, y, samples)
                };
                self.inside.push(inside);
                self.pixels.push(pixel);
            }
        }
        true
    }

    /// Side in pixels.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Line by line, each red, green, blue, 0 to 255.
    pub fn pixels(&self) -> &[[f32; 3]] {
        &self.pixels
    }

    /// Whether the pixel at an index of [`AlignedFace::pixels`] lay inside the picture.
    pub fn is_inside(&self, index: usize) -> bool {
        self.inside.get(index).is_some_and(|inside| *inside)
    }

    /// Writes the face, or its mirror image, to the three planes of a tensor of its size.
    pub fn write(&self, normalisation: &Normalisation, mirrored: bool, tensor: &mut [f32]) {
        let size = self.size as usize;
        for (channel, (plane, factor, summand)) in normalisation.split(tensor).into_iter().enumerate() {
            for (line, out) in self.pixels.chunks_exact(size).zip(plane.chunks_exact_mut(size)) {
                let normalised = line.iter().map(|pixel| pixel[channel] * factor + summand);
                if mirrored {
                    out.iter_mut().rev().zip(normalised).for_each(|(out, value)| *out = value);
                } else {
                    out.iter_mut().zip(normalised).for_each(|(out, value)| *out = value);
                }
            }
        }
    }
}

/// The picture at a place between four pixels, black outside; and whether the place was inside.
fn sample(picture: &Picture, [x, y]: [f32; 2]) -> ([f32; 3], bool) {
    let (width, height) = picture.size();
    let (left, top) = (x.floor(), y.floor());
    let (across, down) = (x - left, y - top);
    // The four pixels are inside together for all but the border.
    if left >= 0.0 && top >= 0.0 && left + 1.0 < width as f32 && top + 1.0 < height as f32 {
        let stride = width as usize * 3;
        let at = top as usize * stride + left as usize * 3;
        let upper = &picture.pixels()[at..at + 6];
        let lower = &picture.pixels()[at + stride..at + stride + 6];
        let mix = |channel: usize| {
            let line = |line: &[u8]| {
                let (one, next) = (f32::from(line[channel]), f32::from(line[channel + 3]));
                one + (next - one) * across
            };
            let (upper, lower) = (line(upper), line(lower));
            upper + (lower - upper) * down
        };
        return ([mix(0), mix(1), mix(2)], true);
    }
    let mut mixed = [0.0; 3];
    for (dx, dy, weight) in [
        (0.0, 0.0, (1.0 - across) * (1.0 - down)),
        (1.0, 0.0, across * (1.0 - down)),
        (0.0, 1.0, (1.0 - across) * down),
        (1.0, 1.0, across * down),
    ] {
        let (x, y) = (left + dx, top + dy);
        if x >= 0.0 && y >= 0.0 && x < width as f32 && y < height as f32 {
            let pixel = picture.pixel(x as u32, y as u32);
            mixed.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f32::from(value) * weight);
        }
    }
    let inside = x >= -0.5 && y >= -0.5 && x <= width as f32 - 0.5 && y <= height as f32 - 0.5;
    (mixed, inside)
}

/// The mean of `samples` x `samples` places within one pixel of the aligned face.
fn mean_sample(picture: &Picture, back: &Similarity, x: u32, y: u32, samples: u32) -> ([f32; 3], bool) {
    let mut sum = [0.0; 3];
    let mut inside = 0;
    let offset = |index: u32| (index as f32 + 0.5) / samples as f32 - 0.5;
    for row in 0..samples {
        for column in 0..samples {
            let place = back.apply([x as f32 + offset(column), y as f32 + offset(row)]);
            let (pixel, whole) = sample(picture, place);
            sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
            inside += u32::from(whole);
        }
    }
    let count = samples * samples;
    (sum.map(|sum| sum / count as f32), 2 * inside > count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::picture::{Colour, Picture};

    const LANDMARKS: Landmarks =
        Landmarks([[210.5, 180.25], [290.0, 171.5], [255.75, 225.0], [221.0, 268.5], [287.25, 260.0]]);

    /// 480 x 400 of waves and saw teeth, given by formulas so that another program can make the same.
    fn waves() -> Picture {
        let pixels = (0..400_u32).flat_map(|y| {
            (0..480_u32).flat_map(move |x| {
                let wave = 128.0 + 100.0 * (f64::from(x) / 17.0).sin() + 20.0 * (f64::from(y) / 5.0).cos();
                [
                    wave.round_ties_even().clamp(0.0, 255.0) as u8,
                    ((x + y) % 256) as u8,
                    ((3 * x + 7 * y) % 200) as u8,
                ]
            })
        });
        Picture::from_rgb(480, 400, pixels.collect()).unwrap()
    }

    #[test]
    fn the_similarity_is_umeyamas() {
        // From the singular value decomposition as Umeyama has it, in numpy.
        let similarity = Similarity::between(&LANDMARKS.0, &ARCFACE_112).unwrap();
        for (value, expected) in [
            (similarity.a, 0.449_004),
            (similarity.b, 0.030_274),
            (similarity.tx, -50.834_796),
            (similarity.ty, -35.007_787),
        ] {
            assert!((value - expected).abs() < 1e-5 * expected.abs().max(1.0), "{value} {expected}");
        }
        let there_and_back = similarity.inverse().apply(similarity.apply([123.0, 45.0]));
        assert!((there_and_back[0] - 123.0).abs() < 1e-3 && (there_and_back[1] - 45.0).abs() < 1e-3);
        assert_eq!(Similarity::between(&[[7.0, 7.0]; 5], &ARCFACE_112), None);
        assert_eq!(Similarity::between(&[[f32::NAN; 2]; 5], &ARCFACE_112), None);
        assert_eq!(Similarity::between(&[], &[]), None);
    }

    #[test]
    fn the_aligned_face_is_bilinear() {
        let mut face = AlignedFace::new();
        // At half size, so that each pixel is one sample.
        assert!(face.take(&waves(), &LANDMARKS, 112));
        // Exact bilinear values in 64 bits, in numpy. The face is 2.2 times as large as wanted, hence the mean of
        // 2 x 2: checked below; here one sample each.
        let back = Similarity::between(&LANDMARKS.0, &ARCFACE_112).unwrap().inverse();
        for (place, expected) in [
            ([0.0, 0.0], [191.625, 187.953, 43.923]),
            ([56.0, 56.0], [228.114, 180.266, 52.0]),
            ([111.0, 0.0], [176.527, 161.456, 66.058]),
            ([0.0, 111.0], [246.247, 194.642, 16.369]),
            ([111.0, 111.0], [69.763, 168.144, 38.504]),
            ([37.0, 91.0], [108.197, 223.811, 104.388]),
            ([80.0, 20.0], [30.7, 144.692, 11.669]),
        ] {
            let (pixel, inside) = sample(&waves(), back.apply(place));
            assert!(inside);
            for (value, expected) in pixel.iter().zip(expected) {
                // Coordinates of some hundred pixels in 32 bits leave 1e-4 of a pixel, and a step is up to 200.
                assert!((value - expected).abs() < 0.05, "{place:?}: {pixel:?} {expected:?}");
            }
        }
        assert_eq!((face.size(), face.pixels().len()), (112, 112 * 112));
    }

    #[test]
    fn a_large_face_is_averaged_and_not_skipped_through() {
        // Lines of black and white, two pixels each: many a single sample is one or the other, their mean is grey.
        let stripes: Vec<u8> = (0..800 * 800).flat_map(|at| [if at % 4 < 2 { 0 } else { 255 }; 3]).collect();
        let picture = Picture::from_rgb(800, 800, stripes).unwrap();
        let landmarks = Landmarks(ARCFACE_112.map(|[x, y]| [7.0 * x, 7.0 * y]));
        let mut face = AlignedFace::new();
        assert!(face.take(&picture, &landmarks, 112));
        for pixel in &face.pixels()[56 * 112 + 20..56 * 112 + 90] {
            assert!((pixel[0] - 127.5).abs() < 45.0, "{pixel:?}");
        }
    }

    #[test]
    fn what_is_outside_is_black_and_known() {
        let white = Picture::from_rgb(60, 112, vec![255; 60 * 112 * 3]).unwrap();
        let mut face = AlignedFace::new();
        assert!(face.take(&white, &Landmarks(ARCFACE_112), 112));
        assert!(face.is_inside(56 * 112 + 30) && !face.is_inside(56 * 112 + 80));
        assert!(face.pixels()[56 * 112 + 30][0] > 254.9);
        assert_eq!(face.pixels()[56 * 112 + 80], [0.0; 3]);
        assert!(!face.take(&white, &Landmarks::default(), 112));
        // Landmarks from a model gone wrong, far outside of any picture.
        assert!(face.take(&white, &Landmarks(ARCFACE_112.map(|[x, y]| [1e9 * x, y])), 112));
    }

    #[test]
    fn planes_are_normalised_and_mirrored() {
        let picture =
            Picture::from_rgb(112, 112, (0..112 * 112).flat_map(|at| [10, 20, (at % 112) as u8]).collect());
        let mut face = AlignedFace::new();
        assert!(face.take(&picture.unwrap(), &Landmarks(ARCFACE_112), 112));
        let normalisation = Normalisation { colour: Colour::Bgr, mean: [127.5; 3], scale: 0.0078125 };
        let mut tensor = vec![0.0; 3 * 112 * 112];
        face.write(&normalisation, false, &mut tensor);
        let close =
            |value: f32, pixel: f32| assert!((value - (pixel - 127.5) / 128.0).abs() < 1e-3, "{value}");
        close(tensor[50 * 112 + 30], 30.0);
        close(tensor[112 * 112 + 5], 20.0);
        close(tensor[2 * 112 * 112 + 5], 10.0);
        face.write(&normalisation, true, &mut tensor);
        close(tensor[50 * 112 + 30], 81.0);
    }
}
