//! What goes over the gate's wires: `serial`, `weigand`, `switchCtrl`.

use serde_json::{Value, json};

use super::{Fields, choice, number_of};
use crate::device::rs485::Parity;
use crate::device::wiegand::Format;
use crate::error::Result;
use crate::gate::settings::{
    BAUD_RATES, CardConversion, Payload, RelaySettings, SerialPayload, SerialSettings, WiegandSettings,
};

const PARITIES: [(i64, Parity); 5] =
    [(0, Parity::None), (1, Parity::Odd), (2, Parity::Even), (3, Parity::Mark), (4, Parity::Space)];

/// The first of two numbers is what is sent.
const SERIAL_PAYLOADS: [(i64, SerialPayload); 5] = [
    (1, SerialPayload::Nothing),
    (2, SerialPayload::PersonId),
    (3, SerialPayload::CardNumber),
    (10, SerialPayload::Custom),
    // The range has 10, the text of the table 4.
    (4, SerialPayload::Custom),
];

const FORMATS: [(i64, Format); 2] = [(0, Format::W26), (1, Format::W34)];

const INPUTS: [(i64, CardConversion); 3] =
    [(1, CardConversion::HidPid), (2, CardConversion::Whole), (3, CardConversion::LastTwoBytes)];

const PAYLOADS: [(i64, Payload); 4] =
    [(0, Payload::Nothing), (1, Payload::PersonId), (2, Payload::CardNumber), (10, Payload::Custom)];

fn baud_rates() -> Vec<(i64, u32)> {
    (0..).zip(BAUD_RATES).collect()
}

/// `serial` (4.5.10.5).
pub(super) fn serial(serial: &SerialSettings) -> Value {
    json!({
        "baudrate": number_of(&baud_rates(), serial.baud),
        "databit": serial.data_bits,
        "stopbit": serial.stop_bits,
        "checktype": number_of(&PARITIES, serial.parity),
        "putOutType": number_of(&SERIAL_PAYLOADS, serial.payload),
    })
}

/// Changes it. 0 stop bits are one.
pub(super) fn set_serial(fields: &Fields<'_>, serial: &mut SerialSettings) -> Result<()> {
    if let Some(baud) = choice(fields, "baudrate", &baud_rates())? {
        serial.baud = baud;
    }
    if let Some(bits) = choice(fields, "databit", &[(5, 5), (6, 6), (7, 7), (8, 8)])? {
        serial.data_bits = bits;
    }
    if let Some(bits) = choice(fields, "stopbit", &[(0, 1), (1, 1), (2, 2)])? {
        serial.stop_bits = bits;
    }
    if let Some(parity) = choice(fields, "checktype", &PARITIES)? {
        serial.parity = parity;
    }
    if let Some(payload) = choice(fields, "putOutType", &SERIAL_PAYLOADS)? {
        serial.payload = payload;
    }
    Ok(())
}

/// `weigand` (4.5.10.7).
pub(super) fn weigand(wiegand: &WiegandSettings) -> Value {
    json!({
        "type": number_of(&FORMATS, wiegand.format),
        "InputType": number_of(&INPUTS, wiegand.input),
        "putOutType": number_of(&PAYLOADS, wiegand.payload),
    })
}

/// Changes it.
pub(super) fn set_weigand(fields: &Fields<'_>, wiegand: &mut WiegandSettings) -> Result<()> {
    if let Some(format) = choice(fields, "type", &FORMATS)? {
        wiegand.format = format;
    }
    if let Some(input) = choice(fields, "InputType", &INPUTS)? {
        wiegand.input = input;
    }
    if let Some(payload) = choice(fields, "putOutType", &PAYLOADS)? {
        wiegand.payload = payload;
    }
    Ok(())
}

/// `switchCtrl` (4.5.10.9).
pub(super) fn switch_ctrl(relay: &RelaySettings) -> Value {
    json!({
        "switchOutput": relay.enabled,
        "switchOutMode": u8::from(relay.active_low),
        "outputInterval": relay.pulse_ms,
        "outputDelay": relay.delay_ms,
    })
}

/// Changes it.
pub(super) fn set_switch_ctrl(fields: &Fields<'_>, relay: &mut RelaySettings) -> Result<()> {
    if let Some(enabled) = fields.flag("switchOutput")? {
        relay.enabled = enabled;
    }
    if let Some(active_low) = choice(fields, "switchOutMode", &[(0, false), (1, true)])? {
        relay.active_low = active_low;
    }
    for (key, most, place) in
        [("outputInterval", 10_000, &mut relay.pulse_ms), ("outputDelay", 5_000, &mut relay.delay_ms)]
    {
        if let Some(number) = fields.int_within(key, 0, most)? {
            *place = u16::try_from(number).expect("within 0..=10000");
        }
    }
    Ok(())
}
