//! A person of the gate's own, as the API and the command line enrol one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use crate::access::{Bound, Origin, Person, PersonKey, PersonKind, Schedule};
use crate::error::{Error, Kind, Result};
use crate::gate::NewPicture;
use crate::store::FACES_PER_PERSON;

/// Longest id, in bytes: the ids of the faces are made of it and have at most 64.
const ID_BYTES: usize = 60;

/// Longest name, in characters.
const NAME_CHARACTERS: usize = 128;

/// Longest card or identity number and code, in characters.
const NUMBER_CHARACTERS: usize = 64;

/// The body of `POST /api/v1/people`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// 1 to 60 bytes, unique among the people of the gate's own.
    pub id: String,
    /// 1 to 128 characters.
    pub name: String,
    /// A number of the house's own, may be empty.
    #[serde(default)]
    pub code: String,
    /// `white` (the default), `black` or `visitor`.
    #[serde(default)]
    pub kind: Option<PersonKind>,
    /// Number of a card.
    #[serde(default)]
    pub card: Option<String>,
    /// Number of an identity document.
    #[serde(default)]
    pub id_number: Option<String>,
    /// Passages left; without limit where absent.
    #[serde(default)]
    pub passes_left: Option<u32>,
    /// `2026-01-31T18:00:00` in the gate's own time, or with `Z` in UTC.
    #[serde(default)]
    pub valid_from: Option<String>,
    /// The same.
    #[serde(default)]
    pub valid_until: Option<String>,
    /// Whether somebody with this id may be replaced.
    #[serde(default)]
    pub replace: bool,
    /// One to three JPEG or PNG pictures in base64.
    #[serde(default)]
    pub pictures: Vec<String>,
}

impl NewPerson {
    /// The person. `Input` names the first field that is out of range.
    pub fn person(&self) -> Result<Person> {
        let fail = |message: String| Err(Error::new(Kind::Input, message));
        if self.id.is_empty() || self.id.len() > ID_BYTES || self.id.chars().any(char::is_control) {
            return fail(format!("id must be 1 to {ID_BYTES} bytes without control characters"));
        }
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARACTERS || name.chars().any(char::is_control) {
            return fail(format!(
                "name must be 1 to {NAME_CHARACTERS} characters without control characters"
            ));
        }
        for (field, value) in
            [("code", Some(&self.code)), ("card", self.card.as_ref()), ("id_number", self.id_number.as_ref())]
        {
            if value.is_some_and(|value| {
                value.chars().count() > NUMBER_CHARACTERS || value.chars().any(char::is_control)
            }) {
                return fail(format!("{field} must be at most {NUMBER_CHARACTERS} characters"));
            }
        }
        let kind = self.kind.unwrap_or(PersonKind::White);
        if kind == PersonKind::Stranger {
            return fail("kind must be white, black or visitor".into());
        }
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        Ok(Person {
            key: PersonKey::new(Origin::Local, self.id.clone()),
            code: self.code.clone(),
            name: name.to_owned(),
            kind,
            id_number: given(&self.id_number),
            card: given(&self.card),
            passes_left: self.passes_left,
            valid_from: bound("valid_from", self.valid_from.as_deref())?,
            valid_until: bound("valid_until", self.valid_until.as_deref())?,
            schedule: Schedule::default(),
            mode: None,
        })
    }

    /// The pictures, out of their base64; their ids are the person's with a number.
    pub fn pictures(&self) -> Result<Vec<NewPicture>> {
        if !(1..=FACES_PER_PERSON).contains(&self.pictures.len()) {
            return Err(Error::new(
                Kind::Input,
                format!(
                    "a person is enrolled with 1 to {FACES_PER_PERSON} pictures, not {}",
                    self.pictures.len()
                ),
            ));
        }
        let decode = |(index, picture): (usize, &String)| {
            let bytes = STANDARD.decode(picture.as_bytes()).map_err(|error| {
                Error::caused(Kind::Input, format!("picture {} is no base64", index + 1), error)
            })?;
            Ok(NewPicture { face_id: face_id(&self.id, index), bytes })
        };
        self.pictures.iter().enumerate().map(decode).collect()
    }

    /// Adds a picture.
    pub fn add_picture(&mut self, bytes: &[u8]) {
        self.pictures.push(STANDARD.encode(bytes));
    }
}

/// The id of a person's picture.
fn face_id(person: &str, index: usize) -> String {
    format!("{person}-{}", index + 1)
}

fn bound(field: &str, text: Option<&str>) -> Result<Option<Bound>> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(utc) = text.parse::<Timestamp>() {
        return Ok(Some(Bound::Utc(utc)));
    }
    match text.parse::<DateTime>() {
        Ok(local) => Ok(Some(Bound::Local(local))),
        Err(_) => Err(Error::new(
            Kind::Input,
            format!(
                "{field} must be a time such as 2026-01-31T18:00:00 (the gate's) or 2026-01-31T10:00:00Z (UTC)"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(change: impl FnOnce(&mut NewPerson)) -> NewPerson {
        let mut new = NewPerson { id: "7".into(), name: "张三".into(), ..NewPerson::default() };
        change(&mut new);
        new
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let cases: [(NewPerson, &str); 7] = [
            (new(|new| new.id.clear()), "id"),
            (new(|new| new.id = "x".repeat(61)), "id"),
            (new(|new| new.name = " ".into()), "name"),
            (new(|new| new.name = "张".repeat(10_000)), "name"),
            (new(|new| new.card = Some("1\u{0}".into())), "card"),
            (new(|new| new.kind = Some(PersonKind::Stranger)), "kind"),
            (new(|new| new.valid_from = Some("tomorrow".into())), "valid_from"),
        ];
        for (new, field) in cases {
            let error = new.person().unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }

    #[test]
    fn times_are_the_gates_or_utc() {
        let person = new(|new| {
            new.valid_from = Some("2026-01-31T18:00:00".into());
            new.valid_until = Some("2026-01-31T18:00:00Z".into());
        })
        .person()
        .unwrap();
        assert_eq!(person.valid_from, Some(Bound::Local(jiff::civil::date(2026, 1, 31).at(18, 0, 0, 0))));
        assert_eq!(person.valid_until, Some(Bound::Utc(Timestamp::from_second(1_769_882_400).unwrap())));
    }

    #[test]
    fn pictures_come_out_of_their_base64() {
        // RFC 4648, chapter 10: "foobar".
        let pictures = new(|new| new.pictures = vec!["Zm9vYmFy".into(), "Zg==".into()]).pictures().unwrap();
        assert_eq!(pictures[0].bytes, b"foobar");
        assert_eq!((pictures[1].face_id.as_str(), pictures[1].bytes.as_slice()), ("7-2", &b"f"[..]));
        for bad in [vec![], vec!["Zm9v?mFy".into()], vec!["Zg==".into(); 4]] {
            assert_eq!(new(|new| new.pictures = bad).pictures().unwrap_err().kind(), Kind::Input);
        }
    }
}
