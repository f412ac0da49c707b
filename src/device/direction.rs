//! Who switches a line of two wires (half-duplex RS485) between sending and listening.

use std::fmt;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{Getter, Updater, ioctl};

use super::gpio::{Abi, Name, Output};
use crate::error::{Error, Kind, Result};

/// The line that switches a transceiver (its DE and /RE pins).
pub trait TransmitEnable: Send {
    /// True: the transceiver sends; false: it listens. Returns when the line has the level.
    fn transmit(&mut self, on: bool) -> Result<()>;
}

/// A GPIO line that switches a transceiver.
struct GpioTransmitEnable {
    line: Output,
    /// The low level sends.
    low: bool,
}

impl TransmitEnable for GpioTransmitEnable {
    fn transmit(&mut self, on: bool) -> Result<()> {
        self.line.set(&[on != self.low])
    }
}

/// Who switches the direction.
#[derive(Default)]
pub enum Direction {
    /// The adapter by itself, as all on USB and most on gates do.
    #[default]
    Adapter,
    /// The kernel's driver of the port, with its RTS line (`TIOCSRS485`).
    Kernel,
    /// We do, with a line of our own.
    Line(Box<dyn TransmitEnable>),
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Adapter => "Adapter",
            Direction::Kernel => "Kernel",
            Direction::Line(_) => "Line",
        })
    }
}

impl Direction {
    /// What `device.rs485_direction` names: `adapter`, `kernel` or `gpio:CHIP:LINE[:low]`. A GPIO is taken, and set to
    /// listening, when the port is opened.
    pub fn open(name: &str) -> Result<Self> {
        match name {
            "adapter" => Ok(Direction::Adapter),
            "kernel" => Ok(Direction::Kernel),
            other => match Name::parse(other, 1, &["low"]) {
                Some(name) => Ok(Direction::Line(Box::new(GpioTransmitEnable {
                    low: name.has("low"),
                    line: Output::new(name, "menshen rs485", Abi::Newest),
                }))),
                None => Err(Error::new(
                    Kind::Config,
                    format!(
                        "device.rs485_direction = {other:?} is not supported by this build: use \"adapter\", \
                         \"kernel\" or \"gpio:CHIP:LINE\", with \":low\" behind it where the low level sends"
                    ),
                )),
            },
        }
    }

    /// Makes a port that was opened ready. `Device` if it cannot do what is asked; the message says what to do.
    pub(super) fn prepare(&mut self, port: impl AsFd) -> Result<()> {
        match self {
            Direction::Adapter => Ok(()),
            Direction::Kernel => kernel_mode(port),
            Direction::Line(line) => line.transmit(false),
        }
    }

    /// Switches, where that is ours to do.
    pub(super) fn transmit(&mut self, on: bool) -> Result<()> {
        match self {
            Direction::Adapter | Direction::Kernel => Ok(()),
            Direction::Line(line) => line.transmit(on),
        }
    }

    /// Whether the end of what is sent must be waited for.
    pub(super) fn waits(&self) -> bool {
        matches!(self, Direction::Line(_))
    }
}

// The numbers of asm-generic/ioctls.h, which x86 and ARM have alike.
const TIOCOUTQ: u32 = 0x5411;
const TIOCSRS485: u32 = 0x542F;

/// `struct serial_rs485` of linux/serial.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct SerialRs485 {
    flags: u32,
    delay_rts_before_send: u32,
    delay_rts_after_send: u32,
    padding: [u32; 5],
}

const SER_RS485_ENABLED: u32 = 1;
const SER_RS485_RTS_ON_SEND: u32 = 1 << 1;

/// Lets the kernel switch the direction with RTS: high while it sends.
fn kernel_mode(port: impl AsFd) -> Result<()> {
    let refused = |what: String| {
        Error::new(
            Kind::Device,
            format!(
                "its driver does not switch the direction ({what}); use device.rs485_direction = \"adapter\", or \
                 \"gpio:…\" with the line that the board has for it"
            ),
        )
    };
    let mut mode = SerialRs485 { flags: SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND, ..SerialRs485::default() };
    // SAFETY: TIOCSRS485 takes a pointer to a `serial_rs485`, reads it and writes back what the driver made of it; the
    // struct above has its layout: eight fields of 32 bits.
    let request = unsafe { Updater::<TIOCSRS485, SerialRs485>::new(&mut mode) };
    // SAFETY: the request is of the kind that its number says, and the descriptor is open.
    unsafe { ioctl(port, request) }.map_err(|errno| refused(errno.to_string()))?;
    // Some drivers take everything and do nothing.
    if mode.flags & SER_RS485_ENABLED == 0 {
        return Err(refused("it stays off".into()));
    }
    Ok(())
}

/// Bytes that were written and have not left the kernel's buffer; the hardware may hold a few more.
pub(super) fn unsent(port: impl AsFd) -> Result<usize, Errno> {
    // SAFETY: TIOCOUTQ writes one int behind the pointer it is given.
    let request = unsafe { Getter::<TIOCOUTQ, i32>::new() };
    // SAFETY: the request is of the kind that its number says, and the descriptor is open.
    let waiting = unsafe { ioctl(port, request) }?;
    Ok(usize::try_from(waiting).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_named_by_the_configuration() {
        assert!(matches!(Direction::open("adapter").unwrap(), Direction::Adapter));
        assert!(matches!(Direction::open("kernel").unwrap(), Direction::Kernel));
        for name in ["gpio:no such chip:17", "gpio:/dev/gpiochip9:DE:low"] {
            // A chip that is not there is told when the line is opened.
            let mut direction = Direction::open(name).unwrap();
            assert!(direction.waits());
            let error = direction.prepare(std::io::stdin()).unwrap_err();
            assert!(error.message().contains("GPIO chip"), "{name}: {error}");
        }
        for name in ["", "auto", "gpio:17", "gpio:gpiochip0:17:high", "gpio:gpiochip0:1,2"] {
            let error = Direction::open(name).err().unwrap();
            assert!(error.message().contains("device.rs485_direction"), "{name}: {error}");
        }
    }

    #[test]
    fn the_structure_of_the_kernel_has_its_size() {
        // linux/serial.h: flags, two delays and five words of padding.
        assert_eq!(size_of::<SerialRs485>(), 32);
    }
}
