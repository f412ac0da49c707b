//! Versions of the schema. A store made by an older program is brought to the present version, one step after
//! the other, in one transaction; a store made by a newer program is refused, because writing to it could
//! destroy what we do not know.

use rusqlite::Connection;

use super::seal::{KEY_CHECK, Place, Seal};
use super::sqlite::{APPLICATION_ID, At, number};
use crate::error::{Context, Error, Kind, Result};

/// The schema of a fresh store.
pub(super) const SCHEMA: &str = include_str!("schema.sql");

/// From version `n` (the first is 1) to `n + 1`: one function for each version that was ever released.
type Step = fn(&Connection, &Seal) -> Result<()>;
const STEPS: &[Step] = &[v1_to_v2::upgrade, v2_to_v3::upgrade];

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
}

/// Looks at a file; `Store` if it is not ours or newer than this program.
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
    if version > VERSION {
        return Err(Error::new(
            Kind::Store,
            format!(
                "the store has version {version}, newer than the {VERSION} this program knows; \
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
        mark(db, VERSION)
    })
}

/// Brings a store from `version` to ours.
pub(super) fn upgrade(db: &Connection, seal: &Seal, version: i64) -> Result<()> {
    run(db, seal, version, STEPS)
}

fn run(db: &Connection, seal: &Seal, version: i64, steps: &[Step]) -> Result<()> {
    let target = 1 + steps.len() as i64;
    if version == target {
        return Ok(());
    }
    whole(db, || {
        for (from, step) in (1..).zip(steps).skip_while(|(from, _)| *from < version) {
            step(db, seal).context(|| format!("the store cannot be upgraded from version {from}"))?;
        }
        mark(db, target)
    })?;
    tracing::info!(from = version, to = target, "the store was upgraded");
    Ok(())
}

/// Times and results of records in clear, and what is asked for again.
mod v1_to_v2 {
    use std::path::Path;

    use super::*;
    use crate::store::sqlite::open_reader;
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
        // On a connection of its own: one that has met a damaged page writes nothing more in its transaction.
        let reader = match db.path().filter(|path| !path.is_empty()) {
            Some(path) => Some(open_reader(Path::new(path))?),
            None => None,
        };
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
            |db, _| db.execute_batch("CREATE TABLE two (a)").at(|| "2"),
            |db, _| db.execute_batch("ALTER TABLE two ADD COLUMN b").at(|| "3"),
            |db, _| db.execute_batch("INSERT INTO two (a, b) VALUES (1, 2)").at(|| "4"),
        ];
        let db = Connection::open_in_memory().unwrap();
        mark(&db, 1).unwrap();
        run(&db, &seal, 1, &steps[..1]).unwrap();
        assert_eq!(number(&db, "user_version").unwrap(), 2);
        run(&db, &seal, 2, steps).unwrap();
        assert_eq!(number(&db, "user_version").unwrap(), 4);
        assert_eq!(db.query_row("SELECT a + b FROM two", [], |row| row.get::<_, i64>(0)).unwrap(), 3);

        let failing: &[Step] = &[
            |db, _| db.execute_batch("CREATE TABLE two (a)").at(|| "2"),
            |_, _| Err(Error::new(Kind::Store, "no")),
        ];
        let db = Connection::open_in_memory().unwrap();
        mark(&db, 1).unwrap();
        let error = run(&db, &seal, 1, failing).unwrap_err();
        assert_eq!(error.to_string(), "the store cannot be upgraded from version 2: no");
        assert_eq!(number(&db, "user_version").unwrap(), 1);
        assert!(schema(&db).is_empty(), "the first step must be undone");
    }

    #[test]
    fn a_newer_store_and_a_foreign_file_are_refused() {
        let db = Connection::open_in_memory().unwrap();
        assert_eq!(look(&db).unwrap(), Found::Fresh);
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
