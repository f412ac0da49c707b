//! The drivers on real GPIO lines of the kernel: a chip of gpio-sim, whose lines are read and pulled through sysfs. Runs
//! where `MENSHEN_GPIO_SIM` names the folder of such a chip, as root:
//!
//! ```text
//! modprobe gpio-sim; cd /sys/kernel/config/gpio-sim; mkdir -p gate/bank0; echo 8 > gate/bank0/num_lines
//! echo menshen-test > gate/bank0/label; mkdir gate/bank0/line1; echo relay-lock > gate/bank0/line1/name
//! echo 1 > gate/live
//! MENSHEN_GPIO_SIM=/sys/devices/platform/$(cat gate/dev_name)/$(cat gate/bank0/chip_name) gpio_lines --ignored
//! ```
//!
//! The chip has eight lines, of which line 1 is called `relay-lock`. What goes out on the Wiegand lines is read back from
//! the kernel's trace (`/sys/kernel/tracing`). One thread is enough: the tests take turns.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use menshen::device::gpio::{self, Abi, Detect, Edge, Edges, Name, Output, Wanted};
use menshen::device::input::{GpioInput, Heard, Input, InputLine};
use menshen::device::lamp::{GpioLamp, Lamp};
use menshen::device::relay::{GpioRelay, Relay};
use menshen::device::wiegand::{Format, card_number, frame, read};
use menshen::device::wiegand_in::{Arrived, Damage, GpioWiegandIn, WiegandIn, Wire};
use menshen::device::wiegand_out::{GpioWiegand, WiegandOut};
use menshen::gate::settings::CardConversion;

/// Longer than anything takes in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(20);

static TURNS: Mutex<()> = Mutex::new(());

/// The chip, while nobody else has it.
struct Chip {
    /// Its folder in sysfs.
    folder: PathBuf,
    name: String,
    _turn: MutexGuard<'static, ()>,
}

impl Chip {
    fn take() -> Self {
        let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        let folder =
            PathBuf::from(std::env::var("MENSHEN_GPIO_SIM").expect("MENSHEN_GPIO_SIM names the chip"));
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        Self { folder, name, _turn: turn }
    }

    fn label(&self) -> String {
        gpio::chips()
            .into_iter()
            .find_map(|seen| match seen {
                gpio::Seen::Chip(chip) if chip.path.ends_with(&self.name) => Some(chip.label),
                _ => None,
            })
            .expect("the chip is in /dev")
    }

    fn high(&self, line: u32) -> bool {
        let value = self.folder.join(format!("sim_gpio{line}/value"));
        std::fs::read_to_string(value).unwrap().trim() == "1"
    }

    fn pull(&self, line: u32, up: bool) {
        let pull = self.folder.join(format!("sim_gpio{line}/pull"));
        std::fs::write(pull, if up { "pull-up" } else { "pull-down" }).unwrap();
    }

    fn named(&self, rest: &str, lines: usize, words: &[&str]) -> Name {
        Name::parse(&format!("gpio:{}:{rest}", self.name), lines, words).unwrap()
    }
}

/// What the kernel drives lines to, as its own trace tells it: in a buffer of our own, for somebody else may read the
/// machine's.
struct Trace;

/// A pulse down.
#[derive(Debug)]
struct Pulse {
    /// Of the lower line 0, of the higher 1.
    line: usize,
    width_us: u64,
    interval_us: u64,
}

impl Trace {
    const FOLDER: &str = "/sys/kernel/tracing/instances/gpio_lines";

    fn set(file: &str, text: &str) {
        let path = format!("{}/{file}", Self::FOLDER);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn begin() -> Self {
        std::fs::create_dir_all(Self::FOLDER)
            .unwrap_or_else(|error| panic!("{}: {error}: is tracefs mounted?", Self::FOLDER));
        Self::set("trace", "");
        Self::set("events/gpio/gpio_value/enable", "1");
        Self
    }

    /// The pulses since then.
    fn pulses(self) -> Vec<Pulse> {
        Self::set("events/gpio/gpio_value/enable", "0");
        let text = std::fs::read_to_string(format!("{}/trace", Self::FOLDER)).unwrap();
        // "menshen-80 [000] ..... 12.345678: gpio_value: 517 set 0"
        let steps: Vec<(u64, u32, bool)> = text
            .lines()
            .filter_map(|line| {
                let (before, after) = line.split_once(": gpio_value: ")?;
                let (seconds, micros) = before.split_whitespace().last()?.split_once('.')?;
                let mut words = after.split_whitespace();
                let line = words.next()?.parse().ok()?;
                let high = words.nth(1)? == "1";
                let at = seconds.parse::<u64>().ok()? * 1_000_000 + micros.parse::<u64>().ok()?;
                Some((at, line, high))
            })
            .collect();
        let lowest = steps.iter().map(|(_, line, _)| *line).min().expect("lines were driven");
        let (mut down, mut last, mut pulses) = ([None; 2], None, Vec::new());
        for (at, line, high) in steps {
            let line = (line - lowest) as usize;
            match (high, down[line]) {
                (false, None) => down[line] = Some(at),
                (true, Some(since)) => {
                    let interval_us = last.map_or(u64::MAX, |last| since - last);
                    pulses.push(Pulse { line, width_us: at - since, interval_us });
                    (down[line], last) = (None, Some(since));
                }
                _ => {}
            }
        }
        pulses
    }
}

/// Both, where the kernel has them; a kernel with one alone is told of.
fn abis(test: impl Fn(&Chip, Abi)) {
    let chip = Chip::take();
    let mut tried = 0;
    for (abi, version) in [(Abi::V2, gpiocdev::AbiVersion::V2), (Abi::V1, gpiocdev::AbiVersion::V1)] {
        if gpiocdev::supports_abi_version(version).is_err() {
            eprintln!("left out: this kernel has no {version}");
            continue;
        }
        eprintln!("{version}");
        test(&chip, abi);
        tried += 1;
    }
    assert!(tried > 0);
}

#[test]
#[ignore = "needs a gpio-sim chip: see the top of this file"]
fn a_relay_is_found_by_every_name_and_driven() {
    abis(|chip, abi| {
        for text in [
            format!("gpio:{}:1", chip.name),
            format!("gpio:/dev/{}:1", chip.name),
            format!("gpio:{}:1", chip.label()),
            format!("gpio:{}:relay-lock", chip.name),
        ] {
            let mut relay = GpioRelay::new(Name::parse(&text, 1, &[]).unwrap(), abi);
            for high in [false, true, false, true] {
                relay.set_level(high).unwrap();
                assert_eq!(chip.high(1), high, "{text}");
            }
        }
        let mut lamp = GpioLamp::new(chip.named("2:low", 1, &["low"]), abi);
        lamp.switch(true).unwrap();
        assert!(!chip.high(2));
        lamp.switch(false).unwrap();
        assert!(chip.high(2));
    });
}

#[test]
#[ignore = "needs a gpio-sim chip: see the top of this file"]
fn what_is_wrong_is_said() {
    abis(|chip, abi| {
        let error = |text: &str| {
            let name = Name::parse(&format!("gpio:{}:{text}", chip.name), 1, &[]).unwrap();
            GpioRelay::new(name, abi).set_level(false).unwrap_err().to_string()
        };
        assert!(error("99").contains("its lines are 0 to 7"), "{}", error("99"));
        assert!(error("relay").contains("its named lines are relay-lock"), "{}", error("relay"));
        let mut relay = GpioRelay::new(chip.named("1", 1, &[]), abi);
        relay.set_level(false).unwrap();
        assert!(error("1").contains("is in use by \"menshen relay\""), "{}", error("1"));
        drop(relay);
        let mut relay = GpioRelay::new(chip.named("1", 1, &[]), abi);
        relay.set_level(true).unwrap();
        let pair = Name::parse(&format!("gpio:{}:1,relay-lock", chip.name), 2, &[]).unwrap();
        let twice = Output::new(pair, "test", abi).set(&[true, true]).unwrap_err();
        assert!(twice.message().contains("name two different ones"), "{twice}");
    });
}

fn next(input: &mut GpioInput) -> Option<bool> {
    match input.next(PATIENCE).unwrap() {
        Some(Heard::State { active, .. }) => Some(active),
        _ => None,
    }
}

#[test]
#[ignore = "needs a gpio-sim chip: see the top of this file"]
fn inputs_tell_what_they_are_pulled_to() {
    abis(|chip, abi| {
        let words = ["low", "pull-up", "pull-down", "no-pull"];
        let settle = Duration::from_millis(30);
        // A button to ground: held high, the low level presses.
        let name = chip.named("3:low", 1, &words);
        let mut button = GpioInput::new(Input::ExitButton, name, settle, abi);
        chip.pull(3, true);
        assert_eq!(next(&mut button), Some(false));
        let before = Instant::now();
        chip.pull(3, false);
        let Some(Heard::State { active: true, since }) = button.next(PATIENCE).unwrap() else {
            panic!("it was pressed")
        };
        assert!(
            since >= before - Duration::from_millis(5) && since <= Instant::now(),
            "by the kernel's clock"
        );
        chip.pull(3, true);
        assert_eq!(next(&mut button), Some(false));
        // Too short to count.
        chip.pull(3, false);
        chip.pull(3, true);
        assert_eq!(button.next(Duration::from_millis(300)).unwrap(), None);
        // A contact whose wire is cut is an open door.
        let mut door = GpioInput::new(Input::DoorContact, chip.named("4", 1, &words), settle, abi);
        assert_eq!(next(&mut door), Some(true), "held high by its own pull");
    });
}

#[test]
#[ignore = "needs a gpio-sim chip: see the top of this file"]
fn a_line_that_chatters_is_told_of_and_holds_nobody() {
    abis(|chip, abi| {
        // So that the kernel does not settle it: longer than it chatters.
        let settle = Duration::from_millis(200);
        let mut input =
            GpioInput::new(Input::Tamper, chip.named("4:pull-down", 1, &["pull-down"]), settle, abi);
        chip.pull(4, false);
        assert_eq!(next(&mut input), Some(false));
        let until = Instant::now() + Duration::from_secs(3);
        let mut heard = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut up = false;
                while Instant::now() < until {
                    up = !up;
                    chip.pull(4, up);
                    std::thread::sleep(Duration::from_millis(2));
                }
                chip.pull(4, false);
            });
            while Instant::now() < until + Duration::from_secs(1) {
                heard.extend(input.next(Duration::from_millis(100)).unwrap());
            }
        });
        assert!(
            heard.iter().all(|heard| *heard == Heard::Chatters) && heard.len() <= 1,
            "it never rested, and is where it was: {heard:?}"
        );
    });
}

#[test]
#[ignore = "needs a gpio-sim chip: see the top of this file"]
fn a_frame_that_goes_out_has_the_right_levels() {
    abis(|chip, abi| {
        let mut out = GpioWiegand::new(chip.named("5,6", 2, &["inverted"]), abi);
        out.rest().unwrap();
        assert!(chip.high(5) && chip.high(6), "at rest before the first frame");
        let bits = frame(Format::W26, 118 << 16 | 1603);
        let trace = Trace::begin();
        out.send(&bits).unwrap();
        let pulses = trace.pulses();
        let came: Vec<_> = pulses.iter().map(|pulse| pulse.line == 1).collect();
        assert_eq!(came, bits, "{pulses:?}");
        // How exactly is `menshen bench`'s business, and that of a machine that is not emulated.
        assert!(pulses.iter().all(|pulse| pulse.width_us >= 30), "{pulses:?}");
        assert!(pulses[1..].iter().all(|pulse| pulse.interval_us >= 1000), "{pulses:?}");
        eprintln!("widths {:?}", pulses.iter().map(|pulse| pulse.width_us).collect::<Vec<_>>());
        eprintln!("intervals {:?}", pulses[1..].iter().map(|pulse| pulse.interval_us).collect::<Vec<_>>());
        assert!(chip.high(5) && chip.high(6), "at rest after it");
        drop(out);
        // Reversed numbers must not swap the wires: the first bit of this frame is a 1.
        let mut out = GpioWiegand::new(chip.named("6,5:inverted", 2, &["inverted"]), abi);
        out.rest().unwrap();
        assert!(!chip.high(5) && !chip.high(6));
        out.send(&bits).unwrap();
    });
}

/// Sends a frame into the input by pulling its lines.
fn swipe(chip: &Chip, bits: &[bool]) {
    for bit in bits {
        let line = if *bit { 6 } else { 5 };
        chip.pull(line, false);
        chip.pull(line, true);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Sends a frame until `wanted` comes in. The simulated chip makes one edge of two that follow each other faster than the
/// machine can take them, and a busy machine pauses within a frame: then it is damaged, and never anything else.
fn comes_in(chip: &Chip, input: &mut GpioWiegandIn, bits: &[bool], wanted: &Arrived) {
    let mut damaged = Vec::new();
    while damaged.len() < 30 {
        let arrived = std::thread::scope(|scope| {
            scope.spawn(|| swipe(chip, bits));
            input.next(PATIENCE).unwrap()
        });
        match arrived {
            Some(arrived) if arrived == *wanted => return,
            Some(Arrived::Damaged(damage)) => damaged.push(damage),
            other => panic!("{other:?} instead of {wanted:?}"),
        }
        // The rest of a frame that fell apart.
        while let Some(rest) = input.next(Duration::from_millis(300)).unwrap() {
            assert!(matches!(rest, Arrived::Damaged(_)), "{rest:?} instead of {wanted:?}");
        }
    }
    panic!("it never came in whole: {damaged:?}");
}

#[test]
#[ignore = "needs a gpio-sim chip: see the top of this file"]
fn a_card_comes_in() {
    abis(|chip, abi| {
        chip.pull(5, true);
        chip.pull(6, true);
        let mut input = GpioWiegandIn::new(chip.named("5,6", 2, &["inverted"]), abi);
        // Asks for the lines.
        assert_eq!(input.next(Duration::from_millis(50)).unwrap(), None);
        for (format, value, number) in
            [(Format::W26, 118 << 16 | 1603, "7734851"), (Format::W34, 157_342_643, "157342643")]
        {
            let bits = frame(format, value);
            comes_in(chip, &mut input, &bits, &Arrived::Frame(bits.clone()));
            let (format, data) = read(&bits).unwrap();
            assert_eq!(card_number(format, data, CardConversion::Whole), number);
        }
        // Half a frame.
        comes_in(chip, &mut input, &frame(Format::W26, 5)[..11], &Arrived::Damaged(Damage::Bits(11)));
        // A wire that stays down: one bit, and then the look at the wires.
        chip.pull(6, false);
        let one = input.next(PATIENCE).unwrap();
        assert_eq!(one, Some(Arrived::Damaged(Damage::Bits(1))));
        assert_eq!(input.next(PATIENCE).unwrap(), Some(Arrived::Damaged(Damage::Stuck(Wire::D1))));
        chip.pull(6, true);
    });
}

#[test]
#[ignore = "needs a gpio-sim chip: see the top of this file"]
fn edges_are_in_their_order_and_of_their_time() {
    abis(|chip, abi| {
        chip.pull(5, true);
        chip.pull(6, true);
        let wanted = Wanted { detect: Detect::Both, bias: None, debounce: None };
        let mut edges = Edges::open(&chip.named("6,5", 2, &[]), "test", abi, wanted).unwrap();
        let begun = gpio::monotonic();
        for line in [5, 6, 6] {
            chip.pull(line, !chip.high(line));
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut heard: Vec<Edge> = Vec::new();
        while heard.len() < 3 {
            assert!(edges.wait(PATIENCE).unwrap(), "{heard:?}");
            assert!(!edges.read(&mut heard).unwrap().lost);
        }
        heard.sort_by_key(|edge| edge.at);
        // Line 6 was named first.
        let seen: Vec<_> = heard.iter().map(|edge| (edge.line, edge.high)).collect();
        assert_eq!(seen, [(1, false), (0, false), (0, true)]);
        assert!(heard[0].at >= begun.saturating_sub(Duration::from_millis(5)));
        assert!(heard[2].at <= gpio::monotonic());
        let mut levels = [false; 2];
        edges.levels(&mut levels).unwrap();
        assert_eq!(levels, [true, false], "6, then 5");
    });
}
