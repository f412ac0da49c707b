//! A page such as integrators write it, in a real browser, at the document reader service: `tests/browser/desk_page.py`
//! drives it, this file is the gate. `MENSHEN_SCREENSHOTS=DIR` keeps what was to be seen.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod page;
    pub mod process;
    pub mod vision;
}

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use jiff::civil::date;
use menshen::config::{self, Config, DocumentReader};
use menshen::document::{Document, Happening, Reading};
use menshen::gate::Gate;
use menshen::service::document_reader::Server;
use menshen::text::Language;
use serde_json::{Value, json};
use support::gate::Running;
use support::page::{PATIENCE, Page};
use support::process::{Agent, free_address, menshen};
use tokio::sync::watch;

/// A page, and what it says.
struct Browser {
    child: Child,
    go_on: ChildStdin,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    /// Where the page comes from.
    origin: String,
}

impl Browser {
    fn start(language: &str, foreign: &str) -> Self {
        let mut command = Command::new("python3");
        command.args(["tests/browser/desk_page.py", language, "-", foreign]);
        if let Some(folder) = std::env::var_os("MENSHEN_SCREENSHOTS") {
            std::fs::create_dir_all(&folder).unwrap();
            command.arg(folder);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let go_on = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let origin = first.strip_prefix("page ").expect("its origin").to_owned();
        Self { child, go_on, lines, origin }
    }

    fn go_on(&mut self, with: &str) {
        writeln!(self.go_on, "{with}").unwrap();
    }
}

struct Service {
    stop: watch::Sender<bool>,
    served: tokio::task::JoinHandle<menshen::Result<()>>,
}

impl Service {
    async fn start(gate: &Gate, folder: &Path, language: Language, listen: SocketAddr, origin: &str) -> Self {
        let service =
            DocumentReader { allowed_origins: vec![origin.to_owned()], ..DocumentReader::new(listen) };
        let mut config = Config::default();
        config.terminal.data_dir = folder.to_owned();
        config.terminal.language = language;
        let server = Server::bind(gate.clone(), &config, &service).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        Self { stop, served: tokio::spawn(async move { server.run(stopped).await }) }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        self.served.await.unwrap().unwrap();
    }
}

fn resident() -> Happening {
    let mut photo = Vec::new();
    let pixels: Vec<u8> =
        (0..102 * 126).flat_map(|at: u32| [(at % 102) as u8 * 2, (at / 126) as u8, 90]).collect();
    jpeg_encoder::Encoder::new(&mut photo, 90)
        .encode(&pixels, 102, 126, jpeg_encoder::ColorType::Rgb)
        .unwrap();
    let document = Document {
        number: "11010519491231002X".into(),
        name: "张三".into(),
        gender: "男".into(),
        ethnic: "汉".into(),
        birthday: Some(date(1949, 12, 31)),
        address: "某省某市某街道某某路某某小区12号楼3单元401室".into(),
        issuer: "某市公安局".into(),
        valid_from: Some(date(2010, 1, 1)),
        expires: Some(date(2030, 1, 1)),
        photo: Some(photo.into()),
        ..Document::default()
    };
    Happening::Read(Arc::new(Reading { document, ..Reading::default() }))
}

async fn page(language: Language, scheme: &str, foreign: bool) {
    let folder = tempfile::tempdir().unwrap();
    let gate =
        Running::start_linked(folder.path(), &config::Device::default(), |_, mut stopped| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
            Ok(())
        });
    let online = || Happening::Online { name: "SDT".into(), serial: "SERIAL-1".into() };
    gate.gate.happened(online());
    let code = if language == Language::Chinese { "zh" } else { "en" };
    let (code, foreign) = (code.to_owned(), if foreign { "yes" } else { "no" });
    let mut browser = tokio::task::spawn_blocking(move || Browser::start(&code, foreign)).await.unwrap();
    let listen = free_address();
    let origin = if foreign == "yes" { "https://desk.example".to_owned() } else { browser.origin.clone() };
    let mut service = Service::start(&gate.gate, folder.path(), language, listen, &origin).await;
    browser.go_on(&format!("{scheme}://{listen}/echo"));
    let mut said = Vec::new();
    loop {
        let (back, line) = tokio::task::spawn_blocking(move || {
            let line = browser.lines.next();
            (browser, line)
        })
        .await
        .unwrap();
        browser = back;
        let Some(Ok(line)) = line else { break };
        said.push(line.clone());
        let happen = |happening| gate.gate.happened(happening);
        match line.strip_prefix("want ") {
            Some("lay down") => {
                happen(Happening::Detected);
                happen(resident());
            }
            Some("take away") => happen(Happening::TakenAway),
            Some("fail") => {
                happen(Happening::Detected);
                happen(Happening::Failed { why: "lifted too early".into() });
                happen(Happening::TakenAway);
            }
            Some("unplug") => happen(Happening::Offline { why: "the cable is out".into() }),
            Some("plug in") => happen(online()),
            Some("restart") => {
                service.stop().await;
                service = Service::start(&gate.gate, folder.path(), language, listen, &origin).await;
            }
            _ => continue,
        }
        browser.go_on("done");
    }
    let ended = tokio::task::spawn_blocking(move || browser.child.wait().unwrap()).await.unwrap();
    assert!(ended.success(), "{}", said.join("\n"));
    let last = if foreign == "yes" { "does not come in" } else { "no complaints" };
    assert!(said.last().is_some_and(|line| line.contains(last)), "{}", said.join("\n"));
    service.stop().await;
    gate.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_chinese() {
    page(Language::Chinese, "ws", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_english_over_tls() {
    page(Language::English, "wss", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin() {
    page(Language::Chinese, "ws", true).await;
}

/// The program as a user starts it: the service of the configuration, and its end. Nothing of the document is in the log.
#[tokio::test(flavor = "multi_thread")]
async fn the_agent_serves_pages_and_tells_them_before_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let config = format!(
        "[terminal]\ndata_dir = {data:?}\n[device]\nid_reader = \"sim\"\n[log]\nfilter = \"trace\"\n\
         [service.document_reader]\nlisten = \"{listen}\"\n",
        data = folder.path().join("data"),
    );
    let log = folder.path().join("log");
    let errors = std::fs::File::create(&log).unwrap();
    let root = folder.path().to_owned();
    let mut agent = tokio::task::spawn_blocking(move || {
        Agent::start_prepared(&root, &config, &support::process::prepared("models"), |command| {
            command.stderr(errors);
        })
    })
    .await
    .unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(listen).await.is_err() {
        assert!(tokio::time::Instant::now() < until, "the agent does not serve pages");
        // A port cannot be waited for but by trying.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut page = Page::open(listen).await;
    let connected = page.constant("DeviceConnected").await;
    while page.get("OnLineStatus", Value::Null).await != connected.as_str() {
        tokio::task::yield_now().await;
    }
    page.set("IfNotifyCardDetected", json!("True")).await;
    let config = folder.path().join("menshen.toml");
    let presented = tokio::task::spawn_blocking(move || {
        let mut command = menshen();
        command.args(["present", "document", "--number", "11010519491231002X", "--name", "张三", "--config"]);
        command.arg(config).output().unwrap()
    })
    .await
    .unwrap();
    assert!(presented.status.success(), "{}", String::from_utf8_lossy(&presented.stderr));
    page.notice("CardDetected", "RealtimeMessage").await;
    assert_eq!(page.notice("Save", "CardContentText").await["公民身份号码"], "11010519491231002X");
    page.notice("CardTakenaway", "RealtimeMessage").await;
    let stopped = tokio::task::spawn_blocking(move || agent.process.stop());
    assert_eq!(page.notice("RestartService", "RealtimeMessage").await, "WebSocket服务需要重新启动");
    page.notice("ReConnect", "RealtimeMessage").await;
    assert_eq!(stopped.await.unwrap(), Some(0));
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("the document reader service listens"), "{log}");
    for secret in ["11010519491231002X", "张三"] {
        assert_eq!(log.lines().find(|line| line.contains(secret)), None, "{secret}");
    }
}
