//! Cards made by hand from the tables of EMV Books 1 and 3 and of public PBOC listings: each command that must go out, each
//! byte that comes back.

use jiff::civil::date;
use proptest::prelude::*;

use super::social_security::{self, SocialSecurityCard};
use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A card that expects these commands in this order, and answers so.
struct Script(std::vec::IntoIter<(String, String)>);

impl Script {
    fn new(lines: &[(&str, &str)]) -> Self {
        let lines: Vec<_> =
            lines.iter().map(|(command, answer)| (command.to_string(), answer.to_string())).collect();
        Self(lines.into_iter())
    }

    fn is_over(&mut self) {
        assert_eq!(self.0.next(), None, "the card was not asked this");
    }
}

impl Card for Script {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
        let (command, answer) =
            self.0.next().unwrap_or_else(|| panic!("not in the script: {}", hexadecimal(apdu)));
        assert_eq!(hexadecimal(apdu), hexadecimal(&bytes(&command)));
        if answer == "removed" {
            return Err(Error::new(Kind::Device, "the card was taken out"));
        }
        Ok(bytes(&answer))
    }

    fn atr(&self) -> &[u8] {
        &[0x3b, 0x00]
    }
}

/// A card that answers these commands in any order, and the rest with a status.
struct Table<'a> {
    known: &'a [(&'a str, &'a str)],
    else_status: [u8; 2],
    asked: Vec<String>,
}

impl<'a> Table<'a> {
    fn new(known: &'a [(&'a str, &'a str)], else_status: u16) -> Self {
        Self { known, else_status: else_status.to_be_bytes(), asked: Vec::new() }
    }
}

impl Card for Table<'_> {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>> {
        let command = hexadecimal(apdu);
        let answer = self.known.iter().find(|(known, _)| bytes(known) == apdu);
        self.asked.push(command);
        Ok(answer.map_or(self.else_status.to_vec(), |(_, answer)| bytes(answer)))
    }

    fn atr(&self) -> &[u8] {
        &[0x3b, 0x00]
    }
}

const TERMINAL: Terminal = Terminal { today: date(2026, 11, 22), unpredictable: [0x11, 0x22, 0x33, 0x44] };

const SELECT_PSE: &str = "00A40400 0E 315041592E5359532E4444463031 00";
const SELECT_PPSE: &str = "00A40400 0E 325041592E5359532E4444463031 00";
const SELECT_DEBIT: &str = "00A40400 08 A000000333010101 00";
const SELECT_CREDIT: &str = "00A40400 08 A000000333010102 00";

/// The whole way: directory, two applications of which the better one does not open, PDOL, records, GET DATA, log.
const WHOLE: &[(&str, &str)] = &[
    (SELECT_PSE, "6F1A 840E315041592E5359532E4444463031 A508 880101 5F2D027A68 9000"),
    // Debit with priority 2, credit with priority 1.
    (
        "00B2010C00",
        "702A 6119 4F08A000000333010101 500A50424F43204445424954 870102 \
         610D 4F08A000000333010102 870101 9000",
    ),
    ("00B2020C00", "6A83"),
    (SELECT_CREDIT, "6F0F 8408A000000333010102 A503 870101 9000"),
    ("80A80000 02 8300 00", "6985"),
    (
        SELECT_DEBIT,
        "6F3E 8408A000000333010101 A532 500A50424F43204445424954 870102 \
         9F3818 9F66049F02069F03069F1A0295055F2A029A039C019F3704 BF0C05 9F4D020B0A 9000",
    ),
    (
        "80A80000 23 8321 40000000 000000000000 000000000000 0156 0000000000 0156 261122 31 11223344 00",
        "770E 82027C00 9408 08010100 10010200 9000",
    ),
    (
        "00B2010C00",
        "7031 57106200000000000005D49122201234567F 5F2009544553542F43415244 9F1F053132333435 \
         9F610454303031 9F620100 9000",
    ),
    (
        "00B2011400",
        "7028 5A086200000000000005 5F2403491231 5F2503990102 5F340101 9F42020156 \
         9F0B06D5C5C8FD2020 9000",
    ),
    ("00B2021400", "6A83"),
    ("80CA9F3600", "9F36020007 9000"),
    ("80CA9F1700", "9F170103 9000"),
    ("80CA9F7900", "9F7906000000000797 9000"),
    ("80CA9F7700", "9F7706000000100000 9000"),
    ("80CA9F7800", "9F7806000000050000 9000"),
    ("80CA9F6D00", "6A88"),
    ("80CA9F5100", "9F51020344 9000"),
    ("80CA9F7200", "9F720102 9000"),
    ("80CA9F5300", "9F530103 9000"),
    ("80CA9F5400", "9F5406000000020000 9000"),
    ("80CA9F7500", "9F7506000000030000 9000"),
    ("80CA9F5C00", "9F5C06000000040005 9000"),
    ("80CA9F7300", "9F730420001234 9000"),
    ("80CA9F5800", "9F580105 9000"),
    ("80CA9F5900", "9F59010A 9000"),
    ("80CA9F4F00", "9F4F11 9A039F21039F02069F03065F2A029F160F 9000"),
    ("00B2015C00", "260101 093000 000000001250 000000000000 0156 544553544D45524348414E54303031 9000"),
];

#[test]
fn all_fields_of_a_card_are_read() {
    let mut script = Script::new(WHOLE);
    let card = read_as(&mut script, TERMINAL).unwrap();
    script.is_over();
    assert_eq!(
        card.fields(),
        [
            ("CardNumber", "6200000000000005"),
            ("AccountNumber", "6200000000000005"),
            ("Name", "TEST/CARD"),
            ("CertificatesType", "00"),
            ("CertificatesNo", "T001"),
            ("Track1", "B6200000000000005^TEST/CARD^491222012345"),
            ("Track2", "6200000000000005=49122201234567"),
            ("Track3", ""),
            ("Balance", "7.97"),
            ("BalanceLimit", "1000.00"),
            ("EffectiveDate", "19990102"),
            ("SerialNumber", "01"),
            ("CurrencyCode", "156"),
            ("PinRetryTime", "3"),
            ("ExpiryDate", "20491231"),
            ("Atc", "7"),
            ("NameExtend", "张三"),
            ("SingleTradingLimit", "500.00"),
            ("ResetThreshold", ""),
            ("TransactionLimitNumber_I_N", "2"),
            ("TransactionLimitNumber_I_C", "3"),
            ("TradingLimitNumber", "200.00"),
            ("TradingLimitNumber_Double", "300.00"),
            ("TransactionAmountUpperLimit", "400.05"),
            ("CurrencyConversionFactor", "20001234"),
            ("TradingFloor", "5"),
            ("TradingCeiling", "10"),
            ("AppLock", "0"),
            ("IcCardAID", "A000000333010101"),
            ("AuthorizedAmount", "12.50"),
            ("OtherAmount", "0.00"),
            ("TransactionCurrencyCode", "156"),
            ("TransactionDate", "20260101"),
            ("TransactionTime", "093000"),
            ("MerchantNumber", "TESTMERCHANT001"),
        ]
    );
    let shown = format!("{card:?}");
    assert!(shown.contains("************0005"), "{shown}");
    for secret in ["6200000000000005", "TEST", "张三", "T001", "4912"] {
        assert!(!shown.contains(secret), "{shown} tells {secret}");
    }
}

#[test]
fn a_contactless_card_is_found_by_its_own_directory() {
    let mut script = Script::new(&[
        (SELECT_PSE, "6A82"),
        (
            SELECT_PPSE,
            "6F30 840E325041592E5359532E4444463031 A51E BF0C1B 6119 4F08A000000333010101 \
             500A50424F43204445424954 870101 9000",
        ),
        (SELECT_DEBIT, "6F0F 8408A000000333010101 A503 870101 9000"),
        // Format 1, and a card that says its number in the track alone.
        ("80A80000 02 8300 00", "8006 7C00 08010100 9000"),
        ("00B2010C00", "7012 57106200000000000005D49122201234567F 9000"),
        ("80CA9F3600", "removed"),
    ]);
    let error = read_as(&mut script, TERMINAL).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Device, "the card was taken out"));
    script.is_over();
}

/// A card without a directory that opens at once: its one record holds this.
fn without_directory(record: &'static str) -> [(&'static str, &'static str); 3] {
    [
        (SELECT_CREDIT, "6F0F 8408A000000333010102 A503 870101 9000"),
        ("80A80000 02 8300 00", "8006 7C00 08010100 9000"),
        ("00B2010C00", record),
    ]
}

#[test]
fn a_card_without_a_directory_is_tried_by_name() {
    let known = without_directory("7012 57106200000000000005D49122201234567F 9000");
    let mut table = Table::new(&known, 0x6a82);
    let card = read_as(&mut table, TERMINAL).unwrap();
    assert_eq!(
        (card.card_number.as_str(), card.ic_card_aid.as_str()),
        ("6200000000000005", "A000000333010102")
    );
    assert_eq!((card.track1.as_str(), card.atc.as_str(), card.balance.as_str()), ("", "", ""));
    let selected: Vec<_> =
        table.asked.iter().filter(|command| command.starts_with("00A4")).cloned().collect();
    assert_eq!(selected[2..], ["00A4040008A00000033301010100", "00A4040008A00000033301010200"]);
}

#[test]
fn a_card_of_no_bank_says_so() {
    let mut table = Table::new(&[], 0x6a82);
    let error = read_as(&mut table, TERMINAL).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.message().contains("no application of a bank"), "{error}");
    // Both directories and all that are known, by name.
    assert_eq!(table.asked.len(), 2 + KNOWN.len());
    let known = [(SELECT_DEBIT, "6F0F 8408A000000333010101 A503 870101 9000")];
    let error = read_as(&mut Table::new(&known, 0x6985), TERMINAL).unwrap_err();
    assert!(error.message().contains("do not open (status 6985)"), "{error}");
}

#[test]
fn a_locked_application_is_told() {
    let known =
        [(SELECT_DEBIT, "6F0F 8408A000000333010101 A503 870101 6283"), ("80CA9F3600", "9F36020102 9000")];
    let card = read_as(&mut Table::new(&known, 0x6985), TERMINAL).unwrap();
    assert_eq!((card.app_lock.as_str(), card.atc.as_str(), card.card_number.as_str()), ("1", "258", ""));
}

#[test]
fn damage_is_an_error_that_tells_nothing_of_the_holder() {
    let damaged = [
        without_directory("7012 57106200000000000005D491222012 9000"),
        without_directory("70"),
        without_directory("7014 5A086200000000000005 5F2009544553542F434152 9000"),
    ];
    for known in &damaged {
        let outcome = read_as(&mut Table::new(known, 0x6a82), TERMINAL);
        let error = outcome.err().map(|error| (error.kind(), error.to_string()));
        // An answer of one byte is none at all.
        let (kind, text) = error.unwrap();
        assert!(matches!(kind, Kind::Input | Kind::Device), "{text}");
        assert!(!text.contains("6200") && !text.contains("TEST"), "{text}");
    }
    for (options, words) in [
        ("8005 7C00 080101 9000", "is cut off"),
        ("8006 7C00 08020100 9000", "is none"),
        ("8006 7C00 00010100 9000", "is none"),
        ("8006 7C00 0801FF00 9000", "is none"),
        ("8006 7C00 0C010100 9000", "is none"),
        ("7705 9408 9000", "damaged"),
    ] {
        let mut known = without_directory("6A83");
        known[1].1 = options;
        let error = read_as(&mut Table::new(&known, 0x6a82), TERMINAL).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains(words), "{options}: {error}");
    }
    // It wants 255 bytes before it opens.
    let mut known = without_directory("6A83");
    known[0].1 = "6F11 8408A000000333010102 A505 9F38029CFF 9000";
    let error = read_as(&mut Table::new(&known, 0x6a82), TERMINAL).unwrap_err();
    assert!(error.to_string().contains("PDOL"), "{error}");
}

#[test]
fn what_is_no_number_date_or_amount_stays_empty() {
    // Thirteenth month, a letter among digits, an amount of five bytes, a currency of one, a PAN of 20 digits.
    let card = of(
        &Objects::from([
            (0x5f24, bytes("491331")),
            (0x5f25, bytes("49A101")),
            (0x9f79, bytes("0000000797")),
            (0x9f77, bytes("00000000079A")),
            (0x9f42, bytes("56")),
            (0x5a, bytes("62000000000000000005")),
            (0x57, bytes("6200000000000005E491")),
            (0x9f36, vec![]),
        ]),
        &Objects::new(),
        false,
    );
    let empty = BankCard { app_lock: "0".into(), ..BankCard::default() };
    assert!(
        card == empty,
        "{:?}",
        card.fields().iter().filter(|(_, value)| !value.is_empty()).collect::<Vec<_>>()
    );
}

#[test]
fn answers_are_fetched_and_asked_for_again() {
    let mut script = Script::new(&[
        ("00B2010C00", "6C05"),
        ("00B2010C05", "0102030405 9000"),
        // Two pieces.
        ("80CA9F3600", "6103"),
        ("00C0000003", "AABBCC 6102"),
        ("00C0000002", "DDEE 9000"),
        ("00A4040001A000", "6A82"),
    ]);
    assert_eq!(read_record(&mut script, 1, 1).unwrap().ok(), Some(bytes("0102030405")));
    assert_eq!(get_data(&mut script, 0x9f36).unwrap().ok(), Some(bytes("AABBCCDDEE")));
    let refused = select(&mut script, &[0xa0]).unwrap();
    assert_eq!((refused.status, refused.ok()), (0x6a82, None));
    script.is_over();
}

#[test]
fn a_card_that_never_ends_is_left() {
    for status in [0x6110, 0x6c10] {
        let mut table = Table::new(&[], status);
        let error = read_as(&mut table, TERMINAL).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.message().contains("never comes to the end"), "{error}");
        assert_eq!(table.asked.len(), 32, "{status:04X}");
    }
}

#[test]
fn the_chip_has_a_number_of_its_own() {
    // Fabricator 4790, type 5016, system 8231, its date 8021 and level 0300, fabrication 9021, serial 01020304, batch 0506.
    let known = [(
        "80CA9F7F00",
        "9F7F2A 4790 5016 8231 8021 0300 9021 01020304 0506 \
         000000000000000000000000000000000000000000000000 9000",
    )];
    let number = chip_number(&mut Table::new(&known, 0x6a82)).unwrap().unwrap();
    assert_eq!(number.bytes(), bytes("47905016 0506 01020304"));
    assert_eq!(chip_number(&mut Table::new(&[], 0x6d00)).unwrap(), None);
    // Too short, and a serial number that nobody has set.
    for answer in ["9F7F04 47905016 9000", "9F7F12 479050168231802103009021 00000000 0506 9000"] {
        let known = [("80CA9F7F00", answer)];
        assert_eq!(chip_number(&mut Table::new(&known, 0x6a82)).unwrap(), None, "{answer}");
    }
}

#[test]
fn numbers_are_masked() {
    assert_eq!(masked("6200000000000005"), "************0005");
    assert_eq!(masked("620000000005"), "********0005");
    assert_eq!(masked("12345678901"), "***********");
    assert_eq!(masked(""), "");
}

/// A social security card whose files answer by tag: selected by name, then EF05, then EF06.
const SOCIAL: &[(&str, &str)] = &[
    ("00A40400 0F 7378312E73682EC9E7BBE1B1A3D5CF 00", "6F11 840F7378312E73682EC9E7BBE1B1A3D5CF 9000"),
    ("00A40200 02 EF05 00", "9000"),
    ("00B2010000", "0110 999900D15600000500000000FFFFFFFF 9000"),
    ("00B2020000", "0201 31 9000"),
    ("00B2030000", "0304 322E3030 9000"),
    ("00B2040000", "040C 000000000000000000009999 9000"),
    ("00B2050000", "0504 20200131 9000"),
    ("00B2060000", "0604 20491231 9000"),
    ("00B2070000", "0709 543030303030303031 9000"),
    ("00A40200 02 EF06 00", "9000"),
    ("00B2080000", "0812 303030303030323030303031303130303030 9000"),
    ("00B2090000", "091E D5C5C8FD0000000000000000000000000000000000000000000000000000 9000"),
    ("00B24E0000", "6A83"),
    ("00B20A0000", "0A01 32 9000"),
    ("00B20B0000", "0B01 01 9000"),
    ("00B20C0000", "0C03 999900 9000"),
    ("00B20D0000", "0D04 20000101 9000"),
];

#[test]
fn a_social_security_card_is_read() {
    let card = social_security::read(&mut Table::new(SOCIAL, 0x6a83)).unwrap();
    assert_eq!(
        card.fields(),
        [
            ("SocialSecurityNumber", "000000200001010000"),
            ("CardNumber", "T00000001"),
            ("Name", "张三"),
            ("Sex", "女"),
            ("Nation", "汉"),
            ("Birthday", "20000101"),
            ("Birthplace", "999900"),
            ("CardDistinguishCode", "999900D15600000500000000FFFFFFFF"),
            ("SocialSecurityCardType", "1"),
            ("CardNormVer", "2.00"),
            ("VisaInstitution", "000000000000000000009999"),
            ("ValidStart", "20200131"),
            ("ValidEnd", "20491231"),
        ]
    );
    assert!(!card.withheld);
    let document = card.document();
    assert_eq!(document.kind, crate::document::DocumentKind::SocialSecurity);
    assert_eq!((document.number.as_str(), document.name.as_str()), ("000000200001010000", "张三"));
    assert_eq!((document.birthday, document.expires), (Some(date(2000, 1, 1)), Some(date(2049, 12, 31))));
    let shown = format!("{card:?}");
    assert!(!shown.contains("张三") && !shown.contains("2000") && !shown.contains("T0000"), "{shown}");
    let number = social_security::card_number(&mut Table::new(SOCIAL, 0x6a83)).unwrap();
    assert_eq!(number.as_deref(), Some("T00000001"));
}

#[test]
fn records_are_also_found_by_looking_through_the_file() {
    // Neither "under this one" nor by tag, and a record that says it is another one than was asked for.
    let known = [
        (SOCIAL[0].0, "9000"),
        ("00A40000 02 EF05 00", "9000"),
        ("00B2070000", "0209 543939393939393939 9000"),
        ("00B2010400", "0110 999900D15600000500000000FFFFFFFF 9000"),
        ("00B2020400", "0201 31 9000"),
        ("00B2030400", "0709 543030303030303031 9000"),
    ];
    let card = social_security::read(&mut Table::new(&known, 0x6a83)).unwrap();
    assert_eq!(card.card_number, "T00000001");
    assert_eq!(card.card_distinguish_code, "999900D15600000500000000FFFFFFFF");
    assert_eq!((card.name.as_str(), card.withheld), ("", false));
}

#[test]
fn what_the_card_withholds_is_told_and_no_pin_is_tried() {
    let known: Vec<_> = SOCIAL[..10].to_vec();
    let mut table = Table::new(&known, 0x6982);
    let card = social_security::read(&mut table).unwrap();
    assert!(card.withheld);
    assert_eq!((card.card_number.as_str(), card.name.as_str()), ("T00000001", ""));
    assert!(table.asked.iter().all(|command| !command.starts_with("0020")), "{:?}", table.asked);
}

#[test]
fn another_card_is_no_social_security_card() {
    assert_eq!(social_security::card_number(&mut Table::new(&[], 0x6a82)).unwrap(), None);
    let error = social_security::read(&mut Table::new(&[], 0x6a82)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    // Records that are not what their tags promise are nothing.
    let known = [
        (SOCIAL[0].0, "9000"),
        (SOCIAL[1].0, "9000"),
        ("00B2010000", "0103 999900 9000"),
        ("00B2050000", "0504 20201331 9000"),
        ("00B2070000", "0709 5430 9000"),
        ("00B2030000", "03 9000"),
    ];
    let card = social_security::read(&mut Table::new(&known, 0x6a83)).unwrap();
    assert!(card == SocialSecurityCard::default());
}

/// A card that says anything.
struct Babbling {
    says: Vec<Vec<u8>>,
    asked: usize,
}

impl Card for Babbling {
    fn transmit(&mut self, _apdu: &[u8]) -> Result<Vec<u8>> {
        let answer = self.says[self.asked % self.says.len()].clone();
        self.asked += 1;
        Ok(answer)
    }

    fn atr(&self) -> &[u8] {
        &[]
    }
}

/// Answers that are often nearly right.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let data = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        (0..WHOLE.len(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, place, byte)| {
            let mut whole = bytes(if WHOLE[at].1 == "removed" { "9000" } else { WHOLE[at].1 });
            whole.truncate(whole.len() - 2);
            if !whole.is_empty() {
                let place = place.index(whole.len());
                whole[place] = byte;
            }
            whole
        }),
    ];
    let status = prop_oneof![Just(0x9000_u16), Just(0x6a83), Just(0x6103), Just(0x6283), any::<u16>()];
    (data, status).prop_map(|(mut data, status)| {
        data.extend_from_slice(&status.to_be_bytes());
        data
    })
}

proptest! {
    #[test]
    fn any_card_is_read_or_refused_and_soon(says in proptest::collection::vec(anything(), 1..40)) {
        let mut card = Babbling { says, asked: 0 };
        if let Err(error) = read_as(&mut card, TERMINAL) {
            prop_assert!(matches!(error.kind(), Kind::Input | Kind::NotFound | Kind::Device), "{}", error);
        }
        // Directories, then applications with their records and questions, each of which may take some rounds.
        prop_assert!(card.asked < 32 * (2 + MOST_RECORDS + MOST_APPLICATIONS * (3 + MOST_RECORDS + ASKED.len())));
        card.asked = 0;
        let _ = social_security::read(&mut card);
        let _ = chip_number(&mut card);
        prop_assert!(card.asked < 32 * 60);
    }
}
