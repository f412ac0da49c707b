//! Identity cards: the SDT module simulated byte for byte at a pseudo terminal, the driver and the gate before it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod admin;
    pub mod pty;
    pub mod vision;
}

use std::io::{BufRead as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use jiff::civil::date;
use menshen::access::PassMode;
use menshen::device::id_reader::photo::PhotoDecoder;
use menshen::device::id_reader::sdt::Sdt;
use menshen::device::id_reader::{IdReader, Wanted, card_type};
use menshen::doctor::State;
use menshen::document::{DocumentKind, Happening, Label, Reading};
use menshen::event::Event;
use menshen::simulate::sdt::{Card, Fault, Module, Quirks};
use serde_json::json;
use support::admin::{Bench, PATIENCE};
use support::pty::Pty;

const FIND: [u8; 2] = [0x20, 0x01];
const SELECT: [u8; 2] = [0x20, 0x02];
const READ: [u8; 2] = [0x30, 0x10];
const READ_BASE: [u8; 2] = [0x30, 0x01];
const ADDRESS: [u8; 2] = [0x30, 0x03];
const STATE: [u8; 2] = [0x11, 0xff];

/// What stands on the cards that are laid down here, and may stand in no log and no event.
const PERSONAL: [&str; 9] = [
    "11010519491231002X",
    "110105",
    "19491231",
    "1949-12-31",
    "张三",
    "某路1号",
    "810000199408230021",
    "CAN110081080310",
    "911124198108030024",
];

/// Everything that any test of this program has logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn logged() -> &'static Logged {
    static LOGGED: OnceLock<Logged> = OnceLock::new();
    LOGGED.get_or_init(|| {
        let logged = Logged::default();
        let writer = logged.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            // Millionths of a second are six digits, such as those that a number of a card begins with.
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        logged
    })
}

fn log_text() -> String {
    String::from_utf8_lossy(&logged().0.lock().unwrap()).into_owned()
}

/// The next that happens.
fn next(reader: &mut Sdt) -> Happening {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(happening) = reader.look(&Wanted::default()).unwrap() {
            return happening;
        }
        assert!(Instant::now() < until, "nothing happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn online(reader: &mut Sdt) -> (String, String) {
    match next(reader) {
        Happening::Online { name, serial } => (name, serial),
        other => panic!("{other:?}"),
    }
}

fn offline(reader: &mut Sdt) -> String {
    match next(reader) {
        Happening::Offline { why } => why,
        other => panic!("{other:?}"),
    }
}

fn detected(reader: &mut Sdt) {
    let happening = next(reader);
    assert!(matches!(happening, Happening::Detected), "{happening:?}");
}

fn read(reader: &mut Sdt) -> Arc<Reading> {
    detected(reader);
    match next(reader) {
        Happening::Read(reading) => reading,
        other => panic!("{other:?}"),
    }
}

fn failed(reader: &mut Sdt) -> String {
    detected(reader);
    match next(reader) {
        Happening::Failed { why } => why,
        other => panic!("{other:?}"),
    }
}

fn taken_away(reader: &mut Sdt) {
    let happening = next(reader);
    assert!(matches!(happening, Happening::TakenAway), "{happening:?}");
}

/// So many looks of which nothing comes.
fn nothing(reader: &mut Sdt, looks: usize) {
    for _ in 0..looks {
        let happening = reader.look(&Wanted::default()).unwrap();
        assert!(happening.is_none(), "{happening:?}");
    }
}

/// A module and its driver, which knows it already.
fn fitted() -> (Module, Sdt) {
    logged();
    let module = Module::start(None).unwrap();
    let mut reader = Sdt::new(module.path().unwrap(), 115_200, None);
    let told = online(&mut reader);
    assert_eq!(told, ("SDT".into(), "05.01-20120411-0000000001-0000000002".into()));
    // Without a card it learns how the module tells of none.
    nothing(&mut reader, 1);
    (module, reader)
}

fn card(name: &str) -> Card {
    Card::named(name).unwrap()
}

/// Reads a card and lifts it.
fn read_card(module: &Module, reader: &mut Sdt, name: &str) -> Arc<Reading> {
    module.lay_down(card(name));
    let reading = read(reader);
    module.lift();
    taken_away(reader);
    reading
}

/// A frame of the module with these bytes behind its head; the check is the XOR of them.
fn frame(rest: &[u8]) -> Vec<u8> {
    let check = rest.iter().fold(0, |check, byte| check ^ byte);
    [&[0xaa, 0xaa, 0xaa, 0x96, 0x69][..], rest, &[check]].concat()
}

/// The bytes on the wire, written down here: neither the driver nor the simulator has made them.
#[test]
fn a_card_is_read_byte_for_byte() {
    logged();
    let mut texts = [0x20, 0x00].repeat(128);
    let mut put = |at: usize, bytes: &[u8]| texts[at..at + bytes.len()].copy_from_slice(bytes);
    // 张 U+5F20, 三 U+4E09; sex 1, ethnic group 03; 1980-01-01; 京 U+4EAC; number; 局 U+5C40; 2010-01-01 to 长期
    // (U+957F, U+671F).
    put(0, &[0x20, 0x5f, 0x09, 0x4e]);
    put(30, &[0x31, 0x00]);
    put(32, &[0x30, 0x00, 0x33, 0x00]);
    put(36, b"1\x009\x008\x000\x000\x001\x000\x001\x00");
    put(52, &[0xac, 0x4e]);
    put(122, b"4\x004\x000\x005\x002\x004\x001\x008\x008\x000\x000\x001\x000\x001\x000\x000\x001\x004\x00");
    put(158, &[0x40, 0x5c]);
    put(188, b"2\x000\x001\x000\x000\x001\x000\x001\x00");
    put(204, &[0x7f, 0x95, 0x1f, 0x67]);
    // 3 statuses, 2 lengths, 256, 1024 and the check are 1288, which is 0508.
    let whole =
        frame(&[&[0x05, 0x08, 0x00, 0x00, 0x90, 0x01, 0x00, 0x04, 0x00][..], &texts, &[0x57; 1024]].concat());
    let module_id: Vec<u8> = vec![
        0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x14, 0x00, 0x00, 0x90, 0x05, 0x00, 0x03, 0x00, 0x5b, 0x03, 0x33,
        0x01, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0xeb,
    ];
    let exchanges: [([u8; 3], Vec<u8>); 7] = [
        ([0x11, 0xff, 0xed], vec![0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x04, 0x00, 0x00, 0x90, 0x94]),
        ([0x12, 0xff, 0xee], module_id),
        ([0x20, 0x01, 0x22], vec![0xaa, 0xaa, 0xaa, 0x96, 0x69, 0, 0x08, 0, 0, 0x9f, 0, 0, 0, 0, 0x97]),
        (
            [0x20, 0x02, 0x21],
            vec![0xaa, 0xaa, 0xaa, 0x96, 0x69, 0, 0x0c, 0, 0, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0x9c],
        ),
        // It does not know how to read fingerprints.
        ([0x30, 0x10, 0x23], vec![0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x04, 0x00, 0x00, 0x21, 0x25]),
        ([0x30, 0x01, 0x32], whole),
        // There is no additional address.
        ([0x30, 0x03, 0x30], vec![0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x04, 0x00, 0x00, 0x91, 0x95]),
    ];
    let line = Arc::new(Pty::new());
    let end = Arc::clone(&line);
    let module = std::thread::spawn(move || {
        for (command, answer) in exchanges {
            let asked = end.read(10);
            let expected = [&[0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03][..], &command].concat();
            assert_eq!(asked, expected);
            for piece in answer.chunks(100) {
                end.write(piece);
            }
        }
    });
    let mut reader = Sdt::new(&line.path, 115_200, None);
    assert_eq!(online(&mut reader), ("SDT".into(), "05.03-20120411-0000000001-0000000002".into()));
    let reading = read(&mut reader);
    module.join().unwrap();
    let document = &reading.document;
    assert_eq!((document.kind, document.name.as_str()), (DocumentKind::Resident, "张三"));
    assert_eq!((document.gender.as_str(), document.ethnic.as_str()), ("男", "回"));
    assert_eq!((document.number.as_str(), document.address.as_str()), ("440524188001010014", "京"));
    assert_eq!((document.issuer.as_str(), document.birthday), ("局", Some(date(1980, 1, 1))));
    assert_eq!((document.valid_from, document.expires), (Some(date(2010, 1, 1)), None));
    assert_eq!((&document.photo, reading.fingerprints.len(), card_type(&reading)), (&None, 0, 'B'));
    assert_eq!(rustix::termios::tcgetattr(&line.end).unwrap().output_speed(), 115_200);
    assert!(reader.period() >= Duration::from_millis(300), "modules want no more looks");
}

#[test]
fn every_kind_of_card_is_read() {
    let (module, mut reader) = fitted();
    let reading = read_card(&module, &mut reader, "resident");
    let document = &reading.document;
    assert_eq!((document.number.as_str(), document.name.as_str()), ("11010519491231002X", "张三"));
    assert_eq!((document.gender.as_str(), document.ethnic.as_str()), ("女", "汉"));
    assert_eq!(document.expires, Some(date(2038, 3, 1)));
    assert_eq!((reading.fingerprints.len(), card_type(&reading)), (0, 'B'));
    let reading = read_card(&module, &mut reader, "fingerprints");
    assert_eq!(reading.document.additional_address, "北京市海淀区某街2号");
    assert_eq!((reading.fingerprints.len(), card_type(&reading)), (1024, 'C'));
    assert_eq!(reading.fingerprints[..3], [b'C', 0x01, 0x12]);
    assert!(reading.texts.iter().any(|text| text.label == Label::AdditionalAddress));
    let reading = read_card(&module, &mut reader, "long-term");
    assert_eq!(reading.document.expires, None);
    assert!(reading.texts.iter().any(|text| text.label == Label::Expires && text.content == "长期"));
    let reading = read_card(&module, &mut reader, "permit");
    let document = &reading.document;
    assert_eq!((document.kind, card_type(&reading)), (DocumentKind::HongKongMacaoTaiwan, 'J'));
    assert_eq!((document.permit_number.as_str(), document.issue_count.as_str()), ("H12345678", "01"));
    for (name, number, version) in
        [("foreigner", "CAN110081080310", "01"), ("new-foreigner", "911124198108030024", "")]
    {
        let reading = read_card(&module, &mut reader, name);
        let document = &reading.document;
        assert_eq!((document.kind, card_type(&reading)), (DocumentKind::Foreigner, 'I'));
        assert_eq!((document.number.as_str(), document.version.as_str()), (number, version));
        assert_eq!(
            (document.name.as_str(), document.latin_name.as_str()),
            ("证件样本", "ZHENGJIAN, YANGBEN")
        );
        assert_eq!((document.nationality.as_str(), document.birthday), ("CAN", Some(date(1981, 8, 3))));
    }
}

#[test]
fn modules_with_quirks_are_read_like_any_other() {
    let (module, mut reader) = fitted();
    let by_the_book = read_card(&module, &mut reader, "fingerprints");
    for number in 1..=6 {
        module.quirks(Quirks::number(number).unwrap());
        let reading = read_card(&module, &mut reader, "fingerprints");
        assert!(reading.document == by_the_book.document, "quirk {number}");
        let fingerprints = if number == 5 { 0 } else { 1024 };
        assert_eq!(reading.fingerprints.len(), fingerprints, "quirk {number}");
        let reading = read_card(&module, &mut reader, "resident");
        assert_eq!(reading.document.number, "11010519491231002X", "quirk {number}");
        if number == 5 {
            // It is not asked again for what it does not know.
            let heard = module.heard();
            assert!(heard.iter().rev().take(4).all(|command| *command != READ), "{heard:02x?}");
            // Plugged in again it may be another one.
            module.unplug();
            offline(&mut reader);
            module.plug_in().unwrap();
            reader = Sdt::new(module.path().unwrap(), 115_200, None);
            online(&mut reader);
        }
    }
}

#[test]
fn a_module_that_stumbles_over_fingerprints_is_read_without_them() {
    // It says nothing, or 24.
    for quirk in [7, 8] {
        let (module, mut reader) = fitted();
        module.quirks(Quirks::number(quirk).unwrap());
        let reading = read_card(&module, &mut reader, "fingerprints");
        let document = &reading.document;
        assert_eq!(document.number, "11010519491231002X", "quirk {quirk}");
        assert_eq!(document.additional_address, "北京市海淀区某街2号", "quirk {quirk}");
        assert_eq!(reading.fingerprints.len(), 0);
        read_card(&module, &mut reader, "resident");
        read_card(&module, &mut reader, "fingerprints");
        let asked = module.heard().iter().filter(|command| **command == READ).count();
        assert_eq!(asked, 2, "quirk {quirk}: it is not asked a third time for what it cannot do");
    }
}

#[test]
fn one_damaged_answer_about_fingerprints_is_forgiven() {
    let (module, mut reader) = fitted();
    let mut fingerprints = |fault: Option<Fault>| {
        fault.into_iter().for_each(|fault| module.fault(Some(READ), fault));
        let reading = read_card(&module, &mut reader, "fingerprints");
        assert_eq!(reading.document.number, "11010519491231002X");
        reading.fingerprints.len()
    };
    // Never two in a row.
    for fault in [Fault::Silent, Fault::Status(0x24)] {
        assert_eq!(fingerprints(Some(fault)), 0, "{fault:?}");
        assert_eq!(fingerprints(None), 1024, "{fault:?}");
    }
    assert_eq!(fingerprints(Some(Fault::Silent)), 0);
    assert_eq!(fingerprints(Some(Fault::Silent)), 0);
    assert_eq!(fingerprints(None), 0, "it is not asked any more");
}

#[test]
fn a_card_whose_last_day_is_none_is_not_valid_for_ever() {
    let (module, mut reader) = fitted();
    module.lay_down(card("no-last-day"));
    let why = failed(&mut reader);
    assert_eq!(why, "the identity card was not read: its last day cannot be understood");
    nothing(&mut reader, 3);
    assert_eq!(module.heard().iter().filter(|command| **command == READ).count(), 1, "it says it again");
    module.lift();
    taken_away(&mut reader);
    assert_eq!(read_card(&module, &mut reader, "long-term").document.expires, None);
}

#[test]
fn a_card_that_lies_there_from_the_start_teaches_nothing_wrong() {
    let (module, mut reader) = fitted();
    module.lay_down(card("resident"));
    read(&mut reader);
    // The gate begins anew. By the book the module does not find what it has read.
    drop(reader);
    let mut reader = Sdt::new(module.path().unwrap(), 115_200, None);
    online(&mut reader);
    nothing(&mut reader, 3);
    module.lift();
    nothing(&mut reader, 2);
    module.lay_down(card("permit"));
    read(&mut reader);
    nothing(&mut reader, 5);
    module.lift();
    taken_away(&mut reader);
    // One that is found at the very first look, before it was seen how the module tells of none: it may be missed, once.
    let module = Module::start(None).unwrap();
    module.lay_down(card("resident"));
    let mut reader = Sdt::new(module.path().unwrap(), 115_200, None);
    online(&mut reader);
    read(&mut reader);
    taken_away(&mut reader);
    nothing(&mut reader, 3);
    module.lift();
    nothing(&mut reader, 2);
    module.lay_down(card("permit"));
    read(&mut reader);
    nothing(&mut reader, 5);
    module.lift();
    taken_away(&mut reader);
}

#[test]
fn a_card_that_is_missed_once_is_not_presented_twice() {
    let (module, mut reader) = fitted();
    module.quirks(Quirks::number(6).unwrap());
    module.lay_down(card("resident"));
    read(&mut reader);
    // It is found again: the module is one of those.
    nothing(&mut reader, 2);
    module.lift();
    taken_away(&mut reader);
    module.lay_down(card("resident"));
    read(&mut reader);
    for _ in 0..2 {
        module.miss();
        nothing(&mut reader, 3);
    }
    module.lift();
    taken_away(&mut reader);
}

#[test]
fn a_card_is_read_once_until_it_is_lifted() {
    for quirk in [0, 6] {
        let (module, mut reader) = fitted();
        module.quirks(Quirks::number(quirk).unwrap());
        nothing(&mut reader, 2);
        module.lay_down(card("resident"));
        read(&mut reader);
        nothing(&mut reader, 5);
        // Missed once, at the edge of the field.
        module.fault(Some(FIND), Fault::Status(0x80));
        nothing(&mut reader, 5);
        let reads = module.heard().iter().filter(|command| **command == READ).count();
        assert_eq!(reads, 1, "quirk {quirk}");
        module.lift();
        taken_away(&mut reader);
        nothing(&mut reader, 3);
        // The same one again.
        module.lay_down(card("resident"));
        read(&mut reader);
        module.lift();
        taken_away(&mut reader);
    }
    // A module by the book finds a card only anew: another one, laid down between two looks.
    let (module, mut reader) = fitted();
    nothing(&mut reader, 1);
    module.lay_down(card("resident"));
    read(&mut reader);
    nothing(&mut reader, 2);
    module.lay_down(card("permit"));
    taken_away(&mut reader);
    assert_eq!(read(&mut reader).document.number, "810000199408230021");
}

#[test]
fn noise_costs_nothing() {
    let (module, mut reader) = fitted();
    for command in [FIND, SELECT, READ, ADDRESS] {
        for fault in [Fault::Stray, Fault::Check, Fault::Half] {
            module.fault(Some(command), fault);
            let reading = read_card(&module, &mut reader, "fingerprints");
            assert_eq!(reading.fingerprints.len(), 1024, "{command:02x?} {fault:?}");
            assert_eq!(
                reading.document.additional_address, "北京市海淀区某街2号",
                "{command:02x?} {fault:?}"
            );
        }
    }
    // What a card refuses once it gives when it is asked again.
    for (command, fault) in [
        (SELECT, Fault::Status(0x81)),
        (READ, Fault::Status(0x41)),
        (READ, Fault::Status(0x31)),
        (SELECT, Fault::Silent),
        (READ, Fault::Silent),
    ] {
        module.fault(Some(command), fault);
        read_card(&module, &mut reader, "resident");
    }
}

#[test]
fn whatever_status_stands_in_the_way_is_told() {
    let (module, mut reader) = fitted();
    let base_reads = |module: &Module| module.heard().iter().filter(|command| **command == READ_BASE).count();
    for (status, words) in [
        (0x10, "the module gives the answer that it received a damaged command"),
        (0x11, "the module gives the answer that it received a damaged command"),
        (0x24, "an error that it cannot tell (status 24)"),
        (0x31, "the card does not trust the module (status 31)"),
        (0x32, "the module does not trust the card (status 32)"),
        (0x33, "not what was signed (status 33)"),
        (0x37, "the fingerprints that it read are not what was signed (status 37)"),
        (0x3f, "a wrong length (status 3F)"),
        (0x40, "this is no identity card (status 40)"),
        (0x41, "taken away too soon? (status 41)"),
        (0x47, "no random number (status 47)"),
        (0x60, "its self-test failed (status 60)"),
        (0x66, "no authorisation (its SAM is not activated) (status 66)"),
        (0x99, "an unknown error (status 99)"),
    ] {
        for _ in 0..6 {
            module.fault(Some(READ), Fault::Status(status));
            module.fault(Some(READ_BASE), Fault::Status(status));
        }
        let before = base_reads(&module);
        module.lay_down(card("resident"));
        let why = failed(&mut reader);
        assert!(why.starts_with("the identity card was not read: ") && why.ends_with(words), "{why}");
        // What is said of this card, and its fingerprints, is not got round by reading the rest.
        let stumbles = matches!(status, 0x10 | 0x11 | 0x24);
        assert_eq!(base_reads(&module) > before, stumbles, "{status:02x}");
        module.heal();
        // It is not tried again and again, but when it is laid down again.
        nothing(&mut reader, 3);
        module.lift();
        taken_away(&mut reader);
        read_card(&module, &mut reader, "resident");
    }
    for _ in 0..3 {
        module.fault(Some(SELECT), Fault::Status(0x81));
    }
    module.lay_down(card("resident"));
    assert!(failed(&mut reader).ends_with("taken away too soon? (status 81)"));
    // No answer about fingerprints is in the way of the rest; 91 is the card's own, the others are the module's.
    for (status, asked_again) in [(0x91, true), (0x23, false), (0x21, false)] {
        let (module, mut reader) = fitted();
        module.fault(Some(READ), Fault::Status(status));
        let reading = read_card(&module, &mut reader, "fingerprints");
        assert_eq!((reading.fingerprints.len(), reading.document.number.as_str()), (0, "11010519491231002X"));
        let reading = read_card(&module, &mut reader, "fingerprints");
        assert_eq!(reading.fingerprints.len(), if asked_again { 1024 } else { 0 }, "{status:02x}");
    }
}

#[test]
fn a_module_that_does_not_work_is_told_and_looked_for() {
    let (module, mut reader) = fitted();
    for (fault, words) in [
        (Fault::Silent, "gives no answer: check its power, its wires (TX to RX) and its speed"),
        (Fault::Half, "gives half an answer: check"),
        (Fault::Check, "gives a wrong check: check"),
        (
            Fault::Status(0x66),
            "does not work: it has no authorisation (its SAM is not activated) (status 66)",
        ),
        (Fault::Status(0x60), "does not work: its self-test failed (status 60)"),
        (Fault::Status(0x24), "does not work: an error that it cannot tell (status 24)"),
    ] {
        // Two looks may fail: that is noise.
        for _ in 0..12 {
            module.fault(Some(FIND), fault);
        }
        let why = offline(&mut reader);
        assert!(why.contains(words) && why.contains("/dev/pts/"), "{fault:?}: {why}");
        module.heal();
        online(&mut reader);
        nothing(&mut reader, 2);
    }
    // From the start.
    module.fault(Some(STATE), Fault::Status(0x66));
    module.fault(Some([0x10, 0xff]), Fault::Status(0x66));
    let mut reader = Sdt::new(module.path().unwrap(), 115_200, None);
    drop(module);
    assert!(offline(&mut reader).contains("is the adapter plugged in?"));
    let module = Module::start(None).unwrap();
    module.fault(Some(STATE), Fault::Status(0x66));
    module.fault(Some([0x10, 0xff]), Fault::Status(0x66));
    let mut reader = Sdt::new(module.path().unwrap(), 115_200, None);
    assert!(offline(&mut reader).contains("status 66"));
    online(&mut reader);
    // One that needs a reset.
    module.fault(Some(STATE), Fault::Status(0x24));
    let mut reader = Sdt::new(module.path().unwrap(), 9600, None);
    online(&mut reader);
    assert_eq!(module.heard().iter().filter(|command| **command == [0x10, 0xff]).count(), 2);
    // A line on which nobody is.
    let line = Pty::new();
    let mut reader = Sdt::new(&line.path, 115_200, None);
    assert!(offline(&mut reader).contains("gives no answer"));
    nothing(&mut reader, 3);
}

#[test]
fn a_module_is_unplugged_in_the_middle_and_comes_back() {
    logged();
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB0");
    let mut reader = Sdt::new(&port, 115_200, None);
    assert!(offline(&mut reader).contains("ttyUSB0 cannot be opened"));
    nothing(&mut reader, 3);
    let module = Module::start(Some(&port)).unwrap();
    online(&mut reader);
    for _ in 0..2 {
        module.lay_down(card("resident"));
        detected(&mut reader);
        // While it is read: the answer ends in its middle, and the line with it.
        module.fault(Some(READ), Fault::Half);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let reads = module.heard().iter().filter(|command| **command == READ).count();
                let begun =
                    |heard: &[[u8; 2]]| heard.iter().filter(|command| **command == READ).count() > reads;
                assert!(module.wait(PATIENCE, begun), "it is not read");
                module.unplug();
            });
            let why = offline(&mut reader);
            assert!(why.contains("ttyUSB0"), "{why}");
        });
        nothing(&mut reader, 3);
        module.plug_in().unwrap();
        online(&mut reader);
        // It still lies there.
        assert_eq!(read(&mut reader).document.number, "11010519491231002X");
        module.lift();
        taken_away(&mut reader);
    }
    // Another name for the same port, in between.
    module.unplug();
    offline(&mut reader);
    symlink("/dev/null", &port).unwrap();
    nothing(&mut reader, 3);
    std::fs::remove_file(&port).unwrap();
    module.plug_in().unwrap();
    online(&mut reader);
}

#[test]
fn the_doctor_asks_the_module() {
    logged();
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB0");
    let mut config = menshen::config::Config::default();
    config.device.id_reader = format!("sdt:{}", port.display());
    let examine = |config: &menshen::config::Config, key: &str| {
        let findings = menshen::doctor::examine(config, menshen::doctor::Agent::Away);
        let finding = findings.into_iter().find(|finding| finding.key == key).unwrap();
        (finding.state, finding.found.english.into_owned())
    };
    let (state, found) = examine(&config, "id_reader");
    assert_eq!(state, State::Failed);
    assert!(
        found.contains("ttyUSB0 cannot be opened") && found.contains("is the adapter plugged in?"),
        "{found}"
    );
    let module = Module::start(Some(&port)).unwrap();
    let (state, found) = examine(&config, "id_reader");
    assert_eq!(
        (state, found.as_str()),
        (State::Well, "answers; its number is 05.01-20120411-0000000001-0000000002")
    );
    module.fault(Some(STATE), Fault::Status(0x66));
    module.fault(Some([0x10, 0xff]), Fault::Status(0x66));
    let (state, found) = examine(&config, "id_reader");
    assert!(state == State::Failed && found.contains("its SAM is not activated"), "{found}");
    assert_eq!(examine(&config, "id_photo_decoder").0, State::Absent);
    config.device.id_photo_decoder = folder.path().join("decoder");
    let (state, found) = examine(&config, "id_photo_decoder");
    assert!(state == State::Failed && found.contains("decoder cannot be run"), "{found}");
    config.device.id_photo_decoder = program(folder.path(), "decoder", "true");
    assert_eq!(examine(&config, "id_photo_decoder").0, State::Well);
    config.device.id_reader = "sdt:ttyS2".into();
    let (state, found) = examine(&config, "id_reader");
    assert!(state == State::Failed && found.contains("sdt:/dev/ttyS2"), "{found}");
}

#[test]
fn the_doctor_looks_for_every_kind_of_reader() {
    logged();
    let mut config = menshen::config::Config::default();
    config.vision.models_dir = support::vision::models_dir();
    let examine = |config: &menshen::config::Config, key: &str| {
        let findings = menshen::doctor::examine(config, menshen::doctor::Agent::Away);
        let finding = findings.into_iter().find(|finding| finding.key == key)?;
        Some((finding.state, finding.found.english.into_owned()))
    };
    let said = |config: &menshen::config::Config, key: &str| {
        examine(config, key).unwrap_or_else(|| panic!("nothing is said of {key}"))
    };
    assert!(examine(&config, "csca_dir").is_none() && examine(&config, "live_level").is_none());

    // Both need a camera that looks at the plate.
    for name in ["camera", "pcsc:nope"] {
        config.device.id_reader = name.into();
        assert_eq!(said(&config, "id_reader"), (State::Failed, "there is no document camera".into()));
    }
    let camera = menshen::config::Camera::new(menshen::config::CameraRole::Document, "v4l2:/dev/nope");
    config.camera = vec![camera];
    let (state, found) = said(&config, "id_reader");
    assert!(state == State::Failed && (found.contains("nope") || found.contains("pcscd")), "{found}");
    config.device.id_reader = "camera".into();
    assert_eq!(said(&config, "id_reader").0, State::Well);
    let models = std::mem::replace(&mut config.vision.models_dir, "/nope".into());
    assert_eq!(said(&config, "id_reader").0, State::Failed);
    config.vision.models_dir = models;

    // Whose signatures are believed.
    config.device.id_reader = "pcsc:nope".into();
    let (state, found) = said(&config, "csca_dir");
    assert_eq!((state, found.as_str()), (State::Attention, "none: nobody is believed, chips are not proof"));
    config.documents.csca_dir = "/nope".into();
    for key in ["id_reader", "csca_dir"] {
        assert_eq!(said(&config, key).0, State::Failed, "{key}");
    }
    let folder = tempfile::tempdir().unwrap();
    config.documents.csca_dir = folder.path().display().to_string();
    let (state, found) = said(&config, "csca_dir");
    assert!(state == State::Failed && found.contains("holds no certificate"), "{found}");
    let authority = menshen::simulate::passport::Authority::new("Nobody").unwrap();
    std::fs::write(folder.path().join("one.cer"), authority.certificate()).unwrap();
    let (state, found) = said(&config, "csca_dir");
    assert_eq!((state, found.as_str()), (State::Well, "1 authorities, 0 of them out of date"));

    // A service is dialled.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.device.id_reader = format!("document_reader:ws://{}/echo", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut page = tokio_tungstenite::tungstenite::accept(stream).unwrap();
        while page.read().is_ok() {}
    });
    assert_eq!(said(&config, "id_reader").0, State::Well);
    served.join().unwrap();
    let (state, found) = said(&config, "id_reader");
    assert!(state == State::Failed && found.contains("is it running?"), "{found}");

    // Whoever holds the portrait up.
    config.settings.rules.mode = PassMode::Document;
    config.settings.face.live_level = 0;
    let (state, found) = said(&config, "live_level");
    assert!(state == State::Attention && found.contains("held up"), "{found}");
    config.settings.face.live_level = 1;
    assert!(examine(&config, "live_level").is_none());
}

#[test]
fn the_simulated_module_is_a_program() {
    logged();
    let folder = tempfile::tempdir().unwrap();
    let (link, photo) = (folder.path().join("ttyID"), folder.path().join("photo.jpg"));
    let mut small = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(16, 16, image::Rgb([9, 9, 9]))
        .write_to(&mut small, image::ImageFormat::Jpeg)
        .unwrap();
    assert!(small.get_ref().len() <= 1024);
    std::fs::write(&photo, small.into_inner()).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_menshen"))
        .args(["simulate", "sdt", "--interactive", "--link"])
        .arg(&link)
        .arg("--photo")
        .arg(&photo)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut orders = child.stdin.take().unwrap();
    let mut order = |line: &str| writeln!(orders, "{line}").unwrap();
    let place = |line: Option<std::io::Result<String>>| {
        let line = line.unwrap().unwrap();
        line.strip_prefix("the identity card module is at ").unwrap_or_else(|| panic!("{line}")).to_owned()
    };
    let first = place(said.next());
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(&first));
    let decoder = PhotoDecoder::open(Path::new("/bin/cat")).unwrap();
    let mut reader = Sdt::new(&link, 115_200, decoder);
    online(&mut reader);
    order("card foreigner");
    let reading = read(&mut reader);
    assert_eq!(reading.document.number, "CAN110081080310");
    assert_eq!(reading.document.photo.as_ref().unwrap()[..2], [0xff, 0xd8]);
    order("lift");
    taken_away(&mut reader);
    order("fault 40 3010");
    order("card resident");
    assert!(failed(&mut reader).contains("status 40"));
    order("nonsense");
    order("unplug");
    assert!(offline(&mut reader).contains("ttyID"));
    order("plug");
    place(said.next());
    online(&mut reader);
    read(&mut reader);
    order("quit");
    assert!(child.wait().unwrap().success());
    assert!(!link.exists());
}

/// A program of the shell. Another program writes it: this one has threads that start others, which would hold it open for
/// writing for a moment, and what is being written cannot be run.
fn program(folder: &Path, name: &str, lines: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    let written = Command::new("/bin/sh")
        .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\""])
        .arg(&path)
        .arg(lines)
        .status();
    assert!(written.unwrap().success());
    path
}

/// A picture of one colour as BMP, PNG or JPEG.
fn picture(format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(102, 126, image::Rgb([200, 40, 40])).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

#[test]
fn photos_are_decoded_by_a_program() {
    logged();
    let folder = tempfile::tempdir().unwrap();
    let open = |path: &Path| PhotoDecoder::open(path).unwrap().unwrap();
    assert!(PhotoDecoder::open(Path::new("")).unwrap().is_none());
    for (name, format) in [
        ("bmp", image::ImageFormat::Bmp),
        ("png", image::ImageFormat::Png),
        ("jpeg", image::ImageFormat::Jpeg),
    ] {
        let (file, input) =
            (folder.path().join(format!("{name}.out")), folder.path().join(format!("{name}.in")));
        std::fs::write(&file, picture(format)).unwrap();
        std::fs::write(&input, [0x57; 1024]).unwrap();
        // The whole WLT is its input.
        let lines = format!("/usr/bin/cmp - {} && /bin/cat {}", input.display(), file.display());
        let jpeg = open(&program(folder.path(), name, &lines)).decode(&[0x57; 1024]).unwrap();
        let pixels =
            image::load_from_memory_with_format(&jpeg, image::ImageFormat::Jpeg).unwrap().into_rgb8();
        assert_eq!(pixels.dimensions(), (102, 126));
        let [red, green, blue] = pixels.get_pixel(50, 60).0;
        assert!(red.abs_diff(200) < 8 && green.abs_diff(40) < 8 && blue.abs_diff(40) < 8, "{name}");
    }
    let bmp = folder.path().join("bmp.out");
    let picture = bmp.display();
    // Nothing of our surroundings is with it, besides what the shell makes of nothing.
    let lines = format!(
        "/usr/bin/env | /usr/bin/grep -qvE '^(PWD|_|SHLVL|OLDPWD)=' && exit 7; /bin/cat > /dev/null; /bin/cat {picture}"
    );
    assert!(open(&program(folder.path(), "look", &lines)).decode(&[0; 1024]).is_some());
    // It writes no files, and cannot take the gate's memory. Each waits for its input: it is confined by then.
    let written = folder.path().join("written");
    let lines = format!("/bin/cat > /dev/null; echo 1 > {}; /bin/cat {picture}", written.display());
    open(&program(folder.path(), "writes", &lines)).decode(&[0; 1024]);
    assert_eq!(std::fs::read(&written).unwrap_or_default(), b"");
    let lines = format!(
        "/bin/cat > /dev/null; /usr/bin/head -c 500000000 /dev/zero | /usr/bin/tail -c 400000000 > /dev/null || exit 9\n\
         /bin/cat {picture}"
    );
    let greedy = program(folder.path(), "greedy", &lines);
    assert!(open(&greedy).decode(&[0; 1024]).is_none());
    let log = log_text();
    let told = log.lines().find(|line| line.contains(&greedy.display().to_string())).unwrap();
    assert!(told.contains("it ended with code 9"), "{told}");
    // A pipe is no file: it says through it what it has started.
    let child = folder.path().join("child");
    assert!(Command::new("/usr/bin/mkfifo").arg(&child).status().unwrap().success());
    let named = child.clone();
    let named = std::thread::spawn(move || std::fs::read_to_string(named).unwrap());
    for (name, lines, words) in [
        ("refuses", "exit 3".to_owned(), "it ended with code 3"),
        ("dies", "kill -9 $$".to_owned(), "it was ended by signal 9"),
        ("nothing", "true".to_owned(), "gives no picture"),
        ("nonsense", "echo hello".to_owned(), "gives no picture"),
        ("much", "/usr/bin/head -c 2000000 /dev/zero".to_owned(), "it gives more than 1048576 bytes"),
        (
            "slow",
            format!("/bin/sleep 600 & echo $! > {}; wait", child.display()),
            "it has not ended within 3 s",
        ),
    ] {
        let path = program(folder.path(), name, &lines);
        let mut decoder = open(&path);
        assert!(decoder.decode(&[0x57; 1024]).is_none(), "{name}");
        let mine = || log_text().lines().filter(|line| line.contains(&path.display().to_string())).count();
        assert_eq!(mine(), 1, "{name}");
        let log = log_text();
        let line = log.lines().find(|line| line.contains(&path.display().to_string())).unwrap();
        assert!(line.contains(words) && line.contains("it is left out"), "{line}");
        if name != "slow" {
            assert!(decoder.decode(&[0x57; 1024]).is_none());
            assert_eq!(mine(), 1, "{name} is told once");
        }
    }
    // What it has started has ended with it.
    let child = named.join().unwrap().trim().parse().unwrap();
    let until = Instant::now() + PATIENCE;
    let process = rustix::process::Pid::from_raw(child).unwrap();
    while rustix::process::test_kill_process(process).is_ok()
        && std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    {
        assert!(Instant::now() < until, "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    let missing = folder.path().join("missing");
    assert!(open(&missing).decode(&[0; 1024]).is_none());
    assert!(log_text().contains("it cannot be started: is it there"));
}

#[test]
fn the_photo_of_a_card_is_its_document_s() {
    logged();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("photo.bmp");
    std::fs::write(&file, picture(image::ImageFormat::Bmp)).unwrap();
    let path = program(folder.path(), "decoder", &format!("/bin/cat {}", file.display()));
    let module = Module::start(None).unwrap();
    let mut reader = Sdt::new(module.path().unwrap(), 115_200, PhotoDecoder::open(&path).unwrap());
    online(&mut reader);
    let reading = read_card(&module, &mut reader, "resident");
    let photo = reading.document.photo.clone().unwrap();
    assert_eq!(photo[..3], [0xff, 0xd8, 0xff]);
    assert_eq!(reading.pictures.card_photo.as_ref(), Some(&photo));
    // A decoder that is gone costs the photo and no more.
    std::fs::remove_file(&path).unwrap();
    let reading = read_card(&module, &mut reader, "resident");
    assert!(reading.document.photo.is_none() && reading.document.number == "11010519491231002X");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_presented_once_each_time_and_nothing_of_it_is_told() {
    logged();
    let folder = tempfile::tempdir().unwrap();
    let port = folder.path().join("ttyUSB0");
    let module = Module::start(Some(&port)).unwrap();
    let bench = Bench::with(|config| {
        config.device.id_reader = format!("sdt:{}", port.display());
        config.settings.rules.mode = PassMode::Document;
    })
    .await;
    let (before, mut events) = bench.gate.events().subscribe(0);
    let mut all = before;
    let mut happenings = bench.gate.documents();
    // The reader may have been found before this was asked.
    let mut until = async |kind: &str, state: &str| {
        let told = |event: &Event| {
            event.kind == kind
                && event.fields.get(if kind == "credential" { "for" } else { "state" }) == Some(&json!(state))
        };
        if let Some(at) = all.iter().rposition(|event| told(event)) {
            return all.drain(..=at).collect::<Vec<_>>();
        }
        let mut seen = std::mem::take(&mut all);
        loop {
            let next = tokio::time::timeout(PATIENCE, events.recv()).await;
            let event = next.unwrap_or_else(|_| panic!("no {kind} {state}")).unwrap();
            seen.push(Arc::clone(&event));
            if told(&event) {
                return seen;
            }
        }
    };
    let mut told = until("reader", "online").await;
    let asked = bench.gate.next_presented(PATIENCE);
    module.lay_down(card("resident"));
    let presented = asked.await.unwrap();
    let menshen::gate::Presented::Document(document) = presented else { panic!("{presented:?}") };
    assert_eq!((document.number.as_str(), document.name.as_str()), ("11010519491231002X", "张三"));
    told.extend(until("credential", "platform").await);
    module.lift();
    told.extend(until("document", "taken_away").await);
    // To the passage, once.
    module.lay_down(card("fingerprints"));
    told.extend(until("credential", "session").await);
    let finds = module.heard().len();
    assert!(module.wait(PATIENCE, |heard| heard.len() > finds + 6));
    module.lift();
    told.extend(until("document", "taken_away").await);
    // A card that cannot be read.
    module.fault(Some(READ), Fault::Status(0x40));
    module.lay_down(card("permit"));
    told.extend(until("document", "failed").await);
    module.lift();
    told.extend(until("document", "taken_away").await);
    module.lay_down(card("foreigner"));
    told.extend(until("document", "read").await);
    module.unplug();
    told.extend(until("reader", "offline").await);
    assert!(matches!(bench.gate.document_reader(), Some(Happening::Offline { .. })));
    module.lift();
    module.plug_in().unwrap();
    told.extend(until("reader", "online").await);
    assert!(matches!(bench.gate.document_reader(), Some(Happening::Online { .. })));
    module.lay_down(card("new-foreigner"));
    told.extend(until("document", "read").await);
    let states: Vec<_> = told
        .iter()
        .filter(|event| matches!(event.kind, "document" | "reader"))
        .map(|event| event.fields["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        [
            "online",
            "detected",
            "read",
            "taken_away",
            "detected",
            "read",
            "taken_away",
            "detected",
            "failed",
            "taken_away",
            "detected",
            "read",
            "offline",
            "online",
            "detected",
            "read"
        ]
    );
    let credentials: Vec<_> = told.iter().filter(|event| event.kind == "credential").collect();
    assert!(credentials.len() >= 2, "{credentials:?}");
    // The services have heard the same, with the facts.
    let mut numbers = Vec::new();
    while numbers.len() < 4 {
        // They hear of it right behind the event.
        let happening = tokio::time::timeout(PATIENCE, happenings.recv()).await.expect("it is told").unwrap();
        if let Happening::Read(reading) = happening {
            numbers.push(reading.document.number.clone());
        }
    }
    assert_eq!(
        numbers,
        ["11010519491231002X", "11010519491231002X", "CAN110081080310", "911124198108030024"]
    );
    // Neither events nor the log of this whole program have anything of the people.
    let events: String = told.iter().map(|event| serde_json::to_string(&**event).unwrap() + "\n").collect();
    let log = log_text();
    assert!(log.contains("identity cards are read without their photos"), "the log is empty");
    for personal in PERSONAL {
        assert!(!events.contains(personal), "an event has {personal}");
        assert!(!log.contains(personal), "the log has {personal}");
    }
}
