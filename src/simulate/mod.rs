//! Simulators: the other end of each wire, as programs that speak it and can misbehave.

pub mod http_push;
pub mod qyzn;
