//! Connections to the database file, and what SQLite's errors mean to us.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::error::{Context, Error, Kind, Result};

/// `application_id` of a Menshen store ("MENS").
pub(super) const APPLICATION_ID: i32 = 0x4d45_4e53;

/// The write-ahead log is cut to this many bytes when it starts anew.
const WAL_KEPT: u32 = 4 << 20;

/// Opens the file for the writer, making it (readable by its owner alone) when it is absent.
pub(super) fn open_writer(path: &Path) -> Result<Connection> {
    let step = || format!("the store {} cannot be opened", path.display());
    if !path.exists() {
        std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .context(step)?;
        crate::durable::sync_folder_of(path).context(step)?;
    }
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .at(step)?;
    // Before the first page is written, so that the file can shrink later; without effect on an old file.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL").at(step)?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).at(step)?;
    if mode != "wal" {
        return Err(Error::new(
            Kind::Store,
            format!(
                "the store {} cannot use a write-ahead log (journal mode {mode}); \
                 put data_dir on a local file system",
                path.display()
            ),
        ));
    }
    // FULL: a commit is acknowledged only when the log is on the medium.
    db.pragma_update(None, "synchronous", "FULL").at(step)?;
    db.pragma_update(None, "journal_size_limit", WAL_KEPT).at(step)?;
    // The writer moves the log into the file itself, after it has answered those who wait.
    db.pragma_update(None, "wal_autocheckpoint", 0).at(step)?;
    db.pragma_update(None, "cache_size", -8192).at(step)?;
    common(&db).at(step)?;
    Ok(db)
}

/// Opens the file for reading.
pub(super) fn open_reader(path: &Path) -> Result<Connection> {
    let step = || format!("the store {} cannot be opened for reading", path.display());
    let db =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .at(step)?;
    db.pragma_update(None, "query_only", true).at(step)?;
    db.pragma_update(None, "cache_size", -2048).at(step)?;
    common(&db).at(step)?;
    Ok(db)
}

fn common(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_secs(5))?;
    db.pragma_update(None, "foreign_keys", true)?;
    // A damaged page is an error at once, not a wrong answer.
    db.pragma_update(None, "cell_size_check", true)?;
    db.pragma_update(None, "trusted_schema", false)?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Adds a step to an error of SQLite.
pub(super) trait At<T> {
    /// The kind follows from what SQLite says.
    fn at<M: Into<std::borrow::Cow<'static, str>>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> At<T> for rusqlite::Result<T> {
    fn at<M: Into<std::borrow::Cow<'static, str>>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(Error::from).context(message)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let (kind, message) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (Kind::Full, "the disk is full; make room on it"),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                (Kind::Store, "the store is damaged; stop the agent and run `menshen check --repair`")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                (Kind::Busy, "another program holds the store; try again when it is done")
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                (Kind::Store, "the store may not be written; check owner and mode of its folder")
            }
            Some(ErrorCode::CannotOpen) => {
                (Kind::Store, "the store's file cannot be opened; check owner and mode of its folder")
            }
            Some(ErrorCode::SystemIoFailure) => {
                (Kind::Io, "reading or writing the store's file failed; check the medium (dmesg)")
            }
            Some(ErrorCode::TooBig) => (Kind::Input, "a value is too long for the store"),
            _ => (Kind::Store, "SQLite refused"),
        };
        Error::caused(kind, message, error)
    }
}

/// Whether the last failure of `db` was for want of room. SQLite reports an exceeded quota or file size limit
/// as an I/O error; the errno tells them from a dying medium.
pub(super) fn out_of_room(db: &Connection, error: &Error) -> bool {
    if error.kind() == Kind::Full {
        return true;
    }
    if error.kind() != Kind::Io {
        return false;
    }
    // SAFETY: the handle is valid for as long as `db` is borrowed, no other thread uses it (`Connection` is
    // not `Sync`), and the function only reads a number from it.
    let errno = unsafe { ffi::sqlite3_system_errno(db.handle()) };
    matches!(
        rustix::io::Errno::from_raw_os_error(errno),
        rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT | rustix::io::Errno::FBIG
    )
}

/// Bytes of the pages in use, not of the file: pages that were freed are used again or given back later.
pub(super) fn used_bytes(db: &Connection) -> Result<u64> {
    Ok((number(db, "page_count")? - number(db, "freelist_count")?).max(0) as u64
        * number(db, "page_size")?.max(0) as u64)
}

/// A pragma that answers with one number.
pub(super) fn number(db: &Connection, pragma: &str) -> Result<i64> {
    db.pragma_query_value(None, pragma, |row| row.get(0))
        .at(|| format!("the store does not tell its {pragma}"))
}
