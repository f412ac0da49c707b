//! Hardware: one trait for each kind of device, the real driver and the simulated one behind it. The
//! configuration names which (`"sim"`, `"gpio:…"`, `"files:DIR"`); nothing else in the agent can tell.

pub mod camera;
pub mod relay;
pub mod system;
pub mod wiegand;
