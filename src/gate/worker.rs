//! Devices that may take their time have a thread each, so that none of them holds a passage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;

use super::report_panic;
use crate::error::{Context, Error, Kind, Result};
use crate::event::Events;

/// Jobs that wait for a device; more than these would come too late to mean anything.
const WAITING: usize = 16;

/// Between two attempts to bring a device to what the settings want of it.
const AGAIN: Duration = Duration::from_secs(5);

/// How long an answer of a device is waited for: longer than its own time limits.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// A device as its thread sees it.
pub(super) trait Tended: Send + 'static {
    /// Name of the thread, and of the part in reports.
    const NAME: &'static str;

    /// Brings the device to what is wanted of it; false if that failed and is to be tried again.
    fn settle(&mut self) -> bool;
}

type Job<D> = Box<dyn FnOnce(&mut D) + Send>;

/// The handle of a device's thread, which ends with the last of them.
pub(super) struct Worker<D> {
    jobs: SyncSender<Job<D>>,
}

impl<D> Clone for Worker<D> {
    fn clone(&self) -> Self {
        Self { jobs: self.jobs.clone() }
    }
}

impl<D: Tended> Worker<D> {
    /// Starts the thread.
    pub(super) fn start(device: D, events: Events) -> Result<Self> {
        let (jobs, receiver) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name(D::NAME.into())
            .spawn(move || tend(device, &receiver, &events))
            .context(|| format!("the thread of the device {} cannot be started", D::NAME))?;
        Ok(Self { jobs })
    }

    /// Has a job done, without waiting for it. `Busy` if too many wait already.
    pub(super) fn order(&self, job: impl FnOnce(&mut D) + Send + 'static) -> Result<()> {
        self.jobs.try_send(Box::new(job)).map_err(|error| match error {
            TrySendError::Full(_) => {
                Error::new(Kind::Busy, format!("the device {} is behind with its work", D::NAME))
            }
            TrySendError::Disconnected(_) => stopped(D::NAME),
        })
    }

    /// Orders a job at once; its outcome follows. `Timeout` if the device takes longer than `within`: the job is
    /// then still done, or fails, later.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        within: Duration,
        job: impl FnOnce(&mut D) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send + 'static {
        let (sender, receiver) = oneshot::channel();
        let ordered = self.order(move |device| {
            // Whoever asked may have given up.
            let _ = sender.send(job(device));
        });
        async move {
            ordered?;
            match tokio::time::timeout(within, receiver).await {
                Ok(Ok(outcome)) => outcome,
                // The job panicked, or the thread is gone.
                Ok(Err(_)) => Err(stopped(D::NAME)),
                Err(_) => Err(Error::new(Kind::Timeout, format!("the device {} does not answer", D::NAME))),
            }
        }
    }
}

fn stopped(name: &str) -> Error {
    Error::new(Kind::Stopped, format!("the device {name} has been stopped"))
}

fn tend<D: Tended>(mut device: D, jobs: &Receiver<Job<D>>, events: &Events) {
    loop {
        // A driver that panics costs the job, not the gate.
        let settled = catch_unwind(AssertUnwindSafe(|| device.settle())).unwrap_or_else(|_| {
            report_panic(events, D::NAME);
            false
        });
        let job = if settled {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_timeout(AGAIN)
        };
        match job {
            Ok(job) => {
                if catch_unwind(AssertUnwindSafe(|| job(&mut device))).is_err() {
                    report_panic(events, D::NAME);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
