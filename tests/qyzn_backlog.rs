//! What waited while there was no line: a real gate, its store and thousands of records, at a platform that
//! drops the line again and again while new visitors come.
//!
//! The whole week: `cargo test --release --test qyzn_backlog -- --ignored --nocapture`
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use menshen::clock::{AdjustedClock, Clock, ManualClock};
use menshen::device::reader::Readers;
use menshen::device::{Devices, system};
use menshen::event::{Event, Events};
use menshen::gate::hardware::Templates;
use menshen::gate::settings::Settings;
use menshen::gate::{Gate, Parts};
use menshen::log::LogLevel;
use menshen::platform::qyzn::duties::Duties;
use menshen::platform::qyzn::link::{Identity, Link, Options};
use menshen::simulate::qyzn::{Entry, Misbehave, Platform};
use menshen::store::{self, Destination, NewRecord, OutboxId, RecordResult, Store};
use menshen::text::Language;
use menshen::update::Updates;
use menshen::{config, vision};
use serde_json::json;
use support::gate::passage;
use support::vision::models_dir;
use tokio::net::TcpStream;
use tokio::sync::{broadcast, watch};

/// When the week begins: a Monday, noon in Beijing.
const MONDAY: &str = "2026-03-02T04:00:00Z";

/// A gate with a link of its own options.
struct House {
    gate: Gate,
    store: Store,
    events: broadcast::Receiver<Arc<Event>>,
    stop: watch::Sender<bool>,
    link: tokio::task::JoinHandle<()>,
}

fn store_of(folder: &Path, clock: &Arc<ManualClock>) -> Store {
    let options = store::Options { data_dir: folder.to_owned(), config: config::Store::default() };
    Store::open(&options, clock.clone()).unwrap()
}

impl House {
    fn start(
        folder: &Path,
        store: Store,
        clock: &Arc<ManualClock>,
        back_off: (Duration, Duration),
        server: SocketAddr,
    ) -> Self {
        let events = Events::new(clock.clone());
        let (_, heard) = events.subscribe(u64::MAX);
        let (gate, _eyes, _ending) = Gate::start(Parts {
            clock: clock.clone(),
            events,
            store: store.clone(),
            config: config::Gate::default(),
            vision: config::Vision { models_dir: models_dir(), ..config::Vision::default() },
            settings: Settings::default(),
            language: Language::Chinese,
            destinations: vec![Destination::Qyzn],
            devices: Devices::default(),
            templates: Templates::new(&config::Device::default()),
            readers: Readers::default(),
            system: system::open("none", AdjustedClock::new(clock.clone()), Path::new("/nowhere")).unwrap(),
            log: LogLevel::default(),
            models: vision::Models::open(&models_dir(), "auto").unwrap(),
        })
        .unwrap();
        let identity = Identity {
            serial: "FEDCBA9876543210".into(),
            mac: "0064871ECB01".into(),
            model: "MS01".into(),
            version: "V0.1.0".into(),
        };
        let config = config::Qyzn::new(server.to_string());
        let updates = Updates::new(&config::Update::default(), folder, gate.events());
        let duties = Arc::new(Duties::new(gate.clone(), identity, Language::Chinese, updates));
        let announcing = Arc::clone(&duties);
        let (link, _requests) = Link::new(duties, Options { back_off, ..Options::new(&config) });
        let (stop, stopped) = watch::channel(false);
        let dial = move || async move {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let link = tokio::spawn(async move {
            tokio::select! {
                () = link.run(dial, stopped) => {}
                () = announcing.announce_records() => {}
            }
        });
        Self { gate, store, events: heard, stop, link }
    }

    /// As a passage does: a record on the disk, and the word of it.
    async fn passage(&self, name: &str, at: Timestamp, picture: &[u8]) {
        let id = self.store.append_record(record(name, at, RecordResult::Granted, picture)).await.unwrap();
        self.gate.events().send("record", json!({ "id": id, "state": "stored" }));
    }

    async fn event(&mut self, wanted: impl Fn(&Event) -> bool) -> Arc<Event> {
        tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                match self.events.recv().await {
                    Ok(event) if wanted(&event) => return event,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => panic!("the gate has ended"),
                }
            }
        })
        .await
        .expect("the event comes")
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.link.await.unwrap();
        let store = self.store;
        drop(self.gate);
        tokio::task::spawn_blocking(move || store.close()).await.unwrap();
    }
}

fn record(name: &str, at: Timestamp, result: RecordResult, picture: &[u8]) -> NewRecord {
    let mut record = passage(name, picture, &[Destination::Qyzn]);
    (record.facts.at, record.facts.result) = (at, result);
    record
}

/// `count` records, one every `step`, made while there was no line. Each fourth was refused.
async fn offline(
    store: &Store,
    clock: &Arc<ManualClock>,
    count: usize,
    step: SignedDuration,
    picture: &[u8],
) {
    let mut made = 0;
    while made < count {
        let orders: Vec<_> = (made..(made + 500).min(count))
            .map(|number| {
                let at = clock.now() + step;
                clock.set(at);
                let result = if number % 4 == 3 { RecordResult::NoMatch } else { RecordResult::Granted };
                store.append_record(record(&format!("b{number}"), at, result, picture))
            })
            .collect();
        made += orders.len();
        for order in orders {
            order.await.unwrap();
        }
    }
}

/// A JPEG's beginning and so many bytes behind it.
fn picture(bytes: usize) -> Vec<u8> {
    let mut picture = vec![0xff, 0xd8, 0xff, 0xdb];
    picture.extend((0..bytes).map(|i| (i * 7) as u8));
    picture
}

/// Each `snapshot_face` that the platform has seen: name, sequence, whether it was a repetition.
fn seen(platform: &Platform, from: usize) -> Vec<(String, i64, bool)> {
    let entries = platform.journal().from(from);
    let snapshots = entries.iter().filter(|entry| entry.event == "snapshot_face");
    snapshots
        .map(|entry| (entry.text("fullName").to_owned(), entry.int("seq").unwrap(), entry.flag("resent")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_backlog_and_the_new_ones_share_a_line_that_is_dropped_again_and_again() {
    const BACKLOG: usize = 1500;
    const NEW: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(MONDAY.parse().unwrap());
    let platform = Platform::new(clock.clone());
    let server = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let picture = picture(500);
    let store = store_of(folder.path(), &clock);
    offline(&store, &clock, BACKLOG, SignedDuration::from_secs(6), &picture).await;
    platform.misbehave(Misbehave { close_after: Some(150), ..Misbehave::default() });
    let back_off = (Duration::from_millis(5), Duration::from_millis(50));
    let house = House::start(folder.path(), store, &clock, back_off, server);
    platform.wait_for(|entry| entry.event == "snapshot_face").await.unwrap();
    // A visitor with every fourth record that the platform takes, until all have come.
    let mut from = 0;
    let mut stored = Vec::new();
    for number in 0..NEW {
        let mut taken = 0;
        let fourth = |entry: &Entry| {
            taken += usize::from(entry.event == "snapshot_face");
            taken == 4
        };
        let next = platform.wait_after(from, fourth).await.unwrap();
        from = next.number + 1;
        house.passage(&format!("n{number}"), clock.now(), &picture).await;
        stored.push(platform.journal().len());
    }
    let last = format!("b{}", BACKLOG - 1);
    platform.wait_for(|entry| entry.text("fullName") == last).await.unwrap();
    platform.wait_for(|entry| entry.text("fullName") == format!("n{}", NEW - 1)).await.unwrap();
    // Until the last mark is on the disk.
    platform.misbehave(Misbehave::default());
    while house.store.outbox_len(Destination::Qyzn).unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    house.stop().await;

    let all = seen(&platform, 0);
    let base = all[0].1;
    let mut sequences: BTreeMap<String, i64> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (name, seq, resent) in &all {
        match sequences.insert(name.clone(), *seq) {
            None => {
                assert!(!resent);
                order.push(name);
            }
            Some(before) => assert_eq!((before, true), (*seq, *resent), "{name} has its sequence for ever"),
        }
    }
    assert_eq!(order.len(), BACKLOG + NEW, "none is lost");
    for kind in ['b', 'n'] {
        let numbers: Vec<usize> = order
            .iter()
            .filter(|name| name.starts_with(kind))
            .map(|name| name[1..].parse().unwrap())
            .collect();
        assert!(numbers.is_sorted(), "oldest first: {kind}");
    }
    for number in 0..BACKLOG {
        assert_eq!(sequences[&format!("b{number}")], base + number as i64);
    }
    for number in 0..NEW {
        assert_eq!(sequences[&format!("n{number}")], base + (BACKLOG + number) as i64);
    }
    // The visitors did not wait for the backlog: half of them at least for no more than the record that was on
    // the wire, the one before the gate took notice, and one of a dropped line.
    let entries = platform.journal().from(0);
    let mut waited: Vec<usize> = (0..NEW)
        .map(|number| {
            let name = format!("n{number}");
            let came = entries.iter().position(|entry| entry.text("fullName") == name).unwrap();
            let before = &entries[stored[number].min(came)..came];
            let of = |kind| before.iter().filter(|entry| entry.text("fullName").starts_with(kind)).count();
            // Visitors before take turns with the backlog as well.
            of('b').saturating_sub(of('n'))
        })
        .collect();
    waited.sort_unstable();
    eprintln!(
        "records of the backlog before a visitor: for half of them {}, at most {}",
        waited[NEW / 2],
        waited[NEW - 1]
    );
    assert!(waited[NEW / 2] <= 3, "{waited:?}");
    // Nor did the backlog wait for the visitors.
    let end = all.iter().rposition(|(name, ..)| name.starts_with('b')).unwrap();
    let runs = all[..end].chunk_by(|a, b| a.0.starts_with('n') && b.0.starts_with('n'));
    let longest = runs.map(<[_]>::len).max().unwrap();
    assert!(longest <= 2, "{longest} new ones in a row beside a backlog");
    let connections = platform.journal().from(0).iter().filter(|entry| entry.event == "logged_in").count();
    assert!(connections > 10, "{connections} connections");
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_sent_again_with_its_sequences_and_over_a_restart() {
    const RECORDS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(MONDAY.parse().unwrap());
    let platform = Platform::new(clock.clone());
    let server = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let picture = picture(100);
    let store = store_of(folder.path(), &clock);
    offline(&store, &clock, RECORDS, SignedDuration::from_secs(60), &picture).await;
    let back_off = (Duration::from_millis(5), Duration::from_millis(50));
    let mut house = House::start(folder.path(), store, &clock, back_off, server);
    let last = format!("b{}", RECORDS - 1);
    platform.wait_for(|entry| entry.text("fullName") == last).await.unwrap();
    let first: BTreeMap<String, i64> =
        seen(&platform, 0).into_iter().map(|(name, seq, _)| (name, seq)).collect();

    // Records 10 to 19: minutes 11 to 20 after noon. Of them 11, 15 and 19 were refused.
    let minutes = |kind: i64| {
        json!({"recordType": kind, "snapStartTime": ["2026-03-02 12:11:00"],
        "snapEndTime": "2026-03-02 12:20:00"})
    };
    let from = platform.journal().len();
    let answer = platform.request("reSend_record_set", minutes(0)).await.unwrap();
    assert_eq!(answer, json!({"result": 0, "desc": "Success", "data": {}}));
    let told = house.event(|event| event.fields["state"] == "records_asked_again").await;
    assert_eq!((&told.fields["found"], &told.fields["waiting"]), (&json!(3), &json!(0)));
    assert_eq!(told.fields["from"], "2026-03-02 12:11:00");
    platform.wait_after(from, |entry| entry.text("fullName") == "b19").await.unwrap();
    let again: Vec<(String, i64, bool)> = seen(&platform, from);
    assert_eq!(again.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), ["b11", "b15", "b19"]);
    for (name, seq, resent) in &again {
        assert_eq!((first[name], true), (*seq, *resent));
    }
    while house.store.asked_again_len(Destination::Qyzn).unwrap() > 0 {
        tokio::task::yield_now().await;
    }

    // Asked twice while nothing is acknowledged, over a restart: each comes once more.
    platform.misbehave(Misbehave { silent: true, ..Misbehave::default() });
    for _ in 0..2 {
        platform.request("reSend_record_set", minutes(2)).await.unwrap();
    }
    let told = house.event(|event| event.fields["state"] == "records_asked_again").await;
    assert_eq!((&told.fields["found"], &told.fields["waiting"]), (&json!(10), &json!(0)));
    let told = house.event(|event| event.fields["state"] == "records_asked_again").await;
    assert_eq!((&told.fields["found"], &told.fields["waiting"]), (&json!(10), &json!(10)));
    house.stop().await;
    // What was on the wire has been read.
    platform.wait_for(|entry| entry.event == "closed" && entry.connection == 1).await.unwrap();
    platform.misbehave(Misbehave::default());
    let from = platform.journal().len();
    let store = store_of(folder.path(), &clock);
    assert_eq!(store.asked_again_len(Destination::Qyzn).unwrap(), 10);
    let house = House::start(folder.path(), store, &clock, back_off, server);
    platform.wait_after(from, |entry| entry.text("fullName") == "b19").await.unwrap();
    while house.store.asked_again_len(Destination::Qyzn).unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    let names: Vec<String> = seen(&platform, from).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, (10..20).map(|number| format!("b{number}")).collect::<Vec<_>>());

    // Cleared, nothing that was asked comes any more.
    platform.answer_with("snapshot_face", 109, json!({"waitSeconds": 300}), None);
    platform.request("reSend_record_set", minutes(2)).await.unwrap();
    assert_eq!(platform.request("record_clear", json!({})).await.unwrap()["result"], 0);
    assert_eq!(house.store.asked_again_len(Destination::Qyzn).unwrap(), 0);
    assert_eq!(house.store.outbox(Destination::Qyzn, Some(OutboxId(0)), 1).unwrap().len(), 0);
    for (data, desc) in [
        (json!({}), "recordType: is missing"),
        (json!({"recordType": 9}), "recordType: must be 0 to 2, not 9"),
        (json!({"recordType": 2, "snapStartTime": "2026-03-02 12:11:00"}), "snapEndTime: is missing"),
        (
            json!({"recordType": 2, "snapStartTime": "2026-03-02 12:11:01", "snapEndTime": "2026-03-02 12:11:00"}),
            "snapStartTime: is after snapEndTime",
        ),
    ] {
        let answer = platform.request("reSend_record_set", data).await.unwrap();
        assert_eq!((&answer["result"], &answer["desc"]), (&json!(104), &json!(desc)));
    }
    house.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

/// The full size, for its figures: a week without a line, then a platform that drops the line every three
/// seconds, and a visitor every half second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "some minutes; run it alone, in release, with --nocapture"]
async fn a_week_offline() {
    const BACKLOG: usize = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(MONDAY.parse().unwrap());
    let platform = Platform::new(clock.clone());
    let server = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let picture = picture(4000);
    let store = store_of(folder.path(), &clock);
    let began = Instant::now();
    offline(&store, &clock, BACKLOG, SignedDuration::from_millis(7 * 86_400_000 / BACKLOG as i64), &picture)
        .await;
    let megabytes = store.counts().unwrap().bytes as f64 / 1e6;
    eprintln!(
        "{BACKLOG} records of {} bytes of picture in {:.1} s; the store has {megabytes:.0} MB",
        picture.len(),
        began.elapsed().as_secs_f64()
    );
    let back_off = (Duration::from_secs(1), Duration::from_secs(60));
    let began = Instant::now();
    let house = House::start(folder.path(), store, &clock, back_off, server);
    let dropping = {
        let platform = platform.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_secs(3));
            every.tick().await;
            loop {
                every.tick().await;
                platform.disconnect();
            }
        })
    };
    let mut visitors = tokio::time::interval(Duration::from_millis(500));
    let mut waits = Vec::new();
    let mut connected = Vec::new();
    while house.store.outbox_len(Destination::Qyzn).unwrap() > 0 {
        visitors.tick().await;
        let name = format!("n{}", waits.len());
        let from = platform.journal().len();
        let online = platform.wait_until_logged_in();
        let online = tokio::time::timeout(Duration::ZERO, online).await.is_ok();
        let came = Instant::now();
        house.passage(&name, clock.now(), &picture).await;
        platform.wait_after(from, |entry| entry.text("fullName") == name).await.unwrap();
        waits.push(came.elapsed());
        if online {
            connected.push(came.elapsed());
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    dropping.abort();
    let entries = platform.journal().from(0);
    let logins = entries.iter().filter(|entry| entry.event == "logged_in").count();
    let all: BTreeSet<String> = seen(&platform, 0).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(all.len(), BACKLOG + waits.len());
    eprintln!(
        "{} records in {seconds:.1} s over {logins} connections: {:.0} a second",
        all.len(),
        all.len() as f64 / seconds
    );
    for (what, waits) in [("all", &mut waits), ("those who came while there was a line", &mut connected)] {
        waits.sort();
        let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        eprintln!(
            "visitors, {what}: {}; from the passage to the platform: median {:.1} ms, 90 % {:.1} ms, most {:.0} ms",
            waits.len(),
            at(0.5),
            at(0.9),
            at(1.0)
        );
    }
    let megabytes = house.store.counts().unwrap().bytes as f64 / 1e6;
    eprintln!("the store has {megabytes:.0} MB");
    house.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}
