//! Data objects: tag, length, value, as ISO 7816-4 section 6 and ISO 8825-1 (BER, DER) write them. A chip is not believed:
//! lengths are those of what is there, and nothing here calls itself.

use crate::error::{Error, Kind, Result};

/// One data object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Its tag, the bytes of it one behind the other: `0x7f49`. One to three bytes.
    pub tag: u32,
    /// Its value.
    pub value: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

/// Reads data objects that stand one behind the other.
#[derive(Clone, Copy)]
pub struct Objects<'a> {
    rest: &'a [u8],
}

impl<'a> Objects<'a> {
    /// The objects in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next object; `None` behind the last.
    ///
    /// # Errors
    /// `Device`: it is cut off, has a tag of more than three bytes, or a length that is indefinite or beyond four bytes.
    pub fn take(&mut self) -> Result<Option<Tlv<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let head = head(self.rest)?;
        let end = head.len.checked_add(head.value).filter(|end| *end <= self.rest.len());
        let end = end.ok_or_else(|| malformed("an object is longer than what holds it"))?;
        let (whole, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(Some(Tlv { tag: head.tag, value: &whole[head.len..], whole }))
    }

    /// The next object if it has this tag; what else stands there is left.
    pub fn take_if(&mut self, tag: u32) -> Result<Option<Tlv<'a>>> {
        let mut ahead = *self;
        match ahead.take()? {
            Some(found) if found.tag == tag => {
                *self = ahead;
                Ok(Some(found))
            }
            _ => Ok(None),
        }
    }

    /// The next object, which must have this tag.
    pub fn expect(&mut self, tag: u32) -> Result<Tlv<'a>> {
        match self.take()? {
            Some(found) if found.tag == tag => Ok(found),
            Some(found) => {
                Err(malformed(format!("object {:02X} stands where {tag:02X} must stand", found.tag)))
            }
            None => Err(malformed(format!("object {tag:02X} is missing"))),
        }
    }

    /// The first of the objects that has this tag, wherever it stands.
    pub fn find(mut self, tag: u32) -> Result<Option<Tlv<'a>>> {
        while let Some(found) = self.take()? {
            if found.tag == tag {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Value of the one object in `bytes` that has this tag and stands first.
pub fn value(bytes: &[u8], tag: u32) -> Result<&[u8]> {
    Ok(Objects::new(bytes).expect(tag)?.value)
}

/// What an object begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its tag.
    pub tag: u32,
    /// How many bytes tag and length take.
    pub len: usize,
    /// How many bytes the value has.
    pub value: usize,
}

/// The longest head of an object: three bytes of tag, five of length.
pub const LONGEST_HEAD: usize = 8;

/// Tag and length at the beginning of `bytes`; the value need not be there.
///
/// # Errors
/// As [`Objects::take`].
pub fn head(bytes: &[u8]) -> Result<Head> {
    let cut = || malformed("an object is cut off");
    let mut at = 0;
    let mut next = || {
        let byte = bytes.get(at).copied();
        at += 1;
        byte.ok_or_else(cut)
    };
    let first = next()?;
    let mut tag = u32::from(first);
    if first & 0x1f == 0x1f {
        loop {
            let byte = next()?;
            tag = tag << 8 | u32::from(byte);
            if byte & 0x80 == 0 {
                break;
            }
            if tag > 0xffff {
                return Err(malformed("a tag has more than three bytes"));
            }
        }
    }
    let value = match next()? {
        short @ 0..=0x7f => usize::from(short),
        0x80 => return Err(malformed("an object has indefinite length")),
        long @ 0x81..=0x84 => {
            let mut value = 0u32;
            for _ in 0x80..long {
                value = value << 8 | u32::from(next()?);
            }
            usize::try_from(value).map_err(|_| malformed("an object is too long"))?
        }
        _ => return Err(malformed("a length has more than four bytes")),
    };
    Ok(Head { tag, len: at, value })
}

/// An object of this tag whose value is the parts one behind the other, with the shortest length (DER).
pub fn object(tag: u32, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut bytes = Vec::with_capacity(LONGEST_HEAD + length);
    bytes.extend(tag.to_be_bytes().into_iter().skip_while(|byte| *byte == 0));
    match length {
        0..=0x7f => {}
        0x80..=0xff => bytes.push(0x81),
        0x100..=0xffff => bytes.push(0x82),
        0x1_0000..=0xff_ffff => bytes.push(0x83),
        _ => bytes.push(0x84),
    }
    let digits = length.to_be_bytes();
    let first = digits.iter().position(|byte| *byte != 0).unwrap_or(digits.len() - 1);
    bytes.extend(&digits[first..]);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// The error of data that is not as it must be.
pub fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Device, format!("the chip's data is malformed: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn objects_are_read_and_written() {
        // ICAO 9303 part 11 appendix D.4: the EF.COM of the worked example.
        let com = [
            0x60, 0x14, 0x5f, 0x01, 0x04, b'0', b'1', b'0', b'6', 0x5f, 0x36, 0x06, b'0', b'4', b'0', b'0',
            b'0', b'0', 0x5c, 0x02, 0x61, 0x75,
        ];
        let mut objects = Objects::new(value(&com, 0x60).unwrap());
        let version = objects.take().unwrap().unwrap();
        assert_eq!((version.tag, version.value), (0x5f01, &b"0106"[..]));
        assert!(objects.take_if(0x5c).unwrap().is_none());
        assert_eq!(objects.find(0x5c).unwrap().unwrap().value, [0x61, 0x75]);
        assert_eq!(objects.expect(0x5f36).unwrap().value, b"040000");
        assert!(objects.expect(0x5f01).is_err());
        assert!(objects.take().unwrap().is_none());
        let again = object(
            0x60,
            &[
                &object(0x5f01, &[b"0106"]),
                &object(0x5f36, &[b"04", b"0000"]),
                &object(0x5c, &[&[0x61, 0x75]]),
            ],
        );
        assert_eq!(again, com);
    }

    #[test]
    fn lengths_are_the_shortest() {
        for (length, head) in [
            (0, vec![0x53, 0]),
            (127, vec![0x53, 127]),
            (128, vec![0x53, 0x81, 128]),
            (256, vec![0x53, 0x82, 1, 0]),
            (65_536, vec![0x53, 0x83, 1, 0, 0]),
        ] {
            let bytes = object(0x53, &[&vec![7; length]]);
            assert_eq!(bytes[..head.len()], head);
            assert_eq!(value(&bytes, 0x53).unwrap().len(), length);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bytes, what) in [
            (&[0x30][..], "cut off"),
            (&[0x30, 0x80, 0, 0], "indefinite"),
            (&[0x30, 0x85, 0, 0, 0, 0, 0], "more than four bytes"),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], "longer than what holds it"),
            (&[0x7f, 0x81, 0x81, 0x81, 0x01, 0], "more than three bytes"),
            (&[0x30, 3, 1, 2], "longer than what holds it"),
        ] {
            let error = Objects::new(bytes).take().err().unwrap();
            assert!(error.to_string().contains(what), "{error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_within_itself(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut objects = Objects::new(&bytes);
            let mut read = 0;
            while let Ok(Some(found)) = objects.take() {
                prop_assert!(found.whole.ends_with(found.value));
                read += found.whole.len();
                prop_assert!(read <= bytes.len());
            }
        }

        #[test]
        fn what_is_written_is_read(tag in prop::sample::select(vec![0x02u32, 0x30, 0x5f1f, 0x7f49, 0x7f_81_01]),
                                   value_ in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            let bytes = object(tag, &[&value_]);
            let found = Objects::new(&bytes).take().unwrap().unwrap();
            prop_assert_eq!(found.tag, tag);
            prop_assert_eq!(found.value, &value_[..]);
        }
    }
}
