//! Readers of QR and bar codes: what `device.qr_reader` names. A scanner on a serial line, or the gate's own camera.
//!
//! What a code says may be a ticket or a person's: it is nowhere logged.

pub mod lines;
pub mod once;
pub mod picture;
mod scanner;

use std::path::PathBuf;
use std::time::Duration;

use crate::config;
use crate::error::{Error, Kind, Result};

pub use scanner::Scanner;

/// Speeds of a serial scanner in bits a second (CameraService chapter 11).
pub const BAUD_RATES: [u32; 8] = [1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200];

/// The usual one (chapter 11).
pub const USUAL_BAUD: u32 = 115_200;

/// Longest code in bytes: the largest symbol of ISO/IEC 18004 holds 2953 bytes, or 4296 letters and digits.
pub const CODE_BYTES: usize = 4296;

/// One reader of its own. It has a thread, which it may hold for as long as it is asked to.
pub trait CodeReader: Send {
    /// The next code; `None` if none came `within` the time. `Device` if the reader is away, `Input` for bytes that
    /// are no code.
    fn next(&mut self, within: Duration) -> Result<Option<String>>;
}

/// What is fitted.
pub enum Fitted {
    /// A reader of its own.
    Reader(Box<dyn CodeReader>),
    /// The gate's cameras.
    Camera,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    None,
    Camera,
    Scanner(PathBuf, u32),
}

fn parse(name: &str) -> Result<Named> {
    let wrong = |what: &str| {
        Err(Error::new(
            Kind::Config,
            format!(
                "device.qr_reader = {name:?} {what}: use \"camera\", \"serial:/dev/ttyS5\" (any port, with \":9600\" \
                 behind it for another speed than {USUAL_BAUD}), \"sim\" or \"none\""
            ),
        ))
    };
    match name {
        "none" | "sim" => return Ok(Named::None),
        "camera" => return Ok(Named::Camera),
        _ => {}
    }
    let Some(port) = name.strip_prefix("serial:") else { return wrong("is not supported by this build") };
    // Names below /dev/serial/by-path have colons of their own.
    let (path, baud) = match port.rsplit_once(':') {
        Some((path, baud)) if !baud.is_empty() && baud.bytes().all(|byte| byte.is_ascii_digit()) => {
            (path, baud)
        }
        _ => (port, ""),
    };
    if !path.starts_with('/') {
        return wrong("names no port");
    }
    match baud {
        "" => Ok(Named::Scanner(path.into(), USUAL_BAUD)),
        baud => match baud.parse().ok().filter(|baud| BAUD_RATES.contains(baud)) {
            Some(baud) => Ok(Named::Scanner(path.into(), baud)),
            None => wrong("has a speed that no scanner has (1200 to 115200)"),
        },
    }
}

/// The reader that `device.qr_reader` names; `None` for `none` and for `sim`, which is driven by hand. A scanner that is
/// named and not plugged in is no error here.
pub fn open(device: &config::Device) -> Result<Option<Fitted>> {
    Ok(match parse(&device.qr_reader)? {
        Named::None => None,
        Named::Camera => Some(Fitted::Camera),
        Named::Scanner(path, baud) => Some(Fitted::Reader(Box::new(Scanner::new(path, baud)))),
    })
}

/// Looks whether what is named could be used, without taking it.
pub fn examine(device: &config::Device) -> Result<()> {
    match parse(&device.qr_reader)? {
        Named::None | Named::Camera => Ok(()),
        Named::Scanner(path, baud) => Scanner::new(path, baud).open(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_named_by_the_configuration() {
        let scanner = |path: &str, baud| Named::Scanner(path.into(), baud);
        for (name, named) in [
            ("none", Named::None),
            ("sim", Named::None),
            ("camera", Named::Camera),
            ("serial:/dev/ttyS5", scanner("/dev/ttyS5", 115_200)),
            ("serial:/dev/ttyS5:9600", scanner("/dev/ttyS5", 9600)),
            (
                "serial:/dev/serial/by-path/usb-0:1:1.0-port0:57600",
                scanner("/dev/serial/by-path/usb-0:1:1.0-port0", 57_600),
            ),
            (
                "serial:/dev/serial/by-path/usb-0:1:1.0-port0",
                scanner("/dev/serial/by-path/usb-0:1:1.0-port0", 115_200),
            ),
        ] {
            assert_eq!(parse(name).unwrap(), named, "{name}");
        }
        for name in
            ["", "serial:", "serial:ttyS5", "serial:/dev/ttyS5:9601", "serial::9600", "usb", "cameras"]
        {
            let error = parse(name).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.message().starts_with(&format!("device.qr_reader = {name:?} ")), "{error}");
        }
    }
}
