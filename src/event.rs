//! What happens at the gate, as it happens: one bus that the admin page, the console and tests listen to.
//! Events never carry pictures, templates or identity numbers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::clock::SharedClock;

/// Events kept for those who come late.
const REMEMBERED: usize = 256;

/// One event. Its JSON form is flat: `{"id": …, "time": …, "kind": …, …}`.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Counts from 1 since the agent started.
    pub id: u64,
    /// When.
    pub time: Timestamp,
    /// One of `face`, `verdict`, `relay`, `wiegand`, `rs485`, `voice`, `screen`, `platform`, `record`,
    /// `person`, `camera`, `task`, `store`.
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
    recent: Mutex<(u64, VecDeque<Arc<Event>>)>,
}

impl Events {
    /// An empty bus.
    pub fn new(clock: SharedClock) -> Self {
        let (sender, _) = broadcast::channel(1024);
        Self { inner: Arc::new(Inner { clock, sender, recent: Mutex::new((0, VecDeque::new())) }) }
    }

    /// Sends an event of `kind`; `fields` must be a JSON object, anything else is sent without fields.
    pub fn send(&self, kind: &'static str, fields: Value) {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let mut recent = self.inner.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.0 += 1;
        let event = Arc::new(Event { id: recent.0, time: self.inner.clock.now(), kind, fields });
        // Faces come with every frame and would push out all else.
        if kind != "face" {
            if recent.1.len() == REMEMBERED {
                recent.1.pop_front();
            }
            recent.1.push_back(Arc::clone(&event));
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
        (recent.1.iter().filter(|event| event.id > after).cloned().collect(), receiver)
    }
}
