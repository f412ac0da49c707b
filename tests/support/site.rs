//! A site: a folder for a gate, and the platform that the gate belongs to.
#![allow(dead_code, reason = "each test uses its part")]

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use menshen::clock::SystemClock;
use menshen::simulate::qyzn::{Entry, Platform};
use serde_json::{Value, json};

use super::process::prepared;

/// The platform runs on threads of its own; the test waits on its own thread.
pub struct Site {
    runtime: tokio::runtime::Runtime,
    pub platform: Platform,
    address: std::net::SocketAddr,
    folder: tempfile::TempDir,
    frames: HashSet<String>,
}

impl Site {
    pub fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let platform = Platform::new(Arc::new(SystemClock));
        let address = runtime.block_on(platform.listen("127.0.0.1:0".parse().unwrap())).unwrap();
        let frames = std::fs::read_dir(prepared(".setup/demo/frames"))
            .unwrap()
            .map(|frame| format!("{:x}", md5::compute(std::fs::read(frame.unwrap().path()).unwrap())))
            .collect();
        Self { runtime, platform, address, folder: tempfile::tempdir().unwrap(), frames }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration of a gate here, apart from what [`super::process::Agent`] adds.
    pub fn config(&self, frames: &Path, fps: u32) -> String {
        format!(
            "[terminal]\ndata_dir = {data:?}\n[[camera]]\nrole = \"visible\"\nsource = \"files:{frames}\"\nfps = {fps}\n\
             [platform.qyzn]\nserver = \"{server}\"\n",
            data = self.folder().join("data"),
            frames = frames.display(),
            server = self.address,
        )
    }

    pub fn logged_in(&self) {
        self.runtime.block_on(self.platform.wait_until_logged_in()).unwrap();
    }

    pub fn journal_len(&self) -> usize {
        self.platform.journal().len()
    }

    pub fn logged_in_after(&self, seen: usize) {
        self.runtime.block_on(self.platform.wait_after(seen, |entry| entry.event == "logged_in")).unwrap();
    }

    pub fn request(&self, message: &str, data: Value) -> Value {
        self.runtime.block_on(self.platform.request(message, data)).unwrap()
    }

    pub fn enrol(&self, id: &str, card: &str, picture: &str) -> Value {
        self.enrol_bytes(id, card, &std::fs::read(prepared(picture)).unwrap())
    }

    pub fn enrol_bytes(&self, id: &str, card: &str, picture: &[u8]) -> Value {
        self.request("add_person_face", person(id, card, picture))
    }

    /// The first report that `wanted` accepts, since the beginning.
    pub fn reported(&self, what: &str, wanted: impl Fn(&Entry) -> bool) -> Arc<Entry> {
        self.runtime
            .block_on(self.platform.wait_for(|entry| entry.event == "snapshot_face" && wanted(entry)))
            .unwrap_or_else(|error| panic!("{what} was not reported: {error}"))
    }

    /// Whether a picture is one of those that the camera plays.
    pub fn is_frame(&self, md5: &str) -> bool {
        self.frames.contains(md5)
    }

    /// The terminal did nothing that the document forbids.
    pub fn assert_proper(&self) {
        assert_eq!(self.platform.violations(), Vec::<String>::new());
    }

    /// Runs something beside the test.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// `data` of an `add_person_face`, with the document's own sample of a name.
pub fn person(id: &str, card: &str, picture: &[u8]) -> Value {
    json!({
        "personId": id,
        "personCode": id,
        "name": "张三",
        "type": 1,
        "icNum": card,
        "passMonday": true, "passTuesday": true, "passWednesday": true, "passThursday": true,
        "passFriday": true, "passSaturday": true, "passSunday": true,
        "passMode": 255,
        "faces": [{ "faceId": format!("face-{id}"), "image": base64(picture) }],
        "extPassRule": {},
    })
}

pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A picture of one pixel.
pub fn one_pixel() -> Vec<u8> {
    let mut png = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut png);
    image::ImageEncoder::write_image(encoder, &[1, 2, 3], 1, 1, image::ExtendedColorType::Rgb8).unwrap();
    png
}
