//! Texts for visitors and technicians, in Chinese and English, from one table.

pub mod console;
pub mod document_reader;
pub mod page;
pub mod spoken;

use serde::{Deserialize, Serialize};

use crate::access::{CredentialKind, Reason};
use crate::intercom::{Outcome, State};
use crate::vision::enrolment::PictureFault;
use crate::vision::quality::QualityFault;

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

impl Language {
    /// `zh-CN` or `en`, as in configurations and events.
    pub fn code(self) -> &'static str {
        in_language("zh-CN", "en", self)
    }
}

/// What a visitor is told for a reason.
pub fn reason(reason: Reason, language: Language) -> &'static str {
    let (chinese, english) = match reason {
        Reason::Granted => ("请通行", "Please pass"),
        Reason::StrangerAllowed => ("欢迎光临", "Welcome"),
        Reason::DocumentHolder => ("人证一致，请通行", "Document checked, please pass"),
        Reason::PlatformDecides => ("请稍候", "One moment, please"),
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
        Reason::NotWhiteListed => ("不在白名单", "Not on the list of this gate"),
        Reason::DocumentExpired => ("证件已过期", "Document expired"),
        Reason::DocumentNotYetValid => ("证件尚未生效", "Document not valid yet"),
        Reason::ClockLost => {
            ("设备时间有误，无法核对证件", "The clock is wrong, documents cannot be checked")
        }
        Reason::NoHolderPhoto => ("证件照片无法比对", "The photo of the document cannot be compared"),
        Reason::Mismatch => ("人证不一致", "Face and credential do not match"),
        Reason::WrongOrder => ("验证顺序错误", "Wrong order"),
        Reason::WrongCredential => ("请使用其他方式验证", "Please use another credential"),
        Reason::Timeout => ("验证超时", "Timed out"),
    };
    in_language(chinese, english, language)
}

/// What a visitor is asked for while a second credential is awaited.
pub fn prompt(next: CredentialKind, language: Language) -> &'static str {
    let (chinese, english) = match next {
        CredentialKind::Face => ("请看摄像头", "Please look at the camera"),
        CredentialKind::Card => ("请刷卡", "Please present your card"),
        CredentialKind::Document => ("请放置证件", "Please present your document"),
        CredentialKind::Qr => ("请出示二维码", "Please present your QR code"),
    };
    in_language(chinese, english, language)
}

fn in_language(chinese: &'static str, english: &'static str, language: Language) -> &'static str {
    match language {
        Language::Chinese => chinese,
        Language::English => english,
    }
}

/// What a visitor is told whose document could not be read.
pub fn document_unread(language: Language) -> &'static str {
    in_language("证件读取失败，请重新放置", "The document was not read, please lay it down again", language)
}

/// What a visitor is told when the platform that would open does not answer.
pub fn no_answer(language: Language) -> &'static str {
    in_language("平台无应答，请联系管理员", "The platform does not answer, please ask for help", language)
}

/// What is said to a visitor who is let in: QYZN `SuccessTips`, 1 to 8; any other number is 1.
pub fn welcome(number: u8, language: Language) -> &'static str {
    let (chinese, english) = match number {
        2 => ("请通行", "Please pass"),
        3 => ("验证通过", "Verified"),
        4 => ("欢迎光临", "Welcome"),
        5 => ("欢迎回家", "Welcome home"),
        6 => ("请慢走", "Take care"),
        7 => ("一路平安", "Have a safe journey"),
        8 => ("请戴安全帽", "Please wear your safety helmet"),
        _ => ("识别成功", "Recognised"),
    };
    in_language(chinese, english, language)
}

/// What is said to a visitor nobody knows: QYZN `FailTips`, 1 or 2; any other number is 2.
pub fn turned_away(number: u8, language: Language) -> &'static str {
    match number {
        1 => in_language("未授权", "Not authorised", language),
        _ => in_language("陌生人", "Stranger", language),
    }
}

/// What a visitor is told who may pass as soon as the platform opens.
pub fn one_moment(language: Language) -> &'static str {
    in_language("请稍候", "One moment, please", language)
}

/// What a visitor is told who may pass before a door that does not open.
pub fn door_failed(language: Language) -> &'static str {
    in_language("门未能打开，请联系管理员", "The door could not be opened, please ask for help", language)
}

/// What a visitor is told while a call goes on.
pub fn call_state(state: State, language: Language) -> &'static str {
    let (chinese, english) = match state {
        State::Idle => ("未呼叫", "No call"),
        State::Dialling => ("正在呼叫，请稍候", "Calling, one moment please"),
        State::Ringing => ("正在振铃，请等待接听", "Ringing, please wait for an answer"),
        State::Talking => ("通话中，请讲话", "Connected, please speak"),
        State::Ended => ("通话结束", "The call is over"),
    };
    in_language(chinese, english, language)
}

/// What a visitor is told when a call has ended.
pub fn call_result(result: Outcome, language: Language) -> &'static str {
    let (chinese, english) = match result {
        Outcome::Answered => ("通话已结束", "The call has ended"),
        Outcome::HungUp => ("已挂断", "Hung up"),
        Outcome::NoSuchRoom => ("房号不正确", "There is no such room"),
        Outcome::NoPlatform => ("平台未连接，无法呼叫", "No platform: nobody can be called"),
        Outcome::PlatformTimeout => {
            ("平台无响应，请稍后重试", "The platform does not answer, please try again")
        }
        Outcome::PlatformRefused => ("平台拒绝了呼叫", "The platform refused the call"),
        Outcome::Offline => ("对方不在线", "The called party is offline"),
        Outcome::Unanswered => ("无人接听", "Nobody answers"),
        Outcome::Rejected => ("对方已拒接", "The call was declined"),
        Outcome::Failed => ("呼叫失败，请稍后重试", "The call failed, please try again"),
        Outcome::Unknown => ("呼叫中断", "The call broke off"),
    };
    in_language(chinese, english, language)
}

/// What a visitor is told whose QR code no platform can weigh.
pub fn platform_unreachable(language: Language) -> &'static str {
    in_language("平台无法连接，请稍后再试", "The platform cannot be reached, please try again", language)
}

/// What a visitor is told whose QR code the platform does not let in.
pub fn platform_refused(language: Language) -> &'static str {
    in_language("二维码无效，禁止通行", "This QR code does not open the door", language)
}

/// What is wrong with a picture that should enrol somebody.
pub fn picture_fault(fault: PictureFault, language: Language) -> &'static str {
    let (chinese, english) = match fault {
        PictureFault::NoFace => ("未检测到人脸", "there is no face in the picture"),
        PictureFault::SeveralFaces => ("图片中有多张人脸", "there is more than one face in the picture"),
        PictureFault::Quality(fault) => match fault {
            QualityFault::TooSmall => ("人脸太小", "the face is too small"),
            QualityFault::CutOff => ("人脸不完整", "the edge of the picture cuts the face off"),
            QualityFault::TooDark => ("人脸太暗", "the face is too dark"),
            QualityFault::TooBright => ("人脸过亮", "the face is too bright"),
            QualityFault::Blurred => ("人脸模糊", "the face is blurred"),
            QualityFault::TurnedAway => ("请正对镜头", "the face is turned away"),
            QualityFault::EyesCovered => ("眼部有遮挡", "the eyes are covered"),
            QualityFault::MouthCovered => ("口鼻有遮挡", "the mouth is covered"),
        },
    };
    in_language(chinese, english, language)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn everything_is_said_in_both_languages() {
        const KINDS: [CredentialKind; 4] =
            [CredentialKind::Face, CredentialKind::Card, CredentialKind::Document, CredentialKind::Qr];
        const STATES: [State; 5] =
            [State::Idle, State::Dialling, State::Ringing, State::Talking, State::Ended];
        let texts = |language| -> Vec<&str> {
            let reasons = Reason::ALL.into_iter().map(|one| reason(one, language));
            let states = STATES.into_iter().map(|state| call_state(state, language));
            let results = Outcome::ALL.into_iter().map(|result| call_result(result, language));
            let prompts = KINDS.into_iter().map(|kind| prompt(kind, language));
            reasons.chain(prompts).chain(states).chain(results).collect()
        };
        let is_chinese = |text: &&str| text.chars().any(|letter| ('\u{4E00}'..='\u{9FFF}').contains(&letter));
        let (chinese, english) = (texts(Language::Chinese), texts(Language::English));
        assert!(chinese.iter().all(is_chinese), "{chinese:?}");
        assert!(english.iter().all(|text| text.is_ascii() && !text.trim().is_empty()), "{english:?}");
        for list in [chinese, english] {
            assert_eq!(
                list.iter().collect::<HashSet<_>>().len(),
                Reason::ALL.len() + KINDS.len() + STATES.len() + Outcome::ALL.len(),
                "{list:?}"
            );
        }
    }
}
