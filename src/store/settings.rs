//! Settings: one text (JSON) by key.

use rusqlite::{Connection, OptionalExtension, params};

use super::upgrade::Found;
use super::writer::Class;
use super::{Options, Pending, Store, sqlite, upgrade};
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

/// A value, read without the device key, which settings are not sealed with; `None` also where there is no store yet.
pub fn setting_in_clear(options: &Options, key: &str) -> Result<Option<String>> {
    let file = options.file();
    if !file.exists() {
        return Ok(None);
    }
    let db = sqlite::open_reader(&file)?;
    match upgrade::look(&db)? {
        Found::Fresh => Ok(None),
        Found::Version(_) | Found::Newer(_) => Ok(db
            .query_row("SELECT value FROM settings WHERE key = ?1", [key], |row| row.get(0))
            .optional()?),
    }
}

/// Sets a value within a transaction.
pub(super) fn put(db: &Connection, key: &str, value: &str) -> Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO settings (key, value) VALUES (?1, ?2)")?
        .execute(params![key, value])?;
    Ok(())
}
