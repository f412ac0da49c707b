//! Whatever a body says, as the data of every message: it is understood or refused.
#![no_main]

use std::time::Duration;

use jiff::tz::Offset;
use libfuzzer_sys::fuzz_target;
use menshen::clock::Moment;
use menshen::gate::settings::Settings;
use menshen::platform::qyzn::code::Answer;
use menshen::platform::qyzn::link::Identity;
use menshen::platform::qyzn::{config, json, pass_rule, person, snapshot, time, upgrade};

const PEOPLE: [&str; 7] = [
    "add_person",
    "update_person",
    "delete_person",
    "clear_person",
    "add_person_face",
    "add_face",
    "delete_face",
];

fuzz_target!(|body: &[u8]| {
    let Ok(value) = json::parse(body) else { return };
    let data = json::unfold(&value);
    for message in PEOPLE {
        let _ = person::read(message, &data);
    }
    let mut settings = Settings::default();
    if config::config_system(&data, &mut settings).is_ok() {
        settings.check().expect("what is accepted is in range");
    }
    let identity = Identity { serial: "1".into(), mac: "0".into(), model: "1".into(), version: "1".into() };
    let now = Moment { utc: jiff::Timestamp::UNIX_EPOCH, offset: Offset::UTC };
    let _ = time::offset_ms(&data, &now, Duration::from_secs(1));
    let about = config::About { identity: &identity, now, interfaces: Vec::new() };
    let _ = config::asks_for_network(&data);
    let _ = config::get_configs(&data, &settings, &about).to_body();
    let _ = config::ordered_clock(&data);
    let _ = config::config_system_answer(&data, Ok(())).to_body();
    let _ = pass_rule::read(&data);
    if let Ok(within) = snapshot::within(&data) {
        assert!((1..=300).contains(&within.as_secs()));
    }
    if let Ok(order) = upgrade::order(&data) {
        assert!(order.version.len() <= 64 && order.check.len() == 32);
    }
    let _ = Answer::read(&value).to_body();
});
