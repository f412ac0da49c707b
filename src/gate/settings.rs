//! What a platform may change while the gate runs, with ranges as the QYZN document gives them (4.5.10).
//! Kept in the store, one row for each group; a group that was never set has the value of the configuration.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::access::Rules;
use crate::device::rs485::{Line, Parity};
use crate::device::wiegand;
use crate::error::{Error, Kind, Result};
use crate::store::PictureKind;

/// All groups.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `vaparam`.
    pub face: FaceSettings,
    /// Identity documents; no platform has a message for it.
    pub documents: DocumentSettings,
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
    /// `ledctl`.
    pub light: LightSettings,
    /// `serial`.
    pub serial: SerialSettings,
    /// `audioctl`.
    pub audio: AudioSettings,
    /// `VoiceTips`.
    pub sentences: SentenceSettings,
    /// The tips of `OpenDoorModeSet`.
    pub tips: TipSettings,
    /// `ProductNameSet`.
    pub product: ProductSettings,
    /// `HttpPush`.
    pub push: PushSettings,
    /// `system_reboot`.
    pub restart: RestartSettings,
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
    /// `safetyhatDecect`: whether a safety helmet is asked for. Nothing looks for one: only false.
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

/// What is asked of identity documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentSettings {
    /// Score, 0..=100, from which a living face is that of a document's photo. Such photos are small, coarse and up
    /// to twenty years old, and the comparison is one to one: the threshold is lower than that of `vaparam`.
    pub photo_threshold: u8,
}

impl Default for DocumentSettings {
    fn default() -> Self {
        Self { photo_threshold: 70 }
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
    /// 10: the template of the configuration, with the person's facts filled in.
    Custom,
}

/// What becomes of a number that came in on the Wiegand line (QYZN `weigand.InputType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum CardConversion {
    /// 1: site code and card number (HID, PID) as decimal digits side by side.
    HidPid,
    /// 2: the whole number.
    #[default]
    Whole,
    /// 3: the last two bytes.
    LastTwoBytes,
}

/// QYZN `weigand` (4.5.10.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct WiegandSettings {
    /// `type`.
    pub format: wiegand::Format,
    /// `putOutType`.
    pub payload: Payload,
    /// `InputType`.
    pub input: CardConversion,
}

/// QYZN `VerifyRetRspSet` (4.5.10.18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSettings {
    /// `SnapshotPic`: whether reports carry the picture.
    pub with_picture: bool,
}

impl ReportSettings {
    /// Whether reports carry a picture of this kind. The setting is about the visitor's; the photo of a document is what
    /// was compared, and goes with every report.
    pub fn carries(&self, kind: PictureKind) -> bool {
        self.with_picture || kind == PictureKind::Document
    }
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self { with_picture: true }
    }
}

/// Where the gate's time comes from (QYZN `time_control`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// 0: whatever the system's clock says.
    Manual,
    /// 1: the platform (`sync_time`).
    #[default]
    Platform,
    /// 2: an NTP server, by the system's own service.
    Ntp,
}

/// QYZN `time` (4.5.10.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeSettings {
    /// `timezone`: offset of the gate's zone from UTC in minutes, -720..=840.
    pub utc_offset_minutes: i16,
    /// `time_control`.
    pub source: TimeSource,
    /// `ntpServer`: host name or address, at most 64 bytes; empty is the system's own choice.
    pub ntp_server: String,
    /// `ntpPort`, 0..=65535; 0 is the usual one.
    pub ntp_port: u16,
}

impl Default for TimeSettings {
    /// Beijing.
    fn default() -> Self {
        Self {
            utc_offset_minutes: 480,
            source: TimeSource::default(),
            ntp_server: String::new(),
            ntp_port: 123,
        }
    }
}

/// When the lamp is on (QYZN `ledctl.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum LampMode {
    /// 0: never.
    Off,
    /// 1: always.
    On,
    /// 2: while somebody is there and the picture is dark.
    #[default]
    Auto,
}

/// QYZN `ledctl` (4.5.10.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct LightSettings {
    /// `mode`.
    pub lamp: LampMode,
    /// `closeScreen`: minutes without a visitor after which the screen goes dark; 0 (never), 1, 2, 5 or 10.
    pub screen_off_minutes: u8,
}

/// What goes out on the serial line after a passage (QYZN `serial.putOutType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SerialPayload {
    /// 1: nothing.
    #[default]
    Nothing,
    /// 2: the person's id.
    PersonId,
    /// 3: the number of the person's card.
    CardNumber,
    /// 10 (the table's text says 4): the template of the configuration.
    Custom,
}

/// QYZN `serial` (4.5.10.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SerialSettings {
    /// `baudrate`, in bits a second: 1200, 2400, 4800, 9600, 19200, 38400, 57600 or 115200.
    pub baud: u32,
    /// `databit`, 5..=8.
    pub data_bits: u8,
    /// `stopbit`, 1 or 2 (QYZN 0 is one).
    pub stop_bits: u8,
    /// `checktype`.
    pub parity: Parity,
    /// `putOutType`.
    pub payload: SerialPayload,
}

impl Default for SerialSettings {
    fn default() -> Self {
        Self {
            baud: 9600,
            data_bits: 8,
            stop_bits: 1,
            parity: Parity::None,
            payload: SerialPayload::default(),
        }
    }
}

impl SerialSettings {
    /// How the bits go.
    pub fn line(&self) -> Line {
        Line { baud: self.baud, data_bits: self.data_bits, parity: self.parity, stop_bits: self.stop_bits }
    }
}

/// The rates that `serial.baudrate` 0 to 7 stand for.
pub const BAUD_RATES: [u32; 8] = [1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200];

/// QYZN `audioctl` (4.5.10.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AudioSettings {
    /// `level`: volume, 0..=15.
    pub volume: u8,
}

impl Default for AudioSettings {
    fn default() -> Self {
        Self { volume: 8 }
    }
}

/// QYZN `VoiceTips` (4.5.10.10): which sentences are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SentenceSettings {
    /// `SuccessTips`, 1..=8: what is said to somebody who may pass.
    pub success: u8,
    /// `FailTips`, 1 (not authorised) or 2 (stranger): what is said to somebody nobody knows.
    pub fail: u8,
}

impl Default for SentenceSettings {
    fn default() -> Self {
        Self { success: 1, fail: 2 }
    }
}

/// The tips of QYZN `OpenDoorModeSet` (4.5.10.12): whether the gate beeps when it has taken a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TipSettings {
    /// `SwipeCardTip` 0.
    pub card: bool,
    /// `SwipeFaceTip` 0.
    pub face: bool,
    /// `SwipeIdCardTip` 0.
    pub document: bool,
}

impl Default for TipSettings {
    fn default() -> Self {
        Self { card: true, face: true, document: true }
    }
}

/// QYZN `ProductNameSet` (4.5.10.11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ProductSettings {
    /// `UIName`: what the screen calls the gate, at most 100 bytes; empty shows nothing.
    pub name: String,
}

/// QYZN `HttpPush` (4.5.10.16). Its `Debug` leaves the secrets out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushSettings {
    /// `httpPushEnable`.
    pub enabled: bool,
    /// `httpServerAddr`: host, or URL with a path, at most 64 bytes.
    pub server: String,
    /// `httpServerAddrStandby`: asked when the first cannot be reached.
    pub standby: String,
    /// `httpServerPort`.
    pub port: u16,
    /// `timeout` in seconds, 0..=1000; 0 is the default of 5.
    pub timeout_s: u16,
    /// `heartbeat_interval` in seconds; 0 sends none.
    pub heartbeat_s: u16,
    /// `private_protocol`: kept and told, without effect.
    pub private_protocol: u16,
    /// `sslenable`.
    pub tls: bool,
    /// `sslport`.
    pub tls_port: u16,
    /// `appid`, at most 127 bytes.
    pub app_id: String,
    /// `appSecret`, at most 127 bytes: key of the signature.
    pub app_secret: String,
    /// `AuthSn`, at most 32 bytes.
    pub auth_sn: String,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            server: String::new(),
            standby: String::new(),
            port: 80,
            timeout_s: 5,
            heartbeat_s: 30,
            private_protocol: 0,
            tls: false,
            tls_port: 443,
            app_id: String::new(),
            app_secret: String::new(),
            auth_sn: String::new(),
        }
    }
}

impl fmt::Debug for PushSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSettings")
            .field("enabled", &self.enabled)
            .field("server", &self.server)
            .field("standby", &self.standby)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("tls_port", &self.tls_port)
            .finish_non_exhaustive()
    }
}

/// QYZN `system_reboot` (4.5.10.17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartSettings {
    /// `auto_reboot`.
    pub automatic: bool,
    /// `time`, in the gate's zone.
    pub at: jiff::civil::Time,
    /// `week`: 0 is every day, 1 is Sunday to 7, Saturday.
    pub week: u8,
    /// `log_level`: 0 logs most, 1 the usual, 2 least; `None` is as the configuration says.
    pub log_level: Option<u8>,
}

impl Default for RestartSettings {
    fn default() -> Self {
        Self { automatic: false, at: jiff::civil::time(3, 0, 0, 0), week: 0, log_level: None }
    }
}

impl TimeSettings {
    /// Whether a text may name a time server, or is empty. It goes into a file of the machine's time service, where
    /// blanks and line ends have a meaning.
    pub fn is_host(text: &str) -> bool {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:_%".contains(&byte))
    }

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
        let ranges: [(&str, i64, i64, i64); 17] = [
            ("SimilarThres", face.similar_threshold.into(), 0, 100),
            ("DetThres", face.detect_threshold.into(), 0, 100),
            ("LiveThres", face.live_threshold.into(), 0, 100),
            ("LiveSwitch", face.live_level.into(), 0, 2),
            ("Distance", face.distance.into(), 0, 5),
            // Nearly everybody is like everybody else below that.
            ("documents.photo_threshold", self.documents.photo_threshold.into(), 30, 100),
            ("outputInterval", self.relay.pulse_ms.into(), 0, 10_000),
            ("outputDelay", self.relay.delay_ms.into(), 0, 5_000),
            ("utc_offset_minutes", self.time.utc_offset_minutes.into(), -720, 840),
            ("databit", self.serial.data_bits.into(), 5, 8),
            ("stopbit", self.serial.stop_bits.into(), 1, 2),
            ("level", self.audio.volume.into(), 0, 15),
            ("SuccessTips", self.sentences.success.into(), 1, 8),
            ("FailTips", self.sentences.fail.into(), 1, 2),
            ("timeout", self.push.timeout_s.into(), 0, 1000),
            ("week", self.restart.week.into(), 0, 7),
            ("log_level", self.restart.log_level.unwrap_or(0).into(), 0, 2),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(Error::new(
                    Kind::Config,
                    format!("{key} must be {least} to {most}, not {value}"),
                ));
            }
        }
        if face.safety_helmet {
            return Err(Error::new(
                Kind::Config,
                "safetyhatDecect (safety_helmet): nothing in this gate looks for a safety helmet: only false",
            ));
        }
        if !BAUD_RATES.contains(&self.serial.baud) {
            return Err(Error::new(
                Kind::Config,
                format!("baudrate must be one of {BAUD_RATES:?}, not {}", self.serial.baud),
            ));
        }
        if !matches!(self.light.screen_off_minutes, 0 | 1 | 2 | 5 | 10) {
            return Err(Error::new(
                Kind::Config,
                format!("closeScreen must be 0, 1, 2, 5 or 10, not {}", self.light.screen_off_minutes),
            ));
        }
        if !TimeSettings::is_host(&self.time.ntp_server) {
            return Err(Error::new(Kind::Config, "ntpServer must be a host name or an address"));
        }
        let lengths: [(&str, &str, usize); 7] = [
            ("ntpServer", &self.time.ntp_server, 64),
            ("UIName", &self.product.name, 100),
            ("httpServerAddr", &self.push.server, 64),
            ("httpServerAddrStandby", &self.push.standby, 64),
            ("appid", &self.push.app_id, 127),
            ("appSecret", &self.push.app_secret, 127),
            ("AuthSn", &self.push.auth_sn, 32),
        ];
        for (key, text, most) in lengths {
            if text.len() > most {
                return Err(Error::new(
                    Kind::Config,
                    format!("{key} must have at most {most} bytes, not {}", text.len()),
                ));
            }
        }
        Ok(())
    }
}
