//! The certificate of `wss`: one of the gate's own, made at the first start, for a page that was loaded over `https` and
//! therefore may not use `ws`. Certificate and key are one file, so that a power cut cannot part them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use rustls::ServerConfig;

use crate::config::DocumentReader;
use crate::durable;
use crate::error::{Context, Error, Kind, Result};
use crate::tls;

/// Certificate and key, for the service alone.
const FILE: &str = "document_reader.pem";

/// The certificate alone, for the technician who makes browsers trust it.
const PUBLIC: &str = "document_reader.crt";

/// Before the line of a file of our own that tells for which names it is.
const NAMES: &str = "Names: ";

/// What `wss` needs. `Config` if a file that the configuration names cannot be used.
pub(super) fn open(config: &DocumentReader, data_dir: &Path, serial: &str) -> Result<Arc<ServerConfig>> {
    if config.certificate != "auto" {
        let file = Path::new(&config.certificate);
        return tls::server(file, file)
            .context_as(Kind::Config, || "service.document_reader.certificate cannot be used".to_owned());
    }
    let names = names(config.listen.ip());
    let file = data_dir.join(FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) if covers(&text, &names) => match tls::server(&file, &file) {
            Ok(server) => {
                publish(data_dir, &text)?;
                return Ok(server);
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate of the document reader service is damaged: it is made anew");
            }
        },
        Ok(_) => {
            tracing::warn!(
                "the document reader service listens elsewhere than before: its certificate is made anew"
            );
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).context(|| format!("{} cannot be read", file.display()));
        }
    }
    let text = make(&names, serial)?;
    durable::replace_private(&file, text.as_bytes()).context(|| {
        format!("the certificate of the document reader service cannot be kept in {}", file.display())
    })?;
    publish(data_dir, &text)?;
    tracing::info!(
        certificate = %public(data_dir).display(),
        "a certificate was made for wss: browsers must be made to trust it"
    );
    tls::server(&file, &file)
}

/// Where the technician finds the certificate.
pub fn public(data_dir: &Path) -> PathBuf {
    data_dir.join(PUBLIC)
}

/// The names by which pages call the service.
fn names(listen: IpAddr) -> Vec<String> {
    let mut names = vec!["127.0.0.1".to_owned(), "::1".to_owned(), "localhost".to_owned()];
    if listen.is_unspecified() {
        let cards = if_addrs::get_if_addrs().unwrap_or_default();
        names.extend(
            cards.iter().map(|card| card.ip()).filter(|ip| !ip.is_loopback()).map(|ip| ip.to_string()),
        );
    } else if !listen.is_loopback() {
        names.push(listen.to_string());
    }
    names
}

/// Whether a file of our own is for all of these names.
fn covers(text: &str, names: &[String]) -> bool {
    let Some(line) = text.lines().find_map(|line| line.strip_prefix(NAMES)) else { return false };
    let there: Vec<&str> = line.split_whitespace().collect();
    names.iter().all(|name| there.contains(&name.as_str()))
}

fn make(names: &[String], serial: &str) -> Result<String> {
    let fail = |error: rcgen::Error| {
        Error::caused(Kind::Config, "no certificate can be made for the document reader service", error)
    };
    let mut params = CertificateParams::default();
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(name.as_str().try_into().map_err(fail)?),
        });
    }
    params.distinguished_name.push(DnType::CommonName, format!("Menshen document reader {serial}"));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Not of the clock, which a gate may not have at its first start.
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    let key = KeyPair::generate().map_err(fail)?;
    let certificate = params.self_signed(&key).map_err(fail)?;
    Ok(format!("{NAMES}{}\n{}{}", names.join(" "), certificate.pem(), key.serialize_pem()))
}

/// Puts the certificate, without its key, where the technician finds it.
fn publish(data_dir: &Path, text: &str) -> Result<()> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let begin = text.find("-----BEGIN CERTIFICATE-----");
    let end = text.find(END).map(|at| at + END.len());
    let Some(certificate) = begin.zip(end).and_then(|(begin, end)| text.get(begin..end)) else {
        return Ok(());
    };
    let file = public(data_dir);
    if std::fs::read_to_string(&file).is_ok_and(|there| there == certificate) {
        return Ok(());
    }
    std::fs::write(&file, certificate).context(|| format!("{} cannot be written", file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_is_made_once_and_anew_where_it_must() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = DocumentReader::new("127.0.0.1:90".parse().unwrap());
        let file = folder.path().join(FILE);
        open(&config, folder.path(), "0064871ECB01").unwrap();
        let first = std::fs::read_to_string(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let shown = std::fs::read_to_string(public(folder.path())).unwrap();
        assert!(first.contains(&shown) && !shown.contains("KEY"), "{shown}");
        open(&config, folder.path(), "0064871ECB01").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), first, "it stays");
        // Another address.
        config.listen = "192.0.2.7:90".parse().unwrap();
        open(&config, folder.path(), "0064871ECB01").unwrap();
        let second = std::fs::read_to_string(&file).unwrap();
        assert!(second.starts_with("Names: 127.0.0.1 ::1 localhost 192.0.2.7\n"), "{second}");
        // Half of it.
        std::fs::write(&file, &second[..second.len() / 2]).unwrap();
        open(&config, folder.path(), "0064871ECB01").unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("PRIVATE KEY"));
        // One that the technician brings, which is not there.
        config.certificate = folder.path().join("none.pem").display().to_string();
        let error = open(&config, folder.path(), "0064871ECB01").err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("service.document_reader.certificate"), "{error}");
    }
}
