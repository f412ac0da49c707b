//! The end of everything in a store, in an order that the power may cut at any moment.
//!
//! First a mark is written. While it is there the store cannot be opened, and whoever starts next goes on. Then the
//! key goes: what is encrypted cannot be read any more even if nothing else were removed. Then the files; the mark
//! goes last.

use std::path::{Path, PathBuf};

use super::seal::KeySource;
use super::{Options, lock, make_folder};
use crate::error::{Context, Error, Kind, Result};

/// Name of the mark in `data_dir`.
const MARK: &str = "factory-reset";

/// Folders in `data_dir` that hold what was made for this store's people and platforms.
const FOLDERS: [&str; 1] = ["update"];

/// What a reset left in its place, for the technician.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erased {
    /// All of it has gone.
    All,
    /// All but the key, which the service manager keeps: it opens nothing any more.
    AllButKey,
}

/// Orders a reset: the next [`finish`] carries it out. On disk before it returns.
pub fn order(options: &Options) -> Result<()> {
    make_folder(&options.data_dir)?;
    let path = mark(options);
    let step = || format!("the reset cannot be ordered: {} cannot be written", path.display());
    let file = std::fs::File::create(&path).context(step)?;
    file.sync_all().context(step)?;
    sync(&options.data_dir)
}

/// Takes the order back, where it could not be followed.
pub fn withdraw(options: &Options) -> Result<()> {
    remove(&mark(options))?;
    sync(&options.data_dir)
}

/// Whether a reset has been ordered and not been finished.
pub fn is_ordered(options: &Options) -> bool {
    mark(options).exists()
}

/// Carries out a reset that was ordered, or goes on with it. `None` if none was. `Busy` while another program
/// writes to the store.
pub fn finish(options: &Options) -> Result<Option<Erased>> {
    if !is_ordered(options) {
        return Ok(None);
    }
    erase(options, usize::MAX).map(Some)
}

fn mark(options: &Options) -> PathBuf {
    options.data_dir.join(MARK)
}

/// Removes everything, the mark last; stops after so many removals, as the power would.
fn erase(options: &Options, steps: usize) -> Result<Erased> {
    let folder = &options.data_dir;
    let lock = lock(folder)?;
    let key = options.key()?;
    let mut left = steps;
    let mut step = |work: &dyn Fn() -> Result<()>| -> Result<()> {
        if left == 0 {
            return Err(Error::new(Kind::Stopped, "the reset was cut short"));
        }
        left -= 1;
        work()
    };
    let erased = match &key {
        KeySource::File(path) => {
            step(&|| remove(path))?;
            if let Some(parent) = path.parent() {
                step(&|| sync(parent))?;
            }
            Erased::All
        }
        KeySource::Credential(_) => Erased::AllButKey,
    };
    for path in files(folder)? {
        step(&|| remove(&path))?;
    }
    for name in FOLDERS {
        step(&|| remove_folder(&folder.join(name)))?;
    }
    step(&|| sync(folder))?;
    // The lock is a file of the store: whoever waits for it takes it anew.
    step(&|| remove(&folder.join("store.lock")))?;
    drop(lock);
    step(&|| remove(&mark(options)))?;
    sync(folder)?;
    Ok(erased)
}

/// The files of the store but its lock, and other keys: the database last of those that make it, so that what is left of a store
/// is never a log without its database.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let step = || format!("the folder {} cannot be read", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).context(step)? {
        let entry = entry.context(step)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // The key of the OSDP line was agreed on with a controller, that of the document reader service is trusted by
        // browsers: they go like every other key.
        let ours = ["store.", "osdp.key", "document_reader."].iter().any(|begin| name.starts_with(begin));
        if ours && name != "store.lock" {
            found.push(entry.path());
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a folder last.
fn sync(folder: &Path) -> Result<()> {
    let step = || format!("{} cannot be put on the disk", folder.display());
    match std::fs::File::open(folder) {
        Ok(folder) => folder.sync_all().context(step),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(step),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::Store;

    fn used(folder: &Path) -> Options {
        let options = Options { data_dir: folder.join("data"), config: crate::config::Store::default() };
        let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
        store.put_setting("kept", "1".into()).wait().unwrap();
        store.close();
        std::fs::create_dir(options.data_dir.join("update")).unwrap();
        std::fs::write(options.data_dir.join("update/package"), "x").unwrap();
        std::fs::write(options.data_dir.join("store.sqlite.damaged-1"), "x").unwrap();
        std::fs::write(options.data_dir.join("osdp.key"), "x").unwrap();
        std::fs::write(folder.join("menshen.toml"), "[terminal]\nserial = \"A1\"\n").unwrap();
        options
    }

    #[test]
    fn a_power_cut_at_any_step_leaves_a_reset_that_goes_on() {
        // Until there are no more steps to cut at.
        let mut cut = 0;
        loop {
            let folder = tempfile::tempdir().unwrap();
            let options = used(folder.path());
            let key = std::fs::read(options.data_dir.join("device.key")).unwrap();
            order(&options).unwrap();
            let whole = match erase(&options, cut) {
                Ok(erased) => {
                    assert_eq!(erased, Erased::All);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), Kind::Stopped, "{error}");
                    assert!(is_ordered(&options), "cut {cut}: the mark goes last");
                    false
                }
            };
            assert_eq!(finish(&options).unwrap().is_none(), whole);
            assert!(!is_ordered(&options));
            let left: Vec<_> = std::fs::read_dir(&options.data_dir).unwrap().flatten().collect();
            assert!(left.is_empty(), "cut {cut}: {left:?}");
            assert!(folder.path().join("menshen.toml").exists(), "who the gate is stays");
            let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
            assert_eq!(store.setting("kept").unwrap(), None);
            store.close();
            assert_ne!(std::fs::read(options.data_dir.join("device.key")).unwrap(), key, "a new key");
            if whole {
                break;
            }
            cut += 1;
        }
        // The key and its folder, four files of the store, a folder, the lock, the mark.
        assert!((9..20).contains(&cut), "{cut}");
    }

    #[test]
    fn a_store_in_use_is_not_erased_and_an_order_can_be_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let options = used(folder.path());
        let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
        order(&options).unwrap();
        assert_eq!(finish(&options).unwrap_err().kind(), Kind::Busy);
        assert_eq!(store.setting("kept").unwrap().as_deref(), Some("1"));
        withdraw(&options).unwrap();
        store.close();
        assert_eq!(finish(&options).unwrap(), None);
        let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
        assert_eq!(store.setting("kept").unwrap().as_deref(), Some("1"));
    }

    #[test]
    fn a_marked_store_cannot_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let options = used(folder.path());
        order(&options).unwrap();
        for outcome in [Store::open(&options, Arc::new(SystemClock)), Store::open_read_only(&options)] {
            let error = outcome.err().unwrap();
            assert_eq!(error.kind(), Kind::Store);
            assert!(error.to_string().contains("factory reset"), "{error}");
        }
    }
}
