//! Servers for programs beside the gate.

pub mod admin;
