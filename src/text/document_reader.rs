//! What the document reader service says: the constants that pages ask for and later compare for equality, the names
//! of the texts of a document, and the kinds of document. One table each, in Chinese and English.
//!
//! A few Chinese and English constants must be worded as they are: pages in the field have `识别出错`, `采集图像失败`,
//! `初始化读卡核心失败` and `Device is connected` written into them.

use super::{Language, in_language};
use crate::document::{DocumentKind, Label};

/// A text of the service. Pages ask for it by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the constants")]
pub enum Constant {
    CardRecogSystem,
    Connect,
    Disconnect,
    Save,
    Cancel,
    DeviceStatus,
    DeviceName,
    DeviceSerialno,
    Version,
    DeviceConnected,
    DeviceNotConnected,
    DeviceOffLine,
    DeviceReconnected,
    DescOfWebsocketError,
    DescFailSetRfid,
    DescFailSetViz,
    DescFailSendWebsocket,
    PlaceHolderCardTextInfo,
    WebDescDeviceNotFound,
    WebDescRequireRestartSvc,
    WebDescAskForSupport,
    WebDescRequireReconnect,
    AcquireImageFailed,
    RecogFailed,
    RecogTimeout,
    InitIdCardFailed,
    CardDetected,
    CardTakenaway,
    DocumentRejected,
    OtherDocument,
    NoUvLight,
    NoUvJudgement,
    SourceTypeUnknown,
    SettingNotStored,
    NoRawData,
    NoSuchOperand,
    NoSuchCommand,
    NoSuchConstant,
    BadParam,
    BadMessage,
    TooManyCommands,
}

use Constant as C;

/// Constant, name by which pages ask for it, Chinese, English.
const CONSTANTS: &[(Constant, &str, &str, &str)] = &[
    (C::CardRecogSystem, "CardRecogSystem", "证件识别系统", "Document recognition system"),
    (C::Connect, "Connect", "建立连接", "Connect"),
    (C::Disconnect, "Disconnect", "断开连接", "Disconnect"),
    (C::Save, "Save", "保存", "Save"),
    (C::Cancel, "IDCANCEL", "取消", "Cancel"),
    (C::DeviceStatus, "DeviceStatus", "设备状态", "Device status"),
    (C::DeviceName, "DeviceName", "设备名称", "Device name"),
    (C::DeviceSerialno, "DeviceSerialno", "设备序列号", "Device serial number"),
    (C::Version, "Version", "版本", "Version"),
    (C::DeviceConnected, "DeviceConnected", "设备已连接", "Device is connected"),
    (C::DeviceNotConnected, "DeviceNotConnected", "设备未连接", "Device is not connected"),
    (C::DeviceOffLine, "DeviceOffLine", "设备已断开", "Device has gone offline"),
    (C::DeviceReconnected, "DeviceReconnected", "设备已重新连接", "Device has reconnected"),
    (
        C::DescOfWebsocketError,
        "DescOfWebsocketError",
        "WebSocket连接出错，请确认WebSocket服务运行正常后重新建立连接",
        "The WebSocket connection failed: make sure that the service is running, and connect again",
    ),
    (
        C::DescFailSetRfid,
        "DescFailSetRFID",
        "设置是否读取芯片信息出错",
        "Whether to read the chip could not be set",
    ),
    (
        C::DescFailSetViz,
        "DescFailSetVIZ",
        "设置是否识别版面信息出错",
        "Whether to read the printed page could not be set",
    ),
    (
        C::DescFailSendWebsocket,
        "DescFailSendWebsocket",
        "向后台服务发送指令出错",
        "The command could not be sent to the service",
    ),
    (
        C::PlaceHolderCardTextInfo,
        "PlaceHolderCardTextInfo",
        "这里显示从证件读取的文本信息",
        "What is read from the document is shown here",
    ),
    (
        C::WebDescDeviceNotFound,
        "WebDescDeviceNotFound",
        "WebSocket已连接，未检测到设备",
        "WebSocket connected, no device found",
    ),
    (
        C::WebDescRequireRestartSvc,
        "WebDescRequireRestartSvc",
        "WebSocket服务需要重新启动",
        "The WebSocket service is about to restart",
    ),
    (
        C::WebDescAskForSupport,
        "WebDescAskForSupport",
        "WebSocket服务遇到问题，请联系管理员",
        "The WebSocket service has a problem: please ask a technician for help",
    ),
    (
        C::WebDescRequireReconnect,
        "WebDescRequireReconnect",
        "WebSocket服务要求Web端重新建立连接",
        "The WebSocket service asks the page to connect again",
    ),
    (C::AcquireImageFailed, "AcquireImageFailed", "采集图像失败", "No picture could be taken"),
    (C::RecogFailed, "RecogFailed", "识别出错", "The document could not be read"),
    (C::RecogTimeout, "RecogTimeout", "识别超时，未读到证件", "No document was read in time"),
    (C::InitIdCardFailed, "InitIDCardFailed", "初始化读卡核心失败", "The reader could not be started"),
    (C::CardDetected, "CardDetected", "检测到证件放入", "A document was laid down"),
    (C::CardTakenaway, "CardTakenaway", "检测到证件被拿走", "The document was taken away"),
    (
        C::DocumentRejected,
        "DocumentRejected",
        "拒识：证件未通过校验",
        "The document was rejected: it does not check out",
    ),
    (
        C::OtherDocument,
        "OtherDocument",
        "不是指定类型的证件",
        "This is another kind of document than was asked for",
    ),
    (C::NoUvLight, "NoUvLight", "设备不支持紫光拍照", "The device has no ultraviolet light"),
    (
        C::NoUvJudgement,
        "NoUvJudgement",
        "设备不对紫光图像进行判断",
        "The device does not judge ultraviolet pictures",
    ),
    (
        C::SourceTypeUnknown,
        "SourceTypeUnknown",
        "设备无法判断是否原件",
        "The device cannot tell an original from a copy",
    ),
    (
        C::SettingNotStored,
        "SettingNotStored",
        "设置无法保存，未生效",
        "The setting could not be stored and has not changed",
    ),
    (C::NoRawData, "NoRawData", "本服务不提供芯片原始数据", "This service hands out no raw data of chips"),
    (C::NoSuchOperand, "NoSuchOperand", "不支持的操作对象", "There is no such operand"),
    (C::NoSuchCommand, "NoSuchCommand", "不支持的指令", "There is no such command"),
    (C::NoSuchConstant, "NoSuchConstant", "没有该名称的常量", "There is no constant of that name"),
    (C::BadParam, "BadParam", "参数不正确", "The parameter is not what the operand takes"),
    (C::BadMessage, "BadMessage", "报文格式不正确", "The message is no request of this service"),
    (
        C::TooManyCommands,
        "TooManyCommands",
        "一次发送的指令过多",
        "There are too many commands in one message",
    ),
];

/// A constant in a language.
pub fn constant(constant: Constant, language: Language) -> &'static str {
    CONSTANTS
        .iter()
        .find(|(one, ..)| *one == constant)
        .map_or("", |(.., chinese, english)| in_language(chinese, english, language))
}

/// The constant that pages ask for by `name`.
pub fn named(name: &str, language: Language) -> Option<&'static str> {
    let (.., chinese, english) = CONSTANTS.iter().find(|(_, one, ..)| *one == name)?;
    Some(in_language(chinese, english, language))
}

/// Every constant, with the name by which pages ask for it.
pub fn constants() -> impl Iterator<Item = (Constant, &'static str)> {
    CONSTANTS.iter().map(|(constant, name, ..)| (*constant, *name))
}

/// What a document of a kind is called: `CARD_NAME`.
pub fn kind(kind: DocumentKind, language: Language) -> &'static str {
    use DocumentKind as K;
    let (chinese, english) = match kind {
        K::Resident => ("居民身份证", "Resident identity card"),
        K::Foreigner => ("外国人永久居留身份证", "Foreign permanent resident ID card"),
        K::HongKongMacaoTaiwan => {
            ("港澳台居民居住证", "Residence permit for Hong Kong, Macao and Taiwan residents")
        }
        K::Passport => ("护照", "Passport"),
        K::TravelCard => ("旅行证件", "Travel document"),
        K::Visa => ("签证", "Visa"),
        K::SocialSecurity => ("社会保障卡", "Social security card"),
    };
    in_language(chinese, english, language)
}

/// What a document of a kind is called by number: `CARD_MAINID`. 2, 12 and 13 are the vendor's; it has several numbers
/// for most of the others.
pub fn main_id(kind: DocumentKind) -> u64 {
    match kind {
        DocumentKind::Resident => 2,
        DocumentKind::Visa => 12,
        DocumentKind::Passport => 13,
        DocumentKind::Foreigner => 1013,
        DocumentKind::HongKongMacaoTaiwan => 1031,
        DocumentKind::TravelCard => 1034,
        DocumentKind::SocialSecurity => 1100,
    }
}

/// Every kind of document.
pub const KINDS: [DocumentKind; 7] = [
    DocumentKind::Resident,
    DocumentKind::Foreigner,
    DocumentKind::HongKongMacaoTaiwan,
    DocumentKind::Passport,
    DocumentKind::TravelCard,
    DocumentKind::Visa,
    DocumentKind::SocialSecurity,
];

/// Every label.
pub const LABELS: [Label; 22] = [
    Label::Name,
    Label::LatinName,
    Label::Gender,
    Label::Ethnic,
    Label::Birthday,
    Label::Address,
    Label::AdditionalAddress,
    Label::Number,
    Label::Issuer,
    Label::ValidFrom,
    Label::Expires,
    Label::Nationality,
    Label::IssuingState,
    Label::PermitNumber,
    Label::IssueCount,
    Label::Version,
    Label::DocumentType,
    Label::PersonalNumber,
    Label::PlaceOfBirth,
    Label::Mrz1,
    Label::Mrz2,
    Label::Mrz3,
];

/// What a text of a document of a kind is called.
pub fn label(label: Label, kind: DocumentKind, language: Language) -> &'static str {
    use DocumentKind as K;
    let (chinese, english) = match label {
        Label::Name => ("姓名", "Name"),
        Label::LatinName => ("英文姓名", "English name"),
        Label::Gender => ("性别", "Sex"),
        Label::Ethnic => ("民族", "Ethnic group"),
        Label::Birthday => ("出生日期", "Date of Birth"),
        Label::Address => ("住址", "Address"),
        Label::AdditionalAddress => ("追加住址", "Additional address"),
        Label::Number => match kind {
            K::Resident | K::HongKongMacaoTaiwan | K::SocialSecurity => ("公民身份号码", "ID number"),
            K::Foreigner | K::TravelCard => ("证件号码", "Document number"),
            K::Passport => ("护照号码", "Passport number"),
            K::Visa => ("签证号码", "Visa number"),
        },
        Label::Issuer => ("签发机关", "Issuing authority"),
        Label::ValidFrom => ("签发日期", "Date of issue"),
        Label::Expires => ("有效期至", "Date of expiry"),
        Label::Nationality => ("国籍", "Nationality"),
        Label::IssuingState => ("签发国代码", "Issuing country code"),
        Label::PermitNumber => ("通行证号码", "Permit number"),
        Label::IssueCount => ("签发次数", "Number of issues"),
        Label::Version => ("证件版本号", "Version"),
        Label::DocumentType => ("证件类型", "Document type"),
        Label::PersonalNumber => ("个人号码", "Personal number"),
        Label::PlaceOfBirth => ("出生地点", "Place of birth"),
        // As pages in the field read them, in every language.
        Label::Mrz1 => ("MRZ1", "MRZ1"),
        Label::Mrz2 => ("MRZ2", "MRZ2"),
        Label::Mrz3 => ("MRZ3", "MRZ3"),
    };
    in_language(chinese, english, language)
}

/// What family and given name in Latin letters are called; in English as pages in the field read them.
pub fn name_parts(language: Language) -> [&'static str; 2] {
    [
        in_language("英文姓", "The Family Name in English", language),
        in_language("英文名", "The Given Name in English", language),
    ]
}

/// The last day of a document that has none.
pub fn long_term(language: Language) -> &'static str {
    in_language("长期", "Long term", language)
}

/// The holder's sex, of 男 or 女 as readings have it; `None` for anything else.
pub fn sex(reading: &str, language: Language) -> Option<&'static str> {
    let (chinese, english) = SEXES.into_iter().find(|(chinese, _)| *chinese == reading)?;
    Some(in_language(chinese, english, language))
}

/// 男 or 女, of either of the words that [`sex`] gives; `None` for anything else.
pub fn sex_of(word: &str) -> Option<&'static str> {
    let either = |(chinese, english): &(&'static str, &str)| {
        *chinese == word || english.eq_ignore_ascii_case(word) || english[..1].eq_ignore_ascii_case(word)
    };
    SEXES.iter().find(|one| either(one)).map(|(chinese, _)| *chinese)
}

const SEXES: [(&str, &str); 2] = [("男", "Male"), ("女", "Female")];

/// The constants that pages compare what they are told with, so that no two of them may say the same.
pub const STATUSES: [Constant; 16] = [
    C::DeviceConnected,
    C::DeviceNotConnected,
    C::DeviceOffLine,
    C::DeviceReconnected,
    C::WebDescRequireRestartSvc,
    C::WebDescAskForSupport,
    C::WebDescRequireReconnect,
    C::AcquireImageFailed,
    C::RecogFailed,
    C::RecogTimeout,
    C::CardDetected,
    C::CardTakenaway,
    C::DocumentRejected,
    C::OtherDocument,
    C::SettingNotStored,
    C::TooManyCommands,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The names that pages in the field ask for.
    const ASKED_FOR: [&str; 21] = [
        "CardRecogSystem",
        "Connect",
        "Disconnect",
        "Save",
        "IDCANCEL",
        "DeviceStatus",
        "DeviceName",
        "DeviceSerialno",
        "DeviceNotConnected",
        "DescOfWebsocketError",
        "DescFailSetRFID",
        "DescFailSetVIZ",
        "PlaceHolderCardTextInfo",
        "DeviceOffLine",
        "DeviceReconnected",
        "DescFailSendWebsocket",
        "WebDescDeviceNotFound",
        "WebDescRequireRestartSvc",
        "WebDescAskForSupport",
        "WebDescRequireReconnect",
        "DeviceConnected",
    ];

    #[test]
    fn every_constant_is_there_once_in_both_languages() {
        for name in ASKED_FOR {
            assert!(named(name, Language::Chinese).is_some(), "{name}");
        }
        assert_eq!(named("NoSuchThing", Language::Chinese), None);
        assert_eq!(constants().map(|(_, name)| name).collect::<HashSet<_>>().len(), CONSTANTS.len());
        let constants: HashSet<_> = CONSTANTS.iter().map(|(one, ..)| *one).collect();
        assert_eq!(constants.len(), CONSTANTS.len());
        for language in [Language::Chinese, Language::English] {
            // Pages tell them apart by what they say.
            let said: HashSet<_> = CONSTANTS.iter().map(|(one, ..)| constant(*one, language)).collect();
            assert_eq!(said.len(), CONSTANTS.len());
        }
        for (_, name, chinese, english) in CONSTANTS {
            assert!(chinese.chars().any(|letter| ('\u{4E00}'..='\u{9FFF}').contains(&letter)), "{name}");
            assert!(english.is_ascii() && !english.trim().is_empty(), "{name}");
        }
        assert_eq!(constant(Constant::RecogFailed, Language::Chinese), "识别出错");
        assert_eq!(constant(Constant::DeviceConnected, Language::English), "Device is connected");
    }

    #[test]
    fn no_two_texts_of_a_document_have_one_name() {
        for language in [Language::Chinese, Language::English] {
            for one in KINDS {
                let labels = LABELS.iter().map(|text| label(*text, one, language));
                let said: HashSet<_> = labels.chain(name_parts(language)).collect();
                assert_eq!(said.len(), LABELS.len() + 2, "{one:?}");
            }
            assert_eq!(
                KINDS.iter().map(|one| kind(*one, language)).collect::<HashSet<_>>().len(),
                KINDS.len()
            );
        }
    }
}
