//! Readers of chip cards behind PC/SC: USB readers of CCID and whatever else `pcscd` has a driver for. The service does
//! the wires; here are readers that come and go, cards that are put in and taken out, and the [`Card`] in between.
//!
//! A reader is named in the configuration as `pcsc:PART`, with any part of the name that `pcscd` gives it; `pcsc` alone is
//! the first there is. The whole names end in numbers that depend on the order of plugging (`… 00 00`).

mod contact;

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use ::pcsc::{
    Context, Error as Fault, PNP_NOTIFICATION, Protocol, Protocols, ReaderState, Scope, ShareMode, State,
};

use crate::config;
use crate::device::card_reader::Uid;
use crate::device::chip::card::{Card, LONGEST_ANSWER};
use crate::doctor::{Finding, Words};
use crate::error::{Error, Kind, Result};

pub use contact::{ContactReader, Seen, number, open};

/// GET DATA for the UID (PC/SC part 3 chapter 3.2.2.1.3). The reader answers it, not the card.
const GET_UID: [u8; 5] = [0xff, 0xca, 0x00, 0x00, 0x00];

/// First byte of a UID of four bytes that is another one each time (ISO/IEC 14443-3 chapter 6.5.4): phones, passports.
const RANDOM: u8 = 0x08;

/// After this the readers are listed again, whether or not the service has told that one was plugged in.
const LISTED_AGAIN: Duration = Duration::from_secs(1);

/// How long the doctor waits for a reader to say what stands in it.
const DOCTOR_WAITS: Duration = Duration::from_secs(2);

/// The part of a reader's name in the value of a key, `pcsc:PART` or `pcsc`; `None` if it names no reader of PC/SC.
pub fn part(value: &str) -> Option<&str> {
    value.strip_prefix("pcsc:").or((value == "pcsc").then_some(""))
}

/// What stands in a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Empty,
    /// A card. Each that is put in has another number, also if it is the same one again.
    Card(u32),
    /// A card that does not announce itself: the wrong way round, dirty or broken.
    Mute(u32),
}

/// One reader, which is found again when it, or the service, has been away.
pub struct Reader {
    /// Lower case.
    part: String,
    context: Option<Context>,
    /// What it said last, while it is there.
    state: Option<ReaderState>,
    seen: Presence,
    /// The service's count of insertions and removals when it was looked at last.
    count: u32,
    /// How many cards there have been, over all absences.
    cards: u32,
    /// The card that [`Reader::wait_card`] has given out.
    given: u32,
}

impl Reader {
    /// The first reader whose name contains `part`, in upper or lower case; an empty one takes any. Opens nothing yet.
    pub fn new(part: &str) -> Self {
        Self {
            part: part.to_lowercase(),
            context: None,
            state: None,
            seen: Presence::Empty,
            count: 0,
            cards: 0,
            given: 0,
        }
    }

    /// Its whole name, while it is there.
    pub fn name(&self) -> Option<String> {
        self.state.as_ref().map(|state| shown(state.name()))
    }

    /// What stands in it, as soon as that is something else than this said last (that it was not there counts), or after
    /// `within`.
    ///
    /// # Errors
    /// `Device`: the service does not run; there is no such reader, which is told after `within`, because one may be
    /// plugged in meanwhile; or it was unplugged. The next call looks for it anew, and takes what stands in it for new.
    pub fn presence(&mut self, within: Duration) -> Result<Presence> {
        let outcome = self.look(Instant::now() + within);
        if outcome.is_err() {
            (self.state, self.seen) = (None, Presence::Empty);
        }
        outcome
    }

    fn look(&mut self, until: Instant) -> Result<Presence> {
        let context = self.context()?;
        let found = self.state.is_none();
        if found {
            let name = self.find(&context, until)?;
            tracing::debug!(reader = shown(&name), "a reader of PC/SC is there");
            self.state = Some(ReaderState::new(name, State::UNAWARE));
        }
        loop {
            let Some(state) = &mut self.state else { return Ok(Presence::Empty) };
            let left = until.saturating_duration_since(Instant::now());
            let asked = context.get_status_change(left, std::slice::from_mut(state));
            let name = shown(state.name());
            match asked {
                Ok(()) => {}
                Err(Fault::Timeout) => return Ok(self.seen),
                Err(fault) => return Err(self.lost(&name, fault)),
            }
            let (says, count) = (state.event_state(), state.event_count());
            state.sync_current_state();
            if says.intersects(State::UNKNOWN | State::UNAVAILABLE | State::IGNORE) {
                return Err(self.lost(&name, Fault::ReaderUnavailable));
            }
            let before = self.seen;
            if says.contains(State::PRESENT) {
                if before == Presence::Empty || count != self.count {
                    self.cards += 1;
                }
                let mute = says.contains(State::MUTE);
                self.seen = if mute { Presence::Mute(self.cards) } else { Presence::Card(self.cards) };
            } else {
                self.seen = Presence::Empty;
            }
            self.count = count;
            if found || self.seen != before {
                return Ok(self.seen);
            }
        }
    }

    /// The card that stands in it. The reader is this card's alone until it is dropped, which resets the card.
    ///
    /// # Errors
    /// `Busy`: another program uses the card. `Device`: there is none, it does not answer, or the reader or the service
    /// is gone.
    pub fn connect(&mut self) -> Result<PcscCard> {
        let context = self.context()?;
        let name = match &self.state {
            Some(state) => state.name().to_owned(),
            None => self.find(&context, Instant::now())?,
        };
        let reader = shown(&name);
        let card = context
            .connect(&name, ShareMode::Exclusive, Protocols::ANY)
            .map_err(|fault| self.lost(&reader, fault))?;
        let status = card.status2_owned().map_err(|fault| self.lost(&reader, fault))?;
        let bytes = status.protocol2() == Some(Protocol::T0);
        Ok(PcscCard { card, reader, bytes, atr: status.atr().to_vec(), answer: vec![0; LONGEST_ANSWER] })
    }

    /// Waits for a card that this has not given out yet, and [connects](Self::connect) it; one that stands in the reader at
    /// the first call counts. `None` if none comes `within` the time. A card that does not announce itself is an error,
    /// once; one that cannot be connected is not given out by that. A card that is not quite in, or is out again, is waited for
    /// as one that is not there.
    pub fn wait_card(&mut self, within: Duration) -> Result<Option<PcscCard>> {
        let until = Instant::now() + within;
        // A card that was seen already is no news to wait for.
        let mut left = if self.state.is_some() { Duration::ZERO } else { within };
        loop {
            match self.presence(left)? {
                Presence::Card(number) if number != self.given => {
                    let remaining = until.saturating_duration_since(Instant::now());
                    match self.connect() {
                        Ok(card) => {
                            self.given = number;
                            return Ok(Some(card));
                        }
                        Err(error) if is_out(&error) && !remaining.is_zero() => {
                            left = remaining.min(LISTED_AGAIN)
                        }
                        Err(error) => return Err(error),
                    }
                }
                Presence::Mute(number) if number != self.given => {
                    self.given = number;
                    let name = self.name().unwrap_or_default();
                    return Err(self.lost(&name, Fault::UnresponsiveCard));
                }
                _ if Instant::now() >= until => return Ok(None),
                _ => left = until.saturating_duration_since(Instant::now()),
            }
        }
    }

    /// Whatever stands in it counts as not given out.
    pub fn anew(&mut self) {
        self.given = 0;
    }

    fn context(&mut self) -> Result<Context> {
        match &self.context {
            Some(context) => Ok(context.clone()),
            None => {
                let context = Context::establish(Scope::System).map_err(|fault| fault_of("", fault))?;
                Ok(self.context.insert(context).clone())
            }
        }
    }

    /// The name of the reader, as soon as one is plugged in; `Device` with the names of those that there are if none is
    /// `until` then.
    fn find(&mut self, context: &Context, until: Instant) -> Result<CString> {
        loop {
            let names = match context.list_readers_owned() {
                Ok(names) => names,
                Err(Fault::NoReadersAvailable) => Vec::new(),
                Err(fault) => return Err(self.lost("", fault)),
            };
            if let Some(name) = names.iter().find(|name| shown(name).to_lowercase().contains(&self.part)) {
                return Ok(name.clone());
            }
            // What is plugged in before the service begins to wait is no news to it: the list is asked for again.
            let mut plugged = [ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
            let left = until.saturating_duration_since(Instant::now());
            let waited = match left.is_zero() {
                true => Err(Fault::Timeout),
                false => context.get_status_change(left.min(LISTED_AGAIN), &mut plugged),
            };
            match waited {
                Ok(()) => {}
                Err(Fault::Timeout) if !left.is_zero() => {}
                Err(Fault::Timeout) => {
                    let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
                    return Err(Error::new(Kind::Device, none_is(&self.part, &names)));
                }
                Err(fault) => return Err(self.lost("", fault)),
            }
        }
    }

    /// An error in words; what it makes useless is let go of.
    fn lost(&mut self, reader: &str, fault: Fault) -> Error {
        if service_is_gone(fault) {
            self.context = None;
        }
        fault_of(reader, fault)
    }
}

/// That no reader is there whose name contains `part`, and what may be done.
fn none_is(part: &str, names: &[String]) -> String {
    let wanted = match part {
        "" => "no card reader".to_owned(),
        part => format!("no card reader with {part:?} in its name"),
    };
    match names {
        [] => format!("{wanted} is known to pcscd, nor any other: is it plugged in, and is it one of CCID?"),
        names => format!("{wanted} is known to pcscd; it has {}", names.join(", ")),
    }
}

fn shown(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

/// Whether it was no card any more that could be connected.
fn is_out(error: &Error) -> bool {
    let fault = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Fault>());
    matches!(fault, Some(Fault::RemovedCard | Fault::NoSmartcard))
}

/// Whether nothing more can be asked of the service with the handles that there are.
fn service_is_gone(fault: Fault) -> bool {
    matches!(
        fault,
        Fault::NoService
            | Fault::ServiceStopped
            | Fault::InvalidHandle
            | Fault::CommError
            | Fault::InternalError
            | Fault::Shutdown
    )
}

/// What the service says, in words that say what to do.
fn fault_of(reader: &str, fault: Fault) -> Error {
    let device = |text: String| Error::caused(Kind::Device, text, fault);
    match fault {
        Fault::NoService | Fault::ServiceStopped | Fault::Shutdown => device(
            "the card service pcscd does not run: systemctl status pcscd.socket pcscd, then journalctl -u pcscd"
                .to_owned(),
        ),
        Fault::NoAccess | Fault::SecurityViolation => device(
            "the card service pcscd does not let this user in: its socket /run/pcscd/pcscd.comm must be writable"
                .to_owned(),
        ),
        Fault::ReaderUnavailable | Fault::UnknownReader => {
            device(format!("the card reader {reader} was unplugged: check its cable"))
        }
        Fault::RemovedCard | Fault::NoSmartcard => {
            device(format!("the card was taken out of {reader} before it was read: put it in again"))
        }
        Fault::ResetCard => device(format!("the card in {reader} was reset by another program: put it in again")),
        Fault::UnresponsiveCard | Fault::UnpoweredCard | Fault::UnsupportedCard | Fault::ProtoMismatch => device(
            format!("the card in {reader} does not answer: turn it round or wipe its contacts, else it is broken"),
        ),
        Fault::NotTransacted | Fault::CommDataLost => device(format!(
            "the card in {reader} stopped answering: it was lifted too early, or is broken; put it in again"
        )),
        Fault::InsufficientBuffer => {
            device(format!("the card in {reader} answered more than {LONGEST_ANSWER} bytes"))
        }
        Fault::SharingViolation => Error::caused(
            Kind::Busy,
            format!("the card in {reader} is used by another program: stop that one"),
            fault,
        ),
        Fault::Timeout | Fault::WaitedTooLong => Error::caused(
            Kind::Timeout,
            format!("the card in {reader} did not answer in time: put it in again"),
            fault,
        ),
        _ => device(match reader {
            "" => "the card service pcscd failed".to_owned(),
            reader => format!("the card reader {reader} failed"),
        }),
    }
}

/// A card that stands in a reader, or lies on it.
pub struct PcscCard {
    card: ::pcsc::Card,
    reader: String,
    /// Whether it speaks T=0, the protocol of single bytes.
    bytes: bool,
    atr: Vec<u8>,
    answer: Vec<u8>,
}

impl PcscCard {
    /// The whole name of its reader.
    pub fn reader(&self) -> &str {
        &self.reader
    }
}

impl Card for PcscCard {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
        let apdu = if self.bytes { without_le(apdu) } else { apdu };
        let answer =
            self.card.transmit(apdu, &mut self.answer).map_err(|fault| fault_of(&self.reader, fault))?;
        match answer.len() {
            2.. => Ok(answer.to_vec()),
            length => Err(Error::new(
                Kind::Device,
                format!(
                    "the card in {} answered {length} bytes, without a status: put it in again",
                    self.reader
                ),
            )),
        }
    }

    fn atr(&self) -> &[u8] {
        &self.atr
    }
}

/// A command as T=0 takes it: one with data and an expected length goes without the latter, and the card says how much there
/// is to fetch (ISO/IEC 7816-3 chapter 12.1.2, case 4). Some drivers of readers leave that to who sends.
fn without_le(apdu: &[u8]) -> &[u8] {
    match apdu {
        [_, _, _, _, length @ 1..=u8::MAX, data @ ..] if data.len() == usize::from(*length) + 1 => {
            &apdu[..apdu.len() - 1]
        }
        _ => apdu,
    }
}

/// Whether a reader has made up this answer to reset for a contactless card (PC/SC part 3 chapter 3.1.3.2.3): no interface
/// bytes but the protocols T=0 and T=1.
fn is_contactless(atr: &[u8]) -> bool {
    matches!(atr, [0x3b, 0x80..=0x8f, 0x80, 0x01, ..])
}

/// The UID of a contactless card. `None` for a card with contacts, a reader that does not know it, and a card that makes
/// up another one each time.
pub fn uid(card: &mut dyn Card) -> Result<Option<Uid>> {
    // To one with contacts a reader may send the command on, and some cards are gone after it.
    if !is_contactless(card.atr()) {
        return Ok(None);
    }
    let answer = card.transmit(&GET_UID)?;
    let uid = answer.strip_suffix(&[0x90, 0x00]).and_then(Uid::new);
    Ok(uid.filter(|uid| !(uid.bytes().len() == 4 && uid.bytes().first() == Some(&RANDOM))))
}

/// What the doctor finds about a key that may name a reader of PC/SC. Looking takes nothing from an agent that runs: the
/// service is there for all.
pub fn examine(device: &config::Device) -> Finding {
    let source = &device.contact_reader;
    let finding =
        Finding::about("contact_reader", Words::new("接触式读卡器", "contact card reader"), source.clone());
    if source == "none" {
        return finding;
    }
    let Some(part) = part(source) else {
        return match open(device) {
            Ok(_) => finding.well(Words::new("模拟：没有接线", "simulated: nothing is wired to it")),
            Err(error) => finding.failed(Words::from(&error), advice("contact_reader")),
        };
    };
    look_for(part, finding, "contact_reader")
}

/// What to do where a reader that a key names is not there.
fn advice(key: &str) -> Words {
    Words::new(
        format!("插好读卡器；systemctl status pcscd.socket；检查 device.{key}"),
        format!("plug the reader in; systemctl status pcscd.socket; check device.{key}"),
    )
}

/// Whether the reader is there that the `device.` key names by a part of its name, as what a finding found.
pub fn look_for(part: &str, finding: Finding, key: &str) -> Finding {
    let mut reader = Reader::new(part);
    match reader.presence(DOCTOR_WAITS) {
        Err(error) => finding.failed(Words::from(&error), advice(key)),
        Ok(presence) => {
            let name = reader.name().unwrap_or_default();
            let card = match presence {
                Presence::Empty => ("无卡", "no card in it"),
                Presence::Card(_) => ("有卡", "a card in it"),
                Presence::Mute(_) => ("卡无应答", "a card in it that does not answer"),
            };
            finding.well(Words::new(format!("{name}，{}", card.0), format!("{name}, {}", card.1)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_named_by_a_part_of_their_names() {
        assert_eq!(part("pcsc"), Some(""));
        assert_eq!(part("pcsc:"), Some(""));
        assert_eq!(part("pcsc:ACR122U PICC"), Some("ACR122U PICC"));
        for other in ["none", "sim", "pcscd", "sdt:/dev/ttyS2", ""] {
            assert_eq!(part(other), None, "{other}");
        }
    }

    #[test]
    fn each_fault_says_what_to_do() {
        for (fault, kind, words) in [
            (Fault::NoService, Kind::Device, "pcscd does not run: systemctl status pcscd.socket"),
            (Fault::ServiceStopped, Kind::Device, "pcscd does not run"),
            (Fault::NoAccess, Kind::Device, "/run/pcscd/pcscd.comm must be writable"),
            (Fault::ReaderUnavailable, Kind::Device, "the card reader R 00 was unplugged: check its cable"),
            (Fault::UnknownReader, Kind::Device, "the card reader R 00 was unplugged: check its cable"),
            (Fault::RemovedCard, Kind::Device, "taken out of R 00 before it was read: put it in again"),
            (Fault::NotTransacted, Kind::Device, "the card in R 00 stopped answering"),
            (Fault::UnresponsiveCard, Kind::Device, "turn it round or wipe its contacts"),
            (Fault::SharingViolation, Kind::Busy, "the card in R 00 is used by another program"),
            (Fault::Timeout, Kind::Timeout, "the card in R 00 did not answer in time"),
            (Fault::NoMemory, Kind::Device, "the card reader R 00 failed: "),
        ] {
            let error = fault_of("R 00", fault);
            assert_eq!(error.kind(), kind, "{fault:?}");
            assert!(error.to_string().contains(words), "{fault:?}: {error}");
        }
        // After these the handles are worth nothing; after the others they are.
        assert!(service_is_gone(Fault::NoService) && service_is_gone(Fault::InvalidHandle));
        assert!(!service_is_gone(Fault::ReaderUnavailable) && !service_is_gone(Fault::RemovedCard));
    }

    #[test]
    fn a_reader_that_is_not_there_is_told_with_those_that_are() {
        assert_eq!(
            none_is("acr", &["Reader A 00 00".into(), "Reader B 01 00".into()]),
            "no card reader with \"acr\" in its name is known to pcscd; it has Reader A 00 00, Reader B 01 00"
        );
        assert!(
            none_is("", &[]).starts_with("no card reader is known to pcscd, nor any other: is it plugged in")
        );
    }

    /// A reader that answers GET UID so.
    struct Answering(&'static [u8]);

    impl Card for Answering {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
            assert_eq!(apdu, [0xff, 0xca, 0, 0, 0]);
            Ok(self.0.to_vec())
        }

        fn atr(&self) -> &[u8] {
            &[0x3b, 0x80, 0x80, 0x01, 0x01]
        }
    }

    #[test]
    fn a_card_with_contacts_is_not_asked_for_a_uid() {
        struct Contacts(&'static [u8]);
        impl Card for Contacts {
            fn transmit(&mut self, _: &[u8]) -> Result<Vec<u8>> {
                panic!("it is gone after that");
            }
            fn atr(&self) -> &[u8] {
                self.0
            }
        }
        for atr in [&[0x3b, 0x6d, 0x00, 0x00, 0x80][..], &[0x3b, 0x90, 0x80, 0x01], &[0x3b], &[]] {
            assert!(uid(&mut Contacts(atr)).unwrap().is_none(), "{atr:02x?}");
        }
    }

    #[test]
    fn a_command_of_t0_goes_without_the_length_it_expects() {
        let select = [0x00, 0xa4, 0x02, 0x00, 0x02, 0xef, 0x05, 0x00];
        assert_eq!(without_le(&select), &select[..7]);
        // Data alone, a length alone, nothing, and one that is none.
        for whole in [&select[..7], &[0x00, 0xb2, 0x01, 0x0c, 0x00], &select[..4], &select[..6], &[]] {
            assert_eq!(without_le(whole), whole);
        }
    }

    #[test]
    fn a_uid_is_taken_only_where_there_is_one() {
        let read = |answer| uid(&mut Answering(answer)).unwrap().map(|uid| uid.bytes().to_vec());
        assert_eq!(read(&[0x09, 0x60, 0xdb, 0xb3, 0x90, 0x00]), Some(vec![0x09, 0x60, 0xdb, 0xb3]));
        assert_eq!(read(&[8, 1, 2, 3, 4, 5, 6, 0x90, 0x00]), Some(vec![8, 1, 2, 3, 4, 5, 6]));
        // Contacts, an unknown command, a warning with data, a phone, nothing at all.
        for answer in [
            &[0x6a, 0x81][..],
            &[0x6d, 0x00],
            &[1, 2, 3, 4, 0x62, 0x82],
            &[0x08, 1, 2, 3, 0x90, 0x00],
            &[0x90, 0x00],
        ] {
            assert_eq!(read(answer), None, "{answer:02x?}");
        }
    }
}
