//! The live page in a real browser, over a running agent: `tests/browser/live_page.py` looks, this file runs the
//! gate it looks at. `MENSHEN_SCREENSHOTS=DIR` keeps what it saw.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod process;
}

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::process::{PATIENCE, Process, free_address, menshen, prepared};

/// As in `live_page.py`.
const HOSTILE: &str = "<img src=x onerror=\"window.hostile=1\">";

fn configuration(folder: &Path, page: SocketAddr, token: &str) -> PathBuf {
    let file = folder.join("menshen.toml");
    let config = format!(
        "[terminal]\ndata_dir = {data:?}\n[[camera]]\nrole = \"visible\"\nsource = \"files:{frames}\"\nfps = 15\n\
         [vision]\nmodels_dir = {models:?}\n[service]\nadmin = {{ listen = \"{page}\"{token} }}\n",
        data = folder.join("data"),
        frames = prepared(".setup/demo/frames").display(),
        models = prepared("models"),
    );
    std::fs::write(&file, config).unwrap();
    file
}

fn run(config: &Path, page: SocketAddr) -> Process {
    let mut command = menshen();
    command.arg("run").arg("--config").arg(config);
    let mut process = Process::start(command);
    let until = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(page).is_err() {
        assert!(Instant::now() < until, "the agent does not serve its page");
        assert!(process.child.try_wait().unwrap().is_none(), "the agent has ended");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    process
}

#[test]
fn the_page_shows_what_happens_at_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let page = free_address();
    let config = configuration(folder.path(), page, "");
    for (id, name, card, picture) in
        [("100001", "张三", "1234567", "A.jpg"), ("100002", HOSTILE, "7654321", "B.jpg")]
    {
        let picture = prepared(&format!(".setup/demo/enrol/{picture}"));
        let enrolled = menshen()
            .args(["enroll", "--id", id, "--name", name, "--card", card, "--config"])
            .args([&config, &picture])
            .output()
            .unwrap();
        assert!(enrolled.status.success(), "{}", String::from_utf8_lossy(&enrolled.stderr));
    }
    let mut agent = run(&config, page);

    let mut browser = Command::new("python3");
    browser.arg("tests/browser/live_page.py").arg(format!("http://{page}/"));
    if let Some(folder) = std::env::var_os("MENSHEN_SCREENSHOTS") {
        std::fs::create_dir_all(&folder).unwrap();
        browser.arg(folder);
    }
    let mut browser = browser.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut go_on = browser.stdin.take().unwrap();
    let mut said = Vec::new();
    for line in BufReader::new(browser.stdout.take().unwrap()).lines().map_while(Result::ok) {
        if line == "restart" {
            assert_eq!(agent.stop(), Some(0), "the agent stops well while a page looks on");
            // The page must have noticed before the gate is there again, so the browser says when: it asks for
            // nothing, it is told.
            continue;
        }
        if line.contains("shows nothing that is no longer true") {
            agent = run(&config, page);
            go_on.write_all(b"restarted\n").unwrap();
        }
        said.push(line);
    }
    let ended = browser.wait().unwrap();
    assert!(ended.success(), "{}", said.join("\n"));
    assert!(said.last().is_some_and(|line| line.contains("after a restart")), "{}", said.join("\n"));
}

#[test]
fn the_page_asks_for_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let page = free_address();
    let token = "correct-horse-battery";
    let file = folder.path().join("token");
    std::fs::write(&file, token).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = configuration(folder.path(), page, &format!(", token_file = {file:?}"));
    let _agent = run(&config, page);
    let looked = Command::new("python3")
        .arg("tests/browser/token_page.py")
        .arg(format!("http://{page}/"))
        .arg(token)
        .output()
        .unwrap();
    assert!(
        looked.status.success(),
        "{}{}",
        String::from_utf8_lossy(&looked.stdout),
        String::from_utf8_lossy(&looked.stderr)
    );
}

#[test]
fn the_page_calls_a_room() {
    let folder = tempfile::tempdir().unwrap();
    let (page, platform) = (free_address(), free_address());
    let mut simulator = menshen();
    simulator.args(["simulate", "qyzn", "--listen", &platform.to_string()]);
    let mut simulator = Process::start(simulator);
    simulator.line("the address", |line| line.contains("listens on"));
    let config = configuration(folder.path(), page, "");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str(&format!(
        "[platform.qyzn]\nserver = \"{platform}\"\n[intercom]\nmedia = \"sim:answer,open;ring\"\n"
    ));
    std::fs::write(&config, text).unwrap();
    let _agent = run(&config, page);
    simulator.line("a login", |line| line.contains("logged in"));
    let mut browser = Command::new("python3");
    browser.arg("tests/browser/call_page.py").arg(format!("http://{page}/"));
    if let Some(folder) = std::env::var_os("MENSHEN_SCREENSHOTS") {
        std::fs::create_dir_all(&folder).unwrap();
        browser.arg(folder);
    }
    let looked = browser.output().unwrap();
    assert!(
        looked.status.success(),
        "{}{}",
        String::from_utf8_lossy(&looked.stdout),
        String::from_utf8_lossy(&looked.stderr)
    );
    simulator.line("the last result", |line| line.contains("\"callResult\":1"));
    assert_eq!(simulator.stop(), Some(0), "the gate kept to the document");
}
