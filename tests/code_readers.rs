//! QR and bar codes: a scanner byte for byte at a pseudo terminal, and codes before the camera.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "in a test a panic is the failure report")]

mod support {
    pub mod codes;
    pub mod gate;
    pub mod pty;
    pub mod vision;
}

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use menshen::device::code_reader::once::AWAY;
use menshen::device::code_reader::picture::Decoder;
use menshen::device::code_reader::{CODE_BYTES, CodeReader, Scanner};
use menshen::event::Event;
use menshen::simulate::scanner::{Fault, Manner};
use menshen::{Kind, config, simulate};
use serde_json::json;
use support::codes::{HEIGHT, Pose, Symbol, WIDTH, frame};
use support::gate::{Running, platform};
use support::pty::Pty;

const PATIENCE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(300);

fn next(scanner: &mut Scanner) -> Option<String> {
    scanner.next(PATIENCE).unwrap()
}

#[test]
fn a_scanner_is_heard_byte_for_byte() {
    let line = Pty::new();
    let mut scanner = Scanner::new(&line.path, 9600);
    assert_eq!(scanner.next(Duration::ZERO).unwrap(), None, "nothing was scanned");
    assert_eq!(rustix::termios::tcgetattr(&line.end).unwrap().output_speed(), 9600);
    line.write(b"adddfffsss\r\n");
    assert_eq!(next(&mut scanner).as_deref(), Some("adddfffsss"));
    // GBK of 张三, without an end: the pause is one.
    line.write(b"\xd5\xc5\xc8\xfd");
    assert_eq!(next(&mut scanner).as_deref(), Some("张三"));
    // Two at once, and the frame that some scanners put around.
    line.write(b"\x021\x03\r\n2\r");
    assert_eq!((next(&mut scanner).as_deref(), next(&mut scanner).as_deref()), (Some("1"), Some("2")));
    // A speed that is wrong on the other end makes such bytes.
    line.write(b"\xff\x80\r");
    let noise = scanner.next(PATIENCE).unwrap_err();
    assert_eq!(noise.kind(), Kind::Input);
    assert!(noise.message().contains("check its speed"), "{noise}");
    // A line that hums for a long time holds no memory and no code.
    for _ in 0..40 {
        line.write(&[b'U'; 256]);
        assert!(scanner.next(Duration::ZERO).is_ok());
    }
    line.write(b"\rafter\r");
    assert_eq!(scanner.next(PATIENCE).unwrap_err().kind(), Kind::Input, "more than {CODE_BYTES} bytes");
    assert_eq!(next(&mut scanner).as_deref(), Some("after"));
    assert_eq!(scanner.next(SOON).unwrap(), None);
}

#[test]
fn a_line_that_never_pauses_does_not_hold_whoever_listens() {
    let line = Arc::new(Pty::new());
    let mut scanner = Scanner::new(&line.path, 115_200);
    assert_eq!(scanner.next(Duration::ZERO).unwrap(), None);
    let (stop, hums) = (Arc::new(AtomicBool::new(false)), Arc::clone(&line));
    let stopped = Arc::clone(&stop);
    let hum = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            // Nobody may have taken what came before.
            match rustix::io::write(&hums.end, &[b'U'; 64]) {
                Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                Err(errno) => panic!("{errno}"),
            }
        }
    });
    // In a thread of its own: it may never come back.
    let (tell, told) = std::sync::mpsc::channel();
    let listener = std::thread::spawn(move || {
        for _ in 0..3 {
            let _ = scanner.next(SOON);
        }
        let _ = tell.send(());
        scanner
    });
    let came_back = told.recv_timeout(PATIENCE);
    stop.store(true, Ordering::Relaxed);
    hum.join().unwrap();
    assert_eq!(came_back, Ok(()), "it listens for ever");
    // What hummed is no beginning of a code.
    let mut scanner = listener.join().unwrap();
    while !matches!(scanner.next(SOON), Ok(None)) {}
    line.write(b"after\r");
    assert_eq!(next(&mut scanner).as_deref(), Some("after"));
}

#[test]
fn a_scanner_is_unplugged_in_the_middle_of_a_code_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB1");
    let mut scanner = Scanner::new(&port, 115_200);
    let error = scanner.next(SOON).unwrap_err();
    assert_eq!(error.kind(), Kind::Device);
    assert!(error.message().contains("is the adapter plugged in?"), "{error}");
    for _ in 0..2 {
        let line = Pty::new();
        symlink(&line.path, &port).unwrap();
        assert_eq!(scanner.next(Duration::ZERO).unwrap(), None);
        line.write(b"first\rhalf of the sec");
        assert_eq!(next(&mut scanner).as_deref(), Some("first"));
        drop(line);
        std::fs::remove_file(&port).unwrap();
        let error = scanner.next(PATIENCE).unwrap_err();
        assert!(error.message().contains("ttyUSB1"), "{error}");
    }
    // The rest of it is no code.
    let line = Pty::new();
    symlink(&line.path, &port).unwrap();
    assert_eq!(scanner.next(Duration::ZERO).unwrap(), None);
    line.write(b"whole\r");
    assert_eq!(next(&mut scanner).as_deref(), Some("whole"));
}

#[test]
fn a_scanner_with_faults_costs_the_code_that_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB1");
    let simulated = simulate::scanner::Scanner::start(Some(&port)).unwrap();
    let mut scanner = Scanner::new(&port, 115_200);
    assert_eq!(scanner.next(Duration::ZERO).unwrap(), None);
    for (end, gbk) in [("\r", false), ("\r\n", true), ("\n", false), ("", true)] {
        simulated.manner(Manner { end, gbk });
        simulated.scan("编号7").unwrap();
        assert_eq!(next(&mut scanner).as_deref(), Some("编号7"), "{end:?}, GBK {gbk}");
    }
    simulated.manner(Manner::default());
    simulated.fault(Fault::Garbled);
    simulated.scan("adddfffsss").unwrap();
    assert_eq!(scanner.next(PATIENCE).unwrap_err().kind(), Kind::Input);
    simulated.fault(Fault::Stray);
    simulated.scan("adddfffsss").unwrap();
    assert_eq!(scanner.next(PATIENCE).unwrap_err().kind(), Kind::Input);
    assert_eq!(next(&mut scanner).as_deref(), Some("adddfffsss"));
    simulated.fault(Fault::Thrice);
    simulated.scan("1").unwrap();
    for _ in 0..3 {
        assert_eq!(next(&mut scanner).as_deref(), Some("1"));
    }
    simulated.fault(Fault::Half);
    simulated.scan("adddfffsss").unwrap();
    let error = scanner.next(PATIENCE).unwrap_err();
    assert_eq!(error.kind(), Kind::Device);
    simulated.plug_in().unwrap();
    assert_eq!(scanner.next(Duration::ZERO).unwrap(), None);
    simulated.scan("whole").unwrap();
    assert_eq!(next(&mut scanner).as_deref(), Some("whole"));
    simulated.manner(Manner { end: "", gbk: true });
    assert!(simulated.scan("😀").unwrap_err().message().contains("GBK"));
}

fn with_reader(folder: &Path, address: std::net::SocketAddr, name: &str) -> Running {
    let device = config::Device { qr_reader: name.into(), ..config::Device::default() };
    Running::start_changed(folder, config::Qyzn::new(address.to_string()), &device, |parts| {
        parts.settings.relay.pulse_ms = 50;
    })
}

async fn told(running: &mut Running, reader: &str, state: &str) -> Arc<Event> {
    running
        .event(|event| {
            event.kind == "reader" && event.fields["reader"] == reader && event.fields["state"] == state
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_scanner_reads_is_weighed_by_the_platform_once() {
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB1");
    let line = Pty::new();
    symlink(&line.path, &port).unwrap();
    let (platform, address) = platform().await;
    let mut running =
        with_reader(&folder.path().join("data"), address, &format!("serial:{}", port.display()));
    platform.wait_until_logged_in().await.unwrap();
    running.event(|event| event.kind == "platform" && event.fields["state"] == "logged_in").await;
    platform.answer_with("qrcode_data", 0, json!({"opendoor": 1}), None);
    assert!(running.gate.take_code().is_none());
    // A scanner that reads as long as the code is before it sends it again and again.
    line.write(b"adddfffsss\radddfffsss\radddfffsss\r");
    let opened = running.event(|event| event.kind == "record" && event.fields["state"] == "opened").await;
    assert!(opened.fields["id"].is_i64());
    line.write("编号7\r".as_bytes());
    let second = platform.wait_for(|entry| entry.event == "qrcode_data" && entry.text("content") == "编号7");
    second.await.unwrap();
    let asked = |platform: &menshen::simulate::qyzn::Platform| -> Vec<String> {
        let journal = platform.journal().from(0);
        let asked = journal.iter().filter(|entry| entry.event == "qrcode_data");
        asked.map(|entry| entry.text("content").to_owned()).collect()
    };
    assert_eq!(asked(&platform), ["adddfffsss", "编号7"]);
    // A program that asks for the last code has it once.
    assert_eq!(running.gate.take_code().map(|code| code.0).as_deref(), Some("编号7"));
    assert!(running.gate.take_code().is_none());
    // Away and back: it is told, and the code is a new one then.
    drop(line);
    std::fs::remove_file(&port).unwrap();
    let away = Instant::now();
    let failed = told(&mut running, "qr_reader", "failed").await;
    assert!(failed.fields["error"].as_str().unwrap().contains("ttyUSB1"), "{:?}", failed.fields);
    let line = Pty::new();
    symlink(&line.path, &port).unwrap();
    told(&mut running, "qr_reader", "ok").await;
    assert!(away.elapsed() > AWAY, "the reader is tried again every 5 s");
    let seen = platform.journal().len();
    line.write(b"adddfffsss\r");
    running.event(|event| event.kind == "credential" && event.fields["credential"] == "qr").await;
    platform.wait_after(seen, |entry| entry.event == "qrcode_data").await.unwrap();
    assert_eq!(asked(&platform), ["adddfffsss", "编号7", "adddfffsss"]);
    // What a code says stands in no event.
    let (before, _) = running.gate.events().subscribe(0);
    assert!(before.iter().all(|event| !format!("{:?}", event.fields).contains("adddfffsss")));
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}

/// What is read of a code that is held like this, in how many frames.
fn read(symbol: &Symbol, poses: impl IntoIterator<Item = Pose>) -> Vec<Option<String>> {
    let (mut decoder, start) = (Decoder::default(), Instant::now());
    let size = (WIDTH as u32, HEIGHT as u32);
    let poses = poses.into_iter().enumerate();
    poses
        .map(|(number, pose)| {
            decoder.decode(&frame(symbol, pose), size, start + Duration::from_millis(200) * number as u32)
        })
        .collect()
}

#[test]
fn qr_codes_are_read_turned_tilted_blurred_and_in_noise() {
    let content = "https://example.com/visit/adddfffsss";
    let symbol = Symbol::qr(content.as_bytes());
    for turned in (0..360).step_by(30) {
        let pose = Pose { turned: f64::from(turned), ..Pose::default() };
        assert_eq!(read(&symbol, [pose]), [Some(content.to_owned())], "{pose:?}");
    }
    for pose in [
        Pose { module: 2.5, ..Pose::default() },
        Pose { tilted: 0.9, ..Pose::default() },
        Pose { tilted: -0.7, turned: 20.0, ..Pose::default() },
        Pose { blur: 2, ..Pose::default() },
        Pose { blur: 1, noise: 25.0, turned: 10.0, ..Pose::default() },
        Pose { module: 4.0, shift: (150.0, -80.0), tilted: 0.4, noise: 10.0, ..Pose::default() },
    ] {
        assert_eq!(read(&symbol, [pose]), [Some(content.to_owned())], "{pose:?}");
    }
    // Chinese, as the platforms' tickets have it.
    let chinese = Symbol::qr("访客 张三 2026".as_bytes());
    assert_eq!(read(&chinese, [Pose::default()]), [Some("访客 张三 2026".to_owned())]);
    // A wall, a code out of focus, and one of which the half is outside.
    let blank = Symbol::qr(b"1");
    for (symbol, pose) in [
        (&symbol, Pose { blur: 12, ..Pose::default() }),
        (&symbol, Pose { shift: (330.0, 0.0), ..Pose::default() }),
        (&blank, Pose { shift: (9000.0, 0.0), noise: 40.0, ..Pose::default() }),
    ] {
        assert_eq!(read(symbol, [pose]), [None], "{pose:?}");
    }
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(&[0; 10], (640, 480), Instant::now()), None, "half a picture");
}

#[test]
fn bar_codes_are_read_twice_before_they_count() {
    let pose = |shift: f64| Pose { module: 2.0, shift: (shift, shift), ..Pose::default() };
    let ticket = Symbol::code128("TICKET-0042");
    let goods = Symbol::ean13("690123456789");
    let once = |symbol, content: &str| {
        let read = read(symbol, [pose(0.0), pose(3.0), pose(6.0)]);
        assert_eq!(read, [None, Some(content.to_owned()), Some(content.to_owned())]);
    };
    once(&ticket, "TICKET-0042");
    // The check digit of 690123456789 by hand: 3*(9+1+3+5+7+9) + (6+0+2+4+6+8) = 102+26 = 128, so 2.
    once(&goods, "6901234567892");
    // Two different ones are none.
    let (mut decoder, size, now) = (Decoder::default(), (WIDTH as u32, HEIGHT as u32), Instant::now());
    for symbol in [&ticket, &goods, &ticket] {
        assert_eq!(decoder.decode(&frame(symbol, pose(0.0)), size, now), None);
    }
    // And the second look must come soon.
    assert_eq!(decoder.decode(&frame(&ticket, pose(0.0)), size, now + Duration::from_secs(3)), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_before_the_camera_is_weighed_once_and_holds_no_face() {
    let folder = tempfile::tempdir().unwrap();
    let frames = folder.path().join("frames");
    std::fs::create_dir(&frames).unwrap();
    // Held in a hand: it is never quite still. The camera opens each file when its turn comes.
    let hold = |content: &[u8]| {
        let symbol = Symbol::qr(content);
        for number in 0..8_u32 {
            let sway = f64::from(number) * 4.0;
            let pose = Pose { turned: sway, shift: (sway, -sway), noise: 6.0, ..Pose::default() };
            let luma = frame(&symbol, pose);
            let image = image::RgbImage::from_fn(WIDTH as u32, HEIGHT as u32, |x, y| {
                image::Rgb([luma[y as usize * WIDTH + x as usize]; 3])
            });
            let (new, file) = (folder.path().join("new"), frames.join(format!("{number}.jpg")));
            std::fs::write(&new, support::vision::jpeg(&image)).unwrap();
            std::fs::rename(&new, &file).unwrap();
        }
    };
    hold(b"adddfffsss");
    let (platform, address) = platform().await;
    let device = config::Device { qr_reader: "camera".into(), ..config::Device::default() };
    let qyzn = config::Qyzn::new(address.to_string());
    let mut running = Running::start_changed(&folder.path().join("data"), qyzn, &device, |parts| {
        // The door closes when a code that had gone could be a new one.
        parts.settings.relay.pulse_ms = (AWAY + SOON).as_millis() as u16;
    });
    platform.wait_until_logged_in().await.unwrap();
    platform.answer_with("qrcode_data", 0, json!({"opendoor": 1}), None);
    running.watch(&frames);
    let opened = running.event(|event| event.kind == "record" && event.fields["state"] == "opened").await;
    assert!(opened.fields["id"].is_i64());
    // It is before the camera all the time until the door closes; what is read then is the next one.
    running.event(|event| event.kind == "relay" && event.fields["state"] == "off").await;
    assert_eq!(running.gate.take_code().map(|code| code.0).as_deref(), Some("adddfffsss"));
    hold(b"next");
    let next = platform.wait_for(|entry| entry.event == "qrcode_data" && entry.text("content") == "next");
    next.await.unwrap();
    let journal = platform.journal().from(0);
    let asked = journal.iter().filter(|entry| entry.event == "qrcode_data");
    assert_eq!(asked.map(|entry| entry.text("content")).collect::<Vec<_>>(), ["adddfffsss", "next"]);
    running.stop().await;
    assert_eq!(platform.violations(), [""; 0]);
}
