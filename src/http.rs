//! HTTP/1.1 as the gate asks others: one connection at a time, time-outs at each step, bounded answers, TLS with
//! a [`Trust`] of its own. What it is asked for comes from platforms, so nothing in an address is taken on trust.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::error::{Context, Error, Kind, Result};
use crate::tls::{self, Stream, Trust};

/// Longest address that is read, in bytes.
const LONGEST: usize = 2048;

/// An address: `http` or `https`, without credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub secure: bool,
    /// Name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query, from the first `/` on.
    pub path: String,
}

impl Url {
    /// Reads an address (RFC 3986). `Input` with what is wrong with it; the text of the error never repeats
    /// the address, which may hold a secret.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = |what: &str| Err(Error::new(Kind::Input, format!("the address {what}")));
        let Some((scheme, rest)) = text.split_once("://") else { return bad("has no http:// or https://") };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return bad("is neither http nor https"),
        };
        if text.len() > LONGEST {
            return bad("is too long");
        }
        // What lies beyond ASCII must be percent-encoded; blanks and control characters end a request's line.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return bad("has blanks or characters that must be percent-encoded");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return bad("holds a user name or a password");
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let Some((host, after)) = v6.split_once(']') else { return bad("has no ] after its host") };
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return bad("has no IPv6 address in its brackets");
                }
                match after.strip_prefix(':') {
                    None if after.is_empty() => (host, ""),
                    None => return bad("has something between its host and its path"),
                    Some(port) => (host, port),
                }
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let is_name = |host: &str| {
            host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':'))
        };
        if host.is_empty() || host.len() > 253 || !is_name(host) {
            return bad("has no host name or IP address");
        }
        let port = match port {
            "" if secure => 443,
            "" => 80,
            digits => match digits.parse() {
                Ok(port) if port != 0 && digits.bytes().all(|digit| digit.is_ascii_digit()) => port,
                _ => return bad("has no port from 1 to 65535 after its host"),
            },
        };
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, host: host.to_owned(), port, path })
    }

    /// Where a `Location` leads (RFC 9110, 10.2.2): an address, or a path on this server. Never from `https`
    /// down to `http`, never to another scheme.
    pub fn redirected(&self, location: &str) -> Result<Self> {
        let target = if split_scheme(location).is_some() {
            Self::parse(location)?
        } else if let Some(other) = location.strip_prefix("//") {
            Self::parse(&format!("{}://{other}", if self.secure { "https" } else { "http" }))?
        } else {
            let path = if location.starts_with('/') {
                location.to_owned()
            } else {
                let folder = self.path.split('?').next().unwrap_or("/");
                format!("{}/{location}", folder.rsplit_once('/').map_or("", |(folder, _)| folder))
            };
            Self::parse(&format!("{}{path}", self.origin()))?
        };
        if self.secure && !target.secure {
            return Err(Error::new(Kind::Input, "the server redirects from https to http"));
        }
        Ok(target)
    }

    /// `host`, or `host:port` where the port is not the scheme's.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The address without path and query, fit for a log.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

/// What stands before and behind the `://` of an absolute address (RFC 3986, 3.1); `None` where what stands before
/// it is no scheme, such as in a path whose query holds another address.
pub(crate) fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_scheme =
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(of_scheme);
    is_scheme.then_some((scheme, rest))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Within {
    /// Making a connection, TLS included.
    pub connect: Duration,
    /// From the request to the head of its answer, and again to the end of its body.
    pub answer: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    /// How far it came.
    pub stage: Stage,
    /// What happened.
    pub error: Error,
}

/// How far a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There is no connection.
    Connecting,
    /// A connection that had been kept from an earlier request was closed meanwhile: asking again makes a
    /// new one.
    Stale,
    /// The request was sent, wholly or in part.
    Asked,
}

/// A request.
#[derive(Debug)]
pub struct Ask<'a> {
    /// `GET` or `POST`.
    pub method: Method,
    /// Where to.
    pub url: &'a Url,
    /// Its own headers; `Host`, `User-Agent` and the length are added.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// A short answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// `Retry-After`, where it is in seconds.
    pub retry_after: Option<Duration>,
    /// The body, or its beginning.
    pub body: Vec<u8>,
}

/// A connection, which ends when this is dropped.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    origin: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client with at most one connection, which is kept for the next request to the same server.
pub struct Client {
    trust: Trust,
    secure: Option<Arc<rustls::ClientConfig>>,
    kept: Option<Connection>,
}

/// An answer whose body is still to come. The connection ends when this is dropped.
pub struct Opened {
    /// Status and headers.
    pub head: hyper::http::response::Parts,
    body: Incoming,
    connection: Connection,
}

impl Client {
    /// A client that trusts `trust` where an address is `https`. Nothing is read before it is needed.
    pub fn new(trust: Trust) -> Self {
        Self { trust, secure: None, kept: None }
    }

    /// Asks, and reads what it is answered, of the body at most `limit` bytes: a body that is longer or breaks off
    /// costs the connection, not the answer. Does not follow redirects.
    pub async fn ask(&mut self, ask: Ask<'_>, limit: usize, within: Within) -> Result<Answer, Failure> {
        let mut opened = self.open(ask, within).await?;
        let until = tokio::time::Instant::now() + within.answer;
        let mut body = Vec::new();
        let whole = loop {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            match opened.chunk(left).await {
                Ok(None) => break true,
                Ok(Some(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
                Ok(Some(chunk)) => {
                    body.extend_from_slice(&chunk[..limit - body.len()]);
                    break false;
                }
                Err(_) => break false,
            }
        };
        let retry_after = opened
            .header(header::RETRY_AFTER)
            .and_then(|seconds| seconds.trim().parse().ok())
            .map(Duration::from_secs);
        let Opened { head, connection, .. } = opened;
        if whole {
            self.kept = Some(connection);
        }
        Ok(Answer { status: head.status, retry_after, body })
    }

    /// Asks, and returns as soon as the head of the answer is there. Does not follow redirects.
    pub async fn open(&mut self, ask: Ask<'_>, within: Within) -> Result<Opened, Failure> {
        let origin = ask.url.origin();
        let kept = self.kept.take().filter(|kept| kept.origin == origin && !kept.sender.is_closed());
        let reused = kept.is_some();
        let mut connection = match kept {
            Some(kept) => kept,
            None => self
                .connect(ask.url, within.connect)
                .await
                .map_err(|error| Failure { stage: Stage::Connecting, error })?,
        };
        let failed = |error| Failure { stage: Stage::Asked, error };
        let mut request =
            Request::builder().method(ask.method).uri(&ask.url.path).body(Full::new(ask.body)).map_err(
                |error| {
                    failed(Error::caused(Kind::Input, "the path of the address cannot be asked for", error))
                },
            )?;
        *request.headers_mut() = ask.headers;
        let host = header::HeaderValue::from_str(&ask.url.authority())
            .map_err(|error| failed(Error::caused(Kind::Input, "the host cannot be asked for", error)))?;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(
            header::USER_AGENT,
            header::HeaderValue::from_static(concat!("menshen/", env!("CARGO_PKG_VERSION"))),
        );
        match tokio::time::timeout(within.answer, connection.sender.send_request(request)).await {
            Ok(Ok(response)) => {
                let (head, body) = Response::into_parts(response);
                Ok(Opened { head, body, connection })
            }
            Ok(Err(error)) => Err(Failure {
                // Closed without a byte of an answer: what a server does with a connection it kept long enough.
                stage: if reused
                    && (error.is_canceled() || error.is_incomplete_message() || error.is_closed())
                {
                    Stage::Stale
                } else {
                    Stage::Asked
                },
                error: Error::caused(Kind::Network, format!("{origin} gave no answer that is HTTP"), error),
            }),
            Err(_) => {
                let text = format!("{origin} did not answer within {} s", within.answer.as_secs());
                Err(failed(Error::new(Kind::Timeout, text)))
            }
        }
    }

    async fn connect(&mut self, url: &Url, within: Duration) -> Result<Connection> {
        let origin = url.origin();
        if url.secure && self.secure.is_none() {
            self.secure = Some(tls::client(&self.trust)?);
        }
        let dial = async {
            let stream =
                TcpStream::connect((url.host.as_str(), url.port)).await.context_as(Kind::Network, || {
                    format!("{origin} cannot be reached: check the address, the cable and the server")
                })?;
            stream.set_nodelay(true)?;
            match &self.secure {
                Some(secure) if url.secure => tls::connect(secure, &url.host, stream).await,
                _ => Ok(Stream::Plain(stream)),
            }
        };
        let stream = tokio::time::timeout(within, dial).await.map_err(|_| {
            let text = format!("{origin} cannot be reached within {} s", within.as_secs());
            Error::new(Kind::Timeout, text)
        })??;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Error::caused(Kind::Network, format!("{origin} cannot be asked"), error))?;
        // What goes wrong on it is told to whoever asked.
        let task = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, task, origin })
    }
}

impl Opened {
    /// The next piece of the body; `None` at its end. `Timeout` if none comes for `within`, `Network` if the
    /// body breaks off before the length that the server gave.
    pub async fn chunk(&mut self, within: Duration) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(within, self.body.frame()).await.map_err(|_| {
                let text = format!("nothing came from {} for {} s", self.connection.origin, within.as_secs());
                Error::new(Kind::Timeout, text)
            })?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => {
                    let text = format!("the answer of {} broke off", self.connection.origin);
                    return Err(Error::caused(Kind::Network, text, error));
                }
            }
        }
    }

    /// A header as a text; `None` if it is not there or no text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const WITHIN: Within = Within { connect: Duration::from_secs(20), answer: Duration::from_secs(20) };

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn addresses() {
        let plain = url("HTTP://10.0.0.5:8080/a/b.bin?x=1#part");
        assert_eq!((plain.secure, plain.host.as_str(), plain.port), (false, "10.0.0.5", 8080));
        assert_eq!((plain.path.as_str(), plain.authority().as_str()), ("/a/b.bin?x=1", "10.0.0.5:8080"));
        let bare = url("https://platform.example");
        assert_eq!((bare.secure, bare.port, bare.path.as_str()), (true, 443, "/"));
        assert_eq!(bare.to_string(), "https://platform.example/");
        assert_eq!(url("http://a?b=c").path, "/?b=c");
        let v6 = url("http://[::1]:81/x");
        assert_eq!((v6.host.as_str(), v6.authority().as_str()), ("::1", "[::1]:81"));
        for (text, what) in [
            ("", "has no http://"),
            ("10.0.0.5/a", "has no http://"),
            ("ftp://a/b", "is neither"),
            ("file:///etc/passwd", "is neither"),
            ("http://", "has no host"),
            ("http:///etc/passwd", "has no host"),
            ("http://user:secret@a/b", "holds a user name"),
            ("http://user@a/b", "holds a user name"),
            ("http://a/b c", "has blanks"),
            ("http://a/b\r\nHost: c", "has blanks"),
            ("http://a/包", "percent-encoded"),
            ("http://a:0/", "has no port"),
            ("http://a:65536/", "has no port"),
            ("http://a:+80/", "has no port"),
            ("http://[::1/", "has no ]"),
            ("http://[a]/", "has no IPv6"),
            ("http://[::1]a/", "between its host"),
            ("http://a\\b/", "has no host"),
        ] {
            let error = Url::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().contains(what), "{text}: {error}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn redirects_stay_among_the_two_schemes_and_never_lose_tls() {
        let from = url("https://a:444/x/y?z");
        assert_eq!(from.redirected("/b").unwrap(), url("https://a:444/b"));
        assert_eq!(from.redirected("b?c").unwrap(), url("https://a:444/x/b?c"));
        assert_eq!(from.redirected("//c/d").unwrap(), url("https://c/d"));
        assert_eq!(from.redirected("https://c/d").unwrap(), url("https://c/d"));
        assert_eq!(url("http://a/").redirected("https://a/").unwrap(), url("https://a/"));
        // An address in a query makes no absolute one of the path before it.
        assert_eq!(
            from.redirected("/get?src=https://cdn/x").unwrap(),
            url("https://a:444/get?src=https://cdn/x")
        );
        assert_eq!(from.redirected("get?src=http://cdn/x").unwrap().to_string(), {
            "https://a:444/x/get?src=http://cdn/x"
        });
        assert_eq!(from.redirected("//c/d?src=http://e/").unwrap(), url("https://c/d?src=http://e/"));
        assert!(from.redirected("svn+ssh://a/x").is_err());
        assert!(from.redirected("http://a/x").is_err());
        assert!(from.redirected("file:///etc/passwd").is_err());
        assert!(from.redirected("ftp://a/x").is_err());
    }

    /// A server that gives each connection in turn one of `scripts`: bytes after the first request, then the end.
    async fn server(scripts: Vec<Vec<&'static str>>) -> (Url, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut heard = Vec::new();
            for script in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in script {
                    let mut request = Vec::new();
                    let mut buffer = [0; 4096];
                    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                        let read = stream.read(&mut buffer).await.unwrap();
                        assert!(read > 0);
                        request.extend_from_slice(&buffer[..read]);
                    }
                    heard.push(String::from_utf8(request).unwrap());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            heard
        });
        (url(&format!("http://{address}/push?x=1")), task)
    }

    fn get(url: &Url) -> Ask<'_> {
        Ask { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() }
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_a_stale_one_told_apart() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let (url, server) = server(vec![vec![answer, answer], vec![answer]]).await;
        let mut client = Client::new(Trust::System);
        for _ in 0..2 {
            let answer = client.ask(get(&url), 10, WITHIN).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"hi"[..]));
        }
        // The server has closed it: found out at once, or by asking.
        let answer = match client.ask(get(&url), 10, WITHIN).await {
            Err(failure) => {
                assert_eq!(failure.stage, Stage::Stale, "{}", failure.error);
                client.ask(get(&url), 10, WITHIN).await
            }
            answer => answer,
        };
        assert_eq!(answer.unwrap().status, StatusCode::OK);
        let heard = server.await.unwrap();
        let head = format!("GET /push?x=1 HTTP/1.1\r\nhost: {}\r\nuser-agent: menshen/", url.authority());
        assert!(heard[0].starts_with(&head), "{}", heard[0]);
    }

    #[tokio::test]
    async fn answers_are_bounded() {
        let (address, _server) = server(vec![
            vec!["HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world"],
            vec!["HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 11\r\n\r\nhello"],
            vec!["220 mail.example ESMTP\r\n"],
            vec!["HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n"],
        ])
        .await;
        let mut client = Client::new(Trust::System);
        let long = client.ask(get(&address), 10, WITHIN).await.unwrap();
        assert_eq!((long.status, &long.body[..]), (StatusCode::OK, &b"hello worl"[..]));
        let broken = client.ask(get(&address), 10, WITHIN).await.unwrap();
        assert_eq!((broken.status, &broken.body[..]), (StatusCode::SERVICE_UNAVAILABLE, &b"hello"[..]));
        assert_eq!(broken.retry_after, Some(Duration::from_secs(7)));
        let failure = client.ask(get(&address), 10, WITHIN).await.unwrap_err();
        assert_eq!((failure.stage, failure.error.kind()), (Stage::Asked, Kind::Network));
        assert!(failure.error.to_string().contains("gave no answer that is HTTP"), "{}", failure.error);
        // A redirect is an answer like any other.
        assert_eq!(client.ask(get(&address), 10, WITHIN).await.unwrap().status, StatusCode::FOUND);
        let nobody = url(&format!("http://{}/", {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        }));
        let failure = client.ask(get(&nobody), 10, WITHIN).await.unwrap_err();
        assert_eq!((failure.stage, failure.error.kind()), (Stage::Connecting, Kind::Network));
    }

    use proptest::prelude::*;

    proptest! {
        /// Whatever an address or a `Location` says: it is refused, or an address that says the same when it is
        /// written and read again, and that no line of a request can break out of.
        #[test]
        fn any_text_is_an_address_or_refused(
            text in "(https?://)?[a-z0-9:/?#@.\\[\\]%\\\\-]{0,30}|.{0,40}",
            location in "(/|//|https?://|[a-z+]{1,5}://)?[a-z0-9:/?#@.\\[\\]=]{0,30}|.{0,40}",
        ) {
            for from in [Url::parse(&text), Ok(url("https://a:444/x/y?z"))].into_iter().flatten() {
                prop_assert_eq!(&Url::parse(&from.to_string()).unwrap(), &from);
                if let Ok(target) = from.redirected(&location) {
                    prop_assert!(target.secure || !from.secure);
                    prop_assert!(target.port != 0 && target.path.starts_with('/'));
                    prop_assert!(target.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
        }
    }

    #[tokio::test]
    async fn any_bytes_are_an_answer_or_none() {
        let answers = [
            "",
            "\0\0\0\0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nhi",
            "HTTP/1.1 503 \u{fffd}\r\nretry-after: 99999999999999999999\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 999 X\r\nretry-after: soon\r\ncontent-length: 0\r\n\r\n",
            "HTTP/9.9 200 OK\r\n\r\n",
        ];
        for answer in answers {
            let (url, _server) = server(vec![vec![answer]]).await;
            if let Ok(read) = Client::new(Trust::System).ask(get(&url), 10, WITHIN).await {
                assert!(read.body.len() <= 10 && read.retry_after.is_none(), "{answer}: {read:?}");
            }
        }
    }
}
