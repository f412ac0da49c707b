//! The agent and the simulators as processes, as a user starts them, and what they say.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything takes on a busy machine; an event that has not come by then will not come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An address that is free now.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A path below the repository that the set-up fills.
pub fn prepared(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is not there: run scripts/setup.sh test", path.display());
    path
}

/// The program under test.
pub fn menshen() -> Command {
    Command::new(env!("CARGO_BIN_EXE_menshen"))
}

/// A process that is stopped with the test, and the lines of its standard output.
pub struct Process {
    pub child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// The next line that `wanted` accepts.
    pub fn line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {what} came; before: {:#?}", self.seen),
            }
        }
    }

    /// Kills it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop and waits for its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running agent.
pub struct Agent {
    pub process: Process,
    pub page: SocketAddr,
    events: Receiver<Value>,
    heard: Vec<Value>,
}

impl Agent {
    /// Starts one with `config`, to which the page's address is added, in `folder`; waits until it is ready.
    pub fn start(folder: &Path, config: &str) -> Self {
        Self::start_with_models(folder, config, &prepared("models"))
    }

    /// The same with models of its own.
    pub fn start_with_models(folder: &Path, config: &str, models: &Path) -> Self {
        Self::start_prepared(folder, config, models, |_| {})
    }

    /// The same with a command that `prepare` has seen to.
    pub fn start_prepared(
        folder: &Path,
        config: &str,
        models: &Path,
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let page = free_address();
        let file = folder.join("menshen.toml");
        let config = format!(
            "{config}\n[vision]\nmodels_dir = {models:?}\n[service]\nadmin = {{ listen = \"{page}\" }}\n",
        );
        std::fs::write(&file, config).unwrap();
        let mut command = menshen();
        command.arg("run").arg("--config").arg(&file);
        prepare(&mut command);
        let mut process = Process::start(command);
        let events = listen(page, &mut process);
        Self { process, page, events, heard: Vec::new() }
    }

    /// Listens anew to an agent that has begun anew.
    pub fn listen_again(&mut self) {
        self.events = listen(self.page, &mut self.process);
    }

    /// The next event that `wanted` accepts.
    pub fn event(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.event_within(PATIENCE, wanted).unwrap_or_else(|| {
            let recent = self.heard.len().saturating_sub(40);
            panic!("no event with {what} came; before: {:#?}", &self.heard[recent..])
        })
    }

    /// The same, or `None` after `patience`.
    pub fn event_within(&mut self, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let until = Instant::now() + patience;
        loop {
            match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    if event["kind"] != "face" {
                        self.heard.push(event.clone());
                    }
                    if wanted(&event) {
                        return Some(event);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the agent has gone; before: {:#?}", self.heard)
                }
            }
        }
    }

    /// What it has said of a kind so far, as far as the test has waited.
    pub fn heard<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> + 'a {
        self.heard.iter().filter(move |event| event["kind"] == kind)
    }

    /// GET of the API.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = http(self.page, "GET", path);
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }
}

/// A request to the page; status and body.
pub fn http(page: SocketAddr, method: &str, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {page}\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a header") + 4;
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer.split_off(end))
}

/// Connects to the agent's events as soon as it serves them.
fn listen(page: SocketAddr, process: &mut Process) -> Receiver<Value> {
    let until = Instant::now() + PATIENCE;
    let ask = || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(page)?;
        write!(stream, "GET /api/v1/events HTTP/1.0\r\nHost: {page}\r\nAccept: text/event-stream\r\n\r\n")?;
        Ok(stream)
    };
    let stream = loop {
        match ask() {
            Ok(stream) => break stream,
            // Also where an agent that begins anew has let go of the line just now.
            Err(error) => {
                if let Some(status) = process.child.try_wait().unwrap() {
                    panic!("the agent ended with {status} before it was ready");
                }
                assert!(Instant::now() < until, "the agent does not serve its page: {error}");
                // Not a wait for the program's behaviour: a port cannot be waited for but by trying.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    let (sender, events) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let Some(data) = line.strip_prefix("data:") else { continue };
            if let Ok(event) = serde_json::from_str(data)
                && sender.send(event).is_err()
            {
                return;
            }
        }
    });
    events
}
