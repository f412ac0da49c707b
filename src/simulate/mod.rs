//! Simulators: the other end of each wire, as programs that speak it and can misbehave.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

pub mod card;
pub mod http_push;
mod journal;
mod listen;
mod named;
pub mod passport;
pub mod qyzn;
pub mod scanner;
pub mod script;
pub mod sdt;
pub mod terminal_ws;

pub use journal::{Entry, Journal};

/// A simulated platform, as [scripts](script) and the command line drive it.
pub trait Simulated: Clone + Send + Sync + 'static {
    /// A step of a script that only this platform knows.
    type Order: Send;
    /// A command on its way.
    type Sent: Send;
    /// What it can do wrong, by name.
    type Misbehave: FromStr<Err = Error> + Send;
    /// The event after which a terminal can be sent something.
    const READY: &'static str;
    /// Names of the steps that only this platform knows.
    const STEPS: &'static str;

    /// What happened so far.
    fn journal(&self) -> &Journal;
    /// Reads a step of its own; `None` if it is none. Paths are relative to `folder`.
    fn read(step: &Map<String, Value>, folder: &Path) -> Result<Option<Self::Order>>;
    /// Begins a step; a command that will be answered comes back with its name.
    fn carry_out(&self, order: Self::Order) -> Result<Option<(String, Self::Sent)>>;
    /// Waits for the answer to a command, as `expect` sees it.
    fn answer(sent: Self::Sent) -> impl Future<Output = Result<Value>> + Send;
    /// Waits until a terminal can be sent something, now or soon.
    fn ready(&self) -> impl Future<Output = Result<()>> + Send;
    /// Changes what it does wrong.
    fn misbehave(&self, misbehave: Self::Misbehave);
    /// Closes all connections.
    fn disconnect(&self);
    /// Stops listening and closes all connections.
    fn stop(&self);

    /// How often a terminal deviated from the document, and how.
    fn violations(&self) -> Vec<String> {
        let is_violation = |entry: &Arc<Entry>| entry.event == "violation";
        let entries = self.journal().from(0).into_iter().filter(is_violation);
        entries.map(|entry| entry.text("what").to_owned()).collect()
    }
}
