//! Where lines of print lie in a picture: long rows of small dark marks of one height, up to 17 degrees off the level.
//!
//! A picture is looked at in two sizes. Marks darker than their surroundings are joined along the rows into components;
//! the moments of a component's dark pixels give the line through it and the height of its type. Nothing is read here: which
//! of the lines are a machine readable zone is found out by reading them.

use zune_core::colorspace::ColorSpace;

use crate::error::Result;
use crate::frame::{Frame, JpegHeader, PixelFormat};
use crate::vision::picture::decode_jpeg;

/// A grey picture, line by line.
#[derive(Debug, Clone, Default)]
pub struct Grey {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 0 black to 255 white, `width * height` of them.
    pub data: Vec<u8>,
}

impl Grey {
    /// The brightness of a picture of red, green and blue bytes, into the buffer that is there.
    pub fn fill_from_rgb(&mut self, width: usize, height: usize, rgb: &[u8]) {
        (self.width, self.height) = (width, height);
        self.data.clear();
        self.extend_from_rgb(rgb);
        self.data.resize(width * height, 0);
    }

    fn extend_from_rgb(&mut self, rgb: &[u8]) {
        self.data.extend(rgb.chunks_exact(3).map(|pixel| {
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((77 * red + 150 * green + 29 * blue) >> 8) as u8
        }));
    }

    /// The brightness of a camera's frame, into the buffer that is there; `scratch` is used for Motion-JPEG. `Input` for a
    /// damaged frame.
    pub fn fill_from_frame(&mut self, frame: &Frame, scratch: &mut Vec<u8>) -> Result<()> {
        let (width, height) = frame.size();
        let (data, stride) = (frame.data(), frame.stride());
        let (width, height) = (width as usize, height as usize);
        match frame.format() {
            PixelFormat::Rgb => {
                (self.width, self.height) = (width, height);
                self.data.clear();
                for line in data.chunks(stride).take(height) {
                    self.extend_from_rgb(&line[..3 * width]);
                }
            }
            PixelFormat::Jpeg => {
                let header = JpegHeader::read(data)?;
                (self.width, self.height) = (header.width as usize, header.height as usize);
                self.data.resize(self.width * self.height, 0);
                decode_jpeg(data, &header, ColorSpace::Luma, scratch, &mut self.data)?;
            }
            format => {
                (self.width, self.height) = (width, height);
                self.data.clear();
                let step = if format == PixelFormat::Yuyv { 2 } else { 1 };
                for line in data.chunks(stride).take(height) {
                    self.data.extend(line.iter().step_by(step).take(width));
                }
            }
        }
        Ok(())
    }

    /// The value at a place between pixels; what lies outside is like the rim. 0 for an empty picture.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        if self.width < 2 || self.height < 2 {
            return 0.0;
        }
        let x = (x - 0.5).clamp(0.0, (self.width - 1) as f32);
        let y = (y - 0.5).clamp(0.0, (self.height - 1) as f32);
        let (left, top) = ((x as usize).min(self.width - 2), (y as usize).min(self.height - 2));
        let (a, b) = (x - left as f32, y - top as f32);
        let at = top * self.width + left;
        let value = |at: usize| f32::from(self.data[at]);
        let upper = value(at) * (1.0 - a) + value(at + 1) * a;
        let lower = value(at + self.width) * (1.0 - a) + value(at + self.width + 1) * a;
        upper * (1.0 - b) + lower * b
    }

    /// Every `factor` x `factor` pixels as one.
    fn reduce(&self, factor: usize, into: &mut Grey) {
        (into.width, into.height) = (self.width / factor, self.height / factor);
        into.data.clear();
        let area = (factor * factor) as u32;
        for y in 0..into.height {
            for x in 0..into.width {
                let mut sum = 0;
                for line in 0..factor {
                    let at = (y * factor + line) * self.width + x * factor;
                    sum += self.data[at..at + factor].iter().map(|value| u32::from(*value)).sum::<u32>();
                }
                into.data.push((sum / area) as u8);
            }
        }
    }
}

/// A line of print, in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Left end, halfway up the type.
    pub from: (f32, f32),
    /// Right end.
    pub to: (f32, f32),
    /// Height of the type.
    pub height: f32,
}

impl Line {
    /// Its length.
    pub fn length(&self) -> f32 {
        (self.to.0 - self.from.0).hypot(self.to.1 - self.from.1)
    }

    /// Its middle.
    pub fn middle(&self) -> (f32, f32) {
        ((self.from.0 + self.to.0) / 2.0, (self.from.1 + self.to.1) / 2.0)
    }

    /// How far below a point of another line it runs, across itself; negative above.
    pub fn below(&self, point: (f32, f32)) -> f32 {
        let length = self.length().max(1.0);
        let (dx, dy) = ((self.to.0 - self.from.0) / length, (self.to.1 - self.from.1) / length);
        (self.from.1 - point.1) * dx - (self.from.0 - point.0) * dy
    }

    fn scaled(self, factor: f32) -> Self {
        let scaled = |(x, y): (f32, f32)| (x * factor, y * factor);
        Self { from: scaled(self.from), to: scaled(self.to), height: self.height * factor }
    }
}

/// The longer side of the larger of the two sizes in which a picture is looked at: capitals of 2.4 mm are then 5 to 25
/// pixels high where the page fills a third of the picture or all of it.
const SIDE: usize = 900;
/// Half the side of the surroundings of a pixel.
const AROUND: usize = 11;
/// How much darker than its surroundings a mark is, of 255, and of their deviation.
const DARKER: f32 = 7.0;
const DARKER_THAN_DEVIATION: f32 = 0.45;
/// Pixels without a mark that do not end a row.
const GAP: usize = 10;
/// Steepest line, as a slope: 17 degrees.
const STEEPEST: f32 = 0.306;
/// Heights of type that are looked for in one size, in its pixels.
const HEIGHTS: (f32, f32) = (3.5, 22.0);
/// Length over height of a piece of a line, and of a line: the shortest of a zone has 30 characters.
const LEAST_PIECE: f32 = 4.0;
const LEAST_LINE: f32 = 20.0;
/// What is longer is no type but the waves of security print: the longest zone has 44 characters.
const MOST_LINE: f32 = 60.0;
/// Lines that are given at most.
const MOST: usize = 12;

/// Finds lines, with buffers that are used again.
#[derive(Default)]
pub struct LineFinder {
    sizes: [Grey; 2],
    sums: Vec<u32>,
    squares: Vec<u64>,
    marks: Vec<bool>,
    runs: Vec<Run>,
    parents: Vec<usize>,
    moments: Vec<Moments>,
}

#[derive(Clone, Copy)]
struct Run {
    from: usize,
    to: usize,
    component: usize,
}

/// Sums over the dark pixels of a component.
#[derive(Clone, Copy)]
struct Moments {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
    left: usize,
    right: usize,
}

impl Moments {
    const EMPTY: Self =
        Self { count: 0.0, x: 0.0, y: 0.0, xx: 0.0, xy: 0.0, yy: 0.0, left: usize::MAX, right: 0 };

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.x += other.x;
        self.y += other.y;
        self.xx += other.xx;
        self.xy += other.xy;
        self.yy += other.yy;
        self.left = self.left.min(other.left);
        self.right = self.right.max(other.right);
    }

    /// The line through the pixels, and how high they reach: type is spread evenly over its height, whose deviation is
    /// the height over the root of twelve. `None` if it is too steep or not of a size that is looked for.
    fn line(&self, least: f32) -> Option<Line> {
        if self.count < 20.0 {
            return None;
        }
        let (mean_x, mean_y) = (self.x / self.count, self.y / self.count);
        let spread = (self.xx / self.count - mean_x * mean_x).max(1e-6);
        let slope = (self.xy / self.count - mean_x * mean_y) / spread;
        let off = (self.yy / self.count - mean_y * mean_y - slope * slope * spread).max(0.0);
        let height = (off * 12.0).sqrt() as f32 / (1.0 + slope * slope).sqrt() as f32;
        let at = |x: usize| (x as f32, (mean_y + slope * (x as f64 - mean_x)) as f32 + 0.5);
        let line = Line { from: at(self.left), to: at(self.right + 1), height };
        let fits = slope.abs() <= f64::from(STEEPEST)
            && (HEIGHTS.0..=HEIGHTS.1).contains(&height)
            && line.length() >= least * height;
        fits.then_some(line)
    }
}

impl LineFinder {
    /// A finder without buffers yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines of a picture, the longest first, at most twelve.
    pub fn find(&mut self, picture: &Grey) -> Vec<Line> {
        let factor = picture.width.max(picture.height).div_ceil(SIDE).max(1);
        let [mut large, mut small] = std::mem::take(&mut self.sizes);
        picture.reduce(factor, &mut large);
        large.reduce(2, &mut small);
        let mut lines: Vec<Line> = Vec::new();
        for (size, scale) in [(&large, factor), (&small, 2 * factor)] {
            for line in self.lines_of(size) {
                let line = line.scaled(scale as f32);
                // The same line in the other size.
                let known = lines.iter().any(|known| {
                    known.below(line.middle()).abs() < 0.6 * line.height
                        && (known.middle().0 - line.middle().0).abs() < 0.1 * line.length()
                        && (known.length() / line.length() - 1.0).abs() < 0.15
                });
                if !known {
                    lines.push(line);
                }
            }
        }
        self.sizes = [large, small];
        lines.sort_by(|one, other| other.length().total_cmp(&one.length()));
        lines.truncate(MOST);
        lines
    }

    fn lines_of(&mut self, picture: &Grey) -> Vec<Line> {
        self.mark(picture);
        self.join(picture.width, picture.height);
        let pieces: Vec<Moments> =
            self.moments.iter().filter(|moments| moments.line(LEAST_PIECE).is_some()).copied().collect();
        merge(pieces)
            .iter()
            .filter_map(|moments| moments.line(LEAST_LINE))
            .filter(|line| line.length() <= MOST_LINE * line.height)
            .collect()
    }

    /// Marks what is darker than its surroundings.
    fn mark(&mut self, picture: &Grey) {
        let (width, height) = (picture.width, picture.height);
        let stride = width + 1;
        self.sums.clear();
        self.sums.resize(stride * (height + 1), 0);
        self.squares.clear();
        self.squares.resize(stride * (height + 1), 0);
        for y in 0..height {
            let (mut sum, mut square) = (0, 0);
            for x in 0..width {
                let value = u32::from(picture.data[y * width + x]);
                sum += value;
                square += u64::from(value * value);
                let at = (y + 1) * stride + x + 1;
                self.sums[at] = self.sums[at - stride] + sum;
                self.squares[at] = self.squares[at - stride] + square;
            }
        }
        self.marks.clear();
        for y in 0..height {
            let (top, bottom) = (y.saturating_sub(AROUND) * stride, (y + AROUND + 1).min(height) * stride);
            let rows = (bottom - top) / stride;
            for x in 0..width {
                let (left, right) = (x.saturating_sub(AROUND), (x + AROUND + 1).min(width));
                let area = (rows * (right - left)) as f32;
                // Differences come first, so that nothing goes below zero.
                let sum = (self.sums[bottom + right] - self.sums[top + right])
                    - (self.sums[bottom + left] - self.sums[top + left]);
                let square = (self.squares[bottom + right] - self.squares[top + right])
                    - (self.squares[bottom + left] - self.squares[top + left]);
                let mean = sum as f32 / area;
                let deviation = (square as f32 / area - mean * mean).max(0.0).sqrt();
                let darker = mean - f32::from(picture.data[y * width + x]);
                self.marks.push(darker > DARKER.max(DARKER_THAN_DEVIATION * deviation));
            }
        }
    }

    fn root(&mut self, mut of: usize) -> usize {
        while self.parents[of] != of {
            self.parents[of] = self.parents[self.parents[of]];
            of = self.parents[of];
        }
        of
    }

    /// Joins marks along the rows, and rows that overlap, into components.
    fn join(&mut self, width: usize, height: usize) {
        self.runs.clear();
        self.parents.clear();
        self.moments.clear();
        let mut above = 0..0;
        for y in 0..height {
            let row = &self.marks[y * width..(y + 1) * width];
            let begin = self.runs.len();
            let mut x = 0;
            while x < width {
                if !row[x] {
                    x += 1;
                    continue;
                }
                let mut moments = Moments::EMPTY;
                let (from, mut to) = (x, x + 1);
                while x < width && x < to + GAP {
                    if row[x] {
                        to = x + 1;
                        let (fx, fy) = (x as f64, y as f64);
                        moments.count += 1.0;
                        moments.x += fx;
                        moments.y += fy;
                        moments.xx += fx * fx;
                        moments.xy += fx * fy;
                        moments.yy += fy * fy;
                    }
                    x += 1;
                }
                (moments.left, moments.right) = (from, to - 1);
                let component = self.parents.len();
                self.parents.push(component);
                self.moments.push(moments);
                self.runs.push(Run { from, to, component });
            }
            let (mut upper, end) = (above.start, above.end);
            for index in begin..self.runs.len() {
                let run = self.runs[index];
                while upper < end && self.runs[upper].to <= run.from {
                    upper += 1;
                }
                let mut other = upper;
                while other < end && self.runs[other].from < run.to {
                    let (one, two) = (self.root(self.runs[other].component), self.root(run.component));
                    if one != two {
                        self.parents[two] = one;
                        let moments = self.moments[two];
                        self.moments[one].add(&moments);
                        self.moments[two] = Moments::EMPTY;
                    }
                    other += 1;
                }
            }
            above = begin..self.runs.len();
        }
    }
}

/// Puts pieces of one line together: the fillers are thin and may break it.
fn merge(mut pieces: Vec<Moments>) -> Vec<Moments> {
    pieces.sort_by_key(|moments| moments.left);
    let mut merged: Vec<Moments> = Vec::new();
    for piece in pieces {
        let Some(line) = piece.line(LEAST_PIECE) else { continue };
        let neighbour = merged.iter_mut().find(|known| {
            let Some(before) = known.line(LEAST_PIECE) else { return false };
            let height = before.height.max(line.height);
            let alike = before.height.min(line.height) > 0.6 * height;
            let near = line.from.0 > before.to.0 - height && line.from.0 < before.to.0 + 8.0 * height;
            // A short piece does not know its slope: it must lie on the longer one.
            let level = if before.length() > line.length() {
                before.below(line.middle()).abs()
            } else {
                line.below(before.middle()).abs()
            };
            alike && near && level < 0.45 * height
        });
        match neighbour {
            Some(known) => known.add(&piece),
            None => merged.push(piece),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of bars on a light page: `count` bars, 3 of every 6 x 10 pixels dark, turned by `turn` radians.
    fn page(turn: f32, lines: &[(f32, usize)]) -> Grey {
        let (width, height) = (800, 600);
        let mut grey = Grey { width, height, data: Vec::new() };
        let (sin, cos) = turn.sin_cos();
        for y in 0..height {
            for x in 0..width {
                let (dx, dy) = (x as f32 - 400.0, y as f32 - 300.0);
                let (u, v) = (cos * dx + sin * dy, cos * dy - sin * dx);
                let dark = lines.iter().any(|(middle, count)| {
                    let along = u + *count as f32 * 5.0;
                    (v - middle).abs() < 5.0
                        && along >= 0.0
                        && along < *count as f32 * 10.0
                        && along % 10.0 < 5.0
                });
                grey.data.push(if dark { 60 } else { 200 + (x % 3) as u8 });
            }
        }
        grey
    }

    #[test]
    fn lines_are_found_where_they_are_up_to_fifteen_degrees() {
        for degrees in [-15.0_f32, -7.0, -1.0, 0.0, 3.0, 15.0] {
            let turn = degrees.to_radians();
            let found = LineFinder::new().find(&page(turn, &[(40.0, 44), (65.0, 44), (-100.0, 8)]));
            let mut found: Vec<_> = found.iter().filter(|line| line.length() > 400.0).collect();
            found.sort_by(|one, other| one.middle().1.total_cmp(&other.middle().1));
            assert_eq!(found.len(), 2, "{degrees} degrees");
            for (line, middle) in found.iter().zip([40.0_f32, 65.0]) {
                let (x, y) = line.middle();
                // The place on the page, turned with it.
                let (wanted_x, wanted_y) = (400.0 - turn.sin() * middle, 300.0 + turn.cos() * middle);
                assert!((x - wanted_x).abs() < 6.0 && (y - wanted_y).abs() < 2.5, "{degrees}: {x} {y}");
                assert!((line.length() - 435.0).abs() < 12.0, "{degrees}: {}", line.length());
                assert!((line.height - 10.0).abs() < 2.5, "{degrees}: {}", line.height);
            }
        }
    }

    #[test]
    fn an_empty_or_tiny_picture_has_no_lines() {
        let mut finder = LineFinder::new();
        for (width, height) in [(0, 0), (1, 1), (3, 700), (900, 1)] {
            let grey = Grey { width, height, data: vec![128; width * height] };
            assert_eq!(finder.find(&grey), []);
        }
        let noise = (0..640 * 480_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert!(finder.find(&Grey { width: 640, height: 480, data: noise }).len() <= MOST);
    }
}
