//! Clients of platforms.

pub mod http_push;
pub mod qyzn;
