//! kill -9 at random moments while people are being enrolled and others pass: what was acknowledged is there,
//! what opened the door is recorded, and nothing is reported twice under two sequences.
//!
//! `MENSHEN_POWER_CUTS` sets the number of cuts (12 here; 100 take some five minutes).
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;
#[path = "support/site.rs"]
mod site;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use menshen::access::{Origin, PersonKey};
use menshen::clock::SystemClock;
use menshen::store::{Destination, Options, PictureKind, Record, Store};

use process::{Agent, prepared};
use site::Site;

/// A number below `limit` that differs from run to run.
fn random(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % limit
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_reported_under_two_sequences() {
    let cuts: u32 = std::env::var("MENSHEN_POWER_CUTS").map_or(12, |text| text.parse().unwrap());
    let site = Site::new();
    // Four times as fast as life, and nobody waits between two passages.
    let config = site.config(&prepared(".setup/demo/frames"), 60) + "[gate]\nmin_interval_s = 0\n";
    // Neither of the two who walk through the frames.
    let other = std::fs::read(prepared(".setup/test/pictures/p01-1.jpg")).unwrap();

    let mut acknowledged = BTreeSet::new();
    let mut opened = BTreeSet::new();
    for cut in 0..cuts {
        let seen = site.journal_len();
        let mut agent = Agent::start(site.folder(), &config);
        site.logged_in_after(seen);
        if cut == 0 {
            assert_eq!(site.enrol("100001", "", ".setup/demo/enrol/A.jpg")["result"], 0);
            assert_eq!(site.enrol("100002", "", ".setup/demo/enrol/B.jpg")["result"], 0);
            acknowledged.extend(["100001".to_owned(), "100002".to_owned()]);
        }
        // A stream of enrolments, several under way, each with its number.
        let stream: Vec<_> = (0..40)
            .filter_map(|number| {
                let id = format!("cut{cut}n{number}");
                let data = site::person(&id, "", &other);
                let sent = site.block_on(async { site.platform.send(None, "add_person_face", data) }).ok()?;
                Some((id, sent))
            })
            .collect();
        // Cut at a moment within it, or while people pass.
        let until = std::time::Instant::now() + Duration::from_millis(random(2500));
        while let Some(event) =
            agent.event_within(until.saturating_duration_since(std::time::Instant::now()), |_| true)
        {
            if event["kind"] == "relay" && event["state"] == "on" {
                opened.insert(event["record"].as_i64().expect("every opening here has a record"));
            }
        }
        agent.process.kill();
        for (id, sent) in stream {
            // An answer that the platform has is an acknowledgement; one that never came is not.
            let answer =
                site.block_on(async { tokio::time::timeout(Duration::from_millis(20), sent.answer()).await });
            if answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer["result"] == 0)) {
                acknowledged.insert(id);
            }
        }
    }

    // The power stays on until everything has been reported.
    let seen = site.journal_len();
    let mut agent = Agent::start(site.folder(), &config.replace("fps = 60", "fps = 1"));
    site.logged_in_after(seen);
    agent.event("an empty outbox", |_| agent_outbox_is_empty(&site));
    assert_eq!(agent.process.stop(), Some(0));

    let store = open(&site);
    for id in &acknowledged {
        let key = PersonKey::new(Origin::Qyzn, id.as_str());
        assert!(store.person(&key).unwrap().is_some(), "{id} was acknowledged and is not there");
    }
    for record in &opened {
        let record = store.record(menshen::store::RecordId(*record)).unwrap();
        assert!(record.is_some_and(|record| record.facts.opened), "an opening is not in the record");
    }
    // One sequence, one passage; and every record was reported.
    let mut reports: HashMap<i64, BTreeSet<(String, String, String)>> = HashMap::new();
    let mut sequences: BTreeMap<(String, String, String), BTreeSet<i64>> = BTreeMap::new();
    for entry in site.platform.journal().from(0) {
        if entry.event != "snapshot_face" {
            continue;
        }
        let passage = (
            entry.text("snaptime").to_owned(),
            entry.text("personId").to_owned(),
            entry.text("snapPic_md5").to_owned(),
        );
        let seq = entry.int("seq").unwrap();
        reports.entry(seq).or_default().insert(passage.clone());
        sequences.entry(passage).or_default().insert(seq);
    }
    for (seq, passages) in &reports {
        assert_eq!(passages.len(), 1, "sequence {seq} was used for several passages: {passages:?}");
    }
    // Two cuts within a second can show the same frame to two runs: such passages look alike, and are two.
    let reported: BTreeMap<_, _> =
        sequences.into_iter().map(|(passage, sequences)| (passage, sequences.len())).collect();
    let mut stored: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    let records = store.list_records(None, 1_000_000).unwrap();
    for record in &records {
        *stored.entry(passage(&store, record)).or_default() += 1;
    }
    assert_eq!(reported, stored, "each record was reported, under one sequence of its own");
    let records = records.len();
    site.assert_proper();
    println!(
        "{cuts} cuts: {} people acknowledged, {} openings seen, {records} records, all there",
        acknowledged.len(),
        opened.len()
    );
    assert!(acknowledged.len() > 2 && records > 0, "the cuts came too early to show anything");
}

fn open(site: &Site) -> Store {
    let options = Options { data_dir: site.folder().join("data"), config: menshen::config::Store::default() };
    Store::open(&options, Arc::new(SystemClock)).unwrap()
}

fn agent_outbox_is_empty(site: &Site) -> bool {
    let options = Options { data_dir: site.folder().join("data"), config: menshen::config::Store::default() };
    Store::open_read_only(&options).unwrap().outbox_len(Destination::Qyzn).unwrap() == 0
}

/// What a report tells of a record: its local time, the person, the picture.
fn passage(store: &Store, record: &Record) -> (String, String, String) {
    let facts = &record.facts;
    let offset = jiff::tz::Offset::from_seconds(facts.utc_offset_s).unwrap();
    let snaptime = offset.to_datetime(facts.at).strftime("%Y-%m-%d %H:%M:%S").to_string();
    let person = facts.person.as_ref().map(|person| person.id.clone()).unwrap_or_default();
    let picture = store.record_picture(record.id, PictureKind::Snap).unwrap().unwrap();
    (snaptime, person, format!("{:x}", md5::compute(picture)))
}
