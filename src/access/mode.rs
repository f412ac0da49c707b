//! Pass modes (QYZN 4.5.10.12) and their numbers.

use serde::{Deserialize, Serialize};

/// QYZN `OpenDoor` and `passMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum PassMode {
    /// 0 刷脸: a face.
    #[default]
    Face,
    /// 1 人卡合一: a face and that person's card.
    FaceAndCard,
    /// 2 刷卡: a card.
    Card,
    /// 3 人证: a document and its holder's face; need not be enrolled.
    Document,
    /// 4 人证白名单: the same, and the holder is on the white list.
    DocumentWhitelist,
    /// 5 人脸或卡: a face or a card.
    FaceOrCard,
    /// 6 人脸或人证: a face, or a document and its holder's face.
    FaceOrDocument,
}

impl PassMode {
    /// Whether a document can be part of a passage.
    pub fn takes_documents(self) -> bool {
        matches!(self, PassMode::Document | PassMode::DocumentWhitelist | PassMode::FaceOrDocument)
    }
}

impl PassMode {
    /// Every mode, in the order of its number.
    pub const ALL: [PassMode; 7] = [
        PassMode::Face,
        PassMode::FaceAndCard,
        PassMode::Card,
        PassMode::Document,
        PassMode::DocumentWhitelist,
        PassMode::FaceOrCard,
        PassMode::FaceOrDocument,
    ];

    /// QYZN `passMode` of a person who has no mode of their own.
    pub const NONE_OF_THEIR_OWN: u8 = 255;

    /// The number in QYZN messages.
    pub fn number(self) -> u8 {
        match self {
            PassMode::Face => 0,
            PassMode::FaceAndCard => 1,
            PassMode::Card => 2,
            PassMode::Document => 3,
            PassMode::DocumentWhitelist => 4,
            PassMode::FaceOrCard => 5,
            PassMode::FaceOrDocument => 6,
        }
    }

    /// The reverse of [`PassMode::number`].
    pub fn from_number(number: i64) -> Option<Self> {
        PassMode::ALL.into_iter().find(|mode| i64::from(mode.number()) == number)
    }

    /// The number of a person's own mode: 255 for none.
    pub fn number_of_own(own: Option<Self>) -> u8 {
        own.map_or(Self::NONE_OF_THEIR_OWN, Self::number)
    }

    /// The reverse of [`PassMode::number_of_own`]; the outer `None` is a number that means nothing.
    pub fn own_from_number(number: i64) -> Option<Option<Self>> {
        if number == i64::from(Self::NONE_OF_THEIR_OWN) {
            return Some(None);
        }
        Self::from_number(number).map(Some)
    }
}

/// QYZN `CardVerify` and `IdCardVerify`: in which order a face and the other credential must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum CredentialOrder {
    /// 0: either first.
    #[default]
    Any,
    /// 1: the face first.
    FaceFirst,
    /// 2: the card or document first.
    FaceLast,
}

impl CredentialOrder {
    /// The number in QYZN messages.
    pub fn number(self) -> u8 {
        match self {
            CredentialOrder::Any => 0,
            CredentialOrder::FaceFirst => 1,
            CredentialOrder::FaceLast => 2,
        }
    }

    /// The reverse of [`CredentialOrder::number`].
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(CredentialOrder::Any),
            1 => Some(CredentialOrder::FaceFirst),
            2 => Some(CredentialOrder::FaceLast),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_the_numbers_of_the_document() {
        // 4.5.10.12.
        let table = [
            (0, PassMode::Face),
            (1, PassMode::FaceAndCard),
            (2, PassMode::Card),
            (3, PassMode::Document),
            (4, PassMode::DocumentWhitelist),
            (5, PassMode::FaceOrCard),
            (6, PassMode::FaceOrDocument),
        ];
        for (number, mode) in table {
            assert_eq!(mode.number(), number);
            assert_eq!(PassMode::from_number(i64::from(number)), Some(mode));
            assert_eq!(PassMode::own_from_number(i64::from(number)), Some(Some(mode)));
            assert_eq!(PassMode::number_of_own(Some(mode)), number);
        }
        assert_eq!(PassMode::own_from_number(255), Some(None));
        assert_eq!(PassMode::number_of_own(None), 255);
        for number in [-1, 7, 254, 255, 256, i64::MAX, i64::MIN] {
            assert_eq!(PassMode::from_number(number), None);
        }
        for number in [-1, 7, 256] {
            assert_eq!(PassMode::own_from_number(number), None);
        }
    }

    #[test]
    fn orders_have_the_numbers_of_the_document() {
        // CardVerify: 0 不限制, 1 先脸后卡, 2 先卡后脸.
        for (number, order) in
            [(0, CredentialOrder::Any), (1, CredentialOrder::FaceFirst), (2, CredentialOrder::FaceLast)]
        {
            assert_eq!(order.number(), number);
            assert_eq!(CredentialOrder::from_number(i64::from(number)), Some(order));
        }
        assert_eq!(CredentialOrder::from_number(3), None);
        assert_eq!(CredentialOrder::from_number(-1), None);
    }
}
