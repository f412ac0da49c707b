//! Drivers that somebody waits for. One that may take its time has a thread of its own, and is waited for as long as its
//! answer means something: a line behind a broken bus must hold neither the runtime nor whoever stands at the door.

use std::time::{Duration, Instant};

use super::worker::{Tended, Worker};
use crate::device::lamp::Lamp;
use crate::device::relay::Relay;
use crate::error::{Error, Kind, Result};
use crate::event::Events;

/// How long a relay or a lamp is waited for. A line of the chip needs microseconds, one on I2C milliseconds.
const WITHIN: Duration = Duration::from_secs(1);

/// A driver on its thread.
pub(super) struct Kept<D: ?Sized>(Box<D>);

impl Tended for Kept<dyn Relay> {
    const NAME: &'static str = "relay";

    fn settle(&mut self) -> bool {
        true
    }
}

impl Tended for Kept<dyn Lamp> {
    const NAME: &'static str = "lamp";

    fn settle(&mut self) -> bool {
        true
    }
}

/// A driver.
pub(super) enum Driver<D: ?Sized> {
    /// Which cannot take its time.
    AtOnce(Box<D>),
    /// Which may.
    Thread(Worker<Kept<D>>),
}

impl Driver<dyn Relay> {
    pub(super) fn relay(relay: Box<dyn Relay>, events: &Events) -> Result<Self> {
        if relay.at_once() { Ok(Self::AtOnce(relay)) } else { Self::start(relay, events) }
    }
}

impl Driver<dyn Lamp> {
    pub(super) fn lamp(lamp: Box<dyn Lamp>, events: &Events) -> Result<Self> {
        if lamp.at_once() { Ok(Self::AtOnce(lamp)) } else { Self::start(lamp, events) }
    }
}

impl<D: ?Sized + Send + 'static> Driver<D>
where
    Kept<D>: Tended,
{
    fn start(driver: Box<D>, events: &Events) -> Result<Self> {
        Ok(Self::Thread(Worker::start(Kept(driver), events.clone())?))
    }

    /// Has a job done. `Timeout` if the driver takes too long: a job that has not begun by then is not begun any more,
    /// one that has may still do what it was to do.
    pub(super) async fn ask(
        &mut self,
        job: impl FnOnce(&mut D) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        match self {
            Driver::AtOnce(driver) => job(driver),
            Driver::Thread(worker) => {
                let ordered = Instant::now();
                let late = move || ordered.elapsed() >= WITHIN;
                let answer = worker.ask(WITHIN, move |kept| match late() {
                    true => Err(Error::new(Kind::Timeout, "the order came too late to mean anything")),
                    false => job(&mut kept.0),
                });
                answer.await
            }
        }
    }
}
