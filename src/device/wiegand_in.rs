//! The Wiegand input: the two wires of a card reader. [`Assembler`] makes frames of pulses and is pure; the driver reads
//! the edges that the kernel has timed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gpiocdev::line::Bias;

use super::gpio::{Abi, Detect, Edge, Edges, Name, Wanted, monotonic};
use super::wiegand_out::real_time;
use crate::error::{Error, Kind, Result};

/// A frame has ended when nothing came for so long. SIA AC-01 lets readers leave up to 20 ms between two bits; what is
/// beyond that costs each visitor waiting time.
const GAP: Duration = Duration::from_millis(25);

/// No reader sends bits so close together (SIA AC-01: 200 µs): it is a disturbance, or both wires at once.
const TOO_CLOSE: Duration = Duration::from_micros(100);

/// Bits that are kept of a frame; the longest that is read has 34.
const MOST_BITS: usize = 64;

/// Edges are held back for so long, for those of the other line may be on their way.
const SETTLED: Duration = Duration::from_millis(2);

/// Between two readings of edges, so that a disturbed line cannot hold its thread.
const PACE: Duration = Duration::from_millis(1);

/// How often wires at rest are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// One of the wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// A pulse is a 0.
    D0,
    /// A pulse is a 1.
    D1,
}

/// What is wrong with what came in. None of it is a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Damage {
    /// Both wires went down at once.
    BothWires,
    /// A wire went down twice within no time.
    Glitch,
    /// So many bits; a frame has 26 or 34. Counted up to 65.
    Bits(usize),
    /// A key of a keypad: 4 or 8 bits, which this gate does not take.
    Key(usize),
    /// The kernel had no room for pulses.
    Lost,
    /// A wire stays down.
    Stuck(Wire),
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::BothWires => f.write_str(
                "both wires went down at once: check that D0 and D1 are not shorted, and the ground",
            ),
            Damage::Glitch => {
                f.write_str("a pulse came twice within 0.1 ms: check the cable's shield and the ground")
            }
            Damage::Bits(bits) if *bits > MOST_BITS => {
                write!(f, "a frame had more than {MOST_BITS} bits: this gate reads 26 and 34")
            }
            Damage::Bits(bits) => write!(
                f,
                "a frame had {bits} bits: this gate reads 26 and 34; set the reader to one of them, or check the cable"
            ),
            Damage::Key(bits) => {
                write!(f, "a key of {bits} bits came in: this gate takes cards from this reader, and no keys")
            }
            Damage::Lost => {
                f.write_str("pulses came faster than the kernel could keep them: is the line disturbed?")
            }
            Damage::Stuck(wire) => write!(
                f,
                "{wire:?} stays low: is the reader powered and connected, and has the wire a pull-up?"
            ),
        }
    }
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrived {
    /// 26 or 34 bits, whose parity has not been looked at.
    Frame(Vec<bool>),
    /// Something else.
    Damaged(Damage),
}

/// Makes frames of pulses. Times are of the monotonic clock and do not go back.
#[derive(Debug, Default)]
pub struct Assembler {
    bits: Vec<bool>,
    /// Bits that came, also those that were not kept.
    count: usize,
    last: Option<(Wire, Duration)>,
    damage: Option<Damage>,
}

impl Assembler {
    /// A wire has gone down. What came before it is told if this is the beginning of something new.
    pub fn pulse(&mut self, wire: Wire, at: Duration) -> Option<Arrived> {
        let before = self.quiet(at);
        if let Some((other, last)) = self.last
            && at.saturating_sub(last) < TOO_CLOSE
        {
            let damage = if other == wire { Damage::Glitch } else { Damage::BothWires };
            self.damage.get_or_insert(damage);
        }
        self.count = self.count.saturating_add(1);
        if self.bits.len() < MOST_BITS {
            self.bits.push(wire == Wire::D1);
        }
        self.last = Some((wire, at));
        before
    }

    /// Nothing has come until then: what came before is told if it has ended.
    pub fn quiet(&mut self, until: Duration) -> Option<Arrived> {
        let (_, last) = self.last?;
        if until.saturating_sub(last) < GAP {
            return None;
        }
        let bits = std::mem::take(&mut self.bits);
        let (count, damage) = (self.count, self.damage);
        *self = Self::default();
        Some(match (damage, count) {
            (Some(damage), _) => Arrived::Damaged(damage),
            (None, 26 | 34) => Arrived::Frame(bits),
            (None, 4 | 8) => Arrived::Damaged(Damage::Key(count)),
            (None, count) => Arrived::Damaged(Damage::Bits(count.min(MOST_BITS + 1))),
        })
    }

    /// Pulses are missing from what is coming in.
    pub fn lost(&mut self) {
        self.damage.get_or_insert(Damage::Lost);
    }

    /// When what is coming in has ended, if nothing more comes.
    pub fn due(&self) -> Option<Duration> {
        self.last.map(|(_, last)| last + GAP)
    }
}

/// A Wiegand input. It has a thread of its own.
pub trait WiegandIn: Send {
    /// What comes in next, waiting at most so long. `Device` if the lines cannot be had or read; the next call tries
    /// again.
    fn next(&mut self, within: Duration) -> Result<Option<Arrived>>;
}

/// A Wiegand input on GPIO lines.
pub struct GpioWiegandIn {
    name: Name,
    abi: Abi,
    open: Option<Edges>,
    assembler: Assembler,
    /// Edges that may not be in their order yet.
    held: Vec<Edge>,
    waiting: VecDeque<Arrived>,
    /// When the wires were looked at last.
    looked: Duration,
    prepared: bool,
}

impl GpioWiegandIn {
    /// On the lines that are named, which need not be there yet; `inverted` behind them where an opto-coupler or a level
    /// shifter inverts.
    pub fn new(name: Name, abi: Abi) -> Self {
        Self {
            name,
            abi,
            open: None,
            assembler: Assembler::default(),
            held: Vec::new(),
            waiting: VecDeque::new(),
            looked: Duration::ZERO,
            prepared: false,
        }
    }

    fn ask(&self) -> Result<Edges> {
        // One edge for each bit. With both, the kernel would look at the line after a pulse of 50 µs is over, and tell
        // of two rises.
        let (detect, bias) = match self.name.has("inverted") {
            false => (Detect::Falling, Bias::PullUp),
            true => (Detect::Rising, Bias::PullDown),
        };
        Edges::open(
            &self.name,
            "menshen Wiegand input",
            self.abi,
            Wanted { detect, bias: Some(bias), debounce: None },
        )
    }

    fn listen(&mut self, within: Duration) -> Result<()> {
        if !std::mem::replace(&mut self.prepared, true)
            && let Err(error) = real_time()
        {
            tracing::warn!(%error, "the Wiegand input runs like any other thread");
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                (self.assembler, self.looked) = (Assembler::default(), monotonic());
                self.held.clear();
                self.ask()?
            }
        };
        let due = match self.held.is_empty() {
            false => Some(monotonic() + SETTLED),
            true => self.assembler.due().map(|due| due + SETTLED),
        };
        let wait = due.map_or(LOOK, |due| due.saturating_sub(monotonic())).min(within);
        let until = if open.wait(wait)? {
            std::thread::sleep(PACE);
            let reading = open.read(&mut self.held)?;
            if reading.lost {
                self.assembler.lost();
            }
            reading.until
        } else {
            monotonic()
        };
        let settled = until.saturating_sub(SETTLED);
        self.held.sort_by_key(|edge| edge.at);
        let ready = self.held.partition_point(|edge| edge.at <= settled);
        for edge in self.held.drain(..ready) {
            let wire = if edge.line == 0 { Wire::D0 } else { Wire::D1 };
            self.waiting.extend(self.assembler.pulse(wire, edge.at));
        }
        if self.held.is_empty() {
            self.waiting.extend(self.assembler.quiet(settled));
        }
        if self.assembler.due().is_none() && monotonic().saturating_sub(self.looked) >= LOOK {
            self.looked = monotonic();
            let mut levels = [true; 2];
            open.levels(&mut levels)?;
            let low = self.name.has("inverted");
            for (wire, level) in [Wire::D0, Wire::D1].into_iter().zip(levels) {
                if level == low {
                    self.waiting.push_back(Arrived::Damaged(Damage::Stuck(wire)));
                }
            }
        }
        self.open = Some(open);
        Ok(())
    }
}

impl WiegandIn for GpioWiegandIn {
    fn next(&mut self, within: Duration) -> Result<Option<Arrived>> {
        let until = Instant::now() + within;
        loop {
            if let Some(arrived) = self.waiting.pop_front() {
                return Ok(Some(arrived));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.listen(left)?;
        }
    }
}

/// The input that `device.wiegand_in` names; `None` for `none`, and for `sim`, which is driven by hand.
pub fn open(name: &str) -> Result<Option<Box<dyn WiegandIn>>> {
    match name {
        "none" | "sim" => Ok(None),
        other => match Name::parse(other, 2, &["inverted"]) {
            Some(name) => Ok(Some(Box::new(GpioWiegandIn::new(name, Abi::Newest)))),
            None => Err(Error::new(
                Kind::Config,
                format!(
                    "device.wiegand_in = {other:?} is not supported by this build: use \"gpio:CHIP:D0,D1\", with \
                     \":inverted\" behind it where an opto-coupler inverts, \"sim\" or \"none\""
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::device::wiegand::{Format, bits, frame, read};

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    /// Pulses as (0 or 1, microseconds since the one before), and silence at the end.
    fn assemble(pulses: &[(u8, u64)]) -> Vec<Arrived> {
        let mut assembler = Assembler::default();
        let (mut arrived, mut now) = (Vec::new(), 1_000_000);
        for (wire, pause) in pulses {
            now += pause;
            arrived.extend(assembler.pulse(if *wire == 0 { Wire::D0 } else { Wire::D1 }, us(now)));
        }
        assert_eq!(assembler.quiet(us(now + 24_999)), None);
        arrived.extend(assembler.quiet(us(now + 25_000)));
        assert_eq!(assembler.quiet(us(now + 60_000)), None);
        arrived
    }

    fn sent(bits: &[bool], pause: u64) -> Vec<(u8, u64)> {
        bits.iter().map(|bit| (u8::from(*bit), pause)).collect()
    }

    #[test]
    fn frames_are_split_by_a_gap() {
        // Worked by hand in device/wiegand.rs.
        let card = bits("1 01110110 0000011001000011 0").unwrap();
        let long = bits("0 0000100101100000 1101101110110011 0").unwrap();
        for pause in [200, 1000, 2000, 20_000] {
            assert_eq!(assemble(&sent(&card, pause)), [Arrived::Frame(card.clone())], "{pause}");
        }
        let mut both = sent(&card, 2000);
        let mut second = sent(&long, 2000);
        second[0].1 = 25_000;
        both.extend(second);
        assert_eq!(assemble(&both), [Arrived::Frame(card), Arrived::Frame(long)]);
    }

    #[test]
    fn what_is_no_frame_is_told_as_what_it_is() {
        let zeros = |count| vec![false; count];
        let damaged = |pulses: &[(u8, u64)]| match assemble(pulses).as_slice() {
            [Arrived::Damaged(damage)] => *damage,
            other => panic!("{other:?}"),
        };
        assert_eq!(damaged(&sent(&zeros(13), 2000)), Damage::Bits(13));
        assert_eq!(damaged(&sent(&zeros(37), 2000)), Damage::Bits(37));
        assert_eq!(damaged(&sent(&zeros(1), 2000)), Damage::Bits(1));
        assert_eq!(damaged(&sent(&zeros(5000), 2000)), Damage::Bits(65));
        assert_eq!(damaged(&sent(&zeros(4), 2000)), Damage::Key(4));
        assert_eq!(damaged(&sent(&zeros(8), 2000)), Damage::Key(8));
        // 26 pulses, of which two came as one.
        let mut pulses = sent(&zeros(26), 2000);
        pulses[7] = (1, 20);
        assert_eq!(damaged(&pulses), Damage::BothWires);
        pulses[7] = (0, 20);
        assert_eq!(damaged(&pulses), Damage::Glitch);
        // The damage goes with its frame.
        pulses.push((0, 30_000));
        pulses.extend(sent(&zeros(25), 2000));
        let arrived = assemble(&pulses);
        assert_eq!(arrived, [Arrived::Damaged(Damage::Glitch), Arrived::Frame(zeros(26))]);
        let mut assembler = Assembler::default();
        assembler.pulse(Wire::D0, us(1));
        assembler.lost();
        assert_eq!(assembler.quiet(us(30_000)), Some(Arrived::Damaged(Damage::Lost)));
        for damage in [Damage::Bits(65), Damage::Bits(3), Damage::Key(4), Damage::Stuck(Wire::D1)] {
            assert!(damage.to_string().contains(':'), "{damage}: says what to do");
        }
    }

    proptest! {
        /// Any card that any reader sends within the standard is read, and nothing else is.
        #[test]
        fn whatever_a_reader_sends_is_read(
            value in any::<u32>(),
            wide in any::<bool>(),
            pauses in prop::collection::vec(200_u64..20_000, 34),
        ) {
            let format = if wide { Format::W34 } else { Format::W26 };
            let bits = frame(format, value.into());
            let pulses: Vec<_> = bits.iter().zip(&pauses).map(|(bit, pause)| (u8::from(*bit), *pause)).collect();
            let arrived = assemble(&pulses);
            prop_assert_eq!(&arrived, &[Arrived::Frame(bits.clone())]);
            let mask = if wide { u64::from(u32::MAX) } else { 0xff_ffff };
            prop_assert_eq!(read(&bits).unwrap(), (format, u64::from(value) & mask));
        }

        /// A pulse that is lost, or one too many, is never another card.
        #[test]
        fn a_disturbed_frame_is_no_other_card(
            value in any::<u32>(),
            at in 0_usize..26,
            more in any::<bool>(),
            pause in 0_u64..30_000,
        ) {
            let card = frame(Format::W26, value.into());
            let mut pulses = sent(&card, 2000);
            if more { pulses.insert(at, (1, pause)) } else { let _ = pulses.remove(at); }
            for arrived in assemble(&pulses) {
                if let Arrived::Frame(bits) = arrived {
                    // A first bit that stands apart, and the same one again: that is the card.
                    prop_assert!(read(&bits).is_err() || bits == card, "{:?}", pulses);
                }
            }
        }

        /// Noise never panics, and always ends.
        #[test]
        fn noise_ends(pulses in prop::collection::vec((0_u8..2, 0_u64..60_000), 0..300)) {
            let arrived = assemble(&pulses);
            prop_assert!(arrived.len() <= pulses.len());
        }
    }

    #[test]
    fn inputs_are_named_by_the_configuration() {
        assert!(open("none").unwrap().is_none());
        assert!(open("sim").unwrap().is_none());
        assert!(open("gpio:gpiochip0:5,6:inverted").unwrap().is_some());
        for name in ["gpio:gpiochip0:5", "usb", "gpio:a:5,6:low"] {
            assert!(open(name).err().unwrap().message().contains("device.wiegand_in"), "{name}");
        }
        let mut input = GpioWiegandIn::new(Name::parse("gpio:nothing:5,6", 2, &[]).unwrap(), Abi::Newest);
        assert!(
            input.next(Duration::from_millis(1)).unwrap_err().message().contains("no GPIO chip is called")
        );
    }
}
