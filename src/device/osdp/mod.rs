//! The RS485 line as an OSDP v2 peripheral device (IEC 60839-11-5, SIA OSDP 2.2): an access controller polls the gate
//! as it polls its readers, hears of cards, and drives its lamp, beeper, text and relay. The protocol and its secure
//! channel are those of the library libosdp.
//!
//! What the library leaves to us, besides the wire: time that does not jump, random numbers that nobody can guess, and
//! the key's file.

mod key;

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libosdp::{
    Channel, ChannelError, OsdpCommand, OsdpCommandBuzzer, OsdpCommandLed, OsdpCommandOutput,
    OsdpCommandText, OsdpEvent, OsdpEventCardRead, OsdpFlag, OsdpLedColor, OsdpLedParams, OsdpStatusReport,
    OsdpStatusReportType, PdCapEntity, PdCapability, PdId, PdInfoBuilder, PeripheralDevice,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::direction::Direction;
use super::serial_port::{Line, SerialPort};
use crate::config::{Config, OsdpReport};
use crate::error::{Context, Error, Kind, Result};

/// The speeds that OSDP knows.
const BAUDS: [u32; 6] = [9600, 19_200, 38_400, 57_600, 115_200, 230_400];

/// A tenth of a second, the unit of every time in OSDP's commands.
const TENTH: Duration = Duration::from_millis(100);

/// Frames that one turn serves at most: others' on the same wire may stand before ours.
const FRAMES_A_TURN: usize = 4;

/// The port of `osdp:PORT`.
pub fn port(name: &str) -> Option<&str> {
    name.strip_prefix("osdp:").filter(|path| path.starts_with('/'))
}

/// What the configuration says of the device.
#[derive(Debug)]
pub struct Setup {
    /// Where the line is.
    pub path: PathBuf,
    /// Who switches its direction.
    pub direction: Direction,
    /// Its address on the wire, 0 to 126.
    pub address: u8,
    /// Where the key is kept.
    pub key_file: PathBuf,
    /// While there is no key, one may be installed over a channel that the default key opens.
    pub install_mode: bool,
    /// Nothing is told or done outside the secure channel.
    pub secure: bool,
    /// Which cards are told.
    pub report: OsdpReport,
    /// Serial number of the terminal.
    pub serial: String,
}

/// The device that `device.rs485` names with `osdp:…`; `None` for another line.
pub fn open(config: &Config) -> Result<Option<Setup>> {
    let Some(path) = port(&config.device.rs485) else { return Ok(None) };
    let key_file = match config.osdp.key_file.as_str() {
        "auto" => config.terminal.data_dir.join("osdp.key"),
        path => path.into(),
    };
    Ok(Some(Setup {
        path: path.into(),
        direction: Direction::open(&config.device.rs485_direction)?,
        address: config.osdp.address,
        key_file,
        install_mode: config.osdp.install_mode,
        secure: config.osdp.secure,
        report: config.osdp.report,
        serial: config.terminal.serial.clone(),
    }))
}

/// What the gate has for a controller to drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// A relay.
    pub output: bool,
    /// A screen or a lamp that shows the state of the LED.
    pub led: bool,
    /// A voice that beeps.
    pub buzzer: bool,
    /// A screen for texts.
    pub text: bool,
}

/// Colour of the LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Colour {
    Off,
    Red,
    Green,
    Amber,
    Blue,
    Magenta,
    Cyan,
    White,
}

impl Colour {
    fn of(colour: OsdpLedColor) -> Option<Self> {
        Some(match colour {
            OsdpLedColor::None => Colour::Off,
            OsdpLedColor::Red => Colour::Red,
            OsdpLedColor::Green => Colour::Green,
            OsdpLedColor::Amber => Colour::Amber,
            OsdpLedColor::Blue => Colour::Blue,
            OsdpLedColor::Magenta => Colour::Magenta,
            OsdpLedColor::Cyan => Colour::Cyan,
            OsdpLedColor::Unknown(7) => Colour::White,
            OsdpLedColor::Unknown(_) => return None,
        })
    }
}

/// How the LED shines: one colour, or two in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shine {
    /// The first colour.
    pub on: Colour,
    /// The second.
    pub off: Colour,
    /// How long the first is shown, in milliseconds; with 0 there is only the second.
    pub on_ms: u32,
    /// The same of the second.
    pub off_ms: u32,
}

impl Shine {
    /// Dark.
    pub const DARK: Self = Self { on: Colour::Off, off: Colour::Off, on_ms: 0, off_ms: 0 };

    fn of(parameters: &OsdpLedParams) -> Option<Self> {
        Some(Self {
            on: Colour::of(parameters.on_color)?,
            off: Colour::of(parameters.off_color)?,
            on_ms: u32::from(parameters.on_count) * 100,
            off_ms: u32::from(parameters.off_count) * 100,
        })
    }

    /// Whether it shines at all.
    pub fn lit(&self) -> bool {
        (self.on_ms > 0 && self.on != Colour::Off) || (self.off_ms > 0 && self.off != Colour::Off)
    }
}

/// What a command does to the LED's temporary state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temporary {
    /// Nothing.
    Keep,
    /// Ends it.
    Cancel,
    /// Begins it, for so long.
    Shine(Shine, Duration),
}

/// What the controller wants of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drive {
    /// On or off from now on; with `abort` what was timed ends at once.
    Permanent {
        /// On.
        on: bool,
        /// Ends what was timed.
        abort: bool,
    },
    /// On or off for so long, then as it is permanently.
    Timed {
        /// On.
        on: bool,
        /// How long.
        length: Duration,
    },
}

/// What the controller wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The LED.
    Led {
        /// Its temporary state.
        temporary: Temporary,
        /// Its permanent state, if that changes.
        permanent: Option<Shine>,
    },
    /// So many beeps (0: until told otherwise), one every `every`.
    Beep {
        /// How many.
        times: u8,
        /// From one to the next.
        every: Duration,
    },
    /// No beeps any more.
    Silence,
    /// A text on the screen.
    Text {
        /// What it says.
        text: String,
        /// For how long; `None`: until another one.
        shown: Option<Duration>,
    },
    /// The relay.
    Output(Drive),
}

/// What came of the wire since it was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// An order that was acknowledged.
    Order(Order),
    /// A key was installed, and is on the disk.
    KeyInstalled,
    /// A key was not installed, and why.
    KeyRefused(String),
    /// A command of this name was refused.
    Refused(&'static str),
}

/// How it stands with the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Nobody polls.
    Offline,
    /// Somebody speaks on the wire, outside the secure channel.
    Online,
    /// The secure channel is up.
    Secured,
}

/// How it stands with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// There is one.
    Installed,
    /// There is none, and the controller may install one.
    Awaited,
    /// There is none, and none may be installed.
    Missing,
}

/// What the wire's callbacks share with whoever turns it.
struct Shared {
    key_file: PathBuf,
    key: KeyState,
    /// Until a key is there, nothing is done that opens a door.
    locked: bool,
    address: u8,
    baud: u32,
    relay_on: Arc<AtomicBool>,
    told: VecDeque<Told>,
}

/// The port under the library, and what it failed with.
struct Wire {
    port: SerialPort,
    failure: Option<Error>,
}

/// The peripheral device. Not thread-safe inside, and used by one thread: [`Peripheral::turn`] must be called again
/// and again, at least every 50 ms.
pub struct Peripheral {
    device: PeripheralDevice,
    wire: Arc<Mutex<Wire>>,
    shared: Arc<Mutex<Shared>>,
    secure: bool,
}

impl fmt::Debug for Peripheral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peripheral").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peripheral {
    /// The device, with its line still closed; and why its key cannot be used, if there is one that cannot.
    /// `relay_on` is the state of the relay, for a controller that asks.
    pub fn new(
        setup: Setup,
        abilities: Abilities,
        relay_on: Arc<AtomicBool>,
    ) -> Result<(Self, Option<Error>)> {
        let (stored, unusable) = match key::load(&setup.key_file) {
            Ok(stored) => (stored, None),
            Err(error) => (None, Some(error)),
        };
        // A file that is there and cannot be used is no reason to let anybody install another.
        let install = setup.install_mode && stored.is_none() && unusable.is_none();
        let mut flags = OsdpFlag::empty();
        flags.set(OsdpFlag::EnforceSecure, setup.secure);
        flags.set(OsdpFlag::InstallMode, install);
        // Without a key the library would let everybody install one: one that nobody knows keeps the channel shut.
        let scbk = match stored {
            Some(key) => key,
            None => {
                let mut key = [0; key::KEY];
                getrandom::fill(&mut key)
                    .map_err(|error| Error::caused(Kind::Io, "the system has no random numbers", error))?;
                key
            }
        };
        let key = match (stored.is_some(), install) {
            (true, _) => KeyState::Installed,
            (false, true) => KeyState::Awaited,
            (false, false) => KeyState::Missing,
        };
        let shared = Arc::new(Mutex::new(Shared {
            key_file: setup.key_file,
            key,
            locked: setup.secure && key != KeyState::Installed,
            address: setup.address,
            baud: 0,
            relay_on,
            told: VecDeque::new(),
        }));
        let port = SerialPort::new(setup.path).with_direction(setup.direction);
        let wire = Arc::new(Mutex::new(Wire { port, failure: None }));
        let refused = |error| Error::new(Kind::Config, format!("the OSDP device cannot be made: {error:?}"));
        let info = PdInfoBuilder::new()
            .name("menshen")
            .and_then(|info| info.address(setup.address.into()))
            .map_err(refused)?
            .flag(flags)
            .id(&identity(&setup.serial))
            .capabilities(&capabilities(abilities))
            .secure_channel_key(scbk);
        let mut device = PeripheralDevice::new(info, Box::new(Ends(Arc::clone(&wire)))).map_err(refused)?;
        let heard = Arc::clone(&shared);
        device.set_command_callback(move |command| {
            // The library is C: a panic must not go through it.
            let done = catch_unwind(AssertUnwindSafe(|| lock(&heard).command(command)));
            if done.unwrap_or(false) { 0 } else { -1 }
        });
        Ok((Self { device, wire, shared, secure: setup.secure }, unusable))
    }

    /// Opens the line, or gives the open one other parameters. `Config` for some that OSDP does not have. On an error
    /// the line is as it was before.
    pub fn open(&mut self, line: Line) -> Result<()> {
        if !BAUDS.contains(&line.baud) || line != Line::plain(line.baud) {
            return Err(Error::new(
                Kind::Config,
                format!("OSDP does not run at {line}: use 9600, 19200, 38400, 57600 or 115200 with 8N1"),
            ));
        }
        lock(&self.wire).port.open(line)?;
        lock(&self.shared).baud = line.baud;
        Ok(())
    }

    /// Whether the line is open.
    pub fn is_open(&self) -> bool {
        lock(&self.wire).port.is_open()
    }

    /// Waits until `until` for the controller and serves what it wants. `Device` if the line went away; it must be
    /// opened again then.
    pub fn turn(&mut self, until: Instant) -> Result<()> {
        if !self.is_open() {
            return Err(Error::new(Kind::Device, "the OSDP line is not open"));
        }
        let arrived = lock(&self.wire).port.wait(until)?;
        if arrived {
            seed()?;
        }
        for _ in 0..if arrived { FRAMES_A_TURN } else { 1 } {
            self.device.refresh();
        }
        match lock(&self.wire).failure.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// What came of the wire since this was called last, the oldest first.
    pub fn told(&mut self) -> VecDeque<Told> {
        std::mem::take(&mut lock(&self.shared).told)
    }

    /// How it stands with the controller.
    pub fn link(&self) -> Link {
        if !self.is_open() {
            Link::Offline
        } else if self.device.is_sc_active() {
            Link::Secured
        } else if self.device.is_online() {
            Link::Online
        } else {
            Link::Offline
        }
    }

    /// How it stands with the key.
    pub fn key(&self) -> KeyState {
        lock(&self.shared).key
    }

    /// Whether a controller that may hear of cards is there.
    pub fn is_heard(&self) -> bool {
        match self.link() {
            // Over the default key anybody may listen.
            Link::Secured => !lock(&self.shared).locked,
            Link::Online => !self.secure,
            Link::Offline => false,
        }
    }

    /// Tells the controller of a card, with its next poll. `Network` if no controller may hear it, `Busy` if it has
    /// not polled for the last ones.
    pub fn report(&mut self, card: &Card) -> Result<()> {
        let event = match card {
            Card::Wiegand(bits) => {
                let mut bytes = vec![0_u8; bits.len().div_ceil(8)];
                for (at, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
                    bytes[at / 8] |= 0x80 >> (at % 8);
                }
                OsdpEventCardRead::new_wiegand(bits.len(), bytes).map_err(|_| {
                    Error::new(Kind::Input, "the bits of a card do not fit into an OSDP event")
                })?
            }
            Card::Text(text) => {
                let mut bytes = text.as_bytes().to_vec();
                bytes.truncate(CARD_BYTES);
                OsdpEventCardRead::new_raw(bytes)
            }
        };
        self.notify(OsdpEvent::CardRead(event))
    }

    /// Tells the controller that the relay has switched.
    pub fn report_output(&mut self) -> Result<()> {
        let on = lock(&self.shared).relay_on.load(Ordering::Relaxed);
        self.notify(OsdpEvent::Status(status(OsdpStatusReportType::Output, &[u8::from(on)])))
    }

    fn notify(&mut self, event: OsdpEvent) -> Result<()> {
        if !self.is_heard() {
            return Err(Error::new(Kind::Network, "no OSDP controller is there to hear of it"));
        }
        self.device.notify_event(event).map_err(|_| {
            Error::new(Kind::Busy, "the OSDP controller has not polled for what happened before")
        })
    }

    /// Forgets what was not polled for: a controller that comes back must not hear of cards of long ago.
    pub fn forget(&mut self) {
        self.device.flush_events();
    }
}

/// Longest text of a card, in bytes: the library's event has no room for more.
const CARD_BYTES: usize = 64;

/// What a controller is told of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Card {
    /// The bits that a Wiegand line would carry, with parity (format 1, "Wiegand").
    Wiegand(Vec<bool>),
    /// A number that is none, byte by byte (format 0, "unspecified"); at most 64 bytes are told.
    Text(String),
}

/// Who the device says it is. There is no vendor code of ours: IEEE sells them.
fn identity(serial: &str) -> PdId {
    let digits = serial.get(serial.len().saturating_sub(8)..).unwrap_or_default();
    let number = u32::from_str_radix(digits, 16).map(u32::to_be_bytes).unwrap_or_else(|_| {
        let hash = Sha256::digest(serial.as_bytes());
        [hash[0], hash[1], hash[2], hash[3]]
    });
    let version = |text: &str| text.parse().unwrap_or(u8::MAX);
    PdId {
        vendor_code: (0, 0, 0),
        model: 1,
        version: 1,
        serial_number: number,
        // The library sends these from behind: the wire has major, minor, build.
        firmware_version: (
            version(env!("CARGO_PKG_VERSION_PATCH")),
            version(env!("CARGO_PKG_VERSION_MINOR")),
            version(env!("CARGO_PKG_VERSION_MAJOR")),
        ),
    }
}

/// What the device says it can do; the library adds CRC-16, AES-128 and the size of its buffer.
fn capabilities(abilities: Abilities) -> Vec<PdCapability> {
    let one = |compliance| PdCapEntity::new(compliance, 1);
    let mut able = vec![
        // Cards as an array of bits.
        PdCapability::CardDataFormat(PdCapEntity::new(1, 0)),
        PdCapability::Readers(one(0)),
    ];
    if abilities.output {
        // On, off, and timed.
        able.push(PdCapability::OutputControl(one(3)));
    }
    if abilities.led {
        // Timed, in any colour.
        able.push(PdCapability::LedControl(one(4)));
    }
    if abilities.buzzer {
        // On, off, and timed.
        able.push(PdCapability::AudibleOutput(one(2)));
    }
    if abilities.text {
        // One row of 16 characters, the least there is.
        able.push(PdCapability::TextOutput(one(1)));
    }
    able
}

fn status(type_: OsdpStatusReportType, values: &[u8]) -> OsdpStatusReport {
    let mut report = [0; 64];
    report[..values.len()].copy_from_slice(values);
    OsdpStatusReport { type_, nr_entries: values.len(), report }
}

impl Shared {
    /// Whether a command is acknowledged.
    fn command(&mut self, command: &mut OsdpCommand) -> bool {
        let order = match command {
            OsdpCommand::Led(led) => self.led(led),
            OsdpCommand::Buzzer(buzzer) => self.buzzer(*buzzer),
            OsdpCommand::Text(text) => self.text(text),
            OsdpCommand::Output(output) => self.output(*output),
            OsdpCommand::KeySet(keyset) => return self.install(&keyset.data),
            OsdpCommand::Status(asked) => return self.status(asked),
            // Address and speed are the configuration's; a controller may say them again.
            OsdpCommand::ComSet(wanted)
                if (wanted.address, wanted.baud_rate) == (self.address, self.baud) =>
            {
                return true;
            }
            OsdpCommand::ComSetDone(_) => return true,
            OsdpCommand::ComSet(_) => Err("comset"),
            OsdpCommand::Mfg(_) => Err("mfg"),
            OsdpCommand::FileTx(_) => Err("filetransfer"),
        };
        let taken = order.is_ok();
        match order {
            Ok(order) => self.told.extend(order.map(Told::Order)),
            Err(name) => self.told.push_back(Told::Refused(name)),
        }
        taken
    }

    fn led(&self, led: &OsdpCommandLed) -> Result<Option<Order>, &'static str> {
        let wrong = "led";
        if led.reader != 0 || led.led_number != 0 {
            return Err(wrong);
        }
        let temporary = match led.temporary.control_code {
            0 => Temporary::Keep,
            1 => Temporary::Cancel,
            2 => {
                let length = TENTH * u32::from(led.temporary.timer_count);
                Temporary::Shine(Shine::of(&led.temporary).ok_or(wrong)?, length)
            }
            _ => return Err(wrong),
        };
        let permanent = match led.permanent.control_code {
            0 => None,
            1 => Some(Shine::of(&led.permanent).ok_or(wrong)?),
            _ => return Err(wrong),
        };
        Ok(Some(Order::Led { temporary, permanent }))
    }

    fn buzzer(&self, buzzer: OsdpCommandBuzzer) -> Result<Option<Order>, &'static str> {
        if buzzer.reader != 0 {
            return Err("buzzer");
        }
        match buzzer.control_code {
            0 => Ok(None),
            1 => Ok(Some(Order::Silence)),
            2 => {
                let every = TENTH * (u32::from(buzzer.on_count) + u32::from(buzzer.off_count));
                Ok(Some(Order::Beep { times: buzzer.rep_count, every }))
            }
            _ => Err("buzzer"),
        }
    }

    fn text(&self, text: &OsdpCommandText) -> Result<Option<Order>, &'static str> {
        let shown = match text.control_code {
            1 | 2 => None,
            3 | 4 => Some(Duration::from_secs(text.temp_time.into())),
            _ => return Err("text"),
        };
        if text.reader != 0 {
            return Err("text");
        }
        let text = String::from_utf8_lossy(&text.data);
        let text = text.chars().filter(|letter| !letter.is_control()).collect();
        Ok(Some(Order::Text { text, shown }))
    }

    fn output(&self, output: OsdpCommandOutput) -> Result<Option<Order>, &'static str> {
        // Over a channel that the default key opens, anybody on the wire could open the door.
        if self.locked || output.output_no != 0 {
            return Err("output");
        }
        let length = TENTH * u32::from(output.timer_count);
        let timed = |on| if length.is_zero() { Err("output") } else { Ok(Drive::Timed { on, length }) };
        let drive = match output.control_code {
            0 => return Ok(None),
            1 => Drive::Permanent { on: false, abort: true },
            2 => Drive::Permanent { on: true, abort: true },
            3 => Drive::Permanent { on: false, abort: false },
            4 => Drive::Permanent { on: true, abort: false },
            5 => timed(true)?,
            6 => timed(false)?,
            _ => return Err("output"),
        };
        Ok(Some(Order::Output(drive)))
    }

    /// Keeps a key before it is acknowledged: a controller that believes it is installed uses nothing else.
    fn install(&mut self, key: &[u8]) -> bool {
        match key::install(&self.key_file, key) {
            Ok(()) => {
                (self.key, self.locked) = (KeyState::Installed, false);
                self.told.push_back(Told::KeyInstalled);
                true
            }
            Err(error) => {
                self.told.push_back(Told::KeyRefused(error.to_string()));
                false
            }
        }
    }

    fn status(&self, asked: &mut OsdpStatusReport) -> bool {
        let values: &[u8] = match asked.type_ {
            OsdpStatusReportType::Output => &[u8::from(self.relay_on.load(Ordering::Relaxed))],
            // Neither tampered with nor without power, as far as this line can tell.
            OsdpStatusReportType::Local => &[0, 0],
            // The only reader is the gate itself.
            OsdpStatusReportType::Remote => &[0],
            OsdpStatusReportType::Input => return false,
        };
        *asked = status(asked.type_, values);
        true
    }
}

/// The wire as the library sees it: it never waits.
struct Ends(Arc<Mutex<Wire>>);

impl Ends {
    fn on_port<T>(&self, on: impl FnOnce(&mut SerialPort) -> Result<T>) -> Result<T, ChannelError> {
        let mut wire = lock(&self.0);
        if !wire.port.is_open() {
            return Err(ChannelError::TransportError);
        }
        // The library is C: a panic must not go through it.
        let outcome = catch_unwind(AssertUnwindSafe(|| on(&mut wire.port)))
            .unwrap_or_else(|_| Err(Error::new(Kind::Device, "the driver of the OSDP line panicked")));
        outcome.map_err(|error| {
            wire.failure = Some(error);
            ChannelError::TransportError
        })
    }
}

impl Channel for Ends {
    fn get_id(&self) -> i32 {
        0
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ChannelError> {
        match self.on_port(|port| port.receive(buffer, Instant::now()))? {
            0 => Err(ChannelError::WouldBlock),
            read => Ok(read),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, ChannelError> {
        self.on_port(|port| port.send(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> Result<(), ChannelError> {
        self.on_port(|port| {
            port.discard_input();
            Ok(())
        })
    }

    fn close(&mut self) -> Result<(), ChannelError> {
        // The library keeps this end for ever: the port, and the line of its direction, are given up here.
        lock(&self.0).port = SerialPort::new("");
        Ok(())
    }
}

/// Makes the library's next random numbers unguessable. It takes them from `rand`, which begins with the same ones in
/// every process: a controller's old session could be played back to a gate that was restarted.
fn seed() -> Result<()> {
    unsafe extern "C" {
        // SAFETY: `srand` of the C library takes any number, and may be called at any time by any thread.
        safe fn srand(seed: std::ffi::c_uint);
    }
    let mut number = [0; 4];
    getrandom::fill(&mut number)
        .map_err(|error| Error::caused(Kind::Io, "the system has no random numbers", error))
        .context(|| "the OSDP line is not served")?;
    srand(u32::from_ne_bytes(number));
    Ok(())
}

/// The library's clock, in milliseconds, in place of its own, which is the clock on the wall: when that was set, the
/// secure channel would fall, and with some controllers the gate be gone for minutes.
// SAFETY: the library declares `int64_t osdp_millis_now(void)` weak so that programs may bring their own; nothing else
// has this name.
#[unsafe(no_mangle)]
extern "C" fn osdp_millis_now() -> i64 {
    #[cfg(test)]
    tests::ASKED.fetch_add(1, Ordering::Relaxed);
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // An hour more: 0 stands for "never", which must be long ago also when the machine has just started.
    (now.tv_sec + 3600) * 1000 + now.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use libosdp::OsdpCommandKeyset;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// How often the library asked for the time.
    pub(super) static ASKED: AtomicU64 = AtomicU64::new(0);

    const ALL: Abilities = Abilities { output: true, led: true, buzzer: true, text: true };

    fn shared(folder: &std::path::Path, key: KeyState) -> Shared {
        Shared {
            key_file: folder.join("osdp.key"),
            key,
            locked: key != KeyState::Installed,
            address: 3,
            baud: 9600,
            relay_on: Arc::default(),
            told: VecDeque::new(),
        }
    }

    fn output(output_no: u8, control_code: u8, timer_count: u16) -> OsdpCommand {
        OsdpCommand::Output(OsdpCommandOutput { output_no, control_code, timer_count })
    }

    #[test]
    fn the_library_takes_the_time_that_does_not_jump() {
        let folder = tempfile::tempdir().unwrap();
        let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&end).unwrap();
        unlockpt(&end).unwrap();
        let setup = Setup {
            path: ptsname(&end, Vec::new()).unwrap().into_string().unwrap().into(),
            direction: Direction::Adapter,
            address: 0,
            key_file: folder.path().join("osdp.key"),
            install_mode: false,
            secure: true,
            report: OsdpReport::Passages,
            serial: "1".into(),
        };
        let (mut device, unusable) = Peripheral::new(setup, ALL, Arc::default()).unwrap();
        assert!(unusable.is_none());
        device.open(Line::plain(9600)).unwrap();
        let before = ASKED.load(Ordering::Relaxed);
        device.turn(Instant::now()).unwrap();
        assert_eq!((device.link(), device.key()), (Link::Offline, KeyState::Missing));
        assert!(ASKED.load(Ordering::Relaxed) > before, "the library has a clock of its own");
        // Nobody has been heard since the machine started, however short ago that was.
        assert!(osdp_millis_now() > 3_600_000);
        let card = Card::Text("x".into());
        assert_eq!(device.report(&card).unwrap_err().kind(), Kind::Network);
    }

    #[test]
    fn before_there_is_a_key_nothing_opens() {
        let folder = tempfile::tempdir().unwrap();
        for (key, taken) in
            [(KeyState::Awaited, false), (KeyState::Missing, false), (KeyState::Installed, true)]
        {
            let mut shared = shared(folder.path(), key);
            assert_eq!(shared.command(&mut output(0, 2, 0)), taken, "{key:?}");
        }
        // A key that cannot be kept is not taken.
        let mut shared = shared(&folder.path().join("nowhere"), KeyState::Awaited);
        assert!(!shared.command(&mut OsdpCommand::KeySet(OsdpCommandKeyset::new_scbk([9; 16]))));
        assert!(matches!(shared.told.pop_front(), Some(Told::KeyRefused(_))));
        assert!(!shared.command(&mut output(0, 2, 0)));
        // With one that is, the door is the controller's.
        let mut shared = Shared { key_file: folder.path().join("osdp.key"), ..shared };
        assert!(!shared.command(&mut OsdpCommand::KeySet(OsdpCommandKeyset::new_scbk(*b"0123456789:;<=>?"))));
        assert!(shared.command(&mut OsdpCommand::KeySet(OsdpCommandKeyset::new_scbk([9; 16]))));
        assert_eq!(shared.key, KeyState::Installed);
        assert!(shared.command(&mut output(0, 2, 0)));
    }

    #[test]
    fn commands_are_understood_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut shared = shared(folder.path(), KeyState::Installed);
        let mut order = |command: OsdpCommand| {
            let taken = shared.command(&mut { command });
            let told = shared.told.pop_front();
            assert!(shared.told.is_empty());
            assert_eq!(taken, !matches!(told, Some(Told::Refused(_))));
            told
        };
        let drive = |drive| Some(Told::Order(Order::Output(drive)));
        let second = Duration::from_secs(1);
        for (code, timer, expected) in [
            (0, 0, None),
            (1, 0, drive(Drive::Permanent { on: false, abort: true })),
            (2, 0, drive(Drive::Permanent { on: true, abort: true })),
            (3, 0, drive(Drive::Permanent { on: false, abort: false })),
            (4, 0, drive(Drive::Permanent { on: true, abort: false })),
            (5, 10, drive(Drive::Timed { on: true, length: second })),
            (6, 65_535, drive(Drive::Timed { on: false, length: Duration::from_millis(6_553_500) })),
            (5, 0, Some(Told::Refused("output"))),
            (7, 1, Some(Told::Refused("output"))),
        ] {
            assert_eq!(order(output(0, code, timer)), expected, "{code} {timer}");
        }
        assert_eq!(order(output(1, 2, 0)), Some(Told::Refused("output")));
        let led = |reader, led_number, colour, code| {
            OsdpCommand::Led(OsdpCommandLed {
                reader,
                led_number,
                permanent: OsdpLedParams {
                    control_code: code,
                    on_count: 1,
                    on_color: colour,
                    ..Default::default()
                },
                ..Default::default()
            })
        };
        let white = Shine { on: Colour::White, off: Colour::Off, on_ms: 100, off_ms: 0 };
        assert_eq!(
            order(led(0, 0, OsdpLedColor::Unknown(7), 1)),
            Some(Told::Order(Order::Led { temporary: Temporary::Keep, permanent: Some(white) }))
        );
        assert!(white.lit() && !Shine::DARK.lit());
        for wrong in [
            led(1, 0, OsdpLedColor::Red, 1),
            led(0, 1, OsdpLedColor::Red, 1),
            led(0, 0, OsdpLedColor::Unknown(8), 1),
            led(0, 0, OsdpLedColor::Red, 2),
        ] {
            assert_eq!(order(wrong), Some(Told::Refused("led")));
        }
        let buzzer = |control_code, rep_count| {
            OsdpCommand::Buzzer(OsdpCommandBuzzer {
                reader: 0,
                control_code,
                on_count: 2,
                off_count: 3,
                rep_count,
            })
        };
        assert_eq!(order(buzzer(0, 1)), None);
        assert_eq!(order(buzzer(1, 1)), Some(Told::Order(Order::Silence)));
        assert_eq!(
            order(buzzer(2, 0)),
            Some(Told::Order(Order::Beep { times: 0, every: Duration::from_millis(500) }))
        );
        assert_eq!(order(buzzer(3, 1)), Some(Told::Refused("buzzer")));
        let text = |control_code, data: &[u8]| {
            OsdpCommand::Text(OsdpCommandText {
                control_code,
                temp_time: 2,
                data: data.to_vec(),
                ..Default::default()
            })
        };
        assert_eq!(
            order(text(4, b"A\x07B\xff")),
            Some(Told::Order(Order::Text { text: "AB\u{fffd}".into(), shown: Some(2 * second) }))
        );
        assert_eq!(order(text(5, b"A")), Some(Told::Refused("text")));
        // Said again, it is no change.
        let comset = |address, baud_rate| OsdpCommand::ComSet(libosdp::OsdpComSet { address, baud_rate });
        assert_eq!(order(comset(3, 9600)), None);
        assert_eq!(order(comset(4, 9600)), Some(Told::Refused("comset")));
        assert_eq!(order(comset(3, 19_200)), Some(Told::Refused("comset")));
    }

    #[test]
    fn serial_numbers_become_four_bytes() {
        assert_eq!(identity("FEDCBA9876543210").serial_number, [0x76, 0x54, 0x32, 0x10]);
        assert_eq!(identity("7").serial_number, [0, 0, 0, 7]);
        // The first bytes of its SHA-256.
        assert_eq!(identity("GATE-NORTH").serial_number, [0x9b, 0x24, 0x7f, 0x06]);
    }
}
