//! The fuzz targets keep their promises about the seeds that they begin with, without a fuzzer.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the failure report")]
#![allow(unused_attributes, missing_docs, reason = "each target is a program of its own, without a main")]

use std::path::Path;

extern crate self as libfuzzer_sys;

#[path = "../fuzz/fuzz_targets/bank_card.rs"]
mod bank_card;
#[path = "../fuzz/fuzz_targets/chip_photos.rs"]
mod chip_photos;
#[path = "../fuzz/fuzz_targets/document_reader_requests.rs"]
mod document_reader_requests;
#[path = "../fuzz/fuzz_targets/http_addresses.rs"]
mod http_addresses;
#[path = "../fuzz/fuzz_targets/http_answers.rs"]
mod http_answers;
#[path = "../fuzz/fuzz_targets/intercom_answers.rs"]
mod intercom_answers;
#[path = "../fuzz/fuzz_targets/mrz_lines.rs"]
mod mrz_lines;
#[path = "../fuzz/fuzz_targets/passport_chip.rs"]
mod passport_chip;
#[path = "../fuzz/fuzz_targets/qyzn_frames.rs"]
mod qyzn_frames;
#[path = "../fuzz/fuzz_targets/qyzn_messages.rs"]
mod qyzn_messages;
#[path = "../fuzz/fuzz_targets/sdt_module.rs"]
mod sdt_module;
#[path = "../fuzz/fuzz_targets/serial_modules.rs"]
mod serial_modules;
#[path = "../fuzz/fuzz_targets/terminal_ws_messages.rs"]
mod terminal_ws_messages;
#[path = "../fuzz/fuzz_targets/wiegand_pulses.rs"]
mod wiegand_pulses;

/// In place of the fuzzer's: a target is a function that is given bytes, and those that are no text go past a target of texts.
#[macro_export]
macro_rules! fuzz_target {
    (|$text:ident: &str| $body:block) => {
        pub fn target(bytes: &[u8]) {
            fn of_a_text($text: &str) $body
            if let Ok(text) = std::str::from_utf8(bytes) {
                of_a_text(text);
            }
        }
    };
    (|$bytes:ident: &[u8]| $body:block) => {
        pub fn target($bytes: &[u8]) $body
    };
    (|$parts:ident: (Vec<u8>, Vec<u8>, bool)| $body:block) => {
        pub fn target(bytes: &[u8]) {
            fn of_parts($parts: (Vec<u8>, Vec<u8>, bool)) $body
            for (whole, hurry) in [(bytes, true), (&[][..], false)] {
                of_parts((bytes.to_vec(), whole.to_vec(), hurry));
            }
        }
    };
}

const TARGETS: [(&str, fn(&[u8])); 14] = [
    ("bank_card", bank_card::target),
    ("chip_photos", chip_photos::target),
    ("document_reader_requests", document_reader_requests::target),
    ("http_addresses", http_addresses::target),
    ("http_answers", http_answers::target),
    ("intercom_answers", intercom_answers::target),
    ("mrz_lines", mrz_lines::target),
    ("passport_chip", passport_chip::target),
    ("qyzn_frames", qyzn_frames::target),
    ("qyzn_messages", qyzn_messages::target),
    ("sdt_module", sdt_module::target),
    ("serial_modules", serial_modules::target),
    ("terminal_ws_messages", terminal_ws_messages::target),
    ("wiegand_pulses", wiegand_pulses::target),
];

/// The seeds of a target: a folder of its own, or one that other tests use too.
fn seeds(target: &str) -> String {
    match target {
        "passport_chip" => "tests/passport_chip".to_owned(),
        "chip_photos" => "src/device/chip/face".to_owned(),
        _ => format!("fuzz/seeds/{target}"),
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

#[test]
fn every_target_understands_its_seeds() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut given = Vec::new();
    for (name, target) in TARGETS {
        let files = files(&top.join(seeds(name)));
        for path in &files {
            println!("{}", path.display());
            target(&std::fs::read(path).unwrap());
        }
        // Nothing, and noise, in any case.
        target(&[]);
        target(&(0..=255).cycle().take(1000).collect::<Vec<u8>>());
        given.extend((!files.is_empty()).then_some(name));
    }
    // No seed lies where none is looked for, and each target is here.
    let folders = std::fs::read_dir(top.join("fuzz/seeds")).unwrap().map(|entry| entry.unwrap().file_name());
    for folder in folders {
        assert!(given.iter().any(|name| **name == folder), "{folder:?} is of no target");
    }
    assert!(given.contains(&"passport_chip") && given.contains(&"chip_photos"));
    let mut targets: Vec<_> = files(&top.join("fuzz/fuzz_targets"))
        .into_iter()
        .map(|path| path.file_stem().unwrap().to_owned())
        .collect();
    targets.sort();
    assert!(targets.iter().eq(TARGETS.iter().map(|(name, _)| *name)), "{targets:?}");
}
