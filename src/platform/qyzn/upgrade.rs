//! `device_upgrade` (4.5.2).
//!
//! The answer goes out when the package is there, its checksum is right and the installer has accepted it, or when it
//! is clear that this will not be. A platform sends the command again after 20 s (3.2, item 5): that joins the one
//! under way. What becomes of the installing is told by `update` events and by the version of the next login.

use serde_json::Value;

use super::code::{self, Answer};
use super::json::Fields;
use crate::http::Url;
use crate::update::{Failure, Order, Updates};

/// Longest `url`, in bytes (4.5.2).
const URL_BYTES: usize = 128;
/// Longest `version`, in bytes (4.5.2).
const VERSION_BYTES: usize = 64;
/// Digits of an MD5.
const CHECK_DIGITS: usize = 32;

/// Downloads, verifies and begins to install.
pub async fn device_upgrade(updates: &Updates, data: &Value) -> Answer {
    let order = match order(data) {
        Ok(order) => order,
        Err(answer) => return answer,
    };
    match updates.upgrade(order).await {
        Ok(()) => Answer::success(),
        Err(failure) => {
            let text = failure.text();
            match failure {
                Failure::Busy => Answer::busy(text),
                Failure::Unreachable(_) => Answer::failure(code::UNREACHABLE, text),
                Failure::Download(_) => Answer::failure(code::NOT_DOWNLOADED, text),
                Failure::Differs(_) | Failure::Unsigned(_) => Answer::failure(code::CHECK_FAILED, text),
                Failure::NoInstaller(_) | Failure::Gate(_) => Answer::failure(code::FAILED, text),
            }
        }
    }
}

/// Reads the command; the answer to one that cannot be carried out.
pub fn order(data: &Value) -> Result<Order, Answer> {
    let fields = Fields::of(data);
    let bad_url = |text: String| Answer::failure(code::BAD_URL, text);
    let text = fields.text("url", usize::MAX).ok().flatten().unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        return Err(bad_url("url: is missing".into()));
    }
    if text.len() > URL_BYTES {
        return Err(bad_url(format!("url: has {} bytes, at most {URL_BYTES} are allowed", text.len())));
    }
    let url = Url::parse(text).map_err(|error| bad_url(format!("url: {error}")))?;
    let bad = |key: &str, what: &str| Answer::failure(code::BAD_PARAMETER, format!("{key}: {what}"));
    let version = fields
        .text("version", VERSION_BYTES)
        .map_err(|_| bad("version", "must be a text of at most 64 bytes"))?
        .unwrap_or_default();
    let check = fields.text("check", usize::MAX).ok().flatten().unwrap_or_default();
    let check = check.trim().to_ascii_lowercase();
    if check.len() != CHECK_DIGITS || !check.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(bad("check", "must be the package's md5, 32 hexadecimal digits"));
    }
    Ok(Order { url, version, check })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CHECK: &str = "e10adc3949ba59abbe56e057f20f883e";

    #[test]
    fn the_documents_sample() {
        let data = json!({"url": "http://10.0.0.5:8080/file.bin", "version": "V1.0.2_2018-11-10_12:20 xxx",
            "check": CHECK});
        let order = order(&data).unwrap();
        assert_eq!(order.url.to_string(), "http://10.0.0.5:8080/file.bin");
        assert_eq!((order.version.as_str(), order.check.as_str()), ("V1.0.2_2018-11-10_12:20 xxx", CHECK));
    }

    #[test]
    fn what_cannot_be_ordered() {
        let long = format!("http://a/{}", "b".repeat(120));
        assert_eq!(long.len(), 129);
        let code = |data: Value| order(&data).unwrap_err().result;
        for url in
            ["", " ", "file.bin", "ftp://a/b", "file:///etc/passwd", "http://u:p@a/b", "http:///b", &long]
        {
            assert_eq!(code(json!({"url": url, "version": "1", "check": CHECK})), 200, "{url}");
        }
        assert_eq!(code(json!({"version": "1", "check": CHECK})), 200);
        assert!(order(&json!({"url": &long[..128], "check": CHECK.to_uppercase()})).is_ok());
        for check in ["", "e10adc", "g10adc3949ba59abbe56e057f20f883e"] {
            assert_eq!(code(json!({"url": "http://a/b", "version": "1", "check": check})), 104, "{check}");
        }
        assert_eq!(code(json!({"url": "http://a/b", "version": "1".repeat(65), "check": CHECK})), 104);
        assert_eq!(code(json!({"url": "http://a/b"})), 104);
    }
}
