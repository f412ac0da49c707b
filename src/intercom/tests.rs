use std::sync::atomic::{AtomicBool, Ordering};

use jiff::SignedDuration;
use jiff::tz::Offset;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::media::{Line, Missed, Report, Way};
use super::*;
use crate::clock::SystemClock;
use crate::platform::qyzn::code::{self, Answer};
use crate::platform::qyzn::requests::{Asked, unanswered};
use crate::store::{self, Store};

/// A gate without a gate.
struct Fake {
    began: Instant,
    picture: bool,
    /// What opening the door comes to, in turn; well, when used up.
    doors: Mutex<Vec<bool>>,
    told: Mutex<Vec<View>>,
}

impl Place for Fake {
    /// 12:00 in Beijing, and what has passed since.
    fn now(&self) -> Moment {
        let noon: jiff::Timestamp = "2026-03-02T04:00:00Z".parse().unwrap();
        let since = SignedDuration::try_from(self.began.elapsed()).unwrap();
        Moment { utc: noon.checked_add(since).unwrap(), offset: Offset::constant(8) }
    }

    fn picture(&self) -> BoxFuture<'static, Option<Vec<u8>>> {
        let there = self.picture;
        async move { if there { Some(vec![0xff, 0xd8, 0xff]) } else { std::future::pending().await } }.boxed()
    }

    fn open_door(&self) -> BoxFuture<'static, Result<()>> {
        let good = self.doors.lock().unwrap().pop().unwrap_or(true);
        async move { if good { Ok(()) } else { Err(Error::new(Kind::Device, "stuck")) } }.boxed()
    }

    fn tell(&self, view: &View) {
        self.told.lock().unwrap().push(view.clone());
    }
}

struct Bench {
    place: Arc<Fake>,
    asked: mpsc::Receiver<Asked>,
    hang_up: watch::Sender<bool>,
    view: watch::Receiver<View>,
    call: JoinHandle<(Outcome, Option<Value>)>,
}

impl Bench {
    fn with(media: Arc<dyn Media>, requests: Requests, picture: bool, doors: &[bool]) -> Self {
        let place = Arc::new(Fake {
            began: Instant::now(),
            picture,
            doors: Mutex::new(doors.iter().rev().copied().collect()),
            told: Mutex::default(),
        });
        let asked = requests.serve();
        let (hang_up, told) = watch::channel(false);
        let sender = Arc::new(watch::Sender::new(View::dialling(1, "304")));
        let view = sender.subscribe();
        let options = Options { dial: Duration::from_secs(20), ring: Duration::from_secs(30) };
        let mut call =
            Call::new(Arc::clone(&place) as _, requests, media, options, sender, "304", "id-1".into());
        let call = tokio::spawn(async move {
            let outcome = call.run(told).await;
            (outcome, call.result())
        });
        Self { place, asked, hang_up, view, call }
    }

    fn start(script: &str) -> Self {
        let media = Arc::new(SimulatedMedia::new(script.parse().unwrap()));
        Self::with(media, Requests::default(), true, &[])
    }

    /// The platform answers the question of the call.
    async fn answer(&mut self, answer: Answer) {
        let asked = self.asked.recv().await.unwrap();
        assert_eq!((asked.message.as_str(), asked.version), ("device_call_param", 5));
        assert_eq!(asked.data, json!({ "callNo": "304", "callRequestId": "id-1", "picture": "/9j/" }));
        asked.reply.send(Ok(answer)).unwrap();
    }

    async fn answered(mut self, answer: Answer) -> Self {
        self.answer(answer).await;
        self
    }

    async fn state(&mut self, state: State) {
        self.view.wait_for(|view| view.state == state).await.unwrap();
    }

    /// How it ended, and the records as (userId, callResult, callType, openStatus, startTime, endTime).
    async fn end(self) -> (Outcome, Vec<Value>) {
        let (outcome, result) = self.call.await.unwrap();
        let result = result.expect("the platform was asked");
        assert_eq!((&result["callNo"], &result["callRequestId"]), (&json!("304"), &json!("id-1")));
        let records = result["callRecords"].as_array().unwrap().iter();
        let row = |record: &Value| {
            let keys = ["userId", "callResult", "callType", "openStatus", "startTime", "endTime"];
            assert_eq!(record.as_object().unwrap().len(), keys.len());
            Value::from_iter(keys.map(|key| record[key].clone()))
        };
        (outcome, records.map(row).collect())
    }
}

/// Two users, of whom one has the app and both have telephones; at most a minute.
fn two_users() -> Answer {
    Answer::with(json!({
        "callRequestId": "id-1", "callNo": "304", "deviceId": "d", "deviceToken": "secret", "deviceName": "东门",
        "callMaxSeconds": 60,
        "calleds": [
            { "userId": "7", "token": "t7", "phoneNo": "1" },
            { "userId": "8", "token": "", "phoneNo": "2" },
        ],
    }))
}

/// A second after noon, as the platform is told.
fn at(second: u32) -> String {
    format!("202603021200{second:02}")
}

#[tokio::test(start_paused = true)]
async fn every_result_of_the_table() {
    use Outcome::{Answered, Failed, Offline, Rejected, Unanswered, Unknown};
    let cases = [
        ("wait=1", Unknown, vec![json!(["", 0, 0, 0, "", at(1)])]),
        ("break", Failed, vec![json!(["", 2, 0, 0, "", at(0)])]),
        ("wait=2,answer,wait=3,open,wait=4,hangup", Answered, vec![json!(["", 3, 1, 1, at(2), at(9)])]),
        ("answer,wait=1,hangup", Answered, vec![json!(["", 3, 1, 0, at(0), at(1)])]),
        ("offline", Offline, vec![json!(["", 4, 0, 0, "", at(0)])]),
        ("silence", Unanswered, vec![json!(["", 5, 0, 0, "", at(30)])]),
        ("ring,wait=5,reject", Rejected, vec![json!(["", 5, 0, 0, "", at(5)])]),
        ("wait=1,fail", Failed, vec![json!(["", 6, 0, 0, "", at(1)])]),
        (
            "offline,pstn,wait=1,answer,open,hangup",
            Answered,
            vec![json!(["", 4, 0, 0, "", at(0)]), json!(["7", 7, 2, 1, at(1), at(1)])],
        ),
        (
            "pstn,reject,pstn,silence",
            Unanswered,
            vec![json!(["7", 8, 0, 0, "", at(0)]), json!(["8", 8, 0, 0, "", at(30)])],
        ),
        ("pstn,wait=3,fail", Failed, vec![json!(["7", 9, 0, 0, "", at(3)])]),
        // Nobody is left who has a telephone.
        (
            "pstn,reject,pstn,reject,pstn,answer",
            Failed,
            vec![
                json!(["7", 8, 0, 0, "", at(0)]),
                json!(["8", 8, 0, 0, "", at(0)]),
                json!(["", 9, 0, 0, "", at(0)]),
            ],
        ),
        // The service breaks after an attempt, and in a talk.
        ("reject,break", Failed, vec![json!(["", 5, 0, 0, "", at(0)]), json!(["", 2, 0, 0, "", at(0)])]),
        ("answer,wait=1,break", Answered, vec![json!(["", 3, 1, 0, at(0), at(1)])]),
    ];
    let mut seen = Vec::new();
    for (script, outcome, records) in cases {
        let ended = Bench::start(script).answered(two_users()).await.end().await;
        seen.extend(records.iter().map(|record| record[1].as_i64().unwrap()));
        assert_eq!(ended, (outcome, records), "{script}");
    }
    // 1 is the hanging up of the visitor.
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [0, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn what_the_platform_answers() {
    use Outcome::{NoSuchRoom, Offline, PlatformRefused, Unanswered};
    let failure = |code| Answer::failure(code, "no");
    let without = |called: Value| Answer::with(json!({ "calleds": called }));
    let cases = [
        (failure(code::BAD_PARAMETER), NoSuchRoom, 0),
        (failure(code::NO_PERSON), Unanswered, 5),
        (failure(code::FAILED), PlatformRefused, 2),
        (failure(code::UNREGISTERED), PlatformRefused, 2),
        (Answer::busy("wait"), PlatformRefused, 2),
        (without(json!([7])), PlatformRefused, 2),
        (Answer::with(json!({ "callMaxSeconds": "long" })), PlatformRefused, 2),
        (without(json!([])), Offline, 4),
        (without(json!([{ "userId": "7" }])), Offline, 4),
    ];
    for (answer, outcome, result) in cases {
        let what = format!("{answer:?}");
        let ended = Bench::start("answer").answered(answer).await.end().await;
        assert_eq!(ended, (outcome, vec![json!(["", result, 0, 0, "", at(0)])]), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_is_silent_lost_or_not_there() {
    let mut silent = Bench::start("answer");
    let unanswered = silent.asked.recv().await.unwrap();
    assert_eq!(
        silent.end().await,
        (Outcome::PlatformTimeout, vec![json!(["", 2, 0, 0, "", at(20)])]),
        "nobody waits longer"
    );
    // An answer that comes too late is nobody's.
    assert!(unanswered.reply.send(Ok(two_users())).is_err());

    let mut lost = Bench::start("answer");
    drop(lost.asked.recv().await.unwrap());
    assert_eq!(lost.end().await, (Outcome::PlatformTimeout, vec![json!(["", 2, 0, 0, "", at(0)])]));

    // What was never asked is not reported.
    let mut offline = Bench::start("answer");
    let asked = offline.asked.recv().await.unwrap();
    asked.reply.send(Err(Error::new(Kind::Network, "not logged in"))).unwrap();
    assert_eq!(offline.call.await.unwrap(), (Outcome::NoPlatform, None));
    let mut gone = Bench::start("answer");
    gone.asked.close();
    assert_eq!(gone.call.await.unwrap(), (Outcome::NoPlatform, None));
}

#[tokio::test(start_paused = true)]
async fn the_visitor_hangs_up_at_any_moment() {
    // Before the platform is asked there is nothing to report.
    let early = Bench::with(
        Arc::new(SimulatedMedia::new("answer".parse().unwrap())),
        Requests::default(),
        false,
        &[],
    );
    early.hang_up.send_replace(true);
    assert_eq!(early.call.await.unwrap(), (Outcome::HungUp, None));

    let mut dialling = Bench::start("answer");
    let _unanswered = dialling.asked.recv().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    dialling.hang_up.send_replace(true);
    assert_eq!(dialling.end().await, (Outcome::HungUp, vec![json!(["", 1, 0, 0, "", at(3)])]));

    for (script, records) in [
        ("ring", vec![json!(["", 1, 0, 0, "", at(4)])]),
        ("open", vec![json!(["", 1, 0, 1, "", at(4)])]),
        ("reject,pstn,ring", vec![json!(["", 5, 0, 0, "", at(0)]), json!(["", 1, 0, 0, "", at(4)])]),
    ] {
        let mut ringing = Bench::start(&format!("{script},wait=60")).answered(two_users()).await;
        ringing.state(State::Ringing).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        ringing.hang_up.send_replace(true);
        assert_eq!(ringing.end().await, (Outcome::HungUp, records), "{script}");
    }

    let mut talking = Bench::start("wait=2,answer").answered(two_users()).await;
    talking.state(State::Talking).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    talking.hang_up.send_replace(true);
    assert_eq!(talking.end().await, (Outcome::Answered, vec![json!(["", 3, 1, 0, at(2), at(7)])]));
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_on_for_ever() {
    // The longest talk is the platform's.
    let talk = Bench::start("wait=1,answer").answered(two_users()).await;
    assert_eq!(talk.end().await, (Outcome::Answered, vec![json!(["", 3, 1, 0, at(1), "20260302120101"])]));
    // A provider that lets it ring, by app or by telephone, and one that does nothing at all.
    let rings = Bench::start("ring").answered(two_users()).await;
    assert_eq!(rings.end().await, (Outcome::Unanswered, vec![json!(["", 5, 0, 0, "", at(35)])]));
    let rings = Bench::start("pstn,ring").answered(two_users()).await;
    assert_eq!(rings.end().await, (Outcome::Unanswered, vec![json!(["", 8, 0, 0, "", at(35)])]));
    let (media, dropped) = Stubborn::watched();
    let silent = Bench::with(media, Requests::default(), true, &[]).answered(two_users()).await;
    assert_eq!(silent.end().await, (Outcome::Failed, vec![json!(["", 2, 0, 0, "", at(35)])]));
    // It did not hang up, and is ended.
    while !dropped.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
}

/// A provider that neither rings nor hangs up.
struct Stubborn(Arc<AtomicBool>);

impl Stubborn {
    fn watched() -> (Arc<dyn Media>, Arc<AtomicBool>) {
        let dropped = Arc::new(AtomicBool::new(false));
        (Arc::new(Self(Arc::clone(&dropped))), dropped)
    }
}

impl Media for Stubborn {
    fn call(&self, _: Parameters, line: Line) -> BoxFuture<'static, Result<()>> {
        struct Told(Arc<AtomicBool>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let told = Told(Arc::clone(&self.0));
        async move {
            let _held = (line, told);
            std::future::pending().await
        }
        .boxed()
    }
}

/// A provider that reports what it is given, and panics after that.
struct Careless(Vec<Report>);

impl Media for Careless {
    fn call(&self, _: Parameters, line: Line) -> BoxFuture<'static, Result<()>> {
        let reports = self.0.clone();
        async move {
            for report in reports {
                line.report(report).await;
            }
            panic!("as the test wants it");
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_talks_nonsense_or_panics() {
    let missed = |why| Report::Missed { way: Way::App, user: None, why };
    let answered = |way, user: &str| Report::Answered { way, user: Some(user.to_owned()) };
    let run = async |reports: Vec<Report>| {
        Bench::with(Arc::new(Careless(reports)), Requests::default(), true, &[])
            .answered(two_users())
            .await
            .end()
            .await
    };
    assert_eq!(run(vec![]).await, (Outcome::Failed, vec![json!(["", 2, 0, 0, "", at(0)])]));
    // The first answer counts; the user of an app is not told of.
    assert_eq!(
        run(vec![
            answered(Way::App, "7"),
            answered(Way::Pstn, "8"),
            missed(Missed::Rejected),
            Report::Ringing(Way::Pstn),
        ])
        .await,
        (Outcome::Answered, vec![json!(["", 3, 1, 0, at(0), at(0)])])
    );
    let (_, records) = run(vec![missed(Missed::Rejected); 1000]).await;
    assert_eq!(records.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn the_door_in_a_call() {
    let script = "open,open,wait=1,answer,open,hangup";
    for (doors, status, told) in [
        (&[true, true, true][..], 1, Open::Opened),
        (&[false, false, false], 2, Open::Failed),
        (&[false, true, false], 1, Open::Opened),
    ] {
        let media = Arc::new(SimulatedMedia::new(script.parse().unwrap()));
        let bench = Bench::with(media, Requests::default(), true, doors).answered(two_users()).await;
        let place = Arc::clone(&bench.place);
        let (_, records) = bench.end().await;
        assert_eq!(records, [json!(["", 3, 1, status, at(1), at(1)])]);
        assert_eq!(place.told.lock().unwrap().last().unwrap().open, told);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_looks_on_is_told_of_every_state_and_of_no_secret() {
    let bench = Bench::start("wait=2,answer,open,hangup").answered(two_users()).await;
    let place = Arc::clone(&bench.place);
    let view = bench.view.clone();
    bench.end().await;
    let told: Vec<_> =
        place.told.lock().unwrap().iter().map(|view| serde_json::to_value(view).unwrap()).collect();
    let states: Vec<_> = told.iter().map(|view| view["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["dialling", "ringing", "talking", "talking"]);
    assert_eq!(told[2]["open"], "none");
    assert_eq!(
        told[3],
        json!({"call": 1, "state": "talking", "room": "304", "result": null, "open": "opened",
            "states": ["dialling", "ringing", "talking"]})
    );
    assert_eq!(view.borrow().open, Open::Opened);
}

#[test]
fn a_request_has_an_id_of_its_own() {
    let (one, other) = (uuid().unwrap(), uuid().unwrap());
    assert_ne!(one, other);
    // RFC 9562: the version stands in the third group, the variant begins the fourth.
    let groups: Vec<&str> = one.split('-').collect();
    assert_eq!(groups.iter().map(|group| group.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert!(groups[2].starts_with('4') && groups[3].starts_with(['8', '9', 'a', 'b']), "{one}");
}

#[test]
fn providers_are_named_in_the_configuration() {
    assert!(media("none").unwrap().is_none());
    assert!(media("sim").unwrap().is_some() && media("sim:answer,hangup").unwrap().is_some());
    for bad in ["", "simulated", "sip:1", "sim:sing", "none:"] {
        assert_eq!(media(bad).err().map(|error| error.kind()), Some(Kind::Config), "{bad}");
    }
}

// What the platform is owed.

fn open_store(folder: &std::path::Path) -> Store {
    let options = store::Options { data_dir: folder.to_owned(), config: config::Store::default() };
    Store::open(&options, Arc::new(SystemClock)).unwrap()
}

fn kept(store: &Store) -> Value {
    serde_json::from_str(&store.setting("intercom.results").unwrap().unwrap()).unwrap()
}

/// Whoever delivers, and what they send.
fn deliver(results: &Arc<Results>, events: &Events) -> JoinHandle<()> {
    let (results, events) = (Arc::clone(results), events.clone());
    tokio::spawn(async move { results.deliver(&events).await })
}

async fn next(asked: &mut mpsc::Receiver<Asked>, id: &str, answer: Answer) {
    let asked = asked.recv().await.unwrap();
    assert_eq!((asked.message.as_str(), asked.version), ("device_call_result", 5));
    assert_eq!(asked.data["callRequestId"], id);
    asked.reply.send(Ok(answer)).unwrap();
}

fn result(id: &str) -> Value {
    crate::platform::qyzn::call::result("304", id, &[])
}

#[tokio::test]
async fn results_outlive_a_lost_line_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let events = Events::new(Arc::new(SystemClock));
    let store = open_store(folder.path());
    let results = Arc::new(Results::new(store.clone(), Requests::default()).unwrap());
    results.add(result("1")).await;
    results.add(result("2")).await;
    assert_eq!(kept(&store).as_array().unwrap().len(), 2);
    drop(results);
    store.close();
    drop(store);

    let store = open_store(folder.path());
    let requests = Requests::default();
    let results = Arc::new(Results::new(store.clone(), requests.clone()).unwrap());
    let mut asked = requests.serve();
    let delivering = deliver(&results, &events);
    next(&mut asked, "1", Answer::success()).await;
    // The line is lost before the second is answered; it is sent again after the next login.
    drop(asked.recv().await.unwrap());
    drop(asked);
    let mut asked = requests.serve();
    let login = || events.send("platform", json!({ "platform": "qyzn", "state": "logged_in" }));
    // The deliverer may not have noticed the loss yet: a login more does no harm.
    let again = async {
        loop {
            login();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = next(&mut asked, "2", Answer::busy("later")) => {}
        () = again => {}
    }
    let again = async {
        loop {
            login();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = next(&mut asked, "2", Answer::success()) => {}
        () = again => {}
    }
    // A result that the platform refuses is not sent for ever.
    results.add(result("3")).await;
    next(&mut asked, "3", Answer::failure(code::BAD_PARAMETER, "no")).await;
    results.add(result("4")).await;
    next(&mut asked, "4", Answer::success()).await;
    results.add(result("5")).await;
    let last = asked.recv().await.unwrap();
    assert_eq!((&last.data["callRequestId"], kept(&store)), (&json!("5"), json!([result("5")])));
    delivering.abort();
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_never_answered_does_not_hold_up_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let events = Events::new(Arc::new(SystemClock));
    let store = open_store(folder.path());
    let requests = Requests::default();
    let results = Arc::new(Results::new(store.clone(), requests.clone()).unwrap());
    let mut asked = requests.serve();
    results.add(result("1")).await;
    results.add(result("2")).await;
    let delivering = deliver(&results, &events);
    for _ in 0..2 {
        let one = asked.recv().await.unwrap();
        assert_eq!(one.data["callRequestId"], "1");
        one.reply.send(Err(unanswered())).unwrap();
    }
    // A line that is lost is no word on the result.
    for _ in 0..5 {
        let one = asked.recv().await.unwrap();
        assert_eq!(one.data["callRequestId"], "1");
        drop(one);
    }
    let one = asked.recv().await.unwrap();
    assert_eq!(one.data["callRequestId"], "1");
    one.reply.send(Err(unanswered())).unwrap();
    let two = asked.recv().await.unwrap();
    assert_eq!((&two.data["callRequestId"], kept(&store)), (&json!("2"), json!([result("2")])));
    delivering.abort();
}

#[tokio::test]
async fn results_are_bounded_and_a_damaged_list_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    store.put_setting("intercom.results", "{}".into()).await.unwrap();
    let results = Results::new(store.clone(), Requests::default()).unwrap();
    for id in 0..258 {
        results.add(result(&id.to_string())).await;
    }
    let kept = kept(&store);
    let kept = kept.as_array().unwrap();
    assert_eq!((kept.len(), &kept[0]["callRequestId"]), (256, &json!("2")));
}
