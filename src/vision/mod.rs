//! Frames to faces to templates, liveness, and the gallery that says whose a face is.

pub mod align;
pub mod calibration;
pub mod detect;
pub mod embed;
pub mod enrolment;
pub mod face;
pub mod find;
pub mod gallery;
pub mod liveness;
pub mod liveness_model;
pub mod models;
pub mod motion;
pub mod mrz;
pub mod picture;
pub mod quality;
pub mod template;
pub mod track;
pub mod watch;

pub use face::{DetectedFace, Landmarks, Rect};
pub use models::Models;
pub use picture::Picture;
pub use template::Template;
