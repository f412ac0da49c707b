//! A store with damaged pages, values, counters and keys: `menshen check` finds the damage, says what it is,
//! and repairs it without losing an undelivered record that can be read and without bringing back the dead.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use menshen::access::{Origin, Person, PersonKey, PersonKind, Reason, Schedule};
use menshen::clock::ManualClock;
use menshen::store::{
    Destination, Done, NewFace, NewRecord, NoticeKind, Options, OutboxId, PersonRow, PictureKind,
    RecordFacts, RecordId, RecordResult, Store, check,
};
use menshen::{Kind, Result};
use rusqlite::Connection;

const PAGE: usize = 4096;

fn options(folder: &Path) -> Options {
    Options { data_dir: folder.to_owned(), config: menshen::config::Store::default() }
}

fn open(options: &Options) -> Result<Store> {
    Store::open(options, ManualClock::new("2024-05-01T08:00:00Z".parse().unwrap()))
}

fn file(options: &Options) -> PathBuf {
    options.data_dir.join("store.sqlite")
}

fn db(options: &Options) -> Connection {
    Connection::open(file(options)).unwrap()
}

fn key(number: usize) -> PersonKey {
    PersonKey::new(Origin::Qyzn, number.to_string())
}

fn person(number: usize) -> Person {
    Person {
        key: key(number),
        code: String::new(),
        name: format!("person {number}"),
        kind: PersonKind::White,
        id_number: Some(format!("id{number}")),
        card: Some(format!("card{number}")),
        passes_left: Some(9),
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

fn picture(number: usize) -> Vec<u8> {
    (0..5000).map(|i| (i * 7 + number) as u8).collect()
}

fn face(number: usize) -> NewFace {
    NewFace {
        face_id: format!("f{number}"),
        picture: picture(number),
        model: "m1".into(),
        template: vec![number as u8; 1024],
    }
}

fn record(number: usize) -> NewRecord {
    NewRecord {
        facts: RecordFacts {
            at: "2024-05-01T08:00:00Z".parse().unwrap(),
            utc_offset_s: 28800,
            person: Some(key(number)),
            face_id: None,
            also: Vec::new(),
            name: format!("person {number}"),
            person_kind: PersonKind::White,
            id_number: None,
            card: None,
            score: Some(90.0),
            liveness: None,
            result: RecordResult::Granted,
            reason: Reason::Granted,
            opened: true,
            latency_ms: number as u64,
            body_temp: None,
            credentials: vec!["face".into()],
            document: None,
        },
        pictures: vec![(PictureKind::Snap, picture(number + 100))],
        destinations: vec![Destination::Qyzn],
        spend: false,
    }
}

const PEOPLE: usize = 60;
const RECORDS: usize = 60;

/// People 0..60, of whom every seventh is removed again; records 1..=60, of which every fifth is delivered and
/// the first ten are removed.
fn fill(options: &Options) {
    let store = open(options).unwrap();
    for number in 0..PEOPLE {
        store.put_person(person(number), vec![face(number)]).wait().unwrap();
    }
    for number in 0..10 {
        store.append_record(record(number)).wait().unwrap();
    }
    store.clear_records().wait().unwrap();
    for number in 10..RECORDS {
        let id = store.append_record(record(number)).wait().unwrap();
        assert_eq!(id, RecordId(number as i64 + 1));
        if number % 5 == 0 {
            store.delivered(OutboxId(id.0)).wait().unwrap();
        }
    }
    for number in (0..PEOPLE).step_by(7) {
        store.delete_people(vec![key(number)]).wait().unwrap();
    }
    store.put_setting("vaparam", "{\"a\":1}".into()).wait().unwrap();
    store.close();
}

fn kept(number: usize) -> bool {
    !number.is_multiple_of(7)
}

/// What each page is for, by SQLite's own account: its table, kind and number of rows.
fn page_uses(options: &Options) -> BTreeMap<u32, (String, String, usize)> {
    let db = db(options);
    let mut statement = db.prepare("SELECT pageno, name, pagetype, ncell FROM dbstat").unwrap();
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get::<_, u32>(3)? as usize))))
        .unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

/// In memory where there is such a place: hundreds of stores are opened here, and none of this is about fsync.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// What survived.
struct Survivors {
    people: BTreeSet<usize>,
    faces: BTreeSet<usize>,
    records: BTreeSet<usize>,
    undelivered: BTreeSet<usize>,
}

/// Looks at everything, and asserts what must hold whatever was damaged.
fn survivors(options: &Options, what: &str) -> Survivors {
    let store = open(options).unwrap_or_else(|error| panic!("{what}: {error}"));
    let mut found = Survivors {
        people: BTreeSet::new(),
        faces: BTreeSet::new(),
        records: BTreeSet::new(),
        undelivered: BTreeSet::new(),
    };
    for number in 0..PEOPLE {
        let Some(there) = store.person(&key(number)).unwrap() else { continue };
        assert!(kept(number), "{what}: person {number} was removed and is back");
        assert_eq!(there, person(number), "{what}");
        assert_eq!(store.people_by_card(&format!("card{number}")).unwrap().len(), 1, "{what}");
        found.people.insert(number);
    }
    for listed in store.list_people(None, 1000).unwrap() {
        let number: usize = listed.person.key.id.parse().unwrap();
        assert!(found.people.contains(&number), "{what}");
        for (face, id) in listed.faces {
            assert_eq!(id, format!("f{number}"), "{what}: a face went to another person");
            assert_eq!(store.face_picture(face).unwrap().unwrap(), picture(number), "{what}");
            found.faces.insert(number);
        }
    }
    store
        .each_template("m1", &mut |_, person, template| {
            let person = store.person_by_row(person).unwrap().unwrap();
            assert_eq!(person.key.id, template[0].to_string(), "{what}");
        })
        .unwrap();
    for record in store.list_records(None, 1000).unwrap() {
        let number = record.facts.latency_ms as usize;
        assert!((10..RECORDS).contains(&number), "{what}: record {number} was removed and is back");
        assert_eq!(record.id, RecordId(number as i64 + 1), "{what}");
        if record.pictures.contains(&PictureKind::Snap) {
            let stored = store.record_picture(record.id, PictureKind::Snap).unwrap().unwrap();
            assert_eq!(stored, picture(number + 100), "{what}");
        }
        found.records.insert(number);
    }
    for entry in store.outbox(Destination::Qyzn, None, 1000).unwrap() {
        assert_eq!(entry.id.0, entry.record.id.0, "{what}: an outbox number changed");
        found.undelivered.insert(entry.record.facts.latency_ms as usize);
    }
    // New numbers lie beyond all that were ever given out.
    let id = store.append_record(record(99)).wait().unwrap();
    assert!(id.0 > RECORDS as i64, "{what}: record {id:?} comes a second time");
    let entry = store.outbox(Destination::Qyzn, Some(OutboxId(RECORDS as i64)), 10).unwrap();
    assert_eq!(entry.len(), 1, "{what}: outbox numbers come a second time");
    let learned = store.put_person(person(200), vec![face(200)]).wait().unwrap();
    assert!(learned.learn[0].person > PersonRow(PEOPLE as i64), "{what}");
    found
}

#[test]
fn a_sound_store_has_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    assert_eq!(check(&options, false).unwrap_err().kind(), Kind::NotFound);
    fill(&options);
    for repair in [false, true] {
        let report = check(&options, repair).unwrap();
        assert_eq!(report.findings, []);
        assert!(report.in_order());
        let counts = report.counts.unwrap();
        assert_eq!((counts.people, counts.faces, counts.records), (51, 51, 50));
    }
    // Beside a running agent it may look, and not touch.
    let store = open(&options).unwrap();
    assert!(check(&options, false).unwrap().in_order());
    assert_eq!(check(&options, true).unwrap_err().kind(), Kind::Busy);
    drop(store);
}

/// Damages every page of a store in turn, in three ways.
#[test]
fn any_damaged_page_costs_at_most_its_own_rows() {
    let sound = tempfile::tempdir().unwrap();
    fill(&options(sound.path()));
    let uses = page_uses(&options(sound.path()));
    let length = std::fs::metadata(file(&options(sound.path()))).unwrap().len() as usize;
    let pages = length / PAGE;
    assert!(pages > 150, "the store is too small for this test: {pages} pages");
    assert!(
        uses.values().any(|(table, kind, _)| table == "records" && kind == "internal"),
        "there must be pages above others"
    );
    let everybody: BTreeSet<usize> = (0..PEOPLE).filter(|number| kept(*number)).collect();
    let all_records: BTreeSet<usize> = (10..RECORDS).collect();
    let all_undelivered: BTreeSet<usize> =
        all_records.iter().copied().filter(|number| number % 5 != 0).collect();
    let mut salvaged = 0;
    for page in 1..=pages {
        for (damage, bytes) in [
            ("zeros", vec![0; PAGE]),
            ("noise", (0..PAGE).map(|i| ((i * i * 31 + i * 17 + page * 101) >> 3) as u8).collect()),
            ("a torn half", vec![0xa5; PAGE / 2]),
        ] {
            let used = uses.get(&(page as u32)).cloned();
            let (table, kind, rows) = used.clone().unwrap_or(("none".into(), "none".into(), 0));
            let what = format!("{damage} on page {page} ({table}, {kind})");
            let folder = scratch();
            let options = options(folder.path());
            copy(sound.path(), folder.path());
            std::fs::File::options()
                .write(true)
                .open(file(&options))
                .unwrap()
                .write_all_at(&bytes, ((page - 1) * PAGE) as u64)
                .unwrap();

            let seen = check(&options, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            // Of an overflow page's second half, or of an empty table, a part may be unused.
            if used.is_some() && damage != "a torn half" && kind != "overflow" {
                assert!(!seen.in_order(), "{what} was not seen");
            }
            let report = check(&options, true).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(report.in_order(), "{what}: {report:?}");
            assert_eq!(check(&options, false).unwrap().findings, [], "{what}: a second look");
            let found = survivors(&options, &what);
            let lost = |all: &BTreeSet<usize>, found: &BTreeSet<usize>| all.difference(found).count();
            let people = lost(&everybody, &found.people);
            let faces = lost(&everybody, &found.faces);
            let records = lost(&all_records, &found.records);
            let undelivered = lost(&all_undelivered, &found.undelivered);
            let (most_people, most_faces, most_records) = match (table.as_str(), kind.as_str()) {
                ("people", "leaf") => (rows, rows, 0),
                ("faces" | "face_pictures", "leaf") => (0, rows, 0),
                ("face_pictures", "overflow") => (0, 1, 0),
                ("records", "leaf") => (0, 0, rows),
                _ => (0, 0, 0),
            };
            assert!(people <= most_people, "{what}: {people} people lost, {report:?}");
            assert!(faces <= most_faces, "{what}: {faces} faces lost, {report:?}");
            assert!(records <= most_records, "{what}: {records} records lost, {report:?}");
            assert!(undelivered <= records, "{what}: {undelivered} undelivered lost, {report:?}");
            if people + faces + records > 0 {
                assert!(
                    report.findings.iter().any(|finding| finding.done == Done::Removed),
                    "{what}: a loss was not told"
                );
            }
            let store = Store::open_read_only(&options).unwrap();
            if store.notices().unwrap().iter().any(|notice| notice.kind == NoticeKind::Salvaged) {
                salvaged += 1;
                assert!(options.data_dir.join("store.sqlite.damaged-1").exists(), "{what}: no evidence");
            }
        }
    }
    assert!(salvaged > 100, "only {salvaged} stores were rebuilt");
}

#[test]
fn damage_under_a_log_that_was_not_moved_yet_loses_nothing_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let live = options(folder.path());
    fill(&live);
    let store = open(&live).unwrap();
    // A reader that holds on to its moment keeps the log from being moved into the file.
    let reader = db(&live);
    reader.execute_batch("BEGIN; SELECT count(*) FROM people").unwrap();
    let late = store.append_record(record(70)).wait().unwrap();
    let copied = tempfile::tempdir().unwrap();
    let options = options(copied.path());
    copy(folder.path(), copied.path());
    drop(reader);
    drop(store);
    let records = page_uses(&live)
        .iter()
        .find(|(_, (table, kind, _))| table == "records" && kind == "internal")
        .map(|(page, _)| *page)
        .unwrap();
    std::fs::File::options()
        .write(true)
        .open(file(&options))
        .unwrap()
        .write_all_at(&[0; PAGE], u64::from(records - 1) * PAGE as u64)
        .unwrap();
    let report = check(&options, true).unwrap();
    assert!(report.in_order());
    let store = open(&options).unwrap();
    assert_eq!(store.record(late).unwrap().unwrap().facts.latency_ms, 70);
    assert_eq!(store.counts().unwrap().records, 51);
}

/// Table, row, and what was done.
type Findings = Vec<(String, Option<i64>, Done)>;

/// Runs `sql` on a filled store and checks it: what is found without repair, then with it.
fn tampered(sql: &str) -> (tempfile::TempDir, Options, Findings) {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    fill(&options);
    let db = db(&options);
    db.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").unwrap();
    db.execute_batch(sql).unwrap();
    drop(db);
    let seen = check(&options, false).unwrap();
    assert!(!seen.in_order(), "{sql}");
    assert!(seen.findings.iter().all(|finding| finding.done == Done::Nothing), "{sql}: {seen:?}");
    let repaired = check(&options, true).unwrap();
    assert!(repaired.in_order(), "{sql}: {repaired:?}");
    assert_eq!(check(&options, true).unwrap().findings, [], "{sql}: a second look");
    let findings = repaired.findings.iter().map(|one| (one.table.clone(), one.row, one.done)).collect();
    (folder, options, findings)
}

fn one(table: &str, row: i64, done: Done) -> Findings {
    vec![(table.into(), Some(row), done)]
}

#[test]
fn a_face_whose_template_alone_is_damaged_is_enrolled_again_from_its_picture() {
    // Cut, altered, taken from another face, and of a wrong length.
    for sql in [
        "UPDATE faces SET template = substr(template, 1, 100) WHERE id = 5",
        "UPDATE faces SET template = zeroblob(length(template)) WHERE id = 5",
        "UPDATE faces SET template = (SELECT template FROM faces WHERE id = 6) WHERE id = 5",
        "UPDATE faces SET model = 'other' WHERE id = 5",
    ] {
        let (_folder, options, findings) = tampered(sql);
        assert_eq!(findings, one("faces", 5, Done::Reenrol), "{sql}");
        let store = open(&options).unwrap();
        let again = store.faces_without("m1", None, 10).unwrap();
        assert_eq!(again.iter().map(|(face, _)| face.0).collect::<Vec<_>>(), [5]);
        assert_eq!(store.face_picture(again[0].0).unwrap().unwrap(), picture(4));
        assert!(store.set_template(again[0].0, "m1".into(), vec![4; 1024]).wait().unwrap());
        drop(store);
        assert_eq!(check(&options, false).unwrap().findings, []);
    }
}

#[test]
fn a_template_of_another_length_than_the_rest_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    fill(&options);
    let store = open(&options).unwrap();
    let face = store.list_people(None, 3).unwrap()[2].faces[0].0;
    store.set_template(face, "m1".into(), vec![1; 1000]).wait().unwrap();
    drop(store);
    let report = check(&options, true).unwrap();
    assert_eq!(report.findings.len(), 1);
    assert_eq!(
        report.findings[0].problem,
        "the template of the face f3 has 1000 bytes, those of its model have 1024"
    );
    assert_eq!(report.findings[0].done, Done::Reenrol);
}

#[test]
fn values_that_were_moved_or_altered_are_removed_alone() {
    // Somebody else's face put under a person's name, and pictures exchanged.
    let (_folder, options, findings) = tampered("UPDATE faces SET person = 3 WHERE id = 2");
    assert_eq!(findings, one("faces", 2, Done::Removed));
    assert_eq!(open(&options).unwrap().counts().unwrap().faces, 50);
    let (_folder, _, findings) = tampered(
        "UPDATE face_pictures SET picture = (SELECT picture FROM face_pictures WHERE face = 3) WHERE face = 2",
    );
    assert_eq!(findings, one("faces", 2, Done::Removed));
    let (_folder, _, findings) = tampered("DELETE FROM face_pictures WHERE face = 2");
    assert_eq!(findings, one("faces", 2, Done::Removed));

    let (_folder, options, findings) = tampered("UPDATE people SET key = 'x' WHERE id = 2");
    assert_eq!(findings, one("people", 2, Done::Removed));
    assert_eq!(open(&options).unwrap().counts().unwrap().faces, 50);
    let (_folder, _, findings) = tampered("UPDATE people SET rules = '{}' WHERE id = 2");
    assert_eq!(findings, one("people", 2, Done::Removed));
    let (_folder, options, findings) = tampered("UPDATE people SET card_hash = zeroblob(16) WHERE id = 2");
    assert_eq!(findings, one("people", 2, Done::Repaired));
    assert_eq!(open(&options).unwrap().people_by_card("card1").unwrap(), [person(1)]);

    let (_folder, options, findings) =
        tampered("UPDATE record_pictures SET picture = zeroblob(50) WHERE record = 12");
    assert_eq!((findings[0].0.as_str(), findings[0].2), ("record_pictures", Done::Removed));
    let store = open(&options).unwrap();
    assert!(store.record(RecordId(12)).unwrap().unwrap().pictures.is_empty());
    drop(store);
    let (_folder, options, findings) =
        tampered("UPDATE records SET facts = (SELECT facts FROM records WHERE id = 13) WHERE id = 12");
    assert_eq!(findings, one("records", 12, Done::Removed));
    assert_eq!(open(&options).unwrap().counts().unwrap().records, 49);
}

#[test]
fn orphans_counters_and_texts_are_put_right() {
    let (_folder, _, findings) = tampered("DELETE FROM records WHERE id = 12");
    let tables: BTreeSet<_> = findings.iter().map(|(table, _, done)| (table.as_str(), *done)).collect();
    assert_eq!(
        tables,
        BTreeSet::from(["outbox", "record_pictures", "record_times"].map(|table| (table, Done::Removed)))
    );

    let (_folder, options, findings) = tampered("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'outbox'");
    assert_eq!(findings, [("outbox".to_owned(), None, Done::Repaired)]);
    let store = open(&options).unwrap();
    store.append_record(record(61)).wait().unwrap();
    assert_eq!(store.outbox(Destination::Qyzn, Some(OutboxId(60)), 2).unwrap()[0].id, OutboxId(61));
    drop(store);

    let (_folder, options, findings) = tampered("UPDATE settings SET value = '{\"a\"'");
    assert_eq!((findings[0].0.as_str(), findings[0].2), ("settings", Done::Removed));
    assert_eq!(open(&options).unwrap().setting("vaparam").unwrap(), None);

    let (_folder, _, findings) = tampered("UPDATE outbox SET destination = 'nobody' WHERE id = 12");
    assert_eq!(findings, one("outbox", 12, Done::Removed));

    let (_folder, _, findings) = tampered("UPDATE records SET lived_s = 9999999 WHERE id = 12");
    assert_eq!(findings, [("meta".to_owned(), None, Done::Repaired)]);
    // Of this the gate does not stay shut until somebody repairs it.
    let lived = "UPDATE meta SET value = x'00' WHERE key = 'lived'";
    let (_folder, options, findings) = tampered(lived);
    assert_eq!(findings, [("meta".to_owned(), None, Done::Repaired)]);
    db(&options).execute_batch(lived).unwrap();
    drop(open(&options).unwrap());
    assert_eq!(check(&options, false).unwrap().findings, []);
    let (_folder, _, findings) = tampered("UPDATE meta SET value = x'00' WHERE key = 'floors'");
    assert_eq!(findings, [("meta".to_owned(), None, Done::Repaired)]);
}

#[test]
fn a_damaged_key_check_is_told_from_a_wrong_key() {
    let (_folder, options, findings) = {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        fill(&options);
        db(&options).execute_batch("UPDATE meta SET value = zeroblob(40) WHERE key = 'key_check'").unwrap();
        assert!(open(&options).err().unwrap().to_string().contains("wrong key"));
        let findings = check(&options, true).unwrap().findings;
        (folder, options, findings)
    };
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].table.as_str(), findings[0].done), ("meta", Done::Repaired));
    drop(open(&options).unwrap());

    // With a wrong key nothing can be told from damage, so nothing may be touched.
    let right = std::fs::read(options.data_dir.join("device.key")).unwrap();
    std::fs::write(options.data_dir.join("device.key"), [1; 32]).unwrap();
    for repair in [false, true] {
        let error = check(&options, repair).unwrap_err();
        assert!(error.to_string().contains("wrong key"), "{error}");
    }
    // Not even when pages are damaged besides.
    let uses = page_uses(&options);
    let page = uses.iter().find(|(_, (table, kind, _))| table == "people" && kind == "leaf").unwrap().0;
    std::fs::File::options()
        .write(true)
        .open(file(&options))
        .unwrap()
        .write_all_at(&[0; PAGE], u64::from(page - 1) * PAGE as u64)
        .unwrap();
    let error = check(&options, true).unwrap_err();
    assert!(error.to_string().contains("wrong key"), "{error}");
    assert!(!options.data_dir.join("store.sqlite.damaged-1").exists());
    std::fs::write(options.data_dir.join("device.key"), right).unwrap();
    assert!(check(&options, true).unwrap().in_order());
    assert_eq!(survivors(&options, "after the right key is back").records.len(), 50);
}

#[test]
fn an_exchange_of_files_that_was_cut_off_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    fill(&options);
    // As the power may leave it: the new file is whole, the old one and its log are still in place.
    std::fs::copy(file(&options), options.data_dir.join("store.sqlite.salvaged")).unwrap();
    std::fs::write(file(&options), b"damaged").unwrap();
    std::fs::write(options.data_dir.join("store.sqlite-wal"), b"of the damaged one").unwrap();
    let store = open(&options).unwrap();
    assert_eq!(store.counts().unwrap().records, 50);
    assert!(!options.data_dir.join("store.sqlite.salvaged").exists());
    drop(store);
    assert_eq!(check(&options, true).unwrap().findings, []);
}

#[test]
fn a_file_that_is_no_store_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    drop(open(&options).unwrap());
    let foreign = vec![b'x'; 3 * PAGE];
    std::fs::write(file(&options), &foreign).unwrap();
    assert_eq!(open(&options).err().unwrap().kind(), Kind::Store);
    assert_eq!(check(&options, true).unwrap_err().kind(), Kind::Store);
    assert_eq!(std::fs::read(file(&options)).unwrap(), foreign);
    assert!(!options.data_dir.join("store.sqlite.damaged-1").exists());
}

/// A store as version 1 had it: without the tables that version 2 added.
fn make_version_1(options: &Options) {
    db(options)
        .execute_batch("DROP TABLE incidents; DROP TABLE record_times; DROP TABLE asked_again; PRAGMA user_version = 1; VACUUM")
        .unwrap();
}

#[test]
fn an_old_store_with_a_damaged_page_of_records_is_upgraded_without_its_rows() {
    let sound = tempfile::tempdir().unwrap();
    fill(&options(sound.path()));
    make_version_1(&options(sound.path()));
    let uses = page_uses(&options(sound.path()));
    for (table, kind) in [("records", "leaf"), ("records", "internal"), ("records_by_age", "leaf")] {
        let mut pages = uses.iter().filter(|(_, (name, what, _))| name == table && what == kind);
        let (page, (_, _, rows)) = pages.next().unwrap_or_else(|| panic!("no {kind} page of {table}"));
        for bytes in [[0; PAGE], [0xa5; PAGE]] {
            let folder = scratch();
            let options = options(folder.path());
            copy(sound.path(), folder.path());
            std::fs::File::options()
                .write(true)
                .open(file(&options))
                .unwrap()
                .write_all_at(&bytes, u64::from(page - 1) * PAGE as u64)
                .unwrap();
            let what = format!("{kind} page {page} of {table}");
            let store = open(&options).unwrap_or_else(|error| panic!("{what}: {error}"));
            // People are let in: nothing of theirs was touched.
            assert_eq!(store.person(&key(1)).unwrap().unwrap(), person(1), "{what}");
            drop(store);
            let times: i64 =
                db(&options).query_row("SELECT count(*) FROM record_times", [], |row| row.get(0)).unwrap();
            let readable = match (table, kind) {
                ("records", "leaf") => RECORDS - 10 - rows,
                ("records", _) => 0,
                _ => RECORDS - 10,
            };
            assert_eq!(times, readable as i64, "{what}");
            let report = check(&options, true).unwrap();
            assert!(report.in_order(), "{what}: {report:?}");
            assert_eq!(check(&options, false).unwrap().findings, [], "{what}: a second look");
            let found = survivors(&options, &what);
            let least = if (table, kind) == ("records", "leaf") { RECORDS - 10 - rows } else { RECORDS - 10 };
            assert_eq!(found.records.len(), least, "{what}");
        }
    }
}
