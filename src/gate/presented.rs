//! What visitors present besides their faces: cards, documents and QR codes, whichever reader they came from.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::civil::Date;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::record::is_kept;
use super::sessions::{Command, HolderPhoto, owners, read_as};
use super::{Gate, Inner, announce, stopping};
use crate::access::{Credential, PrintedFacts, Reason, Verdict, weigh};
use crate::blocking::blocking;
use crate::device::code_reader::CODE_BYTES;
use crate::device::reader::Readers;
use crate::device::wiegand;
use crate::document::Document;
use crate::error::{Error, Kind, Result};
use crate::vision::Picture;

/// Longest number of a card or a document, in bytes.
const NUMBER_BYTES: usize = 64;

/// Longest text that is printed on a document, in bytes.
const PRINTED_BYTES: usize = 1024;

/// Largest photo of a holder, in bytes: those of passports have some 20 000.
const PHOTO_BYTES: usize = 1 << 20;

/// How long the photo of a document may wait for the threads that examine pictures, which may have to load their models.
const PHOTO_WITHIN: Duration = Duration::from_secs(10);

/// QR codes that wait for the platform.
const WAITING_QUESTIONS: usize = 8;

/// What is printed on a document, as a record keeps it: dates as `yyyyMMdd`.
pub(super) fn printed(document: &Document) -> PrintedFacts {
    let day = |date: Option<Date>| date.map(|date| date.strftime("%Y%m%d").to_string()).unwrap_or_default();
    PrintedFacts {
        gender: document.gender.clone(),
        ethnic: document.ethnic.clone(),
        birthday: day(document.birthday),
        address: document.address.clone(),
        expires: match (document.valid_from, document.expires) {
            // As it is printed on such cards.
            (Some(_), None) => "长期".into(),
            (_, expires) => day(expires),
        },
    }
}

/// `Input` for a document whose facts cannot be.
fn check_document(document: &Document) -> Result<()> {
    check("the number of the document", &document.number, NUMBER_BYTES)?;
    for (what, text) in [
        ("name", &document.name),
        ("gender", &document.gender),
        ("ethnic", &document.ethnic),
        ("address", &document.address),
        ("issuer", &document.issuer),
    ] {
        if text.len() > PRINTED_BYTES {
            return Err(Error::new(
                Kind::Input,
                format!("the {what} of the document has more than {PRINTED_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

/// Something that was read for somebody who asked for it.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// The number of an IC card.
    Card(String),
    /// An identity document.
    Document(Box<Document>),
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Presented::Card(_) => "Card",
            Presented::Document(_) => "Document",
        })
    }
}

/// Who has asked for the next card or document, if anybody has.
#[derive(Default)]
pub(super) struct Reading(Mutex<Option<oneshot::Sender<Presented>>>);

impl Reading {
    fn lock(&self) -> MutexGuard<'_, Option<oneshot::Sender<Presented>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self) -> Result<oneshot::Receiver<Presented>> {
        let mut asking = self.lock();
        if asking.as_ref().is_some_and(|other| !other.is_closed()) {
            return Err(Error::new(Kind::Busy, "somebody else waits for a card to be presented"));
        }
        let (sender, presented) = oneshot::channel();
        *asking = Some(sender);
        Ok(presented)
    }

    /// Whether somebody waits for one.
    fn is_asked(&self) -> bool {
        self.lock().as_ref().is_some_and(|asking| !asking.is_closed())
    }

    /// Gives it to whoever asked; it comes back if nobody did, or has given up.
    fn give(&self, presented: Presented) -> Result<(), Presented> {
        match self.lock().take() {
            Some(asking) => asking.send(presented),
            None => Err(presented),
        }
    }
}

/// A QR code that a platform is asked about.
#[derive(Debug)]
pub struct QrQuestion {
    /// What it says.
    pub content: String,
    /// Where the answer goes: whether the door is to open, or why there is no answer.
    pub answer: oneshot::Sender<Result<bool>>,
}

/// Who weighs QR codes, if anybody does.
#[derive(Default)]
pub(super) struct Questions(Mutex<Option<mpsc::Sender<QrQuestion>>>);

impl Questions {
    fn lock(&self) -> MutexGuard<'_, Option<mpsc::Sender<QrQuestion>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the platform wants the door open for a QR code. `Network` without a platform, `Busy` with too many
    /// questions, `Timeout` without an answer in time.
    pub(super) async fn ask(&self, content: String, within: Duration) -> Result<bool> {
        let nobody = || Error::new(Kind::Network, "there is no platform that weighs QR codes");
        let (sender, answered) = oneshot::channel();
        let asked = self.lock().clone().ok_or_else(nobody)?;
        asked.try_send(QrQuestion { content, answer: sender }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(Kind::Busy, "the platform has too many QR codes to weigh")
            }
            mpsc::error::TrySendError::Closed(_) => nobody(),
        })?;
        match tokio::time::timeout(within, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(nobody()),
            Err(_) => Err(Error::new(
                Kind::Timeout,
                format!("the platform did not weigh a QR code within {} s", within.as_secs()),
            )),
        }
    }
}

/// Refuses what is empty, too long, or no text.
fn check(what: &str, text: &str, most: usize) -> Result<()> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        return Err(Error::new(
            Kind::Input,
            format!("{what} must have 1 to {most} bytes without control characters"),
        ));
    }
    Ok(())
}

impl Inner {
    /// Whether a document is asked for: by the gate's pass mode, of a visitor before it, or by a platform.
    pub(super) fn asks_for_documents(&self) -> bool {
        self.settings.load().rules.mode.takes_documents()
            || self.document_asked.load(Ordering::Relaxed)
            || self.reading.is_asked()
    }

    /// Says that a reader has read something, and for whom; never what.
    fn read(&self, credential: &'static str, used_by: &'static str) {
        self.events.send("credential", json!({ "credential": credential, "for": used_by }));
    }
}

/// [`Gate::present_card`].
pub(super) async fn present_card(
    gate: &Inner,
    commands: &mpsc::Sender<Command>,
    number: String,
) -> Result<()> {
    let number = number.trim().to_owned();
    check("the number of the card", &number, NUMBER_BYTES)?;
    let Err(Presented::Card(number)) = gate.reading.give(Presented::Card(number)) else {
        gate.read("card", "platform");
        return Ok(());
    };
    gate.read("card", "session");
    if let Some(controller) = &gate.hardware.controller {
        controller.presented(&number, gate.settings.load().wiegand.format);
    }
    let presented = commands.send(Command::Card { number, at: Instant::now() }).await;
    presented.map_err(|_| stopping())
}

/// A document that was read goes to whoever asked for one, or to the passage. `Input` if its facts cannot be.
pub(super) async fn present_document(
    gate: &Inner,
    commands: &mpsc::Sender<Command>,
    document: Document,
) -> Result<()> {
    check_document(&document)?;
    let presented = Presented::Document(Box::new(document));
    let Err(Presented::Document(document)) = gate.reading.give(presented) else {
        gate.read("document", "platform");
        return Ok(());
    };
    gate.read("document", "session");
    let at = Instant::now();
    let photo = match refused_anyway(gate, &document) {
        Some(reason) if is_kept(reason) => whole_photo(document.photo.as_ref()).await,
        Some(_) => None,
        None => holder_photo(gate, document.photo.as_ref()).await.inspect_err(|_| {
            // Nothing is known of the photo: that is not the document's fault.
            announce::document_unread(gate);
        })?,
    };
    let photo = photo.map(Arc::new);
    let presented = commands.send(Command::Document { document, photo, at }).await;
    presented.map_err(|_| stopping())
}

/// Why a document is refused whatever its photo shows, if it is: then the models that look at photos need not be loaded.
/// `None` too where that cannot be told, because somebody was asked for it who may have a pass mode of their own.
fn refused_anyway(gate: &Inner, document: &Document) -> Option<Reason> {
    let owners = owners(gate.store.people_by_id_number(&document.number), "a document")?;
    let credential = Credential::Document(read_as(document.clone(), owners, true));
    let Verdict::Refuse { reason, .. } = weigh(&[credential], &gate.rules(), &gate.moment(), |_| None) else {
        return None;
    };
    let whoever = match reason {
        Reason::BlackListed
        | Reason::ForbiddenIdNumber
        | Reason::ClockLost
        | Reason::DocumentExpired
        | Reason::DocumentNotYetValid => true,
        // Both turn on what is left out here: a face that has been seen, or that there is a photo.
        Reason::WrongOrder | Reason::OutOfSchedule => false,
        _ => !gate.document_asked.load(Ordering::Relaxed),
    };
    whoever.then_some(reason)
}

/// The photo of a document for its record, which keeps it if it is a picture.
async fn whole_photo(photo: Option<&Arc<[u8]>>) -> Option<HolderPhoto> {
    let jpeg = Arc::clone(photo.filter(|jpeg| jpeg.len() <= PHOTO_BYTES && is_jpeg(jpeg))?);
    let decoded = blocking(move || Picture::new().decode_file(&jpeg).map(|()| jpeg)).await;
    decoded.ok().map(|jpeg| HolderPhoto { jpeg, template: None })
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8])
}

/// The photo of a document, ready to be compared; `None` without one, and for what is no picture. One that shows no usable
/// face comes without a template. Either is logged. An error is the gate's own: the photo could not be looked at.
async fn holder_photo(gate: &Inner, photo: Option<&Arc<[u8]>>) -> Result<Option<HolderPhoto>> {
    let Some(jpeg) = photo.filter(|jpeg| jpeg.len() <= PHOTO_BYTES) else {
        let bytes = photo.map(|jpeg| jpeg.len());
        tracing::info!(bytes, "a document has no photo that its holder can be compared with");
        return Ok(None);
    };
    let jpeg = Arc::clone(jpeg);
    match gate.portraits.template(Arc::clone(&jpeg), PHOTO_WITHIN).await {
        Ok(template) => Ok(Some(HolderPhoto { jpeg, template: Some(template) })),
        Err(error) if matches!(error.kind(), Kind::Face | Kind::Input) => {
            tracing::warn!(%error, bytes = jpeg.len(), "no face can be compared with the photo of a document");
            // A record keeps it only if whoever gets the record can look at it.
            let kept = error.kind() == Kind::Face && is_jpeg(&jpeg);
            Ok(kept.then_some(HolderPhoto { jpeg, template: None }))
        }
        Err(error) => Err(error),
    }
}

/// [`Gate::present_qr`].
pub(super) async fn present_qr(
    gate: &Inner,
    commands: &mpsc::Sender<Command>,
    content: String,
) -> Result<()> {
    if content.is_empty() || content.len() > CODE_BYTES {
        return Err(Error::new(Kind::Input, format!("a QR code has 1 to {CODE_BYTES} bytes")));
    }
    gate.read("qr", "session");
    let presented = commands.send(Command::Qr { content, at: Instant::now() }).await;
    presented.map_err(|_| stopping())
}

/// [`Gate::present_wiegand`].
pub(super) async fn present_wiegand(
    gate: &Inner,
    commands: &mpsc::Sender<Command>,
    bits: &[bool],
) -> Result<String> {
    let (format, data) = wiegand::read(bits)?;
    let number = wiegand::card_number(format, data, gate.settings.load().wiegand.input);
    present_card(gate, commands, number.clone()).await?;
    Ok(number)
}

impl Gate {
    /// The readers there are.
    pub fn readers(&self) -> Readers {
        self.inner.readers
    }

    /// A card was presented at the gate. `Input` if that is no number of a card.
    pub async fn present_card(&self, number: String) -> Result<()> {
        present_card(&self.inner, &self.commands, number).await
    }

    /// A frame came in on the Wiegand line: a card, with the number that the settings make of it (QYZN
    /// `weigand.InputType`), which is the answer. `Input` if the frame is damaged.
    pub async fn present_wiegand(&self, bits: &[bool]) -> Result<String> {
        present_wiegand(&self.inner, &self.commands, bits).await
    }

    /// A document was held before the gate by hand: the services hear of it as of one that is laid on a reader, read
    /// and taken away. `Input` if its facts cannot be; nothing has happened then.
    pub async fn present_document(&self, document: Document) -> Result<()> {
        check_document(&document)?;
        self.inner.laid_down(&document);
        let presented = present_document(&self.inner, &self.commands, document).await;
        self.inner.lifted();
        presented
    }

    /// A QR code was presented at the gate. `Input` if it is empty or longer than any QR code.
    pub async fn present_qr(&self, content: String) -> Result<()> {
        present_qr(&self.inner, &self.commands, content).await
    }

    /// The next card or document that is presented from this call (not its first poll) on; it is no passage then.
    /// `Busy` while somebody else waits for one, `Timeout` if none comes `within` the time.
    pub fn next_presented(&self, within: Duration) -> impl Future<Output = Result<Presented>> + Send + use<> {
        let presented = self.inner.reading.ask();
        async move {
            match tokio::time::timeout(within, presented?).await {
                Ok(Ok(presented)) => Ok(presented),
                Ok(Err(_)) => Err(Error::new(Kind::Stopped, "the gate is shutting down")),
                Err(_) => Err(Error::new(
                    Kind::Timeout,
                    format!("no card was presented within {} s", within.as_secs()),
                )),
            }
        }
    }

    /// From now on QR codes are weighed by whoever takes them from here; one at a time weighs them, the last who
    /// asked.
    pub fn qr_questions(&self) -> mpsc::Receiver<QrQuestion> {
        let (sender, questions) = mpsc::channel(WAITING_QUESTIONS);
        *self.inner.questions.lock() = Some(sender);
        questions
    }
}
