//! `reSend_record_set` (4.5.11): records are delivered once more, each with the sequence it had.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::code::{self, Answer};
use super::json::Fields;
use super::time::{format_civil, parse_civil};
use crate::error::Result;
use crate::gate::Gate;
use crate::store::{Destination, RecordRange, Results};

/// What the data of the message asks for, in the zone that `offset` stands for. The times are whole seconds, as
/// in `snaptime`, and the last one counts in full.
fn range(data: &Value, offset: jiff::tz::Offset) -> Result<RecordRange> {
    let fields = Fields::of(data);
    let results = match fields.int_within("recordType", 0, 2)? {
        Some(0) => Results::Failed,
        Some(1) => Results::Granted,
        Some(_) => Results::All,
        None => return Err(fields.wrong("recordType", "is missing")),
    };
    let time = |key: &str| -> Result<Timestamp> {
        // The table calls it a list, the sample has a text.
        let text = match fields.list(key) {
            None | Some([]) => return Err(fields.wrong(key, "is missing")),
            Some([Value::String(text)]) => text.trim(),
            Some(_) => return Err(fields.wrong(key, "must be one time, yyyy-MM-dd HH:mm:ss")),
        };
        parse_civil(text)
            .and_then(|time| offset.to_timestamp(time).ok())
            .ok_or_else(|| fields.wrong(key, "must be yyyy-MM-dd HH:mm:ss"))
    };
    let (from, to) = (time("snapStartTime")?, time("snapEndTime")?);
    if from > to {
        return Err(fields.wrong("snapStartTime", "is after snapEndTime"));
    }
    let before = to.checked_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
    Ok(RecordRange { from, before, results })
}

/// Has records delivered once more. Answered when that is on the disk; `fresh` is notified.
pub async fn resend_record_set(gate: &Gate, data: &Value, fresh: &Notify) -> Answer {
    let offset = gate.settings().time.offset();
    let range = match range(data, offset) {
        Ok(range) => range,
        Err(error) => return Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    };
    match gate.store().ask_again(Destination::Qyzn, range).await {
        Ok(asked) => {
            fresh.notify_one();
            let (from, before) = (offset.to_datetime(range.from), offset.to_datetime(range.before));
            let (found, waiting) = (asked.found, asked.waiting);
            tracing::info!(%from, %before, results = ?range.results, found, waiting, "the QYZN platform asks for records again");
            gate.events().send(
                "platform",
                json!({
                    "platform": "qyzn",
                    "state": "records_asked_again",
                    "from": format_civil(from),
                    "before": format_civil(before),
                    "found": found,
                    "waiting": waiting,
                }),
            );
            Answer::success()
        }
        Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::Offset;

    use super::*;

    #[test]
    fn the_documents_sample_in_beijing() {
        let data = json!({"recordType": 1, "snapStartTime": "2021-01-01 08:30:20", "snapEndTime": "2021-01-02 08:30:20"});
        let expected = RecordRange {
            from: "2021-01-01T00:30:20Z".parse().unwrap(),
            before: "2021-01-02T00:30:21Z".parse().unwrap(),
            results: Results::Granted,
        };
        assert_eq!(range(&data, Offset::constant(8)).unwrap(), expected);
        let lists = json!({"RecordType": "1", "snapStartTime": ["2021-01-01 08:30:20"],
            "snapEndTime": [" 2021-01-02 08:30:20 "]});
        assert_eq!(range(&lists, Offset::constant(8)).unwrap(), expected);
        for (number, results) in [(0, Results::Failed), (2, Results::All)] {
            let mut data = data.clone();
            data["recordType"] = number.into();
            assert_eq!(range(&data, Offset::constant(8)).unwrap().results, results);
        }
    }

    #[test]
    fn what_cannot_be_meant_names_its_key() {
        let (early, late) = ("2021-01-01 08:30:20", "2021-01-02 08:30:20");
        for (data, error) in [
            (json!({}), "recordType: is missing"),
            (json!({"recordType": 3}), "recordType: must be 0 to 2, not 3"),
            (json!({"recordType": "x"}), "recordType: must be a whole number"),
            (json!({"recordType": 2, "snapEndTime": late}), "snapStartTime: is missing"),
            (json!({"recordType": 2, "snapStartTime": early, "snapEndTime": ""}), "snapEndTime: is missing"),
            (json!({"recordType": 2, "snapStartTime": early, "snapEndTime": []}), "snapEndTime: is missing"),
            (
                json!({"recordType": 2, "snapStartTime": [early, early], "snapEndTime": late}),
                "snapStartTime: must be one time, yyyy-MM-dd HH:mm:ss",
            ),
            (
                json!({"recordType": 2, "snapStartTime": early, "snapEndTime": "2021-13-02 08:30:20"}),
                "snapEndTime: must be yyyy-MM-dd HH:mm:ss",
            ),
            (
                json!({"recordType": 2, "snapStartTime": 20210101, "snapEndTime": late}),
                "snapStartTime: must be one time, yyyy-MM-dd HH:mm:ss",
            ),
            (
                json!({"recordType": 2, "snapStartTime": late, "snapEndTime": early}),
                "snapStartTime: is after snapEndTime",
            ),
        ] {
            assert_eq!(range(&data, Offset::UTC).unwrap_err().message(), error);
        }
        let instant = json!({"recordType": 2, "snapStartTime": early, "snapEndTime": early});
        assert!(range(&instant, Offset::UTC).is_ok());
    }
}
