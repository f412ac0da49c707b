//! A package that somebody brings: a technician's file, or one on a USB stick. Its bytes come in pieces and go to a
//! name of ours; its checksum is its own signature.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::OwnedMutexGuard;

use super::{Accepted, Age, Failure, Updates, download};
use crate::error::{Error, Kind, Result, io_kind};

/// Bytes after which the free space is looked at again.
const LOOK_EVERY: u64 = 8 << 20;

/// The file of a package, which nobody else may have meanwhile. Dropped, the file is removed and then free.
struct Place {
    path: PathBuf,
    busy: Option<OwnedMutexGuard<()>>,
}

impl Place {
    /// The package stays, for whoever holds what this gives.
    fn keep(mut self) -> Option<OwnedMutexGuard<()>> {
        self.busy.take()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.busy.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A package on its way. Dropped before it is installed, it is removed.
pub struct Offer {
    updates: Updates,
    place: Place,
    file: tokio::io::BufWriter<tokio::fs::File>,
    have: u64,
    looked: u64,
}

impl Updates {
    /// Begins to take a package of `length` bytes, if that is known.
    pub async fn offer(&self, length: Option<u64>) -> Result<Offer, Failure> {
        let Ok(busy) = Arc::clone(&self.inner.busy).try_lock_owned() else { return Err(Failure::Busy) };
        self.inner.can_install().await?;
        if length.is_some_and(|length| length > self.inner.options.max_bytes) {
            return Err(self.too_long());
        }
        let (folder, reserve) = (self.inner.folder.clone(), self.inner.options.reserve);
        let path = folder.join("offered");
        let (at, needed) = (path.clone(), length.unwrap_or_default());
        let file = crate::blocking::blocking(move || {
            std::fs::create_dir_all(&folder)?;
            // What a power cut left of another one.
            let _ = std::fs::remove_file(&at);
            download::look_for_room(&folder, needed, reserve)?;
            Ok(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&at)?)
        })
        .await
        .map_err(Failure::of_disk)?;
        let file = tokio::io::BufWriter::with_capacity(256 << 10, tokio::fs::File::from_std(file));
        let place = Place { path, busy: Some(busy) };
        Ok(Offer { updates: self.clone(), place, file, have: 0, looked: 0 })
    }

    fn too_long(&self) -> Failure {
        let limit = self.inner.options.max_bytes >> 20;
        Failure::Download(Error::new(
            Kind::Full,
            format!("the package is longer than update.max_mib = {limit}"),
        ))
    }
}

impl Offer {
    /// Takes the next piece.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let after = self.have.saturating_add(piece.len() as u64);
        if after > self.updates.inner.options.max_bytes {
            return Err(self.updates.too_long());
        }
        if after >= self.looked + LOOK_EVERY {
            self.looked = after;
            let inner = &self.updates.inner;
            download::look_for_room(&inner.folder, LOOK_EVERY, inner.options.reserve)
                .map_err(Failure::of_disk)?;
        }
        self.file.write_all(piece).await.map_err(written)?;
        self.have = after;
        Ok(())
    }

    /// All has come: verifies it and begins to install it. What comes after is told as for
    /// [`Updates::upgrade`].
    pub async fn install(mut self, age: Age) -> Result<Accepted, Failure> {
        let flushed = async {
            self.file.flush().await?;
            self.file.get_mut().sync_all().await
        };
        flushed.await.map_err(written)?;
        let Self { updates, place, .. } = self;
        let inner = Arc::clone(&updates.inner);
        match inner.accept(place.path.clone(), String::new(), age, place).await {
            Ok((package, accepted, place)) => {
                let Some(busy) = place.keep() else { return Err(Failure::Busy) };
                updates.install(package, accepted.version.clone(), accepted.clone(), busy);
                Ok(accepted)
            }
            Err(failure) => {
                inner.failed("", &failure.text());
                Err(failure)
            }
        }
    }
}

fn written(error: std::io::Error) -> Failure {
    let text = "the package cannot be written to the disk";
    Failure::of_disk(Error::caused(io_kind(&error), text, error))
}
