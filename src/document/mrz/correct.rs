//! What a camera read of the lines of a zone, and corrections of it, only where the check digits prove them.
//!
//! Of each place the reader says how likely each character is. Where the likeliest ones are a zone, all is well. Where a
//! field's digit is wrong, a character of it is put right if the picture itself left that character in doubt, no other one of the
//! field, and exactly one of those that it may be fits. So what was plain to see is never changed for another that
//! happens to fit: a check digit alone finds such a one for every third misread number, and the composite digit, which
//! weighs a number as its own digit does, does not object. Where none or several fit, the zone stays unread.
//!
//! What no digit covers (names, states, sex) is never changed and must be plain to see, and so must be what a digit cannot tell
//! apart: 1 and L, 6 and G, K and the filler count the same.

use jiff::civil::Date;

use super::check;
use super::zone::{Checked, Layout, Place, Zone};
use crate::error::{Error, Kind, Result};

/// The characters of a zone, in the order of [`Shares`].
pub const ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<";
/// How likely each character of [`ALPHABET`] is at one place: 0 to 1, together 1 at most.
pub type Shares = [f32; ALPHABET.len()];

/// A character that is less likely than this is in doubt: only then may a digit correct it, and where no digit covers
/// it the zone is not read.
pub const DOUBTFUL: f32 = 0.6;
/// A character that is less likely than this was not misread for another.
const POSSIBLE: f32 = 0.03;
/// Of two characters that no digit tells apart, the second may be at most this likely, as a share of the first.
const RIVAL: f32 = 0.3;
/// Fields that may be corrected in one zone: with more, chance would prove what nothing proves.
const MOST: usize = 2;

/// A zone as it was read, and how surely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrected {
    /// The zone; all digits are right.
    pub zone: Zone,
    /// Characters that were read wrongly.
    pub corrections: usize,
    /// No character had to be put right, and none was in doubt. Otherwise a digit, which every tenth misreading meets by
    /// chance, is all that speaks for it: another picture ought to say the same.
    pub plain: bool,
}

/// One exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Exchange {
    line: usize,
    column: usize,
    to: u8,
}

/// The lines as they are read, and how likely that is.
struct Seen<'a> {
    layout: Layout,
    shares: &'a [&'a [Shares]],
    read: Vec<Vec<u8>>,
    /// Places whose character is in doubt and that a digit covers.
    doubtful: Vec<(usize, usize)>,
}

/// Understands lines, the first first: for each of them the shares of its places. `today` tells the centuries. `Input` if
/// the lines are no zone, or if what they say is neither plain to see nor proved.
pub fn understand(lines: &[&[Shares]], today: Date) -> Result<Corrected> {
    let seen = Seen::of(lines)?;
    let corrected = match Zone::parse(&texts(&seen.read), today) {
        Ok(zone) => Corrected { zone, corrections: 0, plain: seen.doubtful.is_empty() },
        Err(refused) => {
            let (mut read, exchanges, mut fits) = (seen.read.clone(), seen.exchanges(), Vec::new());
            seen.attempt(&mut read, &exchanges, &mut Vec::new(), today, &mut fits);
            match fits.len() {
                1 => fits.remove(0),
                0 => return Err(refused),
                _ => {
                    return Err(Error::new(
                        Kind::Input,
                        "the machine readable zone was read wrongly, and its check digits do not say which characters",
                    ));
                }
            }
        }
    };
    seen.check_unproved(&corrected.zone)?;
    Ok(corrected)
}

impl<'a> Seen<'a> {
    fn of(shares: &'a [&'a [Shares]]) -> Result<Self> {
        // The layout first, for it says where letters and where digits stand.
        let visa = shares
            .first()
            .and_then(|line| line.first())
            .is_some_and(|first| likeliest(first, |c| c.is_ascii_uppercase()).0 == b'V');
        let rough: Vec<String> = shares
            .iter()
            .map(|line| if visa { "V".repeat(line.len()) } else { "P".repeat(line.len()) })
            .collect();
        let layout = Layout::of(&rough)?;
        let mut seen = Self { layout, shares, read: Vec::with_capacity(shares.len()), doubtful: Vec::new() };
        for (number, line) in shares.iter().enumerate() {
            let read =
                |(column, shares): (usize, &Shares)| likeliest(shares, allowed(layout, number, column)).0;
            seen.read.push(line.iter().enumerate().map(read).collect());
        }
        let covered = seen.covered();
        seen.doubtful = covered.into_iter().filter(|place| seen.share(*place) < DOUBTFUL).collect();
        Ok(seen)
    }

    /// How likely it is that a place says what is read there.
    fn share(&self, (line, column): (usize, usize)) -> f32 {
        share(&self.shares[line][column], self.read[line][column])
    }

    /// All places that a digit covers, and the digits, once each.
    fn covered(&self) -> Vec<(usize, usize)> {
        let places = |(line, columns): &Place| {
            let line = *line;
            columns.clone().map(move |column| (line, column)).collect::<Vec<_>>()
        };
        let mut covered: Vec<_> = self
            .layout
            .checks(&self.read)
            .iter()
            .flat_map(|check| check.over.iter().flat_map(places).chain([check.digit]).collect::<Vec<_>>())
            .collect();
        covered.sort_unstable();
        covered.dedup();
        covered
    }

    /// What the characters in doubt may be instead, each counting otherwise than what is read.
    fn exchanges(&self) -> Vec<Exchange> {
        let mut exchanges = Vec::new();
        for &(line, column) in &self.doubtful {
            let found = self.read[line][column];
            let others = ALPHABET.iter().copied().filter(|other| {
                counts(*other) != counts(found)
                    && self.layout.allows(line, column, *other)
                    && share(&self.shares[line][column], *other) >= POSSIBLE
            });
            exchanges.extend(others.map(|to| Exchange { line, column, to }));
        }
        exchanges
    }

    /// Puts the first field right whose digit is wrong, in each way that fits, and goes on with the next.
    fn attempt(
        &self,
        read: &mut Vec<Vec<u8>>,
        exchanges: &[Exchange],
        done: &mut Vec<Exchange>,
        today: Date,
        fits: &mut Vec<Corrected>,
    ) {
        let checks = self.layout.checks(read);
        let Some(wrong) = checks.iter().find(|check| !check.holds(read)) else {
            let lines = texts(read);
            if let Ok(zone) = Zone::parse(&lines, today)
                && !fits.iter().any(|fit: &Corrected| fit.zone.lines == lines)
            {
                fits.push(Corrected { zone, corrections: done.len(), plain: false });
            }
            return;
        };
        // With two in doubt in one field, some pair of exchanges would nearly always fit.
        let mut in_doubt = self.doubtful.iter().filter(|place| belongs(wrong, **place));
        let (Some(&place), None) = (in_doubt.next(), in_doubt.next()) else { return };
        if done.len() == MOST || fits.len() > 1 {
            return;
        }
        for exchange in exchanges.iter().filter(|exchange| (exchange.line, exchange.column) == place) {
            let before = std::mem::replace(&mut read[place.0][place.1], exchange.to);
            // With a field's own digit right again it can go on; an exchange that leaves it wrong proves nothing.
            let again = self.layout.checks(read);
            if again.iter().find(|check| check.what == wrong.what).is_some_and(|check| check.holds(read)) {
                done.push(*exchange);
                self.attempt(read, exchanges, done, today, fits);
                done.pop();
            }
            read[place.0][place.1] = before;
        }
    }

    /// What the digits do not prove must be plain to see.
    fn check_unproved(&self, zone: &Zone) -> Result<()> {
        for (line, shares) in self.shares.iter().enumerate() {
            for (column, shares) in shares.iter().enumerate() {
                let (read, share) = (self.read[line][column], self.share((line, column)));
                let unproved = if self.layout.is_covered(line, column) {
                    let rival = likeliest(shares, |c| {
                        c != read && counts(c) == counts(read) && self.layout.allows(line, column, c)
                    });
                    zone.lines[line].as_bytes()[column] == read && rival.1 > RIVAL * share
                } else {
                    share < DOUBTFUL
                };
                if unproved {
                    return Err(Error::new(Kind::Input, "the machine readable zone cannot be read for sure"));
                }
            }
        }
        Ok(())
    }
}

/// What may stand at a place: as the layout says, and a document's code begins with a letter.
fn allowed(layout: Layout, line: usize, column: usize) -> impl Fn(u8) -> bool {
    move |c| layout.allows(line, column, c) && ((line, column) != (0, 0) || c != b'<')
}

/// What a character counts for a digit, whatever its weight. The same: no digit tells the two apart.
fn counts(character: u8) -> Option<u32> {
    check::value(character).map(|value| value % 10)
}

/// Whether a place belongs to a digit.
fn belongs(check: &Checked, place: (usize, usize)) -> bool {
    check.digit == place
        || check.over.iter().any(|(row, columns)| *row == place.0 && columns.contains(&place.1))
}

fn texts(read: &[Vec<u8>]) -> Vec<String> {
    read.iter().map(|line| line.iter().copied().map(char::from).collect()).collect()
}

/// The share of a character; 0 for one that no zone holds.
fn share(shares: &Shares, character: u8) -> f32 {
    ALPHABET.iter().position(|other| *other == character).map_or(0.0, |class| shares[class])
}

/// The likeliest character of those that are allowed, and its share among all.
fn likeliest(shares: &Shares, allowed: impl Fn(u8) -> bool) -> (u8, f32) {
    let characters = ALPHABET.iter().zip(shares).filter(|(character, _)| allowed(**character));
    characters.fold(
        (b'<', 0.0),
        |best, (character, share)| if *share > best.1 { (*character, *share) } else { best },
    )
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

    /// Characters of the lower line: column, what it is read for and its share, what it may be and its share.
    type Doubt = (usize, u8, f32, u8, f32);

    fn class(character: u8) -> usize {
        ALPHABET.iter().position(|other| *other == character).unwrap()
    }

    fn plain(text: &str) -> Vec<Shares> {
        let sure = |character| {
            let mut shares = [0.0; ALPHABET.len()];
            shares[class(character)] = 0.97;
            shares
        };
        text.bytes().map(sure).collect()
    }

    fn seen(upper: &[Shares], doubts: &[Doubt]) -> Result<Corrected> {
        let mut lower = plain(LOWER);
        for (column, read, share, other, rival) in doubts {
            lower[*column] = [0.0; ALPHABET.len()];
            lower[*column][class(*read)] = *share;
            lower[*column][class(*other)] = *rival;
        }
        understand(&[upper, &lower], TODAY)
    }

    fn read(doubts: &[Doubt]) -> Result<Corrected> {
        seen(&plain(UPPER), doubts)
    }

    #[test]
    fn what_is_right_stays() {
        let read = read(&[]).unwrap();
        assert_eq!((read.corrections, read.plain, &read.zone.lines[1][..]), (0, true, LOWER));
    }

    #[test]
    fn a_character_in_doubt_is_put_right() {
        // The Z of the personal number read as a 2, the C of the number as a G, the composite digit as a 6.
        for wrong in [(28, b'2', 0.55, b'Z', 0.4), (7, b'G', 0.5, b'C', 0.45), (43, b'6', 0.5, b'0', 0.2)] {
            let read = read(&[wrong]).unwrap_or_else(|error| panic!("{wrong:?}: {error}"));
            assert_eq!(
                (read.corrections, read.plain, &read.zone.lines[1][..]),
                (1, false, LOWER),
                "{wrong:?}"
            );
        }
        let two = read(&[(28, b'2', 0.55, b'Z', 0.4), (7, b'G', 0.5, b'C', 0.45)]).unwrap();
        assert_eq!((two.corrections, &two.zone.lines[1][..]), (2, LOWER));
        // Two in one field, and three fields, are too many.
        assert!(read(&[(7, b'G', 0.5, b'C', 0.45), (5, b'O', 0.5, b'0', 0.45)]).is_err());
        let three = [(7, b'G', 0.5, b'C', 0.4), (15, b'9', 0.5, b'0', 0.4), (26, b'6', 0.5, b'5', 0.4)];
        assert!(read(&three).is_err());
        assert!(three.iter().all(|one| read(&[*one]).is_ok()));
    }

    #[test]
    fn what_was_plain_to_see_is_not_put_right() {
        // Every single plain misreading in the number and its digit, with the right one a twentieth beside it; and with each rival
        // of a twentieth elsewhere that would make the digit fit: another number.
        let mut refused = 0;
        for column in 0..10 {
            let right = LOWER.as_bytes()[column];
            for to in
                ALPHABET.iter().copied().filter(|to| *to != right && (column < 9 || to.is_ascii_digit()))
            {
                let found = [(column, to, 0.94, right, 0.05)];
                if counts(to) == counts(right) {
                    continue;
                }
                assert!(read(&found).is_err(), "{column} {}", char::from(to));
                for elsewhere in (0..10).filter(|elsewhere| *elsewhere != column) {
                    let there = LOWER.as_bytes()[elsewhere];
                    let fits = |rival: &u8| {
                        let mut number = LOWER.as_bytes()[..10].to_vec();
                        (number[column], number[elsewhere]) = (to, *rival);
                        *rival != there && check::digit(number[..9].iter().copied()) == number[9]
                    };
                    for rival in ALPHABET.iter().copied().filter(fits) {
                        let found = [(column, to, 0.97, right, 0.0), (elsewhere, there, 0.94, rival, 0.05)];
                        assert!(read(&found).is_err(), "{found:?}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > 5_000, "{refused}");
    }

    #[test]
    fn with_another_character_of_the_field_in_doubt_nothing_is_put_right() {
        // A 9 for an 8, and the 2 in doubt too: several rivals of it would make the digit fit again.
        let other = |rival| read(&[(3, b'9', 0.55, b'8', 0.4), (6, b'2', 0.55, rival, 0.4)]);
        for rival in ALPHABET.iter().copied().filter(|rival| *rival != b'2') {
            assert!(other(rival).is_err(), "{}", char::from(rival));
        }
    }

    #[test]
    fn where_several_corrections_fit_none_is_made() {
        // B counts 11 and 1 counts 1.
        let mut lower = plain(LOWER);
        lower[36] = [0.0; ALPHABET.len()];
        for (character, share) in [(b'8', 0.4), (b'B', 0.3), (b'1', 0.2)] {
            lower[36][class(character)] = share;
        }
        let error = understand(&[&plain(UPPER), &lower], TODAY).unwrap_err();
        assert!(error.message().contains("do not say which"), "{error}");
    }

    #[test]
    fn what_the_picture_does_not_show_is_not_possible() {
        assert!(read(&[(28, b'2', 0.55, b'Z', 0.02)]).is_err());
        assert!(read(&[(28, b'2', 0.55, b'Z', 0.04)]).is_ok());
    }

    #[test]
    fn what_no_digit_covers_must_be_plain_to_see() {
        let mut upper = plain(UPPER);
        upper[6] = [0.0; ALPHABET.len()];
        upper[6][class(b'R')] = 0.55;
        assert_eq!(seen(&upper, &[]).unwrap_err().kind(), Kind::Input);
        upper[6][class(b'R')] = 0.61;
        assert!(seen(&upper, &[]).unwrap().plain);
        // The nationality, the sex.
        assert!(read(&[(11, b'T', 0.55, b'Y', 0.4)]).is_err());
        assert!(read(&[(20, b'F', 0.55, b'M', 0.4)]).is_err());
        // The L of the number may be a 1, the 6 of the personal number a G: they count the same.
        assert!(read(&[(0, b'L', 0.7, b'1', 0.25)]).is_err());
        assert!(read(&[(35, b'6', 0.7, b'G', 0.25)]).is_err());
        assert!(read(&[(0, b'L', 0.8, b'1', 0.15)]).unwrap().plain);
    }

    #[test]
    fn what_a_digit_proves_may_be_in_doubt_and_is_then_not_plain() {
        // Where a digit stands no letter is looked for.
        let read = read(&[(13, b'T', 0.5, b'7', 0.4)]).unwrap();
        assert_eq!((read.corrections, read.plain, &read.zone.lines[1][..]), (0, false, LOWER));
    }

    proptest! {
        #[test]
        fn whatever_is_corrected_has_right_digits_and_was_in_doubt(
            doubts in prop::collection::vec((0_usize..44, 0_usize..37, 0.3_f32..1.0, 0_usize..37), 0..4)
        ) {
            let doubts: Vec<Doubt> = doubts
                .into_iter()
                .map(|(column, one, share, other)| (column, ALPHABET[one], share, ALPHABET[other], 1.0 - share))
                .collect();
            if let Ok(read) = read(&doubts) {
                prop_assert!(Zone::parse(&read.zone.lines, TODAY).is_ok());
                prop_assert!(read.corrections <= MOST && (read.corrections == 0 || !read.plain));
            }
        }
    }
}
