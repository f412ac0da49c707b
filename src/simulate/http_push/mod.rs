//! A server that HTTP push is sent to, simulated: verifies each request as `docs/http-push.md` lays it down, notes
//! every deviation as a `violation` in its [`Journal`], tells records that come again, and answers as it is told.
//! It computes signatures by RFC 2104 itself: what it shared with the gate could not show a mistake of the gate.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinSet};

use super::qyzn::Journal;
use crate::clock::{SharedClock, SystemClock};
use crate::error::Result;
use crate::simulate::listen::listen;

/// Longest body that is taken.
const BODY_BYTES: usize = 64 << 20;
/// How far the gate's clock may be off.
const CLOCK_OFF: i64 = 300;
/// Nonces that are remembered.
const NONCES: usize = 100_000;
/// How long a client may take to send the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// What a field must be.
type Is = fn(&Value) -> bool;

/// What each field of a record must be.
const RECORD: [(&str, Is); 19] = [
    ("recordId", is_text),
    ("recordNumber", Value::is_i64),
    ("serial", is_text),
    ("opened", Value::is_boolean),
    ("reason", is_text),
    ("credential", Value::is_array),
    ("persons", are_ids),
    ("personId", Value::is_string),
    ("faceId", Value::is_string),
    ("fullName", Value::is_string),
    ("fullname", Value::is_string),
    ("type", Value::is_u64),
    ("idNum", Value::is_string),
    ("icNum", Value::is_string),
    ("comparePic", is_base64),
    ("snapPic", is_base64),
    ("score", Value::is_u64),
    ("result", Value::is_u64),
    ("snaptime", is_time),
];
/// What each field of a heartbeat must be.
const HEARTBEAT: [(&str, Is); 5] = [
    ("serial", is_text),
    ("model", Value::is_string),
    ("version", is_text),
    ("time", is_time),
    ("waiting", Value::is_u64),
];

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

fn is_base64(value: &Value) -> bool {
    value.as_str().is_some_and(|text| base64::engine::general_purpose::STANDARD.decode(text).is_ok())
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text).is_ok())
}

fn are_ids(value: &Value) -> bool {
    value.as_object().is_some_and(|ids| ids.values().all(is_text))
}

/// A simulated server. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct Receiver {
    shared: Arc<Shared>,
}

struct Shared {
    clock: SharedClock,
    journal: Journal,
    /// `appSecret`; without one signatures are not looked at.
    secret: Option<String>,
    state: Mutex<State>,
}

struct State {
    /// What is answered, and how often; for ever if `None`.
    answers: VecDeque<(StatusCode, Option<u32>)>,
    /// What records of a name are answered.
    of_names: HashMap<String, StatusCode>,
    nonces: HashSet<String>,
    records: HashSet<String>,
    connections: u64,
    listening: Vec<AbortHandle>,
}

impl Receiver {
    /// A server that checks signatures with `secret` and answers 200.
    pub fn new(secret: Option<String>) -> Self {
        let state = State {
            answers: VecDeque::new(),
            of_names: HashMap::new(),
            nonces: HashSet::new(),
            records: HashSet::new(),
            connections: 0,
            listening: Vec::new(),
        };
        let shared = Shared {
            clock: Arc::new(SystemClock),
            journal: Journal::default(),
            secret,
            state: Mutex::new(state),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes connections on `address` (port 0 for any), with TLS (see [`crate::tls::server`]) where `secure` is
    /// there, until [`Receiver::stop`]. Answers with the address.
    pub async fn listen(
        &self,
        address: SocketAddr,
        secure: Option<Arc<rustls::ServerConfig>>,
    ) -> Result<SocketAddr> {
        let receiver = self.clone();
        // Connections end with the listener.
        let mut connections = JoinSet::new();
        let (address, task) = listen("HTTP push server", address, move |stream| {
            while connections.try_join_next().is_some() {}
            let (receiver, secure) = (receiver.clone(), secure.clone());
            connections.spawn(async move {
                let Some(secure) = secure else { return receiver.serve(stream).await };
                match tokio_rustls::TlsAcceptor::from(secure).accept(stream).await {
                    Ok(stream) => receiver.serve(stream).await,
                    Err(error) => {
                        let reason = json!({ "reason": error.to_string() });
                        receiver.shared.journal.note(0, "", "tls_failed", reason);
                    }
                }
            });
        })
        .await?;
        self.shared.state().listening.push(task.abort_handle());
        Ok(address)
    }

    /// Stops listening and closes all connections, at once.
    pub fn stop(&self) {
        for task in self.shared.state().listening.drain(..) {
            task.abort();
        }
    }

    /// What happened so far: `record`, `heartbeat`, `violation`, `tls_failed`.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// Answers `status` from now on: `times` times and then what was said before, or always.
    pub fn answer_with(&self, status: StatusCode, times: Option<u32>) {
        let answers = &mut self.shared.state().answers;
        if times.is_none() {
            answers.clear();
        }
        answers.push_front((status, times));
    }

    /// Answers records of people called `name` with `status`; 200 ends it.
    pub fn answer_name(&self, name: &str, status: StatusCode) {
        self.shared.state().of_names.insert(name.to_owned(), status);
    }

    /// How often a gate deviated from what is laid down.
    pub fn violations(&self) -> Vec<String> {
        let entries = self.journal().from(0);
        let violations = entries.iter().filter(|entry| entry.event == "violation");
        violations.map(|entry| entry.text("what").to_owned()).collect()
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let number = {
            let mut state = self.shared.state();
            state.connections += 1;
            state.connections
        };
        let service = service_fn(|request| {
            let receiver = self.clone();
            async move { Ok::<_, std::convert::Infallible>(receiver.on_request(number, request).await) }
        });
        // What breaks off is the gate's to report.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn on_request(&self, connection: u64, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                self.violation(connection, "", format!("a body that cannot be read: {error}"));
                return answer(StatusCode::BAD_REQUEST, "the body cannot be read");
            }
        };
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        if let Err(what) = self.check_head(&head.method, path, &head.headers, &body) {
            self.violation(connection, "", &what);
            return answer(StatusCode::UNAUTHORIZED, &what);
        }
        let body: Value = match serde_json::from_slice(&body) {
            Ok(body) => body,
            Err(error) => {
                self.violation(connection, "", format!("a body that is no JSON: {error}"));
                return answer(StatusCode::BAD_REQUEST, "the body is no JSON");
            }
        };
        let data = &body["data"];
        match body["message"].as_str() {
            Some("snapshot_face") => self.on_record(connection, data),
            Some("heartbeat") => {
                self.check(connection, "heartbeat", data, &HEARTBEAT);
                self.shared.journal.note(connection, text(data, "serial"), "heartbeat", data.clone());
            }
            other => self.violation(connection, "", format!("message is {other:?}")),
        }
        let status = self.shared.state().status(text(data, "fullName"));
        answer(status, if status.is_success() { "ok" } else { "as it was told" })
    }

    /// Method, headers and signature; what is wrong with them.
    fn check_head(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> std::result::Result<(), String> {
        if method != Method::POST {
            return Err(format!("{method} instead of POST"));
        }
        let header = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let needed = |name: &str| header(name).ok_or_else(|| format!("no header {name}"));
        let kind = needed("content-type")?;
        if kind != "application/json; charset=utf-8" {
            return Err(format!("content-type is {kind}"));
        }
        let (app_id, auth_sn) = (needed("appid")?, needed("AuthSn")?);
        let (timestamp, nonce) = (needed("timestamp")?, needed("nonce")?);
        let seconds: i64 = timestamp.parse().map_err(|_| format!("timestamp is {timestamp}"))?;
        let off = seconds - self.shared.clock.now().as_second();
        if off.abs() > CLOCK_OFF {
            return Err(format!("timestamp is {off} s from now"));
        }
        if nonce.len() != 32 || !nonce.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!("nonce is {nonce}"));
        }
        if let Some(secret) = &self.shared.secret {
            let signature = needed("signature")?;
            let hash = hex(&Sha256::digest(body));
            let signed = format!("POST\n{path}\n{app_id}\n{auth_sn}\n{timestamp}\n{nonce}\n{hash}");
            if signature != hex(&hmac_sha256(secret.as_bytes(), signed.as_bytes())) {
                return Err("the signature is wrong".into());
            }
        }
        let nonces = &mut self.shared.state().nonces;
        if nonces.len() >= NONCES {
            nonces.clear();
        }
        match nonces.insert(nonce.into_owned()) {
            true => Ok(()),
            false => Err("the nonce has come before".into()),
        }
    }

    fn on_record(&self, connection: u64, data: &Value) {
        self.check(connection, "snapshot_face", data, &RECORD);
        let id = text(data, "recordId").to_owned();
        if !id.starts_with(&format!("{}-", text(data, "serial"))) {
            self.violation(connection, &id, format!("recordId {id} does not begin with the serial number"));
        }
        let again = !self.shared.state().records.insert(id);
        let mut note = data.clone();
        if let Some(fields) = note.as_object_mut() {
            for picture in ["snapPic", "comparePic"] {
                let bytes = fields
                    .remove(picture)
                    .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text.as_str()?).ok())
                    .unwrap_or_default();
                fields.insert(format!("{picture}_bytes"), bytes.len().into());
                if !bytes.is_empty() {
                    fields.insert(format!("{picture}_md5"), format!("{:x}", md5::compute(&bytes)).into());
                }
            }
            // The identity number has no business in a journal.
            if let Some(number) = fields.remove("idNum") {
                fields.insert("idNum_given".into(), is_text(&number).into());
            }
            fields.insert("resent".into(), again.into());
        }
        self.shared.journal.note(connection, text(data, "serial"), "record", note);
    }

    fn check(&self, connection: u64, message: &str, data: &Value, table: &[(&str, Is)]) {
        for (key, is_right) in table {
            if !data.get(key).is_some_and(is_right) {
                let what = format!("{message}: {key} is missing or of a wrong kind");
                self.violation(connection, text(data, "serial"), what);
            }
        }
    }

    fn violation(&self, connection: u64, serial: &str, what: impl Into<String>) {
        self.shared.journal.note(connection, serial, "violation", json!({ "what": what.into() }));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the next request, about `name` where it is a record, is answered.
    fn status(&mut self, name: &str) -> StatusCode {
        if let Some(status) = self.of_names.get(name) {
            return *status;
        }
        match self.answers.front_mut() {
            None => StatusCode::OK,
            Some((status, None)) => *status,
            Some((status, Some(times))) => {
                let status = *status;
                *times = times.saturating_sub(1);
                if *times == 0 {
                    self.answers.pop_front();
                }
                status
            }
        }
    }
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn answer(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(words.to_owned())));
    *response.status_mut() = status;
    response
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104 with SHA-256.
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_of_rfc_4231() {
        // Test cases 2 and 6.
        let short = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }
}
