//! The access controller at the other end of an OSDP line: it hears of cards, and drives relay, LED, beeper and text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;

use super::outputs::RelayOrders;
use super::panel::Panel;
use super::report_panic;
use super::speaker::Speaker;
use super::worker::{ANSWERS_WITHIN, Worker};
use crate::config::OsdpReport;
use crate::device::osdp::{
    Abilities, Card, Drive, KeyState, Link, Order, Peripheral, Setup, Shine, Temporary, Told,
};
use crate::device::rs485::Line;
use crate::device::wiegand;
use crate::error::{Context, Error, Kind, Result};
use crate::event::Events;

/// Name of the thread, and of the part in reports.
const NAME: &str = "osdp";

/// Jobs that wait for the thread.
const WAITING: usize = 16;

/// How long the thread waits for the wire before it looks at everything else: OSDP wants to be served every 50 ms.
const TURN: Duration = Duration::from_millis(20);

/// Between two attempts to open a line that is not there.
const AGAIN: Duration = Duration::from_secs(1);

/// For so long the same card is told only once: a card that was read, and the passage that it opened, are one.
const SAME_CARD: Duration = Duration::from_secs(2);

/// The voice's beep is not shorter than this.
const SHORTEST_BEEP: Duration = Duration::from_millis(200);

enum Job {
    Drives(RelayOrders),
    Line(Line, oneshot::Sender<Result<()>>),
    Card(Card),
    Stop(oneshot::Sender<()>),
}

/// The handle of the thread, which ends with the last of them.
#[derive(Clone)]
pub(super) struct Controller {
    jobs: SyncSender<Job>,
    report: OsdpReport,
}

impl Controller {
    /// Starts the thread. It drives the relay from [`Controller::drives`] on.
    pub(super) fn start(
        setup: Setup,
        abilities: Abilities,
        relay_on: Arc<AtomicBool>,
        line: Line,
        panel: Panel,
        voice: Option<Worker<Speaker>>,
        events: Events,
    ) -> Result<Self> {
        let (key_file, report) = (setup.key_file.clone(), setup.report);
        let (peripheral, unusable) = Peripheral::new(setup, abilities, Arc::clone(&relay_on))?;
        let (jobs, receiver) = sync_channel(WAITING);
        let task = Task {
            told_relay: relay_on.load(Ordering::Relaxed),
            peripheral,
            relay_on,
            line,
            open: false,
            again: Instant::now(),
            told: false,
            heard: false,
            link: Link::Offline,
            relay: None,
            panel,
            voice,
            led: Led::default(),
            beeps: None,
            text: Text::default(),
            last_card: None,
            events,
        };
        match (unusable, task.peripheral.key()) {
            (Some(error), _) => task.say_key("unusable", &error.to_string()),
            (None, KeyState::Installed) => {}
            (None, KeyState::Awaited) => task.say_key(
                "awaited",
                "the OSDP controller may install a key; until then it opens nothing and hears of nobody",
            ),
            (None, KeyState::Missing) => task.say_key(
                "missing",
                &format!(
                    "there is no OSDP key in {}: set osdp.install_mode = true and let the controller install one",
                    key_file.display()
                ),
            ),
        }
        std::thread::Builder::new()
            .name(NAME.into())
            .spawn(move || task.run(&receiver))
            .context(|| "the thread of the OSDP line cannot be started")?;
        Ok(Self { jobs, report })
    }

    /// What its output commands act on.
    pub(super) fn drives(&self, relay: RelayOrders) {
        // Nothing else waits yet.
        let _ = self.jobs.try_send(Job::Drives(relay));
    }

    /// Opens the line with other parameters; on an error it stays as it was.
    pub(super) async fn set_line(&self, line: Line) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.order(Job::Line(line, sender))?;
        match tokio::time::timeout(ANSWERS_WITHIN, receiver).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(Error::new(Kind::Timeout, "the OSDP line does not answer")),
        }
    }

    /// A card was presented, whoever's it is.
    pub(super) fn presented(&self, number: &str, format: wiegand::Format) {
        if self.report == OsdpReport::Cards {
            self.card(number, format);
        }
    }

    /// A card was read, or stands for somebody who has passed: as bits of `format` where it is a number.
    pub(super) fn card(&self, number: &str, format: wiegand::Format) {
        let card = match wiegand::number(number) {
            Some(value) => Card::Wiegand(wiegand::frame(format, value)),
            None => Card::Text(number.to_owned()),
        };
        if let Err(error) = self.order(Job::Card(card)) {
            tracing::error!(%error, "the access controller was not told of a card");
        }
    }

    /// Waits until the thread has done what it was told.
    pub(super) async fn stop(&self) {
        let (sender, receiver) = oneshot::channel();
        if self.order(Job::Stop(sender)).is_ok() {
            // One that hangs is left behind.
            let _ = tokio::time::timeout(ANSWERS_WITHIN, receiver).await;
        }
    }

    fn order(&self, job: Job) -> Result<()> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Error::new(Kind::Busy, "the OSDP line is behind with its work"),
            TrySendError::Disconnected(_) => stopped(),
        })
    }
}

fn stopped() -> Error {
    Error::new(Kind::Stopped, "the OSDP line has been stopped")
}

/// The LED as the controller wants it.
struct Led {
    permanent: Shine,
    temporary: Option<(Shine, Instant)>,
    /// As it was shown last.
    shown: Shine,
}

impl Default for Led {
    fn default() -> Self {
        Self { permanent: Shine::DARK, temporary: None, shown: Shine::DARK }
    }
}

/// Beeps that are still to come; `None` of them end by themselves.
struct Beeps {
    left: Option<u8>,
    every: Duration,
    next: Instant,
}

/// The text as the controller wants it.
#[derive(Default)]
struct Text {
    permanent: String,
    until: Option<Instant>,
}

struct Task {
    peripheral: Peripheral,
    relay_on: Arc<AtomicBool>,
    /// The state of the relay that the controller knows.
    told_relay: bool,
    /// As the settings want it.
    line: Line,
    /// It is open like that.
    open: bool,
    /// When it is tried again.
    again: Instant,
    /// Its failure has been told.
    told: bool,
    /// A controller was there that may hear of cards.
    heard: bool,
    link: Link,
    relay: Option<RelayOrders>,
    panel: Panel,
    voice: Option<Worker<Speaker>>,
    led: Led,
    beeps: Option<Beeps>,
    text: Text,
    last_card: Option<(Card, Instant)>,
    events: Events,
}

impl Task {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            // A driver that panics costs the turn, not the gate.
            let turned = catch_unwind(AssertUnwindSafe(|| self.turn(jobs)));
            match turned {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    report_panic(&self.events, NAME);
                    std::thread::sleep(AGAIN);
                }
            }
        }
    }

    /// Does what there is to do, then waits for the wire, or for a job where there is none. False: end.
    fn turn(&mut self, jobs: &Receiver<Job>) -> bool {
        loop {
            match jobs.try_recv() {
                Ok(job) => self.job(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        self.settle();
        let until = self.next_moment();
        if self.open {
            if let Err(error) = self.peripheral.turn(until) {
                self.fail(&error);
            }
        } else {
            match jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(job) => self.job(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        for told in self.peripheral.told() {
            self.hear(told);
        }
        self.follow_link();
        self.follow_relay();
        self.move_on();
        true
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Drives(relay) => self.relay = Some(relay),
            Job::Line(line, answer) => {
                let _ = answer.send(self.set_line(line));
            }
            Job::Card(card) => self.card(card),
            Job::Stop(stopped) => {
                let _ = stopped.send(());
            }
        }
    }

    fn set_line(&mut self, line: Line) -> Result<()> {
        self.peripheral.open(line)?;
        (self.line, self.open, self.told) = (line, true, false);
        self.events.send("rs485", json!({ "state": "open", "line": line.to_string() }));
        Ok(())
    }

    fn settle(&mut self) {
        if self.open || Instant::now() < self.again {
            return;
        }
        if let Err(error) = self.set_line(self.line) {
            self.fail(&error);
        }
    }

    fn fail(&mut self, error: &Error) {
        (self.open, self.again) = (false, Instant::now() + AGAIN);
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!(%error, "the OSDP line does not work; the gate keeps trying");
            self.events.send("rs485", json!({ "state": "failed", "error": error.to_string() }));
        }
    }

    /// When to look at something other than the wire.
    fn next_moment(&self) -> Instant {
        let now = Instant::now();
        let longest = now + if self.open { TURN } else { AGAIN };
        let moments = [
            (!self.open).then_some(self.again),
            self.led.temporary.map(|(_, until)| until),
            self.beeps.as_ref().map(|beeps| beeps.next),
            self.text.until,
        ];
        moments.into_iter().flatten().fold(longest, Instant::min)
    }

    fn say_key(&self, state: &str, what: &str) {
        tracing::warn!(state, "{what}");
        self.events.send("rs485", json!({ "osdp": "key", "state": state, "error": what }));
    }

    fn card(&mut self, card: Card) {
        let now = Instant::now();
        let again = |(last, at): &(Card, Instant)| *last == card && now.duration_since(*at) < SAME_CARD;
        if self.last_card.as_ref().is_some_and(again) {
            return;
        }
        let outcome = self.peripheral.report(&card);
        let mut fields = match &card {
            Card::Wiegand(bits) => {
                let bits: String = bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect();
                json!({ "osdp": "card", "bits": bits })
            }
            // No number, so what it is cannot be told from here.
            Card::Text(text) => json!({ "osdp": "card", "bytes": text.len() }),
        };
        match outcome {
            Ok(()) => self.last_card = Some((card, now)),
            Err(error) => {
                tracing::warn!(%error, "the access controller was not told of a card");
                fields["error"] = error.to_string().into();
            }
        }
        self.events.send("rs485", fields);
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Order(order) => self.carry_out(order),
            Told::KeyInstalled => {
                tracing::info!("the access controller has installed a key for its OSDP line");
                self.events.send("rs485", json!({ "osdp": "key", "state": "installed" }));
            }
            Told::KeyRefused(error) => self.say_key("refused", &error),
            Told::Refused(command) => {
                tracing::warn!(command, "a command of the access controller was refused");
                self.events.send("rs485", json!({ "osdp": command, "state": "refused" }));
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        let now = Instant::now();
        match order {
            Order::Led { temporary, permanent } => {
                match temporary {
                    Temporary::Keep => {}
                    Temporary::Cancel => self.led.temporary = None,
                    Temporary::Shine(shine, length) => self.led.temporary = Some((shine, now + length)),
                }
                self.led.permanent = permanent.unwrap_or(self.led.permanent);
            }
            Order::Beep { times, every } => {
                let every = every.max(SHORTEST_BEEP);
                self.beeps = Some(Beeps { left: (times > 0).then_some(times), every, next: now });
            }
            Order::Silence => self.beeps = None,
            Order::Text { text, shown } => {
                self.panel.show(text.clone());
                self.text.until = shown.map(|shown| now + shown);
                if shown.is_none() {
                    self.text.permanent = text;
                }
            }
            Order::Output(drive) => self.drive(drive),
        }
    }

    fn drive(&mut self, drive: Drive) {
        let Some(relay) = &self.relay else { return };
        if let Err(error) = relay.drive(drive) {
            tracing::error!(%error, "an order of the access controller to the relay was left out");
            self.events.send("rs485", json!({ "osdp": "output", "error": error.to_string() }));
        }
    }

    /// Says when the controller comes and goes. What one that went away had ordered ends: nobody is there to end it.
    fn follow_link(&mut self) {
        let link = self.peripheral.link();
        if link != std::mem::replace(&mut self.link, link) {
            tracing::info!(?link, "the OSDP line");
            self.events.send("rs485", json!({ "osdp": "link", "state": link }));
        }
        let heard = self.peripheral.is_heard();
        if !std::mem::replace(&mut self.heard, heard) || heard {
            return;
        }
        self.peripheral.forget();
        self.drive(Drive::Permanent { on: false, abort: true });
        (self.led.permanent, self.led.temporary, self.beeps) = (Shine::DARK, None, None);
        if !std::mem::take(&mut self.text.permanent).is_empty() || self.text.until.take().is_some() {
            self.panel.show(String::new());
        }
    }

    /// Tells the controller when the relay has switched, whoever did it.
    fn follow_relay(&mut self) {
        let on = self.relay_on.load(Ordering::Relaxed);
        // Not told: it is when there is room again, or asked for.
        if self.heard && on != self.told_relay && self.peripheral.report_output().is_ok() {
            self.told_relay = on;
        }
    }

    /// What time brings.
    fn move_on(&mut self) {
        let now = Instant::now();
        self.led.temporary.take_if(|(_, until)| *until <= now);
        let wanted = self.led.temporary.map_or(self.led.permanent, |(shine, _)| shine);
        if wanted != std::mem::replace(&mut self.led.shown, wanted) {
            self.panel.indicate(wanted);
        }
        if self.text.until.take_if(|until| *until <= now).is_some() {
            self.panel.show(self.text.permanent.clone());
        }
        if let Some(beeps) = &mut self.beeps
            && beeps.next <= now
        {
            if let Some(voice) = &self.voice {
                voice.beep();
            }
            beeps.next = now + beeps.every;
            beeps.left = beeps.left.map(|left| left - 1);
            if beeps.left == Some(0) {
                self.beeps = None;
            }
        }
    }
}
