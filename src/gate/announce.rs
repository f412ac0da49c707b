//! What a verdict sounds and looks like: the event, the text on the screen, the spoken sentence.

use serde_json::json;

use super::Inner;
use super::record::Happened;
use crate::access::{CredentialKind, Opens, Reason};
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
    let sentences = gate.settings.load().sentences;
    let spoken = match happened.opens {
        Some(Opens::Gate) if opened => text::welcome(sentences.success, gate.language),
        None if happened.reason == Reason::Stranger => text::turned_away(sentences.fail, gate.language),
        _ => sentence,
    };
    if !happened.superseded {
        tell(gate, &shown, spoken);
    }
    tracing::info!(
        reason = happened.reason.as_str(),
        opened,
        latency_ms = latency,
        record = record.map(|id| id.0),
        "verdict"
    );
}

/// Tells a visitor something, on the screen and by voice.
pub(super) fn tell(gate: &Inner, shown: &str, spoken: &'static str) {
    gate.hardware.panel.show(shown.to_owned());
    if let Some(voice) = &gate.hardware.voice {
        voice.say(spoken, gate.language);
    }
}

/// A document is lost to the gate: whoever laid it down is told what to do.
pub(super) fn document_unread(gate: &Inner) {
    let sentence = text::document_unread(gate.language);
    tell(gate, sentence, sentence);
}

/// The door has opened for somebody about whom there is no verdict of the gate's own.
pub(super) fn let_in(gate: &Inner) {
    let sentences = gate.settings.load().sentences;
    tell(gate, text::reason(Reason::Granted, gate.language), text::welcome(sentences.success, gate.language));
}

/// A credential has been taken: the screen lights, and the gate beeps where its settings say so. `next` is asked for,
/// if the session waits for another one.
pub(super) fn taken(gate: &Inner, taken: Option<CredentialKind>, next: Option<CredentialKind>) {
    gate.hardware.panel.wake();
    let tips = gate.settings.load().tips;
    let beeps = match taken {
        Some(CredentialKind::Card) => tips.card,
        Some(CredentialKind::Document) => tips.document,
        Some(CredentialKind::Face) => tips.face,
        // No setting is about them: their readers beep themselves.
        Some(CredentialKind::Qr) | None => false,
    };
    if let Some(voice) = gate.hardware.voice.as_ref().filter(|_| beeps) {
        voice.beep();
    }
    if let Some(next) = next {
        let prompt = text::prompt(next, gate.language);
        tell(gate, prompt, prompt);
    }
}
