//! Modules for resident identity cards (SDT, the protocol of GA 450's SAM_V modules) on serial lines and USB serial
//! adapters.
//!
//! A card is found, selected and read once, and not again before it has been lifted. A module of the older kind does not
//! find a card that it has read until that is laid down again; whether it still lies there shows when the module is asked
//! for something of the card that it has selected. Newer ones find it at every look.

pub mod card;
pub mod frame;

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::photo::PhotoDecoder;
use super::{IdReader, Wanted};
use crate::config;
use crate::device::serial_port::{Line, SerialPort};
use crate::document::{DocumentKind, Happening};
use crate::error::{Error, Kind, Result};
use card::Unread;
use frame::{Command, Found};

/// What the module is called.
const NAME: &str = "SDT";

/// Speed of a module that has not been told otherwise.
const BAUD: u32 = 115_200;

/// Between two looks: modules want 300 ms at least.
const PERIOD: Duration = Duration::from_millis(300);

/// Before a module that is away is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a module may take to begin its answer: it looks for cards for up to some 300 ms, and reads one with
/// fingerprints in some 1.5 s. What the bytes take on the line comes on top.
const ANSWERED_WITHIN: Duration = Duration::from_millis(800);
const READ_WITHIN: Duration = Duration::from_millis(3500);

/// Within a frame no pause is as long as this: one that stops for it was cut off.
const PAUSE: Duration = Duration::from_millis(300);

/// Looks in a row that fail on the line before the module is called away: one may be noise.
const FAILED_LOOKS: u32 = 3;

/// Attempts to read a card: while it is laid down it may be too far away.
const ATTEMPTS: u32 = 3;

/// Cards in a row over whose fingerprints a module stumbles before it is not asked for them any more: one may be noise.
const STUMBLES: u32 = 2;

/// Looks in a row without the card after which it has been lifted.
const LIFTED_AFTER: u32 = 2;

/// SW3 of answers (GA 450).
mod status {
    pub(super) const DONE: u8 = 0x90;
    pub(super) const NOTHING_THERE: u8 = 0x91;
    pub(super) const FOUND: u8 = 0x9f;
    pub(super) const NO_CARD: u8 = 0x80;
    pub(super) const NOT_SELECTED: u8 = 0x81;
    pub(super) const UNKNOWN_COMMAND: u8 = 0x21;
    pub(super) const NOT_ALLOWED: u8 = 0x23;
    pub(super) const UNTOLD: u8 = 0x24;
    pub(super) const WRONG_CARD: u8 = 0x40;
    pub(super) const SELF_TEST: u8 = 0x60;
    pub(super) const NOT_AUTHORISED: u8 = 0x66;

    /// What an SW3 says.
    pub(super) fn meaning(status: u8) -> &'static str {
        match status {
            0x10 => "it received a wrong check",
            0x11 => "it received a wrong length",
            UNKNOWN_COMMAND => "it does not know the command",
            NOT_ALLOWED => "it may not do that",
            UNTOLD => "an error that it cannot tell",
            0x31 => "the card does not trust the module",
            0x32 => "the module does not trust the card",
            0x33 => "what it read is not what was signed",
            0x37 => "the fingerprints that it read are not what was signed",
            0x3f => "what it read has a wrong length",
            WRONG_CARD => "this is no identity card",
            0x41 => "the card could not be read: was it taken away too soon?",
            0x47 => "it has no random number",
            SELF_TEST => "its self-test failed",
            NOT_AUTHORISED => "it has no authorisation (its SAM is not activated)",
            NO_CARD => "there is no card",
            NOT_SELECTED => "the card could not be selected: was it taken away too soon?",
            NOTHING_THERE => "the card has none",
            _ => "an unknown error",
        }
    }
}

/// An answer; its data stands in the buffer until the next command.
struct Reply {
    status: u8,
    data: Range<usize>,
}

/// Why there is no answer.
enum Failure {
    /// There is no port.
    Port(Error),
    /// Nothing comes, or nothing that can be read.
    Line(&'static str),
    /// The module says that it cannot.
    Refused(u8),
}

/// Why the module is away, as far as another reason is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Away {
    Port,
    Line,
    Refuses(u8),
}

/// What lies on the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Nothing,
    /// A card that was found and not read yet.
    New,
    /// A card that has been read, or could not be; looks in a row that missed it, and whether the module was seen not to
    /// find a card that still lies there.
    Old {
        missed: u32,
        unfound: bool,
    },
}

/// One module.
#[derive(Debug)]
pub struct Sdt {
    port: SerialPort,
    line: Line,
    decoder: Option<PhotoDecoder>,
    /// The lack of a decoder was told.
    told_no_decoder: bool,
    ready: bool,
    away: Option<Away>,
    again: Option<Instant>,
    failed_looks: u32,
    hold: Hold,
    /// The module was seen to tell a card that it has selected from none, when it is asked for the additional address. That it
    /// does not is never known for sure: a card that it does not find may lie there.
    tells: bool,
    /// The module was seen to find a card again that it has read.
    finds_again: bool,
    /// Whether it reads fingerprints.
    reads_fingerprints: bool,
    /// Cards in a row over whose fingerprints it has stumbled.
    stumbles: u32,
    waiting: VecDeque<Happening>,
    /// What came in, with the data of the last answer.
    buffer: Vec<u8>,
}

impl Sdt {
    /// The module that `device.id_reader = "sdt:PATH[:BAUD]"` names, which need not be there yet; `None` if that is no such
    /// name.
    pub fn open(name: &str, device: &config::Device) -> Result<Option<Self>> {
        let Some((path, baud)) = parse(name) else { return Ok(None) };
        let decoder = PhotoDecoder::open(&device.id_photo_decoder)?;
        Ok(Some(Self::new(path, baud, decoder)))
    }

    /// The module on the port at `path`, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>, baud: u32, decoder: Option<PhotoDecoder>) -> Self {
        Self {
            port: SerialPort::new(path),
            line: Line::plain(baud),
            decoder,
            told_no_decoder: false,
            ready: false,
            away: None,
            again: None,
            failed_looks: 0,
            hold: Hold::Nothing,
            tells: false,
            finds_again: false,
            reads_fingerprints: true,
            stumbles: 0,
            waiting: VecDeque::new(),
            buffer: Vec::with_capacity(4096),
        }
    }

    /// One command and its answer, for at most `within` and the time that the bytes take on the line. An answer of which
    /// `fits` says that it belongs to another command, an earlier one, is passed over.
    fn ask(&mut self, command: Command, fits: fn(u8, usize) -> bool) -> Result<Reply, Failure> {
        let (within, most) = match command {
            Command::ReadBase | Command::ReadFingerprints => (READ_WITHIN, frame::LONGEST),
            _ => (ANSWERED_WITHIN, 128),
        };
        let mut again = true;
        loop {
            self.port.discard_input();
            self.buffer.clear();
            self.port.send(&command.frame()).map_err(Failure::Port)?;
            let until = Instant::now() + within + self.line.time_of(most);
            match self.answer(until, fits)? {
                Ok(reply) => return Ok(reply),
                // Damaged on its way here, or there: it is asked for once more. Silence is not: the next look comes soon.
                Err(_) if again && !self.buffer.is_empty() => again = false,
                Err(what) => return Err(Failure::Line(what)),
            }
        }
    }

    /// The next answer until then, or what came instead.
    fn answer(
        &mut self,
        until: Instant,
        fits: fn(u8, usize) -> bool,
    ) -> Result<Result<Reply, &'static str>, Failure> {
        let (mut at, mut damaged, mut late) = (0, None, 0);
        loop {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let (done, found) = frame::read(rest);
            match found {
                Found::Answer(answer) => {
                    let [_, _, status] = answer.status;
                    // The check is behind the data.
                    let end = at + done - 1;
                    let data = end - answer.data.len()..end;
                    at += done;
                    match status {
                        // It did not hear us well.
                        0x10 | 0x11 => return Ok(Err("the answer that it received a damaged command")),
                        _ if fits(status, data.len()) => return Ok(Ok(Reply { status, data })),
                        _ => continue,
                    }
                }
                Found::Damaged(how) => {
                    at += done;
                    damaged = Some(how);
                    continue;
                }
                Found::Nothing => at += done,
            }
            let begun = self.buffer.get(at..).is_some_and(|rest| rest.starts_with(&frame::HEAD));
            let wait = if begun { until.min(Instant::now() + PAUSE) } else { until };
            let mut bytes = [0; 512];
            let read = self.port.receive(&mut bytes, wait).map_err(Failure::Port)?;
            // What has come in time counts, however late it is looked at; a line that is never silent ends all the same.
            if Instant::now() >= until {
                late += read;
            }
            if read > 0 && late <= frame::LONGEST {
                self.buffer.extend_from_slice(bytes.get(..read).unwrap_or_default());
                // A line that is never silent does not fill the memory.
                if at > 2 * frame::LONGEST {
                    self.buffer.drain(..at);
                    at = 0;
                }
                continue;
            }
            return Ok(Err(match damaged {
                Some(how) => how,
                None if at < self.buffer.len() => "half an answer",
                None if at > 0 => "bytes that are no answer",
                None => "no answer",
            }));
        }
    }

    fn data(&self, reply: &Reply) -> &[u8] {
        self.buffer.get(reply.data.clone()).unwrap_or_default()
    }

    /// Opens the port and learns of the module, if that has not been done.
    fn prepare(&mut self) -> Result<Option<Happening>, Failure> {
        if !self.port.is_open() {
            self.ready = false;
            self.port.open(self.line).map_err(Failure::Port)?;
        }
        if self.ready {
            return Ok(None);
        }
        let state = |status, length| length == 0 && !matches!(status, status::FOUND | status::NO_CARD);
        let mut said = self.ask(Command::State, state)?.status;
        if said != status::DONE {
            said = self.ask(Command::Reset, state)?.status;
        }
        if said != status::DONE {
            return Err(Failure::Refused(said));
        }
        // Some have none, or do not tell it.
        let serial =
            match self.ask(Command::ModuleId, |status, length| status != status::DONE || length == 16) {
                Ok(reply) => module_id(self.data(&reply)).unwrap_or_default(),
                Err(Failure::Line(_)) => String::new(),
                Err(failure) => return Err(failure),
            };
        (self.ready, self.away, self.again, self.failed_looks) = (true, None, None, 0);
        (self.tells, self.finds_again, self.reads_fingerprints, self.stumbles) = (false, false, true, 0);
        self.hold = Hold::Nothing;
        Ok(Some(Happening::Online { name: NAME.to_owned(), serial }))
    }

    /// The module is away; what is to be told, if that is news.
    fn lost(&mut self, away: Away, why: String) -> Option<Happening> {
        self.ready = false;
        self.waiting.clear();
        self.hold = Hold::Nothing;
        self.again = Some(Instant::now() + AGAIN);
        if self.away.replace(away) == Some(away) {
            return None;
        }
        let port = self.port.path().display().to_string();
        let why = match away {
            // It names the port.
            Away::Port => why,
            Away::Line => format!(
                "the identity card module on {port} gives {why}: check its power, its wires (TX to RX) and its speed"
            ),
            Away::Refuses(status) => {
                format!("the identity card module on {port} does not work: {why} (status {status:02X})")
            }
        };
        Some(Happening::Offline { why })
    }

    /// Whether a card answers.
    fn find(&mut self) -> Result<bool, Failure> {
        let fits = |status, _| !matches!(status, status::DONE | status::NOT_SELECTED);
        match self.ask(Command::Find, fits)?.status {
            status::FOUND => Ok(true),
            status::NO_CARD => Ok(false),
            other => Err(Failure::Refused(other)),
        }
    }

    fn step(&mut self) -> Result<Option<Happening>, Failure> {
        if let Some(online) = self.prepare()? {
            return Ok(Some(online));
        }
        if !self.ready {
            return Ok(None);
        }
        if self.hold == Hold::New {
            self.hold = Hold::Old { missed: 0, unfound: false };
            return self.read().map(Some);
        }
        let found = self.find()?;
        self.failed_looks = 0;
        match (self.hold, found) {
            (Hold::Nothing, false) => {
                if !self.tells {
                    self.tells = !self.holds_a_card()?;
                }
                Ok(None)
            }
            (Hold::Nothing, true) => Ok(Some(self.detected())),
            (Hold::Old { unfound: true, .. }, true) => {
                // It does not find what lies there, so this has been laid down since.
                let detected = self.detected();
                self.waiting.push_back(detected);
                Ok(Some(Happening::TakenAway))
            }
            (Hold::Old { unfound, .. }, true) => {
                self.finds_again = true;
                self.hold = Hold::Old { missed: 0, unfound };
                Ok(None)
            }
            (Hold::Old { missed, unfound }, false) => {
                if self.tells && self.holds_a_card()? {
                    // One that finds it at other times has missed it.
                    self.hold = Hold::Old { missed: 0, unfound: !self.finds_again };
                    return Ok(None);
                }
                if missed + 1 < LIFTED_AFTER {
                    self.hold = Hold::Old { missed: missed + 1, unfound };
                    return Ok(None);
                }
                self.hold = Hold::Nothing;
                Ok(Some(Happening::TakenAway))
            }
            (Hold::New, _) => Ok(None),
        }
    }

    fn detected(&mut self) -> Happening {
        self.hold = Hold::New;
        Happening::Detected
    }

    /// Whether the module can ask the card that it has selected for something.
    fn holds_a_card(&mut self) -> Result<bool, Failure> {
        match self.ask(Command::ReadAddress, fits_an_address) {
            Ok(reply) => Ok(matches!(reply.status, status::DONE | status::NOTHING_THERE)),
            Err(Failure::Line(_) | Failure::Refused(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Reads the card that was found.
    fn read(&mut self) -> Result<Happening, Failure> {
        let mut why = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                self.find_again()?;
            }
            match self.attempt() {
                Ok(read) => return Ok(read),
                Err(Failure::Refused(status)) => {
                    why = format!("{} (status {status:02X})", status::meaning(status));
                    // Nothing gets better by trying again.
                    if matches!(status, status::WRONG_CARD | status::SELF_TEST | status::NOT_AUTHORISED) {
                        break;
                    }
                }
                Err(Failure::Line(what)) => why = format!("the module gives {what}"),
                Err(failure) => return Err(failure),
            }
        }
        Ok(Happening::Failed { why: format!("the identity card was not read: {why}") })
    }

    fn select(&mut self) -> Result<(), Failure> {
        let fits = |status, _| !matches!(status, status::FOUND | status::NO_CARD);
        match self.ask(Command::Select, fits)?.status {
            status::DONE => Ok(()),
            other => Err(Failure::Refused(other)),
        }
    }

    /// Finds once more. A card that was selected is not found, and can be selected all the same.
    fn find_again(&mut self) -> Result<(), Failure> {
        match self.find() {
            Ok(_) | Err(Failure::Line(_) | Failure::Refused(_)) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Selects and reads once.
    fn attempt(&mut self) -> Result<Happening, Failure> {
        self.select()?;
        // What comes of another command is no card's data.
        let fits = |status, length| status != status::DONE || length >= card::TEXT_BYTES;
        let (mut read, mut knows_them) = (None, true);
        if self.reads_fingerprints {
            // Modules without them know the command, or do not, or fall silent, or stumble. What the card says of itself counts
            // whatever it is.
            match self.ask(Command::ReadFingerprints, fits) {
                Ok(reply) => match reply.status {
                    status::UNKNOWN_COMMAND | status::NOT_ALLOWED => self.reads_fingerprints = false,
                    // Of this card alone.
                    status::NOTHING_THERE => {}
                    status::UNTOLD => knows_them = false,
                    _ => read = Some(reply),
                },
                Err(Failure::Line(_)) => knows_them = false,
                Err(failure) => return Err(failure),
            }
        }
        let reply = match read {
            Some(reply) => reply,
            None => {
                if !knows_them {
                    self.find_again()?;
                    self.select()?;
                }
                self.ask(Command::ReadBase, fits)?
            }
        };
        if reply.status != status::DONE {
            return Err(Failure::Refused(reply.status));
        }
        self.stumbles = if knows_them { 0 } else { self.stumbles + 1 };
        self.reads_fingerprints &= self.stumbles < STUMBLES;
        let Some(parts) = card::parts(self.data(&reply)) else {
            return Err(Failure::Line("data that is no identity card's"));
        };
        let mut reading = match card::read(parts.texts) {
            Ok(reading) => reading,
            Err(Unread::NoNumber) => return Err(Failure::Line("a card without a number")),
            // It is what the card says: it says it again.
            Err(Unread::NoLastDay) => {
                let why = "the identity card was not read: its last day cannot be understood";
                return Ok(Happening::Failed { why: why.into() });
            }
        };
        reading.fingerprints = parts.fingerprints.to_vec();
        let photo: Option<[u8; card::PHOTO_BYTES]> = parts.photo.try_into().ok();
        if reading.document.kind != DocumentKind::Foreigner {
            // A card without one has been read all the same.
            match self.ask(Command::ReadAddress, fits_an_address) {
                Ok(reply) if reply.status == status::DONE => {
                    card::add_address(&mut reading, self.data(&reply));
                }
                Ok(_) | Err(Failure::Line(_) | Failure::Refused(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        let photo = photo.and_then(|wlt| match &mut self.decoder {
            Some(decoder) => decoder.decode(&wlt),
            None => {
                if !std::mem::replace(&mut self.told_no_decoder, true) {
                    tracing::info!(
                        "identity cards are read without their photos: device.id_photo_decoder names no program"
                    );
                }
                None
            }
        });
        reading.pictures.card_photo.clone_from(&photo);
        reading.document.photo = photo;
        Ok(Happening::Read(Arc::new(reading)))
    }
}

/// What an answer to [`Command::ReadAddress`] looks like.
fn fits_an_address(status: u8, length: usize) -> bool {
    match status {
        status::DONE => length >= 2 && length != 8,
        status::FOUND | status::NO_CARD | status::NOT_SELECTED => false,
        _ => true,
    }
}

/// `PATH[:BAUD]` behind `sdt:`.
fn parse(name: &str) -> Option<(&str, u32)> {
    let rest = name.strip_prefix("sdt:").filter(|rest| rest.starts_with('/'))?;
    let whole = Some((rest, BAUD));
    let Some((path, baud)) = rest.rsplit_once(':') else { return whole };
    if baud.bytes().any(|byte| !byte.is_ascii_digit()) && rest.starts_with("/dev/serial/") {
        // Names by path have colons of their own.
        return whole;
    }
    let baud = baud.parse().ok().filter(|baud| (1200..=921_600).contains(baud))?;
    Some((path, baud))
}

/// The number of a module as it is printed on it: `05.01-20120411-0002012506-1234567890`. In 16 bytes, the low ones first:
/// two numbers of 16 bits, three of 32.
fn module_id(data: &[u8]) -> Option<String> {
    let short = |at: usize| Some(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?));
    let long = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let (maker, kind, date, number, check) = (short(0)?, short(2)?, long(4)?, long(8)?, long(12)?);
    Some(format!("{maker:02}.{kind:02}-{date:08}-{number:010}-{check:010}"))
}

impl IdReader for Sdt {
    fn name(&self) -> &str {
        NAME
    }

    /// Whatever is wanted, the card is read whole: it has nothing but its chip.
    fn look(&mut self, _: &Wanted) -> Result<Option<Happening>> {
        if let Some(happening) = self.waiting.pop_front() {
            return Ok(Some(happening));
        }
        if self.again.is_some_and(|again| Instant::now() < again) {
            return Ok(None);
        }
        Ok(match self.step() {
            Ok(happening) => happening,
            Err(Failure::Port(error)) => {
                // Closed as well where it only takes no bytes: it begins anew.
                self.port.close();
                self.lost(Away::Port, error.to_string())
            }
            Err(failure) => {
                self.failed_looks += 1;
                if self.ready && self.failed_looks < FAILED_LOOKS {
                    return Ok(None);
                }
                match failure {
                    Failure::Refused(status) => {
                        self.lost(Away::Refuses(status), status::meaning(status).to_owned())
                    }
                    Failure::Port(error) => self.lost(Away::Port, error.to_string()),
                    Failure::Line(what) => self.lost(Away::Line, what.to_owned()),
                }
            }
        })
    }

    fn period(&self) -> Duration {
        PERIOD
    }
}

/// Asks the module that `device.id_reader` names for its number, which may be empty. `Device` if it does not work, `Config`
/// if that is no such name.
pub fn ask(name: &str, device: &config::Device) -> Result<String> {
    let mut module = Sdt::open(name, device)?.ok_or_else(|| misnamed(name))?;
    match module.look(&Wanted::default())? {
        Some(Happening::Online { serial, .. }) => Ok(serial),
        Some(Happening::Offline { why }) => Err(Error::new(Kind::Device, why)),
        _ => Err(Error::new(Kind::Device, format!("{name} tells nothing of itself"))),
    }
}

/// What is wrong with a name of such a module.
pub(super) fn misnamed(name: &str) -> Error {
    Error::new(
        Kind::Config,
        format!(
            "device.id_reader = {name:?}: name a module \"sdt:/dev/ttyS2\", with \":9600\" behind it where it does not \
             speak at {BAUD} baud"
        ),
    )
}
