//! What an answer says. The document has 0 for success and leaves the rest to the terminal; these are ours.

use serde_json::{Value, json};

use crate::error::{Error, Kind};

/// Done.
pub const OK: i64 = 0;
/// The message, or a parameter in it, is missing or not valid.
pub const BAD_PARAMETER: i64 = 1;
/// There is no such command, or this gate does not support it.
pub const NO_COMMAND: i64 = 2;
/// There is no such person.
pub const NO_PERSON: i64 = 3;
/// The photo cannot enrol anybody.
pub const NO_FACE: i64 = 4;
/// Too much is waiting, nothing was done: send it again.
pub const BUSY: i64 = 5;
/// The gate could not do it.
pub const FAILED: i64 = 6;

/// An answer's `msg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// One of the codes of this module.
    pub status: i64,
    /// What happened, in words.
    pub msg: String,
}

impl Status {
    /// Done.
    pub fn ok() -> Self {
        Self { status: OK, msg: "ok".into() }
    }

    /// Not done.
    pub fn failure(status: i64, msg: impl Into<String>) -> Self {
        Self { status, msg: msg.into() }
    }

    /// What an error is answered.
    pub fn of_error(error: &Error) -> Self {
        let status = match error.kind() {
            Kind::NotFound => NO_PERSON,
            Kind::Input | Kind::Config | Kind::Exists => BAD_PARAMETER,
            Kind::Face => NO_FACE,
            Kind::Busy => BUSY,
            _ => FAILED,
        };
        Self::failure(status, error.message())
    }

    /// The answer to the request `msgid`: `msg` is a text with JSON in it.
    pub fn to_answer(&self, msgid: &Value, serial: &str) -> String {
        let msg = json!({ "status": self.status, "msg": self.msg }).to_string();
        json!({ "msgid": msgid, "sn": serial, "cmd": "", "msg": msg }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_json_in_a_text() {
        let answer =
            Status::ok().to_answer(&json!("4f4d2a99-2355-46e2-b617-bcb89985d15f"), "FEDCBA9876543210");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer.as_object().unwrap().len(), 4);
        assert_eq!(answer["msgid"], "4f4d2a99-2355-46e2-b617-bcb89985d15f");
        assert_eq!((&answer["sn"], &answer["cmd"]), (&json!("FEDCBA9876543210"), &json!("")));
        let msg: Value = serde_json::from_str(answer["msg"].as_str().unwrap()).unwrap();
        assert_eq!(msg, json!({"status": 0, "msg": "ok"}));
    }

    #[test]
    fn statuses_of_errors() {
        let of = |kind| Status::of_error(&Error::new(kind, "x")).status;
        let statuses =
            [Kind::NotFound, Kind::Input, Kind::Face, Kind::Busy, Kind::Store, Kind::Full, Kind::Stopped]
                .map(of);
        assert_eq!(statuses, [3, 1, 4, 5, 6, 6, 6]);
    }
}
