//! The API of the technician, over a real gate, store and models.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod admin;
    pub mod vision;
}

use base64::Engine as _;
use menshen::access::{Origin, Person, PersonKey, PersonKind, Reason, Schedule};
use menshen::gate::PeopleChange;
use menshen::store::{Destination, NewRecord, PictureKind, RecordFacts, RecordResult};
use serde_json::{Value, json};
use support::admin::{Bench, PATIENCE};
use support::vision;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn picture(name: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(vision::bytes(name))
}

fn record(name: &str, reason: Reason, picture: Option<Vec<u8>>) -> NewRecord {
    NewRecord {
        facts: RecordFacts {
            at: "2026-03-02T04:00:00Z".parse().unwrap(),
            utc_offset_s: 28_800,
            person: Some(PersonKey::new(Origin::Qyzn, "7")),
            face_id: None,
            also: Vec::new(),
            name: name.into(),
            person_kind: PersonKind::White,
            id_number: Some("11010519491231002X".into()),
            card: None,
            score: Some(91.25),
            liveness: None,
            result: RecordResult::Granted,
            reason,
            opened: true,
            latency_ms: 87,
            body_temp: None,
            credentials: vec!["face".into()],
            document: None,
        },
        pictures: picture.map(|jpeg| (PictureKind::Snap, jpeg)).into_iter().collect(),
        destinations: vec![Destination::Qyzn],
        spend: false,
    }
}

fn person(id: &str, name: &str) -> Person {
    Person {
        key: PersonKey::new(Origin::Qyzn, id),
        code: format!("code {id}"),
        name: name.into(),
        kind: PersonKind::Visitor,
        id_number: Some("11010519491231002X".into()),
        card: None,
        passes_left: None,
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_says_how_things_stand() {
    let bench = Bench::with(|config| {
        config.terminal.serial = "ABC123".into();
        config.camera =
            toml::from_str::<menshen::config::Config>("[[camera]]\nrole = \"visible\"\nsource = \"files:x\"")
                .unwrap()
                .camera;
        config.platform.qyzn = Some(toml::from_str("server = \"127.0.0.1:1\"").unwrap());
    })
    .await;
    let status = bench.get("/api/v1/status").await.json();
    assert_eq!((&status["serial"], &status["ready"]), (&json!("ABC123"), &json!(false)));
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        status["platforms"],
        json!([{ "platform": "qyzn", "server": "127.0.0.1:1", "state": "connecting", "outbox": 0 }])
    );
    assert_eq!(
        status["cameras"],
        json!([{ "camera": 0, "role": "visible", "state": "starting", "fps": null }])
    );

    let events = bench.gate.events();
    events.send("platform", json!({ "platform": "qyzn", "state": "logged_in" }));
    events.send("platform", json!({ "platform": "qyzn", "state": "time_offset", "offset_ms": 7 }));
    events.send("task", json!({ "task": "agent", "state": "ready", "ready_ms": 12 }));
    events.send("task", json!({ "task": "camera 0", "state": "failed", "error": "no such device" }));
    events.send("camera", json!({ "camera": 0, "state": "lost", "error": "unplugged" }));
    events.send("verdict", json!({ "verdict": "pass", "name": "张三" }));
    bench.gate.store().append_record(record("张三", Reason::Granted, None)).await.unwrap();
    bench.gate.change_people(PeopleChange::Add(person("7", "张三"))).await.unwrap();
    let status = bench.get("/api/v1/status").await.json();
    assert_eq!(status["platforms"][0]["state"], "logged_in");
    assert_eq!(status["platforms"][0]["outbox"], 1);
    assert_eq!(status["cameras"][0]["state"], "lost");
    assert_eq!((&status["ready"], &status["ready_ms"]), (&json!(true), &json!(12)));
    assert_eq!((&status["store"]["people"], &status["store"]["records"]), (&json!(1), &json!(1)));
    assert_eq!(status["last_verdict"]["name"], "张三");
    let mut notices: Vec<_> = status["notices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|notice| (notice["kind"].as_str().unwrap(), notice["text"].as_str().unwrap()))
        .collect();
    notices.sort_unstable();
    assert_eq!(notices, [("camera_lost", "unplugged"), ("task_failed", "no such device")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_enrolled_listed_searched_and_removed() {
    let bench = Bench::start().await;
    let new = json!({
        "id": "a/1", "name": "<img onerror>", "card": "0012345678", "id_number": "11010519491231002X",
        "passes_left": 3, "valid_until": "2099-01-01T00:00:00", "pictures": [picture("pictures/p01-1.jpg")],
    });
    let made = bench.post("/api/v1/people", &new).await;
    assert_eq!((made.status, made.json()), (201, json!({ "origin": "local", "id": "a/1" })));
    let again = bench.post("/api/v1/people", &new).await;
    assert_eq!((again.status, again.kind().as_str()), (409, "exists"));
    let mut replacing = new.clone();
    replacing["replace"] = true.into();
    assert_eq!(bench.post("/api/v1/people", &replacing).await.status, 200);

    let shown = bench.get("/api/v1/people/local/a%2F1").await.json();
    assert_eq!(shown["id_number"], "110*************2X");
    assert_eq!((&shown["name"], &shown["faces"]), (&json!("<img onerror>"), &json!(["a/1-1"])));
    assert_eq!((&shown["valid_until"], &shown["passes_left"]), (&json!("2099-01-01T00:00:00"), &json!(3)));

    for number in 0..5 {
        bench
            .gate
            .change_people(PeopleChange::Add(person(&number.to_string(), &format!("李四 {number}"))))
            .await
            .unwrap();
    }
    let names = |answer: Value| -> Vec<String> {
        answer["people"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = bench.get("/api/v1/people?limit=4").await.json();
    let next = first["next"].as_i64().unwrap();
    assert_eq!(names(first), ["<img onerror>", "李四 0", "李四 1", "李四 2"]);
    let rest = bench.get(&format!("/api/v1/people?limit=4&after={next}")).await.json();
    assert_eq!(rest["next"], Value::Null);
    assert_eq!(names(rest), ["李四 3", "李四 4"]);
    assert_eq!(names(bench.get("/api/v1/people?search=%E5%9B%9B%203").await.json()), ["李四 3"]);
    assert_eq!(names(bench.get("/api/v1/people?search=CODE%202").await.json()), ["李四 2"]);
    // The identity number is nothing to be searched for.
    assert!(names(bench.get("/api/v1/people?search=110105").await.json()).is_empty());

    assert_eq!(bench.send("DELETE", "/api/v1/people/local/a%2F1", &[], b"").await.status, 204);
    let gone = bench.send("DELETE", "/api/v1/people/local/a%2F1", &[], b"").await;
    assert_eq!((gone.status, gone.kind().as_str()), (404, "not_found"));
    assert_eq!(bench.get("/api/v1/people/local/a%2F1").await.status, 404);
    assert_eq!(bench.get("/api/v1/people/nobody/1").await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_enrolment_changes_nothing_and_says_why() {
    let bench = Bench::start().await;
    let new = |pictures: Value| json!({ "id": "1", "name": "张三", "pictures": pictures });
    let cases = [
        (new(json!([])), 400, "input"),
        (new(json!(["!"])), 400, "input"),
        // Base64, and no picture: a bad picture, as on every wire.
        (new(json!(["Zm9vYmFy"])), 422, "face"),
        (new(json!([picture("refuse/blurred.jpg")])), 422, "face"),
        (new(json!([picture("refuse/several_faces.jpg")])), 422, "face"),
        (new(json!([picture("pictures/p01-1.jpg"), picture("refuse/no_face.jpg")])), 422, "face"),
        (json!({ "id": "1", "name": "张".repeat(10_000), "pictures": ["Zg=="] }), 400, "input"),
        (json!({ "id": "1", "name": "张三", "pictures": ["Zg=="], "admin": true }), 400, "input"),
        (json!([]), 400, "input"),
    ];
    for (body, status, kind) in cases {
        let answer = bench.post("/api/v1/people", &body).await;
        assert_eq!((answer.status, answer.kind().as_str()), (status, kind), "{:?}", answer.json());
        assert!(!answer.json()["error"]["text"].as_str().unwrap().is_empty());
    }
    let plain = bench.send("POST", "/api/v1/people", &[("Content-Type", "text/plain")], b"{}").await;
    assert_eq!(plain.status, 415);
    assert_eq!(bench.gate.store().counts().unwrap().people, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_come_newest_first_with_their_pictures() {
    let bench = Bench::start().await;
    let jpeg = vision::bytes("pictures/p01-1.jpg");
    let store = bench.gate.store();
    store.append_record(record("张三", Reason::Granted, Some(jpeg.clone()))).await.unwrap();
    store.append_record(record("李四", Reason::Expired, None)).await.unwrap();
    let third = store.append_record(record("", Reason::Stranger, None)).await.unwrap();
    let page = bench.get("/api/v1/records?limit=2").await.json();
    let ids: Vec<_> =
        page["records"].as_array().unwrap().iter().map(|record| record["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [third.0, third.0 - 1]);
    assert_eq!(page["next"], third.0 - 1);
    let rest = bench.get(&format!("/api/v1/records?limit=2&before={}", third.0 - 1)).await.json();
    assert_eq!((&rest["records"][0]["name"], &rest["next"]), (&json!("张三"), &Value::Null));
    assert_eq!(rest["records"][0]["id_number"], "110*************2X");

    let one = bench.get("/api/v1/records/1").await.json();
    assert_eq!(
        (&one["score"], &one["reason"], &one["undelivered"]),
        (&json!(91.25), &json!("granted"), &json!(["qyzn"]))
    );
    let shot = bench.get("/api/v1/records/1/picture").await;
    assert_eq!(shot.header("content-type"), Some("image/jpeg"));
    assert_eq!(shot.header("cache-control"), Some("no-store"));
    assert_eq!(shot.header("x-content-type-options"), Some("nosniff"));
    assert!(shot.body == jpeg);
    for (path, status) in [
        ("/api/v1/records/2/picture", 404),
        ("/api/v1/records/99", 404),
        ("/api/v1/records/x", 400),
        ("/api/v1/records/1/picture?kind=../../etc/passwd", 400),
        ("/api/v1/records?limit=0", 400),
        ("/api/v1/records?limit=501", 400),
        ("/api/v1/records/../../../etc/passwd", 404),
        ("/..%2f..%2fetc%2fpasswd", 404),
    ] {
        let answer = bench.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(!answer.kind().is_empty());
    }
    let wrong = bench.send("POST", "/api/v1/records", &[], b"").await;
    assert_eq!((wrong.status, wrong.kind().as_str()), (405, "method"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_where_they_stopped() {
    let bench = Bench::start().await;
    let events = bench.gate.events();
    // The relay has said where it stands.
    let mut first = bench.listen("", &[]).await;
    assert_eq!((first.status, first.event("relay").await["state"].clone()), (200, json!("off")));
    let before = events.last_id();
    for number in 1..=4 {
        events.send("screen", json!({ "text": number.to_string() }));
    }
    let (id, _, data) = loop {
        let message = first.message().await.unwrap();
        if message.2["text"] == "2" {
            break message;
        }
    };
    assert_eq!((id, data["kind"].as_str()), ((before + 2).to_string(), Some("screen")));

    // A stream that goes on after "2" gets "3", whoever says so.
    let run = bench.get("/api/v1/status").await.json()["run"].as_str().unwrap().to_owned();
    let resumed = (before + 2).to_string();
    for (query, headers) in [
        (String::new(), vec![("Last-Event-ID", resumed.as_str())]),
        (format!("?after={resumed}"), vec![]),
        (format!("?after={resumed}&run={run}"), vec![]),
    ] {
        let mut listener = bench.listen(&query, &headers).await;
        let (_, event, hello) = listener.message().await.unwrap();
        assert_eq!(
            (event.as_str(), &hello["run"], &hello["last"]),
            ("hello", &json!(run), &json!(before + 4))
        );
        assert_eq!(listener.message().await.unwrap().2["text"], "3");
    }
    // An id of another run of the agent says nothing: everything remembered comes.
    for query in ["?after=2&run=another", "?after=999999", ""] {
        let mut listener = bench.listen(query, &[]).await;
        assert_eq!(listener.message().await.unwrap().1, "hello");
        assert_eq!(listener.message().await.unwrap().0, "1", "{query}");
    }
    let wrong = bench.listen("", &[("Last-Event-ID", "x")]).await;
    assert_eq!(wrong.status, 400);

    // A record's event has the record's id.
    events.send("record", json!({ "id": 4711, "state": "stored" }));
    assert_eq!(first.event("record").await["id"], 4711);

    // Without news there are signs of life.
    assert_eq!(first.event("beat").await["kind"], "beat");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_too_slow_is_told_what_it_lost() {
    let bench = Bench::start().await;
    let mut slow = bench.listen("", &[]).await;
    assert_eq!(slow.message().await.unwrap().1, "hello");
    // Far more than the buffers of both sockets and of the bus hold.
    let text = "x".repeat(20_000);
    for _ in 0..3000 {
        bench.gate.events().send("screen", json!({ "text": text }));
    }
    bench.gate.events().send("voice", json!({ "text": "last" }));
    let mut lost = 0;
    loop {
        let (_, event, data) = slow.message().await.unwrap();
        if event == "gap" {
            lost += data["lost"].as_u64().unwrap();
        }
        if data["text"] == "last" {
            break;
        }
    }
    assert!(lost > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_opens_for_the_technician_and_for_no_other_site() {
    let bench = Bench::start().await;
    let mut events = bench.listen("", &[]).await;
    assert_eq!(events.event("relay").await["state"], "off");
    let own = format!("http://{}", bench.address);
    for (headers, status) in [
        (vec![("Origin", "http://evil.example")], 403),
        (vec![("Origin", "null")], 403),
        (vec![("Sec-Fetch-Site", "cross-site")], 403),
        (vec![("Host", "evil.example")], 421),
    ] {
        let answer = bench.send("POST", "/api/v1/door/open", &headers, b"").await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(bench.send("POST", "/api/v1/door/open", &[("Origin", &own)], b"").await.status, 200);
    let relay = events.event("relay").await;
    assert_eq!((&relay["state"], &relay["by"]), (&json!("on"), &json!("technician")));
    assert_eq!(events.event("relay").await["state"], "off");
    // No other opening was among them.
    assert_eq!(bench.gate.events().subscribe(0).0.iter().filter(|event| event.kind == "relay").count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowed_site_is_answered_as_browsers_want_it() {
    let bench = Bench::with(|config| {
        config.service.admin.as_mut().unwrap().allowed_origins = vec!["https://ops.example".into()];
    })
    .await;
    let origin = ("Origin", "https://ops.example");
    let asked = bench
        .send("OPTIONS", "/api/v1/door/open", &[origin, ("Access-Control-Request-Method", "POST")], b"")
        .await;
    assert_eq!(asked.status, 204);
    assert_eq!(asked.header("access-control-allow-origin"), Some("https://ops.example"));
    assert_eq!(asked.header("access-control-allow-methods"), Some("GET, POST, DELETE"));
    let answer = bench.send("GET", "/api/v1/status", &[origin], b"").await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("https://ops.example"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_need_the_token_and_the_page_turns_it_into_a_cookie() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    let path = file.path().to_owned();
    let bench = Bench::with(move |config| {
        let admin = config.service.admin.as_mut().unwrap();
        admin.listen = "0.0.0.0:0".parse().unwrap();
        admin.token_file = Some(path);
    })
    .await;
    let host = ("Host", "192.168.1.20:8080");
    // The page itself is no secret: it asks for the token.
    let page = bench.send("GET", "/", &[host], b"").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-security-policy").unwrap().contains("script-src 'self';"));
    for path in [
        "/api/v1/status",
        "/api/v1/events",
        "/api/v1/live.mjpg",
        "/api/v1/records/1/picture",
        "/api/v1/nothing",
    ] {
        let answer = bench.send("GET", path, &[host], b"").await;
        assert_eq!((answer.status, answer.kind().as_str()), (401, "token"), "{path}");
    }
    assert_eq!(
        bench
            .send("GET", "/api/v1/status", &[host, ("Authorization", "Bearer 0123456789abcdeX")], b"")
            .await
            .status,
        401
    );
    assert_eq!(
        bench
            .send("GET", "/api/v1/status", &[host, ("Authorization", "Bearer 0123456789abcdef")], b"")
            .await
            .status,
        200
    );

    let json = ("Content-Type", "application/json");
    let wrong = bench.send("POST", "/api/v1/login", &[host, json], br#"{"token": "fedcba9876543210"}"#).await;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let right = bench.send("POST", "/api/v1/login", &[host, json], br#"{"token": "0123456789abcdef"}"#).await;
    let cookie = right.header("set-cookie").unwrap();
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("0123456789abcdef"));
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(bench.send("GET", "/api/v1/status", &[host, ("Cookie", cookie)], b"").await.status, 200);
    assert_eq!(bench.send("GET", "/api/v1/status", &[host, ("Cookie", "menshen=")], b"").await.status, 401);
    let out = bench.send("POST", "/api/v1/logout", &[host, ("Cookie", cookie)], b"").await;
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_is_refused_and_holds_nothing_up() {
    let bench = Bench::start().await;
    // Two gigabytes announced: refused at once, without a byte of them.
    let mut stream = TcpStream::connect(bench.address).await.unwrap();
    let head = format!(
        "POST /api/v1/people HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 2147483648\r\n\r\n",
        bench.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(stream);
    // A head that never ends.
    let long = "x".repeat(100_000);
    let endless = bench.send("GET", "/", &[("X-Long", &long)], b"").await;
    assert_eq!(endless.status, 431);

    let mut listeners = Vec::new();
    for _ in 0..16 {
        let listener = bench.listen("", &[]).await;
        assert_eq!(listener.status, 200);
        listeners.push(listener);
    }
    assert_eq!(bench.listen("", &[]).await.status, 503);
    drop(listeners);
    // Their places are free again as soon as the server has seen them go.
    let freed = async {
        while bench.listen("", &[]).await.status != 200 {
            bench.gate.events().send("screen", json!({}));
        }
    };
    tokio::time::timeout(PATIENCE, freed).await.expect("a place");

    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(bench.address).await.unwrap());
    }
    let mut one_too_many = TcpStream::connect(bench.address).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(PATIENCE, one_too_many.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    // Those who say nothing are let go, and there is room again.
    let mut byte = [0; 1];
    let mut last = idle.pop().unwrap();
    tokio::time::timeout(PATIENCE, last.read(&mut byte)).await.expect("an end").unwrap();
    let again = async { while bench.get("/").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, again).await.expect("room again");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_the_agent() {
    let bench = Bench::start().await;
    let mut events = bench.listen("", &[]).await;
    let mut live = bench.ask("GET", "/api/v1/live.mjpg", &[], b"").await;
    let mut head = [0; 15];
    live.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.0 200 OK");
    bench.stop.send_replace(true);
    tokio::time::timeout(PATIENCE, bench.served).await.expect("an end").unwrap().unwrap();
    while events.message().await.is_some() {}
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, live.read_to_end(&mut rest)).await.expect("an end").unwrap();
    assert!(TcpStream::connect(bench.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_taken_is_named() {
    let bench = Bench::start().await;
    let admin =
        menshen::config::Admin { listen: bench.address, token_file: None, allowed_origins: Vec::new() };
    let error =
        menshen::service::admin::Server::bind(bench.gate.clone(), &menshen::config::Config::default(), admin)
            .await
            .err()
            .unwrap();
    assert_eq!(error.kind(), menshen::Kind::Network);
    let text = error.to_string();
    assert!(text.contains(&bench.address.to_string()) && text.contains("another program"), "{text}");
}
