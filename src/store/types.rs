//! What goes into the store and comes out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::{Origin, Person, PersonKey, PersonKind, PrintedFacts, Reason};

/// Row of a person; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PersonRow(pub i64);

/// Row of a face; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FaceRow(pub i64);

/// Number of a record; counts up, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordId(pub i64);

/// Number of an outbox row; counts up, never reused, so that a sequence number can be made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutboxId(pub i64);

/// A face to be enrolled, already examined.
#[derive(Debug, Clone)]
pub struct NewFace {
    /// QYZN `faceId`.
    pub face_id: String,
    /// The picture, as it came.
    pub picture: Vec<u8>,
    /// Id of the model that made the template.
    pub model: String,
    /// The template's bytes, which only `vision` understands.
    pub template: Vec<u8>,
}

/// What the gallery must do after a commit: first forget, then learn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GalleryChange {
    /// Faces that are gone.
    pub forget: Vec<FaceRow>,
    /// Faces that are new.
    pub learn: Vec<Learned>,
}

/// What a removal of people did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Removed {
    /// How many people are gone.
    pub people: usize,
    /// Who was not there in the first place.
    pub missing: Vec<PersonKey>,
    /// What the gallery forgets.
    pub change: GalleryChange,
}

/// A face that is new in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The face.
    pub face: FaceRow,
    /// Whose.
    pub person: PersonRow,
    /// Id of the model that made the template.
    pub model: String,
    /// The template's bytes.
    pub template: Vec<u8>,
}

/// A person in a list.
#[derive(Debug, Clone)]
pub struct ListedPerson {
    /// The row.
    pub row: PersonRow,
    /// The person.
    pub person: Person,
    /// Ids of their faces.
    pub faces: Vec<(FaceRow, String)>,
}

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// People.
    pub people: u64,
    /// Faces.
    pub faces: u64,
    /// Records.
    pub records: u64,
    /// Bytes in use within the database file, by which the limits of size go.
    pub bytes: u64,
}

/// QYZN 4.6.1 `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordResult {
    /// 0: does not match.
    NoMatch,
    /// 1: matches and may pass.
    Granted,
    /// 2: matches, permission expired.
    Expired,
    /// 3: matches, outside the periods.
    OutOfSchedule,
}

impl RecordResult {
    /// The number in QYZN messages and in the store.
    pub fn number(self) -> u8 {
        match self {
            RecordResult::NoMatch => 0,
            RecordResult::Granted => 1,
            RecordResult::Expired => 2,
            RecordResult::OutOfSchedule => 3,
        }
    }
}

/// Who is told about a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// The QYZN platform (`snapshot_face`).
    Qyzn,
    /// HTTP push.
    HttpPush,
}

impl Destination {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Destination::Qyzn => "qyzn",
            Destination::HttpPush => "http_push",
        }
    }

    /// The reverse of [`Destination::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Destination::Qyzn, Destination::HttpPush].into_iter().find(|one| one.as_str() == text)
    }
}

/// Pictures of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureKind {
    /// The frame of the verdict.
    Snap,
    /// The photo of the document.
    Document,
}

impl PictureKind {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            PictureKind::Snap => "snap",
            PictureKind::Document => "document",
        }
    }

    /// The reverse of [`PictureKind::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [PictureKind::Snap, PictureKind::Document].into_iter().find(|one| one.as_str() == text)
    }
}

/// What happened, apart from its number and pictures. The person's facts are copied: the record must say
/// what was true then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordFacts {
    /// When the frame or credential of the verdict was captured, by the gate's clock.
    pub at: Timestamp,
    /// Offset of the gate's zone then, in seconds.
    pub utc_offset_s: i32,
    /// Who, where it is known.
    pub person: Option<PersonKey>,
    /// Which of their faces matched.
    pub face_id: Option<String>,
    /// The same visitor as other platforms know them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<AlsoKnown>,
    /// Their name, or the name on the document.
    pub name: String,
    /// White, black, visitor, stranger.
    pub person_kind: PersonKind,
    /// Identity number, never logged in clear.
    pub id_number: Option<String>,
    /// Card number.
    pub card: Option<String>,
    /// 0 to 100 on the calibrated scale; `None` where no face was compared.
    pub score: Option<f32>,
    /// Liveness 0 to 100; `None` where it was not asked for.
    pub liveness: Option<f32>,
    /// As the QYZN platform counts it.
    pub result: RecordResult,
    /// Why.
    pub reason: Reason,
    /// Whether the door was opened.
    pub opened: bool,
    /// Milliseconds from the capture to the verdict.
    pub latency_ms: u64,
    /// Degrees Celsius, where a sensor measured it.
    pub body_temp: Option<f32>,
    /// What was printed on the document that was read, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<PrintedFacts>,
    /// The kinds of credential that were presented, in their order: `face`, `card`, `document`, `qr`. Empty in
    /// records of versions that did not keep them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credentials: Vec<String>,
}

/// A visitor of a record as another platform knows them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlsoKnown {
    /// Who.
    pub person: PersonKey,
    /// Which of their faces matched.
    pub face_id: Option<String>,
    /// Their name there.
    pub name: String,
    /// White, black, visitor, stranger.
    pub person_kind: PersonKind,
    /// Identity number, never logged in clear.
    pub id_number: Option<String>,
    /// Card number.
    pub card: Option<String>,
}

/// A visitor of a record in the words of one platform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownTo<'a> {
    /// The id they have there.
    pub id: &'a str,
    /// Which of their faces matched.
    pub face_id: Option<&'a str>,
    /// Their name there.
    pub name: &'a str,
    /// White, black, visitor, stranger.
    pub person_kind: PersonKind,
    /// Identity number.
    pub id_number: Option<&'a str>,
    /// Card number.
    pub card: Option<&'a str>,
}

impl RecordFacts {
    /// The visitor as the platform `origin` knows them; `None` if it does not.
    pub fn known_to(&self, origin: Origin) -> Option<KnownTo<'_>> {
        match &self.person {
            Some(key) if key.origin == origin => Some(KnownTo {
                id: &key.id,
                face_id: self.face_id.as_deref(),
                name: &self.name,
                person_kind: self.person_kind,
                id_number: self.id_number.as_deref(),
                card: self.card.as_deref(),
            }),
            _ => self.also.iter().find(|also| also.person.origin == origin).map(|also| KnownTo {
                id: &also.person.id,
                face_id: also.face_id.as_deref(),
                name: &also.name,
                person_kind: also.person_kind,
                id_number: also.id_number.as_deref(),
                card: also.card.as_deref(),
            }),
        }
    }

    /// Everybody whom the record names: the one visitor by each of their names.
    pub fn people(&self) -> impl Iterator<Item = &PersonKey> {
        self.person.iter().chain(self.also.iter().map(|also| &also.person))
    }
}

/// A record to be stored.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// What happened.
    pub facts: RecordFacts,
    /// Pictures (JPEG).
    pub pictures: Vec<(PictureKind, Vec<u8>)>,
    /// Who is told.
    pub destinations: Vec<Destination>,
    /// Whether the passage counts of everybody whom the record names go down by one, where they have one; never
    /// below 0.
    pub spend: bool,
}

/// A stored record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Its number.
    pub id: RecordId,
    /// What happened.
    #[serde(flatten)]
    pub facts: RecordFacts,
    /// Pictures it has.
    pub pictures: Vec<PictureKind>,
    /// Who has not acknowledged it yet.
    pub undelivered: Vec<Destination>,
}

/// Something to deliver.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// Its number.
    pub id: OutboxId,
    /// The record.
    pub record: Record,
}

/// Which results of records are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Results {
    /// All but [`RecordResult::Granted`].
    Failed,
    /// [`RecordResult::Granted`].
    Granted,
    /// All.
    All,
}

impl Results {
    /// Whether records that were granted, or those that were not, are meant.
    pub(super) fn include(self, granted: bool) -> bool {
        match self {
            Results::Failed => !granted,
            Results::Granted => granted,
            Results::All => true,
        }
    }
}

/// Records by time and result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRange {
    /// From this instant, inclusive.
    pub from: Timestamp,
    /// To this instant, exclusive.
    pub before: Timestamp,
    /// With these results.
    pub results: Results,
}

/// What became of a range that was asked for again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedAgain {
    /// Records in the range.
    pub found: u64,
    /// Those of them that were waiting to be delivered already.
    pub waiting: u64,
}

/// What a round of retention removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Retained {
    /// Delivered records that were too old.
    pub by_age: u64,
    /// Delivered records that went for size.
    pub by_size: u64,
    /// Undelivered records that went because of the hard limit.
    pub undelivered: u64,
}

/// What a technician must be told, gathered by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
    /// How many times, or to how many things, in all.
    pub count: u64,
    /// The first time, by the gate's clock.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
}

/// Kinds of notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Records that no platform had acknowledged were removed, because the store had reached its hard limit.
    RecordsDropped,
    /// The store was damaged and has been rebuilt from what could be read.
    Salvaged,
}

impl NoticeKind {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::RecordsDropped => "records_dropped",
            NoticeKind::Salvaged => "salvaged",
        }
    }

    /// The reverse of [`NoticeKind::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [NoticeKind::RecordsDropped, NoticeKind::Salvaged].into_iter().find(|one| one.as_str() == text)
    }
}

/// Number of an incident; counts up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IncidentId(pub i64);

/// Something that happened at the gate's own contacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Its number.
    pub id: IncidentId,
    /// What.
    pub kind: IncidentKind,
    /// When it began, by the gate's clock.
    pub began: Timestamp,
    /// When it ended; `None` while it lasts.
    pub ended: Option<Timestamp>,
}

/// Kinds of incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IncidentKind {
    /// The exit button opened the door.
    ExitButton,
    /// The door was opened without an opening of the gate's.
    DoorForced,
    /// The door stood open for longer than it may.
    DoorHeld,
    /// The gate's case was opened.
    Tamper,
}

impl IncidentKind {
    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentKind::ExitButton => "exit_button",
            IncidentKind::DoorForced => "door_forced",
            IncidentKind::DoorHeld => "door_held",
            IncidentKind::Tamper => "tamper",
        }
    }

    /// The reverse of [`IncidentKind::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [IncidentKind::ExitButton, IncidentKind::DoorForced, IncidentKind::DoorHeld, IncidentKind::Tamper]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}
