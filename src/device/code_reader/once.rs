//! Each code once: while it stays before the reader it is the same presentation, however often it is read.

use std::time::{Duration, Instant};

/// How long a code must be away to be presented again.
pub const AWAY: Duration = Duration::from_secs(2);

/// Codes that are remembered at the same time.
const REMEMBERED: usize = 8;

/// The codes that were read last.
#[derive(Default)]
pub struct Once(Vec<(String, Instant)>);

impl Once {
    /// Whether a code that is read at a moment is a new one: it was not there for [`AWAY`].
    pub fn is_new(&mut self, code: &str, at: Instant) -> bool {
        self.0.retain(|(_, seen)| at.saturating_duration_since(*seen) < AWAY);
        if let Some((_, seen)) = self.0.iter_mut().find(|(known, _)| known == code) {
            *seen = at;
            return false;
        }
        if self.0.len() == REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((code.to_owned(), at));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_new_after_it_was_away() {
        let (mut once, start) = (Once::default(), Instant::now());
        let mut at = |code: &str, ms| once.is_new(code, start + Duration::from_millis(ms));
        assert!(at("A", 0));
        assert!(!at("A", 1999) && !at("A", 3900), "it stays there");
        assert!(at("B", 4000) && !at("A", 4100) && !at("B", 4200), "two side by side");
        assert!(at("A", 6100) && !at("B", 6199));
        for other in 0..10 {
            assert!(at(&other.to_string(), 6200));
        }
        assert_eq!(once.0.len(), REMEMBERED);
    }
}
