//! Packages of a new version: ordered by a platform, brought by a technician or on a USB stick, verified, and
//! handed to an [`Installer`]; and what becomes of them after the restart.
//!
//! [`download`] fetches a package into `data_dir/update` under a name of ours; nothing that came over a wire is
//! ever executed or names a file. The platform's checksum says that the package arrived as it was sent; whether
//! it may be installed is the package's own signature, which only the installer can judge.
//!
//! | file | what it does |
//! |---|---|
//! | `download.rs`, `offer.rs` | a package comes here: from a platform's server, from a technician |
//! | `rauc.rs` | the installer of a gate with two slots |
//! | `choice.rs` | what the boot loader goes by |
//! | `attempt.rs` | the note of the last upgrade, over restarts |
//! | `health.rs` | whether a system that is on trial is healthy |
//! | `version.rs` | which version is newer |

pub mod attempt;
pub mod choice;
pub mod download;
pub mod health;
pub mod offer;
pub mod rauc;
pub mod version;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, watch};
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::config;
use crate::error::{Context, Error, Kind, Result};
use crate::event::Events;
use crate::gate::{Gate, OrderedBy};
use crate::http::Url;
use crate::tls::Trust;
use attempt::{Attempt, Notes, Outcome, State};
use choice::{Choice, Slot};
use version::Version;

/// How long nobody must have been at the gate before it restarts into a new version: longer than a session lasts.
const QUIET: Duration = Duration::from_secs(15);

/// After waiting so long for that, a shorter pause will do.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The pause that does then: as long as nobody stands in the gate.
const SHORT_QUIET: Duration = Duration::from_secs(3);

/// How often it is looked whether the gate is quiet.
const LOOK: Duration = Duration::from_secs(1);

/// How old a package may be beside what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Newer only, and none that was rolled back: nobody has asked for this very package.
    Newer,
    /// The same version too.
    NotOlder,
    /// Any.
    Any,
}

impl Age {
    /// Whether `package` may be installed over `running`; otherwise what is wrong with it, to be followed by the
    /// version that runs.
    fn permit(self, package: &Version, running: &Version) -> Result<(), &'static str> {
        match self {
            Age::Newer if package <= running => Err("which is not newer than"),
            Age::NotOlder if package < running => Err("which is older than"),
            _ => Ok(()),
        }
    }
}

/// A package that may be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its version, as it says itself; empty where its format does not say.
    pub version: String,
    /// The version that runs.
    pub running: String,
}

/// What follows an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// Nothing.
    Done,
    /// The machine must be restarted to run it.
    Restart,
}

/// What is said of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The one that runs is good.
    Good,
    /// The other one is bad.
    OtherBad,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotStatus {
    /// Which.
    pub slot: Slot,
    /// Whether the boot loader would boot it; `None` where that cannot be told.
    pub good: Option<bool>,
    /// The version of the package that is in it; `None` where it came in no package.
    pub version: Option<String>,
    /// When that was installed.
    pub installed: Option<String>,
}

/// The slots of a gate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Slots {
    /// The kind of gate that packages must be for.
    pub compatible: String,
    /// The one that runs.
    pub booted: Option<Slot>,
    /// The one that is booted next.
    pub primary: Option<Slot>,
    /// The one that is on trial.
    pub trial: Option<Slot>,
    /// Both.
    pub slots: Vec<SlotStatus>,
}

/// What puts a package onto the gate. Called from a thread that may wait.
pub trait Installer: Send + Sync + 'static {
    /// Its name in the configuration.
    fn name(&self) -> &'static str;
    /// Whether this gate can install anything at all: asked before a package is downloaded. `Config` if not.
    fn check(&self) -> Result<()>;
    /// Whether the package is signed by somebody whom the gate trusts, is for this kind of gate and of a version
    /// that may be installed, as far as its format says so itself. `Input` if not.
    fn accept(&self, package: &Path, age: Age) -> Result<Accepted>;
    /// Installs a package that was accepted. `version` is what the platform calls it: for people to read. `told`
    /// hears of percents and what is being done.
    fn install(&self, package: &Path, version: &str, told: &mut dyn FnMut(u8, &str)) -> Result<Installed>;
    /// The slots; none where there are no two systems.
    fn slots(&self) -> Result<Slots> {
        Ok(Slots::default())
    }
    /// The slot that runs.
    fn booted(&self) -> Option<Slot> {
        None
    }
    /// What the boot loader goes by; `None` where there are no two systems, or it cannot be read.
    fn choice(&self) -> Option<Choice> {
        None
    }
    /// Says something of the slots for the boot loader.
    fn mark(&self, _mark: Mark) -> Result<()> {
        Ok(())
    }
}

/// A gate whose image has no way to install.
struct NoInstaller;

impl Installer for NoInstaller {
    fn name(&self) -> &'static str {
        "none"
    }

    fn check(&self) -> Result<()> {
        Err(Error::new(
            Kind::Config,
            "this build has no installer (update.installer = \"none\"): install the new version by hand",
        ))
    }

    fn accept(&self, _: &Path, _: Age) -> Result<Accepted> {
        Err(self.check().err().unwrap_or_else(|| Error::new(Kind::Config, "there is no installer")))
    }

    fn install(&self, _: &Path, _: &str, _: &mut dyn FnMut(u8, &str)) -> Result<Installed> {
        self.check().map(|()| Installed::Done)
    }
}

/// Reports what it was given and changes nothing. It knows no signatures, so that every package is unsigned to it.
struct SimulatedInstaller {
    events: Events,
    allow_unsigned: bool,
}

impl Installer for SimulatedInstaller {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn accept(&self, _: &Path, _: Age) -> Result<Accepted> {
        match self.allow_unsigned {
            true => Ok(Accepted { version: String::new(), running: env!("CARGO_PKG_VERSION").into() }),
            false => Err(Error::new(
                Kind::Input,
                "the package has no valid signature, and update.allow_unsigned is false",
            )),
        }
    }

    fn install(&self, package: &Path, version: &str, _: &mut dyn FnMut(u8, &str)) -> Result<Installed> {
        let bytes = std::fs::metadata(package)?.len();
        let md5 = download::md5_of(package)?;
        self.events.send(
            "update",
            json!({ "state": "installed", "version": version, "bytes": bytes, "md5": md5, "installer": "sim" }),
        );
        Ok(Installed::Done)
    }
}

/// The installer of the configuration.
pub fn installer(config: &config::Update, events: &Events) -> Arc<dyn Installer> {
    match config.installer.as_str() {
        "sim" => {
            Arc::new(SimulatedInstaller { events: events.clone(), allow_unsigned: config.allow_unsigned })
        }
        "rauc" => Arc::new(rauc::Rauc::default()),
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
    /// A disk that is full is a download that failed; one that cannot be written is the gate's own trouble.
    fn of_disk(error: Error) -> Self {
        match error.kind() {
            Kind::Full => Failure::Download(error),
            _ => Failure::Gate(error),
        }
    }

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

/// Times and bounds of downloads, and where the machine tells of itself.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file that says why the data partition could not be mounted: [`health::DATA_LOST`].
    pub data_lost: PathBuf,
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
            data_lost: health::DATA_LOST.into(),
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
    notes: Notes,
    boot: String,
    /// How old a package may be that a platform orders.
    ordered_age: Age,
    restart_at: Option<jiff::civil::Time>,
    busy: Arc<Mutex<()>>,
    /// Set when something is installed that a restart brings.
    restart: Notify,
    check: health::Check,
    /// What became of the upgrade before this start of the agent, once that was looked at.
    settled: OnceLock<Outcome>,
}

/// How things stand with upgrades.
#[derive(Debug, Clone, Serialize)]
pub struct Standing {
    /// Name of the installer.
    pub installer: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// Whether something is being downloaded or installed.
    pub busy: bool,
    /// The slots; `None` where the installer does not tell.
    #[serde(flatten)]
    pub slots: Option<Slots>,
    /// Why it does not.
    pub error: Option<String>,
    /// The last upgrade.
    pub attempt: Option<Attempt>,
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
        let folder = data_dir.join("update");
        let inner = Inner {
            notes: Notes::new(&folder),
            folder,
            trust: Trust::of(&config.pinned_certificate),
            check: health::Check::new(options.data_lost.clone()),
            options,
            installer,
            events: events.clone(),
            boot: attempt::boot_id(),
            ordered_age: if config.allow_older { Age::Any } else { Age::NotOlder },
            restart_at: config.restart_at(),
            busy: Arc::default(),
            restart: Notify::new(),
            settled: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Downloads and verifies a package and begins to install it: Ok when the installer has accepted it. What
    /// comes after is told by `update` events: `installing`, `installed`, or `failed` with the reason. Dropped
    /// before its end, it leaves what was downloaded for the next order of the same package.
    pub async fn upgrade(&self, order: Order) -> Result<(), Failure> {
        let inner = Arc::clone(&self.inner);
        let Ok(busy) = Arc::clone(&inner.busy).try_lock_owned() else { return Err(Failure::Busy) };
        let version = order.version.clone();
        match inner.fetch_and_accept(order, busy).await {
            Ok((package, accepted, busy)) => {
                self.install(package, version, accepted, busy);
                Ok(())
            }
            Err(failure) => {
                inner.failed(&version, &failure.text());
                Err(failure)
            }
        }
    }

    /// Installs on a thread of its own; nobody else begins an upgrade before it has ended.
    fn install(&self, package: PathBuf, version: String, accepted: Accepted, busy: OwnedMutexGuard<()>) {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || {
            tracing::info!(version, package = accepted.version, "installing a package");
            let outcome = inner.install(&package, &version, &accepted);
            if let Err(error) = std::fs::remove_file(&package) {
                tracing::warn!(%error, "a package that is done with cannot be removed");
            }
            match outcome {
                Ok(Installed::Done) => {}
                Ok(Installed::Restart) => inner.restart.notify_one(),
                Err(error) => inner.failed(&version, &error.to_string()),
            }
            // The last: whoever sees that nothing is under way any more finds what became of it.
            drop(busy);
        });
    }

    /// How things stand.
    pub async fn standing(&self) -> Standing {
        let inner = Arc::clone(&self.inner);
        let busy = inner.busy.try_lock().is_err();
        let told = blocking(move || Ok((inner.installer.slots(), inner.notes.attempt()))).await;
        let (slots, attempt) = match told {
            Ok((slots, attempt)) => (slots, attempt),
            Err(error) => (Err(error), Ok(None)),
        };
        let (slots, mut error) = match slots {
            Ok(slots) => (Some(slots), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let attempt = attempt.unwrap_or_else(|damaged| {
            error.get_or_insert(damaged.to_string());
            None
        });
        Standing {
            installer: self.inner.installer.name(),
            version: env!("CARGO_PKG_VERSION"),
            busy,
            slots,
            error,
            attempt,
        }
    }

    /// Tells what became of an upgrade over the restart, and restarts into one that is installed as soon as the
    /// gate is quiet. Runs until `stopped`.
    pub async fn run(&self, gate: Gate, mut stopped: watch::Receiver<bool>) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let outcome = blocking(move || Ok(inner.settle())).await?;
        if outcome == Outcome::Restart {
            self.inner.restart.notify_one();
        }
        loop {
            tokio::select! {
                () = self.inner.restart.notified() => {}
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            // From here on nobody begins to bring another package.
            let _busy = tokio::select! {
                busy = self.quiet_and_idle(&gate) => busy,
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            };
            let inner = Arc::clone(&self.inner);
            match blocking(move || Ok(inner.order_restart())).await? {
                Ordered::Now => {}
                Ordered::Before => {
                    let error = "the machine was told to restart and did not: restart it by hand";
                    tracing::warn!("{error}");
                    self.inner.events.send("update", json!({ "state": "waiting", "error": error }));
                    continue;
                }
                Ordered::Nothing => {
                    tracing::info!("no restart: the package that was installed last did not end well");
                    continue;
                }
            }
            tracing::info!("the gate restarts into its new version");
            if let Err(error) = gate.restart(OrderedBy::Update).await {
                tracing::error!(%error, "a new version is installed and waits for a restart by hand");
                self.inner.events.send(
                    "update",
                    json!({ "state": "waiting", "error": format!("the machine does not restart: {error}") }),
                );
            }
        }
    }

    /// Waits for the time of restarts, until nobody is at the gate and no other package is on its way: a restart
    /// would cut its installation short.
    async fn quiet_and_idle(&self, gate: &Gate) -> OwnedMutexGuard<()> {
        loop {
            self.quiet(gate).await;
            if let Ok(busy) = Arc::clone(&self.inner.busy).try_lock_owned() {
                return busy;
            }
            drop(self.inner.busy.lock().await);
        }
    }

    /// Waits for the time of restarts, if one is set, and then until nobody is at the gate.
    async fn quiet(&self, gate: &Gate) {
        if let Some(at) = self.inner.restart_at {
            self.inner.events.send("update", json!({ "state": "waiting", "until": at.to_string() }));
            while !in_hour_of(at, gate.local_time()) {
                tokio::time::sleep(LOOK).await;
            }
        }
        let since = Instant::now();
        loop {
            let pause = if since.elapsed() < PATIENCE { QUIET } else { SHORT_QUIET };
            if gate.quiet_for(pause) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is wrong with this system, if anything: see [`health`].
    pub async fn health(&self, gate: &Gate) -> health::Health {
        let cameras = match self.on_trial() {
            Some(attempt) => attempt.cameras,
            None => Vec::new(),
        };
        self.inner.check.look(gate, &cameras).await
    }

    /// Why the data partition of this gate could not be mounted, if it was not.
    pub fn data_lost(&self) -> Option<String> {
        self.inner.check.data_lost()
    }

    /// The attempt whose system runs and is on trial.
    fn on_trial(&self) -> Option<Attempt> {
        let inner = &self.inner;
        let attempt = inner.notes.attempt().ok().flatten()?;
        let outcome = attempt.outcome(inner.installer.booted(), &inner.boot, None);
        (outcome == Outcome::OnTrial).then_some(attempt)
    }

    /// The system that runs is good: its slot gets all its attempts again, and the upgrade that brought it has
    /// ended well.
    pub async fn confirm(&self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            inner.installer.mark(Mark::Good)?;
            let Ok(Some(attempt)) = inner.notes.attempt() else { return Ok(()) };
            if attempt.outcome(inner.installer.booted(), &inner.boot, None) == Outcome::OnTrial {
                inner.end(attempt, State::Good, None);
            }
            Ok(())
        })
        .await
    }
}

/// A restart into what was installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ordered {
    /// To be ordered now.
    Now,
    /// It was ordered before, in this start of the machine.
    Before,
    /// There is nothing to restart into: another installation came after it, and failed.
    Nothing,
}

/// Whether `now` is within the hour that begins at `at`.
fn in_hour_of(at: jiff::civil::Time, now: jiff::civil::Time) -> bool {
    let seconds = |time: jiff::civil::Time| {
        i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60 + i32::from(time.second())
    };
    (seconds(now) - seconds(at)).rem_euclid(24 * 3600) < 3600
}

impl Inner {
    async fn fetch_and_accept(
        self: &Arc<Self>,
        order: Order,
        busy: OwnedMutexGuard<()>,
    ) -> Result<(PathBuf, Accepted, OwnedMutexGuard<()>), Failure> {
        self.can_install().await?;
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
        self.accept(package, version, self.ordered_age, busy).await
    }

    async fn can_install(self: &Arc<Self>) -> Result<(), Failure> {
        let inner = Arc::clone(self);
        blocking(move || inner.installer.check()).await.map_err(Failure::NoInstaller)
    }

    /// Has the installer look at a package; one that is refused is removed. `held` is what keeps everybody else
    /// from beginning: it is held until that has ended, also where nobody waits for it any more.
    async fn accept<Held: Send + 'static>(
        self: &Arc<Self>,
        package: PathBuf,
        version: String,
        age: Age,
        held: Held,
    ) -> Result<(PathBuf, Accepted, Held), Failure> {
        let inner = Arc::clone(self);
        tokio::task::spawn_blocking(move || match inner.judge(&package, age) {
            Ok(accepted) => {
                inner.events.send(
                    "update",
                    json!({ "state": "verified", "version": version, "package": accepted.version }),
                );
                Ok((package, accepted, held))
            }
            Err(error) => {
                let removed =
                    std::fs::remove_file(&package).context(|| "a package that was refused cannot be removed");
                if let Err(error) = removed {
                    tracing::warn!(%error);
                }
                Err(match error.kind() {
                    Kind::Input => Failure::Unsigned(error),
                    _ => Failure::Gate(error),
                })
            }
        })
        .await
        .unwrap_or_else(|error| {
            Err(Failure::Gate(Error::caused(Kind::Stopped, "the package could not be verified", error)))
        })
    }

    /// Whether a package may be installed, by the installer's word and by what became of this version before.
    fn judge(&self, package: &Path, age: Age) -> Result<Accepted> {
        // The new note must not take the place of one that nobody has looked at yet.
        self.settle();
        let accepted = self.installer.accept(package, age)?;
        if age == Age::Newer
            && let Ok(Some(last)) = self.notes.attempt()
        {
            let version = Version::parse(&accepted.version);
            if last.all_rolled_back().iter().any(|before| Version::parse(before) == version) {
                let why = last
                    .why
                    .filter(|_| last.state == State::RolledBack && Version::parse(&last.version) == version);
                let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                return Err(Error::new(
                    Kind::Input,
                    format!(
                        "version {} was tried before and rolled back{why}; to try it once more: menshen update install FILE",
                        accepted.version
                    ),
                ));
            }
        }
        Ok(accepted)
    }

    /// Installs, with the note of it kept at each step.
    fn install(&self, package: &Path, version: &str, accepted: &Accepted) -> Result<Installed> {
        let before = self.notes.attempt().ok().flatten();
        let mut attempt = Attempt {
            rolled_back: before.map(|before| before.all_rolled_back()).unwrap_or_default(),
            version: if accepted.version.is_empty() { version.to_owned() } else { accepted.version.clone() },
            from_version: accepted.running.clone(),
            from: self.installer.booted(),
            state: State::Installing,
            why: None,
            time: jiff::Timestamp::now(),
            boot: self.boot.clone(),
            cameras: health::watching(&self.events),
            ordered: false,
        };
        self.notes.keep(&attempt)?;
        let (mut percent, version) = (None, attempt.version.clone());
        let outcome = self.installer.install(package, &version, &mut |now, what| {
            if percent.replace(now) != Some(now) {
                self.events.send(
                    "update",
                    json!({ "state": "installing", "version": version, "percent": now, "what": what }),
                );
            }
        });
        // RAUC's own service may have ended what its client did not wait for.
        let outcome = match outcome {
            Err(error)
                if error.kind() == Kind::Timeout
                    && self.ended_after_all(&attempt).is_some_and(|ended| ended.version == version) =>
            {
                tracing::warn!(%error, "the installation had ended all the same");
                Ok(Installed::Restart)
            }
            outcome => outcome,
        };
        match outcome {
            Ok(Installed::Restart) => {
                // Kept before anybody can restart: the next start must know what it is.
                attempt.state = State::Installed;
                attempt.cameras = health::watching(&self.events);
                self.notes.keep(&attempt)?;
                self.events.send(
                    "update",
                    json!({ "state": "installed", "version": version, "installer": self.installer.name() }),
                );
                Ok(Installed::Restart)
            }
            Ok(Installed::Done) => {
                attempt.state = State::Good;
                self.notes.keep(&attempt)?;
                Ok(Installed::Done)
            }
            Err(error) => {
                (attempt.state, attempt.why) = (State::Failed, Some(error.to_string()));
                if let Err(error) = self.notes.keep(&attempt) {
                    tracing::warn!(%error, "a failed upgrade cannot be noted");
                }
                Err(error)
            }
        }
    }

    /// Notes that the restart is ordered, and which cameras give pictures now: the next system is measured by it.
    fn order_restart(&self) -> Ordered {
        // Without a note there is something installed all the same.
        let Ok(Some(mut attempt)) = self.notes.attempt() else { return Ordered::Now };
        if attempt.state != State::Installed {
            return Ordered::Nothing;
        }
        if attempt.boot != self.boot {
            return Ordered::Now;
        }
        if std::mem::replace(&mut attempt.ordered, true) {
            return Ordered::Before;
        }
        attempt.cameras = health::watching(&self.events);
        if let Err(error) = self.notes.keep(&attempt) {
            tracing::warn!(%error, "the restart into a new version cannot be noted");
        }
        Ordered::Now
    }

    /// Looks what became of the last upgrade, tells it, and cleans up after it: once, before anything new begins.
    fn settle(&self) -> Outcome {
        self.settled.get_or_init(|| self.look_back()).clone()
    }

    /// An attempt whose installation came to its end without a note of it: the power went, the agent ended or gave
    /// up while RAUC's service went on. The boot loader's choice knows: an installation first takes the other slot
    /// out of it, and has it on trial at its end.
    fn ended_after_all(&self, attempt: &Attempt) -> Option<Attempt> {
        if !matches!(attempt.state, State::Installing | State::Failed) {
            return None;
        }
        let (choice, to) = (self.installer.choice()?, attempt.from?.other());
        if choice.trial != Some(to) {
            return None;
        }
        let mut ended = Attempt { state: State::Installed, why: None, ..attempt.clone() };
        // Not started yet.
        if self.installer.booted() == attempt.from && choice.primary() == to {
            ended.boot.clone_from(&self.boot);
        }
        // It may be one before the one that is noted, which never got so far.
        let slots = self.installer.slots().map(|slots| slots.slots).unwrap_or_default();
        if let Some(version) = slots.into_iter().find(|slot| slot.slot == to).and_then(|slot| slot.version) {
            ended.version = version;
        }
        Some(ended)
    }

    fn look_back(&self) -> Outcome {
        let mut attempt = match self.notes.attempt() {
            Ok(Some(attempt)) => attempt,
            Ok(None) => return Outcome::Nothing,
            Err(error) => {
                tracing::warn!(%error, "what became of the last upgrade is unknown");
                return Outcome::Nothing;
            }
        };
        if let Some(ended) = self.ended_after_all(&attempt) {
            tracing::info!(version = ended.version, "the installation had come to its end");
            attempt = ended;
            if let Err(error) = self.notes.keep(&attempt) {
                tracing::warn!(%error, "the end of an installation cannot be noted");
            }
        }
        let outcome = attempt.outcome(self.installer.booted(), &self.boot, self.notes.trouble().as_ref());
        match &outcome {
            Outcome::Nothing | Outcome::Restart => {}
            Outcome::OnTrial => {
                tracing::info!(version = attempt.version, "a new version is on trial");
                self.events.send("update", json!({ "state": "trial", "version": attempt.version }));
            }
            Outcome::Failed(why) => {
                let why = why.clone();
                self.end(attempt, State::Failed, Some(why));
            }
            Outcome::RolledBack(why) => {
                // Not tried again, whatever happens to the attempts of this one.
                if let Err(error) = self.installer.mark(Mark::OtherBad) {
                    tracing::warn!(%error, "the slot of the failed version cannot be marked as bad");
                }
                let why = why.clone();
                self.end(attempt, State::RolledBack, Some(why));
            }
        }
        outcome
    }

    /// An upgrade has ended: noted and told.
    fn end(&self, mut attempt: Attempt, state: State, why: Option<String>) {
        (attempt.state, attempt.why, attempt.time) = (state, why, jiff::Timestamp::now());
        if let Err(error) = self.notes.keep(&attempt) {
            tracing::warn!(%error, "the end of an upgrade cannot be noted");
        }
        match (state, &attempt.why) {
            (State::Good, _) => {
                tracing::info!(version = attempt.version, "the new version is good");
                self.events.send("update", json!({ "state": "good", "version": attempt.version }));
            }
            (State::RolledBack, Some(why)) => {
                let why = format!(
                    "the update to {} failed and {} runs again: {why}",
                    attempt.version, attempt.from_version
                );
                self.failed(&attempt.version, &why);
            }
            (_, why) => self.failed(&attempt.version, why.as_deref().unwrap_or("it ended")),
        }
    }

    fn failed(&self, version: &str, error: &str) {
        tracing::warn!(version, error, "an upgrade failed");
        self.events.send("update", json!({ "state": "failed", "version": version, "error": error }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_decides_how_old_it_may_be() {
        let (old, now, new) = (Version::parse("1.0"), Version::parse("1.1"), Version::parse("1.2"));
        for (age, wanted) in
            [(Age::Newer, [false, false, true]), (Age::NotOlder, [false, true, true]), (Age::Any, [true; 3])]
        {
            let permitted = [&old, &now, &new].map(|package| age.permit(package, &now).is_ok());
            assert_eq!(permitted, wanted, "{age:?}");
        }
    }

    #[test]
    fn the_hour_of_restarts_may_go_over_midnight() {
        let time = |hour, minute| jiff::civil::time(hour, minute, 0, 0);
        assert!(in_hour_of(time(3, 0), time(3, 0)));
        assert!(in_hour_of(time(3, 0), time(3, 59)));
        assert!(!in_hour_of(time(3, 0), time(4, 0)));
        assert!(!in_hour_of(time(3, 0), time(2, 59)));
        assert!(in_hour_of(time(23, 30), time(0, 29)));
        assert!(!in_hour_of(time(23, 30), time(0, 30)));
    }
}
