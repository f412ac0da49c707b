//! Texts for visitors and technicians, in Chinese and English, from one table.

pub mod page;

use serde::{Deserialize, Serialize};

use crate::access::Reason;

/// A language of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum Language {
    /// Chinese as written in mainland China.
    #[default]
    #[serde(rename = "zh-CN")]
    Chinese,
    /// English.
    #[serde(rename = "en")]
    English,
}

/// What a visitor is told for a reason.
pub fn reason(reason: Reason, language: Language) -> &'static str {
    let (chinese, english) = match reason {
        Reason::Granted => ("请通行", "Please pass"),
        Reason::StrangerAllowed => ("欢迎光临", "Welcome"),
        Reason::DocumentHolder => ("人证一致，请通行", "Document checked, please pass"),
        Reason::Stranger => ("陌生人，未登记", "Not registered"),
        Reason::Ambiguous => ("无法确认身份，请重试", "Identity unclear, please try again"),
        Reason::NotLive => ("请本人面对屏幕", "Please look at the camera in person"),
        Reason::BlackListed => ("禁止通行", "Entry refused"),
        Reason::NotYetValid => ("授权未生效", "Permission not yet valid"),
        Reason::Expired => ("授权已过期", "Permission expired"),
        Reason::OutOfSchedule => ("不在通行时段", "Outside the permitted hours"),
        Reason::UsedUp => ("通行次数已用完", "No passages left"),
        Reason::ForbiddenIdNumber => ("证件受限", "Document not accepted here"),
        Reason::TooSoon => ("请勿重复通行", "You have just passed"),
        Reason::UnknownCard => ("卡未登记", "Card not registered"),
        Reason::UnknownDocument => ("证件未登记", "Document not registered"),
        Reason::DocumentExpired => ("证件已过期", "Document expired"),
        Reason::Mismatch => ("人证不一致", "Face and credential do not match"),
        Reason::WrongOrder => ("验证顺序错误", "Wrong order"),
        Reason::WrongCredential => ("请使用其他方式验证", "Please use another credential"),
        Reason::Timeout => ("验证超时", "Timed out"),
    };
    match language {
        Language::Chinese => chinese,
        Language::English => english,
    }
}
