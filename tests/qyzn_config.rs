//! Settings, and bytes on the gate's wires, from a QYZN platform: what it asks, what it is answered, what becomes
//! of it at the gate. Requests are the document's own samples where not said otherwise.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use menshen::config;
use menshen::event::Event;
use menshen::simulate::qyzn::Platform;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use support::gate::{Running, person, platform};
use support::vision::bytes;

/// A group of settings.
struct Group {
    key: &'static str,
    /// `RspMsg` of its `config_system`.
    set_msg: &'static str,
    /// What it is before anything was set, without `groupKey`.
    before: Value,
    /// The document's own request.
    sample: Value,
    /// What it is after that.
    after: Value,
    /// Values that are refused, with the key that is named.
    bad: Vec<(Value, &'static str)>,
}

fn groups() -> Vec<Group> {
    vec![
        Group {
            key: "ledctl",
            set_msg: "set_ledctl",
            before: json!({"mode": 2, "closeScreen": 0}),
            sample: json!({"mode": 2, "closeScreen": 0}),
            after: json!({"mode": 2, "closeScreen": 0}),
            bad: vec![
                (json!({"mode": 3}), "mode"),
                (json!({"mode": 1, "closeScreen": 3}), "closeScreen"),
                (json!({"closeScreen": -1}), "closeScreen"),
                (json!({"mode": "on"}), "mode"),
            ],
        },
        Group {
            key: "serial",
            set_msg: "set_serial",
            before: json!({"baudrate": 3, "databit": 8, "stopbit": 1, "checktype": 0, "putOutType": 1}),
            sample: json!({"baudrate": 3, "databit": 8, "stopbit": 1, "checktype": 0, "putOutType": 3}),
            after: json!({"baudrate": 3, "databit": 8, "stopbit": 1, "checktype": 0, "putOutType": 3}),
            bad: vec![
                (json!({"baudrate": 8}), "baudrate"),
                (json!({"baudrate": 9600}), "baudrate"),
                (json!({"databit": 4}), "databit"),
                (json!({"stopbit": 3}), "stopbit"),
                (json!({"checktype": 5}), "checktype"),
                (json!({"putOutType": 0}), "putOutType"),
                (json!({"baudrate": 5, "putOutType": 5}), "putOutType"),
            ],
        },
        Group {
            key: "audioctl",
            set_msg: "set_level",
            before: json!({"level": 8}),
            sample: json!({"level": 12}),
            after: json!({"level": 12}),
            bad: vec![(json!({"level": 16}), "level"), (json!({"level": -1}), "level")],
        },
        Group {
            key: "weigand",
            set_msg: "set_weigand",
            before: json!({"type": 0, "InputType": 2, "putOutType": 2}),
            sample: json!({"InputType": 1, "putOutType": 2, "type": 0}),
            after: json!({"type": 0, "InputType": 1, "putOutType": 2}),
            bad: vec![
                (json!({"type": 2}), "type"),
                (json!({"InputType": 0}), "InputType"),
                (json!({"type": 1, "putOutType": 3}), "putOutType"),
            ],
        },
        Group {
            key: "vaparam",
            set_msg: "set_vaparam",
            before: json!({"SimilarThres": 80, "DetThres": 65, "LiveThres": 50, "LiveSwitch": 0, "Distance": 0,
                "safetyhatDecect": false, "safetyhatDelect": false}),
            sample: json!({"SimilarThres": 80, "DetThres": 65, "LiveThres": 50, "LiveSwitch": 0, "Distance": 0,
                "safetyhatDecect": false}),
            after: json!({"SimilarThres": 80, "DetThres": 65, "LiveThres": 50, "LiveSwitch": 0, "Distance": 0,
                "safetyhatDecect": false, "safetyhatDelect": false}),
            bad: vec![(json!({"SimilarThres": 101}), "SimilarThres"), (json!({"Distance": 6}), "Distance")],
        },
        Group {
            key: "switchCtrl",
            set_msg: "set_switchCtrl",
            before: json!({"switchOutput": true, "switchOutMode": 0, "outputInterval": 2000, "outputDelay": 0}),
            sample: json!({"switchOutput": true, "switchOutMode": 0, "outputInterval": 2000, "outputDelay": 0}),
            after: json!({"switchOutput": true, "switchOutMode": 0, "outputInterval": 2000, "outputDelay": 0}),
            bad: vec![
                // The document's own answer to get_configs has it.
                (json!({"switchOutMode": 65}), "switchOutMode"),
                (json!({"outputInterval": 10_001}), "outputInterval"),
                (json!({"outputInterval": 500, "outputDelay": 5001}), "outputDelay"),
                (json!({"switchOutput": "perhaps"}), "switchOutput"),
            ],
        },
        Group {
            key: "VoiceTips",
            set_msg: "set_VoiceTips",
            before: json!({"SuccessTips": 1, "FailTips": 2}),
            sample: json!({"SuccessTips": 2, "FailTips": 1}),
            after: json!({"SuccessTips": 2, "FailTips": 1}),
            bad: vec![
                (json!({"SuccessTips": 0}), "SuccessTips"),
                (json!({"SuccessTips": 9}), "SuccessTips"),
                (json!({"SuccessTips": 3, "FailTips": 3}), "FailTips"),
            ],
        },
        Group {
            key: "ProductNameSet",
            set_msg: "set_ProductNameSet",
            before: json!({"UIName": ""}),
            sample: json!({"UIName": "动态人脸识别终端"}),
            after: json!({"UIName": "动态人脸识别终端"}),
            bad: vec![(json!({"UIName": "门".repeat(34)}), "UIName"), (json!({"UIName": []}), "UIName")],
        },
        Group {
            key: "OpenDoorModeSet",
            set_msg: "config_OpenDoorModeSet",
            before: json!({"OpenDoor": 0}),
            sample: json!({"OpenDoor": 1, "CardVerify": 0, "SwipeCardTip": 0, "SwipeFaceTip": 0}),
            after: json!({"OpenDoor": 1, "CardVerify": 0, "SwipeCardTip": 0, "SwipeFaceTip": 0}),
            bad: vec![
                (json!({"OpenDoor": 7}), "OpenDoor"),
                (json!({"OpenDoor": 3, "IdCardVerify": 3}), "IdCardVerify"),
                (json!({"CardVerify": 3}), "CardVerify"),
                (json!({"SwipeCardTip": 2}), "SwipeCardTip"),
            ],
        },
        Group {
            key: "StrangerParam",
            set_msg: "set_StrangerParam",
            before: json!({"strangerIdentifyEn": true, "strangerOpenDoorEn": false}),
            sample: json!({"strangerOpenDoorEn": false, "strangerIdentifyEn": true}),
            after: json!({"strangerIdentifyEn": true, "strangerOpenDoorEn": false}),
            bad: vec![
                (json!({"strangerIdentifyEn": false, "strangerOpenDoorEn": 2}), "strangerOpenDoorEn"),
                (json!({"strangerIdentifyEn": "perhaps"}), "strangerIdentifyEn"),
            ],
        },
        Group {
            key: "HttpPush",
            set_msg: "set_HttpPush",
            before: json!({"httpPushEnable": false, "httpServerAddr": "", "httpServerAddrStandby": "",
                "httpServerPort": 80, "timeout": 5, "charcode": 0, "heartbeat_interval": 30, "private_protocol": 0,
                "sslenable": false, "sslport": 443, "appid": "", "appSecret": "", "appsecret": "", "AuthSn": ""}),
            // Not enabled: nothing is to be sent to that address.
            sample: json!({"httpPushEnable": false, "httpServerAddr": "192.168.2.8",
                "httpServerAddrStandby": "192.168.2.1", "httpServerPort": 80, "timeout": 5, "charcode": 0,
                "heartbeat_interval": 0, "private_protocol": 0, "sslenable": false, "sslport": 443,
                "appid": "12355", "appsecret": "afaf", "AuthSn": "fafafa"}),
            after: json!({"httpPushEnable": false, "httpServerAddr": "192.168.2.8",
                "httpServerAddrStandby": "192.168.2.1", "httpServerPort": 80, "timeout": 5, "charcode": 0,
                "heartbeat_interval": 0, "private_protocol": 0, "sslenable": false, "sslport": 443,
                "appid": "12355", "appSecret": "******", "appsecret": "******", "AuthSn": "fafafa"}),
            bad: vec![
                (json!({"httpServerPort": 65_536}), "httpServerPort"),
                (json!({"timeout": 1001}), "timeout"),
                (json!({"charcode": 1}), "charcode"),
                (json!({"httpServerAddr": "x".repeat(65)}), "httpServerAddr"),
                (json!({"appid": "1", "AuthSn": "x".repeat(33)}), "AuthSn"),
                (json!({"appSecret": "x".repeat(128)}), "appSecret"),
            ],
        },
        Group {
            key: "VerifyRetRspSet",
            set_msg: "config_VerifyRetRspSet",
            before: json!({"SnapshotPic": true}),
            sample: json!({"SnapshotPic": true}),
            after: json!({"SnapshotPic": true}),
            bad: vec![(json!({"SnapshotPic": 2}), "SnapshotPic")],
        },
        Group {
            key: "ForbidIdCardSet",
            set_msg: "config_ForbidIdCardSet",
            before: json!({"NumPrefix": []}),
            sample: json!({"NumPrefix": ["44", "4405"]}),
            after: json!({"NumPrefix": ["44", "4405"]}),
            bad: vec![
                (json!({"NumPrefix": ["44", ""]}), "NumPrefix"),
                (json!({"NumPrefix": ["4405001990010"]}), "NumPrefix"),
                (json!({"NumPrefix": [["44"]]}), "NumPrefix"),
                (json!({"NumPrefix": ["44*"]}), "NumPrefix"),
                (json!({"NumPrefix": vec!["44"; 4097]}), "NumPrefix"),
            ],
        },
    ]
}

fn all_there() -> config::Device {
    config::Device { rs485: "sim".into(), thermometer: "sim:36.7".into(), ..config::Device::default() }
}

async fn get(platform: &Platform, key: &str) -> Value {
    let answer = platform.request("get_configs", json!({"groupKey": [key]})).await.unwrap();
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!(format!("get_{key}"))), "{key}");
    let mut group = answer["data"][0].clone();
    assert_eq!(group.as_object_mut().unwrap().remove("groupKey"), Some(json!(key)));
    group
}

/// Sets groups of settings; all of them are taken.
async fn set(platform: &Platform, groups: Value) {
    let answer = platform.request("config_system", groups.clone()).await.unwrap();
    assert_eq!((&answer["result"], &answer["data"]), (&json!(0), &json!({})), "{groups}: {answer}");
}

/// What a refused message is answered in `desc`.
async fn refused(platform: &Platform, message: &str, data: Value) -> String {
    let answer = platform.request(message, data.clone()).await.unwrap();
    assert_eq!(answer["result"], 104, "{message} {data}: {answer}");
    answer["desc"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_group_is_read_and_set_as_in_the_document_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let running = Running::start_with(folder.path(), address, &all_there());
    platform.wait_until_logged_in().await.unwrap();
    for group in groups() {
        let key = group.key;
        assert_eq!(get(&platform, key).await, group.before, "{key}");
        let answer = platform.request("config_system", json!({key: group.sample})).await.unwrap();
        assert_eq!(
            (&answer["result"], &answer["data"], &answer["RspMsg"]),
            (&json!(0), &json!({}), &json!(group.set_msg)),
            "{key}: {answer}"
        );
        assert_eq!(get(&platform, key).await, group.after, "{key}");
        // A second group in front of it: nothing of the message is applied.
        for (bad, named) in group.bad {
            let desc = refused(&platform, "config_system", json!({"audioctl": {"level": 1}, key: bad})).await;
            assert!(desc.starts_with(&format!("{key}.{named}: ")), "{key} {bad}: {desc}");
            assert_eq!(get(&platform, key).await, group.after, "{key} {bad}");
        }
        assert_ne!(get(&platform, "audioctl").await["level"], 1);
        let desc = refused(&platform, "config_system", json!({key: "text"})).await;
        assert!(desc.starts_with(key), "{desc}");
    }
    let keys: Vec<&str> = groups().iter().map(|group| group.key).collect();
    let all = platform.request("get_configs", json!({"groupKey": keys})).await.unwrap();
    assert_eq!((&all["result"], &all["RspMsg"]), (&json!(0), &json!("get_configs")));
    assert_eq!(all["data"].as_array().unwrap().len(), keys.len());
    let both = json!({"audioctl": {"level": "3"}, "VoiceTips": {"FailTips": 0, "SuccessTips": null}});
    let answer = platform.request("config_system", both).await.unwrap();
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!("config_system")));
    assert!(refused(&platform, "config_system", json!({"weather": {}})).await.contains("weather"));
    assert!(refused(&platform, "config_system", json!({})).await.contains("no group"));
    // The secret is kept, not told; what is read may be written back.
    let push = get(&platform, "HttpPush").await;
    set(&platform, json!({"HttpPush": push})).await;
    assert_eq!(running.gate.settings().push.app_secret, "afaf");
    set(&platform, json!({"HttpPush": {"appid": 0, "appSecret": 30}})).await;
    assert_eq!(running.gate.settings().push.app_secret, "30");
    assert_eq!(running.gate.settings().push.app_id, "0");
    running.stop().await;

    let running = Running::start_with(folder.path(), address, &all_there());
    platform.wait_for(|entry| entry.event == "logged_in" && entry.connection == 2).await.unwrap();
    for mut group in groups() {
        match group.key {
            "audioctl" => group.after = json!({"level": 3}),
            "VoiceTips" => group.after = json!({"SuccessTips": 2, "FailTips": 1}),
            "HttpPush" => group.after["appid"] = json!("0"),
            _ => {}
        }
        assert_eq!(get(&platform, group.key).await, group.after);
    }
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_taken_as_platforms_write_them() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let running = Running::start_with(folder.path(), address, &all_there());
    platform.wait_until_logged_in().await.unwrap();
    let p = &platform;
    for (baud, bits) in [1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200].into_iter().enumerate() {
        set(p, json!({"serial": {"baudrate": baud}})).await;
        assert_eq!(running.gate.settings().serial.baud, bits);
        assert_eq!(get(p, "serial").await["baudrate"], baud);
    }
    // 0 stop bits are one; 4 is the custom output, which is told as 10.
    set(p, json!({"serial": {"stopbit": "2"}})).await;
    assert_eq!(get(p, "serial").await["stopbit"], 2);
    set(p, json!({"serial": {"stopbit": 0}})).await;
    assert_eq!(get(p, "serial").await["stopbit"], 1);
    for custom in [json!("4"), json!(10), json!("10"), json!(4)] {
        set(p, json!({"serial": {"putOutType": 1}})).await;
        set(p, json!({"serial": {"putOutType": custom}})).await;
        assert_eq!(get(p, "serial").await["putOutType"], 10);
    }
    set(p, json!({"weigand": {"putOutType": "10"}})).await;
    assert_eq!(get(p, "weigand").await["putOutType"], 10);
    // Tips: 0 and false are on. Each mode tells what belongs to it, and takes all.
    let tips = json!({"OpenDoor": 3, "IdCardVerify": 2, "SwipeIdCardTip": true, "SwipeFaceTip": "1",
        "CardVerify": 1, "SwipeCardTip": false});
    set(p, json!({"OpenDoorModeSet": tips})).await;
    let document = json!({"OpenDoor": 3, "IdCardVerify": 2, "SwipeIdCardTip": 1, "SwipeFaceTip": 1});
    assert_eq!(get(p, "OpenDoorModeSet").await, document);
    set(p, json!({"OpenDoorModeSet": {"OpenDoor": 1}})).await;
    let card = json!({"OpenDoor": 1, "CardVerify": 1, "SwipeCardTip": 0, "SwipeFaceTip": 1});
    assert_eq!(get(p, "OpenDoorModeSet").await, card);
    for mode in [0, 2, 5, 6] {
        set(p, json!({"OpenDoorModeSet": {"OpenDoor": mode}})).await;
        assert_eq!(get(p, "OpenDoorModeSet").await, json!({"OpenDoor": mode}));
    }
    set(p, json!({"ForbidIdCardSet": {"NumPrefix": [44, "44", "4405"]}})).await;
    assert_eq!(get(p, "ForbidIdCardSet").await, json!({"NumPrefix": ["44", "4405"]}));
    set(p, json!({"ForbidIdCardSet": {"NumPrefix": []}})).await;
    assert_eq!(get(p, "ForbidIdCardSet").await, json!({"NumPrefix": []}));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

/// Whether an event is of a kind and has these fields.
fn is(kind: &str, fields: Value) -> impl Fn(&Event) -> bool {
    move |event: &Event| {
        event.kind == kind
            && fields.as_object().unwrap().iter().all(|(key, value)| event.fields.get(key) == Some(value))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_have_their_effect_on_the_devices() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut running = Running::start_with(folder.path(), address, &all_there());
    running.event(is("rs485", json!({"state": "open", "line": "9600 8N1"}))).await;
    platform.wait_until_logged_in().await.unwrap();
    let p = &platform;
    set(p, json!({"ledctl": {"mode": 1}})).await;
    running.event(is("lamp", json!({"state": "on"}))).await;
    set(p, json!({"ledctl": {"mode": 0}})).await;
    running.event(is("lamp", json!({"state": "off"}))).await;
    set(p, json!({"ProductNameSet": {"UIName": "动态人脸识别终端 005"}})).await;
    running.event(is("screen", json!({"title": "动态人脸识别终端 005"}))).await;
    let serial = json!({"baudrate": 4, "databit": 7, "stopbit": 2, "checktype": 3, "putOutType": 3});
    set(p, json!({"serial": serial})).await;
    running.event(is("rs485", json!({"state": "open", "line": "19200 7M2"}))).await;
    set(p, json!({"switchCtrl": {"switchOutMode": 1, "outputInterval": 20}})).await;
    running.event(is("relay", json!({"state": "off", "level": 1}))).await;
    assert!(running.relay.level(), "where low opens, high is rest");

    // A passage by card, with a sentence, a volume, a frame of 34 bits and the card's number on the serial line.
    let volume = json!({"audioctl": {"level": 12}, "VoiceTips": {"SuccessTips": 6},
        "OpenDoorModeSet": {"OpenDoor": 2}, "weigand": {"type": 1, "putOutType": 1}});
    set(p, volume).await;
    let mut holder = person("100001");
    holder["icNum"] = json!("157342643");
    assert_eq!(p.request("add_person", holder).await.unwrap()["result"], 0);
    running.gate.present_card("157342643".into()).await.unwrap();
    running.event(is("voice", json!({"beep": true}))).await;
    // 100001 is 0x186a1: thirteen zeros and 1 in the first half, so even parity is 1; six ones in the second, so odd
    // parity is 1.
    let bits = format!("1{:032b}1", 100_001);
    let mut orders = vec![
        json!({"kind": "wiegand", "bits": bits}),
        json!({"kind": "relay", "state": "on", "level": 0}),
        json!({"kind": "rs485", "bytes": "313537333432363433", "line": "19200 7M2"}),
        json!({"kind": "voice", "text": "请慢走", "language": "zh-CN", "volume": 12}),
    ];
    // Each device has a thread of its own: any may be first.
    running
        .event(|event| {
            let told = serde_json::to_value(event).unwrap();
            let is_told = |(key, value): (&String, &Value)| told.get(key) == Some(value);
            orders.retain(|order| !order.as_object().unwrap().iter().all(is_told));
            orders.is_empty()
        })
        .await;

    // Somebody else, whose identity number may not pass, and nobody's card.
    set(p, json!({"ForbidIdCardSet": {"NumPrefix": ["44", "4405"]}})).await;
    let mut other = person("100002");
    (other["icNum"], other["idNum"]) = (json!("2"), json!("440500199001010001"));
    assert_eq!(p.request("add_person", other).await.unwrap()["result"], 0);
    running.gate.present_card("2".into()).await.unwrap();
    running.event(is("verdict", json!({"reason": "forbidden_id_number", "opened": false}))).await;
    running.event(is("voice", json!({"text": "证件受限"}))).await;
    set(p, json!({"OpenDoorModeSet": {"SwipeCardTip": 1}})).await;
    running.gate.present_card("3".into()).await.unwrap();
    let next = running.event(|event| event.kind == "voice").await;
    assert_eq!(next.fields["text"], "卡未登记", "no beep before it");

    // The picture of a record, and the temperature of whoever passed.
    let records = running.store.list_records(None, 10).unwrap();
    assert!(records.iter().all(|record| record.facts.body_temp == Some(36.7)), "{records:?}");
    let picture = bytes("pictures/p01-1.jpg");
    running.record("with", &picture).await;
    let with = p.wait_for(|entry| entry.text("fullName") == "with").await.unwrap();
    assert_eq!(with.int("snapPic_bytes"), Some(picture.len() as i64));
    set(p, json!({"VerifyRetRspSet": {"SnapshotPic": false}})).await;
    running.record("without", &picture).await;
    let without = p.wait_for(|entry| entry.text("fullName") == "without").await.unwrap();
    assert_eq!(without.int("snapPic_bytes"), Some(0));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_for_the_gate_shuts_everybody_out_until_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let running = Running::start(folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    let p = &platform;
    set(p, json!({"OpenDoorModeSet": {"OpenDoor": 2}})).await;
    for id in ["1", "2"] {
        let mut holder = person(id);
        holder["icNum"] = json!(id);
        assert_eq!(p.request("add_person", holder).await.unwrap()["result"], 0);
    }
    // The document's sample, with every day shut and without its dots.
    let day = json!({"mode": 0});
    let rule = json!({
        "id": "规则 ID", "name": "规则名称", "updateTime": "2026-03-02 12:00:00",
        "weekly": {"mon": day, "tue": day, "wed": day, "thu": day, "fri": day, "sat": day, "sun": day},
        "holiday": [{"name": "中秋节", "dayRange": "2019.12.25~2019.12.25", "mode": 0},
            {"name": "国庆节", "dayRange": "2019.10.01~2019.10.03", "mode": 2, "periods": "00:00~05:00,13:30~18:00"}]
    });
    let answer = p.request("config_device_pass_rule", rule.clone()).await.unwrap();
    assert_eq!((&answer["result"], &answer["desc"]), (&json!(0), &json!("Success")));
    // What is wrong with a rule is named, and the rule before it stays.
    let mut bad = rule.clone();
    bad["weekly"]["wed"] = json!({"mode": 2, "periods": "25:00~26:00"});
    assert!(refused(p, "config_device_pass_rule", bad).await.contains("wed"));
    let mut bad = rule;
    bad["id"] = json!("x".repeat(33));
    assert!(refused(p, "config_device_pass_rule", bad).await.starts_with("id: "));
    running.stop().await;

    let mut running = Running::start(folder.path(), address);
    platform.wait_for(|entry| entry.event == "logged_in" && entry.connection == 2).await.unwrap();
    let kept = running.gate.settings().rules.schedule.clone().unwrap();
    assert_eq!((kept.name.as_str(), kept.holidays.len()), ("规则名称", 2));
    running.gate.present_card("1".into()).await.unwrap();
    running.event(is("verdict", json!({"reason": "out_of_schedule", "opened": false}))).await;
    assert_eq!(p.request("config_device_pass_rule", json!({})).await.unwrap()["result"], 0);
    running.gate.present_card("2".into()).await.unwrap();
    running.event(is("verdict", json!({"reason": "granted", "opened": true}))).await;
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_the_platforms_own_go_out_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut running = Running::start_with(folder.path(), address, &all_there());
    platform.wait_until_logged_in().await.unwrap();
    let p = &platform;
    let mut sent = Vec::new();
    for number in 0..16 {
        let content = if number == 0 { "1234ef".to_owned() } else { format!("{number:02X}") };
        sent.push(p.send(None, "serial_output", json!({"index": 0, "content": content})).unwrap());
        for sent in sent.drain(..) {
            assert_eq!(sent.answer().await.unwrap()["result"], 0);
        }
        let event = running.event(|event| event.kind == "rs485" && event.fields.contains_key("bytes")).await;
        assert_eq!(event.fields["bytes"], content.to_uppercase());
    }
    let most = "41".repeat(128);
    let answer = p.request("serial_output", json!({"index": "0", "content": most})).await.unwrap();
    assert_eq!((&answer["result"], &answer["data"]), (&json!(0), &json!({})));
    for (bad, key) in [
        (json!({"index": 1, "content": "41"}), "index: "),
        (json!({"content": "41"}), "index: "),
        (json!({"index": 0, "content": "414"}), "content: "),
        (json!({"index": 0, "content": "4G"}), "content: "),
        (json!({"index": 0, "content": ""}), "content: "),
        (json!({"index": 0}), "content: "),
        (json!({"index": 0, "content": "41".repeat(129)}), "content: "),
    ] {
        let desc = refused(p, "serial_output", bad.clone()).await;
        assert!(desc.starts_with(key), "{bad}: {desc}");
    }
    let answer = p.request("weigand_output", json!({"content": "1234EF"})).await.unwrap();
    assert_eq!((&answer["result"], &answer["data"]), (&json!(0), &json!({})));
    // 0001 0010 0011 has four ones: even parity 0; 0100 1110 1111 has eight: odd parity 1.
    running.event(is("wiegand", json!({"bits": "00001001000110100111011111"}))).await;
    for content in ["12", "1234", "12345678"] {
        let desc = refused(p, "weigand_output", json!({"content": content})).await;
        assert!(desc.contains("26 bits") && desc.contains("exactly 3 bytes"), "{desc}");
    }
    assert!(refused(p, "weigand_output", json!({"content": "12345"})).await.starts_with("content: "));
    assert!(refused(p, "weigand_output", json!({})).await.starts_with("content: "));
    set(p, json!({"weigand": {"type": 1}})).await;
    let desc = refused(p, "weigand_output", json!({"content": "1234EF"})).await;
    assert!(desc.contains("34 bits") && desc.contains("exactly 4 bytes"), "{desc}");
    assert_eq!(p.request("weigand_output", json!({"content": "31323334"})).await.unwrap()["result"], 0);
    // 0x3132 has six ones, 0x3334 seven.
    let bits = format!("0{:032b}0", 0x3132_3334);
    running.event(is("wiegand", json!({"bits": bits}))).await;
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gate_has_not_got_is_refused_and_not_swallowed() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let none = || "none".to_owned();
    let device = config::Device {
        wiegand_out: none(),
        rs485: none(),
        lamp: none(),
        screen: none(),
        voice: none(),
        ..config::Device::default()
    };
    let running = Running::start_with(folder.path(), address, &device);
    platform.wait_until_logged_in().await.unwrap();
    let p = &platform;
    for (group, value, device) in [
        ("audioctl", json!({"level": 12}), "device.voice"),
        // Also where nothing would change.
        ("audioctl", json!({"level": 8}), "device.voice"),
        ("VoiceTips", json!({"SuccessTips": 2}), "device.voice"),
        ("serial", json!({"putOutType": 3}), "device.rs485"),
        ("weigand", json!({"putOutType": 1}), "device.wiegand_out"),
        ("ledctl", json!({"mode": 1}), "device.lamp"),
        ("ledctl", json!({"mode": 0, "closeScreen": 5}), "device.screen"),
        ("ProductNameSet", json!({"UIName": "x"}), "device.screen"),
    ] {
        let before = running.gate.settings();
        let desc = refused(p, "config_system", json!({group: value})).await;
        assert!(desc.starts_with(group) && desc.contains(device), "{group}: {desc}");
        assert_eq!(running.gate.settings(), before);
    }
    set(p, json!({"ledctl": {"mode": 0, "closeScreen": 0}, "weigand": {"type": 1, "putOutType": 0}})).await;
    assert!(refused(p, "serial_output", json!({"index": 0, "content": "41"})).await.contains("device.rs485"));
    assert!(
        refused(p, "weigand_output", json!({"content": "12345678"})).await.contains("device.wiegand_out")
    );
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_port_carries_the_bytes_and_refuses_what_it_cannot_do() {
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&end).unwrap();
    unlockpt(&end).unwrap();
    let port = ptsname(&end, Vec::new()).unwrap().into_string().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let device = config::Device { rs485: format!("serial:{port}"), ..config::Device::default() };
    let mut running = Running::start_with(folder.path(), address, &device);
    running.event(is("rs485", json!({"state": "open", "line": "9600 8N1"}))).await;
    platform.wait_until_logged_in().await.unwrap();
    let p = &platform;
    set(p, json!({"serial": {"baudrate": 7, "stopbit": 2}})).await;
    running.event(is("rs485", json!({"state": "open", "line": "115200 8N2"}))).await;
    // A pseudo terminal has no parity bit.
    let before = running.gate.settings();
    let desc =
        refused(p, "config_system", json!({"serial": {"checktype": 2}, "audioctl": {"level": 1}})).await;
    assert!(desc.starts_with("serial: ") && desc.contains(&port) && desc.contains("115200 8E2"), "{desc}");
    assert_eq!(running.gate.settings(), before);
    assert_eq!(
        p.request("serial_output", json!({"index": 0, "content": "1234EF"})).await.unwrap()["result"],
        0
    );
    let read = tokio::task::spawn_blocking(move || {
        let (mut read, mut filled) = ([0; 3], 0);
        while filled < read.len() {
            filled += rustix::io::read(&end, &mut read[filled..]).unwrap();
        }
        read
    });
    assert_eq!(read.await.unwrap(), [0x12, 0x34, 0xef]);
    // The other end has gone with the reader: the port is away, and the gate goes on.
    let gone = p.request("serial_output", json!({"index": 0, "content": "41"})).await.unwrap();
    assert_eq!(gone["result"], -1);
    assert!(gone["desc"].as_str().unwrap().contains(&port), "{gone}");
    running.event(is("rs485", json!({"state": "failed"}))).await;
    assert_eq!(p.request("open_door", json!({})).await.unwrap()["result"], 0);
    running.event(is("relay", json!({"state": "on"}))).await;
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}
