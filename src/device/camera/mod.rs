//! Cameras.

mod explain;
mod files;
mod keep;
mod partner;
pub mod v4l2;

pub use explain::{advice, explain};
pub use keep::{REOPEN, State, keep_open};
pub use partner::{Apart, Partner};

use std::path::Path;

use crate::clock::SharedClock;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;

/// Something that delivers frames at its own pace.
pub trait Camera: Send {
    /// Waits for the next frame and answers with it; `buffer` is used again for its bytes. `Input` is a frame
    /// that arrived damaged: the next may be good. Any other error means that the camera must be opened anew.
    fn capture(&mut self, buffer: Vec<u8>) -> Result<Frame>;

    /// Waits for the next frame and forgets it, for the least work that keeps the camera ready. Errors as above.
    fn pass(&mut self) -> Result<()> {
        self.capture(Vec::new()).map(drop)
    }
}

/// What `camera.source` names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source<'a> {
    Files(&'a Path),
    V4l2(v4l2::Selector),
}

impl<'a> Source<'a> {
    fn parse(source: &'a str) -> Result<Self> {
        match source.split_once(':') {
            Some(("files", folder)) if !folder.is_empty() => Ok(Self::Files(folder.as_ref())),
            Some(("v4l2", _)) => Ok(Self::V4l2(v4l2::Selector::parse(source)?)),
            _ => Err(Error::new(
                Kind::Config,
                format!(
                    "camera.source = {source:?} is not supported by this build: use \"v4l2:/dev/video0\", \
                     \"v4l2:/dev/v4l/by-path/…\", \"v4l2:card=NAME\" or \"files:DIR\""
                ),
            )),
        }
    }
}

/// `Config` if `camera.source` is none that [`open`] knows.
pub fn check(source: &str) -> Result<()> {
    Source::parse(source).map(drop)
}

/// Opens the camera that the configuration names; `index` is its place there.
pub fn open(camera: &config::Camera, index: usize, clock: SharedClock) -> Result<Box<dyn Camera>> {
    match Source::parse(&camera.source)? {
        Source::Files(folder) => Ok(Box::new(files::Files::open(folder, camera.fps, index, clock)?)),
        Source::V4l2(selector) => Ok(Box::new(v4l2::Stream::open(&selector, camera, index, clock)?)),
    }
}
