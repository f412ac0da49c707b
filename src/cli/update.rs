//! `menshen update`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::Method;
use menshen::service::admin::client::Client;
use menshen::update::version::Version;
use menshen::{Context, Error, Kind, Result};
use serde_json::Value;

use super::people::plain;
use super::{ConfigArgs, say};

/// Between two looks at an installation.
const LOOK: Duration = Duration::from_millis(500);

/// How long the agent may take to start, where a stick waits for it.
const STARTS_WITHIN: Duration = Duration::from_secs(120);

/// Packages on a stick that are tried.
const TRIED: usize = 8;

/// Installs a new version through the agent of this gate, or says which versions are there.
///
/// Exit codes: 0 done, 1 refused or failed, or the agent cannot be reached, 2 wrong usage.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Installs a signed package; the gate restarts into it when nobody is there
    Install {
        #[command(flatten)]
        config: ConfigArgs,
        /// The package
        file: PathBuf,
        /// Also if it is older than what runs
        #[arg(long)]
        older: bool,
    },
    /// Installs the newest menshen-*.raucb of a folder, if it is newer than what runs
    Stick {
        #[command(flatten)]
        config: ConfigArgs,
        /// Where the stick is mounted
        folder: PathBuf,
    },
    /// Slots, versions, and what became of the last upgrade
    Status {
        #[command(flatten)]
        config: ConfigArgs,
        /// Prints JSON
        #[arg(long)]
        json: bool,
    },
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Install { config, file, older } => {
            install(&agent(config)?, file, if *older { "any" } else { "not_older" })
        }
        Command::Stick { config, folder } => stick(&agent(config)?, folder),
        Command::Status { config, json } => status(&agent(config)?, *json),
    }
}

/// The way to the running agent.
fn agent(config: &ConfigArgs) -> Result<Client> {
    let config = config.load()?;
    let admin = config.service.admin.as_ref().ok_or_else(|| {
        Error::new(Kind::Config, "the agent is reached through service.admin, which is not configured")
    })?;
    Client::new(admin)
}

fn ask(client: &Client) -> Result<Value> {
    let nothing: Option<&()> = None;
    client.request(Method::GET, "/api/v1/update", nothing)
}

/// Brings a file to the agent and says how it goes until it is installed.
fn install(client: &Client, file: &Path, age: &str) -> Result<ExitCode> {
    let before = ask(client)?["attempt"].take();
    say(format_args!("verifying {}", file.display()))?;
    let accepted = client.upload(&format!("/api/v1/update/package?age={age}"), file)?;
    let version = plain(accepted["version"].as_str().unwrap_or_default());
    say(format_args!(
        "installing {version} over {}",
        plain(accepted["running"].as_str().unwrap_or_default())
    ))?;
    let mut said = Value::Null;
    loop {
        let standing = ask(client)?;
        let last = &standing["last"];
        if last["state"] == "installing" && said != last["percent"] {
            said = last["percent"].clone();
            say(format_args!("{said} % {}", plain(last["what"].as_str().unwrap_or_default())))?;
        }
        if standing["busy"] == true {
            std::thread::sleep(LOOK);
            continue;
        }
        // The note of an earlier one says nothing of this one.
        let nothing = Value::Null;
        let attempt = Some(&standing["attempt"])
            .filter(|attempt| attempt["version"] == accepted["version"] && attempt["time"] != before["time"])
            .unwrap_or(&nothing);
        return match attempt["state"].as_str() {
            Some("installed") => {
                say("installed; the gate restarts into it when nobody is there")?;
                Ok(ExitCode::SUCCESS)
            }
            Some("good") => {
                say("installed")?;
                Ok(ExitCode::SUCCESS)
            }
            _ => {
                let failed = Some(last).filter(|last| last["state"] == "failed");
                let why = attempt["why"].as_str().or_else(|| failed?["error"].as_str());
                let why = why.unwrap_or("it was not installed; the agent's log says why");
                Err(Error::new(Kind::Device, plain(why)))
            }
        };
    }
}

/// The packages in the root of a folder, the newest by its name first.
fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_ascii_lowercase) else { continue };
        let version = name.strip_prefix("menshen-").and_then(|rest| rest.strip_suffix(".raucb"));
        // Not what a link leads to.
        if let Some(version) = version
            && entry.file_type()?.is_file()
        {
            found.push((Version::parse(version), entry.path()));
        }
    }
    found.sort_by(|one, other| other.cmp(one));
    Ok(found.into_iter().map(|(_, path)| path).take(TRIED).collect())
}

fn stick(client: &Client, folder: &Path) -> Result<ExitCode> {
    let packages = packages(folder)?;
    if packages.is_empty() {
        say("there is no menshen-*.raucb on it")?;
        return Ok(ExitCode::SUCCESS);
    }
    // At the start of the gate a stick may be there before the agent is.
    let until = Instant::now() + STARTS_WITHIN;
    while ask(client).is_err_and(|error| error.kind() == Kind::Network) && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    let mut refused = None;
    for package in packages {
        match install(client, &package, "newer") {
            Err(error) if error.kind() == Kind::Input => {
                eprintln!("menshen: {}: {error}", package.display());
                refused = Some(error);
            }
            outcome => return outcome,
        }
    }
    Err(refused.unwrap_or_else(|| Error::new(Kind::Input, "no package was accepted")))
}

fn status(client: &Client, as_json: bool) -> Result<ExitCode> {
    let standing = ask(client)?;
    if as_json {
        say(format_args!("{standing:#}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| value.as_str().map(plain);
    say(format_args!(
        "menshen {}, installer {}",
        text(&standing["version"]).unwrap_or_default(),
        text(&standing["installer"]).unwrap_or_default()
    ))?;
    if let Some(error) = text(&standing["error"]) {
        say(format_args!("the installer does not tell its slots: {error}"))?;
    }
    for slot in standing["slots"].as_array().into_iter().flatten() {
        let mut words = Vec::new();
        if slot["slot"] == standing["booted"] {
            words.push("runs");
        }
        if slot["slot"] == standing["primary"] {
            words.push("is booted next");
        }
        if slot["slot"] == standing["trial"] {
            words.push("on trial");
        }
        words.push(match slot["good"].as_bool() {
            Some(true) => "good",
            Some(false) => "bad",
            None => "unknown",
        });
        let version = text(&slot["version"]).unwrap_or_else(|| "as it was made".into());
        let installed =
            text(&slot["installed"]).map(|time| format!(", installed {time}")).unwrap_or_default();
        let name = text(&slot["slot"]).unwrap_or_default();
        say(format_args!("slot {name}: {version}, {}{installed}", words.join(", ")))?;
    }
    let attempt = &standing["attempt"];
    if let Some(version) = text(&attempt["version"]) {
        let state = text(&attempt["state"]).unwrap_or_default().replace('_', " ");
        let why = text(&attempt["why"]).map(|why| format!(": {why}")).unwrap_or_default();
        let time = text(&attempt["time"]).unwrap_or_default();
        say(format_args!("last upgrade: to {version}, {state} at {time}{why}"))?;
    }
    if standing["busy"] == true {
        say("an upgrade is under way")?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_package_of_a_stick_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "menshen-1.2.9.raucb",
            "MENSHEN-1.10.0.RAUCB",
            "menshen-1.2.10.raucb",
            "other-9.raucb",
            "menshen-9.zip",
        ] {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        std::fs::create_dir(folder.path().join("menshen-8.raucb")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("menshen-7.raucb")).unwrap();
        let names: Vec<_> = packages(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["MENSHEN-1.10.0.RAUCB", "menshen-1.2.10.raucb", "menshen-1.2.9.raucb"]);
        assert!(packages(&folder.path().join("nowhere")).is_err());
    }
}
