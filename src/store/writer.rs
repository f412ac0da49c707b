//! The one thread that writes.
//!
//! Orders wait in a queue. All that wait are done in one transaction, each within a savepoint of its own, and
//! answered after the commit has been fsynced: an order that fails undoes itself and nobody else, and a burst
//! of a hundred enrolments costs one fsync. When the commit itself fails, everybody in it is told so and
//! nothing has changed.
//!
//! # What happens when it is too much
//! The queue has two rooms, each bounded in orders and in bytes. When the room of ordinary orders is full, an
//! order is answered `Busy` at once: its platform sends it again. Records have a room to themselves, so that
//! no flood of enrolments can push one out; only when a stalled medium has filled that too, `append_record`
//! answers `Busy`, and the gate does what `gate.on_store_failure` says. Nobody ever blocks on the queue.
//!
//! # What happens when the disk is full
//! A ballast file beside the store is given up, people are no longer enrolled (`Full`), and records, answers of
//! platforms and removals go on in the room that made. When that is used up too, the oldest delivered records
//! make room for new ones within the file, a margin being left so that there is always room to remove and to
//! mark something. Only then is a record answered `Full`. Once the ballast can be laid again, all is as before.
//! A second, small file is given up when the store could not be opened otherwise.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::retention::{Lived, Round};
use super::seal::Seal;
use super::sqlite::{At, number, out_of_room, used_bytes};
use super::types::{GalleryChange, Retained};
use super::{Observer, stopped};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};

/// Orders and bytes that may wait in each room of the queue.
const ROOM_ORDERS: usize = 1024;
const ROOM_BYTES: usize = 32 << 20;
/// Orders and bytes of one transaction.
const BATCH_ORDERS: usize = 256;
const BATCH_BYTES: usize = 8 << 20;
/// The log is moved into the file when it has this many pages, or when there is nothing else to do.
const WAL_PAGES: i64 = 1024;
/// A reader that holds the log is waited for when it has grown to this many pages.
const WAL_PAGES_MOST: i64 = 16 * 1024;
/// Without orders for so long, the writer tidies up.
const IDLE: Duration = Duration::from_millis(300);
/// The first round of retention after a start, when the gate has had time for what is urgent.
const RETENTION_FIRST: Duration = Duration::from_secs(60);
/// Time between two rounds of retention, and bytes written that bring one forward.
const RETENTION_EVERY: Duration = Duration::from_secs(300);
const RETENTION_BYTES: usize = 16 << 20;
/// Free pages that are kept for the next records rather than given back to the file system.
const FREE_PAGES_KEPT: i64 = 1024;
/// Pages given back at a time.
const VACUUM_PAGES: i64 = 512;
/// On a full disk, room that records leave for removals and marks; those that replace others leave an eighth.
const MARGIN: u64 = 1 << 20;

/// How an order behaves when room is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Makes the store grow at somebody's wish: refused while the disk is full.
    Grows,
    /// A record, which has a room of its own in the queue and the ballast on the disk.
    Record,
    /// Marks, edits of people, removals, settings: small, or making room.
    Plain,
}

/// What an order works on.
pub(super) struct Desk<'a> {
    /// Within a transaction and a savepoint.
    pub(super) db: &'a Connection,
    /// For what is encrypted.
    pub(super) seal: &'a Seal,
    /// The gate's clock, in milliseconds since 1970.
    pub(super) now_ms: i64,
    /// How long the store has lived, in seconds.
    pub(super) lived_s: i64,
    /// What the gallery must be told once this is on disk.
    changes: std::cell::RefCell<Vec<GalleryChange>>,
}

impl Desk<'_> {
    /// Tells the observer of people, in the order of the commits, once this order is on disk.
    pub(super) fn announce(&self, change: GalleryChange) {
        if change != GalleryChange::default() {
            self.changes.borrow_mut().push(change);
        }
    }
}

/// An order in the queue.
struct Order {
    class: Class,
    bytes: usize,
    job: Box<dyn Job>,
}

trait Job: Send {
    /// Does the work. It may run twice, when the first transaction was undone for want of room.
    fn run(&mut self, desk: &Desk<'_>) -> Result<()>;
    /// Answers whoever waits: with the result of the last run, or with the failure of the commit.
    fn answer(self: Box<Self>, commit: std::result::Result<(), (Kind, String)>);
}

struct Typed<T, F> {
    work: F,
    result: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&Desk<'_>) -> Result<T> + Send> Job for Typed<T, F> {
    fn run(&mut self, desk: &Desk<'_>) -> Result<()> {
        self.result = None;
        let (result, outcome) = match (self.work)(desk) {
            Ok(value) => (Ok(value), Ok(())),
            // The caller gets the error itself; the writer needs only its kind.
            Err(error) => {
                let kind = error.kind();
                (Err(error), Err(Error::new(kind, "an order failed")))
            }
        };
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, commit: std::result::Result<(), (Kind, String)>) {
        let answer = match (commit, self.result) {
            (Ok(()), Some(result)) => result,
            // An order that failed by itself is told its own reason, whatever became of the others.
            (Err(_), Some(Err(own))) if own.kind() != Kind::Full && own.kind() != Kind::Io => Err(own),
            (Err((kind, message)), _) => Err(Error::new(kind, message)),
            (Ok(()), None) => Err(Error::new(
                Kind::Store,
                "an order to the store failed by a defect of the program and changed nothing; report it with the log",
            )),
        };
        // Nobody may be waiting any more; the work is done all the same.
        let _ = self.reply.send(answer);
    }
}

/// What is shared between those who order and the writer.
pub(super) struct Queue {
    state: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    orders: VecDeque<Order>,
    /// Orders and bytes in the room of ordinary orders, then in that of records.
    rooms: [(usize, usize); 2],
    retain: Vec<oneshot::Sender<Result<Retained>>>,
    closed: bool,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), wake: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No code of others runs under this lock, and each step leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an order of about `bytes` bytes.
    pub(super) fn order<T: Send + 'static>(
        &self,
        class: Class,
        bytes: usize,
        work: impl FnMut(&Desk<'_>) -> Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T>> {
        let (reply, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.closed {
            let _ = reply.send(Err(stopped()));
            return receiver;
        }
        let room = &mut waiting.rooms[usize::from(class == Class::Record)];
        // One order alone is always taken, however large; and a question, which takes no room, is asked by one only.
        if bytes > 0 && room.0 > 0 && (room.0 >= ROOM_ORDERS || room.1 + bytes > ROOM_BYTES) {
            let _ = reply.send(Err(Error::new(
                Kind::Busy,
                format!("{} orders wait for the store already; try again in a moment", room.0),
            )));
            return receiver;
        }
        room.0 += 1;
        room.1 += bytes;
        waiting.orders.push_back(Order { class, bytes, job: Box::new(Typed { work, result: None, reply }) });
        drop(waiting);
        self.wake.notify_one();
        receiver
    }

    /// Asks for a round of retention.
    pub(super) fn retain(&self) -> oneshot::Receiver<Result<Retained>> {
        let (reply, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if waiting.closed {
            let _ = reply.send(Err(stopped()));
        } else {
            waiting.retain.push(reply);
            drop(waiting);
            self.wake.notify_one();
        }
        receiver
    }

    /// No new orders; the writer ends after those that wait.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// For the end of the writer, however it came: nobody waits for an answer that will not come.
    pub(super) fn abandon(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let orders = std::mem::take(&mut waiting.orders);
        waiting.retain.clear();
        drop(waiting);
        drop(orders);
    }

    /// Takes a batch. Empty when nothing came within `patience`.
    fn take(&self, batch: &mut Vec<Order>, patience: Duration) -> Taken {
        let mut waiting = self.lock();
        if waiting.orders.is_empty() && waiting.retain.is_empty() && !waiting.closed && !patience.is_zero() {
            waiting = self.wake.wait_timeout(waiting, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut bytes = 0;
        while batch.len() < BATCH_ORDERS && bytes < BATCH_BYTES {
            let Some(order) = waiting.orders.pop_front() else { break };
            let room = &mut waiting.rooms[usize::from(order.class == Class::Record)];
            room.0 -= 1;
            room.1 -= order.bytes;
            bytes += order.bytes;
            batch.push(order);
        }
        Taken {
            bytes,
            retain: std::mem::take(&mut waiting.retain),
            closed: waiting.closed && waiting.orders.is_empty(),
        }
    }
}

struct Taken {
    bytes: usize,
    retain: Vec<oneshot::Sender<Result<Retained>>>,
    closed: bool,
}

/// The writer, as its thread owns it.
pub(super) struct Writer {
    pub(super) db: Connection,
    pub(super) seal: Seal,
    pub(super) clock: SharedClock,
    pub(super) queue: Arc<Queue>,
    pub(super) observer: Observer,
    pub(super) folder: PathBuf,
    pub(super) limits: crate::config::Store,
    pub(super) lived: Lived,
    pub(super) ballast: Ballast,
    /// Set while the disk is full: the ballast has been given up.
    pub(super) tight: bool,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        let mut round: Option<Round> = None;
        let mut replies: Vec<oneshot::Sender<Result<Retained>>> = Vec::new();
        let mut next_round = Instant::now() + RETENTION_FIRST;
        let mut written = 0;
        let mut tidy = false;
        loop {
            let patience = match (&round, tidy) {
                (Some(_), _) => Duration::ZERO,
                (None, false) => IDLE,
                (None, true) => next_round.saturating_duration_since(Instant::now()),
            };
            let taken = self.queue.take(&mut batch, patience);
            let idle = batch.is_empty();
            written += taken.bytes;
            if !idle {
                tidy = false;
                self.batch(&mut batch);
                self.checkpoint(WAL_PAGES);
            }
            if !taken.retain.is_empty() || next_round <= Instant::now() || written >= RETENTION_BYTES {
                replies.extend(taken.retain);
                if round.is_none() {
                    round = Some(Round::default());
                    if let Err(error) = self.save_lived() {
                        tracing::warn!(%error, "the age of the store could not be saved");
                    }
                }
                next_round = Instant::now() + RETENTION_EVERY;
                written = 0;
            }
            if let Some(running) = &mut round {
                let step = self.retention_step(running);
                match step {
                    Ok(true) => {}
                    Ok(false) => {
                        let retained = running.retained;
                        retained.log();
                        replies.drain(..).for_each(|reply| drop(reply.send(Ok(retained))));
                        round = None;
                        tidy = false;
                    }
                    Err(error) => {
                        tracing::error!(%error, "retention failed");
                        for reply in replies.drain(..) {
                            let _ = reply.send(Err(Error::new(error.kind(), error.to_string())));
                        }
                        round = None;
                    }
                }
            } else if idle && !tidy {
                self.checkpoint(1);
                tidy = !self.give_back();
            }
            // A round of retention that is under way goes on after the next start.
            if taken.closed {
                break;
            }
        }
        if let Err(error) = self.save_lived() {
            tracing::warn!(%error, "the age of the store could not be saved");
        }
        self.checkpoint(1);
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            db: &self.db,
            seal: &self.seal,
            now_ms: self.clock.now().as_millisecond(),
            lived_s: self.lived.now(),
            changes: std::cell::RefCell::default(),
        }
    }

    /// Does what waits, in one transaction if nothing is in the way, and answers everybody.
    fn batch(&mut self, batch: &mut Vec<Order>) {
        let grows = batch.iter().any(|order| order.class == Class::Grows);
        if grows && self.tight && self.ballast.lay().is_ok() {
            self.tight = false;
            tracing::info!("there is room on the disk again; people are enrolled again");
        }
        if grows && self.tight {
            refuse(batch, Class::Grows, "the disk is full: nobody can be enrolled until there is room on it");
        } else if grows && used_bytes(&self.db).is_ok_and(|bytes| bytes >= self.limits.hard_limit_mib << 20) {
            refuse(
                batch,
                Class::Grows,
                "the store has reached store.hard_limit_mib: nobody can be enrolled until it is raised or records go",
            );
        }
        if self.tight {
            self.make_way(batch);
        }
        let mut outcome = self.transaction(batch);
        if let Err(error) = &outcome
            && error.kind() == Kind::Full
            && !self.tight
        {
            self.tight = true;
            self.ballast.give_up();
            tracing::error!(
                %error,
                "the disk is full: nobody is enrolled until there is room; records go on in the ballast's place"
            );
            refuse(batch, Class::Grows, "the disk is full; make room on it");
            self.make_way(batch);
            outcome = self.transaction(batch);
        }
        match outcome {
            Ok(changes) => {
                for change in &changes {
                    self.observer.tell(change);
                }
                batch.drain(..).for_each(|order| order.job.answer(Ok(())));
            }
            Err(error) => {
                tracing::error!(%error, orders = batch.len(), "a commit failed");
                for order in batch.drain(..) {
                    order.job.answer(Err((error.kind(), error.to_string())));
                }
            }
        }
    }

    /// On a full disk: the oldest delivered records give way to those of the batch, which are refused if even
    /// that leaves no margin.
    fn make_way(&mut self, batch: &mut Vec<Order>) {
        let records = batch.iter().filter(|order| order.class == Class::Record);
        let bytes = records.map(|order| order.bytes as u64).sum::<u64>();
        if bytes == 0 || self.has_room(bytes, MARGIN) {
            return;
        }
        // What is in the log already has its room there; moved away, the log begins anew in the same place.
        self.checkpoint(1);
        let outcome = used_bytes(&self.db).and_then(|used| {
            let mut round = Round::to_size(used.saturating_sub(bytes.max(MARGIN)));
            while self.retention_step(&mut round)? {}
            Ok(round.retained)
        });
        match outcome {
            Ok(retained) => retained.log(),
            Err(error) => tracing::warn!(%error, "no delivered records could make room on the full disk"),
        }
        self.checkpoint(1);
        if !self.has_room(bytes, MARGIN / 8) {
            refuse(
                batch,
                Class::Record,
                "the disk is full and nothing delivered is left to make room; make room on it",
            );
        }
    }

    /// Whether so much can be written with a margin left: once to the log, and, as far as there are no free
    /// pages in the file, once to the file.
    fn has_room(&self, bytes: u64, margin: u64) -> bool {
        let free_pages = number(&self.db, "freelist_count").unwrap_or(0).max(0) as u64 * 4096;
        // A log whose pages have all been moved is written again from its beginning.
        let log = match self.log("NOOP") {
            Ok((frames, moved)) if frames == moved => {
                std::fs::metadata(self.folder.join("store.sqlite-wal")).map_or(0, |log| log.len())
            }
            _ => 0,
        };
        let wanted = margin + bytes.saturating_sub(log) + bytes.saturating_sub(free_pages);
        // A file system that does not tell is tried out.
        rustix::fs::statvfs(&self.folder).map_or(true, |disk| disk.f_bavail * disk.f_frsize >= wanted)
    }

    /// Has SQLite move the log into the file; pages in the log, and how many of them have been moved.
    fn log(&self, mode: &str) -> rusqlite::Result<(i64, i64)> {
        self.db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(1)?, row.get(2)?)))
    }

    /// One transaction; on an error nothing has changed.
    fn transaction(&self, batch: &mut [Order]) -> Result<Vec<GalleryChange>> {
        let desk = self.desk();
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        whole(&self.db, || {
            let mut changes = Vec::new();
            for order in batch {
                run_in_savepoint(&desk, order)?;
                changes.append(&mut desk.changes.borrow_mut());
            }
            Ok(changes)
        })
    }

    /// One short transaction of retention; whether there is more to do.
    fn retention_step(&self, round: &mut Round) -> Result<bool> {
        let desk = self.desk();
        let mut next = round.clone();
        let more = whole(&self.db, || next.step(&desk, &self.limits))?;
        *round = next;
        self.checkpoint(WAL_PAGES);
        Ok(more)
    }

    fn save_lived(&mut self) -> Result<()> {
        let now_ms = self.clock.now().as_millisecond();
        self.lived.save(&self.db, now_ms)
    }

    /// Moves the log into the file when it has at least `pages` pages.
    fn checkpoint(&self, pages: i64) {
        let work = || -> rusqlite::Result<()> {
            let (frames, moved) = self.log("NOOP")?;
            if frames - moved < pages {
                return Ok(());
            }
            let (frames, moved) = self.log("PASSIVE")?;
            if frames - moved > WAL_PAGES_MOST {
                self.log("RESTART")?;
            }
            Ok(())
        };
        if let Err(error) = work() {
            // The log holds everything; it is only longer than it should be.
            tracing::warn!(%error, "the store's log could not be moved into its file");
        }
    }

    /// Gives some free pages back to the file system; whether there are more.
    fn give_back(&self) -> bool {
        let work = || -> Result<bool> {
            let free = number(&self.db, "freelist_count")? - FREE_PAGES_KEPT;
            if free <= 0 {
                return Ok(false);
            }
            let mut statement = self
                .db
                .prepare(&format!("PRAGMA incremental_vacuum({})", free.min(VACUUM_PAGES)))
                .at(|| "free pages cannot be given back")?;
            let mut rows = statement.query([]).at(|| "free pages cannot be given back")?;
            while rows.next().at(|| "free pages cannot be given back")?.is_some() {}
            Ok(true)
        };
        work().unwrap_or_else(|error| {
            tracing::warn!(%error, "the store's file could not be made shorter");
            false
        })
    }
}

/// Answers the orders of a class with `Full`, and leaves the others.
fn refuse(batch: &mut Vec<Order>, class: Class, why: &'static str) {
    let (refused, rest): (Vec<_>, Vec<_>) = batch.drain(..).partition(|order| order.class == class);
    *batch = rest;
    for order in refused {
        order.job.answer(Err((Kind::Full, why.into())));
    }
}

/// All of `work` or nothing. Errors for want of room are `Full`, whatever SQLite calls them.
fn whole<T>(db: &Connection, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let outcome = statement(db, "BEGIN IMMEDIATE")
        .and_then(|()| work())
        .and_then(|value| statement(db, "COMMIT").map(|()| value));
    outcome.map_err(|error| {
        let error = if error.kind() != Kind::Full && out_of_room(db, &error) {
            Error::caused(Kind::Full, "the disk is full; make room on it", error)
        } else {
            error
        };
        // SQLite may have rolled back by itself already.
        if !db.is_autocommit()
            && let Err(rollback) = statement(db, "ROLLBACK")
        {
            tracing::error!(error = %rollback, "a failed transaction could not be rolled back");
        }
        error
    })
}

fn statement(db: &Connection, sql: &'static str) -> Result<()> {
    db.prepare_cached(sql)
        .and_then(|mut statement| statement.execute([]))
        .map(drop)
        .at(|| format!("{sql} failed"))
}

/// Runs one order. An error here is one of the whole transaction; the order's own error is kept for its answer.
fn run_in_savepoint(desk: &Desk<'_>, order: &mut Order) -> Result<()> {
    statement(desk.db, "SAVEPOINT one")?;
    // What a panic leaves half done is undone with the savepoint, and the job is not run again.
    let outcome = catch_unwind(AssertUnwindSafe(|| order.job.run(desk)));
    match outcome {
        Ok(Ok(())) => statement(desk.db, "RELEASE one"),
        Ok(Err(error)) => {
            if out_of_room(desk.db, &error) || desk.db.is_autocommit() {
                let kind = if desk.db.is_autocommit() && error.kind() == Kind::Store {
                    Kind::Store
                } else {
                    Kind::Full
                };
                return Err(Error::caused(kind, "a write to the store failed", error));
            }
            undo(desk)
        }
        Err(_) => {
            tracing::error!("an order to the store panicked; it was undone");
            undo(desk)
        }
    }
}

fn undo(desk: &Desk<'_>) -> Result<()> {
    desk.changes.borrow_mut().clear();
    statement(desk.db, "ROLLBACK TO one")?;
    statement(desk.db, "RELEASE one")
}

/// A file that holds a little of the disk for the day it is full.
pub(super) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// For records: room for some fifty of them with pictures.
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("store.ballast"), bytes: 4 << 20 }
    }

    /// For opening the store, whose log and index of the log take room before anything is written.
    pub(super) fn reserve(folder: &Path) -> Self {
        Self { path: folder.join("store.reserve"), bytes: 256 << 10 }
    }

    /// Makes sure it is there; `Full` if there is no room for it.
    pub(super) fn lay(&self) -> Result<()> {
        if std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() == self.bytes) {
            return Ok(());
        }
        let outcome = self.write();
        if outcome.is_err() {
            self.give_up();
        }
        outcome.map_err(|error| {
            Error::caused(
                crate::error::io_kind(&error),
                format!("there is no room for {}", self.path.display()),
                error,
            )
        })
    }

    fn write(&self) -> std::io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.bytes) {
            Ok(()) => Ok(()),
            // UBIFS and the like: written out, with noise, because zeros would be compressed to nothing.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let mut noise = vec![0; 1 << 16];
                let mut file = file;
                for _ in 0..self.bytes >> 16 {
                    getrandom::fill(&mut noise).map_err(std::io::Error::other)?;
                    std::io::Write::write_all(&mut file, &noise)?;
                }
                file.sync_all()
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives its room to whoever needs it more.
    pub(super) fn give_up(&self) {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the store's ballast file cannot be removed");
            }
            _ => {}
        }
    }
}
