//! A real gate in the test's own process, with its store and its models, at the simulated QYZN platform.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use menshen::access::{Origin, PersonKey, PersonKind, Reason};
use menshen::clock::SystemClock;
use menshen::device::Devices;
use menshen::device::relay::SimulatedRelay;
use menshen::event::{Event, Events};
use menshen::gate::hardware::Templates;
use menshen::gate::settings::Settings;
use menshen::gate::{Eyes, Gate, Parts};
use menshen::platform::qyzn::{self, requests::Requests};
use menshen::simulate::qyzn::Platform;
use menshen::store::{Destination, NewRecord, Options, PictureKind, RecordFacts, RecordResult, Store};
use menshen::text::Language;
use menshen::{config, vision};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::vision::models_dir;

/// A gate that runs until it is stopped.
pub struct Running {
    pub gate: Gate,
    pub store: Store,
    pub relay: SimulatedRelay,
    pub events: broadcast::Receiver<Arc<Event>>,
    pub requests: Requests,
    /// Nobody looks through them, but the sessions end with them.
    pub eyes: Eyes,
    pub stop: watch::Sender<bool>,
    pub link: tokio::task::JoinHandle<menshen::Result<()>>,
}

impl Running {
    pub fn start(data_dir: &Path, server: std::net::SocketAddr) -> Self {
        Self::start_with(data_dir, server, &config::Device::default())
    }

    /// With the devices of a `[device]` of its own; the relay is simulated in any case.
    pub fn start_with(data_dir: &Path, server: std::net::SocketAddr, device: &config::Device) -> Self {
        let clock: menshen::clock::SharedClock = Arc::new(SystemClock);
        let events = Events::new(Arc::clone(&clock));
        let options = Options { data_dir: data_dir.to_owned(), config: config::Store::default() };
        let store = Store::open(&options, Arc::clone(&clock)).unwrap();
        let relay = SimulatedRelay::default();
        let (_, heard) = events.subscribe(u64::MAX);
        let (gate, eyes, _ending) = Gate::start(Parts {
            clock,
            events,
            store: store.clone(),
            config: config::Gate::default(),
            vision: config::Vision { models_dir: models_dir(), ..config::Vision::default() },
            settings: Settings::default(),
            language: Language::Chinese,
            destinations: vec![Destination::Qyzn],
            devices: Devices { relay: Some(Box::new(relay.clone())), ..Devices::open(device).unwrap() },
            templates: Templates::new(device),
            readers: menshen::device::reader::Readers::default(),
            models: vision::Models::open(&models_dir(), "auto").unwrap(),
        })
        .unwrap();
        let (stop, stopped) = watch::channel(false);
        let terminal = config::Terminal { mac: "0064871ECB01".into(), ..config::Terminal::default() };
        let config = config::Qyzn::new(server.to_string());
        let requests = Requests::default();
        let link = tokio::spawn(qyzn::run(gate.clone(), terminal, config, requests.clone(), stopped));
        Self { gate, store, relay, events: heard, requests, eyes, stop, link }
    }

    /// The next event that `wanted` accepts.
    pub async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Arc<Event> {
        tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let event = self.events.recv().await.unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        })
        .await
        .expect("the event comes")
    }

    /// As a passage does: a record on the disk, and the word of it.
    pub async fn record(&self, name: &str, picture: &[u8]) {
        let facts = RecordFacts {
            at: "2026-03-02T04:00:00Z".parse().unwrap(),
            utc_offset_s: 28_800,
            person: Some(PersonKey::new(Origin::Qyzn, "100001")),
            face_id: Some("3000004".into()),
            also: Vec::new(),
            name: name.into(),
            person_kind: PersonKind::White,
            id_number: None,
            card: None,
            score: Some(93.2),
            liveness: None,
            result: RecordResult::Granted,
            reason: Reason::Granted,
            opened: true,
            latency_ms: 100,
            body_temp: None,
            credentials: vec!["face".into()],
        };
        let record = NewRecord {
            facts,
            pictures: vec![(PictureKind::Snap, picture.to_vec())],
            destinations: vec![Destination::Qyzn],
            spend: false,
        };
        let id = self.store.append_record(record).await.unwrap();
        self.gate.events().send("record", json!({ "id": id, "state": "stored" }));
    }

    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        self.link.await.unwrap().unwrap();
        let store = self.store;
        drop((self.gate, self.eyes));
        tokio::task::spawn_blocking(move || store.close()).await.unwrap();
    }
}

/// A platform that listens, and where.
pub async fn platform() -> (Platform, std::net::SocketAddr) {
    let platform = Platform::default();
    let address = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (platform, address)
}

pub fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// `data` of an `add_person`, with the document's own sample of a name.
pub fn person(id: &str) -> Value {
    json!({"personId": id, "personCode": id, "name": "张三", "type": 1})
}
