//! How faces are recognised: `vaparam`.

use serde_json::{Value, json};

use super::Fields;
use crate::error::Result;
use crate::gate::settings::FaceSettings;

/// `vaparam` (4.5.10.8). The helmet has two spellings in the document; it cannot be asked for.
pub(super) fn vaparam(face: &FaceSettings) -> Value {
    json!({
        "SimilarThres": face.similar_threshold,
        "DetThres": face.detect_threshold,
        "LiveThres": face.live_threshold,
        "LiveSwitch": face.live_level,
        "Distance": face.distance,
        "safetyhatDecect": face.safety_helmet,
        "safetyhatDelect": face.safety_helmet,
    })
}

/// Changes it.
pub(super) fn set_vaparam(fields: &Fields<'_>, face: &mut FaceSettings) -> Result<()> {
    let numbers: [(&str, i64, &mut u8); 5] = [
        ("SimilarThres", 100, &mut face.similar_threshold),
        ("DetThres", 100, &mut face.detect_threshold),
        ("LiveThres", 100, &mut face.live_threshold),
        ("LiveSwitch", 2, &mut face.live_level),
        ("Distance", 5, &mut face.distance),
    ];
    for (key, most, place) in numbers {
        if let Some(number) = fields.int_within(key, 0, most)? {
            *place = u8::try_from(number).expect("within 0..=100");
        }
    }
    for key in ["safetyhatDecect", "safetyhatDelect"] {
        if let Some(flag) = fields.flag(key)? {
            if flag {
                return Err(fields.wrong(key, "nothing in this gate looks for a safety helmet: only false"));
            }
            face.safety_helmet = false;
        }
    }
    Ok(())
}
