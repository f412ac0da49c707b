//! A gate with its admin service in this process: everything real but the wires.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use menshen::clock::{SharedClock, SystemClock};
use menshen::config::{Admin, Config};
use menshen::event::Events;
use menshen::gate::{Eyes, Gate, Parts};
use menshen::service::admin::Server;
use menshen::store::{Destination, Options, Store};
use menshen::vision::Models;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::vision;

/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A gate and its service.
pub struct Bench {
    pub gate: Gate,
    pub eyes: Arc<Eyes>,
    pub address: SocketAddr,
    pub stop: watch::Sender<bool>,
    pub served: JoinHandle<menshen::Result<()>>,
    pub models: Models,
    pub folder: tempfile::TempDir,
}

/// The whole answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error}: {} {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }

    /// The word of a failure.
    pub fn kind(&self) -> String {
        self.json()["error"]["kind"].as_str().unwrap_or_else(|| panic!("no failure: {self:?}")).to_owned()
    }

    /// A header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Bench {
    /// Without platforms, on a free port of loopback.
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.terminal.data_dir = folder.path().join("data");
        config.vision.models_dir = vision::models_dir();
        config.service.admin = Some(Admin {
            listen: "127.0.0.1:0".parse().unwrap(),
            token_file: None,
            allowed_origins: Vec::new(),
        });
        change(&mut config);
        let adjusted = menshen::clock::AdjustedClock::new(Arc::new(SystemClock));
        let clock: SharedClock = adjusted.clone();
        let models = vision::models();
        let options = Options { data_dir: config.terminal.data_dir.clone(), config: config.store.clone() };
        let (gate, eyes, _ending) = Gate::start(Parts {
            clock: Arc::clone(&clock),
            events: Events::new(Arc::clone(&clock)),
            store: Store::open(&options, clock).unwrap(),
            config: config.gate.clone(),
            vision: config.vision.clone(),
            settings: config.settings.clone(),
            language: config.terminal.language,
            destinations: config.platform.qyzn.iter().map(|_| Destination::Qyzn).collect(),
            devices: menshen::device::Devices {
                osdp: menshen::device::osdp::open(&config).unwrap(),
                ..menshen::device::Devices::open(&config.device).unwrap()
            },
            templates: menshen::gate::hardware::Templates::new(&config.device),
            system: menshen::device::system::open(&config.device.system, adjusted, folder.path()).unwrap(),
            log: menshen::log::LogLevel::default(),
            readers: menshen::device::reader::Readers::open(&config.device).unwrap(),
            models: models.clone(),
        })
        .unwrap();
        let admin = config.service.admin.clone().unwrap();
        let server = Server::bind(gate.clone(), &config, admin).await.unwrap();
        let address = server.address();
        let (stop, stopped) = watch::channel(false);
        let served = tokio::spawn(async move { server.run(stopped).await });
        Self { gate, eyes: Arc::new(eyes), address, stop, served, models, folder }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes()).await
    }

    /// One request on a connection of its own. A `Host` among the headers takes the place of the right one.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.ask(method, path, headers, body).await;
        let mut bytes = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an answer").unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let body = bytes.split_off(end);
        let head = String::from_utf8(bytes).unwrap();
        Answer { status: head[9..12].parse().unwrap(), head, body }
    }

    /// Sends a request and leaves the answer to be read.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> BufReader<TcpStream> {
        // HTTP/1.0: the answer ends with the connection, and nothing is sent in chunks.
        let mut head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        BufReader::new(stream)
    }

    /// Listens to the events.
    pub async fn listen(&self, query: &str, headers: &[(&str, &str)]) -> Listener {
        let mut lines = self.ask("GET", &format!("/api/v1/events{query}"), headers, b"").await.lines();
        let mut status = 0;
        while let Some(line) = lines.next_line().await.unwrap().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("HTTP/1.") {
                status = rest[2..5].parse().unwrap();
            }
        }
        Listener { status, lines }
    }
}

/// A listener to the events.
pub struct Listener {
    pub status: u16,
    lines: tokio::io::Lines<BufReader<TcpStream>>,
}

impl Listener {
    /// The next message: its id (empty without one), its event (empty without one), its data. `None` at the end.
    pub async fn message(&mut self) -> Option<(String, String, Value)> {
        let (mut id, mut event, mut data) = (String::new(), String::new(), Value::Null);
        loop {
            let line =
                tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("a message").ok()??;
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            } else if let Some(text) = line.strip_prefix("event: ") {
                event = text.to_owned();
            } else if let Some(text) = line.strip_prefix("data: ") {
                data = serde_json::from_str(text).unwrap();
            } else if line.is_empty() {
                return Some((id, event, data));
            }
        }
    }

    /// The next message that is an event of the gate of this kind.
    pub async fn event(&mut self, kind: &str) -> Value {
        loop {
            let (_, _, data) = self.message().await.expect("the stream has ended");
            if data["kind"] == kind {
                return data;
            }
        }
    }
}
