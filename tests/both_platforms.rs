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
        let answer = site.block_on(self.platform.request(cmd, data)).unwrap();
        let told: Value = serde_json::from_str(answer["msg"].as_str().unwrap()).unwrap();
        told["status"].as_i64().unwrap()
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
    assert_eq!(second.enrol(&site, "A7", "Zhang San", ".setup/demo/enrol/A.jpg"), 0);
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
    let ids: Vec<_> = people["people"].as_array().unwrap().iter().map(|one| one["key"].clone()).collect();
    assert_eq!(ids, [json!({ "origin": "qyzn", "id": "100001" })]);
    let alone = agent.event("a pass of whom the first still knows", |event| {
        passes(event)
            && event["also"].as_array().is_some_and(Vec::is_empty)
            && event["person"]["origin"] == "qyzn"
    });
    assert_eq!(alone["person"]["id"], "100001");
    assert_eq!(second.enrol(&site, "A7", "Zhang San", ".setup/demo/enrol/A.jpg"), 0);
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
