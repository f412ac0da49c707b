//! Machine readable zones of travel documents (ICAO 9303): found in a document camera's picture, read and understood.
//!
//! [`zone`] understands the lines, [`correct`] puts right what was misread where the check digits prove it, [`find`] looks
//! for the lines in a picture, [`read`] reads them with the OCR-B model, [`plate`] knows
//! whether anything lies before the camera.

pub mod check;
pub mod correct;
pub mod find;
pub mod plate;
pub mod read;
pub mod zone;

pub use zone::{Layout, Zone};
