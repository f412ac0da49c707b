//! One page: its commands, and what it is sent.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as Ws, Message, Utf8Bytes};

use super::desk::{Desk, Outgoing, Seat};
use super::message::{Answer, Reply, notice, realtime, replies};
use super::paced::Taken;
use super::plate::Read;
use super::request::{Order, Refused, Request, document_ids, number, switch, timeout};
use super::settings::Settings;
use crate::text::document_reader::{Constant, main_id};

/// Longest message of a page, in bytes.
pub const MESSAGE_BYTES: usize = 64 << 10;

/// Commands a second that a page may give over time, and at once. One that gives more waits.
const RATE: (f64, f64) = (100.0, 400.0);

/// What a command that is answered with pictures counts for.
const PICTURES_COST: f64 = 50.0;

/// How long a page may take nothing of what it was sent. One that takes it slowly may.
const STALLED: Duration = Duration::from_secs(20);

/// Between two pings, and how long a page may say nothing at all.
const PING: Duration = Duration::from_secs(30);
const SILENT: Duration = Duration::from_secs(90);

/// All bits of `Base64Image`.
const ALL_BITS: u64 = 0b1_1111;

/// What a page's socket may take.
pub(super) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
        // There may be hundreds of them, and what they say is short.
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
}

/// A trigger that waits for its document.
struct Trigger {
    until: Instant,
    /// The kinds that it is for; empty for any.
    ids: Vec<u64>,
}

/// A page that is connected.
pub(super) struct Page<S> {
    socket: WebSocketStream<S>,
    desk: Arc<Desk>,
    seat: Seat,
    /// When the page took something last.
    taken: Taken,
    trigger: Option<Trigger>,
    /// `RecogSpecified`: the kinds that the page wants to hear of; empty for any.
    only: Vec<u64>,
    /// The number of the document that the page was told of last, for its pictures.
    shown: Option<u64>,
    /// The bits of the last `TakePhoto`, for a `Base64Image` that says none.
    bits: u64,
    /// Commands that it may still give at once, as of `counted`.
    credit: f64,
    counted: Instant,
    heard: Instant,
}

/// Why a page ends.
enum End {
    /// It went, or its line broke.
    Gone,
    /// We close it, and say why.
    Close(CloseCode, &'static str),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Page<S> {
    /// On a socket whose stream tells `taken` what the page takes.
    pub(super) fn new(socket: WebSocketStream<S>, taken: Taken, desk: Arc<Desk>, seat: Seat) -> Self {
        let now = Instant::now();
        Self {
            socket,
            desk,
            seat,
            taken,
            trigger: None,
            only: Vec::new(),
            shown: None,
            bits: ALL_BITS,
            credit: RATE.1,
            counted: now,
            heard: now,
        }
    }

    /// Serves the page to its end.
    pub(super) async fn run(mut self) {
        if let End::Close(code, reason) = self.serve().await {
            let close = CloseFrame { code, reason: reason.into() };
            let _ = tokio::time::timeout(Duration::from_secs(1), self.socket.close(Some(close))).await;
        }
    }

    async fn serve(&mut self) -> End {
        if let Some(greeting) = self.desk.greeting()
            && let Err(end) = self.send(greeting).await
        {
            return end;
        }
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let rest = self.rest();
            let until = self.trigger.as_ref().map_or_else(Instant::now, |trigger| trigger.until);
            let outcome = tokio::select! {
                biased;
                () = self.seat.let_go.notified() => Err(End::Gone),
                outgoing = self.seat.queue.recv() => match outgoing {
                    Some(outgoing) => self.outgoing(outgoing).await,
                    None => Err(End::Gone),
                },
                () = tokio::time::sleep_until(until), if self.trigger.is_some() => {
                    self.trigger = None;
                    self.display(Constant::RecogTimeout).await
                }
                _ = ping.tick() => match self.heard.elapsed() < SILENT {
                    true => self.put(Message::Ping(Default::default())).await,
                    false => Err(End::Gone),
                },
                // A page that gives more commands than it may is not read until it may again.
                () = tokio::time::sleep(rest), if !rest.is_zero() => Ok(()),
                message = self.socket.next(), if rest.is_zero() => {
                    self.heard = Instant::now();
                    match message {
                        Some(Ok(message)) => self.message(message).await,
                        Some(Err(Ws::Capacity(_))) => {
                            Err(End::Close(CloseCode::Size, "a message has at most 64 KiB"))
                        }
                        Some(Err(_)) | None => Err(End::Gone),
                    }
                }
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// How long the page must wait with its next command.
    fn rest(&mut self) -> Duration {
        let now = Instant::now();
        self.credit = (self.credit + RATE.0 * (now - self.counted).as_secs_f64()).min(RATE.1);
        self.counted = now;
        if self.credit >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-self.credit / RATE.0) }
    }

    /// Sends, unless the page takes nothing or is let go.
    async fn put(&mut self, message: Message) -> Result<(), End> {
        let (let_go, taken) = (Arc::clone(&self.seat.let_go), self.taken.clone());
        taken.now();
        let mut sent = std::pin::pin!(self.socket.send(message));
        loop {
            let until = taken.last() + STALLED;
            tokio::select! {
                sent = &mut sent => return sent.map_err(|_| End::Gone),
                () = let_go.notified() => return Err(End::Gone),
                // Whatever it took meanwhile gives it time again.
                () = tokio::time::sleep_until(until) => {
                    if taken.last() + STALLED <= Instant::now() {
                        return Err(End::Gone);
                    }
                }
            }
        }
    }

    async fn send(&mut self, text: Utf8Bytes) -> Result<(), End> {
        self.put(Message::Text(text)).await
    }

    async fn display(&mut self, said: Constant) -> Result<(), End> {
        let text = realtime("Display", self.desk.texts.of(said));
        self.send(text).await
    }

    async fn outgoing(&mut self, outgoing: Outgoing) -> Result<(), End> {
        match outgoing {
            Outgoing::Notice(text) => self.send(text).await,
            Outgoing::Reading { number, kind, messages } => self.reading(number, kind, &messages).await,
            Outgoing::Pictures(number, messages) if self.shown == Some(number) => {
                self.send_all(&messages).await
            }
            Outgoing::Pictures(..) => Ok(()),
            Outgoing::Farewell(messages) => {
                self.send_all(&messages).await?;
                Err(End::Close(CloseCode::Restart, "the service restarts"))
            }
        }
    }

    /// A document that was read, if it is of a kind that the page wants.
    async fn reading(&mut self, number: u64, kind: u64, messages: &[Utf8Bytes]) -> Result<(), End> {
        let triggered = self.trigger.as_ref().is_none_or(|trigger| includes(&trigger.ids, kind));
        if !(includes(&self.only, kind) && triggered) {
            self.shown = None;
            return self.display(Constant::OtherDocument).await;
        }
        self.shown = Some(number);
        self.trigger = None;
        self.send_all(messages).await
    }

    /// The document whose pictures the page may have now. Each way to pictures begins here: a message gets one answer
    /// with pictures, which counts for many commands.
    fn pictured(&mut self, read: Option<Arc<Read>>, turn: &mut Turn) -> Result<Arc<Read>, Constant> {
        let read = read.ok_or(Constant::AcquireImageFailed)?;
        if !includes(&self.only, main_id(read.reading.document.kind)) {
            return Err(Constant::OtherDocument);
        }
        if Desk::rejects(&read.reading, &self.desk.settings()) {
            return Err(Constant::DocumentRejected);
        }
        if std::mem::replace(&mut turn.pictured, true) {
            return Err(Constant::TooManyCommands);
        }
        self.credit -= PICTURES_COST;
        self.shown = Some(read.number);
        read.tell();
        Ok(read)
    }

    async fn send_all(&mut self, messages: &[Utf8Bytes]) -> Result<(), End> {
        for text in messages {
            self.send(text.clone()).await?;
        }
        Ok(())
    }

    async fn message(&mut self, message: Message) -> Result<(), End> {
        match message {
            Message::Text(text) => self.asked(&text).await,
            Message::Binary(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) => self.asked(text).await,
                Err(_) => self.refuse(Constant::BadMessage).await,
            },
            Message::Close(_) => Err(End::Gone),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn refuse(&mut self, why: Constant) -> Result<(), End> {
        self.credit -= 1.0;
        let reply = self
            .reply(&Order { command: String::new(), operand: String::new(), param: Value::Null }, Err(why));
        match replies(&[reply], false) {
            Some(text) => self.send(text).await,
            None => Ok(()),
        }
    }

    fn reply(&self, order: &Order, result: Result<Answer, Constant>) -> Reply {
        let (succeeded, result) = match result {
            Ok(answer) => ("Y", answer),
            Err(why) => ("N", self.desk.texts.of(why).into()),
        };
        Reply {
            command: order.command.clone(),
            operand: order.operand.clone(),
            param: None,
            succeeded,
            result,
        }
    }

    /// Carries out a message and answers it. What it sets is stored before anything is answered.
    async fn asked(&mut self, text: &str) -> Result<(), End> {
        let request = match Request::read(text) {
            Ok(request) => request,
            Err(Refused::Malformed) => return self.refuse(Constant::BadMessage).await,
            Err(Refused::TooMany) => return self.refuse(Constant::TooManyCommands).await,
        };
        self.credit -= request.orders.len() as f64;
        let settings = Settings::clone(&self.desk.settings());
        let sets = request.orders.iter().filter(|order| order.is("Set"));
        let changes: Vec<_> = sets.filter_map(|order| change(order).ok().flatten()).collect();
        let stored = match self.desk.change(&changes).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "a setting of the document reader service could not be stored");
                false
            }
        };
        let mut turn = Turn { settings, stored, pictured: false, after: Vec::new() };
        let mut answers = Vec::with_capacity(request.orders.len());
        for order in &request.orders {
            if order.is("Set") {
                let set = self.set(order, &mut turn);
                answers.push(self.reply(order, set.map(|()| "".into())));
            } else if order.is("Get") {
                let got = self.get(order, &mut turn).await;
                let mut reply = self.reply(order, got);
                if order.operand.to_ascii_lowercase().starts_with("webconstant") {
                    reply.operand = "WebConstant".into();
                    reply.param = Some(order.param.clone());
                }
                answers.push(reply);
            } else if let Err(why) = self.notified(order, &mut turn).await {
                answers.push(self.reply(order, Err(why)));
            }
        }
        if !stored {
            let support = self.desk.texts.of(Constant::WebDescAskForSupport);
            turn.after.push(realtime("AskForSupport", support));
        }
        if let Some(text) = replies(&answers, request.batch) {
            self.send(text).await?;
        }
        self.send_all(&turn.after).await
    }

    /// `Set`. What it changes has been stored already, or could not be.
    fn set(&mut self, order: &Order, turn: &mut Turn) -> Result<(), Constant> {
        let Some((operand, on)) = change(order)? else {
            self.bits = bits(&order.param, ALL_BITS)?;
            // There is a picture where a document lies; it was taken when that was read.
            return self.desk.lying().map(drop).ok_or(Constant::AcquireImageFailed);
        };
        if !turn.stored {
            return Err(Constant::SettingNotStored);
        }
        if let Some(switch) = turn.settings.switch(&operand) {
            *switch = on;
        }
        Ok(())
    }

    /// `Get`.
    async fn get(&mut self, order: &Order, turn: &mut Turn) -> Result<Answer, Constant> {
        let desk = Arc::clone(&self.desk);
        let reader = || desk.reader().ok_or(Constant::DeviceNotConnected);
        Ok(match order.operand.to_ascii_lowercase().as_str() {
            "onlinestatus" | "onlinestatusex" => {
                let status = match reader() {
                    Ok(_) => Constant::DeviceConnected,
                    Err(not) => not,
                };
                desk.texts.of(status).into()
            }
            "devicename" => reader()?.name.into(),
            "deviceserialno" => reader()?.serial.into(),
            "devicetype" => "PassportReader".into(),
            "versioninfo" => concat!("Menshen ", env!("CARGO_PKG_VERSION")).into(),
            "webconstant" | "webconstants" => {
                let name = order.param.as_str().ok_or(Constant::BadParam)?;
                desk.texts.named(name).ok_or(Constant::NoSuchConstant)?.into()
            }
            "base64image" => {
                let wanted = bits(&order.param, self.bits)?;
                let read = self.pictured(desk.last(self.shown), turn)?;
                let images = desk.images(&read, Some(wanted)).await;
                if images.is_empty() && wanted != 0 {
                    return Err(Constant::AcquireImageFailed);
                }
                Answer::Images(images)
            }
            "imagemessage" => {
                let read = self.pictured(desk.lying(), turn)?;
                turn.after.push(notice("Save", "Images", &desk.images(&read, None).await));
                "".into()
            }
            "takephotoocr" => {
                self.bits = bits(&order.param, ALL_BITS)?;
                let read = self.pictured(desk.lying(), turn)?;
                turn.after.extend(desk.messages(&read).await);
                "".into()
            }
            // Whether a document lies on the reader.
            "cardposition" => if desk.lies_there() { "Y" } else { "N" }.into(),
            "takephoto" => {
                let wanted = bits(&order.param, self.bits)?;
                let read = self.pictured(desk.lying(), turn)?;
                Answer::Images(desk.images(&read, Some(wanted)).await)
            }
            "dgsource" => return Err(Constant::NoRawData),
            "sid" => json!({ "OnlyReadChip": word(turn.settings.only_read_chip) }).into(),
            operand => {
                let on = *turn.settings.switch(operand).ok_or(Constant::NoSuchOperand)?;
                word(on).into()
            }
        })
    }

    /// What a page notifies the service of; there is no answer but to what cannot be.
    async fn notified(&mut self, order: &Order, turn: &mut Turn) -> Result<(), Constant> {
        let (recognise, specified) = (
            order.operand.eq_ignore_ascii_case("ManualRecog"),
            order.operand.eq_ignore_ascii_case("RecogSpecified"),
        );
        if order.is("RecogMode") {
            if !specified {
                return Err(Constant::NoSuchOperand);
            }
            self.only = document_ids(&order.param).ok_or(Constant::BadParam)?;
            return Ok(());
        }
        if !(order.is("Trigger") || order.is("TriggerEx")) {
            return Err(Constant::NoSuchCommand);
        }
        if !(recognise || specified) {
            return Err(Constant::NoSuchOperand);
        }
        let within = match order.param {
            // Only `TriggerEx` has numbers of documents, and only in an object.
            Value::Number(_) | Value::String(_) | Value::Object(_) | Value::Null => timeout(&order.param),
            _ => None,
        };
        let until = Instant::now() + within.ok_or(Constant::BadParam)?;
        let ids = match &order.param {
            Value::Object(_) => document_ids(&order.param).ok_or(Constant::BadParam)?,
            _ => Vec::new(),
        };
        if self.desk.reader().is_none() {
            turn.after.push(realtime("Display", self.desk.texts.of(Constant::DeviceNotConnected)));
            return Ok(());
        }
        let lying = self.desk.lying().filter(|read| {
            let kind = main_id(read.reading.document.kind);
            includes(&ids, kind) && includes(&self.only, kind)
        });
        let Some(read) = lying else {
            self.trigger = Some(Trigger { until, ids });
            return Ok(());
        };
        // It has been read already: the page is told once more.
        let read = self.pictured(Some(read), turn)?;
        self.trigger = None;
        turn.after.extend(self.desk.messages(&read).await);
        Ok(())
    }
}

/// A message that is being carried out.
struct Turn {
    /// The settings as of the command that is carried out.
    settings: Settings,
    /// Whether what the message sets was stored.
    stored: bool,
    /// Whether one of its commands was answered with pictures.
    pictured: bool,
    /// What goes to the page behind the answers.
    after: Vec<Utf8Bytes>,
}

/// Whether a list of kinds of document is for this one; an empty one is for any.
fn includes(kinds: &[u64], kind: u64) -> bool {
    kinds.is_empty() || kinds.contains(&kind)
}

/// The switch that a `Set` changes; `None` for `TakePhoto`, which changes none.
fn change(order: &Order) -> Result<Option<(String, bool)>, Constant> {
    let operand = order.operand.as_str();
    let is = |name: &str| operand.eq_ignore_ascii_case(name);
    if is("TakePhoto") {
        return Ok(None);
    }
    if is("DGSource") {
        return Err(Constant::NoRawData);
    }
    let param = match &order.param {
        Value::Object(object) if is("Sid") => object
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("OnlyReadChip"))
            .map(|(_, value)| value)
            .ok_or(Constant::BadParam)?,
        other => other,
    };
    Settings::default().switch(operand).ok_or(Constant::NoSuchOperand)?;
    let on = switch(param).ok_or(Constant::BadParam)?;
    Ok(Some((operand.to_owned(), on)))
}

fn word(on: bool) -> &'static str {
    if on { "True" } else { "False" }
}

/// The bits of `Base64Image` (chapter 4.5); those that have no meaning must be 0.
fn bits(param: &Value, default: u64) -> Result<u64, Constant> {
    match param {
        Value::Null => Ok(default),
        param => number(param).filter(|bits| *bits <= ALL_BITS).ok_or(Constant::BadParam),
    }
}
