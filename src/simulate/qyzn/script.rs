//! Scripts of the simulated QYZN platform: the [common steps](crate::simulate::script), and
//!
//! - `{"send":"add_person_face","data":{…}}`: wherever `data` has an `image_file`, an `image` with that file's
//!   base64 takes its place; the path is relative to the script. `"to"` names a serial number, `"version"` a
//!   version. An answer is its whole body, as in `{"expect":{"result":0}}`.
//! - `{"answer":"snapshot_face","data":{"opendoor":1},"result":0,"times":1}` says what a request is answered
//!   from now on.
//! - `{"room":"305","calleds":[{"userId":"1003","token":"t","phoneNo":""}],"callMaxSeconds":60}` makes a room
//!   that can be called; without `calleds` there is no such room any more.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Misbehave, Platform, Sent};
use crate::error::Result;
pub use crate::simulate::script::image;
use crate::simulate::script::load_images;
use crate::simulate::{Journal, Simulated};

/// A script for this platform.
pub type Script = crate::simulate::script::Script<Platform>;

/// A step that only this platform knows.
#[derive(Debug)]
pub enum Order {
    /// `send`.
    Send {
        /// `message`.
        message: String,
        /// `data`, with its pictures.
        data: Value,
        /// To whom; the one that connected last if `None`.
        to: Option<String>,
        /// The version, or the message's own.
        version: Option<u8>,
    },
    /// `answer`.
    Answer {
        /// Of which request.
        message: String,
        /// The code.
        result: i64,
        /// The data.
        data: Value,
        /// How often; for ever if `None`.
        times: Option<u32>,
    },
    /// `room`.
    Room {
        /// Its number.
        number: String,
        /// Who is called there; no such room any more if `None`.
        calleds: Option<Value>,
        /// `callMaxSeconds`.
        max_seconds: u32,
    },
}

impl Simulated for Platform {
    type Order = Order;
    type Sent = Sent;
    type Misbehave = Misbehave;
    const READY: &'static str = "logged_in";
    const STEPS: &'static str = "send, answer, room";

    fn journal(&self) -> &Journal {
        Platform::journal(self)
    }

    fn read(step: &Map<String, Value>, folder: &Path) -> Result<Option<Order>> {
        let text = |key: &str| step.get(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| step.get(key).and_then(Value::as_u64);
        let mut data = step.get("data").cloned().unwrap_or_else(|| json!({}));
        if let Some(message) = text("send") {
            load_images(&mut data, folder)?;
            let version = number("version").and_then(|version| u8::try_from(version).ok());
            return Ok(Some(Order::Send { message, data, to: text("to"), version }));
        }
        if let Some(room) = text("room") {
            let max_seconds =
                number("callMaxSeconds").and_then(|most| u32::try_from(most).ok()).unwrap_or(60);
            return Ok(Some(Order::Room {
                number: room,
                calleds: step.get("calleds").cloned(),
                max_seconds,
            }));
        }
        let Some(message) = text("answer") else { return Ok(None) };
        Ok(Some(Order::Answer {
            message,
            result: step.get("result").and_then(Value::as_i64).unwrap_or(0),
            data,
            times: number("times").and_then(|times| u32::try_from(times).ok()),
        }))
    }

    fn carry_out(&self, order: Order) -> Result<Option<(String, Sent)>> {
        match order {
            Order::Send { message, data, to, version } => {
                let version = version.unwrap_or(if message == "config_device_pass_rule" { 4 } else { 3 });
                let sent = self.send_version(to.as_deref(), &message, data, version)?;
                Ok(Some((message, sent)))
            }
            Order::Answer { message, result, data, times } => {
                self.answer_with(&message, result, data, times);
                Ok(None)
            }
            Order::Room { number, calleds, max_seconds } => {
                self.room(&number, calleds, max_seconds);
                Ok(None)
            }
        }
    }

    async fn answer(sent: Sent) -> Result<Value> {
        sent.answer().await
    }

    async fn ready(&self) -> Result<()> {
        self.wait_until_logged_in().await
    }

    fn misbehave(&self, misbehave: Misbehave) {
        Platform::misbehave(self, misbehave);
    }

    fn disconnect(&self) {
        Platform::disconnect(self);
    }

    fn stop(&self) {
        Platform::stop(self);
    }
}
