//! What the simulated platform saw and did, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

/// One thing that happened. Its JSON form is flat.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts from 0.
    pub number: usize,
    /// Milliseconds since the platform began.
    pub ms: u64,
    /// Which connection, counted from 1; 0 for what concerns none.
    pub connection: u64,
    /// Serial number of the terminal, as far as it is known.
    pub serial: String,
    /// What: `connected`, `closed`, `sent`, `answer`, `violation`, `script`, `tls_failed`, and the protocol's own
    /// (QYZN: `register`, `login`, `logged_in`, `heartbeat`, `sync_time`, `snapshot_face`, `device_sync_person`,
    /// `qrcode_data`, `request` for any other of the terminal's; terminal WebSocket: `refused`, `ping`).
    pub event: &'static str,
    /// The rest.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Entry {
    /// A field as a text; empty if there is none.
    pub fn text(&self, key: &str) -> &str {
        self.fields.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A field as a number.
    pub fn int(&self, key: &str) -> Option<i64> {
        self.fields.get(key).and_then(Value::as_i64)
    }

    /// Whether a field is true.
    pub fn flag(&self, key: &str) -> bool {
        self.fields.get(key).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// Entries that are kept; a simulator may run for weeks.
const KEPT: usize = 500_000;

/// The journal.
#[derive(Debug)]
pub struct Journal {
    began: Instant,
    entries: Mutex<VecDeque<Arc<Entry>>>,
    len: watch::Sender<usize>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { began: Instant::now(), entries: Mutex::default(), len: watch::Sender::new(0) }
    }
}

impl Journal {
    /// Adds an entry; `fields` is a JSON object.
    pub fn note(&self, connection: u64, serial: &str, event: &'static str, fields: Value) {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *self.len.borrow();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Arc::new(Entry {
            number,
            ms,
            connection,
            serial: serial.to_owned(),
            event,
            fields,
        }));
        self.len.send_replace(number + 1);
    }

    /// How many entries there have been.
    pub fn len(&self) -> usize {
        *self.len.borrow()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries from number `from` on, as far as they are kept.
    pub fn from(&self, from: usize) -> Vec<Arc<Entry>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let first = entries.front().map_or(0, |entry| entry.number);
        entries.iter().skip(from.saturating_sub(first)).cloned().collect()
    }

    /// The first entry, from number `from` on, that `wanted` accepts, as soon as there is one. `Timeout` after
    /// `patience`, with the last entries in words.
    pub async fn wait_for(
        &self,
        mut from: usize,
        patience: Duration,
        mut wanted: impl FnMut(&Entry) -> bool,
    ) -> Result<Arc<Entry>> {
        let until = Instant::now() + patience;
        let mut len = self.len.subscribe();
        loop {
            len.borrow_and_update();
            for entry in self.from(from) {
                from = entry.number + 1;
                if wanted(&entry) {
                    return Ok(entry);
                }
            }
            if tokio::time::timeout_at(until, len.changed()).await.is_err() {
                let last: Vec<String> = self
                    .from(self.len().saturating_sub(20))
                    .iter()
                    .map(|entry| serde_json::to_string(&**entry).unwrap_or_default())
                    .collect();
                return Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "it did not happen within {patience:?}; the last entries are\n{}",
                        last.join("\n")
                    ),
                ));
            }
        }
    }
}
