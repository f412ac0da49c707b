//! Chips of passports from end to end: the virtual passport is read over its commands, with every way of opening and signing
//! that is known, and with every fault.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

// By its path: rustfmt would look for `support` in the folder of this file's name, which holds data.
#[path = "support/passport.rs"]
mod passport;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::civil::{DateTime, date};
use menshen::device::chip::card::Card;
use menshen::device::chip::cipher::Cipher;
use menshen::device::chip::hash::Hash;
use menshen::device::chip::rsa::Pss;
use menshen::device::chip::security_info::pace_oid;
use menshen::device::chip::session::files;
use menshen::device::chip::signature::Scheme;
use menshen::device::chip::sod::SecurityObject;
use menshen::device::chip::tlv::object;
use menshen::device::chip::{AccessKey, ChipReading, Opened, Signed, Trust, Wanted, read};
use menshen::document::mrz::Zone;
use menshen::document::{ChipVerdict, DocumentKind, Label, Source};
use menshen::simulate::card;
use menshen::simulate::passport::{
    Active, Authority, Fault, Flaw, Options, Passport, SignedBy, VALID, VirtualChip, passport_lines,
};
use menshen::vision::picture::Picture;
use menshen::{Error, Kind, Result};
use passport::laid_down;

/// A day on which the specimen is valid.
const NOW: DateTime = date(2027, 3, 1).at(12, 0, 0, 0);

fn wanted() -> Wanted {
    Wanted { now: NOW, ..Wanted::default() }
}

/// Issues a passport, and reads it with its lines by somebody who believes its authority.
fn issue_and_read(options: Options) -> Result<ChipReading> {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = Passport::issue(&authority, options).unwrap();
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    read(&mut passport.chip(), passport.key(), &trust, &wanted())
}

const GENUINE: ChipVerdict = ChipVerdict { signed: Some(true), original: Some(true) };

#[test]
fn a_passport_of_today_is_read_whole() {
    let options = Options::default();
    let photo = options.photo.clone();
    let read = issue_and_read(options).unwrap();
    assert_eq!(read.opened, Opened::Pace(Cipher::Aes128));
    assert_eq!(read.reading.chip, Some(GENUINE), "{:?} {:?}", read.signed, read.notes);
    assert_eq!(read.notes, [""; 0]);
    let document = &read.reading.document;
    assert_eq!(document.kind, DocumentKind::Passport);
    assert_eq!((document.number.as_str(), document.name.as_str()), ("L898902C3", "ERIKSSON ANNA MARIA"));
    assert_eq!((document.gender.as_str(), document.issuing_state.as_str()), ("女", "UTO"));
    assert_eq!(document.birthday, Some(date(1974, 8, 12)));
    assert_eq!(document.expires, Some(date(2049, 12, 31)));
    // A JPEG is handed on as the chip holds it.
    assert_eq!(document.photo.as_deref(), Some(&photo[..]));
    assert_eq!(read.reading.pictures.chip_photo.as_deref(), Some(&photo[..]));
    assert_eq!(read.reading.mrz.len(), 2);
    assert!(read.reading.texts.iter().all(|text| text.source == Source::Chip));
    let number = read.reading.texts.iter().find(|text| text.label == Label::Number).unwrap();
    assert_eq!(number.content, "L898902C3");
}

#[test]
fn basic_access_and_active_authentication_of_older_passports() {
    // A signature of 256 bytes fits no short answer: a chip that knows extended length and does not say so gives it all the
    // same, one that does not know it cannot.
    for (active, extended, announced, original) in [
        (Active::Rsa, true, true, Some(true)),
        (Active::Rsa, true, false, Some(true)),
        (Active::Rsa, false, false, Some(false)),
        (Active::Curve(13), false, false, Some(true)),
    ] {
        let read = issue_and_read(Options {
            pace: None,
            chip_authentication: None,
            active: Some(active),
            extended,
            announced,
            ..Options::default()
        })
        .unwrap();
        assert_eq!(read.opened, Opened::Bac);
        let verdict = ChipVerdict { signed: Some(true), original };
        assert_eq!(read.reading.chip, Some(verdict), "{active:?} {:?} {:?}", read.signed, read.notes);
        let untried = "active authentication cannot be tried: a signature of 256 bytes does not come";
        assert_eq!(
            read.notes.iter().any(|note| note.starts_with(untried)),
            original == Some(false),
            "{:?}",
            read.notes
        );
    }
    // The very first: nothing to show that it is no copy.
    let read =
        issue_and_read(Options { pace: None, chip_authentication: None, ..Options::default() }).unwrap();
    assert_eq!(read.reading.chip, Some(ChipVerdict { signed: Some(true), original: None }));
}

#[test]
fn every_cipher_and_curve_opens() {
    for (cipher, parameter) in [
        (Cipher::Tdes, 8),
        (Cipher::Aes128, 9),
        (Cipher::Tdes, 10),
        (Cipher::Aes192, 11),
        (Cipher::Aes256, 13),
        (Cipher::Aes192, 14),
        (Cipher::Aes128, 15),
        (Cipher::Aes256, 16),
        (Cipher::Aes256, 17),
        (Cipher::Aes256, 18),
    ] {
        let read = issue_and_read(Options {
            pace: Some((cipher, parameter)),
            chip_authentication: Some((cipher, parameter)),
            ..Options::default()
        })
        .unwrap();
        assert_eq!(read.opened, Opened::Pace(cipher));
        assert_eq!(read.reading.chip, Some(GENUINE), "{cipher:?} {parameter} {:?}", read.notes);
    }
}

#[test]
fn the_access_number_opens_pace_and_not_basic_access() {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = Passport::issue(&authority, Options::default()).unwrap();
    let read_with =
        |passport: &Passport, key: &AccessKey| read(&mut passport.chip(), key, &Trust::none(), &wanted());
    let opened = read_with(&passport, passport.can()).unwrap();
    assert_eq!(opened.opened, Opened::Pace(Cipher::Aes128));
    // Nobody is believed: whether it is genuine stays open, that it is no copy does not.
    assert_eq!(opened.reading.chip, Some(ChipVerdict { signed: None, original: Some(true) }));
    assert_eq!(opened.signed, Some(Signed::NobodyBelieved));
    let error = read_with(&passport, &AccessKey::can("654321").unwrap()).unwrap_err();
    assert_eq!(error.kind(), Kind::Input, "{error}");

    let older = Passport::issue(&authority, Options { pace: None, ..Options::default() }).unwrap();
    let error = read_with(&older, older.can()).unwrap_err();
    assert!(error.to_string().contains("lines for machines alone"), "{error}");
    for passport in [&passport, &older] {
        let wrong = AccessKey::mrz("L898902C4", "740812", "491231").unwrap();
        let error = read_with(passport, &wrong).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains("read the page again"), "{error}");
        assert!(!error.to_string().contains("898902"), "{error}");
    }
}

#[test]
fn signatures_of_every_kind_are_checked() {
    let pss = |hash, salt| Scheme::Pss(Pss { hash, mask: hash, salt });
    for (scheme, parameter, explicit, hash, attributes) in [
        (Scheme::Pkcs1(Hash::Sha1), 0, false, Hash::Sha1, true),
        (Scheme::Pkcs1(Hash::Sha256), 0, false, Hash::Sha256, false),
        (pss(Hash::Sha256, 32), 0, false, Hash::Sha256, true),
        (pss(Hash::Sha512, 20), 0, false, Hash::Sha512, true),
        (Scheme::Ecdsa(Hash::Sha224), 10, false, Hash::Sha224, true),
        (Scheme::Ecdsa(Hash::Sha384), 16, true, Hash::Sha384, true),
        (Scheme::Ecdsa(Hash::Sha512), 18, true, Hash::Sha512, true),
        (Scheme::EcdsaPlain(Hash::Sha256), 13, true, Hash::Sha256, false),
    ] {
        let signed = SignedBy { scheme, parameter, explicit, hash, attributes, ..SignedBy::default() };
        let options = Options { signed, chip_authentication: None, pace: None, ..Options::default() };
        let read = issue_and_read(options).unwrap();
        assert_eq!(read.signed, Some(Signed::Genuine), "{scheme:?} {:?}", read.notes);
    }
}

#[test]
fn a_signer_out_of_its_time_is_not_believed() {
    let valid = (date(2000, 1, 1).at(0, 0, 0, 0), date(2020, 1, 1).at(0, 0, 0, 0));
    let signed = SignedBy { valid, ..SignedBy::default() };
    let read = issue_and_read(Options { signed, ..Options::default() }).unwrap();
    assert_eq!(read.signed, Some(Signed::NotValid(valid.0, valid.1)));
    assert_eq!(read.reading.chip.unwrap().signed, Some(false));
}

/// What passive authentication says of a document whose authority and signer are like this.
fn signed_by(authority: &Authority, signed: SignedBy) -> Signed {
    let passport = Passport::issue(authority, Options { signed, ..Options::default() }).unwrap();
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    let read = read(&mut passport.chip(), passport.key(), &trust, &wanted()).unwrap();
    let signed = read.signed.unwrap();
    assert_eq!(read.reading.chip.unwrap().signed, Some(signed == Signed::Genuine));
    assert_eq!(read.reading.document.photo.is_some(), signed == Signed::Genuine);
    signed
}

#[test]
fn only_a_signer_of_documents_signs_documents() {
    let authority = Authority::new("Authority under test").unwrap();
    for (flaw, said) in [
        (Flaw::Usage, "its key is not for signatures"),
        (Flaw::MasterLists, "it is for another purpose: 2.23.136.1.1.3"),
        (Flaw::Authority, "it is an authority's own"),
        (Flaw::UnknownExtension, "it has the critical extension 2.5.29.30 that is not known here"),
        (Flaw::OtherAlgorithm, "it names two algorithms for its one signature"),
    ] {
        let signed = SignedBy { flaw: Some(flaw), ..SignedBy::default() };
        assert_eq!(signed_by(&authority, signed), Signed::NoSigner(said.to_owned()), "{flaw:?}");
    }
    assert_eq!(signed_by(&authority, SignedBy::default()), Signed::Genuine);
    // What stands beside the signer's certificate and cannot be read is not asked for anything.
    let signed = SignedBy { besides: b"\x30\x03abc", ..SignedBy::default() };
    assert_eq!(signed_by(&authority, signed), Signed::Genuine);
}

#[test]
fn only_an_authority_is_believed_and_in_its_time() {
    for (flaw, said) in [
        (Flaw::Usage, "is not allowed to issue certificates"),
        (Flaw::Authority, "is not allowed to issue certificates"),
        (Flaw::UnknownExtension, "the critical extension 2.5.29.30"),
        (Flaw::OtherAlgorithm, "two algorithms"),
    ] {
        let authority = Authority::with("Authority under test", VALID, Some(flaw)).unwrap();
        let error = Trust::none().add(authority.certificate()).unwrap_err();
        assert!(error.kind() == Kind::Input && error.to_string().contains(said), "{flaw:?}: {error}");
    }
    // One without a country is of none, and not of all that have none.
    let nowhere = Authority::with("Nowhere", VALID, Some(Flaw::NoCountry)).unwrap();
    let signed = signed_by(&nowhere, SignedBy::default());
    assert_eq!(signed, Signed::UnknownSigner("Nowhere ()".to_owned()));
    // A signer from before its authority, whose certificate was issued anew, and one from after it.
    let day = |year| date(year, 1, 1).at(0, 0, 0, 0);
    let authority = Authority::with("Authority under test", (day(2010), day(2020)), None).unwrap();
    for (from, genuine) in [(2001, true), (2010, true), (2019, true), (2021, false)] {
        let signed = SignedBy { valid: (day(from), day(2040)), ..SignedBy::default() };
        assert_eq!(signed_by(&authority, signed) == Signed::Genuine, genuine, "{from}");
    }
}

#[test]
fn a_state_signs_its_own_documents() {
    let mut lines = Options::default().lines;
    lines[0].replace_range(2..5, "D<<");
    let read = issue_and_read(Options { lines, ..Options::default() }).unwrap();
    assert_eq!(read.signed, Some(Signed::OtherState("UT".to_owned())));
    assert_eq!(read.reading.chip.unwrap().signed, Some(false));
    assert!(read.reading.document.photo.is_none() && read.reading.pictures.chip_photo.is_none());
    assert!(read.signed.unwrap().to_string().contains("names another state as its issuer"));
}

/// A passport that was changed after it was signed, read by somebody who believes its authority.
fn read_changed(options: Options, change: impl FnOnce(Passport) -> Passport) -> ChipReading {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = change(Passport::issue(&authority, options).unwrap());
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    read(&mut passport.chip(), passport.key(), &trust, &wanted()).unwrap()
}

#[test]
fn what_opens_it_must_be_signed_as_well() {
    let way =
        |cipher| object(0x30, &[&object(6, &[&pace_oid(cipher)]), &object(2, &[&[2]]), &object(2, &[&[12]])]);
    for (ways, signed) in [
        (vec![way(Cipher::Aes128)], Signed::Genuine),
        // A weaker way besides.
        (vec![way(Cipher::Aes128), way(Cipher::Tdes)], Signed::Changed("EF.CardAccess".to_owned())),
    ] {
        let read = read_changed(Options::default(), |passport| {
            passport.with_file(files::CARD_ACCESS.id, object(0x31, &[&ways.concat()]))
        });
        assert_eq!(read.opened, Opened::Pace(Cipher::Aes128));
        assert_eq!(read.signed, Some(signed.clone()), "{:?}", read.notes);
        assert_eq!(read.reading.chip.unwrap().signed, Some(signed == Signed::Genuine));
    }
}

#[test]
fn a_signed_file_that_says_nothing_of_pace_contradicts_nothing() {
    // PACE with integrated mapping (0.4.0.127.0.7.2.2.4.4.2), which is not known here: it opens with BAC.
    let oid = [0x04, 0x00, 0x7f, 0x00, 0x07, 0x02, 0x02, 0x04, 0x04, 0x02];
    let way = object(0x30, &[&object(6, &[&oid]), &object(2, &[&[2]]), &object(2, &[&[12]])]);
    let access = object(0x31, &[&way]);
    let silent = "DG14 says nothing of PACE: EF.CardAccess is not proved";
    // DG14 is there for chip authentication, or not at all; where it does say something of PACE, it must be that.
    let with = Options { pace: None, ..Options::default() };
    let without = Options { chip_authentication: None, ..with.clone() };
    for options in [with, without] {
        let read =
            read_changed(options, |passport| passport.with_file(files::CARD_ACCESS.id, access.clone()));
        assert_eq!((read.opened, read.signed), (Opened::Bac, Some(Signed::Genuine)));
        assert_eq!(read.notes, [silent]);
    }
    let read = read_changed(Options::default(), |passport| passport.with_file(files::CARD_ACCESS.id, access));
    assert_eq!(read.signed, Some(Signed::Changed("EF.CardAccess".to_owned())));
    assert!(!read.notes.iter().any(|note| note == silent), "{:?}", read.notes);
}

#[test]
fn a_document_without_ef_com_shows_that_it_is_no_copy() {
    let read = read_changed(Options::default(), |passport| passport.without_file(files::COM.id));
    assert_eq!(read.reading.chip, Some(GENUINE), "{:?}", read.notes);
}

#[test]
fn chip_authentication_of_another_form_is_told_apart_from_none() {
    let untried = "chip authentication cannot be tried: the chip has it in a form that is not known here";
    // Over a group of numbers: 0.4.0.127.0.7.2.2.3.1.2.
    let oid = [0x04, 0x00, 0x7f, 0x00, 0x07, 0x02, 0x02, 0x03, 0x01, 0x02];
    let other = object(0x30, &[&object(6, &[&oid]), &object(2, &[&[1]])]);
    let read = read_changed(Options::default(), |passport| {
        passport.with_file(files::DG14.id, object(0x6e, &[&object(0x31, &[&other])]))
    });
    assert!(read.notes.iter().any(|note| note == untried), "{:?}", read.notes);
    let none = Options { pace: None, chip_authentication: None, ..Options::default() };
    assert_eq!(issue_and_read(none).unwrap().notes, [""; 0]);
}

/// A chip behind a reader that does something to commands before they come to it, or to what it answers.
struct Behind<F>(VirtualChip, F);

impl<F: FnMut(&mut VirtualChip, &[u8]) -> Result<Vec<u8>>> Card for Behind<F> {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
        (self.1)(&mut self.0, apdu)
    }

    fn atr(&self) -> &[u8] {
        Card::atr(&self.0)
    }
}

#[test]
fn a_reader_that_knows_no_extended_length_reads_in_short_pieces() {
    let authority = Authority::new("Authority under test").unwrap();
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    let of_numbers = Options { chip_authentication: None, active: Some(Active::Rsa), ..Options::default() };
    for (options, original, fails) in
        [(Options::default(), Some(true), 1), (of_numbers, Some(false), 1), (Options::default(), None, 99)]
    {
        let passport = Passport::issue(&authority, options).unwrap();
        let mut failed = 0;
        let mut card = Behind(passport.chip(), |chip: &mut VirtualChip, apdu: &[u8]| {
            if apdu.len() > 5 && apdu[4] == 0 || failed > 0 && failed < fails {
                failed += 1;
                return Err(Error::new(Kind::Device, "the reader failed"));
            }
            chip.transmit(apdu)
        });
        let read = read(&mut card, passport.key(), &trust, &wanted());
        if fails > 1 {
            // It was the chip that has gone.
            assert!(read.unwrap_err().to_string().contains("the reader failed"));
            assert_eq!(failed, 2, "it is tried once more and no oftener");
            continue;
        }
        let read = read.unwrap();
        assert_eq!(failed, 1);
        assert_eq!(read.reading.chip, Some(ChipVerdict { signed: Some(true), original }), "{:?}", read.notes);
        assert_eq!(read.reading.document.photo.as_deref(), Some(passport.photo()));
        let said = "active authentication cannot be tried: a signature of 256 bytes does not come from the chip: the reader \
                    fails on commands of extended length, take one that knows them";
        let notes = if original == Some(true) { Vec::new() } else { vec![said.to_owned()] };
        assert_eq!(read.notes, notes);
    }
}

/// What comes of a passport whose chip says this when it is to sign a random number, and how often it is asked.
fn read_evading(options: Options, said: [u8; 2]) -> (ChipReading, usize) {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = Passport::issue(&authority, options).unwrap();
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    let mut asked = 0;
    let mut card = Behind(passport.chip(), |chip: &mut VirtualChip, apdu: &[u8]| {
        let answer = chip.transmit(apdu);
        if apdu[1] == 0x88 {
            asked += 1;
            return Ok(said.to_vec());
        }
        answer
    });
    let read = read(&mut card, passport.key(), &trust, &wanted()).unwrap();
    (read, asked)
}

#[test]
fn a_copy_that_evades_active_authentication_is_refused() {
    for pace in [Options::default().pace, None] {
        for said in [[0x67, 0x00], [0x61, 0x10]] {
            let of_curve = |announced| Options {
                pace,
                chip_authentication: None,
                active: Some(Active::Curve(13)),
                announced,
                ..Options::default()
            };
            for announced in [true, false] {
                let (read, asked) = read_evading(of_curve(announced), said);
                assert_eq!(asked, 1, "it always fits");
                let verdict = ChipVerdict { signed: Some(true), original: Some(false) };
                assert_eq!(read.reading.chip, Some(verdict), "{said:02x?} {:?}", read.notes);
                assert!(read.notes[0].ends_with("it would fit, this may be a copy"), "{:?}", read.notes);
            }
            // A long signature, of a chip that says that it knows extended length, and of one that does not say so.
            for (announced, note) in
                [(true, "it would fit, this may be a copy"), (false, "the reader must know extended length")]
            {
                let options = Options { active: Some(Active::Rsa), ..of_curve(announced) };
                let (read, asked) = read_evading(options, said);
                assert_eq!(asked, 2, "in both lengths");
                assert_eq!(read.reading.chip.unwrap().original, Some(false), "{said:02x?}");
                let (begin, end) =
                    ("active authentication cannot be tried: a signature of 256 bytes does not come", note);
                let said = &read.notes[0];
                assert!(said.starts_with(begin) && said.ends_with(end), "{said}");
            }
            // It has shown by chip authentication that it is none.
            let proved =
                Options { chip_authentication: Options::default().chip_authentication, ..of_curve(true) };
            assert_eq!(
                read_evading(proved, said).0.reading.chip.unwrap().original,
                Some(true),
                "{said:02x?}"
            );
        }
    }
}

#[test]
fn nothing_is_fetched_plainly_under_secure_messaging() {
    let authority = Authority::new("Authority under test").unwrap();
    let options = Options { chip_authentication: None, active: Some(Active::Rsa), ..Options::default() };
    let passport = Passport::issue(&authority, options).unwrap();
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    let mut asked = 0;
    let mut card = Behind(passport.chip(), |chip: &mut VirtualChip, apdu: &[u8]| {
        assert_ne!(apdu[1], 0xc0, "GET RESPONSE ends secure messaging");
        let answer = chip.transmit(apdu);
        if apdu[1] == 0x88 {
            asked += 1;
            return Ok(vec![0x61, 0x10]);
        }
        answer
    });
    let read = read(&mut card, passport.key(), &trust, &wanted()).unwrap();
    assert_eq!(asked, 2, "in both lengths");
    assert_eq!(read.reading.chip, Some(ChipVerdict { signed: Some(true), original: Some(false) }));
    assert!(read.notes[0].starts_with("active authentication cannot be tried"), "{:?}", read.notes);
}

#[test]
fn a_command_of_wrong_length_is_protected_anew() {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = Passport::issue(&authority, Options::default()).unwrap();
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    let mut before: Option<Vec<u8>> = None;
    let mut wrong = 0;
    let mut card = Behind(passport.chip(), |chip: &mut VirtualChip, apdu: &[u8]| {
        let answer = chip.transmit(apdu);
        let protected = apdu[0] & 0x0c == 0x0c;
        assert!(!protected || before.as_deref() != Some(apdu), "the same bytes have no valid checksum");
        before = Some(apdu.to_vec());
        // The chip has counted it, and says how much it would have said.
        if protected && apdu[1] == 0xb0 && wrong == 0 {
            wrong += 1;
            return Ok(vec![0x6c, 0x00]);
        }
        answer
    });
    let read = read(&mut card, passport.key(), &trust, &wanted()).unwrap();
    assert_eq!(wrong, 1);
    assert_eq!(read.reading.chip, Some(GENUINE), "{:?}", read.notes);
}

#[test]
fn a_photo_in_jpeg_2000_becomes_a_jpeg() {
    let photo = include_bytes!("../src/device/chip/face/colour.jp2").to_vec();
    for pace in [Some((Cipher::Aes128, 12)), None] {
        let read = issue_and_read(Options { photo: photo.clone(), pace, ..Options::default() }).unwrap();
        assert_eq!(read.reading.chip, Some(GENUINE), "{:?}", read.notes);
        let jpeg = read.reading.document.photo.unwrap();
        let mut picture = Picture::default();
        picture.decode_file(&jpeg).unwrap();
        assert_eq!(picture.size(), (24, 32));
        let [red, green, _] = picture.pixel(4, 16);
        assert!(red > 180 && green < 50, "{red} {green}");
    }
    // One that is no picture costs the photo and nothing else.
    let mut broken = photo.clone();
    broken.truncate(200);
    let read = issue_and_read(Options { photo: broken, ..Options::default() }).unwrap();
    assert!(read.reading.document.photo.is_none());
    assert!(read.notes[0].contains("the photo cannot be used"), "{:?}", read.notes);
    assert_eq!(read.reading.chip, Some(GENUINE));
}

#[test]
fn a_photo_beyond_the_near_positions_is_read() {
    // READ BINARY says positions up to 32767 in its parameters; beyond, another command does.
    let mut photo = menshen::simulate::passport::drawing();
    let end = photo.len() - 2;
    // Comments of JPEG, as long as they may be.
    for _ in 0..2 {
        let comment = [&[0xff, 0xfe, 0xff, 0xff][..], &[b' '; 65_533]].concat();
        photo.splice(2..2, comment);
    }
    assert!(photo.len() > 131_000 && photo.len() > end);
    for extended in [false, true] {
        let options = Options { photo: photo.clone(), extended, ..Options::default() };
        let read = issue_and_read(options).unwrap();
        assert_eq!(read.reading.document.photo.as_deref(), Some(&photo[..]));
        assert_eq!(read.reading.chip, Some(GENUINE));
    }
}

#[test]
fn chip_and_page_are_told_together() {
    let lines = Options::default().lines;
    let page = || Zone::parse(&lines, NOW.date()).unwrap().into_reading();
    let white: Arc<[u8]> = Arc::from(&b"white"[..]);
    let with_picture = || {
        let mut reading = page();
        reading.pictures.white = Some(Arc::clone(&white));
        reading
    };
    let whole = issue_and_read(Options::default()).unwrap().with_page(with_picture());
    assert_eq!(whole.notes, [""; 0]);
    let reading = whole.reading;
    assert!(reading.document.photo.is_some() && reading.pictures.chip_photo.is_some());
    assert_eq!(reading.pictures.white, Some(white.clone()));
    assert_eq!(reading.chip, Some(GENUINE));
    let sources: Vec<Source> =
        reading.texts.iter().filter(|text| text.label == Label::Number).map(|text| text.source).collect();
    assert_eq!(sources, [Source::Mrz, Source::Chip]);
    // Another name on the page opens the chip all the same.
    let mut other = page();
    other.mrz[0] = other.mrz[0].replace("ANNA", "ANNE");
    let whole = issue_and_read(Options::default()).unwrap().with_page(other);
    assert!(whole.notes[0].contains("the lines of the page are not those of the chip"));
    assert_eq!(whole.reading.document.name, "ERIKSSON ANNA MARIA");
}

#[test]
fn nothing_is_read_that_is_not_wanted() {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = Passport::issue(&authority, Options::default()).unwrap();
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    let little = Wanted { photo: false, original: false, ..wanted() };
    let mut chip = passport.chip();
    let read_ = read(&mut chip, passport.key(), &trust, &little).unwrap();
    assert!(read_.reading.document.photo.is_none());
    assert_eq!(read_.reading.chip, Some(ChipVerdict { signed: Some(true), original: None }));
    assert!(chip.commands() < 40, "{}", chip.commands());
}

#[test]
fn faults_are_errors_or_verdicts_in_a_technician_s_words() {
    let with = |fault, pace, active| {
        issue_and_read(Options { fault: Some(fault), pace, active, ..Options::default() })
    };
    for pace in [Some((Cipher::Aes256, 13)), Some((Cipher::Tdes, 12)), None] {
        let error = with(Fault::WrongMac, pace, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.to_string().contains("DG2") && error.to_string().contains("wrong checksum"), "{error}");

        let error = with(Fault::TruncatedTlv, pace, None).unwrap_err();
        assert!(error.to_string().contains("refuses to read DG2 from byte"), "{error}");

        let error = with(Fault::TakenAway, pace, None).unwrap_err();
        assert!(error.to_string().contains("taken away"), "{error}");

        let read = with(Fault::ReplacedGroup, pace, None).unwrap();
        assert_eq!(read.signed, Some(Signed::Changed("DG2".to_owned())));
        assert_eq!(read.reading.chip, Some(ChipVerdict { signed: Some(false), original: Some(true) }));
        assert!(read.signed.unwrap().to_string().contains("DG2 is not what was signed"));

        let read = with(Fault::UnknownSigner, pace, None).unwrap();
        let Some(Signed::UnknownSigner(issuer)) = &read.signed else { panic!("{:?}", read.signed) };
        assert_eq!(issuer, "Somebody else (UT)");
        assert_eq!(read.reading.chip.unwrap().signed, Some(false));

        for active in [None, Some(Active::Curve(12))] {
            let read = with(Fault::Cloned, pace, active).unwrap();
            let verdict = ChipVerdict { signed: Some(true), original: Some(false) };
            assert_eq!(read.reading.chip, Some(verdict), "{pace:?} {active:?}");
            assert!(
                read.notes.iter().any(|note| note.contains("chip authentication fails")),
                "{:?}",
                read.notes
            );

            let read = with(Fault::Stripped, pace, active).unwrap();
            assert_eq!(read.signed, Some(Signed::Missing("DG14".to_owned())));
            let verdict = ChipVerdict { signed: Some(false), original: Some(false) };
            assert_eq!(read.reading.chip, Some(verdict));
        }
    }
    // A copy of a passport with active authentication alone.
    let read = issue_and_read(Options {
        fault: Some(Fault::Cloned),
        pace: None,
        chip_authentication: None,
        active: Some(Active::Rsa),
        ..Options::default()
    })
    .unwrap();
    assert_eq!(read.reading.chip, Some(ChipVerdict { signed: Some(true), original: Some(false) }));
}

#[test]
fn what_takes_too_long_ends() {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = Passport::issue(&authority, Options::default()).unwrap();
    let hurried = Wanted { patience: Duration::ZERO, ..wanted() };
    let error = read(&mut passport.chip(), passport.key(), &Trust::none(), &hurried).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout, "{error}");
}

#[test]
fn another_card_is_not_a_passport() {
    struct Other;
    impl Card for Other {
        fn transmit(&mut self, _: &[u8]) -> Result<Vec<u8>> {
            Ok(vec![0x6a, 0x82])
        }
        fn atr(&self) -> &[u8] {
            &[0x3b, 0x00]
        }
    }
    let key = AccessKey::mrz("L898902C3", "740812", "491231").unwrap();
    let error = read(&mut Other, &key, &Trust::none(), &wanted()).unwrap_err();
    assert!(error.to_string().contains("is this a passport?"), "{error}");
}

/// What was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Passports with and without faults, their pages and others', with and without somebody to believe, in a reader of passports:
/// what becomes of them, as it is shown.
fn at_the_gate() -> String {
    let authority = Authority::new("Authority under test").unwrap();
    let mut shown = String::new();
    for fault in [None, Some(Fault::ReplacedGroup), Some(Fault::Cloned), Some(Fault::WrongMac)] {
        let passport = Passport::issue(&authority, Options { fault, ..Options::default() }).unwrap();
        let mut others = passport.lines().to_vec();
        others[0] = others[0].replace("ANNA", "ANNE");
        for (lines, believed) in [(passport.lines(), true), (passport.lines(), false), (&others, true)] {
            let page = Zone::parse(lines, NOW.date()).unwrap().into_reading();
            shown += &format!("{:?}\n", laid_down(page, &passport, believed.then_some(&authority)));
        }
    }
    shown
}

#[test]
fn nothing_about_the_person_is_shown() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For all threads: the other tests' chips may be logged too, of them nothing may be told either.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let mut shown = format!("{:?} {:?}", Options::default(), issue_and_read(Options::default()).unwrap());
    for fault in [Fault::WrongMac, Fault::TruncatedTlv, Fault::TakenAway] {
        let error = issue_and_read(Options { fault: Some(fault), ..Options::default() }).unwrap_err();
        shown += &format!("{error} {error:?}");
    }
    shown += &at_the_gate();
    // What is of no use in a list is told by its place.
    let folder = tempfile::tempdir().unwrap();
    let part = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let useful = base64(Authority::new("Authority under test").unwrap().certificate());
    std::fs::write(folder.path().join("list.pem"), part(&useful) + &part("MANhYmM=") + &part(&useful))
        .unwrap();
    assert_eq!(Trust::load(folder.path()).unwrap().len(), 2);
    let log = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    for said in [
        "a travel document's chip was read",
        "the chip of a document was read",
        "the lines of the page are not those of the chip",
        "the chip of a document could not be read",
        "documents.csca_dir is empty",
        "list.pem certificate=2 ",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    shown += &log;
    for secret in ["898902", "ERIKSSON", "ANNA", "ANNE", "740812", "1974", "491231"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn cards_with_a_long_number_are_opened() {
    let lines = [
        "I<UTOD23145890<7349<<<<<<<<<<<",
        "3407127M9507122UTO<<<<<<<<<<<2",
        "STEVENSON<<PETER<JOHN<<<<<<<<<",
    ];
    let options = Options { lines: lines.map(str::to_owned).to_vec(), ..Options::default() };
    let read = issue_and_read(options).unwrap();
    assert_eq!(read.reading.document.number, "D23145890734");
    assert_eq!(read.reading.document.kind, DocumentKind::TravelCard);
    let lines = passport_lines("A1", "850101", "M", "300101", "ZHANG<<SAN");
    let read = issue_and_read(Options { lines, pace: None, ..Options::default() }).unwrap();
    assert_eq!(read.reading.document.name, "ZHANG SAN");
    assert_eq!(read.reading.document.gender, "男");
}

/// EF.SOD that OpenSSL has signed, over DG1 and DG2 whose contents are the bytes "DG1" and "DG2", and the certificate of its
/// authority.
#[test]
fn security_objects_that_openssl_has_signed_are_genuine() {
    for name in ["rsa", "pss", "ecdsa", "explicit"] {
        let file = |suffix: &str| std::fs::read(format!("tests/passport_chip/{name}.{suffix}")).unwrap();
        let object = SecurityObject::read(&file("sod")).unwrap();
        let mut trust = Trust::none();
        trust.add(&file("csca.der")).unwrap();
        let check = |dg2: &'static [u8]| object.check(&[(1, Some(b"DG1")), (2, Some(dg2))], &trust, NOW);
        assert_eq!(check(b"DG2"), Signed::Genuine, "{name}");
        assert_eq!(check(b"DG3"), Signed::Changed("DG2".to_owned()));
        // The same with a bit of the signature turned.
        let mut wrong = file("sod");
        let last = wrong.len() - 1;
        wrong[last] ^= 1;
        let object = SecurityObject::read(&wrong).unwrap();
        assert_eq!(object.check(&[], &trust, NOW), Signed::Forged, "{name}");
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn authorities_are_read_from_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("Authority under test").unwrap();
    let error = Trust::load(folder.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("no certificate of a signing authority"), "{error}");
    std::fs::write(folder.path().join("a.cer"), authority.certificate()).unwrap();
    std::fs::write(folder.path().join("b.der"), b"\x30\x03abc").unwrap();
    std::fs::write(folder.path().join("notes.txt"), b"nothing").unwrap();
    let pem = |name: &str| {
        let der = std::fs::read(format!("tests/passport_chip/{name}.csca.der")).unwrap();
        let text = base64(&der);
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    // What is of no use among others costs nothing but itself: no certificate, no base64, none of an authority.
    let useless = "-----BEGIN CERTIFICATE-----\nMANhYmM=\n-----END CERTIFICATE-----\n\
                   -----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n";
    std::fs::write(folder.path().join("c.pem"), pem("rsa") + useless + &pem("explicit")).unwrap();
    let trust = Trust::load(folder.path()).unwrap();
    assert_eq!(trust.len(), 3);
    assert_eq!(format!("{trust:?}"), "3 signing authorities");
    let passport = Passport::issue(&authority, Options::default()).unwrap();
    let read = read(&mut passport.chip(), passport.key(), &trust, &wanted()).unwrap();
    assert_eq!(read.signed, Some(Signed::Genuine));
    assert_eq!(Trust::load(&folder.path().join("absent")).unwrap_err().kind(), Kind::NotFound);
}

/// A card behind the socket of a virtual reader, whose side this is.
struct Reader(std::net::TcpStream, Vec<u8>);

impl Reader {
    fn say(&mut self, message: &[u8]) {
        let length = u16::try_from(message.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&length[..], message].concat()).unwrap();
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut length = [0; 2];
        self.0.read_exact(&mut length).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        self.0.read_exact(&mut message).unwrap();
        message
    }
}

impl Card for Reader {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
        self.say(apdu);
        Ok(self.hear())
    }

    fn atr(&self) -> &[u8] {
        &self.1
    }
}

#[test]
fn the_virtual_reader_s_protocol_is_spoken() {
    let authority = Authority::new("Authority under test").unwrap();
    let passport = Passport::issue(&authority, Options::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let inserted = card::insert(address, Box::new(passport.chip()), card::Fault::None, |_| {}).unwrap();
    let mut reader = Reader(listener.accept().unwrap().0, Vec::new());
    reader.say(&[1]);
    reader.say(&[2]);
    reader.say(&[4]);
    reader.1 = reader.hear();
    assert_eq!(reader.1[0], 0x3b);
    let mut trust = Trust::none();
    trust.add(authority.certificate()).unwrap();
    for _ in 0..2 {
        let read = read(&mut reader, passport.key(), &trust, &wanted()).unwrap();
        assert_eq!(read.reading.chip, Some(GENUINE));
        // Laid down again.
        reader.say(&[0]);
        reader.say(&[1]);
    }
    inserted.remove();
}
