//! The configuration: one typed tree, no unknown keys, a default and an example for every key.

pub mod document_reader;
pub mod server;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use document_reader::DocumentReader;

use crate::device::card_reader::{ByteOrder, Digits};
use crate::error::{Context, Error, Kind, Result};
use crate::gate::settings::Settings;
use crate::gate::template::Template;
use crate::platform::terminal_ws::address::Address;
use crate::text::Language;

/// The commented example, which is also the documentation of every key.
pub const EXAMPLE: &str = include_str!("config.example.toml");

/// The whole tree.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Who this terminal is.
    pub terminal: Terminal,
    /// Its cameras.
    pub camera: Vec<Camera>,
    /// Models and how they are run.
    pub vision: Vision,
    /// Other hardware.
    pub device: Device,
    /// The OSDP line.
    pub osdp: Osdp,
    /// What is believed of identity documents.
    pub documents: Documents,
    /// Sessions and passages.
    pub gate: Gate,
    /// What the store keeps and for how long.
    pub store: Store,
    /// Values that a platform may change later; what it has set wins over these.
    pub settings: Settings,
    /// Platforms.
    pub platform: Platform,
    /// The video intercom.
    pub intercom: Intercom,
    /// Services for local programs.
    pub service: Service,
    /// Packages of a new version.
    pub update: Update,
    /// Logs.
    pub log: Log,
    /// The console on the serial line.
    pub console: Console,
}

/// `[terminal]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Terminal {
    /// Serial number, as both platforms are told it.
    pub serial: String,
    /// MAC address as 12 upper-case hexadecimal digits, or `auto`.
    pub mac: String,
    /// Type of the device, as the QYZN platform is told it.
    pub model: String,
    /// Where the store lives.
    pub data_dir: PathBuf,
    /// Language of the texts for visitors.
    pub language: Language,
    /// `system`, or `offset:FILE` (a file with seconds to add, for trying out a wrong clock).
    pub clock: String,
}

impl Default for Terminal {
    fn default() -> Self {
        Self {
            serial: "FEDCBA9876543210".into(),
            mac: "auto".into(),
            model: "MS01".into(),
            data_dir: "/var/lib/menshen".into(),
            language: Language::Chinese,
            clock: "system".into(),
        }
    }
}

/// What a camera looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraRole {
    /// Visible light, towards the visitor.
    Visible,
    /// Near infrared, towards the visitor.
    Infrared,
    /// The document plate.
    Document,
}

/// In which format a camera delivers its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraFormat {
    /// The best that it has ([`crate::device::camera::v4l2::choose`]).
    #[default]
    Auto,
    /// Motion-JPEG.
    Mjpeg,
    /// YUYV 4:2:2.
    Yuyv,
    /// NV12 4:2:0, in one piece of memory or in two.
    Nv12,
    /// One byte a pixel.
    Grey,
}

/// `[[camera]]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// What it looks at.
    pub role: CameraRole,
    /// `v4l2:/dev/video0`, `v4l2:/dev/v4l/by-path/…`, `v4l2:card=NAME`, or `files:DIR`: the JPEG pictures of DIR in
    /// name order, looped.
    pub source: String,
    /// Frames per second, 1 to 60.
    #[serde(default = "default_fps")]
    pub fps: u32,
    /// Width in pixels, 0 for the best.
    #[serde(default)]
    pub width: u32,
    /// Height in pixels, 0 for the best.
    #[serde(default)]
    pub height: u32,
    /// Format of its frames.
    #[serde(default)]
    pub format: CameraFormat,
}

impl Camera {
    /// A camera with everything else by default.
    pub fn new(role: CameraRole, source: impl Into<String>) -> Self {
        let (fps, format) = (default_fps(), CameraFormat::Auto);
        Self { role, source: source.into(), fps, width: 0, height: 0, format }
    }
}

fn default_fps() -> u32 {
    15
}

/// `[vision]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vision {
    /// Folder of `models.toml`, the models and, with `auto`, `libonnxruntime.so`.
    pub models_dir: PathBuf,
    /// Path of the ONNX Runtime library; `auto` looks in `models_dir`, then where the system keeps libraries.
    pub onnxruntime: String,
    /// Threads of one model run while watching.
    pub threads: usize,
    /// Threads that enrol side by side; 0 is one for each core.
    pub enrol_workers: usize,
    /// Width between the ears, in pixels of the frame, of the smallest face to find.
    pub smallest_face: u32,
    /// How much better, in score, the best match must be than the next person's to be named.
    pub ambiguity_margin: f32,
}

impl Default for Vision {
    fn default() -> Self {
        Self {
            models_dir: "/usr/share/menshen/models".into(),
            onnxruntime: "auto".into(),
            threads: 1,
            enrol_workers: 0,
            smallest_face: 40,
            ambiguity_margin: 2.0,
        }
    }
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// Relay of the door.
    pub relay: String,
    /// Wiegand output.
    pub wiegand_out: String,
    /// Wiegand input: the reader of cards.
    pub wiegand_in: String,
    /// Button by which whoever is inside opens the door.
    pub exit_button: String,
    /// Contact at the leaf of the door.
    pub door_contact: String,
    /// Contact at the gate's own case.
    pub tamper: String,
    /// Milliseconds for which one of these three must stay as it is to count, 1 to 1000.
    pub debounce_ms: u16,
    /// RS485 line.
    pub rs485: String,
    /// Who switches its direction.
    pub rs485_direction: String,
    /// Lamp that lights visitors.
    pub lamp: String,
    /// Screen towards the visitor.
    pub screen: String,
    /// Loudspeaker.
    pub voice: String,
    /// Folder of the sentences that it says.
    pub voice_dir: PathBuf,
    /// What restarts the machine when the gate hangs.
    pub watchdog: String,
    /// Seconds without a turn after which a loop of the gate hangs, 15 to 600: a healthy one waits up to 10 s for a camera
    /// that stalls.
    pub watchdog_within_s: u64,
    /// Sensor of a visitor's temperature.
    pub thermometer: String,
    /// Reader of IC cards on a serial line.
    pub card_reader: String,
    /// Digits of its cards' numbers.
    pub card_number: Digits,
    /// Order of their bytes.
    pub card_bytes: ByteOrder,
    /// Reader of chip cards behind PC/SC.
    pub contact_reader: String,
    /// What goes out on the RS485 line after a passage, where its payload is `custom`.
    pub rs485_template: Template,
    /// The number that goes out on the Wiegand line after a passage, where its payload is `custom`.
    pub wiegand_template: Template,
    /// The machine under the gate: who sets its clock and restarts it.
    pub system: String,
    /// Reader of identity documents.
    pub id_reader: String,
    /// Program that decodes the photos of identity cards; empty for none.
    pub id_photo_decoder: PathBuf,
    /// Reader of QR codes.
    pub qr_reader: String,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            relay: "sim".into(),
            wiegand_out: "sim".into(),
            wiegand_in: "none".into(),
            exit_button: "none".into(),
            door_contact: "none".into(),
            tamper: "none".into(),
            debounce_ms: 30,
            rs485: "none".into(),
            rs485_direction: "adapter".into(),
            lamp: "sim".into(),
            screen: "sim".into(),
            voice: "sim".into(),
            voice_dir: "/usr/share/menshen/voice".into(),
            watchdog: "none".into(),
            watchdog_within_s: 30,
            thermometer: "none".into(),
            card_reader: "none".into(),
            contact_reader: "none".into(),
            card_number: Digits::Decimal,
            card_bytes: ByteOrder::AsSent,
            rs485_template: Template::parse("{person_id},{card}\r\n").expect("its placeholders are known"),
            wiegand_template: Template::parse("{card}").expect("its placeholders are known"),
            system: "sim".into(),
            id_reader: "none".into(),
            id_photo_decoder: PathBuf::new(),
            qr_reader: "none".into(),
        }
    }
}

/// `[osdp]`, for `device.rs485 = "osdp:…"`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Osdp {
    /// Address of the gate on the wire, 0 to 126.
    pub address: u8,
    /// File of the secure channel's key; `auto` is `osdp.key` in `terminal.data_dir`.
    pub key_file: String,
    /// Whether the controller may install a key while there is none.
    pub install_mode: bool,
    /// Whether nothing is told or done outside the secure channel.
    pub secure: bool,
    /// Which cards the controller is told.
    pub report: OsdpReport,
}

/// `[documents]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Documents {
    /// Folder of the certificates of states' signing authorities, whose signatures in chips are believed; empty: nobody is.
    pub csca_dir: String,
}

/// Which cards an access controller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OsdpReport {
    /// Those of people whom the gate has let in.
    Passages,
    /// Those too, and every card when it is presented, whoever's it is.
    Cards,
}

impl Default for Osdp {
    fn default() -> Self {
        Self {
            address: 0,
            key_file: "auto".into(),
            install_mode: false,
            secure: true,
            report: OsdpReport::Passages,
        }
    }
}

/// What the gate does when a record cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreFailure {
    /// Opens, keeps the record in memory and says so.
    Open,
    /// Stays shut and says so.
    Refuse,
}

/// `[gate]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Seconds a session waits for its next credential.
    pub session_timeout_s: u64,
    /// Milliseconds for which a face must stay unknown, while it is well visible, to be called a stranger.
    pub stranger_after_ms: u64,
    /// Milliseconds a judgement of liveness may take before the visitor is refused.
    pub liveness_within_ms: u64,
    /// Seconds between two passages of one person.
    pub min_interval_s: u64,
    /// Seconds in which a platform that opens by its answer must take a record; then it counts as gone.
    pub platform_timeout_s: u64,
    /// What to do when a record cannot be stored.
    pub on_store_failure: OnStoreFailure,
    /// Seconds for which the door may stand open, 0 to 3600; 0 is any time.
    pub door_held_s: u64,
    /// Seconds after a pulse of the relay within which the door may still be opened, 0 to 60.
    pub door_grace_s: u64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            session_timeout_s: 10,
            stranger_after_ms: 1000,
            liveness_within_ms: 3000,
            min_interval_s: 3,
            platform_timeout_s: 5,
            on_store_failure: OnStoreFailure::Open,
            door_held_s: 30,
            door_grace_s: 5,
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Where the device key comes from: `file:PATH` (created on first start, mode 0600), or
    /// `credential:NAME` (a systemd credential).
    pub key: String,
    /// Days that delivered records are kept.
    pub keep_days: u32,
    /// Size at which the oldest delivered records go, in MiB.
    pub soft_limit_mib: u64,
    /// Size at which even undelivered records go, the oldest first, in MiB.
    pub hard_limit_mib: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { key: "file:auto".into(), keep_days: 90, soft_limit_mib: 4096, hard_limit_mib: 6144 }
    }
}

/// `[platform]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    /// QYZN over TCP; absent: not used.
    pub qyzn: Option<Qyzn>,
    /// The terminal WebSocket protocol; absent: not used.
    pub terminal_ws: Option<TerminalWs>,
    /// HTTP push, which `settings.push` switches on.
    pub http_push: HttpPush,
}

/// `[platform.http_push]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpPush {
    /// With `settings.push.tls`: PEM file whose certificates alone are accepted; empty for the system's.
    pub pinned_certificate: String,
}

/// `[update]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Update {
    /// What installs packages: `none`, `sim` or `rauc`.
    pub installer: String,
    /// Largest package, in MiB.
    pub max_mib: u64,
    /// Whether a package without a valid signature may be installed.
    pub allow_unsigned: bool,
    /// Whether a platform may order a version that is older than what runs.
    pub allow_older: bool,
    /// When the gate restarts into a new version: `quiet`, or a time of its own zone (`HH:MM`).
    pub restart: String,
    /// For `https`: PEM file whose certificates alone are accepted; empty for the system's.
    pub pinned_certificate: String,
}

impl Default for Update {
    fn default() -> Self {
        Self {
            installer: "none".into(),
            max_mib: 512,
            allow_unsigned: false,
            allow_older: false,
            restart: "quiet".into(),
            pinned_certificate: String::new(),
        }
    }
}

impl Update {
    /// From when on, in the gate's zone, it may restart into a new version; `None` is at any time.
    pub fn restart_at(&self) -> Option<jiff::civil::Time> {
        jiff::civil::Time::strptime("%H:%M", &self.restart).ok()
    }
}

/// `[platform.qyzn]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qyzn {
    /// `HOST:PORT`.
    pub server: String,
    /// Seconds between heartbeats.
    #[serde(default = "default_heartbeat")]
    pub heartbeat_s: u64,
    /// Seconds to wait for an answer before a request is sent again.
    #[serde(default = "default_request_timeout")]
    pub request_timeout_s: u64,
    /// Longest body accepted, in MiB.
    #[serde(default = "default_body_limit")]
    pub body_limit_mib: u32,
    /// Whether the line is TLS.
    #[serde(default)]
    pub tls: bool,
    /// With `tls`: PEM file whose certificates alone are accepted; empty for the system's.
    #[serde(default)]
    pub pinned_certificate: String,
}

impl Qyzn {
    /// A platform at `server`, all else by default.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            heartbeat_s: default_heartbeat(),
            request_timeout_s: default_request_timeout(),
            body_limit_mib: default_body_limit(),
            tls: false,
            pinned_certificate: String::new(),
        }
    }
}

fn default_heartbeat() -> u64 {
    25
}

fn default_request_timeout() -> u64 {
    20
}

fn default_body_limit() -> u32 {
    16
}

/// `[intercom]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Intercom {
    /// Who carries voice and picture: `none`, `sim` or `sim:STEPS` (see [`crate::intercom::simulated::Script`]).
    pub media: String,
    /// Seconds that one attempt rings, 5 to 120.
    pub ring_s: u64,
}

impl Default for Intercom {
    fn default() -> Self {
        Self { media: "none".into(), ring_s: 30 }
    }
}

/// `[platform.terminal_ws]`. Its `Debug` has no secrets.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalWs {
    /// `ws://IP:PORT/devs/` or `wss://…`; the serial number is put behind it.
    pub url: String,
    /// Name of the Basic authorization.
    pub username: String,
    /// Its password.
    pub password: String,
    /// `key` that messages about people must have; empty: any.
    #[serde(default)]
    pub key: String,
    /// Seconds between pings.
    #[serde(default = "default_heartbeat")]
    pub heartbeat_s: u64,
    /// PEM file with the platform's certificate or authority for `wss`; empty: the system's authorities.
    #[serde(default)]
    pub pinned_certificate: String,
    /// Longest message accepted, in MiB.
    #[serde(default = "default_body_limit")]
    pub message_limit_mib: u32,
}

impl fmt::Debug for TerminalWs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalWs")
            .field("url", &self.url)
            .field("username", &self.username)
            .field("heartbeat_s", &self.heartbeat_s)
            .field("pinned_certificate", &self.pinned_certificate)
            .field("message_limit_mib", &self.message_limit_mib)
            .finish_non_exhaustive()
    }
}

impl TerminalWs {
    /// What the types cannot say.
    fn check(&self, serial: &str) -> Result<()> {
        Address::parse(&self.url, serial)?;
        let fail = |message: &str| Err(Error::new(Kind::Config, format!("platform.terminal_ws.{message}")));
        // RFC 7617: a colon ends the name.
        if self.username.contains(':') {
            return fail("username must not have a colon in it");
        }
        if !(1..=3600).contains(&self.heartbeat_s) {
            return fail("heartbeat_s must be 1 to 3600");
        }
        if !(1..=1024).contains(&self.message_limit_mib) {
            return fail("message_limit_mib must be 1 to 1024");
        }
        Ok(())
    }
}

/// `[service]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// The page and the API of the technician.
    pub admin: Option<Admin>,
    /// The document reader service.
    pub document_reader: Option<DocumentReader>,
}

/// `[service] admin`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Address; anything but loopback needs a token.
    pub listen: SocketAddr,
    /// File that holds the token of at least 16 characters.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Origins besides its own from which a page may call it.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a filter such as `info,menshen::platform=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), json: false }
    }
}

/// `[console]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Seconds without a key after which it ends, at most 86400; 0: never.
    pub idle_s: u64,
}

impl Default for Console {
    fn default() -> Self {
        Self { idle_s: 600 }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .context_as(Kind::Config, || format!("cannot read the configuration {}", path.display()))?;
        Self::parse(&text).context(|| format!("the configuration {} cannot be used", path.display()))
    }

    /// Parses and checks a text.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self =
            toml::from_str(text).map_err(|error| Error::new(Kind::Config, error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// What the types cannot say.
    fn check(&self) -> Result<()> {
        let fail = |message: String| Err(Error::new(Kind::Config, message));
        let serial = &self.terminal.serial;
        if serial.is_empty() || serial.len() > 32 || !serial.chars().all(|c| c.is_ascii_alphanumeric()) {
            return fail(format!("terminal.serial must be 1 to 32 letters and digits, not {serial:?}"));
        }
        let mac = &self.terminal.mac;
        if mac != "auto"
            && !(mac.len() == 12 && mac.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c)))
        {
            return fail(format!(
                "terminal.mac must be auto or 12 upper-case hexadecimal digits, not {mac:?}"
            ));
        }
        if self.terminal.clock != "system" && !self.terminal.clock.starts_with("offset:") {
            return fail("terminal.clock must be system or offset:FILE".into());
        }
        for camera in &self.camera {
            if !(1..=60).contains(&camera.fps) {
                return fail(format!("camera.fps must be 1 to 60, not {}", camera.fps));
            }
            let most = crate::frame::MAX_SIDE;
            if camera.width > most || camera.height > most {
                return fail(format!("camera.width and camera.height must be 0 to {most}"));
            }
            crate::device::camera::check(&camera.source)?;
        }
        if !(16..=400).contains(&self.vision.smallest_face) {
            return fail("vision.smallest_face must be 16 to 400 pixels".into());
        }
        if self.vision.threads == 0 {
            return fail("vision.threads must be at least 1".into());
        }
        if !(15..=600).contains(&self.device.watchdog_within_s) {
            return fail("device.watchdog_within_s must be 15 to 600: a camera that stalls holds its loop for up to 10 s".into());
        }
        if !(1..=1000).contains(&self.device.debounce_ms) {
            return fail(format!("device.debounce_ms must be 1 to 1000, not {}", self.device.debounce_ms));
        }
        if self.gate.door_held_s > 3600 {
            return fail(format!("gate.door_held_s must be 0 to 3600, not {}", self.gate.door_held_s));
        }
        if self.gate.door_grace_s > 60 {
            return fail(format!("gate.door_grace_s must be 0 to 60, not {}", self.gate.door_grace_s));
        }
        if self.store.soft_limit_mib > self.store.hard_limit_mib {
            return fail("store.soft_limit_mib must not exceed store.hard_limit_mib".into());
        }
        crate::intercom::media(&self.intercom.media)
            .context_as(Kind::Config, || format!("intercom.media is {:?}", self.intercom.media))?;
        if !(5..=120).contains(&self.intercom.ring_s) {
            return fail(format!("intercom.ring_s must be 5 to 120, not {}", self.intercom.ring_s));
        }
        if self.osdp.address > 126 {
            return fail(format!("osdp.address must be 0 to 126, not {}", self.osdp.address));
        }
        if self.osdp.key_file.is_empty() {
            return fail("osdp.key_file must name a file, or be auto".into());
        }
        if !self.documents.csca_dir.is_empty() && !self.documents.csca_dir.starts_with('/') {
            return fail("documents.csca_dir must be an absolute path, or empty".into());
        }
        if let Some(terminal_ws) = &self.platform.terminal_ws {
            terminal_ws.check(serial)?;
        }
        if let Some(admin) = &self.service.admin
            && !admin.listen.ip().is_loopback()
            && admin.token_file.is_none()
        {
            return fail(format!(
                "service.admin listens on {}, which others can reach: name a token_file, or listen on 127.0.0.1",
                admin.listen
            ));
        }
        if let Some(document_reader) = &self.service.document_reader {
            document_reader.check()?;
            if let Some((host, port)) = crate::device::id_reader::remote::dials(&self.device.id_reader)
                && is_here(&host, port, document_reader.listen)
            {
                return fail(format!(
                    "device.id_reader = {:?} is this gate's own service.document_reader: it would read from itself; \
                     name the service of another machine or port",
                    self.device.id_reader
                ));
            }
        }
        if let Some(qyzn) = &self.platform.qyzn
            && !qyzn.tls
            && !qyzn.pinned_certificate.is_empty()
        {
            return fail(
                "platform.qyzn.pinned_certificate has no effect without platform.qyzn.tls = true".into(),
            );
        }
        let installer = self.update.installer.as_str();
        if !["none", "sim", "rauc"].contains(&installer) {
            return fail(format!("update.installer must be none, sim or rauc, not {installer:?}"));
        }
        if installer == "rauc" && self.update.allow_unsigned {
            return fail("update.allow_unsigned: rauc installs signed packages only".into());
        }
        if installer == "rauc" && self.service.admin.is_none() {
            return fail(
                "update.installer = \"rauc\" needs service.admin: a new version is asked there whether it is healthy; \
                 without it no new version would ever be kept"
                    .into(),
            );
        }
        if self.update.restart != "quiet" && self.update.restart_at().is_none() {
            return fail(format!(
                "update.restart must be quiet or a time such as 03:00, not {:?}",
                self.update.restart
            ));
        }
        if self.console.idle_s > 86_400 {
            return fail("console.idle_s must be 0 to 86400".into());
        }
        if !(1..=65_536).contains(&self.update.max_mib) {
            return fail("update.max_mib must be 1 to 65536".into());
        }
        self.settings.check()
    }
}

/// Whether somebody of this machine who dials host and port reaches what listens there.
fn is_here(host: &str, port: u16, listen: SocketAddr) -> bool {
    let own = match host.parse::<std::net::IpAddr>() {
        // Whoever listens on all addresses is reached at each of the machine's own; only those are sure that it always has.
        Ok(ip) => {
            ip == listen.ip() || listen.ip().is_unspecified() && (ip.is_loopback() || ip.is_unspecified())
        }
        Err(_) => {
            host.eq_ignore_ascii_case("localhost")
                && (listen.ip().is_loopback() || listen.ip().is_unspecified())
        }
    };
    own && port == listen.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_no_page_of_its_own() {
        let text = |reader: &str, listen: &str| {
            format!(
                "[device]\nid_reader = \"document_reader:ws://{reader}/echo\"\n\
                 [service.document_reader]\nlisten = \"{listen}\"\nopen_to_network = true\n"
            )
        };
        for (reader, listen) in [
            ("127.0.0.1:90", "127.0.0.1:90"),
            ("localhost:90", "127.0.0.1:90"),
            ("127.0.0.1:90", "0.0.0.0:90"),
            ("127.0.0.1", "127.0.0.1:80"),
            ("[::1]:90", "[::1]:90"),
            ("192.0.2.1:90", "192.0.2.1:90"),
        ] {
            let why = refused(&text(reader, listen));
            assert!(why.contains("is this gate's own service.document_reader"), "{reader} {listen}: {why}");
        }
        for (reader, listen) in [("127.0.0.1:91", "127.0.0.1:90"), ("192.0.2.2:90", "0.0.0.0:90")] {
            Config::parse(&text(reader, listen)).unwrap();
        }
    }

    fn refused(text: &str) -> String {
        let error = Config::parse(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        error.to_string()
    }

    /// Every key of `tree`, as a path.
    fn keys(tree: &toml::Table, path: &str, all: &mut Vec<String>) {
        for (key, value) in tree {
            let path = format!("{path}.{key}");
            match value {
                toml::Value::Table(table) => keys(table, &path, all),
                toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                    items.iter().filter_map(toml::Value::as_table).for_each(|table| keys(table, &path, all));
                }
                _ => all.push(path),
            }
        }
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let example = Config::parse(EXAMPLE).unwrap();
        let expected = Config {
            camera: vec![Camera::new(CameraRole::Visible, "files:/usr/share/menshen/demo/frames")],
            platform: Platform {
                qyzn: Some(Qyzn {
                    server: "127.0.0.1:5005".into(),
                    heartbeat_s: 25,
                    request_timeout_s: 20,
                    body_limit_mib: 16,
                    tls: false,
                    pinned_certificate: String::new(),
                }),
                terminal_ws: Some(TerminalWs {
                    url: "ws://127.0.0.1:8088/devs/".into(),
                    username: "dev".into(),
                    password: "123".into(),
                    key: String::new(),
                    heartbeat_s: 25,
                    pinned_certificate: String::new(),
                    message_limit_mib: 16,
                }),
                ..Platform::default()
            },
            service: Service {
                admin: Some(Admin {
                    listen: "127.0.0.1:8080".parse().unwrap(),
                    token_file: None,
                    allowed_origins: Vec::new(),
                }),
                document_reader: Some(DocumentReader::new("127.0.0.1:90".parse().unwrap())),
            },
            ..Config::default()
        };
        assert_eq!(example, expected);
        let (mut written, mut shown) = (Vec::new(), Vec::new());
        keys(&toml::Table::try_from(&example).unwrap(), "", &mut written);
        keys(&toml::from_str(EXAMPLE).unwrap(), "", &mut shown);
        written.sort();
        shown.sort();
        assert_eq!(shown, written);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        assert!(refused("[terminal]\nserial = \"a b\"").contains("terminal.serial"));
        assert!(refused("[terminal]\nmac = \"0064871ecb01\"").contains("terminal.mac"));
        assert!(refused("[terminal]\nclock = \"sundial\"").contains("terminal.clock"));
        assert!(refused("[vision]\nsmallest_face = 5").contains("vision.smallest_face"));
        for seconds in [14, 601] {
            let text = format!("[device]\nwatchdog_within_s = {seconds}");
            assert!(refused(&text).contains("device.watchdog_within_s"));
        }
        assert!(refused("[vison]").contains("vison"));
        assert!(refused("[osdp]\naddress = 127").contains("osdp.address"));
        assert!(refused("[osdp]\nkey_file = \"\"").contains("osdp.key_file"));
        assert!(refused("[documents]\ncsca_dir = \"csca\"").contains("documents.csca_dir"));
        assert!(refused("[device]\ndebounce_ms = 0").contains("device.debounce_ms"));
        assert!(refused("[gate]\ndoor_held_s = 3601").contains("gate.door_held_s"));
        assert!(refused("[gate]\ndoor_grace_s = 61").contains("gate.door_grace_s"));
        assert!(refused("[intercom]\nmedia = \"horn\"").contains("intercom.media"));
        assert!(refused("[intercom]\nmedia = \"sim:ring,sing\"").contains("\"sing\" is no step"));
        assert!(refused("[intercom]\nring_s = 4").contains("intercom.ring_s"));
        assert!(refused("[settings.face]\nsimilar_threshold = 101").contains("SimilarThres"));
        assert!(refused("[settings.rules]\nmoed = \"card\"").contains("moed"));
        assert!(
            refused("[[camera]]\nrole = \"visible\"\nsource = \"files:x\"\nfps = 0").contains("camera.fps")
        );
        let camera = |rest: &str| refused(&format!("[[camera]]\nrole = \"visible\"\n{rest}"));
        assert!(camera("source = \"webcam\"").contains("camera.source = \"webcam\""));
        assert!(camera("source = \"v4l2:video0\"").contains("v4l2:video0"));
        assert!(camera("source = \"files:x\"\nwidth = 8193").contains("camera.width"));
        assert!(camera("source = \"files:x\"\nformat = \"h264\"").contains("h264"));
        let open = refused("[service]\nadmin = { listen = \"0.0.0.0:8080\" }");
        assert!(open.contains("token_file"), "{open}");
        let pin = "[platform.qyzn]\nserver = \"a:1\"\npinned_certificate = \"a.pem\"";
        assert!(refused(pin).contains("platform.qyzn.tls = true"));
        assert!(refused("[update]\ninstaller = \"opkg\"").contains("update.installer"));
        assert!(refused("[update]\ninstaller = \"rauc\"").contains("service.admin"));
        assert!(refused("[update]\ninstaller = \"rauc\"\nallow_unsigned = true").contains("allow_unsigned"));
        assert!(refused("[update]\nrestart = \"25:00\"").contains("update.restart"));
        assert!(refused("[update]\nmax_mib = 0").contains("update.max_mib"));
        assert!(refused("[console]\nidle_s = 86401").contains("console.idle_s"));
        let ws = |rest: &str| {
            refused(&format!("[platform.terminal_ws]\nusername = \"dev\"\npassword = \"123\"\n{rest}"))
        };
        assert!(ws("url = \"10.0.0.5:8088\"").contains("platform.terminal_ws.url"));
        assert!(ws("url = \"ws://h/devs/\"\nheartbeat_s = 0").contains("platform.terminal_ws.heartbeat_s"));
        assert!(ws("").contains("url"), "a missing address is named");
        assert!(refused("[store]\nsoft_limit_mib = 10\nhard_limit_mib = 5").contains("soft_limit_mib"));
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = Config::parse(
            "[platform.terminal_ws]\nurl = \"ws://h/devs/\"\nusername = \"dev\"\n\
             password = \"hush-hush\"\nkey = \"sesame\"",
        )
        .unwrap();
        let printed = format!("{config:?}");
        assert!(printed.contains("ws://h/devs/") && printed.contains("dev"));
        assert!(!printed.contains("hush-hush") && !printed.contains("sesame"), "{printed}");
    }
}
