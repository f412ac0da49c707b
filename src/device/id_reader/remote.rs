//! A reader that is itself a document reader service (`document_reader:ws://HOST:PORT/echo`): the gate is one of its
//! pages. What the document leaves open, deployed services do differently: texts come plain or with their source, with
//! the pictures or before them, under Chinese or English names; all of that is understood.

mod texts;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::client::{IntoClientRequest as _, client_with_config};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as Ws, Message, WebSocket};

use super::{IdReader, Wanted};
use crate::document::{Happening, Pictures, Reading};
use crate::error::{Error, Kind, Result};
use crate::text::Language;
use crate::text::document_reader::{Constant, constant, constants};

/// How `device.id_reader` names it.
pub const PREFIX: &str = "document_reader:";

/// How long making a connection may take, and a message to be taken.
const DIAL: Duration = Duration::from_secs(5);

/// How long one look waits for the service.
const LOOK: Duration = Duration::from_millis(200);

/// Between two questions how the reader is, and how long the service may say nothing.
const ASK: Duration = Duration::from_secs(5);
const SILENT: Duration = Duration::from_secs(20);

/// How long the pictures of a document may come after its texts.
const PICTURES: Duration = Duration::from_millis(1500);

/// First and longest pause before the service is dialled again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The setting with which a service tells that documents come and go.
const NOTIFY: &str = "IfNotifyCardDetected";

/// Longest message: a few pictures in base64.
const MESSAGE_BYTES: usize = 32 << 20;

/// Longest side of a picture that is no JPEG and must be made one, and the most memory that reading it may take, in bytes.
const PICTURE_SIDE: u32 = 4096;
const PICTURE_MEMORY: u64 = 64 << 20;

/// Longest number of a document, in bytes.
const NUMBER_BYTES: usize = 64;

/// What a service displays when nothing becomes of the document that lies there, by the names of these constants.
const FAILURES: [(Constant, &str); 4] = [
    (Constant::RecogFailed, "RecogFailed"),
    (Constant::DocumentRejected, "DocumentRejected"),
    (Constant::AcquireImageFailed, "AcquireImageFailed"),
    (Constant::InitIdCardFailed, "InitIDCardFailed"),
];

/// Where the service is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    url: String,
    host: String,
    port: u16,
}

impl Address {
    fn parse(name: &str) -> Result<Self> {
        let url = name.strip_prefix(PREFIX).unwrap_or(name);
        let fail = |why: &str| {
            let message =
                format!("device.id_reader = {name:?}: {why}, such as document_reader:ws://127.0.0.1:90/echo");
            Err(Error::new(Kind::Config, message))
        };
        let Ok(uri) = url.parse::<Uri>() else { return fail("this is no address") };
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return fail("wss is not spoken to a reader on the same machine or line: use ws"),
            _ => return fail("the address must begin with ws://"),
        }
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return fail("there is no host in it");
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { url: url.to_owned(), host, port: uri.port_u16().unwrap_or(80) })
    }
}

/// The reader.
pub struct Remote {
    address: Address,
    line: Option<Line>,
    /// What has happened and was not told yet.
    happened: VecDeque<Happening>,
    /// Whether the reader was told to be there.
    online: Option<bool>,
    pause: Duration,
    dial_at: Instant,
}

/// A connection.
struct Line {
    socket: WebSocket<TcpStream>,
    wanted: Wanted,
    asked: Instant,
    heard: Instant,
    constants: HashMap<String, String>,
    name: String,
    serial: String,
    /// Texts whose pictures may still come, and until when they are waited for.
    half: Option<(Reading, Instant)>,
    /// Whether the service said of any of them where it comes from.
    sources_told: bool,
    /// A document lies there, as far as is known; whether it was read.
    lying: Option<bool>,
    /// Whether the service refuses to tell that a document was taken away.
    silent: bool,
}

/// Opens the reader that `name` names; `Config` if that is no address. Whether the service is there is seen later.
pub fn open(name: &str) -> Result<Box<dyn IdReader>> {
    Ok(Box::new(Remote {
        address: Address::parse(name)?,
        line: None,
        happened: VecDeque::new(),
        online: None,
        pause: AGAIN.0,
        dial_at: Instant::now(),
    }))
}

/// Dials the service that `name` names, once, and lets go of it; its settings, which it has for all its pages, stay as they
/// are. `Config` if that is no address, `Network` if no document reader service answers there.
pub fn ask(name: &str) -> Result<()> {
    let address = Address::parse(name)?;
    match Line::connect(&address, Wanted::default()) {
        Ok(_) => Ok(()),
        Err(why) => Err(Error::new(Kind::Network, away(&address, &why))),
    }
}

/// That the service is not there, and why.
fn away(address: &Address, why: &str) -> String {
    format!("the document reader service {}: {why}", address.url)
}

/// Where `name`, as `device.id_reader` has it, dials: host and port; `None` if it names no such service.
pub fn dials(name: &str) -> Option<(String, u16)> {
    let address = Address::parse(name.starts_with(PREFIX).then_some(name)?).ok()?;
    Some((address.host, address.port))
}

impl IdReader for Remote {
    fn name(&self) -> &str {
        "document_reader"
    }

    fn look(&mut self, wanted: &Wanted) -> Result<Option<Happening>> {
        if let Some(happening) = self.happened.pop_front() {
            return Ok(Some(happening));
        }
        match &mut self.line {
            None => self.dial(wanted),
            Some(line) => match line.look(wanted, &mut self.happened) {
                Ok(()) => {}
                Err(why) => self.lost(why),
            },
        }
        // Online or offline once each; a service may say so as often as it is asked.
        while let Some(happening) = self.happened.pop_front() {
            let online = match &happening {
                Happening::Online { .. } => true,
                Happening::Offline { .. } => false,
                _ => return Ok(Some(happening)),
            };
            if self.online.replace(online) != Some(online) {
                return Ok(Some(happening));
            }
        }
        Ok(None)
    }

    fn period(&self) -> Duration {
        // A look at a connection waits by itself.
        if self.line.is_some() { Duration::ZERO } else { LOOK }
    }
}

impl Remote {
    fn dial(&mut self, wanted: &Wanted) {
        if Instant::now() < self.dial_at {
            return;
        }
        match Line::dial(&self.address, *wanted) {
            Ok(line) => {
                self.line = Some(line);
                self.pause = AGAIN.0;
            }
            Err(why) => self.lost(why),
        }
    }

    fn lost(&mut self, why: String) {
        self.line = None;
        self.dial_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(AGAIN.1);
        self.happened.push_back(Happening::Offline { why: away(&self.address, &why) });
    }
}

impl Line {
    /// A connection over which nothing was said yet.
    fn connect(address: &Address, wanted: Wanted) -> Result<Self, String> {
        let failed = |error: io::Error| format!("no connection ({error}): is it running?");
        let addresses = (address.host.as_str(), address.port).to_socket_addrs().map_err(failed)?;
        let mut outcome = Err("its name has no address".to_owned());
        for one in addresses {
            outcome = TcpStream::connect_timeout(&one, DIAL).map_err(failed);
            if outcome.is_ok() {
                break;
            }
        }
        let stream = outcome?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_write_timeout(Some(DIAL)).map_err(failed)?;
        stream.set_read_timeout(Some(DIAL)).map_err(failed)?;
        let request = address.url.as_str().into_client_request().map_err(|error| error.to_string())?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES))
            .max_frame_size(Some(MESSAGE_BYTES));
        let (socket, _) = client_with_config(request, stream, Some(config))
            .map_err(|error| format!("what answers there is no document reader service ({error})"))?;
        socket.get_ref().set_read_timeout(Some(LOOK)).map_err(failed)?;
        let now = Instant::now();
        Ok(Self {
            socket,
            wanted,
            asked: now,
            heard: now,
            constants: HashMap::new(),
            name: String::new(),
            serial: String::new(),
            half: None,
            sources_told: false,
            lying: None,
            silent: false,
        })
    }

    fn dial(address: &Address, wanted: Wanted) -> Result<Self, String> {
        let mut line = Self::connect(address, wanted)?;
        let mut commands = Vec::new();
        let states = ["DeviceConnected", "DeviceNotConnected", "DeviceOffLine", "DeviceReconnected"];
        for name in states.into_iter().chain(FAILURES.map(|(_, name)| name)) {
            commands.push(json!({ "Command": "Get", "Operand": "WebConstant", "Param": name }));
        }
        commands.push(json!({ "Command": "Set", "Operand": NOTIFY, "Param": "True" }));
        line.send(json!({ "Type": "Request", "Commands": commands }))?;
        line.ask()?;
        Ok(line)
    }

    fn send(&mut self, message: Value) -> Result<(), String> {
        self.socket
            .send(Message::text(message.to_string()))
            .map_err(|error| format!("the line broke ({error})"))
    }

    /// Says what is wanted and asks how the reader is; the status last, when its name is known. What is wanted is said each
    /// time: a service has one set of settings, which another page may have changed.
    fn ask(&mut self) -> Result<(), String> {
        self.asked = Instant::now();
        let wanted =
            [("RFID", self.wanted.chip), ("VIZ", self.wanted.viz), ("BarCodeRecog", self.wanted.bar_code)];
        let set = wanted.map(|(operand, on)| json!({ "Command": "Set", "Operand": operand, "Param": if on { "True" } else { "False" } }));
        let get = ["DeviceName", "DeviceSerialNo", "OnLineStatus"]
            .map(|operand| json!({ "Command": "Get", "Operand": operand }));
        let commands: Vec<Value> = set.into_iter().chain(get).collect();
        self.send(json!({ "Type": "Request", "Commands": commands }))
    }

    fn look(&mut self, wanted: &Wanted, happened: &mut VecDeque<Happening>) -> Result<(), String> {
        if std::mem::replace(&mut self.wanted, *wanted) != *wanted || self.asked.elapsed() >= ASK {
            self.ask()?;
        }
        match self.socket.read() {
            Ok(message) => {
                self.heard = Instant::now();
                let text = match &message {
                    Message::Text(text) => Some(text.as_str()),
                    Message::Binary(bytes) => std::str::from_utf8(bytes).ok(),
                    Message::Close(_) => return Err("it has ended the connection".into()),
                    _ => None,
                };
                if let Some(Ok(Value::Object(message))) = text.map(serde_json::from_str) {
                    self.message(&message, happened)?;
                }
            }
            Err(Ws::Io(error))
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(format!("the line broke ({error})")),
        }
        if self.heard.elapsed() >= SILENT {
            return Err(format!("it has said nothing for {} s", SILENT.as_secs()));
        }
        if self.half.as_ref().is_some_and(|(_, until)| Instant::now() >= *until) {
            self.read(happened);
        }
        Ok(())
    }

    fn message(
        &mut self,
        message: &Map<String, Value>,
        happened: &mut VecDeque<Happening>,
    ) -> Result<(), String> {
        let word = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default();
        match word("Type") {
            "Reply" => {
                match message.get("Commands").and_then(Value::as_array) {
                    Some(replies) => {
                        replies
                            .iter()
                            .filter_map(Value::as_object)
                            .for_each(|reply| self.reply(reply, happened));
                    }
                    None => self.reply(message, happened),
                }
                Ok(())
            }
            "Notify" => self.notify(word("Command"), word("Operand"), message.get("Param"), happened),
            _ => Ok(()),
        }
    }

    fn says(&self, name: &str, said: &str) -> bool {
        let built_in =
            |language| constants().any(|(one, its_name)| its_name == name && constant(one, language) == said);
        match self.constants.get(name) {
            Some(text) => text == said,
            None => built_in(Language::Chinese) || built_in(Language::English),
        }
    }

    fn reply(&mut self, reply: &Map<String, Value>, happened: &mut VecDeque<Happening>) {
        let word = |key: &str| reply.get(key).and_then(Value::as_str).unwrap_or_default();
        let (yes, result) = (word("Succeeded") == "Y", word("Result"));
        if word("Command") == "Set" && word("Operand").eq_ignore_ascii_case(NOTIFY) {
            self.silent = !yes;
        }
        if word("Command") != "Get" {
            return;
        }
        match word("Operand") {
            "WebConstant" | "WebConstants" if yes && !result.is_empty() => {
                self.constants.insert(word("Param").to_owned(), result.to_owned());
            }
            "DeviceName" => self.name = if yes { result.to_owned() } else { String::new() },
            "DeviceSerialNo" => self.serial = if yes { result.to_owned() } else { String::new() },
            "OnLineStatus" if yes && self.says("DeviceConnected", result) => {
                let name = if self.name.is_empty() { "document_reader" } else { &self.name };
                happened.push_back(Happening::Online { name: name.to_owned(), serial: self.serial.clone() });
            }
            "OnLineStatus" => self.gone(happened),
            _ => {}
        }
    }

    /// The service is there, its reader is not.
    fn gone(&mut self, happened: &mut VecDeque<Happening>) {
        (self.half, self.lying) = (None, None);
        happened.push_back(Happening::Offline { why: "the document reader service has no reader".into() });
    }

    fn notify(
        &mut self,
        command: &str,
        operand: &str,
        param: Option<&Value>,
        happened: &mut VecDeque<Happening>,
    ) -> Result<(), String> {
        let said = param.and_then(Value::as_str).unwrap_or_default();
        let object = |key: &str| param.and_then(|param| param.get(key)).and_then(Value::as_object);
        match (command, operand) {
            ("CardDetected", _) => self.detected(happened),
            ("CardTakenaway", _) => self.taken_away(happened),
            ("ReConnect" | "Reconnect", _) => return Err("it wants a new connection".into()),
            ("Display", _) if self.says("DeviceOffLine", said) => self.gone(happened),
            ("Display", _) if self.says("DeviceReconnected", said) => self.ask()?,
            // The texts are there all the same.
            ("Display", _) if self.half.is_some() && self.says("AcquireImageFailed", said) => {
                self.read(happened)
            }
            ("Display", _) => {
                if let Some((failure, _)) = FAILURES.into_iter().find(|(_, name)| self.says(name, said)) {
                    if self.lying.is_none() {
                        self.detected(happened);
                    }
                    self.half = None;
                    let why = constant(failure, Language::English).into();
                    self.tell(Happening::Failed { why }, happened);
                }
            }
            ("Save", "CardContentText") => {
                if let Some(fields) = param.and_then(Value::as_object) {
                    self.texts(fields, happened);
                    self.half.iter_mut().for_each(|(_, until)| *until = Instant::now() + PICTURES);
                }
            }
            ("Save", "DocInfoAllInOne") => {
                if let Some(fields) = object("Fields") {
                    self.texts(fields, happened);
                    self.pictures(object("Images"));
                    self.read(happened);
                }
            }
            ("Save", "Images") if self.half.is_some() => {
                self.pictures(param.and_then(Value::as_object));
                self.read(happened);
            }
            _ => {}
        }
        Ok(())
    }

    fn detected(&mut self, happened: &mut VecDeque<Happening>) {
        // A service that does not tell what is taken away lays one document on the other.
        self.taken_away(happened);
        self.lying = Some(false);
        happened.push_back(Happening::Detected);
    }

    fn taken_away(&mut self, happened: &mut VecDeque<Happening>) {
        self.read(happened);
        if self.lying.take().is_some() {
            happened.push_back(Happening::TakenAway);
        }
    }

    /// The texts of a document; its pictures are waited for.
    fn texts(&mut self, fields: &Map<String, Value>, happened: &mut VecDeque<Happening>) {
        self.read(happened);
        if self.lying != Some(false) {
            self.detected(happened);
        }
        self.sources_told = texts::tells_sources(fields);
        let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
        match texts::reading(fields, today) {
            Ok(reading) => self.half = Some((reading, Instant::now())),
            Err(why) => {
                self.lying = Some(true);
                self.tell(Happening::Failed { why }, happened);
            }
        }
    }

    fn pictures(&mut self, images: Option<&Map<String, Value>>) {
        if let (Some((reading, _)), Some(images)) = (&mut self.half, images) {
            let picture = |name: &str| images.get(name).and_then(Value::as_str).and_then(jpeg);
            reading.pictures = Pictures {
                white: picture("White"),
                infrared: picture("IR"),
                ultraviolet: picture("UV"),
                printed_photo: picture("OcrHead"),
                chip_photo: picture("ChipHead"),
                card_photo: picture("SidHead"),
            };
            if !self.sources_told {
                texts::chip_was_read(reading);
            }
            let pictures = &reading.pictures;
            reading.document.photo = pictures.card_photo.as_ref().or(pictures.chip_photo.as_ref()).cloned();
        }
    }

    /// What has been read so far is all.
    fn read(&mut self, happened: &mut VecDeque<Happening>) {
        let Some((reading, _)) = self.half.take() else { return };
        self.lying = Some(true);
        let number = &reading.document.number;
        let outcome = match number.is_empty() || number.len() > NUMBER_BYTES {
            true => {
                Happening::Failed { why: "the document reader service gave no number of the document".into() }
            }
            false => Happening::Read(Arc::new(reading)),
        };
        self.tell(outcome, happened);
    }

    /// What became of the document that lies there.
    fn tell(&mut self, outcome: Happening, happened: &mut VecDeque<Happening>) {
        happened.push_back(outcome);
        if self.silent {
            // Nobody will say when it is taken away: it counts as that at once, and is not kept for ever.
            self.taken_away(happened);
        }
    }
}

/// The picture of a data URL, as JPEG.
fn jpeg(url: &str) -> Option<Arc<[u8]>> {
    let text = url.split_once("base64,").map_or(url, |(_, text)| text);
    let bytes = STANDARD.decode(text.trim()).ok()?;
    if bytes.starts_with(&[0xFF, 0xD8]) {
        return Some(bytes.into());
    }
    let mut reader = image::ImageReader::new(io::Cursor::new(bytes)).with_guessed_format().ok()?;
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(PICTURE_SIDE), Some(PICTURE_SIDE));
    limits.max_alloc = Some(PICTURE_MEMORY);
    reader.limits(limits);
    let picture = reader.decode().ok()?.into_rgb8();
    let (width, height) = (u16::try_from(picture.width()).ok()?, u16::try_from(picture.height()).ok()?);
    let mut bytes = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
    encoder.encode(picture.as_raw(), width, height, jpeg_encoder::ColorType::Rgb).ok()?;
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Source;

    #[test]
    fn an_address_is_checked() {
        let address = Address::parse("document_reader:ws://127.0.0.1:90/echo").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("127.0.0.1", 90));
        assert_eq!(Address::parse("document_reader:ws://[::1]/").unwrap().host, "::1");
        for wrong in ["", "127.0.0.1:90", "http://127.0.0.1:90/", "wss://127.0.0.1:90/echo", "ws://"] {
            let error = Address::parse(&format!("{PREFIX}{wrong}")).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains("device.id_reader"), "{error}");
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A reader and the service that it has dialled.
    fn connected() -> (Remote, WebSocket<TcpStream>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address =
            Address::parse(&format!("{PREFIX}ws://{}/echo", listener.local_addr().unwrap())).unwrap();
        let mut remote = Remote {
            address,
            line: None,
            happened: VecDeque::new(),
            online: None,
            pause: AGAIN.0,
            dial_at: Instant::now(),
        };
        let service = std::thread::spawn(move || {
            tokio_tungstenite::tungstenite::accept(listener.accept().unwrap().0).unwrap()
        });
        remote.look(&Wanted::default()).unwrap();
        (remote, service.join().unwrap())
    }

    fn next(remote: &mut Remote) -> Happening {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(happening) = remote.look(&Wanted::default()).unwrap() {
                return happening;
            }
            assert!(Instant::now() < until, "nothing happens");
        }
    }

    fn tell(service: &mut WebSocket<TcpStream>, command: &str, operand: &str, param: Value) {
        let message = json!({ "Type": "Notify", "Command": command, "Operand": operand, "Param": param });
        service.send(Message::text(message.to_string())).unwrap();
    }

    fn failed(remote: &mut Remote) -> String {
        let detected = next(remote);
        assert!(matches!(detected, Happening::Detected), "{detected:?}");
        match next(remote) {
            Happening::Failed { why } => why,
            other => panic!("{other:?}"),
        }
    }

    fn taken_away(remote: &mut Remote, service: &mut WebSocket<TcpStream>) {
        tell(service, "CardTakenaway", "", Value::Null);
        let happening = next(remote);
        assert!(matches!(happening, Happening::TakenAway), "{happening:?}");
    }

    #[test]
    fn whatever_keeps_a_document_from_being_read_is_told() {
        let (mut remote, mut service) = connected();
        // Of no document.
        tell(&mut service, "Display", "RealtimeMessage", json!("系统已就绪"));
        // As services in the field say it.
        for (said, why) in [
            ("识别出错", "The document could not be read"),
            ("The document could not be read", "The document could not be read"),
            ("拒识：证件未通过校验", "The document was rejected: it does not check out"),
            ("采集图像失败", "No picture could be taken"),
            ("初始化读卡核心失败", "The reader could not be started"),
        ] {
            tell(&mut service, "Display", "RealtimeMessage", json!(said));
            assert_eq!(failed(&mut remote), why);
            taken_away(&mut remote, &mut service);
        }
        // In words of its own, which it was asked for.
        let own = json!({ "Type": "Reply", "Command": "Get", "Operand": "WebConstant", "Param": "DocumentRejected",
            "Succeeded": "Y", "Result": "forged" });
        service.send(Message::text(own.to_string())).unwrap();
        tell(&mut service, "CardDetected", "", Value::Null);
        tell(&mut service, "Display", "RealtimeMessage", json!("forged"));
        assert!(failed(&mut remote).contains("rejected"));
        taken_away(&mut remote, &mut service);
        // Texts that are none to be believed.
        for (texts, why) in [
            (
                json!({ "CARD_MAINID": "13", "Name": "X" }),
                "the document reader service gave no number of the document",
            ),
            (
                json!({ "CARD_MAINID": "13", "Passport number": "1".repeat(65) }),
                "the document reader service gave no number of the document",
            ),
            (
                json!({ "CARD_MAINID": "2", "公民身份号码": "11010519491231002X", "有效期至": "20380231" }),
                "the last day of the document cannot be understood",
            ),
            (
                json!({ "CARD_MAINID": "22", "公民身份号码": "11010519491231002X" }),
                "the document is of a kind that is not known here, and has no lines for machines",
            ),
        ] {
            tell(&mut service, "Save", "CardContentText", texts);
            tell(&mut service, "Save", "Images", json!({}));
            assert_eq!(failed(&mut remote), why);
            taken_away(&mut remote, &mut service);
        }
        // Pictures that could not be taken cost no more than them.
        let texts =
            json!({ "CARD_MAINID": "13", "Passport number": "L898902C3", "Date of expiry": "2012-04-15" });
        tell(&mut service, "Save", "CardContentText", texts);
        tell(&mut service, "Display", "RealtimeMessage", json!("采集图像失败"));
        assert!(matches!(next(&mut remote), Happening::Detected));
        let Happening::Read(reading) = next(&mut remote) else { panic!("a reading") };
        assert_eq!(reading.document.number, "L898902C3");
    }

    #[test]
    fn what_was_not_read_is_taken_away_at_once_where_nobody_will_say_so() {
        let (mut remote, mut service) = connected();
        let refused =
            json!({ "Type": "Reply", "Command": "Set", "Operand": NOTIFY, "Succeeded": "N", "Result": "?" });
        service.send(Message::text(refused.to_string())).unwrap();
        tell(&mut service, "Display", "RealtimeMessage", json!("识别出错"));
        failed(&mut remote);
        assert!(matches!(next(&mut remote), Happening::TakenAway));
        tell(&mut service, "Save", "CardContentText", json!({ "CARD_MAINID": "2", "有效期至": "20380231" }));
        failed(&mut remote);
        assert!(matches!(next(&mut remote), Happening::TakenAway));
    }

    #[test]
    fn a_service_that_goes_is_told_and_dialled_again() {
        let lost = |remote: &mut Remote| match next(remote) {
            Happening::Offline { why } => why,
            other => panic!("{other:?}"),
        };
        for command in ["ReConnect", "Reconnect"] {
            let (mut remote, mut service) = connected();
            tell(&mut service, command, "", Value::Null);
            assert!(lost(&mut remote).contains("it wants a new connection"));
            assert!(remote.line.is_none() && remote.dial_at > Instant::now());
        }
        let (mut remote, mut service) = connected();
        service.close(None).unwrap();
        assert!(lost(&mut remote).contains("it has ended the connection"));
        let (mut remote, service) = connected();
        drop(service);
        assert!(lost(&mut remote).contains("the line broke"));
        let (mut remote, _service) = connected();
        remote.line.as_mut().unwrap().heard -= SILENT;
        assert!(lost(&mut remote).contains("it has said nothing for 20 s"));
        // Nobody is there any more: said once.
        remote.dial_at = Instant::now();
        assert!(remote.look(&Wanted::default()).unwrap().is_none());
        assert_eq!(remote.pause, AGAIN.0 * 4);
    }

    #[test]
    fn a_service_without_a_reader_is_offline() {
        let (mut remote, mut service) = connected();
        let mut status = |said: &str| {
            let reply = json!({ "Type": "Reply", "Command": "Get", "Operand": "OnLineStatus", "Succeeded": "Y", "Result": said });
            service.send(Message::text(reply.to_string())).unwrap();
        };
        status("设备未连接");
        let Happening::Offline { why } = next(&mut remote) else { panic!("offline") };
        assert_eq!(why, "the document reader service has no reader");
        // Each once, however often it is said.
        status("设备未连接");
        status("Device is connected");
        assert!(matches!(next(&mut remote), Happening::Online { name, .. } if name == "document_reader"));
        status("Device is connected");
        status("anything else");
        assert!(matches!(next(&mut remote), Happening::Offline { .. }));
    }

    #[test]
    fn asking_whether_a_service_is_there_changes_none_of_its_settings() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("{PREFIX}ws://{}/echo", listener.local_addr().unwrap());
        let service = std::thread::spawn(move || {
            let mut socket = tokio_tungstenite::tungstenite::accept(listener.accept().unwrap().0).unwrap();
            let mut heard = Vec::new();
            while let Ok(message) = socket.read() {
                heard.push(message);
            }
            heard
        });
        ask(&name).unwrap();
        assert_eq!(service.join().unwrap(), []);
    }

    #[test]
    fn what_the_service_says_of_where_texts_come_from_counts() {
        let photo = STANDARD.encode([0xFF, 0xD8]);
        let said = |name: Value, photo: &str| {
            let (mut remote, mut service) = connected();
            let fields = json!({ "CARD_MAINID": "2", "公民身份号码": "11010519491231002X", "姓名": name });
            let param = json!({ "Fields": fields, "Images": { "SidHead": photo } });
            tell(&mut service, "Save", "DocInfoAllInOne", param);
            assert!(matches!(next(&mut remote), Happening::Detected));
            let Happening::Read(reading) = next(&mut remote) else { panic!("a reading") };
            assert_eq!(reading.pictures.card_photo.is_some(), !photo.is_empty());
            let name = reading.texts.iter().find(|text| text.content == "张三").unwrap();
            name.source
        };
        let from = |source: &str| json!({ "Content": "张三", "Source": source });
        // It reads the page, and has the chip's photo besides.
        assert_eq!(said(from("VIZ"), &photo), Source::Viz);
        assert_eq!(said(from("RFID"), &photo), Source::Chip);
        // It does not say: the chip's photo shows that the chip was read.
        assert_eq!(said(json!("张三"), &photo), Source::Chip);
        assert_eq!(said(from(""), &photo), Source::Chip);
        assert_eq!(said(json!("张三"), ""), Source::Viz);
    }

    #[test]
    fn what_is_wanted_is_said_with_every_question() {
        let (mut remote, mut service) = connected();
        // Until the next question how the reader is: what was set on the way.
        let mut settings = || loop {
            let Message::Text(text) = service.read().unwrap() else { continue };
            let request: Value = serde_json::from_str(&text).unwrap();
            let commands = request["Commands"].as_array().unwrap();
            if commands.iter().any(|command| command["Operand"] == "OnLineStatus") {
                let set = commands.iter().filter(|command| command["Command"] == "Set");
                break set
                    .map(|command| format!("{}={}", command["Operand"], command["Param"]).replace('"', ""))
                    .collect::<Vec<_>>();
            }
        };
        assert_eq!(settings(), ["RFID=True", "VIZ=True", "BarCodeRecog=True"]);
        remote.line.as_mut().unwrap().asked -= ASK;
        remote.look(&Wanted::default()).unwrap();
        assert_eq!(
            settings(),
            ["RFID=True", "VIZ=True", "BarCodeRecog=True"],
            "another page may have changed it"
        );
        remote.look(&Wanted { chip: false, ..Wanted::default() }).unwrap();
        assert_eq!(settings(), ["RFID=False", "VIZ=True", "BarCodeRecog=True"]);
    }

    #[test]
    fn a_picture_takes_no_more_memory_than_it_may() {
        // 5000 x 10 is no page; 4096 x 4096 in four channels of sixteen bits is 128 MiB.
        let png = |width: u32, height: u32| {
            let mut png = Vec::new();
            let encoder = image::codecs::png::PngEncoder::new(&mut png);
            let pixels = vec![0; 8 * width as usize * height as usize];
            image::ImageEncoder::write_image(
                encoder,
                &pixels,
                width,
                height,
                image::ExtendedColorType::Rgba16,
            )
            .unwrap();
            STANDARD.encode(&png)
        };
        assert!(jpeg(&png(5000, 10)).is_none() && jpeg(&png(4096, 2100)).is_none());
        assert!(jpeg(&png(4096, 16)).is_some());
    }

    #[test]
    fn pictures_become_jpeg() {
        let mut png = Vec::new();
        let encoder = image::codecs::png::PngEncoder::new(&mut png);
        image::ImageEncoder::write_image(encoder, &[1, 2, 3], 1, 1, image::ExtendedColorType::Rgb8).unwrap();
        let made = jpeg(&format!("data:image/png;base64,{}", STANDARD.encode(&png))).unwrap();
        assert!(made.starts_with(&[0xFF, 0xD8]));
        assert_eq!(jpeg(&STANDARD.encode(&made)).unwrap(), made);
        for none in ["", "data:image/jpeg;base64,****", "data:image/jpeg;base64,AAAA"] {
            assert!(jpeg(none).is_none(), "{none}");
        }
    }

    /// A service that knows its reader and nothing else, and lays down a document as soon as it is asked how that is.
    fn simple_service(listener: std::net::TcpListener) {
        let (stream, _) = listener.accept().unwrap();
        let mut socket = tokio_tungstenite::tungstenite::accept(stream).unwrap();
        loop {
            let Message::Text(text) = socket.read().unwrap() else { continue };
            let request: Value = serde_json::from_str(&text).unwrap();
            let replies: Vec<Value> = request["Commands"]
                .as_array()
                .unwrap()
                .iter()
                .map(|command| {
                    let online = command["Operand"] == "OnLineStatus";
                    json!({
                        "Command": command["Command"], "Operand": command["Operand"],
                        "Succeeded": if online { "Y" } else { "N" },
                        "Result": if online { "Device is connected" } else { "?" },
                    })
                })
                .collect();
            socket.send(Message::text(json!({ "Type": "Reply", "Commands": replies }).to_string())).unwrap();
            let commands = request["Commands"].as_array().unwrap();
            if commands.iter().any(|command| command["Operand"] == "OnLineStatus") {
                let text = json!({ "Type": "Notify", "Command": "Save", "Operand": "DocInfoAllInOne", "Param": {
                    "Fields": { "CARD_MAINID": "2", "姓名": "张三", "公民身份号码": "11010519491231002X" },
                    "Images": {},
                }});
                socket.send(Message::text(text.to_string())).unwrap();
                // Until the reader goes.
                while socket.read().is_ok() {}
                return;
            }
        }
    }

    #[test]
    fn where_the_service_does_not_tell_what_is_taken_away_it_counts_as_that_at_once() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("{PREFIX}ws://{}/echo", listener.local_addr().unwrap());
        let service = std::thread::spawn(move || simple_service(listener));
        let mut reader = open(&name).unwrap();
        let mut next = || {
            let end = Instant::now() + Duration::from_secs(60);
            while Instant::now() < end {
                if let Some(happening) = reader.look(&Wanted::default()).unwrap() {
                    return happening;
                }
            }
            panic!("nothing happens");
        };
        assert!(matches!(next(), Happening::Online { .. }));
        assert!(matches!(next(), Happening::Detected));
        assert!(matches!(next(), Happening::Read(_)));
        assert!(matches!(next(), Happening::TakenAway));
        drop(reader);
        service.join().unwrap();
    }
}
