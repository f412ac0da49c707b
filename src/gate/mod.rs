//! The runtime of the gate, and the only place where cameras, models, rules, store and outputs meet.
//! [`Gate`] is what platforms and services hold of it.

mod announce;
mod cards;
mod codes;
mod controller;
pub mod document_camera;
mod documents;
mod driver;
pub mod enrol;
mod frame_rate;
pub mod hardware;
mod health;
mod identify;
mod inputs;
pub mod network;
pub mod outputs;
mod panel;
mod passage;
pub mod passport_reader;
mod presented;
mod record;
mod reenrol;
mod restart;
pub mod safe;
mod serial;
mod sessions;
pub mod settings;
mod sighting;
mod snapshot;
mod speaker;
pub mod system;
pub mod template;
#[cfg(test)]
mod tests;
mod watch;
mod wiegand;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{Mutex, mpsc, watch as latest};
use tokio::task::JoinHandle;

use crate::access::{FaceMatch, Known, Origin, Person, PersonKey, Rules};
use crate::alive::{Heartbeat, Loops, TURN};
use crate::clock::{Moment, SharedClock};
use crate::config;
use crate::device::Devices;
use crate::device::camera::Partner;
use crate::device::input::{Input, Switch};
use crate::device::reader::Readers;
use crate::device::system::System;
use crate::error::{Context, Error, Kind, Result};
use crate::event::Events;
use crate::log::LogLevel;
use crate::store::{Destination, FaceRow, PersonRow, RecordId, Store};
use crate::text::Language;
use crate::vision::Models;
use crate::vision::calibration::Calibration;
use crate::vision::gallery;
use crate::vision::watch::Watcher;
use enrol::Enrolment;
use hardware::{Hardware, Present, Templates};
use outputs::{OpenedBy, Opening, Outputs};
pub use presented::{Presented, QrQuestion};
use sessions::{Command, Sessions};
use settings::Settings;
use sighting::Sighting;
pub use snapshot::Jpeg;
use system::Machine;

/// Row of the store that holds the groups a platform has set, as one JSON object.
const SETTINGS_ROW: &str = "settings";

/// Looks that wait for the sessions; beyond these a look is dropped like a frame.
const WAITING_LOOKS: usize = 8;

/// Orders of platforms that wait for the sessions.
const WAITING_COMMANDS: usize = 64;

/// Who gave an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderedBy {
    /// A platform.
    Platform(Origin),
    /// A technician, by page or console.
    Technician,
    /// The exit button.
    Button,
    /// The access controller on the OSDP line.
    Controller,
    /// The called party of an intercom call.
    Called,
    /// The gate's own timer (QYZN `system_reboot`).
    Timer,
    /// A new version that is installed.
    Update,
}

/// A picture of what the camera sees now, for a page.
#[derive(Debug, Clone)]
pub struct LiveFrame {
    /// Counts up.
    pub number: u64,
    /// The picture as JPEG.
    pub jpeg: Arc<[u8]>,
    /// Width and height in pixels: faces in `face` events are in these coordinates.
    pub size: (u32, u32),
}

/// A change of people, as a platform or a technician orders it.
#[derive(Debug)]
pub enum PeopleChange {
    /// A new person without a picture. `Exists` if the key is taken.
    Add(Person),
    /// Some facts of a person that is there. `NotFound` if not.
    Update(PersonKey, PersonPatch),
    /// A person with all their pictures, in place of what was there under the key.
    Put(Person, Vec<NewPicture>),
    /// A person in place of what was there under the key; the pictures that were there stay.
    PutFacts(Person),
    /// People and all that belongs to them, at once. `NotFound` if one of them is not there; the others go.
    Delete(Vec<PersonKey>),
    /// Everybody of one origin.
    Clear(Origin),
    /// A picture more (or in place of the one with that id), at most three. `NotFound` without the person.
    AddFace(PersonKey, NewPicture),
    /// One picture by its id. `NotFound` if not there.
    DeleteFace(Origin, String),
    /// All pictures of a person. `NotFound` without the person.
    DeleteFaces(PersonKey),
}

/// A picture that enrols somebody.
#[derive(Debug, Clone)]
pub struct NewPicture {
    /// QYZN `faceId`, 1 to 64 bytes.
    pub face_id: String,
    /// JPEG or PNG.
    pub bytes: Vec<u8>,
}

/// Facts to change; `None` leaves a fact as it is, `Some(None)` removes it.
#[derive(Debug, Clone, Default)]
pub struct PersonPatch {
    /// `personCode`.
    pub code: Option<String>,
    /// `name`.
    pub name: Option<String>,
    /// `type`.
    pub kind: Option<crate::access::PersonKind>,
    /// `idNum`.
    pub id_number: Option<Option<String>>,
    /// `icNum`.
    pub card: Option<Option<String>>,
    /// `passNum`.
    pub passes_left: Option<Option<u32>>,
    /// `startTime`.
    pub valid_from: Option<Option<crate::access::Bound>>,
    /// `expireTime`.
    pub valid_until: Option<Option<crate::access::Bound>>,
    /// `passMonday` … `passSunday`, Monday first.
    pub days: [Option<bool>; 7],
    /// `passPeriod`.
    pub periods: Option<Option<crate::access::Periods>>,
    /// `extPassRule`.
    pub extended: Option<Option<crate::access::ExtendedSchedule>>,
    /// `passMode`.
    pub mode: Option<Option<crate::access::PassMode>>,
}

/// What a gate is made of.
pub struct Parts {
    /// The clock.
    pub clock: SharedClock,
    /// The bus.
    pub events: Events,
    /// The store, open.
    pub store: Store,
    /// `[gate]`.
    pub config: config::Gate,
    /// `[vision]`.
    pub vision: config::Vision,
    /// Settings for groups that no platform has set.
    pub settings: Settings,
    /// Language of the texts for visitors.
    pub language: Language,
    /// Who is told about records, besides HTTP push, which the settings switch on and off.
    pub destinations: Vec<Destination>,
    /// The devices.
    pub devices: Devices,
    /// What goes out on lines after a passage where the settings say `custom`.
    pub templates: Templates,
    /// The machine under the gate.
    pub system: Arc<dyn System>,
    /// The level of the log.
    pub log: LogLevel,
    /// The readers of what visitors present.
    pub readers: Readers,
    /// The models, verified.
    pub models: Models,
}

/// Whose a face is: the faces and people of the store.
type Gallery = gallery::Gallery<FaceRow, PersonRow>;

/// What platforms and services hold of the gate. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
    enrolment: Enrolment,
    commands: mpsc::Sender<Command>,
    /// The hands on simulated inputs.
    switches: Arc<[(Input, Switch)]>,
}

/// What the parts of the gate share.
struct Inner {
    clock: SharedClock,
    /// The day on which this program was built: a clock that shows an earlier time was lost.
    built: jiff::Timestamp,
    events: Events,
    store: Store,
    config: config::Gate,
    language: Language,
    destinations: Vec<Destination>,
    settings: ArcSwap<Settings>,
    settings_changed: latest::Sender<()>,
    /// One change of settings at a time.
    changing: Arc<Mutex<()>>,
    live: latest::Sender<Option<LiveFrame>>,
    outputs: Outputs,
    hardware: Hardware,
    settled: Arc<watch::Settled>,
    /// What a likeness of two templates is on the scale of the protocols.
    calibration: Calibration,
    portraits: enrol::Portraits,
    machine: Machine,
    /// Whether there is a line to the platform that may open the door.
    platform_reached: AtomicBool,
    snapshots: snapshot::Snapshots,
    frame_rates: frame_rate::FrameRates,
    reading: presented::Reading,
    /// Whether a visitor is asked for a document now.
    document_asked: AtomicBool,
    documents: documents::Documents,
    questions: presented::Questions,
    codes: codes::Codes,
    readers: Readers,
    /// The loops that a passage needs.
    loops: Loops,
}

impl Inner {
    /// Now, as the rules see it.
    fn moment(&self) -> Moment {
        Moment { utc: self.clock.now(), offset: self.settings.load().time.offset() }
    }

    /// Says that a part of the gate panicked and begins anew.
    fn failed(&self, part: &'static str) {
        report_panic(&self.events, part);
    }

    /// The rules in force: the platform is online if it said so and there is a line to it.
    fn rules(&self) -> Rules {
        let mut rules = self.settings.load().rules.clone();
        rules.remote.online &= self.platform_reached.load(Ordering::Relaxed);
        rules.clock_lost = self.clock.now() < self.built;
        rules
    }

    /// Changes settings: see [`Gate::change_settings_and_clock`].
    async fn change_settings(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Settings) -> Result<()> + Send,
        clock: Option<jiff::civil::DateTime>,
    ) -> Result<()> {
        let one_at_a_time = Arc::clone(&self.changing).lock_owned().await;
        let old = self.settings.load_full();
        let mut new = Settings::clone(&old);
        change(&mut new)?;
        new.check()?;
        self.hardware.present.changed(&old, &new)?;
        let mut stored = stored_groups(&self.store)?;
        let (before, all) = (groups(&old)?, groups(&new)?);
        for (group, value) in all {
            if before.get(&group) != Some(&value) {
                stored.insert(group, value);
            }
        }
        let text = serde_json::Value::Object(stored).to_string();
        let inner = Arc::clone(self);
        // Of its own: devices that have changed and settings that have not would stay apart.
        let changed = tokio::spawn(async move {
            let outcome = inner.put_in_force(&old, new, text, clock).await;
            drop(one_at_a_time);
            outcome
        });
        changed.await.unwrap_or_else(|error| {
            if error.is_panic() {
                self.failed("settings");
            }
            Err(Error::caused(Kind::Stopped, "the change of settings was not finished", error))
        })
    }

    /// Gives settings to the devices, stores them as `text` and puts them in force, or none of it.
    async fn put_in_force(
        &self,
        old: &Settings,
        new: Settings,
        text: String,
        clock: Option<jiff::civil::DateTime>,
    ) -> Result<()> {
        self.hardware.apply(&self.outputs, old, &new).await?;
        let kept = match self.apply_time(old, &new, clock).await {
            Ok(applied) => match self.store.put_setting(SETTINGS_ROW, text).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    self.undo_time(applied).await;
                    Err(error)
                }
            },
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            if let Err(error) = self.hardware.apply(&self.outputs, &new, old).await {
                tracing::error!(%error, "devices could not be put back after settings that were not stored");
            }
            return Err(error);
        }
        self.machine.log_at(new.restart.log_level);
        self.settings.store(Arc::new(new));
        self.settings_changed.send_replace(());
        Ok(())
    }

    /// The person and face that the gallery named, with the names that other platforms have for the same; `None` if
    /// they are gone.
    fn matched(
        &self,
        face: FaceRow,
        person: PersonRow,
        score: f32,
        also: &[(FaceRow, PersonRow)],
    ) -> Result<Option<FaceMatch>> {
        let known = |(face, person)| -> Result<Option<Known>> {
            let (Some(person), Some(face_id)) =
                (self.store.person_by_row(person)?, self.store.face_id(face)?)
            else {
                return Ok(None);
            };
            Ok(Some(Known { person: Arc::new(person), face_id }))
        };
        let Some(Known { person, face_id }) = known((face, person))? else { return Ok(None) };
        let also = also.iter().filter_map(|rows| known(*rows).transpose()).collect::<Result<_>>()?;
        Ok(Some(FaceMatch::Person { person, face_id, score, also }))
    }
}

/// The part of the gate that looks, for the threads of the cameras.
pub struct Eyes {
    gate: Arc<Inner>,
    gallery: Arc<Gallery>,
    models: Models,
    vision: config::Vision,
    sightings: mpsc::Sender<Sighting>,
    stop: Arc<AtomicBool>,
    runs: AtomicU64,
}

impl Gate {
    /// Loads the gallery from the store and starts the tasks of the gate on the current runtime. Nothing is
    /// seen until [`Eyes::watch`] runs for a camera.
    pub fn start(parts: Parts) -> Result<(Self, Eyes, Ending)> {
        let settings = stored_settings(&parts.store, parts.settings, &parts.config)?;
        let gallery = Arc::new(Gallery::new(parts.models.manifest().embedder.dimension)?);
        follow(&parts.store, &gallery);
        load(&parts.store, &parts.models, &gallery)?;
        let mut devices = parts.devices;
        let (wires, wiegand_in) = (std::mem::take(&mut devices.inputs), devices.wiegand_in.take());
        let contact_reader = devices.contact_reader.take();
        let (card_reader, id_reader) = (devices.card_reader.take(), devices.id_reader.take());
        let code_reader = devices.code_reader.take();
        let (hardware, lines, panel_task) =
            Hardware::start(devices, parts.templates, &settings, &parts.events)?;
        tokio::spawn(panel_task.run());
        let (outputs, output_task) = Outputs::new(lines, parts.events.clone());
        hardware.drives(&outputs);
        let loops = Loops::default();
        let output_task = output_task.beating(loops.heartbeat("outputs"));
        let output_task = tokio::spawn(output_task.run(settings.relay));
        let workers = match parts.vision.enrol_workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        };
        let enrolment =
            Enrolment::start(workers, parts.models.clone(), parts.store.clone(), parts.events.clone())?;
        let (documents, presenting) = documents::Documents::new();
        let inner = Arc::new(Inner {
            clock: parts.clock,
            built: crate::clock::built(),
            events: parts.events,
            store: parts.store,
            config: parts.config,
            language: parts.language,
            destinations: parts.destinations,
            settings: ArcSwap::from_pointee(settings),
            settings_changed: latest::channel(()).0,
            changing: Arc::default(),
            live: latest::channel(None).0,
            outputs,
            hardware,
            settled: Arc::default(),
            calibration: Calibration::new(parts.models.manifest().embedder.calibration.points.clone())?,
            portraits: enrolment.portraits(),
            machine: Machine::new(parts.system, parts.log),
            platform_reached: AtomicBool::new(false),
            snapshots: Default::default(),
            frame_rates: Default::default(),
            reading: Default::default(),
            document_asked: AtomicBool::new(false),
            documents,
            questions: Default::default(),
            codes: Default::default(),
            readers: parts.readers,
            loops,
        });
        inner.machine.log_at(inner.settings.load().restart.log_level);
        let settling = Arc::clone(&inner);
        tokio::spawn(async move {
            settling.settle_network().await;
            settling.settle_time().await;
        });
        tokio::spawn(restart::run_timer(Arc::downgrade(&inner)));
        tokio::spawn(ask_store(inner.store.clone(), inner.loops.heartbeat("store")));
        let (sightings, seen) = mpsc::channel(WAITING_LOOKS);
        let (commands, ordered) = mpsc::channel(WAITING_COMMANDS);
        let sessions = tokio::spawn(Sessions::run(Arc::clone(&inner), seen, ordered));
        let stop_inputs = Arc::new(AtomicBool::new(false));
        inputs::start(&inner, &commands, wires.lines, wiegand_in, &stop_inputs)?;
        if let Some(reader) = card_reader {
            cards::start(&inner, &commands, reader, &stop_inputs)?;
        }
        if let Some(reader) = contact_reader {
            cards::start_contact(&inner, &commands, reader, &stop_inputs)?;
        }
        if let Some(reader) = code_reader {
            codes::start(&inner, &commands, reader, &stop_inputs)?;
        }
        documents::start(&inner, &commands, presenting, id_reader, &stop_inputs)?;
        let ending = Ending { sessions, gate: Arc::clone(&inner), output_task, stop_inputs };
        reenrol::start(Arc::clone(&inner), parts.models.clone())?;
        let eyes = Eyes {
            gate: Arc::clone(&inner),
            gallery,
            models: parts.models,
            vision: parts.vision,
            sightings,
            stop: Arc::new(AtomicBool::new(false)),
            runs: AtomicU64::new(1),
        };
        Ok((Self { inner, enrolment, commands, switches: wires.switches.into() }, eyes, ending))
    }

    /// The clock of the agent.
    pub fn clock(&self) -> &SharedClock {
        &self.inner.clock
    }

    /// The loops that a passage needs, for whoever watches over them.
    pub fn loops(&self) -> &Loops {
        &self.inner.loops
    }

    /// What happens at the gate.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Frames a second that a camera delivers; `None` before that was measured.
    pub fn frame_rate(&self, camera: usize) -> Option<f32> {
        self.inner.frame_rates.of(camera, std::time::Instant::now())
    }

    /// The store, for reading and for a platform's own outbox.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.settings.load_full()
    }

    /// Which devices there are.
    pub fn present(&self) -> Present {
        self.inner.hardware.present
    }

    /// Changes whenever settings have been changed, after they are in force.
    pub fn settings_changes(&self) -> latest::Receiver<()> {
        self.inner.settings_changed.subscribe()
    }

    /// Changes settings: `change` edits a copy, which is checked, given to the devices that it concerns, stored
    /// and then put in force. Nothing changes on an error; one of a device that cannot do what it is asked is
    /// `Config` and names the key. A change whose caller goes away is carried to its end.
    pub async fn change_settings(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<()> + Send,
    ) -> Result<()> {
        self.change_settings_and_clock(change, None).await
    }

    /// The same, and sets the clock to `clock`, which is local time in the zone that is set then. `Config` when
    /// the machine refuses; nothing has changed then.
    pub async fn change_settings_and_clock(
        &self,
        change: impl FnOnce(&mut Settings) -> Result<()> + Send,
        clock: Option<jiff::civil::DateTime>,
    ) -> Result<()> {
        self.inner.change_settings(change, clock).await
    }

    /// Sends bytes on the RS485 line (QYZN `serial_output`). Ok when the line has taken them. Orders go out in the
    /// order of these calls; what passages send goes before those that wait. `Busy` when too many wait, `Input` without
    /// a line.
    pub fn send_serial(&self, bytes: Vec<u8>) -> impl Future<Output = Result<()>> + Send + 'static {
        self.inner.outputs.serial(bytes)
    }

    /// Sends data on the Wiegand line in the format in force, with parity (QYZN `weigand_output`): 3 bytes in 26
    /// bits, 4 in 34. `Input` for another length, or without a line. Ordered as [`Gate::send_serial`].
    pub fn send_wiegand(&self, bytes: &[u8]) -> impl Future<Output = Result<()>> + Send + 'static {
        let format = self.inner.settings.load().wiegand.format;
        let expected = format.data_bits() as usize / 8;
        let sent = if bytes.len() == expected {
            let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
            Ok(self.inner.outputs.wiegand(format, value))
        } else {
            Err(Error::new(
                Kind::Input,
                format!(
                    "the Wiegand line is set to {} bits, which carry exactly {expected} bytes, not {}",
                    format.data_bits() + 2,
                    bytes.len()
                ),
            ))
        };
        async move { sent?.await }
    }

    /// What the camera sees; pictures are only made while somebody holds a receiver.
    pub fn live(&self) -> latest::Receiver<Option<LiveFrame>> {
        self.inner.live.subscribe()
    }

    /// Opens the door once. Ok when the relay has been ordered.
    pub async fn open_door(&self, by: OrderedBy) -> Result<()> {
        let opening = Opening::new(OpenedBy::Order(by), &self.inner.settings.load(), None);
        self.inner.outputs.open(opening).await
    }

    /// Brings a simulated input to a state: pressed, or open. `Config` for one that is not there, or is a real one.
    pub fn set_input(&self, input: Input, active: bool) -> Result<()> {
        let hand = self.switches.iter().find(|(one, _)| *one == input).map(|(_, hand)| hand);
        let name = input.as_str();
        let no_hand = || {
            Error::new(
                Kind::Config,
                format!("device.{name} is not simulated: set it to \"sim\" to move it by hand"),
            )
        };
        hand.ok_or_else(no_hand)?.set(active)
    }

    /// The platform's answer to a record (`opendoor`): opens, or ends the wait for it and the pulse; `None` where
    /// it has taken the record and says nothing of the door. An answer that comes after the session's time does
    /// nothing.
    pub async fn answer_record(&self, record: RecordId, open: Option<bool>) -> Result<()> {
        self.command(Command::Answer { record, open }).await
    }

    /// Whether there is a line to the platform that `online_open_door` is about. While there is none it is not
    /// online, whatever it said; visitors who wait for its answer are then let in or not by the gate.
    pub fn platform_reached(&self, reached: bool) {
        self.inner.platform_reached.store(reached, Ordering::Relaxed);
        if !reached {
            // If so much waits that this has no room, the visitors' own time-outs do the same a little later.
            let _ = self.commands.try_send(Command::PlatformLost);
        }
    }

    async fn command(&self, command: Command) -> Result<()> {
        self.commands.send(command).await.map_err(|_| stopping())
    }

    /// Shows a text to the visitor (`screenDisp`).
    pub fn show(&self, text: &str) {
        self.inner.hardware.panel.show(text.to_owned());
    }

    /// Changes people. Pictures are examined on the enrolment threads; Ok when the change is on disk and in
    /// the gallery. A caller may have many changes under way at once: they are examined side by side and
    /// committed in the order in which this function was called (not polled).
    pub fn change_people(&self, change: PeopleChange) -> impl Future<Output = Result<()>> + Send + 'static {
        let change = self.enrolment.change(change);
        let enrolling = self.enrolling();
        async move {
            let outcome = change.await;
            drop(enrolling);
            outcome
        }
    }
}

/// The end of a gate, in its order: the eyes first, then this, then the store.
pub struct Ending {
    sessions: JoinHandle<()>,
    gate: Arc<Inner>,
    output_task: JoinHandle<()>,
    stop_inputs: Arc<AtomicBool>,
}

impl Ending {
    /// Waits until every verdict is carried out and recorded, and the relay is at rest. The [`Eyes`] must be gone.
    pub async fn wait(self) {
        // Nobody opens any more.
        self.stop_inputs.store(true, Ordering::Relaxed);
        // A task that panicked has said so itself.
        let _ = self.sessions.await;
        self.gate.outputs.stop().await;
        let _ = self.output_task.await;
        self.gate.hardware.stop().await;
    }
}

impl Eyes {
    /// Tells every camera's threads to end.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether they were told to.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The heartbeat of a camera's thread.
    fn heartbeat(&self, index: usize) -> Heartbeat {
        self.gate.loops.heartbeat(format!("camera {index}"))
    }

    /// Watches with one camera on this thread until told to stop. May be called again after a failure.
    pub fn watch(&self, index: usize, camera: &config::Camera) -> Result<()> {
        self.watch_beside(index, camera, None, || {})
    }

    /// The same with the frames of the infrared camera beside it, which [`Eyes::watch_infrared`] leaves in `partner`.
    /// Calls `loaded` when the models are; the camera's threads have their heartbeats from then on, for a slow board
    /// takes longer over its models than a loop may be late.
    pub fn watch_beside(
        &self,
        index: usize,
        camera: &config::Camera,
        partner: Option<&Partner>,
        loaded: impl FnOnce(),
    ) -> Result<()> {
        let watcher = Watcher::new(&self.models, self.vision.threads)
            .context(|| format!("camera {index} ({}) cannot be watched", camera.source))?;
        loaded();
        let looking = self.heartbeat(index);
        let beating = looking.clone();
        let watcher = watcher.stepping(move || beating.beat());
        let eyes = watch::Eyes {
            gate: Arc::clone(&self.gate),
            gallery: Arc::clone(&self.gallery),
            calibration: Calibration::new(self.models.manifest().embedder.calibration.points.clone())?,
            ambiguity_margin: self.vision.ambiguity_margin,
            smallest_face: self.vision.smallest_face,
            run: self.runs.fetch_add(1, Ordering::Relaxed),
            settled: Arc::clone(&self.gate.settled),
            sightings: self.sightings.clone(),
            stop: Arc::clone(&self.stop),
            looking,
            capturing: self.gate.loops.heartbeat(format!("capture {index}")),
        };
        watch::watch(&eyes, index, camera, partner, watcher)
    }

    /// Keeps the frames of an infrared camera on this thread until told to stop. May be called again after a panic.
    pub fn watch_infrared(&self, index: usize, camera: &config::Camera, partner: &Partner) {
        let heartbeat = self.heartbeat(index);
        watch::watch_infrared(&self.gate, &self.stop, index, camera, partner, &heartbeat);
    }
}

/// Asks the store for an answer again and again: no record, no passage.
async fn ask_store(store: Store, heartbeat: Heartbeat) {
    loop {
        match store.answers().await {
            Err(error) if error.kind() == Kind::Stopped => return,
            Ok(()) | Err(_) => heartbeat.beat(),
        }
        tokio::time::sleep(TURN).await;
    }
}

fn stopping() -> Error {
    Error::new(Kind::Stopped, "the gate is shutting down")
}

/// Says that a part of the gate panicked and begins anew. What it said itself is on standard error.
fn report_panic(events: &Events, part: &'static str) {
    tracing::error!(part, "a part of the gate panicked and begins anew: please report the message above");
    events.send("task", serde_json::json!({ "task": part, "state": "failed", "error": "panic" }));
}

/// Fills the gallery with the templates that the models in use have made.
fn load(store: &Store, models: &Models, gallery: &Gallery) -> Result<()> {
    // What cannot be used is left out and said: the others must not wait for it.
    let mut unusable = 0_u64;
    store.each_template(&models.embedder_id(), &mut |face, person, template| {
        unusable += u64::from(gallery.insert(face, person, template).is_err());
    })?;
    if unusable > 0 {
        tracing::error!(unusable, "templates in the store have a wrong length: run `menshen check --repair`");
    }
    Ok(())
}

/// Makes the gallery follow every change of the store.
fn follow(store: &Store, gallery: &Arc<Gallery>) {
    let gallery = Arc::clone(gallery);
    store.observe_people(move |change| {
        for face in &change.forget {
            gallery.remove(*face);
        }
        for learned in &change.learn {
            if let Err(error) = gallery.insert(learned.face, learned.person, &learned.template) {
                tracing::error!(face = learned.face.0, %error, "a stored face cannot be searched for");
            }
        }
    });
}

/// The groups of the settings, by name.
fn groups(settings: &Settings) -> Result<serde_json::Map<String, serde_json::Value>> {
    match serde_json::to_value(settings) {
        Ok(serde_json::Value::Object(groups)) => Ok(groups),
        Ok(_) => Err(Error::new(Kind::Config, "the settings are no object")),
        Err(error) => Err(Error::caused(Kind::Config, "the settings cannot be written", error)),
    }
}

/// The groups that a platform has set.
fn stored_groups(store: &Store) -> Result<serde_json::Map<String, serde_json::Value>> {
    match store.setting(SETTINGS_ROW)? {
        Some(text) => parsed_groups(&text),
        None => Ok(serde_json::Map::new()),
    }
}

fn parsed_groups(text: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(text)
        .map_err(|error| Error::caused(Kind::Store, "the settings in the store are damaged", error))
}

/// Removes from a stored group what this version has no key for; whether there was any.
fn keep_known(stored: &mut serde_json::Value, known: &serde_json::Value) -> bool {
    let (Some(stored), Some(known)) = (stored.as_object_mut(), known.as_object()) else { return false };
    let before = stored.len();
    stored.retain(|key, _| known.contains_key(key));
    let mut removed = stored.len() < before;
    for (key, value) in stored {
        removed |= known.get(key).is_some_and(|known| keep_known(value, known));
    }
    removed
}

/// The configured settings with what a platform has set laid over them.
fn stored_settings(store: &Store, configured: Settings, config: &config::Gate) -> Result<Settings> {
    let stored = stored_groups(store).unwrap_or_else(|error| {
        tracing::error!(%error, "the gate uses the settings of its configuration");
        serde_json::Map::new()
    });
    lay_over(stored, configured, config)
}

/// The configured settings with these groups laid over them.
fn lay_over(
    stored: serde_json::Map<String, serde_json::Value>,
    configured: Settings,
    config: &config::Gate,
) -> Result<Settings> {
    let mut settings = configured;
    for (group, value) in stored {
        // One group that another version wrote must not cost the others, nor one key of it the group.
        let mut all = groups(&settings)?;
        let known = all.insert(group.clone(), value.clone());
        let whole = serde_json::from_value::<Settings>(serde_json::Value::Object(all.clone()));
        let laid_over = whole
            .or_else(|error| {
                let mut value = value;
                let Some(known) = known.filter(|known| keep_known(&mut value, known)) else {
                    return Err(error);
                };
                drop(known);
                tracing::warn!(group, "stored settings have keys of a newer version: they are left out");
                all.insert(group.clone(), value);
                serde_json::from_value::<Settings>(serde_json::Value::Object(all))
            })
            .map(|mut laid_over| {
                if std::mem::take(&mut laid_over.face.safety_helmet) {
                    tracing::warn!(
                        "stored settings ask for a safety helmet, which nothing looks for: left out"
                    );
                }
                laid_over
            });
        match laid_over {
            Ok(laid_over) if laid_over.check().is_ok() => settings = laid_over,
            _ => tracing::error!(group, "stored settings cannot be used: those of the configuration are"),
        }
    }
    settings.rules.min_interval = std::time::Duration::from_secs(config.min_interval_s);
    Ok(settings)
}
