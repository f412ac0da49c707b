//! The platform of the terminal WebSocket protocol, simulated: lets terminals in by name, password and serial
//! number, orders what it is told to, by a [script], by hand, or by calls of [`Platform`]. It checks all that a
//! terminal sends as strictly as the document and RFC 6455 allow and notes every deviation as a `violation` in
//! its [`Journal`]. It can [misbehave](Misbehave).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub mod form;
mod misbehave;
pub mod script;
mod session;
mod wire;

pub use misbehave::Misbehave;

use super::{Entry, Journal, Simulated};
use crate::error::{Error, Kind, Result};
use crate::simulate::listen::listen;

/// How long [`Platform::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is let in, and what is expected of them.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the Basic authorization.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Serial numbers that the platform knows; any if empty.
    pub serials: Vec<String>,
    /// Where terminals connect; their serial number follows.
    pub path: String,
    /// `key` of messages about people; empty: none is sent.
    pub key: String,
    /// How often a terminal should ping.
    pub heartbeat: Duration,
}

impl Default for Options {
    /// As in the document.
    fn default() -> Self {
        Self {
            username: "dev".into(),
            password: "123".into(),
            serials: Vec::new(),
            path: "/devs/".into(),
            key: String::new(),
            heartbeat: Duration::from_secs(25),
        }
    }
}

/// A simulated platform. Cheap to clone; all clones are the same platform.
#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
}

/// What all sessions share.
struct Shared {
    options: Options,
    journal: Journal,
    state: Mutex<State>,
    connections: AtomicU64,
}

/// What changes.
#[derive(Default)]
struct State {
    misbehave: Misbehave,
    /// Live connections by number.
    sessions: HashMap<u64, Session>,
    /// Requests that are not answered as often as they were sent, by `msgid`. They outlive connections.
    open: HashMap<String, Open>,
    /// Messages without a readable `msgid` that are not answered yet.
    broken: u64,
    tasks: Vec<JoinHandle<()>>,
}

/// A live connection.
struct Session {
    serial: String,
    orders: mpsc::UnboundedSender<Order>,
    task: Option<tokio::task::AbortHandle>,
}

/// A request on its way.
struct Open {
    cmd: String,
    /// Answers that may still come.
    due: u32,
    reply: Option<oneshot::Sender<Value>>,
}

/// What a session is told to do.
enum Order {
    /// Send a message.
    Text(String),
    /// Send these bytes as they are.
    Raw(Vec<u8>),
    /// Close the connection with a close frame.
    Close,
}

/// A command on its way.
#[derive(Debug)]
pub struct Sent {
    /// Its `msgid`.
    pub msgid: String,
    /// The connection it was sent on.
    pub connection: u64,
    answer: oneshot::Receiver<Value>,
}

impl Sent {
    /// Waits for the answer: what its `msg` says, `{"status": …, "msg": …}`. `Timeout` if none comes. It may come
    /// on a later connection.
    pub async fn answer(self) -> Result<Value> {
        match tokio::time::timeout(PATIENCE, self.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Error::new(Kind::Stopped, "the platform has stopped")),
            Err(_) => Err(Error::new(Kind::Timeout, format!("no answer within {} s", PATIENCE.as_secs()))),
        }
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Platform {
    /// A platform that does not listen yet.
    pub fn new(options: Options) -> Self {
        let shared = Shared {
            options,
            journal: Journal::default(),
            state: Mutex::default(),
            connections: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Accepts terminals on `address` (port 0 for any) until [`Simulated::stop`]; answers with the address.
    pub async fn listen(&self, address: SocketAddr) -> Result<SocketAddr> {
        self.listen_with(address, None).await
    }

    /// The same over TLS where `secure` is given: see [`tls::server`](crate::tls::server).
    pub async fn listen_with(
        &self,
        address: SocketAddr,
        secure: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<SocketAddr> {
        let tls = secure.map(tokio_rustls::TlsAcceptor::from);
        let shared = Arc::clone(&self.shared);
        let (address, task) = listen("WebSocket platform", address, move |stream| {
            let _ = stream.set_nodelay(true);
            let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
            match tls.clone() {
                None => session::begin(&shared, number, async { Ok(stream) }),
                Some(tls) => session::begin(&shared, number, async move { tls.accept(stream).await }),
            }
        })
        .await?;
        self.shared.state().tasks.push(task);
        Ok(address)
    }

    /// The first entry of the journal that `wanted` accepts, waiting for it for a minute.
    pub async fn wait_for(&self, wanted: impl FnMut(&Entry) -> bool) -> Result<Arc<Entry>> {
        self.wait_after(0, wanted).await
    }

    /// The first entry from number `from` on that `wanted` accepts, waiting for it for a minute.
    pub async fn wait_after(&self, from: usize, wanted: impl FnMut(&Entry) -> bool) -> Result<Arc<Entry>> {
        self.shared.journal.wait_for(from, PATIENCE, wanted).await
    }

    /// Waits until a terminal is connected, now or soon.
    pub async fn wait_until_connected(&self) -> Result<()> {
        let from = self.shared.journal.len();
        if !self.shared.state().sessions.is_empty() {
            return Ok(());
        }
        self.wait_after(from, |entry| entry.event == "connected").await.map(|_| ())
    }

    /// Sends a command to the terminal with the serial number `to`, or to the one that connected last. The
    /// form is made of `data`, an object, and of the platform's key.
    pub fn send(&self, to: Option<&str>, cmd: &str, data: Value) -> Result<Sent> {
        let mut data = match data {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        let key = &self.shared.options.key;
        if !key.is_empty() && !data.is_empty() && !data.contains_key("key") {
            data.insert("key".into(), json!(key));
        }
        self.send_form(to, cmd, &form::form(&data))
    }

    /// The same with a form as it is.
    pub fn send_form(&self, to: Option<&str>, cmd: &str, form: &str) -> Result<Sent> {
        self.send_as(to, &msgid(), cmd, form)
    }

    /// The same with a `msgid` of the caller's, for a repetition.
    pub fn send_as(&self, to: Option<&str>, msgid: &str, cmd: &str, form: &str) -> Result<Sent> {
        self.send_message(to, json!({ "msgid": msgid, "cmd": cmd, "msg": form }))
    }

    /// Sends a whole message; `sn` is put in where it is missing. `msgid` must be a text.
    pub fn send_message(&self, to: Option<&str>, mut message: Value) -> Result<Sent> {
        let text = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (msgid, cmd) = (text("msgid"), text("cmd"));
        let (reply, answer) = oneshot::channel();
        let mut state = self.shared.state();
        let repeats = state.misbehave.repeat;
        let (&connection, session) = state
            .sessions
            .iter()
            .filter(|(_, session)| to.is_none_or(|serial| serial == session.serial))
            .max_by_key(|(number, _)| **number)
            .ok_or_else(|| Error::new(Kind::NotFound, "no such terminal is connected"))?;
        let serial = session.serial.clone();
        if message.get("sn").is_none() {
            message["sn"] = json!(serial);
        }
        let text = message.to_string();
        let bytes = text.len();
        session
            .orders
            .send(Order::Text(text))
            .map_err(|_| Error::new(Kind::Network, "the terminal has just gone"))?;
        // Noted before the session can see an answer: it needs this lock for that.
        let open =
            state.open.entry(msgid.clone()).or_insert(Open { cmd: String::new(), due: 0, reply: None });
        open.due += if repeats { 2 } else { 1 };
        open.cmd.clone_from(&cmd);
        open.reply = Some(reply);
        drop(state);
        let fields = json!({ "msgid": msgid, "cmd": cmd, "bytes": bytes });
        self.shared.journal.note(connection, &serial, "sent", fields);
        Ok(Sent { msgid, connection, answer })
    }

    /// Sends a text that is no proper message to the terminal that connected last: nobody waits for its answer.
    pub fn send_text(&self, text: &str) -> Result<()> {
        self.shared.state().broken += 1;
        self.order(Order::Text(text.to_owned()))
    }

    /// Sends bytes as they are, below the frames, to the terminal that connected last.
    pub fn send_raw(&self, bytes: Vec<u8>) -> Result<()> {
        self.order(Order::Raw(bytes))
    }

    /// Closes the connection of the terminal that connected last, with a close frame.
    pub fn close(&self) -> Result<()> {
        self.order(Order::Close)
    }

    fn order(&self, order: Order) -> Result<()> {
        let state = self.shared.state();
        let session = state.sessions.iter().max_by_key(|(number, _)| **number);
        let (_, session) = session.ok_or_else(|| Error::new(Kind::NotFound, "no terminal is connected"))?;
        session.orders.send(order).map_err(|_| Error::new(Kind::Network, "the terminal has just gone"))
    }

    /// Sends a command and waits for its answer, `{"status": …, "msg": …}`.
    pub async fn request(&self, cmd: &str, data: Value) -> Result<Value> {
        self.send(None, cmd, data)?.answer().await
    }
}

impl Simulated for Platform {
    type Order = script::Order;
    type Sent = Sent;
    type Misbehave = Misbehave;
    const READY: &'static str = "connected";
    const STEPS: &'static str = "send, text";

    fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    fn read(step: &Map<String, Value>, folder: &Path) -> Result<Option<script::Order>> {
        script::read(step, folder)
    }

    fn carry_out(&self, order: script::Order) -> Result<Option<(String, Sent)>> {
        script::carry_out(self, order)
    }

    async fn answer(sent: Sent) -> Result<Value> {
        sent.answer().await
    }

    async fn ready(&self) -> Result<()> {
        self.wait_until_connected().await
    }

    /// Also on connections that are there.
    fn misbehave(&self, misbehave: Misbehave) {
        self.shared.state().misbehave = misbehave;
    }

    /// At once and without a word.
    fn disconnect(&self) {
        let mut state = self.shared.state();
        let closed: Vec<_> = state.sessions.drain().collect();
        drop(state);
        for (number, session) in closed {
            if let Some(task) = session.task {
                task.abort();
            }
            let reason = json!({ "reason": "closed by the platform" });
            self.shared.journal.note(number, &session.serial, "closed", reason);
        }
    }

    fn stop(&self) {
        for task in self.shared.state().tasks.drain(..) {
            task.abort();
        }
        self.disconnect();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id as platforms make them: a random UUID.
fn msgid() -> String {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        bytes[8..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    }
    // RFC 9562: version 4, variant 10.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
