//! A picture: decoded pixels in one reusable buffer, and the ways from there into a model's tensor.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fast_image_resize as fir;
use image::metadata::Orientation;
use serde::Deserialize;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::face::Rect;
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, JpegHeader, MAX_PIXELS, MAX_SIDE, PixelFormat, check_size};

/// A buffer larger than this is given back after use: somebody enrolled a very large picture.
const KEPT_BYTES: usize = 8 << 20;

/// Red, green and blue, one byte each, line by line without gaps. Decoding reuses the buffer.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    pixels: Vec<u8>,
    width: u32,
    height: u32,
    scratch: Vec<u8>,
}

impl Picture {
    /// An empty picture of 0 x 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// A picture of given pixels. `Input` unless there are exactly `width * height * 3` bytes.
    pub fn from_rgb(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self> {
        check_size(width, height)?;
        if pixels.len() != width as usize * height as usize * 3 {
            return Err(Error::new(
                Kind::Input,
                format!("{} bytes are no RGB picture of {width} x {height}", pixels.len()),
            ));
        }
        Ok(Self { pixels, width, height, scratch: Vec::new() })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The pixels, `height` lines of `width` times red, green, blue.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Mean luminance, 0 to 255, of a grid of at most 32 x 32 pixels; 0 for an empty picture.
    pub fn brightness(&self) -> u8 {
        const GRID: u32 = 32;
        let places = |side: u32| {
            let count = side.min(GRID);
            // The middles of equal parts.
            (0..count).map(move |part| (2 * part + 1) * side / (2 * count))
        };
        let (mut sum, mut count) = (0_u32, 0_u32);
        for y in places(self.height) {
            for x in places(self.width) {
                let [red, green, blue] = self.pixel(x, y).map(u32::from);
                // BT.601 in hundredths.
                sum += (30 * red + 59 * green + 11 * blue) / 100;
                count += 1;
            }
        }
        u8::try_from(sum / count.max(1)).unwrap_or(u8::MAX)
    }

    /// The pixel at a place inside the picture.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// The brightness of each pixel, line by line, in place of what `luma` held.
    pub fn luma(&self, luma: &mut Vec<u8>) {
        luma.clear();
        // The weights of BT.601, which add up to 256.
        let brightness = |rgb: &[u8]| {
            let [red, green, blue] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
            ((77 * red + 150 * green + 29 * blue) >> 8) as u8
        };
        luma.extend(self.pixels.chunks_exact(3).map(brightness));
    }

    /// Decodes a frame of a camera. EXIF is not looked at. `Input` if the bytes are damaged or cut off: the
    /// frame is then dropped, the next one comes soon.
    pub fn decode_frame(&mut self, frame: &Frame) -> Result<()> {
        let (width, height) = frame.size();
        let decoded = match frame.format() {
            PixelFormat::Jpeg => self.decode_jpeg(frame.data()).map(|_| ()),
            format => {
                self.resize(width, height);
                let convert = match format {
                    PixelFormat::Yuyv => yuyv_to_rgb,
                    PixelFormat::Nv12 => nv12_to_rgb,
                    PixelFormat::Rgb => rgb_to_rgb,
                    PixelFormat::Jpeg | PixelFormat::Grey => grey_to_rgb,
                };
                convert(frame.data(), frame.stride(), width as usize, height as usize, &mut self.pixels);
                Ok(())
            }
        };
        if decoded.is_err() {
            self.clear();
        }
        decoded
    }

    /// Decodes a picture file, JPEG or PNG, turned upright as its EXIF says. `Input` if it is neither, damaged,
    /// cut off, or larger than [`check_size`] allows.
    pub fn decode_file(&mut self, bytes: &[u8]) -> Result<()> {
        let decoded = match bytes {
            [0xff, 0xd8, ..] => self.decode_jpeg_file(bytes),
            [0x89, b'P', b'N', b'G', ..] => self.decode_png(bytes),
            [] => Err(Error::new(Kind::Input, "the picture is empty")),
            _ => Err(Error::new(Kind::Input, "the picture is neither JPEG nor PNG")),
        };
        if decoded.is_err() {
            self.clear();
        }
        decoded
    }

    /// Gives memory back if the last picture was a very large one.
    pub fn shrink(&mut self) {
        if self.pixels.capacity() > KEPT_BYTES {
            self.clear();
            self.pixels.shrink_to_fit();
        }
        if self.scratch.capacity() > KEPT_BYTES {
            self.scratch = Vec::new();
        }
    }

    /// Turns the picture by half a turn.
    pub fn turn_round(&mut self) {
        self.turn(Orientation::Rotate180);
    }

    fn clear(&mut self) {
        self.pixels.clear();
        (self.width, self.height) = (0, 0);
    }

    fn resize(&mut self, width: u32, height: u32) {
        self.pixels.resize(width as usize * height as usize * 3, 0);
        (self.width, self.height) = (width, height);
    }

    fn decode_jpeg_file(&mut self, bytes: &[u8]) -> Result<()> {
        let header = JpegHeader::read(bytes)?;
        // Inside entropy-coded bytes 0xff is followed by 0 or a restart marker, so this is the end marker or
        // nothing. A decoder notices a cut only where the bytes run out, which the last lines may hide.
        if !bytes[header.scan..].windows(2).any(|pair| pair == [0xff, 0xd9]) {
            return Err(Error::new(Kind::Input, "the JPEG is cut off"));
        }
        let exif = self.decode_jpeg(bytes)?;
        if let Some(orientation) = exif.as_deref().and_then(Orientation::from_exif_chunk) {
            self.turn(orientation);
        }
        Ok(())
    }

    /// Decodes into the buffer; gives the EXIF segment.
    fn decode_jpeg(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
        let header = JpegHeader::read(bytes)?;
        if !header.can_be_in(bytes) {
            return Err(Error::new(Kind::Input, "the JPEG is cut off"));
        }
        self.resize(header.width, header.height);
        decode_jpeg(bytes, &header, ColorSpace::RGB, &mut self.scratch, &mut self.pixels)
    }

    fn decode_png(&mut self, bytes: &[u8]) -> Result<()> {
        use image::ImageDecoder;
        let damaged = |error| Error::caused(Kind::Input, "the PNG is damaged", error);
        // The size is in the first chunk, always: nothing is allocated for a picture that is refused.
        let size = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        match (size(16), size(20)) {
            (Some(width), Some(height)) => check_size(width, height)?,
            _ => return Err(Error::new(Kind::Input, "the PNG ends within its header")),
        }
        let mut limits = image::Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_PIXELS * 4);
        let mut decoder = image::codecs::png::PngDecoder::with_limits(std::io::Cursor::new(bytes), limits)
            .map_err(damaged)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let picture = image::DynamicImage::from_decoder(decoder).map_err(damaged)?.into_rgb8();
        (self.width, self.height) = picture.dimensions();
        self.pixels = picture.into_raw();
        self.turn(orientation);
        Ok(())
    }

    /// Turns and mirrors the picture as `orientation` says.
    fn turn(&mut self, orientation: Orientation) {
        let (width, height) = (self.width as usize, self.height as usize);
        // From a place in the turned picture to its place in this one.
        let from: fn(usize, usize, usize, usize) -> (usize, usize) = match orientation {
            Orientation::NoTransforms => return,
            Orientation::FlipHorizontal => |x, y, w, _| (w - 1 - x, y),
            Orientation::Rotate180 => |x, y, w, h| (w - 1 - x, h - 1 - y),
            Orientation::FlipVertical => |x, y, _, h| (x, h - 1 - y),
            Orientation::Rotate90FlipH => |x, y, _, _| (y, x),
            Orientation::Rotate90 => |x, y, _, h| (y, h - 1 - x),
            Orientation::Rotate270FlipH => |x, y, w, h| (w - 1 - y, h - 1 - x),
            Orientation::Rotate270 => |x, y, w, _| (w - 1 - y, x),
        };
        let across = matches!(
            orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        let (new_width, new_height) = if across { (height, width) } else { (width, height) };
        self.scratch.clear();
        self.scratch.reserve(self.pixels.len());
        for y in 0..new_height {
            for x in 0..new_width {
                let (from_x, from_y) = from(x, y, width, height);
                let at = (from_y * width + from_x) * 3;
                self.scratch.extend_from_slice(&self.pixels[at..at + 3]);
            }
        }
        std::mem::swap(&mut self.pixels, &mut self.scratch);
        (self.width, self.height) = (new_width as u32, new_height as u32);
    }
}

/// Decodes a JPEG into `out`, which has room for exactly its pixels in `colour`; gives the EXIF segment.
/// `scratch` is used for cameras that leave out the standard Huffman tables.
pub(super) fn decode_jpeg(
    bytes: &[u8],
    header: &JpegHeader,
    colour: ColorSpace,
    scratch: &mut Vec<u8>,
    out: &mut [u8],
) -> Result<Option<Vec<u8>>> {
    let bytes = if header.huffman_tables {
        bytes
    } else {
        // The decoder puts the standard tables in where a segment says that this is Motion-JPEG.
        scratch.clear();
        scratch.extend_from_slice(&[0xff, 0xd8, 0xff, 0xe0, 0, 9, b'A', b'V', b'I', b'1', 0, 0, 0]);
        scratch.extend_from_slice(&bytes[2..]);
        scratch
    };
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE as usize)
        .set_max_height(MAX_SIDE as usize)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(colour);
    // What a stranger sends goes through here; a decoder's mistake must cost a picture, not the gate.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
        decoder.decode_headers()?;
        if decoder.output_buffer_size() != Some(out.len()) {
            return Err(DecodeErrors::FormatStatic("two headers of different size"));
        }
        decoder.decode_into(out)?;
        Ok(decoder.exif().cloned())
    }));
    match decoded {
        Ok(Ok(exif)) => Ok(exif),
        Ok(Err(error)) => Err(Error::new(Kind::Input, format!("the JPEG is damaged: {error:?}"))),
        Err(_) => Err(Error::new(Kind::Input, "the JPEG is damaged: its decoder gave up")),
    }
}

/// Red, green and blue of BT.601 limited range (Y 16..=235, Cb and Cr 16..=240), in steps of 1/65536:
/// 255/219 for Y, and 255/112 times 0.701, 0.886 and their shares of green for the differences.
fn ycbcr_to_rgb(y: i32, cb: i32, cr: i32) -> [u8; 3] {
    let luma = (y - 16) * 76_309 + 32_768;
    let (cb, cr) = (cb - 128, cr - 128);
    let clamp = |value: i32| (value >> 16).clamp(0, 255) as u8;
    [clamp(luma + cr * 104_597), clamp(luma - cb * 25_675 - cr * 53_279), clamp(luma + cb * 132_201)]
}

fn yuyv_to_rgb(data: &[u8], stride: usize, width: usize, height: usize, out: &mut [u8]) {
    for (line, out) in data.chunks(stride).take(height).zip(out.chunks_exact_mut(width * 3)) {
        for (pair, out) in line[..width * 2].chunks_exact(4).zip(out.chunks_exact_mut(6)) {
            let [y0, cb, y1, cr] = [pair[0], pair[1], pair[2], pair[3]].map(i32::from);
            out[..3].copy_from_slice(&ycbcr_to_rgb(y0, cb, cr));
            out[3..].copy_from_slice(&ycbcr_to_rgb(y1, cb, cr));
        }
    }
}

fn nv12_to_rgb(data: &[u8], stride: usize, width: usize, height: usize, out: &mut [u8]) {
    let (luma, chroma) = data.split_at(stride * height);
    let lines = luma.chunks(stride).zip(out.chunks_exact_mut(width * 3)).enumerate();
    for (number, (line, out)) in lines {
        let chroma = &chroma[number / 2 * stride..][..width];
        let pairs = line[..width].chunks_exact(2).zip(chroma.chunks_exact(2)).zip(out.chunks_exact_mut(6));
        for ((y, c), out) in pairs {
            let (cb, cr) = (i32::from(c[0]), i32::from(c[1]));
            out[..3].copy_from_slice(&ycbcr_to_rgb(i32::from(y[0]), cb, cr));
            out[3..].copy_from_slice(&ycbcr_to_rgb(i32::from(y[1]), cb, cr));
        }
    }
}

fn grey_to_rgb(data: &[u8], stride: usize, width: usize, height: usize, out: &mut [u8]) {
    for (line, out) in data.chunks(stride).take(height).zip(out.chunks_exact_mut(width * 3)) {
        for (grey, out) in line[..width].iter().zip(out.chunks_exact_mut(3)) {
            out.fill(*grey);
        }
    }
}

fn rgb_to_rgb(data: &[u8], stride: usize, width: usize, height: usize, out: &mut [u8]) {
    for (line, out) in data.chunks(stride).take(height).zip(out.chunks_exact_mut(width * 3)) {
        out.copy_from_slice(&line[..width * 3]);
    }
}

/// Order of a model's three planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Blue, green, red.
    Bgr,
    /// Red, green, blue.
    Rgb,
}

/// How a model wants its pixels: `(pixel - mean) * scale`, pixel 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Order of the planes.
    pub colour: Colour,
    /// For each plane, in the order of `colour`.
    pub mean: [f32; 3],
    /// For all planes.
    pub scale: f32,
}

impl Normalisation {
    /// Factor and summand for red, green and blue, and the plane each goes to.
    fn by_channel(&self) -> [(f32, f32, usize); 3] {
        let planes = match self.colour {
            Colour::Rgb => [0, 1, 2],
            Colour::Bgr => [2, 1, 0],
        };
        planes.map(|plane| (self.scale, -self.mean[plane] * self.scale, plane))
    }

    /// The three planes of `tensor`, as red, green and blue with their factor and summand.
    pub(super) fn split<'a>(&self, tensor: &'a mut [f32]) -> [(&'a mut [f32], f32, f32); 3] {
        let plane = tensor.len() / 3;
        let (first, rest) = tensor.split_at_mut(plane);
        let (second, third) = rest.split_at_mut(plane);
        let [(fr, sr, to), (fg, sg, _), (fb, sb, _)] = self.by_channel();
        let (red, blue) = if to == 0 { (first, third) } else { (third, first) };
        [(red, fr, sr), (second, fg, sg), (blue, fb, sb)]
    }
}

/// A region of a picture in whole pixels, inside it and not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Left column.
    pub x: u32,
    /// Upper line.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Lines.
    pub height: u32,
}

impl Region {
    /// All of a picture.
    pub fn whole(picture: &Picture) -> Self {
        Self { x: 0, y: 0, width: picture.width, height: picture.height }
    }

    /// A square around `rect` with `factor` times its longer side, made smaller if the picture is, and moved
    /// inside the picture. `None` if the picture has no pixels there or the numbers are not finite.
    pub fn square_around(rect: &Rect, factor: f32, picture: &Picture) -> Option<Self> {
        let side = rect.width().max(rect.height()) * factor;
        let [x, y] = rect.centre();
        if !(side.is_finite() && x.is_finite() && y.is_finite()) {
            return None;
        }
        let side = (side.round() as u32).min(picture.width).min(picture.height);
        if side == 0 {
            return None;
        }
        let place =
            |centre: f32, most: u32| ((centre - side as f32 / 2.0).round().max(0.0) as u32).min(most - side);
        Some(Self { x: place(x, picture.width), y: place(y, picture.height), width: side, height: side })
    }
}

impl Region {
    /// `factor` times a rectangle, made smaller without changing its shape if the picture is smaller, and moved
    /// inside the picture. `None` as for [`Region::square_around`].
    pub fn around(rect: &Rect, factor: f32, picture: &Picture) -> Option<Self> {
        let (width, height) = (rect.width(), rect.height());
        let [x, y] = rect.centre();
        if !(width > 0.0 && height > 0.0 && x.is_finite() && y.is_finite()) {
            return None;
        }
        let factor = factor.min(picture.width as f32 / width).min(picture.height as f32 / height);
        let side = |side: f32, most: u32| ((side * factor).round() as u32).clamp(1, most.max(1));
        let (width, height) = (side(width, picture.width), side(height, picture.height));
        let place = |centre: f32, side: u32, most: u32| {
            ((centre - side as f32 / 2.0).round().max(0.0) as u32).min(most - side)
        };
        (picture.width > 0 && picture.height > 0).then(|| Self {
            x: place(x, width, picture.width),
            y: place(y, height, picture.height),
            width,
            height,
        })
    }
}

/// Scales regions of pictures into tensors, with buffers of its own.
#[derive(Debug, Default)]
pub struct Scaler {
    resizer: fir::Resizer,
    buffer: Vec<u8>,
    sampling: bool,
}

impl Scaler {
    /// With empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Never averages, however much smaller the target: each pixel is made of the four around its place alone. For
    /// the liveness model, which lives on the fine raster that averaging removes: with it, twice as many of our
    /// attacks pass.
    pub fn sampling() -> Self {
        Self { sampling: true, ..Self::default() }
    }

    /// Scales `region` of `picture` to `inner` and writes it to the upper left corner of `tensor`, three
    /// planes of `canvas` (width, height); the rest of the tensor becomes 0, which is the model's mean colour.
    /// Bilinear; beyond a half the pixels are averaged first, so that nothing is skipped (but see
    /// [`Scaler::sampling`]).
    /// `Input` for a region outside the picture, `Model` for a tensor of another size.
    pub fn fill(
        &mut self,
        picture: &Picture,
        region: Region,
        inner: (u32, u32),
        canvas: (u32, u32),
        normalisation: &Normalisation,
        tensor: &mut [f32],
    ) -> Result<()> {
        let inside = |at: u32, length: u32, most: u32| {
            length > 0 && at.checked_add(length).is_some_and(|end| end <= most)
        };
        if !inside(region.x, region.width, picture.width) || !inside(region.y, region.height, picture.height)
        {
            return Err(Error::new(
                Kind::Input,
                format!("no {region:?} in a picture of {:?}", picture.size()),
            ));
        }
        let (width, height) = (canvas.0 as usize, canvas.1 as usize);
        if tensor.len() != 3 * width * height || inner.0 > canvas.0 || inner.1 > canvas.1 {
            return Err(Error::new(
                Kind::Model,
                format!("a tensor of {} is not 3 x {canvas:?}", tensor.len()),
            ));
        }
        if inner != canvas {
            tensor.fill(0.0);
        }
        let stride = picture.width as usize * 3;
        let from = |x: u32, y: u32| y as usize * stride + x as usize * 3;
        let planes = normalisation.split(tensor);
        let lines = inner.1 as usize;
        let columns = inner.0 as usize;
        if (region.width, region.height) == inner {
            let source =
                |line: usize| &picture.pixels[from(region.x, region.y + line as u32)..][..columns * 3];
            write_planes(planes, width, lines, source);
        } else if !self.sampling && (region.width, region.height) == (inner.0 * 2, inner.1 * 2) {
            let source = |line: usize| {
                let upper = from(region.x, region.y + 2 * line as u32);
                (&picture.pixels[upper..][..columns * 6], &picture.pixels[upper + stride..][..columns * 6])
            };
            write_halved_planes(planes, width, lines, source);
        } else {
            self.buffer.resize(columns * lines * 3, 0);
            let failed = |error: &dyn std::fmt::Debug| {
                Error::new(Kind::Input, format!("the picture cannot be scaled: {error:?}"))
            };
            let pixels = fir::images::ImageRef::new(
                picture.width,
                picture.height,
                &picture.pixels,
                fir::PixelType::U8x3,
            )
            .map_err(|error| failed(&error))?;
            let mut scaled =
                fir::images::Image::from_slice_u8(inner.0, inner.1, &mut self.buffer, fir::PixelType::U8x3)
                    .map_err(|error| failed(&error))?;
            let coarse = !self.sampling && (region.width > 2 * inner.0 || region.height > 2 * inner.1);
            let algorithm = if coarse {
                fir::ResizeAlg::Convolution(fir::FilterType::Bilinear)
            } else {
                fir::ResizeAlg::Interpolation(fir::FilterType::Bilinear)
            };
            let options = fir::ResizeOptions::new().resize_alg(algorithm).crop(
                f64::from(region.x),
                f64::from(region.y),
                f64::from(region.width),
                f64::from(region.height),
            );
            self.resizer.resize(&pixels, &mut scaled, Some(&options)).map_err(|error| failed(&error))?;
            let buffer = &self.buffer;
            write_planes(planes, width, lines, |line| &buffer[line * columns * 3..][..columns * 3]);
        }
        Ok(())
    }
}

/// Writes `lines` lines of interleaved pixels to the three planes, whose lines are `width` long.
fn write_planes<'a>(
    planes: [(&mut [f32], f32, f32); 3],
    width: usize,
    lines: usize,
    source: impl Fn(usize) -> &'a [u8],
) {
    for (channel, (plane, factor, summand)) in planes.into_iter().enumerate() {
        for (line, out) in plane.chunks_exact_mut(width).take(lines).enumerate() {
            for (pixel, out) in source(line).chunks_exact(3).zip(out) {
                *out = f32::from(pixel[channel]) * factor + summand;
            }
        }
    }
}

/// The same from lines twice as long and twice as many, each pixel the mean of four.
fn write_halved_planes<'a>(
    planes: [(&mut [f32], f32, f32); 3],
    width: usize,
    lines: usize,
    source: impl Fn(usize) -> (&'a [u8], &'a [u8]),
) {
    for (channel, (plane, factor, summand)) in planes.into_iter().enumerate() {
        let factor = factor / 4.0;
        for (line, out) in plane.chunks_exact_mut(width).take(lines).enumerate() {
            let (upper, lower) = source(line);
            for ((upper, lower), out) in upper.chunks_exact(6).zip(lower.chunks_exact(6)).zip(out) {
                let sum = u16::from(upper[channel])
                    + u16::from(upper[channel + 3])
                    + u16::from(lower[channel])
                    + u16::from(lower[channel + 3]);
                *out = f32::from(sum) * factor + summand;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use jiff::Timestamp;
    use jpeg_encoder::{ColorType, Encoder};

    use super::*;

    fn frame(data: Vec<u8>, format: PixelFormat, size: (u32, u32), stride: usize) -> Frame {
        Frame::raw(data, format, size.0, size.1, stride, Instant::now(), Timestamp::UNIX_EPOCH, 1, 0).unwrap()
    }

    fn jpeg(data: Vec<u8>) -> Result<Frame> {
        Frame::jpeg(data, Instant::now(), Timestamp::UNIX_EPOCH, 1, 0)
    }

    /// A smooth picture: JPEG keeps it to a few steps.
    fn slopes(width: u32, height: u32) -> Vec<u8> {
        (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [(x % 256) as u8, (y % 256) as u8, 100]))
            .collect()
    }

    fn encode(
        pixels: &[u8],
        width: u16,
        height: u16,
        colour: ColorType,
        change: impl Fn(&mut Encoder<&mut Vec<u8>>),
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 95);
        change(&mut encoder);
        encoder.encode(pixels, width, height, colour).unwrap();
        bytes
    }

    fn close(pixel: [u8; 3], expected: [u8; 3]) {
        let far = pixel.iter().zip(expected).any(|(one, other)| one.abs_diff(other) > 6);
        assert!(!far, "{pixel:?} is not {expected:?}");
    }

    /// Y, Cb, Cr and what BT.601 makes of them: `R = Y + 1.402 Pr`, `B = Y + 1.772 Pb`, `Y = 0.299 R + 0.587 G +
    /// 0.114 B` with Y over 219 and Pb, Pr over 224, in 64 bits and rounded, in another program.
    const BT601: [([u8; 3], [u8; 3]); 13] = [
        ([16, 128, 128], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255]),
        ([126, 128, 128], [128, 128, 128]),
        ([81, 90, 240], [254, 0, 0]),
        ([145, 54, 34], [0, 255, 1]),
        ([41, 240, 110], [0, 0, 255]),
        ([210, 16, 146], [255, 255, 0]),
        ([170, 166, 16], [1, 255, 255]),
        ([106, 202, 222], [255, 0, 254]),
        ([0, 128, 128], [0, 0, 0]),
        ([255, 128, 128], [255, 255, 255]),
        ([200, 100, 160], [255, 199, 158]),
        ([60, 200, 70], [0, 70, 196]),
    ];

    #[test]
    fn yuyv_is_bt601_limited() {
        for ([y, cb, cr], rgb) in BT601 {
            let mut picture = Picture::new();
            // Two lines of two pixels with two bytes of padding each.
            let line = [y, cb, y, cr, 9, 9];
            picture.decode_frame(&frame([line, line].concat(), PixelFormat::Yuyv, (2, 2), 6)).unwrap();
            assert_eq!(picture.pixels(), [rgb; 4].concat(), "{y} {cb} {cr}");
        }
    }

    #[test]
    fn nv12_is_bt601_limited() {
        for ([y, cb, cr], rgb) in BT601 {
            let mut picture = Picture::new();
            // Four lines of Y and two of Cb Cr, two pixels and one byte of padding each.
            let data = [[y, y, 9], [y, y, 9], [16, 16, 9], [16, 16, 9], [cb, cr, 9], [128, 128, 9]].concat();
            picture.decode_frame(&frame(data, PixelFormat::Nv12, (2, 4), 3)).unwrap();
            assert_eq!(picture.pixels(), [[rgb; 4], [[0; 3]; 4]].concat().concat(), "{y} {cb} {cr}");
        }
    }

    #[test]
    fn grey_and_rgb_lose_their_padding() {
        let mut picture = Picture::new();
        picture.decode_frame(&frame(vec![1, 2, 9, 3, 4], PixelFormat::Grey, (2, 2), 3)).unwrap();
        assert_eq!(picture.pixels(), [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        picture.decode_frame(&frame(vec![1, 2, 3, 9, 4, 5, 6], PixelFormat::Rgb, (1, 2), 4)).unwrap();
        assert_eq!((picture.pixels(), picture.size()), (&[1, 2, 3, 4, 5, 6][..], (1, 2)));
    }

    #[test]
    fn jpegs_of_all_kinds() {
        let pixels = slopes(160, 96);
        let grey: Vec<u8> = (0..160 * 96).map(|at| (at % 160) as u8).collect();
        // CMYK as Photoshop writes it, inverted: all ink is 0.
        let cmyk: Vec<u8> = (0..160 * 96).flat_map(|_| [255, 0, 255, 0]).collect();
        let mut picture = Picture::new();
        for file in [
            encode(&pixels, 160, 96, ColorType::Rgb, |_| {}),
            encode(&pixels, 160, 96, ColorType::Rgb, |encoder| encoder.set_progressive(true)),
            encode(&pixels, 160, 96, ColorType::Rgb, |encoder| encoder.set_restart_interval(3)),
        ] {
            picture.decode_file(&file).unwrap();
            assert_eq!(picture.size(), (160, 96));
            close(picture.pixel(80, 48), [80, 48, 100]);
            close(picture.pixel(140, 10), [140, 10, 100]);
            picture.decode_frame(&jpeg(file).unwrap()).unwrap();
            close(picture.pixel(80, 48), [80, 48, 100]);
        }
        picture.decode_file(&encode(&grey, 160, 96, ColorType::Luma, |_| {})).unwrap();
        close(picture.pixel(77, 50), [77, 77, 77]);
        picture.decode_file(&encode(&cmyk, 160, 96, ColorType::Cmyk, |_| {})).unwrap();
        assert_eq!(picture.size(), (160, 96));
        let [red, green, blue] = picture.pixel(50, 50);
        assert!(green > 200 && red < 60 && blue < 60, "{:?}", picture.pixel(50, 50));
    }

    #[test]
    fn one_pixel_is_a_picture() {
        let mut picture = Picture::new();
        picture.decode_file(&encode(&[200, 100, 50], 1, 1, ColorType::Rgb, |_| {})).unwrap();
        assert_eq!(picture.size(), (1, 1));
        close(picture.pixel(0, 0), [200, 100, 50]);
    }

    #[test]
    fn motion_jpeg_without_huffman_tables() {
        let whole = encode(&slopes(64, 64), 64, 64, ColorType::Rgb, |_| {});
        // Without its DHT segments, as many UVC cameras send it.
        let mut bare = whole[..2].to_vec();
        let mut at = 2;
        loop {
            let length = 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
            if whole[at + 1] == 0xda {
                bare.extend_from_slice(&whole[at..]);
                break;
            }
            if whole[at + 1] != 0xc4 {
                bare.extend_from_slice(&whole[at..at + length]);
            }
            at += length;
        }
        assert!(bare.len() < whole.len());
        let (mut with, mut without) = (Picture::new(), Picture::new());
        with.decode_frame(&jpeg(whole).unwrap()).unwrap();
        without.decode_frame(&jpeg(bare).unwrap()).unwrap();
        assert_eq!(with.pixels(), without.pixels());
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = encode(&slopes(320, 240), 320, 240, ColorType::Rgb, |_| {});
        let mut picture = Picture::new();
        picture.decode_file(&whole).unwrap();
        for cut in [0, 1, 2, 20, whole.len() / 2, whole.len() - 200, whole.len() - 2, whole.len() - 1] {
            let error = picture.decode_file(&whole[..cut]).unwrap_err();
            assert_eq!(error.kind(), Kind::Input, "{cut} bytes: {error}");
            assert_eq!(picture.size(), (0, 0), "nothing of a damaged picture may be used");
        }
        // Half of a frame is no frame either.
        assert_eq!(
            picture.decode_frame(&jpeg(whole[..whole.len() / 2].to_vec()).unwrap()).unwrap_err().kind(),
            Kind::Input
        );
        let text = picture.decode_file(b"<html>504 Gateway Timeout</html>").unwrap_err().to_string();
        assert_eq!(text, "the picture is neither JPEG nor PNG");
        // A header that announces a hundred megapixels over the data of a small picture.
        let mut huge = whole.clone();
        let sof = huge.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        huge[sof + 5..sof + 9].copy_from_slice(&[0x27, 0x10, 0x27, 0x10]);
        let error = picture.decode_file(&huge).unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains("10000 x 10000"), "{error}");
        // 36 megapixels announced, far fewer there: refused before memory is taken for them.
        picture = Picture::new();
        huge[sof + 5..sof + 9].copy_from_slice(&[0x17, 0x70, 0x17, 0x70]);
        assert_eq!(picture.decode_file(&huge).unwrap_err().to_string(), "the JPEG is cut off");
        assert_eq!(picture.pixels.capacity(), 0);
    }

    #[test]
    fn memory_of_large_pictures_is_given_back() {
        let mut picture = Picture::new();
        picture.decode_file(&encode(&slopes(2000, 1500), 2000, 1500, ColorType::Rgb, |_| {})).unwrap();
        assert!(picture.pixels.capacity() >= 9_000_000);
        picture.shrink();
        assert_eq!((picture.pixels.capacity(), picture.size()), (0, (0, 0)));
    }

    #[test]
    fn any_flipped_byte_gives_a_picture_or_an_error() {
        let whole = encode(&slopes(48, 40), 48, 40, ColorType::Rgb, |_| {});
        let mut picture = Picture::new();
        let mut bytes = whole.clone();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                bytes[at] = whole[at] ^ flip;
                if let Err(error) = picture.decode_file(&bytes) {
                    assert_eq!(error.kind(), Kind::Input, "byte {at} by {flip:#x}: {error}");
                }
            }
            bytes[at] = whole[at];
        }
    }

    fn png(width: u32, height: u32, pixels: &[u8]) -> Vec<u8> {
        use image::ImageEncoder;
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(pixels, width, height, image::ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    #[test]
    fn png_and_png_bombs() {
        let pixels = slopes(30, 20);
        let file = png(30, 20, &pixels);
        let mut picture = Picture::new();
        picture.decode_file(&file).unwrap();
        assert_eq!((picture.pixels(), picture.size()), (&pixels[..], (30, 20)));
        for cut in [8, 16, 20, 30, file.len() / 2] {
            assert_eq!(picture.decode_file(&file[..cut]).unwrap_err().kind(), Kind::Input, "{cut} bytes");
        }
        // 8000 x 8000 zeros in some hundred kilobytes: refused by the size in the header.
        let bomb = png(8000, 8000, &vec![0; 8000 * 8000 * 3]);
        assert!(bomb.len() < 1_000_000, "{}", bomb.len());
        let error = picture.decode_file(&bomb).unwrap_err();
        assert!(error.to_string().contains("8000 x 8000 is too large"), "{error}");
    }

    #[test]
    fn exif_turns_the_picture_upright() {
        // Red upper left, green upper right, blue lower left, white lower right.
        let corner = |x: u32, y: u32| match (x < 32, y < 16) {
            (true, true) => [255, 0, 0],
            (false, true) => [0, 255, 0],
            (true, false) => [0, 0, 255],
            (false, false) => [255, 255, 255],
        };
        let pixels: Vec<u8> = (0..32).flat_map(|y| (0..64).flat_map(move |x| corner(x, y))).collect();
        let (red, green, blue, white) = ([254, 0, 0], [0, 255, 1], [0, 0, 254], [255, 255, 255]);
        // Where the four go: EXIF 2.32, tag 0x0112, "the 0th row is the visual …".
        for (orientation, corners) in [
            (1, [red, green, blue, white]),
            (2, [green, red, white, blue]),
            (3, [white, blue, green, red]),
            (4, [blue, white, red, green]),
            (5, [red, blue, green, white]),
            (6, [blue, red, white, green]),
            (7, [white, green, blue, red]),
            (8, [green, white, red, blue]),
        ] {
            let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
            exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
            let file = encode(&pixels, 64, 32, ColorType::Rgb, |encoder| {
                encoder.add_app_segment(1, exif.clone()).unwrap()
            });
            let mut picture = Picture::new();
            picture.decode_file(&file).unwrap();
            let (width, height) = picture.size();
            assert_eq!((width, height), if orientation < 5 { (64, 32) } else { (32, 64) }, "{orientation}");
            let places = [(4, 4), (width - 5, 4), (4, height - 5), (width - 5, height - 5)];
            for ((x, y), expected) in places.into_iter().zip(corners) {
                close(picture.pixel(x, y), expected);
            }
        }
    }

    const PLAIN: Normalisation = Normalisation { colour: Colour::Rgb, mean: [0.0; 3], scale: 1.0 };

    #[test]
    fn tensors_are_scaled_placed_and_ordered() {
        let picture = Picture::from_rgb(4, 2, (0..24).map(|value| value * 10).collect()).unwrap();
        let mut scaler = Scaler::new();
        let mut fill = |region, inner, canvas: (u32, u32), normalisation: &Normalisation| {
            let mut tensor = vec![7.0; (3 * canvas.0 * canvas.1) as usize];
            scaler.fill(&picture, region, inner, canvas, normalisation, &mut tensor).map(|()| tensor)
        };
        let whole = Region::whole(&picture);
        // Unscaled, into a larger canvas; the rest is 0.
        let tensor = fill(whole, (4, 2), (5, 3), &PLAIN).unwrap();
        assert_eq!(tensor[..15], [0., 30., 60., 90., 0., 120., 150., 180., 210., 0., 0., 0., 0., 0., 0.]);
        assert_eq!(tensor[30..34], [20., 50., 80., 110.]);
        // Half: means of four, as (0 + 30 + 120 + 150) / 4.
        assert_eq!(fill(whole, (2, 1), (2, 1), &PLAIN).unwrap(), [75., 135., 85., 145., 95., 155.]);
        // Blue first, mean and scale of each plane.
        let normalisation = Normalisation { colour: Colour::Bgr, mean: [20.0, 10.0, 0.0], scale: 0.5 };
        let corner = Region { x: 3, y: 1, width: 1, height: 1 };
        assert_eq!(fill(corner, (1, 1), (1, 1), &normalisation).unwrap(), [105., 105., 105.]);
        // Twice as large: bilinear between 0 and 30 of the first line, pixel centres at half steps.
        let tensor = fill(Region { height: 1, ..whole }, (8, 1), (8, 1), &PLAIN).unwrap();
        for (value, expected) in tensor.iter().zip([0.0, 7.5, 22.5, 37.5, 52.5, 67.5, 82.5, 90.0]) {
            assert!((value - expected).abs() <= 1.0, "{tensor:?}");
        }
        assert_eq!(fill(Region { x: 1, ..whole }, (4, 2), (4, 2), &PLAIN).unwrap_err().kind(), Kind::Input);
        assert_eq!(
            fill(Region { width: 0, ..whole }, (4, 2), (4, 2), &PLAIN).unwrap_err().kind(),
            Kind::Input
        );
        assert_eq!(fill(whole, (5, 2), (4, 2), &PLAIN).unwrap_err().kind(), Kind::Model);
    }

    #[test]
    fn regions_stay_inside() {
        let picture = Picture::from_rgb(100, 50, vec![0; 15_000]).unwrap();
        let rect = |left: f32, top: f32, right: f32, bottom: f32| Rect { left, top, right, bottom };
        let square = |rect, factor| Region::square_around(&rect, factor, &picture);
        let region = |x, y, width, height| Some(Region { x, y, width, height });
        assert_eq!(square(rect(40.0, 20.0, 50.0, 30.0), 2.0), region(35, 15, 20, 20));
        assert_eq!(square(rect(0.0, 0.0, 10.0, 8.0), 2.0), region(0, 0, 20, 20));
        assert_eq!(square(rect(90.0, 40.0, 130.0, 80.0), 1.0), region(60, 10, 40, 40));
        assert_eq!(square(rect(0.0, 0.0, 500.0, 500.0), 3.0), region(50, 0, 50, 50));
        assert_eq!(square(rect(f32::NAN, 0.0, 1.0, 1.0), 3.0), None);
        assert_eq!(square(rect(0.0, 0.0, f32::INFINITY, 1.0), 3.0), None);
        assert_eq!(square(rect(5.0, 5.0, 5.0, 5.0), 3.0), None);
        assert_eq!(Region::around(&rect(40.0, 20.0, 50.0, 30.0), 2.0, &picture), region(35, 15, 20, 20));
        // As large as the picture lets it become, in its own shape.
        assert_eq!(Region::around(&rect(40.0, 10.0, 60.0, 35.0), 4.0, &picture), region(30, 0, 40, 50));
        assert_eq!(Region::around(&rect(5.0, 5.0, 5.0, 9.0), 2.0, &picture), None);
    }
}
