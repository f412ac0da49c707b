//! Versions of the schema. A store made by an older program is brought to the present version, one step after
//! the other, in one transaction.
//!
//! A gate that falls back to the program of before must find its store usable, with all that was acknowledged in
//! the meantime. So a step only adds, and a store says by which version it can be read and written
//! (`meta.readable_by`). An older program that writes to it says so too (`meta.written_by`), and the newer one
//! completes what that one did not know of when it comes back. A store that says nothing of the kind to this
//! program is refused, because writing to it could destroy what we do not know. docs/design.md has the rules.

use std::path::Path;

use rusqlite::Connection;

use super::seal::{KEY_CHECK, Place, Seal};
use super::sqlite::{APPLICATION_ID, At, number, open_reader};
use crate::error::{Context, Error, Kind, Result};

/// The schema of a fresh store.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// From version `n` (the first is 1) to `n + 1`: one for each version that was ever released.
#[derive(Clone, Copy)]
struct Step {
    /// Adds what is new, and fills it.
    upgrade: fn(&Connection, &Seal) -> Result<()>,
    /// Fills it for rows that version `n` has written since; may find nothing to do.
    complete: fn(&Connection, &Seal) -> Result<()>,
}

const STEPS: &[Step] = &[
    Step { upgrade: v1_to_v2::upgrade, complete: v1_to_v2::complete },
    // Version 2 knows no incidents: it leaves nothing to complete.
    Step { upgrade: v2_to_v3::upgrade, complete: |_, _| Ok(()) },
    Step { upgrade: v3_to_v4::complete, complete: v3_to_v4::complete },
];

/// The oldest version that can read and write a store of [`VERSION`]: never less far back than the last release.
/// Version 1 refuses every store but its own.
const READABLE_BY: i64 = 2;

/// What a version added: tables and indexes that a file of an older version does not have.
pub(super) const ADDED: &[(&str, i64)] = &[
    ("record_times", 2),
    ("record_times_by_time", 2),
    ("asked_again", 2),
    ("incidents", 3),
    ("incidents_that_last", 3),
];

/// The version of [`SCHEMA`].
pub(super) const VERSION: i64 = 1 + STEPS.len() as i64;

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Fresh,
    /// A store of this version, at most ours.
    Version(i64),
    /// A store of this newer version, which can be read and written by ours.
    Newer(i64),
}

/// Looks at a file; `Store` if it is not ours, or of a version that this program must not touch.
pub(super) fn look(db: &Connection) -> Result<Found> {
    let application = number(db, "application_id")?;
    let version = number(db, "user_version")?;
    let tables: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .at(|| "the store's tables cannot be listed")?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(Found::Fresh);
    }
    if application != i64::from(APPLICATION_ID) || version < 1 {
        return Err(Error::new(
            Kind::Store,
            format!(
                "the file is a database of another program (application_id {application:#x}); \
                 move it away or name another data_dir"
            ),
        ));
    }
    found(db, version, VERSION)
}

/// What a store of `version` is to a program that knows `known`.
fn found(db: &Connection, version: i64, known: i64) -> Result<Found> {
    if version > known {
        if note(db, "readable_by")?.is_some_and(|oldest| oldest <= known) {
            return Ok(Found::Newer(version));
        }
        return Err(Error::new(
            Kind::Store,
            format!(
                "the store has version {version}, newer than the {known} this program knows; \
                 install the program that wrote it, or a newer one"
            ),
        ));
    }
    Ok(Found::Version(version))
}

/// Makes the tables of a fresh store, with the value by which its key is recognised.
pub(super) fn create(db: &Connection, seal: &Seal) -> Result<()> {
    whole(db, || {
        db.execute_batch(SCHEMA).at(|| "the store's tables cannot be made")?;
        db.execute(
            "INSERT INTO meta (key, value) VALUES ('key_check', ?1)",
            [seal.seal(Place::KeyCheck, KEY_CHECK)?],
        )
        .at(|| "the key check cannot be written")?;
        put_note(db, "readable_by", READABLE_BY)?;
        mark(db, VERSION)
    })
}

/// Brings a store from `version` to ours, and completes what an older program has written to one of ours.
pub(super) fn upgrade(db: &Connection, seal: &Seal, version: i64) -> Result<()> {
    run(db, seal, version, STEPS, READABLE_BY)
}

/// Notes that this program writes to a store of a newer version.
pub(super) fn note_older_writer(db: &Connection, newer: i64) -> Result<()> {
    note_writer(db, newer, VERSION)
}

fn note_writer(db: &Connection, newer: i64, known: i64) -> Result<()> {
    if note(db, "written_by")?.is_some_and(|oldest| oldest <= known) {
        return Ok(());
    }
    tracing::warn!(
        store = newer,
        program = known,
        "the store is of a newer version: this program uses it as the older one that it is"
    );
    whole(db, || put_note(db, "written_by", known))
}

fn run(db: &Connection, seal: &Seal, version: i64, steps: &[Step], readable_by: i64) -> Result<()> {
    let target = 1 + steps.len() as i64;
    let written_by = note(db, "written_by")?.unwrap_or(version).min(version);
    if written_by == target && note(db, "readable_by")? == Some(readable_by) {
        return Ok(());
    }
    whole(db, || {
        for (from, step) in (1..).zip(steps).skip_while(|(from, _)| *from < written_by) {
            if from < version {
                (step.complete)(db, seal)
                    .context(|| format!("what version {from} wrote to the store cannot be completed"))?;
            } else {
                (step.upgrade)(db, seal)
                    .context(|| format!("the store cannot be upgraded from version {from}"))?;
            }
        }
        put_note(db, "readable_by", readable_by)?;
        db.execute("DELETE FROM meta WHERE key = 'written_by'", [])
            .at(|| "the older writer of the store cannot be forgotten")?;
        mark(db, target)
    })?;
    if version != target || written_by != target {
        tracing::info!(from = version, to = target, written_by, "the store was upgraded");
    }
    Ok(())
}

/// A number in `meta`; `None` where it is absent or is none.
fn note(db: &Connection, key: &str) -> Result<Option<i64>> {
    use rusqlite::OptionalExtension as _;
    let value: Option<Vec<u8>> = db
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
        .optional()
        .at(|| "the store does not tell its versions")?;
    Ok(value.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok()))
}

fn put_note(db: &Connection, key: &str, number: i64) -> Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
        rusqlite::params![key, number.to_string().into_bytes()],
    )
    .map(drop)
    .at(|| "the store's versions cannot be written")
}

/// Times and results of records in clear, and what is asked for again.
mod v1_to_v2 {
    use super::*;
    use crate::store::{RecordFacts, next_number, records};

    /// As version 2 had them, whatever later versions make of them.
    const TABLES: &str = "
        CREATE TABLE record_times (
            record INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
            at_ms INTEGER NOT NULL,
            result INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX record_times_by_time ON record_times (at_ms, record);
        CREATE TABLE asked_again (
            outbox INTEGER PRIMARY KEY REFERENCES outbox (id) ON DELETE CASCADE
        ) STRICT;";

    pub(super) fn upgrade(db: &Connection, seal: &Seal) -> Result<()> {
        db.execute_batch(TABLES).at(|| "the tables of version 2 cannot be made")?;
        complete(db, seal)
    }

    /// Notes the times of all records: those that are noted already get the same again.
    pub(super) fn complete(db: &Connection, seal: &Seal) -> Result<()> {
        let reader = reader_beside(db)?;
        let reader = reader.as_ref().unwrap_or(db);
        let mut unreadable = 0_u64;
        for record in numbers(reader) {
            match facts(reader, seal, record) {
                Ok(Some(facts)) => records::note_time(db, record, &facts)?,
                Ok(None) => {}
                // A gate must not stay shut for it; `menshen check` says which.
                Err(_) => unreadable += 1,
            }
        }
        if unreadable > 0 {
            tracing::error!(
                unreadable,
                "records do not open; stop the agent and run `menshen check --repair`"
            );
        }
        Ok(())
    }

    /// The numbers of the records, from a short index: a damaged page of the table stops a walk through it. Every
    /// number that was ever given out where the index is damaged too.
    fn numbers(db: &Connection) -> Vec<i64> {
        let listed = || -> rusqlite::Result<Vec<i64>> {
            db.prepare("SELECT id FROM records INDEXED BY records_by_age")?
                .query_map([], |row| row.get(0))?
                .collect()
        };
        let mut numbers = listed().unwrap_or_else(|_| match next_number(db, "records") {
            Ok(next) => (1..next).collect(),
            Err(_) => Vec::new(),
        });
        numbers.sort_unstable();
        numbers
    }

    fn facts(db: &Connection, seal: &Seal, record: i64) -> Result<Option<RecordFacts>> {
        let mut statement = db.prepare_cached("SELECT facts FROM records WHERE id = ?1")?;
        let mut rows = statement.query([record])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let sealed = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        records::open_facts(seal, record, sealed).map(Some)
    }
}

/// What happened at the gate's own contacts.
mod v2_to_v3 {
    use super::*;

    /// As version 3 had it, whatever later versions make of it.
    const TABLE: &str = "
        CREATE TABLE incidents (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            began_ms INTEGER NOT NULL,
            ended_ms INTEGER
        ) STRICT;
        CREATE INDEX incidents_that_last ON incidents (kind) WHERE ended_ms IS NULL;";

    pub(super) fn upgrade(db: &Connection, _seal: &Seal) -> Result<()> {
        db.execute_batch(TABLE).at(|| "the table of version 3 cannot be made")
    }
}

/// Identity numbers are found however they are spaced.
mod v3_to_v4 {
    use rusqlite::params;

    use super::*;
    use crate::store::people;

    /// Makes the hashes of all identity numbers anew. Where a number has no blanks within it is the same as before, so
    /// that older versions find it too.
    pub(super) fn complete(db: &Connection, seal: &Seal) -> Result<()> {
        let reader = reader_beside(db)?;
        let (mut unreadable, mut wrong) = (0_u64, Vec::new());
        // What was found before a page that cannot be read is mended all the same.
        if find(reader.as_ref().unwrap_or(db), seal, &mut unreadable, &mut wrong).is_err() {
            unreadable += 1;
        }
        for (row, hash) in wrong {
            db.prepare_cached("UPDATE people SET id_number_hash = ?2 WHERE id = ?1")
                .and_then(|mut update| update.execute(params![row, hash]))
                .at(|| "an identity number cannot be made findable")?;
        }
        // A gate must not stay shut for them; `menshen check` says which, and makes their hashes anew.
        if unreadable > 0 {
            tracing::error!(
                unreadable,
                "people do not open; stop the agent and run `menshen check --repair`"
            );
        }
        Ok(())
    }

    /// Finds the rows whose hash is not as it must be, and what it must be; on an error, those before it.
    fn find(
        db: &Connection,
        seal: &Seal,
        unreadable: &mut u64,
        wrong: &mut Vec<(i64, Option<[u8; 16]>)>,
    ) -> Result<()> {
        let sql = format!("SELECT {}, id_number_hash FROM people", people::COLUMNS);
        let mut statement = db.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Ok((number, person)) = people::read(row, seal) else {
                *unreadable += 1;
                continue;
            };
            let stored: Option<Vec<u8>> = row.get("id_number_hash")?;
            let (_, right) = people::hashes(seal, &person);
            if stored != right.map(Vec::from) {
                wrong.push((number.0, right));
            }
        }
        Ok(())
    }
}

/// A connection of its own for what is read during an upgrade: one that has met a damaged page writes nothing more in its
/// transaction. `None` of a store in memory.
fn reader_beside(db: &Connection) -> Result<Option<Connection>> {
    db.path().filter(|path| !path.is_empty()).map(|path| open_reader(Path::new(path))).transpose()
}

fn mark(db: &Connection, version: i64) -> Result<()> {
    db.pragma_update(None, "application_id", APPLICATION_ID).at(|| "the store cannot be marked as ours")?;
    db.pragma_update(None, "user_version", version).at(|| "the store's version cannot be written")
}

/// All of `work` or nothing.
fn whole(db: &Connection, work: impl FnOnce() -> Result<()>) -> Result<()> {
    db.execute_batch("BEGIN IMMEDIATE").at(|| "the store cannot begin")?;
    match work().and_then(|()| db.execute_batch("COMMIT").at(|| "the store cannot commit")) {
        Ok(()) => Ok(()),
        Err(error) => {
            if !db.is_autocommit() {
                db.execute_batch("ROLLBACK").at(|| "the store cannot roll back")?;
            }
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a schema says, without its comments and white space.
    fn schema(db: &Connection) -> Vec<(String, String, String)> {
        let mut statement =
            db.prepare("SELECT type, name, ifnull(sql, '') FROM sqlite_schema ORDER BY type, name").unwrap();
        let rows = statement
            .query_map([], |row| {
                let sql: String = row.get(2)?;
                let words = sql.lines().flat_map(|line| line.split("--").next().unwrap().split_whitespace());
                Ok((row.get(0)?, row.get(1)?, words.collect::<Vec<_>>().join(" ")))
            })
            .unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn every_version_that_was_released_becomes_the_present_one() {
        let seal = Seal::new(&[1; 32]);
        let fresh = Connection::open_in_memory().unwrap();
        create(&fresh, &seal).unwrap();
        assert_eq!(look(&fresh).unwrap(), Found::Version(VERSION));
        for version in 1..=VERSION {
            let fixture = format!("{}/tests/schema/v{version}.sql", env!("CARGO_MANIFEST_DIR"));
            let fixture = std::fs::read_to_string(fixture).expect("each version keeps its schema");
            let old = Connection::open_in_memory().unwrap();
            old.execute_batch("BEGIN").unwrap();
            old.execute_batch(&fixture).unwrap();
            old.execute_batch("COMMIT").unwrap();
            mark(&old, version).unwrap();
            upgrade(&old, &seal, version).unwrap();
            assert_eq!(look(&old).unwrap(), Found::Version(VERSION));
            assert_eq!(schema(&old), schema(&fresh), "from version {version}");
        }
    }

    #[test]
    fn steps_run_in_order_from_where_the_store_is_and_all_or_none() {
        let seal = Seal::new(&[1; 32]);
        let steps: &[Step] = &[
            step(|db, _| db.execute_batch("CREATE TABLE two (a)").at(|| "2")),
            step(|db, _| db.execute_batch("ALTER TABLE two ADD COLUMN b").at(|| "3")),
            step(|db, _| db.execute_batch("INSERT INTO two (a, b) VALUES (1, 2)").at(|| "4")),
        ];
        let db = with_meta();
        mark(&db, 1).unwrap();
        run(&db, &seal, 1, &steps[..1], 1).unwrap();
        assert_eq!(number(&db, "user_version").unwrap(), 2);
        run(&db, &seal, 2, steps, 1).unwrap();
        assert_eq!(number(&db, "user_version").unwrap(), 4);
        assert_eq!(db.query_row("SELECT a + b FROM two", [], |row| row.get::<_, i64>(0)).unwrap(), 3);

        let failing: &[Step] = &[
            step(|db, _| db.execute_batch("CREATE TABLE two (a)").at(|| "2")),
            step(|_, _| Err(Error::new(Kind::Store, "no"))),
        ];
        let db = with_meta();
        let before = schema(&db);
        mark(&db, 1).unwrap();
        let error = run(&db, &seal, 1, failing, 1).unwrap_err();
        assert_eq!(error.to_string(), "the store cannot be upgraded from version 2: no");
        assert_eq!(number(&db, "user_version").unwrap(), 1);
        assert_eq!(schema(&db), before, "the first step must be undone");
    }

    fn step(upgrade: fn(&Connection, &Seal) -> Result<()>) -> Step {
        Step { upgrade, complete: |_, _| panic!("nothing is to be completed") }
    }

    fn with_meta() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT")
            .unwrap();
        db
    }

    #[test]
    fn what_an_older_program_wrote_is_completed_once_from_its_version_on() {
        let seal = Seal::new(&[1; 32]);
        const COMPLETE: &str = "INSERT OR IGNORE INTO lengths SELECT name, length(name) FROM names";
        let names = Step {
            upgrade: |db, _| db.execute_batch("CREATE TABLE names (name TEXT PRIMARY KEY)").at(|| "2"),
            complete: |_, _| panic!("nobody of version 1 has written"),
        };
        let lengths = Step {
            upgrade: |db, _| {
                db.execute_batch("CREATE TABLE lengths (name TEXT PRIMARY KEY, length INTEGER)")
                    .at(|| "3")?;
                db.execute_batch(COMPLETE).at(|| "3")
            },
            complete: |db, _| db.execute_batch(COMPLETE).at(|| "3"),
        };
        let steps = [names, lengths];
        let db = with_meta();
        mark(&db, 1).unwrap();
        run(&db, &seal, 1, &steps[..1], 2).unwrap();
        db.execute_batch("INSERT INTO names VALUES ('one')").unwrap();
        run(&db, &seal, 2, &steps, 2).unwrap();
        // The program of version 2 again: it may, and says that it was there.
        assert_eq!(found(&db, 3, 2).unwrap(), Found::Newer(3));
        let refused = found(&db, 3, 1).unwrap_err();
        assert!(refused.to_string().contains("newer than the 1 this program knows"), "{refused}");
        note_writer(&db, 3, 2).unwrap();
        db.execute_batch("INSERT INTO names VALUES ('three')").unwrap();
        let count =
            || db.query_row("SELECT sum(length) FROM lengths", [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count(), 3);
        run(&db, &seal, 3, &steps, 2).unwrap();
        assert_eq!((count(), note(&db, "written_by").unwrap()), (8, None));
        // Once is enough: nobody older has been there since.
        db.execute_batch("INSERT INTO names VALUES ('x')").unwrap();
        run(&db, &seal, 3, &steps, 2).unwrap();
        assert_eq!(count(), 8);
        assert_eq!(number(&db, "user_version").unwrap(), 3);
    }

    #[test]
    fn a_newer_store_and_a_foreign_file_are_refused() {
        let db = Connection::open_in_memory().unwrap();
        assert_eq!(look(&db).unwrap(), Found::Fresh);
        let db = with_meta();
        mark(&db, VERSION + 1).unwrap();
        let error = look(&db).unwrap_err();
        assert_eq!(error.kind(), Kind::Store);
        assert!(
            error.to_string().contains(&format!("newer than the {VERSION} this program knows")),
            "{error}"
        );

        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE other (a); PRAGMA user_version = 3").unwrap();
        assert!(look(&db).unwrap_err().to_string().contains("another program"));
    }
}
