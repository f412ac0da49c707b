//! Templates of what goes out on a line after a passage.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::access::Person;
use crate::error::{Error, Kind, Result};

/// Longest template, in bytes.
const LONGEST: usize = 256;

/// A text with placeholders: `{person_id}`, `{person_code}`, `{name}` and `{card}`; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    PersonId,
    PersonCode,
    Name,
    Card,
}

impl Place {
    const ALL: [(&str, Place); 4] = [
        ("person_id", Place::PersonId),
        ("person_code", Place::PersonCode),
        ("name", Place::Name),
        ("card", Place::Card),
    ];
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

impl Template {
    /// Reads a template. `Config` names a placeholder that does not exist, or a brace that stands alone.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| Err(Error::new(Kind::Config, format!("the template {text:?}: {what}")));
        if text.len() > LONGEST {
            return Err(Error::new(
                Kind::Config,
                format!("a template must have at most {LONGEST} bytes, not {}", text.len()),
            ));
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.split_once('}').filter(|_| brace == "{") else {
                return wrong(format!("a {brace} stands alone; write {brace}{brace} for a brace"));
            };
            let Some((_, place)) = Place::ALL.into_iter().find(|(known, _)| *known == name) else {
                let known = Place::ALL.map(|(name, _)| format!("{{{name}}}")).join(", ");
                return wrong(format!("there is no {{{name}}}; there are {known}"));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Place(place));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// The text for a person.
    pub fn fill(&self, person: &Person) -> String {
        let mut text = String::new();
        for part in &self.parts {
            text.push_str(match part {
                Part::Text(text) => text,
                Part::Place(Place::PersonId) => &person.key.id,
                Part::Place(Place::PersonCode) => &person.code,
                Part::Place(Place::Name) => &person.name,
                Part::Place(Place::Card) => person.card.as_deref().unwrap_or_default(),
            });
        }
        text
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        let mut text = String::new();
        for part in template.parts {
            match part {
                Part::Text(plain) => text.push_str(&plain.replace('{', "{{").replace('}', "}}")),
                Part::Place(place) => {
                    for (name, _) in Place::ALL.into_iter().filter(|(_, known)| *known == place) {
                        // Writing to a text cannot fail.
                        let _ = write!(text, "{{{name}}}");
                    }
                }
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Origin, PersonKey, PersonKind, Schedule};

    fn person() -> Person {
        Person {
            key: PersonKey::new(Origin::Qyzn, "100001"),
            code: "c7".into(),
            name: "张三 {name}".into(),
            kind: PersonKind::White,
            id_number: Some("440500199001010001".into()),
            card: None,
            passes_left: None,
            valid_from: None,
            valid_until: None,
            schedule: Schedule::default(),
            mode: None,
        }
    }

    #[test]
    fn placeholders_are_filled_once() {
        let fill = |template: &str| Template::parse(template).unwrap().fill(&person());
        assert_eq!(fill("{person_id},{card}\r\n"), "100001,\r\n");
        assert_eq!(fill("{{{name}}} {person_code}"), "{张三 {name}} c7");
        assert_eq!(fill("plain"), "plain");
        assert_eq!(fill(""), "");
        let with_card = Person { card: Some("157342643".into()), ..person() };
        assert_eq!(Template::parse("<{card}>").unwrap().fill(&with_card), "<157342643>");
    }

    #[test]
    fn a_template_is_written_as_it_was_read() {
        for text in ["{person_id},{card}\r\n", "{{{name}}}", "", "{person_code}{person_code}"] {
            assert_eq!(String::from(Template::parse(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, what) in [
            ("{id_number}", "there is no {id_number}"),
            ("{card", "a { stands alone"),
            ("card}", "a } stands alone"),
            ("{}", "there is no {}"),
            ("{ card }", "there is no { card }"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.message().contains(what), "{text}: {error}");
        }
        assert!(Template::parse(&"x".repeat(257)).is_err());
    }
}
