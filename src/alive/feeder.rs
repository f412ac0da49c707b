//! Who feeds the watchdogs: a thread outside of the runtime, which no hung task can hold.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Loops;
use super::manager::Manager;
use crate::device::watchdog::Watchdog;
use crate::error::{Context, Result};
use crate::event::Events;

/// The longest pause between two looks.
const LOOK: Duration = Duration::from_secs(5);

/// A watchdog is fed so many times within its time: two that come late do no harm.
const TIMES: u32 = 4;

/// The feeder. One that is dropped without [`Feeder::stop`] leaves the watchdog counting: the agent has failed.
pub struct Feeder {
    stop: Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Feeder {
    /// Feeds `watchdog` and `manager` from now on, while no loop is later than `within`. Without either of them it
    /// only tells of loops that hang.
    pub fn start(
        loops: Loops,
        within: Duration,
        watchdog: Option<Box<dyn Watchdog>>,
        manager: Option<Manager>,
        events: Events,
    ) -> Result<Self> {
        let (stop, stopped) = channel();
        let watched = Watched {
            loops,
            within,
            watchdog,
            manager,
            events,
            counts: false,
            told: false,
            late: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || watched.run(&stopped))
            .context(|| "the thread that feeds the watchdog cannot be started")?;
        Ok(Self { stop, thread })
    }

    /// Lets go of the watchdog: the agent ends in order.
    pub fn stop(self) {
        // Gone already only after a panic, which is in the log.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

struct Watched {
    loops: Loops,
    within: Duration,
    watchdog: Option<Box<dyn Watchdog>>,
    manager: Option<Manager>,
    events: Events,
    /// The watchdog has been started.
    counts: bool,
    /// Its failure has been told.
    told: bool,
    /// The loops that hung at the last look.
    late: Vec<String>,
}

impl Watched {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut pause =
            self.manager.as_ref().and_then(|manager| manager.watchdog).map_or(LOOK, |time| time / TIMES);
        loop {
            if let Some(time) = self.start() {
                pause = pause.min(time / TIMES);
            }
            self.look();
            match stopped.recv_timeout(pause.min(LOOK)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) => return self.release(),
                // Nobody has said that the agent ends in order.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Starts the watchdog, if there is one that does not count yet; its time.
    fn start(&mut self) -> Option<Duration> {
        let watchdog = self.watchdog.as_mut().filter(|_| !self.counts)?;
        match watchdog.start() {
            Ok(time) => {
                (self.counts, self.told) = (true, false);
                tracing::info!(seconds = time.as_secs_f32(), "the watchdog counts");
                self.events.send("watchdog", json!({ "state": "counting", "seconds": time.as_secs_f32() }));
                Some(time)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn failed(&mut self, error: &crate::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::error!(%error, "the watchdog does not watch over this gate");
            self.events.send("watchdog", json!({ "state": "failed", "error": error.to_string() }));
        }
    }

    fn look(&mut self) {
        let late = self.loops.late(self.within, Instant::now());
        if late != self.late {
            let status = if late.is_empty() {
                tracing::info!("all loops of the gate turn again");
                self.events.send("watchdog", json!({ "state": "alive" }));
                "ready".to_owned()
            } else {
                let loops = late.join(", ");
                tracing::error!(loops, "a loop of the gate hangs: the watchdog is not fed any more");
                self.events.send("watchdog", json!({ "state": "starving", "loops": late }));
                format!("hangs: {loops}")
            };
            if let Some(manager) = &self.manager {
                manager.tell(&format!("STATUS={status}"));
            }
            self.late = late;
        }
        if !self.late.is_empty() {
            return;
        }
        if let Some(manager) = self.manager.as_ref().filter(|manager| manager.watchdog.is_some()) {
            manager.tell("WATCHDOG=1");
        }
        let Some(watchdog) = self.watchdog.as_mut().filter(|_| self.counts) else { return };
        match watchdog.feed() {
            Ok(()) => {
                if std::mem::take(&mut self.told) {
                    self.events.send("watchdog", json!({ "state": "counting" }));
                }
                self.events.send("watchdog", json!({ "state": "fed" }));
            }
            Err(error) => self.failed(&error),
        }
    }

    fn release(&mut self) {
        let Some(watchdog) = self.watchdog.as_mut().filter(|_| self.counts) else { return };
        match watchdog.release() {
            Ok(()) => self.events.send("watchdog", json!({ "state": "released" })),
            Err(error) => self.failed(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::UnixDatagram;
    use std::sync::Arc;
    use std::sync::mpsc::Receiver;

    use super::*;
    use crate::clock::SystemClock;
    use crate::error::{Error, Kind};

    #[derive(Debug, PartialEq)]
    enum Done {
        Started,
        Fed,
        Released,
    }

    /// A watchdog that says what it was told, and is not there for the first `absent` starts.
    struct Told(Sender<Done>, u32);

    impl Watchdog for Told {
        fn start(&mut self) -> Result<Duration> {
            if self.1 > 0 {
                self.1 -= 1;
                return Err(Error::new(Kind::Device, "there is no watchdog"));
            }
            self.0.send(Done::Started).unwrap();
            Ok(Duration::from_millis(80))
        }

        fn feed(&mut self) -> Result<()> {
            self.0.send(Done::Fed).unwrap();
            Ok(())
        }

        fn release(&mut self) -> Result<()> {
            self.0.send(Done::Released).unwrap();
            Ok(())
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    fn told(absent: u32) -> (Option<Box<dyn Watchdog>>, Receiver<Done>) {
        let (sender, receiver) = channel();
        (Some(Box::new(Told(sender, absent))), receiver)
    }

    fn state(
        events: &mut tokio::sync::broadcast::Receiver<Arc<crate::event::Event>>,
        wanted: &str,
    ) -> serde_json::Value {
        loop {
            let event = events.blocking_recv().unwrap();
            if event.kind == "watchdog" && event.fields["state"] == wanted {
                return serde_json::Value::Object(event.fields.clone());
            }
        }
    }

    #[test]
    fn it_is_fed_while_all_loops_turn_and_released_in_order_only() {
        let bus = Events::new(Arc::new(SystemClock));
        let (_, mut events) = bus.subscribe(0);
        let loops = Loops::default();
        let turning = loops.heartbeat("sessions");
        let (watchdog, done) = told(0);
        let feeder = Feeder::start(loops.clone(), PATIENCE, watchdog, None, bus.clone()).unwrap();
        assert_eq!(done.recv_timeout(PATIENCE), Ok(Done::Started));
        for _ in 0..3 {
            assert_eq!(done.recv_timeout(PATIENCE), Ok(Done::Fed));
        }
        feeder.stop();
        assert_eq!(done.iter().find(|done| *done != Done::Fed), Some(Done::Released));
        state(&mut events, "released");
        // One that fails leaves it counting.
        let (watchdog, done) = told(0);
        let feeder = Feeder::start(loops, PATIENCE, watchdog, None, bus).unwrap();
        assert_eq!(done.recv_timeout(PATIENCE), Ok(Done::Started));
        drop(feeder);
        assert!(done.iter().all(|done| done == Done::Fed));
        drop(turning);
    }

    #[test]
    fn a_loop_that_hangs_starves_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        // Read all the time: the queue of such a socket is short, and what finds no room in it is lost.
        let (sender, words) = channel();
        std::thread::spawn(move || {
            let mut word = [0; 256];
            loop {
                let Ok(length) = listener.recv(&mut word) else { continue };
                if sender.send(String::from_utf8(word[..length].to_vec()).unwrap()).is_err() {
                    return;
                }
            }
        });
        let heard = || words.recv_timeout(PATIENCE).unwrap();
        let manager = Manager::at(path.as_os_str().as_bytes(), Some(Duration::from_millis(40))).unwrap();
        let bus = Events::new(Arc::new(SystemClock));
        let (_, mut events) = bus.subscribe(0);
        let loops = Loops::default();
        let within = Duration::from_millis(200);
        let stuck = loops.heartbeat("outputs");
        let (watchdog, done) = told(0);
        let feeder = Feeder::start(loops, within, watchdog, Some(manager), bus).unwrap();
        // It turns until it was fed once, however late the feeder's thread began.
        let first = loop {
            stuck.beat();
            if let Ok(word) = words.recv_timeout(Duration::from_millis(10)) {
                break word;
            }
        };
        assert_eq!(first, "WATCHDOG=1");
        assert_eq!(state(&mut events, "starving")["loops"], json!(["outputs"]));
        let status = loop {
            let word = heard();
            if word != "WATCHDOG=1" {
                break word;
            }
        };
        assert_eq!(status, "STATUS=hangs: outputs");
        // Nothing more comes, for many times the pause.
        while done.try_recv().is_ok() {}
        assert!(words.recv_timeout(Duration::from_millis(300)).is_err());
        assert!(done.try_recv().is_err());
        // It turns again: a hiccup is forgiven.
        stuck.beat();
        state(&mut events, "alive");
        assert_eq!([heard(), heard()], ["STATUS=ready", "WATCHDOG=1"]);
        feeder.stop();
    }

    #[test]
    fn a_watchdog_that_comes_later_is_started_then() {
        let bus = Events::new(Arc::new(SystemClock));
        let (_, mut events) = bus.subscribe(0);
        let manager = Manager::at(b"@menshen-nobody-listens", Some(Duration::from_millis(40))).unwrap();
        let (watchdog, done) = told(2);
        let feeder = Feeder::start(Loops::default(), PATIENCE, watchdog, Some(manager), bus).unwrap();
        assert_eq!(state(&mut events, "failed")["error"], "there is no watchdog");
        assert_eq!(done.recv_timeout(PATIENCE), Ok(Done::Started));
        feeder.stop();
    }
}
