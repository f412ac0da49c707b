//! Cards to lay on the simulated module. The people are those of the standards' own examples and specimens: nobody's data.

/// One card, as the module gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// The texts: 256 bytes of UCS-2, the low byte first.
    pub texts: Vec<u8>,
    /// The photo: 1024 bytes.
    pub photo: Vec<u8>,
    /// The fingerprints: empty or 1024 bytes.
    pub fingerprints: Vec<u8>,
    /// The additional address: empty or 70 bytes.
    pub address: Vec<u8>,
}

/// Bytes of the texts.
const TEXTS: usize = 256;
/// Bytes of the photo, and of the fingerprints.
const PICTURE: usize = 1024;
/// Bytes of an additional address.
const ADDRESS: usize = 70;

/// A text filled up with blanks.
fn filled(text: &str, bytes: usize) -> Vec<u8> {
    let mut all: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    all.resize(bytes, 0);
    for unit in all.chunks_exact_mut(2).skip(text.encode_utf16().count()) {
        unit.copy_from_slice(&[b' ', 0]);
    }
    all
}

/// Fields one after the other, each with its bytes.
fn laid_out(fields: &[(&str, usize)]) -> Vec<u8> {
    fields.iter().flat_map(|(text, bytes)| filled(text, *bytes)).collect()
}

impl Card {
    /// Names of the cards, as [`Card::named`] knows them.
    pub const NAMES: &'static str = "resident, fingerprints, long-term, no-last-day, permit, foreigner, \
                                     new-foreigner";

    /// A card by its name: a resident's without and with fingerprints (and an additional address), one that is valid for a
    /// long term, one whose last day is no day, a residence permit for Hong Kong, Macao and Taiwan, a foreigner's of 2017 and of 2023.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "resident" => Self::resident("20380301"),
            "long-term" => Self::resident("长期"),
            // There is no 31 February.
            "no-last-day" => Self::resident("20380231"),
            "fingerprints" => {
                let mut card = Self::resident("20380301");
                // The head of GA 467's data: two fingers of 512 bytes.
                card.fingerprints = [&[b'C', 0x01, 0x12][..], &[0x5a; 509]].concat().repeat(2);
                card.address = filled("北京市海淀区某街2号", ADDRESS);
                card
            }
            "permit" => Self::with(laid_out(&[
                ("证件样本", 30),
                ("2", 2),
                ("", 4),
                ("19940823", 16),
                ("北京市朝阳区某路1号", 70),
                ("810000199408230021", 36),
                ("北京市公安局朝阳分局", 30),
                ("20180901", 16),
                ("20230901", 16),
                ("H12345678", 18),
                ("01", 4),
                ("", 6),
                ("J", 2),
                ("", 6),
            ])),
            "foreigner" => Self::with(laid_out(&[
                ("ZHENGJIAN, YANGBEN", 120),
                ("2", 2),
                ("CAN110081080310", 30),
                ("CAN", 6),
                ("证件样本", 30),
                ("20170601", 16),
                ("20270531", 16),
                ("19810803", 16),
                ("01", 4),
                ("1500", 8),
                ("I", 2),
                ("", 6),
            ])),
            "new-foreigner" => Self::with(laid_out(&[
                ("证件样本", 30),
                ("2", 2),
                ("01", 4),
                ("19810803", 16),
                ("ZHENGJIAN, YANGBEN", 70),
                ("911124198108030024", 36),
                ("", 30),
                ("20231201", 16),
                ("20331130", 16),
                ("", 22),
                ("CAN", 6),
                ("Y", 2),
                ("110", 6),
            ])),
            _ => return None,
        })
    }

    fn resident(until: &str) -> Self {
        Self::with(laid_out(&[
            ("张三", 30),
            ("2", 2),
            ("01", 4),
            ("19491231", 16),
            ("北京市朝阳区某路1号", 70),
            ("11010519491231002X", 36),
            ("北京市公安局朝阳分局", 30),
            ("20180301", 16),
            (until, 16),
            ("", 36),
        ]))
    }

    fn with(mut texts: Vec<u8>) -> Self {
        texts.resize(TEXTS, 0);
        // It begins as such photos do; no decoder makes a picture of the rest.
        let mut photo = b"WLf\0".to_vec();
        photo.resize(PICTURE, 0x5a);
        Self { texts, photo, fingerprints: Vec::new(), address: Vec::new() }
    }

    /// The same card with another photo, of at most 1024 bytes: with a decoder that gives its input back (`/bin/cat`), a
    /// small JPEG is one. `None` for a longer one.
    pub fn with_photo(mut self, photo: &[u8]) -> Option<Self> {
        if photo.len() > PICTURE {
            return None;
        }
        self.photo = photo.to_vec();
        self.photo.resize(PICTURE, 0);
        Some(self)
    }
}
