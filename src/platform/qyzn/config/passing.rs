//! Who passes, and how: `OpenDoorModeSet`, `StrangerParam`, `ForbidIdCardSet`.

use serde_json::{Value, json};

use super::{Fields, choice, number_of};
use crate::access::{CredentialOrder, PassMode, StrangerPolicy};
use crate::error::Result;
use crate::gate::settings::Settings;

/// Most prefixes of identity numbers; the document names no limit, China has some 3000 counties.
const MOST_PREFIXES: usize = 4096;

/// Longest prefix, in bytes.
const LONGEST_PREFIX: usize = 12;

const ORDERS: [(i64, CredentialOrder); 3] =
    [(0, CredentialOrder::Any), (1, CredentialOrder::FaceFirst), (2, CredentialOrder::FaceLast)];

/// `OpenDoorModeSet` (4.5.10.12): the mode, and what belongs to it.
pub(super) fn open_door_mode(settings: &Settings) -> Value {
    let rules = &settings.rules;
    // 0 is on, as the samples write it.
    let tip = |on: bool| u8::from(!on);
    let mode = rules.mode.number();
    match rules.mode {
        PassMode::FaceAndCard => json!({
            "OpenDoor": mode,
            "CardVerify": number_of(&ORDERS, rules.card_order),
            "SwipeCardTip": tip(settings.tips.card),
            "SwipeFaceTip": tip(settings.tips.face),
        }),
        PassMode::Document | PassMode::DocumentWhitelist => json!({
            "OpenDoor": mode,
            "IdCardVerify": number_of(&ORDERS, rules.document_order),
            "SwipeIdCardTip": tip(settings.tips.document),
            "SwipeFaceTip": tip(settings.tips.face),
        }),
        PassMode::Face | PassMode::Card | PassMode::FaceOrCard | PassMode::FaceOrDocument => {
            json!({ "OpenDoor": mode })
        }
    }
}

/// Changes it. The fields of a mode are taken in every mode: they hold when it is chosen.
pub(super) fn set_open_door_mode(fields: &Fields<'_>, settings: &mut Settings) -> Result<()> {
    let modes = PassMode::ALL.map(|mode| (i64::from(mode.number()), mode));
    if let Some(mode) = choice(fields, "OpenDoor", &modes)? {
        settings.rules.mode = mode;
    }
    for (key, order) in
        [("CardVerify", &mut settings.rules.card_order), ("IdCardVerify", &mut settings.rules.document_order)]
    {
        if let Some(number) = choice(fields, key, &ORDERS)? {
            *order = number;
        }
    }
    let tips = &mut settings.tips;
    for (key, on) in [
        ("SwipeCardTip", &mut tips.card),
        ("SwipeFaceTip", &mut tips.face),
        ("SwipeIdCardTip", &mut tips.document),
    ] {
        if let Some(silent) = fields.flag(key)? {
            *on = !silent;
        }
    }
    Ok(())
}

/// `StrangerParam` (4.5.10.15).
pub(super) fn stranger_param(stranger: &StrangerPolicy) -> Value {
    json!({ "strangerIdentifyEn": stranger.identify, "strangerOpenDoorEn": stranger.open })
}

/// Changes it.
pub(super) fn set_stranger_param(fields: &Fields<'_>, stranger: &mut StrangerPolicy) -> Result<()> {
    if let Some(identify) = fields.flag("strangerIdentifyEn")? {
        stranger.identify = identify;
    }
    if let Some(open) = fields.flag("strangerOpenDoorEn")? {
        stranger.open = open;
    }
    Ok(())
}

/// `ForbidIdCardSet` (4.5.10.19).
pub(super) fn forbid_id_card(prefixes: &[String]) -> Value {
    json!({ "NumPrefix": prefixes })
}

/// Changes it: the list takes the place of the one before, an empty one ends the restriction. A blank prefix would
/// shut out everybody and is refused.
pub(super) fn set_forbid_id_card(fields: &Fields<'_>, prefixes: &mut Vec<String>) -> Result<()> {
    const KEY: &str = "NumPrefix";
    let Some(list) = fields.list(KEY) else { return Ok(()) };
    if list.len() > MOST_PREFIXES {
        let most = format_args!("must have at most {MOST_PREFIXES} prefixes, not {}", list.len());
        return Err(fields.wrong(KEY, most));
    }
    let mut read: Vec<String> = Vec::with_capacity(list.len());
    for value in list {
        let prefix = match value {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return Err(fields.wrong(KEY, "must hold texts")),
        };
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX {
            let what = format_args!("must hold texts of 1 to {LONGEST_PREFIX} bytes, not {}", prefix.len());
            return Err(fields.wrong(KEY, what));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(fields.wrong(KEY, "must hold beginnings of identity numbers: digits and letters"));
        }
        if !read.contains(&prefix) {
            read.push(prefix);
        }
    }
    *prefixes = read;
    Ok(())
}
