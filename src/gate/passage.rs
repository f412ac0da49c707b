//! What follows a verdict: the record, then the door, then everybody who listens.

use std::sync::Arc;

use serde_json::json;

use super::Inner;
use super::outputs::{OpenedBy, Opening};
use super::record::{self, Happened};
use super::sighting::Snap;
use crate::access::{Opens, Person, PersonKey};
use crate::config::OnStoreFailure;
use crate::error::Result;
use crate::store::{NewRecord, RecordId};
use crate::text::{self, Language};

/// What became of a verdict.
#[derive(Default)]
pub(super) struct Finished {
    /// Whose face it was.
    pub(super) track: Option<u64>,
    /// Who it was about.
    pub(super) person: Option<PersonKey>,
    /// Its record, whether the gate opened, and for whom.
    pub(super) record: Option<(RecordId, bool, Option<Arc<Person>>)>,
    /// Its record, if the store refused it.
    pub(super) unsaved: Option<NewRecord>,
    /// A record that was refused before has been taken.
    pub(super) saved: bool,
    /// Should have passed, and the door did not open.
    pub(super) kept_out: bool,
    /// A QR code that the platform must weigh.
    pub(super) asks: Option<Asked>,
}

/// A QR code that the platform must weigh.
pub(super) struct Asked {
    /// What it says.
    pub(super) content: String,
    /// The record of its presentation; `None` if the store refused it.
    pub(super) record: Option<RecordId>,
    /// Who presented it, where the gate knows.
    pub(super) person: Option<Arc<Person>>,
}

/// Record first, then the door: whoever has passed is in the record whatever happens to the power.
pub(super) async fn carry_out(gate: Arc<Inner>, happened: Happened, snap: Option<Snap>) -> Finished {
    let settings = gate.settings.load_full();
    let opens_now = happened.opens == Some(Opens::Gate);
    let mut finished = Finished {
        track: happened.track,
        person: happened.person.as_ref().map(|person| person.key.clone()),
        ..Finished::default()
    };
    let mut open_as = opens_now.then_some(OpenedBy::Unrecorded);
    if record::is_kept(happened.reason) {
        let snap = match snap {
            Some(snap) => snap.jpeg().await,
            None => None,
        };
        let mut new = record::compose(&gate, &settings, &happened, opens_now, snap);
        match gate.store.append_record(new.clone()).await {
            Ok(id) => {
                finished.record = Some((id, opens_now, happened.person.clone()));
                open_as = opens_now.then_some(OpenedBy::Record(id));
            }
            Err(error) => {
                tracing::error!(%error, "a record could not be stored: free space, then run `menshen check`");
                gate.events.send("store", json!({ "state": "failed", "error": error.to_string() }));
                if gate.config.on_store_failure == OnStoreFailure::Refuse {
                    open_as = None;
                    (new.facts.opened, new.spend) = (false, None);
                }
                finished.unsaved = Some(new);
            }
        }
    }
    let mut opened: Result<bool> = Ok(false);
    if let Some(by) = open_as {
        let opening = Opening::new(by, &settings, happened.person.as_deref());
        opened = gate.outputs.open(opening).await.map(|()| true);
    }
    if let Err(error) = &opened {
        tracing::error!(%error, "the door could not be opened");
    }
    let opened = opened.unwrap_or(false);
    finished.kept_out = opens_now && !opened;
    let record = finished.record.as_ref().map(|(id, ..)| *id);
    announce(&gate, &happened, record, opened);
    finished.asks = happened.qr_code().map(|content| Asked {
        content: content.to_owned(),
        record,
        person: happened.person.clone(),
    });
    finished
}

/// Tells everybody who listens.
fn announce(gate: &Inner, happened: &Happened, record: Option<RecordId>, opened: bool) {
    let latency = crate::clock::millis_between(happened.captured.into_std(), std::time::Instant::now());
    let passes = happened.opens.is_some();
    gate.events.send(
        "verdict",
        json!({
            "verdict": if passes { "pass" } else { "refuse" },
            "reason": happened.reason.as_str(),
            "text": {
                "zh-CN": text::reason(happened.reason, Language::Chinese),
                "en": text::reason(happened.reason, Language::English),
            },
            "person": happened.person.as_ref().map(|person| &person.key),
            "name": happened.person.as_ref().map(|person| &person.name),
            "credential": happened.credentials(),
            "score": happened.score(),
            "track": happened.track,
            "record": record,
            "opened": opened,
            "latency_ms": latency,
        }),
    );
    let sentence = match happened.opens {
        Some(Opens::Gate) if !opened => text::door_failed(gate.language),
        Some(Opens::Platform) => text::one_moment(gate.language),
        _ => text::reason(happened.reason, gate.language),
    };
    let shown = match &happened.person {
        Some(person) if passes => format!("{} {sentence}", person.name),
        _ => sentence.to_owned(),
    };
    gate.events.send("screen", json!({ "text": shown }));
    gate.events.send("voice", json!({ "text": sentence, "language": gate.language }));
    tracing::info!(
        reason = happened.reason.as_str(),
        opened,
        latency_ms = latency,
        record = record.map(|id| id.0),
        "verdict"
    );
}
