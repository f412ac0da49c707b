//! Scripts of the simulated WebSocket platform: the [common steps](crate::simulate::script), and
//!
//! - `{"send":"setPerson","data":{"id":"1","name":"张三","image_file":"a.jpg"}}`: the form is made of `data`. An
//!   `image_file` becomes `photo`, the base64 of that file (its path is relative to the script); lists and
//!   objects, as `removePerson`'s `id` and `weekly`, are written as JSON. `"msg"` instead of `data` is a form as
//!   it is. `"msgid"` and `"sn"` replace what the platform puts there, `"to"` names a serial number. An answer
//!   is what its `msg` holds, as in `{"expect":{"status":0}}`.
//! - `{"text":"…"}` sends a text as it is.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Platform, Sent, form, msgid};
use crate::error::{Error, Kind, Result};
pub use crate::simulate::script::image;
use crate::simulate::script::load_images;

/// A script for this platform.
pub type Script = crate::simulate::script::Script<Platform>;

/// A step that only this platform knows.
#[derive(Debug)]
pub enum Order {
    /// `send`.
    Send {
        /// `cmd`.
        cmd: String,
        /// What the form is made of, or the form.
        body: Body,
        /// `msgid`, or one of the platform's.
        msgid: Option<String>,
        /// `sn`, or the terminal's.
        sn: Option<String>,
        /// To whom; the one that connected last if `None`.
        to: Option<String>,
    },
    /// `text`.
    Text(String),
}

/// What `msg` is made of.
#[derive(Debug)]
pub enum Body {
    /// The fields.
    Data(Map<String, Value>),
    /// The form as it is.
    Form(String),
}

pub(super) fn read(step: &Map<String, Value>, folder: &Path) -> Result<Option<Order>> {
    let text = |key: &str| step.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(text) = text("text") {
        return Ok(Some(Order::Text(text)));
    }
    let Some(cmd) = text("send") else { return Ok(None) };
    let body = match (text("msg"), step.get("data").cloned()) {
        (Some(form), _) => Body::Form(form),
        (None, None) => Body::Data(Map::new()),
        (None, Some(mut data)) => {
            load_images(&mut data, folder)?;
            match data {
                Value::Object(data) => Body::Data(data),
                _ => return Err(Error::new(Kind::Input, "data must be an object")),
            }
        }
    };
    Ok(Some(Order::Send { cmd, body, msgid: text("msgid"), sn: text("sn"), to: text("to") }))
}

pub(super) fn carry_out(platform: &Platform, order: Order) -> Result<Option<(String, Sent)>> {
    match order {
        Order::Text(text) => platform.send_text(&text).map(|()| None),
        Order::Send { cmd, body, msgid: id, sn, to } => {
            let form = match body {
                Body::Form(form) => form,
                Body::Data(mut data) => {
                    let key = &platform.shared.options.key;
                    if !key.is_empty() && !data.is_empty() && !data.contains_key("key") {
                        data.insert("key".into(), json!(key));
                    }
                    form::form(&data)
                }
            };
            let mut message = json!({ "msgid": id.unwrap_or_else(msgid), "cmd": cmd, "msg": form });
            if let Some(sn) = sn {
                message["sn"] = json!(sn);
            }
            Ok(Some((cmd, platform.send_message(to.as_deref(), message)?)))
        }
    }
}
