//! Visitors whom several platforms know.
//!
//! Each platform has people of its own, and a gate may serve two at once. Where the gate has seen that two of them
//! are the same human being, each is asked for by its own rules, and the visitor passes if one of them may: a site
//! that moves from one platform to the other enrols its people twice and must lock nobody out. What forbids somebody
//! for good (a black list, a forbidden identity number) holds whoever said it.

use super::credential::Credential;
use super::decide::{LastPassage, decide};
use super::person::{Origin, PersonKey};
use super::rules::Rules;
use super::verdict::{Reason, Verdict};
use crate::clock::Moment;

/// Everybody whom these credentials name, each once, in the order in which they were presented.
pub fn known_as(presented: &[Credential]) -> Vec<PersonKey> {
    let mut keys: Vec<PersonKey> = Vec::new();
    for person in presented.iter().flat_map(Credential::people) {
        if !keys.contains(&person.key) {
            keys.push(person.key.clone());
        }
    }
    keys
}

/// [`decide`] for a visitor whom one or several platforms know. `last_passage` is asked for the person of each.
pub fn weigh(
    presented: &[Credential],
    rules: &Rules,
    moment: &Moment,
    mut last_passage: impl FnMut(&PersonKey) -> Option<LastPassage>,
) -> Verdict {
    let mut origins: Vec<Origin> = known_as(presented).iter().map(|key| key.origin).collect();
    origins.sort();
    origins.dedup();
    let mut ask = |presented: &[Credential]| {
        let last = super::subject(presented).and_then(|person| last_passage(&person.key));
        decide(presented, rules, moment, last)
    };
    if origins.len() < 2 {
        return ask(presented);
    }
    origins
        .into_iter()
        .map(|origin| {
            let theirs: Vec<_> = presented.iter().map(|one| one.as_known_to(origin)).collect();
            ask(&theirs)
        })
        // Of equals the first.
        .min_by_key(rank)
        .expect("there are two origins at least")
}

/// Which of two verdicts about the same visitor holds: the lower one.
fn rank(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Refuse {
            reason: Reason::NotLive | Reason::BlackListed | Reason::ForbiddenIdNumber, ..
        } => 0,
        // They have just passed, by whichever name.
        Verdict::Refuse { reason: Reason::TooSoon, .. } => 1,
        Verdict::Pass { .. } => 2,
        Verdict::Await { .. } => 3,
        // A card that only the other platform knows is no contradiction.
        Verdict::Refuse { reason: Reason::Mismatch, .. } => 5,
        Verdict::Refuse { .. } => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::tz::Offset;

    use super::*;
    use crate::access::{
        Bound, FaceCredential, FaceMatch, Known, Liveness, PassMode, Person, PersonKind, Schedule,
    };

    fn person(origin: Origin, id: &str) -> Person {
        Person {
            key: PersonKey::new(origin, id),
            code: String::new(),
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

    fn face(people: &[Person]) -> Credential {
        let mut known = people.iter().map(|person| Known {
            person: Arc::new(person.clone()),
            face_id: format!("face {}", person.key.id),
        });
        let first = known.next().unwrap();
        Credential::Face(FaceCredential {
            matched: FaceMatch::Person {
                person: first.person,
                face_id: first.face_id,
                score: 95.0,
                also: known.collect(),
            },
            liveness: Liveness::NotAsked,
        })
    }

    fn card(people: &[Person]) -> Credential {
        let mut people = people.iter().cloned().map(Arc::new);
        Credential::Card { number: "7".into(), person: people.next(), also: people.collect() }
    }

    fn moment() -> Moment {
        Moment { utc: "2026-03-02T04:00:00Z".parse().unwrap(), offset: Offset::UTC }
    }

    fn ask(presented: &[Credential], rules: &Rules) -> (Option<Origin>, Option<Reason>) {
        let verdict = weigh(presented, rules, &moment(), |_| None);
        (verdict.person().map(|person| person.key.origin), verdict.reason())
    }

    #[test]
    fn whoever_one_platform_lets_pass_passes() {
        let (q, w) = (person(Origin::Qyzn, "1"), person(Origin::TerminalWs, "A"));
        let rules = Rules::default();
        let both = |q: &Person, w: &Person| [face(&[q.clone(), w.clone()]), face(&[w.clone(), q.clone()])];
        for seen in both(&q, &w) {
            assert_eq!(ask(&[seen], &rules), (Some(Origin::Qyzn), Some(Reason::Granted)));
        }
        let expired =
            Person { valid_until: Some(Bound::Utc("2026-01-01T00:00:00Z".parse().unwrap())), ..q.clone() };
        for seen in both(&expired, &w) {
            assert_eq!(ask(&[seen], &rules), (Some(Origin::TerminalWs), Some(Reason::Granted)));
        }
        let used_up = Person { passes_left: Some(0), ..w.clone() };
        for seen in both(&expired, &used_up) {
            assert_eq!(ask(&[seen], &rules), (Some(Origin::Qyzn), Some(Reason::Expired)));
        }
        let black = Person { kind: PersonKind::Black, ..w.clone() };
        for seen in both(&q, &black) {
            assert_eq!(ask(&[seen], &rules), (Some(Origin::TerminalWs), Some(Reason::BlackListed)));
        }
    }

    #[test]
    fn who_has_just_passed_by_one_name_does_not_pass_by_the_other() {
        let seen = [face(&[person(Origin::Qyzn, "1"), person(Origin::TerminalWs, "A")])];
        let now = moment();
        let verdict = weigh(&seen, &Rules::default(), &now, |key| {
            (key.origin == Origin::TerminalWs).then_some(LastPassage { at: now.utc, elapsed: None })
        });
        assert_eq!(verdict.reason(), Some(Reason::TooSoon));
    }

    #[test]
    fn a_card_that_one_platform_knows_is_no_contradiction() {
        let rules = Rules { mode: PassMode::FaceAndCard, ..Rules::default() };
        let (q, w) = (person(Origin::Qyzn, "1"), person(Origin::TerminalWs, "A"));
        let seen = face(&[w.clone(), q.clone()]);
        assert_eq!(
            ask(&[seen.clone(), card(std::slice::from_ref(&q))], &rules),
            (Some(Origin::Qyzn), Some(Reason::Granted))
        );
        // The same number was given to somebody else by the other platform.
        let other = person(Origin::TerminalWs, "B");
        assert_eq!(ask(&[seen, card(&[other.clone(), q.clone()])], &rules).1, Some(Reason::Granted));
        assert_eq!(ask(&[face(&[w]), card(&[other])], &rules).1, Some(Reason::Mismatch));
    }

    #[test]
    fn everybody_is_named_once() {
        let (q, w) = (person(Origin::Qyzn, "1"), person(Origin::TerminalWs, "A"));
        let keys = known_as(&[face(&[q.clone(), w.clone()]), card(&[w.clone(), q.clone()])]);
        assert_eq!(keys, [q.key.clone(), w.key]);
        let read = face(&[person(Origin::TerminalWs, "A"), q.clone()]).as_known_to(Origin::Qyzn);
        assert_eq!(read.people().map(|person| person.key.clone()).collect::<Vec<_>>(), [q.key]);
    }
}
