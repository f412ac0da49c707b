//! The video intercom's signalling (QYZN 4.7): a visitor dials a room, the platform says who is called, a
//! [`Media`] provider rings them, one of them may open the door, and the platform is told how it went.
//!
//! `call` is the state machine of one call, `results` what the platform is still owed, [`media`] the edge to who
//! carries voice and picture, [`simulated`] one that does what a script says.

mod call;
pub mod media;
mod results;
pub mod simulated;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::timeout;

pub use call::{Open, Outcome, State, View};
pub use media::{Called, Media, Parameters};

use crate::clock::Moment;
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::gate::{Gate, OrderedBy};
use crate::platform::qyzn::requests::Requests;
use crate::text::{self, Language};
use crate::{access, config};
use call::{Call, Options, Place};
use results::Results;
use simulated::{Script, SimulatedMedia};

/// How long a call waits for the camera's next picture.
const PICTURE_WITHIN: Duration = Duration::from_secs(1);
/// Longest number of a room.
const ROOM: usize = 32;

/// The intercom of a gate. Cheap to clone.
#[derive(Clone)]
pub struct Intercom {
    inner: Arc<Inner>,
}

struct Inner {
    place: Arc<dyn Place>,
    requests: Requests,
    media: Arc<dyn Media>,
    options: Options,
    results: Results,
    events: Events,
    view: Arc<watch::Sender<View>>,
    current: Mutex<Option<watch::Sender<bool>>>,
}

/// The provider that `intercom.media` names; `None` for `none`. `Config` for one that does not exist.
pub fn media(name: &str) -> Result<Option<Arc<dyn Media>>> {
    let script = match name.split_once(':') {
        None if name == "none" => return Ok(None),
        None if name == "sim" => "",
        Some(("sim", script)) => script,
        _ => {
            return Err(Error::new(
                Kind::Config,
                format!("intercom.media must be none, sim or sim:STEPS, not {name:?}"),
            ));
        }
    };
    Ok(Some(Arc::new(SimulatedMedia::new(script.parse::<Script>()?))))
}

/// The error of a gate without one.
pub fn missing() -> Error {
    Error::new(Kind::NotFound, "this gate has no intercom: it needs [platform.qyzn] and intercom.media")
}

impl Intercom {
    /// The intercom of `gate`, which asks the platform with `requests`; `None` where `config` names no media.
    pub fn new(
        gate: Gate,
        requests: Requests,
        config: &config::Intercom,
        dial: Duration,
        language: Language,
    ) -> Result<Option<Self>> {
        let Some(media) = media(&config.media)? else { return Ok(None) };
        let results = Results::new(gate.store().clone(), requests.clone())?;
        let inner = Inner {
            events: gate.events().clone(),
            place: Arc::new(AtGate { gate, language }),
            requests,
            media,
            options: Options { dial, ring: Duration::from_secs(config.ring_s) },
            results,
            view: Arc::new(watch::Sender::new(View::idle())),
            current: Mutex::new(None),
        };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// Calls a room: 1 to 32 letters, digits, `-`, `*` and `#`, otherwise `Input`. `Busy` while a call is on.
    /// The call goes on by itself.
    pub fn dial(&self, room: &str) -> Result<View> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '*' | '#');
        if room.is_empty() || room.len() > ROOM || !room.chars().all(good) {
            return Err(Error::new(
                Kind::Input,
                format!("room: must be 1 to {ROOM} letters, digits, -, * and #"),
            ));
        }
        let id = uuid()?;
        let inner = &self.inner;
        let mut current = inner.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_some() {
            return Err(Error::new(Kind::Busy, "a call is on already: hang up first, or wait for its end"));
        }
        let (hang_up, told) = watch::channel(false);
        *current = Some(hang_up);
        let view = View::dialling(inner.view.borrow().call + 1, room);
        inner.view.send_replace(view.clone());
        drop(current);
        let call = Call::new(
            Arc::clone(&inner.place),
            inner.requests.clone(),
            Arc::clone(&inner.media),
            inner.options.clone(),
            Arc::clone(&inner.view),
            room,
            id,
        );
        tokio::spawn(Arc::clone(inner).carry(call, told));
        Ok(view)
    }

    /// Hangs up. `NotFound` without a call.
    pub fn hang_up(&self) -> Result<()> {
        match &*self.inner.current.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(hang_up) => {
                hang_up.send_replace(true);
                Ok(())
            }
            None => Err(Error::new(Kind::NotFound, "there is no call to hang up")),
        }
    }

    /// The call that is on, or the last one.
    pub fn view(&self) -> View {
        self.inner.view.borrow().clone()
    }

    /// Tells the platform how calls went, as it can be told, until `stopped` turns true; hangs up then.
    pub async fn run(&self, mut stopped: watch::Receiver<bool>) -> Result<()> {
        tokio::select! {
            () = self.inner.results.deliver(&self.inner.events) => {}
            // A dropped sender is the end of the program as well.
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        if self.hang_up().is_ok() {
            let mut view = self.inner.view.subscribe();
            let _ = view.wait_for(|view| view.state == State::Ended).await;
        }
        Ok(())
    }
}

impl Inner {
    /// Carries a call out and reports it.
    async fn carry(self: Arc<Self>, mut call: Call, told: watch::Receiver<bool>) {
        let outcome = match AssertUnwindSafe(call.run(told)).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(_) => {
                tracing::error!("a call panicked: please report the message above");
                call.broke()
            }
        };
        if let Some(result) = call.result() {
            self.results.add(result).await;
        }
        let open = call.open();
        // Whoever sees the end can dial again.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = None;
        self.view.send_modify(|view| {
            view.state = State::Ended;
            view.states.push(State::Ended);
            view.result = Some(outcome);
            view.open = open;
        });
        let view = self.view.borrow().clone();
        drop(current);
        self.place.tell(&view);
    }
}

/// The gate as a call needs it.
struct AtGate {
    gate: Gate,
    language: Language,
}

impl Place for AtGate {
    fn now(&self) -> Moment {
        Moment { utc: self.gate.clock().now(), offset: self.gate.settings().time.offset() }
    }

    fn picture(&self) -> BoxFuture<'static, Option<Vec<u8>>> {
        let gate = self.gate.clone();
        // A call without a picture is better than none.
        async move { Some(timeout(PICTURE_WITHIN, gate.picture_now()).await.ok()?.ok()?.to_vec()) }.boxed()
    }

    fn open_door(&self) -> BoxFuture<'static, Result<()>> {
        let gate = self.gate.clone();
        async move { gate.open_door(OrderedBy::Called).await }.boxed()
    }

    fn tell(&self, view: &View) {
        let mut event = json!({ "state": view.state, "room": view.room, "open": view.open });
        if let Some(result) = view.result {
            event["result"] = json!(result);
        }
        self.gate.events().send("call", event);
        let text = match (view.state, view.result, view.open) {
            (_, Some(result), _) => text::call_result(result, self.language),
            (State::Talking | State::Ringing, _, Open::Opened) => {
                text::reason(access::Reason::Granted, self.language)
            }
            (State::Talking | State::Ringing, _, Open::Failed) => text::door_failed(self.language),
            (state, ..) => text::call_state(state, self.language),
        };
        self.gate.show(text);
    }
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(Kind::Io, format!("the system gives no random numbers: {error}")))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    let hex = format!("{number:032x}");
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}
