//! The body of a request: `application/x-www-form-urlencoded`, as platforms really write it.
//!
//! Taken as well as the exact form: a doubled `=` behind a key, `%` in lower or upper case, a `%` that begins
//! nothing (it stands for itself), white space and line breaks around the whole and around each key. Keys are
//! compared exactly (字段大小敏感).

use crate::error::{Error, Kind, Result};

/// Most fields of one form; the document has eleven.
const MOST_FIELDS: usize = 64;

/// The fields of a form, not decoded yet: a picture is decoded once, by whoever asks for it.
#[derive(Debug, Default)]
pub struct Form<'a> {
    /// Keys (decoded) and values (as they stand).
    fields: Vec<(String, &'a str)>,
}

impl<'a> Form<'a> {
    /// Splits a body. `Input` when there are too many fields, or a key is there twice.
    pub fn parse(body: &'a str) -> Result<Self> {
        let mut fields: Vec<(String, &str)> = Vec::new();
        for field in body.trim().split('&') {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let key = String::from_utf8_lossy(&decode(key, b' ')).trim().to_owned();
            if key.is_empty() && value.is_empty() {
                continue;
            }
            // An = within a value is written %3D, so that one at its beginning is one too many.
            let value = value.strip_prefix('=').unwrap_or(value);
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(wrong(&key, "is there twice"));
            }
            if fields.len() == MOST_FIELDS {
                return Err(Error::new(Kind::Input, format!("msg has more than {MOST_FIELDS} fields")));
            }
            fields.push((key, value));
        }
        Ok(Self { fields })
    }

    /// The value of `key` as it stands.
    fn raw(&self, key: &str) -> Option<&'a str> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| *value)
    }

    /// A text of at most `most` bytes, without blanks around it. `None` if the key is not there.
    pub fn text(&self, key: &str, most: usize) -> Result<Option<String>> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        let text = String::from_utf8(decode(raw, b' '))
            .map_err(|_| wrong(key, "is not UTF-8; encode it as %XX of its UTF-8 bytes"))?;
        let text = text.trim();
        if text.len() > most {
            return Err(wrong(key, format_args!("must be at most {most} bytes, not {}", text.len())));
        }
        Ok(Some(text.to_owned()))
    }

    /// A text that must be there and not be empty.
    pub fn required_text(&self, key: &str, most: usize) -> Result<String> {
        match self.text(key, most)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(wrong(key, "must not be empty")),
            None => Err(wrong(key, "is missing")),
        }
    }

    /// Bytes in base64, either alphabet, padded or not, with line breaks or a `data:` prefix. A `+` may stand
    /// there raw or as the blank that form decoding has made of it. `None` if it is not there or empty.
    pub fn base64(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let Some(raw) = self.raw(key) else { return Ok(None) };
        let decoded = decode(raw.trim(), b'+');
        let text = String::from_utf8(decoded).map_err(|_| wrong(key, "is not base64"))?;
        let text = text.trim().replace(' ', "+");
        if text.is_empty() {
            return Ok(None);
        }
        match crate::platform::qyzn::json::decode_base64(&text) {
            Some(bytes) if bytes.is_empty() => Ok(None),
            Some(bytes) => Ok(Some(bytes)),
            None => Err(wrong(key, "is not base64")),
        }
    }
}

/// An `Input` error about `key`.
pub fn wrong(key: &str, what: impl std::fmt::Display) -> Error {
    // A key can be anything; an answer quotes the beginning of it.
    let end = (0..=key.len().min(32)).rev().find(|&at| key.is_char_boundary(at)).unwrap_or(0);
    Error::new(Kind::Input, format!("{}: {what}", &key[..end]))
}

/// Percent decoding; `plus` is what a raw `+` stands for.
fn decode(text: &str, plus: u8) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        decoded.push(match byte {
            b'+' => plus,
            b'%' => match (digit(bytes.get(at)), digit(bytes.get(at + 1))) {
                (Some(high), Some(low)) => {
                    at += 2;
                    (high * 16 + low) as u8
                }
                _ => b'%',
            },
            byte => byte,
        });
    }
    decoded
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_as_they_come() {
        let form =
            Form::parse(" key=abc&name=%e5%bc%a0%E7%A5%A5+2&empty=&blank=%20&percent=100%&IC_NO==7&&bare\n")
                .unwrap();
        let text = |key: &str| form.text(key, 64).unwrap();
        assert_eq!(text("key").as_deref(), Some("abc"));
        assert_eq!(text("name").as_deref(), Some("张祥 2"));
        assert_eq!(text("empty").as_deref(), Some(""));
        assert_eq!(text("blank").as_deref(), Some(""));
        assert_eq!(text("percent").as_deref(), Some("100%"));
        assert_eq!(text("IC_NO").as_deref(), Some("7"), "a doubled = is one too many");
        assert_eq!(text("bare").as_deref(), Some(""));
        assert_eq!(text("ic_no"), None, "keys are exact");
        assert_eq!(form.required_text("none", 9).unwrap_err().message(), "none: is missing");
        assert_eq!(form.required_text("empty", 9).unwrap_err().message(), "empty: must not be empty");
        assert_eq!(form.text("key", 2).unwrap_err().message(), "key: must be at most 2 bytes, not 3");
        // 张 in GBK.
        let gbk = Form::parse("name=%D5%C5").unwrap();
        assert!(gbk.text("name", 64).unwrap_err().message().starts_with("name: is not UTF-8"));
        assert_eq!(Form::parse("a=1&a=2").unwrap_err().message(), "a: is there twice");
        let many: String = (0..65).map(|n| format!("k{n}=&")).collect();
        assert_eq!(Form::parse(&many).unwrap_err().message(), "msg has more than 64 fields");
        assert!(Form::parse("").unwrap().fields.is_empty());
    }

    #[test]
    fn pictures_in_every_dress() {
        // Bytes whose base64 has all that is written differently: python3 -c "import base64;
        // print(base64.b64encode(bytes([0xff,0xd8,0xff,0xfb,0xef,0xbe,0xff])))" is /9j/++++/w==
        let bytes = [0xff, 0xd8, 0xff, 0xfb, 0xef, 0xbe, 0xff];
        for value in [
            "%2F9j%2F%2B%2B%2B%2B%2Fw%3D%3D",
            "/9j/++++/w==",
            "=/9j/++++/w==",
            "=%2f9j%2f%2b%2b%2b%2b%2fw",
            "/9j/    /w==",
            "%2F9j%2F%20%20%20%20%2Fw%3D%3D",
            "data:image/jpeg;base64,/9j/++++/w==",
            "data%3Aimage%2Fjpeg%3Bbase64%2C%2F9j%2F++++%2Fw%3D%3D",
            "_9j_----_w",
            "%2F9j%2F%0D%0A%2B%2B%2B%2B%0A%2Fw%3D%3D",
        ] {
            let body = format!("id=1&photo={value}&name=x");
            let form = Form::parse(&body).unwrap();
            assert_eq!(form.base64("photo").unwrap().as_deref(), Some(&bytes[..]), "{value}");
        }
        for (value, nothing) in
            [("", true), ("%20", true), ("=", true), ("not base64!", false), ("%ff", false)]
        {
            let body = format!("photo={value}");
            let photo = Form::parse(&body).unwrap().base64("photo");
            match nothing {
                true => assert_eq!(photo.unwrap(), None, "{value}"),
                false => assert_eq!(photo.unwrap_err().message(), "photo: is not base64", "{value}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in ".{0,200}", key in "[a-z]{0,3}") {
            if let Ok(form) = Form::parse(&body) {
                let _ = (form.text(&key, 8), form.base64(&key));
                for (key, _) in &form.fields {
                    let _ = (form.text(key, 8), form.base64(key));
                }
            }
        }

        /// What a strict writer makes of any text and any picture comes out as it went in.
        #[test]
        fn what_is_encoded_by_the_book_comes_back(
            name in "[^\\s](.{0,30}[^\\s])?",
            photo in proptest::collection::vec(any::<u8>(), 1..200),
            strict in any::<bool>(),
        ) {
            let encode = |text: &str| -> String {
                text.bytes().map(|byte| match byte {
                    b' ' => "+".to_owned(),
                    byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
                    byte => format!("%{byte:02X}"),
                }).collect()
            };
            let base64 = base64::engine::general_purpose::STANDARD.encode(&photo);
            let base64 = if strict { encode(&base64) } else { base64 };
            let body = format!("photo={base64}&name={}", encode(&name));
            let form = Form::parse(&body).unwrap();
            let text = form.text("name", 1000).unwrap().unwrap();
            prop_assert_eq!(text, name.trim());
            prop_assert_eq!(form.base64("photo").unwrap().unwrap(), photo);
        }
    }
}
