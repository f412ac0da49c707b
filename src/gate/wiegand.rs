//! What goes out on the Wiegand line.

use serde_json::json;

use super::worker::{Tended, Worker};
use crate::device::wiegand::{Format, frame};
use crate::device::wiegand_out::WiegandOut;
use crate::error::Result;
use crate::event::Events;

/// The line on its thread: a frame takes its time on the wire, and no opening waits for it.
pub(super) struct Frames {
    line: Box<dyn WiegandOut>,
    events: Events,
    /// The lines have been brought to rest; until then they are tried again.
    rests: bool,
    told: bool,
}

impl Frames {
    pub(super) fn new(line: Box<dyn WiegandOut>, events: Events) -> Self {
        Self { line, events, rests: false, told: false }
    }

    /// Sends data bits with their parity, and says what the wire carried.
    pub(super) fn send(&mut self, format: Format, value: u64) -> Result<()> {
        let bits = frame(format, value);
        let sent = self.line.send(&bits);
        match &sent {
            Ok(()) => {
                let text: String = bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect();
                self.events.send("wiegand", json!({ "bits": text }));
            }
            Err(error) => {
                tracing::error!(%error, "the Wiegand line did not take the frame");
                self.events.send("wiegand", json!({ "error": error.to_string() }));
                // It may have failed with a wire down.
                (self.rests, self.told) = (false, false);
            }
        }
        sent
    }
}

impl Tended for Frames {
    const NAME: &'static str = "wiegand";

    /// The lines rest high, and must not float until the first frame.
    fn settle(&mut self) -> bool {
        if !self.rests {
            match self.line.rest() {
                Ok(()) => self.rests = true,
                Err(error) => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::error!(%error, "the Wiegand line cannot be had; it is tried again");
                        self.events.send("wiegand", json!({ "error": error.to_string() }));
                    }
                }
            }
        }
        self.rests
    }
}

impl Worker<Frames> {
    /// Sends what belongs to a passage. A line that does not take it costs the output, not the passage.
    pub(super) fn output(&self, format: Format, value: u64) {
        // A failure says so itself.
        let order = self.order(move |line| drop(line.send(format, value)));
        if let Err(error) = order {
            tracing::error!(%error, "the Wiegand output of a passage was left out");
        }
    }
}
