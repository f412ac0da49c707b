//! Bodies of requests, written by the book.

use serde_json::{Map, Value};

/// `application/x-www-form-urlencoded` of a JSON object: texts and numbers as they are, lists and objects as
/// JSON, null left out, `image` (the base64 of a picture) as `photo`.
pub fn form(data: &Map<String, Value>) -> String {
    let fields = data.iter().filter_map(|(key, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let key = if key == "image" { "photo" } else { key };
        Some(format!("{}={}", encode(key), encode(&text)))
    });
    fields.collect::<Vec<_>>().join("&")
}

/// A text in a form.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => encoded.push(byte.into()),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_python_writes_it() {
        // python3: urllib.parse.urlencode({"id": "[12345678]", "name": "张 三+", "x": "a-c.d_e"})
        let data = json!({"id": [12_345_678], "name": "张 三+", "none": null, "x": "a-c.d_e"});
        assert_eq!(
            form(data.as_object().unwrap()),
            "id=%5B12345678%5D&name=%E5%BC%A0+%E4%B8%89%2B&x=a-c.d_e"
        );
        let photo = json!({"image": "/9j/++=="});
        assert_eq!(form(photo.as_object().unwrap()), "photo=%2F9j%2F%2B%2B%3D%3D");
    }
}
