//! Which pages may use the service. A browser says with every connection from which origin its page is; a program
//! that is no browser says nothing, and may. A page without an origin of its own (a file, a sandbox) says `null`, which
//! is anybody's.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::http::HeaderMap;
use hyper::http::header::ORIGIN;
use hyper::http::uri::Authority;

/// An origin in the form in which browsers send it: of a web page in lower case, without the port that its scheme has
/// anyway. Of another scheme, such as that of an extension or of a program made of pages (`tauri://localhost`), exactly as
/// it stands; `null` and `file://` are such as well, each is any page without an origin of its own. `None` if it is none.
pub fn normal(origin: &str) -> Option<String> {
    if origin == "null" {
        return Some(origin.to_owned());
    }
    let (scheme, rest) = origin.split_once("://")?;
    let port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        // Addresses of the service, not of pages.
        "ws" | "wss" => return None,
        _ => return another(scheme, rest).then(|| origin.to_owned()),
    };
    let (scheme, rest) = (scheme.to_ascii_lowercase(), rest.to_ascii_lowercase());
    let authority: Authority = rest.parse().ok()?;
    if authority.host().is_empty() || rest.contains('@') {
        return None;
    }
    Some(format!("{scheme}://{}", rest.strip_suffix(port).unwrap_or(&rest)))
}

/// Whether this is scheme (RFC 3986, 3.1) and host of an origin.
fn another(scheme: &str, rest: &str) -> bool {
    let mut letters = scheme.bytes();
    let named = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || b"+-.".contains(&letter));
    // Of files there is no host; what has a path is an address, and no origin.
    let host = !rest.is_empty() && rest.bytes().all(|letter| letter.is_ascii_graphic() && letter != b'/');
    named && (host || scheme == "file" && rest.is_empty())
}

/// Which refusals are told in the log: of each origin one a minute, so that a page that keeps trying does not fill it.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<String, (Instant, u64)>>);

/// How long an origin is silent in the log.
const SILENCE: Duration = Duration::from_secs(60);

/// Origins that are told apart; the others are one, whatever a program makes up.
const TOLD_APART: usize = 32;

impl Refusals {
    /// Whether this one is told: then how many were not since the last that was.
    pub(super) fn tells(&self, origin: &str) -> Option<u64> {
        self.tells_at(origin, Instant::now())
    }

    fn tells_at(&self, origin: &str, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.contains_key(origin) || told.len() < TOLD_APART;
        let name = if known { origin } else { "" };
        match told.get_mut(name) {
            Some((until, silenced)) if now < *until => {
                *silenced += 1;
                None
            }
            _ => {
                let silenced = told.insert(name.to_owned(), (now + SILENCE, 0));
                Some(silenced.map_or(0, |(_, silenced)| silenced))
            }
        }
    }
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
        for text in [
            "",
            "desk.example",
            "Null",
            "http://",
            "https://a@b",
            "ws://desk.example",
            "http:// a",
            "file:",
            "file:///home",
            "tauri://",
            "tauri://a/b",
            "a b://c",
            "1a://c",
            "app://a\nb",
        ] {
            assert_eq!(normal(text), None, "{text}");
        }
        assert_eq!(normal("HTTP://Desk:80").as_deref(), Some("http://desk"));
        assert_eq!(normal("http://desk:443").as_deref(), Some("http://desk:443"));
        assert_eq!(normal("http://[::1]:80").as_deref(), Some("http://[::1]"));
    }

    #[test]
    fn pages_of_other_schemes_may_where_they_are_spelled_out() {
        let spelled = ["tauri://localhost", "chrome-extension://AbcDef", "capacitor://localhost"];
        let origins = Origins::new(&spelled.map(str::to_owned));
        let check = |origins: &Origins, said: &str| {
            let mut headers = HeaderMap::new();
            headers.append(ORIGIN, said.parse().unwrap());
            origins.check(&headers).is_ok()
        };
        for one in spelled {
            assert!(check(&origins, one), "{one}");
        }
        for foreign in
            ["chrome-extension://abcdef", "tauri://localhost:80", "tauri://evil", "null", "file://"]
        {
            assert!(!check(&origins, foreign), "{foreign}");
        }
        let files = Origins::new(&["null".into(), "file://".into()]);
        assert!(check(&files, "null") && check(&files, "file://"));
        assert!(!check(&files, "https://desk.example"));
    }

    #[test]
    fn a_page_that_keeps_trying_does_not_fill_the_log() {
        let refusals = Refusals::default();
        let now = Instant::now();
        assert_eq!(refusals.tells_at("null", now), Some(0));
        for _ in 0..3 {
            assert_eq!(refusals.tells_at("null", now + SILENCE - Duration::from_secs(1)), None);
        }
        assert_eq!(refusals.tells_at("https://evil.example", now), Some(0), "each for itself");
        assert_eq!(refusals.tells_at("null", now + SILENCE), Some(3));
        let invented = (0..10_000).filter(|one| refusals.tells_at(&format!("https://{one}"), now).is_some());
        assert_eq!(invented.count(), TOLD_APART - 2 + 1, "and then all others as one");
        assert!(refusals.0.lock().unwrap().len() <= TOLD_APART + 1);
    }
}
