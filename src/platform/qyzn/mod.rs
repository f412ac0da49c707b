//! QYZN V3.7 over TCP.

pub mod answered;
pub mod code;
pub mod codec;
mod connection;
pub mod json;
pub mod link;
pub mod records;
pub mod time;
mod writer;
