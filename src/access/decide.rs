//! The decision.

use jiff::Timestamp;

use super::credential::Credential;
use super::rules::Rules;
use super::verdict::Verdict;
use crate::clock::Moment;

/// What the rules say of one visitor.
///
/// `presented` are the credentials of the session in the order in which they came, at least one.
/// `last_passage` is when the person they belong to passed last, where the gate remembers it.
pub fn decide(
    presented: &[Credential],
    rules: &Rules,
    moment: &Moment,
    last_passage: Option<Timestamp>,
) -> Verdict {
    let _ = (presented, rules, moment, last_passage);
    unimplemented!("written with the rules")
}
