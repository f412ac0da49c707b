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
use crate::{Result, config, gate::Gate};
#[allow(missing_docs, unused_variables)]
pub async fn run(gate: Gate, terminal: config::Terminal, config: config::Qyzn, stopped: tokio::sync::watch::Receiver<bool>) -> Result<()> { unimplemented!() }
