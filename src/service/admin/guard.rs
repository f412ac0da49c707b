//! Who may ask: the names by which the gate is asked for (DNS rebinding), the pages from which it is asked
//! (cross-site requests), and the token.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Shared;
use super::answer::{Failure, json_body};
use crate::config::Admin;
use crate::error::{Context, Error, Kind, Result};

/// The shortest token.
const TOKEN_CHARACTERS: usize = 16;

/// Name of the cookie that stands for the token.
const COOKIE: &str = "menshen";

/// How long the cookie lives.
const COOKIE_SECONDS: u32 = 12 * 3600;

/// An answer to a wrong token takes this long, so that guessing is slow.
const WRONG_TOKEN: Duration = Duration::from_millis(500);

/// Largest body of a login.
const LOGIN_BYTES: usize = 4096;

/// Nothing is loaded from elsewhere, nothing inline is run, nobody may frame it.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The rules.
pub(super) struct Guard {
    /// Whether only this machine can reach the address.
    loopback: bool,
    /// Lower-case origins, and the hosts in them.
    allowed: Vec<(String, String)>,
    /// Digests of the token and of the value of the cookie.
    secrets: Option<Secrets>,
}

struct Secrets {
    token: [u8; 32],
    cookie: String,
    cookie_digest: [u8; 32],
}

impl Guard {
    /// Reads the token file.
    pub(super) fn new(admin: &Admin) -> Result<Self> {
        let allowed = admin
            .allowed_origins
            .iter()
            .map(|origin| parse_origin(origin).map(|host| (origin.to_ascii_lowercase(), host)))
            .collect::<Result<_>>()?;
        let secrets = match &admin.token_file {
            Some(file) => Some(Secrets::new(&read_token(file)?)),
            None if admin.listen.ip().is_loopback() => None,
            None => {
                return Err(Error::new(
                    Kind::Config,
                    format!(
                        "service.admin listens on {}, which others can reach: name a token_file",
                        admin.listen
                    ),
                ));
            }
        };
        Ok(Self { loopback: admin.listen.ip().is_loopback(), allowed, secrets })
    }

    /// Whether a request may be answered.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Failure> {
        let host = host(headers)?;
        if !self.knows(host.host()) {
            return Err(Failure::new(
                StatusCode::MISDIRECTED_REQUEST,
                "host",
                "ask for the gate by its address, or add its name to service.admin.allowed_origins",
            ));
        }
        if !uri.path().starts_with("/api/") {
            return Ok(());
        }
        if !self.same_site(&host, headers) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                "origin",
                "pages of this origin may not use the gate: add it to service.admin.allowed_origins",
            ));
        }
        // The login brings the token in its body.
        if method == Method::OPTIONS || uri.path() == "/api/v1/login" || self.knows_token(headers) {
            return Ok(());
        }
        Err(Failure::new(StatusCode::UNAUTHORIZED, "token", "send the token: Authorization: Bearer TOKEN"))
    }

    /// Whether the gate goes by this name. A name that an attacker's DNS points here is none of them.
    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(ip) => !self.loopback || ip.is_loopback(),
            Err(_) => {
                bare.eq_ignore_ascii_case("localhost")
                    || self.allowed.iter().any(|(_, allowed)| allowed.eq_ignore_ascii_case(bare))
            }
        }
    }

    /// Whether no page of another site asks. Browsers say so with every request that could do harm; programs
    /// that are none say nothing.
    fn same_site(&self, host: &Authority, headers: &HeaderMap) -> bool {
        match headers.get(header::ORIGIN) {
            Some(origin) => origin.to_str().is_ok_and(|origin| {
                let own = ["http://", "https://"].iter().any(|scheme| {
                    origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(host.as_str()))
                });
                own || self.allows(origin)
            }),
            None => headers
                .get("sec-fetch-site")
                .is_none_or(|site| matches!(site.as_bytes(), b"same-origin" | b"none")),
        }
    }

    fn allows(&self, origin: &str) -> bool {
        self.allowed.iter().any(|(allowed, _)| allowed.eq_ignore_ascii_case(origin))
    }

    fn knows_token(&self, headers: &HeaderMap) -> bool {
        let Some(secrets) = &self.secrets else { return true };
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if let Some((_, token)) = bearer {
            return same(&digest(token.trim()), &secrets.token);
        }
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE)
            .any(|(_, value)| same(&digest(value), &secrets.cookie_digest))
    }
}

impl Secrets {
    fn new(token: &str) -> Self {
        // Made of the token, so that it survives a restart and dies with the token, and says nothing about it.
        let cookie: String = digest(&format!("menshen admin cookie\n{token}"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self { token: digest(token), cookie_digest: digest(&cookie), cookie }
    }
}

/// Reads and checks a token file.
pub(super) fn read_token(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file)
        .context_as(Kind::Config, || format!("cannot read service.admin.token_file {}", file.display()))?;
    let mode = std::fs::metadata(file)
        .context_as(Kind::Config, || format!("cannot look at service.admin.token_file {}", file.display()))?
        .mode();
    if mode & 0o007 != 0 {
        return Err(Error::new(
            Kind::Config,
            format!("everybody on this machine can use {}: chmod o= it", file.display()),
        ));
    }
    let token = text.trim();
    if token.chars().count() < TOKEN_CHARACTERS || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Error::new(
            Kind::Config,
            format!(
                "{} must hold one token of at least {TOKEN_CHARACTERS} letters, digits and signs; \
                 make one with: openssl rand -hex 24",
                file.display()
            ),
        ));
    }
    Ok(token.to_owned())
}

/// The host of an origin such as `https://ops.example:8443`.
fn parse_origin(origin: &str) -> Result<String> {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.and_then(|rest| rest.parse::<Authority>().ok())
        .filter(|authority| !authority.as_str().contains('@'))
        .map(|authority| authority.host().to_owned())
        .ok_or_else(|| {
            Error::new(
                Kind::Config,
                format!("service.admin.allowed_origins: {origin:?} is no origin such as http://host:8080"),
            )
        })
}

fn host(headers: &HeaderMap) -> Result<Authority, Failure> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().and_then(|host| host.to_str().ok()).and_then(|host| host.parse().ok()), hosts.next())
    {
        (Some(host), None) => Ok(host),
        _ => Err(Failure::input("a request needs one Host header")),
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Compares without telling by its time where the difference is: all bytes of two digests are looked at.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

/// The middleware around every request.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let guard = &shared.guard;
    let foreign = request
        .headers()
        .get(header::ORIGIN)
        .filter(|origin| origin.to_str().is_ok_and(|origin| guard.allows(origin)))
        .cloned();
    let api = request.uri().path().starts_with("/api/");
    let checked = guard.check(request.method(), request.uri(), request.headers());
    let mut response = match checked {
        Ok(()) if request.method() == Method::OPTIONS && foreign.is_some() => {
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(()) => next.run(request).await,
        Err(failure) => {
            if request.headers().contains_key(header::AUTHORIZATION) {
                tokio::time::sleep(WRONG_TOKEN).await;
            }
            failure.into_response()
        }
    };
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set("content-security-policy", CONTENT_SECURITY);
    set("x-content-type-options", "nosniff");
    set("x-frame-options", "DENY");
    set("referrer-policy", "no-referrer");
    set("cross-origin-opener-policy", "same-origin");
    set("cross-origin-resource-policy", if foreign.is_some() { "cross-origin" } else { "same-origin" });
    // Names, pictures and answers that change; the page itself is asked for anew after an update.
    set("cache-control", if api { "no-store" } else { "no-cache" });
    set("vary", "Origin");
    if let Some(origin) = foreign {
        set("access-control-allow-methods", "GET, POST, DELETE");
        set("access-control-allow-headers", "authorization, content-type, last-event-id");
        set("access-control-max-age", "600");
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    token: String,
}

/// `POST /api/v1/login`.
pub(super) async fn login(State(shared): State<Shared>, request: Request) -> Result<Response, Failure> {
    let login: Login = json_body(request, LOGIN_BYTES).await?;
    let Some(secrets) = &shared.guard.secrets else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    if !same(&digest(login.token.trim()), &secrets.token) {
        tokio::time::sleep(WRONG_TOKEN).await;
        tracing::warn!("a wrong token was entered on the admin page");
        return Err(Failure::new(StatusCode::UNAUTHORIZED, "token", "this is not the token"));
    }
    Ok(with_cookie(&secrets.cookie, COOKIE_SECONDS))
}

/// `POST /api/v1/logout`.
pub(super) async fn logout() -> Response {
    with_cookie("", 0)
}

fn with_cookie(value: &str, seconds: u32) -> Response {
    let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(listen: &str, origins: &[&str], token: Option<&str>) -> Guard {
        let file = tempfile::NamedTempFile::new().unwrap();
        if let Some(token) = token {
            std::fs::write(&file, token).unwrap();
        }
        Guard::new(&Admin {
            listen: listen.parse().unwrap(),
            token_file: token.map(|_| file.path().to_owned()),
            allowed_origins: origins.iter().map(|&origin| origin.to_owned()).collect(),
        })
        .unwrap()
    }

    fn ask(guard: &Guard, method: Method, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        match guard.check(&method, &path.parse().unwrap(), &headers) {
            Ok(()) => 200,
            Err(failure) => failure.into_response().status().as_u16(),
        }
    }

    #[test]
    fn a_name_that_dns_points_here_is_refused() {
        let local = guard("127.0.0.1:8080", &[], None);
        for (host, status) in [
            ("127.0.0.1:8080", 200),
            ("localhost:9000", 200),
            ("[::1]:8080", 200),
            ("evil.example:8080", 421),
            ("127.0.0.1.evil.example", 421),
            ("192.168.1.20:8080", 421),
        ] {
            assert_eq!(ask(&local, Method::GET, "/api/v1/status", &[("host", host)]), status, "{host}");
            assert_eq!(ask(&local, Method::GET, "/", &[("host", host)]), status, "{host}");
        }
        assert_eq!(ask(&local, Method::GET, "/", &[]), 400);
        let open = guard("0.0.0.0:8080", &["http://gate1.local:8080"], Some("0123456789abcdef"));
        for (host, status) in [
            ("192.168.1.20:8080", 200),
            ("gate1.local:8080", 200),
            ("GATE1.local", 200),
            ("evil.example", 421),
        ] {
            assert_eq!(ask(&open, Method::GET, "/", &[("host", host)]), status, "{host}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let guard = guard("127.0.0.1:8080", &["https://ops.example"], None);
        let cases: [(&[(&'static str, &str)], u16); 9] = [
            (&[], 200),
            (&[("origin", "http://127.0.0.1:8080")], 200),
            (&[("origin", "https://ops.example")], 200),
            (&[("origin", "http://ops.example")], 403),
            (&[("origin", "http://evil.example")], 403),
            (&[("origin", "http://127.0.0.1:8081")], 403),
            (&[("origin", "null")], 403),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-origin")], 200),
        ];
        for method in [Method::POST, Method::DELETE, Method::GET] {
            for (headers, status) in cases {
                let mut headers = headers.to_vec();
                headers.push(("host", "127.0.0.1:8080"));
                assert_eq!(ask(&guard, method.clone(), "/api/v1/door/open", &headers), status, "{headers:?}");
            }
        }
    }

    #[test]
    fn the_token_is_asked_for_and_so_is_its_file() {
        let token = "0123456789abcdef";
        let guard = guard("0.0.0.0:8080", &[], Some(token));
        let cookie = guard.secrets.as_ref().unwrap().cookie.clone();
        let ask = |name: &'static str, value: &str| {
            ask(&guard, Method::GET, "/api/v1/status", &[("host", "10.0.0.1:8080"), (name, value)])
        };
        assert_eq!(ask("authorization", "Bearer 0123456789abcdef"), 200);
        assert_eq!(ask("authorization", "bearer 0123456789abcdef"), 200);
        assert_eq!(ask("authorization", "Bearer 0123456789abcdeg"), 401);
        assert_eq!(ask("authorization", "Bearer "), 401);
        assert_eq!(ask("authorization", "Basic 0123456789abcdef"), 401);
        assert_eq!(ask("x-other", "1"), 401);
        assert_eq!(ask("cookie", &format!("a=b; menshen={cookie}")), 200);
        assert_eq!(ask("cookie", "menshen=0123456789abcdef"), 401);
        // A cookie does not help where a wrong token is sent along.
        assert!(!cookie.contains(token));

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "short").unwrap();
        assert_eq!(read_token(file.path()).unwrap_err().kind(), Kind::Config);
        std::fs::write(&file, format!("{token}\n")).unwrap();
        assert_eq!(read_token(file.path()).unwrap(), token);
        let mut rights = std::fs::metadata(&file).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o644);
        std::fs::set_permissions(&file, rights).unwrap();
        assert!(read_token(file.path()).unwrap_err().to_string().contains("chmod"));
        let open =
            Admin { listen: "0.0.0.0:8080".parse().unwrap(), token_file: None, allowed_origins: Vec::new() };
        assert_eq!(Guard::new(&open).err().unwrap().kind(), Kind::Config);
    }
}
