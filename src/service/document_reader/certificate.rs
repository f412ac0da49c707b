//! The certificate of `wss`: one of the gate's own, made at the first start, for a page that was loaded over `https` and
//! therefore may not use `ws`. Certificate and key are one file, so that a power cut cannot part them.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::ServerConfig;
use sha2::{Digest as _, Sha256};

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

/// How the key in the file begins.
const KEY: &str = "-----BEGIN PRIVATE KEY-----";

/// Names that a certificate has at most: those of the addresses that a gate had long ago go first.
const MOST_NAMES: usize = 64;

/// What `wss` needs. `Config` if a file that the configuration names cannot be used.
pub(super) fn open(config: &DocumentReader, data_dir: &Path, serial: &str) -> Result<Arc<ServerConfig>> {
    if config.certificate != "auto" {
        let file = Path::new(&config.certificate);
        if mode(file).is_some_and(|mode| mode & 0o007 != 0) {
            tracing::warn!(
                file = config.certificate,
                "everybody on this machine may read the key of service.document_reader.certificate: chmod o= it"
            );
        }
        return tls::server(file, file)
            .context_as(Kind::Config, || "service.document_reader.certificate cannot be used".to_owned());
    }
    let mut names = names(config.listen.ip());
    let file = data_dir.join(FILE);
    let mut key = None;
    match std::fs::read_to_string(&file) {
        Ok(text) => match tls::server(&file, &file) {
            Ok(server) if covers(&text, &names) => {
                keep_private(&file)?;
                publish(data_dir, &text)?;
                return Ok(server);
            }
            Ok(_) => {
                tracing::warn!(
                    "the document reader service has an address that it had not before: its certificate is made anew, \
                     with the key and the names that it had"
                );
                let had = named(&text).map(str::to_owned).filter(|name| !names.contains(name));
                let had: Vec<String> = had.collect();
                names.extend(had);
                names.truncate(MOST_NAMES);
                // It stands behind the certificate.
                key = text.find(KEY).and_then(|at| KeyPair::from_pem(&text[at..]).ok());
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate of the document reader service is damaged: it is made anew");
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).context(|| format!("{} cannot be read", file.display()));
        }
    }
    let text = make(&names, serial, key)?;
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

/// The rights of a file, where it is there.
fn mode(file: &Path) -> Option<u32> {
    std::fs::metadata(file).ok().map(|about| about.permissions().mode())
}

/// Takes the key from whoever may read it but the service.
fn keep_private(file: &Path) -> Result<()> {
    if mode(file).is_none_or(|mode| mode & 0o077 == 0) {
        return Ok(());
    }
    tracing::warn!(
        file = %file.display(),
        "others could read the key of the document reader service: they no longer can; delete the file for a new key if \
         somebody may have"
    );
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600))
        .context(|| format!("the rights of {} cannot be changed", file.display()))
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
        let addresses = cards.iter().map(|card| card.ip());
        let flags = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
        let stay = addresses.filter(|ip| stays(*ip, listen.is_ipv6(), &flags));
        names.extend(stay.map(|ip| ip.to_string()));
    } else if !listen.is_loopback() {
        names.push(listen.to_string());
    }
    names
}

/// Whether pages can call the service by an address of this machine, today and tomorrow: not by one of IPv6 where it does
/// not speak that, not by one that holds on its own line alone, and not by one that the kernel makes up for a day
/// (RFC 8981), which `flags`, the text of `/proc/net/if_inet6`, tells.
fn stays(ip: IpAddr, ipv6: bool, flags: &str) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => ipv6 && !ip.is_loopback() && !ip.is_unicast_link_local() && !temporary(ip, flags),
    }
}

/// Whether the kernel says that an address is temporary, deprecated or not yet its own.
fn temporary(ip: std::net::Ipv6Addr, flags: &str) -> bool {
    // include/uapi/linux/if_addr.h: IFA_F_TEMPORARY, IFA_F_DEPRECATED, IFA_F_TENTATIVE.
    const PASSING: u32 = 0x01 | 0x20 | 0x40;
    let digits = format!("{:032x}", u128::from(ip));
    flags.lines().any(|line| {
        let mut words = line.split_whitespace();
        let this = words.next() == Some(&digits);
        let flags = words.nth(3).and_then(|word| u32::from_str_radix(word, 16).ok());
        this && flags.is_some_and(|flags| flags & PASSING != 0)
    })
}

/// The names that a file of our own is for.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.lines().find_map(|line| line.strip_prefix(NAMES)).unwrap_or_default().split_whitespace()
}

/// Whether a file of our own is for all of these names.
fn covers(text: &str, names: &[String]) -> bool {
    names.iter().all(|name| named(text).any(|there| there == name))
}

/// With the key that there was, or a new one.
fn make(names: &[String], serial: &str, key: Option<KeyPair>) -> Result<String> {
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
    let key = key.map_or_else(KeyPair::generate, Ok).map_err(fail)?;
    // Of one issuer no two certificates have one number, or browsers refuse the second; the key alone does not tell them
    // apart.
    let digest = Sha256::new().chain_update(key.public_key_raw()).chain_update(names.join(" ")).finalize();
    let mut number = digest[..16].to_vec();
    number[0] = number[0] & 0x7F | 0x40;
    params.serial_number = Some(SerialNumber::from(number));
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
    let readable = mode(&file).is_some_and(|mode| mode & 0o444 == 0o444);
    if readable && std::fs::read_to_string(&file).is_ok_and(|there| there == certificate) {
        return Ok(());
    }
    durable::replace_public(&file, certificate.as_bytes())
        .context(|| format!("{} cannot be written", file.display()))
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
        let part = |text: &str, name: &str| {
            let begin = text.find(&format!("-----BEGIN {name}-----")).unwrap();
            text[begin..text.find(&format!("-----END {name}-----")).unwrap()].to_owned()
        };
        assert_eq!(part(&first, "PRIVATE KEY"), part(&second, "PRIVATE KEY"), "the key stays");
        assert_ne!(part(&first, "CERTIFICATE"), part(&second, "CERTIFICATE"));
        // And another one: the names that there were stay, so that it needs no third when it comes back.
        config.listen = "192.0.2.8:90".parse().unwrap();
        open(&config, folder.path(), "0064871ECB01").unwrap();
        let third = std::fs::read_to_string(&file).unwrap();
        assert!(third.starts_with("Names: 127.0.0.1 ::1 localhost 192.0.2.8 192.0.2.7\n"), "{third}");
        config.listen = "192.0.2.7:90".parse().unwrap();
        open(&config, folder.path(), "0064871ECB01").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), third);
        // What the technician needs can be read by everybody, the key by nobody.
        let public = public(folder.path());
        let mode = |file: &Path| std::fs::metadata(file).unwrap().mode() & 0o777;
        assert_eq!((mode(&file), mode(&public)), (0o600, 0o644));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::set_permissions(&public, std::fs::Permissions::from_mode(0o600)).unwrap();
        open(&config, folder.path(), "0064871ECB01").unwrap();
        assert_eq!((mode(&file), mode(&public)), (0o600, 0o644));
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

    #[test]
    fn addresses_that_pass_are_no_names() {
        // As the kernel writes it: one that stays, one of the day, one of the line alone.
        let flags = "20010db8000000000000000000000001 02 40 00 80     eth0\n\
                     20010db80000000000000000000000aa 02 40 00 01     eth0\n\
                     20010db80000000000000000000000bb 02 40 00 20     eth0\n\
                     fe800000000000000000000000000001 02 40 20 80     eth0\n";
        let stays = |ip: &str, ipv6| stays(ip.parse().unwrap(), ipv6, flags);
        for ip in ["192.0.2.7", "10.0.0.5"] {
            assert!(stays(ip, false) && stays(ip, true), "{ip}");
        }
        for ip in ["127.0.0.1", "169.254.3.4", "::1", "fe80::1", "2001:db8::aa", "2001:db8::bb"] {
            assert!(!stays(ip, true), "{ip}");
        }
        assert!(stays("2001:db8::1", true));
        assert!(!stays("2001:db8::1", false), "0.0.0.0 does not speak IPv6");
    }
}
