//! Carries out what the console orders: on threads of their own, so that the screen never waits.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use hyper::Method;
use serde_json::{Value, json};

use super::app::Ask;
use crate::clock::{AdjustedClock, SystemClock};
use crate::config::Config;
use crate::error::{Context, Error, Kind, Result};
use crate::service::admin::RESET_WORD;
use crate::service::admin::client::{Client, segment};
use crate::store::{Options, Store, erase};
use crate::{device, diagnosis, doctor};

/// Lines of the journal that are shown when there is no agent to ask.
const JOURNAL_LINES: &str = "200";

/// Does what is asked.
#[derive(Clone)]
pub struct Orders {
    config: Arc<Config>,
    file: Arc<Path>,
}

impl Orders {
    /// For the gate of a configuration, which is in `file`.
    pub fn new(config: &Config, file: &Path) -> Self {
        Self { config: Arc::new(config.clone()), file: file.into() }
    }

    /// A way to the agent.
    pub fn client(&self) -> Result<Client> {
        let admin = self.config.service.admin.as_ref().ok_or_else(|| {
            Error::new(Kind::Config, "the agent is reached through service.admin, which is not configured")
        })?;
        Client::new(admin)
    }

    fn get(&self, path: &str) -> Result<Value> {
        self.client()?.request(Method::GET, path, None::<&()>)
    }

    fn post(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        self.client()?.request(Method::POST, path, body)
    }

    /// Does it. May take as long as it takes.
    pub fn carry_out(&self, ask: &Ask) -> Result<Value> {
        match ask {
            Ask::Status => self.get("/api/v1/status"),
            Ask::Log(after) => self.log(*after),
            Ask::People(after, limit, search) => {
                let after = after.map_or_else(String::new, |after| format!("&after={after}"));
                self.get(&format!("/api/v1/people?limit={limit}&search={}{after}", segment(search)))
            }
            Ask::RemovePerson(origin, id) => {
                let path = format!("/api/v1/people/{}/{}", segment(origin), segment(id));
                self.client()?.request(Method::DELETE, &path, None::<&()>)
            }
            Ask::Records(before, limit) => {
                let before = before.map_or_else(String::new, |before| format!("&before={before}"));
                self.get(&format!("/api/v1/records?limit={limit}{before}"))
            }
            Ask::OpenDoor => self.post("/api/v1/door/open", None),
            Ask::Network => network(&self.config),
            Ask::Update => self.get("/api/v1/update"),
            Ask::Doctor => {
                let status = self.get("/api/v1/status").ok();
                let agent = status.as_ref().map_or(doctor::Agent::Away, doctor::Agent::Running);
                Ok(json!(doctor::examine(&self.config, agent)))
            }
            Ask::Diagnose(path) => {
                diagnosis::write(&self.diagnose()?, path)?;
                Ok(Value::Null)
            }
            Ask::Reset => self.reset(),
            Ask::Restart => self.post("/api/v1/restart", None),
            Ask::SetServer(platform, server) => {
                crate::config::server::change(&self.file, platform, server)?;
                Ok(Value::Null)
            }
            Ask::Install(file) => self.client()?.upload("/api/v1/update/package?age=not_older", file),
        }
    }

    /// The lines after a number from the agent; without it, what the journal has.
    pub fn log(&self, after: u64) -> Result<Value> {
        match self.get(&format!("/api/v1/log?after={after}")) {
            Err(error) if matches!(error.kind(), Kind::Network | Kind::Config) => journal(),
            other => other,
        }
    }

    /// The files of a bundle: made by the agent, which may read everything, or here without it.
    pub fn diagnose(&self) -> Result<Vec<diagnosis::File>> {
        match self.get("/api/v1/diagnosis") {
            Ok(answer) => serde_json::from_value(answer["files"].clone())
                .map_err(|error| Error::caused(Kind::Network, "what answers there is not the agent", error)),
            Err(error) if matches!(error.kind(), Kind::Network | Kind::Config) => {
                let options = self.options();
                // Without a store there is nobody to find in the log, and then none of it is taken along.
                let store = Store::open_read_only(&options).ok();
                let lines = match &store {
                    Some(_) => journal().map_or_else(|_| Vec::new(), |journal| lines(&journal)),
                    None => Vec::new(),
                };
                diagnosis::gather(&diagnosis::Sources {
                    config: &self.config,
                    store: store.as_ref(),
                    settings: None,
                    status: None,
                    lines: &lines,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn options(&self) -> Options {
        Options { data_dir: self.config.terminal.data_dir.clone(), config: self.config.store.clone() }
    }

    /// Empties the gate: at the next start of a running agent, which is ordered, or at once.
    pub fn reset(&self) -> Result<Value> {
        match self.post("/api/v1/factory-reset", Some(&json!({ "confirm": RESET_WORD }))) {
            Err(error) if matches!(error.kind(), Kind::Network | Kind::Config) => {
                let options = self.options();
                let ordered_before = erase::is_ordered(&options);
                erase::order(&options)?;
                match erase::finish(&options) {
                    Ok(erased) => Ok(json!({
                        "done": true,
                        "key": if erased == Some(erase::Erased::AllButKey) { "kept" } else { "removed" },
                    })),
                    Err(busy) if busy.kind() == Kind::Busy => {
                        // A program that writes and does not answer: nobody may pull the store away from under it.
                        if !ordered_before {
                            erase::withdraw(&options)?;
                        }
                        Err(busy)
                    }
                    // Begun: the next start, or the next try, goes on.
                    Err(other) => Err(other),
                }
            }
            other => other,
        }
    }
}

/// The network cards of this machine.
pub fn network(config: &Config) -> Result<Value> {
    let clock = AdjustedClock::new(Arc::new(SystemClock));
    Ok(json!(device::system::open(&config.device.system, clock, &config.terminal.data_dir)?.interfaces()))
}

fn lines(answer: &Value) -> Vec<Value> {
    answer["lines"].as_array().cloned().unwrap_or_default()
}

/// The last lines of the service's journal, in the form of the API without numbers.
fn journal() -> Result<Value> {
    let output = Command::new("journalctl")
        .args(["-u", "menshen", "-n", JOURNAL_LINES, "--no-pager", "-q", "-o", "cat"])
        .output()
        .context(|| "the agent does not run, and its journal cannot be read (journalctl -u menshen)")?;
    if !output.status.success() {
        return Err(Error::new(
            Kind::Io,
            format!(
                "the agent does not run, and its journal cannot be read: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> =
        text.lines().map(|line| json!({ "time": "", "level": "", "message": line, "fields": {} })).collect();
    Ok(json!({ "lines": lines }))
}
