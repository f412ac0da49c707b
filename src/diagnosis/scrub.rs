//! Takes people and secrets out of texts.
//!
//! Two nets, one behind the other. What the store and the configuration hold is known: every name, id, code, card
//! and document number, every password, wherever it stands. And what looks like it goes too, for people who have
//! been removed since: letters that are not ASCII, long numbers, numbers like those of passports, lines for machines, what stands in
//! quotation marks, and fields of the log that are about people.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use crate::access::Person;
use crate::config::Config;
use crate::error::Result;
use crate::gate::settings::Settings;
use crate::store::{RecordFacts, RecordId, Store};

/// What stands for what was taken out.
pub const TAKEN: &str = "(removed)";

/// A shorter value is only looked for as a whole word: it would be found in everything.
const SHORT: usize = 6;

/// A value that is shorter still tells nothing, and is not looked for.
const SHORTEST: usize = 3;

/// Digits in a row that may be a card, a document or a telephone.
const NUMBER: usize = 8;

/// Lengths of a word of capitals and digits that may be the number of a passport or another travel document, and its
/// digits: `E12345678`. What is longer (serial numbers of 16, sums) or has fewer digits (names of readers and modules) a
/// technician needs.
const LETTERED: (std::ops::RangeInclusive<usize>, usize) = (7..=12, 6);

/// Letters, digits and fillers in a row, with a filler among them, that may be of a machine readable zone.
const ZONE: usize = 20;

/// People and records read from the store at once.
const CHUNK: usize = 500;

/// Parts of the names of settings that hold secrets.
const SECRET: [&str; 11] = [
    "password",
    "secret",
    "token",
    "key",
    "user",
    "auth",
    "app_id",
    "credential",
    "scbk",
    "prefixes",
    "name",
];

/// Fields of the log that are about people.
const PERSONAL: [&str; 22] = [
    "person",
    "people",
    "id",
    "name",
    "code",
    "card",
    "number",
    "id_number",
    "document",
    "room",
    "text",
    "content",
    "token",
    "password",
    "key",
    "mrz",
    "latin_name",
    "address",
    "birthday",
    "bar_code",
    "account",
    "track",
];

/// What is taken out.
#[derive(Default)]
pub struct Scrub {
    known: HashSet<String>,
    lengths: BTreeSet<usize>,
}

impl Scrub {
    /// With the secrets of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut scrub = Self::default();
        if let Some(terminal_ws) = &config.platform.terminal_ws {
            for secret in [&terminal_ws.username, &terminal_ws.password, &terminal_ws.key] {
                scrub.know(secret);
            }
        }
        if let Some(file) = config.service.admin.as_ref().and_then(|admin| admin.token_file.as_ref()) {
            // A token that cannot be read cannot get into a text either.
            scrub.know(std::fs::read_to_string(file).unwrap_or_default().trim());
        }
        scrub.know_settings(&config.settings);
        scrub
    }

    /// The secrets of settings.
    pub fn know_settings(&mut self, settings: &Settings) {
        for secret in [&settings.push.app_id, &settings.push.app_secret, &settings.push.auth_sn] {
            self.know(secret);
        }
        self.know(&settings.product.name);
    }

    /// Everybody in a store, and everybody its records name.
    pub fn know_store(&mut self, store: &Store) -> Result<()> {
        let mut after = None;
        loop {
            let people = store.list_people(after, CHUNK)?;
            for listed in &people {
                self.know_person(&listed.person);
                listed.faces.iter().for_each(|(_, id)| self.know(id));
            }
            match people.last() {
                Some(last) if people.len() == CHUNK => after = Some(last.row),
                _ => break,
            }
        }
        let mut before: Option<RecordId> = None;
        loop {
            let records = store.list_records(before, CHUNK)?;
            records.iter().for_each(|record| self.know_record(&record.facts));
            match records.last() {
                Some(last) if records.len() == CHUNK => before = Some(last.id),
                _ => return Ok(()),
            }
        }
    }

    fn know_person(&mut self, person: &Person) {
        self.know(&person.key.id);
        self.know_name(&person.name);
        self.know(&person.code);
        person.card.iter().chain(&person.id_number).for_each(|number| self.know(number));
    }

    fn know_record(&mut self, facts: &RecordFacts) {
        self.know_name(&facts.name);
        facts.people().for_each(|key| self.know(&key.id));
        let numbers = facts.card.iter().chain(&facts.id_number).chain(&facts.face_id);
        numbers.for_each(|number| self.know(number));
        for also in &facts.also {
            self.know_name(&also.name);
            also.card.iter().chain(&also.id_number).chain(&also.face_id).for_each(|number| self.know(number));
        }
        if let Some(document) = &facts.document {
            let document = serde_json::to_value(document).unwrap_or_default();
            document.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()).for_each(
                |text| {
                    self.know(text);
                },
            );
        }
    }

    /// A name as a whole, and each of its words: somebody is also meant by one of them.
    fn know_name(&mut self, name: &str) {
        self.know(name);
        name.split_whitespace().for_each(|word| self.know(word));
    }

    fn know(&mut self, value: &str) {
        let value = value.trim();
        if value.len() >= SHORTEST {
            self.lengths.insert(value.len());
            self.known.insert(value.to_owned());
        }
    }

    /// A text without anything that is known.
    pub fn exactly(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            // The longest first: a number may begin with another one.
            let found = self.lengths.iter().rev().copied().find(|length| self.stands_at(text, at, *length));
            match found {
                Some(length) => {
                    clean.push_str(TAKEN);
                    at += length;
                }
                None => {
                    clean.push(character);
                    at += character.len_utf8();
                }
            }
        }
        clean
    }

    fn stands_at(&self, text: &str, at: usize, length: usize) -> bool {
        let end = at + length;
        let Some(part) = text.get(at..end) else { return false };
        let joined = |character: Option<char>| character.is_some_and(char::is_alphanumeric);
        let whole = || !joined(text[..at].chars().next_back()) && !joined(text[end..].chars().next());
        self.known.contains(part) && (length >= SHORT || !part.is_ascii() || whole())
    }

    /// A text of the log: nothing that is known, and nothing that looks like it.
    pub fn loosely(&self, text: &str) -> String {
        likely(&self.exactly(text))
    }

    /// A line of the log, as [`crate::log::recent::Line::form`] makes it.
    pub fn line(&self, line: &Value) -> Value {
        let mut clean = line.clone();
        clean["message"] = self.loosely(line["message"].as_str().unwrap_or_default()).into();
        for (name, value) in clean["fields"].as_object_mut().into_iter().flatten() {
            *value = match PERSONAL.contains(&name.as_str()) {
                true => TAKEN.into(),
                false => self.loosely(value.as_str().unwrap_or_default()).into(),
            };
        }
        clean
    }

    /// A tree of settings: what is named like a secret goes, addresses lose what they carry of one.
    pub fn settings(&self, tree: &mut Value) {
        match tree {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let filled = match value {
                        Value::String(text) => !text.is_empty(),
                        Value::Array(items) => !items.is_empty(),
                        _ => false,
                    };
                    let path = name == "token_file" || name == "pinned_certificate";
                    if filled && !path && SECRET.iter().any(|secret| name.contains(secret)) {
                        *value = TAKEN.into();
                    } else {
                        self.settings(value);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.settings(item)),
            Value::String(text) => *text = self.exactly(&address(text)),
            _ => {}
        }
    }
}

/// An address without user, password and query.
fn address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    format!("{scheme}://{host}{path}")
}

/// The length of what a text begins with if that looks like a line for machines or the number of a travel document.
fn document(text: &str) -> Option<usize> {
    let capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    let run = |wanted: &dyn Fn(char) -> bool| text.find(|c: char| !wanted(c)).unwrap_or(text.len());
    let zone = run(&|c| capital(c) || c == '<');
    if zone >= ZONE && text[..zone].contains('<') {
        return Some(zone);
    }
    let word = &text[..run(&|c| c.is_ascii_alphanumeric())];
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let lettered = LETTERED.0.contains(&word.len()) && (LETTERED.1..word.len()).contains(&digits);
    (lettered && word.chars().all(capital)).then_some(word.len())
}

/// A text without letters that are not ASCII, long numbers, numbers and lines of travel documents and what stands in quotation marks.
fn likely(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let run =
            |wanted: &dyn Fn(char) -> bool| rest.find(|other: char| !wanted(other)).unwrap_or(rest.len());
        let begins = !text[..text.len() - rest.len()].ends_with(|c: char| c.is_ascii_alphanumeric());
        let taken = if let Some(length) = begins.then(|| document(rest)).flatten() {
            Some(length)
        } else if character == '"' {
            rest[1..].find('"').map(|end| end + 2)
        } else if !character.is_ascii() {
            Some(run(&|other| !other.is_ascii()))
        } else if character.is_ascii_digit() {
            // A document's number may end with X.
            let digits = run(&|other| other.is_ascii_digit());
            (digits >= NUMBER).then_some(digits)
        } else {
            None
        };
        match taken {
            Some(length) => {
                clean.push_str(TAKEN);
                rest = &rest[length..];
            }
            None => {
                // A short number is kept whole: its second digit must not be looked at as a beginning.
                let length = match character.is_ascii_digit() {
                    true => run(&|other| other.is_ascii_digit()),
                    false => character.len_utf8(),
                };
                clean.push_str(&rest[..length]);
                rest = &rest[length..];
            }
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_goes_wherever_it_stands() {
        let mut scrub = Scrub::default();
        for value in ["hush-hush", "4711", "张三", "0012345678", "7"] {
            scrub.know(value);
        }
        assert_eq!(scrub.exactly("xhush-hushx"), "x(removed)x");
        assert_eq!(scrub.exactly("person 4711 of 47110"), "person (removed) of 47110");
        assert_eq!(scrub.exactly("你好张三"), "你好(removed)");
        scrub.know_name("Anna Muster");
        assert_eq!(scrub.exactly("Muster, Anna; Annas"), "(removed), (removed); Annas");
        assert_eq!(scrub.exactly("a 7 b"), "a 7 b", "one letter tells nothing");
    }

    #[test]
    fn what_looks_like_it_goes_from_the_log() {
        let scrub = Scrub::default();
        assert_eq!(
            scrub.loosely("card 0012345678 at 192.168.1.20:5005"),
            "card (removed) at 192.168.1.20:5005"
        );
        assert_eq!(
            scrub.loosely("nobody has the id \"a b\" 李四 ok"),
            "nobody has the id (removed) (removed) ok"
        );
        assert_eq!(scrub.loosely("an open \" stays"), "an open \" stays");
        // The specimens of ICAO 9303-4 and -5, and numbers of passports and permits; not what a technician needs.
        for line in [
            "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<",
            "L898902C36UTO7408122F1204159ZE184226B<<<<<10",
            "7408122F1204159UTO<<<<<<<<<<<6",
            "L898902C3",
            "C01X00T47",
            "E12345678",
            "H1234567890",
        ] {
            assert_eq!(scrub.loosely(&format!("read {line}, then")), "read (removed), then");
            assert_eq!(scrub.loosely(&format!("mrz={line}")), "mrz=(removed)");
        }
        for kept in [
            "reader ACR1252U on ttyS2 said 6A82",
            "serial A1B2C3D4E5F6A7B8",
            "sum 9f86d081884c7d65",
            "PN532, GPIO17, SHA256, H264",
            "if a<b and c<d",
        ] {
            assert_eq!(scrub.loosely(kept), kept);
        }
        let line = serde_json::json!({ "message": "enrolled", "fields": { "person": "p9", "camera": "1" } });
        assert_eq!(scrub.line(&line)["fields"], serde_json::json!({ "person": TAKEN, "camera": "1" }));
        for name in ["mrz", "latin_name", "address", "birthday", "bar_code", "account", "track"] {
            let line = serde_json::json!({ "message": "", "fields": { name: "x" } });
            assert_eq!(scrub.line(&line)["fields"][name], TAKEN);
        }
    }

    #[test]
    fn settings_lose_their_secrets_and_keep_the_rest() {
        let mut tree = serde_json::json!({
            "platform": { "terminal_ws": { "url": "wss://u:p@10.0.0.5:1/devs/?k=v", "username": "dev", "password": "123", "key": "" } },
            "rules": { "forbidden_id_prefixes": ["110"], "mode": "face" },
            "service": { "admin": { "token_file": "/etc/menshen/token", "listen": "127.0.0.1:8080" } },
        });
        Scrub::default().settings(&mut tree);
        assert_eq!(
            tree,
            serde_json::json!({
                "platform": { "terminal_ws": { "url": "wss://10.0.0.5:1/devs/", "username": TAKEN, "password": TAKEN, "key": "" } },
                "rules": { "forbidden_id_prefixes": TAKEN, "mode": "face" },
                "service": { "admin": { "token_file": "/etc/menshen/token", "listen": "127.0.0.1:8080" } },
            })
        );
    }
}
