//! SQLite: people, faces, records, outbox, settings. One thread writes, and several orders that wait at the
//! same time share one transaction and one fsync; reads have connections of their own.

use std::path::PathBuf;

use crate::access::{Origin, Person, PersonKey};
use crate::clock::SharedClock;
use crate::error::Result;

mod types;
pub use types::*;

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the database; made when it is absent.
    pub data_dir: PathBuf,
    /// Key, retention and limits.
    pub config: crate::config::Store,
}

/// A write that is under way. Resolves when it is on disk (fsynced), or has failed and changed nothing.
#[must_use = "a write that nobody waits for may fail unseen"]
pub struct Pending<T> {
    receiver: tokio::sync::oneshot::Receiver<Result<T>>,
}

impl<T> Pending<T> {
    /// Waits on a thread that is not the runtime's.
    pub fn wait(self) -> Result<T> {
        self.receiver.blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }
}

impl<T: Send + 'static> IntoFuture for Pending<T> {
    type Output = Result<T>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.receiver.await.unwrap_or_else(|_| Err(stopped())) })
    }
}

fn stopped() -> crate::Error {
    crate::Error::new(crate::Kind::Stopped, "the store has been closed")
}

#[allow(unused_variables, reason = "the bodies come with the store")]
impl Store {
    /// Opens the store, making or upgrading it as needed.
    pub fn open(options: &Options, clock: SharedClock) -> Result<Self> {
        unimplemented!()
    }

    // People. Each write answers with what the gallery must forget and learn, in the order of the commits.

    /// A new person; `Exists` if the key is taken.
    pub fn add_person(&self, person: Person) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// Edits a person in the writing transaction; `NotFound` without them. An error of `edit` changes nothing.
    pub fn edit_person(
        &self,
        key: PersonKey,
        edit: impl FnOnce(&mut Person) -> Result<()> + Send + 'static,
    ) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// A person with all their faces, in place of what the key had before.
    pub fn put_person(&self, person: Person, faces: Vec<NewFace>) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// Removes a person and all that belongs to them (records stay); `NotFound` without them.
    pub fn delete_person(&self, key: PersonKey) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// Removes everybody of one origin.
    pub fn clear_people(&self, origin: Origin) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// Adds a face or replaces the one with its id; `NotFound` without the person, `Input` beyond three.
    pub fn put_face(&self, key: PersonKey, face: NewFace) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// Removes one face; `NotFound` if it is not there.
    pub fn delete_face(&self, origin: Origin, face_id: String) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// Removes all faces of a person; `NotFound` without the person.
    pub fn delete_faces(&self, key: PersonKey) -> Pending<GalleryChange> {
        unimplemented!()
    }
    /// Gives a face a template of another model, if the face is still there (false if not).
    pub fn set_template(&self, face: FaceRow, model: String, template: Vec<u8>) -> Pending<bool> {
        unimplemented!()
    }

    /// A person by key.
    pub fn person(&self, key: &PersonKey) -> Result<Option<Person>> {
        unimplemented!()
    }
    /// A person by row, as the gallery names them.
    pub fn person_by_row(&self, row: PersonRow) -> Result<Option<Person>> {
        unimplemented!()
    }
    /// Everybody with this card (compared without leading zeros and case).
    pub fn people_by_card(&self, card: &str) -> Result<Vec<Person>> {
        unimplemented!()
    }
    /// Everybody with this identity number.
    pub fn people_by_id_number(&self, number: &str) -> Result<Vec<Person>> {
        unimplemented!()
    }
    /// People in the order of their rows after `after`, at most `limit`.
    pub fn list_people(&self, after: Option<PersonRow>, limit: usize) -> Result<Vec<ListedPerson>> {
        unimplemented!()
    }
    /// How many people and faces there are.
    pub fn counts(&self) -> Result<Counts> {
        unimplemented!()
    }
    /// The `faceId` of a face.
    pub fn face_id(&self, face: FaceRow) -> Result<Option<String>> {
        unimplemented!()
    }
    /// The picture a face was enrolled from.
    pub fn face_picture(&self, face: FaceRow) -> Result<Option<Vec<u8>>> {
        unimplemented!()
    }
    /// Calls `each` with every template of `model`.
    pub fn each_template(
        &self,
        model: &str,
        each: &mut dyn FnMut(FaceRow, PersonRow, &[u8]),
    ) -> Result<()> {
        unimplemented!()
    }
    /// Faces whose template is not of `model`, in the order of their rows after `after`, at most `limit`.
    pub fn faces_without(
        &self,
        model: &str,
        after: Option<FaceRow>,
        limit: usize,
    ) -> Result<Vec<(FaceRow, PersonRow)>> {
        unimplemented!()
    }

    // Records and outbox.

    /// Stores a record, its pictures, its outbox rows and the passage it spends, in one transaction.
    pub fn append_record(&self, record: NewRecord) -> Pending<RecordId> {
        unimplemented!()
    }
    /// Notes that the door was opened for a record after all, by the platform's answer.
    pub fn mark_opened(&self, record: RecordId) -> Pending<()> {
        unimplemented!()
    }
    /// Records, the newest first, before `before` (exclusive), at most `limit`.
    pub fn list_records(&self, before: Option<RecordId>, limit: usize) -> Result<Vec<Record>> {
        unimplemented!()
    }
    /// One record.
    pub fn record(&self, id: RecordId) -> Result<Option<Record>> {
        unimplemented!()
    }
    /// One picture of a record.
    pub fn record_picture(&self, id: RecordId, kind: PictureKind) -> Result<Option<Vec<u8>>> {
        unimplemented!()
    }
    /// Removes all records, their pictures and outbox rows (QYZN `record_clear`).
    pub fn clear_records(&self) -> Pending<u64> {
        unimplemented!()
    }
    /// What `destination` has not acknowledged, the oldest first, after `after`, at most `limit`.
    pub fn outbox(
        &self,
        destination: Destination,
        after: Option<OutboxId>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>> {
        unimplemented!()
    }
    /// How much `destination` has not acknowledged.
    pub fn outbox_len(&self, destination: Destination) -> Result<u64> {
        unimplemented!()
    }
    /// Marks an outbox row as acknowledged.
    pub fn delivered(&self, id: OutboxId) -> Pending<()> {
        unimplemented!()
    }
    /// When this person passed last.
    pub fn last_passage(&self, key: &PersonKey) -> Result<Option<jiff::Timestamp>> {
        unimplemented!()
    }
    /// Applies age and size limits now; also done by itself every few minutes.
    pub fn retain(&self) -> Pending<Retained> {
        unimplemented!()
    }

    // Settings: one text (JSON) by key.

    /// A value.
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        unimplemented!()
    }
    /// Sets a value.
    pub fn put_setting(&self, key: &str, value: String) -> Pending<()> {
        unimplemented!()
    }
    /// Closes the store after the writes that wait; later calls fail with `Stopped`.
    pub fn close(&self) {}
}
