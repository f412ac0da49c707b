//! JSON as platforms really write it: numbers as text and text as numbers, booleans as 0 and 1, null for
//! absent, keys in any case, commas too many. What cannot be understood is refused with the name of the key.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};

/// Parses a text; on an error says what is wrong, without quoting the text.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice(text).or_else(|error| {
        if std::str::from_utf8(text).is_err() {
            return Err("the body is not UTF-8".to_owned());
        }
        serde_json::from_slice(&without_spare_commas(text))
            .map_err(|_| format!("the body is not JSON: {error}"))
    })
}

/// The text without commas that stand before a closing bracket: the document's own samples have them.
fn without_spare_commas(text: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for &byte in text {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if byte == b'"' {
            in_string = true;
        } else if matches!(byte, b'}' | b']') {
            let solid = out.iter().rposition(|byte| !byte.is_ascii_whitespace());
            if let Some(at) = solid.filter(|&at| out[at] == b',') {
                out.remove(at);
            }
        }
        out.push(byte);
    }
    out
}

/// `data` as an object, also where it is a text that holds one (the document's tables call it a String).
pub fn unfold(data: &Value) -> Value {
    match data {
        Value::String(text) if text.trim_start().starts_with('{') => {
            parse(text.as_bytes()).unwrap_or_else(|_| data.clone())
        }
        data => data.clone(),
    }
}

/// The keys of one JSON object. `null` counts as absent, and an exact key beats one in another case.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    /// Where the object stands, for messages: `faces[0].`, or empty.
    place: &'a str,
}

impl<'a> Fields<'a> {
    /// The keys of `value`; none if it is no object.
    pub fn of(value: &'a Value) -> Self {
        Self { map: value.as_object(), place: "" }
    }

    /// The same, for an object inside another, which `place` names in messages.
    pub fn at(value: &'a Value, place: &'a str) -> Self {
        Self { map: value.as_object(), place }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.map.is_none_or(Map::is_empty)
    }

    /// All keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        self.map.into_iter().flatten()
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        let map = self.map?;
        map.get(key)
            .or_else(|| map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
            .filter(|value| !value.is_null())
    }

    /// An `Input` error about `key`.
    pub fn wrong(&self, key: &str, what: impl std::fmt::Display) -> Error {
        Error::new(Kind::Input, format!("{}{key}: {what}", self.place))
    }

    /// A text of at most `most` bytes, without blanks around it; numbers are taken as text.
    pub fn text(&self, key: &str, most: usize) -> Result<Option<String>> {
        let text = match self.get(key) {
            None => return Ok(None),
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(self.wrong(key, "must be a text")),
        };
        if text.len() > most {
            return Err(self.wrong(key, format_args!("must be at most {most} bytes, not {}", text.len())));
        }
        Ok(Some(text))
    }

    /// A text that must be there and not empty.
    pub fn required_text(&self, key: &str, most: usize) -> Result<String> {
        match self.text(key, most)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(self.wrong(key, "must not be empty")),
            None => Err(self.wrong(key, "is missing")),
        }
    }

    /// A whole number: a number, a text of one, or a boolean. An empty text counts as absent.
    pub fn int(&self, key: &str) -> Result<Option<i64>> {
        let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::Bool(flag)) => Some(i64::from(*flag)),
            Some(Value::Number(number)) => number.as_i64().or_else(|| number.as_f64().and_then(whole)),
            Some(Value::String(text)) => match text.trim() {
                "" => return Ok(None),
                text => text.parse().ok().or_else(|| text.parse().ok().and_then(whole)),
            },
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(key, "must be a whole number"))
    }

    /// A whole number within `least..=most`.
    pub fn int_within(&self, key: &str, least: i64, most: i64) -> Result<Option<i64>> {
        match self.int(key)? {
            Some(number) if !(least..=most).contains(&number) => {
                Err(self.wrong(key, format_args!("must be {least} to {most}, not {number}")))
            }
            number => Ok(number),
        }
    }

    /// Yes or no: a boolean, 0 or 1, or a text of one of these. An empty text counts as absent.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        let flag = match self.get(key) {
            None => return Ok(None),
            Some(Value::Bool(flag)) => Some(*flag),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(0.0) => Some(false),
                Some(1.0) => Some(true),
                _ => None,
            },
            Some(Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
                "" => return Ok(None),
                "true" | "1" | "yes" | "y" => Some(true),
                "false" | "0" | "no" | "n" => Some(false),
                _ => None,
            },
            Some(_) => None,
        };
        flag.map(Some).ok_or_else(|| self.wrong(key, "must be true or false"))
    }

    /// A list; a single value counts as a list of one, an empty text as an empty list.
    pub fn list(&self, key: &str) -> Option<&'a [Value]> {
        match self.get(key)? {
            Value::Array(values) => Some(values),
            Value::String(text) if text.trim().is_empty() => Some(&[]),
            single => Some(std::slice::from_ref(single)),
        }
    }

    /// Bytes in base64: with or without padding, line breaks and a `data:` prefix, in either alphabet.
    pub fn base64(&self, key: &str) -> Result<Option<Vec<u8>>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => match decode_base64(text) {
                Some(bytes) => Ok(Some(bytes)),
                None => Err(self.wrong(key, "is not base64")),
            },
            Some(_) => Err(self.wrong(key, "must be base64 text")),
        }
    }
}

/// The standard alphabet, padded or not, also with bits too many at the end.
const LIBERAL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes in base64: see [`Fields::base64`].
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let text = match text.get(..5) {
        Some(scheme) if scheme.eq_ignore_ascii_case("data:") => text.split_once(',')?.1,
        _ => text,
    };
    // Nearly all texts are plain; only the others are copied.
    LIBERAL.decode(text).ok().or_else(|| {
        let plain: Vec<u8> = text
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=')
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                byte => byte,
            })
            .collect();
        LIBERAL.decode(plain).ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_texts_and_booleans_stand_for_each_other() {
        let value = json!({"a": 5, "b": "5", "c": true, "d": " 7 ", "e": 5.0, "f": "", "g": null, "h": "x", "i": [1],
            "j": 5.5, "k": "1"});
        let fields = Fields::of(&value);
        for (key, number) in [
            ("a", Some(5)),
            ("b", Some(5)),
            ("c", Some(1)),
            ("d", Some(7)),
            ("e", Some(5)),
            ("f", None),
            ("g", None),
            ("none", None),
        ] {
            assert_eq!(fields.int(key).unwrap(), number, "{key}");
        }
        for key in ["h", "i", "j"] {
            assert!(fields.int(key).unwrap_err().message().starts_with(key));
        }
        assert_eq!(fields.text("a", 9).unwrap().as_deref(), Some("5"));
        assert_eq!(fields.flag("c").unwrap(), Some(true));
        assert_eq!(fields.flag("k").unwrap(), Some(true));
        assert!(fields.flag("a").is_err());
        assert!(fields.int_within("a", 0, 4).unwrap_err().message().contains("a: must be 0 to 4, not 5"));
    }

    #[test]
    fn keys_in_any_case_and_null_for_absent() {
        let value = json!({"personid": "1", "FaceId": "2", "faceid": "3", "name": null});
        let fields = Fields::of(&value);
        assert_eq!(fields.required_text("personId", 32).unwrap(), "1");
        assert_eq!(fields.required_text("FaceId", 32).unwrap(), "2");
        assert_eq!(fields.required_text("faceid", 32).unwrap(), "3");
        assert_eq!(fields.required_text("name", 9).unwrap_err().message(), "name: is missing");
        assert!(Fields::of(&json!("text")).get("a").is_none());
    }

    #[test]
    fn base64_as_it_comes() {
        // "any carnal pleas" is RFC 4648's own kind of sample; bytes fb ff exercise both alphabets.
        let value = json!({"plain": "YW55IGNhcm5hbCBwbGVhcw==", "bare": "YW55IGNhcm5hbCBwbGVhcw",
            "lines": "YW55IGNh\r\ncm5hbCBw\n bGVhcw==\n", "url": "data:image/jpeg;base64,YW55IGNhcm5hbCBwbGVhcw==",
            "safe": "-_8=", "standard": "+/8=", "bad": "not base64!", "number": 5, "half": "YW55I"});
        let fields = Fields::of(&value);
        for key in ["plain", "bare", "lines", "url"] {
            assert_eq!(fields.base64(key).unwrap().unwrap(), b"any carnal pleas", "{key}");
        }
        assert_eq!(fields.base64("safe").unwrap().unwrap(), [0xfb, 0xff]);
        assert_eq!(fields.base64("standard").unwrap().unwrap(), [0xfb, 0xff]);
        for key in ["bad", "number", "half"] {
            assert_eq!(fields.base64(key).unwrap_err().kind(), Kind::Input, "{key}");
        }
    }

    #[test]
    fn long_texts_are_refused_by_name() {
        let value = json!({"name": "张".repeat(10_000)});
        let error = Fields::of(&value).required_text("name", 256).unwrap_err();
        assert_eq!(error.message(), "name: must be at most 256 bytes, not 30000");
    }
}
