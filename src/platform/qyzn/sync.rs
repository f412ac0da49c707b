//! `sync_person` (4.3.6) and `device_sync_person` (4.3.7): the gate hands its people to the platform, one after
//! another, and takes over the ids that the platform gives them.
//!
//! Whose people: the platform's own, and those whom a technician enrolled at the gate. The latter become the
//! platform's by that: it has them from then on, may change and remove them. People of another platform belong
//! to it and are not shown.
//!
//! How far it has come is kept in the store, together with the ids that were taken over: a lost line or a
//! restart goes on there, and a second `sync_person` begins anew.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

use super::code::{self, Answer};
use super::json::Fields;
use super::person::DAYS;
use super::requests::{Requests, is_unanswered};
use super::time::format_civil;
use crate::access::{Bound, Origin, PassMode, Person, PersonKey};
use crate::blocking::blocking;
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::store::{FaceRow, ListedPerson, Pending, PersonRow, Store};

/// Where the store keeps how far the gate has come.
const CURSOR: &str = "qyzn.sync";
/// Whose people the platform is given.
const ORIGINS: [Origin; 2] = [Origin::Qyzn, Origin::Local];
/// Version of `device_sync_person`.
const VERSION: u8 = 3;
/// Longest `personId` and `faceId` of the document; longer ones of the gate's own are not sent.
const DOCUMENT_ID: usize = 32;
/// People whose ids stay may be sent again after a power cut: so many at most.
const SAVED_EVERY: u32 = 16;
/// Refusals that are told one by one; a platform that refuses everybody would push out all other events.
const TOLD_REFUSALS: u64 = 20;
/// Before a person is tried again whom the line or the store has not taken; the longest such pause.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_AT_LAST: Duration = Duration::from_secs(60);
/// How often a person is sent to a platform that is there and does not answer.
const TRIES: u32 = 3;

/// How far the gate has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    /// Everybody up to this row has been dealt with.
    after: i64,
    /// The last row there was when it began: who comes later is not waited for.
    until: i64,
    /// People the platform has taken.
    done: u64,
    /// People it did not take, or whose ids could not be taken over.
    refused: u64,
    /// People there were when it began.
    total: u64,
}

/// What is under way.
#[derive(Default)]
struct State {
    /// Counts the beginnings: what belongs to an earlier one must not move the cursor.
    begun: u64,
    cursor: Option<Cursor>,
    /// People since the cursor was last kept.
    unsaved: u32,
    /// Whom the platform has not answered, and how often.
    unanswered: (i64, u32),
}

/// The people on their way to the platform.
pub struct Sync {
    gate: Gate,
    state: Mutex<State>,
    wake: Notify,
}

/// A person's key, their new one, and the ids of their faces.
type Renamed = (PersonKey, PersonKey, Vec<(FaceRow, String)>);

/// What became of one person.
enum Outcome {
    /// The platform has them, under these ids.
    Taken(PersonKey, Vec<(FaceRow, String)>),
    /// The platform did not take them, or its answer cannot be used: the code, and why.
    Refused(Option<i64>, String),
    /// Nothing; once more after this long.
    Again(Duration),
    /// The platform answers, but not this.
    Unanswered,
    /// The platform does not know the message: nobody else need be sent.
    Unknown,
}

impl Sync {
    /// For one gate; nothing happens before [`Sync::run`].
    pub fn new(gate: Gate) -> Self {
        Self { gate, state: Mutex::default(), wake: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `sync_person`: notes that everybody is to be sent, and answers how many they are.
    pub async fn begin(&self) -> Answer {
        match self.note_beginning().await {
            Ok(total) => Answer::with(json!({ "person_num": total })),
            Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
        }
    }

    async fn note_beginning(&self) -> Result<u64> {
        let store = self.gate.store().clone();
        let (total, last) = blocking(move || store.count_people(&ORIGINS)).await?;
        let cursor = Cursor { after: 0, until: last.map_or(0, |row| row.0), done: 0, refused: 0, total };
        // Under the lock, so that nothing of an earlier beginning is kept after it.
        let kept = {
            let mut state = self.lock();
            state.begun += 1;
            (state.unsaved, state.unanswered) = (0, (0, 0));
            state.cursor = Some(cursor.clone());
            keep(self.gate.store(), Some(&cursor))
        };
        kept.await?;
        tracing::info!(people = total, "the QYZN platform asks for the people of this gate");
        self.tell("syncing", &cursor);
        self.wake.notify_one();
        Ok(total)
    }

    /// Sends whoever is to be sent, whenever `line` says that the gate is logged in. Never returns while the
    /// program runs.
    pub async fn run(&self, requests: Requests, mut line: watch::Receiver<bool>) {
        match self.kept().await {
            Ok(Some(cursor)) => {
                let mut state = self.lock();
                // One that was asked for meanwhile is newer.
                if state.begun == 0 {
                    state.cursor = Some(cursor);
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "how far the people were sent to the QYZN platform cannot be read");
            }
        }
        let mut pause = AGAIN;
        loop {
            let under_way = {
                let state = self.lock();
                state.cursor.clone().map(|cursor| (state.begun, cursor))
            };
            let Some((begun, cursor)) = under_way else {
                self.wake.notified().await;
                continue;
            };
            if line.wait_for(|logged_in| *logged_in).await.is_err() {
                return std::future::pending().await;
            }
            match self.send_next(begun, &cursor, &requests).await {
                Ok(()) => pause = AGAIN,
                Err(error) => {
                    tracing::warn!(%error, "people cannot be sent to the QYZN platform for now");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(AGAIN_AT_LAST);
                }
            }
        }
    }

    async fn kept(&self) -> Result<Option<Cursor>> {
        let store = self.gate.store().clone();
        blocking(move || {
            let Some(text) = store.setting(CURSOR)? else { return Ok(None) };
            serde_json::from_str(&text)
                .map_err(|error| Error::caused(Kind::Store, "the setting qyzn.sync is damaged", error))
        })
        .await
    }

    /// Sends the next person, as they are now, or ends the whole.
    async fn send_next(&self, begun: u64, cursor: &Cursor, requests: &Requests) -> Result<()> {
        // Read right before they are sent, and again before they are sent again: whoever is removed meanwhile must
        // not come back by this.
        let (store, after) = (self.gate.store().clone(), PersonRow(cursor.after));
        let next = blocking(move || Ok(store.list_people(Some(after), 1)?.pop())).await?;
        let Some(listed) = next.filter(|listed| listed.row.0 <= cursor.until) else {
            return self.end(begun, "synced").await;
        };
        let row = listed.row.0;
        if !ORIGINS.contains(&listed.person.key.origin) {
            return self.advance(begun, row, |_| {}, None).await;
        }
        if self.lock().begun != begun {
            return Ok(());
        }
        let key = listed.person.key.clone();
        match self.send(&listed, requests).await? {
            Outcome::Taken(new_key, faces) => {
                let same = new_key == key
                    && faces
                        .iter()
                        .all(|(face, id)| listed.faces.iter().any(|(row, old)| row == face && old == id));
                let ids = (!same).then(|| (key.clone(), new_key.clone(), faces));
                match self.advance(begun, row, |cursor| cursor.done += 1, ids).await {
                    Ok(()) if new_key != key => {
                        let event = json!({ "change": "adopted", "person": new_key, "was": key });
                        self.gate.events().send("person", event);
                        Ok(())
                    }
                    // Removed meanwhile: the platform will be told so when it asks again.
                    Err(error) if error.kind() == Kind::NotFound => {
                        self.advance(begun, row, |cursor| cursor.done += 1, None).await
                    }
                    Err(error) if matches!(error.kind(), Kind::Exists | Kind::Input) => {
                        self.refused(begun, row, &key, None, error.message()).await
                    }
                    other => other,
                }
            }
            Outcome::Refused(result, why) => self.refused(begun, row, &key, result, &why).await,
            Outcome::Unknown => {
                tracing::warn!("the QYZN platform asked for people and does not take them (103)");
                self.end(begun, "sync_stopped").await
            }
            Outcome::Again(pause) => self.pause(begun, pause).await,
            Outcome::Unanswered => {
                let tries = {
                    let mut state = self.lock();
                    let before = if state.unanswered.0 == row { state.unanswered.1 } else { 0 };
                    state.unanswered = (row, before + 1);
                    before + 1
                };
                if tries < TRIES {
                    return self.pause(begun, AGAIN).await;
                }
                let why = format!("the platform has not answered {tries} times");
                self.refused(begun, row, &key, None, &why).await
            }
        }
    }

    /// Waits before somebody is sent again.
    async fn pause(&self, begun: u64, pause: Duration) -> Result<()> {
        // What was done must not be done again after a restart.
        self.save(begun).await?;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Sends one person and reads the answer.
    async fn send(&self, listed: &ListedPerson, requests: &Requests) -> Result<Outcome> {
        let key = &listed.person.key;
        if key.origin == Origin::Local {
            let long = |id: &str| id.len() > DOCUMENT_ID;
            if long(&key.id) || listed.faces.iter().any(|(_, id)| long(id)) {
                let why = format!("an id of theirs has more than the {DOCUMENT_ID} bytes of the document");
                return Ok(Outcome::Refused(None, why));
            }
            // Sent, they would take the place of the platform's own there.
            let (store, theirs) = (self.gate.store().clone(), PersonKey::new(Origin::Qyzn, key.id.clone()));
            if blocking(move || store.person(&theirs)).await?.is_some() {
                let why = "somebody of the platform's own has the same id".to_owned();
                return Ok(Outcome::Refused(None, why));
            }
        }
        let offset = self.gate.settings().time.offset();
        let (store, listed) = (self.gate.store().clone(), listed.clone());
        let (data, listed) = blocking(move || {
            let mut faces = Vec::with_capacity(listed.faces.len());
            for (row, id) in &listed.faces {
                match store.face_picture(*row) {
                    Ok(Some(picture)) => {
                        faces.push(json!({ "faceId": id, "image": STANDARD.encode(picture) }));
                    }
                    // Removed a moment ago.
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(face = row.0, %error, "a person is sent without a picture of theirs");
                    }
                }
            }
            Ok((fields(&listed.person, faces, offset), listed))
        })
        .await?;
        let answer = match requests.request("device_sync_person", data, VERSION).await {
            Ok(answer) => answer,
            Err(error) if is_unanswered(&error) => return Ok(Outcome::Unanswered),
            Err(error) => {
                tracing::debug!(%error, "a person was not sent to the QYZN platform");
                return Ok(Outcome::Again(AGAIN));
            }
        };
        Ok(match answer.result {
            code::SUCCESS => read(&answer.data, &listed),
            code::BUSY => {
                let seconds = Fields::of(&answer.data).int("waitSeconds").ok().flatten().unwrap_or(3);
                Outcome::Again(Duration::from_secs(seconds.clamp(1, 300) as u64))
            }
            // The link registers again; then it goes on.
            code::UNREGISTERED => Outcome::Again(AGAIN),
            code::NO_COMMAND => Outcome::Unknown,
            result => Outcome::Refused(Some(result), answer.desc),
        })
    }

    /// Moves the cursor past `row`, with the ids that somebody gets in the same transaction.
    async fn advance(
        &self,
        begun: u64,
        row: i64,
        count: impl FnOnce(&mut Cursor),
        ids: Option<Renamed>,
    ) -> Result<()> {
        let (kept, told) = {
            let mut state = self.lock();
            let mut moved = (state.begun == begun).then(|| state.cursor.clone()).flatten();
            if let Some(cursor) = &mut moved {
                cursor.after = row;
                count(cursor);
            }
            let store = self.gate.store();
            let kept = match (ids, &moved) {
                (Some((key, new_key, faces)), moved) => {
                    let setting = moved.as_ref().map(|cursor| (CURSOR, json!(cursor).to_string()));
                    Some(store.adopt_person(key, new_key, faces, setting))
                }
                (None, Some(cursor)) if state.unsaved + 1 >= SAVED_EVERY => Some(keep(store, Some(cursor))),
                (None, _) => None,
            };
            let told = moved.clone();
            if kept.is_none() && moved.is_some() {
                state.unsaved += 1;
                state.cursor = moved;
            }
            (kept, told)
        };
        if let Some(kept) = kept {
            kept.await?;
            let mut state = self.lock();
            if state.begun == begun {
                (state.unsaved, state.cursor) = (0, told.clone());
            }
        }
        if let Some(cursor) = told {
            let gone = cursor.done + cursor.refused;
            if gone % (cursor.total / 100).max(1) == 0 {
                self.tell("syncing", &cursor);
            }
        }
        Ok(())
    }

    /// Keeps the cursor where it stands.
    async fn save(&self, begun: u64) -> Result<()> {
        let kept = {
            let mut state = self.lock();
            if state.begun != begun || state.unsaved == 0 {
                return Ok(());
            }
            state.unsaved = 0;
            keep(self.gate.store(), state.cursor.as_ref())
        };
        kept.await
    }

    /// Reports somebody whom the platform did not take, and goes on.
    async fn refused(
        &self,
        begun: u64,
        row: i64,
        key: &PersonKey,
        result: Option<i64>,
        why: &str,
    ) -> Result<()> {
        let mut so_far = 0;
        self.advance(
            begun,
            row,
            |cursor| (cursor.refused, so_far) = (cursor.refused + 1, cursor.refused),
            None,
        )
        .await?;
        if so_far < TOLD_REFUSALS {
            tracing::warn!(person = key.id, result, why, "a person was not handed to the QYZN platform");
            let event = json!({ "platform": "qyzn", "state": "sync_refused", "person": key, "result": result,
                                "desc": why });
            self.gate.events().send("platform", event);
        }
        Ok(())
    }

    /// Forgets the cursor.
    async fn end(&self, begun: u64, state_word: &'static str) -> Result<()> {
        let (kept, cursor) = {
            let mut state = self.lock();
            if state.begun != begun {
                return Ok(());
            }
            (keep(self.gate.store(), None), state.cursor.take())
        };
        if let Some(cursor) = cursor {
            let Cursor { done, refused, total, .. } = cursor;
            tracing::info!(done, refused, total, "the people of this gate were sent to the QYZN platform");
            self.tell(state_word, &cursor);
        }
        kept.await
    }

    fn tell(&self, state: &'static str, cursor: &Cursor) {
        let event = json!({ "platform": "qyzn", "state": state, "done": cursor.done,
                            "refused": cursor.refused, "total": cursor.total });
        self.gate.events().send("platform", event);
    }
}

fn keep(store: &Store, cursor: Option<&Cursor>) -> Pending<()> {
    store.put_setting(CURSOR, json!(cursor).to_string())
}

/// `data` of `device_sync_person`. What is without limit is left out, as the document has it: `passNum`,
/// `passPeriod`, `startTime`, `expireTime`, and numbers that nobody has. A schedule that the simple fields cannot
/// say goes out as `extPassRule`, and a mode of the person's own as `passMode`, both as in 4.3.8.
fn fields(person: &Person, faces: Vec<Value>, offset: jiff::tz::Offset) -> Value {
    let time = |bound: Bound| match bound {
        Bound::Local(time) => format_civil(time),
        Bound::Utc(time) => format_civil(offset.to_datetime(time)),
    };
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| data.insert(key.to_owned(), value);
    put("personId", json!(person.key.id));
    // Whoever was enrolled without a number of the house's own has one here: it must not be empty.
    put("personCode", json!(if person.code.is_empty() { &person.key.id } else { &person.code }));
    put("name", json!(person.name));
    put("type", json!(person.kind.number()));
    for (key, value) in [("idNum", &person.id_number), ("icNum", &person.card)] {
        if let Some(value) = value {
            put(key, json!(value));
        }
    }
    if let Some(passes) = person.passes_left {
        put("passNum", json!(passes));
    }
    let simple = &person.schedule.simple;
    if let Some(periods) = &simple.periods {
        put("passPeriod", json!(periods.to_qyzn()));
    }
    for (day, allowed) in DAYS.iter().zip(simple.days) {
        put(day, json!(allowed));
    }
    for (key, bound) in [("startTime", person.valid_from), ("expireTime", person.valid_until)] {
        if let Some(bound) = bound {
            put(key, json!(time(bound)));
        }
    }
    if person.mode.is_some() {
        put("passMode", json!(PassMode::number_of_own(person.mode)));
    }
    if let Some(extended) = &person.schedule.extended {
        put("extPassRule", extended.to_qyzn());
    }
    put("faces", Value::Array(faces));
    Value::Object(data)
}

/// The ids in an answer. An id that is missing or empty stays as it is.
fn read(data: &Value, listed: &ListedPerson) -> Outcome {
    let refused = |error: &Error| Outcome::Refused(Some(code::SUCCESS), error.message().to_owned());
    let answered = Fields::of(data);
    let id = |fields: &Fields<'_>, key: &str| -> Result<Option<String>> {
        Ok(fields.text(key, super::person::LONGEST_ID)?.filter(|id| !id.is_empty()))
    };
    let old_id = &listed.person.key.id;
    let new_id = match (id(&answered, "oriPersonId"), id(&answered, "newPersonId")) {
        (Ok(Some(other)), _) if other != *old_id => {
            return refused(&answered.wrong("oriPersonId", format_args!("must be {old_id}, not {other}")));
        }
        (Ok(_), Ok(new_id)) => new_id.unwrap_or_else(|| old_id.clone()),
        (Err(error), _) | (_, Err(error)) => return refused(&error),
    };
    let mut faces = listed.faces.clone();
    for (index, answered) in answered.list("faces").unwrap_or_default().iter().enumerate() {
        let place = format!("faces[{index}].");
        let answered = Fields::at(answered, &place);
        match (id(&answered, "oriFaceId"), id(&answered, "newFaceId")) {
            (Ok(Some(old)), Ok(Some(new))) => {
                // Platforms also name faces that they were not sent, as the document's own sample does.
                let at = listed.faces.iter().position(|(_, id)| *id == old);
                if let Some(at) = at {
                    faces[at].1 = new;
                }
            }
            (Ok(_), Ok(_)) => {}
            (Err(error), _) | (_, Err(error)) => return refused(&error),
        }
    }
    Outcome::Taken(PersonKey::new(Origin::Qyzn, new_id), faces)
}

#[cfg(test)]
mod tests {
    use super::super::person;
    use super::*;
    use crate::gate::PeopleChange;

    /// The sample of 4.3.7: that of 4.3.1, and faces.
    fn sample() -> Value {
        let mut sample = person::tests::sample();
        sample["faces"] = json!([]);
        sample
    }

    fn read_person(data: &Value) -> Person {
        match person::read("add_person", data).unwrap() {
            PeopleChange::Add(person) => person,
            _ => panic!("no person"),
        }
    }

    const BEIJING: jiff::tz::Offset = jiff::tz::Offset::constant(8);

    #[test]
    fn the_sample_goes_out_as_it_came_in() {
        assert_eq!(fields(&read_person(&sample()), vec![], BEIJING), sample());
    }

    #[test]
    fn what_has_no_limit_is_left_out_and_what_is_not_simple_is_added() {
        let mut data = json!({"personId": "1", "personCode": "1", "name": "张三", "type": 3});
        let sent = fields(&read_person(&data), vec![json!({"faceId": "f", "image": "/9j/"})], BEIJING);
        let keys: Vec<&String> = sent.as_object().unwrap().keys().collect();
        let days = person::DAYS.map(str::to_owned);
        let mut wanted = vec!["faces", "name", "personCode", "personId", "type"];
        wanted.extend(days.iter().map(String::as_str));
        wanted.sort_unstable();
        let mut keys: Vec<&str> = keys.into_iter().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, wanted);
        assert_eq!(sent["faces"][0]["faceId"], "f");
        let day = |mode: u8| json!({"mode": mode});
        let rule = json!({"id": "7", "name": "夜班", "weekly": {"mon": day(0), "tue": day(1),
            "wed": {"mode": 2, "periods": "22:00~06:00"}, "thu": day(1), "fri": day(1), "sat": day(1),
            "sun": day(1)}, "holiday": []});
        data["extPassRule"] = rule.clone();
        data["passMode"] = json!(5);
        let mut person = read_person(&data);
        person.code.clear();
        person.valid_until = Some(Bound::Utc("2029-12-31T16:00:00Z".parse().unwrap()));
        let sent = fields(&person, vec![], BEIJING);
        assert_eq!((&sent["extPassRule"], &sent["passMode"]), (&rule, &json!(5)));
        assert_eq!(sent["personCode"], "1", "it must not be empty");
        assert_eq!(sent["expireTime"], "2030-01-01 00:00:00", "in the gate's zone");
    }

    #[test]
    fn ids_of_an_answer() {
        let listed = ListedPerson {
            row: PersonRow(1),
            person: read_person(&sample()),
            faces: vec![(FaceRow(5), "3000004".into()), (FaceRow(6), "3000005".into())],
        };
        let taken = |data: Value| match read(&data, &listed) {
            Outcome::Taken(key, faces) => (key.id, faces.into_iter().map(|(_, id)| id).collect::<Vec<_>>()),
            _ => panic!("{data} is not taken"),
        };
        let ids = |person: &str, faces: [&str; 2]| (person.to_owned(), faces.map(str::to_owned).to_vec());
        // The answer in 4.3.7.
        let document = json!({"oriPersonId": "100001", "newPersonId": "100002", "faces": [
            {"oriFaceId": "3000004", "newFaceId": "3000004"}, {"oriFaceId": "3000005", "newFaceId": "3000006"}]});
        assert_eq!(taken(document), ids("100002", ["3000004", "3000006"]));
        let same = ids("100001", ["3000004", "3000005"]);
        for sloppy in [
            json!({}),
            json!(null),
            json!({"newPersonId": "", "faces": null}),
            json!({"oripersonid": 100_001, "newPersonId": null, "faces": [{"oriFaceId": "9", "newFaceId": "8"}, {}]}),
        ] {
            assert_eq!(taken(sloppy), same);
        }
        for (data, what) in [
            (json!({"oriPersonId": "2", "newPersonId": "3"}), "oriPersonId: must be 100001, not 2"),
            (json!({"newPersonId": "x".repeat(65)}), "newPersonId: must be at most 64 bytes, not 65"),
            (json!({"newPersonId": ["1"]}), "newPersonId: must be a text"),
            (
                json!({"faces": [{"oriFaceId": "3000004", "newFaceId": {}}]}),
                "faces[0].newFaceId: must be a text",
            ),
        ] {
            let Outcome::Refused(Some(0), why) = read(&data, &listed) else { panic!("{data}") };
            assert_eq!(why, what);
        }
    }
}
