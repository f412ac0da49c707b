//! The other end: how a command talks to the agent that runs on this gate.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{answer, guard};
use crate::config::Admin;
use crate::error::{Context, Error, Kind, Result};

/// How long the agent may take to answer: three pictures on a slow board.
const WITHIN: Duration = Duration::from_secs(120);

/// How long a connection for events may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// How often a listener to events is asked whether to go on.
const GLANCE: Duration = Duration::from_millis(250);

/// The largest event.
const EVENT_BYTES: u64 = 1 << 20;

/// How long a package may take on its way to the agent, and there until it is verified.
const UPLOAD_WITHIN: Duration = Duration::from_secs(1800);

/// A file goes out in pieces of so many bytes.
const PIECE_BYTES: usize = 256 << 10;

/// The largest answer.
const ANSWER_BYTES: usize = 64 << 20;

/// A way to the running agent.
pub struct Client {
    address: std::net::SocketAddr,
    token: Option<String>,
}

impl Client {
    /// Where the configuration says that the agent listens, with the token it names.
    pub fn new(admin: &Admin) -> Result<Self> {
        let token = admin.token_file.as_deref().map(guard::read_token).transpose()?;
        let mut address = admin.listen;
        // "Everywhere" is no place to go to; this machine is one of them.
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(Self { address, token })
    }

    /// Sends a request and waits for its answer; `Null` for an empty one. An error of the agent comes back with
    /// its kind and text, one on the way is `Network` or `Timeout`.
    pub fn request(&self, method: Method, path: &str, body: Option<&impl serde::Serialize>) -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context(|| "the runtime cannot be started")?;
        let body = match body {
            Some(body) => serde_json::to_vec(body)
                .map_err(|error| Error::caused(Kind::Input, "the request cannot be written", error))?,
            None => Vec::new(),
        };
        let body = Full::new(Bytes::from(body));
        runtime.block_on(self.within(WITHIN, self.send(method, path, "application/json", None, body)))
    }

    /// Sends a file as it is, in pieces, and waits for the answer.
    pub fn upload(&self, path: &str, file: &std::path::Path) -> Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context(|| "the runtime cannot be started")?;
        let opened = std::fs::File::open(file)
            .context_as(Kind::Input, || format!("{} cannot be read", file.display()))?;
        let metadata = opened.metadata()?;
        if !metadata.is_file() {
            return Err(Error::new(Kind::Input, format!("{} is no file", file.display())));
        }
        let opened = tokio::fs::File::from_std(opened);
        let pieces = futures_util::stream::unfold(opened, |mut opened| async move {
            let mut piece = vec![0; PIECE_BYTES];
            match tokio::io::AsyncReadExt::read(&mut opened, &mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some((Ok(hyper::body::Frame::data(Bytes::from(piece))), opened))
                }
                Err(error) => Some((Err(error), opened)),
            }
        });
        let body = http_body_util::StreamBody::new(Box::pin(pieces));
        let sent = self.send(Method::POST, path, "application/octet-stream", Some(metadata.len()), body);
        runtime.block_on(self.within(UPLOAD_WITHIN, sent))
    }

    async fn within(&self, within: Duration, sent: impl Future<Output = Result<Value>>) -> Result<Value> {
        tokio::time::timeout(within, sent).await.unwrap_or_else(|_| {
            Err(Error::new(
                Kind::Timeout,
                format!("the agent at {} did not answer within {} s", self.address, within.as_secs()),
            ))
        })
    }

    /// Listens to the events, first to those that are remembered: each is handed to `take`, until it wants no more or the agent goes. `take`
    /// gets nothing now and then, so that it can end a silence.
    pub fn listen(&self, mut take: impl FnMut(Option<Value>) -> bool) -> Result<()> {
        use std::io::{BufRead as _, Read as _, Write as _};
        let way = || format!("the agent cannot be reached at {} (service.admin.listen)", self.address);
        let mut stream = std::net::TcpStream::connect_timeout(&self.address, CONNECT_WITHIN)
            .context_as(Kind::Network, way)?;
        stream.set_read_timeout(Some(GLANCE)).context_as(Kind::Network, way)?;
        let token = self
            .token
            .as_ref()
            .map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        // HTTP/1.0, so that the events come as they are and not in chunks.
        let request = format!(
            "GET /api/v1/events HTTP/1.0\r\nHost: {}\r\n{token}Accept: text/event-stream\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).context_as(Kind::Network, way)?;
        let mut lines = std::io::BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            match (&mut lines).take(EVENT_BYTES - line.len() as u64).read_until(b'\n', &mut line) {
                // Too long, or the end.
                Ok(_) if line.last() != Some(&b'\n') => return Ok(()),
                Ok(_) => {
                    let event =
                        line.strip_prefix(b"data:").and_then(|data| serde_json::from_slice(data).ok());
                    if event.is_some() && !take(event) {
                        return Ok(());
                    }
                    line.clear();
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    if !take(None) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error).context_as(Kind::Network, way),
            }
        }
    }

    async fn send<B>(
        &self,
        method: Method,
        path: &str,
        content: &'static str,
        length: Option<u64>,
        body: B,
    ) -> Result<Value>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let way = || format!("the agent cannot be reached at {} (service.admin.listen)", self.address);
        let lost = |error: hyper::Error| Error::caused(Kind::Network, way(), error);
        let stream = TcpStream::connect(self.address).await.context_as(Kind::Network, way)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, content);
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(body)
            .map_err(|error| Error::caused(Kind::Input, "the request cannot be written", error))?;
        let response = sender.send_request(request).await.map_err(lost)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| Error::caused(Kind::Network, way(), error))?
            .to_bytes();
        drop(sender);
        connection.abort();
        if body.is_empty() && status.is_success() {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(&body)
            .map_err(|error| Error::caused(Kind::Network, "what listens there is not the agent", error))?;
        if status.is_success() {
            return Ok(answer);
        }
        let error = &answer["error"];
        let kind = error["kind"].as_str().and_then(answer::kind).unwrap_or(Kind::Network);
        let text = error["text"].as_str().unwrap_or("the agent refused without saying why");
        Err(Error::new(kind, text.to_owned()))
    }
}

/// `text` as one segment of a path (RFC 3986).
pub fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut path, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            _ => {
                let _ = write!(path, "%{byte:02X}");
            }
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_hides_what_has_a_meaning() {
        // RFC 3986, chapter 2.5: U+30A2 is %E3%82%A2.
        assert_eq!(segment("a/b?c#\u{30a2} .."), "a%2Fb%3Fc%23%E3%82%A2%20..");
    }
}
