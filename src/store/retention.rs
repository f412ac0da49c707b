//! What goes when, and what the technician is told.
//!
//! 1. Delivered records (acknowledged by everybody who is told, or nobody is told) go when they are older than
//!    `store.keep_days`.
//! 2. Above `store.soft_limit_mib` the oldest delivered records go.
//! 3. Above `store.hard_limit_mib` the oldest records go, delivered or not; the technician is told how many
//!    were not.
//!
//! A record that is asked for again stays as one that is not delivered, except that it is not missed when it
//! goes at the hard limit, and that it gives way to new ones on a full disk: it was delivered once.
//!
//! "Oldest" is always the order in which records were stored. The newest [`SPARED`] records never go for size:
//! a store that is full of people must not eat each record as it comes. Enrolment stops at the hard limit.
//!
//! # Age without trust in the clock
//! A gate's clock is wrong now and then: the battery is empty and it begins in 1970, or somebody sets the
//! wrong year. Measured by it, all records would be old at once, and the next round would remove them. So the
//! age of a record is not the clock's: the store counts how long it has lived ([`Lived`]), by the monotonic
//! clock while it runs, and each record is stamped with that count. The time between two runs has to come from
//! the clock, and is believed only when it lies ahead of the latest time ever seen, by at most a month. A wrong
//! clock can thus make records stay longer, and no jump by a year can make them go.

use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::records::{note_floors, remove, timestamp};
use super::sqlite::used_bytes;
use super::writer::{Class, Desk};
use super::{Notice, NoticeKind, Pending, Retained, Store, bad_json, read_only};
use crate::error::Result;

/// Records that never go for size.
const SPARED: i64 = 256;
/// The same on a full disk, where each new record costs old ones.
const SPARED_WHEN_FULL: i64 = 16;
/// Records removed in one transaction, so that nobody waits long behind it.
const STEP: usize = 64;
/// Records removed before the size is looked at again.
const CHUNK: usize = 8;
/// The most time without power that is believed.
const ABSENCE_S: i64 = 31 * DAY_S;
const DAY_S: i64 = 86_400;

impl Store {
    /// Applies age and size limits now; also done by itself every few minutes.
    pub fn retain(&self) -> Pending<Retained> {
        match &self.inner.queue {
            Some(queue) => Pending { receiver: queue.retain() },
            None => Pending::ready(Err(read_only())),
        }
    }

    /// What the technician must be told, the latest last.
    pub fn notices(&self) -> Result<Vec<Notice>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT kind, count, first_ms, last_ms FROM notices ORDER BY last_ms, kind",
            )?;
            let mut rows = statement.query([])?;
            let mut notices = Vec::new();
            while let Some(row) = rows.next()? {
                let Some(kind) = NoticeKind::parse(&row.get::<_, String>(0)?) else { continue };
                notices.push(Notice {
                    kind,
                    count: row.get::<_, i64>(1)?.max(0) as u64,
                    first: timestamp(row.get(2)?)?,
                    last: timestamp(row.get(3)?)?,
                });
            }
            Ok(notices)
        })
    }

    /// Removes the notices, once the technician has read them.
    pub fn clear_notices(&self) -> Pending<()> {
        self.order(Class::Plain, 64, |desk| {
            desk.db.execute("DELETE FROM notices", [])?;
            Ok(())
        })
    }
}

/// Adds to a notice.
pub(super) fn notice(db: &Connection, kind: NoticeKind, count: u64, now_ms: i64) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO notices (kind, count, first_ms, last_ms) VALUES (?1, ?2, ?3, ?3)
         ON CONFLICT (kind) DO UPDATE SET count = count + excluded.count, last_ms = excluded.last_ms",
    )?
    .execute(params![kind.as_str(), i64::try_from(count).unwrap_or(i64::MAX), now_ms])?;
    Ok(())
}

impl Retained {
    /// Tells the log, if there is anything to tell.
    pub(super) fn log(&self) {
        if self.undelivered > 0 {
            tracing::warn!(
                records = self.undelivered,
                "records that no platform had acknowledged were removed: the store had reached store.hard_limit_mib"
            );
        }
        if self.by_age + self.by_size > 0 {
            tracing::info!(by_age = self.by_age, by_size = self.by_size, "delivered records were removed");
        }
    }
}

/// How long the store has lived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lived {
    seconds: i64,
    since: Instant,
    latest_ms: i64,
}

/// `meta.lived`.
#[derive(Serialize, Deserialize)]
struct Saved {
    /// Seconds lived.
    seconds: i64,
    /// The latest time the gate's clock ever showed, in milliseconds since 1970.
    latest_ms: i64,
}

impl Lived {
    /// What was saved, and the absence since then as far as it is believed.
    pub(super) fn load(db: &Connection, now_ms: i64) -> Result<Self> {
        let saved: Option<Vec<u8>> =
            db.query_row("SELECT value FROM meta WHERE key = 'lived'", [], |row| row.get(0)).optional()?;
        let (seconds, latest_ms) = match saved {
            None => (0, now_ms),
            Some(saved) => {
                let saved = match serde_json::from_slice(&saved).map_err(bad_json("meta.lived")) {
                    Ok(saved) => saved,
                    // Not worth a shut gate: the youngest record tells nearly as much.
                    Err(error) => {
                        tracing::error!(%error, "the age of the store is taken from its records");
                        let seconds =
                            db.query_row("SELECT ifnull(max(lived_s), 0) FROM records", [], |row| {
                                row.get(0)
                            })?;
                        Saved { seconds, latest_ms: now_ms }
                    }
                };
                let absence_s = now_ms.saturating_sub(saved.latest_ms) / 1000;
                let believed = if (0..=ABSENCE_S).contains(&absence_s) { absence_s } else { 0 };
                (saved.seconds.saturating_add(believed), saved.latest_ms.max(now_ms))
            }
        };
        Ok(Self { seconds, since: Instant::now(), latest_ms })
    }

    /// Seconds lived until now.
    pub(super) fn now(&self) -> i64 {
        self.seconds.saturating_add(i64::try_from(self.since.elapsed().as_secs()).unwrap_or(i64::MAX))
    }

    /// Saves it, for the next start.
    pub(super) fn save(&mut self, db: &Connection, now_ms: i64) -> Result<()> {
        self.latest_ms = self.latest_ms.max(now_ms);
        let saved = serde_json::to_vec(&Saved { seconds: self.now(), latest_ms: self.latest_ms })
            .map_err(bad_json("meta.lived"))?;
        db.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('lived', ?1)")?
            .execute(params![saved])?;
        Ok(())
    }
}

/// Whether what was saved can be read and does not lie before `latest`, the youngest record's count.
pub(super) fn lived_is_sound(db: &Connection, latest: i64) -> bool {
    let saved: rusqlite::Result<Option<Vec<u8>>> =
        db.query_row("SELECT value FROM meta WHERE key = 'lived'", [], |row| row.get(0)).optional();
    match saved {
        Ok(None) => latest <= DAY_S,
        Ok(Some(saved)) => serde_json::from_slice::<Saved>(&saved)
            // What was lived since the last save is lost with the power.
            .is_ok_and(|saved| saved.seconds.saturating_add(DAY_S) >= latest && saved.seconds >= 0),
        Err(_) => false,
    }
}

/// Begins again at the youngest record's count.
pub(super) fn restore_lived(db: &Connection, latest: i64) -> Result<()> {
    let saved = Saved { seconds: latest, latest_ms: jiff::Timestamp::now().as_millisecond() };
    let saved = serde_json::to_vec(&saved).map_err(bad_json("meta.lived"))?;
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('lived', ?1)", [saved])?;
    Ok(())
}

/// A round of retention, in steps of one short transaction each.
#[derive(Debug, Clone, Default)]
pub(super) struct Round {
    /// What has gone so far.
    pub(super) retained: Retained,
    /// Instead of the configured limits: only delivered records, until the store has at most so many bytes.
    to_size: Option<u64>,
    /// Delivered records up to this one have been looked at for size.
    delivered_to: i64,
}

/// Owed to nobody; within `FROM records r`.
const DELIVERED: &str = "NOT EXISTS (SELECT 1 FROM outbox o WHERE o.record = r.id AND o.delivered = 0)";
/// Not asked for again by anybody; the same.
const AT_REST: &str = "NOT EXISTS (SELECT 1 FROM outbox o JOIN asked_again a ON a.outbox = o.id
                                   WHERE o.record = r.id)";

impl Round {
    /// A round for a full disk.
    pub(super) fn to_size(bytes: u64) -> Self {
        Self { to_size: Some(bytes), ..Self::default() }
    }

    /// Removes at most [`STEP`] records; whether there is more to do. The transaction is the caller's.
    pub(super) fn step(&mut self, desk: &Desk<'_>, limits: &crate::config::Store) -> Result<bool> {
        let db = desk.db;
        let mut removed = 0;
        let mut floors = false;
        let mut remove_all = |ids: &[i64]| -> Result<()> {
            if !floors && !ids.is_empty() {
                note_floors(db)?;
                floors = true;
            }
            ids.iter().try_for_each(|id| remove(db, *id))
        };

        let (soft, hard, spared) = match self.to_size {
            Some(bytes) => (bytes, u64::MAX, SPARED_WHEN_FULL),
            None => (limits.soft_limit_mib << 20, limits.hard_limit_mib << 20, SPARED),
        };
        let horizon = desk.lived_s - i64::from(limits.keep_days) * DAY_S;
        let old = numbers(
            db,
            &format!(
                "SELECT id FROM records r WHERE lived_s <= ?1 AND {DELIVERED} AND {AT_REST}
                 ORDER BY lived_s, id LIMIT ?2"
            ),
            params![horizon, STEP as i64],
        )?;
        remove_all(&old)?;
        removed += old.len();
        self.retained.by_age += old.len() as u64;

        let newest: Option<i64> = db.query_row("SELECT max(id) FROM records", [], |row| row.get(0))?;
        let spared_from = newest.unwrap_or(0) - spared;
        // On a full disk what was delivered once gives way to what never was.
        let and_at_rest = if self.to_size.is_some() { String::new() } else { format!("AND {AT_REST}") };
        while removed < STEP && used_bytes(db)? > soft {
            let oldest = numbers(
                db,
                &format!(
                    "SELECT id FROM records r WHERE id > ?1 AND id <= ?2 AND {DELIVERED} {and_at_rest}
                     ORDER BY id LIMIT ?3"
                ),
                params![self.delivered_to, spared_from, CHUNK as i64],
            )?;
            let Some(last) = oldest.last() else { break };
            self.delivered_to = *last;
            remove_all(&oldest)?;
            removed += oldest.len();
            self.retained.by_size += oldest.len() as u64;
        }

        let mut undelivered = 0;
        while removed < STEP && used_bytes(db)? > hard {
            let oldest = numbers(
                db,
                "SELECT id FROM records WHERE id <= ?1 ORDER BY id LIMIT ?2",
                params![spared_from, CHUNK as i64],
            )?;
            let Some(last) = oldest.last() else { break };
            let delivered = numbers(
                db,
                &format!("SELECT id FROM records r WHERE id <= ?1 AND {DELIVERED}"),
                params![last],
            )?;
            remove_all(&oldest)?;
            removed += oldest.len();
            undelivered += (oldest.len() - delivered.len()) as u64;
            self.retained.by_size += delivered.len() as u64;
        }
        if undelivered > 0 {
            notice(db, NoticeKind::RecordsDropped, undelivered, desk.now_ms)?;
            self.retained.undelivered += undelivered;
        }
        Ok(removed >= STEP)
    }
}

fn numbers(db: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<i64>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(values, |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
