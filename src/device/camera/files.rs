//! A camera that plays pictures: the JPEG files of a folder in name order, at a rate, looped.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Camera;
use crate::clock::SharedClock;
use crate::error::{Context, Error, Kind, Result};
use crate::frame::Frame;

/// The largest file that is played.
const LARGEST: u64 = 32 << 20;

/// The player.
pub(super) struct Files {
    pictures: Vec<PathBuf>,
    next: usize,
    period: Duration,
    due: Instant,
    index: usize,
    number: u64,
    clock: SharedClock,
}

impl Files {
    /// A player of `folder`, whose pictures are listed once.
    pub(super) fn open(folder: &Path, fps: u32, index: usize, clock: SharedClock) -> Result<Self> {
        let mut pictures = Vec::new();
        let entries = fs::read_dir(folder)
            .context(|| format!("the camera's folder {} cannot be read", folder.display()))?;
        for entry in entries {
            let path = entry.context(|| format!("reading {}", folder.display()))?.path();
            let is_picture = path
                .extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|extension| ["jpg", "jpeg"].contains(&extension.to_ascii_lowercase().as_str()));
            if is_picture {
                pictures.push(path);
            }
        }
        if pictures.is_empty() {
            return Err(Error::new(
                Kind::Device,
                format!("the camera's folder {} has no .jpg pictures", folder.display()),
            ));
        }
        pictures.sort();
        Ok(Self {
            pictures,
            next: 0,
            period: Duration::from_secs(1) / fps.max(1),
            due: Instant::now(),
            index,
            number: 0,
            clock,
        })
    }
}

impl Camera for Files {
    fn capture(&mut self, mut buffer: Vec<u8>) -> Result<Frame> {
        let now = Instant::now();
        if let Some(wait) = self.due.checked_duration_since(now) {
            std::thread::sleep(wait);
        } else if now - self.due > Duration::from_secs(1) {
            // The machine was busy or asleep: a camera would have dropped those frames too.
            self.due = now;
        }
        self.due += self.period;
        let path = &self.pictures[self.next];
        self.next = (self.next + 1) % self.pictures.len();
        let context = || format!("the picture {} cannot be played", path.display());
        let size = fs::metadata(path).context(context)?.len();
        if size > LARGEST {
            return Err(Error::new(Kind::Device, format!("{} is larger than 32 MiB", path.display())));
        }
        buffer.clear();
        let mut file = fs::File::open(path).context(context)?;
        std::io::Read::read_to_end(&mut file, &mut buffer).context(context)?;
        self.number += 1;
        Frame::jpeg(buffer, Instant::now(), self.clock.now(), self.number, self.index).context(context)
    }
}
