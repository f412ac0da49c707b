//! What the virtual passport's chip answers: a state machine over commands (ICAO 9303 part 10 section 3, part 11).

use std::sync::Arc;

use super::{Fault, Parts, SecretKey};
use crate::device::chip::AccessKey;
use crate::device::chip::apdu::{Answer, Command, OK};
use crate::device::chip::bac::{Keys, Random, session as bac_session};
use crate::device::chip::card::Card;
use crate::device::chip::cipher::Cipher;
use crate::device::chip::curve::{Curve, Point, Secret};
use crate::device::chip::hash::{Hash, same};
use crate::device::chip::pace::signed;
use crate::device::chip::secure::Session;
use crate::device::chip::security_info::{chip_authentication_oid, pace_oid};
use crate::device::chip::session::{APPLICATION, files};
use crate::device::chip::signature::Scheme;
use crate::device::chip::tlv::{Objects, object, value};
use crate::error::{Error, Kind, Result};
use crate::simulate::card::Chip;

/// How the answer to reset says that it knows extended length, and that it does not.
const EXTENDED: [u8; 10] = [0x3b, 0x85, 0x80, 0x01, 0x80, 0x73, 0xfe, 0xff, 0x40, 0xaa];
const SHORT: [u8; 10] = [0x3b, 0x85, 0x80, 0x01, 0x80, 0x73, 0xfe, 0xff, 0x00, 0xea];

/// The chip of a virtual passport.
pub struct VirtualChip {
    passport: Arc<Parts>,
    /// Whether the application of travel documents is selected.
    application: bool,
    file: Option<u16>,
    session: Option<Session>,
    /// The session that begins when this command is answered.
    next: Option<Session>,
    challenge: Option<[u8; 8]>,
    pace: Option<Pace>,
    /// Whether general authentication is that of chip authentication.
    chip_authentication: bool,
    /// What of an answer did not fit, to be fetched.
    rest: Vec<u8>,
    /// Commands so far.
    commands: usize,
}

/// How far PACE has come.
struct Pace {
    cipher: Cipher,
    curve: &'static Curve,
    key: AccessKey,
    nonce: Vec<u8>,
    mapped: Option<Point>,
    /// Both public keys of the agreement and the session.
    agreed: Option<(Vec<u8>, Vec<u8>, Session)>,
}

/// What a command comes to: data, or a status word that is not well.
type Outcome = std::result::Result<Vec<u8>, u16>;

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::caused(Kind::Io, "the system gives no random numbers", error))?;
    Ok(bytes)
}

/// A status word for what cannot be read.
fn wrong<T, E>(status: u16) -> impl FnOnce(E) -> std::result::Result<T, u16> {
    move |_| Err(status)
}

impl Card for VirtualChip {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
        self.commands += 1;
        let photo = self.file == Some(files::DG2.id);
        if self.passport.options.fault == Some(Fault::TakenAway) && photo && apdu[1] != 0xa4 {
            return Err(Error::new(Kind::Device, "the card was taken away"));
        }
        let Some(command) = Command::read(apdu) else { return Ok(vec![0x67, 0x00]) };
        if command.instruction == 0xc0 {
            return Ok(self.piece(command.expected.unwrap_or(256)));
        }
        self.rest.clear();
        let short = command.expected.is_none_or(|expected| expected <= 256) && command.data.len() <= 255;
        if !short && !self.passport.options.extended {
            return Ok(vec![0x67, 0x00]);
        }
        let protected = command.class & 0x0c == 0x0c;
        let mut answer = if protected { self.protected(command)? } else { self.plain(command)? };
        let expected = if short { 256 } else { 65_536 };
        if answer.data.len() > expected {
            // Under secure messaging nothing can be fetched: that would be a plain command.
            if protected {
                return Ok(vec![0x67, 0x00]);
            }
            self.rest = answer.data;
            return Ok(self.piece(0));
        }
        answer.data.extend(answer.status.to_be_bytes());
        Ok(answer.data)
    }

    fn atr(&self) -> &[u8] {
        if self.passport.options.extended && self.passport.options.announced { &EXTENDED } else { &SHORT }
    }
}

impl Chip for VirtualChip {
    fn atr(&self) -> Vec<u8> {
        Card::atr(self).to_vec()
    }

    fn reset(&mut self) {
        VirtualChip::reset(self);
    }

    fn answer(&mut self, command: &[u8]) -> Vec<u8> {
        // It fails only where it is taken away.
        self.transmit(command).unwrap_or_default()
    }
}

impl VirtualChip {
    pub(super) fn new(passport: Arc<Parts>) -> Self {
        Self {
            passport,
            application: false,
            file: None,
            session: None,
            next: None,
            challenge: None,
            pace: None,
            chip_authentication: false,
            rest: Vec::new(),
            commands: 0,
        }
    }

    /// As after power: nothing is selected and nobody is let in.
    pub fn reset(&mut self) {
        *self = Self::new(Arc::clone(&self.passport));
    }

    /// How many commands it had.
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// The next piece of an answer that is too long for one.
    fn piece(&mut self, wanted: usize) -> Vec<u8> {
        let mut piece: Vec<u8> = self.rest.drain(..wanted.min(self.rest.len())).collect();
        match self.rest.len() {
            0 => piece.extend(OK.to_be_bytes()),
            rest => piece.extend([0x61, u8::try_from(rest).unwrap_or(0)]),
        }
        piece
    }

    fn plain(&mut self, command: Command) -> Result<Answer> {
        // Whoever speaks plainly ends secure messaging (part 11 section 9.8.3).
        self.session = None;
        let outcome = self.run(&command)?;
        self.session = self.next.take();
        Ok(answer(outcome))
    }

    fn protected(&mut self, command: Command) -> Result<Answer> {
        let Some(mut session) = self.session.take() else {
            return Ok(Answer { data: Vec::new(), status: 0x6987 });
        };
        let inner = match unprotect(&mut session, &command) {
            Ok(inner) => inner,
            Err(status) => return Ok(Answer { data: Vec::new(), status }),
        };
        let odd = inner.instruction % 2 == 1;
        // A file is read only by whoever is let in: the session is back before the command is carried out.
        self.session = Some(session);
        let plain = answer(self.run(&inner)?);
        let Some(mut session) = self.session.take() else {
            return Err(Error::new(Kind::Device, "the virtual chip has lost its session"));
        };
        let wrong_mac =
            self.passport.options.fault == Some(Fault::WrongMac) && self.file == Some(files::DG2.id);
        let protected = protect(&mut session, &plain, odd, wrong_mac);
        self.session = Some(self.next.take().unwrap_or(session));
        Ok(protected)
    }

    fn run(&mut self, command: &Command) -> Result<Outcome> {
        Ok(match command.instruction {
            0xa4 => self.select(command),
            0xb0 | 0xb1 => self.read(command),
            0x84 => {
                let challenge = random()?;
                self.challenge = Some(challenge);
                Ok(challenge.to_vec())
            }
            0x82 => self.mutual(command)?,
            0x22 => self.environment(command)?,
            0x86 => {
                if self.chip_authentication {
                    self.agree(command)
                } else {
                    self.general(command)?
                }
            }
            0x88 => self.sign(command)?,
            _ => Err(0x6d00),
        })
    }

    fn select(&mut self, command: &Command) -> Outcome {
        match (command.p1, &command.data[..]) {
            (0, [0x3f, 0]) => {
                (self.application, self.file) = (false, None);
                Ok(Vec::new())
            }
            (4, name) if name == APPLICATION => {
                (self.application, self.file) = (true, None);
                Ok(Vec::new())
            }
            (2, &[high, low]) => {
                let id = u16::from_be_bytes([high, low]);
                self.file = None;
                // EF.CardAccess is outside the application, and for everybody.
                let there = self.passport.files.contains_key(&id);
                if !there || (id == files::CARD_ACCESS.id) == self.application {
                    return Err(0x6a82);
                }
                if id != files::CARD_ACCESS.id && self.session.is_none() {
                    return Err(0x6982);
                }
                self.file = Some(id);
                Ok(Vec::new())
            }
            _ => Err(0x6a82),
        }
    }

    fn read(&mut self, command: &Command) -> Outcome {
        let file = self.file.and_then(|id| self.passport.files.get(&id)).ok_or(0x6985_u16)?;
        if self.file != Some(files::CARD_ACCESS.id) && self.session.is_none() {
            return Err(0x6982);
        }
        let expected = command.expected.ok_or(0x6700_u16)?;
        if command.instruction == 0xb0 {
            let position = usize::from(u16::from_be_bytes([command.p1, command.p2]));
            let rest = file.get(position..).filter(|rest| !rest.is_empty()).ok_or(0x6b00_u16)?;
            return Ok(rest[..expected.min(rest.len())].to_vec());
        }
        let position = value(&command.data, 0x54).or_else(wrong(0x6a80))?;
        // The shortest form of two bytes at least.
        if !matches!(position, [_, _] | [1..=255, _, _]) {
            return Err(0x6a80);
        }
        let position = position.iter().fold(0, |sum, byte| (sum << 8 | usize::from(*byte)) & 0xff_ffff);
        let rest = file.get(position..).filter(|rest| !rest.is_empty()).ok_or(0x6b00_u16)?;
        // Tag and length count too.
        let room = expected.saturating_sub(4).min(rest.len());
        Ok(object(0x53, &[&rest[..room]]))
    }

    fn mutual(&mut self, command: &Command) -> Result<Outcome> {
        let (Some(challenge), true) = (self.challenge.take(), self.application) else {
            return Ok(Err(0x6985));
        };
        let keys = Keys::new(&self.passport.mrz.basic().expect("the key of the lines is one of BAC"));
        let Some(plain) = keys.unseal(&command.data).filter(|plain| plain[8..16] == challenge) else {
            return Ok(Err(0x6300));
        };
        let mut theirs = Random { challenge: [0; 8], key: [0; 16] };
        theirs.challenge.copy_from_slice(&plain[..8]);
        theirs.key.copy_from_slice(&plain[16..]);
        let ours = random()?;
        let sealed = keys.seal(&[&challenge, &theirs.challenge, &ours]);
        self.next = Some(bac_session(&theirs, challenge, ours));
        Ok(Ok(sealed))
    }

    fn environment(&mut self, command: &Command) -> Result<Outcome> {
        let data = Objects::new(&command.data);
        let find = |tag| data.find(tag).ok().flatten().map(|found| found.value);
        match (command.p1, command.p2) {
            (0xc1, 0xa4) => {
                let Some((cipher, parameter)) = self.passport.options.pace else { return Ok(Err(0x6a80)) };
                let key = match find(0x83) {
                    Some([1]) => self.passport.mrz.clone(),
                    Some([2]) => self.passport.can.clone(),
                    _ => return Ok(Err(0x6a88)),
                };
                if find(0x80) != Some(&pace_oid(cipher)) || find(0x84).is_some_and(|id| id != [parameter]) {
                    return Ok(Err(0x6a80));
                }
                let curve = Curve::standardised(parameter).expect("a passport is issued with a known curve");
                let nonce = random::<16>()?.to_vec();
                self.chip_authentication = false;
                self.pace = Some(Pace { cipher, curve, key, nonce, mapped: None, agreed: None });
                Ok(Ok(Vec::new()))
            }
            (0x41, 0xa6) => match &self.passport.chip_authentication {
                Some((Cipher::Tdes, _, _)) if self.session.is_some() && find(0x84) == Some(&[1]) => {
                    Ok(find(0x91).ok_or(0x6a80).and_then(|public| self.begin(public)))
                }
                _ => Ok(Err(0x6a88)),
            },
            (0x41, 0xa4) => match &self.passport.chip_authentication {
                Some((cipher, _, _)) if self.session.is_some() && find(0x84) == Some(&[1]) => {
                    if *cipher == Cipher::Tdes || find(0x80) != Some(&chip_authentication_oid(*cipher)) {
                        return Ok(Err(0x6a80));
                    }
                    self.chip_authentication = true;
                    Ok(Ok(Vec::new()))
                }
                _ => Ok(Err(0x6a88)),
            },
            _ => Ok(Err(0x6a86)),
        }
    }

    /// Chip authentication: the session of both keys begins.
    fn begin(&mut self, public: &[u8]) -> Outcome {
        let (cipher, curve, secret) = self.passport.chip_authentication.as_ref().ok_or(0x6a88_u16)?;
        let point = curve.point(public).ok_or(0x6a80_u16)?;
        let shared = curve.x(&curve.multiply(secret, &point)).ok_or(0x6a80_u16)?;
        self.next = Some(Session::new(*cipher, &shared));
        Ok(Vec::new())
    }

    fn agree(&mut self, command: &Command) -> Outcome {
        self.chip_authentication = false;
        let data = value(&command.data, 0x7c).or_else(wrong(0x6a80))?;
        let public = value(data, 0x80).or_else(wrong(0x6a80))?;
        self.begin(public)?;
        Ok(object(0x7c, &[]))
    }

    /// The steps of PACE.
    fn general(&mut self, command: &Command) -> Result<Outcome> {
        let Some(pace) = &mut self.pace else { return Ok(Err(0x6985)) };
        let Ok(data) = value(&command.data, 0x7c) else { return Ok(Err(0x6a80)) };
        let Ok(asked) = Objects::new(data).take() else { return Ok(Err(0x6a80)) };
        let curve = pace.curve;
        let answer = match asked.map(|asked| (asked.tag, asked.value)) {
            None => {
                let key = pace.cipher.derive(&pace.key.password().0, 3);
                let nonce = pace.cipher.encrypt(&key, &vec![0; pace.cipher.block()], &pace.nonce);
                object(0x80, &[&nonce])
            }
            Some((0x81, public)) => {
                let Some((ours, shared)) = exchange(curve, curve.generator(), public, &curve.secret()?)
                else {
                    return Ok(Err(0x6300));
                };
                pace.mapped = curve.mapped(&pace.nonce, &shared);
                object(0x82, &[&ours])
            }
            Some((0x83, public)) => {
                let Some(mapped) = pace.mapped else { return Ok(Err(0x6985)) };
                let Some((ours, shared)) = exchange(curve, &mapped, public, &curve.secret()?) else {
                    return Ok(Err(0x6300));
                };
                let Some(secret) = curve.x(&shared) else { return Ok(Err(0x6300)) };
                let answer = object(0x84, &[&ours]);
                pace.agreed = Some((ours, public.to_vec(), Session::new(pace.cipher, &secret)));
                answer
            }
            Some((0x85, token)) => {
                let Some((ours, theirs, session)) = pace.agreed.take() else { return Ok(Err(0x6985)) };
                let oid = pace_oid(pace.cipher);
                self.pace = None;
                if !same(token, &session.token(&signed(&oid, &ours))) {
                    return Ok(Err(0x6300));
                }
                let answer = object(0x86, &[&session.token(&signed(&oid, &theirs))]);
                self.next = Some(session);
                answer
            }
            _ => return Ok(Err(0x6a80)),
        };
        Ok(Ok(object(0x7c, &[&answer])))
    }

    fn sign(&mut self, command: &Command) -> Result<Outcome> {
        if self.session.is_none() {
            return Ok(Err(0x6982));
        }
        Ok(match &self.passport.active {
            None => Err(0x6d00),
            Some(_) if command.data.len() != 8 => Err(0x6700),
            Some(SecretKey::Rsa(key)) => Ok(key.recoverable(&command.data)?),
            Some(key) => Ok(key.sign(Scheme::EcdsaPlain(Hash::Sha256), &[&command.data])?),
        })
    }
}

/// Our public key over a generator, and the point that both agree on; `None` where theirs is none.
fn exchange(curve: &Curve, generator: &Point, theirs: &[u8], secret: &Secret) -> Option<(Vec<u8>, Point)> {
    let theirs = curve.point(theirs)?;
    Some((curve.encode(&curve.multiply(secret, generator))?, curve.multiply(secret, &theirs)))
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Ok(data) => Answer { data, status: OK },
        Err(status) => Answer { data: Vec::new(), status },
    }
}

/// The command within a protected one; a status word where it is none.
fn unprotect(session: &mut Session, command: &Command) -> std::result::Result<Command, u16> {
    session.count();
    let mut objects = Objects::new(&command.data);
    let data = match objects.take_if(0x87).or_else(wrong(0x6988))? {
        Some(found) => Some(found.value.strip_prefix(&[1]).ok_or(0x6988_u16)?),
        None => objects.take_if(0x85).or_else(wrong(0x6988))?.map(|found| found.value),
    };
    let expected = objects.take_if(0x97).or_else(wrong(0x6988))?;
    let signed = &command.data[..command.data.len() - objects.rest().len()];
    let checksum = objects.expect(0x8e).or_else(wrong(0x6987))?;
    if !same(checksum.value, &session.checksum(&command.header(), &[signed])) {
        return Err(0x6988);
    }
    let expected = match expected.map(|found| found.value) {
        None => None,
        Some([0]) => Some(256),
        Some(&[length]) => Some(usize::from(length)),
        Some([0, 0]) => Some(65_536),
        Some(&[high, low]) => Some(usize::from(u16::from_be_bytes([high, low]))),
        Some(_) => return Err(0x6988),
    };
    let data = match data {
        None => Vec::new(),
        Some(data) => session.decipher(data).ok_or(0x6988_u16)?,
    };
    Ok(Command { class: command.class & !0x0c, data, expected, ..command.clone() })
}

fn protect(session: &mut Session, plain: &Answer, odd: bool, wrong_mac: bool) -> Answer {
    session.count();
    let mut data = Vec::new();
    if !plain.data.is_empty() {
        let enciphered = session.encipher(&plain.data);
        data.extend(if odd { object(0x85, &[&enciphered]) } else { object(0x87, &[&[1], &enciphered]) });
    }
    data.extend(object(0x99, &[&plain.status.to_be_bytes()]));
    let mut checksum = session.checksum(&[], &[&data]);
    if wrong_mac {
        checksum[0] ^= 0x80;
    }
    data.extend(object(0x8e, &[&checksum]));
    Answer { data, status: plain.status }
}
