//! `qrcode_data` (4.6.3): the platform weighs the QR codes that are presented at the gate.

use serde_json::json;
use tokio::task::JoinSet;

use super::code::{self, Answer};
use super::json::Fields;
use super::requests::Requests;
use crate::error::{Error, Kind, Result};
use crate::gate::{Gate, QrQuestion};

/// Version of `qrcode_data`.
const VERSION: u8 = 3;

/// Asks the platform about every QR code. Never returns while the gate lives.
pub async fn weigh(gate: Gate, requests: Requests) {
    let mut questions = gate.qr_questions();
    // Dropped with this, so that no question outlives the link.
    let mut asking = JoinSet::new();
    loop {
        tokio::select! {
            question = questions.recv() => match question {
                Some(QrQuestion { content, mut answer }) => {
                    let requests = requests.clone();
                    asking.spawn(async move {
                        let asked = requests.request("qrcode_data", json!({ "content": content }), VERSION);
                        let weighed = tokio::select! {
                            answered = asked => answered.and_then(|answer| read(&answer)),
                            // The gate waits no longer.
                            () = answer.closed() => return,
                        };
                        let _ = answer.send(weighed);
                    });
                }
                // Another link asks from now on.
                None => std::future::pending().await,
            },
            Some(_) = asking.join_next(), if !asking.is_empty() => {}
        }
    }
}

/// Whether the door is to open. An answer that does not say so keeps it shut, and so does any other result than 0.
fn read(answer: &Answer) -> Result<bool> {
    if answer.result != code::SUCCESS {
        tracing::info!(result = answer.result, desc = answer.desc, "the QYZN platform refused a QR code");
        return Ok(false);
    }
    match Fields::of(&answer.data).int_within("opendoor", 0, 1) {
        Ok(Some(open)) => Ok(open == 1),
        Ok(None) => Ok(false),
        Err(error) => {
            Err(Error::caused(Kind::Network, "the QYZN platform's answer to a QR code cannot be read", error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_opens() {
        let weighed = |data| read(&Answer::with(data));
        assert!(weighed(json!({"opendoor": 1})).unwrap());
        assert!(weighed(json!({"openDoor": "1"})).unwrap());
        for shut in [json!({"opendoor": 0}), json!({}), json!({"opendoor": null})] {
            assert!(!weighed(shut).unwrap());
        }
        assert!(!read(&Answer { data: json!({"opendoor": 1}), ..Answer::failure(102, "unknown") }).unwrap());
        assert_eq!(weighed(json!({"opendoor": 2})).unwrap_err().kind(), Kind::Network);
    }
}
