//! How sound gets into a device that may be late, run empty, hang or be pulled out.

use std::time::{Duration, Instant};

use rustix::io::Errno;

/// A device that takes no sample for so long hangs.
const STALLED: Duration = Duration::from_secs(1);

/// How much longer than the sound itself a device may take to have played it.
const LATE: Duration = Duration::from_millis(1500);

/// How often one sound may run empty, or the machine go to sleep under it, before it is given up.
const RECOVERIES: u32 = 20;

/// Between two looks at a device that cannot be waited for.
const LOOK: Duration = Duration::from_millis(10);

/// A device that is open for samples of one channel. None of its calls waits, but [`Sink::wait`].
pub(super) trait Sink {
    /// Hands over samples; how many were taken. `AGAIN` when it is full, `PIPE` when it has run empty, `STRPIPE` when
    /// the machine slept.
    fn write(&mut self, samples: &[i16]) -> Result<usize, Errno>;
    /// Waits until it takes samples again, or for `within`.
    fn wait(&mut self, within: Duration) -> Result<(), Errno>;
    /// Makes it ready again after `PIPE` or `STRPIPE`.
    fn recover(&mut self, errno: Errno) -> Result<(), Errno>;
    /// Plays what it has; Ok when it has been heard, `AGAIN` until then.
    fn drain(&mut self) -> Result<(), Errno>;
    /// Throws away what it has not played.
    fn drop(&mut self);
}

/// Why a sound was not heard to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unheard {
    /// The device takes no samples, or does not play them.
    Hangs,
    /// It failed, or is gone.
    Failed(Errno),
}

/// Plays samples, `rate` in a second; returns when they have been heard.
pub(super) fn play(sink: &mut impl Sink, samples: &[i16], rate: u32) -> Result<(), Unheard> {
    let outcome = hand_over(sink, samples, rate);
    if outcome.is_err() {
        // What is left would be heard before the next sentence.
        sink.drop();
    }
    outcome
}

fn hand_over(sink: &mut impl Sink, mut samples: &[i16], rate: u32) -> Result<(), Unheard> {
    let length = Duration::from_secs_f64(samples.len() as f64 / f64::from(rate.max(1)));
    let until = Instant::now() + length + LATE;
    let mut recoveries = 0;
    let mut recover = |sink: &mut dyn Sink, errno| {
        recoveries += 1;
        match errno {
            Errno::PIPE | Errno::STRPIPE if recoveries <= RECOVERIES => {
                sink.recover(errno).map_err(Unheard::Failed)
            }
            errno => Err(Unheard::Failed(errno)),
        }
    };
    let mut moved = Instant::now();
    while !samples.is_empty() {
        match sink.write(samples) {
            Ok(taken) if taken > 0 => {
                samples = samples.get(taken..).unwrap_or_default();
                moved = Instant::now();
                continue;
            }
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => {
                recover(sink, errno)?;
                continue;
            }
        }
        let now = Instant::now();
        let left = (moved + STALLED).min(until).saturating_duration_since(now);
        if left.is_zero() {
            return Err(Unheard::Hangs);
        }
        match sink.wait(left) {
            // A device that says it is ready and takes nothing must not be asked without a pause.
            Ok(()) => std::thread::sleep(LOOK.min(left)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => recover(sink, errno)?,
        }
    }
    loop {
        match sink.drain() {
            // Run empty is what it was to do.
            Ok(()) | Err(Errno::PIPE) => return Ok(()),
            Err(Errno::AGAIN | Errno::INTR) if Instant::now() < until => std::thread::sleep(LOOK),
            Err(Errno::AGAIN | Errno::INTR) => return Err(Unheard::Hangs),
            Err(errno) => recover(sink, errno)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A device that does what its script says, then takes all.
    #[derive(Default)]
    struct Scripted {
        writes: VecDeque<Result<usize, Errno>>,
        drains: VecDeque<Result<(), Errno>>,
        recovers: Option<Errno>,
        heard: Vec<i16>,
        recovered: Vec<Errno>,
        dropped: bool,
    }

    impl Sink for Scripted {
        fn write(&mut self, samples: &[i16]) -> Result<usize, Errno> {
            let taken = self.writes.pop_front().unwrap_or(Ok(samples.len()))?;
            self.heard.extend(&samples[..taken]);
            Ok(taken)
        }

        fn wait(&mut self, within: Duration) -> Result<(), Errno> {
            assert!(!within.is_zero() && within <= STALLED, "{within:?}");
            Ok(())
        }

        fn recover(&mut self, errno: Errno) -> Result<(), Errno> {
            self.recovered.push(errno);
            self.recovers.map_or(Ok(()), Err)
        }

        fn drain(&mut self) -> Result<(), Errno> {
            self.drains.pop_front().unwrap_or(Ok(()))
        }

        fn drop(&mut self) {
            self.dropped = true;
        }
    }

    const SOUND: [i16; 5] = [1, 2, 3, 4, 5];

    #[test]
    fn a_device_that_is_full_runs_empty_and_sleeps_hears_all() {
        let mut device = Scripted {
            writes: [
                Ok(2),
                Err(Errno::AGAIN),
                Ok(0),
                Err(Errno::PIPE),
                Ok(1),
                Err(Errno::INTR),
                Err(Errno::STRPIPE),
            ]
            .into(),
            drains: [Err(Errno::AGAIN), Err(Errno::AGAIN)].into(),
            ..Scripted::default()
        };
        assert_eq!(play(&mut device, &SOUND, 16_000), Ok(()));
        assert_eq!(device.heard, SOUND);
        assert_eq!(device.recovered, [Errno::PIPE, Errno::STRPIPE]);
        assert!(device.drains.is_empty() && !device.dropped);
    }

    #[test]
    fn a_device_that_was_pulled_out_ends_the_sound() {
        let mut device = Scripted { writes: [Ok(2), Err(Errno::NODEV)].into(), ..Scripted::default() };
        assert_eq!(play(&mut device, &SOUND, 16_000), Err(Unheard::Failed(Errno::NODEV)));
        assert!(device.dropped);
        let mut device = Scripted {
            writes: [Err(Errno::PIPE)].into(),
            recovers: Some(Errno::NODEV),
            ..Scripted::default()
        };
        assert_eq!(play(&mut device, &SOUND, 16_000), Err(Unheard::Failed(Errno::NODEV)));
        // One that always runs empty is given up.
        let mut device = Scripted { writes: vec![Err(Errno::PIPE); 100].into(), ..Scripted::default() };
        assert_eq!(play(&mut device, &SOUND, 16_000), Err(Unheard::Failed(Errno::PIPE)));
        assert_eq!(device.recovered.len(), RECOVERIES as usize);
    }

    #[test]
    fn a_device_that_hangs_is_given_up_soon() {
        let began = Instant::now();
        let mut device = Scripted { writes: vec![Err(Errno::AGAIN); 10_000].into(), ..Scripted::default() };
        assert_eq!(play(&mut device, &SOUND, 16_000), Err(Unheard::Hangs));
        assert!(device.dropped && device.heard.is_empty());
        // It takes all and plays none.
        let mut device = Scripted { drains: vec![Err(Errno::AGAIN); 10_000].into(), ..Scripted::default() };
        assert_eq!(play(&mut device, &SOUND, 16_000), Err(Unheard::Hangs));
        assert!(device.dropped);
        assert!((STALLED + LATE..2 * (STALLED + LATE)).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}
