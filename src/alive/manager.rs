//! What the service manager is told (sd_notify(3)): that the gate is ready, how it is, that it is alive, that it stops.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::error::{Context, Error, Kind, Result};

/// The service manager that has started the agent.
pub struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How long it waits for the next sign of life, if it does.
    pub watchdog: Option<Duration>,
}

impl Manager {
    /// The one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`); `None` where nobody
    /// wants to be told. `Config` for an address that is none.
    pub fn of_environment() -> Result<Option<Self>> {
        let text = |name: &str| std::env::var(name).ok();
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Ok(None);
        };
        let watchdog =
            watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id());
        Self::at(address.as_bytes(), watchdog).map(Some)
    }

    /// The one at an address: a path, or `@NAME` for an abstract one.
    pub fn at(address: &[u8], watchdog: Option<Duration>) -> Result<Self> {
        let wrong = |error: std::io::Error| {
            Error::caused(Kind::Config, "NOTIFY_SOCKET is no address of a service manager", error)
        };
        let address = match address.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name).map_err(wrong)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address)).map_err(wrong)?,
        };
        let socket = UnixDatagram::unbound().context(|| "there is no socket for the service manager")?;
        // A manager that is behind must not hold the thread that feeds the watchdog.
        socket.set_nonblocking(true).context(|| "the socket for the service manager")?;
        Ok(Self { socket, address, watchdog })
    }

    /// Tells it something. Whether it listens is its own affair: what failed is in the log.
    pub fn tell(&self, what: &str) {
        if let Err(error) = self.socket.send_to_addr(what.as_bytes(), &self.address) {
            tracing::debug!(%error, what, "the service manager was not told");
        }
    }
}

/// The time of `WATCHDOG_USEC`, unless it is meant for another process.
fn watchdog(microseconds: Option<&str>, pid: Option<&str>, mine: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(mine)) {
        return None;
    }
    let microseconds: u64 = microseconds?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(socket: &UnixDatagram) -> String {
        let mut words = [0; 256];
        loop {
            match socket.recv(&mut words) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                length => return String::from_utf8(words[..length.unwrap()].to_vec()).unwrap(),
            }
        }
    }

    #[test]
    fn it_is_told_at_a_path_and_at_an_abstract_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let manager = Manager::at(path.as_os_str().as_bytes(), None).unwrap();
        manager.tell("READY=1\nSTATUS=ready");
        assert_eq!(receive(&listener), "READY=1\nSTATUS=ready");
        let name = format!("menshen-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Manager::at(format!("@{name}").as_bytes(), None).unwrap().tell("WATCHDOG=1");
        assert_eq!(receive(&listener), "WATCHDOG=1");
        // One that has gone costs nothing.
        drop(listener);
        manager.tell("STOPPING=1");
        assert!(Manager::at(&[b'x'; 200], None).is_err());
    }

    #[test]
    fn the_time_is_for_this_process() {
        assert_eq!(watchdog(Some("2000000"), Some("7"), 7), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(Some("2000000"), None, 7), Some(Duration::from_secs(2)));
        assert_eq!(watchdog(Some("2000000"), Some("8"), 7), None);
        assert_eq!(watchdog(Some("0"), None, 7), None);
        assert_eq!(watchdog(Some("soon"), None, 7), None);
        assert_eq!(watchdog(None, None, 7), None);
    }
}
