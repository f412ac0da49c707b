//! `snapshot_face` (4.6.1): a record as the platform is told it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::Offset;
use serde::Serialize;

use super::connection::request_body;
use super::time::format_civil;
use crate::access::{Origin, PersonKey, PersonKind};
use crate::store::Record;
use crate::text::Language;

/// Bytes of `fullName`.
const NAME: usize = 24;
/// Bytes of `idNum`.
const ID_NUMBER: usize = 20;
/// Bytes of `icNum`. The table says 8 and its own sample has 9 digits; 16 hold an eight-byte card number.
const CARD: usize = 16;
/// Bytes of `gender`, `ethnic`, `birthday` and `expiredate`.
const PRINTED: usize = 32;
/// Bytes of `address`.
const ADDRESS: usize = 256;

/// Data of `snapshot_face`, with the types of the table. The table calls the name `fullName` and the sample
/// `fullname`: both are there.
///
/// Names and what is printed on a document are cut to the table's lengths. A number that is too long is left
/// out, because half of it would be somebody else's. Ids go as the platform gave them.
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
    #[serde(flatten)]
    document: Option<Document<'a>>,
    ic_num: &'a str,
    compare_pic: String,
    snap_pic: String,
    score: u8,
    result: u8,
    #[serde(rename = "snaptime")]
    snap_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_temp: Option<f64>,
}

/// What is there of a document: all of it where one was read, empty where it does not say.
#[derive(Serialize)]
struct Document<'a> {
    gender: &'a str,
    ethnic: &'a str,
    birthday: &'a str,
    address: &'a str,
    expiredate: &'a str,
}

/// At most so many bytes of a text, and whole characters.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// A number that fits, or none.
fn fitting(number: Option<&str>, most: usize) -> &str {
    number.filter(|number| number.len() <= most).unwrap_or_default()
}

/// Body of the request. `snap` and `document` are JPEG. A picture that is not there is an empty text; a
/// temperature that was not measured is not there at all.
pub fn snapshot_face(
    record: &Record,
    snap: Option<&[u8]>,
    document: Option<&[u8]>,
    language: Language,
) -> Vec<u8> {
    let mut data = snapshot_data(record, snap, document, language);
    // That somebody passed is this platform's business; the numbers and the documents of another platform's people are not.
    let theirs = |key: &PersonKey| key.origin == Origin::TerminalWs;
    if record.facts.person.as_ref().is_some_and(theirs) && record.facts.known_to(Origin::Qyzn).is_none() {
        (data.id_num, data.ic_num, data.document) = ("", "", None);
        data.compare_pic.clear();
    }
    request_body("snapshot_face", data)
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
    let name = cut(name, NAME);
    let printed = facts.document.as_ref().map(|printed| Document {
        gender: cut(&printed.gender, PRINTED),
        ethnic: cut(&printed.ethnic, PRINTED),
        birthday: cut(&printed.birthday, PRINTED),
        address: cut(&printed.address, ADDRESS),
        expiredate: cut(&printed.expires, PRINTED),
    });
    let base64 = |picture: Option<&[u8]>| picture.map(|bytes| STANDARD.encode(bytes)).unwrap_or_default();
    SnapshotFace {
        person_id: ours.map_or("", |known| known.id),
        face_id: ours.and_then(|known| known.face_id).unwrap_or_default(),
        full_name: name,
        full_name_again: name,
        r#type: ours.map_or(facts.person_kind, |known| known.person_kind).number(),
        id_num: fitting(ours.map_or(facts.id_number.as_deref(), |known| known.id_number), ID_NUMBER),
        document: printed,
        ic_num: fitting(ours.map_or(facts.card.as_deref(), |known| known.card), CARD),
        compare_pic: base64(document),
        snap_pic: base64(snap),
        score: facts.score.map_or(0, |score| score.round().clamp(0.0, 100.0) as u8),
        result: facts.result.number(),
        snap_time: format_civil(offset.to_datetime(facts.at)),
        // As a sensor tells it, in tenths.
        body_temp: facts.body_temp.map(|degrees| (f64::from(degrees) * 10.0).round() / 10.0),
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
    use crate::access::{PrintedFacts, Reason};
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
                credentials: vec!["face".into()],
                body_temp: Some(36.7),
                document: None,
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
                "snaptime": "2019-08-02 15:42:48", "bodyTemp": 36.7}})
        );
    }

    #[test]
    fn strangers_and_other_peoples_people() {
        let mut record = record();
        record.facts.person = Some(PersonKey::new(Origin::TerminalWs, "1"));
        let told = body(&record, None);
        let number = |key: &str| told["data"][key].as_str().unwrap().to_owned();
        assert_eq!(["personId", "idNum", "icNum", "fullName"].map(number), ["", "", "", "韩梅梅"]);
        // Nor is anything told of their document, its photo included.
        record.facts.document =
            Some(PrintedFacts { address: "北京市东城区".into(), ..PrintedFacts::default() });
        let told = snapshot_face(&record, None, Some(&[0xff, 0xd8, 0xff, 0xdb]), Language::Chinese);
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["data"]["comparePic"], "");
        for field in ["gender", "ethnic", "birthday", "address", "expiredate"] {
            assert!(told["data"].get(field).is_none(), "{field}");
        }
        record.facts.document = None;
        // The same person has an id here as well: then the words of this platform count.
        record.facts.also = vec![crate::store::AlsoKnown {
            person: PersonKey::new(Origin::Qyzn, "100001"),
            face_id: Some("3000004".into()),
            name: "张三".into(),
            person_kind: PersonKind::Visitor,
            id_number: None,
            card: Some("157342643".into()),
        }];
        let told = body(&record, None);
        let word = |key: &str| told["data"][key].as_str().unwrap().to_owned();
        assert_eq!(
            ["personId", "faceId", "fullName", "idNum", "icNum"].map(word),
            ["100001", "3000004", "张三", "", "157342643"]
        );
        assert_eq!(told["data"]["type"], 3);
        record.facts.also.clear();
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
                "snaptime": "2019-08-02 15:42:48"})
        );
    }

    #[test]
    fn what_a_document_says_and_shows() {
        let mut record = record();
        record.facts.document = Some(PrintedFacts {
            gender: "女".into(),
            ethnic: "汉".into(),
            birthday: "1998-01-04".into(),
            // 86 characters of three bytes: 258.
            address: "北".repeat(86),
            expires: "长期".into(),
        });
        let bytes = snapshot_face(&record, None, Some(&[0xff, 0xd8, 0xff, 0xdb]), Language::Chinese);
        let told: Value = serde_json::from_slice(&bytes).unwrap();
        let data = &told["data"];
        assert_eq!(
            (&data["gender"], &data["ethnic"], &data["birthday"], &data["expiredate"]),
            (&json!("女"), &json!("汉"), &json!("1998-01-04"), &json!("长期"))
        );
        assert_eq!(data["address"], "北".repeat(85));
        assert_eq!(data["comparePic"], "/9j/2w==");
        record.facts.document = Some(PrintedFacts::default());
        assert_eq!(body(&record, None)["data"]["address"], "", "read, and without one");
    }

    #[test]
    fn texts_fit_the_table_and_numbers_are_whole_or_left_out() {
        let mut record = record();
        record.facts.name = "阿卜杜热合曼·艾".into();
        assert_eq!(record.facts.name.len(), 23);
        assert_eq!(body(&record, None)["data"]["fullName"], "阿卜杜热合曼·艾");
        record.facts.name.push('山');
        assert_eq!(body(&record, None)["data"]["fullName"], "阿卜杜热合曼·艾");
        assert_eq!(body(&record, None)["data"]["fullname"], "阿卜杜热合曼·艾");
        record.facts.id_number = Some("1".repeat(20));
        record.facts.card = Some("A".repeat(16));
        assert_eq!(body(&record, None)["data"]["idNum"], "1".repeat(20));
        assert_eq!(body(&record, None)["data"]["icNum"], "A".repeat(16));
        record.facts.id_number = Some("1".repeat(21));
        record.facts.card = Some("A".repeat(17));
        assert_eq!(
            (&body(&record, None)["data"]["idNum"], &body(&record, None)["data"]["icNum"]),
            (&json!(""), &json!(""))
        );
    }

    #[test]
    fn all_four_results() {
        let mut record = record();
        for (result, number) in [
            (RecordResult::NoMatch, 0),
            (RecordResult::Granted, 1),
            (RecordResult::Expired, 2),
            (RecordResult::OutOfSchedule, 3),
        ] {
            record.facts.result = result;
            assert_eq!(body(&record, None)["data"]["result"], number);
        }
    }

    #[test]
    fn records_of_before_open_and_a_log_learns_nothing_of_a_document() {
        let mut facts = record().facts;
        let old = serde_json::to_string(&facts).unwrap();
        assert!(!old.contains("document"));
        assert_eq!(serde_json::from_str::<RecordFacts>(&old).unwrap(), facts);
        let printed = PrintedFacts { address: "北京市东城区".into(), ..PrintedFacts::default() };
        assert_eq!(format!("{printed:?}"), "PrintedFacts { .. }");
        facts.document = Some(printed);
        let new = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<RecordFacts>(&new).unwrap(), facts);
    }
}
