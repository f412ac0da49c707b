//! The RS485 line: bytes out, over a serial port of the system.

use super::direction::Direction;
use super::serial_port::SerialPort;
pub use super::serial_port::{Line, Parity};
use crate::error::{Error, Kind, Result};

/// A line. A driver may take up to two seconds: it has a thread of its own.
pub trait Rs485: Send {
    /// Opens the line, or gives the open one other parameters. On an error the line is as it was before.
    fn open(&mut self, line: Line) -> Result<()>;

    /// Sends bytes; returns when the system has taken them. `Device` or `Timeout` if it has not: none or some of
    /// them may have gone out. A line that went away is opened again by the next call.
    fn send(&mut self, bytes: &[u8]) -> Result<()>;
}

/// A line that exists in memory only; the event bus shows what it carried.
#[derive(Debug, Default)]
pub struct SimulatedRs485;

impl Rs485 for SimulatedRs485 {
    fn open(&mut self, _line: Line) -> Result<()> {
        Ok(())
    }

    fn send(&mut self, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl Rs485 for SerialPort {
    fn open(&mut self, line: Line) -> Result<()> {
        SerialPort::open(self, line)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        SerialPort::send(self, bytes)
    }
}

/// The line that `device.rs485` names, with the direction that `device.rs485_direction` names; `None` for `none`, and
/// for `osdp:…`, which is [`osdp::open`](super::osdp::open)'s. A port is opened by [`Rs485::open`].
pub fn open(name: &str, direction: &str) -> Result<Option<Box<dyn Rs485>>> {
    // Checked also where nothing needs it: a typing error should not wait for the wire.
    let direction = Direction::open(direction)?;
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedRs485))),
        other if super::osdp::port(other).is_some() => Ok(None),
        other => match other.strip_prefix("serial:").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Some(Box::new(SerialPort::new(path).with_direction(direction)))),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.rs485 = {other:?} is not supported by this build: use \"serial:/dev/ttyS1\" (any port), \
                     \"osdp:/dev/ttyS1\", \"sim\" or \"none\""
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_by_the_configuration() {
        let named = |name: &str| open(name, "adapter");
        assert!(named("none").unwrap().is_none());
        assert!(named("sim").unwrap().is_some());
        assert!(named("serial:/dev/ttyS1").unwrap().is_some());
        assert!(named("osdp:/dev/ttyS1").unwrap().is_none(), "another driver's");
        for name in ["serial:", "serial:ttyS1", "/dev/ttyS1", "osdp:", "osdp:ttyS1", ""] {
            assert!(named(name).err().unwrap().message().contains("device.rs485"), "{name}");
        }
        let error = open("none", "sideways").err().unwrap();
        assert!(error.message().contains("device.rs485_direction"), "{error}");
    }
}
