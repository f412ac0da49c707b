//! What is kept of a verdict.

use tokio::time::Instant;

use jiff::Timestamp;
use std::sync::Arc;

use super::Inner;
use super::settings::Settings;
use crate::access::{Credential, FaceMatch, Liveness, Opens, Person, PersonKind, Reason};
use crate::store::{NewRecord, PictureKind, RecordFacts, RecordResult};

/// A verdict and how it came about.
pub(super) struct Happened {
    /// Wall time of the frame or credential that brought the verdict.
    pub(super) at: Timestamp,
    /// The same on the clock that does not jump.
    pub(super) captured: Instant,
    /// All credentials, in their order.
    pub(super) presented: Vec<Credential>,
    /// Who, where it is known.
    pub(super) person: Option<Arc<Person>>,
    /// Why.
    pub(super) reason: Reason,
    /// QYZN 4.6.1 `result`.
    pub(super) result: Option<u8>,
    /// Who opens; `None` for a refusal.
    pub(super) opens: Option<Opens>,
    /// The face's track, where there is a face.
    pub(super) track: Option<u64>,
}

impl Happened {
    /// Score of the face comparison.
    pub(super) fn score(&self) -> Option<f32> {
        self.presented.iter().find_map(|credential| match credential {
            Credential::Face(face) => Some(match face.matched {
                FaceMatch::Person { score, .. }
                | FaceMatch::Ambiguous { score }
                | FaceMatch::Stranger { score } => score,
            }),
            _ => None,
        })
    }

    /// The kinds of credential, in their order.
    pub(super) fn credentials(&self) -> Vec<&'static str> {
        self.presented
            .iter()
            .map(|credential| match credential {
                Credential::Face(_) => "face",
                Credential::Card { .. } => "card",
                Credential::Document(_) => "document",
                Credential::Qr { .. } => "qr",
            })
            .collect()
    }

    fn liveness(&self) -> Option<f32> {
        self.presented.iter().find_map(|credential| match credential {
            Credential::Face(face) => match face.liveness {
                Liveness::Live(score) | Liveness::Attack(score) => Some(score),
                Liveness::NotAsked => None,
            },
            _ => None,
        })
    }
}

/// Whether a verdict with this reason is recorded. Somebody who stands at the gate after passing, or who shows
/// their face where cards are asked for, would fill the record.
pub(super) fn is_kept(reason: Reason) -> bool {
    !matches!(reason, Reason::TooSoon | Reason::WrongCredential)
}

/// Whether a verdict is worth a word at all: strangers only where the gate was told to notice them (QYZN
/// `strangerIdentifyEn`), and not the faces of bystanders where something else than a face is asked for.
pub(super) fn is_announced(reason: Reason, person: Option<&Person>, settings: &Settings) -> bool {
    match reason {
        Reason::Stranger | Reason::Ambiguous => settings.rules.stranger.identify,
        Reason::WrongCredential => person.is_some(),
        _ => true,
    }
}

/// As the QYZN platform counts it (4.6.1 `result`); access knows the number.
fn result(number: Option<u8>) -> RecordResult {
    match number {
        Some(1) => RecordResult::Granted,
        Some(2) => RecordResult::Expired,
        Some(3) => RecordResult::OutOfSchedule,
        _ => RecordResult::NoMatch,
    }
}

/// The record of a verdict.
pub(super) fn compose(
    gate: &Inner,
    settings: &Settings,
    happened: &Happened,
    opened: bool,
    snap: Option<Vec<u8>>,
) -> NewRecord {
    let person = happened.person.as_deref();
    let mut face_id = None;
    let mut document = None;
    let mut card = person.and_then(|person| person.card.clone());
    for credential in &happened.presented {
        match credential {
            Credential::Face(face) => {
                if let FaceMatch::Person { face_id: id, .. } = &face.matched {
                    face_id = Some(id.clone());
                }
            }
            Credential::Card { number, .. } => card = Some(number.clone()),
            Credential::Document(read) => document = Some(read),
            Credential::Qr { .. } => {}
        }
    }
    let name = person
        .map(|person| person.name.clone())
        .or_else(|| document.map(|document| document.name.clone()))
        .unwrap_or_default();
    let facts = RecordFacts {
        at: happened.at,
        utc_offset_s: settings.time.offset().seconds(),
        person: person.map(|person| person.key.clone()),
        face_id,
        name,
        person_kind: person.map_or(PersonKind::Stranger, |person| person.kind),
        id_number: person
            .and_then(|person| person.id_number.clone())
            .or_else(|| document.map(|document| document.number.clone())),
        card,
        score: happened.score(),
        liveness: happened.liveness(),
        result: result(happened.result),
        reason: happened.reason,
        opened,
        latency_ms: crate::clock::millis_between(happened.captured.into_std(), std::time::Instant::now()),
        body_temp: None,
        document: document.and_then(|document| document.printed.clone()),
    };
    NewRecord {
        facts,
        pictures: snap.map(|jpeg| (PictureKind::Snap, jpeg)).into_iter().collect(),
        destinations: gate.destinations.clone(),
        spend: person.filter(|_| opened).map(|person| person.key.clone()),
    }
}
