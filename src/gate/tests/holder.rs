//! Documents and their holders: the living face against the photo, in each order, and what is refused.

use jiff::civil::date;

use super::*;
use crate::access::CredentialOrder;
use crate::document::Document;
use crate::gate::sessions::HolderPhoto;
use crate::store::{PictureKind, Record};

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
    // Three frames say that the gallery does not know them; nobody waits for a whole second.
    for ms in [0, 70, 140] {
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
