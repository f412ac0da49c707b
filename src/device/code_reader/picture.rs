//! QR and bar codes in a picture of the camera.
//!
//! The reading itself is rxing, a port of ZXing that is kept up: besides QR codes (which rqrr, smaller, reads alone) it
//! reads the bar codes of tickets, badges and goods. It is built without pictures, writers and everything else.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rxing::{BarcodeFormat, DecodeHints};

use super::CODE_BYTES;

/// Bar codes have a check digit at best: each must be read twice within this time.
const READ_TWICE_WITHIN: Duration = Duration::from_secs(2);

/// Shortest content of a bar code without a check digit (Code 39).
const LEAST_LETTERS: usize = 4;

/// What is looked for. Interleaved 2 of 5 and the like are not: stripes of a shirt are one.
static FORMATS: LazyLock<HashSet<BarcodeFormat>> = LazyLock::new(|| {
    use BarcodeFormat::{CODE_39, CODE_128, DATA_MATRIX, EAN_8, EAN_13, QR_CODE};
    HashSet::from([QR_CODE, DATA_MATRIX, CODE_128, CODE_39, EAN_13, EAN_8])
});

/// Reads codes out of one picture after the other.
#[derive(Default)]
pub struct Decoder {
    /// A bar code that was read once.
    once: Option<(String, Instant)>,
}

impl Decoder {
    /// The code in a picture of brightnesses, `width * height` of them line by line, that was taken at a moment. A bar
    /// code is told when it has been read in a second picture as well.
    pub fn decode(&mut self, luma: &[u8], size: (u32, u32), at: Instant) -> Option<String> {
        let (text, format) = find(luma, size)?;
        if matches!(format, BarcodeFormat::QR_CODE | BarcodeFormat::DATA_MATRIX) {
            return Some(text);
        }
        let again = self.once.take().is_some_and(|(known, seen)| {
            known == text && at.saturating_duration_since(seen) < READ_TWICE_WITHIN
        });
        self.once = Some((text.clone(), at));
        again.then_some(text)
    }
}

/// The code in the picture of a page that lies still, as for [`Decoder::decode`]: another look would see the same.
pub fn on_page(luma: &[u8], size: (u32, u32)) -> Option<String> {
    find(luma, size).map(|(text, _)| text)
}

fn find(luma: &[u8], (width, height): (u32, u32)) -> Option<(String, BarcodeFormat)> {
    if width == 0 || height == 0 || luma.len() as u64 != u64::from(width) * u64::from(height) {
        return None;
    }
    let mut hints = DecodeHints {
        PossibleFormats: Some(FORMATS.clone()),
        TryHarder: Some(true),
        ..DecodeHints::default()
    };
    // An error is a picture without a code.
    let found =
        rxing::helpers::detect_in_luma_slice_with_hints(luma, width, height, None, &mut hints).ok()?;
    let (text, format) = (found.getText(), *found.getBarcodeFormat());
    let least = if format == BarcodeFormat::CODE_39 { LEAST_LETTERS } else { 1 };
    (least..=CODE_BYTES).contains(&text.len()).then(|| (text.to_owned(), format))
}
