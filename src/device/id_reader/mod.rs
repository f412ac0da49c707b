//! Readers of identity documents: what `device.id_reader` names. One driver for each kind; each has a thread of its own
//! (`gate::documents`), which asks it again and again what has happened.

pub mod codes;
pub mod photo;
pub mod remote;
pub mod sdt;

use std::time::Duration;

use crate::config;
use crate::document::{DocumentKind, Happening, Reading};
use crate::error::{Error, Kind, Result};

/// Kinds of reader that this build knows, as they stand before the colon.
const KINDS: [&str; 3] = ["document_reader", "sdt", "camera"];

/// What is wanted of a document: what nobody wants need not be read. All of it at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The chip.
    pub chip: bool,
    /// What is printed for the eye.
    pub viz: bool,
    /// The lines that are printed for machines.
    pub mrz: bool,
    /// Bar codes.
    pub bar_code: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { chip: true, viz: true, mrz: true, bar_code: true }
    }
}

/// One reader. It belongs to one thread, which it may hold for as long as reading a document takes.
pub trait IdReader: Send {
    /// What it is called in events and on the page, such as `SDT`.
    fn name(&self) -> &str;

    /// One look: what has happened since the last one; `None`: nothing.
    ///
    /// A document is told in this order: [`Happening::Detected`], then [`Happening::Read`] or [`Happening::Failed`], then
    /// [`Happening::TakenAway`]; it is read once until it is lifted. A reader that is not there is told once, as
    /// [`Happening::Offline`], and then looked for. An error is a reader that does not work; the thread tells it as
    /// `Offline`, asks again some seconds later, and tells `Online` if the reader does not do so itself.
    fn look(&mut self, wanted: &Wanted) -> Result<Option<Happening>>;

    /// How long to wait between two looks; after [`Happening::Detected`] the next comes at once.
    fn period(&self) -> Duration;
}

/// Whether `device.id_reader = name` names a real reader of a kind that this build knows. Whether the rest of the name is
/// right is said where it is opened.
pub fn is_known(name: &str) -> bool {
    let kind = name.split_once(':').map_or(name, |(kind, _)| kind);
    KINDS.contains(&kind)
}

/// The reader that `device.id_reader` names. The simulated one is driven by hand, not by a thread: `None` for it as for
/// none. A reader that is named and not plugged in is no error here.
pub fn open(device: &config::Device) -> Result<Option<Box<dyn IdReader>>> {
    let name = device.id_reader.as_str();
    match name.split_once(':') {
        None if matches!(name, "none" | "sim") => Ok(None),
        // The document camera: the agent puts it together of its camera and its models.
        None if name == "camera" => Ok(None),
        Some(("document_reader", _)) => remote::open(name).map(Some),
        Some(("sdt", _)) => match sdt::Sdt::open(name, device)? {
            Some(module) => Ok(Some(Box::new(module))),
            None => Err(sdt::misnamed(name)),
        },
        _ => Err(unsupported(name)),
    }
}

/// The letter that camera services have for a card (chapter 4.1 of theirs): `B` a resident's without fingerprints, `C` with
/// them, `J` a residence permit for Hong Kong, Macao and Taiwan, `I` a foreigner's, `A` for anything else.
pub fn card_type(reading: &Reading) -> char {
    match reading.document.kind {
        DocumentKind::Resident if reading.fingerprints.is_empty() => 'B',
        DocumentKind::Resident => 'C',
        DocumentKind::HongKongMacaoTaiwan => 'J',
        DocumentKind::Foreigner => 'I',
        _ => 'A',
    }
}

fn unsupported(name: &str) -> Error {
    Error::new(
        Kind::Config,
        format!(
            "device.id_reader = {name:?} is not supported by this build: use \"sdt:/dev/ttyS2\" (any port), \"camera\", \
             \"document_reader:ws://HOST:90/echo\", \"sim\" or \"none\""
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_named_by_the_configuration() {
        let named =
            |name: &str| open(&config::Device { id_reader: name.into(), ..config::Device::default() });
        assert!(named("none").unwrap().is_none());
        assert!(named("sim").unwrap().is_none());
        for name in [
            "sdt:/dev/ttyS2",
            "sdt:/dev/ttyUSB0:9600",
            "sdt:/dev/serial/by-path/pci-0:1.0-port0",
            "sdt:/dev/serial/by-path/pci-0:1.0-port0:115200",
        ] {
            assert!(named(name).unwrap().is_some() && is_known(name), "{name}");
        }
        for name in ["sdt", "sdt:", "sdt:ttyS2", "sdt:/dev/ttyS2:", "sdt:/dev/ttyS2:fast", "sdt:/dev/ttyS2:1"]
        {
            let error = named(name).err().unwrap();
            assert!(error.message().contains(&format!("device.id_reader = {name:?}")), "{error}");
        }
        let device = config::Device {
            id_reader: "sdt:/dev/ttyS2".into(),
            id_photo_decoder: "wlt".into(),
            ..config::Device::default()
        };
        assert!(
            open(&device).err().unwrap().message().contains("device.id_photo_decoder = \"wlt\": name the")
        );
        for name in ["", "usb", "none:", "sim:x"] {
            let error = named(name).err().unwrap();
            assert!(error.message().starts_with(&format!("device.id_reader = {name:?} is not")), "{error}");
            assert!(!is_known(name), "{name}");
        }
    }
}
