//! The lines for machines as a chip holds them in DG1 (ICAO 9303 part 10 section 4.7.1; parts 4 to 6 for what stands where). They
//! are the issuer's own, so nothing is corrected: what does not fit is an error.

use jiff::civil::Date;

use super::tlv::{malformed, value};
use crate::document::{Document, DocumentKind, Label, Source, Text};
use crate::error::{Error, Kind, Result};

/// The facts of the lines. It has no `Debug`: they are about a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Mrz {
    /// The lines, two or three of 30, 36 or 44 letters.
    pub lines: Vec<String>,
    /// What kind of document it is.
    pub kind: DocumentKind,
    /// Its type in one or two letters.
    pub document_type: String,
    /// State or organisation that issued it.
    pub issuing_state: String,
    /// The number, fillers at its end taken off.
    pub number: String,
    /// Six digits of the day of birth; `<` stands for what is unknown.
    pub birthday: String,
    /// Six digits of the last valid day.
    pub expires: String,
    /// `M`, `F` or empty.
    pub sex: String,
    /// State whose national the holder is.
    pub nationality: String,
    /// Name: family name, then given names.
    pub name: String,
    /// What stands in the field that is the state's own, without fillers.
    pub optional: String,
}

/// Letters of the lines of one size, and how many lines.
const SIZES: [(usize, usize); 3] = [(44, 2), (36, 2), (30, 3)];

/// The check digit of a field (part 3 section 4.9); `None` where a letter is none of these lines.
pub fn check_digit(field: &str) -> Option<char> {
    let mut sum = 0;
    for (letter, weight) in field.chars().zip([7, 3, 1].into_iter().cycle()) {
        let value = match letter {
            '<' => 0,
            '0'..='9' | 'A'..='Z' => letter.to_digit(36)?,
            _ => return None,
        };
        sum += value * weight;
    }
    char::from_digit(sum % 10, 10)
}

impl Mrz {
    /// The lines of DG1, a whole file.
    ///
    /// # Errors
    /// `Device`: it is malformed. It says where, not what stands there.
    pub fn from_dg1(file: &[u8]) -> Result<Self> {
        let text = value(value(file, 0x61)?, 0x5f1f)?;
        let (length, _) = SIZES
            .into_iter()
            .find(|(length, count)| length * count == text.len())
            .ok_or_else(|| malformed(format!("the lines of DG1 have {} letters", text.len())))?;
        let line = |bytes: &[u8]| {
            let letters = bytes.iter().all(|byte| matches!(byte, b'<' | b'0'..=b'9' | b'A'..=b'Z'));
            letters.then(|| String::from_utf8_lossy(bytes).into_owned())
        };
        let lines: Option<Vec<String>> = text.chunks(length).map(line).collect();
        let lines = lines.ok_or_else(|| malformed("the lines of DG1 have letters which they cannot have"))?;
        Self::from_lines(&lines).map_err(|error| malformed(format!("DG1: {}", error.message())))
    }

    /// The facts of two or three lines.
    ///
    /// # Errors
    /// `Input`: they have another length, or a check digit is wrong; it says which.
    pub fn from_lines(lines: &[impl AsRef<str>]) -> Result<Self> {
        let lines: Vec<&str> = lines.iter().map(AsRef::as_ref).collect();
        let wrong = |what: &str| Error::new(Kind::Input, format!("the lines for machines: {what}"));
        let allowed = |line: &&str| line.bytes().all(|byte| matches!(byte, b'<' | b'0'..=b'9' | b'A'..=b'Z'));
        let size = lines.first().map_or(0, |line| line.len());
        if !SIZES.contains(&(size, lines.len()))
            || !lines.iter().all(|line| line.len() == size)
            || !lines.iter().all(allowed)
        {
            return Err(wrong("there must be two of 44 or 36 letters, or three of 30"));
        }
        let checked = |field: &str, digit: &str, what: &str| match check_digit(field) {
            Some(expected) if digit.starts_with(expected) => Ok(()),
            // An empty optional field may have no digit (part 4 section 4.2.2.2).
            Some('0') if digit == "<" && field.bytes().all(|byte| byte == b'<') => Ok(()),
            _ => Err(wrong(&format!("the check digit of {what} is wrong"))),
        };
        let (first, second) = (lines[0], lines[1]);
        // Where number, birthday, sex, expiry, nationality and names stand.
        let (number, digit, dates, nationality, names, optional) = match size {
            30 => (&first[5..14], &first[14..15], &second[..15], &second[15..18], lines[2], &first[15..30]),
            36 => {
                (&second[..9], &second[9..10], &second[13..28], &second[10..13], &first[5..], &second[28..35])
            }
            _ => {
                (&second[..9], &second[9..10], &second[13..28], &second[10..13], &first[5..], &second[28..42])
            }
        };
        // A long number goes on in the optional field, and its digit stands behind it (part 5 section 4.2.2.1).
        let long = (size != 44 && digit == "<")
            .then(|| optional.split('<').next().filter(|rest| rest.len() >= 2))
            .flatten();
        let (number, optional) = match long {
            Some(rest) => {
                let (more, digit) = rest.split_at(rest.len() - 1);
                let number = format!("{number}{more}");
                checked(&number, digit, "the number")?;
                (number, &optional[rest.len()..])
            }
            None => {
                checked(number, digit, "the number")?;
                (number.to_owned(), optional)
            }
        };
        let (birthday, sex, expires) = (&dates[..6], &dates[7..8], &dates[8..14]);
        checked(birthday, &dates[6..7], "the birthday")?;
        checked(expires, &dates[14..15], "the last valid day")?;
        if size == 44 {
            checked(optional, &second[42..43], "the personal number")?;
        }
        let visa = first.starts_with('V');
        if !visa {
            let (all, digit) = match size {
                30 => {
                    ([&first[5..30], &second[..7], &second[8..15], &second[18..29]].concat(), &second[29..])
                }
                36 => ([&second[..10], &second[13..20], &second[21..35]].concat(), &second[35..]),
                _ => ([&second[..10], &second[13..20], &second[21..43]].concat(), &second[43..]),
            };
            checked(&all, digit, "the whole")?;
        }
        let words =
            |text: &str| text.split('<').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        Ok(Self {
            kind: match size {
                _ if visa => DocumentKind::Visa,
                44 => DocumentKind::Passport,
                _ => DocumentKind::TravelCard,
            },
            document_type: first[..2].replace('<', ""),
            issuing_state: first[2..5].replace('<', ""),
            number: number.trim_end_matches('<').to_owned(),
            birthday: birthday.to_owned(),
            expires: expires.to_owned(),
            sex: sex.replace('<', ""),
            nationality: nationality.replace('<', ""),
            name: words(names),
            optional: words(optional),
            lines: lines.into_iter().map(str::to_owned).collect(),
        })
    }

    /// The day of birth; the century is the last in which it is not after `today`. `None` where a part is unknown.
    pub fn birthday(&self, today: Date) -> Option<Date> {
        let this = date(&self.birthday, today.year() / 100 * 100)?;
        if this <= today { Some(this) } else { date(&self.birthday, today.year() / 100 * 100 - 100) }
    }

    /// The last valid day: within fifty years of `today`. `None` where there is none.
    pub fn expires(&self, today: Date) -> Option<Date> {
        let century = today.year() / 100 * 100;
        let days =
            [century - 100, century, century + 100].into_iter().filter_map(|year| date(&self.expires, year));
        days.min_by_key(|day| (day.year() - today.year()).abs())
    }

    /// What passages and services need of it.
    pub fn document(&self, today: Date) -> Document {
        Document {
            kind: self.kind,
            number: self.number.clone(),
            name: self.name.clone(),
            gender: self.gender().to_owned(),
            nationality: self.nationality.clone(),
            issuing_state: self.issuing_state.clone(),
            birthday: self.birthday(today),
            expires: self.expires(today),
            ..Document::default()
        }
    }

    fn gender(&self) -> &'static str {
        match self.sex.as_str() {
            "M" => "男",
            "F" => "女",
            _ => "",
        }
    }

    /// The facts as texts that the chip says.
    pub fn texts(&self, today: Date) -> Vec<Text> {
        let day = |date: Option<Date>| date.map(|date| date.to_string()).unwrap_or_default();
        let mut texts: Vec<(Label, String)> = vec![
            (Label::DocumentType, self.document_type.clone()),
            (Label::IssuingState, self.issuing_state.clone()),
            (Label::Name, self.name.clone()),
            (Label::Number, self.number.clone()),
            (Label::Nationality, self.nationality.clone()),
            (Label::Birthday, day(self.birthday(today))),
            (Label::Gender, self.gender().to_owned()),
            (Label::Expires, day(self.expires(today))),
            (Label::PersonalNumber, self.optional.clone()),
        ];
        texts.extend([Label::Mrz1, Label::Mrz2, Label::Mrz3].into_iter().zip(self.lines.iter().cloned()));
        texts.retain(|(_, content)| !content.is_empty());
        texts.into_iter().map(|(label, content)| Text { label, content, source: Source::Chip }).collect()
    }
}

/// Six digits in the hundred years from `century` on.
fn date(digits: &str, century: i16) -> Option<Date> {
    let part = |at: usize| digits.get(at..at + 2)?.parse::<i16>().ok();
    Date::new(century + part(0)?, part(2)? as i8, part(4)? as i8).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tlv::object;
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    /// The specimens of part 4 appendix B, part 5 appendix B, part 6 appendix B; part 11 appendix D.2 for the long number.
    const TD3: [&str; 2] =
        ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
    const TD1: [&str; 3] = [
        "I<UTOD231458907<<<<<<<<<<<<<<<",
        "7408122F1204159UTO<<<<<<<<<<<6",
        "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
    ];
    const TD2: [&str; 2] = ["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"];
    const LONG: [&str; 3] = [
        "I<UTOD23145890<7349<<<<<<<<<<<",
        "3407127M9507122UTO<<<<<<<<<<<2",
        "STEVENSON<<PETER<JOHN<<<<<<<<<",
    ];

    fn dg1(lines: &[&str]) -> Vec<u8> {
        object(0x61, &[&object(0x5f1f, &[lines.concat().as_bytes()])])
    }

    #[test]
    fn specimens_are_read() {
        let today = date(2011, 5, 1);
        let passport = Mrz::from_dg1(&dg1(&TD3)).unwrap();
        let document = passport.document(today);
        assert_eq!(document.kind, DocumentKind::Passport);
        assert_eq!(document.number, "L898902C3");
        assert_eq!(document.name, "ERIKSSON ANNA MARIA");
        assert_eq!((document.gender.as_str(), document.nationality.as_str()), ("女", "UTO"));
        assert_eq!(document.birthday, Some(date(1974, 8, 12)));
        assert_eq!(document.expires, Some(date(2012, 4, 15)));
        assert_eq!(passport.optional, "ZE184226B");
        let texts = passport.texts(today);
        assert!(texts.iter().all(|text| text.source == Source::Chip));
        assert_eq!(texts.last().unwrap().content, TD3[1]);
        for lines in [&TD1[..], &TD2[..]] {
            let card = Mrz::from_dg1(&dg1(lines)).unwrap();
            assert_eq!(card.kind, DocumentKind::TravelCard);
            assert_eq!((card.number.as_str(), card.name.as_str()), ("D23145890", "ERIKSSON ANNA MARIA"));
            assert_eq!(card.birthday(today), Some(date(1974, 8, 12)));
        }
        let long = Mrz::from_lines(&LONG).unwrap();
        assert_eq!(long.number, "D23145890734");
        assert_eq!(long.birthday(today), Some(date(1934, 7, 12)));
        assert_eq!(long.expires(today), Some(date(1995, 7, 12)));
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        for (line, from, to, what) in [
            (1, "L898902C36", "L898902D36", "number"),
            (1, "7408122", "7408123", "birthday"),
            (1, "1204159", "1204158", "last valid day"),
            (1, "ZE184226B<<<<<1", "ZE184226B<<<<<2", "personal number"),
            (1, "<10", "<11", "whole"),
        ] {
            let mut lines = TD3.map(str::to_owned);
            lines[line] = lines[line].replace(from, to);
            let error = Mrz::from_lines(&lines).err().unwrap().to_string();
            assert!(error.contains(what), "{error}");
            assert!(!error.contains("898902") && !error.contains("ERIKSSON"), "{error}");
        }
        assert!(Mrz::from_lines(&["P<UTO"]).is_err());
        assert!(Mrz::from_lines(&[""; 0]).is_err());
        let umlauts = ["Ä".repeat(22), "Ä".repeat(22)];
        assert!(Mrz::from_lines(&umlauts).is_err());
        assert!(Mrz::from_dg1(&dg1(&["ABC"])).is_err());
    }

    #[test]
    fn check_digits_are_those_of_part_3() {
        // Part 3 section 4.9 and its appendix A.
        assert_eq!(check_digit("520727"), Some('3'));
        assert_eq!(check_digit("AB2134<<<"), Some('5'));
        assert_eq!(check_digit("HA672242<658022549601086<<<<<<<<<<<<<<0"), Some('8'));
        assert_eq!(check_digit("a"), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Mrz::from_dg1(&bytes);
            let _ = Mrz::from_dg1(&object(0x61, &[&object(0x5f1f, &[&bytes])]));
        }

        #[test]
        fn any_letters_are_no_panic(text in "[A-Z0-9<]{88}", small in "[A-Z0-9<]{90}") {
            let _ = Mrz::from_dg1(&dg1(&[&text]));
            let _ = Mrz::from_dg1(&dg1(&[&small]));
        }
    }
}
