//! Packages of a new version: ordered by a platform, downloaded, verified, and handed to an [`Installer`].
//!
//! [`download`] fetches a package into `data_dir/update` under a name of ours; nothing that came over the wire is
//! ever executed or names a file. The platform's checksum says that the package arrived as it was sent; whether
//! it may be installed is the package's own signature, which only the installer can judge.

pub mod download;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::config;
use crate::error::{Context, Error, Kind, Result};
use crate::event::Events;
use crate::http::Url;
use crate::tls::Trust;

/// What puts a package onto the gate. Called from a thread that may wait.
pub trait Installer: Send + Sync + 'static {
    /// Whether this gate can install anything at all: asked before a package is downloaded. `Config` if not.
    fn check(&self) -> Result<()>;
    /// Whether the package is signed by somebody whom the gate trusts, as far as its format says so itself.
    /// `Input` if not.
    fn accept(&self, package: &Path) -> Result<()>;
    /// Installs a package that was accepted. `version` is what the platform calls it: for people to read.
    fn install(&self, package: &Path, version: &str) -> Result<()>;
}

/// A gate whose image has no way to install.
struct NoInstaller;

impl Installer for NoInstaller {
    fn check(&self) -> Result<()> {
        Err(Error::new(
            Kind::Config,
            "this build has no installer (update.installer = \"none\"): install the new version by hand",
        ))
    }

    fn accept(&self, _: &Path) -> Result<()> {
        self.check()
    }

    fn install(&self, _: &Path, _: &str) -> Result<()> {
        self.check()
    }
}

/// Reports what it was given and changes nothing. It knows no signatures, so that every package is unsigned to it.
struct SimulatedInstaller {
    events: Events,
    allow_unsigned: bool,
}

impl Installer for SimulatedInstaller {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn accept(&self, _: &Path) -> Result<()> {
        match self.allow_unsigned {
            true => Ok(()),
            false => Err(Error::new(
                Kind::Input,
                "the package has no valid signature, and update.allow_unsigned is false",
            )),
        }
    }

    fn install(&self, package: &Path, version: &str) -> Result<()> {
        let bytes = std::fs::metadata(package)?.len();
        let md5 = download::md5_of(package)?;
        self.events.send(
            "update",
            json!({ "state": "installed", "version": version, "bytes": bytes, "md5": md5, "installer": "sim" }),
        );
        Ok(())
    }
}

/// The installer of the configuration.
pub fn installer(config: &config::Update, events: &Events) -> Arc<dyn Installer> {
    match config.installer.as_str() {
        "sim" => {
            Arc::new(SimulatedInstaller { events: events.clone(), allow_unsigned: config.allow_unsigned })
        }
        _ => Arc::new(NoInstaller),
    }
}

/// An order of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Where the package is.
    pub url: Url,
    /// What the platform calls it.
    pub version: String,
    /// MD5 of the package, 32 lower-case hexadecimal digits.
    pub check: String,
}

/// Why a package is not installed.
#[derive(Debug)]
pub enum Failure {
    /// Another upgrade is under way.
    Busy,
    /// There is no installer.
    NoInstaller(Error),
    /// The server of the package cannot be reached.
    Unreachable(Error),
    /// It was reached, but gave no whole package that fits.
    Download(Error),
    /// What came is not what the platform meant.
    Differs(Error),
    /// The installer does not trust the package.
    Unsigned(Error),
    /// The gate itself failed.
    Gate(Error),
}

impl Failure {
    /// What happened.
    pub fn text(&self) -> String {
        match self {
            Failure::Busy => "another upgrade is under way".into(),
            Failure::NoInstaller(error)
            | Failure::Unreachable(error)
            | Failure::Download(error)
            | Failure::Differs(error)
            | Failure::Unsigned(error)
            | Failure::Gate(error) => error.to_string(),
        }
    }
}

/// Times and bounds of downloads.
#[derive(Debug, Clone)]
pub struct Options {
    /// Largest package, in bytes.
    pub max_bytes: u64,
    /// What a download leaves free on the disk for the store, in bytes.
    pub reserve: u64,
    /// The first pause before a download goes on; it doubles while nothing comes, up to 30 times itself.
    pub resume_pause: Duration,
    /// The longest silence of the server.
    pub silence: Duration,
    /// The longest time of a whole download.
    pub whole: Duration,
    /// Between two `downloading` events.
    pub progress: Duration,
}

impl Options {
    /// As configured.
    pub fn new(config: &config::Update) -> Self {
        Self {
            max_bytes: config.max_mib.saturating_mul(1 << 20),
            reserve: 64 << 20,
            resume_pause: Duration::from_secs(1),
            silence: Duration::from_secs(30),
            whole: Duration::from_secs(6 * 3600),
            progress: Duration::from_secs(1),
        }
    }
}

/// The upgrades of a gate, one at a time. Cheap to clone.
#[derive(Clone)]
pub struct Updates {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    trust: Trust,
    options: Options,
    installer: Arc<dyn Installer>,
    events: Events,
    busy: Arc<Mutex<()>>,
}

impl Updates {
    /// For a gate whose data is in `data_dir`.
    pub fn new(config: &config::Update, data_dir: &Path, events: &Events) -> Self {
        Self::with(installer(config, events), Options::new(config), config, data_dir, events)
    }

    /// The same with an installer and bounds of the caller's.
    pub fn with(
        installer: Arc<dyn Installer>,
        options: Options,
        config: &config::Update,
        data_dir: &Path,
        events: &Events,
    ) -> Self {
        let inner = Inner {
            folder: data_dir.join("update"),
            trust: Trust::of(&config.pinned_certificate),
            options,
            installer,
            events: events.clone(),
            busy: Arc::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Downloads and verifies a package and begins to install it: Ok when the installer has accepted it. What
    /// comes after is told by `update` events: `installed`, or `failed` with the reason. Dropped before its end, it
    /// leaves what was downloaded for the next order of the same package.
    pub async fn upgrade(&self, order: Order) -> Result<(), Failure> {
        let inner = Arc::clone(&self.inner);
        let Ok(busy) = Arc::clone(&inner.busy).try_lock_owned() else { return Err(Failure::Busy) };
        let version = order.version.clone();
        let outcome = inner.fetch_and_accept(order).await;
        match outcome {
            Ok(package) => {
                self.install(package, version, busy);
                Ok(())
            }
            Err(failure) => {
                inner.failed(&version, &failure.text());
                Err(failure)
            }
        }
    }

    /// Installs on a thread of its own; nobody else begins an upgrade before it has ended.
    fn install(&self, package: PathBuf, version: String, busy: OwnedMutexGuard<()>) {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            tracing::info!(version, "installing a package");
            if let Err(error) = inner.installer.install(&package, &version) {
                inner.failed(&version, &error.to_string());
            }
            if let Err(error) = std::fs::remove_file(&package) {
                tracing::warn!(%error, "a package that is done with cannot be removed");
            }
            drop(busy);
        });
    }
}

impl Inner {
    async fn fetch_and_accept(self: &Arc<Self>, order: Order) -> Result<PathBuf, Failure> {
        self.installer.check().map_err(Failure::NoInstaller)?;
        let version = order.version.clone();
        let package = download::Download::new(
            self.folder.clone(),
            order,
            self.trust.clone(),
            self.options.clone(),
            self.events.clone(),
        )
        .run()
        .await?;
        let inner = Arc::clone(self);
        tokio::task::spawn_blocking(move || match inner.installer.accept(&package) {
            Ok(()) => {
                inner.events.send("update", json!({ "state": "verified", "version": version }));
                Ok(package)
            }
            Err(error) => {
                let removed =
                    std::fs::remove_file(&package).context(|| "a package that was refused cannot be removed");
                if let Err(error) = removed {
                    tracing::warn!(%error);
                }
                Err(Failure::Unsigned(error))
            }
        })
        .await
        .unwrap_or_else(|error| {
            Err(Failure::Gate(Error::caused(Kind::Stopped, "the package could not be verified", error)))
        })
    }

    fn failed(&self, version: &str, error: &str) {
        tracing::warn!(version, error, "an upgrade failed");
        self.events.send("update", json!({ "state": "failed", "version": version, "error": error }));
    }
}
