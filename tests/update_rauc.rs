//! New versions with two slots: a program that stands in for RAUC and does what programs do, RAUC itself where this
//! machine has it, and what the gate makes of both.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod gate;
    pub mod process;
    pub mod vision;
}

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use menshen::config;
use menshen::event::Event;
use menshen::service::admin::Server;
use menshen::update::attempt::{Attempt, Notes, State, Trouble};
use menshen::update::choice::{Copies, Slot};
use menshen::update::rauc::Rauc;
use menshen::update::{Accepted, Age, Installed, Installer, Mark, Options, Updates};
use menshen::{Kind, Result};
use serde_json::{Value, json};
use support::gate::Running;
use support::process::{Process, free_address, http, menshen, prepared};

/// As RAUC 1.8 prints it, with slot B written once.
const STATUS: &str = r#"{"compatible":"menshen-gate-arm64","variant":"","booted":"A","boot_primary":"rootfs.0","slots":[{"rootfs.1":{"class":"rootfs","device":"/dev/gate/root-b","type":"raw","bootname":"B","state":"inactive","parent":null,"mountpoint":null,"boot_status":"bad","slot_status":{"bundle":{"compatible":"menshen-gate-arm64","version":"0.0.9"},"checksum":{"sha256":"168b816c1223d83b9ee4241c644e27890c721684aa55b6ee78c9a28a0585346b","size":4194304},"installed":{"timestamp":"2026-11-22T07:57:12Z","count":1},"activated":{"timestamp":"2026-11-22T07:57:13Z","count":1},"status":"ok"}}},{"rootfs.0":{"class":"rootfs","device":"/dev/gate/root-a","type":"raw","bootname":"A","state":"booted","parent":null,"mountpoint":null,"boot_status":"good","slot_status":{"bundle":{"compatible":null}}}}]}"#;

const INSTALL: &str = r"cat <<'SAID'
installing
  0% Installing
 20% Determining slot states done.
 90% Copying image to rootfs.1
100% Installing done.
Installing `x` succeeded
SAID";

const WITHIN: [Duration; 3] = [Duration::from_secs(60); 3];

/// A machine whose `rauc` notes its arguments, each call in a line, and then does what was said for the command.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        std::fs::create_dir(machine.path("bin")).unwrap();
        let text = format!(
            "#!/bin/sh\n{{ printf 'rauc'; for a in \"$@\"; do printf ' <%s>' \"$a\"; done; echo; }} >> '{0}/calls'\n. '{0}/does-'\"$1\"\n",
            machine.folder.path().display()
        );
        // Written by another program: a file that this process has open for writing, if only in a child that
        // another test is just starting, cannot be run.
        std::fs::write(machine.path("rauc.text"), text).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(machine.path("rauc.text")).arg(machine.path("bin/rauc"));
        assert!(install.status().unwrap().success());
        std::fs::write(machine.path("cmdline"), "ro quiet rauc.slot=A\n").unwrap();
        std::fs::create_dir(machine.path("boot")).unwrap();
        Copies::new(machine.path("boot")).make().unwrap();
        machine.does("status", &format!("[ \"$2\" = --detailed ] && echo '{STATUS}'; exit 0"));
        machine.bundle("0.2.0");
        machine.does("install", INSTALL);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn does(&self, command: &str, text: &str) {
        std::fs::write(self.path(&format!("does-{command}")), text).unwrap();
    }

    /// Every package is one of this version.
    fn bundle(&self, version: &str) {
        self.does(
            "info",
            &format!(r#"echo '{{"compatible":"menshen-gate-arm64","version":"{version}","images":[]}}'"#),
        );
    }

    fn rauc(&self) -> Rauc {
        self.rauc_within(WITHIN)
    }

    fn rauc_within(&self, within: [Duration; 3]) -> Rauc {
        Rauc::at(&self.path("bin/rauc"), &self.path("cmdline"), &self.path("boot"), within)
    }

    fn calls(&self) -> Vec<String> {
        let path = self.path("calls");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        text.lines().map(str::to_owned).collect()
    }

    fn accept(&self, age: Age) -> Result<Accepted> {
        self.rauc().accept(Path::new("/x/package"), age)
    }

    fn refused(&self, age: Age) -> String {
        let error = self.accept(age).unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{error}");
        error.to_string()
    }
}

fn install(rauc: &Rauc) -> (Result<Installed>, Vec<(u8, String)>) {
    let mut told = Vec::new();
    let outcome = rauc.install(Path::new("/x/package"), "0.2.0", &mut |percent, what| {
        told.push((percent, what.to_owned()));
    });
    (outcome, told)
}

#[test]
fn a_bundle_is_verified_and_installed_by_rauc() {
    let machine = Machine::new();
    let rauc = machine.rauc();
    rauc.check().unwrap();
    assert_eq!(machine.calls(), ["rauc <status> <--detailed> <--output-format=json>"]);
    let accepted = Accepted { version: "0.2.0".into(), running: env!("CARGO_PKG_VERSION").into() };
    assert_eq!(machine.accept(Age::Newer).unwrap(), accepted);
    assert_eq!(machine.calls()[0], "rauc <info> <--output-format=json> </x/package>");
    let (outcome, told) = install(&rauc);
    assert_eq!(outcome.unwrap(), Installed::Restart);
    let wanted = [
        (0, "Installing"),
        (20, "Determining slot states done."),
        (90, "Copying image to rootfs.1"),
        (100, "Installing done."),
    ];
    assert_eq!(told, wanted.map(|(percent, what)| (percent, what.to_owned())));
    assert_eq!(machine.calls(), ["rauc <install> </x/package>"]);
    rauc.mark(Mark::Good).unwrap();
    rauc.mark(Mark::OtherBad).unwrap();
    assert_eq!(machine.calls(), ["rauc <status> <mark-good> <booted>", "rauc <status> <mark-bad> <other>"]);

    Copies::new(machine.path("boot")).change(|choice| choice.set_primary(Slot::B, Some(Slot::A))).unwrap();
    let slots = rauc.slots().unwrap();
    assert_eq!((slots.booted, slots.primary, slots.trial), (Some(Slot::A), Some(Slot::A), Some(Slot::B)));
    let said: Vec<_> =
        slots.slots.iter().map(|slot| (slot.slot, slot.good, slot.version.as_deref())).collect();
    assert_eq!(said, [(Slot::A, Some(true), None), (Slot::B, Some(false), Some("0.0.9"))]);
    assert_eq!(slots.slots[1].installed.as_deref(), Some("2026-11-22T07:57:12Z"));
}

#[test]
fn what_may_not_be_installed_is_refused_with_its_reason() {
    let machine = Machine::new();
    // As RAUC 1.8 says it.
    for (said, what) in [
        ("signature verification failed: Verify error: self-signed certificate", "self-signed certificate"),
        ("Invalid bundle format: Signature size (45) exceeds bundle size", "exceeds bundle size"),
    ] {
        let said = format!("echo 'rauc-Message: Reading bundle: /x/package' >&2; echo '{said}' >&2; exit 1");
        machine.does("info", &said);
        let text = machine.refused(Age::Any);
        assert!(text.starts_with("the package is no bundle with a valid signature: rauc: "), "{text}");
        assert!(text.contains(what), "{text}");
    }
    machine.does("info", r#"echo '{"compatible":"other-gate","version":"0.2.0"}'"#);
    let text = machine.refused(Age::Any);
    assert!(text.contains("it is for \"other-gate\", this is \"menshen-gate-arm64\""), "{text}");
    machine.does("info", r#"echo '{"compatible":"menshen-gate-arm64","version":null}'"#);
    assert!(machine.refused(Age::Any).contains("does not say which version"));
    machine.does("info", "echo 'Compatible: x'");
    assert!(machine.refused(Age::Any).contains("does not say what it is for"));
    // Older, or the same: it depends on who asks.
    machine.bundle("0.0.1");
    let text = machine.refused(Age::NotOlder);
    assert!(text.contains("version 0.0.1, which is older than 0.1.0"), "{text}");
    assert_eq!(machine.accept(Age::Any).unwrap().version, "0.0.1");
    machine.bundle(env!("CARGO_PKG_VERSION"));
    assert!(machine.refused(Age::Newer).contains("which is not newer than"));
    machine.accept(Age::NotOlder).unwrap();
    // What runs came in a bundle: its version counts.
    let running =
        STATUS.replace(r#""bundle":{"compatible":null}"#, r#""bundle":{"compatible":"x","version":"0.3.0"}"#);
    machine.does("status", &format!("echo '{running}'"));
    machine.bundle("0.2.0");
    assert!(machine.refused(Age::NotOlder).contains("which is older than 0.3.0"));
}

#[test]
fn an_installation_that_fails_says_why() {
    let machine = Machine::new();
    let rauc = machine.rauc();
    let fails = |text: &str| {
        machine.does("install", text);
        let error = install(&rauc).0.unwrap_err();
        assert_eq!(error.kind(), Kind::Device, "{error}");
        error.to_string()
    };
    // The client repeats the service's words on its output, and says nothing of use on the other one.
    let full = "LastError: Failed updating slot rootfs.1: Failed to write data: No space left on device";
    let text = fails(&format!(
        "echo ' 90% Copying image to rootfs.1'; echo '{full}'; echo 'Installing `x` failed' >&2; exit 1"
    ));
    assert_eq!(text, format!("rauc: {}", full.trim_start_matches("LastError: ")));
    let text = fails("echo 'Rejected send message, 2 matched rules; type=\"method_call\"' >&2; exit 1");
    assert!(text.starts_with("not permitted: rauc: Rejected send message"), "{text}");
    assert!(text.contains("D-Bus rules"), "{text}");
    assert!(fails("exit 3").contains("exit status: 3"));
    assert!(fails("yes words; exit 1").contains("said more than anybody wants"));
    // It hangs, and so does what it has started.
    let hanging = machine.rauc_within([Duration::from_millis(200); 3]);
    machine.does("install", "sleep 1000 & sleep 1000");
    machine.does("status", "sleep 1000");
    machine.does("info", "sleep 1000");
    let errors = [
        install(&hanging).0.map(drop).unwrap_err(),
        hanging.check().unwrap_err(),
        hanging.accept(Path::new("/x"), Age::Any).map(drop).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), Kind::Timeout, "{error}");
        assert!(error.to_string().contains("rauc did not end within 0.2 s"), "{error}");
    }
    // There is none.
    let nowhere =
        Rauc::at(Path::new("/nowhere/rauc"), Path::new("/proc/cmdline"), Path::new("/nowhere"), WITHIN);
    let error = nowhere.check().unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("there is no rauc on this machine"), "{error}");
    machine.does("status", "echo 'no json'");
    assert!(rauc.check().unwrap_err().to_string().contains("what RAUC 1.8 prints"));
}

/// A gate with upgrades by the machine's RAUC, which are kept in `data`.
fn gate(machine: &Machine, data: &Path) -> (Running, Updates) {
    let config = config::Update { installer: "rauc".into(), ..config::Update::default() };
    let mut updates = None;
    let running = Running::start_linked(data, &config::Device::default(), |gate, stopped| {
        let options = Options { reserve: 0, ..Options::new(&config) };
        let made = Updates::with(Arc::new(machine.rauc()), options, &config, data, gate.events());
        updates = Some(made.clone());
        async move { made.run(gate, stopped).await }
    });
    (running, updates.unwrap())
}

async fn update(running: &mut Running, state: &str) -> Arc<Event> {
    running.event(|event| event.kind == "update" && event.fields["state"] == state).await
}

async fn offer(updates: &Updates, package: &[u8], age: Age) -> Result<Accepted, String> {
    let mut offer = updates.offer(Some(package.len() as u64)).await.map_err(|failure| failure.text())?;
    offer.write(package).await.map_err(|failure| failure.text())?;
    offer.install(age).await.map_err(|failure| failure.text())
}

fn attempt(state: State, boot: &str) -> Attempt {
    Attempt {
        version: "0.2.0".into(),
        from_version: "0.1.0".into(),
        from: Some(Slot::A),
        state,
        why: None,
        time: "2026-03-02T04:00:00Z".parse().unwrap(),
        boot: boot.into(),
        cameras: Vec::new(),
        ordered: false,
        rolled_back: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stick_with_versions_that_were_rolled_back_does_not_bring_them_again() {
    let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
    let notes = Notes::new(data.path().join("update"));
    let installed = || machine.calls().iter().filter(|call| call.contains("<install>")).count();
    // Two on the stick, and neither of them comes up: the machine starts again in the slot of before each time.
    for (version, why) in [("0.4.0", "camera 0 gives no pictures"), ("0.3.0", "no models")] {
        let (mut running, updates) = gate(&machine, data.path());
        machine.bundle(version);
        offer(&updates, b"signed", Age::Newer).await.unwrap();
        assert_eq!(update(&mut running, "installed").await.fields["version"], version);
        running.stop().await;
        assert_eq!(installed(), 1);
        let mut tried = notes.attempt().unwrap().unwrap();
        tried.boot = "another start".into();
        notes.keep(&tried).unwrap();
        notes.keep_trouble(&Trouble { slot: Some(Slot::B), why: why.into() }).unwrap();
    }
    // Not even where the stick is faster than the look at what became of the last one.
    let config = config::Update { installer: "rauc".into(), ..config::Update::default() };
    let events = menshen::event::Events::new(menshen::clock::ManualClock::new(jiff::Timestamp::now()));
    let options = Options { reserve: 0, ..Options::new(&config) };
    let updates = Updates::with(Arc::new(machine.rauc()), options, &config, data.path(), &events);
    let refused = offer(&updates, b"signed", Age::Newer).await.unwrap_err();
    assert!(
        refused.contains("version 0.3.0 was tried before and rolled back (no models); to try it once more: menshen update install"),
        "{refused}"
    );
    assert_eq!(notes.attempt().unwrap().unwrap().state, State::RolledBack);
    machine.bundle("v0.4");
    let refused = offer(&updates, b"signed", Age::Newer).await.unwrap_err();
    assert!(refused.contains("version v0.4 was tried before and rolled back;"), "{refused}");
    assert_eq!(installed(), 0);
    // A newer one may come, and a technician may have each of them.
    machine.bundle("0.4.1");
    machine.does("install", "exit 1");
    offer(&updates, b"signed", Age::Newer).await.unwrap();
    until(|| notes.attempt().unwrap().unwrap().state == State::Failed);
    machine.bundle("0.4.0");
    until_free(&updates).await;
    assert!(offer(&updates, b"signed", Age::Newer).await.unwrap_err().contains("rolled back"));
    machine.does("install", INSTALL);
    offer(&updates, b"signed", Age::NotOlder).await.unwrap();
    until(|| notes.attempt().unwrap().unwrap().state == State::Installed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_that_is_being_verified_keeps_its_name_though_nobody_waits_any_more() {
    let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
    let config = config::Update { installer: "rauc".into(), ..config::Update::default() };
    let events = menshen::event::Events::new(menshen::clock::ManualClock::new(jiff::Timestamp::now()));
    let options = Options { reserve: 0, ..Options::new(&config) };
    let updates = Updates::with(Arc::new(machine.rauc()), options, &config, data.path(), &events);
    machine.bundle("0.2.0");
    let good = std::fs::read_to_string(machine.path("does-info")).unwrap();
    // Refused at last, or accepted with nobody there to hear it.
    for ends in ["exit 1", &good] {
        let folder = machine.folder.path().display();
        machine.does(
            "info",
            &format!("touch '{folder}/verifying'; while ! [ -e '{folder}/go' ]; do sleep 0.02; done; {ends}"),
        );
        let offered = updates.clone();
        let client = tokio::spawn(async move { offer(&offered, b"the first package", Age::Any).await });
        until(|| machine.path("verifying").exists());
        client.abort();
        assert!(client.await.unwrap_err().is_cancelled());
        let second = updates.offer(None).await.map(drop).map_err(|failure| failure.text());
        assert_eq!(second.unwrap_err(), "another upgrade is under way");
        assert_eq!(std::fs::read(data.path().join("update/offered")).unwrap(), b"the first package");
        std::fs::write(machine.path("go"), b"").unwrap();
        until_free(&updates).await;
        assert!(!data.path().join("update/offered").exists(), "nobody wants it: {ends}");
        assert!(!machine.calls().iter().any(|call| call.contains("<install>")));
        for name in ["go", "verifying"] {
            std::fs::remove_file(machine.path(name)).unwrap();
        }
    }
    machine.bundle("0.2.0");
    offer(&updates, b"the second package", Age::Any).await.unwrap();
}

/// Waits until nothing is being installed.
async fn until_free(updates: &Updates) {
    while updates.standing().await.busy {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_is_installed_and_the_gate_restarts_into_it_once() {
    let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
    // What came is what RAUC is given.
    machine.does("install", &format!("cp \"$2\" '{}'; {INSTALL}", machine.path("given").display()));
    let (mut running, updates) = gate(&machine, data.path());
    let accepted = offer(&updates, b"signed", Age::NotOlder).await.unwrap();
    assert_eq!(accepted.version, "0.2.0");
    let percent = update(&mut running, "installing").await;
    assert_eq!(percent.fields["version"], "0.2.0");
    assert_eq!(update(&mut running, "installed").await.fields["installer"], "rauc");
    let restart = running.event(|event| event.kind == "system" && event.fields["order"] == "restart").await;
    assert_eq!(restart.fields["by"], "update");
    assert_eq!(std::fs::read(machine.path("given")).unwrap(), b"signed");
    until_free(&updates).await;
    let standing = serde_json::to_value(updates.standing().await).unwrap();
    assert_eq!(
        (&standing["installer"], &standing["attempt"]["state"]),
        (&json!("rauc"), &json!("installed"))
    );
    assert_eq!((&standing["booted"], &standing["busy"]), (&json!("A"), &json!(false)));
    running.stop().await;
    assert!(!data.path().join("update/offered").exists(), "nothing stays of it");
    // A machine that only restarts the agent is not told again, and again.
    let (mut running, _) = gate(&machine, data.path());
    assert!(update(&mut running, "waiting").await.fields["error"].as_str().unwrap().contains("by hand"));
    let heard = running.gate.events().standing();
    assert!(!heard.iter().any(|event| event.kind == "system"), "{heard:?}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_waits_for_a_package_on_its_way_and_does_not_bring_one_that_failed() {
    let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
    let (mut running, updates) = gate(&machine, data.path());
    // Somebody is there.
    running.gate.present_card("3000001".into()).await.unwrap();
    running.event(|event| event.kind == "voice").await;
    offer(&updates, b"the first", Age::Any).await.unwrap();
    update(&mut running, "installed").await;
    until_free(&updates).await;
    let go = machine.path("go");
    machine.does(
        "install",
        &format!(
            "while ! [ -e '{}' ]; do sleep 0.02; done; echo 'LastError: no space'; exit 1",
            go.display()
        ),
    );
    offer(&updates, b"the second", Age::Any).await.unwrap();
    // Nobody has been there for longer than a restart waits for.
    while !running.gate.quiet_for(Duration::from_secs(17)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::write(go, b"").unwrap();
    let restart = |event: &Event| event.kind == "system" && event.fields["order"] == "restart";
    let next = running
        .event(|event| restart(event) || event.kind == "update" && event.fields["state"] == "failed")
        .await;
    assert_eq!(next.kind, "update", "it restarts while a package is being installed");
    // The slot that the first was in was written over by the second: only the third is there to be started.
    machine.does("install", INSTALL);
    // Whoever wanted to restart is just seeing that there is nothing to restart into.
    while let Err(why) = offer(&updates, b"the third", Age::Any).await {
        assert_eq!(why, "another upgrade is under way");
        until_free(&updates).await;
    }
    let next = running
        .event(|event| restart(event) || event.kind == "update" && event.fields["state"] == "installed")
        .await;
    assert_eq!(next.kind, "update", "it restarts into what failed");
    running.event(restart).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_leaves_nothing_behind() {
    let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
    let (mut running, updates) = gate(&machine, data.path());
    machine.does("info", "echo 'signature verification failed' >&2; exit 1");
    let why = offer(&updates, b"forged", Age::Any).await.unwrap_err();
    assert!(why.contains("signature verification failed"), "{why}");
    assert_eq!(update(&mut running, "failed").await.fields["error"], why);
    assert!(!data.path().join("update/offered").exists());
    assert_eq!(machine.calls().iter().filter(|call| call.contains("<install>")).count(), 0);
    // One at a time, and one that breaks off goes.
    let half = updates.offer(None).await.map_err(|failure| failure.text()).unwrap();
    let second = updates.offer(None).await.map(drop).map_err(|failure| failure.text());
    assert_eq!(second.unwrap_err(), "another upgrade is under way");
    drop(half);
    assert!(!data.path().join("update/offered").exists());
    // Longer than is allowed, said before and not.
    let long = updates.offer(Some(513 << 20)).await.map(drop).map_err(|failure| failure.text());
    assert!(long.unwrap_err().contains("longer than update.max_mib = 512"));
    // RAUC fails in the middle.
    machine.bundle("0.2.0");
    machine.does("install", "echo 'LastError: No space left on device'; exit 1");
    offer(&updates, b"signed", Age::Any).await.unwrap();
    assert!(update(&mut running, "failed").await.fields["error"].as_str().unwrap().contains("No space left"));
    let noted = Notes::new(data.path().join("update")).attempt().unwrap().unwrap();
    assert_eq!((noted.state, noted.why.as_deref()), (State::Failed, Some("rauc: No space left on device")));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_version_is_told_by_the_system_that_runs_then() {
    let cases = [
        // Rolled back, with the word of the system that was tried and without one.
        (
            State::Installed,
            Some("camera 0 gives no pictures"),
            State::RolledBack,
            "camera 0 gives no pictures",
            true,
        ),
        (State::Installed, None, State::RolledBack, "did not come up in any of its attempts", true),
        // The power went while it was written: there was nothing to roll back.
        (State::Installing, None, State::Failed, "the power went", false),
    ];
    for (state, trouble, wanted, why, marked) in cases {
        let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
        let notes = Notes::new(data.path().join("update"));
        notes.keep(&attempt(state, "another start")).unwrap();
        if let Some(why) = trouble {
            notes.keep_trouble(&Trouble { slot: Some(Slot::B), why: why.into() }).unwrap();
        }
        let (mut running, updates) = gate(&machine, data.path());
        let told = update(&mut running, "failed").await;
        let error = told.fields["error"].as_str().unwrap();
        assert!(error.contains(why), "{error}");
        if marked {
            assert!(error.starts_with("the update to 0.2.0 failed and 0.1.0 runs again: "), "{error}");
        }
        let noted = notes.attempt().unwrap().unwrap();
        assert_eq!(noted.state, wanted);
        assert!(noted.why.unwrap().contains(why));
        let bad = machine.calls().iter().any(|call| call == "rauc <status> <mark-bad> <other>");
        assert_eq!(bad, marked);
        let _ = updates;
        running.stop().await;
    }
    // It runs: on trial until it is confirmed, and then good.
    let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
    std::fs::write(machine.path("cmdline"), "rauc.slot=B").unwrap();
    let notes = Notes::new(data.path().join("update"));
    notes.keep(&attempt(State::Installed, "another start")).unwrap();
    let (mut running, updates) = gate(&machine, data.path());
    assert_eq!(update(&mut running, "trial").await.fields["version"], "0.2.0");
    updates.confirm().await.unwrap();
    assert_eq!(update(&mut running, "good").await.fields["version"], "0.2.0");
    assert_eq!(notes.attempt().unwrap().unwrap().state, State::Good);
    assert!(machine.calls().iter().any(|call| call == "rauc <status> <mark-good> <booted>"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_without_its_data_partition_is_not_healthy_and_says_so() {
    let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
    let config = config::Update { installer: "rauc".into(), ..config::Update::default() };
    let mut made = None;
    let running = Running::start_linked(data.path(), &config::Device::default(), |gate, stopped| {
        let options = Options { data_lost: machine.path("data-lost"), ..Options::new(&config) };
        let updates = Updates::with(Arc::new(machine.rauc()), options, &config, data.path(), gate.events());
        made = Some(updates.clone());
        async move { updates.run(gate, stopped).await }
    });
    let updates = made.unwrap();
    let gate = running.gate.clone();
    gate.events().send("task", json!({ "task": "agent", "state": "ready", "ready_ms": 1 }));
    let reasons = async || updates.health(&gate).await.reasons;
    tokio::time::timeout(Duration::from_secs(60), async {
        while !reasons().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it is healthy");

    let admin = config::Admin {
        listen: "127.0.0.1:0".parse().unwrap(),
        token_file: None,
        allowed_origins: Vec::new(),
    };
    let server = Server::bind(gate.clone(), &config::Config::default(), admin).await.unwrap();
    let server = server.with_updates(updates.clone());
    let page = server.address();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let served = tokio::spawn(async move { server.run(stopped).await });
    let notices = async || {
        let (_, body) =
            tokio::task::spawn_blocking(move || http(page, "GET", "/api/v1/status")).await.unwrap();
        let status: Value = serde_json::from_slice(&body).unwrap();
        status["notices"].clone()
    };
    assert_eq!(notices().await, json!([]));
    std::fs::write(machine.path("data-lost"), "it cannot be repaired\n").unwrap();
    let why =
        "the data partition could not be mounted, and what is on it is not there: it cannot be repaired";
    assert_eq!(reasons().await, [why]);
    let told = notices().await;
    assert_eq!((&told[0]["kind"], &told[0]["text"]), (&json!("data_lost"), &json!(why)));
    stop.send_replace(true);
    served.await.unwrap().unwrap();
    running.stop().await;
}

/// A status whose slot B holds `version`.
fn holds(machine: &Machine, version: &str) {
    let status = STATUS.replace(r#""version":"0.0.9""#, &format!(r#""version":"{version}""#));
    machine.does("status", &format!("[ \"$2\" = --detailed ] && echo '{status}'; exit 0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_ended_without_a_note_is_seen_in_the_boot_loaders_choice() {
    let here = menshen::update::attempt::boot_id();
    let prepare = |state, boot: &str, slot: &str| {
        let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
        holds(&machine, "0.2.0");
        std::fs::write(machine.path("cmdline"), format!("rauc.slot={slot}")).unwrap();
        let choice = Copies::new(machine.path("boot"));
        choice.change(|choice| choice.set_primary(Slot::B, Some(Slot::A))).unwrap();
        let notes = Notes::new(data.path().join("update"));
        notes.keep(&Attempt { cameras: vec![0], ..attempt(state, boot) }).unwrap();
        (machine, data, choice, notes)
    };
    // The power went, or the agent had given up while RAUC went on; the new version runs.
    for state in [State::Installing, State::Failed] {
        let (machine, data, _, notes) = prepare(state, "another start", "B");
        let (mut running, updates) = gate(&machine, data.path());
        assert_eq!(update(&mut running, "trial").await.fields["version"], "0.2.0");
        let health = updates.health(&running.gate).await;
        assert!(
            health.reasons.iter().any(|reason| reason.starts_with("camera 0 gives no pictures")),
            "it is measured by the cameras of before: {health:?}"
        );
        updates.confirm().await.unwrap();
        assert_eq!(notes.attempt().unwrap().unwrap().state, State::Good);
        running.stop().await;
    }
    // The agent alone ended: the gate still has to restart. The same where the note is of a start before.
    for boot in [here.as_str(), "another start"] {
        let (machine, data, _, notes) = prepare(State::Installing, boot, "A");
        let (mut running, _) = gate(&machine, data.path());
        let restart =
            running.event(|event| event.kind == "system" && event.fields["order"] == "restart").await;
        assert_eq!(restart.fields["by"], "update");
        assert_eq!(notes.attempt().unwrap().unwrap().state, State::Installed);
        running.stop().await;
    }
    // It was started as often as it may be. What it held is an earlier version than the one that was to follow.
    let (machine, data, choice, notes) = prepare(State::Installing, "another start", "A");
    holds(&machine, "0.1.9");
    choice.change(|choice| choice.left[Slot::B as usize] = 0).unwrap();
    let (mut running, _) = gate(&machine, data.path());
    let told = update(&mut running, "failed").await;
    let text = told.fields["error"].as_str().unwrap();
    assert!(text.starts_with("the update to 0.1.9 failed and 0.1.0 runs again: "), "{text}");
    assert_eq!(notes.attempt().unwrap().unwrap().state, State::RolledBack);
    assert!(machine.calls().iter().any(|call| call == "rauc <status> <mark-bad> <other>"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_takes_too_long_is_judged_by_what_became_of_it() {
    for (held, wanted) in [("0.2.0", State::Installed), ("0.0.9", State::Failed)] {
        let (machine, data) = (Machine::new(), tempfile::tempdir().unwrap());
        holds(&machine, held);
        machine.does("install", "sleep 1000");
        let copies = Copies::new(machine.path("boot"));
        copies.change(|choice| choice.set_primary(Slot::B, Some(Slot::A))).unwrap();
        let config = config::Update { installer: "rauc".into(), ..config::Update::default() };
        let events = menshen::event::Events::new(menshen::clock::ManualClock::new(jiff::Timestamp::now()));
        events.send("camera", json!({ "camera": 1, "state": "watching" }));
        let options = Options { reserve: 0, ..Options::new(&config) };
        let rauc = machine.rauc_within([WITHIN[0], WITHIN[1], Duration::from_millis(200)]);
        let updates = Updates::with(Arc::new(rauc), options, &config, data.path(), &events);
        offer(&updates, b"signed", Age::Any).await.unwrap();
        until_free(&updates).await;
        let noted = Notes::new(data.path().join("update")).attempt().unwrap().unwrap();
        assert_eq!((noted.state, noted.cameras), (wanted, vec![1]), "{held}");
    }
}

/// An agent as a process, on a machine whose `rauc` is in its PATH.
struct Agent {
    /// Stopped with the test.
    _process: Process,
    page: std::net::SocketAddr,
    config: PathBuf,
}

impl Agent {
    fn start(machine: &Machine) -> Self {
        let page = free_address();
        let config = machine.path("menshen.toml");
        let text = format!(
            "[terminal]\ndata_dir = {:?}\n[vision]\nmodels_dir = {:?}\n[update]\ninstaller = \"rauc\"\nrestart = \"{}\"\n[service]\nadmin = {{ listen = \"{page}\" }}\n",
            machine.path("data"),
            prepared("models"),
            // Never in this test.
            (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(20)).strftime("%H:%M"),
        );
        std::fs::write(&config, text).unwrap();
        let mut command = menshen();
        command.arg("run").arg("--config").arg(&config).env("PATH", Self::programs(machine));
        let process = Process::start(command);
        let agent = Self { _process: process, page, config };
        let until = std::time::Instant::now() + support::process::PATIENCE;
        while std::net::TcpStream::connect(page).is_err() {
            assert!(std::time::Instant::now() < until, "the agent is not there");
            std::thread::sleep(Duration::from_millis(20));
        }
        agent
    }

    fn programs(machine: &Machine) -> String {
        format!("{}:{}", machine.path("bin").display(), std::env::var("PATH").unwrap())
    }

    fn run(&self, machine: &Machine, arguments: &[&str]) -> (i32, String, String) {
        let output = menshen()
            .args(arguments)
            .arg("--config")
            .arg(&self.config)
            .env("PATH", Self::programs(machine))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn the_commands_install_and_tell_and_judge() {
    let machine = Machine::new();
    let agent = Agent::start(&machine);
    let package = machine.path("menshen-0.2.0.raucb");
    std::fs::write(&package, vec![7; 3_000_000]).unwrap();
    let package = package.to_str().unwrap();

    let (code, output, _) = agent.run(&machine, &["update", "install", package]);
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("installing 0.2.0 over 0.1.0"), "{output}");
    assert!(output.ends_with("installed; the gate restarts into it when nobody is there\n"), "{output}");
    let (code, output, _) = agent.run(&machine, &["update", "status"]);
    assert_eq!(code, 0);
    for line in [
        "menshen 0.1.0, installer rauc",
        "slot A: as it was made, runs, is booted next, good",
        "slot B: 0.0.9, bad, installed 2026-11-22T07:57:12Z",
        "last upgrade: to 0.2.0, installed at",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    let (code, output, _) = agent.run(&machine, &["update", "status", "--json"]);
    let json: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((code, &json["booted"], &json["attempt"]["version"]), (0, &json!("A"), &json!("0.2.0")));

    // The note of the last one is no word on this one, which cannot even be noted.
    let in_the_way = machine.path("data/update/attempt.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let (code, output, errors) = agent.run(&machine, &["update", "install", package]);
    assert_eq!(code, 1, "{output}");
    assert!(errors.contains("attempt.json cannot be written") && !output.contains("installed"), "{errors}");
    std::fs::remove_dir(&in_the_way).unwrap();

    // Refused with the reason; told to, all the same.
    machine.bundle("0.0.1");
    let (code, _, errors) = agent.run(&machine, &["update", "install", package]);
    assert_eq!(code, 1);
    assert!(errors.contains("which is older than 0.1.0"), "{errors}");
    assert_eq!(agent.run(&machine, &["update", "install", package, "--older"]).0, 0);
    let (code, _, errors) = agent.run(&machine, &["update", "install", "/nowhere.raucb"]);
    assert!(code == 1 && errors.contains("/nowhere.raucb cannot be read"), "{errors}");

    // A stick: nothing on it, then only something older, then something newer beside it.
    let stick = machine.path("stick");
    std::fs::create_dir(&stick).unwrap();
    let on_stick = |name: &str| std::fs::write(stick.join(name), name).unwrap();
    let insert = || agent.run(&machine, &["update", "stick", stick.to_str().unwrap()]);
    let (code, output, _) = insert();
    assert!(code == 0 && output.contains("there is no menshen-*.raucb on it"), "{output}");
    machine.does(
        "info",
        "grep -q forged \"$3\" && { echo 'signature verification failed' >&2; exit 1; }
         echo '{\"compatible\":\"menshen-gate-arm64\",\"version\":\"'\"$(sed 's/menshen-//; s/.raucb//' \"$3\")\"'\"}'",
    );
    on_stick("menshen-0.1.0.raucb");
    let (code, _, errors) = insert();
    assert!(code == 1 && errors.contains("which is not newer than 0.1.0"), "{errors}");
    on_stick("menshen-9-forged.raucb");
    on_stick("menshen-0.4.0.raucb");
    let (code, output, errors) = insert();
    assert_eq!(code, 0, "{errors}");
    assert!(
        errors.contains("menshen-9-forged.raucb") && output.contains("installing 0.4.0"),
        "{output}{errors}"
    );

    // Nothing is taken that a page of another site could send, and no path from a wire.
    assert_eq!(http(agent.page, "POST", "/api/v1/update/package").0, 415);

    // Health: this agent has no camera and nothing wrong.
    let (boot, line) = (machine.path("boot"), machine.path("cmdline"));
    let healthy = |agent: &Agent, more: &[&str]| {
        let mut arguments =
            vec!["healthy", "--boot", boot.to_str().unwrap(), "--command-line", line.to_str().unwrap()];
        arguments.extend(more);
        agent.run(&machine, &arguments)
    };
    machine.calls();
    let (code, output, errors) = healthy(&agent, &["--within", "60", "--steady", "1", "--confirm"]);
    assert_eq!((code, output.as_str()), (0, "healthy: this system is good\n"), "{errors}");
    assert_eq!(machine.calls(), ["rauc <status> <mark-good> <booted>"]);
}

#[test]
fn a_system_that_is_not_healthy_stays_only_if_it_was_good_before() {
    let machine = Machine::new();
    let copies = Copies::new(machine.path("boot"));
    let config = machine.path("menshen.toml");
    let judge = || {
        let (boot, line) = (machine.path("boot"), machine.path("cmdline"));
        let output = menshen()
            .args(["healthy", "--confirm"])
            .arg("--config")
            .arg(&config)
            .arg("--boot")
            .arg(boot)
            .arg("--command-line")
            .arg(line)
            .env("PATH", Agent::programs(&machine))
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let notes = Notes::new(machine.path("data/update"));
    // Nobody answers there.
    let text = format!(
        "[terminal]\ndata_dir = {:?}\n[service]\nadmin = {{ listen = \"{}\" }}\n",
        machine.path("data"),
        free_address()
    );
    std::fs::write(&config, &text).unwrap();
    let (code, errors) = judge();
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("this system is not healthy: the agent cannot be reached"), "{errors}");
    assert_eq!(machine.calls(), ["rauc <status> <mark-good> <booted>"]);
    assert_eq!(notes.trouble(), None);
    // The same on trial.
    copies.change(|choice| choice.set_primary(Slot::A, Some(Slot::B))).unwrap();
    let (code, errors) = judge();
    assert_eq!(code, 1);
    assert!(errors.contains("it is on trial and has failed"), "{errors}");
    assert_eq!(machine.calls(), [""; 0]);
    let trouble = notes.trouble().unwrap();
    assert_eq!(trouble.slot, Some(Slot::A));
    assert!(trouble.why.contains("the agent cannot be reached"), "{trouble:?}");
    // Its configuration cannot even be read.
    std::fs::write(&config, "[vison]").unwrap();
    assert_eq!(judge().0, 1);
    copies.change(|choice| choice.set_good(Slot::A)).unwrap();
    assert_eq!(judge().0, 0);
}

#[test]
fn a_healthy_system_that_cannot_be_marked_as_good_is_left_only_if_it_is_on_trial() {
    let machine = Machine::new();
    let agent = Agent::start(&machine);
    machine.does(
        "status",
        &format!(
            "[ \"$2\" = --detailed ] && {{ echo '{STATUS}'; exit 0; }}; echo 'Failed marking slot' >&2; exit 1"
        ),
    );
    let (boot, line) = (machine.path("boot"), machine.path("cmdline"));
    let judge = || {
        let (boot, line) = (boot.to_str().unwrap(), line.to_str().unwrap());
        agent.run(
            &machine,
            &["healthy", "--confirm", "--within", "60", "--boot", boot, "--command-line", line],
        )
    };
    let notes = Notes::new(machine.path("data/update"));
    // Exit 1 restarts the machine: with nothing on trial, that would be for ever.
    let (code, output, errors) = judge();
    assert_eq!((code, output.as_str()), (0, "healthy: it was good before and stays\n"), "{errors}");
    assert!(errors.contains("its slot cannot be marked as good: rauc: Failed marking slot"), "{errors}");
    assert_eq!(notes.trouble(), None);
    Copies::new(&boot).change(|choice| choice.set_primary(Slot::A, Some(Slot::B))).unwrap();
    let (code, _, errors) = judge();
    assert_eq!(code, 1, "{errors}");
    let trouble = notes.trouble().unwrap();
    assert_eq!(trouble.slot, Some(Slot::A));
    assert!(trouble.why.contains("cannot be marked as good: rauc: Failed marking slot"), "{trouble:?}");
}

#[test]
fn a_gate_that_could_never_keep_an_update_is_refused_by_config_check() {
    let machine = Machine::new();
    let check = |text: &str| {
        let config = machine.path("menshen.toml");
        std::fs::write(&config, text).unwrap();
        let output = menshen().args(["config", "check", "--config"]).arg(&config).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (usable, errors) = check("[update]\ninstaller = \"rauc\"\n");
    assert!(!usable);
    assert!(
        errors.contains("update.installer = \"rauc\" needs service.admin")
            && errors.contains("no new version would ever be kept"),
        "{errors}"
    );
    let with = "[update]\ninstaller = \"rauc\"\n[service]\nadmin = { listen = \"127.0.0.1:0\" }\n";
    let (usable, errors) = check(with);
    assert!(usable, "{errors}");
}

/// RAUC's own service on a bus of the test's own, with files for slots and this program as its way to the boot
/// loader.
struct Real {
    folder: tempfile::TempDir,
    started: Vec<std::process::Child>,
}

impl Drop for Real {
    fn drop(&mut self) {
        for child in &mut self.started {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn runs(command: &mut Command) -> bool {
    let output = command.output().unwrap();
    if !output.status.success() {
        eprintln!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

impl Real {
    /// `None` where this machine has no RAUC or no bus.
    fn start() -> Option<Self> {
        let there = |program: &str| {
            Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok()
        };
        if !["rauc", "dbus-daemon", "openssl", "mksquashfs", "mke2fs"].into_iter().all(|program| {
            there(program)
                || ["/usr/sbin/", "/sbin/"].iter().any(|folder| there(&format!("{folder}{program}")))
        }) {
            eprintln!("left out: needs rauc, dbus-daemon, openssl, squashfs-tools and e2fsprogs");
            return None;
        }
        let mut real = Self { folder: tempfile::tempdir().unwrap(), started: Vec::new() };
        let here = real.folder.path().to_owned();
        let sh = |text: &str| runs(Command::new("sh").arg("-ec").arg(text).current_dir(&here));
        // Two authorities, one of which the gate trusts, and a root filesystem.
        assert!(sh("
            export PATH=$PATH:/usr/sbin:/sbin
            for who in ours theirs; do
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $who.key -out $who.pem \\
                    -days 10 -subj /CN=$who -addext keyUsage=digitalSignature,keyCertSign 2>/dev/null
            done
            mkdir tree boot mnt
            head -c 300000 /dev/urandom >tree/program
            mke2fs -q -F -t ext4 -d tree root.img 2M
            truncate -s 2M slot-a; truncate -s 2M slot-b
        "));
        Copies::new(here.join("boot")).make().unwrap();
        std::fs::write(here.join("cmdline"), "ro rauc.slot=A\n").unwrap();
        let backend = format!(
            "#!/bin/sh\nexec '{}' boot-choice --boot '{}' --command-line '{}' \"$@\"\n",
            env!("CARGO_BIN_EXE_menshen"),
            here.join("boot").display(),
            here.join("cmdline").display()
        );
        std::fs::write(here.join("backend.text"), backend).unwrap();
        let bus = format!("unix:path={}/bus", here.display());
        let program = format!(
            "#!/bin/sh\nDBUS_SYSTEM_BUS_ADDRESS='{bus}' exec rauc -c '{}/system.conf' \"$@\"\n",
            here.display()
        );
        std::fs::write(here.join("rauc.text"), program).unwrap();
        assert!(sh("install -m 755 backend.text backend; install -m 755 rauc.text rauc"));
        // The gate's own file, but for what this machine cannot have: partitions, and dm-verity.
        let conf =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/rootfs/rauc/system.conf")).unwrap();
        let at = |path: &str| here.join(path).display().to_string();
        let conf = conf
            .replace("bundle-formats=verity", "bundle-formats=verity plain")
            .replace("/data/system/rauc.status", &at("status"))
            .replace("/run/rauc", &at("mnt"))
            .replace("/etc/rauc/keyring.pem", &at("ours.pem"))
            .replace("/usr/lib/menshen/boot-choice", &at("backend"))
            .replace("/dev/gate/root-", &at("slot-"));
        std::fs::write(here.join("system.conf"), conf).unwrap();
        let rules = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">
             <busconfig><type>system</type><listen>{bus}</listen><auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/><allow send_type=\"method_call\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>"
        );
        std::fs::write(here.join("bus.conf"), rules).unwrap();
        let daemon = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile"])
            .arg(format!("--config-file={}", at("bus.conf")))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        real.started.push(daemon);
        until(|| here.join("bus").exists());
        let service = Command::new(here.join("rauc"))
            .args(["--override-boot-slot=A", "service"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        real.started.push(service);
        until(|| real.rauc().check().is_ok());
        Some(real)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn rauc(&self) -> Rauc {
        Rauc::at(&self.path("rauc"), &self.path("cmdline"), &self.path("boot"), WITHIN)
    }

    /// A bundle signed by `who`.
    fn bundle(&self, name: &str, who: &str, compatible: &str, version: &str, format: &str) -> PathBuf {
        let content = self.path("content");
        let _ = std::fs::remove_dir_all(&content);
        std::fs::create_dir(&content).unwrap();
        std::fs::copy(self.path("root.img"), content.join("root.img")).unwrap();
        let manifest = format!(
            "[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat={format}\n[image.rootfs]\nfilename=root.img\n"
        );
        std::fs::write(content.join("manifest.raucm"), manifest).unwrap();
        let bundle = self.path(name);
        assert!(runs(
            Command::new("rauc")
                .arg("bundle")
                .arg("--cert")
                .arg(self.path(&format!("{who}.pem")))
                .arg("--key")
                .arg(self.path(&format!("{who}.key")))
                .arg(&content)
                .arg(&bundle)
        ));
        bundle
    }
}

/// Waits for what another program brings about and does not tell.
fn until(there: impl Fn() -> bool) {
    let end = std::time::Instant::now() + support::process::PATIENCE;
    while !there() {
        assert!(std::time::Instant::now() < end, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn rauc_itself_takes_what_is_signed_and_nothing_else() {
    let Some(real) = Real::start() else { return };
    let rauc = real.rauc();
    let refused = |bundle: &Path, what: &str| {
        let error = rauc.accept(bundle, Age::Newer).unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    let good = real.bundle("good", "ours", "menshen-gate-arm64", "0.2.0", "verity");
    let accepted = Accepted { version: "0.2.0".into(), running: env!("CARGO_PKG_VERSION").into() };
    assert_eq!(rauc.accept(&good, Age::Newer).unwrap(), accepted);
    refused(
        &real.bundle("forged", "theirs", "menshen-gate-arm64", "0.2.0", "verity"),
        "signature verification failed",
    );
    refused(&real.bundle("other", "ours", "menshen-gate-riscv", "0.2.0", "verity"), "another kind of gate");
    refused(&real.bundle("old", "ours", "menshen-gate-arm64", "0.0.1", "verity"), "not newer than");
    let whole = std::fs::read(&good).unwrap();
    for (name, bytes) in [
        ("empty", &whole[..0]),
        ("short", &whole[..1]),
        ("cut", &whole[..whole.len() / 2]),
        ("last", &whole[..whole.len() - 1]),
    ] {
        let path = real.path(name);
        std::fs::write(&path, bytes).unwrap();
        refused(&path, "no bundle with a valid signature");
    }
    refused(&real.path("nowhere"), "no bundle with a valid signature");

    // Into slot B, with the boot loader's choice made by this program. This machine may have no dm-verity, which
    // the service needs for a verity bundle; the emulated gate has it.
    if !rustix::process::getuid().is_root() || !Path::new("/dev/loop-control").exists() {
        eprintln!("left out: installing a real bundle needs root and loop devices");
        return;
    }
    let plain = real.bundle("plain", "ours", "menshen-gate-arm64", "0.2.0", "plain");
    let (outcome, told) = install(&rauc);
    assert!(outcome.unwrap_err().to_string().contains("/x/package"), "what is not there: {told:?}");
    let mut told = Vec::new();
    let outcome = rauc.install(&plain, "0.2.0", &mut |percent, _| told.push(percent)).unwrap();
    assert_eq!((outcome, told.last()), (Installed::Restart, Some(&100)));
    let (image, slot) =
        (std::fs::read(real.path("root.img")).unwrap(), std::fs::read(real.path("slot-b")).unwrap());
    assert!(image == slot, "slot B holds the image");
    let choice = Copies::new(real.path("boot")).read().unwrap();
    assert_eq!(
        (&choice.order[..], choice.left, choice.trial),
        (&[Slot::B, Slot::A][..], [3, 3], Some(Slot::B))
    );
    let slots = rauc.slots().unwrap();
    assert_eq!((slots.booted, slots.primary, slots.trial), (Some(Slot::A), Some(Slot::B), Some(Slot::B)));
    assert_eq!(slots.slots[1].version.as_deref(), Some("0.2.0"));
    // A is what runs, so that it is rolled back.
    rauc.mark(Mark::OtherBad).unwrap();
    rauc.mark(Mark::Good).unwrap();
    let choice = Copies::new(real.path("boot")).read().unwrap();
    assert_eq!((&choice.order[..], choice.left, choice.trial), (&[Slot::A][..], [3, 0], None));
    assert_eq!(rauc.slots().unwrap().slots[1].good, Some(false));
    // Bytes that were changed after they were signed.
    let mut bytes = std::fs::read(&plain).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&plain, bytes).unwrap();
    refused(&plain, "no bundle with a valid signature");
    assert!(rauc.install(&plain, "0.2.0", &mut |_, _| ()).is_err());
    let choice = Copies::new(real.path("boot")).read().unwrap();
    assert_eq!(choice.order, [Slot::A], "the choice is as it was");
}
