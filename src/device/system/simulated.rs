//! A machine that exists in memory only.

use std::sync::Arc;

use jiff::Timestamp;

use super::{NtpServer, Restart, System};
use crate::clock::AdjustedClock;
use crate::error::{Error, Kind, Result};

/// A machine whose clock is the agent's alone and whose restart is the agent's. What it is ordered is seen on
/// the event bus, where the gate shows it for every machine.
pub struct Simulated {
    clock: Arc<AdjustedClock>,
    refuses: bool,
}

impl Simulated {
    /// A machine that obeys.
    pub fn new(clock: Arc<AdjustedClock>) -> Self {
        Self { clock, refuses: false }
    }

    /// A machine on which the agent may do nothing (`sim:refuse`).
    pub fn refusing(clock: Arc<AdjustedClock>) -> Self {
        Self { clock, refuses: true }
    }

    fn permit(&self, what: &str) -> Result<()> {
        if self.refuses {
            return Err(Error::new(Kind::Device, format!("{what}: not permitted by the simulated machine")));
        }
        Ok(())
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
}
