//! The lines for machines as a chip holds them in DG1 (ICAO 9303 part 10 section 4.7.1). They are the issuer's own, so nothing is
//! corrected: what does not fit is an error.

use jiff::civil::Date;

use super::tlv::{malformed, value};
use crate::document::mrz::Zone;
use crate::document::{Reading, Source};
use crate::error::{Context as _, Kind, Result};

/// Letters of the lines of one size, and how many lines.
const SIZES: [(usize, usize); 3] = [(44, 2), (36, 2), (30, 3)];

/// The lines of DG1, a whole file. `today` tells the centuries.
///
/// # Errors
/// `Device`: it is malformed, or a check digit is wrong. It says where, not what stands there.
pub fn zone(file: &[u8], today: Date) -> Result<Zone> {
    let text = value(value(file, 0x61)?, 0x5f1f)?;
    let (length, _) = SIZES
        .into_iter()
        .find(|(length, count)| length * count == text.len())
        .ok_or_else(|| malformed(format_args!("the lines of DG1 have {} letters", text.len())))?;
    if !text.is_ascii() {
        return Err(malformed("the lines of DG1 have letters which they cannot have"));
    }
    let lines: Vec<_> = text.chunks(length).map(String::from_utf8_lossy).collect();
    Zone::parse(&lines, today).context_as(Kind::Device, || "the chip's data is malformed: DG1")
}

/// What the lines say, as the chip says it.
pub fn reading(zone: Zone) -> Reading {
    let mut reading = zone.into_reading();
    for text in &mut reading.texts {
        text.source = Source::Chip;
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::super::tlv::object;
    use super::*;
    use crate::document::DocumentKind;
    use jiff::civil::date;
    use proptest::prelude::*;

    /// The specimens of part 4 appendix B, part 5 appendix B and part 6 appendix B.
    const TD3: [&str; 2] =
        ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
    const TD1: [&str; 3] = [
        "I<UTOD231458907<<<<<<<<<<<<<<<",
        "7408122F1204159UTO<<<<<<<<<<<6",
        "ERIKSSON<<ANNA<MARIA<<<<<<<<<<",
    ];
    const TD2: [&str; 2] = ["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"];
    const TODAY: Date = date(2011, 5, 1);

    fn dg1(lines: &[&str]) -> Vec<u8> {
        object(0x61, &[&object(0x5f1f, &[lines.concat().as_bytes()])])
    }

    #[test]
    fn specimens_are_read() {
        let passport = reading(zone(&dg1(&TD3), TODAY).unwrap());
        assert_eq!(passport.document.kind, DocumentKind::Passport);
        assert_eq!(passport.document.number, "L898902C3");
        assert_eq!(passport.document.expires, Some(date(2012, 4, 15)));
        assert!(!passport.texts.is_empty());
        assert!(passport.texts.iter().all(|text| text.source == Source::Chip));
        assert_eq!(passport.mrz, TD3);
        for lines in [&TD1[..], &TD2[..]] {
            let card = reading(zone(&dg1(lines), TODAY).unwrap());
            assert_eq!(card.document.kind, DocumentKind::TravelCard);
            assert_eq!(card.document.number, "D23145890");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        let wrong = [TD3[0], &TD3[1].replace("L898902C36", "L898902D36")];
        let error = zone(&dg1(&wrong), TODAY).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        let error = error.to_string();
        assert!(error.contains("DG1") && error.contains("check digit"), "{error}");
        assert!(!error.contains("898902") && !error.contains("ERIKSSON"), "{error}");
        for lines in [&["ABC"][..], &["\u{c4}".repeat(44).as_str()], &[]] {
            assert_eq!(zone(&dg1(lines), TODAY).unwrap_err().kind(), Kind::Device);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = zone(&bytes, TODAY);
            let _ = zone(&object(0x61, &[&object(0x5f1f, &[&bytes])]), TODAY);
        }

        #[test]
        fn any_letters_are_no_panic(text in "[A-Z0-9<]{88}", small in "[A-Z0-9<]{90}") {
            let _ = zone(&dg1(&[&text]), TODAY);
            let _ = zone(&dg1(&[&small]), TODAY);
        }
    }
}
