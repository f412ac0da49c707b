//! How exactly pulses go out on the Wiegand lines: the machine's own share, on lines that do nothing, and real lines
//! where there are some.

use std::time::Duration;

use serde::Serialize;

use crate::device::gpio::{Abi, Name, Output};
use crate::device::wiegand::{Format, frame};
use crate::device::wiegand_out::{INTERVAL, Pair, Pulse, Transmitter, WIDTH, real_time};
use crate::error::{Context, Error, Kind, Result};

/// How far pulses were from what they should be, in microseconds; less than 0 is too short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Errors {
    /// The least.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// Exceeded by one in a hundred.
    pub p99: f64,
    /// The most.
    pub max: f64,
}

/// Pulses on one pair of lines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// The lines, as the configuration names them; `sim` for none.
    pub line: String,
    /// Frames of 34 bits that were sent.
    pub frames: usize,
    /// Why the thread had no real-time priority; `None` if it had.
    pub no_real_time: Option<String>,
    /// Widths, which should be 50 µs.
    pub width: Errors,
    /// From one pulse to the next, which should be 1500 µs.
    pub interval: Errors,
}

/// Measures lines that do nothing.
pub fn simulated(frames: usize) -> Result<Timing> {
    measure("sim", crate::device::wiegand_out::NoPair, false, frames)
}

/// Measures real lines. The frames have a wrong parity: a controller that hangs there takes none of them for a card.
pub fn real(text: &str, name: Name, frames: usize) -> Result<Timing> {
    let inverted = name.has("inverted");
    measure(text, Output::new(name, "menshen bench", Abi::Newest), inverted, frames)
}

fn measure(line: &str, pair: impl Pair + Send, inverted: bool, frames: usize) -> Result<Timing> {
    let mut transmitter = Transmitter::new(pair, inverted);
    // A thread of its own, as on a gate: the priority ends with it.
    let sent = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("wiegand".into()).spawn_scoped(scope, || {
            let no_real_time = real_time().err().map(|error| error.to_string());
            let mut bits = frame(Format::W34, 0x5555_5555);
            bits[0] = !bits[0];
            let mut pulses: Vec<Pulse> = Vec::with_capacity(frames * bits.len());
            for _ in 0..frames {
                pulses.extend(transmitter.send(&bits)?);
            }
            Ok::<_, Error>((no_real_time, pulses))
        });
        thread.context(|| "the thread that measures cannot be started").map(|thread| thread.join())
    })?;
    let (no_real_time, pulses) =
        sent.map_err(|_| Error::new(Kind::Device, "the Wiegand output panicked while it was measured"))??;
    Ok(Timing {
        line: line.to_owned(),
        frames,
        no_real_time,
        width: errors(pulses.iter().map(|pulse| pulse.width), WIDTH)?,
        interval: errors(pulses.iter().filter_map(|pulse| pulse.interval), INTERVAL)?,
    })
}

fn errors(measured: impl Iterator<Item = Duration>, wanted: Duration) -> Result<Errors> {
    let mut errors: Vec<f64> =
        measured.map(|measured| (measured.as_secs_f64() - wanted.as_secs_f64()) * 1e6).collect();
    errors.sort_unstable_by(f64::total_cmp);
    let at =
        |share: f64| errors.get((errors.len().saturating_sub(1) as f64 * share).round() as usize).copied();
    match (at(0.0), at(0.5), at(0.99), at(1.0)) {
        (Some(min), Some(p50), Some(p99), Some(max)) => Ok(Errors { min, p50, p99, max }),
        _ => Err(Error::new(Kind::Input, "nothing was measured: ask for at least one frame")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_as_they_are() {
        let us = |us: &[u64]| us.iter().copied().map(Duration::from_micros).collect::<Vec<_>>();
        let of = |measured: &[u64]| errors(us(measured).into_iter(), Duration::from_micros(50)).unwrap();
        let errors_of = of(&[52, 48, 51, 50, 90]);
        let near = |one: f64, other: f64| (one - other).abs() < 1e-6;
        assert!(near(errors_of.min, -2.0) && near(errors_of.p50, 1.0), "{errors_of:?}");
        assert!(near(errors_of.p99, 40.0) && near(errors_of.max, 40.0), "{errors_of:?}");
        assert_eq!(errors([].into_iter(), WIDTH).unwrap_err().kind(), Kind::Input);
    }

    #[test]
    fn a_line_that_does_nothing_is_measured() {
        let timing = simulated(2).unwrap();
        assert_eq!((timing.line.as_str(), timing.frames), ("sim", 2));
        assert!(timing.width.min > -50.0 && timing.interval.min >= -0.01, "{timing:?}");
    }
}
