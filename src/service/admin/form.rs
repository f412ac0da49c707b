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
    // An address and a birthday are the platform's business, not the technician's.
    if let Some(fields) = value.as_object_mut() {
        fields.remove("document");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

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
