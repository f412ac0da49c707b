//! Whatever the WebSocket platform sends as a message: it is understood or refused, and the answer is what the
//! document wants.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::platform::terminal_ws::message::Request;
use menshen::platform::terminal_ws::status::Status;
use serde_json::Value;

const SERIAL: &str = "FEDCBA9876543210";

fn check(status: &Status, msgid: &Value) {
    let answer: Value = serde_json::from_str(&status.to_answer(msgid, SERIAL)).expect("an answer is JSON");
    let msg = answer["msg"].as_str().expect("msg is a text");
    let msg: Value = serde_json::from_str(msg).expect("which holds JSON");
    assert_eq!((&answer["msgid"], msg["status"].as_i64()), (msgid, Some(status.status)));
}

fuzz_target!(|bytes: &[u8]| {
    // Whole messages, as they come off the line.
    match Request::read(bytes, SERIAL) {
        Err(refused) => check(&refused.status, &refused.msgid),
        Ok(request) => {
            for secret in ["", "abc"] {
                if let Err(status) = request.order(secret) {
                    check(&status, &request.msgid);
                }
            }
        }
    }
    // The same bytes as the form of each command.
    let Ok(form) = std::str::from_utf8(bytes) else { return };
    for cmd in ["setPerson", "removePerson", "open", "reboot"] {
        let message = serde_json::json!({ "msgid": "1", "sn": SERIAL, "cmd": cmd, "msg": form }).to_string();
        let request = Request::read(message.as_bytes(), SERIAL).expect("the frame is in order");
        if let Err(status) = request.order("") {
            check(&status, &request.msgid);
        }
    }
});
