//! The machine under the gate: what settings and platforms order of its clock, zone and time service, and the
//! level of the log. What was ordered is seen on the event bus (`system`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp, civil};
use serde_json::json;
use tokio::sync::watch as latest;

use super::settings::{Settings, TimeSettings, TimeSource};
use super::{Gate, Inner};
use crate::device::system::{Interface, NtpServer, System};
use crate::error::{Error, Kind, Result};
use crate::log::LogLevel;

/// A clock that is nearer to the platform's than this is left alone: setting it would do no good.
const NEAR: SignedDuration = SignedDuration::from_millis(500);

/// A measurement that took longer may be off by half of it.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(5);

/// Years that a clock may be set to. A platform whose own clock was lost must not take this one along: signatures
/// and validities would end with it.
pub const YEARS: std::ops::RangeInclusive<i16> = 2020..=2099;

/// The machine, and what is going on at the gate as far as a restart should wait for it.
pub(super) struct Machine {
    system: Arc<dyn System>,
    log: LogLevel,
    /// The platform's time was refused and this has been said: once is enough for a gate that may not.
    refused: AtomicBool,
    /// A restart is on its way.
    pub(super) restarting: AtomicBool,
    /// True when the agent is to begin anew.
    pub(super) anew: latest::Sender<bool>,
    pub(super) activity: Activity,
    /// The change of the network that is on trial.
    pub(super) trial: super::network::Trial,
}

impl Machine {
    pub(super) fn new(system: Arc<dyn System>, log: LogLevel) -> Self {
        Self {
            system,
            log,
            refused: AtomicBool::new(false),
            restarting: AtomicBool::new(false),
            anew: latest::channel(false).0,
            activity: Activity::new(),
            trial: super::network::Trial::default(),
        }
    }

    /// Has something done on a thread that may wait.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn System) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let system = Arc::clone(&self.system);
        tokio::task::spawn_blocking(move || work(&*system)).await.unwrap_or_else(|error| {
            Err(Error::caused(Kind::Stopped, "the order to the machine was not finished", error))
        })
    }

    /// Puts the level of the log in force.
    pub(super) fn log_at(&self, level: Option<u8>) {
        self.log.set(level);
    }
}

/// Whether somebody is at the gate, or being enrolled.
pub(super) struct Activity {
    started: Instant,
    /// Milliseconds after `started` at which a visitor was there last; 0 is never.
    visited: std::sync::atomic::AtomicU64,
    enrolling: AtomicUsize,
}

/// An enrolment under way.
pub(super) struct Enrolling(Arc<Inner>);

impl Drop for Enrolling {
    fn drop(&mut self) {
        self.0.machine.activity.enrolling.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    fn new() -> Self {
        Self { started: Instant::now(), visited: 0.into(), enrolling: AtomicUsize::new(0) }
    }

    /// A visitor is there.
    pub(super) fn visitor(&self) {
        let now = crate::clock::millis_between(self.started, Instant::now()).max(1);
        self.visited.store(now, Ordering::Relaxed);
    }

    /// Whether nobody was there for `pause`, and nobody is being enrolled.
    pub(super) fn quiet_for(&self, pause: Duration) -> bool {
        let visited = self.visited.load(Ordering::Relaxed);
        let left = || self.started.elapsed().saturating_sub(Duration::from_millis(visited));
        self.enrolling.load(Ordering::Relaxed) == 0 && (visited == 0 || left() >= pause)
    }
}

/// What a machine is ordered about time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TimeOrder {
    /// Set the clock.
    Clock(Timestamp),
    /// Set the zone, in minutes ahead of UTC.
    Zone(i16),
    /// Follow a server, or none.
    Ntp(Option<NtpServer>),
}

impl TimeOrder {
    fn carry_out(&self, system: &dyn System) -> Result<()> {
        match self {
            Self::Clock(now) => system.set_clock(*now),
            Self::Zone(minutes) => system.set_zone(*minutes),
            Self::Ntp(server) => system.follow_ntp(server.as_ref()),
        }
    }

    fn event(&self) -> serde_json::Value {
        match self {
            Self::Clock(now) => json!({ "order": "set_clock", "time": now }),
            Self::Zone(minutes) => json!({ "order": "set_zone", "utc_offset_minutes": minutes }),
            Self::Ntp(Some(server)) => {
                json!({ "order": "follow_ntp", "server": server.host, "port": server.port })
            }
            Self::Ntp(None) => json!({ "order": "stop_ntp" }),
        }
    }
}

/// The server that settings name, if they follow one.
fn ntp(settings: &TimeSettings) -> Option<NtpServer> {
    (settings.source == TimeSource::Ntp)
        .then(|| NtpServer { host: settings.ntp_server.clone(), port: settings.ntp_port })
}

/// What must be ordered to get from one group of settings to another, and the clock to `clock`.
fn time_orders(old: &TimeSettings, new: &TimeSettings, clock: Option<Timestamp>) -> Vec<TimeOrder> {
    let (before, after) = (ntp(old), ntp(new));
    let mut orders = Vec::new();
    // A server would set the clock back at once.
    let paused = clock.is_some() && before.is_some();
    if paused || before.is_some() && after.is_none() {
        orders.push(TimeOrder::Ntp(None));
    }
    if old.utc_offset_minutes != new.utc_offset_minutes {
        orders.push(TimeOrder::Zone(new.utc_offset_minutes));
    }
    orders.extend(clock.map(TimeOrder::Clock));
    if after.is_some() && (paused || before != after) {
        orders.push(TimeOrder::Ntp(after));
    }
    orders
}

/// What was done to the machine for settings that may yet fail.
pub(super) struct TimeApplied {
    done: Vec<TimeOrder>,
    old: TimeSettings,
    /// The clock before, and when it showed this.
    clock: (Timestamp, Instant),
}

impl Inner {
    /// Orders something of the machine and shows it.
    async fn order_time(&self, order: TimeOrder) -> Result<()> {
        let event = order.event();
        self.machine.call(move |system| order.carry_out(system)).await?;
        self.events.send("system", event);
        Ok(())
    }

    /// Makes the machine what the group `time` of `new` says, and sets its clock to `clock`, the local time in
    /// the zone of `new`. When the machine refuses one of it, it is as before, and the error is `Config`.
    pub(super) async fn apply_time(
        &self,
        old: &Settings,
        new: &Settings,
        clock: Option<civil::DateTime>,
    ) -> Result<TimeApplied> {
        let clock = match clock {
            Some(local) => Some(new.time.offset().to_timestamp(local).map_err(|error| {
                Error::caused(Kind::Input, format!("currenttime: there is no time {local}"), error)
            })?),
            None => None,
        };
        let mut applied = TimeApplied {
            done: Vec::new(),
            old: old.time.clone(),
            clock: (self.clock.now(), Instant::now()),
        };
        for order in time_orders(&old.time, &new.time, clock) {
            match self.order_time(order.clone()).await {
                Ok(()) => applied.done.push(order),
                Err(error) => {
                    // It may have been done all the same.
                    if error.kind() == Kind::Timeout {
                        applied.done.push(order);
                    }
                    self.undo_time(applied).await;
                    return Err(match error.kind() {
                        Kind::Stopped => error,
                        _ => Error::new(Kind::Config, format!("time: {error}")),
                    });
                }
            }
        }
        Ok(applied)
    }

    /// Takes back what was done, as far as the machine lets it.
    pub(super) async fn undo_time(&self, applied: TimeApplied) {
        let TimeApplied { done, old, clock: (before, since) } = applied;
        for order in done.into_iter().rev() {
            let undo = match order {
                TimeOrder::Zone(_) => TimeOrder::Zone(old.utc_offset_minutes),
                TimeOrder::Ntp(_) => TimeOrder::Ntp(ntp(&old)),
                TimeOrder::Clock(_) => TimeOrder::Clock(later(before, since.elapsed())),
            };
            if let Err(error) = self.order_time(undo).await {
                tracing::error!(%error, "the machine could not be put back as it was");
            }
        }
    }

    /// Tells the machine what it may have forgotten while it was off: the zone and the server.
    pub(super) async fn settle_time(&self) {
        let _one_at_a_time = self.changing.lock().await;
        let time = self.settings.load().time.clone();
        let zone = self.machine.call(|system| Ok(system.zone())).await.ok().flatten();
        let mut orders = Vec::new();
        if zone.is_some_and(|zone| zone != time.utc_offset_minutes) {
            orders.push(TimeOrder::Zone(time.utc_offset_minutes));
        }
        if let Some(server) = ntp(&time) {
            orders.push(TimeOrder::Ntp(Some(server)));
        }
        for order in orders {
            let event = order.event();
            if let Err(error) = self.order_time(order).await {
                tracing::warn!(%error, "the machine does not follow the gate's settings of time");
                self.failed_order(event, &error);
            }
        }
    }

    /// Shows an order that was refused when nobody waits for the answer.
    pub(super) fn failed_order(&self, mut event: serde_json::Value, error: &Error) {
        event["state"] = json!("failed");
        event["error"] = json!(error.to_string());
        self.events.send("system", event);
    }

    /// Follows the platform's clock, if the settings say so.
    async fn follow_platform(&self, theirs: Timestamp, measured: Instant) {
        let _one_at_a_time = self.changing.lock().await;
        if self.settings.load().time.source != TimeSource::Platform {
            return;
        }
        let order = TimeOrder::Clock(later(theirs, measured.elapsed()));
        let event = order.event();
        let year = jiff::tz::Offset::UTC.to_datetime(theirs).year();
        let outcome = if YEARS.contains(&year) {
            self.order_time(order).await
        } else {
            Err(Error::new(Kind::Input, format!("the platform's clock shows the year {year}: not believed")))
        };
        match outcome {
            Ok(()) => {
                self.machine.refused.store(false, Ordering::Relaxed);
                tracing::info!(time = %theirs, "the clock was set to the platform's");
            }
            Err(error) => {
                if !self.machine.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "the clock does not follow the platform's; this is said once");
                    self.failed_order(event, &error);
                }
            }
        }
    }
}

/// `time` and `elapsed`.
fn later(time: Timestamp, elapsed: Duration) -> Timestamp {
    SignedDuration::try_from(elapsed).ok().and_then(|elapsed| time.checked_add(elapsed).ok()).unwrap_or(time)
}

impl Gate {
    /// Told of every measurement of the platform's clock (`sync_time`): by how much it is `ahead` of the gate's
    /// now, and how long the question took. Sets the clock where the settings say that it follows the platform,
    /// the difference is worth it and the measurement is good enough.
    pub fn platform_clock(&self, ahead: SignedDuration, round_trip: Duration) {
        let measured = Instant::now();
        let follows = self.inner.settings.load().time.source == TimeSource::Platform;
        if !follows || ahead.abs() < NEAR || round_trip > LONGEST_ROUND_TRIP {
            return;
        }
        // Not by what is ahead: the clock may be set by others before its turn comes.
        let Ok(theirs) = self.inner.clock.now().checked_add(ahead) else { return };
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move { inner.follow_platform(theirs, measured).await });
    }

    /// The network cards of the machine.
    pub async fn interfaces(&self) -> Vec<Interface> {
        self.inner.machine.call(|system| Ok(system.interfaces())).await.unwrap_or_default()
    }

    /// Notes that somebody is being enrolled, until the guard goes.
    pub(super) fn enrolling(&self) -> Enrolling {
        self.inner.machine.activity.enrolling.fetch_add(1, Ordering::Relaxed);
        Enrolling(Arc::clone(&self.inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(minutes: i16, source: TimeSource, server: &str) -> TimeSettings {
        TimeSettings { utc_offset_minutes: minutes, source, ntp_server: server.into(), ntp_port: 123 }
    }

    #[test]
    fn orders_come_in_an_order_that_works() {
        use TimeOrder::{Clock, Ntp, Zone};
        let manual = time(480, TimeSource::Manual, "a");
        let platform = time(480, TimeSource::Platform, "b");
        let follows = time(480, TimeSource::Ntp, "a");
        let other = time(0, TimeSource::Ntp, "b");
        let server = |host: &str| Ntp(Some(NtpServer { host: host.into(), port: 123 }));
        let now: Timestamp = "2026-03-02T04:00:00Z".parse().unwrap();
        // A server that nobody follows is no order.
        assert_eq!(time_orders(&manual, &platform, None), []);
        assert_eq!(time_orders(&manual, &platform, Some(now)), [Clock(now)]);
        assert_eq!(time_orders(&manual, &follows, None), [server("a")]);
        assert_eq!(time_orders(&follows, &manual, None), [Ntp(None)]);
        assert_eq!(time_orders(&follows, &follows, None), []);
        assert_eq!(time_orders(&follows, &other, None), [Zone(0), server("b")]);
        // A clock that follows a server cannot be set: it is left for the moment.
        assert_eq!(time_orders(&follows, &follows, Some(now)), [Ntp(None), Clock(now), server("a")]);
        assert_eq!(time_orders(&follows, &other, Some(now)), [Ntp(None), Zone(0), Clock(now), server("b")]);
        assert_eq!(time_orders(&manual, &other, Some(now)), [Zone(0), Clock(now), server("b")]);
    }

    #[test]
    fn it_is_quiet_when_nobody_is_there() {
        let activity = Activity::new();
        assert!(activity.quiet_for(Duration::from_secs(10)));
        activity.visitor();
        assert!(!activity.quiet_for(Duration::from_secs(10)));
        assert!(activity.quiet_for(Duration::ZERO));
        activity.enrolling.store(1, Ordering::Relaxed);
        assert!(!activity.quiet_for(Duration::ZERO));
    }
}
