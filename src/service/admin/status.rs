//! `GET /api/v1/status`: the gate in one object, and the button that opens the door.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::Shared;
use super::answer::{Failure, json};
use crate::access::Origin;
use crate::config::{CameraRole, Config};
use crate::event::{Event, LINK_STATES};
use crate::gate::OrderedBy;
use crate::platform::terminal_ws::address::Address;
use crate::store::Destination;
use crate::text::Language;

/// A failed part of the agent is told of for so long after its last failure.
const FAILURE_SECONDS: i64 = 600;

/// What does not change while the agent runs.
pub(super) struct About {
    serial: String,
    model: String,
    language: Language,
    cameras: Vec<CameraRole>,
    qyzn: Option<String>,
    terminal_ws: Option<String>,
}

impl About {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            serial: config.terminal.serial.clone(),
            model: config.terminal.model.clone(),
            language: config.terminal.language,
            cameras: config.camera.iter().map(|camera| camera.role).collect(),
            qyzn: config.platform.qyzn.as_ref().map(|qyzn| qyzn.server.clone()),
            terminal_ws: config.platform.terminal_ws.as_ref().map(|terminal_ws| terminal_ws.url.clone()),
        }
    }

    /// Hosts and ports of the platforms.
    pub(super) fn servers(&self) -> Vec<(String, u16)> {
        let qyzn = self.qyzn.as_deref().and_then(|server| {
            let (host, port) = server.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        });
        let terminal_ws = self.terminal_ws.as_deref().and_then(|url| {
            Address::parse(url, &self.serial).ok().map(|address| (address.host, address.port))
        });
        qyzn.into_iter().chain(terminal_ws).collect()
    }
}

/// What the last events of each kind and subject say.
struct Standing(Vec<std::sync::Arc<Event>>);

impl Standing {
    /// The last events of `kind` whose `field` is `value`, one for each subject.
    fn all(&self, kind: &str, field: &str, value: &Value) -> impl Iterator<Item = &Event> {
        self.0
            .iter()
            .filter(move |event| event.kind == kind && event.fields.get(field) == Some(value))
            .map(|event| &**event)
    }

    /// The first of them.
    fn of(&self, kind: &str, field: &str, value: &Value) -> Option<&Event> {
        self.all(kind, field, value).next()
    }

    /// The last event of `kind`, whatever its subject.
    fn last(&self, kind: &str) -> Option<&Event> {
        self.0.iter().filter(|event| event.kind == kind).max_by_key(|event| event.id).map(|event| &**event)
    }
}

/// HTTP push as a platform, where it is switched on.
async fn push(shared: &Shared, standing: &Standing) -> Result<Option<Value>, Failure> {
    let settings = shared.gate.settings().push.clone();
    if !settings.enabled {
        return Ok(None);
    }
    let outbox = shared.read(|store| store.outbox_len(Destination::HttpPush)).await?;
    let link = |event: &&Event| {
        event.fields.get("state").and_then(Value::as_str).is_some_and(|state| LINK_STATES.contains(&state))
    };
    let event = standing.all("platform", "platform", &"http_push".into()).find(link);
    let mut platform = state(event, "connecting");
    platform.insert("platform".into(), "http_push".into());
    platform.entry("server").or_insert(settings.server.into());
    platform.insert("outbox".into(), json!(outbox));
    Ok(Some(Value::Object(platform)))
}

/// `GET /api/v1/status`.
pub(super) async fn status(State(shared): State<Shared>) -> Result<Response, Failure> {
    Ok(json(&view(&shared).await?))
}

/// The gate in one object.
pub(super) async fn view(shared: &Shared) -> Result<Value, Failure> {
    let qyzn = shared.about.qyzn.is_some();
    let (counts, outbox) = shared
        .read(move |store| {
            let outbox = if qyzn { Some(store.outbox_len(Destination::Qyzn)?) } else { None };
            Ok((store.counts()?, outbox))
        })
        .await?;
    let stored_notices = shared.read(|store| store.notices()).await?;
    let standing = Standing(shared.gate.events().standing());
    let about = &shared.about;
    let ready = standing
        .of("task", "task", &"agent".into())
        .filter(|event| event.fields.get("state") == Some(&"ready".into()));
    let cameras: Vec<Value> = about
        .cameras
        .iter()
        .enumerate()
        .map(|(index, role)| camera(&standing, index, *role, shared.gate.frame_rate(index)))
        .collect();
    // Records go to QYZN and to HTTP push: the terminal protocol has no message for them.
    let servers = [
        (Origin::Qyzn, &about.qyzn, outbox.map(Value::from)),
        (Origin::TerminalWs, &about.terminal_ws, None),
    ];
    let mut platforms: Vec<Value> = servers
        .into_iter()
        .filter_map(|(origin, server, outbox)| {
            let link = |event: &Event| {
                event
                    .fields
                    .get("state")
                    .and_then(Value::as_str)
                    .is_some_and(|state| LINK_STATES.contains(&state))
            };
            let event =
                standing.all("platform", "platform", &origin.as_str().into()).find(|event| link(event));
            let mut platform = state(event, "connecting");
            platform.insert("platform".into(), origin.as_str().into());
            platform.insert("server".into(), server.as_ref()?.as_str().into());
            if let Some(outbox) = outbox {
                platform.insert("outbox".into(), outbox);
            }
            Some(Value::Object(platform))
        })
        .collect();
    platforms.extend(push(shared, &standing).await?);
    let mut notices: Vec<Value> = failures(&standing, shared.gate.clock().now());
    // First: without it nothing else is as it should be.
    if let Some(text) = shared.updates.get().and_then(crate::update::Updates::data_lost) {
        let began = shared.gate.clock().now()
            - jiff::SignedDuration::try_from(shared.started.elapsed()).unwrap_or_default();
        notices.insert(0, json!({ "kind": "data_lost", "about": null, "text": text, "last": began }));
    }
    notices.extend(stored_notices.iter().map(|notice| {
        json!({ "kind": notice.kind, "count": notice.count, "first": notice.first, "last": notice.last })
    }));
    Ok(json!({
        "name": "menshen",
        "version": env!("CARGO_PKG_VERSION"),
        "serial": about.serial,
        "model": about.model,
        "language": about.language,
        "run": shared.run,
        "time": shared.gate.clock().now(),
        "utc_offset_s": shared.gate.settings().time.offset().seconds(),
        "uptime_s": shared.started.elapsed().as_secs(),
        "ready": ready.is_some(),
        "ready_ms": ready.and_then(|event| event.fields.get("ready_ms")),
        "cameras": cameras,
        "platforms": platforms,
        "door": state(standing.last("relay"), "unknown"),
        "devices": devices(&standing),
        "update": standing.last("update").map(|event| state(Some(event), "")),
        "events": shared.gate.events().counts(),
        "inputs": inputs(&standing),
        "call": shared.intercom.get().map(crate::intercom::Intercom::view),
        "store": counts,
        "outbox": outbox.unwrap_or(0),
        "last_verdict": standing.last("verdict"),
        "last_event": shared.gate.events().last_id(),
        "notices": notices,
    }))
}

/// The last that each input said.
fn inputs(standing: &Standing) -> Value {
    let events = standing.0.iter().filter(|event| event.kind == "input");
    let mut inputs: Vec<_> = events.map(|event| state(Some(event), "")).collect();
    inputs.sort_by_key(|input| input.get("input").map(Value::to_string));
    json!(inputs)
}

/// What a camera is doing.
fn camera(standing: &Standing, index: usize, role: CameraRole, fps: Option<f32>) -> Value {
    let mut camera = state(standing.of("camera", "camera", &index.into()), "starting");
    camera.insert("camera".into(), index.into());
    camera.insert("role".into(), json!(role));
    camera.insert("fps".into(), json!(fps.map(|fps| (f64::from(fps) * 10.0).round() / 10.0)));
    Value::Object(camera)
}

/// What each wire said last of how it is, for those that have said anything.
fn devices(standing: &Standing) -> Value {
    const WIRES: [&str; 8] =
        ["relay", "wiegand", "rs485", "voice", "lamp", "screen", "thermometer", "watchdog"];
    let wires = WIRES.into_iter().map(|kind| (kind, standing.last(kind)));
    let id_reader = ("id_reader", standing.of("reader", "reader", &"id_reader".into()));
    let qr_reader = ("qr_reader", standing.of("reader", "reader", &"qr_reader".into()));
    let said = wires.chain([id_reader, qr_reader]).filter_map(|(kind, event)| {
        let event = event?;
        let fields = ["state", "error"]
            .into_iter()
            .filter_map(|field| Some((field.to_owned(), event.fields.get(field)?.clone())));
        let mut said: Map<String, Value> = fields.collect();
        said.insert("since".into(), json!(event.time));
        Some((kind.to_owned(), Value::Object(said)))
    });
    Value::Object(said.collect())
}

/// The fields of an event with its time as `since`, or a state without one.
fn state(event: Option<&Event>, otherwise: &str) -> Map<String, Value> {
    match event {
        Some(event) => {
            let mut fields = event.fields.clone();
            fields.insert("since".into(), json!(event.time));
            fields
        }
        None => Map::from_iter([("state".to_owned(), otherwise.into())]),
    }
}

/// What a technician should look at, from the last events.
fn failures(standing: &Standing, now: jiff::Timestamp) -> Vec<Value> {
    let text =
        |event: &Event, field: &str| event.fields.get(field).and_then(Value::as_str).map(str::to_owned);
    standing
        .0
        .iter()
        .filter_map(|event| {
            let state = text(event, "state")?;
            let kind = match (event.kind, state.as_str()) {
                ("task", "failed") if now.duration_since(event.time).as_secs() < FAILURE_SECONDS => "task_failed",
                ("platform", "record_refused") if now.duration_since(event.time).as_secs() < FAILURE_SECONDS => {
                    "record_refused"
                }
                ("camera", "lost") => "camera_lost",
                ("relay", "failed") => "relay_failed",
                ("watchdog", "starving") => "gate_hangs",
                ("watchdog", "failed") => "watchdog_failed",
                ("update", "failed") => "update_failed",
                ("door", "forced") => "door_forced",
                ("door", "held") => "door_held",
                ("input", "open") if text(event, "input").as_deref() == Some("tamper") => "tamper",
                ("input" | "reader", "failed" | "chatters" | "damaged") => "input_failed",
                // The store's word for each of its states but the good one is a notice.
                ("store", "ok") => return None,
                ("store", _) => "store_failed",
                _ => return None,
            };
            let about = text(event, "task").or_else(|| text(event, "platform")).or_else(|| text(event, "input")).or_else(|| text(event, "reader")).or_else(|| event.fields.get("camera").map(Value::to_string));
            Some(json!({ "kind": kind, "about": about, "text": text(event, "error").or_else(|| text(event, "desc")).or_else(|| loops(event)).unwrap_or(state), "last": event.time }))
        })
        .collect()
}

/// The loops that hang.
fn loops(event: &Event) -> Option<String> {
    let names = event.fields.get("loops")?.as_array()?.iter().filter_map(Value::as_str);
    Some(names.collect::<Vec<_>>().join(", "))
}

/// `POST /api/v1/restart`.
pub(super) async fn restart(State(shared): State<Shared>) -> Result<Response, Failure> {
    shared.gate.restart(OrderedBy::Technician).await?;
    Ok(json(&json!({ "ordered": true })))
}

/// `POST /api/v1/door/open`.
pub(super) async fn open_door(State(shared): State<Shared>) -> Result<Response, Failure> {
    shared.gate.open_door(OrderedBy::Technician).await?;
    tracing::info!("the door was opened from the admin page");
    Ok(json(&json!({ "ordered": true })))
}
