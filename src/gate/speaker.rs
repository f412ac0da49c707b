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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::clock::SystemClock;
    use crate::error::{Error, Kind};

    /// A loudspeaker that says when it was asked, and does not return until it is let go.
    struct Hanging {
        asked: Sender<String>,
        go: Receiver<()>,
    }

    impl Voice for Hanging {
        fn set_volume(&mut self, _volume: u8) -> Result<()> {
            Ok(())
        }

        fn say(&mut self, text: &str, _language: Language) -> Result<()> {
            self.asked.send(text.to_owned()).unwrap();
            self.go.recv().unwrap();
            Err(Error::new(Kind::Timeout, "the loudspeaker takes no sound"))
        }

        fn beep(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_loudspeaker_that_hangs_holds_nobody_and_says_nothing_stale() {
        let bus = Events::new(Arc::new(SystemClock));
        let (_, mut events) = bus.subscribe(0);
        let (asked, was_asked) = channel();
        let (let_go, go) = channel();
        let speaker = Speaker::new(Box::new(Hanging { asked, go }), 8, bus.clone());
        let worker = Worker::start(speaker, bus).unwrap();
        let began = Instant::now();
        worker.say("first", Language::English);
        assert_eq!(was_asked.recv().unwrap(), "first");
        // More than can wait: none of them waits for the device, and the last are left out.
        for _ in 0..100 {
            worker.say("for a visitor who has gone", Language::English);
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let volume = worker.ask(Duration::from_millis(50), |speaker| speaker.set_volume(9)).await;
        assert_eq!(volume.unwrap_err().kind(), Kind::Busy);
        // All that wait were ordered before now.
        std::thread::sleep(STALE);
        let_go.send(()).unwrap();
        let event = events.recv().await.unwrap();
        assert_eq!(
            (event.kind, event.fields["state"].as_str(), event.fields["error"].as_str()),
            ("voice", Some("failed"), Some("the loudspeaker takes no sound"))
        );
        // What waited is stale; who comes now is heard.
        // The event came while the queue was still full.
        while let Err(error) = worker.ask(Duration::from_secs(30), |_| Ok(())).await {
            assert_eq!(error.kind(), Kind::Busy);
            std::thread::yield_now();
        }
        worker.say("for a visitor who is there", Language::English);
        assert_eq!(was_asked.recv().unwrap(), "for a visitor who is there");
        let_go.send(()).unwrap();
        assert!(was_asked.try_recv().is_err());
    }
}
