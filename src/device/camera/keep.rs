//! Keeping a camera open: it is opened anew whenever it is lost, and what becomes of it is told once.

use std::time::Duration;

use super::Camera;
use crate::error::{Kind, Result};

/// Between two attempts to open a camera that is not there. A camera that is plugged in again delivers within 2 s.
pub const REOPEN: Duration = Duration::from_secs(1);

/// How a camera is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Frames come.
    Watching,
    /// They do not.
    Lost,
}

impl State {
    /// Its name in events.
    pub fn word(self) -> &'static str {
        match self {
            Self::Watching => "watching",
            Self::Lost => "lost",
        }
    }
}

/// Opens a camera with `open` and hands it to `serve` for each frame, until `ended`. A camera that fails or is not
/// there is closed, and opened again after `pause`; a frame that is damaged (`Input`) is passed over. `announce` is
/// told how the camera is, with the reason when it is lost, and not again while that stays the same.
pub fn keep_open(
    mut open: impl FnMut() -> Result<Box<dyn Camera>>,
    mut serve: impl FnMut(&mut dyn Camera) -> Result<()>,
    ended: impl Fn() -> bool,
    mut announce: impl FnMut(State, Option<&str>),
    mut pause: impl FnMut(Duration),
) {
    let mut said = None;
    let mut tell = |state: State, error: Option<String>| {
        let now = Some((state, error));
        if said != now {
            announce(state, now.as_ref().and_then(|(_, error)| error.as_deref()));
            said = now;
        }
    };
    while !ended() {
        let failure = match open() {
            // The camera is closed by the end of this arm, before the pause: while an unplugged one is open, its
            // name is not free for the one that is plugged in.
            Ok(mut camera) => serve_until(&mut *camera, &mut serve, &ended, &mut tell),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failure) = failure {
            tell(State::Lost, Some(failure));
            pause(REOPEN);
        }
    }
}

/// Serves frames until the camera fails, and says why; `None` at the end.
fn serve_until(
    camera: &mut dyn Camera,
    serve: &mut impl FnMut(&mut dyn Camera) -> Result<()>,
    ended: &impl Fn() -> bool,
    tell: &mut impl FnMut(State, Option<String>),
) -> Option<String> {
    let mut damaged = false;
    while !ended() {
        match serve(camera) {
            Ok(()) => {
                tell(State::Watching, None);
                damaged = false;
            }
            Err(error) if error.kind() == Kind::Input => {
                // One of a row is enough to read.
                if damaged {
                    tracing::debug!(%error, "a damaged frame was dropped");
                } else {
                    tracing::warn!(%error, "a damaged frame was dropped");
                }
                damaged = true;
            }
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::error::Error;
    use crate::frame::Frame;

    /// A camera that does what it is told, and counts how many of its kind are open.
    struct Told {
        frames: VecDeque<Result<()>>,
        open: Arc<AtomicU32>,
    }

    impl Camera for Told {
        fn capture(&mut self, _: Vec<u8>) -> Result<Frame> {
            unreachable!("frames are passed over here")
        }

        fn pass(&mut self) -> Result<()> {
            self.frames.pop_front().expect("it was asked once too often")
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            self.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_camera_that_comes_and_goes_is_opened_again_and_told_of_once() {
        let failed = |kind: Kind, what: &'static str| Error::new(kind, what);
        let mut tries: VecDeque<Result<Vec<Result<()>>>> = VecDeque::from([
            Err(failed(Kind::NotFound, "absent")),
            Err(failed(Kind::NotFound, "absent")),
            Err(failed(Kind::Device, "may this user open it")),
            Ok(vec![
                Ok(()),
                Err(failed(Kind::Input, "damaged")),
                Err(failed(Kind::Input, "damaged")),
                Ok(()),
                Err(failed(Kind::Device, "it was unplugged")),
            ]),
            Err(failed(Kind::NotFound, "absent")),
            Err(failed(Kind::NotFound, "absent")),
            Ok(vec![Ok(()), Ok(())]),
        ]);
        let open = Arc::new(AtomicU32::new(0));
        let told = RefCell::new(Vec::new());
        let (pauses, served) = (Cell::new(0), Cell::new(0));
        let last = Rc::new(Cell::new(false));
        let (counted, ending) = (Arc::clone(&open), Rc::clone(&last));
        keep_open(
            || {
                let frames = tries.pop_front().expect("it was opened once too often")?;
                ending.set(tries.is_empty());
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(Box::new(Told { frames: frames.into(), open: Arc::clone(&counted) }) as Box<dyn Camera>)
            },
            |camera| {
                let outcome = camera.pass();
                served.set(served.get() + u32::from(outcome.is_ok()));
                outcome
            },
            || last.get() && served.get() == 4,
            |state, error| told.borrow_mut().push((state, error.map(str::to_owned))),
            |pause| {
                assert_eq!(pause, Duration::from_secs(1));
                assert_eq!(open.load(Ordering::SeqCst), 0, "the lost camera is still open");
                pauses.set(pauses.get() + 1);
            },
        );
        let lost = |why: &str| (State::Lost, Some(why.to_owned()));
        let watching = (State::Watching, None);
        assert_eq!(
            told.into_inner(),
            [
                lost("absent"),
                lost("may this user open it"),
                watching.clone(),
                lost("it was unplugged"),
                lost("absent"),
                watching
            ]
        );
        assert_eq!((pauses.get(), open.load(Ordering::SeqCst)), (6, 0));
    }
}
