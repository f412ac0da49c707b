//! A full disk: the write that has no room fails as `Full` and changes nothing, what was there stays, records
//! go on in the ballast's place, and once there is room all is as before.
//!
//! Each case runs in a process of its own: on a small tmpfs in a mount namespace, and under a limit of the
//! size of files.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::process::Command;
use std::sync::Arc;

use menshen::Kind;
use menshen::access::{Origin, Person, PersonKey, PersonKind, Reason, Schedule};
use menshen::clock::SystemClock;
use menshen::store::{
    Destination, NewFace, NewRecord, Options, PictureKind, RecordFacts, RecordResult, Store, check,
};

const FOLDER: &str = "MENSHEN_TEST_STORE";

fn key(number: usize) -> PersonKey {
    PersonKey::new(Origin::Qyzn, number.to_string())
}

fn person(number: usize) -> Person {
    Person {
        key: key(number),
        code: String::new(),
        name: number.to_string(),
        kind: PersonKind::White,
        id_number: None,
        card: None,
        passes_left: Some(5),
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

fn face(number: usize) -> NewFace {
    NewFace {
        face_id: number.to_string(),
        picture: vec![number as u8; 100_000],
        model: "m".into(),
        template: vec![number as u8; 1024],
    }
}

fn record(number: usize) -> NewRecord {
    NewRecord {
        facts: RecordFacts {
            at: "2024-05-01T08:00:00Z".parse().unwrap(),
            utc_offset_s: 0,
            person: Some(key(0)),
            face_id: None,
            also: Vec::new(),
            name: String::new(),
            person_kind: PersonKind::White,
            id_number: None,
            card: None,
            score: None,
            liveness: None,
            result: RecordResult::Granted,
            reason: Reason::Granted,
            opened: true,
            latency_ms: number as u64,
            body_temp: None,
            credentials: vec!["face".into()],
            document: None,
        },
        pictures: vec![(PictureKind::Snap, vec![number as u8; 50_000])],
        destinations: vec![Destination::Qyzn],
        spend: false,
    }
}

fn options() -> Option<Options> {
    let folder = std::env::var_os(FOLDER)?;
    Some(Options {
        data_dir: std::path::Path::new(&folder).join("data"),
        config: menshen::config::Store::default(),
    })
}

/// Enrols people from `first` on until there is no room; how many there are then.
fn enrol_until_full(store: &Store, first: usize) -> usize {
    for number in first..100_000 {
        if let Err(error) = store.put_person(person(number), vec![face(number)]).wait() {
            assert_eq!(error.kind(), Kind::Full, "{error}");
            assert!(error.to_string().contains("disk is full"), "{error}");
            return number;
        }
    }
    panic!("the disk never became full");
}

fn everybody_is_there(store: &Store, people: usize) {
    let counts = store.counts().unwrap();
    assert_eq!((counts.people, counts.faces), (people as u64, people as u64));
    for listed in store.list_people(None, usize::MAX).unwrap() {
        let number: usize = listed.person.key.id.parse().unwrap();
        assert_eq!(listed.person, person(number));
        assert_eq!(store.face_picture(listed.faces[0].0).unwrap().unwrap(), face(number).picture);
    }
}

#[test]
#[ignore = "the child of `a_full_disk`, which runs it on a small tmpfs"]
fn on_a_small_disk() {
    let Some(options) = options() else { return };
    let filler = options.data_dir.with_file_name("filler");
    std::fs::write(&filler, vec![1; 8 << 20]).unwrap();
    let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
    let ballast = options.data_dir.join("store.ballast");
    assert_eq!(std::fs::metadata(&ballast).unwrap().len(), 4 << 20);
    let people = enrol_until_full(&store, 0);
    assert!(people > 10, "{people}");
    everybody_is_there(&store, people);

    // The ballast is gone, and what it held is for records: they go on, enrolment does not.
    assert!(!ballast.exists());
    let mut records = 0;
    loop {
        match store.append_record(record(records)).wait() {
            Ok(_) => records += 1,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Full, "{error}");
                break;
            }
        }
        let error = store.put_person(person(people), vec![face(people)]).wait().unwrap_err();
        assert_eq!(error.kind(), Kind::Full, "{error}");
    }
    // With no room even for a record, anybody can still be shut out, and let in again.
    for number in 0..people {
        for kind in [PersonKind::Black, PersonKind::White] {
            store
                .edit_person(key(number), move |person| {
                    person.kind = kind;
                    Ok(())
                })
                .wait()
                .unwrap();
            assert_eq!(store.person(&key(number)).unwrap().unwrap().kind, kind);
        }
    }
    assert!(records >= 20, "only {records} records found room in the ballast's place");
    everybody_is_there(&store, people);
    assert_eq!(store.list_records(None, usize::MAX).unwrap().len(), records);
    assert_eq!(store.outbox_len(Destination::Qyzn).unwrap(), records as u64);

    // It opens again on the full disk, and nothing is gone.
    drop(store);
    let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
    everybody_is_there(&store, people);
    assert_eq!(store.list_records(None, usize::MAX).unwrap().len(), records);

    // The platform is reached again and acknowledges; each marked record is room for a new one, and the
    // oldest go.
    for entry in store.outbox(Destination::Qyzn, None, usize::MAX).unwrap() {
        store.delivered(entry.id).wait().unwrap();
    }
    assert_eq!(store.outbox_len(Destination::Qyzn).unwrap(), 0);
    for number in records..records + 100 {
        let id = store.append_record(record(number)).wait().unwrap();
        let entry = store.outbox(Destination::Qyzn, None, 1).unwrap().remove(0);
        assert_eq!(entry.record.id, id);
        store.delivered(entry.id).wait().unwrap();
    }
    let marks: Vec<_> =
        store.list_records(None, usize::MAX).unwrap().iter().map(|record| record.facts.latency_ms).collect();
    assert!(marks.len() >= 16, "{marks:?}");
    assert!(
        marks.iter().copied().eq((0..(records + 100) as u64).rev().take(marks.len())),
        "the newest are kept: {marks:?}"
    );
    let error = store.put_person(person(people), vec![face(people)]).wait().unwrap_err();
    assert_eq!(error.kind(), Kind::Full, "{error}");
    everybody_is_there(&store, people);

    std::fs::remove_file(&filler).unwrap();
    store.put_person(person(people), vec![face(people)]).wait().unwrap();
    assert!(ballast.exists());
    store.append_record(record(records + 100)).wait().unwrap();
    everybody_is_there(&store, people + 1);
    drop(store);
    assert_eq!(check(&options, false).unwrap().findings, []);
}

#[test]
#[ignore = "the child of `a_limit_of_the_size_of_files`, which runs it under one"]
fn under_a_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(options) = options() else { return };
    let limit = getrlimit(Resource::Fsize);
    assert_eq!(limit.current, Some(8 << 20));
    let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
    let people = enrol_until_full(&store, 0);
    assert!(people > 10, "{people}");
    everybody_is_there(&store, people);
    assert_eq!(enrol_until_full(&store, people), people, "it is still full");
    everybody_is_there(&store, people);

    setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    for number in people..people + 200 {
        store.put_person(person(number), vec![face(number)]).wait().unwrap();
    }
    everybody_is_there(&store, people + 200);
    drop(store);
    assert_eq!(check(&options, false).unwrap().findings, []);
}

/// Runs `script` in a shell with the test `name` as its arguments.
fn run(script: &str, name: &str, folder: &std::path::Path) -> std::process::Output {
    Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .unwrap()
}

fn succeeded(output: &std::process::Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=24m tmpfs \"$MENSHEN_TEST_STORE\"";
    for namespace in ["unshare --mount", "unshare --mount --map-root-user"] {
        let possible = run(&format!("{namespace} sh -c '{mount}'"), "", folder.path());
        if possible.status.success() {
            let script = format!("exec {namespace} sh -c '{mount} && exec \"$@\"' sh \"$@\"");
            succeeded(&run(&script, "on_a_small_disk", folder.path()));
            return;
        }
    }
    eprintln!(
        "LEFT OUT: a_full_disk needs a mount namespace, which this machine does not give; run it as root"
    );
}

#[test]
fn a_limit_of_the_size_of_files() {
    let folder = tempfile::tempdir().unwrap();
    // In blocks of 512 bytes; the signal is ignored, as it is for a service that must not die of it.
    let script = "trap '' XFSZ; ulimit -S -f 16384; exec \"$@\"";
    succeeded(&run(script, "under_a_limit", folder.path()));
}
