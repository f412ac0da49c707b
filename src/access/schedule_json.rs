//! Schedules in the JSON of the platforms: QYZN `extPassRule` (4.3.8) and `config_device_pass_rule` (4.5.9),
//! the terminal WebSocket protocol's `weekly`.
//!
//! What the documents leave open:
//! - An absent, null, blank or empty rule is no rule, and so is one with neither a week nor holidays; the
//!   simple rules hold then. Holidays without a week are refused: the week they make exceptions from is
//!   unknown, and both guesses (always, never) would surprise somebody.
//! - A day that the week does not name is a day without permission. Both documents ask for all seven; a gate
//!   errs on the shut side.
//! - Days are known by the first letters of their English names (`mon`, `Mon`, `Monday`), keys in any case.

use serde_json::{Map, Value, json};

use super::schedule::{
    DayRule, ExtendedSchedule, Holiday, Periods, parse_day_range, quoted, write_day_range,
};
use crate::error::{Error, Kind, Result};

/// Most periods of one day in an extended rule of QYZN ("最多 10 个时段").
pub const MOST_EXTENDED_PERIODS: usize = 10;

/// Most holidays of one rule; the document names no limit, a year has no more days.
pub const MOST_HOLIDAYS: usize = 366;

/// Most bytes of an id or a name. The document has 32, 36 and 24; platforms are not exact about them.
const MOST_NAME: usize = 256;

/// Names of the days, Monday first. QYZN writes the first three letters in lower case.
const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

impl DayRule {
    /// QYZN `mode`.
    pub fn number(&self) -> u8 {
        match self {
            DayRule::Never => 0,
            DayRule::Always => 1,
            DayRule::Periods(_) => 2,
        }
    }
}

impl ExtendedSchedule {
    /// Reads QYZN's `extPassRule`, or the data of `config_device_pass_rule`. `None` is no rule (see the
    /// module). A string is taken as JSON text. [`Kind::Input`] names the path of the value that is wrong.
    pub fn from_qyzn(value: &Value) -> Result<Option<Self>> {
        let parsed;
        let rule = match value {
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => {
                parsed = json_text(text, "the pass rule")?;
                &parsed
            }
            value => value,
        };
        if is_empty(rule) {
            return Ok(None);
        }
        let Value::Object(rule) = rule else {
            return Err(wrong("the pass rule", "an object with weekly and holiday", rule));
        };
        let weekly = find(rule, &["weekly"]).filter(|weekly| !is_empty(weekly));
        let holidays =
            find(rule, &["holiday", "holidays"]).filter(|holidays| !is_empty(holidays)).map(holidays);
        let Some(weekly) = weekly else {
            return match holidays {
                None => Ok(None),
                Some(_) => Err(Error::new(
                    Kind::Input,
                    "the pass rule has holidays but no weekly; send the rules of mon to sun too",
                )),
            };
        };
        Ok(Some(Self {
            id: name(rule, "id")?,
            name: name(rule, "name")?,
            weekly: week(weekly, qyzn_day)?,
            holidays: holidays.transpose()?.unwrap_or_default(),
        }))
    }

    /// Writes what [`ExtendedSchedule::from_qyzn`] reads, all seven days, in the notation of 4.3.8.
    pub fn to_qyzn(&self) -> Value {
        let weekly: Map<String, Value> = DAYS
            .iter()
            .zip(&self.weekly)
            .map(|(day, rule)| (day[..3].to_ascii_lowercase(), Value::Object(write_rule(rule))))
            .collect();
        let holiday: Vec<Value> = self
            .holidays
            .iter()
            .map(|holiday| {
                let mut object = write_rule(&holiday.rule);
                object.insert("name".into(), json!(holiday.name));
                object.insert("dayRange".into(), json!(write_day_range(holiday.first, holiday.last)));
                Value::Object(object)
            })
            .collect();
        json!({ "id": self.id, "name": self.name, "weekly": weekly, "holiday": holiday })
    }

    /// Reads the terminal WebSocket protocol's `weekly`, JSON text within a form field. A blank text and an
    /// empty object are no rule; a day with `""` is a day without permission. [`Kind::Input`] names the day
    /// that is wrong.
    pub fn from_terminal_ws(text: &str) -> Result<Option<Self>> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let weekly = json_text(text, "weekly")?;
        if is_empty(&weekly) {
            return Ok(None);
        }
        Ok(Some(Self {
            id: String::new(),
            name: String::new(),
            weekly: week(&weekly, terminal_day)?,
            holidays: Vec::new(),
        }))
    }
}

fn week(value: &Value, read: impl Fn(&Value) -> Result<DayRule>) -> Result<[DayRule; 7]> {
    let Value::Object(object) = value else {
        return Err(wrong("weekly", "an object with a rule for each day", value));
    };
    let mut week: [Option<DayRule>; 7] = Default::default();
    let mut known = false;
    for (key, value) in object {
        let Some(day) = day_number(key) else { continue };
        known = true;
        if value.is_null() {
            continue;
        }
        let rule = read(value).map_err(|error| at(&format!("weekly.{key}"), &error))?;
        if week[day].replace(rule).is_some() {
            return Err(Error::new(Kind::Input, format!("weekly names {} twice", DAYS[day])));
        }
    }
    if !known {
        return Err(Error::new(Kind::Input, "weekly names no day of the week (mon, Monday, and so on)"));
    }
    Ok(week.map(|rule| rule.unwrap_or(DayRule::Never)))
}

/// 0 for Monday to 6 for Sunday, by three letters or more of the English name.
fn day_number(key: &str) -> Option<usize> {
    let key = key.trim();
    DAYS.iter().position(|day| {
        key.len() >= 3 && day.get(..key.len()).is_some_and(|start| start.eq_ignore_ascii_case(key))
    })
}

fn qyzn_day(value: &Value) -> Result<DayRule> {
    let Value::Object(object) = value else {
        return Err(wrong("the rule of the day", "an object with mode and periods", value));
    };
    qyzn_rule(object)
}

fn qyzn_rule(object: &Map<String, Value>) -> Result<DayRule> {
    let mode = find(object, &["mode"]).ok_or_else(|| {
        Error::new(Kind::Input, "mode is missing; it is 0 (never), 1 (all day) or 2 (periods)")
    })?;
    match integer(mode) {
        Some(0) => Ok(DayRule::Never),
        Some(1) => Ok(DayRule::Always),
        Some(2) => {
            let periods = match find(object, &["periods"]) {
                // In mode 2 only the listed periods are allowed, so none listed is none allowed.
                None => Periods::default(),
                Some(Value::String(text)) => Periods::parse(text)?.unwrap_or_default(),
                Some(other) => return Err(wrong("periods", "a text such as 08:00~09:30,11:30~14:00", other)),
            };
            if periods.0.len() > MOST_EXTENDED_PERIODS {
                return Err(Error::new(
                    Kind::Input,
                    format!("{} periods; at most {MOST_EXTENDED_PERIODS} are allowed", periods.0.len()),
                ));
            }
            Ok(DayRule::Periods(periods))
        }
        _ => Err(wrong("mode", "0 (never), 1 (all day) or 2 (periods)", mode)),
    }
}

fn terminal_day(value: &Value) -> Result<DayRule> {
    let Value::String(text) = value else {
        return Err(wrong("the day", "a text such as 09:00-12:35;13:25-16:25", value));
    };
    Ok(Periods::parse(text)?.map_or(DayRule::Never, DayRule::Periods))
}

fn holidays(value: &Value) -> Result<Vec<Holiday>> {
    let Value::Array(list) = value else {
        return Err(wrong("holiday", "a list", value));
    };
    if list.len() > MOST_HOLIDAYS {
        return Err(Error::new(Kind::Input, format!("holiday lists more than {MOST_HOLIDAYS} holidays")));
    }
    list.iter()
        .enumerate()
        .map(|(index, value)| holiday(value).map_err(|error| at(&format!("holiday[{index}]"), &error)))
        .collect()
}

fn holiday(value: &Value) -> Result<Holiday> {
    let Value::Object(object) = value else {
        return Err(wrong("the holiday", "an object with name, dayRange and mode", value));
    };
    let range = match find(object, &["dayRange"]) {
        Some(Value::String(range)) => range,
        Some(other) => return Err(wrong("dayRange", "a text such as 2019.10.01~2019.10.03", other)),
        None => return Err(Error::new(Kind::Input, "dayRange is missing; write 2019.10.01~2019.10.03")),
    };
    let (first, last) = parse_day_range(range)?;
    Ok(Holiday { name: name(object, "name")?, first, last, rule: qyzn_rule(object)? })
}

fn write_rule(rule: &DayRule) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("mode".into(), json!(rule.number()));
    if let DayRule::Periods(periods) = rule {
        object.insert("periods".into(), json!(periods.to_qyzn()));
    }
    object
}

/// An id or a name: a text or a number, empty where there is none.
fn name(object: &Map<String, Value>, key: &str) -> Result<String> {
    let text = match find(object, &[key]) {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(other) => return Err(wrong(key, "a text", other)),
    };
    if text.len() > MOST_NAME {
        return Err(Error::new(Kind::Input, format!("{key} has {} bytes, at most {MOST_NAME}", text.len())));
    }
    Ok(text)
}

/// The first value with one of these keys, in any case; null is absent.
fn find<'a>(object: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a Value> {
    keys.iter()
        .find_map(|key| {
            object.get(*key).or_else(|| {
                object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
            })
        })
        .filter(|value| !value.is_null())
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Bool(flag) => Some(i64::from(*flag)),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn json_text(text: &str, what: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| Error::new(Kind::Input, format!("{what} is not JSON: {error} in {}", quoted(text))))
}

fn wrong(what: &str, wanted: &str, value: &Value) -> Error {
    Error::new(Kind::Input, format!("{what} must be {wanted}, not {}", quoted(&value.to_string())))
}

/// The same error with the path at which it was found. One message, because only the outermost is told to a
/// peer.
fn at(path: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("{path}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::access::Period;

    /// The rule of 4.3.8 and 4.5.9, put together from its two halves.
    fn document() -> Value {
        json!({
            "id": "规则 ID", "name": "规则名称", "updateTime": "yyyy-MM-dd HH:mm:ss",
            "weekly": {
                "mon": {"mode": 0}, "tue": {"mode": 1},
                "wed": {"mode": 2, "periods": "00:00~05:00,13:30~18:00"},
                "thu": {"mode": 1}, "fri": {"mode": 1}, "sat": {"mode": 1}, "sun": {"mode": 1}
            },
            "holiday": [
                {"name": "中秋节", "dayRange": "2019.12.25~2019.12.25", "mode": 0},
                {"name": "国庆节", "dayRange": "2019.10.01~2019.10.03", "mode": 2,
                 "periods": "00:00~05:00,13:30~18:00"}
            ]
        })
    }

    fn two_periods() -> DayRule {
        DayRule::Periods(Periods(vec![Period { from: 0, to: 300 }, Period { from: 810, to: 1080 }]))
    }

    fn said(value: &Value) -> String {
        let error = ExtendedSchedule::from_qyzn(value).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        error.message().to_owned()
    }

    #[test]
    fn reads_and_writes_the_rule_of_the_document() {
        let rule = ExtendedSchedule::from_qyzn(&document()).unwrap().unwrap();
        use DayRule::{Always, Never};
        assert_eq!(
            rule,
            ExtendedSchedule {
                id: "规则 ID".into(),
                name: "规则名称".into(),
                weekly: [Never, Always, two_periods(), Always, Always, Always, Always],
                holidays: vec![
                    Holiday {
                        name: "中秋节".into(),
                        first: date(2019, 12, 25),
                        last: date(2019, 12, 25),
                        rule: Never
                    },
                    Holiday {
                        name: "国庆节".into(),
                        first: date(2019, 10, 1),
                        last: date(2019, 10, 3),
                        rule: two_periods()
                    },
                ],
            }
        );
        let mut expected = document();
        expected.as_object_mut().unwrap().remove("updateTime");
        assert_eq!(rule.to_qyzn(), expected);
        let text = Value::String(document().to_string());
        assert_eq!(ExtendedSchedule::from_qyzn(&text).unwrap(), Some(rule));
    }

    #[test]
    fn nothing_is_no_rule() {
        for nothing in [
            json!(null),
            json!(""),
            json!("  "),
            json!({}),
            json!([]),
            json!("{}"),
            json!("null"),
            json!({"id": "", "name": "", "weekly": {}, "holiday": []}),
            json!({"id": "7", "weekly": null}),
            json!({"weekly": "", "holiday": ""}),
        ] {
            assert_eq!(ExtendedSchedule::from_qyzn(&nothing).unwrap(), None, "{nothing}");
        }
    }

    #[test]
    fn takes_the_liberties_of_real_platforms() {
        let rule = ExtendedSchedule::from_qyzn(&json!({
            "ID": 7, "Weekly": {
                "Mon": {"Mode": "1"}, "tuesday": {"mode": true}, "WED": {"mode": 2, "periods": null},
                "thu": null, "fri": {"mode": 0, "periods": ""}, "remark": "x"
            },
            "holidays": [{"dayrange": "2019-10-01", "mode": 1}]
        }))
        .unwrap()
        .unwrap();
        use DayRule::{Always, Never};
        assert_eq!(rule.id, "7");
        let none = DayRule::Periods(Periods::default());
        // Thursday is null, Saturday and Sunday are absent: no permission.
        assert_eq!(rule.weekly, [Always, Always, none, Never, Never, Never, Never]);
        assert_eq!(rule.holidays[0].first, date(2019, 10, 1));
        assert_eq!(rule.holidays[0].last, date(2019, 10, 1));
        assert_eq!(ExtendedSchedule::from_qyzn(&rule.to_qyzn()).unwrap(), Some(rule));
    }

    #[test]
    fn names_the_path_of_what_is_wrong() {
        let with = |pointer: &str, value: Value| {
            let mut rule = document();
            *rule.pointer_mut(pointer).unwrap() = value;
            said(&rule)
        };
        for (pointer, value, part) in [
            ("/weekly/wed/periods", json!("00:00~05:00,13:30"), "weekly.wed: the period \"13:30\""),
            ("/weekly/wed/periods", json!(5), "weekly.wed: periods must be a text"),
            ("/weekly/mon/mode", json!(3), "weekly.mon: mode must be 0"),
            ("/weekly/mon", json!({}), "weekly.mon: mode is missing"),
            ("/weekly/mon", json!(0), "weekly.mon: the rule of the day must be an object"),
            ("/weekly", json!([1]), "weekly must be an object"),
            ("/weekly", json!({"monntag": {"mode": 1}}), "names no day"),
            ("/weekly", json!({"mon": {"mode": 1}, "Monday": {"mode": 0}}), "names Monday twice"),
            ("/weekly", json!({}), "holidays but no weekly"),
            ("/holiday/1/dayRange", json!("2019.10.03~2019.10.01"), "holiday[1]: the range of days"),
            ("/holiday/1/dayRange", json!(null), "holiday[1]: dayRange is missing"),
            ("/holiday/1/periods", json!("25:00~26:00"), "holiday[1]: the period \"25:00~26:00\""),
            ("/holiday/0/mode", json!("two"), "holiday[0]: mode must be 0"),
            ("/holiday/0", json!("中秋节"), "holiday[0]: the holiday must be an object"),
            ("/holiday", json!({"a": 1}), "holiday must be a list"),
            ("/holiday/0/name", json!("节".repeat(3_334)), "name has 10002 bytes"),
            ("/id", json!([1]), "id must be a text"),
        ] {
            let said = with(pointer, value.clone());
            assert!(said.contains(part), "{pointer} {value}: {said}");
            assert!(said.len() < 240, "{said}");
        }
        assert!(said(&json!(7)).contains("must be an object"));
        assert!(said(&json!("{\"weekly\":")).contains("is not JSON"));
        assert!(said(&json!("\"{}\"")).contains("must be an object"));
        let ten = ["08:00~09:00"; 10].join(",");
        let mut rule = document();
        rule["weekly"]["wed"]["periods"] = json!(ten);
        assert!(ExtendedSchedule::from_qyzn(&rule).is_ok());
        rule["weekly"]["wed"]["periods"] = json!(format!("{ten},10:00~11:00"));
        assert!(said(&rule).contains("11 periods; at most 10"));
        let mut rule = document();
        rule["holiday"] = Value::Array(vec![rule["holiday"][0].clone(); 367]);
        assert!(said(&rule).contains("more than 366"));
    }

    #[test]
    fn reads_the_weekly_of_the_terminal_protocol() {
        let day = "09:00-12:35;13:25-16:25;16:50-18:30";
        let sample = format!(
            r#"{{"Monday": "{day}", "Tuesday": "{day}", "Wednesday": "{day}", "Thursday": "{day}", "Friday": "{day}", "Saturday": "", "Sunday": ""}}"#
        );
        let rule = ExtendedSchedule::from_terminal_ws(&sample).unwrap().unwrap();
        let three = DayRule::Periods(Periods(vec![
            Period { from: 540, to: 755 },
            Period { from: 805, to: 985 },
            Period { from: 1010, to: 1110 },
        ]));
        let [monday, .., friday, saturday, sunday] = &rule.weekly;
        assert_eq!((monday, friday), (&three, &three));
        assert_eq!((saturday, sunday), (&DayRule::Never, &DayRule::Never));
        assert!(rule.allows(date(2019, 9, 30).at(12, 35, 0, 0)));
        assert!(!rule.allows(date(2019, 9, 30).at(12, 36, 0, 0)));
        assert!(!rule.allows(date(2019, 10, 5).at(10, 0, 0, 0)), "Saturday is \"\"");
        for blank in ["", " ", "{}", "null"] {
            assert_eq!(ExtendedSchedule::from_terminal_ws(blank).unwrap(), None, "{blank}");
        }
        let one = ExtendedSchedule::from_terminal_ws(r#"{"Sunday": "00:00-24:00"}"#).unwrap().unwrap();
        assert_eq!(one.weekly[5], DayRule::Never, "a day that is not named is without permission");
        for (text, part) in [
            ("Monday", "weekly is not JSON"),
            (r#"{"Monday": "9 to 5"}"#, "weekly.Monday: the period \"9 to 5\""),
            (r#"{"Monday": 9}"#, "weekly.Monday: the day must be a text"),
            (r#"["Monday"]"#, "weekly must be an object"),
            (r#"{"Feiertag": ""}"#, "names no day"),
        ] {
            let error = ExtendedSchedule::from_terminal_ws(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }
}
