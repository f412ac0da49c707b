//! When within the day, the week and the year somebody may pass.

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

/// One period of a day in minutes from midnight, both ends included to the minute as both documents write
/// them (`08:00~09:30`, `09:00-12:35`). `from > to` crosses midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// First minute, 0..=1439.
    pub from: u16,
    /// Last minute, 0..=1440 (24:00).
    pub to: u16,
}

/// Periods of a day; none of them is never.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Periods(pub Vec<Period>);

/// The rule of one day (QYZN `mode` 0, 1, 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayRule {
    /// 0: not at all.
    Never,
    /// 1: all day.
    Always,
    /// 2: in these periods.
    Periods(Periods),
}

/// QYZN `passPeriod` with `passMonday` to `passSunday`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimpleSchedule {
    /// Monday first.
    pub days: [bool; 7],
    /// `None`: all day.
    pub periods: Option<Periods>,
}

/// Some days of a year with a rule of their own; it beats the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holiday {
    /// What the platform calls it.
    pub name: String,
    /// First day.
    pub first: Date,
    /// Last day, included.
    pub last: Date,
    /// What holds on it.
    pub rule: DayRule,
}

/// QYZN `extPassRule`, and the terminal WebSocket protocol's `weekly`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedSchedule {
    /// The platform's id of the rule, may be empty.
    pub id: String,
    /// The platform's name of the rule, may be empty.
    pub name: String,
    /// Monday first.
    pub weekly: [DayRule; 7],
    /// Days that beat the week.
    pub holidays: Vec<Holiday>,
}

/// A person's schedule: the extended one where there is one, else the simple one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The simple rules.
    pub simple: SimpleSchedule,
    /// The extended rules, which replace the simple ones.
    pub extended: Option<ExtendedSchedule>,
}

impl Default for SimpleSchedule {
    fn default() -> Self {
        Self { days: [true; 7], periods: None }
    }
}

impl Default for Schedule {
    /// Always.
    fn default() -> Self {
        Self { simple: SimpleSchedule::default(), extended: None }
    }
}

impl Schedule {
    /// Whether passing is allowed at `local`, the civil time of the gate.
    pub fn allows(&self, local: DateTime) -> bool {
        let _ = local;
        unimplemented!("written with the rules")
    }
}
