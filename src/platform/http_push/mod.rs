//! HTTP push (QYZN group `HttpPush`, 4.5.10.16): records and heartbeats, posted as JSON to a server of the site and,
//! where that cannot be reached, to its standby. From the same outbox as the platform's reports, with a place of
//! its own in it.
//!
//! [`sign`] makes the headers, [`message`] the bodies, [`queue`] keeps the order of the records. What is sent and
//! how it is signed is laid down in `docs/http-push.md`: the document names the settings and no more.
//!
//! While push is off nothing runs here but the wait for a change of the settings.

pub mod message;
pub mod queue;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use jiff::tz::Offset;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::config;
use crate::error::{Context, Error, Kind, Result};
use crate::event::Event;
use crate::gate::Gate;
use crate::gate::settings::PushSettings;
use crate::http::{Ask, Client, Stage, Url, Within, split_scheme};
use crate::platform::back_off::spread;
use crate::platform::qyzn::time::format_civil;
use crate::store::{Destination, OutboxId, PictureKind, Store};
use crate::text::Language;
use crate::tls::Trust;
use message::Heartbeat;
use queue::{Failed, Outgoing, Queue, Refused};

/// Where the store keeps what tells its records from those of another store.
const STORE_NAME: &str = "http_push.store";
/// Answers are read so far, for the technician to see what the server says.
const ANSWER_BYTES: usize = 4096;
/// Characters of an answer that are told.
const WORDS: usize = 200;
/// Records whose marks may be on their way to the disk at once.
const UNMARKED: usize = 64;
/// `timeout` 0.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that asks for patience gets so much at most.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Times that no setting has.
#[derive(Debug, Clone)]
pub struct Options {
    /// The first and the longest pause after neither server took a request.
    pub back_off: (Duration, Duration),
    /// After this long with the standby the first server is tried again.
    pub back_to_first: Duration,
    /// After this long records that were set aside are tried again.
    pub review: Duration,
    /// The unit of the pauses after a refusal.
    pub refusal: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            back_off: (Duration::from_secs(1), Duration::from_secs(60)),
            back_to_first: Duration::from_secs(300),
            review: Duration::from_secs(600),
            refusal: Duration::from_secs(1),
        }
    }
}

/// Pushes records and heartbeats as the gate's settings say, until `stopped` turns true.
pub async fn run(
    gate: Gate,
    terminal: config::Terminal,
    config: config::HttpPush,
    options: Options,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let mut changes = gate.settings_changes();
    loop {
        changes.mark_unchanged();
        let settings = gate.settings().push.clone();
        let working = async {
            if !settings.enabled {
                return std::future::pending().await;
            }
            let trust = Trust::of(&config.pinned_certificate);
            let mut push =
                Push::new(gate.clone(), &terminal, settings.clone(), trust, options.clone()).await?;
            loop {
                push.step().await?;
            }
        };
        tokio::select! {
            outcome = working => return outcome,
            () = changed(&gate, &mut changes, &settings) => {}
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// Resolves when the settings of push are others than `settings`.
async fn changed(gate: &Gate, changes: &mut watch::Receiver<()>, settings: &PushSettings) {
    loop {
        if changes.changed().await.is_err() {
            // The gate is gone; the program stops.
            return std::future::pending().await;
        }
        if gate.settings().push != *settings {
            return;
        }
    }
}

/// One of the two servers.
#[derive(Debug)]
struct Server {
    url: Url,
    standby: bool,
}

/// What a request came to.
enum Posted {
    /// The server answered.
    Answered { status: StatusCode, retry_after: Option<Duration>, words: String },
    /// Nobody answered.
    Unreached { reason: String, retry_after: Option<Duration> },
}

struct Push {
    gate: Gate,
    serial: String,
    model: String,
    language: Language,
    /// What tells the records of this store from those of another.
    store_name: String,
    settings: PushSettings,
    options: Options,
    client: Client,
    servers: Vec<Server>,
    /// Which of them is asked.
    current: usize,
    /// When the first one is tried again.
    back_due: Option<Instant>,
    queue: Queue,
    marks: JoinSet<(OutboxId, Result<()>)>,
    news: broadcast::Receiver<Arc<Event>>,
    heartbeat_due: Option<Instant>,
    review_due: Instant,
    /// Nothing is sent before.
    hold: Option<Instant>,
    failures: u32,
    /// The record that was sent last did not get through.
    trouble: bool,
    /// The server that was told of as reached; `None` while none is.
    reached: Option<usize>,
}

impl Push {
    async fn new(
        gate: Gate,
        terminal: &config::Terminal,
        settings: PushSettings,
        trust: Trust,
        options: Options,
    ) -> Result<Self> {
        let store_name = store_name(gate.store()).await?;
        let (_, news) = gate.events().subscribe(u64::MAX);
        let mut queue = Queue::default();
        queue.restart();
        let now = Instant::now();
        let mut push = Self {
            serial: terminal.serial.clone(),
            model: terminal.model.clone(),
            language: terminal.language,
            store_name,
            client: Client::new(trust),
            servers: Vec::new(),
            current: 0,
            back_due: None,
            queue,
            marks: JoinSet::new(),
            news,
            heartbeat_due: (settings.heartbeat_s > 0).then_some(now),
            review_due: now + options.review,
            hold: None,
            failures: 0,
            trouble: false,
            reached: None,
            gate,
            settings,
            options,
        };
        match servers(&push.settings) {
            Ok(servers) => push.servers = servers,
            Err(error) => push.lost(&error.to_string(), None),
        }
        Ok(push)
    }

    /// One thing: a pause, a heartbeat, a record, or the wait for one of these. May be dropped at any await.
    async fn step(&mut self) -> Result<()> {
        if self.servers.is_empty() {
            // The addresses cannot be used, and only a change of the settings helps.
            return std::future::pending().await;
        }
        while let Some(marked) = self.marks.try_join_next() {
            self.on_marked(marked);
        }
        if let Some(until) = self.hold {
            tokio::time::sleep_until(until).await;
            self.hold = None;
        }
        let now = Instant::now();
        if self.heartbeat_due.is_some_and(|due| due <= now) {
            return self.heartbeat().await;
        }
        if self.review_due <= now {
            self.review_due = now + self.options.review;
            if self.queue.has_set_aside() && self.queue.current().is_none() {
                self.queue.restart();
            }
            // In case a notification was missed.
            self.queue.wake();
        }
        if self.queue.unmarked() >= UNMARKED {
            if let Some(marked) = self.marks.join_next().await {
                self.on_marked(marked);
            }
            return Ok(());
        }
        if let Some(after) = self.queue.fetch_after() {
            let fetched = self.fetch(after).await;
            match fetched {
                Ok(outgoing) => self.queue.fetched(outgoing),
                Err(error) => {
                    tracing::warn!(%error, "records cannot be read for HTTP push; trying again");
                    self.hold = Some(Instant::now() + DEFAULT_TIMEOUT);
                }
            }
            return Ok(());
        }
        match self.queue.current().cloned() {
            Some(outgoing) => self.record(outgoing).await,
            None => self.idle().await,
        }
        Ok(())
    }

    /// Waits until there is something to do.
    async fn idle(&mut self) {
        let until = self.heartbeat_due.map_or(self.review_due, |due| due.min(self.review_due));
        tokio::select! {
            event = self.news.recv() => match event {
                Ok(event) if event.kind == "record" => self.queue.wake(),
                Ok(_) => {}
                // One of those that were missed may have been a record.
                Err(RecvError::Lagged(_)) => self.queue.wake(),
                Err(RecvError::Closed) => std::future::pending().await,
            },
            Some(marked) = self.marks.join_next(), if !self.marks.is_empty() => self.on_marked(marked),
            () = tokio::time::sleep_until(until) => {}
        }
    }

    fn on_marked(&mut self, marked: Result<(OutboxId, Result<()>), tokio::task::JoinError>) {
        match marked {
            Ok((id, Ok(()))) => self.queue.marked(id),
            Ok((id, Err(error))) => {
                tracing::warn!(%error, "a pushed record cannot be marked as delivered; trying again");
                self.mark(id, DEFAULT_TIMEOUT);
            }
            // Nobody aborts a mark; a panic of the store has said so itself.
            Err(_) => {}
        }
    }

    /// Marks a record as delivered, after a pause.
    fn mark(&mut self, id: OutboxId, pause: Duration) {
        let store = self.gate.store().clone();
        if pause.is_zero() {
            // Ordered here and now, so that it is not lost if the settings change in the next moment.
            let mark = store.delivered(id);
            self.marks.spawn(async move { (id, mark.await) });
        } else {
            self.marks.spawn(async move {
                tokio::time::sleep(pause).await;
                (id, store.delivered(id).await)
            });
        }
    }

    async fn fetch(&self, after: Option<OutboxId>) -> Result<Option<Outgoing>> {
        let store = self.gate.store().clone();
        let report = self.gate.settings().report;
        let (serial, name, language) = (self.serial.clone(), self.store_name.clone(), self.language);
        blocking(move || {
            let Some(entry) = store.outbox(Destination::HttpPush, after, 1)?.pop() else { return Ok(None) };
            let picture = |kind| {
                if !report.carries(kind) || !entry.record.pictures.contains(&kind) {
                    return None;
                }
                // A record goes out without a picture that cannot be read rather than not at all.
                store.record_picture(entry.record.id, kind).unwrap_or_else(|error| {
                    tracing::warn!(record = entry.record.id.0, %error, "a record is pushed without its picture");
                    None
                })
            };
            let (snap, document) = (picture(PictureKind::Snap), picture(PictureKind::Document));
            let body = message::record(
                &entry.record,
                &serial,
                &name,
                snap.as_deref(),
                document.as_deref(),
                language,
            );
            Ok(Some(Outgoing { id: entry.id, record: entry.record.id, body: body.into() }))
        })
        .await
    }

    async fn heartbeat(&mut self) -> Result<()> {
        let store = self.gate.store().clone();
        let waiting = blocking(move || store.outbox_len(Destination::HttpPush)).await.unwrap_or_default();
        let local = {
            let settings = self.gate.settings();
            Offset::from_seconds(settings.time.offset().seconds())
                .unwrap_or(Offset::UTC)
                .to_datetime(self.gate.clock().now())
        };
        let body = message::heartbeat(&Heartbeat {
            serial: &self.serial,
            model: &self.model,
            version: concat!("V", env!("CARGO_PKG_VERSION")),
            time: format_civil(local),
            waiting,
        });
        let posted = self.post(body.into()).await;
        let every = Duration::from_secs(self.settings.heartbeat_s.into());
        self.heartbeat_due = Some(Instant::now() + every);
        match posted {
            // Some servers know records only: they are there, and that is what a heartbeat is for.
            Posted::Answered { status, .. } => {
                if !status.is_success() {
                    tracing::debug!(%status, "the HTTP push server does not take heartbeats");
                }
                if status.is_success() || is_refusal(status) {
                    self.queue.vouch();
                }
                // While records do not get through, that they do not is the state.
                if !(self.trouble && self.queue.has_work()) {
                    self.is_reached();
                }
            }
            Posted::Unreached { reason, retry_after } => {
                self.queue.doubt();
                self.back_off(&reason, retry_after);
            }
        }
        Ok(())
    }

    async fn record(&mut self, outgoing: Outgoing) {
        match self.post(outgoing.body).await {
            Posted::Answered { status, .. } if status.is_success() => {
                self.is_reached();
                if let Some(id) = self.queue.accepted() {
                    self.mark(id, Duration::ZERO);
                }
            }
            Posted::Answered { status, words, .. } if is_refusal(status) => {
                self.is_reached();
                self.refused(status, &words);
            }
            Posted::Answered { status, retry_after, words } => {
                let reason = match words.as_str() {
                    "" => format!("the server answered {status}"),
                    words => format!("the server answered {status}: {words}"),
                };
                // Where no heartbeat can speak for the server its answers do.
                if self.settings.heartbeat_s == 0 {
                    self.queue.vouch();
                }
                self.failed(Some(status), &reason, retry_after);
            }
            Posted::Unreached { reason, retry_after } => self.failed(None, &reason, retry_after),
        }
    }

    /// The record at hand did not get through.
    fn failed(&mut self, status: Option<StatusCode>, reason: &str, retry_after: Option<Duration>) {
        let Some((outgoing, failed)) = self.queue.failed() else { return };
        let record = outgoing.record.0;
        let pause = match failed {
            Failed::Again => {
                self.trouble = true;
                return self.back_off(reason, retry_after);
            }
            Failed::SetAside(pause) => {
                let desc = format!("{reason}; it takes other things");
                tracing::warn!(record, desc, "HTTP push fails for a record again and again; it is set aside");
                self.gate.events().send(
                    "platform",
                    json!({ "platform": "http_push", "state": "record_refused", "record": record,
                        "result": status.map(|status| status.as_u16()), "desc": desc }),
                );
                pause
            }
            // It was told of, and says nothing new about the server.
            Failed::Still(pause) => {
                tracing::debug!(record, reason, "HTTP push still fails for a record");
                pause
            }
        };
        self.pass_by(pause, retry_after);
    }

    /// Holds for so many units before the next record, and for as long as the server asked.
    fn pass_by(&mut self, units: u64, retry_after: Option<Duration>) {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let asked = retry_after.map_or(Duration::ZERO, |asked| granted(asked, self.options.back_off.0));
        let pause = self.options.refusal.saturating_mul(units).max(asked);
        if !pause.is_zero() {
            self.hold = Some(Instant::now() + pause);
        }
    }

    /// The server refused the record at hand.
    fn refused(&mut self, status: StatusCode, words: &str) {
        let Some((outgoing, refused)) = self.queue.refused() else { return };
        let record = outgoing.record.0;
        let pause = match refused {
            Refused::Again(pause) | Refused::Still(pause) => pause,
            Refused::SetAside(pause) => {
                let advice = match status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                        ": check appid, appSecret, AuthSn and the clock"
                    }
                    StatusCode::PAYLOAD_TOO_LARGE => ": the server takes no body of this size",
                    StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                        ": check the address and its path"
                    }
                    _ => "",
                };
                let desc = format!("{words}{advice}");
                tracing::warn!(record, %status, desc, "the HTTP push server refuses a record; it is set aside");
                self.gate.events().send(
                    "platform",
                    json!({ "platform": "http_push", "state": "record_refused", "record": record,
                        "result": status.as_u16(), "desc": desc }),
                );
                pause
            }
        };
        self.pass_by(pause, None);
    }

    /// Posts to the server of the moment and, where that cannot be reached, to the other.
    async fn post(&mut self, body: Bytes) -> Posted {
        if self.back_due.is_some_and(|due| due <= Instant::now()) {
            self.back_due = None;
            self.current = 0;
        }
        let mut reasons = Vec::new();
        // Of several that ask for patience all get it.
        let mut longest = None;
        for _ in 0..self.servers.len() {
            match self.post_to(self.current, body.clone()).await {
                Posted::Unreached { reason, retry_after } => {
                    reasons.push(reason);
                    longest = longest.max(retry_after);
                }
                answered => {
                    if self.current > 0 {
                        self.back_due.get_or_insert(Instant::now() + self.options.back_to_first);
                    }
                    return answered;
                }
            }
            self.current = (self.current + 1) % self.servers.len();
        }
        Posted::Unreached { reason: reasons.join("; "), retry_after: longest }
    }

    async fn post_to(&mut self, server: usize, body: Bytes) -> Posted {
        let patience = match self.settings.timeout_s {
            0 => DEFAULT_TIMEOUT,
            seconds => Duration::from_secs(seconds.into()),
        };
        let unreached = |reason: String| Posted::Unreached { reason, retry_after: None };
        let within = Within { connect: patience, answer: patience };
        loop {
            let url = &self.servers[server].url;
            let timestamp = self.gate.clock().now().as_second().to_string();
            let headers = match sign::headers(&self.settings, &url.path, &body, &timestamp, &nonce()) {
                Ok(headers) => headers,
                Err(error) => return unreached(error.to_string()),
            };
            let ask = Ask { method: Method::POST, url, headers, body: body.clone() };
            match self.client.ask(ask, ANSWER_BYTES, within).await {
                Ok(answer) if is_gateway(answer.status) => {
                    return Posted::Unreached {
                        reason: format!("{} answered {}", url.origin(), answer.status),
                        retry_after: answer.retry_after,
                    };
                }
                Ok(answer) => {
                    return Posted::Answered {
                        status: answer.status,
                        retry_after: answer.retry_after,
                        words: words(&answer.body),
                    };
                }
                // On a new connection, with a nonce and a signature of its own.
                Err(failure) if failure.stage == Stage::Stale => {}
                Err(failure) => return unreached(failure.error.to_string()),
            }
        }
    }

    fn is_reached(&mut self) {
        self.failures = 0;
        self.trouble = false;
        if self.reached == Some(self.current) {
            return;
        }
        self.reached = Some(self.current);
        let server = &self.servers[self.current];
        tracing::info!(
            server = server.url.origin(),
            standby = server.standby,
            "the HTTP push server is reached"
        );
        self.gate.events().send(
            "platform",
            json!({ "platform": "http_push", "state": "reached", "server": server.url.origin(),
                "standby": server.standby }),
        );
    }

    fn back_off(&mut self, reason: &str, retry_after: Option<Duration>) {
        let (first, longest) = self.options.back_off;
        let most = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        let pause = retry_after.map_or_else(|| spread(most / 2, most), |asked| granted(asked, first));
        self.failures = self.failures.saturating_add(1);
        self.hold = Some(Instant::now() + pause);
        self.lost(reason, Some(pause));
    }

    fn lost(&mut self, reason: &str, retry_in: Option<Duration>) {
        let retry_ms = retry_in.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        if self.reached.take().is_some() || self.failures <= 1 {
            tracing::warn!(reason, retry_ms, "HTTP push does not get through; records wait");
        } else {
            tracing::debug!(reason, retry_ms, "HTTP push still does not get through");
        }
        let mut event = json!({ "platform": "http_push", "state": "lost", "reason": reason });
        if let Some(retry_ms) = retry_ms {
            event["retry_ms"] = retry_ms.into();
        }
        self.gate.events().send("platform", event);
    }
}

/// What a server that asks for patience gets: never so little that asking again would be a storm.
fn granted(asked: Duration, first: Duration) -> Duration {
    asked.max(first).min(LONGEST_RETRY_AFTER)
}

/// Whether a status is about the record rather than about the server's state.
fn is_refusal(status: StatusCode) -> bool {
    status.is_client_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

/// Whether a status comes from a proxy whose server cannot be reached.
fn is_gateway(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// The beginning of what a server says, in one line.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS).collect()
}

fn nonce() -> String {
    let bytes: [u8; 16] = std::array::from_fn(|_| getrandom::u32().unwrap_or_default() as u8);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The servers of the settings, the standby last. `Config` with what is wrong with them.
fn servers(settings: &PushSettings) -> Result<Vec<Server>> {
    let mut servers =
        vec![Server { url: address(&settings.server, "httpServerAddr", settings)?, standby: false }];
    if !settings.standby.is_empty() {
        let url = address(&settings.standby, "httpServerAddrStandby", settings)?;
        servers.push(Server { url, standby: true });
    }
    Ok(servers)
}

/// Where `address` is: a host, with or without a port of its own and a path, or a whole URL. `sslenable` and a
/// URL's scheme must not contradict each other: the gate never pushes in clear what was to be sealed.
fn address(address: &str, key: &str, settings: &PushSettings) -> Result<Url> {
    let bad = |what: String| Error::new(Kind::Config, format!("HttpPush.{key}: {what}"));
    if address.is_empty() {
        return Err(bad("push is enabled, but there is no server".into()));
    }
    let (secure, rest) = match split_scheme(address) {
        None => (settings.tls, address),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") && !settings.tls => (false, rest),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
            return Err(bad("says http:// where sslenable asks for TLS".into()));
        }
        Some(_) => return Err(bad("is neither http nor https".into())),
    };
    let scheme = if secure { "https" } else { "http" };
    let mut url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| bad(error.to_string()))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let host = rest[..end].rsplit_once(']').map_or(&rest[..end], |(_, after)| after);
    if !host.contains(':') {
        let port = if secure { settings.tls_port } else { settings.port };
        if port == 0 {
            return Err(bad("the port is 0".into()));
        }
        url.port = port;
    }
    Ok(url)
}

/// What tells the records of this store from those of another, made the first time.
async fn store_name(store: &Store) -> Result<String> {
    let reading = store.clone();
    let kept = blocking(move || reading.setting(STORE_NAME)).await?;
    if let Some(name) = kept.and_then(|text| serde_json::from_str::<String>(&text).ok()) {
        return Ok(name);
    }
    let random = getrandom::u32()
        .map_err(|error| Error::new(Kind::Io, format!("the system gives no random numbers: {error}")))?;
    let name = format!("{random:08x}");
    store
        .put_setting(STORE_NAME, json!(name).to_string())
        .await
        .context(|| "the name of the store cannot be kept for HTTP push")?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(server: &str, tls: bool) -> PushSettings {
        PushSettings { server: server.into(), tls, port: 8000, tls_port: 8443, ..PushSettings::default() }
    }

    #[test]
    fn addresses_as_people_enter_them() {
        for (server, tls, wanted) in [
            ("192.168.2.8", false, "http://192.168.2.8:8000/"),
            ("192.168.2.8", true, "https://192.168.2.8:8443/"),
            ("push.example/gate?site=1", false, "http://push.example:8000/gate?site=1"),
            ("push.example:81/gate", true, "https://push.example:81/gate"),
            ("http://push.example", false, "http://push.example:8000/"),
            ("HTTPS://push.example/x", false, "https://push.example:8443/x"),
            ("[::1]/x", false, "http://[::1]:8000/x"),
            ("[::1]:82", false, "http://[::1]:82/"),
            ("push.example/x?to=https://y", false, "http://push.example:8000/x?to=https://y"),
        ] {
            let servers = servers(&settings(server, tls)).unwrap();
            assert_eq!(servers[0].url.to_string(), wanted, "{server}");
        }
        for (server, tls, what) in [
            ("", false, "there is no server"),
            ("http://push.example", true, "sslenable asks for TLS"),
            ("ftp://push.example", false, "neither http nor https"),
            ("a b", false, "has blanks"),
            ("user:word@push.example", false, "a user name or a password"),
        ] {
            let error = servers(&settings(server, tls)).unwrap_err().to_string();
            assert!(error.starts_with("HttpPush.httpServerAddr: ") && error.contains(what), "{error}");
        }
        let broken = PushSettings { standby: "ftp://x".into(), ..settings("a", false) };
        assert!(servers(&broken).unwrap_err().to_string().contains("httpServerAddrStandby"));
        let portless = PushSettings { port: 0, ..settings("a", false) };
        assert!(servers(&portless).unwrap_err().to_string().contains("port is 0"));
    }

    #[test]
    fn what_is_about_the_record_and_what_about_the_server() {
        let refusals = [400, 401, 403, 404, 413, 422];
        assert!(refusals.iter().all(|&status| is_refusal(StatusCode::from_u16(status).unwrap())));
        let others = [200, 302, 408, 429, 500, 503];
        assert!(!others.iter().any(|&status| is_refusal(StatusCode::from_u16(status).unwrap())));
    }

    #[test]
    fn patience_is_neither_none_nor_endless() {
        let granted = |asked| granted(Duration::from_secs(asked), Duration::from_secs(1)).as_secs();
        assert_eq!([0, 1, 7, 300, 301, u64::MAX].map(granted), [1, 1, 7, 300, 300, 300]);
    }
}
