//! What can be set on a camera: brightness, exposure, focus and whatever else its driver has.

use std::fmt;
use std::os::fd::AsFd as _;

use rustix::io::Errno;
use serde::Serialize;

use super::kernel::{self, Plain as _, QueryControl, QueryMenu};
use super::node::{Node, Selector, beside, refused, text};
use crate::error::{Error, Kind, Result};

/// Ids of the controls that a camera is likely to have (`V4L2_CID_…` of `linux/v4l2-controls.h`).
pub mod id {
    /// Brightness.
    pub const BRIGHTNESS: u32 = 0x0098_0900;
    /// Contrast.
    pub const CONTRAST: u32 = 0x0098_0901;
    /// Saturation.
    pub const SATURATION: u32 = 0x0098_0902;
    /// Hue.
    pub const HUE: u32 = 0x0098_0903;
    /// White balance by itself, a switch.
    pub const AUTO_WHITE_BALANCE: u32 = 0x0098_090c;
    /// Gamma.
    pub const GAMMA: u32 = 0x0098_0910;
    /// Exposure of old drivers, without a unit.
    pub const EXPOSURE: u32 = 0x0098_0911;
    /// Gain by itself, a switch.
    pub const AUTO_GAIN: u32 = 0x0098_0912;
    /// Gain.
    pub const GAIN: u32 = 0x0098_0913;
    /// Hue by itself, a switch.
    pub const AUTO_HUE: u32 = 0x0098_0919;
    /// White balance in kelvin.
    pub const WHITE_BALANCE_TEMPERATURE: u32 = 0x0098_091a;
    /// Sharpness.
    pub const SHARPNESS: u32 = 0x0098_091b;
    /// Backlight compensation.
    pub const BACKLIGHT_COMPENSATION: u32 = 0x0098_091c;
    /// Brightness by itself, a switch.
    pub const AUTO_BRIGHTNESS: u32 = 0x0098_0920;
    /// Rotation in degrees.
    pub const ROTATE: u32 = 0x0098_0922;
    /// Exposure by itself, a menu: 0 all, 1 nothing, 2 iris alone, 3 time alone.
    pub const AUTO_EXPOSURE: u32 = 0x009a_0901;
    /// Time of exposure in 100 microseconds.
    pub const EXPOSURE_ABSOLUTE: u32 = 0x009a_0902;
    /// Pan in seconds of arc.
    pub const PAN_ABSOLUTE: u32 = 0x009a_0908;
    /// Tilt in seconds of arc.
    pub const TILT_ABSOLUTE: u32 = 0x009a_0909;
    /// Focus, without a unit.
    pub const FOCUS_ABSOLUTE: u32 = 0x009a_090a;
    /// Focus by itself, a switch.
    pub const AUTO_FOCUS: u32 = 0x009a_090c;
    /// Zoom, without a unit.
    pub const ZOOM_ABSOLUTE: u32 = 0x009a_090d;
    /// Iris, without a unit.
    pub const IRIS_ABSOLUTE: u32 = 0x009a_0911;
}

/// The control that makes another one follow the light by itself.
pub fn automatic_of(control: u32) -> Option<u32> {
    match control {
        id::BRIGHTNESS => Some(id::AUTO_BRIGHTNESS),
        id::HUE => Some(id::AUTO_HUE),
        id::GAIN => Some(id::AUTO_GAIN),
        id::WHITE_BALANCE_TEMPERATURE => Some(id::AUTO_WHITE_BALANCE),
        id::EXPOSURE | id::EXPOSURE_ABSOLUTE | id::IRIS_ABSOLUTE => Some(id::AUTO_EXPOSURE),
        id::FOCUS_ABSOLUTE => Some(id::AUTO_FOCUS),
        _ => None,
    }
}

/// What values a control has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlKind {
    /// A number of 32 bits.
    Integer,
    /// 0 or 1.
    Switch,
    /// One of named entries.
    Menu,
    /// Does something when it is set to anything.
    Button,
    /// A number of 64 bits.
    Integer64,
    /// A text; its range is that of its length.
    Text,
    /// Bits.
    Bits,
    /// One of entries that are numbers.
    NumberMenu,
    /// A structure or a list, which only a program that knows it can set.
    Compound,
}

impl ControlKind {
    /// From `v4l2_ctrl_type`; `None` for the headings between controls.
    fn of(kind: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Integer,
            2 => Self::Switch,
            3 => Self::Menu,
            4 => Self::Button,
            5 => Self::Integer64,
            6 => return None,
            7 => Self::Text,
            8 => Self::Bits,
            9 => Self::NumberMenu,
            _ => Self::Compound,
        })
    }
}

/// Why a control is not like others. Names as in `V4L2_CTRL_FLAG_…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ControlFlags {
    /// Another program holds it, or it cannot change while the camera streams.
    pub grabbed: bool,
    /// Cannot be set.
    pub read_only: bool,
    /// Has no effect now: another control (its automatic one) rules.
    pub inactive: bool,
    /// Cannot be read.
    pub write_only: bool,
    /// Changes by itself.
    pub volatile: bool,
}

impl ControlFlags {
    fn of(bits: u32) -> Self {
        Self {
            grabbed: bits & 0x2 != 0,
            read_only: bits & 0x4 != 0,
            inactive: bits & 0x10 != 0,
            write_only: bits & 0x40 != 0,
            volatile: bits & 0x80 != 0,
        }
    }
}

/// An entry of a menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MenuEntry {
    /// What the control is set to.
    pub index: i64,
    /// What that means.
    pub name: String,
}

/// What a control is set to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A number; of a switch 0 or 1, of a menu the index of the entry.
    Number(i64),
    /// A text.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// One control of a camera.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Control {
    /// Its id ([`id`]).
    pub id: u32,
    /// Its name for commands: what the driver calls it in lower case, with `_` for all but letters and digits.
    pub name: String,
    /// What the driver calls it.
    pub title: String,
    /// What values it has.
    pub kind: ControlKind,
    /// Least value.
    pub minimum: i64,
    /// Largest value.
    pub maximum: i64,
    /// Values are `minimum` and so many times this more.
    pub step: u64,
    /// As which it starts.
    pub default: i64,
    /// Its entries, if it is a menu.
    pub menu: Vec<MenuEntry>,
    /// Why it is not like others.
    pub flags: ControlFlags,
    /// What it is set to; `None` if it cannot be read.
    pub value: Option<Value>,
}

/// A name of the driver as a name for commands.
fn name_of(title: &str) -> String {
    let mut name = String::with_capacity(title.len());
    for character in title.chars() {
        if character.is_ascii_alphanumeric() {
            name.push(character.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    name.truncate(name.trim_end_matches('_').len());
    name
}

impl Control {
    /// From what the kernel says; `None` for headings and what the driver has switched off.
    fn of(said: &QueryControl) -> Option<Self> {
        const DISABLED: u32 = 0x1;
        if said.flags & DISABLED != 0 {
            return None;
        }
        let kind = ControlKind::of(said.kind)?;
        // A list of numbers is a compound whatever its elements are.
        let kind = if said.dimensions > 0 { ControlKind::Compound } else { kind };
        let title = text(&said.name);
        Some(Self {
            id: said.id,
            name: name_of(&title),
            title,
            kind,
            minimum: said.minimum,
            maximum: said.maximum,
            step: said.step,
            default: said.default,
            menu: Vec::new(),
            flags: ControlFlags::of(said.flags),
            value: None,
        })
    }

    fn wide(&self) -> bool {
        self.kind == ControlKind::Integer64
    }

    /// What it shows: the entry of a menu by its name.
    pub fn shown(&self) -> String {
        match &self.value {
            None => "-".into(),
            Some(Value::Number(index)) if !self.menu.is_empty() => self
                .menu
                .iter()
                .find(|entry| entry.index == *index)
                .map_or_else(|| index.to_string(), |entry| format!("{index} ({})", entry.name)),
            Some(value) => value.to_string(),
        }
    }

    /// Its values in words.
    pub fn range(&self) -> String {
        match self.kind {
            ControlKind::Switch => "0 or 1".into(),
            ControlKind::Button => "press".into(),
            ControlKind::Menu | ControlKind::NumberMenu => {
                let entries: Vec<_> =
                    self.menu.iter().map(|entry| format!("{} ({})", entry.index, entry.name)).collect();
                entries.join(", ")
            }
            ControlKind::Bits => format!("bits of {:#x}", self.maximum as u32),
            ControlKind::Text => format!("{} to {} characters", self.minimum, self.maximum),
            ControlKind::Compound => "cannot be set here".into(),
            ControlKind::Integer | ControlKind::Integer64 if self.step > 1 => {
                format!("{} to {} in steps of {}", self.minimum, self.maximum, self.step)
            }
            ControlKind::Integer | ControlKind::Integer64 => format!("{} to {}", self.minimum, self.maximum),
        }
    }

    /// A value out of a text: a number (also `0x…`), `on`, `off`, `true`, `false`, the name of an entry, `default`.
    /// `Input` with the range if it has no such value.
    pub fn parse(&self, value: &str) -> Result<Value> {
        let no_such = || {
            Error::new(
                Kind::Input,
                format!("{} has no value {value:?}: it takes {}", self.name, self.range()),
            )
        };
        if self.kind == ControlKind::Compound {
            return Err(Error::new(
                Kind::Input,
                format!("{} is a structure and cannot be set here", self.name),
            ));
        }
        if self.kind == ControlKind::Text {
            let value = Value::Text(value.to_owned());
            self.check(&value)?;
            return Ok(value);
        }
        let entry = self.menu.iter().find(|entry| entry.name.eq_ignore_ascii_case(value));
        let number = match (value, self.kind, entry) {
            ("default", _, _) => self.default,
            (_, ControlKind::Button, _) => 1,
            ("on" | "true", ControlKind::Switch, _) => 1,
            ("off" | "false", ControlKind::Switch, _) => 0,
            (_, _, Some(entry)) => entry.index,
            _ => match value.strip_prefix("0x") {
                Some(digits) => i64::from_str_radix(digits, 16).map_err(|_| no_such())?,
                None => value.parse().map_err(|_| no_such())?,
            },
        };
        let number = Value::Number(number);
        self.check(&number).map_err(|_| no_such())?;
        Ok(number)
    }

    /// `Input` if a value is not one of this control's. A number between two steps is rounded by the driver.
    pub fn check(&self, value: &Value) -> Result<()> {
        let sound = match (value, self.kind) {
            (Value::Text(text), ControlKind::Text) => {
                let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
                (self.minimum..=self.maximum).contains(&length) && !text.contains('\0')
            }
            (Value::Number(_), ControlKind::Button) => true,
            (Value::Number(bits), ControlKind::Bits) => {
                // The range is that of 32 bits without a sign.
                u32::try_from(*bits).is_ok_and(|bits| bits & !(self.maximum as u32) == 0)
            }
            (Value::Number(index), ControlKind::Menu | ControlKind::NumberMenu) => {
                self.menu.iter().any(|entry| entry.index == *index)
            }
            (Value::Number(number), ControlKind::Integer | ControlKind::Integer64 | ControlKind::Switch) => {
                (self.minimum..=self.maximum).contains(number)
            }
            _ => false,
        };
        if sound {
            return Ok(());
        }
        Err(Error::new(Kind::Input, format!("{} has no value {value}: it takes {}", self.name, self.range())))
    }
}

/// The controls of one camera. Another program, the running agent too, may stream from it meanwhile.
#[derive(Debug)]
pub struct Controls {
    node: Node,
}

impl Controls {
    /// Opens the camera that `name` means ([`Selector::parse`]).
    pub fn open(name: &str) -> Result<Self> {
        let node = Node::find(&Selector::parse(name)?).map_err(beside)?;
        Ok(Self { node })
    }

    /// Path of its node.
    pub fn path(&self) -> &std::path::Path {
        self.node.path()
    }

    /// Name of its card.
    pub fn card(&self) -> &str {
        self.node.card()
    }

    /// All controls with what they are set to.
    pub fn all(&self) -> Result<Vec<Control>> {
        /// The next control, of whatever kind.
        const NEXT: u32 = 0xc000_0000;
        let mut all: Vec<Control> = Vec::new();
        let mut last = 0;
        loop {
            let mut said = QueryControl::zeroed();
            said.id = last | NEXT;
            match kernel::describe_control(self.node.as_fd(), &mut said) {
                Ok(()) => {}
                // No more, or a driver without any.
                Err(Errno::INVAL | Errno::NOTTY) => return Ok(all),
                Err(errno) => {
                    return Err(refused(self.node.path(), "does not show its controls", errno));
                }
            }
            // They come in order; a driver that goes round must not hold us.
            if said.id <= last {
                return Ok(all);
            }
            last = said.id;
            if let Some(mut control) = Control::of(&said) {
                self.complete(&mut control, &said);
                all.push(control);
            }
        }
    }

    /// One control by its id; `NotFound` if the camera has none such.
    pub fn control(&self, id: u32) -> Result<Control> {
        let mut said = QueryControl::zeroed();
        said.id = id;
        kernel::describe_control(self.node.as_fd(), &mut said).map_err(|errno| match errno {
            Errno::INVAL | Errno::NOTTY => self.no_such(&format!("{id:#010x}")),
            errno => refused(self.node.path(), "does not show its controls", errno),
        })?;
        let mut control = Control::of(&said).ok_or_else(|| self.no_such(&format!("{id:#010x}")))?;
        self.complete(&mut control, &said);
        Ok(control)
    }

    /// One control by its name, its title or its id in hexadecimal.
    pub fn named(&self, name: &str) -> Result<Control> {
        if let Some(id) = name.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            return self.control(id);
        }
        let wanted = name_of(name);
        let mut all = self.all()?;
        let index =
            all.iter().position(|control| control.name == wanted).ok_or_else(|| self.no_such(name))?;
        Ok(all.swap_remove(index))
    }

    fn no_such(&self, name: &str) -> Error {
        let path = self.node.path().display();
        Error::new(
            Kind::NotFound,
            format!(
                "the camera {path} has no control {name}: `menshen camera controls {path}` shows what it has"
            ),
        )
    }

    /// Adds entries and value.
    fn complete(&self, control: &mut Control, said: &QueryControl) {
        if matches!(control.kind, ControlKind::Menu | ControlKind::NumberMenu) {
            // Indices are few; a driver's nonsense must not become millions of requests.
            for index in said.minimum.max(0)..=said.maximum.min(255) {
                let mut entry = QueryMenu::zeroed();
                entry.id = control.id;
                entry.index = u32::try_from(index).unwrap_or_default();
                if kernel::describe_entry(self.node.as_fd(), &mut entry).is_ok() {
                    control.menu.push(MenuEntry { index, name: entry_name(control.kind, &entry.name) });
                }
            }
        }
        let readable =
            !control.flags.write_only && !matches!(control.kind, ControlKind::Button | ControlKind::Compound);
        if !readable {
            return;
        }
        let node = self.node.as_fd();
        control.value = if control.kind == ControlKind::Text {
            // Its size is told; one that is beyond reason is not read.
            let size = said.element_size.min(64 << 10);
            let bytes = kernel::control_text(node, control.id, size).ok();
            bytes.map(|bytes| Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
        } else {
            let number = kernel::control_number(node, control.id, control.wide()).ok();
            // Bits come as a number with a sign, like any of 32 bits.
            let unsigned = control.kind == ControlKind::Bits;
            number.map(|number| Value::Number(if unsigned { number & 0xffff_ffff } else { number }))
        };
    }

    /// Sets a control and answers with it as it then is: the driver may have rounded. `Input` for a value that it
    /// does not have, `Busy` if it cannot change now, `Device` if the driver refuses.
    pub fn set(&self, control: &Control, value: &Value) -> Result<Control> {
        control.check(value)?;
        if control.flags.read_only {
            return Err(Error::new(Kind::Input, format!("{} can only be read", control.name)));
        }
        let node = self.node.as_fd();
        let set = match value {
            Value::Text(text) => kernel::set_control_text(node, control.id, text),
            // Bits are 32 without a sign, which the kernel takes as a number with one.
            Value::Number(number) if control.kind == ControlKind::Bits => {
                kernel::set_control_number(node, control.id, false, i64::from(*number as u32 as i32))
            }
            Value::Number(number) => kernel::set_control_number(node, control.id, control.wide(), *number),
        };
        set.map_err(|errno| match errno {
            Errno::RANGE | Errno::INVAL => Error::new(
                Kind::Input,
                format!(
                    "the camera does not take {value} for {}: it takes {}",
                    control.name,
                    control.range()
                ),
            ),
            Errno::BUSY => Error::new(
                Kind::Busy,
                format!(
                    "{} cannot change now: another program holds it, or the camera streams",
                    control.name
                ),
            ),
            Errno::ACCESS | Errno::PERM => Error::new(Kind::Input, format!("{} cannot be set", control.name)),
            errno => refused(self.node.path(), &format!("does not take a value for {}", control.name), errno),
        })?;
        self.control(control.id)
    }

    /// Whether a control follows the light by itself; `None` if it has no automatic.
    pub fn automatic(&self, control: u32) -> Result<Option<bool>> {
        let Some(automatic) = self.automatic_control(control)? else { return Ok(None) };
        Ok(match automatic.value {
            Some(Value::Number(value)) => Some(is_automatic(&automatic, value)),
            _ => None,
        })
    }

    /// Lets a control follow the light by itself, or holds it where it is. `NotFound` if it has no automatic.
    pub fn set_automatic(&self, control: u32, on: bool) -> Result<Control> {
        let automatic = self
            .automatic_control(control)?
            .ok_or_else(|| Error::new(Kind::NotFound, format!("control {control:#010x} has no automatic")))?;
        let value = automatic_value(&automatic, on).ok_or_else(|| {
            Error::new(
                Kind::Input,
                format!("{} has no entry for that: it takes {}", automatic.name, automatic.range()),
            )
        })?;
        self.set(&automatic, &Value::Number(value))
    }

    fn automatic_control(&self, control: u32) -> Result<Option<Control>> {
        let Some(id) = automatic_of(control) else { return Ok(None) };
        match self.control(id) {
            Ok(control) => Ok(Some(control)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn entry_name(kind: ControlKind, bytes: &[u8; 32]) -> String {
    if kind == ControlKind::NumberMenu {
        let [a, b, c, d, e, f, g, h, ..] = *bytes;
        return i64::from_ne_bytes([a, b, c, d, e, f, g, h]).to_string();
    }
    text(bytes)
}

/// Automatic exposure is a menu whose entry 1 is "nothing by itself"; all others are switches.
fn is_automatic(automatic: &Control, value: i64) -> bool {
    if automatic.id == id::AUTO_EXPOSURE { value != 1 } else { value != 0 }
}

/// What an automatic control is set to. Cameras have either entry 0 (time and iris) or 3 (time alone) of the menu.
fn automatic_value(automatic: &Control, on: bool) -> Option<i64> {
    if automatic.id != id::AUTO_EXPOSURE {
        return Some(i64::from(on));
    }
    let candidates: &[i64] = if on { &[0, 3, 2] } else { &[1] };
    let has = |index: &i64| automatic.menu.iter().any(|entry| entry.index == *index);
    candidates.iter().copied().find(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: u32, title: &str, range: (i64, i64, u64, i64), flags: u32) -> QueryControl {
        let mut said = QueryControl::zeroed();
        (said.id, said.kind, said.flags) = (id::BRIGHTNESS, kind, flags);
        said.name[..title.len()].copy_from_slice(title.as_bytes());
        (said.minimum, said.maximum, said.step, said.default) = range;
        said
    }

    fn control(kind: u32, range: (i64, i64, u64, i64)) -> Control {
        Control::of(&said(kind, "Brightness", range, 0)).unwrap()
    }

    fn exposure(entries: &[(i64, &str)]) -> Control {
        let mut control = control(3, (0, 3, 1, 3));
        control.id = id::AUTO_EXPOSURE;
        control.menu = entries
            .iter()
            .map(|(index, name)| MenuEntry { index: *index, name: (*name).to_owned() })
            .collect();
        control
    }

    #[test]
    fn controls_have_names_that_can_be_typed() {
        let table = [
            ("Brightness", "brightness"),
            ("White Balance, Automatic", "white_balance_automatic"),
            ("Exposure Time, Absolute", "exposure_time_absolute"),
            ("Insert SAV/EAV Code (x)", "insert_sav_eav_code_x"),
            (" -- ", ""),
        ];
        for (title, name) in table {
            assert_eq!(name_of(title), name);
        }
        let read = Control::of(&said(1, "Exposure Time, Absolute", (3, 2047, 1, 250), 0x10 | 0x80)).unwrap();
        assert_eq!((read.name.as_str(), read.range().as_str()), ("exposure_time_absolute", "3 to 2047"));
        assert_eq!(read.flags, ControlFlags { inactive: true, volatile: true, ..ControlFlags::default() });
        // Headings and what is switched off are left out; a list of numbers is no number.
        assert_eq!(Control::of(&said(6, "User Controls", (0, 0, 0, 0), 0x44)), None);
        assert_eq!(Control::of(&said(1, "Gone", (0, 1, 1, 0), 0x1)), None);
        let mut list = said(0x101, "U16 Matrix", (0, 99, 1, 1), 0);
        list.dimensions = 2;
        assert_eq!(Control::of(&list).unwrap().kind, ControlKind::Compound);
    }

    #[test]
    fn values_are_held_against_the_range() {
        let number = |value: i64| Some(Value::Number(value));
        let integer = control(1, (-64, 64, 1, 0));
        let stepped = control(1, (0, 255, 5, 100));
        let switch = control(2, (0, 1, 1, 1));
        let button = control(4, (0, 0, 0, 0));
        let wide = control(5, (i64::MIN, i64::MAX, 1, 7));
        let bits = control(8, (0, i64::from(0x8000_0003_u32), 0, 1));
        let label = control(7, (2, 4, 1, 0));
        let menu = exposure(&[(1, "Manual Mode"), (3, "Aperture Priority Mode")]);
        let table = [
            (&integer, "64", number(64)),
            (&integer, "-64", number(-64)),
            (&integer, "0x10", number(16)),
            (&integer, "default", number(0)),
            (&integer, "65", None),
            (&integer, "-65", None),
            (&integer, "bright", None),
            (&integer, "on", None),
            (&integer, "", None),
            (&stepped, "7", number(7)),
            (&stepped, "default", number(100)),
            (&switch, "on", number(1)),
            (&switch, "false", number(0)),
            (&switch, "1", number(1)),
            (&switch, "2", None),
            (&button, "press", number(1)),
            (&wide, "9223372036854775807", number(i64::MAX)),
            (&wide, "9223372036854775808", None),
            (&bits, "0x80000001", number(0x8000_0001)),
            (&bits, "4", None),
            (&bits, "-1", None),
            (&menu, "3", number(3)),
            (&menu, "manual mode", number(1)),
            (&menu, "0", None),
            (&menu, "2", None),
            (&label, "gate", Some(Value::Text("gate".into()))),
            (&label, "gates", None),
            (&label, "g", None),
        ];
        for (control, text, value) in table {
            match (control.parse(text), value) {
                (Ok(parsed), Some(value)) => assert_eq!(parsed, value, "{text}"),
                (Err(error), None) => {
                    assert_eq!(error.kind(), Kind::Input);
                    assert!(error.to_string().contains("brightness has no value"), "{error}");
                }
                (parsed, value) => panic!("{:?} {text}: {parsed:?} instead of {value:?}", control.kind),
            }
        }
        assert!(control(0x106, (0, 0, 0, 0)).parse("1").is_err());
        assert!(integer.parse("65").unwrap_err().to_string().contains("-64 to 64"));
        assert!(stepped.range().contains("steps of 5"));
    }

    #[test]
    fn menus_show_what_they_mean() {
        let mut menu = exposure(&[(1, "Manual Mode"), (3, "Aperture Priority Mode")]);
        menu.value = Some(Value::Number(3));
        assert_eq!(menu.shown(), "3 (Aperture Priority Mode)");
        menu.value = Some(Value::Number(2));
        assert_eq!(menu.shown(), "2");
        menu.value = None;
        assert_eq!(menu.shown(), "-");
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&1_000_000_i64.to_ne_bytes());
        assert_eq!(entry_name(ControlKind::NumberMenu, &bytes), "1000000");
        bytes[..3].copy_from_slice(b"50 ");
        bytes[3] = 0;
        assert_eq!(entry_name(ControlKind::Menu, &bytes), "50");
    }

    #[test]
    fn exposure_is_made_automatic_by_the_entry_that_a_camera_has() {
        // Entries, what on and off are.
        let table: [(&[i64], Option<i64>, Option<i64>); 4] = [
            (&[1, 3], Some(3), Some(1)),
            (&[0, 1], Some(0), Some(1)),
            (&[0, 1, 2, 3], Some(0), Some(1)),
            (&[3], Some(3), None),
        ];
        for (indices, on, off) in table {
            let entries: Vec<_> = indices.iter().map(|index| (*index, "entry")).collect();
            let menu = exposure(&entries);
            assert_eq!((automatic_value(&menu, true), automatic_value(&menu, false)), (on, off));
        }
        let switch = Control { id: id::AUTO_FOCUS, ..control(2, (0, 1, 1, 1)) };
        assert_eq!((automatic_value(&switch, true), automatic_value(&switch, false)), (Some(1), Some(0)));
        assert!(is_automatic(&switch, 1) && !is_automatic(&switch, 0));
        let menu = exposure(&[]);
        assert!(is_automatic(&menu, 3) && is_automatic(&menu, 0) && !is_automatic(&menu, 1));
        assert_eq!(automatic_of(id::FOCUS_ABSOLUTE), Some(id::AUTO_FOCUS));
        assert_eq!(automatic_of(id::CONTRAST), None);
    }
}
