//! What a camera offers, and which of it is taken. Pure: the kernel is asked elsewhere.

use std::fmt;

use serde::Serialize;

use super::kernel::{FrameInterval, FrameSize};
use crate::config::{self, CameraFormat, CameraRole};
use crate::error::{Error, Kind, Result};
use crate::frame::{MAX_SIDE, PixelFormat, check_size};

/// Four characters that name a way to keep pixels (`v4l2_fourcc`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FourCc(pub u32);

impl FourCc {
    const fn of(name: &[u8; 4]) -> Self {
        Self(u32::from_le_bytes(*name))
    }

    const MJPEG: Self = Self::of(b"MJPG");
    const JPEG: Self = Self::of(b"JPEG");
    const YUYV: Self = Self::of(b"YUYV");
    const NV12: Self = Self::of(b"NV12");
    /// NV12 with its two planes in two pieces of memory.
    const NV12_PLANES: Self = Self::of(b"NM12");
    const GREY: Self = Self::of(b"GREY");

    /// As what a frame of it is read; `None` if it is not.
    pub fn pixels(self) -> Option<PixelFormat> {
        match self {
            Self::MJPEG | Self::JPEG => Some(PixelFormat::Jpeg),
            Self::YUYV => Some(PixelFormat::Yuyv),
            Self::NV12 | Self::NV12_PLANES => Some(PixelFormat::Nv12),
            Self::GREY => Some(PixelFormat::Grey),
            _ => None,
        }
    }
}

impl fmt::Display for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_le_bytes();
        // The highest bit stands for big-endian.
        let name = bytes.map(|byte| byte & 0x7f);
        if name.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            f.write_str(std::str::from_utf8(&name).unwrap_or_default().trim_end())?;
            if bytes[3] & 0x80 == 0 { Ok(()) } else { f.write_str("-BE") }
        } else {
            write!(f, "{:#010x}", self.0)
        }
    }
}

impl fmt::Debug for FourCc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for FourCc {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The time of one frame, as a fraction of a second; neither part is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its numerator.
    pub numerator: u32,
    /// Its denominator.
    pub denominator: u32,
}

impl Interval {
    /// From what the kernel says; `None` if that is no time.
    pub(super) fn of([numerator, denominator]: [u32; 2]) -> Option<Self> {
        (numerator != 0 && denominator != 0).then_some(Self { numerator, denominator })
    }

    /// Frames a second.
    pub fn fps(self) -> f64 {
        f64::from(self.denominator) / f64::from(self.numerator)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = (self.fps() * 100.0).round() / 100.0;
        write!(f, "{hundredths}")
    }
}

/// Rates between two bounds; one rate where they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// The least time of a frame.
    pub fastest: Interval,
    /// The longest.
    pub slowest: Interval,
}

impl Rates {
    /// From what the kernel says of one interval; `None` if that is none.
    pub(super) fn of(said: &FrameInterval) -> Option<Self> {
        let [a, b, c, d, ..] = said.values;
        let fastest = Interval::of([a, b])?;
        let slowest = if said.shape == 1 { fastest } else { Interval::of([c, d])? };
        let (fastest, slowest) =
            if fastest.fps() < slowest.fps() { (slowest, fastest) } else { (fastest, slowest) };
        Some(Self { fastest, slowest })
    }

    /// The rate nearest to `fps` in here.
    fn nearest(self, fps: u32) -> Interval {
        let wanted = f64::from(fps);
        if wanted >= self.fastest.fps() {
            self.fastest
        } else if wanted <= self.slowest.fps() {
            self.slowest
        } else {
            Interval { numerator: 1, denominator: fps }
        }
    }
}

impl Serialize for Rates {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.slowest.fps(), self.fastest.fps()].serialize(serializer)
    }
}

/// Sizes between two bounds in steps; one size where they are the same. In pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Least width and height.
    pub least: (u32, u32),
    /// Largest width and height.
    pub largest: (u32, u32),
    /// Steps of width and height, at least 1.
    pub step: (u32, u32),
    /// Rates as [slowest, fastest] in frames a second, those of the largest size; none if the driver does not say.
    pub rates: Vec<Rates>,
}

impl Sizes {
    /// From what the kernel says of one entry; `None` if that is no size, or one that is too large for any frame.
    pub(super) fn of(said: &FrameSize) -> Option<Self> {
        let [a, b, c, d, e, f] = said.values;
        let (least, mut largest, step) = match said.shape {
            1 => ((a, b), (a, b), (1, 1)),
            _ => ((a.max(1), d.max(1)), (b, e), (c.max(1), f.max(1))),
        };
        // Drivers that scale announce what no sensor has.
        if said.shape != 1 {
            largest = (largest.0.min(MAX_SIDE), largest.1.min(MAX_SIDE));
        }
        let sound = largest.0 >= least.0 && largest.1 >= least.1 && check_size(least.0, least.1).is_ok();
        sound.then_some(Self { least, largest, step, rates: Vec::new() })
    }

    /// The size nearest to `wanted` in here.
    fn nearest(&self, wanted: (u32, u32)) -> (u32, u32) {
        let fit = |wanted: u32, least: u32, largest: u32, step: u32| {
            let wanted = wanted.clamp(least, largest);
            // Upwards if that is nearer and still within.
            let steps = (wanted - least + step / 2) / step;
            least + steps.min((largest - least) / step) * step
        };
        (
            fit(wanted.0, self.least.0, self.largest.0, self.step.0),
            fit(wanted.1, self.least.1, self.largest.1, self.step.1),
        )
    }

    /// The rate nearest to `fps`: the slowest that reaches it, else the fastest.
    fn rate(&self, fps: u32) -> Option<Interval> {
        self.rates.iter().map(|rates| rates.nearest(fps)).min_by(|a, b| {
            let rank =
                |interval: &Interval| (too_slow(*interval, fps), (interval.fps() - f64::from(fps)).abs());
            rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal)
        })
    }
}

/// Whether a rate does not reach `fps`, within what 29.97 lacks of 30.
fn too_slow(interval: Interval, fps: u32) -> bool {
    interval.fps() < f64::from(fps) * 0.98
}

/// One way in which a camera delivers pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Its name.
    pub fourcc: FourCc,
    /// What the driver calls it.
    pub description: String,
    /// Whether this agent can read it.
    pub usable: bool,
    /// Sizes; none if the driver does not say, or if it is not usable.
    pub sizes: Vec<Sizes>,
}

/// What is asked of a camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Width in pixels, 0 for the best.
    pub width: u32,
    /// Height in pixels, 0 for the best.
    pub height: u32,
    /// Frames a second.
    pub fps: u32,
    /// Which format.
    pub format: CameraFormat,
    /// What it looks at.
    pub role: CameraRole,
}

impl Wanted {
    /// As the configuration has it.
    pub fn of(camera: &config::Camera) -> Self {
        let config::Camera { width, height, fps, format, role, .. } = *camera;
        Self { width, height, fps, format, role }
    }

    /// The size to come near to: what is configured, else what suits the role. A face at three metres is 55 pixels
    /// wide at 1280, and what is beyond costs time on every frame; a document has small print.
    fn size(&self) -> (u32, u32) {
        let best = match self.role {
            CameraRole::Visible | CameraRole::Infrared => (1280, 720),
            CameraRole::Document => (3840, 2880),
        };
        match (self.width, self.height) {
            (0, 0) => best,
            (width, 0) => (width, side(width, best.1, best.0)),
            (0, height) => (side(height, best.0, best.1), height),
            size => size,
        }
    }

    /// How much a format is liked, the least the most; `None` if it is not wanted.
    fn rank(&self, fourcc: FourCc) -> Option<u8> {
        let pixels = fourcc.pixels()?;
        let chosen = match self.format {
            CameraFormat::Auto => true,
            CameraFormat::Mjpeg => pixels == PixelFormat::Jpeg,
            CameraFormat::Yuyv => pixels == PixelFormat::Yuyv,
            CameraFormat::Nv12 => pixels == PixelFormat::Nv12,
            CameraFormat::Grey => pixels == PixelFormat::Grey,
        };
        if !chosen {
            return None;
        }
        // Not compressed costs the least to read and has no marks of compression in it; grey has no colour, which
        // the models want and infrared does not have anyway. NV12 in one piece before two: one copy.
        let rank = match fourcc {
            FourCc::NV12 => 1,
            FourCc::NV12_PLANES => 2,
            FourCc::YUYV => 3,
            FourCc::MJPEG => 4,
            FourCc::JPEG => 5,
            _ => 6,
        };
        Some(if self.role == CameraRole::Infrared && fourcc == FourCc::GREY { 0 } else { rank })
    }
}

fn side(given: u32, times: u32, over: u32) -> u32 {
    u32::try_from(u64::from(given) * u64::from(times) / u64::from(over)).unwrap_or(MAX_SIDE)
}

/// What is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Format.
    pub fourcc: FourCc,
    /// Width and height in pixels. What the driver makes of it is asked back.
    pub size: (u32, u32),
    /// Rate; `None` if the driver does not say which it has: the wanted one is tried.
    pub rate: Option<Interval>,
}

/// Below this number of pixels a face is too small to be known, whatever the rate.
const LEAST_PIXELS: u64 = 640 * 480;

/// Chooses among what a camera offers, in this order:
///
/// 1. the format, if the configuration names one;
/// 2. the size nearest to the configured one, if it names one;
/// 3. at least 640 x 480;
/// 4. a rate that reaches `fps`;
/// 5. the most pixels up to 1280 x 720 (documents: 3840 x 2880), else the fewest above;
/// 6. the rate nearest to `fps`;
/// 7. NV12, YUYV, MJPEG, grey, in this order; infrared: grey first.
///
/// `Device` if nothing is usable, with what there is.
pub fn choose(offers: &[Offer], wanted: &Wanted) -> Result<Choice> {
    let target = wanted.size();
    let target_pixels = pixels(target);
    let configured = wanted.width != 0 || wanted.height != 0;
    // In the order above, the least the best.
    type Rank = (u64, bool, bool, bool, u64, u64, u8);
    let mut best: Option<(Rank, Choice)> = None;
    for offer in offers {
        let Some(liked) = wanted.rank(offer.fourcc) else { continue };
        // A driver that does not say is asked for what is wanted.
        let unknown = [Sizes { least: target, largest: target, step: (1, 1), rates: Vec::new() }];
        let sizes = if offer.sizes.is_empty() { &unknown[..] } else { &offer.sizes };
        for sizes in sizes {
            let size = sizes.nearest(target);
            if check_size(size.0, size.1).is_err() {
                continue;
            }
            let rate = sizes.rate(wanted.fps);
            let area = pixels(size);
            let off = match (wanted.width, wanted.height) {
                (0, 0) => 0,
                (width, 0) => u64::from(size.0.abs_diff(width)),
                (0, height) => u64::from(size.1.abs_diff(height)),
                (width, height) => u64::from(size.0.abs_diff(width)) + u64::from(size.1.abs_diff(height)),
            };
            let excess = rate.map_or(0.0, |rate| (rate.fps() - f64::from(wanted.fps)).abs() * 100.0);
            let key = (
                off,
                !configured && area < LEAST_PIXELS,
                rate.is_some_and(|rate| too_slow(rate, wanted.fps)),
                area > target_pixels,
                area.abs_diff(target_pixels),
                excess as u64,
                liked,
            );
            if best.as_ref().is_none_or(|(least, _)| key < *least) {
                best = Some((key, Choice { fourcc: offer.fourcc, size, rate }));
            }
        }
    }
    best.map(|(_, choice)| choice).ok_or_else(|| {
        let names: Vec<_> = offers.iter().map(|offer| offer.fourcc.to_string()).collect();
        let there = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let advice = match wanted.format {
            CameraFormat::Auto => {
                "this agent reads MJPG, JPEG, YUYV, NV12, NM12 and GREY: use another node or camera"
            }
            _ => "choose one of them as camera.format, or \"auto\"",
        };
        Error::new(Kind::Device, format!("it delivers {there}, which is not what is wanted: {advice}"))
    })
}

fn pixels((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
}

/// What the driver has agreed to deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Agreed {
    /// How its pixels are read.
    pub pixels: PixelFormat,
    /// Its name.
    pub fourcc: FourCc,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from one line to the next of each plane; 0 for JPEG.
    pub strides: [usize; 2],
    /// Pieces of memory that a picture is in: 1, or 2.
    pub planes: usize,
}

/// What the kernel says of the format that it has set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub fourcc: u32,
    pub width: u32,
    pub height: u32,
    pub field: u32,
    /// Pieces of memory, and bytes from one line to the next in the first two of them.
    pub planes: usize,
    pub strides: [u32; 2],
}

impl Agreed {
    /// Checks what the kernel says: a driver may have a fault, and memory is read by these numbers.
    pub(super) fn check(said: &Said) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(Kind::Device, format!("its driver answers {what}: try another camera.format or size"))
        };
        let fourcc = FourCc(said.fourcc);
        let pixels = fourcc.pixels().ok_or_else(|| wrong(format!("with the format {fourcc}")))?;
        let (width, height) = (said.width, said.height);
        check_size(width, height).map_err(|error| wrong(format!("with {}", error.message())))?;
        // V4L2_FIELD_TOP, BOTTOM, SEQ_TB, SEQ_BT, ALTERNATE: half pictures, or two of them one below the other.
        if [2, 3, 5, 6, 7].contains(&said.field) {
            return Err(wrong("with interlaced half pictures".into()));
        }
        let planes = if fourcc == FourCc::NV12_PLANES { 2 } else { 1 };
        if said.planes != planes {
            return Err(wrong(format!("with {} planes for {fourcc}, which has {planes}", said.planes)));
        }
        let least = match pixels {
            PixelFormat::Jpeg => 0,
            PixelFormat::Yuyv => width as usize * 2,
            PixelFormat::Nv12 | PixelFormat::Grey => width as usize,
            PixelFormat::Rgb => width as usize * 3,
        };
        let mut strides = [0; 2];
        for (stride, said) in strides.iter_mut().zip(said.strides).take(planes) {
            *stride = match said as usize {
                // Not said; for JPEG it means nothing.
                _ if pixels == PixelFormat::Jpeg => 0,
                0 => least,
                said if said < least || said > 16 * MAX_SIDE as usize => {
                    return Err(wrong(format!("with {said} bytes a line for {width} pixels of {fourcc}")));
                }
                said => said,
            };
        }
        let even = match pixels {
            PixelFormat::Yuyv => width.is_multiple_of(2),
            PixelFormat::Nv12 => width.is_multiple_of(2) && height.is_multiple_of(2),
            _ => true,
        };
        if !even {
            return Err(wrong(format!("with {width} x {height}, which {fourcc} cannot have")));
        }
        Ok(Self { pixels, fourcc, width, height, strides, planes })
    }

    /// Bytes of picture that each plane must have; 0 for JPEG, whose length is told with each frame.
    pub(super) fn plane_bytes(&self) -> [usize; 2] {
        let height = self.height as usize;
        match (self.pixels, self.planes) {
            (PixelFormat::Jpeg, _) => [0, 0],
            (PixelFormat::Nv12, 1) => [self.strides[0] * (height + height / 2), 0],
            (PixelFormat::Nv12, _) => [self.strides[0] * height, self.strides[1] * (height / 2)],
            _ => [self.strides[0] * height, 0],
        }
    }
}

/// What the kernel says of one plane of a filled buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filled {
    /// Where the picture begins.
    pub offset: usize,
    /// Where it ends: the bytes before it are counted in.
    pub used: usize,
    /// Bytes of memory that are mapped.
    pub mapped: usize,
}

impl Filled {
    /// The bytes to copy, as where they begin and how many they are. `Input` if what the kernel says cannot be.
    pub(super) fn part(&self, needed: usize) -> Result<(usize, usize)> {
        let damaged = |what: String| Error::new(Kind::Input, format!("a frame is damaged: {what}"));
        let Self { offset, used, mapped } = *self;
        if used > mapped {
            return Err(damaged(format!("{used} bytes in a buffer of {mapped}")));
        }
        let length = used.saturating_sub(offset);
        if length == 0 {
            return Err(damaged("it is empty".into()));
        }
        if length < needed {
            return Err(damaged(format!("{length} bytes of {needed}")));
        }
        // What is behind the picture is padding.
        Ok((offset, if needed == 0 { length } else { needed }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kernel::Plain as _;
    use super::*;

    fn size_entry(shape: u32, values: [u32; 6]) -> Option<Sizes> {
        let mut said = FrameSize::zeroed();
        (said.shape, said.values) = (shape, values);
        Sizes::of(&said)
    }

    fn interval_entry(shape: u32, values: [u32; 6]) -> Option<Rates> {
        let mut said = FrameInterval::zeroed();
        (said.shape, said.values) = (shape, values);
        Rates::of(&said)
    }

    fn rates(fps: &[u32]) -> Vec<Rates> {
        fps.iter().map(|fps| interval_entry(1, [1, *fps, 0, 0, 0, 0]).unwrap()).collect()
    }

    fn discrete(width: u32, height: u32, fps: &[u32]) -> Sizes {
        Sizes { rates: rates(fps), ..size_entry(1, [width, height, 0, 0, 0, 0]).unwrap() }
    }

    fn offer(name: &[u8; 4], sizes: Vec<Sizes>) -> Offer {
        let fourcc = FourCc::of(name);
        Offer { fourcc, description: String::new(), usable: fourcc.pixels().is_some(), sizes }
    }

    /// A UVC camera as most are: what is not compressed is slow, as USB 2 carries no more.
    fn webcam() -> Vec<Offer> {
        vec![
            offer(
                b"YUYV",
                vec![
                    discrete(640, 480, &[30, 15]),
                    discrete(320, 240, &[30]),
                    discrete(1280, 720, &[10, 5]),
                    discrete(1920, 1080, &[5]),
                ],
            ),
            offer(
                b"MJPG",
                vec![discrete(640, 480, &[30]), discrete(1280, 720, &[30, 15]), discrete(1920, 1080, &[30])],
            ),
        ]
    }

    /// A board's ISP: scales to any size, says nothing of rates.
    fn isp() -> Vec<Offer> {
        let sizes = || vec![size_entry(3, [32, 2688, 8, 16, 1520, 8]).unwrap()];
        vec![offer(b"NV12", sizes()), offer(b"NM12", sizes()), offer(b"YUYV", sizes())]
    }

    /// An infrared module.
    fn infrared() -> Vec<Offer> {
        let sizes = || vec![discrete(640, 400, &[30, 15]), discrete(1280, 800, &[30])];
        vec![offer(b"YUYV", sizes()), offer(b"Y10 ", sizes()), offer(b"GREY", sizes())]
    }

    fn wanted(width: u32, height: u32, fps: u32, format: CameraFormat) -> Wanted {
        Wanted { width, height, fps, format, role: CameraRole::Visible }
    }

    #[test]
    fn the_best_of_what_is_offered_is_taken() {
        use CameraFormat::{Auto, Grey, Mjpeg, Nv12, Yuyv};
        let ir = |format| Wanted { role: CameraRole::Infrared, ..wanted(0, 0, 15, format) };
        let document = Wanted { role: CameraRole::Document, ..wanted(0, 0, 5, Auto) };
        let slow_only = vec![offer(b"YUYV", vec![discrete(160, 120, &[30]), discrete(640, 480, &[10])])];
        let unknown = vec![offer(b"MJPG", vec![]), offer(b"YUYV", vec![])];
        let large_only = vec![offer(b"MJPG", vec![discrete(2592, 1944, &[15]), discrete(1920, 1080, &[15])])];
        let continuous = vec![offer(
            b"YUYV",
            vec![Sizes {
                rates: vec![interval_entry(2, [1, 60, 1, 1, 1, 1]).unwrap()],
                ..size_entry(2, [2, 8192, 1, 1, 8192, 1]).unwrap()
            }],
        )];
        let ntsc = vec![offer(
            b"YUYV",
            vec![Sizes {
                rates: vec![interval_entry(1, [1001, 30_000, 0, 0, 0, 0]).unwrap()],
                ..size_entry(1, [720, 480, 0, 0, 0, 0]).unwrap()
            }],
        )];
        // Offers, wanted, format, size, rate in frames a second.
        let table: Vec<(&str, Vec<Offer>, Wanted, &str, (u32, u32), Option<f64>)> = vec![
            ("rate before size", webcam(), wanted(0, 0, 15, Auto), "MJPG", (1280, 720), Some(15.0)),
            ("nearest rate from above", webcam(), wanted(0, 0, 20, Auto), "MJPG", (1280, 720), Some(30.0)),
            ("slow enough for YUYV", webcam(), wanted(0, 0, 10, Auto), "YUYV", (1280, 720), Some(10.0)),
            ("format named", webcam(), wanted(0, 0, 15, Yuyv), "YUYV", (640, 480), Some(15.0)),
            ("size named", webcam(), wanted(640, 480, 15, Auto), "YUYV", (640, 480), Some(15.0)),
            ("size before rate", webcam(), wanted(1920, 1080, 30, Yuyv), "YUYV", (1920, 1080), Some(5.0)),
            ("nearest size", webcam(), wanted(1280, 960, 30, Auto), "MJPG", (1280, 720), Some(30.0)),
            ("width alone", webcam(), wanted(1920, 0, 15, Auto), "MJPG", (1920, 1080), Some(30.0)),
            ("height alone", webcam(), wanted(0, 480, 30, Mjpeg), "MJPG", (640, 480), Some(30.0)),
            ("faster than it can", webcam(), wanted(0, 0, 60, Auto), "MJPG", (1280, 720), Some(30.0)),
            ("an ISP", isp(), wanted(0, 0, 15, Auto), "NV12", (1280, 720), None),
            ("an ISP, its step", isp(), wanted(1000, 563, 15, Nv12), "NV12", (1000, 560), None),
            ("too small is too small", slow_only, wanted(0, 0, 15, Auto), "YUYV", (640, 480), Some(10.0)),
            ("nothing said", unknown, wanted(0, 0, 15, Auto), "YUYV", (1280, 720), None),
            ("the least above", large_only, wanted(0, 0, 15, Auto), "MJPG", (1920, 1080), Some(15.0)),
            ("continuous", continuous, wanted(0, 0, 25, Auto), "YUYV", (1280, 720), Some(25.0)),
            ("29.97 is 30", ntsc, wanted(0, 0, 30, Auto), "YUYV", (720, 480), Some(30_000.0 / 1001.0)),
            ("infrared is grey", infrared(), ir(Auto), "GREY", (1280, 800), Some(30.0)),
            ("infrared, YUYV named", infrared(), ir(Yuyv), "YUYV", (1280, 800), Some(30.0)),
            ("visible has colour", infrared(), wanted(640, 400, 15, Auto), "YUYV", (640, 400), Some(15.0)),
            ("grey named", infrared(), wanted(640, 400, 15, Grey), "GREY", (640, 400), Some(15.0)),
            ("documents are large", webcam(), document, "YUYV", (1920, 1080), Some(5.0)),
        ];
        for (name, offers, wanted, fourcc, size, fps) in table {
            let choice = choose(&offers, &wanted).unwrap();
            assert_eq!(
                (choice.fourcc.to_string().as_str(), choice.size, choice.rate.map(Interval::fps)),
                (fourcc, size, fps),
                "{name}"
            );
        }
    }

    #[test]
    fn what_nobody_can_read_is_refused_with_what_there_is() {
        let raw = vec![offer(b"BGGR", vec![discrete(640, 480, &[30])]), offer(b"H264", vec![])];
        let error = choose(&raw, &wanted(0, 0, 15, CameraFormat::Auto)).unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.to_string().contains("BGGR, H264"), "{error}");
        let error = choose(&webcam(), &wanted(0, 0, 15, CameraFormat::Nv12)).unwrap_err();
        assert!(error.to_string().contains("YUYV, MJPG") && error.to_string().contains("camera.format"));
        assert!(
            choose(&[], &wanted(0, 0, 15, CameraFormat::Auto)).unwrap_err().to_string().contains("nothing")
        );
    }

    #[test]
    fn entries_of_the_kernel_become_sizes_and_rates() {
        assert_eq!(size_entry(1, [640, 480, 9, 9, 9, 9]).unwrap().largest, (640, 480));
        // As vivid's HDMI input says it.
        let scaler = size_entry(3, [16, 3840, 2, 16, 2160, 2]).unwrap();
        assert_eq!((scaler.least, scaler.largest, scaler.step), ((16, 16), (3840, 2160), (2, 2)));
        assert_eq!(scaler.nearest((1281, 0)), (1282, 16));
        assert_eq!(scaler.nearest((9999, 2159)), (3840, 2160));
        // As v4l2loopback without a writer does.
        let any = size_entry(2, [2, 8192, 1, 1, 8192, 1]).unwrap();
        assert_eq!(any.nearest((1280, 720)), (1280, 720));
        // A step of 0, no size, bounds the wrong way round, larger than any frame.
        assert_eq!(size_entry(3, [16, 64, 0, 16, 64, 0]).unwrap().step, (1, 1));
        assert_eq!(size_entry(1, [0, 480, 0, 0, 0, 0]), None);
        assert_eq!(size_entry(3, [64, 16, 1, 64, 16, 1]), None);
        assert_eq!(size_entry(1, [u32::MAX, u32::MAX, 0, 0, 0, 0]), None);
        assert_eq!(size_entry(3, [1, u32::MAX, 1, 1, u32::MAX, 1]).unwrap().largest, (MAX_SIDE, MAX_SIDE));

        let one = interval_entry(1, [1001, 30_000, 7, 7, 7, 7]).unwrap();
        assert_eq!(
            (one.fastest, one.slowest, one.fastest.to_string()),
            (one.slowest, one.fastest, "29.97".into())
        );
        let range = interval_entry(3, [1, 60, 1, 5, 1, 1]).unwrap();
        assert_eq!((range.slowest.fps(), range.fastest.fps()), (5.0, 60.0));
        assert_eq!(range.nearest(15), Interval { numerator: 1, denominator: 15 });
        assert_eq!((range.nearest(2), range.nearest(90)), (range.slowest, range.fastest));
        // The wrong way round; no time; a division by nothing.
        assert_eq!(interval_entry(3, [1, 5, 1, 60, 1, 1]), Some(range));
        assert_eq!(interval_entry(1, [0, 30, 0, 0, 0, 0]), None);
        assert_eq!(interval_entry(2, [1, 30, 1, 0, 0, 0]), None);
    }

    #[test]
    fn names_of_formats_can_be_read() {
        assert_eq!(FourCc(0x5659_5559).to_string(), "YUYV");
        assert_eq!(FourCc(0x4745_504a).to_string(), "JPEG");
        assert_eq!(FourCc::of(b"Y10 ").to_string(), "Y10");
        assert_eq!(FourCc(FourCc::of(b"Y16 ").0 | 1 << 31).to_string(), "Y16-BE");
        assert_eq!(FourCc(1).to_string(), "0x00000001");
    }

    fn said(fourcc: &[u8; 4], width: u32, height: u32, planes: usize, strides: [u32; 2]) -> Said {
        Said { fourcc: FourCc::of(fourcc).0, width, height, field: 1, planes, strides }
    }

    #[test]
    fn what_a_driver_agrees_to_is_checked() {
        // Format, bytes a line; strides taken, bytes of each plane.
        let good = [
            (said(b"MJPG", 1280, 720, 1, [1280, 0]), [0, 0], [0, 0]),
            (said(b"YUYV", 640, 480, 1, [1280, 0]), [1280, 0], [614_400, 0]),
            (said(b"YUYV", 640, 480, 1, [0, 0]), [1280, 0], [614_400, 0]),
            (said(b"YUYV", 638, 480, 1, [1280, 0]), [1280, 0], [614_400, 0]),
            (said(b"NV12", 1280, 720, 1, [1280, 0]), [1280, 0], [1_382_400, 0]),
            (said(b"NM12", 1280, 720, 2, [1280, 1408]), [1280, 1408], [921_600, 506_880]),
            (said(b"GREY", 640, 400, 1, [640, 0]), [640, 0], [256_000, 0]),
        ];
        for (said, strides, bytes) in good {
            let agreed = Agreed::check(&said).unwrap();
            assert_eq!((agreed.strides, agreed.plane_bytes()), (strides, bytes), "{said:?}");
        }
        let half = Said { field: 7, ..said(b"YUYV", 640, 240, 1, [1280, 0]) };
        // Format; words of the error.
        let bad = [
            (said(b"H264", 640, 480, 1, [0, 0]), "H264"),
            (said(b"YUYV", 0, 480, 1, [0, 0]), "no pixels"),
            (said(b"YUYV", 65_536, 65_536, 1, [131_072, 0]), "too large"),
            (said(b"YUYV", 640, 480, 1, [1279, 0]), "1279 bytes a line"),
            (said(b"GREY", 640, 480, 1, [u32::MAX, 0]), "bytes a line"),
            (said(b"YUYV", 640, 480, 0, [1280, 0]), "0 planes"),
            (said(b"NM12", 640, 480, 1, [640, 0]), "1 planes"),
            (said(b"NM12", 640, 480, 2, [640, 639]), "639 bytes a line"),
            (said(b"NV12", 640, 480, 8, [640, 640]), "8 planes"),
            (said(b"NV12", 641, 480, 1, [1024, 0]), "641 x 480"),
            (half, "half pictures"),
        ];
        for (said, words) in bad {
            let error = Agreed::check(&said).unwrap_err();
            assert_eq!(error.kind(), Kind::Device);
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn what_a_buffer_holds_is_checked_before_it_is_read() {
        let filled = |offset, used, mapped| Filled { offset, used, mapped };
        // Filled, bytes that the format needs (0: JPEG), the part to copy.
        let good = [
            (filled(0, 614_400, 614_400), 614_400, (0, 614_400)),
            (filled(0, 614_400, 618_496), 500, (0, 500)),
            (filled(128, 628, 4096), 500, (128, 500)),
            (filled(0, 777, 4096), 0, (0, 777)),
            (filled(16, 777, 4096), 0, (16, 761)),
        ];
        for (filled, needed, part) in good {
            assert_eq!(filled.part(needed).unwrap(), part, "{filled:?}");
        }
        let bad = [
            (filled(0, 4097, 4096), 0, "4097 bytes in a buffer of 4096"),
            (filled(0, 0, 4096), 0, "empty"),
            (filled(4096, 4096, 4096), 0, "empty"),
            (filled(usize::MAX, 4096, 4096), 0, "empty"),
            (filled(0, 499, 4096), 500, "499 bytes of 500"),
            (filled(128, 600, 4096), 500, "472 bytes of 500"),
            (filled(0, 10, 0), 0, "in a buffer of 0"),
        ];
        for (filled, needed, words) in bad {
            let error = filled.part(needed).unwrap_err();
            assert_eq!(error.kind(), Kind::Input);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
