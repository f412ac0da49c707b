//! The runtime of the gate, and the only place where cameras, models, rules, store and outputs meet.
//! [`Gate`] is what platforms and services hold of it.

pub mod enrol;
pub mod settings;

use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::watch;

use crate::access::{Origin, Person, PersonKey};
use crate::clock::SharedClock;
use crate::error::Result;
use crate::event::Events;
use crate::store::{RecordId, Store};
use settings::Settings;

/// Who gave an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderedBy {
    /// A platform.
    Platform(Origin),
    /// A technician, by page or console.
    Technician,
    /// The exit button.
    Button,
}

/// A picture of what the camera sees now, for a page.
#[derive(Debug, Clone)]
pub struct LiveFrame {
    /// Counts up.
    pub number: u64,
    /// The picture as JPEG.
    pub jpeg: Arc<[u8]>,
    /// Width and height in pixels: faces in `face` events are in these coordinates.
    pub size: (u32, u32),
}

/// A change of people, as a platform or a technician orders it.
#[derive(Debug)]
pub enum PeopleChange {
    /// A new person without a picture. `Exists` if the key is taken.
    Add(Person),
    /// Some facts of a person that is there. `NotFound` if not.
    Update(PersonKey, PersonPatch),
    /// A person with all their pictures, in place of what was there under the key.
    Put(Person, Vec<NewPicture>),
    /// A person and all that belongs to them. `NotFound` if not there.
    Delete(PersonKey),
    /// Everybody of one origin.
    Clear(Origin),
    /// A picture more (or in place of the one with that id), at most three. `NotFound` without the person.
    AddFace(PersonKey, NewPicture),
    /// One picture by its id. `NotFound` if not there.
    DeleteFace(Origin, String),
    /// All pictures of a person. `NotFound` without the person.
    DeleteFaces(PersonKey),
}

/// A picture that enrols somebody.
#[derive(Debug, Clone)]
pub struct NewPicture {
    /// QYZN `faceId`, 1 to 64 bytes.
    pub face_id: String,
    /// JPEG or PNG.
    pub bytes: Vec<u8>,
}

/// Facts to change; `None` leaves a fact as it is, `Some(None)` removes it.
#[derive(Debug, Clone, Default)]
pub struct PersonPatch {
    /// `personCode`.
    pub code: Option<String>,
    /// `name`.
    pub name: Option<String>,
    /// `type`.
    pub kind: Option<crate::access::PersonKind>,
    /// `idNum`.
    pub id_number: Option<Option<String>>,
    /// `icNum`.
    pub card: Option<Option<String>>,
    /// `passNum`.
    pub passes_left: Option<Option<u32>>,
    /// `startTime`.
    pub valid_from: Option<Option<crate::access::Bound>>,
    /// `expireTime`.
    pub valid_until: Option<Option<crate::access::Bound>>,
    /// `passMonday` … `passSunday`, Monday first.
    pub days: [Option<bool>; 7],
    /// `passPeriod`.
    pub periods: Option<Option<crate::access::Periods>>,
    /// `extPassRule`.
    pub extended: Option<Option<crate::access::ExtendedSchedule>>,
    /// `passMode`.
    pub mode: Option<Option<crate::access::PassMode>>,
}

/// What platforms and services hold of the gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    clock: SharedClock,
    events: Events,
    store: Store,
    settings: ArcSwap<Settings>,
    live: watch::Sender<Option<LiveFrame>>,
}

impl Gate {
    /// The clock of the agent.
    pub fn clock(&self) -> &SharedClock {
        &self.inner.clock
    }

    /// What happens at the gate.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// The store, for reading and for a platform's own outbox.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.settings.load_full()
    }

    /// Changes settings: `change` edits a copy, which is checked, stored and then put in force.
    /// Nothing changes on an error.
    pub async fn change_settings(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<()> + Send,
    ) -> Result<()> {
        let _ = change;
        unimplemented!("written with the gate")
    }

    /// What the camera sees; pictures are only made while somebody holds a receiver.
    pub fn live(&self) -> watch::Receiver<Option<LiveFrame>> {
        self.inner.live.subscribe()
    }

    /// Opens the door once. Ok when the relay has been ordered.
    pub async fn open_door(&self, by: OrderedBy) -> Result<()> {
        let _ = by;
        unimplemented!("written with the gate")
    }

    /// The platform's answer to a record (`opendoor`): opens, or ends the wait for it. A late answer, for a
    /// session that is over, does nothing.
    pub async fn answer_record(&self, record: RecordId, open: bool) -> Result<()> {
        let _ = (record, open);
        unimplemented!("written with the gate")
    }

    /// Shows a text to the visitor (`screenDisp`).
    pub fn show(&self, text: &str) {
        self.inner.events.send("screen", serde_json::json!({ "text": text }));
    }

    /// Changes people. Pictures are examined on the enrolment threads; Ok when the change is on disk and in
    /// the gallery. Changes that one caller makes one after the other keep their order; a caller may have
    /// many under way at once: they are examined side by side and committed in the order of the calls
    /// (the order in which this function was called, not first polled).
    pub fn change_people(&self, change: PeopleChange) -> impl Future<Output = Result<()>> + Send + 'static {
        let _ = change;
        async { unimplemented!("written with the gate") }
    }
}
