//! `device_restart` (4.5.1). The answer may be lost with the line, and the platform then sends the order again,
//! to a gate that has just come back: what was ordered is kept over the restart, so that the repetition is
//! answered and not obeyed, time after time.

use serde::{Deserialize, Serialize};

use super::answered::Key;
use super::code::{self, Answer};
use crate::access::Origin;
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, OrderedBy};
use crate::store::Store;

/// Where the store keeps the order that the last restart was for.
const ORDERED: &str = "qyzn.restart";

/// The order, as it is kept.
#[derive(Serialize, Deserialize)]
struct Ordered {
    seq: u32,
    digest: u64,
}

/// Restarts the machine.
pub async fn device_restart(gate: &Gate, key: Key) -> Answer {
    let (seq, digest) = key;
    // Before the restart; a store that takes nothing must not keep a gate from the restart that may help it.
    if let Err(error) = keep(gate.store(), Some(Ordered { seq, digest })).await {
        tracing::warn!(%error, "the order to restart cannot be kept; if it comes again it is obeyed again");
    }
    match gate.restart(OrderedBy::Platform(Origin::Qyzn)).await {
        Ok(()) => Answer::success(),
        Err(error) => {
            if let Err(error) = keep(gate.store(), None).await {
                tracing::warn!(%error, "an order to restart that was refused stays in the store");
            }
            Answer::of_error(&error, code::NO_OBJECT, code::FAILED)
        }
    }
}

/// The order that the last restart was for, with its answer. It is handed out once: what comes later than the
/// link remembers is a new order.
pub async fn obeyed(store: &Store) -> Result<Option<(Key, Answer)>> {
    let reading = store.clone();
    let kept = tokio::task::spawn_blocking(move || reading.setting(ORDERED))
        .await
        .map_err(|error| Error::caused(Kind::Stopped, "the store was not read", error))??;
    let ordered = kept.and_then(|text| serde_json::from_str::<Option<Ordered>>(&text).ok().flatten());
    let Some(Ordered { seq, digest }) = ordered else { return Ok(None) };
    keep(store, None).await?;
    Ok(Some(((seq, digest), Answer::success())))
}

async fn keep(store: &Store, ordered: Option<Ordered>) -> Result<()> {
    let text = serde_json::to_string(&ordered)
        .map_err(|error| Error::caused(Kind::Store, "the order cannot be written", error))?;
    store.put_setting(ORDERED, text).await
}
