//! What visitors see and hear: `ledctl`, `audioctl`, `VoiceTips`, `ProductNameSet`.

use serde_json::{Value, json};

use super::{Fields, choice, number_of};
use crate::error::Result;
use crate::gate::settings::{AudioSettings, LampMode, LightSettings, ProductSettings, SentenceSettings};

const LAMP_MODES: [(i64, LampMode); 3] = [(0, LampMode::Off), (1, LampMode::On), (2, LampMode::Auto)];

/// `ledctl` (4.5.10.4).
pub(super) fn ledctl(light: &LightSettings) -> Value {
    json!({ "mode": number_of(&LAMP_MODES, light.lamp), "closeScreen": light.screen_off_minutes })
}

/// Changes it.
pub(super) fn set_ledctl(fields: &Fields<'_>, light: &mut LightSettings) -> Result<()> {
    if let Some(lamp) = choice(fields, "mode", &LAMP_MODES)? {
        light.lamp = lamp;
    }
    if let Some(minutes) = choice(fields, "closeScreen", &[(0, 0), (1, 1), (2, 2), (5, 5), (10, 10)])? {
        light.screen_off_minutes = minutes;
    }
    Ok(())
}

/// `audioctl` (4.5.10.6).
pub(super) fn audioctl(audio: &AudioSettings) -> Value {
    json!({ "level": audio.volume })
}

/// Changes it.
pub(super) fn set_audioctl(fields: &Fields<'_>, audio: &mut AudioSettings) -> Result<()> {
    if let Some(level) = fields.int_within("level", 0, 15)? {
        audio.volume = u8::try_from(level).expect("within 0..=15");
    }
    Ok(())
}

/// `VoiceTips` (4.5.10.10).
pub(super) fn voice_tips(sentences: &SentenceSettings) -> Value {
    json!({ "SuccessTips": sentences.success, "FailTips": sentences.fail })
}

/// Changes it. The range of `FailTips` is 1 and 2, the text of the table has 0 and 1: 0 is taken as 1.
pub(super) fn set_voice_tips(fields: &Fields<'_>, sentences: &mut SentenceSettings) -> Result<()> {
    if let Some(number) = fields.int_within("SuccessTips", 1, 8)? {
        sentences.success = u8::try_from(number).expect("within 1..=8");
    }
    if let Some(number) = choice(fields, "FailTips", &[(1, 1), (2, 2), (0, 1)])? {
        sentences.fail = number;
    }
    Ok(())
}

/// `ProductNameSet` (4.5.10.11).
pub(super) fn product_name(product: &ProductSettings) -> Value {
    json!({ "UIName": product.name })
}

/// Changes it.
pub(super) fn set_product_name(fields: &Fields<'_>, product: &mut ProductSettings) -> Result<()> {
    if let Some(name) = fields.text("UIName", 100)? {
        product.name = name;
    }
    Ok(())
}
