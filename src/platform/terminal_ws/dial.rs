//! Making a connection: TCP, TLS where the address asks for it, and the WebSocket's handshake with the
//! terminal's name and password.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Error as Ws};

use super::address::Address;
use crate::error::{Error, Kind, Result};
use crate::tls;

/// A byte stream, plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What has passed over a line. It moves with every byte, where messages come whole or not at all: that alone tells
/// a slow platform from one that does not read, and a large message on a slow line from a line that is dead.
#[derive(Debug)]
pub struct Traffic {
    /// What `heard_ms` counts from.
    began: Instant,
    taken: AtomicU64,
    given: AtomicU64,
    heard_ms: AtomicU64,
}

impl Traffic {
    /// Bytes that the platform has taken, counted on.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes that the platform has given, counted on.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// When it last gave one, or when the line was made, in whole milliseconds.
    pub fn heard(&self) -> Instant {
        self.began + Duration::from_millis(self.heard_ms.load(Ordering::Relaxed))
    }
}

/// The line below a connection. It counts what passes.
pub struct Line {
    stream: Box<dyn Stream>,
    traffic: Arc<Traffic>,
}

impl Line {
    pub(super) fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let traffic = Traffic {
            began: Instant::now(),
            taken: AtomicU64::new(0),
            given: AtomicU64::new(0),
            heard_ms: AtomicU64::new(0),
        };
        Self { stream: Box::new(stream), traffic: Arc::new(traffic) }
    }

    /// What passes over it.
    pub fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            let traffic = &self.traffic;
            let heard = u64::try_from(traffic.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            traffic.heard_ms.store(heard, Ordering::Relaxed);
            traffic.given.fetch_add(count as u64, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.traffic.taken.fetch_add(*count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// A connection that both sides have agreed to.
pub type Socket = WebSocketStream<Line>;

/// Bytes read at once: photos come in large messages, and a gate has one such line.
const READ_BUFFER: usize = 32 * 1024;

/// Why there is no connection.
#[derive(Debug)]
pub struct Failure {
    /// The platform's HTTP status, where it gave one.
    pub status: Option<u16>,
    /// In words, with what to do next.
    pub reason: String,
}

/// What every attempt needs.
pub struct Dialler {
    address: Address,
    request: Request,
    tls: Option<Arc<rustls::ClientConfig>>,
    socket: WebSocketConfig,
    serial: String,
}

impl Dialler {
    /// `Config` when the address, the names or the certificate cannot be used.
    pub fn new(config: &crate::config::TerminalWs, serial: &str) -> Result<Self> {
        let address = Address::parse(&config.url, serial)?;
        let mut request = address.url.as_str().into_client_request().map_err(|error| {
            Error::caused(Kind::Config, format!("no request can be made of {}", address.url), error)
        })?;
        request.headers_mut().insert(AUTHORIZATION, basic(&config.username, &config.password)?);
        let tls = match address.tls {
            true => Some(tls::client(&tls::Trust::of(&config.pinned_certificate))?),
            false => None,
        };
        let limit = config.message_limit_mib.clamp(1, 1024) as usize * 1024 * 1024;
        let socket = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(limit))
            .max_frame_size(Some(limit));
        Ok(Self { address, request, tls, socket, serial: serial.to_owned() })
    }

    /// One attempt.
    pub async fn dial(&self) -> Result<Socket, Failure> {
        let failed = |reason: String| Failure { status: None, reason };
        let Address { host, port, .. } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| failed(format!("no connection to {host}:{port}: {error}")))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        let line = match &self.tls {
            Some(tls) => {
                Line::new(tls::connect(tls, host, stream).await.map_err(|error| failed(error.to_string()))?)
            }
            None => Line::new(stream),
        };
        tokio_tungstenite::client_async_with_config(self.request.clone(), line, Some(self.socket))
            .await
            .map(|(socket, _)| socket)
            .map_err(|error| self.explain(&error))
    }

    /// What a failed handshake means for the technician.
    fn explain(&self, error: &tungstenite::Error) -> Failure {
        let Ws::Http(response) = error else {
            let reason = match error {
                Ws::Io(error) => format!("the platform broke the handshake off: {error}"),
                error => format!(
                    "what answers at {}:{} is no WebSocket platform ({error}): check platform.terminal_ws.url",
                    self.address.host, self.address.port
                ),
            };
            return Failure { status: None, reason };
        };
        let status = response.status().as_u16();
        let serial = &self.serial;
        let reason = match status {
            401 => {
                "the platform refuses the name or the password (401): check platform.terminal_ws.username \
                    and password"
                    .to_owned()
            }
            403 => format!(
                "the platform does not let this gate in (403): its name and password were read, but it must \
                 be released there with the serial number {serial}"
            ),
            404 => format!(
                "the platform knows no such place (404): check platform.terminal_ws.url, and that the serial \
                 number {serial} is entered on the platform"
            ),
            500..=599 => format!("the platform is in trouble (HTTP {status})"),
            status => format!("the platform answered HTTP {status} instead of opening a WebSocket"),
        };
        Failure { status: Some(status), reason }
    }
}

/// RFC 7617.
fn basic(username: &str, password: &str) -> Result<HeaderValue> {
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    let mut value = HeaderValue::try_from(format!("Basic {credentials}"))
        .map_err(|_| Error::new(Kind::Config, "platform.terminal_ws.username or password cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_authorization() {
        // As in the document's request: dev, 123.
        assert_eq!(basic("dev", "123").unwrap(), "Basic ZGV2OjEyMw==");
        assert!(!format!("{:?}", basic("dev", "123").unwrap()).contains("ZGV2"));
    }
}
