//! A machine that exists in memory only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{Interface, NetworkSettings, NtpServer, Restart, System, network};
use crate::clock::AdjustedClock;
use crate::error::{Error, Kind, Result};

/// A machine whose clock is the agent's alone and whose restart is the agent's. What it is ordered is seen on
/// the event bus, where the gate shows it for every machine.
pub struct Simulated {
    clock: Arc<AdjustedClock>,
    refuses: bool,
    network: Mutex<Network>,
}

/// Settings by card.
#[derive(Default)]
struct Network {
    used: BTreeMap<String, NetworkSettings>,
    kept: BTreeMap<String, NetworkSettings>,
}

impl Simulated {
    /// A machine that obeys.
    pub fn new(clock: Arc<AdjustedClock>) -> Self {
        Self { clock, refuses: false, network: Mutex::default() }
    }

    /// A machine on which the agent may do nothing (`sim:refuse`).
    pub fn refusing(clock: Arc<AdjustedClock>) -> Self {
        Self { clock, refuses: true, network: Mutex::default() }
    }

    fn permit(&self, what: &str) -> Result<()> {
        if self.refuses {
            return Err(Error::new(Kind::Device, format!("{what}: not permitted by the simulated machine")));
        }
        Ok(())
    }

    fn network(&self) -> MutexGuard<'_, Network> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl System for Simulated {
    fn set_clock(&self, now: Timestamp) -> Result<()> {
        self.permit("the clock cannot be set")?;
        self.clock.set(now);
        Ok(())
    }

    fn set_zone(&self, _minutes: i16) -> Result<()> {
        self.permit("the zone cannot be set")
    }

    fn follow_ntp(&self, _server: Option<&NtpServer>) -> Result<()> {
        self.permit("NTP cannot be switched")
    }

    fn may_restart(&self) -> Result<()> {
        self.permit("the machine cannot be restarted")
    }

    fn restart(&self) -> Result<Restart> {
        self.may_restart()?;
        Ok(Restart::Agent)
    }

    /// The machine's own cards, with the addresses that this one was given.
    fn interfaces(&self) -> Vec<Interface> {
        let mut interfaces = network::interfaces();
        let network = self.network();
        for card in &mut interfaces {
            let Some(order) = network.used.get(&card.name).map(NetworkSettings::order) else { continue };
            if !order.dhcp {
                (card.address, card.mask, card.gateway) = (order.address, order.mask, order.gateway);
                card.dns = order.dns.into_iter().next().unwrap_or_default();
            }
        }
        interfaces
    }

    fn kept_network(&self) -> Vec<NetworkSettings> {
        self.network().kept.values().cloned().collect()
    }

    fn use_network(&self, settings: &NetworkSettings) -> Result<()> {
        self.permit("the network cannot be set")?;
        self.network().used.insert(settings.name().to_owned(), settings.clone());
        Ok(())
    }

    fn keep_network(&self, settings: &NetworkSettings) -> Result<()> {
        self.permit("the network cannot be kept")?;
        self.network().kept.insert(settings.name().to_owned(), settings.clone());
        Ok(())
    }

    fn put_network_back(&self, name: &str) -> Result<()> {
        self.permit("the network cannot be put back")?;
        let mut network = self.network();
        match network.kept.get(name).cloned() {
            Some(kept) => network.used.insert(name.to_owned(), kept),
            None => network.used.remove(name),
        };
        Ok(())
    }
}
