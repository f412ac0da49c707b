//! The relay of the door.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gpio::{Abi, Name, Output};
use crate::error::{Error, Kind, Result};

/// One output line that a relay hangs on.
pub trait Relay: Send {
    /// Puts the line to a level: true is high. Returns when the line has it.
    fn set_level(&mut self, high: bool) -> Result<()>;

    /// Whether it can never take its time. Any other gets a thread of its own, for a line behind a slow bus may need
    /// milliseconds, and one behind a broken bus seconds.
    fn at_once(&self) -> bool {
        false
    }
}

/// A relay on a GPIO line. The line is asked for when it is driven first: at start, to the level of rest.
pub struct GpioRelay(Output);

impl GpioRelay {
    /// On the line that is named, which need not be there yet.
    pub fn new(name: Name, abi: Abi) -> Self {
        Self(Output::new(name, "menshen relay", abi))
    }
}

impl Relay for GpioRelay {
    fn set_level(&mut self, high: bool) -> Result<()> {
        self.0.set(&[high])
    }
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

    fn at_once(&self) -> bool {
        true
    }
}

/// The relay that `device.relay` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn Relay>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedRelay::default()))),
        "sim:stuck" => Ok(Some(Box::new(super::stuck::StuckRelay::default()))),
        other => match Name::parse(other, 1, &[]) {
            Some(name) => Ok(Some(Box::new(GpioRelay::new(name, Abi::Newest)))),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.relay = {other:?} is not supported by this build: use \"gpio:CHIP:LINE\", \"sim\" or \
                     \"none\" (settings.relay.active_low says which level opens)"
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_are_named_by_the_configuration() {
        assert!(open("none").unwrap().is_none());
        assert!(open("sim").unwrap().unwrap().at_once());
        // A chip that is not there is no error yet.
        let mut relay = open("gpio:no such chip:17").unwrap().unwrap();
        assert!(!relay.at_once());
        let error = relay.set_level(false).unwrap_err();
        assert!(error.message().starts_with("no GPIO chip is called \"no such chip\""), "{error}");
        for name in ["gpio:17", "gpio:gpiochip0:17:low", "gpio:gpiochip0:1,2", "usb"] {
            let error = open(name).err().unwrap();
            assert!(
                error.message().contains("device.relay") && error.message().contains("active_low"),
                "{name}"
            );
        }
    }
}
