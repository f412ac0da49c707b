//! Restarts: by order of a platform or a technician, and by the gate's own timer (QYZN `system_reboot`).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::civil::DateTime;
use serde_json::json;
use tokio::time::Instant;

use super::settings::RestartSettings;
use super::{Gate, Inner, OrderedBy};
use crate::device::system::Restart;
use crate::error::{Error, Kind, Result};

/// From the order to the restart: the answer to whoever ordered it goes out first.
const ANSWER_FIRST: Duration = Duration::from_millis(500);

/// How often the timer looks at the clock.
const TICK: Duration = Duration::from_secs(1);

/// How late a restart may be: a clock that was put forward over its time by no more than this did not skip it.
const LATE: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// Between two restarts by the timer: a clock that was put back over its time must not restart twice.
const APART: Duration = Duration::from_secs(3600);

/// How long a restart waits for a quiet moment.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long nobody must have been at the gate: longer than a session lasts.
const QUIET: Duration = Duration::from_secs(15);

/// How long a machine may take to go down. One that is still there then was told by others to stay.
const GOES_DOWN: Duration = Duration::from_secs(300);

/// Row of the store that is true while the restart under way is the timer's.
const BY_TIMER: &str = "restart.by_timer";

impl Gate {
    /// Restarts the machine a moment from now. Ok when it has been ordered; records and people are on the disk
    /// already. `Device` where the machine does not permit it.
    pub async fn restart(&self, by: OrderedBy) -> Result<()> {
        self.inner.order_restart(by).await
    }

    /// Resolves when the agent is to end in order and begin anew.
    pub async fn anew(&self) {
        let mut anew = self.inner.machine.anew.subscribe();
        // The sender is held by this very gate.
        let _ = anew.wait_for(|anew| *anew).await;
    }
}

impl Inner {
    pub(super) async fn order_restart(self: &Arc<Self>, by: OrderedBy) -> Result<()> {
        self.machine.call(|system| system.may_restart()).await?;
        if self.machine.restarting.swap(true, Ordering::SeqCst) {
            // On its way already.
            return Ok(());
        }
        tracing::info!(?by, "the machine is restarted");
        self.events.send("system", json!({ "order": "restart", "by": by }));
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER_FIRST).await;
            match inner.machine.call(|system| system.restart()).await {
                // Everybody is told to stop soon.
                Ok(Restart::Machine) => {
                    tokio::time::sleep(GOES_DOWN).await;
                    tracing::error!("the machine was told to restart and did not: it may be told again");
                    let error = Error::new(Kind::Timeout, "the machine is still there");
                    inner.failed_order(json!({ "order": "restart" }), &error);
                    inner.machine.restarting.store(false, Ordering::SeqCst);
                }
                Ok(Restart::Agent) => {
                    inner.machine.anew.send_replace(true);
                }
                Err(error) => {
                    tracing::error!(%error, "the machine did not restart");
                    inner.failed_order(json!({ "order": "restart" }), &error);
                    inner.machine.restarting.store(false, Ordering::SeqCst);
                }
            }
        });
        Ok(())
    }
}

/// When the machine restarts by itself. Knows no clock and no machine: both are told to it.
struct Timer {
    settings: RestartSettings,
    /// The local time of the last tick.
    before: DateTime,
    /// No restart before this.
    not_before: Option<Instant>,
    /// A restart waits for a quiet moment since then.
    waiting: Option<Instant>,
}

impl Timer {
    /// A timer that begins at the local time `now`; `again` is true when the last restart was a timer's.
    fn new(settings: RestartSettings, now: DateTime, at: Instant, again: bool) -> Self {
        Self { settings, before: now, not_before: again.then(|| at + APART), waiting: None }
    }

    /// Time passes: whether to restart now. `quiet` tells whether nobody is at the gate.
    fn tick(&mut self, settings: RestartSettings, now: DateTime, at: Instant, quiet: bool) -> bool {
        let before = std::mem::replace(&mut self.before, now);
        let schedule = |settings: &RestartSettings| (settings.automatic, settings.at, settings.week);
        if schedule(&settings) != schedule(&self.settings) {
            // What was missed or is awaited was another one's.
            self.waiting = None;
            self.settings = settings;
            return false;
        }
        if self.waiting.is_none()
            && self.not_before.is_none_or(|not_before| at >= not_before)
            && due(&settings, before, now)
        {
            self.waiting = Some(at);
        }
        match self.waiting {
            Some(since) if quiet || at.duration_since(since) >= PATIENCE => {
                self.waiting = None;
                self.not_before = Some(at + APART);
                true
            }
            _ => false,
        }
    }
}

/// Whether a restart is set for a moment after `before` and not after `now`, nor too long before it.
fn due(settings: &RestartSettings, before: DateTime, now: DateTime) -> bool {
    let earliest = now.checked_sub(LATE).map_or(before, |earliest| earliest.max(before));
    settings.automatic
        && [Some(now.date()), now.date().yesterday().ok()].into_iter().flatten().any(|day| {
            let moment = day.to_datetime(settings.at);
            let day_meant = settings.week == 0
                || i64::from(settings.week) == i64::from(day.weekday().to_sunday_one_offset());
            day_meant && earliest < moment && moment <= now
        })
}

/// Runs the timer until the gate is gone.
pub(super) async fn run_timer(gate: Weak<Inner>) {
    let mut timer = {
        let Some(inner) = gate.upgrade() else { return };
        let store = inner.store.clone();
        let kept = tokio::task::spawn_blocking(move || store.setting(BY_TIMER)).await;
        let again = matches!(kept, Ok(Ok(Some(text))) if text == "true");
        if again && let Err(error) = inner.store.put_setting(BY_TIMER, "false".into()).await {
            tracing::warn!(%error, "the restart by the timer cannot be noted as done");
        }
        Timer::new(inner.settings.load().restart, inner.moment().local(), Instant::now(), again)
    };
    loop {
        tokio::time::sleep(TICK).await;
        let Some(inner) = gate.upgrade() else { return };
        let settings = inner.settings.load().restart;
        let quiet = inner.machine.activity.quiet_for(QUIET);
        if timer.tick(settings, inner.moment().local(), Instant::now(), quiet) {
            inner.restart_by_timer().await;
        }
    }
}

impl Inner {
    async fn restart_by_timer(self: &Arc<Self>) {
        // Before, since there is no after.
        if let Err(error) = self.store.put_setting(BY_TIMER, "true".into()).await {
            tracing::warn!(%error, "the restart by the timer cannot be noted");
        }
        if let Err(error) = self.order_restart(OrderedBy::Timer).await {
            tracing::warn!(%error, "the gate could not restart at the time set for it");
            self.failed_order(json!({ "order": "restart", "by": OrderedBy::Timer }), &error);
            let _ = self.store.put_setting(BY_TIMER, "false".into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::{date, time};

    use super::*;

    fn daily() -> RestartSettings {
        RestartSettings { automatic: true, at: time(3, 0, 0, 0), week: 0, log_level: None }
    }

    fn on(day: i8, hour: i8, minute: i8, second: i8) -> DateTime {
        // March 2026 begins with a Sunday.
        date(2026, 3, day).at(hour, minute, second, 0)
    }

    #[test]
    fn due_once_between_two_looks_on_the_days_meant() {
        assert!(due(&daily(), on(2, 2, 59, 59), on(2, 3, 0, 0)));
        assert!(!due(&daily(), on(2, 3, 0, 0), on(2, 3, 0, 1)), "once");
        assert!(!due(&daily(), on(2, 2, 59, 58), on(2, 2, 59, 59)));
        assert!(!due(&RestartSettings { automatic: false, ..daily() }, on(2, 2, 59, 59), on(2, 3, 0, 0)));
        // 4.5.10.17: 1 is Sunday, 2 Monday, 7 Saturday.
        for (week, days) in [(1, [1, 8]), (2, [2, 9]), (5, [5, 12]), (7, [7, 14])] {
            let weekly = RestartSettings { week, ..daily() };
            for day in 1..=14 {
                let wanted = days.contains(&day);
                assert_eq!(due(&weekly, on(day, 2, 59, 59), on(day, 3, 0, 0)), wanted, "{week} {day}");
            }
        }
        // Just before midnight, seen just after it: the day is that of the moment.
        let late = RestartSettings { at: time(23, 59, 59, 0), week: 1, ..daily() };
        assert!(due(&late, on(1, 23, 59, 58), on(2, 0, 0, 0)));
        assert!(!due(&late, on(2, 23, 59, 58), on(3, 0, 0, 0)));
    }

    #[test]
    fn a_clock_put_forward_skips_it_only_when_far() {
        assert!(due(&daily(), on(2, 2, 55, 0), on(2, 3, 9, 59)));
        assert!(!due(&daily(), on(2, 2, 55, 0), on(2, 3, 10, 0)));
        assert!(!due(&daily(), on(2, 2, 0, 0), on(9, 12, 0, 0)));
        assert!(!due(&daily(), on(2, 3, 5, 0), on(2, 2, 0, 0)), "nor one put back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_put_back_does_not_restart_twice() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut timer = Timer::new(daily(), on(2, 2, 59, 58), begin, false);
        assert!(!timer.tick(daily(), on(2, 2, 59, 59), after(1), true));
        assert!(timer.tick(daily(), on(2, 3, 0, 0), after(2), true));
        assert!(!timer.tick(daily(), on(2, 2, 59, 59), after(3), true), "put back");
        assert!(!timer.tick(daily(), on(2, 3, 0, 0), after(4), true), "within the hour");
        assert!(!timer.tick(daily(), on(3, 2, 59, 59), after(3601), true));
        assert!(timer.tick(daily(), on(3, 3, 0, 0), after(3602), true), "the next day");
        // The same over the restart: the agent began anew a minute before its time.
        let mut timer = Timer::new(daily(), on(2, 2, 59, 0), begin, true);
        assert!(!timer.tick(daily(), on(2, 3, 0, 0), after(60), true));
        let mut timer = Timer::new(daily(), on(2, 2, 59, 0), begin, false);
        assert!(timer.tick(daily(), on(2, 3, 0, 0), after(60), true));
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_a_quiet_moment_but_not_for_ever() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let start = || Timer::new(daily(), on(2, 2, 59, 59), begin, false);
        let mut timer = start();
        assert!(!timer.tick(daily(), on(2, 3, 0, 0), after(1), false));
        assert!(!timer.tick(daily(), on(2, 3, 0, 1), after(2), false));
        assert!(timer.tick(daily(), on(2, 3, 0, 2), after(3), true));
        let mut timer = start();
        assert!(!timer.tick(daily(), on(2, 3, 0, 0), after(1), false));
        assert!(!timer.tick(daily(), on(2, 3, 4, 59), after(300), false));
        assert!(timer.tick(daily(), on(2, 3, 5, 0), after(301), false));
        // Switched off while it waits.
        let mut timer = start();
        let off = RestartSettings { automatic: false, ..daily() };
        assert!(!timer.tick(daily(), on(2, 3, 0, 0), after(1), false));
        assert!(!timer.tick(off, on(2, 3, 0, 1), after(2), true));
        assert!(!timer.tick(off, on(2, 3, 0, 2), after(3), true));
        // Set after its time: it is tomorrow's.
        assert!(!timer.tick(daily(), on(2, 3, 0, 3), after(4), true));
        assert!(!timer.tick(daily(), on(2, 3, 0, 4), after(5), true));
        // Another level of the log is no other time.
        let mut timer = start();
        let loud = RestartSettings { log_level: Some(0), ..daily() };
        assert!(timer.tick(loud, on(2, 3, 0, 0), after(1), true));
    }
}
