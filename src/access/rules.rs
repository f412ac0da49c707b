//! What the gate was told about passing, apart from the people.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::mode::{CredentialOrder, PassMode};
use super::schedule::ExtendedSchedule;

/// The rules of the gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Mode for people who have none of their own.
    pub mode: PassMode,
    /// Order in modes with a face and a card.
    pub card_order: CredentialOrder,
    /// Order in modes with a face and a document.
    pub document_order: CredentialOrder,
    /// What becomes of people the gate does not know.
    pub stranger: StrangerPolicy,
    /// Prefixes of identity numbers that never pass (QYZN `ForbidIdCardSet`).
    pub forbidden_id_prefixes: Vec<String>,
    /// A schedule for everybody (QYZN `config_device_pass_rule`), besides each person's own.
    pub schedule: Option<ExtendedSchedule>,
    /// Who has the last word on opening.
    pub remote: Remote,
    /// The least time between two passages of one person; 0 does not ask.
    #[serde(skip)]
    pub min_interval: Duration,
    /// The clock shows a time before this program was built: it was lost ([`crate::clock::lost`]).
    #[serde(skip)]
    pub clock_lost: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            mode: PassMode::Face,
            card_order: CredentialOrder::Any,
            document_order: CredentialOrder::Any,
            stranger: StrangerPolicy::default(),
            forbidden_id_prefixes: Vec::new(),
            schedule: None,
            remote: Remote::default(),
            min_interval: Duration::from_secs(3),
            clock_lost: false,
        }
    }
}

/// QYZN `StrangerParam`. Strangers pass only where both are on: a gate that does not recognise strangers
/// makes no record of them, and must not open for somebody it does not record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrangerPolicy {
    /// `strangerIdentifyEn`: strangers are told so and recorded.
    pub identify: bool,
    /// `strangerOpenDoorEn`: strangers may pass.
    pub open: bool,
}

impl Default for StrangerPolicy {
    fn default() -> Self {
        Self { identify: true, open: false }
    }
}

/// QYZN `online_open_door`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Remote {
    /// What the gate may open by itself.
    pub mode: RemoteMode,
    /// Whether the remote side said that it is there, and still is.
    pub online: bool,
}

/// QYZN `online_open_door` `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum RemoteMode {
    /// 0: the gate decides and opens.
    #[default]
    Local,
    /// 1: the remote side decides while it is online, else the gate.
    RemoteWhenOnline,
    /// 2: only the remote side opens.
    Remote,
}

impl RemoteMode {
    /// The number in QYZN messages (4.5.7).
    pub fn number(self) -> u8 {
        match self {
            RemoteMode::Local => 0,
            RemoteMode::RemoteWhenOnline => 1,
            RemoteMode::Remote => 2,
        }
    }

    /// The reverse of [`RemoteMode::number`].
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(RemoteMode::Local),
            1 => Some(RemoteMode::RemoteWhenOnline),
            2 => Some(RemoteMode::Remote),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_modes_have_the_numbers_of_the_document() {
        for (number, mode) in
            [(0, RemoteMode::Local), (1, RemoteMode::RemoteWhenOnline), (2, RemoteMode::Remote)]
        {
            assert_eq!(mode.number(), number);
            assert_eq!(RemoteMode::from_number(i64::from(number)), Some(mode));
        }
        assert_eq!(RemoteMode::from_number(3), None);
        assert_eq!(RemoteMode::from_number(-1), None);
    }
}
