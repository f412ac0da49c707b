//! BER-TLV as cards of EMV use it (EMV Book 3 annex B): tags of one to three bytes, lengths of up to 65535.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};

/// Templates in templates; EMV has three levels.
const DEEPEST: usize = 8;

/// A tag with its bytes as one number, such as `0x5A` or `0x9F36`.
pub type Tag = u32;

/// The primitive data objects of a card, the first of each tag.
pub type Objects = BTreeMap<Tag, Vec<u8>>;

/// One data object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object<'a> {
    /// Its tag.
    pub tag: Tag,
    /// Its value.
    pub value: &'a [u8],
    /// Whether it is a template.
    pub constructed: bool,
}

/// The data objects of a template, one after the other. Bytes 00 and FF between them are no objects (ISO/IEC 7816-4
/// chapter 5.2.2.1). After an error there is nothing more.
pub struct Walk<'a>(&'a [u8]);

/// Reads the data objects of a template.
pub fn objects(data: &[u8]) -> Walk<'_> {
    Walk(data)
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Input, format!("the card's data objects are damaged: {what}"))
}

/// A tag, and what follows it.
fn take_tag(data: &[u8]) -> Result<(Tag, bool, &[u8])> {
    let cut = || damaged("a tag is cut off");
    let (first, mut rest) = data.split_first().ok_or_else(cut)?;
    let constructed = first & 0x20 != 0;
    let mut tag = Tag::from(*first);
    if first & 0x1f == 0x1f {
        loop {
            let (next, after) = rest.split_first().ok_or_else(cut)?;
            (tag, rest) = (tag << 8 | Tag::from(*next), after);
            if next & 0x80 == 0 {
                break;
            }
            if tag > 0xffff {
                return Err(damaged("a tag has more than three bytes"));
            }
        }
    }
    Ok((tag, constructed, rest))
}

/// A length, and what follows it.
fn take_length(data: &[u8]) -> Result<(usize, &[u8])> {
    let cut = || damaged("a length is cut off");
    let (first, rest) = data.split_first().ok_or_else(cut)?;
    match first {
        0..=0x7f => Ok((usize::from(*first), rest)),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest)).ok_or_else(cut),
        0x82 => match rest {
            [high, low, rest @ ..] => Ok((usize::from(u16::from_be_bytes([*high, *low])), rest)),
            _ => Err(cut()),
        },
        _ => Err(damaged("a length is none that cards of EMV use")),
    }
}

impl<'a> Walk<'a> {
    fn take(&mut self) -> Result<Object<'a>> {
        let (tag, constructed, rest) = take_tag(self.0)?;
        let (length, rest) = take_length(rest)?;
        let (value, rest) = rest
            .split_at_checked(length)
            .ok_or_else(|| damaged(&format!("object {tag:X} has {} bytes of {length}", rest.len())))?;
        self.0 = rest;
        Ok(Object { tag, value, constructed })
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Object<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let [0x00 | 0xff, rest @ ..] = self.0 {
            self.0 = rest;
        }
        if self.0.is_empty() {
            return None;
        }
        let object = self.take();
        if object.is_err() {
            self.0 = &[];
        }
        Some(object)
    }
}

/// The value of the first object `tag` of a template, in templates within it as well.
pub fn find(data: &[u8], tag: Tag) -> Result<Option<&[u8]>> {
    fn find(data: &[u8], tag: Tag, depth: usize) -> Result<Option<&[u8]>> {
        for object in objects(data) {
            let object = object?;
            if object.tag == tag {
                return Ok(Some(object.value));
            }
            if object.constructed {
                if depth == 0 {
                    return Err(damaged("templates lie too deep in each other"));
                }
                if let Some(value) = find(object.value, tag, depth - 1)? {
                    return Ok(Some(value));
                }
            }
        }
        Ok(None)
    }
    find(data, tag, DEEPEST)
}

/// Keeps all primitive objects of a template, also of templates within it. What is there already stays; nothing is kept of
/// a template that is damaged.
pub fn keep(data: &[u8], kept: &mut Objects) -> Result<()> {
    fn collect(data: &[u8], found: &mut Objects, depth: usize) -> Result<()> {
        for object in objects(data) {
            let object = object?;
            if !object.constructed {
                found.entry(object.tag).or_insert_with(|| object.value.to_vec());
            } else if depth == 0 {
                return Err(damaged("templates lie too deep in each other"));
            } else {
                collect(object.value, found, depth - 1)?;
            }
        }
        Ok(())
    }
    let mut found = Objects::new();
    collect(data, &mut found, DEEPEST)?;
    for (tag, value) in found {
        kept.entry(tag).or_insert(value);
    }
    Ok(())
}

/// The entries of a data object list (EMV Book 3 chapter 5.4): tags and how many bytes are wanted of each.
pub fn list(mut list: &[u8]) -> Result<Vec<(Tag, usize)>> {
    let mut entries = Vec::new();
    while !list.is_empty() {
        let (tag, _, rest) = take_tag(list)?;
        let (length, rest) = take_length(rest)?;
        entries.push((tag, length));
        list = rest;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn objects_of_every_length_are_read() {
        let mut data = vec![0x5a, 0x02, 0x62, 0x00, 0x00, 0xff, 0x9f, 0x36, 0x02, 0x00, 0x07];
        data.extend_from_slice(&[0xdf, 0x81, 0x29, 0x81, 0x80]);
        data.extend_from_slice(&[0x11; 0x80]);
        data.extend_from_slice(&[0x70, 0x82, 0x01, 0x00]);
        data.extend_from_slice(&[0x00; 0x100]);
        let read: Vec<_> = objects(&data).map(|object| object.unwrap()).collect();
        let short: Vec<_> =
            read.iter().map(|object| (object.tag, object.value.len(), object.constructed)).collect();
        assert_eq!(
            short,
            [(0x5a, 2, false), (0x9f36, 2, false), (0xdf_8129, 0x80, false), (0x70, 0x100, true)]
        );
    }

    #[test]
    fn damage_is_told_and_ends_it() {
        for (data, words) in [
            (&[0x5a][..], "a length is cut off"),
            (&[0x9f], "a tag is cut off"),
            (&[0x5a, 0x03, 0x62, 0x00], "object 5A has 2 bytes of 3"),
            (&[0x5a, 0x81], "a length is cut off"),
            (&[0x5a, 0x82, 0x01], "a length is cut off"),
            (&[0x5a, 0x80, 0x00, 0x00], "a length is none that cards of EMV use"),
            (&[0x5a, 0x84, 0, 0, 0, 1, 7], "a length is none that cards of EMV use"),
            (&[0x9f, 0x81, 0x81, 0x81, 0x01, 0x00], "a tag has more than three bytes"),
        ] {
            let read: Vec<_> = objects(data).collect();
            assert_eq!(read.len(), 1, "{data:02x?}");
            let error = read[0].as_ref().unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.message().ends_with(words), "{data:02x?}: {error}");
        }
    }

    #[test]
    fn templates_are_looked_into_but_not_for_ever() {
        let fci = [0x6f, 0x08, 0x84, 0x01, 0xa0, 0xa5, 0x03, 0x88, 0x01, 0x01];
        assert_eq!(find(&fci, 0x88).unwrap(), Some(&[0x01][..]));
        assert_eq!(find(&fci, 0x9f38).unwrap(), None);
        let mut nested = vec![0x88, 0x01, 0x01];
        for _ in 0..20 {
            nested.splice(0..0, [0x70, u8::try_from(nested.len()).unwrap()]);
        }
        assert!(find(&nested, 0x88).unwrap_err().message().ends_with("too deep in each other"));
        assert!(
            keep(&nested, &mut Objects::new()).unwrap_err().message().ends_with("too deep in each other")
        );
    }

    #[test]
    fn a_damaged_record_leaves_nothing_behind() {
        let mut kept = Objects::from([(0x5a, vec![1])]);
        assert!(keep(&[0x5f, 0x34, 0x01, 0x01, 0x57, 0x09, 0x62], &mut kept).is_err());
        assert_eq!(kept, Objects::from([(0x5a, vec![1])]));
        keep(&[0x70, 0x08, 0x5a, 0x01, 0x02, 0x5f, 0x34, 0x02, 0x00, 0x01], &mut kept).unwrap();
        assert_eq!(kept, Objects::from([(0x5a, vec![1]), (0x5f34, vec![0, 1])]));
    }

    #[test]
    fn lists_are_tags_and_lengths() {
        // A PDOL of a quick PBOC card: TTQ, amounts, country, TVR, currency, date, type, unpredictable number.
        let pdol = [
            0x9f, 0x66, 4, 0x9f, 0x02, 6, 0x9f, 0x03, 6, 0x9f, 0x1a, 2, 0x95, 5, 0x5f, 0x2a, 2, 0x9a, 3,
            0x9c, 1, 0x9f, 0x37, 4,
        ];
        let read = list(&pdol).unwrap();
        assert_eq!(read[0], (0x9f66, 4));
        assert_eq!(read[8], (0x9f37, 4));
        assert_eq!(read.iter().map(|(_, length)| length).sum::<usize>(), 33);
        assert!(list(&[0x9f, 0x66]).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut all = 0;
            for object in objects(&data) {
                match object {
                    Ok(object) => all += object.value.len() + 2,
                    Err(error) => prop_assert_eq!(error.kind(), Kind::Input),
                }
            }
            prop_assert!(all <= data.len());
            let mut kept = Objects::new();
            if keep(&data, &mut kept).is_ok() {
                for (tag, value) in &kept {
                    prop_assert_eq!(find(&data, *tag).unwrap(), Some(&value[..]));
                }
            }
            let _ = list(&data);
        }

        #[test]
        fn what_is_written_is_read(values in proptest::collection::vec(
            (0x9f01_u32..=0x9f7e, proptest::collection::vec(any::<u8>(), 0..300)), 0..8)) {
            let mut data = Vec::new();
            for (tag, value) in &values {
                data.extend_from_slice(&tag.to_be_bytes()[2..]);
                data.push(0x82);
                data.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
                data.extend_from_slice(value);
            }
            let read: Vec<_> = objects(&data).map(|object| object.unwrap()).collect();
            let read: Vec<_> = read.iter().map(|object| (object.tag, object.value.to_vec())).collect();
            prop_assert_eq!(read, values);
        }
    }
}
