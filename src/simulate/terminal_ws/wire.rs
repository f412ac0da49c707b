//! Frames of RFC 6455 as a server reads and writes them, apart from the gate's own code, so that each checks the
//! other, and so that a frame can be as wrong as it is told to be.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longest payload taken from a terminal; an answer has some 150 bytes.
const LONGEST: u64 = 1 << 20;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A frame as it came.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    /// The three reserved bits.
    pub reserved: u8,
    pub opcode: u8,
    pub masked: bool,
    /// Unmasked.
    pub payload: Vec<u8>,
}

/// Reads one frame; `None` at the end of the line. `InvalidData` for one that is too long.
pub async fn receive<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Option<Frame>> {
    let first = match reader.read_u8().await {
        Ok(byte) => byte,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let second = reader.read_u8().await?;
    let masked = second & 0x80 != 0;
    let length = match second & 0x7f {
        126 => u64::from(reader.read_u16().await?),
        127 => reader.read_u64().await?,
        length => u64::from(length),
    };
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut mask = [0; 4];
    if masked {
        reader.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; length as usize];
    reader.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    let frame =
        Frame { fin: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: first & 15, masked, payload };
    Ok(Some(frame))
}

/// A frame of a server: not masked.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_examples_of_rfc_6455() {
        // Chapter 5.7: "Hello", unmasked and masked, and an unmasked ping.
        assert_eq!(frame(true, TEXT, b"Hello"), [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(frame(true, PING, b"Hello"), [0x89, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(frame(true, BINARY, &[0; 256])[..4], [0x82, 0x7e, 1, 0]);
        assert_eq!(frame(true, BINARY, &[0; 65536])[..10], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let received = receive(&mut &masked[..]).await.unwrap().unwrap();
        let expected =
            Frame { fin: true, reserved: 0, opcode: TEXT, masked: true, payload: b"Hello".to_vec() };
        assert_eq!(received, expected);
        assert_eq!(receive(&mut &b""[..]).await.unwrap(), None);
        assert!(receive(&mut &masked[..7]).await.is_err());
    }
}
