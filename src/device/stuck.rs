//! Devices that misbehave, for trying out what a gate does then.

use super::relay::Relay;
use crate::error::Result;

/// A relay (`sim:stuck`) that rests as it is told, and whose driver never returns from the order to leave that level: as
/// one whose bus hangs. The gate's outputs hang with it, which the watchdog must notice.
#[derive(Debug, Default)]
pub struct StuckRelay {
    rest: Option<bool>,
}

impl Relay for StuckRelay {
    fn set_level(&mut self, high: bool) -> Result<()> {
        if *self.rest.get_or_insert(high) == high {
            return Ok(());
        }
        tracing::warn!("the stuck relay does not return any more");
        loop {
            std::thread::park();
        }
    }
}
