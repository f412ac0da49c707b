//! Frames as the document has them, read without any indulgence. Deliberately not the terminal's own codec:
//! what both got wrong would go unseen.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

/// A frame of a terminal.
#[derive(Debug)]
pub struct Received {
    /// `version`.
    pub version: u8,
    /// `msgType`.
    pub kind: u8,
    /// `datatype`.
    pub datatype: u8,
    /// `resv`.
    pub resv: u8,
    /// `timestamp`.
    pub timestamp: u32,
    /// `sequence`.
    pub seq: u32,
    /// The body.
    pub body: Vec<u8>,
}

/// Longest body that is read.
const LIMIT: usize = 64 * 1024 * 1024;

/// Reads one frame; `None` at the end. `InvalidData` with the reason if it is not one.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Received>> {
    let mut head = [0u8; 20];
    match stream.read_exact(&mut head[..1]).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    stream.read_exact(&mut head[1..]).await?;
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    if &head[..4] != b"QYZN" {
        return Err(invalid(format!("a frame begins with {:02x?} instead of QYZN", &head[..4])));
    }
    let size = u32::from_le_bytes([head[16], head[17], head[18], head[19]]) as usize;
    if size > LIMIT {
        return Err(invalid(format!("a body of {size} bytes is announced")));
    }
    let mut body = vec![0; size];
    stream.read_exact(&mut body).await?;
    Ok(Some(Received {
        version: head[4],
        kind: head[5],
        datatype: head[6],
        resv: head[7],
        timestamp: u32::from_le_bytes([head[8], head[9], head[10], head[11]]),
        seq: u32::from_le_bytes([head[12], head[13], head[14], head[15]]),
        body,
    }))
}

/// Makes a frame; `datasize` is what it claims, whatever the body is.
pub fn frame(version: u8, kind: u8, timestamp: u32, seq: u32, datasize: u32, body: &[u8]) -> Vec<u8> {
    let mut out = b"QYZN".to_vec();
    out.extend([version, kind, 1, 0]);
    for word in [timestamp, seq, datasize] {
        out.extend(word.to_le_bytes());
    }
    out.extend_from_slice(body);
    out
}

/// What a table of the document says of a field.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// A text of at most so many bytes.
    Text(usize),
    /// A whole number within these.
    Int(i64, i64),
    /// A number with a fraction.
    Float,
    /// Base64 of a JPEG, or empty.
    Jpeg,
    /// Base64 of a JPEG or a PNG.
    Picture,
    /// True or false.
    Bool,
    /// Whatever it is.
    Any,
    /// Periods such as `08:00~09:30,11:30~14:00`.
    Periods,
    /// `yyyy-MM-dd HH:mm:ss`.
    Civil,
    /// Decimal digits, so many at most.
    Digits(usize),
}

/// Checks one field; `Err` says what the document would have had.
pub fn field(data: &Value, name: &str, kind: Type, required: bool) -> Result<(), String> {
    let Some(value) = data.get(name) else {
        return if required { Err(format!("{name} is missing")) } else { Ok(()) };
    };
    let text = value.as_str();
    let good = match kind {
        Type::Text(most) => text.is_some_and(|text| text.len() <= most),
        Type::Int(least, most) => value.as_i64().is_some_and(|number| (least..=most).contains(&number)),
        Type::Float => value.is_number(),
        Type::Jpeg => text.is_some_and(|text| text.is_empty() || jpeg(text).is_some()),
        Type::Picture => text.is_some_and(|text| picture(text).is_some()),
        Type::Bool => value.is_boolean(),
        Type::Any => true,
        Type::Periods => text.is_some_and(|text| {
            text.split(',').all(|period| {
                period.len() == 11
                    && period.bytes().zip(b"00:00~00:00").all(|(byte, &pattern)| {
                        if pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern }
                    })
            })
        }),
        Type::Civil => text.is_some_and(|text| {
            text.len() == 19
                && text.bytes().zip(b"0000-00-00 00:00:00").all(|(byte, &pattern)| {
                    if pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern }
                })
        }),
        Type::Digits(most) => text.is_some_and(|text| {
            !text.is_empty() && text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit())
        }),
    };
    if good { Ok(()) } else { Err(format!("{name} is not {kind:?}")) }
}

/// The bytes of a picture in strict base64, if it is a JPEG.
pub fn jpeg(text: &str) -> Option<Vec<u8>> {
    decode(text).filter(|bytes| bytes.starts_with(&[0xff, 0xd8, 0xff]))
}

/// The same, if it is a JPEG or a PNG: pictures of people are kept as they came.
pub fn picture(text: &str) -> Option<Vec<u8>> {
    decode(text).filter(|bytes| bytes.starts_with(&[0xff, 0xd8, 0xff]) || bytes.starts_with(b"\x89PNG"))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
