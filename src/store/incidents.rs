//! What happened at the gate's own contacts: the exit button, the door, its case.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::records::timestamp;
use super::writer::Class;
use super::{Incident, IncidentId, IncidentKind, Pending, Store};
use crate::error::Result;

/// The newest incidents that are kept: a contact that rattles for a year must not fill the disk.
const KEPT: i64 = 10_000;

/// Incidents between two looks for those that may go.
const TIDIED_EVERY: i64 = 64;

impl Store {
    /// Stores that something began at `began`; `ended` where it is over already.
    pub fn append_incident(
        &self,
        kind: IncidentKind,
        began: Timestamp,
        ended: Option<Timestamp>,
    ) -> Pending<IncidentId> {
        self.order(Class::Plain, 128, move |desk| {
            let ended = ended.map(Timestamp::as_millisecond);
            desk.db
                .prepare_cached("INSERT INTO incidents (kind, began_ms, ended_ms) VALUES (?1, ?2, ?3)")?
                .execute(params![kind.as_str(), began.as_millisecond(), ended])?;
            let id = desk.db.last_insert_rowid();
            // Of each kind for itself: no number of pressed buttons pushes out a door that was forced. What lasts stays.
            if id % TIDIED_EVERY == 0 {
                desk.db
                    .prepare_cached(
                        "DELETE FROM incidents WHERE kind = ?1 AND ended_ms IS NOT NULL AND id <=
                         (SELECT id FROM incidents WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                    )?
                    .execute(params![kind.as_str(), KEPT])?;
            }
            Ok(IncidentId(id))
        })
    }

    /// Stores that what lasts of these kinds ended at `ended`, and says how many that were.
    pub fn end_incidents(&self, kinds: &[IncidentKind], ended: Timestamp) -> Pending<u64> {
        let kinds = kinds.to_vec();
        self.order(Class::Plain, 128, move |desk| {
            let mut count = 0;
            for kind in &kinds {
                count += desk
                    .db
                    .prepare_cached(
                        "UPDATE incidents SET ended_ms = ?2 WHERE kind = ?1 AND ended_ms IS NULL",
                    )?
                    .execute(params![kind.as_str(), ended.as_millisecond()])?;
            }
            Ok(count as u64)
        })
    }

    /// Incidents, the newest first, before `before` (exclusive), at most `limit`.
    pub fn list_incidents(&self, before: Option<IncidentId>, limit: usize) -> Result<Vec<Incident>> {
        let before = before.map_or(i64::MAX, |before| before.0);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|db| incidents(db, "WHERE id < ?1 ORDER BY id DESC LIMIT ?2", params![before, limit]))
    }

    /// Those that have not ended, the newest first.
    pub fn lasting_incidents(&self) -> Result<Vec<Incident>> {
        self.read(|db| incidents(db, "WHERE ended_ms IS NULL ORDER BY id DESC", params![]))
    }
}

fn incidents(db: &Connection, which: &str, values: impl rusqlite::Params) -> Result<Vec<Incident>> {
    let mut statement =
        db.prepare_cached(&format!("SELECT id, kind, began_ms, ended_ms FROM incidents {which}"))?;
    let mut rows = statement.query(values)?;
    let mut incidents = Vec::new();
    while let Some(row) = rows.next()? {
        // What a newer program wrote.
        let Some(kind) = IncidentKind::parse(&row.get::<_, String>(1)?) else { continue };
        incidents.push(Incident {
            id: IncidentId(row.get(0)?),
            kind,
            began: timestamp(row.get(2)?)?,
            ended: row.get::<_, Option<i64>>(3)?.map(timestamp).transpose()?,
        });
    }
    Ok(incidents)
}
