//! Corrections of misread characters, only where the check digits prove them.
//!
//! A field whose digit is wrong is put right when, together with the composite digit, exactly one exchange of alike
//! characters in it fits. Where none or several fit, the zone stays unread. What no digit covers (names, states, sex) is never
//! changed, nor what a digit cannot tell apart: 1 and L, 6 and G, K and the filler count the same.

use jiff::civil::Date;

use super::check;
use super::zone::{Checked, Layout, Place, Zone, bytes, characters};
use crate::error::{Error, Kind, Result};

/// Characters of OCR-B that a bad picture makes alike, in groups.
const ALIKE: [&[u8]; 14] = [
    b"0ODQ", b"1IL", b"5S", b"8B", b"2Z", b"6GC", b"7TY", b"4A", b"UV", b"MN", b"HN", b"3J", b"9G", b"EF",
];
/// Fields that may be corrected in one zone: with more, chance would prove what nothing proves.
const MOST: usize = 2;

/// A zone, and how many characters had to be put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrected {
    /// The zone; all digits are right.
    pub zone: Zone,
    /// Characters that were read wrongly.
    pub corrections: usize,
}

/// One exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Exchange {
    line: usize,
    column: usize,
    to: u8,
}

/// Understands lines as they were read. `others` gives further characters that the reader thought possible at a line and
/// column, beside those that look alike. `Input` if the lines are no zone, or if no single correction is
/// proved.
pub fn understand(
    lines: &[impl AsRef<str>],
    today: Date,
    others: impl Fn(usize, usize) -> Option<u8>,
) -> Result<Corrected> {
    let refused = match Zone::parse(lines, today) {
        Ok(zone) => return Ok(Corrected { zone, corrections: 0 }),
        Err(refused) => refused,
    };
    let layout = Layout::of(lines)?;
    let mut read = bytes(lines);
    if read.iter().flatten().any(|c| check::value(*c).is_none()) {
        return Err(refused);
    }
    let exchanges = possible(layout, &read, others);
    let mut fits = Vec::new();
    attempt(layout, &mut read, &exchanges, &mut Vec::new(), today, &mut fits)?;
    match fits.len() {
        1 => Ok(fits.remove(0)),
        0 => Err(refused),
        _ => Err(Error::new(
            Kind::Input,
            "the machine readable zone was read wrongly, and its check digits do not say which characters",
        )),
    }
}

/// The exchanges that the digits can judge, each changing what its character counts.
fn possible(layout: Layout, read: &[Vec<u8>], others: impl Fn(usize, usize) -> Option<u8>) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    for (line, column) in covered(layout, read) {
        let found = read[line][column];
        let alike = ALIKE.iter().filter(|group| group.contains(&found)).flat_map(|group| group.iter().copied());
        let mut offered: Vec<u8> = alike.chain(others(line, column)).filter(|to| *to != found).collect();
        offered.sort_unstable();
        offered.dedup();
        let counts = |c: u8| check::value(c).map(|value| value % 10);
        exchanges.extend(
            offered
                .into_iter()
                .filter(|to| layout.allows(line, column, *to) && counts(*to) != counts(found))
                .map(|to| Exchange { line, column, to }),
        );
    }
    exchanges
}

/// All places that a digit covers, and the digits, once each.
fn covered(layout: Layout, read: &[Vec<u8>]) -> Vec<(usize, usize)> {
    let places = |(line, columns): &Place| {
        let line = *line;
        columns.clone().map(move |column| (line, column)).collect::<Vec<_>>()
    };
    let mut covered: Vec<_> = layout
        .checks(read)
        .iter()
        .flat_map(|check| check.over.iter().flat_map(places).chain([check.digit]).collect::<Vec<_>>())
        .collect();
    covered.sort_unstable();
    covered.dedup();
    covered
}

/// Whether a place belongs to a digit.
fn belongs(check: &Checked, line: usize, column: usize) -> bool {
    check.digit == (line, column) || check.over.iter().any(|(row, columns)| *row == line && columns.contains(&column))
}

/// Puts the first field right whose digit is wrong, in each way that fits, and goes on with the next.
fn attempt(
    layout: Layout,
    read: &mut Vec<Vec<u8>>,
    exchanges: &[Exchange],
    done: &mut Vec<Exchange>,
    today: Date,
    fits: &mut Vec<Corrected>,
) -> Result<()> {
    let checks = layout.checks(read);
    // A character of another kind than its place takes is wrong too, whatever the digits say.
    let misplaced = (0..read.len())
        .flat_map(|line| (0..layout.width()).map(move |column| (line, column)))
        .find(|&(line, column)| !layout.allows(line, column, read[line][column]));
    let wrong = checks.iter().find(|check| !check.holds(read));
    if misplaced.is_none() && wrong.is_none() {
        let lines: Vec<String> = read.iter().map(|line| line.iter().copied().map(char::from).collect()).collect();
        if let Ok(zone) = Zone::parse(&lines, today)
            && !fits.iter().any(|fit: &Corrected| fit.zone.lines == lines)
        {
            fits.push(Corrected { zone, corrections: done.len() });
        }
        return Ok(());
    }
    if done.len() == MOST || fits.len() > 1 {
        return Ok(());
    }
    for exchange in exchanges {
        let place = (exchange.line, exchange.column);
        let touches = match (misplaced, wrong) {
            (Some(misplaced), _) => misplaced == place,
            (None, Some(wrong)) => belongs(wrong, place.0, place.1),
            (None, None) => false,
        };
        // One correction a field: two in one would nearly always fit in some way.
        let field = |check: &&Checked| check.what != "whole" && belongs(check, place.0, place.1);
        let taken = checks.iter().filter(field).any(|check| {
            done.iter().any(|earlier| belongs(check, earlier.line, earlier.column))
        });
        if !touches || taken || done.iter().any(|earlier| (earlier.line, earlier.column) == place) {
            continue;
        }
        let before = read[place.0][place.1];
        read[place.0][place.1] = exchange.to;
        // With a field's own digit right again it can go on; an exchange that leaves it wrong proves nothing.
        let repaired = wrong.is_none_or(|wrong| {
            layout.checks(read).iter().find(|check| check.what == wrong.what).is_some_and(|check| check.holds(read))
        });
        if repaired || misplaced.is_some() {
            done.push(*exchange);
            attempt(layout, read, exchanges, done, today, fits)?;
            done.pop();
        }
        read[place.0][place.1] = before;
    }
    Ok(())
}

/// Whether two characters count the same, so that no digit tells them apart, though a picture may show one for the other.
pub fn undistinguished(one: u8, other: u8) -> bool {
    one != other
        && check::value(one).map(|value| value % 10) == check::value(other).map(|value| value % 10)
}

/// The digit over places, for tests of other modules.
#[cfg(test)]
pub(super) fn digit_over(lines: &[Vec<u8>], places: &[Place]) -> u8 {
    check::digit(characters(lines, places))
}
