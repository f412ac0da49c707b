//! The bodies of the requests.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::platform::qyzn::record::{SnapshotFace, snapshot_data};
use crate::store::Record;
use crate::text::Language;

/// A request's body. The shape is that of QYZN, so that one reader serves both.
#[derive(Serialize)]
struct Message<'a, D> {
    message: &'a str,
    data: D,
}

/// Data of a record: `snapshot_face` (4.6.1) and what the gate knows besides.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PushedRecord<'a> {
    record_id: String,
    record_number: i64,
    serial: &'a str,
    opened: bool,
    reason: &'a str,
    credential: &'a [String],
    /// The id under each platform that knows the person.
    persons: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    face: SnapshotFace<'a>,
}

/// Data of a heartbeat.
#[derive(Debug, Serialize)]
pub struct Heartbeat<'a> {
    /// The gate's serial number.
    pub serial: &'a str,
    /// Its type.
    pub model: &'a str,
    /// Version of the software.
    pub version: &'a str,
    /// Local time of the gate, `yyyy-MM-dd HH:mm:ss`.
    pub time: String,
    /// Records that wait to be pushed.
    pub waiting: u64,
}

/// The name of a record that no other record of any gate has: the serial number, what tells this store from one
/// that the gate had before, and the record's number.
pub fn record_id(serial: &str, store: &str, record: &Record) -> String {
    format!("{serial}-{store}-{}", record.id.0)
}

/// Body for a record. `snap` and `document` are JPEG.
pub fn record(
    record: &Record,
    serial: &str,
    store: &str,
    snap: Option<&[u8]>,
    document: Option<&[u8]>,
    language: Language,
) -> Vec<u8> {
    let facts = &record.facts;
    let data = PushedRecord {
        record_id: record_id(serial, store, record),
        record_number: record.id.0,
        serial,
        opened: facts.opened,
        reason: facts.reason.as_str(),
        credential: &facts.credentials,
        persons: facts.people().map(|key| (key.origin.as_str(), key.id.as_str())).collect(),
        face: snapshot_data(record, snap, document, language),
    };
    body("snapshot_face", data)
}

/// Body of a heartbeat.
pub fn heartbeat(heartbeat: &Heartbeat<'_>) -> Vec<u8> {
    body("heartbeat", heartbeat)
}

fn body(message: &str, data: impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&Message { message, data }).expect("requests have text keys only")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::access::{Origin, PersonKey, PersonKind, Reason};
    use crate::store::{AlsoKnown, RecordFacts, RecordId, RecordResult};

    #[test]
    fn a_record_has_the_names_of_snapshot_face_and_more() {
        let stored = Record {
            id: RecordId(7),
            facts: RecordFacts {
                at: "2019-08-02T07:42:48.900Z".parse().unwrap(),
                utc_offset_s: 28_800,
                person: Some(PersonKey::new(Origin::TerminalWs, "17")),
                face_id: Some("0".into()),
                also: vec![AlsoKnown {
                    person: PersonKey::new(Origin::Qyzn, "100001"),
                    face_id: Some("f".into()),
                    name: "韩梅梅".into(),
                    person_kind: PersonKind::White,
                    id_number: None,
                    card: Some("123475".into()),
                }],
                name: "韩梅梅".into(),
                person_kind: PersonKind::White,
                id_number: None,
                card: None,
                score: Some(91.6),
                liveness: None,
                result: RecordResult::Granted,
                reason: Reason::Granted,
                opened: true,
                latency_ms: 120,
                body_temp: None,
                document: None,
                credentials: vec!["face".into(), "card".into()],
            },
            pictures: Vec::new(),
            undelivered: Vec::new(),
        };
        let snap = [0xff, 0xd8, 0xff, 0xdb];
        let body = record(&stored, "FEDCBA9876543210", "0badcafe", Some(&snap), None, Language::Chinese);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["message"], "snapshot_face");
        let data = &body["data"];
        let wanted = [
            ("recordId", json!("FEDCBA9876543210-0badcafe-7")),
            ("recordNumber", json!(7)),
            ("serial", json!("FEDCBA9876543210")),
            ("opened", json!(true)),
            ("reason", json!("granted")),
            ("credential", json!(["face", "card"])),
            ("persons", json!({"terminal_ws": "17", "qyzn": "100001"})),
            ("personId", json!("100001")),
            ("faceId", json!("f")),
            ("fullName", json!("韩梅梅")),
            ("type", json!(1)),
            ("icNum", json!("123475")),
            ("snapPic", json!("/9j/2w==")),
            ("comparePic", json!("")),
            ("score", json!(92)),
            ("result", json!(1)),
            ("snaptime", json!("2019-08-02 15:42:48")),
        ];
        for (key, value) in wanted {
            assert_eq!(data[key], value, "{key}");
        }
    }
}
