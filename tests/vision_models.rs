//! Models that are missing, altered, or not what the manifest says.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use std::path::Path;

use menshen::vision::detect::Detector;
use menshen::vision::embed::Embedder;
use menshen::vision::liveness_model::LivenessScorer;
use menshen::vision::models::Manifest;
use menshen::vision::{Models, Picture};
use menshen::{Error, Kind};

/// A folder with the models, of which a test changes what it likes.
fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = support::models_dir();
    std::fs::copy(from.join("models.toml"), dir.path().join("models.toml")).unwrap();
    let manifest = Manifest::load(&from).unwrap();
    for file in [&manifest.detector.file, &manifest.embedder.file, &manifest.liveness.unwrap().file] {
        std::fs::copy(from.join(file), dir.path().join(file)).unwrap();
    }
    dir
}

fn open(dir: &Path) -> Result<Models, Error> {
    Models::open(dir, support::models_dir().join("libonnxruntime.so").to_str().unwrap())
}

/// Replaces a text in the manifest that must be there.
fn edit(dir: &Path, old: &str, new: &str) {
    let path = dir.join("models.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{old}");
    std::fs::write(&path, text.replace(old, new)).unwrap();
}

#[track_caller]
fn refused<T>(result: Result<T, Error>, words: &[&str]) {
    let Err(error) = result else { panic!("accepted") };
    assert_eq!(error.kind(), Kind::Model, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error} does not say {word}");
    }
}

#[test]
fn a_missing_or_altered_file_is_named() {
    let dir = copy();
    open(dir.path()).unwrap();
    let manifest = Manifest::load(dir.path()).unwrap();
    let file = dir.path().join(&manifest.embedder.file);
    let whole = std::fs::read(&file).unwrap();
    let mut altered = whole.clone();
    altered[100_000] ^= 1;
    std::fs::write(&file, &altered).unwrap();
    refused(open(dir.path()), &[&manifest.embedder.file, "sha256", &manifest.embedder.sha256]);
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    refused(open(dir.path()), &[&manifest.embedder.file]);
    std::fs::remove_file(&file).unwrap();
    refused(open(dir.path()), &[&manifest.embedder.file, "make setup"]);
    std::fs::write(&file, &whole).unwrap();
    // Altered while the agent runs: the next session notices.
    let models = open(dir.path()).unwrap();
    std::fs::write(&file, &altered).unwrap();
    refused(Embedder::new(&models, 1), &[&manifest.embedder.file]);
    std::fs::remove_file(dir.path().join("models.toml")).unwrap();
    refused(open(dir.path()), &["models.toml", "make setup"]);
}

#[test]
fn a_file_that_is_no_model_is_refused_by_name() {
    use sha2::Digest;
    let dir = copy();
    let manifest = Manifest::load(dir.path()).unwrap();
    let rubbish = b"not a model at all".repeat(100);
    std::fs::write(dir.path().join(&manifest.detector.file), &rubbish).unwrap();
    let hash: String = sha2::Sha256::digest(&rubbish).iter().map(|byte| format!("{byte:02x}")).collect();
    edit(
        dir.path(),
        &format!("sha256 = \"{}\"\ninput", manifest.detector.sha256),
        &format!("sha256 = \"{hash}\"\ninput"),
    );
    let models = open(dir.path()).unwrap();
    refused(Detector::new(&models, (320, 240), 1), &[&manifest.detector.file]);
}

#[test]
fn a_manifest_that_does_not_fit_is_told() {
    for (old, new, words) in [
        ("input = \"input\"\noutputs", "input = \"picture\"\noutputs", vec!["picture", "only input"]),
        ("loc = \"loc\"", "loc = \"boxes\"", vec!["boxes", "loc"]),
        ("strides = [8, 16, 32]", "strides = [8, 16, 64]", vec!["strides"]),
        ("[256, 512]]", "[256, 512, 1024]]", vec!["anchors"]),
    ] {
        let dir = copy();
        edit(dir.path(), old, new);
        refused(Detector::new(&open(dir.path()).unwrap(), (320, 240), 1), &words);
    }
    for (old, new, words) in [
        ("size = 112", "size = 128", vec!["128"]),
        ("dimension = 512", "dimension = 256", vec!["512 values instead of 256"]),
        (
            "output = \"output\"\nsize = 112",
            "output = \"feature\"\nsize = 112",
            vec!["feature", "only output"],
        ),
    ] {
        let dir = copy();
        edit(dir.path(), old, new);
        refused(Embedder::new(&open(dir.path()).unwrap(), 1), &words);
    }
    let dir = copy();
    edit(dir.path(), "classes = 3", "classes = 2");
    refused(LivenessScorer::new(&open(dir.path()).unwrap(), 1).map(|_| ()), &["3 classes instead of 2"]);
    for (old, new) in [
        ("live_class = 0", "live_class = 3"),
        ("strides = [8, 16, 32]", "strides = []"),
        ("strides = [8, 16, 32]", "strides = [0, 16, 32]"),
        ("colour = \"bgr\"\nmean = [", "colour = \"yuv\"\nmean = ["),
        ("alignment = \"arcface-112\"", "alignment = \"dlib\""),
        ("crop = 2.7", "crop = 0.1"),
        ("variances", "variance"),
    ] {
        let dir = copy();
        edit(dir.path(), old, new);
        refused(open(dir.path()), &["models.toml"]);
    }
}

#[test]
fn a_gate_without_a_liveness_model_watches_all_the_same() {
    let dir = copy();
    let path = dir.path().join("models.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.find("\n[liveness]").unwrap()]).unwrap();
    let models = open(dir.path()).unwrap();
    assert!(LivenessScorer::new(&models, 1).unwrap().is_none());
    let mut detector = Detector::new(&models, (320, 240), 1).unwrap();
    let black = Picture::from_rgb(32, 24, vec![0; 32 * 24 * 3]).unwrap();
    assert_eq!(detector.detect(&black, 0.6).unwrap(), []);
}

#[test]
fn the_id_of_the_embedder_changes_with_its_file() {
    let models = support::models();
    let embedder = &models.manifest().embedder;
    let expected = format!("{}@{}/arcface-112.1", embedder.name, &embedder.sha256[..12]);
    assert_eq!(models.embedder_id(), expected);
}
