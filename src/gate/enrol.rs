//! Enrolment: pictures become templates on threads of their own, side by side; changes reach the store and the
//! gallery in the order in which they were ordered.
//!
//! An order passes three stages. `examine` sends its pictures to the worker threads and does not wait for
//! them; `commit` takes the orders in turn, waits for that one's templates and hands the change to the store,
//! which commits many at once; `publish` takes them in turn again, waits for the disk and answers; the gallery
//! has followed the store by then. Many orders are under way at once, and none overtakes another.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{NewPicture, PeopleChange, PersonPatch};
use crate::access::{Person, PersonKey};
use crate::error::{Error, Kind, Result};
use crate::event::Events;
use crate::store::{FACES_PER_PERSON, GalleryChange, NewFace, Pending, Store};
use crate::vision::Models;
use crate::vision::enrolment::Examiner;
use crate::vision::template::Template;

/// Orders under way at once; a caller beyond that is told to try again.
const UNDER_WAY: usize = 64;

/// How long a worker keeps its models after its last picture.
const IDLE: Duration = Duration::from_secs(20);

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Enrolment {
    orders: mpsc::Sender<Order>,
    portraits: Portraits,
}

/// Photos of identity documents, examined on the same threads. Their owners stand at the gate: they come first.
#[derive(Clone, Default)]
pub(super) struct Portraits {
    queue: Arc<Queue>,
}

impl Portraits {
    /// As when the gate ends: nobody looks at photos any more.
    #[cfg(test)]
    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// The template of the face in a document's photo. `Face` if there is no usable one, `Input` if it is no picture, `Timeout` if the threads are
    /// too busy to say so `within` the time.
    pub(super) fn template(
        &self,
        photo: Arc<[u8]>,
        within: Duration,
    ) -> impl Future<Output = Result<Template>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        self.queue.put_first(Job::Portrait(photo, answer));
        async move {
            match tokio::time::timeout(within, answered).await {
                Ok(Ok(examined)) => examined,
                Ok(Err(_)) => Err(stopped()),
                Err(_) => Err(Error::new(
                    Kind::Timeout,
                    format!("the photo of a document was not examined within {} s", within.as_secs()),
                )),
            }
        }
    }
}

struct Order {
    change: PeopleChange,
    answer: oneshot::Sender<Result<()>>,
}

/// An order whose pictures are being examined.
struct Examining {
    change: PeopleChange,
    pictures: Vec<oneshot::Receiver<Result<NewFace>>>,
    answer: oneshot::Sender<Result<()>>,
}

/// An order that is on its way to the disk.
struct Committing {
    carried: Carried,
    answer: oneshot::Sender<Result<()>>,
}

/// Ends when a change is on disk: what it was, for the event, and how far it fell short of the order if it did.
type Carried = Pin<Box<dyn Future<Output = Result<(serde_json::Value, Option<Error>)>> + Send>>;

impl Enrolment {
    /// Starts the stages on the current runtime. `workers` threads examine pictures; they load their models
    /// when the first picture comes and let them go when none has come for a while.
    pub fn start(workers: usize, models: Models, store: Store, events: Events) -> Result<Self> {
        let (orders, received) = mpsc::channel(UNDER_WAY);
        let (examining, examined) = mpsc::channel(UNDER_WAY);
        let (committing, committed) = mpsc::channel(UNDER_WAY);
        let pool = Workers::start(workers, models)?;
        let portraits = Portraits { queue: Arc::clone(&pool.queue) };
        tokio::spawn(examine(received, pool, examining));
        tokio::spawn(commit(examined, store, committing));
        tokio::spawn(publish(committed, events));
        Ok(Self { orders, portraits })
    }

    /// The way of documents' photos to the same threads.
    pub(super) fn portraits(&self) -> Portraits {
        self.portraits.clone()
    }

    /// Takes an order; its place among the orders is that of this call, not of the first poll.
    pub fn change(&self, change: PeopleChange) -> impl Future<Output = Result<()>> + Send + 'static {
        let (answer, answered) = oneshot::channel();
        let taken = self.orders.try_send(Order { change, answer });
        async move {
            match taken {
                Ok(()) => answered.await.unwrap_or_else(|_| Err(stopped())),
                Err(mpsc::error::TrySendError::Full(_)) => Err(Error::new(
                    Kind::Busy,
                    format!(
                        "{UNDER_WAY} changes of people are under way: send the next when one is answered"
                    ),
                )),
                Err(mpsc::error::TrySendError::Closed(_)) => Err(stopped()),
            }
        }
    }
}

fn stopped() -> Error {
    Error::new(Kind::Stopped, "the gate is shutting down")
}

async fn examine(mut orders: mpsc::Receiver<Order>, pool: Workers, next: mpsc::Sender<Examining>) {
    while let Some(Order { mut change, answer }) = orders.recv().await {
        let pictures = match &mut change {
            PeopleChange::Put(_, pictures) => std::mem::take(pictures),
            PeopleChange::AddFace(_, picture) => {
                vec![NewPicture {
                    face_id: picture.face_id.clone(),
                    bytes: std::mem::take(&mut picture.bytes),
                }]
            }
            _ => Vec::new(),
        };
        if pictures.len() > FACES_PER_PERSON {
            let _ = answer.send(Err(Error::new(
                Kind::Input,
                format!("a person has at most {FACES_PER_PERSON} pictures, not {}", pictures.len()),
            )));
            continue;
        }
        let mut examining = Vec::with_capacity(pictures.len());
        for picture in pictures {
            examining.push(pool.examine(picture));
        }
        if next.send(Examining { change, pictures: examining, answer }).await.is_err() {
            return;
        }
    }
}

async fn commit(mut orders: mpsc::Receiver<Examining>, store: Store, next: mpsc::Sender<Committing>) {
    while let Some(Examining { change, pictures, answer }) = orders.recv().await {
        let mut faces = Vec::with_capacity(pictures.len());
        let mut failure = None;
        for picture in pictures {
            match picture.await.unwrap_or_else(|_| Err(stopped())) {
                Ok(face) => faces.push(face),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failure {
            let _ = answer.send(Err(error));
            continue;
        }
        let carried = submit(&store, change, faces);
        if next.send(Committing { carried, answer }).await.is_err() {
            return;
        }
    }
}

/// Hands a change to the store; its place among the changes is that of this call.
fn submit(store: &Store, change: PeopleChange, faces: Vec<NewFace>) -> Carried {
    let describe = |change: &str, key: &PersonKey| json!({ "change": change, "person": key });
    let (pending, what): (Pending<GalleryChange>, _) = match change {
        PeopleChange::Add(person) => {
            let what = describe("added", &person.key);
            (store.add_person(person), what)
        }
        PeopleChange::Update(key, patch) => {
            let what = describe("updated", &key);
            (store.edit_person(key, move |person| patch.clone().apply(person)), what)
        }
        PeopleChange::Put(person, _) => {
            let what = describe("enrolled", &person.key);
            (store.put_person(person, faces), what)
        }
        PeopleChange::PutFacts(person) => {
            let what = describe("enrolled", &person.key);
            (store.put_facts(person), what)
        }
        PeopleChange::Delete(keys) => return remove(store, keys),
        PeopleChange::Clear(origin) => {
            (store.clear_people(origin), json!({ "change": "cleared", "origin": origin }))
        }
        PeopleChange::AddFace(key, _) => {
            let what = describe("face_added", &key);
            let face =
                faces.into_iter().next().expect("an order with one picture has one face once examined");
            (store.put_face(key, face), what)
        }
        PeopleChange::DeleteFace(origin, face_id) => {
            let what = json!({ "change": "face_removed", "origin": origin, "face": &face_id });
            (store.delete_face(origin, face_id), what)
        }
        PeopleChange::DeleteFaces(key) => {
            let what = describe("faces_removed", &key);
            (store.delete_faces(key), what)
        }
    };
    Box::pin(async move { pending.await.map(|_| (what, None)) })
}

/// Hands a removal to the store. One event tells of all who went: 256 would push out all that is remembered.
fn remove(store: &Store, keys: Vec<PersonKey>) -> Carried {
    let one = match &keys[..] {
        [key] => Some(key.clone()),
        _ => None,
    };
    let pending = store.delete_people(keys);
    Box::pin(async move {
        let removed = pending.await?;
        let what = match one {
            Some(key) => json!({ "change": "removed", "person": key }),
            None => json!({ "change": "removed", "people": removed.people }),
        };
        let missing = removed.missing.len();
        let shortfall = (missing > 0).then(|| {
            Error::new(
                Kind::NotFound,
                format!(
                    "{missing} of {} people were not here; the others were removed",
                    missing + removed.people
                ),
            )
        });
        Ok((what, shortfall))
    })
}

async fn publish(mut orders: mpsc::Receiver<Committing>, events: Events) {
    while let Some(Committing { carried, answer }) = orders.recv().await {
        let result = carried.await.and_then(|(what, shortfall)| {
            events.send("person", what);
            shortfall.map_or(Ok(()), Err)
        });
        // The caller may have hung up; the change stands.
        let _ = answer.send(result);
    }
}

impl PersonPatch {
    /// Edits `person`.
    pub fn apply(self, person: &mut Person) -> Result<()> {
        fn set<T>(place: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *place = value;
            }
        }
        set(&mut person.code, self.code);
        set(&mut person.name, self.name);
        set(&mut person.kind, self.kind);
        set(&mut person.id_number, self.id_number);
        set(&mut person.card, self.card);
        set(&mut person.passes_left, self.passes_left);
        set(&mut person.valid_from, self.valid_from);
        set(&mut person.valid_until, self.valid_until);
        set(&mut person.schedule.simple.periods, self.periods);
        set(&mut person.schedule.extended, self.extended);
        set(&mut person.mode, self.mode);
        for (day, value) in person.schedule.simple.days.iter_mut().zip(self.days) {
            set(day, value);
        }
        Ok(())
    }
}

/// A picture to examine and where its template goes.
enum Job {
    /// One that enrols.
    Enrol(NewPicture, oneshot::Sender<Result<NewFace>>),
    /// The photo of a document.
    Portrait(Arc<[u8]>, oneshot::Sender<Result<Template>>),
}

/// Pictures that wait for a worker. Each worker waits on its own clock, so that each lets its models go in time.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    added: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// What a worker gets.
enum Taken {
    Job(Job),
    /// Nothing came for the time given.
    Idle,
    /// Nothing will come any more.
    Closed,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.added.notify_one();
    }

    /// Before all that waits. What comes after the end is dropped, and whoever asked is told so.
    fn put_first(&self, job: Job) {
        let mut state = self.lock();
        if !state.closed {
            state.jobs.push_front(job);
            self.added.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.added.notify_all();
    }

    fn take(&self, patience: Duration) -> Taken {
        let waits = |state: &mut QueueState| state.jobs.is_empty() && !state.closed;
        let (mut state, _) = self
            .added
            .wait_timeout_while(self.lock(), patience, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match state.jobs.pop_front() {
            Some(job) => Taken::Job(job),
            None if state.closed => Taken::Closed,
            None => Taken::Idle,
        }
    }
}

/// The worker threads. They end when this is dropped.
struct Workers {
    queue: Arc<Queue>,
}

impl Workers {
    fn start(workers: usize, models: Models) -> Result<Self> {
        let started = Self { queue: Arc::default() };
        for number in 0..workers.max(1) {
            let queue = Arc::clone(&started.queue);
            let models = models.clone();
            std::thread::Builder::new().name(format!("enrol-{number}")).spawn(move || {
                yield_to_passages();
                work(&queue, &models);
            })?;
        }
        Ok(started)
    }

    /// Sends a picture to the workers. There are never more than those of the orders under way.
    fn examine(&self, picture: NewPicture) -> oneshot::Receiver<Result<NewFace>> {
        let (answer, answered) = oneshot::channel();
        self.queue.add(Job::Enrol(picture, answer));
        answered
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// A visitor before the door comes before a picture in a queue: the thread runs at a lower priority.
pub(super) fn yield_to_passages() {
    // On Linux a thread's nice value is its own. Refused (a container's rule), the thread runs as it is.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}

fn work(queue: &Queue, models: &Models) {
    let mut examiner: Option<Examiner> = None;
    loop {
        let patience = if examiner.is_some() { IDLE } else { Duration::MAX };
        let job = match queue.take(patience) {
            Taken::Job(job) => job,
            Taken::Idle => {
                examiner = None;
                continue;
            }
            Taken::Closed => return,
        };
        match job {
            Job::Enrol(picture, answer) => {
                let examined = examine_safely(&mut examiner, models, |examiner| {
                    let examined = examiner.examine(&picture.bytes)?;
                    Ok(NewFace {
                        face_id: picture.face_id,
                        picture: picture.bytes,
                        model: models.embedder_id(),
                        template: examined.template.to_bytes(),
                    })
                });
                // A picture that cannot even be decoded is a bad picture, not a bad order (QYZN 110, not 104).
                let _ = answer.send(examined.map_err(|error| match error.kind() {
                    Kind::Input => Error::new(Kind::Face, error.to_string()),
                    _ => error,
                }));
            }
            // Whoever took the document away again needs no answer.
            Job::Portrait(_, answer) if answer.is_closed() => {}
            Job::Portrait(photo, answer) => {
                let examined = examine_safely(&mut examiner, models, |examiner| examiner.portrait(&photo));
                let _ = answer.send(examined);
            }
        }
    }
}

/// A picture that makes a library panic costs that picture: the models are loaded anew.
fn examine_safely<T>(
    examiner: &mut Option<Examiner>,
    models: &Models,
    examine: impl FnOnce(&mut Examiner) -> Result<T>,
) -> Result<T> {
    let examined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match &mut *examiner {
        Some(examiner) => examine(examiner),
        none => examine(none.insert(Examiner::new(models, 1)?)),
    }));
    examined.unwrap_or_else(|_| {
        *examiner = None;
        Err(Error::new(Kind::Input, "the picture could not be examined"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_notices_that_nothing_comes_and_one_gets_what_does() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let idle = || matches!(queue.take(Duration::from_millis(20)), Taken::Idle);
            let workers = [scope.spawn(idle), scope.spawn(idle), scope.spawn(idle)];
            assert!(workers.into_iter().all(|worker| worker.join().unwrap()));
        });
        let (answer, _answered) = oneshot::channel();
        queue.add(Job::Enrol(NewPicture { face_id: "1".into(), bytes: Vec::new() }, answer));
        // Whoever stands at the gate comes first.
        queue.put_first(Job::Portrait(Arc::from(*b"photo"), oneshot::channel().0));
        assert!(
            matches!(queue.take(Duration::MAX), Taken::Job(Job::Portrait(photo, _)) if *photo == *b"photo")
        );
        assert!(
            matches!(queue.take(Duration::MAX), Taken::Job(Job::Enrol(picture, _)) if picture.face_id == "1")
        );
        queue.close();
        assert!(matches!(queue.take(Duration::MAX), Taken::Closed));
        let (answer, answered) = oneshot::channel();
        queue.put_first(Job::Portrait(Arc::from(*b"late"), answer));
        assert!(answered.blocking_recv().is_err(), "nobody is left to examine it");
    }
}
