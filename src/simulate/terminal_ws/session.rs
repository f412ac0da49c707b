//! One connection of a terminal to the simulated platform.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::wire::{self, Frame};
use super::{Misbehave, Options, Order, Session, Shared};

/// Longest message taken from a terminal.
const LONGEST: usize = 1 << 20;

/// Starts serving what `stream` becomes.
pub(super) fn begin<S, F>(shared: &Arc<Shared>, number: u64, stream: F)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let shared = Arc::clone(shared);
    // A handshake that never comes to its end ends with the platform.
    let weak = Arc::downgrade(&shared);
    let task = tokio::spawn(async move {
        match stream.await {
            Ok(stream) => serve(shared, number, stream).await,
            Err(error) => {
                let reason = json!({ "reason": format!("no TLS: {error}") });
                shared.journal.note(number, "", "closed", reason);
            }
        }
    });
    if let Some(shared) = weak.upgrade() {
        let mut state = shared.state();
        state.tasks.retain(|task| !task.is_finished());
        state.tasks.push(task);
    }
}

async fn serve<S>(shared: Arc<Shared>, number: u64, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if shared.state().misbehave.silent {
        std::future::pending::<()>().await;
    }
    let verdict = Arc::new(Mutex::new(Verdict::default()));
    let decide = Decide { shared: Arc::clone(&shared), verdict: Arc::clone(&verdict) };
    let shaken = tokio_tungstenite::accept_hdr_async(stream, decide).await;
    let verdict = std::mem::take(&mut *verdict.lock().unwrap_or_else(PoisonError::into_inner));
    let Verdict { serial, path, status, violations } = verdict;
    for what in violations {
        shared.journal.note(number, &serial, "violation", json!({ "what": what }));
    }
    let stream = match shaken {
        Ok(socket) => socket.into_inner(),
        Err(_) if status != 0 => {
            return shared.journal.note(
                number,
                &serial,
                "refused",
                json!({ "status": status, "path": path }),
            );
        }
        Err(error) => {
            let reason = format!("no handshake: {error}");
            return shared.journal.note(number, &serial, "closed", json!({ "reason": reason }));
        }
    };
    let (orders, inbox) = mpsc::unbounded_channel();
    let (own, ended) = (orders.clone(), tokio::sync::oneshot::channel::<()>());
    let (begin, ready) = ended;
    let terminal = Terminal {
        shared: Arc::clone(&shared),
        number,
        serial: serial.clone(),
        orders: own,
        message: None,
        frames: 0,
        pinged: None,
        closing: false,
    };
    // The connection is a task of its own, so that it can be cut off.
    let task = tokio::spawn(async move {
        if ready.await.is_err() {
            return;
        }
        terminal.run(stream, inbox).await;
    });
    let session = Session { serial: serial.clone(), orders, task: Some(task.abort_handle()) };
    shared.state().sessions.insert(number, session);
    shared.journal.note(number, &serial, "connected", json!({ "path": path }));
    let _ = begin.send(());
}

/// What became of a handshake.
#[derive(Default)]
struct Verdict {
    serial: String,
    path: String,
    /// 0 if it is let in.
    status: u16,
    violations: Vec<String>,
}

struct Decide {
    shared: Arc<Shared>,
    verdict: Arc<Mutex<Verdict>>,
}

impl tokio_tungstenite::tungstenite::handshake::server::Callback for Decide {
    #[allow(clippy::result_large_err, reason = "the type is tungstenite's")]
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        let mut verdict = judge(&self.shared.options, request);
        let misbehave = self.shared.state().misbehave.clone();
        verdict.status = misbehave.refuse.unwrap_or(verdict.status);
        let status = verdict.status;
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        if status == 0 {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
        Err(refusal)
    }
}

/// Whether a terminal is let in, and how its request deviates from the document.
fn judge(options: &Options, request: &Request) -> Verdict {
    let path = request.uri().path().to_owned();
    let mut verdict = Verdict { path: path.clone(), ..Verdict::default() };
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header("host").is_none_or(str::is_empty) {
        verdict.violations.push("the request has no Host".into());
    }
    if request.uri().query().is_some() {
        verdict.violations.push("the URL has a query".into());
    }
    let Some(serial) = path.strip_prefix(options.path.as_str()) else {
        verdict.violations.push(format!("the path is {path}, not {}SN", options.path));
        verdict.status = 404;
        return verdict;
    };
    verdict.serial = serial.to_owned();
    if serial.is_empty() || !serial.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        verdict.violations.push(format!("the path ends in {serial:?}, which is no serial number"));
    }
    let credentials =
        header("authorization").and_then(|value| value.strip_prefix("Basic ")).and_then(|text| {
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
        });
    let Some(credentials) = credentials else {
        verdict.violations.push("the request has no Basic authorization".into());
        verdict.status = 401;
        return verdict;
    };
    if credentials != format!("{}:{}", options.username, options.password) {
        verdict.status = 401;
    } else if !options.serials.is_empty() && !options.serials.iter().any(|known| known == serial) {
        verdict.status = 404;
    }
    verdict
}

struct Terminal {
    shared: Arc<Shared>,
    number: u64,
    serial: String,
    orders: mpsc::UnboundedSender<Order>,
    /// A message of which fragments are missing.
    message: Option<Vec<u8>>,
    frames: u64,
    pinged: Option<Instant>,
    closing: bool,
}

impl Terminal {
    async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        stream: S,
        inbox: mpsc::UnboundedReceiver<Order>,
    ) {
        let (reader, writer) = tokio::io::split(stream);
        let shared = Arc::clone(&self.shared);
        let reason = tokio::select! {
            reason = self.read(reader) => reason,
            reason = write(&shared, writer, inbox) => reason,
        };
        if shared.state().sessions.remove(&self.number).is_some() {
            self.note("closed", json!({ "reason": reason }));
        }
    }

    fn note(&self, event: &'static str, fields: Value) {
        self.shared.journal.note(self.number, &self.serial, event, fields);
    }

    fn violation(&self, what: impl Into<String>) {
        self.note("violation", json!({ "what": what.into() }));
    }

    fn misbehave(&self) -> Misbehave {
        self.shared.state().misbehave.clone()
    }

    async fn read<S: AsyncRead>(&mut self, mut reader: ReadHalf<S>) -> String {
        loop {
            let misbehave = self.misbehave();
            if misbehave.drop_after.is_some_and(|frames| self.frames >= frames) {
                return "closed by the platform, as it was told to misbehave".into();
            }
            if misbehave.never_read {
                std::future::pending::<()>().await;
            }
            let frame = match wire::receive(&mut reader).await {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    return if self.closing { "closed".into() } else { "closed by the terminal".into() };
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        self.violation(error.to_string());
                    }
                    return format!("the line broke: {error}");
                }
            };
            self.frames += 1;
            if let Some(reason) = self.on_frame(frame) {
                return reason;
            }
        }
    }

    /// Takes a frame; says why where it ends the connection.
    fn on_frame(&mut self, frame: Frame) -> Option<String> {
        if !frame.masked {
            self.violation("a frame is not masked (RFC 6455, 5.1)");
        }
        if frame.reserved != 0 {
            self.violation("a frame has reserved bits set");
        }
        match frame.opcode {
            wire::TEXT | wire::CONTINUATION => {
                let begins = frame.opcode == wire::TEXT;
                if begins == self.message.is_some() {
                    self.violation("the fragments of two messages are mixed");
                }
                let mut message = self.message.take().unwrap_or_default();
                message.extend_from_slice(&frame.payload);
                if message.len() > LONGEST {
                    return Some("the terminal sent a message that is too long".into());
                }
                if frame.fin { self.on_text(&message) } else { self.message = Some(message) }
            }
            wire::PING => self.on_ping(&frame.payload),
            wire::PONG => {}
            wire::CLOSE => {
                let code = frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                self.closing = true;
                let reason = format!("closed by the terminal ({})", code.unwrap_or(1005));
                return Some(reason);
            }
            wire::BINARY => self.violation("a binary message; the document has texts only"),
            opcode => self.violation(format!("a frame of kind {opcode}")),
        }
        None
    }

    fn on_ping(&mut self, payload: &[u8]) {
        if !payload.is_empty() {
            self.violation(format!("a ping of {} bytes, not an empty one", payload.len()));
        }
        let now = Instant::now();
        let expected = self.shared.options.heartbeat;
        if let Some(last) = self.pinged.replace(now) {
            let since = now.duration_since(last);
            // A busy machine delays one and not the next.
            if since < expected / 2 || since > expected * 2 + Duration::from_secs(5) {
                self.violation(format!("a ping after {since:?}, not {expected:?}"));
            }
        }
        self.note("ping", json!({}));
        let misbehave = self.misbehave();
        if !misbehave.no_pong && !misbehave.silent {
            let _ = self.orders.send(Order::Raw(wire::frame(true, wire::PONG, payload)));
        }
    }

    fn on_text(&mut self, text: &[u8]) {
        let Ok(text) = std::str::from_utf8(text) else {
            return self.violation("a text that is not UTF-8");
        };
        let Ok(answer) = serde_json::from_str::<Value>(text) else {
            return self.violation("an answer that is not JSON");
        };
        let keys: Option<Vec<&str>> =
            answer.as_object().map(|answer| answer.keys().map(String::as_str).collect());
        let mut keys = keys.unwrap_or_default();
        keys.sort_unstable();
        if keys != ["cmd", "msg", "msgid", "sn"] {
            self.violation(format!("an answer with {keys:?} instead of msgid, sn, cmd, msg"));
        }
        if answer.get("cmd") != Some(&json!("")) {
            self.violation("the cmd of an answer is not empty");
        }
        if answer.get("sn") != Some(&json!(self.serial)) {
            self.violation("the sn of an answer is not that of the URL");
        }
        let msg: Option<Value> =
            answer.get("msg").and_then(Value::as_str).and_then(|msg| serde_json::from_str(msg).ok());
        let Some(msg) = msg.filter(|msg| {
            msg.get("status").is_some_and(Value::is_i64) && msg.get("msg").is_some_and(Value::is_string)
        }) else {
            return self
                .violation("the msg of an answer is no text that holds {\"status\": 0, \"msg\": \"ok\"}");
        };
        let msgid = answer.get("msgid").cloned().unwrap_or_default();
        self.on_answer(&msgid, msg);
    }

    fn on_answer(&self, msgid: &Value, msg: Value) {
        let mut state = self.shared.state();
        let mut cmd = String::new();
        let mut reply = None;
        let expected = match msgid.as_str() {
            Some(msgid) => match state.open.get_mut(msgid) {
                Some(open) => {
                    open.due -= 1;
                    cmd.clone_from(&open.cmd);
                    reply = open.reply.take();
                    if open.due == 0 {
                        state.open.remove(msgid);
                    }
                    true
                }
                None => false,
            },
            None => {
                let broken = state.broken > 0;
                state.broken = state.broken.saturating_sub(1);
                broken
            }
        };
        drop(state);
        if !expected {
            self.violation(format!("an answer to {msgid} that nobody waits for"));
        }
        self.note(
            "answer",
            json!({ "msgid": msgid, "cmd": cmd, "status": msg["status"], "msg": msg["msg"], "first": reply.is_some() }),
        );
        if let Some(reply) = reply {
            let _ = reply.send(msg);
        }
    }
}

/// Sends what is ordered, with the misbehaviour of the moment.
async fn write<S: AsyncWrite>(
    shared: &Shared,
    mut writer: WriteHalf<S>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
) -> String {
    while let Some(order) = inbox.recv().await {
        let bytes = match order {
            Order::Raw(bytes) => bytes,
            // 1000: normal.
            Order::Close => wire::frame(true, wire::CLOSE, &[3, 0xe8]),
            Order::Text(text) => {
                let misbehave = shared.state().misbehave.clone();
                let mut bytes = mischief(shared, &misbehave);
                let message = message(&misbehave, text.as_bytes());
                bytes.extend_from_slice(&message);
                if misbehave.repeat {
                    bytes.extend_from_slice(&message);
                }
                bytes
            }
        };
        if let Err(error) = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        }
        .await
        {
            return format!("the line broke: {error}");
        }
    }
    "closed by the platform".into()
}

/// What is sent before a message that should not be.
fn mischief(shared: &Shared, misbehave: &Misbehave) -> Vec<u8> {
    let mut bytes = Vec::new();
    if misbehave.garbage {
        shared.state().broken += 1;
        bytes.extend(wire::frame(true, wire::TEXT, b"{\"msgid\": \"4f4d2a99"));
    }
    if misbehave.bad_text {
        bytes.extend(wire::frame(true, wire::TEXT, b"\xff\xfe\xfd"));
    }
    if let Some(mib) = misbehave.huge_mib {
        bytes.extend(wire::frame(true, wire::TEXT, &vec![b' '; mib << 20]));
    }
    bytes
}

fn message(misbehave: &Misbehave, text: &[u8]) -> Vec<u8> {
    let opcode = if misbehave.binary { wire::BINARY } else { wire::TEXT };
    let Some(size) = misbehave.fragment else { return wire::frame(true, opcode, text) };
    let pieces = text.chunks(size);
    let last = pieces.len().saturating_sub(1);
    let mut bytes = Vec::new();
    for (index, piece) in pieces.enumerate() {
        let opcode = if index == 0 { opcode } else { wire::CONTINUATION };
        bytes.extend(wire::frame(index == last, opcode, piece));
        // Control frames may stand between fragments (RFC 6455, 5.4).
        if index == 0 && last > 0 {
            bytes.extend(wire::frame(true, wire::PING, b"between"));
        }
    }
    bytes
}
