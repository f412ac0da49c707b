//! Cards, documents and QR codes in the sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::announce;
use super::{HolderPhoto, Looked, Offered, Sessions};
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
        let track = self.asked_for(CredentialKind::Card, person.iter().chain(&also), None);
        self.present(track, Credential::Card { number, person, also }, at, None, None);
    }

    /// A document, likewise.
    pub(super) fn document(&mut self, read: Document, photo: Option<Arc<HolderPhoto>>, at: Instant) {
        let found = self.gate.store.people_by_id_number(&read.number);
        let Some((person, also)) = owners(found, "a document") else { return };
        let track = self.asked_for(CredentialKind::Document, person.iter().chain(&also), photo.as_deref());
        let has_photo = photo.as_ref().is_some_and(|photo| photo.template.is_some());
        // A face that came before the document does not count where it must come after it.
        let counts = self.gate.settings.load().rules.document_order != CredentialOrder::FaceLast;
        let holder = match (track.filter(|_| counts), &photo) {
            (Some(track), Some(photo)) => match self.compare_with_photo(track, photo, at) {
                Some(Looked::Same(found)) => Some(found),
                // The next frames may show them alike.
                Some(Looked::Unlike | Looked::Other(_)) | None => None,
            },
            _ => None,
        };
        let credential = Credential::Document(DocumentCredential {
            printed: Some(printed(&read)),
            number: read.number,
            name: read.name,
            expires: read.expires,
            has_photo,
            holder: None,
            person,
            also,
        });
        self.present(track, credential, at, photo, holder);
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
        let joins_loose = true;
        self.weigh(Offered { track, credential, captured, at, snap: None, photo, holder, joins_loose });
    }

    /// Among those who were asked for a credential of `kind`: its owner, else whose face is most like the photo of the
    /// document, else who was asked last is the one at the reader.
    fn asked_for<'a>(
        &self,
        kind: CredentialKind,
        owners: impl Iterator<Item = &'a Arc<Person>> + Clone,
        photo: Option<&HolderPhoto>,
    ) -> Option<u64> {
        let photo = photo.and_then(|photo| photo.template.as_ref());
        let asked = self.visitors.iter().filter_map(|(track, session)| match session.state {
            super::State::Awaiting(awaited, until) if awaited == kind => {
                let asked = known_as(&session.shown.credentials);
                let is_owner = owners.clone().any(|owner| asked.contains(&owner.key));
                let alike = photo.zip(session.face.as_ref()).map_or(-1.0, |(photo, face)| photo.cosine(face));
                Some((is_owner, alike, until, *track))
            }
            _ => None,
        });
        let nearer = |one: &(bool, f32, Instant, u64), other: &(bool, f32, Instant, u64)| {
            one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)).then((one.2, one.3).cmp(&(other.2, other.3)))
        };
        asked.max_by(nearer).map(|(.., track)| track)
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

/// One person, and the others who have the same number.
type Owners = (Option<Arc<Person>>, Vec<Arc<Person>>);

/// Whose a number is: one person, and the others who have it. A number that the black list names is the black list's,
/// whoever else has it. `None` if it could not be looked up, which is logged.
fn owners(found: Result<Vec<Person>>, what: &str) -> Option<Owners> {
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
