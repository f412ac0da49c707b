//! What a module has read of a card: texts, photo and fingerprints, and the layouts of the texts.
//!
//! All texts are UCS-2, the low byte first, filled up with blanks, at fixed places in 256 bytes (GA 490 and the
//! specifications of the machine-readable data of the permanent residence cards of 2017 and 2023 and of the residence
//! permits for Hong Kong, Macao and Taiwan). Which layout it is says the letter at byte 248.

use jiff::civil::Date;

use crate::device::id_reader::codes;
use crate::document::{Document, DocumentKind, LONG_TERM, Label, Reading, Source, Text};
use crate::text::Language;
use crate::text::document_reader::long_term;

/// Bytes of the texts.
pub const TEXT_BYTES: usize = 256;
/// Bytes of the photo (WLT).
pub const PHOTO_BYTES: usize = 1024;
/// Bytes of the fingerprints: two of 512.
pub const FINGERPRINT_BYTES: usize = 1024;
/// Bytes of an additional address.
const ADDRESS_BYTES: usize = 70;
/// Bytes up to the last field that every card has: some modules send no more.
const FEWEST_TEXT_BYTES: usize = 220;

/// The parts of what a module has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// The texts, 220 to 256 bytes.
    pub texts: &'a [u8],
    /// The photo, empty or 1024 bytes.
    pub photo: &'a [u8],
    /// The fingerprints, empty, 512 or 1024 bytes.
    pub fingerprints: &'a [u8],
}

/// The parts of the data of an answer to [`Command::ReadBase`](super::frame::Command::ReadBase) or
/// [`Command::ReadFingerprints`](super::frame::Command::ReadFingerprints); `None` if it is no card's.
///
/// By the book two lengths stand before the data, three with fingerprints. Modules differ in three ways: two lengths with
/// fingerprints all the same, or three without any; lengths of zero; no lengths at all. What is there follows from how
/// much there is, for texts and photo have one size.
pub fn parts(data: &[u8]) -> Option<Parts<'_>> {
    let length = |index: usize| {
        let bytes = data.get(2 * index..2 * index + 2)?;
        Some(usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])))
    };
    let split = |head: usize, texts: usize, photo: usize, fingerprints: usize| {
        let rest = data.get(head..)?;
        let (texts, rest) = rest.split_at_checked(texts)?;
        let (photo, rest) = rest.split_at_checked(photo)?;
        (rest.len() == fingerprints).then_some(Parts { texts, photo, fingerprints: rest })
    };
    let sizes = |texts: usize, photo: usize, fingerprints: usize| {
        (FEWEST_TEXT_BYTES..=TEXT_BYTES).contains(&texts)
            && [0, PHOTO_BYTES].contains(&photo)
            && [0, FINGERPRINT_BYTES / 2, FINGERPRINT_BYTES].contains(&fingerprints)
    };
    // The lengths of a head say what is there.
    let (texts, photo, third) = (length(0)?, length(1)?, length(2)?);
    for (head, fingerprints) in [(6, third), (4, 0), (4, FINGERPRINT_BYTES), (4, FINGERPRINT_BYTES / 2)] {
        if sizes(texts, photo, fingerprints)
            && let Some(parts) = split(head, texts, photo, fingerprints)
        {
            return Some(parts);
        }
    }
    // They are zero, or not there. Without any the first two bytes are a name's, never zero.
    let heads: &[usize] = if texts == 0 { &[6, 4] } else { &[0] };
    for head in heads {
        let all = data.len().saturating_sub(*head);
        for (photo, fingerprints) in
            [(PHOTO_BYTES, FINGERPRINT_BYTES), (PHOTO_BYTES, FINGERPRINT_BYTES / 2), (PHOTO_BYTES, 0), (0, 0)]
        {
            if all == TEXT_BYTES + photo + fingerprints {
                return split(*head, TEXT_BYTES, photo, fingerprints);
            }
        }
    }
    None
}

/// Which layout the texts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Resident,
    /// `J`
    HongKongMacaoTaiwan,
    /// `I`: 2017.
    Foreigner,
    /// `Y`: 2023.
    NewForeigner,
}

/// A text at a place: blanks, and what is no character, left out at both ends.
fn text(texts: &[u8], at: usize, bytes: usize) -> String {
    let field = texts.get(at..(at + bytes).min(texts.len())).unwrap_or_default();
    let units = field.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let all: String = char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .filter(|character| !character.is_control())
        .collect();
    all.trim().to_owned()
}

/// A date as the chip has it, `yyyyMMdd`.
fn date(text: &str) -> Option<Date> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| text.get(range);
    Date::new(part(0..4)?.parse().ok()?, part(4..6)?.parse().ok()?, part(6..8)?.parse().ok()?).ok()
}

/// Why texts are no card's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// They have no number.
    NoNumber,
    /// Where the last day stands is something that is no day, and does not say that there is none.
    NoLastDay,
}

/// The texts of a card's chip.
pub fn read(texts: &[u8]) -> Result<Reading, Unread> {
    let field = |at, bytes| text(texts, at, bytes);
    let layout = match field(248, 2).as_str() {
        "J" => Layout::HongKongMacaoTaiwan,
        "I" => Layout::Foreigner,
        "Y" => Layout::NewForeigner,
        _ => Layout::Resident,
    };
    let sex = |at| codes::sex(&field(at, 2)).unwrap_or_default().to_owned();
    let china = || "CHN".to_owned();
    let (mut document, until) = match layout {
        Layout::Resident | Layout::HongKongMacaoTaiwan => {
            let permit = layout == Layout::HongKongMacaoTaiwan;
            let only = |there: bool, at, bytes| if there { field(at, bytes) } else { String::new() };
            let document = Document {
                kind: if permit { DocumentKind::HongKongMacaoTaiwan } else { DocumentKind::Resident },
                name: field(0, 30),
                gender: sex(30),
                ethnic: codes::ethnic(&only(!permit, 32, 4)).unwrap_or_default().to_owned(),
                birthday: date(&field(36, 16)),
                address: field(52, 70),
                number: field(122, 36),
                issuer: field(158, 30),
                valid_from: date(&field(188, 16)),
                permit_number: only(permit, 220, 18),
                issue_count: only(permit, 238, 4),
                nationality: china(),
                ..Document::default()
            };
            (document, field(204, 16))
        }
        Layout::Foreigner => {
            let document = Document {
                kind: DocumentKind::Foreigner,
                latin_name: field(0, 120),
                gender: sex(120),
                number: field(122, 30),
                nationality: field(152, 6),
                name: field(158, 30),
                valid_from: date(&field(188, 16)),
                birthday: date(&field(220, 16)),
                version: field(236, 4),
                // The code of the authority that has taken the application: nothing else of it is in the chip.
                issuer: field(240, 8),
                ..Document::default()
            };
            (document, field(204, 16))
        }
        Layout::NewForeigner => {
            // The first 35 characters, and the rest of a longer one.
            let latin: Vec<u8> =
                [texts.get(52..122), texts.get(220..242)].into_iter().flatten().flatten().copied().collect();
            let document = Document {
                kind: DocumentKind::Foreigner,
                name: field(0, 30),
                gender: sex(30),
                issue_count: field(32, 4),
                birthday: date(&field(36, 16)),
                latin_name: text(&latin, 0, latin.len()),
                number: field(122, 36),
                valid_from: date(&field(188, 16)),
                nationality: field(242, 6),
                ..Document::default()
            };
            (document, field(204, 16))
        }
    };
    if document.number.is_empty() {
        return Err(Unread::NoNumber);
    }
    document.issuing_state = china();
    document.expires = date(&until);
    let endless =
        until.is_empty() || until == LONG_TERM || until.eq_ignore_ascii_case(long_term(Language::English));
    if document.expires.is_none() && !endless {
        return Err(Unread::NoLastDay);
    }
    if document.name.is_empty() {
        document.name = std::mem::take(&mut document.latin_name);
    }
    let mut texts = document.texts(Source::Chip);
    if document.expires.is_none() {
        // What stands there instead of a day is shown as it does.
        texts.retain(|text| text.label != Label::Expires || !until.is_empty());
        for text in texts.iter_mut().filter(|text| text.label == Label::Expires) {
            text.content.clone_from(&until);
        }
    }
    Ok(Reading { document, texts, ..Reading::default() })
}

/// Adds the additional address, from the data of an answer to
/// [`Command::ReadAddress`](super::frame::Command::ReadAddress).
pub fn add_address(reading: &mut Reading, data: &[u8]) {
    let address = text(data, 0, ADDRESS_BYTES);
    if address.is_empty() {
        return;
    }
    let added = Text { label: Label::AdditionalAddress, content: address.clone(), source: Source::Chip };
    let behind = reading.texts.iter().position(|text| text.label == Label::Address);
    reading.texts.insert(behind.map_or(reading.texts.len(), |at| at + 1), added);
    reading.document.additional_address = address;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Blanks with these texts at their places, given as bytes from the start.
    fn texts(fields: &[(usize, &str)]) -> Vec<u8> {
        let mut all = [0x20, 0x00].repeat(TEXT_BYTES / 2);
        for (at, text) in fields {
            for (index, unit) in text.encode_utf16().enumerate() {
                all[at + 2 * index] = (unit & 0xff) as u8;
                all[at + 2 * index + 1] = (unit >> 8) as u8;
            }
        }
        all
    }

    fn day(year: i16, month: i8, day: i8) -> Option<Date> {
        Some(Date::constant(year, month, day))
    }

    fn shown_texts(reading: &Reading) -> Vec<(Label, &str)> {
        reading.texts.iter().map(|text| (text.label, text.content.as_str())).collect()
    }

    /// The example number of GB 11643-1999.
    const RESIDENT: [(usize, &str); 9] = [
        (0, "张三"),
        (30, "2"),
        (32, "11"),
        (36, "19491231"),
        (52, "北京市朝阳区某路1号"),
        (122, "11010519491231002X"),
        (158, "北京市公安局朝阳分局"),
        (188, "20180301"),
        (204, "20380301"),
    ];

    #[test]
    fn a_residents_card() {
        let bytes = texts(&RESIDENT);
        // 张 is U+5F20, 三 is U+4E09.
        assert_eq!(bytes[..6], [0x20, 0x5f, 0x09, 0x4e, 0x20, 0x00]);
        let reading = read(&bytes).unwrap();
        let expected = Document {
            kind: DocumentKind::Resident,
            name: "张三".into(),
            gender: "女".into(),
            ethnic: "满".into(),
            birthday: day(1949, 12, 31),
            address: "北京市朝阳区某路1号".into(),
            number: "11010519491231002X".into(),
            issuer: "北京市公安局朝阳分局".into(),
            valid_from: day(2018, 3, 1),
            expires: day(2038, 3, 1),
            nationality: "CHN".into(),
            issuing_state: "CHN".into(),
            ..Document::default()
        };
        // Its own Debug says nothing of the person.
        assert!(reading.document == expected, "{:?}", reading.texts.len());
        let expected = [
            (Label::Name, "张三"),
            (Label::Gender, "女"),
            (Label::Ethnic, "满"),
            (Label::Birthday, "1949-12-31"),
            (Label::Address, "北京市朝阳区某路1号"),
            (Label::Number, "11010519491231002X"),
            (Label::Issuer, "北京市公安局朝阳分局"),
            (Label::ValidFrom, "2018-03-01"),
            (Label::Expires, "2038-03-01"),
        ];
        assert_eq!(shown_texts(&reading), expected);
        assert!(reading.texts.iter().all(|text| text.source == Source::Chip));
    }

    #[test]
    fn long_term_and_fields_that_say_nothing() {
        let mut fields = RESIDENT;
        (fields[8], fields[1], fields[2], fields[3]) =
            ((204, "长期    "), (30, "5"), (32, "57"), (36, "19490231"));
        let reading = read(&texts(&fields)).unwrap();
        assert_eq!(reading.document.expires, None);
        assert_eq!(reading.document.birthday, None, "there is no 31 February");
        assert_eq!((reading.document.gender.as_str(), reading.document.ethnic.as_str()), ("", ""));
        assert!(shown_texts(&reading).contains(&(Label::Expires, "长期")));
        // Filled up with zeros instead of blanks, and without the last 36 bytes.
        let mut bytes = texts(&RESIDENT);
        bytes[4..30].fill(0);
        let reading = read(&bytes[..220]).unwrap();
        assert_eq!((reading.document.name.as_str(), reading.document.kind), ("张三", DocumentKind::Resident));
        // A character beyond the basic plane is two units: 𠮷 is U+20BB7.
        fields[0] = (0, "𠮷三");
        assert_eq!(read(&texts(&fields)).unwrap().document.name, "𠮷三");
        assert_eq!(read(&texts(&[(0, "张三")])).err(), Some(Unread::NoNumber));
    }

    #[test]
    fn a_last_day_that_is_none_is_not_endless() {
        let read_until = |until: &'static str| {
            let mut fields = RESIDENT;
            fields[8] = (204, until);
            read(&texts(&fields)).map(|reading| reading.document.expires)
        };
        assert_eq!(read_until("20380228"), Ok(day(2038, 2, 28)));
        for endless in ["长期", "", "        "] {
            assert_eq!(read_until(endless), Ok(None), "{endless:?}");
        }
        for unclear in ["20380231", "00000000", "2038", "203802", "2038022 ", "20380２28", "99999999", "永远"]
        {
            assert_eq!(read_until(unclear), Err(Unread::NoLastDay), "{unclear:?}");
        }
        // In every layout.
        for letter in ["J", "I", "Y"] {
            let mut fields = RESIDENT.to_vec();
            fields[8] = (204, "20380231");
            fields.push((248, letter));
            assert_eq!(read(&texts(&fields)).err(), Some(Unread::NoLastDay), "{letter}");
        }
        // A blank is nothing that is said: it is not told as 长期.
        let mut fields = RESIDENT;
        fields[8] = (204, "");
        let reading = read(&texts(&fields)).unwrap();
        assert!(reading.texts.iter().all(|text| text.label != Label::Expires));
    }

    #[test]
    fn the_longest_of_each_field_ends_where_the_next_begins() {
        let fields = [
            (0, "一二三四五六七八九十一二三四五"),
            (36, "20000101"),
            (52, "一二三四五六七八九十一二三四五六七八九十一二三四五六七八九十一二三四五"),
            (122, "123456789012345678"),
            (158, "一二三四五六七八九十一二三四五"),
            (188, "20000101"),
            (204, "20100101"),
        ];
        let document = read(&texts(&fields)).unwrap().document;
        assert_eq!((document.name.as_str(), document.issuer.as_str()), (fields[0].1, fields[4].1));
        assert_eq!((document.address.as_str(), document.number.as_str()), (fields[2].1, fields[3].1));
        assert_eq!(document.gender, "");
    }

    #[test]
    fn a_permit_for_hong_kong_macao_and_taiwan() {
        let mut fields = RESIDENT.to_vec();
        fields.extend([(220, "H12345678"), (238, "01"), (248, "J")]);
        let document = read(&texts(&fields)).unwrap().document;
        assert_eq!(document.kind, DocumentKind::HongKongMacaoTaiwan);
        assert_eq!((document.permit_number.as_str(), document.issue_count.as_str()), ("H12345678", "01"));
        assert_eq!(document.ethnic, "", "its place is not used");
        assert_eq!((document.number.as_str(), document.name.as_str()), ("11010519491231002X", "张三"));
    }

    #[test]
    fn a_foreigners_card_of_2017() {
        let fields = [
            (0, "ZHENGJIAN, YANGBEN"),
            (120, "2"),
            (122, "CAN110081080310"),
            (152, "CAN"),
            (158, "证件样本"),
            (188, "20170601"),
            (204, "20270531"),
            (220, "19810803"),
            (236, "01"),
            (240, "1500"),
            (248, "I"),
        ];
        let document = read(&texts(&fields)).unwrap().document;
        let expected = Document {
            kind: DocumentKind::Foreigner,
            name: "证件样本".into(),
            latin_name: "ZHENGJIAN, YANGBEN".into(),
            gender: "女".into(),
            number: "CAN110081080310".into(),
            nationality: "CAN".into(),
            issuing_state: "CHN".into(),
            valid_from: day(2017, 6, 1),
            expires: day(2027, 5, 31),
            birthday: day(1981, 8, 3),
            version: "01".into(),
            issuer: "1500".into(),
            ..Document::default()
        };
        assert!(document == expected);
        // Who has no Chinese name is called by the other.
        let fields: Vec<_> = fields.into_iter().filter(|(at, _)| *at != 158).collect();
        let document = read(&texts(&fields)).unwrap().document;
        assert_eq!((document.name.as_str(), document.latin_name.as_str()), ("ZHENGJIAN, YANGBEN", ""));
    }

    #[test]
    fn a_foreigners_card_of_2023() {
        // A name of 46 characters: 35 and 11.
        let name = "ABCDEFGHIJKLMNOPQRSTUVWXYZ ABCDEFGH, JKLMNOPQRS";
        let (first, second) = name.split_at(35);
        let fields = [
            (0, "证件样本"),
            (30, "2"),
            (32, "03"),
            (36, "19810803"),
            (52, first),
            (122, "911124198108030024"),
            (188, "20231201"),
            (204, "20331130"),
            (220, &second[..11]),
            (242, "CAN"),
            (248, "Y"),
            (250, "110"),
        ];
        let document = read(&texts(&fields)).unwrap().document;
        let expected = Document {
            kind: DocumentKind::Foreigner,
            name: "证件样本".into(),
            latin_name: name[..46].into(),
            gender: "女".into(),
            number: "911124198108030024".into(),
            nationality: "CAN".into(),
            issuing_state: "CHN".into(),
            valid_from: day(2023, 12, 1),
            expires: day(2033, 11, 30),
            birthday: day(1981, 8, 3),
            issue_count: "03".into(),
            ..Document::default()
        };
        assert!(document == expected);
    }

    #[test]
    fn an_additional_address_stands_behind_the_address() {
        let mut reading = read(&texts(&RESIDENT)).unwrap();
        add_address(&mut reading, &[0x20, 0x00].repeat(35));
        assert_eq!(reading.document.additional_address, "");
        let mut data = [0x20, 0x00].repeat(35);
        // 新 is U+65B0.
        data[..2].copy_from_slice(&[0xb0, 0x65]);
        add_address(&mut reading, &data);
        assert_eq!(reading.document.additional_address, "新");
        let labels: Vec<_> = reading.texts.iter().map(|text| text.label).collect();
        assert_eq!(labels[4..6], [Label::Address, Label::AdditionalAddress]);
    }

    #[test]
    fn parts_are_found_whatever_lengths_stand_before_them() {
        let (texts, photo, fingers) = (texts(&RESIDENT), [0x57; 1024], [0x43; 1024]);
        let base = [&texts[..], &photo].concat();
        let all = [&base[..], &fingers].concat();
        let heads: [(&str, &[u8], &[u8], usize); 11] = [
            ("by the book", &[1, 0, 4, 0], &base, 0),
            ("by the book, with fingerprints", &[1, 0, 4, 0, 4, 0], &all, 1024),
            ("one finger", &[1, 0, 4, 0, 2, 0], &all[..1792], 512),
            ("three lengths without fingerprints", &[1, 0, 4, 0, 0, 0], &base, 0),
            ("two lengths with fingerprints", &[1, 0, 4, 0], &all, 1024),
            ("two lengths of zero", &[0, 0, 0, 0], &base, 0),
            ("three lengths of zero", &[0, 0, 0, 0, 0, 0], &all, 1024),
            ("texts of zero", &[0, 0, 4, 0], &base, 0),
            ("no lengths", &[], &base, 0),
            ("no lengths, with fingerprints", &[], &all, 1024),
            ("no photo", &[1, 0, 0, 0], &texts, 0),
        ];
        for (what, head, rest, fingerprints) in heads {
            let data = [head, rest].concat();
            let found = parts(&data).unwrap_or_else(|| panic!("{what}"));
            assert_eq!(found.texts, &texts[..], "{what}");
            assert_eq!(found.photo.len(), if rest.len() > 256 { 1024 } else { 0 }, "{what}");
            assert!(found.photo.iter().all(|byte| *byte == 0x57), "{what}");
            assert_eq!(found.fingerprints, &fingers[..fingerprints], "{what}");
        }
        for data in [&[][..], &[1, 0, 4, 0], &base[..1279], &[&[1, 0, 4, 0], &base[..1279]].concat()] {
            assert_eq!(parts(data), None, "{}", data.len());
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_a_card_or_none(
            head in prop::collection::vec(any::<u8>(), 0..8),
            length in prop_oneof![Just(256_usize), Just(1280), Just(1792), Just(2304), 0..2560_usize],
            seed in prop::collection::vec(any::<u8>(), 1..64),
        ) {
            let body: Vec<u8> = seed.iter().copied().cycle().take(length).collect();
            let data = [head, body].concat();
            if let Some(parts) = parts(&data) {
                prop_assert!((220..=256).contains(&parts.texts.len()));
                prop_assert!([0, 1024].contains(&parts.photo.len()));
                prop_assert!([0, 512, 1024].contains(&parts.fingerprints.len()));
                if let Ok(reading) = read(parts.texts) {
                    prop_assert!(!reading.document.number.is_empty());
                    let clean = |text: &Text| !text.content.chars().any(char::is_control);
                    prop_assert!(reading.texts.iter().all(clean));
                }
            }
        }

        #[test]
        fn whatever_the_texts_say_they_are_read(texts in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(mut reading) = read(&texts) {
                add_address(&mut reading, &texts);
                prop_assert!(reading.document.number.chars().count() <= 18);
            }
        }
    }
}
