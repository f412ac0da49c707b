//! `device_call_param` (4.7.1) and `device_call_result` (4.7.2): what the intercom asks and reports.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::json::Fields;
use super::time::format_millis;
use crate::clock::Moment;
use crate::error::{Error, Kind, Result};
use crate::intercom::{Called, Parameters};

/// The version of these messages.
pub const VERSION: u8 = 5;
/// What the gate asks before it calls.
pub const PARAM: &str = "device_call_param";
/// What the gate reports after a call.
pub const RESULT: &str = "device_call_result";

/// Shortest and longest talk, and that of a platform that names none (the document's sample), in seconds.
const TALK_S: (i64, i64, i64) = (1, 3600, 60);
/// Most called parties of a room; further ones are not called.
const CALLED: usize = 32;
/// Longest token or name, in bytes.
const TEXT_BYTES: usize = 4096;

/// Data of a `device_call_param`. `picture` is a JPEG.
pub fn param(room: &str, id: &str, picture: Option<&[u8]>) -> Value {
    let picture = picture.map(|jpeg| STANDARD.encode(jpeg)).unwrap_or_default();
    json!({ "callNo": room, "callRequestId": id, "picture": picture })
}

/// Reads the data of the answer. `Input` with the key that cannot be read; the values are not quoted.
pub fn parameters(data: &Value, ring: Duration) -> Result<Parameters> {
    let fields = Fields::of(data);
    let text = |key: &str| Ok::<_, Error>(fields.text(key, TEXT_BYTES)?.unwrap_or_default());
    let (shortest, longest, usual) = TALK_S;
    let seconds = fields.int("callMaxSeconds")?.unwrap_or(usual).clamp(shortest, longest);
    // The sample says calleds, the table called.
    let list = fields.list("calleds").or_else(|| fields.list("called")).unwrap_or_default();
    let called = list.iter().take(CALLED).map(called).collect::<Result<_>>()?;
    Ok(Parameters {
        device_token: text("deviceToken")?,
        device_name: text("deviceName")?,
        longest: Duration::from_secs(seconds.unsigned_abs()),
        ring,
        called,
    })
}

fn called(value: &Value) -> Result<Called> {
    let fields = Fields::at(value, "calleds.");
    if !value.is_object() {
        return Err(Error::new(Kind::Input, "calleds: must hold objects"));
    }
    let text = |key: &str| Ok::<_, Error>(fields.text(key, TEXT_BYTES)?.unwrap_or_default());
    Ok(Called { user: text("userId")?, token: text("token")?, phone: text("phoneNo")? })
}

/// One of the `callRecords`. The order of the fields is the document's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRecord {
    /// Whom this is about, for a call by telephone; empty otherwise.
    pub user_id: String,
    /// 0 to 9 of the table.
    pub call_result: u8,
    /// 0 not connected, 1 by app, 2 by telephone.
    pub call_type: u8,
    /// 0 not opened, 1 opened, 2 failed to.
    pub open_status: u8,
    /// `yyyyMMddHHmmss` in the gate's zone when they began to talk; empty if they never did.
    pub start_time: String,
    /// The same when it ended.
    pub end_time: String,
}

/// `yyyyMMddHHmmss`.
pub fn format_seconds(moment: &Moment) -> String {
    let mut text = format_millis(moment);
    text.truncate(14);
    text
}

/// Data of a `device_call_result`.
pub fn result(room: &str, id: &str, records: &[CallRecord]) -> Value {
    json!({ "callNo": room, "callRequestId": id, "callRecords": records })
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    #[test]
    fn the_documents_answer_is_read_liberally() {
        // 4.7.1, with values put in; numbers as text, the list under its name of the table.
        let data = json!({
            "callRequestId": "r", "callNo": "304", "deviceId": "d", "deviceToken": "secret", "deviceName": "东门",
            "callMaxSeconds": "60",
            "called": [{"userId": 7, "token": "t", "phoneNo": 13800000000_i64}, {"userId": "8", "token": null}],
        });
        let read = parameters(&data, Duration::from_secs(30)).unwrap();
        assert_eq!((read.device_name.as_str(), read.longest.as_secs()), ("东门", 60));
        assert_eq!(
            read.called,
            [
                Called { user: "7".into(), token: "t".into(), phone: "13800000000".into() },
                Called { user: "8".into(), token: String::new(), phone: String::new() },
            ]
        );
        let printed = format!("{read:?}");
        assert!(!printed.contains("secret") && !printed.contains("138"), "{printed}");
    }

    #[test]
    fn what_a_platform_leaves_out_or_overdoes_is_bounded() {
        let longest = |data: Value| parameters(&data, Duration::ZERO).unwrap().longest.as_secs();
        assert_eq!(longest(json!({})), 60);
        assert_eq!(longest(json!({"callMaxSeconds": 0})), 1);
        assert_eq!(longest(json!({"callMaxSeconds": -5})), 1);
        assert_eq!(longest(json!({"callMaxSeconds": 1_000_000_000_000_i64})), 3600);
        let many: Vec<Value> = (0..100).map(|user| json!({"userId": user, "token": "t"})).collect();
        assert_eq!(parameters(&json!({"calleds": many}), Duration::ZERO).unwrap().called.len(), CALLED);
        for bad in [
            json!({"calleds": ["x"]}),
            json!({"calleds": [{"token": []}]}),
            json!({"callMaxSeconds": "soon"}),
            json!({"deviceToken": "x".repeat(5000)}),
        ] {
            assert_eq!(parameters(&bad, Duration::ZERO).unwrap_err().kind(), Kind::Input);
        }
    }

    #[test]
    fn a_result_as_in_the_document() {
        let at =
            |text: &str| format_seconds(&Moment { utc: text.parse().unwrap(), offset: Offset::constant(8) });
        let record = CallRecord {
            user_id: String::new(),
            call_result: 3,
            call_type: 1,
            open_status: 1,
            start_time: at("2021-06-16T02:00:00.9Z"),
            end_time: at("2021-06-16T02:00:31Z"),
        };
        assert_eq!(
            serde_json::to_string(&result("304", "r-1", &[record])).unwrap(),
            serde_json::to_string(&json!({
                "callNo": "304", "callRequestId": "r-1",
                "callRecords": [{"userId": "", "callResult": 3, "callType": 1, "openStatus": 1,
                    "startTime": "20210616100000", "endTime": "20210616100031"}],
            }))
            .unwrap()
        );
    }

    use proptest::prelude::*;

    proptest! {
        /// Whatever the answer says, it is refused, or nobody talks for ever and nobody's telephone rings unasked.
        #[test]
        fn any_answer_is_read_or_refused(
            key in "callMaxSeconds|calleds?|device(Token|Name)|.{0,4}",
            field in "userId|token|phoneNo|.{0,4}",
            number in any::<i64>(),
            text in ".{0,20}",
            real in any::<f64>(),
        ) {
            for value in [
                json!(number), json!(text), json!(real), json!(null), json!([text, number]),
                json!({ (field.as_str()): text }), json!([{ (field.as_str()): number }, { "token": [real] }]),
            ] {
                match parameters(&json!({ (key.as_str()): value }), Duration::from_secs(30)) {
                    Ok(read) => {
                        prop_assert!((1..=3600).contains(&read.longest.as_secs()) && read.called.len() <= CALLED);
                    }
                    Err(error) => prop_assert_eq!(error.kind(), Kind::Input),
                }
            }
        }
    }
}
