//! `setPerson` and `removePerson`.
//!
//! What the document leaves open:
//! - `setPerson` puts the person in place of what its id had before: what is not given has its default again.
//!   The photo is the exception. Without one, the pictures that are there stay (a platform that changes a
//!   validity need not send the photo again), and a new person is stored without one.
//! - `IC_NO` and `ID_NO` must be sent, so that platforms fill them with zeros (the document's own sample does):
//!   a number of zeros only is no number. Otherwise everybody had the same card.
//! - Times are seconds; milliseconds are refused by name, as they would mean the year 51557.
//! - `removePerson` takes ids as numbers or texts, with or without quotes and brackets. Only `[]` by itself
//!   removes everybody: an id that is empty or missing is refused.

use jiff::Timestamp;

use super::form::{Form, wrong};
use crate::access::{
    Bound, ExtendedSchedule, Origin, Person, PersonKey, PersonKind, Schedule, SimpleSchedule,
};
use crate::error::Result;
use crate::gate::{NewPicture, PeopleChange};

/// Most bytes of an id or a number.
const LONGEST_ID: usize = 64;
/// Most bytes of a name.
const LONGEST_NAME: usize = 256;
/// Most bytes of a number or a truth value.
const LONGEST_NUMBER: usize = 32;
/// Most bytes of `weekly`.
const LONGEST_WEEKLY: usize = 16 * 1024;
/// Most people in one `removePerson`.
const MOST_REMOVED: usize = 1024;
/// `passCount` of somebody who may pass as often as they like.
const UNLIMITED: i64 = 10_000;

/// Reads the form of `setPerson`. `Input` names the field that is wrong.
pub fn set_person(form: &Form<'_>) -> Result<PeopleChange> {
    let id = form.required_text("id", LONGEST_ID)?;
    let visitor = flag(form, "visitor")?.unwrap_or(false);
    let weekly = form.text("weekly", LONGEST_WEEKLY)?.unwrap_or_default();
    let extended =
        ExtendedSchedule::from_terminal_ws(&weekly).map_err(|error| wrong("weekly", error.message()))?;
    let person = Person {
        key: PersonKey::new(Origin::TerminalWs, id.as_str()),
        code: String::new(),
        name: form.required_text("name", LONGEST_NAME)?,
        kind: if visitor { PersonKind::Visitor } else { PersonKind::White },
        id_number: number(form, "ID_NO")?,
        card: number(form, "IC_NO")?,
        passes_left: pass_count(form)?,
        valid_from: time(form, "startTs")?,
        valid_until: time(form, "endTs")?,
        schedule: Schedule { simple: SimpleSchedule { days: [true; 7], periods: None }, extended },
        mode: None,
    };
    Ok(match form.base64("photo")? {
        Some(bytes) => PeopleChange::Put(person, vec![NewPicture { face_id: id, bytes }]),
        None => PeopleChange::PutFacts(person),
    })
}

/// Reads the form of `removePerson`. `Input` names the field that is wrong.
pub fn remove_person(form: &Form<'_>) -> Result<PeopleChange> {
    let text = form.required_text("id", usize::MAX)?;
    let ids = ids(&text).ok_or_else(|| {
        wrong("id", "must be [] for everybody, or a list such as [12345678] or [\"a\",\"b\"]")
    })?;
    if ids.is_empty() {
        return Ok(PeopleChange::Clear(Origin::TerminalWs));
    }
    if ids.len() > MOST_REMOVED {
        return Err(wrong("id", format_args!("must name at most {MOST_REMOVED} people, not {}", ids.len())));
    }
    let key = |id: String| match id.len() {
        1..=LONGEST_ID => Ok(PersonKey::new(Origin::TerminalWs, id)),
        _ => Err(wrong("id", format_args!("must hold ids of 1 to {LONGEST_ID} bytes"))),
    };
    Ok(PeopleChange::Delete(ids.into_iter().map(key).collect::<Result<_>>()?))
}

/// The ids of a list; empty for `[]`. `None` if the brackets or the quotes do not match.
fn ids(text: &str) -> Option<Vec<String>> {
    // As JSON only where all are texts: a number would lose its digits beyond 2^53 and its leading zeros.
    if let Ok(ids) = serde_json::from_str::<Vec<String>>(text) {
        return Some(ids.into_iter().map(|id| id.trim().to_owned()).collect());
    }
    let inner = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.trim(),
        None => text,
    };
    if inner.contains(['[', ']']) {
        return None;
    }
    inner
        .split(',')
        .map(|id| {
            let id = id.trim();
            for quote in ['"', '\''] {
                if id.starts_with(quote) || id.ends_with(quote) {
                    return Some(id.strip_prefix(quote)?.strip_suffix(quote)?.trim().to_owned());
                }
            }
            Some(id.to_owned())
        })
        .collect()
}

/// A number of a card or a document; one of zeros only is none.
fn number(form: &Form<'_>, key: &str) -> Result<Option<String>> {
    let text = form.text(key, LONGEST_ID)?;
    Ok(text.filter(|text| text.bytes().any(|byte| byte != b'0')))
}

fn flag(form: &Form<'_>, key: &str) -> Result<Option<bool>> {
    let Some(text) = form.text(key, LONGEST_NUMBER)? else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "" | "null" => Ok(None),
        "true" | "1" | "yes" | "y" => Ok(Some(true)),
        "false" | "0" | "no" | "n" => Ok(Some(false)),
        _ => Err(wrong(key, "must be true or false")),
    }
}

/// A number as the platforms' languages print one, also `1.564797063E9`.
fn double(form: &Form<'_>, key: &str) -> Result<Option<f64>> {
    let Some(text) = form.text(key, LONGEST_NUMBER)? else { return Ok(None) };
    if text.is_empty() || text == "null" {
        return Ok(None);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Some(number)),
        _ => Err(wrong(key, "must be a number")),
    }
}

fn pass_count(form: &Form<'_>) -> Result<Option<u32>> {
    let Some(count) = double(form, "passCount")? else { return Ok(None) };
    if count.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&count) {
        return Err(wrong(
            "passCount",
            format_args!("must be a whole number from 0 on, or {UNLIMITED} for no limit"),
        ));
    }
    let count = count as i64;
    Ok(if count == UNLIMITED { None } else { u32::try_from(count).ok() })
}

/// A point in time in seconds since 1970; -1 is no limit.
fn time(form: &Form<'_>, key: &str) -> Result<Option<Bound>> {
    let Some(seconds) = double(form, key)? else { return Ok(None) };
    if seconds == -1.0 {
        return Ok(None);
    }
    // The last second of the year 9999; beyond it somebody has sent milliseconds.
    if !(0.0..253_402_300_800.0).contains(&seconds) {
        return Err(wrong(key, "must be seconds since 1970 (not milliseconds), or -1 for no limit"));
    }
    let milliseconds = (seconds * 1000.0).round() as i64;
    let at = Timestamp::from_millisecond(milliseconds)
        .map_err(|_| wrong(key, "must be seconds since 1970, or -1 for no limit"))?;
    Ok(Some(Bound::Utc(at)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::{DayRule, Period, Periods};
    use crate::error::Kind;

    fn set(body: &str) -> Result<PeopleChange> {
        set_person(&Form::parse(body).unwrap())
    }

    fn remove(body: &str) -> Result<PeopleChange> {
        remove_person(&Form::parse(body).unwrap())
    }

    /// The sample of the document, its lines joined.
    const SAMPLE: &str = "key=abc&photo==%2f9j%2f4AAQSkZJRgABAQAAAQABAAD%2f2wBDAAIIBAQEBAQIBAQECAgICAgQDAGICAgUEBAMEBgUGBgYFBgYGBWkIBgcJBWYGCAsICQoKCgoKbggLDASDKakKCgr&name=%e5%bc%a0%e7%a5%a5%e6%98%8e2&IC_NO=00000000&ID_NO=00000000&passCount=10000&startTs=1564797063&endTs=1596419463";

    #[test]
    fn the_documents_sample_lacks_an_id() {
        let error = set(SAMPLE).unwrap_err();
        assert_eq!((error.kind(), error.message()), (Kind::Input, "id: is missing"));
        let with = format!("id=12345678&{SAMPLE}");
        let PeopleChange::Put(person, pictures) = set(&with).unwrap() else { panic!() };
        assert_eq!(person.key, PersonKey::new(Origin::TerminalWs, "12345678"));
        assert_eq!((person.name.as_str(), person.kind), ("张祥明2", PersonKind::White));
        assert_eq!((person.card, person.id_number, person.passes_left), (None, None, None));
        assert_eq!(person.valid_from, Some(Bound::Utc("2019-08-03T01:51:03Z".parse().unwrap())));
        assert_eq!(person.valid_until, Some(Bound::Utc("2020-08-03T01:51:03Z".parse().unwrap())));
        assert_eq!(person.schedule, Schedule::default());
        assert_eq!(pictures[0].face_id, "12345678");
        // The head of every JFIF picture.
        assert_eq!(&pictures[0].bytes[..10], b"\xff\xd8\xff\xe0\0\x10JFIF");
    }

    #[test]
    fn every_field() {
        let weekly =
            "%7B%22Monday%22%3A+%2209%3A00-12%3A35%3B13%3A25-16%3A25%22%2C+%22Sunday%22%3A+%22%22%7D";
        let body = format!(
            "id=0007&name=%E5%BC%A0%E4%B8%89&IC_NO=157342643&ID_NO=42038120001001385X&passCount=3&startTs=-1\
             &endTs=1.564797063E9&visitor=true&weekly={weekly}"
        );
        let PeopleChange::PutFacts(person) = set(&body).unwrap() else { panic!() };
        assert_eq!((person.key.id.as_str(), person.kind), ("0007", PersonKind::Visitor));
        assert_eq!(person.card.as_deref(), Some("157342643"));
        assert_eq!(person.id_number.as_deref(), Some("42038120001001385X"));
        assert_eq!((person.passes_left, person.valid_from), (Some(3), None));
        assert_eq!(person.valid_until, Some(Bound::Utc("2019-08-03T01:51:03Z".parse().unwrap())));
        let week = person.schedule.extended.unwrap().weekly;
        let two = Periods(vec![Period { from: 540, to: 755 }, Period { from: 805, to: 985 }]);
        assert_eq!(
            (&week[0], &week[1], &week[6]),
            (&DayRule::Periods(two), &DayRule::Never, &DayRule::Never)
        );
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        for rest in [
            "",
            "&passCount=10000&startTs=-1&endTs=-1.0&visitor=false&weekly=&photo=",
            "&passCount=1E4&endTs=",
        ] {
            let PeopleChange::PutFacts(person) = set(&format!("id=1&name=x{rest}")).unwrap() else {
                panic!()
            };
            assert_eq!(
                (person.passes_left, person.valid_from, person.valid_until),
                (None, None, None),
                "{rest}"
            );
            assert_eq!((person.kind, person.schedule), (PersonKind::White, Schedule::default()), "{rest}");
        }
        let PeopleChange::PutFacts(person) = set("id=1&name=x&passCount=0").unwrap() else { panic!() };
        assert_eq!(person.passes_left, Some(0), "none left");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            ("name=x".to_owned(), "id: is missing"),
            ("id=&name=x".into(), "id: must not be empty"),
            (format!("id={}&name=x", "1".repeat(65)), "id: must be at most 64"),
            ("id=1".into(), "name: is missing"),
            ("ID=1&name=x".into(), "id: is missing"),
            ("id=1&name=x&startTs=1564797063000".into(), "startTs: must be seconds"),
            ("id=1&name=x&endTs=-2".into(), "endTs: must be seconds"),
            ("id=1&name=x&endTs=NaN".into(), "endTs: must be a number"),
            ("id=1&name=x&passCount=-1".into(), "passCount: must be a whole number"),
            ("id=1&name=x&passCount=1.5".into(), "passCount: must be a whole number"),
            ("id=1&name=x&visitor=maybe".into(), "visitor: must be true or false"),
            ("id=1&name=x&weekly=%7B%22Monday%22%3A9%7D".into(), "weekly: weekly.Monday"),
            ("id=1&name=x&photo=@@@".into(), "photo: is not base64"),
            (format!("id=1&name=x&IC_NO={}", "7".repeat(65)), "IC_NO: must be at most 64"),
        ] {
            let error = set(&body).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{body}");
            assert!(error.message().starts_with(field), "{body}: {}", error.message());
        }
    }

    #[test]
    fn whom_a_removal_names() {
        for (list, ids) in [
            // As in the document.
            ("%5B12345678%5D", vec!["12345678"]),
            ("[12345678,0007]", vec!["12345678", "0007"]),
            ("%5B%22a%22%2C+%22b%22%5D", vec!["a", "b"]),
            ("['a',b, c ]", vec!["a", "b", "c"]),
            ("[90071992547409930001]", vec!["90071992547409930001"]),
            ("12345678", vec!["12345678"]),
            ("a,b", vec!["a", "b"]),
            ("[\"with,comma\"]", vec!["with,comma"]),
        ] {
            let PeopleChange::Delete(keys) = remove(&format!("key=abc&id={list}")).unwrap() else {
                panic!("{list}")
            };
            let expected: Vec<_> = ids.iter().map(|id| PersonKey::new(Origin::TerminalWs, *id)).collect();
            assert_eq!(keys, expected, "{list}");
        }
        for everybody in ["[]", "%5B%5D", "[ ]", "%5B+%5D"] {
            assert!(
                matches!(
                    remove(&format!("id={everybody}")).unwrap(),
                    PeopleChange::Clear(Origin::TerminalWs)
                ),
                "{everybody}"
            );
        }
        // Nobody is removed by a mistake.
        for nobody in [
            "",
            "id=",
            "id=%20",
            "id=[,]",
            "id=[1,]",
            "id=[\"\"]",
            "id=[1",
            "id=1]",
            "id=[\"1]",
            "id=[[]]",
            "id=[[1]",
        ] {
            let error = remove(nobody).unwrap_err();
            assert!(error.message().starts_with("id: "), "{nobody}: {}", error.message());
        }
        let many: Vec<String> = (0..1025).map(|id| id.to_string()).collect();
        assert_eq!(
            remove(&format!("id=[{}]", many.join(","))).unwrap_err().message(),
            "id: must name at most 1024 people, not 1025"
        );
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(values in proptest::collection::vec(
            (proptest::sample::select(vec!["id", "name", "IC_NO", "ID_NO", "photo", "startTs", "endTs", "passCount",
                "visitor", "weekly", "key", "x"]),
             prop_oneof!["\\PC{0,20}", "-?[0-9]{1,18}(\\.[0-9]{1,3})?", "\\[[0-9a\",\\[\\]]{0,9}\\]", "(%[0-9a-f]{2}){0,6}"]),
            0..14))
        {
            let body: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let body = body.join("&");
            let Ok(form) = Form::parse(&body) else { return Ok(()) };
            match set_person(&form) {
                Ok(PeopleChange::Put(person, _) | PeopleChange::PutFacts(person)) => {
                    prop_assert!((1..=LONGEST_ID).contains(&person.key.id.len()));
                    prop_assert!((1..=LONGEST_NAME).contains(&person.name.len()));
                }
                Ok(other) => prop_assert!(false, "{:?}", other),
                Err(error) => prop_assert_eq!(error.kind(), Kind::Input),
            }
            match remove_person(&form) {
                Ok(PeopleChange::Clear(_)) => {
                    let id = form.text("id", usize::MAX).unwrap().unwrap();
                    prop_assert_eq!(id.split_whitespace().collect::<String>(), "[]");
                }
                Ok(PeopleChange::Delete(keys)) => prop_assert!((1..=MOST_REMOVED).contains(&keys.len())),
                Ok(other) => prop_assert!(false, "{:?}", other),
                Err(error) => prop_assert_eq!(error.kind(), Kind::Input),
            }
        }
    }
}
