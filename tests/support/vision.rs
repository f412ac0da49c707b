//! Models and pictures of the set-up, for the tests of `vision`.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::path::{Path, PathBuf};

use menshen::vision::{Models, Picture};

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

/// A file among the test pictures (`MENSHEN_TEST_PICTURES`, or `.setup/test`).
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
    picture.decode_file(&bytes(name)).unwrap();
    picture
}

/// The files of a folder, in the order of their names.
pub fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(file(folder))
        .unwrap()
        .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    names.sort();
    names
}
