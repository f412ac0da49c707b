//! Every message of QYZN V3.7 over the wire, a row each: those that a platform sends, the groups of its settings, and
//! what the gate reports. Requests and values are the document's own where it is sound; a row has ids of its own where
//! two would meet. What is deeper than a row is in the file of its topic (`qyzn_people.rs`, `qyzn_config.rs`,
//! `qyzn_system.rs`, `qyzn_credentials.rs`, `qyzn_upgrade.rs`, `qyzn_backlog.rs`, `qyzn_intercom.rs`).
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::civil::date;
use menshen::access::{
    DayRule, Origin, PassMode, Person, PersonKey, PersonKind, Remote, RemoteMode, Schedule,
};
use menshen::clock::{AdjustedClock, Clock, SystemClock};
use menshen::config;
use menshen::device::system::Simulated;
use menshen::device::wiegand;
use menshen::document::Document;
use menshen::event::Event;
use menshen::gate::settings::Settings;
use menshen::intercom::Intercom;
use menshen::platform::qyzn::{self, requests::Requests};
use menshen::simulate::qyzn::{Entry, Platform, wire};
use menshen::store::{Destination, NewFace};
use menshen::text::Language;
use menshen::update::{Options, Updates, installer};
use serde_json::{Value, json};
use support::gate::{Running, base64, person};
use support::vision::bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A gate and its platform.
struct Place {
    platform: Platform,
    running: Running,
    folder: PathBuf,
}

/// Something done or looked at in a row, with the answer where there is one already.
type Act = for<'a> fn(&'a mut Place, &'a Value) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// For a row that has none.
const NOTHING: Act = |_, _| Box::pin(async {});

/// Names the row in which a test failed.
struct In<'a>(&'a str);

impl Drop for In<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the row {}", self.0);
        }
    }
}

/// How a value differs from what was expected, where `"*"` stands for anything at all.
fn difference(found: &Value, expected: &Value) -> Option<String> {
    match (found, expected) {
        (_, Value::String(any)) if any == "*" => None,
        (Value::Object(found), Value::Object(expected)) => {
            let keys = |of: &serde_json::Map<String, Value>| {
                let mut keys: Vec<String> = of.keys().cloned().collect();
                keys.sort();
                keys
            };
            if keys(found) != keys(expected) {
                return Some(format!("the keys {:?} instead of {:?}", keys(found), keys(expected)));
            }
            expected.iter().find_map(|(key, expected)| {
                difference(&found[key], expected).map(|what| format!("{key}: {what}"))
            })
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            found.iter().zip(expected).find_map(|(found, expected)| difference(found, expected))
        }
        _ if found == expected => None,
        _ => Some(format!("{found} instead of {expected}")),
    }
}

fn assert_like(found: &Value, expected: &Value) {
    assert_eq!(difference(found, expected), None, "{found}");
}

/// Whether an event is of a kind and has these fields.
fn is(kind: &str, fields: Value) -> impl Fn(&Event) -> bool {
    move |event: &Event| {
        event.kind == kind
            && fields.as_object().unwrap().iter().all(|(key, value)| event.fields.get(key) == Some(value))
    }
}

fn qyzn(id: &str) -> PersonKey {
    PersonKey::new(Origin::Qyzn, id)
}

fn local(id: &str) -> PersonKey {
    PersonKey::new(Origin::Local, id)
}

/// A clock that shows `now` and runs.
fn clock_at(now: jiff::Timestamp) -> Arc<AdjustedClock> {
    let clock = AdjustedClock::new(Arc::new(SystemClock));
    clock.set(now);
    clock
}

/// A platform whose clock shows `now`.
async fn platform_at(now: &str) -> (Platform, Arc<AdjustedClock>, SocketAddr) {
    let clock = clock_at(now.parse().unwrap());
    let platform = Platform::new(clock.clone());
    let address = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (platform, clock, address)
}

/// Every reader, wire and sensor is there.
fn all_there() -> config::Device {
    let sim = || "sim".to_owned();
    config::Device {
        rs485: sim(),
        wiegand_in: sim(),
        qr_reader: sim(),
        id_reader: sim(),
        thermometer: "sim:36.7".into(),
        ..config::Device::default()
    }
}

impl Place {
    async fn ask(&self, message: &str, data: Value) -> Value {
        self.platform.request(message, data).await.unwrap()
    }

    /// Sends what must be done before a row.
    async fn done(&self, message: &str, data: Value) {
        let answer = self.ask(message, data.clone()).await;
        assert_eq!(answer["result"], 0, "{message} {data}: {answer}");
    }

    async fn event(&mut self, kind: &str, fields: Value) -> Arc<Event> {
        self.running.event(is(kind, fields)).await
    }

    fn person(&self, id: &str) -> Option<Person> {
        self.running.store.person(&qyzn(id)).unwrap()
    }

    fn faces(&self, id: &str) -> Vec<String> {
        let listed = self.running.store.listed_person(&qyzn(id)).unwrap().unwrap();
        listed.faces.into_iter().map(|(_, id)| id).collect()
    }

    /// Enrols somebody new with the card `card` and these facts besides, who then presents it.
    async fn comes(&self, card: &str, facts: Value) {
        let mut holder = person(card);
        holder["icNum"] = json!(card);
        holder.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        self.done("add_person", holder).await;
        self.running.gate.present_card(card.into()).await.unwrap();
    }

    /// The same, and what becomes of it.
    async fn verdict(&mut self, card: &str, facts: Value) -> (String, bool) {
        self.comes(card, facts).await;
        let verdict = self.running.event(|event| event.kind == "verdict").await;
        (verdict.fields["reason"].as_str().unwrap().to_owned(), verdict.fields["opened"] == true)
    }

    /// Frames of the demonstration before a camera.
    fn watch(&mut self, numbers: impl Iterator<Item = u32>) {
        let place = self.folder.join("frames");
        std::fs::create_dir_all(&place).unwrap();
        for number in numbers {
            std::fs::copy(frame(number), place.join(format!("{number:04}.jpg"))).unwrap();
        }
        self.running.watch(&place);
    }
}

/// 0001 to 0015 are empty, 0016 to 0060 show somebody.
fn frame(number: u32) -> PathBuf {
    demo(&format!("frames/{number:04}.jpg"))
}

fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".setup/demo").join(name)
}

fn photo(name: &str) -> String {
    base64(&bytes(&format!("pictures/{name}.jpg")))
}

/// Somebody of the technician's own.
fn somebody(key: PersonKey) -> Person {
    Person {
        code: key.id.clone(),
        key,
        name: "张三".into(),
        kind: PersonKind::White,
        id_number: Some("420381200010013857".into()),
        card: Some("157342643".into()),
        passes_left: Some(10),
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

/// A face as the store has it, without the work of examining a picture.
fn stored_face(id: &str) -> NewFace {
    NewFace {
        face_id: id.into(),
        picture: vec![0xff, 0xd8, 0xff, 0xdb],
        model: "m".into(),
        template: vec![1; 8],
    }
}

// ---- What a platform sends -----------------------------------------------------------------------------------------

/// The headings of chapters 4.3 to 4.5 whose direction is Server >> Device. The heading of 4.5.7 is lost in the
/// document; its table and its sample spell the message differently.
const MESSAGES: [(&str, &str); 22] = [
    ("4.3.1", "add_person"),
    ("4.3.2", "update_person"),
    ("4.3.3", "delete_person"),
    ("4.3.4", "clear_person"),
    ("4.3.5", "snapshot_picture"),
    ("4.3.6", "sync_person"),
    ("4.3.8", "add_person_face"),
    ("4.4.1", "add_face"),
    ("4.4.2", "delete_face"),
    ("4.5.1", "device_restart"),
    ("4.5.2", "device_upgrade"),
    ("4.5.3", "serial_output"),
    ("4.5.4", "weigand_output"),
    ("4.5.5", "record_clear"),
    ("4.5.6", "open_door"),
    ("4.5.7", "online_openDoor"),
    ("4.5.7", "online_open_door"),
    ("4.5.8", "swiping_card"),
    ("4.5.9", "config_device_pass_rule"),
    ("4.5.10", "get_configs"),
    ("4.5.10", "config_system"),
    ("4.5.11", "reSend_record_set"),
];

/// A message of a platform.
struct Row {
    chapter: &'static str,
    message: &'static str,
    version: u8,
    /// What must be there.
    before: Act,
    request: Value,
    /// Between the request and its answer.
    during: Act,
    /// `data` of the answer.
    data: Value,
    /// `RspMsg` of the answer.
    rsp_msg: Option<&'static str>,
    /// What became of it.
    effect: Act,
    /// What is still so after a restart.
    kept: Act,
    /// What is refused, with the code and the beginning of `desc`.
    bad: Vec<(Value, i64, &'static str)>,
}

/// A row of which nothing is said yet: of version 3, answered with nothing.
fn row(chapter: &'static str, message: &'static str, request: Value) -> Row {
    Row {
        chapter,
        message,
        version: 3,
        before: NOTHING,
        request,
        during: NOTHING,
        data: json!({}),
        rsp_msg: None,
        effect: NOTHING,
        kept: NOTHING,
        bad: Vec::new(),
    }
}

/// The sample of 4.3.1 and of 4.3.2.
fn sample_person() -> Value {
    json!({"personId": "100001", "personCode": "100001", "name": "张三", "type": 1,
        "idNum": "420381200010013857", "icNum": "157342643", "passNum": 10,
        "passPeriod": "08:00~09:30,11:30~14:00,17:00~19:00", "passMonday": true, "passTuesday": true,
        "passWednesday": true, "passThursday": true, "passFriday": true, "passSaturday": false,
        "passSunday": false, "startTime": "2019-01-01 00:00:00", "expireTime": "2020-01-01 00:00:00"})
}

/// The person of that sample, as the gate has it.
fn assert_sample_person(place: &Place) {
    let person = place.person("100001").unwrap();
    assert_eq!((person.code.as_str(), person.name.as_str()), ("100001", "张三"));
    assert_eq!((person.kind, person.passes_left, person.mode), (PersonKind::White, Some(10), None));
    assert_eq!(person.id_number.as_deref(), Some("420381200010013857"));
    assert_eq!(person.card.as_deref(), Some("157342643"));
    assert_eq!(person.schedule.simple.days, [true, true, true, true, true, false, false]);
    let periods: Vec<_> =
        person.schedule.simple.periods.unwrap().0.iter().map(|period| (period.from, period.to)).collect();
    assert_eq!(periods, [(480, 570), (690, 840), (1020, 1140)]);
    assert!(person.valid_from.is_some() && person.valid_until.is_some());
}

/// The rule of the samples in 4.3.8 and 4.5.9, put together and without its dots.
fn sample_rule() -> Value {
    json!({"id": "规则 ID", "name": "规则名称", "updateTime": "yyyy-MM-dd HH:mm:ss",
        "weekly": {"mon": {"mode": 0}, "tue": {"mode": 1},
            "wed": {"mode": 2, "periods": "00:00~05:00,13:30~18:00"}, "thu": {"mode": 1}, "fri": {"mode": 1},
            "sat": {"mode": 1}, "sun": {"mode": 1}},
        "holiday": [{"name": "中秋节", "dayRange": "2019.12.25~2019.12.25", "mode": 0},
            {"name": "国庆节", "dayRange": "2019.10.01~2019.10.03", "mode": 2,
                "periods": "00:00~05:00,13:30~18:00"}]})
}

/// `value` with `key` as given.
fn with(mut value: Value, key: &str, given: Value) -> Value {
    value[key] = given;
    value
}

fn people_rows() -> Vec<Row> {
    let mut whole = sample_person();
    let more = json!({"personId": "100002", "personCode": "100002", "portrait": "fsfgdsgsdfsafds", "idNum": "",
        "icNum": "", "passMode": 255, "faces": [{"faceId": "3000002", "image": photo("p01-1")}],
        "extPassRule": sample_rule()});
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let face = |id: &str, image: &str| json!({"personId": id, "faceId": "3000004", "image": image});
    let four: Vec<Value> =
        (0..4).map(|face| json!({"faceId": format!("f{face}"), "image": photo("p01-1")})).collect();
    vec![
        // The first of all: it removes whom the others add.
        Row {
            before: |place, _| Box::pin(async { place.done("add_person", person("gone")).await }),
            effect: |place, _| {
                Box::pin(async {
                    place.event("person", json!({"change": "cleared"})).await;
                    assert_eq!(place.running.store.counts().unwrap().people, 0);
                })
            },
            kept: |place, _| Box::pin(async { assert_eq!(place.person("gone"), None) }),
            ..row("4.3.4", "clear_person", json!({}))
        },
        Row {
            effect: |place, _| Box::pin(async { assert_sample_person(place) }),
            // As the next row leaves it, which says the same.
            kept: |place, _| Box::pin(async { assert_sample_person(place) }),
            bad: vec![
                (sample_person(), 101, ""),
                (with(person("9"), "personId", Value::Null), 104, "personId: is missing"),
                (with(person("9"), "name", json!("")), 104, "name: "),
                (with(person("9"), "type", json!(5)), 104, "type: "),
            ],
            ..row("4.3.1", "add_person", sample_person())
        },
        Row {
            before: |place, _| {
                Box::pin(async {
                    let other = json!({"personId": "100001", "name": "李四", "type": 2, "passNum": 3, "idNum": "",
                        "icNum": "1", "passPeriod": "", "passMonday": false, "passSunday": true});
                    place.done("update_person", other).await;
                    let person = place.person("100001").unwrap();
                    assert_eq!((person.name.as_str(), person.kind), ("李四", PersonKind::Black));
                    assert_eq!((person.passes_left, person.id_number), (Some(3), None));
                    assert!(!person.schedule.simple.days[0] && person.schedule.simple.days[6]);
                })
            },
            effect: |place, _| Box::pin(async { assert_sample_person(place) }),
            kept: |place, _| Box::pin(async { assert_sample_person(place) }),
            bad: vec![
                (with(sample_person(), "personId", json!("nobody")), 105, ""),
                (with(sample_person(), "type", json!(9)), 104, "type: "),
            ],
            ..row("4.3.2", "update_person", sample_person())
        },
        Row {
            before: |place, _| Box::pin(async { place.done("add_person", person("100003")).await }),
            effect: |place, _| Box::pin(async { assert_eq!(place.person("100003"), None) }),
            kept: |place, _| Box::pin(async { assert_eq!(place.person("100003"), None) }),
            bad: vec![
                (json!({"idSet": ["100003"]}), 105, ""),
                (json!({}), 104, "idSet: is missing"),
                (json!({"idSet": []}), 104, "idSet: "),
            ],
            ..row("4.3.3", "delete_person", json!({"idSet": ["100003"]}))
        },
        Row {
            effect: |place, _| {
                Box::pin(async {
                    let person = place.person("100002").unwrap();
                    assert_eq!((person.name.as_str(), person.passes_left), ("张三", Some(10)));
                    let rule = person.schedule.extended.unwrap();
                    assert_eq!((rule.name.as_str(), rule.holidays.len()), ("规则名称", 2));
                    assert_eq!((&rule.weekly[0], &rule.weekly[1]), (&DayRule::Never, &DayRule::Always));
                    assert_eq!(place.faces("100002"), ["3000002"]);
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    assert!(place.person("100002").unwrap().schedule.extended.is_some());
                    assert_eq!(place.faces("100002"), ["3000002"]);
                })
            },
            bad: vec![
                (
                    with(whole.clone(), "faces", json!([{"faceId": "f", "image": base64(b"no picture")}])),
                    110,
                    "",
                ),
                (with(whole.clone(), "faces", json!(four)), 104, "faces: "),
                (with(whole.clone(), "passMode", json!(7)), 104, "passMode: "),
                (
                    with(whole.clone(), "extPassRule", json!({"weekly": {"mon": {"mode": 3}}})),
                    104,
                    "extPassRule",
                ),
            ],
            ..row("4.3.8", "add_person_face", whole)
        },
        Row {
            before: |place, _| Box::pin(async { place.done("add_person", person("100004")).await }),
            effect: |place, _| Box::pin(async { assert_eq!(place.faces("100004"), ["3000004"]) }),
            kept: |place, _| Box::pin(async { assert_eq!(place.faces("100004"), ["3000004"]) }),
            bad: vec![
                (face("nobody", &photo("p02-1")), 105, ""),
                (face("100004", &base64(b"no picture")), 110, ""),
                // The sample's own picture.
                (face("100004", "0aB1D98bsdDSBDDS23sdfisfs"), 104, "image: "),
                (json!({"personId": "100004", "image": photo("p02-1")}), 104, "faceId: is missing"),
            ],
            ..row("4.4.1", "add_face", face("100004", &photo("p02-1")))
        },
        // The sample names both ids: all faces of that person are meant, and not the face of somebody else.
        Row {
            before: |place, _| {
                Box::pin(async {
                    let mut owner = person("1000004");
                    owner["faces"] = json!([{"faceId": "3000014", "image": photo("p03-01")}]);
                    place.done("add_person_face", owner).await;
                })
            },
            effect: |place, _| {
                Box::pin(async {
                    assert_eq!(place.faces("1000004"), [""; 0]);
                    assert_eq!(place.faces("100004"), ["3000004"]);
                })
            },
            kept: |place, _| Box::pin(async { assert_eq!(place.faces("1000004"), [""; 0]) }),
            bad: vec![
                (json!({"faceId": "nobody's"}), 102, ""),
                (json!({"personId": "nobody"}), 105, ""),
                (json!({}), 104, "faceId: is missing"),
            ],
            ..row("4.4.2", "delete_face", json!({"faceId": "3000004", "personId": "1000004"}))
        },
        // The document's sample of an answer has 125 people; here are those of the platform and one of the gate's.
        Row {
            before: |place, _| {
                Box::pin(async {
                    let store = &place.running.store;
                    let card = Person { card: None, ..somebody(local("7")) };
                    store.put_person(card, vec![stored_face("7-1")]).await.unwrap();
                    assert_eq!(store.counts().unwrap().people, 5);
                })
            },
            data: json!({"person_num": 5}),
            effect: |place, _| {
                Box::pin(async {
                    let fields = json!({"state": "synced", "done": 5, "refused": 0, "total": 5});
                    place.event("platform", fields).await;
                    assert_eq!(place.running.store.person(&local("7")).unwrap(), None);
                    assert_eq!(place.person("7").unwrap().name, "张三", "the platform's own from now on");
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    assert_eq!(place.running.store.person(&local("7")).unwrap(), None);
                    assert!(place.person("7").is_some());
                })
            },
            ..row("4.3.6", "sync_person", json!({}))
        },
    ]
}

fn control_rows(packages: &Packages) -> Vec<Row> {
    let package = json!({"url": packages.url("file.bin"), "version": "V1.0.2_2018-11-10_12:20 xxx",
        "check": format!("{:x}", md5::compute(PACKAGE))});
    let rule = sample_rule();
    let mut bad_wednesday = rule.clone();
    bad_wednesday["weekly"]["wed"]["periods"] = json!("25:00~26:00");
    vec![
        Row {
            effect: |place, _| {
                Box::pin(async {
                    let version = "V1.0.2_2018-11-10_12:20 xxx";
                    place.event("update", json!({"state": "verified", "version": version})).await;
                    place.event("update", json!({"state": "installed", "version": version})).await;
                })
            },
            bad: vec![
                (with(package.clone(), "url", json!("file.bin")), 200, "url: "),
                (with(package.clone(), "url", json!(packages.unreachable)), 201, ""),
                (with(package.clone(), "url", json!(packages.url("nothing"))), 202, ""),
                // The sample's own sum is another file's.
                (with(package.clone(), "check", json!("e10adc3949ba59abbe56e057f20f883e")), 203, ""),
                (with(package.clone(), "check", json!("e10adc")), 104, "check: "),
            ],
            ..row("4.5.2", "device_upgrade", package)
        },
        Row {
            effect: |place, _| {
                Box::pin(async {
                    place.event("rs485", json!({"bytes": "1234EF", "line": "9600 8N1"})).await;
                })
            },
            bad: vec![
                (json!({"index": 1, "content": "1234EF"}), 104, "index: "),
                (json!({"index": 0, "content": "1234EG"}), 104, "content: "),
                (json!({"index": 0}), 104, "content: "),
            ],
            ..row("4.5.3", "serial_output", json!({"index": 0, "content": "1234EF"}))
        },
        Row {
            effect: |place, _| {
                Box::pin(async {
                    // 0001 0010 0011 has four ones: even parity 0; 0100 1110 1111 has eight: odd parity 1.
                    place.event("wiegand", json!({"bits": "00001001000110100111011111"})).await;
                })
            },
            bad: vec![
                // The number of the sample in the text: 34 bits have four bytes, 26 bits three.
                (json!({"content": "31323334"}), 104, ""),
                (json!({"content": "12345"}), 104, "content: "),
                (json!({}), 104, "content: "),
            ],
            ..row("4.5.4", "weigand_output", json!({"content": "1234EF"}))
        },
        Row {
            before: |place, _| {
                Box::pin(async {
                    place.running.record("old", b"").await;
                    assert!(place.running.store.counts().unwrap().records > 0);
                })
            },
            effect: |place, _| {
                Box::pin(async {
                    assert_eq!(place.running.store.counts().unwrap().records, 0);
                    assert_eq!(place.running.store.outbox_len(Destination::Qyzn).unwrap(), 0);
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    let records = place.running.store.list_records(None, 100).unwrap();
                    assert!(records.iter().all(|record| record.facts.name != "old"));
                })
            },
            ..row("4.5.5", "record_clear", json!({}))
        },
        Row {
            effect: |place, _| {
                Box::pin(async {
                    let by = json!({"platform": "qyzn"});
                    place.event("relay", json!({"state": "on", "level": 1, "by": by})).await;
                    place.event("relay", json!({"state": "off", "level": 0})).await;
                })
            },
            ..row("4.5.6", "open_door", json!({}))
        },
        // Mode 2: the platform alone opens, and it is not there.
        Row {
            effect: |place, _| {
                Box::pin(async {
                    let remote = Remote { mode: RemoteMode::Remote, online: false };
                    assert_eq!(place.running.gate.settings().rules.remote, remote);
                    place.platform.answer_with("snapshot_face", 0, json!({"opendoor": 0}), Some(1));
                    let verdict = place.verdict("201", json!({})).await;
                    assert!(!verdict.1, "{verdict:?}");
                    assert!(!place.running.relay.level());
                })
            },
            bad: vec![
                (json!({"online": 2, "mode": 1}), 104, "online: "),
                (json!({"online": 1, "mode": 3}), 104, "mode: "),
            ],
            ..row("4.5.7", "online_openDoor", json!({"online": 0, "mode": 2}))
        },
        // The sample: the platform decides while it is there.
        Row {
            effect: |place, _| {
                Box::pin(async {
                    place.platform.answer_with("snapshot_face", 0, json!({"opendoor": 1}), Some(1));
                    let verdict = place.verdict("202", json!({})).await;
                    assert!(!verdict.1, "the gate does not open by itself: {verdict:?}");
                    place.event("relay", json!({"state": "on"})).await;
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    let remote = Remote { mode: RemoteMode::RemoteWhenOnline, online: true };
                    assert_eq!(place.running.gate.settings().rules.remote, remote);
                })
            },
            bad: vec![
                (json!({"online": 1}), 104, "mode: is missing"),
                (json!({}), 104, "online: is missing"),
            ],
            ..row("4.5.7", "online_open_door", json!({"online": 1, "mode": 1}))
        },
        // The facts of the sample; dates as the table has them.
        Row {
            during: |place, _| {
                Box::pin(async {
                    // It has begun when the next command is answered.
                    place.done("get_configs", json!({"groupKey": ["vaparam"]})).await;
                    place.running.gate.present_document(sample_document()).await.unwrap();
                })
            },
            data: json!({"cardType": 0, "name": "Jim", "idNum": "420381198802141789", "ethnic": "汉", "gender": "男",
                "birthday": "19891010", "address": "北京市朝阳区清湖路", "idIssuingOrgan": "北京市朝阳区公安局",
                "idUsefulLife": "20000101~20300101"}),
            effect: |place, _| {
                Box::pin(async {
                    place.event("credential", json!({"credential": "document", "for": "platform"})).await;
                })
            },
            bad: vec![
                (json!({}), 104, "timeOut: is missing"),
                (json!({"timeOut": 0}), 104, "timeOut: "),
                // Nobody comes.
                (json!({"timeOut": 1}), 107, ""),
            ],
            ..row("4.5.8", "swiping_card", json!({"timeOut": 10}))
        },
        Row {
            data: json!([{"groupKey": "version", "devType": "*", "appVer": "*", "sysVer": "*", "license": "*"},
                {"groupKey": "OpenDoorModeSet", "OpenDoor": 5}]),
            rsp_msg: Some("get_configs"),
            bad: vec![
                (json!({"groupKey": ["version", "weather"]}), 104, "weather: "),
                (json!({}), 104, "groupKey: is missing"),
            ],
            ..row("4.5.10", "get_configs", json!({"groupKey": ["version", "OpenDoorModeSet"]}))
        },
        Row {
            rsp_msg: Some("set_level"),
            effect: |place, _| Box::pin(async { assert_eq!(place.running.gate.settings().audio.volume, 12) }),
            kept: |place, _| Box::pin(async { assert_eq!(place.running.gate.settings().audio.volume, 12) }),
            bad: vec![
                (json!({"audioctl": {"level": 16}}), 104, "audioctl.level: "),
                (json!({"weather": {}}), 104, "weather: "),
                (json!({}), 104, ""),
            ],
            ..row("4.5.10", "config_system", json!({"audioctl": {"level": 12}}))
        },
        // The record is of 2026; the sample's times are of 2021.
        Row {
            before: |place, _| {
                Box::pin(async {
                    place.running.record("again", &bytes("pictures/p01-1.jpg")).await;
                    place.platform.wait_for(|entry| entry.text("fullName") == "again").await.unwrap();
                    // An order goes behind the acknowledgement of the record.
                    place.done("get_configs", json!({"groupKey": ["vaparam"]})).await;
                })
            },
            effect: |place, _| {
                Box::pin(async {
                    let again = |entry: &Entry| entry.text("fullName") == "again";
                    let repeated = |entry: &Entry| again(entry) && entry.flag("resent");
                    let second = place.platform.wait_for(repeated).await.unwrap();
                    let first = place.platform.wait_for(again).await.unwrap();
                    assert_eq!(second.int("seq"), first.int("seq"));
                    assert_ne!(second.number, first.number);
                    assert_eq!(second.text("snapPic_md5"), first.text("snapPic_md5"));
                })
            },
            bad: vec![
                (json!({"recordType": 3}), 104, "recordType: "),
                (
                    json!({"recordType": 1, "snapStartTime": "2021-01-02 08:30:20",
                        "snapEndTime": "2021-01-01 08:30:20"}),
                    104,
                    "snapStartTime: is after snapEndTime",
                ),
            ],
            ..row(
                "4.5.11",
                "reSend_record_set",
                json!({"recordType": 1, "snapStartTime": "2026-03-02 08:30:20", "snapEndTime": "2026-03-03 08:30:20"}),
            )
        },
        // It is a Monday.
        Row {
            version: 4,
            effect: |place, _| {
                Box::pin(async {
                    let verdict = place.verdict("203", json!({})).await;
                    assert_eq!(verdict, ("out_of_schedule".into(), false));
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    let rule = place.running.gate.settings().rules.schedule.clone().unwrap();
                    assert_eq!((rule.name.as_str(), rule.holidays.len()), ("规则名称", 2));
                })
            },
            bad: vec![
                (bad_wednesday, 104, "weekly.wed"),
                (with(rule.clone(), "id", json!("x".repeat(33))), 104, "id: "),
            ],
            ..row("4.5.9", "config_device_pass_rule", rule)
        },
        Row {
            before: |place, _| {
                Box::pin(async {
                    place.watch(30..=35);
                    place.event("camera", json!({"state": "watching"})).await;
                })
            },
            data: json!({"image": "*"}),
            effect: |_, answer| {
                Box::pin(async {
                    let image = answer["data"]["image"].as_str().unwrap();
                    let frames = (30..=35).map(|number| base64(&std::fs::read(frame(number)).unwrap()));
                    assert!(frames.into_iter().any(|frame| frame == image), "a frame with a face in it");
                })
            },
            bad: vec![
                (json!({}), 104, "timeoutSeconds: is missing"),
                (json!({"timeoutSeconds": 301}), 104, "timeoutSeconds: "),
            ],
            ..row("4.3.5", "snapshot_picture", json!({"timeoutSeconds": 5}))
        },
        // The last of all.
        Row {
            effect: |place, _| {
                Box::pin(async {
                    let by = json!({"platform": "qyzn"});
                    place.event("system", json!({"order": "restart", "by": by})).await;
                    place.running.gate.anew().await;
                })
            },
            ..row("4.5.1", "device_restart", json!({}))
        },
    ]
}

/// The facts of the sample in 4.5.8.
fn sample_document() -> Document {
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

/// What `device_upgrade` downloads.
const PACKAGE: &[u8] = b"a package of the new version";

/// A server with one package.
struct Packages {
    address: SocketAddr,
    /// Where nobody listens.
    unreachable: String,
}

impl Packages {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let found = head.starts_with(b"GET /file.bin ");
                let (status, body) = if found { ("200 OK", PACKAGE) } else { ("404 Not Found", &b""[..]) };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
            }
        });
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        Self { address, unreachable: format!("http://{nobody}/file.bin") }
    }

    fn url(&self, file: &str) -> String {
        format!("http://{}/{file}", self.address)
    }
}

/// A gate that installs what is not signed.
fn start(folder: &Path, address: SocketAddr, now: jiff::Timestamp) -> Running {
    let mut settings = Settings::default();
    settings.rules.mode = PassMode::FaceOrCard;
    settings.rules.stranger.identify = false;
    settings.relay.pulse_ms = 20;
    let data = folder.to_owned();
    Running::start_linked_on(folder, &all_there(), settings, clock_at(now), move |gate, stopped| {
        let config = config::Update {
            installer: "sim".into(),
            allow_unsigned: true,
            max_mib: 1,
            ..config::Update::default()
        };
        let options = Options { resume_pause: Duration::from_millis(1), ..Options::new(&config) };
        let updates =
            Updates::with(installer(&config, gate.events()), options, &config, &data, gate.events());
        let terminal = config::Terminal { mac: "0064871ECB01".into(), ..config::Terminal::default() };
        qyzn::run(
            gate,
            terminal,
            config::Qyzn::new(address.to_string()),
            Requests::default(),
            updates,
            stopped,
        )
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_platform() {
    let folder = tempfile::tempdir().unwrap();
    // A Monday, at noon in Beijing.
    let (platform, clock, address) = platform_at("2026-03-02T04:00:00Z").await;
    let packages = Packages::start().await;
    let mut rows = people_rows();
    rows.extend(control_rows(&packages));
    let mut have: Vec<_> = rows.iter().map(|row| (row.chapter, row.message)).collect();
    let mut all = MESSAGES.to_vec();
    have.sort_unstable();
    all.sort_unstable();
    assert_eq!(have, all, "a row for every message, and no other");

    let running = start(folder.path(), address, clock.now());
    platform.wait_until_logged_in().await.unwrap();
    let mut place = Place { platform, running, folder: folder.path().to_owned() };
    for row in &rows {
        let name = format!("{} {}", row.chapter, row.message);
        let _row = In(&name);
        (row.before)(&mut place, &Value::Null).await;
        let sent = place.platform.send_version(None, row.message, row.request.clone(), row.version).unwrap();
        (row.during)(&mut place, &Value::Null).await;
        let answer = sent.answer().await.unwrap();
        assert_eq!((&answer["result"], &answer["desc"]), (&json!(0), &json!("Success")), "{answer}");
        assert_like(&answer["data"], &row.data);
        assert_eq!(answer.get("RspMsg").and_then(Value::as_str), row.rsp_msg);
        (row.effect)(&mut place, &answer).await;
        let before = (place.running.gate.settings(), place.running.store.counts().unwrap().people);
        for (bad, code, desc) in &row.bad {
            let refused = loop {
                let sent = place.platform.send_version(None, row.message, bad.clone(), row.version).unwrap();
                let answer = sent.answer().await.unwrap();
                // The one before, which was taken, is on its last steps.
                if answer["result"] != 109 {
                    break answer;
                }
            };
            assert_eq!(refused["result"], *code, "{bad}: {refused}");
            let said = refused["desc"].as_str().unwrap();
            assert!(said.starts_with(desc) && !said.is_empty(), "{bad}: {refused}");
        }
        // Nearly the name, as somebody writes it who has not looked: nothing is guessed.
        let refused = place.ask(&row.message.to_uppercase(), row.request.clone()).await;
        assert_eq!(refused["result"], 103, "{refused}");
        let after = (place.running.gate.settings(), place.running.store.counts().unwrap().people);
        assert_eq!(before, after, "what was refused has changed nothing");
    }
    // What a gate sends is nothing that it takes.
    for other in ["register", "login", "snapshot_face", "device_sync_person", "fly"] {
        let refused = place.ask(other, json!({})).await;
        assert_eq!(refused["result"], 103, "{other}: {refused}");
    }
    place.running.stop().await;

    place.running = start(folder.path(), address, clock.now());
    place.platform.wait_for(|entry| entry.event == "logged_in" && entry.connection == 2).await.unwrap();
    for row in &rows {
        let name = format!("{} {} after a restart", row.chapter, row.message);
        let _row = In(&name);
        (row.kept)(&mut place, &Value::Null).await;
    }
    place.running.stop().await;
    assert_eq!(place.platform.violations(), [""; 0]);
}

// ---- Settings ------------------------------------------------------------------------------------------------------

/// The headings of 4.5.10, and whether one of them sets the group.
const GROUPS: [(&str, bool); 17] = [
    ("version", false),
    ("netinfo", false),
    ("time", true),
    ("ledctl", true),
    ("serial", true),
    ("audioctl", true),
    ("weigand", true),
    ("vaparam", true),
    ("switchCtrl", true),
    ("VoiceTips", true),
    ("ProductNameSet", true),
    ("OpenDoorModeSet", true),
    ("StrangerParam", true),
    ("HttpPush", true),
    ("system_reboot", true),
    ("VerifyRetRspSet", true),
    ("ForbidIdCardSet", true),
];

/// A group of settings.
struct Group {
    key: &'static str,
    /// `RspMsg` of its `config_system`; `None` for one that can only be read.
    set_msg: Option<&'static str>,
    /// What it is before anything was set, without `groupKey`.
    before: Value,
    /// The document's own request.
    sample: Value,
    /// What it is after that, as far as it is not as it was.
    then: Value,
    /// What is set next: another value.
    other: Value,
    /// What became of the two.
    effect: Act,
    /// What it does after a restart.
    kept: Act,
    /// A value that is refused, and the key that is named.
    bad: (Value, &'static str),
}

fn read_only(key: &'static str, before: Value, effect: Act) -> Group {
    Group {
        key,
        set_msg: None,
        before,
        sample: json!({}),
        then: json!({}),
        other: json!({}),
        effect,
        kept: effect,
        bad: (json!({"name": "eth0"}), ""),
    }
}

/// `value` with the members of `change` in it.
fn changed(value: &Value, change: &Value) -> Value {
    let mut value = value.clone();
    for (key, changed) in change.as_object().unwrap() {
        assert!(value.get(key).is_some(), "{key} is told");
        value[key] = changed.clone();
    }
    value
}

fn groups() -> Vec<Group> {
    let terminal = config::Terminal::default();
    vec![
        read_only(
            "version",
            json!({"devType": terminal.model, "appVer": "*", "sysVer": "*", "license": terminal.serial}),
            |_, group| {
                Box::pin(async move {
                    assert!(group["appVer"].as_str().unwrap().contains(env!("CARGO_PKG_VERSION")), "{group}");
                })
            },
        ),
        read_only("netinfo", json!({"item": "*"}), |_, group| {
            Box::pin(async move {
                for card in group["item"].as_array().unwrap() {
                    assert_like(
                        card,
                        &json!({"name": "*", "macaddr": "*", "ipaddr": "*", "maskaddr": "*", "gateway": "*",
                            "DNS": "*"}),
                    );
                    let known = Path::new("/sys/class/net").join(card["name"].as_str().unwrap());
                    assert!(known.exists(), "{card}");
                }
            })
        }),
        Group {
            key: "time",
            set_msg: Some("set_time"),
            before: json!({"timezone": 20, "currenttime": "*", "time_control": 1, "ntpServer": "", "ntpPort": 123}),
            sample: json!({"currenttime": "2020-07-01 16:56:15", "time_control": 1, "ntpPort": 3030, "timezone": 20,
                "ntpServer": "192.168.1.250"}),
            then: json!({"ntpPort": 3030, "ntpServer": "192.168.1.250"}),
            other: json!({"timezone": 12, "time_control": 2, "ntpServer": "ntp.example", "ntpPort": 1123}),
            effect: |place, _| {
                Box::pin(async {
                    let clock = json!({"order": "set_clock", "time": "2020-07-01T08:56:15Z"});
                    place.event("system", clock).await;
                    let zone = json!({"order": "set_zone", "utc_offset_minutes": 0});
                    place.event("system", zone).await;
                    let ntp = json!({"order": "follow_ntp", "server": "ntp.example", "port": 1123});
                    place.event("system", ntp).await;
                })
            },
            kept: NOTHING,
            bad: (json!({"timezone": 25}), "timezone"),
        },
        Group {
            key: "system_reboot",
            set_msg: Some("set_system_reboot"),
            before: json!({"auto_reboot": false, "time": "03:00:00", "week": 0, "log_level": 1}),
            sample: json!({"week": 4, "auto_reboot": true, "log_level": 0, "time": "03:00:00"}),
            then: json!({"week": 4, "auto_reboot": true, "log_level": 0}),
            other: json!({"log_level": 2}),
            effect: |place, _| {
                Box::pin(async {
                    let restart = place.running.gate.settings().restart;
                    assert_eq!((restart.automatic, restart.week, restart.log_level), (true, 4, Some(2)));
                })
            },
            // The timer waits until nobody is at the gate: before all that somebody does there. 2020-07-01 is a
            // Wednesday: 4.
            kept: |place, _| {
                Box::pin(async {
                    let clock = json!({"time": {"time_control": 0, "currenttime": "2020-07-01 02:59:57"}});
                    place.done("config_system", clock).await;
                    place.event("system", json!({"order": "restart", "by": "timer"})).await;
                })
            },
            bad: (json!({"time": "24:00:00"}), "time"),
        },
        Group {
            key: "OpenDoorModeSet",
            set_msg: Some("config_OpenDoorModeSet"),
            before: json!({"OpenDoor": 0}),
            sample: json!({"OpenDoor": 1, "CardVerify": 0, "SwipeCardTip": 0, "SwipeFaceTip": 0}),
            then: json!({}),
            other: json!({"OpenDoor": 5}),
            effect: |place, _| {
                Box::pin(async {
                    assert_eq!(place.verdict("301", json!({})).await, ("granted".into(), true));
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    assert_eq!(place.verdict("302", json!({})).await, ("granted".into(), true));
                })
            },
            bad: (json!({"OpenDoor": 7}), "OpenDoor"),
        },
        Group {
            key: "ledctl",
            set_msg: Some("set_ledctl"),
            before: json!({"mode": 2, "closeScreen": 0}),
            sample: json!({"mode": 2, "closeScreen": 0}),
            then: json!({}),
            other: json!({"mode": 1, "closeScreen": 5}),
            effect: |place, _| {
                Box::pin(async {
                    place.event("lamp", json!({"state": "on"})).await;
                    assert_eq!(place.running.gate.settings().light.screen_off_minutes, 5);
                })
            },
            kept: NOTHING,
            bad: (json!({"closeScreen": 3}), "closeScreen"),
        },
        Group {
            key: "serial",
            set_msg: Some("set_serial"),
            before: json!({"baudrate": 3, "databit": 8, "stopbit": 1, "checktype": 0, "putOutType": 1}),
            sample: json!({"baudrate": 3, "databit": 8, "stopbit": 1, "checktype": 0, "putOutType": 3}),
            then: json!({"putOutType": 3}),
            other: json!({"baudrate": 4, "databit": 7, "stopbit": 2, "checktype": 3}),
            effect: |place, _| {
                Box::pin(async {
                    place.event("rs485", json!({"state": "open", "line": "19200 7M2"})).await;
                    place.comes("303", json!({})).await;
                    place.event("rs485", json!({"bytes": "333033", "line": "19200 7M2"})).await;
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    place.comes("304", json!({})).await;
                    place.event("rs485", json!({"bytes": "333034", "line": "19200 7M2"})).await;
                })
            },
            bad: (json!({"baudrate": 9600}), "baudrate"),
        },
        Group {
            key: "audioctl",
            set_msg: Some("set_level"),
            before: json!({"level": 8}),
            sample: json!({"level": 12}),
            then: json!({"level": 12}),
            other: json!({"level": 3}),
            effect: |place, _| {
                Box::pin(async {
                    place.comes("305", json!({})).await;
                    place.event("voice", json!({"text": "识别成功", "volume": 3})).await;
                })
            },
            kept: NOTHING,
            bad: (json!({"level": 16}), "level"),
        },
        Group {
            key: "VoiceTips",
            set_msg: Some("set_VoiceTips"),
            before: json!({"SuccessTips": 1, "FailTips": 2}),
            sample: json!({"SuccessTips": 2, "FailTips": 1}),
            then: json!({"SuccessTips": 2, "FailTips": 1}),
            other: json!({"SuccessTips": 6}),
            effect: |place, _| {
                Box::pin(async {
                    place.comes("306", json!({})).await;
                    place.event("voice", json!({"text": "请慢走"})).await;
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    place.comes("307", json!({})).await;
                    place.event("voice", json!({"text": "请慢走", "volume": 3})).await;
                })
            },
            bad: (json!({"SuccessTips": 9}), "SuccessTips"),
        },
        Group {
            key: "weigand",
            set_msg: Some("set_weigand"),
            before: json!({"type": 0, "InputType": 2, "putOutType": 2}),
            sample: json!({"InputType": 1, "putOutType": 2, "type": 0}),
            then: json!({"InputType": 1}),
            other: json!({"type": 1, "putOutType": 1, "InputType": 3}),
            effect: |place, _| {
                Box::pin(async {
                    // 308 is 0x134: none of the first half's bits is one, so even parity is 0; four ones are in the
                    // second, so odd parity is 1.
                    place.comes("308", json!({})).await;
                    place.event("wiegand", json!({"bits": format!("0{:032b}1", 308)})).await;
                    // 118 and 1603: the last two bytes alone.
                    let bits = wiegand::bits("10111011000000110010000110").unwrap();
                    assert_eq!(place.running.gate.present_wiegand(&bits).await.unwrap(), "1603");
                })
            },
            kept: NOTHING,
            bad: (json!({"putOutType": 3}), "putOutType"),
        },
        Group {
            key: "switchCtrl",
            set_msg: Some("set_switchCtrl"),
            before: json!({"switchOutput": true, "switchOutMode": 0, "outputInterval": 2000, "outputDelay": 0}),
            sample: json!({"switchOutput": true, "switchOutMode": 0, "outputInterval": 2000, "outputDelay": 0}),
            then: json!({}),
            other: json!({"switchOutMode": 1, "outputInterval": 20, "outputDelay": 1}),
            effect: |place, _| {
                Box::pin(async {
                    place.event("relay", json!({"state": "off", "level": 1})).await;
                    assert!(place.running.relay.level(), "where low opens, high is rest");
                    place.done("open_door", json!({})).await;
                    place.event("relay", json!({"state": "on", "level": 0})).await;
                    place.event("relay", json!({"state": "off", "level": 1})).await;
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    place.done("open_door", json!({})).await;
                    place.event("relay", json!({"state": "on", "level": 0})).await;
                })
            },
            // The document's own answer to get_configs has it.
            bad: (json!({"switchOutMode": 65}), "switchOutMode"),
        },
        Group {
            key: "ProductNameSet",
            set_msg: Some("set_ProductNameSet"),
            before: json!({"UIName": ""}),
            sample: json!({"UIName": "动态人脸识别终端"}),
            then: json!({"UIName": "动态人脸识别终端"}),
            other: json!({"UIName": "动态人脸识别终端 005"}),
            effect: |place, _| {
                Box::pin(async {
                    place.event("screen", json!({"title": "动态人脸识别终端"})).await;
                    place.event("screen", json!({"title": "动态人脸识别终端 005"})).await;
                })
            },
            kept: NOTHING,
            bad: (json!({"UIName": "门".repeat(34)}), "UIName"),
        },
        Group {
            key: "ForbidIdCardSet",
            set_msg: Some("config_ForbidIdCardSet"),
            before: json!({"NumPrefix": []}),
            sample: json!({"NumPrefix": ["44", "4405"]}),
            then: json!({"NumPrefix": ["44", "4405"]}),
            other: json!({"NumPrefix": ["4405"]}),
            effect: |place, _| {
                Box::pin(async {
                    let refused = ("forbidden_id_number".into(), false);
                    let verdict = place.verdict("309", json!({"idNum": "440500199001010001"})).await;
                    assert_eq!(verdict, refused);
                    let verdict = place.verdict("310", json!({"idNum": "440600199001010001"})).await;
                    assert_eq!(verdict, ("granted".into(), true));
                })
            },
            kept: |place, _| {
                Box::pin(async {
                    let verdict = place.verdict("311", json!({"idNum": "440500199001010001"})).await;
                    assert_eq!(verdict, ("forbidden_id_number".into(), false));
                })
            },
            bad: (json!({"NumPrefix": ["4405001990010"]}), "NumPrefix"),
        },
        Group {
            key: "VerifyRetRspSet",
            set_msg: Some("config_VerifyRetRspSet"),
            before: json!({"SnapshotPic": true}),
            sample: json!({"SnapshotPic": true}),
            then: json!({}),
            other: json!({"SnapshotPic": false}),
            effect: |place, _| {
                Box::pin(async {
                    place.running.record("without", &bytes("pictures/p01-1.jpg")).await;
                    let told = |entry: &Entry| entry.text("fullName") == "without";
                    let told = place.platform.wait_for(told).await.unwrap();
                    assert_eq!(told.int("snapPic_bytes"), Some(0));
                })
            },
            kept: NOTHING,
            bad: (json!({"SnapshotPic": 2}), "SnapshotPic"),
        },
        Group {
            key: "HttpPush",
            set_msg: Some("set_HttpPush"),
            before: json!({"httpPushEnable": false, "httpServerAddr": "", "httpServerAddrStandby": "",
                "httpServerPort": 80, "timeout": 5, "charcode": 0, "heartbeat_interval": 30, "private_protocol": 0,
                "sslenable": false, "sslport": 443, "appid": "", "appSecret": "", "appsecret": "", "AuthSn": ""}),
            sample: json!({"httpPushEnable": true, "httpServerAddr": "192.168.2.8",
                "httpServerAddrStandby": "192.168.2.1", "httpServerPort": 80, "timeout": 5, "charcode": 0,
                "heartbeat_interval": 0, "private_protocol": 0, "sslenable": false, "sslport": 443, "appid": "12355",
                "appsecret": "afaf", "AuthSn": "fafafa"}),
            then: json!({"httpPushEnable": true, "httpServerAddr": "192.168.2.8",
                "httpServerAddrStandby": "192.168.2.1", "heartbeat_interval": 0, "appid": "12355",
                "appSecret": "******", "appsecret": "******", "AuthSn": "fafafa"}),
            other: json!({"timeout": 4}),
            effect: |place, _| {
                Box::pin(async {
                    assert_eq!(place.running.gate.settings().push.app_secret, "afaf");
                    // Nobody pushes in this test: what is to be pushed waits (the rest is in `push_records.rs`).
                    let waiting =
                        |place: &Place| place.running.store.outbox_len(Destination::HttpPush).unwrap();
                    assert_eq!(waiting(place), 0);
                    assert_eq!(place.verdict("312", json!({})).await, ("granted".into(), true));
                    assert_eq!(waiting(place), 1);
                })
            },
            kept: |place, _| {
                Box::pin(async { assert_eq!(place.running.gate.settings().push.app_secret, "afaf") })
            },
            bad: (json!({"httpServerPort": 65_536}), "httpServerPort"),
        },
        Group {
            key: "StrangerParam",
            set_msg: Some("set_StrangerParam"),
            before: json!({"strangerIdentifyEn": true, "strangerOpenDoorEn": false}),
            sample: json!({"strangerOpenDoorEn": false, "strangerIdentifyEn": true}),
            then: json!({}),
            other: json!({"strangerOpenDoorEn": true}),
            effect: |place, _| Box::pin(async { assert!(place.running.gate.settings().rules.stranger.open) }),
            // With the threshold of the next row nobody is known.
            kept: |place, _| {
                Box::pin(async {
                    for (id, picture) in [("A", "enrol/A.jpg"), ("B", "enrol/B.jpg")] {
                        let mut known = person(id);
                        let picture = base64(&std::fs::read(demo(picture)).unwrap());
                        known["faces"] = json!([{"faceId": id, "image": picture}]);
                        place.done("add_person_face", known).await;
                    }
                    // With the empty frames between, whoever comes is a new visitor each time.
                    place.watch(1..=60);
                    let allowed = json!({"reason": "stranger_allowed", "opened": true, "person": null});
                    place.event("verdict", allowed).await;
                })
            },
            bad: (json!({"strangerOpenDoorEn": 2}), "strangerOpenDoorEn"),
        },
        Group {
            key: "vaparam",
            set_msg: Some("set_vaparam"),
            before: json!({"SimilarThres": 80, "DetThres": 65, "LiveThres": 50, "LiveSwitch": 0, "Distance": 0,
                "safetyhatDecect": false, "safetyhatDelect": false}),
            sample: json!({"SimilarThres": 80, "DetThres": 65, "LiveThres": 50, "LiveSwitch": 0, "Distance": 0,
                "safetyhatDecect": false}),
            then: json!({}),
            other: json!({"SimilarThres": 100, "DetThres": 60, "LiveThres": 51}),
            effect: |place, _| {
                Box::pin(async {
                    let face = place.running.gate.settings().face;
                    let all = (face.similar_threshold, face.detect_threshold, face.live_threshold);
                    assert_eq!(all, (100, 60, 51));
                })
            },
            // Those who were strangers are known.
            kept: |place, _| {
                Box::pin(async {
                    place.done("config_system", json!({"vaparam": {"SimilarThres": 80}})).await;
                    let known = place
                        .running
                        .event(|event| event.kind == "verdict" && event.fields["reason"] == "granted")
                        .await;
                    let id = known.fields["person"]["id"].as_str().unwrap();
                    assert!(["A", "B"].contains(&id), "{id}");
                    assert_eq!(known.fields["credential"], json!(["face"]));
                })
            },
            bad: (json!({"Distance": 6}), "Distance"),
        },
    ]
}

/// A group as it is told, without `groupKey`.
async fn told(place: &Place, key: &str) -> Value {
    let answer = place.ask("get_configs", json!({"groupKey": [key]})).await;
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!(format!("get_{key}"))), "{answer}");
    let mut group = answer["data"][0].clone();
    assert_eq!(group.as_object_mut().unwrap().remove("groupKey"), Some(json!(key)));
    group
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_group_of_settings() {
    let groups = groups();
    let mut have: Vec<_> = groups.iter().map(|group| (group.key, group.set_msg.is_some())).collect();
    let mut all = GROUPS.to_vec();
    have.sort_unstable();
    all.sort_unstable();
    assert_eq!(have, all, "a row for every group, and no other");

    let folder = tempfile::tempdir().unwrap();
    let (platform, clock, address) = platform_at("2020-07-01T08:00:00Z").await;
    let start = || {
        let own = clock_at(clock.now());
        let system = Arc::new(Simulated::new(own.clone()));
        Running::start_on(folder.path(), address, &all_there(), Settings::default(), own, system)
    };
    let running = start();
    platform.wait_until_logged_in().await.unwrap();
    let mut place = Place { platform, running, folder: folder.path().to_owned() };
    for group in &groups {
        let _row = In(group.key);
        let before = told(&place, group.key).await;
        assert_like(&before, &group.before);
        let (bad, named) = &group.bad;
        let Some(set_msg) = group.set_msg else {
            let refused = place.ask("config_system", json!({group.key: bad})).await;
            let desc = json!(format!("{}: can only be read", group.key));
            assert_eq!((&refused["result"], &refused["desc"]), (&json!(104), &desc), "{refused}");
            (group.effect)(&mut place, &before).await;
            continue;
        };
        for value in [&group.sample, &group.other] {
            let answer = place.ask("config_system", json!({group.key: value})).await;
            assert_eq!(answer["result"], 0, "{value}: {answer}");
            assert_eq!((&answer["data"], &answer["RspMsg"]), (&json!({}), &json!(set_msg)), "{answer}");
            if value == &group.sample && group.key != "OpenDoorModeSet" {
                assert_like(&told(&place, group.key).await, &changed(&group.before, &group.then));
            }
        }
        let after = told(&place, group.key).await;
        assert_like(&after, &after_both(group));
        // With another group beside it: nothing of the message is applied.
        let settings = place.running.gate.settings();
        let both = json!({"audioctl": {"level": 1}, group.key: bad});
        let refused =
            place.ask("config_system", if group.key == "audioctl" { json!({"audioctl": bad}) } else { both });
        let refused = refused.await;
        assert_eq!(refused["result"], 104, "{refused}");
        let desc = refused["desc"].as_str().unwrap();
        assert!(desc.starts_with(&format!("{}.{named}: ", group.key)), "{refused}");
        assert_eq!(place.running.gate.settings(), settings, "what was refused has changed nothing");
        (group.effect)(&mut place, &after).await;
    }
    // All of them in one message; and one that there is not.
    let keys: Vec<&str> = GROUPS.iter().map(|(key, _)| *key).collect();
    let answer = place.ask("get_configs", json!({"groupKey": keys})).await;
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!("get_configs")));
    let answered = answer["data"].as_array().unwrap().iter();
    let answered: Vec<&str> = answered.map(|group| group["groupKey"].as_str().unwrap()).collect();
    assert_eq!(answered, keys);
    for (message, data) in
        [("get_configs", json!({"groupKey": ["weather"]})), ("config_system", json!({"weather": {}}))]
    {
        let refused = place.ask(message, data).await;
        assert_eq!(refused["result"], 104, "{refused}");
        assert!(refused["desc"].as_str().unwrap().starts_with("weather: "), "{refused}");
    }
    place.running.stop().await;

    place.running = start();
    place.platform.wait_for(|entry| entry.event == "logged_in" && entry.connection == 2).await.unwrap();
    for group in &groups {
        let name = format!("{} after a restart", group.key);
        let _row = In(&name);
        let after = told(&place, group.key).await;
        let expected = if group.set_msg.is_some() { after_both(group) } else { group.before.clone() };
        assert_like(&after, &expected);
        (group.kept)(&mut place, &after).await;
    }
    place.running.stop().await;
    assert_eq!(place.platform.violations(), [""; 0]);
}

/// What a group is after its sample and the other value.
fn after_both(group: &Group) -> Value {
    match group.key {
        // Each mode tells what belongs to it.
        "OpenDoorModeSet" => group.other.clone(),
        _ => changed(&changed(&group.before, &group.then), &group.other),
    }
}

// ---- What the gate reports -----------------------------------------------------------------------------------------

/// Chapters 2.2, 4.2, 4.3.7, 4.6 and 4.7: what goes from the device to the server.
const REPORTS: [(&str, &str); 9] = [
    ("2.2", "heartbeat"),
    ("4.2.2", "register"),
    ("4.2.3", "login"),
    ("4.3.7", "device_sync_person"),
    ("4.6.1", "snapshot_face"),
    ("4.6.2", "sync_time"),
    ("4.6.3", "qrcode_data"),
    ("4.7.1", "device_call_param"),
    ("4.7.2", "device_call_result"),
];

/// A report of the gate.
struct Report {
    chapter: &'static str,
    message: &'static str,
    /// The version of the protocol that it is sent in, at least.
    version: u8,
    /// What brings it about.
    cause: Act,
    /// Its data.
    data: Value,
}

/// The fields of `snapshot_face` that every record has.
fn snapshot(change: Value) -> Value {
    let whole = json!({"personId": "", "faceId": "", "fullName": "", "fullname": "", "type": 1, "idNum": "",
        "icNum": "", "comparePic": "", "snapPic": "", "score": 0, "result": 0, "snaptime": "*", "bodyTemp": 36.7});
    let mut whole = whole.as_object().unwrap().clone();
    whole.extend(change.as_object().unwrap().clone());
    Value::Object(whole)
}

/// A record of the person whose card this is, with the result of it.
fn snapshot_of(card: &str, result: u8) -> Value {
    snapshot(
        json!({"personId": card, "fullName": "张三", "fullname": "张三", "icNum": card, "result": result,
        "idNum": "430726199801042312"}),
    )
}

fn reports() -> Vec<Report> {
    let report = |chapter, message, data| Report { chapter, message, version: 2, cause: NOTHING, data };
    vec![
        report(
            "4.2.2",
            "register",
            json!({"serial": "FEDCBA9876543210", "mac": "0064871ECB01", "timestamp": "*", "sign": "*", "type": "MS01"}),
        ),
        report("4.2.3", "login", json!({"uuid": "*", "version": "*", "timestamp": "*", "sign": "*"})),
        report("4.6.2", "sync_time", json!({"timestamp": "*"})),
        report("2.2", "heartbeat", Value::Null),
        // 0: nobody whom the gate knows.
        Report {
            cause: |place, _| {
                Box::pin(async { place.running.gate.present_card("123475".into()).await.unwrap() })
            },
            ..report(
                "4.6.1",
                "snapshot_face",
                snapshot(json!({"fullName": "陌生人", "fullname": "陌生人", "type": 4, "icNum": "123475"})),
            )
        },
        // 1: may pass.
        Report {
            cause: |place, _| {
                Box::pin(async {
                    place.comes("401", json!({"idNum": "430726199801042312"})).await;
                })
            },
            ..report("4.6.1", "snapshot_face", snapshot_of("401", 1))
        },
        // 2: the authorisation is over.
        Report {
            cause: |place, _| {
                Box::pin(async {
                    let over = json!({"idNum": "430726199801042312", "startTime": "2019-01-01 00:00:00",
                        "expireTime": "2020-01-01 00:00:00"});
                    place.comes("402", over).await;
                })
            },
            ..report("4.6.1", "snapshot_face", snapshot_of("402", 2))
        },
        // 3: not at this time.
        Report {
            cause: |place, _| {
                Box::pin(async {
                    let day = json!({"mode": 0});
                    let never = json!({"idNum": "430726199801042312", "extPassRule": {"weekly": {"mon": day,
                        "tue": day, "wed": day, "thu": day, "fri": day, "sat": day, "sun": day}}});
                    place.comes("403", never).await;
                })
            },
            ..report("4.6.1", "snapshot_face", snapshot_of("403", 3))
        },
        // With the face that was compared, its score and the picture.
        Report {
            cause: |place, _| {
                Box::pin(async { place.running.record("韩梅梅", &bytes("pictures/p01-1.jpg")).await })
            },
            ..report(
                "4.6.1",
                "snapshot_face",
                with(
                    json!({"personId": "100001", "faceId": "3000004", "fullName": "韩梅梅", "fullname": "韩梅梅",
                        "type": 1, "idNum": "", "icNum": "", "comparePic": "", "score": 93, "result": 1,
                        "snaptime": "2026-03-02 12:00:00"}),
                    "snapPic",
                    json!(photo("p01-1")),
                ),
            )
        },
        // With what a document says.
        Report {
            cause: |place, _| {
                Box::pin(async {
                    let whitelist = json!({"OpenDoorModeSet": {"OpenDoor": 4}});
                    place.done("config_system", whitelist).await;
                    place.running.gate.present_document(sample_document()).await.unwrap();
                })
            },
            ..report(
                "4.6.1",
                "snapshot_face",
                snapshot(
                    json!({"fullName": "Jim", "fullname": "Jim", "type": 4, "idNum": "420381198802141789",
                    "gender": "男", "ethnic": "汉", "birthday": "19891010", "address": "北京市朝阳区清湖路",
                    "expiredate": "20300101"}),
                ),
            )
        },
        Report {
            version: 3,
            cause: |place, _| {
                Box::pin(async { place.running.gate.present_qr("adddfffsss".into()).await.unwrap() })
            },
            ..report("4.6.3", "qrcode_data", json!({"content": "adddfffsss"}))
        },
        Report {
            version: 3,
            cause: |place, _| {
                Box::pin(async {
                    let store = &place.running.store;
                    place.done("clear_person", json!({})).await;
                    let new = json!({"newPersonId": "100002", "newFaceId": "3000006"});
                    place.platform.answer_with("device_sync_person", 0, new, Some(1));
                    store.put_person(somebody(local("100001")), vec![stored_face("3000004")]).await.unwrap();
                    place.done("sync_person", json!({})).await;
                    // The ids of the document's answer are the person's from then on.
                    place.event("platform", json!({"state": "synced", "done": 1})).await;
                    assert_eq!(place.faces("100002"), ["3000006"]);
                })
            },
            ..report(
                "4.3.7",
                "device_sync_person",
                json!({"personId": "100001", "personCode": "100001", "name": "张三", "type": 1,
                    "idNum": "420381200010013857", "icNum": "157342643", "passNum": 10, "passMonday": true,
                    "passTuesday": true, "passWednesday": true, "passThursday": true, "passFriday": true,
                    "passSaturday": true, "passSunday": true,
                    "faces": [{"faceId": "3000004", "image": base64(&[0xff, 0xd8, 0xff, 0xdb])}]}),
            )
        },
        Report {
            version: 5,
            ..report(
                "4.7.1",
                "device_call_param",
                json!({"callNo": "304", "callRequestId": "*", "picture": "*"}),
            )
        },
        Report {
            version: 5,
            ..report(
                "4.7.2",
                "device_call_result",
                json!({"callNo": "304", "callRequestId": "*", "callRecords": [{"userId": "", "callResult": 3,
                    "callType": 1, "openStatus": 1, "startTime": "*", "endTime": "*"}]}),
            )
        },
    ]
}

/// What the gate has sent, in its order, as it was on the wire.
#[derive(Clone)]
struct Wire {
    frames: Arc<Mutex<Vec<wire::Received>>>,
    len: watch::Sender<usize>,
}

/// `msgType` of an answer.
const RESPONSE: u8 = 4;

impl Wire {
    /// Listens in front of a platform.
    async fn tap(platform: &Platform) -> (Self, SocketAddr) {
        let wire = Self { frames: Arc::default(), len: watch::Sender::new(0) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tapped, platform) = (wire.clone(), platform.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (theirs, ours) = tokio::io::duplex(1 << 20);
                let (copy, mut heard) = tokio::io::duplex(1 << 20);
                platform.attach(theirs);
                let (mut from_gate, mut to_gate) = stream.into_split();
                let (mut from_platform, mut to_platform) = tokio::io::split(ours);
                tokio::spawn(async move { tokio::io::copy(&mut from_platform, &mut to_gate).await });
                tokio::spawn(async move {
                    let (mut copy, mut bytes) = (copy, vec![0; 65536]);
                    while let Ok(count @ 1..) = from_gate.read(&mut bytes).await {
                        copy.write_all(&bytes[..count]).await.unwrap();
                        let _ = to_platform.write_all(&bytes[..count]).await;
                    }
                });
                let tapped = tapped.clone();
                tokio::spawn(async move {
                    while let Ok(Some(frame)) = wire::receive(&mut heard).await {
                        let mut frames = tapped.frames.lock().unwrap();
                        frames.push(frame);
                        tapped.len.send_replace(frames.len());
                    }
                });
            }
        });
        (wire, address)
    }

    /// The first report called `message` from frame `from` on: its version and its data.
    async fn report(&self, from: usize, message: &str) -> (u8, Value) {
        let find = || {
            let frames = self.frames.lock().unwrap();
            frames.iter().skip(from).filter(|frame| frame.kind != RESPONSE).find_map(|frame| {
                if frame.body.is_empty() {
                    return (message == "heartbeat").then_some((frame.version, Value::Null));
                }
                let mut body: Value = serde_json::from_slice(&frame.body).unwrap();
                (body["message"] == message).then(|| (frame.version, body["data"].take()))
            })
        };
        let mut len = self.len.subscribe();
        let found = async {
            loop {
                if let Some(found) = find() {
                    return found;
                }
                len.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect("the report goes out")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_report_of_the_gate() {
    let reports = reports();
    let mut have: Vec<_> = reports.iter().map(|row| (row.chapter, row.message)).collect();
    have.sort_unstable();
    have.dedup();
    assert_eq!(have, REPORTS, "a row for every report, and no other");

    let folder = tempfile::tempdir().unwrap();
    let platform = Platform::default();
    let (wire, address) = Wire::tap(&platform).await;
    let config = config::Qyzn { heartbeat_s: 1, ..config::Qyzn::new(address.to_string()) };
    let mut running = Running::start_changed(folder.path(), config, &all_there(), |parts| {
        parts.settings.rules.mode = PassMode::FaceOrCard;
    });
    running.event(is("platform", json!({"state": "logged_in"}))).await;
    let media = config::Intercom { media: "sim:answer,open,hangup".into(), ..config::Intercom::default() };
    let dial = Duration::from_secs(20);
    let intercom =
        Intercom::new(running.gate.clone(), running.requests.clone(), &media, dial, Language::Chinese);
    let intercom = intercom.unwrap().unwrap();
    let (stop, stopped) = watch::channel(false);
    let calls = tokio::spawn({
        let intercom = intercom.clone();
        async move { intercom.run(stopped).await }
    });
    let mut place = Place { platform, running, folder: folder.path().to_owned() };
    let mut from = 0;
    for row in &reports {
        let name = format!("{} {}", row.chapter, row.message);
        let _row = In(&name);
        if row.message == "device_call_param" {
            intercom.dial("304").unwrap();
        }
        (row.cause)(&mut place, &Value::Null).await;
        let (version, data) = wire.report(from, row.message).await;
        assert_like(&data, &row.data);
        assert!(version >= row.version, "version {version}");
        if row.message == "snapshot_face" {
            from = wire.frames.lock().unwrap().len();
        }
    }
    stop.send(true).unwrap();
    calls.await.unwrap().unwrap();
    drop(intercom);
    place.running.stop().await;
    assert_eq!(place.platform.violations(), [""; 0]);
}
