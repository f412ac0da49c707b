//! A person as the rules see one.

use std::fmt;

use jiff::{Timestamp, civil};
use serde::{Deserialize, Serialize};

use super::mode::PassMode;
use super::schedule::Schedule;
use crate::clock::Moment;

/// Who enrolled a person and may change them. Each platform sees its own people only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The QYZN platform.
    Qyzn,
    /// The terminal WebSocket platform.
    TerminalWs,
    /// A technician at the gate.
    Local,
}

impl Origin {
    /// The name in the store, in events and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Qyzn => "qyzn",
            Origin::TerminalWs => "terminal_ws",
            Origin::Local => "local",
        }
    }

    /// The reverse of [`Origin::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Origin::Qyzn, Origin::TerminalWs, Origin::Local].into_iter().find(|origin| origin.as_str() == text)
    }
}

/// The name of a person that no other person of the gate has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PersonKey {
    /// Who enrolled them.
    pub origin: Origin,
    /// The id they have there (QYZN `personId`, terminal WebSocket `id`), 1 to 64 bytes.
    pub id: String,
}

impl PersonKey {
    /// A key.
    pub fn new(origin: Origin, id: impl Into<String>) -> Self {
        Self { origin, id: id.into() }
    }
}

/// QYZN 4.3.1 `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonKind {
    /// 1: may pass as the rules say.
    White,
    /// 2: recognised, recorded, never let in.
    Black,
    /// 3: may pass as the rules say, and is called a visitor in records.
    Visitor,
    /// 4: nobody the gate knows.
    Stranger,
}

impl PersonKind {
    /// The number in QYZN messages.
    pub fn number(self) -> u8 {
        match self {
            PersonKind::White => 1,
            PersonKind::Black => 2,
            PersonKind::Visitor => 3,
            PersonKind::Stranger => 4,
        }
    }

    /// The reverse of [`PersonKind::number`].
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(PersonKind::White),
            2 => Some(PersonKind::Black),
            3 => Some(PersonKind::Visitor),
            4 => Some(PersonKind::Stranger),
            _ => None,
        }
    }
}

/// One end of a validity, as its platform wrote it: a civil time of the gate's zone (QYZN) or a point in time
/// (terminal WebSocket). Kept as written, so that a change of the zone moves the first and not the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Local time of the gate, whatever its zone is.
    Local(civil::DateTime),
    /// A point in time.
    Utc(Timestamp),
}

impl Bound {
    /// How `moment` lies to this bound: `Less` is before it.
    pub fn compare(self, moment: &Moment) -> std::cmp::Ordering {
        match self {
            Bound::Local(bound) => moment.local().cmp(&bound),
            Bound::Utc(bound) => moment.utc.cmp(&bound),
        }
    }
}

/// Somebody the gate knows. Their `Debug` is fit for a log: it has no identity number and no name.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Their key.
    pub key: PersonKey,
    /// QYZN `personCode`; empty where the platform has none.
    pub code: String,
    /// Shown on the screen after recognition.
    pub name: String,
    /// White, black, visitor.
    pub kind: PersonKind,
    /// Number of an identity document, never logged in clear.
    pub id_number: Option<String>,
    /// Number of a card, decimal or hexadecimal as the platform wrote it.
    pub card: Option<String>,
    /// Passages left; `None` is without limit, 0 is none left.
    pub passes_left: Option<u32>,
    /// From this moment (inclusive) they may pass.
    pub valid_from: Option<Bound>,
    /// From this moment (exclusive) they may no longer pass.
    pub valid_until: Option<Bound>,
    /// When within the week and the year they may pass.
    pub schedule: Schedule,
    /// Their own pass mode; `None` (QYZN 255) is the gate's.
    pub mode: Option<PassMode>,
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Person")
            .field("key", &self.key)
            .field("kind", &self.kind)
            .field("card", &self.card)
            .field("passes_left", &self.passes_left)
            .field("valid_from", &self.valid_from)
            .field("valid_until", &self.valid_until)
            .field("schedule", &self.schedule)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
