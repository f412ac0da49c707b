//! The video intercom (QYZN 4.7): a real gate with simulated media at the simulated platform, by its API and from
//! the console.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod process;
    pub mod vision;
}

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use menshen::Kind;
use menshen::config::{self, Config};
use menshen::intercom::{Intercom, Open, Outcome, State, View};
use menshen::service::admin::Server;
use menshen::simulate::qyzn::{Entry, Platform};
use menshen::text::Language;
use serde_json::{Value, json};
use support::gate::{Running, platform};
use support::process::{Agent, menshen};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A gate with an intercom.
struct Place {
    running: Running,
    intercom: Intercom,
    stop: watch::Sender<bool>,
    runs: JoinHandle<menshen::Result<()>>,
}

impl Place {
    fn start(data_dir: &Path, server: SocketAddr, media: &str) -> Self {
        let running = Running::start(data_dir, server);
        let config = config::Intercom { media: media.into(), ..config::Intercom::default() };
        let dial = Duration::from_secs(20);
        let intercom =
            Intercom::new(running.gate.clone(), running.requests.clone(), &config, dial, Language::Chinese);
        let intercom = intercom.unwrap().unwrap();
        let (stop, stopped) = watch::channel(false);
        let runs = tokio::spawn({
            let intercom = intercom.clone();
            async move { intercom.run(stopped).await }
        });
        Self { running, intercom, stop, runs }
    }

    /// The fields of the `call` events up to the end of the call, and who opened the door in between.
    async fn events(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let event = self.running.event(|event| matches!(event.kind, "call" | "relay")).await;
            if event.kind == "relay" {
                if event.fields["state"] == "on" {
                    all.push(json!({ "relay": event.fields["by"] }));
                }
                continue;
            }
            all.push(Value::Object(event.fields.clone()));
            if event.fields["state"] == "ended" {
                return all;
            }
        }
    }

    /// Waits until the gate knows that it is logged in.
    async fn online(&mut self) {
        self.running.event(|event| event.kind == "platform" && event.fields["state"] == "logged_in").await;
    }

    async fn state(&mut self, state: &str) {
        self.running.event(|event| event.kind == "call" && event.fields["state"] == state).await;
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.runs.await.unwrap().unwrap();
        drop(self.intercom);
        self.running.stop().await;
    }
}

/// The number of an entry's successor.
fn after(entry: &Entry) -> usize {
    entry.number + 1
}

async fn result(platform: &Platform, from: usize) -> Arc<Entry> {
    platform.wait_after(from, |entry| entry.event == "device_call_result").await.unwrap()
}

/// The one record of a result, without its times, of which the platform checks the form.
fn record(entry: &Entry) -> (i64, i64, i64) {
    let records = entry.fields["callRecords"].as_array().unwrap();
    assert_eq!(records.len(), 1);
    let number = |key: &str| records[0][key].as_i64().unwrap();
    (number("callResult"), number("callType"), number("openStatus"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_called_and_the_called_party_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut place =
        Place::start(folder.path(), address, "sim:answer,open,hangup;offline,pstn,answer,hangup;reject");
    place.online().await;

    place.intercom.dial("304").unwrap();
    let asked = platform.wait_for(|entry| entry.event == "device_call_param").await.unwrap();
    assert_eq!(asked.text("callNo"), "304");
    let first = result(&platform, after(&asked)).await;
    assert_eq!(first.text("callRequestId"), asked.text("callRequestId"));
    assert_eq!(record(&first), (3, 1, 1));
    let told = |state: &str, open: &str| json!({ "state": state, "room": "304", "open": open });
    let mut ended = told("ended", "opened");
    ended["result"] = json!("answered");
    assert_eq!(
        place.events().await,
        [
            told("dialling", "none"),
            told("ringing", "none"),
            told("talking", "none"),
            json!({ "relay": "called" }),
            told("talking", "opened"),
            ended
        ]
    );

    // By telephone, with the user; and nobody.
    place.intercom.dial("304").unwrap();
    let second = result(&platform, after(&first)).await;
    let records = &second.fields["callRecords"];
    assert_eq!((&records[0]["callResult"], &records[0]["userId"]), (&json!(4), &json!("")));
    assert_eq!((&records[1]["callResult"], &records[1]["userId"]), (&json!(7), &json!("1001")));
    place.events().await;
    place.intercom.dial("304").unwrap();
    assert_eq!(record(&*result(&platform, after(&second)).await), (5, 0, 0));
    assert_eq!(place.events().await.last().unwrap()["result"], "rejected");
    place.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_platform_answers_is_shown_to_the_visitor() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut place = Place::start(folder.path(), address, "sim:answer,hangup");
    place.online().await;
    let shown = async |place: &mut Place, text: &str| {
        place
            .running
            .event(|event| {
                event.kind == "screen" && event.fields.get("text").is_some_and(|shown| shown == text)
            })
            .await;
    };
    let mut from = 0;
    // A room that nobody made, and one in which the platform knows nobody to call.
    for (answer, room, text, code) in [(None, "305", "房号不正确", 0), (Some(105), "304", "无人接听", 5)]
    {
        if let Some(answer) = answer {
            platform.answer_with("device_call_param", answer, json!({}), Some(1));
        }
        place.intercom.dial(room).unwrap();
        shown(&mut place, text).await;
        let reported = result(&platform, from).await;
        from = after(&reported);
        assert_eq!((reported.text("callNo"), record(&reported)), (room, (code, 0, 0)));
    }
    // A room can be made while it runs.
    platform.room("305", Some(json!([{ "userId": "1003", "token": "t", "phoneNo": "" }])), 5);
    place.intercom.dial("305").unwrap();
    assert_eq!(record(&*result(&platform, from).await), (3, 1, 0));
    shown(&mut place, "通话已结束").await;

    for bad in ["", "3 4", "304/1", "三", &"1".repeat(33)] {
        assert_eq!(place.intercom.dial(bad).unwrap_err().kind(), Kind::Input, "{bad}");
    }
    assert_eq!(place.intercom.hang_up().unwrap_err().kind(), Kind::NotFound);

    platform.stop();
    place.running.event(|event| event.kind == "platform" && event.fields["state"] == "lost").await;
    place.intercom.dial("304").unwrap();
    shown(&mut place, "平台未连接，无法呼叫").await;
    place.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_survives_a_lost_line_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut place = Place::start(folder.path(), address, "sim:answer,open");
    place.online().await;
    place.intercom.dial("304").unwrap();
    place.state("talking").await;
    // One call at a time.
    assert_eq!(place.intercom.dial("304").unwrap_err().kind(), Kind::Busy);
    // The called party opens after the call is answered, not with it.
    while place.intercom.view().open != Open::Opened {
        tokio::task::yield_now().await;
    }
    platform.stop();
    place.running.event(|event| event.kind == "platform" && event.fields["state"] == "lost").await;
    place.intercom.hang_up().unwrap();
    place.state("ended").await;
    let expected = View {
        call: 1,
        state: State::Ended,
        room: "304".into(),
        result: Some(Outcome::Answered),
        open: Open::Opened,
        states: vec![State::Dialling, State::Ringing, State::Talking, State::Ended],
    };
    assert_eq!(place.intercom.view(), expected);
    place.stop().await;

    platform.listen(address).await.unwrap();
    let from = platform.journal().len();
    let mut place = Place::start(folder.path(), address, "sim:ring");
    assert_eq!(record(&*result(&platform, from).await), (3, 1, 1));
    // A gate that is stopped hangs up, and says so when it is back.
    place.intercom.dial("304").unwrap();
    place.state("ringing").await;
    let from = platform.journal().len();
    place.stop().await;
    let place = Place::start(folder.path(), address, "sim:ring");
    assert_eq!(record(&*result(&platform, from).await), (1, 0, 0));
    place.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

/// A request to the API: status and JSON.
async fn http(page: SocketAddr, method: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = tokio::net::TcpStream::connect(page).await.unwrap();
    let request = format!(
        "{method} /api/v1/call HTTP/1.0\r\nHost: {page}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap())
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_by_the_api() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let mut place = Place::start(folder.path(), address, "sim:ring");
    let admin = config::Admin {
        listen: "127.0.0.1:0".parse().unwrap(),
        token_file: None,
        allowed_origins: Vec::new(),
    };
    let gate = place.running.gate.clone();
    let (_stop, stopped) = watch::channel(false);
    let serve = |server: Server, stopped: watch::Receiver<bool>| {
        let page = server.address();
        (page, tokio::spawn(async move { server.run(stopped).await }))
    };
    // A gate without an intercom says so.
    let server = Server::bind(gate.clone(), &Config::default(), admin.clone()).await.unwrap();
    let (page, without) = serve(server, stopped.clone());
    for method in ["GET", "POST", "DELETE"] {
        let (status, answer) = http(page, method, JSON, r#"{"room":"304"}"#).await;
        assert_eq!((status, &answer["error"]["kind"]), (404, &json!("not_found")), "{method}");
        assert!(answer["error"]["text"].as_str().unwrap().contains("no intercom"), "{answer}");
    }
    without.abort();

    let server = Server::bind(gate, &Config::default(), admin).await.unwrap();
    let (page, served) = serve(server.with_intercom(Some(place.intercom.clone())), stopped);
    place.online().await;
    let idle =
        json!({ "call": 0, "state": "idle", "room": "", "result": null, "open": "none", "states": ["idle"] });
    assert_eq!(http(page, "GET", "", "").await, (200, idle));
    assert_eq!(http(page, "DELETE", "", "").await.0, 404);
    for (headers, body, status) in [
        (JSON, r#"{"room":""}"#, 400),
        (JSON, r#"{"room":"3 4"}"#, 400),
        (JSON, r#"{"room":304}"#, 400),
        (JSON, r#"{"room":"304","floor":3}"#, 400),
        (JSON, "{}", 400),
        ("Content-Type: text/plain\r\n", r#"{"room":"304"}"#, 415),
        ("Origin: http://evil.example\r\nContent-Type: application/json\r\n", r#"{"room":"304"}"#, 403),
    ] {
        assert_eq!(http(page, "POST", headers, body).await.0, status, "{body}");
    }
    assert_eq!(place.intercom.view().call, 0, "nobody was called");
    let (status, view) = http(page, "POST", JSON, r#"{"room":"304"}"#).await;
    assert_eq!((status, &view["state"], &view["room"]), (202, &json!("dialling"), &json!("304")));
    let (status, busy) = http(page, "POST", JSON, r#"{"room":"304"}"#).await;
    assert_eq!((status, &busy["error"]["kind"]), (503, &json!("busy")));
    place.state("ringing").await;
    assert_eq!(http(page, "GET", "", "").await.1["state"], "ringing");
    assert_eq!(http(page, "DELETE", "", "").await.0, 200);
    place.state("ended").await;
    let ended = http(page, "GET", "", "").await.1;
    assert_eq!(
        (&ended["result"], &ended["states"]),
        (&json!("hung_up"), &json!(["dialling", "ringing", "ended"]))
    );
    assert_eq!(record(&*result(&platform, 0).await), (1, 0, 0));
    served.abort();
    let _ = served.await;
    place.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_from_the_console() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, address) = platform().await;
    let config = format!(
        "[terminal]\ndata_dir = {:?}\n[platform.qyzn]\nserver = \"{address}\"\n\
         [intercom]\nmedia = \"sim:answer,open,hangup;ring;ring\"\n",
        folder.path().join("data")
    );
    let file = folder.path().join("menshen.toml");
    let agent = tokio::task::spawn_blocking({
        let folder = folder.path().to_owned();
        move || Agent::start(&folder, &config)
    });
    let mut agent = agent.await.unwrap();
    agent = tokio::task::spawn_blocking(move || {
        agent.event("a login", |event| event["kind"] == "platform" && event["state"] == "logged_in");
        agent
    })
    .await
    .unwrap();
    let call = async |arguments: &[&str]| {
        let mut command = menshen();
        command.arg("call").args(arguments).arg("--config").arg(&file);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, out, err) = call(&["304"]).await;
    let said = "dialling\nringing\ntalking\nended: answered\nthe door was opened\n";
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let mut wanted: Vec<&str> = said.lines().collect();
    wanted.sort_unstable();
    assert_eq!((code, lines), (Some(0), wanted), "{err}");
    let (code, out, _) = call(&["--json", "999"]).await;
    let last: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(code, Some(3));
    assert_eq!(last, json!({ "state": "ended", "room": "999", "result": "no_such_room", "open": "none" }));
    let (code, _, err) = call(&["--hang-up"]).await;
    assert_eq!((code, err.contains("no call")), (Some(3), true), "{err}");
    assert_eq!(call(&["30 4"]).await.0, Some(1));
    assert_eq!(call(&["--hang-up", "304"]).await.0, Some(2));

    // Hung up by another command, and by Ctrl-C.
    for by_signal in [false, true] {
        let from = platform.journal().len();
        let mut command = menshen();
        command.args(["call", "304", "--config"]).arg(&file).stdout(std::process::Stdio::piped());
        let child = command.spawn().unwrap();
        platform.wait_after(from, |entry| entry.event == "device_call_param").await.unwrap();
        agent = tokio::task::spawn_blocking(move || {
            // The one of this call: those before it have been heard or are of ended calls.
            let mut ringing = 0;
            while ringing < 1 {
                let event = agent.event("a call", |event| event["kind"] == "call");
                ringing += u32::from(
                    event["state"] == "ringing"
                        && event["open"] == "none"
                        && event["room"] == "304"
                        && by_signal,
                );
                if !by_signal && event["state"] == "ended" && event["room"] == "999" {
                    agent.event("ringing", |event| event["kind"] == "call" && event["state"] == "ringing");
                    ringing += 1;
                }
            }
            agent
        })
        .await
        .unwrap();
        if by_signal {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        } else {
            assert_eq!(call(&["--hang-up"]).await.0, Some(0));
        }
        let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stdout).unwrap().ends_with("ended: hung up\n"));
        assert_eq!(record(&*result(&platform, from).await), (1, 0, 0));
    }
    drop(agent);
    assert_eq!(platform.violations(), [""; 0]);
}
