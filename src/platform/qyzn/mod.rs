//! QYZN V3.7 over TCP: the gate as a client of such a platform.
//!
//! From the wire inwards: [`codec`] makes frames of bytes; `connection` serves one connection with what
//! `writer`, [`answered`] and [`records`] do for it; [`link`] dials again and keeps what must outlive a
//! connection; [`duties`] is the table of messages and does what they order, one file for each family:
//! [`person`] (4.3, 4.4), [`door`] (4.5.5, 4.5.6), [`config`](self::config) (4.5.10), [`resend`] (4.5.11),
//! [`record`] (4.6.1), [`time`] (4.6.2).
//!
//! Sequences: records have the upper half of the numbers, by their place in the outbox, so that a record keeps
//! its sequence for ever; all other requests count through the lower half from a random number on.

pub mod answered;
pub mod code;
pub mod codec;
pub mod config;
mod connection;
pub mod door;
pub mod duties;
pub mod json;
pub mod link;
pub mod person;
pub mod record;
pub mod records;
pub mod resend;
pub mod time;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::error::Result;
use crate::gate::Gate;
use duties::Duties;
use link::{Identity, Link, Options};

/// Keeps the gate's link to its platform until `stopped` turns true.
pub async fn run(
    gate: Gate,
    terminal: crate::config::Terminal,
    config: crate::config::Qyzn,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let identity = Identity {
        serial: terminal.serial.clone(),
        mac: mac(&terminal.mac),
        model: terminal.model.clone(),
        version: format!("V{}", env!("CARGO_PKG_VERSION")),
    };
    let duties = Arc::new(Duties::new(gate, identity, terminal.language));
    let wake = Arc::clone(&duties);
    let (link, _requests) = Link::new(duties, Options::new(&config));
    let server = config.server;
    tokio::select! {
        () = link.run(|| dial(&server), stopped) => {}
        () = wake.announce_records() => {}
    }
    Ok(())
}

/// Connects. Small frames go out at once, and a line that died without a word is noticed by the kernel.
async fn dial(server: &str) -> io::Result<TcpStream> {
    use rustix::net::sockopt;
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    Ok(stream)
}

/// The MAC address as configured, or that of the first network card by name.
fn mac(configured: &str) -> String {
    if configured != "auto" {
        return configured.to_owned();
    }
    let mut cards: Vec<_> =
        std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten().map(|card| card.path()).collect();
    cards.sort();
    let address = cards.iter().find_map(|card| {
        let address = std::fs::read_to_string(card.join("address")).ok()?;
        let digits: String =
            address.chars().filter(char::is_ascii_hexdigit).map(|digit| digit.to_ascii_uppercase()).collect();
        (digits.len() == 12 && digits.bytes().any(|digit| digit != b'0')).then_some(digits)
    });
    address.unwrap_or_else(|| {
        tracing::warn!("no network card with a MAC address; set terminal.mac for the QYZN platform");
        "000000000000".to_owned()
    })
}
