//! Faces are found, down to 40 pixels between the ears, and nobody else is.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use std::time::{Duration, Instant};

use image::RgbImage;
use menshen::vision::align::AlignedFace;
use menshen::vision::detect::Detector;
use menshen::vision::embed::Embedder;
use menshen::vision::find::Finder;
use menshen::vision::{DetectedFace, Models, Picture, Rect, Template};

struct Source {
    image: RgbImage,
    face: DetectedFace,
}

/// All still pictures with their largest face.
fn sources(models: &Models) -> Vec<Source> {
    let mut detector = Detector::new(models, (640, 640), 1).unwrap();
    let names = support::names("pictures");
    assert!(names.len() >= 50, "only {} pictures: run make setup", names.len());
    names
        .iter()
        .map(|name| {
            let picture = support::picture(name);
            let faces = detector.detect(&picture, 0.8).unwrap();
            let largest = faces.iter().max_by(|a, b| a.rect.area().total_cmp(&b.rect.area()));
            let face = *largest.unwrap_or_else(|| panic!("no face in {name}"));
            Source { image: support::to_image(&picture), face }
        })
        .collect()
}

/// A camera's frame with a face of `width` pixels somewhere on grey; and where it is.
fn frame_with(source: &Source, width: f32, number: usize) -> (Picture, Rect) {
    let rect = source.face.rect;
    // Places spread over the frame by two steps that share no factor with the span.
    let span = |size: f32, of: f32| (of - size * width / rect.width() - 16.0).max(1.0);
    let x = 8.0 + (number as f32 * 97.0) % span(rect.width(), 640.0);
    let y = 8.0 + (number as f32 * 61.0) % span(rect.height(), 480.0);
    let mut frame = support::empty([128, 40, 215, 90][number % 4]);
    let rect = support::put(&mut frame, &source.image, &rect, width, (x, y));
    let mut picture = Picture::new();
    picture.decode_file(&support::jpeg(&frame)).unwrap();
    (picture, rect)
}

fn frames_with(sources: &[Source], width: f32, rounds: usize) -> Vec<(Picture, Rect)> {
    (0..rounds)
        .flat_map(|round| sources.iter().enumerate().map(move |(n, source)| (round * 31 + n, source)))
        .map(|(number, source)| frame_with(source, width, number))
        .collect()
}

/// The share of frames in which the face is found, and how many boxes are none.
fn recall(frames: &[(Picture, Rect)], mut find: impl FnMut(&Picture) -> Vec<DetectedFace>) -> (f32, usize) {
    let (mut hits, mut others) = (0, 0);
    for (picture, rect) in frames {
        let faces = find(picture);
        let hit = faces.iter().filter(|face| face.rect.iou(rect) >= 0.4).count();
        hits += hit.min(1);
        others += faces.len() - hit;
    }
    (hits as f32 / frames.len() as f32, others)
}

#[test]
fn a_face_of_40_pixels_is_found() {
    let models = support::models();
    let frames = frames_with(&sources(&models), 40.0, 2);
    let mut finder = Finder::new(&models, 1).unwrap();
    let mut now = Instant::now();
    let (recall, others) = recall(&frames, |picture| {
        // Far apart: each frame is a new scene, with the default of DetThres.
        now += Duration::from_secs(1);
        finder.find(picture, now, &[], 0.65, 40.0).unwrap().to_vec()
    });
    println!("found {recall} of {}, {others} boxes that are none", frames.len());
    assert!(recall >= 0.98, "{recall}");
    assert_eq!(others, 0);
}

#[test]
fn a_small_face_stays_found_between_full_looks() {
    let models = support::models();
    let frames = frames_with(&sources(&models), 45.0, 1);
    let mut finder = Finder::new(&models, 1).unwrap();
    let mut now = Instant::now();
    let mut found = 0;
    for (picture, rect) in &frames {
        now += Duration::from_secs(1);
        let first = finder.find(picture, now, &[], 0.65, 40.0).unwrap().to_vec();
        // The next frame comes too soon for a full look; the coarse one cannot see 45 pixels.
        now += Duration::from_millis(67);
        let expected: Vec<_> = first.iter().map(|face| face.rect).collect();
        let next = finder.find(picture, now, &expected, 0.65, 40.0).unwrap();
        found += usize::from(next.iter().any(|face| face.rect.iou(rect) >= 0.4));
    }
    assert!(found as f32 >= 0.97 * frames.len() as f32, "{found} of {}", frames.len());
}

#[test]
fn nobody_is_found_where_nobody_is() {
    let models = support::models();
    let mut finder = Finder::new(&models, 1).unwrap();
    let room = support::picture("refuse/no_face.jpg");
    let mut noise = 1_u32;
    let static_noise = RgbImage::from_fn(640, 480, |_, _| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(noise >> 24) as u8, (noise >> 16) as u8, (noise >> 8) as u8])
    });
    for picture in [room, support::to_picture(support::empty(0)), support::to_picture(static_noise)] {
        assert_eq!(finder.find(&picture, Instant::now(), &[], 0.65, 40.0).unwrap(), []);
    }
    // A picture of one pixel is no reason to fail.
    let pixel = Picture::from_rgb(1, 1, vec![200, 100, 50]).unwrap();
    assert_eq!(finder.find(&pixel, Instant::now(), &[], 0.65, 40.0).unwrap(), []);
}

#[test]
fn the_distance_leaves_out_who_is_further_away() {
    let models = support::models();
    let sources = sources(&models);
    let mut finder = Finder::new(&models, 1).unwrap();
    let mut frame = support::empty(128);
    support::put(&mut frame, &sources[0].image, &sources[0].face.rect, 200.0, (40.0, 120.0));
    support::put(&mut frame, &sources[5].image, &sources[5].face.rect, 60.0, (480.0, 200.0));
    let picture = support::to_picture(frame);
    let mut count = |least: f32, later: u64| {
        let at = Instant::now() + Duration::from_secs(later);
        finder.find(&picture, at, &[], 0.65, least).unwrap().len()
    };
    assert_eq!(count(40.0, 0), 2);
    // Half a metre.
    assert_eq!(count(166.0, 1), 1);
    assert_eq!(count(40.0, 2), 2);
}

/// Cosines to the templates of the original pictures.
fn cosines(
    frames: &[(usize, Picture, Rect)],
    originals: &[Template],
    embedder: &mut Embedder,
    mut find: impl FnMut(&Picture) -> Vec<DetectedFace>,
) -> Vec<f32> {
    let mut aligned = AlignedFace::new();
    let mut cosines = Vec::new();
    for (number, picture, rect) in frames {
        if let Some(face) = find(picture).iter().find(|face| face.rect.iou(rect) > 0.4) {
            assert!(aligned.take(picture, &face.landmarks, embedder.size()));
            cosines.push(embedder.template(&aligned).unwrap().cosine(&originals[*number]));
        }
    }
    cosines.sort_by(f32::total_cmp);
    cosines
}

fn originals(sources: &[Source], embedder: &mut Embedder) -> Vec<Template> {
    let mut aligned = AlignedFace::new();
    sources
        .iter()
        .map(|source| {
            let picture = support::to_picture(source.image.clone());
            assert!(aligned.take(&picture, &source.face.landmarks, embedder.size()));
            embedder.template(&aligned).unwrap()
        })
        .collect()
}

fn numbered(sources: &[Source], width: f32) -> Vec<(usize, Picture, Rect)> {
    let large = sources.iter().enumerate().filter(|(_, source)| source.face.rect.width() >= 0.9 * width);
    large
        .map(|(number, source)| {
            let (picture, rect) = frame_with(source, width, number);
            (number, picture, rect)
        })
        .collect()
}

#[test]
fn a_coarse_and_a_near_look_are_worth_a_full_one() {
    let models = support::models();
    let sources = sources(&models);
    let mut embedder = Embedder::new(&models, 1).unwrap();
    let originals = originals(&sources, &mut embedder);
    let mut full = Detector::new(&models, (640, 480), 1).unwrap();
    let mut finder = Finder::new(&models, 1).unwrap();
    let at = Instant::now();
    // From here on no full look is due.
    finder.find(&support::to_picture(support::empty(128)), at, &[], 0.5, 40.0).unwrap();
    let frames = numbered(&sources, 100.0);
    let mean = |cosines: &[f32]| cosines.iter().sum::<f32>() / cosines.len() as f32;
    let one = cosines(&frames, &originals, &mut embedder, |p| full.detect(p, 0.5).unwrap().to_vec());
    let other =
        cosines(&frames, &originals, &mut embedder, |p| finder.find(p, at, &[], 0.5, 40.0).unwrap().to_vec());
    println!("full {:.3}, coarse and near {:.3}", mean(&one), mean(&other));
    assert_eq!(other.len(), frames.len());
    assert!(mean(&other) >= mean(&one) - 0.015);
}

#[test]
#[ignore = "prints the tables from which the sizes of the inputs were chosen"]
fn recall_and_cosine_at_sizes() {
    let models = support::models();
    let sources = sources(&models);
    for width in [28.0, 40.0, 60.0, 100.0] {
        let frames = frames_with(&sources, width, 3);
        for eighths in 3..=8 {
            let size = (640 * eighths / 8, 480 * eighths / 8);
            let mut detector = Detector::new(&models, size, 1).unwrap();
            print!("width {width}, input {size:?}, on input {:.0}:", width * eighths as f32 / 8.0);
            for threshold in [0.65, 0.6, 0.5] {
                let (recall, others) =
                    recall(&frames, |picture| detector.detect(picture, threshold).unwrap().to_vec());
                print!(" at {threshold} {recall:.3} others {others};");
            }
            println!();
        }
    }
    let mut embedder = Embedder::new(&models, 1).unwrap();
    let originals = originals(&sources, &mut embedder);
    for width in [60.0, 80.0, 100.0, 150.0, 220.0] {
        let frames = numbered(&sources, width);
        let print = |what: String, cosines: Vec<f32>| {
            let mean = cosines.iter().sum::<f32>() / cosines.len() as f32;
            let (p5, least) = (cosines[cosines.len() / 20], cosines[0]);
            println!(
                "width {width}, {what}: {} found, mean {mean:.3} p5 {p5:.3} min {least:.3}",
                cosines.len()
            );
        };
        for size in [(320, 240), (400, 300), (480, 360), (640, 480)] {
            let mut detector = Detector::new(&models, size, 1).unwrap();
            let found =
                cosines(&frames, &originals, &mut embedder, |p| detector.detect(p, 0.5).unwrap().to_vec());
            print(format!("input {size:?}"), found);
        }
        let mut finder = Finder::new(&models, 1).unwrap();
        let at = Instant::now();
        finder.find(&support::to_picture(support::empty(128)), at, &[], 0.5, 40.0).unwrap();
        let found = cosines(&frames, &originals, &mut embedder, |p| {
            finder.find(p, at, &[], 0.5, 40.0).unwrap().to_vec()
        });
        print("coarse and near".into(), found);
    }
}
