//! Exit button, door contact and tamper contact, moved by hand: what the gate does, says and keeps.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod admin;
    pub mod vision;
}

use menshen::config::Config;
use menshen::store::{IncidentKind, Store};
use serde_json::{Value, json};
use support::admin::{Bench, Listener};

fn with_inputs(config: &mut Config) {
    for input in [&mut config.device.exit_button, &mut config.device.door_contact, &mut config.device.tamper]
    {
        *input = "sim".into();
    }
    config.gate.door_grace_s = 1;
    config.gate.door_held_s = 2;
    config.settings.relay.pulse_ms = 100;
}

async fn set(bench: &Bench, input: &str, active: bool) {
    let answer = bench.post("/api/v1/input", &json!({ "input": input, "active": active })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn said(events: &mut Listener, kind: &str) -> Value {
    events.event(kind).await
}

/// What is stored, the newest first: kinds, and whether they have ended.
async fn stored(bench: &Bench, wanted: &[(&str, bool)]) {
    // Writes are under way when the event is heard.
    loop {
        let answer = bench.get("/api/v1/incidents").await.json();
        let all: Vec<_> = answer["incidents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["kind"].as_str().unwrap().to_owned(), !one["ended"].is_null()))
            .collect();
        if all.len() >= wanted.len()
            && all.iter().filter(|one| one.1).count() >= wanted.iter().filter(|one| one.1).count()
        {
            assert_eq!(
                all,
                wanted.iter().map(|(kind, ended)| ((*kind).to_owned(), *ended)).collect::<Vec<_>>()
            );
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exit_button_opens_and_is_kept() {
    let bench = Bench::with(with_inputs).await;
    let mut events = bench.listen("", &[]).await;
    set(&bench, "exit_button", true).await;
    set(&bench, "exit_button", false).await;
    let on = loop {
        let relay = said(&mut events, "relay").await;
        if relay["state"] == "on" {
            break relay;
        }
    };
    assert_eq!(on["by"], "button");
    assert_eq!(said(&mut events, "relay").await["state"], "off");
    stored(&bench, &[("exit_button", true)]).await;
    // Who goes out by it has not forced the door.
    set(&bench, "door_contact", true).await;
    set(&bench, "door_contact", false).await;
    // One that stays pressed opens no more than once.
    let status = bench.get("/api/v1/status").await.json();
    let states: Vec<_> = status["inputs"].as_array().unwrap().iter().map(|one| &one["input"]).collect();
    assert_eq!(states, ["door_contact", "exit_button", "tamper"]);
    stored(&bench, &[("exit_button", true)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_door_that_is_forced_and_stays_open_raises_two_alarms_that_end_together() {
    let bench = Bench::with(with_inputs).await;
    let mut events = bench.listen("", &[]).await;
    // The state at the start comes first, and is none of an alarm.
    loop {
        let found = said(&mut events, "input").await;
        if found["input"] == "door_contact" {
            assert_eq!((&found["state"], &found["found"]), (&json!("closed"), &json!(true)));
            break;
        }
    }
    set(&bench, "door_contact", true).await;
    assert_eq!(said(&mut events, "door").await["state"], "forced");
    stored(&bench, &[("door_forced", false)]).await;
    assert_eq!(said(&mut events, "door").await["state"], "held");
    stored(&bench, &[("door_held", false), ("door_forced", false)]).await;
    let notices = bench.get("/api/v1/status").await.json()["notices"].to_string();
    assert!(notices.contains("door_held"), "{notices}");
    set(&bench, "door_contact", false).await;
    let closed = said(&mut events, "door").await;
    assert_eq!(
        (&closed["state"], &closed["forced"], &closed["held"]),
        (&json!("closed"), &json!(true), &json!(true))
    );
    stored(&bench, &[("door_held", true), ("door_forced", true)]).await;
    let notices = bench.get("/api/v1/status").await.json()["notices"].to_string();
    assert!(!notices.contains("door_"), "{notices}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_outlives_the_agent() {
    let bench = Bench::with(with_inputs).await;
    let mut events = bench.listen("", &[]).await;
    set(&bench, "tamper", true).await;
    while said(&mut events, "input").await["state"] != "open" {}
    stored(&bench, &[("tamper", false)]).await;
    // As after a power cut: another program reads what is on disk.
    let mut config = Config::default();
    config.terminal.data_dir = bench.folder.path().join("data");
    let options = menshen::store::Options { data_dir: config.terminal.data_dir, config: config.store };
    let store = Store::open_read_only(&options).unwrap();
    let lasting = store.lasting_incidents().unwrap();
    assert_eq!(lasting.len(), 1);
    assert_eq!((lasting[0].kind, lasting[0].ended), (IncidentKind::Tamper, None));
    set(&bench, "tamper", false).await;
    stored(&bench, &[("tamper", true)]).await;
    let incident = store.list_incidents(None, 10).unwrap()[0];
    assert!(incident.ended.unwrap() >= incident.began);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_moved_says_why() {
    let bench = Bench::start().await;
    for (order, status, text) in [
        (json!({ "input": "tamper", "active": true }), 400, "device.tamper is not simulated"),
        (json!({ "input": "window", "active": true }), 400, "the body cannot be used"),
        (json!({ "input": "tamper" }), 400, "the body cannot be used"),
    ] {
        let refused = bench.post("/api/v1/input", &order).await;
        assert_eq!(refused.status, status, "{order}");
        assert!(refused.json()["error"]["text"].as_str().unwrap().contains(text), "{order}: {refused:?}");
    }
    assert_eq!(bench.get("/api/v1/incidents?limit=0").await.status, 400);
    let empty = bench.get("/api/v1/incidents").await.json();
    assert_eq!(empty, json!({ "incidents": [], "next": null }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_move_and_list() {
    let bench = Bench::with(with_inputs).await;
    let config = bench.folder.path().join("menshen.toml");
    let data = bench.folder.path().join("data");
    let text = format!(
        "[terminal]\ndata_dir = {:?}\n[service]\nadmin = {{ listen = \"{}\" }}\n[device]\nrelay = \"sim\"\n",
        data, bench.address
    );
    std::fs::write(&config, text).unwrap();
    let run = |arguments: &'static [&'static str]| {
        let config = config.clone();
        async move {
            let output = tokio::task::spawn_blocking(move || {
                std::process::Command::new(env!("CARGO_BIN_EXE_menshen"))
                    .args(arguments)
                    .arg("--config")
                    .arg(config)
                    .output()
                    .unwrap()
            });
            let output = output.await.unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
        }
    };
    let pressed = run(&["input", "press", "exit_button"]).await;
    assert_eq!(pressed, (0, "exit_button: pressed\nexit_button: released\n".into(), String::new()));
    stored(&bench, &[("exit_button", true)]).await;
    let listed = run(&["records", "incidents"]).await;
    let fields: Vec<_> = listed.1.trim_end().split('\t').collect();
    assert_eq!((listed.0, fields[0], fields[2]), (0, "1", "exit_button"), "{listed:?}");
    assert_eq!(fields[1], fields[3]);
    let listed = run(&["records", "incidents", "--json"]).await;
    let incident: Value = serde_json::from_str(&listed.1).unwrap();
    assert_eq!((&incident["id"], &incident["kind"]), (&json!(1), &json!("exit_button")));
    let unknown = run(&["input", "on", "window"]).await;
    assert!(unknown.0 == 2 && unknown.2.contains("exit_button, door_contact, tamper"), "{unknown:?}");
    // With simulated lines there is nothing to bring to rest.
    let safe = run(&["door", "safe"]).await;
    let told = "relay: device.relay is \"sim\": nothing to do\nlamp: device.lamp is \"sim\": nothing to do\n";
    assert_eq!(safe, (0, told.into(), String::new()));
    let mut events = bench.listen("", &[]).await;
    assert_eq!(run(&["door", "open"]).await.0, 0);
    while said(&mut events, "relay").await["by"] != "technician" {}
}
