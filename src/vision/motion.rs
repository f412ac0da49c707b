//! The motion gate: before somebody steps in, frames are glanced at and not examined.

use std::time::{Duration, Instant};

use zune_core::colorspace::ColorSpace;

use super::picture::{Picture, decode_jpeg};
use crate::error::Result;
use crate::frame::{Frame, JpegHeader, PixelFormat};

/// Cells of a glance, across and down.
const COLUMNS: usize = 32;
const ROWS: usize = 24;
const CELLS: usize = COLUMNS * ROWS;
/// Pixels from one sample to the next, both ways.
const SAMPLING: usize = 4;
/// A compressed frame is decoded at most this often while nothing moves: every second one at 15 frames a second, so
/// that the second frame that shows somebody is seen.
const GLANCE_EVERY: Duration = Duration::from_millis(100);
/// Unless its length says that it shows something else: bytes over bytes of the last one that was decoded.
const TELLING_LENGTH: f32 = 0.03;
/// Without motion, everything is examined this often all the same: for somebody who came in slower than the
/// background learns, or who turns round.
const PATROL_EVERY: Duration = Duration::from_secs(2);
/// Frames are examined this long after the last motion or face.
const STAYS_AWAKE: Duration = Duration::from_millis(1500);
/// Cells that must have changed: somebody three metres away covers some thirty.
const LEAST_CELLS: usize = 6;
/// A cell changed if it differs by this, of 255, and by this many times what it differs by on its own.
const LEAST_CHANGE: f32 = 6.0;
const LEAST_OVER_NOISE: f32 = 4.0;
/// Time in which the background learns what is there (63 %): while nothing moves, and while something moves but shows
/// no face, such as a door left open.
const LEARNS_IN: Duration = Duration::from_secs(8);
const LEARNS_STRANGE_IN: Duration = Duration::from_millis(1500);
/// Added to both brightnesses before they are divided, so that dark cells do not decide what the light does.
const DARK: f32 = 8.0;

/// Mean brightness of the cells, 0 to 255.
type Glance = [f32; CELLS];

/// Tells when frames are worth examining, and learns what the empty scene looks like.
pub struct MotionGate {
    background: Option<Box<Glance>>,
    /// What each cell differs by without anybody.
    noise: Box<Glance>,
    glance: Box<Glance>,
    luma: Vec<u8>,
    scratch: Vec<u8>,
    ratios: Vec<f32>,
    awake_until: Option<Instant>,
    examined: Option<Instant>,
    glanced: Option<Instant>,
    glanced_bytes: usize,
    /// Since when something moves without a face.
    strange_since: Option<Instant>,
}

impl Default for MotionGate {
    fn default() -> Self {
        Self::new()
    }
}

impl MotionGate {
    /// Awake until it has seen the scene.
    pub fn new() -> Self {
        Self {
            background: None,
            noise: Box::new([1.0; CELLS]),
            glance: Box::new([0.0; CELLS]),
            luma: Vec::new(),
            scratch: Vec::new(),
            ratios: Vec::with_capacity(CELLS),
            awake_until: None,
            examined: None,
            glanced: None,
            glanced_bytes: 0,
            strange_since: None,
        }
    }

    /// Whether a frame is to be examined; if so, [`MotionGate::examined`] follows. While nothing moves this costs a
    /// look at some pixels, and for JPEG the decoding of the brightness of every second frame. `Input` for a
    /// damaged frame.
    pub fn wakes(&mut self, frame: &Frame) -> Result<bool> {
        let at = frame.captured;
        let since = |past: Option<Instant>| past.map(|past| at.saturating_duration_since(past));
        let awake = self.awake_until.is_some_and(|until| at < until);
        let patrol = since(self.examined).is_none_or(|passed| passed >= PATROL_EVERY);
        if awake || patrol || self.background.is_none() {
            return Ok(true);
        }
        if frame.format() == PixelFormat::Jpeg {
            let bytes = frame.data().len() as f32;
            let telling = (bytes / self.glanced_bytes.max(1) as f32 - 1.0).abs() >= TELLING_LENGTH;
            if !telling && since(self.glanced).is_some_and(|passed| passed < GLANCE_EVERY) {
                return Ok(false);
            }
        }
        self.glance_at(frame)?;
        let elapsed = since(self.glanced).unwrap_or_default();
        (self.glanced, self.glanced_bytes) = (Some(at), frame.data().len());
        if self.changed() {
            self.awake_until = Some(at + STAYS_AWAKE);
            return Ok(true);
        }
        self.learn(elapsed, LEARNS_IN);
        Ok(false)
    }

    /// Takes in what the examination of a frame captured at `at` found.
    pub fn examined(&mut self, picture: &Picture, faces: bool, bytes: usize, at: Instant) {
        let elapsed = self.examined.map(|past| at.saturating_duration_since(past)).unwrap_or_default();
        self.examined = Some(at);
        let (width, height) = picture.size();
        let pixels = picture.pixels();
        sample(&mut self.glance, width as usize, height as usize, |x, y| {
            let at = (y * width as usize + x) * 3;
            let [red, green, blue] = [pixels[at], pixels[at + 1], pixels[at + 2]].map(u32::from);
            (77 * red + 150 * green + 29 * blue) >> 8
        });
        (self.glanced, self.glanced_bytes) = (Some(at), bytes);
        if self.background.is_none() {
            self.background = Some(self.glance.clone());
            self.awake_until = Some(at + STAYS_AWAKE);
            return;
        }
        if faces {
            // Who stands still is not learnt.
            self.awake_until = Some(at + STAYS_AWAKE);
            self.strange_since = None;
        } else if self.changed() {
            self.awake_until = Some(at + STAYS_AWAKE);
            let since = *self.strange_since.get_or_insert(at);
            if at.saturating_duration_since(since) >= STAYS_AWAKE {
                self.learn(elapsed, LEARNS_STRANGE_IN);
            }
        } else {
            self.strange_since = None;
            self.learn(elapsed, LEARNS_IN);
        }
    }

    fn glance_at(&mut self, frame: &Frame) -> Result<()> {
        let (width, height) = frame.size();
        let (width, height) = (width as usize, height as usize);
        let (data, stride) = (frame.data(), frame.stride());
        let glance = &mut self.glance;
        match frame.format() {
            PixelFormat::Jpeg => {
                let header = JpegHeader::read(data)?;
                self.luma.resize(width * height, 0);
                decode_jpeg(data, &header, ColorSpace::Luma, &mut self.scratch, &mut self.luma)?;
                let luma = &self.luma;
                sample(glance, width, height, |x, y| u32::from(luma[y * width + x]));
            }
            // Limited range, stretched as the decoder of pictures does.
            PixelFormat::Yuyv => {
                sample(glance, width, height, |x, y| stretched(data[y * stride + 2 * x]));
            }
            PixelFormat::Nv12 => sample(glance, width, height, |x, y| stretched(data[y * stride + x])),
            PixelFormat::Grey => sample(glance, width, height, |x, y| u32::from(data[y * stride + x])),
            PixelFormat::Rgb => sample(glance, width, height, |x, y| {
                let at = y * stride + 3 * x;
                let [red, green, blue] = [data[at], data[at + 1], data[at + 2]].map(u32::from);
                (77 * red + 150 * green + 29 * blue) >> 8
            }),
        }
        Ok(())
    }

    /// What the light does to all cells alike: the median of how much brighter they are.
    fn light(&mut self) -> f32 {
        let Some(background) = &self.background else { return 1.0 };
        self.ratios.clear();
        let cells = self.glance.iter().zip(background.iter());
        self.ratios.extend(cells.map(|(now, then)| (now + DARK) / (then + DARK)));
        let (_, median, _) = self.ratios.select_nth_unstable_by(CELLS / 2, f32::total_cmp);
        *median
    }

    /// Whether the scene differs from the background in more than its light.
    fn changed(&mut self) -> bool {
        let light = self.light();
        let Some(background) = &self.background else { return true };
        let cells = self.glance.iter().zip(background.iter()).zip(self.noise.iter());
        let changed = cells.filter(|((now, then), noise)| {
            let difference = (*now - ((*then + DARK) * light - DARK)).abs();
            difference >= LEAST_CHANGE && difference >= LEAST_OVER_NOISE * **noise
        });
        changed.count() >= LEAST_CELLS
    }

    /// Moves the background towards the last glance, as far as `elapsed` of `time` allows.
    fn learn(&mut self, elapsed: Duration, time: Duration) {
        let share = 1.0 - (-elapsed.as_secs_f32() / time.as_secs_f32()).exp();
        let light = self.light();
        let Some(background) = &mut self.background else { return };
        let cells = self.glance.iter().zip(background.iter_mut()).zip(self.noise.iter_mut());
        for ((now, then), noise) in cells {
            let difference = (now - ((*then + DARK) * light - DARK)).abs();
            *noise += (difference - *noise) * share;
            *then += (now - *then) * share;
        }
    }
}

/// Stretches limited range (16 to 235) to 0 to 255.
fn stretched(luma: u8) -> u32 {
    (u32::from(luma).saturating_sub(16) * 298 / 256).min(255)
}

/// Fills the cells with the mean of every [`SAMPLING`]th pixel both ways. Cells of a picture with fewer samples than
/// cells share the nearest.
fn sample(glance: &mut Glance, width: usize, height: usize, luma: impl Fn(usize, usize) -> u32) {
    let lines = |cell: usize, cells: usize, side: usize| {
        let start = cell * side / cells;
        start..((cell + 1) * side / cells).max(start + 1)
    };
    for row in 0..ROWS {
        for column in 0..COLUMNS {
            let (mut sum, mut count) = (0, 0);
            for y in lines(row, ROWS, height).step_by(SAMPLING) {
                for x in lines(column, COLUMNS, width).step_by(SAMPLING) {
                    sum += luma(x, y);
                    count += 1;
                }
            }
            glance[row * COLUMNS + column] = sum as f32 / count as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    const FRAME: Duration = Duration::from_millis(67);

    /// A scene of 640 x 480 in grey, at 15 frames a second, with the noise of a sensor.
    struct Scene {
        gate: MotionGate,
        now: Instant,
        number: u64,
        jpeg: bool,
        /// Factor of the light.
        light: f32,
        /// A dark figure: its left edge, and how wide and high it is.
        figure: Option<(i32, i32, i32)>,
        /// Whether the detector finds a face when the frame is examined.
        face: bool,
    }

    impl Scene {
        fn new(jpeg: bool) -> Self {
            Self {
                gate: MotionGate::new(),
                now: Instant::now(),
                number: 0,
                jpeg,
                light: 1.0,
                figure: None,
                face: false,
            }
        }

        fn pixels(&self) -> Vec<u8> {
            let mut state = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let mut noise = move || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state % 7) as f32 - 3.0
            };
            let mut pixels = Vec::with_capacity(640 * 480);
            for y in 0..480 {
                for x in 0..640 {
                    // A wall that gets brighter to the right, with a darker door.
                    let wall =
                        60.0 + 120.0 * x as f32 / 640.0 - if (200..300).contains(&x) { 40.0 } else { 0.0 };
                    let hidden = self.figure.is_some_and(|(left, width, height)| {
                        (left..left + width).contains(&x) && y >= 480 - height
                    });
                    let surface = if hidden { 45.0 } else { wall };
                    pixels.push((surface * self.light + noise()).clamp(0.0, 255.0) as u8);
                }
            }
            pixels
        }

        fn frame(&mut self) -> Frame {
            self.now += FRAME;
            self.number += 1;
            let (pixels, wall) = (self.pixels(), Timestamp::UNIX_EPOCH);
            if self.jpeg {
                let mut bytes = Vec::new();
                let encoder = jpeg_encoder::Encoder::new(&mut bytes, 80);
                encoder.encode(&pixels, 640, 480, jpeg_encoder::ColorType::Luma).unwrap();
                return Frame::jpeg(bytes, self.now, wall, self.number, 0).unwrap();
            }
            Frame::raw(pixels, PixelFormat::Grey, 640, 480, 640, self.now, wall, self.number, 0).unwrap()
        }

        /// Shows the next frame; whether it was examined.
        fn step(&mut self) -> bool {
            let frame = self.frame();
            let wakes = self.gate.wakes(&frame).unwrap();
            if wakes {
                let mut picture = Picture::new();
                picture.decode_frame(&frame).unwrap();
                self.gate.examined(&picture, self.face, frame.data().len(), frame.captured);
            }
            wakes
        }

        /// How many of the frames of some seconds were examined.
        fn run(&mut self, seconds: u32) -> u32 {
            (0..seconds * 15).map(|_| u32::from(self.step())).sum()
        }
    }

    #[test]
    fn an_empty_scene_is_only_patrolled() {
        for jpeg in [false, true] {
            let mut scene = Scene::new(jpeg);
            assert!(scene.step(), "the first frame");
            scene.run(5);
            // 30 s: one full look every two seconds.
            let examined = scene.run(30);
            assert!((13..=16).contains(&examined), "{examined}, jpeg {jpeg}");
        }
    }

    #[test]
    fn somebody_who_steps_in_is_seen_within_two_frames() {
        for jpeg in [false, true] {
            for wait in 0..5 {
                let mut scene = Scene::new(jpeg);
                scene.run(5);
                for _ in 0..wait {
                    scene.step();
                }
                // Three metres away: 40 pixels of head, 100 of shoulders.
                scene.figure = Some((400, 100, 200));
                let woke = [scene.step(), scene.step()];
                assert!(woke[0] || woke[1], "jpeg {jpeg}, after {wait} frames");
            }
        }
    }

    #[test]
    fn who_stands_still_with_a_face_is_watched_for_as_long_as_it_takes() {
        let mut scene = Scene::new(false);
        scene.run(5);
        (scene.figure, scene.face) = (Some((300, 200, 400)), true);
        scene.run(1);
        // Twice the time in which a background is learnt: every frame is still examined.
        assert_eq!(scene.run(16), 16 * 15);
        (scene.figure, scene.face) = (None, false);
        scene.run(5);
        let examined = scene.run(20);
        assert!(examined <= 11, "{examined}: the empty scene was not forgotten");
    }

    #[test]
    fn a_change_that_stays_without_a_face_becomes_background() {
        let mut scene = Scene::new(false);
        scene.run(5);
        scene.figure = Some((100, 150, 300));
        assert!(scene.run(1) >= 14);
        scene.run(14);
        let examined = scene.run(20);
        assert!(examined <= 11, "{examined}");
        // And when it is carried away, that is motion.
        scene.figure = None;
        assert!(scene.step() || scene.step());
    }

    #[test]
    fn light_that_changes_is_no_motion() {
        let mut scene = Scene::new(false);
        scene.run(5);
        let mut examined = 0;
        // A cloud: 30 % darker within two seconds; then the lamp, at once, and off again.
        for step in 0..30 {
            scene.light = 1.0 - 0.01 * step as f32;
            examined += u32::from(scene.step());
        }
        scene.light = 1.25;
        examined += scene.run(2);
        scene.light = 0.8;
        examined += scene.run(2);
        // Six seconds of patrol.
        assert!(examined <= 5, "{examined}");
        // Somebody in the changed light is still seen.
        scene.figure = Some((400, 100, 200));
        assert!(scene.step() || scene.step());
    }

    #[test]
    fn every_format_gives_the_same_glance() {
        let mut scene = Scene::new(false);
        let grey = scene.pixels();
        // Limited range, as cameras send it.
        let limited: Vec<u8> =
            grey.iter().map(|value| (16.0 + f32::from(*value) * 219.0 / 255.0).round() as u8).collect();
        let yuyv: Vec<u8> = limited.iter().flat_map(|value| [*value, 128]).collect();
        let nv12: Vec<u8> = limited.iter().copied().chain(vec![128; 640 * 240]).collect();
        let rgb: Vec<u8> = grey.iter().flat_map(|value| [*value; 3]).collect();
        let raw = |data: &[u8], format, stride| {
            Frame::raw(data.to_vec(), format, 640, 480, stride, Instant::now(), Timestamp::UNIX_EPOCH, 1, 0)
                .unwrap()
        };
        scene.jpeg = true;
        let mut glances = Vec::new();
        for frame in [
            raw(&grey, PixelFormat::Grey, 640),
            raw(&yuyv, PixelFormat::Yuyv, 1280),
            raw(&nv12, PixelFormat::Nv12, 640),
            raw(&rgb, PixelFormat::Rgb, 1920),
            scene.frame(),
        ] {
            let mut gate = MotionGate::new();
            gate.glance_at(&frame).unwrap();
            glances.push(gate.glance.clone());
            // The examined picture must give what the glance gives, or each would see motion in the other.
            let mut picture = Picture::new();
            picture.decode_frame(&frame).unwrap();
            gate.examined(&picture, false, 0, Instant::now());
            glances.push(gate.glance);
        }
        for glance in &glances {
            let far = glance
                .iter()
                .zip(glances[0].iter())
                .map(|(one, other)| (one - other).abs())
                .fold(0.0, f32::max);
            assert!(far < 2.0, "{far}");
        }
    }

    #[test]
    fn tiny_and_damaged_frames() {
        let mut gate = MotionGate::new();
        let mut picture = Picture::new();
        let pixel =
            Frame::raw(vec![9], PixelFormat::Grey, 1, 1, 1, Instant::now(), Timestamp::UNIX_EPOCH, 1, 0)
                .unwrap();
        assert!(gate.wakes(&pixel).unwrap());
        picture.decode_frame(&pixel).unwrap();
        gate.examined(&picture, false, 1, pixel.captured);
        let mut scene = Scene::new(true);
        scene.run(5);
        let whole = scene.frame();
        let half = whole.data()[..whole.data().len() / 2].to_vec();
        let half = Frame::jpeg(half, whole.captured, whole.wall, 99, 0).unwrap();
        assert_eq!(scene.gate.wakes(&half).unwrap_err().kind(), crate::Kind::Input);
        scene.step();
    }
}
