//! QR and bar codes: each is presented to the passage once, and kept for whoever takes the last one.
//!
//! A scanner has a thread that listens to its line. The camera has one that looks at a picture now and then, of those
//! in which something moves; it takes none while it is busy, and holds no look at a face.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;

use super::inputs::listen;
use super::presented::present_qr;
use super::sessions::Command;
use super::{Gate, Inner};
use crate::device::code_reader::lines::Code;
use crate::device::code_reader::once::Once;
use crate::device::code_reader::picture::Decoder;
use crate::device::code_reader::{CodeReader, Fitted};
use crate::error::{Kind, Result};
use crate::vision::picture::Picture;

/// Codes that wait to be presented; a hand shows no more than this.
const WAITING: usize = 4;

/// How long a thread waits before it looks whether it is to end.
const LISTEN: Duration = Duration::from_secs(1);

/// How long the last code is kept for whoever takes it.
const KEPT: Duration = Duration::from_secs(60);

/// At least so long from the end of one search to the next.
const REST: Duration = Duration::from_millis(150);

/// And at least so many times as long as the search took: it has a quarter of one core at most.
const REST_TIMES: u32 = 3;

/// The gate's part in codes.
#[derive(Default)]
pub(super) struct Codes {
    /// The last one, until it is taken.
    last: Mutex<Option<(Code, Instant)>>,
    /// Where a camera leaves pictures; nobody looks at them where it is not the reader.
    view: View,
}

impl Codes {
    fn last(&self) -> MutexGuard<'_, Option<(Code, Instant)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, now: Instant) -> Option<Code> {
        let (code, read) = self.last().take()?;
        (now.saturating_duration_since(read) < KEPT).then_some(code)
    }
}

impl Inner {
    /// A picture in which something moves, as the thread that looks for faces has decoded it.
    pub(super) fn show_to_code_reader(&self, picture: &Picture, at: Instant) {
        self.codes.view.offer(picture, at);
    }
}

impl Gate {
    /// The last code that a reader has read within the last minute: once, then it is cleared.
    pub fn take_code(&self) -> Option<Code> {
        self.inner.codes.take(Instant::now())
    }
}

/// The picture that is to be searched, for one taker.
#[derive(Default)]
struct View {
    /// Whether a picture is wanted: asked for every look, without a lock.
    wanted: AtomicBool,
    slot: Mutex<Option<Shot>>,
    filled: Condvar,
    /// The buffer that came back.
    spare: Mutex<Vec<u8>>,
}

/// A picture as brightnesses.
struct Shot {
    luma: Vec<u8>,
    size: (u32, u32),
    at: Instant,
}

impl View {
    fn offer(&self, picture: &Picture, at: Instant) {
        if !self.wanted.load(Ordering::Acquire) || picture.size().0 == 0 {
            return;
        }
        self.wanted.store(false, Ordering::Relaxed);
        let mut luma = std::mem::take(&mut *self.spare.lock().unwrap_or_else(PoisonError::into_inner));
        picture.luma(&mut luma);
        let shot = Shot { luma, size: picture.size(), at };
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(shot);
        self.filled.notify_one();
    }

    /// The next picture that is offered; `None` if none was `within` the time.
    fn next(&self, within: Duration) -> Option<Shot> {
        let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            self.wanted.store(true, Ordering::Release);
        }
        let waited = self.filled.wait_timeout_while(slot, within, |slot| slot.is_none());
        let (mut slot, _) = waited.unwrap_or_else(PoisonError::into_inner);
        slot.take()
    }

    fn give_back(&self, luma: Vec<u8>) {
        *self.spare.lock().unwrap_or_else(PoisonError::into_inner) = luma;
    }
}

/// The camera as a reader of codes.
struct CameraReader {
    gate: Weak<Inner>,
    decoder: Decoder,
    rest_until: Instant,
}

impl CodeReader for CameraReader {
    fn next(&mut self, within: Duration) -> Result<Option<String>> {
        let now = Instant::now();
        if now < self.rest_until {
            std::thread::sleep((self.rest_until - now).min(within));
            return Ok(None);
        }
        let Some(gate) = self.gate.upgrade() else { return Ok(None) };
        let Some(shot) = gate.codes.view.next(within) else { return Ok(None) };
        let begun = Instant::now();
        let found = self.decoder.decode(&shot.luma, shot.size, shot.at);
        gate.codes.view.give_back(shot.luma);
        self.rest_until = Instant::now() + REST.max(begun.elapsed() * REST_TIMES);
        Ok(found)
    }
}

/// Starts the thread of the reader, and what presents its codes. They end with the gate, or when `stop` is true.
pub(super) fn start(
    gate: &Arc<Inner>,
    commands: &mpsc::Sender<Command>,
    fitted: Fitted,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let mut lowered = matches!(fitted, Fitted::Reader(_));
    let mut reader: Box<dyn CodeReader> = match fitted {
        Fitted::Reader(reader) => reader,
        Fitted::Camera => {
            let gate = Arc::downgrade(gate);
            Box::new(CameraReader { gate, decoder: Decoder::default(), rest_until: Instant::now() })
        }
    };
    let (read, codes) = mpsc::channel(WAITING);
    let (events, mut failed, mut once) = (gate.events.clone(), false, Once::default());
    listen(
        "qr-reader",
        gate,
        stop,
        move |outcome: Result<Option<String>>| match outcome {
            Ok(code) => {
                if std::mem::take(&mut failed) {
                    events.send("reader", json!({ "reader": "qr_reader", "state": "ok" }));
                }
                let new = code.filter(|code| once.is_new(code, Instant::now()));
                new.is_none_or(|code| read.blocking_send(Code(code)).is_ok())
            }
            Err(error) => {
                failed = true;
                tracing::warn!(%error, "the reader of codes does not work; the gate keeps trying");
                let fields = json!({ "reader": "qr_reader", "state": "failed", "error": error.to_string() });
                events.send("reader", fields);
                true
            }
        },
        move || {
            if !std::mem::replace(&mut lowered, true) {
                // A visitor's face comes before a search for codes.
                super::enrol::yield_to_passages();
            }
            match reader.next(LISTEN) {
                // Noise on the line is no failure of it, and no code.
                Err(error) if error.kind() == Kind::Input => {
                    tracing::info!(%error, "the scanner has sent what is no code");
                    Ok(None)
                }
                outcome => outcome,
            }
        },
    )?;
    tokio::spawn(present(Arc::downgrade(gate), commands.clone(), codes));
    Ok(())
}

async fn present(gate: Weak<Inner>, commands: mpsc::Sender<Command>, mut codes: mpsc::Receiver<Code>) {
    while let Some(code) = codes.recv().await {
        let Some(gate) = gate.upgrade() else { return };
        *gate.codes.last() = Some((code.clone(), Instant::now()));
        if let Err(error) = present_qr(&gate, &commands, code.0).await {
            tracing::warn!(%error, "a code was not presented");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_code_is_taken_once() {
        let codes = Codes::default();
        let now = Instant::now();
        assert_eq!(codes.take(now), None);
        for code in ["1", "2"] {
            *codes.last() = Some((Code(code.into()), now));
        }
        assert_eq!(codes.take(now), Some(Code("2".into())));
        assert_eq!(codes.take(now), None);
        *codes.last() = Some((Code("3".into()), now));
        assert_eq!(codes.take(now + KEPT), None, "nobody wants yesterday's");
    }

    #[test]
    fn one_picture_at_a_time_and_none_while_nobody_asks() {
        let view = View::default();
        let picture = Picture::from_rgb(2, 1, vec![255, 255, 255, 0, 0, 0]).unwrap();
        let now = Instant::now();
        view.offer(&picture, now);
        assert!(view.slot.lock().unwrap().is_none(), "nobody looks at it");
        assert!(view.next(Duration::ZERO).is_none());
        view.offer(&picture, now);
        view.offer(&Picture::from_rgb(1, 1, vec![7; 3]).unwrap(), now);
        let shot = view.next(Duration::ZERO).unwrap();
        assert_eq!((shot.luma.as_slice(), shot.size), (&[255, 0][..], (2, 1)));
        view.give_back(shot.luma);
        assert_eq!(view.spare.lock().unwrap().len(), 2);
    }
}
