//! Whether this system is healthy: asked by `menshen healthy`, which decides with it whether a new version stays.
//!
//! Healthy is a gate that lets people pass: its parts run, its models are loaded (it is not ready before), its
//! sessions answer, its store is whole, and its cameras give pictures, at least those that did before the update.
//! A platform that cannot be reached is not the new version's fault. A gate that could not mount its data partition
//! lets nobody pass, whatever else it does.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Event, Events};
use crate::gate::Gate;

/// A part that has failed within this is not healthy.
const FAILED_WITHIN: i64 = 60;

/// How long the sessions may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where the initial RAM disk (`rootfs/initramfs/init`) says why the data partition could not be mounted; not there
/// where all is well.
pub const DATA_LOST: &str = "/run/menshen/data-lost";

/// The longest reason that is taken from there, in characters.
const REASON: usize = 200;

/// Why the data partition could not be mounted, by the file that says so; `None` where there is no such file.
pub fn data_lost(file: &Path) -> Option<String> {
    let why = match std::fs::read(file) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => format!("{} cannot be read: {error}", file.display()),
    };
    let why: String = why.trim().chars().filter(|c| !c.is_control()).take(REASON).collect();
    let why = if why.is_empty() { "the reason is not known" } else { &why };
    Some(format!("the data partition could not be mounted, and what is on it is not there: {why}"))
}

/// What is wrong, in a technician's words; nothing is healthy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// What is.
    pub reasons: Vec<String>,
}

/// The check of the store: once for each run of the agent, as it reads all of it.
#[derive(Debug, Clone, Default)]
enum Store {
    #[default]
    Unknown,
    Checking,
    Sound,
    Damaged(String),
}

/// Looks at the health of a gate.
pub(super) struct Check {
    store: std::sync::Arc<Mutex<Store>>,
    data_lost: PathBuf,
}

impl Check {
    /// `data_lost` is the file that says why the data partition could not be mounted.
    pub(super) fn new(data_lost: PathBuf) -> Self {
        Self { store: std::sync::Arc::default(), data_lost }
    }

    /// Why the data partition could not be mounted, if it was not.
    pub(super) fn data_lost(&self) -> Option<String> {
        data_lost(&self.data_lost)
    }

    /// What is wrong. `cameras` are those that must give pictures.
    pub(super) async fn look(&self, gate: &Gate, cameras: &[usize]) -> Health {
        let mut reasons = of_events(gate.events(), cameras, gate.clock().now());
        match tokio::time::timeout(ANSWER_WITHIN, gate.answers()).await {
            Ok(true) => {}
            // They end with the last camera's thread: a gate without cameras has none, before and after.
            Ok(false) if watching(gate.events()).is_empty() => {}
            Ok(false) | Err(_) => reasons.push("the sessions do not answer: nobody can pass".into()),
        }
        reasons.extend(self.store(gate));
        reasons.extend(self.data_lost());
        Health { healthy: reasons.is_empty(), reasons }
    }

    fn store(&self, gate: &Gate) -> Option<String> {
        let mut state = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            Store::Sound => None,
            Store::Damaged(why) => Some(why.clone()),
            Store::Checking => Some("the store is being checked".into()),
            Store::Unknown => {
                *state = Store::Checking;
                let (state, store) = (std::sync::Arc::clone(&self.store), gate.store().clone());
                tokio::task::spawn_blocking(move || {
                    let checked = match store.quick_check() {
                        Ok(()) => Store::Sound,
                        Err(error) => Store::Damaged(format!("the store is not sound: {error}")),
                    };
                    *state.lock().unwrap_or_else(PoisonError::into_inner) = checked;
                });
                Some("the store is being checked".into())
            }
        }
    }
}

/// What the events say is wrong.
fn of_events(events: &Events, cameras: &[usize], now: jiff::Timestamp) -> Vec<String> {
    let standing = events.standing();
    let field = |event: &Event, name: &str| event.fields.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut reasons = Vec::new();
    let tasks = || standing.iter().filter(|event| event.kind == "task");
    if !tasks().any(|event| {
        field(event, "task").as_deref() == Some("agent") && field(event, "state").as_deref() == Some("ready")
    }) {
        reasons.push("the agent is not ready for faces".into());
    }
    for event in tasks() {
        let recent = now.duration_since(event.time).as_secs() < FAILED_WITHIN;
        if recent && field(event, "state").as_deref() == Some("failed") {
            let (task, error) = (field(event, "task"), field(event, "error"));
            reasons.push(format!(
                "{} failed: {}",
                task.unwrap_or_else(|| "a part of the agent".into()),
                error.unwrap_or_default()
            ));
        }
    }
    let watching = watching(events);
    reasons.extend(
        cameras
            .iter()
            .filter(|camera| !watching.contains(camera))
            .map(|camera| format!("camera {camera} gives no pictures, and did before the update")),
    );
    reasons
}

/// Numbers of the cameras that give pictures.
pub(super) fn watching(events: &Events) -> Vec<usize> {
    let mut cameras: Vec<usize> = events
        .standing()
        .iter()
        .filter(|event| event.kind == "camera" && event.fields.get("state") == Some(&"watching".into()))
        .filter_map(|event| event.fields.get("camera")?.as_u64().and_then(|camera| camera.try_into().ok()))
        .collect();
    cameras.sort_unstable();
    cameras
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    #[test]
    fn why_the_data_partition_is_not_there_is_what_the_initial_ram_disk_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("data-lost");
        assert_eq!(data_lost(&file), None);
        let says = |text: &str| {
            std::fs::write(&file, text).unwrap();
            data_lost(&file).unwrap()
        };
        let begin = "the data partition could not be mounted, and what is on it is not there: ";
        assert_eq!(says("it cannot be repaired\n"), format!("{begin}it cannot be repaired"));
        assert_eq!(says(""), format!("{begin}the reason is not known"));
        assert_eq!(says(&"x".repeat(1000)).len(), begin.len() + 200);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(data_lost(&file).unwrap().contains("data-lost cannot be read: "));
    }

    #[test]
    fn each_thing_that_is_wrong_is_named() {
        let clock = ManualClock::new("2026-03-02T04:00:00Z".parse().unwrap());
        let events = Events::new(clock.clone());
        let reasons = |cameras: &[usize]| of_events(&events, cameras, clock.now());
        assert_eq!(reasons(&[]), ["the agent is not ready for faces"]);
        events.send("task", json!({ "task": "agent", "state": "ready", "ready_ms": 1 }));
        assert_eq!(reasons(&[]), [""; 0]);
        assert_eq!(reasons(&[1]), ["camera 1 gives no pictures, and did before the update"]);
        events.send("camera", json!({ "camera": 0, "state": "watching" }));
        events.send("camera", json!({ "camera": 1, "state": "watching" }));
        assert_eq!((reasons(&[0, 1]), watching(&events)), (vec![], vec![0, 1]));
        events.send("camera", json!({ "camera": 0, "state": "lost", "error": "unplugged" }));
        assert_eq!(reasons(&[0, 1]), ["camera 0 gives no pictures, and did before the update"]);
        assert_eq!(reasons(&[1]), [""; 0], "one that was lost before is not missed");
        events.send("task", json!({ "task": "service.admin", "state": "failed", "error": "no address" }));
        assert_eq!(reasons(&[]), ["service.admin failed: no address"]);
        clock.set("2026-03-02T04:01:00Z".parse().unwrap());
        assert_eq!(reasons(&[]), [""; 0], "it has been started again and runs");
        let _ = Arc::clone(&clock);
    }
}
