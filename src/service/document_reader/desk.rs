//! What all pages share: the reader, the document that lies on it, the settings, and the pages themselves. What happens
//! at the reader comes in here and goes out to every page; no page waits for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::content::{self, Pictures};
use super::message::{notice, realtime};
use super::settings::{ROW, Settings};
use super::texts::Texts;
use crate::config::DocumentReader;
use crate::document::{Happening, Reading};
use crate::error::Result;
use crate::gate::Gate;
use crate::text::Language;
use crate::text::document_reader::{Constant, main_id};

/// Messages that wait for a page. One that has not taken the first of so many is let go.
const WAITING: usize = 32;

/// How long what was read of a document is kept after it was taken away, for pages that ask for its pictures then.
const KEPT: Duration = Duration::from_secs(60);

/// Documents in a row that cannot be read, after which pages are told to ask for help.
const HELPLESS: u32 = 3;

/// What goes to a page.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    /// A message.
    Notice(Utf8Bytes),
    /// A document of this kind that was read.
    Reading(u64, Arc<[Utf8Bytes]>),
    /// What takes longer to make of it: its pictures.
    Pictures(Arc<[Utf8Bytes]>),
    /// The service goes.
    Farewell(Arc<[Utf8Bytes]>),
}

/// A page's place at the desk.
pub(super) struct Seat {
    desk: Arc<Desk>,
    number: u64,
    /// What goes to the page.
    pub queue: mpsc::Receiver<Outgoing>,
    /// Told when the page is let go because it takes nothing.
    pub let_go: Arc<Notify>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.pages().all.remove(&self.number);
    }
}

struct Page {
    queue: mpsc::Sender<Outgoing>,
    let_go: Arc<Notify>,
}

#[derive(Default)]
struct Pages {
    last: u64,
    all: HashMap<u64, Page>,
}

/// The reader, while it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    pub name: String,
    pub serial: String,
}

#[derive(Default)]
struct State {
    reader: Option<Reader>,
    /// The last document that was read.
    read: Option<Arc<Reading>>,
    /// Whether a document lies there, as far as is known.
    lying: bool,
    /// When what was read is to be forgotten.
    forget: Option<Instant>,
    failures: u32,
}

/// The desk.
pub(super) struct Desk {
    gate: Gate,
    pub texts: Texts,
    pictures: Pictures,
    fingerprints: bool,
    /// The terminal's, for a reader without one.
    serial: String,
    settings: ArcSwap<Settings>,
    /// One change of settings at a time.
    changing: tokio::sync::Mutex<()>,
    pages: Mutex<Pages>,
    state: Mutex<State>,
}

impl Desk {
    /// With the settings that are stored. `Store` if they cannot be read.
    pub(super) fn new(gate: Gate, config: &DocumentReader, language: Language, serial: &str) -> Result<Self> {
        let settings: Settings = match gate.store().setting(ROW)? {
            None => Settings::default(),
            Some(text) => serde_json::from_str(&text).unwrap_or_else(|error| {
                tracing::warn!(%error, "the stored settings of the document reader service are damaged: the defaults count");
                Settings::default()
            }),
        };
        gate.want(settings.wanted());
        Ok(Self {
            gate,
            texts: Texts::new(language, &config.constants),
            pictures: Pictures { sent: config.pictures.iter().cloned().collect(), font: config.font.clone() },
            fingerprints: config.fingerprints,
            serial: serial.to_owned(),
            settings: ArcSwap::from_pointee(settings),
            changing: tokio::sync::Mutex::default(),
            pages: Mutex::default(),
            state: Mutex::default(),
        })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a page; it is left when the seat is dropped.
    pub(super) fn admit(self: &Arc<Self>) -> Seat {
        let (sender, queue) = mpsc::channel(WAITING);
        let let_go = Arc::new(Notify::new());
        let mut pages = self.pages();
        pages.last += 1;
        let number = pages.last;
        pages.all.insert(number, Page { queue: sender, let_go: Arc::clone(&let_go) });
        Seat { desk: Arc::clone(self), number, queue, let_go }
    }

    /// Sends to every page. One whose queue is full takes nothing: it is let go.
    fn tell(&self, outgoing: &Outgoing) {
        self.pages().all.retain(|_, page| match page.queue.try_send(outgoing.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(
                    "a page takes nothing of what the document reader service sends: it is let go"
                );
                page.let_go.notify_one();
                false
            }
        });
    }

    fn announce(&self, command: &str, said: Constant) {
        self.tell(&Outgoing::Notice(realtime(command, self.texts.of(said))));
    }

    /// The settings in force.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes settings, all of these or none; they are stored when this returns.
    pub(super) async fn change(&self, changes: &[(String, bool)]) -> Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let old = self.settings.load_full();
        let mut new = Settings::clone(&old);
        for (operand, on) in changes {
            if let Some(switch) = new.switch(operand) {
                *switch = *on;
            }
        }
        if new == *old {
            return Ok(());
        }
        let text = serde_json::to_string(&new).unwrap_or_default();
        self.gate.store().put_setting(ROW, text).await?;
        self.gate.want(new.wanted());
        self.settings.store(Arc::new(new));
        Ok(())
    }

    /// The reader, if it is there.
    pub(super) fn reader(&self) -> Option<Reader> {
        let reader = self.state().reader.clone()?;
        let serial = if reader.serial.is_empty() { self.serial.clone() } else { reader.serial };
        Some(Reader { serial, ..reader })
    }

    /// Whether a document lies there.
    pub(super) fn lies_there(&self) -> bool {
        self.state().lying
    }

    /// What was read of the document that lies there.
    pub(super) fn lying(&self) -> Option<Arc<Reading>> {
        let state = self.state();
        state.read.clone().filter(|_| state.lying)
    }

    /// What was read last, also shortly after it was taken away.
    pub(super) fn read(&self) -> Option<Arc<Reading>> {
        self.state().read.clone()
    }

    /// All messages of a reading.
    pub(super) async fn messages(self: &Arc<Self>, reading: Arc<Reading>) -> Vec<Utf8Bytes> {
        let settings = self.settings.load_full();
        let mut messages = self.texts_of(&reading, &settings);
        messages.extend(self.pictures_of(reading, settings).await);
        messages
    }

    /// The pictures of a reading, likewise.
    pub(super) async fn images(self: &Arc<Self>, reading: Arc<Reading>) -> Map<String, Value> {
        let desk = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            content::images(&reading, &desk.settings.load(), &desk.pictures)
        });
        made.await.unwrap_or_default()
    }

    /// What can be told of a reading at once.
    fn texts_of(&self, reading: &Reading, settings: &Settings) -> Vec<Utf8Bytes> {
        if self.rejects(reading, settings) {
            return vec![realtime("Display", self.texts.of(Constant::DocumentRejected))];
        }
        if settings.doc_info_all_in_one {
            return Vec::new();
        }
        vec![notice("Save", "CardContentText", &content::fields(reading, settings, &self.texts))]
    }

    /// The rest, on a thread that may take its time.
    async fn pictures_of(self: &Arc<Self>, reading: Arc<Reading>, settings: Arc<Settings>) -> Vec<Utf8Bytes> {
        if self.rejects(&reading, &settings) {
            return Vec::new();
        }
        let desk = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || desk.make_pictures(&reading, &settings)).await;
        made.unwrap_or_else(|_| vec![realtime("Display", self.texts.of(Constant::AcquireImageFailed))])
    }

    fn rejects(&self, reading: &Reading, settings: &Settings) -> bool {
        settings.rejection && !content::checks_out(reading)
    }

    fn make_pictures(&self, reading: &Reading, settings: &Settings) -> Vec<Utf8Bytes> {
        let images = content::images(reading, settings, &self.pictures);
        let mut messages = Vec::new();
        if settings.doc_info_all_in_one {
            #[derive(serde::Serialize)]
            #[serde(rename_all = "PascalCase")]
            struct All {
                fields: content::Fields,
                images: Map<String, Value>,
            }
            let fields = content::fields(reading, settings, &self.texts);
            messages.push(notice("Save", "DocInfoAllInOne", &All { fields, images }));
        } else if !images.is_empty() {
            messages.push(notice("Save", "Images", &images));
        }
        if self.fingerprints && !reading.fingerprints.is_empty() {
            let custom = json!({ "FpOfSid": STANDARD.encode(&reading.fingerprints) });
            messages.push(notice("Save", "CustomData", &custom));
        }
        messages
    }

    /// What a page is told first, if anything.
    pub(super) fn greeting(&self) -> Option<Utf8Bytes> {
        let gone = self.state().reader.is_none();
        gone.then(|| realtime("Display", self.texts.of(Constant::DeviceOffLine)))
    }

    /// Listens to the reader until `stopped` is true; then tells the pages that the service goes.
    pub(super) async fn run(self: &Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let mut happenings = self.gate.documents();
        self.catch_up().await;
        loop {
            let forget = self.state().forget;
            let heard = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                heard = happenings.recv() => heard,
                () = tokio::time::sleep_until(forget.unwrap_or_else(Instant::now)), if forget.is_some() => {
                    let mut state = self.state();
                    (state.read, state.forget) = (None, None);
                    continue;
                }
            };
            match heard {
                Ok(happening) => self.happened(happening).await,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "the document reader service could not follow its reader");
                    self.catch_up().await;
                }
                // The gate is gone, and with it the service.
                Err(RecvError::Closed) => break,
            }
        }
        let farewell = [
            realtime("RestartService", self.texts.of(Constant::WebDescRequireRestartSvc)),
            realtime("ReConnect", self.texts.of(Constant::WebDescRequireReconnect)),
        ];
        self.tell(&Outgoing::Farewell(farewell.into()));
    }

    /// How things stand with the reader.
    async fn catch_up(self: &Arc<Self>) {
        if let Some(happening) = self.gate.document_reader() {
            self.happened(happening).await;
        }
    }

    async fn happened(self: &Arc<Self>, happening: Happening) {
        match happening {
            Happening::Online { name, serial } => {
                let reader = Some(Reader { name, serial });
                let before = std::mem::replace(&mut self.state().reader, reader.clone());
                if before != reader {
                    self.announce("Display", Constant::DeviceReconnected);
                }
            }
            Happening::Offline { .. } => {
                let before = {
                    let mut state = self.state();
                    (state.lying, state.read, state.forget) = (false, None, None);
                    state.reader.take()
                };
                if before.is_some() {
                    self.announce("Display", Constant::DeviceOffLine);
                }
            }
            Happening::Detected => {
                {
                    let mut state = self.state();
                    (state.lying, state.read, state.forget) = (true, None, None);
                }
                if self.settings.load().tells_detected() {
                    self.announce("CardDetected", Constant::CardDetected);
                }
            }
            Happening::Read(reading) => {
                {
                    let mut state = self.state();
                    (state.lying, state.forget, state.failures) = (true, None, 0);
                    state.read = Some(Arc::clone(&reading));
                }
                if self.pages().all.is_empty() {
                    return;
                }
                let id = main_id(reading.document.kind);
                let settings = self.settings.load_full();
                self.tell(&Outgoing::Reading(id, self.texts_of(&reading, &settings).into()));
                let pictures = self.pictures_of(reading, settings).await;
                if !pictures.is_empty() {
                    self.tell(&Outgoing::Pictures(pictures.into()));
                }
            }
            Happening::Failed { .. } => {
                let helpless = {
                    let mut state = self.state();
                    state.failures = state.failures.saturating_add(1);
                    state.failures == HELPLESS
                };
                self.announce("Display", Constant::RecogFailed);
                if helpless {
                    self.announce("AskForSupport", Constant::WebDescAskForSupport);
                }
            }
            Happening::TakenAway => {
                {
                    let mut state = self.state();
                    state.lying = false;
                    state.forget = state.read.is_some().then(|| Instant::now() + KEPT);
                }
                if self.settings.load().if_notify_card_detected {
                    self.announce("CardTakenaway", Constant::CardTakenaway);
                }
            }
        }
    }
}
