//! What a platform may change while the gate runs, with ranges as the QYZN document gives them (4.5.10).
//! Kept in the store, one row for each group; a group that was never set has the value of the configuration.

use serde::{Deserialize, Serialize};

use crate::access::Rules;
use crate::device::wiegand;
use crate::error::{Error, Kind, Result};

/// All groups.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `vaparam`.
    pub face: FaceSettings,
    /// `switchCtrl`.
    pub relay: RelaySettings,
    /// `weigand`.
    pub wiegand: WiegandSettings,
    /// `OpenDoorModeSet`, `StrangerParam`, `ForbidIdCardSet`, `online_open_door`, `config_device_pass_rule`.
    pub rules: Rules,
    /// `VerifyRetRspSet`.
    pub report: ReportSettings,
    /// `time`.
    pub time: TimeSettings,
}

/// QYZN `vaparam` (4.5.10.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaceSettings {
    /// `SimilarThres`, 0..=100: score from which two faces are one person's.
    pub similar_threshold: u8,
    /// `DetThres`, 0..=100: score of the detector from which something is a face.
    pub detect_threshold: u8,
    /// `LiveThres`, 0..=100: score of liveness from which a face is live.
    pub live_threshold: u8,
    /// `LiveSwitch`: 0 does not ask, 1 refuses photos and videos, 2 refuses some of them (less strict).
    pub live_level: u8,
    /// `Distance`: 0 any, 1 to 5 within 0.5, 1, 1.5, 2 and 3 m.
    pub distance: u8,
    /// `safetyhatDecect`: whether a safety helmet is asked for.
    pub safety_helmet: bool,
}

impl Default for FaceSettings {
    fn default() -> Self {
        Self {
            similar_threshold: 80,
            detect_threshold: 65,
            live_threshold: 50,
            live_level: 0,
            distance: 0,
            safety_helmet: false,
        }
    }
}

/// QYZN `switchCtrl` (4.5.10.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelaySettings {
    /// `switchOutput`: whether the relay is used at all.
    pub enabled: bool,
    /// `switchOutMode` 1: the low level opens.
    pub active_low: bool,
    /// `outputInterval`, 0..=10000 ms: length of the pulse.
    pub pulse_ms: u16,
    /// `outputDelay`, 0..=5000 ms: from the verdict to the pulse.
    pub delay_ms: u16,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { enabled: true, active_low: false, pulse_ms: 2000, delay_ms: 0 }
    }
}

/// What is sent on an output line after a passage (QYZN `putOutType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// 0: nothing.
    Nothing,
    /// 1: the person's id.
    PersonId,
    /// 2: the number of the person's card.
    #[default]
    CardNumber,
}

/// QYZN `weigand` (4.5.10.7), output side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct WiegandSettings {
    /// `type`.
    pub format: wiegand::Format,
    /// `putOutType`.
    pub payload: Payload,
}

/// QYZN `VerifyRetRspSet` (4.5.10.18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSettings {
    /// `SnapshotPic`: whether reports carry the picture.
    pub with_picture: bool,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self { with_picture: true }
    }
}

/// QYZN `time` (4.5.10.3), as far as it concerns the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeSettings {
    /// Offset of the gate's zone from UTC in minutes, -720..=840.
    pub utc_offset_minutes: i16,
}

impl Default for TimeSettings {
    /// Beijing.
    fn default() -> Self {
        Self { utc_offset_minutes: 480 }
    }
}

impl TimeSettings {
    /// The zone.
    pub fn offset(&self) -> jiff::tz::Offset {
        jiff::tz::Offset::from_seconds(i32::from(self.utc_offset_minutes) * 60)
            .unwrap_or(jiff::tz::Offset::UTC)
    }
}

impl Settings {
    /// Ranges that the types cannot say. Names the first key that is out of range.
    pub fn check(&self) -> Result<()> {
        let face = &self.face;
        let ranges: [(&str, i64, i64, i64); 8] = [
            ("SimilarThres", face.similar_threshold.into(), 0, 100),
            ("DetThres", face.detect_threshold.into(), 0, 100),
            ("LiveThres", face.live_threshold.into(), 0, 100),
            ("LiveSwitch", face.live_level.into(), 0, 2),
            ("Distance", face.distance.into(), 0, 5),
            ("outputInterval", self.relay.pulse_ms.into(), 0, 10_000),
            ("outputDelay", self.relay.delay_ms.into(), 0, 5_000),
            ("utc_offset_minutes", self.time.utc_offset_minutes.into(), -720, 840),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(Error::new(
                    Kind::Config,
                    format!("{key} must be {least} to {most}, not {value}"),
                ));
            }
        }
        Ok(())
    }
}
