//! The answer to one visitor.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::credential::CredentialKind;
use super::person::Person;

/// The answer.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// The visitor may pass.
    Pass {
        /// Who; `None` for a stranger or an unenrolled document holder who may pass.
        person: Option<Arc<Person>>,
        /// Why.
        reason: Reason,
        /// Who turns the relay.
        opens: Opens,
    },
    /// The visitor may not pass.
    Refuse {
        /// Who, where it is known.
        person: Option<Arc<Person>>,
        /// Why.
        reason: Reason,
    },
    /// One credential is not enough; the session waits for another.
    Await {
        /// Who, where it is known.
        person: Option<Arc<Person>>,
        /// What must come next.
        next: CredentialKind,
    },
}

/// Who turns the relay after a pass verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opens {
    /// The gate, now.
    Gate,
    /// The platform, by its answer to the record (`opendoor`) or by `open_door`.
    Platform,
}

/// Why, for machines; the texts for people are in [`crate::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A person who may pass.
    Granted,
    /// A stranger, and strangers may pass.
    StrangerAllowed,
    /// The holder of a document who needs not be enrolled.
    DocumentHolder,
    /// Nobody the gate knows.
    Stranger,
    /// Two people match nearly alike.
    Ambiguous,
    /// The face is judged to be a picture or a replay.
    NotLive,
    /// On the black list.
    BlackListed,
    /// Before the validity begins.
    NotYetValid,
    /// After the validity ended.
    Expired,
    /// Outside the periods of the person or of the gate.
    OutOfSchedule,
    /// No passages left.
    UsedUp,
    /// The identity number begins with a forbidden prefix.
    ForbiddenIdNumber,
    /// Passed a moment ago.
    TooSoon,
    /// The card is nobody's.
    UnknownCard,
    /// The document is nobody's, and must be somebody's.
    UnknownDocument,
    /// The document is no longer valid.
    DocumentExpired,
    /// Face and card, or face and document, belong to different people.
    Mismatch,
    /// The credentials came in the wrong order.
    WrongOrder,
    /// The pass mode does not take this credential.
    WrongCredential,
    /// A second credential did not come in time.
    Timeout,
}

impl Reason {
    /// Every reason, for tables and tests.
    pub const ALL: [Reason; 20] = [
        Reason::Granted,
        Reason::StrangerAllowed,
        Reason::DocumentHolder,
        Reason::Stranger,
        Reason::Ambiguous,
        Reason::NotLive,
        Reason::BlackListed,
        Reason::NotYetValid,
        Reason::Expired,
        Reason::OutOfSchedule,
        Reason::UsedUp,
        Reason::ForbiddenIdNumber,
        Reason::TooSoon,
        Reason::UnknownCard,
        Reason::UnknownDocument,
        Reason::DocumentExpired,
        Reason::Mismatch,
        Reason::WrongOrder,
        Reason::WrongCredential,
        Reason::Timeout,
    ];

    /// The word in events, records and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Granted => "granted",
            Reason::StrangerAllowed => "stranger_allowed",
            Reason::DocumentHolder => "document_holder",
            Reason::Stranger => "stranger",
            Reason::Ambiguous => "ambiguous",
            Reason::NotLive => "not_live",
            Reason::BlackListed => "black_listed",
            Reason::NotYetValid => "not_yet_valid",
            Reason::Expired => "expired",
            Reason::OutOfSchedule => "out_of_schedule",
            Reason::UsedUp => "used_up",
            Reason::ForbiddenIdNumber => "forbidden_id_number",
            Reason::TooSoon => "too_soon",
            Reason::UnknownCard => "unknown_card",
            Reason::UnknownDocument => "unknown_document",
            Reason::DocumentExpired => "document_expired",
            Reason::Mismatch => "mismatch",
            Reason::WrongOrder => "wrong_order",
            Reason::WrongCredential => "wrong_credential",
            Reason::Timeout => "timeout",
        }
    }

    /// The reverse of [`Reason::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}
