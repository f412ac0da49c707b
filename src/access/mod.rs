//! Who may pass. Pure: no I/O, no clock of its own, nothing from any other module but the time types of
//! [`crate::clock`] and the error. [`weigh`](known::weigh) is the whole answer, [`decide`](decide::decide) that for one
//! platform's people; the rest are its words, and
//! [`schedule_json`] is how platforms write schedules.

pub mod credential;
pub mod decide;
pub mod known;
pub mod mode;
pub mod person;
pub mod rules;
pub mod schedule;
pub mod schedule_json;
pub mod verdict;

#[cfg(test)]
mod tests;

pub use credential::{
    Credential, CredentialKind, DocumentCredential, FaceCredential, FaceMatch, HolderMatch, Known, Liveness,
    PrintedFacts,
};
pub use decide::{LastPassage, decide, subject};
pub use known::{known_as, weigh};
pub use mode::{CredentialOrder, PassMode};
pub use person::{Bound, Origin, Person, PersonKey, PersonKind};
pub use rules::{Remote, RemoteMode, Rules, StrangerPolicy};
pub use schedule::{DayRule, ExtendedSchedule, Holiday, Period, Periods, Schedule, SimpleSchedule};
pub use verdict::{Opens, Reason, Verdict};
