//! QYZN V3.7 over TCP: the gate as a client of such a platform.
//!
//! From the wire inwards: [`codec`] makes frames of bytes; `connection` serves one connection with what
//! `writer`, [`answered`] and [`records`] do for it; [`link`] dials again and keeps what must outlive a
//! connection; [`duties`] is the table of messages and does what they order, one file for each family:
//! [`person`] (4.3, 4.4), [`snapshot`] (4.3.5), [`sync`] (4.3.6, 4.3.7), [`restart`] (4.5.1), [`upgrade`] (4.5.2),
//! [`output`] (4.5.3, 4.5.4), [`door`] (4.5.5 to 4.5.7), [`card`] (4.5.8), [`pass_rule`] (4.5.9),
//! [`config`](self::config) (4.5.10), [`resend`] (4.5.11), [`record`] (4.6.1), [`time`] (4.6.2), [`qr`] (4.6.3),
//! [`call`] (4.7).
//!
//! Sequences: records have the upper half of the numbers, by their place in the outbox, so that a record keeps
//! its sequence for ever; all other requests count through the lower half from a random number on.

pub mod answered;
pub mod call;
pub mod card;
pub mod code;
pub mod codec;
pub mod config;
mod connection;
pub mod door;
pub mod duties;
pub mod json;
pub mod link;
pub mod output;
pub mod pass_rule;
pub mod person;
pub mod qr;
pub mod recent;
pub mod record;
pub mod records;
pub mod requests;
pub mod resend;
pub mod restart;
pub mod snapshot;
pub mod sync;
pub mod time;
pub mod upgrade;
mod writer;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::error::Result;
use crate::gate::Gate;
use crate::tls::{self, Stream, Trust};
use crate::update::Updates;
use duties::Duties;
use link::{Identity, Link, Options};
use requests::Requests;

/// Keeps the gate's link to its platform until `stopped` turns true. What others ask of the platform with
/// `requests`, or with a clone of it, goes over this link while it is up. Packages that it orders go to `updates`.
pub async fn run(
    gate: Gate,
    terminal: crate::config::Terminal,
    config: crate::config::Qyzn,
    requests: Requests,
    updates: Updates,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let _unreached = Unreached(gate.clone());
    let identity = Identity {
        serial: terminal.serial.clone(),
        mac: mac(&terminal.mac),
        model: terminal.model.clone(),
        version: format!("V{}", env!("CARGO_PKG_VERSION")),
    };
    let duties = Arc::new(Duties::new(gate.clone(), identity, terminal.language, updates));
    if let Err(error) = duties.begin().await {
        // Better an old answer obeyed than a visitor left at the door.
        tracing::warn!(%error, "it is not known which records are older than this link");
    }
    let wake = Arc::clone(&duties);
    let mut link = Link::serving(duties, Options::new(&config), &requests);
    let secure = match config.tls {
        true => Some(tls::client(&Trust::of(&config.pinned_certificate))?),
        false => None,
    };
    match restart::obeyed(gate.store()).await {
        Ok(Some((key, answer))) => link.recall(key, &answer),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "it is not known whether a platform ordered the last restart"),
    }
    let server = config.server;
    tokio::select! {
        () = link.run(|| dial(&server, secure.as_ref()), stopped) => {}
        () = wake.announce_records() => {}
        () = wake.send_people(requests.clone()) => {}
        () = qr::weigh(gate, requests.clone()) => {}
    }
    Ok(())
}

/// Tells the gate that there is no line when the link ends, in whatever way: after a panic, too, nobody would wait
/// for a platform that is not there.
struct Unreached(Gate);

impl Drop for Unreached {
    fn drop(&mut self) {
        self.0.platform_reached(false);
    }
}

/// Connects. Small frames go out at once, and a line that died without a word is noticed by the kernel.
async fn dial(server: &str, secure: Option<&Arc<rustls::ClientConfig>>) -> io::Result<Stream> {
    use rustix::net::sockopt;
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    let Some(secure) = secure else { return Ok(Stream::Plain(stream)) };
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    tls::connect(secure, host, stream).await.map_err(io::Error::other)
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
