//! Requests of the platform: `{"msgid", "sn", "cmd", "msg"}`, where `msg` is a form in a text.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::form::Form;
use super::person;
use super::status::{self, Status};
use crate::error::{Error, Kind, Result};
use crate::gate::PeopleChange;
use crate::platform::qyzn::json;

/// Most bytes of a `msgid`; the document's has 36.
const LONGEST_MSGID: usize = 256;

/// A request by its `msgid` and a hash of what it asks. A platform that gives the same id to everything still
/// gets everything done.
pub type Key = (String, u64);

/// A request whose frame has been read.
#[derive(Debug)]
pub struct Request {
    /// `msgid` as it came, for the answer.
    pub msgid: Value,
    /// What tells it from others.
    pub key: Key,
    cmd: String,
    body: String,
}

/// What a request asks for.
#[derive(Debug)]
pub enum Order {
    /// `setPerson`, `removePerson`.
    People(Box<PeopleChange>),
    /// `open`.
    Open,
    /// `reboot`.
    Restart,
}

/// A message that is answered without being carried out.
#[derive(Debug)]
pub struct Refused {
    /// `msgid`, null where there is none.
    pub msgid: Value,
    /// Why.
    pub status: Status,
}

impl Request {
    /// Reads a message to the terminal `serial`. A message without `sn` is meant for us: it came on our line.
    pub fn read(text: &[u8], serial: &str) -> Result<Self, Refused> {
        let refuse = |msgid: Value, why: String| {
            Err(Refused { msgid, status: Status::failure(status::BAD_PARAMETER, why) })
        };
        let mut message = match json::parse(text) {
            Ok(Value::Object(message)) => message,
            Ok(_) => return refuse(Value::Null, "the message is no JSON object".into()),
            Err(why) => return refuse(Value::Null, why.replacen("the body", "the message", 1)),
        };
        let msgid = message.remove("msgid").unwrap_or_default();
        let id = match &msgid {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        if id.is_empty() || id.len() > LONGEST_MSGID {
            // Not repeated: whatever it is, nobody waits for it.
            return refuse(Value::Null, format!("msgid: must be a text of 1 to {LONGEST_MSGID} bytes"));
        }
        let ours = match message.get("sn") {
            None | Some(Value::Null) => true,
            Some(Value::String(sn)) => sn.is_empty() || sn.trim().eq_ignore_ascii_case(serial),
            Some(Value::Number(sn)) => sn.to_string() == serial,
            Some(_) => false,
        };
        if !ours {
            return refuse(msgid, format!("sn: this is the terminal {serial}, the message is for another"));
        }
        let cmd = match message.remove("cmd") {
            Some(Value::String(cmd)) if !cmd.trim().is_empty() => cmd.trim().to_owned(),
            _ => return refuse(msgid, "cmd: is missing".into()),
        };
        let body = match message.remove("msg") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(body)) => body,
            Some(_) => {
                return refuse(msgid, "msg: must be a text (application/x-www-form-urlencoded)".into());
            }
        };
        let mut hasher = DefaultHasher::new();
        (&cmd, &body).hash(&mut hasher);
        Ok(Self { msgid, key: (id, hasher.finish()), cmd, body })
    }

    /// What it asks for. `secret` is the `key` of this gate; empty if it has none.
    pub fn order(&self, secret: &str) -> Result<Order, Status> {
        let form = Form::parse(&self.body).map_err(|error| Status::of_error(&error))?;
        let allowed = |must: bool| -> Result<()> {
            let given = form.text("key", 256)?;
            match given {
                _ if secret.is_empty() => Ok(()),
                Some(given) if given == secret => Ok(()),
                None if !must => Ok(()),
                _ => Err(Error::new(Kind::Input, "key: is not the key of this gate")),
            }
        };
        let people = |change| Order::People(Box::new(change));
        let order = match self.cmd.as_str() {
            "setPerson" => allowed(true).and_then(|()| person::set_person(&form)).map(people),
            "removePerson" => allowed(true).and_then(|()| person::remove_person(&form)).map(people),
            // The document sends these with an empty msg: no key is no wrong key.
            "open" => allowed(false).map(|()| Order::Open),
            "reboot" => allowed(false).map(|()| Order::Restart),
            other => {
                let shown: String = other.chars().take(32).collect();
                return Err(Status::failure(status::NO_COMMAND, format!("there is no command {shown}")));
            }
        };
        order.map_err(|error| Status::of_error(&error))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const SERIAL: &str = "FEDCBA9876543210";

    fn read(message: &Value) -> Result<Request, Refused> {
        Request::read(message.to_string().as_bytes(), SERIAL)
    }

    fn open() -> Value {
        json!({"msgid": "4f4d2a99-2355-46e2-b617-bcb89985d15f", "sn": SERIAL, "cmd": "open", "msg": ""})
    }

    #[test]
    fn the_documents_messages() {
        let request = read(&open()).unwrap();
        assert_eq!(request.msgid, "4f4d2a99-2355-46e2-b617-bcb89985d15f");
        assert!(matches!(request.order("").unwrap(), Order::Open));
        let mut message = open();
        message["cmd"] = json!("reboot");
        assert!(matches!(read(&message).unwrap().order("").unwrap(), Order::Restart));
        message["cmd"] = json!("removePerson");
        message["msg"] = json!("key=abc&id=%5B12345678%5D");
        let order = read(&message).unwrap().order("abc").unwrap();
        assert!(
            matches!(order, Order::People(change) if matches!(&*change, PeopleChange::Delete(keys) if keys[0].id == "12345678"))
        );
        // The sample of setPerson has no id.
        message["cmd"] = json!("setPerson");
        message["msg"] = json!("key=abc&photo==%2f9j%2f4AAQ&name=%e5%bc%a0&IC_NO=00000000&ID_NO=00000000");
        let refused = read(&message).unwrap().order("abc").unwrap_err();
        assert_eq!(refused, Status { status: 1, msg: "id: is missing".into() });
    }

    #[test]
    fn sloppily_written_it_is_the_same() {
        for (field, value) in [
            ("msg", json!(null)),
            ("sn", json!(null)),
            ("sn", json!("")),
            ("sn", json!("fedcba9876543210")),
            ("msgid", json!(7)),
            ("cmd", json!(" open ")),
            ("more", json!({"a": 1})),
        ] {
            let mut message = open();
            message[field] = value.clone();
            let request = read(&message).unwrap();
            assert_eq!(request.msgid, message["msgid"], "it is answered under the id it has");
            assert!(matches!(request.order("").unwrap(), Order::Open), "{field} {value}");
        }
        for field in ["sn", "msg"] {
            let mut message = open();
            message.as_object_mut().unwrap().remove(field);
            assert!(matches!(read(&message).unwrap().order("").unwrap(), Order::Open), "without {field}");
        }
        let text = format!("\u{feff}{{\"msgid\":\"1\",\"sn\":\"{SERIAL}\",\"cmd\":\"open\",\"msg\":\"\",}}");
        assert!(Request::read(text.as_bytes(), SERIAL).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (field, value, msg) in [
            ("msgid", json!(null), "msgid: must be"),
            ("msgid", json!(""), "msgid: must be"),
            ("msgid", json!("x".repeat(257)), "msgid: must be"),
            ("msgid", json!({}), "msgid: must be"),
            ("sn", json!("0000000000000000"), "sn: this is the terminal FEDCBA9876543210"),
            ("sn", json!([1]), "sn: this is"),
            ("cmd", json!(null), "cmd: is missing"),
            ("cmd", json!(5), "cmd: is missing"),
            ("msg", json!({"id": 1}), "msg: must be a text"),
        ] {
            let mut message = open();
            message[field] = value.clone();
            let refused = read(&message).unwrap_err();
            assert_eq!(refused.status.status, 1, "{field} {value}");
            assert!(refused.status.msg.starts_with(msg), "{field} {value}: {}", refused.status.msg);
            let expected = if field == "msgid" { json!(null) } else { open()["msgid"].clone() };
            assert_eq!(refused.msgid, expected, "{field} {value}");
        }
        for (text, msg) in [
            (&b"{\"msgid\":"[..], "the message is not JSON"),
            (b"[]", "the message is no JSON object"),
            (b"\xff\xfe", "the message is not UTF-8"),
            (b"", "the message is not JSON"),
        ] {
            let refused = Request::read(text, SERIAL).unwrap_err();
            assert_eq!((refused.status.status, refused.msgid), (1, Value::Null));
            assert!(refused.status.msg.starts_with(msg), "{}", refused.status.msg);
        }
        let mut message = open();
        message["cmd"] = json!("OPEN");
        let unknown = read(&message).unwrap().order("").unwrap_err();
        assert_eq!(unknown, Status { status: 2, msg: "there is no command OPEN".into() });
    }

    #[test]
    fn the_key_must_match_where_there_is_one() {
        let order = |cmd: &str, msg: &str, secret: &str| {
            let mut message = open();
            message["cmd"] = json!(cmd);
            message["msg"] = json!(msg);
            read(&message).unwrap().order(secret).map_err(|status| status.status)
        };
        for (cmd, body) in [("setPerson", "id=1&name=x"), ("removePerson", "id=[1]")] {
            assert!(order(cmd, body, "").is_ok());
            assert!(order(cmd, &format!("{body}&key=other"), "").is_ok(), "this gate has no key");
            assert!(order(cmd, &format!("key=s%26cret&{body}"), "s&cret").is_ok());
            assert_eq!(order(cmd, body, "secret").unwrap_err(), 1);
            assert_eq!(order(cmd, &format!("key=Secret&{body}"), "secret").unwrap_err(), 1);
        }
        for cmd in ["open", "reboot"] {
            assert!(order(cmd, "", "secret").is_ok());
            assert!(order(cmd, "key=secret", "secret").is_ok());
            assert_eq!(order(cmd, "key=other", "secret").unwrap_err(), 1);
        }
    }

    #[test]
    fn the_same_id_with_another_order_is_another_request() {
        let key = |cmd: &str, msg: &str| {
            let mut message = open();
            message["cmd"] = json!(cmd);
            message["msg"] = json!(msg);
            read(&message).unwrap().key
        };
        assert_eq!(key("open", ""), key("open", ""));
        assert_ne!(key("open", ""), key("reboot", ""));
        assert_ne!(key("setPerson", "id=1"), key("setPerson", "id=2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(request) = Request::read(&bytes, SERIAL) {
                let _ = request.order("secret");
            }
        }

        #[test]
        fn any_body_is_read_or_refused(cmd in "open|reboot|setPerson|removePerson|.{0,6}", msg in ".{0,100}") {
            let message = json!({"msgid": "1", "sn": SERIAL, "cmd": cmd, "msg": msg});
            if let Ok(request) = read(&message)
                && let Err(status) = request.order("")
            {
                prop_assert!(status.status == 1 || status.status == 2);
                prop_assert!(status.to_answer(&request.msgid, SERIAL).len() < 1000);
            }
        }
    }
}
