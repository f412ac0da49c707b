//! `menshen check`: verifies a store and repairs what can be repaired. It never does so silently: each finding
//! names the table, the row and what was done.
//!
//! First the file (`integrity_check` of SQLite): damaged indexes are made anew, damaged pages lead to a new file
//! of all rows that can be read (`salvage.rs`). Then the rows: references, sealed values, JSON, counters.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::seal::{KEY_CHECK, OVERHEAD, Place, Seal};
use super::sqlite::{At, used_bytes};
use super::types::{Destination, IncidentKind, NoticeKind, PictureKind, RecordFacts};
use super::upgrade::Found;
use super::{Counts, Options, key_opens, lock, people, records, retention, salvage, sqlite, upgrade};
use crate::error::{Error, Kind, Result};

/// Tables whose numbers never come back.
pub(super) const NUMBERED: [&str; 4] = ["people", "faces", "records", "outbox"];

/// What a check found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// In the order in which they were found.
    pub findings: Vec<Finding>,
    /// What is in the store after the check; `None` where it cannot even be counted.
    pub counts: Option<Counts>,
}

/// One thing that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The table, or the file.
    pub table: String,
    /// The row, where it is about one.
    pub row: Option<i64>,
    /// What is wrong, and what was or can be done. Never a name, a number or another sealed value.
    pub problem: String,
    /// What was done.
    pub done: Done,
}

/// What was done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// Nothing: the check was not asked to repair.
    Nothing,
    /// It is as it was meant to be again.
    Repaired,
    /// What was damaged has been removed.
    Removed,
    /// The face is enrolled again from its picture when the agent runs.
    Reenrol,
}

impl CheckReport {
    /// Whether the store is in order now: nothing was found, or something was done about all of it.
    pub fn in_order(&self) -> bool {
        self.findings.iter().all(|finding| finding.done != Done::Nothing)
    }
}

/// Verifies the store and, with `repair`, repairs it.
///
/// Without `repair` it only reads, also beside a running agent. With it, it must be the only program (`Busy`),
/// and needs room for a second copy if pages are damaged.
///
/// Errors, all without having changed anything: `NotFound` without a store; `Store` when the key is missing or
/// wrong or the store is newer than this program, for then nothing could be told from damage.
pub fn check(options: &Options, repair: bool) -> Result<CheckReport> {
    let file = options.file();
    if !file.exists() && !salvage::waits(&file) {
        return Err(Error::new(
            Kind::NotFound,
            format!("there is no store at {}; check data_dir", file.display()),
        ));
    }
    let _lock = if repair { Some(lock(&options.data_dir)?) } else { None };
    if repair {
        salvage::finish(&file)?;
    }
    let seal = Seal::new(&options.key()?.load(false)?);
    let mut findings = Vec::new();

    let state = look_at_file(&file, &seal, repair, &mut findings)?;
    if let FileState::Damaged(why) = state {
        if !repair {
            return Ok(CheckReport { findings, counts: None });
        }
        let rebuilt = salvage::rebuild(&file, &seal, jiff::Timestamp::now().as_millisecond())?;
        let proof = sqlite::open_reader(rebuilt.path()).and_then(|db| any_value_opens(&db, &seal));
        let proved = match proof {
            Ok(Some(opens)) => opens,
            // Nothing was ever sealed with any key.
            Ok(None) => rebuilt.key_proved || why.is_none(),
            Err(_) => false,
        };
        if !proved {
            rebuilt.discard()?;
            return Err(if matches!(proof, Ok(Some(false))) {
                wrong_key(options)
            } else {
                why.unwrap_or_else(|| wrong_key(options))
            });
        }
        findings.extend(rebuilt.findings.iter().cloned());
        let evidence = rebuilt.take_place()?;
        findings.push(Finding {
            table: "store.sqlite".into(),
            row: None,
            problem: format!(
                "a new file was made of all that could be read; the damaged one is {}",
                evidence.display()
            ),
            done: Done::Repaired,
        });
    }

    let db = if repair { sqlite::open_writer(&file)? } else { sqlite::open_reader(&file)? };
    prove_key(&db, options, &seal, repair, &mut findings)?;
    db.execute_batch(if repair { "BEGIN IMMEDIATE" } else { "BEGIN" }).at(|| "the check cannot begin")?;
    let mut rows = Rows { db: &db, seal: &seal, repair, findings: &mut findings };
    rows.check()?;
    let counts = counts(&db)?;
    db.execute_batch("COMMIT").at(|| "what was repaired cannot be committed")?;
    Ok(CheckReport { findings, counts: Some(counts) })
}

enum FileState {
    Sound,
    /// With the error that SQLite gave at once, if any.
    Damaged(Option<Error>),
}

/// SQLite's own verification; indexes are made anew if that is all it takes.
fn look_at_file(
    file: &std::path::Path,
    seal: &Seal,
    repair: bool,
    findings: &mut Vec<Finding>,
) -> Result<FileState> {
    let opened = if repair { sqlite::open_writer(file) } else { sqlite::open_reader(file) };
    let opened = opened.and_then(|db| upgrade::look(&db).map(|found| (db, found)));
    let done = if repair { Done::Repaired } else { Done::Nothing };
    let mut found = |problem: String| {
        findings.push(Finding { table: "store.sqlite".into(), row: None, problem, done });
    };
    let (db, version) = match opened {
        Ok((_, Found::Fresh)) => {
            return Err(Error::new(Kind::Store, "the store is empty: it has never been used"));
        }
        Ok((_, Found::Version(version))) if version < upgrade::VERSION && !repair => {
            return Err(Error::new(
                Kind::Store,
                format!(
                    "the store has the old version {version}; start the agent, which upgrades it, then check"
                ),
            ));
        }
        Ok((_, Found::Newer(version))) if repair => {
            return Err(Error::new(
                Kind::Store,
                format!(
                    "the store has version {version}, newer than this program: let the program that made it repair it"
                ),
            ));
        }
        Ok((db, Found::Version(version) | Found::Newer(version))) => (db, version),
        Err(error) if error.kind() == Kind::Store => {
            found(format!("the file cannot be opened as a store: {error}"));
            return Ok(FileState::Damaged(Some(error)));
        }
        Err(error) => return Err(error),
    };
    // Damage before the upgrade: it would stop at a damaged page, and what is rebuilt is of our version.
    let sound = || match repair {
        true => upgrade::upgrade(&db, seal, version).map(|()| FileState::Sound),
        false => Ok(FileState::Sound),
    };
    let mut problems = integrity(&db);
    if problems.is_empty() {
        return sound();
    }
    let only_indexes = problems.iter().all(|problem| {
        problem.contains("missing from index")
            || problem.contains("wrong # of entries in index")
            || problem.contains("non-unique entry in index")
    });
    problems.drain(..).for_each(&mut found);
    if only_indexes && repair && db.execute_batch("REINDEX").is_ok() && integrity(&db).is_empty() {
        return sound();
    }
    Ok(FileState::Damaged(None))
}

/// What `integrity_check` says; nothing when all is well.
fn integrity(db: &Connection) -> Vec<String> {
    let work = || -> rusqlite::Result<Vec<String>> {
        let mut statement = db.prepare("PRAGMA integrity_check(20)")?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.collect()
    };
    match work() {
        Ok(lines) if lines == ["ok"] => Vec::new(),
        Ok(lines) => lines,
        Err(error) => vec![format!("the file cannot be verified: {error}")],
    }
}

fn wrong_key(options: &Options) -> Error {
    Error::new(
        Kind::Store,
        format!(
            "wrong key: nothing in the store opens with {}; put back the key it was made with",
            options.config.key
        ),
    )
}

/// The key is right when its check opens, or at least one other value: then it is the check that is damaged.
fn prove_key(
    db: &Connection,
    options: &Options,
    seal: &Seal,
    repair: bool,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    if key_opens(db, seal)? {
        return Ok(());
    }
    if any_value_opens(db, seal)? != Some(true) {
        return Err(wrong_key(options));
    }
    if repair {
        db.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('key_check', ?1)",
            [seal.seal(Place::KeyCheck, KEY_CHECK)?],
        )?;
    }
    findings.push(Finding {
        table: "meta".into(),
        row: None,
        problem: "the value that proves the key is damaged; the key opens others".into(),
        done: if repair { Done::Repaired } else { Done::Nothing },
    });
    Ok(())
}

/// Whether one of some people or records opens; `None` where there are none.
fn any_value_opens(db: &Connection, seal: &Seal) -> Result<Option<bool>> {
    let mut tried = false;
    let mut statement = db.prepare(&format!("SELECT {} FROM people LIMIT 1000", people::COLUMNS))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tried = true;
        if people::read(row, seal).is_ok() {
            return Ok(Some(true));
        }
    }
    let mut statement = db.prepare("SELECT id, facts FROM records LIMIT 1000")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tried = true;
        let sealed: Vec<u8> = row.get(1)?;
        if records::open_facts(seal, row.get(0)?, &sealed).is_ok() {
            return Ok(Some(true));
        }
    }
    Ok(tried.then_some(false))
}

fn counts(db: &Connection) -> Result<Counts> {
    let count = |table: &str| -> Result<u64> {
        let rows: i64 = db.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok(rows.max(0) as u64)
    };
    Ok(Counts {
        people: count("people")?,
        faces: count("faces")?,
        records: count("records")?,
        bytes: used_bytes(db)?,
    })
}

/// A text that may be damaged so that it is no UTF-8.
fn text(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(String::from_utf8_lossy(row.get_ref(column)?.as_bytes()?).into_owned())
}

/// The rows, within one transaction.
struct Rows<'a> {
    db: &'a Connection,
    seal: &'a Seal,
    repair: bool,
    findings: &'a mut Vec<Finding>,
}

impl Rows<'_> {
    fn check(&mut self) -> Result<()> {
        // What refers to nothing first; then whoever is removed takes with them what belongs to them.
        self.orphans()?;
        self.people()?;
        self.faces()?;
        self.records()?;
        self.record_pictures()?;
        self.outbox()?;
        self.texts()?;
        self.lived()?;
        self.counters()
    }

    /// Notes a finding; with `sql` and repair on, runs it on the row.
    fn found(&mut self, table: &str, row: i64, problem: String, done: Done, sql: &str) -> Result<()> {
        if self.repair {
            self.db
                .prepare_cached(sql)?
                .execute([row])
                .at(|| format!("row {row} of {table} cannot be repaired"))?;
        }
        let done = if self.repair { done } else { Done::Nothing };
        self.findings.push(Finding { table: table.into(), row: Some(row), problem, done });
        Ok(())
    }

    /// Row numbers first, then the work on them: a table is not changed under its own cursor.
    fn numbers(&self, sql: &str) -> Result<Vec<i64>> {
        let mut statement = self.db.prepare(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn orphans(&mut self) -> Result<()> {
        let orphans: Vec<(String, i64, String)> = {
            let mut statement = self.db.prepare("PRAGMA foreign_key_check")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (table, row, parent) in orphans {
            let problem = format!("belongs to a row of {parent} that is not there");
            self.found(
                &table,
                row,
                problem,
                Done::Removed,
                &format!("DELETE FROM {table} WHERE rowid = ?1"),
            )?;
        }
        Ok(())
    }

    fn people(&mut self) -> Result<()> {
        let mut after = 0;
        loop {
            // One row at a time, so that it can be changed before the next is read.
            let next =
                self.numbers(&format!("SELECT id FROM people WHERE id > {after} ORDER BY id LIMIT 1000"))?;
            let Some(last) = next.last() else { return Ok(()) };
            after = *last;
            for row in next {
                self.person(row)?;
            }
        }
    }

    fn person(&mut self, row: i64) -> Result<()> {
        type Hashes = (Option<Vec<u8>>, Option<Vec<u8>>);
        let (person, stored, name): (Result<_>, Hashes, String) = self
            .db
            .prepare_cached(&format!(
                "SELECT {}, card_hash, id_number_hash FROM people WHERE id = ?1",
                people::COLUMNS
            ))?
            .query_row([row], |row| {
                Ok((
                    people::read(row, self.seal),
                    (row.get("card_hash")?, row.get("id_number_hash")?),
                    format!("{} ({})", text(row, 2)?, text(row, 1)?),
                ))
            })?;
        let person = match person {
            Ok((_, person)) => person,
            Err(error) => {
                let problem =
                    format!("the person {name} cannot be read, let the platform send them again: {error}");
                return self.found("people", row, problem, Done::Removed, "DELETE FROM people WHERE id = ?1");
            }
        };
        let right = people::hashes(self.seal, &person);
        if stored != (right.0.map(Vec::from), right.1.map(Vec::from)) {
            if self.repair {
                self.db.execute(
                    "UPDATE people SET card_hash = ?2, id_number_hash = ?3 WHERE id = ?1",
                    params![row, right.0, right.1],
                )?;
            }
            self.findings.push(Finding {
                table: "people".into(),
                row: Some(row),
                problem: "the person could not be found by card or identity number".into(),
                done: if self.repair { Done::Repaired } else { Done::Nothing },
            });
        }
        Ok(())
    }

    fn faces(&mut self) -> Result<()> {
        // The store does not know what a template means; of one model, all have the same length.
        let lengths: HashMap<String, i64> = {
            let mut statement = self.db.prepare(
                "SELECT model, length(template), count(*) FROM faces GROUP BY model, length(template) ORDER BY 3",
            )?;
            let rows = statement.query_map([], |row| Ok((text(row, 0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for face in self.numbers("SELECT id FROM faces ORDER BY id")? {
            let (person, origin, id, model, length): (i64, String, String, String, i64) = self
                .db
                .prepare_cached(
                    "SELECT person, origin, face_id, model, length(template) FROM faces WHERE id = ?1",
                )?
                .query_row([face], |row| {
                    Ok((row.get(0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?, row.get(4)?))
                })?;
            let picture: Option<Vec<u8>> = self
                .db
                .prepare_cached("SELECT picture FROM face_pictures WHERE face = ?1")?
                .query_row([face], |row| row.get(0))
                .optional()?;
            let opens = picture
                .is_some_and(|picture| self.seal.open(Place::FacePicture { face, person }, &picture).is_ok());
            if !opens {
                let problem = format!(
                    "the picture of the face {id} ({origin}) is missing or does not open; let the platform send it again"
                );
                self.found("faces", face, problem, Done::Removed, "DELETE FROM faces WHERE id = ?1")?;
                continue;
            }
            let whose: String = self
                .db
                .prepare_cached("SELECT origin FROM people WHERE id = ?1")?
                .query_row([person], |row| row.get(0))
                .optional()?
                .unwrap_or_default();
            if whose != origin && !whose.is_empty() {
                let problem = format!(
                    "the face {id} has another origin than its person; let the platform send it again"
                );
                self.found("faces", face, problem, Done::Removed, "DELETE FROM faces WHERE id = ?1")?;
                continue;
            }
            // Left by an earlier repair, until the agent has enrolled the face again.
            if model.is_empty() {
                continue;
            }
            let template: Vec<u8> = self
                .db
                .prepare_cached("SELECT template FROM faces WHERE id = ?1")?
                .query_row([face], |row| row.get(0))?;
            let problem =
                if self.seal.open(Place::Template { face, person, model: &model }, &template).is_err() {
                    Some(format!("the template of the face {id} does not open"))
                } else if lengths.get(&model).is_some_and(|usual| *usual != length) {
                    Some(format!(
                        "the template of the face {id} has {} bytes, those of its model have {}",
                        length - OVERHEAD as i64,
                        lengths[&model] - OVERHEAD as i64
                    ))
                } else {
                    None
                };
            if let Some(problem) = problem {
                let sql = "UPDATE faces SET model = '', template = x'' WHERE id = ?1";
                self.found("faces", face, problem, Done::Reenrol, sql)?;
            }
        }
        Ok(())
    }

    fn records(&mut self) -> Result<()> {
        for record in self.numbers("SELECT id FROM records ORDER BY id")? {
            let facts: Vec<u8> = self
                .db
                .prepare_cached("SELECT facts FROM records WHERE id = ?1")?
                .query_row([record], |row| row.get(0))?;
            match records::open_facts(self.seal, record, &facts) {
                Ok(facts) => self.record_time(record, &facts)?,
                Err(error) => {
                    let problem = format!("the record cannot be read: {error}");
                    let sql = "DELETE FROM records WHERE id = ?1";
                    self.found("records", record, problem, Done::Removed, sql)?;
                }
            }
        }
        Ok(())
    }

    /// What stands in clear about a record must be what its facts say.
    fn record_time(&mut self, record: i64, facts: &RecordFacts) -> Result<()> {
        let noted: Option<(i64, i64)> = self
            .db
            .prepare_cached("SELECT at_ms, result FROM record_times WHERE record = ?1")?
            .query_row([record], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if noted == Some((facts.at.as_millisecond(), facts.result.number().into())) {
            return Ok(());
        }
        if self.repair {
            records::note_time(self.db, record, facts)?;
        }
        self.findings.push(Finding {
            table: "record_times".into(),
            row: Some(record),
            problem: "the record could not be found by its time and result".into(),
            done: if self.repair { Done::Repaired } else { Done::Nothing },
        });
        Ok(())
    }

    fn record_pictures(&mut self) -> Result<()> {
        for row in self.numbers("SELECT id FROM record_pictures ORDER BY id")? {
            let (record, kind, picture): (i64, String, Vec<u8>) = self
                .db
                .prepare_cached("SELECT record, kind, picture FROM record_pictures WHERE id = ?1")?
                .query_row([row], |row| Ok((row.get(0)?, text(row, 1)?, row.get(2)?)))?;
            let opens = PictureKind::parse(&kind)
                .is_some_and(|kind| self.seal.open(Place::RecordPicture { record, kind }, &picture).is_ok());
            if !opens {
                let problem =
                    format!("the {kind} picture of record {record} does not open; the record stays");
                let sql = "DELETE FROM record_pictures WHERE id = ?1";
                self.found("record_pictures", row, problem, Done::Removed, sql)?;
            }
        }
        Ok(())
    }

    fn outbox(&mut self) -> Result<()> {
        let rows: Vec<(i64, String)> = {
            let mut statement = self.db.prepare("SELECT id, destination FROM outbox ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, text(row, 1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (row, destination) in rows {
            if Destination::parse(&destination).is_none() {
                let problem = format!("nobody is called {destination:?}");
                self.found("outbox", row, problem, Done::Removed, "DELETE FROM outbox WHERE id = ?1")?;
            }
        }
        Ok(())
    }

    /// Settings, notices and incidents.
    fn texts(&mut self) -> Result<()> {
        let settings: Vec<(i64, String, String)> = {
            let mut statement = self.db.prepare("SELECT rowid, key, value FROM settings ORDER BY rowid")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, text(row, 1)?, text(row, 2)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (row, key, value) in settings {
            if serde_json::from_str::<serde::de::IgnoredAny>(&value).is_err() {
                let problem = format!("the setting {key} is not JSON; the configured value holds again");
                self.found("settings", row, problem, Done::Removed, "DELETE FROM settings WHERE rowid = ?1")?;
            }
        }
        let notices: Vec<(i64, String)> = {
            let mut statement = self.db.prepare("SELECT rowid, kind FROM notices")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, text(row, 1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (row, kind) in notices {
            if NoticeKind::parse(&kind).is_none() {
                let problem = format!("there is no notice called {kind:?}");
                self.found("notices", row, problem, Done::Removed, "DELETE FROM notices WHERE rowid = ?1")?;
            }
        }
        let incidents: Vec<(i64, String)> = {
            let mut statement = self.db.prepare("SELECT id, kind FROM incidents ORDER BY id")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, text(row, 1)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for (row, kind) in incidents {
            if IncidentKind::parse(&kind).is_none() {
                let problem = format!("there is no incident called {kind:?}");
                self.found("incidents", row, problem, Done::Removed, "DELETE FROM incidents WHERE id = ?1")?;
            }
        }
        Ok(())
    }

    /// The age of the store must not lie before that of its records, or they would stay too long.
    fn lived(&mut self) -> Result<()> {
        let latest: i64 =
            self.db.query_row("SELECT ifnull(max(lived_s), 0) FROM records", [], |row| row.get(0))?;
        if retention::lived_is_sound(self.db, latest) {
            return Ok(());
        }
        if self.repair {
            retention::restore_lived(self.db, latest)?;
        }
        self.findings.push(Finding {
            table: "meta".into(),
            row: None,
            problem: "the age of the store is damaged or before that of its records; it is taken from them"
                .into(),
            done: if self.repair { Done::Repaired } else { Done::Nothing },
        });
        Ok(())
    }

    fn counters(&mut self) -> Result<()> {
        let floors: Option<Vec<u8>> = self
            .db
            .query_row("SELECT value FROM meta WHERE key = 'floors'", [], |row| row.get(0))
            .optional()?;
        let floors: BTreeMap<String, i64> = match floors.map(|json| serde_json::from_slice(&json)) {
            None => BTreeMap::new(),
            Some(Ok(floors)) => floors,
            Some(Err(_)) => {
                if self.repair {
                    records::note_floors(self.db)?;
                }
                self.findings.push(Finding {
                    table: "meta".into(),
                    row: None,
                    problem: "the second copy of the counters is damaged".into(),
                    done: if self.repair { Done::Repaired } else { Done::Nothing },
                });
                BTreeMap::new()
            }
        };
        for table in NUMBERED {
            let counter: i64 = self.db.query_row(
                "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = ?1",
                [table],
                |row| row.get(0),
            )?;
            let highest: i64 =
                self.db
                    .query_row(&format!("SELECT ifnull(max(id), 0) FROM {table}"), [], |row| row.get(0))?;
            let least = highest.max(floors.get(table).copied().unwrap_or(0));
            if counter >= least {
                continue;
            }
            if self.repair {
                self.db.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
                self.db.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)",
                    params![table, least],
                )?;
            }
            self.findings.push(Finding {
                table: table.into(),
                row: None,
                problem: format!("the counter stands at {counter}, but {least} was given out"),
                done: if self.repair { Done::Repaired } else { Done::Nothing },
            });
        }
        Ok(())
    }
}
