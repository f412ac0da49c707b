//! Addresses of network cards through systemd-networkd: a file for each card in `/run/systemd/network`, which the
//! machine forgets when it restarts, and the same in the gate's own data folder, which it does not. Only what has been
//! kept is in the second one; it is put in the first at each start, here and before the network comes up
//! (`docs/install.md`).

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::addressing::NetworkSettings;
use crate::error::{Context, Error, Kind, Result};

/// Before the files of the machine, of which the first that fits a card counts.
const FIRST: &str = "10-menshen-";
const LAST: &str = ".network";

/// Where the files are.
#[derive(Debug)]
pub(super) struct Files {
    /// Read by systemd-networkd.
    used: PathBuf,
    /// What outlives a restart.
    kept: PathBuf,
}

impl Files {
    pub(super) fn new(used: impl Into<PathBuf>, kept: impl Into<PathBuf>) -> Self {
        Self { used: used.into(), kept: kept.into() }
    }

    /// The settings in force for a card; false if they were already.
    pub(super) fn use_settings(&self, settings: &NetworkSettings) -> Result<bool> {
        replace(&self.used, settings.name(), Some(&settings.file()))
    }

    pub(super) fn keep(&self, settings: &NetworkSettings) -> Result<()> {
        replace(&self.kept, settings.name(), Some(&settings.file())).map(drop)
    }

    /// What was kept last is in force for a card again, or nothing of the gate's; false if it was already.
    pub(super) fn put_back(&self, name: &str) -> Result<bool> {
        let kept = read(&self.kept, name)?;
        replace(&self.used, name, kept.as_deref())
    }

    /// The cards for which something is in force or kept.
    pub(super) fn cards(&self) -> Vec<String> {
        let mut cards =
            [&self.used, &self.kept].into_iter().flat_map(|folder| cards(folder)).collect::<Vec<_>>();
        cards.sort();
        cards.dedup();
        cards
    }

    /// What was kept. A file that cannot be used is left out and said.
    pub(super) fn kept(&self) -> Vec<NetworkSettings> {
        cards(&self.kept)
            .iter()
            .filter_map(|name| {
                let settings =
                    read(&self.kept, name).and_then(|text| NetworkSettings::parse(&text.unwrap_or_default()));
                settings
                    .inspect_err(
                        |error| tracing::warn!(%error, name, "kept settings of the network cannot be used"),
                    )
                    .ok()
            })
            .collect()
    }
}

fn cards(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
    names
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            Some(name.strip_prefix(FIRST)?.strip_suffix(LAST)?.to_owned())
        })
        .collect()
}

fn path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{FIRST}{name}{LAST}"))
}

fn read(folder: &Path, name: &str) -> Result<Option<String>> {
    let path = path(folder, name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context_as(Kind::Device, || format!("{} cannot be read", path.display())),
    }
}

/// Puts a file in place whole, or takes it away; false if it was so already.
fn replace(folder: &Path, name: &str, text: Option<&str>) -> Result<bool> {
    if read(folder, name)?.as_deref() == text {
        return Ok(false);
    }
    let path = path(folder, name);
    let write = || -> std::io::Result<()> {
        match text {
            Some(text) => {
                std::fs::create_dir_all(folder)?;
                let new = path.with_extension("new");
                let mut file = File::create(&new)?;
                file.write_all(text.as_bytes())?;
                // systemd-networkd is another user, whatever this one's umask is.
                file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
                // A power cut leaves the one before or this one, not a piece of it.
                file.sync_all()?;
                std::fs::rename(&new, &path)?;
            }
            None => std::fs::remove_file(&path)?,
        }
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "not permitted",
            _ => "failed",
        };
        Error::caused(Kind::Device, format!("{why}: {} cannot be written: {error}", path.display()), error)
    })?;
    Ok(true)
}
