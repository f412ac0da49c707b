//! Hardware: one trait for each kind of device, the real driver and the simulated one.
