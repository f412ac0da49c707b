//! Cards, documents and QR codes in the sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::announce;
use super::{HolderPhoto, Looked, Offered, Sessions, State, Tries};
use crate::access::{
    Credential, CredentialKind, CredentialOrder, DocumentCredential, HolderMatch, Person, PersonKind,
    known_as,
};
use crate::config::OnStoreFailure;
use crate::document::Document;
use crate::error::Result;
use crate::gate::Inner;
use crate::gate::passage::{Finished, QrCode, open_for};
use crate::gate::presented::printed;
use crate::text;

impl Sessions {
    /// A card: whose it is here, and who of those before the camera was asked for one.
    pub(super) fn card(&mut self, number: String, at: Instant) {
        let Some((person, also)) = owners(self.gate.store.people_by_card(&number), "a card") else { return };
        let track = self.asked_for_card(person.iter().chain(&also));
        self.present(track, Credential::Card { number, person, also }, at, None, None);
    }

    /// A document, likewise.
    pub(super) fn document(&mut self, read: Document, photo: Option<Arc<HolderPhoto>>, at: Instant) {
        let found = self.gate.store.people_by_id_number(&read.number);
        let Some(owners) = owners(found, "a document") else { return announce::document_unread(&self.gate) };
        let has_photo = photo.as_ref().is_some_and(|photo| photo.template.is_some());
        self.lift(&read.number);
        let credential = read_as(read, owners, has_photo);
        let track = self.at_the_reader(&credential, photo.as_ref());
        // A face that came before the document does not count where it must come after it.
        let counts = self.gate.settings.load().rules.document_order != CredentialOrder::FaceLast;
        let mut holder = None;
        if let (Some(track), Some(photo)) = (track.filter(|_| counts), &photo)
            && let Some(tries) = self.seen_before(track, photo, at)
        {
            if let Looked::Same(found) = tries.outcome(self.photo_threshold(), self.patience(), at) {
                holder = Some(found);
            }
            // If not, the next frames may show them alike.
            if let Some(session) = self.visitors.get_mut(&track) {
                session.tries = Some(tries);
            }
        }
        if track.is_none() {
            self.lift_loose(&credential.number);
        }
        self.present(track, Credential::Document(credential), at, photo, holder);
        // They may have gone meanwhile.
        if let Some(track) = track {
            self.leave_document(track);
        }
    }

    /// The same document, laid down again while its visitor's face is waited for, begins anew: it is one document, and
    /// opens once.
    fn lift(&mut self, number: &str) {
        for session in self.visitors.values_mut() {
            if let State::Awaiting(CredentialKind::Face, until) = session.state
                && session.shown.holds(number)
            {
                session.shown.credentials.retain(|one| one.kind() != CredentialKind::Document);
                (session.shown.photo, session.tries) = (None, None);
                session.state = State::Awaiting(CredentialKind::Document, until);
            }
        }
    }

    /// A reader holds one document: another than `number` that nobody's face has answered for is there no more, and the
    /// same one, laid down again, begins anew.
    fn lift_loose(&mut self, number: &str) {
        let Some(loose) = self.loose.as_ref().filter(|loose| loose.shown.has_document()) else { return };
        let same = loose.shown.holds(number);
        if let Some(loose) = self.take_loose().filter(|_| !same) {
            self.time_out(None, loose.shown, true);
        }
    }

    fn present(
        &mut self,
        track: Option<u64>,
        credential: Credential,
        captured: Instant,
        photo: Option<Arc<HolderPhoto>>,
        holder: Option<HolderMatch>,
    ) {
        let at = self.gate.clock.now();
        // What one visitor presents says nothing of what lies there of another.
        let joins_loose = track.is_none();
        self.weigh(Offered { track, credential, captured, at, snap: None, photo, holder, joins_loose });
    }

    /// Among those who were asked for a card: its owner, else who was asked last is the one at the reader.
    fn asked_for_card<'a>(&self, owners: impl Iterator<Item = &'a Arc<Person>> + Clone) -> Option<u64> {
        let asked = self.visitors.iter().filter_map(|(track, session)| match session.state {
            State::Awaiting(CredentialKind::Card, until) => {
                let asked = known_as(&session.shown.credentials);
                let is_owner = owners.clone().any(|owner| asked.contains(&owner.key));
                Some((is_owner, until, *track))
            }
            _ => None,
        });
        asked.max().map(|(.., track)| track)
    }

    /// Whose a document is among those who were asked for one: its owner, else whose face is most like its photo. `None` if
    /// it may be that of somebody who was not asked yet: then it is whose face turns out to be.
    ///
    /// Whoever is out of view can be recognised by what was seen of them, and by nothing that comes: their track may have
    /// ended. Where the face must come first, it is of somebody who was asked, or out of order; where it must come last, what
    /// was seen before does not count.
    fn at_the_reader(&self, document: &DocumentCredential, photo: Option<&Arc<HolderPhoto>>) -> Option<u64> {
        let now = Instant::now();
        let threshold = self.photo_threshold();
        let order = self.gate.settings.load().rules.document_order;
        let (face_first, face_last) =
            (order == CredentialOrder::FaceFirst, order == CredentialOrder::FaceLast);
        let owners = || document.person.iter().chain(&document.also);
        let asked = self.visitors.iter().filter_map(|(track, session)| match session.state {
            State::Awaiting(CredentialKind::Document, until) => {
                let asked = known_as(&session.shown.credentials);
                let is_owner = owners().any(|owner| asked.contains(&owner.key));
                let tries = photo.and_then(|photo| self.seen_before(*track, photo, now));
                let alike = tries.as_ref().map_or(-1.0, Tries::best);
                let proven = tries.as_ref().is_some_and(|tries| {
                    matches!(tries.outcome(threshold, self.patience(), now), Looked::Same(_))
                });
                let may_be = if document.has_photo {
                    is_owner || alike >= threshold
                } else {
                    is_owner || document.person.is_none()
                };
                let is_theirs = match session.is_in_view(now) {
                    true => may_be || face_first,
                    false => {
                        let may_do = proven || (face_first && may_be) || (is_owner && !document.has_photo);
                        may_do && !face_last
                    }
                };
                is_theirs.then_some((is_owner, alike, until, *track))
            }
            _ => None,
        });
        let nearer = |one: &(bool, f32, Instant, u64), other: &(bool, f32, Instant, u64)| {
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).then((one.2, one.3).cmp(&(other.2, other.3)))
        };
        asked.max_by(nearer).map(|(.., track)| track)
    }

    /// What was seen of a visitor's face before, beside the photo of a document; `None` if there is nothing to compare.
    pub(super) fn seen_before(&self, track: u64, photo: &Arc<HolderPhoto>, at: Instant) -> Option<Tries> {
        let mut tries = None;
        for face in self.visitors.get(&track)?.faces.iter().flatten() {
            Tries::look(&mut tries, photo, face, &self.gate.calibration, at)?;
        }
        tries
    }

    /// A QR code: the rules say whether the platform is asked at all.
    pub(super) fn qr(&mut self, content: String, at: Instant) {
        self.present(None, Credential::Qr { content }, at, None, None);
    }

    /// Asks the platform beside the task, and does what it says.
    pub(super) fn ask_platform(&mut self, qr: QrCode) {
        let gate = Arc::clone(&self.gate);
        self.finishing.spawn(async move {
            ask(&gate, qr).await;
            Finished::default()
        });
    }
}

/// A document as it is weighed, of whom it is here.
pub(in crate::gate) fn read_as(
    read: Document,
    (person, also): Owners,
    has_photo: bool,
) -> DocumentCredential {
    DocumentCredential {
        printed: Some(printed(&read)),
        number: read.number,
        name: read.name,
        valid_from: read.valid_from,
        expires: read.expires,
        has_photo,
        holder: None,
        person,
        also,
    }
}

/// One person, and the others who have the same number.
type Owners = (Option<Arc<Person>>, Vec<Arc<Person>>);

/// Whose a number is: one person, and the others who have it. A number that the black list names is the black list's,
/// whoever else has it. `None` if it could not be looked up, which is logged.
pub(in crate::gate) fn owners(found: Result<Vec<Person>>, what: &str) -> Option<Owners> {
    match found {
        Ok(mut people) => {
            people.sort_by_key(|person| person.kind != PersonKind::Black);
            let mut people = people.into_iter().map(Arc::new);
            Some((people.next(), people.collect()))
        }
        Err(error) => {
            tracing::error!(%error, "{what} could not be looked up");
            None
        }
    }
}

/// Asks the platform about a QR code and opens if it says so. The record of it is on the disk already, or the
/// store has refused it.
async fn ask(gate: &Inner, qr: QrCode) {
    let QrCode { content, record, person } = qr;
    let within = Duration::from_secs(gate.config.session_timeout_s);
    let sentence = match gate.questions.ask(content, within).await {
        Ok(true) if record.is_none() && gate.config.on_store_failure == OnStoreFailure::Refuse => {
            text::door_failed(gate.language)
        }
        Ok(true) => match open_for(gate, record, person.as_deref()).await {
            Ok(()) => return announce::let_in(gate),
            Err(error) => {
                tracing::error!(%error, "the door could not be opened for a QR code");
                text::door_failed(gate.language)
            }
        },
        Ok(false) => text::platform_refused(gate.language),
        Err(error) => {
            tracing::warn!(%error, "a QR code was not weighed: the door stays shut");
            text::platform_unreachable(gate.language)
        }
    };
    announce::tell(gate, sentence, sentence);
}
