//! Models and pictures of the set-up, for the tests of `vision`.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::path::{Path, PathBuf};

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use menshen::vision::{Models, Picture, Rect};

fn place(variable: &str, default: &str) -> PathBuf {
    let place = std::env::var_os(variable)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from);
    assert!(place.exists(), "{} is absent: run make setup, or set {variable}", place.display());
    place
}

/// The folder of the models (`MENSHEN_MODELS`, or `models`).
pub fn models_dir() -> PathBuf {
    let dir = place("MENSHEN_MODELS", "models");
    let library = dir.join("libonnxruntime.so");
    assert!(library.exists(), "{} is absent: run make setup", library.display());
    dir
}

/// The models.
pub fn models() -> Models {
    Models::open(&models_dir(), "auto").unwrap_or_else(|error| panic!("{error}; run make setup"))
}

/// A file that the set-up made for the tests, such as `pictures/p01-1.jpg` (`MENSHEN_TEST_PICTURES`, or `.setup/test`).
pub fn file(name: &str) -> PathBuf {
    let path = place("MENSHEN_TEST_PICTURES", ".setup/test").join(name);
    assert!(path.exists(), "{} is absent: run make setup", path.display());
    path
}

/// Its bytes.
pub fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(file(name)).unwrap()
}

/// A picture.
pub fn picture(name: &str) -> Picture {
    let mut picture = Picture::new();
    picture.decode_file(&bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    picture
}

/// The files of a folder, in the order of their names.
pub fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(file(folder))
        .unwrap()
        .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "{folder} is empty: run make setup");
    names
}

/// As a picture of the `image` crate.
pub fn to_image(picture: &Picture) -> RgbImage {
    let (width, height) = picture.size();
    RgbImage::from_raw(width, height, picture.pixels().to_vec()).unwrap()
}

/// And back.
pub fn to_picture(image: RgbImage) -> Picture {
    let (width, height) = image.dimensions();
    Picture::from_rgb(width, height, image.into_raw()).unwrap()
}

/// An empty frame of one grey.
pub fn empty(shade: u8) -> RgbImage {
    RgbImage::from_pixel(640, 480, Rgb([shade; 3]))
}

/// Puts `source` into `frame` so that `face`, a place in `source`, becomes `width` pixels wide with its upper left
/// corner at `x`, `y`; gives the face's place in the frame.
pub fn put(frame: &mut RgbImage, source: &RgbImage, face: &Rect, width: f32, (x, y): (f32, f32)) -> Rect {
    let factor = width / face.width();
    let scaled = |side: u32| ((side as f32 * factor).round() as u32).max(1);
    let filter = if factor < 1.0 { FilterType::Triangle } else { FilterType::CatmullRom };
    let small = imageops::resize(source, scaled(source.width()), scaled(source.height()), filter);
    let (left, top) = ((x - face.left * factor).round(), (y - face.top * factor).round());
    imageops::replace(frame, &small, left as i64, top as i64);
    Rect {
        left: face.left * factor + left,
        top: face.top * factor + top,
        right: face.right * factor + left,
        bottom: face.bottom * factor + top,
    }
}

/// As a camera's JPEG.
pub fn jpeg(image: &RgbImage) -> Vec<u8> {
    let (width, height) = (image.width() as u16, image.height() as u16);
    let mut bytes = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut bytes, 85);
    encoder.encode(image, width, height, jpeg_encoder::ColorType::Rgb).unwrap();
    bytes
}
