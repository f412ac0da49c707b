//! The decision as tables, as properties over whatever is presented, and under several zones of the machine.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Date, date};
use jiff::tz::{Offset, offset};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::credential::HolderMatch;
use super::*;
use crate::clock::Moment;

/// 2019-09-30, a Monday, 12:00 in Beijing.
fn noon() -> Moment {
    Moment { utc: "2019-09-30T04:00:00Z".parse().unwrap(), offset: offset(8) }
}

fn person(id: &str) -> Person {
    Person {
        key: PersonKey::new(Origin::Qyzn, id),
        code: id.into(),
        name: "张三".into(),
        kind: PersonKind::White,
        id_number: None,
        card: None,
        passes_left: None,
        valid_from: None,
        valid_until: None,
        schedule: Schedule::default(),
        mode: None,
    }
}

fn seen(matched: FaceMatch) -> Credential {
    Credential::Face(FaceCredential { matched, liveness: Liveness::Live(90.0) })
}

fn face(person: &Arc<Person>) -> Credential {
    seen(FaceMatch::Person { person: person.clone(), face_id: "1".into(), score: 92.0, also: Vec::new() })
}

fn stranger() -> Credential {
    seen(FaceMatch::Stranger { score: 30.0 })
}

fn ambiguous() -> Credential {
    seen(FaceMatch::Ambiguous { score: 85.0 })
}

fn attack(matched: FaceMatch) -> Credential {
    Credential::Face(FaceCredential { matched, liveness: Liveness::Attack(10.0) })
}

fn card(person: &Arc<Person>) -> Credential {
    Credential::Card { number: "157342643".into(), person: Some(person.clone()), also: Vec::new() }
}

fn unknown_card() -> Credential {
    Credential::Card { number: "1".into(), person: None, also: Vec::new() }
}

/// The number is the documents' own sample.
const ID_NUMBER: &str = "420381200010013857";

fn document(person: Option<&Arc<Person>>, same: Option<bool>) -> Credential {
    Credential::Document(DocumentCredential {
        number: ID_NUMBER.into(),
        name: "张三".into(),
        valid_from: None,
        expires: None,
        printed: None,
        has_photo: true,
        holder: same.map(|same| HolderMatch { score: if same { 90.0 } else { 20.0 }, same }),
        person: person.cloned(),
        also: Vec::new(),
    })
}

/// One whose photo is missing or shows no usable face.
fn without_photo(person: Option<&Arc<Person>>) -> Credential {
    let Credential::Document(mut document) = document(person, None) else { unreachable!("it is one") };
    document.has_photo = false;
    Credential::Document(document)
}

fn document_until(last_day: Date) -> Credential {
    let Credential::Document(mut document) = document(None, Some(true)) else { unreachable!("it is one") };
    document.expires = Some(last_day);
    Credential::Document(document)
}

fn qr() -> Credential {
    Credential::Qr { content: "adddfffsss".into() }
}

fn rules(mode: PassMode) -> Rules {
    Rules { mode, ..Rules::default() }
}

fn asked(presented: &[Credential], rules: &Rules) -> Verdict {
    decide(presented, rules, &noon(), None)
}

/// A verdict as one word: `granted`, `!mismatch`, `?card`, and who is meant.
fn word(verdict: &Verdict) -> String {
    let who = verdict.person().map(|person| format!(" {}", person.key.id)).unwrap_or_default();
    match verdict {
        Verdict::Pass { reason, .. } => format!("{}{who}", reason.as_str()),
        Verdict::Refuse { reason, .. } => format!("!{}{who}", reason.as_str()),
        Verdict::Await { next, .. } => format!("?{next:?}{who}").to_lowercase(),
    }
}

#[test]
fn each_mode_takes_what_the_document_says() {
    use CredentialOrder::{Any, FaceFirst, FaceLast};
    use PassMode::{Card, Document, DocumentWhitelist, Face, FaceAndCard, FaceOrCard, FaceOrDocument};
    let a = &Arc::new(person("a"));
    let b = &Arc::new(person("b"));
    let visitor = &Arc::new(Person { kind: PersonKind::Visitor, ..person("v") });
    let type4 = &Arc::new(Person { kind: PersonKind::Stranger, ..person("s") });
    let same = Some(true);
    let table: &[(PassMode, CredentialOrder, &[Credential], &str)] = &[
        (Face, Any, &[face(a)], "granted a"),
        (Face, Any, &[face(visitor)], "granted v"),
        (Face, Any, &[stranger()], "!stranger"),
        (Face, Any, &[ambiguous()], "!ambiguous"),
        (Face, Any, &[stranger(), ambiguous()], "!ambiguous"),
        (Face, Any, &[stranger(), face(a)], "granted a"),
        (Face, Any, &[face(type4)], "!stranger s"),
        (Face, Any, &[card(a)], "!wrong_credential a"),
        (Face, Any, &[unknown_card()], "!wrong_credential"),
        (Face, Any, &[document(None, None)], "!wrong_credential"),
        (Face, Any, &[unknown_card(), face(a)], "granted a"),
        (Face, Any, &[card(a), stranger()], "!mismatch"),
        (Face, Any, &[card(b), face(a)], "!mismatch a"),
        (Face, Any, &[face(a), face(b)], "!mismatch b"),
        //
        (FaceAndCard, Any, &[face(a)], "?card a"),
        (FaceAndCard, Any, &[card(a)], "?face a"),
        (FaceAndCard, Any, &[face(a), card(a)], "granted a"),
        (FaceAndCard, Any, &[card(a), face(a)], "granted a"),
        (FaceAndCard, Any, &[card(a), face(b)], "!mismatch b"),
        (FaceAndCard, Any, &[face(b), card(a)], "!mismatch b"),
        (FaceAndCard, Any, &[card(a), stranger()], "!mismatch"),
        (FaceAndCard, Any, &[card(a), ambiguous()], "!ambiguous a"),
        (FaceAndCard, Any, &[face(a), unknown_card()], "!unknown_card a"),
        (FaceAndCard, Any, &[unknown_card()], "!unknown_card"),
        (FaceAndCard, Any, &[stranger()], "!stranger"),
        (FaceAndCard, Any, &[ambiguous()], "!ambiguous"),
        (FaceAndCard, Any, &[document(Some(a), None)], "!wrong_credential a"),
        (FaceAndCard, Any, &[face(type4), card(type4)], "!stranger s"),
        (FaceAndCard, FaceFirst, &[face(a)], "?card a"),
        (FaceAndCard, FaceFirst, &[face(a), card(a)], "granted a"),
        (FaceAndCard, FaceFirst, &[card(a)], "!wrong_order a"),
        (FaceAndCard, FaceFirst, &[card(a), face(a)], "!wrong_order a"),
        (FaceAndCard, FaceFirst, &[card(a), face(a), card(a)], "granted a"),
        (FaceAndCard, FaceFirst, &[stranger(), card(a)], "!mismatch"),
        (FaceAndCard, FaceLast, &[card(a)], "?face a"),
        (FaceAndCard, FaceLast, &[card(a), face(a)], "granted a"),
        (FaceAndCard, FaceLast, &[face(a)], "?card a"),
        (FaceAndCard, FaceLast, &[face(a), card(a)], "?face a"),
        (FaceAndCard, FaceLast, &[face(a), card(a), face(a)], "granted a"),
        (FaceAndCard, FaceLast, &[stranger(), card(a)], "?face a"),
        (FaceAndCard, FaceLast, &[card(a), stranger()], "!mismatch"),
        //
        (Card, Any, &[card(a)], "granted a"),
        (Card, Any, &[unknown_card()], "!unknown_card"),
        (Card, Any, &[face(a)], "!wrong_credential a"),
        (Card, Any, &[stranger()], "!wrong_credential"),
        (Card, Any, &[card(type4)], "!stranger s"),
        (Card, Any, &[face(b), card(a)], "!mismatch b"),
        (Card, Any, &[stranger(), card(a)], "granted a"),
        //
        (Document, Any, &[document(None, None)], "?face"),
        (Document, Any, &[stranger()], "?document"),
        (Document, Any, &[face(a)], "?document a"),
        (Document, Any, &[ambiguous()], "?document"),
        (Document, Any, &[stranger(), document(None, None)], "?face"),
        (Document, Any, &[document(None, same)], "?face"),
        (Document, Any, &[stranger(), document(None, same)], "document_holder"),
        (Document, Any, &[document(None, same), stranger()], "document_holder"),
        (Document, Any, &[document(None, same), face(a)], "granted a"),
        (Document, Any, &[document(Some(a), same), stranger()], "granted a"),
        (Document, Any, &[document(Some(type4), same), stranger()], "document_holder s"),
        (Document, Any, &[document(None, Some(false)), stranger()], "!mismatch"),
        (Document, Any, &[document(Some(a), same), face(b)], "!mismatch b"),
        (Document, Any, &[card(a), document(None, same), stranger()], "!mismatch"),
        (Document, Any, &[card(a)], "!wrong_credential a"),
        (Document, Any, &[unknown_card()], "!wrong_credential"),
        (Document, Any, &[document_until(date(2019, 9, 29)), stranger()], "!document_expired"),
        (Document, Any, &[document_until(date(2019, 9, 30)), stranger()], "document_holder"),
        (Document, FaceFirst, &[document(None, None)], "!wrong_order"),
        (Document, FaceFirst, &[document(None, same), stranger()], "!wrong_order"),
        (Document, FaceFirst, &[stranger(), document(None, same)], "document_holder"),
        (Document, FaceLast, &[document(None, None)], "?face"),
        (Document, FaceLast, &[stranger()], "?document"),
        (Document, FaceLast, &[stranger(), document(None, same)], "?face"),
        (Document, FaceLast, &[document(None, same), stranger()], "document_holder"),
        (Document, Any, &[without_photo(None)], "!no_holder_photo"),
        (Document, FaceFirst, &[without_photo(None)], "!no_holder_photo"),
        (Document, Any, &[stranger(), without_photo(None)], "!no_holder_photo"),
        (Document, Any, &[face(a), without_photo(None)], "!no_holder_photo a"),
        (Document, Any, &[without_photo(Some(a))], "?face a"),
        (Document, Any, &[without_photo(Some(a)), stranger()], "!no_holder_photo a"),
        (Document, Any, &[without_photo(Some(a)), ambiguous()], "!ambiguous a"),
        (Document, Any, &[without_photo(Some(a)), face(a)], "granted a"),
        (Document, Any, &[without_photo(Some(a)), face(b)], "!mismatch b"),
        (Document, FaceFirst, &[without_photo(Some(a))], "!wrong_order a"),
        (Document, FaceFirst, &[face(a), without_photo(Some(a))], "granted a"),
        (Document, FaceLast, &[face(a), without_photo(Some(a))], "?face a"),
        // A face before the document does not count where the face comes last.
        (Document, FaceLast, &[face(a), without_photo(Some(a)), stranger()], "!no_holder_photo a"),
        (Document, Any, &[without_photo(None), document(None, same), stranger()], "document_holder"),
        //
        (DocumentWhitelist, Any, &[without_photo(Some(a)), face(a)], "granted a"),
        (DocumentWhitelist, Any, &[without_photo(Some(visitor)), face(visitor)], "!not_white_listed v"),
        (FaceOrDocument, Any, &[without_photo(None)], "!no_holder_photo"),
        (DocumentWhitelist, Any, &[document(None, None)], "!unknown_document"),
        (DocumentWhitelist, Any, &[stranger(), document(None, same)], "!unknown_document"),
        (DocumentWhitelist, Any, &[face(a), document(None, same)], "!unknown_document a"),
        (DocumentWhitelist, Any, &[document(Some(a), None)], "?face a"),
        (DocumentWhitelist, Any, &[document(Some(a), same), stranger()], "granted a"),
        (DocumentWhitelist, Any, &[document(Some(a), same), face(a)], "granted a"),
        (DocumentWhitelist, Any, &[document(Some(a), Some(false)), stranger()], "!mismatch"),
        (DocumentWhitelist, Any, &[document(Some(visitor), same), stranger()], "!not_white_listed v"),
        (DocumentWhitelist, Any, &[document(Some(type4), same), stranger()], "!not_white_listed s"),
        (DocumentWhitelist, Any, &[stranger()], "?document"),
        //
        (FaceOrCard, Any, &[face(a)], "granted a"),
        (FaceOrCard, Any, &[card(a)], "granted a"),
        (FaceOrCard, Any, &[stranger(), card(a)], "granted a"),
        (FaceOrCard, Any, &[ambiguous(), card(a)], "granted a"),
        (FaceOrCard, Any, &[face(a), unknown_card()], "granted a"),
        (FaceOrCard, Any, &[face(b), card(a)], "!mismatch b"),
        (FaceOrCard, Any, &[stranger()], "!stranger"),
        (FaceOrCard, Any, &[unknown_card()], "!unknown_card"),
        (FaceOrCard, Any, &[stranger(), unknown_card()], "!unknown_card"),
        (FaceOrCard, Any, &[unknown_card(), stranger()], "!stranger"),
        (FaceOrCard, Any, &[document(Some(a), None)], "!wrong_credential a"),
        //
        (FaceOrDocument, Any, &[face(a)], "granted a"),
        (FaceOrDocument, Any, &[stranger()], "?document"),
        (FaceOrDocument, Any, &[ambiguous()], "?document"),
        (FaceOrDocument, Any, &[stranger(), document(None, same)], "document_holder"),
        (FaceOrDocument, Any, &[document(None, None)], "?face"),
        (FaceOrDocument, FaceFirst, &[document(None, None)], "!wrong_order"),
        (FaceOrDocument, Any, &[stranger(), document(None, Some(false))], "!mismatch"),
        (FaceOrDocument, Any, &[card(a)], "!wrong_credential a"),
        (FaceOrDocument, Any, &[document_until(date(2019, 9, 29)), face(a)], "granted a"),
    ];
    for (mode, order, presented, expected) in table {
        let rules = Rules { card_order: *order, document_order: *order, ..rules(*mode) };
        assert_eq!(word(&asked(presented, &rules)), *expected, "{mode:?} {order:?} {presented:?}");
    }
    // An empty session is not a passage in any mode.
    for mode in PassMode::ALL {
        assert!(!asked(&[], &rules(mode)).is_pass());
    }
}

#[test]
fn the_mode_of_the_person_beats_that_of_the_gate() {
    let by_card = &Arc::new(Person { mode: Some(PassMode::Card), ..person("a") });
    assert_eq!(word(&asked(&[face(by_card)], &rules(PassMode::Face))), "!wrong_credential a");
    assert_eq!(word(&asked(&[card(by_card)], &rules(PassMode::Face))), "granted a");
    let by_face = &Arc::new(Person { mode: Some(PassMode::Face), ..person("b") });
    assert_eq!(word(&asked(&[face(by_face)], &rules(PassMode::Card))), "granted b");
    assert_eq!(word(&asked(&[card(by_face)], &rules(PassMode::Card))), "!wrong_credential b");
    let both = &Arc::new(Person { mode: Some(PassMode::FaceAndCard), ..person("c") });
    assert_eq!(word(&asked(&[face(both)], &rules(PassMode::Face))), "?card c");
    // Different people: neither's mode counts, in either order.
    for presented in [[face(by_face), card(by_card)], [card(by_card), face(by_face)]] {
        assert_eq!(word(&asked(&presented, &rules(PassMode::FaceOrCard))), "!mismatch b");
    }
}

#[test]
fn strangers_pass_only_where_a_face_alone_is_taken() {
    let open = |mode, identify| Rules { stranger: StrangerPolicy { identify, open: true }, ..rules(mode) };
    for (mode, expected) in [
        (PassMode::Face, "stranger_allowed"),
        (PassMode::FaceAndCard, "!stranger"),
        (PassMode::Card, "!wrong_credential"),
        (PassMode::Document, "?document"),
        (PassMode::DocumentWhitelist, "?document"),
        (PassMode::FaceOrCard, "stranger_allowed"),
        (PassMode::FaceOrDocument, "stranger_allowed"),
    ] {
        assert_eq!(word(&asked(&[stranger()], &open(mode, true))), expected, "{mode:?}");
    }
    assert_eq!(word(&asked(&[stranger()], &open(PassMode::Face, false))), "!stranger");
    assert_eq!(word(&asked(&[ambiguous()], &open(PassMode::Face, true))), "!ambiguous");
    assert_eq!(word(&asked(&[stranger(), ambiguous()], &open(PassMode::Face, true))), "!ambiguous");
    let type4 = Arc::new(Person { kind: PersonKind::Stranger, ..person("s") });
    assert_eq!(word(&asked(&[face(&type4)], &open(PassMode::Face, true))), "stranger_allowed s");
    let a = Arc::new(person("a"));
    assert_eq!(word(&asked(&[card(&a), stranger()], &open(PassMode::Face, true))), "!mismatch");
}

#[test]
fn what_bars_a_person_and_in_which_order() {
    let never = Schedule { simple: SimpleSchedule { days: [false; 7], periods: None }, extended: None };
    let local = |text: &str| Some(Bound::Local(text.parse().unwrap()));
    let utc = |text: &str| Some(Bound::Utc(text.parse().unwrap()));
    let is = |who: Person| word(&asked(&[face(&Arc::new(who))], &rules(PassMode::Face)));
    let a = || person("a");
    assert_eq!(is(a()), "granted a");
    // Validity: the first moment is in, the last is out. Now is 12:00 in Beijing, 04:00 UTC.
    assert_eq!(is(Person { valid_from: local("2019-09-30T12:00:00"), ..a() }), "granted a");
    assert_eq!(is(Person { valid_from: local("2019-09-30T12:00:01"), ..a() }), "!not_yet_valid a");
    assert_eq!(is(Person { valid_until: local("2019-09-30T12:00:01"), ..a() }), "granted a");
    assert_eq!(is(Person { valid_until: local("2019-09-30T12:00:00"), ..a() }), "!expired a");
    assert_eq!(is(Person { valid_from: utc("2019-09-30T04:00:00Z"), ..a() }), "granted a");
    assert_eq!(is(Person { valid_from: utc("2019-09-30T04:00:01Z"), ..a() }), "!not_yet_valid a");
    assert_eq!(is(Person { valid_until: utc("2019-09-30T04:00:01Z"), ..a() }), "granted a");
    assert_eq!(is(Person { valid_until: utc("2019-09-30T04:00:00Z"), ..a() }), "!expired a");
    assert_eq!(is(Person { passes_left: Some(1), ..a() }), "granted a");
    assert_eq!(is(Person { passes_left: Some(0), ..a() }), "!used_up a");
    // Every reason at once, taken away one by one.
    let mut all = Person {
        kind: PersonKind::Black,
        id_number: Some(ID_NUMBER.into()),
        valid_from: local("2020-01-01T00:00:00"),
        valid_until: local("2019-01-01T00:00:00"),
        schedule: never,
        passes_left: Some(0),
        mode: Some(PassMode::Card),
        ..a()
    };
    let mut rules = Rules { forbidden_id_prefixes: vec!["42".into()], ..rules(PassMode::Face) };
    let last = LastPassage { at: noon().utc, elapsed: Some(Duration::from_secs(1)) };
    let is = |who: &Person, rules: &Rules| {
        word(&decide(&[face(&Arc::new(who.clone()))], rules, &noon(), Some(last)))
    };
    assert_eq!(is(&all, &rules), "!black_listed a");
    all.kind = PersonKind::White;
    assert_eq!(is(&all, &rules), "!forbidden_id_number a");
    rules.forbidden_id_prefixes.clear();
    assert_eq!(is(&all, &rules), "!not_yet_valid a");
    all.valid_from = None;
    assert_eq!(is(&all, &rules), "!expired a");
    all.valid_until = None;
    assert_eq!(is(&all, &rules), "!out_of_schedule a");
    all.schedule = Schedule::default();
    assert_eq!(is(&all, &rules), "!used_up a");
    all.passes_left = Some(3);
    assert_eq!(is(&all, &rules), "!too_soon a");
    rules.min_interval = Duration::ZERO;
    assert_eq!(is(&all, &rules), "!wrong_credential a");
    all.mode = None;
    assert_eq!(is(&all, &rules), "granted a");
    // One black-listed credential among good ones is enough, and is the reason.
    let good = Arc::new(person("g"));
    let black = Arc::new(Person { kind: PersonKind::Black, ..person("x") });
    assert_eq!(word(&asked(&[face(&good), card(&black)], &rules)), "!black_listed x");
    assert_eq!(word(&asked(&[document(Some(&black), None)], &rules)), "!black_listed x");
}

#[test]
fn forbidden_prefixes_bind_people_and_documents() {
    // 4.5.10.19: NumPrefix ["44", "4405"].
    let with = |prefixes: &[&str]| Rules {
        forbidden_id_prefixes: prefixes.iter().map(|prefix| (*prefix).into()).collect(),
        ..rules(PassMode::FaceOrDocument)
    };
    let numbered = |number: &str| [face(&Arc::new(Person { id_number: Some(number.into()), ..person("a") }))];
    for (number, prefixes, expected) in [
        ("440512200010013857", &["44", "4405"][..], "!forbidden_id_number a"),
        ("441212200010013857", &["4405"], "granted a"),
        ("440512200010013857", &["4405"], "!forbidden_id_number a"),
        ("420381200010013857", &["44", "4405"], "granted a"),
        ("044012200010013857", &["44"], "granted a"),
        (" 44 0512200010013857", &["4405"], "!forbidden_id_number a"),
        ("e12345678", &["E1"], "!forbidden_id_number a"),
        ("44", &["4405"], "granted a"),
        ("4405", &["4405"], "!forbidden_id_number a"),
        ("420381200010013857", &["", " "], "granted a"),
        ("", &["44"], "granted a"),
    ] {
        assert_eq!(word(&asked(&numbered(number), &with(prefixes))), expected, "{number} {prefixes:?}");
    }
    assert_eq!(
        word(&asked(&[document(None, Some(true)), stranger()], &with(&["4203"]))),
        "!forbidden_id_number"
    );
    let a = Arc::new(person("a"));
    assert_eq!(word(&asked(&[document(None, None), face(&a)], &with(&["4203"]))), "!forbidden_id_number a");
}

#[test]
fn an_attack_is_refused_whoever_it_shows() {
    let a = Arc::new(person("a"));
    let black = Arc::new(Person { kind: PersonKind::Black, ..person("x") });
    let of = |person: &Arc<Person>| FaceMatch::Person {
        person: person.clone(),
        face_id: "1".into(),
        score: 99.0,
        also: Vec::new(),
    };
    let open =
        Rules { stranger: StrangerPolicy { identify: true, open: true }, ..rules(PassMode::FaceOrCard) };
    for presented in [
        vec![attack(of(&a))],
        vec![attack(of(&black))],
        vec![attack(FaceMatch::Stranger { score: 0.0 })],
        vec![attack(of(&a)), card(&a)],
        vec![card(&a), attack(of(&a)), face(&a)],
        vec![qr(), attack(FaceMatch::Ambiguous { score: 90.0 })],
    ] {
        assert_eq!(word(&asked(&presented, &open)), "!not_live", "{presented:?}");
    }
    let unasked = Credential::Face(FaceCredential { matched: of(&a), liveness: Liveness::NotAsked });
    assert_eq!(word(&asked(&[unasked], &open)), "granted a");
}

#[test]
fn two_documents_are_two_people() {
    let number = |number: &str| {
        let Credential::Document(mut document) = document(None, Some(true)) else {
            unreachable!("it is one")
        };
        document.number = number.into();
        Credential::Document(document)
    };
    let rules = rules(PassMode::Document);
    assert_eq!(word(&asked(&[number("1"), stranger(), number("2")], &rules)), "!mismatch");
    assert_eq!(word(&asked(&[number("1x"), stranger(), number(" 1X")], &rules)), "document_holder");
}

#[test]
fn the_schedule_of_the_gate_binds_everybody() {
    let shut = ExtendedSchedule {
        id: String::new(),
        name: String::new(),
        weekly: std::array::from_fn(|_| DayRule::Never),
        holidays: Vec::new(),
    };
    let a = Arc::new(person("a"));
    let closed = |mode| Rules {
        schedule: Some(shut.clone()),
        stranger: StrangerPolicy { identify: true, open: true },
        ..rules(mode)
    };
    assert_eq!(word(&asked(&[face(&a)], &closed(PassMode::Face))), "!out_of_schedule a");
    assert_eq!(word(&asked(&[face(&a)], &closed(PassMode::FaceAndCard))), "!out_of_schedule a");
    assert_eq!(word(&asked(&[stranger()], &closed(PassMode::Face))), "!out_of_schedule");
    assert_eq!(word(&asked(&[qr()], &closed(PassMode::Face))), "!out_of_schedule");
    assert_eq!(word(&asked(&[stranger()], &closed(PassMode::Document))), "!out_of_schedule");
    assert_eq!(
        word(&asked(&[stranger(), document(None, Some(true))], &closed(PassMode::Document))),
        "!out_of_schedule"
    );
    assert_eq!(word(&asked(&[unknown_card()], &closed(PassMode::Card))), "!unknown_card");
}

#[test]
fn a_qr_code_is_for_the_platform() {
    let a = Arc::new(person("a"));
    let expired = Arc::new(Person { passes_left: Some(0), ..person("e") });
    for mode in PassMode::ALL {
        for remote in [RemoteMode::Local, RemoteMode::RemoteWhenOnline, RemoteMode::Remote] {
            let rules = Rules { remote: Remote { mode: remote, online: false }, ..rules(mode) };
            let expected =
                Verdict::Pass { person: None, reason: Reason::PlatformDecides, opens: Opens::Platform };
            assert_eq!(asked(&[qr()], &rules), expected);
            assert_eq!(asked(&[stranger(), qr()], &rules), expected);
            assert_eq!(word(&asked(&[qr(), face(&expired)], &rules)), "!used_up e");
        }
    }
    assert_eq!(word(&asked(&[face(&a), qr()], &rules(PassMode::Face))), "granted a");
    assert_eq!(word(&asked(&[face(&a), qr()], &rules(PassMode::FaceAndCard))), "platform_decides a");
}

#[test]
fn who_opens() {
    // 4.5.7.
    use RemoteMode::{Local, Remote as Always, RemoteWhenOnline};
    let a = Arc::new(person("a"));
    for (mode, online, expected) in [
        (Local, false, Opens::Gate),
        (Local, true, Opens::Gate),
        (RemoteWhenOnline, false, Opens::Gate),
        (RemoteWhenOnline, true, Opens::Platform),
        (Always, false, Opens::Platform),
        (Always, true, Opens::Platform),
    ] {
        let rules = Rules { remote: Remote { mode, online }, ..rules(PassMode::Face) };
        let expected = Verdict::Pass { person: Some(a.clone()), reason: Reason::Granted, opens: expected };
        assert_eq!(asked(&[face(&a)], &rules), expected, "{mode:?} {online}");
        assert_eq!(word(&asked(&[stranger()], &rules)), "!stranger");
    }
}

#[test]
fn the_interval_survives_a_jump_of_the_clock() {
    let a = Arc::new(person("a"));
    let rules = Rules { min_interval: Duration::from_secs(10), ..rules(PassMode::Face) };
    let year = 365 * 86_400;
    // Seconds by the wall since the last passage, seconds by the monotonic clock, too soon?
    for (wall, elapsed, too_soon) in [
        (0, Some(0), true),
        (9, Some(9), true),
        (10, Some(10), false),
        // The wall jumped: the monotonic clock is right.
        (-year, Some(2), true),
        (-year, Some(10), false),
        (year, Some(2), true),
        // After a restart there is only the wall.
        (9, None, true),
        (10, None, false),
        (-9, None, true),
        (-10, None, false),
        (-year, None, false),
    ] {
        let last = LastPassage {
            at: noon().utc - SignedDuration::from_secs(wall),
            elapsed: elapsed.map(Duration::from_secs),
        };
        let verdict = decide(&[face(&a)], &rules, &noon(), Some(last));
        assert_eq!(word(&verdict), if too_soon { "!too_soon a" } else { "granted a" }, "{wall} {elapsed:?}");
    }
    let far = LastPassage { at: Timestamp::MAX, elapsed: None };
    assert!(decide(&[face(&a)], &rules, &noon(), Some(far)).is_pass());
    // Nobody is named: there is nobody whose passage it could have been.
    let open = Rules { stranger: StrangerPolicy { identify: true, open: true }, ..rules };
    let last = LastPassage { at: noon().utc, elapsed: Some(Duration::ZERO) };
    assert!(decide(&[stranger()], &open, &noon(), Some(last)).is_pass());
}

#[test]
fn what_the_platform_counts() {
    let a = Arc::new(person("a"));
    let never = Schedule { simple: SimpleSchedule { days: [false; 7], periods: None }, extended: None };
    let out = Arc::new(Person { schedule: never, ..person("o") });
    let expired = Arc::new(Person { valid_until: Some(Bound::Utc(noon().utc)), ..person("e") });
    let early = Arc::new(Person {
        valid_from: Some(Bound::Utc(noon().utc + SignedDuration::from_secs(1))),
        ..person("n")
    });
    let black = Arc::new(Person { kind: PersonKind::Black, ..person("x") });
    let face_only = rules(PassMode::Face);
    for (presented, expected) in [
        (face(&a), Some(1)),
        (face(&expired), Some(2)),
        (face(&out), Some(3)),
        (face(&early), Some(3)),
        (face(&black), Some(0)),
        (stranger(), Some(0)),
    ] {
        assert_eq!(asked(&[presented], &face_only).qyzn_result(), expected);
    }
    assert_eq!(asked(&[face(&a)], &rules(PassMode::FaceAndCard)).qyzn_result(), None);
    let nobody = Verdict::Refuse { person: None, reason: Reason::OutOfSchedule };
    assert_eq!(nobody.qyzn_result(), Some(0), "nobody was recognised");
    for reason in Reason::ALL {
        let passes = matches!(reason, Reason::Granted | Reason::DocumentHolder);
        assert_eq!(reason.qyzn_result() == 1, passes, "{reason:?}: only a passage counts as one");
        assert!(reason.qyzn_result() <= 3);
    }
}

#[test]
fn logs_learn_no_numbers() {
    let a = Arc::new(Person { id_number: Some(ID_NUMBER.into()), ..person("a") });
    let all = [face(&a), card(&a), document(Some(&a), Some(true)), qr()];
    let verdict = Verdict::Pass { person: Some(a), reason: Reason::Granted, opens: Opens::Gate };
    let text = format!("{all:?} {verdict:?}");
    for secret in [ID_NUMBER, "张三", "adddfffsss"] {
        assert!(!text.contains(secret), "{text}");
    }
}

// Properties: whatever is presented, in whatever order and mode.

/// What is presented, before the people are known; 0, 1, 2 are people.
#[derive(Debug, Clone, Copy)]
enum Plan {
    Face(usize),
    AmbiguousFace,
    StrangerFace,
    Attack(Option<usize>),
    Card(Option<usize>),
    Document { person: Option<usize>, same: Option<bool>, expired: bool },
    Qr,
}

impl Plan {
    fn names(self) -> Option<usize> {
        match self {
            Plan::Face(person) => Some(person),
            Plan::Attack(person) | Plan::Card(person) | Plan::Document { person, .. } => person,
            Plan::AmbiguousFace | Plan::StrangerFace | Plan::Qr => None,
        }
    }

    fn build(self, people: &[Arc<Person>]) -> Credential {
        match self {
            Plan::Face(index) => face(&people[index]),
            Plan::AmbiguousFace => ambiguous(),
            Plan::StrangerFace => stranger(),
            Plan::Attack(None) => attack(FaceMatch::Stranger { score: 1.0 }),
            Plan::Attack(Some(index)) => {
                let person = people[index].clone();
                attack(FaceMatch::Person { person, face_id: "1".into(), score: 99.0, also: Vec::new() })
            }
            Plan::Card(None) => unknown_card(),
            Plan::Card(Some(index)) => card(&people[index]),
            Plan::Document { person, same, expired } => Credential::Document(DocumentCredential {
                number: format!("11010{}", person.map_or(9, |index| index)),
                name: String::new(),
                valid_from: None,
                expires: expired.then_some(date(2000, 1, 1)),
                printed: None,
                has_photo: true,
                holder: same.map(|same| HolderMatch { score: 50.0, same }),
                person: person.map(|index| people[index].clone()),
                also: Vec::new(),
            }),
            Plan::Qr => qr(),
        }
    }
}

fn build(plans: &[Plan], people: &[Arc<Person>]) -> Vec<Credential> {
    plans.iter().map(|plan| plan.build(people)).collect()
}

/// Credentials that name `person`.
fn plan_of(person: usize) -> impl Strategy<Value = Plan> {
    prop_oneof![
        Just(Plan::Face(person)),
        Just(Plan::Card(Some(person))),
        (prop_oneof![Just(None), Just(Some(true)), Just(Some(false))], any::<bool>())
            .prop_map(move |(same, expired)| Plan::Document { person: Some(person), same, expired }),
    ]
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let same = prop_oneof![1 => Just(None), 3 => Just(Some(true)), 1 => Just(Some(false))];
    prop_oneof![
        6 => (0..3usize).prop_flat_map(plan_of),
        1 => Just(Plan::AmbiguousFace),
        2 => Just(Plan::StrangerFace),
        1 => Just(Plan::Card(None)),
        1 => same.prop_map(|same| Plan::Document { person: None, same, expired: false }),
        1 => Just(Plan::Qr),
    ]
}

fn any_mode() -> impl Strategy<Value = PassMode> {
    proptest::sample::select(PassMode::ALL.to_vec())
}

fn any_order() -> impl Strategy<Value = CredentialOrder> {
    use CredentialOrder::{Any, FaceFirst, FaceLast};
    prop_oneof![Just(Any), Just(FaceFirst), Just(FaceLast)]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let remote =
        prop_oneof![Just(RemoteMode::Local), Just(RemoteMode::RemoteWhenOnline), Just(RemoteMode::Remote)];
    (any_mode(), any_order(), any_order(), any::<(bool, bool, bool)>(), remote).prop_map(
        |(mode, card_order, document_order, (identify, open, online), remote)| Rules {
            mode,
            card_order,
            document_order,
            stranger: StrangerPolicy { identify, open },
            remote: Remote { mode: remote, online },
            ..Rules::default()
        },
    )
}

/// 2015 to 2035, in zones of whole quarters of an hour.
fn any_moment() -> impl Strategy<Value = Moment> {
    (1_420_000_000..2_050_000_000i64, -48..=56i32).prop_map(|(seconds, quarters)| Moment {
        utc: Timestamp::from_second(seconds).unwrap(),
        offset: Offset::from_seconds(quarters * 900).unwrap(),
    })
}

/// Three people whom nothing bars.
fn any_people() -> impl Strategy<Value = Vec<Person>> {
    let one = (proptest::option::of(any_mode()), any::<bool>(), proptest::option::of(1..9u32));
    proptest::collection::vec(one, 3).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(|(index, (mode, visitor, passes_left))| Person {
                mode,
                passes_left,
                kind: if visitor { PersonKind::Visitor } else { PersonKind::White },
                id_number: Some(format!("11010{index}")),
                ..person(&index.to_string())
            })
            .collect()
    })
}

/// What may be wrong with person 0.
#[derive(Debug, Clone, Copy)]
enum Bar {
    Black,
    ForbiddenNumber,
    ExpiredLocal,
    ExpiredUtc,
    NotYetLocal,
    NotYetUtc,
    NoDay,
    OtherMinutes,
    HolidayToday,
    GateShut,
    UsedUp,
    TooSoon,
}

const BARS: [Bar; 12] = [
    Bar::Black,
    Bar::ForbiddenNumber,
    Bar::ExpiredLocal,
    Bar::ExpiredUtc,
    Bar::NotYetLocal,
    Bar::NotYetUtc,
    Bar::NoDay,
    Bar::OtherMinutes,
    Bar::HolidayToday,
    Bar::GateShut,
    Bar::UsedUp,
    Bar::TooSoon,
];

fn every_day(rule: DayRule) -> ExtendedSchedule {
    ExtendedSchedule {
        id: String::new(),
        name: String::new(),
        weekly: std::array::from_fn(|_| rule.clone()),
        holidays: Vec::new(),
    }
}

impl Bar {
    /// Bars person 0 at `moment`, and says which reason must be given where only they are named.
    fn apply(
        self,
        who: &mut Person,
        rules: &mut Rules,
        moment: &Moment,
        last: &mut Option<LastPassage>,
    ) -> Reason {
        let second = SignedDuration::from_secs(1);
        match self {
            Bar::Black => {
                who.kind = PersonKind::Black;
                Reason::BlackListed
            }
            Bar::ForbiddenNumber => {
                rules.forbidden_id_prefixes = vec!["99".into(), "110100".into()];
                Reason::ForbiddenIdNumber
            }
            Bar::ExpiredLocal => {
                who.valid_until = Some(Bound::Local(moment.local()));
                Reason::Expired
            }
            Bar::ExpiredUtc => {
                who.valid_until = Some(Bound::Utc(moment.utc));
                Reason::Expired
            }
            Bar::NotYetLocal => {
                who.valid_from = Some(Bound::Local(moment.local() + second));
                Reason::NotYetValid
            }
            Bar::NotYetUtc => {
                who.valid_from = Some(Bound::Utc(moment.utc + second));
                Reason::NotYetValid
            }
            Bar::NoDay => {
                who.schedule.simple.days = [false; 7];
                Reason::OutOfSchedule
            }
            Bar::OtherMinutes => {
                // All minutes of every day but the present one.
                let local = moment.local();
                let now = u16::try_from(local.hour()).unwrap() * 60 + u16::try_from(local.minute()).unwrap();
                let mut periods = Vec::new();
                if now > 0 {
                    periods.push(Period { from: 0, to: now - 1 });
                }
                if now < 1439 {
                    periods.push(Period { from: now + 1, to: 1440 });
                }
                who.schedule.extended = Some(every_day(DayRule::Periods(Periods(periods))));
                Reason::OutOfSchedule
            }
            Bar::HolidayToday => {
                let mut schedule = every_day(DayRule::Always);
                let today = moment.local().date();
                schedule.holidays =
                    vec![Holiday { name: String::new(), first: today, last: today, rule: DayRule::Never }];
                who.schedule.extended = Some(schedule);
                Reason::OutOfSchedule
            }
            Bar::GateShut => {
                rules.schedule = Some(every_day(DayRule::Never));
                Reason::OutOfSchedule
            }
            Bar::UsedUp => {
                who.passes_left = Some(0);
                Reason::UsedUp
            }
            Bar::TooSoon => {
                *last = Some(LastPassage { at: moment.utc, elapsed: None });
                Reason::TooSoon
            }
        }
    }
}

fn shared(people: &[Person]) -> Vec<Arc<Person>> {
    people.iter().cloned().map(Arc::new).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn a_barred_person_is_refused_whatever_is_presented(
        bar in proptest::sample::select(BARS.to_vec()),
        mut people in any_people(),
        mut rules in any_rules(),
        moment in any_moment(),
        of_them in plan_of(0),
        mut others in proptest::collection::vec(any_plan(), 0..5),
        place in any::<proptest::sample::Index>(),
    ) {
        let mut last = None;
        let reason = bar.apply(&mut people[0], &mut rules, &moment, &mut last);
        let people = shared(&people);
        others.insert(place.index(others.len() + 1), of_them);
        let presented = build(&others, &people);
        let verdict = decide(&presented, &rules, &moment, last);
        prop_assert!(matches!(verdict, Verdict::Refuse { .. }), "{bar:?} {verdict:?}");
        // Alone, they are told why; unless the document itself says more (it is not theirs, or forbidden).
        let alone = [of_them.build(&people)];
        let not_theirs = matches!(of_them, Plan::Document { same: Some(false), .. });
        if !not_theirs || matches!(bar, Bar::Black | Bar::ForbiddenNumber) {
            let verdict = decide(&alone, &rules, &moment, last);
            let expected = Verdict::Refuse { person: Some(people[0].clone()), reason };
            prop_assert_eq!(verdict, expected);
        }
    }

    #[test]
    fn an_attack_never_passes(
        people in any_people(),
        rules in any_rules(),
        moment in any_moment(),
        of in proptest::option::of(0..3usize),
        mut others in proptest::collection::vec(any_plan(), 0..5),
        place in any::<proptest::sample::Index>(),
    ) {
        others.insert(place.index(others.len() + 1), Plan::Attack(of));
        let verdict = decide(&build(&others, &shared(&people)), &rules, &moment, None);
        prop_assert_eq!(verdict, Verdict::Refuse { person: None, reason: Reason::NotLive });
    }

    #[test]
    fn the_credential_of_another_lends_no_rights(
        people in any_people(),
        rules in any_rules(),
        moment in any_moment(),
        mine in plan_of(0),
        others in plan_of(1),
        mut rest in proptest::collection::vec(any_plan(), 0..4),
        places in any::<[proptest::sample::Index; 2]>(),
    ) {
        let people = shared(&people);
        rest.retain(|plan| plan.names().is_none_or(|person| person == 0));
        rest.insert(places[0].index(rest.len() + 1), mine);
        let before = decide(&build(&rest, &people), &rules, &moment, None);
        rest.insert(places[1].index(rest.len() + 1), others);
        let after = decide(&build(&rest, &people), &rules, &moment, None);
        prop_assert_eq!(after.reason(), Some(Reason::Mismatch), "before: {:?}", before);
        prop_assert!(!after.is_pass());
    }

    #[test]
    fn a_passage_has_what_its_mode_asks_for(
        people in any_people(),
        rules in any_rules(),
        moment in any_moment(),
        plans in proptest::collection::vec(any_plan(), 0..5),
    ) {
        let people = shared(&people);
        let verdict = decide(&build(&plans, &people), &rules, &moment, None);
        let Verdict::Pass { person, reason, opens } = verdict else { return Ok(()) };
        let known_face = plans.iter().any(|plan| matches!(plan, Plan::Face(_)));
        let known_card = plans.iter().any(|plan| matches!(plan, Plan::Card(Some(_))));
        let any_face =
            known_face || plans.iter().any(|plan| matches!(plan, Plan::AmbiguousFace | Plan::StrangerFace));
        let holder = any_face
            && plans.iter().any(|plan| matches!(plan, Plan::Document { same: Some(true), .. }));
        let listed = plans.iter().any(|plan| matches!(
            plan, Plan::Document { person: Some(index), .. } if people[*index].kind == PersonKind::White
        ));
        let mut named: Vec<usize> = plans.iter().filter_map(|plan| plan.names()).collect();
        named.dedup();
        prop_assert!(named.len() <= 1, "one visitor is one person");
        prop_assert_eq!(person.map(|person| person.key.id.clone()), named.first().map(usize::to_string));
        if reason == Reason::PlatformDecides {
            prop_assert!(plans.iter().any(|plan| matches!(plan, Plan::Qr)));
            prop_assert_eq!(opens, Opens::Platform);
            return Ok(());
        }
        let local = match (rules.remote.mode, rules.remote.online) {
            (RemoteMode::Local, _) | (RemoteMode::RemoteWhenOnline, false) => Opens::Gate,
            (RemoteMode::RemoteWhenOnline, true) | (RemoteMode::Remote, _) => Opens::Platform,
        };
        prop_assert_eq!(opens, local);
        let mode = named.first().and_then(|index| people[*index].mode).unwrap_or(rules.mode);
        if reason == Reason::StrangerAllowed {
            prop_assert!(named.is_empty() && any_face && rules.stranger.identify && rules.stranger.open);
            prop_assert!(matches!(mode, PassMode::Face | PassMode::FaceOrCard | PassMode::FaceOrDocument));
            prop_assert!(!plans.iter().any(|plan| matches!(plan, Plan::AmbiguousFace)));
            return Ok(());
        }
        prop_assert_eq!(reason == Reason::DocumentHolder, named.is_empty());
        let enough = match mode {
            PassMode::Face => known_face,
            PassMode::FaceAndCard => known_face && known_card,
            PassMode::Card => known_card,
            PassMode::Document => holder,
            PassMode::DocumentWhitelist => holder && listed,
            PassMode::FaceOrCard => known_face || known_card,
            PassMode::FaceOrDocument => known_face || holder,
        };
        prop_assert!(enough, "{:?}", mode);
        // Orders, said another way: nothing of the second kind may be needed before the first of the first.
        let face_at: Vec<usize> = (0..plans.len())
            .filter(|at| matches!(plans[*at], Plan::Face(_) | Plan::AmbiguousFace | Plan::StrangerFace))
            .collect();
        let other_at: Vec<usize> = (0..plans.len())
            .filter(|at| match mode {
                PassMode::FaceAndCard => matches!(plans[*at], Plan::Card(Some(_))),
                _ => matches!(plans[*at], Plan::Document { .. }),
            })
            .collect();
        let order = match mode {
            PassMode::FaceAndCard => rules.card_order,
            PassMode::Document | PassMode::DocumentWhitelist => rules.document_order,
            _ => CredentialOrder::Any,
        };
        let pairs = || face_at.iter().flat_map(|face| other_at.iter().map(move |other| (face, other)));
        match order {
            CredentialOrder::Any => {}
            CredentialOrder::FaceFirst => prop_assert!(pairs().any(|(face, other)| face < other)),
            CredentialOrder::FaceLast => prop_assert!(pairs().any(|(face, other)| face > other)),
        }
    }

    /// Only the civil time counts where everything is written in civil time: the same wall in another zone
    /// gives the same verdict; and where nothing is, the zone does not matter at all.
    #[test]
    fn a_moment_is_its_time_and_its_offset(
        seconds in 1_420_000_000..2_050_000_000i64,
        zones in (-48..=56i32, -48..=56i32),
        from in -40_000..40_000i64,
        until in -40_000..40_000i64,
        periods in proptest::collection::vec((0..1440u16, 0..=1440u16), 1..3),
        days in any::<[bool; 7]>(),
    ) {
        let zone = |quarters: i32| Offset::from_seconds(quarters * 900).unwrap();
        let utc = Timestamp::from_second(seconds).unwrap();
        let here = Moment { utc, offset: zone(zones.0) };
        // The same civil time elsewhere.
        let shift = SignedDuration::from_secs(i64::from(zones.0 - zones.1) * 900);
        let there = Moment { utc: utc + shift, offset: zone(zones.1) };
        prop_assert_eq!(here.local(), there.local());
        let periods = Periods(periods.into_iter().map(|(from, to)| Period { from, to }).collect());
        let bound = |seconds| here.local().checked_add(SignedDuration::from_secs(seconds)).unwrap();
        let civil = Arc::new(Person {
            valid_from: Some(Bound::Local(bound(from))),
            valid_until: Some(Bound::Local(bound(until))),
            schedule: Schedule { simple: SimpleSchedule { days, periods: Some(periods) }, extended: None },
            ..person("a")
        });
        let rules = rules(PassMode::Face);
        let ask = |who: &Arc<Person>, moment| word(&decide(&[face(who)], &rules, moment, None));
        prop_assert_eq!(ask(&civil, &here), ask(&civil, &there));
        // The same point in time elsewhere.
        let elsewhere = Moment { utc, offset: zone(zones.1) };
        let absolute = Arc::new(Person {
            valid_from: Some(Bound::Utc(utc + SignedDuration::from_secs(from))),
            valid_until: Some(Bound::Utc(utc + SignedDuration::from_secs(until))),
            ..person("a")
        });
        prop_assert_eq!(ask(&absolute, &here), ask(&absolute, &elsewhere));
    }
}

/// Verdicts of one week, every seven minutes, for a person with bounds of both kinds and periods across
/// midnight, in three zones.
fn week_of_verdicts() -> String {
    let who = Arc::new(Person {
        valid_from: Some(Bound::Local(date(2019, 9, 30).at(9, 0, 0, 0))),
        valid_until: Some(Bound::Utc("2019-10-05T16:00:00Z".parse().unwrap())),
        schedule: Schedule {
            simple: SimpleSchedule {
                days: [true, true, true, true, true, false, false],
                periods: Periods::parse("08:00~09:30,22:00~06:00").unwrap(),
            },
            extended: None,
        },
        ..person("a")
    });
    let rules = rules(PassMode::Face);
    let start: Timestamp = "2019-09-29T00:00:00Z".parse().unwrap();
    let mut line = String::new();
    for hours in [-11, 0, 8] {
        for step in 0..(7 * 1440 / 7) {
            let utc = start + SignedDuration::from_mins(step * 7);
            let verdict = decide(&[face(&who)], &rules, &Moment { utc, offset: offset(hours) }, None);
            line.push(match verdict.reason() {
                Some(Reason::Granted) => 'G',
                Some(Reason::NotYetValid) => 'n',
                Some(Reason::Expired) => 'x',
                Some(Reason::OutOfSchedule) => '.',
                _ => '?',
            });
        }
    }
    line
}

/// The test runs itself again as a process in other zones: a rule that asked the machine for its zone, in
/// this crate or in one that it uses, would give itself away.
#[test]
fn the_zone_of_the_machine_does_not_matter() {
    const CHILD: &str = "MENSHEN_TEST_ZONE_CHILD";
    let here = week_of_verdicts();
    if std::env::var_os(CHILD).is_some() {
        println!("\nzone {} verdicts {here}", std::env::var("TZ").unwrap());
        return;
    }
    for known in ['G', 'n', 'x', '.'] {
        assert!(here.contains(known), "the table must show {known}");
    }
    assert!(!here.contains('?'));
    for zone in ["UTC", "Asia/Shanghai", "America/New_York", "Pacific/Kiritimati", "XYZ+11:30", ":/nowhere"] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "access::tests::the_zone_of_the_machine_does_not_matter", "--nocapture"])
            .env("TZ", zone)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{zone}: {text}");
        assert!(text.lines().any(|line| line == format!("zone {zone} verdicts {here}")), "{zone}: {text}");
    }
    // 2019-09-30T01:00Z is 09:00 in Beijing, when the validity begins within 08:00~09:30.
    let who = |local: &str| Moment { utc: local.parse().unwrap(), offset: offset(8) };
    let a = Arc::new(Person {
        valid_from: Some(Bound::Local(date(2019, 9, 30).at(9, 0, 0, 0))),
        schedule: Schedule {
            simple: SimpleSchedule { days: [true; 7], periods: Periods::parse("08:00~09:30").unwrap() },
            extended: None,
        },
        ..person("a")
    });
    for (utc, expected) in [
        ("2019-09-30T00:59:59Z", "!not_yet_valid a"),
        ("2019-09-30T01:00:00Z", "granted a"),
        ("2019-09-30T01:30:59Z", "granted a"),
        ("2019-09-30T01:31:00Z", "!out_of_schedule a"),
        ("2019-09-30T23:59:59Z", "!out_of_schedule a"),
        ("2019-10-01T00:00:00Z", "granted a"),
    ] {
        assert_eq!(word(&decide(&[face(&a)], &rules(PassMode::Face), &who(utc), None)), expected, "{utc}");
    }
}
