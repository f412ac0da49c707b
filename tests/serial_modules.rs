//! Modules on serial lines: an IC-card reader and a thermometer, each simulated byte for byte at a pseudo terminal.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod admin;
    pub mod pn532;
    pub mod pty;
    pub mod vision;
}

use std::os::unix::fs::symlink;
use std::sync::Arc;

use menshen::Kind;
use menshen::access::PassMode;
use menshen::device::card_reader::{ByteOrder, CardReader, Digits, Pn532};
use menshen::device::gymcu::GyMcu;
use menshen::device::thermometer::Thermometer;
use menshen::event::Event;
use serde_json::json;
use support::admin::{Bench, PATIENCE};
use support::pn532::{Fault, Module};
use support::pty::Pty;

const CARD: [u8; 4] = [0x09, 0x60, 0xdb, 0xb3];

fn look(reader: &mut Pn532) -> Option<Vec<u8>> {
    reader.look().unwrap().map(|uid| uid.bytes().to_vec())
}

/// The first look that can be had: on a busy machine the module's thread may answer later than a module does.
fn look_again(reader: &mut Pn532) -> Option<Vec<u8>> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match reader.look() {
            Ok(found) => return found.map(|uid| uid.bytes().to_vec()),
            Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
        }
    }
}

#[test]
fn cards_are_found() {
    let line = Arc::new(Pty::new());
    let module = Module::start(&line);
    let mut reader = Pn532::new(&line.path);
    assert_eq!(look(&mut reader), None);
    module.lay_down(&CARD);
    assert_eq!(look(&mut reader), Some(CARD.to_vec()));
    module.lift();
    assert_eq!(look(&mut reader), None);
    for uid in [&[0x04, 1, 2, 3, 4, 5, 6][..], &[0xff; 10]] {
        module.lay_down(uid);
        assert_eq!(look(&mut reader), Some(uid.to_vec()));
    }
    // A phone has another number each time: it is nobody's card.
    module.lay_down(&[0x08, 1, 2, 3]);
    assert_eq!(look(&mut reader), None);
    let set = rustix::termios::tcgetattr(&line.end).unwrap();
    assert_eq!(set.output_speed(), 115_200);
}

#[test]
fn noise_on_the_line_costs_nothing() {
    let line = Arc::new(Pty::new());
    let module = Module::start(&line);
    module.lay_down(&CARD);
    let mut reader = Pn532::new(&line.path);
    for fault in [Fault::Stray, Fault::WrongSum, Fault::Stray] {
        module.fault(fault);
        assert_eq!(look(&mut reader), Some(CARD.to_vec()), "{fault:?}");
    }
}

#[test]
fn a_module_that_fails_is_told_and_asked_again() {
    let line = Arc::new(Pty::new());
    let module = Module::start(&line);
    module.lay_down(&CARD);
    let mut reader = Pn532::new(&line.path);
    for fault in [Fault::Half, Fault::Silent] {
        module.fault(fault);
        let error = reader.look().unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("does not answer: check its power"), "{fault:?}: {error}");
        assert_eq!(look_again(&mut reader), Some(CARD.to_vec()), "after {fault:?}");
    }
    // What it was told is gone with its power.
    module.power_cycle();
    assert!(reader.look().is_err());
    assert_eq!(look_again(&mut reader), Some(CARD.to_vec()));
    module.lift();
    assert_eq!(look_again(&mut reader), None);
}

#[test]
fn a_reader_is_unplugged_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB1");
    let mut reader = Pn532::new(&port);
    assert!(reader.look().unwrap_err().message().contains("is the adapter plugged in?"));
    for _ in 0..2 {
        let line = Arc::new(Pty::new());
        symlink(&line.path, &port).unwrap();
        let module = Module::start(&line);
        module.lay_down(&CARD);
        assert_eq!(look(&mut reader), Some(CARD.to_vec()));
        drop(module);
        assert_eq!(Arc::strong_count(&line), 1);
        drop(line);
        std::fs::remove_file(&port).unwrap();
        let error = reader.look().unwrap_err();
        assert!(error.message().contains("ttyUSB1"), "{error}");
    }
    // A line on which nobody is.
    let line = Pty::new();
    symlink(&line.path, &port).unwrap();
    assert!(reader.look().unwrap_err().message().contains("does not answer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_presented_once_each_time_it_is_laid_down() {
    let line = Arc::new(Pty::new());
    let module = Module::start(&line);
    let bench = Bench::with(|config| {
        config.device.card_reader = format!("pn532:{}", line.path.display());
        (config.device.card_number, config.device.card_bytes) = (Digits::Hexadecimal, ByteOrder::Reversed);
        config.settings.rules.mode = PassMode::Card;
    })
    .await;
    let (before, mut events) = bench.gate.events().subscribe(0);
    assert!(!before.iter().any(|event| event.kind == "credential"));
    let mut presented = async |what: &str| {
        let read = async {
            loop {
                let event: Arc<Event> = events.recv().await.unwrap();
                if event.kind == "credential" {
                    return event.fields["credential"].clone();
                }
            }
        };
        let read = tokio::time::timeout(PATIENCE, read).await;
        assert_eq!(read.unwrap_or_else(|_| panic!("{what} is not presented")), json!("card"));
    };
    // Somebody asks for a card: that is where its number can be seen.
    let asked = bench.gate.next_presented(PATIENCE);
    module.lay_down(&CARD);
    let number = asked.await.unwrap();
    assert_eq!(number, menshen::gate::Presented::Card("B3DB6009".into()));
    presented("the first").await;
    // It lies there, is missed once, and lies there: nothing new.
    module.looks(3);
    module.lift();
    module.looks(1);
    module.lay_down(&CARD);
    module.looks(3);
    let asked = bench.gate.next_presented(PATIENCE);
    module.lay_down(&[0x04, 1, 2, 3, 4, 5, 6]);
    assert_eq!(asked.await.unwrap(), menshen::gate::Presented::Card("06050403020104".into()));
    presented("the other").await;
    module.lift();
    module.looks(5);
    module.lay_down(&[0x04, 1, 2, 3, 4, 5, 6]);
    presented("the other again").await;
    // A module that fails is told, and so is that it works again.
    let mut reader = async |state: &str| {
        let next = async {
            loop {
                let event = events.recv().await.unwrap();
                if event.kind == "reader" {
                    return event;
                }
            }
        };
        let event = tokio::time::timeout(PATIENCE, next).await.unwrap();
        assert_eq!((&event.fields["reader"], &event.fields["state"]), (&json!("card_reader"), &json!(state)));
    };
    module.power_cycle();
    reader("failed").await;
    reader("ok").await;
}

/// Answers each question with these bytes; gives the questions.
fn thermometer(line: &Arc<Pty>, answers: Vec<&'static [u8]>) -> std::thread::JoinHandle<Vec<Vec<u8>>> {
    let line = Arc::clone(line);
    std::thread::spawn(move || {
        let asked = answers.into_iter().map(|answer| {
            let question = line.read(3);
            for piece in answer.chunks(4) {
                line.write(piece);
            }
            question
        });
        asked.collect()
    })
}

#[test]
fn temperatures_are_measured() {
    let line = Arc::new(Pty::new());
    let mut sensor = GyMcu::new(&line.path, 9600);
    // 36.55 degrees: 3655 is 0x0E47; 0xFD + 0x0E + 0x47 + 0x0D + 0x19 = 0x178. 21.00: 2100 is 0x0834; 0x15F.
    let visitor: &[u8] = &[0x5a, 0x5a, 0x45, 0x04, 0x0e, 0x47, 0x0d, 0x19, 0x78];
    let wall: &[u8] = &[0x5a, 0x5a, 0x45, 0x04, 0x08, 0x34, 0x0d, 0x19, 0x5f];
    let behind_noise: &[u8] = b"\x19\x5f\x5a\x5a\x5a\x45\x04\x0e\x47\x0d\x19\x78";
    let module = thermometer(&line, vec![visitor, wall, behind_noise]);
    assert_eq!(sensor.read().unwrap(), Some(36.55));
    assert_eq!(sensor.read().unwrap(), None, "a wall is no visitor");
    assert_eq!(sensor.read().unwrap(), Some(36.55));
    assert_eq!(module.join().unwrap(), vec![vec![0xa5, 0x15, 0xba]; 3]);
    assert_eq!(rustix::termios::tcgetattr(&line.end).unwrap().output_speed(), 9600);
    // What came before the question is somebody else's.
    line.write(wall);
    let module = thermometer(&line, vec![visitor]);
    assert_eq!(sensor.read().unwrap(), Some(36.55));
    module.join().unwrap();
}

#[test]
fn a_thermometer_that_fails_costs_a_measurement() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB2");
    let mut sensor = GyMcu::new(&port, 115_200);
    assert!(sensor.read().unwrap_err().message().contains("is the adapter plugged in?"));
    let line = Arc::new(Pty::new());
    symlink(&line.path, &port).unwrap();
    assert_eq!(sensor.read().unwrap_err().kind(), Kind::Timeout);
    line.read(3);
    let visitor: &[u8] = &[0x5a, 0x5a, 0x45, 0x04, 0x0e, 0x47, 0x0d, 0x19, 0x78];
    let module = thermometer(
        &line,
        vec![&[0x5a, 0x5a, 0x45, 0x04, 0x0e, 0x47, 0x0d, 0x19, 0x79], &[0x5a, 0x5a, 0x45], visitor],
    );
    for damaged in ["a wrong sum", "half a frame"] {
        let error = sensor.read().unwrap_err();
        assert_eq!(error.kind(), Kind::Device, "{damaged}");
        assert!(error.message().contains("check its ground wire, and its speed"), "{error}");
    }
    assert_eq!(sensor.read().unwrap(), Some(36.55));
    module.join().unwrap();
    drop(line);
    std::fs::remove_file(&port).unwrap();
    assert!(sensor.read().unwrap_err().message().contains("ttyUSB2"));
    let line = Arc::new(Pty::new());
    symlink(&line.path, &port).unwrap();
    let module = thermometer(&line, vec![visitor]);
    assert_eq!(sensor.read().unwrap(), Some(36.55));
    module.join().unwrap();
}
