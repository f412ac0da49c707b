//! The voice of the gate: sentences and a beep.

use crate::error::{Error, Kind, Result};
use crate::text::Language;

/// One loudspeaker. A driver may take as long as the sentence does: it has a thread of its own.
pub trait Voice: Send {
    /// Sets the volume, 0 (silent) to 15. On an error the volume is what it was.
    fn set_volume(&mut self, volume: u8) -> Result<()>;

    /// Says a sentence.
    fn say(&mut self, text: &str, language: Language) -> Result<()>;

    /// Beeps once, shortly.
    fn beep(&mut self) -> Result<()>;
}

/// A voice that exists in memory only; the event bus shows what it was told.
#[derive(Debug, Default)]
pub struct SimulatedVoice;

impl Voice for SimulatedVoice {
    fn set_volume(&mut self, _volume: u8) -> Result<()> {
        Ok(())
    }

    fn say(&mut self, _text: &str, _language: Language) -> Result<()> {
        Ok(())
    }

    fn beep(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The voice that `device.voice` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn Voice>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedVoice))),
        other => Err(Error::new(
            Kind::Config,
            format!("device.voice = {other:?} is not supported by this build: use \"sim\" or \"none\""),
        )),
    }
}
