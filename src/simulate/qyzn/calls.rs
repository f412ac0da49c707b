//! The intercom's platform (4.7): rooms, and the calls of terminals, each with one result.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::wire::{Received, Type, field, jpeg};

/// What a room is answered.
#[derive(Debug, Clone)]
struct Room {
    calleds: Value,
    max_seconds: u32,
}

/// A call that was asked for.
#[derive(Debug)]
struct Asked {
    serial: String,
    room: String,
    /// Its result: a hash of the body and the connection on which it came last.
    result: Option<(Value, u64)>,
}

/// Rooms and calls.
#[derive(Debug)]
pub(super) struct Intercom {
    rooms: HashMap<String, Room>,
    /// By `callRequestId`.
    calls: HashMap<String, Asked>,
}

impl Default for Intercom {
    fn default() -> Self {
        let calleds = json!([
            { "userId": "1001", "token": "token-of-1001", "phoneNo": "13800000001" },
            { "userId": "1002", "token": "token-of-1002", "phoneNo": "13800000002" },
        ]);
        let room = Room { calleds, max_seconds: 60 };
        Self { rooms: HashMap::from([("304".to_owned(), room)]), calls: HashMap::new() }
    }
}

impl Intercom {
    pub(super) fn set_room(&mut self, number: &str, calleds: Option<Value>, max_seconds: u32) {
        match calleds {
            Some(calleds) => self.rooms.insert(number.to_owned(), Room { calleds, max_seconds }),
            None => self.rooms.remove(number),
        };
    }

    /// A `device_call_param`: what is wrong with it, what to note, and the answer's result and data.
    pub(super) fn on_param(
        &mut self,
        serial: &str,
        data: &Value,
        resent: bool,
    ) -> (Vec<String>, Value, i64, Value) {
        let table = [
            ("callNo", Type::Text(32), true),
            ("callRequestId", Type::Text(64), true),
            ("picture", Type::Jpeg, true),
        ];
        let mut wrong = check("device_call_param", data, &table);
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        let (room, id) = (text("callNo"), text("callRequestId"));
        if room.is_empty() {
            wrong.push("device_call_param: callNo is empty".to_owned());
        }
        if !is_uuid(id) {
            wrong.push("device_call_param: callRequestId is no uuid".to_owned());
        }
        if !resent {
            let asked = Asked { serial: serial.to_owned(), room: room.to_owned(), result: None };
            if self.calls.insert(id.to_owned(), asked).is_some() {
                wrong.push("device_call_param: callRequestId has been used before".to_owned());
            }
        }
        let note = json!({
            "callNo": room, "callRequestId": id, "resent": resent,
            "picture_bytes": jpeg(text("picture")).unwrap_or_default().len(),
        });
        match self.rooms.get(room) {
            None => (wrong, note, 104, json!({ "callRequestId": id, "callNo": room })),
            Some(known) => {
                let answer = json!({
                    "callRequestId": id,
                    "callNo": room,
                    "deviceId": serial,
                    "deviceToken": format!("token-of-{serial}"),
                    "deviceName": "东门",
                    "callMaxSeconds": known.max_seconds,
                    "calleds": known.calleds,
                });
                (wrong, note, 0, answer)
            }
        }
    }

    /// A `device_call_result`: what is wrong with it, and what to note.
    pub(super) fn on_result(
        &mut self,
        serial: &str,
        connection: u64,
        data: &Value,
        resent: bool,
    ) -> (Vec<String>, Value) {
        const NAME: &str = "device_call_result";
        let table = [("callNo", Type::Text(32), true), ("callRequestId", Type::Text(64), true)];
        let mut wrong = check(NAME, data, &table);
        let text = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default();
        let (room, id) = (text("callNo"), text("callRequestId"));
        let records = data.get("callRecords").and_then(Value::as_array);
        match records {
            Some(records) if !records.is_empty() => {
                wrong.extend(records.iter().flat_map(record));
            }
            _ => wrong.push(format!("{NAME}: callRecords is not a list of at least one")),
        }
        let mut repeated = resent;
        match self.calls.get_mut(id) {
            None => wrong.push(format!("{NAME}: callRequestId belongs to no device_call_param")),
            Some(asked) => {
                if asked.serial != serial || asked.room != room {
                    wrong.push(format!("{NAME}: it belongs to a call of another terminal or room"));
                }
                match &mut asked.result {
                    // Whoever lost the line before the answer cannot know that it arrived.
                    Some((before, on)) if *before == *data && (resent || *on != connection) => {
                        *on = connection;
                        repeated = true;
                    }
                    Some(_) => wrong.push(format!("{NAME}: a second result of one call")),
                    None => asked.result = Some((data.clone(), connection)),
                }
            }
        }
        let note = json!({
            "callNo": room, "callRequestId": id, "resent": repeated, "callRecords": data.get("callRecords"),
        });
        (wrong, note)
    }
}

fn check(message: &str, data: &Value, table: &[(&str, Type, bool)]) -> Vec<String> {
    let wrong = table.iter().filter_map(|&(name, kind, required)| field(data, name, kind, required).err());
    wrong.map(|what| format!("{message}: {what}")).collect()
}

/// What is wrong with one of the `callRecords`.
fn record(record: &Value) -> Vec<String> {
    const NAME: &str = "device_call_result: callRecords";
    let table = [
        ("userId", Type::Text(64), false),
        ("callResult", Type::Int(0, 9), true),
        ("callType", Type::Int(0, 2), true),
        ("openStatus", Type::Int(0, 2), true),
        ("startTime", Type::Text(14), true),
        ("endTime", Type::Digits(14), true),
    ];
    let mut wrong = check(NAME, record, &table);
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| record.get(name).and_then(Value::as_i64);
    let (start, end) = (text("startTime"), text("endTime"));
    if !is_time(end) || !start.is_empty() && !is_time(start) {
        wrong.push(format!("{NAME}: a time is not yyyyMMddHHmmss"));
    }
    // Both have the same form, so their order is that of the texts.
    if start > end {
        wrong.push(format!("{NAME}: startTime is after endTime"));
    }
    let connected = number("callType") != Some(0);
    if connected == start.is_empty() {
        wrong.push(format!("{NAME}: startTime and callType do not agree on whether anybody answered"));
    }
    let fits = match number("callResult") {
        Some(3) => number("callType") == Some(1),
        Some(7) => number("callType") == Some(2),
        _ => !connected,
    };
    if !fits {
        wrong.push(format!("{NAME}: callResult and callType do not fit"));
    }
    if !text("userId").is_empty() && !matches!(number("callResult"), Some(7..=9)) {
        wrong.push(format!("{NAME}: userId is for calls by telephone"));
    }
    wrong
}

/// `yyyyMMddHHmmss`.
fn is_time(text: &str) -> bool {
    let part = |from: usize, to: usize| text.get(from..to).and_then(|part| part.parse::<u32>().ok());
    text.len() == 14
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && part(4, 6).is_some_and(|month| (1..=12).contains(&month))
        && part(6, 8).is_some_and(|day| (1..=31).contains(&day))
        && part(8, 10).is_some_and(|hour| hour < 24)
        && part(10, 12).is_some_and(|minute| minute < 60)
        && part(12, 14).is_some_and(|second| second < 60)
}

/// The text form of RFC 9562.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

impl super::session::Terminal {
    /// `device_call_param` and `device_call_result`.
    pub(super) fn on_call(&self, received: &Received, message: &str, data: &Value, resent: bool) {
        let mut state = self.shared.state();
        if message == "device_call_param" {
            let (wrong, note, result, answer) = state.intercom.on_param(&self.serial, data, resent);
            drop(state);
            wrong.into_iter().for_each(|what| self.violation(what));
            self.note("device_call_param", note);
            match self.told(message) {
                Some(told) => self.answer(received, told.result, "as told", told.data),
                None => {
                    let desc = if result == 0 { "Success" } else { "there is no such room" };
                    self.answer(received, result, desc, answer);
                }
            }
        } else {
            let (wrong, note) = state.intercom.on_result(&self.serial, self.number, data, resent);
            drop(state);
            wrong.into_iter().for_each(|what| self.violation(what));
            self.note("device_call_result", note);
            self.answer_as_told(received, message, json!({}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn asked(room: &str, id: &str) -> Value {
        json!({ "callNo": room, "callRequestId": id, "picture": "" })
    }

    fn good() -> Value {
        json!({ "callNo": "304", "callRequestId": ID, "callRecords": [{
            "userId": "", "callResult": 3, "callType": 1, "openStatus": 1,
            "startTime": "20210616100000", "endTime": "20210616100031",
        }] })
    }

    #[test]
    fn rooms_are_there_or_not() {
        let mut intercom = Intercom::default();
        let (wrong, note, result, answer) = intercom.on_param("S", &asked("304", ID), false);
        assert_eq!((wrong.len(), result, answer["calleds"].as_array().unwrap().len()), (0, 0, 2));
        assert_eq!((&answer["callRequestId"], &note["picture_bytes"]), (&json!(ID), &json!(0)));
        assert_eq!(intercom.on_param("S", &asked("304", ID), true).0, [""; 0], "it is only sent again");
        assert_eq!(intercom.on_param("S", &asked("304", ID), false).0.len(), 1, "an id is used once");
        assert_eq!(intercom.on_param("S", &asked("1", &ID.replace('0', "1")), false).2, 104);
        let bad = json!({ "callNo": "", "callRequestId": "1", "picture": "x" });
        assert_eq!(intercom.on_param("S", &bad, false).0.len(), 3);
    }

    #[test]
    fn a_result_belongs_to_one_call_and_comes_once() {
        let mut intercom = Intercom::default();
        assert_eq!(intercom.on_result("S", 1, &good(), false).0.len(), 1, "nobody asked");
        intercom.on_param("S", &asked("304", ID), false);
        assert_eq!(intercom.on_result("S", 1, &good(), false).0, [""; 0]);
        assert_eq!(intercom.on_result("S", 2, &good(), false).0, [""; 0], "the line was lost in between");
        assert_eq!(intercom.on_result("S", 2, &good(), false).0.len(), 1);
        let mut other = good();
        other["callRecords"][0]["openStatus"] = json!(0);
        assert_eq!(intercom.on_result("S", 3, &other, false).0.len(), 1);
    }

    #[test]
    fn records_are_checked_by_the_table() {
        for (key, value) in [
            ("callResult", json!(10)),
            ("callResult", json!("3")),
            ("callResult", json!(7)),
            ("callType", json!(0)),
            ("openStatus", json!(3)),
            ("openStatus", Value::Null),
            ("startTime", json!("")),
            ("startTime", json!("20210616100032")),
            ("endTime", json!("20211316100031")),
            ("endTime", json!("2021-06-16 10:00")),
            ("userId", json!("1001")),
            ("userId", json!(1001)),
        ] {
            let mut result = good();
            result["callRecords"][0][key] = value.clone();
            let mut intercom = Intercom::default();
            intercom.on_param("S", &asked("304", ID), false);
            assert!(!intercom.on_result("S", 1, &result, false).0.is_empty(), "{key} {value}");
        }
        for records in [json!([]), json!({}), Value::Null] {
            let mut result = good();
            result["callRecords"] = records;
            let mut intercom = Intercom::default();
            intercom.on_param("S", &asked("304", ID), false);
            assert_eq!(intercom.on_result("S", 1, &result, false).0.len(), 1);
        }
    }
}
