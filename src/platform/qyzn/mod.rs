//! QYZN V3.7 over TCP.
use crate::{Result, config, gate::Gate};
#[allow(missing_docs, unused_variables)]
pub async fn run(
    gate: Gate,
    terminal: config::Terminal,
    config: config::Qyzn,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> Result<()> {
    unimplemented!()
}
