//! Check digits: ICAO 9303 part 3, section 4.9.

/// What a character counts: 0 to 9 themselves, A to Z 10 to 35, the filler 0. `None` for what no zone may hold.
pub fn value(character: u8) -> Option<u32> {
    match character {
        b'0'..=b'9' => Some(u32::from(character - b'0')),
        b'A'..=b'Z' => Some(u32::from(character - b'A') + 10),
        b'<' => Some(0),
        _ => None,
    }
}

/// The check digit, `0` to `9`, of characters: weights 7, 3, 1, modulo 10. What no zone may hold counts nothing.
pub fn digit(characters: impl IntoIterator<Item = u8>) -> u8 {
    let weights = [7, 3, 1].into_iter().cycle();
    let sum: u32 =
        characters.into_iter().zip(weights).map(|(c, weight)| value(c).unwrap_or(0) * weight % 10).sum();
    b'0' + (sum % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::digit;

    #[test]
    fn the_examples_of_part_3_come_out() {
        // ICAO 9303-3, appendix A: dates, a number, and the composite digits of TD3, TD1 and TD2.
        assert_eq!(digit(*b"520727"), b'3');
        assert_eq!(digit(*b"AB2134<<<"), b'5');
        assert_eq!(digit(*b"HA672242<658022549601086<<<<<<<<<<<<<<0"), b'8');
        assert_eq!(digit(*b"D231458907<<<<<<<<<<<<<<<34071279507122<<<<<<<<<<"), b'2');
        assert_eq!(digit(*b"HA672242<658022549601086<<<<<<<"), b'8');
    }
}
