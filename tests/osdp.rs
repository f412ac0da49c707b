//! The gate as a reader of an access controller: OSDP v2 with its secure channel, over a pseudo terminal, at the
//! library's own controller.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod admin;
    pub mod controller;
    pub mod pty;
    pub mod vision;
}

use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use libosdp::{
    OsdpComSet, OsdpCommand, OsdpCommandBuzzer, OsdpCommandLed, OsdpCommandOutput, OsdpCommandText,
    OsdpEvent, OsdpLedColor, OsdpLedParams, OsdpStatusReport, OsdpStatusReportType, PdCapEntity,
    PdCapability,
};
use menshen::access::{Origin, PassMode, Person, PersonKey, PersonKind, Schedule};
use menshen::config::{Config, OsdpReport};
use menshen::device::wiegand;
use menshen::event::Event;
use menshen::gate::PeopleChange;
use serde_json::{Value, json};
use support::admin::{Bench, PATIENCE};
use support::controller::Controller;
use support::pty::Pty;
use tokio::sync::broadcast;

const KEY: [u8; 16] = *b"\x94\x4b\x8e\xdd\xcb\xaa\x2b\x5f\xe2\xb0\x14\x8d\x1b\x2f\x95\xc9";
const OTHER: [u8; 16] = [0x11; 16];

/// Both ends, and a folder for the key and the name of the port.
struct Site {
    folder: tempfile::TempDir,
    line: Arc<Pty>,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap(), line: Arc::new(Pty::new()) };
        symlink(&site.line.path, site.port()).unwrap();
        site
    }

    fn port(&self) -> PathBuf {
        self.folder.path().join("ttyUSB0")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("osdp.key")
    }

    fn with_key(self, key: [u8; 16]) -> Self {
        let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(self.key_file()).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        self
    }

    async fn gate(&self, change: impl FnOnce(&mut Config)) -> Heard {
        let bench = Bench::with(|config| {
            config.device.rs485 = format!("osdp:{}", self.port().display());
            config.device.wiegand_in = "sim".into();
            config.osdp.key_file = self.key_file().to_str().unwrap().into();
            config.settings.rules.mode = PassMode::Card;
            change(config);
        })
        .await;
        let (before, events) = bench.gate.events().subscribe(0);
        Heard { bench, before: before.into(), events }
    }
}

/// A gate and what happens at it.
struct Heard {
    bench: Bench,
    before: std::collections::VecDeque<Arc<Event>>,
    events: broadcast::Receiver<Arc<Event>>,
}

impl Heard {
    /// The next event that `wanted` accepts.
    async fn event(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> bool) -> Arc<Event> {
        let next = async {
            loop {
                let event = match self.before.pop_front() {
                    Some(event) => event,
                    None => self.events.recv().await.unwrap(),
                };
                if wanted(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("no {what} came"))
    }

    /// The next `rs485` event about `osdp`.
    async fn osdp(&mut self, about: &str) -> Value {
        let event = self
            .event(about, |event| event.kind == "rs485" && event.fields.get("osdp") == Some(&json!(about)));
        Value::Object(event.await.fields.clone())
    }

    /// Waits until the line is in this state.
    async fn link(&mut self, state: &str) {
        while self.osdp("link").await["state"] != state {}
    }

    async fn person(&self, card: &str) {
        let person = Person {
            key: PersonKey::new(Origin::Qyzn, format!("1{card}")),
            code: "7".into(),
            name: "张三".into(),
            kind: PersonKind::White,
            id_number: None,
            card: Some(card.into()),
            passes_left: None,
            valid_from: None,
            valid_until: None,
            schedule: Schedule::default(),
            mode: None,
        };
        self.bench.gate.change_people(PeopleChange::Add(person)).await.unwrap();
    }

    /// Ends the gate; the line is nobody's then.
    async fn stop(self, line: &Pty) {
        let Bench { gate, eyes, stop, served, .. } = self.bench;
        stop.send_replace(true);
        drop((gate, eyes));
        served.await.unwrap().unwrap();
        line.closed();
    }

    async fn present(&self, card: &str) {
        self.bench.gate.present_card(card.into()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_hears_of_those_who_were_let_in() {
    let site = Site::new().with_key(KEY);
    let mut gate = site.gate(|_| {}).await;
    let controller = Controller::start(&site.line, KEY, true);
    controller.secured();
    gate.link("secured").await;
    gate.person("7734851").await;
    // A stranger's card first: nobody hears of it.
    gate.present("99").await;
    gate.event("the stranger's verdict", |event| event.kind == "verdict").await;
    gate.present("7734851").await;
    // 7734851 is 118 and 1603: 1 01110110 0000011001000011 0, worked by hand in device/wiegand.rs.
    assert_eq!(controller.card(), (26, vec![0b1011_1011, 0b0000_0011, 0b0010_0001, 0b1000_0000], true));
    assert_eq!(gate.osdp("card").await["bits"], "10111011000000110010000110");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_hears_of_every_card_where_it_is_to() {
    let site = Site::new().with_key(KEY);
    let mut gate = site
        .gate(|config| {
            config.osdp.report = OsdpReport::Cards;
            config.settings.wiegand.format = wiegand::Format::W34;
        })
        .await;
    let controller = Controller::start(&site.line, KEY, true);
    gate.link("secured").await;
    gate.person("157342643").await;
    gate.present("157342643").await;
    // 0 0000100101100000 1101101110110011 0, worked by hand in device/wiegand.rs.
    assert_eq!(controller.card(), (34, vec![0x04, 0xb0, 0x6d, 0xd9, 0x80], true));
    gate.event("the passage", |event| event.kind == "relay" && event.fields["state"] == "on").await;
    // A card that nobody has, one that is no number, and only these: the passage was no second reading.
    gate.present("1").await;
    assert_eq!(controller.card(), (34, vec![0, 0, 0, 0, 0x80], true));
    gate.present("S-77").await;
    assert_eq!(controller.card(), (32, b"S-77".to_vec(), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_act() {
    let site = Site::new().with_key(KEY);
    let mut gate = site.gate(|_| {}).await;
    let controller = Controller::start(&site.line, KEY, true);
    controller.secured();
    gate.link("secured").await;

    let shine = |control_code, on_color, timer_count| OsdpLedParams {
        control_code,
        on_count: 5,
        off_count: 3,
        on_color,
        off_color: OsdpLedColor::None,
        timer_count,
    };
    let led = |temporary, permanent| {
        OsdpCommand::Led(OsdpCommandLed { reader: 0, led_number: 0, temporary, permanent })
    };
    let nothing = OsdpLedParams::default;
    controller.send(led(nothing(), shine(1, OsdpLedColor::Red, 0)));
    let shown = |event: &Event| event.kind == "screen" && event.fields.contains_key("led");
    let blinking = |colour: &str| json!({"on": colour, "off": "off", "on_ms": 500, "off_ms": 300});
    assert_eq!(gate.event("red", shown).await.fields["led"], blinking("red"));
    // Green for 300 ms, then red again by itself.
    controller.send(led(shine(2, OsdpLedColor::Green, 3), nothing()));
    assert_eq!(gate.event("green", shown).await.fields["led"], blinking("green"));
    assert_eq!(gate.event("red again", shown).await.fields["led"], blinking("red"));

    let beep = OsdpCommandBuzzer { reader: 0, control_code: 2, on_count: 1, off_count: 1, rep_count: 3 };
    controller.send(OsdpCommand::Buzzer(beep));
    for beep in ["first", "second", "third"] {
        gate.event(beep, |event| event.kind == "voice" && event.fields.contains_key("beep")).await;
    }

    let text = |control_code, text: &str| {
        OsdpCommand::Text(OsdpCommandText {
            reader: 0,
            control_code,
            temp_time: 1,
            offset_row: 1,
            offset_col: 1,
            data: text.into(),
        })
    };
    let said = |event: &Event| event.kind == "screen" && event.fields.contains_key("text");
    controller.send(text(1, "PRESENT CARD"));
    assert_eq!(gate.event("the text", said).await.fields["text"], "PRESENT CARD");
    controller.send(text(3, "WELCOME"));
    assert_eq!(gate.event("the other text", said).await.fields["text"], "WELCOME");
    assert_eq!(gate.event("the first text", said).await.fields["text"], "PRESENT CARD");

    let output = |control_code, timer_count| {
        OsdpCommand::Output(OsdpCommandOutput { output_no: 0, control_code, timer_count })
    };
    let relay = |event: &Event| event.kind == "relay" && event.fields.get("by") == Some(&json!("controller"));
    let reported = |controller: &Controller| loop {
        if let OsdpEvent::Status(report) = controller.event() {
            assert_eq!((report.type_, report.nr_entries), (OsdpStatusReportType::Output, 1));
            return report.report[0];
        }
    };
    // On for 500 ms.
    controller.send(output(5, 5));
    let on = gate.event("on", relay).await;
    assert_eq!(on.fields["state"], "on");
    let off = gate.event("off", relay).await;
    assert_eq!(off.fields["state"], "off");
    let length = off.time.duration_since(on.time).as_millis();
    assert!((490..2000).contains(&length), "{length} ms");
    assert_eq!((reported(&controller), reported(&controller)), (1, 0));
    // On until it is off.
    controller.send(output(2, 0));
    assert_eq!(gate.event("on", relay).await.fields["state"], "on");
    assert_eq!(reported(&controller), 1);
    let asked = OsdpStatusReport { type_: OsdpStatusReportType::Output, nr_entries: 0, report: [0; 64] };
    controller.send(OsdpCommand::Status(asked));
    assert_eq!(reported(&controller), 1);
    controller.send(output(1, 0));
    assert_eq!(gate.event("off", relay).await.fields["state"], "off");
    assert_eq!(reported(&controller), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_gate_says_it_is_and_can() {
    let site = Site::new().with_key(KEY);
    let mut gate = site.gate(|config| config.device.screen = "none".into()).await;
    let controller = Controller::start(&site.line, KEY, true);
    controller.secured();
    gate.link("secured").await;
    let (_, able) = controller.facts();
    let one = |compliance| PdCapEntity::new(compliance, 1);
    assert_eq!(
        able,
        [
            PdCapability::OutputControl(one(3)),
            PdCapability::CardDataFormat(PdCapEntity::new(1, 0)),
            PdCapability::LedControl(one(4)),
            PdCapability::AudibleOutput(one(2)),
            PdCapability::TextOutput(PdCapEntity::new(0, 0)),
            PdCapability::ContactStatusMonitoring(PdCapEntity::new(0, 0)),
            // AES-128; the default key is not among what it takes.
            PdCapability::CommunicationSecurity(PdCapEntity::new(1, 0)),
        ]
    );
    // Without a screen the lamp is the LED.
    let steady =
        OsdpLedParams { control_code: 1, on_count: 1, on_color: OsdpLedColor::Green, ..Default::default() };
    controller.send(OsdpCommand::Led(OsdpCommandLed { permanent: steady, ..Default::default() }));
    gate.event("the lamp", |event| event.kind == "lamp" && event.fields["state"] == "on").await;
    // Another address is refused, and told. The library's controller then goes away for five minutes, and with it
    // what it had ordered.
    controller.send(OsdpCommand::ComSet(OsdpComSet { address: 5, baud_rate: 9600 }));
    assert_eq!(gate.osdp("comset").await["state"], "refused");
    gate.event("the lamp", |event| event.kind == "lamp" && event.fields["state"] == "off").await;
}

/// CRC of OSDP (appendix C of the specification): polynomial 0x1021, first value 0x1D0F, high bit first.
fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0x1d0f_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
    }
    crc.to_le_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_the_secure_channel_only_the_identity_is_told() {
    // The check value of this CRC (CRC-16/SPI-FUJITSU).
    assert_eq!(crc(b"123456789"), 0xe5cc_u16.to_le_bytes());
    let site = Site::new().with_key(KEY);
    let mut gate = site.gate(|_| {}).await;
    gate.event("the line", |event| event.fields.get("state") == Some(&json!("open"))).await;
    let send = |frame: &[u8]| site.line.write(&[frame, &crc(frame)].concat());
    // osdp_ID: start, address, length, control (CRC, sequence 0), command, standard.
    send(&[0x53, 0x00, 0x09, 0x00, 0x04, 0x61, 0x00]);
    // osdp_PDID: vendor (none), model, version, the last of the serial number's digits, version 0.1.0.
    let identity = [0x53, 0x80, 0x14, 0x00, 0x04, 0x45, 0, 0, 0, 1, 1, 0x76, 0x54, 0x32, 0x10, 0, 1, 0];
    let reply = site.line.read(identity.len() + 2);
    assert_eq!(reply, [&identity[..], &crc(&identity)].concat(), "{reply:02x?}");
    // osdp_POLL and osdp_OUT (output 0, on): osdp_NAK 5, the channel must be up.
    for frame in [
        &[0x53, 0x00, 0x08, 0x00, 0x05, 0x60][..],
        &[0x53, 0x00, 0x0c, 0x00, 0x06, 0x68, 0x00, 0x02, 0x00, 0x00],
    ] {
        send(frame);
        let reply = site.line.read(9);
        assert_eq!((reply[5], reply[6]), (0x41, 0x06), "{reply:02x?}");
    }
    // Noise, half a frame and a wrong checksum cost nothing but themselves.
    site.line.write(b"\x53\x53\x00\xff\xff\x53\x00\x09");
    tokio::time::sleep(Duration::from_millis(300)).await;
    send(&[0x53, 0x00, 0x09, 0x00, 0x04, 0x61, 0x00]);
    assert_eq!(site.line.read(20)[5], 0x45);
    let relay = gate.bench.gate.events().standing().into_iter().find(|event| event.kind == "relay").unwrap();
    assert_eq!(relay.fields["state"], "off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_with_another_key_hears_and_does_nothing() {
    let site = Site::new().with_key(KEY);
    let mut gate = site.gate(|_| {}).await;
    // One that would also speak without a channel, and tries the default key.
    let controller = Controller::start(&site.line, OTHER, false);
    gate.link("online").await;
    gate.person("7734851").await;
    gate.present("7734851").await;
    let card = gate.osdp("card").await;
    assert!(card["error"].as_str().unwrap().contains("no OSDP controller"), "{card}");
    assert!(!controller.links().1);
    assert_eq!(controller.heard(), []);
    assert!(std::fs::read_to_string(site.key_file()).unwrap().starts_with("944b8edd"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_installed_over_the_wire_and_kept() {
    let site = Site::new();
    let mut gate = site.gate(|config| config.osdp.install_mode = true).await;
    assert_eq!(gate.osdp("key").await["state"], "awaited");
    let controller = Controller::start(&site.line, KEY, false);
    assert_eq!(gate.osdp("key").await["state"], "installed");
    gate.link("secured").await;
    controller.secured();
    assert_eq!(std::fs::read_to_string(site.key_file()).unwrap(), "944b8eddcbaa2b5fe2b0148d1b2f95c9\n");
    gate.person("7734851").await;
    gate.present("7734851").await;
    assert_eq!(controller.card().0, 26);
    // Another key in its place, over the channel of the first.
    controller.send(OsdpCommand::KeySet(libosdp::OsdpCommandKeyset::new_scbk(OTHER)));
    assert_eq!(gate.osdp("key").await["state"], "installed");
    gate.link("secured").await;
    assert_eq!(std::fs::read_to_string(site.key_file()).unwrap(), "11".repeat(16) + "\n");
    drop(controller);
    gate.stop(&site.line).await;

    // After a restart, with install mode forgotten in the configuration: the key holds, and no other is taken.
    let mut gate = site.gate(|config| config.osdp.install_mode = true).await;
    gate.event("the line", |event| event.fields.get("state") == Some(&json!("open"))).await;
    let controller = Controller::start(&site.line, OTHER, true);
    gate.link("secured").await;
    controller.secured();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_is_told_and_shuts_everybody_out() {
    let site = Site::new();
    let mut gate = site.gate(|_| {}).await;
    let said = gate.osdp("key").await;
    assert_eq!(said["state"], "missing");
    assert!(said["error"].as_str().unwrap().contains("osdp.install_mode = true"), "{said}");
    // Not even with the default key.
    let controller = Controller::start(&site.line, KEY, false);
    gate.link("online").await;
    gate.person("7734851").await;
    gate.present("7734851").await;
    assert!(gate.osdp("card").await["error"].is_string());
    assert!(!controller.links().1);
    assert!(!site.key_file().exists());
    drop(controller);
    gate.stop(&site.line).await;

    std::fs::write(site.key_file(), "no key").unwrap();
    let mut gate = site.gate(|config| config.osdp.install_mode = true).await;
    assert_eq!(gate.osdp("key").await["state"], "unusable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_is_unplugged_and_comes_back() {
    let mut site = Site::new().with_key(KEY);
    let mut gate = site.gate(|_| {}).await;
    let controller = Controller::start(&site.line, KEY, true);
    gate.link("secured").await;
    gate.person("7734851").await;
    // Held open by the controller: the door shuts when it is gone.
    let hold = OsdpCommandOutput { output_no: 0, control_code: 2, timer_count: 0 };
    controller.send(OsdpCommand::Output(hold));
    let relay = |event: &Event| event.kind == "relay";
    assert_eq!(
        gate.event("on", |event| relay(event) && event.fields["state"] == "on").await.fields["by"],
        "controller"
    );
    drop(controller);
    std::fs::remove_file(site.port()).unwrap();
    site.line = Arc::new(Pty::new());
    let failed = gate.event("the loss", |event| event.fields.get("state") == Some(&json!("failed"))).await;
    assert!(failed.fields["error"].as_str().unwrap().contains("ttyUSB0"), "{failed:?}");
    assert_eq!(gate.event("off", relay).await.fields["state"], "off");
    // Nobody hears of this one, now or later.
    gate.present("7734851").await;
    assert!(gate.osdp("card").await["error"].is_string());

    symlink(&site.line.path, site.port()).unwrap();
    gate.event("the line", |event| event.fields.get("state") == Some(&json!("open"))).await;
    let controller = Controller::start(&site.line, KEY, true);
    gate.link("secured").await;
    controller.secured();
    // The gate's own interval between two passages of a person.
    gate.person("1").await;
    gate.present("1").await;
    assert_eq!(controller.card(), (26, vec![0, 0, 0, 0x80], true));
    let cards = |event: &OsdpEvent| matches!(event, OsdpEvent::CardRead(_));
    assert!(!controller.heard().iter().any(cards), "a card of before was told");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_speed_is_the_settings_and_only_one_that_osdp_has() {
    let site = Site::new().with_key(KEY);
    let mut gate = site.gate(|_| {}).await;
    gate.event("the line", |event| event.fields.get("line") == Some(&json!("9600 8N1"))).await;
    let set = async |baud, stop_bits| {
        gate.bench
            .gate
            .change_settings(|settings| {
                (settings.serial.baud, settings.serial.stop_bits) = (baud, stop_bits);
                Ok(())
            })
            .await
    };
    set(115_200, 1).await.unwrap();
    for (baud, stop_bits) in [(4800, 1), (9600, 2)] {
        let error = set(baud, stop_bits).await.unwrap_err();
        assert!(error.message().starts_with("serial: OSDP does not run at"), "{error}");
    }
    let set = rustix::termios::tcgetattr(&site.line.end).unwrap();
    assert_eq!(set.output_speed(), 115_200);
    // The platform's own bytes have no place on this line.
    let error = gate.bench.gate.send_serial(vec![1]).await.unwrap_err();
    assert!(error.message().contains("osdp"), "{error}");
}
