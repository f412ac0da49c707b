//! `serial_output` (4.5.3) and `weigand_output` (4.5.4): bytes of the platform's own on the gate's wires.

use serde_json::Value;

use super::code::{self, Answer};
use super::json::Fields;
use super::link::Work;
use crate::error::Result;
use crate::gate::Gate;

/// Longest `content` of `serial_output`, in hexadecimal digits.
const LONGEST_SERIAL: usize = 256;

/// Longest `content` of `weigand_output`.
const LONGEST_WIEGAND: usize = 8;

/// Sends bytes on the RS485 line. Its place among the outputs is that of this call.
pub fn serial_output(gate: &Gate, data: &Value) -> Work<Answer> {
    let fields = Fields::of(data);
    let read = || {
        // There is one line.
        fields.int_within("index", 0, 0)?.ok_or_else(|| fields.wrong("index", "is missing"))?;
        bytes(&fields, LONGEST_SERIAL)
    };
    match read() {
        Ok(bytes) => {
            let sent = gate.send_serial(bytes);
            Box::pin(async move { answer(sent.await) })
        }
        Err(error) => {
            let answer = answer(Err(error));
            Box::pin(async { answer })
        }
    }
}

/// Sends data bits on the Wiegand line. Its place among the outputs is that of this call.
pub fn weigand_output(gate: &Gate, data: &Value) -> Work<Answer> {
    let fields = Fields::of(data);
    match bytes(&fields, LONGEST_WIEGAND) {
        Ok(bytes) => {
            let sent = gate.send_wiegand(&bytes);
            Box::pin(async move { answer(sent.await) })
        }
        Err(error) => {
            let answer = answer(Err(error));
            Box::pin(async { answer })
        }
    }
}

fn answer(outcome: Result<()>) -> Answer {
    match outcome {
        Ok(()) => Answer::success(),
        Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    }
}

/// `content`: two hexadecimal digits a byte, at least one byte.
fn bytes(fields: &Fields<'_>, most: usize) -> Result<Vec<u8>> {
    const KEY: &str = "content";
    let text = fields.required_text(KEY, most)?;
    if !text.len().is_multiple_of(2) {
        let what = format_args!("must have two hexadecimal digits for each byte, not {} in all", text.len());
        return Err(fields.wrong(KEY, what));
    }
    let byte = |pair: &[u8]| {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        Some(digit(pair[0])? << 4 | digit(pair[1])?)
    };
    text.as_bytes()
        .chunks_exact(2)
        .map(byte)
        .collect::<Option<_>>()
        .ok_or_else(|| fields.wrong(KEY, "must be hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn content_is_two_digits_a_byte() {
        let read = |content: Value| {
            let data = json!({ "content": content });
            bytes(&Fields::of(&data), 8).map_err(|error| error.message().to_owned())
        };
        // The document's own samples.
        assert_eq!(read(json!("41")).unwrap(), b"A");
        assert_eq!(read(json!("31323334")).unwrap(), b"1234");
        assert_eq!(read(json!("1234EF")).unwrap(), [0x12, 0x34, 0xef]);
        assert_eq!(read(json!(" 1234ef ")).unwrap(), [0x12, 0x34, 0xef]);
        for bad in
            [json!("123"), json!("12G4"), json!(""), json!(null), json!("+1"), json!("1234567890"), json!([])]
        {
            let error = read(bad.clone()).unwrap_err();
            assert!(error.starts_with("content: "), "{bad}: {error}");
        }
    }
}
