//! Photos as identity documents have them, made of better ones: to see what their coarseness costs, without anybody's
//! identity card.
//!
//! The photo in the chip of a Chinese identity card is 102 by 126 pixels and packed into 1024 bytes by a code of its
//! own. Here it is a JPEG of at most [`BYTES`].

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use jpeg_encoder::{ColorType, Encoder};

use crate::error::{Error, Kind, Result};
use crate::vision::face::DetectedFace;
use crate::vision::picture::Picture;

/// Width and height in pixels.
pub const SIZE: (u32, u32) = (102, 126);
/// Largest file. A JPEG spends some 600 bytes on its tables alone.
pub const BYTES: usize = 2048;
/// Between the pupils, in pixels.
const PUPILS: f32 = 25.0;
/// Height of the eyes, in pixels from above.
const EYES: f32 = 54.0;

/// The portrait of `face` in `picture` as a document has it, a whole JPEG file. `Input` if the eyes coincide.
pub fn portrait(picture: &Picture, face: &DetectedFace) -> Result<Vec<u8>> {
    let [left, right, ..] = face.landmarks.0;
    let apart = (right[0] - left[0]).hypot(right[1] - left[1]);
    let scale = apart / PUPILS;
    if !(scale.is_finite() && scale > 0.0) {
        return Err(Error::new(Kind::Input, "the eyes of a face coincide"));
    }
    let middle = [(left[0] + right[0]) / 2.0, (left[1] + right[1]) / 2.0];
    let (width, height) = picture.size();
    let cut = [SIZE.0, SIZE.1].map(|side| (side as f32 * scale).round().max(1.0) as u32);
    let origin = [middle[0] - cut[0] as f32 / 2.0, middle[1] - EYES * scale];
    // The paper is white where the picture does not reach.
    let mut paper = RgbImage::from_pixel(cut[0], cut[1], Rgb([255; 3]));
    for (x, y, pixel) in paper.enumerate_pixels_mut() {
        let (from_x, from_y) = (origin[0] + x as f32, origin[1] + y as f32);
        if from_x >= 0.0 && from_y >= 0.0 && from_x < width as f32 && from_y < height as f32 {
            *pixel = Rgb(picture.pixel(from_x as u32, from_y as u32));
        }
    }
    let filter = if scale > 1.0 { FilterType::Triangle } else { FilterType::CatmullRom };
    let small = imageops::resize(&paper, SIZE.0, SIZE.1, filter);
    for quality in (1..=19).rev().map(|step| step * 5) {
        let mut jpeg = Vec::new();
        Encoder::new(&mut jpeg, quality)
            .encode(&small, SIZE.0 as u16, SIZE.1 as u16, ColorType::Rgb)
            .map_err(|error| Error::caused(Kind::Input, "a photo could not be encoded", error))?;
        if jpeg.len() <= BYTES {
            return Ok(jpeg);
        }
    }
    Err(Error::new(Kind::Input, format!("a photo does not fit into {BYTES} bytes")))
}
