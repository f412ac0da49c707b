//! The decision.
//!
//! The rules are asked in this order, and the first that refuses is the reason:
//! 1. A face that is judged an attack ends everything ([`Reason::NotLive`]), in every mode; nobody is named,
//!    because a picture of somebody is not somebody.
//! 2. The black list, then forbidden identity numbers, of every person named and every document shown.
//! 3. Two credentials of different people are a [`Reason::Mismatch`] in every mode, also in those that would
//!    take one of them alone. So there is one person whose rules and mode count, and a second credential can
//!    never lend somebody the rights of another.
//! 4. Their validity, their schedule and the gate's, their passages left, the interval since the last one.
//!    This comes before a second credential is waited for, which could change nothing.
//! 5. The pass mode: the person's own, else the gate's. It refuses, waits or lets pass.
//! 6. The gate's schedule for those whom it does not know, and who opens.
//!
//! Cards and documents are presented, faces are merely seen. Hence in the orders (`CardVerify`,
//! `IdCardVerify`) a card before the face is a mistake of the visitor ([`Reason::WrongOrder`]), while a face
//! seen before the card does not count: the session waits for a face after it.
//!
//! A document whose photo cannot be compared ([`Reason::NoHolderPhoto`]) does only for somebody who is enrolled and
//! whose face names the same person: what enrolled them is then the photo.
//!
//! A QR code is weighed by the platform alone (QYZN 4.6.3), in every mode, for whoever is not refused in
//! steps 1 to 4.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::credential::{Credential, CredentialKind, DocumentCredential, FaceMatch, Liveness};
use super::mode::{CredentialOrder, PassMode};
use super::person::{Person, PersonKind};
use super::rules::{RemoteMode, Rules};
use super::verdict::{Opens, Reason, Verdict};
use crate::clock::Moment;

/// When a person passed last.
///
/// A wall clock may jump: set back by a year, it would lock everybody out who passed just before, and let
/// them pass twice if such times were ignored. So the monotonic clock is believed where it can tell; `at`
/// alone serves what was remembered across a restart, and then a passage that seems to lie further in the
/// future than the interval is long says only that the clock was set back, and hinders nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastPassage {
    /// By the gate's clock.
    pub at: Timestamp,
    /// Time since then by the monotonic clock; `None` where the gate was restarted in between.
    pub elapsed: Option<Duration>,
}

impl LastPassage {
    fn is_within(&self, interval: Duration, moment: &Moment) -> bool {
        let since = self.elapsed.unwrap_or_else(|| moment.utc.duration_since(self.at).unsigned_abs());
        since < interval
    }
}

/// The person whom the credentials name: the last one where they contradict each other (they are refused
/// then). The gate looks up their last passage before it asks [`decide`].
pub fn subject(presented: &[Credential]) -> Option<&Arc<Person>> {
    presented.iter().rev().find_map(Credential::person)
}

/// What the rules say of one visitor.
///
/// `presented` are the credentials of the session in the order in which they came, at least one. A face that
/// was compared with a document's photo must be among them too: its liveness counts. `last_passage` is that
/// of the [`subject`], where the gate remembers it.
pub fn decide(
    presented: &[Credential],
    rules: &Rules,
    moment: &Moment,
    last_passage: Option<LastPassage>,
) -> Verdict {
    let person = subject(presented);
    let named = || presented.iter().filter_map(Credential::person);
    if presented.iter().any(is_attack) {
        return refuse(None, Reason::NotLive);
    }
    if let Some(black) = named().find(|person| person.kind == PersonKind::Black) {
        return refuse(Some(black), Reason::BlackListed);
    }
    let prefixes = &rules.forbidden_id_prefixes;
    if let Some(person) =
        named().find(|person| person.id_number.as_deref().is_some_and(|n| banned(n, prefixes)))
    {
        return refuse(Some(person), Reason::ForbiddenIdNumber);
    }
    if documents(presented).any(|document| banned(&document.number, prefixes)) {
        return refuse(person, Reason::ForbiddenIdNumber);
    }
    if contradict(presented) {
        return mismatch(presented);
    }
    for person in named() {
        if let Some(reason) = barred(person, rules, moment) {
            return refuse(Some(person), reason);
        }
    }
    if person.is_some() && last_passage.is_some_and(|last| last.is_within(rules.min_interval, moment)) {
        return refuse(person, Reason::TooSoon);
    }

    let session = Session { presented, rules, person, today: moment.local().date() };
    let answer = session.answer(person.and_then(|person| person.mode).unwrap_or(rules.mode));
    let asks_platform = presented.iter().any(|one| one.kind() == CredentialKind::Qr);
    let (reason, opens) = match answer {
        Answer::Pass(reason) => (reason, opens(rules)),
        _ if asks_platform => (Reason::PlatformDecides, Opens::Platform),
        Answer::Await(_) if !gate_is_open(rules, moment) => return refuse(person, Reason::OutOfSchedule),
        Answer::Await(next) => return Verdict::Await { person: person.cloned(), next },
        Answer::Refuse(Reason::Mismatch) => return mismatch(presented),
        Answer::Refuse(reason) => return refuse(person, reason),
    };
    // Somebody enrolled was refused above; this is for those whom the gate does not know.
    if !gate_is_open(rules, moment) {
        return refuse(person, Reason::OutOfSchedule);
    }
    Verdict::Pass { person: person.cloned(), reason, opens }
}

fn refuse(person: Option<&Arc<Person>>, reason: Reason) -> Verdict {
    Verdict::Refuse { person: person.cloned(), reason }
}

/// Names whose face it is, if anybody's: the owner of the card or the document is not who stands there.
fn mismatch(presented: &[Credential]) -> Verdict {
    let mut faces = presented.iter().rev().filter(|one| one.kind() == CredentialKind::Face);
    refuse(faces.find_map(Credential::person), Reason::Mismatch)
}

fn is_attack(credential: &Credential) -> bool {
    matches!(credential, Credential::Face(face) if matches!(face.liveness, Liveness::Attack(_)))
}

fn documents(presented: &[Credential]) -> impl DoubleEndedIterator<Item = &DocumentCredential> {
    presented.iter().filter_map(|one| match one {
        Credential::Document(document) => Some(document),
        _ => None,
    })
}

/// An identity number as it is compared: its last letter comes in both cases, and people type blanks.
pub(crate) fn plain_number(number: &str) -> impl Iterator<Item = char> {
    number.chars().filter(|letter| !letter.is_whitespace()).map(|letter| letter.to_ascii_uppercase())
}

/// Whether `number` begins with one of the prefixes; a blank prefix, which would be everybody, is none.
fn banned(number: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| {
        let mut number = plain_number(number);
        let mut prefix = plain_number(prefix).peekable();
        prefix.peek().is_some() && prefix.all(|letter| number.next() == Some(letter))
    })
}

/// Whether two credentials cannot be one visitor's.
fn contradict(presented: &[Credential]) -> bool {
    let mut people = presented.iter().filter_map(Credential::person).map(|person| &person.key);
    let mut numbers = documents(presented).map(|document| &document.number);
    let first_person = people.next();
    let first_number = numbers.next();
    people.any(|key| Some(key) != first_person)
        || numbers
            .any(|number| first_number.is_some_and(|first| !plain_number(number).eq(plain_number(first))))
        || documents(presented).any(|document| document.holder.is_some_and(|holder| !holder.same))
}

fn gate_is_open(rules: &Rules, moment: &Moment) -> bool {
    rules.schedule.as_ref().is_none_or(|schedule| schedule.allows(moment.local()))
}

/// Why a person may not pass now, with whatever credential.
fn barred(person: &Person, rules: &Rules, moment: &Moment) -> Option<Reason> {
    if person.valid_from.is_some_and(|from| from.compare(moment).is_lt()) {
        return Some(Reason::NotYetValid);
    }
    if person.valid_until.is_some_and(|until| until.compare(moment).is_ge()) {
        return Some(Reason::Expired);
    }
    if !person.schedule.allows(moment.local()) || !gate_is_open(rules, moment) {
        return Some(Reason::OutOfSchedule);
    }
    if person.passes_left == Some(0) {
        return Some(Reason::UsedUp);
    }
    None
}

/// Who opens (QYZN 4.5.7).
fn opens(rules: &Rules) -> Opens {
    match rules.remote.mode {
        RemoteMode::Local => Opens::Gate,
        RemoteMode::RemoteWhenOnline if rules.remote.online => Opens::Platform,
        RemoteMode::RemoteWhenOnline => Opens::Gate,
        RemoteMode::Remote => Opens::Platform,
    }
}

/// What a pass mode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Pass(Reason),
    Refuse(Reason),
    Await(CredentialKind),
}

/// Credentials that name at most one person, who may pass if the mode is content.
struct Session<'a> {
    presented: &'a [Credential],
    rules: &'a Rules,
    person: Option<&'a Arc<Person>>,
    today: Date,
}

impl Session<'_> {
    fn answer(&self, mode: PassMode) -> Answer {
        match mode {
            PassMode::Face => self.face(),
            PassMode::FaceAndCard => self.face_and_card(),
            PassMode::Card => self.card(),
            PassMode::Document => self.document(false),
            PassMode::DocumentWhitelist => self.document(true),
            PassMode::FaceOrCard => self.face_or_card(),
            PassMode::FaceOrDocument => self.face_or_document(),
        }
    }

    fn has(&self, kind: CredentialKind) -> bool {
        self.presented.iter().any(|one| one.kind() == kind)
    }

    /// Whether a credential of this kind names the person.
    fn names(&self, kind: CredentialKind) -> bool {
        self.presented.iter().any(|one| one.kind() == kind && one.person().is_some())
    }

    fn is_ambiguous(&self) -> bool {
        self.presented.iter().any(
            |one| matches!(one, Credential::Face(face) if matches!(face.matched, FaceMatch::Ambiguous { .. })),
        )
    }

    /// Whether the person is one whom the gate knows: QYZN can enrol people of type 4, strangers, who pass
    /// as strangers do.
    fn is_enrolled(&self) -> bool {
        self.person.is_some_and(|person| person.kind != PersonKind::Stranger)
    }

    fn stranger(&self) -> Answer {
        if self.rules.stranger.identify && self.rules.stranger.open {
            Answer::Pass(Reason::StrangerAllowed)
        } else {
            Answer::Refuse(Reason::Stranger)
        }
    }

    /// A face alone.
    fn face(&self) -> Answer {
        if !self.has(CredentialKind::Face) {
            Answer::Refuse(Reason::WrongCredential)
        } else if self.names(CredentialKind::Face) {
            if self.is_enrolled() { Answer::Pass(Reason::Granted) } else { self.stranger() }
        } else if self.is_ambiguous() {
            Answer::Refuse(Reason::Ambiguous)
        } else if self.person.is_some() {
            // A stranger with somebody's card is not that somebody.
            Answer::Refuse(Reason::Mismatch)
        } else {
            self.stranger()
        }
    }

    /// A card alone.
    fn card(&self) -> Answer {
        if !self.has(CredentialKind::Card) {
            Answer::Refuse(Reason::WrongCredential)
        } else if !self.names(CredentialKind::Card) {
            Answer::Refuse(Reason::UnknownCard)
        } else if self.is_enrolled() {
            Answer::Pass(Reason::Granted)
        } else {
            Answer::Refuse(Reason::Stranger)
        }
    }

    fn face_or_card(&self) -> Answer {
        let (face, card) = (self.face(), self.card());
        for answer in [face, card] {
            if answer == Answer::Pass(Reason::Granted) {
                return answer;
            }
        }
        if let Answer::Pass(_) = face {
            return face;
        }
        // Neither will do: the visitor is told about what came last.
        let last = self.presented.iter().rev().map(Credential::kind);
        match last.into_iter().find(|kind| matches!(kind, CredentialKind::Face | CredentialKind::Card)) {
            Some(CredentialKind::Card) => card,
            _ => face,
        }
    }

    fn face_and_card(&self) -> Answer {
        let (face, card) = (self.names(CredentialKind::Face), self.names(CredentialKind::Card));
        if (face || card) && !self.is_enrolled() {
            return Answer::Refuse(Reason::Stranger);
        }
        let order = self.rules.card_order;
        match (face, card) {
            (true, true) => match self.order_kept(order, CredentialKind::Card, true) {
                true => Answer::Pass(Reason::Granted),
                false => out_of_order(order),
            },
            (true, false) if self.has(CredentialKind::Card) => Answer::Refuse(Reason::UnknownCard),
            (true, false) => Answer::Await(CredentialKind::Card),
            (false, true) if order == CredentialOrder::FaceFirst && !self.has(CredentialKind::Face) => {
                Answer::Refuse(Reason::WrongOrder)
            }
            // An unknown face before the card does not count where the face must come last.
            (false, true) if !self.order_kept(order, CredentialKind::Card, false) => out_of_order(order),
            (false, true) if self.is_ambiguous() => Answer::Refuse(Reason::Ambiguous),
            (false, true) => Answer::Refuse(Reason::Mismatch),
            (false, false) if self.has(CredentialKind::Card) => Answer::Refuse(Reason::UnknownCard),
            (false, false) => match self.face() {
                // Strangers have no card, so their face alone cannot do here.
                Answer::Pass(_) => Answer::Refuse(Reason::Stranger),
                refused => refused,
            },
        }
    }

    /// A document and its holder's face, who must be on the white list if `listed`.
    fn document(&self, listed: bool) -> Answer {
        let Some(document) = documents(self.presented).next_back() else {
            return match self.has(CredentialKind::Face) {
                // Known or not: the face is compared with the photo that comes.
                true => Answer::Await(CredentialKind::Document),
                false => Answer::Refuse(Reason::WrongCredential),
            };
        };
        if let Some(reason) = self.out_of_date(document) {
            return Answer::Refuse(reason);
        }
        if listed {
            match &document.person {
                None => return Answer::Refuse(Reason::UnknownDocument),
                Some(person) if person.kind != PersonKind::White => {
                    return Answer::Refuse(Reason::NotWhiteListed);
                }
                Some(_) => {}
            }
        }
        let any = |wanted: fn(&DocumentCredential) -> bool| documents(self.presented).any(wanted);
        let has_photo = any(|document| document.has_photo);
        if !has_photo && document.person.is_none() {
            return Answer::Refuse(Reason::NoHolderPhoto);
        }
        let order = self.rules.document_order;
        if !self.order_kept(order, CredentialKind::Document, false) {
            return out_of_order(order);
        }
        if !any(|document| document.holder.is_some_and(|holder| holder.same)) {
            if has_photo {
                return Answer::Await(CredentialKind::Face);
            }
            // The picture that enrolled the holder does instead of the photo.
            if !self.order_kept(order, CredentialKind::Document, true) {
                let reason = if self.is_ambiguous() { Reason::Ambiguous } else { Reason::NoHolderPhoto };
                return Answer::Refuse(reason);
            }
        }
        match self.person {
            // The card of somebody who is neither the face nor the holder.
            Some(_) if !self.names(CredentialKind::Face) && !self.names(CredentialKind::Document) => {
                Answer::Refuse(Reason::Mismatch)
            }
            Some(_) if self.is_enrolled() => Answer::Pass(Reason::Granted),
            _ => Answer::Pass(Reason::DocumentHolder),
        }
    }

    /// Why a document is not valid today. One that says nothing of it is.
    fn out_of_date(&self, document: &DocumentCredential) -> Option<Reason> {
        if self.rules.clock_lost && (document.valid_from.is_some() || document.expires.is_some()) {
            // In 1970 nothing has expired.
            return Some(Reason::ClockLost);
        }
        if document.expires.is_some_and(|last_day| self.today > last_day) {
            return Some(Reason::DocumentExpired);
        }
        let early = document.valid_from.is_some_and(|first_day| self.today < first_day);
        early.then_some(Reason::DocumentNotYetValid)
    }

    fn face_or_document(&self) -> Answer {
        let face = self.face();
        if let Answer::Pass(_) = face {
            return face;
        }
        // A face that does not do alone may still be the holder's.
        self.document(false)
    }

    /// Whether a face and a credential of the kind `other` are both there, in this order; with `named` only
    /// those that name the person count.
    fn order_kept(&self, order: CredentialOrder, other: CredentialKind, named: bool) -> bool {
        let of = |kind: CredentialKind| {
            move |one: &Credential| one.kind() == kind && (!named || one.person().is_some())
        };
        let first = |kind| self.presented.iter().position(of(kind));
        let last = |kind| self.presented.iter().rposition(of(kind));
        let face = CredentialKind::Face;
        match order {
            CredentialOrder::Any => first(face).is_some() && first(other).is_some(),
            CredentialOrder::FaceFirst => {
                first(face).zip(last(other)).is_some_and(|(face, other)| face < other)
            }
            CredentialOrder::FaceLast => {
                first(other).zip(last(face)).is_some_and(|(other, face)| other < face)
            }
        }
    }
}

/// What becomes of a pair that is not complete or not in order: see the module.
fn out_of_order(order: CredentialOrder) -> Answer {
    match order {
        CredentialOrder::FaceFirst => Answer::Refuse(Reason::WrongOrder),
        CredentialOrder::Any | CredentialOrder::FaceLast => Answer::Await(CredentialKind::Face),
    }
}
