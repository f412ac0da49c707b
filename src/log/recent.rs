//! The last lines of the log, kept in memory for the console and the diagnosis bundle: a gate may have no journal,
//! or none that its technician may read.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::Offset;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines that are kept.
const LINES: usize = 400;

/// Bytes that are kept of a message, and of one field.
const TEXT_BYTES: usize = 400;

/// Fields that are kept of a line.
const FIELDS: usize = 16;

/// A line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Counts from 1 since the process began.
    pub number: u64,
    /// When, by the clock of the system.
    pub time: Timestamp,
    /// `ERROR`, `WARN`, `INFO`, `DEBUG`.
    pub level: &'static str,
    /// The module.
    pub target: String,
    /// What is said.
    pub message: String,
    /// The rest, by name.
    pub fields: Vec<(&'static str, String)>,
}

impl Line {
    /// For the API and the bundle.
    pub fn form(&self) -> Value {
        let fields: Map<String, Value> =
            self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into())).collect();
        json!({
            "number": self.number,
            "time": self.time,
            "level": self.level,
            "target": self.target,
            "message": self.message,
            "fields": fields,
        })
    }
}

/// A line of the API, or of the journal, as a technician reads it; `offset_s` is the gate's zone.
pub fn shown(line: &Value, offset_s: i32) -> String {
    let text = |field: &str| line[field].as_str().unwrap_or_default();
    let time = text("time").parse::<Timestamp>().map_or_else(
        |_| text("time").to_owned(),
        |time| {
            let zone = Offset::from_seconds(offset_s).unwrap_or(Offset::UTC).to_time_zone();
            time.to_zoned(zone).strftime("%H:%M:%S").to_string()
        },
    );
    let mut shown = format!("{time} {:5} {}", text("level"), text("message"));
    for (name, value) in line["fields"].as_object().into_iter().flatten() {
        let _ = write!(shown, " {name}={}", value.as_str().unwrap_or_default());
    }
    shown
}

struct Recent {
    last: u64,
    lines: VecDeque<Line>,
}

/// Of the process, as the log is.
static RECENT: Mutex<Recent> = Mutex::new(Recent { last: 0, lines: VecDeque::new() });

/// The lines after a number (0 for all that are kept), and the number of the last.
pub fn after(number: u64) -> (Vec<Line>, u64) {
    let recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    (recent.lines.iter().filter(|line| line.number > number).cloned().collect(), recent.last)
}

/// Keeps what is logged.
pub(super) struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        let metadata = event.metadata();
        let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
        recent.last += 1;
        let line = Line {
            number: recent.last,
            time: Timestamp::now(),
            level: metadata.level().as_str(),
            target: metadata.target().to_owned(),
            message: said.message,
            fields: said.fields,
        };
        if recent.lines.len() == LINES {
            recent.lines.pop_front();
        }
        recent.lines.push_back(line);
    }
}

#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    fn take(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let mut text = Cut(String::new());
        // A text that is cut says so by an error that nobody needs.
        let _ = text.write_fmt(value);
        if field.name() == "message" {
            self.message = text.0;
        } else if self.fields.len() < FIELDS {
            self.fields.push((field.name(), text.0));
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format_args!("{value:?}"));
    }
}

/// A text that takes no more than [`TEXT_BYTES`].
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES - self.0.len().min(TEXT_BYTES);
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_cut() {
        let subscriber = tracing_subscriber::registry().with(Keep);
        let (_, before) = after(0);
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(camera = 1, error = "no frame", "the camera is {}", "lost");
            for number in 0..2 * LINES {
                tracing::info!(number, "{}", "x".repeat(2 * TEXT_BYTES));
            }
        });
        let (lines, last) = after(before);
        assert_eq!(last, before + 1 + 2 * LINES as u64);
        assert_eq!(lines.len(), LINES, "the oldest have gone");
        let line = &lines[0];
        assert_eq!((line.message.len(), line.level), (TEXT_BYTES, "INFO"));
        assert_eq!(after(last).0.len(), 0);
        let line = json!({
            "time": "2026-03-02T04:00:00Z", "level": "WARN", "message": "the camera is lost",
            "fields": { "camera": "1", "error": "no frame" }
        });
        assert_eq!(shown(&line, 8 * 3600), "12:00:00 WARN  the camera is lost camera=1 error=no frame");
    }
}
