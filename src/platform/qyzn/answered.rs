//! The commands of a platform that [`answered`](crate::platform::answered) remembers, as QYZN names them
//! (3.2, item 5).

use std::time::Duration;

pub use crate::platform::answered::Known;

/// For how long a command is remembered: three repetitions after 20 s each, and as long again.
const REMEMBERED_FOR: Duration = Duration::from_secs(160);
/// How many commands are remembered at most; an answer is some 100 bytes.
const REMEMBERED: usize = 16 * 1024;

/// A command by its sequence and the hash of its body. Platforms begin to count anew after a restart, so
/// that the sequence alone would take a new command for an old one.
pub type Key = (u32, u64);

/// Where an answer is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyTo {
    /// The connection it was asked on, counted from 1.
    pub connection: u64,
    /// The version of the request, which the answer repeats.
    pub version: u8,
    /// The sequence.
    pub seq: u32,
    /// Whether an answer is wanted at all (a notification wants none).
    pub wanted: bool,
}

/// The cache.
pub type Answered = crate::platform::answered::Answered<Key, ReplyTo>;

/// An empty cache with the bounds of this protocol.
pub fn empty() -> Answered {
    Answered::new(REMEMBERED_FOR, REMEMBERED)
}
