//! Where the platform is: `ws://IP:PORT/devs/` from the configuration and the serial number behind it.

use tokio_tungstenite::tungstenite::http::Uri;

use crate::error::{Error, Kind, Result};

/// An address that has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `wss`.
    pub tls: bool,
    /// Host name or IP address, without the brackets of an IPv6 address.
    pub host: String,
    /// Port; 80 and 443 where none is given.
    pub port: u16,
    /// The whole, with the serial number.
    pub url: String,
}

impl Address {
    /// Puts `serial` behind `url`, with a slash between where `url` ends without one (or `=`). `Config` says
    /// what is wrong with it.
    pub fn parse(url: &str, serial: &str) -> Result<Self> {
        let fail = |what: &str| {
            Err(Error::new(
                Kind::Config,
                format!("platform.terminal_ws.url {what}; it is like ws://10.0.0.5:8088/devs/"),
            ))
        };
        let between = if url.ends_with(['/', '=']) { "" } else { "/" };
        let whole = format!("{url}{between}{serial}");
        if url.contains(['#', ' ']) {
            return fail("has a # or a blank in it");
        }
        let tls = match url.split_once("://") {
            // Without a host the serial number would be taken for it.
            Some(("ws" | "wss", "")) => return fail("is no URL"),
            Some(("ws", _)) => false,
            Some(("wss", _)) => true,
            _ => return fail("must begin with ws:// or wss://"),
        };
        let Ok(uri) = whole.parse::<Uri>() else { return fail("is no URL") };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return fail("must not hold a user: there are username and password");
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = match uri.port() {
            Some(port) => port.as_u16(),
            // A colon with digits that make no port.
            None if uri.authority().is_some_and(|authority| has_port(authority.as_str())) => 0,
            None if tls => 443,
            None => 80,
        };
        let colon = uri.authority().is_some_and(|authority| authority.as_str().ends_with(':'));
        if host.is_empty() || url.matches('/').count() < 2 || port == 0 || colon {
            return fail("has no host or no proper port");
        }
        Ok(Self { tls, host, port, url: whole })
    }
}

/// Whether something stands behind the host, which may be an IPv6 address in brackets.
fn has_port(authority: &str) -> bool {
    authority.rsplit_once(']').map_or(authority, |(_, behind)| behind).contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_serial_number_stands_behind() {
        let parse = |url: &str| Address::parse(url, "FEDCBA9876543210").unwrap();
        let document = parse("ws://10.0.0.5:8088/devs/");
        assert_eq!(document.url, "ws://10.0.0.5:8088/devs/FEDCBA9876543210");
        assert_eq!((document.tls, document.host.as_str(), document.port), (false, "10.0.0.5", 8088));
        assert_eq!(parse("ws://h/devs").url, "ws://h/devs/FEDCBA9876543210");
        assert_eq!(parse("ws://h").url, "ws://h/FEDCBA9876543210");
        assert_eq!(parse("ws://h/ws?sn=").url, "ws://h/ws?sn=FEDCBA9876543210");
        assert_eq!(
            (parse("ws://h/d/").port, parse("wss://h/d/").port, parse("wss://h/d/").tls),
            (80, 443, true)
        );
        assert_eq!(parse("ws://[::1]:90/").host, "::1");
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for (url, what) in [
            ("", "must begin"),
            ("10.0.0.5:8088", "must begin"),
            ("http://h/devs/", "must begin"),
            ("ws://", "is no URL"),
            ("ws://h:99999/", "no proper port"),
            ("ws://h:0/", "no proper port"),
            ("ws://h:/", "no proper port"),
            ("ws://dev:123@h/devs/", "must not hold a user"),
            ("ws://h/devs/#x", "has a #"),
            ("ws://h /", "has a #"),
        ] {
            let error = Address::parse(url, "S1").unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.message().starts_with("platform.terminal_ws.url"), "{url}: {error}");
            assert!(error.message().contains(what), "{url}: {error}");
        }
    }
}
