//! Menshen (门神): the agent that runs on a face-recognition gate. It sees who stands there, decides, opens,
//! and tells its platform. `docs/design.md` walks one passage through these modules, in this order.

pub mod access;
pub mod agent;
pub mod alive;
pub mod bench;
mod blocking;
pub mod clock;
pub mod config;
pub mod console;
pub mod device;
pub mod diagnosis;
pub mod doctor;
pub mod document;
mod durable;
pub mod error;
pub mod eval;
pub mod event;
pub mod frame;
pub mod gate;
pub mod http;
pub mod intercom;
pub mod log;
pub mod platform;
pub mod service;
pub mod simulate;
pub mod store;
pub mod text;
pub mod tls;
pub mod update;
pub mod vision;

pub use error::{Context, Error, Kind, Result};
