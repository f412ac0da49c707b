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

    /// Has a job done. `Timeout` if the driver takes too long: a job that has not begun by then is not begun any more
    /// if it `expires`; any other, and one that has begun, may still do what it was to do.
    pub(super) async fn ask(
        &mut self,
        expires: bool,
        job: impl FnOnce(&mut D) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        match self {
            Driver::AtOnce(driver) => job(driver),
            Driver::Thread(worker) => {
                let ordered = Instant::now();
                let late = move || expires && ordered.elapsed() >= WITHIN;
                let answer = worker.ask(WITHIN, move |kept| match late() {
                    true => Err(Error::new(Kind::Timeout, "the order came too late to mean anything")),
                    false => job(&mut kept.0),
                });
                answer.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::clock::{ManualClock, SharedClock};

    /// A relay that hangs at its first order until it is let go, and notes what it was ordered.
    struct Hanging {
        hangs: Option<Receiver<()>>,
        levels: Arc<Mutex<Vec<bool>>>,
    }

    impl Relay for Hanging {
        fn set_level(&mut self, high: bool) -> Result<()> {
            if let Some(go) = self.hangs.take() {
                // Let go for good when the test is over.
                let _ = go.recv();
            }
            self.levels.lock().unwrap().push(high);
            Ok(())
        }
    }

    /// A driver, what lets it go, and the levels that it has set.
    type Bench = (Driver<dyn Relay>, Sender<()>, Arc<Mutex<Vec<bool>>>);

    fn hanging() -> Bench {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let (let_go, go) = channel();
        let levels = Arc::<Mutex<Vec<bool>>>::default();
        let relay = Hanging { hangs: Some(go), levels: Arc::clone(&levels) };
        (Driver::relay(Box::new(relay), &Events::new(clock)).unwrap(), let_go, levels)
    }

    #[tokio::test]
    async fn an_order_to_rest_is_carried_out_however_late_and_one_to_open_is_not() {
        let (mut relay, let_go, levels) = hanging();
        for (expires, high) in [(true, true), (false, false), (true, true)] {
            let error = relay.ask(expires, move |relay| relay.set_level(high)).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Timeout);
        }
        drop(let_go);
        // Its turn comes after all of them.
        relay.ask(true, |_| Ok(())).await.unwrap();
        assert_eq!(*levels.lock().unwrap(), [true, false], "it hung in the first, and rests");
    }
}
