//! What comes in on the gate's own wires: the exit button opens, the contacts of door and case raise alarms, and the
//! frames of a card reader are cards. Each line has a thread, which hands what it hears to one task; a line that never
//! rests holds its own thread and nobody else.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::{mpsc, watch as latest};
use tokio::time::{Instant, sleep_until};

use super::outputs::{OpenedBy, Opening, Openings};
use super::presented::present_wiegand;
use super::sessions::Command;
use super::{Inner, OrderedBy, report_panic};
use crate::config;
use crate::device::input::{Heard, Input, InputLine};
use crate::device::wiegand_in::{Arrived, Damage, WiegandIn};
use crate::error::{Context, Error, Result};
use crate::event::Events;
use crate::store::{IncidentKind, Pending, Store};

/// What has been heard and waits for the task; the threads wait when there is no more room.
const WAITING: usize = 16;

/// How long a thread waits before it looks whether it is to end.
const LISTEN: Duration = Duration::from_secs(1);

/// Before a line that cannot be had is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// How soon a thread that pauses notices that it is to end.
const STOP_NOTICED: Duration = Duration::from_millis(100);

/// Presses that follow sooner are the same press.
const NEXT_PRESS: Duration = Duration::from_millis(500);

/// After the task has panicked.
const AFTER_A_PANIC: Duration = Duration::from_millis(100);

/// The door as its contact tells of it. Pure: what happened at which moment goes in, what it means comes out.
#[derive(Debug)]
pub(super) struct DoorWatch {
    /// How long it may stand open, if not for ever.
    held_after: Option<Duration>,
    grace: Duration,
    open: Option<OpenDoor>,
}

/// An open door.
#[derive(Debug, Clone, Copy)]
struct OpenDoor {
    since: Instant,
    forced: bool,
    held: bool,
}

/// What the contact means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DoorMeans {
    /// It was opened, and may have been.
    Opened,
    /// It was opened, and nobody had let it.
    Forced,
    /// It stands open for too long.
    Held,
    /// It is shut; whether it had been forced, and held.
    Closed(bool, bool),
}

impl DoorWatch {
    pub(super) fn new(config: &config::Gate) -> Self {
        let held = Duration::from_secs(config.door_held_s);
        Self {
            held_after: (!held.is_zero()).then_some(held),
            grace: Duration::from_secs(config.door_grace_s),
            open: None,
        }
    }

    /// How it is found, with the alarms that are on already. It has not been forced by that.
    pub(super) fn found(&mut self, open: bool, at: Instant, forced: bool, held: bool) {
        self.open = open.then_some(OpenDoor { since: at, forced, held });
    }

    /// It was opened or shut at a moment.
    pub(super) fn contact(&mut self, open: bool, at: Instant, openings: &Openings) -> Option<DoorMeans> {
        match (open, self.open) {
            (true, None) => {
                let forced = !openings.cover(at, self.grace);
                self.open = Some(OpenDoor { since: at, forced, held: false });
                Some(if forced { DoorMeans::Forced } else { DoorMeans::Opened })
            }
            (false, Some(was)) => {
                self.open = None;
                Some(DoorMeans::Closed(was.forced, was.held))
            }
            _ => None,
        }
    }

    /// When it has stood open for too long, if it goes on so. Who is let in meanwhile has the whole time.
    pub(super) fn deadline(&self, openings: &Openings) -> Option<Instant> {
        let open = self.open.filter(|open| !open.held)?;
        let since = openings.last().map_or(open.since, |last| last.max(open.since));
        Some(since + self.held_after?)
    }

    /// Time has passed.
    pub(super) fn time_passes(&mut self, now: Instant, openings: &Openings) -> Option<DoorMeans> {
        self.deadline(openings).filter(|deadline| *deadline <= now)?;
        self.open.as_mut()?.held = true;
        Some(DoorMeans::Held)
    }
}

/// What a thread has heard.
enum Report {
    /// The state of an input, and whether it is only how it was found.
    State { active: bool, since: std::time::Instant, found: bool },
    /// It does not rest.
    Chatters,
    /// It cannot be had or read.
    Failed(Error),
}

/// Starts threads and tasks. They end with the gate, or when `stop` is true.
pub(super) fn start(
    gate: &Arc<Inner>,
    commands: &mpsc::Sender<Command>,
    lines: Vec<(Input, Box<dyn InputLine>)>,
    wiegand: Option<Box<dyn WiegandIn>>,
    stop: &Arc<AtomicBool>,
) -> Result<()> {
    let (heard, reports) = mpsc::channel(WAITING);
    for (input, mut line) in lines {
        let heard = heard.clone();
        let mut found = true;
        listen(
            input.as_str(),
            gate,
            stop,
            move |outcome: Result<Option<Heard>>| {
                let report = match outcome {
                    Ok(None) => return true,
                    Ok(Some(Heard::Chatters)) => Report::Chatters,
                    Ok(Some(Heard::State { active, since })) => {
                        Report::State { active, since, found: std::mem::take(&mut found) }
                    }
                    Err(error) => {
                        // What it is in then is no press of a button.
                        found = true;
                        Report::Failed(error)
                    }
                };
                heard.blocking_send((input, report)).is_ok()
            },
            move || line.next(LISTEN),
        )?;
    }
    let task = Task {
        gate: Arc::downgrade(gate),
        events: gate.events.clone(),
        store: gate.store.clone(),
        openings: gate.outputs.openings(),
        reports,
        door: DoorWatch::new(&gate.config),
        known: HashSet::new(),
        pressed: None,
    };
    drop(heard);
    tokio::spawn(task.run());
    if let Some(mut wiegand) = wiegand {
        let (arrived, frames) = mpsc::channel(WAITING);
        listen(
            "wiegand-in",
            gate,
            stop,
            move |outcome: Result<Option<Arrived>>| match outcome.transpose() {
                None => true,
                Some(outcome) => arrived.blocking_send(outcome).is_ok(),
            },
            move || wiegand.next(LISTEN),
        )?;
        tokio::spawn(cards(Arc::downgrade(gate), gate.events.clone(), commands.clone(), frames));
    }
    Ok(())
}

/// A thread that listens to one line until it is told to end, or `take` wants no more. A failure is told once.
pub(super) fn listen<T: 'static>(
    name: &'static str,
    gate: &Arc<Inner>,
    stop: &Arc<AtomicBool>,
    mut take: impl FnMut(Result<Option<T>>) -> bool + Send + 'static,
    mut next: impl FnMut() -> Result<Option<T>> + Send + 'static,
) -> Result<()> {
    let (gate, events, stop) = (Arc::downgrade(gate), gate.events.clone(), Arc::clone(stop));
    let ended = move || stop.load(Ordering::Relaxed) || gate.strong_count() == 0;
    let thread = move || {
        let mut told = String::new();
        while !ended() {
            // A driver that panics costs a pause, not the input.
            let (wants_more, failed) = match catch_unwind(AssertUnwindSafe(&mut next)) {
                Ok(Ok(heard)) => {
                    told.clear();
                    (take(Ok(heard)), false)
                }
                Ok(Err(error)) => {
                    let text = error.to_string();
                    let news = std::mem::replace(&mut told, text) != told;
                    (!news || take(Err(error)), true)
                }
                Err(_) => {
                    report_panic(&events, name);
                    (true, true)
                }
            };
            if !wants_more {
                return;
            }
            let until = std::time::Instant::now() + AGAIN;
            while failed && !ended() && std::time::Instant::now() < until {
                std::thread::sleep(STOP_NOTICED);
            }
        }
    };
    std::thread::Builder::new()
        .name(name.into())
        .spawn(thread)
        .context(|| format!("the thread of the input {name} cannot be started"))?;
    Ok(())
}

/// What is done about what is heard.
struct Task {
    gate: Weak<Inner>,
    events: Events,
    store: Store,
    openings: latest::Receiver<Openings>,
    reports: mpsc::Receiver<(Input, Report)>,
    door: DoorWatch,
    /// Inputs that have been heard of.
    known: HashSet<Input>,
    pressed: Option<std::time::Instant>,
}

impl Task {
    async fn run(mut self) {
        loop {
            let served = AssertUnwindSafe(self.serve()).catch_unwind().await;
            if served.is_ok() {
                return;
            }
            report_panic(&self.events, "inputs");
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
    }

    async fn serve(&mut self) {
        loop {
            let deadline = self.door.deadline(&self.openings.borrow());
            tokio::select! {
                report = self.reports.recv() => match report {
                    Some((input, report)) => self.hear(input, report).await,
                    None => return,
                },
                () = async { match deadline {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                } } => {
                    let means = self.door.time_passes(Instant::now(), &self.openings.borrow());
                    if let (Some(means), Some(gate)) = (means, self.gate.upgrade()) {
                        self.door_means(means, gate.clock.now());
                    }
                }
                // An opening while the door stands open: it may do so longer.
                changed = self.openings.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    async fn hear(&mut self, input: Input, report: Report) {
        let name = input.as_str();
        match report {
            Report::State { active, since, found } => {
                let Some(gate) = self.gate.upgrade() else { return };
                let first = self.known.insert(input);
                let mut fields = json!({ "input": name, "state": input.state(active) });
                if first || found {
                    fields["found"] = true.into();
                }
                self.events.send("input", fields);
                let at = ago(gate.clock.now(), since);
                match input {
                    Input::ExitButton if active && !found => self.press(&gate, since, at).await,
                    Input::ExitButton => {}
                    Input::DoorContact if first => self.door_found(active, at).await,
                    Input::DoorContact => {
                        let since = Instant::from_std(since);
                        let means = self.door.contact(active, since, &self.openings.borrow());
                        if let Some(means) = means {
                            self.door_means(means, at);
                        }
                    }
                    Input::Tamper => self.tamper(active, first, at).await,
                }
            }
            Report::Chatters => {
                tracing::warn!(
                    input = name,
                    "an input does not come to rest, and stays what it was: check its wire and its contact"
                );
                self.events.send("input", json!({ "input": name, "state": "chatters" }));
            }
            Report::Failed(error) => {
                tracing::error!(input = name, %error, "an input cannot be read; it is tried again");
                let fields = json!({ "input": name, "state": "failed", "error": error.to_string() });
                self.events.send("input", fields);
            }
        }
    }

    /// The exit button.
    async fn press(&mut self, gate: &Inner, since: std::time::Instant, at: Timestamp) {
        if self.pressed.is_some_and(|last| since.saturating_duration_since(last) < NEXT_PRESS) {
            return;
        }
        self.pressed = Some(since);
        let by = OpenedBy::Order(OrderedBy::Button);
        let opening = Opening::new(by, &gate.settings.load(), None);
        match gate.outputs.open(opening).await {
            Ok(()) => {
                tracing::info!("the exit button opened the door");
                self.keep(self.store.append_incident(IncidentKind::ExitButton, at, Some(at)));
            }
            Err(error) => tracing::error!(%error, "the exit button did not open the door"),
        }
    }

    /// How the door is found at the start. An alarm that was on when the power went goes on, or ends here.
    async fn door_found(&mut self, open: bool, at: Timestamp) {
        let kinds = [IncidentKind::DoorForced, IncidentKind::DoorHeld];
        if !open {
            self.keep(self.store.end_incidents(&kinds, at));
        }
        let [forced, held] = match open {
            true => self.last(kinds).await,
            false => [false; 2],
        };
        self.door.found(open, Instant::now(), forced, held);
    }

    async fn tamper(&mut self, open: bool, first: bool, at: Timestamp) {
        if !open {
            self.keep(self.store.end_incidents(&[IncidentKind::Tamper], at));
            return;
        }
        let [lasts, _] = self.last([IncidentKind::Tamper; 2]).await;
        if !lasts {
            tracing::warn!(found = first, "the gate's case is open");
            self.keep(self.store.append_incident(IncidentKind::Tamper, at, None));
        }
    }

    /// Whether incidents of these kinds last.
    async fn last(&self, kinds: [IncidentKind; 2]) -> [bool; 2] {
        let store = self.store.clone();
        let lasting = tokio::task::spawn_blocking(move || store.lasting_incidents()).await;
        match lasting {
            Ok(Ok(lasting)) => kinds.map(|kind| lasting.iter().any(|incident| incident.kind == kind)),
            Ok(Err(error)) => {
                tracing::error!(%error, "incidents cannot be read");
                [false; 2]
            }
            Err(_) => [false; 2],
        }
    }

    fn door_means(&self, means: DoorMeans, at: Timestamp) {
        match means {
            DoorMeans::Opened => {}
            DoorMeans::Forced => {
                tracing::warn!("the door was forced: it was opened and nobody had let it");
                self.keep(self.store.append_incident(IncidentKind::DoorForced, at, None));
                self.events.send("door", json!({ "state": "forced" }));
            }
            DoorMeans::Held => {
                tracing::warn!("the door has stood open for longer than gate.door_held_s");
                self.keep(self.store.append_incident(IncidentKind::DoorHeld, at, None));
                self.events.send("door", json!({ "state": "held" }));
            }
            DoorMeans::Closed(false, false) => {}
            DoorMeans::Closed(forced, held) => {
                tracing::info!(forced, held, "the door is shut again");
                let kinds = [IncidentKind::DoorForced, IncidentKind::DoorHeld];
                self.keep(self.store.end_incidents(&kinds, at));
                self.events.send("door", json!({ "state": "closed", "forced": forced, "held": held }));
            }
        }
    }

    /// Lets a write come to its end. One that fails is in the log: the event has told what there is to tell.
    fn keep<T: Send + 'static>(&self, pending: Pending<T>) {
        tokio::spawn(async move {
            if let Err(error) = pending.await {
                tracing::error!(%error, "an incident at the gate could not be stored");
            }
        });
    }
}

/// The time by the gate's clock at which something was that long ago.
fn ago(now: Timestamp, since: std::time::Instant) -> Timestamp {
    let ago = SignedDuration::try_from(since.elapsed()).unwrap_or_default();
    now.checked_sub(ago).unwrap_or(now)
}

/// Frames of the card reader are cards. What is none is told once, until the reader is well again.
async fn cards(
    gate: Weak<Inner>,
    events: Events,
    commands: mpsc::Sender<Command>,
    mut frames: mpsc::Receiver<Result<Arrived>>,
) {
    let mut told: HashSet<Option<Damage>> = HashSet::new();
    while let Some(arrived) = frames.recv().await {
        let Some(gate) = gate.upgrade() else { return };
        let (state, damage, text) = match arrived {
            Ok(Arrived::Frame(bits)) => match present_wiegand(&gate, &commands, &bits).await {
                Ok(_) => {
                    if !told.is_empty() {
                        told.clear();
                        events.send("reader", json!({ "reader": "wiegand_in", "state": "ok" }));
                    }
                    continue;
                }
                Err(error) => ("damaged", None, error.to_string()),
            },
            Ok(Arrived::Damaged(damage)) => ("damaged", Some(damage), damage.to_string()),
            Err(error) => {
                // Told once by its thread.
                told.clear();
                ("failed", None, error.to_string())
            }
        };
        if told.insert(damage) {
            tracing::warn!(state, problem = text, "the Wiegand input brought no card");
            let fields = json!({ "reader": "wiegand_in", "state": state, "error": text });
            events.send("reader", fields);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(held_s: u64) -> DoorWatch {
        DoorWatch::new(&config::Gate { door_held_s: held_s, door_grace_s: 5, ..config::Gate::default() })
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_door_that_nobody_let_open_is_forced() {
        let start = Instant::now();
        let mut door = watch(30);
        let none = Openings::default();
        assert_eq!(door.contact(true, start, &none), Some(DoorMeans::Forced));
        assert_eq!(door.contact(true, start + s(1), &none), None);
        assert_eq!(door.contact(false, start + s(2), &none), Some(DoorMeans::Closed(true, false)));
        assert_eq!(door.contact(false, start + s(3), &none), None);
        // As it is found, it has not been forced.
        door.found(true, start + s(4), false, false);
        assert_eq!(door.contact(false, start + s(5), &none), Some(DoorMeans::Closed(false, false)));
    }

    #[test]
    fn a_door_is_free_from_the_order_until_a_little_after_the_pulse() {
        let start = Instant::now();
        let mut openings = Openings::default();
        openings.note(start, start + s(2));
        for (at, means) in
            [(0, DoorMeans::Opened), (2, DoorMeans::Opened), (7, DoorMeans::Opened), (8, DoorMeans::Forced)]
        {
            let mut door = watch(30);
            assert_eq!(door.contact(true, start + s(at), &openings), Some(means), "{at} s");
        }
        let before = start.checked_sub(s(1)).unwrap();
        assert_eq!(watch(30).contact(true, before, &openings), Some(DoorMeans::Forced));
    }

    #[test]
    fn a_door_that_stands_open_is_told_of_once() {
        let start = Instant::now();
        let mut openings = Openings::default();
        openings.note(start, start + s(2));
        let mut door = watch(30);
        assert_eq!(door.deadline(&openings), None);
        door.contact(true, start + s(1), &openings);
        // From the end of the pulse; who is let in meanwhile has the whole time.
        assert_eq!(door.deadline(&openings), Some(start + s(32)));
        openings.note(start + s(20), start + s(22));
        assert_eq!(door.time_passes(start + s(51), &openings), None);
        assert_eq!(door.time_passes(start + s(52), &openings), Some(DoorMeans::Held));
        assert_eq!(door.deadline(&openings), None);
        assert_eq!(door.contact(false, start + s(60), &openings), Some(DoorMeans::Closed(false, true)));
        // Zero: any time.
        let mut door = watch(0);
        door.contact(true, start, &Openings::default());
        assert_eq!(door.deadline(&openings), None);
        // An alarm that is on already is not raised again.
        let mut door = watch(30);
        door.found(true, start, true, true);
        assert_eq!(door.deadline(&openings), None);
        assert_eq!(door.contact(false, start, &openings), Some(DoorMeans::Closed(true, true)));
    }
}
