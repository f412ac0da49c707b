//! Records and heartbeats over HTTP, to a server that verifies each of them.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod process;
    pub mod tls;
    pub mod vision;
}

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use menshen::config;
use menshen::gate::settings::PushSettings;
use menshen::platform::http_push::{self, Options};
use menshen::simulate::http_push::Receiver;
use menshen::simulate::qyzn::Entry;
use menshen::store::{Destination, PictureKind, Store};
use serde_json::json;
use support::gate::{Running, platform};
use support::vision::bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);
const BOTH: [Destination; 2] = [Destination::Qyzn, Destination::HttpPush];
const PUSH: [Destination; 1] = [Destination::HttpPush];

/// A gate with push beside it.
struct Site {
    running: Running,
    push: JoinHandle<menshen::Result<()>>,
    stop: watch::Sender<bool>,
}

fn quick() -> Options {
    Options {
        back_off: (Duration::from_millis(10), Duration::from_millis(50)),
        refusal: Duration::from_millis(1),
        ..Options::default()
    }
}

impl Site {
    fn start(folder: &Path, qyzn: SocketAddr, options: Options, pinned: &str) -> Self {
        let running = Running::start(folder, qyzn);
        let (stop, stopped) = watch::channel(false);
        let config = config::HttpPush { pinned_certificate: pinned.into() };
        let gate = running.gate.clone();
        let push = tokio::spawn(http_push::run(gate, config::Terminal::default(), config, options, stopped));
        Self { running, push, stop }
    }

    async fn set(&self, change: impl FnOnce(&mut PushSettings) + Send) {
        self.running
            .gate
            .change_settings(|settings| {
                change(&mut settings.push);
                Ok(())
            })
            .await
            .unwrap();
    }

    async fn record(&self, name: &str) {
        self.running.record_for(name, &bytes("pictures/p01-1.jpg"), &PUSH).await;
    }

    /// The next event of push in this state.
    async fn state(&mut self, state: &str) -> Arc<menshen::event::Event> {
        let wanted = |event: &menshen::event::Event| {
            event.kind == "platform"
                && event.fields["platform"] == "http_push"
                && event.fields["state"] == state
        };
        self.running.event(wanted).await
    }

    /// Waits until no record waits, as a heartbeat says.
    async fn all_delivered(&self, receiver: &Receiver) {
        let from = receiver.journal().len();
        self.set(|push| push.heartbeat_s = 1).await;
        let none_waits = |entry: &Entry| entry.event == "heartbeat" && entry.int("waiting") == Some(0);
        receiver.journal().wait_for(from, PATIENCE, none_waits).await.unwrap();
    }

    /// Stops it.
    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.push.await.unwrap().unwrap();
        self.running.stop().await;
    }
}

fn waiting(folder: &Path) -> u64 {
    let options = menshen::store::Options { data_dir: folder.to_owned(), config: config::Store::default() };
    Store::open_read_only(&options).unwrap().outbox_len(Destination::HttpPush).unwrap()
}

async fn receiver(secret: &str) -> (Receiver, SocketAddr) {
    let receiver = Receiver::new(Some(secret.into()));
    let address = receiver.listen("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    (receiver, address)
}

async fn received(receiver: &Receiver, wanted: impl FnMut(&Entry) -> bool) -> Arc<Entry> {
    receiver.journal().wait_for(0, PATIENCE, wanted).await.unwrap()
}

/// The names of the records that came, in their order.
fn names(receiver: &Receiver) -> Vec<String> {
    let entries = receiver.journal().from(0);
    let records = entries.iter().filter(|entry| entry.event == "record");
    records.map(|entry| entry.text("fullName").to_owned()).collect()
}

fn push_to(settings: &mut PushSettings, address: SocketAddr) {
    settings.enabled = true;
    settings.server = format!("{}/gate/push?site=1", address.ip());
    settings.port = address.port();
    settings.app_id = "12355".into();
    settings.app_secret = "afaf".into();
    settings.auth_sn = "fafafa".into();
    settings.heartbeat_s = 0;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_to_the_platform_and_to_the_server_each_at_its_own_pace() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, qyzn) = platform().await;
    let (receiver, address) = receiver("afaf").await;
    let mut site = Site::start(folder.path(), qyzn, quick(), "");
    let picture = bytes("pictures/p01-1.jpg");
    // Off: nothing moves, the platform has its records.
    site.running.record_for("record 0", &picture, &BOTH).await;
    platform.wait_for(|entry| entry.text("fullName") == "record 0").await.unwrap();
    assert!(receiver.journal().is_empty());
    site.set(|push| {
        push_to(push, address);
        push.heartbeat_s = 1;
    })
    .await;
    let reached = site.state("reached").await;
    assert_eq!(reached.fields["server"], format!("http://{address}"));
    assert_eq!(reached.fields["standby"], false);
    let first = received(&receiver, |entry| entry.event == "record").await;
    assert_eq!((first.text("fullName"), first.text("personId")), ("record 0", "100001"));
    assert_eq!((first.text("reason"), first.flag("opened")), ("granted", true));
    assert_eq!(first.fields["persons"]["qyzn"], "100001");
    assert_eq!(first.fields["credential"][0], "face");
    assert_eq!(first.text("snaptime"), "2026-03-02 12:00:00");
    assert_eq!(first.text("snapPic_md5"), format!("{:x}", md5::compute(&picture)));
    platform.misbehave("silent".parse().unwrap());
    for number in 1..=20 {
        site.running.record_for(&format!("record {number}"), &picture, &BOTH).await;
    }
    received(&receiver, |entry| entry.text("fullName") == "record 20").await;
    let wanted: Vec<_> = (0..=20).map(|number| format!("record {number}")).collect();
    assert_eq!(names(&receiver), wanted);
    // Two, so that one came by the clock.
    let mut heartbeats = 0;
    received(&receiver, |entry| {
        heartbeats += u32::from(entry.event == "heartbeat");
        heartbeats == 2
    })
    .await;
    // Without pictures where reports have none.
    site.running
        .gate
        .change_settings(|settings| {
            settings.report.with_picture = false;
            Ok(())
        })
        .await
        .unwrap();
    site.running.record_for("without", &picture, &BOTH).await;
    let without = received(&receiver, |entry| entry.text("fullName") == "without").await;
    assert_eq!(without.int("snapPic_bytes"), Some(0));
    // What was compared goes along, as to the platform.
    let mut compared = support::gate::passage("compared", &picture, &BOTH);
    compared.pictures.push((PictureKind::Document, bytes("pictures/p01-2.jpg")));
    let id = site.running.store.append_record(compared).await.unwrap();
    site.running.gate.events().send("record", json!({ "id": id, "state": "stored" }));
    let told = received(&receiver, |entry| entry.text("fullName") == "compared").await;
    assert_eq!(told.int("snapPic_bytes"), Some(0));
    assert_eq!(told.text("comparePic_md5"), format!("{:x}", md5::compute(bytes("pictures/p01-2.jpg"))));
    site.all_delivered(&receiver).await;
    site.stop().await;
    assert_eq!(receiver.violations(), [""; 0]);
    assert_eq!(waiting(folder.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_keeps_its_id_through_errors_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let (receiver, address) = receiver("afaf").await;
    receiver.answer_with(StatusCode::INTERNAL_SERVER_ERROR, None);
    let mut site = Site::start(folder.path(), qyzn, quick(), "");
    site.set(|push| push_to(push, address)).await;
    site.record("record 0").await;
    site.record("record 1").await;
    let lost = site.state("lost").await;
    let reason = lost.fields["reason"].as_str().unwrap();
    assert_eq!(reason, "the server answered 500 Internal Server Error: as it was told");
    assert!(lost.fields["retry_ms"].as_u64().unwrap() <= 10);
    site.stop().await;
    assert_eq!(waiting(folder.path()), 2);
    let from = receiver.journal().len();
    receiver.answer_with(StatusCode::NO_CONTENT, None);
    let mut site = Site::start(folder.path(), qyzn, quick(), "");
    site.state("reached").await;
    let journal = receiver.journal();
    let last = journal.wait_for(from, PATIENCE, |entry| entry.text("fullName") == "record 1").await.unwrap();
    assert!(!last.flag("resent"), "it waited behind the first");
    let entries = journal.from(0);
    let mut ids: Vec<_> = entries
        .iter()
        .filter(|entry| entry.text("fullName") == "record 0")
        .map(|entry| entry.text("recordId").to_owned())
        .collect();
    assert!(ids.len() >= 2);
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_ne!(ids[0], last.text("recordId"));
    site.all_delivered(&receiver).await;
    site.stop().await;
    assert_eq!(waiting(folder.path()), 0);
    assert_eq!(receiver.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_three_times_lets_the_others_by_and_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let (receiver, address) = receiver("afaf").await;
    receiver.answer_name("record 1", StatusCode::UNPROCESSABLE_ENTITY);
    let options = Options { review: Duration::from_millis(100), ..quick() };
    let mut site = Site::start(folder.path(), qyzn, options, "");
    for number in 0..4 {
        site.record(&format!("record {number}")).await;
    }
    site.set(|push| push_to(push, address)).await;
    let refused = site.state("record_refused").await;
    assert_eq!(refused.fields["result"], 422);
    assert_eq!(refused.fields["desc"], "as it was told");
    received(&receiver, |entry| entry.text("fullName") == "record 3").await;
    assert_eq!(
        names(&receiver)[..6],
        ["record 0", "record 1", "record 1", "record 1", "record 2", "record 3"]
    );
    let from = receiver.journal().len();
    receiver.answer_name("record 1", StatusCode::OK);
    let wanted = |entry: &Entry| entry.text("fullName") == "record 1" && entry.flag("resent");
    receiver.journal().wait_for(from, PATIENCE, wanted).await.unwrap();
    // Another one behind it: the answer to the one before has been taken.
    site.record("record 4").await;
    received(&receiver, |entry| entry.text("fullName") == "record 4").await;
    site.all_delivered(&receiver).await;
    site.stop().await;
    assert_eq!(waiting(folder.path()), 0);
    assert_eq!(receiver.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_while_heartbeats_are_taken_lets_the_others_by() {
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let (receiver, address) = receiver("afaf").await;
    receiver.answer_name("record 1", StatusCode::INTERNAL_SERVER_ERROR);
    let options = Options { review: Duration::from_millis(100), ..quick() };
    let mut site = Site::start(folder.path(), qyzn, options, "");
    for number in 0..4 {
        site.record(&format!("record {number}")).await;
    }
    site.set(|push| {
        push_to(push, address);
        push.heartbeat_s = 1;
    })
    .await;
    // The states in their order: heartbeats that are taken do not hide that records are not.
    let mut states = Vec::new();
    while states.len() < 3 || states.last().is_some_and(|state| state != "reached") {
        let event = site
            .running
            .event(|event| event.kind == "platform" && event.fields["platform"] == "http_push")
            .await;
        if event.fields["state"] == "record_refused" {
            assert_eq!(event.fields["result"], 500);
        }
        states.push(event.fields["state"].as_str().unwrap().to_owned());
    }
    states.dedup();
    assert_eq!(states, ["reached", "lost", "record_refused", "reached"]);
    received(&receiver, |entry| entry.text("fullName") == "record 3").await;
    let names = names(&receiver);
    assert!(names.iter().filter(|name| *name == "record 1").count() >= 10, "{names:?}");
    // It is tried again, and that it fails still is no news.
    let again = |entry: &Entry| entry.text("fullName") == "record 1";
    let from = receiver.journal().len();
    receiver.journal().wait_for(from, PATIENCE, again).await.unwrap();
    let from = receiver.journal().len();
    receiver.journal().wait_for(from, PATIENCE, again).await.unwrap();
    receiver.answer_name("record 1", StatusCode::OK);
    site.set(|push| push.heartbeat_s = 0).await;
    site.all_delivered(&receiver).await;
    site.stop().await;
    assert_eq!(waiting(folder.path()), 0);
    assert_eq!(receiver.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_patience_gets_it() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        for answer in ["429 Slow\r\nretry-after: 0", "500 Oh\r\nretry-after: 0", "503 Busy\r\nretry-after: 7"]
        {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let (mut line, mut length) = (String::new(), 0);
            while line != "\r\n" {
                line.clear();
                stream.read_line(&mut line).await.unwrap();
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            stream.read_exact(&mut vec![0; length]).await.unwrap();
            let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut site = Site::start(folder.path(), qyzn, quick(), "");
    site.record("record 0").await;
    site.set(|push| push_to(push, address)).await;
    for wanted in [10, 10, 7000] {
        assert_eq!(site.state("lost").await.fields["retry_ms"], wanted);
    }
    server.await.unwrap();
    site.stop().await;
    assert_eq!(waiting(folder.path()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_standby_serves_while_the_first_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let first = support::process::free_address();
    let (standby, address) = receiver("afaf").await;
    // At once: whenever something is sent the first is asked before.
    let options = Options { back_to_first: Duration::ZERO, ..quick() };
    let mut site = Site::start(folder.path(), qyzn, options, "");
    site.set(|push| {
        push_to(push, first);
        push.standby = format!("http://{address}/standby");
    })
    .await;
    site.record("record 0").await;
    let reached = site.state("reached").await;
    assert_eq!(
        (&reached.fields["server"], &reached.fields["standby"]),
        (&format!("http://{address}").into(), &true.into())
    );
    received(&standby, |entry| entry.text("fullName") == "record 0").await;
    // The first is back.
    let main = Receiver::new(Some("afaf".into()));
    main.listen(first, None).await.unwrap();
    site.record("record 1").await;
    let reached = site.state("reached").await;
    assert_eq!(
        (&reached.fields["server"], &reached.fields["standby"]),
        (&format!("http://{first}").into(), &false.into())
    );
    received(&main, |entry| entry.text("fullName") == "record 1").await;
    // And gone, as behind a proxy that says so; then the standby as well.
    main.answer_with(StatusCode::BAD_GATEWAY, None);
    site.record("record 2").await;
    received(&standby, |entry| entry.text("fullName") == "record 2").await;
    standby.stop();
    site.record("record 3").await;
    let lost = site.state("lost").await;
    let reason = lost.fields["reason"].as_str().unwrap();
    assert!(reason.contains("502") && reason.contains("cannot be reached"), "{reason}");
    main.answer_with(StatusCode::OK, None);
    site.state("reached").await;
    site.stop().await;
    assert_eq!(names(&standby), ["record 0", "record 2"]);
    assert_eq!(waiting(folder.path()), 0);
    assert_eq!((main.violations(), standby.violations()), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_settings_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let (one, first) = receiver("afaf").await;
    let (two, second) = receiver("other").await;
    // Pauses that nobody waits for: only the change can end them.
    let options = Options { back_off: (Duration::from_secs(3600), Duration::from_secs(3600)), ..quick() };
    let mut site = Site::start(folder.path(), qyzn, options, "");
    site.set(|push| push_to(push, first)).await;
    site.record("record 0").await;
    received(&one, |entry| entry.text("fullName") == "record 0").await;
    site.set(|push| push.server = "http://127.0.0.1:9/".into()).await;
    site.set(|push| push.server = "ftp://127.0.0.1/".into()).await;
    let lost = loop {
        let lost = site.state("lost").await;
        if lost.fields.get("retry_ms").is_none() {
            break lost;
        }
    };
    assert_eq!(lost.fields["reason"], "HttpPush.httpServerAddr: is neither http nor https");
    site.set(|push| push.enabled = false).await;
    site.record("record 1").await;
    site.set(|push| {
        push_to(push, second);
        push.app_secret = "other".into();
    })
    .await;
    received(&two, |entry| entry.text("fullName") == "record 1").await;
    site.stop().await;
    assert_eq!(names(&one), ["record 0"]);
    assert_eq!((one.violations(), two.violations()), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_pin() {
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let (pin, key) = support::tls::certificate(folder.path(), "push.example");
    let (other, other_key) = support::tls::certificate(folder.path(), "other.example");
    let right = Receiver::new(Some("afaf".into()));
    let secure = menshen::tls::server(&pin, &key).unwrap();
    let address = right.listen("127.0.0.1:0".parse().unwrap(), Some(secure)).await.unwrap();
    let wrong = Receiver::new(Some("afaf".into()));
    let secure = menshen::tls::server(&other, &other_key).unwrap();
    let wrong_address = wrong.listen("127.0.0.1:0".parse().unwrap(), Some(secure)).await.unwrap();
    let mut site = Site::start(folder.path(), qyzn, quick(), pin.to_str().unwrap());
    site.record("record 0").await;
    site.set(|push| {
        push_to(push, wrong_address);
        push.tls = true;
        push.tls_port = wrong_address.port();
    })
    .await;
    let lost = site.state("lost").await;
    let reason = lost.fields["reason"].as_str().unwrap();
    assert!(reason.contains("unknown issuer") && reason.contains("push.example.pem"), "{reason}");
    site.set(|push| push.tls_port = address.port()).await;
    let reached = site.state("reached").await;
    assert_eq!(reached.fields["server"], format!("https://{address}"));
    received(&right, |entry| entry.text("fullName") == "record 0").await;
    site.stop().await;
    assert!(wrong.journal().from(0).iter().all(|entry| entry.event == "tls_failed"));
    assert_eq!(right.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulator_prints_what_came_and_finds_a_wrong_secret() {
    use support::process::{Process, free_address, menshen};
    let folder = tempfile::tempdir().unwrap();
    let (_platform, qyzn) = platform().await;
    let address = free_address();
    let mut command = menshen();
    command.args(["simulate", "http-push", "--json", "--secret", "afaf", "--listen", &address.to_string()]);
    let mut simulator = Process::start(command);
    simulator.line("the address", |line| line.contains("listening"));
    let mut site = Site::start(folder.path(), qyzn, quick(), "");
    site.record("record 0").await;
    site.set(|push| push_to(push, address)).await;
    site.state("reached").await;
    let line = simulator.line("the record", |line| line.contains("record 0"));
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&entry["event"], &entry["recordNumber"]), (&"record".into(), &1.into()));
    site.set(|push| push.app_secret = "wrong".into()).await;
    site.record("record 1").await;
    let refused = site.state("record_refused").await;
    assert_eq!(refused.fields["result"], 401);
    assert_eq!(
        refused.fields["desc"],
        "the signature is wrong: check appid, appSecret, AuthSn and the clock"
    );
    simulator.line("the violation", |line| line.contains("the signature is wrong"));
    site.stop().await;
    assert_eq!(simulator.stop(), Some(1));
}
