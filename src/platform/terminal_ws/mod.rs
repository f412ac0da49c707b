//! The face terminal's WebSocket protocol (人脸识别终端websocket接口): the gate as a client of such a platform.
//!
//! From the wire inwards: [`dial`] makes a connection to the [`address`]; [`link`] serves it, keeps what must
//! outlive it and dials again; [`message`] reads a request and [`form`] the form in it, [`person`] what the
//! form says of people; [`status`] is what an answer says.

pub mod address;
pub mod dial;
pub mod form;
pub mod link;
pub mod message;
pub mod person;
pub mod status;

use tokio::sync::watch;

use crate::config;
use crate::error::Result;
use crate::gate::Gate;
use dial::Dialler;
use link::{Link, Options};

/// Keeps the gate's link to its platform until `stopped` turns true. `Config` when it cannot even begin.
pub async fn run(
    gate: Gate,
    terminal: config::Terminal,
    config: config::TerminalWs,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let options = Options::new(&config);
    run_with(gate, terminal, config, options, stopped).await
}

/// The same with times and bounds of the caller's.
pub async fn run_with(
    gate: Gate,
    terminal: config::Terminal,
    config: config::TerminalWs,
    options: Options,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let dialler = Dialler::new(&config, &terminal.serial)?;
    let link = Link::new(gate, terminal.serial, config.key, options);
    link.run(&dialler, stopped).await;
    Ok(())
}
