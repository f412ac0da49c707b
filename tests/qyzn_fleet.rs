//! Two thousand terminals in one process: what a link costs, and that all of them get through.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::Offset;
use menshen::Result;
use menshen::clock::Moment;
use menshen::platform::qyzn::code::Answer;
use menshen::platform::qyzn::link::{Account, Command, Duty, Handler, Identity, Link, Options, State, Work};
use menshen::platform::qyzn::records::{Mark, OutgoingRecord, Queue, Wanted};
use menshen::simulate::qyzn::Platform;
use menshen::store::{OutboxId, RecordId};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

const TERMINALS: usize = 2000;

/// A terminal with one record to tell.
struct Terminal {
    identity: Identity,
    account: Mutex<Option<Account>>,
    told: AtomicBool,
    fresh: Arc<Notify>,
}

impl Handler for Terminal {
    fn identity(&self) -> &Identity {
        &self.identity
    }
    fn now(&self) -> Moment {
        Moment { utc: Timestamp::now(), offset: Offset::constant(8) }
    }
    fn account(&self) -> Work<Result<Option<Account>>> {
        let account = self.account.lock().unwrap().clone();
        Box::pin(async { Ok(account) })
    }
    fn keep_account(&self, account: Account) -> Work<Result<()>> {
        *self.account.lock().unwrap() = Some(account);
        Box::pin(async { Ok(()) })
    }
    fn duty(&self, _: &str) -> Option<Duty> {
        None
    }
    fn handle(&self, _: Command) -> Work<Answer> {
        Box::pin(async { Answer::success() })
    }
    fn next_record(&self, wanted: Wanted) -> Work<Result<Option<OutgoingRecord>>> {
        let there =
            wanted.queue == Queue::Backlog && wanted.after.is_none() && !self.told.load(Ordering::Relaxed);
        let body = json!({"message": "snapshot_face", "data": {
            "personId": "1", "faceId": "f", "fullName": "张三", "fullname": "张三", "type": 1, "idNum": "",
            "icNum": "", "comparePic": "", "snapPic": "", "score": 92, "result": 1,
            "snaptime": "2019-08-02 15:42:48", "bodyTemp": 36.7}});
        Box::pin(async move {
            Ok(there.then(|| OutgoingRecord {
                id: OutboxId(1),
                record: RecordId(1),
                seq: 0x8000_0001,
                body: body.to_string().into_bytes(),
            }))
        })
    }
    fn newest_record(&self) -> Work<Result<Option<OutboxId>>> {
        let newest = (!self.told.load(Ordering::Relaxed)).then_some(OutboxId(1));
        Box::pin(async move { Ok(newest) })
    }
    fn obey(&self, _: RecordId, _: Value) -> Work<()> {
        Box::pin(async {})
    }
    fn delivered(&self, _: Mark) -> Work<Result<()>> {
        self.told.store(true, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }
    fn new_records(&self) -> Arc<Notify> {
        Arc::clone(&self.fresh)
    }
    fn report(&self, _: State) {}
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_links_take_little_memory() {
    let platform = Platform::default();
    let config = menshen::config::Qyzn::new("");
    let before = resident();
    let (_stop, stopped) = watch::channel(false);
    for number in 0..TERMINALS {
        let terminal = Terminal {
            identity: Identity {
                serial: format!("SIM{number:013}"),
                mac: format!("{number:012X}"),
                model: "MS01".into(),
                version: "V0".into(),
            },
            account: Mutex::default(),
            told: AtomicBool::new(false),
            fresh: Arc::default(),
        };
        let (link, _requests) = Link::new(Arc::new(terminal), Options::new(&config));
        let platform = platform.clone();
        let dial = move || {
            let (near, far) = tokio::io::duplex(4096);
            platform.attach(far);
            async { Ok(near) }
        };
        tokio::spawn(link.run(dial, stopped.clone()));
    }
    let mut told = 0;
    platform
        .wait_within(Duration::from_secs(120), |entry| {
            told += usize::from(entry.event == "snapshot_face");
            told == TERMINALS
        })
        .await
        .unwrap();
    // Both ends of each line, the simulated platform and its journal are in it.
    let each = resident().saturating_sub(before) / TERMINALS;
    eprintln!("{each} bytes for each terminal and its end at the platform");
    assert!(each < 64 * 1024, "{each} bytes");
    assert_eq!(platform.violations(), [""; 0]);
}
