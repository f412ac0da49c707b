//! The relay of the door.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Kind, Result};

/// One output line that a relay hangs on.
pub trait Relay: Send {
    /// Puts the line to a level: true is high. Returns when the line has it.
    fn set_level(&mut self, high: bool) -> Result<()>;
}

/// A relay that exists in memory only; its level can be read back.
#[derive(Debug, Clone, Default)]
pub struct SimulatedRelay {
    level: Arc<AtomicBool>,
}

impl SimulatedRelay {
    /// The level of the line: true is high.
    pub fn level(&self) -> bool {
        self.level.load(Ordering::SeqCst)
    }
}

impl Relay for SimulatedRelay {
    fn set_level(&mut self, high: bool) -> Result<()> {
        self.level.store(high, Ordering::SeqCst);
        Ok(())
    }
}

/// The relay that `device.relay` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn Relay>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedRelay::default()))),
        "sim:stuck" => Ok(Some(Box::new(super::stuck::StuckRelay::default()))),
        other => Err(Error::new(
            Kind::Config,
            format!("device.relay = {other:?} is not supported by this build: use \"sim\" or \"none\""),
        )),
    }
}
