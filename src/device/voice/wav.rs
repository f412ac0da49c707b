//! The one kind of sound file that sentences are: RIFF WAVE, PCM, 16 bits, one channel (Microsoft and IBM,
//! "Multimedia Programming Interface and Data Specifications 1.0", 1991).

use crate::error::{Error, Kind, Result};

/// The largest file: more than a minute at 16 kHz.
pub(super) const MOST_BYTES: u64 = 2 << 20;

/// Samples in a second that are taken.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;

/// One sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sound {
    /// Samples in a second, 8000 to 48000.
    pub(super) rate: u32,
    /// One channel.
    pub(super) samples: Vec<i16>,
}

fn wrong(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(Kind::Input, what)
}

/// Reads a whole file. `Input` for anything but the form above, and for a file that was cut short.
pub(super) fn parse(bytes: &[u8]) -> Result<Sound> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
    };
    let half = |at: usize| -> Option<u16> {
        Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
    };
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err(wrong("is no WAV file"));
    }
    let cut = || wrong("is cut short");
    let (mut at, mut rate) = (12, None);
    loop {
        let name = bytes.get(at..at + 4).ok_or_else(cut)?;
        let length = usize::try_from(word(at + 4).ok_or_else(cut)?).map_err(|_| cut())?;
        let body = at + 8;
        let end = body.checked_add(length).filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        match name {
            b"fmt " => {
                let shape = (half(body), half(body + 2), half(body + 14), half(body + 12));
                if length < 16 || shape != (Some(1), Some(1), Some(16), Some(2)) {
                    return Err(wrong("is not PCM with 16 bits and one channel"));
                }
                let found = word(body + 4).filter(|rate| RATES.contains(rate));
                rate = Some(found.ok_or_else(|| wrong("has a rate beyond 8000 to 48000 Hz"))?);
            }
            b"data" => {
                let rate = rate.ok_or_else(|| wrong("has sound before its form"))?;
                let data = bytes.get(body..end).unwrap_or_default();
                if data.is_empty() || data.len() % 2 != 0 {
                    return Err(wrong("has no whole sample"));
                }
                let samples = data.chunks_exact(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect();
                return Ok(Sound { rate, samples });
            }
            _ => {}
        }
        // Chunks begin at even places.
        at = end + (length & 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written out by hand from the specification.
    fn file() -> Vec<u8> {
        let mut bytes =
            b"RIFF\x2e\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0".to_vec();
        bytes.extend(b"LIST\x03\0\0\0abc\0data\x06\0\0\0\x01\0\xff\xff\x00\x80");
        bytes
    }

    #[test]
    fn a_file_is_read() {
        assert_eq!(parse(&file()).unwrap(), Sound { rate: 16_000, samples: vec![1, -1, -32_768] });
    }

    #[test]
    fn every_half_of_a_file_is_refused() {
        let whole = file();
        for length in 0..whole.len() {
            let error = parse(&whole[..length]).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{length}");
        }
        assert_eq!(parse(&whole[..whole.len() - 1]).unwrap_err().message(), "is cut short");
    }

    #[test]
    fn other_forms_are_refused_by_name() {
        let with = |at: usize, value: &[u8]| {
            let mut bytes = file();
            bytes[at..at + value.len()].copy_from_slice(value);
            parse(&bytes).unwrap_err().message().to_owned()
        };
        let form = "is not PCM with 16 bits and one channel";
        assert_eq!(with(0, b"RIFX"), "is no WAV file");
        assert_eq!(with(20, &[3]), form, "floating point");
        assert_eq!(with(22, &[2]), form, "stereo");
        assert_eq!(with(34, &[8]), form, "8 bits");
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let with = |at: usize, value: u32| {
            let mut bytes = file();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            parse(&bytes).unwrap_err().message().to_owned()
        };
        assert_eq!(with(24, 4_000_000), "has a rate beyond 8000 to 48000 Hz");
        assert_eq!(with(24, 0), "has a rate beyond 8000 to 48000 Hz");
        // The length of the sound, of a chunk before it, and of its form.
        for place in [52, 40, 16] {
            assert_eq!(with(place, u32::MAX), "is cut short");
            assert_eq!(with(place, u32::MAX - 8), "is cut short");
        }
        assert_eq!(with(52, 5), "has no whole sample");
        assert_eq!(with(52, 0), "has no whole sample");
        assert_eq!(with(16, 2), "is not PCM with 16 bits and one channel");
    }
}
