//! Frames to faces to templates, liveness, and the gallery that says whose a face is.

pub mod calibration;
pub mod face;
pub mod gallery;
pub mod liveness;
pub mod template;
