//! Power that goes at any moment, played by kill -9 on a process that enrols people, appends records and marks
//! them delivered. (That an fsync reaches the medium is the kernel's promise and cannot be shown this way.)
//!
//! Whatever the child printed as acknowledged is there afterwards; no number comes a second time for another
//! thing; passages left and records tell the same story.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use menshen::access::{Origin, Person, PersonKey, PersonKind, Reason, Schedule};
use menshen::clock::SystemClock;
use menshen::store::{
    Destination, NewFace, NewRecord, Options, PictureKind, RecordFacts, RecordResult, Store, check,
};

const FOLDER: &str = "MENSHEN_TEST_STORE";
const FIRST: &str = "MENSHEN_TEST_FIRST";
const ROUNDS: u64 = 30;
const PASSES: u32 = 1_000_000;

fn options(folder: &std::path::Path) -> Options {
    Options { data_dir: folder.to_owned(), config: menshen::config::Store::default() }
}

fn open(options: &Options) -> Store {
    Store::open(options, Arc::new(SystemClock)).unwrap()
}

fn key(id: &str) -> PersonKey {
    PersonKey::new(Origin::Qyzn, id)
}

fn person(id: &str) -> Person {
    Person {
        key: key(id),
        code: String::new(),
        name: id.into(),
        kind: PersonKind::White,
        id_number: None,
        card: Some(id.into()),
        passes_left: Some(PASSES),
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

fn picture(of: u64) -> Vec<u8> {
    (0..20_000_u64).map(|i| (i * 31 + of) as u8).collect()
}

fn record(mark: u64) -> NewRecord {
    NewRecord {
        facts: RecordFacts {
            at: "2024-05-01T08:00:00Z".parse().unwrap(),
            utc_offset_s: 0,
            person: Some(key("walker")),
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
            latency_ms: mark,
            body_temp: None,
            credentials: vec!["face".into()],
            document: None,
        },
        pictures: vec![(PictureKind::Snap, picture(mark))],
        destinations: vec![Destination::Qyzn],
        spend: true,
    }
}

/// The process that is killed; run by the test below.
#[test]
#[ignore = "the child of `nothing_acknowledged_is_lost_by_kill_9`, which runs it"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = open(&options(folder.as_ref()));
    let say = |line: String| {
        // One write for one line: the kill may come between any two.
        std::io::stdout().lock().write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in first.. {
                let id = format!("p{number}");
                let face = NewFace {
                    face_id: id.clone(),
                    picture: picture(number),
                    model: "m".into(),
                    template: number.to_le_bytes().repeat(128),
                };
                let change = store.put_person(person(&id), vec![face]).wait().unwrap();
                say(format!("enrolled {number} {}", change.learn[0].face.0));
            }
        });
        scope.spawn(|| {
            // Several under way at once, so that they share commits.
            for mark in (first..).step_by(4) {
                let pending: Vec<_> =
                    (mark..mark + 4).map(|mark| (mark, store.append_record(record(mark)))).collect();
                for (mark, pending) in pending {
                    say(format!("recorded {mark} {}", pending.wait().unwrap().0));
                }
            }
        });
        scope.spawn(|| {
            loop {
                for entry in store.outbox(Destination::Qyzn, None, 3).unwrap() {
                    store.delivered(entry.id).wait().unwrap();
                    say(format!("delivered {} {}", entry.record.facts.latency_ms, entry.id.0));
                }
            }
        });
    });
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let store = open(&options);
    store.add_person(person("walker")).wait().unwrap();
    drop(store);

    // A generator of our own: the moments differ from round to round, and the machine adds its own.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut faces: BTreeMap<i64, u64> = BTreeMap::new();
    let mut marks: BTreeMap<i64, u64> = BTreeMap::new();
    let mut sent: BTreeMap<i64, u64> = BTreeMap::new();
    let mut highest = (0, 0, 0);
    let mut cleared = 0;
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let first = (round + 1) * 1_000_000;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = random(120);
        let mut said = Vec::new();
        while said.len() < wanted as usize {
            match lines.next() {
                Some(line) => said.extend(line.unwrap().strip_prefix('@').map(str::to_owned)),
                None => panic!("round {round}: the child ended by itself: {:?}", child.wait()),
            }
        }
        // Into the middle of what comes next, a few hundred microseconds being the length of a commit.
        let moment = std::time::Instant::now() + std::time::Duration::from_micros(random(3000));
        while std::time::Instant::now() < moment {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        said.extend(lines.map_while(Result::ok).filter_map(|line| line.strip_prefix('@').map(str::to_owned)));
        child.wait().unwrap();

        let report = check(&options, false);
        assert_eq!(report.unwrap().findings, [], "round {round}");
        let store = open(&options);
        let mut enrolled = BTreeSet::new();
        let mut recorded = BTreeSet::new();
        let mut delivered = BTreeSet::new();
        for line in &said {
            let words: Vec<_> = line.split(' ').collect();
            // The kill may cut the last line.
            let [what, mark, id] = words[..] else { continue };
            let (Ok(mark), Ok(id)) = (mark.parse::<u64>(), id.parse::<i64>()) else { continue };
            match what {
                "enrolled" => enrolled.insert((id, mark)),
                "recorded" => recorded.insert((id, mark)),
                "delivered" => delivered.insert((id, mark)),
                _ => panic!("{line}"),
            };
        }
        acknowledged += said.len();

        for (face, number) in &enrolled {
            let there = store.person(&key(&format!("p{number}"))).unwrap();
            assert_eq!(there, Some(person(&format!("p{number}"))), "round {round}");
            let picture_of = store.face_picture(menshen::store::FaceRow(*face)).unwrap();
            assert_eq!(picture_of, Some(picture(*number)), "round {round}");
        }
        // Everything that is there, acknowledged or not: whole, and under numbers of its own.
        let mut now = BTreeMap::new();
        for listed in store.list_people(None, usize::MAX).unwrap() {
            let Some(number) = listed.person.key.id.strip_prefix('p') else { continue };
            assert_eq!(listed.faces.len(), 1, "round {round}: half an enrolment");
            now.insert(listed.faces[0].0.0, number.parse::<u64>().unwrap());
        }
        store
            .each_template("m", &mut |face, _, template| {
                assert_eq!(template, now[&face.0].to_le_bytes().repeat(128), "round {round}");
            })
            .unwrap();
        keeps(&faces, &now, highest.0, "face", round);
        highest.0 = now.keys().next_back().copied().unwrap_or(0).max(highest.0);
        faces = now;

        let records = store.list_records(None, usize::MAX).unwrap();
        let mut now = BTreeMap::new();
        for record in &records {
            let mark = record.facts.latency_ms;
            now.insert(record.id.0, mark);
            assert_eq!(record.pictures, [PictureKind::Snap], "round {round}: a record without its picture");
            if mark >= first {
                let stored = store.record_picture(record.id, PictureKind::Snap).unwrap();
                assert_eq!(stored, Some(picture(mark)), "round {round}");
            }
        }
        for (id, mark) in &recorded {
            assert_eq!(now.get(id), Some(mark), "round {round}: an acknowledged record is lost");
        }
        keeps(&marks, &now, highest.1, "record", round);
        highest.1 = now.keys().next_back().copied().unwrap_or(0).max(highest.1);
        marks = now;
        let left = store.person(&key("walker")).unwrap().unwrap().passes_left.unwrap();
        assert_eq!(
            u64::from(PASSES - left),
            cleared + records.len() as u64,
            "round {round}: passages and records"
        );
        assert_eq!(
            store.last_passage(&key("walker")).unwrap().is_some(),
            cleared > 0 || !records.is_empty(),
            "round {round}"
        );

        let waiting: BTreeMap<i64, u64> = store
            .outbox(Destination::Qyzn, None, usize::MAX)
            .unwrap()
            .iter()
            .map(|entry| (entry.id.0, entry.record.facts.latency_ms))
            .collect();
        for (id, mark) in &delivered {
            assert!(
                !waiting.contains_key(id),
                "round {round}: {mark} was acknowledged and would be sent again"
            );
        }
        for record in &records {
            let waits = waiting.values().any(|mark| *mark == record.facts.latency_ms);
            assert_eq!(waits, !record.undelivered.is_empty(), "round {round}");
        }
        for (id, mark) in waiting.iter().chain(&delivered.iter().copied().collect::<BTreeMap<_, _>>()) {
            let known = sent.insert(*id, *mark);
            assert!(
                known.is_none_or(|known| known == *mark),
                "round {round}: outbox {id} was {known:?} and is {mark}"
            );
            if known.is_none() {
                assert!(
                    *id > highest.2,
                    "round {round}: outbox {id} is new, but {} was given out",
                    highest.2
                );
            }
        }
        highest.2 = sent.keys().next_back().copied().unwrap_or(0).max(highest.2);

        if round % 8 == 7 {
            cleared += store.clear_records().wait().unwrap();
            marks.clear();
        }
    }
    assert!(acknowledged > 300, "only {acknowledged} acknowledgements were seen");
    assert!(cleared > 0 && !faces.is_empty());
}

/// What was there is there, and what is new has a number beyond all that were given out.
fn keeps(before: &BTreeMap<i64, u64>, now: &BTreeMap<i64, u64>, highest: i64, what: &str, round: u64) {
    for (id, mark) in before {
        assert_eq!(now.get(id), Some(mark), "round {round}: the {what} {id} is gone or another");
    }
    for id in now.keys().filter(|id| !before.contains_key(id)) {
        assert!(*id > highest, "round {round}: the {what} {id} is new, but {highest} was given out");
    }
}
