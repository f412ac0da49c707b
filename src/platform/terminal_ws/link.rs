//! The terminal's link to its platform over the years: dials, serves the connection, and dials again with
//! growing pauses. What must outlive a connection is here: commands that wait or are carried out, answers
//! that were given, and answers that no connection has taken yet.
//!
//! One task, no lock. Everything the platform sends is read at once, so that `open` never waits behind people;
//! people wait in a queue that is bounded by number and by bytes, and what does not fit is answered "busy".

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, Sink as _, SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as Ws, Message, Utf8Bytes};

use super::dial::{Dialler, Failure, Socket, Traffic};
use super::message::{Key, Order, Refused, Request};
use super::status::{self, Status};
use crate::access::Origin;
use crate::gate::{Gate, OrderedBy, PeopleChange};
use crate::platform::answered::{Answered, Known};
use crate::platform::back_off::{BackOff, spread};

/// For how long a request is remembered: longer than a platform waits that sends again after a lost line.
const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// How many requests are remembered at most; an answer is some 150 bytes.
const REMEMBERED: usize = 8 * 1024;
/// `open` and `reboot` that are carried out at once.
const ORDERS_AT_ONCE: usize = 32;
/// Answers that no connection has taken; beyond that nothing is read until the platform has taken some.
const UNTAKEN: usize = 4 * 1024;
/// Intervals without a pong, or without a byte taken, after which the line is dead.
const PATIENCE: u32 = 2;
/// A connection that lived this long counts as a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);
/// Where the store keeps the request that the last restart was for, and when it was.
const RESTARTED: &str = "terminal_ws.restarted";
/// Most characters of a platform's own words in ours.
const QUOTED: usize = 100;

/// Times and bounds of a link.
#[derive(Debug, Clone)]
pub struct Options {
    /// Between two pings.
    pub heartbeat: Duration,
    /// Pauses between attempts to connect.
    pub back_off: BackOff,
    /// Pause after a refusal that lasts until somebody changes something: 401, 403, 404.
    pub refused: Duration,
    /// How long making a connection may take.
    pub dial_timeout: Duration,
    /// How long a message may take from its first byte to its last.
    pub message_within: Duration,
    /// Changes of people that are carried out side by side.
    pub people_at_once: usize,
    /// Changes of people that wait their turn.
    pub waiting: usize,
    /// Bytes of those that wait or are carried out.
    pub waiting_bytes: usize,
}

impl Options {
    /// As configured, the rest as the documents have it.
    pub fn new(config: &crate::config::TerminalWs) -> Self {
        Self {
            heartbeat: Duration::from_secs(config.heartbeat_s.max(1)),
            back_off: BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(60) },
            refused: Duration::from_secs(60),
            dial_timeout: Duration::from_secs(10),
            message_within: Duration::from_secs(600),
            people_at_once: 16,
            waiting: 2048,
            waiting_bytes: 64 * 1024 * 1024,
        }
    }
}

/// A change of people that waits its turn.
struct Waiting {
    key: Key,
    msgid: Value,
    bytes: usize,
    change: PeopleChange,
}

/// A command that has been carried out.
struct Done {
    key: Key,
    msgid: Value,
    /// Of a change of people; `None` for an order.
    bytes: Option<usize>,
    /// `None` after a panic.
    status: Option<Status>,
}

/// Why a connection ended.
enum End {
    /// The program stops.
    Shutdown,
    /// The line is lost: why, and what the platform is told about it.
    Lost(String, Option<CloseCode>),
}

/// The link.
pub struct Link {
    gate: Gate,
    serial: String,
    secret: String,
    options: Options,
    answered: Answered<Key, ()>,
    people: VecDeque<Waiting>,
    people_at_work: usize,
    orders_at_work: usize,
    /// Of people that wait or are at work.
    bytes: usize,
    work: JoinSet<Done>,
    /// Answers for the next connection that takes them.
    untaken: VecDeque<Arc<[u8]>>,
    /// The loss of the line has been logged with this HTTP status: once is enough for days offline.
    lost: Option<Option<u16>>,
}

impl Link {
    /// A link of the terminal `serial`, whose `secret` is the `key` of people's messages (empty for none).
    pub fn new(gate: Gate, serial: String, secret: String, options: Options) -> Self {
        Self {
            gate,
            serial,
            secret,
            options,
            answered: Answered::new(REMEMBERED_FOR, REMEMBERED),
            people: VecDeque::new(),
            people_at_work: 0,
            orders_at_work: 0,
            bytes: 0,
            work: JoinSet::new(),
            untaken: VecDeque::new(),
            lost: None,
        }
    }

    /// Keeps the link up until `shutdown` turns true or is dropped.
    pub async fn run(mut self, dialler: &Dialler, mut shutdown: watch::Receiver<bool>) {
        let mut attempt: u32 = 0;
        loop {
            let dialled = tokio::time::timeout(self.options.dial_timeout, dialler.dial());
            let Some(dialled) = self.meanwhile(dialled, &mut shutdown).await else { return };
            let (reason, status) = match dialled {
                Ok(Ok(socket)) => {
                    self.connected();
                    let began = Instant::now();
                    match self.serve(socket, &mut shutdown).await {
                        End::Shutdown => return,
                        End::Lost(reason, _) => {
                            if began.elapsed() >= GOOD_AFTER {
                                attempt = 0;
                            }
                            (reason, None)
                        }
                    }
                }
                Ok(Err(Failure { status, reason })) => (reason, status),
                Err(_) => {
                    let seconds = self.options.dial_timeout.as_secs();
                    (format!("no connection within {seconds} s"), None)
                }
            };
            let pause = match status {
                Some(401 | 403 | 404) => {
                    attempt = 0;
                    spread(self.options.refused, self.options.refused.mul_f64(1.1))
                }
                _ => {
                    attempt = attempt.saturating_add(1);
                    self.options.back_off.pause(attempt - 1)
                }
            };
            self.lost(reason, status, pause);
            if self.meanwhile(tokio::time::sleep(pause), &mut shutdown).await.is_none() {
                return;
            }
        }
    }

    /// Waits for `what` while the work goes on. `None` when the program stops.
    async fn meanwhile<F: Future>(
        &mut self,
        what: F,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Option<F::Output> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                output = &mut what => return Some(output),
                Some(done) = self.work.join_next() => self.on_done(done.ok()),
                () = stopped(shutdown) => return None,
            }
        }
    }

    fn connected(&mut self) {
        tracing::info!("connected to the WebSocket platform");
        self.lost = None;
        self.report(json!({ "state": "connected" }));
    }

    fn lost(&mut self, reason: String, status: Option<u16>, pause: Duration) {
        let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        if self.lost.replace(status) == Some(status) {
            tracing::debug!(reason, retry_ms, "still no line to the WebSocket platform");
        } else {
            tracing::warn!(reason, retry_ms, "no line to the WebSocket platform; the gate keeps trying");
        }
        let mut event = json!({ "state": "lost", "reason": reason, "retry_ms": retry_ms });
        if let Some(status) = status {
            event["http_status"] = status.into();
        }
        self.report(event);
    }

    fn report(&self, mut event: Value) {
        event["platform"] = Origin::TerminalWs.as_str().into();
        self.gate.events().send("platform", event);
    }

    // One connection.

    /// Serves a connection to its end, and says why it ended.
    async fn serve(&mut self, socket: Socket, shutdown: &mut watch::Receiver<bool>) -> End {
        let mut connection = Connection::new(socket, &self.options);
        let end = self.exchange(&mut connection, shutdown).await;
        let farewell = match &end {
            End::Shutdown => Some((CloseCode::Away, "the gate stops".to_owned())),
            End::Lost(reason, Some(code)) => Some((*code, reason.chars().take(40).collect())),
            End::Lost(_, None) => None,
        };
        if let Some((code, reason)) = farewell {
            let frame = CloseFrame { code, reason: reason.into() };
            let close = async {
                // Refused where the platform has said farewell first: then what is left to send is the answer to it.
                let _ = connection.writer.sink.send(Message::Close(Some(frame))).await;
                let _ = connection.writer.sink.flush().await;
            };
            // A line that takes nothing any more must not hold anybody up.
            let _ = tokio::time::timeout(FAREWELL, close).await;
        }
        end
    }

    async fn exchange(&mut self, connection: &mut Connection, shutdown: &mut watch::Receiver<bool>) -> End {
        loop {
            tokio::select! {
                message = connection.next(&mut self.untaken) => {
                    if let Some(end) = message.map_or_else(Some, |message| self.on_message(message)) {
                        return end;
                    }
                }
                Some(done) = self.work.join_next() => self.on_done(done.ok()),
                () = stopped(shutdown) => return End::Shutdown,
            }
        }
    }

    fn on_message(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Text(text) => self.on_request(text.as_bytes()),
            // The document says text; what matters is what it says.
            Message::Binary(bytes) => self.on_request(&bytes),
            Message::Close(frame) => {
                let why = frame.map(|frame| {
                    let reason: String =
                        frame.reason.chars().filter(|c| !c.is_control()).take(QUOTED).collect();
                    format!(" ({} {reason})", u16::from(frame.code))
                });
                let reason = format!("the platform closed the connection{}", why.unwrap_or_default());
                return Some(End::Lost(reason, Some(CloseCode::Normal)));
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        None
    }

    // Commands.

    fn on_request(&mut self, text: &[u8]) {
        let request = match Request::read(text, &self.serial) {
            Ok(request) => request,
            Err(Refused { msgid, status }) => return self.refuse(&msgid, &status),
        };
        match self.answered.seen(&request.key, (), Instant::now()) {
            Known::No => {}
            Known::UnderWay => return,
            Known::Done(answer) => return self.untaken.push_back(answer),
        }
        let order = match request.order(&self.secret) {
            Ok(order) => order,
            Err(status) => return self.refuse(&request.msgid, &status),
        };
        let Request { msgid, key, .. } = request;
        match order {
            Order::People(change) => {
                // What it weighs while it waits: the picture, decoded, and the rest.
                let bytes = weight(&change);
                let full = self.bytes > 0 && self.bytes + bytes > self.options.waiting_bytes;
                if full || self.people.len() >= self.options.waiting {
                    return self.refuse(&msgid, &busy());
                }
                self.bytes += bytes;
                self.answered.begin(key.clone(), (), Instant::now());
                self.people.push_back(Waiting { key, msgid, bytes, change: *change });
                self.begin_people();
            }
            order => {
                if self.orders_at_work >= ORDERS_AT_ONCE {
                    return self.refuse(&msgid, &busy());
                }
                self.orders_at_work += 1;
                self.answered.begin(key.clone(), (), Instant::now());
                let (gate, ordered) = (self.gate.clone(), key.clone());
                self.begin(key, msgid, None, async move {
                    match order {
                        Order::Restart => restart(&gate, &ordered).await,
                        _ => gate.open_door(OrderedBy::Platform(Origin::TerminalWs)).await,
                    }
                });
            }
        }
    }

    fn refuse(&mut self, msgid: &Value, status: &Status) {
        tracing::debug!(
            status = status.status,
            msg = status.msg,
            "refused a command of the WebSocket platform"
        );
        let answer = status.to_answer(msgid, &self.serial);
        self.untaken.push_back(Arc::from(answer.as_bytes()));
    }

    /// Begins the changes of people whose turn it is. Their order is kept by the gate, from here on.
    fn begin_people(&mut self) {
        while self.people_at_work < self.options.people_at_once
            && let Some(Waiting { key, msgid, bytes, change }) = self.people.pop_front()
        {
            self.people_at_work += 1;
            // Ordered here and now: the place among the changes is that of this call.
            let ordered = std::panic::catch_unwind(AssertUnwindSafe(|| self.gate.change_people(change)));
            self.begin(key, msgid, Some(bytes), async move {
                match ordered {
                    Ok(changed) => changed.await,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            });
        }
    }

    fn begin(
        &mut self,
        key: Key,
        msgid: Value,
        bytes: Option<usize>,
        work: impl Future<Output = crate::Result<()>> + Send + 'static,
    ) {
        self.work.spawn(async move {
            let status = AssertUnwindSafe(work).catch_unwind().await.ok().map(|outcome| match outcome {
                Ok(()) => Status::ok(),
                Err(error) => {
                    tracing::debug!(%error, "a command of the WebSocket platform was not carried out");
                    Status::of_error(&error)
                }
            });
            Done { key, msgid, bytes, status }
        });
    }

    fn on_done(&mut self, done: Option<Done>) {
        // The tasks catch panics themselves and nobody aborts them.
        let Some(Done { key, msgid, bytes, status }) = done else { return };
        match bytes {
            Some(bytes) => {
                self.people_at_work -= 1;
                self.bytes -= bytes;
            }
            None => self.orders_at_work -= 1,
        }
        let status = status.unwrap_or_else(|| {
            tracing::error!("a command of the WebSocket platform ended in a panic");
            Status::failure(status::FAILED, "an error inside the gate; see its log")
        });
        let answer: Arc<[u8]> = Arc::from(status.to_answer(&msgid, &self.serial).as_bytes());
        // Busy means that it was not carried out: the same request may come again and must then be.
        if status.status == status::BUSY {
            self.answered.forget(&key);
        } else {
            self.answered.finish(&key, Arc::clone(&answer));
        }
        self.untaken.push_back(answer);
        self.begin_people();
    }
}

fn busy() -> Status {
    Status::failure(status::BUSY, "too many commands are waiting: send it again when some are answered")
}

/// Restarts the machine. What is remembered of requests is lost with it, so that this one is kept in the store:
/// a platform that repeats it must not restart the gate again and again.
async fn restart(gate: &Gate, (msgid, digest): &Key) -> crate::Result<()> {
    let now = gate.clock().now().as_second();
    let reading = gate.store().clone();
    let kept =
        tokio::task::spawn_blocking(move || reading.setting(RESTARTED)).await.ok().and_then(Result::ok);
    let last = kept.flatten().and_then(|text| serde_json::from_str::<(String, u64, i64)>(&text).ok());
    if let Some((last_msgid, last_digest, at)) = last
        && (&last_msgid, &last_digest) == (msgid, digest)
        && now.abs_diff(at) <= REMEMBERED_FOR.as_secs()
    {
        tracing::info!("the WebSocket platform repeats a reboot that has been carried out");
        return Ok(());
    }
    let keep = |text: String| gate.store().put_setting(RESTARTED, text);
    // A store that takes nothing must not keep a gate from the restart that may help it.
    if let Err(error) = keep(json!([msgid, digest, now]).to_string()).await {
        tracing::warn!(%error, "the order to restart cannot be kept; if it comes again it is obeyed again");
    }
    let restarted = gate.restart(OrderedBy::Platform(Origin::TerminalWs)).await;
    if restarted.is_err()
        && let Err(error) = keep(String::new()).await
    {
        tracing::warn!(%error, "an order to restart that was refused stays in the store");
    }
    restarted
}

/// Bytes that a change holds on to.
fn weight(change: &PeopleChange) -> usize {
    let more = match change {
        PeopleChange::Put(_, pictures) => pictures.iter().map(|picture| picture.bytes.len()).sum(),
        PeopleChange::Delete(keys) => keys.iter().map(|key| key.id.len() + 64).sum(),
        _ => 0,
    };
    1024 + more
}

/// What an error of the line means, and what the platform is told.
fn lost(error: &Ws) -> End {
    let (reason, code) = match error {
        Ws::ConnectionClosed
        | Ws::AlreadyClosed
        | Ws::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            ("the platform closed the connection".into(), None)
        }
        Ws::Capacity(CapacityError::MessageTooLong { size, max_size }) => (
            format!(
                "the platform sent a message of {size} bytes, more than {} MiB \
                 (platform.terminal_ws.message_limit_mib)",
                max_size >> 20
            ),
            Some(CloseCode::Size),
        ),
        Ws::Utf8(_) => ("the platform sent a text that is not UTF-8".into(), Some(CloseCode::Invalid)),
        Ws::Protocol(error) => (
            format!("the platform does not keep to the WebSocket protocol: {error}"),
            Some(CloseCode::Protocol),
        ),
        error => (format!("the line broke: {error}"), None),
    };
    End::Lost(reason, code)
}

/// Resolves when the program stops.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // A dropped sender is the end of the program as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// A connection: what comes and goes, and whether the line lives.
struct Connection {
    writer: Writer,
    stream: SplitStream<Socket>,
    hearing: Hearing,
    heartbeat: Duration,
    message_within: Duration,
    ping_due: Instant,
}

impl Connection {
    fn new(socket: Socket, options: &Options) -> Self {
        let traffic = socket.get_ref().traffic();
        let (sink, stream) = socket.split();
        let seen = traffic.taken();
        let hearing = Hearing::new(Arc::clone(&traffic));
        Self {
            writer: Writer { sink, ping: false, unflushed: false, traffic, seen, blocked: None },
            stream,
            hearing,
            heartbeat: options.heartbeat,
            message_within: options.message_within,
            ping_due: Instant::now() + options.heartbeat,
        }
    }

    /// The next message, or why there will be none; sends what is `untaken` meanwhile. May be dropped while pending and
    /// called again: nothing is lost.
    async fn next(&mut self, untaken: &mut VecDeque<Arc<[u8]>>) -> Result<Message, End> {
        let patience = self.heartbeat * PATIENCE;
        let dead = |reason: String| Err(End::Lost(reason, None));
        loop {
            let now = Instant::now();
            let may_read = untaken.len() < UNTAKEN;
            if !may_read {
                // Nothing can be heard while nothing is read; whether anything is taken is watched below.
                self.hearing.excuse(now);
            }
            self.hearing.look(now);
            let heard = self.hearing.heard();
            if now.duration_since(heard) >= patience {
                return dead(format!("no pong within {} s: the line is dead", patience.as_secs_f32()));
            }
            let whole_by = self.hearing.begun.map(|begun| begun + self.message_within);
            if whole_by.is_some_and(|by| by <= now) {
                let seconds = self.message_within.as_secs_f32();
                return dead(format!("a message of the platform was not whole within {seconds} s"));
            }
            let blocked = self.writer.blocked.map(|since| since + patience);
            if blocked.is_some_and(|until| until <= now) {
                return dead(format!("the platform has read nothing for {} s", patience.as_secs_f32()));
            }
            if self.ping_due <= now {
                self.writer.ping = true;
                self.ping_due = now + self.heartbeat;
            }
            let until = [whole_by, blocked, Some(heard + patience)]
                .into_iter()
                .flatten()
                .fold(self.ping_due, Instant::min);
            let has_output = self.writer.has_output(untaken);
            tokio::select! {
                message = self.stream.next(), if may_read => {
                    let message = match message {
                        Some(Ok(message)) => message,
                        Some(Err(error)) => return Err(lost(&error)),
                        None => return dead("the platform closed the connection".into()),
                    };
                    self.hearing.on_message(&message);
                    return Ok(message);
                }
                written = std::future::poll_fn(|context| self.writer.poll(untaken, context)), if has_output => {
                    if let Err(error) = written {
                        return Err(lost(&error));
                    }
                }
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}

/// What is heard of the platform, byte by byte: a photo on a slow line takes minutes, in which no message is whole.
struct Hearing {
    traffic: Arc<Traffic>,
    /// Until then silence is no fault of the platform's.
    excused: Instant,
    /// Bytes that belong to messages which came whole, and those read along with the last of them.
    settled: u64,
    /// When bytes were first noticed that no whole message accounts for.
    begun: Option<Instant>,
}

impl Hearing {
    fn new(traffic: Arc<Traffic>) -> Self {
        Self { excused: Instant::now(), settled: traffic.given(), begun: None, traffic }
    }

    fn heard(&self) -> Instant {
        self.traffic.heard().max(self.excused)
    }

    fn excuse(&mut self, now: Instant) {
        self.excused = now;
        self.begun = None;
    }

    fn look(&mut self, now: Instant) {
        if self.traffic.given() > self.settled {
            self.begun.get_or_insert(now);
        } else {
            self.begun = None;
        }
    }

    fn on_message(&mut self, message: &Message) {
        let given = self.traffic.given();
        self.settled = match message {
            // These come between the pieces of a message as well, and do not make it whole. A frame of theirs has two
            // bytes before its payload (RFC 6455, 5.2 and 5.5).
            Message::Ping(payload) | Message::Pong(payload) => {
                given.min(self.settled + 2 + payload.len() as u64)
            }
            _ => given,
        };
        if self.settled == given {
            self.begun = None;
        }
    }
}

/// The sending half of a connection.
struct Writer {
    sink: SplitSink<Socket, Message>,
    /// A ping is due.
    ping: bool,
    /// Something has been handed over and may not have gone out.
    unflushed: bool,
    traffic: Arc<Traffic>,
    /// Bytes that the platform had taken when it was last looked.
    seen: u64,
    /// Since when the platform has taken nothing, while there was something to take.
    blocked: Option<Instant>,
}

impl Writer {
    fn has_output(&self, untaken: &VecDeque<Arc<[u8]>>) -> bool {
        self.ping || self.unflushed || !untaken.is_empty()
    }

    /// Hands over what waits and sends it. May be dropped while pending and called again: nothing is lost.
    fn poll(&mut self, untaken: &mut VecDeque<Arc<[u8]>>, context: &mut Context<'_>) -> Poll<Result<(), Ws>> {
        let polled = self.hand_over(untaken, context);
        let taken = self.traffic.taken();
        if std::mem::replace(&mut self.seen, taken) != taken {
            self.blocked = None;
        }
        match polled {
            Poll::Pending => _ = self.blocked.get_or_insert_with(Instant::now),
            Poll::Ready(_) => self.blocked = None,
        }
        polled
    }

    fn hand_over(
        &mut self,
        untaken: &mut VecDeque<Arc<[u8]>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Ws>> {
        let mut sink = Pin::new(&mut self.sink);
        while self.ping || !untaken.is_empty() {
            std::task::ready!(sink.as_mut().poll_ready(context))?;
            let message = if self.ping {
                self.ping = false;
                Message::Ping(Default::default())
            } else {
                match untaken.pop_front().map(|answer| Utf8Bytes::try_from(answer.to_vec())) {
                    Some(Ok(text)) => Message::Text(text),
                    // Answers are made of texts.
                    Some(Err(_)) | None => continue,
                }
            };
            self.unflushed = true;
            sink.as_mut().start_send(message)?;
        }
        std::task::ready!(sink.poll_flush(context))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::dial::Line;
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_tungstenite::tungstenite::protocol::Role;

    /// A connection with the pings of the documents, and its other end, which buffers `buffer` bytes.
    async fn connection(buffer: usize) -> (Connection, DuplexStream) {
        let (near, far) = tokio::io::duplex(buffer);
        let socket = Socket::from_raw_socket(Line::new(near), Role::Client, None).await;
        let options = Options::new(&crate::config::TerminalWs {
            url: "ws://platform.example/".into(),
            username: String::new(),
            password: String::new(),
            key: String::new(),
            heartbeat_s: 25,
            pinned_certificate: String::new(),
            message_limit_mib: 16,
        });
        (Connection::new(socket, &options), far)
    }

    /// A text frame of a server (RFC 6455, 5.2).
    fn text_frame(length: usize) -> Vec<u8> {
        let mut frame = vec![0x81, 127];
        frame.extend_from_slice(&(length as u64).to_be_bytes());
        frame.resize(frame.len() + length, b'x');
        frame
    }

    async fn pause(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    /// Why the connection ended, and after how many seconds.
    async fn ended(connection: &mut Connection, untaken: &mut VecDeque<Arc<[u8]>>) -> (String, u64) {
        let began = Instant::now();
        loop {
            match connection.next(untaken).await {
                Ok(_) => {}
                Err(End::Lost(reason, _)) => return (reason, began.elapsed().as_secs()),
                Err(End::Shutdown) => unreachable!("nobody stops it"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_photo_on_a_slow_line_is_no_dead_line() {
        let (mut connection, far) = connection(64 << 10).await;
        let (mut far, mut sink) = tokio::io::split(far);
        tokio::spawn(async move { while far.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} });
        // 1.5 MB at 3 kB/s, which answers no ping before it is through: 500 s.
        let platform = tokio::spawn(async move {
            for piece in text_frame(1_500_000).chunks(30_000) {
                pause(10).await;
                sink.write_all(piece).await.unwrap();
            }
            sink
        });
        let began = Instant::now();
        let message =
            connection.next(&mut VecDeque::new()).await.map_err(|_| "the line was given up").unwrap();
        assert_eq!(message.len(), 1_500_000);
        assert!((500..=520).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        // Then it says nothing: as dead as any other.
        let _sink = platform.await.unwrap();
        let (reason, seconds) = ended(&mut connection, &mut VecDeque::new()).await;
        assert_eq!((reason.as_str(), seconds), ("no pong within 50 s: the line is dead", 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_never_ends_ends_the_line() {
        for with_pongs in [false, true] {
            let (mut connection, far) = connection(64 << 10).await;
            let (mut far, mut sink) = tokio::io::split(far);
            tokio::spawn(async move { while far.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} });
            tokio::spawn(async move {
                if with_pongs {
                    // One byte to a fragment, pongs between.
                    sink.write_all(&[0x01, 1, b'x']).await?;
                    loop {
                        pause(20).await;
                        sink.write_all(&[0x00, 1, b'x', 0x8a, 0]).await?;
                    }
                }
                for byte in text_frame(10_000) {
                    sink.write_all(&[byte]).await?;
                    pause(20).await;
                }
                std::io::Result::Ok(())
            });
            let (reason, seconds) = ended(&mut connection, &mut VecDeque::new()).await;
            assert_eq!(reason, "a message of the platform was not whole within 600 s");
            // From when it was noticed, which is at the latest with a ping.
            assert!((600..=625).contains(&seconds), "{with_pongs}: {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pongs_alone_keep_a_line_for_hours() {
        let (mut connection, far) = connection(64 << 10).await;
        let (mut far, mut sink) = tokio::io::split(far);
        tokio::spawn(async move { while far.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {} });
        tokio::spawn(async move {
            // Two at once, and one in two pieces.
            for _ in 0..200 {
                pause(40).await;
                sink.write_all(&[0x8a, 0, 0x8a, 3, 1]).await?;
                pause(1).await;
                sink.write_all(&[2, 3]).await?;
            }
            pause(1_000_000).await;
            std::io::Result::Ok(())
        });
        let (reason, seconds) = ended(&mut connection, &mut VecDeque::new()).await;
        assert_eq!((reason.as_str(), seconds), ("no pong within 50 s: the line is dead", 200 * 41 + 50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_platform_that_sends_and_never_reads_is_left() {
        let (mut connection, mut far) = connection(1024).await;
        tokio::spawn(async move {
            loop {
                far.write_all(&text_frame(10)).await?;
                pause(1).await;
            }
            #[allow(unreachable_code, reason = "it names the type")]
            std::io::Result::Ok(())
        });
        // It takes what the line buffers, and then nothing.
        let answer: Arc<[u8]> = vec![b'x'; 4096].into();
        let mut untaken = VecDeque::from([Arc::clone(&answer)]);
        let began = Instant::now();
        let reason = loop {
            match connection.next(&mut untaken).await {
                // Each request is answered.
                Ok(_) => untaken.push_back(Arc::clone(&answer)),
                Err(End::Lost(reason, _)) => break reason,
                Err(End::Shutdown) => unreachable!("nobody stops it"),
            }
        };
        assert_eq!(reason, "the platform has read nothing for 50 s");
        assert_eq!(began.elapsed().as_secs(), 50);
        assert!(!untaken.is_empty(), "what it did not take waits for the next line");
    }
}
