//! What a volume of 0 to 15 (QYZN `audioctl.level`) is on a loudspeaker: 15 is as loud as it gets without
//! amplification, each step below is 2 dB less, 1 is 28 dB below, 0 is silence.

/// The highest volume.
pub(super) const MOST: u8 = 15;

/// Hundredths of a decibel of one step.
const STEP: i64 = 200;

/// What a volume is below the loudest, in hundredths of a decibel, 0 or less; `None` is silence.
pub(super) fn below_loudest(volume: u8) -> Option<i64> {
    (volume > 0).then(|| i64::from(volume.min(MOST)) * STEP - i64::from(MOST) * STEP)
}

/// The factor of a volume where there is no mixer, in 32768ths.
pub(super) fn gain(volume: u8) -> i32 {
    match below_loudest(volume) {
        // At most 32768.
        Some(hundredths) => (10_f64.powf(hundredths as f64 / 2000.0) * 32_768.0).round() as i32,
        None => 0,
    }
}

/// Samples at a [`gain`], rounded.
pub(super) fn at_gain(samples: &[i16], gain: i32) -> Vec<i16> {
    let scaled = |sample: &i16| ((i32::from(*sample) * gain + (1 << 14)) >> 15) as i16;
    samples.iter().map(scaled).collect()
}

/// Where a mixer's element goes for a volume, given the range that it has: in hundredths of a decibel, of which
/// those above 0 would amplify. `None` switches it off, or as far down as it goes.
pub(super) fn level(volume: u8, (least, most): (i64, i64)) -> Option<i64> {
    below_loudest(volume).map(|below| (most.min(0).max(least) + below).max(least))
}

/// The same for an element that does not know decibels: `1` to `15` in equal steps of its own.
pub(super) fn plain_level(volume: u8, (least, most): (i64, i64)) -> i64 {
    least + (most - least) * i64::from(volume.min(MOST)) / i64::from(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_volumes() {
        // 32768 * 10^(-dB/20), from a table of decibels.
        for (volume, factor) in
            [(15, 32_768), (14, 26_029), (12, 16_423), (8, 6_538), (5, 3_277), (1, 1_305), (0, 0)]
        {
            assert_eq!(gain(volume), factor, "{volume}");
        }
        assert_eq!(at_gain(&[i16::MIN, -1, 0, 1, i16::MAX], gain(15)), [i16::MIN, -1, 0, 1, i16::MAX]);
        assert_eq!(at_gain(&[i16::MIN, 10_000, i16::MAX], gain(5)), [-3277, 1000, 3277]);
        assert_eq!(at_gain(&[i16::MIN, i16::MAX], gain(0)), [0, 0]);
    }

    #[test]
    fn a_mixer_never_amplifies_and_stays_in_its_range() {
        // A codec of -51.5 to 0 dB, an amplifier of -34 to +12, one that only amplifies.
        assert_eq!(level(15, (-5150, 0)), Some(0));
        assert_eq!(level(8, (-5150, 0)), Some(-1400));
        assert_eq!(level(15, (-3400, 1200)), Some(0));
        assert_eq!(level(1, (-2000, 1200)), Some(-2000));
        assert_eq!(level(8, (600, 1200)), Some(600));
        assert_eq!(level(0, (-5150, 0)), None);
        assert_eq!([0, 1, 8, 15].map(|volume| plain_level(volume, (0, 31))), [0, 2, 16, 31]);
    }
}
