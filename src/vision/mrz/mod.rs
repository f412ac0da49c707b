//! Machine readable zones of travel documents (ICAO 9303): found in a document camera's picture and read.
//!
//! [`find`] looks for the lines in a picture, [`read`] reads them with the OCR-B model, [`plate`] knows whether anything
//! lies before the camera; [`crate::document::mrz`] understands the lines.

pub mod find;
pub mod plate;
pub mod read;

pub use crate::document::mrz::{Layout, Zone, check, correct, zone};
