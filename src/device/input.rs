//! Inputs of the gate: exit button, door contact, tamper contact. A line that bounces is settled by the kernel where it
//! can (ABI version 2), else by [`Debouncer`], over the times at which the kernel saw the edges.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use gpiocdev::line::Bias;
use serde::{Deserialize, Serialize};

use super::gpio::{self, Abi, Detect, Edge, Edges, Name, Wanted};
use crate::config;
use crate::error::{Error, Kind, Result};

/// Between two looks at the edges of a line that does not rest, and at a line without interrupts.
const PACE: Duration = Duration::from_millis(5);

/// A line that has not rested for so long chatters.
const CHATTERS_AFTER: Duration = Duration::from_secs(1);

/// Changes of a simulated input that wait.
const WAITING: usize = 32;

/// The inputs that a gate may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// The button by which whoever is inside opens the door. Active: pressed.
    ExitButton,
    /// The contact at the leaf of the door. Active: the door is open.
    DoorContact,
    /// The contact at the gate's own case. Active: the case is open.
    Tamper,
}

impl Input {
    /// All of them.
    pub const ALL: [Input; 3] = [Input::ExitButton, Input::DoorContact, Input::Tamper];

    /// The name in events, commands and the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Input::ExitButton => "exit_button",
            Input::DoorContact => "door_contact",
            Input::Tamper => "tamper",
        }
    }

    /// The reverse of [`Input::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|input| input.as_str() == text)
    }

    /// What an input is in.
    pub fn state(self, active: bool) -> &'static str {
        match (self, active) {
            (Input::ExitButton, true) => "pressed",
            (Input::ExitButton, false) => "released",
            (_, true) => "open",
            (_, false) => "closed",
        }
    }

    /// The name of who has the line, as the kernel tells it.
    fn consumer(self) -> &'static str {
        match self {
            Input::ExitButton => "menshen exit button",
            Input::DoorContact => "menshen door contact",
            Input::Tamper => "menshen tamper",
        }
    }

    /// What the line is held at while nothing is connected to it. A cut wire must not press the button, and must not
    /// hide an open door.
    fn resting_active(self) -> bool {
        self != Input::ExitButton
    }
}

/// What an input says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is in this state since then. The first one says how it was found.
    State {
        /// Whether it is active.
        active: bool,
        /// Since when, by the kernel's own time of the edge.
        since: Instant,
    },
    /// The line does not rest: a loose wire, or noise. Its last state stays. Told once.
    Chatters,
}

/// One input. It has a thread of its own.
pub trait InputLine: Send {
    /// What it says next, waiting at most so long. `Device` if the line cannot be had or read; the next call tries
    /// again.
    fn next(&mut self, within: Duration) -> Result<Option<Heard>>;
}

/// A line that bounces: a level counts once it has stayed for a while. Times are of the monotonic clock.
#[derive(Debug)]
pub struct Debouncer {
    settle: Duration,
    high: bool,
    burst: Option<Burst>,
}

/// Edges that came too soon one after the other to count.
#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Duration,
    last: Duration,
    high: bool,
    told: bool,
}

/// What a debouncer has made out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The line has another level, since the first edge that led to it.
    Level(bool, Duration),
    /// It does not settle. Told once for each time it began.
    Chatters,
}

impl Debouncer {
    /// For a line that is at a level now. Zero settles at each edge: the kernel has seen to it.
    pub fn new(settle: Duration, high: bool) -> Self {
        Self { settle, high, burst: None }
    }

    /// An edge. Times do not go back.
    pub fn edge(&mut self, at: Duration, high: bool) -> Option<Settled> {
        if self.settle.is_zero() {
            return self.take(high, at);
        }
        match &mut self.burst {
            Some(burst) if at.saturating_sub(burst.last) < self.settle => {
                (burst.last, burst.high) = (at, high);
                let chatters = !burst.told && at.saturating_sub(burst.first) >= CHATTERS_AFTER;
                burst.told |= chatters;
                chatters.then_some(Settled::Chatters)
            }
            earlier => {
                let earlier = earlier.replace(Burst { first: at, last: at, high, told: false });
                // It came to rest unseen: the last edge says where.
                earlier.and_then(|burst| self.take(burst.high, burst.first))
            }
        }
    }

    /// When the level is to be looked at, if it is.
    pub fn due(&self) -> Option<Duration> {
        self.burst.map(|burst| burst.last + self.settle)
    }

    /// The level as it is found, at or after [`Debouncer::due`]. It counts for more than the edges: of a short pulse
    /// the kernel may have told the wrong ones.
    pub fn look(&mut self, high: bool) -> Option<Settled> {
        let burst = self.burst.take()?;
        self.take(high, burst.first)
    }

    fn take(&mut self, high: bool, at: Duration) -> Option<Settled> {
        (std::mem::replace(&mut self.high, high) != high).then_some(Settled::Level(high, at))
    }
}

/// An input on a GPIO line.
pub struct GpioInput {
    input: Input,
    name: Name,
    abi: Abi,
    settle: Duration,
    open: Option<OpenInput>,
    /// What was said last; nothing before the first time.
    said: Option<bool>,
    waiting: VecDeque<Heard>,
}

struct OpenInput {
    edges: Edges,
    /// There are no edges: the line is looked at.
    looked_at: bool,
    debouncer: Debouncer,
    /// There were edges: they come in heaps from here on, if they go on.
    busy: bool,
    batch: Vec<Edge>,
}

/// What may stand behind the name of an input.
const WORDS: [&str; 4] = ["low", "pull-up", "pull-down", "no-pull"];

impl GpioInput {
    /// On the line that is named, which need not be there yet.
    pub fn new(input: Input, name: Name, settle: Duration, abi: Abi) -> Self {
        Self { input, name, abi, settle, open: None, said: None, waiting: VecDeque::new() }
    }

    fn bias(&self) -> Option<Bias> {
        let held_high = self.input.resting_active() != self.name.has("low");
        match () {
            () if self.name.has("no-pull") => None,
            () if self.name.has("pull-up") => Some(Bias::PullUp),
            () if self.name.has("pull-down") => Some(Bias::PullDown),
            () if held_high => Some(Bias::PullUp),
            () => Some(Bias::PullDown),
        }
    }

    fn ask(&self) -> Result<OpenInput> {
        let wanted = Wanted { detect: Detect::Both, bias: self.bias(), debounce: Some(self.settle) };
        let consumer = self.input.consumer();
        let (mut edges, looked_at) = match Edges::open(&self.name, consumer, self.abi, wanted) {
            Ok(edges) => (edges, false),
            // A chip without interrupts, as some on I2C. What else is wrong is wrong again.
            Err(_) => {
                let wanted = Wanted { detect: Detect::Nothing, debounce: None, ..wanted };
                (Edges::open(&self.name, consumer, self.abi, wanted)?, true)
            }
        };
        let mut level = [false];
        edges.levels(&mut level)?;
        let settle = if edges.debounced() { Duration::ZERO } else { self.settle };
        let debouncer = Debouncer::new(settle, level[0]);
        Ok(OpenInput { edges, looked_at, debouncer, busy: false, batch: Vec::new() })
    }

    fn say(&mut self, high: bool, since: Duration) {
        let active = high != self.name.has("low");
        if self.said != Some(active) {
            self.said = Some(active);
            self.waiting.push_back(Heard::State { active, since: gpio::instant(since) });
        }
    }

    fn listen(&mut self, within: Duration) -> Result<()> {
        let Some(open) = &mut self.open else {
            let open = self.ask()?;
            // How it is found is told before anything is waited for.
            self.say(open.debouncer.high, gpio::monotonic());
            self.open = Some(open);
            return Ok(());
        };
        if open.busy {
            std::thread::sleep(PACE);
        }
        let settled = open.hear(within)?;
        for settled in settled {
            match settled {
                Settled::Level(high, since) => self.say(high, since),
                Settled::Chatters => self.waiting.push_back(Heard::Chatters),
            }
        }
        Ok(())
    }
}

impl OpenInput {
    fn hear(&mut self, within: Duration) -> Result<Vec<Settled>> {
        let due = self.debouncer.due().map(|due| due.saturating_sub(gpio::monotonic()));
        let wait = due.map_or(within, |due| due.min(within));
        let mut settled = Vec::new();
        let mut level = [self.debouncer.high];
        if self.looked_at {
            std::thread::sleep(PACE.min(wait));
            self.edges.levels(&mut level)?;
            let was = self.debouncer.burst.map_or(self.debouncer.high, |burst| burst.high);
            if level[0] != was {
                settled.extend(self.debouncer.edge(gpio::monotonic(), level[0]));
            }
        } else if self.edges.wait(wait)? {
            self.batch.clear();
            self.edges.read(&mut self.batch)?;
            for edge in &self.batch {
                settled.extend(self.debouncer.edge(edge.at, edge.high));
            }
        }
        self.busy = !self.batch.is_empty();
        if self.debouncer.due().is_some_and(|due| due <= gpio::monotonic()) {
            self.edges.levels(&mut level)?;
            settled.extend(self.debouncer.look(level[0]));
        }
        Ok(settled)
    }
}

impl InputLine for GpioInput {
    fn next(&mut self, within: Duration) -> Result<Option<Heard>> {
        let until = Instant::now() + within;
        loop {
            if let Some(heard) = self.waiting.pop_front() {
                return Ok(Some(heard));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if let Err(error) = self.listen(left) {
                // How it is found then is said again.
                (self.open, self.said) = (None, None);
                return Err(error);
            }
        }
    }
}

/// The hand on a simulated input.
#[derive(Debug, Clone)]
pub struct Switch(SyncSender<(bool, Instant)>);

impl Switch {
    /// Brings it to a state. `Busy` if nobody listens fast enough.
    pub fn set(&self, active: bool) -> Result<()> {
        self.0.try_send((active, Instant::now())).map_err(|error| match error {
            TrySendError::Full(_) => Error::new(Kind::Busy, "the simulated input is behind: try again"),
            TrySendError::Disconnected(_) => Error::new(Kind::Stopped, "the gate is shutting down"),
        })
    }
}

/// An input that exists in memory only.
pub struct SimulatedInput {
    changes: Receiver<(bool, Instant)>,
    said: Option<bool>,
}

impl SimulatedInput {
    /// At rest, with the hand that moves it.
    pub fn new() -> (Self, Switch) {
        let (hand, changes) = sync_channel(WAITING);
        (Self { changes, said: None }, Switch(hand))
    }
}

impl InputLine for SimulatedInput {
    fn next(&mut self, within: Duration) -> Result<Option<Heard>> {
        let (active, since) = match self.said {
            None => (false, Instant::now()),
            Some(_) => match self.changes.recv_timeout(within) {
                Ok(change) => change,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    std::thread::sleep(within);
                    return Ok(None);
                }
            },
        };
        let changed = self.said.replace(active) != Some(active);
        Ok(changed.then_some(Heard::State { active, since }))
    }
}

/// The inputs of a gate.
#[derive(Default)]
pub struct Inputs {
    /// What is connected.
    pub lines: Vec<(Input, Box<dyn InputLine>)>,
    /// The hands on those that are simulated.
    pub switches: Vec<(Input, Switch)>,
}

impl Inputs {
    /// The inputs that `[device]` names.
    pub fn open(device: &config::Device) -> Result<Self> {
        let mut inputs = Self::default();
        for (input, name) in [
            (Input::ExitButton, &device.exit_button),
            (Input::DoorContact, &device.door_contact),
            (Input::Tamper, &device.tamper),
        ] {
            match name.as_str() {
                "none" => {}
                "sim" => {
                    let (line, switch) = SimulatedInput::new();
                    inputs.lines.push((input, Box::new(line)));
                    inputs.switches.push((input, switch));
                }
                other => {
                    let pulls = |name: &Name| WORDS[1..].iter().filter(|word| name.has(word)).count();
                    let name =
                        Name::parse(other, 1, &WORDS).filter(|name| pulls(name) <= 1).ok_or_else(|| {
                            Error::new(
                                Kind::Config,
                                format!(
                                    "device.{} = {other:?} is not supported by this build: use \"gpio:CHIP:LINE\", with \
                                     \":low\" behind it if the low level is the active one, and \":pull-up\", \
                                     \":pull-down\" or \":no-pull\"; \"sim\" or \"none\"",
                                    input.as_str()
                                ),
                            )
                        })?;
                    let settle = Duration::from_millis(device.debounce_ms.into());
                    inputs.lines.push((input, Box::new(GpioInput::new(input, name, settle, Abi::Newest))));
                }
            }
        }
        Ok(inputs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_millis(30);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_bouncing_button_is_pressed_once() {
        let mut line = Debouncer::new(SETTLE, true);
        assert_eq!(line.due(), None);
        for (at, high) in [(100, false), (101, true), (103, false), (110, false)] {
            assert_eq!(line.edge(ms(at), high), None);
        }
        assert_eq!(line.due(), Some(ms(140)));
        // The level that is found counts, and the first edge says when.
        assert_eq!(line.look(false), Some(Settled::Level(false, ms(100))));
        assert_eq!(line.due(), None);
        // A spike that is over is nothing.
        line.edge(ms(500), true);
        line.edge(ms(501), true);
        assert_eq!(line.look(false), None);
        // Two changes that are read late are both told.
        assert_eq!(line.edge(ms(900), true), None);
        assert_eq!(line.edge(ms(1000), false), Some(Settled::Level(true, ms(900))));
        assert_eq!(line.look(false), Some(Settled::Level(false, ms(1000))));
    }

    #[test]
    fn what_the_kernel_has_settled_is_taken_at_once() {
        let mut line = Debouncer::new(Duration::ZERO, true);
        assert_eq!(line.edge(ms(1), false), Some(Settled::Level(false, ms(1))));
        assert_eq!(line.edge(ms(2), false), None);
        assert_eq!(line.edge(ms(3), true), Some(Settled::Level(true, ms(3))));
        assert_eq!(line.due(), None);
    }

    #[test]
    fn a_line_that_does_not_rest_is_told_of_once() {
        let mut line = Debouncer::new(SETTLE, false);
        let heard: Vec<_> = (0..500).filter_map(|n| line.edge(ms(n * 10), n % 2 == 0)).collect();
        assert_eq!(heard, [Settled::Chatters]);
        assert_eq!(line.look(false), None);
        // And again when it begins anew.
        let heard: Vec<_> = (600..800).filter_map(|n| line.edge(ms(n * 10), n % 2 == 0)).collect();
        assert_eq!(heard, [Settled::Chatters]);
    }

    proptest! {
        /// Whatever comes: levels alternate, what is told stayed for the time that it must, and what stays is told.
        #[test]
        fn only_levels_that_stay_count(steps in prop::collection::vec((1_u64..80, any::<bool>()), 1..200)) {
            let mut line = Debouncer::new(SETTLE, false);
            let (mut now, mut told, mut level) = (0, vec![(false, ms(0))], false);
            let note = |told: &mut Vec<_>, heard: Option<Settled>| match heard {
                Some(Settled::Level(high, at)) => told.push((high, at)),
                Some(Settled::Chatters) | None => {}
            };
            for (pause, seen) in steps {
                now += pause;
                // Either the pause is noticed while it lasts, or only by the next edge.
                if seen && line.due().is_some_and(|due| due <= ms(now)) {
                    let heard = line.look(level);
                    note(&mut told, heard);
                }
                level = !level;
                let heard = line.edge(ms(now), level);
                note(&mut told, heard);
            }
            let heard = line.look(level);
            note(&mut told, heard);
            prop_assert_eq!(told.last().unwrap().0, level);
            for pair in told.windows(2) {
                prop_assert_ne!(pair[0].0, pair[1].0);
                prop_assert!(pair[1].1 >= pair[0].1);
            }
            // The start is no edge: it counts from nowhere.
            for pair in told[1..].windows(2) {
                prop_assert!(pair[1].1 - pair[0].1 >= SETTLE, "{:?}", pair);
            }
        }
    }

    #[test]
    fn inputs_are_named_by_the_configuration() {
        let device = config::Device::default();
        assert!(Inputs::open(&device).unwrap().lines.is_empty());
        let device = config::Device {
            exit_button: "gpio:pinctrl-bcm2711:22:low".into(),
            door_contact: "sim".into(),
            tamper: "gpio:gpiochip0:TAMPER:low:no-pull".into(),
            ..device
        };
        let inputs = Inputs::open(&device).unwrap();
        let named: Vec<_> = inputs.lines.iter().map(|(input, _)| *input).collect();
        assert_eq!(named, Input::ALL);
        assert_eq!(inputs.switches.len(), 1);
        for name in ["gpio:22", "gpio:a:1,2", "gpio:a:1:high", "gpio:a:1:pull-up:pull-down"] {
            let error =
                Inputs::open(&config::Device { tamper: name.into(), ..device.clone() }).err().unwrap();
            assert!(error.message().starts_with("device.tamper = "), "{error}");
        }
        for input in Input::ALL {
            assert_eq!(Input::parse(input.as_str()), Some(input));
            assert_eq!(serde_json::to_value(input).unwrap(), input.as_str());
        }
    }

    #[test]
    fn a_cut_wire_presses_no_button_and_hides_no_door() {
        let bias = |input, text: &str| {
            let name = Name::parse(text, 1, &WORDS).unwrap();
            GpioInput::new(input, name, SETTLE, Abi::Newest).bias()
        };
        assert_eq!(bias(Input::ExitButton, "gpio:a:1:low"), Some(Bias::PullUp));
        assert_eq!(bias(Input::ExitButton, "gpio:a:1"), Some(Bias::PullDown));
        assert_eq!(bias(Input::DoorContact, "gpio:a:1"), Some(Bias::PullUp));
        assert_eq!(bias(Input::Tamper, "gpio:a:1:low"), Some(Bias::PullDown));
        assert_eq!(bias(Input::Tamper, "gpio:a:1:low:pull-up"), Some(Bias::PullUp));
        assert_eq!(bias(Input::DoorContact, "gpio:a:1:no-pull"), None);
    }

    #[test]
    fn a_simulated_input_does_what_the_hand_does() {
        let (mut line, switch) = SimulatedInput::new();
        let next = |line: &mut SimulatedInput| match line.next(Duration::from_millis(1)).unwrap() {
            Some(Heard::State { active, .. }) => Some(active),
            _ => None,
        };
        assert_eq!(next(&mut line), Some(false));
        assert_eq!(next(&mut line), None);
        for active in [true, true, false] {
            switch.set(active).unwrap();
        }
        assert_eq!([next(&mut line), next(&mut line), next(&mut line)], [Some(true), None, Some(false)]);
        for _ in 0..WAITING {
            switch.set(true).unwrap();
        }
        assert_eq!(switch.set(true).unwrap_err().kind(), Kind::Busy);
        drop(line);
        assert_eq!(switch.set(true).unwrap_err().kind(), Kind::Stopped);
    }
}
