//! Records: what happened, with pictures, and the passages they spend.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::people::find;
use super::seal::{Place, Seal};
use super::writer::{Class, Desk};
use super::{
    NewRecord, Pending, PictureKind, Record, RecordFacts, RecordId, Store, bad_json, next_number, outbox,
};
use crate::access::{PersonKey, Reason};
use crate::error::{Error, Kind, Result};

/// Largest picture of a record, in bytes.
const PICTURE_BYTES: usize = 16 << 20;

impl Store {
    /// Stores a record, its pictures, its outbox rows and the passage it spends, in one transaction.
    ///
    /// Records wait in a room of their own of the queue, 1024 of them or 32 MiB, which nothing else can fill;
    /// only when the medium has stalled for that long is one answered `Busy`.
    pub fn append_record(&self, record: NewRecord) -> Pending<RecordId> {
        if let Some((kind, picture)) =
            record.pictures.iter().find(|(_, picture)| picture.len() > PICTURE_BYTES)
        {
            return Pending::ready(Err(Error::new(
                Kind::Input,
                format!(
                    "the {} picture of a record has {} bytes; at most {PICTURE_BYTES} can be stored",
                    kind.as_str(),
                    picture.len()
                ),
            )));
        }
        let bytes = record.pictures.iter().map(|(_, picture)| picture.len()).sum::<usize>() + 1024;
        self.order(Class::Record, bytes, move |desk| append(desk, &record))
    }

    /// Notes that the door was opened for a record after all, by the platform's answer. If its reason is
    /// `granted`, the passage is spent and remembered as if the record had been stored with it. Without effect
    /// on a record that is noted as opened already, or that has been removed meanwhile.
    pub fn mark_opened(&self, record: RecordId) -> Pending<()> {
        self.order(Class::Plain, 1024, move |desk| {
            let Some(mut facts) = facts(desk.db, desk.seal, record.0)? else { return Ok(()) };
            if facts.opened {
                return Ok(());
            }
            facts.opened = true;
            let sealed = seal_facts(desk.seal, record.0, &facts)?;
            desk.db
                .prepare_cached("UPDATE records SET facts = ?2 WHERE id = ?1")?
                .execute(params![record.0, sealed])?;
            if facts.reason == Reason::Granted {
                spend(desk.db, &facts)?;
            }
            note_passage(desk, &facts)
        })
    }

    /// The reverse of what [`Store::append_record`] did with a record that says the door opened, when it did not: the
    /// record says so, the passages are given back, and it is no last passage. Without effect on a record that does
    /// not say so, or that has been removed meanwhile.
    pub fn mark_not_opened(&self, record: RecordId) -> Pending<()> {
        self.order(Class::Plain, 1024, move |desk| {
            let Some(mut facts) = facts(desk.db, desk.seal, record.0)? else { return Ok(()) };
            if !std::mem::replace(&mut facts.opened, false) {
                return Ok(());
            }
            let sealed = seal_facts(desk.seal, record.0, &facts)?;
            desk.db
                .prepare_cached("UPDATE records SET facts = ?2 WHERE id = ?1")?
                .execute(params![record.0, sealed])?;
            for key in facts.people() {
                let Some(person) = find(desk.db, key)? else { continue };
                desk.db
                    .prepare_cached("UPDATE people SET passes_left = passes_left + 1 WHERE id = ?1")?
                    .execute([person.0])?;
                desk.db
                    .prepare_cached("DELETE FROM last_passage WHERE person = ?1 AND at_ms = ?2")?
                    .execute(params![person.0, facts.at.as_millisecond()])?;
            }
            Ok(())
        })
    }

    /// Records, the newest first, before `before` (exclusive), at most `limit`. A record that does not open
    /// is left out and logged.
    pub fn list_records(&self, before: Option<RecordId>, limit: usize) -> Result<Vec<Record>> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT id FROM records WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?;
            let ids = statement
                .query_map(
                    params![
                        before.map_or(i64::MAX, |record| record.0),
                        i64::try_from(limit).unwrap_or(i64::MAX)
                    ],
                    |row| row.get(0),
                )?
                .collect::<rusqlite::Result<Vec<i64>>>()?;
            Ok(ids
                .into_iter()
                .filter_map(|id| readable(load(db, self.seal(), id)).transpose())
                .flatten()
                .collect())
        })
    }

    /// One record.
    pub fn record(&self, id: RecordId) -> Result<Option<Record>> {
        self.read(|db| load(db, self.seal(), id.0))
    }

    /// One picture of a record.
    pub fn record_picture(&self, id: RecordId, kind: PictureKind) -> Result<Option<Vec<u8>>> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT picture FROM record_pictures WHERE record = ?1 AND kind = ?2")?;
            let mut rows = statement.query(params![id.0, kind.as_str()])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let sealed = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            self.seal().open(Place::RecordPicture { record: id.0, kind }, sealed).map(Some)
        })
    }

    /// Removes all records, their pictures and outbox rows (QYZN `record_clear`), and says how many they
    /// were. Numbers are not used again, and people's last passages stay.
    pub fn clear_records(&self) -> Pending<u64> {
        self.order(Class::Plain, 256, move |desk| {
            note_floors(desk.db)?;
            // Each table whole, which SQLite does without looking at every row; the cascade would.
            desk.db.execute("DELETE FROM asked_again", [])?;
            desk.db.execute("DELETE FROM record_times", [])?;
            desk.db.execute("DELETE FROM outbox", [])?;
            desk.db.execute("DELETE FROM record_pictures", [])?;
            Ok(desk.db.execute("DELETE FROM records", [])? as u64)
        })
    }

    /// When this person passed last: the time of the last record stored for them that opened the gate with
    /// the reason `granted`. It outlives the record, not the person.
    pub fn last_passage(&self, key: &PersonKey) -> Result<Option<Timestamp>> {
        self.read(|db| {
            let at: Option<i64> = db
                .prepare_cached(
                    "SELECT l.at_ms FROM last_passage l JOIN people p ON p.id = l.person
                     WHERE p.origin = ?1 AND p.key = ?2",
                )?
                .query_row(params![key.origin.as_str(), key.id], |row| row.get(0))
                .optional()?;
            at.map(timestamp).transpose()
        })
    }
}

/// A time of the store.
pub(super) fn timestamp(at_ms: i64) -> Result<Timestamp> {
    Timestamp::from_millisecond(at_ms)
        .map_err(|error| Error::caused(Kind::Store, "a time in the store is out of range", error))
}

fn append(desk: &Desk<'_>, record: &NewRecord) -> Result<RecordId> {
    let db = desk.db;
    let id = next_number(db, "records")?;
    let facts = seal_facts(desk.seal, id, &record.facts)?;
    db.prepare_cached("INSERT INTO records (id, lived_s, facts) VALUES (?1, ?2, ?3)")?.execute(params![
        id,
        desk.lived_s,
        facts
    ])?;
    note_time(db, id, &record.facts)?;
    for (kind, picture) in &record.pictures {
        let sealed = desk.seal.seal(Place::RecordPicture { record: id, kind: *kind }, picture)?;
        db.prepare_cached("INSERT INTO record_pictures (record, kind, picture) VALUES (?1, ?2, ?3)")?
            .execute(params![id, kind.as_str(), sealed])?;
    }
    for destination in &record.destinations {
        db.prepare_cached("INSERT INTO outbox (record, destination) VALUES (?1, ?2)")?
            .execute(params![id, destination.as_str()])?;
    }
    if record.spend {
        spend(db, &record.facts)?;
    }
    note_passage(desk, &record.facts)?;
    Ok(RecordId(id))
}

/// Writes down, in clear, when a record was made and how it ended.
pub(super) fn note_time(db: &Connection, record: i64, facts: &RecordFacts) -> Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO record_times (record, at_ms, result) VALUES (?1, ?2, ?3)")?
        .execute(params![record, facts.at.as_millisecond(), facts.result.number()])?;
    Ok(())
}

/// Takes one passage from everybody named who has a count, never below 0.
fn spend(db: &Connection, facts: &RecordFacts) -> Result<()> {
    for key in facts.people() {
        db.prepare_cached(
            "UPDATE people SET passes_left = passes_left - 1
             WHERE origin = ?1 AND key = ?2 AND passes_left > 0",
        )?
        .execute(params![key.origin.as_str(), key.id])?;
    }
    Ok(())
}

/// The last one stored wins, not the latest by the clock: after the clock was ahead for a while, a passage of
/// now must count.
fn note_passage(desk: &Desk<'_>, facts: &RecordFacts) -> Result<()> {
    if !facts.opened || facts.reason != Reason::Granted {
        return Ok(());
    }
    for key in facts.people() {
        let Some(person) = find(desk.db, key)? else { continue };
        desk.db
            .prepare_cached("INSERT OR REPLACE INTO last_passage (person, at_ms) VALUES (?1, ?2)")?
            .execute(params![person.0, facts.at.as_millisecond()])?;
    }
    Ok(())
}

fn seal_facts(seal: &Seal, record: i64, facts: &RecordFacts) -> Result<Vec<u8>> {
    let json = serde_json::to_vec(facts)
        .map_err(|error| Error::caused(Kind::Input, "a record cannot be written as JSON", error))?;
    seal.seal(Place::RecordFacts { record }, &json)
}

/// Opens `records.facts`.
pub(super) fn open_facts(seal: &Seal, record: i64, sealed: &[u8]) -> Result<RecordFacts> {
    let json = seal.open(Place::RecordFacts { record }, sealed)?;
    serde_json::from_slice(&json).map_err(bad_json(&format!("records.facts of row {record}")))
}

fn facts(db: &Connection, seal: &Seal, record: i64) -> Result<Option<RecordFacts>> {
    let mut statement = db.prepare_cached("SELECT facts FROM records WHERE id = ?1")?;
    let mut rows = statement.query([record])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    open_facts(seal, record, row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?).map(Some)
}

/// A whole record.
pub(super) fn load(db: &Connection, seal: &Seal, id: i64) -> Result<Option<Record>> {
    let Some(facts) = facts(db, seal, id)? else { return Ok(None) };
    let mut statement =
        db.prepare_cached("SELECT kind FROM record_pictures WHERE record = ?1 ORDER BY id")?;
    let kinds = statement.query_map([id], |row| row.get::<_, String>(0))?;
    let pictures = kinds
        .map(|kind| Ok(PictureKind::parse(&kind?)))
        .filter_map(|kind: rusqlite::Result<_>| kind.transpose())
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Record { id: RecordId(id), facts, pictures, undelivered: outbox::undelivered(db, id)? }))
}

/// Within a list, what does not open is logged and left out, so that one damaged record does not hide the rest.
pub(super) fn readable<T>(loaded: Result<Option<T>>) -> Result<Option<T>> {
    match loaded {
        Err(error) if error.kind() == Kind::Store => {
            tracing::error!(%error, "a record is left out");
            Ok(None)
        }
        loaded => loaded,
    }
}

/// Keeps a second copy of the numbers given out, before rows that prove them are removed.
pub(super) fn note_floors(db: &Connection) -> Result<()> {
    db.prepare_cached(
        "INSERT OR REPLACE INTO meta (key, value)
         SELECT 'floors', CAST(json_group_object(name, seq) AS BLOB) FROM sqlite_sequence",
    )?
    .execute([])?;
    Ok(())
}

/// Removes one record and all that belongs to it.
pub(super) fn remove(db: &Connection, record: i64) -> Result<()> {
    db.prepare_cached("DELETE FROM records WHERE id = ?1")?.execute([record])?;
    Ok(())
}
