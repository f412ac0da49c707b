//! From frames to who stands there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use image::RgbImage;
use jiff::Timestamp;
use menshen::Kind;
use menshen::frame::{Frame, PixelFormat};
use menshen::vision::detect::Detector;
use menshen::vision::enrolment::Examiner;
use menshen::vision::gallery::Gallery;
use menshen::vision::liveness::Level;
use menshen::vision::watch::{Look, LookParams, Watcher};
use menshen::vision::{Models, Rect};

const PARAMS: LookParams = LookParams {
    detect_threshold: 65,
    distance: 0,
    smallest_face: 40,
    live_level: Level::Off,
    live_threshold: 50,
};

struct Scene {
    watcher: Watcher,
    gallery: Gallery<u32, u32>,
    now: Instant,
    number: u64,
}

impl Scene {
    fn new(models: &Models, enrolled: &[(u32, &str)]) -> Self {
        let gallery = Gallery::new(models.manifest().embedder.dimension).unwrap();
        let mut examiner = Examiner::new(models, 1).unwrap();
        for (person, name) in enrolled {
            let examined = examiner.examine(&support::bytes(&format!("pictures/{name}.jpg"))).unwrap();
            gallery.insert(*person, *person, &examined.template.to_bytes()).unwrap();
        }
        Self { watcher: Watcher::new(models, 1).unwrap(), gallery, now: Instant::now(), number: 0 }
    }

    /// The next frame, a fifteenth of a second later.
    fn look(&mut self, image: &RgbImage, params: &LookParams) -> Look<u32, u32> {
        self.now += Duration::from_millis(67);
        self.number += 1;
        let (width, height) = image.dimensions();
        let frame = Frame::raw(
            image.as_raw().clone(),
            PixelFormat::Rgb,
            width,
            height,
            width as usize * 3,
            self.now,
            Timestamp::UNIX_EPOCH,
            self.number,
            0,
        );
        self.watcher.look(&frame.unwrap(), params, &self.gallery).unwrap()
    }
}

/// The frames of a clip or the pictures of a person.
fn images(names: &[String]) -> Vec<RgbImage> {
    names.iter().map(|name| support::to_image(&support::picture(name))).collect()
}

fn pictures_of(person: &str) -> Vec<String> {
    let prefix = format!("pictures/{person}-");
    support::names("pictures").into_iter().filter(|name| name.starts_with(&prefix)).collect()
}

fn face_of(detector: &mut Detector, image: &RgbImage) -> Rect {
    let picture = support::to_picture(image.clone());
    let faces = detector.detect(&picture, 0.6).unwrap();
    faces.iter().max_by(|a, b| a.rect.area().total_cmp(&b.rect.area())).unwrap().rect
}

#[test]
fn a_clip_of_one_person_is_one_visit_and_the_right_one() {
    let models = support::models();
    for (clip, person) in [("p04-a", 4), ("p03-a", 3)] {
        let mut scene =
            Scene::new(&models, &[(3, "p03-01"), (4, "p04-1"), (1, "p01-1"), (5, "p05-1"), (6, "p06-1")]);
        let (mut tracks, mut searched, mut right) = (BTreeSet::new(), 0, 0);
        for image in images(&support::names(&format!("clips/{clip}"))) {
            let look = scene.look(&image, &PARAMS);
            assert!(!look.idle, "somebody is there");
            for seen in look.faces {
                tracks.insert(seen.track);
                if seen.searched {
                    searched += 1;
                    let found = seen.found.unwrap();
                    right += usize::from(found.best.person == person && found.best.cosine >= 0.45);
                    assert!(found.best.person == person || found.best.cosine < 0.45, "{clip}: {found:?}");
                }
            }
        }
        println!("{clip}: tracks {tracks:?}, searched {searched}, right {right}");
        assert_eq!(tracks.len(), 1, "{clip}");
        assert!(searched >= 120, "{clip}: {searched}");
        assert!(right as f32 >= 0.95 * searched as f32, "{clip}: {right} of {searched}");
    }
}

/// Somebody else steps in at the very same place from one frame to the next.
#[test]
fn who_takes_the_place_of_another_is_another_visit() {
    let models = support::models();
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let mut frames = |person: &str| -> Vec<RgbImage> {
        images(&pictures_of(person))
            .iter()
            .map(|image| {
                let rect = face_of(&mut detector, image);
                let mut frame = support::empty(128);
                support::put(&mut frame, image, &rect, 110.0, (260.0, 150.0));
                frame
            })
            .collect()
    };
    let (first, second) = (frames("p03"), frames("p04"));
    for settled in [false, true] {
        let mut scene = Scene::new(&models, &[(3, "p03-01"), (4, "p04-1")]);
        let mut track = None;
        for frame in first.iter().cycle().take(14) {
            let look = scene.look(frame, &PARAMS);
            let [seen] = &look.faces[..] else { panic!("{} faces", look.faces.len()) };
            assert_eq!(*track.get_or_insert(seen.track), seen.track);
            assert!(seen.found.as_ref().is_none_or(|found| found.best.person == 3));
        }
        let old = track.unwrap();
        if settled {
            scene.watcher.settle(old);
        }
        let mut new = None;
        let mut unnoticed = 0;
        for frame in second.iter().cycle().take(16) {
            let look = scene.look(frame, &PARAMS);
            let [seen] = &look.faces[..] else { panic!("{} faces", look.faces.len()) };
            if seen.track == old {
                unnoticed += 1;
                assert!(seen.found.is_none(), "the second one was compared as the first");
                continue;
            }
            if new.is_none() {
                assert_eq!(seen.replaces, Some(old));
                assert_eq!(look.lost, [old]);
                assert!(!seen.settled);
                new = Some(seen.track);
            }
            assert_eq!(new, Some(seen.track));
            assert_eq!(seen.found.as_ref().unwrap().best.person, 4);
        }
        assert!(new.is_some(), "nobody noticed");
        println!("settled {settled}: noticed after {unnoticed} frames");
        assert!(unnoticed <= if settled { 10 } else { 1 }, "{unnoticed}");
    }
}

#[test]
fn a_settled_visit_costs_a_template_now_and_then() {
    let models = support::models();
    let mut scene = Scene::new(&models, &[(4, "p04-1")]);
    let clip = images(&support::names("clips/p04-a"));
    let track = scene.look(&clip[0], &PARAMS).faces[0].track;
    scene.watcher.settle(track);
    let looks: Vec<_> = clip[1..61].iter().map(|image| scene.look(image, &PARAMS)).collect();
    let made = looks.iter().filter(|look| look.faces[0].template.is_some()).count();
    assert!((4..=6).contains(&made), "{made} of 60");
    assert!(looks.iter().all(|look| look.faces[0].settled));
}

#[test]
fn ten_faces_at_once_each_get_their_turn() {
    let models = support::models();
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let mut frame = RgbImage::from_pixel(1280, 720, image::Rgb([128; 3]));
    let people = ["p01-1", "p02-1", "p03-01", "p04-1", "p05-1", "p06-1", "p07-1", "p08-1", "p11-1", "p12-1"];
    for (number, name) in people.iter().enumerate() {
        let image = support::to_image(&support::picture(&format!("pictures/{name}.jpg")));
        let rect = face_of(&mut detector, &image);
        // Only the face, so that no shoulder covers another.
        let margin = 0.25 * rect.width();
        let cut = |value: f32| value.max(0.0) as u32;
        let (x, y) = (cut(rect.left - margin), cut(rect.top - margin));
        let width = cut(rect.width() + 2.0 * margin).min(image.width() - x);
        let height = cut(rect.height() + 2.0 * margin).min(image.height() - y);
        let face = image::imageops::crop_imm(&image, x, y, width, height).to_image();
        let rect = Rect {
            left: rect.left - x as f32,
            top: rect.top - y as f32,
            right: rect.right - x as f32,
            bottom: rect.bottom - y as f32,
        };
        let place = (60.0 + 240.0 * (number % 5) as f32, 90.0 + 330.0 * (number / 5) as f32);
        support::put(&mut frame, &face, &rect, 100.0, place);
    }
    let enrolled: Vec<_> = people.iter().enumerate().map(|(number, name)| (number as u32, *name)).collect();
    let mut scene = Scene::new(&models, &enrolled);
    let (mut tracks, mut found) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..4 {
        let look = scene.look(&frame, &PARAMS);
        assert_eq!(look.faces.len(), 10);
        tracks.extend(look.faces.iter().map(|seen| seen.track));
        let searched: Vec<_> = look.faces.iter().filter_map(|seen| seen.found.as_ref()).collect();
        assert!(searched.len() <= 4, "one frame may not take for ever");
        found
            .extend(searched.iter().filter(|found| found.best.cosine >= 0.45).map(|found| found.best.person));
    }
    assert_eq!(tracks.len(), 10);
    assert_eq!(found, (0..10).collect());
}

#[test]
fn each_model_of_a_long_look_is_a_step() {
    let models = support::models();
    let mut scene = Scene::new(&models, &[]);
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    scene.watcher = scene.watcher.stepping(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let clip = images(&support::names("clips/p04-a"));
    let strict = LookParams { live_level: Level::Strict, ..PARAMS };
    let off = scene.look(&clip[0], &PARAMS);
    assert_eq!((off.faces.len(), off.faces[0].searched), (1, true));
    let first = steps.swap(0, Ordering::SeqCst);
    // A detector loaded and run, and a template made.
    assert!(first >= 3, "{first}");
    let look = scene.look(&clip[1], &strict);
    assert!(look.faces[0].searched && look.faces[0].live.is_some());
    // A detector run, a template, a liveness.
    let second = steps.swap(0, Ordering::SeqCst);
    assert!(second >= 3, "{second}");
    scene.look(&clip[2], &PARAMS);
    let without = steps.swap(0, Ordering::SeqCst);
    scene.look(&clip[3], &strict);
    assert_eq!(steps.swap(0, Ordering::SeqCst), without + 1, "the liveness of one face");
}

#[test]
fn an_empty_scene_becomes_idle_and_a_visitor_ends_that() {
    let models = support::models();
    let mut scene = Scene::new(&models, &[]);
    let room = support::to_image(&support::picture("refuse/no_face.jpg"));
    let idle = (0..60).filter(|_| scene.look(&room, &PARAMS).idle).count();
    assert!(idle >= 30, "{idle}");
    let clip = &images(&support::names("clips/p04-a"))[0];
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let rect = face_of(&mut detector, clip);
    let mut visited = room.clone();
    support::put(&mut visited, clip, &rect, 100.0, (300.0, 100.0));
    let look = scene.look(&visited, &PARAMS);
    assert_eq!((look.idle, look.faces.len()), (false, 1));
    // Nobody is enrolled: searched, and nothing found.
    assert!(look.faces[0].searched && look.faces[0].found.is_none());
    let track = look.faces[0].track;
    let lost: Vec<_> = (0..20).flat_map(|_| scene.look(&room, &PARAMS).lost).collect();
    assert_eq!(lost, [track]);
}

#[test]
fn liveness_is_looked_for_only_when_asked() {
    let models = support::models();
    let mut scene = Scene::new(&models, &[]);
    let clip = images(&support::names("clips/p04-a"));
    let look = scene.look(&clip[0], &PARAMS);
    assert_eq!((look.faces[0].live, look.faces[0].liveness), (None, None));
    let params = LookParams { live_level: Level::Strict, ..PARAMS };
    let looks: Vec<_> = clip[1..40].iter().map(|image| scene.look(image, &params)).collect();
    assert!(looks.iter().all(|look| look.faces[0].live.is_some()));
    assert!(looks.last().unwrap().faces[0].liveness.is_some());
}

#[test]
fn a_damaged_frame_costs_only_itself() {
    let models = support::models();
    let mut scene = Scene::new(&models, &[(3, "p03-01")]);
    let whole = support::bytes("pictures/p03-02.jpg");
    let mut look = |bytes: &[u8]| {
        scene.now += Duration::from_millis(67);
        let frame = Frame::jpeg(bytes.to_vec(), scene.now, Timestamp::UNIX_EPOCH, 1, 0)?;
        scene.watcher.look(&frame, &PARAMS, &scene.gallery)
    };
    let track = look(&whole).unwrap().faces[0].track;
    assert_eq!(look(&whole[..whole.len() / 2]).unwrap_err().kind(), Kind::Input);
    let after = look(&whole).unwrap();
    assert_eq!((after.faces[0].track, after.faces[0].found.as_ref().unwrap().best.person), (track, 3));
}
