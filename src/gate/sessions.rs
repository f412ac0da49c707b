//! Sessions: what each visitor has presented, until a verdict or a timeout.
//!
//! One task holds them all. It decides at once and never waits for a disk or a wire: what follows a verdict
//! (the record, then the door) runs beside it and reports back, so that ten visitors at once do not queue.

mod holder;
mod presented;

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Inner;
use super::announce;
use super::passage::{Finished, Stored, WithoutAnswer, carry_out, open_for};
use super::record::{self, Happened};
use super::sighting::{Compared, Sighting, Snap, VisibleFace};
use crate::access::decide::plain_number;
use crate::access::{
    Credential, CredentialKind, FaceCredential, FaceMatch, HolderMatch, LastPassage, Liveness, Opens,
    PassMode, Person, PersonKey, Reason, Verdict, known_as, subject, weigh,
};
use crate::document::Document;
use crate::store::{NewRecord, PersonRow, RecordId};
use crate::text;
use crate::vision::liveness::Judgement;
use crate::vision::template::Template;
pub(super) use holder::HolderPhoto;
use holder::{Looked, Tries};
pub(super) use presented::{owners, read_as};

/// Frames that must agree on a person whose score is not clearly above the threshold.
const AGREEING_FRAMES: u32 = 2;

/// The same once the visitor has been like nobody, or like two people alike: however clear a single frame is.
const AGREEING_FRAMES_IN_DOUBT: u32 = 4;

/// How far above a threshold, in score, one frame is enough; as far below it, a stranger is nearly somebody.
const CLEARLY_ABOVE: f32 = 8.0;

/// Comparisons without a match before somebody is called a stranger, besides the time it takes.
const STRANGER_COMPARISONS: u32 = 3;

/// How long ago a face that stands before the camera may have been seen.
const IN_VIEW: Duration = Duration::from_secs(1);

/// How long a visitor who is in no frame is remembered.
const FORGOTTEN: Duration = Duration::from_secs(5);

/// Records kept in memory while the store refuses them.
const UNSAVED: usize = 1000;

/// Before the sessions begin anew after a panic.
const AFTER_A_PANIC: Duration = Duration::from_millis(500);

/// Answers that are kept for records whose verdict is still being carried out.
const EARLY_ANSWERS: usize = 64;

/// Bytes of pictures among them.
const UNSAVED_BYTES: usize = 32 << 20;

/// How often the store is asked again to take them.
const SAVE_AGAIN: Duration = Duration::from_secs(5);

/// What others tell the sessions.
pub(super) enum Command {
    /// A platform answered a record, with `opendoor` or without.
    Answer { record: RecordId, open: Option<bool> },
    /// The line to the platform is lost.
    PlatformLost,
    /// A card was presented.
    Card { number: String, at: Instant },
    /// An identity document was presented, with its photo where it has one.
    Document { document: Box<Document>, photo: Option<Arc<HolderPhoto>>, at: Instant },
    /// A QR code was presented.
    Qr { content: String, at: Instant },
    /// Somebody asks whether the sessions live.
    Answers { reply: tokio::sync::oneshot::Sender<()> },
}

/// What one visitor has presented, and what belongs to it.
#[derive(Clone, Default)]
struct Shown {
    /// The credentials, in their order.
    credentials: Vec<Credential>,
    /// The photo of the document among them.
    photo: Option<Arc<HolderPhoto>>,
    /// The last frame in which a face was one of them, for the record.
    snap: Option<Snap>,
}

impl Shown {
    fn has_document(&self) -> bool {
        self.credentials.iter().any(|one| one.kind() == CredentialKind::Document)
    }

    /// Whether the document of this number is among them, however it is spaced.
    fn holds(&self, number: &str) -> bool {
        self.credentials.iter().any(|one| {
            matches!(one, Credential::Document(document)
                if plain_number(&document.number).eq(plain_number(number)))
        })
    }
}

/// What was presented without a face.
struct Loose {
    until: Instant,
    shown: Shown,
    /// What must come next.
    next: CredentialKind,
}

/// A credential on its way to be weighed.
struct Offered {
    track: Option<u64>,
    credential: Credential,
    /// When it came, for durations.
    captured: Instant,
    /// The same by the gate's clock.
    at: Timestamp,
    /// The frame with the face.
    snap: Option<Snap>,
    /// The photo of a document.
    photo: Option<Arc<HolderPhoto>>,
    /// What the living face and the document's photo come to.
    holder: Option<HolderMatch>,
    /// Whether it belongs to what was presented without a face.
    joins_loose: bool,
}

/// A visitor.
struct Session {
    /// When the face was in a frame last.
    seen: Instant,
    /// The face was lost from view while a credential was waited for: it will not be seen again under this track.
    gone: bool,
    /// What was presented before the credential that is being weighed.
    shown: Shown,
    /// The face as it was compared last, and the time before, unless it was judged an attack since.
    faces: [Option<Template>; 2],
    /// Its comparisons with the photo of a document.
    tries: Option<Tries>,
    /// The person of the last comparison, by every name, and in how many in a row.
    agreed: Option<(Vec<PersonRow>, u32)>,
    /// The comparisons in a row in which nobody matched.
    unknown: Option<Unknown>,
    /// Two people were alike, or nobody matched for long.
    doubted: bool,
    /// When the face was compared first.
    compared: Option<Instant>,
    state: State,
}

/// Comparisons in a row in which nobody matched.
#[derive(Clone, Copy)]
struct Unknown {
    since: Instant,
    comparisons: u32,
    /// In one of them somebody nearly did, or two people alike.
    nearly: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No verdict yet.
    Open,
    /// A verdict is being carried out.
    Closing,
    /// Waits for another credential of a kind until the moment given.
    Awaiting(CredentialKind, Instant),
    /// Has passed or was refused for good.
    Settled,
    /// Was refused because it could not be told who it is; a better look may still do.
    Unknown,
    /// Passed a moment ago; asked again from the moment given.
    Paused(Instant),
}

impl Session {
    fn new(seen: Instant) -> Self {
        Self {
            seen,
            gone: false,
            shown: Shown::default(),
            faces: [None, None],
            tries: None,
            agreed: None,
            unknown: None,
            doubted: false,
            compared: None,
            state: State::Open,
        }
    }

    fn is_asked_for_document(&self) -> bool {
        matches!(self.state, State::Awaiting(CredentialKind::Document, _))
    }

    /// Whether a document that is laid down may be theirs: the first time, or once more while their face is waited for.
    fn may_lay_down(&self) -> bool {
        self.is_asked_for_document()
            || (matches!(self.state, State::Awaiting(CredentialKind::Face, _)) && self.shown.has_document())
    }

    fn is_in_view(&self, now: Instant) -> bool {
        !self.gone && now < self.seen + IN_VIEW
    }
}

/// A record whose door may still be opened or shut by its platform.
struct Answerable {
    until: Instant,
    opened: bool,
    person: Option<Arc<Person>>,
    /// The person by each of their names.
    people: Vec<PersonKey>,
    /// They count as busy until the platform has decided, so that nobody is asked about twice.
    undecided: bool,
    /// The platform has not taken the record yet: until when it may, and what happens then.
    asks: Option<(Instant, WithoutAnswer)>,
}

/// The task.
pub(super) struct Sessions {
    gate: Arc<Inner>,
    /// By track of the face.
    visitors: HashMap<u64, Session>,
    /// Credentials that came without a face.
    loose: Option<Loose>,
    answerable: HashMap<RecordId, Answerable>,
    /// Answers to records whose verdict is still being carried out.
    early: HashMap<RecordId, (Instant, Option<bool>)>,
    /// When people passed last, as far as this run of the agent knows.
    passages: HashMap<PersonKey, (Timestamp, Instant)>,
    /// People whose verdict is being carried out: a second one must see what the first has spent.
    busy: HashSet<PersonKey>,
    finishing: JoinSet<Finished>,
    /// What the store refused, the oldest first.
    unsaved: VecDeque<NewRecord>,
    /// The oldest of them is being tried again.
    saving: bool,
    save_again: Instant,
}

impl Sessions {
    fn new(gate: Arc<Inner>) -> Self {
        Self {
            gate,
            visitors: HashMap::new(),
            loose: None,
            answerable: HashMap::new(),
            early: HashMap::new(),
            passages: HashMap::new(),
            busy: HashSet::new(),
            finishing: JoinSet::new(),
            unsaved: VecDeque::new(),
            saving: false,
            save_again: Instant::now(),
        }
    }

    /// Runs until the cameras and the handle are gone. A panic costs the sessions that are open, not the gate:
    /// it is reported, and the next look begins anew.
    pub(super) async fn run(
        gate: Arc<Inner>,
        mut sightings: mpsc::Receiver<Sighting>,
        mut commands: mpsc::Receiver<Command>,
    ) {
        let mut unsaved = VecDeque::new();
        loop {
            let mut sessions = Self::new(Arc::clone(&gate));
            sessions.unsaved = std::mem::take(&mut unsaved);
            let served = AssertUnwindSafe(sessions.serve(&mut sightings, &mut commands)).catch_unwind().await;
            if served.is_ok() {
                return sessions.end().await;
            }
            gate.failed("sessions");
            unsaved = std::mem::take(&mut sessions.unsaved);
            tokio::time::sleep(AFTER_A_PANIC).await;
        }
    }

    async fn serve(
        &mut self,
        sightings: &mut mpsc::Receiver<Sighting>,
        commands: &mut mpsc::Receiver<Command>,
    ) {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let heartbeat = self.gate.loops.heartbeat("sessions");
        loop {
            tokio::select! {
                sighting = sightings.recv() => match sighting {
                    Some(sighting) => self.see(sighting),
                    None => return,
                },
                Some(command) = commands.recv() => self.obey(command),
                Some(finished) = self.finishing.join_next(), if !self.finishing.is_empty() => match finished {
                    Ok(finished) => self.finish(finished),
                    Err(error) => tracing::error!(%error, "carrying out a verdict failed"),
                },
                _ = tick.tick() => self.time_passes(),
            }
            let asked = self.visitors.values().any(Session::may_lay_down);
            self.gate.document_asked.store(asked, Ordering::Relaxed);
            // Only now: one that panics with each turn makes none.
            heartbeat.beat();
        }
    }

    /// What is being written is finished: a record that has been decided is not lost at a stop.
    async fn end(mut self) {
        while let Some(finished) = self.finishing.join_next().await {
            if let Ok(finished) = finished {
                self.finish(finished);
            }
        }
        self.save(true).await;
    }

    fn see(&mut self, mut sighting: Sighting) {
        if !sighting.faces.is_empty() {
            self.gate.machine.activity.visitor();
        }
        for face in std::mem::take(&mut sighting.faces) {
            self.look_at(face, &sighting);
        }
        for track in &sighting.lost {
            if let Some(session) = self.visitors.get_mut(track) {
                // One who was asked for a card has turned to the reader: that session ends by its timeout.
                if matches!(session.state, State::Awaiting(..)) {
                    session.gone = true;
                    self.leave_document(*track);
                } else {
                    self.visitors.remove(track);
                }
            }
        }
    }

    /// Whoever has gone from view, over a reader perhaps, comes back as another track: the document for which their face is
    /// waited lies there for whoever it is like.
    fn leave_document(&mut self, track: u64) {
        let Some(session) = self.visitors.get(&track).filter(|session| session.gone) else { return };
        let State::Awaiting(next @ CredentialKind::Face, until) = session.state else { return };
        if session.shown.has_document()
            && self.loose.is_none()
            && let Some(Session { shown, .. }) = self.visitors.remove(&track)
        {
            self.put_loose(Loose { until, shown, next });
        }
    }

    fn look_at(&mut self, mut face: VisibleFace, sighting: &Sighting) {
        let settings = self.gate.settings.load_full();
        let captured = Instant::from_std(sighting.captured);
        let session = self.visitors.entry(face.track).or_insert_with(|| Session::new(captured));
        (session.seen, session.gone) = (captured, false);
        match &face.template {
            _ if face.judgement == Judgement::Attack && settings.face.live_level > 0 => {
                session.faces = [None, None];
            }
            Some(_) => session.faces = [face.template.take(), session.faces[0].take()],
            None => {}
        }
        // Something lies on a reader for which a face is waited.
        let loose = self.loose.as_ref().filter(|loose| loose.next == CredentialKind::Face);
        let document_lies = loose.is_some_and(|loose| loose.shown.has_document());
        // Whoever has had their verdict, or was asked for a document that may be this one, is looked at for that alone.
        let had_verdict = matches!(session.state, State::Settled | State::Unknown);
        let was_asked = session.is_asked_for_document();
        match session.state {
            State::Awaiting(CredentialKind::Face, _) | State::Open | State::Unknown => {}
            State::Paused(until) if captured >= until => session.state = State::Open,
            State::Settled if loose.is_some() => {}
            State::Awaiting(CredentialKind::Document, _) if document_lies => {}
            State::Settled | State::Closing | State::Awaiting(..) | State::Paused(_) => return,
        }
        // What the face may complete: what its own visitor presented, else what nobody's face has answered for.
        let joins_loose = (was_asked || session.shown.credentials.is_empty()) && loose.is_some();
        let shown = if joins_loose { loose.map(|loose| &loose.shown) } else { Some(&session.shown) };
        let photo = shown.and_then(|shown| shown.photo.clone()).filter(|photo| photo.template.is_some());
        let owners = shown.map(|shown| known_as(&shown.credentials)).unwrap_or_default();
        if face.compared == Compared::Not {
            return;
        }
        let compared_since = *session.compared.get_or_insert(captured);
        let matched = match &face.compared {
            Compared::Not => return,
            Compared::Person { face: row, person: person_row, score, also } => {
                session.unknown = None;
                let named: Vec<_> =
                    [*person_row].into_iter().chain(also.iter().map(|(_, row)| *row)).collect();
                // Which of their names is nearest may change from frame to frame.
                let frames = match &session.agreed {
                    Some((agreed, frames)) if named.iter().any(|row| agreed.contains(row)) => frames + 1,
                    _ => 1,
                };
                session.agreed = Some((named, frames));
                let clear = *score >= f32::from(settings.face.similar_threshold) + CLEARLY_ABOVE;
                let enough = if session.doubted {
                    frames >= AGREEING_FRAMES_IN_DOUBT
                } else {
                    clear || frames >= AGREEING_FRAMES
                };
                if !enough {
                    return;
                }
                match self.gate.matched(*row, *person_row, *score, also) {
                    Ok(Some(matched)) => matched,
                    // Removed a moment ago: the gallery follows.
                    Ok(None) => return,
                    Err(error) => {
                        tracing::error!(%error, "a matched person could not be read");
                        return;
                    }
                }
            }
            Compared::Ambiguous { score } | Compared::Stranger { score } => {
                session.agreed = None;
                session.doubted |= matches!(face.compared, Compared::Ambiguous { .. });
                if (had_verdict || was_asked) && photo.is_none() {
                    return;
                }
                let mut unknown =
                    session.unknown.unwrap_or(Unknown { since: captured, comparisons: 0, nearly: false });
                unknown.comparisons += 1;
                unknown.nearly |= matches!(face.compared, Compared::Ambiguous { .. })
                    || *score >= f32::from(settings.face.similar_threshold) - CLEARLY_ABOVE;
                session.unknown = Some(unknown);
                // With a document's photo beside it the gallery is not what tells who it is, but it may tell in a moment
                // that it is somebody of the black list.
                let long_enough = (photo.is_some() && !unknown.nearly)
                    || captured.saturating_duration_since(unknown.since)
                        >= Duration::from_millis(self.gate.config.stranger_after_ms);
                if !long_enough || unknown.comparisons < STRANGER_COMPARISONS {
                    return;
                }
                match face.compared {
                    Compared::Ambiguous { .. } => FaceMatch::Ambiguous { score: *score },
                    _ => FaceMatch::Stranger { score: *score },
                }
            }
        };
        // A stranger's liveness matters only where a stranger may pass, alone or with a document.
        let rules = &settings.rules;
        let known = matches!(matched, FaceMatch::Person { .. });
        let asked = known || rules.stranger.open || rules.mode.takes_documents() || photo.is_some();
        let liveness = if settings.face.live_level == 0 || !asked {
            Liveness::NotAsked
        } else {
            let waited = captured.saturating_duration_since(compared_since);
            let patience = Duration::from_millis(self.gate.config.liveness_within_ms);
            let score = face.liveness.unwrap_or(0.0);
            match face.judgement {
                Judgement::Live => Liveness::Live(score),
                Judgement::Attack => Liveness::Attack(score),
                Judgement::NotYet if waited >= patience => Liveness::Attack(score),
                Judgement::NotYet => return,
            }
        };
        let named: Vec<PersonKey> = match &matched {
            FaceMatch::Person { person, also, .. } => {
                let others = also.iter().map(|known| known.person.key.clone());
                std::iter::once(person.key.clone()).chain(others).collect()
            }
            FaceMatch::Ambiguous { .. } | FaceMatch::Stranger { .. } => Vec::new(),
        };
        let attack = matches!(liveness, Liveness::Attack(_));
        let names_owner = named.iter().any(|key| owners.contains(key));
        let mut offered = Offered {
            track: Some(face.track),
            credential: Credential::Face(FaceCredential { matched, liveness }),
            captured,
            at: sighting.at,
            snap: Some(sighting.snap.clone()),
            photo: None,
            holder: None,
            joins_loose,
        };
        let looked = match (&photo, liveness) {
            // An attack ends everything, whatever it is like.
            (Some(photo), Liveness::Live(_) | Liveness::NotAsked) => {
                self.compare_with_photo(face.track, photo, captured)
            }
            _ => None,
        };
        match looked {
            Some(Looked::Same(found)) => offered.holder = Some(found),
            Some(Looked::Unlike) if !joins_loose => return,
            // It is another visitor's, or will be seen to be this one's in a moment.
            Some(Looked::Unlike | Looked::Other(_))
                if joins_loose && !had_verdict && !was_asked && self.passes_by_face(&named, &owners) =>
            {
                offered.joins_loose = false;
            }
            Some(Looked::Unlike) => return,
            Some(Looked::Other(_)) if joins_loose && self.another_may_be_holder(face.track, &photo) => return,
            Some(Looked::Other(found)) => offered.holder = Some(found),
            // A card, or a document without a photo: only its owner's face is worth another verdict.
            None if had_verdict && joins_loose && (attack || !names_owner) => return,
            // What is no face ends it for whoever was asked. Else, as below, it is its owner's document or another's.
            None if was_asked && !attack && !names_owner => return,
            // Of a photo that cannot be compared only its owner's face says anything.
            None if document_lies && joins_loose && photo.is_none() && !owners.is_empty() && !names_owner => {
                offered.joins_loose = false;
            }
            None => {}
        }
        self.weigh(offered);
    }

    /// Compares the face of a visitor with the photo of a document; `None` if that cannot be done.
    fn compare_with_photo(&mut self, track: u64, photo: &Arc<HolderPhoto>, at: Instant) -> Option<Looked> {
        let (threshold, patience) = (self.photo_threshold(), self.patience());
        let session = self.visitors.get_mut(&track)?;
        let face = session.faces[0].as_ref()?;
        Tries::look(&mut session.tries, photo, face, &self.gate.calibration, at)?;
        session.tries.as_ref().map(|tries| tries.outcome(threshold, patience, at))
    }

    /// The score from which a face is that of a document's photo.
    fn photo_threshold(&self) -> f32 {
        f32::from(self.gate.settings.load().documents.photo_threshold)
    }

    /// How long a face is compared before it is nobody's.
    fn patience(&self) -> Duration {
        Duration::from_millis(self.gate.config.stranger_after_ms)
    }

    /// Whether somebody whose face names `named` needs no document, and the one on the reader (of `owners`) is not
    /// theirs.
    fn passes_by_face(&self, named: &[PersonKey], owners: &[PersonKey]) -> bool {
        let by_face = self.gate.settings.load().rules.mode == PassMode::FaceOrDocument;
        by_face && !named.is_empty() && !named.iter().any(|key| owners.contains(key))
    }

    /// Whether somebody else is in view who has not been compared with a photo often enough.
    fn another_may_be_holder(&self, track: u64, photo: &Option<Arc<HolderPhoto>>) -> bool {
        let Some(photo) = photo else { return false };
        let (threshold, patience, now) = (self.photo_threshold(), self.patience(), Instant::now());
        self.visitors.iter().any(|(other, session)| {
            let tries = session.tries.as_ref().filter(|tries| tries.are_about(photo));
            let done = tries
                .is_some_and(|tries| matches!(tries.outcome(threshold, patience, now), Looked::Other(_)));
            *other != track && session.is_in_view(now) && session.faces[0].is_some() && !done
        })
    }

    /// What was presented without a face is somebody's, or nobody's any more. Those who had their verdict before are
    /// no longer looked at for it.
    fn take_loose(&mut self) -> Option<Loose> {
        let loose = self.loose.take()?;
        for (track, session) in &self.visitors {
            if session.state == State::Settled {
                self.gate.settled.add(*track);
            }
        }
        Some(loose)
    }

    /// Something was presented without a face.
    fn put_loose(&mut self, loose: Loose) {
        if loose.next == CredentialKind::Face {
            for (track, session) in &mut self.visitors {
                match &mut session.state {
                    State::Settled => self.gate.settled.look_again(*track),
                    // Whoever was asked may have laid it down: they are not late while it is compared with them.
                    State::Awaiting(CredentialKind::Document, until) if loose.shown.has_document() => {
                        *until = (*until).max(loose.until);
                    }
                    _ => {}
                }
            }
        }
        self.loose = Some(loose);
    }

    /// Weighs a credential together with what the same visitor presented before.
    fn weigh(&mut self, offered: Offered) {
        let Offered { track, credential, captured, at, snap, photo, holder, joins_loose } = offered;
        let kind = credential.kind();
        let mut shown = match track.and_then(|track| self.visitors.get(&track)) {
            _ if joins_loose => self.loose.as_ref().map(|loose| loose.shown.clone()).unwrap_or_default(),
            Some(session) => session.shown.clone(),
            None => Shown::default(),
        };
        shown.credentials.push(credential);
        shown.photo = photo.or(shown.photo);
        shown.snap = snap.or(shown.snap);
        if holder.is_some() {
            for credential in &mut shown.credentials {
                if let Credential::Document(document) = credential {
                    document.holder = holder;
                }
            }
        }
        let presented = &shown.credentials;
        if known_as(presented).iter().any(|key| self.busy.contains(key)) {
            // A face is seen again in a moment; a document must be laid down again.
            if kind == CredentialKind::Document {
                announce::document_unread(&self.gate);
            }
            return;
        }
        let moment = self.gate.moment();
        let verdict = weigh(presented, &self.gate.rules(), &moment, |key| self.last_passage(key));
        let patience = Duration::from_secs(self.gate.config.session_timeout_s);
        match verdict {
            Verdict::Await { person, next } => {
                let until = Instant::now() + patience;
                let taken = presented.last().map(Credential::kind);
                match track.and_then(|track| self.visitors.get_mut(&track)) {
                    // What it was asked for before, it is still asked for: the same again says nothing.
                    Some(session) if matches!(session.state, State::Awaiting(kind, _) if kind == next) => {
                        return;
                    }
                    Some(session) => {
                        session.shown = shown;
                        session.state = State::Awaiting(next, until);
                        if joins_loose {
                            self.take_loose();
                        }
                    }
                    None => self.put_loose(Loose { until, shown, next }),
                }
                announce::taken(&self.gate, taken, Some(next));
                self.gate.events.send(
                    "verdict",
                    json!({ "verdict": "await", "next": format!("{next:?}").to_lowercase(), "track": track,
                            "name": person.map(|person| person.name.clone()) }),
                );
            }
            verdict => {
                if joins_loose {
                    self.take_loose();
                }
                if let (Verdict::Pass { .. }, Some(track)) = (&verdict, track) {
                    self.forget_former(track, presented, shown.photo.as_ref());
                }
                // A face alone has its verdict at once, with a sentence.
                let alone = presented.len() == 1;
                let taken = presented.last().map(Credential::kind);
                announce::taken(
                    &self.gate,
                    taken.filter(|kind| !alone || *kind != CredentialKind::Face),
                    None,
                );
                self.close(track, shown, verdict, captured, at, false);
            }
        }
    }

    /// Who passes as `track` may have been asked for their document as another, before they turned to the reader: that one
    /// is not late.
    fn forget_former(&mut self, track: u64, presented: &[Credential], photo: Option<&Arc<HolderPhoto>>) {
        let (now, threshold, names) = (Instant::now(), self.photo_threshold(), known_as(presented));
        let former = |other: u64, session: &Session| {
            let named = known_as(&session.shown.credentials).iter().any(|key| names.contains(key));
            let alike = || {
                let tries = photo.and_then(|photo| self.seen_before(other, photo, now));
                tries.is_some_and(|tries| tries.best() >= threshold)
            };
            other != track
                && session.is_asked_for_document()
                && !session.is_in_view(now)
                && (named || alike())
        };
        let former: Vec<u64> = self
            .visitors
            .iter()
            .filter(|(other, session)| former(**other, session))
            .map(|(other, _)| *other)
            .collect();
        for other in former {
            self.visitors.remove(&other);
        }
    }

    fn last_passage(&self, key: &PersonKey) -> Option<LastPassage> {
        if let Some((at, instant)) = self.passages.get(key) {
            return Some(LastPassage { at: *at, elapsed: Some(instant.elapsed()) });
        }
        let stored = self.gate.store.last_passage(key).unwrap_or_else(|error| {
            tracing::error!(%error, "the last passage of a person could not be read");
            None
        });
        stored.map(|at| LastPassage { at, elapsed: None })
    }

    /// Carries out a verdict beside the task. `superseded` is as for [`Sessions::time_out`].
    fn close(
        &mut self,
        track: Option<u64>,
        shown: Shown,
        verdict: Verdict,
        captured: Instant,
        at: Timestamp,
        superseded: bool,
    ) {
        let Shown { credentials: presented, photo, snap } = shown;
        let result = verdict.qyzn_result();
        let (person, reason, opens) = match verdict {
            Verdict::Pass { person, reason, opens } => (person, reason, Some(opens)),
            Verdict::Refuse { person, reason } => (person, reason, None),
            Verdict::Await { .. } => return,
        };
        if let Some(session) = track.and_then(|track| self.visitors.get_mut(&track)) {
            session.shown = Shown::default();
            session.tries = None;
            session.agreed = None;
            session.unknown = None;
            session.compared = None;
            let interval = self.gate.settings.load().rules.min_interval;
            session.state = match reason {
                // Who it is may become clear yet. A picture of somebody does not come alive.
                Reason::Stranger | Reason::Ambiguous => {
                    session.doubted = true;
                    State::Unknown
                }
                Reason::TooSoon => State::Paused(captured + interval),
                _ => State::Closing,
            };
            if let (State::Closing, Some(track)) = (session.state, track) {
                self.gate.settled.add(track);
            }
        }
        if !record::is_announced(reason, person.as_deref(), &self.gate.settings.load()) {
            if let Some(session) = track.and_then(|track| self.visitors.get_mut(&track)) {
                session.state = State::Unknown;
            }
            return;
        }
        let names = person.as_ref().map(|person| record::names(person, &presented)).unwrap_or_default();
        let photo = photo.map(|photo| Arc::clone(&photo.jpeg));
        let happened = Happened {
            at,
            captured,
            presented,
            photo,
            person,
            reason,
            result,
            opens,
            track,
            names,
            superseded,
        };
        let people = happened.keys();
        for key in &people {
            self.busy.insert(key.clone());
            if opens == Some(Opens::Gate) {
                self.passages.insert(key.clone(), (self.gate.clock.now(), Instant::now()));
            }
        }
        let gate = Arc::clone(&self.gate);
        self.finishing.spawn(async move {
            let carried_out =
                AssertUnwindSafe(carry_out(Arc::clone(&gate), happened, snap)).catch_unwind().await;
            carried_out.unwrap_or_else(|_| {
                gate.failed("verdict");
                Finished { track, people, ..Finished::default() }
            })
        });
    }

    fn finish(&mut self, finished: Finished) {
        let undecided = finished.record.as_ref().is_some_and(|stored| stored.asks.is_some());
        for key in &finished.people {
            if !undecided {
                self.busy.remove(key);
            }
            if finished.kept_out {
                self.passages.remove(key);
            }
        }
        if let Some(track) = finished.track
            && let Some(session) = self.visitors.get_mut(&track)
            && session.state == State::Closing
        {
            session.state = State::Settled;
            // Meanwhile something was laid on a reader.
            if self.loose.is_some() {
                self.gate.settled.look_again(track);
            }
        }
        if let Some(Stored { record, opened, person, asks }) = finished.record {
            let now = Instant::now();
            let until = now + Duration::from_secs(self.gate.config.session_timeout_s);
            let patience = Duration::from_secs(self.gate.config.platform_timeout_s);
            let asks = asks.map(|without| (now + patience, without));
            let people = finished.people;
            let answerable = Answerable { until, opened, person, people, undecided, asks };
            self.answerable.insert(record, answerable);
            // Only now, for the platform is told by this and may answer at once.
            self.gate.events.send("record", json!({ "id": record, "state": "stored" }));
            if let Some((_, open)) = self.early.remove(&record) {
                self.answer(record, open);
            }
        }
        if let Some(qr) = finished.qr {
            self.ask_platform(qr);
        }
        match (finished.tried_again, finished.unsaved) {
            (true, None) => {
                (self.saving, self.save_again) = (false, Instant::now());
                if self.unsaved.is_empty() {
                    self.gate.events.send("store", json!({ "state": "ok" }));
                }
            }
            (true, Some(record)) => {
                (self.saving, self.save_again) = (false, Instant::now() + SAVE_AGAIN);
                // The oldest of all, unless so many have come meanwhile that it had to go.
                if self.unsaved.len() < UNSAVED {
                    self.unsaved.push_front(record);
                }
            }
            (false, Some(record)) => self.keep(record),
            (false, None) => {}
        }
    }

    /// Keeps a record that the store refused, behind the others.
    fn keep(&mut self, mut record: NewRecord) {
        if self.unsaved.len() == UNSAVED {
            self.unsaved.pop_front();
            tracing::error!("the store refuses records and the memory for them is full: the oldest is lost");
        }
        let size = |record: &NewRecord| record.pictures.iter().map(|(_, jpeg)| jpeg.len()).sum::<usize>();
        if self.unsaved.iter().map(size).sum::<usize>() + size(&record) > UNSAVED_BYTES {
            // What happened is worth more than what it looked like.
            record.pictures.clear();
        }
        self.unsaved.push_back(record);
        self.gate.events.send("store", json!({ "state": "refuses records", "waiting": self.unsaved.len() }));
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Answer { record, open } => self.answer(record, open),
            Command::PlatformLost => {
                for answerable in self.answerable.values_mut() {
                    if let Some((due, _)) = &mut answerable.asks {
                        *due = Instant::now();
                    }
                }
                self.go_without_answers(Instant::now());
            }
            Command::Card { number, at } => {
                self.gate.machine.activity.visitor();
                self.card(number, at);
            }
            Command::Document { document, photo, at } => self.document(*document, photo, at),
            Command::Qr { content, at } => self.qr(content, at),
            // Whoever asked may have gone.
            Command::Answers { reply } => drop(reply.send(())),
        }
    }

    /// Settles the visitors whose record the platform has not taken in time.
    fn go_without_answers(&mut self, now: Instant) {
        let late: Vec<_> = self
            .answerable
            .iter_mut()
            .filter_map(|(record, answerable)| {
                let (_, without) = answerable.asks.take_if(|(due, _)| *due <= now)?;
                Some((*record, without))
            })
            .collect();
        for (record, without) in late {
            let opens = without == WithoutAnswer::Open;
            tracing::warn!(
                record = record.0,
                opens,
                "the platform did not answer a visitor's record in time"
            );
            if opens {
                self.answer(record, Some(true));
            } else {
                let sentence = text::no_answer(self.gate.language);
                announce::tell(&self.gate, sentence, sentence);
            }
        }
    }

    fn answer(&mut self, record: RecordId, open: Option<bool>) {
        let Some(answerable) = self.answerable.get_mut(&record) else {
            // The platform was faster than the door, or it is very late: which, the next moments show.
            if self.early.len() == EARLY_ANSWERS
                && let Some(oldest) =
                    self.early.iter().min_by_key(|(_, (at, _))| *at).map(|(record, _)| *record)
            {
                self.early.remove(&oldest);
            }
            self.early.insert(record, (Instant::now(), open));
            return;
        };
        answerable.asks = None;
        let Some(open) = open else { return };
        // Whoever is let in stays busy until that is in their record.
        let undecided = std::mem::take(&mut answerable.undecided);
        let people = if undecided { answerable.people.clone() } else { Vec::new() };
        if !open {
            self.busy.retain(|key| !people.contains(key));
            self.gate.outputs.close(record);
            self.answerable.remove(&record);
            return;
        }
        if std::mem::replace(&mut answerable.opened, true) {
            return;
        }
        let person = answerable.person.clone();
        for key in &answerable.people {
            self.passages.insert(key.clone(), (self.gate.clock.now(), Instant::now()));
        }
        let gate = Arc::clone(&self.gate);
        self.finishing.spawn(async move {
            if let Err(error) = open_for(&gate, Some(record), person.as_deref()).await {
                tracing::error!(%error, "the platform's order to open could not be carried out");
            }
            Finished { people, ..Finished::default() }
        });
    }

    fn time_passes(&mut self) {
        let now = Instant::now();
        self.go_without_answers(now);
        let busy = &mut self.busy;
        self.answerable.retain(|_, answerable| {
            let kept = answerable.until > now || answerable.asks.is_some();
            if !kept && answerable.undecided {
                busy.retain(|key| !answerable.people.contains(key));
            }
            kept
        });
        let session = Duration::from_secs(self.gate.config.session_timeout_s);
        self.early.retain(|_, (at, _)| now < *at + session);
        let late: Vec<u64> = self
            .visitors
            .iter()
            .filter(|(_, session)| matches!(session.state, State::Awaiting(_, until) if until <= now))
            .map(|(track, _)| *track)
            .collect();
        for track in late {
            // Whoever stays in view is not asked again: the session ends with the track.
            let shown = self
                .visitors
                .get_mut(&track)
                .map(|session| std::mem::take(&mut session.shown))
                .unwrap_or_default();
            self.time_out(Some(track), shown, false);
        }
        if self.loose.as_ref().is_some_and(|loose| loose.until <= now)
            && let Some(Loose { shown, .. }) = self.take_loose()
        {
            self.time_out(None, shown, false);
        }
        // The end of a track may be in a look that was dropped.
        self.visitors.retain(|_, session| {
            matches!(session.state, State::Awaiting(..) | State::Closing) || now < session.seen + FORGOTTEN
        });
        // What is older than any interval in force says nothing any more.
        let interval = self.gate.settings.load().rules.min_interval;
        self.passages.retain(|_, (_, instant)| instant.elapsed() <= interval);
        if !self.saving
            && now >= self.save_again
            && let Some(record) = self.unsaved.pop_front()
        {
            self.saving = true;
            let gate = Arc::clone(&self.gate);
            self.finishing.spawn(async move {
                match gate.store.append_record(record.clone()).await {
                    Ok(id) => {
                        gate.events.send("record", json!({ "id": id, "state": "stored" }));
                        Finished { tried_again: true, ..Finished::default() }
                    }
                    Err(_) => Finished { tried_again: true, unsaved: Some(record), ..Finished::default() },
                }
            });
        }
    }

    /// What was presented has not been completed. `superseded`: something else lies there now, about which the visitor
    /// before the gate is spoken to.
    fn time_out(&mut self, track: Option<u64>, shown: Shown, superseded: bool) {
        let presented = &shown.credentials;
        let person = subject(presented).cloned();
        let nobody = presented.iter().all(|credential| {
            matches!(credential, Credential::Face(FaceCredential { matched: FaceMatch::Stranger { .. }, .. }))
        });
        // A stranger who was offered to show a document and did not is a stranger, not a late visitor.
        let reason = if nobody { Reason::Stranger } else { Reason::Timeout };
        let verdict = Verdict::Refuse { person, reason };
        self.close(track, shown, verdict, Instant::now(), self.gate.clock.now(), superseded);
    }

    /// Hands every record in memory to the store, at a stop.
    async fn save(&mut self, last: bool) {
        while let Some(record) = self.unsaved.pop_front() {
            if let Err(error) = self.gate.store.append_record(record).await {
                tracing::error!(%error, last, "a record could not be stored and is lost");
            }
        }
    }
}
