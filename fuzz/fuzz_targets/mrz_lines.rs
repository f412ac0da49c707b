//! Whatever the lines of a machine readable zone say: they are understood or refused, and what is understood or corrected has
//! right check digits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::document::mrz::correct::{alike, understand};
use menshen::document::mrz::zone::Zone;

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.lines().collect();
    let today = jiff::civil::date(2026, 11, 22);
    let plain = Zone::parse(&lines, today);
    match understand(&lines, today, alike) {
        Ok(read) => {
            let again = Zone::parse(&read.zone.lines, today).expect("what is understood is a zone");
            assert_eq!(again, read.zone);
            assert_eq!(read.corrections == 0, plain.is_ok());
            assert!((1..=64).contains(&read.zone.number.len()));
            let reading = read.zone.into_reading();
            assert!(!format!("{reading:?}").contains(&reading.document.number) || reading.document.number.len() < 4);
        }
        Err(_) => assert!(plain.is_err()),
    }
});
