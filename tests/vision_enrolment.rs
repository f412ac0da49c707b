//! Which pictures enrol, and which do not and why.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use menshen::Kind;
use menshen::vision::align::AlignedFace;
use menshen::vision::detect::Detector;
use menshen::vision::embed::Embedder;
use menshen::vision::enrolment::{Examination, Examiner};
use menshen::vision::quality::{Limits, Meter};

#[test]
fn bad_pictures_are_refused_by_what_is_bad_about_them() {
    let mut examiner = Examiner::new(&support::models(), 1).unwrap();
    for (name, word) in [
        ("blurred", "blurred"),
        ("motion_blurred", "blurred"),
        ("upscaled", "blurred"),
        ("dark", "too_dark"),
        ("overexposed", "too_bright"),
        ("small", "too_small"),
        ("half_out_of_frame", "cut_off"),
        ("several_faces", "several_faces"),
        ("no_face", "no_face"),
        ("profile", "turned_away"),
    ] {
        let bytes = support::bytes(&format!("refuse/{name}.jpg"));
        match examiner.look(&bytes).unwrap() {
            // A profile has its pupils close together, which may be noticed first.
            Examination::Bad(fault) if name == "profile" => {
                assert!(["turned_away", "too_small"].contains(&fault.word()), "{}", fault.word());
            }
            Examination::Bad(fault) => assert_eq!(fault.word(), word, "{name}"),
            Examination::Good(examined) => panic!("{name} was accepted: {:?}", examined.quality),
        }
        let error = examiner.examine(&bytes).unwrap_err();
        assert_eq!(error.kind(), Kind::Face);
    }
    let bytes = support::bytes("doubtful/sunglasses.jpg");
    assert!(examiner.examine(&bytes).unwrap_err().to_string().contains("(eyes_covered)"));
}

/// A mask is painted on: what a check of colour and smoothness can see of one.
#[test]
fn a_painted_mask_is_noticed() {
    let models = support::models();
    let mut examiner = Examiner::new(&models, 1).unwrap();
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let mut noticed = Vec::new();
    for name in ["p01-1", "p03-01", "p04-1", "p05-1", "p06-1", "p07-1"] {
        let picture = support::picture(&format!("pictures/{name}.jpg"));
        let face = detector.detect(&picture, 0.6).unwrap()[0];
        let [_, _, nose, right, left] = face.landmarks.0;
        let pupils = face.landmarks.pupil_distance();
        let centre = [(right[0] + left[0]) / 2.0, (right[1] + left[1]) / 2.0];
        for colour in [[225.0, 228.0, 230.0], [130.0, 175.0, 205.0], [35.0, 35.0, 38.0]] {
            let mut image = support::to_image(&picture);
            for (x, y, pixel) in image.enumerate_pixels_mut() {
                let (across, down) =
                    ((x as f32 - centre[0]) / (0.95 * pupils), (y as f32 - centre[1]) / (0.75 * pupils));
                if y as f32 > nose[1] && across * across + down * down < 1.0 {
                    // Darker to the sides, as cloth around a chin.
                    pixel.0 = colour.map(|value: f32| (value * (1.0 - 0.2 * across * across)) as u8);
                }
            }
            match examiner.look(&support::jpeg(&image)).unwrap() {
                Examination::Bad(fault) => noticed.push(fault.word()),
                Examination::Good(_) => noticed.push("accepted"),
            }
        }
    }
    println!("{noticed:?}");
    let refused = noticed.iter().filter(|word| **word != "accepted").count();
    assert!(refused >= 16, "{refused} of {}", noticed.len());
}

#[test]
fn good_pictures_enrol_and_find_their_people() {
    let mut examiner = Examiner::new(&support::models(), 1).unwrap();
    let mut templates = Vec::new();
    let mut refused = Vec::new();
    for name in support::names("pictures") {
        // Cut out of group pictures, s… are half turned away; p… are portraits and single frames.
        match examiner.look(&support::bytes(&name)).unwrap() {
            Examination::Good(examined) => templates.push((name, examined.template)),
            Examination::Bad(fault) => refused.push((name, fault.word())),
        }
    }
    println!("refused: {refused:?}");
    assert!(refused.iter().all(|(name, _)| name.contains("/s")), "{refused:?}");
    assert!(refused.iter().all(|(_, word)| *word == "turned_away"), "{refused:?}");
    assert!(refused.len() <= 5, "{refused:?}");
    let person = |name: &str| name[..name.rfind('-').unwrap()].to_owned();
    let (mut least_genuine, mut most_impostor) = (1.0_f32, -1.0_f32);
    for (at, (one, template)) in templates.iter().enumerate() {
        for (other, second) in &templates[..at] {
            if one.contains("/s") || other.contains("/s") {
                continue;
            }
            let cosine = template.cosine(second);
            if person(one) == person(other) {
                least_genuine = least_genuine.min(cosine);
            } else {
                most_impostor = most_impostor.max(cosine);
            }
        }
    }
    println!("genuine from {least_genuine:.3}, impostor up to {most_impostor:.3}");
    assert!(least_genuine > most_impostor, "{least_genuine} {most_impostor}");
}

#[test]
fn what_is_no_picture_is_an_input_error() {
    let mut examiner = Examiner::new(&support::models(), 1).unwrap();
    let good = support::bytes("pictures/p03-01.jpg");
    for bytes in [&good[..good.len() / 2], b"", b"GIF89a", &[0xff, 0xd8], &[0x89, b'P', b'N', b'G']] {
        assert_eq!(examiner.examine(bytes).unwrap_err().kind(), Kind::Input);
    }
    let mut pixel = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut pixel, 90);
    encoder.encode(&[1, 2, 3], 1, 1, jpeg_encoder::ColorType::Rgb).unwrap();
    let error = examiner.examine(&pixel).unwrap_err();
    assert_eq!((error.kind(), error.to_string().contains("(no_face)")), (Kind::Face, true), "{error}");
    // And the next picture is examined as if nothing had been.
    examiner.examine(&good).unwrap();
}

#[test]
fn somebody_far_behind_does_not_count_and_somebody_beside_does() {
    let mut examiner = Examiner::new(&support::models(), 1).unwrap();
    let mut detector = Detector::new(&support::models(), (640, 640), 1).unwrap();
    let mut source = |name: &str| {
        let picture = support::picture(name);
        let face = detector.detect(&picture, 0.6).unwrap()[0];
        (support::to_image(&picture), face.rect)
    };
    let (near, far) = (source("pictures/p03-01.jpg"), source("pictures/p05-1.jpg"));
    let mut look = |width: f32| {
        let mut frame = support::empty(128);
        support::put(&mut frame, &near.0, &near.1, 180.0, (60.0, 100.0));
        support::put(&mut frame, &far.0, &far.1, width, (480.0, 150.0));
        examiner.look(&support::jpeg(&frame)).unwrap()
    };
    assert!(matches!(look(45.0), Examination::Good(_)));
    assert!(matches!(look(110.0), Examination::Bad(fault) if fault.word() == "several_faces"));
}

/// Why blur is refused: what a blurred face becomes to strangers, and that refusal comes first.
#[test]
fn blur_is_refused_before_it_makes_people_alike() {
    let models = support::models();
    let mut examiner = Examiner::new(&models, 1).unwrap();
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let mut embedder = Embedder::new(&models, 1).unwrap();
    let mut aligned = AlignedFace::new();
    let mut meter = Meter::new();
    let people: Vec<_> =
        ["p01-1", "p02-1", "p03-01", "p04-1", "p05-1", "p06-1", "p07-1", "p08-1", "p11-1", "p12-1"].into();
    let mut sharp = Vec::new();
    for name in &people {
        sharp.push(examiner.examine(&support::bytes(&format!("pictures/{name}.jpg"))).unwrap().template);
    }
    let between = |set: &dyn Fn(usize, usize) -> f32| {
        let pairs = (0..people.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
        pairs.map(|(a, b)| set(a, b)).fold(f32::NEG_INFINITY, f32::max)
    };
    let strangers = between(&|a, b| sharp[a].cosine(&sharp[b]));
    println!("sharp strangers up to {strangers:.3}");
    // Sigma as a share of the distance between the pupils.
    for share in [0.02, 0.05, 0.1, 0.15, 0.2] {
        let (mut blurred, mut accepted) = (Vec::new(), Vec::new());
        for name in &people {
            let picture = support::picture(&format!("pictures/{name}.jpg"));
            let face = detector.detect(&picture, 0.6).unwrap()[0];
            let sigma = share * face.landmarks.pupil_distance();
            let soft = support::to_picture(image::imageops::blur(&support::to_image(&picture), sigma));
            // With the landmarks of the sharp picture: the worst case, in which the detector still finds all.
            assert!(aligned.take(&soft, &face.landmarks, embedder.size()));
            let quality = meter.measure(&face, &aligned);
            let (width, height) = soft.size();
            let mut bytes = Vec::new();
            let encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
            encoder.encode(soft.pixels(), width as u16, height as u16, jpeg_encoder::ColorType::Rgb).unwrap();
            let examined = matches!(examiner.look(&bytes).unwrap(), Examination::Good(_));
            accepted.push(examined || quality.first_failure(&Limits::ENROLMENT).is_none());
            blurred.push(embedder.mirrored_template(&aligned).unwrap());
        }
        let to_sharp = between(&|a, b| blurred[a].cosine(&sharp[b]).max(sharp[a].cosine(&blurred[b])));
        let to_blurred = between(&|a, b| blurred[a].cosine(&blurred[b]));
        let enrolled = accepted.iter().filter(|accepted| **accepted).count();
        println!(
            "sigma {share} of the pupil distance: strangers up to {to_sharp:.3} against sharp, {to_blurred:.3} \
             against blurred; {enrolled} of {} enrol",
            people.len()
        );
        // Whatever is accepted is no more like a stranger than sharp pictures are, within a small margin.
        let harm = between(&|a, b| {
            let one = if accepted[a] { blurred[a].cosine(&sharp[b]) } else { -1.0 };
            let other = if accepted[b] { blurred[b].cosine(&sharp[a]) } else { -1.0 };
            let both = if accepted[a] && accepted[b] { blurred[a].cosine(&blurred[b]) } else { -1.0 };
            one.max(other).max(both)
        });
        assert!(harm < 0.45, "accepted with a sigma of {share}: {harm}");
        if share >= 0.1 {
            assert_eq!(enrolled, 0, "sigma {share}");
        }
    }
}
