//! Which of two versions is the newer one: `1.2.10` is newer than `1.2.9`, `1.3.0` than `1.3.0-rc.1`, and
//! `1.3.0+20260302` than `1.3.0`.

use std::cmp::Ordering;

/// A version as bundles carry it: numbers with points between, a hyphen and the name of a preliminary version, a
/// plus sign and the name of a build (semver.org, with any number of numbers, and builds that count).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    numbers: Vec<Part>,
    preliminary: Vec<Part>,
    build: Vec<Part>,
}

/// A number, or a word: numbers are the older ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

impl Version {
    /// Takes any text: what is not of that form is compared word by word.
    pub fn parse(text: &str) -> Self {
        let text = text.trim().trim_start_matches(['v', 'V']);
        let (rest, build) = text.split_once('+').unwrap_or((text, ""));
        let (numbers, preliminary) = rest.split_once('-').unwrap_or((rest, ""));
        let mut numbers = parts(numbers);
        while numbers.last() == Some(&Part::Number(0)) {
            numbers.pop();
        }
        Self { numbers, preliminary: parts(preliminary), build: parts(build) }
    }
}

fn parts(text: &str) -> Vec<Part> {
    let part = |part: &str| part.parse().map_or_else(|_| Part::Word(part.to_owned()), Part::Number);
    text.split(['.', '-', '_']).filter(|part| !part.is_empty()).map(part).collect()
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let preliminary = match (self.preliminary.is_empty(), other.preliminary.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self.preliminary.cmp(&other.preliminary),
        };
        self.numbers.cmp(&other.numbers).then(preliminary).then_with(|| self.build.cmp(&other.build))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_newer_than_the_one_before() {
        // semver.org, item 11, and what a build adds.
        let order = [
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.0+20260302",
            "1.0.0+20261122",
            "1.0.1",
            "1.0.9",
            "1.0.10",
            "1.1",
            "2",
        ];
        for (older, newer) in order.iter().zip(&order[1..]) {
            assert!(Version::parse(older) < Version::parse(newer), "{older} {newer}");
            assert!(Version::parse(newer) > Version::parse(older), "{newer} {older}");
        }
        for (one, same) in [("1.0", "1.0.0"), ("v2.1", "2.1"), (" 3 ", "3")] {
            assert_eq!(Version::parse(one), Version::parse(same));
        }
    }
}
