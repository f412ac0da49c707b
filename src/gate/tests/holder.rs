//! Documents and their holders: the living face against the photo, in each order, and what is refused.

use jiff::civil::date;

use super::*;
use crate::access::{CredentialOrder, DayRule, ExtendedSchedule};
use crate::document::Document;
use crate::gate::sessions::HolderPhoto;
use crate::store::{PictureKind, Record};
use crate::text;

/// The documents' own sample.
const NUMBER: &str = "420381200010013857";

/// A face whose likeness to that of [`photo`] is `score`.
fn face(score: f32) -> Template {
    let cosine = score / 100.0;
    Template::normalised(vec![cosine, (1.0 - cosine * cosine).sqrt()]).unwrap()
}

/// The photo of the holder.
fn photo() -> Option<Arc<HolderPhoto>> {
    let template = Some(Template::normalised(vec![1.0, 0.0]).unwrap());
    Some(Arc::new(HolderPhoto { jpeg: Arc::from(*b"the photo"), template }))
}

fn faceless() -> Option<Arc<HolderPhoto>> {
    Some(Arc::new(HolderPhoto { jpeg: Arc::from(*b"a wall"), template: None }))
}

fn document() -> Document {
    Document {
        number: NUMBER.into(),
        name: "张三".into(),
        gender: "男".into(),
        ethnic: "汉".into(),
        birthday: Some(date(2000, 10, 1)),
        address: "北京市朝阳区清湖路".into(),
        valid_from: Some(date(2020, 1, 1)),
        expires: Some(date(2030, 1, 1)),
        ..Document::default()
    }
}

/// Nobody whom the gallery knows.
const STRANGER: Compared = Compared::Stranger { score: 10.0 };

fn gate(mode: PassMode, order: CredentialOrder) -> Bench {
    gate_with(mode, order, |_| {}, config::Gate::default())
}

fn gate_with(
    mode: PassMode,
    order: CredentialOrder,
    change: impl FnOnce(&mut Settings),
    config: config::Gate,
) -> Bench {
    let mut settings = Settings::default();
    (settings.rules.mode, settings.rules.document_order) = (mode, order);
    change(&mut settings);
    Bench::with_config(settings, config)
}

impl Bench {
    async fn lay_down(&self, document: Document, photo: Option<Arc<HolderPhoto>>) {
        let at = tokio::time::Instant::now();
        let command = Command::Document { document: Box::new(document), photo, at };
        self.commands.send(command).await.ok().unwrap();
    }

    /// A visitor whom nobody knows, in frame after frame until there is a verdict.
    async fn watch(&mut self, from: u64, track: u64, compared: &Compared) -> Arc<Event> {
        for frame in 0..40 {
            self.see(from + 100 * frame, &[(track, compared.clone())], &[]).await;
            if let Some(verdict) = self.verdict_now().await {
                return verdict;
            }
        }
        // It is on its way to the disk.
        self.event("verdict").await
    }

    /// The verdict that has come, once all that was sent is done.
    async fn verdict_now(&mut self) -> Option<Arc<Event>> {
        let (reply, answered) = tokio::sync::oneshot::channel();
        // Until the frames are taken the answer may overtake them.
        while self.sightings.capacity() < self.sightings.max_capacity() {
            tokio::task::yield_now().await;
        }
        self.commands.send(Command::Answers { reply }).await.ok().unwrap();
        let _ = answered.await;
        while let Ok(event) = self.events.try_recv() {
            if event.kind == "verdict" {
                return Some(event);
            }
        }
        None
    }

    async fn verdict_word(&mut self) -> String {
        word(&self.event("verdict").await)
    }

    fn last_record(&self) -> Record {
        self.inner.store.list_records(None, 1).unwrap().remove(0)
    }
}

fn word(verdict: &Arc<Event>) -> String {
    let word = |key| verdict.fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match word("verdict").as_str() {
        "await" => format!("?{}", word("next")),
        "pass" => word("reason"),
        _ => format!("!{}", word("reason")),
    }
}

#[tokio::test]
async fn the_holder_of_a_document_passes_unenrolled_and_both_pictures_are_kept() {
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    gate.faces.insert(1, face(75.0));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    // Three frames say that the gallery does not know them, and one more that it was no chance; nobody waits for a
    // whole second.
    for ms in [0, 70, 140, 210] {
        gate.see(ms, &[(1, STRANGER)], &[]).await;
    }
    let passed = gate.event("verdict").await;
    assert_eq!((word(&passed).as_str(), passed.fields["opened"].as_bool()), ("document_holder", Some(true)));
    assert_eq!(passed.fields["score"].as_f64().map(f64::round), Some(75.0));
    let record = gate.last_record();
    let facts = &record.facts;
    assert_eq!(
        (facts.name.as_str(), facts.id_number.as_deref(), facts.reason, facts.opened),
        ("张三", Some(NUMBER), Reason::DocumentHolder, true)
    );
    assert_eq!((facts.result, facts.score.map(f32::round)), (RecordResult::Granted, Some(75.0)));
    let printed = facts.document.as_ref().unwrap();
    assert_eq!(
        [&printed.gender, &printed.ethnic, &printed.birthday, &printed.address, &printed.expires],
        ["男", "汉", "20001001", "北京市朝阳区清湖路", "20300101"]
    );
    let picture = |kind| gate.inner.store.record_picture(record.id, kind).unwrap();
    assert_eq!(picture(PictureKind::Document).unwrap(), b"the photo");
    assert_eq!(picture(PictureKind::Snap).unwrap()[..2], [0xff, 0xd8]);
}

#[tokio::test]
async fn the_face_may_come_first_and_its_frame_is_in_the_record() {
    for order in [CredentialOrder::Any, CredentialOrder::FaceFirst] {
        let mut gate = gate(PassMode::Document, order);
        gate.faces.insert(1, face(75.0));
        assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
        gate.lay_down(document(), photo()).await;
        assert_eq!(gate.verdict_word().await, "document_holder");
        let record = gate.last_record();
        assert_eq!(record.pictures, [PictureKind::Snap, PictureKind::Document], "{order:?}");
    }
    // Where the face comes last, the one before does not count.
    let mut gate = gate(PassMode::Document, CredentialOrder::FaceLast);
    gate.faces.insert(1, face(75.0));
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    assert_eq!(word(&gate.watch(5000, 1, &STRANGER).await), "document_holder");
    // And where it must come first, a document alone is out of order.
    let mut gate = gate_with(PassMode::Document, CredentialOrder::FaceFirst, |_| {}, config::Gate::default());
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "!wrong_order");
}

#[tokio::test]
async fn one_bad_frame_is_no_mismatch_and_many_are() {
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    // Just below the threshold of 70; the next look is better.
    gate.faces.insert(1, face(69.5));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    for ms in (0..900).step_by(100) {
        gate.see(ms, &[(1, STRANGER)], &[]).await;
        assert!(gate.verdict_now().await.is_none(), "after {ms} ms");
    }
    gate.faces.insert(1, face(70.5));
    gate.see(900, &[(1, STRANGER)], &[]).await;
    assert!(gate.verdict_now().await.is_none(), "one is not enough");
    gate.see(950, &[(1, STRANGER)], &[]).await;
    assert_eq!(gate.verdict_word().await, "document_holder");

    let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
    gate.faces.insert(1, face(69.5));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "!mismatch");
    let record = gate.last_record();
    assert_eq!(
        (record.facts.result, record.facts.score.map(f32::round)),
        (RecordResult::NoMatch, Some(70.0))
    );
    assert_eq!(record.pictures, [PictureKind::Snap, PictureKind::Document]);
    assert!(!gate.relay.level());
    // They lay down another document without stepping back: their own.
    gate.faces.insert(1, face(90.0));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    assert_eq!(word(&gate.watch(9000, 1, &STRANGER).await), "document_holder");
}

#[tokio::test]
async fn a_picture_before_the_camera_is_compared_with_nothing() {
    let mut gate = gate_with(
        PassMode::Document,
        CredentialOrder::Any,
        |settings| settings.face.live_level = 1,
        config::Gate::default(),
    );
    gate.faces.insert(1, face(99.0));
    gate.judgement = Judgement::NotYet;
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    for ms in (0..1000).step_by(100) {
        gate.see(ms, &[(1, STRANGER)], &[]).await;
        assert!(gate.verdict_now().await.is_none(), "nothing is decided before it is known to live");
    }
    gate.judgement = Judgement::Attack;
    gate.see(1000, &[(1, STRANGER)], &[]).await;
    assert_eq!(gate.verdict_word().await, "!not_live");
    // The same in the other order.
    let mut gate = gate_with(
        PassMode::Document,
        CredentialOrder::Any,
        |settings| settings.face.live_level = 1,
        config::Gate::default(),
    );
    gate.faces.insert(1, face(99.0));
    gate.judgement = Judgement::Live;
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
    gate.judgement = Judgement::Attack;
    gate.see(5000, &[(1, STRANGER)], &[]).await;
    assert!(gate.verdict_now().await.is_none());
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    assert_eq!(word(&gate.watch(6000, 1, &STRANGER).await), "!not_live");
}

#[tokio::test]
async fn a_photo_without_a_face_is_refused_clearly() {
    for photo in [None, faceless()] {
        let kept = photo.is_some();
        let mut gate = gate(PassMode::Document, CredentialOrder::Any);
        gate.lay_down(document(), photo).await;
        let refused = gate.event("verdict").await;
        assert_eq!(word(&refused), "!no_holder_photo");
        assert_eq!(refused.fields["text"]["zh-CN"], "证件照片无法比对");
        let pictures = gate.last_record().pictures;
        assert_eq!(pictures.contains(&PictureKind::Document), kept);
    }
    // Somebody who is enrolled is known by the picture that enrolled them.
    let mut gate = gate(PassMode::DocumentWhitelist, CredentialOrder::Any);
    let (row, owner) = gate.enrol(Person { id_number: Some(NUMBER.into()), ..person("1") }).await;
    gate.lay_down(document(), faceless()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    let known = Compared::Person { face: row, person: owner, score: 95.0, also: Vec::new() };
    assert_eq!(word(&gate.watch(0, 1, &known).await), "granted");
}

#[tokio::test]
async fn the_white_list_the_prefixes_and_the_last_day_count() {
    let owner = || Person { id_number: Some(NUMBER.into()), ..person("1") };
    let mut gate = gate(PassMode::DocumentWhitelist, CredentialOrder::Any);
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "!unknown_document");
    gate.enrol(owner()).await;
    gate.faces.insert(1, face(80.0));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    let passed = gate.watch(0, 1, &STRANGER).await;
    assert_eq!((word(&passed).as_str(), &passed.fields["person"]["id"]), ("granted", &Value::from("1")));

    let mut gate = super::holder::gate(PassMode::DocumentWhitelist, CredentialOrder::Any);
    gate.enrol(Person { kind: PersonKind::Visitor, ..owner() }).await;
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "!not_white_listed");

    let mut gate = gate_with(
        PassMode::Document,
        CredentialOrder::Any,
        |settings| settings.rules.forbidden_id_prefixes = vec!["4203".into()],
        config::Gate::default(),
    );
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "!forbidden_id_number");
    // The clock of the test stands at 2026-03-02, noon in Beijing.
    for (last_day, verdict) in [(date(2026, 3, 1), "!document_expired"), (date(2026, 3, 2), "?face")] {
        let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
        gate.lay_down(Document { expires: Some(last_day), ..document() }, photo()).await;
        assert_eq!(gate.verdict_word().await, verdict);
    }
}

#[tokio::test]
async fn a_document_nobody_answers_for_times_out() {
    let mut gate = gate_with(
        PassMode::Document,
        CredentialOrder::Any,
        |_| {},
        config::Gate { session_timeout_s: 0, ..config::Gate::default() },
    );
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    assert_eq!(gate.verdict_word().await, "!timeout");
    assert_eq!(gate.last_record().facts.id_number.as_deref(), Some(NUMBER));
}

#[tokio::test]
async fn a_bystander_does_not_take_a_document_from_its_holder() {
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    gate.faces.insert(1, face(20.0));
    gate.faces.insert(2, face(65.0));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    let both = [(1, STRANGER), (2, STRANGER)];
    // The bystander has been compared long enough; the holder came into view late.
    gate.see(0, &both[..1], &[]).await;
    for ms in (100..1000).step_by(100) {
        gate.see(ms, &both, &[]).await;
    }
    gate.see(1050, &both, &[]).await;
    assert!(gate.verdict_now().await.is_none());
    gate.faces.insert(2, face(72.0));
    gate.see(1080, &both, &[]).await;
    gate.see(1100, &both, &[]).await;
    let passed = gate.event("verdict").await;
    assert_eq!((word(&passed).as_str(), passed.fields["track"].as_u64()), ("document_holder", Some(2)));
}

#[tokio::test]
async fn somebody_known_passes_by_face_beside_a_document_of_another() {
    let mut gate = gate(PassMode::FaceOrDocument, CredentialOrder::Any);
    let (row, owner) = gate.enrol(person("1")).await;
    gate.faces.insert(1, face(20.0));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    let known = Compared::Person { face: row, person: owner, score: 95.0, also: Vec::new() };
    let passed = gate.watch(0, 1, &known).await;
    assert_eq!(word(&passed), "granted");
    assert_eq!(passed.fields["credential"], serde_json::json!(["face"]));
    assert_eq!(gate.last_record().pictures, [PictureKind::Snap], "the document is another's");
    // It still waits for its holder.
    gate.faces.insert(2, face(80.0));
    assert_eq!(word(&gate.watch(2000, 2, &STRANGER).await), "document_holder");
}

/// What somebody is recognised as.
fn as_person((face, person): (FaceRow, PersonRow)) -> Compared {
    Compared::Person { face, person, score: 95.0, also: Vec::new() }
}

/// A document of somebody else, whose photo is [`other_photo`].
fn other_document() -> Document {
    Document { number: "110101199003070011".into(), name: "李四".into(), ..document() }
}

/// The photo of a second holder.
fn other_photo() -> Option<Arc<HolderPhoto>> {
    let template = Some(Template::normalised(vec![0.0, 1.0]).unwrap());
    Some(Arc::new(HolderPhoto { jpeg: Arc::from(*b"the other photo"), template }))
}

/// The face of [`other_photo`], whose likeness to that of [`photo`] is `score`.
fn other_face(score: f32) -> Template {
    let sine = score / 100.0;
    Template::normalised(vec![sine, (1.0 - sine * sine).sqrt()]).unwrap()
}

#[tokio::test]
async fn a_document_does_not_go_to_a_visitor_who_was_asked_before_its_holder() {
    for left in [true, false] {
        let mut gate = gate(PassMode::Document, CredentialOrder::Any);
        // Who walks by is asked; the holder comes up behind and lays down their document before they are asked.
        gate.faces.insert(2, face(20.0));
        assert_eq!(word(&gate.watch(0, 2, &STRANGER).await), "?document");
        gate.faces.insert(1, face(75.0));
        if left {
            gate.see(4000, &[(1, STRANGER)], &[2]).await;
        } else {
            gate.see(4000, &[(1, STRANGER), (2, STRANGER)], &[]).await;
        }
        gate.lay_down(document(), photo()).await;
        assert_eq!(gate.verdict_word().await, "?face");
        let both = [(1, STRANGER), (2, STRANGER)];
        for ms in [4100, 4200, 4300, 4400] {
            gate.see(ms, &both[..if left { 1 } else { 2 }], &[]).await;
        }
        let passed = gate.event("verdict").await;
        assert_eq!(
            (word(&passed).as_str(), passed.fields["track"].as_u64()),
            ("document_holder", Some(1)),
            "the other has left: {left}"
        );
        let facts = gate.last_record().facts;
        assert_eq!((facts.id_number.as_deref(), facts.reason), (Some(NUMBER), Reason::DocumentHolder));
    }
}

#[tokio::test]
async fn whoever_was_asked_and_looks_away_is_still_the_holder() {
    // Their last look was poor, and they bend over the reader.
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    gate.faces.insert(1, face(60.0));
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    gate.faces.insert(1, face(90.0));
    let passed = gate.watch(5000, 1, &STRANGER).await;
    assert_eq!((word(&passed).as_str(), passed.fields["track"].as_u64()), ("document_holder", Some(1)));
    // Whoever was asked, and stays, is the one to compare it with.
    let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
    gate.faces.insert(1, face(20.0));
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    assert_eq!(word(&gate.watch(5000, 1, &STRANGER).await), "!mismatch");
}

#[tokio::test]
async fn whoever_bends_over_the_reader_and_is_lost_comes_back_as_the_holder() {
    // The face must come last: what was seen before does not count, and its track has ended.
    let mut gate = gate(PassMode::Document, CredentialOrder::FaceLast);
    gate.faces.insert(1, face(90.0));
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
    gate.see(4000, &[], &[1]).await;
    assert!(gate.verdict_now().await.is_none());
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    gate.faces.insert(2, face(90.0));
    let passed = gate.watch(5000, 2, &STRANGER).await;
    assert_eq!((word(&passed).as_str(), passed.fields["track"].as_u64()), ("document_holder", Some(2)));
    assert!(gate.verdict_now().await.is_none());
    assert!(!gate.inner.document_asked.load(Ordering::Relaxed), "who was asked is who has passed");
    // In any order, and where the face must come first: lost after it was laid down, and before.
    for order in [CredentialOrder::Any, CredentialOrder::FaceFirst] {
        for lost_first in [false, true] {
            let mut gate = super::holder::gate(PassMode::Document, order);
            gate.faces.insert(1, face(60.0));
            assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
            // One frame is like the photo, which is not enough.
            gate.faces.insert(1, face(72.0));
            gate.see(4000, &[(1, STRANGER)], &[]).await;
            for lost in [lost_first, !lost_first] {
                if lost {
                    gate.see(4100, &[], &[1]).await;
                    assert!(gate.verdict_now().await.is_none());
                } else {
                    gate.lay_down(document(), photo()).await;
                    assert_eq!(gate.verdict_word().await, "?face", "{order:?}, lost first: {lost_first}");
                }
            }
            gate.faces.insert(2, face(90.0));
            let passed = gate.watch(5000, 2, &STRANGER).await;
            let track = passed.fields["track"].as_u64();
            assert_eq!(
                (word(&passed).as_str(), track),
                ("document_holder", Some(2)),
                "{order:?} {lost_first}"
            );
            assert_eq!(gate.inner.store.counts().unwrap().records, 1);
        }
    }
}

#[tokio::test]
async fn a_document_that_is_laid_down_twice_opens_once() {
    let mut gate = gate(PassMode::Document, CredentialOrder::FaceFirst);
    gate.faces.insert(1, face(60.0));
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
    for _ in 0..2 {
        gate.lay_down(document(), photo()).await;
        assert_eq!(gate.verdict_word().await, "?face");
    }
    gate.faces.insert(1, face(90.0));
    assert_eq!(word(&gate.watch(5000, 1, &STRANGER).await), "document_holder");
    gate.event("record").await;
    for frame in 0..10 {
        gate.see(6000 + 100 * frame, &[(1, STRANGER)], &[]).await;
    }
    assert!(gate.verdict_now().await.is_none());
    assert_eq!(gate.inner.store.counts().unwrap().records, 1);
}

#[tokio::test]
async fn two_documents_in_a_row_are_two_visitors() {
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    // Lifted again; the next visitor's.
    gate.lay_down(other_document(), other_photo()).await;
    let both = [gate.verdict_word().await, gate.verdict_word().await];
    assert!(both.contains(&"!timeout".to_owned()) && both.contains(&"?face".to_owned()), "{both:?}");
    assert_eq!(gate.last_record().facts.id_number.as_deref(), Some(NUMBER), "the first has its record");
    gate.faces.insert(1, other_face(20.0));
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "document_holder");
    assert_eq!(gate.last_record().facts.id_number.as_deref(), Some("110101199003070011"));
    assert_eq!(gate.inner.store.counts().unwrap().records, 2);
    // The same one, laid down again, is one document.
    let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
    gate.lay_down(document(), photo()).await;
    gate.lay_down(document(), photo()).await;
    assert_eq!([gate.verdict_word().await, gate.verdict_word().await], ["?face", "?face"]);
    gate.faces.insert(1, face(90.0));
    let passed = gate.watch(0, 1, &STRANGER).await;
    assert_eq!(passed.fields["credential"], serde_json::json!(["document", "face"]));
    assert_eq!(gate.inner.store.counts().unwrap().records, 1);
}

#[tokio::test]
async fn a_verdict_about_one_visitor_leaves_the_document_of_another() {
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    gate.faces.insert(1, face(90.0));
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "?document");
    // Somebody else's lies there, whose face is not seen yet.
    gate.lay_down(other_document(), other_photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    gate.lay_down(document(), photo()).await;
    let passed = gate.event("verdict").await;
    assert_eq!((word(&passed).as_str(), passed.fields["track"].as_u64()), ("document_holder", Some(1)));
    gate.faces.insert(2, other_face(20.0));
    let passed = gate.watch(5000, 2, &STRANGER).await;
    assert_eq!((word(&passed).as_str(), passed.fields["track"].as_u64()), ("document_holder", Some(2)));
}

#[tokio::test]
async fn one_lucky_frame_among_poor_ones_is_not_the_holder() {
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    for (frame, score) in [30.0, 30.0, 30.0, 70.5].into_iter().enumerate() {
        gate.faces.insert(1, face(score));
        gate.see(100 * frame as u64, &[(1, STRANGER)], &[]).await;
        assert!(gate.verdict_now().await.is_none(), "frame {frame}");
    }
    gate.faces.insert(1, face(30.0));
    assert_eq!(word(&gate.watch(400, 1, &STRANGER).await), "!mismatch");
    assert_eq!(gate.last_record().facts.score.map(f32::round), Some(30.0));
    // One that is clearly alike is enough.
    let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    for score in [30.0, 30.0, 78.5] {
        gate.faces.insert(1, face(score));
        gate.see(score as u64, &[(1, STRANGER)], &[]).await;
    }
    assert_eq!(gate.verdict_word().await, "document_holder");
}

#[tokio::test]
async fn somebody_of_the_black_list_is_not_unknown_for_a_few_doubtful_frames() {
    for doubtful in [Compared::Ambiguous { score: 85.0 }, Compared::Stranger { score: 79.0 }] {
        let mut gate = gate(PassMode::Document, CredentialOrder::Any);
        let rows = gate.enrol(Person { kind: PersonKind::Black, ..person("1") }).await;
        gate.faces.insert(1, face(95.0));
        gate.lay_down(document(), photo()).await;
        assert_eq!(gate.verdict_word().await, "?face");
        for ms in [0, 100, 200] {
            gate.see(ms, &[(1, doubtful.clone())], &[]).await;
        }
        // Nor does a poor frame among them make them a stranger.
        gate.see(300, &[(1, STRANGER)], &[]).await;
        assert!(gate.verdict_now().await.is_none(), "{doubtful:?}");
        assert_eq!(word(&gate.watch(400, 1, &as_person(rows)).await), "!black_listed", "{doubtful:?}");
        assert!(!gate.relay.level());
    }
}

#[tokio::test]
async fn a_bystander_does_not_burn_a_document_without_a_usable_photo() {
    let mut gate = gate(PassMode::DocumentWhitelist, CredentialOrder::Any);
    let rows = gate.enrol(Person { id_number: Some(NUMBER.into()), ..person("1") }).await;
    gate.lay_down(document(), faceless()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    // They are asked for a document of their own.
    assert_eq!(word(&gate.watch(0, 2, &STRANGER).await), "?document");
    for ms in (4000..4500).step_by(100) {
        gate.see(ms, &[(2, STRANGER)], &[]).await;
    }
    assert!(gate.verdict_now().await.is_none());
    let passed = gate.watch(5000, 1, &as_person(rows)).await;
    assert_eq!((word(&passed).as_str(), passed.fields["track"].as_u64()), ("granted", Some(1)));
}

#[tokio::test]
async fn the_number_in_a_record_is_the_documents() {
    // The platform has their former number; the card they show is of another.
    let mut gate = gate(PassMode::DocumentWhitelist, CredentialOrder::Any);
    let former = Person { id_number: Some("420381 200010013857".into()), ..person("1") };
    gate.enrol(former).await;
    let elsewhere = Person {
        key: PersonKey::new(Origin::TerminalWs, "A"),
        id_number: Some(NUMBER.into()),
        name: "person 1".into(),
        ..person("1")
    };
    gate.enrol(elsewhere).await;
    gate.faces.insert(1, face(90.0));
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "?face");
    assert_eq!(word(&gate.watch(0, 1, &STRANGER).await), "granted");
    let facts = gate.last_record().facts;
    assert_eq!(facts.id_number.as_deref(), Some(NUMBER));
    assert_eq!(facts.also.len(), 1);
    for origin in [Origin::Qyzn, Origin::TerminalWs] {
        assert_eq!(facts.known_to(origin).unwrap().id_number, Some(NUMBER), "{origin:?}");
    }
}

#[tokio::test]
async fn a_number_that_was_typed_with_blanks_is_on_the_black_list() {
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    let spaced = format!("{} {}\u{3000}{}", &NUMBER[..6], &NUMBER[6..14], &NUMBER[14..]);
    gate.enrol(Person { kind: PersonKind::Black, id_number: Some(spaced), ..person("1") }).await;
    gate.lay_down(document(), photo()).await;
    assert_eq!(gate.verdict_word().await, "!black_listed");
}

#[tokio::test]
async fn a_document_is_valid_from_its_first_day_to_its_last_where_the_clock_tells() {
    let laid_down = async |gate: &mut Bench, from, until| {
        gate.lay_down(Document { valid_from: from, expires: until, ..document() }, photo()).await;
        gate.verdict_word().await
    };
    // The clock of the test stands at 2026-03-02, noon in Beijing.
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    assert_eq!(laid_down(&mut gate, Some(date(2026, 3, 3)), None).await, "!document_not_yet_valid");
    assert_eq!(laid_down(&mut gate, Some(date(2026, 3, 2)), None).await, "?face");
    // A quarter of an hour before the day after, and at it.
    let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
    let last_day = Some(date(2026, 3, 2));
    gate.clock.set("2026-03-02T15:45:00Z".parse().unwrap());
    assert_eq!(laid_down(&mut gate, None, last_day).await, "?face");
    let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
    gate.clock.set("2026-03-02T16:00:00Z".parse().unwrap());
    assert_eq!(laid_down(&mut gate, None, last_day).await, "!document_expired");
    // In 1970 every document would be valid for long.
    let mut gate = super::holder::gate(PassMode::Document, CredentialOrder::Any);
    gate.clock.set(jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(laid_down(&mut gate, None, Some(date(2020, 1, 1))).await, "!clock_lost");
    assert_eq!(laid_down(&mut gate, Some(date(2020, 1, 1)), None).await, "!clock_lost");
    assert_eq!(laid_down(&mut gate, None, None).await, "?face", "there is nothing to check");
}

impl Bench {
    /// As a reader presents it, with a photo that somebody has to look at.
    async fn present(&self, photo: &[u8]) -> Result<()> {
        let document = Document { photo: Some(Arc::from(photo)), ..document() };
        let presented = crate::gate::presented::present_document(&self.inner, &self.commands, document);
        tokio::time::timeout(Duration::from_secs(5), presented).await.expect("nobody looks at the photo")
    }
}

#[tokio::test]
async fn a_photo_is_not_looked_at_where_it_changes_nothing() {
    // Nobody examines pictures here: a photo that is sent to be looked at would wait for ten seconds.
    for mode in [PassMode::Face, PassMode::FaceAndCard, PassMode::Card, PassMode::FaceOrCard] {
        let mut gate = gate(mode, CredentialOrder::Any);
        gate.present(b"no picture").await.unwrap();
        // Nobody is spoken to who shows what is not asked for.
        assert!(gate.verdict_now().await.is_none(), "{mode:?}");
    }
    let picture = crate::gate::sighting::encode(&[128; 3 * 64], 8, 8).unwrap();
    type Change = fn(&mut Settings);
    let refused: [(&str, Change, Person); 2] = [
        (
            "!forbidden_id_number",
            |settings| settings.rules.forbidden_id_prefixes = vec!["4203".into()],
            person("1"),
        ),
        (
            "!black_listed",
            |_| {},
            Person { kind: PersonKind::Black, id_number: Some(NUMBER.into()), ..person("1") },
        ),
    ];
    for (verdict, change, person) in refused {
        let mut gate = gate_with(PassMode::Document, CredentialOrder::Any, change, config::Gate::default());
        gate.enrol(person).await;
        gate.present(&picture).await.unwrap();
        assert_eq!(gate.verdict_word().await, verdict);
        // Its record has it all the same.
        let record = gate.last_record();
        assert_eq!(
            gate.inner.store.record_picture(record.id, PictureKind::Document).unwrap().unwrap(),
            picture
        );
    }
    // At night it is the hour that refuses, not the photo, which is looked at as by day.
    let never = ExtendedSchedule {
        id: String::new(),
        name: String::new(),
        weekly: std::array::from_fn(|_| DayRule::Never),
        holidays: Vec::new(),
    };
    let closed = |settings: &mut Settings| settings.rules.schedule = Some(never);
    let gate_at_night = gate_with(PassMode::Document, CredentialOrder::Any, closed, config::Gate::default());
    gate_at_night.inner.portraits.close();
    assert_eq!(gate_at_night.present(&picture).await.unwrap_err().kind(), Kind::Stopped);
    // Somebody with a mode of their own was asked: then it counts.
    let mut gate = gate(PassMode::Face, CredentialOrder::Any);
    let rows = gate.enrol(Person { mode: Some(PassMode::Document), ..person("1") }).await;
    assert_eq!(word(&gate.watch(0, 1, &as_person(rows)).await), "?document");
    gate.verdict_now().await;
    assert!(gate.inner.asks_for_documents());
    gate.inner.portraits.close();
    assert_eq!(gate.present(&picture).await.unwrap_err().kind(), Kind::Stopped);
}

#[tokio::test]
async fn a_document_that_the_gate_loses_is_asked_for_again() {
    let again = text::document_unread(Language::English);
    // Its photo cannot be looked at.
    let mut gate = gate(PassMode::Document, CredentialOrder::Any);
    gate.inner.portraits.close();
    assert_eq!(gate.present(b"whatever").await.unwrap_err().kind(), Kind::Stopped);
    assert_eq!(gate.shown().await, again);
    assert_eq!(gate.inner.store.counts().unwrap().records, 0);
    // Its owner waits for the platform's word about a face.
    let mut settings = super::remote(RemoteMode::Remote);
    settings.rules.mode = PassMode::FaceOrDocument;
    let mut gate = Bench::new(settings);
    gate.inner.platform_reached.store(true, std::sync::atomic::Ordering::Relaxed);
    let rows = gate.enrol(Person { id_number: Some(NUMBER.into()), ..person("1") }).await;
    assert_eq!(word(&gate.watch(0, 1, &as_person(rows)).await), "granted");
    gate.event("record").await;
    gate.lay_down(document(), photo()).await;
    while gate.shown().await != again {}
}
