//! SQLite: people, faces, records, outbox, settings. One thread writes, and several orders that wait at the
//! same time share one transaction and one fsync (`writer.rs`); reads have connections of their own.
//!
//! | file | what it does |
//! |---|---|
//! | `schema.sql` | the tables, line by line |
//! | `people.rs`, `faces.rs`, `records.rs`, `outbox.rs`, `settings.rs`, `incidents.rs` | one aggregate each |
//! | `retention.rs` | what goes when, and what the technician is told |
//! | `seal.rs` | encryption at rest |
//! | `writer.rs`, `sqlite.rs`, `upgrade.rs` | transactions, connections, versions |
//! | `check.rs`, `salvage.rs` | verifying and repairing a store |
//!
//! # What lies in `data_dir`
//! `store.sqlite` with its log (`-wal`) and index of the log (`-shm`); `store.lock`, held by the one program
//! that writes; `factory-reset`, the mark of a reset that is under way (`erase.rs`); `store.ballast` and `store.reserve`, a little room for a full disk; `device.key`, unless `store.key` names another.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::clock::SharedClock;
use crate::error::{Context, Error, Kind, Result};

mod check;
pub mod erase;
mod faces;
mod incidents;
mod outbox;
mod people;
mod records;
mod retention;
mod salvage;
mod seal;
mod settings;
mod sqlite;
mod types;
mod upgrade;
mod writer;

pub use check::{CheckReport, Done, Finding, check};
pub use faces::FACES_PER_PERSON;
pub use settings::setting_in_clear;
pub use types::*;

use seal::{KEY_CHECK, KeySource, Place, Seal};
use upgrade::Found;
use writer::{Ballast, Class, Desk, Queue, Writer};

/// Connections for reading that are kept open.
const READERS: usize = 4;

/// The store. Cheap to clone; closed when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    file: PathBuf,
    seal: Seal,
    readers: Mutex<Vec<Connection>>,
    /// `None` when the store was opened for reading.
    queue: Option<Arc<Queue>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    held: Mutex<Option<Held>>,
    observer: Observer,
    closed: AtomicBool,
}

/// What the one program that writes holds until the end.
struct Held {
    reserve: Ballast,
    _lock: std::fs::File,
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the database; made (mode 0700) when it is absent.
    pub data_dir: PathBuf,
    /// Key, retention and limits.
    pub config: crate::config::Store,
}

impl Options {
    fn file(&self) -> PathBuf {
        self.data_dir.join("store.sqlite")
    }

    fn key(&self) -> Result<KeySource> {
        KeySource::parse(&self.config.key, &self.data_dir)
    }
}

/// A write that is under way. Resolves when it is on disk (fsynced), or has failed and changed nothing.
///
/// The order was queued by the call that returned this; orders are committed in the order of the calls,
/// whether or not anybody waits.
#[must_use = "a write that nobody waits for may fail unseen"]
pub struct Pending<T> {
    receiver: tokio::sync::oneshot::Receiver<Result<T>>,
}

impl<T> Pending<T> {
    /// Waits on a thread that is not the runtime's.
    pub fn wait(self) -> Result<T> {
        self.receiver.blocking_recv().unwrap_or_else(|_| Err(stopped()))
    }

    /// An answer that is there already.
    fn ready(answer: Result<T>) -> Self {
        let (reply, receiver) = tokio::sync::oneshot::channel();
        let _ = reply.send(answer);
        Self { receiver }
    }
}

impl<T: Send + 'static> IntoFuture for Pending<T> {
    type Output = Result<T>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Result<T>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.receiver.await.unwrap_or_else(|_| Err(stopped())) })
    }
}

fn stopped() -> Error {
    Error::new(Kind::Stopped, "the store has been closed")
}

type Observe = dyn Fn(&GalleryChange) + Send + Sync;

/// Who is told about changes of faces.
#[derive(Clone, Default)]
struct Observer(Arc<Mutex<Option<Arc<Observe>>>>);

impl Observer {
    fn tell(&self, change: &GalleryChange) {
        let observe = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(observe) = observe {
            let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| observe(change)));
            if told.is_err() {
                tracing::error!(
                    "the observer of the store panicked; the gallery may miss a change until a restart"
                );
            }
        }
    }
}

impl Store {
    /// Opens the store, making or upgrading it as needed.
    ///
    /// Errors: `Busy` when another program writes to it; `Store` when its key is missing, open to others or
    /// wrong, when it is damaged, or newer than this program; `Full` without room to open it.
    pub fn open(options: &Options, clock: SharedClock) -> Result<Self> {
        let folder = &options.data_dir;
        make_folder(folder)?;
        refuse_marked(options)?;
        let lock = lock(folder)?;
        let (reserve, ballast) = (Ballast::reserve(folder), Ballast::new(folder));
        let mut opened = open_file(options);
        for room in [&reserve, &ballast] {
            // A disk so full that the log cannot be made.
            if opened.as_ref().is_err_and(|error| matches!(error.kind(), Kind::Full | Kind::Io)) {
                room.give_up();
                opened = open_file(options);
            }
        }
        let (db, seal) = opened?;
        let tight = match ballast.lay() {
            Ok(()) => false,
            Err(error) => {
                tracing::warn!(%error, "the store begins without a ballast file; nobody is enrolled until there is room");
                true
            }
        };
        if let Err(error) = reserve.lay() {
            tracing::debug!(%error, "the store goes without its reserve for now");
        }
        let lived = retention::Lived::load(&db, clock.now().as_millisecond())?;
        let queue = Queue::new();
        let observer = Observer::default();
        let writer = Writer {
            db,
            seal: seal.clone(),
            clock,
            queue: queue.clone(),
            observer: observer.clone(),
            folder: folder.clone(),
            limits: options.config.clone(),
            lived,
            ballast,
            tight,
        };
        let end = End(queue.clone());
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || {
                let _end = end;
                writer.run();
            })
            .context(|| "the store's thread cannot be started")?;
        Ok(Self {
            inner: Arc::new(Inner {
                file: options.file(),
                seal,
                readers: Mutex::default(),
                queue: Some(queue),
                writer: Mutex::new(Some(thread)),
                held: Mutex::new(Some(Held { reserve, _lock: lock })),
                observer,
                closed: AtomicBool::new(false),
            }),
        })
    }

    /// Opens an existing store for reading, also while the agent runs. Every write answers with an error.
    pub fn open_read_only(options: &Options) -> Result<Self> {
        refuse_marked(options)?;
        let file = options.file();
        if !file.exists() {
            return Err(Error::new(
                Kind::NotFound,
                format!("there is no store at {}; check data_dir", file.display()),
            ));
        }
        let db = sqlite::open_reader(&file)?;
        let seal = open_sealed(&db, options, || format!("the store {} cannot be read", file.display()))?;
        Ok(Self {
            inner: Arc::new(Inner {
                file,
                seal,
                readers: Mutex::new(vec![db]),
                queue: None,
                writer: Mutex::default(),
                held: Mutex::default(),
                observer: Observer::default(),
                closed: AtomicBool::new(false),
            }),
        })
    }

    /// Has `observe` called with every change of faces, in the order of the commits, after the commit and
    /// before its [`Pending`] resolves: when a change is answered, the gallery knows it. One observer; a new
    /// one takes the place of the old. It is called on the thread that writes, so it must be quick and must
    /// not wait for the store.
    pub fn observe_people(&self, observe: impl Fn(&GalleryChange) + Send + Sync + 'static) {
        let observe: Arc<Observe> = Arc::new(observe);
        *self.inner.observer.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(observe);
    }

    /// Closes the store after the writes that wait, and waits for that (not for calls from within tokio's
    /// threads when orders may wait); later calls fail with `Stopped`.
    pub fn close(&self) {
        self.inner.close();
    }

    /// Resolves when the thread that writes has come to it, after all that waits: whether the store answers.
    pub fn answers(&self) -> Pending<()> {
        self.order(Class::Plain, 0, |_| Ok(()))
    }

    /// Queues a write.
    fn order<T: Send + 'static>(
        &self,
        class: Class,
        bytes: usize,
        work: impl FnMut(&Desk<'_>) -> Result<T> + Send + 'static,
    ) -> Pending<T> {
        match &self.inner.queue {
            Some(queue) => Pending { receiver: queue.order(class, bytes, work) },
            None => Pending::ready(Err(read_only())),
        }
    }

    /// Reads, with all that `work` reads being of one moment.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(stopped());
        }
        let kept = self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = match kept {
            Some(db) => db,
            None => sqlite::open_reader(&self.inner.file)?,
        };
        let moment = db.unchecked_transaction()?;
        let outcome = work(&moment);
        // Nothing was written; this only lets go of the moment.
        moment.finish()?;
        let mut readers = self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS {
            readers.push(db);
        }
        outcome
    }

    /// Has SQLite look at all pages: `Store` if one is damaged. Reads the whole file; `menshen check` looks at more.
    pub fn quick_check(&self) -> Result<()> {
        self.read(|db| {
            let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            match said.as_str() {
                "ok" => Ok(()),
                _ => Err(Error::new(
                    Kind::Store,
                    format!("{said}: stop the agent and run `menshen check --repair`"),
                )),
            }
        })
    }

    fn seal(&self) -> &Seal {
        &self.inner.seal
    }
}

fn read_only() -> Error {
    Error::new(Kind::Store, "the store was opened for reading only")
}

impl Inner {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        if let Some(queue) = &self.queue {
            queue.close();
        }
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // An order may hold the last handle; the writer cannot wait for itself.
        if let Some(writer) = writer
            && writer.thread().id() != std::thread::current().id()
            && writer.join().is_err()
        {
            tracing::error!("the store's thread had ended by a defect");
        }
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(held) = self.held.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The log has gone, so there is room for this.
            if let Err(error) = held.reserve.lay() {
                tracing::debug!(%error, "the store goes without its reserve for now");
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Lets nobody wait for a writer that is gone.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// What is being erased is nobody's any more.
fn refuse_marked(options: &Options) -> Result<()> {
    if !erase::is_ordered(options) {
        return Ok(());
    }
    Err(Error::new(
        Kind::Store,
        format!(
            "a factory reset of {} is under way: start the agent, or run `menshen factory-reset`, to finish it",
            options.data_dir.display()
        ),
    ))
}

fn make_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .context(|| format!("the folder {} cannot be made", folder.display()))
}

/// Takes the lock of the one program that writes. It is the kernel's, so that it goes with the process.
fn lock(folder: &Path) -> Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = folder.join("store.lock");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .context(|| format!("the lock {} cannot be opened", path.display()))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::new(
            Kind::Busy,
            format!(
                "another program writes to the store in {}; stop it first (is the agent running?)",
                folder.display()
            ),
        )),
        Err(error) => Err(std::io::Error::from(error))
            .context(|| format!("the lock {} cannot be taken", path.display())),
    }
}

/// Opens the file for writing, makes its tables or upgrades them, and proves the key.
fn open_file(options: &Options) -> Result<(Connection, Seal)> {
    let file = options.file();
    salvage::finish(&file)?;
    let db = sqlite::open_writer(&file)?;
    let step = || format!("the store {} cannot be opened", file.display());
    match upgrade::look(&db).context(step)? {
        Found::Fresh => {
            let seal = Seal::new(&options.key()?.load(true)?);
            upgrade::create(&db, &seal).context(step)?;
            Ok((db, seal))
        }
        Found::Version(version) => {
            let seal = open_sealed(&db, options, step)?;
            upgrade::upgrade(&db, &seal, version).context(step)?;
            Ok((db, seal))
        }
        Found::Newer(version) => {
            let seal = open_sealed(&db, options, step)?;
            upgrade::note_older_writer(&db, version).context(step)?;
            Ok((db, seal))
        }
    }
}

/// Loads the key of an existing store and proves it.
fn open_sealed(db: &Connection, options: &Options, step: impl Fn() -> String) -> Result<Seal> {
    if upgrade::look(db).context(&step)? == Found::Fresh {
        return Err(Error::new(Kind::Store, "the store is empty: it has never been used")).context(step);
    }
    let seal = Seal::new(&options.key()?.load(false)?);
    if key_opens(db, &seal).context(&step)? {
        return Ok(seal);
    }
    Err(Error::new(
        Kind::Store,
        format!(
            "wrong key: {} does not open it; put back the key it was made with, or move the store away to begin anew",
            options.config.key
        ),
    ))
    .context(step)
}

fn key_opens(db: &Connection, seal: &Seal) -> Result<bool> {
    use rusqlite::OptionalExtension;
    let check: Option<Vec<u8>> =
        db.query_row("SELECT value FROM meta WHERE key = 'key_check'", [], |row| row.get(0)).optional()?;
    Ok(check.is_some_and(|check| seal.open(Place::KeyCheck, &check).is_ok_and(|value| value == KEY_CHECK)))
}

/// The number for the next row of `table`, which is AUTOINCREMENT. It is needed before the row is written,
/// because what is sealed in the row is bound to it.
fn next_number(db: &Connection, table: &'static str) -> Result<i64> {
    use rusqlite::OptionalExtension;
    let last: Option<i64> = db
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = ?1")?
        .query_row([table], |row| row.get(0))
        .optional()?;
    last.unwrap_or(0)
        .checked_add(1)
        .ok_or_else(|| Error::new(Kind::Store, format!("the numbers of {table} are used up")))
}

/// A JSON text in the store that does not parse.
fn bad_json(place: &str) -> impl FnOnce(serde_json::Error) -> Error + '_ {
    move |error| {
        Error::caused(
            Kind::Store,
            format!("{place} is not what this program writes; run `menshen check`"),
            error,
        )
    }
}

#[cfg(test)]
mod tests;
