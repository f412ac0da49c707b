//! Whatever a body says, as the data of every message: it is understood or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::gate::settings::Settings;
use menshen::platform::qyzn::code::Answer;
use menshen::platform::qyzn::link::Identity;
use menshen::platform::qyzn::{config, json, person};

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
    let identity =
        Identity { serial: "1".into(), mac: "0".into(), model: "1".into(), version: "1".into() };
    let answer = config::get_configs(&data, &settings, &identity);
    let _ = Answer::read(&data);
    let _ = answer.to_body();
});
