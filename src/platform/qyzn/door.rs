//! `open_door` (4.5.6) and `record_clear` (4.5.5).

use super::code::{self, Answer};
use crate::access::Origin;
use crate::gate::{Gate, OrderedBy};

/// Opens the door once.
pub async fn open_door(gate: &Gate) -> Answer {
    match gate.open_door(OrderedBy::Platform(Origin::Qyzn)).await {
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
