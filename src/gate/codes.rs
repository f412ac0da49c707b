//! QR and bar codes: each is presented to the passage once, and kept for whoever takes the last one.
//!
//! A scanner has a thread that listens to its line. The camera has one that looks at a picture now and then, of those
//! in which something moves; it takes none while it is busy, and holds no look at a face.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::mpsc;

use super::inputs::listen;
use super::presented::present_qr;
use super::sessions::Command;
use super::{Gate, Inner, report_panic};
use crate::device::code_reader::lines::Code;
use crate::device::code_reader::once::Once;
use crate::device::code_reader::picture::Decoder;
use crate::device::code_reader::{CodeReader, Fitted};
use crate::error::{Kind, Result};
use crate::event::Events;
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
    last: Arc<Last>,
    /// Where a camera leaves pictures; nobody looks at them where it is not the reader.
    view: View,
}

/// The code that was read last, and when.
#[derive(Default)]
struct Last(Mutex<Option<(Code, Instant)>>);

impl Last {
    fn lock(&self) -> MutexGuard<'_, Option<(Code, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a code for whoever takes it in time. What nobody has taken is forgotten: it may say who was here.
    fn keep(self: &Arc<Self>, code: Code) {
        let read = Instant::now();
        *self.lock() = Some((code, read));
        let last = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT).await;
            if let Some(last) = last.upgrade() {
                let mut last = last.lock();
                if last.as_ref().is_some_and(|(_, kept)| *kept == read) {
                    *last = None;
                }
            }
        });
    }

    fn take(&self, now: Instant) -> Option<Code> {
        let (code, read) = self.lock().take()?;
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
        self.inner.codes.last.take(Instant::now())
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
    let (weak, commands) = (Arc::downgrade(gate), commands.clone());
    let present = move |code: Code| {
        let (gate, commands) = (weak.clone(), commands.clone());
        async move {
            let Some(gate) = gate.upgrade() else { return };
            gate.codes.last.keep(code.clone());
            if let Err(error) = present_qr(&gate, &commands, code.0).await {
                tracing::warn!(%error, "a code was not presented");
            }
        }
    };
    tokio::spawn(present_each("codes", gate.events.clone(), codes, present));
    Ok(())
}

/// Presents whatever comes, one after the other. A panic costs the one that it was about.
pub(super) async fn present_each<T, F: Future<Output = ()>>(
    part: &'static str,
    events: Events,
    mut coming: mpsc::Receiver<T>,
    mut present: impl FnMut(T) -> F,
) {
    while let Some(one) = coming.recv().await {
        if AssertUnwindSafe(present(one)).catch_unwind().await.is_err() {
            report_panic(&events, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_code_is_taken_once() {
        let last = Last::default();
        let now = Instant::now();
        assert_eq!(last.take(now), None);
        for code in ["1", "2"] {
            *last.lock() = Some((Code(code.into()), now));
        }
        assert_eq!(last.take(now), Some(Code("2".into())));
        assert_eq!(last.take(now), None);
        *last.lock() = Some((Code("3".into()), now));
        assert_eq!(last.take(now + KEPT), None, "nobody wants yesterday's");
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_that_nobody_takes_is_forgotten() {
        let last = Arc::new(Last::default());
        last.keep(Code("1".into()));
        tokio::time::sleep(KEPT / 2).await;
        last.keep(Code("2".into()));
        tokio::time::sleep(KEPT / 2 + Duration::from_millis(5)).await;
        assert!(last.lock().is_some(), "the second one has its own time");
        tokio::time::sleep(KEPT / 2).await;
        assert!(last.lock().is_none());
    }

    #[tokio::test]
    async fn a_panic_costs_one_presentation() {
        let events = Events::new(Arc::new(crate::clock::SystemClock));
        let (send, coming) = mpsc::channel(4);
        for one in [1, 2, 3] {
            send.send(one).await.unwrap();
        }
        drop(send);
        let presented = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&presented);
        present_each("codes", events.clone(), coming, move |one| {
            let all = Arc::clone(&all);
            async move {
                assert!(one != 2, "for the test");
                all.lock().unwrap().push(one);
            }
        })
        .await;
        assert_eq!(*presented.lock().unwrap(), [1, 3]);
        let (told, _) = events.subscribe(0);
        let told: Vec<_> = told.iter().map(|event| (event.kind, event.fields["task"].clone())).collect();
        assert_eq!(told, [("task", json!("codes"))]);
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
