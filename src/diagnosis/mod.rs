//! The diagnosis bundle: what the maker needs to find out why a gate misbehaves, and nothing about people.
//!
//! | file | what it holds |
//! |---|---|
//! | `findings.json`, `findings.txt` | what [`crate::doctor`] finds |
//! | `versions.json` | of the agent, its models, the kernel and the system |
//! | `configuration.json`, `settings.json` | without secrets |
//! | `counts.json` | people, faces, records, what waits; events by kind |
//! | `status.json` | states of cameras, platforms and devices |
//! | `log.txt` | the last lines |
//! | `machine.txt`, `kernel.txt` | memory, disk, load; the end of the kernel's log where that is permitted |
//!
//! No pictures, names, ids, numbers of documents or cards, passwords or tokens: see [`scrub`].

mod machine;
pub mod scrub;

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::doctor;
use crate::error::{Context, Error, Kind, Result};
use crate::gate::settings::Settings;
use crate::store::{Destination, Store};
use crate::text::Language;
use crate::vision::Models;
use scrub::Scrub;

/// Folder within the bundle.
const FOLDER: &str = "menshen-diagnosis";

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// What is gathered from. What is not there is left out.
pub struct Sources<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The store, at least for reading.
    pub store: Option<&'a Store>,
    /// The settings in force.
    pub settings: Option<&'a Settings>,
    /// The status of the running agent.
    pub status: Option<&'a Value>,
    /// Lines of the log as [`crate::log::recent::Line::form`] makes them.
    pub lines: &'a [Value],
}

/// Everything, without people and secrets. May take some seconds.
pub fn gather(sources: &Sources<'_>) -> Result<Vec<File>> {
    let mut scrub = Scrub::new(sources.config);
    if let Some(settings) = sources.settings {
        scrub.know_settings(settings);
    }
    let mut files = Vec::new();
    let mut lines = sources.lines;
    if let Some(store) = sources.store
        && let Err(error) = scrub.know_store(store)
    {
        // Without the store nobody can say whom a line names.
        lines = &[];
        files.push(file(
            "log.txt",
            format!("left out: the store cannot be read: {}\n", scrub.loosely(&error.to_string())),
        ));
    }
    let agent = sources.status.map_or(doctor::Agent::Away, doctor::Agent::Running);
    let findings = doctor::examine(sources.config, agent);
    let printed: String = findings
        .iter()
        .flat_map(|finding| {
            let english = |words: &doctor::Words| words.in_language(Language::English).to_owned();
            let first = format!(
                "{}  {} [{}]: {}\n",
                finding.state.mark(),
                english(&finding.what),
                english(&finding.looked_for),
                english(&finding.found)
            );
            [
                first,
                finding
                    .advice
                    .as_ref()
                    .map_or_else(String::new, |advice| format!("      -> {}\n", english(advice))),
            ]
        })
        .collect();
    files.push(file("findings.txt", scrub.exactly(&printed)));
    files.push(file("findings.json", scrub.exactly(&pretty(&json!(findings)))));
    files.push(file("versions.json", pretty(&versions(sources.config))));
    let mut configuration = json!(sources.config);
    scrub.settings(&mut configuration);
    files.push(file("configuration.json", pretty(&configuration)));
    if let Some(settings) = sources.settings {
        let mut settings = json!(settings);
        scrub.settings(&mut settings);
        files.push(file("settings.json", pretty(&settings)));
    }
    files.push(file("counts.json", pretty(&counts(sources))));
    if let Some(status) = sources.status {
        files.push(file("status.json", pretty(&states(status, &scrub))));
    }
    if !lines.is_empty() {
        let text: String = lines.iter().map(|line| crate::log::shown(&scrub.line(line), 0) + "\n").collect();
        files.push(file("log.txt", text));
    }
    files.push(file("machine.txt", scrub.exactly(&machine::facts(&sources.config.terminal.data_dir))));
    files.push(file("kernel.txt", scrub.loosely(&machine::kernel_log())));
    Ok(files)
}

fn file(name: &str, text: String) -> File {
    File { name: name.to_owned(), text }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn versions(config: &Config) -> Value {
    let models = Models::open(&config.vision.models_dir, &config.vision.onnxruntime);
    let models = match &models {
        Ok(models) => {
            let manifest = models.manifest();
            json!({
                "detector": manifest.detector.name,
                "embedder": models.embedder_id(),
                "liveness": manifest.liveness.as_ref().map(|model| &model.name),
            })
        }
        Err(error) => json!({ "error": error.to_string() }),
    };
    json!({
        "menshen": env!("CARGO_PKG_VERSION"),
        "architecture": std::env::consts::ARCH,
        "kernel": machine::first_line("/proc/version"),
        "system": machine::system_name(),
        "models": models,
        "time": jiff::Timestamp::now(),
    })
}

fn counts(sources: &Sources<'_>) -> Value {
    let counted = sources.store.map(|store| {
        let outbox = |destination| store.outbox_len(destination).ok();
        json!({
            "store": store.counts().ok(),
            "waiting": { "qyzn": outbox(Destination::Qyzn), "http_push": outbox(Destination::HttpPush) },
        })
    });
    let mut counts = counted.unwrap_or_else(|| json!({}));
    if let Some(status) = sources.status {
        counts["events"] = status["events"].clone();
    }
    counts
}

/// What of a status is about the gate and not about its visitors.
fn states(status: &Value, scrub: &Scrub) -> Value {
    const WHOLE: [&str; 9] =
        ["version", "model", "run", "time", "utc_offset_s", "uptime_s", "ready", "ready_ms", "last_event"];
    const LISTS: [(&str, &[&str]); 3] = [
        ("cameras", &["camera", "role", "state", "error", "fps", "since"]),
        ("platforms", &["platform", "state", "error", "outbox", "since"]),
        ("notices", &["kind", "about", "text", "count", "first", "last"]),
    ];
    let clean = |value: &Value| match value {
        Value::String(text) => Value::from(scrub.loosely(text)),
        Value::Number(_) | Value::Bool(_) | Value::Null => value.clone(),
        _ => Value::Null,
    };
    let chosen = |from: &Value, fields: &[&str]| -> Value {
        let chosen = fields.iter().filter_map(|field| Some(((*field).to_owned(), clean(from.get(field)?))));
        Value::Object(chosen.collect::<Map<_, _>>())
    };
    let mut states = chosen(status, &WHOLE);
    for (list, fields) in LISTS {
        let items = status[list].as_array().into_iter().flatten();
        states[list] = items.map(|item| chosen(item, fields)).collect();
    }
    states["door"] = chosen(&status["door"], &["state", "error", "since"]);
    states["update"] = chosen(&status["update"], &["state", "version", "error", "since"]);
    let devices = status["devices"].as_object().into_iter().flatten();
    states["devices"] = Value::Object(
        devices.map(|(kind, said)| (kind.clone(), chosen(said, &["state", "error", "since"]))).collect(),
    );
    states
}

/// Writes the bundle to a new file that nobody else may read. `Exists` if the file is there.
pub fn write(files: &[File], path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = std::fs::File::options().write(true).create_new(true).mode(0o600).open(path);
    let step = || format!("the bundle {} cannot be written", path.display());
    let output = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::caused(Kind::Exists, format!("{} is there already", path.display()), error));
        }
        other => other.context(step)?,
    };
    let written = tar(files, &output).and_then(|()| Ok(output.sync_all()?)).context(step);
    if written.is_err() {
        // Half a bundle would be taken for a whole one.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// Writes the bundle as a tar (POSIX.1-1988 ustar).
pub fn tar(files: &[File], output: impl Write) -> Result<()> {
    let mut bundle = tar::Builder::new(output);
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(file.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        bundle.append_data(&mut header, format!("{FOLDER}/{}", file.name), file.text.as_bytes())?;
    }
    bundle.into_inner()?.flush()?;
    Ok(())
}
