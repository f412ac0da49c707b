//! What a technician is told about the service.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::drawn;
use crate::config::Config;
use crate::doctor::{Finding, Words};

/// How long the running service may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the address of the service, its certificate and its font; nothing where there is no service.
pub fn examine(config: &Config, runs: bool) -> Vec<Finding> {
    let Some(service) = &config.service.document_reader else { return Vec::new() };
    let about = |key: &'static str, chinese: &'static str, english: &'static str, looked_for: String| {
        Finding::about(key, Words::new(chinese, english), looked_for)
    };
    let port =
        about("document_reader", "证件阅读服务", "document reader service", service.listen.to_string());
    let port = if runs {
        match TcpStream::connect_timeout(&service.listen, PATIENCE) {
            Ok(_) => {
                let file = super::certificate(&config.terminal.data_dir);
                let shown = if service.certificate == "auto" {
                    file.display().to_string()
                } else {
                    service.certificate.clone()
                };
                port.well(Words::new(
                    format!("正在监听；wss 证书：{shown}"),
                    format!("listens; certificate of wss: {shown}"),
                ))
            }
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
    let font = about(
        "document_reader.font",
        "证件画面字体",
        "font of drawn cards",
        service.font.display().to_string(),
    );
    let font = match drawn::check_font(&service.font) {
        Ok(()) => font.well(Words::new("可用", "can be used")),
        Err(error) => font.attention(
            Words::from(&error),
            Words::new(
                "不生成身份证正反面图像；安装 fonts-wqy-microhei 或改 service.document_reader.font",
                "install fonts-wqy-microhei, or change service.document_reader.font",
            ),
        ),
    };
    vec![port, font]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DocumentReader;
    use crate::doctor::State;

    #[test]
    fn the_service_is_looked_at_where_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.terminal.data_dir = folder.path().to_owned();
        assert_eq!(examine(&config, true), []);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut service = DocumentReader::new(listener.local_addr().unwrap());
        service.font = "/nowhere/font.ttf".into();
        config.service.document_reader = Some(service);
        let states = |runs| examine(&config, runs).iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states(true), [State::Well, State::Attention]);
        assert_eq!(states(false), [State::Failed, State::Attention], "somebody else has the port");
        drop(listener);
        assert_eq!(states(false), [State::Well, State::Attention]);
        assert_eq!(states(true), [State::Failed, State::Attention]);
    }
}
