//! The Wiegand output: two wires, D0 and D1, high at rest; a pulse down on one of them is a bit (SIA AC-01-1996.10:
//! pulses of 20 to 100 µs, 0.2 to 20 ms apart).

use std::time::Duration;

use super::gpio::{Abi, Name, Output, monotonic};
use crate::error::{Error, Kind, Result};

/// Width of a pulse.
pub const WIDTH: Duration = Duration::from_micros(50);

/// From the last bit of a frame to the first of the next, at least: controllers, and [`wiegand_in`](super::wiegand_in),
/// take a pause of 20 to 30 ms for the end of a frame.
const BETWEEN_FRAMES: Duration = Duration::from_millis(50);

/// From the beginning of a pulse to that of the next: within 1 to 2 ms, with as much room on either side.
pub const INTERVAL: Duration = Duration::from_micros(1500);

/// After this a controller may take a pulse for something else.
const TOO_WIDE: Duration = Duration::from_micros(200);

/// Before a pulse the thread is awake for so long, for the system may wake it late.
const AWAKE: Duration = Duration::from_micros(250);

/// Above ordinary threads, below the kernel's own threads for interrupts (50).
const PRIORITY: libc::c_int = 20;

/// Two wires, D0 and D1.
pub trait WiegandOut: Send {
    /// Brings the wires to rest, before the first frame.
    fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    /// Sends one frame; returns when it is on the wire.
    fn send(&mut self, bits: &[bool]) -> Result<()>;
}

/// Wires that exist in memory only; the event bus shows what they carried.
#[derive(Debug, Default)]
pub struct SimulatedWiegand;

impl WiegandOut for SimulatedWiegand {
    fn send(&mut self, _bits: &[bool]) -> Result<()> {
        Ok(())
    }
}

/// Two lines that can be driven.
pub trait Pair {
    /// Brings both lines to a level, true is high: D0, then D1.
    fn set(&mut self, levels: [bool; 2]) -> Result<()>;
}

impl Pair for Output {
    fn set(&mut self, levels: [bool; 2]) -> Result<()> {
        Output::set(self, &levels)
    }
}

/// Lines that do nothing: what is measured on them is the machine's own share.
#[derive(Debug, Default)]
pub struct NoPair;

impl Pair for NoPair {
    fn set(&mut self, _levels: [bool; 2]) -> Result<()> {
        Ok(())
    }
}

/// A pulse as it was sent, by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// How long the line was down.
    pub width: Duration,
    /// From the pulse before; none before the first.
    pub interval: Option<Duration>,
}

/// Sends frames on two lines, and measures what it does.
pub struct Transmitter<P> {
    pair: P,
    inverted: bool,
    pulses: Vec<Pulse>,
    /// When the last bit went out, by the monotonic clock.
    last: Option<Duration>,
}

impl<P: Pair> Transmitter<P> {
    /// On lines behind drivers that invert (a transistor or an opto-coupler), or not.
    pub fn new(pair: P, inverted: bool) -> Self {
        Self { pair, inverted, pulses: Vec::with_capacity(34), last: None }
    }

    /// Both lines at rest.
    pub fn rest(&mut self) -> Result<()> {
        self.pair.set([!self.inverted; 2])
    }

    /// Sends a frame; the pulses as they were.
    pub fn send(&mut self, bits: &[bool]) -> Result<&[Pulse]> {
        self.pulses.clear();
        // What follows at once is the same frame to a controller.
        if let Some(last) = self.last {
            wait_until(last + BETWEEN_FRAMES);
        }
        let mut before = None;
        // What an order takes at least: the line moves near its end. The most would be a moment when this thread was
        // not running.
        let ordered = monotonic();
        self.rest()?;
        let mut takes = monotonic().saturating_sub(ordered).min(WIDTH / 2);
        for bit in bits {
            if let Some(before) = before {
                wait_until(before + INTERVAL);
            }
            let mut levels = [!self.inverted; 2];
            levels[usize::from(*bit)] = self.inverted;
            self.pair.set(levels)?;
            let down = monotonic();
            while monotonic() < down + WIDTH - takes {
                std::hint::spin_loop();
            }
            let ordered = monotonic();
            self.rest()?;
            let up = monotonic();
            takes = takes.min(up.saturating_sub(ordered));
            let width = up.saturating_sub(down);
            let interval = before.map(|before| down.saturating_sub(before));
            self.pulses.push(Pulse { width, interval });
            before = Some(down);
            self.last = before;
        }
        Ok(&self.pulses)
    }
}

fn wait_until(at: Duration) {
    let left = at.saturating_sub(monotonic());
    if left > AWAKE {
        std::thread::sleep(left - AWAKE);
    }
    while monotonic() < at {
        std::hint::spin_loop();
    }
}

/// Gives this thread a real-time priority (`SCHED_FIFO`). Why it has none otherwise, and what to do.
pub fn real_time() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // A thread that this one might start is an ordinary one: it could hold the processor for ever.
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: `pthread_self` names this thread, which lives for the call, and `parameters` is read and not kept.
    let outcome = unsafe { libc::pthread_setschedparam(libc::pthread_self(), policy, &raw const parameters) };
    if outcome == 0 {
        return Ok(());
    }
    Err(Error::caused(
        Kind::Device,
        format!(
            "the system gives no real-time priority: LimitRTPRIO={PRIORITY} in the unit of the agent allows it; until \
             then pulses may be late when the machine is busy"
        ),
        std::io::Error::from_raw_os_error(outcome),
    ))
}

/// A Wiegand output on GPIO lines.
pub struct GpioWiegand {
    transmitter: Transmitter<Output>,
    /// The thread that sends has been prepared.
    prepared: bool,
}

impl GpioWiegand {
    /// On the lines that are named, which need not be there yet; `inverted` behind them for drivers that invert.
    pub fn new(name: Name, abi: Abi) -> Self {
        let inverted = name.has("inverted");
        let lines = Output::new(name, "menshen Wiegand output", abi);
        Self { transmitter: Transmitter::new(lines, inverted), prepared: false }
    }
}

impl WiegandOut for GpioWiegand {
    fn rest(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.prepared, true)
            && let Err(error) = real_time()
        {
            tracing::warn!(%error, "the Wiegand output runs like any other thread");
        }
        self.transmitter.rest()
    }

    fn send(&mut self, bits: &[bool]) -> Result<()> {
        let pulses = self.transmitter.send(bits)?;
        let widest = pulses.iter().map(|pulse| pulse.width).max().unwrap_or_default();
        if widest > TOO_WIDE {
            tracing::warn!(
                widest_us = widest.as_micros(),
                "a pulse on the Wiegand line was too wide: the controller may not have read the frame"
            );
        }
        Ok(())
    }
}

/// The output that `device.wiegand_out` names; `None` for `none`.
pub fn open(name: &str) -> Result<Option<Box<dyn WiegandOut>>> {
    match name {
        "none" => Ok(None),
        "sim" => Ok(Some(Box::new(SimulatedWiegand))),
        other => Ok(Some(Box::new(GpioWiegand::new(lines(other)?, Abi::Newest)))),
    }
}

/// The lines that a text names.
pub fn lines(name: &str) -> Result<Name> {
    Name::parse(name, 2, &["inverted"]).ok_or_else(|| {
        Error::new(
            Kind::Config,
            format!(
                "device.wiegand_out = {name:?} is not supported by this build: use \"gpio:CHIP:D0,D1\", with \
                 \":inverted\" behind it where the drivers of the lines invert, \"sim\" or \"none\""
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::wiegand::{Format, frame};

    /// Lines that remember.
    #[derive(Default)]
    struct Recorder(Vec<[bool; 2]>);

    impl Pair for Recorder {
        fn set(&mut self, levels: [bool; 2]) -> Result<()> {
            self.0.push(levels);
            Ok(())
        }
    }

    /// What a controller reads: a line that goes down is a bit.
    fn decoded(levels: &[[bool; 2]], inverted: bool) -> Vec<bool> {
        let down = |level: bool| level == inverted;
        let mut bits = Vec::new();
        for step in levels.windows(2) {
            for line in [0, 1] {
                if !down(step[0][line]) && down(step[1][line]) {
                    bits.push(line == 1);
                }
            }
            assert!(!(down(step[1][0]) && down(step[1][1])), "both lines are down");
        }
        bits
    }

    #[test]
    fn a_frame_goes_out_as_pulses() {
        let bits = frame(Format::W26, 118 << 16 | 1603);
        for inverted in [false, true] {
            let mut transmitter = Transmitter::new(Recorder::default(), inverted);
            let pulses = transmitter.send(&bits).unwrap().to_vec();
            let levels = &transmitter.pair.0;
            assert_eq!(decoded(levels, inverted), bits);
            assert_eq!((levels[0], levels[levels.len() - 1]), ([!inverted; 2], [!inverted; 2]));
            assert_eq!(pulses.len(), 26);
            // Never too short (an order to rest takes effect near its end: at most half is left to it) and never too
            // close, however busy the machine is.
            assert!(pulses.iter().all(|pulse| pulse.width >= WIDTH / 2), "{pulses:?}");
            assert!(pulses[0].interval.is_none());
            assert!(pulses[1..].iter().all(|pulse| pulse.interval >= Some(INTERVAL)), "{pulses:?}");
        }
    }

    #[test]
    fn frames_in_a_row_are_frames_of_their_own() {
        /// Lines that remember when one of them last went down, and the longest pause before that.
        #[derive(Default)]
        struct Pauses(Option<Duration>, Duration);

        impl Pair for Pauses {
            fn set(&mut self, levels: [bool; 2]) -> Result<()> {
                if levels != [true; 2] {
                    let now = monotonic();
                    self.1 = self.1.max(self.0.map_or(Duration::ZERO, |before| now - before));
                    self.0 = Some(now);
                }
                Ok(())
            }
        }

        let bits = frame(Format::W26, 118 << 16 | 1603);
        let mut transmitter = Transmitter::new(Pauses::default(), false);
        transmitter.send(&bits[..1]).unwrap();
        assert_eq!(transmitter.pair.1, Duration::ZERO);
        transmitter.send(&bits[..1]).unwrap();
        assert!(transmitter.pair.1 >= BETWEEN_FRAMES, "{:?}", transmitter.pair.1);
    }

    #[test]
    fn outputs_are_named_by_the_configuration() {
        assert!(open("none").unwrap().is_none());
        assert!(open("sim").unwrap().is_some());
        assert!(open("gpio:gpiochip0:WG_D0,WG_D1:inverted").unwrap().is_some());
        for name in ["gpio:gpiochip0:5", "gpio:gpiochip0:5,5", "gpio:5,6", "gpio:a:5,6:low"] {
            assert!(open(name).err().unwrap().message().contains("device.wiegand_out"), "{name}");
        }
    }
}
