//! What the gate does for the platform: the table of messages, and the gate behind a [`link`](super::link).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, OnceCell, watch};
use tokio::time::Instant;

use super::code::{self, Answer};
use super::json::Fields;
use super::link::{Account, Command, Duty, Handler, Identity, Lane, State, Work, random_u32};
use super::recent::Recent;
use super::records::{Mark, OutgoingRecord, Queue, Wanted};
use super::requests::Requests;
use super::sync::Sync;
use super::{card, config, door, output, pass_rule, person, record, resend, restart, snapshot, upgrade};
use crate::blocking::blocking;
use crate::clock::Moment;
use crate::error::{Context, Error, Kind, Result};
use crate::gate::Gate;
use crate::gate::settings::{ReportSettings, Settings};
use crate::store::{Destination, OutboxId, PictureKind, RecordId, Store};
use crate::text::Language;
use crate::update::Updates;

/// Where the store keeps the account.
const ACCOUNT: &str = "qyzn.account";
/// Where the store keeps the number that the sequences of records begin at.
const SEQUENCE_BASE: &str = "qyzn.sequence_base";
/// Most characters of a text for the visitor; the document has 20 bytes.
const LONGEST_TEXT: usize = 100;

/// How a message is treated; `None` for one that this gate does not know (103).
pub fn duty(message: &str) -> Option<Duty> {
    let (lane, acts) = match message {
        "add_person" | "update_person" | "delete_person" | "clear_person" | "add_person_face"
        | "add_face" | "delete_face" => (Lane::People, true),
        "config_system" | "config_device_pass_rule" | "online_open_door" | "online_openDoor" => {
            (Lane::Settings, true)
        }
        "get_configs" => (Lane::Settings, false),
        "open_door" | "record_clear" => (Lane::Free, true),
        "device_upgrade" => (Lane::Free, true),
        "device_restart" => (Lane::Free, true),
        // Asked for again, a picture may be taken again: the answers would fill the memory for repetitions.
        "snapshot_picture" => (Lane::Free, false),
        "sync_person" | "swiping_card" => (Lane::Free, true),
        "serial_output" | "weigand_output" => (Lane::Free, true),
        "reSend_record_set" => (Lane::Free, true),
        _ => return None,
    };
    Some(Duty { lane, acts })
}

/// The gate, as a link needs it.
pub struct Duties {
    gate: Gate,
    identity: Identity,
    language: Language,
    updates: Updates,
    base: Arc<OnceCell<u32>>,
    fresh: Arc<Notify>,
    /// The loss of the line has been logged: once is enough for days offline.
    lost: AtomicBool,
    /// Whether the gate is logged in.
    line: watch::Sender<bool>,
    sync: Arc<Sync>,
    recent: Arc<Mutex<Recent>>,
}

impl Duties {
    /// For one gate and one platform.
    pub fn new(gate: Gate, identity: Identity, language: Language, updates: Updates) -> Self {
        Self {
            sync: Arc::new(Sync::new(gate.clone())),
            gate,
            identity,
            language,
            updates,
            base: Arc::default(),
            fresh: Arc::default(),
            lost: AtomicBool::new(false),
            line: watch::Sender::new(false),
            recent: Arc::default(),
        }
    }

    /// Notes which records there are already: nobody waits at the door for what is answered to those. To be called
    /// before the link begins.
    pub async fn begin(&self) -> Result<()> {
        let newest = self.newest().await?;
        recent(&self.recent).begin_after(newest);
        Ok(())
    }

    async fn newest(&self) -> Result<Option<RecordId>> {
        let store = self.gate.store().clone();
        Ok(blocking(move || store.list_records(None, 1)).await?.pop().map(|record| record.id))
    }

    /// Notes the newest record, whose word was missed.
    async fn note_newest(&self) {
        match self.newest().await {
            Ok(Some(newest)) => recent(&self.recent).note(newest, Instant::now()),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the newest record cannot be read"),
        }
    }

    /// Hands the people of the gate to the platform whenever it has asked for them. Never returns while the gate
    /// lives.
    pub async fn send_people(&self, requests: Requests) {
        self.sync.run(requests, self.line.subscribe()).await;
    }

    /// Notifies the link whenever the gate has stored a record. Never returns while the gate lives.
    pub async fn announce_records(&self) {
        let (_, mut events) = self.gate.events().subscribe(u64::MAX);
        self.note_newest().await;
        loop {
            match events.recv().await {
                Ok(event) if event.kind == "record" => {
                    if let Some(id) = event.fields.get("id").and_then(Value::as_i64) {
                        recent(&self.recent).note(RecordId(id), Instant::now());
                    }
                    self.fresh.notify_one();
                }
                Ok(_) => {}
                // One of those that were missed may have been a record.
                Err(RecvError::Lagged(_)) => {
                    self.note_newest().await;
                    self.fresh.notify_one();
                }
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

fn recent(recent: &Mutex<Recent>) -> MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The sequence of an outbox row: the upper half of the numbers, counted from a random one that is kept.
fn sequence(base: u32, id: OutboxId) -> u32 {
    // The row's low bits are what counts; it wraps around after two thousand million records.
    0x8000_0000 | (base.wrapping_add(id.0 as u32) & 0x7fff_ffff)
}

/// The kept number that sequences begin at, made the first time.
async fn sequence_base(store: Store) -> Result<u32> {
    let reading = store.clone();
    let kept = blocking(move || reading.setting(SEQUENCE_BASE)).await?;
    if let Some(base) = kept.and_then(|text| text.parse().ok()) {
        return Ok(base);
    }
    let base = random_u32() >> 1;
    store.put_setting(SEQUENCE_BASE, base.to_string()).await?;
    Ok(base)
}

/// The oldest record that is wanted, with its pictures.
fn oldest(
    store: &Store,
    wanted: Wanted,
    base: u32,
    report: ReportSettings,
    language: Language,
) -> Result<Option<OutgoingRecord>> {
    let entry = match wanted.queue {
        Queue::New | Queue::Backlog => store.next_waiting(Destination::Qyzn, wanted.after, wanted.upto)?,
        Queue::Again => store.next_asked_again(Destination::Qyzn, wanted.after)?,
    };
    let Some(entry) = entry else { return Ok(None) };
    let picture = |kind| -> Result<Option<Vec<u8>>> {
        if report.carries(kind) && entry.record.pictures.contains(&kind) {
            store.record_picture(entry.record.id, kind)
        } else {
            Ok(None)
        }
    };
    // A record goes out without a picture that cannot be read rather than not at all.
    let picture = |kind| {
        picture(kind).unwrap_or_else(|error| {
            tracing::warn!(record = entry.record.id.0, %error, "a record goes out without its picture");
            None
        })
    };
    let (snap, document) = (picture(PictureKind::Snap), picture(PictureKind::Document));
    let body = record::snapshot_face(&entry.record, snap.as_deref(), document.as_deref(), language);
    Ok(Some(OutgoingRecord { id: entry.id, record: entry.record.id, seq: sequence(base, entry.id), body }))
}

impl Handler for Duties {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn now(&self) -> Moment {
        Moment { utc: self.gate.clock().now(), offset: self.gate.settings().time.offset() }
    }

    fn account(&self) -> Work<Result<Option<Account>>> {
        let store = self.gate.store().clone();
        Box::pin(blocking(move || {
            let Some(text) = store.setting(ACCOUNT)? else { return Ok(None) };
            // The text of the error would quote the account.
            serde_json::from_str(&text)
                .map(Some)
                .map_err(|_| Error::new(Kind::Store, "the account in the store is damaged"))
        }))
    }

    fn keep_account(&self, account: Account) -> Work<Result<()>> {
        let store = self.gate.store().clone();
        Box::pin(async move {
            let text = json!({ "uuid": account.uuid, "passwd": account.passwd }).to_string();
            store.put_setting(ACCOUNT, text).await
        })
    }

    fn duty(&self, message: &str) -> Option<Duty> {
        duty(message)
    }

    fn handle(&self, command: Command) -> Work<Answer> {
        let Command { message, data, key } = command;
        let gate = self.gate.clone();
        match message.as_str() {
            // Ordered here and now: the place among the changes is that of this call.
            "add_person" | "update_person" | "delete_person" | "clear_person" | "add_person_face"
            | "add_face" | "delete_face" => person::carry_out(&gate, &message, &data),
            "get_configs" => {
                let identity = self.identity.clone();
                let now = self.now();
                Box::pin(async move {
                    let interfaces =
                        if config::asks_for_network(&data) { gate.interfaces().await } else { Vec::new() };
                    let about = config::About { identity: &identity, now, interfaces };
                    config::get_configs(&data, &gate.settings(), &about)
                })
            }
            "config_system" => Box::pin(async move {
                let present = gate.present();
                let change = |settings: &mut Settings| {
                    config::config_system(&data, settings)?;
                    config::asks_for(&data, settings, &present)
                };
                let outcome = match config::ordered_clock(&data) {
                    Ok(clock) => gate.change_settings_and_clock(change, clock).await,
                    Err(error) => Err(error),
                };
                config::config_system_answer(&data, outcome)
            }),
            "online_open_door" | "online_openDoor" => {
                Box::pin(async move { door::online_open_door(&gate, &data).await })
            }
            "open_door" => Box::pin(async move { door::open_door(&gate).await }),
            "device_restart" => Box::pin(async move { restart::device_restart(&gate, key).await }),
            // Ordered here and now, too.
            "serial_output" => output::serial_output(&gate, &data),
            "weigand_output" => output::weigand_output(&gate, &data),
            "config_device_pass_rule" => {
                Box::pin(async move { pass_rule::config_device_pass_rule(&gate, &data).await })
            }
            "record_clear" => Box::pin(async move { door::record_clear(&gate).await }),
            "device_upgrade" => {
                let updates = self.updates.clone();
                Box::pin(async move { upgrade::device_upgrade(&updates, &data).await })
            }
            "snapshot_picture" => Box::pin(async move { snapshot::snapshot_picture(&gate, &data).await }),
            "sync_person" => {
                let sync = Arc::clone(&self.sync);
                Box::pin(async move { sync.begin().await })
            }
            "swiping_card" => card::swiping_card(&gate, &data, self.line.subscribe()),
            "reSend_record_set" => {
                let fresh = Arc::clone(&self.fresh);
                Box::pin(async move { resend::resend_record_set(&gate, &data, &fresh).await })
            }
            other => {
                let answer = Answer::failure(code::NO_COMMAND, format!("there is no command {other}"));
                Box::pin(async { answer })
            }
        }
    }

    fn next_record(&self, wanted: Wanted) -> Work<Result<Option<OutgoingRecord>>> {
        let (store, base, language) = (self.gate.store().clone(), Arc::clone(&self.base), self.language);
        let report = self.gate.settings().report;
        Box::pin(async move {
            let base = *base
                .get_or_try_init(|| sequence_base(store.clone()))
                .await
                .context(|| "the sequence of records cannot be kept")?;
            blocking(move || oldest(&store, wanted, base, report, language)).await
        })
    }

    fn newest_record(&self) -> Work<Result<Option<OutboxId>>> {
        let store = self.gate.store().clone();
        Box::pin(blocking(move || store.newest_waiting(Destination::Qyzn)))
    }

    fn obey(&self, record: RecordId, data: Value) -> Work<()> {
        if !recent(&self.recent).is_recent(record, Instant::now()) {
            tracing::debug!(record = record.0, "the answer to an old record orders nothing");
            return Box::pin(async {});
        }
        let gate = self.gate.clone();
        Box::pin(async move {
            let fields = Fields::of(&data);
            if let Ok(Some(text)) = fields.text("screenDisp", usize::MAX)
                && !text.is_empty()
            {
                gate.show(&text.chars().take(LONGEST_TEXT).collect::<String>());
            }
            let open = fields.int_within("opendoor", 0, 1).ok().flatten().map(|open| open == 1);
            if let Err(error) = gate.answer_record(record, open).await {
                tracing::warn!(record = record.0, %error, "the QYZN platform's answer to a record was not obeyed");
            }
        })
    }

    fn delivered(&self, mark: Mark) -> Work<Result<()>> {
        let store = self.gate.store();
        let marked = if mark.again { store.delivered_again(mark.id) } else { store.delivered(mark.id) };
        Box::pin(marked.into_future())
    }

    fn new_records(&self) -> Arc<Notify> {
        Arc::clone(&self.fresh)
    }

    fn report(&self, state: State) {
        match state {
            State::LoggedIn => drop(self.line.send_replace(true)),
            State::Connected | State::Lost { .. } => drop(self.line.send_replace(false)),
            _ => {}
        }
        let mut event = json!({ "platform": "qyzn" });
        let fields = match state {
            State::Connected => json!({ "state": "connected" }),
            State::Registered => {
                tracing::info!("registered at the QYZN platform");
                json!({ "state": "registered" })
            }
            State::LoggedIn => {
                tracing::info!("logged in at the QYZN platform");
                self.lost.store(false, Ordering::Relaxed);
                self.gate.platform_reached(true);
                json!({ "state": "logged_in" })
            }
            State::Lost { reason, retry_in } => {
                self.gate.platform_reached(false);
                let retry_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX);
                if self.lost.swap(true, Ordering::Relaxed) {
                    tracing::debug!(reason, retry_ms, "still no line to the QYZN platform");
                } else {
                    tracing::warn!(reason, retry_ms, "no line to the QYZN platform; the gate keeps trying");
                }
                json!({ "state": "lost", "reason": reason, "retry_ms": retry_ms })
            }
            State::TimeOffset { milliseconds, round_trip } => {
                self.gate.platform_clock(jiff::SignedDuration::from_millis(milliseconds), round_trip);
                json!({ "state": "time_offset", "offset_ms": milliseconds })
            }
            State::RecordRefused { record, result, desc } => {
                tracing::warn!(
                    record = record.0,
                    result,
                    desc,
                    "the QYZN platform refuses a record; it is set aside"
                );
                json!({ "state": "record_refused", "record": record.0, "result": result, "desc": desc })
            }
        };
        if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
            event.extend(fields);
        }
        self.gate.events().send("platform", event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_of_records_are_a_kind_of_their_own() {
        assert_eq!(sequence(0, OutboxId(1)), 0x8000_0001);
        assert_eq!(sequence(0x7fff_ffff, OutboxId(1)), 0x8000_0000);
        assert_eq!(sequence(5, OutboxId((1 << 40) + 2)), 0x8000_0007);
    }

    #[test]
    fn everything_else_does_not_exist() {
        for message in ["fly", "device_sync_person", "", "ADD_PERSON"] {
            assert_eq!(duty(message), None, "{message}");
        }
        assert_eq!(duty("open_door"), Some(Duty { lane: Lane::Free, acts: true }));
    }
}
