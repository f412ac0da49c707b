//! Settings: one text (JSON) by key.

use rusqlite::{Connection, OptionalExtension, params};

use super::writer::Class;
use super::{Pending, Store};
use crate::error::{Error, Kind, Result};

/// Longest value, in bytes.
const VALUE_BYTES: usize = 1 << 20;

impl Store {
    /// A value.
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        self.read(|db| {
            Ok(db
                .prepare_cached("SELECT value FROM settings WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()?)
        })
    }

    /// Sets a value; `Input` if it is not JSON or longer than 1 MiB.
    pub fn put_setting(&self, key: &str, value: String) -> Pending<()> {
        if value.len() > VALUE_BYTES {
            return Pending::ready(Err(Error::new(
                Kind::Input,
                format!("the setting {key} has {} bytes; at most {VALUE_BYTES} can be stored", value.len()),
            )));
        }
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&value) {
            return Pending::ready(Err(Error::caused(
                Kind::Input,
                format!("the setting {key} is not JSON"),
                error,
            )));
        }
        let key = key.to_owned();
        self.order(Class::Plain, value.len() + 256, move |desk| put(desk.db, &key, &value))
    }
}

/// Sets a value within a transaction.
pub(super) fn put(db: &Connection, key: &str, value: &str) -> Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}
