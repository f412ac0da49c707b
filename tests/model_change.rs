//! Another embedder: everybody is enrolled again from their picture, and nobody is matched across models.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;
#[path = "support/site.rs"]
mod site;

use std::path::Path;

use process::{Agent, prepared};
use site::Site;

/// A folder of models whose embedder is the published file instead of its faster form: the same templates up to
/// rounding, but another file, and so another model.
fn other_models(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let manifest = std::fs::read_to_string(prepared("models/models.toml")).unwrap();
    let mut manifest: toml::Table = manifest.parse().unwrap();
    let published = "fr_feature.onnx";
    let sha256 = manifest["extract"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["to"].as_str().is_some_and(|to| to.ends_with(published)))
        .expect("the published embedder is extracted")["sha256"]
        .clone();
    let embedder = manifest["embedder"].as_table_mut().unwrap();
    embedder.insert("file".into(), published.into());
    embedder.insert("sha256".into(), sha256);
    std::fs::write(folder.join("models.toml"), manifest.to_string()).unwrap();
    for file in std::fs::read_dir(prepared("models")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "onnx" || extension == "so") {
            std::os::unix::fs::symlink(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn everybody_is_enrolled_again_and_passes_again() {
    let site = Site::new();
    let config = site.config(&prepared(".setup/demo/frames"), 15);
    let mut agent = Agent::start(site.folder(), &config);
    site.logged_in();
    assert_eq!(site.enrol("100001", "", ".setup/demo/enrol/A.jpg")["result"], 0);
    assert_eq!(site.enrol("100002", "", ".setup/demo/enrol/B.jpg")["result"], 0);
    agent.event("a pass", |event| event["verdict"] == "pass");
    assert_eq!(agent.process.stop(), Some(0));

    let models = site.folder().join("models");
    other_models(&models);
    let mut agent = Agent::start_with_models(site.folder(), &config, &models);
    let done = agent.event("enrolling again", |event| event["task"] == "re-enrol");
    assert_eq!((&done["done"], &done["refused"]), (&2.into(), &0.into()));
    let pass = agent.event("a pass by the new model", |event| event["verdict"] == "pass");
    assert!(pass["score"].as_f64().unwrap() >= 80.0, "{pass}");
    assert_eq!(agent.process.stop(), Some(0));

    // Once is enough.
    let mut agent = Agent::start_with_models(site.folder(), &config, &models);
    agent.event("a pass after another start", |event| {
        assert_ne!(event["task"], "re-enrol", "{event}");
        event["verdict"] == "pass"
    });
}
