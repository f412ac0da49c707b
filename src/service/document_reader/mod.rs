//! The document reader service: local pages and programs see what the gate's reader of documents reads. It speaks the
//! protocol of V6.8 of that name, as deployed pages use it, over `ws` and `wss` on one port; `docs/document-reader.md`
//! says how.
//!
//! A page cannot hold up another, nor the gate: each has a queue of its own, and one that takes nothing is let go. What
//! is read goes to pages and nowhere else, no log tells of it.

mod certificate;
mod content;
mod desk;
pub mod drawn;
mod examine;
mod message;
pub mod origin;
mod paced;
mod page;
mod plate;
pub mod request;
mod settings;
mod texts;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

pub use certificate::public as certificate;
pub use examine::examine;
pub use page::MESSAGE_BYTES;
pub use settings::Settings;

use crate::config::{Config, DocumentReader};
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::text::Language;
use desk::Desk;
use origin::{Origins, Refusals};
use paced::Paced;
use page::Page;

/// Pages at the same time.
pub const PAGES: usize = 256;

/// Connections that are not pages yet.
const STRANGERS: usize = 64;

/// How long a connection may take to become a page.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

/// Largest head of a request, in bytes.
const HEAD_BYTES: usize = 16 << 10;

/// How long pages may take to be told that the service goes.
const FINISH_WITHIN: Duration = Duration::from_secs(2);

/// What is answered who is no page, in Chinese and English.
const HERE: [&str; 2] = [
    "证件阅读服务正在运行，请使用 WebSocket 连接 /echo",
    "The document reader service is here: connect to /echo with a WebSocket",
];

/// First byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// The server, bound to its address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What connections share.
struct Shared {
    desk: Arc<Desk>,
    origins: Origins,
    refusals: Refusals,
    tls: TlsAcceptor,
    language: Language,
    pages: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Server {
    /// Takes the address, reads the settings, and makes the certificate if there is none. `Config` if something that
    /// the configuration names cannot be used, `Network` if the address cannot be taken.
    pub async fn bind(gate: Gate, config: &Config, service: &DocumentReader) -> Result<Self> {
        let drawn = service.pictures.iter().any(|name| name == "SidFront" || name == "SidBack");
        if drawn && let Err(error) = drawn::check_font(&service.font) {
            tracing::warn!("{error}");
        }
        let tls = certificate::open(service, &config.terminal.data_dir, &config.terminal.serial)?;
        let language = config.terminal.language;
        let desk = Desk::new(gate, service, language, &config.terminal.serial)?;
        let listener = TcpListener::bind(service.listen).await.map_err(|error| {
            let advice = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program listens there: stop it, or change service.document_reader.listen"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need the right to bind them: sysctl net.ipv4.ip_unprivileged_port_start=90, see \
                     docs/document-reader.md"
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address: correct service.document_reader.listen"
                }
                _ => "see service.document_reader.listen",
            };
            let message = format!("the document reader service cannot listen on {} ({advice})", service.listen);
            Error::caused(Kind::Network, message, error)
        })?;
        let address = listener.local_addr()?;
        tracing::info!(listen = %address, "the document reader service listens");
        let shared = Shared {
            desk: Arc::new(desk),
            origins: Origins::new(&service.allowed_origins),
            refusals: Refusals::default(),
            tls: TlsAcceptor::from(tls),
            language,
            pages: Arc::new(Semaphore::new(PAGES)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
        };
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// Where it listens; the port is the real one when the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many sides of identity cards have been drawn for pages.
    pub fn drawings(&self) -> u64 {
        self.shared.desk.drawings()
    }

    /// Serves until `stopped` is true; pages are told before. However this ends, no page stays connected to a service that
    /// does not hear its reader any more.
    pub async fn run(&self, stopped: watch::Receiver<bool>) -> Result<()> {
        let _closes = Closes(&self.shared.desk);
        self.shared.desk.open();
        // In this order: pages that are accepted meanwhile are told as well.
        let accepting = self.accept();
        tokio::select! {
            () = self.shared.desk.run(stopped) => {}
            () = accepting => {}
        }
        let all = u32::try_from(PAGES).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(FINISH_WITHIN, self.shared.pages.acquire_many(all)).await;
        Ok(())
    }

    async fn accept(&self) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // A client that went away while it waited is nothing; out of file descriptors passes.
                    tracing::warn!(%error, "a connection to the document reader service could not be accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let Ok(stranger) = Arc::clone(&self.shared.strangers).try_acquire_owned() else {
                // Closed: it comes again.
                continue;
            };
            // Small messages at once; refused, they come a little later.
            let _ = stream.set_nodelay(true);
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move {
                if tokio::time::timeout(HEAD_WITHIN, shared.meet(stream)).await.is_err() {
                    tracing::debug!(
                        "a connection to the document reader service took too long to say what it wants"
                    );
                }
                drop(stranger);
            });
        }
    }
}

/// Closes the desk when it is dropped.
struct Closes<'a>(&'a Desk);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Shared {
    /// Serves a connection until it has become a page, which goes on by itself, or ends.
    async fn meet(self: Arc<Self>, stream: TcpStream) {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == TLS_HANDSHAKE => match self.tls.accept(stream).await {
                Ok(stream) => self.converse(stream).await,
                Err(error) => tracing::debug!(%error, "no TLS with a page"),
            },
            Ok(1) => self.converse(stream).await,
            _ => {}
        }
    }

    async fn converse(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let shared = Arc::clone(&self);
        let service = service_fn(move |request| {
            let answer = shared.answer(request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to the document reader service ended");
        }
    }

    /// Answers the request that a connection begins with.
    fn answer(self: &Arc<Self>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(request.uri().path(), "/" | "/echo" | "/echo/") {
            return self.plain(
                StatusCode::NOT_FOUND,
                "没有这个地址，请使用 /echo",
                "There is nothing here: use /echo",
            );
        }
        if request.method() != Method::GET {
            return self.plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "请使用 WebSocket 连接",
                "Connect with a WebSocket",
            );
        }
        let key = match handshake(request.headers()) {
            Ok(Some(key)) => key,
            Ok(None) => return self.here(),
            Err(status) => {
                let mut response =
                    self.plain(status, "WebSocket 握手不正确", "This is no handshake of a WebSocket");
                if status == StatusCode::UPGRADE_REQUIRED {
                    let headers = response.headers_mut();
                    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                }
                return response;
            }
        };
        if let Err(origin) = self.origins.check(request.headers()) {
            if let Some(silenced) = self.refusals.tells(&origin) {
                tracing::warn!(
                    origin,
                    silenced,
                    "a page of an origin that is not allowed was refused: service.document_reader.allowed_origins \
                     names those that are"
                );
            }
            return self.plain(
                StatusCode::FORBIDDEN,
                "不允许此来源的页面使用本服务",
                "Pages of this origin may not use this service",
            );
        }
        let Ok(permit) = Arc::clone(&self.pages).try_acquire_owned() else {
            return self.plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "连接的页面过多，请关闭一些",
                "Too many pages are connected: close some",
            );
        };
        let Some(seat) = self.desk.admit() else {
            return self.plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "服务正在停止，请稍后重新连接",
                "The service is about to go: connect again later",
            );
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            match hyper::upgrade::on(&mut request).await {
                Ok(upgraded) => {
                    let (stream, taken) = Paced::new(TokioIo::new(upgraded));
                    let socket =
                        WebSocketStream::from_raw_socket(stream, Role::Server, Some(page::limits())).await;
                    Page::new(socket, taken, Arc::clone(&shared.desk), seat).run().await;
                }
                Err(error) => tracing::debug!(%error, "a page went before it was connected"),
            }
            drop(permit);
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
        response
    }

    /// What a technician sees who makes a browser accept the certificate, and the doctor who looks whether it is us.
    fn here(&self) -> Response<Full<Bytes>> {
        let [chinese, english] = HERE;
        self.plain(StatusCode::OK, chinese, english)
    }

    fn plain(
        &self,
        status: StatusCode,
        chinese: &'static str,
        english: &'static str,
    ) -> Response<Full<Bytes>> {
        let text = match self.language {
            Language::Chinese => chinese,
            Language::English => english,
        };
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// The key that answers the handshake of RFC 6455 (section 4.2), if a request is one; `None` if it is not. The status with
/// which to answer a handshake that is damaged or of another version.
fn handshake(headers: &HeaderMap) -> std::result::Result<Option<HeaderValue>, StatusCode> {
    let names = |name: header::HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    if !names(header::UPGRADE, "websocket") {
        return Ok(None);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(StatusCode::BAD_REQUEST)?;
    let random = STANDARD.decode(key.as_bytes()).map_err(|_| StatusCode::BAD_REQUEST)?;
    if random.len() != 16 || !names(header::CONNECTION, "upgrade") {
        return Err(StatusCode::BAD_REQUEST);
    }
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map(Some).map_err(|_| StatusCode::BAD_REQUEST)
}
