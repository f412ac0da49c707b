//! A reader that is itself a document reader service (`document_reader:ws://HOST:PORT/echo`): the gate is one of its
//! pages. What the document leaves open, deployed services do differently: texts come plain or with their source, with
//! the pictures or before them, under Chinese or English names; all of that is understood.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::client::{IntoClientRequest as _, client_with_config};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as Ws, Message, WebSocket};

use super::{IdReader, Wanted};
use crate::document::{Document, DocumentKind, Happening, LONG_TERM, Label, Pictures, Reading, Source, Text};
use crate::error::{Error, Kind, Result};
use crate::text::Language;
use crate::text::document_reader::{
    Constant, KINDS, LABELS, constant, constants, kind, label, long_term, main_id, sex_of,
};

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

/// Longest side of a picture that is no JPEG and must be made one.
const PICTURE_SIDE: u32 = 8192;

/// Longest number of a document, in bytes.
const NUMBER_BYTES: usize = 64;

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
        self.happened.push_back(Happening::Offline {
            why: format!("the document reader service {}: {why}", self.address.url),
        });
    }
}

impl Line {
    fn dial(address: &Address, wanted: Wanted) -> Result<Self, String> {
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
        let mut line = Self {
            socket,
            wanted,
            asked: now,
            heard: now,
            constants: HashMap::new(),
            name: String::new(),
            serial: String::new(),
            half: None,
            lying: None,
            silent: false,
        };
        let mut commands = Vec::new();
        for name in
            ["DeviceConnected", "DeviceNotConnected", "DeviceOffLine", "DeviceReconnected", "RecogFailed"]
        {
            commands.push(json!({ "Command": "Get", "Operand": "WebConstant", "Param": name }));
        }
        commands.push(json!({ "Command": "Set", "Operand": NOTIFY, "Param": "True" }));
        line.send(json!({ "Type": "Request", "Commands": commands }))?;
        line.want(wanted)?;
        line.ask()?;
        Ok(line)
    }

    fn send(&mut self, message: Value) -> Result<(), String> {
        self.socket
            .send(Message::text(message.to_string()))
            .map_err(|error| format!("the line broke ({error})"))
    }

    fn want(&mut self, wanted: Wanted) -> Result<(), String> {
        self.wanted = wanted;
        let command = |operand: &str, on: bool| json!({ "Command": "Set", "Operand": operand, "Param": if on { "True" } else { "False" } });
        self.send(json!({ "Type": "Request", "Commands": [
            command("RFID", wanted.chip), command("VIZ", wanted.viz), command("BarCodeRecog", wanted.bar_code),
        ]}))
    }

    /// Asks how the reader is; the status last, when its name is known.
    fn ask(&mut self) -> Result<(), String> {
        self.asked = Instant::now();
        let commands = ["DeviceName", "DeviceSerialNo", "OnLineStatus"]
            .map(|operand| json!({ "Command": "Get", "Operand": operand }));
        self.send(json!({ "Type": "Request", "Commands": commands }))
    }

    fn look(&mut self, wanted: &Wanted, happened: &mut VecDeque<Happening>) -> Result<(), String> {
        if self.wanted != *wanted {
            self.want(*wanted)?;
        }
        if self.asked.elapsed() >= ASK {
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
            ("Display", _) if self.says("RecogFailed", said) => {
                if self.lying.is_none() {
                    self.detected(happened);
                }
                self.half = None;
                happened.push_back(Happening::Failed {
                    why: constant(Constant::RecogFailed, Language::English).into(),
                });
            }
            ("Save", "CardContentText") => {
                if let Some(fields) = param.and_then(Value::as_object) {
                    self.texts(reading(fields), happened);
                    self.half.iter_mut().for_each(|(_, until)| *until = Instant::now() + PICTURES);
                }
            }
            ("Save", "DocInfoAllInOne") => {
                if let Some(fields) = object("Fields") {
                    self.texts(reading(fields), happened);
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
    fn texts(&mut self, reading: Reading, happened: &mut VecDeque<Happening>) {
        self.read(happened);
        if self.lying != Some(false) {
            self.detected(happened);
        }
        self.half = Some((reading, Instant::now()));
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
            chip_was_read(reading);
            let pictures = &reading.pictures;
            reading.document.photo = pictures.card_photo.as_ref().or(pictures.chip_photo.as_ref()).cloned();
        }
    }

    /// What has been read so far is all.
    fn read(&mut self, happened: &mut VecDeque<Happening>) {
        let Some((reading, _)) = self.half.take() else { return };
        self.lying = Some(true);
        let number = &reading.document.number;
        happened.push_back(if number.is_empty() || number.len() > NUMBER_BYTES {
            Happening::Failed { why: "the document reader service gave no number of the document".into() }
        } else {
            Happening::Read(Arc::new(reading))
        });
        if self.silent {
            // Nobody will say when it is taken away: it counts as that at once, and is not kept for ever.
            self.taken_away(happened);
        }
    }
}

/// Names under which other services tell what has a name of ours.
const ALIASES: &[(&str, Label)] = &[
    ("地址", Label::Address),
    ("出生", Label::Birthday),
    ("身份证号码", Label::Number),
    ("身份号码", Label::Number),
    ("证件号", Label::Number),
    ("护照号码MRZ", Label::Number),
    ("本国姓名", Label::Name),
    ("有效期限", Label::Expires),
    ("有效期截止", Label::Expires),
    ("有效期起始", Label::ValidFrom),
    ("有效期", Label::Expires),
    ("持证人国籍代码", Label::Nationality),
    ("国籍代码", Label::Nationality),
    ("Gender", Label::Gender),
    ("Nation", Label::Ethnic),
    ("Birthday", Label::Birthday),
    ("ID Number", Label::Number),
    ("Passport No.", Label::Number),
    ("Passport number from MRZ", Label::Number),
    ("Country code(Nationality)", Label::Nationality),
    ("Date of expiration", Label::Expires),
    ("Issue date", Label::ValidFrom),
    ("Authority", Label::Issuer),
];

fn label_of(name: &str) -> Option<Label> {
    let ours = |language| {
        let pairs = KINDS.into_iter().flat_map(|kind| LABELS.into_iter().map(move |one| (kind, one)));
        pairs.into_iter().find(|(kind, one)| label(*one, *kind, language) == name).map(|(_, one)| one)
    };
    let alias = || ALIASES.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, label)| *label);
    ours(Language::Chinese).or_else(|| ours(Language::English)).or_else(alias)
}

fn kind_of(id: &str, name: &str, mrz: &[String]) -> DocumentKind {
    let by_id = KINDS.into_iter().find(|one| main_id(*one).to_string() == id);
    let named = |one: &DocumentKind| {
        [Language::Chinese, Language::English].iter().any(|language| kind(*one, *language) == name)
    };
    let by_mrz = || match (mrz.first()?.as_bytes().first()?, mrz.len()) {
        (b'P', _) => Some(DocumentKind::Passport),
        (b'V', _) => Some(DocumentKind::Visa),
        _ => Some(DocumentKind::TravelCard),
    };
    by_id.or_else(|| KINDS.into_iter().find(named)).or_else(by_mrz).unwrap_or_default()
}

/// A day, however its parts are parted: `1949-12-31`, `19491231`, `1949年12月31日`, `1949.1.2`.
fn day(text: &str) -> Option<Date> {
    let parts: Vec<&str> =
        text.split(|letter: char| !letter.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let (year, month, day) = match parts[..] {
        [whole] if whole.len() == 8 => (whole.get(..4)?, whole.get(4..6)?, whole.get(6..)?),
        [year, month, day] if year.len() == 4 => (year, month, day),
        _ => return None,
    };
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

fn is_identity_card(kind: DocumentKind) -> bool {
    matches!(kind, DocumentKind::Resident | DocumentKind::Foreigner | DocumentKind::HongKongMacaoTaiwan)
}

/// With the chip's photo of an identity card come the chip's texts, where the service says nothing of their source.
fn chip_was_read(reading: &mut Reading) {
    let card = is_identity_card(reading.document.kind) && reading.pictures.card_photo.is_some();
    if card && reading.texts.iter().all(|text| text.source == Source::Viz) {
        reading.texts.iter_mut().for_each(|text| text.source = Source::Chip);
    }
}

/// What readings have in Chinese whatever the service's language.
fn in_chinese(label: Label, content: String) -> String {
    match label {
        Label::Gender => sex_of(&content).map_or(content, str::to_owned),
        Label::Expires if content.eq_ignore_ascii_case(long_term(Language::English)) => LONG_TERM.to_owned(),
        _ => content,
    }
}

/// The texts of a document.
fn reading(fields: &Map<String, Value>) -> Reading {
    let content = |value: &Value| match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Object(with_source) => {
            with_source.get("Content").and_then(Value::as_str).unwrap_or_default().trim().to_owned()
        }
        _ => String::new(),
    };
    let of = |name: &str| fields.get(name).map(content).unwrap_or_default();
    let mrz: Vec<String> =
        ["MRZ1", "MRZ2", "MRZ3"].map(of).into_iter().filter(|line| !line.is_empty()).collect();
    let mut document =
        Document { kind: kind_of(&of("CARD_MAINID"), &of("CARD_NAME"), &mrz), ..Document::default() };
    let mut texts = Vec::new();
    for (name, value) in fields {
        let (Some(one), content) = (label_of(name), content(value)) else { continue };
        if content.is_empty() {
            continue;
        }
        let content = in_chinese(one, content);
        match one {
            Label::Name => document.name = content.clone(),
            Label::LatinName => document.latin_name = content.clone(),
            Label::Gender => document.gender = content.clone(),
            Label::Ethnic => document.ethnic = content.clone(),
            Label::Birthday => document.birthday = day(&content),
            Label::Address => document.address = content.clone(),
            Label::AdditionalAddress => document.additional_address = content.clone(),
            Label::Number => document.number = content.clone(),
            Label::Issuer => document.issuer = content.clone(),
            Label::ValidFrom => document.valid_from = day(&content),
            // Some print both days under one name.
            Label::Expires => match content.split_once(['-', '至']).map(|(from, until)| (day(from), until)) {
                Some((Some(from), until)) => {
                    (document.valid_from, document.expires) = (Some(from), day(until))
                }
                _ if content == LONG_TERM => {}
                _ => document.expires = day(&content),
            },
            Label::Nationality => document.nationality = content.clone(),
            Label::IssuingState => document.issuing_state = content.clone(),
            Label::PermitNumber => document.permit_number = content.clone(),
            Label::IssueCount => document.issue_count = content.clone(),
            Label::Version => document.version = content.clone(),
            _ => {}
        }
        let said = value.get("Source").and_then(Value::as_str);
        let source = match said.map(str::to_ascii_uppercase).as_deref() {
            Some("VIZ") => Source::Viz,
            Some("RFID") => Source::Chip,
            Some("MRZ") => Source::Mrz,
            // Of a card that may have been photographed: the chip's photo shows that it was read (`chip_was_read`).
            _ if is_identity_card(document.kind) => Source::Viz,
            _ if mrz.is_empty() => Source::Chip,
            _ => Source::Mrz,
        };
        texts.push(Text { label: one, content, source });
    }
    let bar_code = Some(of("BarCode")).filter(|code| !code.is_empty());
    Reading { document, texts, mrz, bar_code, ..Reading::default() }
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
    use jiff::civil::date;

    use super::*;

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

    #[test]
    fn texts_of_every_service_are_understood() {
        let ours = json!({
            "CARD_MAINID": "2", "CARD_NAME": "居民身份证", "姓名": "张三", "性别": "男", "民族": "汉",
            "出生日期": "1949-12-31", "住址": "某处", "公民身份号码": "11010519491231002X", "有效期至": "长期",
        });
        let document = reading(ours.as_object().unwrap()).document;
        assert_eq!((document.kind, document.name.as_str()), (DocumentKind::Resident, "张三"));
        assert_eq!((document.birthday, document.expires), (Some(date(1949, 12, 31)), None));
        assert_eq!((document.number.as_str(), document.address.as_str()), ("11010519491231002X", "某处"));
        let other = json!({
            "CARD_MAINID": { "Content": "13", "Source": "MRZ" },
            "Passport number from MRZ": { "Content": "L898902C3", "Source": "RFID" },
            "Sex": { "Content": "F", "Source": "MRZ" },
            "Date of expiration": { "Content": "2012-04-15", "Source": "MRZ" },
            "MRZ1": { "Content": "P<UTO", "Source": "MRZ" },
        });
        let reading = super::reading(other.as_object().unwrap());
        assert_eq!(
            (reading.document.kind, reading.document.number.as_str()),
            (DocumentKind::Passport, "L898902C3")
        );
        assert_eq!(reading.document.expires, Some(date(2012, 4, 15)));
        assert_eq!(reading.document.gender, "女", "as readings have it");
        let number = reading.texts.iter().find(|text| text.label == Label::Number).unwrap();
        assert_eq!((number.source, reading.mrz.as_slice()), (Source::Chip, &["P<UTO".to_owned()][..]));
        let english = json!({ "Sex": "Male", "Date of expiry": "Long term", "Date of issue": "2010-01-01" });
        let reading = super::reading(english.as_object().unwrap());
        assert_eq!((reading.document.gender.as_str(), reading.document.expires), ("男", None));
        assert!(reading.texts.iter().any(|text| text.label == Label::Expires && text.content == LONG_TERM));
        let both = json!({ "有效期限": "2010.01.01-2030.01.01" });
        let document = super::reading(both.as_object().unwrap()).document;
        assert_eq!((document.valid_from, document.expires), (Some(date(2010, 1, 1)), Some(date(2030, 1, 1))));
        assert_eq!(day("1949年1月2日"), Some(date(1949, 1, 2)));
        for no_day in ["", "长期", "1949", "19491331", "49-1-2"] {
            assert_eq!(day(no_day), None, "{no_day}");
        }
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

    #[test]
    fn a_card_was_read_by_its_chip_where_something_shows_it() {
        let sources = |fields: Value, photo: bool| {
            let mut reading = reading(fields.as_object().unwrap());
            reading.pictures.card_photo = photo.then(|| Arc::from([0xFF, 0xD8]));
            chip_was_read(&mut reading);
            reading.texts.iter().map(|text| text.source).collect::<Vec<_>>()
        };
        let plain = json!({ "CARD_MAINID": "2", "姓名": "张三" });
        assert_eq!(sources(plain.clone(), false), [Source::Viz]);
        assert_eq!(sources(plain, true), [Source::Chip]);
        let told = json!({ "CARD_MAINID": "2", "姓名": { "Content": "张三", "Source": "RFID" } });
        assert_eq!(sources(told, false), [Source::Chip]);
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
            if request["Commands"][2]["Operand"] == "OnLineStatus" {
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
