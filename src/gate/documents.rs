//! Identity documents: what happens at their reader is told to the services, and to whoever watches without anything of
//! the person; each document that is read is presented to the passage once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{broadcast, mpsc};

use super::announce;
use super::codes::present_each;
use super::presented::present_document;
use super::sessions::Command;
use super::{Gate, Inner, report_panic};
use crate::device::id_reader::{IdReader, Wanted};
use crate::device::reader::Reader;
use crate::document::{Document, DocumentKind, Happening, Reading, Source};
use crate::error::{Context, Result};

/// Happenings that a service may be behind before it loses the oldest.
const BEHIND: usize = 64;

/// Documents that wait to be presented; a hand lays down no more than this.
const WAITING: usize = 4;

/// Before a reader that does not work is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// How soon the thread that pauses notices that it is to end.
const STOP_NOTICED: Duration = Duration::from_millis(100);

/// The gate's part in documents.
pub(super) struct Documents {
    happenings: broadcast::Sender<Happening>,
    to_present: mpsc::Sender<Arc<Reading>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What a service wants of documents; `None` before one has said so.
    service: Option<Wanted>,
    /// The last `Online` or `Offline`.
    reader: Option<Happening>,
    /// The number of the document that has been presented and still lies there.
    presented: Option<String>,
}

impl State {
    /// Takes note of what happens; whether a document that was read is one to present.
    fn note(&mut self, happening: &Happening) -> bool {
        match happening {
            Happening::Online { .. } | Happening::Offline { .. } => {
                self.reader = Some(happening.clone());
                self.presented = None;
            }
            Happening::Detected | Happening::TakenAway => self.presented = None,
            Happening::Failed { .. } => {}
            Happening::Read(reading) => {
                // Read twice, of its chip and of its print, it is still one document.
                let number = Some(&reading.document.number);
                if self.presented.as_ref() == number {
                    return false;
                }
                self.presented = number.cloned();
                return true;
            }
        }
        false
    }
}

impl Documents {
    /// The part, and what it hands to [`start`].
    pub(super) fn new() -> (Self, mpsc::Receiver<Arc<Reading>>) {
        let (to_present, presenting) = mpsc::channel(WAITING);
        let (happenings, _) = broadcast::channel(BEHIND);
        (Self { happenings, to_present, state: Mutex::default() }, presenting)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Happening> {
        self.happenings.subscribe()
    }

    pub(super) fn service_wants(&self, wanted: Wanted) {
        self.state().service = Some(wanted);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What the reader is asked for now. Here, and nowhere else, wishes are merged: where documents are asked for, all that
    /// proves one is read, whatever a service wants; otherwise what the service wants. Bar codes are for services alone.
    pub(super) fn wanted(&self) -> Wanted {
        let service = self.documents.state().service;
        let service = service.unwrap_or(Wanted { bar_code: false, ..Wanted::default() });
        if self.asks_for_documents() {
            return Wanted { bar_code: service.bar_code, ..Wanted::default() };
        }
        service
    }

    /// Tells everybody what happens; whether it is a document to present.
    fn tell(&self, happening: Happening) -> bool {
        let (kind, fields) = match &happening {
            Happening::Online { name, serial } => (
                "reader",
                json!({ "reader": "id_reader", "state": "online", "name": name, "serial": serial }),
            ),
            Happening::Offline { why } => {
                ("reader", json!({ "reader": "id_reader", "state": "offline", "error": why }))
            }
            Happening::Detected => ("document", json!({ "state": "detected" })),
            Happening::Read(_) => ("document", json!({ "state": "read" })),
            Happening::Failed { why } => ("document", json!({ "state": "failed", "error": why })),
            Happening::TakenAway => ("document", json!({ "state": "taken_away" })),
        };
        // Under the lock, so that everybody hears it in the same order; nobody listening is no error.
        let mut state = self.documents.state();
        let to_present = state.note(&happening);
        self.events.send(kind, fields);
        let _ = self.documents.happenings.send(happening);
        to_present
    }

    fn happened(&self, happening: Happening) {
        let reading = match &happening {
            Happening::Read(reading) => Some(Arc::clone(reading)),
            // Whoever laid it down is told what to do, where documents are asked for.
            Happening::Failed { .. } if self.asks_for_documents() => {
                announce::document_unread(self);
                None
            }
            _ => None,
        };
        if self.tell(happening)
            && let Some(reading) = reading
            && self.documents.to_present.try_send(reading).is_err()
        {
            tracing::warn!("a document was read while too many wait to be presented: it is left out");
            announce::document_unread(self);
        }
    }

    /// [`Gate::present_document`]: laid down, read, presented and lifted at once.
    pub(super) fn laid_down(&self, document: &Document) {
        self.tell(Happening::Detected);
        let card = matches!(
            document.kind,
            DocumentKind::Resident | DocumentKind::Foreigner | DocumentKind::HongKongMacaoTaiwan
        );
        let texts = document.texts(if card { Source::Chip } else { Source::Viz });
        let reading = Reading { document: document.clone(), texts, ..Reading::default() };
        self.tell(Happening::Read(Arc::new(reading)));
    }

    pub(super) fn lifted(&self) {
        self.tell(Happening::TakenAway);
    }
}

impl Gate {
    /// What happens at the reader of documents from now on. Who falls 64 behind loses the oldest and is told so by the
    /// receiver.
    pub fn documents(&self) -> broadcast::Receiver<Happening> {
        self.inner.documents.subscribe()
    }

    /// The last [`Happening::Online`] or [`Happening::Offline`], for a service that came later; `None` without a reader,
    /// or before it has been looked for.
    pub fn document_reader(&self) -> Option<Happening> {
        self.inner.documents.state().reader.clone()
    }

    /// Something has happened at a reader of documents. Every service is told; a document that was read is presented
    /// to the passage, once until it is taken away.
    pub fn happened(&self, happening: Happening) {
        self.inner.happened(happening);
    }

    /// What a service wants of documents from now on; the last that said so is heard. The gate itself may want more:
    /// [`Gate::wanted`].
    pub fn service_wants(&self, wanted: Wanted) {
        self.inner.documents.service_wants(wanted);
    }

    /// What the reader is asked for now: what a service wants, and where the rules' mode takes documents all that proves
    /// one.
    pub fn wanted(&self) -> Wanted {
        self.inner.wanted()
    }
}

/// Starts what presents documents and, where there is a reader, the thread that looks. They end with the gate, or when
/// `stop` is true.
pub(super) fn start(
    gate: &Arc<Inner>,
    commands: &mpsc::Sender<Command>,
    presenting: mpsc::Receiver<Arc<Reading>>,
    reader: Option<Box<dyn IdReader>>,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let (weak, commands) = (Arc::downgrade(gate), commands.clone());
    let present = move |reading: Arc<Reading>| {
        let (gate, commands) = (weak.clone(), commands.clone());
        async move {
            let Some(gate) = gate.upgrade() else { return };
            if let Err(error) = present_document(&gate, &commands, reading.document.clone()).await {
                tracing::warn!(%error, "a document on the reader was not presented");
            }
        }
    };
    tokio::spawn(present_each("documents", gate.events.clone(), presenting, present));
    if gate.readers.document == Reader::Simulated {
        gate.tell(Happening::Online { name: "simulated".into(), serial: String::new() });
    }
    let Some(reader) = reader else { return Ok(()) };
    let watch = Watch {
        gate: Arc::downgrade(gate),
        stop: Arc::clone(stop),
        name: reader.name().to_owned(),
        reader,
        working: None,
    };
    std::thread::Builder::new()
        .name("id-reader".into())
        .spawn(move || watch.run())
        .context(|| "the thread of the reader of documents cannot be started")?;
    Ok(())
}

/// The thread that looks.
struct Watch {
    gate: Weak<Inner>,
    stop: Arc<AtomicBool>,
    name: String,
    reader: Box<dyn IdReader>,
    /// Whether the last look could be had, or why not; `None` before the first.
    working: Option<Result<(), String>>,
}

impl Watch {
    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let Some(gate) = self.gate.upgrade() else { return };
            let wanted = gate.wanted();
            let events = gate.events.clone();
            // Reading takes seconds; the gate may end meanwhile.
            drop(gate);
            // A driver that panics costs a pause, not the reader.
            let looked = catch_unwind(AssertUnwindSafe(|| self.reader.look(&wanted)));
            let pause = match looked {
                Ok(Ok(happening)) => self.looked(happening),
                Ok(Err(error)) => self.failed(error.to_string()),
                Err(_) => {
                    report_panic(&events, "id-reader");
                    self.failed("its driver panicked: please report the message above it in the log".into())
                }
            };
            let until = Instant::now() + pause;
            while !self.stop.load(Ordering::Relaxed) {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                std::thread::sleep(left.min(STOP_NOTICED));
            }
        }
    }

    fn tell(&self, happening: Happening) {
        if let Some(gate) = self.gate.upgrade() {
            gate.happened(happening);
        }
    }

    /// A look that could be had; how long to wait for the next.
    fn looked(&mut self, happening: Option<Happening>) -> Duration {
        let again = matches!(self.working, Some(Err(_)));
        self.working = Some(Ok(()));
        if again && !matches!(happening, Some(Happening::Online { .. } | Happening::Offline { .. })) {
            self.tell(Happening::Online { name: self.name.clone(), serial: String::new() });
        }
        match happening {
            None => self.reader.period(),
            Some(happening) => {
                if let Happening::Offline { why } = &happening {
                    tracing::warn!(
                        reader = self.name,
                        why,
                        "the reader of documents is not there: it is looked for"
                    );
                }
                // What was detected is read at once.
                let pause = match happening {
                    Happening::Detected => Duration::ZERO,
                    _ => self.reader.period(),
                };
                self.tell(happening);
                pause
            }
        }
    }

    fn failed(&mut self, why: String) -> Duration {
        if self.working != Some(Err(why.clone())) {
            tracing::warn!(
                reader = self.name,
                why,
                "the reader of documents does not work; the gate keeps trying"
            );
            self.tell(Happening::Offline { why: why.clone() });
            self.working = Some(Err(why));
        }
        AGAIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(number: &str) -> Happening {
        let document = Document { number: number.into(), ..Document::default() };
        Happening::Read(Arc::new(Reading { document, ..Reading::default() }))
    }

    #[test]
    fn a_document_is_one_until_it_is_taken_away() {
        let mut state = State::default();
        assert!(!state.note(&Happening::Detected));
        assert!(state.note(&read("1")));
        assert!(!state.note(&read("1")), "its chip, after its print");
        assert!(state.note(&read("2")), "another one");
        assert!(!state.note(&Happening::TakenAway));
        assert!(state.note(&read("2")));
        let why = || "unplugged".to_owned();
        assert!(!state.note(&Happening::Offline { why: why() }));
        assert!(state.note(&read("2")));
        assert!(matches!(&state.reader, Some(Happening::Offline { why }) if why == "unplugged"));
        assert!(!state.note(&Happening::Failed { why: why() }));
        assert!(!state.note(&read("2")));
    }
}
