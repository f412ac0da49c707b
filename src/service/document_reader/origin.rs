//! Which pages may use the service. A browser says with every connection from which origin its page is; a program
//! that is no browser says nothing, and may. A page without an origin of its own (a file, a sandbox) says `null`, which
//! is anybody's.

use std::collections::HashSet;

use hyper::http::HeaderMap;
use hyper::http::header::ORIGIN;
use hyper::http::uri::Authority;

/// An origin in the form in which browsers send it: lower case, without the port that its scheme has anyway. `None` if
/// it is none.
pub fn normal(origin: &str) -> Option<String> {
    let origin = origin.to_ascii_lowercase();
    let (scheme, rest) = origin.split_once("://")?;
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let authority: Authority = rest.parse().ok()?;
    if authority.host().is_empty() || rest.contains('@') {
        return None;
    }
    Some(format!("{scheme}://{}", rest.strip_suffix(port).unwrap_or(rest)))
}

/// The origins that may.
pub(super) struct Origins(HashSet<String>);

impl Origins {
    /// As configured; what is no origin is left out (the configuration has refused it).
    pub(super) fn new(allowed: &[String]) -> Self {
        Self(allowed.iter().filter_map(|origin| normal(origin)).collect())
    }

    /// Whether a connection with these headers may be had; otherwise the origin that may not, for the log.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), String> {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) => {
                let origin = String::from_utf8_lossy(origin.as_bytes());
                match normal(&origin) {
                    Some(normal) if self.0.contains(&normal) => Ok(()),
                    _ => Err(origin.chars().take(200).collect()),
                }
            }
            (Some(_), Some(_)) => Err("two origins".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_page_may_not() {
        let origins = Origins::new(&["https://Desk.example:443".into(), "http://10.0.0.5:8080".into()]);
        let check = |said: &[&str]| {
            let mut headers = HeaderMap::new();
            for origin in said {
                headers.append(ORIGIN, origin.parse().unwrap());
            }
            origins.check(&headers).is_ok()
        };
        assert!(check(&[]), "a local program");
        assert!(check(&["https://desk.example"]));
        assert!(check(&["http://10.0.0.5:8080"]));
        for foreign in [
            "http://desk.example",
            "https://desk.example:8443",
            "https://desk.example.evil.example",
            "http://10.0.0.5",
            "http://127.0.0.1:90",
            "http://localhost",
            "null",
            "file://",
            "",
        ] {
            assert!(!check(&[foreign]), "{foreign}");
        }
        assert!(!check(&["https://desk.example", "null"]));
    }

    #[test]
    fn what_is_no_origin_is_none() {
        for text in ["", "desk.example", "null", "http://", "https://a@b", "ws://desk.example", "http:// a"] {
            assert_eq!(normal(text), None, "{text}");
        }
        assert_eq!(normal("HTTP://Desk:80").as_deref(), Some("http://desk"));
        assert_eq!(normal("http://desk:443").as_deref(), Some("http://desk:443"));
        assert_eq!(normal("http://[::1]:80").as_deref(), Some("http://[::1]"));
    }
}
