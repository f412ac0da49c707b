//! Hardware: one trait for each kind of device, the real driver and the simulated one behind it. The
//! configuration names which (`"sim"`, `"gpio:…"`, `"files:DIR"`); nothing else in the agent can tell.

pub mod bank_card;
pub mod camera;
pub mod card_reader;
pub mod chip;
pub mod code_reader;
pub mod direction;
pub mod gpio;
pub mod gymcu;
pub mod id_reader;
pub mod input;
pub mod lamp;
pub mod osdp;
pub mod pcsc;
pub mod reader;
pub mod relay;
pub mod rs485;
pub mod screen;
pub mod serial_port;
mod stuck;
pub mod system;
pub mod thermometer;
pub mod voice;
pub mod watchdog;
pub mod wiegand;
pub mod wiegand_in;
pub mod wiegand_out;

use crate::config;
use crate::error::Result;

/// What hangs on a gate besides its cameras; `None` is not there.
#[derive(Default)]
pub struct Devices {
    /// The relay of the door.
    pub relay: Option<Box<dyn relay::Relay>>,
    /// The Wiegand output.
    pub wiegand: Option<Box<dyn wiegand_out::WiegandOut>>,
    /// The Wiegand input, where it is a real one: the simulated one is driven by hand.
    pub wiegand_in: Option<Box<dyn wiegand_in::WiegandIn>>,
    /// Exit button, door contact, tamper contact.
    pub inputs: input::Inputs,
    /// The lamp that lights visitors.
    pub lamp: Option<Box<dyn lamp::Lamp>>,
    /// The screen towards the visitor.
    pub screen: Option<Box<dyn screen::Screen>>,
    /// The voice.
    pub voice: Option<Box<dyn voice::Voice>>,
    /// The RS485 line.
    pub rs485: Option<Box<dyn rs485::Rs485>>,
    /// The RS485 line as an OSDP peripheral device.
    pub osdp: Option<osdp::Setup>,
    /// The reader of IC cards, where it is a real one.
    pub card_reader: Option<card_reader::Fitted>,
    /// The reader of chip cards, where there is one.
    pub contact_reader: Option<pcsc::ContactReader>,
    /// The reader of QR and bar codes, where it is a real one.
    pub code_reader: Option<code_reader::Fitted>,
    /// The reader of identity documents, where it is a real one.
    pub id_reader: Option<Box<dyn id_reader::IdReader>>,
    /// The thermometer.
    pub thermometer: Option<Box<dyn thermometer::Thermometer>>,
}

impl Devices {
    /// The devices that `[device]` names. A line or sensor that is named and not plugged in is no error here: it
    /// is tried again while the gate runs.
    pub fn open(config: &config::Device) -> Result<Self> {
        Ok(Self {
            relay: relay::open(&config.relay)?,
            wiegand: wiegand_out::open(&config.wiegand_out)?,
            wiegand_in: wiegand_in::open(&config.wiegand_in)?,
            inputs: input::Inputs::open(config)?,
            lamp: lamp::open(&config.lamp)?,
            screen: screen::open(&config.screen)?,
            rs485: rs485::open(&config.rs485, &config.rs485_direction)?,
            osdp: None,
            card_reader: card_reader::open(config)?,
            contact_reader: pcsc::open(config)?,
            code_reader: code_reader::open(config)?,
            id_reader: id_reader::open(config)?,
            voice: voice::open(&config.voice, &config.voice_dir)?,
            thermometer: thermometer::open(&config.thermometer)?,
        })
    }
}
