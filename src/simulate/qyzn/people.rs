//! What the simulated platform makes of the messages about a terminal's people and cards: strict checks of their
//! tables, and the answer with the ids that people are given.

use serde_json::{Map, Value, json};

use super::wire::{self, Type};

/// The table of 4.3.7; `passMode` and `extPassRule` as in 4.3.8, for people whom the simple rules cannot describe.
const PERSON: [(&str, Type, bool); 20] = [
    ("personId", Type::Text(32), true),
    ("personCode", Type::Text(16), true),
    ("name", Type::Text(24), true),
    ("type", Type::Int(1, 4), true),
    ("idNum", Type::Text(20), false),
    // The table says 8; its own sample has nine digits.
    ("icNum", Type::Text(16), false),
    ("passNum", Type::Int(0, u32::MAX as i64), false),
    ("passPeriod", Type::Periods, false),
    ("passMonday", Type::Bool, false),
    ("passTuesday", Type::Bool, false),
    ("passWednesday", Type::Bool, false),
    ("passThursday", Type::Bool, false),
    ("passFriday", Type::Bool, false),
    ("passSaturday", Type::Bool, false),
    ("passSunday", Type::Bool, false),
    ("startTime", Type::Civil, false),
    ("expireTime", Type::Civil, false),
    ("passMode", Type::Int(0, 255), false),
    ("faces", Type::Any, true),
    ("extPassRule", Type::Any, false),
];

/// Pictures of a person.
const FACES: usize = 3;

/// What is wrong with the data of `device_sync_person`.
pub(super) fn check(data: &Value) -> Vec<String> {
    let mut wrong: Vec<String> = PERSON
        .iter()
        .filter_map(|&(name, kind, required)| wire::field(data, name, kind, required).err())
        .collect();
    for key in ["personId", "personCode", "name"] {
        if data.get(key).and_then(Value::as_str).is_some_and(str::is_empty) {
            wrong.push(format!("{key} is empty"));
        }
    }
    let known = |key: &str| PERSON.iter().any(|(name, ..)| *name == key);
    for key in data.as_object().into_iter().flat_map(Map::keys).filter(|key| !known(key)) {
        wrong.push(format!("the table has no {key}"));
    }
    if data.get("extPassRule").is_some_and(|rule| !rule.get("weekly").is_some_and(Value::is_object)) {
        wrong.push("extPassRule has no weekly".into());
    }
    match data.get("faces").and_then(Value::as_array) {
        None => wrong.push("faces is no array".into()),
        Some(faces) if faces.len() > FACES => {
            wrong.push(format!("faces has {} pictures instead of {FACES} at most", faces.len()));
        }
        Some(faces) => {
            for face in faces {
                for (name, kind) in [("faceId", Type::Text(32)), ("image", Type::Picture)] {
                    wrong.extend(wire::field(face, name, kind, true).err());
                }
                if face.get("faceId") == Some(&json!("")) {
                    wrong.push("faceId is empty".into());
                }
            }
        }
    }
    wrong
}

/// The same data for the journal: pictures by length and MD5.
pub(super) fn without_pictures(data: &Value) -> Value {
    let mut data = data.clone();
    for face in data.get_mut("faces").and_then(Value::as_array_mut).into_iter().flatten() {
        let picture = face.get("image").and_then(Value::as_str).and_then(wire::picture).unwrap_or_default();
        if let Some(face) = face.as_object_mut() {
            face.remove("image");
            face.insert("bytes".into(), json!(picture.len()));
            face.insert("md5".into(), json!(format!("{:x}", md5::compute(&picture))));
        }
    }
    data
}

/// The answer to a person. Without an order everybody keeps their ids. `newPersonId` and `newFaceId` of the order are
/// their new ones, with `{personId}` and `{faceId}` in them standing for the old; an order with `faces` or
/// `oriPersonId` is sent as it is.
pub(super) fn answer(data: &Value, told: &Value) -> Value {
    if told.get("faces").is_some() || told.get("oriPersonId").is_some() {
        return told.clone();
    }
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let old = text(data, "personId");
    let rename = |key: &str, place: &str, old: &str| match told.get(key).and_then(Value::as_str) {
        Some(new) => new.replace(place, old),
        None => old.to_owned(),
    };
    let faces: Vec<Value> = data
        .get("faces")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|face| {
            let old = text(face, "faceId");
            json!({ "oriFaceId": old, "newFaceId": rename("newFaceId", "{faceId}", &old) })
        })
        .collect();
    json!({ "oriPersonId": old, "newPersonId": rename("newPersonId", "{personId}", &old), "faces": faces })
}

/// What is wrong with the data of a terminal's answer about people, pictures and cards.
pub(super) fn check_answer(message: &str, data: &Value) -> Vec<String> {
    let table: &[(&str, Type, bool)] = match message {
        "sync_person" => &[("person_num", Type::Int(0, i64::MAX), true)],
        "snapshot_picture" => &[("image", Type::Jpeg, true)],
        "swiping_card" => &[
            ("cardType", Type::Int(0, 3), true),
            ("name", Type::Text(usize::MAX), false),
            ("idNum", Type::Text(usize::MAX), true),
            ("ethnic", Type::Text(usize::MAX), false),
            ("gender", Type::Text(usize::MAX), false),
            ("birthday", Type::Text(8), false),
            ("address", Type::Text(usize::MAX), false),
            ("idIssuingOrgan", Type::Text(usize::MAX), false),
            ("idUsefulLife", Type::Text(17), false),
        ],
        _ => &[],
    };
    let mut wrong: Vec<String> = table
        .iter()
        .filter_map(|&(name, kind, required)| wire::field(data, name, kind, required).err())
        .collect();
    if message == "snapshot_picture" && data.get("image") == Some(&json!("")) {
        wrong.push("image is empty".into());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Value {
        json!({"personId": "1", "personCode": "1", "name": "张三", "type": 1, "passPeriod": "08:00~09:30",
            "startTime": "2019-01-01 00:00:00", "passMonday": true,
            "faces": [{"faceId": "f", "image": "/9j/2w=="}]})
    }

    #[test]
    fn what_the_table_does_not_have_is_noticed() {
        assert_eq!(check(&person()), [""; 0]);
        for (key, value) in [
            ("personId", json!("")),
            ("personId", json!(1)),
            ("personCode", json!("12345678901234567")),
            ("name", Value::Null),
            ("type", json!("1")),
            ("passNum", json!("10")),
            ("passPeriod", json!("8:00-9:30")),
            ("passMonday", json!(1)),
            ("startTime", json!("2019-01-01")),
            ("faces", json!({})),
            ("faces", json!([{"faceId": "f", "image": "no picture"}])),
            ("faces", json!([{"image": "/9j/2w=="}])),
            ("faces", json!(vec![person()["faces"][0].clone(); 4])),
            ("extPassRule", json!({})),
            ("validity", json!(1)),
        ] {
            let mut data = person();
            data[key] = value.clone();
            assert_eq!(check(&data).len(), 1, "{key} {value}: {:?}", check(&data));
        }
    }

    #[test]
    fn ids_stay_or_are_given_anew() {
        let same =
            json!({"oriPersonId": "1", "newPersonId": "1", "faces": [{"oriFaceId": "f", "newFaceId": "f"}]});
        assert_eq!(answer(&person(), &Value::Null), same);
        let new = json!({"newPersonId": "n-{personId}", "newFaceId": "n-{faceId}"});
        assert_eq!(
            answer(&person(), &new),
            json!({"oriPersonId": "1", "newPersonId": "n-1", "faces": [{"oriFaceId": "f", "newFaceId": "n-f"}]})
        );
        let whole = json!({"oriPersonId": "2"});
        assert_eq!(answer(&person(), &whole), whole);
    }

    #[test]
    fn answers_have_what_their_tables_have() {
        assert_eq!(check_answer("swiping_card", &json!({"cardType": 3, "idNum": "157342643"})), [""; 0]);
        assert_eq!(check_answer("swiping_card", &json!({"cardType": 4})).len(), 2);
        assert_eq!(check_answer("sync_person", &json!({"person_num": "1"})).len(), 1);
        assert_eq!(check_answer("snapshot_picture", &json!({"image": ""})).len(), 1);
        assert_eq!(check_answer("open_door", &json!({})).len(), 0);
    }
}
