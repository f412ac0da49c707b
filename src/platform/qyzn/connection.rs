//! One connection to the platform, from the first byte to the last: register, login, heartbeats, requests
//! and their repetition, commands and their answers. One task, no lock, nothing that grows with what the
//! peer sends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::answered::{Known, ReplyTo};
use super::code::{self, Answer};
use super::codec::{Body, Decoder, Frame, MsgType, encode};
use super::json::{self, Fields};
use super::link::{Account, Command, Done, Duty, Handler, Lane, Link, State, Waiting, stopped};
use super::records::{Fetch, Follow, Framed, Mark, Queue};
use super::requests::{Asked, not_connected, unanswered};
use super::time::{SyncTime, offset_ms};
use crate::error::Result;

/// What the document's `sign` is made with (4.2.2).
const SIGN_MAGIC: &str = "P3K0eikSRSJHliME";
/// The version of most messages.
pub(super) const VERSION: u8 = 3;
/// Heartbeats without an answer after which the line is dead, once one was answered.
const UNANSWERED: u32 = 3;
/// Commands of the free lane that are carried out at once.
const FREE_AT_ONCE: usize = 32;
/// Requests of other parts of the gate that are under way at once.
const ASKED_AT_ONCE: usize = 16;
/// Frames handled before timers and other work get their turn.
const FRAMES_AT_ONCE: usize = 64;
/// A connection that lived this long counts as a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// How often a terminal registers on one connection before it starts over.
const REGISTRATIONS: u32 = 2;
/// How long the last answers may take to go out when the program stops.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Room for reading while nothing is announced.
const READ_ROOM: usize = 4096;

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The program stops.
    Shutdown,
    /// The line is lost.
    Lost {
        /// Why.
        reason: String,
        /// It was of use, so that the next attempt can follow soon.
        progress: bool,
        /// How long it lasted, if the terminal was logged in.
        lasted: Duration,
    },
}

/// Why a connection must end.
struct Broken(String);

type Step = Result<(), Broken>;

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Broken(format!("the line broke: {error}"))
    }
}

/// Body of a request.
#[derive(Serialize)]
struct Request<'a, D> {
    message: &'a str,
    data: D,
}

/// Data of `register` (4.2.2).
#[derive(Serialize)]
struct Register<'a> {
    serial: &'a str,
    mac: &'a str,
    timestamp: &'a str,
    sign: &'a str,
    #[serde(rename = "type")]
    model: &'a str,
}

/// Data of `login` (4.2.3).
#[derive(Serialize)]
struct Login<'a> {
    uuid: &'a str,
    version: &'a str,
    timestamp: &'a str,
    sign: &'a str,
}

fn md5_hex(parts: &[&str]) -> String {
    format!("{:x}", md5::compute(parts.concat()))
}

/// Body of a request.
pub(super) fn request_body(message: &str, data: impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&Request { message, data }).expect("requests have text keys only")
}

fn register_body(identity: &super::link::Identity, timestamp: &str) -> Vec<u8> {
    let sign = md5_hex(&[&identity.serial, &identity.mac, timestamp, SIGN_MAGIC]);
    request_body(
        "register",
        Register {
            serial: &identity.serial,
            mac: &identity.mac,
            timestamp,
            sign: &sign,
            model: &identity.model,
        },
    )
}

fn login_body(account: &Account, version: &str, timestamp: &str) -> Vec<u8> {
    let sign = md5_hex(&[&account.uuid, &account.passwd, timestamp, SIGN_MAGIC]);
    request_body("login", Login { uuid: &account.uuid, version, timestamp, sign: &sign })
}

/// What a request of ours is about.
#[derive(Debug)]
enum About {
    Register,
    Login,
    SyncTime { sent: Instant, zone: jiff::tz::Offset },
    Record,
    Asked(oneshot::Sender<Result<Answer>>),
}

/// A request of ours that is not answered yet.
#[derive(Debug)]
struct Pending {
    seq: u32,
    about: About,
    frame: Arc<[u8]>,
    /// When it was sent first.
    since: Instant,
    due: Instant,
    resent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Registering,
    LoggingIn,
    LoggedIn,
}

struct Connection<'l, H, S> {
    link: &'l mut Link<H>,
    reader: ReadHalf<S>,
    decoder: Decoder,
    writer: super::writer::Writer<WriteHalf<S>>,
    phase: Phase,
    registrations: u32,
    pending: Vec<Pending>,
    began: Instant,
    progress: bool,
    /// When a byte came last, or a stalled frame was judged last.
    last_read: Instant,
    stalled: bool,
    heartbeat_due: Option<Instant>,
    unanswered: u32,
    answers_heartbeats: bool,
    /// When the platform answered anything last.
    heard: Option<Instant>,
    sync_due: Option<Instant>,
    review_due: Instant,
}

/// Serves one connection to its end.
pub(super) async fn serve<H: Handler, S: AsyncRead + AsyncWrite + Unpin>(
    link: &mut Link<H>,
    stream: S,
    shutdown: &mut watch::Receiver<bool>,
) -> End {
    let (reader, writer) = tokio::io::split(stream);
    let now = Instant::now();
    let mut connection = Connection {
        decoder: Decoder::new(link.options.body_limit),
        reader,
        writer: super::writer::Writer::new(writer),
        phase: Phase::LoggingIn,
        registrations: 0,
        pending: Vec::new(),
        began: now,
        progress: false,
        last_read: now,
        stalled: false,
        heartbeat_due: None,
        unanswered: 0,
        answers_heartbeats: false,
        heard: None,
        sync_due: None,
        review_due: now + link.options.review,
        link,
    };
    let ended = connection.run(shutdown).await;
    let logged_in = connection.phase == Phase::LoggedIn;
    if logged_in {
        connection.link.records.lost(Instant::now());
    }
    match ended {
        Ok(()) => End::Shutdown,
        Err(Broken(reason)) => End::Lost {
            reason,
            progress: connection.progress || logged_in && connection.began.elapsed() >= GOOD_AFTER,
            lasted: if logged_in { connection.began.elapsed() } else { Duration::ZERO },
        },
    }
}

/// What woke the connection.
enum Woken {
    Read(io::Result<usize>),
    Written(io::Result<()>),
    Worked(Option<Done>),
    Asked(Option<Asked>),
    Record,
    Time,
    Again,
    Shutdown,
}

impl<H: Handler, S: AsyncRead + AsyncWrite + Unpin> Connection<'_, H, S> {
    async fn run(&mut self, shutdown: &mut watch::Receiver<bool>) -> Step {
        let fresh = self.link.handler.new_records();
        self.introduce()?;
        loop {
            let more = self.read_frames()?;
            self.on_time(Instant::now())?;
            self.link.begin_commands();
            self.send_records();
            let until = self.next_due();
            let may_read = !more && !self.writer.is_full();
            let may_ask = self.phase != Phase::LoggedIn
                || self.pending.iter().filter(|pending| matches!(pending.about, About::Asked(_))).count()
                    < ASKED_AT_ONCE;
            let woken = tokio::select! {
                read = read(&mut self.reader, &mut self.decoder), if may_read => Woken::Read(read),
                written = self.writer.flush(), if !self.writer.is_empty() => Woken::Written(written),
                Some(done) = self.link.work.join_next(), if !self.link.work.is_empty() => {
                    Woken::Worked(done.ok())
                }
                asked = self.link.asked.recv(), if may_ask && !self.link.asked.is_closed() => Woken::Asked(asked),
                () = fresh.notified() => Woken::Record,
                () = tokio::time::sleep_until(until) => Woken::Time,
                () = tokio::task::yield_now(), if more => Woken::Again,
                () = stopped(shutdown) => Woken::Shutdown,
            };
            match woken {
                Woken::Read(read) => {
                    if read? == 0 {
                        return Err(Broken("the platform closed the connection".into()));
                    }
                    self.last_read = Instant::now();
                    self.stalled = false;
                }
                Woken::Written(written) => written?,
                Woken::Worked(done) => self.on_done(done.unwrap_or(Done::Nothing)),
                Woken::Asked(Some(asked)) => self.on_asked(asked),
                Woken::Record => self.link.records.wake(),
                Woken::Asked(None) | Woken::Time | Woken::Again => {}
                Woken::Shutdown => {
                    // What was answered goes out, above all that the machine restarts.
                    let _ = tokio::time::timeout(LAST_WORDS, self.writer.flush()).await;
                    return Ok(());
                }
            }
        }
    }

    // Time.

    fn next_due(&self) -> Instant {
        let options = &self.link.options;
        let stall = self
            .is_waiting_for_rest()
            .then(|| self.last_read + if self.stalled { options.request_timeout } else { options.stall });
        [
            Some(self.review_due),
            self.heartbeat_due,
            self.sync_due,
            self.writer.deadline(options.request_timeout),
            stall,
            self.link.records.due().filter(|_| self.phase == Phase::LoggedIn),
            self.link.records.marks_due(),
            self.pending.iter().map(|pending| pending.due).min(),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.review_due)
    }

    fn on_time(&mut self, now: Instant) -> Step {
        let timeout = self.link.options.request_timeout;
        if self.writer.deadline(timeout).is_some_and(|due| due <= now) {
            return Err(Broken(format!("the platform has read nothing for {} s", timeout.as_secs())));
        }
        self.judge_stalled(now)?;
        if self.heartbeat_due.is_some_and(|due| due <= now) {
            if self.answers_heartbeats && self.unanswered >= UNANSWERED {
                return Err(Broken(format!("{UNANSWERED} heartbeats were not answered")));
            }
            self.unanswered = self.unanswered.saturating_add(1);
            self.heartbeat_due = Some(now + self.link.options.heartbeat);
            self.send(MsgType::Heartbeat, VERSION, 0, b"");
        }
        if self.sync_due.is_some_and(|due| due <= now) {
            self.sync_due = Some(now + self.link.options.sync_time);
            let ours = self.link.handler.now();
            let body = request_body("sync_time", SyncTime::at(&ours));
            self.request(VERSION, &body, About::SyncTime { sent: now, zone: ours.offset });
        }
        if self.review_due <= now {
            self.review_due = now + self.link.options.review;
            self.link.records.begin_review(now);
            // In case a notification was missed.
            self.link.records.wake();
        }
        for mark in self.link.records.marks_again(now) {
            self.mark_delivered(mark);
        }
        self.repeat_requests(now)
    }

    /// A part of a frame has come, and the rest would be read if it came.
    fn is_waiting_for_rest(&self) -> bool {
        self.decoder.is_amid() && !self.writer.is_full()
    }

    fn judge_stalled(&mut self, now: Instant) -> Step {
        if !self.is_waiting_for_rest() {
            return Ok(());
        }
        let options = &self.link.options;
        if !self.stalled && self.last_read + options.stall <= now {
            self.stalled = true;
            self.decoder.hurry();
            while let Some(frame) = self.decoder.next_frame() {
                self.on_frame(frame)?;
            }
        } else if self.stalled && self.last_read + options.request_timeout <= now {
            tracing::warn!("gave up a QYZN frame whose end never came");
            self.decoder.give_up();
            self.last_read = now;
            self.stalled = false;
        }
        Ok(())
    }

    /// Sends again what was not answered in time (3.2, item 5): the same bytes, so the same sequence. When even the
    /// last repetition was in vain, the line is dead; but what others have asked fails alone where the platform
    /// has answered anything else meanwhile: there are platforms that do not know all messages and say nothing.
    fn repeat_requests(&mut self, now: Instant) -> Step {
        let options = &self.link.options;
        let (timeout, resends) = (options.request_timeout, options.resends);
        // Whoever has stopped waiting needs no repetition, and no place among those that are under way.
        self.pending.retain(|pending| !matches!(&pending.about, About::Asked(reply) if reply.is_closed()));
        // While the peer takes nothing, more copies behind the first would not help.
        let stuck = !self.writer.is_empty();
        let mut at = 0;
        while let Some(pending) = self.pending.get_mut(at) {
            at += 1;
            if pending.due > now {
                continue;
            }
            pending.due = now + timeout;
            if stuck {
                continue;
            }
            let asked = matches!(pending.about, About::Asked(_));
            let heard = self.heard >= Some(pending.since);
            if pending.resent == resends && asked && heard {
                at -= 1;
                if let About::Asked(reply) = self.pending.swap_remove(at).about {
                    let _ = reply.send(Err(unanswered()));
                }
                continue;
            }
            if pending.resent == resends {
                return Err(Broken(format!(
                    "no answer to a request that was sent {} times",
                    pending.resent + 1
                )));
            }
            pending.resent += 1;
            self.writer.push(Arc::clone(&pending.frame));
            // Something that every platform answers tells a dead line from a message that it does not know.
            if asked && !heard && pending.resent == resends && self.phase == Phase::LoggedIn {
                self.sync_due = Some(now);
            }
        }
        Ok(())
    }

    // Sending.

    fn frame(&self, kind: MsgType, version: u8, seq: u32, body: &[u8]) -> Arc<[u8]> {
        let seconds = self.link.handler.now().utc.as_second();
        Arc::from(encode(version, kind, u32::try_from(seconds).unwrap_or(0), seq, body))
    }

    fn send(&mut self, kind: MsgType, version: u8, seq: u32, body: &[u8]) {
        let frame = self.frame(kind, version, seq, body);
        self.writer.push(frame);
    }

    fn request(&mut self, version: u8, body: &[u8], about: About) {
        let seq = self.link.next_seq();
        let frame = self.frame(MsgType::Request, version, seq, body);
        self.await_answer(seq, frame, about);
    }

    fn await_answer(&mut self, seq: u32, frame: Arc<[u8]>, about: About) {
        self.writer.push(Arc::clone(&frame));
        let since = Instant::now();
        let due = since + self.link.options.request_timeout;
        self.pending.push(Pending { seq, about, frame, since, due, resent: 0 });
    }

    fn answer(&mut self, reply: ReplyTo, body: &[u8]) {
        if reply.wanted && reply.connection == self.link.connections {
            self.send(MsgType::Response, reply.version, reply.seq, body);
        }
    }

    /// Registers, or logs in with the account there is.
    fn introduce(&mut self) -> Step {
        let identity = self.link.handler.identity().clone();
        let timestamp = self.link.handler.now().utc.as_second().to_string();
        match &self.link.account {
            Some(account) => {
                let body = login_body(account, &identity.version, &timestamp);
                self.phase = Phase::LoggingIn;
                self.request(VERSION, &body, About::Login);
            }
            None => {
                if self.registrations == REGISTRATIONS {
                    return Err(Broken("the platform does not know the account that it gave".into()));
                }
                self.registrations += 1;
                self.phase = Phase::Registering;
                self.request(VERSION, &register_body(&identity, &timestamp), About::Register);
            }
        }
        Ok(())
    }

    fn send_records(&mut self) {
        if self.phase != Phase::LoggedIn {
            return;
        }
        let now = Instant::now();
        self.fetch_records(now);
        if let Some(framed) = self.link.records.next_to_send(now) {
            let (seq, frame) = (framed.seq, Arc::clone(&framed.frame));
            self.await_answer(seq, frame, About::Record);
            // The next, while this one is on the wire.
            self.fetch_records(now);
        }
    }

    fn fetch_records(&mut self, now: Instant) {
        let link = &mut *self.link;
        while let Some(fetch) = link.records.next_fetch(now) {
            match fetch {
                Fetch::Newest => {
                    let newest = link.handler.newest_record();
                    link.work.spawn(async move { Done::Newest(newest.await) });
                }
                Fetch::Record(wanted) => {
                    let (queue, epoch) = (wanted.queue, link.records.epoch());
                    let fetch = link.handler.next_record(wanted);
                    link.work.spawn(async move { Done::Fetched { queue, epoch, result: fetch.await } });
                }
            }
        }
    }

    fn mark_delivered(&mut self, mark: Mark) {
        let marked = self.link.handler.delivered(mark);
        self.link.work.spawn(async move { Done::Marked { mark, result: marked.await } });
    }

    // What came.

    /// Handles what has been received; whether there is more than was handled.
    fn read_frames(&mut self) -> Result<bool, Broken> {
        for _ in 0..FRAMES_AT_ONCE {
            if self.writer.is_full() {
                return Ok(false);
            }
            match self.decoder.next_frame() {
                Some(frame) => self.on_frame(frame)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn on_frame(&mut self, frame: Frame) -> Step {
        match frame.header.kind {
            MsgType::Heartbeat => {
                self.unanswered = 0;
                self.answers_heartbeats = true;
                self.heard = Some(Instant::now());
            }
            MsgType::Response => return self.on_response(frame),
            MsgType::Request => self.on_command(frame, true),
            MsgType::Notification => self.on_command(frame, false),
            MsgType::Other(kind) => {
                tracing::debug!(kind, "ignored a QYZN frame of a type that does not exist")
            }
        }
        Ok(())
    }

    fn on_command(&mut self, frame: Frame, wanted: bool) {
        let Frame { header, body, digest, len } = frame;
        let reply =
            ReplyTo { connection: self.link.connections, version: header.version, seq: header.seq, wanted };
        let refuse = |this: &mut Self, answer: Answer| {
            tracing::debug!(result = answer.result, desc = answer.desc, "refused a QYZN command");
            this.answer(reply, &answer.to_body());
        };
        let mut body = match body {
            Body::Json(body) => body,
            Body::Empty => return refuse(self, Answer::failure(code::BAD_PARAMETER, "the body is empty")),
            Body::Malformed(why) => return refuse(self, Answer::failure(code::BAD_PARAMETER, why)),
            Body::TooLong => {
                let most = self.link.options.body_limit / (1024 * 1024);
                let desc = format!("the body is longer than {most} MiB");
                return refuse(self, Answer::failure(code::BAD_PARAMETER, desc));
            }
        };
        let key = (header.seq, digest);
        match self.link.answered.seen(&key, reply, Instant::now()) {
            Known::No => {}
            Known::UnderWay => return,
            Known::Done(body) => return self.answer(reply, &body),
        }
        let message = match Fields::of(&body).required_text("message", 64) {
            Ok(message) => message,
            Err(error) => return refuse(self, Answer::failure(code::BAD_PARAMETER, error.message())),
        };
        let Some(duty) = self.link.handler.duty(&message) else {
            return refuse(self, Answer::failure(code::NO_COMMAND, format!("there is no command {message}")));
        };
        let link = &mut *self.link;
        let busy = match duty.lane {
            Lane::People => link.people.len() >= link.options.waiting,
            Lane::Settings => link.settings.len() >= link.options.waiting,
            Lane::Free => link.free_at_work >= FREE_AT_ONCE,
        };
        if busy || link.bytes_at_work > 0 && link.bytes_at_work + len > link.options.waiting_bytes {
            return refuse(self, Answer::busy("too many commands are waiting"));
        }
        let data = match take_data(&mut body) {
            // The table of 2.4 calls `data` a String, and some send it as one.
            text @ Value::String(_) => json::unfold(&text),
            data => data,
        };
        let waiting = Waiting { key, duty, bytes: len, reply, command: Command { message, data, key } };
        if duty.acts {
            link.answered.begin(key, reply, Instant::now());
        }
        link.bytes_at_work += len;
        match duty.lane {
            Lane::People => {
                link.people.push_back(waiting);
                link.begin_commands();
            }
            Lane::Settings => {
                link.settings.push_back(waiting);
                link.begin_commands();
            }
            Lane::Free => {
                link.free_at_work += 1;
                link.begin(waiting);
            }
        }
    }

    fn on_response(&mut self, frame: Frame) -> Step {
        self.heard = Some(Instant::now());
        let Some(at) = self.pending.iter().position(|pending| pending.seq == frame.header.seq) else {
            // The second answer to a request that was sent twice.
            tracing::debug!(seq = frame.header.seq, "ignored a QYZN answer that nobody waits for");
            return Ok(());
        };
        let body = match frame.body {
            Body::Json(body) => body,
            Body::Empty => Value::Null,
            Body::Malformed(why) => {
                // It will be asked again.
                tracing::warn!(why, "the QYZN platform sent an answer that cannot be read");
                return Ok(());
            }
            Body::TooLong => {
                tracing::warn!("the QYZN platform sent an answer that is too long");
                return Ok(());
            }
        };
        let answer = Answer::read(&body);
        let pending = self.pending.swap_remove(at);
        let unregistered = answer.result == code::UNREGISTERED
            || answer.result == code::WRONG_PASSWORD && matches!(pending.about, About::Login);
        match pending.about {
            About::Register => return self.on_registered(&answer),
            _ if unregistered => return self.on_unregistered(pending.about, answer),
            About::Login => return self.on_logged_in(&answer),
            About::SyncTime { sent, zone } => {
                let (now, round_trip) = (self.link.handler.now(), sent.elapsed());
                // A platform that writes the time of our zone may have meant the one before.
                if now.offset == zone
                    && let Some(milliseconds) = offset_ms(&answer.data, &now, round_trip)
                {
                    self.link.handler.report(State::TimeOffset { milliseconds, round_trip });
                }
            }
            About::Record => self.on_record_answered(pending.seq, answer),
            About::Asked(reply) => {
                let _ = reply.send(Ok(answer));
            }
        }
        Ok(())
    }

    fn on_registered(&mut self, answer: &Answer) -> Step {
        if answer.result != code::SUCCESS {
            return Err(Broken(format!(
                "the platform refused to register this gate: result {}, {}",
                answer.result, answer.desc
            )));
        }
        let fields = Fields::of(&answer.data);
        let account = match (fields.required_text("uuid", 256), fields.text("passwd", 256)) {
            (Ok(uuid), Ok(passwd)) => Account { uuid, passwd: passwd.unwrap_or_default() },
            (Err(error), _) | (_, Err(error)) => {
                return Err(Broken(format!("the platform registered this gate without an account: {error}")));
            }
        };
        self.link.account = Some(account.clone());
        let keep = self.link.handler.keep_account(account);
        self.link.work.spawn(async move { Done::Kept(keep.await) });
        self.link.handler.report(State::Registered);
        self.introduce()
    }

    fn on_logged_in(&mut self, answer: &Answer) -> Step {
        if answer.result != code::SUCCESS {
            return Err(Broken(format!(
                "the platform refused the login: result {}, {}",
                answer.result, answer.desc
            )));
        }
        let now = Instant::now();
        self.phase = Phase::LoggedIn;
        self.heartbeat_due.get_or_insert(now + self.link.options.heartbeat);
        self.sync_due = Some(now);
        self.link.records.logged_in(now);
        self.link.handler.report(State::LoggedIn);
        Ok(())
    }

    /// The platform does not know this terminal any more (100).
    fn on_unregistered(&mut self, about: About, answer: Answer) -> Step {
        if let About::Asked(reply) = about {
            let _ = reply.send(Ok(answer));
        }
        if self.phase == Phase::Registering {
            return Ok(());
        }
        tracing::info!("the QYZN platform does not know this gate any more; registering again");
        self.pending.retain(|pending| matches!(pending.about, About::Asked(_)));
        self.sync_due = None;
        self.link.account = None;
        self.introduce()
    }

    fn on_record_answered(&mut self, seq: u32, answer: Answer) {
        let Some((queue, framed, follow)) = self.link.records.answered(seq, &answer, Instant::now()) else {
            return;
        };
        // Also of a refusal: the platform has spoken, and may have said that the door stays shut. Busy without a
        // word of the door is none.
        let orders = answer.result != code::BUSY || Fields::of(&answer.data).get("opendoor").is_some();
        // What is asked for again was answered when its visitor stood there.
        if orders && queue != Queue::Again {
            let obey = self.link.handler.obey(framed.record, answer.data);
            self.link.work.spawn(async move {
                obey.await;
                Done::Nothing
            });
        }
        match follow {
            Follow::Delivered(mark) => {
                self.progress = true;
                self.mark_delivered(mark);
            }
            Follow::Again => {}
            Follow::SetAside => self.link.handler.report(State::RecordRefused {
                record: framed.record,
                result: answer.result,
                desc: answer.desc,
            }),
        }
    }

    fn on_asked(&mut self, asked: Asked) {
        if asked.reply.is_closed() {
            return;
        }
        if self.phase != Phase::LoggedIn {
            let _ = asked.reply.send(Err(not_connected()));
            return;
        }
        let body = request_body(&asked.message, &asked.data);
        self.request(asked.version, &body, About::Asked(asked.reply));
    }

    // What was done.

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Command { key, duty, bytes, reply, clears_records, answer } => {
                let cleared =
                    clears_records && answer.as_ref().is_some_and(|answer| answer.result == code::SUCCESS);
                self.on_command_done(key, duty, bytes, reply, answer);
                if cleared {
                    self.link.records.forget();
                }
            }
            Done::Newest(Ok(newest)) => self.link.records.newest(newest, Instant::now()),
            Done::Newest(Err(error)) => {
                tracing::warn!(%error, "the records for the QYZN platform cannot be read");
                self.link.records.newest_failed(Instant::now());
            }
            Done::Fetched { queue, epoch, result: Ok(record) } => {
                let framed = record.map(|record| Framed {
                    id: record.id,
                    record: record.record,
                    seq: record.seq,
                    frame: self.frame(MsgType::Request, VERSION, record.seq, &record.body),
                });
                if let Some(unmarked) = self.link.records.fetched(queue, epoch, framed, Instant::now()) {
                    self.mark_delivered(unmarked);
                }
            }
            Done::Fetched { queue, epoch, result: Err(error) } => {
                tracing::warn!(%error, "the next record for the QYZN platform cannot be read");
                self.link.records.fetch_failed(queue, epoch, Instant::now());
            }
            Done::Marked { mark, result: Ok(()) } => self.link.records.marked(mark),
            Done::Marked { mark, result: Err(error) } => {
                // It stays acknowledged in memory; after a restart it goes out again with its sequence.
                if self.link.records.mark_failed(mark, Instant::now()) {
                    tracing::warn!(%error, "delivered records cannot be marked; trying again every five seconds");
                }
            }
            Done::Kept(Ok(())) | Done::Nothing => {}
            Done::Kept(Err(error)) => {
                tracing::warn!(%error, "the QYZN account cannot be kept; the gate will register again when it restarts");
            }
        }
    }

    fn on_command_done(
        &mut self,
        key: super::answered::Key,
        duty: Duty,
        bytes: usize,
        reply: ReplyTo,
        answer: Option<Answer>,
    ) {
        let link = &mut *self.link;
        link.bytes_at_work -= bytes;
        match duty.lane {
            Lane::People => link.people_at_work -= 1,
            Lane::Settings => link.settings_at_work -= 1,
            Lane::Free => link.free_at_work -= 1,
        }
        let answer = answer.unwrap_or_else(|| {
            tracing::error!("a QYZN command ended in a panic");
            Answer::failure(code::FAILED, "an error inside the gate; see its log")
        });
        self.progress = true;
        let body = answer.to_body();
        if !duty.acts {
            return self.answer(reply, &body);
        }
        // Busy means that it was not carried out: the same command may come again and must then be.
        let reply = if answer.result == code::BUSY {
            link.answered.forget(&key)
        } else {
            link.answered.finish(&key, Arc::from(&body[..]))
        }
        .unwrap_or(reply);
        self.answer(reply, &body);
    }
}

/// `data` out of the body, without copying the pictures in it.
fn take_data(body: &mut Value) -> Value {
    let Some(map) = body.as_object_mut() else { return Value::Null };
    if let Some(data) = map.get_mut("data") {
        return data.take();
    }
    let key = map.keys().find(|key| key.eq_ignore_ascii_case("data")).cloned();
    key.and_then(|key| map.remove(&key)).unwrap_or(Value::Null)
}

async fn read<S: AsyncRead>(reader: &mut ReadHalf<S>, decoder: &mut Decoder) -> io::Result<usize> {
    let buffer = decoder.buffer();
    if buffer.capacity() - buffer.len() < READ_ROOM {
        buffer.reserve(READ_ROOM);
    }
    reader.read_buf(buffer).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::qyzn::link::Identity;

    #[test]
    fn the_documents_register_frame() {
        let identity = Identity {
            serial: "0a9310e7acc298d3".into(),
            mac: "0064871ECB01".into(),
            model: "HG02".into(),
            version: "V1".into(),
        };
        // Chapter 1.4: header and body.
        let head = [0x51, 0x59, 0x5a, 0x4e, 3, 3, 1, 0, 0x47, 0xec, 0x40, 0x5d, 0x10, 0, 0, 0, 0xa1, 0, 0, 0];
        let body = br#"{"message":"register","data":{"serial":"0a9310e7acc298d3","mac":"0064871ECB01","timestamp":"1564535879","sign":"9f5b57edbc953de33dae1856cc35d79b","type":"HG02"}}"#;
        let frame =
            encode(VERSION, MsgType::Request, 1_564_535_879, 16, &register_body(&identity, "1564535879"));
        assert_eq!(frame, [&head[..], body].concat());
    }

    #[test]
    fn login_signs_the_plain_concatenation() {
        let account = Account { uuid: "fde0a1d337ef4b8ab6e67af87fcfd3f".into(), passwd: "12345678".into() };
        // python3: hashlib.md5(b"fde0a1d337ef4b8ab6e67af87fcfd3f" b"12345678" b"1543563114"
        // b"P3K0eikSRSJHliME").hexdigest()
        let body = String::from_utf8(login_body(&account, "V1.0.0", "1543563114")).unwrap();
        assert_eq!(
            body,
            r#"{"message":"login","data":{"uuid":"fde0a1d337ef4b8ab6e67af87fcfd3f","version":"V1.0.0","timestamp":"1543563114","sign":"7d7beee089bbc3a87e58bec5c34c5b5a"}}"#
        );
    }
}
