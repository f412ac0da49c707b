//! How fast the store is on this machine. Not a promise but a measurement, so it is run by hand:
//! `cargo test --release --test store_speed -- --ignored --nocapture`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use menshen::access::{Origin, Person, PersonKey, PersonKind, Reason, Schedule};
use menshen::clock::SystemClock;
use menshen::store::{
    Destination, NewFace, NewRecord, Options, PictureKind, RecordFacts, RecordResult, Store,
};

const PEOPLE: usize = 50_000;
/// 512 values of two bytes.
const TEMPLATE: usize = 1024;

fn key(number: usize) -> PersonKey {
    PersonKey::new(Origin::Qyzn, number.to_string())
}

fn person(number: usize) -> Person {
    Person {
        key: key(number),
        code: number.to_string(),
        name: "张三".into(),
        kind: PersonKind::White,
        id_number: Some(format!("110101{number:012}")),
        card: Some(number.to_string()),
        passes_left: None,
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

fn face(number: usize, picture: usize) -> NewFace {
    NewFace {
        face_id: number.to_string(),
        picture: vec![number as u8; picture],
        model: "m".into(),
        template: vec![number as u8; TEMPLATE],
    }
}

/// Orders that are under way at once.
const UNDER_WAY: usize = 64;

fn enrol(store: &Store, numbers: std::ops::Range<usize>, picture: usize) -> f64 {
    let count = numbers.len() as f64;
    let begin = Instant::now();
    let mut pending = std::collections::VecDeque::new();
    for number in numbers {
        if pending.len() == UNDER_WAY {
            let first: menshen::store::Pending<_> = pending.pop_front().unwrap();
            first.wait().unwrap();
        }
        pending.push_back(store.put_person(person(number), vec![face(number, picture)]));
    }
    pending.into_iter().for_each(|one| drop(one.wait().unwrap()));
    count / begin.elapsed().as_secs_f64()
}

#[test]
#[ignore = "a measurement, run by hand"]
fn measure() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = Options { data_dir: folder.path().join("data"), config: menshen::config::Store::default() };
    let store = Store::open(&options, Arc::new(SystemClock)).unwrap();

    println!(
        "enrolment with a picture of 50 KB: {:.0} people/s, {UNDER_WAY} under way",
        enrol(&store, 0..2000, 50_000)
    );
    let bytes = store.counts().unwrap().bytes;
    println!("bytes in the file for a person with a picture of 50 KB: {}", bytes / 2000);
    let mut alone = Vec::new();
    for number in 2000..2200 {
        let begin = Instant::now();
        store.put_person(person(number), vec![face(number, 50_000)]).wait().unwrap();
        alone.push(begin.elapsed());
    }
    print("enrolment, one after the other", alone);

    let mut appended = Vec::new();
    for number in 0..500 {
        let record = NewRecord {
            facts: RecordFacts {
                at: "2024-05-01T08:00:00Z".parse().unwrap(),
                utc_offset_s: 28800,
                person: Some(key(number)),
                face_id: Some(number.to_string()),
                also: Vec::new(),
                name: "张三".into(),
                person_kind: PersonKind::White,
                id_number: None,
                card: None,
                score: Some(90.0),
                liveness: Some(90.0),
                result: RecordResult::Granted,
                reason: Reason::Granted,
                opened: true,
                latency_ms: 150,
                body_temp: None,
                credentials: vec!["face".into()],
                document: None,
            },
            pictures: vec![(PictureKind::Snap, vec![number as u8; 60_000])],
            destinations: vec![Destination::Qyzn],
            spend: true,
        };
        let begin = Instant::now();
        store.append_record(record).wait().unwrap();
        appended.push(begin.elapsed());
    }
    print("append_record with a picture of 60 KB", appended);

    let mut looked_up = Vec::new();
    for number in 0..2000 {
        let begin = Instant::now();
        assert_eq!(store.people_by_card(&number.to_string()).unwrap().len(), 1);
        looked_up.push(begin.elapsed());
    }
    print("people_by_card", looked_up);

    enrol(&store, 2200..PEOPLE, 100);
    drop(store);
    let begin = Instant::now();
    let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
    println!("opening: {:.1} ms", begin.elapsed().as_secs_f64() * 1000.0);
    for round in ["first", "second"] {
        let begin = Instant::now();
        let mut sum = 0_usize;
        store.each_template("m", &mut |_, _, template| sum += template.len()).unwrap();
        assert_eq!(sum, PEOPLE * TEMPLATE);
        println!(
            "loading {PEOPLE} templates, {round} time: {:.0} ms",
            begin.elapsed().as_secs_f64() * 1000.0
        );
    }
    let begin = Instant::now();
    assert!(store.faces_without("m", None, 100).unwrap().is_empty());
    println!("faces_without, none: {:.1} ms", begin.elapsed().as_secs_f64() * 1000.0);
    let begin = Instant::now();
    println!("counts {:?}: {:.1} ms", store.counts().unwrap(), begin.elapsed().as_secs_f64() * 1000.0);
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1000.0;
    println!("{what}: p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.95), at(0.99));
}
