//! `config_device_pass_rule` (4.5.9): a schedule for everybody at this gate.

use serde_json::Value;

use super::code::{self, Answer};
use super::json::Fields;
use crate::access::ExtendedSchedule;
use crate::error::{Error, Result};
use crate::gate::Gate;

/// Longest id and name, in bytes, as in the table.
const LONGEST: [(&str, usize); 2] = [("id", 32), ("name", 36)];

/// Puts the rule in place of the one before; an empty one removes it.
pub async fn config_device_pass_rule(gate: &Gate, data: &Value) -> Answer {
    let outcome = match read(data) {
        Ok(rule) => gate.change_settings(|settings| {
            settings.rules.schedule = rule;
            Ok(())
        }),
        Err(error) => return answer(&Err(error)),
    };
    answer(&outcome.await)
}

/// Reads the data of the message; `None` removes the rule, `Input` with the key that cannot be read.
pub fn read(data: &Value) -> Result<Option<ExtendedSchedule>> {
    let fields = Fields::of(data);
    for (key, most) in LONGEST {
        fields.text(key, most)?;
    }
    ExtendedSchedule::from_qyzn(data)
}

fn answer(outcome: &Result<(), Error>) -> Answer {
    match outcome {
        Ok(()) => Answer::success(),
        Err(error) => Answer::of_error(error, code::NO_OBJECT, code::FAILED),
    }
}
