//! Times as the document writes them, and `sync_time` (4.6.2).

use std::time::Duration;

use jiff::civil::DateTime;
use serde::Serialize;
use serde_json::Value;

use super::json::Fields;
use crate::access::Bound;
use crate::clock::Moment;
use crate::error::Result;

/// `yyyy-MM-dd HH:mm:ss`, as in `snaptime`, `startTime`, `expireTime`.
pub fn format_civil(time: DateTime) -> String {
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

/// The reverse of [`format_civil`]; also takes a `T` between, no seconds, and a date alone (midnight).
pub fn parse_civil(text: &str) -> Option<DateTime> {
    let text = text.trim();
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let number = |text: &str| -> Option<i16> {
        (!text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    let mut date = date.split(['-', '/', '.']).map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let time = time.trim();
    let mut time = time.split_once('.').map_or(time, |(whole, _)| whole).split(':').map(number);
    let (hour, minute, second) = (time.next()??, time.next()??, time.next().unwrap_or(Some(0))?);
    if date.next().is_some() || time.next().is_some() {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, small(second)?, 0).ok()
}

/// A bound of a validity: `Some(None)` for an empty text, which removes it.
pub fn bound(fields: &Fields<'_>, key: &str) -> Result<Option<Option<Bound>>> {
    Ok(match fields.text(key, 64)? {
        None => None,
        Some(text) if text.is_empty() => Some(None),
        Some(text) => match parse_civil(&text) {
            Some(time) => Some(Some(Bound::Local(time))),
            None => return Err(fields.wrong(key, "must be yyyy-MM-dd HH:mm:ss")),
        },
    })
}

/// `yyyyMMddHHmmssSSS`, as in `sync_time`.
pub fn format_millis(moment: &Moment) -> String {
    let time = moment.local();
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}{:03}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// The reverse of [`format_millis`].
pub fn parse_millis(text: &str) -> Option<DateTime> {
    let text = text.trim();
    if text.len() != 17 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let small = |from: usize| text[from..from + 2].parse::<i8>().ok();
    let millis: i32 = text[14..].parse().ok()?;
    DateTime::new(
        text[..4].parse().ok()?,
        small(4)?,
        small(6)?,
        small(8)?,
        small(10)?,
        small(12)?,
        millis * 1_000_000,
    )
    .ok()
}

/// Data of `sync_time`.
#[derive(Debug, Clone, Serialize)]
pub struct SyncTime {
    /// The gate's time.
    pub timestamp: String,
}

impl SyncTime {
    /// The data for now.
    pub fn at(now: &Moment) -> Self {
        Self { timestamp: format_millis(now) }
    }
}

/// How far the platform's clock is ahead of ours in milliseconds, from the `data` of an answer that came `now`,
/// `round_trip` after its `sync_time` was sent. The platform is taken to have read its clock halfway between the
/// two, and to write the time of our zone. `None` if it names no time.
pub fn offset_ms(data: &Value, now: &Moment, round_trip: Duration) -> Option<i64> {
    let theirs = parse_millis(&Fields::of(data).text("timestamp", 64).ok()??)?;
    let theirs = now.offset.to_timestamp(theirs).ok()?.as_millisecond();
    let half = i64::try_from((round_trip / 2).as_millis()).ok()?;
    Some(theirs - (now.utc.as_millisecond() - half))
}

#[cfg(test)]
mod tests {
    use jiff::civil::datetime;
    use jiff::tz::Offset;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_documents_times() {
        assert_eq!(parse_civil("2019-01-01 00:00:00"), Some(datetime(2019, 1, 1, 0, 0, 0, 0)));
        assert_eq!(parse_civil("2019-01-01T08:30"), Some(datetime(2019, 1, 1, 8, 30, 0, 0)));
        assert_eq!(parse_civil("2019-01-01"), Some(datetime(2019, 1, 1, 0, 0, 0, 0)));
        for bad in [
            "",
            "2019-13-01 00:00:00",
            "2019-02-30 00:00:00",
            "yesterday",
            "2019-01-01 25:00:00",
            "1-2-3-4",
            "2019-01-01 00:00:00:00",
            "+019-01-01",
        ] {
            assert_eq!(parse_civil(bad), None, "{bad}");
        }
        assert_eq!(format_civil(datetime(2019, 8, 2, 15, 42, 48, 0)), "2019-08-02 15:42:48");
        // 4.6.2: 20190531145826123, Beijing time.
        let moment = Moment { utc: "2019-05-31T06:58:26.123Z".parse().unwrap(), offset: Offset::constant(8) };
        assert_eq!(format_millis(&moment), "20190531145826123");
        assert_eq!(parse_millis("20190531145826123"), Some(moment.local()));
        for bad in ["2019053114582612", "2019053114582612x", "20191331145826123"] {
            assert_eq!(parse_millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_offset_is_taken_from_the_middle() {
        let at = |text: &str| Moment { utc: text.parse().unwrap(), offset: Offset::constant(8) };
        let now = at("2019-05-31T06:58:26.200Z");
        let took = Duration::from_millis(200);
        let data = json!({"timestamp": "20190531145826456"});
        assert_eq!(offset_ms(&data, &now, took), Some(356));
        assert_eq!(offset_ms(&json!({}), &now, took), None);
    }
}
