//! TLS as the gate speaks it towards platforms: whom it trusts, and what went wrong in a technician's words.
//!
//! `rustls` with `ring`: memory-safe, and built by a cross compiler alone. The system's certificates are read by
//! `rustls-native-certs`, which on Linux is all that `rustls-platform-verifier` does as well, without its parts
//! for other systems.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    ServerConfig, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Kind, Result};

/// Whose certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those that an authority has signed which the system knows (Debian: package `ca-certificates`), by name.
    System,
    /// Those of a PEM file alone. A server that shows one of them is accepted whatever its name and dates say,
    /// also by a gate that has lost its time; what one of them has signed is accepted by name and date.
    Pinned(PathBuf),
}

impl Trust {
    /// As configurations say it: the path of a pinned certificate, or nothing for the system's.
    pub fn of(pinned_certificate: &str) -> Self {
        match pinned_certificate {
            "" => Self::System,
            path => Self::Pinned(path.into()),
        }
    }
}

/// What a client needs for connections that trust `trust`. Reads files: once, not for every connection.
///
/// `Config` when the pinned file cannot be used or the system knows no authority.
pub fn client(trust: &Trust) -> Result<Arc<ClientConfig>> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .context_tls(|| "TLS cannot be set up".into())?;
    let config = match trust {
        Trust::System => builder.with_root_certificates(system_roots()?),
        Trust::Pinned(file) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Pinned::read(file, provider)?))
        }
    };
    Ok(Arc::new(config.with_no_client_auth()))
}

/// What a simulated platform needs to speak TLS: its certificate (with those between it and its authority)
/// and its key, both PEM files.
pub fn server(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let chain = certificates(certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unusable(key, "holds no private key in PEM (PKCS#8, SEC1 or PKCS#1)", error))?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .context_tls(|| "TLS cannot be set up".into())?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .context_tls(|| {
            format!("the certificate {} and the key {} do not fit", certificate.display(), key.display())
        })?;
    Ok(Arc::new(config))
}

/// A line with TLS or without.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            // Many servers end the line without the goodbye of TLS. What the gate reads over it says itself
            // where it ends (frames, lengths, checksums), so nothing can be cut off unseen.
            Self::Tls(stream) => match Pin::new(stream).poll_read(cx, buffer) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Speaks TLS with `host` (a name or an IP address, as in the certificate) over a connection that is there.
/// `Network` with the reason in words.
pub async fn connect(config: &Arc<ClientConfig>, host: &str, stream: TcpStream) -> Result<Stream> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| {
        Error::caused(Kind::Config, format!("{host:?} is no name that a certificate can have"), error)
    })?;
    match tokio_rustls::TlsConnector::from(Arc::clone(config)).connect(name, stream).await {
        Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
        Err(error) => Err(match explain(&error) {
            Some(reason) => Error::new(Kind::Network, format!("no TLS with {host}: {reason}")),
            None => Error::caused(Kind::Network, format!("no TLS with {host}"), error),
        }),
    }
}

/// What an error of TLS means for the technician, wherever in `error` and its causes it is; `None` if it is
/// none of TLS.
pub fn explain(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut step = Some(error);
    while let Some(error) = step {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(words(tls));
        }
        // The source of an I/O error is that of the error in it, not the error in it.
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && let Some(inner) = io.get_ref()
            && let Some(reason) = explain(inner)
        {
            return Some(reason);
        }
        step = error.source();
    }
    None
}

fn words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(certificate) => certificate_words(certificate),
        rustls::Error::InvalidMessage(_) => {
            "what answers there does not speak TLS: check the port, or switch TLS off".into()
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure),
        ) => format!("the server wants a TLS older than 1.2 or ciphers that are no longer safe ({alert:?})"),
        rustls::Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server does not know the name that it was called by".into()
        }
        rustls::Error::AlertReceived(alert) => format!("the server refused ({alert:?})"),
        other => other.to_string(),
    }
}

fn certificate_words(error: &CertificateError) -> String {
    let day = |time: &UnixTime| {
        i64::try_from(time.as_secs())
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(|| "a day far away".into(), |time| time.to_string())
    };
    let clock = "if that is wrong, set the clock";
    match error {
        CertificateError::Expired => {
            format!("the server's certificate has expired, or the gate's clock is ahead: {clock}")
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired on {}; the gate's clock says {}: {clock}, else renew the certificate",
            day(not_after),
            day(time)
        ),
        CertificateError::NotValidYet => {
            format!("the server's certificate is not valid yet, or the gate's clock is behind: {clock}")
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is valid from {} only; the gate's clock says {}: {clock}",
            day(not_before),
            day(time)
        ),
        CertificateError::UnknownIssuer => {
            "nobody that the system trusts has signed the server's certificate (unknown issuer): pin it, or \
             install its authority's certificate"
                .into()
        }
        CertificateError::NotValidForName => "the server's certificate is for another name".into(),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is for another name: wanted {}, it has {}",
            expected.to_str(),
            if presented.is_empty() { "none".into() } else { presented.join(", ") }
        ),
        CertificateError::Revoked => "the server's certificate was revoked".into(),
        CertificateError::BadSignature => "the signature of the server's certificate is wrong".into(),
        CertificateError::Other(OtherError(error)) if error.is::<NotPinned>() => error.to_string(),
        other => format!("the server's certificate cannot be used: {other}"),
    }
}

/// `ring` with all that it offers.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn system_roots() -> Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let message = "the system has no certificates of authorities: install them (Debian: ca-certificates), or pin \
                   the server's";
    Err(match found.errors.into_iter().next() {
        Some(error) => Error::caused(Kind::Config, message, error),
        None => Error::new(Kind::Config, message),
    })
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let what = "holds no certificate in PEM (-----BEGIN CERTIFICATE-----)";
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(file, what, error))?;
    match certificates.is_empty() {
        true => Err(Error::new(Kind::Config, format!("the file {} {what}", file.display()))),
        false => Ok(certificates),
    }
}

fn unusable(file: &Path, what: &str, error: rustls::pki_types::pem::Error) -> Error {
    match error {
        rustls::pki_types::pem::Error::Io(error) => {
            Error::caused(Kind::Config, format!("the file {} cannot be read", file.display()), error)
        }
        error => Error::caused(Kind::Config, format!("the file {} {what}", file.display()), error),
    }
}

trait ContextTls<T> {
    fn context_tls(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T> ContextTls<T> for Result<T, rustls::Error> {
    fn context_tls(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::caused(Kind::Config, message(), error))
    }
}

/// SHA-256 of a certificate, as tools show it: `openssl x509 -noout -fingerprint -sha256 -in FILE`.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let bytes = Sha256::digest(certificate);
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// The server showed a certificate that is neither pinned nor signed by one that is.
#[derive(Debug)]
struct NotPinned {
    file: PathBuf,
    shown: String,
}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server's certificate (SHA-256 {}) is neither in {} nor signed by one that is (unknown issuer)",
            self.shown,
            self.file.display()
        )
    }
}

impl std::error::Error for NotPinned {}

/// Trusts the certificates of one file.
#[derive(Debug)]
struct Pinned {
    file: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
    /// Checks what one of them has signed; `None` if none of them can sign.
    signed: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn read(file: &Path, provider: Arc<CryptoProvider>) -> Result<Self> {
        let certificates = certificates(file)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let signed = match roots.is_empty() {
            true => None,
            false => {
                let builder =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
                Some(builder.build().map_err(|error| {
                    let what = format!("the certificates of {} cannot be used", file.display());
                    Error::caused(Kind::Config, what, error)
                })?)
            }
        };
        Ok(Self { file: file.to_owned(), certificates, signed, provider })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The owner of the gate has named this very certificate. That it is the server's own is proven by the
        // signature of the handshake, below.
        if self.certificates.iter().any(|pinned| pinned == end_entity) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = match &self.signed {
            Some(signed) => {
                signed.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        verified.map_err(|error| match error {
            // A certificate made anew under the old name seems to be signed by the old one, wrongly.
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => {
                let refused = NotPinned { file: self.file.clone(), shown: fingerprint(end_entity) };
                CertificateError::Other(OtherError(Arc::new(refused))).into()
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// An authority and a folder for the files of a test.
    struct Site {
        folder: tempfile::TempDir,
        authority: CertifiedIssuer<'static, KeyPair>,
    }

    impl Site {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let site = Self { folder: tempfile::tempdir().unwrap(), authority };
            site.write("authority.pem", &site.authority.pem());
            site
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.path(name), text).unwrap();
        }

        /// Writes NAME.pem and NAME.key, signed by the authority or by itself.
        fn certificate(&self, name: &str, params: CertificateParams, signed: bool) {
            let key = KeyPair::generate().unwrap();
            let certificate = match signed {
                true => params.signed_by(&key, &self.authority).unwrap(),
                false => params.self_signed(&key).unwrap(),
            };
            self.write(&format!("{name}.pem"), &certificate.pem());
            self.write(&format!("{name}.key"), &key.serialize_pem());
        }

        /// What a client that trusts `pin` gets from a server with the certificate `shown`, called by `host`.
        async fn greet(&self, shown: &str, pin: &str, host: &str) -> Result<String> {
            let server =
                server(&self.path(&format!("{shown}.pem")), &self.path(&format!("{shown}.key"))).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tokio::spawn(async move {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(mut stream) = tokio_rustls::TlsAcceptor::from(server).accept(stream).await {
                    stream.write_all(b"welcome").await.unwrap();
                    stream.shutdown().await.unwrap();
                }
            });
            let config = client(&Trust::Pinned(self.path(pin)))?;
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = connect(&config, host, stream).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            serving.await.unwrap();
            Ok(text)
        }

        async fn refused(&self, shown: &str, pin: &str, host: &str) -> String {
            let error = self.greet(shown, pin, host).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Network);
            error.to_string()
        }
    }

    fn params(name: &str) -> CertificateParams {
        CertificateParams::new(vec![name.to_owned()]).unwrap()
    }

    #[tokio::test]
    async fn the_very_certificate_counts_whatever_its_name_and_dates() {
        let site = Site::new();
        site.certificate("own", params("somewhere.example"), false);
        assert_eq!(site.greet("own", "own.pem", "127.0.0.1").await.unwrap(), "welcome");
        let mut old = params("somewhere.example");
        (old.not_before, old.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        site.certificate("old", old, false);
        assert_eq!(site.greet("old", "old.pem", "platform.example").await.unwrap(), "welcome");
        // The certificate alone is not enough: the key must be its own.
        site.certificate("other", params("somewhere.example"), false);
        std::fs::copy(site.path("other.key"), site.path("mixed.key")).unwrap();
        std::fs::copy(site.path("own.pem"), site.path("mixed.pem")).unwrap();
        let error = server(&site.path("mixed.pem"), &site.path("mixed.key")).unwrap_err();
        assert!(error.to_string().contains("do not fit"), "{error}");
    }

    #[tokio::test]
    async fn an_authority_counts_by_name_and_date() {
        let site = Site::new();
        site.certificate("good", params("platform.example"), true);
        assert_eq!(site.greet("good", "authority.pem", "platform.example").await.unwrap(), "welcome");
        let name = site.refused("good", "authority.pem", "other.example").await;
        assert!(
            name.contains("for another name: wanted other.example") && name.contains("platform.example"),
            "{name}"
        );
        let mut old = params("platform.example");
        (old.not_before, old.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        site.certificate("old", old, true);
        let expired = site.refused("old", "authority.pem", "platform.example").await;
        assert!(
            expired.contains("expired on 2002-01-01T00:00:00Z; the gate's clock says 2")
                && expired.contains("clock"),
            "{expired}"
        );
        let mut young = params("platform.example");
        (young.not_before, young.not_after) = (date_time_ymd(3000, 1, 1), date_time_ymd(3001, 1, 1));
        site.certificate("young", young, true);
        let early = site.refused("young", "authority.pem", "platform.example").await;
        assert!(early.contains("valid from 3000-01-01T00:00:00Z only; the gate's clock says"), "{early}");
        assert!(early.contains("set the clock"), "{early}");
    }

    #[tokio::test]
    async fn a_wrong_pin_is_refused_with_what_was_shown() {
        let site = Site::new();
        site.certificate("own", params("platform.example"), false);
        site.certificate("other", params("platform.example"), false);
        let error = site.refused("own", "other.pem", "platform.example").await;
        let shown = certificates(&site.path("own.pem")).unwrap();
        assert!(error.contains("unknown issuer") && error.contains("other.pem"), "{error}");
        assert!(error.contains(&fingerprint(&shown[0])), "{error}");
    }

    #[tokio::test]
    async fn what_speaks_no_tls_is_named() {
        let site = Site::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let config = client(&Trust::Pinned(site.path("authority.pem"))).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let error = connect(&config, "127.0.0.1", stream).await.unwrap_err().to_string();
        assert!(error.contains("does not speak TLS"), "{error}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let site = Site::new();
        site.write("empty.pem", "nothing\n");
        let refused = |name: &str| {
            let error = client(&Trust::Pinned(site.path(name))).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.to_string()
        };
        assert!(refused("absent.pem").contains("absent.pem cannot be read"));
        assert!(refused("empty.pem").contains("empty.pem holds no certificate in PEM"));
        site.write("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(refused("broken.pem").contains("broken.pem holds no certificate in PEM"));
    }

    #[test]
    fn a_fingerprint_is_that_of_the_tools() {
        // printf menshen | sha256sum
        let shown = fingerprint(&CertificateDer::from(b"menshen".to_vec()));
        let (one, two) = (
            "E5:50:C6:7D:F9:EE:AE:94:45:88:E8:03:80:9E:4A:04:",
            "51:39:B6:53:27:FB:3F:F0:A3:78:A9:37:FF:83:48:39",
        );
        assert_eq!(shown, format!("{one}{two}"));
    }
}
