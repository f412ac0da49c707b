//! What visitors hear.

use std::time::{Duration, Instant};

use serde_json::json;

use super::worker::{Tended, Worker};
use crate::device::voice::Voice;
use crate::error::Result;
use crate::event::Events;
use crate::text::Language;

/// A sentence that could not be begun within this time is not said any more: it would be heard by the next visitor.
const STALE: Duration = Duration::from_secs(3);

/// The voice on its thread.
pub(super) struct Speaker {
    voice: Box<dyn Voice>,
    /// As the settings want it.
    volume: u8,
    /// The voice has that volume.
    set: bool,
    /// A failure has been told.
    told: bool,
    events: Events,
}

impl Speaker {
    pub(super) fn new(voice: Box<dyn Voice>, volume: u8, events: Events) -> Self {
        Self { voice, volume, set: false, told: false, events }
    }

    /// Changes the volume; on an error it is what it was.
    pub(super) fn set_volume(&mut self, volume: u8) -> Result<()> {
        self.voice.set_volume(volume)?;
        (self.volume, self.set, self.told) = (volume, true, false);
        Ok(())
    }

    fn note(&mut self, outcome: Result<()>, carried: serde_json::Value) {
        match outcome {
            Ok(()) => self.events.send("voice", carried),
            Err(error) => {
                tracing::error!(%error, "the voice failed");
                self.events.send("voice", json!({ "state": "failed", "error": error.to_string() }));
            }
        }
    }
}

impl Tended for Speaker {
    const NAME: &'static str = "voice";

    fn settle(&mut self) -> bool {
        if self.set {
            return true;
        }
        match self.voice.set_volume(self.volume) {
            Ok(()) => (self.set, self.told) = (true, false),
            Err(error) if !self.told => {
                self.told = true;
                self.note(Err(error), json!({}));
            }
            Err(_) => {}
        }
        self.set
    }
}

impl Worker<Speaker> {
    /// Says a sentence, after those that wait.
    pub(super) fn say(&self, text: &'static str, language: Language) {
        let ordered = Instant::now();
        let order = self.order(move |speaker| {
            if ordered.elapsed() < STALE {
                let outcome = speaker.voice.say(text, language);
                let volume = speaker.volume;
                speaker.note(outcome, json!({ "text": text, "language": language, "volume": volume }));
            }
        });
        if let Err(error) = order {
            tracing::warn!(%error, "a sentence was not said");
        }
    }

    /// Beeps, after what waits.
    pub(super) fn beep(&self) {
        let ordered = Instant::now();
        let order = self.order(move |speaker| {
            if ordered.elapsed() < STALE {
                let outcome = speaker.voice.beep();
                speaker.note(outcome, json!({ "beep": true }));
            }
        });
        if let Err(error) = order {
            tracing::warn!(%error, "a beep was left out");
        }
    }
}
