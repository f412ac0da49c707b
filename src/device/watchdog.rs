//! The watchdog of the machine: a counter in hardware that restarts it when nobody has fed it for a while.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Updater, ioctl, opcode};
use serde_json::json;

use crate::doctor::{Finding, Words};
use crate::error::{Context, Error, Kind, Result};
use crate::event::Events;

/// How long a watchdog waits for its next meal, unless the hardware knows only another time.
const SECONDS: u16 = 30;

/// Who resets the machine if it is not fed.
pub trait Watchdog: Send {
    /// Begins to count; how long it waits from now on and after each meal. `Device` if there is none, or somebody else
    /// feeds it.
    fn start(&mut self) -> Result<Duration>;
    /// Begins its time anew.
    fn feed(&mut self) -> Result<()>;
    /// Stops it, at an ordered end only. One that cannot be stopped (`nowayout`) goes on counting: the machine must be
    /// down or the agent back before its time is over.
    fn release(&mut self) -> Result<()>;
}

/// The watchdog that `device.watchdog` names, `None` for `none`. Nothing counts until it is started.
pub fn open(name: &str, events: &Events) -> Result<Option<Box<dyn Watchdog>>> {
    if name == "none" {
        return Ok(None);
    }
    if name.starts_with('/') {
        return Ok(Some(Box::new(Hardware { path: name.into(), device: None })));
    }
    let seconds = match name.split_once(':') {
        None if name == "sim" => Some(SECONDS),
        Some(("sim", seconds)) => seconds.parse().ok().filter(|seconds| (1..=3600).contains(seconds)),
        _ => None,
    };
    let seconds = seconds.ok_or_else(|| {
        Error::new(
            Kind::Config,
            format!(
                "device.watchdog = {name:?} is not supported by this build: use \"/dev/watchdog\", \"sim\", \
                 \"sim:SECONDS\" or \"none\""
            ),
        )
    })?;
    Ok(Some(Box::new(Simulated {
        time: Duration::from_secs(seconds.into()),
        meals: None,
        events: events.clone(),
    })))
}

/// A watchdog of the kernel (`Documentation/watchdog/watchdog-api.rst`).
struct Hardware {
    path: PathBuf,
    device: Option<OwnedFd>,
}

/// `WDIOC_KEEPALIVE` of `linux/watchdog.h`: `_IOR('W', 5, int)`.
const KEEPALIVE: rustix::ioctl::Opcode = opcode::read::<i32>(b'W', 5);
/// `WDIOC_SETTIMEOUT`: `_IOWR('W', 6, int)`, in seconds; answers with what it took.
const SET_TIMEOUT: rustix::ioctl::Opcode = opcode::read_write::<i32>(b'W', 6);
/// `WDIOC_GETTIMEOUT`: `_IOR('W', 7, int)`.
const GET_TIMEOUT: rustix::ioctl::Opcode = opcode::read::<i32>(b'W', 7);

/// What is written last so that closing stops the watchdog.
const MAGIC: &[u8] = b"V";

impl Hardware {
    fn failed(&self, what: &str, errno: Errno) -> Error {
        let advice = match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => {
                "load the driver of the board's watchdog, or `modprobe softdog`"
            }
            Errno::ACCESS | Errno::PERM => "may this user open it? docs/install.md has the udev rule",
            Errno::BUSY => "another program feeds it: is RuntimeWatchdogSec set for systemd?",
            Errno::NOTTY => "it is no watchdog: name one in device.watchdog",
            _ => "see `dmesg`",
        };
        Error::new(Kind::Device, format!("the watchdog {} {what} ({errno}): {advice}", self.path.display()))
    }

    fn device(&self) -> Result<&OwnedFd> {
        self.device.as_ref().ok_or_else(|| Error::new(Kind::Device, "the watchdog was not started"))
    }
}

impl Watchdog for Hardware {
    fn start(&mut self) -> Result<Duration> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let device = rustix::fs::open(&self.path, flags, Mode::empty())
            .map_err(|errno| self.failed("cannot be opened", errno))?;
        let mut seconds = i32::from(SECONDS);
        // SAFETY: SET_TIMEOUT reads and writes one int, which is what `seconds` is; on a file that is no watchdog the
        // kernel answers ENOTTY and touches nothing.
        let set = unsafe { ioctl(&device, Updater::<SET_TIMEOUT, i32>::new(&mut seconds)) };
        if let Err(errno) = set {
            // Some know one time only.
            // SAFETY: GET_TIMEOUT writes one int, which is what the getter holds.
            let said = unsafe { ioctl(&device, Getter::<GET_TIMEOUT, i32>::new()) };
            seconds = said.map_err(|_| {
                // Opened is counting, and nobody would feed it.
                let _ = rustix::io::write(&device, MAGIC);
                self.failed("does not say how long it waits", errno)
            })?;
        }
        self.device = Some(device);
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
        Ok(Duration::from_secs(seconds.unwrap_or(SECONDS.into())))
    }

    fn feed(&mut self) -> Result<()> {
        // SAFETY: the kernel's watchdog core does not use the argument of KEEPALIVE.
        unsafe { ioctl(self.device()?, NoArg::<KEEPALIVE>::new()) }
            .map_err(|errno| self.failed("cannot be fed", errno))
    }

    fn release(&mut self) -> Result<()> {
        let Some(device) = self.device.take() else { return Ok(()) };
        rustix::io::write(&device, MAGIC).map_err(|errno| self.failed("cannot be stopped", errno)).map(drop)
    }
}

/// What is known of a watchdog without starting it: opening it would.
pub fn examine(name: &str) -> Finding {
    let finding = Finding::about("watchdog", Words::new("看门狗", "watchdog"), name.to_owned());
    if name == "none" {
        return finding;
    }
    if !name.starts_with('/') {
        return finding.well(Words::new("模拟：不会重启设备", "simulated: it restarts nothing"));
    }
    let hardware = Hardware { path: name.into(), device: None };
    let access = rustix::fs::Access::EXISTS | rustix::fs::Access::WRITE_OK;
    if let Err(errno) = rustix::fs::access(&hardware.path, access) {
        return finding.failed(
            Words::from(&hardware.failed("cannot be opened", errno)),
            Words::new(
                "检查看门狗驱动与权限，见 docs/install.md",
                "check its driver and its permissions: docs/install.md",
            ),
        );
    }
    let number = name.strip_prefix("/dev/watchdog").filter(|number| !number.is_empty()).unwrap_or("0");
    let facts = Path::new("/sys/class/watchdog").join(format!("watchdog{number}"));
    let fact = |name: &str| std::fs::read_to_string(facts.join(name)).unwrap_or_default().trim().to_owned();
    let identity = Some(fact("identity")).filter(|identity| !identity.is_empty());
    let identity = identity.unwrap_or_else(|| "-".to_owned());
    finding.well(match fact("nowayout").as_str() {
        "1" => Words::new(
            format!("{identity}，启动后不能停止"),
            format!("{identity}, cannot be stopped once it counts"),
        ),
        _ => Words::same(identity),
    })
}

/// A watchdog that tells the event bus what a real one would have done.
struct Simulated {
    time: Duration,
    /// True for a meal; gone when it was released.
    meals: Option<Sender<()>>,
    events: Events,
}

impl Watchdog for Simulated {
    fn start(&mut self) -> Result<Duration> {
        let (meals, fed) = channel();
        let (time, events) = (self.time, self.events.clone());
        std::thread::Builder::new()
            .name("sim-watchdog".into())
            .spawn(move || {
                loop {
                    match fed.recv_timeout(time) {
                        Ok(()) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                        Err(RecvTimeoutError::Timeout) => {
                            tracing::error!("a real watchdog would restart the machine now");
                            events.send("watchdog", json!({ "state": "bites" }));
                            // It bites once for each time that it was left hungry.
                            if fed.recv().is_err() {
                                return;
                            }
                        }
                    }
                }
            })
            .context(|| "the thread of the simulated watchdog cannot be started")?;
        self.meals = Some(meals);
        Ok(self.time)
    }

    fn feed(&mut self) -> Result<()> {
        let gone = || Error::new(Kind::Device, "the simulated watchdog was not started");
        self.meals.as_ref().ok_or_else(gone)?.send(()).map_err(|_| gone())
    }

    fn release(&mut self) -> Result<()> {
        self.meals = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_numbers_are_those_of_the_kernel() {
        // linux/watchdog.h, as a C compiler expands it.
        assert_eq!((KEEPALIVE, SET_TIMEOUT, GET_TIMEOUT), (0x8004_5705, 0xC004_5706, 0x8004_5707));
    }

    #[test]
    fn the_configuration_names_the_watchdog() {
        let events = Events::new(Arc::new(SystemClock));
        assert!(open("none", &events).unwrap().is_none());
        for wrong in ["dog", "sim:", "sim:0", "sim:3601", "sim:-1", "dev/watchdog"] {
            assert!(open(wrong, &events).err().unwrap().message().contains("device.watchdog"), "{wrong}");
        }
        let said =
            |path: &str| open(path, &events).unwrap().unwrap().start().unwrap_err().message().to_owned();
        assert!(said("/dev/nowhere").contains("modprobe softdog"));
        assert!(said("/dev/null").contains("it is no watchdog"));
        let found = examine("/dev/nowhere");
        assert_eq!(found.state, crate::doctor::State::Failed);
        assert!(found.found.english.contains("modprobe softdog"), "{found:?}");
        assert_eq!(examine("sim").state, crate::doctor::State::Well);
        assert_eq!(examine("none").state, crate::doctor::State::Absent);
    }

    #[test]
    fn a_simulated_one_bites_when_it_is_hungry() {
        let bus = Events::new(Arc::new(SystemClock));
        let (_, mut events) = bus.subscribe(0);
        let mut dog = Simulated { time: Duration::from_millis(50), meals: None, events: bus };
        assert!(dog.feed().is_err());
        dog.start().unwrap();
        for _ in 0..2 {
            dog.feed().unwrap();
            assert_eq!(events.blocking_recv().unwrap().fields["state"], "bites");
        }
        dog.release().unwrap();
        assert!(dog.feed().is_err());
    }
}
