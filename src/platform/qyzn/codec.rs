//! Frames of QYZN V3.7 (chapter 1): a header of 20 bytes, little-endian, and a JSON body.
//!
//! Receiving is check, then parse: [`Decoder`] collects bytes as they come and gives a frame as soon as there
//! is a whole one. It never assumes that one read is one frame. Real platforms join and split frames, pad
//! them with NUL, and count characters where the document counts bytes; all of these are understood, and what
//! is not costs the one frame it is in.

use std::hash::Hasher;

use serde_json::Value;

use super::json;

/// Marks the beginning of a frame.
pub const MAGIC: [u8; 4] = *b"QYZN";
/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;
/// What this side sends as `datatype`: JSON.
pub const DATATYPE_JSON: u8 = 1;
/// A receive buffer larger than this is given back after the frame that needed it.
const KEPT_BUFFER: usize = 64 * 1024;

/// `msgType` (chapter 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MsgType {
    /// 1: keeps the line alive; sequence 0, no body.
    Heartbeat,
    /// 2: tells something and wants no answer.
    Notification,
    /// 3: wants an answer.
    Request,
    /// 4: the answer, with the request's sequence.
    Response,
    /// Anything else, which the document does not have.
    Other(u8),
}

impl MsgType {
    /// The byte in the header.
    pub fn byte(self) -> u8 {
        match self {
            MsgType::Heartbeat => 1,
            MsgType::Notification => 2,
            MsgType::Request => 3,
            MsgType::Response => 4,
            MsgType::Other(byte) => byte,
        }
    }

    /// The reverse of [`MsgType::byte`].
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => MsgType::Heartbeat,
            2 => MsgType::Notification,
            3 => MsgType::Request,
            4 => MsgType::Response,
            other => MsgType::Other(other),
        }
    }
}

/// The header, without the fields that carry nothing (magic, `datatype`, `resv`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `version`: 3 for most messages, what a message needs otherwise.
    pub version: u8,
    /// `msgType`.
    pub kind: MsgType,
    /// `timestamp`: seconds since 1970 when the message was made.
    pub timestamp: u32,
    /// `sequence`.
    pub seq: u32,
    /// `datasize`: bytes of the body, as far as the sender can count.
    pub size: u32,
}

impl Header {
    /// Reads a header; `bytes` must begin with the magic.
    fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            version: bytes[4],
            kind: MsgType::from_byte(bytes[5]),
            timestamp: word(8),
            seq: word(12),
            size: word(16),
        }
    }
}

/// Body of a received frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// Something else; the text says what is wrong with it.
    Malformed(String),
    /// Announced to be longer than the limit. It was not read.
    TooLong,
}

/// A received frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Body,
    /// A hash of the body's bytes, by which a retransmission is told from another message that happens to
    /// have the same sequence.
    pub digest: u64,
    /// Length of the body in bytes.
    pub len: usize,
}

/// A frame as it goes over the wire, header and body in one piece so that it can go in one write.
pub fn encode(version: u8, kind: MsgType, timestamp: u32, seq: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("bodies are made here and are far shorter than 4 GiB");
    let mut frame = Vec::with_capacity(HEADER_LEN + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[version, kind.byte(), DATATYPE_JSON, 0]);
    frame.extend_from_slice(&timestamp.to_le_bytes());
    frame.extend_from_slice(&seq.to_le_bytes());
    frame.extend_from_slice(&size.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// What [`check`] finds at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// More bytes are needed to tell.
    Incomplete,
    /// A header whose body has not come yet as far as it is announced.
    AwaitsBody(Header),
    /// A header and as many bytes behind it as it announces.
    Whole(Header),
    /// A header that announces more than the limit.
    TooLong(Header),
    /// So many bytes are not the beginning of a frame.
    Garbage(usize),
}

/// Looks at the beginning of `bytes` without taking anything. `limit` bounds the body in bytes.
/// With `lost`, after bytes that made no sense, only a header that is plausible as a whole is believed.
pub fn check(bytes: &[u8], limit: usize, lost: bool) -> Check {
    let garbage = magic_at(bytes, 0);
    if garbage > 0 {
        return Check::Garbage(garbage);
    }
    let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
        return Check::Incomplete;
    };
    let header = Header::parse(header);
    let size = header.size as usize;
    if lost && !plausible(&header, limit) {
        return Check::Garbage(1);
    }
    if size > limit {
        return Check::TooLong(header);
    }
    if bytes.len() - HEADER_LEN < size { Check::AwaitsBody(header) } else { Check::Whole(header) }
}

/// Where, from `from` on, the magic begins, or could begin with the bytes to come; the length if nowhere.
fn magic_at(bytes: &[u8], from: usize) -> usize {
    let rest = &bytes[from.min(bytes.len())..];
    let mut at = 0;
    while let Some(found) = rest[at..].iter().position(|&byte| byte == MAGIC[0]) {
        at += found;
        let there = &rest[at..rest.len().min(at + MAGIC.len())];
        if MAGIC.starts_with(there) {
            return from + at;
        }
        at += 1;
    }
    bytes.len()
}

fn plausible(header: &Header, limit: usize) -> bool {
    !matches!(header.kind, MsgType::Other(_)) && header.version < 32 && header.size as usize <= limit
}

/// Where a believable header begins in `bytes`, from `from` on.
fn header_at(bytes: &[u8], mut from: usize, limit: usize) -> Option<usize> {
    loop {
        from = magic_at(bytes, from);
        let header = bytes.get(from..)?.first_chunk::<HEADER_LEN>()?;
        if plausible(&Header::parse(header), limit) {
            return Some(from);
        }
        from += 1;
    }
}

/// Follows a JSON text to the end of its first value, a piece at a time, without keeping anything of it.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    /// Bytes followed so far.
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    /// The value ends before this byte.
    Ends(usize),
    /// It goes on behind the bytes at hand.
    GoesOn,
    /// It does not begin with an object or an array.
    NotJson,
}

impl Extent {
    fn follow(&mut self, body: &[u8]) -> Followed {
        while let Some(&byte) = body.get(self.at) {
            self.at += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Followed::Ends(self.at);
                    }
                }
                _ if self.depth > 0 => self.in_string = byte == b'"',
                b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => {}
                _ => return Followed::NotJson,
            }
        }
        Followed::GoesOn
    }
}

/// Makes frames of the bytes as they come.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    start: usize,
    /// Longest body in bytes.
    limit: usize,
    /// Bytes were skipped and no frame has been found since.
    lost: bool,
    /// Nothing has come for a while: decide with what is there.
    hurry: bool,
    /// How far the JSON of the frame at `start` has been followed.
    extent: Extent,
    /// How far behind the body of the frame at `start` a next header was looked for.
    searched: usize,
    skipped: u64,
}

impl Decoder {
    /// A decoder that accepts bodies of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            limit,
            lost: false,
            hurry: false,
            extent: Extent::default(),
            searched: 0,
            skipped: 0,
        }
    }

    /// Where received bytes go: append only.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.hurry = false;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            if self.buffer.capacity() > KEPT_BUFFER {
                self.buffer = Vec::new();
            }
        } else if self.start > KEPT_BUFFER.max(self.buffer.len() / 2) {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        &mut self.buffer
    }

    /// Bytes that were not part of any frame, apart from NUL and blanks.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Whether the bytes at hand are a part of a frame.
    pub fn is_amid(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Nothing has come for a while although a frame is not whole: the next call of [`Decoder::next_frame`]
    /// takes a body that is whole as JSON though shorter than announced, and gives up one that is
    /// as long as announced without being whole as JSON.
    pub fn hurry(&mut self) {
        self.hurry = true;
    }

    /// Gives up the frame that has begun, for one whose end never came.
    pub fn give_up(&mut self) {
        if self.is_amid() {
            self.take(1);
            self.lost = true;
            self.skipped += 1;
        }
    }

    /// The next frame, if there is a whole one.
    pub fn next_frame(&mut self) -> Option<Frame> {
        loop {
            match check(&self.buffer[self.start..], self.limit, self.lost) {
                Check::Incomplete => return None,
                Check::Garbage(len) => {
                    let blank = |byte: &&u8| !matches!(byte, 0 | b' ' | b'\r' | b'\n' | b'\t');
                    let strange = self.buffer[self.start..self.start + len].iter().filter(blank).count();
                    self.lost |= strange > 0;
                    self.skipped += strange as u64;
                    self.take(len);
                }
                Check::TooLong(header) => {
                    self.take(HEADER_LEN);
                    self.lost = true;
                    return Some(Frame { header, body: Body::TooLong, digest: 0, len: 0 });
                }
                Check::AwaitsBody(header) => {
                    if !self.hurry {
                        return None;
                    }
                    let body = &self.buffer[self.start + HEADER_LEN..];
                    match Extent::default().follow(body) {
                        Followed::Ends(end) => return Some(self.parse(header, end)),
                        _ => return None,
                    }
                }
                Check::Whole(header) => return self.whole(header),
            }
        }
    }

    /// A frame of which as many bytes are there as it announces.
    fn whole(&mut self, header: Header) -> Option<Frame> {
        let announced = header.size as usize;
        if announced == 0 {
            self.take(HEADER_LEN);
            self.lost = false;
            return Some(Frame { header, body: Body::Empty, digest: 0, len: 0 });
        }
        let body = &self.buffer[self.start + HEADER_LEN..];
        // Within what is announced first; then beyond, for those who count characters, four bytes at most
        // for each.
        let beyond = body.len().min(announced.saturating_mul(4)).min(self.limit);
        let mut followed = self.extent.follow(&body[..announced]);
        if followed == Followed::GoesOn {
            followed = self.extent.follow(&body[..beyond]);
        }
        match followed {
            Followed::Ends(end) => {
                // A header inside means that the text ran on into other frames.
                if end > announced
                    && let Some(next) = header_at(&body[..end], 0, self.limit)
                {
                    return Some(self.malformed(header, next, "the JSON text breaks off"));
                }
                Some(self.parse(header, end))
            }
            Followed::NotJson => {
                if body[..announced].iter().all(|&byte| byte == 0) {
                    self.take(HEADER_LEN + announced);
                    self.lost = false;
                    return Some(Frame { header, body: Body::Empty, digest: 0, len: 0 });
                }
                let end = header_at(body, 0, self.limit).map_or(announced, |next| next.min(announced));
                Some(self.malformed(header, end, "the body is not a JSON object"))
            }
            Followed::GoesOn => {
                if let Some(next) = header_at(body, self.searched, self.limit) {
                    return Some(self.malformed(header, next, "the JSON text breaks off"));
                }
                self.searched = body.len().saturating_sub(HEADER_LEN);
                let no_more = beyond < body.len() || beyond == self.limit || self.hurry;
                no_more.then(|| self.malformed(header, announced, "the JSON text breaks off"))
            }
        }
    }

    /// Parses the frame at the start, whose JSON text ends at `end`.
    fn parse(&mut self, header: Header, end: usize) -> Frame {
        let body = &self.buffer[self.start + HEADER_LEN..];
        let text = &body[..end];
        let digest = digest(text);
        let parsed = match json::parse(text) {
            Ok(value) => Body::Json(value),
            Err(error) => match header_at(text, 0, self.limit) {
                Some(next) => return self.malformed(header, next, "the JSON text breaks off"),
                None => Body::Malformed(error),
            },
        };
        // Padding that is counted belongs to the frame. What else is counted is another frame, or nothing.
        let counted = &body[end.min(body.len())..body.len().min(header.size as usize).max(end)];
        let padding =
            counted.iter().take_while(|byte| matches!(byte, 0 | b' ' | b'\r' | b'\n' | b'\t')).count();
        self.take(HEADER_LEN + end + padding);
        self.lost = false;
        Frame { header, body: parsed, digest, len: end }
    }

    fn malformed(&mut self, header: Header, len: usize, why: &str) -> Frame {
        self.take(HEADER_LEN + len);
        self.lost = true;
        Frame { header, body: Body::Malformed(why.to_owned()), digest: 0, len }
    }

    fn take(&mut self, len: usize) {
        self.start += len;
        self.extent = Extent::default();
        self.searched = 0;
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The frame of 1.4, as printed.
    const GENUINE: &str = "
        51 59 5a 4e 03 03 01 00 47 ec 40 5d 10 00 00 00 a1 00 00 00 7b 22 6d 65 73 73 61 67 65 22 3a 22
        72 65 67 69 73 74 65 72 22 2c 22 64 61 74 61 22 3a 7b 22 73 65 72 69 61 6c 22 3a 22 30 61 39 33
        31 30 65 37 61 63 63 32 39 38 64 33 22 2c 22 6d 61 63 22 3a 22 30 30 36 34 38 37 31 45 43 42 30
        31 22 2c 22 74 69 6d 65 73 74 61 6d 70 22 3a 22 31 35 36 34 35 33 35 38 37 39 22 2c 22 73 69 67
        6e 22 3a 22 39 66 35 62 35 37 65 64 62 63 39 35 33 64 65 33 33 64 61 65 31 38 35 36 63 63 33 35
        64 37 39 62 22 2c 22 74 79 70 65 22 3a 22 48 47 30 32 22 7d 7d";

    fn genuine() -> Vec<u8> {
        GENUINE.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    fn all(bytes: &[u8]) -> Vec<Frame> {
        let mut decoder = Decoder::new(1 << 20);
        decoder.buffer().extend_from_slice(bytes);
        std::iter::from_fn(|| decoder.next_frame()).collect()
    }

    fn request(seq: u32, body: &str) -> Vec<u8> {
        encode(3, MsgType::Request, 7, seq, body.as_bytes())
    }

    #[test]
    fn reads_the_documents_own_frame() {
        let bytes = genuine();
        assert_eq!(bytes.len(), 181);
        let frames = all(&bytes);
        assert_eq!(frames.len(), 1);
        assert_eq!(
            frames[0].header,
            Header { version: 3, kind: MsgType::Request, timestamp: 1_564_535_879, seq: 16, size: 161 }
        );
        assert_eq!(
            frames[0].body,
            Body::Json(json!({"message": "register", "data": {
                "serial": "0a9310e7acc298d3", "mac": "0064871ECB01", "timestamp": "1564535879",
                "sign": "9f5b57edbc953de33dae1856cc35d79b", "type": "HG02"}}))
        );
    }

    #[test]
    fn builds_the_documents_own_frame() {
        let body = &genuine()[HEADER_LEN..];
        assert_eq!(encode(3, MsgType::Request, 1_564_535_879, 16, body), genuine());
    }

    #[test]
    fn a_header_is_read_byte_by_byte_as_printed() {
        let bytes = [
            0x51, 0x59, 0x5a, 0x4e, 5, 4, 9, 9, 0x78, 0x56, 0x34, 0x12, 0xef, 0xcd, 0xab, 0x89, 2, 0, 0, 0,
            b'{', b'}',
        ];
        let frames = all(&bytes);
        assert_eq!(
            frames[0].header,
            Header { version: 5, kind: MsgType::Response, timestamp: 0x1234_5678, seq: 0x89ab_cdef, size: 2 }
        );
    }

    #[test]
    fn split_anywhere_it_is_the_same_frame() {
        let bytes = [genuine(), request(2, r#"{"message":"open_door"}"#)].concat();
        let whole = all(&bytes);
        assert_eq!(whole.len(), 2);
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::new(1 << 20);
            let mut frames = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.buffer().extend_from_slice(part);
                frames.extend(std::iter::from_fn(|| decoder.next_frame()));
            }
            assert_eq!(frames, whole, "cut at {cut}");
            assert!(!decoder.is_amid());
        }
    }

    #[test]
    fn nul_padding_is_nothing() {
        let bytes =
            [request(1, "{}"), vec![0; 37], request(2, "{}"), vec![0; 1], request(3, "{}\0\0\0")].concat();
        let mut decoder = Decoder::new(1 << 20);
        decoder.buffer().extend_from_slice(&bytes);
        let seqs: Vec<_> =
            std::iter::from_fn(|| decoder.next_frame()).map(|frame| frame.header.seq).collect();
        assert_eq!(seqs, [1, 2, 3]);
        assert_eq!(decoder.skipped(), 0);
        assert!(!decoder.is_amid());
    }

    #[test]
    fn finds_the_next_frame_behind_garbage() {
        // Also a magic inside the garbage, with a type that does not exist.
        let bytes = [b"xxQYQYZN\x03\x09\x01\x00aaaabbbb\x00\x00\x00\x00".to_vec(), request(2, "{}")].concat();
        let frames = all(&bytes);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].header.seq, 2);
    }

    #[test]
    fn characters_counted_instead_of_bytes() {
        let text = r#"{"message":"add_person","data":{"name":"张三","personId":"100001"}}"#;
        let mut first = request(1, text);
        first[16..20].copy_from_slice(&(text.chars().count() as u32).to_le_bytes());
        let bytes = [first.clone(), request(2, "{}")].concat();
        let frames = all(&bytes);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].body, Body::Json(serde_json::from_str(text).unwrap()));
        // Cut where the counted characters end: the rest is waited for.
        let cut = HEADER_LEN + text.chars().count();
        let mut decoder = Decoder::new(1 << 20);
        decoder.buffer().extend_from_slice(&first[..cut]);
        assert_eq!(decoder.next_frame(), None);
        decoder.buffer().extend_from_slice(&first[cut..]);
        assert_eq!(decoder.next_frame().unwrap().body, Body::Json(serde_json::from_str(text).unwrap()));
    }

    #[test]
    fn too_much_counted_swallows_no_other_frame() {
        let mut first = request(1, r#"{"message":"open_door"}"#);
        first[16] += 9;
        let bytes = [first.clone(), request(2, r#"{"message":"x"}"#)].concat();
        let seqs: Vec<_> = all(&bytes).iter().map(|frame| (frame.header.seq, frame.len)).collect();
        assert_eq!(seqs, [(1, 23), (2, 15)]);
        // Alone on the line it comes when nothing more does.
        let mut decoder = Decoder::new(1 << 20);
        decoder.buffer().extend_from_slice(&first);
        assert_eq!(decoder.next_frame(), None);
        decoder.hurry();
        assert_eq!(decoder.next_frame().unwrap().body, Body::Json(json!({"message": "open_door"})));
        decoder.buffer().extend_from_slice(&request(2, "{}"));
        assert_eq!(decoder.next_frame().unwrap().header.seq, 2);
    }

    #[test]
    fn two_gigabytes_announced_cost_that_frame_and_no_memory() {
        let mut huge = request(1, "");
        huge[16..20].copy_from_slice(&(2u32 << 30).to_le_bytes());
        let mut decoder = Decoder::new(16 << 20);
        decoder.buffer().extend_from_slice(&huge);
        let frame = decoder.next_frame().unwrap();
        assert_eq!((frame.header.seq, frame.body), (1, Body::TooLong));
        // A body of that length does come, 64 MiB of it, and nothing of it is kept.
        let piece = vec![b'a'; 1 << 20];
        for _ in 0..64 {
            decoder.buffer().extend_from_slice(&piece);
            assert_eq!(decoder.next_frame(), None);
        }
        assert!(decoder.buffer.capacity() <= 4 << 20, "{}", decoder.buffer.capacity());
        decoder.buffer().extend_from_slice(&request(2, "{}"));
        assert_eq!(decoder.next_frame().unwrap().header.seq, 2);
    }

    #[test]
    fn an_announced_body_takes_no_memory_before_it_comes() {
        let mut decoder = Decoder::new(16 << 20);
        let mut frame = request(1, "{");
        frame[16..20].copy_from_slice(&(15u32 << 20).to_le_bytes());
        decoder.buffer().extend_from_slice(&frame);
        assert_eq!(decoder.next_frame(), None);
        assert!(decoder.buffer.capacity() < 4096);
    }

    #[test]
    fn what_cannot_be_parsed_costs_that_frame() {
        for broken in
            [r#"{"message":"#, r#"{"a":"b"#, "hello", r#"{"a":nonsense}"#, r#"{"a":1]"#, "{\"a\":\"\u{1}\"}"]
        {
            let bytes = [request(1, broken), request(2, "{}")].concat();
            let frames = all(&bytes);
            assert_eq!(frames.len(), 2, "{broken}");
            assert!(matches!(frames[0].body, Body::Malformed(_)), "{broken}: {:?}", frames[0].body);
            assert_eq!((frames[0].header.seq, frames[1].header.seq), (1, 2));
        }
        // Alone on the line it is given up when nothing more comes.
        let mut decoder = Decoder::new(1 << 20);
        decoder.buffer().extend_from_slice(&request(1, r#"{"message":"#));
        assert_eq!(decoder.next_frame(), None);
        decoder.hurry();
        assert!(matches!(decoder.next_frame().unwrap().body, Body::Malformed(_)));
    }

    #[test]
    fn commas_too_many_are_forgiven() {
        let frames = all(&request(1, r#"{"data":{"a":[1,2,],"b":",}",},}"#));
        assert_eq!(frames[0].body, Body::Json(json!({"data": {"a": [1, 2], "b": ",}"}})));
    }

    #[test]
    fn deep_nesting_is_refused_without_a_deep_stack() {
        let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        assert!(matches!(all(&request(1, &deep))[0].body, Body::Malformed(_)));
    }

    #[test]
    fn the_digest_tells_bodies_apart() {
        let frames =
            all(&[request(1, r#"{"a":1}"#), request(1, r#"{"a":1}"#), request(1, r#"{"a":2}"#)].concat());
        assert_eq!(frames[0].digest, frames[1].digest);
        assert_ne!(frames[0].digest, frames[2].digest);
    }

    proptest! {
        /// Whatever comes, in whatever pieces: no panic, no endless loop, and a good frame behind a calm
        /// stretch is found.
        #[test]
        fn arbitrary_bytes_in_arbitrary_pieces(
            bytes in proptest::collection::vec(
                prop_oneof![4 => any::<u8>(), 1 => Just(b'Q'), 1 => Just(b'Y'), 1 => Just(b'Z'), 1 => Just(b'N'),
                    1 => Just(b'{'), 1 => Just(b'"'), 2 => Just(0u8)], 0..600),
            pieces in proptest::collection::vec(1usize..50, 1..40),
            hurry in any::<bool>(),
        ) {
            let mut decoder = Decoder::new(1 << 16);
            let mut rest = &bytes[..];
            let mut pieces = pieces.iter().cycle();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
                rest = behind;
                decoder.buffer().extend_from_slice(piece);
                if hurry { decoder.hurry(); }
                while decoder.next_frame().is_some() {}
            }
            // Give up what is open, as the link does for a frame whose end never comes.
            while decoder.is_amid() {
                decoder.give_up();
                while decoder.next_frame().is_some() {}
            }
            decoder.buffer().extend_from_slice(&request(0x5eed, r#"{"message":"open_door"}"#));
            let last = std::iter::from_fn(|| decoder.next_frame()).last().unwrap();
            prop_assert_eq!(last.header.seq, 0x5eed);
            prop_assert_eq!(last.body, Body::Json(json!({"message": "open_door"})));
        }

        /// Good frames, whatever the pieces and the padding, come out as they went in.
        #[test]
        fn good_frames_survive_any_pieces(
            names in proptest::collection::vec(".{0,20}", 1..8),
            cuts in proptest::collection::vec(1usize..70, 1..40),
            padding in 0usize..5,
            characters in any::<bool>(),
        ) {
            let bodies: Vec<String> =
                names.iter().map(|name| json!({"message": "m", "data": {"name": name}}).to_string()).collect();
            let mut bytes = Vec::new();
            for (seq, body) in bodies.iter().enumerate() {
                let mut frame = request(seq as u32, body);
                if characters {
                    frame[16..20].copy_from_slice(&(body.chars().count() as u32).to_le_bytes());
                }
                bytes.extend_from_slice(&frame);
                bytes.resize(bytes.len() + padding, 0);
            }
            let mut decoder = Decoder::new(1 << 16);
            let mut frames = Vec::new();
            let mut rest = &bytes[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                rest = behind;
                decoder.buffer().extend_from_slice(piece);
                frames.extend(std::iter::from_fn(|| decoder.next_frame()));
            }
            prop_assert_eq!(frames.len(), bodies.len());
            for (seq, (frame, body)) in frames.iter().zip(&bodies).enumerate() {
                prop_assert_eq!(frame.header.seq, seq as u32);
                prop_assert_eq!(&frame.body, &Body::Json(serde_json::from_str(body).unwrap()));
            }
        }
    }
}
