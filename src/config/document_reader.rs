//! `[service] document_reader`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::text::Language;
use crate::text::document_reader::{STATUSES, constant, constants};

/// Names of the pictures that a page can be sent.
pub const PICTURES: [&str; 8] =
    ["White", "IR", "UV", "OcrHead", "ChipHead", "SidHead", "SidFront", "SidBack"];

/// `[service.document_reader]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentReader {
    /// Address, of `ws` and `wss` alike.
    pub listen: SocketAddr,
    /// Whether it may listen where others than this machine reach it: the protocol knows no password.
    #[serde(default)]
    pub open_to_network: bool,
    /// Origins of the pages that may use it, such as `https://desk.example`.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// PEM file with certificate and key of `wss`; `auto`: one of its own, made at the first start.
    #[serde(default = "auto")]
    pub certificate: String,
    /// Font of the drawn front and back of an identity card.
    #[serde(default = "font")]
    pub font: PathBuf,
    /// The pictures that pages are sent.
    #[serde(default = "pictures")]
    pub pictures: Vec<String>,
    /// Whether pages are sent the fingerprints of a chip.
    #[serde(default)]
    pub fingerprints: bool,
    /// Further constants, or other words for those there are: texts by name.
    #[serde(default)]
    pub constants: BTreeMap<String, String>,
}

fn auto() -> String {
    "auto".into()
}

fn font() -> PathBuf {
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc".into()
}

fn pictures() -> Vec<String> {
    PICTURES.map(str::to_owned).into()
}

impl DocumentReader {
    /// A service at `listen`, all else by default.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            open_to_network: false,
            allowed_origins: Vec::new(),
            certificate: auto(),
            font: font(),
            pictures: pictures(),
            fingerprints: false,
            constants: BTreeMap::new(),
        }
    }

    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        let fail =
            |message: String| Err(Error::new(Kind::Config, format!("service.document_reader{message}")));
        if !self.listen.ip().is_loopback() && !self.open_to_network {
            return fail(format!(
                " listens on {}, which others can reach, and its protocol knows no password: set \
                 open_to_network = true if that is meant, or listen on 127.0.0.1",
                self.listen
            ));
        }
        for origin in &self.allowed_origins {
            if crate::service::document_reader::origin::normal(origin).is_none() {
                return fail(format!(
                    ".allowed_origins: {origin:?} is no origin, such as http://host:8080 or tauri://localhost"
                ));
            }
        }
        if self.certificate.is_empty() {
            return fail(".certificate must name a PEM file, or be auto".into());
        }
        for picture in &self.pictures {
            if !PICTURES.contains(&picture.as_str()) {
                return fail(format!(".pictures: {picture:?} is none of {}", PICTURES.join(", ")));
            }
        }
        self.check_statuses()
    }

    /// Pages tell what they are told apart by what it says, so that two statuses may not say the same.
    fn check_statuses(&self) -> Result<()> {
        for language in [Language::Chinese, Language::English] {
            let mut said: BTreeMap<&str, &str> = BTreeMap::new();
            for (one, name) in constants().filter(|(one, _)| STATUSES.contains(one)) {
                let text = self.constants.get(name).map_or(constant(one, language), String::as_str);
                if let Some(other) = said.insert(text, name) {
                    return Err(Error::new(
                        Kind::Config,
                        format!(
                            "service.document_reader.constants: {other} and {name} would both say {text:?}, and pages \
                             could not tell one from the other: give each words of its own"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn refused(rest: &str) -> String {
        Config::parse(&format!("[service.document_reader]\n{rest}")).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        assert!(refused("listen = \"0.0.0.0:90\"").contains("open_to_network"));
        assert!(refused("").contains("listen"));
        let with = |rest: &str| refused(&format!("listen = \"127.0.0.1:90\"\n{rest}"));
        assert!(with("allowed_origins = [\"desk.example\"]").contains("allowed_origins"));
        assert!(with("allowed_origins = [\"file:\"]").contains("allowed_origins"));
        let same = with("constants = { DeviceOffLine = \"away\", DeviceNotConnected = \"away\" }");
        assert!(same.contains("DeviceNotConnected and DeviceOffLine would both say \"away\""), "{same}");
        let same = with("constants = { RecogFailed = \"采集图像失败\" }");
        assert!(same.contains("AcquireImageFailed and RecogFailed"), "{same}");
        assert!(with("pictures = [\"white\"]").contains("\"white\" is none of White"));
        assert!(with("certificate = \"\"").contains("certificate"));
        assert!(with("port = 90").contains("port"));
        let open = "[service.document_reader]\nlisten = \"0.0.0.0:90\"\nopen_to_network = true";
        assert!(Config::parse(open).is_ok());
        let more = "[service.document_reader]\nlisten = \"127.0.0.1:90\"\n\
                    allowed_origins = [\"null\", \"file://\", \"tauri://localhost\"]\n\
                    constants = { Welcome = \"hello\", Goodbye = \"hello\", DeviceOffLine = \"away\" }";
        assert!(Config::parse(more).is_ok(), "words that pages do not compare may be the same");
    }
}
