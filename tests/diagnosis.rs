//! The diagnosis bundle has nothing about people in it and no secrets: marked data goes into everything that it is
//! made of, and the whole bundle is searched for all of it. And the commands of the technician beside it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod process;
}

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use menshen::config::Config;
use menshen::diagnosis::{self, Sources};
use menshen::store::{Options, Store};
use serde_json::{Value, json};
use support::process::{Agent, menshen, prepared};

/// What must not get out, all of it in the store, the log or the configuration.
const MARKS: [&str; 12] = [
    "mark-person-id",
    "标记姓名",
    "Markname",
    "0098765432",
    "0055667788",
    "code-of-mark",
    "mark-password",
    "mark-key-of-people",
    "mark-user",
    "mark-app-secret",
    "mark-app-id",
    "mark-token-0123456789",
];

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn file(&self) -> PathBuf {
        self.folder.path().join("menshen.toml")
    }

    /// With a camera that shows a wall.
    fn config_with_camera(&self) -> String {
        let wall = self.folder.path().join("wall");
        std::fs::create_dir(&wall).unwrap();
        let picture = image::RgbImage::from_pixel(320, 240, image::Rgb([90, 90, 90]));
        picture.save(wall.join("1.jpg")).unwrap();
        let camera =
            format!("[[camera]]\nrole = \"visible\"\nsource = \"files:{}\"\nfps = 2\n", wall.display());
        self.config() + &camera
    }

    fn config(&self) -> String {
        format!(
            "[terminal]\ndata_dir = {data:?}\n[device]\nwiegand_in = \"sim\"\n[log]\nfilter = \"debug\"\n\
             [settings.rules]\nmode = \"face_or_card\"\n\
             [settings.push]\nenabled = true\nserver = \"http://mark-user:mark-password@127.0.0.1/p?k=mark-app-secret\"\n\
             app_id = \"mark-app-id\"\napp_secret = \"mark-app-secret\"\n\
             [platform.terminal_ws]\nurl = \"ws://127.0.0.1:9/devs/\"\nusername = \"mark-user\"\n\
             password = \"mark-password\"\nkey = \"mark-key-of-people\"\n",
            data = self.folder.path().join("data"),
        )
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = menshen().args(arguments).arg("--config").arg(self.file()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
    }
}

/// The files of a bundle.
fn unpacked(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name.strip_prefix("menshen-diagnosis/").unwrap().to_owned(), text);
    }
    files
}

fn assert_clean(bytes: &[u8], from: &str) -> BTreeMap<String, String> {
    for mark in MARKS {
        let found = bytes.windows(mark.len()).any(|part| part == mark.as_bytes());
        if found {
            let files = unpacked(bytes);
            let line = files.iter().find_map(|(name, text)| {
                text.lines().find(|line| line.contains(mark)).map(|line| format!("{name}: {line}"))
            });
            panic!("{from}: {mark} is in the bundle: {line:?}");
        }
    }
    // JPEG and PNG begin like this.
    for picture in [&b"\xff\xd8\xff"[..], b"\x89PNG"] {
        assert!(!bytes.windows(picture.len()).any(|part| part == picture), "{from}: a picture");
    }
    unpacked(bytes)
}

#[test]
fn nothing_about_people_and_no_secret_is_in_the_bundle() {
    let place = Place { folder: tempfile::tempdir().unwrap() };
    let mut agent = Agent::start(place.folder.path(), &place.config_with_camera());
    agent.event("ready", |event| event["task"] == "agent" && event["state"] == "ready");
    let picture = prepared(".setup/test/pictures/p01-1.jpg");
    let enrolled = place.run(&[
        "enroll",
        "--id",
        "mark-person-id",
        "--name",
        "标记姓名 Markname",
        "--card",
        "0098765432",
        "--code",
        "code-of-mark",
        picture.to_str().unwrap(),
    ]);
    assert_eq!(enrolled.0, 0, "{enrolled:?}");
    // A record of the person, and one of a card that nobody has.
    for card in ["0098765432", "0055667788"] {
        let presented = place.run(&["present", "card", card]);
        assert_eq!(presented.0, 0, "{presented:?}");
        agent.event("a record", |event| event["kind"] == "record" && event["state"] == "stored");
    }
    // A person who is not there: the log may name what was asked for.
    place.run(&["people", "remove", "mark-person-id-2"]);

    let bundle = place.folder.path().join("bundle.tar");
    let made = place.run(&["diagnose", "-o", bundle.to_str().unwrap()]);
    assert_eq!(made.0, 0, "{made:?}");
    let files = assert_clean(&std::fs::read(&bundle).unwrap(), "through the agent");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "configuration.json",
            "counts.json",
            "findings.json",
            "findings.txt",
            "kernel.txt",
            "log.txt",
            "machine.txt",
            "settings.json",
            "status.json",
            "versions.json",
        ]
    );
    let json = |name: &str| serde_json::from_str::<Value>(&files[name]).unwrap();
    let counts = json("counts.json");
    assert_eq!((&counts["store"]["people"], &counts["store"]["records"]), (&json!(1), &json!(2)));
    assert_eq!(counts["events"]["verdict"], 2, "{counts}");
    assert_eq!(json("configuration.json")["platform"]["terminal_ws"]["url"], "ws://127.0.0.1:9/devs/");
    assert_eq!(json("configuration.json")["platform"]["terminal_ws"]["password"], "(removed)");
    assert!(files["log.txt"].contains("ready"), "{}", files["log.txt"]);
    assert!(files["machine.txt"].contains("MemTotal"));
    assert_eq!(json("versions.json")["menshen"], env!("CARGO_PKG_VERSION"));
    assert!(files["findings.txt"].contains("ok    models"), "{}", files["findings.txt"]);
    // A bundle is not overwritten.
    let (code, _, said) = place.run(&["diagnose", "-o", bundle.to_str().unwrap()]);
    assert!(code == 1 && said.contains("is there already"), "{said}");

    // Lines with all of it: as a driver or a platform might put it into an error one day.
    agent.process.stop();
    let token = place.folder.path().join("token");
    std::fs::write(&token, "mark-token-0123456789\n").unwrap();
    let mut config = Config::load(&place.file()).unwrap();
    config.service.admin.as_mut().unwrap().token_file = Some(token);
    let options = Options { data_dir: config.terminal.data_dir.clone(), config: config.store.clone() };
    let store = Store::open_read_only(&options).unwrap();
    let lines: Vec<Value> = MARKS
        .iter()
        .map(|mark| {
            json!({
                "number": 1, "time": "2026-03-02T04:00:00Z", "level": "WARN", "target": "menshen::platform",
                "message": format!("an answer with {mark} in it, and:{mark}x"),
                "fields": { "error": format!("/people/{mark}?{mark}"), "name": mark, "camera": "1" },
            })
        })
        .collect();
    let status = json!({
        "version": "1", "cameras": [{ "camera": 0, "state": "lost", "error": MARKS.join(" ") }],
        "last_verdict": { "name": MARKS[1], "person": { "id": MARKS[0] } }, "call": { "room": MARKS[5] },
        "notices": [{ "kind": "task_failed", "text": MARKS.join("/") }], "unknown": MARKS,
    });
    let files = diagnosis::gather(&Sources {
        config: &config,
        store: Some(&store),
        settings: Some(&config.settings),
        status: Some(&status),
        lines: &lines,
    })
    .unwrap();
    let mut bytes = Vec::new();
    diagnosis::tar(&files, &mut bytes).unwrap();
    let files = assert_clean(&bytes, "made of marks");
    assert!(files["log.txt"].contains("an answer with (removed) in it"), "{}", files["log.txt"]);
    assert!(files["log.txt"].contains("camera=1"));

    // Without an agent and without its word: from the store alone.
    let offline = place.folder.path().join("offline.tar");
    let made = place.run(&["diagnose", "-o", offline.to_str().unwrap()]);
    assert_eq!(made.0, 0, "{made:?}");
    let files = assert_clean(&std::fs::read(&offline).unwrap(), "without the agent");
    assert!(files["findings.txt"].contains("note  agent"), "{}", files["findings.txt"]);
}

#[test]
fn every_item_of_the_console_is_a_command() {
    let place = Place { folder: tempfile::tempdir().unwrap() };
    let mut agent = Agent::start(place.folder.path(), &place.config());
    agent.event("ready", |event| event["task"] == "agent" && event["state"] == "ready");
    let status = place.run(&["status"]);
    assert!(status.0 == 0 && status.1.contains("serial: FEDCBA9876543210\n"), "{status:?}");
    let status: Value = serde_json::from_str(&place.run(&["status", "--json"]).1).unwrap();
    assert_eq!(status["serial"], "FEDCBA9876543210");
    let log = place.run(&["log", "-n", "400"]);
    assert!(log.0 == 0 && log.1.contains("INFO  ready ready_ms="), "{log:?}");
    assert_eq!(place.run(&["log", "-n", "1"]).1.lines().count(), 1);
    assert_eq!(place.run(&["door", "open"]).0, 0);
    agent.event("the relay", |event| event["kind"] == "relay" && event["state"] == "on");
    let platforms = place.run(&["platform", "show"]);
    assert!(platforms.1.starts_with("terminal_ws\tws://127.0.0.1:9/devs/\t"), "{platforms:?}");
    assert_eq!(place.run(&["platform", "set-server", "terminal_ws", "ws://127.0.0.1:10/devs/"]).0, 0);
    assert!(std::fs::read_to_string(place.file()).unwrap().contains("url = \"ws://127.0.0.1:10/devs/\""));
    let refused = place.run(&["platform", "set-server", "qyzn", "127.0.0.1:10"]);
    assert!(refused.0 == 1 && refused.2.contains("by hand"), "{refused:?}");
    assert_eq!(place.run(&["people", "list", "--search", "nobody"]), (0, String::new(), String::new()));
    assert_eq!(place.run(&["records", "show", "99"]).0, 3);

    let findings: Value = serde_json::from_str(&place.run(&["doctor", "--json"]).1).unwrap();
    let finding = |key: &str| {
        let all = findings.as_array().unwrap();
        all.iter().find(|one| one["key"] == key).unwrap_or_else(|| panic!("no {key}: {findings:#}")).clone()
    };
    assert_eq!((&finding("agent")["state"], &finding("agent")["well"]), (&json!("well"), &json!(true)));
    assert_eq!(finding("relay")["found"]["en"], "simulated: nothing is wired to it");
    assert_eq!(finding("relay")["what"]["zh-CN"], "继电器");
    assert_eq!(finding("rs485")["state"], "absent");
    // Nothing listens there: what was looked for, what was found, what to do.
    let lost = finding("platform.terminal_ws");
    assert_eq!(
        (&lost["state"], &lost["looked_for"]["en"]),
        (&json!("failed"), &json!("ws://127.0.0.1:10/devs/"))
    );
    assert!(lost["found"]["en"].as_str().unwrap().contains("cannot be reached"), "{lost}");
    assert!(lost["advice"]["zh-CN"].as_str().unwrap().contains("检查地址"), "{lost}");
    assert_eq!(finding("camera")["well"], false, "none is configured");
    let doctor = place.run(&["doctor", "--language", "zh-CN"]);
    assert!(doctor.0 == 1 && doctor.1.contains("FAIL  摄像头 [[[camera]]]: 没有配置摄像头"), "{doctor:?}");
    assert!(agent.get("/api/v1/doctor").as_array().unwrap().len() > 10);

    let refused = place.run(&["factory-reset", "--confirm", "yes"]);
    assert!(refused.0 == 1 && refused.2.contains("nothing was done"), "{refused:?}");
    let ordered = place.run(&["factory-reset", "--confirm", "RESET"]);
    assert!(ordered.0 == 0 && ordered.1.contains("kept: the serial number FEDCBA9876543210"), "{ordered:?}");
}
