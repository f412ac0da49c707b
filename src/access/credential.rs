//! What a visitor presented.

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::person::{Origin, Person};

/// The kinds of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A face before the camera.
    Face,
    /// An IC card.
    Card,
    /// An identity document.
    Document,
    /// A QR code, which only the platform can weigh.
    Qr,
}

/// One credential of a session, with the person it belongs to already looked up. Its `Debug` is fit for a log:
/// identity numbers and QR codes are left out.
#[derive(Clone)]
pub enum Credential {
    /// A face.
    Face(FaceCredential),
    /// An IC card.
    Card {
        /// Its number as read.
        number: String,
        /// Who it belongs to here; of several, one.
        person: Option<Arc<Person>>,
        /// The others: people of other platforms with the same card.
        also: Vec<Arc<Person>>,
    },
    /// An identity document.
    Document(DocumentCredential),
    /// A QR code.
    Qr {
        /// What it says.
        content: String,
    },
}

impl Credential {
    /// The kind.
    pub fn kind(&self) -> CredentialKind {
        match self {
            Credential::Face(_) => CredentialKind::Face,
            Credential::Card { .. } => CredentialKind::Card,
            Credential::Document(_) => CredentialKind::Document,
            Credential::Qr { .. } => CredentialKind::Qr,
        }
    }

    /// Everybody whom it names: the one of [`Credential::person`] first, then the same visitor as other platforms
    /// know them.
    pub fn people(&self) -> impl Iterator<Item = &Arc<Person>> {
        let (faces, cards): (&[Known], &[Arc<Person>]) = match self {
            Credential::Face(FaceCredential { matched: FaceMatch::Person { also, .. }, .. }) => (also, &[]),
            Credential::Card { also, .. } => (&[], also),
            Credential::Document(document) => (&[], &document.also),
            Credential::Face(_) | Credential::Qr { .. } => (&[], &[]),
        };
        self.person().into_iter().chain(faces.iter().map(|known| &known.person)).chain(cards)
    }

    /// The same credential as the platform `origin` would read it: naming the person whom that platform knows,
    /// where there is one, and nobody besides.
    #[must_use]
    pub fn as_known_to(&self, origin: Origin) -> Self {
        let mut read = self.clone();
        match &mut read {
            Credential::Face(FaceCredential {
                matched: FaceMatch::Person { person, face_id, also, .. },
                ..
            }) => {
                let theirs = also.drain(..).find(|known| known.person.key.origin == origin);
                if let Some(known) = theirs.filter(|_| person.key.origin != origin) {
                    (*person, *face_id) = (known.person, known.face_id);
                }
            }
            Credential::Card { person, also, .. }
            | Credential::Document(DocumentCredential { person, also, .. }) => {
                let theirs = also.drain(..).find(|known| known.key.origin == origin);
                if let Some(known) = theirs
                    && person.as_ref().is_none_or(|person| person.key.origin != origin)
                {
                    *person = Some(known);
                }
            }
            Credential::Face(_) | Credential::Qr { .. } => {}
        }
        read
    }

    /// The person whom it names, if it names one.
    pub fn person(&self) -> Option<&Arc<Person>> {
        match self {
            Credential::Face(FaceCredential { matched: FaceMatch::Person { person, .. }, .. }) => {
                Some(person)
            }
            Credential::Face(_) | Credential::Qr { .. } => None,
            Credential::Card { person, .. } => person.as_ref(),
            Credential::Document(document) => document.person.as_ref(),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Face(face) => face.fmt(f),
            Credential::Card { number, person, also } => f
                .debug_struct("Card")
                .field("number", number)
                .field("person", person)
                .field("also", also)
                .finish(),
            Credential::Document(document) => document.fmt(f),
            Credential::Qr { content } => f.debug_struct("Qr").field("bytes", &content.len()).finish(),
        }
    }
}

/// A face that the gallery was asked about.
#[derive(Debug, Clone)]
pub struct FaceCredential {
    /// What the gallery answered.
    pub matched: FaceMatch,
    /// Whether it is a living face, as far as the gate was told to ask.
    pub liveness: Liveness,
}

/// What the gallery answered. The thresholds have been applied: a person here is a match.
#[derive(Debug, Clone)]
pub enum FaceMatch {
    /// One person, clearly.
    Person {
        /// Who.
        person: Arc<Person>,
        /// Which of their pictures matched best (QYZN `faceId`).
        face_id: String,
        /// 0 to 100 on the calibrated scale of the protocols.
        score: f32,
        /// The same visitor as other platforms know them.
        also: Vec<Known>,
    },
    /// Two people match so nearly alike that neither can be named.
    Ambiguous {
        /// Score of the better one.
        score: f32,
    },
    /// Nobody.
    Stranger {
        /// Score of the nearest, 0 where nobody is enrolled.
        score: f32,
    },
}

/// A visitor under the name that another platform has for them.
#[derive(Debug, Clone)]
pub struct Known {
    /// Who.
    pub person: Arc<Person>,
    /// Which of their pictures matched best (QYZN `faceId`).
    pub face_id: String,
}

/// The answer of presentation attack detection (ISO/IEC 30107) for a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Liveness {
    /// The gate does not ask (QYZN `LiveSwitch` 0).
    NotAsked,
    /// Judged live, with its score of 0 to 100.
    Live(f32),
    /// Judged an attack, with its score of 0 to 100.
    Attack(f32),
}

/// An identity document that was read. Its `Debug` leaves out what is printed on it.
#[derive(Clone)]
pub struct DocumentCredential {
    /// Its number, never logged in clear.
    pub number: String,
    /// Name of the holder.
    pub name: String,
    /// First day on which it is valid; `None` where it does not say.
    pub valid_from: Option<Date>,
    /// Last day on which it is valid; `None` where it says "long term" or nothing.
    pub expires: Option<Date>,
    /// What else is printed on it, as far as the reader tells.
    pub printed: Option<PrintedFacts>,
    /// Whether a face can be compared with its photo: there is one, with a usable face in it.
    pub has_photo: bool,
    /// Score 0 to 100 of the living face against the document's photo (1:1) and whether it reaches the
    /// threshold for such photos; `None` until both are there, and while further frames may show them alike.
    pub holder: Option<HolderMatch>,
    /// Who has this number here; of several, one.
    pub person: Option<Arc<Person>>,
    /// The others: people of other platforms with the same number.
    pub also: Vec<Arc<Person>>,
}

impl fmt::Debug for DocumentCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DocumentCredential")
            .field("expires", &self.expires)
            .field("has_photo", &self.has_photo)
            .field("holder", &self.holder)
            .field("person", &self.person)
            .finish_non_exhaustive()
    }
}

/// What is printed on an identity document, in its own words. Empty texts stand for what this kind of document
/// does not have or the reader does not tell. Its `Debug` says nothing of it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrintedFacts {
    /// Gender.
    pub gender: String,
    /// Ethnic group.
    pub ethnic: String,
    /// Day of birth.
    pub birthday: String,
    /// Address.
    pub address: String,
    /// Last day on which it is valid, or words such as `长期`.
    pub expires: String,
}

impl fmt::Debug for PrintedFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrintedFacts").finish_non_exhaustive()
    }
}

/// A living face compared with the photo of a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HolderMatch {
    /// 0 to 100 on the calibrated scale.
    pub score: f32,
    /// Whether the threshold for document photos is reached.
    pub same: bool,
}
