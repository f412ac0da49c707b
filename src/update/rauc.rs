//! Signed bundles, put into the slot that does not run, by RAUC.
//!
//! `rauc` is called as a technician would call it: `rauc info` verifies a bundle's signature here, and
//! `rauc install` and `rauc status` ask RAUC's own service, which runs as root and does the work. The service
//! permits it to this agent's user by `rootfs/tree/etc/dbus-1/system.d/menshen-rauc.conf`.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::choice::{Copies, FOLDER, Slot};
use super::version::Version;
use super::{Accepted, Age, Installed, Installer, Mark, SlotStatus, Slots};
use crate::error::{Context, Error, Kind, Result};

/// How long one question may take. RAUC's service may have to be started for it.
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// How long verifying a bundle may take: the signature is over a hash of all of it in the `plain` format.
const VERIFY_WITHIN: Duration = Duration::from_secs(300);

/// How long an installation may take.
const INSTALL_WITHIN: Duration = Duration::from_secs(3600);

/// How often it is looked whether a program has said something or has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A program that says more than this is ended.
const WORDS: u64 = 1 << 20;

/// RAUC on this gate.
pub struct Rauc {
    program: PathBuf,
    command_line: PathBuf,
    copies: Copies,
    within: [Duration; 3],
}

impl Default for Rauc {
    fn default() -> Self {
        Self {
            program: "rauc".into(),
            command_line: "/proc/cmdline".into(),
            copies: Copies::new(FOLDER),
            within: [ASK_WITHIN, VERIFY_WITHIN, INSTALL_WITHIN],
        }
    }
}

/// What `rauc info --output-format=json` prints, as far as it is of use.
#[derive(Deserialize)]
struct Info {
    compatible: String,
    #[serde(default)]
    version: Option<String>,
}

/// What `rauc status --detailed --output-format=json` prints, as far as it is of use.
#[derive(Deserialize)]
struct Status {
    compatible: String,
    #[serde(default)]
    booted: Option<String>,
    #[serde(default)]
    boot_primary: Option<String>,
    #[serde(default)]
    slots: Vec<std::collections::BTreeMap<String, RawSlot>>,
}

#[derive(Deserialize)]
struct RawSlot {
    #[serde(default)]
    bootname: Option<String>,
    #[serde(default)]
    boot_status: Option<String>,
    #[serde(default)]
    slot_status: RawSlotStatus,
}

#[derive(Default, Deserialize)]
struct RawSlotStatus {
    #[serde(default)]
    bundle: RawBundle,
    #[serde(default)]
    installed: RawInstalled,
}

#[derive(Default, Deserialize)]
struct RawBundle {
    #[serde(default)]
    version: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawInstalled {
    #[serde(default)]
    timestamp: Option<String>,
}

impl Rauc {
    /// A gate whose `rauc` is `program`, whose kernel's command line is in the file `command_line` and whose boot
    /// partition is `boot`; a question, verifying and installing may each take as long as `within` says. For
    /// trying out what happens with programs that fail or hang.
    pub fn at(program: &Path, command_line: &Path, boot: &Path, within: [Duration; 3]) -> Self {
        Self {
            program: program.to_owned(),
            command_line: command_line.to_owned(),
            copies: Copies::new(boot),
            within,
        }
    }

    /// Runs `rauc`; each line of its output goes to `line` as it comes. Its arguments never pass a shell.
    fn run(&self, arguments: &[&OsStr], within: Duration, mut line: impl FnMut(&str)) -> Result<String> {
        // Files in memory rather than pipes: what the program leaves running cannot hold them up.
        let (output, errors) = (scratch("output")?, scratch("errors")?);
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(errors.try_clone()?)
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::new(
                    Kind::Config,
                    "there is no rauc on this machine (update.installer = \"rauc\" needs it)",
                ),
                _ => Error::caused(Kind::Device, format!("rauc cannot be run: {error}"), error),
            })?;
        let end = |child: &mut std::process::Child| {
            let group = rustix::process::Pid::from_child(child);
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            let _ = child.wait();
        };
        let until = Instant::now() + within;
        let mut lines = Lines::default();
        let status = loop {
            let ended = child.try_wait()?;
            lines.take(&output, &mut line)?;
            if let Some(status) = ended {
                break status;
            }
            let said = output.metadata()?.len().max(errors.metadata()?.len());
            if said > WORDS {
                end(&mut child);
                return Err(Error::new(Kind::Device, "rauc said more than anybody wants and was ended"));
            }
            if Instant::now() >= until {
                end(&mut child);
                return Err(Error::new(
                    Kind::Timeout,
                    format!("rauc did not end within {} s", within.as_secs_f32()),
                ));
            }
            std::thread::sleep(LOOK);
        };
        if status.success() {
            return words(&output);
        }
        let (errors, output) = (words(&errors)?, words(&output)?);
        Err(match said(&errors).or_else(|| said(&output)) {
            Some(said) if not_permitted(&said) => Error::new(
                Kind::Device,
                format!("not permitted: rauc: {said}; the D-Bus rules of RAUC must name this user"),
            ),
            Some(said) => Error::new(Kind::Device, format!("rauc: {said}")),
            None => Error::new(Kind::Device, format!("rauc: {status}")),
        })
    }

    fn ask(&self, arguments: &[&str]) -> Result<String> {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        self.run(&arguments, self.within[0], |_| ())
    }

    fn raw_status(&self) -> Result<Status> {
        let text = self.ask(&["status", "--detailed", "--output-format=json"])?;
        serde_json::from_str(&text).map_err(|error| {
            Error::caused(Kind::Device, "rauc status does not print what RAUC 1.8 prints", error)
        })
    }

    fn info(&self, package: &Path) -> Result<Info> {
        let arguments = [OsStr::new("info"), OsStr::new("--output-format=json"), package.as_os_str()];
        let text = self.run(&arguments, self.within[1], |_| ()).map_err(|error| match error.kind() {
            Kind::Device => Error::new(
                Kind::Input,
                format!("the package is no bundle with a valid signature: {}", error.message()),
            ),
            _ => error,
        })?;
        // Some versions print more than the object.
        let object = text.find('{').map_or("", |at| &text[at..]);
        serde_json::from_str(object).map_err(|error| {
            Error::caused(Kind::Input, "the package does not say what it is for and of which version", error)
        })
    }

    fn booted(&self) -> Option<Slot> {
        Slot::booted(&std::fs::read_to_string(&self.command_line).ok()?)
    }
}

/// What was read of a program's output, line by line.
#[derive(Default)]
struct Lines {
    at: u64,
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, output: &File, line: &mut impl FnMut(&str)) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let read = output.read_at(&mut buffer, self.at)?;
            if read == 0 || self.at > WORDS {
                return Ok(());
            }
            self.at += read as u64;
            for byte in &buffer[..read] {
                match byte {
                    b'\n' | b'\r' => {
                        line(&String::from_utf8_lossy(&self.begun));
                        self.begun.clear();
                    }
                    // A line that never ends is no line.
                    byte if self.begun.len() < 1024 => self.begun.push(*byte),
                    _ => {}
                }
            }
        }
    }
}

/// A file in memory.
fn scratch(name: &str) -> Result<File> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(std::io::Error::from)
        .context(|| "there is no memory for the words of a program")?;
    Ok(File::from(file))
}

/// What a program wrote.
fn words(file: &File) -> Result<String> {
    let length = file.metadata()?.len().min(WORDS);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The line of a failed program that says why: the last one of RAUC's, whose earlier ones say what it was about.
fn said(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
}

fn not_permitted(said: &str) -> bool {
    let said = said.to_ascii_lowercase();
    ["access denied", "accessdenied", "not permitted", "not authorized", "rejected send message"]
        .iter()
        .any(|words| said.contains(words))
}

/// ` 40% Copying image to rootfs.1` as `(40, "Copying image to rootfs.1")`.
fn progress(line: &str) -> Option<(u8, &str)> {
    let (percent, what) = line.trim_start().split_once('%')?;
    let percent = percent.parse().ok().filter(|percent| *percent <= 100)?;
    Some((percent, what.trim()))
}

impl Installer for Rauc {
    fn name(&self) -> &'static str {
        "rauc"
    }

    fn check(&self) -> Result<()> {
        self.raw_status().map(drop).map_err(|error| {
            Error::new(error.kind(), format!("this gate cannot install anything now: {}", error.message()))
        })
    }

    fn accept(&self, package: &Path, age: Age) -> Result<Accepted> {
        let info = self.info(package)?;
        let status = self.raw_status()?;
        if info.compatible != status.compatible {
            return Err(Error::new(
                Kind::Input,
                format!(
                    "the package is for another kind of gate: it is for {:?}, this is {:?}",
                    info.compatible, status.compatible
                ),
            ));
        }
        let version = info
            .version
            .filter(|version| !version.is_empty())
            .ok_or_else(|| Error::new(Kind::Input, "the package does not say which version it is"))?;
        let running = running_version(&slots(status));
        age.permit(&Version::parse(&version), &Version::parse(&running)).map_err(|what| {
            Error::new(
                Kind::Input,
                format!("the package has version {version}, {what} {running}, which runs"),
            )
        })?;
        Ok(Accepted { version, running })
    }

    fn install(&self, package: &Path, _version: &str, told: &mut dyn FnMut(u8, &str)) -> Result<Installed> {
        let arguments = [OsStr::new("install"), package.as_os_str()];
        let mut last_error = None;
        let outcome = self.run(&arguments, self.within[2], |line| {
            if let Some((percent, what)) = progress(line) {
                told(percent, what);
            } else if let Some(error) = line.strip_prefix("LastError: ") {
                last_error = Some(error.trim().to_owned());
            }
        });
        match (outcome, last_error) {
            (Ok(_), _) => Ok(Installed::Restart),
            // The service's words, which the client only repeats on its standard output.
            (Err(error), Some(said)) if error.kind() == Kind::Device => {
                Err(Error::new(Kind::Device, format!("rauc: {said}")))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn slots(&self) -> Result<Slots> {
        let mut slots = slots(self.raw_status()?);
        // RAUC knows it by the same word of the kernel's, unless the system was started from elsewhere.
        slots.booted = slots.booted.or_else(|| self.booted());
        slots.trial = self.copies.read().ok().and_then(|choice| choice.trial);
        Ok(slots)
    }

    fn booted(&self) -> Option<Slot> {
        Self::booted(self)
    }

    fn mark(&self, mark: Mark) -> Result<()> {
        let (word, slot) = match mark {
            Mark::Good => ("mark-good", "booted"),
            Mark::OtherBad => ("mark-bad", "other"),
        };
        self.ask(&["status", word, slot]).map(drop)
    }
}

fn slots(status: Status) -> Slots {
    let slot = |name: Option<String>| name.and_then(|name| name.parse::<Slot>().ok());
    let mut primary = None;
    let mut slots = Vec::new();
    for (name, raw) in status.slots.into_iter().flatten() {
        let Some(slot) = slot(raw.bootname) else { continue };
        if status.boot_primary.as_ref() == Some(&name) {
            primary = Some(slot);
        }
        slots.push(SlotStatus {
            slot,
            good: raw.boot_status.map(|status| status == "good"),
            version: raw.slot_status.bundle.version,
            installed: raw.slot_status.installed.timestamp,
        });
    }
    slots.sort_by_key(|slot| slot.slot as usize);
    Slots { compatible: status.compatible, booted: slot(status.booted), primary, trial: None, slots }
}

/// The version of what runs: that of the bundle it came in, or of this program where the image was written to the
/// gate as a whole.
fn running_version(slots: &Slots) -> String {
    let booted = slots.slots.iter().find(|slot| Some(slot.slot) == slots.booted);
    booted.and_then(|slot| slot.version.clone()).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
}
