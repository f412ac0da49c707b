//! The lamp that lights visitors.

use crate::error::{Error, Kind, Result};

/// One lamp. A driver returns at once: it is called between two visitors, not beside them.
pub trait Lamp: Send {
    /// Switches it.
    fn switch(&mut self, on: bool) -> Result<()>;
}

/// A lamp that exists in memory only; the event bus shows what it was told.
#[derive(Debug, Default)]
pub struct SimulatedLamp;

impl Lamp for SimulatedLamp {
    fn switch(&mut self, _on: bool) -> Result<()> {
        Ok(())
    }
}

/// The lamp that `device.lamp` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn Lamp>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedLamp))),
        other => Err(Error::new(
            Kind::Config,
            format!("device.lamp = {other:?} is not supported by this build: use \"sim\" or \"none\""),
        )),
    }
}
