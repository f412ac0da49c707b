//! What a verdict sounds and looks like: the event, the text on the screen, the spoken sentence.

use serde_json::json;

use super::Inner;
use super::record::Happened;
use crate::access::Opens;
use crate::store::RecordId;
use crate::text::{self, Language};

/// Tells everybody who listens.
pub(super) fn announce(gate: &Inner, happened: &Happened, record: Option<RecordId>, opened: bool) {
    let latency = crate::clock::millis_between(happened.captured.into_std(), std::time::Instant::now());
    let passes = happened.opens.is_some();
    gate.events.send(
        "verdict",
        json!({
            "verdict": if passes { "pass" } else { "refuse" },
            "reason": happened.reason.as_str(),
            "text": {
                "zh-CN": text::reason(happened.reason, Language::Chinese),
                "en": text::reason(happened.reason, Language::English),
            },
            "person": happened.person.as_ref().map(|person| &person.key),
            "also": happened.keys().get(1..).unwrap_or_default(),
            "name": happened.person.as_ref().map(|person| &person.name),
            "credential": happened.credentials(),
            "score": happened.score(),
            "track": happened.track,
            "record": record,
            "opened": opened,
            "latency_ms": latency,
        }),
    );
    let sentence = match happened.opens {
        Some(Opens::Gate) if !opened => text::door_failed(gate.language),
        Some(Opens::Platform) => text::one_moment(gate.language),
        _ => text::reason(happened.reason, gate.language),
    };
    let shown = match &happened.person {
        Some(person) if passes => format!("{} {sentence}", person.name),
        _ => sentence.to_owned(),
    };
    gate.events.send("screen", json!({ "text": shown }));
    gate.events.send("voice", json!({ "text": sentence, "language": gate.language }));
    tracing::info!(
        reason = happened.reason.as_str(),
        opened,
        latency_ms = latency,
        record = record.map(|id| id.0),
        "verdict"
    );
}
