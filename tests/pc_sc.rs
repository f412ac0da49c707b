//! Chip cards through the real pcscd, with readers and cards that are programs: put in, read, taken out at any moment; the
//! service that goes away and comes back; cards as credentials at the gate.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod admin;
    pub mod pcscd;
    pub mod plugging;
    pub mod process;
    pub mod vision;
}

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::civil::date;
use menshen::Kind;
use menshen::access::PassMode;
use menshen::clock::ManualClock;
use menshen::device::bank_card::{self, social_security};
use menshen::device::card_reader::Digits;
use menshen::device::chip::Trust;
use menshen::device::chip::card::Card;
use menshen::device::id_reader::{IdReader, Wanted};
use menshen::device::pcsc::{Presence, Reader, uid};
use menshen::document::mrz::Zone;
use menshen::document::{ChipVerdict, Happening};
use menshen::event::Event;
use menshen::gate::Presented;
use menshen::gate::passport_reader::{self, PassportReader};
use menshen::simulate::card::profile::{ACCOUNT, PRINTED, UID};
use menshen::simulate::card::{Chip, Fault, Happened, Inserted, Profile, insert};
use menshen::simulate::passport::{self, Authority, Options, Passport};
use serde_json::json;
use support::admin::Bench;
use support::pcscd::{Pcscd, alone, plug};
use support::plugging::Plugging;
use support::process::{Agent, PATIENCE, Process, menshen};

/// Long enough to have noticed what has not happened: the service looks at its readers each 0.4 s.
const QUIET: Duration = Duration::from_millis(1200);

fn put_in(reader: SocketAddr, profile: Profile, fault: Fault) -> Inserted {
    insert(reader, profile.chip(), fault, |_| {}).unwrap()
}

/// Waits until nothing stands in a reader that is there; it may have been seen empty already.
fn until_empty(reader: &mut Reader) {
    let until = std::time::Instant::now() + PATIENCE;
    while reader.presence(QUIET).unwrap() != Presence::Empty {
        assert!(std::time::Instant::now() < until, "the card is not taken out");
    }
}

#[test]
fn cards_are_put_in_and_taken_out() {
    alone("cards_are_put_in_and_taken_out", |folder| {
        let slot = plug(folder, "Gate Slot");
        let _service = Pcscd::start(folder);
        let mut reader = Reader::new("gate SLOT 00 00");
        assert_eq!(reader.presence(QUIET).unwrap(), Presence::Empty);
        assert_eq!(reader.name().as_deref(), Some("Gate Slot 00 00"));
        let inserted = put_in(slot, Profile::Uid, Fault::None);
        assert_eq!(reader.presence(PATIENCE).unwrap(), Presence::Card(1));
        {
            let mut card = reader.connect().unwrap();
            assert_eq!(card.atr(), [0x3b, 0x80, 0x80, 0x01, 0x01]);
            assert_eq!(card.reader(), "Gate Slot 00 00");
            assert_eq!(uid(&mut card).unwrap().unwrap().bytes(), UID);
            // What it does not know is its own answer, not an error.
            assert_eq!(card.transmit(&[0x00, 0xa4, 0x04, 0x00, 0x01, 0xa0, 0x00]).unwrap(), [0x6a, 0x82]);
        }
        assert_eq!(reader.presence(QUIET).unwrap(), Presence::Card(1), "it is still the same");
        inserted.remove();
        assert_eq!(reader.presence(PATIENCE).unwrap(), Presence::Empty);
        let error = reader.connect().err().unwrap();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("taken out of Gate Slot 00 00"), "{error}");
        let again = put_in(slot, Profile::Uid, Fault::None);
        assert_eq!(reader.presence(PATIENCE).unwrap(), Presence::Card(2), "the same one again is new");
        // Who waits for cards is given each once.
        let mut waiting = Reader::new("gate slot 00 00");
        let card = waiting.wait_card(PATIENCE).unwrap().unwrap();
        let error = reader.connect().err().unwrap();
        assert_eq!(error.kind(), Kind::Busy);
        assert!(error.message().contains("is used by another program"), "{error}");
        drop(card);
        assert!(waiting.wait_card(QUIET).unwrap().is_none());
        waiting.anew();
        assert!(waiting.wait_card(QUIET).unwrap().is_some(), "it is asked anew");
        // One that could not be had was not given out.
        let other = reader.connect().unwrap();
        waiting.anew();
        assert_eq!(waiting.wait_card(QUIET).err().unwrap().kind(), Kind::Busy);
        drop(other);
        assert!(waiting.wait_card(QUIET).unwrap().is_some());
        again.remove();
        let _third = put_in(slot, Profile::Uid, Fault::None);
        assert!(waiting.wait_card(PATIENCE).unwrap().is_some());
    });
}

#[test]
fn bank_and_social_security_cards_are_read() {
    alone("bank_and_social_security_cards_are_read", |folder| {
        let slot = plug(folder, "Gate Slot");
        let _service = Pcscd::start(folder);
        let mut reader = Reader::new("00 00");
        for (profile, directory) in [
            (Profile::Bank, "with contacts"),
            (Profile::BankContactless, "contactless"),
            (Profile::BankWithoutDirectory, "none"),
        ] {
            let inserted = put_in(slot, profile, Fault::None);
            let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
            let read = bank_card::read(&mut card, date(2026, 11, 22)).unwrap();
            let told: Vec<_> = read.fields().into_iter().filter(|(_, value)| !value.is_empty()).collect();
            assert_eq!(
                told,
                [
                    ("CardNumber", "6200000000000005"),
                    ("AccountNumber", "6200000000000005"),
                    ("Name", "TEST/CARD"),
                    ("CertificatesType", "05"),
                    ("CertificatesNo", "TEST00000000000000"),
                    ("Track1", "B6200000000000005^TEST/CARD^49122200000000000"),
                    ("Track2", "6200000000000005=49122200000000000"),
                    ("Balance", "7.97"),
                    ("BalanceLimit", "1000.00"),
                    ("EffectiveDate", "20200101"),
                    ("SerialNumber", "01"),
                    ("CurrencyCode", "156"),
                    ("PinRetryTime", "3"),
                    ("ExpiryDate", "20491231"),
                    // Six payments, and this look.
                    ("Atc", "7"),
                    ("SingleTradingLimit", "500.00"),
                    ("ResetThreshold", "0.00"),
                    ("AppLock", "0"),
                    ("IcCardAID", "A000000333010101"),
                    ("AuthorizedAmount", "12.50"),
                    ("TransactionCurrencyCode", "156"),
                    ("TransactionDate", "20260101"),
                    ("TransactionTime", "093000"),
                ],
                "directory: {directory}"
            );
            let error = social_security::read(&mut card).unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
            drop(card);
            inserted.remove();
        }
        let inserted = put_in(slot, Profile::SocialSecurity, Fault::None);
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        let read = social_security::read(&mut card).unwrap();
        assert_eq!(
            (read.social_security_number.as_str(), read.card_number.as_str(), read.name.as_str()),
            ("000000200001010000", PRINTED, "张三")
        );
        assert_eq!((read.sex.as_str(), read.valid_end.as_str(), read.withheld), ("男", "20491231", false));
        drop(card);
        inserted.remove();
        let _inserted = put_in(slot, Profile::SocialSecurityPin, Fault::None);
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        let read = social_security::read(&mut card).unwrap();
        assert_eq!((read.card_number.as_str(), read.name.as_str(), read.withheld), (PRINTED, "", true));
    });
}

#[test]
fn each_fault_of_a_card_has_its_error() {
    alone("each_fault_of_a_card_has_its_error", |folder| {
        let slot = plug(folder, "Gate Slot");
        let mut service = Pcscd::start(folder);
        let mut reader = Reader::new("gate slot 00 00");
        for (fault, kind, words) in [
            (Fault::NotFound, Kind::NotFound, "no application of a bank"),
            (Fault::Truncated, Kind::Input, "the card's data objects are damaged"),
            (Fault::Endless, Kind::Device, "never comes to the end of an answer"),
            (Fault::Removed, Kind::Device, "Gate Slot 00 00"),
        ] {
            let inserted = put_in(slot, Profile::Bank, fault);
            let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
            let error = bank_card::read(&mut card, date(2026, 11, 22)).unwrap_err();
            assert_eq!(error.kind(), kind, "{fault:?}: {error}");
            assert!(error.to_string().contains(words), "{fault:?}: {error}");
            assert!(!error.to_string().contains("6200"), "{fault:?}: {error}");
            if fault == Fault::Removed {
                assert!(error.to_string().contains("put it in again"), "{error}");
                // After that the card is worth nothing more, and says so.
                assert_eq!(card.transmit(&[0x00, 0xb2, 0x01, 0x0c, 0x00]).unwrap_err().kind(), Kind::Device);
            }
            drop(card);
            inserted.remove();
            // The reader is as good as before.
            service.notices_removal();
            until_empty(&mut reader);
        }
        let mute = put_in(slot, Profile::Bank, Fault::Mute);
        let presence = reader.presence(PATIENCE).unwrap();
        assert!(matches!(presence, Presence::Mute(_)), "{presence:?}");
        let error = reader.wait_card(PATIENCE).err().unwrap();
        assert!(error.message().contains("does not answer: turn it round"), "{error}");
        assert!(reader.wait_card(QUIET).unwrap().is_none(), "it is told once");
        mute.remove();
        service.notices_removal();
        until_empty(&mut reader);
        let _inserted = put_in(slot, Profile::Bank, Fault::None);
        assert!(matches!(reader.presence(PATIENCE).unwrap(), Presence::Card(_)));
        // What was seen already is given out at once.
        let asked = std::time::Instant::now();
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        assert!(asked.elapsed() < PATIENCE / 4, "{:?}", asked.elapsed());
        assert_eq!(bank_card::read(&mut card, date(2026, 11, 22)).unwrap().card_number, ACCOUNT);
    });
}

#[test]
fn the_service_comes_and_goes() {
    alone("the_service_comes_and_goes", |folder| {
        let mut reader = Reader::new("gate slot 00 00");
        let error = reader.presence(QUIET).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("pcscd does not run: systemctl status pcscd.socket"), "{error}");
        let service = Pcscd::start(folder);
        let error = reader.presence(QUIET).unwrap_err();
        assert!(error.message().contains("is known to pcscd, nor any other: is it plugged in"), "{error}");
        service.kill();
        assert!(reader.presence(PATIENCE).unwrap_err().message().contains("pcscd does not run"));
        let slot = plug(folder, "Gate Slot");
        let service = Pcscd::start(folder);
        let inserted = put_in(slot, Profile::Uid, Fault::None);
        // It may be seen before the card is, or with it.
        let card = |reader: &mut Reader| match reader.presence(PATIENCE).unwrap() {
            Presence::Empty => reader.presence(PATIENCE).unwrap(),
            other => other,
        };
        assert_eq!(card(&mut reader), Presence::Card(1));
        // The service crashes, and its socket stays.
        service.kill();
        let error = reader.presence(PATIENCE).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("pcscd does not run"), "{error}");
        assert!(reader.connect().err().unwrap().message().contains("pcscd does not run"));
        drop(inserted);
        // It comes back with another reader, then with this one.
        plug(folder, "Desk");
        let service = Pcscd::start(folder);
        let error = reader.presence(QUIET).unwrap_err();
        assert!(error.message().contains("it has Desk 00 00, Desk 00 01"), "{error}");
        service.kill();
        assert!(reader.presence(PATIENCE).is_err());
        let slot = plug(folder, "Gate Slot");
        let _service = Pcscd::start(folder);
        let _inserted = put_in(slot, Profile::Uid, Fault::None);
        assert_eq!(card(&mut reader), Presence::Card(2));
        assert_eq!(uid(&mut reader.connect().unwrap()).unwrap().unwrap().bytes(), UID);
    });
}

#[test]
fn readers_are_plugged_in_and_unplugged() {
    alone("readers_are_plugged_in_and_unplugged", |folder| {
        let service = Plugging::start(folder);
        let mut reader = Reader::new("gate");
        let error = reader.presence(QUIET).unwrap_err();
        assert!(error.message().contains("nor any other: is it plugged in"), "{error}");
        // While somebody waits: another one, then the right one.
        let waiting = std::thread::spawn(move || {
            let presence = reader.presence(PATIENCE);
            (reader, presence)
        });
        service.plug("Desk 00 00", true);
        service.plug("Gate 01 00", false);
        let (mut reader, presence) = waiting.join().unwrap();
        // Its being there is no news; a card in it is.
        let presence = match presence {
            Ok(presence) => presence,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(presence, Presence::Empty);
        assert_eq!(reader.name().as_deref(), Some("Gate 01 00"));
        service.card("Gate 01 00", true);
        assert_eq!(reader.presence(PATIENCE).unwrap(), Presence::Card(1));
        // So quickly taken out and put in again that nobody has seen it out: another card.
        service.card("Gate 01 00", false);
        service.card("Gate 01 00", true);
        let again = match reader.presence(PATIENCE).unwrap() {
            Presence::Empty => reader.presence(PATIENCE).unwrap(),
            other => other,
        };
        assert_eq!(again, Presence::Card(2));
        // Unplugged while somebody waits for another card.
        let waiting = std::thread::spawn(move || {
            let presence = reader.presence(PATIENCE);
            (reader, presence)
        });
        service.unplug("Gate 01 00");
        let (mut reader, presence) = waiting.join().unwrap();
        let error = presence.unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(
            error.message().contains("the card reader Gate 01 00 was unplugged: check its cable"),
            "{error}"
        );
        assert_eq!(reader.name(), None);
        let error = reader.presence(QUIET).unwrap_err();
        assert!(error.message().contains("it has Desk 00 00"), "{error}");
        // Plugged in elsewhere, under another name, and pulled out while its card is read.
        service.plug("Gate 02 00", true);
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        assert_eq!(card.atr(), [0x3b, 0x80, 0x80, 0x01, 0x01]);
        let error = uid(&mut card).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("the card reader Gate 02 00 was unplugged"), "{error}");
        drop(card);
        let error = reader.presence(PATIENCE).unwrap_err();
        assert!(error.message().contains("the card reader Gate 02 00 was unplugged"), "{error}");
    });
}

/// A chip that says when it was asked, and answers when it is told to.
struct Slow {
    asked: Sender<()>,
    go: Arc<Mutex<Receiver<()>>>,
}

impl Chip for Slow {
    fn atr(&self) -> Vec<u8> {
        vec![0x3b, 0x80, 0x80, 0x01, 0x01]
    }

    fn reset(&mut self) {}

    fn answer(&mut self, _command: &[u8]) -> Vec<u8> {
        self.asked.send(()).unwrap();
        // Whoever would tell it to may have gone.
        let _ = self.go.lock().unwrap().recv();
        vec![0x90, 0x00]
    }
}

#[test]
fn a_reader_that_goes_in_the_middle_of_a_command_is_an_error() {
    alone("a_reader_that_goes_in_the_middle_of_a_command_is_an_error", |folder| {
        let slot = plug(folder, "Gate Slot");
        let service = Pcscd::start(folder);
        let (asked, was_asked) = channel();
        let (go, told) = channel();
        let chip = Slow { asked, go: Arc::new(Mutex::new(told)) };
        let inserted = insert(slot, Box::new(chip), Fault::None, |_| {}).unwrap();
        let mut reader = Reader::new("gate slot 00 00");
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        let commanding = std::thread::spawn(move || card.transmit(&[0x00, 0x84, 0x00, 0x00, 0x08]));
        was_asked.recv_timeout(PATIENCE).unwrap();
        service.kill();
        let error = commanding.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(
            error.message().contains("pcscd does not run") || error.message().contains("Gate Slot"),
            "{error}"
        );
        assert!(reader.presence(PATIENCE).unwrap_err().message().contains("pcscd does not run"));
        drop(go);
        drop(inserted);
        // A new service, and all is well.
        let _service = Pcscd::start(folder);
        let _inserted = put_in(slot, Profile::Uid, Fault::None);
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        assert_eq!(uid(&mut card).unwrap().unwrap().bytes(), UID);
    });
}

#[test]
fn a_card_that_is_put_in_is_a_credential() {
    alone("a_card_that_is_put_in_is_a_credential", |folder| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(credentials(folder));
    });
}

async fn credentials(folder: &Path) {
    let slot = plug(folder, "Gate Slot");
    let service = Pcscd::start(folder);
    let bench = Bench::with(|config| {
        config.device.contact_reader = "pcsc:Gate Slot 00 00".into();
        config.device.card_number = Digits::Hexadecimal;
        config.settings.rules.mode = PassMode::Card;
    })
    .await;
    let (_, mut events) = bench.gate.events().subscribe(0);
    let mut seen: Vec<Arc<Event>> = Vec::new();
    for (profile, number) in [
        (Profile::Uid, "0960DBB3"),
        // The numbers of their chip and of their print: the account number is nobody's business.
        (Profile::Bank, "000100020003DEAD0001"),
        (Profile::SocialSecurity, PRINTED),
        (Profile::BankContactless, "0960DBB3"),
    ] {
        // Somebody asks for a card: that is where its number can be seen.
        let asked = bench.gate.next_presented(PATIENCE);
        let inserted = put_in(slot, profile, Fault::None);
        assert!(asked.await.unwrap() == Presented::Card(number.into()), "{profile:?}");
        inserted.remove();
    }
    let mut next = async |kind: &str| loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        seen.push(Arc::clone(&event));
        if event.kind == kind {
            return event.fields.clone();
        }
    };
    for _ in 0..4 {
        assert_eq!(next("credential").await["credential"], json!("card"));
    }
    // A bank card without production data has no number that may be used, one that is mute none at all.
    for (fault, words) in [(Fault::None, "no number that may be used here"), (Fault::Mute, "turn it round")] {
        let inserted = put_in(slot, Profile::BankWithoutDirectory, fault);
        let told = next("reader").await;
        assert_eq!((&told["reader"], &told["state"]), (&json!("contact_reader"), &json!("unreadable")));
        assert!(told["error"].as_str().unwrap().contains(words), "{told:?}");
        inserted.remove();
    }
    // Nobody asks: it goes to the session of whoever stands there, once.
    let inserted = put_in(slot, Profile::Uid, Fault::None);
    assert_eq!(next("credential").await["for"], json!("session"));
    // The service goes, is told once, and comes back; the card that stayed in the reader counts again.
    service.kill();
    let told = next("reader").await;
    assert_eq!((&told["reader"], &told["state"]), (&json!("contact_reader"), &json!("failed")));
    let service = Pcscd::start(folder);
    // Another reason is told as well.
    let mut told = next("reader").await;
    while told["state"] == json!("failed") {
        told = next("reader").await;
    }
    assert_eq!(told["state"], json!("ok"));
    assert_eq!(next("credential").await["for"], json!("session"));
    drop((inserted, service));
    let all: Vec<String> = seen.iter().map(|event| format!("{} {:?}", event.kind, event.fields)).collect();
    for secret in [ACCOUNT, "TEST/CARD", PRINTED, "000000200001010000"] {
        assert!(!all.iter().any(|event| event.contains(secret)), "{secret} is in an event: {all:#?}");
    }
}

#[test]
fn the_simulator_is_a_card_and_the_doctor_sees_it() {
    alone("the_simulator_is_a_card_and_the_doctor_sees_it", |folder| {
        let slot = plug(folder, "Gate Slot");
        let config = folder.join("menshen.toml");
        let said = |config: &Path| {
            let output = menshen().args(["doctor", "--config"]).arg(config).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            said.lines()
                .skip_while(|line| !line.contains("contact card reader") && !line.contains("接触式读卡器"))
                .take(3)
                .collect::<Vec<_>>()
                .join("\n")
        };
        std::fs::write(
            &config,
            format!(
                "[terminal]\nlanguage = \"en\"\ndata_dir = {:?}\n[device]\ncontact_reader = \"pcsc:Gate\"\n",
                folder.join("data")
            ),
        )
        .unwrap();
        let before = said(&config);
        assert!(before.contains("pcscd does not run"), "{before}");
        let _service = Pcscd::start(folder);
        let empty = said(&config);
        assert!(empty.contains("Gate Slot 00 00, no card in it"), "{empty}");
        let mut command: Command = menshen();
        command.args(["simulate", "card", "--profile", "uid", "--vpcd", &slot.to_string()]);
        let mut simulator = Process::start(command);
        simulator.line("inserted", |line| line == "inserted");
        let mut reader = Reader::new("gate slot 00 00");
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        assert_eq!(uid(&mut card).unwrap().unwrap().bytes(), UID);
        drop(card);
        simulator.line("the command", |line| line == "FFCA000000 -> 0960DBB39000");
        let with_card = said(&config);
        assert!(with_card.contains("Gate Slot 00 00, a card in it"), "{with_card}");
        assert_eq!(simulator.stop(), Some(0));
        assert_eq!(reader.presence(PATIENCE).unwrap(), Presence::Empty);
        let output = menshen().args(["simulate", "card", "--profile", "visa"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("bank-contactless, bank-without-directory, social-security"), "{text}");
    });
}

/// The pages that a test lays down, as a camera would read them.
struct Pages(Receiver<Happening>);

impl IdReader for Pages {
    fn name(&self) -> &str {
        "pages"
    }

    fn look(&mut self, _: &Wanted) -> menshen::Result<Option<Happening>> {
        Ok(self.0.recv_timeout(PATIENCE).ok())
    }

    fn period(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn passports_are_read_with_their_pages() {
    alone("passports_are_read_with_their_pages", |folder| {
        let slot = plug(folder, "Gate Slot");
        let mut service = Pcscd::start(folder);
        let authority = Authority::new("Authority under test").unwrap();
        let issue = |fault| Passport::issue(&authority, Options { fault, ..Options::default() }).unwrap();
        let genuine = issue(None);
        let lines = genuine.lines().to_vec();
        let (lay, laid) = channel();
        let certificate = authority.certificate().to_vec();
        let authorities = Box::new(move || {
            let mut trust = Trust::none();
            trust.add(&certificate)?;
            Ok(trust)
        });
        let field = passport_reader::field("pcsc:gate slot 00 00").unwrap();
        let clock = ManualClock::new("2027-03-01T12:00:00Z".parse().unwrap());
        let mut reader = PassportReader::new(Box::new(Pages(laid)), Box::new(field), authorities, clock);
        // The page is laid down, read and taken away: what becomes of it.
        let mut page = || {
            let page = Zone::parse(&lines, date(2027, 3, 1)).unwrap().into_reading();
            for happening in [Happening::Detected, Happening::Read(Arc::new(page)), Happening::TakenAway] {
                lay.send(happening).unwrap();
            }
            let mut becomes = Vec::new();
            for _ in 0..3 {
                becomes.push(reader.look(&Wanted::default()).unwrap().unwrap());
            }
            match becomes.swap_remove(1) {
                Happening::Read(reading) => Ok(reading.chip),
                Happening::Failed { why } => Err(why),
                other => panic!("{other:?}"),
            }
        };
        let put_in = |passport: &Passport| {
            let (tell, told) = channel();
            let inserted = insert(slot, Box::new(passport.chip()), Fault::None, move |happened| {
                let _ = tell.send(happened);
            })
            .unwrap();
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Happened::Inserted);
            inserted
        };
        assert_eq!(page(), Ok(None), "no chip lies there");
        let verdict = ChipVerdict { signed: Some(true), original: Some(true) };
        let inserted = put_in(&genuine);
        assert_eq!(page(), Ok(Some(verdict)));
        // It stays there, and the page is laid down anew.
        assert_eq!(page(), Ok(Some(verdict)));
        inserted.remove();
        service.notices_removal();
        // Forged, copied and pulled away, each twice: the second time is no way round the first.
        for (fault, why) in [
            (passport::Fault::UnknownSigner, "the chip is not what a state has signed"),
            (passport::Fault::Cloned, "the chip does not show that it is no copy"),
        ] {
            let inserted = put_in(&issue(Some(fault)));
            for _ in 0..2 {
                let said = page().unwrap_err();
                assert!(said.starts_with(why), "{said}");
            }
            inserted.remove();
            service.notices_removal();
        }
        // Another key than that of the lines is made each time, so the chip in the middle is the same passport's.
        let pulled = put_in(&issue(Some(passport::Fault::TakenAway)));
        let said = page().unwrap_err();
        assert!(said.starts_with("the chip could not be read") && said.contains("Gate Slot"), "{said}");
        drop(pulled);
        // The field goes, and the page counts alone; it comes back, and so does the chip.
        service.kill();
        assert_eq!(page(), Ok(None));
        let _service = Pcscd::start(folder);
        let _inserted = put_in(&genuine);
        assert_eq!(page(), Ok(Some(verdict)));
    });
}

#[test]
fn an_agent_without_its_authorities_starts_and_reads_no_passports() {
    let folder = tempfile::tempdir().unwrap();
    let csca = folder.path().join("csca");
    let config = format!(
        "[terminal]\ndata_dir = {:?}\n[documents]\ncsca_dir = {csca:?}\n[device]\nid_reader = \"pcsc:Gate\"\n\
         [[camera]]\nrole = \"document\"\nsource = \"v4l2:/dev/menshen-has-none\"\n",
        folder.path().join("data")
    );
    let mut agent = Agent::start(folder.path(), &config);
    // It has begun, so faces and cards do not wait; what the reader said until now may have been said before.
    let mut told = |what: &str, wanted: &dyn Fn(&str) -> bool| {
        agent.event(what, |event| {
            let error = event["error"].as_str().unwrap_or_default();
            event["kind"] == "reader" && event["reader"] == "id_reader" && wanted(error)
        })
    };
    std::fs::create_dir(&csca).unwrap();
    let empty = told("the reason", &|error| error.contains("holds no certificate of a signing authority"));
    assert_eq!(empty["state"], "offline");
    // Nothing is restarted for it to go on to its camera.
    let authority = Authority::new("Authority under test").unwrap();
    std::fs::write(csca.join("a.cer"), authority.certificate()).unwrap();
    told("another reason", &|error| !error.contains("signing authorit"));
    assert_eq!(agent.process.stop(), Some(0));
}

#[test]
fn a_technician_reads_cards() {
    alone("a_technician_reads_cards", |folder| {
        let slot = plug(folder, "Gate Slot");
        let mut service = Pcscd::start(folder);
        let read = |more: &[&str]| {
            let output = menshen()
                .args(["read", "card", "--reader", "pcsc:gate slot 00 00"])
                .args(more)
                .output()
                .unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        let (code, _, said) = read(&["--within", "0"]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("no card was put into Gate Slot 00 00 within 0 s"), "{said}");
        let inserted = put_in(slot, Profile::Bank, Fault::None);
        let (code, said, error) = read(&[]);
        assert_eq!(code, Some(0), "{error}");
        for line in ["Reader: Gate Slot 00 00", "Kind: bank card", "CardNumber: ************0005", "Atc: 7"] {
            assert!(said.lines().any(|said| said == line), "{line}: {said}");
        }
        for secret in [ACCOUNT, "TEST/CARD", "TEST0000", "49122200000"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
        let (_, said, _) = read(&["--clear"]);
        for line in [&format!("CardNumber: {ACCOUNT}"), "Name: TEST/CARD", "Balance: 7.97"] {
            assert!(said.lines().any(|said| said == line), "{line}: {said}");
        }
        inserted.remove();
        service.notices_removal();
        let inserted = put_in(slot, Profile::SocialSecurity, Fault::None);
        let (code, said, error) = read(&[]);
        assert_eq!(code, Some(0), "{error}");
        assert!(
            said.contains("Kind: social security card\n") && said.contains("ValidEnd: 20491231\n"),
            "{said}"
        );
        for secret in [PRINTED, "000000200001010000", "张三", "20000101"] {
            assert!(!said.contains(secret), "{secret}: {said}");
        }
        assert!(read(&["--clear"]).1.contains("Name: 张三\n"));
        inserted.remove();
        service.notices_removal();
        let _inserted = put_in(slot, Profile::Uid, Fault::None);
        let (code, _, said) = read(&[]);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("no application of a bank"), "{said}");
    });
}

#[test]
fn what_happens_to_a_card_is_told() {
    alone("what_happens_to_a_card_is_told", |folder| {
        let slot = plug(folder, "Gate Slot");
        let (tell, told) = channel();
        // Before the reader is there: it goes in as soon as it is.
        let inserted =
            insert(slot, Profile::Uid.chip(), Fault::None, move |happened| tell.send(happened).unwrap())
                .unwrap();
        let service = Pcscd::start(folder);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Happened::Inserted);
        let mut reader = Reader::new("gate slot 00 00");
        let mut card = reader.wait_card(PATIENCE).unwrap().unwrap();
        let _ = uid(&mut card).unwrap();
        let asked = Happened::Asked {
            command: vec![0xff, 0xca, 0, 0, 0],
            answer: [&UID[..], &[0x90, 0x00]].concat(),
        };
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), asked);
        service.kill();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Happened::Removed);
        inserted.remove();
        assert!(told.recv_timeout(PATIENCE).is_err(), "the card's thread has ended");
    });
}
