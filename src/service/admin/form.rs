//! People and records as JSON, for the API and for the command line. Identity numbers are masked here and
//! nowhere else, so that none gets out in clear.

use serde_json::{Value, json};

use crate::access::Bound;
use crate::store::{ListedPerson, Record};

/// An identity number as it is shown: its first three and last two characters. One of five or fewer shows
/// nothing.
pub fn mask(number: &str) -> String {
    let length = number.chars().count();
    number
        .chars()
        .enumerate()
        .map(|(at, character)| if length > 5 && (at < 3 || at + 2 >= length) { character } else { '*' })
        .collect()
}

/// A person. `row` is what `?after=` goes on from.
pub fn person(listed: &ListedPerson) -> Value {
    let person = &listed.person;
    json!({
        "row": listed.row,
        "origin": person.key.origin,
        "id": person.key.id,
        "code": person.code,
        "name": person.name,
        "kind": person.kind,
        "id_number": person.id_number.as_deref().map(mask),
        "card": person.card,
        "passes_left": person.passes_left,
        "valid_from": person.valid_from.map(bound),
        "valid_until": person.valid_until.map(bound),
        "schedule": person.schedule,
        "mode": person.mode,
        "faces": listed.faces.iter().map(|(_, id)| id).collect::<Vec<_>>(),
    })
}

/// An end of a validity: `2026-01-31T18:00:00` is the gate's own time, with a `Z` it is UTC.
fn bound(bound: Bound) -> String {
    match bound {
        Bound::Local(local) => local.to_string(),
        Bound::Utc(utc) => utc.to_string(),
    }
}

/// A record.
pub fn record(record: &Record) -> Value {
    let mut value = json!(record);
    if let Some(number) = &record.facts.id_number {
        value["id_number"] = mask(number).into();
    }
    // The same visitor as other platforms know them.
    for (at, also) in record.facts.also.iter().enumerate() {
        if let Some(number) = &also.id_number {
            value["also"][at]["id_number"] = mask(number).into();
        }
    }
    // An address and a birthday are the platform's business, not the technician's.
    if let Some(fields) = value.as_object_mut() {
        fields.remove("document");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::RecordId;

    #[test]
    fn a_record_shows_no_number_whoever_knows_the_visitor() {
        let facts = json!({
            "at": "2026-03-02T04:00:00Z", "utc_offset_s": 28800, "person": {"origin": "qyzn", "id": "1"},
            "face_id": null, "name": "张三", "person_kind": "white", "id_number": "11010519491231002X", "card": "7",
            "score": 90.0, "liveness": null, "result": "granted", "reason": "granted", "opened": true,
            "latency_ms": 1, "body_temp": null, "document": {"address": "北京市东城区"},
            "also": [
                {"person": {"origin": "terminal_ws", "id": "A"}, "face_id": null, "name": "张三",
                 "person_kind": "white", "id_number": "11010519491231002X", "card": null},
                {"person": {"origin": "local", "id": "B"}, "face_id": null, "name": "张三",
                 "person_kind": "white", "id_number": null, "card": null},
            ],
        });
        let facts = serde_json::from_value(facts).unwrap();
        let stored = Record { id: RecordId(7), facts, pictures: Vec::new(), undelivered: Vec::new() };
        let shown = record(&stored);
        assert_eq!(shown["id_number"], "110*************2X");
        assert_eq!(shown["also"][0]["id_number"], "110*************2X");
        assert_eq!(shown["also"][1]["id_number"], Value::Null);
        let text = shown.to_string();
        assert!(!text.contains("11010519491231002X") && !text.contains("东城区"), "{text}");
    }

    #[test]
    fn a_number_keeps_its_ends_only() {
        // The sample number of the Chinese standard GB 11643.
        assert_eq!(mask("11010519491231002X"), "110*************2X");
        assert_eq!(mask("123456"), "123*56");
        assert_eq!(mask("12345"), "*****");
        assert_eq!(mask(""), "");
        assert_eq!(mask("证件号码一二三四"), "证件号***三四");
    }
}
