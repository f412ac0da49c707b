//! Lamp and screen: what visitors see. One task owns both drivers.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch as latest};
use tokio::time::{Instant, sleep_until};

use super::report_panic;
use super::settings::{LampMode, LightSettings};
use crate::device::lamp::Lamp;
use crate::device::screen::Screen;
use crate::error::{Error, Kind, Result};
use crate::event::Events;

/// Mean brightness of the picture, 0 to 255, below which a visitor stands in the dark.
const DARK: u8 = 70;

/// Mean brightness above which it is day. Far above [`DARK`], since the lamp itself makes the picture brighter.
const BRIGHT: u8 = 160;

/// How long somebody who is in no frame counts as there.
const LINGERS: Duration = Duration::from_secs(5);

/// Between two attempts to tell a driver what it refused.
const AGAIN: Duration = Duration::from_secs(5);

/// Orders that wait; the task never waits for anything but them.
const WAITING: usize = 64;

/// The last look with a face in it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    brightness: u8,
}

enum Order {
    Show(String),
    Wake,
    Apply(LightSettings, String, oneshot::Sender<Result<()>>),
    Stop(oneshot::Sender<()>),
}

/// The handle of the task. Cheap to clone.
#[derive(Clone)]
pub(super) struct Panel {
    orders: mpsc::Sender<Order>,
    seen: latest::Sender<Option<Seen>>,
}

impl Panel {
    /// The handle, and the task that must be run for it to do anything.
    pub(super) fn new(
        lamp: Option<Box<dyn Lamp>>,
        screen: Option<Box<dyn Screen>>,
        light: LightSettings,
        title: String,
        events: Events,
    ) -> (Self, PanelTask) {
        let (orders, receiver) = mpsc::channel(WAITING);
        let (seen, looks) = latest::channel(None);
        let task = PanelTask {
            lamp,
            screen,
            light,
            title,
            titled: String::new(),
            lamp_on: None,
            screen_on: None,
            seen: None,
            dark: false,
            active: Instant::now(),
            failed: None,
            events,
            orders: receiver,
            looks,
        };
        (Self { orders, seen }, task)
    }

    /// Somebody is there, in a picture of this mean brightness (0 to 255). For the threads of the cameras.
    pub(super) fn see(&self, brightness: u8) {
        self.seen.send_replace(Some(Seen { at: Instant::now(), brightness }));
    }

    /// Somebody does something at the gate.
    pub(super) fn wake(&self) {
        // So many orders wait that the screen is awake.
        let _ = self.orders.try_send(Order::Wake);
    }

    /// Shows a text.
    pub(super) fn show(&self, text: String) {
        if self.orders.try_send(Order::Show(text)).is_err() {
            tracing::warn!("a text was not shown: the screen is behind");
        }
    }

    /// Puts settings in force; on an error lamp and screen are as they were.
    pub(super) async fn apply(&self, light: LightSettings, title: String) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        let stopped = || Error::new(Kind::Stopped, "lamp and screen have been stopped");
        self.orders.send(Order::Apply(light, title, sender)).await.map_err(|_| stopped())?;
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Switches the lamp off and ends the task, after what waits.
    pub(super) async fn stop(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.orders.send(Order::Stop(sender)).await.is_ok() {
            let _ = receiver.await;
        }
    }
}

/// The task.
pub(super) struct PanelTask {
    lamp: Option<Box<dyn Lamp>>,
    screen: Option<Box<dyn Screen>>,
    light: LightSettings,
    /// As it should stand on the screen, and as it does.
    title: String,
    titled: String,
    /// What the drivers were told last; `None` where that is not known.
    lamp_on: Option<bool>,
    screen_on: Option<bool>,
    /// Somebody was in a frame last.
    seen: Option<Instant>,
    /// Whoever is there stands in the dark.
    dark: bool,
    /// Somebody was there, or something was shown, last.
    active: Instant,
    /// A driver refused; it is asked again from then on.
    failed: Option<Instant>,
    events: Events,
    orders: mpsc::Receiver<Order>,
    looks: latest::Receiver<Option<Seen>>,
}

impl PanelTask {
    /// Runs until it is stopped or every [`Panel`] is gone. A panic of a driver is reported and survived.
    pub(super) async fn run(mut self) {
        loop {
            let served = AssertUnwindSafe(self.serve()).catch_unwind().await;
            if served.is_ok() {
                return;
            }
            report_panic(&self.events, "panel");
            (self.lamp_on, self.screen_on) = (None, None);
            self.failed = Some(Instant::now() + AGAIN);
        }
    }

    async fn serve(&mut self) {
        loop {
            self.settle();
            let next = self.next_moment();
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Show(text)) => self.show(&text),
                    Some(Order::Wake) => self.active = Instant::now(),
                    Some(Order::Apply(light, title, answer)) => {
                        let _ = answer.send(self.apply(light, title));
                    }
                    Some(Order::Stop(stopped)) => {
                        let _ = self.switch_lamp(false);
                        let _ = stopped.send(());
                        return;
                    }
                    None => return,
                },
                looked = self.looks.changed(), if self.looks.has_changed().is_ok() => {
                    let look = *self.looks.borrow_and_update();
                    if let (Ok(()), Some(look)) = (looked, look) {
                        self.look(look);
                    }
                }
                () = async { match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {}
            }
        }
    }

    fn look(&mut self, look: Seen) {
        (self.seen, self.active) = (Some(look.at), look.at);
        if look.brightness < DARK {
            self.dark = true;
        } else if look.brightness > BRIGHT {
            self.dark = false;
        }
    }

    fn somebody(&self) -> Option<Instant> {
        self.seen.map(|at| at + LINGERS).filter(|until| *until > Instant::now())
    }

    /// When the screen is to go dark, if ever.
    fn screen_until(&self) -> Option<Instant> {
        let minutes = u64::from(self.light.screen_off_minutes);
        (minutes > 0).then(|| self.active + Duration::from_secs(60 * minutes))
    }

    /// The next moment at which something changes by itself.
    fn next_moment(&self) -> Option<Instant> {
        let screen = self.screen_until().filter(|_| self.screen_on == Some(true));
        [self.somebody(), screen, self.failed].into_iter().flatten().min()
    }

    /// Brings lamp, title and screen to what the settings want now.
    fn settle(&mut self) {
        let now = Instant::now();
        if self.somebody().is_none() {
            (self.seen, self.dark) = (None, false);
        }
        if self.failed.is_some_and(|again| now < again) {
            return;
        }
        let outcome = self.settle_lamp().and_then(|()| self.settle_title()).and_then(|()| {
            let lit = self.screen_until().is_none_or(|until| now < until);
            self.switch_screen(lit)
        });
        if outcome.is_ok() {
            self.failed = None;
        }
    }

    fn settle_lamp(&mut self) -> Result<()> {
        self.switch_lamp(match self.light.lamp {
            LampMode::Off => false,
            LampMode::On => true,
            LampMode::Auto => self.dark,
        })
    }

    fn settle_title(&mut self) -> Result<()> {
        if self.titled == self.title {
            return Ok(());
        }
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let outcome = screen.title(&self.title);
        self.note("screen", &outcome, json!({ "title": self.title }));
        outcome?;
        self.titled.clone_from(&self.title);
        Ok(())
    }

    fn switch_lamp(&mut self, on: bool) -> Result<()> {
        if self.lamp_on == Some(on) {
            return Ok(());
        }
        let Some(lamp) = &mut self.lamp else { return Ok(()) };
        let outcome = lamp.switch(on);
        self.note("lamp", &outcome, json!({ "state": word(on) }));
        self.lamp_on = outcome.is_ok().then_some(on);
        outcome
    }

    fn switch_screen(&mut self, on: bool) -> Result<()> {
        if self.screen_on == Some(on) {
            return Ok(());
        }
        let Some(screen) = &mut self.screen else { return Ok(()) };
        let outcome = screen.switch(on);
        self.note("screen", &outcome, json!({ "state": word(on) }));
        self.screen_on = outcome.is_ok().then_some(on);
        outcome
    }

    fn show(&mut self, text: &str) {
        self.active = Instant::now();
        self.settle();
        let Some(screen) = &mut self.screen else { return };
        let outcome = screen.show(text);
        self.note("screen", &outcome, json!({ "text": text }));
    }

    fn apply(&mut self, light: LightSettings, title: String) -> Result<()> {
        let before = (self.light, std::mem::replace(&mut self.title, title));
        self.light = light;
        // Counted from now: the screen must not go dark because it was idle before.
        self.active = Instant::now();
        let lamp = self.settle_lamp().map_err(|error| named("ledctl.mode", &error));
        let title =
            lamp.and_then(|()| self.settle_title().map_err(|error| named("ProductNameSet.UIName", &error)));
        if title.is_err() {
            (self.light, self.title) = before;
            // What was taken is put back at once, not after a pause.
            self.failed = None;
        }
        title
    }

    /// Says what a driver did, or, the first time, that it failed.
    fn note(&mut self, kind: &'static str, outcome: &Result<()>, done: serde_json::Value) {
        match outcome {
            Ok(()) => self.events.send(kind, done),
            Err(error) => {
                if self.failed.is_none() {
                    tracing::error!(%error, device = kind, "a device did not take its order; it is told again");
                    self.events.send(kind, json!({ "state": "failed", "error": error.to_string() }));
                }
                self.failed = Some(Instant::now() + AGAIN);
            }
        }
    }
}

fn word(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A device's refusal as the refusal of the setting that asked for it.
fn named(key: &str, error: &Error) -> Error {
    Error::new(Kind::Config, format!("{key}: {error}"))
}
