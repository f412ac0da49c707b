//! A scanner of QR and bar codes on a pseudo terminal: it sends what it is told to have read, as such scanners are
//! configured, with their faults.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::pty::ptsname;

use super::sdt::{line, write};
use crate::error::{Context as _, Error, Kind, Result};

/// What goes wrong with the next code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Bytes of nobody stand before it.
    Stray,
    /// It stops in its middle, and the scanner is unplugged.
    Half,
    /// It is sent three times, as by a scanner that goes on reading.
    Thrice,
    /// It comes as at another speed.
    Garbled,
}

impl Fault {
    /// Their names.
    pub const NAMES: &'static str = "stray, half, thrice, garbled";
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "stray" => Fault::Stray,
            "half" => Fault::Half,
            "thrice" => Fault::Thrice,
            "garbled" => Fault::Garbled,
            other => {
                return Err(Error::new(
                    Kind::Input,
                    format!("{other:?} is no fault; there are {}", Fault::NAMES),
                ));
            }
        })
    }
}

/// How it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// What stands behind each code.
    pub end: &'static str,
    /// Whether it sends GBK; else UTF-8.
    pub gbk: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self { end: "\r", gbk: false }
    }
}

struct State {
    line: Option<OwnedFd>,
    manner: Manner,
    fault: Option<Fault>,
}

/// The scanner. It ends with this.
pub struct Scanner {
    state: Mutex<State>,
    link: Option<PathBuf>,
}

impl Scanner {
    /// Plugs a scanner in. With `link` its port is also there, as an adapter that keeps its name when it is plugged in
    /// again.
    pub fn start(link: Option<&Path>) -> Result<Self> {
        let state = State { line: None, manner: Manner::default(), fault: None };
        let scanner = Self { state: Mutex::new(state), link: link.map(Path::to_owned) };
        scanner.plug_in()?;
        Ok(scanner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it is; `None` while it is unplugged.
    pub fn path(&self) -> Option<PathBuf> {
        let path = ptsname(self.state().line.as_ref()?, Vec::new()).ok()?;
        Some(path.to_string_lossy().into_owned().into())
    }

    /// Plugs it in again, with another pseudo terminal.
    pub fn plug_in(&self) -> Result<()> {
        let (end, path) = line()?;
        if let Some(link) = &self.link {
            let _ = std::fs::remove_file(link);
            std::os::unix::fs::symlink(&path, link)
                .context(|| format!("the link {} cannot be made", link.display()))?;
        }
        self.state().line = Some(end);
        Ok(())
    }

    /// Pulls it out.
    pub fn unplug(&self) {
        self.state().line = None;
        if let Some(link) = &self.link {
            let _ = std::fs::remove_file(link);
        }
    }

    /// How it is configured from now on.
    pub fn manner(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Something goes wrong with the next code.
    pub fn fault(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Somebody holds a code before it. `Input` for letters that its character set has not.
    pub fn scan(&self, content: &str) -> Result<()> {
        let mut state = self.state();
        let (bytes, _, missing) = match state.manner.gbk {
            true => encoding_rs::GBK.encode(content),
            false => encoding_rs::UTF_8.encode(content),
        };
        if missing {
            return Err(Error::new(Kind::Input, "GBK has not all of these letters"));
        }
        let code = [&bytes[..], state.manner.end.as_bytes()].concat();
        let fault = state.fault.take();
        let sent = match fault {
            None => code,
            Some(Fault::Stray) => [&b"\x00\xff\r\x00\x02"[..], &code].concat(),
            Some(Fault::Half) => bytes.get(..bytes.len() / 2).unwrap_or_default().to_vec(),
            Some(Fault::Thrice) => code.repeat(3),
            // With the highest bit set and no line end, as a fast line looks to a slow one.
            Some(Fault::Garbled) => bytes.iter().map(|byte| byte | 0x80).chain([0xff, 0x80]).collect(),
        };
        if let Some(line) = &state.line {
            write(line, &sent);
        }
        drop(state);
        if fault == Some(Fault::Half) {
            self.unplug();
        }
        Ok(())
    }
}

impl Drop for Scanner {
    fn drop(&mut self) {
        self.unplug();
    }
}
