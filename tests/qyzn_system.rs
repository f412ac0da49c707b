//! The machine under the gate, as the QYZN platform orders it: restart, network, time, timer. The gate is real,
//! the machine is simulated, or one whose programs note what they are told.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/process.rs"]
mod process;
#[path = "support/site.rs"]
mod site;
mod support {
    pub mod gate;
    pub mod vision;
}

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use menshen::clock::{AdjustedClock, Clock, SystemClock};
use menshen::config;
use menshen::device::system::{Simulated, System, Systemd};
use menshen::event::Event;
use menshen::gate::settings::{Settings, TimeSettings, TimeSource};
use menshen::simulate::qyzn::Platform;
use process::{Agent, prepared};
use serde_json::{Value, json};
use site::Site;
use support::gate::Running;

/// Puts a clock to `now`, as it was when this program first put one: clocks put to the same time agree, however
/// busy the machine is in between.
fn put(clock: &AdjustedClock, now: &str) {
    static SINCE: OnceLock<Instant> = OnceLock::new();
    let elapsed = SINCE.get_or_init(Instant::now).elapsed();
    clock.set(now.parse::<Timestamp>().unwrap() + elapsed);
}

/// A clock that shows `now` and runs.
fn clock_at(now: &str) -> Arc<AdjustedClock> {
    let clock = AdjustedClock::new(Arc::new(SystemClock));
    put(&clock, now);
    clock
}

/// Settings of a gate that follows nobody's clock, so that a test gives the only orders.
fn manual() -> Settings {
    let time = TimeSettings { source: TimeSource::Manual, ..TimeSettings::default() };
    Settings { time, ..Settings::default() }
}

/// A platform whose clock shows `now`.
async fn platform_at(now: &str) -> (Platform, Arc<AdjustedClock>, std::net::SocketAddr) {
    let clock = clock_at(now);
    let platform = Platform::new(clock.clone());
    let address = platform.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    (platform, clock, address)
}

/// A gate whose clock shows `now`, on a simulated machine that sets it.
fn gate_at(now: &str, folder: &Path, address: std::net::SocketAddr) -> Running {
    gate_with(manual(), now, folder, address)
}

/// The same with settings of its own.
fn gate_with(settings: Settings, now: &str, folder: &Path, address: std::net::SocketAddr) -> Running {
    let clock = clock_at(now);
    let system: Arc<dyn System> = Arc::new(Simulated::new(clock.clone()));
    Running::start_on(folder, address, &config::Device::default(), settings, clock, system)
}

async fn set(platform: &Platform, data: Value) -> Value {
    platform.request("config_system", data).await.unwrap()
}

async fn get(platform: &Platform, group: &str) -> Value {
    let answer = platform.request("get_configs", json!({ "groupKey": [group] })).await.unwrap();
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!(format!("get_{group}"))));
    assert_eq!(answer["data"][0]["groupKey"], group);
    answer["data"][0].clone()
}

/// The next order to the machine.
async fn order(running: &mut Running) -> Value {
    let event = running.event(|event| event.kind == "system").await;
    Value::Object(event.fields.clone())
}

fn is_offset(event: &Event) -> bool {
    event.fields.get("state") == Some(&json!("time_offset"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_is_set_read_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, _, address) = platform_at("2020-07-01T08:00:00Z").await;
    let mut running = gate_at("2020-07-01T08:00:00Z", folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    // The request of 4.5.10.3.
    let document = json!({"time": {"currenttime": "2020-07-01 16:56:15", "time_control": 1, "ntpPort": 3030,
        "timezone": 20, "ntpServer": "192.168.1.250"}});
    let answer = set(&platform, document).await;
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!("set_time")));
    // The zone is Beijing's already, and nobody follows the server.
    assert_eq!(order(&mut running).await, json!({"order": "set_clock", "time": "2020-07-01T08:56:15Z"}));
    let group = get(&platform, "time").await;
    assert!(group["currenttime"].as_str().unwrap().starts_with("2020-07-01 16:5"), "{group}");
    for (key, value) in [
        ("timezone", json!(20)),
        ("time_control", json!(1)),
        ("ntpPort", json!(3030)),
        ("ntpServer", json!("192.168.1.250")),
    ] {
        assert_eq!(group[key], value, "{key}");
    }
    // The time is that of the zone in the same message: UTC-12 and UTC.
    for (zone, minutes, utc) in [(0, -720, "2020-07-02T04:00:00Z"), (12, 0, "2020-07-01T16:00:00Z")] {
        let answer =
            set(&platform, json!({"time": {"timezone": zone, "currenttime": "2020-07-01 16:00:00"}})).await;
        assert_eq!(answer["result"], 0);
        assert_eq!(order(&mut running).await, json!({"order": "set_zone", "utc_offset_minutes": minutes}));
        assert_eq!(order(&mut running).await, json!({"order": "set_clock", "time": utc}));
    }
    assert!(get(&platform, "time").await["currenttime"].as_str().unwrap().starts_with("2020-07-01 16:0"));
    // A server is followed, left for the moment in which the clock is set, and no longer.
    let server = json!({"order": "follow_ntp", "server": "ntp.example", "port": 1123});
    let answer =
        set(&platform, json!({"time": {"time_control": "2", "ntpServer": "ntp.example", "ntpPort": 1123}}));
    assert_eq!(answer.await["result"], 0);
    assert_eq!(order(&mut running).await, server);
    assert_eq!(set(&platform, json!({"time": {"currenttime": "2020-07-01 17:00:00"}})).await["result"], 0);
    assert_eq!(order(&mut running).await, json!({"order": "stop_ntp"}));
    assert_eq!(order(&mut running).await["order"], "set_clock");
    assert_eq!(order(&mut running).await, server);

    // Each refused by its name, and nothing of the message done: the zone stays that of UTC.
    for (key, value) in [
        ("timezone", json!(25)),
        ("time_control", json!(3)),
        ("ntpPort", json!(65_536)),
        ("ntpPort", json!(99_999)),
        ("ntpServer", json!("x".repeat(65))),
        ("currenttime", json!("2020-02-30 00:00:00")),
        ("currenttime", json!("1970-01-01 08:00:00")),
        ("currenttime", json!("soon")),
    ] {
        let mut group = json!({"time_control": 0});
        group[key] = value;
        let answer = set(&platform, json!({ "time": group })).await;
        assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(104), &json!("set_time")), "{key}");
        assert!(answer["desc"].as_str().unwrap().starts_with(&format!("time.{key}: ")), "{answer}");
    }
    assert_eq!(get(&platform, "time").await["time_control"], 2);
    let answer = set(&platform, json!({"time": {"ntpServer": "a b\nc"}})).await;
    assert_eq!(
        (&answer["result"], &answer["desc"]),
        (&json!(104), &json!("time.ntpServer: must be a host name or an address"))
    );

    running.stop().await;
    let mut running = gate_at("2020-07-01T08:00:00Z", folder.path(), address);
    // The machine may have forgotten the server while it was off.
    assert_eq!(order(&mut running).await, server);
    platform.wait_until_logged_in().await.unwrap();
    let group = get(&platform, "time").await;
    assert_eq!((&group["timezone"], &group["ntpServer"]), (&json!(12), &json!("ntp.example")));
    assert_eq!(set(&platform, json!({"time": {"timezone": 13}})).await["result"], 0);
    assert_eq!(order(&mut running).await, json!({"order": "set_zone", "utc_offset_minutes": 60}));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_platforms_clock_is_followed_when_the_settings_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, theirs, address) = platform_at("2026-03-02T05:00:00Z").await;
    let mut running = gate_with(Settings::default(), "2026-03-02T04:00:00Z", folder.path(), address);
    // Out by an hour at the login: set at once.
    let offset = running.event(is_offset).await;
    assert!((3_000_000..4_200_000).contains(&offset.fields["offset_ms"].as_i64().unwrap()), "{offset:?}");
    assert_eq!(order(&mut running).await["order"], "set_clock");
    let apart = running.gate.clock().now().duration_since(theirs.now()).abs();
    assert!(apart.as_secs() < 600, "an hour is gone: {apart}");
    // 0: the gate's clock is its own. What the platform says is reported and no more.
    assert_eq!(set(&platform, json!({"time": {"time_control": 0}})).await["result"], 0);
    put(&theirs, "2026-03-02T06:00:00Z");
    platform.disconnect();
    let offset = running.event(is_offset).await;
    assert!(offset.fields["offset_ms"].as_i64().unwrap() > 3_000_000, "{offset:?}");
    platform.wait_until_logged_in().await.unwrap();
    assert_eq!(set(&platform, json!({"time": {"timezone": 19}})).await["result"], 0);
    assert_eq!(order(&mut running).await["order"], "set_zone", "and not set_clock");
    // A platform that has lost its own clock is not believed.
    assert_eq!(set(&platform, json!({"time": {"timezone": 20, "time_control": 1}})).await["result"], 0);
    assert_eq!(order(&mut running).await["order"], "set_zone");
    platform.answer_with("sync_time", 0, json!({"timestamp": "19700101080000000"}), Some(1));
    platform.disconnect();
    let refused = order(&mut running).await;
    assert_eq!((&refused["order"], &refused["state"]), (&json!("set_clock"), &json!("failed")));
    assert!(refused["error"].as_str().unwrap().contains("1970"), "{refused}");
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_permits_nothing_refuses_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, theirs, address) = platform_at("2026-03-02T05:00:00Z").await;
    let clock = clock_at("2026-03-02T04:00:00Z");
    let system: Arc<dyn System> = Arc::new(Simulated::refusing(clock.clone()));
    let mut running = Running::start_on(
        folder.path(),
        address,
        &config::Device::default(),
        Settings::default(),
        clock.clone(),
        system,
    );
    let refused = order(&mut running).await;
    assert_eq!((&refused["order"], &refused["state"]), (&json!("set_clock"), &json!("failed")));
    assert!(refused["error"].as_str().unwrap().contains("not permitted"), "{refused}");
    platform.wait_until_logged_in().await.unwrap();
    let before = get(&platform, "time").await;
    for group in [
        json!({"timezone": 12}),
        json!({"time_control": 2}),
        json!({"time_control": 0, "currenttime": "2026-03-02 12:00:00"}),
    ] {
        // With another group, which must not be changed either.
        let answer = set(&platform, json!({"time": group, "vaparam": {"LiveThres": 77}})).await;
        assert_eq!(answer["result"], 104, "{answer}");
        let desc = answer["desc"].as_str().unwrap();
        assert!(desc.starts_with("time: ") && desc.contains("not permitted"), "{desc}");
    }
    let after = get(&platform, "time").await;
    for key in ["timezone", "time_control", "ntpServer", "ntpPort"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(get(&platform, "vaparam").await["LiveThres"], 50);
    // What needs nothing of the machine is still set.
    assert_eq!(set(&platform, json!({"time": {"ntpServer": "ntp.example"}})).await["result"], 0);
    let answer = platform.request("device_restart", json!({})).await.unwrap();
    assert_eq!(answer["result"], -1);
    assert!(answer["desc"].as_str().unwrap().contains("not permitted"), "{answer}");
    // The refusal of the platform's time is said once, however often it is measured.
    put(&theirs, "2026-03-02T06:00:00Z");
    platform.disconnect();
    running.event(is_offset).await;
    platform.disconnect();
    let next = running.event(|event| event.kind == "system" || is_offset(event)).await;
    assert!(is_offset(&next), "{next:?}");
    assert_eq!(running.store.setting("qyzn.restart").unwrap().as_deref(), Some("null"));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_network_is_told_and_not_set() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, _, address) = platform_at("2026-03-02T04:00:00Z").await;
    let running = gate_at("2026-03-02T04:00:00Z", folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    let group = get(&platform, "netinfo").await;
    // What the kernel says of this machine, card by card.
    let cards: Vec<String> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|card| card.unwrap().file_name().into_string().unwrap())
        .collect();
    for item in group["item"].as_array().unwrap() {
        let keys: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        for key in ["name", "macaddr", "ipaddr", "maskaddr", "gateway", "DNS"] {
            assert!(keys.contains(&key) && item[key].is_string(), "{item}");
        }
        let name = item["name"].as_str().unwrap();
        assert!(cards.iter().any(|card| card == name) && name != "lo", "{name}");
        let address = std::fs::read_to_string(format!("/sys/class/net/{name}/address")).unwrap_or_default();
        if !item["macaddr"].as_str().unwrap().is_empty() {
            assert_eq!(item["macaddr"], address.trim().to_uppercase());
        }
    }
    let answer =
        platform.request("get_configs", json!({"groupKey": ["version", "netinfo", "time"]})).await.unwrap();
    assert_eq!((&answer["RspMsg"], answer["data"].as_array().unwrap().len()), (&json!("get_configs"), 3));
    assert_eq!(answer["data"][1], group);
    for group in ["netinfo", "version"] {
        let answer = set(&platform, json!({ group: {"name": "eth0"} })).await;
        assert_eq!(
            (&answer["result"], &answer["desc"]),
            (&json!(104), &json!(format!("{group}: can only be read")))
        );
    }
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_timer_is_set_read_kept_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, _, address) = platform_at("2020-07-01T08:00:00Z").await;
    let running = gate_at("2020-07-01T08:00:00Z", folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    // The request of 4.5.10.17.
    let document = json!({"week": 4, "auto_reboot": true, "log_level": 0, "time": "03:00:00"});
    let answer = set(&platform, json!({ "system_reboot": document })).await;
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!("set_system_reboot")));
    for (key, value) in [
        ("week", json!(8)),
        ("week", json!(-1)),
        ("log_level", json!(3)),
        ("auto_reboot", json!("perhaps")),
        ("time", json!("3:00:00")),
        ("time", json!("24:00:00")),
        ("time", json!("03:00")),
    ] {
        let mut group = json!({"week": 1, "log_level": 2});
        group[key] = value;
        let answer = set(&platform, json!({ "system_reboot": group })).await;
        assert_eq!(answer["result"], 104, "{key}");
        assert!(answer["desc"].as_str().unwrap().starts_with(&format!("system_reboot.{key}: ")), "{answer}");
    }
    running.stop().await;
    let mut running = gate_at("2020-07-01T08:00:00Z", folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    let group = get(&platform, "system_reboot").await;
    for (key, value) in document.as_object().unwrap() {
        assert_eq!(group[key], *value, "{key}");
    }
    // 2020-07-01 is a Wednesday: 4. A clock five seconds before the time.
    let answer = set(
        &platform,
        json!({"time": {"time_control": 0, "currenttime": "2020-07-01 02:59:55"}, "system_reboot": {"week": 4}}),
    )
    .await;
    assert_eq!((&answer["result"], &answer["RspMsg"]), (&json!(0), &json!("config_system")));
    assert_eq!(order(&mut running).await["order"], "set_clock");
    assert_eq!(order(&mut running).await, json!({"order": "restart", "by": "timer"}));
    running.gate.anew().await;
    assert_eq!(running.store.setting("restart.by_timer").unwrap().as_deref(), Some("true"));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_restart_is_answered_first_and_obeyed_once() {
    let folder = tempfile::tempdir().unwrap();
    let (platform, _, address) = platform_at("2026-03-02T04:00:00Z").await;
    let mut running = gate_at("2026-03-02T04:00:00Z", folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    // The request and the answer of 4.5.1.
    let body = br#"{"message": "device_restart", "data": {}}"#.to_vec();
    let sent = platform.send_body(None, "device_restart", 3, 4711, body.clone()).unwrap();
    assert_eq!(sent.answer().await.unwrap(), json!({"result": 0, "desc": "Success", "data": {}}));
    let by_platform = json!({"order": "restart", "by": {"platform": "qyzn"}});
    assert_eq!(order(&mut running).await, by_platform);
    running.gate.anew().await;
    running.stop().await;
    // The answer was lost, and the platform asks again: the gate that has come back knows.
    let mut running = gate_at("2026-03-02T04:00:00Z", folder.path(), address);
    platform.wait_until_logged_in().await.unwrap();
    let again = platform.send_body(None, "device_restart", 3, 4711, body.clone()).unwrap();
    assert_eq!(again.answer().await.unwrap()["result"], 0);
    // A zone is the next order to the machine: the repetition was none.
    assert_eq!(set(&platform, json!({"time": {"timezone": 12}})).await["result"], 0);
    assert_eq!(order(&mut running).await["order"], "set_zone");
    // Another sequence is another order.
    let other = platform.send_body(None, "device_restart", 3, 4712, body).unwrap();
    assert_eq!(other.answer().await.unwrap()["result"], 0);
    assert_eq!(order(&mut running).await, by_platform);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

/// A folder with programs that note their arguments.
fn programs(folder: &Path, timedatectl: &str) {
    let calls = folder.join("calls");
    let text = format!(
        "#!/bin/sh\n{{ printf '%s' \"${{0##*/}}\"; for a in \"$@\"; do printf ' <%s>' \"$a\"; done; echo; }} >> '{}'\n{timedatectl}\n",
        calls.display()
    );
    let plain = folder.join("program");
    std::fs::write(&plain, text).unwrap();
    for program in ["timedatectl", "systemctl", "busctl"] {
        // Written by another program: this one could not run what it has open for writing somewhere.
        let path = folder.join(program);
        let status = std::process::Command::new("install").args(["-m", "755"]).arg(&plain).arg(path).status();
        assert!(status.unwrap().success());
    }
}

fn calls(folder: &Path) -> Vec<String> {
    let path = folder.join("calls");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    text.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_under_systemd_is_ordered_by_its_programs() {
    let (folder, machine) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (platform, _, address) = platform_at("2026-03-02T04:00:00Z").await;
    // `show` tells that NTP is off; `CanReboot` that nobody may.
    programs(machine.path(), "case \"$1 $2\" in show*) echo no;; --timeout*) echo 's \"no\"';; esac");
    let local = Path::new("/usr/share/zoneinfo/Etc/GMT-8");
    if local.exists() {
        std::fs::copy(local, machine.path().join("localtime")).unwrap();
    }
    let system = Arc::new(Systemd::at(machine.path(), machine.path(), Duration::from_secs(60)));
    let mut running = Running::start_on(
        folder.path(),
        address,
        &config::Device::default(),
        manual(),
        clock_at("2026-03-02T04:00:00Z"),
        system,
    );
    platform.wait_until_logged_in().await.unwrap();
    if local.exists() {
        assert_eq!(calls(machine.path()), [""; 0], "the zone is the right one already");
    }
    let time = json!({"timezone": 4, "time_control": 2, "currenttime": "2026-03-02 04:00:00",
        "ntpServer": "192.168.1.250", "ntpPort": 123});
    assert_eq!(set(&platform, json!({ "time": time })).await["result"], 0);
    let told = calls(machine.path());
    assert_eq!(
        told[told.len() - 6..],
        [
            "timedatectl <--no-ask-password> <set-timezone> <Etc/GMT+8>",
            "timedatectl <show> <--property=NTP> <--value>",
            "timedatectl <--no-ask-password> <set-time> <2026-03-02 12:00:00.000 UTC>",
            "timedatectl <show> <--property=NTP> <--value>",
            "timedatectl <--no-ask-password> <set-ntp> <false>",
            "timedatectl <--no-ask-password> <set-ntp> <true>",
        ]
    );
    let drop_in = machine.path().join("timesyncd.conf.d/50-menshen.conf");
    assert!(std::fs::read_to_string(&drop_in).unwrap().ends_with("\nNTP=192.168.1.250\n"));
    // A port that the machine's service cannot ask: named, and the zone of the same message put back.
    let answer = set(&platform, json!({"time": {"timezone": 20, "ntpPort": 3030}})).await;
    assert_eq!(answer["result"], 104);
    assert!(answer["desc"].as_str().unwrap().contains("ntpPort 3030"), "{answer}");
    assert_eq!(
        calls(machine.path()),
        [
            "timedatectl <--no-ask-password> <set-timezone> <Etc/GMT-8>",
            "timedatectl <--no-ask-password> <set-timezone> <Etc/GMT+8>",
        ]
    );
    let group = get(&platform, "time").await;
    assert_eq!((&group["timezone"], &group["ntpPort"]), (&json!(4), &json!(123)));
    // Refused in its own words.
    programs(machine.path(), "echo 'Failed to set time zone: Access denied' >&2; exit 1");
    let answer = set(&platform, json!({"time": {"timezone": 20}})).await;
    assert_eq!(answer["result"], 104);
    assert_eq!(
        answer["desc"],
        "time: the zone cannot be set: not permitted: timedatectl: Failed to set time zone: Access denied"
    );
    assert_eq!(get(&platform, "time").await["timezone"], 4);
    programs(machine.path(), "echo 's \"no\"'");
    let answer = platform.request("device_restart", json!({})).await.unwrap();
    assert_eq!(answer["result"], -1);
    assert!(answer["desc"].as_str().unwrap().contains("login1 says s \"no\""), "{answer}");
    calls(machine.path());
    programs(machine.path(), "echo 's \"yes\"'");
    assert_eq!(platform.request("device_restart", json!({})).await.unwrap()["result"], 0);
    assert_eq!(
        running.event(|event| event.fields.get("order") == Some(&json!("restart"))).await.kind,
        "system"
    );
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

#[test]
fn a_simulated_restart_is_the_agents_own() {
    let site = Site::new();
    let mut agent = Agent::start(site.folder(), &site.config(&prepared(".setup/demo/frames"), 1));
    site.logged_in();
    let run = |agent: &Agent| agent.get("/api/v1/status")["run"].as_str().unwrap().to_owned();
    let first = run(&agent);
    let seen = site.journal_len();
    let body = br#"{"message": "device_restart", "data": {}}"#.to_vec();
    let order = |seq| {
        let answer = async {
            let sent = site.platform.send_body(None, "device_restart", 3, seq, body.clone()).unwrap();
            sent.answer().await.unwrap()
        };
        site.block_on(answer)["result"].clone()
    };
    assert_eq!(order(4711), 0);
    site.logged_in_after(seen);
    // The same process, another run.
    assert_eq!(agent.process.child.try_wait().unwrap(), None);
    agent.listen_again();
    let second = run(&agent);
    assert_ne!(second, first);
    assert_eq!(order(4711), 0, "the platform did not get the answer");
    assert_eq!(site.request("open_door", json!({}))["result"], 0);
    agent.event("the door's opening", |event| {
        assert_ne!(event["order"], "restart", "the repetition was obeyed");
        event["kind"] == "relay" && event["state"] == "on"
    });
    assert_eq!(run(&agent), second);
    site.assert_proper();
    assert_eq!(agent.process.stop(), Some(0));
}
