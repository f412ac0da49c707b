//! Faces are found, down to 40 pixels between the ears, and nobody else is.

#[path = "support/vision.rs"]
mod support;

use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb, RgbImage};
use menshen::vision::detect::Detector;
use menshen::vision::find::Finder;
use menshen::vision::{Picture, Rect};
use std::time::Instant;

fn to_image(picture: &Picture) -> RgbImage {
    let (width, height) = picture.size();
    ImageBuffer::from_raw(width, height, picture.pixels().to_vec()).unwrap()
}

fn to_picture(image: RgbImage) -> Picture {
    let (width, height) = image.dimensions();
    Picture::from_rgb(width, height, image.into_raw()).unwrap()
}

/// A frame of 640 x 480 with the face of `source` at `width` pixels, somewhere on grey, as a camera's JPEG would
/// give it; and where the face is.
fn frame_with(source: &RgbImage, face: &Rect, width: f32, number: u32) -> (Picture, Rect) {
    let factor = width / face.width();
    let scaled = |side: u32| ((side as f32 * factor).round() as u32).max(1);
    let small = imageops::resize(
        source,
        scaled(source.width()),
        scaled(source.height()),
        if factor < 1.0 { FilterType::Triangle } else { FilterType::CatmullRom },
    );
    // Places spread over the frame by two steps that share no factor with the span.
    let span = |size: f32, of: u32| (of as f32 - size - 16.0).max(1.0);
    let x = 8.0 + (number as f32 * 97.0) % span(face.width() * factor, 640);
    let y = 8.0 + (number as f32 * 61.0) % span(face.height() * factor, 480);
    let (left, top) = ((x - face.left * factor).round(), (y - face.top * factor).round());
    let shade = [128_u8, 40, 215, 90][number as usize % 4];
    let mut frame = RgbImage::from_pixel(640, 480, Rgb([shade; 3]));
    imageops::replace(&mut frame, &small, left as i64, top as i64);
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 85).encode(&frame, 640, 480, jpeg_encoder::ColorType::Rgb).unwrap();
    let mut picture = Picture::new();
    picture.decode_file(&jpeg).unwrap();
    let place = |value: f32, shift: f32| value * factor + shift;
    let rect = Rect {
        left: place(face.left, left),
        top: place(face.top, top),
        right: place(face.right, left),
        bottom: place(face.bottom, top),
    };
    (picture, rect)
}

/// Faces that face the camera more or less, with their boxes.
fn sources(detector: &mut Detector) -> Vec<(String, RgbImage, Rect)> {
    let mut sources = Vec::new();
    for name in support::names("pictures") {
        let picture = support::picture(&name);
        let faces = detector.detect(&picture, 0.8).unwrap();
        assert!(!faces.is_empty(), "no face in {name}");
        let largest = faces.iter().max_by(|a, b| a.rect.area().total_cmp(&b.rect.area())).unwrap();
        sources.push((name, to_image(&picture), largest.rect));
    }
    assert!(sources.len() >= 30, "only {} pictures: run make setup", sources.len());
    sources
}

/// Shares of frames in which the face is found, and boxes that are none.
fn recall(detector: &mut Detector, frames: &[(Picture, Rect)], threshold: f32) -> (f32, usize) {
    let (mut hits, mut others) = (0, 0);
    for (picture, rect) in frames {
        let faces = detector.detect(picture, threshold).unwrap();
        let hit = faces.iter().filter(|face| face.rect.iou(rect) >= 0.4).count();
        hits += hit.min(1);
        others += faces.len() - hit;
    }
    (hits as f32 / frames.len() as f32, others)
}

#[test]
#[ignore = "prints the table from which the input's size was chosen"]
fn recall_at_sizes() {
    let models = support::models();
    let mut large = Detector::new(&models, (640, 640), 1).unwrap();
    let sources = sources(&mut large);
    for width in [28.0, 40.0, 60.0, 100.0] {
        let frames: Vec<_> = (0..3)
            .flat_map(|round| {
                sources.iter().enumerate().map(move |(n, source)| (round * 31 + n as u32, source))
            })
            .map(|(number, (_, image, rect))| frame_with(image, rect, width, number))
            .collect();
        for eighths in 3..=8 {
            let size = (640 * eighths / 8, 480 * eighths / 8);
            let mut detector = Detector::new(&models, size, 1).unwrap();
            print!("width {width} input {size:?} on input {:.0}:", width * eighths as f32 / 8.0);
            for threshold in [0.65, 0.6, 0.5] {
                let (recall, others) = recall(&mut detector, &frames, threshold);
                print!(" at {threshold} {recall:.3} others {others};");
            }
            println!();
        }
    }
}

#[test]
#[ignore = "prints how much of a template the size of the input costs"]
fn landmarks_at_sizes() {
    use menshen::vision::align::AlignedFace;
    use menshen::vision::embed::Embedder;
    let models = support::models();
    let mut large = Detector::new(&models, (640, 640), 1).unwrap();
    let sources = sources(&mut large);
    let mut embedder = Embedder::new(&models, 1).unwrap();
    let mut aligned = AlignedFace::new();
    let references: Vec<_> = sources
        .iter()
        .map(|(_, image, _)| {
            let picture = to_picture(image.clone());
            let face = large
                .detect(&picture, 0.6)
                .unwrap()
                .iter()
                .copied()
                .max_by(|a, b| a.rect.area().total_cmp(&b.rect.area()))
                .unwrap();
            aligned.take(&picture, &face.landmarks, 112);
            embedder.template(&aligned).unwrap()
        })
        .collect();
    for width in [60.0, 80.0, 100.0, 150.0, 220.0] {
        let frames: Vec<_> = sources
            .iter()
            .enumerate()
            .filter(|(_, s)| s.2.width() >= 0.9 * width)
            .map(|(n, (_, image, rect))| (n, frame_with(image, rect, width, n as u32)))
            .collect();
        for size in [(320, 240), (400, 300), (480, 360), (640, 480)] {
            let mut detector = Detector::new(&models, size, 1).unwrap();
            let mut cosines = Vec::new();
            for (n, (picture, rect)) in &frames {
                if let Some(face) =
                    detector.detect(picture, 0.5).unwrap().iter().find(|f| f.rect.iou(rect) > 0.4)
                {
                    aligned.take(picture, &face.landmarks, 112);
                    cosines.push(embedder.template(&aligned).unwrap().cosine(&references[*n]));
                }
            }
            cosines.sort_by(f32::total_cmp);
            println!(
                "width {width} input {size:?}: {} of {} mean {:.3} p5 {:.3} min {:.3}",
                cosines.len(),
                frames.len(),
                cosines.iter().sum::<f32>() / cosines.len() as f32,
                cosines[cosines.len() / 20],
                cosines[0]
            );
        }
        let at = Instant::now();
        let mut finder = Finder::new(&models, 1).unwrap();
        finder.find(&to_picture(RgbImage::new(640, 480)), at, &[], 0.5, 40.0).unwrap();
        let mut cosines = Vec::new();
        for (n, (picture, rect)) in &frames {
            if let Some(face) =
                finder.find(picture, at, &[], 0.5, 40.0).unwrap().iter().find(|f| f.rect.iou(rect) > 0.4)
            {
                aligned.take(picture, &face.landmarks, 112);
                cosines.push(embedder.template(&aligned).unwrap().cosine(&references[*n]));
            }
        }
        cosines.sort_by(f32::total_cmp);
        println!(
            "width {width} finder: {} of {} mean {:.3} p5 {:.3} min {:.3}",
            cosines.len(),
            frames.len(),
            cosines.iter().sum::<f32>() / cosines.len() as f32,
            cosines[cosines.len() / 20],
            cosines[0]
        );
    }
}
