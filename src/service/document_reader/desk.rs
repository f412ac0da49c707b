//! What all pages share: the reader, the document that lies on it, the settings, and the pages themselves. What happens
//! at the reader comes in here and goes out to every page; no page waits for another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::content::{self, Album, Images, Pictures};
use super::drawn::Pen;
use super::message::{notice, realtime};
use super::plate::{Plate, Read};
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

/// What goes to a page.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    /// A message.
    Notice(Utf8Bytes),
    /// The document of this number was read, which is of this kind.
    Reading { number: u64, kind: u64, messages: Arc<[Utf8Bytes]> },
    /// What takes longer to make of the document of this number: its pictures.
    Pictures(u64, Arc<[Utf8Bytes]>),
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
    /// Whether the desk takes no more pages: it goes.
    closed: bool,
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
    plate: Plate,
}

/// The desk.
pub(super) struct Desk {
    gate: Gate,
    pub texts: Texts,
    pictures: Arc<Pictures>,
    fingerprints: bool,
    /// The terminal's, for a reader without one.
    serial: String,
    settings: ArcSwap<Settings>,
    /// One change of settings at a time.
    changing: tokio::sync::Mutex<()>,
    /// Pictures are made one document at a time.
    making: Arc<Semaphore>,
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
        gate.service_wants(settings.wanted());
        Ok(Self {
            gate,
            texts: Texts::new(language, &config.constants),
            pictures: Arc::new(Pictures {
                sent: config.pictures.iter().cloned().collect(),
                pen: Pen::new(&config.font),
            }),
            fingerprints: config.fingerprints,
            serial: serial.to_owned(),
            settings: ArcSwap::from_pointee(settings),
            changing: tokio::sync::Mutex::default(),
            making: Arc::new(Semaphore::new(1)),
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

    /// How many sides of identity cards have been drawn.
    pub(super) fn drawings(&self) -> u64 {
        self.pictures.pen.drawings()
    }

    /// A place for a page; it is left when the seat is dropped. `None` while the desk goes.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Seat> {
        let (sender, queue) = mpsc::channel(WAITING);
        let let_go = Arc::new(Notify::new());
        let mut pages = self.pages();
        if pages.closed {
            return None;
        }
        pages.last += 1;
        let number = pages.last;
        pages.all.insert(number, Page { queue: sender, let_go: Arc::clone(&let_go) });
        Some(Seat { desk: Arc::clone(self), number, queue, let_go })
    }

    /// Takes pages.
    pub(super) fn open(&self) {
        self.pages().closed = false;
    }

    /// Takes no more pages, and lets those go that are there.
    pub(super) fn close(&self) {
        let mut pages = self.pages();
        pages.closed = true;
        pages.all.drain().for_each(|(_, page)| page.let_go.notify_one());
    }

    /// Sends to every page; whether there is one. A page whose queue is full takes nothing: it is let go.
    fn tell(&self, outgoing: &Outgoing) -> bool {
        let mut pages = self.pages();
        pages.all.retain(|_, page| match page.queue.try_send(outgoing.clone()) {
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
        !pages.all.is_empty()
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
        self.gate.service_wants(new.wanted());
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
        self.state().plate.lies_there()
    }

    /// What was read of the document that lies there.
    pub(super) fn lying(&self) -> Option<Arc<Read>> {
        self.state().plate.lying(Instant::now())
    }

    /// The same, also shortly after it was taken away for a page that was told of the document of this number last.
    pub(super) fn last(&self, told: Option<u64>) -> Option<Arc<Read>> {
        self.state().plate.last(told, Instant::now())
    }

    /// All messages of a document.
    pub(super) async fn messages(&self, read: &Read) -> Vec<Utf8Bytes> {
        let settings = self.settings.load_full();
        let mut messages = self.texts_of(&read.reading, &settings);
        messages.extend(self.pictures_of(read, &settings).await);
        messages
    }

    /// The pictures of a document that pages may have now; those of `bits`, if there are any.
    pub(super) async fn images(&self, read: &Read, bits: Option<u64>) -> Images {
        let settings = self.settings.load_full();
        self.chosen(read, &settings, bits).await
    }

    async fn chosen(&self, read: &Read, settings: &Settings, bits: Option<u64>) -> Images {
        let album = read.album.get_or_init(|| self.make(&read.reading)).await;
        album.images(read.reading.document.kind, settings, &self.pictures, bits)
    }

    /// Makes the pictures of a document, on a thread that may take its time.
    async fn make(&self, reading: &Arc<Reading>) -> Album {
        // Never closed. The thread itself holds it, for as long as it takes.
        let one_at_a_time = Arc::clone(&self.making).acquire_owned().await;
        let (reading, pictures) = (Arc::clone(reading), Arc::clone(&self.pictures));
        let made = tokio::task::spawn_blocking(move || {
            let album = Album::make(&reading, &pictures);
            drop(one_at_a_time);
            album
        })
        .await;
        made.unwrap_or_else(|_| {
            // The panic is in the log already; the texts of the document go out all the same.
            tracing::warn!("the pictures of a document could not be made");
            Album::default()
        })
    }

    /// What can be told of a reading at once.
    fn texts_of(&self, reading: &Reading, settings: &Settings) -> Vec<Utf8Bytes> {
        if Self::rejects(reading, settings) {
            return vec![realtime("Display", self.texts.of(Constant::DocumentRejected))];
        }
        if settings.doc_info_all_in_one {
            return Vec::new();
        }
        vec![notice("Save", "CardContentText", &content::fields(reading, settings, &self.texts))]
    }

    /// Whether pages may have nothing of a reading.
    pub(super) fn rejects(reading: &Reading, settings: &Settings) -> bool {
        settings.rejection && !content::checks_out(reading)
    }

    /// The rest.
    async fn pictures_of(&self, read: &Read, settings: &Settings) -> Vec<Utf8Bytes> {
        let reading = &read.reading;
        if Self::rejects(reading, settings) {
            return Vec::new();
        }
        let images = self.chosen(read, settings, None).await;
        let mut messages = Vec::new();
        if settings.doc_info_all_in_one {
            #[derive(serde::Serialize)]
            #[serde(rename_all = "PascalCase")]
            struct All {
                fields: content::Fields,
                images: Images,
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
        // What lay there before may have been taken away while nobody listened.
        self.state().plate.clear();
        self.catch_up().await;
        loop {
            let forget = self.state().plate.forgets_at();
            let heard = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                heard = happenings.recv() => heard,
                () = tokio::time::sleep_until(forget.unwrap_or_else(Instant::now)), if forget.is_some() => {
                    self.state().plate.forget(Instant::now());
                    continue;
                }
            };
            match heard {
                Ok(happening) => self.happened(happening).await,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "the document reader service could not follow its reader");
                    // What lay there may have been taken away meanwhile.
                    self.state().plate.clear();
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
        // Nobody comes in between who would not be told.
        self.pages().closed = true;
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
                    state.plate.clear();
                    state.reader.take()
                };
                if before.is_some() {
                    self.announce("Display", Constant::DeviceOffLine);
                }
            }
            Happening::Detected => {
                self.state().plate.detected();
                if self.settings.load().tells_detected() {
                    self.announce("CardDetected", Constant::CardDetected);
                }
            }
            Happening::Read(reading) => {
                let read = self.state().plate.read(reading, Instant::now());
                let settings = self.settings.load_full();
                let (number, kind) = (read.number, main_id(read.reading.document.kind));
                let messages = self.texts_of(&read.reading, &settings).into();
                if !self.tell(&Outgoing::Reading { number, kind, messages }) {
                    // Nobody is there to draw for.
                    return;
                }
                read.tell();
                let pictures = self.pictures_of(&read, &settings).await;
                if !pictures.is_empty() {
                    self.tell(&Outgoing::Pictures(number, pictures.into()));
                }
            }
            Happening::Failed { .. } => {
                let helpless = self.state().plate.failed();
                self.announce("Display", Constant::RecogFailed);
                if helpless {
                    self.announce("AskForSupport", Constant::WebDescAskForSupport);
                }
            }
            Happening::TakenAway => {
                self.state().plate.taken_away(Instant::now());
                if self.settings.load().if_notify_card_detected {
                    self.announce("CardTakenaway", Constant::CardTakenaway);
                }
            }
        }
    }
}
