//! Cards, documents and QR codes at a real gate with simulated readers: `swiping_card` (4.5.8), `qrcode_data` (4.6.3),
//! and what the sessions make of what is presented.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use std::path::Path;
use std::sync::Arc;

use jiff::civil::date;
use menshen::access::{PassMode, Remote, RemoteMode};
use menshen::config;
use menshen::device::wiegand;
use menshen::document::Document;
use menshen::event::Event;
use menshen::gate::settings::CardConversion;
use menshen::simulate::qyzn::Platform;
use menshen::store::Destination;
use serde_json::{Value, json};
use support::gate::{Running, person, platform};

async fn result(platform: &Platform, message: &str, data: Value) -> i64 {
    platform.request(message, data).await.unwrap()["result"].as_i64().unwrap()
}

fn with_readers(folder: &Path, address: std::net::SocketAddr) -> Running {
    let device = config::Device {
        wiegand_in: "sim".into(),
        qr_reader: "sim".into(),
        id_reader: "sim".into(),
        ..config::Device::default()
    };
    Running::start_changed(folder, config::Qyzn::new(address.to_string()), &device, |parts| {
        parts.settings.rules.mode = PassMode::FaceOrCard;
        // The door has time to be looked at.
        parts.settings.relay.pulse_ms = 10_000;
    })
}

async fn verdict(running: &mut Running) -> Arc<Event> {
    running.event(|event| event.kind == "verdict").await
}

/// The facts of the sample in 4.5.8.
fn document() -> Document {
    Document {
        number: "420381198802141789".into(),
        name: "Jim".into(),
        gender: "男".into(),
        ethnic: "汉".into(),
        birthday: Some(date(1989, 10, 10)),
        address: "北京市朝阳区清湖路".into(),
        issuer: "北京市朝阳区公安局".into(),
        valid_from: Some(date(2000, 1, 1)),
        expires: Some(date(2030, 1, 1)),
        ..Document::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_or_document_that_the_platform_waits_for_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut running = with_readers(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    let mut owner = person("100001");
    owner["icNum"] = json!("157342643");
    assert_eq!(result(&platform, "add_person", owner).await, 0);
    for (data, desc) in [
        (json!({}), "timeOut: is missing"),
        (json!({"timeOut": 0}), "timeOut: must be 1 to 300, not 0"),
        (json!({"timeOut": 301}), "timeOut: must be 1 to 300, not 301"),
    ] {
        let refused = platform.request("swiping_card", data).await.unwrap();
        assert_eq!((&refused["result"], &refused["desc"]), (&json!(104), &json!(desc)));
    }
    // Nobody comes.
    let late = platform.request("swiping_card", json!({"timeOut": 1})).await.unwrap();
    assert_eq!((&late["result"], &late["desc"]), (&json!(107), &json!("no card was presented within 1 s")));

    // Two at once: the second is busy, and tells for how long; sent twice, the first is one request.
    platform.misbehave("repeat".parse().unwrap());
    let first = platform.send(None, "swiping_card", json!({"timeOut": 300})).unwrap();
    platform.misbehave("none".parse().unwrap());
    let busy = platform.request("swiping_card", json!({"timeOut": 299})).await.unwrap();
    assert_eq!((&busy["result"], &busy["data"]["waitSeconds"]), (&json!(109), &json!(3)));
    running.gate.present_card(" 157342643".into()).await.unwrap();
    let answer = first.answer().await.unwrap();
    assert_eq!(answer["data"], json!({"cardType": 3, "name": "", "idNum": "157342643"}));
    let taken = running.event(|event| event.kind == "credential").await;
    assert_eq!((&taken.fields["credential"], &taken.fields["for"]), (&json!("card"), &json!("platform")));

    // A document, with all that is printed on it.
    let asked = platform.send(None, "swiping_card", json!({"timeOut": 300, "again": 1})).unwrap();
    // Only what comes behind it says that it waits: it has begun when the next command is answered.
    assert_eq!(result(&platform, "get_configs", json!({"groupKey": ["vaparam"]})).await, 0);
    running.gate.present_document(document()).await.unwrap();
    assert_eq!(
        asked.answer().await.unwrap()["data"],
        json!({"cardType": 0, "name": "Jim", "idNum": "420381198802141789", "ethnic": "汉", "gender": "男",
            "birthday": "19891010", "address": "北京市朝阳区清湖路", "idIssuingOrgan": "北京市朝阳区公安局",
            "idUsefulLife": "20000101~20300101"})
    );
    // The line goes, and the wait with it: the next card is a passage, and the first verdict of all.
    let body = json!({"message": "swiping_card", "data": {"timeOut": 300, "again": 2}}).to_string();
    let cut = 0x7654_3210;
    platform.send_body(None, "swiping_card", 3, cut, body.clone().into_bytes()).unwrap();
    assert_eq!(result(&platform, "get_configs", json!({"groupKey": ["vaparam"], "again": 1})).await, 0);
    platform.disconnect();
    running.event(|event| event.kind == "platform" && event.fields["state"] == "lost").await;
    let again = running.event(|event| event.kind == "platform" && event.fields["state"] == "logged_in").await;
    assert_eq!(again.kind, "platform");
    running.gate.present_card("157342643".into()).await.unwrap();
    let passed = verdict(&mut running).await;
    assert_eq!(
        (&passed.fields["reason"], &passed.fields["person"]["id"]),
        (&json!("granted"), &json!("100001"))
    );
    assert_eq!(passed.fields["credential"], json!(["card"]));
    // Repeated on the new line, the request waits anew.
    let again = platform.send_body(None, "swiping_card", 3, cut, body.into_bytes()).unwrap();
    assert_eq!(result(&platform, "get_configs", json!({"groupKey": ["vaparam"], "again": 2})).await, 0);
    running.gate.present_card("157342643".into()).await.unwrap();
    assert_eq!(again.answer().await.unwrap()["data"]["idNum"], "157342643");
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_link_ends_the_gate_waits_for_no_platform() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let device = config::Device { wiegand_in: "sim".into(), ..config::Device::default() };
    let mut running =
        Running::start_changed(folder.path(), config::Qyzn::new(address.to_string()), &device, |parts| {
            parts.settings.rules.mode = PassMode::FaceOrCard;
            parts.settings.rules.remote = Remote { mode: RemoteMode::RemoteWhenOnline, online: true };
        });
    running.event(|event| event.kind == "platform" && event.fields["state"] == "logged_in").await;
    let mut owner = person("100001");
    owner["icNum"] = json!("157342643");
    assert_eq!(result(&platform, "add_person", owner).await, 0);
    // As a panic does: without a word.
    running.link.abort();
    assert!((&mut running.link).await.unwrap_err().is_cancelled());
    running.gate.present_card("157342643".into()).await.unwrap();
    let passed = verdict(&mut running).await;
    assert_eq!((&passed.fields["reason"], &passed.fields["opened"]), (&json!("granted"), &json!(true)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cards_come_as_bits_and_are_whose_the_settings_say() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut running = with_readers(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    // 118 and 1603 as HID and PID, with the parity worked by hand in device/wiegand.rs; 1603 alone is its last bytes.
    let bits = wiegand::bits("10111011000000110010000110").unwrap();
    let numbers = [
        (CardConversion::HidPid, "11801603"),
        (CardConversion::Whole, "7734851"),
        (CardConversion::LastTwoBytes, "1603"),
    ];
    for (_, number) in numbers {
        let mut owner = person(number);
        // Platforms also write leading zeros.
        owner["icNum"] = json!(format!("00{number}"));
        assert_eq!(result(&platform, "add_person", owner).await, 0);
    }
    for (conversion, number) in numbers {
        let change = |settings: &mut menshen::gate::settings::Settings| {
            settings.wiegand.input = conversion;
            Ok(())
        };
        running.gate.change_settings(change).await.unwrap();
        assert_eq!(running.gate.present_wiegand(&bits).await.unwrap(), number);
        let passed = verdict(&mut running).await;
        assert_eq!(
            (&passed.fields["reason"], &passed.fields["person"]["id"]),
            (&json!("granted"), &json!(number))
        );
    }
    let mut damaged = bits.clone();
    damaged[3] = !damaged[3];
    let refused = running.gate.present_wiegand(&damaged).await.unwrap_err();
    assert_eq!(refused.message(), "the parity of the Wiegand frame is wrong");
    for bad in ["", "  ", &"1".repeat(65), "1\n2"] {
        assert!(running.gate.present_card(bad.into()).await.is_err(), "{bad:?}");
    }
    // Nobody's card.
    running.gate.present_card("99".into()).await.unwrap();
    assert_eq!(verdict(&mut running).await.fields["reason"], "unknown_card");
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_is_weighed_by_its_rules() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut running = with_readers(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    let mode = |settings: &mut menshen::gate::settings::Settings| {
        settings.rules.mode = PassMode::DocumentWhitelist;
        Ok(())
    };
    running.gate.change_settings(mode).await.unwrap();
    running.gate.present_document(document()).await.unwrap();
    assert_eq!(verdict(&mut running).await.fields["reason"], "unknown_document");
    let mut owner = person("100001");
    owner["idNum"] = json!("420381198802141789");
    assert_eq!(result(&platform, "add_person", owner).await, 0);
    // Known by its number: its holder's face must follow.
    running.gate.present_document(document()).await.unwrap();
    let asked = verdict(&mut running).await;
    assert_eq!((&asked.fields["verdict"], &asked.fields["next"]), (&json!("await"), &json!("face")));
    running.gate.present_document(Document { expires: Some(date(2020, 1, 1)), ..document() }).await.unwrap();
    assert_eq!(verdict(&mut running).await.fields["reason"], "document_expired");
    assert_eq!(result(&platform, "update_person", json!({"personId": "100001", "type": 2})).await, 0);
    running.gate.present_document(document()).await.unwrap();
    assert_eq!(verdict(&mut running).await.fields["reason"], "black_listed");
    assert!(running.gate.present_document(Document { number: String::new(), ..document() }).await.is_err());
    assert!(!running.relay.level());
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

/// The next text on the screen.
async fn screen(running: &mut Running) -> String {
    let event = running.event(|event| event.kind == "screen" && event.fields.contains_key("text")).await;
    event.fields["text"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platform_weighs_qr_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut running = with_readers(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    running.event(|event| event.kind == "platform" && event.fields["state"] == "logged_in").await;
    // The sample of 4.6.3 opens.
    platform.answer_with("qrcode_data", 0, json!({"opendoor": 1}), Some(1));
    running.gate.present_qr("adddfffsss".into()).await.unwrap();
    let shown = verdict(&mut running).await;
    assert_eq!(
        (&shown.fields["reason"], &shown.fields["credential"], &shown.fields["opened"]),
        (&json!("platform_decides"), &json!(["qr"]), &json!(false))
    );
    let record = shown.fields["record"].as_i64().unwrap();
    assert_eq!(screen(&mut running).await, "请稍候");
    let opened = running.event(|event| event.kind == "record" && event.fields["state"] == "opened").await;
    assert_eq!(opened.fields["id"], record);
    assert!(running.relay.level());
    assert_eq!(screen(&mut running).await, "请通行");
    let asked = platform.wait_for(|entry| entry.event == "qrcode_data").await.unwrap();
    assert_eq!((asked.text("content"), asked.flag("resent")), ("adddfffsss", false));
    let stored = running.store.list_records(None, 1).unwrap().remove(0);
    assert_eq!(
        (stored.id.0, stored.facts.opened, stored.facts.reason.as_str()),
        (record, true, "platform_decides")
    );
    // The platform knows already: it is not told again as an unknown visitor.
    assert_eq!(running.store.outbox_len(Destination::Qyzn).unwrap(), 0);

    // 0, another result and no word at all keep it shut.
    for (code, data) in [(0, json!({"opendoor": 0})), (102, json!({"opendoor": 1})), (0, json!({}))] {
        platform.answer_with("qrcode_data", code, data, Some(1));
        running.gate.present_qr("nobody's".into()).await.unwrap();
        assert_eq!(screen(&mut running).await, "请稍候");
        assert_eq!(screen(&mut running).await, "二维码无效，禁止通行");
        assert!(!running.store.list_records(None, 1).unwrap()[0].facts.opened);
    }
    for bad in [String::new(), "q".repeat(4297)] {
        assert!(running.gate.present_qr(bad).await.is_err());
    }
    // Without a platform it is said so, and the door stays shut.
    platform.stop();
    running.event(|event| event.kind == "platform" && event.fields["state"] == "lost").await;
    running.gate.present_qr("adddfffsss".into()).await.unwrap();
    assert_eq!(screen(&mut running).await, "请稍候");
    assert_eq!(screen(&mut running).await, "平台无法连接，请稍后再试");
    assert_eq!(running.store.counts().unwrap().records, 5);
    assert!(!running.store.list_records(None, 1).unwrap()[0].facts.opened);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_does_not_answer_a_qr_code_in_time_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let (config, device) = (config::Qyzn::new(address.to_string()), config::Device::default());
    let mut running = Running::start_changed(folder.path(), config, &device, |parts| {
        parts.config.session_timeout_s = 1;
        parts.settings.relay.pulse_ms = 10_000;
    });
    platform.wait_until_logged_in().await.unwrap();
    running.event(|event| event.kind == "platform" && event.fields["state"] == "logged_in").await;
    platform.misbehave("silent".parse().unwrap());
    running.gate.present_qr("adddfffsss".into()).await.unwrap();
    platform.wait_for(|entry| entry.event == "qrcode_data").await.unwrap();
    assert_eq!(screen(&mut running).await, "请稍候");
    assert_eq!(screen(&mut running).await, "平台无法连接，请稍后再试");
    assert!(!running.relay.level());
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}
