//! The page and the API of the technician: what the gate sees and decides, its people and records, and a button
//! that opens the door. Everything is HTTP on one address, which is loopback unless the configuration says
//! otherwise; `docs/enrol.md` and the table in [`Server::run`] say what there is.
//!
//! A page of another site must not be able to use it through the technician's browser, and a stuck client must
//! not be able to hold it up: [`guard`] and [`connection`] are about nothing else.

mod answer;
mod call;
pub mod client;
mod connection;
mod enrol;
mod events;
mod form;
mod guard;
mod incidents;
mod live;
mod network;
mod page;
mod people;
mod present;
mod records;
mod status;
mod update;
mod upkeep;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

pub use enrol::NewPerson;
pub use form::{mask, person as person_form, record as record_form};
pub use incidents::InputOrder;
pub use people::matches as person_matches;
pub use present::Presentation;
pub use upkeep::RESET_WORD;

use crate::config::{Admin, Config};
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::intercom::Intercom;
use crate::store::Options;
use crate::update::Updates;
use answer::Failure;
use guard::Guard;
use status::About;

/// Listeners of events at the same time.
const LISTENERS: usize = 16;

/// Viewers of the live picture at the same time.
const VIEWERS: usize = 8;

/// Requests that read the store at the same time.
const READERS: usize = 4;

/// Enrolments whose pictures are held in memory at the same time.
const ENROLLERS: usize = 2;

/// The server, bound to its address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    parts: Arc<Parts>,
}

/// What the requests share.
struct Parts {
    gate: Gate,
    /// Set once, before anything is served; without it the gate has none.
    intercom: OnceLock<Intercom>,
    /// The same.
    updates: OnceLock<Updates>,
    about: About,
    config: Arc<Config>,
    options: Arc<Options>,
    guard: Guard,
    /// Names this run of the agent: event ids count from 1 in each.
    run: String,
    started: Instant,
    listeners: Arc<Semaphore>,
    viewers: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    enrollers: Arc<Semaphore>,
}

/// The state of a request.
#[derive(Clone)]
struct Shared {
    parts: Arc<Parts>,
    /// True when the agent stops: streams end then.
    stopped: watch::Receiver<bool>,
}

impl std::ops::Deref for Shared {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Shared {
    /// Runs `read` on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&crate::store::Store) -> Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| Failure::stopped())?;
        let store = self.gate.store().clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&store)
        });
        read.await.map_err(|_| Failure::stopped())?.map_err(Failure::from)
    }
}

impl Server {
    /// Takes the address and reads the token. `Config` if the token is missing, too short or readable by
    /// everybody; `Network` if the address cannot be taken.
    pub async fn bind(gate: Gate, config: &Config, admin: Admin) -> Result<Self> {
        let guard = Guard::new(&admin)?;
        let listener = TcpListener::bind(admin.listen).await.map_err(|error| {
            let advice = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program listens there: stop it, or change service.admin.listen"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need the right to bind them: choose another in service.admin.listen"
                }
                std::io::ErrorKind::AddrNotAvailable => {
                    "this machine has no such address: correct service.admin.listen"
                }
                _ => "see service.admin.listen",
            };
            Error::caused(
                Kind::Network,
                format!("the admin page cannot listen on {} ({advice})", admin.listen),
                error,
            )
        })?;
        let address = listener.local_addr()?;
        let mut run = [0_u8; 8];
        getrandom::fill(&mut run)
            .map_err(|error| Error::new(Kind::Io, format!("the system gives no random numbers: {error}")))?;
        let parts = Arc::new(Parts {
            gate,
            intercom: OnceLock::new(),
            updates: OnceLock::new(),
            about: About::new(config),
            config: Arc::new(config.clone()),
            options: Arc::new(Options {
                data_dir: config.terminal.data_dir.clone(),
                config: config.store.clone(),
            }),
            guard,
            run: run.iter().map(|byte| format!("{byte:02x}")).collect(),
            started: Instant::now(),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
            viewers: Arc::new(Semaphore::new(VIEWERS)),
            readers: Arc::new(Semaphore::new(READERS)),
            enrollers: Arc::new(Semaphore::new(ENROLLERS)),
        });
        tracing::info!(listen = %address, "the admin page listens");
        Ok(Self { listener, address, parts })
    }

    /// The same with the gate's intercom, if it has one.
    pub fn with_intercom(self, intercom: Option<Intercom>) -> Self {
        if let Some(intercom) = intercom {
            // The first one stays: there is one intercom.
            let _ = self.parts.intercom.set(intercom);
        }
        self
    }

    /// The same with the gate's upgrades.
    pub fn with_updates(self, updates: Updates) -> Self {
        let _ = self.parts.updates.set(updates);
        self
    }

    /// Where it listens; the port is the real one when the configuration said 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stopped` is true. May be called again after a failure.
    ///
    /// | route | what it does |
    /// |---|---|
    /// | `GET /`, `/page.css`, `/page.js`, `/texts.json` | the live page and its texts |
    /// | `GET /api/v1/status` | the gate in one object |
    /// | `GET /api/v1/events` | server-sent events; `Last-Event-ID` or `?after=` resumes, `?run=` names the run |
    /// | `GET /api/v1/live.mjpg` | the live picture, `multipart/x-mixed-replace`, at most 10 a second |
    /// | `GET /api/v1/people` | `?after=` row, `?limit=` 1 to 500, `?search=` |
    /// | `POST /api/v1/people` | enrols a person of the gate's own ([`NewPerson`]) |
    /// | `GET`, `DELETE /api/v1/people/{origin}/{id}` | one person |
    /// | `GET /api/v1/records` | `?before=` record, `?limit=` 1 to 500 |
    /// | `GET /api/v1/records/{id}` | one record |
    /// | `GET /api/v1/records/{id}/picture` | its picture, `?kind=snap` or `document` |
    /// | `POST /api/v1/door/open` | opens the door once |
    /// | `POST /api/v1/present` | presents a credential to a simulated reader ([`Presentation`]) |
    /// | `POST /api/v1/input` | moves a simulated input ([`InputOrder`]) |
    /// | `GET /api/v1/incidents` | `?before=` incident, `?limit=` 1 to 500 |
    /// | `GET /api/v1/call` | the call that is on, or the last one |
    /// | `POST /api/v1/call` | calls a room: `{"room": "304"}` |
    /// | `DELETE /api/v1/call` | hangs up |
    /// | `GET /api/v1/network` | the network cards, what was kept for them, a change on trial |
    /// | `POST /api/v1/network` | gives a card its address, on trial: [`NetworkOrder`](crate::device::system::NetworkOrder) |
    /// | `POST /api/v1/network/confirm`, `/api/v1/network/put_back` | keeps the change that is on trial, or not |
    /// | `POST /api/v1/restart` | restarts the machine |
    /// | `GET /api/v1/log` | the last lines of the log, `?after=` line |
    /// | `GET /api/v1/doctor` | what is looked for, what is found, what to do |
    /// | `GET /api/v1/diagnosis` | the files of the diagnosis bundle |
    /// | `POST /api/v1/factory-reset` | empties the gate at its next start, which is ordered: `{"confirm": "RESET"}` |
    /// | `GET /api/v1/update` | slots, versions and the last upgrade ([`crate::update::Standing`]) |
    /// | `POST /api/v1/update/package` | installs the package that is the body; `?age=newer`, `not_older`, `any` |
    /// | `POST /api/v1/update/confirm` | the system that runs is good |
    /// | `GET /api/v1/health` | whether this system is healthy, and why not |
    /// | `POST /api/v1/login`, `/api/v1/logout` | turns the token into a cookie and back |
    pub async fn run(&self, stopped: watch::Receiver<bool>) -> Result<()> {
        let shared = Shared { parts: Arc::clone(&self.parts), stopped: stopped.clone() };
        connection::serve(&self.listener, router(shared), stopped).await
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/icon.svg", get(page::icon))
        .route("/texts.json", get(page::texts))
        .route("/api/v1/status", get(status::status))
        .route("/api/v1/events", get(events::listen))
        .route("/api/v1/live.mjpg", get(live::watch))
        .route("/api/v1/people", get(people::list).post(people::enrol))
        .route("/api/v1/people/{origin}/{id}", get(people::show).delete(people::remove))
        .route("/api/v1/records", get(records::list))
        .route("/api/v1/records/{id}", get(records::show))
        .route("/api/v1/records/{id}/picture", get(records::picture))
        .route("/api/v1/door/open", post(status::open_door))
        .route("/api/v1/present", post(present::present))
        .route("/api/v1/input", post(incidents::set))
        .route("/api/v1/incidents", get(incidents::list))
        .route("/api/v1/call", get(call::show).post(call::dial).delete(call::hang_up))
        .route("/api/v1/network", get(network::show).post(network::set))
        .route("/api/v1/network/confirm", post(network::confirm))
        .route("/api/v1/network/put_back", post(network::put_back))
        .route("/api/v1/restart", post(status::restart))
        .route("/api/v1/log", get(upkeep::log))
        .route("/api/v1/doctor", get(upkeep::doctor))
        .route("/api/v1/diagnosis", get(upkeep::diagnosis))
        .route("/api/v1/factory-reset", post(upkeep::factory_reset))
        .route("/api/v1/update", get(update::show))
        .route("/api/v1/update/package", post(update::install))
        .route("/api/v1/update/confirm", post(update::confirm))
        .route("/api/v1/health", get(update::health))
        .route("/api/v1/login", post(guard::login))
        .route("/api/v1/logout", post(guard::logout))
        .fallback(answer::nothing_there)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(axum::middleware::from_fn_with_state(shared.clone(), guard::guard))
        .with_state(shared)
}
