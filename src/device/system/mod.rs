//! The machine under the gate: its clock and zone, where it takes the time from, its restart, its network cards.
//!
//! Calls may wait for another program, at most some seconds; they belong on a thread that may wait.

mod addressing;
mod clocks;
mod network;
mod networkd;
mod simulated;
mod systemd;

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::AdjustedClock;
use crate::error::{Error, Kind, Result};

pub use addressing::{NetworkOrder, NetworkSettings};
pub use clocks::examine_clock;
pub use simulated::Simulated;
pub use systemd::Systemd;

/// An NTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NtpServer {
    /// Host name or address; empty is the machine's own choice.
    pub host: String,
    /// UDP port; 0 is the usual one, 123.
    pub port: u16,
}

/// A network card as a technician knows it. What it does not have is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// Six pairs of upper-case hexadecimal digits with colons between.
    pub mac: String,
    /// IPv4 address.
    pub address: String,
    /// IPv4 mask.
    pub mask: String,
    /// Default gateway over this card.
    pub gateway: String,
    /// The first DNS server of the machine.
    pub dns: String,
}

/// What follows an order to restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The machine goes down and ends the agent like every other program.
    Machine,
    /// The machine stays up: the agent ends in order and begins anew by itself.
    Agent,
}

/// The machine. Errors are `Device` (it does not do this, or does not permit it) or `Timeout`, and say why in
/// a technician's words.
pub trait System: Send + Sync + 'static {
    /// Sets the clock.
    fn set_clock(&self, now: Timestamp) -> Result<()>;
    /// Sets the zone, in minutes ahead of UTC.
    fn set_zone(&self, minutes: i16) -> Result<()>;
    /// The zone in minutes ahead of UTC; `None` where it makes no difference.
    fn zone(&self) -> Option<i16> {
        None
    }
    /// Takes the time from an NTP server, or no longer from any.
    fn follow_ntp(&self, server: Option<&NtpServer>) -> Result<()>;
    /// Whether [`System::restart`] would be refused, as far as that can be told without restarting.
    fn may_restart(&self) -> Result<()>;
    /// Restarts.
    fn restart(&self) -> Result<Restart>;
    /// The network cards: `eth…` first, loopback left out.
    fn interfaces(&self) -> Vec<Interface> {
        network::interfaces()
    }
    /// What was kept for the network cards.
    fn kept_network(&self) -> Vec<NetworkSettings> {
        Vec::new()
    }
    /// Gives a card its address, until it is put back or the gate starts anew. On an error it is as it was.
    fn use_network(&self, _settings: &NetworkSettings) -> Result<()> {
        Err(no_network())
    }
    /// Keeps settings that are in force, for every start from now on.
    fn keep_network(&self, _settings: &NetworkSettings) -> Result<()> {
        Err(no_network())
    }
    /// Gives a card what was kept for it last, or what the machine does with it by itself.
    fn put_network_back(&self, _name: &str) -> Result<()> {
        Err(no_network())
    }
    /// Does so for every card, where it is not so: at a start.
    fn settle_network(&self) -> Result<()> {
        Ok(())
    }
}

fn no_network() -> Error {
    Error::new(
        Kind::Device,
        "the network cannot be set: it is not the gate's (device.system = \"systemd\" sets it)",
    )
}

/// A machine that the gate must not touch.
struct Untouched;

impl Untouched {
    fn refuse<T>(what: &str) -> Result<T> {
        Err(Error::new(
            Kind::Device,
            format!("{what}: this gate does not manage its machine (device.system = \"none\")"),
        ))
    }
}

impl System for Untouched {
    fn set_clock(&self, _now: Timestamp) -> Result<()> {
        Self::refuse("the clock cannot be set")
    }

    /// The gate's own zone is what its rules go by; here it is nobody else's business.
    fn set_zone(&self, _minutes: i16) -> Result<()> {
        Ok(())
    }

    fn follow_ntp(&self, server: Option<&NtpServer>) -> Result<()> {
        if server.is_none() { Ok(()) } else { Self::refuse("NTP cannot be switched on") }
    }

    fn may_restart(&self) -> Result<()> {
        Self::refuse("the machine cannot be restarted")
    }

    fn restart(&self) -> Result<Restart> {
        Self::refuse("the machine cannot be restarted")
    }
}

/// The machine that `device.system` names. `clock` is the agent's, which only a simulated machine sets; `data_dir` the
/// folder in which settings of the network outlive a restart (`terminal.data_dir`).
pub fn open(name: &str, clock: Arc<AdjustedClock>, data_dir: &Path) -> Result<Arc<dyn System>> {
    match name {
        "sim" => Ok(Arc::new(Simulated::new(clock))),
        "sim:refuse" => Ok(Arc::new(Simulated::refusing(clock))),
        "systemd" => Ok(Arc::new(Systemd::new(data_dir))),
        "none" => Ok(Arc::new(Untouched)),
        other => Err(Error::new(
            Kind::Config,
            format!(
                "device.system = {other:?} is not supported by this build: use \"systemd\", \"sim\" or \"none\""
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock};

    #[test]
    fn the_configuration_names_the_machine() {
        let manual = ManualClock::new("2026-03-02T04:00:00Z".parse().unwrap());
        let clock = AdjustedClock::new(manual);
        let later: Timestamp = "2026-03-02T05:00:00Z".parse().unwrap();
        let ntp = NtpServer { host: String::new(), port: 123 };

        let nowhere = Path::new("/nowhere");
        let card = NetworkOrder { name: "eth0".into(), dhcp: true, ..NetworkOrder::default() };
        let card = NetworkSettings::of(&card).unwrap();
        let none = open("none", Arc::clone(&clock), nowhere).unwrap();
        assert_eq!(none.set_clock(later).unwrap_err().kind(), Kind::Device);
        assert_eq!(none.follow_ntp(Some(&ntp)).unwrap_err().kind(), Kind::Device);
        assert_eq!(none.may_restart().unwrap_err().kind(), Kind::Device);
        assert_eq!(none.restart().unwrap_err().kind(), Kind::Device);
        none.set_zone(345).unwrap();
        assert_eq!(none.use_network(&card).unwrap_err().kind(), Kind::Device);

        let refusing = open("sim:refuse", Arc::clone(&clock), nowhere).unwrap();
        for error in [
            refusing.set_clock(later).unwrap_err(),
            refusing.set_zone(480).unwrap_err(),
            refusing.follow_ntp(None).unwrap_err(),
            refusing.may_restart().unwrap_err(),
            refusing.restart().unwrap_err(),
            refusing.use_network(&card).unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Device);
            assert!(error.message().contains("not permitted"), "{error}");
        }
        assert_ne!(clock.now(), later);

        let simulated = open("sim", Arc::clone(&clock), nowhere).unwrap();
        simulated.set_clock(later).unwrap();
        assert_eq!(clock.now(), later);
        assert_eq!(simulated.restart().unwrap(), Restart::Agent);

        assert!(open("windows", clock, nowhere).err().unwrap().to_string().contains("device.system"));
    }
}
