//! `snapshot_picture` (4.3.5): a good face within the time, else what the camera sees then.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::code::{self, Answer};
use super::json::Fields;
use crate::error::Result;
use crate::gate::Gate;

/// Range of `timeoutSeconds`. The document gives none: from the shortest there is to five minutes, beyond which no
/// operator waits before a picture.
const SECONDS: (i64, i64) = (1, 300);

/// Answers with the picture as JPEG in base64. 104 for a time out of range, -1 where no camera gives a picture,
/// 109 with too many who wait for one.
pub async fn snapshot_picture(gate: &Gate, data: &Value) -> Answer {
    let picture = match within(data) {
        Ok(within) => gate.snapshot(within).await,
        Err(error) => Err(error),
    };
    match picture {
        Ok(jpeg) => Answer::with(json!({ "image": STANDARD.encode(jpeg) })),
        Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    }
}

/// How long to wait for a face, from the data of the message; `Input` for a time out of range.
pub fn within(data: &Value) -> Result<Duration> {
    seconds(&Fields::of(data), "timeoutSeconds", SECONDS)
}

/// A time in seconds that must be there.
pub(super) fn seconds(fields: &Fields<'_>, key: &str, (least, most): (i64, i64)) -> Result<Duration> {
    let seconds = fields.int_within(key, least, most)?.ok_or_else(|| fields.wrong(key, "is missing"))?;
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}
