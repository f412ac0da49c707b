//! One passage, end to end: the agent as a process, a platform on loopback, real pictures, real models.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;
#[path = "support/site.rs"]
mod site;

use serde_json::json;

use process::{Agent, prepared};
use site::Site;

/// The pictures of the demonstration: an empty scene, the first enrolled person, the second, and a stranger.
fn demonstration(site: &Site) -> String {
    site.config(&prepared(".setup/demo/frames"), 15)
}

#[test]
fn the_enrolled_pass_the_stranger_does_not_and_the_platform_learns_of_both() {
    let site = Site::new();
    let mut agent = Agent::start(site.folder(), &demonstration(&site));
    site.logged_in();
    // 157342643 is the card number of the document's own sample.
    let answer = site.enrol("100001", "157342643", ".setup/demo/enrol/A.jpg");
    assert_eq!((&answer["result"], &answer["desc"]), (&json!(0), &json!("Success")));
    assert_eq!(site.enrol("100002", "", ".setup/demo/enrol/B.jpg")["result"], 0);

    let one = agent.event("a pass of the first", |event| {
        event["person"]["id"] == "100001" && event["kind"] == "verdict"
    });
    assert_eq!(
        (&one["verdict"], &one["reason"], &one["opened"]),
        (&json!("pass"), &json!("granted"), &json!(true))
    );
    assert_eq!((&one["credential"], &one["name"]), (&json!(["face"]), &json!("张三")));
    assert!(one["score"].as_f64().unwrap() >= 80.0, "{one}");
    assert!(one["latency_ms"].as_u64().is_some(), "{one}");

    let stranger = agent.event("the stranger", |event| event["reason"] == "stranger");
    assert_eq!((&stranger["verdict"], &stranger["opened"]), (&json!("refuse"), &json!(false)));
    assert!(stranger["score"].as_f64().unwrap() < 80.0, "{stranger}");

    // The relay moved for everybody who passed and for nobody else, and the card number went out before it.
    let opened: Vec<_> = agent
        .heard("relay")
        .filter(|event| event["state"] == "on")
        .map(|event| event["record"].clone())
        .collect();
    let passed: Vec<_> = agent
        .heard("verdict")
        .filter(|event| event["verdict"] == "pass")
        .map(|event| event["record"].clone())
        .collect();
    assert!(!opened.is_empty());
    assert_eq!(opened, passed);
    // 157342643 without its highest bits is 011000001101101110110011, with even and odd parity around it.
    let bits: Vec<_> = agent.heard("wiegand").map(|event| event["bits"].clone()).collect();
    assert_eq!(bits, ["10110000011011011101100111"]);

    let first = site.reported("the first person's passage", |report| report.text("personId") == "100001");
    assert_eq!((first.int("result"), first.int("type")), (Some(1), Some(1)));
    assert_eq!((first.text("fullName"), first.text("faceId")), ("张三", "face-100001"));
    assert!(first.int("score").unwrap() >= 80);
    assert!(site.is_frame(first.text("snapPic_md5")), "the picture is one that the camera saw");
    let unknown = site.reported("the stranger", |report| report.int("type") == Some(4));
    assert_eq!((unknown.int("result"), unknown.text("personId")), (Some(0), ""));
    site.assert_proper();

    // The platform opens in between.
    let answer = site.request("open_door", json!({}));
    assert_eq!(answer["result"], 0);
    let relay =
        agent.event("the platform's opening", |event| event["kind"] == "relay" && !event["by"].is_null());
    assert_eq!((&relay["state"], &relay["by"]), (&json!("on"), &json!({ "platform": "qyzn" })));
    assert_eq!(agent.process.stop(), Some(0));
}

#[test]
fn what_cannot_enrol_is_refused_and_leaves_nothing() {
    let site = Site::new();
    let agent = Agent::start(site.folder(), &site.config(&prepared(".setup/demo/frames"), 1));
    site.logged_in();
    let refused = |picture: &[u8]| site.enrol_bytes("1", "", picture);
    let real = std::fs::read(prepared(".setup/demo/enrol/A.jpg")).unwrap();
    // Half a JPEG, one pixel, nothing, text.
    for picture in [&real[..real.len() / 2], &site::one_pixel(), b"", b"no picture at all"] {
        let answer = refused(picture);
        assert!([json!(104), json!(110)].contains(&answer["result"]), "{answer}");
        assert_ne!(answer["desc"], "Success");
    }
    // Every picture that the set-up prepared for this: blurred, dark, turned, several faces, none.
    let mut faults = std::collections::BTreeSet::new();
    for picture in std::fs::read_dir(prepared(".setup/test/refuse")).unwrap() {
        let path = picture.unwrap().path();
        let answer = refused(&std::fs::read(&path).unwrap());
        assert_eq!(answer["result"], 110, "{}: {answer}", path.display());
        faults.insert(answer["desc"].to_string());
    }
    assert!(faults.len() >= 4, "each fault has its own words: {faults:?}");
    let answer = site.request(
        "add_person_face",
        json!({ "personId": "1", "personCode": "1", "name": "人".repeat(10_000), "type": 1, "faces": [] }),
    );
    assert_eq!(answer["result"], 104);
    assert!(answer["desc"].as_str().unwrap().contains("name"), "{answer}");
    assert_eq!(
        site.request(
            "add_face",
            json!({ "personId": "nobody", "faceId": "f", "image": site::base64(&real) })
        )["result"],
        105
    );
    let answer = site.request("add_person_face", json!({ "personId": "1", "personCode": "1", "name": "一", "type": 1, "faces": [{ "faceId": "f", "image": "这不是base64" }] }));
    assert_eq!(answer["result"], 104);
    assert_eq!(agent.get("/api/v1/people")["people"], json!([]));
}

#[test]
fn settings_of_the_platform_survive_a_restart() {
    let site = Site::new();
    let config = site.config(&prepared(".setup/demo/frames"), 1);
    let mut agent = Agent::start(site.folder(), &config);
    site.logged_in();
    let answer = site.request("config_system", json!({ "vaparam": { "SimilarThres": 91 } }));
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!("set_vaparam")));
    // One value out of range: nothing of the message is applied.
    let answer = site.request("config_system", json!({ "vaparam": { "DetThres": 70, "LiveThres": 101 } }));
    assert_eq!(answer["result"], 104);
    assert!(answer["desc"].as_str().unwrap().contains("LiveThres"), "{answer}");
    assert_eq!(agent.process.stop(), Some(0));
    let seen = site.journal_len();
    let _agent = Agent::start(site.folder(), &config);
    site.logged_in_after(seen);
    let answer = site.request("get_configs", json!({ "groupKey": ["vaparam"] }));
    assert_eq!(answer["RspMsg"], "get_vaparam");
    let group = &answer["data"][0];
    assert_eq!(
        (&group["SimilarThres"], &group["DetThres"], &group["LiveThres"]),
        (&json!(91), &json!(65), &json!(50))
    );
}

#[test]
fn a_gate_without_a_camera_takes_cards() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[terminal]\ndata_dir = {:?}\n[device]\nwiegand_in = \"sim\"\n[settings.rules]\nmode = \"card\"\n",
        folder.path().join("data")
    );
    let mut agent = Agent::start(folder.path(), &config);
    let mut present = process::menshen();
    present.args(["present", "card", "99", "--config"]).arg(folder.path().join("menshen.toml"));
    assert!(present.status().unwrap().success());
    let verdict = agent.event("a verdict", |event| event["kind"] == "verdict");
    assert_eq!(verdict["reason"], "unknown_card");
    assert_eq!(agent.process.stop(), Some(0));
}
