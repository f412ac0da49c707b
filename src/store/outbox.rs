//! The outbox: what a platform has not acknowledged.

use rusqlite::{Connection, params};

use super::writer::Class;
use super::{Destination, OutboxEntry, OutboxId, Pending, Store, records};
use crate::error::Result;

impl Store {
    /// What `destination` has not acknowledged, the oldest first, after `after`, at most `limit`. A record
    /// that does not open is left out and logged.
    pub fn outbox(
        &self,
        destination: Destination,
        after: Option<OutboxId>,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT id, record FROM outbox
                 WHERE destination = ?1 AND delivered = 0 AND id > ?2 ORDER BY id",
            )?;
            let mut rows = statement.query(params![destination.as_str(), after.map_or(0, |id| id.0)])?;
            let mut entries = Vec::new();
            // The limit counts what can be sent, so that damaged rows cannot hide those behind them.
            while entries.len() < limit {
                let Some(row) = rows.next()? else { break };
                let id = OutboxId(row.get(0)?);
                if let Some(record) = records::readable(records::load(db, self.seal(), row.get(1)?))? {
                    entries.push(OutboxEntry { id, record });
                }
            }
            Ok(entries)
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
}

/// Who has not acknowledged a record.
pub(super) fn undelivered(db: &Connection, record: i64) -> Result<Vec<Destination>> {
    let mut statement =
        db.prepare_cached("SELECT destination FROM outbox WHERE record = ?1 AND delivered = 0 ORDER BY id")?;
    let rows = statement.query_map([record], |row| row.get::<_, String>(0))?;
    let names = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(names.iter().filter_map(|name| Destination::parse(name)).collect())
}
