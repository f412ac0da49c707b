//! How a platform can go wrong.

use std::str::FromStr;

use crate::error::{Error, Kind};
use crate::simulate::named::Named;

/// What the simulated platform does wrong. Nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Misbehave {
    /// Does not answer pings.
    pub no_pong: bool,
    /// Refuses every connection with this HTTP status.
    pub refuse: Option<u16>,
    /// Takes connections and never answers the handshake.
    pub silent: bool,
    /// Never reads once the handshake is done.
    pub never_read: bool,
    /// Closes each connection without a word after it has received so many frames; 0: at once.
    pub drop_after: Option<u64>,
    /// Sends every message twice.
    pub repeat: bool,
    /// Sends messages as binary frames.
    pub binary: bool,
    /// Sends a text that is no JSON before each message.
    pub garbage: bool,
    /// Sends a text that is not UTF-8 before each message.
    pub bad_text: bool,
    /// Sends a text of so many MiB before each message.
    pub huge_mib: Option<usize>,
    /// Sends each message in fragments of so many bytes, with a ping between.
    pub fragment: Option<usize>,
}

impl Misbehave {
    /// The names that [`FromStr`] understands, for a help text.
    pub const NAMES: &'static str = "no-pong, refuse=STATUS, silent, never-read, drop[=FRAMES], repeat, binary, \
                                     garbage, bad-text, huge=MIB, fragment[=BYTES]";
}

impl FromStr for Misbehave {
    type Err = Error;

    /// Names with commas between, such as `fragment=100,no-pong`; `none` for none.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut all = Self::default();
        for named in Named::all(text) {
            match named.name {
                "none" => all = Self::default(),
                "no-pong" => all.no_pong = true,
                "refuse" => {
                    let status = u16::try_from(named.number::<usize>(None)?)
                        .ok()
                        .filter(|status| (300..600).contains(status));
                    let wrong = || Error::new(Kind::Input, "refuse needs an HTTP status of 300 to 599");
                    all.refuse = Some(status.ok_or_else(wrong)?);
                }
                "silent" => all.silent = true,
                "never-read" => all.never_read = true,
                "drop" => all.drop_after = Some(named.number(Some(0))?),
                "repeat" => all.repeat = true,
                "binary" => all.binary = true,
                "garbage" => all.garbage = true,
                "bad-text" => all.bad_text = true,
                "huge" => all.huge_mib = Some(named.number::<usize>(None)?.clamp(1, 256)),
                "fragment" => all.fragment = Some(named.number::<usize>(Some(100))?.max(1)),
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
        let all: Misbehave = "refuse=403, drop=3,fragment,huge=20".parse().unwrap();
        assert_eq!(
            (all.refuse, all.drop_after, all.fragment, all.huge_mib),
            (Some(403), Some(3), Some(100), Some(20))
        );
        assert_eq!("none".parse::<Misbehave>().unwrap(), Misbehave::default());
        assert!("refuse=200".parse::<Misbehave>().is_err());
        assert!("nonsense".parse::<Misbehave>().unwrap_err().message().contains("never-read"));
    }
}
