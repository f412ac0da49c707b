//! A virtual card on a virtual reader: the socket protocol of vpcd (Virtual Smart Card Architecture). The reader's side listens, on
//! port 35963 by default; each message is its length in two bytes, big-endian, and that many bytes. A message of one byte is
//! an order: 0 power off, 1 power on, 2 reset, 4 tell the answer to reset; a longer one is a command, and is answered.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Passport;
use crate::device::chip::card::Card as _;
use crate::error::{Context as _, Error, Kind, Result};

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to a virtual reader.
///
/// # Errors
/// `Network`: nobody listens there.
pub fn connect(address: &str) -> Result<TcpStream> {
    let failed = || format!("no virtual reader listens on {address} (is pcscd running with vpcd?)");
    let mut addresses = address.to_socket_addrs().context_as(Kind::Network, failed)?;
    let found = addresses.next().ok_or_else(|| Error::new(Kind::Network, failed()))?;
    TcpStream::connect_timeout(&found, PATIENCE).context_as(Kind::Network, failed)
}

/// Lays a passport onto a virtual reader, until the reader closes the connection.
///
/// # Errors
/// `Network`: the connection broke in the middle of a message.
pub fn serve(stream: &mut TcpStream, passport: &Passport) -> Result<()> {
    let broken = || "the virtual reader has gone in the middle of a message";
    let mut chip = passport.chip();
    loop {
        let mut length = [0; 2];
        match stream.read_exact(&mut length) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read.context_as(Kind::Network, broken)?,
        }
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).context_as(Kind::Network, broken)?;
        let answer = match message[..] {
            [] => continue,
            [0..=2] => {
                chip.reset();
                continue;
            }
            [4] => chip.atr().to_vec(),
            [_] => continue,
            _ => chip.transmit(&message)?,
        };
        let length = u16::try_from(answer.len())
            .map_err(|_| Error::new(Kind::Input, "the answer is too long for the virtual reader"))?;
        let whole = [&length.to_be_bytes()[..], &answer].concat();
        stream.write_all(&whole).context_as(Kind::Network, broken)?;
    }
}
