//! Pass modes (QYZN 4.5.10.12).

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
