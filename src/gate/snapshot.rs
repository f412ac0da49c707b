//! Pictures on demand: what a camera sees now, or the next good face. The threads that look hand over a frame
//! only while somebody waits for one; until then nothing is kept and nothing encoded.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Gate, sighting};
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;

/// How long a camera may take to deliver its next frame.
const NEXT_FRAME: Duration = Duration::from_secs(3);

/// Those who wait at the same time. Each is a request of a platform, which has room for 32 at once and needs some
/// for the door.
const WAITING: usize = 16;

/// A JPEG.
pub type Jpeg = Arc<[u8]>;

/// Somebody who waits for a picture.
type Waiter = oneshot::Sender<Jpeg>;

/// Who waits for a picture.
#[derive(Default)]
pub(super) struct Snapshots {
    /// Whether anybody waits: asked for every frame, without a lock.
    asked: AtomicBool,
    waiters: Mutex<Waiters>,
    /// Cameras that are being watched, whether or not they deliver frames.
    watched: AtomicUsize,
}

#[derive(Default)]
struct Waiters {
    /// For a good face.
    face: Vec<Waiter>,
    /// For whatever there is.
    any: Vec<Waiter>,
}

impl Waiters {
    fn count(&self) -> usize {
        self.face.len() + self.any.len()
    }

    /// Forgets those who have gone.
    fn tidy(&mut self) {
        self.face.retain(|waiter| !waiter.is_closed());
        self.any.retain(|waiter| !waiter.is_closed());
    }
}

/// A camera is watched as long as this lives.
pub(super) struct Watched<'a>(&'a Snapshots);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.watched.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Snapshots {
    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a thread watches a camera.
    pub(super) fn watched(&self) -> Watched<'_> {
        self.watched.fetch_add(1, Ordering::Relaxed);
        Watched(self)
    }

    /// Waits in line for a frame.
    fn ask(&self, good_face: bool) -> Result<oneshot::Receiver<Jpeg>> {
        if self.watched.load(Ordering::Relaxed) == 0 {
            return Err(Error::new(Kind::Device, "no camera is watched: see the events of kind camera"));
        }
        let mut waiters = self.lock();
        waiters.tidy();
        if waiters.count() >= WAITING {
            return Err(Error::new(Kind::Busy, "too many pictures are asked for at once"));
        }
        let (waiter, picture) = oneshot::channel();
        if good_face {
            waiters.face.push(waiter)
        } else {
            waiters.any.push(waiter)
        }
        self.asked.store(true, Ordering::Relaxed);
        Ok(picture)
    }

    /// Offers a frame to those who wait: with a good face in it to all, else to those who take any. One JPEG
    /// serves them all.
    pub(super) fn offer(&self, frame: &Frame, good_face: bool) {
        if !self.asked.load(Ordering::Relaxed) {
            return;
        }
        let mut waiters = self.lock();
        waiters.tidy();
        let mut served = std::mem::take(&mut waiters.any);
        if good_face {
            served.append(&mut waiters.face);
        }
        if waiters.count() == 0 {
            self.asked.store(false, Ordering::Relaxed);
        }
        drop(waiters);
        if served.is_empty() {
            return;
        }
        match sighting::jpeg(frame) {
            Ok(jpeg) => {
                let jpeg = Jpeg::from(jpeg);
                for waiter in served {
                    // Whoever gave up meanwhile needs none.
                    let _ = waiter.send(Arc::clone(&jpeg));
                }
            }
            // They ask again, or are told that there was none.
            Err(error) => tracing::warn!(%error, "a picture that was asked for could not be made"),
        }
    }
}

impl Gate {
    /// The next frame with a good face in it, or what the camera sees when `within` is over without one. Several
    /// may wait at once and share the frame.
    ///
    /// `Device` if no camera is watched or none delivers a frame, `Busy` with too many who wait.
    pub async fn snapshot(&self, within: Duration) -> Result<Jpeg> {
        let picture = self.inner.snapshots.ask(true)?;
        match tokio::time::timeout(within, picture).await {
            Ok(Ok(jpeg)) => Ok(jpeg),
            // Its frame could not be encoded, or none came.
            Ok(Err(_)) | Err(_) => self.picture_now().await,
        }
    }

    /// What the camera sees now: the next frame that comes, whatever is in it. Errors as those of
    /// [`Gate::snapshot`].
    pub async fn picture_now(&self) -> Result<Jpeg> {
        let picture = self.inner.snapshots.ask(false)?;
        match tokio::time::timeout(NEXT_FRAME, picture).await {
            Ok(Ok(jpeg)) => Ok(jpeg),
            Ok(Err(_)) => Err(Error::new(Kind::Device, "the frame of the camera could not be used")),
            Err(_) => Err(Error::new(
                Kind::Device,
                format!(
                    "no camera delivered a picture within {} s: see the events of kind camera",
                    NEXT_FRAME.as_secs()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::frame::PixelFormat;

    fn frame(grey: u8) -> Frame {
        let at = "2026-03-02T04:00:00Z".parse().unwrap();
        Frame::raw(vec![grey; 64], PixelFormat::Grey, 8, 8, 8, Instant::now(), at, 1, 0).unwrap()
    }

    #[test]
    fn a_frame_goes_to_all_who_wait_for_its_kind() {
        let snapshots = Snapshots::default();
        assert_eq!(snapshots.ask(false).unwrap_err().kind(), Kind::Device);
        let watched = snapshots.watched();
        let mut faces = [snapshots.ask(true).unwrap(), snapshots.ask(true).unwrap()];
        let mut any = snapshots.ask(false).unwrap();
        snapshots.offer(&frame(10), false);
        assert_eq!(any.try_recv().unwrap()[..2], [0xff, 0xd8]);
        assert!(faces.iter_mut().all(|face| face.try_recv().is_err()));
        assert!(snapshots.asked.load(Ordering::Relaxed));
        snapshots.offer(&frame(20), true);
        let [first, second] = faces.map(|mut face| face.try_recv().unwrap());
        assert!(Arc::ptr_eq(&first, &second), "made once");
        assert!(!snapshots.asked.load(Ordering::Relaxed));
        // Whoever has gone takes no place.
        for _ in 0..10 * WAITING {
            drop(snapshots.ask(true).unwrap());
        }
        let held: Vec<_> = (0..WAITING).map(|_| snapshots.ask(true).unwrap()).collect();
        assert_eq!(snapshots.ask(false).unwrap_err().kind(), Kind::Busy);
        drop(held);
        snapshots.offer(&frame(30), false);
        assert!(!snapshots.asked.load(Ordering::Relaxed));
        drop(watched);
        assert_eq!(snapshots.ask(true).unwrap_err().kind(), Kind::Device);
    }
}
