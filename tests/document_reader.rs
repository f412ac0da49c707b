//! The document reader service: each operand, what pages are sent, and what they cannot do to each other and the gate.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod page;
    pub mod vision;
}

use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use futures_util::SinkExt as _;
use jiff::civil::date;
use menshen::access::PassMode;
use menshen::clock::ManualClock;
use menshen::config::{self, Config, DocumentReader};
use menshen::device::chip::Trust;
use menshen::device::chip::card::Card;
use menshen::device::id_reader::{IdReader, Wanted};
use menshen::document::mrz::Zone;
use menshen::document::{Document, DocumentKind, Happening, Pictures, Reading};
use menshen::gate::passport_reader::{ChipField, PassportReader};
use menshen::service::document_reader::{MESSAGE_BYTES, PAGES, Server, drawn};
use menshen::simulate::passport::{Authority, Fault, Options, Passport};
use menshen::text::Language;
use serde_json::{Value, json};
use support::gate::Running;
use support::page::{PATIENCE, Page, connect};
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The sample number of GB 11643.
const NUMBER: &str = "11010519491231002X";

/// A service with its gate.
struct Site {
    gate: Running,
    address: std::net::SocketAddr,
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<menshen::Result<()>>,
    server: Arc<Server>,
}

impl Site {
    async fn start(folder: &Path) -> Self {
        Self::start_as(folder, Language::Chinese, |_| {}).await
    }

    async fn start_as(folder: &Path, language: Language, change: impl FnOnce(&mut DocumentReader)) -> Self {
        let gate = Running::start_linked(folder, &config::Device::default(), |_, mut stopped| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            Ok(())
        });
        let site = Self::over(gate, folder, language, change).await;
        site.online();
        site
    }

    /// A service of this gate.
    async fn over(
        gate: Running,
        folder: &Path,
        language: Language,
        change: impl FnOnce(&mut DocumentReader),
    ) -> Self {
        let mut service = DocumentReader::new("127.0.0.1:0".parse().unwrap());
        change(&mut service);
        let mut config = Config::default();
        config.terminal.data_dir = folder.to_owned();
        config.terminal.language = language;
        let server = Arc::new(Server::bind(gate.gate.clone(), &config, &service).await.unwrap());
        let address = server.address();
        let (stop, stopped) = watch::channel(false);
        let runs = Arc::clone(&server);
        let served = tokio::spawn(async move { runs.run(stopped).await });
        Self { gate, address, stop, served, server }
    }

    fn happened(&self, happening: Happening) {
        self.gate.gate.happened(happening);
    }

    fn online(&self) {
        self.happened(Happening::Online { name: "SDT".into(), serial: "05.01-20200101-0001234567".into() });
    }

    /// A document is laid down and read.
    fn lay_down(&self, reading: Reading) {
        self.happened(Happening::Detected);
        self.happened(Happening::Read(Arc::new(reading)));
    }

    /// A page that knows that the reader is there.
    async fn page(&self) -> Page {
        let mut page = Page::open(self.address).await;
        page.until_online().await;
        page
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.served.await.unwrap().unwrap();
        self.gate.stop().await;
    }
}

trait Online {
    async fn until_online(&mut self);
}

impl Online for Page {
    /// The service hears of its reader in its own time.
    async fn until_online(&mut self) {
        let connected = self.constant("DeviceConnected").await;
        while self.get("OnLineStatus", Value::Null).await != connected.as_str() {
            tokio::task::yield_now().await;
        }
    }
}

fn jpeg(red: u8) -> Arc<[u8]> {
    let mut bytes = Vec::new();
    let pixels = [red, 10, 20].repeat(102 * 126);
    jpeg_encoder::Encoder::new(&mut bytes, 90)
        .encode(&pixels, 102, 126, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    bytes.into()
}

fn resident() -> Reading {
    let document = Document {
        number: NUMBER.into(),
        name: "张三".into(),
        gender: "男".into(),
        ethnic: "汉".into(),
        birthday: Some(date(1949, 12, 31)),
        address: "某省某市某街道1号".into(),
        issuer: "某市公安局".into(),
        valid_from: Some(date(2010, 1, 1)),
        expires: Some(date(2030, 1, 1)),
        photo: Some(jpeg(200)),
        ..Document::default()
    };
    Reading { document, ..Reading::default() }
}

/// The specimen of ICAO 9303 part 4, appendix B.
fn passport() -> Reading {
    let document = Document {
        kind: DocumentKind::Passport,
        number: "L898902C3".into(),
        name: "ERIKSSON, ANNA MARIA".into(),
        birthday: Some(date(1974, 8, 12)),
        expires: Some(date(2012, 4, 15)),
        nationality: "UTO".into(),
        issuing_state: "UTO".into(),
        ..Document::default()
    };
    let mrz =
        ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
    let pictures = Pictures {
        white: Some(jpeg(10)),
        infrared: Some(jpeg(20)),
        printed_photo: Some(jpeg(30)),
        chip_photo: Some(jpeg(40)),
        ..Pictures::default()
    };
    Reading { document, mrz: mrz.map(str::to_owned).into(), pictures, ..Reading::default() }
}

fn url(picture: &[u8]) -> String {
    format!("data:image/jpeg;base64,{}", base64::engine::general_purpose::STANDARD.encode(picture))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_document_works_as_its_examples_do() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    // 5.2, and 5.6 in one message.
    page.send(json!({ "Type": "Request", "Commands": [
        { "Command": "Get", "Operand": "OnLineStatus" },
        { "Command": "Get", "Operand": "DeviceName" },
        { "Command": "Get", "Operand": "DeviceSerialNo" },
        { "Command": "Get", "Operand": "DeviceType" },
        { "Command": "Get", "Operand": "OnLineStatusEx" },
        { "Command": "Get", "Operand": "WebConstants", "Param": "DeviceConnected" },
    ]}))
    .await;
    let connected = "设备已连接";
    assert_eq!(
        page.next().await,
        json!({ "Type": "Reply", "Commands": [
            { "Command": "Get", "Operand": "OnLineStatus", "Succeeded": "Y", "Result": connected },
            { "Command": "Get", "Operand": "DeviceName", "Succeeded": "Y", "Result": "SDT" },
            { "Command": "Get", "Operand": "DeviceSerialNo", "Succeeded": "Y", "Result": "05.01-20200101-0001234567" },
            { "Command": "Get", "Operand": "DeviceType", "Succeeded": "Y", "Result": "PassportReader" },
            { "Command": "Get", "Operand": "OnLineStatusEx", "Succeeded": "Y", "Result": connected },
            { "Command": "Get", "Operand": "WebConstant", "Param": "DeviceConnected", "Succeeded": "Y", "Result": connected },
        ]})
    );
    let version = page.get("VersionInfo", Value::Null).await;
    assert_eq!(version, concat!("Menshen ", env!("CARGO_PKG_VERSION")));
    // 5.3.1
    let reply = page.request("Set", "VIZ", json!("Y")).await;
    assert_eq!(
        reply,
        json!({ "Type": "Reply", "Command": "Set", "Operand": "VIZ", "Succeeded": "Y", "Result": "" })
    );
    // 5.4.1 and 5.4.2
    site.lay_down(resident());
    let text = page.notice("Save", "CardContentText").await;
    assert_eq!(
        text,
        json!({
            "CARD_MAINID": "2", "CARD_NAME": "居民身份证", "姓名": "张三", "性别": "男", "民族": "汉",
            "出生日期": "1949-12-31", "住址": "某省某市某街道1号", "公民身份号码": NUMBER,
            "签发机关": "某市公安局", "签发日期": "2010-01-01", "有效期至": "2030-01-01",
        })
    );
    let images = page.notice("Save", "Images").await;
    let names: Vec<_> = images.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["SidBack", "SidFront", "SidHead"]);
    assert_eq!(images["SidHead"], url(&jpeg(200)));
    for side in ["SidFront", "SidBack"] {
        let base64 = images[side].as_str().unwrap().strip_prefix("data:image/jpeg;base64,").unwrap();
        let picture = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
        let picture = image::load_from_memory(&picture).unwrap();
        assert_eq!((picture.width(), picture.height()), drawn::SIZE);
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn constants_statuses_and_messages_are_one_table() {
    for language in [Language::Chinese, Language::English] {
        let folder = tempfile::tempdir().unwrap();
        let own = |service: &mut DocumentReader| {
            service.constants.insert("Welcome".into(), "欢迎使用".into());
            if language == Language::English {
                service.constants.insert("DeviceOffLine".into(), "Reader unplugged".into());
            }
        };
        let site = Site::start_as(folder.path(), language, own).await;
        let mut page = site.page().await;
        let (connected, gone, not, back) = (
            page.constant("DeviceConnected").await,
            page.constant("DeviceOffLine").await,
            page.constant("DeviceNotConnected").await,
            page.constant("DeviceReconnected").await,
        );
        assert_eq!(page.constant("Welcome").await, "欢迎使用");
        if language == Language::English {
            assert_eq!((connected.as_str(), gone.as_str()), ("Device is connected", "Reader unplugged"));
        }
        assert_eq!(page.get("OnLineStatus", Value::Null).await, connected.as_str());
        site.happened(Happening::Offline { why: "the cable is out".into() });
        assert_eq!(page.notice("Display", "RealtimeMessage").await, gone.as_str());
        assert_eq!(page.get("OnLineStatus", Value::Null).await, not.as_str());
        for operand in ["DeviceName", "DeviceSerialNo"] {
            let reply = page.request("Get", operand, Value::Null).await;
            assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!(not)), "{reply}");
        }
        // One that comes while the reader is away is told first.
        let mut late = Page::open(site.address).await;
        assert_eq!(late.next().await["Param"], gone.as_str());
        site.online();
        for page in [&mut page, &mut late] {
            assert_eq!(page.notice("Display", "RealtimeMessage").await, back.as_str());
            assert_eq!(page.get("OnLineStatus", Value::Null).await, connected.as_str());
        }
        let failed = page.constant("RecogFailed").await;
        let support = page.constant("WebDescAskForSupport").await;
        for _ in 0..3 {
            site.happened(Happening::Detected);
            site.happened(Happening::Failed { why: "the card was lifted too early".into() });
            assert_eq!(page.notice("Display", "RealtimeMessage").await, failed.as_str());
            site.happened(Happening::TakenAway);
        }
        assert_eq!(page.notice("AskForSupport", "RealtimeMessage").await, support.as_str());
        let (restart, reconnect) =
            (page.constant("WebDescRequireRestartSvc").await, page.constant("WebDescRequireReconnect").await);
        // The service goes: pages are told before.
        site.stop.send_replace(true);
        for page in [&mut page, &mut late] {
            assert_eq!(page.notice("RestartService", "RealtimeMessage").await, restart.as_str());
            assert_eq!(page.notice("ReConnect", "RealtimeMessage").await, reconnect.as_str());
            match page.frame().await {
                Some(Message::Close(Some(close))) => assert_eq!(close.code, CloseCode::Restart),
                other => panic!("{other:?}"),
            }
        }
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_what_pages_are_sent_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    let wanted = || site.gate.gate.wanted();
    assert!(wanted().chip && wanted().viz && !wanted().bar_code);
    page.set("RFID", json!("False")).await;
    page.set("VIZ", json!("N")).await;
    page.set("BarCodeRecog", json!("True")).await;
    assert!(!wanted().chip && !wanted().viz && wanted().bar_code, "{:?}", wanted());
    page.set("WantFieldSource", json!("True")).await;
    page.set("DocInfoAllInOne", json!("True")).await;
    page.set("MRZOnWhitelImage", json!("Y")).await;
    page.set("IfDetectUVDull", json!("True")).await;
    page.set("IfDetectFibre", json!("True")).await;
    page.set("IfCheckSourceType", json!("True")).await;
    page.set("Sid", json!({ "OnlyReadChip": "True" })).await;
    assert_eq!(page.get("MRZOnWhiteImage", Value::Null).await, "True", "one switch by both its names");
    let expected = |all: Value| {
        assert_eq!(all["Fields"]["姓名"], json!({ "Content": "张三", "Source": "RFID" }));
        assert_eq!(all["Fields"]["UVDull"]["Content"], "NN设备不支持紫光拍照");
        assert_eq!(
            all["Fields"]["SourceType"]["Content"], "NN设备无法判断是否原件",
            "facts without a source"
        );
        assert_eq!(all["Fields"]["BarCode"]["Content"], "");
        assert_eq!(all["Images"]["SidHead"], url(&jpeg(200)));
        assert_eq!(all["Images"].get("White"), None, "only the chip");
    };
    let mut card = resident();
    card.pictures.white = Some(jpeg(99));
    site.lay_down(card.clone());
    expected(page.notice("Save", "DocInfoAllInOne").await);
    site.stop().await;

    // A restart, with another page.
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    assert!(!site.gate.gate.wanted().chip && site.gate.gate.wanted().bar_code);
    assert_eq!(page.get("Sid", Value::Null).await, json!({ "OnlyReadChip": "True" }));
    site.lay_down(card);
    expected(page.notice("Save", "DocInfoAllInOne").await);
    // And back, all in one message that also has what cannot be.
    page.send(json!({ "Type": "Request", "Commands": [
        { "Command": "Set", "Operand": "DocInfoAllInOne", "Param": "False" },
        { "Command": "Set", "Operand": "WantFieldSource", "Param": "perhaps" },
        { "Command": "Set", "Operand": "Colour", "Param": "True" },
        { "Command": "Get", "Operand": "DocInfoAllInOne" },
        { "Command": "Set", "Operand": "WantFieldSource", "Param": false },
    ]}))
    .await;
    let reply = page.reply().await;
    let succeeded: Vec<_> =
        reply["Commands"].as_array().unwrap().iter().map(|one| one["Succeeded"].clone()).collect();
    assert_eq!(succeeded, ["Y", "N", "N", "Y", "Y"], "{reply}");
    assert_eq!(reply["Commands"][3]["Result"], "False");
    site.happened(Happening::TakenAway);
    site.lay_down(resident());
    assert_eq!(page.notice("Save", "CardContentText").await["姓名"], "张三");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cards_are_told_as_they_come_and_go_where_a_page_wants_to_know() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    // Neither is on: only what is read.
    site.lay_down(resident());
    assert_eq!(page.next().await["Operand"], "CardContentText");
    assert_eq!(page.next().await["Operand"], "Images");
    site.happened(Happening::TakenAway);
    let kinds = async |page: &mut Page, count: usize| {
        let mut kinds = Vec::new();
        for _ in 0..count {
            let message = page.next().await;
            kinds.push(message["Command"].as_str().unwrap().to_owned());
        }
        kinds
    };
    page.set("IfEnableCallback", json!("True")).await;
    site.lay_down(resident());
    assert_eq!(kinds(&mut page, 3).await, ["CardDetected", "Save", "Save"]);
    site.happened(Happening::TakenAway);
    page.set("IfNotifyCardDetected", json!("True")).await;
    page.set("IfEnableCallback", json!("False")).await;
    assert_eq!(page.get("CardPosition", Value::Null).await, "N");
    site.lay_down(resident());
    site.happened(Happening::TakenAway);
    assert_eq!(kinds(&mut page, 4).await, ["CardDetected", "Save", "Save", "CardTakenaway"]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_given_by_their_bits() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    let failed = page.constant("AcquireImageFailed").await;
    for operand in ["Base64Image", "TakePhotoOcr", "ImageMessage"] {
        let reply = page.request("Get", operand, json!(17)).await;
        assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!(failed)), "{reply}");
    }
    let reply = page.request("Set", "TakePhoto", json!(21)).await;
    assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!(failed)));
    site.lay_down(passport());
    let text = page.notice("Save", "CardContentText").await;
    assert_eq!((&text["CARD_MAINID"], &text["CARD_NAME"]), (&json!("13"), &json!("护照")));
    assert_eq!(text["MRZ2"], "L898902C36UTO7408122F1204159ZE184226B<<<<<10");
    let images = page.notice("Save", "Images").await;
    let names: Vec<_> = images.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["ChipHead", "IR", "OcrHead", "White"]);
    // 4.5: 17 is the white picture and the chip's; as text in 5.5.
    assert_eq!(
        page.get("Base64Image", json!("17")).await,
        json!({ "White": url(&jpeg(10)), "ChipHead": url(&jpeg(40)) })
    );
    assert_eq!(page.get("Base64Image", json!(8)).await, json!({ "OcrHead": url(&jpeg(30)) }));
    for wrong in [json!(32), json!(-1), json!("white"), json!([1])] {
        let reply = page.request("Get", "Base64Image", wrong.clone()).await;
        assert_eq!(reply["Succeeded"], "N", "{wrong}");
    }
    // There is no ultraviolet picture.
    assert_eq!(page.request("Get", "Base64Image", json!(4)).await["Result"], failed.as_str());
    // As pages in the field do: the bits with TakePhoto, then the pictures without any.
    page.set("TakePhoto", json!(2)).await;
    assert_eq!(page.get("Base64Image", Value::Null).await, json!({ "IR": url(&jpeg(20)) }));
    assert_eq!(page.get("TakePhotoOcr", json!(21)).await, "");
    assert_eq!(page.notice("Save", "CardContentText").await["护照号码"], "L898902C3");
    page.notice("Save", "Images").await;
    page.send(json!({ "Type": "Notify", "Command": "Get", "Operand": "ImageMessage", "Param": 2 })).await;
    assert_eq!(page.notice("Save", "Images").await["White"], url(&jpeg(10)));
    // Shortly after it was taken away its pictures are still there, but there is nothing to photograph.
    site.happened(Happening::TakenAway);
    site.happened(Happening::Failed { why: "a mark that this has been heard".into() });
    page.notice("Display", "RealtimeMessage").await;
    assert_eq!(page.get("Base64Image", json!(1)).await, json!({ "White": url(&jpeg(10)) }));
    assert_eq!(page.request("Get", "TakePhotoOcr", json!(21)).await["Succeeded"], "N");
    // The reader gone, nothing is kept.
    site.happened(Happening::Offline { why: "the cable is out".into() });
    page.notice("Display", "RealtimeMessage").await;
    assert_eq!(page.request("Get", "Base64Image", json!(1)).await["Succeeded"], "N");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pictures_that_the_owner_wants_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start_as(folder.path(), Language::Chinese, |service| {
        service.pictures = vec!["SidHead".into(), "SidFront".into()];
        service.font = "/nowhere/font.ttf".into();
        service.fingerprints = true;
    })
    .await;
    let mut page = site.page().await;
    let mut reading = resident();
    reading.fingerprints = vec![7; 1024];
    reading.pictures.white = Some(jpeg(1));
    site.lay_down(reading);
    let images = page.notice("Save", "Images").await;
    assert_eq!(images, json!({ "SidHead": url(&jpeg(200)) }), "without a font nothing is drawn");
    let custom = page.notice("Save", "CustomData").await;
    assert_eq!(custom["FpOfSid"], base64::engine::general_purpose::STANDARD.encode([7; 1024]));
    // However they are asked for.
    for operand in ["Base64Image", "TakePhoto"] {
        assert_eq!(page.get(operand, json!(31)).await, json!({ "SidHead": url(&jpeg(200)) }), "{operand}");
    }
    assert_eq!(page.request("Get", "Base64Image", json!(1)).await["Succeeded"], "N");
    for operand in ["ImageMessage", "TakePhotoOcr"] {
        page.get(operand, Value::Null).await;
        assert_eq!(page.notice("Save", "Images").await, json!({ "SidHead": url(&jpeg(200)) }), "{operand}");
    }
    assert_eq!(site.server.drawings(), 0);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_have_switched_off_is_not_to_be_had_by_another_way() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    site.lay_down(passport());
    page.notice("Save", "Images").await;
    let names = async |page: &mut Page, operand: &str| {
        let images = page.get(operand, json!(31)).await;
        images.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    page.set("RFID", json!("False")).await;
    for operand in ["Base64Image", "TakePhoto"] {
        assert_eq!(names(&mut page, operand).await, ["IR", "OcrHead", "White"], "{operand}");
    }
    page.set("RFID", json!("True")).await;
    page.set("VIZ", json!("False")).await;
    for operand in ["Base64Image", "TakePhoto"] {
        assert_eq!(names(&mut page, operand).await, ["ChipHead"], "{operand}");
    }
    page.set("VIZ", json!("True")).await;
    // A page that wants identity cards alone, and one that wants all.
    let other = Page::open(site.address).await;
    page.send(json!({ "Type": "Notify", "Command": "RecogMode", "Operand": "RecogSpecified", "Param": 2 }))
        .await;
    for operand in ["Base64Image", "TakePhoto", "ImageMessage", "TakePhotoOcr"] {
        let reply = page.request("Get", operand, json!(31)).await;
        assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!("不是指定类型的证件")));
    }
    let mut page = other;
    site.happened(Happening::TakenAway);
    let mut card = resident();
    card.pictures.white = Some(jpeg(99));
    site.lay_down(card);
    page.notice("Save", "Images").await;
    assert_eq!(names(&mut page, "Base64Image").await, ["ChipHead", "SidHead", "White"]);
    page.set("Sid", json!({ "OnlyReadChip": "True" })).await;
    for operand in ["Base64Image", "TakePhoto"] {
        assert_eq!(names(&mut page, operand).await, ["ChipHead", "SidHead"], "{operand}");
    }
    page.get("ImageMessage", Value::Null).await;
    assert_eq!(page.notice("Save", "Images").await.get("White"), None);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_lay_there_before_the_service_ran_again_does_not_lie_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    site.lay_down(resident());
    page.notice("Save", "Images").await;
    assert_eq!(page.get("CardPosition", Value::Null).await, "Y");
    site.stop.send_replace(true);
    (&mut site.served).await.unwrap().unwrap();
    // Nobody listens.
    site.happened(Happening::TakenAway);
    let (stop, stopped) = watch::channel(false);
    let runs = Arc::clone(&site.server);
    site.stop = stop;
    site.served = tokio::spawn(async move { runs.run(stopped).await });
    let mut page = site.page().await;
    assert_eq!(page.get("CardPosition", Value::Null).await, "N");
    let trigger = json!({ "Type": "Notify", "Command": "Trigger", "Operand": "ManualRecog", "Param": { "Timeout": 0.1 } });
    page.send(trigger).await;
    assert_eq!(page.notice("Display", "RealtimeMessage").await, "识别超时，未读到证件");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_waits_for_its_document() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    let mut other = site.page().await;
    let trigger = |command: &str, param: Value| json!({ "Type": "Notify", "Command": command, "Operand": "ManualRecog", "Param": param });
    // Nothing is laid down in time.
    let began = Instant::now();
    page.send(trigger("Trigger", json!({ "Timeout": 0.3 }))).await;
    assert_eq!(page.notice("Display", "RealtimeMessage").await, "识别超时，未读到证件");
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    // Something is.
    page.send(trigger("Trigger", json!(30))).await;
    page.get("OnLineStatus", Value::Null).await;
    site.lay_down(resident());
    assert_eq!(page.notice("Save", "CardContentText").await["姓名"], "张三");
    page.notice("Save", "Images").await;
    // It lies there: whoever asks is told again, and only they.
    page.send(trigger("TriggerEx", json!({ "DocumentId": 2 }))).await;
    assert_eq!(page.notice("Save", "CardContentText").await["姓名"], "张三");
    page.notice("Save", "Images").await;
    for _ in 0..2 {
        assert_eq!(other.next().await["Command"], "Save");
    }
    assert_eq!(other.get("CardPosition", Value::Null).await, "Y");
    // Another kind than was asked for.
    page.send(trigger("TriggerEx", json!({ "DocumentId": 13, "Timeout": 30 }))).await;
    page.get("OnLineStatus", Value::Null).await;
    site.happened(Happening::TakenAway);
    site.lay_down(resident());
    assert_eq!(page.notice("Display", "RealtimeMessage").await, "不是指定类型的证件");
    site.happened(Happening::TakenAway);
    site.lay_down(passport());
    assert_eq!(page.notice("Save", "CardContentText").await["CARD_MAINID"], "13");
    page.notice("Save", "Images").await;
    // Only passports from now on, and all again.
    page.send(json!({ "Type": "Notify", "Command": "RecogMode", "Operand": "RecogSpecified", "Param": 13 }))
        .await;
    page.get("OnLineStatus", Value::Null).await;
    site.happened(Happening::TakenAway);
    site.lay_down(resident());
    assert_eq!(page.notice("Display", "RealtimeMessage").await, "不是指定类型的证件");
    page.send(json!({ "Type": "Notify", "Command": "RecogMode", "Operand": "RecogSpecified", "Param": 0 }))
        .await;
    page.send(trigger("Trigger", json!(2))).await;
    assert_eq!(page.notice("Save", "CardContentText").await["CARD_MAINID"], "2");
    page.notice("Save", "Images").await;
    // What is no time, and no trigger.
    for (message, operand) in [
        (trigger("Trigger", json!("soon")), "ManualRecog"),
        (json!({ "Type": "Notify", "Command": "Trigger", "Operand": "Dance" }), "Dance"),
        (json!({ "Type": "Notify", "Command": "Dance", "Operand": "ManualRecog" }), "ManualRecog"),
    ] {
        page.send(message).await;
        let reply = page.reply().await;
        assert_eq!((&reply["Succeeded"], &reply["Operand"]), (&json!("N"), &json!(operand)), "{reply}");
    }
    site.happened(Happening::Offline { why: "the cable is out".into() });
    page.notice("Display", "RealtimeMessage").await;
    page.send(trigger("Trigger", json!(2))).await;
    assert_eq!(page.notice("Display", "RealtimeMessage").await, "设备未连接");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_does_not_check_out_is_rejected_where_that_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    let mut forged = resident();
    forged.document.number = "110105194912310021".into();
    site.lay_down(forged.clone());
    assert_eq!(page.notice("Save", "CardContentText").await["公民身份号码"], "110105194912310021");
    page.notice("Save", "Images").await;
    page.set("Rejection", json!("True")).await;
    site.happened(Happening::TakenAway);
    site.lay_down(forged);
    let said = page.next().await;
    let rejected = "拒识：证件未通过校验";
    assert_eq!((&said["Command"], &said["Param"]), (&json!("Display"), &json!(rejected)));
    for operand in ["Base64Image", "TakePhoto", "ImageMessage", "TakePhotoOcr"] {
        let reply = page.request("Get", operand, json!(31)).await;
        assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!(rejected)), "{operand}");
    }
    page.send(json!({ "Type": "Notify", "Command": "Trigger", "Operand": "ManualRecog", "Param": 1 })).await;
    assert_eq!(page.reply().await["Result"], rejected);
    site.happened(Happening::TakenAway);
    site.lay_down(resident());
    assert_eq!(page.next().await["Param"]["公民身份号码"], NUMBER);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_page_sends_it_is_answered_and_stays_connected() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    for text in ["", "{", r#"{"Type":"Request","Command":"Get","Oper"#, "[]", "null", "{}", "你好"] {
        page.text(text).await;
        let reply = page.reply().await;
        assert_eq!(
            reply,
            json!({ "Type": "Reply", "Command": "", "Operand": "", "Succeeded": "N", "Result": "报文格式不正确" }),
            "{text}"
        );
    }
    let reply = page.request("Get", "ShoeSize", Value::Null).await;
    assert_eq!(
        reply,
        json!({ "Type": "Reply", "Command": "Get", "Operand": "ShoeSize", "Succeeded": "N", "Result": "不支持的操作对象" })
    );
    let reply = page.request("Eat", "DeviceName", Value::Null).await;
    assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!("不支持的指令")));
    let reply = page.request("Get", "WebConstant", json!("Nonsense")).await;
    assert_eq!((&reply["Succeeded"], &reply["Param"]), (&json!("N"), &json!("Nonsense")));
    let reply = page.request("Set", "DGSource", Value::Null).await;
    assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!("本服务不提供芯片原始数据")));
    // A binary frame is the same as a text.
    let bytes = br#"{"Type":"Request","Command":"Get","Operand":"DeviceType"}"#.to_vec();
    page.socket.send(Message::binary(bytes)).await.unwrap();
    assert_eq!(page.reply().await["Result"], "PassportReader");
    page.socket.send(Message::binary(vec![0xFF, 0xFE, 0])).await.unwrap();
    assert_eq!(page.reply().await["Succeeded"], "N");
    let many = vec![json!({ "Command": "Get", "Operand": "DeviceType" }); 257];
    page.send(json!({ "Type": "Request", "Commands": many })).await;
    assert_eq!(page.reply().await["Result"], "一次发送的指令过多");
    // A message that is too long costs the page its connection, and nobody else theirs.
    let mut other = site.page().await;
    let long =
        json!({ "Type": "Request", "Command": "Get", "Operand": "x".repeat(MESSAGE_BYTES) }).to_string();
    page.text(&long).await;
    match page.frame().await {
        Some(Message::Close(Some(close))) => assert_eq!(close.code, CloseCode::Size),
        other => assert!(other.is_none(), "{other:?}"),
    }
    assert_eq!(other.get("DeviceType", Value::Null).await, "PassportReader");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_asks_too_fast_waits_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    let mut other = site.page().await;
    let many = vec![json!({ "Command": "Get", "Operand": "DeviceType" }); 250];
    let began = Instant::now();
    for _ in 0..3 {
        page.send(json!({ "Type": "Request", "Commands": many })).await;
    }
    for _ in 0..3 {
        assert_eq!(page.reply().await["Commands"].as_array().unwrap().len(), 250);
    }
    // 750 commands: 400 at once, 100 more on credit, the others at 100 a second.
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(other.get("DeviceType", Value::Null).await, "PassportReader");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_gets_its_pictures_once_and_a_card_is_drawn_once() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    site.lay_down(resident());
    page.notice("Save", "Images").await;
    assert_eq!(site.server.drawings(), 2);
    let message = |operand: &str, command: &str| {
        let one = json!({ "Command": command, "Operand": operand, "Param": 30 });
        json!({ "Type": "Request", "Commands": vec![one; 256] })
    };
    for operand in ["Base64Image", "TakePhoto", "TakePhotoOcr", "ImageMessage"] {
        page.send(message(operand, "Get")).await;
        let reply = page.reply().await;
        let answers = reply["Commands"].as_array().unwrap();
        let mut given = answers.iter().filter(|one| one["Succeeded"] == "Y");
        assert!(given.next().is_some() && given.next().is_none(), "{operand}");
        assert_eq!((answers.len(), &answers[255]["Result"]), (256, &json!("一次发送的指令过多")));
    }
    page.send(message("ManualRecog", "Trigger")).await;
    assert_eq!(
        page.reply().await["Commands"].as_array().unwrap().len(),
        255,
        "all but the first are refused"
    );
    // The pictures of three messages, each once; whoever comes now is drawn nothing new.
    page.notice("Save", "Images").await;
    let mut late = Page::open(site.address).await;
    late.get("TakePhotoOcr", json!(31)).await;
    assert!(late.notice("Save", "Images").await.get("SidFront").is_some());
    assert_eq!(site.server.drawings(), 2);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_count_for_many_commands() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    site.lay_down(resident());
    page.notice("Save", "Images").await;
    let began = Instant::now();
    for _ in 0..11 {
        assert!(page.get("Base64Image", json!(16)).await.get("SidHead").is_some());
    }
    // 400 at once are seven and a part; the others at two a second.
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_comes_later_does_not_get_what_was_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    page.set("IfNotifyCardDetected", json!("True")).await;
    site.lay_down(resident());
    page.notice("Save", "Images").await;
    // It lies there: anybody may photograph it, and has seen it then.
    let mut second = Page::open(site.address).await;
    assert!(second.get("Base64Image", json!(16)).await.get("SidHead").is_some());
    site.happened(Happening::TakenAway);
    page.notice("CardTakenaway", "RealtimeMessage").await;
    for witness in [&mut page, &mut second] {
        assert!(witness.get("Base64Image", json!(16)).await.get("SidHead").is_some());
    }
    let mut late = Page::open(site.address).await;
    let reply = late.request("Get", "Base64Image", json!(16)).await;
    assert_eq!((&reply["Succeeded"], &reply["Result"]), (&json!("N"), &json!("采集图像失败")));
    // Of the next document neither is told the one before.
    site.happened(Happening::Detected);
    page.notice("CardDetected", "RealtimeMessage").await;
    assert_eq!(page.request("Get", "Base64Image", json!(16)).await["Succeeded"], "N");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_leaves_no_page_behind() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    let mut deaf = site.page().await;
    site.served.abort();
    assert!(site.served.await.unwrap_err().is_cancelled());
    assert!(page.frame().await.is_none() && deaf.frame().await.is_none());
    site.gate.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_room_for_so_many_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut pages = Vec::new();
    for _ in 0..PAGES {
        pages.push(Page::open(site.address).await);
    }
    match connect(site.address, "/echo", None).await.err() {
        Some(tokio_tungstenite::tungstenite::Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    pages[255].get("DeviceType", Value::Null).await;
    // One goes, another may come.
    drop(pages.pop());
    let until = Instant::now() + PATIENCE;
    while connect(site.address, "/echo", None).await.is_err() {
        assert!(Instant::now() < until);
        tokio::task::yield_now().await;
    }
    drop(pages);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_are_few() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(tokio::net::TcpStream::connect(site.address).await.unwrap());
    }
    let mut one_more = tokio::net::TcpStream::connect(site.address).await.unwrap();
    // It is closed without a word, or reset where it has said something.
    let _ = one_more.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut said = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, one_more.read_to_end(&mut said)).await.unwrap();
    assert_eq!(said, b"");
    // The others have their turn as they go.
    drop(silent);
    let until = Instant::now() + PATIENCE;
    loop {
        let mut again = tokio::net::TcpStream::connect(site.address).await.unwrap();
        let _ = again.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut said = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, again.read_to_end(&mut said)).await.unwrap();
        if said.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(Instant::now() < until);
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_none_is_answered_as_the_standard_says() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    // The key of RFC 6455, section 1.3.
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let status = async |version: &str, key: &str, connection: &str| {
        let mut stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
        let head = format!(
            "GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: {connection}\r\n\
             Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let length = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let answer = status("13", key, "keep-alive, Upgrade").await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{answer}"
    );
    let answer = status("8", key, "Upgrade").await;
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("sec-websocket-version: 13"), "{answer}");
    for wrong in ["dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZT09", "????????????????????????", "dGhl"] {
        let answer = status("13", wrong, "Upgrade").await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{wrong}: {answer}");
    }
    assert!(status("13", key, "close").await.starts_with("HTTP/1.1 400"));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_cannot_be_stored_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    page.set("VIZ", json!("False")).await;
    // The store's own file takes no settings any more.
    let store = rusqlite::Connection::open(folder.path().join("store.sqlite")).unwrap();
    store.busy_timeout(PATIENCE).unwrap();
    store
        .execute_batch(
            "CREATE TRIGGER refuse_update BEFORE UPDATE ON settings BEGIN SELECT RAISE(ABORT, 'full'); END;
             CREATE TRIGGER refuse_insert BEFORE INSERT ON settings BEGIN SELECT RAISE(ABORT, 'full'); END;",
        )
        .unwrap();
    page.send(json!({ "Type": "Request", "Commands": [
        { "Command": "Get", "Operand": "VIZ" },
        { "Command": "Set", "Operand": "VIZ", "Param": "True" },
        { "Command": "Get", "Operand": "VIZ" },
        { "Command": "Set", "Operand": "RFID", "Param": "perhaps" },
        { "Command": "Get", "Operand": "DeviceType" },
    ]}))
    .await;
    let reply = page.reply().await;
    let answers: Vec<_> =
        reply["Commands"].as_array().unwrap().iter().map(|one| (&one["Succeeded"], &one["Result"])).collect();
    let (yes, no) = (json!("Y"), json!("N"));
    let expected =
        ["False", "设置无法保存，未生效", "False", "参数不正确", "PassportReader"].map(Value::from);
    assert_eq!(
        answers,
        [
            (&yes, &expected[0]),
            (&no, &expected[1]),
            (&yes, &expected[2]),
            (&no, &expected[3]),
            (&yes, &expected[4])
        ]
    );
    assert_eq!(page.notice("AskForSupport", "RealtimeMessage").await, "WebSocket服务遇到问题，请联系管理员");
    assert!(!site.gate.gate.wanted().viz);
    store.execute_batch("DROP TRIGGER refuse_update; DROP TRIGGER refuse_insert;").unwrap();
    page.set("VIZ", json!("True")).await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_settings_are_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    site.gate.gate.store().put_setting("document_reader", "{\"VIZ\":\"perhaps\"}".into()).await.unwrap();
    site.stop().await;
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    assert_eq!(page.get("VIZ", Value::Null).await, "True");
    page.set("VIZ", json!("False")).await;
    site.stop().await;
}

/// Lets time pass for everything in this test.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn what_was_taken_away_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    page.set("IfNotifyCardDetected", json!("True")).await;
    site.lay_down(resident());
    page.notice("Save", "Images").await;
    site.happened(Happening::TakenAway);
    page.notice("CardTakenaway", "RealtimeMessage").await;
    pass(Duration::from_secs(50)).await;
    assert!(page.get("Base64Image", json!(16)).await.get("SidHead").is_some());
    pass(Duration::from_secs(10)).await;
    assert_eq!(page.request("Get", "Base64Image", json!(16)).await["Succeeded"], "N");
    // One that is never taken away, as far as the reader notices.
    site.lay_down(resident());
    page.notice("Save", "Images").await;
    assert!(page.get("Base64Image", json!(16)).await.get("SidHead").is_some());
    for _ in 0..6 {
        pass(Duration::from_secs(50)).await;
        page.get("DeviceType", Value::Null).await;
    }
    assert_eq!(page.request("Get", "Base64Image", json!(16)).await["Succeeded"], "N");
    assert_eq!(page.get("CardPosition", Value::Null).await, "Y");
    site.stop().await;
}

#[tokio::test]
async fn a_service_that_could_not_follow_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    site.lay_down(resident());
    page.notice("Save", "Images").await;
    assert_eq!(page.get("CardPosition", Value::Null).await, "Y");
    // More at once than it is told of: this test has one thread, and does not let go of it.
    site.happened(Happening::TakenAway);
    for _ in 0..100 {
        site.online();
    }
    let until = Instant::now() + PATIENCE;
    while page.get("CardPosition", Value::Null).await != "N" {
        assert!(Instant::now() < until, "what was taken away lies there for ever");
    }
    assert_eq!(page.request("Get", "Base64Image", json!(16)).await["Succeeded"], "N");
    site.stop().await;
}

#[tokio::test]
async fn a_page_that_says_nothing_is_asked_and_let_go() {
    use futures_util::StreamExt as _;
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut silent = site.page().await;
    let mut alive = site.page().await;
    for _ in 0..5 {
        pass(Duration::from_secs(30)).await;
        // What is read is answered: its side pongs.
        loop {
            let message = tokio::time::timeout(PATIENCE, alive.socket.next()).await.unwrap();
            if matches!(message.unwrap().unwrap(), Message::Ping(_)) {
                break;
            }
        }
        alive.socket.flush().await.unwrap();
        alive.get("DeviceType", Value::Null).await;
    }
    let mut pings = 0;
    while let Some(Ok(message)) = tokio::time::timeout(PATIENCE, silent.socket.next()).await.unwrap() {
        pings += u32::from(matches!(message, Message::Ping(_)));
    }
    // It is looked at every 30 s, and has said something at the beginning.
    assert!((2..=3).contains(&pings), "{pings}");
    site.stop().await;
}

#[tokio::test]
async fn a_page_that_takes_its_pictures_slowly_gets_them() {
    use tokio::io::AsyncReadExt as _;
    const PICTURE: usize = 18 << 20;
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut slow = site.page().await;
    let mut big = passport();
    let picture = [&[0xFF, 0xD8][..], &vec![7; PICTURE]].concat();
    big.pictures = Pictures { white: Some(picture.into()), ..Pictures::default() };
    site.lay_down(big);
    slow.notice("Save", "CardContentText").await;
    let stream = slow.socket.get_mut();
    let mut part = vec![0; 1 << 20];
    // 24 MB in a minute: longer than a page may take nothing, shorter than it may say nothing.
    for taken in 0..PICTURE / part.len() * 4 / 3 - 1 {
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut part)).await.unwrap();
        assert!(read.is_ok(), "cut off after {taken} MiB: {read:?}");
        pass(Duration::from_secs(3)).await;
    }
    site.stop().await;
}

/// A page that is told as a test tells it.
struct Plate(std::sync::mpsc::Receiver<Happening>);

impl IdReader for Plate {
    fn name(&self) -> &str {
        "plate"
    }

    fn look(&mut self, _: &Wanted) -> menshen::Result<Option<Happening>> {
        Ok(self.0.recv_timeout(Duration::from_millis(20)).ok())
    }

    fn period(&self) -> Duration {
        Duration::ZERO
    }
}

/// Chips beneath it, one for each time one is looked for.
struct Chips(std::collections::VecDeque<&'static Passport>);

impl ChipField for Chips {
    fn chip(&mut self, _: Duration) -> menshen::Result<Option<Box<dyn Card>>> {
        Ok(self.0.pop_front().map(|passport| Box::new(passport.chip()) as Box<dyn Card>))
    }

    fn anew(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_cannot_switch_off_what_proves_a_document_of_a_passage() {
    let authority = Authority::new("Authority under test").unwrap();
    let issue = |fault| -> &'static Passport {
        // A virtual chip borrows its passport, and a field gives chips away.
        Box::leak(Box::new(Passport::issue(&authority, Options { fault, ..Options::default() }).unwrap()))
    };
    let (good, forged) = (issue(None), issue(Some(Fault::ReplacedGroup)));
    let certificate = authority.certificate().to_vec();
    let authorities = Box::new(move || {
        let mut trust = Trust::none();
        trust.add(&certificate).map(|()| trust)
    });
    let clock = ManualClock::new("2027-03-01T12:00:00Z".parse().unwrap());
    let (lay, laid) = std::sync::mpsc::channel();
    let chips = Chips([forged, good].into());
    let reader = PassportReader::new(Box::new(Plate(laid)), Box::new(chips), authorities, clock);
    let folder = tempfile::tempdir().unwrap();
    let nowhere = config::Qyzn::new("127.0.0.1:1");
    let gate = Running::start_changed(folder.path(), nowhere, &config::Device::default(), |parts| {
        parts.settings.rules.mode = PassMode::Document;
        parts.devices.id_reader = Some(Box::new(reader));
    });
    let mut happenings = gate.gate.documents();
    let site = Site::over(gate, folder.path(), Language::Chinese, |_| {}).await;
    lay.send(Happening::Online { name: "plate".into(), serial: String::new() }).unwrap();
    let mut page = site.page().await;
    page.set("RFID", json!("False")).await;
    page.set("VIZ", json!("False")).await;
    assert!(site.gate.gate.wanted().chip && site.gate.gate.wanted().viz);
    let read = |passport: &Passport| {
        Arc::new(Zone::parse(passport.lines(), date(2027, 3, 1)).unwrap().into_reading())
    };
    let mut next = async || loop {
        match tokio::time::timeout(PATIENCE, happenings.recv()).await.unwrap().unwrap() {
            Happening::Online { .. } | Happening::Detected | Happening::TakenAway => {}
            happening => return happening,
        }
    };
    lay.send(Happening::Detected).unwrap();
    lay.send(Happening::Read(read(forged))).unwrap();
    match next().await {
        Happening::Failed { why } => assert!(why.contains("not what a state has signed"), "{why}"),
        other => panic!("{other:?}"),
    }
    lay.send(Happening::TakenAway).unwrap();
    lay.send(Happening::Detected).unwrap();
    lay.send(Happening::Read(read(good))).unwrap();
    match next().await {
        Happening::Read(reading) => {
            assert_eq!(reading.document.photo.as_deref(), Some(good.photo()));
            assert_eq!(reading.chip.unwrap().signed, Some(true));
        }
        other => panic!("{other:?}"),
    }
    // The page is told what it wants: nothing of the chip.
    let text = page.notice("Save", "CardContentText").await;
    assert_eq!(text["护照号码"], "L898902C3");
    assert_eq!(page.request("Get", "Base64Image", json!(31)).await["Succeeded"], "N");
    drop(lay);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_reads_nothing_is_let_go_and_the_others_do_not_wait() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let deaf = site.page().await;
    let mut page = site.page().await;
    let mut big = passport();
    big.pictures.white = Some([&[0xFF, 0xD8][..], &vec![7; 1 << 20]].concat().into());
    let mut longest = Duration::ZERO;
    for count in 0..60 {
        let began = Instant::now();
        site.lay_down(big.clone());
        assert_eq!(page.notice("Save", "CardContentText").await["护照号码"], "L898902C3", "{count}");
        page.notice("Save", "Images").await;
        longest = longest.max(began.elapsed());
        site.happened(Happening::TakenAway);
    }
    // Far below the patience with one that takes nothing.
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    // The deaf one finds what its buffers held, and then the end.
    let mut deaf = deaf;
    let mut heard = 0;
    while deaf.frame().await.is_some() {
        heard += 1;
    }
    assert!(heard < 120, "{heard} of 120");
    assert_eq!(page.get("DeviceType", Value::Null).await, "PassportReader");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_known_origins_may() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start_as(folder.path(), Language::Chinese, |service| {
        service.allowed_origins = vec!["https://desk.example".into()];
    })
    .await;
    let status = async |path: &str, origin: Option<&str>| match connect(site.address, path, origin).await {
        Ok(_) => 101,
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(status("/echo", None).await, 101);
    assert_eq!(status("/", None).await, 101);
    assert_eq!(status("/", Some("https://desk.example")).await, 101);
    for foreign in ["null", "https://evil.example", "http://desk.example", "file://", "http://127.0.0.1"] {
        assert_eq!(status("/echo", Some(foreign)).await, 403, "{foreign}");
    }
    assert_eq!(status("/devs", None).await, 404);
    site.stop().await;
}

/// A TLS connection with the service by `name`, by somebody who has imported its certificate and looks at everything.
async fn as_browsers_do(folder: &Path, address: std::net::SocketAddr, name: &str) -> std::io::Result<()> {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let file = folder.join("document_reader.crt");
    roots.add(rustls::pki_types::CertificateDer::from_pem_file(file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_serves_ws_and_wss_with_a_certificate_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let trust = menshen::tls::Trust::Pinned(folder.path().join("document_reader.crt"));
    let client = menshen::tls::client(&trust).unwrap();
    for name in ["127.0.0.1", "localhost"] {
        let stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
        let stream = menshen::tls::connect(&client, name, stream).await.unwrap();
        let request = format!("wss://{name}:{}/echo", site.address.port());
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        let ask = json!({ "Type": "Request", "Command": "Get", "Operand": "DeviceType" });
        socket.send(Message::text(ask.to_string())).await.unwrap();
        use futures_util::StreamExt as _;
        let reply = loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) if text.contains("Reply") => break text,
                _ => {}
            }
        };
        assert!(reply.contains("PassportReader"), "{reply}");
    }
    // As browsers look at it: with names and dates, and nobody trusted but who is imported.
    for (name, good) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("localhost", true),
        ("192.0.2.7", false),
        ("desk.example", false),
    ] {
        let ended = as_browsers_do(folder.path(), site.address, name).await;
        assert_eq!(ended.is_ok(), good, "{name}: {ended:?}");
        if let Err(error) = ended {
            assert!(error.to_string().contains("not valid for name"), "{error}");
        }
    }
    site.page().await;
    // A browser that is to accept the certificate is shown something.
    let mut stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("证件阅读服务正在运行"), "{answer}");
    // What is neither TLS nor HTTP ends, and nothing else does.
    let mut stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
    stream.write_all(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5]).await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    site.page().await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_can_be_a_page_of_another_service() {
    let (folder, other_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let site = Site::start(folder.path()).await;
    let device = config::Device {
        id_reader: format!("document_reader:ws://{}/echo", site.address),
        ..config::Device::default()
    };
    let mut second = Running::start_linked(other_folder.path(), &device, |_, mut stopped| async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
        Ok(())
    });
    let mut happenings = second.gate.documents();
    let online = second.event(|event| event.kind == "reader" && event.fields["reader"] == "id_reader").await;
    assert_eq!((&online.fields["state"], &online.fields["name"]), (&json!("online"), &json!("SDT")));
    let mut next = async || loop {
        match tokio::time::timeout(PATIENCE, happenings.recv()).await.unwrap().unwrap() {
            Happening::Online { .. } => {}
            happening => return happening,
        }
    };
    // In each form in which services tell of documents.
    let mut page = site.page().await;
    for (all_in_one, source) in [("False", "False"), ("True", "True"), ("False", "True")] {
        page.set("DocInfoAllInOne", json!(all_in_one)).await;
        page.set("WantFieldSource", json!(source)).await;
        site.lay_down(resident());
        assert!(matches!(next().await, Happening::Detected));
        let Happening::Read(reading) = next().await else { panic!("a reading") };
        let mut expected = resident().document;
        // The way through a page's message loses nothing.
        assert_eq!(reading.document.photo, expected.photo);
        let mut document = reading.document.clone();
        (document.photo, expected.photo) = (None, None);
        assert!(document == expected, "all facts are the same");
        site.happened(Happening::TakenAway);
        assert!(matches!(next().await, Happening::TakenAway));
    }
    // What another page has set is set back: the settings are the service's. What it rejects is told as not read.
    page.set("RFID", json!("False")).await;
    let until = Instant::now() + PATIENCE;
    while page.get("RFID", Value::Null).await != "True" {
        assert!(Instant::now() < until, "the chip is not read any more");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    page.set("Rejection", json!("True")).await;
    let mut forged = resident();
    forged.document.number = "110105194912310021".into();
    site.lay_down(forged);
    assert!(matches!(next().await, Happening::Detected));
    let Happening::Failed { why } = next().await else { panic!("a failure") };
    assert!(why.contains("rejected"), "{why}");
    page.set("Rejection", json!("False")).await;
    site.happened(Happening::TakenAway);
    assert!(matches!(next().await, Happening::TakenAway));
    site.happened(Happening::Offline { why: "the cable is out".into() });
    assert!(matches!(next().await, Happening::Offline { .. }));
    site.online();
    second.event(|event| event.kind == "reader" && event.fields["state"] == "online").await;
    // The service goes, and comes back.
    let address = site.address;
    site.stop().await;
    loop {
        match next().await {
            Happening::Offline { why } => {
                assert!(why.contains(&address.to_string()), "{why}");
                break;
            }
            other => assert!(matches!(other, Happening::Detected | Happening::TakenAway), "{other:?}"),
        }
    }
    let site = Site::start_as(folder.path(), Language::English, |service| service.listen = address).await;
    second.event(|event| event.kind == "reader" && event.fields["state"] == "online").await;
    site.lay_down(passport());
    assert!(matches!(next().await, Happening::Detected));
    let Happening::Read(reading) = next().await else { panic!("a reading") };
    assert_eq!(
        (reading.document.kind, reading.document.number.as_str()),
        (DocumentKind::Passport, "L898902C3")
    );
    assert_eq!(reading.mrz, passport().mrz);
    assert_eq!(reading.pictures.infrared, passport().pictures.infrared);
    site.stop().await;
    second.stop().await;
}

/// Where the log goes that the next test reads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_and_no_event_tells_of_a_person() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // For every thread of this program: the other tests' lines are searched as well.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut page = site.page().await;
    page.set("IfNotifyCardDetected", json!("True")).await;
    site.lay_down(resident());
    page.notice("Save", "CardContentText").await;
    page.notice("Save", "Images").await;
    page.get("Base64Image", json!(16)).await;
    page.text(&format!("{{\"Command\":\"Get\",\"Operand\":\"{NUMBER}\"}}")).await;
    page.reply().await;
    page.text(&format!("{{\"half\":\"{NUMBER}")).await;
    page.reply().await;
    site.happened(Happening::TakenAway);
    site.lay_down(passport());
    page.notice("Save", "CardContentText").await;
    let events: Vec<String> = site
        .gate
        .gate
        .events()
        .subscribe(0)
        .0
        .iter()
        .map(|event| serde_json::to_string(event.as_ref()).unwrap())
        .collect();
    assert!(events.iter().any(|event| event.contains("\"read\"")), "{events:#?}");
    site.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the document reader service listens"), "the log is there");
    let photo = base64::engine::general_purpose::STANDARD.encode(&jpeg(200)[..60]);
    for secret in [NUMBER, "张三", "某省某市", "L898902C3", "ERIKSSON", "P<UTO", photo.as_str()] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
        assert!(!events.iter().any(|event| event.contains(secret)), "{secret}");
    }
}

/// A page as a document camera sees it: 1600 by 1200 pixels with something on each.
fn photographed(salt: u32) -> Arc<[u8]> {
    let (width, height) = (1600_u32, 1200_u32);
    let pixels: Vec<u8> = (0..width * height)
        .flat_map(|at| {
            let (x, y) = (at % width, at / width);
            let grain = (x.wrapping_mul(2654435761) ^ y.wrapping_mul(40503) ^ salt) >> 27;
            [(x / 8 + grain) as u8, (y / 8 + grain) as u8, (180 + grain) as u8]
        })
        .collect();
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, 90)
        .encode(&pixels, width as u16, height as u16, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    bytes.into()
}

/// 200 pages, each asking for the status every second, while identity cards and pages of passports are read in turn; every
/// tenth page asks for all pictures of each. Figures, no judgement:
/// `cargo test --release --test document_reader -- --ignored --nocapture two_hundred`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn two_hundred_pages() {
    const PAGES: usize = 200;
    const ASKING: usize = 10;
    const SECONDS: u64 = 20;
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(folder.path()).await;
    let mut travel = passport();
    travel.pictures =
        Pictures { white: Some(photographed(1)), printed_photo: Some(jpeg(30)), ..Pictures::default() };
    let white = travel.pictures.white.as_ref().map_or(0, |white| white.len());
    let asked_for = Arc::new(Mutex::new(Vec::new()));
    let statuses = Arc::new(Mutex::new(Vec::new()));
    let pushes = Arc::new(Mutex::new(Vec::new()));
    let laid = Arc::new(Mutex::new(Instant::now()));
    let ticks = || -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let mut pages = Vec::new();
    for _ in 0..PAGES {
        pages.push(site.page().await);
    }
    let (began, cpu) = (Instant::now(), ticks());
    let end = began + Duration::from_secs(SECONDS);
    let mut tasks = Vec::new();
    for (index, mut page) in pages.into_iter().enumerate() {
        let (statuses, pushes, laid) = (Arc::clone(&statuses), Arc::clone(&pushes), Arc::clone(&laid));
        let asked_for = Arc::clone(&asked_for);
        tasks.push(tokio::spawn(async move {
            let phase = Duration::from_millis(index as u64 * 1000 / PAGES as u64);
            let start = tokio::time::Instant::now() + phase;
            let mut tick = tokio::time::interval_at(start, Duration::from_secs(1));
            let mut asked = Instant::now();
            let mut wanted = Instant::now();
            let pictures = json!({ "Type": "Request", "Command": "Get", "Operand": "Base64Image", "Param": 31 })
                .to_string();
            let request = json!({ "Type": "Request", "Commands": [
                { "Command": "Get", "Operand": "OnLineStatus" }, { "Command": "Get", "Operand": "DeviceName" },
                { "Command": "Get", "Operand": "DeviceType" }, { "Command": "Get", "Operand": "DeviceSerialNo" },
                { "Command": "Get", "Operand": "VersionInfo" } ]})
            .to_string();
            while Instant::now() < end {
                tokio::select! {
                    _ = tick.tick() => {
                        asked = Instant::now();
                        page.text(&request).await;
                    }
                    frame = page.frame() => match frame {
                        Some(Message::Text(text)) if text.starts_with("{\"Type\":\"Reply\",\"Command\":\"Get\"") => {
                            assert!(text.contains("data:image/jpeg"), "no pictures");
                            asked_for.lock().unwrap().push(wanted.elapsed());
                        }
                        Some(Message::Text(text)) if text.starts_with("{\"Type\":\"Reply\"") => {
                            statuses.lock().unwrap().push(asked.elapsed());
                        }
                        Some(Message::Text(text)) if text.contains("\"Images\"") => {
                            let since = laid.lock().unwrap().elapsed();
                            pushes.lock().unwrap().push(since);
                            if index % ASKING == 0 {
                                wanted = Instant::now();
                                page.text(&pictures).await;
                            }
                        }
                        Some(_) => {}
                        None => panic!("a page was let go"),
                    },
                }
            }
        }));
    }
    let mut documents = 0;
    while Instant::now() + Duration::from_secs(1) < end {
        *laid.lock().unwrap() = Instant::now();
        site.lay_down(if documents % 2 == 0 { resident() } else { travel.clone() });
        documents += 1;
        tokio::time::sleep(Duration::from_secs(2)).await;
        site.happened(Happening::TakenAway);
    }
    for task in tasks {
        task.await.unwrap();
    }
    let used = ticks() - cpu;
    let spread = |times: &Mutex<Vec<Duration>>| {
        let mut times = times.lock().unwrap().clone();
        times.sort();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
        format!(
            "{} of them, p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            times.len(),
            at(0.5),
            at(0.95),
            at(0.99),
            at(1.0)
        )
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{PAGES} pages, {SECONDS} s, {documents} documents: identity cards with photo and both sides drawn, and pages of \
         passports with {} KiB",
        white >> 10
    )
    .unwrap();
    writeln!(out, "status answered: {}", spread(&statuses)).unwrap();
    writeln!(out, "document at the page: {}", spread(&pushes)).unwrap();
    writeln!(out, "pictures asked for by every tenth page: {}", spread(&asked_for)).unwrap();
    writeln!(out, "processor, pages and service together: {:.1} % of one core", used as f64 / SECONDS as f64)
        .unwrap();
    site.stop().await;
}
