//! `open_door` (4.5.6), `online_open_door` (4.5.7) and `record_clear` (4.5.5).

use serde_json::Value;

use super::code::{self, Answer};
use super::json::Fields;
use crate::access::{Origin, Remote, RemoteMode};
use crate::error::Result;
use crate::gate::{Gate, OrderedBy};

/// Opens the door once.
pub async fn open_door(gate: &Gate) -> Answer {
    match gate.open_door(OrderedBy::Platform(Origin::Qyzn)).await {
        Ok(()) => Answer::success(),
        Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    }
}

/// Who opens from now on: the gate, the platform while it is online, or the platform alone.
pub async fn online_open_door(gate: &Gate, data: &Value) -> Answer {
    let read = || -> Result<Remote> {
        let fields = Fields::of(data);
        let online = fields.int_within("online", 0, 1)?;
        let online = online.ok_or_else(|| fields.wrong("online", "is missing"))? == 1;
        let mode = fields.int_within("mode", 0, 2)?.and_then(RemoteMode::from_number);
        let mode = mode.ok_or_else(|| fields.wrong("mode", "is missing"))?;
        Ok(Remote { mode, online })
    };
    let outcome = match read() {
        Ok(remote) => {
            gate.change_settings(|settings| {
                settings.rules.remote = remote;
                Ok(())
            })
            .await
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Answer::success(),
        Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    }
}

/// Removes all records, also those that were not delivered.
pub async fn record_clear(gate: &Gate) -> Answer {
    match gate.store().clear_records().await {
        Ok(removed) => {
            tracing::info!(removed, "the QYZN platform cleared the records");
            Answer::success()
        }
        Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    }
}
