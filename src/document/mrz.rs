//! The lines of machine readable zones (ICAO 9303), whoever has read them: a camera, or a chip that holds a copy.
//!
//! [`zone`] understands the lines, [`check`] counts their check digits, [`correct`] puts right what a camera misread
//! where the check digits prove it.

pub mod check;
pub mod correct;
pub mod zone;

pub use zone::{Layout, Zone};
