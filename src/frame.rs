//! A frame: one picture of a camera in the camera's own format, with the time it was captured.

use std::time::Instant;

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};

/// Pictures with more pixels are refused before memory is taken for them.
pub const MAX_PIXELS: u64 = 40_000_000;
/// Pictures with a longer side are refused before memory is taken for them.
pub const MAX_SIDE: u32 = 8192;

/// How the bytes of a frame are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// JPEG, also the Motion-JPEG of UVC cameras, which may leave out the Huffman tables.
    Jpeg,
    /// YUYV 4:2:2 (V4L2 `YUYV`): Y0 Cb Y1 Cr, BT.601 limited range.
    Yuyv,
    /// NV12 4:2:0 (V4L2 `NV12`): a plane of Y, then a plane of Cb Cr at half size; BT.601 limited range.
    /// Both planes have the same stride.
    Nv12,
    /// One byte a pixel, full range (V4L2 `GREY`).
    Grey,
    /// Red, green, blue, one byte each (V4L2 `RGB3`).
    Rgb,
}

/// One picture of a camera. The bytes come from the camera's ring of buffers: [`Frame::into_data`] gives them
/// back.
#[derive(Debug, Clone)]
pub struct Frame {
    data: Vec<u8>,
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    /// When it was captured, for durations.
    pub captured: Instant,
    /// When it was captured by the gate's clock, for records.
    pub wall: Timestamp,
    /// Counts up for each camera; a gap is a frame that was dropped.
    pub number: u64,
    /// Index of the camera in the configuration.
    pub camera: usize,
}

impl Frame {
    /// A JPEG frame; its size is read from its header. `Input` if there is none or the picture is too large.
    pub fn jpeg(
        data: Vec<u8>,
        captured: Instant,
        wall: Timestamp,
        number: u64,
        camera: usize,
    ) -> Result<Self> {
        let header = JpegHeader::read(&data)?;
        let (width, height) = (header.width, header.height);
        Ok(Self { data, format: PixelFormat::Jpeg, width, height, stride: 0, captured, wall, number, camera })
    }

    /// An uncompressed frame of `width` x `height` pixels with `stride` bytes from one line to the next.
    /// `Input` if the bytes are too few, the size is odd where the format needs it even, or the picture is too
    /// large; for JPEG use [`Frame::jpeg`].
    #[expect(clippy::too_many_arguments, reason = "all of it is one frame")]
    pub fn raw(
        data: Vec<u8>,
        format: PixelFormat,
        width: u32,
        height: u32,
        stride: usize,
        captured: Instant,
        wall: Timestamp,
        number: u64,
        camera: usize,
    ) -> Result<Self> {
        check_size(width, height)?;
        let (columns, lines) = (width as usize, height as usize);
        let (least_stride, needed_lines, even) = match format {
            PixelFormat::Jpeg => {
                return Err(Error::new(Kind::Input, "a JPEG frame has its size in its header"));
            }
            PixelFormat::Yuyv => (columns * 2, lines, width.is_multiple_of(2)),
            PixelFormat::Nv12 => {
                (columns, lines + lines / 2, width.is_multiple_of(2) && height.is_multiple_of(2))
            }
            PixelFormat::Grey => (columns, lines, true),
            PixelFormat::Rgb => (columns * 3, lines, true),
        };
        // The last line may end before its stride does; a stride from a driver is not trusted to be small.
        let needed =
            stride.checked_mul(needed_lines.saturating_sub(1)).and_then(|n| n.checked_add(least_stride));
        if !even || stride < least_stride || needed.is_none_or(|needed| data.len() < needed) {
            return Err(Error::new(
                Kind::Input,
                format!(
                    "{} bytes with {stride} a line are no {format:?} frame of {width} x {height}",
                    data.len()
                ),
            ));
        }
        Ok(Self { data, format, width, height, stride, captured, wall, number, camera })
    }

    /// The bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The bytes, for use again.
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// How to read the bytes.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Width and height in pixels, both at least 1.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Bytes from one line to the next; 0 for JPEG.
    pub fn stride(&self) -> usize {
        self.stride
    }
}

/// `Input` for a picture without pixels, above [`MAX_PIXELS`] or with a side above [`MAX_SIDE`].
pub fn check_size(width: u32, height: u32) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::new(Kind::Input, format!("a picture of {width} x {height} has no pixels")));
    }
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(Error::new(
            Kind::Input,
            format!(
                "a picture of {width} x {height} is too large: at most {MAX_SIDE} a side and {} megapixels",
                MAX_PIXELS / 1_000_000
            ),
        ));
    }
    Ok(())
}

/// What the header of a JPEG says (ITU-T T.81, annex B), as far as the agent asks before it decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JpegHeader {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Components: 1 grey, 3 colour, 4 CMYK.
    pub components: u8,
    /// Whether it is progressive.
    pub progressive: bool,
    /// Whether it has Huffman tables of its own; UVC cameras may leave the standard ones out.
    pub huffman_tables: bool,
    /// Where the first scan's entropy-coded bytes begin.
    pub scan: usize,
}

impl JpegHeader {
    /// Whether the bytes behind the header can hold the picture that it announces: each block of 8 x 8 takes two
    /// bits at least (one for its mean, one for "nothing else"), in progressive files one. A file that cannot is
    /// known before memory is taken for its pixels.
    pub fn can_be_in(&self, bytes: &[u8]) -> bool {
        let blocks = u64::from(self.width.div_ceil(8)) * u64::from(self.height.div_ceil(8));
        let bits = blocks * if self.progressive { 1 } else { 2 };
        bytes.len().saturating_sub(self.scan) as u64 * 8 >= bits
    }

    /// Walks the segments up to the first scan. `Input` if these are no JPEG, if the header is cut off, or if
    /// the size is out of bounds ([`check_size`]).
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let cut = || Error::new(Kind::Input, "the JPEG ends within its header");
        if bytes.len() < 2 || bytes[..2] != [0xff, 0xd8] {
            return Err(Error::new(Kind::Input, "this is no JPEG"));
        }
        let mut at = 2;
        let mut size = None;
        let mut huffman_tables = false;
        loop {
            if *bytes.get(at).ok_or_else(cut)? != 0xff {
                return Err(Error::new(Kind::Input, format!("the JPEG has no segment at byte {at}")));
            }
            // A marker may be preceded by any number of fill bytes.
            while *bytes.get(at).ok_or_else(cut)? == 0xff {
                at += 1;
            }
            let marker = bytes[at];
            at += 1;
            // TEM and RSTn stand alone.
            if marker == 0x01 || (0xd0..=0xd7).contains(&marker) {
                continue;
            }
            if matches!(marker, 0x00 | 0xd8 | 0xd9) {
                return Err(Error::new(Kind::Input, "the JPEG holds no picture"));
            }
            let length = bytes.get(at..at + 2).ok_or_else(cut)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            if length < 2 {
                return Err(Error::new(Kind::Input, "the JPEG has a segment without a length"));
            }
            let body = bytes.get(at + 2..at + length).ok_or_else(cut)?;
            match marker {
                // SOF0 to SOF15 without DHT (c4), JPG (c8) and DAC (cc).
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                    if body.len() < 6 {
                        return Err(cut());
                    }
                    let height = u32::from(u16::from_be_bytes([body[1], body[2]]));
                    let width = u32::from(u16::from_be_bytes([body[3], body[4]]));
                    check_size(width, height)?;
                    size = Some((width, height, body[5], marker == 0xc2));
                }
                0xc4 => huffman_tables = true,
                0xda => {
                    let (width, height, components, progressive) = size.ok_or_else(|| {
                        Error::new(Kind::Input, "the JPEG has a scan before its frame header")
                    })?;
                    return Ok(Self {
                        width,
                        height,
                        components,
                        progressive,
                        huffman_tables,
                        scan: at + length,
                    });
                }
                _ => {}
            }
            at += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 0, 0, 0xff, 0xff, 0xc0, 0, 17, 8];
        bytes.extend(height.to_be_bytes());
        bytes.extend(width.to_be_bytes());
        bytes.extend([3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
        bytes.extend([0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 0x3f, 0, 0x12, 0x34]);
        bytes
    }

    #[test]
    fn reads_the_size_from_a_header() {
        let bytes = jpeg_of(640, 480);
        let header = JpegHeader::read(&bytes).unwrap();
        assert_eq!((header.width, header.height, header.components), (640, 480, 3));
        assert_eq!(bytes[header.scan..], [0x12, 0x34]);
        assert!(!header.huffman_tables && !header.progressive);
        for length in 0..bytes.len() - 2 {
            assert_eq!(JpegHeader::read(&bytes[..length]).unwrap_err().kind(), Kind::Input, "{length} bytes");
        }
    }

    #[test]
    fn refuses_a_hundred_megapixels_before_decoding() {
        // 8000 x 8000 is within the side but not within the area; 65535 x 1 is the other way round.
        for (width, height) in [(10_000, 10_000), (8000, 8000), (65_535, 1), (0, 480)] {
            let error = JpegHeader::read(&jpeg_of(width, height)).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().contains(&format!("{width} x {height}")), "{error}");
        }
        assert!(JpegHeader::read(&jpeg_of(8192, 4882)).is_ok());
    }

    #[test]
    fn refuses_frames_whose_bytes_do_not_suffice() {
        let raw = |bytes: usize, format, width, height, stride| {
            Frame::raw(
                vec![0; bytes],
                format,
                width,
                height,
                stride,
                Instant::now(),
                Timestamp::UNIX_EPOCH,
                1,
                0,
            )
        };
        assert!(raw(640 * 480 * 2, PixelFormat::Yuyv, 640, 480, 1280).is_ok());
        assert!(raw(640 * 480 * 2 - 1, PixelFormat::Yuyv, 640, 480, 1280).is_err());
        assert!(raw(640 * 480 * 2, PixelFormat::Yuyv, 641, 480, 1282).is_err());
        assert!(raw(640 * 720, PixelFormat::Nv12, 640, 480, 640).is_ok());
        assert!(raw(640 * 719, PixelFormat::Nv12, 640, 480, 640).is_err());
        assert!(raw(16, PixelFormat::Grey, 4, 4, 3).is_err());
        assert!(raw(16, PixelFormat::Grey, 4, 4, usize::MAX).is_err());
        assert!(raw(16, PixelFormat::Jpeg, 4, 4, 4).is_err());
        // The last line may be shorter than the stride.
        assert!(raw(8 + 8 + 4, PixelFormat::Grey, 4, 3, 8).is_ok());
    }
}
