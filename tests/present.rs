//! `POST /api/v1/present` and `menshen present`: credentials before simulated readers.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod admin;
    pub mod vision;
}

use menshen::access::PassMode;
use menshen::config::Config;
use menshen::document::{Happening, Label};
use serde_json::{Value, json};
use support::admin::Bench;

fn with_readers(config: &mut Config) {
    for reader in [&mut config.device.wiegand_in, &mut config.device.qr_reader, &mut config.device.id_reader]
    {
        *reader = "sim".into();
    }
    config.settings.rules.mode = PassMode::Card;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_presented_reaches_the_gate() {
    let bench = Bench::with(with_readers).await;
    let mut events = bench.listen("", &[]).await;
    let card = bench.post("/api/v1/present", &json!({"kind": "card", "number": "99"})).await;
    assert_eq!((card.status, card.json()), (200, json!({"presented": "card", "number": "99"})));
    let read = events.event("credential").await;
    assert_eq!((&read["credential"], &read["for"]), (&json!("card"), &json!("session")));
    let verdict = events.event("verdict").await;
    assert_eq!((&verdict["reason"], &verdict["credential"]), (&json!("unknown_card"), &json!(["card"])));
    // Worked by hand in device/wiegand.rs.
    let bits = "1 01110110 0000011001000011 0";
    let card = bench.post("/api/v1/present", &json!({"kind": "card", "bits": bits})).await;
    assert_eq!((card.status, card.json()), (200, json!({"presented": "card", "number": "7734851"})));
    let qr = bench.post("/api/v1/present", &json!({"kind": "qr", "content": "adddfffsss"})).await;
    assert_eq!((qr.status, qr.json()), (200, json!({"presented": "qr"})));
    let document = json!({"kind": "document", "number": "420381198802141789", "name": "Jim",
        "birthday": "1989-10-10", "valid_from": "2000-01-01", "valid_until": "2030-01-01"});
    assert!(
        matches!(bench.gate.document_reader(), Some(Happening::Online { name, .. }) if name == "simulated")
    );
    let mut happenings = bench.gate.documents();
    let document = bench.post("/api/v1/present", &document).await;
    assert_eq!((document.status, document.json()), (200, json!({"presented": "document"})));
    assert!(matches!(happenings.try_recv(), Ok(Happening::Detected)));
    let Ok(Happening::Read(reading)) = happenings.try_recv() else { panic!("the services hear nothing") };
    let texts: Vec<_> = reading.texts.iter().map(|text| (text.label, text.content.as_str())).collect();
    assert_eq!(
        texts,
        [
            (Label::Name, "Jim"),
            (Label::Birthday, "1989-10-10"),
            (Label::Number, "420381198802141789"),
            (Label::ValidFrom, "2000-01-01"),
            (Label::Expires, "2030-01-01"),
        ]
    );
    assert!(matches!(happenings.try_recv(), Ok(Happening::TakenAway)));
    for (bad, text) in [
        (json!({"kind": "card"}), "a card has either a number or bits"),
        (json!({"kind": "card", "number": "1", "bits": bits}), "a card has either a number or bits"),
        (json!({"kind": "card", "number": ""}), "the number of the card must have 1 to 64 bytes"),
        (json!({"kind": "card", "bits": "1".repeat(26)}), "the parity of the Wiegand frame is wrong"),
        (json!({"kind": "card", "bits": "10"}), "26 or 34 bits, not 2"),
        (json!({"kind": "qr", "content": ""}), "a QR code has 1 to 4296 bytes"),
        (json!({"kind": "document", "number": "\n"}), "the number of the document must have"),
        (json!({"kind": "document", "number": "1", "birthday": "soon"}), "the body cannot be used"),
        (json!({"kind": "badge"}), "the body cannot be used"),
        (json!({"kind": "qr", "content": "x", "more": 1}), "the body cannot be used"),
    ] {
        let refused = bench.post("/api/v1/present", &bad).await;
        let said: Value = refused.json();
        assert_eq!(refused.status, 400, "{bad}");
        assert!(said["error"]["text"].as_str().unwrap().contains(text), "{bad}: {said}");
    }
    assert!(happenings.try_recv().is_err(), "what is refused has not happened");
    // A form of another site cannot do it.
    let headers = [("Content-Type", "application/json"), ("Origin", "http://elsewhere.example")];
    let elsewhere = bench.send("POST", "/api/v1/present", &headers, b"{}").await;
    assert_eq!(elsewhere.status, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_is_not_there_says_so() {
    let bench = Bench::start().await;
    for (presented, key) in [
        (json!({"kind": "card", "number": "1"}), "wiegand_in"),
        (json!({"kind": "qr", "content": "x"}), "qr_reader"),
        (json!({"kind": "document", "number": "1"}), "id_reader"),
    ] {
        let refused = bench.post("/api/v1/present", &presented).await;
        let text = format!(
            "the gate has no such reader: device.{key} is \"none\"; set it to \"sim\" to try one out"
        );
        assert_eq!((refused.status, &refused.json()["error"]["text"]), (400, &json!(text)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_presents_at_the_running_gate() {
    let bench = Bench::with(with_readers).await;
    let config = bench.folder.path().join("menshen.toml");
    std::fs::write(&config, format!("[service]\nadmin = {{ listen = \"{}\" }}\n", bench.address)).unwrap();
    let present = |arguments: &'static [&'static str]| {
        let config = config.clone();
        async move {
            let output = tokio::task::spawn_blocking(move || {
                std::process::Command::new(env!("CARGO_BIN_EXE_menshen"))
                    .arg("present")
                    .args(arguments)
                    .arg("--config")
                    .arg(config)
                    .output()
                    .unwrap()
            });
            let output = output.await.unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
        }
    };
    let mut events = bench.listen("", &[]).await;
    let card = present(&["card", "157342643"]).await;
    assert_eq!(card, (0, "the card 157342643 was presented\n".into(), String::new()));
    assert_eq!(events.event("verdict").await["reason"], "unknown_card");
    let bits = present(&["card", "--bits", "10111011000000110010000110"]).await;
    assert_eq!((bits.0, bits.1.as_str()), (0, "the card 7734851 was presented\n"));
    let document =
        ["document", "--number", "420381198802141789", "--name", "Jim", "--valid-until", "2030-01-01"];
    let document = present(Box::leak(Box::new(document))).await;
    assert_eq!((document.0, document.1.as_str()), (0, "presented\n"));
    assert_eq!(present(&["qr", "adddfffsss"]).await.0, 0);
    let refused = present(&["card", "--bits", "11"]).await;
    assert!(refused.0 == 1 && refused.2.contains("26 or 34 bits, not 2"), "{refused:?}");
    assert_eq!(present(&["card"]).await.0, 2);
    assert_eq!(present(&["document", "--number", "1", "--birthday", "soon"]).await.0, 2);
}
