//! `device_upgrade` (4.5.2), with a server of packages that does all that servers do.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod vision;
}

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use menshen::config;
use menshen::event::Event;
use menshen::platform::qyzn::{self, requests::Requests};
use menshen::simulate::qyzn::Platform;
use menshen::update::{Options, Updates, installer};
use serde_json::{Value, json};
use support::gate::{Running, platform};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What the server does with one request.
enum Turn {
    /// These bytes, then the end of the connection.
    Say(Vec<u8>),
    /// The head and some of the body, then silence until the test ends it, then the end of the connection.
    Hang(Vec<u8>, Arc<Notify>),
    /// What was asked for of these bytes.
    Rest(Vec<u8>),
}

/// A server that gives each connection one turn, and the heads of the requests.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(turns: Vec<Turn>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&heads);
        tokio::spawn(async move {
            for turn in turns {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = head(&mut stream).await;
                let range = range(&head);
                heard.lock().unwrap().push(head);
                // The gate may hang up amid an answer that it does not want.
                match turn {
                    Turn::Say(bytes) => drop(stream.write_all(&bytes).await),
                    Turn::Hang(bytes, end) => {
                        let _ = stream.write_all(&bytes).await;
                        end.notified().await;
                    }
                    Turn::Rest(package) => {
                        let from = range
                            .unwrap()
                            .trim_start_matches("bytes=")
                            .trim_end_matches('-')
                            .parse()
                            .unwrap();
                        let _ = stream.write_all(&rest(&package, from, "\"one\"")).await;
                    }
                }
            }
        });
        Self { address, heads }
    }

    fn url(&self) -> String {
        format!("http://{}/file.bin", self.address)
    }

    /// The `Range` of each request.
    fn ranges(&self) -> Vec<Option<String>> {
        self.heads.lock().unwrap().iter().map(|head| range(head)).collect()
    }
}

fn range(head: &str) -> Option<String> {
    head.lines().find_map(|line| line.strip_prefix("range: ").map(str::to_owned))
}

async fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

/// A package whose bytes are all different from their neighbours'.
fn package(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

fn whole(package: &[u8]) -> Vec<u8> {
    claiming(package, package.len())
}

fn claiming(body: &[u8], length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\netag: \"one\"\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn rest(package: &[u8], from: usize, etag: &str) -> Vec<u8> {
    let (last, len) = (package.len() - 1, package.len());
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-length: {}\r\ncontent-range: bytes {from}-{last}/{len}\r\netag: {etag}\r\n\r\n",
        len - from
    );
    [head.as_bytes(), &package[from..]].concat()
}

fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

fn unsigned() -> config::Update {
    config::Update { installer: "sim".into(), allow_unsigned: true, max_mib: 1, ..config::Update::default() }
}

fn quick(config: &config::Update) -> Options {
    Options { resume_pause: Duration::from_millis(1), ..Options::new(config) }
}

/// A gate at a platform, with upgrades as `config` and `options` have them.
async fn start(folder: &Path, config: config::Update, options: Options) -> (Platform, Running) {
    let (platform, address) = platform().await;
    let data = folder.to_owned();
    let running = Running::start_linked(folder, &config::Device::default(), move |gate, stopped| {
        let installer = installer(&config, gate.events());
        let updates = Updates::with(installer, options, &config, &data, gate.events());
        let terminal = config::Terminal { mac: "0064871ECB01".into(), ..config::Terminal::default() };
        let qyzn = config::Qyzn::new(address.to_string());
        qyzn::run(gate, terminal, qyzn, Requests::default(), updates, stopped)
    });
    platform.wait_until_logged_in().await.unwrap();
    (platform, running)
}

fn order(url: &str, package: &[u8]) -> Value {
    json!({"url": url, "version": "V1.0.2_2018-11-10_12:20 xxx", "check": format!("{:x}", md5::compute(package))})
}

async fn answer(platform: &Platform, data: Value) -> (i64, String) {
    let answer = platform.request("device_upgrade", data).await.unwrap();
    (answer["result"].as_i64().unwrap(), answer["desc"].as_str().unwrap().to_owned())
}

async fn update(running: &mut Running, state: &str) -> Arc<Event> {
    running.event(|event| event.kind == "update" && event.fields["state"] == state).await
}

fn left(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder.join("update")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_is_downloaded_verified_and_installed_once() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = start(folder.path(), unsigned(), quick(&unsigned())).await;
    let package = package(300_000);
    let server = Server::start(vec![Turn::Say(whole(&package))]).await;
    // Every command comes twice: one download, two answers.
    platform.misbehave("repeat".parse().unwrap());
    assert_eq!(answer(&platform, order(&server.url(), &package)).await, (0, "Success".into()));
    let progress = update(&mut running, "downloading").await;
    assert_eq!(progress.fields["total"], 300_000);
    update(&mut running, "verified").await;
    let installed = update(&mut running, "installed").await;
    assert_eq!(installed.fields["version"], "V1.0.2_2018-11-10_12:20 xxx");
    assert_eq!(installed.fields["bytes"], 300_000);
    assert_eq!(installed.fields["md5"], format!("{:x}", md5::compute(&package)));
    platform.misbehave("none".parse().unwrap());
    running.stop().await;
    assert_eq!(server.ranges(), [None]);
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_line_is_resumed_as_far_as_the_server_can() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = start(folder.path(), unsigned(), quick(&unsigned())).await;
    let package = package(400_000);
    let other = vec![7; 400_000];
    let cut = |from: &[u8], at: usize| from[..from.len() - 400_000 + at].to_vec();
    let server = Server::start(vec![
        // Broken off; gone on with; broken off again.
        Turn::Say(cut(&whole(&package), 100_000)),
        Turn::Say({
            let rest = rest(&package, 100_000, "\"one\"");
            rest[..rest.len() - 200_000].to_vec()
        }),
        // Another file under the same address, which says so: anew, of which the first piece comes.
        Turn::Say(rest(&other, 200_000, "\"two\"")),
        Turn::Say(cut(&whole(&package), 50_000)),
        // A range that was not asked for: anew again.
        Turn::Say(rest(&package, 0, "\"one\"")),
        Turn::Say(cut(&whole(&package), 60_000)),
        // A server in trouble, then one that ignores ranges.
        Turn::Say(status("503 Service Unavailable")),
        Turn::Say(whole(&package)),
    ])
    .await;
    assert_eq!(answer(&platform, order(&server.url(), &package)).await, (0, "Success".into()));
    let installed = update(&mut running, "installed").await;
    assert_eq!(installed.fields["md5"], format!("{:x}", md5::compute(&package)));
    let ranges = server.ranges();
    let wanted = [None, Some(100_000), Some(200_000), None, Some(50_000), None, Some(60_000), Some(60_000)];
    assert_eq!(ranges, wanted.map(|from| from.map(|from| format!("bytes={from}-"))));
    assert!(server.heads.lock().unwrap()[1].contains("if-range: \"one\""));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_outlives_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let package = package(1_000_000);
    let silence = Arc::new(Notify::new());
    let first = claiming(&package[..600_000], package.len());
    let server =
        Server::start(vec![Turn::Hang(first, Arc::clone(&silence)), Turn::Rest(package.clone())]).await;
    // Each piece is told, so that the test sees when all of the first has come.
    let options = Options { progress: Duration::ZERO, ..quick(&unsigned()) };
    let (platform, mut running) = start(folder.path(), unsigned(), options.clone()).await;
    let sent = platform.send(None, "device_upgrade", order(&server.url(), &package)).unwrap();
    running.event(|event| event.kind == "update" && event.fields.get("bytes") == Some(&json!(600_000))).await;
    // One at a time.
    let (code, text) = answer(&platform, order("http://127.0.0.1:9/other", b"other")).await;
    assert_eq!((code, text.as_str()), (109, "another upgrade is under way"));
    running.stop().await;
    drop(sent);
    silence.notify_one();
    let (platform, mut running) = start(folder.path(), unsigned(), options).await;
    assert_eq!(answer(&platform, order(&server.url(), &package)).await, (0, "Success".into()));
    let installed = update(&mut running, "installed").await;
    assert_eq!(installed.fields["md5"], format!("{:x}", md5::compute(&package)));
    // Not from the start: at least what had filled the buffer was on the disk.
    let ranges = server.ranges();
    let from: u64 = ranges[1].as_deref().unwrap()[6..].trim_end_matches('-').parse().unwrap();
    assert!((1..=600_000).contains(&from), "{from}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_had_is_answered_by_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = start(folder.path(), unsigned(), quick(&unsigned())).await;
    let package = package(200_000);
    // 200, 104: not worth a connection.
    for url in ["", "ftp://127.0.0.1/file.bin", "http://user:hidden@127.0.0.1/file.bin", "file:///etc/passwd"]
    {
        let (code, text) = answer(&platform, order(url, &package)).await;
        assert_eq!(code, 200, "{url}");
        assert!(text.starts_with("url: ") && !text.contains("hidden"), "{text}");
    }
    let (code, text) = answer(&platform, json!({"url": "http://127.0.0.1/f", "check": "1234"})).await;
    assert_eq!((code, text.starts_with("check: ")), (104, true));
    // 201: nobody there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code, text) = answer(&platform, order(&format!("http://{nobody}/file.bin"), &package)).await;
    assert_eq!(code, 201);
    assert!(text.contains("cannot be reached"), "{text}");
    assert_eq!(update(&mut running, "failed").await.fields["error"], text);
    // 202: an answer, but no package.
    let redirect =
        |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes();
    let endless = |url: &str| (0..6).map(|_| Turn::Say(redirect(url))).collect::<Vec<_>>();
    let breaks = || (0..6).map(|_| Turn::Say(claiming(&[], 200_000))).collect::<Vec<_>>();
    let cases: Vec<(Vec<Turn>, &str)> = vec![
        (vec![Turn::Say(status("404 Not Found"))], "answered 404"),
        (vec![Turn::Say(redirect("file:///etc/passwd"))], "redirects to where nothing is fetched"),
        (endless("/file.bin"), "more than 5 redirects"),
        (vec![Turn::Say(claiming(&[], (1 << 20) + 1))], "longer than update.max_mib = 1"),
        // It does not say how long: what comes is counted.
        (
            vec![Turn::Say(
                [&b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..], &vec![1; 1_100_000]].concat(),
            )],
            "longer than update.max_mib = 1",
        ),
        (breaks(), "broke off"),
        (vec![Turn::Say(b"SSH-2.0-x\r\n".to_vec()), Turn::Say(status("410 Gone"))], "answered 410"),
    ];
    for (turns, what) in cases {
        let server = Server::start(turns).await;
        let (code, text) = answer(&platform, order(&server.url(), &package)).await;
        assert_eq!(code, 202, "{what}: {text}");
        assert!(text.contains(what), "{what}: {text}");
    }
    // 203: a file of the right length that is another, and one that the server cut short without a word.
    for body in [vec![9; 200_000], package[..1000].to_vec()] {
        let server = Server::start(vec![Turn::Say(whole(&body))]).await;
        let (code, text) = answer(&platform, order(&server.url(), &package)).await;
        assert_eq!(code, 203);
        assert!(text.contains(&format!("{:x}", md5::compute(&body))), "{text}");
    }
    // Nothing stays of all these, and the next order is taken.
    assert_eq!(left(folder.path()), ["package.json"]);
    let server = Server::start(vec![Turn::Say(whole(&package))]).await;
    assert_eq!(answer(&platform, order(&server.url(), &package)).await.0, 0);
    update(&mut running, "installed").await;
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_of_two_files_are_found_out_and_fetched_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, mut running) = start(folder.path(), unsigned(), quick(&unsigned())).await;
    let (old, new) = (vec![1; 100_000], package(100_000));
    // No ETag, the same length: only the checksum can tell.
    let without = |mut bytes: Vec<u8>| {
        let at = bytes.windows(6).position(|window| window == b"etag: ").unwrap();
        bytes[at..at + 6].copy_from_slice(b"xtag: ");
        bytes
    };
    let server = Server::start(vec![
        Turn::Say(without(claiming(&old[..40_000], 100_000))),
        Turn::Say(without(rest(&new, 40_000, "\"x\""))),
        Turn::Say(without(whole(&new))),
    ])
    .await;
    assert_eq!(answer(&platform, order(&server.url(), &new)).await.0, 0);
    update(&mut running, "installed").await;
    assert_eq!(server.ranges(), [None, Some("bytes=40000-".into()), None]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_signature_an_installer_or_room_nothing_is_installed() {
    let package = package(100_000);
    let signed_only = config::Update { allow_unsigned: false, ..unsigned() };
    let none = config::Update { installer: "none".into(), ..unsigned() };
    let full = Options { reserve: 1 << 60, ..quick(&unsigned()) };
    let cases = [
        (signed_only.clone(), quick(&signed_only), 203, "no valid signature"),
        (none.clone(), quick(&none), -1, "this build has no installer"),
        (unsigned(), full, 202, "stay in reserve: free some"),
    ];
    for (config, options, wanted, what) in cases {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(vec![Turn::Say(whole(&package))]).await;
        let (platform, running) = start(folder.path(), config, options).await;
        let (code, text) = answer(&platform, order(&server.url(), &package)).await;
        assert_eq!(code, wanted, "{text}");
        assert!(text.contains(what), "{text}");
        running.stop().await;
        let left = folder.path().join("update");
        assert!(!left.join("package").exists() && !left.join("package.part").exists());
    }
}
