//! `menshen check`: verifies a store and repairs what can be repaired. It never does so silently: each finding
//! names the table, the row and what was done.

use serde::Serialize;

use super::{Counts, Options};
use crate::error::Result;

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
    /// What is in the store after the check; `None` where it cannot even be counted.
    pub counts: Option<Counts>,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The table, or the file.
    pub table: String,
    /// The row, where it is about one.
    pub row: Option<i64>,
    /// What is wrong, and what was or can be done.
    pub problem: String,
    /// What was done.
    pub done: Done,
}

/// What was done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Nothing: the check was not asked to repair.
    Nothing,
    /// It is as it was meant to be again, nothing is lost.
    Repaired,
    /// What was damaged has been removed.
    Removed,
    /// The face is enrolled again from its picture when the agent runs.
    Reenrol,
    /// It cannot be repaired by a program.
    Unrepairable,
}

impl CheckReport {
    /// Whether the store is in order now: nothing was found, or all of it was repaired.
    pub fn in_order(&self) -> bool {
        self.findings.iter().all(|finding| !matches!(finding.done, Done::Nothing | Done::Unrepairable))
    }
}

/// Verifies the store and, with `repair`, repairs it. Without `repair` it only reads, also beside a running
/// agent; with it, it must be the only program (`Busy`).
pub fn check(options: &Options, repair: bool) -> Result<CheckReport> {
    let _ = (options, repair);
    unimplemented!("follows")
}
