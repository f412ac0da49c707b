//! Readers of what visitors present: the Wiegand input for cards, QR codes, identity documents. The simulated
//! ones are driven by `menshen present` and the API of the technician.

use super::pcsc;
use crate::config;
use crate::error::{Error, Kind, Result};

/// One reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reader {
    /// `none`: not there.
    #[default]
    None,
    /// `sim`: presents what it is told to.
    Simulated,
    /// A real one.
    Real,
}

/// The readers of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Readers {
    /// `device.wiegand_in`, `device.card_reader` and `device.contact_reader`; simulated if one of them is.
    pub card: Reader,
    /// `device.qr_reader`.
    pub qr: Reader,
    /// `device.id_reader`.
    pub document: Reader,
}

impl Readers {
    /// The readers that `[device]` names. `Config` for one that this build does not know.
    pub fn open(device: &config::Device) -> Result<Self> {
        let open = |key: &str, name: &str| match name {
            "none" => Ok(Reader::None),
            "sim" => Ok(Reader::Simulated),
            // What is wrong with its name is said where it is opened.
            real if key == "wiegand_in" && real.starts_with("gpio:") => Ok(Reader::Real),
            real if key == "qr_reader" && (real == "camera" || real.starts_with("serial:")) => {
                Ok(Reader::Real)
            }
            real if key == "card_reader" && real.starts_with("pn532:") => Ok(Reader::Real),
            real if key == "contact_reader" && pcsc::part(real).is_some() => Ok(Reader::Real),
            real if key == "id_reader" && super::id_reader::is_known(real) => Ok(Reader::Real),
            other => Err(Error::new(
                Kind::Config,
                format!("device.{key} = {other:?} is not supported by this build: use \"sim\" or \"none\""),
            )),
        };
        let cards = [
            open("wiegand_in", &device.wiegand_in)?,
            open("card_reader", &device.card_reader)?,
            open("contact_reader", &device.contact_reader)?,
        ];
        let card = [Reader::Simulated, Reader::Real].into_iter().find(|reader| cards.contains(reader));
        Ok(Self {
            card: card.unwrap_or_default(),
            qr: open("qr_reader", &device.qr_reader)?,
            document: open("id_reader", &device.id_reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_named_by_the_configuration() {
        let device = config::Device::default();
        assert_eq!(Readers::open(&device).unwrap(), Readers::default());
        let device = config::Device { qr_reader: "sim".into(), wiegand_in: "gpio:a:5,6".into(), ..device };
        let readers = Readers::open(&device).unwrap();
        assert_eq!((readers.qr, readers.card), (Reader::Simulated, Reader::Real));
        let error = Readers::open(&config::Device { id_reader: "usb".into(), ..device }).unwrap_err();
        assert!(error.message().starts_with("device.id_reader = \"usb\" is not supported"), "{error}");
    }
}
