//! The screen towards the visitor.

use super::osdp::Shine;
use crate::error::{Error, Kind, Result};

/// One screen. A driver returns at once.
pub trait Screen: Send {
    /// Lights it, or darkens it.
    fn switch(&mut self, on: bool) -> Result<()>;

    /// What the gate calls itself, above everything else; empty is nothing.
    fn title(&mut self, title: &str) -> Result<()>;

    /// Shows a text in place of the one before.
    fn show(&mut self, text: &str) -> Result<()>;

    /// Shows the LED of an access controller, until told otherwise.
    fn indicate(&mut self, shine: Shine) -> Result<()>;
}

/// A screen that exists in memory only; the event bus shows what it was told.
#[derive(Debug, Default)]
pub struct SimulatedScreen;

impl Screen for SimulatedScreen {
    fn switch(&mut self, _on: bool) -> Result<()> {
        Ok(())
    }

    fn title(&mut self, _title: &str) -> Result<()> {
        Ok(())
    }

    fn show(&mut self, _text: &str) -> Result<()> {
        Ok(())
    }

    fn indicate(&mut self, _shine: Shine) -> Result<()> {
        Ok(())
    }
}

/// The screen that `device.screen` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn Screen>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedScreen))),
        other => Err(Error::new(
            Kind::Config,
            format!("device.screen = {other:?} is not supported by this build: use \"sim\" or \"none\""),
        )),
    }
}
