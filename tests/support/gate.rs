//! A real gate in the test's own process, with its store and its models, at the simulated QYZN platform.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use menshen::access::{Origin, PersonKey, PersonKind, Reason};
use menshen::clock::{AdjustedClock, SharedClock, SystemClock};
use menshen::device::Devices;
use menshen::device::relay::SimulatedRelay;
use menshen::device::system::{self, System};
use menshen::event::{Event, Events};
use menshen::gate::hardware::Templates;
use menshen::gate::settings::Settings;
use menshen::gate::{Ending, Eyes, Gate, Parts};
use menshen::log::LogLevel;
use menshen::platform::qyzn::{self, requests::Requests};
use menshen::simulate::qyzn::Platform;
use menshen::store::{Destination, NewRecord, Options, PictureKind, RecordFacts, RecordResult, Store};
use menshen::text::Language;
use menshen::update::Updates;
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
    pub stop: watch::Sender<bool>,
    pub link: tokio::task::JoinHandle<menshen::Result<()>>,
    /// Held while the sessions are to live.
    pub eyes: Arc<Eyes>,
    ending: Ending,
    watching: Vec<std::thread::JoinHandle<menshen::Result<()>>>,
}

impl Running {
    /// At a QYZN platform.
    pub fn start(data_dir: &Path, server: std::net::SocketAddr) -> Self {
        Self::start_at(data_dir, config::Qyzn::new(server.to_string()), &config::Device::default())
    }

    /// With the devices of a `[device]` of its own; the relay is simulated in any case.
    pub fn start_with(data_dir: &Path, server: std::net::SocketAddr, device: &config::Device) -> Self {
        Self::start_at(data_dir, config::Qyzn::new(server.to_string()), device)
    }

    /// At a platform that is configured otherwise.
    pub fn start_at(data_dir: &Path, config: config::Qyzn, device: &config::Device) -> Self {
        Self::at(data_dir, config, device, Machine::of(device), |_| {})
    }

    /// The same with parts that `change` has seen to.
    pub fn start_changed(
        data_dir: &Path,
        config: config::Qyzn,
        device: &config::Device,
        change: impl FnOnce(&mut Parts),
    ) -> Self {
        Self::at(data_dir, config, device, Machine::of(device), change)
    }

    /// On a machine of the test's own.
    pub fn start_on(
        data_dir: &Path,
        server: std::net::SocketAddr,
        device: &config::Device,
        settings: Settings,
        clock: SharedClock,
        system: Arc<dyn System>,
    ) -> Self {
        let machine = Machine { settings, clock, system };
        Self::at(data_dir, config::Qyzn::new(server.to_string()), device, machine, |_| {})
    }

    /// With the link that `link` is, to whichever platform.
    pub fn start_linked<F>(
        data_dir: &Path,
        device: &config::Device,
        link: impl FnOnce(Gate, watch::Receiver<bool>) -> F,
    ) -> Self
    where
        F: Future<Output = menshen::Result<()>> + Send + 'static,
    {
        Self::assemble(data_dir, device, Machine::of(device), |_| {}, link)
    }

    /// The same on a simulated machine with these settings and this clock.
    pub fn start_linked_on<F>(
        data_dir: &Path,
        device: &config::Device,
        settings: Settings,
        clock: Arc<AdjustedClock>,
        link: impl FnOnce(Gate, watch::Receiver<bool>) -> F,
    ) -> Self
    where
        F: Future<Output = menshen::Result<()>> + Send + 'static,
    {
        let system = Arc::new(system::Simulated::new(clock.clone()));
        Self::assemble(data_dir, device, Machine { settings, clock, system }, |_| {}, link)
    }

    fn at(
        data_dir: &Path,
        config: config::Qyzn,
        device: &config::Device,
        machine: Machine,
        change: impl FnOnce(&mut Parts),
    ) -> Self {
        let terminal = config::Terminal { mac: "0064871ECB01".into(), ..config::Terminal::default() };
        let requests = Requests::default();
        let asked = requests.clone();
        let link = |gate: Gate, stopped| {
            let update = config::Update { installer: "sim".into(), ..config::Update::default() };
            let updates = Updates::new(&update, data_dir, gate.events());
            qyzn::run(gate, terminal, config, asked, updates, stopped)
        };
        Self { requests, ..Self::assemble(data_dir, device, machine, change, link) }
    }

    fn assemble<F>(
        data_dir: &Path,
        device: &config::Device,
        Machine { settings, clock, system }: Machine,
        change: impl FnOnce(&mut Parts),
        link: impl FnOnce(Gate, watch::Receiver<bool>) -> F,
    ) -> Self
    where
        F: Future<Output = menshen::Result<()>> + Send + 'static,
    {
        let events = Events::new(Arc::clone(&clock));
        let options = Options { data_dir: data_dir.to_owned(), config: config::Store::default() };
        let store = Store::open(&options, Arc::clone(&clock)).unwrap();
        let relay = SimulatedRelay::default();
        let (_, heard) = events.subscribe(u64::MAX);
        let mut parts = Parts {
            clock,
            events,
            store: store.clone(),
            config: config::Gate::default(),
            vision: config::Vision { models_dir: models_dir(), ..config::Vision::default() },
            settings,
            language: Language::Chinese,
            destinations: vec![Destination::Qyzn],
            devices: Devices { relay: Some(Box::new(relay.clone())), ..Devices::open(device).unwrap() },
            templates: Templates::new(device),
            readers: menshen::device::reader::Readers::open(device).unwrap(),
            system,
            log: LogLevel::default(),
            models: vision::Models::open(&models_dir(), "auto").unwrap(),
        };
        change(&mut parts);
        let (gate, eyes, ending) = Gate::start(parts).unwrap();
        let (stop, stopped) = watch::channel(false);
        let link = tokio::spawn(link(gate.clone(), stopped));
        let (eyes, watching) = (Arc::new(eyes), Vec::new());
        let requests = Requests::default();
        Self { gate, store, relay, events: heard, requests, stop, link, eyes, ending, watching }
    }

    /// Watches a folder of pictures from now on.
    pub fn watch(&mut self, folder: &Path) {
        let source = format!("files:{}", folder.display());
        let camera = config::Camera::new(config::CameraRole::Visible, source);
        let eyes = Arc::clone(&self.eyes);
        self.watching.push(std::thread::spawn(move || eyes.watch(0, &camera)));
    }

    /// The next event that `wanted` accepts.
    pub async fn event(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Arc<Event> {
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
        self.record_for(name, picture, &[Destination::Qyzn]).await;
    }

    /// The same, for whom it is named.
    pub async fn record_for(&self, name: &str, picture: &[u8], destinations: &[Destination]) {
        let record = passage(name, picture, destinations);
        let id = self.store.append_record(record).await.unwrap();
        self.gate.events().send("record", json!({ "id": id, "state": "stored" }));
    }

    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        self.link.await.unwrap().unwrap();
        self.eyes.stopper().store(true, Ordering::Relaxed);
        let watching = self.watching;
        tokio::task::spawn_blocking(|| {
            watching.into_iter().for_each(|thread| thread.join().unwrap().unwrap())
        })
        .await
        .unwrap();
        drop(self.eyes);
        self.ending.wait().await;
        let store = self.store;
        drop(self.gate);
        tokio::task::spawn_blocking(move || store.close()).await.unwrap();
    }
}

/// What a gate stands on.
struct Machine {
    settings: Settings,
    clock: SharedClock,
    system: Arc<dyn System>,
}

impl Machine {
    /// The one that `device` names.
    fn of(device: &config::Device) -> Self {
        let clock = AdjustedClock::new(Arc::new(SystemClock));
        let system = system::open(&device.system, clock.clone(), Path::new("/nowhere")).unwrap();
        Self { settings: Settings::default(), clock, system }
    }
}

/// The record of a passage of the person 100001, with its picture.
pub fn passage(name: &str, picture: &[u8], destinations: &[Destination]) -> NewRecord {
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
        document: None,
    };
    NewRecord {
        facts,
        pictures: vec![(PictureKind::Snap, picture.to_vec())],
        destinations: destinations.to_vec(),
        spend: false,
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
