//! What a page sends, read liberally: keys and words in any case, parameters as text, number, truth or object, one
//! command or many.

use std::time::Duration;

use serde_json::{Map, Value};

/// Commands in one message; pages in the field send 21 at once.
pub const COMMANDS: usize = 256;

/// Most characters of a page's own words in an answer.
const ECHOED: usize = 64;

/// Longest time-out of a manual trigger.
const LONGEST: Duration = Duration::from_secs(600);

/// A manual trigger that does not say for how long.
pub const TRIGGER: Duration = Duration::from_secs(10);

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whether the commands came as `Commands`: then the answers go as `Commands`.
    pub batch: bool,
    /// The commands, in their order; at least one, at most [`COMMANDS`].
    pub orders: Vec<Order>,
}

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// `Command`, as it came.
    pub command: String,
    /// `Operand`, as it came.
    pub operand: String,
    /// `Param`; `Null` where there is none.
    pub param: Value,
}

/// Why a message is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No JSON object, or one without a command.
    Malformed,
    /// More than [`COMMANDS`].
    TooMany,
}

/// A value by its key, whatever its case; the exact one first.
fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object
        .get(key)
        .or_else(|| object.iter().find(|(one, _)| one.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

fn word(object: &Map<String, Value>, key: &str) -> String {
    let text = get(object, key).and_then(Value::as_str).unwrap_or_default();
    text.trim().chars().take(ECHOED).collect()
}

impl Order {
    fn read(object: &Map<String, Value>) -> Self {
        Self {
            command: word(object, "Command"),
            operand: word(object, "Operand"),
            param: get(object, "Param").cloned().unwrap_or_default(),
        }
    }

    /// Whether the command is this one.
    pub fn is(&self, command: &str) -> bool {
        self.command.eq_ignore_ascii_case(command)
    }
}

impl Request {
    /// Reads a message. `Type` is not asked for: what a page sends is a request, or a notification that is
    /// carried out like one.
    pub fn read(text: &str) -> Result<Self, Refused> {
        let text = text
            .trim_start_matches('\u{FEFF}')
            .trim_matches(|letter: char| letter.is_whitespace() || letter == '\0');
        let Ok(Value::Object(object)) = serde_json::from_str(text) else { return Err(Refused::Malformed) };
        match get(&object, "Commands") {
            Some(Value::Array(commands)) => {
                if commands.len() > COMMANDS {
                    return Err(Refused::TooMany);
                }
                let orders: Vec<_> = commands.iter().filter_map(Value::as_object).map(Order::read).collect();
                // Answered one for one, or not at all.
                if orders.is_empty() || orders.len() != commands.len() {
                    return Err(Refused::Malformed);
                }
                Ok(Self { batch: true, orders })
            }
            Some(_) => Err(Refused::Malformed),
            None => {
                let order = Order::read(&object);
                if order.command.is_empty() && order.operand.is_empty() {
                    return Err(Refused::Malformed);
                }
                Ok(Self { batch: false, orders: vec![order] })
            }
        }
    }
}

/// `True`, `Y` and their like; `None` for anything else.
pub fn switch(param: &Value) -> Option<bool> {
    match param {
        Value::Bool(on) => Some(*on),
        Value::Number(number) => match number.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "y" | "yes" | "1" => Some(true),
            "false" | "n" | "no" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A whole number, also written as text.
pub fn number(param: &Value) -> Option<u64> {
    match param {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// For how long a manual trigger waits: a number of seconds, or `{"Timeout": n}`; [`TRIGGER`] where nothing is said.
/// Never more than ten minutes. `None` for what is no time.
pub fn timeout(param: &Value) -> Option<Duration> {
    let said = match param {
        Value::Object(object) => match get(object, "Timeout") {
            Some(said) => said,
            None => return Some(TRIGGER),
        },
        other => other,
    };
    let seconds = match said {
        Value::Null => return Some(TRIGGER),
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    if !(0.0..=f64::MAX).contains(&seconds) {
        return None;
    }
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST))
}

/// The kinds of document (`CARD_MAINID`) that a page asks for: a number, a list of numbers, or one of both as
/// `DocumentId` or `MainId` of an object. Empty for any kind; `None` for what is none of these.
pub fn document_ids(param: &Value) -> Option<Vec<u64>> {
    match param {
        Value::Null => Some(Vec::new()),
        Value::Array(ids) => ids.iter().map(number).collect(),
        Value::Object(object) => match get(object, "DocumentId").or_else(|| get(object, "MainId")) {
            Some(Value::Object(_)) => None,
            Some(ids) => document_ids(ids),
            None => Some(Vec::new()),
        },
        // 0 and -1 are any in the vendor's own calls.
        Value::Number(any) if any.as_i64() == Some(-1) => Some(Vec::new()),
        one => number(one).map(|id| if id == 0 { Vec::new() } else { vec![id] }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn one(text: &str) -> Order {
        let request = Request::read(text).unwrap();
        assert!(!request.batch);
        request.orders.into_iter().next().unwrap()
    }

    #[test]
    fn the_samples_of_the_document_are_read() {
        let order = one(r#"{"Type":"Request","Command":"Get","Operand":"OnLineStatus"}"#);
        assert_eq!((order.operand.as_str(), &order.param), ("OnLineStatus", &Value::Null));
        assert!(order.is("Get"));
        let order = one(r#"{"Type":"Request","Command":"Set","Operand":"VIZ","Param":"Y"}"#);
        assert_eq!(switch(&order.param), Some(true));
        let order = one(r#"{"Type":"Notify","Command":"Trigger","Operand":"ManualRecog","Param":2}"#);
        assert_eq!(timeout(&order.param), Some(Duration::from_secs(2)));
        let order = one(r#"{"Type":"Request","Command":"Get","Operand":"Base64Image","Param":"17"}"#);
        assert_eq!(number(&order.param), Some(17));
        let batch = Request::read(
            r#"{"Type":"Request","Commands":[{"Command":"Get","Operand":"OnLineStatus"},
               {"Command":"Get","Operand":"DeviceName"},{"Command":"Get","Operand":"DeviceSerialNo"}]}"#,
        )
        .unwrap();
        let operands: Vec<_> = batch.orders.iter().map(|order| order.operand.as_str()).collect();
        assert_eq!((batch.batch, operands), (true, vec!["OnLineStatus", "DeviceName", "DeviceSerialNo"]));
    }

    #[test]
    fn sloppy_pages_are_understood() {
        let order = one("\u{FEFF} {\"command\":\"get\",\"OPERAND\":\" DeviceName \"}\0\0\n");
        assert!(order.is("Get"));
        assert_eq!(order.operand, "DeviceName");
        let long = one(&json!({ "Command": "Get", "Operand": "x".repeat(1000) }).to_string());
        assert_eq!(long.operand.len(), ECHOED);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "",
            "{",
            r#"{"Type":"Request","Command":"Get","Oper"#,
            "[]",
            "17",
            "{}",
            r#"{"Commands":[]}"#,
            r#"{"Commands":{}}"#,
            r#"{"Commands":[{"Command":"Get","Operand":"DeviceName"},5]}"#,
            &"[".repeat(100_000),
        ] {
            assert_eq!(Request::read(text), Err(Refused::Malformed), "{}", &text[..text.len().min(80)]);
        }
        let many = |count| json!({ "Commands": vec![json!({ "Command": "Get" }); count] }).to_string();
        assert!(Request::read(&many(COMMANDS)).is_ok());
        assert_eq!(Request::read(&many(COMMANDS + 1)), Err(Refused::TooMany));
    }

    #[test]
    fn parameters_come_in_many_forms() {
        for on in [json!("True"), json!("true"), json!("Y"), json!(true), json!(1), json!(" y "), json!("1")]
        {
            assert_eq!(switch(&on), Some(true), "{on}");
        }
        for off in [json!("False"), json!("N"), json!(false), json!(0), json!("0")] {
            assert_eq!(switch(&off), Some(false), "{off}");
        }
        for neither in [json!(null), json!("maybe"), json!(2), json!({}), json!([true]), json!(-1)] {
            assert_eq!(switch(&neither), None, "{neither}");
        }
        let seconds = |param: Value| timeout(&param).map(|time| time.as_secs_f64());
        assert_eq!(seconds(json!(2)), Some(2.0));
        assert_eq!(seconds(json!("2.5")), Some(2.5));
        assert_eq!(seconds(json!({ "Timeout": 3 })), Some(3.0));
        assert_eq!(seconds(json!({ "timeout": "4" })), Some(4.0));
        assert_eq!(seconds(json!({ "DocumentId": 2 })), Some(10.0));
        assert_eq!(seconds(json!(null)), Some(10.0));
        assert_eq!(seconds(json!(1e300)), Some(600.0));
        for no_time in [json!(-1), json!("soon"), json!([2]), json!({ "Timeout": true }), json!("NaN")] {
            assert_eq!(seconds(no_time.clone()), None, "{no_time}");
        }
        assert_eq!(document_ids(&json!({ "DocumentId": 2 })), Some(vec![2]));
        assert_eq!(document_ids(&json!({ "MainId": ["2", 13] })), Some(vec![2, 13]));
        assert_eq!(document_ids(&json!(13)), Some(vec![13]));
        assert_eq!(document_ids(&json!([2, 13])), Some(vec![2, 13]));
        for any in [json!(null), json!(0), json!(-1), json!({}), json!([])] {
            assert_eq!(document_ids(&any), Some(Vec::new()), "{any}");
        }
        for none in [json!("x"), json!({ "DocumentId": {} }), json!([{}]), json!(true)] {
            assert_eq!(document_ids(&none), None, "{none}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(
                    prop_oneof![
                        Just("Type".to_owned()),
                        Just("Commands".to_owned()),
                        Just("Command".to_owned()),
                        Just("Operand".to_owned()),
                        Just("Param".to_owned()),
                        Just("Timeout".to_owned()),
                        "[a-z]{0,6}"
                    ],
                    inner,
                    0..6
                )
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_can_harm(text in ".{0,200}") {
            let _ = Request::read(&text);
        }

        #[test]
        fn what_is_read_keeps_its_bounds(json in any_json()) {
            if let Ok(request) = Request::read(&json.to_string()) {
                prop_assert!(!request.orders.is_empty() && request.orders.len() <= COMMANDS);
                for order in &request.orders {
                    prop_assert!(order.operand.chars().count() <= ECHOED);
                    prop_assert!(order.command.chars().count() <= ECHOED);
                    prop_assert!(timeout(&order.param).is_none_or(|time| time <= LONGEST));
                    let _ = (switch(&order.param), number(&order.param), document_ids(&order.param));
                }
            }
        }

        #[test]
        fn whatever_is_asked_comes_through(operand in "[A-Za-z0-9]{1,64}", param in any_json(), batch: bool) {
            let command = json!({ "Command": "Get", "Operand": operand, "Param": param });
            let message = if batch { json!({ "Type": "Request", "Commands": [command] }) } else { command };
            let request = Request::read(&message.to_string()).unwrap();
            // A number that is none becomes null on its way through a text.
            let param: Value = serde_json::from_str(&param.to_string()).unwrap();
            prop_assert_eq!(request, Request { batch, orders: vec![Order { command: "Get".into(), operand, param }] });
        }
    }
}
