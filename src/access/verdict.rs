//! The answer to one visitor.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::credential::CredentialKind;
use super::person::Person;

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
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

impl Verdict {
    /// Who, where it is known.
    pub fn person(&self) -> Option<&Arc<Person>> {
        match self {
            Verdict::Pass { person, .. } | Verdict::Refuse { person, .. } | Verdict::Await { person, .. } => {
                person.as_ref()
            }
        }
    }

    /// Why; `None` while another credential is awaited.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Verdict::Pass { reason, .. } | Verdict::Refuse { reason, .. } => Some(*reason),
            Verdict::Await { .. } => None,
        }
    }

    /// Whether the visitor may pass, whoever opens.
    pub fn is_pass(&self) -> bool {
        matches!(self, Verdict::Pass { .. })
    }

    /// QYZN 4.6.1 `result` of this verdict: [`Reason::qyzn_result`], but 2 and 3 ("比对成功" in both) only
    /// where somebody was recognised. `None` while another credential is awaited.
    pub fn qyzn_result(&self) -> Option<u8> {
        match (self.reason()?.qyzn_result(), self.person()) {
            (2 | 3, None) => Some(0),
            (result, _) => Some(result),
        }
    }
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
    /// A QR code, which the platform alone weighs: the door stays shut until it says so.
    PlatformDecides,
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
    /// The document is that of somebody who is not on the white list, and must be.
    NotWhiteListed,
    /// The document is no longer valid.
    DocumentExpired,
    /// The document is not valid yet.
    DocumentNotYetValid,
    /// The gate has lost its time, so that it cannot be told whether the document is valid.
    ClockLost,
    /// No face can be compared with the document's photo: it has none, or none with a usable face.
    NoHolderPhoto,
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
    pub const ALL: [Reason; 25] = [
        Reason::Granted,
        Reason::StrangerAllowed,
        Reason::DocumentHolder,
        Reason::PlatformDecides,
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
        Reason::NotWhiteListed,
        Reason::DocumentExpired,
        Reason::DocumentNotYetValid,
        Reason::ClockLost,
        Reason::NoHolderPhoto,
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
            Reason::PlatformDecides => "platform_decides",
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
            Reason::NotWhiteListed => "not_white_listed",
            Reason::DocumentExpired => "document_expired",
            Reason::DocumentNotYetValid => "document_not_yet_valid",
            Reason::ClockLost => "clock_lost",
            Reason::NoHolderPhoto => "no_holder_photo",
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

    /// QYZN 4.6.1 `result`, of a record about a recognised person (see [`Verdict::qyzn_result`]):
    ///
    /// | number | the document | reasons |
    /// |---|---|---|
    /// | 1 | 成功（匹配、未过期） | `Granted`, `DocumentHolder` |
    /// | 2 | 比对成功，授权已经过期 | `Expired`, `UsedUp`: the permission has come to its end |
    /// | 3 | 比对成功，授权未过期但不在通行时段内 | `OutOfSchedule`, `NotYetValid`: it has not ended, but does not hold now |
    /// | 0 | 失败(不匹配) | all others |
    ///
    /// A platform counts 1 as attendance, so nobody who was refused gets it: the black-listed are 0 with
    /// `type` 2. `StrangerAllowed` is 0 although the door opened: the number speaks of the comparison, and
    /// a stranger matches nobody.
    pub fn qyzn_result(self) -> u8 {
        match self {
            Reason::Granted | Reason::DocumentHolder => 1,
            Reason::Expired | Reason::UsedUp => 2,
            Reason::OutOfSchedule | Reason::NotYetValid => 3,
            Reason::StrangerAllowed
            | Reason::PlatformDecides
            | Reason::Stranger
            | Reason::Ambiguous
            | Reason::NotLive
            | Reason::BlackListed
            | Reason::ForbiddenIdNumber
            | Reason::TooSoon
            | Reason::UnknownCard
            | Reason::UnknownDocument
            | Reason::NotWhiteListed
            | Reason::DocumentExpired
            | Reason::DocumentNotYetValid
            | Reason::ClockLost
            | Reason::NoHolderPhoto
            | Reason::Mismatch
            | Reason::WrongOrder
            | Reason::WrongCredential
            | Reason::Timeout => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_one_word() {
        let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        for (reason, word) in Reason::ALL.iter().zip(&words) {
            assert_eq!(Reason::parse(word), Some(*reason));
            // The same word in the store, where serde writes it.
            assert_eq!(serde_json::to_value(reason).unwrap(), *word);
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
        assert_eq!(Reason::parse("granted "), None);
    }
}
