//! The machine's clock, and the real-time clock that runs on while the machine is off.

use std::path::Path;

use jiff::Timestamp;

use crate::doctor::{Finding, Words};

/// Seconds by which the two may differ.
const OFF: i64 = 60;

/// Whether the clock was lost, and whether the real-time clock would bring the time back after a power cut.
pub fn examine_clock() -> Finding {
    examine(Timestamp::now(), Path::new("/sys/class/rtc/rtc0/since_epoch"))
}

/// The same at `now`, with the seconds since 1970 that the real-time clock shows in a file.
fn examine(now: Timestamp, real: &Path) -> Finding {
    let finding = Finding::about("clock", Words::new("时钟", "clock"), "UTC");
    let text = now.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    if let Some(lost) = crate::clock::lost(now) {
        return finding.failed(
            Words::new(format!("时间错误：{text}，早于程序编译日期"), lost),
            Words::new(
                "检查 RTC 电池、网络与 NTP，或用 timedatectl set-time 校时",
                "check the RTC's battery, the network and NTP, or set it with timedatectl set-time",
            ),
        );
    }
    let Some(shown) = std::fs::read_to_string(real).ok().and_then(|text| text.trim().parse::<i64>().ok())
    else {
        return finding.attention(
            Words::new(format!("{text}，没有 RTC"), format!("{text}, no real-time clock")),
            Words::new(
                "断电后时间由平台或 NTP 恢复",
                "after a power cut the time comes from a platform or NTP only",
            ),
        );
    };
    let off = shown.saturating_sub(now.as_second()).saturating_abs();
    if off > OFF {
        return finding.attention(
            Words::new(
                format!("{text}，RTC 相差 {off} 秒"),
                format!("{text}, the real-time clock is off by {off} s"),
            ),
            Words::new(
                "校时会同时校准 RTC；再次出现时更换 RTC 电池",
                "setting the time sets it too (timedatectl shows both); if it comes again, its battery is weak",
            ),
        );
    }
    finding.well(Words::new(format!("{text}，RTC 一致"), format!("{text}, and so the real-time clock")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn a_clock_is_lost_off_or_right() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("since_epoch");
        let now = crate::clock::built().checked_add(jiff::SignedDuration::from_hours(48)).unwrap();
        assert_eq!(examine(now, &real).state, State::Attention, "there is none");
        for (off, state) in
            [(0, State::Well), (60, State::Well), (-61, State::Attention), (61, State::Attention)]
        {
            std::fs::write(&real, format!("{}\n", now.as_second() + off)).unwrap();
            assert_eq!(examine(now, &real).state, state, "{off}");
        }
        assert!(examine(now, &real).found.english.contains("off by 61 s"));
        let lost = examine(Timestamp::UNIX_EPOCH, &real);
        assert_eq!(lost.state, State::Failed);
        assert!(lost.found.english.contains("1970-01-01"), "{lost:?}");
    }
}
