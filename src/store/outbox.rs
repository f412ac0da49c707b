//! The outbox: what a platform has not acknowledged, and what it asks for again.

use rusqlite::{Connection, Row, params};

use super::records::{self, readable};
use super::writer::{Class, Desk};
use super::{AskedAgain, Destination, OutboxEntry, OutboxId, Pending, RecordRange, Store};
use crate::error::Result;

/// Records that one order looks at when a range is asked for again, so that a passage that is stored meanwhile
/// waits for some milliseconds and not for 100 000 records.
const ASKED_AT_ONCE: usize = 512;

impl Store {
    /// What `destination` has not acknowledged, the oldest first, after `after`, at most `limit`. A record
    /// that does not open is left out and logged.
    pub fn outbox(
        &self,
        destination: Destination,
        after: Option<OutboxId>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>> {
        self.waiting(destination, after, None, limit)
    }

    /// The oldest that `destination` has not acknowledged, after `after` and up to `upto`.
    pub fn next_waiting(
        &self,
        destination: Destination,
        after: Option<OutboxId>,
        upto: Option<OutboxId>,
    ) -> Result<Option<OutboxEntry>> {
        Ok(self.waiting(destination, after, upto, 1)?.pop())
    }

    fn waiting(
        &self,
        destination: Destination,
        after: Option<OutboxId>,
        upto: Option<OutboxId>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT id, record FROM outbox
                 WHERE destination = ?1 AND delivered = 0 AND id > ?2 AND id <= ?3 ORDER BY id",
            )?;
            let mut rows = statement.query(params![
                destination.as_str(),
                after.map_or(0, |id| id.0),
                upto.map_or(i64::MAX, |id| id.0)
            ])?;
            self.entries(db, &mut rows, limit)
        })
    }

    /// The oldest, by its number, that `destination` asks for again, after `after`.
    pub fn next_asked_again(
        &self,
        destination: Destination,
        after: Option<OutboxId>,
    ) -> Result<Option<OutboxEntry>> {
        self.read(|db| {
            // Whatever is owed in the first place goes by itself.
            let mut statement = db.prepare_cached(
                "SELECT o.id, o.record FROM asked_again a JOIN outbox o ON o.id = a.outbox
                 WHERE a.outbox > ?2 AND o.destination = ?1 AND o.delivered = 1 ORDER BY a.outbox",
            )?;
            let mut rows = statement.query(params![destination.as_str(), after.map_or(0, |id| id.0)])?;
            Ok(self.entries(db, &mut rows, 1)?.pop())
        })
    }

    fn entries(
        &self,
        db: &Connection,
        rows: &mut rusqlite::Rows<'_>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>> {
        let mut entries = Vec::new();
        // The limit counts what can be sent, so that damaged rows cannot hide those behind them.
        while entries.len() < limit {
            let Some(row) = rows.next()? else { break };
            let id = OutboxId(row.get(0)?);
            if let Some(record) = readable(records::load(db, self.seal(), row.get(1)?))? {
                entries.push(OutboxEntry { id, record });
            }
        }
        Ok(entries)
    }

    /// The newest that `destination` has not acknowledged.
    pub fn newest_waiting(&self, destination: Destination) -> Result<Option<OutboxId>> {
        self.read(|db| {
            let newest: Option<i64> = db
                .prepare_cached("SELECT max(id) FROM outbox WHERE destination = ?1 AND delivered = 0")?
                .query_row([destination.as_str()], |row| row.get(0))?;
            Ok(newest.map(OutboxId))
        })
    }

    /// How much `destination` has not acknowledged.
    pub fn outbox_len(&self, destination: Destination) -> Result<u64> {
        self.read(|db| {
            let count: i64 = db
                .prepare_cached("SELECT count(*) FROM outbox WHERE destination = ?1 AND delivered = 0")?
                .query_row([destination.as_str()], |row| row.get(0))?;
            Ok(count.max(0) as u64)
        })
    }

    /// How much `destination` has asked for again and not acknowledged since.
    pub fn asked_again_len(&self, destination: Destination) -> Result<u64> {
        self.read(|db| {
            let count: i64 = db
                .prepare_cached(
                    "SELECT count(*) FROM asked_again a JOIN outbox o ON o.id = a.outbox
                     WHERE o.destination = ?1 AND o.delivered = 1",
                )?
                .query_row([destination.as_str()], |row| row.get(0))?;
            Ok(count.max(0) as u64)
        })
    }

    /// Marks an outbox row as acknowledged. Without effect on one that is marked already, or that was removed
    /// while it was on its way.
    pub fn delivered(&self, id: OutboxId) -> Pending<()> {
        self.order(Class::Plain, 64, move |desk| {
            desk.db
                .prepare_cached("UPDATE outbox SET delivered = 1 WHERE id = ?1 AND delivered = 0")?
                .execute([id.0])?;
            Ok(())
        })
    }

    /// Marks an outbox row as no longer asked for again. Without effect on one that is not.
    pub fn delivered_again(&self, id: OutboxId) -> Pending<()> {
        self.order(Class::Plain, 64, move |desk| {
            desk.db.prepare_cached("DELETE FROM asked_again WHERE outbox = ?1")?.execute([id.0])?;
            Ok(())
        })
    }

    /// Has all records of a range that are in the store now delivered to `destination` once more, with the
    /// outbox rows they have; a record that was made before `destination` was told anything gets one. What
    /// waits to be delivered, for the first time or again, is counted and does not come twice.
    ///
    /// Many records take several orders, between which others get their turn. An error may thus leave a part
    /// of them asked for; asking once more does the rest.
    pub async fn ask_again(&self, destination: Destination, range: RecordRange) -> Result<AskedAgain> {
        let mut asked = AskedAgain::default();
        let mut place = None;
        loop {
            let step = self
                .order(Class::Plain, 64 * ASKED_AT_ONCE, move |desk| ask(desk, destination, range, place))
                .await?;
            asked.found += step.asked.found;
            asked.waiting += step.asked.waiting;
            match step.rest {
                Some(rest) => place = Some(rest),
                None => return Ok(asked),
            }
        }
    }
}

/// Where the next order of an [`Store::ask_again`] goes on.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The last that was looked at.
    at_ms: i64,
    record: i64,
    /// The newest record when it was asked: what is made meanwhile goes out by itself.
    newest: i64,
}

struct Step {
    asked: AskedAgain,
    rest: Option<Place>,
}

/// A record in a range.
struct Candidate {
    at_ms: i64,
    record: i64,
    granted: bool,
    /// Its outbox row, and whether that is delivered.
    outbox: Option<(i64, bool)>,
}

impl Candidate {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let outbox: Option<i64> = row.get(3)?;
        let outbox = outbox.map(|id| row.get(4).map(|delivered| (id, delivered))).transpose()?;
        let result: i64 = row.get(2)?;
        Ok(Self { at_ms: row.get(0)?, record: row.get(1)?, granted: result == 1, outbox })
    }
}

fn ask(desk: &Desk<'_>, destination: Destination, range: RecordRange, place: Option<Place>) -> Result<Step> {
    let db = desk.db;
    let place = match place {
        Some(place) => place,
        None => Place {
            at_ms: range.from.as_millisecond().saturating_sub(1),
            record: i64::MAX,
            newest: db.query_row("SELECT ifnull(max(id), 0) FROM records", [], |row| row.get(0))?,
        },
    };
    let candidates = {
        let mut statement = db.prepare_cached(
            "SELECT t.at_ms, t.record, t.result, o.id, o.delivered
             FROM record_times t LEFT JOIN outbox o ON o.record = t.record AND o.destination = ?1
             WHERE (t.at_ms, t.record) > (?2, ?3) AND t.at_ms < ?4 AND t.record <= ?5
             ORDER BY t.at_ms, t.record LIMIT ?6",
        )?;
        let values = params![
            destination.as_str(),
            place.at_ms,
            place.record,
            range.before.as_millisecond(),
            place.newest,
            ASKED_AT_ONCE as i64
        ];
        let rows = statement.query_map(values, Candidate::read)?;
        rows.collect::<rusqlite::Result<Vec<_>>>()?
    };
    let mut asked = AskedAgain::default();
    for candidate in &candidates {
        if !range.results.include(candidate.granted) {
            continue;
        }
        asked.found += 1;
        let outbox = match candidate.outbox {
            Some((_, false)) => {
                asked.waiting += 1;
                continue;
            }
            Some((id, true)) => id,
            None => {
                db.prepare_cached("INSERT INTO outbox (record, destination, delivered) VALUES (?1, ?2, 1)")?
                    .execute(params![candidate.record, destination.as_str()])?;
                db.last_insert_rowid()
            }
        };
        let added =
            db.prepare_cached("INSERT OR IGNORE INTO asked_again (outbox) VALUES (?1)")?.execute([outbox])?;
        asked.waiting += u64::from(added == 0);
    }
    let rest = match candidates.last() {
        Some(last) if candidates.len() == ASKED_AT_ONCE => {
            Some(Place { at_ms: last.at_ms, record: last.record, ..place })
        }
        _ => None,
    };
    Ok(Step { asked, rest })
}

/// Who has not acknowledged a record.
pub(super) fn undelivered(db: &Connection, record: i64) -> Result<Vec<Destination>> {
    let mut statement =
        db.prepare_cached("SELECT destination FROM outbox WHERE record = ?1 AND delivered = 0 ORDER BY id")?;
    let rows = statement.query_map([record], |row| row.get::<_, String>(0))?;
    let names = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| Destination::parse(name)).collect())
}
