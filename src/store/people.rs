//! People: their facts, and what the gallery learns and forgets with them.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use super::faces::{self, check_new_faces};
use super::seal::{Place, Seal};
use super::writer::{Class, Desk};
use super::{
    Counts, FaceRow, GalleryChange, ListedPerson, NewFace, Pending, PersonRow, Removed, Store, bad_json,
    next_number,
};
use crate::access::decide::plain_number;
use crate::access::{Bound, Origin, PassMode, Person, PersonKey, PersonKind, Schedule};
use crate::error::{Error, Kind, Result};

/// `people.rules`.
#[derive(Serialize, Deserialize)]
struct Rules {
    kind: PersonKind,
    valid_from: Option<Bound>,
    valid_until: Option<Bound>,
    schedule: Schedule,
    mode: Option<PassMode>,
}

/// `people.facts` before it is sealed.
#[derive(Serialize, Deserialize)]
struct Facts {
    code: String,
    name: String,
    id_number: Option<String>,
    card: Option<String>,
}

/// Longest id of a person or a face, in bytes.
pub(super) const ID_BYTES: usize = 64;
/// Longest name, code, card or identity number, in bytes: beyond any document, and still a bound.
const TEXT_BYTES: usize = 4096;

/// A card's number as it is compared: without white space around it, without leading zeros, in upper case.
/// `None` where nothing is left to compare.
pub(super) fn canonical_card(number: &str) -> Option<String> {
    let number = number.trim();
    let significant = number.trim_start_matches('0');
    match (number.is_empty(), significant.is_empty()) {
        (true, _) => None,
        (false, true) => Some("0".into()),
        (false, false) => Some(significant.to_ascii_uppercase()),
    }
}

/// An identity number as it is compared, by the rule of the decision ([`plain_number`]): without white space, in upper
/// case (the check digit X). `None` where nothing is left to compare.
pub(super) fn canonical_id_number(number: &str) -> Option<String> {
    let plain: String = plain_number(number).collect();
    (!plain.is_empty()).then_some(plain)
}

fn card_hash(seal: &Seal, number: Option<&str>) -> Option<[u8; 16]> {
    number.and_then(canonical_card).map(|canonical| seal.fingerprint("card", &canonical))
}

fn id_number_hash(seal: &Seal, number: Option<&str>) -> Option<[u8; 16]> {
    number.and_then(canonical_id_number).map(|canonical| seal.fingerprint("id_number", &canonical))
}

/// Both hashes of a person, as the columns should have them.
pub(super) fn hashes(seal: &Seal, person: &Person) -> (Option<[u8; 16]>, Option<[u8; 16]>) {
    (card_hash(seal, person.card.as_deref()), id_number_hash(seal, person.id_number.as_deref()))
}

impl Store {
    /// A new person; `Exists` if the key is taken.
    pub fn add_person(&self, person: Person) -> Pending<GalleryChange> {
        if let Err(error) = check_person(&person) {
            return Pending::ready(Err(error));
        }
        self.order(Class::Grows, 1024, move |desk| {
            if find(desk.db, &person.key)?.is_some() {
                return Err(Error::new(
                    Kind::Exists,
                    format!("the person {} is there already", person.key.id),
                ));
            }
            insert(desk, &person)?;
            Ok(GalleryChange::default())
        })
    }

    /// Edits a person in the writing transaction; `NotFound` without them, `Input` if `edit` changes the key.
    /// An error of `edit` changes nothing. `edit` runs on the store's thread and must not wait for anything;
    /// it runs twice when the first transaction was undone for want of room, each time on the stored person.
    ///
    /// It is carried out on a full disk and at the hard limit too: somebody can always be shut out.
    pub fn edit_person(
        &self,
        key: PersonKey,
        mut edit: impl FnMut(&mut Person) -> Result<()> + Send + 'static,
    ) -> Pending<GalleryChange> {
        self.order(Class::Plain, 1024, move |desk| {
            let (row, mut person) = need(desk.db, desk.seal, &key)?;
            edit(&mut person)?;
            if person.key != key {
                return Err(Error::new(Kind::Input, "an edit cannot change the id of a person"));
            }
            check_person(&person)?;
            update(desk, row, &person)?;
            Ok(GalleryChange::default())
        })
    }

    /// A person with all their faces (at most three), in place of what the key had before. Their row and
    /// last passage stay. `Exists` if a face id belongs to somebody else of the same origin.
    pub fn put_person(&self, person: Person, faces: Vec<NewFace>) -> Pending<GalleryChange> {
        if let Err(error) = check_person(&person).and_then(|()| check_new_faces(&faces)) {
            return Pending::ready(Err(error));
        }
        self.order(Class::Grows, 1024 + faces::weight(&faces), move |desk| {
            let mut change = GalleryChange::default();
            let row = match find(desk.db, &person.key)? {
                Some(row) => {
                    update(desk, row, &person)?;
                    change.forget = faces::remove_of(desk.db, row)?;
                    row
                }
                None => insert(desk, &person)?,
            };
            for face in &faces {
                let put = faces::put(desk, row, person.key.origin, face)?;
                change.learn.extend(put.learn);
            }
            desk.announce(change.clone());
            Ok(change)
        })
    }

    /// Gives a person the ids that a platform has for them, and keeps `setting` with it, in one transaction:
    /// a new key, and for each `(face, id)` of `faces` that is theirs a new face id. Their row, faces,
    /// templates, rules and last passage stay, so the gallery need not change.
    ///
    /// `NotFound` without the person, `Input` for an id that cannot be stored, `Exists` if an id belongs to
    /// somebody else; then nothing has changed, not even the setting.
    pub fn adopt_person(
        &self,
        key: PersonKey,
        new_key: PersonKey,
        faces: Vec<(FaceRow, String)>,
        setting: Option<(&'static str, String)>,
    ) -> Pending<()> {
        if let Err(error) = check_id("the id of a person", &new_key.id)
            .and_then(|()| faces.iter().try_for_each(|(_, id)| check_id("the id of a face", id)))
        {
            return Pending::ready(Err(error));
        }
        self.order(Class::Plain, 1024, move |desk| {
            let (row, mut person) = need(desk.db, desk.seal, &key)?;
            if new_key != key {
                if find(desk.db, &new_key)?.is_some() {
                    return Err(Error::new(
                        Kind::Exists,
                        format!("the id {} belongs to another person here", new_key.id),
                    ));
                }
                person.key = new_key.clone();
                update(desk, row, &person)?;
            }
            faces::rename(desk.db, row, new_key.origin, &faces)?;
            match &setting {
                Some((name, value)) => super::settings::put(desk.db, name, value),
                None => Ok(()),
            }
        })
    }

    /// A person in place of what the key had before. Their row, last passage and faces stay.
    pub fn put_facts(&self, person: Person) -> Pending<GalleryChange> {
        if let Err(error) = check_person(&person) {
            return Pending::ready(Err(error));
        }
        self.order(Class::Grows, 1024, move |desk| {
            match find(desk.db, &person.key)? {
                Some(row) => update(desk, row, &person)?,
                None => {
                    insert(desk, &person)?;
                }
            }
            Ok(GalleryChange::default())
        })
    }

    /// Removes people and all that belongs to them (records stay), in one transaction. All that are there go;
    /// who was not is told. `NotFound` if nobody of them is there.
    pub fn delete_people(&self, mut keys: Vec<PersonKey>) -> Pending<Removed> {
        let mut named = HashSet::new();
        keys.retain(|key| named.insert(key.clone()));
        self.order(Class::Plain, 256 * keys.len(), move |desk| {
            let mut change = GalleryChange::default();
            let mut missing = Vec::new();
            for key in &keys {
                let Some(row) = find(desk.db, key)? else {
                    missing.push(key.clone());
                    continue;
                };
                change.forget.extend(faces::of(desk.db, row)?);
                desk.db.prepare_cached("DELETE FROM people WHERE id = ?1")?.execute([row.0])?;
            }
            if missing.len() == keys.len() {
                return Err(match &keys[..] {
                    [key] => not_found(key),
                    keys => Error::new(Kind::NotFound, format!("none of the {} people is here", keys.len())),
                });
            }
            desk.announce(change.clone());
            Ok(Removed { people: keys.len() - missing.len(), missing, change })
        })
    }

    /// Removes everybody of one origin.
    pub fn clear_people(&self, origin: Origin) -> Pending<GalleryChange> {
        self.order(Class::Plain, 256, move |desk| {
            let forget = desk
                .db
                .prepare_cached("SELECT id FROM faces WHERE origin = ?1 ORDER BY id")?
                .query_map([origin.as_str()], |row| row.get(0).map(FaceRow))?
                .collect::<rusqlite::Result<_>>()?;
            let change = GalleryChange { forget, learn: Vec::new() };
            desk.db.prepare_cached("DELETE FROM people WHERE origin = ?1")?.execute([origin.as_str()])?;
            desk.announce(change.clone());
            Ok(change)
        })
    }

    /// A person by key.
    pub fn person(&self, key: &PersonKey) -> Result<Option<Person>> {
        self.read(|db| one(db, self.seal(), "origin = ?1 AND key = ?2", params![key.origin.as_str(), key.id]))
    }

    /// A person by row, as the gallery names them.
    pub fn person_by_row(&self, row: PersonRow) -> Result<Option<Person>> {
        self.read(|db| one(db, self.seal(), "id = ?1", [row.0]))
    }

    /// Everybody with this card (compared without leading zeros and case).
    pub fn people_by_card(&self, card: &str) -> Result<Vec<Person>> {
        let Some(hash) = card_hash(self.seal(), Some(card)) else { return Ok(Vec::new()) };
        self.read(|db| {
            let mut people = some(db, self.seal(), "card_hash = ?1 ORDER BY id", [hash])?;
            let wanted = canonical_card(card);
            people.retain(|(_, person)| person.card.as_deref().and_then(canonical_card) == wanted);
            Ok(people.into_iter().map(|(_, person)| person).collect())
        })
    }

    /// Everybody with this identity number (compared without white space and case).
    pub fn people_by_id_number(&self, number: &str) -> Result<Vec<Person>> {
        let Some(hash) = id_number_hash(self.seal(), Some(number)) else { return Ok(Vec::new()) };
        self.read(|db| {
            let mut people = some(db, self.seal(), "id_number_hash = ?1 ORDER BY id", [hash])?;
            let wanted = canonical_id_number(number);
            people.retain(|(_, person)| person.id_number.as_deref().and_then(canonical_id_number) == wanted);
            Ok(people.into_iter().map(|(_, person)| person).collect())
        })
    }

    /// People in the order of their rows after `after`, at most `limit`. A person who does not open is left
    /// out and logged.
    pub fn list_people(&self, after: Option<PersonRow>, limit: usize) -> Result<Vec<ListedPerson>> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached(&format!("SELECT {COLUMNS} FROM people WHERE id > ?1 ORDER BY id"))?;
            let mut rows = statement.query([after.map_or(0, |row| row.0)])?;
            let mut people = Vec::new();
            // The limit counts who can be shown, so that a caller who asks on after the last sees everybody.
            while people.len() < limit {
                let Some(row) = rows.next()? else { break };
                match read(row, self.seal()) {
                    Ok((row, person)) => {
                        people.push(ListedPerson { row, person, faces: faces::named(db, row)? });
                    }
                    Err(error) => tracing::error!(%error, "a person is left out"),
                }
            }
            Ok(people)
        })
    }

    /// How many people of these origins there are, and the last row among them.
    pub fn count_people(&self, origins: &[Origin]) -> Result<(u64, Option<PersonRow>)> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT count(*), max(id) FROM people WHERE origin = ?1")?;
            let (mut people, mut last) = (0, None);
            for origin in origins {
                let (count, row): (i64, Option<i64>) =
                    statement.query_row([origin.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
                people += count.max(0) as u64;
                last = last.max(row.map(PersonRow));
            }
            Ok((people, last))
        })
    }

    /// A person by key, with their faces.
    pub fn listed_person(&self, key: &PersonKey) -> Result<Option<ListedPerson>> {
        self.read(|db| {
            let found =
                some(db, self.seal(), "origin = ?1 AND key = ?2", params![key.origin.as_str(), key.id])?
                    .pop();
            let listed = |(row, person)| Ok(ListedPerson { row, person, faces: faces::named(db, row)? });
            found.map(listed).transpose()
        })
    }

    /// How many people, faces and records there are, and their size.
    pub fn counts(&self) -> Result<Counts> {
        self.read(|db| {
            let count = |table: &str| -> Result<u64> {
                let rows: i64 = db
                    .prepare_cached(&format!("SELECT count(*) FROM {table}"))?
                    .query_row([], |row| row.get(0))?;
                Ok(rows.max(0) as u64)
            };
            Ok(Counts {
                people: count("people")?,
                faces: count("faces")?,
                records: count("records")?,
                bytes: super::sqlite::used_bytes(db)?,
            })
        })
    }
}

fn check_person(person: &Person) -> Result<()> {
    check_id("the id of a person", &person.key.id)?;
    let texts = [
        ("the name", Some(person.name.as_str())),
        ("the code", Some(person.code.as_str())),
        ("the card number", person.card.as_deref()),
        ("the identity number", person.id_number.as_deref()),
    ];
    for (what, text) in texts {
        if text.is_some_and(|text| text.len() > TEXT_BYTES) {
            return Err(Error::new(Kind::Input, format!("{what} has more than {TEXT_BYTES} bytes")));
        }
    }
    Ok(())
}

pub(super) fn check_id(what: &str, id: &str) -> Result<()> {
    if id.is_empty() || id.len() > ID_BYTES {
        return Err(Error::new(
            Kind::Input,
            format!("{what} must have 1 to {ID_BYTES} bytes, not {}", id.len()),
        ));
    }
    Ok(())
}

pub(super) fn not_found(key: &PersonKey) -> Error {
    Error::new(Kind::NotFound, format!("there is no person {} ({})", key.id, key.origin.as_str()))
}

/// The row of a person.
pub(super) fn find(db: &Connection, key: &PersonKey) -> Result<Option<PersonRow>> {
    Ok(db
        .prepare_cached("SELECT id FROM people WHERE origin = ?1 AND key = ?2")?
        .query_row(params![key.origin.as_str(), key.id], |row| row.get(0).map(PersonRow))
        .optional()?)
}

fn need(db: &Connection, seal: &Seal, key: &PersonKey) -> Result<(PersonRow, Person)> {
    some(db, seal, "origin = ?1 AND key = ?2", params![key.origin.as_str(), key.id])?
        .pop()
        .ok_or_else(|| not_found(key))
}

fn one(db: &Connection, seal: &Seal, wanted: &str, values: impl rusqlite::Params) -> Result<Option<Person>> {
    Ok(some(db, seal, wanted, values)?.pop().map(|(_, person)| person))
}

fn some(
    db: &Connection,
    seal: &Seal,
    wanted: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<(PersonRow, Person)>> {
    let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM people WHERE {wanted}"))?;
    let mut rows = statement.query(values)?;
    let mut people = Vec::new();
    while let Some(row) = rows.next()? {
        people.push(read(row, seal)?);
    }
    Ok(people)
}

/// What [`read`] reads.
pub(super) const COLUMNS: &str = "id, origin, key, passes_left, rules, facts";

/// A person from [`COLUMNS`].
pub(super) fn read(row: &Row<'_>, seal: &Seal) -> Result<(PersonRow, Person)> {
    let number: i64 = row.get(0)?;
    let origin: String = row.get(1)?;
    let origin = Origin::parse(&origin).ok_or_else(|| {
        Error::new(Kind::Store, format!("people.origin of row {number} is unknown: {origin}"))
    })?;
    let key = PersonKey { origin, id: row.get(2)? };
    let rules: Rules = serde_json::from_str(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(bad_json(&format!("people.rules of row {number}")))?;
    let sealed = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
    let facts = seal.open(Place::PersonFacts { row: number, key: &key }, sealed)?;
    let facts: Facts =
        serde_json::from_slice(&facts).map_err(bad_json(&format!("people.facts of row {number}")))?;
    let person = Person {
        key,
        code: facts.code,
        name: facts.name,
        kind: rules.kind,
        id_number: facts.id_number,
        card: facts.card,
        passes_left: row.get(3)?,
        valid_from: rules.valid_from,
        valid_until: rules.valid_until,
        schedule: rules.schedule,
        mode: rules.mode,
    };
    Ok((PersonRow(number), person))
}

fn insert(desk: &Desk<'_>, person: &Person) -> Result<PersonRow> {
    let row = next_number(desk.db, "people")?;
    write(
        desk,
        "INSERT INTO people (id, origin, key, passes_left, rules, facts, card_hash, id_number_hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        row,
        person,
    )?;
    Ok(PersonRow(row))
}

fn update(desk: &Desk<'_>, row: PersonRow, person: &Person) -> Result<()> {
    write(
        desk,
        "UPDATE people SET origin = ?2, key = ?3, passes_left = ?4, rules = ?5, facts = ?6,
         card_hash = ?7, id_number_hash = ?8 WHERE id = ?1",
        row.0,
        person,
    )
}

fn write(desk: &Desk<'_>, sql: &str, row: i64, person: &Person) -> Result<()> {
    let broken = |error| Error::caused(Kind::Input, "a person cannot be written as JSON", error);
    let rules = serde_json::to_string(&Rules {
        kind: person.kind,
        valid_from: person.valid_from,
        valid_until: person.valid_until,
        schedule: person.schedule.clone(),
        mode: person.mode,
    })
    .map_err(broken)?;
    let facts = serde_json::to_vec(&Facts {
        code: person.code.clone(),
        name: person.name.clone(),
        id_number: person.id_number.clone(),
        card: person.card.clone(),
    })
    .map_err(broken)?;
    let facts = desk.seal.seal(Place::PersonFacts { row, key: &person.key }, &facts)?;
    let (card, id_number) = hashes(desk.seal, person);
    desk.db.prepare_cached(sql)?.execute(params![
        row,
        person.key.origin.as_str(),
        person.key.id,
        person.passes_left,
        rules,
        facts,
        card,
        id_number
    ])?;
    Ok(())
}
