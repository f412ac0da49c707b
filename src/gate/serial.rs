//! What goes out on the RS485 line.

use std::fmt::Write as _;

use serde_json::json;

use super::worker::{Tended, Worker};
use crate::device::rs485::{Line, Rs485};
use crate::error::{Kind, Result};
use crate::event::Events;

/// The line on its thread.
pub(super) struct SerialOut {
    port: Box<dyn Rs485>,
    /// As the settings want it.
    line: Line,
    /// The port is open like that.
    open: bool,
    /// Its failure has been told.
    told: bool,
    events: Events,
}

impl SerialOut {
    pub(super) fn new(port: Box<dyn Rs485>, line: Line, events: Events) -> Self {
        Self { port, line, open: false, told: false, events }
    }

    /// Opens the port with other parameters; on an error it stays as it was.
    pub(super) fn set_line(&mut self, line: Line) -> Result<()> {
        self.port.open(line)?;
        (self.line, self.open, self.told) = (line, true, false);
        self.events.send("rs485", json!({ "state": "open", "line": line.to_string() }));
        Ok(())
    }

    /// Sends bytes, and says what the wire carried.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if !self.open {
            self.set_line(self.line)?;
        }
        if let Err(error) = self.port.send(bytes) {
            tracing::error!(%error, "bytes for the RS485 line were not sent");
            self.events.send("rs485", json!({ "state": "failed", "error": error.to_string() }));
            if error.kind() == Kind::Device {
                (self.open, self.told) = (false, true);
            }
            return Err(error);
        }
        self.events.send("rs485", json!({ "bytes": hex(bytes), "line": self.line.to_string() }));
        Ok(())
    }
}

impl Tended for SerialOut {
    const NAME: &'static str = "rs485";

    fn settle(&mut self) -> bool {
        if self.open {
            return true;
        }
        let outcome = self.set_line(self.line);
        if let Err(error) = outcome
            && !std::mem::replace(&mut self.told, true)
        {
            tracing::error!(%error, "the RS485 line cannot be opened; the gate keeps trying");
            self.events.send("rs485", json!({ "state": "failed", "error": error.to_string() }));
        }
        self.open
    }
}

impl Worker<SerialOut> {
    /// Sends what belongs to a passage. A line that does not take it costs the output, not the passage.
    pub(super) fn output(&self, bytes: Vec<u8>) {
        // A failure says so itself.
        let order = self.order(move |serial| drop(serial.send(&bytes)));
        if let Err(error) = order {
            tracing::error!(%error, "the serial output of a passage was left out");
        }
    }
}

/// As the QYZN document writes bytes.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}
