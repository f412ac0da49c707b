//! Lamp and screen: what visitors see. One task owns both drivers.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch as latest};
use tokio::time::{Instant, sleep_until};

use super::driver::Driver;
use super::report_panic;
use super::settings::{LampMode, LightSettings};
use crate::device::lamp::Lamp;
use crate::device::osdp::Shine;
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
    Indicate(Shine),
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
        lamp: Option<Driver<dyn Lamp>>,
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
            indicated: false,
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

    /// Shows the LED of an access controller: on the screen, or with the lamp where there is none.
    pub(super) fn indicate(&self, shine: Shine) {
        if self.orders.try_send(Order::Indicate(shine)).is_err() {
            tracing::warn!("the LED of the access controller was not shown: the screen is behind");
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
    lamp: Option<Driver<dyn Lamp>>,
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
    /// The LED of an access controller shines, and the lamp stands for it.
    indicated: bool,
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
            self.settle().await;
            let next = self.next_moment();
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Show(text)) => self.show(&text).await,
                    Some(Order::Indicate(shine)) => self.indicate(shine),
                    Some(Order::Wake) => self.active = Instant::now(),
                    Some(Order::Apply(light, title, answer)) => {
                        let outcome = self.apply(light, title).await;
                        let _ = answer.send(outcome);
                    }
                    Some(Order::Stop(stopped)) => {
                        let _ = self.switch_lamp(false).await;
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
    async fn settle(&mut self) {
        let now = Instant::now();
        if self.somebody().is_none() {
            (self.seen, self.dark) = (None, false);
        }
        if self.failed.is_some_and(|again| now < again) {
            return;
        }
        let outcome = self.settle_lamp().await.and_then(|()| self.settle_title()).and_then(|()| {
            let lit = self.screen_until().is_none_or(|until| now < until);
            self.switch_screen(lit)
        });
        if outcome.is_ok() {
            self.failed = None;
        }
    }

    async fn settle_lamp(&mut self) -> Result<()> {
        let on = match self.light.lamp {
            _ if self.indicated => true,
            LampMode::Off => false,
            LampMode::On => true,
            LampMode::Auto => self.dark,
        };
        self.switch_lamp(on).await
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

    async fn switch_lamp(&mut self, on: bool) -> Result<()> {
        if self.lamp_on == Some(on) {
            return Ok(());
        }
        let Some(lamp) = &mut self.lamp else { return Ok(()) };
        let outcome = lamp.ask(on, move |lamp| lamp.switch(on)).await;
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

    async fn show(&mut self, text: &str) {
        self.active = Instant::now();
        self.settle().await;
        let Some(screen) = &mut self.screen else { return };
        let outcome = screen.show(text);
        self.note("screen", &outcome, json!({ "text": text }));
    }

    fn indicate(&mut self, shine: Shine) {
        let Some(screen) = &mut self.screen else {
            self.indicated = shine.lit();
            return;
        };
        let outcome = screen.indicate(shine);
        self.note("screen", &outcome, json!({ "led": shine }));
    }

    async fn apply(&mut self, light: LightSettings, title: String) -> Result<()> {
        let before = (self.light, std::mem::replace(&mut self.title, title));
        self.light = light;
        // Counted from now: the screen must not go dark because it was idle before.
        self.active = Instant::now();
        // Only what changes: a name is not refused for a lamp that is broken.
        let mut outcome = Ok(());
        if self.light != before.0 {
            outcome = self.settle_lamp().await.map_err(|error| named("ledctl.mode", &error));
        }
        if outcome.is_ok() && self.title != before.1 {
            outcome = self.settle_title().map_err(|error| named("ProductNameSet.UIName", &error));
        }
        if outcome.is_err() {
            (self.light, self.title) = before;
            // What was taken is put back at once, not after a pause.
            self.failed = None;
        }
        outcome
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::broadcast;

    use super::*;
    use crate::clock::{ManualClock, SharedClock};
    use crate::device::lamp::SimulatedLamp;
    use crate::device::screen::SimulatedScreen;
    use crate::event::Event;

    /// A lamp and a screen that refuse while they are told to.
    #[derive(Clone, Default)]
    struct Faulty(Arc<AtomicBool>);

    impl Faulty {
        fn outcome(&self) -> Result<()> {
            match self.0.load(Ordering::SeqCst) {
                true => Err(Error::new(Kind::Device, "the wire is broken")),
                false => Ok(()),
            }
        }
    }

    impl Lamp for Faulty {
        fn switch(&mut self, _on: bool) -> Result<()> {
            self.outcome()
        }
    }

    impl Screen for Faulty {
        fn switch(&mut self, _on: bool) -> Result<()> {
            Ok(())
        }

        fn title(&mut self, _title: &str) -> Result<()> {
            self.outcome()
        }

        fn indicate(&mut self, _shine: Shine) -> Result<()> {
            Ok(())
        }

        fn show(&mut self, _text: &str) -> Result<()> {
            Ok(())
        }
    }

    struct Bench {
        panel: Panel,
        events: broadcast::Receiver<Arc<Event>>,
        started: Instant,
    }

    impl Bench {
        fn new(lamp: Box<dyn Lamp>, screen: Box<dyn Screen>, light: LightSettings) -> Self {
            let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
            let bus = Events::new(clock);
            let (_, events) = bus.subscribe(0);
            let (panel, task) =
                Panel::new(Some(Driver::AtOnce(lamp)), Some(screen), light, "Gate 5".into(), bus);
            tokio::spawn(task.run());
            Self { panel, events, started: Instant::now() }
        }

        fn simulated(lamp: LampMode, screen_off_minutes: u8) -> Self {
            let light = LightSettings { lamp, screen_off_minutes };
            Self::new(Box::new(SimulatedLamp), Box::new(SimulatedScreen), light)
        }

        /// The next event: its kind, what it says, and when, in seconds since the start.
        async fn next(&mut self) -> (&'static str, String, u64) {
            let event = self.events.recv().await.unwrap();
            let said = ["state", "title", "text"].iter().find_map(|key| event.fields.get(*key)).unwrap();
            (event.kind, said.as_str().unwrap().to_owned(), self.started.elapsed().as_secs())
        }

        async fn begun(&mut self, lamp: &str) {
            assert_eq!(self.next().await, ("lamp", lamp.into(), 0));
            assert_eq!(self.next().await, ("screen", "Gate 5".into(), 0));
            assert_eq!(self.next().await, ("screen", "on".into(), 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lamp_on_auto_lights_whoever_stands_in_the_dark() {
        let mut bench = Bench::simulated(LampMode::Auto, 0);
        bench.begun("off").await;
        // By day it stays off; it goes on in the dark, and the light it makes does not put it out.
        bench.panel.see(BRIGHT);
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.panel.see(DARK - 1);
        assert_eq!(bench.next().await, ("lamp", "on".into(), 1));
        tokio::time::sleep(Duration::from_secs(2)).await;
        bench.panel.see(BRIGHT);
        // Five seconds after the last look nobody is there.
        assert_eq!(bench.next().await, ("lamp", "off".into(), 8));
        // The sun comes out while somebody is there.
        bench.panel.see(0);
        assert_eq!(bench.next().await, ("lamp", "on".into(), 8));
        bench.panel.see(BRIGHT + 1);
        assert_eq!(bench.next().await, ("lamp", "off".into(), 8));
    }

    #[tokio::test(start_paused = true)]
    async fn on_and_off_ask_nobody() {
        let mut bench = Bench::simulated(LampMode::On, 0);
        bench.begun("on").await;
        bench.panel.see(255);
        bench
            .panel
            .apply(LightSettings { lamp: LampMode::Off, screen_off_minutes: 0 }, "Gate 6".into())
            .await
            .unwrap();
        assert_eq!(bench.next().await, ("lamp", "off".into(), 0));
        assert_eq!(bench.next().await, ("screen", "Gate 6".into(), 0));
        bench.panel.see(0);
        bench.panel.show("text".into());
        assert_eq!(bench.next().await, ("screen", "text".into(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_screen_goes_dark_without_visitors_and_wakes_with_the_next() {
        let mut bench = Bench::simulated(LampMode::Off, 2);
        bench.begun("off").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        bench.panel.see(128);
        assert_eq!(bench.next().await, ("screen", "off".into(), 180), "two minutes after the last face");
        tokio::time::sleep(Duration::from_secs(20)).await;
        bench.panel.see(128);
        assert_eq!(bench.next().await, ("screen", "on".into(), 200));
        assert_eq!(bench.next().await, ("screen", "off".into(), 320));
        // A text wakes it before it is shown.
        bench.panel.show("请刷卡".into());
        assert_eq!(bench.next().await, ("screen", "on".into(), 320));
        assert_eq!(bench.next().await, ("screen", "请刷卡".into(), 320));
        assert_eq!(bench.next().await, ("screen", "off".into(), 440));
        bench.panel.wake();
        assert_eq!(bench.next().await, ("screen", "on".into(), 440));
        // Never from now on.
        let never = LightSettings { lamp: LampMode::Off, screen_off_minutes: 0 };
        bench.panel.apply(never, "Gate 5".into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        bench.panel.show("later".into());
        assert_eq!(bench.next().await.1, "later");
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_refuses_is_told_again_and_refuses_settings() {
        let broken = Faulty::default();
        broken.0.store(true, Ordering::SeqCst);
        let light = LightSettings { lamp: LampMode::Off, screen_off_minutes: 0 };
        let mut bench = Bench::new(Box::new(broken.clone()), Box::new(broken.clone()), light);
        assert_eq!(bench.next().await, ("lamp", "failed".into(), 0));
        broken.0.store(false, Ordering::SeqCst);
        assert_eq!(bench.next().await, ("lamp", "off".into(), 5));
        assert_eq!(bench.next().await, ("screen", "Gate 5".into(), 5));
        assert_eq!(bench.next().await, ("screen", "on".into(), 5));

        broken.0.store(true, Ordering::SeqCst);
        let on = LightSettings { lamp: LampMode::On, ..light };
        let error = bench.panel.apply(on, "Gate 5".into()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.message(), "ledctl.mode: the wire is broken");
        let error = bench.panel.apply(light, "Gate 6".into()).await.unwrap_err();
        assert_eq!(error.message(), "ProductNameSet.UIName: the wire is broken");
        assert_eq!(bench.next().await.1, "failed");
        broken.0.store(false, Ordering::SeqCst);
        bench.panel.apply(light, "Gate 6".into()).await.unwrap();
        loop {
            if bench.next().await.1 == "Gate 6" {
                break;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn at_a_stop_the_lamp_goes_off() {
        let mut bench = Bench::simulated(LampMode::On, 0);
        bench.begun("on").await;
        bench.panel.stop().await;
        assert_eq!(bench.next().await, ("lamp", "off".into(), 0));
    }
}
