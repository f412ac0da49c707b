//! The devices of a gate as its settings drive them, all but the door, which is [`outputs`](super::outputs)'.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::controller::Controller;
use super::driver::Driver;
use super::outputs::{Lines, Outputs};
use super::panel::{Panel, PanelTask};
use super::serial::SerialOut;
use super::settings::{
    AudioSettings, LampMode, LightSettings, Payload, ProductSettings, RelaySettings, SentenceSettings,
    SerialSettings, Settings, WiegandSettings,
};
use super::speaker::Speaker;
use super::template::Template;
use super::wiegand::Frames;
use super::worker::{ANSWERS_WITHIN, Tended, Worker};
use crate::config;
use crate::device::Devices;
use crate::device::osdp::Abilities;
use crate::device::thermometer::Thermometer;
use crate::error::{Error, Kind, Result};
use crate::event::Events;

/// How long a verdict waits for a temperature.
const MEASURED_WITHIN: Duration = Duration::from_millis(100);

/// What goes out after a passage where the settings say `custom`.
#[derive(Debug, Clone)]
pub struct Templates {
    /// On the RS485 line.
    pub serial: Template,
    /// On the Wiegand line.
    pub wiegand: Template,
}

impl Templates {
    /// As configured.
    pub fn new(config: &config::Device) -> Self {
        Self { serial: config.rs485_template.clone(), wiegand: config.wiegand_template.clone() }
    }
}

impl Default for Templates {
    fn default() -> Self {
        Self::new(&config::Device::default())
    }
}

/// Which devices a gate has. Its checks say which setting asks for one that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Present {
    relay: bool,
    wiegand: bool,
    lamp: bool,
    screen: bool,
    voice: bool,
    serial: bool,
}

impl Present {
    fn of(devices: &Devices) -> Self {
        Self {
            relay: devices.relay.is_some(),
            // An access controller hears of the same numbers.
            wiegand: devices.wiegand.is_some() || devices.osdp.is_some(),
            lamp: devices.lamp.is_some(),
            screen: devices.screen.is_some(),
            voice: devices.voice.is_some(),
            serial: devices.rs485.is_some() || devices.osdp.is_some(),
        }
    }

    /// A relay that is to open something.
    pub fn relay(&self, relay: &RelaySettings) -> Result<()> {
        lacks(relay.enabled && !self.relay, "switchCtrl.switchOutput", "relay", "relay")
    }

    /// A number that is to go out.
    pub fn wiegand(&self, wiegand: &WiegandSettings) -> Result<()> {
        let asked = wiegand.payload != Payload::Nothing;
        lacks(asked && !self.wiegand, "weigand.putOutType", "Wiegand output", "wiegand_out")
    }

    /// A lamp that is to light, a screen that is to go dark.
    pub fn light(&self, light: &LightSettings) -> Result<()> {
        lacks(light.lamp != LampMode::Off && !self.lamp, "ledctl.mode", "lamp", "lamp")?;
        lacks(light.screen_off_minutes > 0 && !self.screen, "ledctl.closeScreen", "screen", "screen")
    }

    /// Anything about the serial line.
    pub fn serial(&self, _: &SerialSettings) -> Result<()> {
        lacks(!self.serial, "serial", "RS485 line", "rs485")
    }

    /// Any volume.
    pub fn audio(&self, _: &AudioSettings) -> Result<()> {
        lacks(!self.voice, "audioctl.level", "voice", "voice")
    }

    /// Any sentence.
    pub fn sentences(&self, _: &SentenceSettings) -> Result<()> {
        lacks(!self.voice, "VoiceTips", "voice", "voice")
    }

    /// A name that is to be shown.
    pub fn product(&self, product: &ProductSettings) -> Result<()> {
        lacks(!product.name.is_empty() && !self.screen, "ProductNameSet.UIName", "screen", "screen")
    }

    /// All of these for the groups that differ.
    pub(super) fn changed(&self, old: &Settings, new: &Settings) -> Result<()> {
        if old.relay != new.relay {
            self.relay(&new.relay)?;
        }
        if old.wiegand != new.wiegand {
            self.wiegand(&new.wiegand)?;
        }
        if old.light != new.light {
            self.light(&new.light)?;
        }
        if old.serial != new.serial {
            self.serial(&new.serial)?;
        }
        if old.audio != new.audio {
            self.audio(&new.audio)?;
        }
        if old.sentences != new.sentences {
            self.sentences(&new.sentences)?;
        }
        if old.product != new.product {
            self.product(&new.product)?;
        }
        Ok(())
    }
}

fn lacks(lacking: bool, key: &str, device: &str, config: &str) -> Result<()> {
    if !lacking {
        return Ok(());
    }
    Err(Error::new(
        Kind::Config,
        format!("{key}: this gate has no {device}: device.{config} is \"none\" in its configuration"),
    ))
}

/// The thermometer on its thread.
struct Sensor(Box<dyn Thermometer>);

impl Tended for Sensor {
    const NAME: &'static str = "thermometer";

    fn settle(&mut self) -> bool {
        true
    }
}

/// One device, or several that change together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The level at which the relay rests.
    Relay,
    /// The port's parameters.
    Serial,
    /// The volume.
    Voice,
    /// Lamp, screen and title.
    Panel,
}

impl Step {
    const ALL: [Step; 4] = [Step::Relay, Step::Serial, Step::Voice, Step::Panel];

    fn concerns(self, old: &Settings, new: &Settings) -> bool {
        match self {
            Step::Relay => old.relay.active_low != new.relay.active_low,
            Step::Serial => old.serial.line() != new.serial.line(),
            Step::Voice => old.audio != new.audio,
            Step::Panel => (old.light, &old.product) != (new.light, &new.product),
        }
    }

    /// The key that names it in a refusal.
    fn key(self) -> &'static str {
        match self {
            Step::Relay => "switchCtrl.switchOutMode",
            Step::Serial => "serial",
            Step::Voice => "audioctl.level",
            // Its own errors name the key.
            Step::Panel => "",
        }
    }
}

/// The devices.
pub(super) struct Hardware {
    pub(super) present: Present,
    pub(super) panel: Panel,
    pub(super) voice: Option<Worker<Speaker>>,
    serial: Option<Worker<SerialOut>>,
    pub(super) controller: Option<Controller>,
    wiegand: Option<Worker<Frames>>,
    thermometer: Option<Worker<Sensor>>,
}

impl Hardware {
    /// Starts the threads of the devices, with the settings in force: what fails there is reported and tried again.
    /// The lines are for the outputs; the task must be run for lamp and screen to do anything.
    pub(super) fn start(
        devices: Devices,
        templates: Templates,
        settings: &Settings,
        events: &Events,
    ) -> Result<(Self, Lines, PanelTask)> {
        let present = Present::of(&devices);
        let relay_on = Arc::new(AtomicBool::new(false));
        let title = settings.product.name.clone();
        let lamp = devices.lamp.map(|lamp| Driver::lamp(lamp, events)).transpose()?;
        let relay = devices.relay.map(|relay| Driver::relay(relay, events)).transpose()?;
        let (panel, task) = Panel::new(lamp, devices.screen, settings.light, title, events.clone());
        let voice = devices.voice.map(|voice| {
            Worker::start(Speaker::new(voice, settings.audio.volume, events.clone()), events.clone())
        });
        let voice = voice.transpose()?;
        let serial = devices.rs485.map(|port| {
            Worker::start(SerialOut::new(port, settings.serial.line(), events.clone()), events.clone())
        });
        let serial = serial.transpose()?;
        let thermometer = devices.thermometer.map(|sensor| Worker::start(Sensor(sensor), events.clone()));
        let wiegand =
            devices.wiegand.map(|line| Worker::start(Frames::new(line, events.clone()), events.clone()));
        let wiegand = wiegand.transpose()?;
        let controller = devices.osdp.map(|setup| {
            let abilities = Abilities {
                output: present.relay,
                led: present.screen || present.lamp,
                buzzer: present.voice,
                text: present.screen,
            };
            let (relay_on, line) = (Arc::clone(&relay_on), settings.serial.line());
            Controller::start(setup, abilities, relay_on, line, panel.clone(), voice.clone(), events.clone())
        });
        let controller = controller.transpose()?;
        let lines = Lines {
            relay,
            wiegand: wiegand.clone(),
            serial: serial.clone(),
            controller: controller.clone(),
            relay_on,
            templates,
        };
        let hardware = Self {
            present,
            panel,
            voice,
            serial,
            controller,
            wiegand,
            thermometer: thermometer.transpose()?,
        };
        Ok((hardware, lines, task))
    }

    /// What the access controller's output commands act on.
    pub(super) fn drives(&self, outputs: &Outputs) {
        if let Some(controller) = &self.controller {
            controller.drives(outputs.relay_orders());
        }
    }

    /// Brings the devices from one state of the settings to another. A device that refuses makes it fail with
    /// [`Kind::Config`] and the key; what the others had taken is put back.
    pub(super) async fn apply(&self, outputs: &Outputs, old: &Settings, new: &Settings) -> Result<()> {
        let mut done = Vec::new();
        for step in Step::ALL {
            if !step.concerns(old, new) {
                continue;
            }
            let outcome = self.carry_out(step, outputs, new).await;
            if let Err(error) = outcome {
                // It may still do what it was told when it wakes up.
                if error.kind() == Kind::Timeout {
                    done.push(step);
                }
                for step in done.into_iter().rev() {
                    if let Err(error) = self.carry_out(step, outputs, old).await {
                        tracing::error!(%error, ?step, "a device could not be put back");
                    }
                }
                return Err(match (error.kind(), step.key()) {
                    (Kind::Busy | Kind::Stopped, _) | (_, "") => error,
                    (_, key) => Error::new(Kind::Config, format!("{key}: {error}")),
                });
            }
            done.push(step);
        }
        Ok(())
    }

    async fn carry_out(&self, step: Step, outputs: &Outputs, settings: &Settings) -> Result<()> {
        match step {
            Step::Relay => outputs.rest(settings.relay).await,
            Step::Serial => match (&self.serial, &self.controller) {
                (Some(serial), _) => {
                    let line = settings.serial.line();
                    serial.ask(ANSWERS_WITHIN, move |serial| serial.set_line(line)).await
                }
                (None, Some(controller)) => controller.set_line(settings.serial.line()).await,
                (None, None) => Ok(()),
            },
            Step::Voice => match &self.voice {
                Some(voice) => {
                    let volume = settings.audio.volume;
                    voice.ask(ANSWERS_WITHIN, move |voice| voice.set_volume(volume)).await
                }
                None => Ok(()),
            },
            Step::Panel => self.panel.apply(settings.light, settings.product.name.clone()).await,
        }
    }

    /// The temperature of whoever stands there, in degrees Celsius; `None` without a sensor, or one that does not
    /// answer at once.
    pub(super) async fn temperature(&self) -> Option<f32> {
        let read = self.thermometer.as_ref()?.ask(MEASURED_WITHIN, |sensor| sensor.0.read());
        match read.await {
            Ok(degrees) => degrees.filter(|degrees| degrees.is_finite()),
            Err(error) => {
                tracing::warn!(%error, "a visitor's temperature was not measured");
                None
            }
        }
    }

    /// Waits until the devices have done what they were told, and switches the lamp off.
    pub(super) async fn stop(&self) {
        self.panel.stop().await;
        if let Some(serial) = &self.serial {
            // One that hangs is left behind.
            let _ = serial.ask(ANSWERS_WITHIN, |_| Ok(())).await;
        }
        if let Some(controller) = &self.controller {
            controller.stop().await;
        }
        if let Some(wiegand) = &self.wiegand {
            let _ = wiegand.ask(ANSWERS_WITHIN, |_| Ok(())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SharedClock};
    use crate::device::rs485::SimulatedRs485;
    use crate::device::voice::Voice;
    use crate::text::Language;

    /// A voice that knows one volume.
    struct Stubborn;

    impl Voice for Stubborn {
        fn set_volume(&mut self, volume: u8) -> Result<()> {
            if volume == 8 { Ok(()) } else { Err(Error::new(Kind::Device, "the mixer has no such volume")) }
        }

        fn say(&mut self, _text: &str, _language: Language) -> Result<()> {
            Ok(())
        }

        fn beep(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_one_device_refuses_the_others_give_back() {
        let clock: SharedClock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let bus = Events::new(clock);
        let (_, mut events) = bus.subscribe(0);
        let devices = Devices {
            rs485: Some(Box::new(SimulatedRs485)),
            voice: Some(Box::new(Stubborn)),
            ..Devices::default()
        };
        let old = Settings::default();
        let (hardware, lines, panel) = Hardware::start(devices, Templates::default(), &old, &bus).unwrap();
        let (outputs, task) = Outputs::new(lines, bus);
        tokio::spawn(panel.run());
        tokio::spawn(task.run(RelaySettings::default()));
        let mut new = old.clone();
        (new.serial.baud, new.audio.volume) = (19_200, 9);
        let error = hardware.apply(&outputs, &old, &new).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.message(), "audioctl.level: the mixer has no such volume");
        let mut lines = Vec::new();
        while lines.len() < 3 {
            let event: Arc<crate::event::Event> = events.recv().await.unwrap();
            if event.kind == "rs485" {
                lines.push(event.fields["line"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(lines, ["9600 8N1", "19200 8N1", "9600 8N1"]);
    }

    #[tokio::test]
    async fn only_what_asks_something_of_an_absent_device_is_refused() {
        let nothing = Present::of(&Devices::default());
        let old = Settings::default();
        let refused = |change: fn(&mut Settings)| {
            let mut new = old.clone();
            change(&mut new);
            nothing.changed(&old, &new).err().map(|error| error.message().to_owned()).unwrap_or_default()
        };
        for (change, key) in [
            (
                (|new| new.relay.pulse_ms = 500) as fn(&mut Settings),
                "switchCtrl.switchOutput: this gate has no relay",
            ),
            (
                |new| new.wiegand.payload = Payload::PersonId,
                "weigand.putOutType: this gate has no Wiegand output",
            ),
            (|new| new.light.lamp = LampMode::On, "ledctl.mode: this gate has no lamp"),
            (
                |new| (new.light.lamp, new.light.screen_off_minutes) = (LampMode::Off, 5),
                "ledctl.closeScreen: this gate has no screen",
            ),
            (|new| new.serial.baud = 1200, "serial: this gate has no RS485 line"),
            (|new| new.audio.volume = 0, "audioctl.level: this gate has no voice"),
            (|new| new.sentences.success = 2, "VoiceTips: this gate has no voice"),
            (|new| new.product.name = "x".into(), "ProductNameSet.UIName: this gate has no screen"),
        ] {
            let message = refused(change);
            assert!(message.starts_with(key), "{key}: {message}");
        }
        for change in [
            (|new| new.relay.enabled = false) as fn(&mut Settings),
            |new| new.wiegand.payload = Payload::Nothing,
            |new| new.light.lamp = LampMode::Off,
            |new| new.face.similar_threshold = 90,
        ] {
            assert_eq!(refused(change), "");
        }
    }
}
