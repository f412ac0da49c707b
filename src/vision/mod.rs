//! Frames to faces to templates, liveness, and the gallery that says whose a face is.

pub mod calibration;
pub mod gallery;
pub mod template;
