//! Electronic passports and other travel documents with a chip (ICAO 9303 parts 10 and 11).

pub mod card;
