//! Every message of the terminal WebSocket protocol, a row each, with the document's own samples. What is deeper than
//! a row is in `ws_gate.rs`.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use std::path::Path;
use std::pin::Pin;

use menshen::access::{Bound, Origin, Person, PersonKey};
use menshen::config;
use menshen::platform::terminal_ws;
use menshen::platform::terminal_ws::link::Options;
use menshen::simulate::Simulated as _;
use menshen::simulate::terminal_ws::{self as simulate, Platform};
use serde_json::{Value, json};
use support::gate::{Running, base64};
use support::vision::bytes;

/// The document's own messages: "setPerson/removePerson; open/reboot".
const MESSAGES: [&str; 4] = ["setPerson", "removePerson", "open", "reboot"];

/// What is looked at in a row.
type Look = for<'a> fn(&'a mut Running) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

struct Row {
    cmd: &'static str,
    /// `msg`.
    form: String,
    /// What became of it.
    effect: Look,
    /// What is still so after a restart.
    kept: Look,
    /// What is refused, with its status and the beginning of its text.
    bad: Vec<(String, i64, &'static str)>,
}

/// Names the row in which a test failed.
struct In(&'static str);

impl Drop for In {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the row {}", self.0);
        }
    }
}

fn stored(running: &Running, id: &str) -> Option<(Person, usize)> {
    let listed = running.store.listed_person(&PersonKey::new(Origin::TerminalWs, id)).unwrap();
    listed.map(|listed| (listed.person, listed.faces.len()))
}

/// Everybody, with the number of their faces.
fn people(running: &Running) -> Vec<(Person, usize)> {
    let listed = running.store.list_people(None, 10).unwrap();
    listed.into_iter().map(|listed| (listed.person, listed.faces.len())).collect()
}

fn assert_sample_person(running: &Running) {
    let (person, faces) = stored(running, "12345679").unwrap();
    assert_eq!((person.name.as_str(), faces), ("张祥明2", 1));
    // 00000000 is no card, and 10000 passages are no limit.
    assert_eq!((person.card, person.id_number, person.passes_left), (None, None, None));
    assert_eq!(person.valid_from, Some(Bound::Utc("2019-08-03T01:51:03Z".parse().unwrap())));
    assert_eq!(person.valid_until, Some(Bound::Utc("2020-08-03T01:51:03Z".parse().unwrap())));
}

fn rows() -> Vec<Row> {
    // The sample, with a photo that is one and its two `=`; the table asks for the `id` that it lacks.
    let photo = base64(&bytes("pictures/p01-1.jpg")).replace('/', "%2f").replace('+', "%2b");
    let sample = format!(
        "key=abc&photo=={photo}&name=%e5%bc%a0%e7%a5%a5%e6%98%8e2&IC_NO=00000000&ID_NO=00000000\
         &passCount=10000&startTs=1564797063&endTs=1596419463"
    );
    vec![
        Row {
            cmd: "setPerson",
            form: format!("{sample}&id=12345679"),
            effect: |running| Box::pin(async { assert_sample_person(running) }),
            kept: |running| Box::pin(async { assert_sample_person(running) }),
            bad: vec![
                (sample.clone(), 1, "id: is missing"),
                (format!("{sample}&id=12345679&passCount=many"), 1, "passCount: "),
                (format!("{}&id=12345679", sample.replace("key=abc", "key=abd")), 1, "key: "),
                ("key=abc&id=12345679&name=x&photo=bm8gcGljdHVyZQ==".into(), 4, ""),
            ],
        },
        // Somebody whom the test has put there.
        Row {
            cmd: "removePerson",
            form: "key=abc&id=%5B12345678%5D".into(),
            effect: |running| Box::pin(async { assert_eq!(stored(running, "12345678"), None) }),
            kept: |running| Box::pin(async { assert_eq!(stored(running, "12345678"), None) }),
            bad: vec![
                ("key=abc".into(), 1, "id: is missing"),
                ("key=abc&id=%5B12345678%5D&x=1".into(), 3, "there is no person 12345678"),
            ],
        },
        Row {
            cmd: "open",
            form: String::new(),
            effect: |running| {
                Box::pin(async {
                    let opened =
                        running.event(|event| event.kind == "relay" && event.fields["state"] == "on").await;
                    assert_eq!(opened.fields["by"], json!({"platform": "terminal_ws"}));
                    assert!(running.relay.level());
                })
            },
            kept: |running| Box::pin(async { assert!(!running.relay.level()) }),
            bad: vec![("key=abd".into(), 1, "key: is not the key of this gate")],
        },
        // The last of all.
        Row {
            cmd: "reboot",
            form: String::new(),
            effect: |running| {
                Box::pin(async {
                    let ordered = running.event(|event| event.kind == "system").await;
                    assert_eq!(ordered.fields["order"], "restart");
                    assert_eq!(ordered.fields["by"], json!({"platform": "terminal_ws"}));
                    running.gate.anew().await;
                })
            },
            kept: |_| Box::pin(async {}),
            bad: vec![("key=abd".into(), 1, "key: is not the key of this gate")],
        },
    ]
}

async fn connected(data_dir: &Path) -> (Platform, Running) {
    let platform = Platform::new(simulate::Options { key: "abc".into(), ..simulate::Options::default() });
    let address = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let settings = config::TerminalWs {
        url: format!("ws://{address}/devs/"),
        username: "dev".into(),
        password: "123".into(),
        key: "abc".into(),
        heartbeat_s: 25,
        pinned_certificate: String::new(),
        message_limit_mib: 1,
    };
    let options = Options::new(&settings);
    let running = Running::start_linked(data_dir, &config::Device::default(), |gate, stopped| {
        terminal_ws::run_with(gate, config::Terminal::default(), settings, options, stopped)
    });
    platform.wait_until_connected().await.unwrap();
    (platform, running)
}

async fn answer(platform: &Platform, cmd: &str, form: &str) -> Value {
    platform.send_form(None, cmd, form).unwrap().answer().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_of_a_platform() {
    let rows = rows();
    let have: Vec<&str> = rows.iter().map(|row| row.cmd).collect();
    assert_eq!(have, MESSAGES, "a row for every message, and no other");
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = connected(folder.path()).await;
    assert_eq!(answer(&platform, "setPerson", "key=abc&id=12345678&name=x").await["status"], 0);
    for row in &rows {
        let _row = In(row.cmd);
        assert_eq!(answer(&platform, row.cmd, &row.form).await, json!({"status": 0, "msg": "ok"}));
        (row.effect)(&mut running).await;
        let before = people(&running);
        for (bad, status, text) in &row.bad {
            let refused = answer(&platform, row.cmd, bad).await;
            assert_eq!(refused["status"], *status, "{refused}");
            assert!(refused["msg"].as_str().unwrap().starts_with(text) && refused["msg"] != "", "{refused}");
        }
        let unknown = answer(&platform, &row.cmd.to_uppercase(), &row.form).await;
        assert_eq!(unknown["status"], 2, "{unknown}");
        assert_eq!(before, people(&running), "what was refused has changed nothing");
    }
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);

    let (platform, mut running) = connected(folder.path()).await;
    for row in &rows {
        let _row = In(row.cmd);
        (row.kept)(&mut running).await;
    }
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}
