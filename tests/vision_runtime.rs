//! ONNX Runtime that is missing, damaged or something else: an error that says so, never the end of the process. A
//! library can be loaded once in a process, so this program has one test.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use menshen::Kind;
use menshen::vision::Models;

#[test]
fn a_library_that_cannot_be_loaded_is_an_error() {
    let models = support::models_dir();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("libonnxruntime.so");
    let whole = std::fs::read(models.join("libonnxruntime.so")).unwrap();
    let open = || Models::open(&models, path.to_str().unwrap());
    let refused = |words: &str| {
        let Err(error) = open() else { panic!("accepted: {words}") };
        assert_eq!(error.kind(), Kind::Model, "{error}");
        assert!(error.to_string().contains(words), "{error} does not say {words}");
        assert!(error.to_string().contains("libonnxruntime.so"), "{error}");
    };
    refused("cannot open");
    for cut in [0, 10, 63, 64, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        refused(if cut < 64 { "too short" } else { "cut short" });
    }
    std::fs::write(&path, "<html>404 Not Found</html>".repeat(10)).unwrap();
    refused("no 64-bit library");
    let mut foreign = whole.clone();
    // SPARC.
    foreign[18] = 43;
    std::fs::write(&path, &foreign).unwrap();
    refused("another processor");
    // A whole library, but another one: the C library's own, under the name.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc =
        maps.lines().find_map(|line| line.split_whitespace().last().filter(|path| path.contains("libc.so")));
    std::fs::copy(libc.expect("tests are linked with glibc"), &path).unwrap();
    refused("OrtGetApiBase");
    // What failed in the loader is not tried again in this process, and says the same.
    std::fs::write(&path, &whole).unwrap();
    refused("OrtGetApiBase");
}
