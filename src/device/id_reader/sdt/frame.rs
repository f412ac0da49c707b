//! The frames of SDT modules (GA 450: the SAM_V module's protocol, as its makers publish it), apart from the port.
//!
//! To the module: `AA AA AA 96 69`, length (two bytes, the high one first, of all that follows), command, parameter,
//! data, check. From it: the same head and length, SW1, SW2, SW3, data, check. The check is the XOR of everything between
//! the head and itself.

/// What each frame begins with.
pub const HEAD: [u8; 5] = [0xaa, 0xaa, 0xaa, 0x96, 0x69];

/// Longest frame behind its length: statuses, three lengths, texts, photo, fingerprints, check, and some room for modules
/// that fill up.
pub const LONGEST: usize = 2560;

/// Statuses and check: what every answer has.
const SHORTEST: usize = 4;

/// What a module is told to do. None of them has data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Begins anew.
    Reset,
    /// Tells how it is.
    State,
    /// Tells the number of the module (SAM id).
    ModuleId,
    /// Looks for a card.
    Find,
    /// Selects the card that was found.
    Select,
    /// Reads texts and photo.
    ReadBase,
    /// Reads texts, photo and fingerprints.
    ReadFingerprints,
    /// Reads the additional address.
    ReadAddress,
}

impl Command {
    /// Command and parameter.
    pub const fn code(self) -> [u8; 2] {
        match self {
            Command::Reset => [0x10, 0xff],
            Command::State => [0x11, 0xff],
            Command::ModuleId => [0x12, 0xff],
            Command::Find => [0x20, 0x01],
            Command::Select => [0x20, 0x02],
            Command::ReadBase => [0x30, 0x01],
            Command::ReadFingerprints => [0x30, 0x10],
            Command::ReadAddress => [0x30, 0x03],
        }
    }

    /// Its frame.
    pub const fn frame(self) -> [u8; 10] {
        let [command, parameter] = self.code();
        let [a, b, c, d, e] = HEAD;
        // The check is over the length, 0003, too.
        [a, b, c, d, e, 0x00, 0x03, command, parameter, 0x03 ^ command ^ parameter]
    }
}

/// What stands in a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No whole frame yet.
    Nothing,
    /// A frame that is damaged, and how.
    Damaged(&'static str),
    /// An answer.
    Answer(Answer<'a>),
}

/// What a module answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// SW1 and SW2 are the card's, SW3 is the module's.
    pub status: [u8; 3],
    /// What belongs to it.
    pub data: &'a [u8],
}

/// The first frame in `bytes`, and how many of them are done with. Anything before a head is skipped. Of a damaged frame
/// only the head is done with: a whole one may stand within its supposed length.
pub fn read(bytes: &[u8]) -> (usize, Found<'_>) {
    let Some(start) = bytes.windows(HEAD.len()).position(|five| five == HEAD) else {
        // The last bytes may be the first of a head.
        let kept = (1..HEAD.len())
            .rev()
            .find(|length| HEAD.get(..*length).is_some_and(|head| bytes.ends_with(head)))
            .unwrap_or(0);
        return (bytes.len() - kept, Found::Nothing);
    };
    let at = start + HEAD.len();
    let Some(&[high, low]) = bytes.get(at..at + 2) else { return (start, Found::Nothing) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(SHORTEST..=LONGEST).contains(&length) {
        return (at, Found::Damaged("an impossible length"));
    }
    let end = at + 2 + length;
    let Some(checked) = bytes.get(at..end) else { return (start, Found::Nothing) };
    if checked.iter().fold(0, |check, byte| check ^ byte) != 0 {
        return (at, Found::Damaged("a wrong check"));
    }
    match checked {
        [_, _, sw1, sw2, sw3, data @ .., _] => {
            (end, Found::Answer(Answer { status: [*sw1, *sw2, *sw3], data }))
        }
        _ => (at, Found::Damaged("an impossible length")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From the published list of commands, with their checks as they stand there.
    const COMMANDS: [(Command, [u8; 10]); 8] = [
        (Command::Reset, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x10, 0xff, 0xec]),
        (Command::State, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x11, 0xff, 0xed]),
        (Command::ModuleId, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x12, 0xff, 0xee]),
        (Command::Find, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x20, 0x01, 0x22]),
        (Command::Select, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x20, 0x02, 0x21]),
        (Command::ReadBase, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x30, 0x01, 0x32]),
        (Command::ReadFingerprints, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x30, 0x10, 0x23]),
        (Command::ReadAddress, [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x03, 0x30, 0x03, 0x30]),
    ];

    /// Answers that modules give to Find without a card and with one, and to Select; as makers publish them.
    const NO_CARD: [u8; 11] = [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x04, 0x00, 0x00, 0x80, 0x84];
    const A_CARD: [u8; 15] =
        [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x08, 0x00, 0x00, 0x9f, 0x00, 0x00, 0x00, 0x00, 0x97];
    const SELECTED: [u8; 19] =
        [0xaa, 0xaa, 0xaa, 0x96, 0x69, 0x00, 0x0c, 0x00, 0x00, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0x9c];

    fn answer(status: u8, data: &[u8]) -> Found<'_> {
        Found::Answer(Answer { status: [0, 0, status], data })
    }

    #[test]
    fn frames_are_the_published_ones() {
        for (command, frame) in COMMANDS {
            assert_eq!(command.frame(), frame, "{command:?}");
        }
        assert_eq!(read(&NO_CARD), (11, answer(0x80, &[])));
        assert_eq!(read(&A_CARD), (15, answer(0x9f, &[0; 4])));
        assert_eq!(read(&SELECTED), (19, answer(0x90, &[0; 8])));
        // Piece by piece.
        for length in 0..A_CARD.len() {
            assert_eq!(read(&A_CARD[..length]), (0, Found::Nothing), "{length}");
        }
    }

    #[test]
    fn a_frame_is_found_behind_anything() {
        for noise in [&[0x00][..], &[0xaa], &[0xaa, 0xaa], &[0xaa, 0xaa, 0xaa, 0x96], &[0x69, 0x96, 0xaa]] {
            let bytes = [noise, &NO_CARD].concat();
            assert_eq!(read(&bytes), (bytes.len(), answer(0x80, &[])), "{noise:02x?}");
        }
        assert_eq!(read(&[0x01, 0x02, 0xaa, 0xaa]), (2, Found::Nothing));
        assert_eq!(read(&[0xaa, 0xaa, 0xaa, 0x96, 0x68]), (5, Found::Nothing));
        // A frame that was cut off, whose length reaches into the next one.
        let cut = [&A_CARD[..9], &NO_CARD].concat();
        assert_eq!(read(&cut), (5, Found::Damaged("a wrong check")));
        let (done, found) = read(&cut[5..]);
        assert_eq!((done + 5, found), (cut.len(), answer(0x80, &[])));
    }

    #[test]
    fn damage_is_noticed_wherever_it_is() {
        for byte in 0..A_CARD.len() {
            for bit in 0..8 {
                let mut damaged = A_CARD;
                damaged[byte] ^= 1 << bit;
                assert!(!matches!(read(&damaged).1, Found::Answer(_)), "byte {byte}, bit {bit}");
            }
        }
        for length in [0, 3, 2561, 65_535_u16] {
            let frame = [&HEAD[..], &length.to_be_bytes(), &[0; 16]].concat();
            assert_eq!(read(&frame), (5, Found::Damaged("an impossible length")), "{length}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_and_a_frame_behind_it_is_found(
            bytes in prop::collection::vec(prop_oneof![Just(0xaa_u8), Just(0x96), Just(0x69), Just(0), any::<u8>()], 0..64),
        ) {
            // As much silence behind it as the longest frame that it may pretend to begin.
            let mut rest = [&bytes[..], &A_CARD, &[0; LONGEST]].concat();
            let (mut end, mut found_it, mut over_it) = (0, false, false);
            loop {
                let (done, found) = read(&rest);
                prop_assert!(done <= rest.len());
                if found == Found::Nothing {
                    break;
                }
                prop_assert!(done > 0, "a frame is read once");
                end += done;
                if found == answer(0x9f, &[0; 4]) {
                    found_it = true;
                } else if matches!(found, Found::Answer(_)) && end > bytes.len() {
                    // Of the frames that noise pretends to begin, one of 256 has the right check by chance.
                    over_it = true;
                }
                rest.drain(..done);
            }
            prop_assert!(found_it || over_it);
        }
    }
}
