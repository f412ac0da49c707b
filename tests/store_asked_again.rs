//! Records that a platform asks for again: found by time and result, kept until they are delivered once more,
//! in stores of this version and of the one before.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use menshen::access::{PersonKind, Reason};
use menshen::clock::ManualClock;
use menshen::store::{
    AskedAgain, Destination, NewRecord, Options, OutboxId, PictureKind, RecordFacts, RecordId, RecordRange,
    RecordResult, Results, Store, check,
};
use rusqlite::Connection;

const BEGAN: &str = "2024-05-01T08:00:00Z";

fn at(minute: i64) -> Timestamp {
    BEGAN.parse::<Timestamp>().unwrap() + SignedDuration::from_mins(minute)
}

fn options(folder: &Path) -> Options {
    Options { data_dir: folder.join("data"), config: menshen::config::Store::default() }
}

fn open(options: &Options, now: Timestamp) -> Store {
    Store::open(options, ManualClock::new(now)).unwrap()
}

fn file(options: &Options) -> PathBuf {
    options.data_dir.join("store.sqlite")
}

/// The record of a minute: results 0, 1, 2, 3 in turn.
fn record(minute: i64, destinations: &[Destination]) -> NewRecord {
    use RecordResult::*;
    let result = [NoMatch, Granted, Expired, OutOfSchedule][usize::try_from(minute).unwrap() % 4];
    NewRecord {
        facts: RecordFacts {
            at: at(minute),
            utc_offset_s: 28_800,
            person: None,
            face_id: None,
            also: Vec::new(),
            name: minute.to_string(),
            person_kind: PersonKind::Stranger,
            id_number: None,
            card: None,
            score: None,
            liveness: None,
            result,
            reason: Reason::Stranger,
            opened: false,
            latency_ms: 0,
            body_temp: None,
            credentials: Vec::new(),
            document: None,
        },
        pictures: Vec::new(),
        destinations: destinations.to_vec(),
        spend: false,
    }
}

fn range(from: i64, before: i64, results: Results) -> RecordRange {
    RecordRange { from: at(from), before: at(before), results }
}

async fn fill(store: &Store, minutes: std::ops::Range<i64>, destinations: &[Destination], delivered: bool) {
    for minute in minutes {
        store.append_record(record(minute, destinations)).await.unwrap();
    }
    if delivered {
        for entry in store.outbox(Destination::Qyzn, None, usize::MAX).unwrap() {
            store.delivered(entry.id).await.unwrap();
        }
    }
}

/// Numbers in the outbox and minutes of all that is asked again.
fn asked(store: &Store) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    let mut after = None;
    while let Some(entry) = store.next_asked_again(Destination::Qyzn, after).unwrap() {
        after = Some(entry.id);
        all.push((entry.id.0, entry.record.facts.name.parse().unwrap()));
    }
    assert_eq!(store.asked_again_len(Destination::Qyzn).unwrap(), all.len() as u64);
    all
}

#[tokio::test]
async fn a_range_is_found_once_and_keeps_its_numbers_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let store = open(&options, at(0));
    fill(&store, 0..20, &[Destination::Qyzn], true).await;
    let granted = range(4, 14, Results::Granted);
    assert_eq!(
        store.ask_again(Destination::Qyzn, granted).await.unwrap(),
        AskedAgain { found: 3, waiting: 0 }
    );
    // The outbox counts from 1, the minutes from 0.
    assert_eq!(asked(&store), [(6, 5), (10, 9), (14, 13)]);
    // What waits already is found and does not come twice.
    let all = range(8, 12, Results::All);
    assert_eq!(store.ask_again(Destination::Qyzn, all).await.unwrap(), AskedAgain { found: 4, waiting: 1 });
    assert_eq!(asked(&store), [(6, 5), (9, 8), (10, 9), (11, 10), (12, 11), (14, 13)]);
    let failed = store.ask_again(Destination::Qyzn, range(0, 4, Results::Failed)).await.unwrap();
    assert_eq!(failed, AskedAgain { found: 3, waiting: 0 });
    assert_eq!(store.outbox_len(Destination::Qyzn).unwrap(), 0, "new records have the outbox to themselves");
    store.delivered_again(OutboxId(1)).await.unwrap();
    store.close();
    let store = open(&options, at(30));
    assert_eq!(asked(&store), [(3, 2), (4, 3), (6, 5), (9, 8), (10, 9), (11, 10), (12, 11), (14, 13)]);
    // Nothing there: nothing found.
    for (from, before) in [(20, 100), (5, 5), (6, 5)] {
        let none = store.ask_again(Destination::Qyzn, range(from, before, Results::All)).await.unwrap();
        assert_eq!(none, AskedAgain::default());
    }
    assert_eq!(check(&options, false).unwrap().findings, []);
    store.clear_records().await.unwrap();
    assert_eq!(asked(&store), []);
    assert_eq!(check(&options, false).unwrap().findings, []);
}

#[tokio::test]
async fn what_waits_and_what_nobody_was_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let store = open(&options, at(0));
    // Made for another destination only, then for both, the last two not delivered yet.
    fill(&store, 0..4, &[Destination::HttpPush], false).await;
    fill(&store, 4..6, &[Destination::HttpPush, Destination::Qyzn], true).await;
    fill(&store, 6..8, &[Destination::Qyzn], false).await;
    let waiting: Vec<i64> =
        store.outbox(Destination::Qyzn, None, 10).unwrap().iter().map(|entry| entry.id.0).collect();
    let found = store.ask_again(Destination::Qyzn, range(0, 8, Results::All)).await.unwrap();
    assert_eq!(found, AskedAgain { found: 8, waiting: 2 });
    // Rows: 1 to 4 push, then push and QYZN in turn to 8, then 9 and 10; the four that were made for nobody
    // here get 11 to 14.
    assert_eq!(waiting, [9, 10]);
    assert_eq!(asked(&store), [(6, 4), (8, 5), (11, 0), (12, 1), (13, 2), (14, 3)]);
    assert_eq!(store.outbox(Destination::Qyzn, None, 10).unwrap().len(), 2);
    assert_eq!(store.outbox_len(Destination::HttpPush).unwrap(), 6, "nobody else is concerned");
    assert_eq!(store.asked_again_len(Destination::HttpPush).unwrap(), 0);
    // Asked once more: the rows that were made are there.
    let again = store.ask_again(Destination::Qyzn, range(0, 8, Results::All)).await.unwrap();
    assert_eq!(again, AskedAgain { found: 8, waiting: 8 });
    assert_eq!(asked(&store).len(), 6);
}

#[tokio::test]
async fn several_orders_for_many_records_leave_no_gap_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let store = open(&options, at(0));
    // 1500 records within three milliseconds, so that orders end amid equal times.
    for batch in 0..3 {
        let orders: Vec<_> = (batch * 500..(batch + 1) * 500)
            .map(|number| {
                let mut one = record(number, &[Destination::HttpPush]);
                one.facts.at = at(0) + SignedDuration::from_millis(batch);
                store.append_record(one)
            })
            .collect();
        for order in orders {
            order.await.unwrap();
        }
    }
    let found = store.ask_again(Destination::Qyzn, range(0, 1, Results::All)).await.unwrap();
    assert_eq!(found, AskedAgain { found: 1500, waiting: 0 });
    let minutes: Vec<i64> = asked(&store).into_iter().map(|(_, minute)| minute).collect();
    assert_eq!(minutes, (0..1500).collect::<Vec<_>>());
}

#[tokio::test]
async fn age_spares_what_is_asked_again_until_it_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.config.keep_days = 20;
    let store = open(&options, at(0));
    fill(&store, 0..4, &[Destination::Qyzn], true).await;
    let found = store.ask_again(Destination::Qyzn, range(1, 2, Results::All)).await.unwrap();
    assert_eq!(found.found, 1);
    store.close();
    let store = open(&options, at(30 * 24 * 60));
    assert_eq!(store.retain().await.unwrap().by_age, 3);
    assert_eq!(asked(&store), [(2, 1)]);
    store.delivered_again(OutboxId(2)).await.unwrap();
    assert_eq!(store.retain().await.unwrap().by_age, 1);
    assert_eq!(store.counts().unwrap().records, 0);
}

#[tokio::test]
async fn at_the_hard_limit_it_goes_and_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    (options.config.soft_limit_mib, options.config.hard_limit_mib) = (3, 4);
    let store = open(&options, at(0));
    let mut orders = Vec::new();
    for minute in 0..700 {
        let mut one = record(minute, &[Destination::Qyzn]);
        one.pictures = vec![(PictureKind::Snap, vec![7; 8000])];
        orders.push(store.append_record(one));
    }
    for order in orders {
        order.await.unwrap();
    }
    for entry in store.outbox(Destination::Qyzn, None, usize::MAX).unwrap() {
        store.delivered(entry.id).await.unwrap();
    }
    store.ask_again(Destination::Qyzn, range(0, 700, Results::All)).await.unwrap();
    let retained = store.retain().await.unwrap();
    // 700 records of two pages each are 5.5 MiB: about 200 must go.
    assert!((100..300).contains(&retained.by_size), "{retained:?}");
    assert_eq!(retained.undelivered, 0);
    assert!(store.counts().unwrap().bytes <= 4 << 20);
    assert!(store.notices().unwrap().is_empty(), "the platform has had them all");
    let left = asked(&store);
    assert_eq!(left.first(), Some(&(retained.by_size as i64 + 1, retained.by_size as i64)));
    assert_eq!(left.len() as u64, 700 - retained.by_size);
}

/// Makes the store that version 1 would have had.
fn downgrade(options: &Options) {
    let db = Connection::open(file(options)).unwrap();
    db.execute_batch(
        "DROP TABLE incidents; DROP TABLE asked_again; DROP TABLE record_times; PRAGMA user_version = 1",
    )
    .unwrap();
    let v1 = Connection::open_in_memory().unwrap();
    v1.execute_batch(include_str!("schema/v1.sql")).unwrap();
    let names = |db: &Connection| -> Vec<String> {
        let mut statement = db.prepare("SELECT name FROM sqlite_schema ORDER BY name").unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.collect::<rusqlite::Result<_>>().unwrap()
    };
    assert_eq!(names(&db), names(&v1));
}

fn roots(options: &Options) -> Vec<(String, u32)> {
    let db = Connection::open(file(options)).unwrap();
    let mut statement = db.prepare("SELECT name, rootpage FROM sqlite_schema ORDER BY name").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[tokio::test]
async fn a_store_of_version_1_knows_the_times_of_its_records_after_the_upgrade() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let store = open(&options, at(0));
    fill(&store, 0..300, &[Destination::Qyzn], true).await;
    store.close();
    let fresh = roots(&options);
    downgrade(&options);
    let error = check(&options, false).unwrap_err().to_string();
    assert!(error.contains("the store has the old version 1"), "{error}");
    let store = open(&options, at(0));
    assert_eq!(roots(&options), fresh, "salvage.rs seeks lost tables where a fresh store has them");
    let found = store.ask_again(Destination::Qyzn, range(100, 200, Results::Granted)).await.unwrap();
    assert_eq!(found, AskedAgain { found: 25, waiting: 0 });
    assert_eq!(asked(&store)[0], (102, 101));
    assert_eq!(store.record(RecordId(102)).unwrap().unwrap().facts, record(101, &[]).facts);
    drop(store);
    assert_eq!(check(&options, true).unwrap().findings, []);
}

#[tokio::test]
async fn a_damaged_store_of_version_1_is_rebuilt_as_one_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let store = open(&options, at(0));
    fill(&store, 0..300, &[Destination::Qyzn], true).await;
    store.close();
    downgrade(&options);
    Connection::open(file(&options)).unwrap().execute_batch("VACUUM").unwrap();
    let sound = std::fs::read(file(&options)).unwrap();
    let lost = {
        let db = Connection::open(file(&options)).unwrap();
        let sql = "SELECT pageno, ncell FROM dbstat WHERE name = 'records' AND pagetype = 'leaf' LIMIT 1";
        db.query_row(sql, [], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u32>(1)?))).unwrap()
    };
    // A page of records, then the first page, which holds the version and the list of tables.
    for (page, records_lost) in [(lost.0, lost.1), (1, 0)] {
        let _ = std::fs::remove_file(options.data_dir.join("store.sqlite-wal"));
        std::fs::write(file(&options), &sound).unwrap();
        let damaged = std::fs::File::options().write(true).open(file(&options)).unwrap();
        damaged.write_all_at(&[0; 4096], u64::from(page - 1) * 4096).unwrap();
        let report = check(&options, true).unwrap();
        assert!(report.in_order(), "{report:?}");
        assert!(
            !report.findings.iter().any(|finding| finding.table == "asked_again"),
            "what never was there is not missed: {report:?}"
        );
        assert_eq!(report.counts.unwrap().records, 300 - u64::from(records_lost), "page {page}");
        assert_eq!(check(&options, false).unwrap().findings, []);
        let store = open(&options, at(0));
        let found = store.ask_again(Destination::Qyzn, range(0, 300, Results::All)).await.unwrap();
        assert_eq!(found.found, 300 - u64::from(records_lost));
    }
}

#[tokio::test]
async fn check_restores_times_from_the_facts() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let store = open(&options, at(0));
    fill(&store, 0..4, &[Destination::Qyzn], true).await;
    store.close();
    let db = Connection::open(file(&options)).unwrap();
    db.execute_batch(
        "DELETE FROM record_times WHERE record = 1; UPDATE record_times SET at_ms = 5 WHERE record = 2;
         UPDATE record_times SET result = 9 WHERE record = 3; INSERT INTO asked_again (outbox) VALUES (99)",
    )
    .unwrap_err();
    db.execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO asked_again (outbox) VALUES (99)").unwrap();
    drop(db);
    let rows: Vec<_> = check(&options, false)
        .unwrap()
        .findings
        .into_iter()
        .map(|finding| (finding.table, finding.row))
        .collect();
    let times = |row| ("record_times".to_owned(), Some(row));
    assert_eq!(rows, [("asked_again".to_owned(), Some(99)), times(1), times(2), times(3)]);
    assert!(check(&options, true).unwrap().in_order());
    assert_eq!(check(&options, false).unwrap().findings, []);
    let store = open(&options, at(0));
    let found = store.ask_again(Destination::Qyzn, range(0, 4, Results::Granted)).await.unwrap();
    assert_eq!(found.found, 1);
    assert_eq!(asked(&store), [(2, 1)]);
}
