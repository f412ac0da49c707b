//! The gate with everything real but the eyes: what a camera would have seen is put in by hand.

mod holder;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{broadcast, mpsc};

use super::documents::Documents;
use super::outputs::Outputs;
use super::sessions::{Command, Sessions};
use super::settings::Settings;
use super::sighting::{Compared, Sighting, Snap, VisibleFace};
use super::*;
use crate::access::{PassMode, PersonKind, Reason, RemoteMode, Schedule};
use crate::clock::ManualClock;
use crate::device::relay::SimulatedRelay;
use crate::event::Event;
use crate::frame::{Frame, PixelFormat};
use crate::store::{NewFace, Options, RecordResult};
use crate::vision::liveness::Judgement;
use crate::vision::template::Template;

struct Bench {
    inner: Arc<Inner>,
    clock: Arc<ManualClock>,
    sightings: mpsc::Sender<Sighting>,
    commands: mpsc::Sender<Command>,
    events: broadcast::Receiver<Arc<Event>>,
    relay: SimulatedRelay,
    started: Instant,
    folder: tempfile::TempDir,
    judgement: Judgement,
    /// The templates of visitors, by track; of the others none was made.
    faces: HashMap<u64, Template>,
}

fn person(id: &str) -> Person {
    Person {
        key: PersonKey::new(Origin::Qyzn, id),
        code: id.into(),
        name: format!("person {id}"),
        kind: PersonKind::White,
        id_number: None,
        card: Some(format!("{id}00")),
        passes_left: None,
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

/// A machine that nothing is ordered of.
fn machine() -> Machine {
    let clock = crate::clock::AdjustedClock::new(Arc::new(crate::clock::SystemClock));
    Machine::new(Arc::new(crate::device::system::Simulated::new(clock)), LogLevel::default())
}

/// A score is the cosine in hundredths.
fn calibration() -> Calibration {
    Calibration::new(vec![[0.0, 0.0], [1.0, 100.0]]).unwrap()
}

/// Every device but a serial line and a thermometer.
fn all_simulated(relay: &SimulatedRelay) -> Devices {
    let devices = Devices::open(&config::Device::default()).unwrap();
    Devices { relay: Some(Box::new(relay.clone())), ..devices }
}

fn start_devices(devices: Devices, settings: &Settings, events: &Events) -> (Hardware, Outputs) {
    let (hardware, lines, panel) = Hardware::start(devices, Templates::default(), settings, events).unwrap();
    let (outputs, task) = Outputs::new(lines, events.clone());
    tokio::spawn(panel.run());
    tokio::spawn(task.run(settings.relay));
    (hardware, outputs)
}

impl Bench {
    fn new(settings: Settings) -> Self {
        Self::with_config(settings, config::Gate::default())
    }

    fn with_config(settings: Settings, config: config::Gate) -> Self {
        Self::on(machine(), settings, config)
    }

    fn on(machine: Machine, settings: Settings, config: config::Gate) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new("2026-03-02T04:00:00Z".parse().unwrap());
        let shared: SharedClock = clock.clone();
        let events = Events::new(Arc::clone(&shared));
        let options = Options { data_dir: folder.path().to_owned(), config: config::Store::default() };
        let store = Store::open(&options, Arc::clone(&shared)).unwrap();
        let relay = SimulatedRelay::default();
        let (hardware, outputs) = start_devices(all_simulated(&relay), &settings, &events);
        let inner = Arc::new(Inner {
            clock: shared,
            built: "2026-01-01T00:00:00Z".parse().unwrap(),
            events: events.clone(),
            store,
            config,
            language: Language::English,
            destinations: vec![Destination::Qyzn],
            settings: ArcSwap::from_pointee(settings),
            settings_changed: latest::channel(()).0,
            changing: Arc::default(),
            live: latest::channel(None).0,
            outputs,
            hardware,
            settled: Arc::default(),
            calibration: calibration(),
            portraits: Default::default(),
            machine,
            platform_reached: AtomicBool::new(false),
            snapshots: Default::default(),
            frame_rates: Default::default(),
            reading: Default::default(),
            document_asked: AtomicBool::new(false),
            documents: Documents::new().0,
            questions: Default::default(),
            codes: Default::default(),
            readers: Readers::default(),
            loops: Loops::default(),
        });
        let (_, events) = events.subscribe(0);
        let mut bench = Self {
            inner,
            clock,
            sightings: mpsc::channel(1).0,
            commands: mpsc::channel(1).0,
            events,
            relay,
            started: Instant::now(),
            folder,
            judgement: Judgement::NotYet,
            faces: HashMap::new(),
        };
        bench.restart();
        bench
    }

    /// The same gate, whose store can be read but takes nothing any more.
    fn with_a_store_that_refuses(&mut self, policy: config::OnStoreFailure) {
        let options = Options { data_dir: self.folder.path().to_owned(), config: config::Store::default() };
        let store = Store::open_read_only(&options).unwrap();
        let devices = Devices { relay: Some(Box::new(self.relay.clone())), ..Devices::default() };
        let (hardware, outputs) = start_devices(devices, &self.inner.settings.load(), &self.inner.events);
        self.inner = Arc::new(Inner {
            clock: Arc::clone(&self.inner.clock),
            built: self.inner.built,
            events: self.inner.events.clone(),
            store,
            config: config::Gate { on_store_failure: policy, ..config::Gate::default() },
            language: Language::English,
            destinations: Vec::new(),
            settings: ArcSwap::new(self.inner.settings.load_full()),
            settings_changed: latest::channel(()).0,
            changing: Arc::default(),
            live: latest::channel(None).0,
            outputs,
            hardware,
            settled: Arc::default(),
            calibration: calibration(),
            portraits: Default::default(),
            machine: machine(),
            platform_reached: AtomicBool::new(false),
            snapshots: Default::default(),
            frame_rates: Default::default(),
            reading: Default::default(),
            document_asked: AtomicBool::new(false),
            documents: Documents::new().0,
            questions: Default::default(),
            codes: Default::default(),
            readers: Readers::default(),
            loops: Loops::default(),
        });
        self.restart();
    }

    /// Sessions that remember nothing.
    fn restart(&mut self) {
        let (sightings, seen) = mpsc::channel(8);
        let (commands, ordered) = mpsc::channel(8);
        tokio::spawn(Sessions::run(Arc::clone(&self.inner), seen, ordered));
        (self.sightings, self.commands) = (sightings, commands);
    }

    /// Enrols a person with one face, whose rows are the answer.
    async fn enrol(&self, person: Person) -> (FaceRow, PersonRow) {
        let face = NewFace {
            face_id: format!("face of {}", person.key.id),
            picture: vec![1, 2, 3],
            model: "model".into(),
            template: vec![0; 4],
        };
        let change = self.inner.store.put_person(person, vec![face]).await.unwrap();
        (change.learn[0].face, change.learn[0].person)
    }

    /// One frame, `ms` after the start.
    async fn see(&self, ms: u64, faces: &[(u64, Compared)], lost: &[u64]) {
        let captured = self.started + Duration::from_millis(ms);
        let at = self.inner.clock.now();
        let frame = Frame::raw(vec![128; 64], PixelFormat::Grey, 8, 8, 8, captured, at, 1, 0).unwrap();
        let faces = faces
            .iter()
            .map(|(track, compared)| VisibleFace {
                track: *track,
                template: self.faces.get(track).cloned(),
                compared: compared.clone(),
                liveness: None,
                judgement: self.judgement,
            })
            .collect();
        let sighting = Sighting { captured, at, snap: Snap(Arc::new(frame)), faces, lost: lost.to_vec() };
        self.sightings.send(sighting).await.ok().unwrap();
    }

    async fn event(&mut self, kind: &str) -> Arc<Event> {
        tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                let event = self.events.recv().await.unwrap();
                if event.kind == kind {
                    return event;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {kind} event came"))
    }

    /// The next text on the screen.
    async fn shown(&mut self) -> String {
        loop {
            if let Some(text) = self.event("screen").await.fields.get("text").and_then(Value::as_str) {
                return text.to_owned();
            }
        }
    }

    /// The next verdict: its word, its reason, its name.
    async fn verdict(&mut self) -> (String, String, Option<String>) {
        let event = self.event("verdict").await;
        let text = |key: &str| event.fields.get(key).and_then(Value::as_str).map(str::to_owned);
        (text("verdict").unwrap(), text("reason").unwrap_or_default(), text("name"))
    }
}

fn seen((face, person): (FaceRow, PersonRow), score: f32) -> Compared {
    Compared::Person { face, person, score, also: Vec::new() }
}

/// Settings with a platform that has said it is there.
fn remote(mode: RemoteMode) -> Settings {
    let mut settings = Settings::default();
    settings.rules.remote = crate::access::Remote { mode, online: true };
    settings
}

const STRANGER: Compared = Compared::Stranger { score: 31.0 };

#[tokio::test]
async fn a_record_is_for_http_push_only_if_push_is_on_when_it_is_made() {
    let mut gate = Bench::new(Settings::default());
    let one = gate.enrol(person("1")).await;
    let two = gate.enrol(person("2")).await;
    gate.see(0, &[(1, seen(one, 95.0))], &[]).await;
    gate.event("record").await;
    let mut on = Settings::clone(&gate.inner.settings.load());
    on.push.enabled = true;
    gate.inner.settings.store(Arc::new(on));
    gate.see(9000, &[(2, seen(two, 95.0))], &[]).await;
    gate.event("record").await;
    let records = gate.inner.store.list_records(None, 10).unwrap();
    let waiting: Vec<_> = records.iter().map(|record| record.undelivered.clone()).collect();
    assert_eq!(waiting, [vec![Destination::Qyzn, Destination::HttpPush], vec![Destination::Qyzn]]);
    assert_eq!(records[0].facts.credentials, ["face"]);
}

#[tokio::test]
async fn a_known_face_opens_after_its_record_is_on_disk() {
    let mut gate = Bench::new(Settings::default());
    let rows = gate.enrol(Person { passes_left: Some(3), ..person("1") }).await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.event("relay").await.fields["state"], "off", "the line is put to rest at the start");
    assert_eq!(gate.event("relay").await.fields["state"], "on");
    assert!(gate.relay.level());
    // The door has just moved, and the record is on disk already.
    assert_eq!(gate.inner.store.list_records(None, 10).unwrap().len(), 1);
    assert_eq!(gate.verdict().await, ("pass".into(), "granted".into(), Some("person 1".into())));
    let stored = gate.event("record").await;
    let records = gate.inner.store.list_records(None, 10).unwrap();
    assert_eq!(records.len(), 1);
    let facts = &records[0].facts;
    assert_eq!(stored.fields["id"], records[0].id.0);
    assert_eq!((facts.result, facts.reason, facts.opened), (RecordResult::Granted, Reason::Granted, true));
    assert_eq!((facts.face_id.as_deref(), facts.card.as_deref()), (Some("face of 1"), Some("100")));
    assert_eq!((facts.score, facts.utc_offset_s), (Some(95.0), 28_800));
    assert_eq!(records[0].undelivered, [Destination::Qyzn]);
    // The frame was grey; what is stored is a JPEG.
    let picture = gate.inner.store.record_picture(records[0].id, crate::store::PictureKind::Snap).unwrap();
    assert_eq!(picture.unwrap()[..2], [0xff, 0xd8]);
    let left = gate.inner.store.person(&PersonKey::new(Origin::Qyzn, "1")).unwrap().unwrap().passes_left;
    assert_eq!(left, Some(2));
}

#[tokio::test]
async fn a_score_just_above_the_threshold_needs_a_second_frame() {
    let mut gate = Bench::new(Settings::default());
    let one = gate.enrol(person("1")).await;
    let two = gate.enrol(person("2")).await;
    // Two frames that name different people agree on nobody.
    gate.see(0, &[(1, seen(one, 81.0))], &[]).await;
    gate.see(66, &[(1, seen(two, 81.0))], &[]).await;
    gate.see(132, &[(1, seen(two, 82.0))], &[]).await;
    assert_eq!(gate.verdict().await.2, Some("person 2".into()));
    assert_eq!(gate.inner.store.list_records(None, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn one_visitor_is_one_session_and_the_next_behind_is_another() {
    let mut gate = Bench::new(Settings::default());
    let one = gate.enrol(person("1")).await;
    let two = gate.enrol(person("2")).await;
    gate.see(0, &[(1, seen(one, 95.0)), (2, Compared::Not)], &[]).await;
    assert_eq!(gate.verdict().await.2, Some("person 1".into()));
    // The first stays in the picture, the second becomes visible behind.
    for ms in [66, 132, 198] {
        gate.see(ms, &[(1, seen(one, 95.0)), (2, seen(two, 95.0))], &[]).await;
    }
    assert_eq!(gate.verdict().await.2, Some("person 2".into()));
    gate.see(264, &[], &[1, 2]).await;
    // The first comes back within the interval: no second passage, and no record of it.
    gate.see(330, &[(3, seen(one, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "too_soon");
    assert_eq!(gate.inner.store.list_records(None, 10).unwrap().len(), 2);
}

#[tokio::test]
async fn a_face_that_leaves_before_the_verdict_leaves_nothing() {
    let mut gate = Bench::new(Settings::default());
    let one = gate.enrol(person("1")).await;
    gate.see(0, &[(1, STRANGER)], &[]).await;
    gate.see(500, &[(1, STRANGER)], &[]).await;
    gate.see(900, &[], &[1]).await;
    // Another visitor is the next to get a verdict.
    gate.see(1000, &[(2, seen(one, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.2, Some("person 1".into()));
    assert_eq!(gate.inner.store.list_records(None, 10).unwrap().len(), 1);
}

#[tokio::test]
async fn a_stranger_is_told_after_a_second_and_may_still_be_recognised() {
    let mut gate = Bench::new(Settings::default());
    let one = gate.enrol(person("1")).await;
    for ms in [0, 400, 800, 1100] {
        gate.see(ms, &[(1, STRANGER)], &[]).await;
    }
    assert_eq!(gate.verdict().await, ("refuse".into(), "stranger".into(), None));
    assert!(!gate.relay.level());
    // Still a stranger: told once.
    gate.see(1200, &[(1, STRANGER)], &[]).await;
    gate.see(2400, &[(1, STRANGER)], &[]).await;
    // They turn to the camera. After so much doubt one frame is not enough, however clear, nor are frames between
    // which they look like a stranger again.
    for (ms, compared) in [(2500, seen(one, 95.0)), (2566, seen(one, 95.0)), (2632, STRANGER)] {
        gate.see(ms, &[(1, compared)], &[]).await;
    }
    for ms in [2700, 2766, 2832] {
        gate.see(ms, &[(1, seen(one, 95.0))], &[]).await;
    }
    // Another visitor's verdict comes first: there is none for this one yet.
    let two = gate.enrol(person("2")).await;
    gate.see(2840, &[(2, seen(two, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.2, Some("person 2".into()));
    gate.see(2898, &[(1, seen(one, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await, ("pass".into(), "granted".into(), Some("person 1".into())));
    gate.event("record").await;
    let records = gate.inner.store.list_records(None, 10).unwrap();
    assert_eq!(records.len(), 3);
    let first = &records[2].facts;
    assert_eq!((first.result, first.person_kind), (RecordResult::NoMatch, PersonKind::Stranger));
    assert_eq!(first.score, Some(31.0));
}

#[tokio::test]
async fn ten_visitors_at_once_all_get_their_verdict() {
    let mut gate = Bench::new(Settings::default());
    let mut faces = Vec::new();
    for number in 0..10_u64 {
        let kind = if number == 7 { PersonKind::Black } else { PersonKind::White };
        let rows = gate.enrol(Person { kind, ..person(&number.to_string()) }).await;
        faces.push((number, seen(rows, 95.0)));
    }
    gate.see(0, &faces, &[]).await;
    let mut verdicts = Vec::new();
    for _ in 0..10 {
        verdicts.push(gate.verdict().await);
    }
    verdicts.sort_by(|a, b| a.2.cmp(&b.2));
    for (number, verdict) in verdicts.iter().enumerate() {
        let expected = if number == 7 { ("refuse", "black_listed") } else { ("pass", "granted") };
        assert_eq!((verdict.0.as_str(), verdict.1.as_str()), expected, "{number}");
    }
    assert_eq!(gate.inner.store.list_records(None, 20).unwrap().len(), 10);
}

#[tokio::test]
async fn one_person_in_two_places_spends_one_passage() {
    let mut settings = Settings::default();
    settings.rules.min_interval = Duration::ZERO;
    let mut gate = Bench::new(settings);
    let rows = gate.enrol(Person { passes_left: Some(1), ..person("1") }).await;
    for ms in [0, 66] {
        gate.see(ms, &[(1, seen(rows, 95.0)), (2, seen(rows, 95.0))], &[]).await;
    }
    assert_eq!(gate.verdict().await.1, "granted");
    gate.see(132, &[(1, seen(rows, 95.0)), (2, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "used_up");
}

#[tokio::test]
async fn a_remote_side_that_is_online_opens() {
    let mut gate = Bench::new(remote(RemoteMode::RemoteWhenOnline));
    gate.inner.platform_reached.store(true, Ordering::Relaxed);
    let rows = gate.enrol(person("1")).await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    let verdict = gate.event("verdict").await;
    assert_eq!((&verdict.fields["verdict"], &verdict.fields["opened"]), (&"pass".into(), &false.into()));
    assert!(!gate.relay.level());
    let record = RecordId(verdict.fields["record"].as_i64().unwrap());
    gate.commands.send(Command::Answer { record, open: Some(true) }).await.ok().unwrap();
    // A repeated answer opens once.
    gate.commands.send(Command::Answer { record, open: Some(true) }).await.ok().unwrap();
    assert_eq!(gate.event("relay").await.fields["record"], record.0);
    assert_eq!(gate.event("record").await.fields["state"], "opened");
    gate.commands.send(Command::Answer { record, open: Some(false) }).await.ok().unwrap();
    assert_eq!(gate.event("relay").await.fields["state"], "off");
    assert!(gate.inner.store.record(record).unwrap().unwrap().facts.opened);
}

#[tokio::test]
async fn a_remote_side_without_a_line_is_not_online() {
    let mut gate = Bench::new(remote(RemoteMode::RemoteWhenOnline));
    let rows = gate.enrol(person("1")).await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.event("verdict").await.fields["opened"], true);
    assert!(gate.relay.level());
}

#[tokio::test]
async fn a_platform_that_goes_leaves_the_door_to_the_gate() {
    let mut gate = Bench::new(remote(RemoteMode::RemoteWhenOnline));
    gate.inner.platform_reached.store(true, Ordering::Relaxed);
    let (one, two) = (gate.enrol(person("1")).await, gate.enrol(person("2")).await);
    gate.see(0, &[(1, seen(one, 95.0))], &[]).await;
    let taken = RecordId(gate.event("verdict").await.fields["record"].as_i64().unwrap());
    gate.see(66, &[(2, seen(two, 95.0))], &[]).await;
    let waiting = gate.event("verdict").await.fields["record"].as_i64().unwrap();
    // The first record was taken, without a word about the door: somebody there is making up their mind.
    gate.commands.send(Command::Answer { record: taken, open: None }).await.ok().unwrap();
    gate.commands.send(Command::PlatformLost).await.ok().unwrap();
    let opened = gate.event("relay").await;
    assert_eq!((&opened.fields["state"], &opened.fields["record"]), (&"on".into(), &waiting.into()));
    assert_eq!(gate.event("record").await.fields["id"], waiting);
    assert!(!gate.inner.store.record(taken).unwrap().unwrap().facts.opened);
}

#[tokio::test]
async fn nobody_is_asked_about_twice_at_once() {
    let mut gate = Bench::new(remote(RemoteMode::RemoteWhenOnline));
    gate.inner.platform_reached.store(true, Ordering::Relaxed);
    let rows = gate.enrol(Person { passes_left: Some(1), ..person("1") }).await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    let record = RecordId(gate.event("verdict").await.fields["record"].as_i64().unwrap());
    // The face was lost for a moment, and is a new visitor to the camera.
    gate.see(100, &[], &[1]).await;
    gate.see(200, &[(2, seen(rows, 95.0))], &[]).await;
    gate.commands.send(Command::Answer { record, open: Some(true) }).await.ok().unwrap();
    assert_eq!(gate.event("relay").await.fields["state"], "on");
    assert_eq!(gate.event("record").await.fields["state"], "opened");
    gate.see(300, &[(2, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "used_up");
    assert_eq!(gate.inner.store.list_records(None, 10).unwrap().len(), 2);
}

#[tokio::test]
async fn a_door_that_fails_spends_nothing_and_the_record_says_so() {
    let mut gate = Bench::new(Settings::default());
    let rows = gate.enrol(Person { passes_left: Some(1), ..person("1") }).await;
    gate.inner.outputs.stop().await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    let verdict = gate.event("verdict").await;
    assert_eq!((&verdict.fields["reason"], &verdict.fields["opened"]), (&"granted".into(), &false.into()));
    let key = PersonKey::new(Origin::Qyzn, "1");
    assert!(!gate.inner.store.list_records(None, 1).unwrap()[0].facts.opened);
    assert_eq!(gate.inner.store.person(&key).unwrap().unwrap().passes_left, Some(1));
    assert_eq!(gate.inner.store.last_passage(&key).unwrap(), None);
    // They may try again at once.
    gate.see(100, &[], &[1]).await;
    gate.see(200, &[(2, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "granted");
}

#[tokio::test]
async fn where_the_platform_cannot_be_asked_for_want_of_a_record_the_gate_opens() {
    for (policy, opens) in [(config::OnStoreFailure::Open, true), (config::OnStoreFailure::Refuse, false)] {
        let mut gate = Bench::new(remote(RemoteMode::RemoteWhenOnline));
        let rows = gate.enrol(person("1")).await;
        gate.with_a_store_that_refuses(policy);
        gate.inner.platform_reached.store(true, Ordering::Relaxed);
        gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
        assert_eq!(gate.event("verdict").await.fields["opened"], opens);
        assert_eq!(gate.relay.level(), opens);
    }
}

#[tokio::test]
async fn a_platform_that_says_nothing_in_time_counts_as_gone() {
    let at_once = config::Gate { platform_timeout_s: 0, ..config::Gate::default() };
    let mut gate = Bench::with_config(remote(RemoteMode::RemoteWhenOnline), at_once.clone());
    gate.inner.platform_reached.store(true, Ordering::Relaxed);
    let rows = gate.enrol(person("1")).await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.event("verdict").await.fields["opened"], false);
    assert_eq!(gate.event("relay").await.fields["state"], "on");

    // Where the platform alone may open, the door stays shut and the visitor is told.
    let mut gate = Bench::with_config(remote(RemoteMode::Remote), at_once);
    let rows = gate.enrol(person("1")).await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.shown().await, "person 1 One moment, please");
    assert_eq!(gate.shown().await, "The platform does not answer, please ask for help");
    assert!(!gate.relay.level());
}

/// A template at an angle of `degrees` to a first one, in a plane of its own for each `plane`.
fn at_angle(degrees: f32, plane: usize) -> Template {
    let mut values = vec![0.0; 8];
    (values[0], values[plane]) = (degrees.to_radians().cos(), degrees.to_radians().sin());
    Template::normalised(values).unwrap()
}

#[tokio::test]
async fn two_platforms_know_one_face() {
    let gate = Bench::new(Settings::default());
    let gallery = Arc::new(Gallery::new(8).unwrap());
    follow(&gate.inner.store, &gallery);
    let eyes = watch::Eyes {
        gate: Arc::clone(&gate.inner),
        gallery: Arc::clone(&gallery),
        // The score is the cosine in hundredths.
        calibration: Calibration::new(vec![[-1.0, 0.0], [0.0, 0.0], [1.0, 100.0]]).unwrap(),
        ambiguity_margin: 2.0,
        smallest_face: 40,
        run: 1,
        settled: Arc::default(),
        sightings: mpsc::channel(1).0,
        looking: Loops::default().heartbeat("camera 0"),
        capturing: Loops::default().heartbeat("capture 0"),
        stop: Arc::default(),
    };
    let enrol = |origin: Origin, id: &'static str, name: &'static str, template: Template| {
        let key = PersonKey::new(origin, id);
        let face = NewFace {
            face_id: id.into(),
            picture: vec![1],
            model: "model".into(),
            template: template.to_bytes(),
        };
        let put = gate.inner.store.put_person(Person { key, name: name.into(), ..person(id) }, vec![face]);
        async move { put.await.unwrap().learn[0].person }
    };
    let look = || {
        let seen = at_angle(0.0, 1);
        let found = gallery.search(&seen).unwrap();
        match identify::identify(&eyes, &seen, found.as_ref(), 80.0) {
            Compared::Person { person, also, .. } => {
                Some((person, also.into_iter().map(|(_, person)| person).collect::<Vec<_>>()))
            }
            Compared::Ambiguous { .. } => None,
            other => panic!("{other:?}"),
        }
    };
    // 5 degrees away is 99.6, 10 degrees the other way 98.5; from each other 15 degrees, 96.6.
    let q = enrol(Origin::Qyzn, "1", "张三", at_angle(5.0, 1)).await;
    let w = enrol(Origin::TerminalWs, "A", "张三", at_angle(-10.0, 1)).await;
    assert_eq!(look(), Some((q, vec![w])));
    // Spelt otherwise it may be somebody else: nobody is locked out for it, and nobody has the other's rights.
    let rename = |name: &'static str| {
        gate.inner.store.edit_person(PersonKey::new(Origin::TerminalWs, "A"), move |person| {
            person.name = name.into();
            Ok(())
        })
    };
    rename("Zhang San").await.unwrap();
    assert_eq!(look(), Some((q, vec![])));
    let listed = |kind: PersonKind| {
        gate.inner.store.edit_person(PersonKey::new(Origin::TerminalWs, "A"), move |person| {
            person.kind = kind;
            Ok(())
        })
    };
    listed(PersonKind::Black).await.unwrap();
    assert_eq!(look(), Some((q, vec![w])), "a black list holds");
    listed(PersonKind::White).await.unwrap();
    rename("张三").await.unwrap();
    // A technician has enrolled the same face too.
    let l = enrol(Origin::Local, "x", "张三", at_angle(-12.0, 1)).await;
    assert_eq!(look(), Some((q, vec![w, l])));
    // Somebody else of the first platform is as near: now it is nobody, whatever the others say.
    enrol(Origin::Qyzn, "2", "李四", at_angle(6.0, 2)).await;
    assert_eq!(look(), None);
    gate.inner.store.delete_people(vec![PersonKey::new(Origin::Qyzn, "2")]).await.unwrap();
    // The nearest and a brother whom only the second platform knows: 25 degrees from each other is 90.6, but their
    // identity numbers differ.
    for (key, number) in [((Origin::Qyzn, "1"), "420381200010013857"), ((Origin::TerminalWs, "A"), "1")] {
        let edit = move |person: &mut Person| {
            person.id_number = Some(number.into());
            Ok(())
        };
        gate.inner.store.edit_person(PersonKey::new(key.0, key.1), edit).await.unwrap();
    }
    assert_eq!(look(), None);
}

#[tokio::test]
async fn a_face_that_two_platforms_know_is_one_passage_for_both() {
    let mut gate = Bench::new(Settings::default());
    let theirs = PersonKey::new(Origin::TerminalWs, "A");
    let q = gate.enrol(Person { passes_left: Some(5), ..person("1") }).await;
    let w = gate
        .enrol(Person { key: theirs.clone(), passes_left: Some(3), name: "other name".into(), ..person("A") })
        .await;
    let compared = |best: (FaceRow, PersonRow), also: (FaceRow, PersonRow)| Compared::Person {
        face: best.0,
        person: best.1,
        score: 82.0,
        also: vec![also],
    };
    // Which of the two is nearer changes from frame to frame; it is one visitor all the same.
    gate.see(0, &[(1, compared(w, q))], &[]).await;
    gate.see(66, &[(1, compared(q, w))], &[]).await;
    let verdict = gate.event("verdict").await;
    assert_eq!(
        (&verdict.fields["reason"], &verdict.fields["person"]["id"]),
        (&"granted".into(), &"1".into())
    );
    assert_eq!(verdict.fields["also"][0]["id"], "A");
    gate.event("record").await;
    let facts = gate.inner.store.list_records(None, 10).unwrap().remove(0).facts;
    let (own, other) = (facts.known_to(Origin::Qyzn).unwrap(), facts.known_to(Origin::TerminalWs).unwrap());
    assert_eq!((own.id, own.face_id, own.name), ("1", Some("face of 1"), "person 1"));
    assert_eq!((other.id, other.face_id, other.name), ("A", Some("face of A"), "other name"));
    assert_eq!(facts.known_to(Origin::Local), None);
    let left = |key: &PersonKey| gate.inner.store.person(key).unwrap().unwrap().passes_left;
    assert_eq!((left(&PersonKey::new(Origin::Qyzn, "1")), left(&theirs)), (Some(4), Some(2)));
    // A moment later only one of the names is seen: that is no second passage.
    gate.see(200, &[(2, seen(w, 95.0))], &[1]).await;
    assert_eq!(gate.verdict().await.1, "too_soon");
}

#[tokio::test]
async fn face_and_card_wait_for_each_other() {
    let mut settings = Settings::default();
    settings.rules.mode = PassMode::FaceAndCard;
    let mut gate = Bench::new(settings);
    let rows = gate.enrol(person("1")).await;
    gate.enrol(person("2")).await;
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    let verdict = gate.event("verdict").await;
    assert_eq!((&verdict.fields["verdict"], &verdict.fields["next"]), (&"await".into(), &"card".into()));
    let card = |number: &str| Command::Card { number: number.into(), at: tokio::time::Instant::now() };
    gate.commands.send(card("200")).await.ok().unwrap();
    assert_eq!(gate.verdict().await.1, "mismatch");
    assert!(!gate.relay.level());
    // The card first, then the face.
    gate.commands.send(card("100")).await.ok().unwrap();
    assert_eq!(gate.event("verdict").await.fields["next"], "face");
    gate.see(3000, &[(2, seen(rows, 95.0))], &[1]).await;
    assert_eq!(gate.verdict().await.1, "granted");
    assert!(gate.relay.level());
}

#[tokio::test]
async fn a_clock_set_back_by_a_year_neither_locks_out_nor_lets_in_twice() {
    let mut gate = Bench::new(Settings::default());
    let one = gate.enrol(person("1")).await;
    gate.see(0, &[(1, seen(one, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "granted");
    gate.clock.set("2025-03-02T04:00:00Z".parse().unwrap());
    gate.see(100, &[], &[1]).await;
    // The interval is still on, whatever the wall clock says.
    gate.see(200, &[(2, seen(one, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "too_soon");
    // After a restart only the record knows of the passage, which seems to lie a year ahead.
    gate.restart();
    gate.see(300, &[(3, seen(one, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "granted");
}

#[tokio::test]
async fn a_store_that_refuses_shuts_nobody_out_unless_told_to() {
    for (policy, opens) in [(config::OnStoreFailure::Open, true), (config::OnStoreFailure::Refuse, false)] {
        let mut gate = Bench::new(Settings::default());
        let rows = gate.enrol(person("1")).await;
        gate.with_a_store_that_refuses(policy);
        gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
        assert_eq!(gate.event("store").await.fields["state"], "failed");
        let verdict = gate.event("verdict").await;
        assert_eq!((&verdict.fields["opened"], &verdict.fields["record"]), (&opens.into(), &Value::Null));
        assert_eq!(gate.relay.level(), opens);
        // The record is kept in memory, and the technician can see that.
        let kept = gate.event("store").await;
        assert_eq!((&kept.fields["state"], &kept.fields["waiting"]), (&"refuses records".into(), &1.into()));
    }
}

#[tokio::test]
async fn an_answer_that_is_faster_than_the_door_is_obeyed() {
    let mut settings = Settings::default();
    settings.rules.remote = crate::access::Remote { mode: crate::access::RemoteMode::Remote, online: false };
    let mut gate = Bench::new(settings);
    let rows = gate.enrol(person("1")).await;
    // Before the record is answerable: the first record of a store has the number 1.
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    gate.commands.send(Command::Answer { record: RecordId(1), open: Some(true) }).await.ok().unwrap();
    assert_eq!(gate.event("relay").await.fields["state"], "off", "the line is put to rest at the start");
    let relay = gate.event("relay").await;
    assert_eq!((&relay.fields["state"], &relay.fields["record"]), (&"on".into(), &1.into()));
}

#[tokio::test]
async fn a_picture_of_somebody_is_refused_and_does_not_come_alive() {
    let mut settings = Settings::default();
    settings.face.live_level = 1;
    let mut gate = Bench::new(settings);
    let rows = gate.enrol(person("1")).await;
    // The judge has not seen enough: no verdict, for as long as it may take.
    gate.see(0, &[(1, seen(rows, 95.0))], &[]).await;
    gate.see(1000, &[(1, seen(rows, 95.0))], &[]).await;
    gate.judgement = Judgement::Attack;
    gate.see(1100, &[(1, seen(rows, 95.0))], &[]).await;
    assert_eq!(gate.verdict().await.1, "not_live");
    gate.judgement = Judgement::Live;
    gate.see(1200, &[(1, seen(rows, 95.0))], &[]).await;
    // The next visitor is live; the picture got no second verdict.
    gate.see(1300, &[(2, seen(rows, 95.0))], &[]).await;
    let verdict = gate.event("verdict").await;
    assert_eq!((&verdict.fields["reason"], &verdict.fields["track"]), (&"granted".into(), &2.into()));
    let records = gate.inner.store.list_records(None, 10).unwrap();
    assert!(!records.last().unwrap().facts.opened);
}

#[tokio::test]
async fn who_cannot_be_judged_in_time_is_refused() {
    let mut settings = Settings::default();
    settings.face.live_level = 1;
    let mut gate = Bench::new(settings);
    let rows = gate.enrol(person("1")).await;
    // Three seconds from the first comparison, not from the first sight.
    gate.see(0, &[(1, Compared::Not)], &[]).await;
    for ms in [2000, 4900, 5000] {
        gate.see(ms, &[(1, seen(rows, 95.0))], &[]).await;
    }
    let verdict = gate.event("verdict").await;
    assert_eq!(verdict.fields["reason"], "not_live");
    assert_eq!(gate.inner.store.list_records(None, 10).unwrap().len(), 1);
}

/// A machine that notes its orders. It never goes down, and sets its zone as it is told to.
struct Noting {
    orders: std::sync::Mutex<Vec<String>>,
    zone: fn(i16) -> Result<()>,
    began: mpsc::UnboundedSender<()>,
    go: std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Noting {
    fn note(&self, order: String) {
        self.orders.lock().unwrap().push(order);
    }

    fn orders(&self) -> Vec<String> {
        std::mem::take(&mut *self.orders.lock().unwrap())
    }
}

impl System for Noting {
    fn set_clock(&self, _now: jiff::Timestamp) -> Result<()> {
        Ok(())
    }

    fn set_zone(&self, minutes: i16) -> Result<()> {
        self.note(format!("zone {minutes}"));
        let _ = self.began.send(());
        let _ = self.go.lock().unwrap().recv();
        (self.zone)(minutes)
    }

    fn follow_ntp(&self, _server: Option<&crate::device::system::NtpServer>) -> Result<()> {
        Ok(())
    }

    fn may_restart(&self) -> Result<()> {
        Ok(())
    }

    fn restart(&self) -> Result<crate::device::system::Restart> {
        self.note("restart".into());
        Ok(crate::device::system::Restart::Machine)
    }
}

/// A gate on such a machine, what lets its zone be set, and what tells that it is about to be.
fn noting(
    zone: fn(i16) -> Result<()>,
) -> (Bench, Arc<Noting>, std::sync::mpsc::Sender<()>, mpsc::UnboundedReceiver<()>) {
    let (let_go, go) = std::sync::mpsc::channel();
    let (began, beginning) = mpsc::unbounded_channel();
    let system = Arc::new(Noting { orders: Default::default(), zone, began, go: go.into() });
    let machine = Machine::new(Arc::clone(&system) as Arc<dyn System>, LogLevel::default());
    (Bench::on(machine, Settings::default(), config::Gate::default()), system, let_go, beginning)
}

#[tokio::test]
async fn a_change_of_settings_outlives_its_caller() {
    let (bench, system, let_go, mut beginning) = noting(|_| Ok(()));
    let mut changes = bench.inner.settings_changed.subscribe();
    let inner = Arc::clone(&bench.inner);
    let zone = |settings: &mut Settings| {
        settings.time.utc_offset_minutes = 60;
        Ok(())
    };
    let caller = tokio::spawn(async move { inner.change_settings(zone, None).await });
    beginning.recv().await.unwrap();
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    drop(let_go);
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.expect("in force").unwrap();
    assert_eq!(bench.inner.settings.load().time.utc_offset_minutes, 60);
    assert_eq!(stored_groups(&bench.inner.store).unwrap()["time"]["utc_offset_minutes"], 60);
    assert_eq!(system.orders(), ["zone 60"]);
}

#[tokio::test]
async fn an_order_of_time_that_did_not_answer_is_taken_back() {
    let (bench, system, let_go, _beginning) = noting(|minutes| match minutes {
        60 => Err(Error::new(Kind::Timeout, "no answer")),
        _ => Ok(()),
    });
    drop(let_go);
    let before = bench.inner.settings.load().time.utc_offset_minutes;
    let zone = |settings: &mut Settings| {
        settings.time.utc_offset_minutes = 60;
        Ok(())
    };
    let error = bench.inner.change_settings(zone, None).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(system.orders(), ["zone 60".to_owned(), format!("zone {before}")]);
    assert_eq!(bench.inner.settings.load().time.utc_offset_minutes, before);
}

#[tokio::test]
async fn stored_settings_that_ask_for_a_helmet_cost_nothing_else() {
    let bench = Bench::new(Settings::default());
    let stored = serde_json::json!({ "face": { "similar_threshold": 85, "safety_helmet": true } });
    bench.inner.store.put_setting(SETTINGS_ROW, stored.to_string()).await.unwrap();
    let settings = stored_settings(&bench.inner.store, Settings::default(), &bench.inner.config).unwrap();
    assert_eq!((settings.face.similar_threshold, settings.face.safety_helmet), (85, false));
    let helmet = |settings: &mut Settings| {
        settings.face.safety_helmet = true;
        Ok(())
    };
    let error = bench.inner.change_settings(helmet, None).await.unwrap_err();
    assert!(error.message().starts_with("safetyhatDecect"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_did_not_go_down_is_told_again() {
    let (bench, system, _let_go, _beginning) = noting(|_| Ok(()));
    let order = || bench.inner.order_restart(OrderedBy::Technician);
    order().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    order().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(system.orders(), ["restart"], "on its way");
    tokio::time::sleep(Duration::from_secs(300)).await;
    order().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(system.orders(), ["restart"], "again");
}

#[test]
fn settings_of_a_newer_version_cost_their_own_keys_only() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data_dir: folder.path().into(), config: config::Store::default() };
    let store = Store::open(&options, Arc::new(crate::clock::SystemClock)).unwrap();
    let stored = serde_json::json!({
        "relay": { "enabled": true, "active_low": true, "pulse_ms": 900, "delay_ms": 0, "curve": "soft" },
        "rules": { "mode": "card", "stranger": { "identify": false, "open": false, "greet": true } },
        "light": { "lamp": "disco" },
        "aura": { "colour": "green" },
    });
    store.put_setting(super::SETTINGS_ROW, stored.to_string()).wait().unwrap();
    let settings = super::stored_settings(&store, Settings::default(), &config::Gate::default()).unwrap();
    assert!(settings.relay.active_low && settings.relay.pulse_ms == 900);
    assert_eq!(settings.rules.mode, crate::access::PassMode::Card);
    assert!(!settings.rules.stranger.identify);
    assert_eq!(settings.light, Settings::default().light, "what cannot be understood is not guessed");
}

/// A reader that panics, and then finds one document where nobody wants its print; the looks so far.
struct Shaky(u32);

impl crate::device::id_reader::IdReader for Shaky {
    fn name(&self) -> &str {
        "shaky"
    }

    fn look(
        &mut self,
        wanted: &crate::device::id_reader::Wanted,
    ) -> Result<Option<crate::document::Happening>> {
        self.0 += 1;
        assert!(self.0 > 1, "the driver falls over");
        Ok((self.0 == 2 && !wanted.viz).then_some(crate::document::Happening::Detected))
    }

    fn period(&self) -> Duration {
        Duration::from_millis(10)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_documents_that_fails_is_told_and_asked_again() {
    use crate::device::id_reader::Wanted;
    use crate::document::Happening;
    let bench = Bench::new(Settings::default());
    let documents = &bench.inner.documents;
    let mut happenings = documents.subscribe();
    let stop = Arc::new(AtomicBool::new(false));
    let (_, presenting) = mpsc::channel(1);
    super::documents::start(&bench.inner, &bench.commands, presenting, Some(Box::new(Shaky(0))), &stop)
        .unwrap();
    let offline = happenings.recv().await.unwrap();
    assert!(matches!(&offline, Happening::Offline { why } if why.contains("panicked")), "{offline:?}");
    documents.service_wants(Wanted { viz: false, ..Wanted::default() });
    let online = happenings.recv().await.unwrap();
    assert!(matches!(&online, Happening::Online { name, .. } if name == "shaky"), "{online:?}");
    let detected = happenings.recv().await.unwrap();
    assert!(matches!(detected, Happening::Detected), "{detected:?}");
    stop.store(true, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_service_switches_off_what_a_passage_needs() {
    use crate::access::PassMode;
    use crate::device::id_reader::Wanted;
    let nothing = Wanted { chip: false, viz: false, mrz: false, bar_code: true };
    for mode in PassMode::ALL {
        let mut settings = Settings::default();
        settings.rules.mode = mode;
        let bench = Bench::new(settings);
        let everything = Wanted { chip: true, viz: true, mrz: true, bar_code: false };
        assert_eq!(bench.inner.wanted(), everything, "without a service nobody needs bar codes");
        bench.inner.documents.service_wants(nothing);
        let documents =
            matches!(mode, PassMode::Document | PassMode::DocumentWhitelist | PassMode::FaceOrDocument);
        let expected = if documents { Wanted { bar_code: true, ..everything } } else { nothing };
        assert_eq!(bench.inner.wanted(), expected, "{mode:?}");
    }
}
