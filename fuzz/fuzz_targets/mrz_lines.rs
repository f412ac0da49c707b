//! Whatever the lines of a machine readable zone say, and however surely they were read: they are understood or refused, what
//! is understood or corrected has right check digits, and only what was in doubt is corrected.
//!
//! A line of four words is a doubt: line and column, both from 0, a character that may stand there too, and how likely
//! that is, in percent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::document::mrz::correct::{ALPHABET, DOUBTFUL, Shares, understand};
use menshen::document::mrz::zone::Zone;

fuzz_target!(|text: &str| {
    let today = jiff::civil::date(2026, 11, 22);
    let class = |character: u8| ALPHABET.iter().position(|other| *other == character);
    let (mut lines, mut doubts) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if let [row, column, character, share] = words[..]
            && let (Ok(row), Ok(column), Ok(share)) =
                (row.parse::<usize>(), column.parse::<usize>(), share.parse::<u8>())
            && let Some(class) = character.bytes().next().and_then(class)
        {
            doubts.push((row, column, class, f32::from(share.min(100)) / 100.0));
        } else {
            lines.push(line);
        }
    }
    let _ = Zone::parse(&lines, today);
    let seen: Option<Vec<Vec<Shares>>> = lines
        .iter()
        .map(|line| {
            let sure = |character| {
                let mut shares = [0.0; ALPHABET.len()];
                shares[class(character)?] = 1.0;
                Some(shares)
            };
            line.bytes().map(sure).collect()
        })
        .collect();
    // A camera reads nothing else.
    let Some(mut seen) = seen else { return };
    for (row, column, other, share) in doubts {
        if let Some(shares) = seen.get_mut(row).and_then(|line| line.get_mut(column)) {
            shares.iter_mut().for_each(|of| *of *= 1.0 - share);
            shares[other] += share;
        }
    }
    let shares: Vec<&[Shares]> = seen.iter().map(|line| &line[..]).collect();
    let Ok(read) = understand(&shares, today) else { return };
    let again = Zone::parse(&read.zone.lines, today).expect("what is understood is a zone");
    assert_eq!(again, read.zone);
    assert!((1..=64).contains(&read.zone.number.len()));
    let mut in_doubt = 0;
    for (line, text) in read.zone.lines.iter().enumerate() {
        for (column, character) in text.bytes().enumerate() {
            let share = class(character).map_or(0.0, |class| shares[line][column][class]);
            in_doubt += usize::from(share < DOUBTFUL);
        }
    }
    assert!(read.corrections <= in_doubt);
    assert!(!read.plain || (read.corrections == 0 && in_doubt == 0));
    let reading = read.zone.into_reading();
    let number = &reading.document.number;
    // A number of digits alone may be the year that is told.
    let telling = number.len() >= 4 && number.bytes().any(|c| c.is_ascii_uppercase());
    assert!(!telling || !format!("{reading:?}").contains(number));
});
