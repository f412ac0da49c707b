//! The threads of a camera: one that captures and keeps only the newest frame, one that looks at it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;

use super::identify::identify;
use super::sighting::{self, Compared, Sighting, Snap, VisibleFace};
use super::{Gallery, Inner, LiveFrame};
use crate::alive::{Heartbeat, TURN};
use crate::config;
use crate::device::camera::{self, Apart, Camera, Partner, State};
use crate::error::{Kind, Result};
use crate::frame::Frame;
use crate::store::{FaceRow, PersonRow};
use crate::vision::calibration::Calibration;
use crate::vision::liveness::Level;
use crate::vision::quality::QualityFault;
use crate::vision::track::TrackId;
use crate::vision::watch::{LookParams, SeenFace, Watcher};

type Seen = SeenFace<FaceRow, PersonRow>;

/// How soon a thread that pauses notices that it is to stop.
const STOP_NOTICED: Duration = Duration::from_millis(100);

/// Frames whose buffers are kept for use again.
const SPARE: usize = 4;

/// The newest frame, for one taker.
struct Slot {
    state: Mutex<SlotState>,
    filled: Condvar,
}

#[derive(Default)]
struct SlotState {
    frame: Option<Frame>,
    /// Buffers that came back.
    spare: Vec<Vec<u8>>,
    /// Frames that nobody took in time.
    dropped: u64,
    closed: bool,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), filled: Condvar::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffer(&self) -> Vec<u8> {
        self.lock().spare.pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut state = self.lock();
        if state.spare.len() < SPARE {
            state.spare.push(buffer);
        }
    }

    fn put(&self, frame: Frame) {
        let mut state = self.lock();
        if let Some(old) = state.frame.replace(frame) {
            state.dropped += 1;
            if state.spare.len() < SPARE {
                state.spare.push(old.into_data());
            }
        }
        self.filled.notify_one();
    }

    /// The newest frame; `None` when the slot was closed. The heartbeat beats while it is waited for.
    fn take(&self, heartbeat: &Heartbeat) -> Option<Frame> {
        let mut state = self.lock();
        loop {
            heartbeat.beat();
            if state.closed {
                return None;
            }
            if let Some(frame) = state.frame.take() {
                return Some(frame);
            }
            state = self.filled.wait_timeout(state, TURN).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}

/// Closes the slot when a thread ends for whatever reason, so that the other does not wait for ever.
struct CloseOnDrop(Arc<Slot>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What a look needs besides the frame.
pub(super) struct Eyes {
    pub(super) gate: Arc<Inner>,
    pub(super) gallery: Arc<Gallery>,
    pub(super) calibration: Calibration,
    pub(super) ambiguity_margin: f32,
    pub(super) smallest_face: u32,
    /// What sets the tracks of this run apart from those of other cameras and of earlier runs.
    pub(super) run: u64,
    pub(super) settled: Arc<Settled>,
    pub(super) sightings: mpsc::Sender<Sighting>,
    pub(super) stop: Arc<AtomicBool>,
    /// Beats with each turn of the thread that looks.
    pub(super) looking: Heartbeat,
    /// Beats with each turn of the thread that captures.
    pub(super) capturing: Heartbeat,
}

/// What was found of an infrared frame for a visible one.
struct Pair {
    infrared: Frame,
    apart: Apart,
}

/// Captures and looks until told to stop. Returns early only when a thread failed; call it again then. `partner` is
/// where the infrared camera beside this one leaves its frames.
pub(super) fn watch(
    eyes: &Eyes,
    index: usize,
    camera: &config::Camera,
    partner: Option<&Partner>,
    mut watcher: Watcher,
) -> Result<()> {
    let slot = Slot::new();
    let _watched = eyes.gate.snapshots.watched();
    let within = Partner::window(camera.fps);
    std::thread::scope(|scope| {
        let capturing =
            std::thread::Builder::new().name(format!("camera-{index}")).spawn_scoped(scope, || {
                let _close = CloseOnDrop(Arc::clone(&slot));
                // Nobody takes frames from a closed slot any more: the thread that looked has failed.
                let ended = || {
                    eyes.capturing.beat();
                    eyes.stop.load(Ordering::Relaxed) || slot.is_closed()
                };
                capture(&eyes.gate, index, camera, ended, |device| {
                    slot.put(device.capture(slot.buffer())?);
                    Ok(())
                });
            })?;
        let _close = CloseOnDrop(Arc::clone(&slot));
        while let Some(frame) = slot.take(&eyes.looking) {
            let pair = partner
                .and_then(|partner| partner.take(frame.captured, within))
                .map(|(infrared, apart)| Pair { infrared, apart });
            let looked = look(eyes, index, frame, pair.as_ref(), &mut watcher)?;
            if let (Some(partner), true) = (partner, looked.somebody) {
                partner.want(Instant::now());
            }
            if let (Some(partner), Some(pair)) = (partner, pair) {
                partner.give_back(pair.infrared.into_data());
            }
            if let Some(buffer) = looked.buffer {
                slot.give_back(buffer);
            }
        }
        // Joined by the scope; a panic in it is reported by the supervisor of this thread.
        drop(capturing);
        Ok(())
    })
}

/// Keeps the latest frames of an infrared camera for the visible one beside it, while somebody stands there.
pub(super) fn watch_infrared(
    gate: &Inner,
    stop: &AtomicBool,
    index: usize,
    camera: &config::Camera,
    partner: &Partner,
    heartbeat: &Heartbeat,
) {
    capture(
        gate,
        index,
        camera,
        || {
            heartbeat.beat();
            stop.load(Ordering::Relaxed)
        },
        |device| {
            match partner.buffer(Instant::now()) {
                Some(buffer) => partner.put(device.capture(buffer)?),
                None => device.pass()?,
            }
            Ok(())
        },
    );
}

/// Has `serve` take frame after frame of a camera, which is opened again whenever it is lost, until `ended`.
fn capture(
    gate: &Inner,
    index: usize,
    camera: &config::Camera,
    ended: impl Fn() -> bool,
    mut serve: impl FnMut(&mut dyn Camera) -> Result<()>,
) {
    camera::keep_open(
        || camera::open(camera, index, Arc::clone(&gate.clock)),
        |device| {
            serve(device)?;
            gate.frame_rates.count(index, Instant::now());
            Ok(())
        },
        &ended,
        |state, error| {
            if state == State::Lost {
                tracing::error!(camera = index, error, "the camera is lost");
            }
            gate.events.send("camera", json!({ "camera": index, "state": state.word(), "error": error }));
        },
        |pause| {
            let until = Instant::now() + pause;
            while !ended() && Instant::now() < until {
                std::thread::sleep(STOP_NOTICED.min(until.saturating_duration_since(Instant::now())));
            }
        },
    );
}

/// What came of a look.
struct Looked {
    /// The buffer of the frame, if nobody else holds it.
    buffer: Option<Vec<u8>>,
    /// Whether something moved or a face was there.
    somebody: bool,
}

/// Looks at one frame. An error is one that another frame would meet too. There is no model that reads infrared: of
/// `pair` is told how well it goes together.
fn look(
    eyes: &Eyes,
    index: usize,
    frame: Frame,
    pair: Option<&Pair>,
    watcher: &mut Watcher,
) -> Result<Looked> {
    show_live(&eyes.gate, &frame);
    let settings = eyes.gate.settings.load();
    let params = LookParams {
        detect_threshold: settings.face.detect_threshold,
        distance: settings.face.distance,
        smallest_face: eyes.smallest_face,
        live_level: Level::from_switch(settings.face.live_level),
        live_threshold: settings.face.live_threshold,
    };
    eyes.settled.take(eyes.run, |track, settled| match settled {
        true => watcher.settle(track),
        false => watcher.unsettle(track),
    });
    let look = match watcher.look(&frame, &params, &eyes.gallery) {
        Ok(look) => look,
        Err(error) if error.kind() == Kind::Input => {
            tracing::warn!(camera = index, %error, "a damaged frame was dropped");
            return Ok(Looked { buffer: Some(frame.into_data()), somebody: false });
        }
        Err(error) => return Err(error),
    };
    let somebody = !look.idle;
    if somebody {
        eyes.gate.show_to_code_reader(watcher.picture(), frame.captured);
    }
    eyes.gate.snapshots.offer(&frame, look.faces.iter().any(|face| face.fault.is_none()));
    // Once more when the last face has gone, so that whoever draws boxes takes them away.
    if eyes.gate.events.watched() && !(look.faces.is_empty() && look.lost.is_empty()) {
        tell(eyes, index, &frame, pair, &look.faces);
    }
    if look.faces.is_empty() && look.lost.is_empty() {
        return Ok(Looked { buffer: Some(frame.into_data()), somebody });
    }
    if !look.faces.is_empty() {
        eyes.gate.hardware.panel.see(watcher.brightness());
    }
    let threshold = f32::from(settings.face.similar_threshold);
    let faces: Vec<VisibleFace> = look
        .faces
        .into_iter()
        .map(|face| VisibleFace {
            track: visitor(eyes.run, face.track),
            compared: match &face.template {
                Some(template) if face.searched => identify(eyes, template, face.found.as_ref(), threshold),
                _ => Compared::Not,
            },
            template: face.template,
            liveness: face.liveness,
            judgement: face.judgement,
        })
        .collect();
    let lost = look.lost.iter().map(|track| visitor(eyes.run, *track)).collect();
    let frame = Arc::new(frame);
    let sighting =
        Sighting { captured: frame.captured, at: frame.wall, snap: Snap(Arc::clone(&frame)), faces, lost };
    // The sessions are behind: this look is dropped like a frame would be, the next comes in a moment. A track
    // that ended unseen is forgotten by them later.
    if eyes.sightings.try_send(sighting).is_err() {
        tracing::warn!(camera = index, "the sessions are behind: a look was dropped");
    }
    Ok(Looked { buffer: Arc::into_inner(frame).map(Frame::into_data), somebody })
}

/// The name of a track that no other camera and no earlier run has given.
fn visitor(run: u64, track: TrackId) -> u64 {
    run << 32 | (track.0 & u64::from(u32::MAX))
}

/// Visitors who have their verdict, or are to be looked at again, on their way from the sessions to the threads that
/// look.
#[derive(Default)]
pub(super) struct Settled(Mutex<Vec<(u64, bool)>>);

impl Settled {
    /// The session of this visitor is decided.
    pub(super) fn add(&self, visitor: u64) {
        self.push(visitor, true);
    }

    /// Something lies on a reader that may be this visitor's, whatever was decided before.
    pub(super) fn look_again(&self, visitor: u64) {
        self.push(visitor, false);
    }

    fn push(&self, visitor: u64, settled: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((visitor, settled));
    }

    /// Hands over the tracks of one run, in the order of what was said of them.
    fn take(&self, run: u64, mut each: impl FnMut(TrackId, bool)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(visitor, settled)| {
            let mine = visitor >> 32 == run;
            if mine {
                each(TrackId(visitor & u64::from(u32::MAX)), *settled);
            }
            // What a run left behind that has ended is nobody's.
            !mine && visitor >> 32 > run.saturating_sub(64)
        });
    }
}

/// One event for all faces of the frame: boxes in pixels of the frame.
fn tell(eyes: &Eyes, index: usize, frame: &Frame, pair: Option<&Pair>, faces: &[Seen]) {
    let (width, height) = frame.size();
    let faces: Vec<_> = faces
        .iter()
        .map(|face| {
            let rect = face.face.rect;
            json!({
                "track": visitor(eyes.run, face.track),
                "box": [rect.left.round(), rect.top.round(), rect.width().round(), rect.height().round()],
                "score": (face.face.score * 100.0).round(),
                "liveness": face.liveness.map(f32::round),
                "fault": face.fault.map(QualityFault::word),
            })
        })
        .collect();
    let mut event =
        json!({ "camera": index, "frame": frame.number, "size": [width, height], "faces": faces });
    if let Some(Pair { infrared, apart }) = pair {
        let apart_ms = (apart.millis() * 10.0).round() / 10.0;
        event["infrared"] =
            json!({ "camera": infrared.camera, "frame": infrared.number, "apart_ms": apart_ms });
    }
    eyes.gate.events.send("face", event);
}

/// Shows the frame to whoever watches the page; nobody there costs nothing.
fn show_live(gate: &Inner, frame: &Frame) {
    if gate.live.receiver_count() == 0 {
        return;
    }
    match sighting::jpeg(frame) {
        Ok(jpeg) => {
            let live = LiveFrame { number: frame.number, jpeg: jpeg.into(), size: frame.size() };
            gate.live.send_replace(Some(live));
        }
        Err(error) => tracing::debug!(%error, "the live picture could not be made"),
    }
}
