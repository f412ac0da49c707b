//! The last upgrade: what was tried, how far it came, and why it failed. Kept on the data partition, where the
//! system that is tried and the one that is fallen back to both find it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::choice::Slot;
use crate::error::{Context, Error, Kind, Result};

/// How far an upgrade came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being written to its slot.
    Installing,
    /// It is in its slot; it runs after the next restart, or runs and has not been healthy yet.
    Installed,
    /// It runs and is healthy.
    Good,
    /// It was not installed.
    Failed,
    /// It was started and was not healthy: the system of before runs again.
    RolledBack,
}

/// An upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The version of the package.
    pub version: String,
    /// The version that ran.
    pub from_version: String,
    /// The slot that ran.
    pub from: Option<Slot>,
    /// How far it came.
    pub state: State,
    /// Why it came no further.
    pub why: Option<String>,
    /// When `state` came about.
    pub time: Timestamp,
    /// The start of the machine in which `state` came about (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
    /// Numbers of the cameras that gave pictures before: those that the new version must have too.
    #[serde(default)]
    pub cameras: Vec<usize>,
    /// Whether the restart into it has been ordered: once is enough for a machine that does not go down.
    #[serde(default)]
    pub ordered: bool,
    /// Versions that were rolled back since one was good: nobody but a person brings them again.
    #[serde(default)]
    pub rolled_back: Vec<String>,
}

/// What the system on trial found wrong with itself before it gave up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The slot on trial.
    pub slot: Option<Slot>,
    /// What was wrong.
    pub why: String,
}

/// What a start of the machine means for an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing new.
    Nothing,
    /// It is installed and waits for a restart.
    Restart,
    /// It runs and must prove itself.
    OnTrial,
    /// It failed, for this reason.
    Failed(String),
    /// It was rolled back, for this reason.
    RolledBack(String),
}

/// Versions that were rolled back are remembered up to this number.
const REMEMBERED: usize = 32;

impl Attempt {
    /// The versions that were rolled back since one was good, this one included; the latest last.
    pub fn all_rolled_back(&self) -> Vec<String> {
        if self.state == State::Good {
            return Vec::new();
        }
        let mut versions = self.rolled_back.clone();
        if self.state == State::RolledBack {
            versions.retain(|version| *version != self.version);
            versions.push(self.version.clone());
        }
        versions.split_off(versions.len().saturating_sub(REMEMBERED))
    }

    /// What has become of it, seen from the start `boot` of the machine in the slot `booted`.
    pub fn outcome(&self, booted: Option<Slot>, boot: &str, trouble: Option<&Trouble>) -> Outcome {
        match self.state {
            State::Good | State::Failed | State::RolledBack => Outcome::Nothing,
            State::Installing if self.boot == boot => {
                Outcome::Failed("the agent ended during the installation".into())
            }
            State::Installing => {
                Outcome::Failed("the machine restarted, or the power went, during the installation".into())
            }
            State::Installed if self.boot == boot => Outcome::Restart,
            State::Installed if self.from.is_some() && booted == self.from => {
                let to = self.from.map(Slot::other);
                let why = trouble.filter(|trouble| trouble.slot == to).map_or_else(
                    || "the new system did not come up in any of its attempts".into(),
                    |trouble| trouble.why.clone(),
                );
                Outcome::RolledBack(why)
            }
            State::Installed => Outcome::OnTrial,
        }
    }
}

/// Where the attempt and the trouble are kept.
#[derive(Debug, Clone)]
pub struct Notes {
    folder: PathBuf,
}

impl Notes {
    /// In `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn attempt_file(&self) -> PathBuf {
        self.folder.join("attempt.json")
    }

    fn trouble_file(&self) -> PathBuf {
        self.folder.join("trouble.json")
    }

    /// The last attempt, if there was one. `Io` if the note cannot be read or understood.
    pub fn attempt(&self) -> Result<Option<Attempt>> {
        read(&self.attempt_file())
    }

    /// What the system on trial said.
    pub fn trouble(&self) -> Option<Trouble> {
        // Only an explanation: without it there is another.
        read(&self.trouble_file()).ok().flatten()
    }

    /// Keeps an attempt; on the disk when this returns.
    pub fn keep(&self, attempt: &Attempt) -> Result<()> {
        if attempt.state == State::Installing {
            let _ = fs::remove_file(self.trouble_file());
        }
        write(&self.attempt_file(), attempt)
    }

    /// Keeps what is wrong with the system on trial.
    pub fn keep_trouble(&self, trouble: &Trouble) -> Result<()> {
        write(&self.trouble_file(), trouble)
    }
}

/// Names this start of the machine; empty where the kernel does not tell.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn read<T: for<'de> Deserialize<'de>>(file: &Path) -> Result<Option<T>> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.context(|| format!("{} cannot be read", file.display()))?,
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| Error::caused(Kind::Io, format!("{} is damaged", file.display()), error))
}

/// All of it or what was there before, whenever the power goes.
fn write(file: &Path, value: &impl Serialize) -> Result<()> {
    let step = || format!("{} cannot be written", file.display());
    let text = serde_json::to_vec(value).map_err(|error| Error::caused(Kind::Io, step(), error))?;
    let new = file.with_extension("new");
    let folder = file.parent().unwrap_or(Path::new("."));
    let work = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut opened = File::create(&new)?;
        opened.write_all(&text)?;
        opened.sync_all()?;
        fs::rename(&new, file)?;
        File::open(folder)?.sync_all()
    };
    work().context(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(state: State) -> Attempt {
        Attempt {
            version: "1.1.0".into(),
            from_version: "1.0.0".into(),
            from: Some(Slot::A),
            state,
            why: None,
            time: "2026-03-02T04:00:00Z".parse().unwrap(),
            boot: "one".into(),
            cameras: vec![0],
            ordered: false,
            rolled_back: Vec::new(),
        }
    }

    #[test]
    fn what_was_rolled_back_is_remembered_until_a_version_is_good() {
        let mut one = attempt(State::Failed);
        assert_eq!(one.all_rolled_back(), [""; 0]);
        one.state = State::RolledBack;
        assert_eq!(one.all_rolled_back(), ["1.1.0"]);
        one.rolled_back = vec!["1.1.0".into(), "1.2.0".into()];
        assert_eq!(one.all_rolled_back(), ["1.2.0", "1.1.0"], "once each");
        one.state = State::Failed;
        assert_eq!(one.all_rolled_back(), ["1.1.0", "1.2.0"]);
        one.state = State::Good;
        assert_eq!(one.all_rolled_back(), [""; 0]);
        one.state = State::RolledBack;
        one.rolled_back = (0..100).map(|number| format!("2.{number}")).collect();
        let all = one.all_rolled_back();
        assert_eq!((all.len(), all[0].as_str(), all[31].as_str()), (32, "2.69", "1.1.0"));
    }

    #[test]
    fn what_became_of_it_is_seen_from_the_slot_that_runs() {
        let outcome = |state, booted, boot| attempt(state).outcome(booted, boot, None);
        let (a, b) = (Some(Slot::A), Some(Slot::B));
        assert_eq!(outcome(State::Installed, a, "one"), Outcome::Restart);
        assert_eq!(outcome(State::Installed, b, "two"), Outcome::OnTrial);
        assert!(
            matches!(outcome(State::Installed, a, "two"), Outcome::RolledBack(why) if why.contains("did not come up"))
        );
        assert!(
            matches!(outcome(State::Installing, a, "two"), Outcome::Failed(why) if why.contains("power"))
        );
        assert!(
            matches!(outcome(State::Installing, a, "one"), Outcome::Failed(why) if why.contains("agent ended"))
        );
        for state in [State::Good, State::Failed, State::RolledBack] {
            assert_eq!(outcome(state, a, "two"), Outcome::Nothing);
        }
        // Its own word, if it is that of the slot that was tried.
        let why = |slot| {
            let trouble = Trouble { slot: Some(slot), why: "camera 0 is lost".into() };
            attempt(State::Installed).outcome(a, "two", Some(&trouble))
        };
        assert_eq!(why(Slot::B), Outcome::RolledBack("camera 0 is lost".into()));
        assert!(matches!(why(Slot::A), Outcome::RolledBack(why) if why.contains("did not come up")));
    }

    #[test]
    fn notes_are_kept_and_a_new_attempt_begins_without_the_trouble_of_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let notes = Notes::new(folder.path().join("update"));
        assert_eq!(notes.attempt().unwrap(), None);
        assert_eq!(notes.trouble(), None);
        notes.keep(&attempt(State::Installed)).unwrap();
        let trouble = Trouble { slot: Some(Slot::B), why: "no models".into() };
        notes.keep_trouble(&trouble).unwrap();
        assert_eq!(notes.attempt().unwrap(), Some(attempt(State::Installed)));
        assert_eq!(notes.trouble(), Some(trouble));
        notes.keep(&attempt(State::Installing)).unwrap();
        assert_eq!(notes.trouble(), None);
        std::fs::write(folder.path().join("update/attempt.json"), b"{").unwrap();
        assert!(notes.attempt().unwrap_err().to_string().contains("is damaged"));
    }
}
