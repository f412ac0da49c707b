//! A chip card at a reader, whoever the reader is: bytes to it, bytes from it.

use crate::error::Result;

/// The longest answer to one command: 65536 bytes of extended length, and the status word.
pub const LONGEST_ANSWER: usize = 65_536 + 2;

/// A chip card that lies on a reader or stands in it (ISO 7816-4, ISO 14443-4). One thread owns it from when it was
/// connected until it is let go; the reader keeps others away from it meanwhile.
pub trait Card {
    /// Sends one command as it is and gives the whole answer as it came: at least the two bytes of the status word, at
    /// most [`LONGEST_ANSWER`]. No status word is an error here, and `61xx` and `6Cxx` are not acted on: that is for
    /// who sends. Blocks until the card has answered or the reader has given it up, seconds at most.
    ///
    /// # Errors
    /// `Device`: the reader is gone, the card was taken away, or what came is no answer. `Timeout`: the card did not
    /// answer. Neither can be told from the other by every reader; after either the card is worth nothing more.
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>>;

    /// How the card announced itself: its answer to reset, or what the reader (PC/SC part 3) makes of a contactless
    /// card's answer to select. 2 to 33 bytes.
    fn atr(&self) -> &[u8];
}
