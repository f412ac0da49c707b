//! What is kept of a verdict.

use tokio::time::Instant;

use jiff::Timestamp;
use std::sync::Arc;

use super::Inner;
use super::identify::same_on_paper;
use super::settings::Settings;
use crate::access::{
    Credential, DocumentCredential, FaceMatch, Known, Liveness, Opens, Person, PersonKey, PersonKind, Reason,
};
use crate::store::{AlsoKnown, Destination, NewRecord, PictureKind, RecordFacts, RecordResult};

/// A verdict and how it came about.
pub(super) struct Happened {
    /// Wall time of the frame or credential that brought the verdict.
    pub(super) at: Timestamp,
    /// The same on the clock that does not jump.
    pub(super) captured: Instant,
    /// All credentials, in their order.
    pub(super) presented: Vec<Credential>,
    /// The photo of the document among them, as JPEG.
    pub(super) photo: Option<Arc<[u8]>>,
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
    /// The visitor by each of their names, as [`names`] tells them; empty where it is not known who it is.
    pub(super) names: Vec<Name>,
    /// Something else lies on the reader now: whoever stands there is spoken to about that.
    pub(super) superseded: bool,
}

/// Somebody, and which of their faces matched.
pub(super) type Name = (Arc<Person>, Option<String>);

/// The visitor by each of their names: whom the verdict is about first, then the same as other platforms know them;
/// with the face that matched, where it was a face that named them.
pub(super) fn names(person: &Arc<Person>, presented: &[Credential]) -> Vec<Name> {
    let mut names: Vec<Name> = Vec::new();
    for credential in presented {
        if let Credential::Face(face) = credential
            && let FaceMatch::Person { person: named, face_id, also, .. } = &face.matched
        {
            let all = also.iter().map(|Known { person, face_id }| (person, face_id));
            names.extend(
                std::iter::once((named, face_id))
                    .chain(all)
                    .map(|(one, face)| (one.clone(), Some(face.clone()))),
            );
        }
    }
    // Two platforms may have given one card to two people.
    let on_paper = presented.iter().flat_map(Credential::people);
    for other in on_paper.filter(|other| same_on_paper(person, other)) {
        names.push((Arc::clone(other), None));
    }
    if !names.iter().any(|(name, _)| name.key == person.key) {
        names.push((Arc::clone(person), None));
    }
    names.sort_by_key(|(name, _)| name.key != person.key);
    let mut seen: Vec<PersonKey> = Vec::new();
    names.retain(|(name, _)| {
        let new = !seen.contains(&name.key);
        seen.push(name.key.clone());
        new
    });
    names
}

impl Happened {
    /// Everybody whom the verdict is about: one visitor by each of their names.
    pub(super) fn keys(&self) -> Vec<PersonKey> {
        self.names.iter().map(|(name, _)| name.key.clone()).collect()
    }

    /// Score of the face comparison: with the photo of the document where there is one, else with the gallery.
    pub(super) fn score(&self) -> Option<f32> {
        let holder = self.presented.iter().rev().find_map(|credential| match credential {
            Credential::Document(document) => document.holder.map(|holder| holder.score),
            _ => None,
        });
        holder.or_else(|| self.gallery_score())
    }

    fn gallery_score(&self) -> Option<f32> {
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

    /// The QR code that the platform must weigh.
    pub(super) fn qr_code(&self) -> Option<&str> {
        self.presented.iter().rev().find_map(|credential| match credential {
            Credential::Qr { content } if self.reason == Reason::PlatformDecides => Some(content.as_str()),
            _ => None,
        })
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

/// Who is told of a record that is made now: the platforms of the configuration, and HTTP push while the settings
/// have it. A QR code that the platform weighs is told to it by `qrcode_data`, with its content and its answer; as
/// `snapshot_face` it would be an unknown visitor, and a second answer would move the door again.
fn destinations(gate: &Inner, settings: &Settings, reason: Reason) -> Vec<Destination> {
    let push = settings.push.enabled.then_some(Destination::HttpPush);
    let told_already =
        |destination: &Destination| *destination == Destination::Qyzn && reason == Reason::PlatformDecides;
    let configured = gate.destinations.iter().copied().filter(|destination| !told_already(destination));
    configured.chain(push).collect()
}

/// The number of the document that was read. It comes before the one that a platform has for the person, as the number of
/// a card does: it belongs to the address and the last day beside it.
fn document_number(document: Option<&DocumentCredential>) -> Option<String> {
    document.map(|document| document.number.clone())
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
    let mut names = happened.names.iter();
    let face_id = names.next().and_then(|(_, face_id)| face_id.clone());
    let mut document = None;
    let mut presented_card = None;
    for credential in &happened.presented {
        match credential {
            Credential::Card { number, .. } => presented_card = Some(number.clone()),
            Credential::Document(read) => document = Some(read),
            Credential::Face(_) | Credential::Qr { .. } => {}
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
        also: names
            .map(|(person, face_id)| AlsoKnown {
                person: person.key.clone(),
                face_id: face_id.clone(),
                name: person.name.clone(),
                person_kind: person.kind,
                id_number: document_number(document).or_else(|| person.id_number.clone()),
                card: presented_card.clone().or_else(|| person.card.clone()),
            })
            .collect(),
        name,
        person_kind: person.map_or(PersonKind::Stranger, |person| person.kind),
        id_number: document_number(document).or_else(|| person.and_then(|person| person.id_number.clone())),
        card: presented_card.or_else(|| person.and_then(|person| person.card.clone())),
        score: happened.score(),
        liveness: happened.liveness(),
        result: result(happened.result),
        reason: happened.reason,
        opened,
        latency_ms: crate::clock::millis_between(happened.captured.into_std(), std::time::Instant::now()),
        body_temp: None,
        credentials: happened.credentials().into_iter().map(str::to_owned).collect(),
        document: document.and_then(|document| document.printed.clone()),
    };
    NewRecord {
        facts,
        pictures: [
            snap.map(|jpeg| (PictureKind::Snap, jpeg)),
            happened.photo.as_ref().map(|jpeg| (PictureKind::Document, jpeg.to_vec())),
        ]
        .into_iter()
        .flatten()
        .collect(),
        destinations: destinations(gate, settings, happened.reason),
        spend: person.is_some() && opened,
    }
}
