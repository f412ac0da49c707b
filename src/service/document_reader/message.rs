//! What the service sends, with the keys in the order of the document's tables.

use serde::Serialize;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::content::Images;

/// The answer to one command.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Reply {
    pub command: String,
    pub operand: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<Value>,
    /// `Y` or `N`.
    pub succeeded: &'static str,
    pub result: Answer,
}

/// What a command is answered with.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    /// A text or an object.
    Value(Value),
    /// Pictures by their names.
    Images(Images),
}

impl<T: Into<Value>> From<T> for Answer {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct One<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    reply: &'a Reply,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Many<'a> {
    r#type: &'static str,
    commands: &'a [Reply],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Notice<'a, P: Serialize> {
    r#type: &'static str,
    command: &'a str,
    operand: &'a str,
    param: &'a P,
}

fn text(message: &impl Serialize) -> Utf8Bytes {
    // Text and numbers under texts: nothing in it can fail.
    serde_json::to_string(message).unwrap_or_default().into()
}

/// The answers to a message that came as one command, or as several.
pub(super) fn replies(replies: &[Reply], batch: bool) -> Option<Utf8Bytes> {
    match replies {
        [] => None,
        [reply] if !batch => Some(text(&One { r#type: "Reply", reply })),
        replies => Some(text(&Many { r#type: "Reply", commands: replies })),
    }
}

/// A notification.
pub(super) fn notice(command: &str, operand: &str, param: &impl Serialize) -> Utf8Bytes {
    text(&Notice { r#type: "Notify", command, operand, param })
}

/// A message to be shown, or about what happens.
pub(super) fn realtime(command: &str, said: &str) -> Utf8Bytes {
    notice(command, "RealtimeMessage", &said)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_are_as_the_document_has_them() {
        let reply = Reply {
            command: "Get".into(),
            operand: "WebConstant".into(),
            param: Some(json!("Save")),
            succeeded: "Y",
            result: "保存".into(),
        };
        assert_eq!(
            replies(std::slice::from_ref(&reply), false).unwrap().as_str(),
            r#"{"Type":"Reply","Command":"Get","Operand":"WebConstant","Param":"Save","Succeeded":"Y","Result":"保存"}"#
        );
        let plain = Reply { param: None, ..reply.clone() };
        assert_eq!(
            replies(&[plain], true).unwrap().as_str(),
            r#"{"Type":"Reply","Commands":[{"Command":"Get","Operand":"WebConstant","Succeeded":"Y","Result":"保存"}]}"#
        );
        assert_eq!(
            realtime("Display", "设备已断开").as_str(),
            r#"{"Type":"Notify","Command":"Display","Operand":"RealtimeMessage","Param":"设备已断开"}"#
        );
        assert!(replies(&[], true).is_none());
    }
}
