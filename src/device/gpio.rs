//! GPIO lines over the kernel's character device: finding a chip and its lines by the name that the configuration
//! gives them, driving outputs, and edges with the time at which the kernel saw them.
//!
//! # Names
//! `gpio:CHIP:LINE`, or `gpio:CHIP:LINE,LINE` where a device has two, with words behind it that the device knows:
//!
//! * CHIP is a path (`/dev/gpiochip0`), the kernel's name (`gpiochip0`) or the label that the driver gives the chip
//!   (`pinctrl-bcm2711`). Kernels number chips in the order in which they find them: a label stays.
//! * LINE is a number within the chip, or the name that the board's device tree gives the line.
//!
//! # Two ABIs
//! Version 2 of the character device came with Linux 5.10; kernels of board vendors before it have version 1 only.
//! `gpiocdev` chooses the newer one that is there. What differs is written where it matters: version 1 has one line
//! in each request for edges, no debounce, and before Linux 5.7 it stamps edges by the wall clock.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Value, Values};
use gpiocdev::request::{Builder, Request};
use gpiocdev::{AbiVersion, Chip};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::error::{Error, Kind, Result};

/// Names that an error lists at most.
const LISTED: usize = 40;

/// Edges that one read takes, so that a line that never rests cannot hold its reader.
const EDGES_AT_ONCE: usize = 256;

/// Edges that the kernel keeps for a request of ABI version 2: more than two Wiegand frames. Version 1 keeps 16 for
/// each line, whatever it is asked.
const EDGES_KEPT: u32 = 256;

/// The oldest edge whose stamp is believed.
const OLDEST: Duration = Duration::from_secs(60);

/// Words that stand behind a name and are no names of lines: one that a device does not know is a mistake.
pub(crate) const WORDS: [&str; 6] = ["low", "high", "inverted", "pull-up", "pull-down", "no-pull"];

/// How the kernel's interface is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Abi {
    /// The newest that there is.
    #[default]
    Newest,
    /// Version 1, for trying it out where version 2 is there too.
    V1,
    /// Version 2.
    V2,
}

/// A line as it is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineName {
    /// Its number within the chip.
    Number(u32),
    /// Its name in the device tree.
    Name(String),
}

impl fmt::Display for LineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineName::Number(number) => write!(f, "{number}"),
            LineName::Name(name) => write!(f, "{name:?}"),
        }
    }
}

/// Lines as the configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Path, name or label of the chip.
    pub chip: String,
    /// The lines, as many as the device has.
    pub lines: Vec<LineName>,
    /// What stands behind them.
    pub words: Vec<String>,
}

impl Name {
    /// Reads what stands behind `gpio:`, for a device with `lines` lines that knows `words`. `None` if it cannot be.
    /// A chip's label may have colons in it, so it is read from the end.
    pub fn parse(text: &str, lines: usize, words: &[&str]) -> Option<Self> {
        let mut rest = text.strip_prefix("gpio:")?;
        let mut behind = Vec::new();
        let (chip, named) = loop {
            let (before, last) = rest.rsplit_once(':')?;
            if !words.contains(&last) {
                break (before, last);
            }
            behind.insert(0, last.to_owned());
            rest = before;
        };
        let line = |text: &str| match text.parse() {
            Ok(number) => LineName::Number(number),
            Err(_) => LineName::Name(text.to_owned()),
        };
        let named: Vec<_> = named.split(',').map(str::trim).collect();
        let distinct = named.iter().enumerate().all(|(index, name)| !named[..index].contains(name));
        let mistaken = named.iter().any(|name| WORDS.contains(name));
        let sound = !chip.is_empty() && named.len() == lines && distinct && !mistaken;
        (sound && named.iter().all(|name| !name.is_empty())).then(|| Self {
            chip: chip.to_owned(),
            lines: named.into_iter().map(line).collect(),
            words: behind,
        })
    }

    /// Whether `word` stands behind it.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().any(|one| one == word)
    }
}

/// A chip of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChipFacts {
    /// Where it is.
    pub path: PathBuf,
    /// What its driver calls it; may be empty.
    pub label: String,
    /// How many lines it has.
    pub lines: u32,
}

impl ChipFacts {
    /// `gpiochip0`.
    fn name(&self) -> &str {
        name_of(&self.path)
    }
}

impl fmt::Display for ChipFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}] ({} lines)", self.name(), self.label, self.lines)
    }
}

/// A chip that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It can be used.
    Chip(ChipFacts),
    /// It cannot be opened, and why.
    Closed(PathBuf, String),
}

/// A line of a chip, at the place of its number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LineFacts {
    /// Its name; empty without one.
    pub name: String,
    /// Who has it: the name that they gave.
    pub used_by: Option<String>,
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("?")
}

/// The chips of this machine.
pub fn chips() -> Vec<Seen> {
    let paths = gpiocdev::chip::chips().unwrap_or_default();
    paths.into_iter().map(|path| look(&path).unwrap_or_else(|why| Seen::Closed(path, why))).collect()
}

/// One chip; why it cannot be opened otherwise.
fn look(path: &Path) -> Result<Seen, String> {
    std::fs::File::open(path).map_err(|error| error.to_string())?;
    let chip = Chip::from_path(path).map_err(|error| error.to_string())?;
    let info = chip.info().map_err(|error| error.to_string())?;
    Ok(Seen::Chip(ChipFacts { path: chip.path().to_owned(), label: info.label, lines: info.num_lines }))
}

/// The lines of a chip.
pub fn lines(chip: &ChipFacts) -> Result<Vec<LineFacts>> {
    let failed = |error: gpiocdev::Error| {
        Error::caused(
            Kind::Device,
            format!("the lines of the GPIO chip {chip} cannot be listed: see `dmesg`"),
            error,
        )
    };
    let device = Chip::from_path(&chip.path).map_err(failed)?;
    let infos = device.line_info_iter().map_err(failed)?;
    infos
        .map(|info| {
            let info = info.map_err(failed)?;
            let used_by = info.used.then(|| match info.consumer.as_str() {
                "" => "the kernel".to_owned(),
                consumer => consumer.to_owned(),
            });
            Ok(LineFacts { name: info.name, used_by })
        })
        .collect()
}

/// Everything of a list that an error may show.
fn listed<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut texts: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    let more = texts.len().saturating_sub(LISTED);
    texts.truncate(LISTED);
    match more {
        0 => texts.join(", "),
        more => format!("{} and {more} more", texts.join(", ")),
    }
}

const GROUP: &str = "put this user into the group that owns it (group gpio), or see the udev rules";

/// The chip that is meant. `NotFound` with those that are there; `Device` for one that cannot be opened.
pub fn choose_chip<'a>(wanted: &str, seen: &'a [Seen]) -> Result<&'a ChipFacts> {
    let names = |path: &Path| path == Path::new(wanted) || name_of(path) == wanted;
    let closed = seen.iter().find_map(|one| match one {
        Seen::Closed(path, why) if names(path) => Some((path, why)),
        _ => None,
    });
    if let Some((path, why)) = closed {
        let text = format!("the GPIO chip {} cannot be opened ({why}): {GROUP}", path.display());
        return Err(Error::new(Kind::Device, text));
    }
    let chips = || {
        seen.iter().filter_map(|one| match one {
            Seen::Chip(chip) => Some(chip),
            Seen::Closed(..) => None,
        })
    };
    let by_place = chips().find(|chip| names(&chip.path));
    let by_label: Vec<_> = chips().filter(|chip| chip.label == wanted).collect();
    match (by_place, by_label.as_slice()) {
        (Some(chip), _) => Ok(chip),
        (None, [chip]) => Ok(*chip),
        (None, []) => {
            let there = listed(seen.iter().map(|one| match one {
                Seen::Chip(chip) => chip.to_string(),
                Seen::Closed(path, why) => format!("{} ({why})", name_of(path)),
            }));
            let advice = if seen.is_empty() {
                "this machine has no GPIO chip at all: is its driver in the kernel?".to_owned()
            } else if seen.iter().any(|one| matches!(one, Seen::Closed(..))) {
                format!("there are {there}; {GROUP}")
            } else {
                format!("there are {there}: name one of them by label or number")
            };
            Err(Error::new(Kind::NotFound, format!("no GPIO chip is called {wanted:?}: {advice}")))
        }
        (None, several) => Err(Error::new(
            Kind::Device,
            format!(
                "{} GPIO chips are called {wanted:?} ({}): name the one that is meant by its path",
                several.len(),
                listed(several)
            ),
        )),
    }
}

/// The number of the line that is meant. `NotFound` with those that are there.
pub fn choose_line(wanted: &LineName, chip: &ChipFacts, lines: &[LineFacts]) -> Result<u32> {
    let nothing = |advice: String| {
        Error::new(Kind::NotFound, format!("the GPIO chip {chip} has no line {wanted}: {advice}"))
    };
    match wanted {
        LineName::Number(number) if *number < chip.lines => Ok(*number),
        LineName::Number(_) => Err(nothing(format!("its lines are 0 to {}", chip.lines.saturating_sub(1)))),
        LineName::Name(name) => {
            let mut named = (0..).zip(lines).filter(|(_, line)| line.name == *name).map(|(number, _)| number);
            match (named.next(), named.next()) {
                (Some(number), None) => Ok(number),
                (Some(first), Some(second)) => Err(Error::new(
                    Kind::Device,
                    format!(
                        "two lines of the GPIO chip {chip} are called {name:?} ({first} and {second}): name the one \
                         that is meant by its number"
                    ),
                )),
                (None, _) => {
                    let names: Vec<_> =
                        lines.iter().map(|line| line.name.as_str()).filter(|name| !name.is_empty()).collect();
                    Err(nothing(match names.as_slice() {
                        [] => "none of its lines has a name, so name it by its number".to_owned(),
                        names => format!("its named lines are {}", listed(names)),
                    }))
                }
            }
        }
    }
}

/// Where lines are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Their chip.
    pub chip: ChipFacts,
    /// Their numbers, in the order of the name.
    pub offsets: Vec<u32>,
}

/// Finds the lines that are named, among the chips of this machine.
pub fn find(name: &Name) -> Result<Place> {
    // A path may be a link that udev made.
    let wanted = match name.chip.starts_with('/') {
        true => std::fs::canonicalize(&name.chip).unwrap_or_else(|_| name.chip.clone().into()),
        false => name.chip.clone().into(),
    };
    let wanted = wanted.to_string_lossy();
    let chip = choose_chip(&wanted, &chips())?.clone();
    let lines = lines(&chip)?;
    let offsets =
        name.lines.iter().map(|line| choose_line(line, &chip, &lines)).collect::<Result<Vec<_>>>()?;
    match offsets.as_slice() {
        [one, other] if one == other => Err(Error::new(
            Kind::Config,
            format!("both lines are line {one} of the GPIO chip {chip}: name two different ones"),
        )),
        _ => Ok(Place { chip, offsets }),
    }
}

/// Whether the lines that a device's name in the configuration means are there and free, without taking them. Ok for what
/// is no name of lines.
pub fn examine(text: &str) -> Result<()> {
    let Some(name) = [1, 2].into_iter().find_map(|count| Name::parse(text, count, &WORDS)) else {
        return Ok(());
    };
    let place = find(&name)?;
    match in_use(&place, &lines(&place.chip)?) {
        Some(text) => Err(Error::new(Kind::Device, text)),
        None => Ok(()),
    }
}

/// Who has one of these lines, and what to do; `None` if they are free.
fn in_use(place: &Place, lines: &[LineFacts]) -> Option<String> {
    place.offsets.iter().find_map(|offset| {
        let user = lines.get(*offset as usize)?.used_by.as_ref()?;
        Some(format!(
            "line {offset} of the GPIO chip {} is in use by {user:?}: stop that program, or take the line from it in the \
             device tree",
            place.chip
        ))
    })
}

/// Asks the kernel for lines; what is in the way is said.
fn request(place: &Place, consumer: &str, abi: Abi, configure: impl FnOnce(&mut Builder)) -> Result<Request> {
    let mut builder = Request::builder();
    builder.on_chip(&place.chip.path).with_consumer(consumer);
    match abi {
        Abi::Newest => {}
        Abi::V1 => drop(builder.using_abi_version(AbiVersion::V1)),
        Abi::V2 => drop(builder.using_abi_version(AbiVersion::V2)),
    }
    configure(&mut builder);
    builder.request().map_err(|error| {
        let used = lines(&place.chip).ok().and_then(|lines| in_use(place, &lines));
        let text = used.unwrap_or_else(|| {
            format!(
                "the lines {:?} of the GPIO chip {} cannot be had: can they be used so? see `dmesg`",
                place.offsets, place.chip
            )
        });
        Error::caused(Kind::Device, text, error)
    })
}

/// Output lines that belong to one device. They are asked for when they are driven first, at the level that is wanted
/// then, so that nothing moves before; and again when the chip was gone.
pub struct Output {
    name: Name,
    consumer: &'static str,
    abi: Abi,
    open: Option<Driven>,
}

struct Driven {
    request: Request,
    place: Place,
    /// Kept, so that a pulse costs no allocation.
    values: Values,
}

impl Driven {
    fn put(&mut self, levels: &[bool]) {
        for (offset, level) in self.place.offsets.iter().zip(levels) {
            self.values.set(*offset, value(*level));
        }
    }
}

fn value(high: bool) -> Value {
    if high { Value::Active } else { Value::Inactive }
}

impl Output {
    /// Lines that `consumer` is to have; they need not be there yet.
    pub fn new(name: Name, consumer: &'static str, abi: Abi) -> Self {
        Self { name, consumer, abi, open: None }
    }

    /// Puts the lines to levels (true is high), in the order of the name. Returns when they have them.
    pub fn set(&mut self, levels: &[bool]) -> Result<()> {
        if let Some(open) = &mut self.open {
            open.put(levels);
            let Err(error) = open.request.set_values(&open.values) else { return Ok(()) };
            // A chip on a bus may have been gone and be back.
            tracing::debug!(%error, lines = self.consumer, "GPIO lines are asked for again");
            self.open = None;
        }
        self.ask(levels)
    }

    fn ask(&mut self, levels: &[bool]) -> Result<()> {
        let place = find(&self.name)?;
        let mut values = Values::default();
        for (offset, level) in place.offsets.iter().zip(levels) {
            values.set(*offset, value(*level));
        }
        let request = request(&place, self.consumer, self.abi, |builder| {
            builder.with_output_lines(&values);
        })?;
        self.open = Some(Driven { request, place, values });
        Ok(())
    }
}

/// Which edges are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detect {
    /// Falling ones. Of a pulse that is over before the kernel looks at the line, both edges would read as rising.
    Falling,
    /// Rising ones.
    Rising,
    /// Both.
    Both,
    /// None: the line is only looked at. For chips without interrupts.
    Nothing,
}

/// What is wanted of input lines.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Which edges.
    pub detect: Detect,
    /// What holds the line while nobody drives it; `None` leaves it as it is.
    pub bias: Option<Bias>,
    /// How long a level must stay to count, for the kernel to see to where it can.
    pub debounce: Option<Duration>,
}

/// An edge, as the kernel has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Which line, in the order of the name.
    pub line: usize,
    /// When, by the monotonic clock.
    pub at: Duration,
    /// Whether it rose.
    pub high: bool,
}

/// Input lines whose edges are read.
pub struct Edges {
    /// One for all lines; one for each line with version 1 of the ABI.
    requests: Vec<(Request, Vec<usize>)>,
    place: Place,
    values: Values,
    /// The number of the last edge, where the kernel counts them.
    last: Option<u32>,
    debounced: bool,
    buffer: Vec<u64>,
}

/// What became of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The kernel had no room for edges, and some are lost. Only version 2 of the ABI tells.
    pub lost: bool,
    /// All edges up to this moment have been read, by the monotonic clock.
    pub until: Duration,
}

impl Edges {
    /// Asks for lines. What the chip cannot do (bias, debounce) is left out.
    pub fn open(name: &Name, consumer: &'static str, abi: Abi, wanted: Wanted) -> Result<Self> {
        let place = find(name)?;
        let abi = match abi {
            Abi::Newest if !newest(&place.chip) => Abi::V1,
            Abi::Newest => Abi::V2,
            chosen => chosen,
        };
        // The least that it can be done without comes last.
        let mut attempts = vec![wanted];
        if abi == Abi::V1 {
            attempts[0].debounce = None;
        } else if wanted.debounce.is_some() {
            attempts.push(Wanted { debounce: None, ..wanted });
        }
        if wanted.bias.is_some() {
            attempts.push(Wanted { debounce: None, bias: None, ..wanted });
        }
        let mut outcome = Err(Error::new(Kind::Device, "no attempt"));
        for attempt in attempts {
            outcome = requests(&place, consumer, abi, attempt).map(|requests| (requests, attempt));
            if outcome.is_ok() {
                break;
            }
        }
        let (requests, had) = outcome?;
        let values = Values::from_offsets(&place.offsets);
        let words = requests[0].0.edge_event_u64_size();
        Ok(Self {
            requests,
            place,
            values,
            last: None,
            debounced: had.debounce.is_some(),
            buffer: vec![0; 16 * words],
        })
    }

    /// Whether the kernel sees to the debounce.
    pub fn debounced(&self) -> bool {
        self.debounced
    }

    fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let text = format!(
            "the lines {:?} of the GPIO chip {} cannot be read: is the chip still there? see `dmesg`",
            self.place.offsets, self.place.chip
        );
        Error::caused(Kind::Device, text, error)
    }

    /// Waits until there is an edge, at most so long; whether there is one.
    pub fn wait(&self, within: Duration) -> Result<bool> {
        let mut ready: Vec<_> =
            self.requests.iter().map(|(request, _)| PollFd::new(request, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: within.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: within.subsec_nanos().into(),
        };
        match poll(&mut ready, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(errno) => return Err(self.failed(std::io::Error::from(errno))),
        }
        // A chip that is unplugged wakes whoever waits.
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        if ready.iter().any(|one| one.revents().intersects(gone)) {
            return Err(self.failed(std::io::Error::from(Errno::NODEV)));
        }
        Ok(true)
    }

    /// Adds the edges that wait, at most [`EDGES_AT_ONCE`], in the order in which the kernel gives them: for lines
    /// that have a request each, sort them by their time.
    pub fn read(&mut self, edges: &mut Vec<Edge>) -> Result<Reading> {
        let now = Now::read();
        let mut reading = Reading { lost: false, until: now.monotonic };
        let mut left = EDGES_AT_ONCE;
        for (request, lines) in &self.requests {
            let failed = |error: gpiocdev::Error| {
                Error::caused(Kind::Device, "edges of GPIO lines cannot be read: see `dmesg`", error)
            };
            let words = request.edge_event_u64_size();
            while left > 0 && request.has_edge_event().map_err(failed)? {
                let filled = request.read_edge_events_into_slice(&mut self.buffer).map_err(failed)?;
                for event in self.buffer[..filled].chunks_exact(words) {
                    let event = request.edge_event_from_slice(event).map_err(failed)?;
                    left = left.saturating_sub(1);
                    // Version 1 does not count, and leaves 0.
                    if event.seqno != 0 {
                        reading.lost |= self.last.is_some_and(|last| event.seqno != last.wrapping_add(1));
                        self.last = Some(event.seqno);
                    }
                    let Some(line) =
                        lines.iter().copied().find(|line| self.place.offsets[*line] == event.offset)
                    else {
                        continue;
                    };
                    edges.push(Edge {
                        line,
                        at: now.place(Duration::from_nanos(event.timestamp_ns)),
                        high: event.kind == EdgeKind::Rising,
                    });
                }
            }
        }
        Ok(reading)
    }

    /// The levels of the lines now, in the order of the name.
    pub fn levels(&mut self, levels: &mut [bool]) -> Result<()> {
        for (request, lines) in &self.requests {
            for line in lines {
                let offset = self.place.offsets[*line];
                let value = if lines.len() == 1 {
                    request.value(offset)
                } else {
                    request.values(&mut self.values).map(|()| self.values.get(offset).unwrap_or_default())
                };
                let value = value.map_err(|error| self.failed(error))?;
                if let Some(level) = levels.get_mut(*line) {
                    *level = value == Value::Active;
                }
            }
        }
        Ok(())
    }
}

/// Whether the kernel speaks version 2 of the ABI.
fn newest(chip: &ChipFacts) -> bool {
    Chip::from_path(&chip.path).is_ok_and(|chip| chip.supports_abi_version(AbiVersion::V2).is_ok())
}

fn requests(place: &Place, consumer: &str, abi: Abi, wanted: Wanted) -> Result<Vec<(Request, Vec<usize>)>> {
    let ask = |offsets: &[u32]| {
        let place = Place { chip: place.chip.clone(), offsets: offsets.to_vec() };
        request(&place, consumer, abi, |builder| {
            builder.as_input();
            if let Some(bias) = wanted.bias {
                builder.with_bias(bias);
            }
            match wanted.detect {
                Detect::Falling => drop(builder.with_edge_detection(EdgeDetection::FallingEdge)),
                Detect::Rising => drop(builder.with_edge_detection(EdgeDetection::RisingEdge)),
                Detect::Both => drop(builder.with_edge_detection(EdgeDetection::BothEdges)),
                Detect::Nothing => {}
            }
            if let Some(debounce) = wanted.debounce {
                builder.with_debounce_period(debounce);
            }
            // The library needs them in order.
            let mut offsets = offsets.to_vec();
            offsets.sort_unstable();
            // Version 1 has none to choose, and nothing to keep where there are no edges.
            if abi != Abi::V1 && wanted.detect != Detect::Nothing {
                builder.with_kernel_event_buffer_size(EDGES_KEPT);
            }
            builder.with_lines(&offsets);
        })
    };
    let all: Vec<usize> = (0..place.offsets.len()).collect();
    if abi == Abi::V1 {
        all.into_iter().map(|line| Ok((ask(&[place.offsets[line]])?, vec![line]))).collect()
    } else {
        Ok(vec![(ask(&place.offsets)?, all)])
    }
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: Duration,
    /// `CLOCK_REALTIME`.
    pub realtime: Duration,
}

impl Now {
    /// Now.
    pub fn read() -> Self {
        Self { monotonic: clock(ClockId::Monotonic), realtime: clock(ClockId::Realtime) }
    }

    /// The time of an edge by the monotonic clock. Linux before 5.7 stamps by the wall clock, and says so nowhere:
    /// the clock by which an edge is of the last minute is the one. A stamp that is neither is taken for now.
    pub fn place(&self, stamp: Duration) -> Duration {
        let age = |now: Duration| now.checked_sub(stamp).filter(|age| *age <= OLDEST);
        match (age(self.monotonic), age(self.realtime)) {
            (Some(_), _) => stamp,
            (None, Some(age)) => self.monotonic.saturating_sub(age),
            (None, None) => self.monotonic,
        }
    }
}

fn clock(id: ClockId) -> Duration {
    let now = clock_gettime(id);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// The monotonic clock, as edges are stamped.
pub fn monotonic() -> Duration {
    clock(ClockId::Monotonic)
}

/// A moment of the monotonic clock as an [`Instant`], which is of the same clock and tells nobody its number.
pub fn instant(at: Duration) -> Instant {
    let now = Instant::now();
    now.checked_sub(monotonic().saturating_sub(at)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chip(number: u32, label: &str, lines: u32) -> ChipFacts {
        ChipFacts { path: format!("/dev/gpiochip{number}").into(), label: label.into(), lines }
    }

    fn named(names: &[&str]) -> Vec<LineFacts> {
        names.iter().map(|name| LineFacts { name: (*name).into(), used_by: None }).collect()
    }

    #[test]
    fn names_are_read_from_the_end() {
        let parse = |text| Name::parse(text, 1, &["low", "up"]);
        let name = parse("gpio:/dev/gpiochip0:17").unwrap();
        assert_eq!((name.chip.as_str(), &name.lines[..]), ("/dev/gpiochip0", &[LineName::Number(17)][..]));
        assert!(!name.has("low"));
        // ACPI labels have colons.
        let name = parse("gpio:INT33FF:00:RELAY1:up:low").unwrap();
        assert_eq!((name.chip.as_str(), &name.lines[0]), ("INT33FF:00", &LineName::Name("RELAY1".into())));
        assert!(name.has("low") && name.has("up"));
        let pair = Name::parse("gpio:pinctrl-bcm2711:5, WG_D1", 2, &[]).unwrap();
        assert_eq!(pair.lines, [LineName::Number(5), LineName::Name("WG_D1".into())]);
        for text in [
            "gpio:17",
            "gpio:",
            "gpio::17",
            "gpio:a:",
            "gpio:a:1,2",
            "17",
            "gpio:low",
            "gpio:a:low",
            "gpio:a:1:high",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        for text in ["gpio:a:1", "gpio:a:1,", "gpio:a:1,1", "gpio:a:1,2:low"] {
            assert_eq!(Name::parse(text, 2, &[]), None, "{text}");
        }
    }

    #[test]
    fn chips_are_found_by_path_name_and_label() {
        let seen = [
            Seen::Chip(chip(0, "pinctrl-bcm2711", 58)),
            Seen::Chip(chip(1, "raspberrypi-exp-gpio", 8)),
            Seen::Closed("/dev/gpiochip2".into(), "Permission denied (os error 13)".into()),
            Seen::Chip(chip(3, "pca9555", 16)),
            Seen::Chip(chip(4, "pca9555", 16)),
        ];
        for wanted in ["/dev/gpiochip0", "gpiochip0", "pinctrl-bcm2711"] {
            assert_eq!(choose_chip(wanted, &seen).unwrap().path, Path::new("/dev/gpiochip0"), "{wanted}");
        }
        let refused = |wanted| choose_chip(wanted, &seen).unwrap_err();
        assert_eq!(
            refused("gpiochip2").message(),
            "the GPIO chip /dev/gpiochip2 cannot be opened (Permission denied (os error 13)): put this user into the \
             group that owns it (group gpio), or see the udev rules"
        );
        assert_eq!(
            refused("pca9555").message(),
            "2 GPIO chips are called \"pca9555\" (gpiochip3 [pca9555] (16 lines), gpiochip4 [pca9555] (16 lines)): \
             name the one that is meant by its path"
        );
        let error = refused("gpio-sim");
        assert_eq!(error.kind(), Kind::NotFound);
        for part in
            ["no GPIO chip is called \"gpio-sim\"", "gpiochip0 [pinctrl-bcm2711] (58 lines)", "group gpio"]
        {
            assert!(error.message().contains(part), "{error}");
        }
        let error = choose_chip("gpiochip0", &[]).unwrap_err();
        assert!(
            error.message().ends_with("this machine has no GPIO chip at all: is its driver in the kernel?")
        );
        let error = choose_chip("nine", &seen[..1]).unwrap_err();
        assert!(error.message().ends_with("name one of them by label or number"), "{error}");
    }

    #[test]
    fn lines_are_found_by_number_and_name() {
        let chip = chip(0, "gate-io", 4);
        let lines = named(&["", "relay-lock", "twice", "twice"]);
        let find = |wanted: &LineName| choose_line(wanted, &chip, &lines);
        assert_eq!(find(&LineName::Number(3)).unwrap(), 3);
        assert_eq!(find(&LineName::Name("relay-lock".into())).unwrap(), 1);
        assert_eq!(
            find(&LineName::Number(4)).unwrap_err().message(),
            "the GPIO chip gpiochip0 [gate-io] (4 lines) has no line 4: its lines are 0 to 3"
        );
        assert_eq!(
            find(&LineName::Name("door".into())).unwrap_err().message(),
            "the GPIO chip gpiochip0 [gate-io] (4 lines) has no line \"door\": its named lines are relay-lock, twice, \
             twice"
        );
        assert!(find(&LineName::Name("twice".into())).unwrap_err().message().contains("(2 and 3)"));
        let nameless = choose_line(&LineName::Name("x".into()), &chip, &named(&["", ""])).unwrap_err();
        assert!(nameless.message().ends_with("name it by its number"), "{nameless}");
        let many = listed(0..LISTED + 2);
        assert!(many.ends_with("39 and 2 more"), "{many}");
    }

    #[test]
    fn who_has_a_line_is_said() {
        let mut lines = named(&["", "relay-lock", "", ""]);
        let place = Place { chip: chip(0, "gate-io", 4), offsets: vec![0, 1] };
        assert_eq!(in_use(&place, &lines), None);
        lines[1].used_by = Some("sysfs".into());
        assert_eq!(
            in_use(&place, &lines).unwrap(),
            "line 1 of the GPIO chip gpiochip0 [gate-io] (4 lines) is in use by \"sysfs\": stop that program, or take \
             the line from it in the device tree"
        );
        // What is no name of lines is no business of this.
        for name in ["sim", "none", "serial:/dev/ttyS1", "gpio:"] {
            examine(name).unwrap();
        }
        let error = examine("gpio:no such chip:5,6:inverted").unwrap_err();
        assert!(error.message().starts_with("no GPIO chip is called"), "{error}");
    }

    #[test]
    fn edges_are_placed_by_whichever_clock_stamped_them() {
        let seconds = Duration::from_secs;
        let now = Now { monotonic: seconds(500), realtime: seconds(1_800_000_000) };
        assert_eq!(now.place(seconds(499)), seconds(499));
        assert_eq!(now.place(seconds(1_799_999_990)), seconds(490));
        // Neither: a clock that was set meanwhile.
        assert_eq!(now.place(seconds(1_700_000_000)), seconds(500));
        assert_eq!(now.place(seconds(501)), seconds(500));
        let ago = Instant::now() - instant(monotonic() - seconds(2));
        assert!((Duration::from_millis(1990)..seconds(3)).contains(&ago), "{ago:?}");
    }
}
