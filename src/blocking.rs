//! Work that waits for a disk, off the threads that carry the network.

use crate::error::{Error, Kind, Result};

/// Runs what reads or writes the disk on a thread that may wait. `Stopped` if it panicked or the agent ends.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::caused(Kind::Stopped, "the work was not finished", error)))
}
