//! Servers for programs beside the gate.

pub mod admin;
pub mod document_reader;
