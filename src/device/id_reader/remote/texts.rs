//! The texts of a document as services tell them, and what they come to.
//!
//! One fact may be told several times, of the chip, of the lines for machines and of the print: the first of these that is
//! there counts, in whatever order they came. Where the lines are there and their check digits hold, number, birthday and
//! last day are theirs.

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::document::mrz::Zone;
use crate::document::{Document, DocumentKind, LONG_TERM, Label, Reading, Source, Text};
use crate::text::Language;
use crate::text::document_reader::{KINDS, LABELS, kind, label, long_term, main_id, sex_of};

/// How long after today, in years, a document may expire whose year has two digits.
const LATEST_EXPIRY: i16 = 50;

/// Names under which other services tell what has a name of ours.
const ALIASES: &[(&str, Label)] = &[
    ("地址", Label::Address),
    ("出生", Label::Birthday),
    ("身份证号码", Label::Number),
    ("身份号码", Label::Number),
    ("证件号", Label::Number),
    ("护照号码MRZ", Label::Number),
    ("本国姓名", Label::Name),
    ("有效期限", Label::Expires),
    ("有效期截止", Label::Expires),
    ("有效期起始", Label::ValidFrom),
    ("有效期", Label::Expires),
    ("持证人国籍代码", Label::Nationality),
    ("国籍代码", Label::Nationality),
    ("Gender", Label::Gender),
    ("Nation", Label::Ethnic),
    ("Birthday", Label::Birthday),
    ("ID Number", Label::Number),
    ("Passport No.", Label::Number),
    ("Passport number from MRZ", Label::Number),
    ("Country code(Nationality)", Label::Nationality),
    ("Date of expiration", Label::Expires),
    ("Issue date", Label::ValidFrom),
    ("Authority", Label::Issuer),
];

/// What a name names, and where the name stands: our own before those of others, in the order of their table.
fn label_of(name: &str) -> Option<(Label, usize)> {
    let ours = |language| {
        let pairs = KINDS.into_iter().flat_map(|kind| LABELS.into_iter().map(move |one| (kind, one)));
        pairs.into_iter().find(|(kind, one)| label(*one, *kind, language) == name).map(|(_, one)| (one, 0))
    };
    let alias = || {
        let at = ALIASES.iter().position(|(one, _)| one.eq_ignore_ascii_case(name))?;
        ALIASES.get(at).map(|(_, label)| (*label, 1 + at))
    };
    ours(Language::Chinese).or_else(|| ours(Language::English)).or_else(alias)
}

/// The kind of a document, by its number, its name or its lines; `None` for one that is not known here.
fn kind_of(id: &str, name: &str, mrz: &[String]) -> Option<DocumentKind> {
    let by_id = KINDS.into_iter().find(|one| main_id(*one).to_string() == id);
    let named = |one: &DocumentKind| {
        [Language::Chinese, Language::English].iter().any(|language| kind(*one, *language) == name)
    };
    let by_mrz = || match mrz.first()?.as_bytes().first()? {
        b'P' => Some(DocumentKind::Passport),
        b'V' => Some(DocumentKind::Visa),
        _ => Some(DocumentKind::TravelCard),
    };
    by_id.or_else(|| KINDS.into_iter().find(named)).or_else(by_mrz)
}

/// English months, as documents print them: whole, or their first three letters.
const MONTHS: [&str; 12] = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
];

/// A part of a date.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// Digits, and the character behind them.
    Digits(&'a str, Option<char>),
    /// A month by its name.
    Month(i8),
}

/// The parts in a text; words that are no months are left out, such as a month in another language beside the English one.
fn parts(text: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(first) = rest.chars().next() {
        let same = |letter: char| match first {
            _ if first.is_ascii_digit() => letter.is_ascii_digit(),
            _ if first.is_alphabetic() => letter.is_alphabetic(),
            _ => false,
        };
        let end = rest.find(|letter| !same(letter)).unwrap_or(rest.len()).max(first.len_utf8());
        let (run, behind) = rest.split_at(end);
        if first.is_ascii_digit() {
            parts.push(Part::Digits(run, behind.chars().next()));
        } else {
            let word = run.to_ascii_uppercase();
            let is = |month: &&str| {
                *month == word
                    || word == "SEPT" && *month == "SEPTEMBER"
                    || month.get(..3) == Some(word.as_str())
            };
            let month = MONTHS.iter().position(is).and_then(|at| i8::try_from(at + 1).ok());
            // "3月/MAR" says it twice.
            parts.extend(month.map(Part::Month));
        }
        rest = behind;
    }
    parts
}

/// All days in a text, and nothing else in digits: `None` if anything is left that is no day, or may be two.
///
/// `1949-12-31`, `19491231`, `1949年12月31日`, `1949.1.2`; `31.12.1949`, `31 DEC 1949`, `31 12月/DEC 1949`, `Dec 31, 1949`.
/// With bars or dashes, `31/12/1949` and `12/31/1949` are clear, `01/02/1949` is not. Six digits are those of the
/// lines for machines, `YYMMDD`, in the last century that ends before `latest`; `None`: they are no day.
fn days(text: &str, latest: Option<Date>) -> Option<Vec<Date>> {
    let all = parts(text);
    let (mut days, mut rest) = (Vec::new(), &all[..]);
    while !rest.is_empty() {
        let (day, behind) = first_day(rest, latest)?;
        days.push(day);
        rest = behind;
    }
    Some(days)
}

fn first_day<'a, 'b>(parts: &'a [Part<'b>], latest: Option<Date>) -> Option<(Date, &'a [Part<'b>])> {
    use Part::{Digits, Month};
    let year = |digits: &str| if digits.len() == 4 { digits.parse::<i16>().ok() } else { None };
    let short = |digits: &str| if digits.len() <= 2 { digits.parse::<i8>().ok() } else { None };
    let (year, month, day, rest) = match parts {
        [Digits(whole, _), rest @ ..] if whole.len() == 8 => {
            (year(whole.get(..4)?)?, short(whole.get(4..6)?)?, short(whole.get(6..)?)?, rest)
        }
        [Digits(whole, _), rest @ ..] if whole.len() == 6 => {
            let (month, day) = (short(whole.get(2..4)?)?, short(whole.get(4..)?)?);
            let in_century = |century: i16| {
                let year = century + i16::from(short(whole.get(..2)?)?);
                Date::new(year, month, day).ok().filter(|day| latest.is_some_and(|latest| *day <= latest))
            };
            return Some((in_century(2000).or_else(|| in_century(1900))?, rest));
        }
        [Digits(first, _), Digits(second, _), Digits(third, _), rest @ ..] if first.len() == 4 => {
            (year(first)?, short(second)?, short(third)?, rest)
        }
        [Digits(first, _), Month(month), Digits(third, _), rest @ ..] if first.len() == 4 => {
            (year(first)?, *month, short(third)?, rest)
        }
        [Digits(day, _), Digits(again, _), Month(month), Digits(last, _), rest @ ..]
            if short(again) == Some(*month) =>
        {
            (year(last)?, *month, short(day)?, rest)
        }
        [Digits(day, _), Month(month), Digits(last, _), rest @ ..] => {
            (year(last)?, *month, short(day)?, rest)
        }
        [Month(month), Digits(day, _), Digits(last, _), rest @ ..] => {
            (year(last)?, *month, short(day)?, rest)
        }
        [Digits(first, one), Digits(second, other), Digits(last, _), rest @ ..] => {
            let (first, second) = (short(first)?, short(second)?);
            let (day, month) = match (first, second) {
                _ if (*one, *other) == (Some('.'), Some('.')) || first == second => (first, second),
                (13.., _) => (first, second),
                (_, 13..) => (second, first),
                // Who can tell 4 May from 5 April?
                _ => return None,
            };
            (year(last)?, month, day, rest)
        }
        _ => return None,
    };
    Some((Date::new(year, month, day).ok()?, rest))
}

/// The only day in a text.
fn day(text: &str, latest: Option<Date>) -> Option<Date> {
    match days(text, latest)?[..] {
        [day] => Some(day),
        _ => None,
    }
}

/// First and last day of a text that says how long a document is valid; a validity that begins and has no end says so. `None` if
/// it cannot be understood.
fn validity(text: &str, latest: Option<Date>) -> Option<(Option<Date>, Option<Date>)> {
    let plain = text.to_ascii_lowercase().replace("long-term", "long term");
    let endless =
        [Language::Chinese, Language::English].map(|language| long_term(language).to_ascii_lowercase());
    let without =
        endless.iter().find(|endless| plain.contains(*endless)).map(|endless| plain.replace(endless, " "));
    if let Some(rest) = without {
        return match days(&rest, latest)?[..] {
            [] => Some((None, None)),
            [from] => Some((Some(from), None)),
            _ => None,
        };
    }
    match days(text, latest)?[..] {
        [until] => Some((None, Some(until))),
        [from, until] if from <= until => Some((Some(from), Some(until))),
        _ => None,
    }
}

/// Whether the service says of any text where it comes from.
pub(super) fn tells_sources(fields: &Map<String, Value>) -> bool {
    fields
        .values()
        .any(|value| value.get("Source").and_then(Value::as_str).is_some_and(|said| !said.is_empty()))
}

/// With the chip's photo of an identity card come the chip's texts. Only for a service that says nothing of their source
/// ([`tells_sources`]).
pub(super) fn chip_was_read(reading: &mut Reading) {
    let card = reading.document.kind.is_identity_card() && reading.pictures.card_photo.is_some();
    if card && reading.texts.iter().all(|text| text.source == Source::Viz) {
        reading.texts.iter_mut().for_each(|text| text.source = Source::Chip);
    }
}

/// What readings have in Chinese whatever the service's language.
fn in_chinese(label: Label, content: String) -> String {
    match label {
        Label::Gender => sex_of(&content).map_or(content, str::to_owned),
        Label::Expires if content.eq_ignore_ascii_case(long_term(Language::English)) => LONG_TERM.to_owned(),
        _ => content,
    }
}

/// One text as it was told.
struct Told {
    label: Label,
    content: String,
    source: Source,
    /// What comes first counts: the source, then the name.
    rank: (u8, usize),
}

/// What the texts of a document come to; in words, why they are none that may be believed. `today` tells the centuries of years of two
/// digits.
pub(super) fn reading(fields: &Map<String, Value>, today: Date) -> Result<Reading, String> {
    let content = |value: &Value| match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Object(with_source) => {
            with_source.get("Content").and_then(Value::as_str).unwrap_or_default().trim().to_owned()
        }
        _ => String::new(),
    };
    let of = |name: &str| fields.get(name).map(content).unwrap_or_default();
    let mrz: Vec<String> =
        ["MRZ1", "MRZ2", "MRZ3"].map(of).into_iter().filter(|line| !line.is_empty()).collect();
    let kind = kind_of(&of("CARD_MAINID"), &of("CARD_NAME"), &mrz)
        .ok_or("the document is of a kind that is not known here, and has no lines for machines")?;
    let mut told = Vec::new();
    for (name, value) in fields {
        let (Some((label, place)), content) = (label_of(name), content(value)) else { continue };
        if content.is_empty() {
            continue;
        }
        let said = value.get("Source").and_then(Value::as_str).map(str::to_ascii_uppercase);
        let (source, rank) = match said.as_deref() {
            Some("RFID") => (Source::Chip, 0),
            Some("MRZ") => (Source::Mrz, 1),
            Some("VIZ") => (Source::Viz, 3),
            _ if name.ends_with("MRZ") => (Source::Mrz, 1),
            // Of a card that may have been photographed: the chip's photo shows that it was read (`chip_was_read`).
            _ if kind.is_identity_card() => (Source::Viz, 2),
            _ if mrz.is_empty() => (Source::Chip, 2),
            _ => (Source::Mrz, 2),
        };
        let content = in_chinese(label, content);
        told.push(Told { label, content, source, rank: (rank, place) });
    }
    let document = document(kind, &told, Zone::parse(&mrz, today).ok(), today)?;
    let text = |told: Told| Text { label: told.label, content: told.content, source: told.source };
    let texts = told.into_iter().map(text).collect();
    let bar_code = Some(of("BarCode")).filter(|code| !code.is_empty());
    Ok(Reading { document, texts, mrz, bar_code, ..Reading::default() })
}

fn document(kind: DocumentKind, told: &[Told], zone: Option<Zone>, today: Date) -> Result<Document, String> {
    // The best first.
    let all = |label: Label| {
        let mut all: Vec<&Told> = told.iter().filter(|one| one.label == label).collect();
        all.sort_by_key(|one| one.rank);
        all
    };
    let text = |label: Label| all(label).first().map(|one| one.content.clone()).unwrap_or_default();
    let six = |one: &Told, latest: Date| (one.source == Source::Mrz).then_some(latest);
    let day_of = |label: Label| all(label).into_iter().find_map(|one| day(&one.content, six(one, today)));
    let latest = Date::new(today.year() + LATEST_EXPIRY, 12, 31).unwrap_or(Date::MAX);
    let (mut from, mut until, mut unclear) = (None, None, false);
    for one in all(Label::Expires) {
        match validity(&one.content, six(one, latest)) {
            Some((first, last)) => (from, until) = (from.or(first), until.or(last)),
            None => unclear = true,
        }
    }
    let mut document = Document {
        kind,
        number: text(Label::Number),
        name: text(Label::Name),
        latin_name: text(Label::LatinName),
        gender: text(Label::Gender),
        ethnic: text(Label::Ethnic),
        nationality: text(Label::Nationality),
        issuing_state: text(Label::IssuingState),
        birthday: day_of(Label::Birthday),
        address: text(Label::Address),
        issuer: text(Label::Issuer),
        valid_from: day_of(Label::ValidFrom).or(from),
        expires: until,
        permit_number: text(Label::PermitNumber),
        issue_count: text(Label::IssueCount),
        version: text(Label::Version),
        additional_address: text(Label::AdditionalAddress),
        photo: None,
    };
    if let Some(zone) = zone {
        document.number = zone.number;
        document.birthday = zone.birthday.or(document.birthday);
        document.expires = zone.expires.or(document.expires);
    }
    // Whoever cannot be understood has not said that there is no end.
    if document.expires.is_none() && unclear {
        return Err("the last day of the document cannot be understood".into());
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const TODAY: Date = date(2026, 11, 22);

    /// The specimen of ICAO 9303 part 4.
    const TD3: [&str; 2] =
        ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];

    fn read(fields: &Value) -> Result<Reading, String> {
        reading(fields.as_object().unwrap(), TODAY)
    }

    fn facts(fields: &Value) -> Document {
        read(fields).unwrap().document
    }

    /// A card with one more text.
    fn until(name: &str, said: &str) -> Result<(Option<Date>, Option<Date>), String> {
        let fields = json!({ "CARD_MAINID": "2", "公民身份号码": "11010519491231002X", name: said });
        read(&fields).map(|reading| (reading.document.valid_from, reading.document.expires))
    }

    #[test]
    fn texts_of_every_service_are_understood() {
        let ours = json!({
            "CARD_MAINID": "2", "CARD_NAME": "居民身份证", "姓名": "张三", "性别": "男", "民族": "汉",
            "出生日期": "1949-12-31", "住址": "某处", "公民身份号码": "11010519491231002X", "有效期至": "长期",
        });
        let document = facts(&ours);
        assert_eq!((document.kind, document.name.as_str()), (DocumentKind::Resident, "张三"));
        assert_eq!((document.birthday, document.expires), (Some(date(1949, 12, 31)), None));
        assert_eq!((document.number.as_str(), document.address.as_str()), ("11010519491231002X", "某处"));
        let other = json!({
            "CARD_MAINID": { "Content": "13", "Source": "MRZ" },
            "Passport number from MRZ": { "Content": "L898902C3", "Source": "RFID" },
            "Sex": { "Content": "F", "Source": "MRZ" },
            "Date of expiration": { "Content": "2012-04-15", "Source": "MRZ" },
            "MRZ1": { "Content": "P<UTO", "Source": "MRZ" },
        });
        let reading = read(&other).unwrap();
        assert_eq!(
            (reading.document.kind, reading.document.number.as_str()),
            (DocumentKind::Passport, "L898902C3")
        );
        assert_eq!(reading.document.expires, Some(date(2012, 4, 15)));
        assert_eq!(reading.document.gender, "女", "as readings have it");
        let number = reading.texts.iter().find(|text| text.label == Label::Number).unwrap();
        assert_eq!((number.source, reading.mrz.as_slice()), (Source::Chip, &["P<UTO".to_owned()][..]));
        let english = json!({
            "CARD_MAINID": "2", "Sex": "Male", "Date of expiry": "Long term", "Date of issue": "2010-01-01",
        });
        let reading = read(&english).unwrap();
        assert_eq!((reading.document.gender.as_str(), reading.document.expires), ("男", None));
        assert!(reading.texts.iter().any(|text| text.label == Label::Expires && text.content == LONG_TERM));
    }

    #[test]
    fn a_card_was_read_by_its_chip_where_something_shows_it() {
        let sources = |fields: Value, photo: bool| {
            let mut reading = read(&fields).unwrap();
            reading.pictures.card_photo = photo.then(|| [0xFF, 0xD8].into());
            chip_was_read(&mut reading);
            reading.texts.iter().map(|text| text.source).collect::<Vec<_>>()
        };
        let plain = json!({ "CARD_MAINID": "2", "姓名": "张三" });
        assert_eq!(sources(plain.clone(), false), [Source::Viz]);
        assert_eq!(sources(plain, true), [Source::Chip]);
        let told = json!({ "CARD_MAINID": "2", "姓名": { "Content": "张三", "Source": "RFID" } });
        assert_eq!(sources(told, false), [Source::Chip]);
    }

    #[test]
    fn days_are_understood_as_documents_print_them() {
        for (said, expected) in [
            ("1949年1月2日", date(1949, 1, 2)),
            ("19491231", date(1949, 12, 31)),
            ("1949.1.2", date(1949, 1, 2)),
            ("15.04.2012", date(2012, 4, 15)),
            ("04.05.2012", date(2012, 5, 4)),
            ("01 MAR 2038", date(2038, 3, 1)),
            ("01 MAR/MARS 2038", date(2038, 3, 1)),
            ("03 3月/MAR 2038", date(2038, 3, 3)),
            ("1 Sept 2038", date(2038, 9, 1)),
            ("March 1, 2038", date(2038, 3, 1)),
            ("2038-MAY-01", date(2038, 5, 1)),
            ("15/04/2012", date(2012, 4, 15)),
            ("04/15/2012", date(2012, 4, 15)),
        ] {
            assert_eq!(day(said, None), Some(expected), "{said}");
        }
        for no_day in [
            "",
            "长期",
            "1949",
            "19491331",
            "20380231",
            "00000000",
            "49-1-2",
            "120415",
            "04/05/2012",
            "2038-03",
            "01 JUIN 2038",
            "01 JUN/MAY 2038",
            "2038-03-01 5",
            "10年",
        ] {
            assert_eq!(day(no_day, None), None, "{no_day}");
        }
        let latest = Some(date(2076, 12, 31));
        assert_eq!(day("120415", latest), Some(date(2012, 4, 15)));
        assert_eq!(day("761231", latest), Some(date(2076, 12, 31)));
        assert_eq!(day("770101", latest), Some(date(1977, 1, 1)));
        assert_eq!(day("380231", latest), None);
    }

    #[test]
    fn a_last_day_is_understood_or_the_document_is_not_read() {
        let (from, to) = (Some(date(2018, 3, 1)), Some(date(2038, 3, 1)));
        for range in [
            "2018-03-01-2038-03-01",
            "2018-03-01 ~ 2038-03-01",
            "2018.03.01-2038.03.01",
            "2018.03.01至2038.03.01",
            "20180301-20380301",
            "2018年3月1日至2038年3月1日",
            "01.03.2018-01.03.2038",
            "01 MAR 2018 - 01 MAR 2038",
            "2018-03-01--2038-03-01",
        ] {
            assert_eq!(until("有效期限", range), Ok((from, to)), "{range}");
        }
        for day in ["2038-03-01", "01 MAR 2038", "20380301"] {
            assert_eq!(until("有效期至", day), Ok((None, to)), "{day}");
        }
        for endless in ["长期", "Long term", "LONG-TERM"] {
            assert_eq!(until("有效期至", endless), Ok((None, None)), "{endless}");
        }
        assert_eq!(until("有效期限", "2018.03.01-长期"), Ok((from, None)));
        assert_eq!(until("有效期至", ""), Ok((None, None)), "it says nothing of an end");
        for unclear in [
            "20380231",
            "00000000",
            "04/05/2038",
            "120415",
            "2038-03-01-2018-03-01",
            "10年",
            "2018-2038",
            "never",
            "2018-03-01-2028-03-01-2038-03-01",
            "2018-03-01-2038-03-01-长期",
        ] {
            let why = until("有效期限", unclear).unwrap_err();
            assert_eq!(why, "the last day of the document cannot be understood", "{unclear}");
        }
        // Another text that says nothing takes nothing away, in whatever order.
        for (first, second) in [("有效期", "有效期至"), ("有效期至", "有效期")] {
            let mut fields = Map::new();
            fields.insert("CARD_MAINID".into(), json!(2));
            fields.insert(first.into(), json!("2012-04-15"));
            fields.insert(second.into(), json!("十年"));
            assert_eq!(reading(&fields, TODAY).unwrap().document.expires, Some(date(2012, 4, 15)));
        }
        // Six digits are the lines'.
        let lines = json!({
            "CARD_MAINID": "13", "Date of expiry": { "Content": "120415", "Source": "MRZ" },
            "Date of Birth": { "Content": "740812", "Source": "MRZ" },
        });
        let document = facts(&lines);
        assert_eq!((document.birthday, document.expires), (Some(date(1974, 8, 12)), Some(date(2012, 4, 15))));
    }

    #[test]
    fn the_number_does_not_depend_on_the_order_of_the_texts() {
        let both_orders = |pairs: [(&str, Value); 2], with: &[(&str, &str)], expected: &str| {
            for order in [[0, 1], [1, 0]] {
                // `serde_json` may keep the order or sort: either way both are tried under names that sort both ways.
                let mut fields = Map::new();
                fields.insert("CARD_MAINID".into(), json!("13"));
                fields.extend(order.map(|at| (pairs[at].0.to_owned(), pairs[at].1.clone())));
                fields.extend(with.iter().map(|(name, text)| ((*name).to_owned(), json!(text))));
                assert_eq!(reading(&fields, TODAY).unwrap().document.number, expected, "{pairs:?}");
            }
        };
        let of = |content: &str, source: &str| json!({ "Content": content, "Source": source });
        // The print, misread, under names before and behind that of the lines.
        both_orders(
            [("Passport number", json!("L8989O2C3")), ("护照号码MRZ", json!("L898902C3"))],
            &[],
            "L898902C3",
        );
        both_orders([("证件号", json!("L8989O2C3")), ("护照号码MRZ", json!("L898902C3"))], &[], "L898902C3");
        both_orders(
            [("Passport No.", of("A", "VIZ")), ("Passport number from MRZ", of("B", "MRZ"))],
            &[],
            "B",
        );
        both_orders([("Passport No.", of("A", "MRZ")), ("Passport number", of("B", "VIZ"))], &[], "A");
        both_orders([("Passport No.", of("A", "RFID")), ("Passport number", of("B", "MRZ"))], &[], "A");
        both_orders([("证件号", json!("A")), ("护照号码", json!("B"))], &[], "B");
        // Lines whose digits hold come before everything.
        let lines = [("MRZ1", TD3[0]), ("MRZ2", TD3[1])];
        both_orders([("Passport number", json!("A")), ("护照号码MRZ", json!("B"))], &lines, "L898902C3");
        // One digit of them misread: they are not believed.
        let damaged = TD3[1].replace("L898902C3", "L898902C8");
        let lines = [("MRZ1", TD3[0]), ("MRZ2", damaged.as_str())];
        both_orders([("Passport number", json!("A")), ("护照号码MRZ", json!("B"))], &lines, "B");
    }

    #[test]
    fn what_the_lines_say_is_checked() {
        let fields = json!({
            "CARD_NAME": "some passport", "Passport number": "1", "Date of Birth": "1980-01-01",
            "Date of expiry": "whenever", "MRZ1": TD3[0], "MRZ2": TD3[1],
        });
        let document = facts(&fields);
        assert_eq!((document.kind, document.number.as_str()), (DocumentKind::Passport, "L898902C3"));
        assert_eq!((document.birthday, document.expires), (Some(date(1974, 8, 12)), Some(date(2012, 4, 15))));
    }

    #[test]
    fn a_document_of_an_unknown_kind_is_nobodys_identity_card() {
        for fields in [
            json!({ "CARD_MAINID": "22", "CARD_NAME": "行驶证", "证件号": "11010519491231002X" }),
            json!({ "公民身份号码": "11010519491231002X" }),
        ] {
            let why = read(&fields).map(drop).unwrap_err();
            assert!(why.contains("a kind that is not known here") && !why.contains("110105"), "{why}");
        }
        let lines = json!({ "CARD_MAINID": "22", "MRZ1": "I<UTO", "证件号": "D23145890" });
        assert_eq!(facts(&lines).kind, DocumentKind::TravelCard);
    }

    proptest! {
        #[test]
        fn whatever_is_said_of_the_last_day_it_is_one_or_none(said in "[0-9a-zA-Z ./~年月日至长期-]{1,30}") {
            // Without an end is only what says so.
            if let Ok((_, None)) = until("有效期限", &said) {
                let plain = said.to_ascii_lowercase().replace('-', " ");
                prop_assert!(said.trim().is_empty() || said.contains("长期") || plain.contains("long term"));
            }
        }
    }
}
