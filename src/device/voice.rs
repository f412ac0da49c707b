//! The voice of the gate: sentences and a beep.

mod alsa;
mod examine;
mod folder;
mod play;
mod volume;
mod wav;

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::text::Language;

pub use alsa::AlsaVoice;
pub use examine::examine;
pub use folder::{Folder, check_sentences};

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

/// The voice that `device.voice` names, with its sentences in `folder` (`device.voice_dir`); `None` for `none`. A
/// loudspeaker that is not plugged in is no error here.
pub fn open(name: &str, folder: &Path) -> Result<Option<Box<dyn Voice>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedVoice))),
        name => match name.strip_prefix("alsa:") {
            Some(device) => Ok(Some(Box::new(AlsaVoice::new(device, folder)?))),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.voice = {name:?} is not supported by this build: use \"alsa:DEVICE\" (such as \
                     \"alsa:default\"), \"sim\" or \"none\""
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_voice() {
        let folder = Path::new("/nowhere");
        assert!(open("none", folder).unwrap().is_none());
        assert!(open("sim", folder).unwrap().is_some());
        // Neither the loudspeaker nor its sentences need be there yet.
        assert!(open("alsa:hw:CARD=none", folder).unwrap().is_some());
        for wrong in ["horn", "alsa:", "alsa:a'b", "alsa:a b\n"] {
            let error = open(wrong, folder).err().unwrap();
            assert_eq!(error.kind(), Kind::Config, "{wrong}");
            assert!(error.message().contains("device.voice"), "{error}");
        }
    }
}
