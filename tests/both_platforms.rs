//! One gate at two platforms: each has people of its own, and a visitor whom both know is one visitor.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;
#[path = "support/site.rs"]
mod site;

use std::net::SocketAddr;

use menshen::simulate::Simulated as _;
use menshen::simulate::terminal_ws::{Options, Platform};
use process::{Agent, prepared};
use serde_json::{Value, json};
use site::{Site, base64};

/// The second platform of a site.
struct Second {
    platform: Platform,
    address: SocketAddr,
}

impl Second {
    fn new(site: &Site) -> Self {
        let platform = Platform::new(Options::default());
        let address = site.block_on(platform.listen("127.0.0.1:0".parse().unwrap())).unwrap();
        Self { platform, address }
    }

    /// The whole configuration of a gate at both.
    fn config(&self, site: &Site) -> String {
        format!(
            "{}[platform.terminal_ws]\nurl = \"ws://{}/devs/\"\nusername = \"dev\"\npassword = \"123\"\n",
            site.config(&prepared(".setup/demo/frames"), 15),
            self.address
        )
    }

    /// The status of an answer.
    fn status(&self, site: &Site, cmd: &str, data: Value) -> i64 {
        site.block_on(self.platform.request(cmd, data)).unwrap()["status"].as_i64().unwrap()
    }

    fn enrol(&self, site: &Site, id: &str, name: &str, picture: &str) -> i64 {
        let photo = base64(&std::fs::read(prepared(picture)).unwrap());
        let person = json!({ "id": id, "name": name, "IC_NO": "00000000", "ID_NO": "00000000", "photo": photo,
                             "passCount": 10000, "startTs": -1, "endTs": -1 });
        self.status(site, "setPerson", person)
    }
}

fn keys(verdict: &Value) -> (Value, Value) {
    (verdict["person"].clone(), verdict["also"].clone())
}

#[test]
fn a_face_that_both_know_is_matched_once_and_each_platform_has_its_own_people() {
    let site = Site::new();
    let second = Second::new(&site);
    let mut agent = Agent::start(site.folder(), &second.config(&site));
    site.logged_in();
    site.block_on(second.platform.wait_until_connected()).unwrap();

    // The same human being, with a name and an id of each platform's own; and one whom the second alone knows, under
    // an id that the first has given to somebody else.
    assert_eq!(site.enrol("100001", "157342643", ".setup/demo/enrol/A.jpg")["result"], 0);
    assert_eq!(second.enrol(&site, "A7", "张三", ".setup/demo/enrol/A.jpg"), 0);
    assert_eq!(second.enrol(&site, "100001", "李四", ".setup/demo/enrol/B.jpg"), 0);

    let passes = |event: &Value| event["kind"] == "verdict" && event["verdict"] == "pass";
    let both = agent.event("a pass of whom both know", |event| {
        passes(event) && event["also"].as_array().is_some_and(|also| !also.is_empty())
    });
    let (person, also) = keys(&both);
    assert_eq!(person, json!({ "origin": "qyzn", "id": "100001" }));
    assert_eq!(also, json!([{ "origin": "terminal_ws", "id": "A7" }]));
    let other = agent.event("a pass of whom the second knows", |event| {
        passes(event) && event["person"]["origin"] == "terminal_ws"
    });
    assert_eq!(keys(&other), (json!({ "origin": "terminal_ws", "id": "100001" }), json!([])));

    // The first platform is told of both, and knows one of them.
    let own = site.reported("whom both know", |report| report.text("personId") == "100001");
    assert_eq!((own.text("fullName"), own.text("faceId")), ("张三", "face-100001"));
    let foreign = site.reported("whom the second knows", |report| report.text("fullName") == "李四");
    assert_eq!((foreign.text("personId"), foreign.int("result")), ("", Some(1)));

    // Each removes its own only.
    assert_eq!(second.status(&site, "removePerson", json!({ "id": "[]" })), 0);
    let people = agent.get("/api/v1/people");
    let ids: Vec<_> = people["people"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!({ "origin": one["origin"], "id": one["id"] }))
        .collect();
    assert_eq!(ids, [json!({ "origin": "qyzn", "id": "100001" })]);
    let alone = agent.event("a pass of whom the first still knows", |event| {
        passes(event)
            && event["also"].as_array().is_some_and(Vec::is_empty)
            && event["person"]["origin"] == "qyzn"
    });
    assert_eq!(alone["person"]["id"], "100001");
    assert_eq!(second.enrol(&site, "A7", "张三", ".setup/demo/enrol/A.jpg"), 0);
    assert_eq!(site.request("clear_person", json!({}))["result"], 0);
    let moved = agent
        .event("a pass after the move", |event| passes(event) && event["person"]["origin"] == "terminal_ws");
    assert_eq!(keys(&moved), (json!({ "origin": "terminal_ws", "id": "A7" }), json!([])));

    // Both open; the gate says for whom.
    assert_eq!(second.status(&site, "open", json!({})), 0);
    let relay = agent.event("the second's opening", |event| {
        event["kind"] == "relay" && event["by"] == json!({ "platform": "terminal_ws" })
    });
    assert_eq!(relay["state"], "on");
    site.assert_proper();
    let violations =
        second.platform.journal().from(0).into_iter().filter(|entry| entry.event == "violation").count();
    assert_eq!(violations, 0);
    assert_eq!(agent.process.stop(), Some(0));
}

/// Pictures that enrol, small as platforms send them, of people who are not in the demonstration.
fn faces(site: &Site) -> Vec<String> {
    // Not p03 and p04: those are the two of the demonstration, on other pictures.
    let names = ["p01-1", "p02-1", "p05-1", "p06-1", "p07-1", "p08-1", "p09-1", "p10-1", "p11-1", "p12-1"];
    let small = names.map(|name| {
        let picture = image::open(prepared(&format!(".setup/test/pictures/{name}.jpg"))).unwrap();
        let picture = picture.resize(320, 320, image::imageops::FilterType::Triangle).into_rgb8();
        let mut jpeg = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 85).encode_image(&picture).unwrap();
        base64(&jpeg)
    });
    // Not every picture of the set-up is good enough for that size.
    let enrols = |image: &String| {
        let mut person = site::person("probe", "", b"");
        person["faces"][0]["image"] = image.as_str().into();
        site.request("add_person_face", person)["result"] == 0
    };
    let good: Vec<String> = small.into_iter().filter(enrols).collect();
    site.request("delete_person", json!({ "idSet": ["probe"] }));
    assert!(good.len() >= 3, "{} pictures enrol", good.len());
    good
}

/// Latencies of passes in milliseconds, sorted.
struct Latencies(Vec<u64>);

impl Latencies {
    fn of(mut passes: Vec<u64>) -> Self {
        assert!(!passes.is_empty(), "nobody passed");
        passes.sort_unstable();
        Self(passes)
    }

    fn median(&self) -> u64 {
        self.0[self.0.len() / 2]
    }

    fn worst(&self) -> u64 {
        *self.0.last().unwrap()
    }
}

#[test]
#[ignore = "ten minutes: each platform enrols 50 000 people (MENSHEN_LOAD) while visitors pass; prints what it costs them"]
fn visitors_pass_while_both_platforms_enrol() {
    /// Commands under way at each platform.
    const IN_FLIGHT: usize = 64;
    let load: usize = std::env::var("MENSHEN_LOAD").map_or(50_000, |load| load.parse().unwrap());
    let site = Site::new();
    let second = Second::new(&site);
    let mut agent = Agent::start(site.folder(), &second.config(&site));
    site.logged_in();
    site.block_on(second.platform.wait_until_connected()).unwrap();
    let faces = faces(&site);
    assert_eq!(site.enrol("100001", "157342643", ".setup/demo/enrol/A.jpg")["result"], 0);
    assert_eq!(second.enrol(&site, "B", "李四", ".setup/demo/enrol/B.jpg"), 0);

    let pass = |event: &Value| {
        let passes = event["kind"] == "verdict" && event["verdict"] == "pass";
        passes.then(|| event["latency_ms"].as_u64().unwrap())
    };
    let usual = (0..10).map(|_| pass(&agent.event("a usual pass", |event| pass(event).is_some())).unwrap());
    let usual = Latencies::of(usual.collect());

    let began = std::time::Instant::now();
    let (first, other) = (site.platform.clone(), second.platform.clone());
    let images = std::sync::Arc::new(faces);
    let at_qyzn = site.spawn({
        let images = std::sync::Arc::clone(&images);
        async move {
            let mut under_way = std::collections::VecDeque::new();
            for number in 0..load {
                if under_way.len() == IN_FLIGHT {
                    let sent: menshen::simulate::qyzn::Sent = under_way.pop_front().unwrap();
                    assert_eq!(sent.answer().await.unwrap()["result"], 0);
                }
                let mut person = site::person(&format!("q{number}"), "", b"");
                person["faces"][0]["image"] = images[number % images.len()].as_str().into();
                under_way.push_back(first.send(None, "add_person_face", person).unwrap());
            }
            for sent in under_way {
                assert_eq!(sent.answer().await.unwrap()["result"], 0);
            }
        }
    });
    let at_second = site.spawn(async move {
        let mut under_way = std::collections::VecDeque::new();
        for number in 0..load {
            if under_way.len() == IN_FLIGHT {
                let sent: menshen::simulate::terminal_ws::Sent = under_way.pop_front().unwrap();
                assert_eq!(sent.answer().await.unwrap()["status"], 0);
            }
            let person = json!({ "id": format!("w{number}"), "name": "王五", "IC_NO": "0", "ID_NO": "0",
                                 "photo": images[number % images.len()], "passCount": 10000, "startTs": -1, "endTs": -1 });
            under_way.push_back(other.send(None, "setPerson", person).unwrap());
        }
        for sent in under_way {
            assert_eq!(sent.answer().await.unwrap()["status"], 0);
        }
    });
    let mut loaded = Vec::new();
    while !(at_qyzn.is_finished() && at_second.is_finished()) {
        if let Some(event) =
            agent.event_within(std::time::Duration::from_secs(1), |event| pass(event).is_some())
        {
            loaded.push(pass(&event).unwrap());
        }
    }
    let took = began.elapsed();
    site.block_on(async {
        at_qyzn.await.unwrap();
        at_second.await.unwrap();
    });
    let loaded = Latencies::of(loaded);
    let people = agent.get("/api/v1/status")["store"]["people"].as_u64().unwrap();
    eprintln!(
        "{} people in {:.0} s, {:.0} a second; a pass usually takes {} ms (at most {}), meanwhile {} (at most {}, of {}): \
         {} ms more at the worst",
        2 * load,
        took.as_secs_f64(),
        2.0 * load as f64 / took.as_secs_f64(),
        usual.median(),
        usual.worst(),
        loaded.median(),
        loaded.worst(),
        loaded.0.len(),
        loaded.worst().saturating_sub(usual.median()),
    );
    assert_eq!(people, 2 * load as u64 + 2);
    // Every pass was told to the first platform.
    let passes = agent.heard("verdict").filter(|event| event["verdict"] == "pass").count();
    let mut told = 0;
    let all_told = site.platform.wait_for(|entry| {
        told += usize::from(entry.event == "snapshot_face" && entry.int("result") == Some(1));
        told >= passes
    });
    site.block_on(all_told).unwrap();
    site.assert_proper();
}
