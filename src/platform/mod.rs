//! Clients of platforms.

pub mod qyzn;
