//! Whatever the platform answers to `device_call_param` and `device_call_result` (4.7).
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use menshen::platform::qyzn::code::Answer;
use menshen::platform::qyzn::{call, json};

fuzz_target!(|body: &[u8]| {
    let Ok(body) = json::parse(body) else { return };
    // As a whole answer, and as its data alone.
    for data in [json::unfold(&Answer::read(&body).data), json::unfold(&body)] {
        let Ok(read) = call::parameters(&data, Duration::from_secs(30)) else { continue };
        assert!((1..=3600).contains(&read.longest.as_secs()) && read.called.len() <= 32);
        assert!(read.device_token.len() <= 4096 && read.device_name.len() <= 4096);
    }
});
