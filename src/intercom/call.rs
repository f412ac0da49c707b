//! One call: dialling, ringing, talking, ended, and what the platform is told of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::media::{self, Media, Missed, Parameters, Report, Way};
use crate::clock::Moment;
use crate::error::{Kind, Result};
use crate::platform::qyzn::call::{self as wire, CallRecord};
use crate::platform::qyzn::code;
use crate::platform::qyzn::requests::Requests;

/// How long an attempt may ring beyond what the provider was told, before the gate gives up itself.
const RING_MARGIN: Duration = Duration::from_secs(5);
/// How long a provider may take to hang up.
const HANG_UP_WITHIN: Duration = Duration::from_secs(2);
/// Most attempts that are reported of one call.
const ATTEMPTS: usize = 64;

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There has been no call yet.
    Idle,
    /// The platform is asked who is called.
    Dialling,
    /// The called parties are rung.
    Ringing,
    /// One of them answered.
    Talking,
    /// It is over.
    Ended,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Somebody answered, however the talk ended.
    Answered,
    /// The visitor hung up before anybody answered.
    HungUp,
    /// The platform knows no such room (104).
    NoSuchRoom,
    /// There is no line to the platform.
    NoPlatform,
    /// The platform did not answer in time, or the line was lost.
    PlatformTimeout,
    /// The platform gave no parameters that could be used.
    PlatformRefused,
    /// Nobody could be reached.
    Offline,
    /// Nobody answered, or the platform said so at once (105).
    Unanswered,
    /// Everybody refused.
    Rejected,
    /// The intercom's service failed.
    Failed,
    /// The call ended without a word.
    Unknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Answered,
        Self::HungUp,
        Self::NoSuchRoom,
        Self::NoPlatform,
        Self::PlatformTimeout,
        Self::PlatformRefused,
        Self::Offline,
        Self::Unanswered,
        Self::Rejected,
        Self::Failed,
        Self::Unknown,
    ];

    /// The word for it in events and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::HungUp => "hung_up",
            Self::NoSuchRoom => "no_such_room",
            Self::NoPlatform => "no_platform",
            Self::PlatformTimeout => "platform_timeout",
            Self::PlatformRefused => "platform_refused",
            Self::Offline => "offline",
            Self::Unanswered => "unanswered",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// `callResult` of 4.7.2, for an attempt by `way` or for a call that came to none.
    fn code(self, way: Option<Way>) -> u8 {
        match (self, way) {
            // The table has no code for a room that does not exist.
            (Self::Unknown | Self::NoSuchRoom | Self::NoPlatform, _) => 0,
            (Self::HungUp, _) => 1,
            (Self::PlatformTimeout | Self::PlatformRefused, _) | (Self::Failed, None) => 2,
            (Self::Answered, Some(Way::App) | None) => 3,
            (Self::Offline, Some(Way::App) | None) => 4,
            (Self::Unanswered | Self::Rejected, Some(Way::App) | None) => 5,
            (Self::Failed, Some(Way::App)) => 6,
            (Self::Answered, Some(Way::Pstn)) => 7,
            (Self::Offline | Self::Unanswered | Self::Rejected, Some(Way::Pstn)) => 8,
            (Self::Failed, Some(Way::Pstn)) => 9,
        }
    }
}

impl From<Missed> for Outcome {
    fn from(why: Missed) -> Self {
        match why {
            Missed::Offline => Self::Offline,
            Missed::Unanswered => Self::Unanswered,
            Missed::Rejected => Self::Rejected,
            Missed::Failed => Self::Failed,
        }
    }
}

/// What became of the door in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Open {
    /// Nobody opened it.
    None,
    /// The called party opened it.
    Opened,
    /// The called party wanted to, and it did not open.
    Failed,
}

impl Open {
    /// `openStatus` of 4.7.2.
    fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Opened => 1,
            Self::Failed => 2,
        }
    }
}

/// A call as those who look on see it: without tokens, numbers or users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct View {
    /// Counts from 1 since the agent started; 0 before the first.
    pub call: u64,
    /// Where it stands.
    pub state: State,
    /// The room that was dialled.
    pub room: String,
    /// How it ended, once it has.
    pub result: Option<Outcome>,
    /// What became of the door.
    pub open: Open,
    /// The states it has been in, in order, with the present one.
    pub states: Vec<State>,
}

impl View {
    /// Before the first call.
    pub(super) fn idle() -> Self {
        Self {
            call: 0,
            state: State::Idle,
            room: String::new(),
            result: None,
            open: Open::None,
            states: vec![State::Idle],
        }
    }

    /// A call that is about to begin.
    pub(super) fn dialling(call: u64, room: &str) -> Self {
        Self {
            call,
            state: State::Dialling,
            room: room.to_owned(),
            result: None,
            open: Open::None,
            states: vec![State::Dialling],
        }
    }
}

/// The gate as a call needs it, or whatever a test puts in its place.
pub(super) trait Place: Send + Sync + 'static {
    /// The gate's time and zone.
    fn now(&self) -> Moment;
    /// What the camera sees, as JPEG; `None` where there is no picture soon.
    fn picture(&self) -> BoxFuture<'static, Option<Vec<u8>>>;
    /// Opens the door for the called party.
    fn open_door(&self) -> BoxFuture<'static, Result<()>>;
    /// Tells the visitor and all who listen.
    fn tell(&self, view: &View);
}

/// Times of a call.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// How long the platform may take to give the parameters.
    pub(super) dial: Duration,
    /// How long an attempt rings.
    pub(super) ring: Duration,
}

/// A call.
pub(super) struct Call {
    pub(super) place: Arc<dyn Place>,
    pub(super) requests: Requests,
    pub(super) media: Arc<dyn Media>,
    pub(super) options: Options,
    pub(super) view: Arc<watch::Sender<View>>,
    pub(super) room: String,
    /// `callRequestId`.
    pub(super) id: String,
    progress: Progress,
}

/// What has happened in a call.
struct Progress {
    /// The platform may have been asked: it is owed a result.
    asked: bool,
    /// What is being tried.
    way: Option<Way>,
    answered: Option<Answered>,
    records: Vec<CallRecord>,
    /// Of the last attempt that came to nothing.
    missed: Option<Outcome>,
    open: Open,
}

struct Answered {
    way: Way,
    user: Option<String>,
    since: String,
    /// When the talk must be over.
    until: Instant,
}

/// A call's end: how, and whether it is an attempt that has no record yet.
struct End {
    outcome: Outcome,
    recorded: bool,
}

impl End {
    fn of(outcome: Outcome) -> Self {
        Self { outcome, recorded: false }
    }
}

impl Call {
    pub(super) fn new(
        place: Arc<dyn Place>,
        requests: Requests,
        media: Arc<dyn Media>,
        options: Options,
        view: Arc<watch::Sender<View>>,
        room: &str,
        id: String,
    ) -> Self {
        let progress = Progress {
            asked: false,
            way: None,
            answered: None,
            records: Vec::new(),
            missed: None,
            open: Open::None,
        };
        Self { place, requests, media, options, view, room: room.to_owned(), id, progress }
    }

    /// Carries the call out to its end. `hang_up` turns true when the visitor hangs up.
    pub(super) async fn run(&mut self, mut hang_up: watch::Receiver<bool>) -> Outcome {
        self.place.tell(&self.view.borrow().clone());
        match self.dial(&mut hang_up).await {
            Ok(parameters) => self.connect(parameters, &mut hang_up).await,
            Err(outcome) => self.finish(&End::of(outcome)),
        }
    }

    /// Ends the call after a panic of one of its parts.
    pub(super) fn broke(&mut self) -> Outcome {
        let end = self.ended_here(Outcome::Failed);
        self.finish(&end)
    }

    /// Data of the `device_call_result`; `None` where the platform was not asked and knows nothing of the call.
    pub(super) fn result(&self) -> Option<Value> {
        self.progress.asked.then(|| wire::result(&self.room, &self.id, &self.progress.records))
    }

    /// What became of the door.
    pub(super) fn open(&self) -> Open {
        self.progress.open
    }

    /// Asks the platform who is called.
    async fn dial(&mut self, hang_up: &mut watch::Receiver<bool>) -> Result<Parameters, Outcome> {
        let picture = tokio::select! {
            biased;
            () = told(hang_up) => return Err(Outcome::HungUp),
            picture = self.place.picture() => picture,
        };
        let data = wire::param(&self.room, &self.id, picture.as_deref());
        self.progress.asked = true;
        let asking = self.requests.request(wire::PARAM, data, wire::VERSION);
        let answer = tokio::select! {
            biased;
            answer = timeout(self.options.dial, asking) => answer,
            () = told(hang_up) => return Err(Outcome::HungUp),
        };
        let answer = match answer {
            Err(_) => return Err(Outcome::PlatformTimeout),
            Ok(Err(error)) if error.kind() == Kind::Timeout => return Err(Outcome::PlatformTimeout),
            Ok(Err(_)) => {
                self.progress.asked = false;
                return Err(Outcome::NoPlatform);
            }
            Ok(Ok(answer)) => answer,
        };
        match answer.result {
            code::SUCCESS => wire::parameters(&answer.data, self.options.ring).map_err(|error| {
                tracing::warn!(%error, "the QYZN platform's parameters of a call cannot be used");
                Outcome::PlatformRefused
            }),
            code::BAD_PARAMETER => Err(Outcome::NoSuchRoom),
            code::NO_PERSON => Err(Outcome::Unanswered),
            result => {
                tracing::warn!(result, desc = answer.desc, "the QYZN platform refuses a call");
                Err(Outcome::PlatformRefused)
            }
        }
    }

    /// Has the provider call until the call is over.
    async fn connect(&mut self, parameters: Parameters, hang_up: &mut watch::Receiver<bool>) -> Outcome {
        let longest = parameters.longest;
        self.enter(State::Ringing);
        if parameters.called.iter().all(|called| called.token.is_empty() && called.phone.is_empty()) {
            return self.finish(&End::of(Outcome::Offline));
        }
        let (line, mut desk) = media::line();
        let mut provider = tokio::spawn(self.media.call(parameters, line));
        let guard = self.options.ring + RING_MARGIN;
        let mut limit = Instant::now() + guard;
        let end = loop {
            let until = self.progress.answered.as_ref().map_or(limit, |answered| answered.until);
            tokio::select! {
                biased;
                () = told(hang_up) => break self.ended_here(Outcome::HungUp),
                report = desk.reports.recv() => match report {
                    Some(report) => {
                        self.heard(report, longest).await;
                        limit = Instant::now() + guard;
                    }
                    None => break self.ended_there(&mut provider).await,
                },
                () = sleep_until(until) => break match self.progress.way {
                    Some(_) => self.ended_here(Outcome::Unanswered),
                    // It did not even ring.
                    None => self.ended_here(Outcome::Failed),
                },
            }
        };
        // It ends now, however long the provider takes to hang up.
        let outcome = self.finish(&end);
        desk.hang_up.send_replace(true);
        drop(desk.reports);
        if !provider.is_finished() && timeout(HANG_UP_WITHIN, &mut provider).await.is_err() {
            tracing::warn!("the intercom's service did not hang up in time and is left");
            provider.abort();
        }
        outcome
    }

    /// The end when the gate hangs up.
    fn ended_here(&self, outcome: Outcome) -> End {
        End::of(if self.progress.answered.is_some() { Outcome::Answered } else { outcome })
    }

    /// The end when the provider has nothing more to tell.
    async fn ended_there(&self, provider: &mut JoinHandle<Result<()>>) -> End {
        let failed = match timeout(HANG_UP_WITHIN, provider).await {
            Ok(Ok(Ok(()))) => false,
            Ok(Ok(Err(error))) => {
                tracing::warn!(%error, "the intercom's service failed during a call");
                true
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the intercom's service panicked during a call");
                true
            }
            Err(_) => false,
        };
        if self.progress.answered.is_some() {
            return End::of(Outcome::Answered);
        }
        match self.progress.missed {
            _ if failed => End::of(Outcome::Failed),
            Some(outcome) if self.progress.way.is_none() => End { outcome, recorded: true },
            _ => End::of(Outcome::Unknown),
        }
    }

    async fn heard(&mut self, report: Report, longest: Duration) {
        let talking = self.progress.answered.is_some();
        match report {
            Report::OpenDoor => self.open_door().await,
            // One answer ends all attempts; what is still told of them does not matter any more.
            _ if talking => {}
            Report::Ringing(way) => self.progress.way = Some(way),
            Report::Missed { way, user, why } => {
                let outcome = Outcome::from(why);
                self.record(outcome, Some(way), user, String::new());
                self.progress.missed = Some(outcome);
                self.progress.way = None;
            }
            Report::Answered { way, user } => {
                let since = wire::format_seconds(&self.place.now());
                self.progress.way = Some(way);
                self.progress.answered = Some(Answered { way, user, since, until: Instant::now() + longest });
                self.enter(State::Talking);
            }
        }
    }

    async fn open_door(&mut self) {
        let opened = match self.place.open_door().await {
            Ok(()) => Open::Opened,
            Err(error) => {
                tracing::warn!(%error, "the called party could not open the door");
                Open::Failed
            }
        };
        // Once opened is opened.
        if self.progress.open != Open::Opened {
            self.progress.open = opened;
        }
        let open = self.progress.open;
        self.view.send_modify(|view| view.open = open);
        self.place.tell(&self.view.borrow().clone());
    }

    fn enter(&self, state: State) {
        self.view.send_modify(|view| {
            view.state = state;
            view.states.push(state);
        });
        self.place.tell(&self.view.borrow().clone());
    }

    /// Writes an attempt down, as it stands now.
    fn record(&mut self, outcome: Outcome, way: Option<Way>, user: Option<String>, since: String) {
        if self.progress.records.len() == ATTEMPTS {
            self.progress.records.pop();
        }
        let connected = if since.is_empty() { None } else { way };
        self.progress.records.push(CallRecord {
            user_id: user.filter(|_| way == Some(Way::Pstn)).unwrap_or_default(),
            call_result: outcome.code(way),
            call_type: match connected {
                None => 0,
                Some(Way::App) => 1,
                Some(Way::Pstn) => 2,
            },
            open_status: 0,
            start_time: since,
            end_time: wire::format_seconds(&self.place.now()),
        });
    }

    /// Writes down how it ended.
    fn finish(&mut self, end: &End) -> Outcome {
        match self.progress.answered.take() {
            Some(Answered { way, user, since, .. }) => self.record(Outcome::Answered, Some(way), user, since),
            None if end.recorded => {}
            None => self.record(end.outcome, self.progress.way, None, String::new()),
        }
        let open = self.progress.open.code();
        if let Some(last) = self.progress.records.last_mut() {
            last.open_status = open;
        }
        end.outcome
    }
}

/// Resolves when the visitor hangs up.
async fn told(hang_up: &mut watch::Receiver<bool>) {
    // An intercom that has gone has hung up too.
    let _ = hang_up.wait_for(|hang_up| *hang_up).await;
}
