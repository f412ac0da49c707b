//! What a reading becomes for a page: its texts under their names, its pictures as data URLs.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::drawn::{Face, Pen};
use super::settings::Settings;
use super::texts::Texts;
use crate::document::{Document, DocumentKind, LONG_TERM, Label, Reading, Source};
use crate::text::Language;
use crate::text::document_reader::{Constant, kind, label, long_term, main_id, name_parts, sex};

fn source_name(source: Source) -> &'static str {
    match source {
        Source::Viz => "VIZ",
        Source::Mrz => "MRZ",
        Source::Chip => "RFID",
    }
}

fn day(date: Date) -> String {
    date.strftime("%Y-%m-%d").to_string()
}

/// The facts of a document as texts, for a reader that gives no more than them.
fn facts(document: &Document, language: Language) -> Vec<(Label, String)> {
    let text = |label, text: &String| (label, text.clone());
    let mut facts = vec![
        text(Label::Name, &document.name),
        text(Label::LatinName, &document.latin_name),
        text(Label::Gender, &document.gender),
        text(Label::Ethnic, &document.ethnic),
        (Label::Birthday, document.birthday.map(day).unwrap_or_default()),
        text(Label::Address, &document.address),
        text(Label::AdditionalAddress, &document.additional_address),
        text(Label::Number, &document.number),
        text(Label::Issuer, &document.issuer),
        (Label::ValidFrom, document.valid_from.map(day).unwrap_or_default()),
        (Label::Expires, document.expires.map(day).unwrap_or_default()),
        text(Label::Nationality, &document.nationality),
        text(Label::IssuingState, &document.issuing_state),
        text(Label::PermitNumber, &document.permit_number),
        text(Label::IssueCount, &document.issue_count),
        text(Label::Version, &document.version),
    ];
    if document.expires.is_none() && document.valid_from.is_some() {
        facts.push((Label::Expires, long_term(language).to_owned()));
    }
    facts.retain(|(_, text)| !text.is_empty());
    facts
}

/// Whether a document checks out: what `Rejection` asks for. The number of a resident has its check character (GB
/// 11643), its chip is what it should be where that was tried, and there is a number at all.
pub(super) fn checks_out(reading: &Reading) -> bool {
    let document = &reading.document;
    let genuine = reading.chip.is_none_or(|chip| chip.signed != Some(false) && chip.original != Some(false));
    let number = match document.kind {
        DocumentKind::Resident | DocumentKind::HongKongMacaoTaiwan => is_citizen_number(&document.number),
        _ => !document.number.is_empty(),
    };
    genuine && number
}

/// GB 11643: 17 digits, and the check character of ISO 7064 MOD 11-2.
fn is_citizen_number(number: &str) -> bool {
    let bytes = number.as_bytes();
    let [digits @ .., check] = bytes else { return false };
    if digits.len() != 17 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum = digits.iter().fold(0_u32, |sum, digit| (sum + u32::from(digit - b'0')) * 2 % 11);
    let expected = match (12 - sum) % 11 {
        10 => b'X',
        digit => b'0' + digit as u8,
    };
    check.to_ascii_uppercase() == expected
}

/// Family and given name of the lines for machines (ICAO 9303 part 3, 4.6): behind the fifth character of the first line,
/// or in the third of three. `None` where there are no such lines, or no name in them.
fn parts_of_name(mrz: &[String]) -> Option<(String, String)> {
    let name = match mrz {
        [first, _] => first.get(5..)?,
        [_, _, third] => third,
        _ => return None,
    };
    let (family, given) = name.split_once("<<").unwrap_or((name, ""));
    let plain = |part: &str| part.replace('<', " ").trim().to_owned();
    let (family, given) = (plain(family), plain(given));
    (!family.is_empty()).then_some((family, given))
}

/// What a reading says in Chinese whatever the document says, in the language of the service: sex, and a validity without
/// an end.
fn in_words(label: Label, content: &str, language: Language) -> Cow<'_, str> {
    let said = match label {
        Label::Gender => sex(content, language),
        Label::Expires if content == LONG_TERM => Some(long_term(language)),
        _ => None,
    };
    Cow::Borrowed(said.unwrap_or(content))
}

/// Texts by name, in the order in which pages show them. Each name is there once.
#[derive(Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// The texts of a reading as `CardContentText` has them.
pub(super) fn fields(reading: &Reading, settings: &Settings, texts: &Texts) -> Fields {
    let language = texts.language();
    let document = &reading.document;
    let what = document.kind;
    let card = what.is_identity_card();
    let wanted = |source: Source| match source {
        Source::Viz => settings.viz && !(card && settings.only_read_chip),
        Source::Mrz => !(card && settings.only_read_chip),
        // The chip of an identity card is all that there is of it.
        Source::Chip => settings.rfid || card,
    };
    let main = reading
        .texts
        .first()
        .map_or(if card || reading.chip.is_some() { Source::Chip } else { Source::Mrz }, |text| text.source);
    let mut fields = Fields::default();
    let mut put = |name: &'static str, content: String, source: Source| {
        if fields.0.iter().any(|(one, _)| *one == name) {
            return;
        }
        let value = match settings.want_field_source {
            true => json!({ "Content": content, "Source": source_name(source) }),
            false => Value::from(content),
        };
        fields.0.push((name, value));
    };
    put("CARD_MAINID", main_id(what).to_string(), main);
    put("CARD_NAME", kind(what, language).to_owned(), main);
    if reading.texts.is_empty() {
        for (one, text) in facts(document, language) {
            put(label(one, what, language), in_words(one, &text, language).into_owned(), main);
        }
    } else {
        // One name has one content: the chip's before the print's before that of the lines for machines.
        let best = |one: Label| {
            let said = |rank| reading.texts.iter().find(|text| text.label == one && text.source == rank);
            [Source::Chip, Source::Viz, Source::Mrz].into_iter().filter(|rank| wanted(*rank)).find_map(said)
        };
        for text in reading.texts.iter().filter_map(|text| best(text.label)) {
            let content = in_words(text.label, &text.content, language);
            put(label(text.label, what, language), content.into_owned(), text.source);
        }
    }
    for (name, line) in ["MRZ1", "MRZ2", "MRZ3"].into_iter().zip(&reading.mrz) {
        put(name, line.clone(), Source::Mrz);
    }
    if let Some((family, given)) = parts_of_name(&reading.mrz) {
        for (name, part) in name_parts(language).into_iter().zip([family, given]) {
            put(name, part, Source::Mrz);
        }
    }
    if settings.bar_code_recog {
        put("BarCode", reading.bar_code.clone().unwrap_or_default(), Source::Viz);
    }
    let uv = || {
        let why = match reading.pictures.ultraviolet {
            Some(_) => Constant::NoUvJudgement,
            None => Constant::NoUvLight,
        };
        format!("NN{}", texts.of(why))
    };
    if settings.if_detect_uv_dull || settings.if_detect_fibre {
        // The document gives both answers this name.
        put("UVDull", uv(), Source::Viz);
    }
    if settings.if_detect_fibre {
        put("Fibre", uv(), Source::Viz);
    }
    if settings.if_check_source_type {
        let verdict = reading.chip.unwrap_or_default();
        // The module for identity cards gives nothing of a chip that does not show it that it is one.
        let by_module = || card && reading.texts.iter().any(|text| text.source == Source::Chip);
        let said = match (verdict.signed, verdict.original) {
            (Some(false), _) | (_, Some(false)) => "YN1".to_owned(),
            (_, Some(true)) => "YY0".to_owned(),
            _ if by_module() => "YY0".to_owned(),
            _ => format!("NN{}", texts.of(Constant::SourceTypeUnknown)),
        };
        put("SourceType", said, Source::Viz);
    }
    fields
}

/// Which pictures the owner lets pages have, and what draws those that are drawn.
pub(super) struct Pictures {
    /// Those that are sent.
    pub sent: BTreeSet<String>,
    /// Draws front and back of identity cards.
    pub pen: Pen,
}

fn data_url(jpeg: &[u8]) -> Arc<str> {
    let mut url = String::with_capacity(jpeg.len() * 4 / 3 + 32);
    url.push_str("data:image/jpeg;base64,");
    STANDARD.encode_string(jpeg, &mut url);
    url.into()
}

/// The chip's photo of an identity card.
fn card_photo(reading: &Reading) -> Option<&Arc<[u8]>> {
    let of_card =
        reading.document.kind.is_identity_card().then_some(reading.document.photo.as_ref()).flatten();
    reading.pictures.card_photo.as_ref().or(of_card)
}

/// The chip's photo of a travel document.
fn chip_photo(reading: &Reading) -> Option<&Arc<[u8]>> {
    let of_chip =
        (!reading.document.kind.is_identity_card()).then_some(reading.document.photo.as_ref()).flatten();
    reading.pictures.chip_photo.as_ref().or(of_chip)
}

/// Where a picture comes from: that decides who may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The page, photographed.
    Page,
    /// The chip of a travel document.
    Chip,
    /// The chip of an identity card.
    Card,
    /// Drawn of what an identity card's chip says.
    Drawn,
}

/// A picture as it is sent.
#[derive(Debug, Clone)]
struct Made {
    name: &'static str,
    origin: Origin,
    url: Arc<str>,
}

/// The pictures of a reading that the owner lets pages have, as they are sent. They are made once.
#[derive(Debug, Default)]
pub(super) struct Album(Vec<Made>);

/// Some of them, by their names.
#[derive(Debug, Clone, Default)]
pub(super) struct Images(Vec<(&'static str, Arc<str>)>);

impl Images {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Images {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, url)| (name, url.as_ref())))
    }
}

impl Album {
    /// Encodes and draws. May take 100 ms: not on a thread of the runtime.
    pub(super) fn make(reading: &Reading, pictures: &Pictures) -> Self {
        let mut all = Vec::new();
        let mut put = |name, origin, jpeg: Option<&[u8]>| {
            if let Some(jpeg) = jpeg.filter(|_| pictures.sent.contains(name)) {
                all.push(Made { name, origin, url: data_url(jpeg) });
            }
        };
        let of = &reading.pictures;
        put("White", Origin::Page, of.white.as_deref());
        put("IR", Origin::Page, of.infrared.as_deref());
        put("UV", Origin::Page, of.ultraviolet.as_deref());
        put("OcrHead", Origin::Page, of.printed_photo.as_deref());
        put("ChipHead", Origin::Chip, chip_photo(reading).map(AsRef::as_ref));
        put("SidHead", Origin::Card, card_photo(reading).map(AsRef::as_ref));
        for (name, face) in [("SidFront", Face::Front), ("SidBack", Face::Back)] {
            if !pictures.sent.contains(name) {
                continue;
            }
            let photo = card_photo(reading).map(AsRef::as_ref);
            match pictures.pen.draw(&reading.document, face, photo) {
                Ok(drawing) => put(name, Origin::Drawn, drawing.as_deref()),
                Err(error) => {
                    tracing::warn!(%error, "the picture of an identity card could not be drawn");
                }
            }
        }
        Self(all)
    }

    /// Those that a page may have now: here, and nowhere else, is decided what the settings leave of them. With `bits`
    /// (chapter 4.5) those that they name: 0 white, 1 infrared, 2 ultraviolet, 3 the printed photo, 4 that of the chip;
    /// what is drawn has no bit. Of an identity card the chip's photo goes under both its names then, if the owner lets
    /// pages have both.
    pub(super) fn images(
        &self,
        kind: DocumentKind,
        settings: &Settings,
        pictures: &Pictures,
        bits: Option<u64>,
    ) -> Images {
        let page = settings.viz && !(kind.is_identity_card() && settings.only_read_chip);
        let asked = |name: &str| {
            let bit = match name {
                "White" => 0,
                "IR" => 1,
                "UV" => 2,
                "OcrHead" => 3,
                "ChipHead" | "SidHead" => 4,
                _ => return bits.is_none(),
            };
            bits.is_none_or(|bits| bits >> bit & 1 == 1)
        };
        let mut images = Images::default();
        for made in self.0.iter().filter(|made| asked(made.name)) {
            let wanted = match made.origin {
                Origin::Page => page,
                Origin::Chip => settings.rfid,
                Origin::Card | Origin::Drawn => true,
            };
            if !wanted {
                continue;
            }
            if bits.is_some() && made.origin == Origin::Card && pictures.sent.contains("ChipHead") {
                images.0.push(("ChipHead", Arc::clone(&made.url)));
            }
            images.0.push((made.name, Arc::clone(&made.url)));
        }
        images
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::document::{ChipVerdict, Text};

    fn fields(reading: &Reading, settings: &Settings, language: Language) -> Value {
        let texts = Texts::new(language, &Default::default());
        serde_json::to_value(super::fields(reading, settings, &texts)).unwrap()
    }

    fn resident() -> Reading {
        let document = Document {
            number: "11010519491231002X".into(),
            name: "张三".into(),
            gender: "男".into(),
            ethnic: "汉".into(),
            birthday: Some(date(1949, 12, 31)),
            valid_from: Some(date(2010, 1, 1)),
            ..Document::default()
        };
        Reading { document, ..Reading::default() }
    }

    #[test]
    fn a_number_of_a_citizen_is_checked() {
        // The two samples of GB 11643.
        assert!(is_citizen_number("11010519491231002X"));
        assert!(is_citizen_number("440524188001010014"));
        for wrong in [
            "110105194912310021",
            "1101051949123100",
            "11010519491231002",
            "",
            "一二三四五六",
            "44052418800101001X",
        ] {
            assert!(!is_citizen_number(wrong), "{wrong}");
        }
        assert!(checks_out(&resident()));
        let copied = ChipVerdict { signed: Some(true), original: Some(false) };
        assert!(!checks_out(&Reading { chip: Some(copied), ..resident() }));
    }

    #[test]
    fn facts_become_texts_under_their_names() {
        let texts = Texts::new(Language::Chinese, &Default::default());
        let written =
            serde_json::to_string(&super::fields(&resident(), &Settings::default(), &texts)).unwrap();
        assert!(
            written.starts_with(r#"{"CARD_MAINID":"2","CARD_NAME":"居民身份证","姓名":"张三","性别":"男""#),
            "{written}"
        );
        let fields = fields(&resident(), &Settings::default(), Language::Chinese);
        assert_eq!(
            fields,
            json!({
                "CARD_MAINID": "2", "CARD_NAME": "居民身份证", "姓名": "张三", "性别": "男", "民族": "汉",
                "出生日期": "1949-12-31", "公民身份号码": "11010519491231002X", "签发日期": "2010-01-01",
                "有效期至": "长期",
            })
        );
    }

    #[test]
    fn one_name_has_the_content_of_the_best_source_that_is_wanted() {
        let text = |label, content: &str, source| Text { label, content: content.into(), source };
        let passport =
            Document { kind: DocumentKind::Passport, number: "L898902C3".into(), ..Document::default() };
        let reading = Reading {
            document: passport,
            texts: vec![
                text(Label::Number, "L898902C<", Source::Mrz),
                text(Label::Number, "L898902C3", Source::Chip),
                text(Label::PlaceOfBirth, "ZENITH", Source::Viz),
            ],
            mrz: vec!["P<UTO".into(), "L898902C3".into()],
            bar_code: Some("42".into()),
            ..Reading::default()
        };
        let settings = Settings { want_field_source: true, bar_code_recog: true, ..Settings::default() };
        let fields_of = |settings: &Settings| fields(&reading, settings, Language::English);
        let all = fields_of(&settings);
        assert_eq!(all["Passport number"], json!({ "Content": "L898902C3", "Source": "RFID" }));
        assert_eq!(all["Place of birth"], json!({ "Content": "ZENITH", "Source": "VIZ" }));
        assert_eq!(all["MRZ1"], json!({ "Content": "P<UTO", "Source": "MRZ" }));
        assert_eq!(all["BarCode"]["Content"], "42");
        assert_eq!(all["CARD_MAINID"]["Content"], "13");
        let less = fields_of(&Settings { viz: false, rfid: false, ..Settings::default() });
        assert_eq!(less["Passport number"], "L898902C<");
        assert_eq!((less.get("Place of birth"), less.get("BarCode")), (None, None));
    }

    #[test]
    fn family_and_given_name_are_told_apart() {
        let parts =
            |lines: &[&str]| parts_of_name(&lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        let both = |family: &str, given: &str| Some((family.to_owned(), given.to_owned()));
        // The specimens of ICAO 9303, parts 4 and 5.
        let td3 =
            ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
        assert_eq!(parts(&td3), both("ERIKSSON", "ANNA MARIA"));
        let td1 = [
            "I<UTOD231458907<<<<<<<<<<<<<<<",
            "7408122F1204159UTO<<<<<<<<<<<6",
            "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
        ];
        assert_eq!(parts(&td1), both("ERIKSSON", "ANNA MARIA"));
        assert_eq!(parts(&["P<UTOSURNAME<<<<<<", ""]), both("SURNAME", ""));
        for none in [&[][..], &["P<UTO"], &["P<UTO", ""], &["文件文", ""], &["", "", ""]] {
            assert_eq!(parts(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_has_no_ultraviolet_light_says_so() {
        let settings = Settings {
            if_detect_uv_dull: true,
            if_detect_fibre: true,
            if_check_source_type: true,
            ..Settings::default()
        };
        let said = fields(&resident(), &settings, Language::Chinese);
        assert_eq!(said["UVDull"], "NN设备不支持紫光拍照");
        assert_eq!(said["Fibre"], "NN设备不支持紫光拍照");
        // Light there is, and nothing that judges it.
        let mut lit = resident();
        lit.pictures.ultraviolet = Some(Arc::from([0xFF, 0xD8]));
        assert_eq!(fields(&lit, &settings, Language::Chinese)["UVDull"], "NN设备不对紫光图像进行判断");
    }

    #[test]
    fn an_original_is_what_has_been_proved_to_be_one() {
        let settings = Settings { if_check_source_type: true, ..Settings::default() };
        let unknown = "NN设备无法判断是否原件";
        let said = |kind, texts: Vec<Text>, chip| {
            let document = Document { kind, number: "1".into(), ..Document::default() };
            let reading = Reading { document, texts, chip, ..Reading::default() };
            fields(&reading, &settings, Language::Chinese)["SourceType"].as_str().unwrap().to_owned()
        };
        let name = |source| vec![Text { label: Label::Name, content: "张三".into(), source }];
        let verdict = |signed, original| Some(ChipVerdict { signed, original });
        let passport = |chip| said(DocumentKind::Passport, name(Source::Chip), chip);
        assert_eq!(passport(verdict(Some(true), Some(true))), "YY0");
        assert_eq!(passport(verdict(None, Some(true))), "YY0");
        // What is signed may be signed data in another chip.
        assert_eq!(passport(verdict(Some(true), None)), unknown);
        assert_eq!(passport(verdict(None, None)), unknown);
        assert_eq!(passport(verdict(Some(true), Some(false))), "YN1");
        assert_eq!(passport(verdict(Some(false), Some(true))), "YN1");
        assert_eq!(passport(verdict(Some(false), None)), "YN1");
        assert_eq!(passport(None), unknown);
        assert_eq!(said(DocumentKind::Visa, Vec::new(), None), unknown);
        for card in [DocumentKind::Resident, DocumentKind::Foreigner, DocumentKind::HongKongMacaoTaiwan] {
            assert_eq!(said(card, name(Source::Chip), None), "YY0");
            assert_eq!(said(card, name(Source::Viz), None), unknown, "a photograph of one");
            assert_eq!(said(card, Vec::new(), None), unknown);
        }
    }

    #[test]
    fn an_english_page_is_told_in_english() {
        let text = |label, content: &str, source| Text { label, content: content.into(), source };
        let reading = Reading {
            texts: vec![
                text(Label::Gender, "女", Source::Mrz),
                text(Label::Expires, LONG_TERM, Source::Chip),
                text(Label::Ethnic, "汉", Source::Chip),
            ],
            ..resident()
        };
        let said = fields(&reading, &Settings::default(), Language::English);
        assert_eq!((&said["Sex"], &said["Date of expiry"]), (&json!("Female"), &json!("Long term")));
        assert_eq!(said["Ethnic group"], "汉", "as on the card");
        let said = fields(&resident(), &Settings::default(), Language::English);
        assert_eq!((&said["Sex"], &said["Date of expiry"]), (&json!("Male"), &json!("Long term")));
        let said = fields(&reading, &Settings::default(), Language::Chinese);
        assert_eq!((&said["性别"], &said["有效期至"]), (&json!("女"), &json!("长期")));
    }

    /// With these pictures, and no font.
    fn pictures(sent: &[&str]) -> Pictures {
        let sent = sent.iter().map(|name| (*name).to_owned()).collect();
        Pictures { sent, pen: Pen::new(std::path::Path::new("/nowhere/font.ttf")) }
    }

    const ALL: [&str; 8] = ["White", "IR", "UV", "OcrHead", "ChipHead", "SidHead", "SidFront", "SidBack"];

    /// The names of what a page gets.
    fn names(reading: &Reading, settings: &Settings, pictures: &Pictures, bits: Option<u64>) -> Vec<String> {
        let images = Album::make(reading, pictures).images(reading.document.kind, settings, pictures, bits);
        let images = serde_json::to_value(images).unwrap();
        images.as_object().unwrap().keys().cloned().collect()
    }

    fn with_all_pictures(reading: Reading) -> Reading {
        let picture = |byte: u8| Some(Arc::from(vec![0xFF, 0xD8, byte]));
        let pictures = crate::document::Pictures {
            white: picture(1),
            infrared: picture(2),
            ultraviolet: picture(3),
            printed_photo: picture(4),
            ..Default::default()
        };
        let document = Document { photo: picture(5), ..reading.document };
        Reading { document, pictures, ..reading }
    }

    #[test]
    fn the_settings_hold_for_pictures_however_they_are_asked_for() {
        let all = pictures(&ALL);
        let card = with_all_pictures(resident());
        let document = Document { kind: DocumentKind::Passport, ..Document::default() };
        let passport = with_all_pictures(Reading { document, ..Reading::default() });
        let on = Settings::default;
        let page = ["IR", "OcrHead", "UV", "White"];
        for bits in [None, Some(0b1_1111)] {
            assert_eq!(names(&passport, &on(), &all, bits), [&["ChipHead"][..], &page].concat());
            assert_eq!(names(&passport, &Settings { rfid: false, ..on() }, &all, bits), page);
            assert_eq!(names(&passport, &Settings { viz: false, ..on() }, &all, bits), ["ChipHead"]);
            let chip = if bits.is_some() { &["ChipHead", "SidHead"][..] } else { &["SidHead"] };
            for less in [Settings { only_read_chip: true, ..on() }, Settings { viz: false, ..on() }] {
                assert_eq!(names(&card, &less, &all, bits), chip, "{less:?}");
            }
            assert_eq!(names(&card, &on(), &pictures(&["SidHead", "IR"]), bits), ["IR", "SidHead"]);
            assert_eq!(names(&passport, &on(), &pictures(&["SidHead"]), bits), [""; 0]);
        }
    }

    #[test]
    fn pictures_go_by_bits() {
        let mut reading = resident();
        let picture = |byte: u8| Some(Arc::from(vec![0xFF, 0xD8, byte]));
        reading.pictures.white = picture(1);
        reading.pictures.printed_photo = picture(2);
        reading.document.photo = picture(3);
        let all = pictures(&ALL);
        let names = |bits| names(&reading, &Settings::default(), &all, Some(bits));
        assert_eq!(names(0b10001), ["ChipHead", "SidHead", "White"]);
        assert_eq!(names(0b01110), ["OcrHead"]);
        assert_eq!(names(0), [""; 0]);
        let images =
            Album::make(&reading, &all).images(DocumentKind::Resident, &Settings::default(), &all, Some(1));
        assert_eq!(serde_json::to_value(images).unwrap()["White"], "data:image/jpeg;base64,/9gB");
    }
}
