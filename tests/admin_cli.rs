//! `menshen enroll`, `people` and `records`, on the store alone and beside a running agent.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod process;
}

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use serde_json::Value;
use support::process::{PATIENCE, Process, free_address, http, menshen, prepared};

struct Place {
    folder: tempfile::TempDir,
    config: PathBuf,
    page: std::net::SocketAddr,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let page = free_address();
        let config = folder.path().join("menshen.toml");
        let text = format!(
            "[terminal]\ndata_dir = {data:?}\n[vision]\nmodels_dir = {models:?}\n[service]\nadmin = {{ listen = \"{page}\" }}\n",
            data = folder.path().join("data"),
            models = prepared("models"),
        );
        std::fs::write(&config, text).unwrap();
        Self { folder, config, page }
    }

    fn command(&self, arguments: &[&str]) -> Output {
        menshen().args(arguments).arg("--config").arg(&self.config).output().unwrap()
    }

    /// Exit code, standard output and standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(arguments);
        (
            output.status.code().expect("an exit code"),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    fn enrol(&self, id: &str, name: &str, more: &[&str], pictures: &[&Path]) -> (i32, String, String) {
        let mut arguments = vec!["enroll", "--id", id, "--name", name];
        arguments.extend(more);
        arguments.extend(pictures.iter().map(|path| path.to_str().unwrap()));
        self.run(&arguments)
    }

    fn agent(&self) -> Process {
        let mut command = menshen();
        command.arg("run").arg("--config").arg(&self.config);
        let mut process = Process::start(command);
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.page).is_err() {
            assert!(
                Instant::now() < until && process.child.try_wait().unwrap().is_none(),
                "the agent is not there"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        process
    }
}

fn picture(name: &str) -> PathBuf {
    prepared(&format!(".setup/test/{name}"))
}

#[test]
fn people_are_enrolled_shown_and_removed_without_an_agent() {
    let place = Place::new();
    let good = picture("pictures/p01-1.jpg");
    assert_eq!(place.run(&["people", "list"]).0, 3, "there is no store yet");
    let (code, out, err) = place.enrol("7", "张三", &["--card", "0012345678", "--passes", "3"], &[&good]);
    assert_eq!((code, out.as_str()), (0, "张三 was enrolled with 1 pictures\n"), "{err}");
    assert_eq!(place.run(&["people", "list"]).1, "local\t7\t张三\twhite\t1\n");
    let listed: Value = serde_json::from_str(&place.run(&["people", "list", "--json"]).1).unwrap();
    assert_eq!(
        (&listed["card"], &listed["passes_left"], &listed["faces"][0]),
        (&"0012345678".into(), &3.into(), &"7-1".into())
    );

    let (code, _, err) = place.enrol("7", "李四", &[], &[&good]);
    assert!(code == 1 && err.contains("--replace"), "{code} {err}");
    assert_eq!(place.enrol("7", "李四", &["--replace"], &[&good]).0, 0);
    let shown: Value = serde_json::from_str(&place.run(&["people", "show", "7", "--json"]).1).unwrap();
    assert_eq!((&shown["name"], &shown["card"]), (&"李四".into(), &Value::Null));
    assert!(place.run(&["people", "show", "7"]).1.contains("name: 李四\n"));

    assert_eq!(place.run(&["people", "show", "8"]).0, 3);
    assert_eq!(place.run(&["people", "remove", "7"]).0, 0);
    assert_eq!(place.run(&["people", "remove", "7"]).0, 3);
    assert_eq!(place.run(&["people", "list"]), (0, String::new(), String::new()));
}

#[test]
fn a_refused_picture_has_its_exit_code_and_changes_nothing() {
    let place = Place::new();
    let good = picture("pictures/p01-1.jpg");
    let (code, _, err) = place.enrol("1", "张三", &[], &[&good, &picture("refuse/blurred.jpg")]);
    assert!(code == 4 && err.contains("blurred.jpg"), "{code} {err}");
    let nothing = place.folder.path().join("nothing.jpg");
    assert_eq!(place.enrol("1", "张三", &[], &[&nothing]).0, 3);
    let text = place.folder.path().join("text.jpg");
    std::fs::write(&text, "no picture").unwrap();
    assert_eq!(place.enrol("1", "张三", &[], &[&text]).0, 1);
    assert_eq!(place.enrol("", "张三", &[], &[&good]).0, 1);
    assert_eq!(place.enrol("1", "张三", &["--kind", "guest"], &[&good]).0, 2);
    assert_eq!(place.enrol("1", "张三", &[], &[]).0, 2);
    assert_eq!(place.enrol("1", "张三", &[], &[&good, &good, &good, &good]).0, 2);
    assert_eq!(place.run(&["people", "list"]), (0, String::new(), String::new()));
}

#[test]
fn beside_a_running_agent_the_orders_go_through_it() {
    let place = Place::new();
    let good = picture("pictures/p01-1.jpg");
    let mut agent = place.agent();
    let (code, _, err) = place.enrol("a/1", "张三", &[], &[&good]);
    assert_eq!(code, 0, "{err}");
    // The agent itself says that the person is there: it was no write past it.
    let (_, events) = http(place.page, "GET", "/api/v1/people/local/a%2F1");
    let shown: Value = serde_json::from_slice(&events).unwrap();
    assert_eq!(shown["name"], "张三");
    assert_eq!(place.run(&["people", "list"]).1, "local\ta/1\t张三\twhite\t1\n");
    let (code, _, err) = place.enrol("a/1", "张三", &[], &[&good]);
    assert!(code == 1 && err.contains("enrolled"), "{code} {err}");
    let (code, _, err) = place.enrol("2", "李四", &[], &[&picture("refuse/several_faces.jpg")]);
    assert_eq!(code, 4, "{err}");
    assert_eq!(place.run(&["people", "remove", "a/1"]).0, 0);
    assert_eq!(http(place.page, "GET", "/api/v1/people/local/a%2F1").0, 404);
    assert_eq!(place.run(&["people", "remove", "a/1"]).0, 3);
    assert_eq!(agent.stop(), Some(0));
}

#[test]
fn records_are_listed_and_exported() {
    use menshen::access::{PersonKind, Reason};
    use menshen::clock::SystemClock;
    use menshen::store::{NewRecord, Options, PictureKind, RecordFacts, RecordResult, Store};

    let place = Place::new();
    assert_eq!(place.run(&["records", "list"]).0, 3);
    let options =
        Options { data_dir: place.folder.path().join("data"), config: menshen::config::Store::default() };
    let store = Store::open(&options, std::sync::Arc::new(SystemClock)).unwrap();
    let jpeg = b"\xff\xd8 a picture \xff\xd9".to_vec();
    for (at, name) in [("2026-03-02T04:00:00Z", "=1+1"), ("2026-03-03T04:00:00Z", "张三")] {
        let facts = RecordFacts {
            at: at.parse().unwrap(),
            utc_offset_s: 28_800,
            person: None,
            face_id: None,
            also: Vec::new(),
            name: name.into(),
            person_kind: PersonKind::White,
            id_number: Some("11010519491231002X".into()),
            card: None,
            score: Some(91.25),
            liveness: None,
            result: RecordResult::Granted,
            reason: Reason::Granted,
            opened: true,
            latency_ms: 87,
            body_temp: None,
            credentials: vec!["face".into()],
            document: None,
        };
        let pictures = vec![(PictureKind::Snap, jpeg.clone())];
        store
            .append_record(NewRecord { facts, pictures, destinations: Vec::new(), spend: false })
            .wait()
            .unwrap();
    }
    // Also while somebody writes.
    assert_eq!(
        place.run(&["records", "list"]).1,
        "2\t2026-03-03T12:00:00+08:00\topened\tgranted\t91.2\t张三\n\
         1\t2026-03-02T12:00:00+08:00\topened\tgranted\t91.2\t=1+1\n"
    );
    assert_eq!(place.run(&["records", "list", "--limit", "1", "--before", "2"]).1.lines().count(), 1);
    store.close();

    let folder = place.folder.path().join("pictures");
    let file = place.folder.path().join("records.csv");
    let (code, _, err) = place.run(&[
        "records",
        "export",
        "--format",
        "csv",
        "--until",
        "2026-03-03T00:00:00Z",
        "--output",
        file.to_str().unwrap(),
        "--pictures",
        folder.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "record,time,origin,person,name,kind,id_number,card,result,reason,opened,score,liveness,latency_ms,undelivered\r\n\
         1,2026-03-02T12:00:00+08:00,,,'=1+1,white,110*************2X,,granted,granted,true,91.2,,87,\r\n"
    );
    assert_eq!(std::fs::read(folder.join("1-snap.jpg")).unwrap(), jpeg);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    // An export overwrites nothing.
    assert_eq!(place.run(&["records", "export", "--output", file.to_str().unwrap()]).0, 1);
    let lines = place.run(&["records", "export"]).1;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["id"], &first["name"], &first["id_number"]),
        (&2.into(), &"张三".into(), &"110*************2X".into())
    );
    assert!(!lines.contains("11010519491231002X"));
}
