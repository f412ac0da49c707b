//! From what the gallery found to who it is: the thresholds, people who look alike, and people whom two platforms
//! have enrolled.
//!
//! Two people of different platforms are taken for the same human being if the visitor's face is like both, and
//! - both have the same identity number, or
//! - neither contradicts the other by an identity number, their enrolled faces are like each other, and they bear
//!   the same name.
//!
//! Then the visitor is both: each platform's rules are asked, and each is told. Where the faces are clearly alike
//! and the names differ (another spelling, or a twin) the second does not make the first ambiguous, but lends no
//! rights either. A black list holds in both cases.
//!
//! That is asked only when a visitor is like two people, so it costs nothing while platforms have different people.

use super::sighting::Compared;
use super::watch::Eyes;
use crate::access::decide::plain_number;
use crate::access::{Person, PersonKind};
use crate::error::Result;
use crate::store::{FaceRow, PersonRow};
use crate::vision::gallery::{self, Hit};
use crate::vision::template::Template;

/// How far above the threshold, in score, two enrolled faces must be alike to be one person's whose name differs.
const CLEARLY_ALIKE: f32 = 8.0;

/// One for each origin can be the same human being.
const MOST_KNOWN: usize = 3;

/// The nearest of all enrolled people, or of those who are left.
type Found = gallery::Found<FaceRow, PersonRow>;

/// Who it is, by the threshold in force. `found` is what the gallery answered to `template`.
pub(super) fn identify(eyes: &Eyes, template: &Template, found: Option<&Found>, threshold: f32) -> Compared {
    let Some(Found { best, runner_up }) = found else {
        return Compared::Stranger { score: 0.0 };
    };
    let score = eyes.calibration.score(best.cosine);
    if score < threshold {
        return Compared::Stranger { score };
    }
    let mut also = Vec::new();
    let mut next = *runner_up;
    // As near as makes it ambiguous counts as like, also just below the threshold.
    let like = threshold - eyes.ambiguity_margin;
    if next.as_ref().is_some_and(|next| eyes.calibration.score(next.cosine) >= like) {
        match known_elsewhere(eyes, template, threshold, best, next) {
            Ok(known) => (also, next) = known,
            // Who looks alike is then ambiguous, as if nothing were known of them.
            Err(error) => tracing::error!(%error, "people who look alike could not be read"),
        }
    }
    let next = next.as_ref().map_or(0.0, |hit| eyes.calibration.score(hit.cosine));
    if score - next < eyes.ambiguity_margin {
        return Compared::Ambiguous { score };
    }
    Compared::Person { face: best.face, person: best.person, score, also }
}

type Rows = Vec<(FaceRow, PersonRow)>;

/// The rows of the same human being under other platforms, and who is next besides all of them.
fn known_elsewhere(
    eyes: &Eyes,
    template: &Template,
    threshold: f32,
    best: &Hit<FaceRow, PersonRow>,
    mut next: Option<Hit<FaceRow, PersonRow>>,
) -> Result<(Rows, Option<Hit<FaceRow, PersonRow>>)> {
    let store = &eyes.gate.store;
    let mut also = Rows::new();
    let Some(named) = store.person_by_row(best.person)? else { return Ok((also, next)) };
    let mut people = vec![(best.face, named)];
    let mut apart = vec![best.person];
    while people.len() < MOST_KNOWN
        && let Some(hit) = next
        && eyes.calibration.score(hit.cosine) >= threshold - eyes.ambiguity_margin
    {
        let Some(person) = store.person_by_row(hit.person)? else { break };
        // One person may look like a brother, and be known elsewhere besides: only the nearest is asked.
        let sure = people.iter().try_fold(Sure::Proven, |sure, (face, known)| {
            let alike = eyes.calibration.score(eyes.gallery.likeness(*face, hit.face)?);
            Some(sure.min(compare(known, &person, alike, threshold)?))
        });
        let Some(sure) = sure else { break };
        if sure == Sure::Proven || person.kind == PersonKind::Black {
            also.push((hit.face, hit.person));
        }
        people.push((hit.face, person));
        apart.push(hit.person);
        next = eyes.gallery.search_without(template, &apart)?.map(|found| found.best);
    }
    Ok((also, next))
}

/// How sure it is that two enrolled people are one human being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    /// By their faces alone.
    Likely,
    /// By what is written of them as well.
    Proven,
}

/// Whether two enrolled people are one human being, whose enrolled faces are alike by the score `alike`; `None` if
/// they are not.
fn compare(one: &Person, other: &Person, alike: f32, threshold: f32) -> Option<Sure> {
    if one.key.origin == other.key.origin {
        return None;
    }
    match same_number(one.id_number.as_deref(), other.id_number.as_deref()) {
        Some(true) => Some(Sure::Proven),
        Some(false) => None,
        None if same_name(one, other) => (alike >= threshold).then_some(Sure::Proven),
        None => (alike >= threshold + CLEARLY_ALIKE).then_some(Sure::Likely),
    }
}

fn same_name(one: &Person, other: &Person) -> bool {
    let plain = |person: &Person| person.name.split_whitespace().collect::<String>().to_lowercase();
    !plain(one).is_empty() && plain(one) == plain(other)
}

/// Whether two people of different platforms are one human being by what is written of them, as if their faces were
/// the same.
pub(super) fn same_on_paper(one: &Person, other: &Person) -> bool {
    compare(one, other, f32::INFINITY, 0.0) == Some(Sure::Proven)
}

/// Whether two identity numbers are the same; `None` if one of them is not known. Platforms that must send one and
/// have none send zeros.
fn same_number(one: Option<&str>, other: Option<&str>) -> Option<bool> {
    let known = |number: &&str| plain_number(number).any(|letter| letter != '0');
    Some(plain_number(one.filter(known)?).eq(plain_number(other.filter(known)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Origin, PersonKey, Schedule};

    fn person(origin: Origin, name: &str, id_number: Option<&str>) -> Person {
        Person {
            key: PersonKey::new(origin, "1"),
            code: String::new(),
            name: name.into(),
            kind: PersonKind::White,
            id_number: id_number.map(Into::into),
            card: None,
            passes_left: None,
            valid_from: None,
            valid_until: None,
            schedule: Schedule::default(),
            mode: None,
        }
    }

    #[test]
    fn one_human_being_under_two_names() {
        let q = |name, number| person(Origin::Qyzn, name, number);
        let w = |name, number| person(Origin::TerminalWs, name, number);
        // The documents' own sample of a number.
        let number = Some("420381200010013857");
        use Sure::{Likely, Proven};
        let cases = [
            // The same number proves it, whatever the pictures are like.
            (q("张三", number), w("Zhang San", Some(" 4203 81200010013857")), 20.0, Some(Proven)),
            (q("张三", number), w("张三", Some("42038120001001385X")), 99.0, None),
            (q("张三", number), w(" 张 三", None), 80.0, Some(Proven)),
            (q("张三", number), w("张三", Some("00000000")), 79.9, None),
            (q("张三", None), w("李四", None), 87.9, None),
            (q("张三", None), w("李四", None), 88.0, Some(Likely)),
            // One platform has two people for one face: which it is cannot be told.
            (q("张三", number), q("张三", number), 99.0, None),
        ];
        for (one, other, alike, same) in cases {
            assert_eq!(compare(&one, &other, alike, 80.0), same, "{one:?} {other:?} {alike}");
            assert_eq!(compare(&other, &one, alike, 80.0), same, "{other:?} {one:?} {alike}");
        }
    }
}
