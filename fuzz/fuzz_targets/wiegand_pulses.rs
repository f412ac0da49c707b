//! Whatever comes in on the Wiegand wires: a frame has 26 or 34 bits, and is a card only if its parity says so.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use menshen::device::wiegand::{frame, read};
use menshen::device::wiegand_in::{Arrived, Assembler, Wire};

fuzz_target!(|bytes: &[u8]| {
    let mut assembler = Assembler::default();
    let (mut now, mut pulses, mut frames) = (Duration::ZERO, 0_usize, 0_usize);
    let mut arrived = |arrived: Option<Arrived>| {
        if let Some(Arrived::Frame(bits)) = arrived {
            assert!([26, 34].contains(&bits.len()));
            if let Ok((format, value)) = read(&bits) {
                assert_eq!(frame(format, value), bits);
            }
            frames += 1;
        }
    };
    // Two bytes a pulse: the wire, or that pulses were lost, and the time since the one before.
    for pair in bytes.chunks_exact(2) {
        now += Duration::from_micros(u64::from(pair[1]).pow(2));
        match pair[0] % 8 {
            7 => assembler.lost(),
            6 => arrived(assembler.quiet(now)),
            wire => {
                pulses += 1;
                arrived(assembler.pulse(if wire % 2 == 0 { Wire::D0 } else { Wire::D1 }, now));
            }
        }
    }
    arrived(assembler.quiet(now + Duration::from_secs(1)));
    assert!(assembler.due().is_none() && frames * 26 <= pulses);
});
