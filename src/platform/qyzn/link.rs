//! A terminal's link to its platform over the years: dials, hands over to [`connection`](super::connection),
//! and dials again with growing pauses. What must outlive a connection is here: the account, the commands
//! that are being carried out, the answers that were given, and where the records stand.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answered::{self, Answered, Key, ReplyTo};
use super::code::Answer;
use super::connection::{self, End};
use super::records::{Mark, OutgoingRecord, Queue, Records, Wanted};
pub use super::requests::Requests;
use super::requests::{Asked, not_connected};
use crate::clock::Moment;
use crate::config;
use crate::error::Result;
pub(super) use crate::platform::back_off::random_u32;
use crate::platform::back_off::{BackOff, spread};
use crate::store::{OutboxId, RecordId};

/// Times and bounds of a link.
#[derive(Debug, Clone)]
pub struct Options {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// How long an answer may take before its request is sent again.
    pub request_timeout: Duration,
    /// How often a request is sent again before the line counts as dead.
    pub resends: u32,
    /// Longest body accepted, in bytes.
    pub body_limit: usize,
    /// The first and the longest pause between two attempts to connect.
    pub back_off: (Duration, Duration),
    /// A line that lasted this long is settled: when it is lost, so are probably those of all terminals.
    pub settled: Duration,
    /// The longest pause after a settled line was lost: terminals come back spread over this time.
    pub spread: Duration,
    /// How long making a connection may take.
    pub dial_timeout: Duration,
    /// Between two `sync_time` (4.6.2).
    pub sync_time: Duration,
    /// After this long without a byte, a body that is not whole is judged by what is there of it.
    pub stall: Duration,
    /// After this long, records that were set aside are tried again.
    pub review: Duration,
    /// Changes of people that are carried out side by side.
    pub people_at_once: usize,
    /// Commands that wait their turn.
    pub waiting: usize,
    /// Bytes of the bodies of commands that wait or are carried out.
    pub waiting_bytes: usize,
}

impl Options {
    /// As configured, the rest as the document has it.
    pub fn new(config: &config::Qyzn) -> Self {
        Self {
            heartbeat: Duration::from_secs(config.heartbeat_s.max(1)),
            request_timeout: Duration::from_secs(config.request_timeout_s.max(1)),
            resends: 3,
            body_limit: config.body_limit_mib.clamp(1, 1024) as usize * 1024 * 1024,
            back_off: (Duration::from_secs(1), Duration::from_secs(60)),
            settled: Duration::from_secs(60),
            spread: Duration::from_secs(10),
            dial_timeout: Duration::from_secs(10),
            sync_time: Duration::from_secs(300),
            stall: Duration::from_secs(1),
            review: Duration::from_secs(600),
            people_at_once: 16,
            waiting: 1024,
            waiting_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Who the terminal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `serial`.
    pub serial: String,
    /// `mac`: 12 upper-case hexadecimal digits.
    pub mac: String,
    /// `type`.
    pub model: String,
    /// `version` of the software.
    pub version: String,
}

/// What the platform gave the terminal when it registered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The terminal's name on the platform.
    pub uuid: String,
    /// The key it signs with.
    pub passwd: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("uuid", &self.uuid).field("passwd", &"…").finish()
    }
}

/// A command of the platform.
#[derive(Debug)]
pub struct Command {
    /// `message`.
    pub message: String,
    /// `data`; null where it was missing.
    pub data: Value,
    /// What tells its repetition.
    pub key: Key,
}

/// Which commands a command must not overtake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Changes of people and faces: begun in order, several at once; whoever carries them out keeps the order.
    People,
    /// Settings: one after the other.
    Settings,
    /// All else: at once.
    Free,
}

/// How the link treats a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    /// Its lane.
    pub lane: Lane,
    /// Whether it changes something, so that a repetition must not be carried out again.
    pub acts: bool,
}

/// What happens on a link, for events and logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There is a connection.
    Connected,
    /// The platform gave the terminal an account.
    Registered,
    /// The platform knows the terminal.
    LoggedIn,
    /// There is no connection any more, or it could not be made.
    Lost {
        /// Why.
        reason: String,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// How far the platform's clock is ahead of the gate's.
    TimeOffset {
        /// In milliseconds.
        milliseconds: i64,
        /// How long the platform took to answer: the measurement may be off by half of it.
        round_trip: Duration,
    },
    /// The platform refused a record again and again, and it was set aside.
    RecordRefused {
        /// Which.
        record: RecordId,
        /// The platform's code.
        result: i64,
        /// The platform's words.
        desc: String,
    },
}

/// Something that takes its time.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a link serves: the gate, or whatever a test puts in its place.
pub trait Handler: Send + Sync + 'static {
    /// Who the terminal is.
    fn identity(&self) -> &Identity;
    /// The gate's time and zone.
    fn now(&self) -> Moment;
    /// The account that was kept, if any.
    fn account(&self) -> Work<Result<Option<Account>>>;
    /// Keeps an account over restarts.
    fn keep_account(&self, account: Account) -> Work<Result<()>>;
    /// How `message` is treated; `None` for one that does not exist.
    fn duty(&self, message: &str) -> Option<Duty>;
    /// Carries out a command. Called in the order of arrival within a lane.
    fn handle(&self, command: Command) -> Work<Answer>;
    /// The oldest record that is not delivered, or is asked for again, within `wanted`.
    fn next_record(&self, wanted: Wanted) -> Work<Result<Option<OutgoingRecord>>>;
    /// The newest record that is not delivered.
    fn newest_record(&self) -> Work<Result<Option<OutboxId>>>;
    /// Does what the platform's answer to a record asks for (`opendoor`, `screenDisp`), if that record is of now. Not
    /// called for one that was asked for again.
    fn obey(&self, record: RecordId, data: Value) -> Work<()>;
    /// Marks a record as delivered; ready when the mark is on the disk.
    fn delivered(&self, mark: Mark) -> Work<Result<()>>;
    /// Notified when there may be a new record, or one that is asked for again.
    fn new_records(&self) -> Arc<Notify>;
    /// Told of what happens on the link.
    fn report(&self, state: State);
}

/// Work that has been done beside the connection.
#[derive(Debug)]
pub(super) enum Done {
    /// A command.
    Command {
        key: Key,
        duty: Duty,
        bytes: usize,
        reply: ReplyTo,
        clears_records: bool,
        /// `None` after a panic.
        answer: Option<Answer>,
    },
    /// The newest record.
    Newest(Result<Option<OutboxId>>),
    /// The next record of a queue.
    Fetched { queue: Queue, epoch: u64, result: Result<Option<OutgoingRecord>> },
    /// The mark of a delivered record.
    Marked { mark: Mark, result: Result<()> },
    /// The account has been kept, or not.
    Kept(Result<()>),
    /// Nothing that anybody waits for.
    Nothing,
}

/// A command that waits its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) key: Key,
    pub(super) duty: Duty,
    pub(super) bytes: usize,
    pub(super) reply: ReplyTo,
    pub(super) command: Command,
}

/// A link.
pub struct Link<H> {
    pub(super) handler: Arc<H>,
    pub(super) options: Options,
    pub(super) account: Option<Account>,
    pub(super) answered: Answered,
    pub(super) records: Records,
    pub(super) work: JoinSet<Done>,
    pub(super) people: VecDeque<Waiting>,
    pub(super) settings: VecDeque<Waiting>,
    pub(super) people_at_work: usize,
    pub(super) settings_at_work: usize,
    pub(super) free_at_work: usize,
    pub(super) bytes_at_work: usize,
    pub(super) asked: mpsc::Receiver<Asked>,
    /// Connections so far.
    pub(super) connections: u64,
    next_seq: u32,
}

impl<H: Handler> Link<H> {
    /// A link that is not connected yet, and the way to send requests over it.
    pub fn new(handler: Arc<H>, options: Options) -> (Self, Requests) {
        let requests = Requests::default();
        (Self::serving(handler, options, &requests), requests)
    }

    /// The same for requests of a handle that was made before: the gate's other parts hold it already, and keep
    /// it when a link has failed and another takes its place.
    pub fn serving(handler: Arc<H>, options: Options, requests: &Requests) -> Self {
        Self {
            handler,
            options,
            account: None,
            answered: answered::empty(),
            records: Records::default(),
            work: JoinSet::new(),
            people: VecDeque::new(),
            settings: VecDeque::new(),
            people_at_work: 0,
            settings_at_work: 0,
            free_at_work: 0,
            bytes_at_work: 0,
            asked: requests.serve(),
            connections: 0,
            next_seq: random_u32(),
        }
    }

    /// Notes a command that was carried out before this link was made: for a while its repetition gets `answer`.
    pub fn recall(&mut self, key: Key, answer: &Answer) {
        self.answered.recall(key, Arc::from(answer.to_body()), Instant::now());
    }

    /// Keeps the link up until `shutdown` turns true or is dropped.
    pub async fn run<D, F, S>(mut self, mut dial: D, mut shutdown: watch::Receiver<bool>)
    where
        D: FnMut() -> F,
        F: Future<Output = io::Result<S>>,
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut attempt: u32 = 0;
        let mut account_known = false;
        loop {
            if *shutdown.borrow() {
                return;
            }
            if !account_known {
                match self.handler.account().await {
                    Ok(account) => {
                        self.account = account;
                        account_known = true;
                    }
                    // Without it the gate registers once more than needed: better than no platform.
                    Err(error) => {
                        tracing::warn!(%error, "the QYZN account cannot be read; registering again");
                        account_known = true;
                    }
                }
            }
            let dialled = tokio::select! {
                dialled = tokio::time::timeout(self.options.dial_timeout, dial()) => dialled,
                () = stopped(&mut shutdown) => return,
            };
            let mut settled = false;
            let reason = match dialled {
                Err(_) => "no connection within the time for it".to_owned(),
                Ok(Err(error)) => format!("no connection: {error}"),
                Ok(Ok(stream)) => {
                    self.connections += 1;
                    self.handler.report(State::Connected);
                    match connection::serve(&mut self, stream, &mut shutdown).await {
                        End::Shutdown => return,
                        End::Lost { reason, progress, lasted } => {
                            if progress {
                                attempt = 0;
                            }
                            settled = lasted >= self.options.settled;
                            reason
                        }
                    }
                }
            };
            let pause = if settled {
                self.spread()
            } else {
                let (first, longest) = self.options.back_off;
                BackOff { first, longest }.pause(attempt)
            };
            attempt = attempt.saturating_add(1);
            self.handler.report(State::Lost { reason, retry_in: pause });
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    () = stopped(&mut shutdown) => return,
                    Some(asked) = self.asked.recv() => {
                        let _ = asked.reply.send(Err(not_connected()));
                    }
                }
            }
        }
    }

    /// The pause after a settled line was lost: anything from the first pause to the whole spread. A platform
    /// that restarts cuts all lines at one instant, and they must not come back at one.
    fn spread(&self) -> Duration {
        spread(self.options.back_off.0, self.options.spread)
    }

    /// The next sequence of a request that is not a record: 1 to 2³¹-1. Records have the upper half.
    pub(super) fn next_seq(&mut self) -> u32 {
        self.next_seq = self.next_seq.wrapping_add(1) & 0x7fff_ffff;
        if self.next_seq == 0 {
            self.next_seq = 1;
        }
        self.next_seq
    }

    /// Begins all commands whose turn it is.
    pub(super) fn begin_commands(&mut self) {
        while self.people_at_work < self.options.people_at_once
            && let Some(waiting) = self.people.pop_front()
        {
            self.people_at_work += 1;
            self.begin(waiting);
        }
        if self.settings_at_work == 0
            && let Some(waiting) = self.settings.pop_front()
        {
            self.settings_at_work += 1;
            self.begin(waiting);
        }
    }

    /// Begins a command. A panic of the handler becomes an answer.
    pub(super) fn begin(&mut self, waiting: Waiting) {
        let Waiting { key, duty, bytes, reply, command } = waiting;
        let clears_records = command.message == "record_clear";
        let handler = &self.handler;
        let work = std::panic::catch_unwind(AssertUnwindSafe(|| handler.handle(command)));
        self.work.spawn(async move {
            let answer = match work {
                Ok(work) => AssertUnwindSafe(work).catch_unwind().await.ok(),
                Err(_) => None,
            };
            Done::Command { key, duty, bytes, reply, clears_records, answer }
        });
    }
}

/// Resolves when the program stops.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // A dropped sender is the end of the program as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_not_printed() {
        let account = Account { uuid: "u-1".into(), passwd: "12345678".into() };
        assert!(!format!("{account:?}").contains("12345678"));
    }
}
