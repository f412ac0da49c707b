//! The page and the API of the technician.
use crate::{Result, config, gate::Gate};
#[allow(missing_docs)]
pub struct Server;
#[allow(missing_docs, unused_variables)]
impl Server {
    pub async fn bind(gate: Gate, config: &config::Config, admin: config::Admin) -> Result<Self> {
        unimplemented!()
    }
    pub async fn run(&self, stopped: tokio::sync::watch::Receiver<bool>) -> Result<()> {
        unimplemented!()
    }
}
