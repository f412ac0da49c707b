//! One terminal on the simulated platform.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use super::people;
use super::wire::{self, Received, Type};
use super::{Answering, Misbehave, Order, Registered, Session, Shared};

const HEARTBEAT: u8 = 1;
const NOTIFICATION: u8 = 2;
const REQUEST: u8 = 3;
const RESPONSE: u8 = 4;
/// 4.2.2.
const SIGN_MAGIC: &str = "P3K0eikSRSJHliME";
/// Requests that are remembered to tell a repetition.
const SEEN: usize = 500_000;
/// How long frames are collected to be sent together.
const JOIN_FOR: Duration = Duration::from_millis(20);

/// Starts serving.
pub(super) fn begin<S>(shared: &Arc<Shared>, number: u64, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (orders, inbox) = mpsc::unbounded_channel();
    let session = Session {
        serial: String::new(),
        logged_in: false,
        orders: orders.clone(),
        open: Default::default(),
        sent: Default::default(),
        task: None,
    };
    shared.state().sessions.insert(number, session);
    shared.journal.note(number, "", "connected", json!({}));
    let (reader, writer) = tokio::io::split(stream);
    let shared_here = Arc::clone(shared);
    let task = tokio::spawn(async move {
        let mut terminal = Terminal {
            shared: Arc::clone(&shared_here),
            number,
            serial: String::new(),
            logged_in: false,
            orders,
            frames: 0,
            forgot: false,
        };
        let reason = tokio::select! {
            reason = terminal.read(reader) => reason,
            reason = write(&shared_here, writer, inbox) => reason,
        };
        let known = shared_here.state().sessions.remove(&number).is_some();
        if known {
            terminal.note("closed", json!({ "reason": reason }));
        }
    });
    if let Some(session) = shared.state().sessions.get_mut(&number) {
        session.task = Some(task.abort_handle());
    }
}

/// Sends what is ordered, with the misbehaviour of the moment.
async fn write<S: AsyncWrite>(
    shared: &Shared,
    mut writer: WriteHalf<S>,
    mut inbox: mpsc::UnboundedReceiver<Order>,
) -> String {
    while let Some(order) = inbox.recv().await {
        let misbehave = shared.state().misbehave.clone();
        let mut bytes = Vec::new();
        let mut next = Some(order);
        while let Some(order) = next.take() {
            match order {
                Order::Close => return "closed by the platform".into(),
                Order::Raw(raw) => bytes.extend(raw),
                Order::Command { seq, version, body } => {
                    let frame = frame(shared, &misbehave, version, REQUEST, seq, &body);
                    bytes.extend_from_slice(&frame);
                    if misbehave.repeat {
                        bytes.extend_from_slice(&frame);
                    }
                }
            }
            if misbehave.join {
                next = tokio::time::timeout(JOIN_FOR, inbox.recv()).await.ok().flatten();
            }
        }
        // A thousand pieces show what there is to show; a picture would take minutes.
        let pieces = misbehave.split.map_or(bytes.len(), |size| size.max(bytes.len() / 1000)).max(1);
        for piece in bytes.chunks(pieces) {
            if let Err(error) = writer.write_all(piece).await {
                return format!("the line broke: {error}");
            }
            let _ = writer.flush().await;
            if misbehave.split.is_some() {
                // So that the pieces are reads of their own at the other end.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    "closed by the platform".into()
}

/// A frame with the misbehaviour of the moment.
fn frame(shared: &Shared, misbehave: &Misbehave, version: u8, kind: u8, seq: u32, body: &[u8]) -> Vec<u8> {
    let mut size = body.len() as i64;
    if misbehave.count_characters {
        size = String::from_utf8_lossy(body).chars().count() as i64;
    }
    if size > 0 {
        size = (size + misbehave.datasize_off).max(0);
    }
    let now = u32::try_from(shared.clock.now().as_second()).unwrap_or(0);
    let mut frame = wire::frame(version, kind, now, seq, u32::try_from(size).unwrap_or(u32::MAX), body);
    frame.resize(frame.len() + misbehave.padding, 0);
    frame
}

pub(super) struct Terminal {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u64,
    pub(super) serial: String,
    logged_in: bool,
    orders: mpsc::UnboundedSender<Order>,
    frames: u64,
    forgot: bool,
}

impl Terminal {
    pub(super) fn note(&self, event: &'static str, fields: Value) {
        self.shared.journal.note(self.number, &self.serial, event, fields);
    }

    pub(super) fn violation(&self, what: impl Into<String>) {
        self.note("violation", json!({ "what": what.into() }));
    }

    fn misbehave(&self) -> Misbehave {
        self.shared.state().misbehave.clone()
    }

    async fn read<S: AsyncRead>(&mut self, mut reader: ReadHalf<S>) -> String {
        if self.misbehave().never_read {
            std::future::pending::<()>().await;
        }
        loop {
            let received = match wire::receive(&mut reader).await {
                Ok(Some(received)) => received,
                Ok(None) => return "closed by the terminal".into(),
                Err(error) => {
                    if error.kind() == std::io::ErrorKind::InvalidData {
                        self.violation(error.to_string());
                    }
                    return format!("the line broke: {error}");
                }
            };
            self.frames += 1;
            self.on_frame(received);
            let misbehave = self.misbehave();
            if misbehave.close_after.is_some_and(|frames| self.frames >= frames) {
                return "closed by the platform, as it was told to misbehave".into();
            }
            if misbehave.never_read {
                std::future::pending::<()>().await;
            }
        }
    }

    fn on_frame(&mut self, received: Received) {
        if received.datatype != 1 {
            self.violation(format!("datatype is {} instead of 1", received.datatype));
        }
        if received.resv != 0 {
            self.violation(format!("resv is {} instead of 0", received.resv));
        }
        if !(2..=5).contains(&received.version) {
            self.violation(format!("version is {}", received.version));
        }
        let now = self.shared.clock.now().as_second();
        if (now - i64::from(received.timestamp)).abs() > 24 * 3600 {
            self.violation(format!("the header's timestamp is {}, now is {now}", received.timestamp));
        }
        match received.kind {
            HEARTBEAT => self.on_heartbeat(&received),
            REQUEST | NOTIFICATION => self.on_request(&received),
            RESPONSE => self.on_answer(&received),
            kind => self.violation(format!("msgType is {kind}")),
        }
    }

    fn on_heartbeat(&mut self, received: &Received) {
        if received.seq != 0 || !received.body.is_empty() {
            self.violation("a heartbeat has a sequence or a body");
        }
        if !self.logged_in {
            self.violation("a heartbeat before the login");
        }
        self.note("heartbeat", json!({}));
        let misbehave = self.misbehave();
        if !misbehave.no_heartbeats && !misbehave.silent {
            let frame = frame(&self.shared, &misbehave, received.version, HEARTBEAT, 0, b"");
            let _ = self.orders.send(Order::Raw(frame));
        }
    }

    pub(super) fn answer(&self, to: &Received, result: i64, desc: &str, data: Value) {
        let misbehave = self.misbehave();
        if misbehave.silent || to.kind == NOTIFICATION {
            return;
        }
        if let Some(mute) = &misbehave.mute
            && serde_json::from_slice::<Value>(&to.body).is_ok_and(|body| body["message"] == **mute)
        {
            return;
        }
        let body = json!({ "result": result, "desc": desc, "data": data }).to_string();
        let frame = frame(&self.shared, &misbehave, to.version, RESPONSE, to.seq, body.as_bytes());
        let _ = self.orders.send(Order::Raw(frame));
    }

    fn on_request(&mut self, received: &Received) {
        let Ok(body) = serde_json::from_slice::<Value>(&received.body) else {
            return self.violation("the body of a request is not JSON");
        };
        let Some(message) = body.get("message").and_then(Value::as_str) else {
            return self.violation("a request without a message");
        };
        let Some(data) = body.get("data").filter(|data| data.is_object()) else {
            return self.violation(format!("{message}: data is not an object"));
        };
        let least = match message {
            "device_call_param" | "device_call_result" => 5,
            "device_sync_person" | "qrcode_data" => 3,
            _ => 2,
        };
        if received.version < least {
            self.violation(format!("{message}: version {} instead of {least}", received.version));
        }
        if received.seq == 0 {
            self.violation(format!("{message}: the sequence is 0"));
        }
        let resent = match message {
            "register" => {
                self.on_register(received, data);
                return;
            }
            "login" => {
                self.on_login(received, data);
                return;
            }
            _ => self.is_resent(received),
        };
        if !self.logged_in {
            self.violation(format!("{message}: before the login"));
        }
        match message {
            "sync_time" => self.on_sync_time(received, data),
            "snapshot_face" => self.on_snapshot_face(received, data, resent),
            "device_sync_person" => self.on_device_sync_person(received, data, resent),
            "qrcode_data" => self.on_qrcode_data(received, data, resent),
            "device_call_param" | "device_call_result" => self.on_call(received, message, data, resent),
            _ => {
                let known = ["logout"];
                if !known.contains(&message) {
                    self.violation(format!("{message}: the document has no such message of a terminal"));
                }
                self.note(
                    "request",
                    json!({ "message": message, "seq": received.seq, "resent": resent, "data": data }),
                );
                self.answer_as_told(received, message, json!({}));
            }
        }
    }

    /// Whether a request has come before. The same sequence with another body is a violation.
    fn is_resent(&self, received: &Received) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(&received.body);
        let hash = hasher.finish();
        let key = (self.serial.clone(), received.seq);
        let mut state = self.shared.state();
        if state.seen.len() >= SEEN {
            state.seen.clear();
        }
        let before = state.seen.insert(key, hash);
        drop(state);
        match before {
            Some(before) if before == hash => true,
            Some(_) => {
                self.violation(format!("sequence {} belongs to two requests", received.seq));
                false
            }
            None => false,
        }
    }

    fn check(&self, message: &str, data: &Value, table: &[(&str, Type, bool)]) -> bool {
        let mut good = true;
        for &(name, kind, required) in table {
            if let Err(what) = wire::field(data, name, kind, required) {
                self.violation(format!("{message}: {what}"));
                good = false;
            }
        }
        good
    }

    /// Checks `sign` and the age of `timestamp`.
    fn is_signed(&self, message: &str, data: &Value, parts: &[&str]) -> bool {
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        let timestamp = text("timestamp");
        let now = self.shared.clock.now().as_second();
        if timestamp.parse::<i64>().is_ok_and(|stamp| (now - stamp).abs() > 24 * 3600) {
            self.violation(format!("{message}: timestamp is {timestamp}, now is {now}"));
        }
        let mut context = md5::Context::new();
        for part in parts.iter().chain(&[timestamp, SIGN_MAGIC]) {
            context.consume(part);
        }
        let wanted: String = context.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let good = text("sign") == wanted;
        if !good {
            self.violation(format!("{message}: sign does not verify"));
        }
        good
    }

    fn on_register(&mut self, received: &Received, data: &Value) {
        let table = [
            ("serial", Type::Text(32), true),
            ("mac", Type::Text(12), true),
            ("timestamp", Type::Digits(16), true),
            ("sign", Type::Text(32), true),
            ("type", Type::Text(32), true),
        ];
        let good = self.check("register", data, &table);
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        let (serial, mac) = (text("serial"), text("mac"));
        if mac.len() != 12 || !mac.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) {
            self.violation("register: mac is not 12 upper-case hexadecimal digits");
        }
        self.serial = serial.to_owned();
        self.note("register", json!({ "mac": mac, "type": text("type"), "seq": received.seq }));
        if !good || !self.is_signed("register", data, &[serial, mac]) {
            return self.answer(received, 104, "the register message is not valid", json!({}));
        }
        if let Some(told) = self.told("register") {
            return self.answer(received, told.result, "as told", told.data);
        }
        let uuid = format!("{:x}", md5::compute(format!("uuid of {serial}")));
        let passwd = format!("{:08x}", getrandom::u32().unwrap_or(0x1234_5678));
        let registered = Registered { serial: serial.to_owned(), passwd: passwd.clone() };
        self.shared.state().accounts.insert(uuid.clone(), registered);
        self.answer(received, 0, "Success", json!({ "uuid": uuid, "passwd": passwd }));
    }

    fn on_login(&mut self, received: &Received, data: &Value) {
        let table = [
            ("uuid", Type::Text(32), true),
            ("version", Type::Text(64), true),
            ("timestamp", Type::Digits(16), true),
            ("sign", Type::Text(32), true),
        ];
        let good = self.check("login", data, &table);
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        let uuid = text("uuid");
        let mut account = self.shared.state().accounts.get(uuid).cloned();
        if self.misbehave().forget && !self.forgot {
            self.forgot = true;
            account = None;
        }
        self.note("login", json!({ "uuid": uuid, "version": text("version"), "seq": received.seq }));
        let Some(account) = account else {
            return self.answer(received, 100, "Unregistered", json!({}));
        };
        self.serial = account.serial.clone();
        if !good || !self.is_signed("login", data, &[uuid, &account.passwd]) {
            return self.answer(received, 104, "the login message is not valid", json!({}));
        }
        if let Some(told) = self.told("login") {
            return self.answer(received, told.result, "as told", told.data);
        }
        self.answer(received, 0, "Success", json!({}));
        if self.misbehave().silent {
            return;
        }
        self.logged_in = true;
        if let Some(session) = self.shared.state().sessions.get_mut(&self.number) {
            session.serial = self.serial.clone();
            session.logged_in = true;
        }
        self.note("logged_in", json!({}));
    }

    /// The answer that was ordered for a message, if any is left.
    pub(super) fn told(&self, message: &str) -> Option<Answering> {
        let mut state = self.shared.state();
        let answering = state.answers.get_mut(message)?;
        let told = answering.clone();
        if let Some(times) = &mut answering.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                state.answers.remove(message);
            }
        }
        Some(told)
    }

    pub(super) fn answer_as_told(&self, received: &Received, message: &str, otherwise: Value) {
        match self.told(message) {
            Some(told) => {
                let desc = if told.result == 0 { "Success" } else { "as told" };
                self.answer(received, told.result, desc, told.data);
            }
            None => self.answer(received, 0, "Success", otherwise),
        }
    }

    fn on_sync_time(&self, received: &Received, data: &Value) {
        self.check("sync_time", data, &[("timestamp", Type::Digits(17), true)]);
        self.note("sync_time", json!({ "timestamp": data.get("timestamp"), "seq": received.seq }));
        // Beijing time, as such platforms have.
        let now = jiff::tz::Offset::constant(8).to_datetime(self.shared.clock.now());
        let stamp = format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}{:03}",
            now.year(),
            now.month(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second(),
            now.millisecond()
        );
        self.answer_as_told(received, "sync_time", json!({ "timestamp": stamp }));
    }

    fn on_snapshot_face(&self, received: &Received, data: &Value, resent: bool) {
        let table = [
            ("personId", Type::Text(32), true),
            ("faceId", Type::Text(32), true),
            ("fullName", Type::Text(24), true),
            ("fullname", Type::Text(24), true),
            ("type", Type::Int(1, 4), true),
            ("idNum", Type::Text(20), true),
            ("gender", Type::Text(32), false),
            ("ethnic", Type::Text(32), false),
            ("birthday", Type::Text(32), false),
            ("address", Type::Text(256), false),
            ("expiredate", Type::Text(32), false),
            // The table says 8; its own sample has nine digits.
            ("icNum", Type::Text(16), true),
            ("comparePic", Type::Jpeg, true),
            ("snapPic", Type::Jpeg, true),
            ("score", Type::Int(0, 100), true),
            ("result", Type::Int(0, 3), true),
            ("snaptime", Type::Civil, true),
            // The table wants it of every gate; most have no sensor.
            ("bodyTemp", Type::Float, false),
        ];
        self.check("snapshot_face", data, &table);
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("personId").is_empty() && text("fullName").is_empty() {
            self.violation("snapshot_face: neither personId nor fullName is given");
        }
        if received.version < 2 {
            self.violation("snapshot_face: version below 2");
        }
        let document = ["gender", "ethnic", "birthday", "address", "expiredate"];
        let there = document.iter().filter(|name| data.get(**name).is_some()).count();
        if there != 0 && there != document.len() {
            self.violation("snapshot_face: only a part of the fields of a document is there");
        }
        let picture = wire::jpeg(text("snapPic")).unwrap_or_default();
        let compared = wire::jpeg(text("comparePic")).unwrap_or_default();
        let md5 = |picture: &[u8]| match picture {
            [] => String::new(),
            picture => format!("{:x}", md5::compute(picture)),
        };
        self.note(
            "snapshot_face",
            json!({
                "seq": received.seq,
                "resent": resent,
                "personId": text("personId"),
                "faceId": text("faceId"),
                "fullName": text("fullName"),
                "type": data.get("type"),
                "score": data.get("score"),
                "result": data.get("result"),
                "snaptime": text("snaptime"),
                "snapPic_bytes": picture.len(),
                "snapPic_md5": md5(&picture),
                "idNum": data.get("idNum"),
                "icNum": data.get("icNum"),
                "gender": data.get("gender"),
                "ethnic": data.get("ethnic"),
                "birthday": data.get("birthday"),
                "address": data.get("address"),
                "expiredate": data.get("expiredate"),
                "bodyTemp": data.get("bodyTemp"),
                "comparePic_bytes": compared.len(),
                "comparePic_md5": md5(&compared),
            }),
        );
        self.answer_as_told(received, "snapshot_face", json!({ "snaptime": text("snaptime") }));
    }

    /// A person of the terminal's (4.3.7). The answer has the ids as they are, or those that were ordered.
    fn on_device_sync_person(&self, received: &Received, data: &Value, resent: bool) {
        for what in people::check(data) {
            self.violation(format!("device_sync_person: {what}"));
        }
        let mut fields = people::without_pictures(data);
        fields["seq"] = json!(received.seq);
        fields["resent"] = json!(resent);
        self.note("device_sync_person", fields);
        match self.told("device_sync_person") {
            Some(told) if told.result != 0 => self.answer(received, told.result, "as told", told.data),
            told => {
                let told = told.map_or(Value::Null, |told| told.data);
                self.answer(received, 0, "Success", people::answer(data, &told));
            }
        }
    }

    /// A QR code (4.6.3). The door stays shut unless something else was ordered.
    fn on_qrcode_data(&self, received: &Received, data: &Value, resent: bool) {
        self.check("qrcode_data", data, &[("content", Type::Text(usize::MAX), true)]);
        let content = data.get("content").and_then(Value::as_str).unwrap_or_default();
        if content.is_empty() {
            self.violation("qrcode_data: content is empty");
        }
        self.note("qrcode_data", json!({ "seq": received.seq, "resent": resent, "content": content }));
        self.answer_as_told(received, "qrcode_data", json!({ "opendoor": 0 }));
    }

    fn on_answer(&mut self, received: &Received) {
        let mut state = self.shared.state();
        let Some(session) = state.sessions.get_mut(&self.number) else { return };
        let sent = session.sent.get_mut(&received.seq);
        let expected = match sent {
            None | Some(0) => false,
            Some(count) => {
                *count -= 1;
                true
            }
        };
        let open = session.open.remove(&received.seq);
        let repeats = state.misbehave.repeat;
        drop(state);
        if !expected && !repeats {
            self.violation(format!("an answer with sequence {} that nobody waits for", received.seq));
        }
        let Ok(body) = serde_json::from_slice::<Value>(&received.body) else {
            return self.violation("the body of an answer is not JSON");
        };
        for (name, good) in [
            ("result", body.get("result").is_some_and(Value::is_i64)),
            ("desc", body.get("desc").is_some_and(Value::is_string)),
            ("data", body.get("data").is_some_and(|data| data.is_object() || data.is_array())),
        ] {
            if !good {
                self.violation(format!("an answer without a proper {name}"));
            }
        }
        let message = open.as_ref().map_or("", |open| open.message.as_str());
        if body.get("result") == Some(&json!(0)) {
            for what in people::check_answer(message, body.get("data").unwrap_or(&Value::Null)) {
                self.violation(format!("the answer to {message}: {what}"));
            }
        }
        if let Some(open) = &open {
            if open.version != received.version {
                self.violation(format!(
                    "{message} of version {} is answered in version {}",
                    open.version, received.version
                ));
            }
            let wants = matches!(message, "get_configs" | "config_system");
            if wants
                && body.get("result") == Some(&json!(0))
                && !body.get("RspMsg").is_some_and(Value::is_string)
            {
                self.violation(format!("{message} is answered without RspMsg"));
            }
        }
        self.note(
            "answer",
            json!({
                "message": message,
                "seq": received.seq,
                "result": body.get("result"),
                "desc": body.get("desc"),
                "RspMsg": body.get("RspMsg"),
                "first": open.is_some(),
            }),
        );
        if let Some(reply) = open.and_then(|open| open.reply) {
            let _ = reply.send(body);
        }
    }
}
