//! The watchdogs are fed while the gate is alive, and only then.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod process;
}

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use serde_json::json;
use support::process::{Agent, http, prepared};

/// The end of the service manager, which reads all the time: its queue is short.
struct Manager(Receiver<String>);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let (sender, words) = channel();
        std::thread::spawn(move || {
            let mut word = [0; 512];
            loop {
                match socket.recv(&mut word) {
                    Ok(length) => {
                        if sender.send(String::from_utf8(word[..length].to_vec()).unwrap()).is_err() {
                            return;
                        }
                    }
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Interrupted),
                }
            }
        });
        Self(words)
    }

    fn word(&self) -> String {
        self.0.recv_timeout(Duration::from_secs(120)).expect("the agent says something")
    }

    /// The next word that is none of those that it is told all the time.
    fn news(&self) -> String {
        loop {
            let word = self.word();
            if word != "WATCHDOG=1" {
                return word;
            }
        }
    }
}

/// A gate whose camera is not there.
fn gate(folder: &Path, relay: &str) -> (Agent, Manager) {
    gate_with_models(folder, relay, &prepared("models"))
}

fn gate_with_models(folder: &Path, relay: &str, models: &Path) -> (Agent, Manager) {
    let path = folder.join("notify");
    let manager = Manager::at(&path);
    let config = format!(
        "[terminal]\ndata_dir = {data:?}\n[[camera]]\nrole = \"visible\"\nsource = \"files:/nowhere\"\n\
         [device]\nrelay = \"{relay}\"\nwatchdog = \"sim:2\"\nwatchdog_within_s = 15\n",
        data = folder.join("data"),
    );
    let agent = Agent::start_prepared(folder, &config, models, |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000").env_remove("WATCHDOG_PID");
    });
    (agent, manager)
}

#[test]
fn a_gate_that_is_alive_is_fed_until_it_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut agent, manager) = gate(folder.path(), "sim");
    assert_eq!(manager.news(), "READY=1\nSTATUS=ready");
    agent.event("the camera is lost", |event| event["kind"] == "camera" && event["state"] == "lost");
    // For longer than a loop may be late, twice a second; a camera that is not there is no loop that hangs.
    for _ in 0..34 {
        assert_eq!(manager.word(), "WATCHDOG=1");
        agent.event("the watchdog is fed", |event| event["kind"] == "watchdog" && event["state"] == "fed");
    }
    let states: Vec<_> = agent.heard("watchdog").map(|event| event["state"].clone()).collect();
    assert!(states.iter().all(|state| *state == "fed" || *state == "counting"), "{states:?}");
    // What is said all the time pushes out nothing.
    let kept = agent.get("/api/v1/status");
    assert_eq!(
        kept["notices"].as_array().unwrap().iter().filter(|notice| notice["kind"] == "gate_hangs").count(),
        0
    );
    assert_eq!(agent.process.stop(), Some(0));
    assert_eq!(manager.news(), "STOPPING=1");
}

#[test]
fn a_relay_that_does_not_return_starves_it() {
    let folder = tempfile::tempdir().unwrap();
    let (mut agent, manager) = gate(folder.path(), "sim:stuck");
    assert_eq!(manager.news(), "READY=1\nSTATUS=ready");
    assert_eq!(manager.word(), "WATCHDOG=1");
    let page = agent.page;
    // The answer never comes: whoever asks waits until the agent is gone.
    std::thread::spawn(move || std::panic::catch_unwind(|| http(page, "POST", "/api/v1/door/open")));
    let starving = agent
        .event("the loop that hangs", |event| event["kind"] == "watchdog" && event["state"] == "starving");
    assert_eq!(starving["loops"], json!(["outputs"]));
    assert_eq!(manager.news(), "STATUS=hangs: outputs");
    agent.event("the watchdog bites", |event| event["kind"] == "watchdog" && event["state"] == "bites");
    // Nothing came since the status.
    assert_eq!(manager.0.try_recv(), Err(TryRecvError::Empty));
    let status = agent.get("/api/v1/status");
    let hangs = |notice: &serde_json::Value| notice["kind"] == "gate_hangs" && notice["text"] == "outputs";
    let hangs = status["notices"].as_array().unwrap().iter().any(hangs);
    assert!(hangs, "{status}");
}

#[test]
fn a_gate_is_ready_when_its_models_are_loaded_and_is_fed_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    for file in std::fs::read_dir(prepared("models")).unwrap() {
        let file = file.unwrap();
        symlink(file.path(), models.join(file.file_name())).unwrap();
    }
    // The one model that only the camera's thread needs; a medium that is slow to give it.
    let manifest = std::fs::read_to_string(models.join("models.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let slow = models.join(manifest["liveness"]["file"].as_str().unwrap());
    let bytes = std::fs::read(&slow).unwrap();
    std::fs::remove_file(&slow).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &slow, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    // The start reads it once to check it.
    let checked = std::thread::spawn({
        let (slow, bytes) = (slow.clone(), bytes.clone());
        move || std::fs::write(slow, bytes).unwrap()
    });
    let (mut agent, manager) = gate_with_models(folder.path(), "sim", &models);
    checked.join().unwrap();
    // For longer than a loop may be late, twice a second: fed, and not ready.
    for _ in 0..34 {
        assert_eq!(manager.word(), "WATCHDOG=1");
    }
    assert!(!agent.heard("task").any(|event| event["state"] == "ready"));
    std::fs::write(&slow, &bytes).unwrap();
    assert_eq!(manager.news(), "READY=1\nSTATUS=ready");
    agent.event("ready", |event| event["task"] == "agent" && event["state"] == "ready");
    assert_eq!(agent.process.stop(), Some(0));
}
