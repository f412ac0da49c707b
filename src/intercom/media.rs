//! Who carries voice and picture of a call: the edge to a third party's service, or to nothing but a script.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::error::Result;

/// Reports that wait for the call to take them.
const WAITING: usize = 16;

/// How somebody is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// The app of a user; all users at once.
    App,
    /// The telephone of a user; one after the other.
    Pstn,
}

/// Somebody who is called. Printed without what identifies them.
#[derive(Clone, PartialEq, Eq)]
pub struct Called {
    /// `userId`.
    pub user: String,
    /// `token` at the third party; empty for a user who has never logged in at the app.
    pub token: String,
    /// `phoneNo`; empty where there is none.
    pub phone: String,
}

impl fmt::Debug for Called {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Called")
            .field("app", &!self.token.is_empty())
            .field("phone", &!self.phone.is_empty())
            .finish_non_exhaustive()
    }
}

/// What a provider needs for a call (4.7.1). Printed without tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The gate's own token at the third party.
    pub device_token: String,
    /// What the called are shown as the caller.
    pub device_name: String,
    /// The longest talk; the gate ends a longer one. 1 s to 1 h.
    pub longest: Duration,
    /// How long one attempt rings, at most, before the provider goes on to the next.
    pub ring: Duration,
    /// Who is called, in the platform's order.
    pub called: Vec<Called>,
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters")
            .field("longest", &self.longest)
            .field("ring", &self.ring)
            .field("called", &self.called)
            .finish_non_exhaustive()
    }
}

/// Why an attempt came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nobody can be reached: all apps are offline.
    Offline,
    /// It rang and nobody answered.
    Unanswered,
    /// Everybody who was reached refused.
    Rejected,
    /// The service failed.
    Failed,
}

/// What a provider tells of a call.
#[derive(Clone, PartialEq, Eq)]
pub enum Report {
    /// It rings there. A new attempt begins with this.
    Ringing(Way),
    /// An attempt came to nothing; another may follow.
    Missed {
        /// How they were called.
        way: Way,
        /// `userId`, where the attempt was about one user: by telephone.
        user: Option<String>,
        /// Why.
        why: Missed,
    },
    /// Somebody answered: they talk.
    Answered {
        /// How they were called.
        way: Way,
        /// `userId`, where it is known.
        user: Option<String>,
    },
    /// The called party opens the door. May come more than once.
    OpenDoor,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ringing(way) => write!(f, "Ringing({way:?})"),
            Self::Missed { way, why, .. } => write!(f, "Missed({way:?}, {why:?})"),
            Self::Answered { way, .. } => write!(f, "Answered({way:?})"),
            Self::OpenDoor => write!(f, "OpenDoor"),
        }
    }
}

/// A provider's end of a call: where it reports, and how it learns that the gate hangs up.
#[derive(Debug)]
pub struct Line {
    reports: mpsc::Sender<Report>,
    hang_up: watch::Receiver<bool>,
}

impl Line {
    /// Tells something of the call.
    pub async fn report(&self, report: Report) {
        // A call that is over listens no more; the provider is told to hang up at the same time.
        let _ = self.reports.send(report).await;
    }

    /// Resolves when the gate hangs up.
    pub async fn hung_up(&mut self) {
        // A gate that has gone has hung up too.
        let _ = self.hang_up.wait_for(|hung_up| *hung_up).await;
    }
}

/// The gate's end of the same.
pub(super) struct Desk {
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) hang_up: watch::Sender<bool>,
}

/// A line and its two ends.
pub(super) fn line() -> (Line, Desk) {
    let (sender, reports) = mpsc::channel(WAITING);
    let (hang_up, told) = watch::channel(false);
    (Line { reports: sender, hang_up: told }, Desk { reports, hang_up })
}

/// A provider. One call at a time.
pub trait Media: Send + Sync + 'static {
    /// Calls, and ends when the call is over: the called party has hung up, all attempts came to nothing, or the
    /// gate hung up ([`Line::hung_up`]), after which it has two seconds. Dropping it must end the call as well.
    /// An error is a failure of the service itself.
    fn call(&self, parameters: Parameters, line: Line) -> BoxFuture<'static, Result<()>>;
}
