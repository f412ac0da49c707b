//! How long a link waits before it dials again.

use std::time::Duration;

/// Pauses that grow from the first to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// The first pause, and the shortest of all.
    pub first: Duration,
    /// No pause is longer.
    pub longest: Duration,
}

impl BackOff {
    /// The pause after failed attempt number `attempt`, from 0: twice as long each time, between half of it
    /// and all of it at random, so that a thousand gates do not come back at the same instant.
    pub fn pause(&self, attempt: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempt.saturating_add(1).min(16));
        let most = self.first.saturating_mul(doubled).min(self.longest);
        spread(most / 2, most).max(self.first.min(self.longest))
    }
}

/// A time between `least` and `most` at random.
pub fn spread(least: Duration, most: Duration) -> Duration {
    let share = f64::from(random_u32()) / f64::from(u32::MAX);
    least + most.saturating_sub(least).mul_f64(share)
}

/// A random number, for jitter and first sequences.
pub fn random_u32() -> u32 {
    getrandom::u32().unwrap_or_else(|_| {
        // No entropy: the hasher's own keys are random enough for a first sequence and for jitter.
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let back_off = BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        let within = |attempt, least: u64, most: u64| {
            for _ in 0..200 {
                let pause = back_off.pause(attempt);
                assert!(
                    (Duration::from_secs(least)..=Duration::from_secs(most)).contains(&pause),
                    "attempt {attempt}: {pause:?}"
                );
            }
        };
        within(0, 1, 2);
        within(1, 2, 4);
        within(2, 4, 8);
        within(5, 30, 60);
        within(u32::MAX, 30, 60);
        let some: std::collections::HashSet<_> = (0..50).map(|_| back_off.pause(5)).collect();
        assert!(some.len() > 40, "{some:?}");
    }
}
