//! What a bank card says of itself to anybody: PBOC 3.0 (JR/T 0025) and EMV (Books 1 and 3), up to where a payment would
//! begin. Nothing is paid, no PIN is asked for, no cryptogram is made: the terminal's side of GET PROCESSING OPTIONS says
//! an amount of zero and "no quick payment", so that a card takes it for a look at its balance. The card counts that look
//! (its transaction counter goes up by one), as it does at every terminal.
//!
//! [`BankCard`] has the fields of `ICCardInfo` of the CameraService document, chapter 4.4. Account numbers, names and
//! tracks are the holder's business: `Debug` shows none of them, and no error here carries one.

mod exchange;
pub mod social_security;
#[cfg(test)]
mod tests;
pub mod tlv;

use std::fmt;

use jiff::civil::Date;

use self::exchange::{BLOCKED, OK, ask, get_data, read_record, select};
use self::tlv::{Objects, Tag};
use crate::device::card_reader::Uid;
use crate::device::chip::card::Card;
use crate::error::{Context as _, Error, Kind, Result};

/// The directory of applications of a card with contacts (EMV Book 1 chapter 12.2.2).
const PSE: &[u8] = b"1PAY.SYS.DDF01";

/// The directory of applications of a contactless card (EMV contactless Book B chapter 3.3.1).
const PPSE: &[u8] = b"2PAY.SYS.DDF01";

/// UnionPay's registered identifier (RID).
const UNION_PAY: [u8; 5] = [0xa0, 0x00, 0x00, 0x03, 0x33];

/// Applications that are tried by name on a card without a directory: UnionPay debit, credit, quasi-credit and electronic
/// cash, then the others that are met.
const KNOWN: [&[u8]; 7] = [
    &[0xa0, 0x00, 0x00, 0x03, 0x33, 0x01, 0x01, 0x01],
    &[0xa0, 0x00, 0x00, 0x03, 0x33, 0x01, 0x01, 0x02],
    &[0xa0, 0x00, 0x00, 0x03, 0x33, 0x01, 0x01, 0x03],
    &[0xa0, 0x00, 0x00, 0x03, 0x33, 0x01, 0x01, 0x06],
    &[0xa0, 0x00, 0x00, 0x00, 0x03, 0x10, 0x10],
    &[0xa0, 0x00, 0x00, 0x00, 0x04, 0x10, 0x10],
    &[0xa0, 0x00, 0x00, 0x00, 0x65, 0x10, 0x10],
];

/// Applications of a directory that are tried; a card has one to four.
const MOST_APPLICATIONS: usize = 16;

/// Records that are read of one file, or by one list: a card has some ten.
const MOST_RECORDS: usize = 64;

/// What is asked for by name, besides what the records hold. A card that refuses one leaves that field empty.
const ASKED: [u16; 16] = [
    0x9f36, 0x9f17, 0x9f79, 0x9f77, 0x9f78, 0x9f6d, 0x9f51, 0x9f72, 0x9f53, 0x9f54, 0x9f75, 0x9f5c, 0x9f73,
    0x9f58, 0x9f59, 0x9f4f,
];

/// The numbers of a chip from its production (GlobalPlatform Card Specification 2.1.1, card production life cycle data).
const PRODUCTION: u16 = 0x9f7f;

/// Longest account number (ISO/IEC 7812-1).
const MOST_DIGITS: usize = 19;

/// A bank card as it says it is. Texts are empty where the card says nothing; the names are those of `ICCardInfo`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct BankCard {
    /// Number of the card: the account number (PAN, tag 5A, else of tag 57).
    pub card_number: String,
    /// Number of the account: the same; a bank card has no other.
    pub account_number: String,
    /// Name of the holder (5F20).
    pub name: String,
    /// Kind of the holder's document (9F62), two digits: 00 identity card, 01 officer's, 02 passport, 03 entry permit,
    /// 04 temporary identity card, 05 another one.
    pub certificates_type: String,
    /// Number of that document (9F61).
    pub certificates_number: String,
    /// What track 1 of a magnetic stripe would say (56; else from 5F20, 57 and 9F1F), without its sentinels.
    pub track1: String,
    /// What track 2 would say (57), with `=` between number and expiry, without its sentinels.
    pub track2: String,
    /// What track 3 would say. EMV has no such data: always empty.
    pub track3: String,
    /// Balance of the electronic cash (9F79), in the currency's unit with two decimals.
    pub balance: String,
    /// The most that it may be (9F77).
    pub balance_limit: String,
    /// First day (5F25), `yyyyMMdd`.
    pub effective_date: String,
    /// Which of the cards with this account number it is (5F34), two digits.
    pub serial_number: String,
    /// Currency of the application (9F42, else 9F51), three digits of ISO 4217.
    pub currency_code: String,
    /// Wrong PINs that the card still bears (9F17).
    pub pin_retry_time: String,
    /// Last day (5F24), `yyyyMMdd`.
    pub expiry_date: String,
    /// How often the application has been used (9F36).
    pub atc: String,
    /// Name of the holder where it is longer than 26 letters (9F0B).
    pub name_extend: String,
    /// Most that one payment from the electronic cash may be (9F78).
    pub single_trading_limit: String,
    /// Balance below which the card asks to be loaded (9F6D).
    pub reset_threshold: String,
    /// Payments offline in other countries before the bank is asked (9F72).
    pub transaction_limit_number_i_n: String,
    /// Payments offline in other currencies before the bank is asked (9F53).
    pub transaction_limit_number_i_c: String,
    /// Sum of payments offline before the bank is asked (9F54). The document calls it by the same words as the one before.
    pub trading_limit_number: String,
    /// The same over two currencies (9F75).
    pub trading_limit_number_double: String,
    /// Sum of payments offline that is never exceeded (9F5C).
    pub transaction_amount_upper_limit: String,
    /// How amounts of the second currency are converted (9F73): its digits as they are.
    pub currency_conversion_factor: String,
    /// Payments offline in a row before the bank is asked (9F58).
    pub trading_floor: String,
    /// Payments offline in a row that are never exceeded (9F59).
    pub trading_ceiling: String,
    /// Whether the bank has locked the application: 1 or 0.
    pub app_lock: String,
    /// Name of the application (84), in hexadecimal digits.
    pub ic_card_aid: String,
    /// Amount of the last payment in the card's log (9F02).
    pub authorized_amount: String,
    /// Other amount of it (9F03).
    pub other_amount: String,
    /// Its currency (5F2A).
    pub transaction_currency_code: String,
    /// Its day (9A), `yyyyMMdd`.
    pub transaction_date: String,
    /// Its time (9F21), `HHmmss`.
    pub transaction_time: String,
    /// Its merchant (9F16, else the name 9F4E).
    pub merchant_number: String,
}

impl BankCard {
    /// All fields by the names of `ICCardInfo`, in its order. They are the holder's business.
    pub fn fields(&self) -> [(&'static str, &str); 35] {
        [
            ("CardNumber", &self.card_number),
            ("AccountNumber", &self.account_number),
            ("Name", &self.name),
            ("CertificatesType", &self.certificates_type),
            ("CertificatesNo", &self.certificates_number),
            ("Track1", &self.track1),
            ("Track2", &self.track2),
            ("Track3", &self.track3),
            ("Balance", &self.balance),
            ("BalanceLimit", &self.balance_limit),
            ("EffectiveDate", &self.effective_date),
            ("SerialNumber", &self.serial_number),
            ("CurrencyCode", &self.currency_code),
            ("PinRetryTime", &self.pin_retry_time),
            ("ExpiryDate", &self.expiry_date),
            ("Atc", &self.atc),
            ("NameExtend", &self.name_extend),
            ("SingleTradingLimit", &self.single_trading_limit),
            ("ResetThreshold", &self.reset_threshold),
            ("TransactionLimitNumber_I_N", &self.transaction_limit_number_i_n),
            ("TransactionLimitNumber_I_C", &self.transaction_limit_number_i_c),
            ("TradingLimitNumber", &self.trading_limit_number),
            ("TradingLimitNumber_Double", &self.trading_limit_number_double),
            ("TransactionAmountUpperLimit", &self.transaction_amount_upper_limit),
            ("CurrencyConversionFactor", &self.currency_conversion_factor),
            ("TradingFloor", &self.trading_floor),
            ("TradingCeiling", &self.trading_ceiling),
            ("AppLock", &self.app_lock),
            ("IcCardAID", &self.ic_card_aid),
            ("AuthorizedAmount", &self.authorized_amount),
            ("OtherAmount", &self.other_amount),
            ("TransactionCurrencyCode", &self.transaction_currency_code),
            ("TransactionDate", &self.transaction_date),
            ("TransactionTime", &self.transaction_time),
            ("MerchantNumber", &self.merchant_number),
        ]
    }
}

impl fmt::Debug for BankCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BankCard")
            .field("card_number", &masked(&self.card_number))
            .field("ic_card_aid", &self.ic_card_aid)
            .field("app_lock", &self.app_lock)
            .finish_non_exhaustive()
    }
}

/// A number of which only the last four digits can be read, as far as it is long enough to hide anything.
pub fn masked(number: &str) -> String {
    let (length, shown) = (number.chars().count(), if number.chars().count() >= 12 { 4 } else { 0 });
    let letter = |(at, letter)| if at + shown < length { '*' } else { letter };
    number.chars().enumerate().map(letter).collect()
}

/// Terminal's answers to what a card wants to know before it opens an application.
#[derive(Debug, Clone, Copy)]
struct Terminal {
    today: Date,
    unpredictable: [u8; 4],
}

impl Terminal {
    /// The value of a terminal's data object, as many bytes as the card wants (EMV Book 3 chapter 5.4: numbers are cut off
    /// or filled up on the left, everything else on the right). What is not known here is zeros.
    fn value(&self, tag: Tag, length: usize) -> Vec<u8> {
        let date = self.today.strftime("%y%m%d").to_string();
        let (value, number) = match tag {
            // Terminal transaction qualifiers: PBOC debit and credit only, no quick payment, so that nothing can be taken
            // from the electronic cash (JR/T 0025.12).
            0x9f66 => (vec![0x40, 0x00, 0x00, 0x00], false),
            // China, its currency.
            0x9f1a | 0x5f2a => (vec![0x01, 0x56], true),
            0x9a => (digits_to_bytes(&date), true),
            // A question about the balance (ISO 8583 processing code 31).
            0x9c => (vec![0x31], true),
            0x9f37 => (self.unpredictable.to_vec(), false),
            // Attended, online only (EMV Book 4 annex A1).
            0x9f35 => (vec![0x21], true),
            _ => (vec![0; length], false),
        };
        let mut fitted = vec![0; length];
        let kept = value.len().min(length);
        if number {
            fitted[length - kept..].copy_from_slice(&value[value.len() - kept..]);
        } else {
            fitted[..kept].copy_from_slice(&value[..kept]);
        }
        fitted
    }
}

/// Decimal digits as a card packs them, two a byte.
fn digits_to_bytes(digits: &str) -> Vec<u8> {
    let digit = |byte: &u8| byte.wrapping_sub(b'0') & 0x0f;
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, next| byte << 4 | digit(next)))
        .collect()
}

/// Reads a bank card: its first application that opens, UnionPay's before others'. `today` is what the card is told.
///
/// # Errors
/// `NotFound`: the card has no application of a bank that is known here. `Input`: what it says is damaged. `Device` and
/// `Timeout`: the card or its reader is gone ([`Card::transmit`]), or answers without end.
pub fn read(card: &mut dyn Card, today: Date) -> Result<BankCard> {
    let mut unpredictable = [0; 4];
    getrandom::fill(&mut unpredictable)
        .map_err(|error| Error::new(Kind::Io, format!("there are no random numbers: {error}")))?;
    read_as(card, Terminal { today, unpredictable })
}

fn read_as(card: &mut dyn Card, terminal: Terminal) -> Result<BankCard> {
    let mut refused = None;
    for name in applications(card)? {
        let selected = select(card, &name)?;
        let locked = selected.status == BLOCKED;
        if selected.status != OK && !locked {
            continue;
        }
        let mut said = Objects::new();
        tlv::keep(&selected.data, &mut said).context(|| "the bank card's application cannot be read")?;
        let opened = get_processing_options(card, &terminal, &said)?;
        if opened.status != OK && !locked {
            // EMV Book 3 chapter 10.1: such an application is left, and the next one tried.
            refused = Some(opened.status);
            continue;
        }
        said.entry(0x84).or_insert(name);
        if opened.status == OK {
            read_records(card, &opened.data, &mut said)?;
        }
        ask_for(card, &mut said)?;
        let log = last_payment(card, &said)?;
        return Ok(of(&said, &log, locked));
    }
    Err(Error::new(
        Kind::NotFound,
        match refused {
            Some(status) => {
                format!("the bank card's applications do not open (status {status:04X}): try another card")
            }
            None => "the card has no application of a bank that is known here".to_owned(),
        },
    ))
}

/// The names of the applications to try, best first: those of the card's own directory, else those that are known.
fn applications(card: &mut dyn Card) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    if let Some(fci) = select(card, PSE)?.ok() {
        let damaged = || "the bank card's directory cannot be read";
        if let Some([file]) = tlv::find(&fci, 0x88).context(damaged)? {
            let file = *file;
            for number in 1..=u8::try_from(MOST_RECORDS).unwrap_or(u8::MAX) {
                if !(1..=30).contains(&file) {
                    break;
                }
                let Some(record) = read_record(card, file, number)?.ok() else { break };
                entries(&record, &mut found).context(damaged)?;
            }
        }
    }
    if found.is_empty()
        && let Some(fci) = select(card, PPSE)?.ok()
    {
        entries(&fci, &mut found).context(|| "the bank card's contactless directory cannot be read")?;
    }
    if found.is_empty() {
        return Ok(KNOWN.iter().map(|name| name.to_vec()).collect());
    }
    // A stable sort: what has the same priority stays in the card's order. 0 is "none" and comes last.
    found.sort_by_key(|(name, priority)| (!name.starts_with(&UNION_PAY), priority.wrapping_sub(1) & 0x0f));
    Ok(found.into_iter().map(|(name, _)| name).collect())
}

/// The entries (61) of a directory: names of 5 to 16 bytes with their priorities.
fn entries(directory: &[u8], found: &mut Vec<(Vec<u8>, u8)>) -> Result<()> {
    fn walk(data: &[u8], found: &mut Vec<(Vec<u8>, u8)>, depth: usize) -> Result<()> {
        for object in tlv::objects(data) {
            let object = object?;
            if object.tag == 0x61 {
                let name = tlv::find(object.value, 0x4f)?.unwrap_or_default();
                if (5..=16).contains(&name.len()) && found.len() < MOST_APPLICATIONS {
                    let priority = tlv::find(object.value, 0x87)?.and_then(|value| value.first().copied());
                    found.push((name.to_vec(), priority.unwrap_or(0) & 0x0f));
                }
            } else if object.constructed && depth > 0 {
                walk(object.value, found, depth - 1)?;
            }
        }
        Ok(())
    }
    walk(directory, found, 4)
}

/// GET PROCESSING OPTIONS (EMV Book 3 chapter 6.5.8) with what the application's PDOL asks for.
fn get_processing_options(
    card: &mut dyn Card,
    terminal: &Terminal,
    said: &Objects,
) -> Result<exchange::Answer> {
    let wanted = said.get(&0x9f38).map_or(&[][..], Vec::as_slice);
    let wanted =
        tlv::list(wanted).context(|| "the bank card's list of what it wants to know (PDOL) is damaged")?;
    let length = wanted.iter().map(|(_, length)| length).sum::<usize>();
    // The template 83 and its length are two bytes of the 255.
    let Some(length) = u8::try_from(length).ok().filter(|length| *length < 128) else {
        return Err(Error::new(
            Kind::Input,
            format!("the bank card wants to know {length} bytes before it opens (PDOL): no card needs 128"),
        ));
    };
    let mut command = vec![0x80, 0xa8, 0x00, 0x00, length + 2, 0x83, length];
    for (tag, length) in wanted {
        command.extend(terminal.value(tag, length));
    }
    command.push(0x00);
    ask(card, &command)
}

/// Reads the records that the answer to GET PROCESSING OPTIONS lists. One that the card does not give is left out.
fn read_records(card: &mut dyn Card, answer: &[u8], said: &mut Objects) -> Result<()> {
    let damaged = || "the bank card's list of records cannot be read";
    // Format 1 (80) is the interchange profile of two bytes and the list; format 2 (77) is a template.
    let list = match tlv::find(answer, 0x80).context(damaged)? {
        Some(format1) => format1.get(2..).unwrap_or_default().to_vec(),
        None => {
            tlv::keep(answer, said).context(damaged)?;
            said.get(&0x94).cloned().unwrap_or_default()
        }
    };
    let mut count = 0;
    let (entries, rest) = list.as_chunks::<4>();
    for [file, first, last, _] in entries {
        let (file, valid) = (file >> 3, file & 0x07 == 0 && *first >= 1 && last >= first);
        count += usize::from(last.saturating_sub(*first)) + 1;
        if !valid || !(1..=30).contains(&file) || count > MOST_RECORDS {
            return Err(Error::new(Kind::Input, "the bank card's list of records (AFL) is none"));
        }
        for number in *first..=*last {
            let Some(record) = read_record(card, file, number)?.ok() else { continue };
            tlv::keep(&record, said)
                .context(|| format!("record {number} of file {file} of the bank card"))?;
        }
    }
    match rest {
        [] => Ok(()),
        _ => Err(Error::new(Kind::Input, "the bank card's list of records (AFL) is cut off")),
    }
}

/// Asks for what no record holds. What the card says in a record stays; counters are asked for in any case.
fn ask_for(card: &mut dyn Card, said: &mut Objects) -> Result<()> {
    for tag in ASKED {
        let Some(data) = get_data(card, tag)?.ok() else { continue };
        let value = tlv::find(&data, Tag::from(tag))
            .context(|| format!("the bank card's answer about {tag:04X} cannot be read"))?;
        if let Some(value) = value {
            said.insert(Tag::from(tag), value.to_vec());
        }
    }
    Ok(())
}

/// The last payment in the card's log (PBOC; EMV Book 3 annex D): the entry names a file and how many records it has, the
/// format says what a record is made of. Empty without a log.
fn last_payment(card: &mut dyn Card, said: &Objects) -> Result<Objects> {
    let mut payment = Objects::new();
    let (Some(entry), Some(format)) = (said.get(&0x9f4d), said.get(&0x9f4f)) else { return Ok(payment) };
    let [file @ 1..=30, 1..=u8::MAX] = entry[..] else { return Ok(payment) };
    let format = tlv::list(format).context(|| "the format of the bank card's log is damaged")?;
    let Some(record) = read_record(card, file, 1)?.ok() else { return Ok(payment) };
    let mut rest = &record[..];
    for (tag, length) in format {
        let Some((value, after)) = rest.split_at_checked(length) else {
            return Err(Error::new(Kind::Input, "the last record of the bank card's log is cut off"));
        };
        payment.insert(tag, value.to_vec());
        rest = after;
    }
    Ok(payment)
}

/// What the objects mean.
fn of(said: &Objects, log: &Objects, locked: bool) -> BankCard {
    let value = |tag: Tag| said.get(&tag).map_or(&[][..], Vec::as_slice);
    let logged = |tag: Tag| log.get(&tag).map_or(&[][..], Vec::as_slice);
    let track2 = track2(value(0x57));
    let number =
        account_number(value(0x5a)).or_else(|| track2.split_once('=').map(|(number, _)| number.to_owned()));
    let number = number.unwrap_or_default();
    BankCard {
        name: text(value(0x5f20)),
        certificates_type: hexadecimal(value(0x9f62)),
        certificates_number: text(value(0x9f61)),
        track1: track1(said, &track2),
        track3: String::new(),
        balance: amount(value(0x9f79)),
        balance_limit: amount(value(0x9f77)),
        effective_date: date(value(0x5f25)),
        serial_number: numeric(value(0x5f34)),
        currency_code: code(if value(0x9f42).is_empty() { value(0x9f51) } else { value(0x9f42) }),
        pin_retry_time: count(value(0x9f17)),
        expiry_date: date(value(0x5f24)),
        atc: count(value(0x9f36)),
        name_extend: text(value(0x9f0b)),
        single_trading_limit: amount(value(0x9f78)),
        reset_threshold: amount(value(0x9f6d)),
        transaction_limit_number_i_n: count(value(0x9f72)),
        transaction_limit_number_i_c: count(value(0x9f53)),
        trading_limit_number: amount(value(0x9f54)),
        trading_limit_number_double: amount(value(0x9f75)),
        transaction_amount_upper_limit: amount(value(0x9f5c)),
        currency_conversion_factor: numeric(value(0x9f73)),
        trading_floor: count(value(0x9f58)),
        trading_ceiling: count(value(0x9f59)),
        app_lock: if locked { "1" } else { "0" }.to_owned(),
        ic_card_aid: hexadecimal(value(0x84)),
        authorized_amount: amount(logged(0x9f02)),
        other_amount: amount(logged(0x9f03)),
        transaction_currency_code: code(logged(0x5f2a)),
        transaction_date: date(logged(0x9a)),
        transaction_time: numeric(logged(0x9f21)),
        merchant_number: text(if logged(0x9f16).is_empty() { logged(0x9f4e) } else { logged(0x9f16) }),
        account_number: number.clone(),
        card_number: number,
        track2,
    }
}

/// The number of a chip: fabricator, type, batch and serial number of its production data, ten bytes, that no two chips
/// share. `None` where the card does not tell.
pub fn chip_number(card: &mut dyn Card) -> Result<Option<Uid>> {
    let Some(data) = get_data(card, PRODUCTION)?.ok() else { return Ok(None) };
    let value =
        tlv::find(&data, Tag::from(PRODUCTION)).context(|| "the production data of the card's chip")?;
    // Fabricator 0..2, type 2..4, system 4..10, fabrication date 10..12, serial number 12..16, batch 16..18, and more.
    let number = value
        .filter(|value| value.len() >= 18 && value[12..16] != [0; 4])
        .and_then(|value| Uid::new(&[&value[0..4], &value[16..18], &value[12..16]].concat()));
    Ok(number)
}

/// Digits packed two a byte, up to the padding F; `None` if there is anything else.
fn packed_digits(value: &[u8]) -> Option<String> {
    let hexadecimal = hexadecimal(value);
    let digits = hexadecimal.trim_end_matches('F');
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.to_owned())
}

fn account_number(value: &[u8]) -> Option<String> {
    packed_digits(value).filter(|digits| digits.len() <= MOST_DIGITS)
}

/// Format n: digits, filled up with zeros on the left. Empty if it has anything else.
fn numeric(value: &[u8]) -> String {
    let digits = hexadecimal(value);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits } else { String::new() }
}

/// An amount of twelve digits, the last two of which are decimals. Empty if it is none.
fn amount(value: &[u8]) -> String {
    let digits = numeric(value);
    match digits.split_at_checked(10) {
        Some((whole, decimals)) if digits.len() == 12 => {
            let whole = whole.trim_start_matches('0');
            format!("{}.{decimals}", if whole.is_empty() { "0" } else { whole })
        }
        _ => String::new(),
    }
}

/// A code of three digits in two bytes. Empty if it is none.
fn code(value: &[u8]) -> String {
    let digits = numeric(value);
    if digits.len() == 4 { digits[1..].to_owned() } else { String::new() }
}

/// A number of up to eight bytes in decimal digits. Empty if there is none.
fn count(value: &[u8]) -> String {
    match value.len() {
        1..=8 => value.iter().fold(0_u64, |all, byte| all << 8 | u64::from(*byte)).to_string(),
        _ => String::new(),
    }
}

/// A date YYMMDD as `yyyyMMdd`: 50 to 99 are of the last century (EMV Book 4 chapter 6.7.3). Empty if there is no such day.
fn date(value: &[u8]) -> String {
    let digits = numeric(value);
    if digits.len() != 6 {
        return String::new();
    }
    let century = if digits.as_str() < "50" { "20" } else { "19" };
    let whole = format!("{century}{digits}");
    let valid = Date::strptime("%Y%m%d", &whole).is_ok();
    if valid { whole } else { String::new() }
}

fn hexadecimal(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A text: letters of ASCII, or Chinese ones as GB 18030 has them, without what it is filled up with. Characters that are
/// none on paper are left out.
fn text(value: &[u8]) -> String {
    let (text, _) = encoding_rs::GB18030.decode_without_bom_handling(filled_up(value));
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    text.trim().to_owned()
}

/// A value without what it is filled up with.
fn filled_up(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| !matches!(byte, 0x00 | 0xff | b' '));
    end.and_then(|end| value.get(..=end)).unwrap_or_default()
}

/// Track 2 from its equivalent (EMV Book 3 annex B, tag 57): number, separator D, expiry, service code, and what the bank
/// adds. Empty if it is none.
fn track2(value: &[u8]) -> String {
    let digits = hexadecimal(value);
    let digits = digits.trim_end_matches('F');
    match digits.split_once('D') {
        Some((number, rest))
            if (1..=MOST_DIGITS).contains(&number.len())
                && number.bytes().chain(rest.bytes()).all(|byte| byte.is_ascii_digit()) =>
        {
            format!("{number}={rest}")
        }
        _ => String::new(),
    }
}

/// Track 1 as the card has it (tag 56 of contactless cards), else made of its parts as ISO/IEC 7813 puts them: format code
/// B, number, holder, expiry and service code, and what the bank adds to this track (9F1F). Empty without these.
fn track1(said: &Objects, track2: &str) -> String {
    if let Some(whole) = said.get(&0x56) {
        return text(whole);
    }
    let (Some(name), Some(added)) = (said.get(&0x5f20), said.get(&0x9f1f)) else { return String::new() };
    match track2.split_once('=') {
        Some((number, rest)) if rest.len() >= 7 => {
            format!("B{number}^{}^{}{}", text(name), &rest[..7], text(added))
        }
        _ => String::new(),
    }
}
