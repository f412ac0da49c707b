//! Addresses of the gate's network cards, so changed that a slip of the pen does not lose the gate.
//!
//! A change holds at once and is on trial. It is kept when a technician confirms it, or when a platform is reached by a
//! fresh connection from the card's new address. When the time is over, it is kept if a platform can still be reached by
//! another card, and put back if none can: whoever made the change may be unable to say so. A gate that starts anew
//! in between has what was kept.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Gate, Inner};
use crate::device::system::{Interface, NetworkOrder, NetworkSettings};
use crate::error::{Error, Kind, Result};

/// How long a change is on trial.
pub const TRIAL: Duration = Duration::from_secs(60);

/// Between two attempts to reach a platform meanwhile.
const TRY: Duration = Duration::from_secs(3);

/// How long one attempt may take.
const REACHED_WITHIN: Duration = Duration::from_secs(5);

/// How long one platform may take to answer in it.
const CONNECTED_WITHIN: Duration = Duration::from_secs(4);

/// Asks which platforms can be reached, by connections of its own; answers with the gate's ends of them.
pub type Reach = Box<dyn Fn() -> BoxFuture<'static, Vec<IpAddr>> + Send + Sync>;

/// How the cards stand.
#[derive(Debug, Serialize)]
pub struct NetworkView {
    /// What they have.
    pub cards: Vec<Interface>,
    /// What was kept for them.
    pub kept: Vec<NetworkOrder>,
    /// The change that is on trial, and how many seconds are left.
    pub trial: Option<(NetworkOrder, u64)>,
}

/// The change on trial.
#[derive(Default)]
pub(super) struct Trial(Mutex<Option<Running>>);

struct Running {
    settings: NetworkSettings,
    until: Instant,
    /// Whether to keep it; sent once.
    decide: Option<oneshot::Sender<bool>>,
}

impl Trial {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one. `Busy` while another is on.
    fn begin(&self, settings: &NetworkSettings) -> Result<oneshot::Receiver<bool>> {
        let mut running = self.lock();
        if let Some(running) = &*running {
            return Err(Error::new(
                Kind::Busy,
                format!(
                    "a change of {} is on trial: confirm it, put it back, or wait",
                    running.settings.name()
                ),
            ));
        }
        let (decide, decided) = oneshot::channel();
        *running =
            Some(Running { settings: settings.clone(), until: Instant::now() + TRIAL, decide: Some(decide) });
        Ok(decided)
    }

    /// A technician's word on it. `NotFound` if none is on.
    fn decide(&self, keep: bool) -> Result<()> {
        let decide = self.lock().as_mut().and_then(|running| running.decide.take());
        let none = || Error::new(Kind::NotFound, "no change of the network is on trial");
        decide.ok_or_else(none)?.send(keep).map_err(|_| none())
    }

    fn end(&self) {
        *self.lock() = None;
    }

    fn view(&self) -> Option<(NetworkOrder, u64)> {
        let running = self.lock();
        let running = running.as_ref()?;
        Some((running.settings.order(), running.until.saturating_duration_since(Instant::now()).as_secs()))
    }
}

/// Why a change is kept or put back, as events tell it.
async fn judged(settings: &NetworkSettings, reach: &Reach) -> (bool, &'static str) {
    let until = Instant::now() + TRIAL;
    let reached = async || tokio::time::timeout(REACHED_WITHIN, reach()).await.unwrap_or_default();
    loop {
        let next = Instant::now() + TRY;
        if next >= until {
            break;
        }
        tokio::time::sleep_until(next).await;
        // From anywhere else it would say nothing about this card.
        let from = reached().await;
        if settings.address().is_some_and(|address| from.contains(&IpAddr::V4(address))) {
            return (true, "platform");
        }
    }
    tokio::time::sleep_until(until).await;
    match reached().await.is_empty() {
        false => (true, "platform"),
        true => (false, "no platform was reached, and nobody confirmed"),
    }
}

impl Inner {
    async fn use_network(self: &Arc<Self>, settings: NetworkSettings, reach: Reach) -> Result<()> {
        let cards = self.machine.call(|system| Ok(system.interfaces())).await?;
        if !cards.iter().any(|card| card.name == settings.name()) {
            let names: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
            return Err(Error::new(
                Kind::Input,
                format!("name: there is no network card {}: there are {}", settings.name(), names.join(", ")),
            ));
        }
        let address = settings.address().map(|address| address.to_string());
        if let Some(other) =
            cards.iter().find(|card| card.name != settings.name() && Some(&card.address) == address.as_ref())
        {
            return Err(Error::new(Kind::Input, format!("address: {} has it already", other.name)));
        }
        let decided = self.machine.trial.begin(&settings)?;
        let inner = Arc::clone(self);
        // Of its own: whoever ordered it may lose the connection by it.
        let used = tokio::spawn(async move {
            let wanted = settings.clone();
            let used = inner.machine.call(move |system| system.use_network(&wanted)).await;
            if let Err(error) = used {
                inner.machine.trial.end();
                return Err(error);
            }
            tracing::warn!(card = settings.name(), "a network card has other settings, on trial");
            let mut event = json!(settings.order());
            event["order"] = "use_network".into();
            event["trial_s"] = TRIAL.as_secs().into();
            inner.events.send("system", event);
            tokio::spawn(async move { inner.try_out(settings, decided, reach).await });
            Ok(())
        });
        used.await.unwrap_or_else(|error| {
            self.machine.trial.end();
            Err(Error::caused(Kind::Stopped, "the change of the network was not finished", error))
        })
    }

    /// Waits for the end of the trial and does what follows.
    async fn try_out(&self, settings: NetworkSettings, decided: oneshot::Receiver<bool>, reach: Reach) {
        let (keep, by) = tokio::select! {
            Ok(keep) = decided => (keep, "technician"),
            judgement = judged(&settings, &reach) => judgement,
        };
        let name = settings.name().to_owned();
        let card = name.clone();
        let done = self.machine.call(move |system| match keep {
            true => system.keep_network(&settings),
            false => system.put_network_back(&card),
        });
        let mut event = json!({ "order": if keep { "keep_network" } else { "put_network_back" }, "name": name, "by": by });
        let outcome = done.await;
        // Before it is told: whoever hears it may order the next one.
        self.machine.trial.end();
        match outcome {
            Ok(()) if keep => {
                tracing::info!(card = name, by, "the settings of a network card are kept");
                self.events.send("system", event);
            }
            Ok(()) => {
                tracing::warn!(card = name, by, "the settings of a network card were put back");
                self.events.send("system", event);
            }
            Err(error) => {
                tracing::error!(%error, card = name, "a change of the network could not be brought to its end");
                event["state"] = "failed".into();
                event["error"] = error.to_string().into();
                self.events.send("system", event);
            }
        }
    }

    /// Gives the cards what was kept for them.
    pub(super) async fn settle_network(&self) {
        if let Err(error) = self.machine.call(|system| system.settle_network()).await {
            tracing::error!(%error, "the network cards do not have the settings that were kept for them");
        }
    }
}

impl Gate {
    /// How the network cards stand.
    pub async fn network(&self) -> Result<NetworkView> {
        let trial = self.inner.machine.trial.view();
        self.inner
            .machine
            .call(|system| {
                let kept = system.kept_network().iter().map(NetworkSettings::order).collect();
                Ok(NetworkView { cards: system.interfaces(), kept, trial })
            })
            .await
    }

    /// Gives a card its address, on trial for [`TRIAL`]; `reach` says whether a platform can be reached. `Input` for a
    /// card that is not there, `Busy` while another change is on trial, `Device` if the machine refuses.
    pub async fn use_network(&self, settings: NetworkSettings, reach: Reach) -> Result<()> {
        self.inner.use_network(settings, reach).await
    }

    /// A technician's word on the change that is on trial: keep it, or put it back. What follows is in the events
    /// (`system`). `NotFound` if none is on.
    pub fn decide_network(&self, keep: bool) -> Result<()> {
        self.inner.machine.trial.decide(keep)
    }
}

/// [`Reach`] for platforms at these hosts and ports.
pub fn reach_any(servers: Vec<(String, u16)>) -> Reach {
    let servers = Arc::new(servers);
    Box::new(move || {
        let servers = Arc::clone(&servers);
        Box::pin(async move {
            // All at once: one that keeps silent says nothing about the others.
            let attempts = servers.iter().map(async |(host, port)| {
                let connected = tokio::net::TcpStream::connect((host.as_str(), *port));
                let stream = tokio::time::timeout(CONNECTED_WITHIN, connected).await.ok()?.ok()?;
                stream.local_addr().ok().map(|address| address.ip())
            });
            futures_util::future::join_all(attempts).await.into_iter().flatten().collect()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: &str) -> NetworkSettings {
        let order = NetworkOrder { name: "eth0".into(), address: address.into(), ..NetworkOrder::default() };
        NetworkSettings::of(&order).unwrap()
    }

    /// Platforms that are reached from the addresses given, one for each attempt; the last one goes on.
    fn reach(from: &'static [Option<&'static str>]) -> Reach {
        let attempt = std::sync::atomic::AtomicUsize::new(0);
        Box::new(move || {
            let now = attempt.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let from = from[now.min(from.len() - 1)].map(|address| address.parse().unwrap());
            Box::pin(async move { from.into_iter().collect() })
        })
    }

    async fn judgement(from: &'static [Option<&'static str>]) -> (bool, u64) {
        let began = Instant::now();
        let (keep, _) = judged(&settings("192.168.1.20/24"), &reach(from)).await;
        (keep, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_is_reached_from_the_new_address_keeps_it_at_once() {
        assert_eq!(judgement(&[None, None, Some("192.168.1.20")]).await, (true, 9));
        // What is reached from the old address may be on its way out; at the end it still is.
        assert_eq!(judgement(&[Some("192.168.1.7")]).await, (true, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_that_reaches_nobody_is_put_back() {
        assert_eq!(judgement(&[None]).await, (false, 60));
        // It could at first, with what the card had before.
        assert_eq!(judgement(&[Some("192.168.1.7"), Some("192.168.1.7"), None]).await, (false, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_does_not_hold_the_end() {
        let hangs: Reach = Box::new(|| Box::pin(std::future::pending()));
        let began = Instant::now();
        assert!(!judged(&settings("192.168.1.20/24"), &hangs).await.0);
        assert!((TRIAL..TRIAL + 2 * REACHED_WITHIN).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn one_change_at_a_time_and_one_word_on_it() {
        let trial = Trial::default();
        assert_eq!(trial.decide(true).unwrap_err().kind(), Kind::NotFound);
        let decided = trial.begin(&settings("192.168.1.20/24")).unwrap();
        assert_eq!(trial.begin(&settings("192.168.1.30/24")).unwrap_err().kind(), Kind::Busy);
        let (order, left) = trial.view().unwrap();
        assert_eq!((order.address.as_str(), (58..=60).contains(&left)), ("192.168.1.20", true));
        trial.decide(true).unwrap();
        assert_eq!(trial.decide(false).unwrap_err().kind(), Kind::NotFound);
        assert_eq!(decided.await, Ok(true));
        trial.end();
        assert!(trial.view().is_none());
        drop(trial.begin(&settings("192.168.1.30/24")).unwrap());
    }
}
