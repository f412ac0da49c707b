//! The holder's face in DG2 (ICAO 9303 part 10 section 4.7.2): biometric templates in CBEFF, within them a record of ISO 19794-5
//! or ISO 39794-5, within that a JPEG or a JPEG 2000.

use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use hayro_jpeg2000::{ColorSpace, DecodeSettings, Image};
use jpeg_encoder::{ColorType, Encoder};

use super::signature::unknown;
use super::tlv::{Objects, malformed, value};
use crate::error::{Context as _, Error, Kind, Result};
use crate::frame::check_size;
use crate::vision::picture::Picture;

/// JPEG quality of photos that the chip holds in JPEG 2000: they are small, and are compared.
const QUALITY: u8 = 95;

/// How long decoding a photo may take: of a JPEG 2000, some tenths of a second are usual on a gate.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest photo: four times the pixels of the largest known.
const MOST_PIXELS: u32 = 4 << 20;

/// The most tiles and quality layers of a JPEG 2000; documents have one tile and a few layers.
const MOST_TILES: u64 = 64;
const MOST_LAYERS: u16 = 64;

/// How deep and how far a record of ISO 39794-5 is looked through.
const DEEPEST: usize = 16;
const MOST_OBJECTS: usize = 512;

const JPEG: &[u8] = &[0xff, 0xd8, 0xff];
const JP2: &[u8] = &[0, 0, 0, 0x0c, b'j', b'P', b' ', b' '];
const CODESTREAM: &[u8] = &[0xff, 0x4f, 0xff, 0x51];

/// The picture in a whole DG2, as the chip holds it: a JPEG or a JPEG 2000.
///
/// # Errors
/// `Device`: it is malformed, or holds another kind of picture.
pub fn picture(file: &[u8]) -> Result<&[u8]> {
    let mut group = Objects::new(value(value(file, 0x75)?, 0x7f61)?);
    group.expect(2)?;
    // Where there are several, the first is the one to compare with.
    let mut template = Objects::new(group.expect(0x7f60)?.value);
    template.take_if(0xa1)?;
    let block = template.take()?.ok_or_else(|| malformed("DG2 holds no face"))?;
    if !matches!(block.tag, 0x5f2e | 0x7f2e) {
        return Err(malformed(format!("object {:02X} stands where the face must stand", block.tag)));
    }
    let picture = match block.value {
        [b'F', b'A', b'C', 0, record @ ..] => iso_19794(record)?,
        record => iso_39794(record)?,
    };
    if is_picture(picture) { Ok(picture) } else { Err(unknown("a photo that is neither JPEG nor JPEG 2000")) }
}

fn is_picture(bytes: &[u8]) -> bool {
    [JPEG, JP2, CODESTREAM].iter().any(|begin| bytes.starts_with(begin))
}

/// The picture of a record of ISO 19794-5 behind its first word.
fn iso_19794(record: &[u8]) -> Result<&[u8]> {
    let cut = || malformed("the record of the face is cut off");
    // Version, length and number of faces; then of the first face its length and how many feature points it has.
    let (_, rest) = record.split_at_checked(4 + 4 + 2).ok_or_else(cut)?;
    let (head, _) = rest.split_at_checked(20).ok_or_else(cut)?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let points = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let face = rest.get(..length).ok_or_else(cut)?;
    // Eight bytes for each point, twelve that describe the picture.
    face.get(20 + 8 * points + 12..).ok_or_else(cut)
}

/// The first picture among the objects of a record of ISO 39794-5, which is written in DER.
fn iso_39794(record: &[u8]) -> Result<&[u8]> {
    let mut open = vec![Objects::new(record)];
    for _ in 0..MOST_OBJECTS {
        let Some(objects) = open.last_mut() else { break };
        match objects.take()? {
            None => drop(open.pop()),
            Some(object) => {
                let first = object.whole[0];
                if first & 0x20 != 0 {
                    if open.len() >= DEEPEST {
                        return Err(malformed("the record of the face is too deep"));
                    }
                    open.push(Objects::new(object.value));
                } else if is_picture(object.value) {
                    return Ok(object.value);
                }
            }
        }
    }
    Err(unknown("a record of the face that is neither ISO 19794-5 nor ISO 39794-5"))
}

/// The picture as a whole JPEG: a JPEG stays as it is, a JPEG 2000 is decoded and written anew.
///
/// # Errors
/// `Device`: it is damaged or larger than photos are. `Timeout`, `Busy`: decoding it takes too long, or another's still does.
pub fn jpeg(picture: &[u8]) -> Result<Vec<u8>> {
    within(&DECODING, PATIENCE, picture.to_vec(), |picture| {
        if !picture.starts_with(JPEG) {
            return jpeg2000(&picture);
        }
        let mut decoded = Picture::default();
        decoded.decode_file(&picture).context_as(Kind::Device, || "the chip's photo is damaged")?;
        // Some chips pad it.
        Ok(picture)
    })
}

/// Whether something is being decoded; what takes too long goes on by itself, and nothing else begins until it ends.
struct Decoding {
    busy: Mutex<bool>,
    done: Condvar,
}

impl Decoding {
    const fn new() -> Self {
        Self { busy: Mutex::new(false), done: Condvar::new() }
    }
}

/// That of all chips: one at a time.
static DECODING: Decoding = Decoding::new();

/// Carries work out on a thread of its own, and waits so long for it. A picture may be made such that decoding it takes
/// hours, and a decoder may have a flaw: the reader goes on in any case.
fn within<T: Send + 'static>(
    decoding: &'static Decoding,
    patience: Duration,
    input: Vec<u8>,
    work: impl FnOnce(Vec<u8>) -> Result<T> + Send + 'static,
) -> Result<T> {
    struct Done(&'static Decoding);
    impl Drop for Done {
        fn drop(&mut self) {
            *self.0.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
            self.0.done.notify_one();
        }
    }
    let busy = decoding.busy.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = decoding.done.wait_timeout_while(busy, patience, |busy| *busy);
    let (mut busy, _) = waited.unwrap_or_else(PoisonError::into_inner);
    if *busy {
        return Err(Error::new(Kind::Busy, "an earlier photo is still being decoded"));
    }
    *busy = true;
    drop(busy);
    let done = Done(decoding);
    let (tell, told) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("chip-photo".into()).spawn(move || {
        let _done = done;
        // A panic drops the sender and ends the wait; what was being decoded is of no use to anybody.
        let _ = tell.send(work(input));
    });
    thread.context(|| "the thread that decodes photos cannot be started")?;
    match told.recv_timeout(patience) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(Error::new(Kind::Timeout, "the chip's photo takes too long to decode"))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(damaged("the decoder gave up")),
    }
}

fn damaged(why: impl std::fmt::Display) -> Error {
    Error::new(Kind::Device, format!("the chip's photo in JPEG 2000 cannot be decoded: {why}"))
}

/// Decodes a JPEG 2000 and writes it as a JPEG.
pub fn jpeg2000(picture: &[u8]) -> Result<Vec<u8>> {
    check(picture)?;
    let image = Image::new(picture, &DecodeSettings::default()).map_err(damaged)?;
    let (width, height) = (image.width(), image.height());
    check_pixels(width, height)?;
    let channels = usize::from(image.color_space().num_channels()) + usize::from(image.has_alpha());
    let colour = match image.color_space() {
        ColorSpace::Gray => ColorType::Luma,
        ColorSpace::RGB => ColorType::Rgb,
        // Of other spaces the profile would be needed; the faces of documents are sRGB or grey.
        _ if channels == 3 => ColorType::Rgb,
        _ if channels == 1 => ColorType::Luma,
        other => return Err(damaged(format_args!("its colours are {}", name(other)))),
    };
    let pixels = image.decode().map_err(damaged)?;
    let kept = if colour == ColorType::Luma { 1 } else { 3 };
    let pixels: Vec<u8> = if channels == kept {
        pixels
    } else {
        pixels.chunks_exact(channels).flat_map(|pixel| &pixel[..kept]).copied().collect()
    };
    let (Ok(width), Ok(height)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(damaged("it is too large"));
    };
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, QUALITY)
        .encode(&pixels, width, height, colour)
        .map_err(|error| Error::caused(Kind::Device, "the chip's photo cannot be written as JPEG", error))?;
    Ok(jpeg)
}

fn name(space: &ColorSpace) -> &'static str {
    match space {
        ColorSpace::CMYK => "CMYK",
        ColorSpace::Icc { .. } => "those of a profile",
        _ => "not known",
    }
}

fn check_pixels(width: u32, height: u32) -> Result<()> {
    check_size(width, height).context_as(Kind::Device, || "the chip's photo")?;
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(damaged(format_args!("{width} x {height} pixels are more than four million")));
    }
    Ok(())
}

/// Looks at the head of the code stream (ISO 15444-1 annex A.5 and A.6): what it asks for must be within bounds before a
/// decoder takes memory and time for it.
fn check(picture: &[u8]) -> Result<()> {
    let cut = || damaged("its head is cut off");
    let start = picture.windows(4).position(|window| window == CODESTREAM).ok_or_else(cut)?;
    // A decoy before the real one would be seen here and not by the decoder; a head cannot stand within data.
    if picture[start + 4..].windows(4).any(|window| window == CODESTREAM) {
        return Err(damaged("it has two heads"));
    }
    let mut rest = &picture[start + 2..];
    let mut sized = false;
    loop {
        let (&[high, kind], after) = rest.split_first_chunk().ok_or_else(cut)?;
        // The first tile ends the head.
        if (high, kind) == (0xff, 0x90) {
            break;
        }
        let (&length, _) = after.split_first_chunk().ok_or_else(cut)?;
        let length = usize::from(u16::from_be_bytes(length));
        let segment = after.get(2..length).ok_or_else(cut)?;
        rest = &after[length..];
        match (high, kind) {
            (0xff, 0x51) => {
                let number = |at: usize| -> Result<u32> {
                    let bytes = segment.get(2 + 4 * at..6 + 4 * at).ok_or_else(cut)?;
                    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                };
                let (right, bottom, left, top) = (number(0)?, number(1)?, number(2)?, number(3)?);
                let (tile_width, tile_height) = (number(4)?, number(5)?);
                if right <= left || bottom <= top || tile_width == 0 || tile_height == 0 {
                    return Err(damaged("it is empty"));
                }
                check_pixels(right - left, bottom - top)?;
                let tiles = u64::from(right.div_ceil(tile_width)) * u64::from(bottom.div_ceil(tile_height));
                let components = segment.get(34..36).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
                if tiles > MOST_TILES || !matches!(components, Some(1..=4)) {
                    return Err(damaged("it has more tiles or channels than photos have"));
                }
                sized = true;
            }
            (0xff, 0x52) => {
                let layers = segment.get(2..4).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
                if !matches!(layers, Some(1..=MOST_LAYERS)) {
                    return Err(damaged("it has more layers than photos have"));
                }
            }
            (0xff, _) => {}
            _ => return Err(damaged("its head is no head")),
        }
    }
    if sized { Ok(()) } else { Err(cut()) }
}

#[cfg(test)]
mod tests {
    use super::super::tlv::object;
    use super::*;
    use proptest::prelude::*;

    /// 24 x 32 pixels, red at the left, green at the right, made with Pillow (OpenJPEG), without loss; `_grey` the same in grey,
    /// `_stream` without the boxes around.
    const COLOUR: &[u8] = include_bytes!("face/colour.jp2");
    const GREY: &[u8] = include_bytes!("face/grey.jp2");
    const STREAM: &[u8] = include_bytes!("face/stream.j2k");

    fn dg2(picture: &[u8]) -> Vec<u8> {
        let points = [0; 8];
        let length = (20 + 8 + 12 + picture.len()) as u32;
        let face = [&length.to_be_bytes()[..], &[0, 1], &[0; 14], &points, &[0; 12], picture].concat();
        let head = [&b"FAC\x00010\x00"[..], &(14 + length).to_be_bytes(), &[0, 1]].concat();
        let template = [object(0xa1, &[&object(0x81, &[&[2]])]), object(0x5f2e, &[&head, &face])].concat();
        object(0x75, &[&object(0x7f61, &[&object(2, &[&[1]]), &object(0x7f60, &[&template])])])
    }

    #[test]
    fn the_face_is_found_in_its_records() {
        assert_eq!(picture(&dg2(COLOUR)).unwrap(), COLOUR);
        assert_eq!(picture(&dg2(STREAM)).unwrap(), STREAM);
        assert!(picture(&dg2(b"GIF89a")).unwrap_err().to_string().contains("neither JPEG"));
        let newer = object(0xa1, &[&object(0x80, &[&[3]]), &object(0xa2, &[&object(0x81, &[GREY])])]);
        let template = [object(0xa1, &[]), object(0x7f2e, &[&newer])].concat();
        let file = object(0x75, &[&object(0x7f61, &[&object(2, &[&[1]]), &object(0x7f60, &[&template])])]);
        assert_eq!(picture(&file).unwrap(), GREY);
        let whole = dg2(COLOUR);
        for cut in [10, 30, 60, whole.len() - 1] {
            assert!(picture(&whole[..cut]).is_err());
        }
    }

    /// Mean of red, green and blue of a part of the columns.
    fn mean(picture: &Picture, columns: std::ops::Range<u32>) -> [u32; 3] {
        let mut sum = [0; 3];
        let (_, height) = picture.size();
        for x in columns.clone() {
            for y in 0..height {
                let pixel = picture.pixel(x, y);
                for (sum, part) in sum.iter_mut().zip(pixel) {
                    *sum += u32::from(part);
                }
            }
        }
        sum.map(|sum| sum / (columns.len() as u32 * height))
    }

    #[test]
    fn jpeg_2000_is_decoded_in_its_colours() {
        for file in [COLOUR, STREAM] {
            let mut decoded = Picture::default();
            decoded.decode_file(&jpeg(file).unwrap()).unwrap();
            assert_eq!(decoded.size(), (24, 32));
            let ([red, green, blue], [red2, green2, blue2]) = (mean(&decoded, 0..10), mean(&decoded, 14..24));
            assert!(red > 190 && green < 40 && blue < 40, "{red} {green} {blue}");
            assert!(red2 < 40 && green2 > 170 && blue2 < 40, "{red2} {green2} {blue2}");
        }
        let mut decoded = Picture::default();
        decoded.decode_file(&jpeg(GREY).unwrap()).unwrap();
        // Luminance of (200, 10, 10) and (10, 180, 10) by BT.601.
        assert!(mean(&decoded, 0..10)[0].abs_diff(67) < 6 && mean(&decoded, 14..24)[0].abs_diff(110) < 6);
    }

    #[test]
    fn a_jpeg_stays_as_it_is() {
        let mut bytes = Vec::new();
        Encoder::new(&mut bytes, 80).encode(&[90; 16 * 16], 16, 16, ColorType::Luma).unwrap();
        assert_eq!(jpeg(&bytes).unwrap(), bytes);
        assert!(jpeg(&bytes[..bytes.len() / 2]).is_err());
    }

    #[test]
    fn what_never_ends_is_left_alone() {
        // Its own: that of all chips has others' photos in it.
        static GATE: Decoding = Decoding::new();
        let (release, wait) = mpsc::channel::<()>();
        let slow = move |_| {
            let _ = wait.recv();
            Ok(())
        };
        let error = within(&GATE, Duration::from_millis(1), Vec::new(), slow).unwrap_err();
        assert_eq!(error.kind(), Kind::Timeout);
        let error = within(&GATE, Duration::from_millis(1), Vec::new(), |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), Kind::Busy);
        drop(release);
        within(&GATE, PATIENCE, Vec::new(), |_| Ok(())).unwrap();
        let error = within::<()>(&GATE, PATIENCE, Vec::new(), |_| panic!("a flaw")).unwrap_err();
        assert!(error.to_string().contains("gave up"), "{error}");
        within(&GATE, PATIENCE, Vec::new(), |_| Ok(())).unwrap();
    }

    #[test]
    fn what_asks_for_too_much_is_refused() {
        let at = STREAM.windows(2).position(|pair| pair == [0xff, 0x51]).unwrap() + 4;
        for (from, bytes, what) in [
            (at + 2, &[0xff, 0xff, 0xff, 0xff][..], "photo"),
            (at + 18, &[0, 0, 0, 1, 0, 0, 0, 1], "more tiles"),
            (at + 18, &[0, 0, 0, 0], "empty"),
            (at + 34, &[0x40, 0], "channels"),
        ] {
            let mut wrong = STREAM.to_vec();
            wrong[from..from + bytes.len()].copy_from_slice(bytes);
            let error = jpeg2000(&wrong).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        let mut wrong = STREAM.to_vec();
        let at = wrong.windows(2).position(|pair| pair == [0xff, 0x52]).unwrap() + 4;
        wrong[at + 2] = 0xff;
        assert!(jpeg2000(&wrong).unwrap_err().to_string().contains("layers"));
        assert!(jpeg2000(&[STREAM, STREAM].concat()).unwrap_err().to_string().contains("two heads"));
        for cut in 4..90 {
            assert!(jpeg2000(&STREAM[..cut]).is_err());
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = picture(&bytes);
            let _ = iso_19794(&bytes);
            let _ = iso_39794(&bytes);
            let _ = check(&[CODESTREAM, &bytes].concat());
        }

        #[test]
        fn a_damaged_photo_is_decoded_or_refused(
            file in prop::sample::select(vec![COLOUR, GREY, STREAM]),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = file.to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(jpeg) = jpeg(&bytes) {
                Picture::default().decode_file(&jpeg).unwrap();
            }
        }
    }
}
