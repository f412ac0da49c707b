//! The lines of a machine readable zone: TD1, TD2 and TD3 of ICAO 9303 parts 5, 6 and 4, MRV-A and MRV-B of part 7.
//!
//! Everything that a check digit covers must agree with it, or the zone is refused. What states do beyond the standard is let
//! through where the digits hold: codes of documents and states are not looked up, a filler stands for a check
//! digit over nothing, and a day that is not known (`<<`) makes a date absent.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;

use super::check;
use crate::document::{Document, DocumentKind, Label, Reading, Source, Text};
use crate::error::{Error, Kind, Result};

/// How long after today, in years, a document may expire: what is later lies in the century before.
const LATEST_EXPIRY: i16 = 50;

/// Shapes of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Three lines of 30: cards.
    Td1,
    /// Two lines of 36: larger cards.
    Td2,
    /// Two lines of 44: passports.
    Td3,
    /// Two lines of 44: visas in passport size.
    MrvA,
    /// Two lines of 36: smaller visas.
    MrvB,
}

/// Line and columns.
pub(crate) type Place = (usize, Range<usize>);

/// Characters that a digit covers, in the order in which they are counted, and where the digit stands.
pub(crate) struct Checked {
    /// In words, for a technician.
    pub what: &'static str,
    /// What is counted.
    pub over: Vec<Place>,
    /// The digit.
    pub digit: (usize, usize),
    /// A filler may stand for the digit where only fillers are counted.
    pub may_be_absent: bool,
}

impl Layout {
    /// The layout of lines, by their number, their length and the document code. `Input` if there is none.
    pub fn of(lines: &[impl AsRef<str>]) -> Result<Self> {
        let lengths: Vec<usize> = lines.iter().map(|line| line.as_ref().len()).collect();
        let visa = lines.first().is_some_and(|line| line.as_ref().starts_with('V'));
        match (&lengths[..], visa) {
            ([30, 30, 30], _) => Ok(Self::Td1),
            ([36, 36], false) => Ok(Self::Td2),
            ([36, 36], true) => Ok(Self::MrvB),
            ([44, 44], false) => Ok(Self::Td3),
            ([44, 44], true) => Ok(Self::MrvA),
            _ => Err(Error::new(
                Kind::Input,
                format!("{} lines of {lengths:?} characters are no machine readable zone", lengths.len()),
            )),
        }
    }

    /// How many characters a line has.
    pub fn width(self) -> usize {
        match self {
            Self::Td1 => 30,
            Self::Td2 | Self::MrvB => 36,
            Self::Td3 | Self::MrvA => 44,
        }
    }

    /// How many lines there are.
    pub fn lines(self) -> usize {
        if self == Self::Td1 { 3 } else { 2 }
    }

    fn names(self) -> Place {
        if self == Self::Td1 { (2, 0..30) } else { (0, 5..self.width()) }
    }

    fn number(self) -> Place {
        if self == Self::Td1 { (0, 5..14) } else { (1, 0..9) }
    }

    fn number_digit(self) -> (usize, usize) {
        if self == Self::Td1 { (0, 14) } else { (1, 9) }
    }

    /// Where the rest of a number of more than nine characters stands, with its digit.
    fn number_rest(self) -> Option<Place> {
        match self {
            Self::Td1 => Some((0, 15..30)),
            Self::Td2 => Some((1, 28..35)),
            _ => None,
        }
    }

    fn nationality(self) -> Place {
        if self == Self::Td1 { (1, 15..18) } else { (1, 10..13) }
    }

    fn birthday(self) -> Place {
        if self == Self::Td1 { (1, 0..6) } else { (1, 13..19) }
    }

    fn sex(self) -> (usize, usize) {
        if self == Self::Td1 { (1, 7) } else { (1, 20) }
    }

    fn expiry(self) -> Place {
        if self == Self::Td1 { (1, 8..14) } else { (1, 21..27) }
    }

    /// The fields that the issuing state fills as it likes.
    fn optional(self) -> Vec<Place> {
        match self {
            Self::Td1 => vec![(0, 15..30), (1, 18..29)],
            Self::Td2 => vec![(1, 28..35)],
            Self::Td3 => vec![(1, 28..42)],
            Self::MrvA => vec![(1, 28..44)],
            Self::MrvB => vec![(1, 28..36)],
        }
    }

    /// The digits of a zone, the composite one last. `lines` says where a long number ends.
    pub(crate) fn checks(self, lines: &[Vec<u8>]) -> Vec<Checked> {
        let after = |(line, columns): Place| (line, columns.end);
        let mut checks = Vec::with_capacity(5);
        let (number, digit) = (self.number(), self.number_digit());
        match self.long_number(lines) {
            Some((line, rest)) => checks.push(Checked {
                what: "number",
                over: vec![number, (line, rest.start..rest.end - 1)],
                digit: (line, rest.end - 1),
                may_be_absent: false,
            }),
            None => checks.push(Checked { what: "number", over: vec![number], digit, may_be_absent: false }),
        }
        for (what, place) in [("day of birth", self.birthday()), ("day of expiry", self.expiry())] {
            let digit = after(place.clone());
            checks.push(Checked { what, over: vec![place], digit, may_be_absent: true });
        }
        if self == Self::Td3 {
            checks.push(Checked {
                what: "personal number",
                over: vec![(1, 28..42)],
                digit: (1, 42),
                may_be_absent: true,
            });
        }
        let composite = match self {
            Self::Td1 => Some((vec![(0, 5..30), (1, 0..7), (1, 8..15), (1, 18..29)], (1, 29))),
            Self::Td2 => Some((vec![(1, 0..10), (1, 13..20), (1, 21..35)], (1, 35))),
            Self::Td3 => Some((vec![(1, 0..10), (1, 13..20), (1, 21..43)], (1, 43))),
            Self::MrvA | Self::MrvB => None,
        };
        if let Some((over, digit)) = composite {
            checks.push(Checked { what: "whole", over, digit, may_be_absent: false });
        }
        checks
    }

    /// Whether a check digit covers a place, or it is one.
    pub(crate) fn is_covered(self, line: usize, column: usize) -> bool {
        let within = |(row, columns): &Place| *row == line && columns.contains(&column);
        let blank = vec![vec![b'0'; self.width()]; self.lines()];
        self.checks(&blank).iter().any(|check| check.digit == (line, column) || check.over.iter().any(within))
    }

    /// Where the rest of a long number and its digit stand (part 5, note j): a filler is in the digit's place, and the
    /// optional data begin with at least one character and the digit, up to a filler.
    fn long_number(self, lines: &[Vec<u8>]) -> Option<Place> {
        let (line, column) = self.number_digit();
        if lines[line][column] != b'<' {
            return None;
        }
        let (line, columns) = self.number_rest()?;
        let rest = &lines[line][columns.clone()];
        let length = rest.iter().position(|c| *c == b'<').unwrap_or(rest.len());
        (length >= 2).then_some((line, columns.start..columns.start + length))
    }

    /// What may stand at a place, whatever the check digits say.
    pub(crate) fn allows(self, line: usize, column: usize, character: u8) -> bool {
        let within = |place: Place| place.0 == line && place.1.contains(&column);
        let letter = character.is_ascii_uppercase() || character == b'<';
        let digit = character.is_ascii_digit() || character == b'<';
        if within(self.names()) || within(self.nationality()) || (line, column) == self.sex() {
            return letter;
        }
        if line == 0 && column < 5 {
            // The second letter of a document's code may be anything that the state likes.
            return letter || (column == 1 && digit);
        }
        let dates = [self.birthday(), self.expiry()];
        if dates.into_iter().any(|(row, columns)| within((row, columns.start..columns.end + 1))) {
            return digit;
        }
        let single = match self {
            Self::Td1 => (line, column) == (1, 29),
            Self::Td2 => (line, column) == (1, 35),
            Self::Td3 => line == 1 && (42..44).contains(&column),
            Self::MrvA | Self::MrvB => false,
        };
        if single || (line, column) == self.number_digit() {
            return digit;
        }
        letter || digit
    }
}

/// The characters of places, in their order.
pub(crate) fn characters<'a>(lines: &'a [Vec<u8>], places: &'a [Place]) -> impl Iterator<Item = u8> + 'a {
    places.iter().flat_map(|(line, columns)| lines[*line][columns.clone()].iter().copied())
}

impl Checked {
    /// Whether the digit is right.
    pub(crate) fn holds(&self, lines: &[Vec<u8>]) -> bool {
        let found = lines[self.digit.0][self.digit.1];
        found == check::digit(characters(lines, &self.over))
            || (found == b'<' && self.may_be_absent && characters(lines, &self.over).all(|c| c == b'<'))
    }
}

/// Lines as bytes, all of which may stand in a zone.
pub(crate) fn bytes(lines: &[impl AsRef<str>]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_ref().as_bytes().to_vec()).collect()
}

/// A zone that was understood, all of whose check digits are right.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its shape.
    pub layout: Layout,
    /// Code of the document, such as `P`, `I` or `VC`, without fillers.
    pub code: String,
    /// State or organisation that issued it, without fillers: `UTO`, `D`.
    pub issuing_state: String,
    /// The primary identifier: the family name where there is one.
    pub surname: String,
    /// The secondary identifier: the given names. May be empty.
    pub given_names: String,
    /// The names fill their field to the end: some may be cut off or missing (part 3, section 4.6).
    pub truncated: bool,
    /// Number of the document, without fillers.
    pub number: String,
    /// State whose national the holder is, without fillers.
    pub nationality: String,
    /// Day of birth, absent where a part of it is not known.
    pub birthday: Option<Date>,
    /// `M`, `F`, or `<` (and `X` of some states) for neither.
    pub sex: char,
    /// Last day on which it is valid.
    pub expires: Option<Date>,
    /// What the state put into the fields of its own, without trailing fillers; of TD3 the personal number.
    pub optional: Vec<String>,
    /// The lines themselves.
    pub lines: Vec<String>,
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Zone {
    /// Understands lines. `today` tells the centuries: nobody is born later, and no document is valid for more than
    /// 50 years. `Input`, with the field that is wrong but not what it says, if the lines are no zone or a
    /// check digit is not right.
    pub fn parse(lines: &[impl AsRef<str>], today: Date) -> Result<Self> {
        let layout = Layout::of(lines)?;
        let bytes = bytes(lines);
        for (number, line) in bytes.iter().enumerate() {
            if let Some(column) = (0..line.len()).find(|&column| !layout.allows(number, column, line[column]))
            {
                return Err(Error::new(
                    Kind::Input,
                    format!(
                        "line {} of the machine readable zone has a character in column {} that cannot stand there",
                        number + 1,
                        column + 1
                    ),
                ));
            }
        }
        if let Some(wrong) = layout.checks(&bytes).iter().find(|check| !check.holds(&bytes)) {
            return Err(Error::new(
                Kind::Input,
                format!("the check digit over the {} of the machine readable zone is wrong", wrong.what),
            ));
        }
        let text = |(line, columns): Place| lines[line].as_ref()[columns].to_owned();
        let code = trimmed(&text((0, 0..2)));
        if !code.starts_with(|first: char| first.is_ascii_uppercase()) {
            return Err(Error::new(
                Kind::Input,
                "the machine readable zone does not say what document it is of",
            ));
        }
        let names = text(layout.names());
        let (surname, given_names) = names.split_once("<<").unwrap_or((&names, ""));
        let surname = spaced(surname);
        if surname.is_empty() {
            return Err(Error::new(Kind::Input, "the machine readable zone has no name"));
        }
        let long = layout.long_number(&bytes);
        let mut number = text(layout.number());
        if let Some((line, rest)) = &long {
            number.push_str(&lines[*line].as_ref()[rest.start..rest.end - 1]);
        }
        let number = trimmed(&number);
        if number.is_empty() {
            return Err(Error::new(Kind::Input, "the machine readable zone has no number"));
        }
        let optional = layout
            .optional()
            .into_iter()
            .map(|place| match &long {
                Some((line, rest)) if *line == place.0 && place.1.contains(&rest.start) => {
                    trimmed(&lines[*line].as_ref()[rest.end..place.1.end])
                }
                _ => trimmed(&text(place)),
            })
            .collect();
        let birthday = date(&text(layout.birthday()), "birth", |year| year <= today.year())?;
        // A day later in this year can only be meant a century ago.
        let birthday = birthday.map(|born| if born > today { century_before(born) } else { born });
        let expires = date(&text(layout.expiry()), "expiry", |year| year <= today.year() + LATEST_EXPIRY)?;
        let (line, column) = layout.sex();
        Ok(Self {
            layout,
            code,
            issuing_state: trimmed(&text((0, 2..5))),
            surname,
            given_names: spaced(given_names),
            truncated: !names.ends_with('<'),
            number,
            nationality: trimmed(&text(layout.nationality())),
            birthday,
            sex: char::from(bytes[line][column]),
            expires,
            optional,
            lines: lines.iter().map(|line| line.as_ref().to_owned()).collect(),
        })
    }

    /// The whole name: family name first, as the zone has it.
    pub fn name(&self) -> String {
        if self.given_names.is_empty() {
            self.surname.clone()
        } else {
            format!("{} {}", self.surname, self.given_names)
        }
    }

    /// What the keys of the chip are derived from (part 11, section 4.3.2 and appendix D.2): number, day of birth and day of
    /// expiry, each with its check digit.
    pub fn key_information(&self) -> String {
        let text = |(line, columns): Place| &self.lines[line][columns];
        let mut number = text(self.layout.number()).to_owned();
        // As printed, with the fillers within it.
        if let Some((line, rest)) = self.layout.long_number(&bytes(&self.lines)) {
            number.push_str(text((line, rest.start..rest.end - 1)));
        }
        let mut information = String::with_capacity(40);
        for field in [&number[..], text(self.layout.birthday()), text(self.layout.expiry())] {
            information.push_str(field);
            information.push(char::from(check::digit(field.bytes())));
        }
        information
    }

    /// The document, its texts and its lines, as a reading without pictures.
    pub fn into_reading(self) -> Reading {
        let kind = match self.layout {
            Layout::Td3 => DocumentKind::Passport,
            Layout::Td1 | Layout::Td2 => DocumentKind::TravelCard,
            Layout::MrvA | Layout::MrvB => DocumentKind::Visa,
        };
        let gender = match self.sex {
            'M' => "男",
            'F' => "女",
            _ => "",
        };
        let day = |date: Option<Date>| date.map(|date| date.to_string()).unwrap_or_default();
        let [mrz1, mrz2, mrz3] = [0, 1, 2].map(|line| self.lines.get(line).cloned().unwrap_or_default());
        let personal = self.optional.iter().find(|text| !text.is_empty()).cloned().unwrap_or_default();
        let texts = [
            (Label::DocumentType, self.code.clone()),
            (Label::Number, self.number.clone()),
            (Label::Name, self.name()),
            (Label::Gender, gender.to_owned()),
            (Label::Birthday, day(self.birthday)),
            (Label::Nationality, self.nationality.clone()),
            (Label::IssuingState, self.issuing_state.clone()),
            (Label::Expires, day(self.expires)),
            (Label::PersonalNumber, personal),
            (Label::Mrz1, mrz1),
            (Label::Mrz2, mrz2),
            (Label::Mrz3, mrz3),
        ];
        let texts = texts
            .into_iter()
            .filter(|(_, content)| !content.is_empty())
            .map(|(label, content)| Text { label, content, source: Source::Mrz })
            .collect();
        let document = Document {
            kind,
            name: self.name(),
            number: self.number,
            gender: gender.to_owned(),
            nationality: self.nationality,
            issuing_state: self.issuing_state,
            birthday: self.birthday,
            expires: self.expires,
            photo: None::<Arc<[u8]>>,
            ..Document::default()
        };
        Reading { document, texts, mrz: self.lines, ..Reading::default() }
    }
}

/// Without the fillers at its end; those within, which some numbers have, stay out too.
fn trimmed(text: &str) -> String {
    text.chars().filter(|c| *c != '<').collect()
}

/// Fillers between words are spaces.
fn spaced(text: &str) -> String {
    text.split('<').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `YYMMDD` in the latest century in which the year may be; `None` where a part is not known.
fn date(text: &str, what: &str, may_be: impl Fn(i16) -> bool) -> Result<Option<Date>> {
    if text.contains('<') {
        return Ok(None);
    }
    let part = |from: usize| text[from..from + 2].parse::<i8>().ok();
    let (Some(year), Some(month), Some(day)) = (part(0), part(2), part(4)) else { return Ok(None) };
    // Part 3 lets zeros stand for what is not known.
    if month == 0 || day == 0 {
        return Ok(None);
    }
    let year = [2100, 2000, 1900, 1800]
        .into_iter()
        .map(|century| century + i16::from(year))
        .find(|year| may_be(*year));
    year.and_then(|year| Date::new(year, month, day).ok()).map(Some).ok_or_else(|| {
        Error::new(Kind::Input, format!("the day of {what} of the machine readable zone is no day"))
    })
}

fn century_before(date: Date) -> Date {
    // The 29th of February of a century that has none: the day after is as good as any.
    Date::new(date.year() - 100, date.month(), date.day())
        .unwrap_or_else(|_| Date::constant(date.year() - 100, 3, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date as day;
    use proptest::prelude::*;

    const TODAY: Date = day(2026, 11, 22);

    /// ICAO 9303-4, appendix B.
    const TD3: [&str; 2] =
        ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
    /// ICAO 9303-5, appendix B.
    const TD1: [&str; 3] = [
        "I<UTOD231458907<<<<<<<<<<<<<<<",
        "7408122F1204159UTO<<<<<<<<<<<6",
        "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
    ];
    /// ICAO 9303-6, appendix B.
    const TD2: [&str; 2] = ["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"];
    /// ICAO 9303-7, appendices A and B.
    const MRV_A: [&str; 2] =
        ["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L8988901C4XXX4009078F96121096ZE184226B<<<<<<"];
    const MRV_B: [&str; 2] = ["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "L8988901C4XXX4009078F9612109<<<<<<<<"];
    /// ICAO 9303-11, appendix D.2: a number of more than nine characters.
    const LONG: [&str; 3] = [
        "I<UTOD23145890<7349<<<<<<<<<<<",
        "3407127M9507122UTO<<<<<<<<<<<2",
        "STEVENSON<<PETER<JOHN<<<<<<<<<",
    ];

    #[test]
    fn the_specimen_passport_is_understood() {
        let zone = Zone::parse(&TD3, TODAY).unwrap();
        assert_eq!(zone.layout, Layout::Td3);
        assert_eq!((&zone.code[..], &zone.issuing_state[..], &zone.nationality[..]), ("P", "UTO", "UTO"));
        assert_eq!((&zone.surname[..], &zone.given_names[..]), ("ERIKSSON", "ANNA MARIA"));
        assert!(!zone.truncated);
        assert_eq!(zone.number, "L898902C3");
        assert_eq!((zone.birthday, zone.expires), (Some(day(1974, 8, 12)), Some(day(2012, 4, 15))));
        assert_eq!(zone.sex, 'F');
        assert_eq!(zone.optional, ["ZE184226B"]);
        // ICAO 9303-11, appendix D.2: the same kind of string for the keys.
        assert_eq!(zone.key_information(), "L898902C3674081221204159");
        let reading = zone.into_reading();
        assert_eq!(reading.document.kind, DocumentKind::Passport);
        assert_eq!(reading.document.name, "ERIKSSON ANNA MARIA");
        assert_eq!(reading.document.gender, "女");
        assert_eq!(reading.mrz, TD3);
        let texts: Vec<_> = reading.texts.iter().map(|text| (text.label, &text.content[..])).collect();
        assert_eq!(
            texts,
            [
                (Label::DocumentType, "P"),
                (Label::Number, "L898902C3"),
                (Label::Name, "ERIKSSON ANNA MARIA"),
                (Label::Gender, "女"),
                (Label::Birthday, "1974-08-12"),
                (Label::Nationality, "UTO"),
                (Label::IssuingState, "UTO"),
                (Label::Expires, "2012-04-15"),
                (Label::PersonalNumber, "ZE184226B"),
                (Label::Mrz1, TD3[0]),
                (Label::Mrz2, TD3[1]),
            ]
        );
        assert!(reading.texts.iter().all(|text| text.source == Source::Mrz));
    }

    #[test]
    fn the_specimens_of_the_other_layouts_are_understood() {
        let card = Zone::parse(&TD1, TODAY).unwrap();
        assert_eq!((card.layout, &card.number[..], &card.code[..]), (Layout::Td1, "D23145890", "I"));
        assert_eq!((card.birthday, card.expires), (Some(day(1974, 8, 12)), Some(day(2012, 4, 15))));
        assert_eq!(card.name(), "ERIKSSON ANNA MARIA");
        assert_eq!(card.optional, ["", ""]);
        let card = Zone::parse(&TD2, TODAY).unwrap();
        assert_eq!((card.layout, &card.number[..], card.sex), (Layout::Td2, "D23145890", 'F'));
        assert_eq!(card.clone().into_reading().document.kind, DocumentKind::TravelCard);
        for (lines, layout) in [(MRV_A, Layout::MrvA), (MRV_B, Layout::MrvB)] {
            let visa = Zone::parse(&lines, TODAY).unwrap();
            assert_eq!((visa.layout, &visa.number[..], &visa.nationality[..]), (layout, "L8988901C", "XXX"));
            assert_eq!((visa.birthday, visa.expires), (Some(day(1940, 9, 7)), Some(day(1996, 12, 10))));
            assert_eq!(visa.into_reading().document.kind, DocumentKind::Visa);
        }
    }

    #[test]
    fn a_long_number_goes_on_in_the_optional_data() {
        let card = Zone::parse(&LONG, TODAY).unwrap();
        assert_eq!(card.number, "D23145890734");
        assert_eq!(card.optional, ["", ""]);
        assert_eq!((card.birthday, card.expires), (Some(day(1934, 7, 12)), Some(day(1995, 7, 12))));
        assert_eq!(card.key_information(), "D23145890734934071279507122");
    }

    #[test]
    fn a_long_number_keeps_the_fillers_within_it_for_the_keys() {
        // The digits were counted apart from this program, by the rule of part 3, section 4.9.
        let lines = [
            "I<UTOD2<145890<7346<<<<<<<<<<<",
            "3407127M9507122UTO<<<<<<<<<<<0",
            "STEVENSON<<PETER<JOHN<<<<<<<<<",
        ];
        let card = Zone::parse(&lines, TODAY).unwrap();
        assert_eq!(card.number, "D2145890734");
        assert_eq!(card.key_information(), "D2<145890734634071279507122");
    }

    #[test]
    fn years_belong_to_the_century_that_is_possible() {
        let parse = |birth: &str, expiry: &str, today: Date| {
            let mut line = format!("L898902C36UTO{birth}");
            line.push(char::from(check::digit(birth.bytes())));
            line.push_str(&format!("<{expiry}"));
            line.push(char::from(check::digit(expiry.bytes())));
            line.push_str("<<<<<<<<<<<<<<<");
            let composite = check::digit(
                line.bytes()
                    .enumerate()
                    .filter(|(at, _)| !(10..13).contains(at) && *at != 20)
                    .map(|(_, c)| c),
            );
            line.push(char::from(composite));
            let zone = Zone::parse(&[TD3[0], &line], today).unwrap();
            (zone.birthday, zone.expires)
        };
        let today = day(2026, 11, 22);
        assert_eq!(parse("261122", "270101", today), (Some(day(2026, 11, 22)), Some(day(2027, 1, 1))));
        assert_eq!(parse("261123", "760101", today), (Some(day(1926, 11, 23)), Some(day(2076, 1, 1))));
        assert_eq!(parse("991231", "771231", today), (Some(day(1999, 12, 31)), Some(day(1977, 12, 31))));
        assert_eq!(parse("000229", "<<<<<<", today), (Some(day(2000, 2, 29)), None));
        // Days and months that nobody knows.
        assert_eq!(parse("74<<<<", "300000", today), (None, None));
        assert_eq!(parse("<<<<<<", "300101", today), (None, Some(day(2030, 1, 1))));
    }

    #[test]
    fn names_fill_their_field_or_have_one_part() {
        let name = |names: &str| {
            let first = format!("P<UTO{names:<<39}");
            let zone = Zone::parse(&[&first, TD3[1]], TODAY).unwrap();
            (zone.surname, zone.given_names, zone.truncated)
        };
        let own = |surname: &str, given: &str, truncated| (surname.to_owned(), given.to_owned(), truncated);
        // ICAO 9303-4, section 4.2.3 and its tables of names.
        assert_eq!(name("VAN<DER<MUELLEN<<PETER"), own("VAN DER MUELLEN", "PETER", false));
        assert_eq!(name("ARKFREITH"), own("ARKFREITH", "", false));
        assert_eq!(
            name("BENNELONG<WOOLOOMOOLOO<WARRANDYTE<WARNA"),
            own("BENNELONG WOOLOOMOOLOO WARRANDYTE WARNA", "", true)
        );
        assert_eq!(
            name("NILAVADHANANANDA<<CHAYAPA<DEJTHAMRONG<K"),
            own("NILAVADHANANANDA", "CHAYAPA DEJTHAMRONG K", true)
        );
    }

    #[test]
    fn what_the_digits_do_not_cover_for_nothing_may_be_a_filler() {
        // A German specimen as its issuer publishes it: state of one letter, no personal number, filler as its digit.
        let german =
            ["P<D<<MUSTERMANN<<ERIKA<<<<<<<<<<<<<<<<<<<<<<", "C01X00T478D<<6408125F2702283<<<<<<<<<<<<<<<4"];
        let zone = Zone::parse(&german, TODAY).unwrap();
        assert_eq!((&zone.issuing_state[..], &zone.nationality[..]), ("D", "D"));
        assert_eq!((zone.birthday, zone.expires), (Some(day(1964, 8, 12)), Some(day(2027, 2, 28))));
        assert_eq!(zone.optional, [""]);
    }

    #[test]
    fn wrong_zones_are_refused_with_the_field_and_without_what_it_says() {
        let refused = |lines: &[&str]| {
            let error = Zone::parse(lines, TODAY).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            let text = error.to_string();
            assert!(!text.contains("L898902C"), "{text}");
            text
        };
        assert!(refused(&[TD3[0], "L898902C36UTO7408122F1204159ZE184226B<<<<<11"]).contains("whole"));
        assert!(refused(&[TD3[0], "L898902D36UTO7408122F1204159ZE184226B<<<<<10"]).contains("number"));
        assert!(refused(&[TD3[0], "L898902C36UTO7408132F1204159ZE184226B<<<<<10"]).contains("birth"));
        assert!(refused(&[TD3[0], "L898902C36UTO7408122F1204169ZE184226B<<<<<10"]).contains("expiry"));
        assert!(refused(&[TD3[0], "L898902C36UTO7408122F1204159ZE184226C<<<<<10"]).contains("personal"));
        assert!(refused(&[TD3[0], "L898902C36UT07408122F1204159ZE184226B<<<<<10"]).contains("column 13"));
        assert!(refused(&["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<1", TD3[1]]).contains("column 44"));
        assert!(refused(&["P<UTOeriksson<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", TD3[1]]).contains("column 6"));
        assert!(refused(&["P<UTO<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<", TD3[1]]).contains("name"));
        assert!(refused(&[TD3[0]]).contains("no machine readable zone"));
        assert!(refused(&["P<UTÖERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<", TD3[1]]).contains("column"));
        assert_eq!(format!("{:?}", Zone::parse(&TD3, TODAY).unwrap()), "Zone { layout: Td3, .. }");
    }

    proptest! {
        #[test]
        fn any_lines_are_understood_or_refused(
            lines in prop::collection::vec("\\PC{0,50}|[0-9A-Z<]{30}|[0-9A-Z<]{36}|[0-9A-Z<]{44}", 0..4)
        ) {
            let _ = Zone::parse(&lines, TODAY);
        }

        #[test]
        fn what_is_written_is_read(
            number in "[A-Z0-9]{1,9}", birth in 0_i32..30_000, expiry in -3000_i32..18_000, names in "[A-Z]{1,12}<<[A-Z]{1,10}",
            personal in "[A-Z0-9]{0,14}",
        ) {
            let written = |date: Date| date.strftime("%y%m%d").to_string();
            let born = TODAY.checked_sub(jiff::Span::new().days(birth)).unwrap();
            let ends = TODAY.checked_add(jiff::Span::new().days(expiry)).unwrap();
            let with = |field: &str| format!("{field}{}", char::from(check::digit(field.bytes())));
            let (first, second, third, fourth) = (
                with(&format!("{number:<<9}")), with(&written(born)), with(&written(ends)), with(&format!("{personal:<<14}")),
            );
            let composite = check::digit(format!("{first}{second}{third}{fourth}").bytes());
            let lines = [
                format!("P<UTO{names:<<39}"),
                format!("{first}UTO{second}M{third}{fourth}{}", char::from(composite)),
            ];
            let zone = Zone::parse(&lines, TODAY).unwrap();
            prop_assert_eq!(zone.number, number);
            prop_assert_eq!(zone.birthday, Some(born));
            prop_assert_eq!(zone.expires, Some(ends));
            prop_assert_eq!(zone.optional, [personal]);
        }

        #[test]
        fn one_wrong_digit_is_noticed(line in 0_usize..2, column in 0_usize..44, digit in b'0'..=b'9') {
            let mut lines = bytes(&TD3);
            prop_assume!(line == 1 && lines[line][column].is_ascii_digit() && lines[line][column] != digit);
            lines[line][column] = digit;
            let lines: Vec<String> = lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
            prop_assert!(Zone::parse(&lines, TODAY).is_err());
        }
    }
}
