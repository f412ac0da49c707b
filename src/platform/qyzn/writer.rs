//! The sending half of a connection: whole frames, one write each, and a measure of how long the peer has
//! not taken any.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// Answers that may wait to be sent; beyond that no command is read until the peer has taken some.
const WAITING: usize = 256;

/// Frames on their way out.
#[derive(Debug)]
pub struct Writer<W> {
    stream: W,
    queue: VecDeque<Arc<[u8]>>,
    /// Bytes of the first frame that are gone.
    written: usize,
    /// The stream may hold some of what it took: TLS does.
    held: bool,
    /// When the peer last took something, or the queue last was empty.
    moved: Instant,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// An empty queue.
    pub fn new(stream: W) -> Self {
        Self { stream, queue: VecDeque::new(), written: 0, held: false, moved: Instant::now() }
    }

    /// Puts a frame at the end.
    pub fn push(&mut self, frame: Arc<[u8]>) {
        if self.is_empty() {
            self.moved = Instant::now();
        }
        self.queue.push_back(frame);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.held
    }

    /// Whether so much waits that nothing should be done that adds to it.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= WAITING
    }

    /// When, without a byte taken before, the peer counts as one that does not read.
    pub fn deadline(&self, patience: Duration) -> Option<Instant> {
        (!self.is_empty()).then(|| self.moved + patience)
    }

    /// Sends all that waits. May be dropped at any await and called again.
    pub async fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.queue.front() {
            let taken = self.stream.write(&frame[self.written..]).await?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.moved = Instant::now();
            self.held = true;
            self.written += taken;
            if self.written == frame.len() {
                self.written = 0;
                self.queue.pop_front();
            }
        }
        self.stream.flush().await?;
        self.held = false;
        Ok(())
    }
}
