//! The readers of cards: each card that is laid on one, or put into it, is presented once, until it is lifted.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::Inner;
use super::inputs::listen;
use super::presented::present_card;
use super::sessions::Command;
use crate::device::card_reader::{Fitted, Uid};
use crate::device::pcsc::{ContactReader, Seen};
use crate::error::Result;

/// Cards that wait to be presented; a hand lays down no more than this.
const WAITING: usize = 4;

/// Looks in a row without the card after which it has been lifted: one may miss it at the edge of the field.
const LIFTED_AFTER: u32 = 3;

/// How long the reader of chip cards is listened to before the thread looks whether it is to end.
const LOOK: Duration = Duration::from_secs(1);

/// Which card lies on the reader.
#[derive(Debug, Default)]
struct Hold {
    card: Option<Uid>,
    missed: u32,
}

impl Hold {
    /// A look's outcome; a card that was not there before.
    fn see(&mut self, found: Option<Uid>) -> Option<Uid> {
        match found {
            None => {
                self.missed += 1;
                if self.missed >= LIFTED_AFTER {
                    self.card = None;
                }
                None
            }
            Some(card) => {
                self.missed = 0;
                let new = self.card.as_ref() != Some(&card);
                self.card = Some(card.clone());
                new.then_some(card)
            }
        }
    }
}

/// Starts the thread of the reader, and what presents its cards. They end with the gate, or when `stop` is true.
pub(super) fn start(
    gate: &Arc<Inner>,
    commands: &mpsc::Sender<Command>,
    fitted: Fitted,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let Fitted { mut reader, style } = fitted;
    let (laid_down, cards) = mpsc::channel(WAITING);
    let (events, mut failed, mut hold) = (gate.events.clone(), false, Hold::default());
    let mut looked = false;
    listen(
        "card-reader",
        gate,
        stop,
        move |outcome: Result<Option<Uid>>| match outcome {
            Ok(card) => {
                if std::mem::take(&mut failed) {
                    events.send("reader", json!({ "reader": "card_reader", "state": "ok" }));
                }
                card.is_none_or(|card| laid_down.blocking_send(card.number(style)).is_ok())
            }
            Err(error) => {
                failed = true;
                tracing::warn!(%error, "the card reader does not work; the gate keeps trying");
                let fields =
                    json!({ "reader": "card_reader", "state": "failed", "error": error.to_string() });
                events.send("reader", fields);
                true
            }
        },
        move || {
            if std::mem::replace(&mut looked, true) {
                std::thread::sleep(reader.period());
            }
            Ok(hold.see(reader.look()?))
        },
    )?;
    tokio::spawn(present(Arc::downgrade(gate), commands.clone(), cards));
    Ok(())
}

/// The same for a reader of chip cards, which says by itself when a card is new. A card that cannot be read is told, and
/// costs nothing else.
pub(super) fn start_contact(
    gate: &Arc<Inner>,
    commands: &mpsc::Sender<Command>,
    mut reader: ContactReader,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let (put_in, cards) = mpsc::channel(WAITING);
    let (events, mut failed) = (gate.events.clone(), false);
    let tell = move |state: &str, error: Option<String>| {
        let mut fields = json!({ "reader": "contact_reader", "state": state });
        if let Some(error) = error {
            fields["error"] = error.into();
        }
        events.send("reader", fields);
    };
    listen(
        "contact-reader",
        gate,
        stop,
        move |outcome: Result<Option<Seen>>| {
            match &outcome {
                Ok(Some(Seen::Unreadable(error))) => {
                    tracing::info!(%error, "a card in the reader was not presented");
                    tell("unreadable", Some(error.to_string()));
                }
                Ok(_) if std::mem::take(&mut failed) => tell("ok", None),
                Ok(_) => {}
                Err(error) => {
                    failed = true;
                    tracing::warn!(%error, "the reader of chip cards does not work; the gate keeps trying");
                    tell("failed", Some(error.to_string()));
                }
            }
            match outcome {
                Ok(Some(Seen::Card(number))) => put_in.blocking_send(number).is_ok(),
                _ => true,
            }
        },
        move || reader.next(LOOK),
    )?;
    tokio::spawn(present(Arc::downgrade(gate), commands.clone(), cards));
    Ok(())
}

async fn present(gate: Weak<Inner>, commands: mpsc::Sender<Command>, mut cards: mpsc::Receiver<String>) {
    while let Some(number) = cards.recv().await {
        let Some(gate) = gate.upgrade() else { return };
        if let Err(error) = present_card(&gate, &commands, number).await {
            tracing::warn!(%error, "a card on the reader was not presented");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_one_until_it_is_lifted() {
        let card = |byte| Uid::new(&[byte; 4]);
        let mut hold = Hold::default();
        assert_eq!(hold.see(card(1)), card(1));
        for found in [card(1), None, None, card(1), None, card(1)] {
            assert_eq!(hold.see(found), None, "it lies there all the time");
        }
        assert_eq!(hold.see(card(2)), card(2), "another one on top");
        for _ in 0..LIFTED_AFTER {
            assert_eq!(hold.see(None), None);
        }
        assert_eq!(hold.see(card(2)), card(2));
    }
}
