//! What happens at the gate, as it happens: one bus that the admin page, the console and tests listen to.
//! Events never carry pictures, templates or identity numbers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::clock::SharedClock;

/// Events kept for those who come late.
const REMEMBERED: usize = 256;

/// One event. Its JSON form is flat: `{"time": …, "kind": …, …}`. The id is not in it: a `record` event has an
/// `id` of its own, the record's.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Counts from 1 since the agent started.
    #[serde(skip)]
    pub id: u64,
    /// When.
    pub time: Timestamp,
    /// One of `face`, `verdict`, `relay`, `wiegand`, `rs485`, `voice`, `screen`, `lamp`, `platform`, `record`,
    /// `person`, `credential`, `camera`, `task`, `store`, `update`, `call`, `system`, `input`,
    /// `door`, `reader`, `document`, `watchdog`.
    pub kind: &'static str,
    /// The rest.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// The bus. Cheap to clone; sending never waits.
#[derive(Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

struct Inner {
    clock: SharedClock,
    sender: broadcast::Sender<Arc<Event>>,
    recent: Mutex<Recent>,
}

/// What is kept for those who come late.
#[derive(Default)]
struct Recent {
    /// The last id given.
    last: u64,
    events: VecDeque<Arc<Event>>,
    /// How many there were of each kind.
    counts: HashMap<&'static str, u64>,
    /// The last event of each kind and subject, however long ago it was.
    standing: HashMap<(&'static str, String), Arc<Event>>,
}

/// States of the link to a platform; what else a `platform` event tells does not end them.
pub const LINK_STATES: [&str; 5] = ["connected", "registered", "logged_in", "reached", "lost"];

/// What an event is about, where one kind tells of several things: a platform, a part of the agent, a camera.
fn subject(kind: &str, fields: &Map<String, Value>) -> String {
    let name = || fields.get(kind).map(Value::to_string).unwrap_or_default();
    match kind {
        "task" | "camera" | "input" | "reader" => name(),
        "system" => fields.get("order").map(Value::to_string).unwrap_or_default(),
        // Whether the loops of the gate turn, and whether there is somebody who watches over them.
        "watchdog" => match fields.get("state").and_then(Value::as_str) {
            Some("starving" | "alive") => "loops".to_owned(),
            _ => String::new(),
        },
        "platform" => match fields.get("state").and_then(Value::as_str) {
            Some(state) if !LINK_STATES.contains(&state) => format!("{} {state}", name()),
            _ => name(),
        },
        _ => String::new(),
    }
}

impl Events {
    /// An empty bus.
    pub fn new(clock: SharedClock) -> Self {
        let (sender, _) = broadcast::channel(1024);
        Self { inner: Arc::new(Inner { clock, sender, recent: Mutex::default() }) }
    }

    /// Sends an event of `kind`; `fields` must be a JSON object, anything else is sent without fields.
    pub fn send(&self, kind: &'static str, fields: Value) {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let mut recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.last += 1;
        *recent.counts.entry(kind).or_default() += 1;
        let event = Arc::new(Event { id: recent.last, time: self.inner.clock.now(), kind, fields });
        // Faces come with every frame, and a watchdog is fed all the time: they would push out all else.
        if kind != "face" && !(kind == "watchdog" && event.fields.get("state") == Some(&Value::from("fed"))) {
            if recent.events.len() == REMEMBERED {
                recent.events.pop_front();
            }
            recent.events.push_back(Arc::clone(&event));
            recent.standing.insert((kind, subject(kind, &event.fields)), Arc::clone(&event));
        }
        // Sent under the lock so that every listener sees the ids in order; nobody listening is no error.
        let _ = self.inner.sender.send(event);
    }

    /// Whether anybody listens: an event that only matters while somebody looks need not be made.
    pub fn watched(&self) -> bool {
        self.inner.sender.receiver_count() > 0
    }

    /// Everything from now on, after the remembered events later than `after` (0 for all of them).
    /// A listener that falls 1024 events behind loses the oldest and is told so by its receiver.
    pub fn subscribe(&self, after: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.inner.sender.subscribe();
        (recent.events.iter().filter(|event| event.id > after).cloned().collect(), receiver)
    }

    /// The last event of each kind and subject but `face`: how things stand, however long ago it was said.
    pub fn standing(&self) -> Vec<Arc<Event>> {
        let recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.standing.values().cloned().collect()
    }

    /// How many there were of each kind since the agent started.
    pub fn counts(&self) -> std::collections::BTreeMap<&'static str, u64> {
        let recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.counts.iter().map(|(kind, count)| (*kind, *count)).collect()
    }

    /// The last id given, 0 before the first.
    pub fn last_id(&self) -> u64 {
        self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner).last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use serde_json::json;

    #[test]
    fn how_things_stand_outlives_what_is_remembered() {
        let events = Events::new(Arc::new(SystemClock));
        events.send("platform", json!({ "platform": "qyzn", "state": "connected" }));
        events.send("platform", json!({ "platform": "qyzn", "state": "lost" }));
        events.send("platform", json!({ "platform": "qyzn", "state": "time_offset" }));
        events.send("platform", json!({ "platform": "terminal_ws", "state": "logged_in" }));
        for _ in 0..2 * REMEMBERED {
            events.send("relay", json!({ "state": "on" }));
        }
        events.send("face", json!({ "faces": [] }));
        for _ in 0..2 * REMEMBERED {
            events.send("watchdog", json!({ "state": "fed" }));
        }
        let last = 4 + 4 * REMEMBERED as u64 + 1;
        assert_eq!(events.last_id(), last);
        assert!(events.subscribe(0).0.iter().all(|event| event.kind == "relay"));
        let mut standing: Vec<_> = events
            .standing()
            .iter()
            .map(|event| (event.kind, event.fields["state"].as_str().unwrap().to_owned()))
            .collect();
        standing.sort();
        let wanted =
            [("platform", "logged_in"), ("platform", "lost"), ("platform", "time_offset"), ("relay", "on")];
        assert_eq!(standing, wanted.map(|(kind, state)| (kind, state.to_owned())));
        let counts: Vec<_> = events.counts().into_iter().collect();
        let many = 2 * REMEMBERED as u64;
        assert_eq!(counts, [("face", 1), ("platform", 4), ("relay", many), ("watchdog", many)]);
    }
}
