//! An identity document as a reader has read it: what passages, platforms and the document reader service need of it,
//! whichever reader it came from. `Debug` of all of it is fit for a log.

pub mod mrz;

use std::fmt;
use std::sync::Arc;

use jiff::civil::Date;

/// The kinds of identity document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DocumentKind {
    /// Resident identity card of mainland China (居民身份证).
    #[default]
    Resident,
    /// Foreigner's permanent residence card (外国人永久居留身份证), also of the 2023 layout.
    Foreigner,
    /// Residence permit for residents of Hong Kong, Macao and Taiwan (港澳台居民居住证).
    HongKongMacaoTaiwan,
    /// Passport: TD3 of ICAO 9303 part 4.
    Passport,
    /// Travel document in card size: TD1 or TD2 of ICAO 9303 parts 5 and 6.
    TravelCard,
    /// Visa: MRV-A or MRV-B of ICAO 9303 part 7.
    Visa,
    /// Social security card.
    SocialSecurity,
}

impl DocumentKind {
    /// Whether it is a card whose chip the module for identity cards reads.
    pub fn is_identity_card(self) -> bool {
        matches!(self, Self::Resident | Self::Foreigner | Self::HongKongMacaoTaiwan)
    }
}

/// Where a text of a document comes from; the document reader service tells it as `Source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// What is printed for the eye.
    Viz,
    /// The lines that are printed for machines.
    Mrz,
    /// The chip.
    Chip,
}

/// The facts of a document. Texts are as printed, empty where nothing is.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// What it is.
    pub kind: DocumentKind,
    /// Its number, 1 to 64 bytes.
    pub number: String,
    /// Name of the holder.
    pub name: String,
    /// Name in Latin letters, where that is another.
    pub latin_name: String,
    /// 男 or 女, as printed.
    pub gender: String,
    /// Ethnic group, as printed.
    pub ethnic: String,
    /// State whose national the holder is: three letters of ICAO 9303 part 3 section 5.
    pub nationality: String,
    /// State or organisation that issued it: likewise.
    pub issuing_state: String,
    /// Day of birth.
    pub birthday: Option<Date>,
    /// Address.
    pub address: String,
    /// The authority that issued it.
    pub issuer: String,
    /// First day on which it is valid.
    pub valid_from: Option<Date>,
    /// Last day on which it is valid; `None` where it says "long term" or nothing.
    pub expires: Option<Date>,
    /// Number of the travel permit (通行证号码) of residents of Hong Kong, Macao and Taiwan.
    pub permit_number: String,
    /// How often it was issued (签发次数).
    pub issue_count: String,
    /// Version of its layout (证件版本号).
    pub version: String,
    /// The additional address (追加住址信息).
    pub additional_address: String,
    /// The holder's photo of the chip: a whole JPEG file. `None` where there is none, it cannot be decoded,
    /// or (travel documents) no state is shown to have signed it.
    pub photo: Option<Arc<[u8]>>,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("kind", &self.kind)
            .field("expires", &self.expires)
            .field("photo", &self.photo.is_some())
            .finish_non_exhaustive()
    }
}

impl Document {
    /// Its facts as texts that were read from `source`, in the order in which cards show them; those that there are. Dates are
    /// `2026-01-31`; a validity that has begun and has no end is `长期`.
    pub fn texts(&self, source: Source) -> Vec<Text> {
        let day = |date: Option<Date>| date.map(|date| date.to_string()).unwrap_or_default();
        let long_term = self.valid_from.map_or("", |_| LONG_TERM);
        let expires = self.expires.map_or_else(|| long_term.to_owned(), |date| date.to_string());
        // A citizen's card does not say whose citizen it is.
        let citizen = matches!(self.kind, DocumentKind::Resident | DocumentKind::HongKongMacaoTaiwan);
        let nationality = if citizen { String::new() } else { self.nationality.clone() };
        [
            (Label::Name, self.name.clone()),
            (Label::LatinName, self.latin_name.clone()),
            (Label::Gender, self.gender.clone()),
            (Label::Ethnic, self.ethnic.clone()),
            (Label::Nationality, nationality),
            (Label::Birthday, day(self.birthday)),
            (Label::Address, self.address.clone()),
            (Label::AdditionalAddress, self.additional_address.clone()),
            (Label::Number, self.number.clone()),
            (Label::Issuer, self.issuer.clone()),
            (Label::ValidFrom, day(self.valid_from)),
            (Label::Expires, expires),
            (Label::PermitNumber, self.permit_number.clone()),
            (Label::IssueCount, self.issue_count.clone()),
            (Label::Version, self.version.clone()),
        ]
        .into_iter()
        .filter(|(_, content)| !content.is_empty())
        .map(|(label, content)| Text { label, content, source })
        .collect()
    }
}

/// How cards say that they are valid without an end.
pub const LONG_TERM: &str = "长期";

/// One reading of a document: its facts, and what else the reader has of it.
#[derive(Clone, Default)]
pub struct Reading {
    /// The facts.
    pub document: Document,
    /// The same facts, and further ones, as texts with their source, in the order in which they are shown.
    pub texts: Vec<Text>,
    /// Pictures, each a whole JPEG file.
    pub pictures: Pictures,
    /// Lines of the machine readable zone, none to three.
    pub mrz: Vec<String>,
    /// What the chip's signatures say, where there is a chip.
    pub chip: Option<ChipVerdict>,
    /// Fingerprints as the chip holds them (GA 467: 1024 bytes), empty where there are none.
    pub fingerprints: Vec<u8>,
    /// What a bar code on it says.
    pub bar_code: Option<String>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("document", &self.document)
            .field("chip", &self.chip)
            .finish_non_exhaustive()
    }
}

/// One text of a document.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// What it is.
    pub label: Label,
    /// What it says.
    pub content: String,
    /// Where it was read.
    pub source: Source,
}

/// What a text of a document is; its names in Chinese and English are in the table of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the fields of the document")]
pub enum Label {
    Name,
    LatinName,
    Gender,
    Ethnic,
    Birthday,
    Address,
    AdditionalAddress,
    Number,
    Issuer,
    ValidFrom,
    Expires,
    Nationality,
    IssuingState,
    PermitNumber,
    IssueCount,
    Version,
    DocumentType,
    PersonalNumber,
    PlaceOfBirth,
    Mrz1,
    Mrz2,
    Mrz3,
}

/// Pictures of a document and its holder, each a whole JPEG file.
#[derive(Clone, Default)]
pub struct Pictures {
    /// The page under white light.
    pub white: Option<Arc<[u8]>>,
    /// The page under infrared light.
    pub infrared: Option<Arc<[u8]>>,
    /// The page under ultraviolet light.
    pub ultraviolet: Option<Arc<[u8]>>,
    /// The holder's photo as printed.
    pub printed_photo: Option<Arc<[u8]>>,
    /// The holder's photo of a travel document's chip.
    pub chip_photo: Option<Arc<[u8]>>,
    /// The holder's photo of an identity card's chip.
    pub card_photo: Option<Arc<[u8]>>,
}

/// What is known of a chip's genuineness (ICAO 9303 part 11). Each part is `None` where that stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChipVerdict {
    /// Passive authentication: the data is what the issuing state has signed.
    pub signed: Option<bool>,
    /// Active or chip authentication: the chip is no copy. Active authentication that could not be tried counts as failed,
    /// unless chip authentication has shown it.
    pub original: Option<bool>,
}

/// What happens at a reader of documents, in the order in which it happens.
#[derive(Debug, Clone)]
pub enum Happening {
    /// The reader is there.
    Online {
        /// What it calls itself, such as `SDT`.
        name: String,
        /// Its own serial number: of an identity card module its SAM id. Empty where it has none.
        serial: String,
    },
    /// The reader is not there or does not answer; it is looked for until it is.
    Offline {
        /// Why, for a technician.
        why: String,
    },
    /// A document was laid on it.
    Detected,
    /// It was read.
    Read(Arc<Reading>),
    /// It could not be read; it may be laid down again.
    Failed {
        /// Why, for whoever stands there and for a technician.
        why: String,
    },
    /// The document was taken away.
    TakenAway,
}
