//! The groups about the machine: version (4.5.10.1), netinfo (4.5.10.2), time (4.5.10.3) and
//! system_reboot (4.5.10.17).

use jiff::civil::{DateTime, Time};
use serde_json::{Value, json};

use super::super::json::Fields;
use super::super::link::Identity;
use super::super::time::{format_civil, parse_civil};
use crate::clock::Moment;
use crate::device::system::Interface;
use crate::error::Result;
use crate::gate::settings::{RestartSettings, TimeSettings, TimeSource};
use crate::gate::system::YEARS;

/// `timezone` of UTC; each step is an hour.
const UTC_ZONE: i16 = 12;

/// `log_level` while the configuration says what is logged.
const USUAL_LOG: u8 = 1;

/// 4.5.10.1.
pub(super) fn version(identity: &Identity) -> Value {
    let system = rustix::system::uname();
    let mut system = format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy());
    system.truncate(32);
    json!({
        "devType": identity.model,
        "appVer": identity.version,
        "sysVer": system,
        "license": identity.serial,
    })
}

/// 4.5.10.2: all cards are in `item`; the document's own sample breaks off after the first.
pub(super) fn netinfo(interfaces: &[Interface]) -> Value {
    let items: Vec<Value> = interfaces
        .iter()
        .map(|card| {
            json!({
                "name": card.name,
                "macaddr": card.mac,
                "ipaddr": card.address,
                "maskaddr": card.mask,
                "gateway": card.gateway,
                "DNS": card.dns,
            })
        })
        .collect();
    json!({ "item": items })
}

/// 4.5.10.3. A zone of the configuration that is no whole hour is told as the one west of it, and the nearest
/// where the document has none.
pub(super) fn time(settings: &TimeSettings, now: &Moment) -> Value {
    let zone = (settings.utc_offset_minutes.div_euclid(60) + UTC_ZONE).clamp(0, 2 * UTC_ZONE);
    json!({
        "timezone": zone,
        "currenttime": format_civil(now.local()),
        "time_control": match settings.source {
            TimeSource::Manual => 0,
            TimeSource::Platform => 1,
            TimeSource::Ntp => 2,
        },
        "ntpServer": settings.ntp_server,
        "ntpPort": settings.ntp_port,
    })
}

/// All of the group but `currenttime`, which is no setting: see [`ordered_clock`].
pub(super) fn set_time(fields: &Fields<'_>, settings: &mut TimeSettings) -> Result<()> {
    if let Some(zone) = fields.int_within("timezone", 0, (2 * UTC_ZONE).into())? {
        let hours = i16::try_from(zone).expect("within 0..=24") - UTC_ZONE;
        settings.utc_offset_minutes = hours * 60;
    }
    if let Some(source) = fields.int_within("time_control", 0, 2)? {
        settings.source = match source {
            0 => TimeSource::Manual,
            1 => TimeSource::Platform,
            _ => TimeSource::Ntp,
        };
    }
    if let Some(server) = fields.text("ntpServer", 64)? {
        if !TimeSettings::is_host(&server) {
            return Err(fields.wrong("ntpServer", "must be a host name or an address"));
        }
        settings.ntp_server = server;
    }
    // The document has 0 to 99999; UDP ends at 65535.
    if let Some(port) = fields.int_within("ntpPort", 0, u16::MAX.into())? {
        settings.ntp_port = u16::try_from(port).expect("within 0..=65535");
    }
    Ok(())
}

/// `currenttime` of the group `time` in the `data` of a `config_system`: local time in the zone that the same
/// message sets, else in the one that is set.
pub fn ordered_clock(data: &Value) -> Result<Option<DateTime>> {
    let Some(group) = Fields::of(data).get("time") else { return Ok(None) };
    let fields = Fields::at(group, "time.");
    match fields.text("currenttime", 32)?.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => match parse_civil(text) {
            Some(time) if YEARS.contains(&time.year()) => Ok(Some(time)),
            Some(time) => Err(fields.wrong(
                "currenttime",
                format_args!(
                    "must lie in the years {} to {}, not {}",
                    YEARS.start(),
                    YEARS.end(),
                    time.year()
                ),
            )),
            None => Err(fields.wrong("currenttime", "must be yyyy-MM-dd HH:mm:ss")),
        },
    }
}

/// 4.5.10.17.
pub(super) fn system_reboot(settings: &RestartSettings) -> Value {
    let at = settings.at;
    json!({
        "auto_reboot": settings.automatic,
        "time": format!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second()),
        "week": settings.week,
        "log_level": settings.log_level.unwrap_or(USUAL_LOG),
    })
}

pub(super) fn set_system_reboot(fields: &Fields<'_>, settings: &mut RestartSettings) -> Result<()> {
    if let Some(automatic) = fields.flag("auto_reboot")? {
        settings.automatic = automatic;
    }
    if let Some(text) = fields.text("time", 8)? {
        settings.at = parse_time(&text).ok_or_else(|| fields.wrong("time", "must be HH:mm:ss"))?;
    }
    if let Some(week) = fields.int_within("week", 0, 7)? {
        settings.week = u8::try_from(week).expect("within 0..=7");
    }
    if let Some(level) = fields.int_within("log_level", 0, 2)? {
        settings.log_level = Some(u8::try_from(level).expect("within 0..=2"));
    }
    Ok(())
}

/// `HH:mm:ss`, two digits each.
fn parse_time(text: &str) -> Option<Time> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *text.as_bytes() else { return None };
    let number = |tens: u8, ones: u8| -> Option<i8> {
        let digit = |byte: u8| byte.is_ascii_digit().then(|| (byte - b'0') as i8);
        Some(digit(tens)? * 10 + digit(ones)?)
    };
    Time::new(number(h1, h2)?, number(m1, m2)?, number(s1, s2)?, 0).ok()
}

#[cfg(test)]
mod tests {
    use jiff::civil::{datetime, time as at};
    use jiff::tz::Offset;

    use super::*;

    fn set(data: &Value) -> Result<TimeSettings> {
        let mut settings = TimeSettings::default();
        set_time(&Fields::at(data, "time."), &mut settings).map(|()| settings)
    }

    #[test]
    fn time_as_in_the_document() {
        let now = Moment { utc: "2020-07-01T08:56:15Z".parse().unwrap(), offset: Offset::constant(8) };
        let settings = TimeSettings {
            utc_offset_minutes: 480,
            source: TimeSource::Platform,
            ntp_server: "192.168.1.250".into(),
            ntp_port: 456,
        };
        // The answer of 4.5.10.3.
        assert_eq!(
            time(&settings, &now),
            json!({"timezone": 20, "time_control": 1, "currenttime": "2020-07-01 16:56:15",
                "ntpServer": "192.168.1.250", "ntpPort": 456})
        );
        // Its request.
        let group = json!({"currenttime": "2020-07-01 16:56:15", "time_control": 1, "ntpPort": 3030,
            "timezone": 20, "ntpServer": "192.168.1.250"});
        assert_eq!(set(&group).unwrap(), TimeSettings { ntp_port: 3030, ..settings });
        let ordered = ordered_clock(&json!({ "time": group })).unwrap();
        assert_eq!(ordered, Some(datetime(2020, 7, 1, 16, 56, 15, 0)));
    }

    #[test]
    fn all_25_zones() {
        let now = Moment { utc: "2020-07-01T08:56:15Z".parse().unwrap(), offset: Offset::UTC };
        for zone in 0..=24_i16 {
            let settings = set(&json!({ "timezone": zone })).unwrap();
            assert_eq!(settings.utc_offset_minutes, (zone - 12) * 60);
            assert_eq!(time(&settings, &now)["timezone"], zone);
        }
        // Zones that only a configuration can set.
        for (minutes, zone) in [(345, 17), (-210, 8), (840, 24), (-720, 0)] {
            let settings = TimeSettings { utc_offset_minutes: minutes, ..TimeSettings::default() };
            assert_eq!(time(&settings, &now)["timezone"], zone, "{minutes}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        for (key, value) in [
            ("timezone", json!(25)),
            ("timezone", json!(-1)),
            ("time_control", json!(3)),
            ("ntpPort", json!(65_536)),
            ("ntpPort", json!(99_999)),
            ("ntpServer", json!("x".repeat(65))),
        ] {
            let error = set(&json!({ key: value })).unwrap_err();
            assert!(error.message().starts_with(&format!("time.{key}: ")), "{error}");
        }
        for time in ["yesterday", "2026-02-30 00:00:00", "2019-12-31 23:59:59", "2100-01-01 00:00:00"] {
            let error = ordered_clock(&json!({"time": {"currenttime": time}})).unwrap_err();
            assert!(error.message().starts_with("time.currenttime: "), "{error}");
        }
        for none in [json!({}), json!({"time": 5}), json!({"time": {"currenttime": ""}}), json!(null)] {
            assert_eq!(ordered_clock(&none).unwrap(), None, "{none}");
        }
    }

    #[test]
    fn system_reboot_as_in_the_document() {
        let mut settings = RestartSettings::default();
        // The request of 4.5.10.17.
        let group = json!({"week": 4, "auto_reboot": true, "log_level": 0, "time": "03:00:00"});
        set_system_reboot(&Fields::of(&group), &mut settings).unwrap();
        let expected = RestartSettings { automatic: true, at: at(3, 0, 0, 0), week: 4, log_level: Some(0) };
        assert_eq!(settings, expected);
        assert_eq!(system_reboot(&settings), group);
        // Its answer.
        let answer = json!({"auto_reboot": false, "time": "03:02:00", "week": 5, "log_level": 0});
        set_system_reboot(&Fields::of(&answer), &mut settings).unwrap();
        assert_eq!(system_reboot(&settings), answer);
        // A level that nobody has set is told as the usual one.
        assert_eq!(system_reboot(&RestartSettings::default())["log_level"], 1);
        for (key, value) in [
            ("week", json!(8)),
            ("log_level", json!(3)),
            ("auto_reboot", json!(2)),
            ("time", json!("3:00:00")),
            ("time", json!("24:00:00")),
            ("time", json!("03:60:00")),
            ("time", json!("03:00")),
            ("time", json!("03-00-00")),
            ("time", json!("+3:00:00")),
            ("time", json!("")),
        ] {
            let mut changed = settings;
            let group = json!({ key: value });
            let error = set_system_reboot(&Fields::at(&group, "system_reboot."), &mut changed).unwrap_err();
            assert!(error.message().starts_with(&format!("system_reboot.{key}: ")), "{error}");
        }
    }

    #[test]
    fn netinfo_lists_every_card() {
        let eth0 = Interface {
            name: "eth0".into(),
            mac: "7E:22:4A:6E:FD:37".into(),
            address: "192.168.1.249".into(),
            mask: "255.255.255.0".into(),
            gateway: "192.168.1.1".into(),
            dns: "192.168.1.1".into(),
        };
        let eth1 = Interface { name: "eth1".into(), ..Interface::default() };
        // 4.5.10.2.
        assert_eq!(
            netinfo(&[eth0, eth1]),
            json!({"item": [
                {"name": "eth0", "macaddr": "7E:22:4A:6E:FD:37", "ipaddr": "192.168.1.249",
                    "maskaddr": "255.255.255.0", "gateway": "192.168.1.1", "DNS": "192.168.1.1"},
                {"name": "eth1", "macaddr": "", "ipaddr": "", "maskaddr": "", "gateway": "", "DNS": ""},
            ]})
        );
    }
}
