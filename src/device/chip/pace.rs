//! Password Authenticated Connection Establishment (ICAO 9303 part 11 section 4.4): generic mapping over curves.

use super::apdu::{Command, OK, refused};
use super::bac::wrong_key;
use super::curve::{Curve, Point, Secret};
use super::hash::same;
use super::key::AccessKey;
use super::secure::Session;
use super::security_info::Pace;
use super::session::Chip;
use super::tlv::{malformed, object, value};
use crate::error::{Error, Kind, Result};

/// The secrets of our side: for the mapping, and for the agreement.
pub(crate) struct Secrets(pub Secret, pub Secret);

impl Secrets {
    /// New ones from the operating system.
    pub(crate) fn new(curve: &Curve) -> Result<Self> {
        Ok(Self(curve.secret()?, curve.secret()?))
    }
}

/// Begins secure messaging; nothing must be selected. `ambiguous`: the chip has several curves for this way.
///
/// # Errors
/// `Input`: the key is not of this document. `Device`: as [`Chip::send`], or the chip does not keep to the protocol.
pub(crate) fn open(
    chip: &mut Chip<'_>,
    key: &AccessKey,
    (way, curve): (&Pace, &'static Curve),
    ambiguous: bool,
    secrets: &Secrets,
) -> Result<()> {
    let (password, kind) = key.password();
    let mut choice = [object(0x80, &[&way.oid]), object(0x83, &[&[kind]])].concat();
    if ambiguous {
        choice.extend(object(0x84, &[&[curve.parameter]]));
    }
    chip.send(&Command::new(0x22, 0xc1, 0xa4).data(choice))?.ok("to begin PACE")?;

    let nonce = step(chip, None, 0x80)?;
    let cipher = way.cipher;
    if nonce.is_empty() || !nonce.len().is_multiple_of(cipher.block()) || nonce.len() > 64 {
        return Err(malformed("the nonce of PACE is no whole blocks"));
    }
    let nonce = cipher.decrypt(&cipher.derive(&password, 3), &vec![0; cipher.block()], &nonce);

    let (_, shared) = agree(chip, curve, &secrets.0, curve.generator(), (0x81, 0x82))?;
    let mapped = curve.mapped(&nonce, &shared).ok_or_else(|| malformed("PACE maps to no point"))?;
    let (keys, shared) = agree(chip, curve, &secrets.1, &mapped, (0x83, 0x84))?;
    let secret = curve.x(&shared).ok_or_else(|| malformed("PACE agrees on no point"))?;

    let session = Session::new(cipher, &secret);
    let token = session.token(&signed(&way.oid, &keys.theirs));
    let answer = step(chip, Some((0x85, &token)), 0x86)?;
    if !same(&answer, &session.token(&signed(&way.oid, &keys.ours))) {
        return Err(Error::new(
            Kind::Device,
            "the chip's proof that it knows the password is wrong; lay the document down again",
        ));
    }
    chip.session = Some(session);
    Ok(())
}

/// Both sides' public keys, as they were sent.
struct Keys {
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

/// What a token is over (section 4.4.3.4).
pub(crate) fn signed(oid: &[u8], public: &[u8]) -> Vec<u8> {
    object(0x7f49, &[&object(6, &[oid]), &object(0x86, &[public])])
}

/// Agrees on a point over a generator, with the tags of the two keys.
fn agree(
    chip: &mut Chip<'_>,
    curve: &Curve,
    secret: &Secret,
    generator: &Point,
    (ours, theirs): (u32, u32),
) -> Result<(Keys, Point)> {
    let public = curve.encode(&curve.multiply(secret, generator));
    let public = public.expect("a secret below the order times a generator is a point");
    let answer = step(chip, Some((ours, &public)), theirs)?;
    let point = curve.point(&answer).ok_or_else(|| malformed("a key of PACE is no point of its curve"))?;
    if answer == public {
        // Whoever sends our own key back need know nothing (section 4.4.3.1).
        return Err(malformed("a key of PACE is our own"));
    }
    let shared = curve.multiply(secret, &point);
    Ok((Keys { ours: public, theirs: answer }, shared))
}

/// One step of general authentication: our object, if there is one, and the value of the object that is answered.
fn step(chip: &mut Chip<'_>, ours: Option<(u32, &[u8])>, theirs: u32) -> Result<Vec<u8>> {
    let data = ours.map_or(Vec::new(), |(tag, value)| object(tag, &[value]));
    let mut command = Command::new(0x86, 0, 0).data(object(0x7c, &[&data])).expecting(256);
    let last = theirs == 0x86;
    if !last {
        command = command.chained();
    }
    let answer = chip.send(&command)?;
    match answer.status {
        OK => Ok(value(value(&answer.data, 0x7c)?, theirs)?.to_vec()),
        status @ (0x6300..=0x63ff | 0x6982 | 0x6988) if last => Err(wrong_key(status)),
        status => Err(refused("a step of PACE", status)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::card::Card;
    use super::super::hex;
    use super::super::security_info::SecurityInfos;
    use super::*;

    /// A chip that says what that of ICAO 9303 part 11 appendix G.1 says, and insists on being asked likewise.
    struct Example(Vec<(String, String)>);

    impl Card for Example {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
            let (asked, answer) = self.0.remove(0);
            assert_eq!(apdu, hex(&asked));
            Ok(hex(&answer))
        }

        fn atr(&self) -> &[u8] {
            &[0x3b, 0]
        }
    }

    const MAP: [&str; 2] = [
        "047ACF3EFC982EC45565A4B155129EFBC74650DCBFA6362D896FC70262E0C2CC5E544552DCB6725218799115B55C9BAA6D9F6BC3A9618E70C25AF71777A9C4922D",
        "04824FBA91C9CBE26BEF53A0EBE7342A3BF178CEA9F45DE0B70AA601651FBA3F5730D8C879AAA9C9F73991E61B58F4D52EB87A0A0C709A49DC63719363CCD13C54",
    ];
    const AGREE: [&str; 2] = [
        "042DB7A64C0355044EC9DF190514C625CBA2CEA48754887122F3A5EF0D5EDD301C3556F3B3B186DF10B857B58F6A7EB80F20BA5DC7BE1D43D9BF850149FBB36462",
        "049E880F842905B8B3181F7AF7CAA9F0EFB743847F44A306D2D28C1D9EC65DF6DB7764B22277A2EDDC3C265A9F018F9CB852E111B768B326904B59A0193776F094",
    ];

    fn example() -> Vec<(String, String)> {
        let step = |data: &str, answer: &str| (data.to_owned(), answer.to_owned());
        vec![
            step("0022C1A40F800A04007F00070202040202830101", "9000"),
            step("10860000027C0000", "7C12801095A3A016522EE98D01E76CB6B98B42C39000"),
            step(&format!("10860000457C438141{}00", MAP[0]), &format!("7C438241{}9000", MAP[1])),
            step(&format!("10860000457C438341{}00", AGREE[0]), &format!("7C438441{}9000", AGREE[1])),
            step("008600000C7C0A8508C2B0BD78D94BA86600", "7C0A86083ABB9674BCE93C089000"),
        ]
    }

    fn run(card: &mut Example) -> Result<Session> {
        let infos = SecurityInfos::read(&hex("31143012060A04007F0007020204020202010202010D")).unwrap();
        let way = infos.best_pace().unwrap();
        let secret = |text| way.1.secret_of(&hex(text)).unwrap();
        let secrets = Secrets(
            secret("7F4EF07B9EA82FD78AD689B38D0BC78CF21F249D953BC46F4C6E19259C010F99"),
            secret("A73FB703AC1436A18E0CFA5ABB3F7BEC7A070E7A6788486BEE230C4A22762595"),
        );
        let key = AccessKey::mrz("T22000129", "640812", "101031").unwrap();
        let mut chip = Chip::new(card, Instant::now() + Duration::from_secs(60));
        open(&mut chip, &key, way, false, &secrets)?;
        Ok(chip.session.unwrap())
    }

    #[test]
    fn the_worked_example_is_said_byte_for_byte() {
        let mut card = Example(example());
        let session = run(&mut card).unwrap();
        assert!(card.0.is_empty());
        assert_eq!(session.encryption, hex("F5F0E35C0D7161EE6724EE513A0D9A7F"));
    }

    #[test]
    fn a_chip_that_does_not_keep_to_it_is_refused() {
        for (at, answer, what) in [
            (0, "6A80".to_owned(), "refuses to begin PACE"),
            (1, "7C03800195".to_owned() + "9000", "no whole blocks"),
            (2, format!("7C438241{}9000", MAP[0]), "is our own"),
            (2, format!("7C438241{}9000", MAP[1].replace("824FBA", "824FBB")), "no point of its curve"),
            (3, "6982".to_owned(), "a step of PACE"),
            (4, "6300".to_owned(), "does not open (6300)"),
            (4, "7C0A86083ABB9674BCE93C099000".to_owned(), "proof that it knows the password is wrong"),
        ] {
            let mut script = example();
            script[at].1 = answer;
            let error = run(&mut Example(script)).err().unwrap();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
