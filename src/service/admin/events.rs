//! `GET /api/v1/events`: what happens at the gate, as server-sent events.
//!
//! Each event is one message with its `id` and its JSON as `data`. Besides these there are `event: hello` at the
//! start (which run of the agent this is, and `last`: the events up to that id are past), `event: beat` every few
//! seconds, so that a page can tell a quiet gate from a dead wire, and `event: gap` when the listener was too slow
//! and has lost some.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use tokio::time::{Interval, interval_at};

use super::Shared;
use super::answer::Failure;
use crate::clock::SharedClock;
use crate::event::Event;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(5);

/// Events written at once when many wait.
const AT_ONCE: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Remembered events after this id come first; 0, which is the same as nothing, is all of them.
    after: Option<u64>,
    /// The run in which `after` was an id; of another run, all remembered events come.
    run: Option<String>,
}

/// One listener.
struct Listener {
    ready: VecDeque<Bytes>,
    events: broadcast::Receiver<Arc<Event>>,
    stopped: watch::Receiver<bool>,
    beat: Interval,
    clock: SharedClock,
    /// Held until the listener is gone.
    _place: OwnedSemaphorePermit,
}

pub(super) async fn listen(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Query(asked) = asked.map_err(|error| Failure::input(error.body_text()))?;
    let resumed = match headers.get("last-event-id") {
        Some(id) => Some(
            id.to_str()
                .ok()
                .and_then(|id| id.trim().parse().ok())
                .ok_or_else(|| Failure::input("Last-Event-ID is the number of an event"))?,
        ),
        None => asked.after,
    };
    let place = Arc::clone(&shared.listeners)
        .try_acquire_owned()
        .map_err(|_| Failure::busy("too many listen to the events: close a page and try again"))?;
    let bus = shared.gate.events();
    let last = bus.last_id();
    let after = match resumed {
        // An id that this run has not given yet is of a run before it.
        Some(after) if after <= last && asked.run.is_none_or(|run| run == shared.run) => after,
        _ => 0,
    };
    let (remembered, events) = bus.subscribe(after);
    let hello =
        json!({ "time": shared.gate.clock().now(), "kind": "hello", "run": shared.run, "last": last });
    let mut ready = VecDeque::from([Bytes::from(format!("retry: 1000\nevent: hello\ndata: {hello}\n\n"))]);
    let mut text = String::new();
    for event in &remembered {
        write(&mut text, event);
    }
    if !text.is_empty() {
        ready.push_back(text.into());
    }
    let beat = interval_at(tokio::time::Instant::now() + BEAT, BEAT);
    let (stopped, clock) = (shared.stopped.clone(), Arc::clone(shared.gate.clock()));
    let listener = Listener { ready, events, stopped, beat, clock, _place: place };
    let body = Body::from_stream(stream::unfold(listener, |mut listener| async move {
        let bytes = listener.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), listener))
    }));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

impl Listener {
    /// What to send next; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(bytes) = self.ready.pop_front() {
            return Some(bytes);
        }
        let mut text = String::new();
        let clock = &self.clock;
        tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stopped| *stopped) => return None,
            event = self.events.recv() => match event {
                Ok(event) => write(&mut text, &event),
                Err(RecvError::Lagged(lost)) => say(&mut text, clock, "gap", lost),
                Err(RecvError::Closed) => return None,
            },
            _ = self.beat.tick() => say(&mut text, clock, "beat", 0),
        }
        for _ in 1..AT_ONCE {
            match self.events.try_recv() {
                Ok(event) => write(&mut text, &event),
                Err(TryRecvError::Lagged(lost)) => say(&mut text, clock, "gap", lost),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some(text.into())
    }
}

fn write(text: &mut String, event: &Event) {
    use std::fmt::Write as _;
    // JSON has no line breaks of its own, so one line is the whole event.
    match serde_json::to_string(event) {
        Ok(data) => {
            let _ = write!(text, "id: {}\ndata: {data}\n\n", event.id);
        }
        Err(error) => tracing::error!(%error, kind = event.kind, "an event cannot be written"),
    }
}

/// A message that is no event of the gate, in the same form.
fn say(text: &mut String, clock: &SharedClock, kind: &str, lost: u64) {
    use std::fmt::Write as _;
    let data = json!({ "time": clock.now(), "kind": kind, "lost": lost });
    let _ = write!(text, "event: {kind}\ndata: {data}\n\n");
}
