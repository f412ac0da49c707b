#[path = "support/vision.rs"]
mod support;
use menshen::vision::align::AlignedFace;
use menshen::vision::detect::Detector;
use menshen::vision::embed::Embedder;
use menshen::vision::liveness_model::LivenessScorer;
use menshen::vision::quality::*;
use menshen::vision::{Frame, Picture};
use std::time::Instant;
fn rss() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
        .collect::<Vec<_>>()
        .join(" ")
}
fn timeit(name: &str, n: usize, mut f: impl FnMut()) {
    for _ in 0..3 {
        f();
    }
    let mut t: Vec<f64> = (0..n)
        .map(|_| {
            let s = Instant::now();
            f();
            s.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    t.sort_by(f64::total_cmp);
    println!("{name}: min {:.3} p50 {:.3} p95 {:.3} ms", t[0], t[n / 2], t[n * 95 / 100]);
}
#[test]
fn scratch() {
    println!("{}", rss());
    let models = support::models();
    println!("open {}", rss());
    let s = Instant::now();
    let mut embedder = Embedder::new(&models, 1).unwrap();
    println!("embedder {} {:?}", rss(), s.elapsed());
    let name = std::env::var("FRAME").unwrap_or("/tmp/frame.jpg".into());
    let bytes = std::fs::read(name).unwrap();
    println!("{} bytes", bytes.len());
    let mut picture = Picture::new();
    let frame = Frame::jpeg(bytes, Instant::now(), jiff::Timestamp::UNIX_EPOCH, 1, 0).unwrap();
    timeit("decode", 200, || picture.decode_frame(&frame).unwrap());
    for size in [(640, 480), (320, 240), (400, 300), (480, 360), (240, 180)] {
        let s = Instant::now();
        let mut detector = Detector::new(&models, size, 1).unwrap();
        println!("detector {size:?} {} {:?}", rss(), s.elapsed());
        timeit("detect", 100, || {
            detector.detect(&picture, 0.6).unwrap();
        });
    }
    let mut detector = Detector::new(&models, (640, 480), 1).unwrap();
    let face = detector.detect(&picture, 0.6).unwrap()[0];
    let mut aligned = AlignedFace::new();
    timeit("align", 200, || {
        aligned.take(&picture, &face.landmarks, 112);
    });
    let mut meter = Meter::new();
    timeit("measure", 200, || {
        meter.measure(&face, &aligned);
    });
    timeit("embed", 200, || {
        embedder.template(&aligned).unwrap();
    });
    let mut l = LivenessScorer::new(&models, 1).unwrap().unwrap();
    timeit("liveness", 200, || {
        l.live(&picture, &face.rect).unwrap();
    });
    println!("{:?} {}", l.live(&picture, &face.rect), rss());
}
