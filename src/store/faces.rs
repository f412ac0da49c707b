//! Faces: pictures and templates of people.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::people::{check_id, find, not_found};
use super::seal::Place;
use super::writer::{Class, Desk};
use super::{FaceRow, GalleryChange, Learned, NewFace, Pending, PersonRow, Store, next_number};
use crate::access::{Origin, PersonKey};
use crate::error::{Error, Kind, Result};

/// Faces of one person (QYZN 4.3.1).
pub const FACES_PER_PERSON: usize = 3;
/// Largest picture and template, in bytes: what `put_face` takes, not what is sensible.
const PICTURE_BYTES: usize = 16 << 20;
const TEMPLATE_BYTES: usize = 64 << 10;

impl Store {
    /// Adds a face or replaces the one with its id; `NotFound` without the person, `Input` beyond three,
    /// `Exists` if the id belongs to a face of somebody else of the same origin.
    pub fn put_face(&self, key: PersonKey, face: NewFace) -> Pending<GalleryChange> {
        if let Err(error) = check_new_faces(std::slice::from_ref(&face)) {
            return Pending::ready(Err(error));
        }
        self.order(Class::Grows, weight(std::slice::from_ref(&face)), move |desk| {
            let person = find(desk.db, &key)?.ok_or_else(|| not_found(&key))?;
            let change = put(desk, person, key.origin, &face)?;
            desk.announce(change.clone());
            Ok(change)
        })
    }

    /// Removes one face; `NotFound` if it is not there.
    pub fn delete_face(&self, origin: Origin, face_id: String) -> Pending<GalleryChange> {
        self.order(Class::Plain, 256, move |desk| {
            let face: Option<i64> = desk
                .db
                .prepare_cached("DELETE FROM faces WHERE origin = ?1 AND face_id = ?2 RETURNING id")?
                .query_row(params![origin.as_str(), face_id], |row| row.get(0))
                .optional()?;
            let face =
                face.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no face {face_id}")))?;
            let change = GalleryChange { forget: vec![FaceRow(face)], learn: Vec::new() };
            desk.announce(change.clone());
            Ok(change)
        })
    }

    /// Removes all faces of a person; `NotFound` without the person.
    pub fn delete_faces(&self, key: PersonKey) -> Pending<GalleryChange> {
        self.order(Class::Plain, 256, move |desk| {
            let person = find(desk.db, &key)?.ok_or_else(|| not_found(&key))?;
            let change = GalleryChange { forget: remove_of(desk.db, person)?, learn: Vec::new() };
            desk.announce(change.clone());
            Ok(change)
        })
    }

    /// Gives a face a template of another model, if the face is still there (false if not). The observer is
    /// told to forget the face and to learn it with its new template.
    pub fn set_template(&self, face: FaceRow, model: String, template: Vec<u8>) -> Pending<bool> {
        if let Err(error) = check_template(&model, &template) {
            return Pending::ready(Err(error));
        }
        self.order(Class::Plain, template.len() + 256, move |desk| {
            let person: Option<i64> = desk
                .db
                .prepare_cached("SELECT person FROM faces WHERE id = ?1")?
                .query_row([face.0], |row| row.get(0))
                .optional()?;
            let Some(person) = person else { return Ok(false) };
            let sealed =
                desk.seal.seal(Place::Template { face: face.0, person, model: &model }, &template)?;
            desk.db
                .prepare_cached("UPDATE faces SET model = ?2, template = ?3 WHERE id = ?1")?
                .execute(params![face.0, model, sealed])?;
            desk.announce(GalleryChange {
                forget: vec![face],
                learn: vec![Learned {
                    face,
                    person: PersonRow(person),
                    model: model.clone(),
                    template: template.clone(),
                }],
            });
            Ok(true)
        })
    }

    /// The `faceId` of a face.
    pub fn face_id(&self, face: FaceRow) -> Result<Option<String>> {
        self.read(|db| {
            Ok(db
                .prepare_cached("SELECT face_id FROM faces WHERE id = ?1")?
                .query_row([face.0], |row| row.get(0))
                .optional()?)
        })
    }

    /// The picture a face was enrolled from.
    pub fn face_picture(&self, face: FaceRow) -> Result<Option<Vec<u8>>> {
        self.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT f.person, p.picture FROM faces f JOIN face_pictures p ON p.face = f.id WHERE f.id = ?1",
            )?;
            let mut rows = statement.query([face.0])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            let sealed = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            self.seal().open(Place::FacePicture { face: face.0, person: row.get(0)? }, sealed).map(Some)
        })
    }

    /// Calls `each` with every template of `model`, in the order of the faces' rows. A template that does not
    /// open is left out and logged (`menshen check` repairs it): one damaged page must not shut the gate for
    /// everybody. The count of those is returned.
    pub fn each_template(&self, model: &str, each: &mut dyn FnMut(FaceRow, PersonRow, &[u8])) -> Result<u64> {
        self.read(|db| {
            // In the order of the table, not of the index by model: one pass over the pages.
            let mut statement =
                db.prepare_cached("SELECT id, person, template FROM faces WHERE +model = ?1 ORDER BY id")?;
            let mut rows = statement.query([model])?;
            let mut template = Vec::new();
            let mut damaged = 0;
            while let Some(row) = rows.next()? {
                let (face, person) = (row.get(0)?, row.get(1)?);
                let sealed = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
                match self.seal().open_into(Place::Template { face, person, model }, sealed, &mut template) {
                    Ok(()) => each(FaceRow(face), PersonRow(person), &template),
                    Err(_) => damaged += 1,
                }
            }
            if damaged > 0 {
                tracing::error!(
                    damaged,
                    model,
                    "templates do not open and are left out; run `menshen check --repair`"
                );
            }
            Ok(damaged)
        })
    }

    /// Faces whose template is not of `model`, in the order of their rows after `after`, at most `limit`.
    pub fn faces_without(
        &self,
        model: &str,
        after: Option<FaceRow>,
        limit: usize,
    ) -> Result<Vec<(FaceRow, PersonRow)>> {
        self.read(|db| {
            // The index holds all that is asked for; the table with its templates need not be read.
            let mut statement = db.prepare_cached(
                "SELECT id, person FROM faces INDEXED BY faces_by_model
                 WHERE model <> ?1 AND +id > ?2 ORDER BY +id LIMIT ?3",
            )?;
            let rows = statement.query_map(
                params![model, after.map_or(0, |face| face.0), i64::try_from(limit).unwrap_or(i64::MAX)],
                |row| Ok((FaceRow(row.get(0)?), PersonRow(row.get(1)?))),
            )?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// What can be said of new faces without the store.
pub(super) fn check_new_faces(faces: &[NewFace]) -> Result<()> {
    if faces.len() > FACES_PER_PERSON {
        return Err(Error::new(
            Kind::Input,
            format!("a person has at most {FACES_PER_PERSON} faces, not {}", faces.len()),
        ));
    }
    let mut ids = HashSet::new();
    for face in faces {
        check_id("the id of a face", &face.face_id)?;
        check_template(&face.model, &face.template)?;
        if face.picture.len() > PICTURE_BYTES {
            return Err(Error::new(
                Kind::Input,
                format!(
                    "the picture has {} bytes; at most {PICTURE_BYTES} can be stored",
                    face.picture.len()
                ),
            ));
        }
        if !ids.insert(&face.face_id) {
            return Err(Error::new(Kind::Input, format!("the face {} is named twice", face.face_id)));
        }
    }
    Ok(())
}

fn check_template(model: &str, template: &[u8]) -> Result<()> {
    if model.is_empty() || model.len() > 128 {
        return Err(Error::new(Kind::Input, "the id of a model must have 1 to 128 bytes"));
    }
    if template.is_empty() || template.len() > TEMPLATE_BYTES {
        return Err(Error::new(
            Kind::Input,
            format!("a template must have 1 to {TEMPLATE_BYTES} bytes, not {}", template.len()),
        ));
    }
    Ok(())
}

/// About how many bytes faces take.
pub(super) fn weight(faces: &[NewFace]) -> usize {
    faces.iter().map(|face| face.picture.len() + face.template.len() + 256).sum()
}

/// The faces of a person.
pub(super) fn of(db: &Connection, person: PersonRow) -> Result<Vec<FaceRow>> {
    let mut statement = db.prepare_cached("SELECT id FROM faces WHERE person = ?1 ORDER BY id")?;
    let rows = statement.query_map([person.0], |row| row.get(0).map(FaceRow))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The same with their ids.
pub(super) fn named(db: &Connection, person: PersonRow) -> Result<Vec<(FaceRow, String)>> {
    let mut statement = db.prepare_cached("SELECT id, face_id FROM faces WHERE person = ?1 ORDER BY id")?;
    let rows = statement.query_map([person.0], |row| Ok((FaceRow(row.get(0)?), row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes the faces of a person and says which they were.
pub(super) fn remove_of(db: &Connection, person: PersonRow) -> Result<Vec<FaceRow>> {
    let faces = of(db, person)?;
    db.prepare_cached("DELETE FROM faces WHERE person = ?1")?.execute([person.0])?;
    Ok(faces)
}

/// Gives faces of a person new ids, and all of them the person's new origin. `Exists` if an id belongs to a face
/// of somebody else, or two would have the same.
pub(super) fn rename(
    db: &Connection,
    person: PersonRow,
    origin: Origin,
    names: &[(FaceRow, String)],
) -> Result<()> {
    let mut faces = named(db, person)?;
    for (row, id) in &mut faces {
        if let Some((_, name)) = names.iter().find(|(face, _)| face == row) {
            id.clone_from(name);
        }
    }
    let mut other =
        db.prepare_cached("SELECT 1 FROM faces WHERE origin = ?1 AND face_id = ?2 AND person <> ?3")?;
    let mut ids = HashSet::new();
    for (_, id) in &faces {
        if !ids.insert(id) || other.exists(params![origin.as_str(), id, person.0])? {
            return Err(Error::new(Kind::Exists, format!("the face id {id} belongs to another face here")));
        }
    }
    // Two faces may change their ids for each other's: first out of the way, to what no platform can name.
    let mut away = db.prepare_cached("UPDATE faces SET origin = '', face_id = ?2 WHERE id = ?1")?;
    for (row, _) in &faces {
        away.execute(params![row.0, row.0.to_string()])?;
    }
    let mut name = db.prepare_cached("UPDATE faces SET origin = ?2, face_id = ?3 WHERE id = ?1")?;
    for (row, id) in &faces {
        name.execute(params![row.0, origin.as_str(), id])?;
    }
    Ok(())
}

/// Adds a face, in place of the one with its id.
pub(super) fn put(
    desk: &Desk<'_>,
    person: PersonRow,
    origin: Origin,
    face: &NewFace,
) -> Result<GalleryChange> {
    let db = desk.db;
    let mut change = GalleryChange::default();
    let known: Option<(i64, i64)> = db
        .prepare_cached("SELECT id, person FROM faces WHERE origin = ?1 AND face_id = ?2")?
        .query_row(params![origin.as_str(), face.face_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match known {
        Some((_, whose)) if whose != person.0 => {
            return Err(Error::new(
                Kind::Exists,
                format!("the face {} belongs to another person; remove it there first", face.face_id),
            ));
        }
        Some((old, _)) => {
            db.prepare_cached("DELETE FROM faces WHERE id = ?1")?.execute([old])?;
            change.forget.push(FaceRow(old));
        }
        None => {
            let faces: i64 = db
                .prepare_cached("SELECT count(*) FROM faces WHERE person = ?1")?
                .query_row([person.0], |row| row.get(0))?;
            if faces >= FACES_PER_PERSON as i64 {
                return Err(Error::new(
                    Kind::Input,
                    format!("the person has {FACES_PER_PERSON} faces already; remove one first"),
                ));
            }
        }
    }
    let row = next_number(db, "faces")?;
    let template = desk
        .seal
        .seal(Place::Template { face: row, person: person.0, model: &face.model }, &face.template)?;
    let picture = desk.seal.seal(Place::FacePicture { face: row, person: person.0 }, &face.picture)?;
    db.prepare_cached(
        "INSERT INTO faces (id, person, origin, face_id, model, template) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![row, person.0, origin.as_str(), face.face_id, face.model, template])?;
    db.prepare_cached("INSERT INTO face_pictures (face, picture) VALUES (?1, ?2)")?
        .execute(params![row, picture])?;
    change.learn.push(Learned {
        face: FaceRow(row),
        person,
        model: face.model.clone(),
        template: face.template.clone(),
    });
    Ok(change)
}
