//! What an upgrade asks of the gate: whether it works, and whether it may be taken away for a moment.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Gate;
use super::sessions::Command;

impl Gate {
    /// Whether the sessions take orders: resolves when they have taken this one, with false when they have ended.
    pub async fn answers(&self) -> bool {
        let (reply, answered) = oneshot::channel();
        self.command(Command::Answers { reply }).await.is_ok() && answered.await.is_ok()
    }

    /// Whether nobody was at the gate for `pause`, and nobody is being enrolled.
    pub fn quiet_for(&self, pause: Duration) -> bool {
        self.inner.machine.activity.quiet_for(pause)
    }

    /// The time on the gate's wall.
    pub fn local_time(&self) -> jiff::civil::Time {
        self.inner.moment().local().time()
    }
}
