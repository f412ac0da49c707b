//! What opens a chip: the lines for machines, or the card access number (ICAO 9303 part 11 section 9.7.2).

use super::hash::Hash;
use crate::document::mrz::{Zone, check};
use crate::error::{Error, Kind, Result};

/// What opens a chip. `Debug` says only of which kind it is.
#[derive(Clone)]
pub struct AccessKey(Key);

#[derive(Clone)]
enum Key {
    /// Number, birthday and last valid day, each with its check digit.
    Mrz(String),
    /// Six digits.
    Can(String),
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Key::Mrz(_) => "the lines for machines",
            Key::Can(_) => "the card access number",
        })
    }
}

/// The longest number of a document: nine letters, and the optional field of a TD1 less its check digit.
const LONGEST_NUMBER: usize = 9 + 14;

impl AccessKey {
    /// The key of the number of a document (fillers at its end or not), and its birthday and last valid day in six digits
    /// each, as they are printed for machines; `<` stands for an unknown part of the birthday.
    ///
    /// # Errors
    /// `Input`: one of them cannot be; it says which.
    pub fn mrz(number: &str, birthday: &str, expires: &str) -> Result<Self> {
        let wrong = |what| Error::new(Kind::Input, format!("the chip cannot be opened with this {what}"));
        let with_digit = |field: &str| format!("{field}{}", char::from(check::digit(field.bytes())));
        let number = number.trim_end_matches('<');
        let allowed = number.bytes().all(|byte| check::value(byte).is_some());
        if number.is_empty() || number.len() > LONGEST_NUMBER || !allowed {
            return Err(wrong("number of a document"));
        }
        let day =
            |text: &str| text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'<');
        if !day(birthday) {
            return Err(wrong("birthday: six digits are needed"));
        }
        if !day(expires) {
            return Err(wrong("last valid day: six digits are needed"));
        }
        Ok(Self(Key::Mrz(
            with_digit(&format!("{number:<<9}")) + &with_digit(birthday) + &with_digit(expires),
        )))
    }

    /// The key of the lines for machines, as they were read from the page.
    pub fn zone(zone: &Zone) -> Self {
        Self(Key::Mrz(zone.key_information()))
    }

    /// The key of a card access number: the six digits that are printed on the front.
    ///
    /// # Errors
    /// `Input`: it has not six digits.
    pub fn can(digits: &str) -> Result<Self> {
        if digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(Key::Can(digits.to_owned())))
        } else {
            Err(Error::new(Kind::Input, "a card access number has six digits"))
        }
    }

    /// The secret that BAC's keys come from; `None` where it has none.
    pub(crate) fn basic(&self) -> Option<Vec<u8>> {
        match &self.0 {
            Key::Mrz(text) => Some(Hash::Sha1.of(&[text.as_bytes()])[..16].to_vec()),
            Key::Can(_) => None,
        }
    }

    /// The secret that PACE's key comes from, and the number of its kind.
    pub(crate) fn password(&self) -> (Vec<u8>, u8) {
        match &self.0 {
            Key::Mrz(text) => (Hash::Sha1.of(&[text.as_bytes()]), 1),
            Key::Can(digits) => (digits.as_bytes().to_vec(), 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn keys_are_the_worked_examples() {
        // ICAO 9303 part 11 appendix D.2; the lines are another specimen of the same document.
        let key = AccessKey::mrz("L898902C<", "690806", "940623").unwrap();
        assert_eq!(key.basic().unwrap(), hex("239AB9CB282DAF66231DC5A4DF6BFBAE"));
        // Appendix D.2: a number of more than nine letters.
        let Key::Mrz(text) = AccessKey::mrz("D23145890734", "340712", "950712").unwrap().0 else { panic!() };
        assert_eq!(text, "D23145890734934071279507122");
        let lines = [
            "I<UTOD23145890<7349<<<<<<<<<<<",
            "3407127M9507122UTO<<<<<<<<<<<2",
            "STEVENSON<<PETER<JOHN<<<<<<<<<",
        ];
        let zone = Zone::parse(&lines, jiff::civil::date(1990, 1, 1)).unwrap();
        let Key::Mrz(text) = AccessKey::zone(&zone).0 else { panic!() };
        assert_eq!(text, "D23145890734934071279507122");
        // Appendix G.1.
        let (secret, kind) = AccessKey::mrz("T22000129", "640812", "101031").unwrap().password();
        assert_eq!((secret, kind), (hex("7E2D2A41C74EA0B38CD36F863939BFA8E9032AAD"), 1));
        assert_eq!(AccessKey::can("123456").unwrap().password(), (b"123456".to_vec(), 2));
        assert!(AccessKey::can("123456").unwrap().basic().is_none());
    }

    #[test]
    fn what_opens_is_not_told() {
        let key = AccessKey::mrz("T22000129", "640812", "101031").unwrap();
        assert_eq!(
            format!("{key:?} {:?}", AccessKey::can("123456")),
            "the lines for machines Ok(the card access number)"
        );
        for error in [
            AccessKey::mrz("t22000129", "640812", "101031"),
            AccessKey::mrz("T22000129", "64081", "101031"),
            AccessKey::mrz("T22000129", "640812", "1O1031"),
            AccessKey::mrz("", "640812", "101031"),
            AccessKey::can("12345x"),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(!error.to_string().contains("22000129"), "{error}");
        }
    }
}
