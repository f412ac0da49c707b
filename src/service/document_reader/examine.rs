//! What a technician is told about the service.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use jiff::civil::DateTime;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::drawn;
use crate::config::Config;
use crate::device::chip::tlv::{Objects, malformed, value};
use crate::doctor::{Finding, Words};
use crate::error::{Context as _, Error, Kind, Result};

/// How long the running service may take to take a connection, and to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest answer of ours, with its head.
const ANSWER_BYTES: u64 = 4096;

/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// Looks at the address of the service, its certificate and its font; nothing where there is no service.
pub fn examine(config: &Config, runs: bool) -> Vec<Finding> {
    examine_at(config, runs, jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).datetime())
}

fn examine_at(config: &Config, runs: bool, now: DateTime) -> Vec<Finding> {
    let Some(service) = &config.service.document_reader else { return Vec::new() };
    let about = |key: &'static str, chinese: &'static str, english: &'static str, looked_for: String| {
        Finding::about(key, Words::new(chinese, english), looked_for)
    };
    let port =
        about("document_reader", "证件阅读服务", "document reader service", service.listen.to_string());
    let port = if runs {
        match ask(service.listen) {
            Ok(true) => port.well(Words::new("正在监听", "listens")),
            Ok(false) => port.failed(
                Words::new("此端口由其他程序占用", "another program answers there"),
                Words::new(
                    "停用该程序，或改 service.document_reader.listen",
                    "stop that program, or change service.document_reader.listen",
                ),
            ),
            Err(error) => port.failed(
                Words::same(error.to_string()),
                Words::new(
                    "看日志：journalctl -u menshen；端口被占用或没有权限时改 service.document_reader.listen",
                    "see journalctl -u menshen; where the port is taken or may not be bound, change \
                     service.document_reader.listen",
                ),
            ),
        }
    } else {
        match TcpListener::bind(service.listen) {
            Ok(_) => port.well(Words::new("空闲", "is free for the agent")),
            Err(error) => port.failed(
                Words::same(error.to_string()),
                Words::new(
                    "更正 service.document_reader.listen；1024 以下的端口需要权限（docs/document-reader.md）",
                    "correct service.document_reader.listen; ports below 1024 need a right (docs/document-reader.md)",
                ),
            ),
        }
    };
    let mut findings = vec![port];
    let own = service.certificate == "auto";
    let file = match own {
        true => super::certificate(&config.terminal.data_dir),
        false => service.certificate.clone().into(),
    };
    // Before the first start there is none of our own.
    if !own || file.exists() {
        let certificate = about(
            "document_reader.certificate",
            "wss 证书",
            "certificate of wss",
            file.display().to_string(),
        );
        findings.push(match certificate_of(&file) {
            Ok((names, from, until)) if from <= now && now <= until => {
                let (names, until) = (names.join("、"), until.date());
                let english = names.replace('、', ", ");
                certificate.well(Words::new(
                    format!("名称：{names}；有效期至 {until}"),
                    format!("for {english}; valid until {until}"),
                ))
            }
            Ok((_, from, until)) => certificate.attention(
                Words::new(
                    format!("有效期为 {from} 至 {until}，现在不在其内"),
                    format!("is valid from {from} to {until}, which is not now"),
                ),
                Words::new(
                    "检查本机时间；自备的证书请更换",
                    "check the clock of this machine; replace a certificate of your own",
                ),
            ),
            Err(error) => certificate.attention(
                Words::from(&error),
                Words::new(
                    "更正 service.document_reader.certificate；自动生成的证书删除后重启",
                    "correct service.document_reader.certificate; delete one that was made by itself, and restart",
                ),
            ),
        });
    }
    // Without the drawn pictures nobody needs the font.
    if service.pictures.iter().any(|name| name == "SidFront" || name == "SidBack") {
        let font = about(
            "document_reader.font",
            "证件画面字体",
            "font of drawn cards",
            service.font.display().to_string(),
        );
        findings.push(match drawn::check_font(&service.font) {
            Ok(()) => font.well(Words::new("可用", "can be used")),
            Err(error) => font.attention(
                Words::from(&error),
                Words::new(
                    "不生成身份证正反面图像；安装 fonts-wqy-microhei 或改 service.document_reader.font",
                    "install fonts-wqy-microhei, or change service.document_reader.font",
                ),
            ),
        });
    }
    findings
}

/// Whether it is our service that answers at an address.
fn ask(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    // Whoever says nothing, or too much, is not us.
    match stream.take(ANSWER_BYTES).read_to_end(&mut answer) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Err(error);
        }
        _ => {}
    }
    let answer = String::from_utf8_lossy(&answer);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(super::HERE.contains(&body))
}

/// The names that a certificate is for, from when and until when it is valid (UTC).
fn certificate_of(file: &Path) -> Result<(Vec<String>, DateTime, DateTime)> {
    let unusable = || format!("{} is no certificate in PEM", file.display());
    let der = CertificateDer::from_pem_file(file)
        .map_err(|error| Error::caused(Kind::Config, unusable(), error))?;
    read(&der).context_as(Kind::Config, unusable)
}

/// The same of a certificate's bytes (RFC 5280, section 4.1).
fn read(der: &[u8]) -> Result<(Vec<String>, DateTime, DateTime)> {
    let mut inner = Objects::new(Objects::new(value(der, 0x30)?).expect(0x30)?.value);
    // Version, number, algorithm and issuer.
    inner.take_if(0xa0)?;
    for tag in [2, 0x30, 0x30] {
        inner.expect(tag)?;
    }
    let mut validity = Objects::new(inner.expect(0x30)?.value);
    let mut moment = || {
        let time = validity.take()?.and_then(|time| moment(time.tag, time.value));
        time.ok_or_else(|| malformed("its validity is no time"))
    };
    let (from, until) = (moment()?, moment()?);
    let mut names = Vec::new();
    if let Some(extensions) = inner.find(0xa3)? {
        let mut extensions = Objects::new(value(extensions.value, 0x30)?);
        while let Some(extension) = extensions.take()? {
            let mut extension = Objects::new(extension.value);
            let alternative = extension.expect(6)?.value == SUBJECT_ALTERNATIVE_NAMES;
            extension.take_if(1)?;
            let content = extension.expect(4)?.value;
            if alternative {
                let mut all = Objects::new(value(content, 0x30)?);
                while let Some(name) = all.take()? {
                    names.extend(name_of(name.tag, name.value));
                }
            }
        }
    }
    Ok((names, from, until))
}

/// A name or an address of a certificate (section 4.2.1.6).
fn name_of(tag: u32, content: &[u8]) -> Option<String> {
    match tag {
        0x82 => String::from_utf8(content.to_vec()).ok(),
        0x87 => match content.len() {
            4 => <[u8; 4]>::try_from(content).ok().map(|ip| IpAddr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(content).ok().map(|ip| IpAddr::from(ip).to_string()),
        },
        _ => None,
    }
}

/// A time, UTC (section 4.1.2.5): two digits of the year are of 1950 to 2049.
fn moment(tag: u32, content: &[u8]) -> Option<DateTime> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let text = match tag {
        0x17 if text.get(..2)? < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        0x18 => text.to_owned(),
        _ => return None,
    };
    DateTime::strptime("%Y%m%d%H%M%S", text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DocumentReader;
    use crate::doctor::State;

    const NOW: DateTime = jiff::civil::date(2026, 11, 22).at(0, 0, 0, 0);

    /// A port at which somebody answers whoever asks with this, again and again; nobody without an answer.
    fn answering(answer: Option<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if let Some(answer) = answer {
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut head = [0; 1024];
                    let _ = stream.read(&mut head);
                    let _ = stream.write_all(answer.as_bytes());
                }
            });
        }
        address
    }

    #[test]
    fn the_service_is_looked_at_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.terminal.data_dir = folder.path().to_owned();
        assert_eq!(examine_at(&config, true, NOW), []);
        let mut service = DocumentReader::new("127.0.0.1:1".parse().unwrap());
        service.font = "/nowhere/font.ttf".into();
        let mut states = |listen: SocketAddr, runs| {
            config.service.document_reader = Some(DocumentReader { listen, ..service.clone() });
            examine_at(&config, runs, NOW).iter().map(|finding| finding.state).collect::<Vec<_>>()
        };
        // Something listens there: whether it is ours, only its answer says.
        for foreign in ["", "HTTP/1.1 200 OK\r\n\r\nHello", "220 mail.example ESMTP\r\n"] {
            assert_eq!(
                states(answering(Some(foreign)), true),
                [State::Failed, State::Attention],
                "{foreign}"
            );
        }
        let free = answering(None);
        assert_eq!(states(free, true), [State::Failed, State::Attention]);
        assert_eq!(states(free, false), [State::Well, State::Attention]);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
        assert_eq!(states(taken.1, false), [State::Failed, State::Attention], "somebody else has the port");
        // Nobody looks at a font that nothing is drawn with.
        service.pictures = vec!["SidHead".into()];
        config.service.document_reader = Some(DocumentReader { listen: free, ..service });
        assert_eq!(examine_at(&config, false, NOW).len(), 1);
    }

    #[test]
    fn names_and_dates_of_the_certificate_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.terminal.data_dir = folder.path().to_owned();
        let mut service = DocumentReader::new("192.0.2.7:90".parse().unwrap());
        service.pictures = Vec::new();
        super::super::certificate::open(&service, folder.path(), "0064871ECB01").unwrap();
        config.service.document_reader = Some(service.clone());
        let told = |config: &Config, now| {
            let findings = examine_at(config, false, now);
            let finding = findings.iter().find(|one| one.key == "document_reader.certificate").unwrap();
            (finding.state, format!("{finding:?}"))
        };
        let (state, words) = told(&config, NOW);
        assert_eq!(state, State::Well);
        assert!(
            words.contains("for 127.0.0.1, ::1, localhost, 192.0.2.7; valid until 2049-12-31"),
            "{words}"
        );
        assert_eq!(told(&config, jiff::civil::date(2050, 1, 1).at(0, 0, 0, 0)).0, State::Attention);
        assert_eq!(told(&config, jiff::civil::date(2023, 12, 31).at(0, 0, 0, 0)).0, State::Attention);
        service.certificate = folder.path().join("none.pem").display().to_string();
        config.service.document_reader = Some(service);
        let (state, words) = told(&config, NOW);
        assert_eq!(state, State::Attention);
        assert!(words.contains("none.pem"), "{words}");
    }

    #[test]
    fn times_are_of_the_right_century() {
        let year = |tag, text: &[u8]| moment(tag, text).map(|time| time.year());
        assert_eq!(year(0x17, b"491231235959Z"), Some(2049));
        assert_eq!(year(0x17, b"500101000000Z"), Some(1950));
        assert_eq!(year(0x18, b"20500101000000Z"), Some(2050));
        for wrong in [&b"4912312359"[..], b"Z", b"491331235959Z", b"\xff"] {
            assert_eq!(moment(0x17, wrong), None);
        }
    }
}
