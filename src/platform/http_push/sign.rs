//! What a request is signed with. The document (4.5.10.16) names `appid`, `appSecret` and `AuthSn` and no more;
//! how they sign is laid down here and in `docs/http-push.md`, where there is a worked example.

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Kind, Result};
use crate::gate::settings::PushSettings;

/// What is signed, as the key of the signature is not part of it.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Path and query, as in the request's first line.
    pub path: &'a str,
    /// Header `appid`.
    pub app_id: &'a str,
    /// Header `AuthSn`.
    pub auth_sn: &'a str,
    /// Header `timestamp`: seconds since 1970 in UTC, decimal.
    pub timestamp: &'a str,
    /// Header `nonce`: 32 hexadecimal digits, never the same twice.
    pub nonce: &'a str,
    /// The body.
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// The text that is signed: its seven parts with a line feed between, none at the end; the last is the
    /// SHA-256 of the body in lower-case hexadecimal.
    pub fn canonical(&self) -> String {
        let hash = hex(&Sha256::digest(self.body));
        [self.method, self.path, self.app_id, self.auth_sn, self.timestamp, self.nonce, &hash].join("\n")
    }

    /// HMAC-SHA256 (RFC 2104) of the text with the bytes of `secret`, in lower-case hexadecimal.
    pub fn signature(&self, secret: &str) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of HMAC may have any length");
        mac.update(self.canonical().as_bytes());
        hex(&mac.finalize().into_bytes())
    }
}

/// The headers of a request that is sent at `timestamp` with `nonce`. Without a secret there is no `signature`.
/// `Config` for an `appid` or `AuthSn` that no header can hold.
pub fn headers(
    settings: &PushSettings,
    path: &str,
    body: &[u8],
    timestamp: &str,
    nonce: &str,
) -> Result<HeaderMap> {
    let signed = Signed {
        method: "POST",
        path,
        app_id: &settings.app_id,
        auth_sn: &settings.auth_sn,
        timestamp,
        nonce,
        body,
    };
    let signature = (!settings.app_secret.is_empty()).then(|| signed.signature(&settings.app_secret));
    let mut headers = HeaderMap::new();
    headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    let named = [
        ("appid", Some(settings.app_id.as_str())),
        ("authsn", Some(&settings.auth_sn)),
        ("timestamp", Some(timestamp)),
        ("nonce", Some(nonce)),
        ("signature", signature.as_deref()),
    ];
    for (name, value) in named {
        let Some(value) = value else { continue };
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            Error::new(Kind::Config, format!("HttpPush.{name} has characters that a header cannot hold"))
        })?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of docs/http-push.md; the values are those of Python's hmac and hashlib.
    const EXAMPLE: Signed<'_> = Signed {
        method: "POST",
        path: "/gate/push?site=1",
        app_id: "12355",
        auth_sn: "fafafa",
        timestamp: "1764000000",
        nonce: "00112233445566778899aabbccddeeff",
        body: "{\"message\":\"heartbeat\",\"data\":{\"name\":\"门神\"}}".as_bytes(),
    };
    const SIGNATURE: &str = "877aa18d739b2121bd302be20104a47bc39e1ee5265ee06956260b454ec88926";

    #[test]
    fn the_example_of_the_documentation() {
        assert_eq!(
            EXAMPLE.canonical(),
            "POST\n/gate/push?site=1\n12355\nfafafa\n1764000000\n00112233445566778899aabbccddeeff\nabc913836bca9e6e3d128d6aa2622df5e1ce8361984caa64ff6ea7aa373fbb76"
        );
        assert_eq!(EXAMPLE.signature("afaf"), SIGNATURE);
        let page = include_str!("../../../docs/http-push.md");
        assert!(
            page.contains(SIGNATURE)
                && page.contains("abc913836bca9e6e3d128d6aa2622df5e1ce8361984caa64ff6ea7aa373fbb76")
        );
    }

    #[test]
    fn each_part_counts() {
        let others = [
            Signed { method: "GET", ..EXAMPLE },
            Signed { path: "/gate/push?site=2", ..EXAMPLE },
            Signed { app_id: "12356", ..EXAMPLE },
            Signed { auth_sn: "", ..EXAMPLE },
            Signed { timestamp: "1764000001", ..EXAMPLE },
            Signed { nonce: "0", ..EXAMPLE },
            Signed { body: b"", ..EXAMPLE },
        ];
        for other in others {
            assert_ne!(other.signature("afaf"), SIGNATURE, "{other:?}");
        }
        assert_ne!(EXAMPLE.signature("afaF"), SIGNATURE);
    }

    #[test]
    fn headers_as_the_document_names_them() {
        let settings = PushSettings {
            app_id: "12355".into(),
            app_secret: "afaf".into(),
            auth_sn: "fafafa".into(),
            ..PushSettings::default()
        };
        let headers_of = |settings: &PushSettings| {
            headers(settings, EXAMPLE.path, EXAMPLE.body, EXAMPLE.timestamp, EXAMPLE.nonce)
        };
        let made = headers_of(&settings).unwrap();
        assert_eq!(made["AuthSn"], "fafafa");
        assert_eq!(made["signature"], SIGNATURE);
        let unsigned = PushSettings { app_secret: String::new(), ..settings.clone() };
        assert!(!headers_of(&unsigned).unwrap().contains_key("signature"));
        let broken = PushSettings { app_id: "a\r\nb: c".into(), ..settings };
        assert!(headers_of(&broken).unwrap_err().to_string().contains("HttpPush.appid"));
    }
}
