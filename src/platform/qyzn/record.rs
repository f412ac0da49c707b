//! `snapshot_face` (4.6.1): a record as the platform is told it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::Offset;
use serde::Serialize;

use super::connection::request_body;
use super::time::format_civil;
use crate::access::{Origin, PersonKind};
use crate::store::Record;
use crate::text::Language;

/// Data of `snapshot_face`, with the types of the table. The table calls the name `fullName` and the sample
/// `fullname`: both are there.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotFace<'a> {
    person_id: &'a str,
    face_id: &'a str,
    full_name: &'a str,
    #[serde(rename = "fullname")]
    full_name_again: &'a str,
    r#type: u8,
    id_num: &'a str,
    ic_num: &'a str,
    compare_pic: String,
    snap_pic: String,
    score: u8,
    result: u8,
    #[serde(rename = "snaptime")]
    snap_time: String,
    body_temp: f32,
}

/// Body of the request. `snap` and `document` are JPEG. A picture that is not there is an empty text, a
/// temperature that was not measured is 0.
pub fn snapshot_face(
    record: &Record,
    snap: Option<&[u8]>,
    document: Option<&[u8]>,
    language: Language,
) -> Vec<u8> {
    request_body("snapshot_face", snapshot_data(record, snap, document, language))
}

/// The data of it, which HTTP push has as well.
pub fn snapshot_data<'a>(
    record: &'a Record,
    snap: Option<&[u8]>,
    document: Option<&[u8]>,
    language: Language,
) -> SnapshotFace<'a> {
    let facts = &record.facts;
    // Ids are given by the platform; somebody else's people have none there.
    let ours = facts.known_to(Origin::Qyzn);
    let name = if let Some(known) = ours.filter(|known| !known.name.is_empty()) {
        known.name
    } else if facts.name.is_empty() && facts.person_kind == PersonKind::Stranger {
        // Without a personId there must be a name.
        stranger(language)
    } else {
        &facts.name
    };
    let offset = Offset::from_seconds(facts.utc_offset_s).unwrap_or(Offset::UTC);
    let base64 = |picture: Option<&[u8]>| picture.map(|bytes| STANDARD.encode(bytes)).unwrap_or_default();
    SnapshotFace {
        person_id: ours.map_or("", |known| known.id),
        face_id: ours.and_then(|known| known.face_id).unwrap_or_default(),
        full_name: name,
        full_name_again: name,
        r#type: ours.map_or(facts.person_kind, |known| known.person_kind).number(),
        id_num: ours.map_or(facts.id_number.as_deref(), |known| known.id_number).unwrap_or_default(),
        ic_num: ours.map_or(facts.card.as_deref(), |known| known.card).unwrap_or_default(),
        compare_pic: base64(document),
        snap_pic: base64(snap),
        score: facts.score.map_or(0, |score| score.round().clamp(0.0, 100.0) as u8),
        result: facts.result.number(),
        snap_time: format_civil(offset.to_datetime(facts.at)),
        body_temp: facts.body_temp.unwrap_or(0.0),
    }
}

fn stranger(language: Language) -> &'static str {
    match language {
        Language::Chinese => "陌生人",
        Language::English => "Stranger",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::access::{PersonKey, Reason};
    use crate::store::{PictureKind, RecordFacts, RecordId, RecordResult};

    fn record() -> Record {
        Record {
            id: RecordId(7),
            facts: RecordFacts {
                at: "2019-08-02T07:42:48.900Z".parse().unwrap(),
                utc_offset_s: 28_800,
                person: Some(PersonKey::new(Origin::Qyzn, "5907d9b6bede435faf0828177e5bce07")),
                face_id: Some("cf78bfabb138474c8b2b3a0077c9bec1".into()),
                also: Vec::new(),
                name: "韩梅梅".into(),
                person_kind: PersonKind::White,
                id_number: Some("430726199801042312".into()),
                card: Some("123475".into()),
                score: Some(91.6),
                liveness: None,
                result: RecordResult::Granted,
                reason: Reason::Granted,
                opened: true,
                latency_ms: 120,
                body_temp: Some(36.5),
                credentials: vec!["face".into()],
            },
            pictures: vec![PictureKind::Snap],
            undelivered: Vec::new(),
        }
    }

    fn body(record: &Record, snap: Option<&[u8]>) -> Value {
        serde_json::from_slice(&snapshot_face(record, snap, None, Language::Chinese)).unwrap()
    }

    #[test]
    fn the_documents_sample() {
        // 4.6.1; the bytes of its picture's beginning, /9j/2w==.
        let body = body(&record(), Some(&[0xff, 0xd8, 0xff, 0xdb]));
        assert_eq!(
            body,
            json!({"message": "snapshot_face", "data": {
                "personId": "5907d9b6bede435faf0828177e5bce07", "faceId": "cf78bfabb138474c8b2b3a0077c9bec1",
                "fullName": "韩梅梅", "fullname": "韩梅梅", "type": 1, "idNum": "430726199801042312",
                "icNum": "123475", "comparePic": "", "snapPic": "/9j/2w==", "score": 92, "result": 1,
                "snaptime": "2019-08-02 15:42:48", "bodyTemp": 36.5}})
        );
    }

    #[test]
    fn strangers_and_other_peoples_people() {
        let mut record = record();
        record.facts.person = Some(PersonKey::new(Origin::Local, "1"));
        let told = body(&record, None);
        assert_eq!((&told["data"]["personId"], &told["data"]["faceId"]), (&json!(""), &json!("")));
        assert_eq!((&told["data"]["fullName"], &told["data"]["snapPic"]), (&json!("韩梅梅"), &json!("")));
        let facts = &mut record.facts;
        (facts.person, facts.face_id, facts.name) = (None, None, String::new());
        (facts.person_kind, facts.score, facts.body_temp) = (PersonKind::Stranger, None, None);
        (facts.id_number, facts.card, facts.result) = (None, None, RecordResult::NoMatch);
        let told = body(&record, None);
        assert_eq!(
            told["data"],
            json!({"personId": "", "faceId": "", "fullName": "陌生人", "fullname": "陌生人", "type": 4,
                "idNum": "", "icNum": "", "comparePic": "", "snapPic": "", "score": 0, "result": 0,
                "snaptime": "2019-08-02 15:42:48", "bodyTemp": 0.0})
        );
    }
}
