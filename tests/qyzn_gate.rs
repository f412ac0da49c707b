//! A real gate, with its store and its models, at the simulated QYZN platform.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use menshen::access::{Origin, PersonKey};
use menshen::config;
use menshen::simulate::qyzn::Platform;
use menshen::store::{Destination, Options, Store};
use serde_json::{Value, json};
use support::gate::{Running, base64, person, platform};
use support::vision::bytes;

async fn result(platform: &Platform, message: &str, data: Value) -> i64 {
    platform.request(message, data).await.unwrap()["result"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_enrolled_changed_and_removed_with_the_documents_codes() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let running = Running::start(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    let p = &platform;
    assert_eq!(result(p, "add_person", person("100001")).await, 0);
    assert_eq!(result(p, "add_person", person("100001")).await, 101);
    assert_eq!(
        result(p, "update_person", json!({"personId": "100001", "name": "李四", "icNum": "157342643"})).await,
        0
    );
    assert_eq!(result(p, "update_person", json!({"personId": "2", "name": "李四"})).await, 105);
    let stored = running.store.person(&PersonKey::new(Origin::Qyzn, "100001")).unwrap().unwrap();
    assert_eq!((stored.name.as_str(), stored.card.as_deref()), ("李四", Some("157342643")));

    let good = bytes("pictures/p01-1.jpg");
    let face = |id: &str, face: &str, image: &str| json!({"personId": id, "faceId": face, "image": image});
    assert_eq!(result(p, "add_face", face("100001", "3000004", &base64(&good))).await, 0);
    assert_eq!(result(p, "add_face", face("2", "3000005", &base64(&good))).await, 105);
    assert_eq!(running.store.counts().unwrap().faces, 1);
    // Half a JPEG, one pixel, no picture at all, and base64 that is not.
    let half =
        platform.request("add_face", face("100001", "f2", &base64(&good[..good.len() / 2]))).await.unwrap();
    assert_eq!(half["result"], 110);
    assert_ne!(half["desc"], "", "it says what is wrong with the picture");
    assert_eq!(result(p, "add_face", face("100001", "f2", &base64(b"no picture"))).await, 110);
    assert_eq!(result(p, "add_face", face("100001", "f2", "not base64!")).await, 104);
    let long = json!({"personId": "3", "personCode": "3", "name": "张".repeat(10_000), "type": 1});
    let refused = platform.request("add_person", long).await.unwrap();
    assert_eq!(refused["result"], 104);
    assert!(refused["desc"].as_str().unwrap().starts_with("name: "));

    let mut with_face = person("100002");
    with_face["faces"] = json!([{"faceId": "f3", "image": base64(&bytes("pictures/p02-1.jpg"))}]);
    // It replaces what was there, so it may come twice.
    for _ in 0..2 {
        assert_eq!(result(p, "add_person_face", with_face.clone()).await, 0);
    }
    assert_eq!(running.store.counts().unwrap().people, 2);
    assert_eq!(running.store.counts().unwrap().faces, 2);
    assert_eq!(result(p, "delete_face", json!({"faceId": "nobody's"})).await, 102);
    assert_eq!(result(p, "delete_face", json!({"faceId": "f3"})).await, 0);
    assert_eq!(result(p, "delete_face", json!({"personId": "100001", "faceId": "x"})).await, 0);
    assert_eq!(running.store.counts().unwrap().faces, 0);
    assert_eq!(result(p, "delete_person", json!({"idSet": ["2"]})).await, 105);
    assert_eq!(result(p, "delete_person", json!({"idSet": ["100001"]})).await, 0);
    assert_eq!(result(p, "clear_person", json!({})).await, 0);
    assert_eq!(running.store.counts().unwrap().people, 0);
    assert_eq!(result(p, "device_explode", json!({})).await, 103);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_256_people_goes_with_one_message() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let running = Running::start(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    for number in 0..257 {
        assert_eq!(result(&platform, "add_person", person(&number.to_string())).await, 0);
    }
    let ids: Vec<String> = (0..256).map(|number| number.to_string()).collect();
    assert_eq!(result(&platform, "delete_person", json!({"idSet": ids})).await, 0);
    assert_eq!(running.store.counts().unwrap().people, 1);
    // Three of four are gone already; the fourth goes.
    let mixed = platform.request("delete_person", json!({"idSet": ["1", "256", "2", "3"]})).await.unwrap();
    assert_eq!(mixed["result"], 105);
    assert_eq!(mixed["desc"], "3 of 4 people were not here; the others were removed");
    assert_eq!(running.store.counts().unwrap().people, 0);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_changes_are_committed_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let running = Running::start(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    // A slow one with a picture first; what follows must not overtake it.
    let mut enrol = person("1");
    enrol["faces"] = json!([{"faceId": "f", "image": base64(&bytes("pictures/p01-1.jpg"))}]);
    let mut sent = vec![platform.send(None, "add_person_face", enrol).unwrap()];
    for round in 0..50 {
        let name = format!("round {round}");
        sent.push(platform.send(None, "update_person", json!({"personId": "1", "name": name})).unwrap());
    }
    sent.push(platform.send(None, "delete_face", json!({"faceId": "f"})).unwrap());
    for sent in sent {
        assert_eq!(sent.answer().await.unwrap()["result"], 0);
    }
    let person = running.store.person(&PersonKey::new(Origin::Qyzn, "1")).unwrap().unwrap();
    assert_eq!(person.name, "round 49");
    assert_eq!(running.store.counts().unwrap().faces, 0);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_opens_once_and_settings_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut running = Running::start(folder.path(), address);
    running.event(|event| event.kind == "platform" && event.fields["state"] == "registered").await;
    running.event(|event| event.kind == "platform" && event.fields["state"] == "logged_in").await;
    platform.wait_until_logged_in().await.unwrap();
    platform.misbehave("repeat".parse().unwrap());
    assert_eq!(result(&platform, "open_door", json!({})).await, 0);
    running.event(|event| event.kind == "relay" && event.fields["state"] == "on").await;
    assert!(running.relay.level());
    running.event(|event| event.kind == "relay" && event.fields["state"] == "off").await;
    platform.misbehave("none".parse().unwrap());
    let set = json!({"vaparam": {"SimilarThres": 85}});
    assert_eq!(result(&platform, "config_system", set).await, 0);
    let bad = json!({"vaparam": {"DetThres": 66, "LiveThres": 101}});
    let refused = platform.request("config_system", bad).await.unwrap();
    assert_eq!((&refused["result"], &refused["RspMsg"]), (&json!(104), &json!("set_vaparam")));
    assert!(refused["desc"].as_str().unwrap().contains("LiveThres"));
    running.stop().await;

    let running = Running::start(folder.path(), address);
    platform.wait_for(|entry| entry.event == "logged_in" && entry.connection == 2).await.unwrap();
    let answer = platform.request("get_configs", json!({"groupKey": ["vaparam"]})).await.unwrap();
    assert_eq!(answer["RspMsg"], "get_vaparam");
    assert_eq!(
        (&answer["data"][0]["SimilarThres"], &answer["data"][0]["DetThres"]),
        (&json!(85), &json!(65))
    );
    // The account was kept as well.
    let registered = platform.journal().from(0).iter().filter(|entry| entry.event == "register").count();
    assert_eq!(registered, 1);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_delivered_in_order_with_their_sequences_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let picture = bytes("pictures/p01-1.jpg");
    let running = Running::start(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    running.record("record 0", &picture).await;
    let first = platform.wait_for(|entry| entry.event == "snapshot_face").await.unwrap();
    assert_eq!((first.text("fullName"), first.text("personId")), ("record 0", "100001"));
    assert_eq!(first.text("snaptime"), "2026-03-02 12:00:00");
    assert_eq!(first.text("snapPic_md5"), format!("{:x}", md5::compute(&picture)));
    assert_eq!(first.int("score"), Some(93));
    let base = first.int("seq").unwrap();
    // The platform falls silent: what follows is sent, and not acknowledged.
    platform.request("open_door", json!({})).await.unwrap();
    platform.misbehave("silent".parse().unwrap());
    for number in 1..=5 {
        running.record(&format!("record {number}"), &picture).await;
    }
    platform.wait_for(|entry| entry.text("fullName") == "record 1").await.unwrap();
    running.stop().await;

    platform.misbehave("none".parse().unwrap());
    let from = platform.journal().len();
    let running = Running::start(folder.path(), address);
    platform.wait_after(from, |entry| entry.text("fullName") == "record 5").await.unwrap();
    // An order goes behind the acknowledgement of the last record.
    platform.request("open_door", json!({"again": 1})).await.unwrap();
    let seen: Vec<_> = platform
        .journal()
        .from(0)
        .iter()
        .filter(|entry| entry.event == "snapshot_face")
        .map(|entry| {
            (entry.text("fullName").to_owned(), entry.int("seq").unwrap() - base, entry.flag("resent"))
        })
        .collect();
    let expected = [(0, false), (1, false), (1, true), (2, false), (3, false), (4, false), (5, false)];
    assert_eq!(seen, expected.map(|(number, resent)| (format!("record {number}"), number, resent)));
    // The mark of the last one is on its way to the disk.
    while running.store.outbox_len(Destination::Qyzn).unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);

    let options = Options { data_dir: folder.path().to_owned(), config: config::Store::default() };
    let store = Store::open_read_only(&options).unwrap();
    assert_eq!(store.outbox_len(Destination::Qyzn).unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_records_go_out_and_clearing_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let picture = bytes("pictures/p01-1.jpg");
    let running = Running::start(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    platform.disconnect();
    for number in 0..400 {
        running.record(&format!("record {number}"), &picture).await;
    }
    let first = platform.wait_for(|entry| entry.text("fullName") == "record 200").await.unwrap();
    let last = platform.wait_for(|entry| entry.text("fullName") == "record 399").await.unwrap();
    let rate = 199.0 / ((last.ms - first.ms).max(1) as f64 / 1000.0);
    eprintln!("{rate:.0} records a second, {} bytes each", picture.len());
    // Clearing leaves nothing to send.
    assert_eq!(result(&platform, "record_clear", json!({})).await, 0);
    assert_eq!(running.store.counts().unwrap().records, 0);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_record_is_acknowledged_and_its_answer_orders_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let picture = bytes("pictures/p01-1.jpg");
    platform.misbehave("silent".parse().unwrap());
    let running = Running::start(folder.path(), address);
    running.record("record 1", &picture).await;
    running.stop().await;

    platform.misbehave("none".parse().unwrap());
    let orders = |text: &str| json!({"opendoor": 1, "screenDisp": text});
    platform.answer_with("snapshot_face", 0, orders("old"), None);
    let mut running = Running::start(folder.path(), address);
    platform.wait_for(|entry| entry.text("fullName") == "record 1").await.unwrap();
    // Its answer is behind the acknowledgement.
    assert_eq!(result(&platform, "open_door", json!({})).await, 0);
    platform.answer_with("snapshot_face", 0, orders("new"), None);
    running.record("record 2", &picture).await;
    let shown = running.event(|event| event.kind == "screen" && event.fields.contains_key("text")).await;
    assert_eq!(shown.fields["text"], "new");
    // Its mark is on its way to the disk.
    let waits = |name: &str| {
        let entries = running.store.outbox(Destination::Qyzn, None, 10).unwrap();
        entries.iter().any(|entry| entry.record.facts.name == name)
    };
    while waits("record 1") {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_drives_a_gate() {
    use menshen::simulate::qyzn::script::Script;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("face.jpg"), bytes("pictures/p01-1.jpg")).unwrap();
    let script = r#"
        {"wait":"logged_in"}
        {"answer":"snapshot_face","data":{"opendoor":0,"screenDisp":"余额不足"}}
        {"send":"add_person_face","data":{"personId":"1","personCode":"1","name":"张三","type":1,"faces":[{"image_file":"face.jpg"}]},"expect":{"result":0,"desc":"Success"}}
        {"repeat":3,"send":"add_person","data":{"personId":"p{n}","personCode":"p{n}","name":"{n}","type":1}}
        {"expect_all":{"result":0}}
        {"wait":"snapshot_face","where":{"fullName":"record 7","result":1}}
        {"send":"open_door"}
        {"expect":{"result":0}}
    "#;
    let (platform, address) = platform().await;
    let mut running = Running::start(folder.path(), address);
    let script = Script::parse(script, folder.path()).unwrap();
    let runs = tokio::spawn({
        let platform = platform.clone();
        async move { script.run(&platform).await }
    });
    running.event(|event| event.kind == "person" && event.fields["person"]["id"] == "p2").await;
    running.record("record 7", &bytes("pictures/p01-1.jpg")).await;
    let shown = running.event(|event| event.kind == "screen" && event.fields["text"] == "余额不足").await;
    assert_eq!(shown.kind, "screen");
    runs.await.unwrap().unwrap();
    assert_eq!(running.store.counts().unwrap().people, 4);
    // What is not as expected fails, by its line.
    let wrong = Script::parse(r#"{"send":"fly","expect":{"result":0}}"#, folder.path()).unwrap();
    let error = wrong.run(&platform).await.unwrap_err().to_string();
    assert!(error.starts_with("line 1 of the script: fly was answered {"), "{error}");
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}
