//! The door: relay pulses, and what goes out on the lines. One task owns the relay; whoever opens sends it an order
//! and need not wait for the pulse to end. Frames of a platform's own wait in queues of their own, one for each
//! line, so that no number of them stands between a visitor and the door.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot, watch as latest};
use tokio::time::{Instant, sleep_until};

use super::controller::Controller;
use super::driver::Driver;
use super::hardware::Templates;
use super::serial::SerialOut;
use super::settings::{Payload, RelaySettings, SerialPayload, Settings};
use super::wiegand::Frames;
use super::worker::{ANSWERS_WITHIN, Tended, Worker};
use super::{OrderedBy, report_panic};
use crate::access::Person;
use crate::alive::{Heartbeat, TURN};
use crate::device::osdp::Drive;
use crate::device::relay::Relay;
use crate::device::wiegand;
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::store::RecordId;

/// The shortest pulse a relay is given: QYZN allows `outputInterval` 0, and no relay closes in no time.
const SHORTEST_PULSE: Duration = Duration::from_millis(20);

/// Before a relay that did not take an order is ordered to rest again.
const OFF_AGAIN: Duration = Duration::from_millis(200);

/// The same once it has refused for a while: its chip is not there.
const OFF_AGAIN_LATER: Duration = Duration::from_secs(5);

/// Refusals in a row until then.
const REFUSALS: u32 = 25;

/// Openings and settings that wait to be served; more than these would be openings nobody stands for any more. What
/// takes back an opening or comes from the access controller always finds a place: what it shuts would stay open.
const WAITING_ORDERS: usize = 16;

/// Openings that wait for their delay, and openings that one pulse stands for.
const WAITING_OPENINGS: usize = 16;

/// Frames of a platform's own that wait for one line.
const WAITING_FRAMES: usize = 16;

/// What the task is told.
enum Order {
    /// Open once.
    Open(Box<Opening>, oneshot::Sender<Result<()>>, OwnedSemaphorePermit),
    /// End the pulse that `record` began, if it is still on.
    Close(RecordId),
    /// The relay opens and rests at these levels from now on.
    Rest(RelaySettings, oneshot::Sender<Result<()>>, OwnedSemaphorePermit),
    /// What the access controller wants of the relay.
    Drive(Drive),
    /// End.
    Stop,
}

/// One opening.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Who or what opened.
    pub by: OpenedBy,
    /// For whom; nothing goes out on the lines for nobody.
    pub person: Option<Box<Person>>,
    /// How the relay is driven: whether, how long and when. At which level is what the gate is set to when it is.
    pub relay: RelaySettings,
    /// How the Wiegand line is driven.
    pub format: wiegand::Format,
    /// What goes out on the Wiegand line.
    pub wiegand: Payload,
    /// What goes out on the RS485 line.
    pub serial: SerialPayload,
}

/// Why the door opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenedBy {
    /// The verdict or the platform's answer to this record.
    Record(RecordId),
    /// A verdict whose record could not be stored, or is not kept.
    Unrecorded,
    /// An order without a record.
    Order(OrderedBy),
}

impl Opening {
    /// An opening as `settings` want it, for `person` where it is known.
    pub fn new(by: OpenedBy, settings: &Settings, person: Option<&Person>) -> Self {
        Self {
            by,
            person: person.cloned().map(Box::new),
            relay: settings.relay,
            format: settings.wiegand.format,
            wiegand: settings.wiegand.payload,
            serial: settings.serial.payload,
        }
    }

    /// The number for the Wiegand line, as text.
    fn wiegand(&self, templates: &Templates) -> Option<String> {
        let person = self.person.as_ref()?;
        match self.wiegand {
            Payload::Nothing => None,
            Payload::PersonId => Some(person.key.id.clone()),
            Payload::CardNumber => person.card.clone().filter(|card| !card.is_empty()),
            Payload::Custom => Some(templates.wiegand.fill(person)).filter(|text| !text.is_empty()),
        }
    }

    /// The text for the RS485 line.
    fn serial(&self, templates: &Templates) -> Option<String> {
        let person = self.person.as_ref()?;
        let text = match self.serial {
            SerialPayload::Nothing => None,
            SerialPayload::PersonId => Some(person.key.id.clone()),
            SerialPayload::CardNumber => person.card.clone(),
            SerialPayload::Custom => Some(templates.serial.fill(person)),
        };
        text.filter(|text| !text.is_empty())
    }
}

/// When the door was free to be opened: the latest openings, each from the order to the end of its pulse.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Openings([Option<(Instant, Instant)>; 4]);

impl Openings {
    /// Whether the door was free at this moment, or had been until shortly before it.
    pub(super) fn cover(&self, at: Instant, grace: Duration) -> bool {
        self.0.iter().flatten().any(|(since, until)| (*since..=*until + grace).contains(&at))
    }

    /// The end of the last one.
    pub(super) fn last(&self) -> Option<Instant> {
        self.0.iter().flatten().map(|(_, until)| *until).max()
    }

    /// An opening begins, or one that is on goes on.
    pub(super) fn note(&mut self, now: Instant, until: Instant) {
        match self.0.iter_mut().flatten().find(|(_, end)| *end >= now) {
            Some((_, end)) => *end = until.max(*end),
            None => {
                self.0.rotate_right(1);
                self.0[0] = Some((now, until));
            }
        }
    }

    /// What is on ends.
    fn end(&mut self, now: Instant) {
        for (_, until) in self.0.iter_mut().flatten() {
            *until = (*until).min(now);
        }
    }
}

/// What hangs on the outputs; `None` is not there.
pub(super) struct Lines {
    /// The relay.
    pub(super) relay: Option<Driver<dyn Relay>>,
    /// The Wiegand output.
    pub(super) wiegand: Option<Worker<Frames>>,
    /// The RS485 line.
    pub(super) serial: Option<Worker<SerialOut>>,
    /// The access controller, which hears of cards.
    pub(super) controller: Option<Controller>,
    /// The state of the relay, for whoever asks.
    pub(super) relay_on: Arc<AtomicBool>,
    /// What goes out where the settings say `custom`.
    pub(super) templates: Templates,
}

/// What an access controller holds of the relay. It does not keep the task alive, which itself tells the controller of
/// cards.
pub(super) struct RelayOrders(mpsc::WeakUnboundedSender<Order>);

impl RelayOrders {
    /// Gives the controller's order at once, after those that wait. It is not lost, however many do: a door that the
    /// controller held open would have nobody left to shut it.
    pub(super) fn drive(&self, drive: Drive) -> Result<()> {
        let orders = self.0.upgrade().ok_or_else(stopped)?;
        orders.send(Order::Drive(drive)).map_err(|_| stopped())
    }
}

/// The handle of the task. Cheap to clone.
#[derive(Clone)]
pub struct Outputs {
    orders: mpsc::UnboundedSender<Order>,
    /// Places for orders that may be refused.
    places: Arc<Semaphore>,
    wiegand: Option<Queue<Frames>>,
    serial: Option<Queue<SerialOut>>,
    /// The RS485 line speaks OSDP.
    osdp: bool,
    openings: latest::Receiver<Openings>,
}

impl Outputs {
    /// The handle, and the task that must be run for it to do anything. Starts those of the platform's frames on
    /// the current runtime.
    pub(super) fn new(lines: Lines, events: Events) -> (Self, OutputTask) {
        let (orders, receiver) = mpsc::unbounded_channel();
        let places = Arc::new(Semaphore::new(WAITING_ORDERS));
        let wiegand = lines.wiegand.clone().map(Queue::start);
        let serial = lines.serial.clone().map(Queue::start);
        let osdp = lines.controller.is_some();
        let (noted, openings) = latest::channel(Openings::default());
        let task = OutputTask {
            lines,
            events,
            orders: receiver,
            openings: noted,
            active_low: false,
            on: None,
            pending: Vec::new(),
            held: None,
            again: None,
            heartbeat: None,
            unanswered: false,
            refused: 0,
        };
        (Self { orders, places, wiegand, serial, osdp, openings }, task)
    }

    /// When the door was free to be opened; noted before the relay is switched.
    pub(super) fn openings(&self) -> latest::Receiver<Openings> {
        self.openings.clone()
    }

    /// Orders an opening. Ok when the relay has been switched on, or will be after its delay.
    pub async fn open(&self, opening: Opening) -> Result<()> {
        self.order(move |sender, place| Order::Open(Box::new(opening), sender, place)).await
    }

    /// The relay opens and rests from now on where `relay` wants it. A pulse that is on goes on at the new level.
    /// On an error the levels are what they were.
    pub async fn rest(&self, relay: RelaySettings) -> Result<()> {
        self.order(move |sender, place| Order::Rest(relay, sender, place)).await
    }

    /// The end that the access controller's thread holds.
    pub(super) fn relay_orders(&self) -> RelayOrders {
        RelayOrders(self.orders.downgrade())
    }

    /// Sends data bits on the Wiegand line, with their parity. Ok when they are on the wire. Ordered by the call;
    /// `Busy` when too many wait.
    pub fn wiegand(
        &self,
        format: wiegand::Format,
        value: u64,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let ordered = match &self.wiegand {
            Some(queue) => Ok(queue.send(move |line| line.send(format, value))),
            None => Err(Error::new(
                Kind::Input,
                "this gate has no Wiegand output: device.wiegand_out is \"none\" in its configuration",
            )),
        };
        async move { ordered?.await }
    }

    /// Sends bytes on the RS485 line. Ok when the line has taken them. Ordered by the call; `Busy` when too many
    /// wait.
    pub fn serial(&self, bytes: Vec<u8>) -> impl Future<Output = Result<()>> + Send + 'static {
        let ordered = match &self.serial {
            Some(queue) => Ok(queue.send(move |line| line.send(&bytes))),
            None => Err(Error::new(
                Kind::Input,
                if self.osdp {
                    "the RS485 line of this gate belongs to an access controller: device.rs485 is \"osdp:…\""
                } else {
                    "this gate has no RS485 line: device.rs485 is \"none\" in its configuration"
                },
            )),
        };
        async move { ordered?.await }
    }

    /// Gives an order at once; its outcome follows.
    fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<()>>, OwnedSemaphorePermit) -> Order,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let place = Arc::clone(&self.places).try_acquire_owned();
        let ordered = place
            .map_err(|error| no_place(&error))
            .and_then(|place| self.orders.send(order(sender, place)).map_err(|_| stopped()));
        async move {
            ordered?;
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        }
    }

    /// Puts the relay to rest and ends the task, after the orders that wait; then waits for the frames that do.
    pub async fn stop(&self) {
        // Gone already: the relay is at rest.
        let _ = self.orders.send(Order::Stop);
        if let Some(queue) = &self.wiegand {
            queue.drain().await;
        }
        if let Some(queue) = &self.serial {
            queue.drain().await;
        }
    }

    /// Ends the pulse that `record` began, if it is still on and nobody else's, or takes back its opening.
    pub fn close(&self, record: RecordId) {
        // Gone already: the relay is at rest.
        let _ = self.orders.send(Order::Close(record));
    }
}

fn no_place(error: &TryAcquireError) -> Error {
    match error {
        TryAcquireError::NoPermits => {
            Error::new(Kind::Busy, "the door has more openings waiting than it can serve")
        }
        TryAcquireError::Closed => stopped(),
    }
}

fn stopped() -> Error {
    Error::new(Kind::Stopped, "the outputs have been stopped")
}

/// Frames of a platform's own for one line. One at a time is handed to the line's thread, whose own queue is for
/// passages.
struct Queue<D> {
    line: Worker<D>,
    frames: mpsc::Sender<BoxFuture<'static, ()>>,
}

impl<D> Clone for Queue<D> {
    fn clone(&self) -> Self {
        Self { line: self.line.clone(), frames: self.frames.clone() }
    }
}

impl<D: Tended> Queue<D> {
    fn start(line: Worker<D>) -> Self {
        let (frames, mut waiting) = mpsc::channel::<BoxFuture<'static, ()>>(WAITING_FRAMES);
        tokio::spawn(async move {
            while let Some(frame) = waiting.recv().await {
                frame.await;
            }
        });
        Self { line, frames }
    }

    /// Orders a frame at once; its outcome follows.
    fn send(
        &self,
        frame: impl FnOnce(&mut D) -> Result<()> + Send + 'static,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let line = self.line.clone();
        let ordered = self.frames.try_send(Box::pin(async move {
            // Whoever ordered it may have given up.
            let _ = sender.send(line.ask(ANSWERS_WITHIN, frame).await);
        }));
        let ordered = ordered.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(Kind::Busy, format!("too many frames wait for the {} line", D::NAME))
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        });
        async move {
            ordered?;
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        }
    }

    /// Waits until the line has what waits for it now, unless it hangs.
    async fn drain(&self) {
        let (sender, receiver) = oneshot::channel();
        let marked = async {
            let mark: BoxFuture<'static, ()> = Box::pin(async move {
                let _ = sender.send(());
            });
            let _ = self.frames.send(mark).await;
            let _ = receiver.await;
        };
        let _ = tokio::time::timeout(ANSWERS_WITHIN, marked).await;
    }
}

/// A pulse that is on: whose openings it stands for, and until when each of them wants it.
struct Pulse(Vec<(OpenedBy, Instant)>);

impl Pulse {
    /// The opening that wants it longest.
    fn last(&self) -> Option<(OpenedBy, Instant)> {
        self.0.iter().copied().max_by_key(|(_, until)| *until)
    }
}

/// The door as the access controller holds it open.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// It is shut for a while, until then.
    paused: Option<Instant>,
}

/// How far ahead the door counts as free while the controller holds it open: nobody holds it for a year.
const LONGEST_HOLD: Duration = Duration::from_secs(365 * 24 * 3600);

/// As whom the access controller opens.
const CONTROLLER: OpenedBy = OpenedBy::Order(OrderedBy::Controller);

/// The task.
pub struct OutputTask {
    lines: Lines,
    events: Events,
    orders: mpsc::UnboundedReceiver<Order>,
    openings: latest::Sender<Openings>,
    /// The low level opens. In force for every pulse, whatever was set when it was ordered.
    active_low: bool,
    on: Option<Pulse>,
    /// Openings that wait for their delay, and until when.
    pending: Vec<(Instant, Opening)>,
    /// The access controller holds it open.
    held: Option<Held>,
    /// The relay did not take an order: when it is ordered to rest again, and who opened.
    again: Option<(Instant, Option<OpenedBy>)>,
    heartbeat: Option<Heartbeat>,
    /// The driver of the relay has not returned from an order.
    unanswered: bool,
    /// Orders in a row that it did not take.
    refused: u32,
}

impl OutputTask {
    /// The same with a heartbeat, which beats at least once a [`TURN`].
    pub(super) fn beating(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat: Some(heartbeat), ..self }
    }

    /// Runs until every [`Outputs`] is gone; the relay is off then. A panic of a driver puts the relay to rest
    /// and is reported; the next order is served.
    pub async fn run(mut self, idle: RelaySettings) {
        self.active_low = idle.active_low;
        loop {
            // The line may have been left anywhere by whoever ran before.
            (self.on, self.held, self.again) = (None, None, None);
            let served = AssertUnwindSafe(async {
                // Nor does what was noted of a pulse that a panic has cut off hold any longer.
                self.shut(None).await;
                self.serve().await;
            });
            if served.catch_unwind().await.is_ok() {
                return;
            }
            report_panic(&self.events, "outputs");
            tokio::time::sleep(SHORTEST_PULSE).await;
        }
    }

    async fn serve(&mut self) {
        loop {
            let turn = self.heartbeat.as_ref().map(|heartbeat| {
                // A relay that refuses says so; one whose driver does not return is as good as hanging here.
                if !self.unanswered {
                    heartbeat.beat();
                }
                Instant::now() + TURN
            });
            let pulse_end = self.on.as_ref().and_then(Pulse::last).map(|(_, until)| until);
            let delay_end = self.pending.iter().map(|(at, _)| *at).min();
            let again = self.again.map(|(at, _)| at);
            let paused = self.held.and_then(|held| held.paused);
            tokio::select! {
                biased;
                () = maybe(pulse_end) => self.end_pulse().await,
                () = maybe(delay_end) => {
                    // All of them: several openings within one delay are one pulse, and the earliest moment holds.
                    let openings: Vec<_> =
                        std::mem::take(&mut self.pending).into_iter().map(|(_, opening)| opening).collect();
                    // Whoever ordered it was answered when the delay began; a failure is in the events.
                    let _ = self.begin(&openings).await;
                }
                () = maybe(paused) => self.hold().await,
                () = maybe(again) => {
                    if let Some((_, by)) = self.again.take() {
                        self.go_to_rest(by).await;
                    }
                }
                order = self.orders.recv() => match order {
                    Some(Order::Open(opening, answer, place)) => {
                        drop(place);
                        let outcome = self.order(*opening).await;
                        let _ = answer.send(outcome);
                    }
                    Some(Order::Close(record)) => self.close(OpenedBy::Record(record)).await,
                    Some(Order::Rest(relay, answer, place)) => {
                        drop(place);
                        let outcome = self.rest(relay).await;
                        let _ = answer.send(outcome);
                    }
                    Some(Order::Drive(drive)) => self.drive(drive).await,
                    Some(Order::Stop) | None => break,
                },
                () = maybe(turn) => {}
            }
        }
        let held = self.held.take().is_some();
        if held && self.on.is_none() {
            self.shut(Some(CONTROLLER)).await;
        }
        self.end_pulse().await;
    }

    async fn order(&mut self, opening: Opening) -> Result<()> {
        if opening.relay.delay_ms == 0 {
            return self.begin(&[opening]).await;
        }
        if self.pending.len() >= WAITING_OPENINGS {
            return Err(Error::new(Kind::Busy, "the door has more openings waiting than it can serve"));
        }
        let at = Instant::now() + Duration::from_millis(opening.relay.delay_ms.into());
        self.pending.push((at, opening));
        Ok(())
    }

    /// One pulse for all of these, and what each of them sends.
    async fn begin(&mut self, openings: &[Opening]) -> Result<()> {
        // Before anything moves: whoever goes through at once has not forced the door.
        let now = Instant::now();
        let longest = openings.iter().map(pulse_of).max().unwrap_or_default();
        self.openings.send_modify(|noted| noted.note(now, now + longest));
        for opening in openings {
            if let Some(text) = opening.wiegand(&self.lines.templates) {
                self.send_wiegand(&text, opening.format);
            }
        }
        if openings.iter().any(|opening| opening.relay.enabled) {
            self.pulse(openings).await?;
        }
        if let Some(controller) = &self.lines.controller {
            for opening in openings {
                if let Some(text) = opening.wiegand(&self.lines.templates) {
                    controller.card(&text, opening.format);
                }
            }
        }
        // Only now: whoever listens on this line counts those who were let in.
        if let Some(line) = &self.lines.serial {
            for text in openings.iter().filter_map(|opening| opening.serial(&self.lines.templates)) {
                line.output(text.into_bytes());
            }
        }
        Ok(())
    }

    async fn pulse(&mut self, openings: &[Opening]) -> Result<()> {
        let now = Instant::now();
        let by = openings.first().map(|opening| opening.by);
        if !self.switch(true, by).await {
            self.did_not_open(by);
            return Err(not_taken());
        }
        self.again = None;
        let mut whose = self.on.take().map_or_else(Vec::new, |pulse| pulse.0);
        for opening in openings.iter().filter(|opening| opening.relay.enabled) {
            let length = pulse_of(opening);
            whose.retain(|(by, until)| *by != opening.by && *until > now);
            whose.push((opening.by, now + length));
        }
        // The oldest of so many cannot be closed by itself any more; the others hold the door anyway.
        whose.drain(..whose.len().saturating_sub(WAITING_OPENINGS));
        self.on = Some(Pulse(whose));
        Ok(())
    }

    /// Takes back an opening: it does not begin any more, and holds the door no longer.
    async fn close(&mut self, by: OpenedBy) {
        self.pending.retain(|(_, opening)| opening.by != by);
        let Some(Pulse(whose)) = &mut self.on else { return };
        let others = whose.iter().any(|(other, _)| *other != by);
        if others {
            whose.retain(|(other, _)| *other != by);
        } else {
            self.end_pulse().await;
        }
    }

    async fn end_pulse(&mut self) {
        if let Some(pulse) = self.on.take()
            && !self.is_held()
        {
            self.shut(pulse.last().map(|(by, _)| by)).await;
        }
    }

    /// The door is free no longer.
    async fn shut(&mut self, by: Option<OpenedBy>) {
        self.go_to_rest(by).await;
        let now = Instant::now();
        self.openings.send_modify(|noted| noted.end(now));
    }

    /// The access controller holds the door open now.
    fn is_held(&self) -> bool {
        self.held.is_some_and(|held| held.paused.is_none())
    }

    /// Carries out an order of the access controller. What it shuts is what it opened: the pulse of somebody who was
    /// let in by the gate goes on.
    async fn drive(&mut self, drive: Drive) {
        let now = Instant::now();
        match drive {
            Drive::Permanent { on: true, abort } => {
                if abort {
                    self.forget(CONTROLLER);
                }
                if abort || self.held.is_none() {
                    self.hold().await;
                }
            }
            Drive::Permanent { on: false, abort } => {
                if abort {
                    self.forget(CONTROLLER);
                }
                let held = self.is_held();
                self.held = None;
                if held || abort {
                    self.shut_if_nobodys().await;
                }
            }
            Drive::Timed { on: true, length } => {
                self.openings.send_modify(|noted| noted.note(now, now + length));
                if self.switch(true, Some(CONTROLLER)).await {
                    self.again = None;
                    let mut whose = self.on.take().map_or_else(Vec::new, |pulse| pulse.0);
                    whose.retain(|(other, until)| *other != CONTROLLER && *until > now);
                    whose.push((CONTROLLER, now + length));
                    self.on = Some(Pulse(whose));
                } else {
                    self.did_not_open(Some(CONTROLLER));
                }
            }
            Drive::Timed { on: false, length } => {
                self.forget(CONTROLLER);
                if let Some(held) = &mut self.held {
                    held.paused = Some(now + length);
                }
                self.shut_if_nobodys().await;
            }
        }
    }

    /// Holds the door open from now on.
    async fn hold(&mut self) {
        let now = Instant::now();
        self.openings.send_modify(|noted| noted.note(now, now + LONGEST_HOLD));
        if self.switch(true, Some(CONTROLLER)).await {
            (self.held, self.again) = (Some(Held { paused: None }), None);
            return;
        }
        // The order failed, and is not given again behind the controller's back.
        self.held = None;
        self.did_not_open(Some(CONTROLLER));
    }

    /// The relay refused to open: the door is free only for those who hold it already. Where nobody does, the relay is
    /// ordered to rest: it may have opened all the same, and nothing else would end that.
    fn did_not_open(&mut self, by: Option<OpenedBy>) {
        let now = Instant::now();
        if self.is_held() {
            return;
        }
        match self.on.as_ref().and_then(Pulse::last) {
            Some((_, until)) => self.openings.send_modify(|noted| noted.end(until.max(now))),
            None => {
                self.openings.send_modify(|noted| noted.end(now));
                self.again = Some((now + OFF_AGAIN, by));
            }
        }
    }

    /// Forgets an opening that a pulse stands for.
    fn forget(&mut self, by: OpenedBy) {
        if let Some(Pulse(whose)) = &mut self.on {
            whose.retain(|(other, _)| *other != by);
        }
        // One that stands for nobody has no end.
        self.on.take_if(|pulse| pulse.0.is_empty());
    }

    /// Shuts the door, unless somebody holds it open.
    async fn shut_if_nobodys(&mut self) {
        if self.on.is_none() && !self.is_held() && self.lines.relay_on.load(Ordering::Relaxed) {
            self.shut(Some(CONTROLLER)).await;
        }
    }

    /// Puts the line to the level of rest in force; it must not stay open because one order was lost.
    async fn go_to_rest(&mut self, by: Option<OpenedBy>) {
        let taken = self.switch(false, by).await;
        let pause = if self.refused < REFUSALS { OFF_AGAIN } else { OFF_AGAIN_LATER };
        self.again = (!taken).then(|| (Instant::now() + pause, by));
    }

    async fn rest(&mut self, relay: RelaySettings) -> Result<()> {
        let by = self.on.as_ref().and_then(Pulse::last).map(|(by, _)| by);
        if self.switch_at(relay.active_low, self.on.is_some() || self.is_held(), by).await {
            (self.active_low, self.again) = (relay.active_low, None);
            return Ok(());
        }
        // Wherever it is now. A pulse that is on ends at rest by itself.
        if self.on.is_none() && !self.is_held() {
            self.again = Some((Instant::now() + OFF_AGAIN, None));
        }
        Err(not_taken())
    }

    /// Switches the relay and says so; false if it failed.
    async fn switch(&mut self, on: bool, by: Option<OpenedBy>) -> bool {
        self.switch_at(self.active_low, on, by).await
    }

    async fn switch_at(&mut self, active_low: bool, on: bool, by: Option<OpenedBy>) -> bool {
        let Some(relay) = &mut self.lines.relay else { return true };
        let high = on != active_low;
        let state = if on { "on" } else { "off" };
        let fields = match by {
            Some(OpenedBy::Record(record)) => {
                json!({ "state": state, "level": u8::from(high), "record": record })
            }
            Some(OpenedBy::Order(by)) => json!({ "state": state, "level": u8::from(high), "by": by }),
            Some(OpenedBy::Unrecorded) | None => json!({ "state": state, "level": u8::from(high) }),
        };
        // An order to rest is as good late as in time; one that opens, or rests where others open, is not.
        let expires = on || active_low != self.active_low;
        let outcome = relay.ask(expires, move |relay| relay.set_level(high)).await;
        self.unanswered =
            outcome.as_ref().is_err_and(|error| matches!(error.kind(), Kind::Timeout | Kind::Busy));
        match outcome {
            Ok(()) => {
                self.refused = 0;
                self.lines.relay_on.store(on, Ordering::Relaxed);
                self.events.send("relay", fields);
                true
            }
            Err(error) => {
                // Told for each opening that it cost, and once for a relay that does not come to rest.
                if on || self.refused == 0 {
                    tracing::error!(%error, state, "the relay did not take the order; it is told again");
                    self.events.send("relay", json!({ "state": "failed", "error": error.to_string() }));
                }
                self.refused = self.refused.saturating_add(1);
                false
            }
        }
    }

    fn send_wiegand(&self, text: &str, format: wiegand::Format) {
        let Some(line) = &self.lines.wiegand else { return };
        let Some(number) = wiegand::number(text) else {
            tracing::warn!(
                "a number for the Wiegand line is neither decimal nor hexadecimal: nothing was sent"
            );
            self.events.send("wiegand", json!({ "error": "not a number" }));
            return;
        };
        line.output(format, number);
    }
}

/// How long an opening holds the door.
fn pulse_of(opening: &Opening) -> Duration {
    Duration::from_millis(opening.relay.pulse_ms.into()).max(SHORTEST_PULSE)
}

fn not_taken() -> Error {
    Error::new(Kind::Device, "the relay did not take the order: see the log, then check its wiring")
}

/// Waits until `at`, or for ever.
async fn maybe(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Origin, PersonKey, PersonKind, Schedule};
    use crate::clock::{ManualClock, SharedClock};
    use crate::device::relay::SimulatedRelay;
    use crate::device::rs485::SimulatedRs485;
    use crate::device::wiegand_out::WiegandOut;
    use crate::event::Event;
    use crate::gate::settings::SerialSettings;
    fn opening(record: i64, pulse_ms: u16, delay_ms: u16) -> Opening {
        Opening {
            relay: RelaySettings { pulse_ms, delay_ms, ..RelaySettings::default() },
            ..Opening::new(OpenedBy::Record(RecordId(record)), &Settings::default(), Some(&person()))
        }
    }

    fn person() -> Person {
        Person {
            key: PersonKey::new(Origin::Qyzn, "100001"),
            code: "7".into(),
            name: "张三".into(),
            kind: PersonKind::White,
            id_number: None,
            card: Some("1".into()),
            passes_left: None,
            valid_from: None,
            valid_until: None,
            schedule: Schedule::default(),
            mode: None,
        }
    }

    fn lines(relay: impl Relay + 'static) -> Lines {
        Lines {
            relay: Some(Driver::AtOnce(Box::new(relay))),
            wiegand: None,
            serial: None,
            controller: None,
            relay_on: Arc::default(),
            templates: Templates::default(),
        }
    }

    /// A driver with a fault: every second order panics.
    #[derive(Default)]
    struct Faulty {
        relay: SimulatedRelay,
        orders: u32,
    }

    impl Relay for Faulty {
        fn set_level(&mut self, high: bool) -> Result<()> {
            self.orders += 1;
            assert!(self.orders != 2, "this driver fails at its second order");
            self.relay.set_level(high)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_panics_costs_one_opening() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let faulty = Faulty::default();
        let relay = faulty.relay.clone();
        let (outputs, task) = Outputs::new(lines(faulty), Events::new(clock));
        tokio::spawn(task.run(RelaySettings::default()));
        assert_eq!(outputs.open(opening(1, 1000, 0)).await.unwrap_err().kind(), Kind::Stopped);
        outputs.open(opening(2, 1000, 0)).await.unwrap();
        assert!(relay.level());
    }

    struct Door {
        outputs: Outputs,
        relay: SimulatedRelay,
        events: tokio::sync::broadcast::Receiver<std::sync::Arc<crate::event::Event>>,
        started: Instant,
    }

    fn door() -> Door {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let bus = Events::new(clock);
        let (_, events) = bus.subscribe(0);
        let relay = SimulatedRelay::default();
        let (outputs, task) = Outputs::new(lines(relay.clone()), bus);
        tokio::spawn(task.run(RelaySettings::default()));
        Door { outputs, relay, events, started: Instant::now() }
    }

    impl Door {
        /// The next relay event as (state, milliseconds since the start).
        async fn relay(&mut self) -> (String, u128) {
            loop {
                let event = self.events.recv().await.unwrap();
                if event.kind == "relay" {
                    return (
                        event.fields["state"].as_str().unwrap().to_owned(),
                        self.started.elapsed().as_millis(),
                    );
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_has_its_length_and_a_second_opening_prolongs_it() {
        let mut door = door();
        assert_eq!(door.relay().await, ("off".into(), 0));
        door.outputs.open(opening(1, 2000, 0)).await.unwrap();
        assert!(door.relay.level());
        assert_eq!(door.relay().await, ("on".into(), 0));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        door.outputs.open(opening(2, 2000, 0)).await.unwrap();
        assert_eq!(door.relay().await, ("on".into(), 1500));
        let (state, at) = door.relay().await;
        assert_eq!(state, "off");
        assert!((3500..=3502).contains(&at), "{at}");
        assert!(!door.relay.level());
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_comes_before_the_pulse_and_a_close_ends_it() {
        let mut door = door();
        door.relay().await;
        door.outputs.open(opening(1, 5000, 300)).await.unwrap();
        assert!(!door.relay.level());
        let (state, at) = door.relay().await;
        assert_eq!(state, "on");
        assert!((300..=302).contains(&at), "{at}");
        // Another record's close does nothing, its own ends the pulse.
        door.outputs.close(RecordId(2));
        door.outputs.close(RecordId(1));
        let (state, at) = door.relay().await;
        assert_eq!(state, "off");
        assert!(at <= 303, "{at}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_low_level_opens_where_the_lock_wants_it() {
        let mut door = door();
        door.relay().await;
        door.outputs.rest(RelaySettings { active_low: true, ..RelaySettings::default() }).await.unwrap();
        assert!(door.relay.level());
        door.relay().await;
        // Ordered with the settings of before: the level in force opens.
        door.outputs.open(opening(1, 1000, 0)).await.unwrap();
        assert!(!door.relay.level());
        door.relay().await;
        assert_eq!(door.relay().await.0, "off");
        assert!(door.relay.level());
    }

    /// A Wiegand line that sends nothing until it is let go, and tells what it sent.
    struct Held {
        go: std::sync::mpsc::Receiver<()>,
        sent: mpsc::UnboundedSender<Vec<bool>>,
    }

    impl WiegandOut for Held {
        fn send(&mut self, bits: &[bool]) -> Result<()> {
            // Let go for good when the test is over.
            let _ = self.go.recv();
            let _ = self.sent.send(bits.to_vec());
            Ok(())
        }
    }

    fn with_held(
        relay: impl Relay + 'static,
    ) -> (Outputs, std::sync::mpsc::Sender<()>, mpsc::UnboundedReceiver<Vec<bool>>) {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let bus = Events::new(clock);
        let (let_go, go) = std::sync::mpsc::channel();
        let (sent, seen) = mpsc::unbounded_channel();
        let frames = Frames::new(Box::new(Held { go, sent }), bus.clone());
        let wiegand = Some(Worker::start(frames, bus.clone()).unwrap());
        let (outputs, task) = Outputs::new(Lines { wiegand, ..lines(relay) }, bus);
        tokio::spawn(task.run(RelaySettings::default()));
        (outputs, let_go, seen)
    }

    /// An opening whose card is `card`.
    fn with_card(record: i64, card: u64, delay_ms: u16) -> Opening {
        let person = Person { card: Some(card.to_string()), ..person() };
        Opening { person: Some(Box::new(person)), ..opening(record, 10_000, delay_ms) }
    }

    #[tokio::test]
    async fn no_number_of_frames_and_no_slow_line_stands_before_an_opening() {
        let relay = SimulatedRelay::default();
        let (outputs, let_go, mut seen) = with_held(relay.clone());
        let frames: Vec<_> = (100..132).map(|value| outputs.wiegand(wiegand::Format::W26, value)).collect();
        // The line holds: the door opens all the same.
        outputs.open(with_card(1, 7, 0)).await.unwrap();
        assert!(relay.level());
        drop(let_go);
        let mut taken = 0;
        for (index, frame) in frames.into_iter().enumerate() {
            match frame.await {
                Ok(()) => taken += 1,
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Busy);
                    assert!(index >= WAITING_FRAMES, "frame {index} was refused");
                }
            }
        }
        assert!((WAITING_FRAMES..32).contains(&taken), "{taken}");
        let mut bits = Vec::new();
        while bits.len() <= taken {
            bits.push(seen.recv().await.unwrap());
        }
        assert!(bits.contains(&wiegand::frame(wiegand::Format::W26, 7)), "the visitor's number");
        bits.retain(|bits| *bits != wiegand::frame(wiegand::Format::W26, 7));
        let expected: Vec<_> =
            (100..100 + taken as u64).map(|value| wiegand::frame(wiegand::Format::W26, value)).collect();
        assert_eq!(bits, expected, "in their order");
    }

    #[tokio::test]
    async fn openings_within_one_delay_are_one_pulse_and_each_its_own() {
        let relay = SimulatedRelay::default();
        let (outputs, let_go, mut seen) = with_held(relay.clone());
        drop(let_go);
        for (record, card) in [(1, 11), (2, 12), (3, 13)] {
            outputs.open(with_card(record, card, 100)).await.unwrap();
        }
        // The first is taken back: the others are let in.
        outputs.close(RecordId(1));
        for card in [12, 13] {
            assert_eq!(seen.recv().await.unwrap(), wiegand::frame(wiegand::Format::W26, card));
        }
        // Any answer of the task says that the pulse has begun.
        outputs.open(with_card(4, 14, 100)).await.unwrap();
        assert!(relay.level());
        outputs.close(RecordId(4));
        outputs.close(RecordId(2));
        outputs.rest(RelaySettings::default()).await.unwrap();
        assert!(relay.level(), "the third still holds the door");
    }

    #[tokio::test(start_paused = true)]
    async fn one_pulse_stands_for_all_who_are_let_in() {
        let mut door = door();
        door.relay().await;
        door.outputs.open(opening(1, 2000, 300)).await.unwrap();
        door.outputs.open(opening(2, 1000, 300)).await.unwrap();
        assert_eq!(door.relay().await.0, "on");
        // Without the first it ends when the second wants it.
        door.outputs.close(RecordId(1));
        let (state, at) = door.relay().await;
        assert_eq!(state, "off");
        assert!((1300..=1304).contains(&at), "{at}");
        // Too many are told so.
        for record in 0..WAITING_OPENINGS {
            door.outputs.open(opening(record as i64, 1000, 300)).await.unwrap();
        }
        let error = door.outputs.open(opening(99, 1000, 300)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
    }

    /// A relay that refuses while told to.
    #[derive(Default, Clone)]
    struct Moody {
        relay: SimulatedRelay,
        refuses: Arc<std::sync::atomic::AtomicBool>,
    }

    impl Relay for Moody {
        fn set_level(&mut self, high: bool) -> Result<()> {
            if self.refuses.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(Error::new(Kind::Device, "not now"));
            }
            self.relay.set_level(high)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_level_of_rest_that_was_not_taken_is_tried_again() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let relay = Moody::default();
        let (outputs, task) = Outputs::new(lines(relay.clone()), Events::new(clock));
        tokio::spawn(task.run(RelaySettings::default()));
        let low = RelaySettings { active_low: true, ..RelaySettings::default() };
        outputs.rest(low).await.unwrap();
        assert!(relay.relay.level());
        relay.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(outputs.rest(RelaySettings::default()).await.unwrap_err().kind(), Kind::Device);
        // As if the line had moved all the same.
        relay.relay.clone().set_level(false).unwrap();
        relay.refuses.store(false, std::sync::atomic::Ordering::SeqCst);
        tokio::time::sleep(2 * OFF_AGAIN).await;
        assert!(relay.relay.level(), "the level in force is the one of before");
        outputs.open(opening(1, 1000, 0)).await.unwrap();
        assert!(!relay.relay.level());
    }

    /// With a serial line; on the real clock, for the line has a thread.
    fn with_serial(relay: impl Relay + 'static) -> (Outputs, tokio::sync::broadcast::Receiver<Arc<Event>>) {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let bus = Events::new(clock);
        let (_, events) = bus.subscribe(0);
        let line = SerialSettings::default().line();
        let serial = SerialOut::new(Box::new(SimulatedRs485), line, bus.clone());
        let serial = Some(Worker::start(serial, bus.clone()).unwrap());
        let (outputs, task) = Outputs::new(Lines { serial, ..lines(relay) }, bus);
        tokio::spawn(task.run(RelaySettings::default()));
        (outputs, events)
    }

    async fn sent(events: &mut tokio::sync::broadcast::Receiver<Arc<Event>>) -> String {
        loop {
            let event = events.recv().await.unwrap();
            if let Some(bytes) = event.fields.get("bytes") {
                assert_eq!((event.kind, &event.fields["line"]), ("rs485", &json!("9600 8N1")));
                return bytes.as_str().unwrap().to_owned();
            }
        }
    }

    #[tokio::test]
    async fn the_serial_line_carries_what_the_settings_say() {
        let (outputs, mut events) = with_serial(SimulatedRelay::default());
        let send = |serial| Opening { serial, ..opening(1, 20, 0) };
        outputs.open(send(SerialPayload::Nothing)).await.unwrap();
        outputs.open(send(SerialPayload::PersonId)).await.unwrap();
        assert_eq!(sent(&mut events).await, "313030303031");
        outputs.open(send(SerialPayload::CardNumber)).await.unwrap();
        assert_eq!(sent(&mut events).await, "31");
        outputs.open(Opening { person: None, ..send(SerialPayload::Custom) }).await.unwrap();
        outputs.open(send(SerialPayload::Custom)).await.unwrap();
        // "100001,1\r\n"
        assert_eq!(sent(&mut events).await, "3130303030312C310D0A");
        // The platform's own bytes, in their place.
        let first = outputs.serial(vec![0x12, 0x34, 0xef]);
        let second = outputs.serial(b"A".to_vec());
        second.await.unwrap();
        first.await.unwrap();
        assert_eq!(sent(&mut events).await, "1234EF");
        assert_eq!(sent(&mut events).await, "41");
    }

    #[tokio::test]
    async fn a_door_that_did_not_open_is_not_told_of() {
        /// A relay that takes no order to open.
        struct Stuck;
        impl Relay for Stuck {
            fn set_level(&mut self, high: bool) -> Result<()> {
                if high { Err(Error::new(Kind::Device, "stuck")) } else { Ok(()) }
            }
        }
        let (outputs, mut events) = with_serial(Stuck);
        let opening = Opening { serial: SerialPayload::PersonId, ..opening(1, 20, 0) };
        assert_eq!(outputs.open(opening).await.unwrap_err().kind(), Kind::Device);
        outputs.serial(b"A".to_vec()).await.unwrap();
        assert_eq!(sent(&mut events).await, "41");
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_rests_where_it_is_told() {
        let mut door = door();
        door.relay().await;
        let low = RelaySettings { active_low: true, ..RelaySettings::default() };
        door.outputs.rest(low).await.unwrap();
        assert!(door.relay.level());
        door.relay().await;
        // A pulse goes on at the new level, and ends at the new rest.
        door.outputs.open(Opening { relay: low, ..opening(1, 1000, 0) }).await.unwrap();
        assert!(!door.relay.level());
        door.outputs.rest(RelaySettings::default()).await.unwrap();
        assert!(door.relay.level());
        for state in ["on", "on", "off"] {
            assert_eq!(door.relay().await.0, state);
        }
        assert!(!door.relay.level());
        // So does one that was ordered before, and begins after.
        door.outputs.open(opening(2, 1000, 300)).await.unwrap();
        door.outputs.rest(low).await.unwrap();
        assert!(door.relay.level());
        for (state, level) in [("off", true), ("on", false), ("off", true)] {
            assert_eq!((door.relay().await.0.as_str(), door.relay.level()), (state, level));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_access_controller_drives_the_relay() {
        let mut door = door();
        door.relay().await;
        let orders = door.outputs.relay_orders();
        let drive = |drive| orders.drive(drive).unwrap();
        let permanent = |on, abort| Drive::Permanent { on, abort };
        let timed = |on, ms| Drive::Timed { on, length: Duration::from_millis(ms) };
        let free = door.outputs.openings();
        let is_free = || free.borrow().cover(Instant::now(), Duration::ZERO);
        // On for a while.
        drive(timed(true, 700));
        assert_eq!(door.relay().await, ("on".into(), 0));
        assert_eq!(door.relay().await, ("off".into(), 700));
        // On for good; a visitor's pulse within it does not end it, and a timed off only interrupts it.
        drive(permanent(true, true));
        assert_eq!(door.relay().await, ("on".into(), 700));
        assert!(is_free());
        door.outputs.open(opening(1, 100, 0)).await.unwrap();
        assert_eq!(door.relay().await, ("on".into(), 700));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(door.relay.level() && is_free());
        drive(timed(false, 500));
        assert_eq!(door.relay().await, ("off".into(), 1000));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!is_free());
        assert_eq!(door.relay().await, ("on".into(), 1500));
        drive(permanent(false, true));
        assert_eq!(door.relay().await, ("off".into(), 1500));
        // Off lets what was timed come to its end, or not.
        drive(timed(true, 400));
        assert_eq!(door.relay().await, ("on".into(), 1500));
        drive(permanent(false, false));
        assert_eq!(door.relay().await, ("off".into(), 1900));
        drive(timed(true, 400));
        assert_eq!(door.relay().await, ("on".into(), 1900));
        drive(permanent(false, true));
        assert_eq!(door.relay().await, ("off".into(), 1900));
        // It shuts nobody out whom the gate has let in.
        door.outputs.open(opening(2, 600, 0)).await.unwrap();
        drive(permanent(false, true));
        drive(timed(false, 5000));
        assert_eq!(door.relay().await, ("on".into(), 1900));
        assert_eq!(door.relay().await, ("off".into(), 2500));
        // The end shuts what is held.
        drive(permanent(true, false));
        assert_eq!(door.relay().await, ("on".into(), 2500));
        door.outputs.stop().await;
        assert_eq!(door.relay().await, ("off".into(), 2500));
        assert!(!door.relay.level());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hold_that_the_relay_refuses_leaves_no_pulse_without_an_end() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let relay = Moody::default();
        let (outputs, task) = Outputs::new(lines(relay.clone()), Events::new(clock));
        tokio::spawn(task.run(RelaySettings::default()));
        let orders = outputs.relay_orders();
        let second = Duration::from_secs(1);
        orders.drive(Drive::Timed { on: true, length: second }).unwrap();
        // Any answer of the task says that it has done what came before.
        outputs.rest(RelaySettings::default()).await.unwrap();
        assert!(relay.relay.level());
        relay.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
        orders.drive(Drive::Permanent { on: true, abort: true }).unwrap();
        assert!(outputs.rest(RelaySettings::default()).await.is_err());
        relay.refuses.store(false, std::sync::atomic::Ordering::SeqCst);
        tokio::time::sleep(2 * second).await;
        assert!(!relay.relay.level(), "nothing holds the door");
        outputs.rest(RelaySettings::default()).await.unwrap();
        assert!(!relay.relay.level(), "nor does a pulse of nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn what_shuts_the_door_finds_a_place_however_many_wait() {
        let mut door = door();
        door.relay().await;
        let orders = door.outputs.relay_orders();
        orders.drive(Drive::Permanent { on: true, abort: true }).unwrap();
        assert_eq!(door.relay().await, ("on".into(), 0));
        let order = |opening: Opening| {
            door.outputs.order(move |sender, place| Order::Open(Box::new(opening), sender, place))
        };
        // The task does not run until this test waits.
        let waiting: Vec<_> =
            (0..WAITING_ORDERS).map(|record| order(opening(record as i64, 1000, 300))).collect();
        assert_eq!(order(opening(99, 1000, 0)).await.unwrap_err().kind(), Kind::Busy);
        for record in 0..WAITING_ORDERS {
            door.outputs.close(RecordId(record as i64));
        }
        orders.drive(Drive::Permanent { on: false, abort: true }).unwrap();
        for outcome in waiting {
            outcome.await.unwrap();
        }
        assert_eq!(door.relay().await, ("off".into(), 0));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!door.relay.level());
        assert!(door.events.try_recv().is_err(), "none of those that were taken back has opened");
        // There is room again.
        door.outputs.open(opening(100, 1000, 0)).await.unwrap();
        assert!(door.relay.level());
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_line_is_refused() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let nothing = Lines { relay: None, ..lines(SimulatedRelay::default()) };
        let (outputs, task) = Outputs::new(nothing, Events::new(clock));
        tokio::spawn(task.run(RelaySettings::default()));
        let error = outputs.serial(vec![1]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.message().contains("device.rs485"), "{error}");
        let error = outputs.wiegand(wiegand::Format::W26, 1).await.unwrap_err();
        assert!(error.message().contains("device.wiegand_out"), "{error}");
    }

    /// A relay behind a bus that hangs until it is let go.
    struct Hanging {
        relay: SimulatedRelay,
        go: std::sync::mpsc::Receiver<()>,
    }

    impl Relay for Hanging {
        fn set_level(&mut self, high: bool) -> Result<()> {
            // Not the first order, which puts it to rest; let go for good when the test is over.
            if high {
                let _ = self.go.recv();
            }
            self.relay.set_level(high)
        }
    }

    #[tokio::test]
    async fn a_relay_that_hangs_holds_nobody_and_does_not_stay_open() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let bus = Events::new(clock);
        let (_, mut events) = bus.subscribe(0);
        let relay = SimulatedRelay::default();
        let (let_go, go) = std::sync::mpsc::channel();
        let driver = Driver::relay(Box::new(Hanging { relay: relay.clone(), go }), &bus).unwrap();
        assert!(matches!(driver, Driver::Thread(_)));
        let (outputs, task) = Outputs::new(Lines { relay: Some(driver), ..lines(relay.clone()) }, bus);
        tokio::spawn(task.run(RelaySettings::default()));
        let begun = std::time::Instant::now();
        // On the one thread of this test: the runtime is free while the relay hangs.
        let (opened, ()) = tokio::join!(outputs.open(opening(1, 60_000, 0)), tokio::task::yield_now());
        assert_eq!(opened.unwrap_err().kind(), Kind::Device);
        assert!(begun.elapsed() < Duration::from_secs(30));
        // It wakes up and opens after all; the order to rest is right behind.
        drop(let_go);
        let mut states = Vec::new();
        while states.last().map(String::as_str) != Some("off") || states.len() < 3 {
            let event = events.recv().await.unwrap();
            if event.kind == "relay" {
                states.push(event.fields["state"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(states, ["off", "failed", "off"]);
        assert!(!relay.level());
        // What was ordered and not begun in time is not begun: the door opens for those who stand there now.
        outputs.open(opening(2, 60_000, 0)).await.unwrap();
        assert!(relay.level());
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_is_not_there_is_told_of_once() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let bus = Events::new(clock);
        let relay = Moody::default();
        relay.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
        let (outputs, task) = Outputs::new(lines(relay.clone()), bus.clone());
        tokio::spawn(task.run(RelaySettings::default()));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let told = |bus: &Events| bus.subscribe(0).0.iter().filter(|event| event.kind == "relay").count();
        assert_eq!(told(&bus), 1);
        // Each opening that it costs is told of.
        assert!(outputs.open(opening(1, 1000, 0)).await.is_err());
        assert_eq!(told(&bus), 2);
        relay.refuses.store(false, std::sync::atomic::Ordering::SeqCst);
        tokio::time::sleep(2 * OFF_AGAIN_LATER).await;
        assert_eq!(bus.standing()[0].fields["state"], "off");
    }

    #[tokio::test(start_paused = true)]
    async fn a_door_that_did_not_open_is_not_free() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let relay = Moody::default();
        let (outputs, task) = Outputs::new(lines(relay.clone()), Events::new(clock));
        tokio::spawn(task.run(RelaySettings::default()));
        let (orders, openings) = (outputs.relay_orders(), outputs.openings());
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let free_in = |ahead| openings.borrow().cover(Instant::now() + ahead, Duration::ZERO);
        relay.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(outputs.open(opening(1, 60_000, 0)).await.is_err());
        assert!(!free_in(second));
        orders.drive(Drive::Timed { on: true, length: hour }).unwrap();
        // Any answer of the task says that it has done what came before.
        assert!(outputs.rest(RelaySettings::default()).await.is_err());
        assert!(!free_in(second));
        // One that fails while the door is open for another takes nothing from that one, and adds nothing.
        relay.refuses.store(false, std::sync::atomic::Ordering::SeqCst);
        outputs.open(opening(2, 60_000, 0)).await.unwrap();
        relay.refuses.store(true, std::sync::atomic::Ordering::SeqCst);
        orders.drive(Drive::Timed { on: true, length: hour }).unwrap();
        assert!(outputs.rest(RelaySettings::default()).await.is_err());
        assert!(free_in(second) && !free_in(hour / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pulse_that_a_panic_cut_off_is_not_free() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let (outputs, task) = Outputs::new(lines(Faulty::default()), Events::new(clock));
        tokio::spawn(task.run(RelaySettings::default()));
        let openings = outputs.openings();
        assert!(outputs.open(opening(1, 60_000, 0)).await.is_err());
        // Served after the task has begun anew.
        outputs.rest(RelaySettings::default()).await.unwrap();
        assert!(!openings.borrow().cover(Instant::now() + Duration::from_secs(1), Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn the_times_at_which_the_door_was_free_are_known() {
        let mut door = door();
        door.relay().await;
        let openings = door.outputs.openings();
        let free = |openings: &latest::Receiver<Openings>, at, grace| openings.borrow().cover(at, grace);
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        assert!(!free(&openings, start, second));
        door.outputs.open(opening(1, 2000, 0)).await.unwrap();
        tokio::time::sleep(second).await;
        door.outputs.open(opening(2, 2000, 0)).await.unwrap();
        for _ in 0..3 {
            door.relay().await;
        }
        assert!(free(&openings, start + Duration::from_millis(3000), Duration::ZERO));
        assert!(free(&openings, start + Duration::from_millis(3900), second));
        assert!(!free(&openings, start + Duration::from_millis(4200), second));
        // Taken back: it ends there.
        tokio::time::sleep(10 * second).await;
        let again = Instant::now();
        door.outputs.open(opening(3, 2000, 0)).await.unwrap();
        door.outputs.close(RecordId(3));
        for _ in 0..2 {
            door.relay().await;
        }
        assert!(free(&openings, again, Duration::ZERO));
        assert!(!free(&openings, again + second, Duration::ZERO));
        assert!(free(&openings, start, Duration::ZERO), "the one before is still known");
    }
}
