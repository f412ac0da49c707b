//! Corrections of misread characters, only where the check digits prove them.
//!
//! A field whose digit is wrong is put right when, together with the composite digit, exactly one exchange of alike
//! characters in it fits. Where none or several fit, the zone stays unread. What no digit covers (names, states, sex) is never
//! changed, nor what a digit cannot tell apart: 1 and L, 6 and G, K and the filler count the same.

use jiff::civil::Date;

use super::check;
use super::zone::{Checked, Layout, Place, Zone, bytes};
use crate::error::{Error, Kind, Result};

/// Characters of OCR-B that a bad picture makes alike, in groups.
const ALIKE: [&[u8]; 14] =
    [b"0ODQ", b"1IL", b"5S", b"8B", b"2Z", b"6GC", b"7TY", b"4A", b"UV", b"MN", b"HN", b"3J", b"9G", b"EF"];
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

/// A character at a line and column that may have been read for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// From 0.
    pub line: usize,
    /// From 0.
    pub column: usize,
    /// What was read.
    pub read: u8,
    /// What it may be.
    pub other: u8,
}

/// Whether two characters look alike in a bad picture: what is possible where nothing more is known of the picture.
pub fn alike(doubt: Doubt) -> bool {
    ALIKE.iter().any(|group| group.contains(&doubt.read) && group.contains(&doubt.other))
}

/// Understands lines as they were read; `possible` says which characters may have been misread, such as [`alike`]. `Input`
/// if the lines are no zone, or if no single correction is proved.
pub fn understand(
    lines: &[impl AsRef<str>],
    today: Date,
    possible: impl Fn(Doubt) -> bool,
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
    let exchanges = exchanges(layout, &read, possible);
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
fn exchanges(layout: Layout, read: &[Vec<u8>], possible: impl Fn(Doubt) -> bool) -> Vec<Exchange> {
    let counts = |c: u8| check::value(c).map(|value| value % 10);
    let mut exchanges = Vec::new();
    for (line, column) in covered(layout, read) {
        let found = read[line][column];
        let others = (b'0'..=b'9').chain(b'A'..=b'Z').chain([b'<']).filter(|other| {
            counts(*other) != counts(found)
                && layout.allows(line, column, *other)
                && possible(Doubt { line, column, read: found, other: *other })
        });
        exchanges.extend(others.map(|to| Exchange { line, column, to }));
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
    check.digit == (line, column)
        || check.over.iter().any(|(row, columns)| *row == line && columns.contains(&column))
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
        let lines: Vec<String> =
            read.iter().map(|line| line.iter().copied().map(char::from).collect()).collect();
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
        let taken = checks
            .iter()
            .filter(field)
            .any(|check| done.iter().any(|earlier| belongs(check, earlier.line, earlier.column)));
        if !touches || taken || done.iter().any(|earlier| (earlier.line, earlier.column) == place) {
            continue;
        }
        let before = read[place.0][place.1];
        read[place.0][place.1] = exchange.to;
        // With a field's own digit right again it can go on; an exchange that leaves it wrong proves nothing.
        let repaired = wrong.is_none_or(|wrong| {
            layout
                .checks(read)
                .iter()
                .find(|check| check.what == wrong.what)
                .is_some_and(|check| check.holds(read))
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
    one != other && check::value(one).map(|value| value % 10) == check::value(other).map(|value| value % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    const TODAY: Date = date(2026, 11, 22);
    const UPPER: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<";
    /// ICAO 9303-4, appendix B.
    const LOWER: &str = "L898902C36UTO7408122F1204159ZE184226B<<<<<10";

    fn read(lower: &str) -> Result<Corrected> {
        understand(&[UPPER, lower], TODAY, alike)
    }

    fn exchanged(columns: &[(usize, u8)]) -> String {
        let mut lower = LOWER.as_bytes().to_vec();
        for (column, to) in columns {
            lower[*column] = *to;
        }
        String::from_utf8(lower).unwrap()
    }

    #[test]
    fn what_is_right_stays() {
        let read = read(LOWER).unwrap();
        assert_eq!((read.corrections, &read.zone.lines[1][..]), (0, LOWER));
    }

    #[test]
    fn a_letter_where_digits_stand_is_put_right() {
        // O, Z, I and S for 0, 2, 1 and 5: in the days of birth and expiry, and for the composite digit.
        for wrong in [(15, b'O'), (18, b'Z'), (21, b'I'), (26, b'S'), (43, b'O')] {
            let read = read(&exchanged(&[wrong])).unwrap_or_else(|error| panic!("{wrong:?}: {error}"));
            assert_eq!((read.corrections, &read.zone.lines[1][..]), (1, LOWER), "{wrong:?}");
        }
        let two = read(&exchanged(&[(15, b'O'), (26, b'S')])).unwrap();
        assert_eq!((two.corrections, &two.zone.lines[1][..]), (2, LOWER));
    }

    #[test]
    fn where_several_corrections_fit_none_is_made() {
        // AB2134 with digit 5 (ICAO 9303-3). 8 for B: back to B, 0 to Q (6), D or O elsewhere... the digits cannot tell
        // L898902C3 with 8 for 0 from a B for one of the other 8s.
        let mut several = 0;
        for column in 0..9 {
            for to in (b'0'..=b'9').chain(b'A'..=b'Z') {
                let lower = exchanged(&[(column, to)]);
                match read(&lower) {
                    Ok(read) => {
                        let zone = &read.zone.lines[1];
                        // Either it is right, or what was read fits as it is: 1 and L, 6 and G count the same.
                        let same = undistinguished(to, LOWER.as_bytes()[column]);
                        let unlike =
                            !alike(Doubt { line: 1, column, read: to, other: LOWER.as_bytes()[column] });
                        assert!(*zone == LOWER || same || unlike, "{column} {}", char::from(to));
                    }
                    Err(error) => several += usize::from(error.message().contains("do not say which")),
                }
            }
        }
        assert!(several > 10, "{several}");
    }

    #[test]
    fn nothing_is_corrected_that_no_digit_covers() {
        // The name with a digit in it, the nationality, the sex.
        assert!(understand(&["P<UT0ERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", LOWER], TODAY, alike).is_err());
        assert!(understand(&["P<UTOERIKSS0N<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", LOWER], TODAY, alike).is_err());
        assert!(read(&exchanged(&[(11, b'7')])).is_err());
        assert!(read(&exchanged(&[(20, b'E')])).is_ok(), "a letter of the sex that is none is let through");
    }

    #[test]
    fn three_wrong_fields_are_too_many() {
        assert!(read(&exchanged(&[(15, b'O'), (26, b'S'), (43, b'O')])).is_err());
    }

    #[test]
    fn what_the_picture_does_not_show_is_not_possible() {
        let wrong = exchanged(&[(15, b'O')]);
        assert!(understand(&[UPPER, &wrong], TODAY, |_| false).is_err());
        let shown = Doubt { line: 1, column: 15, read: b'O', other: b'0' };
        let read = understand(&[UPPER, &wrong], TODAY, |doubt| doubt == shown).unwrap();
        assert_eq!(read.zone.lines[1], LOWER);
    }

    proptest! {
        #[test]
        fn whatever_is_corrected_has_right_digits(
            column in 0_usize..44, to in "[0-9A-Z<]", other in 0_usize..44, too in "[0-9A-Z<]"
        ) {
            if let Ok(read) = read(&exchanged(&[(column, to.as_bytes()[0]), (other, too.as_bytes()[0])])) {
                prop_assert!(Zone::parse(&read.zone.lines, TODAY).is_ok());
                prop_assert!(read.corrections <= MOST);
                let changed = read.zone.lines[1].bytes().zip(LOWER.bytes()).filter(|(one, two)| one != two).count();
                prop_assert!(changed <= 2 + MOST);
            }
        }
    }
}
