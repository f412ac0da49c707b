//! The composition root: reads the configuration, builds the parts, runs and stops them.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::process::CommandExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::watch;

use crate::alive::feeder::Feeder;
use crate::alive::manager::Manager;
use crate::clock::{AdjustedClock, OffsetClock, SharedClock, SystemClock};
use crate::config::{self, CameraRole, Config};
use crate::device::camera::Partner;
use crate::error::{Context, Error, Kind, Result};
use crate::event::Events;
use crate::gate::document_camera::DocumentCamera;
use crate::gate::hardware::Templates;
use crate::gate::passport_reader::{self, PassportReader};
use crate::gate::{Eyes, Gate, Parts};
use crate::intercom::Intercom;
use crate::log::LogLevel;
use crate::platform::qyzn::requests::Requests;
use crate::store::{self, Destination, Store};
use crate::update::Updates;
use crate::vision::Models;
use crate::{device, platform, service};

/// First and longest pause before a part that failed is started again.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A part that ran this long was healthy: its next failure counts as the first.
const HEALTHY: Duration = Duration::from_secs(300);

/// How long the gate waits for the models of its cameras before it says that it is ready all the same.
const LOADED_WITHIN: Duration = Duration::from_secs(60);

/// How soon a thread that pauses notices that it is to stop.
const STOP_NOTICED: Duration = Duration::from_millis(100);

/// How long the parts may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why the agent has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It was told to stop.
    Stopped,
    /// It is to begin anew: the restart of a simulated machine.
    Anew,
}

/// Runs the agent until SIGTERM or SIGINT. `log` is the level of the log that was started.
///
/// When a simulated machine restarts, this function does not return: the process stops in order and begins anew
/// in place, with the same program, arguments and process id.
pub fn run(config: Config, log: LogLevel) -> Result<()> {
    // Asked now: after an upgrade the path would name a file that is gone.
    let program = std::env::current_exe().context(|| "the path of this program is unknown")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("menshen")
        .enable_all()
        .build()
        .context(|| "the runtime cannot be started")?;
    let ended = runtime.block_on(run_parts(config, log));
    runtime.shutdown_timeout(STOP_WITHIN);
    match ended? {
        Ended::Stopped => Ok(()),
        Ended::Anew => {
            tracing::info!("beginning anew");
            let arguments = std::env::args_os().skip(1);
            // Only returns when it fails.
            let error = std::process::Command::new(&program).args(arguments).exec();
            Err(error).context(|| format!("the agent stopped and cannot begin anew as {}", program.display()))
        }
    }
}

async fn run_parts(config: Config, log: LogLevel) -> Result<Ended> {
    let started = Instant::now();
    // Taken first, so that a signal during a long start is not lost.
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context(|| "the signal SIGTERM cannot be listened to")?;
    let adjusted = AdjustedClock::new(clock(&config.terminal.clock));
    let clock: SharedClock = adjusted.clone();
    if let Some(lost) = crate::clock::lost(clock.now()) {
        tracing::error!("{lost}");
    }
    let events = Events::new(Arc::clone(&clock));
    let models = Models::open(&config.vision.models_dir, &config.vision.onnxruntime)?;
    let options = store::Options { data_dir: config.terminal.data_dir.clone(), config: config.store.clone() };
    if let Some(erased) = store::erase::finish(&options)? {
        tracing::warn!(?erased, "the gate has been reset: people, records, settings and keys are gone");
    }
    let store = Store::open(&options, Arc::clone(&clock))?;
    let mut devices = device::Devices::open(&config.device)?;
    let id_reader = config.device.id_reader.as_str();
    if id_reader == "camera" {
        devices.id_reader = Some(document_camera(&config, &models, &clock)?);
    } else if device::pcsc::part(id_reader).is_some() {
        let (page, field) = (document_camera(&config, &models, &clock)?, passport_reader::field(id_reader)?);
        // A folder that is not there costs this reader, not the gate.
        let documents = config.documents.clone();
        let authorities = Box::new(move || device::chip::Trust::open(&documents));
        let reader = PassportReader::new(page, Box::new(field), authorities, Arc::clone(&clock));
        devices.id_reader = Some(Box::new(reader));
    }
    let (gate, eyes, ending) = Gate::start(Parts {
        clock,
        events: events.clone(),
        store: store.clone(),
        config: config.gate.clone(),
        vision: config.vision.clone(),
        settings: config.settings.clone(),
        language: config.terminal.language,
        destinations: config.platform.qyzn.iter().map(|_| Destination::Qyzn).collect(),
        devices: device::Devices { osdp: device::osdp::open(&config)?, ..devices },
        templates: Templates::new(&config.device),
        system: device::system::open(&config.device.system, adjusted, &config.terminal.data_dir)?,
        log,
        readers: device::reader::Readers::open(&config.device)?,
        models,
    })?;

    let (stop, stopped) = watch::channel(false);
    let eyes = Arc::new(eyes);
    let stop_eyes = eyes.stopper();
    let (watching, loading) = watch_cameras(&config, &eyes, &events)?;
    let mut parts = Vec::new();
    let requests = Requests::default();
    let updates = Updates::new(&config.update, &config.terminal.data_dir, &events);
    if let Some(qyzn) = &config.platform.qyzn {
        let (gate, terminal, qyzn, requests, stopped) =
            (gate.clone(), config.terminal.clone(), qyzn.clone(), requests.clone(), stopped.clone());
        let updates = updates.clone();
        parts.push(supervise("platform.qyzn", events.clone(), stopped.clone(), move || {
            let (gate, terminal, qyzn, requests, updates, stopped) = (
                gate.clone(),
                terminal.clone(),
                qyzn.clone(),
                requests.clone(),
                updates.clone(),
                stopped.clone(),
            );
            async move { platform::qyzn::run(gate, terminal, qyzn, requests, updates, stopped).await }
        }));
    }
    let intercom = intercom(&config, &gate, &requests)?;
    if let Some(intercom) = &intercom {
        let (intercom, stopped) = (intercom.clone(), stopped.clone());
        parts.push(supervise("intercom", events.clone(), stopped.clone(), move || {
            let (intercom, stopped) = (intercom.clone(), stopped.clone());
            async move { intercom.run(stopped).await }
        }));
    }
    if let Some(terminal_ws) = &config.platform.terminal_ws {
        let (gate, terminal, terminal_ws, stopped) =
            (gate.clone(), config.terminal.clone(), terminal_ws.clone(), stopped.clone());
        parts.push(supervise("platform.terminal_ws", events.clone(), stopped.clone(), move || {
            platform::terminal_ws::run(gate.clone(), terminal.clone(), terminal_ws.clone(), stopped.clone())
        }));
    }
    parts.push(push(&gate, &config, &events, &stopped));
    let (updating, update_gate, until) = (updates.clone(), gate.clone(), stopped.clone());
    parts.push(supervise("update", events.clone(), stopped.clone(), move || {
        let (updates, gate, until) = (updating.clone(), update_gate.clone(), until.clone());
        async move { updates.run(gate, until).await }
    }));
    if let Some(admin) = &config.service.admin {
        let server = service::admin::Server::bind(gate.clone(), &config, admin.clone()).await?;
        let server = server.with_intercom(intercom.clone()).with_updates(updates.clone());
        let (server, stopped) = (Arc::new(server), stopped.clone());
        parts.push(supervise("service.admin", events.clone(), stopped.clone(), move || {
            let (server, stopped) = (Arc::clone(&server), stopped.clone());
            async move { server.run(stopped).await }
        }));
    }
    if let Some(service) = &config.service.document_reader {
        parts.push(document_reader(&gate, &config, service, &events, &stopped));
    }

    let manager = manager();
    let feeder = feed(&config, &gate, &events)?;
    let ready = async {
        loaded(loading, LOADED_WITHIN, &events).await;
        let ready_ms = crate::clock::millis_between(started, Instant::now());
        tracing::info!(ready_ms, serial = config.terminal.serial, "ready");
        events.send("task", json!({ "task": "agent", "state": "ready", "ready_ms": ready_ms }));
        tell(manager.as_ref(), "READY=1\nSTATUS=ready");
        std::future::pending().await
    };
    let ended = tokio::select! {
        ended = ready => ended,
        _ = terminate.recv() => Ended::Stopped,
        result = tokio::signal::ctrl_c() => {
            result.context(|| "the signal SIGINT cannot be listened to")?;
            Ended::Stopped
        }
        () = gate.anew() => Ended::Anew,
    };
    tracing::info!("stopping");
    // A service that begins anew in place goes on being one.
    tell(manager.as_ref(), if ended == Ended::Stopped { "STOPPING=1" } else { "STATUS=beginning anew" });
    stop.send_replace(true);
    stop_eyes.store(true, Ordering::Relaxed);
    for part in parts {
        if tokio::time::timeout(STOP_WITHIN, part).await.is_err() {
            tracing::warn!("a part did not stop in time and is left behind");
        }
    }
    let joined =
        tokio::task::spawn_blocking(move || watching.into_iter().for_each(|thread| drop(thread.join())));
    if tokio::time::timeout(STOP_WITHIN, joined).await.is_err() {
        tracing::warn!("a camera did not stop in time and is left behind");
    }
    // The sessions end when the last of these is gone; until now, so that a gate without a camera takes cards.
    drop(eyes);
    // What has been decided is still carried out and recorded, and the door shut.
    if tokio::time::timeout(STOP_WITHIN, ending.wait()).await.is_err() {
        tracing::warn!("the gate did not come to rest in time");
    }
    drop((gate, intercom));
    // Writes that wait are finished; nothing new is taken.
    tokio::task::spawn_blocking(move || store.close())
        .await
        .map_err(|error| Error::caused(Kind::Store, "the store could not be closed", error))?;
    // Until here an end that hangs is one more reason to restart the machine.
    feeder.stop();
    Ok(ended)
}

/// Waits until no camera loads its models any more: each has them, or its failure has been told. One that takes longer
/// than `within` is told of, and waited for no longer.
async fn loaded(mut loading: Loading, within: Duration, events: &Events) {
    // An error means that every camera's thread has ended.
    if tokio::time::timeout(within, loading.wait_for(BTreeSet::is_empty)).await.is_ok() {
        return;
    }
    for camera in loading.borrow().iter() {
        let error = format!("its models are not loaded after {} s: it sees nobody yet", within.as_secs());
        tracing::error!(camera, "{error}");
        let task = format!("camera {camera}");
        events.send("task", json!({ "task": task, "state": "failed", "error": error }));
    }
}

/// Starts to feed the watchdogs, while the loops of the gate turn.
fn feed(config: &Config, gate: &Gate, events: &Events) -> Result<Feeder> {
    let within = Duration::from_secs(config.device.watchdog_within_s);
    let watchdog = device::watchdog::open(&config.device.watchdog, events)?;
    Feeder::start(gate.loops().clone(), within, watchdog, manager(), events.clone())
}

/// The service manager; without one that can be told the gate runs all the same.
fn manager() -> Option<Manager> {
    Manager::of_environment().unwrap_or_else(|error| {
        tracing::warn!(%error, "the service manager is not told how the gate is");
        None
    })
}

fn tell(manager: Option<&Manager>, what: &str) {
    if let Some(manager) = manager {
        manager.tell(what);
    }
}

/// HTTP push, which waits for the settings to switch it on.
fn push(
    gate: &Gate,
    config: &Config,
    events: &Events,
    stopped: &watch::Receiver<bool>,
) -> tokio::task::JoinHandle<()> {
    use platform::http_push;
    let (gate, terminal, push, until) =
        (gate.clone(), config.terminal.clone(), config.platform.http_push.clone(), stopped.clone());
    supervise("platform.http_push", events.clone(), stopped.clone(), move || {
        http_push::run(
            gate.clone(),
            terminal.clone(),
            push.clone(),
            http_push::Options::default(),
            until.clone(),
        )
    })
}

/// The document reader service. One that cannot be had, because another program has its port, does not keep the gate from
/// starting.
fn document_reader(
    gate: &Gate,
    config: &Config,
    service: &config::DocumentReader,
    events: &Events,
    stopped: &watch::Receiver<bool>,
) -> tokio::task::JoinHandle<()> {
    let (gate, config, service, until) = (gate.clone(), config.clone(), service.clone(), stopped.clone());
    supervise("service.document_reader", events.clone(), stopped.clone(), move || {
        let (gate, config, service, until) = (gate.clone(), config.clone(), service.clone(), until.clone());
        async move { service::document_reader::Server::bind(gate, &config, &service).await?.run(until).await }
    })
}

/// The intercom, where there are a platform to ask and somebody to carry the call.
fn intercom(config: &Config, gate: &Gate, requests: &Requests) -> Result<Option<Intercom>> {
    let Some(qyzn) = &config.platform.qyzn else {
        if config.intercom.media != "none" {
            tracing::warn!("intercom.media has no effect without [platform.qyzn]");
        }
        return Ok(None);
    };
    let dial = Duration::from_secs(qyzn.request_timeout_s.max(1));
    Intercom::new(gate.clone(), requests.clone(), &config.intercom, dial, config.terminal.language)
}

/// The clock that `terminal.clock` names.
fn clock(name: &str) -> SharedClock {
    match name.strip_prefix("offset:") {
        Some(file) => Arc::new(OffsetClock::new(file)),
        None => Arc::new(SystemClock),
    }
}

/// The infrared camera that stands beside each visible one: the first beside the first, the second beside the
/// second. As places in the configuration.
fn pairs(cameras: &[config::Camera]) -> Vec<(usize, usize)> {
    let of = |role| {
        let places = cameras.iter().enumerate();
        places.filter(move |(_, camera)| camera.role == role).map(|(index, _)| index)
    };
    of(CameraRole::Visible).zip(of(CameraRole::Infrared)).collect()
}

/// The first document camera as the reader of documents, for `device.id_reader = "camera"` or `"pcsc:READER"`.
fn document_camera(
    config: &Config,
    models: &Models,
    clock: &SharedClock,
) -> Result<Box<dyn device::id_reader::IdReader>> {
    let mut cameras = config.camera.iter().enumerate();
    let (index, camera) =
        cameras.find(|(_, camera)| camera.role == CameraRole::Document).ok_or_else(|| {
            Error::new(
                Kind::Config,
                "device.id_reader = \"camera\" and \"pcsc:READER\" need a [[camera]] with role = \"document\"",
            )
        })?;
    Ok(Box::new(DocumentCamera::new(
        index,
        camera.clone(),
        models.clone(),
        config.vision.threads,
        Arc::clone(clock),
    )))
}

/// Whether the reader of documents that is configured looks through the document camera.
fn reads_pages(id_reader: &str) -> bool {
    id_reader == "camera" || device::pcsc::part(id_reader).is_some()
}

/// The cameras, as places in the configuration, that still load their models for the first time.
type Loading = watch::Receiver<BTreeSet<usize>>;

/// One thread for each camera that watches visitors, started again when it fails.
fn watch_cameras(
    config: &Config,
    eyes: &Arc<Eyes>,
    events: &Events,
) -> Result<(Vec<std::thread::JoinHandle<()>>, Loading)> {
    let mut threads = Vec::new();
    let (loads, loading) = watch::channel(BTreeSet::new());
    let loads = Arc::new(loads);
    let mut partners = HashMap::new();
    for (visible, infrared) in pairs(&config.camera) {
        let partner = Arc::new(Partner::new());
        partners.insert(visible, Arc::clone(&partner));
        partners.insert(infrared, partner);
    }
    for (index, camera) in config.camera.iter().enumerate() {
        let partner = partners.remove(&index);
        match (camera.role, &partner) {
            (CameraRole::Visible, _) | (CameraRole::Infrared, Some(_)) => {}
            (CameraRole::Infrared, None) => {
                tracing::warn!(
                    camera = index,
                    "there is no visible camera for this infrared one: it is not used"
                );
                continue;
            }
            (CameraRole::Document, _) => {
                // It is the reader of documents, which has a thread of its own.
                if !reads_pages(&config.device.id_reader) {
                    tracing::warn!(
                        camera = index,
                        "the document camera is not used: set device.id_reader to \"camera\" or \"pcsc:READER\""
                    );
                }
                continue;
            }
        }
        let (eyes, events, camera) = (Arc::clone(eyes), events.clone(), camera.clone());
        let loads = Arc::clone(&loads);
        loads.send_modify(|loading| {
            loading.insert(index);
        });
        let thread = std::thread::Builder::new()
            .name(format!("watch-{index}"))
            .spawn(move || {
                let loaded = || {
                    loads.send_if_modified(|loading| loading.remove(&index));
                };
                let mut pause = RESTART.0;
                while !eyes.stopped() {
                    let began = Instant::now();
                    // The watcher is made anew each time: what a panic left behind is dropped with it.
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        match (camera.role, &partner) {
                            (CameraRole::Infrared, Some(partner)) => {
                                // There is no model that reads infrared.
                                loaded();
                                eyes.watch_infrared(index, &camera, partner);
                                Ok(())
                            }
                            _ => eyes.watch_beside(index, &camera, partner.as_deref(), loaded),
                        }
                    }));
                    let failure = match outcome {
                        Ok(Ok(())) if eyes.stopped() => return,
                        Ok(Ok(())) => "the camera's thread ended".to_owned(),
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => "the camera's thread panicked".to_owned(),
                    };
                    pause = next_pause(pause, began);
                    report(&events, &format!("camera {index}"), &failure, pause);
                    loaded();
                    let until = Instant::now() + pause;
                    while !eyes.stopped() && Instant::now() < until {
                        std::thread::sleep(STOP_NOTICED);
                    }
                }
            })
            .context(|| "a camera's thread cannot be started")?;
        threads.push(thread);
    }
    Ok((threads, loading))
}

/// Runs a part until it ends well, starting it again after a failure or a panic.
fn supervise<F>(
    name: &'static str,
    events: Events,
    mut stopped: watch::Receiver<bool>,
    mut start: impl FnMut() -> F + Send + 'static,
) -> tokio::task::JoinHandle<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    tokio::spawn(async move {
        let mut pause = RESTART.0;
        loop {
            let began = Instant::now();
            let failure = match tokio::spawn(start()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            if *stopped.borrow() {
                return;
            }
            pause = next_pause(pause, began);
            report(&events, name, &failure, pause);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    })
}

fn next_pause(pause: Duration, began: Instant) -> Duration {
    if began.elapsed() >= HEALTHY { RESTART.0 } else { (pause * 2).min(RESTART.1) }
}

fn report(events: &Events, part: &str, failure: &str, pause: Duration) {
    tracing::error!(part, error = failure, again_s = pause.as_secs(), "a part of the agent failed");
    events.send(
        "task",
        json!({ "task": part, "state": "failed", "error": failure, "again_s": pause.as_secs() }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn each_infrared_camera_stands_beside_one_visible_camera() {
        use CameraRole::{Document, Infrared, Visible};
        let pairs = |roles: &[CameraRole]| {
            let cameras: Vec<_> =
                roles.iter().map(|role| config::Camera::new(*role, "v4l2:/dev/video0")).collect();
            super::pairs(&cameras)
        };
        assert_eq!(pairs(&[Visible, Infrared]), [(0, 1)]);
        assert_eq!(pairs(&[Infrared, Document, Visible, Visible, Infrared]), [(2, 0), (3, 4)]);
        assert_eq!(pairs(&[Visible, Visible, Infrared, Infrared, Infrared]), [(0, 2), (1, 3)]);
        assert_eq!(pairs(&[Infrared, Document]), []);
    }

    #[test]
    fn a_document_camera_is_used_alone_and_beside_a_reader_of_chips() {
        let used = ["camera", "pcsc", "pcsc:ACR1252"];
        let unused = ["none", "sim", "sdt:/dev/ttyS2", "document_reader:ws://127.0.0.1:90/echo"];
        assert!(used.into_iter().all(reads_pages));
        assert!(!unused.into_iter().any(reads_pages));
    }

    #[tokio::test(start_paused = true)]
    async fn the_models_of_the_cameras_are_waited_for_but_not_for_ever() {
        let events = Events::new(Arc::new(SystemClock));
        let (loads, loading) = watch::channel(BTreeSet::from([0, 1]));
        let (began, second) = (tokio::time::Instant::now(), Duration::from_secs(1));
        let load = async {
            for camera in [1, 0] {
                tokio::time::sleep(second).await;
                loads.send_modify(|loading| assert!(loading.remove(&camera)));
            }
        };
        tokio::join!(loaded(loading.clone(), 60 * second, &events), load);
        assert_eq!(began.elapsed(), 2 * second);
        assert_eq!(events.standing().len(), 0);
        // One that does not come.
        loads.send_modify(|loading| assert!(loading.insert(1)));
        loaded(loading, 60 * second, &events).await;
        assert_eq!(began.elapsed(), 62 * second);
        let told = &events.standing()[0].fields;
        assert_eq!((&told["task"], &told["state"]), (&json!("camera 1"), &json!("failed")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_panics_is_started_again_and_seen() {
        let events = Events::new(Arc::new(SystemClock));
        let (_, mut heard) = events.subscribe(0);
        let (_stop, stopped) = watch::channel(false);
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        supervise("part", events, stopped, move || {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => panic!("the first run fails"),
                    1 => Err(Error::new(Kind::Network, "the second does too")),
                    _ => Ok(()),
                }
            }
        })
        .await
        .unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        let first = heard.recv().await.unwrap();
        assert_eq!(
            (first.kind, &first.fields["state"], &first.fields["again_s"]),
            ("task", &json!("failed"), &json!(2))
        );
        let second = heard.recv().await.unwrap();
        assert_eq!(
            (&second.fields["error"], &second.fields["again_s"]),
            (&json!("the second does too"), &json!(4))
        );
    }
}
