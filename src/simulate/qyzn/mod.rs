//! The QYZN platform, simulated: accepts terminals, registers them, logs them in, answers what they send and
//! orders what it is told to, by a [script], by hand, or by calls of [`Platform`]. It checks
//! all that a terminal sends as strictly as the document allows and notes every deviation as a `violation`
//! in its [`Journal`]. It can [misbehave](Misbehave).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

mod calls;
mod misbehave;
mod people;
pub mod script;
mod session;
pub mod wire;

pub use misbehave::Misbehave;

use crate::clock::{SharedClock, SystemClock};
use crate::error::{Error, Kind, Result};
use crate::simulate::listen::listen;
pub use crate::simulate::{Entry, Journal};

/// How long [`Platform::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a terminal may take to begin TLS.
const GREETING: Duration = Duration::from_secs(10);
/// After this long without an answer a command is sent again (3.2, item 5).
const REPEAT_AFTER: Duration = Duration::from_secs(20);
/// How often a command is sent again.
const REPEATS: u32 = 3;

/// A simulated platform. Cheap to clone; all clones are the same platform.
#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
}

/// What all sessions share.
pub(crate) struct Shared {
    pub(crate) clock: SharedClock,
    pub(crate) journal: Journal,
    pub(crate) state: Mutex<State>,
    pub(crate) seq: AtomicU32,
    connections: AtomicU64,
}

/// What changes.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) misbehave: Misbehave,
    /// Accounts by uuid.
    pub(crate) accounts: HashMap<String, Registered>,
    /// What requests of the terminals are answered, by message.
    pub(crate) answers: HashMap<String, Answering>,
    /// Rooms and calls.
    intercom: calls::Intercom,
    /// Live connections by number.
    pub(crate) sessions: HashMap<u64, Session>,
    /// Requests seen so far by serial number and sequence, with a hash of their bodies.
    pub(crate) seen: HashMap<(String, u32), u64>,
    tasks: Vec<JoinHandle<()>>,
}

/// An account that was given out.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) serial: String,
    pub(crate) passwd: String,
}

/// What a request of a terminal is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    pub(crate) result: i64,
    pub(crate) data: Value,
    /// How often; for ever if `None`.
    pub(crate) times: Option<u32>,
}

/// A live connection.
pub(crate) struct Session {
    pub(crate) serial: String,
    pub(crate) logged_in: bool,
    pub(crate) orders: mpsc::UnboundedSender<Order>,
    /// Commands that are not answered yet, by sequence.
    pub(crate) open: HashMap<u32, Open>,
    /// Commands that were sent and how often, by sequence.
    pub(crate) sent: HashMap<u32, u32>,
    pub(crate) task: Option<tokio::task::AbortHandle>,
}

/// A command that is not answered yet.
pub(crate) struct Open {
    pub(crate) message: String,
    pub(crate) version: u8,
    pub(crate) reply: Option<oneshot::Sender<Value>>,
}

/// What a session is told to do.
pub(crate) enum Order {
    /// Send these bytes as they are.
    Raw(Vec<u8>),
    /// Send a command.
    Command { seq: u32, version: u8, body: Vec<u8> },
    /// Close the connection.
    Close,
}

/// A command on its way.
#[derive(Debug)]
pub struct Sent {
    /// Its sequence.
    pub seq: u32,
    /// The connection it was sent on.
    pub connection: u64,
    answer: oneshot::Receiver<Value>,
}

impl Sent {
    /// Waits for the answer, the whole body. `Timeout` if none comes, `Network` if the line is lost.
    pub async fn answer(self) -> Result<Value> {
        self.answer_within(PATIENCE).await
    }

    /// The same for an answer that may take longer.
    pub async fn answer_within(self, patience: Duration) -> Result<Value> {
        match tokio::time::timeout(patience, self.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::new(Kind::Network, "the line was lost before the answer came")),
            Err(_) => Err(Error::new(Kind::Timeout, format!("no answer within {} s", patience.as_secs()))),
        }
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl Platform {
    /// A platform without a socket; see [`Platform::attach`].
    pub fn new(clock: SharedClock) -> Self {
        let shared = Shared {
            clock,
            journal: Journal::default(),
            state: Mutex::default(),
            seq: AtomicU32::new(getrandom::u32().unwrap_or(1) >> 1),
            connections: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Accepts terminals on `address` (port 0 for any) until [`Platform::stop`]; answers with the address.
    pub async fn listen(&self, address: SocketAddr) -> Result<SocketAddr> {
        self.listen_with(address, None).await
    }

    /// The same, with TLS (see [`crate::tls::server`]) where `secure` is there.
    pub async fn listen_with(
        &self,
        address: SocketAddr,
        secure: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<SocketAddr> {
        let platform = self.clone();
        let (address, task) = listen("QYZN platform", address, move |stream| {
            let _ = stream.set_nodelay(true);
            match &secure {
                None => platform.attach(stream),
                Some(secure) => {
                    tokio::spawn(platform.clone().greet(Arc::clone(secure), stream));
                }
            }
        })
        .await?;
        self.shared.state().tasks.push(task);
        Ok(address)
    }

    /// Serves a terminal on a stream that is there already.
    pub fn attach(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let number = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        session::begin(&self.shared, number, stream);
    }

    /// Begins TLS with a terminal, then serves it.
    async fn greet(self, secure: Arc<rustls::ServerConfig>, stream: tokio::net::TcpStream) {
        let greeting = tokio_rustls::TlsAcceptor::from(secure).accept(stream);
        let reason = match tokio::time::timeout(GREETING, greeting).await {
            Ok(Ok(stream)) => return self.attach(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no TLS within {} s", GREETING.as_secs()),
        };
        self.shared.journal.note(0, "", "tls_failed", json!({ "reason": reason }));
    }

    /// Stops listening and closes all connections.
    pub fn stop(&self) {
        for task in self.shared.state().tasks.drain(..) {
            task.abort();
        }
        self.disconnect();
    }

    /// Closes all connections, at once and without a word.
    pub fn disconnect(&self) {
        let mut state = self.shared.state();
        for session in state.sessions.values_mut() {
            let _ = session.orders.send(Order::Close);
            if let Some(task) = session.task.take() {
                task.abort();
            }
        }
        let closed: Vec<_> = state.sessions.drain().collect();
        drop(state);
        for (number, session) in closed {
            let reason = json!({ "reason": "closed by the platform" });
            self.shared.journal.note(number, &session.serial, "closed", reason);
        }
    }

    /// What happened so far.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// How often a terminal deviated from the document.
    pub fn violations(&self) -> Vec<String> {
        crate::simulate::Simulated::violations(self)
    }

    /// The first entry of the journal that `wanted` accepts, waiting for it for a minute.
    pub async fn wait_for(&self, wanted: impl FnMut(&Entry) -> bool) -> Result<Arc<Entry>> {
        self.journal().wait_for(0, PATIENCE, wanted).await
    }

    /// The first entry from number `from` on that `wanted` accepts, waiting for it for a minute.
    pub async fn wait_after(&self, from: usize, wanted: impl FnMut(&Entry) -> bool) -> Result<Arc<Entry>> {
        self.journal().wait_for(from, PATIENCE, wanted).await
    }

    /// The first entry of the journal that `wanted` accepts, waiting for it as long as `patience`.
    pub async fn wait_within(
        &self,
        patience: Duration,
        wanted: impl FnMut(&Entry) -> bool,
    ) -> Result<Arc<Entry>> {
        self.journal().wait_for(0, patience, wanted).await
    }

    /// Waits until a terminal is logged in, now or soon.
    pub async fn wait_until_logged_in(&self) -> Result<()> {
        let from = self.journal().len();
        if self.shared.state().sessions.values().any(|session| session.logged_in) {
            return Ok(());
        }
        self.wait_after(from, |entry| entry.event == "logged_in").await.map(|_| ())
    }

    /// Changes what it does wrong, also on connections that are there.
    pub fn misbehave(&self, misbehave: Misbehave) {
        self.shared.state().misbehave = misbehave;
    }

    /// From now on answers requests called `message` with `result` and `data`: `times` times, or always.
    pub fn answer_with(&self, message: &str, result: i64, data: Value, times: Option<u32>) {
        self.shared.state().answers.insert(message.to_owned(), Answering { result, data, times });
    }

    /// From now on the room `number` is answered with these `calleds` (each `userId`, `token`, `phoneNo`) and this
    /// longest talk; without any it does not exist (104). Room 304 with two users is there from the start.
    pub fn room(&self, number: &str, calleds: Option<Value>, max_seconds: u32) {
        self.shared.state().intercom.set_room(number, calleds, max_seconds);
    }

    /// Forgets all accounts, so that the next login is answered 100.
    pub fn forget_accounts(&self) {
        self.shared.state().accounts.clear();
    }

    /// Sends a command to the terminal with the serial number `to`, or to the one that connected last.
    pub fn send(&self, to: Option<&str>, message: &str, data: Value) -> Result<Sent> {
        self.send_version(to, message, data, if message == "config_device_pass_rule" { 4 } else { 3 })
    }

    /// The same in a version of the protocol.
    pub fn send_version(&self, to: Option<&str>, message: &str, data: Value, version: u8) -> Result<Sent> {
        let body = serde_json::to_vec(&json!({ "message": message, "data": data }))
            .map_err(|error| Error::caused(Kind::Input, "the command cannot be written as JSON", error))?;
        // As the terminal does, a half of its own is left to nobody: the two sides number separately.
        let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.send_body(to, message, version, seq, body)
    }

    /// The same with a sequence and a body of the caller's, for a repetition or for something broken.
    pub fn send_body(
        &self,
        to: Option<&str>,
        message: &str,
        version: u8,
        seq: u32,
        body: Vec<u8>,
    ) -> Result<Sent> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.shared.state();
        let (&connection, session) = state
            .sessions
            .iter_mut()
            .filter(|(_, session)| session.logged_in && to.is_none_or(|serial| serial == session.serial))
            .max_by_key(|(number, _)| **number)
            .ok_or_else(|| Error::new(Kind::NotFound, "no such terminal is logged in"))?;
        session.open.insert(seq, Open { message: message.to_owned(), version, reply: Some(reply) });
        *session.sent.entry(seq).or_insert(0) += 1;
        let serial = session.serial.clone();
        let lost = || Error::new(Kind::Network, "the terminal has just gone");
        session.orders.send(Order::Command { seq, version, body: body.clone() }).map_err(|_| lost())?;
        drop(state);
        let fields = json!({ "message": message, "seq": seq, "version": version });
        self.shared.journal.note(connection, &serial, "sent", fields);
        self.repeat_until_answered(connection, version, seq, body);
        Ok(Sent { seq, connection, answer })
    }

    /// Sends bytes as they are to the terminal that connected last.
    pub fn send_raw(&self, bytes: Vec<u8>) -> Result<()> {
        let state = self.shared.state();
        let session = state.sessions.iter().max_by_key(|(number, _)| **number);
        let (_, session) = session.ok_or_else(|| Error::new(Kind::NotFound, "no terminal is connected"))?;
        session
            .orders
            .send(Order::Raw(bytes))
            .map_err(|_| Error::new(Kind::Network, "the terminal has just gone"))
    }

    /// Sends a command and waits for its answer, the whole body.
    pub async fn request(&self, message: &str, data: Value) -> Result<Value> {
        self.send(None, message, data)?.answer().await
    }

    fn repeat_until_answered(&self, connection: u64, version: u8, seq: u32, body: Vec<u8>) {
        let shared = Arc::downgrade(&self.shared);
        tokio::spawn(async move {
            for _ in 0..REPEATS {
                tokio::time::sleep(REPEAT_AFTER).await;
                let Some(shared) = shared.upgrade() else { return };
                let mut state = shared.state();
                let Some(session) = state.sessions.get_mut(&connection) else { return };
                if !session.open.contains_key(&seq) {
                    return;
                }
                *session.sent.entry(seq).or_insert(0) += 1;
                let _ = session.orders.send(Order::Command { seq, version, body: body.clone() });
            }
        });
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
