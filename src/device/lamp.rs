//! The lamp that lights visitors.

use super::gpio::{Abi, Name, Output};
use crate::error::{Error, Kind, Result};

/// One lamp.
pub trait Lamp: Send {
    /// Switches it.
    fn switch(&mut self, on: bool) -> Result<()>;

    /// Whether it can never take its time. Any other gets a thread of its own.
    fn at_once(&self) -> bool {
        false
    }
}

/// A lamp on a GPIO line.
pub struct GpioLamp {
    line: Output,
    active_low: bool,
}

impl GpioLamp {
    /// On the line that is named, which need not be there yet; `low` behind it means that the low level lights.
    pub fn new(name: Name, abi: Abi) -> Self {
        let active_low = name.has("low");
        Self { line: Output::new(name, "menshen lamp", abi), active_low }
    }
}

impl Lamp for GpioLamp {
    fn switch(&mut self, on: bool) -> Result<()> {
        self.line.set(&[on != self.active_low])
    }
}

/// A lamp that exists in memory only; the event bus shows what it was told.
#[derive(Debug, Default)]
pub struct SimulatedLamp;

impl Lamp for SimulatedLamp {
    fn switch(&mut self, _on: bool) -> Result<()> {
        Ok(())
    }

    fn at_once(&self) -> bool {
        true
    }
}

/// The lamp that `device.lamp` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn Lamp>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedLamp))),
        other => match Name::parse(other, 1, &["low"]) {
            Some(name) => Ok(Some(Box::new(GpioLamp::new(name, Abi::Newest)))),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.lamp = {other:?} is not supported by this build: use \"gpio:CHIP:LINE\", with \":low\" \
                     behind it if the low level lights, \"sim\" or \"none\""
                ),
            )),
        },
    }
}
