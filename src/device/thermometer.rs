//! The sensor that measures a visitor's temperature.

use super::gymcu::GyMcu;
use crate::error::{Error, Kind, Result};

/// One sensor. A driver may take a moment: it has a thread of its own.
pub trait Thermometer: Send {
    /// The temperature of whoever stands before it, in degrees Celsius; `None` if nobody does.
    fn read(&mut self) -> Result<Option<f32>>;
}

/// A sensor that always measures the same.
#[derive(Debug)]
pub struct SimulatedThermometer(pub f32);

impl Thermometer for SimulatedThermometer {
    fn read(&mut self) -> Result<Option<f32>> {
        Ok(Some(self.0))
    }
}

/// What a simulated sensor measures that was not told anything else.
const HEALTHY: f32 = 36.5;

/// The sensor that `device.thermometer` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn Thermometer>>> {
    let wrong = || {
        Error::new(
            Kind::Config,
            format!(
                "device.thermometer = {name:?} is not supported by this build: use \"gymcu:/dev/ttyS4\" (any port, with \
                 \"@115200\" behind it for a module of that speed), \"sim\", \"sim:36.5\" or \"none\""
            ),
        )
    };
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedThermometer(HEALTHY)))),
        name if name.starts_with("gymcu:") => {
            let module = name.strip_prefix("gymcu:").and_then(GyMcu::parse).ok_or_else(wrong)?;
            Ok(Some(Box::new(module)))
        }
        name => {
            let degrees: f32 =
                name.strip_prefix("sim:").and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
            // Also keeps infinities and what is no number out.
            if !(0.0..=60.0).contains(&degrees) {
                return Err(wrong());
            }
            Ok(Some(Box::new(SimulatedThermometer(degrees))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_sensor_measures_what_it_is_told() {
        assert!(open("none").unwrap().is_none());
        assert_eq!(open("sim").unwrap().unwrap().read().unwrap(), Some(36.5));
        assert_eq!(open("sim:38.2").unwrap().unwrap().read().unwrap(), Some(38.2));
        assert!(open("gymcu:/dev/ttyS4@115200").unwrap().is_some());
        for name in [
            "gymcu:",
            "gymcu:ttyS4",
            "gymcu:/dev/ttyS4@1",
            "sim:",
            "sim:NaN",
            "sim:inf",
            "sim:99",
            "i2c:/dev/i2c-1",
            "",
        ] {
            let error = open(name).err().unwrap();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.message().contains("device.thermometer"), "{error}");
        }
    }
}
