//! Where the time of one frame goes, on one thread. Run with
//! `cargo test --release --test vision_speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use menshen::frame::Frame;
use menshen::vision::Picture;
use menshen::vision::align::AlignedFace;
use menshen::vision::detect::Detector;
use menshen::vision::embed::Embedder;
use menshen::vision::enrolment::Examiner;
use menshen::vision::find::Finder;
use menshen::vision::gallery::Gallery;
use menshen::vision::liveness::Level;
use menshen::vision::liveness_model::LivenessScorer;
use menshen::vision::motion::MotionGate;
use menshen::vision::quality::Meter;
use menshen::vision::watch::{LookParams, Watcher};

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find(|line| line.starts_with("VmRSS")).unwrap().replace('\t', " ")
}

fn time(what: &str, times: usize, mut run: impl FnMut()) {
    (0..5).for_each(|_| run());
    let mut taken: Vec<_> = (0..times)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    let at = |share: f64| taken[(share * (times - 1) as f64) as usize];
    println!("{what:<28} min {:>7.3}  p50 {:>7.3}  p95 {:>7.3} ms", taken[0], at(0.5), at(0.95));
}

fn frame(bytes: &[u8], at: Instant) -> Frame {
    Frame::jpeg(bytes.to_vec(), at, Timestamp::UNIX_EPOCH, 1, 0).unwrap()
}

#[test]
#[ignore = "prints times"]
fn stages_of_one_frame() {
    println!("before the models: {}", resident());
    let start = Instant::now();
    let models = support::models();
    println!("opened in {:?}: {}", start.elapsed(), resident());
    let picture = support::picture("pictures/p04-1.jpg");
    let mut large = Detector::new(&models, (640, 640), 1).unwrap();
    let face = large.detect(&picture, 0.6).unwrap()[0];
    drop(large);
    let mut scene = support::empty(128);
    let source = support::to_image(&picture);
    support::put(&mut scene, &source, &face.rect, 140.0, (220.0, 120.0));
    let bytes = support::jpeg(&scene);
    let now = Instant::now();
    let one = frame(&bytes, now);
    println!("frame of 640 x 480, {} bytes", bytes.len());
    let mut picture = Picture::new();
    time("decode", 300, || picture.decode_frame(&one).unwrap());
    for size in [(640, 480), (320, 240), (160, 160)] {
        let mut detector = Detector::new(&models, size, 1).unwrap();
        time(&format!("detect {size:?}"), 200, || drop(detector.detect(&picture, 0.65).unwrap().to_vec()));
    }
    let mut finder = Finder::new(&models, 1).unwrap();
    time("find, same moment", 200, || drop(finder.find(&picture, now, &[], 0.65, 40.0).unwrap().to_vec()));
    let face = finder.find(&picture, now, &[], 0.65, 40.0).unwrap()[0];
    let (mut aligned, mut meter) = (AlignedFace::new(), Meter::new());
    time("align", 300, || assert!(aligned.take(&picture, &face.landmarks, 112)));
    time("quality", 300, || {
        drop(std::hint::black_box(meter.measure(&face, &aligned).sharpness.to_bits().to_string()))
    });
    let mut embedder = Embedder::new(&models, 1).unwrap();
    time("template", 300, || drop(embedder.template(&aligned).unwrap()));
    let mut scorer = LivenessScorer::new(&models, 1).unwrap().unwrap();
    time("liveness model", 200, || assert!(scorer.live(&picture, &face.rect).unwrap().is_some()));
    println!("with all of these: {}", resident());

    let gallery = Gallery::<u32, u32>::new(512).unwrap();
    let mut watcher = Watcher::new(&models, 1).unwrap();
    let params = LookParams { detect_threshold: 65, distance: 0, smallest_face: 40, live_level: Level::Off };
    let mut at = now;
    time("look at 15 fps, one face", 300, || {
        at += Duration::from_millis(67);
        let look = watcher.look(&frame(&bytes, at), &params, &gallery).unwrap();
        assert!(look.faces[0].template.is_some());
    });
    let mut examiner = Examiner::new(&models, 1).unwrap();
    time("enrol that frame", 100, || drop(examiner.examine(&bytes).unwrap()));

    // An empty scene, half a minute at 15 frames a second.
    let room = support::bytes("refuse/no_face.jpg");
    let mut watcher = Watcher::new(&models, 1).unwrap();
    let mut step = |watcher: &mut Watcher| {
        at += Duration::from_millis(67);
        watcher.look(&frame(&room, at), &params, &gallery).unwrap().idle
    };
    (0..60).for_each(|_| drop(std::hint::black_box(step(&mut watcher).to_string())));
    let start = Instant::now();
    let idle = (0..450).filter(|_| step(&mut watcher)).count();
    let share = start.elapsed().as_secs_f64() / 30.0;
    println!("empty scene: {idle} of 450 frames idle, {:.2} % of one core", 100.0 * share);
    let mut gate = MotionGate::new();
    let first = frame(&room, at);
    picture.decode_frame(&first).unwrap();
    gate.examined(&picture, false, room.len(), at - Duration::from_secs(5));
    time("glance at a JPEG", 200, || {
        at += Duration::from_millis(134);
        gate.wakes(&frame(&room, at)).unwrap();
        gate.examined(&picture, false, room.len(), at - Duration::from_millis(134));
    });
}
