//! People and their faces (4.3, 4.4).
//!
//! The lengths of the document's tables are not exact (its own sample of an eight-byte card number has nine,
//! and three bytes a character leave eight for a name); what is refused is what no platform means.

use serde_json::Value;

use super::code::{self, Answer};
use super::json::Fields;
use super::link::Work;
use super::time::bound;
use crate::access::{
    ExtendedSchedule, Origin, PassMode, Periods, Person, PersonKey, PersonKind, Schedule, SimpleSchedule,
};
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, NewPicture, PeopleChange, PersonPatch};
use crate::store::FACES_PER_PERSON;

/// Most bytes of an id or a number; the document has 8 to 32.
pub(super) const LONGEST_ID: usize = 64;
/// Most bytes of a name; the document has 24.
const LONGEST_NAME: usize = 256;
/// Most bytes of `passPeriod`; the document has 36, and ten periods in its newer rules.
const LONGEST_PERIODS: usize = 1024;
/// Most people in one `delete_person`; the document has one.
const MOST_DELETED: usize = 256;
/// The days, Monday first.
pub(super) const DAYS: [&str; 7] = [
    "passMonday",
    "passTuesday",
    "passWednesday",
    "passThursday",
    "passFriday",
    "passSaturday",
    "passSunday",
];

/// Orders what `message` asks for, and answers when it is on disk and in the gallery.
pub fn carry_out(gate: &Gate, message: &str, data: &Value) -> Work<Answer> {
    let missing =
        if message == "delete_face" && by_face_id(data) { code::NO_OBJECT } else { code::NO_PERSON };
    let otherwise = match message {
        "add_person" | "add_person_face" => code::NOT_ADDED,
        _ => code::FAILED,
    };
    let change = match read(message, data) {
        Ok(change) => gate.change_people(change),
        Err(error) => {
            let answer = Answer::of_error(&error, missing, otherwise);
            return Box::pin(async { answer });
        }
    };
    Box::pin(async move {
        match change.await {
            Ok(()) => Answer::success(),
            Err(error) => Answer::of_error(&error, missing, otherwise),
        }
    })
}

/// Reads the data of a message about people. `Input` names the key that is wrong.
pub fn read(message: &str, data: &Value) -> Result<PeopleChange> {
    let fields = Fields::of(data);
    Ok(match message {
        "add_person" => PeopleChange::Add(person(&fields)?),
        "update_person" => PeopleChange::Update(key(&fields)?, patch(&fields)?),
        "delete_person" => PeopleChange::Delete(deletions(&fields)?),
        "clear_person" => PeopleChange::Clear(Origin::Qyzn),
        "add_person_face" => {
            let person = person(&fields)?;
            let pictures = pictures(&fields, &person.key)?;
            PeopleChange::Put(person, pictures)
        }
        "add_face" => {
            let key = key(&fields)?;
            let picture =
                NewPicture { face_id: fields.required_text("faceId", LONGEST_ID)?, bytes: image(&fields)? };
            PeopleChange::AddFace(key, picture)
        }
        "delete_face" if by_face_id(data) => {
            PeopleChange::DeleteFace(Origin::Qyzn, fields.required_text("faceId", LONGEST_ID)?)
        }
        "delete_face" if fields.get("personId").is_none() => {
            return Err(fields.wrong("faceId", "is missing, and so is personId"));
        }
        "delete_face" => PeopleChange::DeleteFaces(key(&fields)?),
        other => return Err(Error::new(Kind::Input, format!("{other} is no message about people"))),
    })
}

/// Whether `delete_face` names a face. If it names a person as well, all faces of the person are meant (4.4.2).
fn by_face_id(data: &Value) -> bool {
    let fields = Fields::of(data);
    // What is there but is no text counts as given: it is refused later, by its name.
    let given = |key: &str| match fields.text(key, usize::MAX) {
        Ok(text) => text.is_some_and(|text| !text.is_empty()),
        Err(_) => true,
    };
    given("faceId") && !given("personId")
}

fn key(fields: &Fields<'_>) -> Result<PersonKey> {
    Ok(PersonKey::new(Origin::Qyzn, fields.required_text("personId", LONGEST_ID)?))
}

/// Everything a new person needs.
fn person(fields: &Fields<'_>) -> Result<Person> {
    let key = key(fields)?;
    let code = fields.required_text("personCode", LONGEST_ID)?;
    let name = fields.required_text("name", LONGEST_NAME)?;
    let kind = kind(fields)?.ok_or_else(|| fields.wrong("type", "is missing"))?;
    let patch = patch(fields)?;
    let mut days = [true; 7];
    for (day, given) in days.iter_mut().zip(patch.days) {
        *day = given.unwrap_or(true);
    }
    Ok(Person {
        key,
        code,
        name,
        kind,
        id_number: patch.id_number.flatten(),
        card: patch.card.flatten(),
        passes_left: patch.passes_left.flatten(),
        valid_from: patch.valid_from.flatten(),
        valid_until: patch.valid_until.flatten(),
        schedule: Schedule {
            simple: SimpleSchedule { days, periods: patch.periods.flatten() },
            extended: patch.extended.flatten(),
        },
        mode: patch.mode.flatten(),
    })
}

fn kind(fields: &Fields<'_>) -> Result<Option<PersonKind>> {
    let number = fields.int_within("type", 1, 4)?;
    Ok(number.and_then(PersonKind::from_number))
}

/// The facts that are given. An empty text removes one that may be absent.
fn patch(fields: &Fields<'_>) -> Result<PersonPatch> {
    let required = |key: &str, most: usize| -> Result<Option<String>> {
        fields.get(key).map(|_| fields.required_text(key, most)).transpose()
    };
    let optional = |key: &str| -> Result<Option<Option<String>>> {
        Ok(fields.text(key, LONGEST_ID)?.map(|text| Some(text).filter(|text| !text.is_empty())))
    };
    let mut days = [None; 7];
    for (day, key) in days.iter_mut().zip(DAYS) {
        *day = fields.flag(key)?;
    }
    let passes = fields.int_within("passNum", 0, i64::from(u32::MAX))?;
    let periods = match fields.text("passPeriod", LONGEST_PERIODS)? {
        None => None,
        Some(text) => {
            Some(Periods::parse(&text).map_err(|error| fields.wrong("passPeriod", error.message()))?)
        }
    };
    let extended = match fields.get("extPassRule") {
        None => None,
        Some(rule) => Some(
            ExtendedSchedule::from_qyzn(rule)
                .map_err(|error| fields.wrong("extPassRule", error.message()))?,
        ),
    };
    let mode =
        match fields.int("passMode")? {
            None => None,
            Some(number) => Some(PassMode::own_from_number(number).ok_or_else(|| {
                fields.wrong("passMode", format_args!("must be 0 to 6 or 255, not {number}"))
            })?),
        };
    Ok(PersonPatch {
        code: required("personCode", LONGEST_ID)?,
        name: required("name", LONGEST_NAME)?,
        kind: kind(fields)?,
        id_number: optional("idNum")?,
        card: optional("icNum")?,
        passes_left: passes.and_then(|number| u32::try_from(number).ok()).map(Some),
        valid_from: bound(fields, "startTime")?,
        valid_until: bound(fields, "expireTime")?,
        days,
        periods,
        extended,
        mode,
    })
}

/// Whom `delete_person` names.
fn deletions(fields: &Fields<'_>) -> Result<Vec<PersonKey>> {
    let Some(ids) = fields.list("idSet") else {
        // Some send the id of the one person as everywhere else.
        return match fields.get("personId") {
            Some(_) => Ok(vec![key(fields)?]),
            None => Err(fields.wrong("idSet", "is missing")),
        };
    };
    if ids.is_empty() || ids.len() > MOST_DELETED {
        return Err(
            fields.wrong("idSet", format_args!("must name 1 to {MOST_DELETED} people, not {}", ids.len()))
        );
    }
    ids.iter()
        .map(|id| {
            let id = match id {
                Value::String(id) => id.trim().to_owned(),
                Value::Number(id) => id.to_string(),
                _ => return Err(fields.wrong("idSet", "must hold texts")),
            };
            if id.is_empty() || id.len() > LONGEST_ID {
                return Err(fields.wrong("idSet", format_args!("must hold ids of 1 to {LONGEST_ID} bytes")));
            }
            Ok(PersonKey::new(Origin::Qyzn, id))
        })
        .collect()
}

/// `faces` of `add_person_face`. One without an id gets one that is made of the person's.
fn pictures(fields: &Fields<'_>, person: &PersonKey) -> Result<Vec<NewPicture>> {
    let faces = fields.list("faces").ok_or_else(|| fields.wrong("faces", "is missing"))?;
    if faces.len() > FACES_PER_PERSON {
        return Err(
            fields.wrong("faces", format_args!("must be at most {FACES_PER_PERSON}, not {}", faces.len()))
        );
    }
    let mut pictures: Vec<NewPicture> = Vec::with_capacity(faces.len());
    for (index, face) in faces.iter().enumerate() {
        let place = format!("faces[{index}].");
        let face = Fields::at(face, &place);
        let face_id = match face.text("faceId", LONGEST_ID)? {
            Some(id) if !id.is_empty() => id,
            _ => {
                let room = LONGEST_ID - 2;
                let end = (0..=person.id.len().min(room)).rev().find(|&at| person.id.is_char_boundary(at));
                format!("{}-{index}", &person.id[..end.unwrap_or(0)])
            }
        };
        if pictures.iter().any(|other| other.face_id == face_id) {
            return Err(face.wrong("faceId", "is there twice"));
        }
        pictures.push(NewPicture { face_id, bytes: image(&face)? });
    }
    Ok(pictures)
}

fn image(fields: &Fields<'_>) -> Result<Vec<u8>> {
    match fields.base64("image")? {
        Some(bytes) if !bytes.is_empty() => Ok(bytes),
        Some(_) => Err(fields.wrong("image", "must not be empty")),
        None => Err(fields.wrong("image", "is missing")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::civil::datetime;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::access::{Bound, Period};

    /// The data of the sample in 4.3.1.
    pub(in super::super) fn sample() -> Value {
        json!({"personId": "100001", "personCode": "100001", "name": "张三", "type": 1,
            "idNum": "420381200010013857", "icNum": "157342643", "passNum": 10,
            "passPeriod": "08:00~09:30,11:30~14:00,17:00~19:00", "passMonday": true, "passTuesday": true,
            "passWednesday": true, "passThursday": true, "passFriday": true, "passSaturday": false,
            "passSunday": false, "startTime": "2019-01-01 00:00:00", "expireTime": "2020-01-01 00:00:00"})
    }

    #[test]
    fn the_sample_of_add_person() {
        let PeopleChange::Add(person) = read("add_person", &sample()).unwrap() else { panic!() };
        assert_eq!(person.key, PersonKey::new(Origin::Qyzn, "100001"));
        assert_eq!(
            (person.name.as_str(), person.code.as_str(), person.kind),
            ("张三", "100001", PersonKind::White)
        );
        assert_eq!(person.id_number.as_deref(), Some("420381200010013857"));
        assert_eq!((person.card.as_deref(), person.passes_left), (Some("157342643"), Some(10)));
        assert_eq!(person.valid_from, Some(Bound::Local(datetime(2019, 1, 1, 0, 0, 0, 0))));
        assert_eq!(person.valid_until, Some(Bound::Local(datetime(2020, 1, 1, 0, 0, 0, 0))));
        assert_eq!(person.schedule.simple.days, [true, true, true, true, true, false, false]);
        assert_eq!(
            person.schedule.simple.periods.unwrap().0,
            [Period { from: 480, to: 570 }, Period { from: 690, to: 840 }, Period { from: 1020, to: 1140 }]
        );
        assert_eq!((person.schedule.extended, person.mode), (None, None));
    }

    #[test]
    fn sloppily_written_it_is_the_same_person() {
        let strict = format!("{:?}", read("add_person", &sample()).unwrap());
        let mut data = sample();
        data["type"] = json!("1");
        data["passNum"] = json!("10");
        data["personId"] = json!(100_001);
        data["passMonday"] = json!(1);
        data["passSunday"] = json!("false");
        data["extPassRule"] = json!(null);
        data["passMode"] = json!("255");
        data["unknown"] = json!({"a": 1});
        assert_eq!(format!("{:?}", read("add_person", &data).unwrap()), strict);
    }

    #[test]
    fn absent_means_unlimited_and_zero_means_none_left() {
        let data = json!({"personId": "1", "personCode": "1", "name": "张三", "type": 2});
        let PeopleChange::Add(person) = read("add_person", &data).unwrap() else { panic!() };
        assert_eq!((person.passes_left, person.kind), (None, PersonKind::Black));
        assert_eq!(person.schedule, Schedule::default());
        let data = json!({"personId": "1", "personCode": "1", "name": "张三", "type": 1, "passNum": 0});
        let PeopleChange::Add(person) = read("add_person", &data).unwrap() else { panic!() };
        assert_eq!(person.passes_left, Some(0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (key, value) in [
            ("personId", json!("")),
            ("personId", json!(null)),
            ("personId", json!("x".repeat(65))),
            ("personCode", json!("")),
            ("name", json!(" ")),
            ("name", json!("张".repeat(10_000))),
            ("name", json!(["张三"])),
            ("type", json!(5)),
            ("type", json!("white")),
            ("type", json!(null)),
            ("passNum", json!(-1)),
            ("passNum", json!(1.5)),
            ("passPeriod", json!("soon")),
            ("passMonday", json!(2)),
            ("startTime", json!("tomorrow")),
            ("expireTime", json!("2020-13-01 00:00:00")),
            ("passMode", json!(7)),
            ("extPassRule", json!({"weekly": {"mon": {"mode": 9}}})),
            ("icNum", json!("1".repeat(65))),
        ] {
            let mut data = sample();
            data[key] = value.clone();
            let error = read("add_person", &data).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{key} {value}");
            assert!(error.message().starts_with(&format!("{key}: ")), "{}", error.message());
            // An identity number is never repeated.
            assert!(!error.message().contains("420381200010013857"));
        }
        for data in [json!(null), json!({}), json!([]), json!("text")] {
            assert_eq!(read("add_person", &data).unwrap_err().message(), "personId: is missing");
        }
    }

    #[test]
    fn an_update_changes_what_it_names() {
        let data = json!({"personId": "1", "name": "李四", "icNum": "", "passMode": 255, "passSunday": false,
            "startTime": "", "passPeriod": ""});
        let PeopleChange::Update(key, patch) = read("update_person", &data).unwrap() else { panic!() };
        assert_eq!(key.id, "1");
        assert_eq!(patch.name.as_deref(), Some("李四"));
        assert_eq!((patch.card, patch.mode, patch.valid_from), (Some(None), Some(None), Some(None)));
        assert!(matches!(patch.periods, Some(None)));
        assert_eq!(patch.days, [None, None, None, None, None, None, Some(false)]);
        assert_eq!((patch.code, patch.kind, patch.id_number, patch.passes_left), (None, None, None, None));
        assert!(read("update_person", &json!({"personId": "1", "name": ""})).is_err());
    }

    #[test]
    fn deletions_by_any_notation() {
        for data in [
            json!({"idSet": ["100001"]}),
            json!({"idSet": "100001"}),
            json!({"idset": [100_001]}),
            json!({"personId": "100001"}),
        ] {
            let PeopleChange::Delete(keys) = read("delete_person", &data).unwrap() else { panic!() };
            assert_eq!(keys, [PersonKey::new(Origin::Qyzn, "100001")]);
        }
        let list = json!({"idSet": ["1", 2]});
        let PeopleChange::Delete(keys) = read("delete_person", &list).unwrap() else { panic!() };
        assert_eq!(keys, [PersonKey::new(Origin::Qyzn, "1"), PersonKey::new(Origin::Qyzn, "2")]);
        for data in [json!({}), json!({"idSet": []}), json!({"idSet": [""]}), json!({"idSet": [{}]})] {
            assert!(read("delete_person", &data).unwrap_err().message().starts_with("idSet: "));
        }
    }

    #[test]
    fn faces_come_with_their_person() {
        let mut data = sample();
        data["faces"] =
            json!([{"faceId": "3000004", "image": "data:image/jpeg;base64,/9j/2w=="}, {"image": "/9j/4A=="}]);
        let PeopleChange::Put(person, pictures) = read("add_person_face", &data).unwrap() else { panic!() };
        assert_eq!(person.name, "张三");
        assert_eq!(
            (pictures[0].face_id.as_str(), &pictures[0].bytes[..]),
            ("3000004", &[0xff, 0xd8, 0xff, 0xdb][..])
        );
        assert_eq!(pictures[1].face_id, "100001-1");
        for (faces, what) in [
            (json!(null), "faces: is missing"),
            (json!([{}]), "faces[0].image: is missing"),
            (json!([{"image": "/9j/"}, {"image": "not base64!"}]), "faces[1].image: is not base64"),
            (json!([{"image": ""}]), "faces[0].image: must not be empty"),
            (json!([{}, {}, {}, {}]), "faces: must be at most 3, not 4"),
            (
                json!([{"faceId": "1", "image": "/9j/"}, {"faceId": "1", "image": "/9j/"}]),
                "faces[1].faceId: is there twice",
            ),
        ] {
            data["faces"] = faces;
            assert_eq!(read("add_person_face", &data).unwrap_err().message(), what);
        }
        data["faces"] = json!([]);
        assert!(read("add_person_face", &data).is_ok(), "a person may have a card only");
    }

    #[test]
    fn single_faces() {
        let data = json!({"personid": "100004", "faceid": "3000004", "image": "/9j/2w=="});
        let PeopleChange::AddFace(key, picture) = read("add_face", &data).unwrap() else { panic!() };
        assert_eq!((key.id.as_str(), picture.face_id.as_str()), ("100004", "3000004"));
        // With a person, all faces of the person are meant, as the table says and the sample has both.
        for data in [json!({"faceId": "3000004", "personId": "1000004"}), json!({"personId": "1000004"})] {
            let PeopleChange::DeleteFaces(key) = read("delete_face", &data).unwrap() else { panic!() };
            assert_eq!(key.id, "1000004");
        }
        for data in [json!({"faceId": "3000004"}), json!({"faceId": 3_000_004, "personId": ""})] {
            let PeopleChange::DeleteFace(origin, id) = read("delete_face", &data).unwrap() else { panic!() };
            assert_eq!((origin, id.as_str()), (Origin::Qyzn, "3000004"));
        }
        let neither = read("delete_face", &json!({"faceid": null})).unwrap_err();
        assert_eq!(neither.message(), "faceId: is missing, and so is personId");
        let empty = read("delete_face", &json!({"faceId": "", "personId": ""})).unwrap_err();
        assert_eq!(empty.message(), "personId: must not be empty");
        assert!(matches!(read("clear_person", &json!(null)).unwrap(), PeopleChange::Clear(Origin::Qyzn)));
    }

    /// Any JSON, with the keys of these messages often in it.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(json!("08:00~09:30")),
            Just(json!("2019-01-01 00:00:00")),
            Just(json!("/9j/2w==")),
            (0i64..8).prop_map(Value::from),
        ];
        let key = prop_oneof![
            4 => proptest::sample::select(vec!["personId", "personCode", "name", "type", "idNum", "icNum",
                "passNum", "passPeriod", "passMonday", "startTime", "expireTime", "passMode", "faces", "faceId",
                "image", "extPassRule", "weekly", "holiday", "mon", "mode", "periods", "dayRange", "idSet"])
                .prop_map(str::to_owned),
            1 => "[a-zA-Z]{0,6}",
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key.clone(), inner, 0..10)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever the data is, a message is read or refused with 104, and what is read keeps the bounds.
        #[test]
        fn any_data_is_read_or_refused(data in any_json()) {
            for message in ["add_person", "update_person", "delete_person", "clear_person", "add_person_face",
                "add_face", "delete_face"]
            {
                match read(message, &data) {
                    Ok(PeopleChange::Add(person) | PeopleChange::Put(person, _)) => {
                        prop_assert!((1..=LONGEST_ID).contains(&person.key.id.len()));
                        prop_assert!((1..=LONGEST_NAME).contains(&person.name.len()));
                    }
                    Ok(PeopleChange::Delete(keys)) => {
                        prop_assert!((1..=MOST_DELETED).contains(&keys.len()));
                    }
                    Ok(_) => {}
                    Err(error) => prop_assert_eq!(error.kind(), Kind::Input),
                }
            }
        }
    }
}
