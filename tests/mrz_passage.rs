//! A passage with a passport's page before a document camera: the agent as a process, pages drawn from the OCR-B font's
//! outlines, a clip of the holder, and the platform that learns of it. No word of the page is logged.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;
#[allow(dead_code, missing_docs, clippy::all, reason = "the trainer's own file")]
#[path = "../models/ocrb/render.rs"]
mod render;
#[path = "support/site.rs"]
mod site;

use std::path::Path;

use process::{Agent, prepared};
use render::{CAPITAL, Degradation, Font, Page, Paper, Rng};
use serde_json::json;
use site::Site;

/// The specimen of ICAO 9303-4, appendix B, valid until 2032; its digits were counted apart from this program.
const PASSPORT: [&str; 2] =
    ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F3204153ZE184226B<<<<<16"];
const NUMBER: &str = "L898902C3";

/// A plate: empty for a while, then with the page.
fn plate(folder: &Path) {
    let outlines = std::fs::read_to_string(prepared(".setup/ocrb/outlines")).unwrap();
    let fonts = Font::parse(&outlines).unwrap();
    let font = &fonts.iter().find(|(name, _)| name == "OCRB").unwrap().1;
    let (width, height) = (1000, 760);
    let page =
        Page { font, lines: &PASSPORT, paper: Paper::plain(0.85), ink: 0.15, weight: 0.0, printed: true };
    let shown = page.seen((width, height), 16.0 / CAPITAL, (500.0, 380.0), 0.05, (0.0, 0.0), 0.2);
    let empty = render::Grey { width, height, data: vec![0.2; width * height] };
    let camera = Degradation { blur: 0.4, noise: 2.0, ..Degradation::NONE };
    for (mut picture, numbers) in [(empty, 0..20), (shown, 20..60)] {
        camera.apply(&mut picture, &mut Rng::new(1));
        let first = folder.join(format!("{:03}.jpg", numbers.start));
        let file = std::fs::File::create(&first).unwrap();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(file, 90);
        encoder
            .encode(&picture.to_bytes(), width as u32, height as u32, image::ExtendedColorType::L8)
            .unwrap();
        for number in numbers.skip(1) {
            std::fs::hard_link(&first, folder.join(format!("{number:03}.jpg"))).unwrap();
        }
    }
}

#[test]
fn who_is_on_the_white_list_passes_with_their_passport_s_page_and_their_face() {
    let site = Site::new();
    let (plates, log) = (site.folder().join("plate"), site.folder().join("log"));
    std::fs::create_dir(&plates).unwrap();
    plate(&plates);
    let config = format!(
        "{}[[camera]]\nrole = \"document\"\nsource = \"files:{}\"\nfps = 8\n[device]\nid_reader = \"camera\"\n\
         [gate]\nsession_timeout_s = 60\nmin_interval_s = 0\n[log]\nfilter = \"debug,menshen=trace\"\n",
        site.config(&prepared(".setup/test/clips/p03-a"), 15),
        plates.display(),
    );
    let mut agent = Agent::start_prepared(site.folder(), &config, &prepared("models"), |command| {
        command.stderr(std::fs::File::create(&log).unwrap());
    });
    site.logged_in();
    // 人证白名单. Nobody has the number yet.
    let group = json!({ "OpenDoorModeSet": { "OpenDoor": 4, "CardVerify": 0, "IdCardVerify": 0 } });
    assert_eq!(site.request("config_system", group)["result"], 0);
    let of = |reason: &'static str| {
        move |event: &serde_json::Value| event["kind"] == "verdict" && event["reason"] == reason
    };
    let unknown = agent.event("a passport of nobody", of("unknown_document"));
    assert_eq!((&unknown["verdict"], &unknown["opened"]), (&json!("refuse"), &json!(false)));
    // A page has no photo that can be proved: its holder is enrolled, and it is their face that is compared.
    let picture = std::fs::read(prepared(".setup/test/pictures/p03-01.jpg")).unwrap();
    let mut holder = site::person("100001", "", &picture);
    holder["idNum"] = json!(NUMBER);
    let answer = site.request("add_person_face", holder);
    assert_eq!(answer["result"], 0, "{answer}");
    let passed = agent.event("the holder", of("granted"));
    assert_eq!((&passed["verdict"], &passed["opened"]), (&json!("pass"), &json!(true)), "{passed}");
    assert_eq!(passed["person"]["id"], "100001");
    let report = site.reported("the passage", |report| report.text("personId") == "100001");
    assert_eq!((report.int("result"), report.int("type")), (Some(1), Some(1)));
    assert_eq!((report.text("idNum"), report.text("fullName")), (NUMBER, "张三"));
    assert!(report.int("snapPic_bytes").unwrap() > 5000, "the visitor as the camera saw them");
    site.assert_proper();
    assert_eq!(agent.process.stop(), Some(0));

    let log = String::from_utf8_lossy(&std::fs::read(&log).unwrap()).into_owned();
    assert!(log.contains("a machine readable zone was read"), "{log}");
    assert!(!log.contains("the document camera is not used"), "{log}");
    for secret in [NUMBER, "ERIKSSON", "ANNA", "P<UTO", "<<<", "740812", "1974-08-12", "ZE184226B"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        let told = ["document", "reader", "verdict", "screen", "record"]
            .into_iter()
            .any(|kind| agent.heard(kind).any(|event| event.to_string().contains(secret)));
        assert!(!told, "{secret} is in an event");
    }
}
