//! What follows a verdict: the record, then the door, then everybody who listens.

use std::sync::Arc;

use serde_json::json;

use super::Inner;
use super::announce::announce;
use super::outputs::{OpenedBy, Opening};
use super::record::{self, Happened};
use super::sighting::Snap;
use crate::access::{Opens, Person, PersonKey};
use crate::config::OnStoreFailure;
use crate::error::Result;
use crate::store::{NewRecord, RecordId};

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
    announce(&gate, &happened, finished.record.as_ref().map(|(id, ..)| *id), opened);
    finished
}
