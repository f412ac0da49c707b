//! What the platform is owed after calls, kept until it has taken it.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, Notify};

use crate::error::Result;
use crate::event::Events;
use crate::platform::qyzn::call as wire;
use crate::platform::qyzn::code;
use crate::platform::qyzn::requests::{self, Requests};
use crate::store::Store;

/// Where the store keeps them.
const KEY: &str = "intercom.results";
/// Results kept while the platform is away; beyond these the oldest goes.
const KEPT: usize = 256;
/// Before a result is tried again on a line that is up.
const AGAIN: Duration = Duration::from_secs(60);
/// How often a result is sent to a platform that is there and does not answer it.
const TRIES: u32 = 3;

/// The results that wait.
pub(super) struct Results {
    store: Store,
    requests: Requests,
    waiting: Mutex<VecDeque<Value>>,
    fresh: Notify,
}

impl Results {
    /// With what was kept before.
    pub(super) fn new(store: Store, requests: Requests) -> Result<Self> {
        let waiting = match store.setting(KEY)? {
            None => VecDeque::new(),
            Some(text) => serde_json::from_str(&text).unwrap_or_else(|_| {
                tracing::error!("the results of calls in the store are damaged and are left out");
                VecDeque::new()
            }),
        };
        Ok(Self { store, requests, waiting: Mutex::new(waiting), fresh: Notify::new() })
    }

    /// Keeps the data of a `device_call_result`. Returns when it is on the disk, or cannot be.
    pub(super) async fn add(&self, result: Value) {
        let mut waiting = self.waiting.lock().await;
        if waiting.len() >= KEPT {
            tracing::warn!(kept = KEPT, "too many results of calls wait for the platform; the oldest goes");
            waiting.pop_front();
        }
        waiting.push_back(result);
        self.keep(&waiting).await;
        self.fresh.notify_one();
    }

    async fn keep(&self, waiting: &VecDeque<Value>) {
        let text = Value::from_iter(waiting.iter().cloned()).to_string();
        if let Err(error) = self.store.put_setting(KEY, text).await {
            tracing::error!(%error, "the results of calls cannot be stored; they last until the agent ends");
        }
    }

    /// Sends what waits, whenever there is something and a line. Never returns.
    pub(super) async fn deliver(&self, events: &Events) {
        let (_, mut heard) = events.subscribe(u64::MAX);
        let mut unanswered = 0;
        loop {
            let all = self.send(&mut unanswered).await;
            // Nothing waits: nothing needs to be tried again.
            let again =
                async { if all { std::future::pending().await } else { tokio::time::sleep(AGAIN).await } };
            tokio::pin!(again);
            loop {
                tokio::select! {
                    () = self.fresh.notified() => break,
                    () = &mut again => break,
                    event = heard.recv() => match event {
                        Ok(event)
                            if event.kind == "platform"
                                && event.fields.get("platform").is_some_and(|name| name == "qyzn")
                                && event.fields.get("state").is_some_and(|state| state == "logged_in") => break,
                        Ok(_) => {}
                        // One of those that were missed may have been that.
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => std::future::pending().await,
                    },
                }
            }
        }
    }

    /// Sends what waits, the oldest first. False if something is left. `unanswered` is how often the oldest has not
    /// been answered.
    async fn send(&self, unanswered: &mut u32) -> bool {
        loop {
            let Some(oldest) = self.waiting.lock().await.front().cloned() else { return true };
            match self.requests.request(wire::RESULT, oldest.clone(), wire::VERSION).await {
                Ok(answer) => match answer.result {
                    code::SUCCESS => {}
                    code::BUSY | code::TIMEOUT | code::UNREGISTERED => return false,
                    result => {
                        tracing::warn!(
                            result,
                            desc = answer.desc,
                            "the QYZN platform refuses the result of a call"
                        );
                    }
                },
                Err(error) if requests::is_unanswered(&error) => {
                    *unanswered += 1;
                    if *unanswered < TRIES {
                        return false;
                    }
                    let call = oldest.get("callRequestId").and_then(Value::as_str);
                    tracing::warn!(
                        call,
                        tries = TRIES,
                        "the QYZN platform never answers the result of a call"
                    );
                }
                Err(_) => return false,
            }
            *unanswered = 0;
            let mut waiting = self.waiting.lock().await;
            // The oldest may have made room for newer ones meanwhile.
            if waiting.front() == Some(&oldest) {
                waiting.pop_front();
                self.keep(&waiting).await;
            }
        }
    }
}
