//! The door: relay pulses and Wiegand frames. One task owns the drivers; whoever opens sends it an order and
//! need not wait for the pulse to end.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::hardware::Templates;
use super::serial::SerialOut;
use super::settings::{Payload, RelaySettings, SerialPayload, Settings};
use super::worker::{ANSWERS_WITHIN, Worker};
use super::{OrderedBy, report_panic};
use crate::access::Person;
use crate::device::relay::Relay;
use crate::device::wiegand::{self, WiegandOut};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::store::RecordId;

/// The shortest pulse a relay is given: QYZN allows `outputInterval` 0, and no relay closes in no time.
const SHORTEST_PULSE: Duration = Duration::from_millis(20);

/// Before a relay that did not go off is ordered off again.
const OFF_AGAIN: Duration = Duration::from_millis(200);

/// Orders that wait; more than these would be openings nobody stands for any more.
const WAITING_ORDERS: usize = 16;

/// Openings that wait for the delay of the relay, of at most 5 s.
const PENDING: usize = 64;

/// What the task is told.
enum Order {
    /// Open once.
    Open(Box<Opening>, oneshot::Sender<Result<()>>),
    /// End the pulse that `record` began, if it is still on.
    Close(RecordId),
    /// The relay rests at another level from now on.
    Rest(RelaySettings, oneshot::Sender<Result<()>>),
    /// One frame on the Wiegand line.
    Wiegand(wiegand::Format, u64, oneshot::Sender<Result<()>>),
    /// Bytes on the RS485 line.
    Serial(Vec<u8>, oneshot::Sender<Result<()>>),
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
    /// How the relay is driven.
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

/// What hangs on the outputs; `None` is not there.
pub(super) struct Lines {
    /// The relay.
    pub(super) relay: Option<Box<dyn Relay>>,
    /// The Wiegand output.
    pub(super) wiegand: Option<Box<dyn WiegandOut>>,
    /// The RS485 line.
    pub(super) serial: Option<Worker<SerialOut>>,
    /// What goes out where the settings say `custom`.
    pub(super) templates: Templates,
}

/// The handle of the task. Cheap to clone.
#[derive(Clone)]
pub struct Outputs {
    orders: mpsc::Sender<Order>,
}

impl Outputs {
    /// The handle, and the task that must be run for it to do anything.
    pub(super) fn new(lines: Lines, events: Events) -> (Self, OutputTask) {
        let (orders, receiver) = mpsc::channel(WAITING_ORDERS);
        let task = OutputTask {
            lines,
            events,
            orders: receiver,
            on: None,
            pending: VecDeque::new(),
            idle: None,
            resting: None,
        };
        (Self { orders }, task)
    }

    /// Orders an opening. Ok when the relay has been switched on, or will be after its delay.
    pub async fn open(&self, opening: Opening) -> Result<()> {
        self.order(move |sender| Order::Open(Box::new(opening), sender)).await
    }

    /// The relay rests from now on, or from the end of its pulse, where `relay` wants it.
    pub async fn rest(&self, relay: RelaySettings) -> Result<()> {
        self.order(move |sender| Order::Rest(relay, sender)).await
    }

    /// Sends data bits on the Wiegand line, with their parity. Ok when they are on the wire. Ordered by the call.
    pub fn wiegand(
        &self,
        format: wiegand::Format,
        value: u64,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        self.order(move |sender| Order::Wiegand(format, value, sender))
    }

    /// Sends bytes on the RS485 line. Ok when the line has taken them. Ordered by the call.
    pub fn serial(&self, bytes: Vec<u8>) -> impl Future<Output = Result<()>> + Send + 'static {
        self.order(move |sender| Order::Serial(bytes, sender))
    }

    /// Gives an order at once; its outcome follows.
    fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<()>>) -> Order,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let ordered = self.orders.try_send(order(sender)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Error::new(Kind::Busy, "the door has more openings waiting than it can serve")
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        });
        async move {
            ordered?;
            receiver.await.unwrap_or_else(|_| Err(stopped()))
        }
    }

    /// Puts the relay to rest and ends the task, after the orders that wait.
    pub async fn stop(&self) {
        // Gone already: the relay is at rest.
        let _ = self.orders.send(Order::Stop).await;
    }

    /// Ends the pulse that `record` began, if it is still on.
    pub fn close(&self, record: RecordId) {
        // Full of openings: the pulse will end by itself.
        let _ = self.orders.try_send(Order::Close(record));
    }
}

fn stopped() -> Error {
    Error::new(Kind::Stopped, "the outputs have been stopped")
}

/// A pulse that is on.
struct Pulse {
    by: OpenedBy,
    until: Instant,
    relay: RelaySettings,
}

/// The task.
pub struct OutputTask {
    lines: Lines,
    events: Events,
    orders: mpsc::Receiver<Order>,
    on: Option<Pulse>,
    /// Openings that wait for their delay, and until when; the first is due first.
    pending: VecDeque<(Instant, Opening)>,
    /// Where the relay rests, if that changed since the start.
    idle: Option<RelaySettings>,
    /// The same, while a pulse must end first.
    resting: Option<RelaySettings>,
}

impl OutputTask {
    /// Runs until every [`Outputs`] is gone; the relay is off then. A panic of a driver puts the relay to rest
    /// and is reported; the next order is served.
    pub async fn run(mut self, idle: RelaySettings) {
        loop {
            // The line may have been left anywhere by whoever ran before.
            let idle = self.resting.take().or(self.idle).unwrap_or(idle);
            let rest = self.on.take().map_or(idle, |pulse| pulse.relay);
            self.pending.clear();
            let served = AssertUnwindSafe(async {
                self.switch(&rest, false, None);
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
            let pulse_end = self.on.as_ref().map(|pulse| pulse.until);
            let delay_end = self.pending.front().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = maybe(pulse_end) => self.end_pulse(),
                () = maybe(delay_end) => {
                    if let Some((_, opening)) = self.pending.pop_front() {
                        // Whoever ordered it was answered when the delay began; a failure is in the events.
                        let _ = self.begin(&opening);
                    }
                }
                order = self.orders.recv() => match order {
                    Some(Order::Open(opening, answer)) => {
                        let _ = answer.send(self.order(*opening));
                    }
                    Some(Order::Close(record)) => {
                        if self.on.as_ref().is_some_and(|pulse| pulse.by == OpenedBy::Record(record)) {
                            self.end_pulse();
                        }
                        self.pending.retain(|(_, opening)| opening.by != OpenedBy::Record(record));
                    }
                    Some(Order::Rest(relay, answer)) => {
                        let _ = answer.send(self.rest(relay));
                    }
                    Some(Order::Wiegand(format, value, answer)) => {
                        let _ = answer.send(self.frame(format, value));
                    }
                    Some(Order::Serial(bytes, answer)) => self.serial(bytes, answer),
                    Some(Order::Stop) | None => break,
                },
            }
        }
        self.end_pulse();
    }

    fn order(&mut self, opening: Opening) -> Result<()> {
        if opening.relay.delay_ms == 0 {
            return self.begin(&opening);
        }
        let at = Instant::now() + Duration::from_millis(opening.relay.delay_ms.into());
        if self.pending.len() >= PENDING {
            return Err(Error::new(Kind::Busy, "too many openings wait for the delay of the relay"));
        }
        // Each by itself: each has a number for the lines, and one may be taken back without the others. A delay that
        // was made shorter in between overtakes.
        let place = self.pending.partition_point(|(due, _)| *due <= at);
        self.pending.insert(place, (at, opening));
        Ok(())
    }

    fn begin(&mut self, opening: &Opening) -> Result<()> {
        if let Some(text) = opening.wiegand(&self.lines.templates) {
            self.send_wiegand(&text, opening.format);
        }
        if opening.relay.enabled {
            self.pulse(opening)?;
        }
        // Only now: whoever listens on this line counts those who were let in.
        if let (Some(line), Some(text)) = (&self.lines.serial, opening.serial(&self.lines.templates)) {
            line.output(text.into_bytes());
        }
        Ok(())
    }

    fn pulse(&mut self, opening: &Opening) -> Result<()> {
        if !self.switch(&opening.relay, true, Some(opening.by)) {
            return Err(not_taken());
        }
        let pulse = Duration::from_millis(opening.relay.pulse_ms.into()).max(SHORTEST_PULSE);
        self.on = Some(Pulse { by: opening.by, until: Instant::now() + pulse, relay: opening.relay });
        Ok(())
    }

    fn end_pulse(&mut self) {
        if let Some(pulse) = self.on.take()
            && !self.switch(&pulse.relay, false, Some(pulse.by))
        {
            // The door must not stay open because one order was lost on the line.
            self.on = Some(Pulse { until: Instant::now() + OFF_AGAIN, ..pulse });
            return;
        }
        if let Some(relay) = self.resting.take() {
            // A failure is in the events; the next pulse ends at the new level.
            let _ = self.rest(relay);
        }
    }

    fn rest(&mut self, relay: RelaySettings) -> Result<()> {
        if self.on.is_some() {
            self.resting = Some(relay);
            return Ok(());
        }
        if !self.switch(&relay, false, None) {
            return Err(not_taken());
        }
        self.idle = Some(relay);
        Ok(())
    }

    /// Data bits of the platform's own.
    fn frame(&mut self, format: wiegand::Format, value: u64) -> Result<()> {
        let Some(line) = &mut self.lines.wiegand else {
            return Err(Error::new(
                Kind::Input,
                "this gate has no Wiegand output: device.wiegand_out is \"none\" in its configuration",
            ));
        };
        let bits = wiegand::frame(format, value);
        let sent = line.send(&bits);
        self.tell_wiegand(&bits, &sent);
        sent
    }

    /// Hands bytes to the line's own thread, which answers.
    fn serial(&mut self, bytes: Vec<u8>, answer: oneshot::Sender<Result<()>>) {
        let Some(line) = &self.lines.serial else {
            let error = Error::new(
                Kind::Input,
                "this gate has no RS485 line: device.rs485 is \"none\" in its configuration",
            );
            let _ = answer.send(Err(error));
            return;
        };
        let sent = line.ask(ANSWERS_WITHIN, move |serial| serial.send(&bytes));
        tokio::spawn(async move {
            let _ = answer.send(sent.await);
        });
    }

    /// Switches the relay and says so; false if it failed.
    fn switch(&mut self, settings: &RelaySettings, on: bool, by: Option<OpenedBy>) -> bool {
        let Some(relay) = &mut self.lines.relay else { return true };
        let high = on != settings.active_low;
        let state = if on { "on" } else { "off" };
        let fields = match by {
            Some(OpenedBy::Record(record)) => {
                json!({ "state": state, "level": u8::from(high), "record": record })
            }
            Some(OpenedBy::Order(by)) => json!({ "state": state, "level": u8::from(high), "by": by }),
            Some(OpenedBy::Unrecorded) | None => json!({ "state": state, "level": u8::from(high) }),
        };
        match relay.set_level(high) {
            Ok(()) => {
                self.events.send("relay", fields);
                true
            }
            Err(error) => {
                tracing::error!(%error, state, "the relay did not take the order");
                self.events.send("relay", json!({ "state": "failed", "error": error.to_string() }));
                false
            }
        }
    }

    fn send_wiegand(&mut self, text: &str, format: wiegand::Format) {
        let Some(line) = &mut self.lines.wiegand else { return };
        let Some(number) = wiegand::number(text) else {
            tracing::warn!(
                "a number for the Wiegand line is neither decimal nor hexadecimal: nothing was sent"
            );
            self.events.send("wiegand", json!({ "error": "not a number" }));
            return;
        };
        let bits = wiegand::frame(format, number);
        let sent = line.send(&bits);
        self.tell_wiegand(&bits, &sent);
    }

    fn tell_wiegand(&self, bits: &[bool], sent: &Result<()>) {
        match sent {
            Ok(()) => {
                let text: String = bits.iter().map(|bit| if *bit { '1' } else { '0' }).collect();
                self.events.send("wiegand", json!({ "bits": text }));
            }
            Err(error) => {
                tracing::error!(%error, "the Wiegand line did not take the frame");
                self.events.send("wiegand", json!({ "error": error.to_string() }));
            }
        }
    }
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
    use crate::event::Event;
    use crate::gate::settings::SerialSettings;
    use std::sync::Arc;

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

    fn lines(relay: Box<dyn Relay>) -> Lines {
        Lines {
            relay: Some(relay),
            wiegand: Some(Box::new(wiegand::SimulatedWiegand)),
            serial: None,
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
        let (outputs, task) = Outputs::new(lines(Box::new(faulty)), Events::new(clock));
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
        let (outputs, task) = Outputs::new(lines(Box::new(relay.clone())), bus);
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
    async fn two_within_one_delay_are_two() {
        let mut door = door();
        door.relay().await;
        door.outputs.open(opening(1, 5000, 300)).await.unwrap();
        door.outputs.open(opening(2, 5000, 300)).await.unwrap();
        door.outputs.open(opening(3, 5000, 300)).await.unwrap();
        // The second is taken back; both others go out, each with its number before its pulse.
        door.outputs.close(RecordId(2));
        for record in [1, 3] {
            assert_eq!(door.events.recv().await.unwrap().kind, "wiegand");
            let on = door.events.recv().await.unwrap();
            assert_eq!((&on.fields["state"], &on.fields["record"]), (&json!("on"), &json!(record)));
        }
        let off = door.events.recv().await.unwrap();
        assert_eq!((&off.fields["state"], &off.fields["record"]), (&json!("off"), &json!(3)));
        for record in 0..PENDING {
            door.outputs.open(opening(record as i64, 20, 300)).await.unwrap();
        }
        assert_eq!(door.outputs.open(opening(1, 20, 300)).await.unwrap_err().kind(), Kind::Busy);
    }

    #[tokio::test(start_paused = true)]
    async fn the_low_level_opens_where_the_lock_wants_it() {
        let mut door = door();
        door.relay().await;
        let mut low = opening(1, 1000, 0);
        low.relay.active_low = true;
        door.outputs.open(low).await.unwrap();
        assert!(!door.relay.level());
        door.relay().await;
        assert_eq!(door.relay().await.0, "off");
        assert!(door.relay.level());
    }

    #[tokio::test(start_paused = true)]
    async fn wiegand_goes_out_before_the_relay() {
        let mut door = door();
        door.relay().await;
        door.outputs.open(opening(1, 1000, 0)).await.unwrap();
        let event = door.events.recv().await.unwrap();
        assert_eq!(event.kind, "wiegand");
        assert_eq!(event.fields["bits"], format!("0{}10", "0".repeat(23)));
        assert_eq!(door.events.recv().await.unwrap().kind, "relay");
    }

    /// With a serial line; on the real clock, for the line has a thread.
    fn with_serial(relay: Box<dyn Relay>) -> (Outputs, tokio::sync::broadcast::Receiver<Arc<Event>>) {
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
        let (outputs, mut events) = with_serial(Box::new(SimulatedRelay::default()));
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
        let (outputs, mut events) = with_serial(Box::new(Stuck));
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
        // During a pulse it waits for its end.
        door.outputs.open(Opening { relay: low, ..opening(1, 1000, 0) }).await.unwrap();
        assert!(!door.relay.level());
        door.outputs.rest(RelaySettings::default()).await.unwrap();
        assert!(!door.relay.level());
        for state in ["on", "off", "off"] {
            assert_eq!(door.relay().await.0, state);
        }
        assert!(!door.relay.level(), "high while the old setting ended, low at rest");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_line_is_refused() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let nothing = Lines { relay: None, wiegand: None, serial: None, templates: Templates::default() };
        let (outputs, task) = Outputs::new(nothing, Events::new(clock));
        tokio::spawn(task.run(RelaySettings::default()));
        let error = outputs.serial(vec![1]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.message().contains("device.rs485"), "{error}");
        let error = outputs.wiegand(wiegand::Format::W26, 1).await.unwrap_err();
        assert!(error.message().contains("device.wiegand_out"), "{error}");
    }
}
