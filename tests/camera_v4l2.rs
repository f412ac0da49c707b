//! The camera driver against nodes of a real kernel. `vivid`, the kernel's own test driver, knows what it shows and
//! can be told to fail; the emulated gate loads it in both modes and runs
//!
//! ```sh
//! MENSHEN_VIVID=/dev/video0,/dev/video1 \
//! MENSHEN_VIVID_UNPLUG='echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind' \
//! MENSHEN_VIVID_REPLUG='echo vivid.0 > /sys/bus/platform/drivers/vivid/bind' camera_v4l2 --ignored --test-threads 1
//! ```
//!
//! The unplugging is that of the first node. Other cameras serve as well, but for what only vivid can be told to do.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use menshen::clock::SystemClock;
use menshen::config::{self, CameraFormat, CameraRole};
use menshen::device::camera::v4l2::{self, Control, ControlKind, Controls, Found, Purpose, Value, id};
use menshen::device::camera::{self, Camera, State};
use menshen::frame::{Frame, PixelFormat};
use menshen::vision::picture::Picture;
use menshen::{Kind, Result};

/// The nodes of `MENSHEN_VIVID`, as the driver finds them.
fn nodes() -> Vec<Found> {
    let named =
        std::env::var("MENSHEN_VIVID").expect("MENSHEN_VIVID names nodes, such as /dev/video0,/dev/video1");
    let found = v4l2::list();
    named
        .split(',')
        .map(|node| {
            let found = found.iter().find(|found| found.node.to_str() == Some(node));
            let found = found.unwrap_or_else(|| panic!("{node} is not there")).clone();
            assert_eq!(found.purpose, Some(Purpose::Camera), "{found:?}");
            found
        })
        .collect()
}

fn configured(found: &Found) -> config::Camera {
    config::Camera::new(CameraRole::Visible, format!("v4l2:{}", found.node.display()))
}

fn open(camera: &config::Camera) -> Result<Box<dyn Camera>> {
    camera::open(camera, 3, Arc::new(SystemClock))
}

fn name(found: &Found) -> &str {
    found.node.to_str().unwrap()
}

fn is_vivid(found: &Found) -> bool {
    found.driver == "vivid"
}

/// A control of vivid's by the driver's own name for it.
fn set(found: &Found, title: &str, value: i64) {
    let controls = Controls::open(name(found)).unwrap();
    let control = controls.named(title).unwrap();
    controls.set(&control, &Value::Number(value)).unwrap();
}

/// The bars that vivid shows at first (its pattern "75% Colorbar"): red, green and blue of each, from the left.
const BARS: [(bool, bool, bool); 8] = [
    (true, true, true),
    (true, true, false),
    (false, true, true),
    (false, true, false),
    (true, false, true),
    (true, false, false),
    (false, false, true),
    (false, false, false),
];

/// Has vivid show nothing but its bars, as it begins with.
fn show_bars(found: &Found) {
    for (title, value) in [("Test Pattern", 0), ("OSD Text Mode", 2), ("Brightness", 128), ("Hue", 0)] {
        set(found, title, value);
    }
}

/// Looks for the bars.
fn assert_bars(frame: &Frame, what: &str) {
    let mut picture = Picture::new();
    picture.decode_frame(frame).unwrap();
    let (width, height) = picture.size();
    let mut before = 256;
    for (index, bar) in (0..).zip(BARS) {
        let at = (2 * index + 1) * width / 16;
        let [red, green, blue] = picture.pixel(at, height * 3 / 4);
        if frame.format() == PixelFormat::Grey {
            let grey = u32::from(green);
            assert!(grey < before, "{what}: bar {index} is not darker: {grey}, before it {before}");
            before = grey;
        } else {
            let high = |value: u8| value > 96;
            assert_eq!(
                (high(red), high(green), high(blue)),
                bar,
                "{what}: bar {index} is {red} {green} {blue}"
            );
        }
    }
}

#[test]
#[ignore = "needs cameras of the kernel, named by MENSHEN_VIVID"]
fn every_format_is_captured_with_the_times_of_its_frames() {
    for found in nodes() {
        let mut seen = Vec::new();
        if is_vivid(&found) {
            show_bars(&found);
        }
        for offer in found.formats.iter().filter(|offer| offer.usable) {
            let pixels = offer.fourcc.pixels().unwrap();
            let format = match pixels {
                PixelFormat::Jpeg => CameraFormat::Mjpeg,
                PixelFormat::Yuyv => CameraFormat::Yuyv,
                PixelFormat::Nv12 => CameraFormat::Nv12,
                PixelFormat::Grey => CameraFormat::Grey,
                PixelFormat::Rgb => continue,
            };
            // What it likes best, and two sizes by name: the least, and one whose lines need padding on many chips.
            for (width, height) in [(0, 0), (320, 180), (640, 360)] {
                let camera = config::Camera { format, width, height, fps: 10, ..configured(&found) };
                let what = format!("{} {} {width} x {height}", name(&found), offer.fourcc);
                let mut device = open(&camera).unwrap_or_else(|error| panic!("{what}: {error}"));
                let mut buffer = Vec::new();
                let mut last: Option<(Instant, jiff::Timestamp, u64)> = None;
                for index in 0..10 {
                    let frame = device.capture(buffer).unwrap_or_else(|error| panic!("{what}: {error}"));
                    let (now, wall) = (Instant::now(), jiff::Timestamp::now());
                    assert_eq!(frame.format(), pixels, "{what}");
                    assert_eq!(frame.camera, 3);
                    if width != 0 {
                        assert_eq!(frame.size(), (width, height), "{what}");
                    }
                    assert!(frame.captured <= now, "{what}: captured in the future");
                    let age = now - frame.captured;
                    assert!(age < Duration::from_secs(2), "{what}: {age:?} old");
                    let wall_age = (wall.as_millisecond() - frame.wall.as_millisecond()) as f64 / 1000.0;
                    assert!((wall_age - age.as_secs_f64()).abs() < 0.1, "{what}: {wall_age} s and {age:?}");
                    if let Some((captured, at, number)) = last {
                        assert!(frame.captured > captured && frame.wall > at, "{what}: not later");
                        assert!(frame.number > number, "{what}: {} after {number}", frame.number);
                    }
                    last = Some((frame.captured, frame.wall, frame.number));
                    // Not between frames: where looking takes long, those that wait grow old.
                    if index == 9 && is_vivid(&found) {
                        assert_bars(&frame, &what);
                    }
                    buffer = frame.into_data();
                }
                println!("{what}: 10 frames of {} bytes", buffer.len());
            }
            seen.push(offer.fourcc.to_string());
        }
        println!("{} ({}): {}", name(&found), found.driver, seen.join(", "));
        if is_vivid(&found) {
            let least: &[&str] = if found.multi_planar {
                &["YUYV", "GREY", "NV12", "NM12"]
            } else {
                &["YUYV", "GREY", "NV12"]
            };
            assert!(least.iter().all(|name| seen.iter().any(|seen| seen == name)), "{seen:?}");
        }
    }
}

#[test]
#[ignore = "needs cameras of the kernel, named by MENSHEN_VIVID"]
fn planes_in_two_pieces_of_memory_become_one_frame() {
    for found in nodes() {
        // The driver prefers one piece; where a camera has two alone, that is what is asked for.
        let two = found.formats.iter().any(|offer| offer.fourcc.to_string() == "NM12");
        let one = found.formats.iter().any(|offer| offer.fourcc.to_string() == "NV12");
        println!("{}: one piece {one}, two {two}", name(&found));
        if is_vivid(&found) && found.multi_planar {
            assert!(two);
            show_bars(&found);
            let camera = config::Camera { width: 640, height: 360, fps: 10, ..configured(&found) };
            let mut device = camera::v4l2::open_as(&camera, "NM12", Arc::new(SystemClock)).unwrap();
            for _ in 0..3 {
                let frame = device.capture(Vec::new()).unwrap();
                assert_eq!((frame.format(), frame.size()), (PixelFormat::Nv12, (640, 360)));
                assert_bars(&frame, "NM12");
            }
        }
    }
}

#[test]
#[ignore = "needs cameras of the kernel, named by MENSHEN_VIVID"]
fn the_rate_is_kept() {
    for found in nodes() {
        let camera = config::Camera { fps: 5, width: 640, height: 360, ..configured(&found) };
        let mut device = open(&camera).unwrap();
        let first = device.capture(Vec::new()).unwrap().captured;
        let mut last = first;
        for _ in 0..10 {
            last = device.capture(Vec::new()).unwrap().captured;
        }
        let period = (last - first).as_secs_f64() / 10.0;
        // Slower is the machine's doing, faster would be ours.
        assert!(period > 0.18, "{}: a frame every {period} s", name(&found));
    }
}

#[test]
#[ignore = "needs cameras of the kernel, named by MENSHEN_VIVID"]
fn controls_are_set_and_read_back_while_frames_come() {
    for found in nodes() {
        let mut device = open(&config::Camera { width: 320, height: 180, ..configured(&found) }).unwrap();
        device.capture(Vec::new()).unwrap();
        let controls = Controls::open(name(&found)).unwrap();
        let all = controls.all().unwrap();
        println!("{}: {} controls", name(&found), all.len());
        let names: Vec<&str> = if is_vivid(&found) {
            vec![
                "brightness",
                "contrast",
                "saturation",
                "hue",
                "boolean",
                "integer_32_bits",
                "integer_64_bits",
                "menu",
                "integer_menu",
                "bitmask",
                "string",
            ]
        } else {
            all.iter().map(|control| control.name.as_str()).filter(|name| *name == "brightness").collect()
        };
        for name in names {
            let control =
                all.iter().find(|control| control.name == name).unwrap_or_else(|| panic!("no {name}"));
            let values = values(control);
            assert!(!values.is_empty(), "{control:?}");
            for value in values {
                let now = controls.set(control, &value).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(now.value.as_ref(), Some(&value), "{name}");
                let again = Controls::open(self::name(&found)).unwrap().named(name).unwrap();
                assert_eq!(again.value, Some(value), "{name} for another program");
            }
        }
        if is_vivid(&found) {
            let brightness = controls.named("Brightness").unwrap();
            assert_eq!((brightness.id, brightness.minimum, brightness.maximum), (id::BRIGHTNESS, 0, 255));
            assert_eq!((brightness.kind, brightness.default), (ControlKind::Integer, 128));
            let error = controls.set(&brightness, &Value::Number(256)).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{error}");
            let menu = controls.named("menu").unwrap();
            let entries: Vec<_> = menu.menu.iter().map(|entry| (entry.index, entry.name.as_str())).collect();
            assert_eq!(entries, [(1, "Menu Item 1"), (3, "Menu Item 3"), (4, "Menu Item 4")]);
            assert_eq!(controls.named("nothing like it").unwrap_err().kind(), Kind::NotFound);
            // Gain by itself makes the gain inactive or volatile.
            controls.set_automatic(id::GAIN, true).unwrap();
            assert_eq!(controls.automatic(id::GAIN).unwrap(), Some(true));
            let gain = controls.control(id::GAIN).unwrap();
            assert!(gain.flags.volatile || gain.flags.inactive, "{gain:?}");
            controls.set_automatic(id::GAIN, false).unwrap();
            assert_eq!(controls.automatic(id::GAIN).unwrap(), Some(false));
            assert_eq!(controls.automatic(id::CONTRAST).unwrap(), None);
        }
        device.capture(Vec::new()).unwrap();
    }
}

/// Values to try, the last of them the one it starts as.
fn values(control: &Control) -> Vec<Value> {
    let numbers = |numbers: &[i64]| numbers.iter().copied().map(Value::Number).collect();
    match control.kind {
        ControlKind::Integer | ControlKind::Switch | ControlKind::Integer64 => {
            numbers(&[control.minimum, control.maximum, control.default])
        }
        ControlKind::Menu | ControlKind::NumberMenu => {
            let mut all: Vec<Value> = control.menu.iter().map(|entry| Value::Number(entry.index)).collect();
            all.push(Value::Number(control.default));
            all
        }
        ControlKind::Bits => numbers(&[0, control.maximum & 0xffff_ffff, control.default & 0xffff_ffff]),
        ControlKind::Text => ["ab", "gate"].map(|text| Value::Text(text.into())).into(),
        ControlKind::Button | ControlKind::Compound => Vec::new(),
    }
}

#[test]
#[ignore = "needs cameras of the kernel, named by MENSHEN_VIVID"]
fn a_camera_is_found_by_its_card_and_shared_with_nobody() {
    let all = v4l2::list();
    for found in nodes() {
        let by_card = config::Camera { source: format!("v4l2:card={}", found.card), ..configured(&found) };
        let same_card = all.iter().find(|other| other.card == found.card && other.purpose == found.purpose);
        let first = same_card.is_some_and(|other| other.node == found.node);
        let mut device = open(&by_card).unwrap();
        device.capture(Vec::new()).unwrap();
        if first && is_vivid(&found) {
            let error = open(&configured(&found)).err().expect("two programs stream from one camera");
            assert_eq!(error.kind(), Kind::Busy, "{error}");
            // Looking is no streaming.
            assert!(v4l2::list().iter().any(|other| other.node == found.node && !other.formats.is_empty()));
            let error = camera::explain(&configured(&found), 0, Arc::new(SystemClock)).unwrap_err();
            assert_eq!(error.kind(), Kind::Busy, "{error}");
            device.capture(Vec::new()).unwrap();
        }
        drop(device);
        let text = camera::explain(&by_card, 0, Arc::new(SystemClock)).unwrap().english;
        assert!(text.contains(&found.card) && text.contains("delivers"), "{text}");
        println!("{text}");
    }
    for found in all.iter().filter(|found| found.purpose.is_some_and(|purpose| purpose != Purpose::Camera)) {
        let error = open(&configured(found)).err().expect("it is no camera");
        assert!(error.to_string().contains("is no camera but a"), "{error}");
    }
}

#[test]
#[ignore = "needs cameras of the kernel, named by MENSHEN_VIVID"]
fn what_a_driver_does_wrong_is_noticed() {
    for found in nodes().iter().filter(|found| is_vivid(found)) {
        let camera = config::Camera { width: 320, height: 180, fps: 15, ..configured(found) };
        let mut device = open(&camera).unwrap();
        device.capture(Vec::new()).unwrap();

        // A buffer marked as damaged is one frame less, and the camera goes on.
        set(found, "Inject V4L2_BUF_FLAG_ERROR", 1);
        let damaged =
            (0..30).find_map(|_| device.capture(Vec::new()).err()).expect("a damaged frame was taken");
        assert_eq!(damaged.kind(), Kind::Input, "{damaged}");
        let before = device.capture(Vec::new()).unwrap().number;

        // Frames that the driver drops leave gaps.
        set(found, "Percentage of Dropped Buffers", 50);
        let after = (0..20).map(|_| device.capture(Vec::new()).unwrap().number).last().unwrap();
        assert!(
            after > before + 22,
            "20 frames, from {before} to {after}, where every other one was dropped"
        );

        // All of them: the camera has stalled, and is as new when it is opened again.
        set(found, "Percentage of Dropped Buffers", 100);
        let began = Instant::now();
        let stalled =
            (0..8).find_map(|_| device.capture(Vec::new()).err()).expect("frames that were dropped came");
        assert_eq!(stalled.kind(), Kind::Device, "{stalled}");
        assert!(stalled.to_string().contains("has stalled"), "{stalled}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        drop(device);
        set(found, "Percentage of Dropped Buffers", 0);
        let mut device = open(&camera).unwrap();
        device.capture(Vec::new()).unwrap();

        // The driver gives up.
        set(found, "Inject Fatal Streaming Error", 1);
        let failed = (0..8).find_map(|_| device.capture(Vec::new()).err()).expect("it goes on");
        assert_eq!(failed.kind(), Kind::Device, "{failed}");
        drop(device);
        open(&camera).unwrap().capture(Vec::new()).unwrap();

        // It does not start, once.
        set(found, "Inject VIDIOC_STREAMON Error", 1);
        let refused = open(&camera).err().expect("it started");
        assert!(refused.to_string().contains("does not start"), "{refused}");
        set(found, "Inject VIDIOC_REQBUFS Error", 1);
        let refused = open(&camera).err().expect("it gave buffers");
        assert!(refused.to_string().contains("gives no buffers"), "{refused}");
        open(&camera).unwrap().capture(Vec::new()).unwrap();
    }
}

fn shell(variable: &str) {
    let command = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is a command"));
    let status = Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(status.success(), "{command}: {status}");
}

#[test]
#[ignore = "needs cameras of the kernel, named by MENSHEN_VIVID, and commands that unplug the first"]
fn a_camera_that_is_unplugged_is_back_within_two_seconds() {
    let found = nodes().remove(0);
    let camera = config::Camera { width: 320, height: 180, fps: 15, ..configured(&found) };
    let ended = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let (frames, captured) = mpsc::channel();
    let stop = Arc::clone(&ended);
    let watching = std::thread::spawn(move || {
        camera::keep_open(
            || open(&camera),
            |device| {
                let frame = device.capture(Vec::new())?;
                let _ = frames.send((Instant::now(), frame.number));
                Ok(())
            },
            || stop.load(Ordering::Relaxed),
            |state, error| drop(tell.send((Instant::now(), state, error.map(str::to_owned)))),
            std::thread::sleep,
        );
    });
    let next = |wanted: State| {
        let (at, state, error) = told.recv_timeout(Duration::from_secs(20)).expect("something is told");
        assert_eq!(state, wanted, "{error:?}");
        (at, error)
    };
    next(State::Watching);
    for _ in 0..3 {
        let unplugged = Instant::now();
        shell("MENSHEN_VIVID_UNPLUG");
        let (lost, error) = next(State::Lost);
        println!("lost after {:?}: {error:?}", lost - unplugged);
        assert!(lost - unplugged < Duration::from_secs(5));
        // It stays away for a while and is looked for meanwhile.
        let (_, absent) = next(State::Lost);
        assert!(absent.as_ref().unwrap().contains("plugged in"), "{absent:?}");
        while captured.try_recv().is_ok() {}
        shell("MENSHEN_VIVID_REPLUG");
        let plugged = Instant::now();
        next(State::Watching);
        let (first, _) = captured.recv_timeout(Duration::from_secs(5)).unwrap();
        println!("back after {:?}", first - plugged);
        assert!(first - plugged < Duration::from_secs(2), "{:?}", first - plugged);
    }
    ended.store(true, Ordering::Relaxed);
    watching.join().unwrap();
}
