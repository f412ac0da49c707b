//! Settings (4.5.10): `get_configs` and `config_system`. A group is one entry in [`GROUPS`], with how it is
//! read and how it is changed; each family of groups has a file.

mod face;
mod lines;
mod passing;
mod reports;
mod system;
mod visitors;

use serde_json::Value;

use super::code::{self, Answer};
use super::json::Fields;
use super::link::Identity;
use crate::clock::Moment;
use crate::device::system::Interface;
use crate::error::{Error, Kind, Result};
use crate::gate::hardware::Present;
use crate::gate::settings::Settings;

pub use system::ordered_clock;

/// What some groups tell besides settings.
pub struct About<'a> {
    /// Who the terminal is.
    pub identity: &'a Identity,
    /// Its time.
    pub now: Moment,
    /// Its network cards; they are only read when [`asks_for_network`].
    pub interfaces: Vec<Interface>,
}

/// One group of settings.
struct Group {
    /// `groupKey`.
    key: &'static str,
    /// `RspMsg` of `config_system`.
    set_msg: &'static str,
    /// What `get_configs` answers, without `groupKey`.
    get: fn(&Settings, &About<'_>) -> Value,
    /// What `config_system` does; `None` for what can only be read.
    set: Option<fn(&Fields<'_>, &mut Settings) -> Result<()>>,
}

/// All groups.
const GROUPS: &[Group] = &[
    Group {
        key: "version",
        set_msg: "config_system",
        get: |_, about| system::version(about.identity),
        set: None,
    },
    Group {
        key: "netinfo",
        set_msg: "config_system",
        get: |_, about| system::netinfo(&about.interfaces),
        set: None,
    },
    Group {
        key: "time",
        set_msg: "set_time",
        get: |settings, about| system::time(&settings.time, &about.now),
        set: Some(|fields, settings| system::set_time(fields, &mut settings.time)),
    },
    Group {
        key: "system_reboot",
        set_msg: "set_system_reboot",
        get: |settings, _| system::system_reboot(&settings.restart),
        set: Some(|fields, settings| system::set_system_reboot(fields, &mut settings.restart)),
    },
    Group {
        key: "vaparam",
        set_msg: "set_vaparam",
        get: |settings, _| face::vaparam(&settings.face),
        set: Some(|fields, settings| face::set_vaparam(fields, &mut settings.face)),
    },
    Group {
        key: "ledctl",
        set_msg: "set_ledctl",
        get: |settings, _| visitors::ledctl(&settings.light),
        set: Some(|fields, settings| visitors::set_ledctl(fields, &mut settings.light)),
    },
    Group {
        key: "serial",
        set_msg: "set_serial",
        get: |settings, _| lines::serial(&settings.serial),
        set: Some(|fields, settings| lines::set_serial(fields, &mut settings.serial)),
    },
    Group {
        key: "audioctl",
        set_msg: "set_level",
        get: |settings, _| visitors::audioctl(&settings.audio),
        set: Some(|fields, settings| visitors::set_audioctl(fields, &mut settings.audio)),
    },
    Group {
        key: "weigand",
        set_msg: "set_weigand",
        get: |settings, _| lines::weigand(&settings.wiegand),
        set: Some(|fields, settings| lines::set_weigand(fields, &mut settings.wiegand)),
    },
    Group {
        key: "switchCtrl",
        set_msg: "set_switchCtrl",
        get: |settings, _| lines::switch_ctrl(&settings.relay),
        set: Some(|fields, settings| lines::set_switch_ctrl(fields, &mut settings.relay)),
    },
    Group {
        key: "VoiceTips",
        set_msg: "set_VoiceTips",
        get: |settings, _| visitors::voice_tips(&settings.sentences),
        set: Some(|fields, settings| visitors::set_voice_tips(fields, &mut settings.sentences)),
    },
    Group {
        key: "ProductNameSet",
        set_msg: "set_ProductNameSet",
        get: |settings, _| visitors::product_name(&settings.product),
        set: Some(|fields, settings| visitors::set_product_name(fields, &mut settings.product)),
    },
    Group {
        key: "OpenDoorModeSet",
        set_msg: "config_OpenDoorModeSet",
        get: |settings, _| passing::open_door_mode(settings),
        set: Some(passing::set_open_door_mode),
    },
    Group {
        key: "StrangerParam",
        set_msg: "set_StrangerParam",
        get: |settings, _| passing::stranger_param(&settings.rules.stranger),
        set: Some(|fields, settings| passing::set_stranger_param(fields, &mut settings.rules.stranger)),
    },
    Group {
        key: "ForbidIdCardSet",
        set_msg: "config_ForbidIdCardSet",
        get: |settings, _| passing::forbid_id_card(&settings.rules.forbidden_id_prefixes),
        set: Some(|fields, settings| {
            passing::set_forbid_id_card(fields, &mut settings.rules.forbidden_id_prefixes)
        }),
    },
    Group {
        key: "HttpPush",
        set_msg: "set_HttpPush",
        get: |settings, _| reports::http_push(&settings.push),
        set: Some(|fields, settings| reports::set_http_push(fields, &mut settings.push)),
    },
    Group {
        key: "VerifyRetRspSet",
        set_msg: "config_VerifyRetRspSet",
        get: |settings, _| reports::verify_ret_rsp(&settings.report),
        set: Some(|fields, settings| reports::set_verify_ret_rsp(fields, &mut settings.report)),
    },
];

fn group(key: &str) -> Result<&'static Group> {
    GROUPS
        .iter()
        .find(|group| group.key.eq_ignore_ascii_case(key.trim()))
        .ok_or_else(|| Error::new(Kind::Input, format!("{}: there is no such group", shortened(key))))
}

/// One of the values that a table has numbers for; `None` if the key is not there.
fn choice<T: Copy>(fields: &Fields<'_>, key: &str, table: &[(i64, T)]) -> Result<Option<T>> {
    let Some(number) = fields.int(key)? else { return Ok(None) };
    match table.iter().find(|(known, _)| *known == number) {
        Some((_, value)) => Ok(Some(*value)),
        None => {
            let known: Vec<String> = table.iter().map(|(known, _)| known.to_string()).collect();
            Err(fields.wrong(key, format_args!("must be one of {}, not {number}", known.join(", "))))
        }
    }
}

/// The number of a value: the first that the table has for it.
fn number_of<T: PartialEq>(table: &[(i64, T)], value: T) -> Option<i64> {
    table.iter().find(|(_, known)| *known == value).map(|(number, _)| *number)
}

/// A name of the platform's own in a message: never longer than useful.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Whether a `get_configs` asks for the network cards, which take a while to read.
pub fn asks_for_network(data: &Value) -> bool {
    read_groups(data).is_ok_and(|groups| groups.iter().any(|group| group.key == "netinfo"))
}

/// `get_configs`: all groups that are asked for, or 104 with the name of one that does not exist.
pub fn get_configs(data: &Value, settings: &Settings, about: &About<'_>) -> Answer {
    match read_groups(data) {
        Ok(groups) => {
            let values = groups.iter().map(|group| {
                let mut value = (group.get)(settings, about);
                if let Some(value) = value.as_object_mut() {
                    value.insert("groupKey".into(), group.key.into());
                }
                value
            });
            let rsp_msg = match &groups[..] {
                [group] => format!("get_{}", group.key),
                _ => "get_configs".to_owned(),
            };
            Answer { rsp_msg: Some(rsp_msg), ..Answer::with(values.collect()) }
        }
        Err(error) => Answer {
            rsp_msg: Some("get_configs".into()),
            ..Answer::of_error(&error, code::NO_OBJECT, code::FAILED)
        },
    }
}

fn read_groups(data: &Value) -> Result<Vec<&'static Group>> {
    let fields = Fields::of(data);
    let keys = fields.list("groupKey").filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| fields.wrong("groupKey", "is missing"))?;
    if keys.len() > 64 {
        return Err(fields.wrong("groupKey", "must name at most 64 groups"));
    }
    keys.iter()
        .map(|key| match key {
            Value::String(key) => group(key),
            _ => Err(fields.wrong("groupKey", "must hold texts")),
        })
        .collect()
}

/// `config_system`: changes the groups in `data`; on an error `settings` must not be used.
pub fn config_system(data: &Value, settings: &mut Settings) -> Result<()> {
    let fields = Fields::of(data);
    if fields.is_empty() {
        return Err(Error::new(Kind::Input, "data: names no group"));
    }
    for (key, value) in fields.iter() {
        let group = group(key)?;
        let set =
            group.set.ok_or_else(|| Error::new(Kind::Input, format!("{}: can only be read", group.key)))?;
        if !value.is_object() {
            return Err(Error::new(Kind::Input, format!("{}: must be an object", group.key)));
        }
        let place = format!("{}.", group.key);
        set(&Fields::at(value, &place), settings)?;
    }
    Ok(())
}

/// Whether the gate has the devices that the groups in `data` ask for, as `settings` are after them. `Config` with
/// the key that asks for one that is not there, also where nothing would change.
pub fn asks_for(data: &Value, settings: &Settings, present: &Present) -> Result<()> {
    for (key, _) in Fields::of(data).iter() {
        match group(key)?.key {
            "ledctl" => present.light(&settings.light)?,
            "serial" => present.serial(&settings.serial)?,
            "audioctl" => present.audio(&settings.audio)?,
            "weigand" => present.wiegand(&settings.wiegand)?,
            "switchCtrl" => present.relay(&settings.relay)?,
            "VoiceTips" => present.sentences(&settings.sentences)?,
            "ProductNameSet" => present.product(&settings.product)?,
            _ => {}
        }
    }
    Ok(())
}

/// The answer to `config_system`.
pub fn config_system_answer(data: &Value, outcome: Result<()>) -> Answer {
    let mut keys = Fields::of(data).iter().map(|(key, _)| key);
    let rsp_msg = match (keys.next(), keys.next()) {
        (Some(key), None) => group(key).map_or("config_system", |group| group.set_msg),
        _ => "config_system",
    };
    let answer = match outcome {
        Ok(()) => Answer::success(),
        Err(error) => Answer::of_error(&error, code::NO_OBJECT, code::FAILED),
    };
    Answer { rsp_msg: Some(rsp_msg.into()), ..answer }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gate::settings::FaceSettings;

    fn identity() -> Identity {
        Identity {
            serial: "be4f35b915a1aa9d".into(),
            mac: "0064871ECB01".into(),
            model: "ZG01-C".into(),
            version: "V0.1.0".into(),
        }
    }

    fn get(data: Value) -> Answer {
        let identity = identity();
        let now =
            Moment { utc: "2026-03-02T04:00:00Z".parse().unwrap(), offset: jiff::tz::Offset::constant(8) };
        let about = About { identity: &identity, now, interfaces: Vec::new() };
        get_configs(&data, &Settings::default(), &about)
    }

    fn set(data: Value) -> (Answer, Settings) {
        // As the gate does: an error throws the copy away.
        let mut settings = Settings::default();
        let outcome = config_system(&data, &mut settings);
        if outcome.is_err() {
            settings = Settings::default();
        }
        (config_system_answer(&data, outcome), settings)
    }

    #[test]
    fn vaparam_as_in_the_document() {
        let answer = get(json!({"groupKey": ["vaparam"]}));
        assert_eq!((answer.result, answer.rsp_msg.as_deref()), (0, Some("get_vaparam")));
        // The defaults of the table in 4.5.10.8.
        assert_eq!(
            answer.data,
            json!([{"groupKey": "vaparam", "SimilarThres": 80, "DetThres": 65, "LiveThres": 50, "LiveSwitch": 0,
                "Distance": 0, "safetyhatDecect": false, "safetyhatDelect": false}])
        );
    }

    #[test]
    fn version_and_several_groups() {
        let answer = get(json!({"groupKey": ["version", "vaparam"]}));
        assert_eq!(answer.rsp_msg.as_deref(), Some("get_configs"));
        assert_eq!(answer.data[0]["devType"], "ZG01-C");
        assert_eq!(answer.data[0]["license"], "be4f35b915a1aa9d");
        for key in ["appVer", "sysVer"] {
            assert!((1..=32).contains(&answer.data[0][key].as_str().unwrap().len()));
        }
        assert_eq!(answer.data[1]["groupKey"], "vaparam");
        assert_eq!(get(json!({"groupKey": "version"})).rsp_msg.as_deref(), Some("get_version"));
        for bad in [
            json!({"groupKey": ["vaparam", "weather"]}),
            json!({}),
            json!(null),
            json!({"groupKey": []}),
            json!({"groupKey": [5]}),
        ] {
            assert_eq!(get(bad.clone()).result, 104, "{bad}");
        }
        assert!(get(json!({"groupKey": ["weather"]})).desc.starts_with("weather: "));
    }

    #[test]
    fn a_group_may_be_partial() {
        let (answer, settings) = set(json!({"vaparam": {"SimilarThres": "85", "Distance": 5}}));
        assert_eq!((answer.result, answer.rsp_msg.as_deref()), (0, Some("set_vaparam")));
        let expected = FaceSettings { similar_threshold: 85, distance: 5, ..FaceSettings::default() };
        assert_eq!(settings.face, expected);
        for spelling in ["safetyhatDecect", "safetyhatDelect"] {
            let (_, settings) = set(json!({"vaparam": {spelling: 1}}));
            assert!(settings.face.safety_helmet, "{spelling}");
        }
    }

    #[test]
    fn out_of_range_is_refused_by_name_and_nothing_changes() {
        for (key, value) in [
            ("SimilarThres", json!(101)),
            ("DetThres", json!(-1)),
            ("LiveThres", json!("x")),
            ("LiveSwitch", json!(3)),
            ("Distance", json!(6)),
            ("safetyhatDecect", json!("perhaps")),
        ] {
            let (answer, settings) = set(json!({"vaparam": {"LiveThres": 51, key: value}}));
            assert_eq!(answer.result, 104, "{key}");
            assert!(answer.desc.starts_with(&format!("vaparam.{key}: ")), "{}", answer.desc);
            assert_eq!(settings, Settings::default());
        }
        for bad in [
            json!({}),
            json!(null),
            json!({"weather": {}}),
            json!({"vaparam": 5}),
            json!({"version": {}}),
            json!({"vaparam": {"LiveThres": 51}, "weather": {}}),
        ] {
            assert_eq!(set(bad.clone()).0.result, 104, "{bad}");
        }
    }

    use proptest::prelude::*;

    fn any_leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(json!([])),
            Just(json!({})),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (-1i64..70_000).prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[0-9:~-]{0,12}".prop_map(Value::from),
        ]
    }

    proptest! {
        /// Every key of every group with any value: what is accepted is in range, and can be told again.
        #[test]
        fn any_value_of_any_key_is_accepted_or_refused(leaf in any_leaf(), nested in any::<bool>()) {
            for group in GROUPS.iter().filter(|group| group.set.is_some()) {
                let told = get(json!({ "groupKey": [group.key] })).data;
                let fields = told[0].as_object().unwrap();
                for key in fields.keys().filter(|key| *key != "groupKey") {
                    let mut changed = fields.clone();
                    changed.remove("groupKey");
                    changed[key] = if nested { json!([leaf, { "value": leaf }]) } else { leaf.clone() };
                    let data = json!({ (group.key): changed });
                    let mut settings = Settings::default();
                    match config_system(&data, &mut settings) {
                        Ok(()) => prop_assert!(settings.check().is_ok(), "{}", data),
                        Err(error) => prop_assert_eq!(error.kind(), Kind::Input),
                    }
                    let _ = ordered_clock(&data);
                    let outcome = Err(Error::new(Kind::Input, "x"));
                    prop_assert!(!config_system_answer(&data, outcome).to_body().is_empty());
                }
            }
            let _ = get(json!({ "groupKey": [leaf] })).to_body();
            let _ = get(leaf).to_body();
        }
    }
}
