//! Cameras.

mod files;

use crate::clock::SharedClock;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;

/// Something that delivers frames at its own pace.
pub trait Camera: Send {
    /// Waits for the next frame and answers with it; `buffer` is used again for its bytes. `Input` is a frame
    /// that arrived damaged: the next may be good. Any other error means that the camera must be opened anew.
    fn capture(&mut self, buffer: Vec<u8>) -> Result<Frame>;
}

/// Opens the camera that the configuration names; `index` is its place there.
pub fn open(camera: &config::Camera, index: usize, clock: SharedClock) -> Result<Box<dyn Camera>> {
    match camera.source.split_once(':') {
        Some(("files", folder)) => {
            Ok(Box::new(files::Files::open(folder.as_ref(), camera.fps, index, clock)?))
        }
        _ => Err(Error::new(
            Kind::Config,
            format!("camera.source = {:?} is not supported by this build: use files:DIR", camera.source),
        )),
    }
}
