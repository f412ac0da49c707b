//! Bringing the lines of the door to rest when no agent does.
//!
//! The kernel does not: when the process that had a line dies, the line is released, and what it does then is the
//! chip's business. Many keep the last level (an open door stays open), some let go of the line, a few go back to what
//! they were. So the service manager runs this after the agent, however it ended.

use crate::config::Config;
use crate::device::{lamp, relay};
use crate::error::{Context, Result};
use crate::store::{self, setting_in_clear};

use super::settings::Settings;
use super::{SETTINGS_ROW, lay_over};

/// Puts the relay to the level at which it rests, and switches the lamp off. Each device with what was done, or why it
/// was not; a device that is in use belongs to a running agent, and is left alone.
pub fn bring_to_rest(config: &Config) -> Vec<(&'static str, Result<String>)> {
    vec![("relay", rest_relay(config)), ("lamp", rest_lamp(config))]
}

fn real(name: &str) -> bool {
    !["none", "sim"].contains(&name)
}

fn rest_relay(config: &Config) -> Result<String> {
    let name = &config.device.relay;
    // The name is checked in any case.
    let Some(mut relay) = relay::open(name)?.filter(|_| real(name)) else {
        return Ok(format!("device.relay is {name:?}: nothing to do"));
    };
    // A level that was guessed wrong would open the door.
    let high = settings(config)
        .context(
            || "the relay was left as it is: which level is its rest is in the store, which cannot be read",
        )?
        .relay
        .active_low;
    relay.set_level(high)?;
    Ok(format!("{name} rests at the {} level", if high { "high" } else { "low" }))
}

fn rest_lamp(config: &Config) -> Result<String> {
    let name = &config.device.lamp;
    let Some(mut lamp) = lamp::open(name)?.filter(|_| real(name)) else {
        return Ok(format!("device.lamp is {name:?}: nothing to do"));
    };
    lamp.switch(false)?;
    Ok(format!("{name} is off"))
}

/// The settings that the agent had last. They are in clear: a key that is missing does not matter here.
fn settings(config: &Config) -> Result<Settings> {
    let options = store::Options { data_dir: config.terminal.data_dir.clone(), config: config.store.clone() };
    let stored = match setting_in_clear(&options, SETTINGS_ROW)? {
        Some(text) => super::parsed_groups(&text)?,
        None => serde_json::Map::new(),
    };
    lay_over(stored, config.settings.clone(), &config.gate)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::store::Store;

    #[tokio::test]
    async fn the_level_of_rest_is_the_one_that_a_platform_has_set() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.terminal.data_dir = folder.path().to_owned();
        // Before the first start: as configured.
        assert!(!settings(&config).unwrap().relay.active_low);
        config.settings.relay.active_low = true;
        assert!(settings(&config).unwrap().relay.active_low);
        config.settings.relay.active_low = false;
        let options =
            store::Options { data_dir: config.terminal.data_dir.clone(), config: config.store.clone() };
        let store = Store::open(&options, Arc::new(SystemClock)).unwrap();
        let mut set = Settings::default();
        set.relay.active_low = true;
        let text = serde_json::json!({ "relay": set.relay }).to_string();
        store.put_setting(SETTINGS_ROW, text).await.unwrap();
        // Beside the agent, and after it has died with its log not yet moved, and without its key.
        assert!(settings(&config).unwrap().relay.active_low);
        std::mem::forget(store);
        std::fs::remove_file(folder.path().join("device.key")).unwrap();
        assert!(settings(&config).unwrap().relay.active_low);
    }

    #[test]
    fn a_store_that_cannot_be_read_is_no_reason_to_guess() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.terminal.data_dir = folder.path().to_owned();
        config.device.relay = "gpio:no such chip:1".into();
        std::fs::write(folder.path().join("store.sqlite"), "not a database, but long enough to be one")
            .unwrap();
        let outcomes = bring_to_rest(&config);
        let error = outcomes[0].1.as_ref().unwrap_err();
        assert!(error.message().starts_with("the relay was left as it is"), "{error}");
        assert_eq!(outcomes[1].1.as_ref().unwrap(), "device.lamp is \"sim\": nothing to do");
        std::fs::remove_file(folder.path().join("store.sqlite")).unwrap();
        let outcomes = bring_to_rest(&config);
        let error = outcomes[0].1.as_ref().unwrap_err();
        assert!(error.message().starts_with("no GPIO chip is called"), "{error}");
    }
}
