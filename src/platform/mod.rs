//! Clients of platforms.

pub mod answered;
pub mod back_off;
pub mod http_push;
pub mod qyzn;
pub mod terminal_ws;
