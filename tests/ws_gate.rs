//! A real gate, with its store and its models, at the simulated platform of the terminal WebSocket protocol.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use menshen::access::{Bound, DayRule, Origin, PersonKey, PersonKind};
use menshen::config;
use menshen::event::Event;
use menshen::gate::{Gate, PeopleChange};
use menshen::platform::back_off::BackOff;
use menshen::platform::qyzn::link::Requests;
use menshen::platform::terminal_ws::link::Options;
use menshen::platform::{qyzn, terminal_ws};
use menshen::simulate::Simulated as _;
use menshen::simulate::terminal_ws::script::Script;
use menshen::simulate::terminal_ws::{self as simulate, Platform};
use menshen::update::Updates;
use serde_json::{Value, json};
use support::gate::{Running, base64};
use support::vision::bytes;

const SERIAL: &str = "FEDCBA9876543210";

fn settings(address: SocketAddr) -> config::TerminalWs {
    config::TerminalWs {
        url: format!("ws://{address}/devs/"),
        username: "dev".into(),
        password: "123".into(),
        key: "abc".into(),
        heartbeat_s: 25,
        pinned_certificate: String::new(),
        message_limit_mib: 1,
    }
}

/// The times of a test: nobody waits for a back-off.
fn quick(settings: &config::TerminalWs) -> Options {
    Options {
        back_off: BackOff { first: Duration::from_millis(20), longest: Duration::from_millis(50) },
        refused: Duration::from_millis(50),
        ..Options::new(settings)
    }
}

fn at(data_dir: &Path, settings: config::TerminalWs, options: Options) -> Running {
    Running::start_linked(data_dir, &config::Device::default(), |gate, stopped| {
        terminal_ws::run_with(gate, config::Terminal::default(), settings, options, stopped)
    })
}

async fn listen(options: simulate::Options) -> (Platform, SocketAddr) {
    let platform = Platform::new(options);
    let address = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (platform, address)
}

/// A platform with the document's key, and a gate that is connected to it.
async fn connected(data_dir: &Path) -> (Platform, Running) {
    let (platform, address) =
        listen(simulate::Options { key: "abc".into(), ..simulate::Options::default() }).await;
    let running = at(data_dir, settings(address), quick(&settings(address)));
    platform.wait_until_connected().await.unwrap();
    (platform, running)
}

async fn status(platform: &Platform, cmd: &str, data: Value) -> i64 {
    platform.request(cmd, data).await.unwrap()["status"].as_i64().unwrap()
}

fn key(id: &str) -> PersonKey {
    PersonKey::new(Origin::TerminalWs, id)
}

fn is_lost(event: &Event) -> bool {
    event.kind == "platform" && event.fields["platform"] == "terminal_ws" && event.fields["state"] == "lost"
}

fn reason(event: &Event) -> &str {
    event.fields["reason"].as_str().unwrap()
}

fn is_relay(event: &Event, state: &str) -> bool {
    event.kind == "relay" && event.fields["state"] == state
}

/// Short pulses: a test waits for their end.
async fn short_pulse(gate: &Gate) {
    let change = |settings: &mut menshen::gate::settings::Settings| {
        settings.relay.pulse_ms = 20;
        Ok(())
    };
    gate.change_settings(change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_put_changed_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, running) = connected(folder.path()).await;
    let p = &platform;
    let store = &running.store;
    let person = |id: &str| store.person(&key(id)).unwrap();
    let photo = base64(&bytes("pictures/p01-1.jpg"));
    let day = "09:00-12:35;13:25-16:25;16:50-18:30";
    // Everything that the table has.
    let whole = json!({"id": "12345678", "name": "张祥", "IC_NO": "157342643", "ID_NO": "42038120001001385X",
        "photo": photo, "startTs": 1_564_797_063, "endTs": 4_102_444_800_i64, "passCount": 3, "visitor": true,
        "weekly": {"Monday": day, "Tuesday": day, "Wednesday": day, "Thursday": day, "Friday": day,
            "Saturday": "", "Sunday": ""}});
    assert_eq!(status(p, "setPerson", whole).await, 0);
    let stored = store.listed_person(&key("12345678")).unwrap().unwrap();
    assert_eq!(stored.faces.len(), 1);
    let stored = stored.person;
    assert_eq!((stored.name.as_str(), stored.kind), ("张祥", PersonKind::Visitor));
    assert_eq!((stored.card.as_deref(), stored.passes_left), (Some("157342643"), Some(3)));
    assert_eq!(stored.valid_from, Some(Bound::Utc("2019-08-03T01:51:03Z".parse().unwrap())));
    assert_eq!(stored.valid_until, Some(Bound::Utc("2100-01-01T00:00:00Z".parse().unwrap())));
    let week = stored.schedule.extended.unwrap().weekly;
    assert!(matches!(&week[0], DayRule::Periods(periods) if periods.0.len() == 3));
    assert_eq!(week[5], DayRule::Never);
    // The same id again, without a photo: everything else is as now given, the face stays.
    let again = json!({"id": 12_345_678, "name": "张祥明2", "IC_NO": "00000000", "ID_NO": "00000000",
        "startTs": -1, "endTs": -1, "passCount": 10_000});
    assert_eq!(status(p, "setPerson", again).await, 0);
    let stored = store.listed_person(&key("12345678")).unwrap().unwrap();
    assert_eq!((stored.faces.len(), stored.person.name.as_str()), (1, "张祥明2"));
    assert_eq!((stored.person.card, stored.person.passes_left, stored.person.valid_from), (None, None, None));
    assert_eq!((stored.person.kind, stored.person.schedule.extended), (PersonKind::White, None));
    // A photo that cannot enrol changes nothing.
    for bad in [base64(b"no picture"), base64(&bytes("pictures/p01-1.jpg")[..2000])] {
        let refused =
            p.request("setPerson", json!({"id": "12345678", "name": "x", "photo": bad})).await.unwrap();
        assert_eq!(refused["status"], 4, "{refused}");
        assert_ne!(refused["msg"], "", "it says what is wrong with the picture");
    }
    assert_eq!(person("12345678").unwrap().name, "张祥明2");
    // A raw + in the picture, a doubled = and a data: URL, as careless platforms write them.
    let form = format!("key=abc&photo==data:image/jpeg;base64,{photo}&id=2&name=%e5%bc%a0");
    assert_eq!(p.send_form(None, "setPerson", &form).unwrap().answer().await.unwrap()["status"], 0);
    assert_eq!(store.counts().unwrap().faces, 2);
    // Nobody new needs a photo.
    assert_eq!(status(p, "setPerson", json!({"id": "3", "name": "李四"})).await, 0);
    assert_eq!((store.counts().unwrap().people, store.counts().unwrap().faces), (3, 2));
    // What is wrong: nothing changes, and the text names it.
    for (cmd, data, code, text) in [
        ("setPerson", json!({"name": "x"}), 1, "id: is missing"),
        ("setPerson", json!({"id": "3", "name": "x", "passCount": "many"}), 1, "passCount: must be a number"),
        ("setPerson", json!({"id": "3", "name": "x", "key": "abd"}), 1, "key: is not the key of this gate"),
        ("removePerson", json!({"x": 1}), 1, "id: is missing"),
        ("removePerson", json!({"id": [4]}), 3, "there is no person 4"),
        ("removePerson", json!({"id": [4, 5]}), 3, "none of the 2 people is here"),
        ("setDoor", json!({}), 2, "there is no command setDoor"),
    ] {
        let answer = p.request(cmd, data.clone()).await.unwrap();
        assert_eq!(answer["status"], code, "{cmd} {data}: {answer}");
        assert!(answer["msg"].as_str().unwrap().starts_with(text), "{cmd} {data}: {answer}");
    }
    assert_eq!(person("3").unwrap().name, "李四");
    let other =
        json!({"msgid": "other", "sn": "0000000000000000", "cmd": "removePerson", "msg": "key=abc&id=[]"});
    let refused = p.send_message(None, other).unwrap().answer().await.unwrap();
    assert_eq!(refused["status"], 1, "{refused}");
    assert_eq!(store.counts().unwrap().people, 3);
    assert_eq!(status(p, "removePerson", json!({"id": ["3"]})).await, 0);
    assert_eq!(status(p, "removePerson", json!({"id": [2, "nobody"]})).await, 3);
    assert_eq!((person("3"), person("2")), (None, None), "who is there goes");
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_platforms_at_once_and_each_removes_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = connected(folder.path()).await;
    let (other, address) = support::gate::platform().await;
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    tokio::spawn(qyzn::run(
        running.gate.clone(),
        config::Terminal { mac: "0064871ECB01".into(), ..config::Terminal::default() },
        config::Qyzn::new(address.to_string()),
        Requests::default(),
        Updates::new(&config::Update::default(), folder.path(), running.gate.events()),
        stopped,
    ));
    other.wait_until_logged_in().await.unwrap();
    for id in ["100001", "100002"] {
        let added = other.request("add_person", support::gate::person(id)).await.unwrap();
        assert_eq!(added["result"], 0);
        assert_eq!(status(&platform, "setPerson", json!({"id": id, "name": "李四"})).await, 0);
    }
    assert_eq!(running.store.counts().unwrap().people, 4, "the same id is two people");
    assert_eq!(status(&platform, "removePerson", json!({"id": ["100001"]})).await, 0);
    let of_qyzn = |id: &str| running.store.person(&PersonKey::new(Origin::Qyzn, id)).unwrap();
    assert_eq!(of_qyzn("100001").unwrap().name, "张三");
    let cleared = platform.send_form(None, "removePerson", "key=abc&id=%5B%5D").unwrap();
    assert_eq!(cleared.answer().await.unwrap(), json!({"status": 0, "msg": "ok"}));
    assert_eq!(running.store.counts().unwrap().people, 2);
    assert!(of_qyzn("100001").is_some() && of_qyzn("100002").is_some());
    running.event(|event| event.kind == "person" && event.fields["change"] == "cleared").await;
    let cleared = other.request("clear_person", json!({})).await.unwrap();
    assert_eq!((cleared["result"].as_i64(), running.store.counts().unwrap().people), (Some(0), 0));
    running.stop().await;
    assert_eq!((platform.violations(), other.violations()), (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_is_answered_while_a_thousand_wait_and_their_order_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = connected(folder.path()).await;
    let photo = base64(&bytes("pictures/p01-1.jpg"));
    let mut sent = Vec::new();
    // Slow ones first; what follows must not overtake them.
    for round in 0..1000 {
        let mut person = json!({"id": "1", "name": format!("round {round}")});
        if round < 16 {
            person["photo"] = json!(photo);
        }
        sent.push(platform.send(None, "setPerson", person).unwrap());
    }
    sent.push(platform.send(None, "setPerson", json!({"id": "2", "name": "x"})).unwrap());
    sent.push(platform.send(None, "removePerson", json!({"id": ["2"]})).unwrap());
    let opened = platform.request("open", json!({})).await.unwrap();
    assert_eq!(opened["status"], 0);
    running.event(|event| is_relay(event, "on")).await;
    let entries = platform.journal().from(0);
    let before = entries
        .iter()
        .take_while(|entry| !(entry.event == "answer" && entry.text("cmd") == "open"))
        .filter(|entry| entry.event == "answer")
        .count();
    assert!(before < 1000, "the door waited for {before} people");
    for sent in sent {
        assert_eq!(sent.answer().await.unwrap(), json!({"status": 0, "msg": "ok"}));
    }
    let stored = running.store.listed_person(&key("1")).unwrap().unwrap();
    assert_eq!((stored.person.name.as_str(), stored.faces.len()), ("round 999", 1));
    assert_eq!(running.store.counts().unwrap().people, 1);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_answered_busy_and_can_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) =
        listen(simulate::Options { key: "abc".into(), ..simulate::Options::default() }).await;
    let options = Options { people_at_once: 1, waiting: 2, ..quick(&settings(address)) };
    let running = at(folder.path(), settings(address), options);
    platform.wait_until_connected().await.unwrap();
    let photo = base64(&bytes("pictures/p01-1.jpg"));
    let form = |id: usize| format!("key=abc&id={id}&name=x&photo={photo}");
    let sent: Vec<_> =
        (0..8).map(|id| platform.send_as(None, &format!("m{id}"), "setPerson", &form(id)).unwrap()).collect();
    let mut busy = Vec::new();
    for (id, sent) in sent.into_iter().enumerate() {
        match sent.answer().await.unwrap()["status"].as_i64() {
            Some(0) => {}
            Some(5) => busy.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert!(!busy.is_empty());
    assert_eq!(running.store.counts().unwrap().people, 8 - busy.len() as u64);
    // The door is not people.
    assert_eq!(status(&platform, "open", json!({})).await, 0);
    for id in busy {
        let again = platform.send_as(None, &format!("m{id}"), "setPerson", &form(id)).unwrap();
        assert_eq!(again.answer().await.unwrap()["status"], 0, "busy was not remembered as the answer");
    }
    assert_eq!(running.store.counts().unwrap().people, 8);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_request_is_answered_and_not_carried_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = connected(folder.path()).await;
    short_pulse(&running.gate).await;
    platform.misbehave("repeat".parse().unwrap());
    let opened = platform.send_as(None, "m1", "open", "").unwrap();
    assert_eq!(opened.answer().await.unwrap()["status"], 0);
    running.event(|event| is_relay(event, "on")).await;
    running.event(|event| is_relay(event, "off")).await;
    platform.misbehave("none".parse().unwrap());
    let opened = platform.send_as(None, "m1", "open", "").unwrap();
    assert_eq!(opened.answer().await.unwrap(), json!({"status": 0, "msg": "ok"}));
    // Also on the next connection.
    platform.disconnect();
    platform.wait_for(|entry| entry.event == "connected" && entry.connection == 2).await.unwrap();
    let opened = platform.send_as(None, "m1", "open", "").unwrap();
    assert_eq!((opened.connection, opened.answer().await.unwrap()["status"].as_i64()), (2, Some(0)));
    // Another request under the same id is another request.
    let put = platform.send_as(None, "m1", "setPerson", "key=abc&id=1&name=x").unwrap();
    assert_eq!(put.answer().await.unwrap()["status"], 0);
    // Nothing has moved since: the next event of the relay is that of the next order.
    let next = running.event(|event| event.kind == "relay" || event.kind == "person").await;
    assert_eq!(next.kind, "person", "the door opened again");
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_a_lost_line_held_up_come_on_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, running) = connected(folder.path()).await;
    let photo = base64(&bytes("pictures/p01-1.jpg"));
    let sent: Vec<_> = (0..12)
        .map(|id| {
            let person = json!({"id": id, "name": "x", "photo": photo});
            platform.send(None, "setPerson", person).unwrap()
        })
        .collect();
    // All of them have come; the line is cut while they are being carried out.
    assert_eq!(status(&platform, "open", json!({})).await, 0);
    platform.disconnect();
    for sent in sent {
        assert_eq!(sent.connection, 1);
        assert_eq!(sent.answer().await.unwrap()["status"], 0);
    }
    assert_eq!(running.store.counts().unwrap().people, 12);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_platform_does_wrong_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = connected(folder.path()).await;
    let p = &platform;
    // These cost nothing.
    for (number, name) in
        ["binary", "fragment=7", "garbage", "fragment=1,binary,garbage,repeat"].iter().enumerate()
    {
        platform.misbehave(name.parse().unwrap());
        let person = json!({"id": number, "name": name});
        assert_eq!(status(p, "setPerson", person).await, 0, "{name}");
        assert_eq!(running.store.person(&key(&number.to_string())).unwrap().unwrap().name, *name);
    }
    platform.misbehave("none".parse().unwrap());
    for text in ["", "[]", "null", "{}", "{\"msgid\":5.5e300,\"cmd\":{}}", "\u{0}", "{\"cmd\":\"open\"}"] {
        let from = platform.journal().len();
        p.send_text(text).unwrap();
        let answer = platform.wait_after(from, |entry| entry.event == "answer").await.unwrap();
        assert_eq!(answer.int("status"), Some(1), "{text}");
    }
    // These cost the connection; the next one is there soon.
    let mut connection = 1;
    for (name, why) in [
        ("bad-text", "the platform sent a text that is not UTF-8"),
        ("huge=2", "the platform sent a message of 2097152 bytes, more than 1 MiB"),
        ("drop=1", "the platform closed the connection"),
    ] {
        platform.misbehave(name.parse().unwrap());
        // It is answered before or after; what counts is that the line comes back.
        let sent = platform.send(None, "open", json!({})).unwrap();
        let lost = running.event(is_lost).await;
        assert!(reason(&lost).starts_with(why), "{name}: {}", reason(&lost));
        platform.misbehave("none".parse().unwrap());
        connection += 1;
        platform
            .wait_for(|entry| entry.event == "connected" && entry.connection >= connection)
            .await
            .unwrap();
        connection = platform
            .journal()
            .from(0)
            .iter()
            .filter(|entry| entry.event == "connected")
            .map(|entry| entry.connection)
            .max()
            .unwrap();
        drop(sent);
        assert_eq!(status(p, "setPerson", json!({"id": name, "name": "x"})).await, 0, "{name}");
    }
    // Below the frames: a masked frame, a frame of a kind that is none, bytes of anything, a farewell.
    for (bytes, why) in [
        (vec![0x81, 0x81, 0, 0, 0, 0, b'x'], "the platform does not keep to the WebSocket protocol"),
        (vec![0x83, 0], "the platform does not keep to the WebSocket protocol"),
        (vec![0xff; 64], "the platform does not keep to the WebSocket protocol"),
        (
            [&[0x88, 8, 0x03, 0xf3][..], b"update"].concat(),
            "the platform closed the connection (1011 update)",
        ),
    ] {
        let from = platform.journal().len();
        p.send_raw(bytes.clone()).unwrap();
        let lost = running.event(is_lost).await;
        assert!(reason(&lost).starts_with(why), "{bytes:?}: {}", reason(&lost));
        platform.wait_after(from, |entry| entry.event == "connected").await.unwrap();
    }
    assert_eq!(status(p, "open", json!({})).await, 0);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_line_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let heartbeat = Duration::from_millis(500);
    let (platform, address) = listen(simulate::Options { heartbeat, ..simulate::Options::default() }).await;
    let mut options = quick(&settings(address));
    options.heartbeat = heartbeat;
    options.dial_timeout = Duration::from_millis(500);
    let mut running = at(folder.path(), settings(address), options);
    platform.wait_for(|entry| entry.event == "ping").await.unwrap();
    for (name, why) in [
        ("no-pong", "no pong within 1 s"),
        ("never-read", "no pong within 1 s"),
        ("silent", "no connection within"),
    ] {
        platform.misbehave(name.parse().unwrap());
        if name == "silent" {
            platform.disconnect();
        }
        let lost = running.event(|event| is_lost(event) && reason(event).starts_with(why)).await;
        assert!(lost.fields["retry_ms"].is_u64(), "{name}");
        platform.misbehave("none".parse().unwrap());
        let from = platform.journal().len();
        platform.wait_after(from, |entry| entry.event == "ping").await.unwrap();
    }
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) =
        listen(simulate::Options { serials: vec![SERIAL.into()], ..simulate::Options::default() }).await;
    let p = &platform;
    let good = settings(address);
    let wrong = config::TerminalWs { password: "124".into(), ..good.clone() };
    // As it is configured in the field: nobody knocks at a shut door every second.
    let options = Options::new(&good);
    let mut running = at(folder.path(), wrong, options);
    let lost = running.event(is_lost).await;
    assert_eq!(lost.fields["http_status"], 401);
    assert!(reason(&lost).contains("username") && reason(&lost).contains("password"), "{}", reason(&lost));
    assert!((60_000..=66_000).contains(&lost.fields["retry_ms"].as_u64().unwrap()));
    running.stop().await;

    let elsewhere = config::TerminalWs { url: format!("ws://{address}/terminals/"), ..good.clone() };
    let options = quick(&elsewhere);
    let mut running = at(folder.path(), elsewhere, options);
    let lost = running.event(is_lost).await;
    assert_eq!(lost.fields["http_status"], 404);
    assert!(reason(&lost).contains("url") && reason(&lost).contains(SERIAL), "{}", reason(&lost));
    running.stop().await;
    assert_eq!(p.violations(), [format!("the path is /terminals/{SERIAL}, not /devs/SN")]);

    p.misbehave("refuse=403".parse().unwrap());
    let options = quick(&good);
    let mut running = at(folder.path(), good, options);
    let lost = running.event(is_lost).await;
    assert_eq!(lost.fields["http_status"], 403);
    assert!(reason(&lost).contains("released") && reason(&lost).contains(SERIAL), "{}", reason(&lost));
    p.misbehave("refuse=503".parse().unwrap());
    let lost = running.event(|event| is_lost(event) && event.fields["http_status"] != 403).await;
    assert_eq!(lost.fields["http_status"], 503);
    // As soon as it is let in, all is well.
    p.misbehave("none".parse().unwrap());
    p.wait_until_connected().await.unwrap();
    running.event(|event| event.kind == "platform" && event.fields["state"] == "connected").await;
    assert_eq!(status(p, "open", json!({})).await, 0);
    let entries = p.journal().from(0);
    let refusals: Vec<i64> = entries
        .iter()
        .filter(|entry| entry.event == "refused")
        .filter_map(|entry| entry.int("status"))
        .collect();
    for code in [401, 404, 403, 503] {
        assert!(refusals.contains(&code), "{refusals:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_a_pinned_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (certificate, secret) = (folder.path().join("platform.pem"), folder.path().join("platform.key"));
    std::fs::write(&certificate, own.cert.pem()).unwrap();
    std::fs::write(&secret, own.signing_key.serialize_pem()).unwrap();
    let platform = Platform::default();
    let secure = menshen::tls::server(&certificate, &secret).unwrap();
    let address = platform.listen_with("127.0.0.1:0".parse().unwrap(), Some(secure)).await.unwrap();
    let url = format!("wss://localhost:{}/devs/", address.port());
    let pinned = certificate.display().to_string();
    let trusted =
        config::TerminalWs { url, key: String::new(), pinned_certificate: pinned, ..settings(address) };
    let options = quick(&trusted);
    let running = at(&folder.path().join("store"), trusted.clone(), options);
    platform.wait_until_connected().await.unwrap();
    assert_eq!(status(&platform, "open", json!({})).await, 0);
    running.stop().await;
    // Another certificate under the same name is not the platform.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(&certificate, other.cert.pem()).unwrap();
    let options = quick(&trusted);
    let mut running = at(&folder.path().join("store"), trusted, options);
    let lost = running.event(is_lost).await;
    assert!(reason(&lost).contains("certificate"), "{}", reason(&lost));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_drives_a_gate() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("face.jpg"), bytes("pictures/p01-1.jpg")).unwrap();
    let script = r#"
        {"wait":"connected"}
        {"send":"setPerson","data":{"id":"1","name":"张三","image_file":"face.jpg"},"expect":{"status":0,"msg":"ok"}}
        {"repeat":3,"send":"setPerson","data":{"id":"p{n}","name":"{n}"}}
        {"expect_all":{"status":0}}
        {"send":"removePerson","data":{"id":["p0","p1"]},"expect":{"status":0}}
        {"send":"setPerson","msg":"key=abc&name=%e5%bc%a0","expect":{"status":1,"msg":"id: is missing"}}
        {"send":"open","sn":"0","expect":{"status":1}}
        {"text":"{"}
        {"wait":"answer","where":{"msgid":null,"status":1}}
        {"send":"open"}
        {"expect":{"status":0}}
    "#;
    let (platform, running) = connected(folder.path()).await;
    Script::parse(script, folder.path()).unwrap().run(&platform).await.unwrap();
    assert_eq!((running.store.counts().unwrap().people, running.store.counts().unwrap().faces), (2, 1));
    let wrong = Script::parse(r#"{"send":"fly","expect":{"status":0}}"#, folder.path()).unwrap();
    let error = wrong.run(&platform).await.unwrap_err().to_string();
    assert!(error.starts_with("line 1 of the script: fly was answered {"), "{error}");
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, running) = connected(folder.path()).await;
    let person =
        json!({"id": "1", "name": "张三", "photo": base64(&bytes("pictures/p01-1.jpg")), "passCount": 2});
    assert_eq!(status(&platform, "setPerson", person).await, 0);
    running.stop().await;
    let (platform, running) = connected(folder.path()).await;
    let stored = running.store.listed_person(&key("1")).unwrap().unwrap();
    assert_eq!((stored.person.passes_left, stored.faces.len()), (Some(2), 1));
    // People of the gate's own stay when the platform removes all of its own.
    let own = menshen::access::Person { key: PersonKey::new(Origin::Local, "1"), ..stored.person };
    running.gate.change_people(PeopleChange::Add(own)).await.unwrap();
    assert_eq!(status(&platform, "removePerson", json!({"id": []})).await, 0);
    assert_eq!(running.store.counts().unwrap().people, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reboot_restarts_once_even_when_it_is_repeated_after_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let is_restart = |event: &Event| event.kind == "system" && event.fields["order"] == "restart";
    let (platform, mut running) = connected(folder.path()).await;
    let answer = platform.send_as(None, "r1", "reboot", "").unwrap().answer().await.unwrap();
    assert_eq!(answer, json!({"status": 0, "msg": "ok"}));
    running.event(is_restart).await;
    running.stop().await;
    let (platform, mut running) = connected(folder.path()).await;
    let answer = platform.send_as(None, "r1", "reboot", "").unwrap().answer().await.unwrap();
    assert_eq!(answer["status"], 0);
    assert_eq!(status(&platform, "setPerson", json!({"id": "1", "name": "x"})).await, 0);
    let next = running.event(|event| is_restart(event) || event.kind == "person").await;
    assert_eq!(next.kind, "person", "it restarted again");
    assert_eq!(platform.send_as(None, "r2", "reboot", "").unwrap().answer().await.unwrap()["status"], 0);
    running.event(is_restart).await;
    running.stop().await;
}
