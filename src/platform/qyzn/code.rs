//! Answers and their result codes (the last chapter).

use serde::Serialize;
use serde_json::{Value, json};

use super::json::Fields;
use crate::error::{Error, Kind};

/// 操作异常: something went wrong.
pub const FAILED: i64 = -1;
/// 操作成功: done.
pub const SUCCESS: i64 = 0;
/// 请重新注册: the terminal must register again.
pub const UNREGISTERED: i64 = 100;
/// 对象已存在: the object exists already.
pub const EXISTS: i64 = 101;
/// 对象不存在: there is no such object.
pub const NO_OBJECT: i64 = 102;
/// 命令不存在: there is no such command.
pub const NO_COMMAND: i64 = 103;
/// 参数无效: a parameter is not valid.
pub const BAD_PARAMETER: i64 = 104;
/// 用户不存在: there is no such person.
pub const NO_PERSON: i64 = 105;
/// 密码错误: the password is wrong.
pub const WRONG_PASSWORD: i64 = 106;
/// 超时: timeout.
pub const TIMEOUT: i64 = 107;
/// 添加用户失败: the person could not be added.
pub const NOT_ADDED: i64 = 108;
/// 系统忙: busy; `waitSeconds` in the data says for how long.
pub const BUSY: i64 = 109;
/// 图片提取特征失败: no template could be made of the picture.
pub const NO_TEMPLATE: i64 = 110;
/// `device_upgrade`: the address cannot be used.
pub const BAD_URL: i64 = 200;
/// `device_upgrade`: the server of the package cannot be reached.
pub const UNREACHABLE: i64 = 201;
/// `device_upgrade`: the package could not be downloaded.
pub const NOT_DOWNLOADED: i64 = 202;
/// `device_upgrade`: the package is not what was meant, or has no valid signature.
pub const CHECK_FAILED: i64 = 203;

/// What a platform is told to wait when the gate is busy, in seconds.
const WAIT_SECONDS: u64 = 3;

/// An answer, ours or the platform's. The order of the fields is the document's.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// `result`, one of the codes of this module.
    pub result: i64,
    /// `desc`: what happened, in words.
    pub desc: String,
    /// `data`.
    pub data: Value,
    /// `RspMsg`, which only the messages about settings have.
    #[serde(rename = "RspMsg", skip_serializing_if = "Option::is_none")]
    pub rsp_msg: Option<String>,
}

impl Answer {
    /// Done.
    pub fn success() -> Self {
        Self::with(json!({}))
    }

    /// Done, with data.
    pub fn with(data: Value) -> Self {
        Self { result: SUCCESS, desc: "Success".into(), data, rsp_msg: None }
    }

    /// Not done.
    pub fn failure(result: i64, desc: impl Into<String>) -> Self {
        Self { result, desc: desc.into(), data: json!({}), rsp_msg: None }
    }

    /// Too much is waiting already.
    pub fn busy(desc: impl Into<String>) -> Self {
        Self { data: json!({ "waitSeconds": WAIT_SECONDS }), ..Self::failure(BUSY, desc) }
    }

    /// The answer for an error where nothing else is agreed. `missing` is the code of a thing that does not
    /// exist, `otherwise` the code of what has none of its own.
    pub fn of_error(error: &Error, missing: i64, otherwise: i64) -> Self {
        let desc = error.message();
        match error.kind() {
            Kind::NotFound => Self::failure(missing, desc),
            Kind::Exists => Self::failure(EXISTS, desc),
            Kind::Input | Kind::Config => Self::failure(BAD_PARAMETER, desc),
            Kind::Face => Self::failure(NO_TEMPLATE, desc),
            Kind::Busy => Self::busy(desc),
            Kind::Timeout => Self::failure(TIMEOUT, desc),
            _ => Self::failure(otherwise, desc),
        }
    }

    /// Reads a platform's answer; one without a readable `result` counts as [`FAILED`].
    pub fn read(body: &Value) -> Self {
        let fields = Fields::of(body);
        Self {
            result: fields.int("result").ok().flatten().unwrap_or(FAILED),
            desc: fields.text("desc", 4096).ok().flatten().unwrap_or_default(),
            data: fields.get("data").map(super::json::unfold).unwrap_or_else(|| json!({})),
            rsp_msg: None,
        }
    }

    /// The body.
    pub fn to_body(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an answer has text keys only")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_in_the_document() {
        assert_eq!(Answer::success().to_body(), br#"{"result":0,"desc":"Success","data":{}}"#);
        let mut answer = Answer::success();
        answer.rsp_msg = Some("set_vaparam".into());
        assert_eq!(answer.to_body(), br#"{"result":0,"desc":"Success","data":{},"RspMsg":"set_vaparam"}"#);
        assert_eq!(
            Answer::busy("busy").to_body(),
            br#"{"result":109,"desc":"busy","data":{"waitSeconds":3}}"#
        );
    }

    #[test]
    fn codes_of_errors() {
        let of = |kind| Answer::of_error(&Error::new(kind, "x"), NO_PERSON, NOT_ADDED).result;
        let codes =
            [Kind::NotFound, Kind::Exists, Kind::Input, Kind::Face, Kind::Busy, Kind::Timeout, Kind::Store]
                .map(of);
        assert_eq!(codes, [105, 101, 104, 110, 109, 107, 108]);
    }

    #[test]
    fn reads_liberally() {
        let answer = Answer::read(&json!({"result": "0", "desc": null}));
        assert_eq!((answer.result, answer.data), (0, json!({})));
        assert_eq!(Answer::read(&json!({"data": {}})).result, FAILED);
        let folded = Answer::read(&json!({"result": 0, "data": "{\"opendoor\":1}"}));
        assert_eq!(folded.data, json!({"opendoor": 1}));
    }
}
