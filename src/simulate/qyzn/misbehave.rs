//! How a platform can go wrong.

use std::str::FromStr;

use crate::error::{Error, Kind};
use crate::simulate::named::Named;

/// What the simulated platform does wrong. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Misbehave {
    /// Sends each frame in pieces of so many bytes.
    pub split: Option<usize>,
    /// Collects frames for a moment and sends them together.
    pub join: bool,
    /// Sends so many NUL behind each frame.
    pub padding: usize,
    /// Counts characters instead of bytes in `datasize`.
    pub count_characters: bool,
    /// Adds this to `datasize`.
    pub datasize_off: i64,
    /// Does not answer heartbeats.
    pub no_heartbeats: bool,
    /// Reads, and answers nothing.
    pub silent: bool,
    /// Answers no request with this message.
    pub mute: Option<String>,
    /// Closes each connection after it has received so many frames.
    pub close_after: Option<u64>,
    /// Sends every command twice, with the same sequence.
    pub repeat: bool,
    /// Never reads.
    pub never_read: bool,
    /// Says that it does not know the account at each connection's first login.
    pub forget: bool,
}

impl Misbehave {
    /// The names that [`FromStr`] understands, for a help text.
    pub const NAMES: &'static str = "split[=BYTES], join, padding[=BYTES], characters, datasize=±BYTES, \
                                     no-heartbeats, silent, mute=MESSAGE, close-after=FRAMES, repeat, never-read, forget";
}

impl FromStr for Misbehave {
    type Err = Error;

    /// Names with commas between, such as `split=7,padding=3,no-heartbeats`; `none` for none.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut all = Self::default();
        for named in Named::all(text) {
            let size = |default: Option<i64>| -> Result<usize, Error> {
                usize::try_from(named.number(default)?)
                    .map_err(|_| Error::new(Kind::Input, format!("{} needs a number from 0 on", named.name)))
            };
            match named.name {
                "none" => all = Self::default(),
                "split" => all.split = Some(size(Some(7))?.max(1)),
                "join" => all.join = true,
                "padding" => all.padding = size(Some(4))?,
                "characters" => all.count_characters = true,
                "datasize" => all.datasize_off = named.number(None)?,
                "no-heartbeats" => all.no_heartbeats = true,
                "silent" => all.silent = true,
                "mute" => {
                    let missing = || Error::new(Kind::Input, "mute needs a message, as in mute=qrcode_data");
                    all.mute = Some(named.value.ok_or_else(missing)?.to_owned());
                }
                "close-after" => all.close_after = Some(size(None)? as u64),
                "repeat" => all.repeat = true,
                "never-read" => all.never_read = true,
                "forget" => all.forget = true,
                _ => return Err(named.unknown(Self::NAMES)),
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names() {
        let all: Misbehave = "split=3, padding,close-after=5,datasize=-2".parse().unwrap();
        assert_eq!((all.split, all.padding, all.close_after, all.datasize_off), (Some(3), 4, Some(5), -2));
        assert_eq!("none".parse::<Misbehave>().unwrap(), Misbehave::default());
        assert!("close-after".parse::<Misbehave>().is_err());
        assert!("nonsense".parse::<Misbehave>().unwrap_err().message().contains("never-read"));
    }
}
