//! Whatever a page of the document reader service sends: it is read within its bounds or refused.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use menshen::service::document_reader::request::{COMMANDS, Request, document_ids, number, switch, timeout};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(request) = Request::read(text) else { return };
    assert!(!request.orders.is_empty() && request.orders.len() <= COMMANDS);
    for order in &request.orders {
        assert!(order.command.chars().count() <= 64 && order.operand.chars().count() <= 64);
        assert!(timeout(&order.param).is_none_or(|time| time <= Duration::from_secs(600)));
        let _ = (switch(&order.param), number(&order.param), document_ids(&order.param));
    }
});
