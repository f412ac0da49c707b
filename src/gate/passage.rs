//! What follows a verdict: the record, then the door, then everybody who listens.

use std::sync::Arc;

use serde_json::json;

use super::Inner;
use super::announce::announce;
use super::outputs::{OpenedBy, Opening};
use super::record::{self, Happened};
use super::sighting::Snap;
use crate::access::{Opens, Person, PersonKey, RemoteMode};
use crate::config::OnStoreFailure;
use crate::error::Result;
use crate::store::{NewRecord, RecordId};

/// What became of a verdict.
#[derive(Default)]
pub(super) struct Finished {
    /// Whose face it was.
    pub(super) track: Option<u64>,
    /// Who it was about, by each of their names.
    pub(super) people: Vec<PersonKey>,
    /// Its record, if it was stored.
    pub(super) record: Option<Stored>,
    /// Its record, if the store refused it.
    pub(super) unsaved: Option<NewRecord>,
    /// This was another try at a record that was refused before.
    pub(super) tried_again: bool,
    /// Should have passed, and the door did not open.
    pub(super) kept_out: bool,
    /// A QR code that the platform must weigh.
    pub(super) qr: Option<QrCode>,
}

/// A QR code that the platform must weigh.
pub(super) struct QrCode {
    /// What it says.
    pub(super) content: String,
    /// The record of its presentation; `None` if the store refused it.
    pub(super) record: Option<RecordId>,
    /// Who presented it, where the gate knows.
    pub(super) person: Option<Arc<Person>>,
}

/// What the sessions keep of a record while its platform may still answer it.
pub(super) struct Stored {
    pub(super) record: RecordId,
    /// The gate has opened.
    pub(super) opened: bool,
    pub(super) person: Option<Arc<Person>>,
    /// The door waits for the platform's answer, and whether the gate opens if none comes.
    pub(super) asks: Option<WithoutAnswer>,
}

/// What becomes of a visitor whose record the platform does not take in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WithoutAnswer {
    /// The gate opens: the platform decides only while it is there.
    Open,
    /// The door stays shut.
    StayShut,
}

/// Opens by a platform's answer, and notes it in the record that is on the disk already; `None` where the store refused
/// that. An error is the door's: what could not be noted is logged.
pub(super) async fn open_for(gate: &Inner, record: Option<RecordId>, person: Option<&Person>) -> Result<()> {
    let by = record.map_or(OpenedBy::Unrecorded, OpenedBy::Record);
    gate.outputs.open(Opening::new(by, &gate.settings.load(), person)).await?;
    if let Some(record) = record {
        match gate.store.mark_opened(record).await {
            Ok(()) => gate.events.send("record", json!({ "id": record, "state": "opened" })),
            Err(error) => tracing::error!(%error, "an opening could not be noted in its record"),
        }
    }
    Ok(())
}

/// The door did not open for somebody whose record says it did: the record is put right and the passage given back.
async fn not_opened(gate: &Inner, finished: &mut Finished) {
    if let Some(unsaved) = &mut finished.unsaved {
        (unsaved.facts.opened, unsaved.spend) = (false, false);
    }
    if let Some(stored) = &mut finished.record {
        stored.opened = false;
        if let Err(error) = gate.store.mark_not_opened(stored.record).await {
            tracing::error!(%error, "a door that did not open could not be noted in its record");
        }
    }
}

/// Record first, then the door: whoever has passed is in the record whatever happens to the power.
pub(super) async fn carry_out(gate: Arc<Inner>, happened: Happened, snap: Option<Snap>) -> Finished {
    let settings = gate.settings.load_full();
    let opens_now = happened.opens == Some(Opens::Gate);
    let mut finished = Finished { track: happened.track, people: happened.keys(), ..Finished::default() };
    let mut open_as = opens_now.then_some(OpenedBy::Unrecorded);
    if record::is_kept(happened.reason) {
        let snap = async {
            match snap {
                Some(snap) => snap.jpeg().await,
                None => None,
            }
        };
        let (snap, body_temp) = tokio::join!(snap, gate.hardware.temperature());
        let mut new = record::compose(&gate, &settings, &happened, opens_now, snap);
        new.facts.body_temp = body_temp;
        match gate.store.append_record(new.clone()).await {
            Ok(id) => {
                // A QR code is asked about by itself, not by its record.
                let by_record = happened.opens == Some(Opens::Platform) && happened.qr_code().is_none();
                let asks = by_record.then_some(match settings.rules.remote.mode {
                    RemoteMode::RemoteWhenOnline => WithoutAnswer::Open,
                    RemoteMode::Local | RemoteMode::Remote => WithoutAnswer::StayShut,
                });
                let person = happened.person.clone();
                finished.record = Some(Stored { record: id, opened: opens_now, person, asks });
                open_as = opens_now.then_some(OpenedBy::Record(id));
            }
            Err(error) => {
                tracing::error!(%error, "a record could not be stored: free space, then run `menshen check`");
                gate.events.send("store", json!({ "state": "failed", "error": error.to_string() }));
                let opens = match happened.opens {
                    Some(Opens::Gate) => true,
                    // The platform cannot be asked about a record that there is not.
                    Some(Opens::Platform) => {
                        settings.rules.remote.mode == RemoteMode::RemoteWhenOnline
                            && happened.qr_code().is_none()
                    }
                    None => false,
                } && gate.config.on_store_failure == OnStoreFailure::Open;
                open_as = opens.then_some(OpenedBy::Unrecorded);
                (new.facts.opened, new.spend) = (opens, opens && happened.person.is_some());
                finished.unsaved = Some(new);
            }
        }
    }
    let mut opened = false;
    if let Some(by) = open_as {
        let opening = Opening::new(by, &settings, happened.person.as_deref());
        match gate.outputs.open(opening).await {
            Ok(()) => opened = true,
            Err(error) => tracing::error!(%error, "the door could not be opened"),
        }
    }
    finished.kept_out = open_as.is_some() && !opened;
    if finished.kept_out {
        not_opened(&gate, &mut finished).await;
    }
    let record = finished.record.as_ref().map(|stored| stored.record);
    announce(&gate, &happened, record, opened);
    finished.qr = happened.qr_code().map(|content| QrCode {
        content: content.to_owned(),
        record,
        person: happened.person.clone(),
    });
    finished
}
