//! The store as its callers see it. What needs a process of its own is in `tests/store_*.rs`.

use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::OptionalExtension as _;

use super::*;
use crate::access::*;
use crate::clock::ManualClock;

struct House {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    options: Options,
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { data_dir: folder.path().join("data"), config: crate::config::Store::default() };
    let clock = ManualClock::new("2024-05-01T08:00:00Z".parse().unwrap());
    House { folder, clock, options }
}

impl House {
    fn open(&self) -> Store {
        Store::open(&self.options, self.clock.clone()).unwrap()
    }
}

fn key(id: &str) -> PersonKey {
    PersonKey::new(Origin::Qyzn, id)
}

fn person(id: &str) -> Person {
    Person {
        key: key(id),
        code: format!("code {id}"),
        name: "张三".into(),
        kind: PersonKind::White,
        id_number: Some(format!("11010119900307{id:0>4}x")),
        card: Some(format!("00aB{id}")),
        passes_left: Some(3),
        valid_from: Some(Bound::Local("2024-01-01T00:00:00".parse().unwrap())),
        valid_until: Some(Bound::Utc("2030-01-01T00:00:00Z".parse().unwrap())),
        schedule: Schedule {
            simple: SimpleSchedule {
                days: [true, true, true, true, true, false, false],
                periods: Some(Periods(vec![Period { from: 480, to: 1080 }])),
            },
            extended: Some(ExtendedSchedule {
                id: "1".into(),
                name: "规则".into(),
                weekly: std::array::from_fn(|_| DayRule::Always),
                holidays: vec![Holiday {
                    name: "元旦".into(),
                    first: "2024-01-01".parse().unwrap(),
                    last: "2024-01-02".parse().unwrap(),
                    rule: DayRule::Never,
                }],
            }),
        },
        mode: Some(PassMode::FaceOrCard),
    }
}

fn face(id: &str) -> NewFace {
    NewFace {
        face_id: id.into(),
        picture: format!("picture {id}").repeat(1000).into_bytes(),
        model: "m1".into(),
        template: format!("template {id}").into_bytes(),
    }
}

fn record(of: Option<&str>, opened: bool) -> NewRecord {
    NewRecord {
        facts: RecordFacts {
            at: "2024-05-01T08:00:00.123Z".parse().unwrap(),
            utc_offset_s: 28800,
            person: of.map(key),
            face_id: Some("f".into()),
            also: Vec::new(),
            name: "张三".into(),
            person_kind: PersonKind::White,
            id_number: Some("110101199003070001".into()),
            card: Some("123".into()),
            score: Some(91.5),
            liveness: None,
            result: RecordResult::Granted,
            reason: Reason::Granted,
            opened,
            latency_ms: 180,
            body_temp: None,
            credentials: vec!["face".into()],
            document: None,
        },
        pictures: vec![
            (PictureKind::Snap, b"snap".repeat(500)),
            (PictureKind::Document, b"document".to_vec()),
        ],
        destinations: vec![Destination::Qyzn, Destination::HttpPush],
        spend: of.is_some(),
    }
}

fn templates(store: &Store, model: &str) -> Vec<(FaceRow, PersonRow, Vec<u8>)> {
    let mut all = Vec::new();
    let damaged = store
        .each_template(model, &mut |face, person, template| all.push((face, person, template.to_vec())))
        .unwrap();
    assert_eq!(damaged, 0);
    all
}

#[test]
fn a_person_comes_back_as_they_were_put_also_after_a_restart() {
    let house = house();
    let store = house.open();
    let change = store.put_person(person("1"), vec![face("a"), face("b")]).wait().unwrap();
    assert!(change.forget.is_empty());
    assert_eq!(change.learn.len(), 2);
    assert_eq!(change.learn[1].template, b"template b");
    for store in [store.clone(), {
        store.close();
        house.open()
    }] {
        if store.inner.closed.load(Ordering::Acquire) {
            assert_eq!(store.person(&key("1")).unwrap_err().kind(), Kind::Stopped);
            assert_eq!(store.add_person(person("2")).wait().unwrap_err().kind(), Kind::Stopped);
            assert_eq!(store.retain().wait().unwrap_err().kind(), Kind::Stopped);
            continue;
        }
        assert_eq!(store.person(&key("1")).unwrap(), Some(person("1")));
        assert_eq!(store.person(&PersonKey::new(Origin::Local, "1")).unwrap(), None);
        let row = change.learn[0].person;
        assert_eq!(store.person_by_row(row).unwrap(), Some(person("1")));
        let listed = store.list_people(None, 10).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].row, row);
        assert_eq!(
            listed[0].faces,
            [(change.learn[0].face, "a".to_owned()), (change.learn[1].face, "b".to_owned())]
        );
        assert_eq!(store.face_id(change.learn[1].face).unwrap().as_deref(), Some("b"));
        assert_eq!(store.face_picture(change.learn[1].face).unwrap(), Some(face("b").picture));
        assert_eq!(
            templates(&store, "m1"),
            change.learn.iter().map(|one| (one.face, one.person, one.template.clone())).collect::<Vec<_>>()
        );
        assert!(templates(&store, "m2").is_empty());
        let counts = store.counts().unwrap();
        assert_eq!((counts.people, counts.faces, counts.records), (1, 2, 0));
    }
}

#[test]
fn people_are_added_edited_and_removed() {
    let house = house();
    let store = house.open();
    store.add_person(person("1")).wait().unwrap();
    assert_eq!(store.add_person(person("1")).wait().unwrap_err().kind(), Kind::Exists);
    assert_eq!(store.add_person(person("")).wait().unwrap_err().kind(), Kind::Input);
    assert_eq!(store.add_person(person(&"1".repeat(65))).wait().unwrap_err().kind(), Kind::Input);

    store
        .edit_person(key("1"), |person| {
            person.name = "李四".into();
            person.card = None;
            Ok(())
        })
        .wait()
        .unwrap();
    let edited = store.person(&key("1")).unwrap().unwrap();
    assert_eq!((edited.name.as_str(), edited.card.as_deref()), ("李四", None));
    assert!(store.people_by_card("ab1").unwrap().is_empty());

    let error = store
        .edit_person(key("1"), |person| {
            person.name = "no".into();
            Err(Error::new(Kind::Face, "mine"))
        })
        .wait()
        .unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Face, "mine"));
    let error = store
        .edit_person(key("1"), |person| {
            person.key.id = "2".into();
            Ok(())
        })
        .wait()
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert_eq!(store.person(&key("1")).unwrap().unwrap(), edited);
    assert_eq!(store.edit_person(key("9"), |_| Ok(())).wait().unwrap_err().kind(), Kind::NotFound);

    let learned = store.put_face(key("1"), face("a")).wait().unwrap().learn[0].face;
    let gone = store.delete_people(vec![key("1")]).wait().unwrap();
    assert_eq!((gone.people, gone.missing, gone.change.forget), (1, vec![], vec![learned]));
    assert_eq!(store.person(&key("1")).unwrap(), None);
    assert_eq!(store.face_picture(learned).unwrap(), None);
    assert_eq!(store.delete_people(vec![key("1")]).wait().unwrap_err().kind(), Kind::NotFound);
    let again = store.put_person(person("1"), vec![face("a")]).wait().unwrap().learn[0].clone();
    assert!(again.face > learned, "rows of faces are never used again");
}

#[test]
fn of_a_list_all_who_are_there_go_at_once_and_the_others_are_told() {
    let house = house();
    let store = house.open();
    let mut learned = Vec::new();
    for number in 0..200 {
        let number = number.to_string();
        let change = store.put_person(person(&number), vec![face(&number)]).wait().unwrap();
        learned.extend(change.learn.into_iter().map(|learned| learned.face));
    }
    let told = Arc::new(Mutex::new(Vec::new()));
    let observed = Arc::clone(&told);
    store.observe_people(move |change| observed.lock().unwrap().push(change.forget.clone()));
    // One id is there twice, two are nobody's.
    let mut keys: Vec<PersonKey> = (0..100).map(|number| key(&number.to_string())).collect();
    keys.extend([key("7"), key("nobody"), PersonKey::new(Origin::Local, "8")]);
    let removed = store.delete_people(keys.clone()).wait().unwrap();
    assert_eq!(removed.people, 100);
    assert_eq!(removed.missing, [key("nobody"), PersonKey::new(Origin::Local, "8")]);
    assert_eq!(removed.change.forget, learned[..100]);
    assert_eq!(*told.lock().unwrap(), [learned[..100].to_vec()], "one change for the gallery");
    let left = store.list_people(None, 1000).unwrap();
    let left: Vec<_> = left.into_iter().map(|listed| listed.person.key.id).collect();
    assert_eq!(left, (100..200).map(|number| number.to_string()).collect::<Vec<_>>());
    let error = store.delete_people(keys).wait().unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::NotFound, "none of the 102 people is here"));
    assert_eq!(store.counts().unwrap().people, 100);
}

#[test]
fn faces_are_at_most_three_and_belong_to_one_person() {
    let house = house();
    let store = house.open();
    assert_eq!(store.put_face(key("1"), face("a")).wait().unwrap_err().kind(), Kind::NotFound);
    store.put_person(person("1"), vec![face("a"), face("b")]).wait().unwrap();
    store.add_person(person("2")).wait().unwrap();
    assert_eq!(store.put_face(key("2"), face("a")).wait().unwrap_err().kind(), Kind::Exists);
    store.put_face(key("1"), face("c")).wait().unwrap();
    assert_eq!(store.put_face(key("1"), face("d")).wait().unwrap_err().kind(), Kind::Input);

    let old = store.list_people(None, 1).unwrap()[0].faces[1].0;
    let mut better = face("b");
    better.template = b"better".to_vec();
    let change = store.put_face(key("1"), better).wait().unwrap();
    assert_eq!(change.forget, [old]);
    assert_eq!(change.learn[0].template, b"better");
    assert_eq!(store.counts().unwrap().faces, 3);

    let four = vec![face("1"), face("2"), face("3"), face("4")];
    assert_eq!(store.put_person(person("1"), four).wait().unwrap_err().kind(), Kind::Input);
    let twice = vec![face("1"), face("1")];
    assert_eq!(store.put_person(person("1"), twice).wait().unwrap_err().kind(), Kind::Input);
    // A face id taken from another person undoes the whole order.
    let error = store.put_person(person("2"), vec![face("x"), face("a")]).wait().unwrap_err();
    assert_eq!(error.kind(), Kind::Exists);
    assert_eq!(store.counts().unwrap().faces, 3);

    let replaced = store.put_person(person("1"), vec![face("z")]).wait().unwrap();
    assert_eq!((replaced.forget.len(), replaced.learn.len()), (3, 1));
    assert_eq!(store.delete_face(Origin::Local, "z".into()).wait().unwrap_err().kind(), Kind::NotFound);
    let change = store.delete_face(Origin::Qyzn, "z".into()).wait().unwrap();
    assert_eq!(change.forget, [replaced.learn[0].face]);
    assert_eq!(store.delete_face(Origin::Qyzn, "z".into()).wait().unwrap_err().kind(), Kind::NotFound);

    store.put_person(person("1"), vec![face("p"), face("q")]).wait().unwrap();
    assert_eq!(store.delete_faces(key("1")).wait().unwrap().forget.len(), 2);
    assert_eq!(store.delete_faces(key("9")).wait().unwrap_err().kind(), Kind::NotFound);
    assert!(store.person(&key("1")).unwrap().is_some());
}

#[test]
fn clearing_one_origin_leaves_the_others() {
    let house = house();
    let store = house.open();
    let first = store.put_person(person("1"), vec![face("a")]).wait().unwrap().learn[0].face;
    let mut other = person("1");
    other.key.origin = Origin::TerminalWs;
    store.put_person(other.clone(), vec![face("a")]).wait().unwrap();
    assert_eq!(store.clear_people(Origin::Qyzn).wait().unwrap().forget, [first]);
    assert_eq!(store.person(&key("1")).unwrap(), None);
    assert_eq!(store.person(&other.key).unwrap(), Some(other));
    assert_eq!(store.counts().unwrap().faces, 1);
}

#[test]
fn cards_and_identity_numbers_are_found_in_any_spelling() {
    let house = house();
    let store = house.open();
    let mut one = person("1");
    one.card = Some("0000AbCd12".into());
    one.id_number = Some("11010119900307123x".into());
    let mut two = person("2");
    two.card = Some(" 0abcd12 ".into());
    two.id_number = None;
    let mut three = person("3");
    three.card = Some("0000".into());
    three.id_number = Some(String::new());
    for person in [&one, &two, &three] {
        store.add_person(person.clone()).wait().unwrap();
    }
    for spelling in ["ABCD12", "abcd12", "0ABCD12", " 000abcD12"] {
        assert_eq!(store.people_by_card(spelling).unwrap(), [one.clone(), two.clone()], "{spelling}");
    }
    assert_eq!(store.people_by_card("0").unwrap(), [three.clone()]);
    for nobody in ["", " ", "ABCD120", "BCD12"] {
        assert!(store.people_by_card(nobody).unwrap().is_empty(), "{nobody}");
    }
    // As the rules compare them: blanks within a number are nothing, whoever typed them.
    let mut four = person("4");
    four.id_number = Some(" 110101 19900307\u{3000}123X ".into());
    store.add_person(four.clone()).wait().unwrap();
    for spelling in ["11010119900307123X", "110101 19900307 123x", "1 1010119900307123X\t"] {
        assert_eq!(store.people_by_id_number(spelling).unwrap(), [one.clone(), four.clone()], "{spelling}");
    }
    assert!(store.people_by_id_number("").unwrap().is_empty());
    assert!(store.people_by_id_number(" \u{3000}").unwrap().is_empty());
    assert!(store.people_by_id_number("1").unwrap().is_empty());
}

#[test]
fn a_face_moves_to_another_model_while_it_is_there() {
    let house = house();
    let store = house.open();
    let (send, told) = mpsc::channel();
    store.observe_people(move |change| send.send(change.clone()).unwrap());
    let mut rows = Vec::new();
    for id in ["1", "2", "3"] {
        rows.push(store.put_person(person(id), vec![face(id)]).wait().unwrap().learn[0].clone());
    }
    assert!(store.faces_without("m1", None, 10).unwrap().is_empty());
    let pairs: Vec<_> = rows.iter().map(|row| (row.face, row.person)).collect();
    assert_eq!(store.faces_without("m2", None, 10).unwrap(), pairs);
    assert_eq!(store.faces_without("m2", None, 2).unwrap(), pairs[..2]);
    assert_eq!(store.faces_without("m2", Some(rows[0].face), 10).unwrap(), pairs[1..]);
    assert!(store.set_template(rows[1].face, "m2".into(), b"new".to_vec()).wait().unwrap());
    assert_eq!(templates(&store, "m2"), [(rows[1].face, rows[1].person, b"new".to_vec())]);
    assert_eq!(templates(&store, "m1").len(), 2);
    store.delete_people(vec![key("3")]).wait().unwrap();
    assert!(!store.set_template(rows[2].face, "m2".into(), b"new".to_vec()).wait().unwrap());
    assert_eq!(
        store.set_template(rows[0].face, String::new(), b"new".to_vec()).wait().unwrap_err().kind(),
        Kind::Input
    );

    let told: Vec<GalleryChange> = told.try_iter().collect();
    assert_eq!(told.len(), 5);
    assert_eq!(told[3].forget, [rows[1].face]);
    assert_eq!(told[3].learn[0].template, b"new");
    assert_eq!(told[4].forget, [rows[2].face]);
}

#[test]
fn a_record_its_pictures_outbox_and_passage_are_one() {
    let house = house();
    let store = house.open();
    store.add_person(person("1")).wait().unwrap();
    let id = store.append_record(record(Some("1"), true)).wait().unwrap();
    let stored = store.record(id).unwrap().unwrap();
    assert_eq!(stored.facts, record(Some("1"), true).facts);
    assert_eq!(stored.pictures, [PictureKind::Snap, PictureKind::Document]);
    assert_eq!(stored.undelivered, [Destination::Qyzn, Destination::HttpPush]);
    assert_eq!(store.record_picture(id, PictureKind::Snap).unwrap().unwrap(), b"snap".repeat(500));
    assert_eq!(store.record_picture(id, PictureKind::Document).unwrap().unwrap(), b"document");
    assert_eq!(store.person(&key("1")).unwrap().unwrap().passes_left, Some(2));
    assert_eq!(store.last_passage(&key("1")).unwrap(), Some(stored.facts.at));

    // Two kinds of picture, not two pictures of a kind: the whole record is refused, nothing is spent.
    let mut twice = record(Some("1"), true);
    twice.pictures.push((PictureKind::Snap, Vec::new()));
    store.append_record(twice).wait().unwrap_err();
    assert_eq!(store.person(&key("1")).unwrap().unwrap().passes_left, Some(2));
    assert_eq!(store.list_records(None, 10).unwrap().len(), 1);

    for left in [1, 0, 0] {
        store.append_record(record(Some("1"), true)).wait().unwrap();
        assert_eq!(store.person(&key("1")).unwrap().unwrap().passes_left, Some(left));
    }
    // Without a limit there is nothing to spend, without a person neither.
    store
        .edit_person(key("1"), |person| {
            person.passes_left = None;
            Ok(())
        })
        .wait()
        .unwrap();
    store.append_record(record(Some("1"), true)).wait().unwrap();
    assert_eq!(store.person(&key("1")).unwrap().unwrap().passes_left, None);
    store.append_record(record(Some("nobody"), true)).wait().unwrap();
    store.append_record(record(None, false)).wait().unwrap();

    let newest = store.list_records(None, 3).unwrap();
    assert_eq!(newest.iter().map(|record| record.id.0).collect::<Vec<_>>(), [7, 6, 5]);
    let next = store.list_records(Some(RecordId(5)), 3).unwrap();
    assert_eq!(next.iter().map(|record| record.id.0).collect::<Vec<_>>(), [4, 3, 2]);
    assert_eq!(store.record(RecordId(99)).unwrap(), None);
}

#[test]
fn the_last_passage_is_the_last_that_opened_and_outlives_restart_and_records() {
    let house = house();
    let store = house.open();
    store.add_person(person("1")).wait().unwrap();
    assert_eq!(store.last_passage(&key("1")).unwrap(), None);
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let mut shut = record(Some("1"), false);
    shut.facts.at = at(100);
    shut.spend = false;
    let shut = store.append_record(shut).wait().unwrap();
    let mut refused = record(Some("1"), true);
    refused.facts.reason = Reason::StrangerAllowed;
    refused.spend = false;
    refused.facts.opened = false;
    let refused = store.append_record(refused).wait().unwrap();
    assert_eq!(store.last_passage(&key("1")).unwrap(), None);
    let passes = || store.person(&key("1")).unwrap().unwrap().passes_left;
    assert_eq!(passes(), Some(3), "what did not open spends nothing");

    // The platform opens after all.
    store.mark_opened(shut).wait().unwrap();
    assert!(store.record(shut).unwrap().unwrap().facts.opened);
    assert_eq!(store.last_passage(&key("1")).unwrap(), Some(at(100)));
    assert_eq!(passes(), Some(2), "a passage that the platform opens is spent");
    store.mark_opened(shut).wait().unwrap();
    store.mark_opened(RecordId(99)).wait().unwrap();
    assert_eq!(passes(), Some(2), "once");
    // Against the rules: the door was open, but no passage was granted.
    store.mark_opened(refused).wait().unwrap();
    assert!(store.record(refused).unwrap().unwrap().facts.opened);
    assert_eq!((passes(), store.last_passage(&key("1")).unwrap()), (Some(2), Some(at(100))));
    let mut granted = record(Some("1"), true);
    granted.facts.at = at(100);
    let granted = store.append_record(granted).wait().unwrap();
    store.mark_opened(granted).wait().unwrap();
    assert_eq!(passes(), Some(1), "what opened by itself was spent when it was stored");

    let mut later = record(Some("1"), true);
    later.facts.at = at(200);
    store.append_record(later).wait().unwrap();
    // After the clock went back, a passage of now counts, not the latest by the clock.
    let mut earlier = record(Some("1"), true);
    earlier.facts.at = at(150);
    store.append_record(earlier).wait().unwrap();
    store.clear_records().wait().unwrap();
    store.close();
    let store = house.open();
    assert_eq!(store.last_passage(&key("1")).unwrap(), Some(at(150)));
    store.put_person(person("1"), vec![]).wait().unwrap();
    assert_eq!(store.last_passage(&key("1")).unwrap(), Some(at(150)));
    store.delete_people(vec![key("1")]).wait().unwrap();
    store.add_person(person("1")).wait().unwrap();
    assert_eq!(store.last_passage(&key("1")).unwrap(), None);
}

#[test]
fn the_outbox_keeps_order_and_never_uses_a_number_again() {
    let house = house();
    let store = house.open();
    for _ in 0..3 {
        store.append_record(record(None, false)).wait().unwrap();
    }
    let waiting = store.outbox(Destination::Qyzn, None, 10).unwrap();
    assert_eq!(
        waiting.iter().map(|entry| (entry.id.0, entry.record.id.0)).collect::<Vec<_>>(),
        [(1, 1), (3, 2), (5, 3)]
    );
    assert_eq!(store.outbox(Destination::Qyzn, Some(OutboxId(1)), 1).unwrap()[0].id, OutboxId(3));
    assert_eq!(store.outbox_len(Destination::Qyzn).unwrap(), 3);

    store.delivered(OutboxId(3)).wait().unwrap();
    store.delivered(OutboxId(3)).wait().unwrap();
    store.delivered(OutboxId(999)).wait().unwrap();
    assert_eq!(store.outbox_len(Destination::Qyzn).unwrap(), 2);
    assert_eq!(store.outbox_len(Destination::HttpPush).unwrap(), 3);
    assert_eq!(store.record(RecordId(2)).unwrap().unwrap().undelivered, [Destination::HttpPush]);

    assert_eq!(store.clear_records().wait().unwrap(), 3);
    assert_eq!(store.outbox_len(Destination::HttpPush).unwrap(), 0);
    store.close();
    let store = house.open();
    let id = store.append_record(record(None, false)).wait().unwrap();
    assert_eq!(id, RecordId(4));
    assert_eq!(store.outbox(Destination::Qyzn, None, 10).unwrap()[0].id, OutboxId(7));
}

#[test]
fn settings_are_json_texts_by_key() {
    let house = house();
    let store = house.open();
    assert_eq!(store.setting("vaparam").unwrap(), None);
    store.put_setting("vaparam", "{\"a\":1}".into()).wait().unwrap();
    store.put_setting("vaparam", "{\"a\":2}".into()).wait().unwrap();
    assert_eq!(store.put_setting("vaparam", "{\"a\":".into()).wait().unwrap_err().kind(), Kind::Input);
    assert_eq!(store.setting("vaparam").unwrap().as_deref(), Some("{\"a\":2}"));
}

#[test]
fn orders_that_wait_share_a_commit_and_fail_alone() {
    let house = house();
    let store = house.open();
    // The writer is held at its first order while the others queue up behind it.
    let (entered, at_work) = mpsc::channel();
    let (go, held) = mpsc::channel::<()>();
    let first = store.order(Class::Plain, 0, move |_| {
        entered.send(()).unwrap();
        held.recv().unwrap();
        Ok(())
    });
    at_work.recv().unwrap();
    let added = store.add_person(person("1"));
    let taken = store.add_person(person("1"));
    let panics = store.order(Class::Plain, 0, |desk| -> Result<()> {
        desk.db.execute("DELETE FROM people", [])?;
        desk.announce(GalleryChange { forget: vec![FaceRow(1)], learn: vec![] });
        panic!("a defect of an order");
    });
    let last = store.put_person(person("2"), vec![face("b")]);
    let changes: i64 = store.read(|db| sqlite::number(db, "data_version")).unwrap();
    let (send, told) = mpsc::channel();
    store.observe_people(move |change| send.send(change.clone()).unwrap());
    go.send(()).unwrap();
    first.wait().unwrap();
    added.wait().unwrap();
    assert_eq!(taken.wait().unwrap_err().kind(), Kind::Exists);
    assert!(panics.wait().unwrap_err().to_string().contains("defect"));
    let learned = last.wait().unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [learned]);
    assert_eq!(store.counts().unwrap().people, 2);
    // `data_version` counts the commits of others as one connection sees them: the same connection (there is
    // only one in the pool) saw at least one, and the writer lives on.
    assert_ne!(store.read(|db| sqlite::number(db, "data_version")).unwrap(), changes);
    store.add_person(person("3")).wait().unwrap();
}

#[test]
fn a_full_queue_answers_busy_and_keeps_room_for_records() {
    let house = house();
    let store = house.open();
    let (entered, at_work) = mpsc::channel();
    let (go, held) = mpsc::channel::<()>();
    let first = store.order(Class::Plain, 0, move |_| {
        entered.send(()).unwrap();
        held.recv().unwrap();
        Ok(())
    });
    at_work.recv().unwrap();
    let mut orders: Vec<_> = (0..1024).map(|i| store.add_person(person(&i.to_string()))).collect();
    assert_eq!(store.add_person(person("more")).wait().unwrap_err().kind(), Kind::Busy);
    let records: Vec<_> = (0..1024).map(|_| store.append_record(record(None, false))).collect();
    assert_eq!(store.append_record(record(None, false)).wait().unwrap_err().kind(), Kind::Busy);
    go.send(()).unwrap();
    first.wait().unwrap();
    for order in orders.drain(..) {
        order.wait().unwrap();
    }
    for (i, record) in (1..).zip(records) {
        assert_eq!(record.wait().unwrap(), RecordId(i));
    }
    assert_eq!(store.counts().unwrap().people, 1024);

    // By bytes: one picture of 10 MiB after the other, until 32 MiB wait.
    let (entered, at_work) = mpsc::channel();
    let (go, held) = mpsc::channel::<()>();
    let first = store.order(Class::Plain, 0, move |_| {
        entered.send(()).unwrap();
        held.recv().unwrap();
        Ok(())
    });
    at_work.recv().unwrap();
    let mut large = face("large");
    large.picture = vec![0; 10 << 20];
    let outcomes: Vec<_> = (0..4).map(|_| store.put_face(key("1"), large.clone())).collect();
    go.send(()).unwrap();
    first.wait().unwrap();
    let outcomes: Vec<_> =
        outcomes.into_iter().map(|one| one.wait().map_err(|error| error.kind()).err()).collect();
    assert_eq!(outcomes, [None, None, None, Some(Kind::Busy)]);
}

#[test]
fn closing_finishes_what_waits() {
    let house = house();
    let store = house.open();
    let orders: Vec<_> = (0..50).map(|i| store.add_person(person(&i.to_string()))).collect();
    store.close();
    for order in orders {
        order.wait().unwrap();
    }
    assert_eq!(house.open().counts().unwrap().people, 50);
}

#[tokio::test]
async fn a_pending_write_can_be_awaited() {
    let house = house();
    let store = house.open();
    store.add_person(person("1")).await.unwrap();
    assert_eq!(store.add_person(person("1")).await.unwrap_err().kind(), Kind::Exists);
}

#[test]
fn one_program_writes_and_others_read() {
    let house = house();
    let error = Store::open_read_only(&house.options).err().unwrap();
    assert_eq!(error.kind(), Kind::NotFound);
    let store = house.open();
    let error = Store::open(&house.options, house.clock.clone()).err().unwrap();
    assert_eq!(error.kind(), Kind::Busy);
    assert!(error.to_string().contains("another program writes to the store"), "{error}");
    store.add_person(person("1")).wait().unwrap();
    let reader = Store::open_read_only(&house.options).unwrap();
    assert_eq!(reader.person(&key("1")).unwrap(), Some(person("1")));
    assert!(reader.add_person(person("2")).wait().unwrap_err().to_string().contains("reading only"));
    assert!(reader.retain().wait().unwrap_err().to_string().contains("reading only"));
    // It sees what is committed later, and still reads when the writer is gone.
    store.add_person(person("2")).wait().unwrap();
    assert_eq!(reader.counts().unwrap().people, 2);
    drop(store);
    assert_eq!(reader.counts().unwrap().people, 2);
    drop(reader);
    assert_eq!(Store::open_read_only(&house.options).unwrap().counts().unwrap().people, 2);
}

#[test]
fn another_key_a_missing_key_and_a_newer_store_are_told_apart() {
    let house = house();
    let path = house.options.data_dir.join("device.key");
    let store = house.open();
    store.add_person(person("1")).wait().unwrap();
    drop(store);
    let right = std::fs::read(&path).unwrap();
    let fails = |what: &str| {
        for error in [
            Store::open(&house.options, house.clock.clone()).err().unwrap(),
            Store::open_read_only(&house.options).err().unwrap(),
        ] {
            assert_eq!(error.kind(), Kind::Store);
            assert!(error.to_string().contains(what), "{error}");
        }
    };
    std::fs::write(&path, [0; 32]).unwrap();
    fails("wrong key");
    std::fs::remove_file(&path).unwrap();
    fails("is missing, but a store made with it exists");
    std::fs::write(&path, &right).unwrap();
    fails("can be read by others");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(house.open().person(&key("1")).unwrap(), Some(person("1")));

    let db = Connection::open(house.options.file()).unwrap();
    db.pragma_update(None, "user_version", upgrade::VERSION + 1).unwrap();
    let readable_by = (upgrade::VERSION + 1).to_string().into_bytes();
    db.execute("UPDATE meta SET value = ?1 WHERE key = 'readable_by'", [readable_by]).unwrap();
    drop(db);
    fails(&format!("newer than the {} this program knows", upgrade::VERSION));
}

#[test]
fn a_store_that_the_next_version_has_used_is_used_by_this_one() {
    let house = house();
    let store = house.open();
    store.add_person(person("1")).wait().unwrap();
    drop(store);
    // As the next version would leave it: more tables and columns, and a person that it has enrolled.
    let next = Connection::open(house.options.file()).unwrap();
    let note = |key: &str| -> Option<Vec<u8>> {
        let db = Connection::open(house.options.file()).unwrap();
        db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional().unwrap()
    };
    let ours = upgrade::VERSION.to_string().into_bytes();
    next.execute_batch(
        "ALTER TABLE people ADD COLUMN badge TEXT;
         CREATE TABLE badges (person INTEGER PRIMARY KEY REFERENCES people (id) ON DELETE CASCADE, badge TEXT) STRICT;
         INSERT INTO badges SELECT id, 'b' FROM people;",
    )
    .unwrap();
    next.pragma_update(None, "user_version", upgrade::VERSION + 1).unwrap();
    drop(next);
    // To look, without a trace; damage is not this program's to repair.
    let reading = Store::open_read_only(&house.options).unwrap();
    assert_eq!(reading.person(&key("1")).unwrap(), Some(person("1")));
    drop(reading);
    assert!(check(&house.options, false).unwrap().in_order());
    assert_eq!(note("written_by"), None);
    let error = check(&house.options, true).unwrap_err();
    assert!(error.to_string().contains("let the program that made it repair it"), "{error}");
    // To use: all of it, with what was there and what comes.
    let store = house.open();
    store.add_person(person("2")).wait().unwrap();
    let record = store.append_record(record(Some("1"), true)).wait().unwrap();
    store.quick_check().unwrap();
    drop(store);
    assert_eq!(note("written_by"), Some(ours));
    let store = house.open();
    assert_eq!(store.person(&key("2")).unwrap(), Some(person("2")));
    assert!(store.record(record).unwrap().is_some());
    drop(store);
    // What the next version has is still there, and it sees what this one has written.
    let next = Connection::open(house.options.file()).unwrap();
    let count = |table: &str| {
        next.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((count("badges"), count("people"), count("records")), (1, 2, 1));
    assert_eq!(sqlite::number(&next, "user_version").unwrap(), upgrade::VERSION + 1);
}

#[test]
fn an_identity_number_that_an_older_version_stored_with_blanks_is_found() {
    let house = house();
    let store = house.open();
    let spaced = Person { id_number: Some("110101 19900307123X".into()), ..person("1") };
    store.add_person(spaced.clone()).wait().unwrap();
    let seal = seal::Seal::new(&house.options.key().unwrap().load(false).unwrap());
    drop(store);
    // As version 3 wrote it: it trimmed the ends alone.
    let db = Connection::open(house.options.file()).unwrap();
    let old = seal.fingerprint("id_number", "110101 19900307123X");
    db.execute("UPDATE people SET id_number_hash = ?1", [old]).unwrap();
    db.pragma_update(None, "user_version", 3).unwrap();
    drop(db);
    let store = house.open();
    assert_eq!(store.people_by_id_number("11010119900307123X").unwrap(), std::slice::from_ref(&spaced));
    drop(store);
    assert!(check(&house.options, false).unwrap().in_order());
    // The program of before again, which has come back for a while.
    let db = Connection::open(house.options.file()).unwrap();
    db.execute("UPDATE people SET id_number_hash = ?1", [old]).unwrap();
    db.execute("INSERT INTO meta (key, value) VALUES ('written_by', ?1)", [b"3".to_vec()]).unwrap();
    drop(db);
    assert_eq!(house.open().people_by_id_number("11010119900307123X").unwrap(), [spaced]);
}

#[test]
fn nothing_readable_is_in_the_files() {
    let house = house();
    let store = house.open();
    let mut one = person("1");
    one.name = "PLAINNAME".into();
    one.code = "PLAINCODE".into();
    one.card = Some("7766554433".into());
    one.id_number = Some("110101199003071234".into());
    let mut with = face("a");
    with.picture = b"PLAINPICTURE".to_vec();
    with.template = b"PLAINTEMPLATE".to_vec();
    store.put_person(one, vec![with]).wait().unwrap();
    let mut record = record(Some("1"), true);
    record.facts.name = "PLAINNAME".into();
    record.facts.card = Some("7766554433".into());
    record.facts.id_number = Some("110101199003071234".into());
    record.pictures = vec![(PictureKind::Snap, b"PLAINPICTURE".to_vec())];
    store.append_record(record).wait().unwrap();
    let look = || {
        let mut bytes = Vec::new();
        for file in std::fs::read_dir(&house.options.data_dir).unwrap() {
            bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
        }
        for secret in ["PLAIN", "7766554433", "110101199003071234"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
        assert!(bytes.windows(4).any(|window| window == b"qyzn"), "the test looks at the right files");
    };
    look();
    drop(store);
    look();
}

#[test]
fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let house = house();
    let store = house.open();
    store.add_person(person("1")).wait().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o077;
    assert_eq!(mode(&house.options.data_dir), 0);
    let files: Vec<_> =
        std::fs::read_dir(&house.options.data_dir).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0, "{}", file.display());
    }
    assert!(house.folder.path().exists());
}

#[test]
fn the_log_stays_short_and_the_file_shrinks() {
    let house = house();
    let store = house.open();
    let mut large = record(None, false);
    large.pictures = vec![(PictureKind::Snap, vec![7; 200_000])];
    large.destinations.clear();
    for _ in 0..150 {
        store.append_record(large.clone()).wait().unwrap();
    }
    let length = |name: &str| std::fs::metadata(house.options.data_dir.join(name)).unwrap().len();
    assert!(length("store.sqlite-wal") < 12 << 20, "{}", length("store.sqlite-wal"));
    let before = store.counts().unwrap().bytes;
    assert!(before > 150 * 200_000);
    assert_eq!(store.clear_records().wait().unwrap(), 150);
    assert!(store.counts().unwrap().bytes < 1 << 20);
    // The writer gives the pages back while nobody asks for anything; the file says when it has.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while length("store.sqlite") > 6 << 20 {
        assert!(std::time::Instant::now() < deadline, "the file still has {} bytes", length("store.sqlite"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stores `count` small records for nobody in particular, delivered or not.
fn append_many(store: &Store, count: usize, delivered: bool) -> Vec<RecordId> {
    let mut one = record(None, false);
    one.pictures = vec![(PictureKind::Snap, vec![9; 8000])];
    one.destinations = vec![Destination::Qyzn];
    let ids: Vec<_> = (0..count)
        .map(|_| store.append_record(one.clone()))
        .collect::<Vec<_>>()
        .into_iter()
        .map(Pending::wait)
        .collect();
    let ids: Vec<RecordId> = ids.into_iter().map(|id| id.unwrap()).collect();
    if delivered {
        for entry in store.outbox(Destination::Qyzn, None, usize::MAX).unwrap() {
            if entry.record.id >= ids[0] {
                store.delivered(entry.id).wait().unwrap();
            }
        }
    }
    ids
}

fn all_ids(store: &Store) -> Vec<RecordId> {
    let mut ids: Vec<_> =
        store.list_records(None, usize::MAX).unwrap().iter().map(|record| record.id).collect();
    ids.reverse();
    ids
}

/// Closes and opens the store with the clock moved by `days` in between, as after a time without power.
fn absent(house: &House, store: Store, days: i64) -> Store {
    drop(store);
    house.clock.set(crate::clock::Clock::now(&*house.clock) + jiff::SignedDuration::from_hours(24 * days));
    house.open()
}

#[test]
fn delivered_records_go_when_they_are_older_than_keep_days() {
    let mut house = house();
    house.options.config.keep_days = 90;
    let mut store = house.open();
    let delivered = append_many(&store, 3, true);
    let waiting = append_many(&store, 2, false);
    for _ in 0..3 {
        store = absent(&house, store, 25);
    }
    let later = append_many(&store, 1, true);
    store = absent(&house, store, 14);
    assert_eq!(store.retain().wait().unwrap(), Retained::default(), "after 89 days");
    store = absent(&house, store, 1);
    assert_eq!(store.retain().wait().unwrap(), Retained { by_age: 3, ..Retained::default() });
    assert_eq!(all_ids(&store), [waiting.clone(), later].concat());
    assert_eq!(store.record_picture(delivered[0], PictureKind::Snap).unwrap(), None);
    // What was not delivered stays however old it is, and goes once it is delivered.
    for _ in 0..20 {
        store = absent(&house, store, 30);
    }
    store.retain().wait().unwrap();
    assert_eq!(all_ids(&store), waiting);
    for entry in store.outbox(Destination::Qyzn, None, 10).unwrap() {
        store.delivered(entry.id).wait().unwrap();
    }
    assert_eq!(store.retain().wait().unwrap().by_age, 2);
    assert_eq!(store.notices().unwrap(), []);
}

#[test]
fn a_clock_that_jumps_by_years_removes_nothing() {
    let mut house = house();
    house.options.config.keep_days = 90;
    let mut store = house.open();
    let mut ids = append_many(&store, 2, true);
    // Ahead and back while it runs, then across restarts: the battery is empty, somebody sets a wrong year.
    for days in [365, -730, 365, 3650, -3650] {
        let now = crate::clock::Clock::now(&*house.clock);
        house.clock.set(now + jiff::SignedDuration::from_hours(24 * days));
        assert_eq!(store.retain().wait().unwrap(), Retained::default(), "{days} days while running");
        ids.extend(append_many(&store, 1, true));
    }
    for days in [365, -365, -20_000, 20_000, 400, 400, -800] {
        store = absent(&house, store, days);
        assert_eq!(store.retain().wait().unwrap(), Retained::default(), "{days} days without power");
        ids.extend(append_many(&store, 1, true));
    }
    assert_eq!(all_ids(&store), ids);
    // And records of a wrong time still age: the highest time that was seen is 32 years ahead, so only what
    // the store has lived counts, which is next to nothing; without any days to keep, they go at once.
    drop(store);
    house.options.config.keep_days = 0;
    let store = house.open();
    assert_eq!(store.retain().wait().unwrap().by_age, ids.len() as u64);
}

#[test]
fn above_the_soft_limit_the_oldest_delivered_records_go() {
    let mut house = house();
    house.options.config.soft_limit_mib = 5;
    house.options.config.hard_limit_mib = 100;
    let store = house.open();
    let waiting = append_many(&store, 20, false);
    let delivered = append_many(&store, 900, true);
    assert!(store.counts().unwrap().bytes > 6 << 20);
    let retained = store.retain().wait().unwrap();
    assert_eq!((retained.by_age, retained.undelivered), (0, 0));
    let bytes = store.counts().unwrap().bytes;
    assert!(bytes <= 5 << 20 && bytes > 4 << 20, "{bytes}");
    let gone = retained.by_size as usize;
    assert!((100..600).contains(&gone), "{gone}");
    assert_eq!(all_ids(&store), [waiting.clone(), delivered[gone..].to_vec()].concat());
    assert_eq!(store.outbox_len(Destination::Qyzn).unwrap(), 20);

    // However small the limit, the newest 256 stay, and what is not delivered.
    drop(store);
    house.options.config.soft_limit_mib = 1;
    let store = house.open();
    store.retain().wait().unwrap();
    assert_eq!(all_ids(&store), [waiting, delivered[900 - 256..].to_vec()].concat());
    assert_eq!(store.notices().unwrap(), []);
}

#[test]
fn above_the_hard_limit_undelivered_records_go_and_the_technician_is_told() {
    let mut house = house();
    house.options.config.soft_limit_mib = 4;
    house.options.config.hard_limit_mib = 5;
    let store = house.open();
    let delivered = append_many(&store, 50, true);
    let waiting = append_many(&store, 700, false);
    let retained = store.retain().wait().unwrap();
    assert_eq!(retained.by_size, delivered.len() as u64, "the delivered ones go first");
    let gone = retained.undelivered as usize;
    assert!((100..444).contains(&gone), "{gone}");
    assert_eq!(all_ids(&store), waiting[gone..]);
    assert_eq!(store.outbox(Destination::Qyzn, None, 1).unwrap()[0].record.id, waiting[gone]);
    assert!(store.counts().unwrap().bytes <= 5 << 20);
    let now = crate::clock::Clock::now(&*house.clock);
    let mut notice = Notice { kind: NoticeKind::RecordsDropped, count: gone as u64, first: now, last: now };
    assert_eq!(store.notices().unwrap(), [notice.clone()]);

    // It adds up, also across a restart.
    drop(store);
    let store = house.open();
    append_many(&store, 300, false);
    house.clock.set(now + jiff::SignedDuration::from_hours(1));
    notice.count += store.retain().wait().unwrap().undelivered;
    notice.last = now + jiff::SignedDuration::from_hours(1);
    assert!(notice.count > gone as u64);
    assert_eq!(store.notices().unwrap(), [notice]);
    store.clear_notices().wait().unwrap();
    assert_eq!(store.notices().unwrap(), []);
}

#[test]
fn people_alone_cannot_push_records_out_and_are_refused_at_the_hard_limit() {
    let mut house = house();
    house.options.config.soft_limit_mib = 1;
    house.options.config.hard_limit_mib = 2;
    let store = house.open();
    let ids = append_many(&store, 3, true);
    let mut large = face("a");
    large.picture = vec![1; 2 << 20];
    store.put_person(person("1"), vec![large]).wait().unwrap();
    let error = store.put_person(person("2"), vec![face("b")]).wait().unwrap_err();
    assert_eq!(error.kind(), Kind::Full);
    assert!(error.to_string().contains("hard_limit_mib"), "{error}");
    // Somebody can be shut out all the same.
    store
        .edit_person(key("1"), |person| {
            person.kind = PersonKind::Black;
            Ok(())
        })
        .wait()
        .unwrap();
    assert_eq!(store.person(&key("1")).unwrap().unwrap().kind, PersonKind::Black);
    assert_eq!(store.retain().wait().unwrap(), Retained::default());
    assert_eq!(all_ids(&store), ids);
    store.append_record(record(Some("1"), true)).wait().unwrap();
    store.delete_people(vec![key("1")]).wait().unwrap();
    store.put_person(person("2"), vec![face("b")]).wait().unwrap();
}

#[test]
fn an_adopted_person_has_new_ids_and_is_otherwise_the_same() {
    let house = house();
    let store = house.open();
    let local = PersonKey::new(Origin::Local, "7");
    let enrolled = Person { key: local.clone(), ..person("7") };
    let change = store.put_person(enrolled, vec![face("7-1"), face("7-2")]).wait().unwrap();
    let (row, faces) = (change.learn[0].person, [change.learn[0].face, change.learn[1].face]);
    let mut passage = record(None, true);
    passage.facts.person = Some(local.clone());
    passage.spend = true;
    store.append_record(passage).wait().unwrap();
    let (left, last) =
        (store.person(&local).unwrap().unwrap().passes_left, store.last_passage(&local).unwrap());
    assert!(left == Some(2) && last.is_some());
    let before = templates(&store, "m1");
    assert_eq!(store.count_people(&[Origin::Qyzn, Origin::Local]).unwrap(), (1, Some(row)));

    // The two faces change their ids for each other's, and the setting comes with it.
    let names = vec![(faces[0], "7-2".to_owned()), (faces[1], "7-1".to_owned())];
    store.adopt_person(local.clone(), key("100002"), names, Some(("cursor", "1".into()))).wait().unwrap();
    assert_eq!(store.person(&local).unwrap(), None);
    assert_eq!(store.count_people(&[Origin::Local]).unwrap(), (0, None));
    let adopted = store.person(&key("100002")).unwrap().unwrap();
    assert_eq!(adopted, Person { key: key("100002"), passes_left: left, ..person("7") });
    let listed = store.listed_person(&key("100002")).unwrap().unwrap();
    assert_eq!(listed.row, row);
    assert_eq!(listed.faces, [(faces[0], "7-2".to_owned()), (faces[1], "7-1".to_owned())]);
    assert_eq!(store.last_passage(&key("100002")).unwrap(), last);
    assert_eq!(templates(&store, "m1"), before);
    assert_eq!(store.face_picture(faces[0]).unwrap().unwrap(), face("7-1").picture);
    assert_eq!(store.people_by_card(adopted.card.as_deref().unwrap()).unwrap(), [adopted]);
    assert_eq!(store.setting("cursor").unwrap().as_deref(), Some("1"));

    // Who has an id keeps it, and nothing of what collides is changed.
    let other = PersonKey::new(Origin::Local, "8");
    let change = store
        .put_person(Person { key: other.clone(), ..person("8") }, vec![face("8-1"), face("8-2")])
        .wait()
        .unwrap();
    let faces = [change.learn[0].face, change.learn[1].face];
    let adopt = |key: &PersonKey, new: PersonKey, names: Vec<(FaceRow, String)>| {
        store.adopt_person(key.clone(), new, names, Some(("cursor", "2".into()))).wait().unwrap_err().kind()
    };
    assert_eq!(adopt(&other, key("100002"), vec![]), Kind::Exists);
    assert_eq!(adopt(&other, key("9"), vec![(faces[1], "7-1".into())]), Kind::Exists);
    assert_eq!(adopt(&other, key("9"), vec![(faces[1], "8-1".into())]), Kind::Exists);
    assert_eq!(adopt(&other, key(""), vec![]), Kind::Input);
    assert_eq!(adopt(&local, key("9"), vec![]), Kind::NotFound);
    assert!(store.listed_person(&other).unwrap().is_some_and(|listed| listed.faces[0].1 == "8-1"));
    assert_eq!(store.setting("cursor").unwrap().as_deref(), Some("1"));
    // The ids of a face of another person are not touched by naming it.
    store.adopt_person(other, key("9"), vec![(listed.faces[0].0, "x".into())], None).wait().unwrap();
    assert_eq!(store.listed_person(&key("100002")).unwrap().unwrap().faces, listed.faces);
}

#[test]
fn buttons_push_out_no_alarm() {
    let house = house();
    let store = house.open();
    let at = "2024-05-01T08:00:00Z".parse().unwrap();
    store.append_incident(IncidentKind::DoorForced, at, Some(at)).wait().unwrap();
    let db = rusqlite::Connection::open(house.options.file()).unwrap();
    db.execute_batch(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10100)
         INSERT INTO incidents (kind, began_ms, ended_ms) SELECT 'exit_button', i, i FROM n",
    )
    .unwrap();
    while store.append_incident(IncidentKind::ExitButton, at, Some(at)).wait().unwrap().0 % 64 != 0 {}
    let all = store.list_incidents(None, usize::MAX).unwrap();
    let count = |kind| all.iter().filter(|incident| incident.kind == kind).count();
    assert_eq!((count(IncidentKind::DoorForced), count(IncidentKind::ExitButton)), (1, 10_000));
}
