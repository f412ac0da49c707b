// Pictures of machine readable zones, drawn from the outlines of an OCR-B font, with what a camera does to them.
//
// Shared by the trainer beside this file and by the tests. It needs nothing but the standard library, and its arithmetic
// is the same on every machine: only +, -, *, / and square roots of IEEE 754, in a fixed order; sines and
// exponentials are polynomials of its own, because those of the C libraries differ in the last bit.

/// Characters of a machine readable zone in the order of the model's classes; the class after them is "no character".
pub const ALPHABET: &[u8; 37] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<";
/// Distance of two characters, millimetres (ICAO 9303-3, 4.2: ten to the inch).
pub const PITCH: f32 = 2.54;
/// Height of a capital, millimetres: 700 of the font's units, of which the pitch is 723.
pub const CAPITAL: f32 = PITCH * 700.0 / 723.0;
/// Distance of two lines, millimetres: ICAO 9303-4 appendix, measured between base lines.
pub const LINE_STEP: f32 = 6.35;

/// Pixels of a glyph's mask from one character to the next; the mask is twice as high.
const MASK: usize = 48;
/// Units of the font from one character to the next.
const ADVANCE: f32 = 723.0;
const MASK_HEIGHT: usize = 84;
/// Row of the mask on which the characters stand.
const BASE: f32 = 66.0;

/// xorshift64*: a stream of numbers that is the same everywhere.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        let mut rng = Self((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1);
        for _ in 0..8 {
            rng.next();
        }
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    pub fn below(&mut self, count: usize) -> usize {
        ((self.next() >> 33) % count as u64) as usize
    }

    pub fn chance(&mut self, share: f32) -> bool {
        self.unit() < share
    }

    /// Nearly normal with variance 1: the sum of four uniform numbers.
    pub fn noise(&mut self) -> f32 {
        (self.unit() + self.unit() + self.unit() + self.unit() - 2.0) * 1.732_050_8
    }
}

/// Sine by Taylor's polynomial after reduction to a quarter turn.
pub fn sin(angle: f32) -> f32 {
    const TURN: f32 = 6.283_185_5;
    let mut x = angle - (angle / TURN).floor() * TURN;
    if x > 3.141_592_7 {
        x -= TURN;
    }
    if x > 1.570_796_4 {
        x = 3.141_592_7 - x;
    } else if x < -1.570_796_4 {
        x = -3.141_592_7 - x;
    }
    let y = x * x;
    x * (1.0 - y / 6.0 * (1.0 - y / 20.0 * (1.0 - y / 42.0 * (1.0 - y / 72.0))))
}

pub fn cos(angle: f32) -> f32 {
    sin(angle + 1.570_796_4)
}

/// The exponential of `x`, which is cut to -80 to 80: squared ten times from a polynomial of a small number.
pub fn exp(x: f32) -> f32 {
    let x = f64::from(x.clamp(-80.0, 80.0)) / 1024.0;
    let mut e = 1.0 + x * (1.0 + x / 2.0 * (1.0 + x / 3.0 * (1.0 + x / 4.0)));
    for _ in 0..10 {
        e *= e;
    }
    e as f32
}

/// The glyphs of one cut of the font as masks: how much of each point is ink, softened so that a threshold makes the strokes
/// thinner or thicker.
pub struct Font {
    masks: Vec<Vec<f32>>,
}

impl Font {
    /// All cuts of an outline file as `build.py` writes it: `font NAME`, `glyph C`, `contour X Y X Y …` in font units.
    pub fn parse(text: &str) -> Result<Vec<(String, Font)>, String> {
        let mut fonts: Vec<(String, Font)> = Vec::new();
        let mut glyph: Option<usize> = None;
        let mut contours: Vec<Vec<Vec<(f32, f32)>>> = Vec::new();
        let finish = |fonts: &mut Vec<(String, Font)>, contours: &mut Vec<Vec<Vec<(f32, f32)>>>| {
            if let Some((_, font)) = fonts.last_mut() {
                font.masks = contours.iter().map(|outline| soften(&fill(outline))).collect();
            }
            *contours = vec![Vec::new(); ALPHABET.len()];
        };
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').ok_or("a line without a value")?;
            match word {
                "font" => {
                    finish(&mut fonts, &mut contours);
                    fonts.push((rest.to_owned(), Font { masks: Vec::new() }));
                }
                "glyph" => glyph = ALPHABET.iter().position(|&c| rest.as_bytes() == [c]),
                "contour" => {
                    let numbers: Vec<f32> = rest
                        .split(' ')
                        .map(|n| n.parse::<f32>().map_err(|e| e.to_string()))
                        .collect::<Result<_, _>>()?;
                    let glyph = glyph.ok_or("a contour of no glyph")?;
                    contours
                        .get_mut(glyph)
                        .ok_or("a contour of no font")?
                        .push(numbers.chunks_exact(2).map(|point| (point[0], point[1])).collect());
                }
                _ => return Err(format!("unknown word {word}")),
            }
        }
        finish(&mut fonts, &mut contours);
        Ok(fonts)
    }

    /// Ink, 0 to 1, of a character at a place in millimetres from where it begins on its base line, `y` upwards; `weight` 0
    /// draws it as designed, -0.3 thin, 0.3 bold.
    pub fn ink(&self, character: u8, x: f32, y: f32, weight: f32) -> f32 {
        let Some(class) = ALPHABET.iter().position(|&c| c == character) else { return 0.0 };
        self.ink_of(class, x, y, weight)
    }

    pub fn ink_of(&self, class: usize, x: f32, y: f32, weight: f32) -> f32 {
        const SCALE: f32 = MASK as f32 / PITCH;
        let (column, row) = (x * SCALE - 0.5, BASE - y * SCALE - 0.5);
        if column < 0.0 || row < 0.0 || column >= (MASK - 1) as f32 || row >= (MASK_HEIGHT - 1) as f32 {
            return 0.0;
        }
        let (left, top) = (column as usize, row as usize);
        let (a, b) = (column - left as f32, row - top as f32);
        let mask = &self.masks[class];
        let at = top * MASK + left;
        let upper = mask[at] * (1.0 - a) + mask[at + 1] * a;
        let lower = mask[at + MASK] * (1.0 - a) + mask[at + MASK + 1] * a;
        let value = upper * (1.0 - b) + lower * b;
        ((value - 0.5 + weight) * 3.0 + 0.5).clamp(0.0, 1.0)
    }
}

/// Fills contours by the even count of crossings, four lines to a pixel.
fn fill(contours: &[Vec<(f32, f32)>]) -> Vec<f32> {
    const FINE: usize = 4;
    let scale = MASK as f32 / ADVANCE;
    let mut mask = vec![0.0; MASK * MASK_HEIGHT];
    let mut crossings: Vec<(f32, i32)> = Vec::new();
    for line in 0..MASK_HEIGHT * FINE {
        let y = (BASE - (line as f32 + 0.5) / FINE as f32) / scale;
        crossings.clear();
        for contour in contours {
            for (index, &(x0, y0)) in contour.iter().enumerate() {
                let (x1, y1) = contour[(index + 1) % contour.len()];
                if (y0 <= y) != (y1 <= y) {
                    let x = x0 + (y - y0) / (y1 - y0) * (x1 - x0);
                    crossings.push((x * scale, if y1 > y0 { 1 } else { -1 }));
                }
            }
        }
        crossings.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut winding = 0;
        for pair in crossings.windows(2) {
            winding += pair[0].1;
            if winding == 0 {
                continue;
            }
            let (from, to) = (pair[0].0.clamp(0.0, MASK as f32), pair[1].0.clamp(0.0, MASK as f32));
            for column in from as usize..(to as usize + 1).min(MASK) {
                let covered = to.min((column + 1) as f32) - from.max(column as f32);
                mask[line / FINE * MASK + column] += covered.max(0.0) / FINE as f32;
            }
        }
    }
    mask
}

/// Three passes of a box of three pixels both ways.
fn soften(mask: &[f32]) -> Vec<f32> {
    let mut mask = mask.to_vec();
    for _ in 0..3 {
        mask = box_blur(&mask, MASK, MASK_HEIGHT, 1, 1);
    }
    mask
}

fn box_blur(data: &[f32], width: usize, height: usize, across: usize, down: usize) -> Vec<f32> {
    let mut once = vec![0.0; data.len()];
    for y in 0..height {
        for x in 0..width {
            let (from, to) = (x.saturating_sub(across), (x + across).min(width - 1));
            let mut sum = 0.0;
            for value in &data[y * width + from..=y * width + to] {
                sum += value;
            }
            once[y * width + x] = sum / (to - from + 1) as f32;
        }
    }
    let mut twice = vec![0.0; data.len()];
    for y in 0..height {
        let (from, to) = (y.saturating_sub(down), (y + down).min(height - 1));
        for line in from..=to {
            for x in 0..width {
                twice[y * width + x] += once[line * width + x];
            }
        }
        for x in 0..width {
            twice[y * width + x] /= (to - from + 1) as f32;
        }
    }
    twice
}

/// A grey picture, 0 to 255, line by line.
#[derive(Clone)]
pub struct Grey {
    pub width: usize,
    pub height: usize,
    pub data: Vec<f32>,
}

impl Grey {
    /// The value between pixels; what lies outside is like the rim.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let x = (x - 0.5).clamp(0.0, (self.width - 1) as f32);
        let y = (y - 0.5).clamp(0.0, (self.height - 1) as f32);
        let (left, top) = ((x as usize).min(self.width.max(2) - 2), (y as usize).min(self.height.max(2) - 2));
        let (a, b) = (x - left as f32, y - top as f32);
        let at = top * self.width + left;
        let upper = self.data[at] * (1.0 - a) + self.data[at + 1] * a;
        let lower = self.data[at + self.width] * (1.0 - a) + self.data[at + self.width + 1] * a;
        upper * (1.0 - b) + lower * b
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.data.iter().map(|value| value.clamp(0.0, 255.0) as u8).collect()
    }
}

/// The background of a page: paper, with the waves of security printing.
#[derive(Clone)]
pub struct Paper {
    pub paper: f32,
    waves: Vec<(f32, f32, f32, f32)>,
}

impl Paper {
    pub fn plain(paper: f32) -> Self {
        Self { paper, waves: Vec::new() }
    }

    /// `strength` 0 is plain, 1 as busy as a passport gets.
    pub fn random(rng: &mut Rng, strength: f32) -> Self {
        let paper = rng.between(0.55, 0.95);
        let waves = (0..rng.below(5))
            .map(|_| {
                let (turn, period) = (rng.between(0.0, 6.28), rng.between(0.35, 5.0));
                let number = 6.283_185_5 / period;
                let height = rng.between(0.01, 0.09) * strength;
                (cos(turn) * number, sin(turn) * number, rng.between(0.0, 6.28), height)
            })
            .collect();
        Self { paper, waves }
    }

    /// Reflectance at a place in millimetres.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let mut value = self.paper;
        for &(across, down, phase, height) in &self.waves {
            value += height * sin(across * x + down * y + phase);
        }
        value
    }
}

/// What a camera does to a picture.
#[derive(Clone)]
pub struct Degradation {
    /// Radius of the lens's blur, pixels: three passes of a box.
    pub blur: f32,
    /// Length of the blur of a movement, pixels, and its direction.
    pub motion: (f32, f32),
    /// Light of the left against the right and of the top against the bottom, -1 to 1.
    pub gradient: (f32, f32),
    /// A reflection: place as shares of the picture, radius as a share of the width, strength 0 to 1.
    pub glare: (f32, f32, f32, f32),
    /// Brightness of white.
    pub gain: f32,
    /// Brightness of black.
    pub lift: f32,
    /// Standard deviation of the sensor's noise.
    pub noise: f32,
    /// Quality of the JPEG as in libjpeg, 1 to 100; 0: none.
    pub jpeg: f32,
}

impl Degradation {
    pub const NONE: Self = Self {
        blur: 0.0,
        motion: (0.0, 0.0),
        gradient: (0.0, 0.0),
        glare: (0.0, 0.0, 1.0, 0.0),
        gain: 235.0,
        lift: 10.0,
        noise: 0.0,
        jpeg: 0.0,
    };

    /// For capitals of `height` pixels.
    pub fn random(rng: &mut Rng, height: f32) -> Self {
        let gain = rng.between(110.0, 250.0);
        Self {
            blur: if rng.chance(0.8) { rng.between(0.0, 0.10) * height } else { 0.0 },
            motion: if rng.chance(0.25) {
                (rng.between(0.0, 0.25) * height, rng.between(0.0, 6.28))
            } else {
                (0.0, 0.0)
            },
            gradient: (rng.between(-0.4, 0.4), rng.between(-0.3, 0.3)),
            glare: if rng.chance(0.2) {
                (rng.unit(), rng.unit(), rng.between(0.05, 0.4), rng.between(0.1, 0.6))
            } else {
                (0.0, 0.0, 1.0, 0.0)
            },
            gain,
            lift: rng.between(0.0, 0.25) * gain,
            noise: if rng.chance(0.8) { rng.between(0.0, 0.06) * gain } else { 0.0 },
            jpeg: if rng.chance(0.6) { rng.between(25.0, 95.0) } else { 0.0 },
        }
    }

    /// From reflectance, 0 to 1, to what the camera delivers.
    pub fn apply(&self, picture: &mut Grey, rng: &mut Rng) {
        let (width, height) = (picture.width, picture.height);
        if self.blur > 0.05 {
            // A box of a broken radius lies between two whole ones.
            let low = self.blur as usize;
            let share = self.blur - low as f32;
            for _ in 0..3 {
                let less = if low == 0 {
                    picture.data.clone()
                } else {
                    box_blur(&picture.data, width, height, low, low)
                };
                let more = box_blur(&picture.data, width, height, low + 1, low + 1);
                for ((value, less), more) in picture.data.iter_mut().zip(&less).zip(&more) {
                    *value = less * (1.0 - share) + more * share;
                }
            }
        }
        if self.motion.0 > 0.3 {
            let still = picture.clone();
            let (dx, dy) = (cos(self.motion.1) * self.motion.0, sin(self.motion.1) * self.motion.0);
            for y in 0..height {
                for x in 0..width {
                    let mut sum = 0.0;
                    for step in 0..7 {
                        let share = step as f32 / 6.0 - 0.5;
                        sum += still.at(x as f32 + 0.5 + dx * share, y as f32 + 0.5 + dy * share);
                    }
                    picture.data[y * width + x] = sum / 7.0;
                }
            }
        }
        let (glare_x, glare_y) = (self.glare.0 * width as f32, self.glare.1 * height as f32);
        let radius = self.glare.2 * width as f32;
        for y in 0..height {
            let down = y as f32 / height as f32 - 0.5;
            for x in 0..width {
                let across = x as f32 / width as f32 - 0.5;
                let light = 1.0 + self.gradient.0 * across + self.gradient.1 * down;
                let mut value = self.lift + (self.gain - self.lift) * picture.data[y * width + x] * light;
                if self.glare.3 > 0.0 {
                    let (a, b) = ((x as f32 - glare_x) / radius, (y as f32 - glare_y) / radius);
                    let near = (1.0 - a * a - b * b).max(0.0);
                    value += (255.0 - value).max(0.0) * near * self.glare.3;
                }
                if self.noise > 0.0 {
                    value += rng.noise() * self.noise;
                }
                picture.data[y * width + x] = value.clamp(0.0, 255.0).round();
            }
        }
        if self.jpeg > 0.0 {
            jpeg(picture, self.jpeg);
        }
    }
}

/// Table K.1 of ITU-T T.81.
const LUMINANCE: [f32; 64] = [
    16.0, 11.0, 10.0, 16.0, 24.0, 40.0, 51.0, 61.0, 12.0, 12.0, 14.0, 19.0, 26.0, 58.0, 60.0, 55.0, 14.0,
    13.0, 16.0, 24.0, 40.0, 57.0, 69.0, 56.0, 14.0, 17.0, 22.0, 29.0, 51.0, 87.0, 80.0, 62.0, 18.0, 22.0,
    37.0, 56.0, 68.0, 109.0, 103.0, 77.0, 24.0, 35.0, 55.0, 64.0, 81.0, 104.0, 113.0, 92.0, 49.0, 64.0, 78.0,
    87.0, 103.0, 121.0, 120.0, 101.0, 72.0, 92.0, 95.0, 98.0, 112.0, 100.0, 103.0, 99.0,
];

/// What JPEG loses: the cosine transform of blocks of 8 x 8, rounded.
fn jpeg(picture: &mut Grey, quality: f32) {
    let scale = if quality < 50.0 { 50.0 / quality } else { 2.0 - quality / 50.0 };
    let mut wave = [[0.0_f32; 8]; 8];
    for (number, wave) in wave.iter_mut().enumerate() {
        let norm = if number == 0 { 0.353_553_4 } else { 0.5 };
        for (x, value) in wave.iter_mut().enumerate() {
            *value = norm * cos((2 * x + 1) as f32 * number as f32 * 0.196_349_54);
        }
    }
    let mut block = [[0.0_f32; 8]; 8];
    let mut half = [[0.0_f32; 8]; 8];
    for top in (0..picture.height).step_by(8) {
        for left in (0..picture.width).step_by(8) {
            for (y, line) in block.iter_mut().enumerate() {
                let row = (top + y).min(picture.height - 1) * picture.width;
                for (x, value) in line.iter_mut().enumerate() {
                    *value = picture.data[row + (left + x).min(picture.width - 1)] - 128.0;
                }
            }
            for y in 0..8 {
                for u in 0..8 {
                    half[y][u] = (0..8).fold(0.0, |sum, x| sum + block[y][x] * wave[u][x]);
                }
            }
            for v in 0..8 {
                for u in 0..8 {
                    let value = (0..8).fold(0.0, |sum, y| sum + half[y][u] * wave[v][y]);
                    let step = (LUMINANCE[v * 8 + u] * scale).clamp(1.0, 255.0).floor();
                    block[v][u] = (value / step).round() * step;
                }
            }
            for v in 0..8 {
                for x in 0..8 {
                    half[v][x] = (0..8).fold(0.0, |sum, u| sum + block[v][u] * wave[u][x]);
                }
            }
            for y in 0..8.min(picture.height - top) {
                for x in 0..8.min(picture.width - left) {
                    let value = (0..8).fold(0.0, |sum, v| sum + half[v][x] * wave[v][y]);
                    picture.data[(top + y) * picture.width + left + x] =
                        (value + 128.0).clamp(0.0, 255.0).round();
                }
            }
        }
    }
}

/// A page with lines for machines, as ICAO 9303 parts 4 to 7 lay them out.
pub struct Page<'a> {
    pub font: &'a Font,
    pub lines: &'a [&'a str],
    pub paper: Paper,
    /// Reflectance of the ink.
    pub ink: f32,
    pub weight: f32,
    /// Whether something is printed for the eye as well: a photo's frame and texts in small type.
    pub printed: bool,
}

impl Page<'_> {
    /// Width and height in millimetres: TD1 of ISO/IEC 7810 ID-1, TD2 of ID-2, TD3 of ID-3.
    pub fn size(&self) -> (f32, f32) {
        match (self.lines.len(), self.lines.first().map_or(0, |line| line.len())) {
            (3, _) => (85.6, 53.98),
            (_, 36) => (105.0, 74.0),
            _ => (125.0, 88.0),
        }
    }

    /// Where the first character of a line begins on its base line, from the top left corner.
    pub fn start(&self, line: usize) -> (f32, f32) {
        let (width, height) = self.size();
        let long = self.lines.iter().map(|line| line.len()).max().unwrap_or(0) as f32 * PITCH;
        // The last base line is 7.6 mm above the edge (part 4, figure 4), 4 mm on cards of three lines.
        let last = height - if self.lines.len() == 3 { 5.0 } else { 8.0 };
        ((width - long) / 2.0, last - (self.lines.len() - 1 - line) as f32 * LINE_STEP)
    }

    /// Reflectance at a place in millimetres from the top left corner; `None` beside the page.
    pub fn at(&self, x: f32, y: f32) -> Option<f32> {
        let (width, height) = self.size();
        if x < 0.0 || y < 0.0 || x >= width || y >= height {
            return None;
        }
        let paper = self.paper.at(x, y);
        for (number, line) in self.lines.iter().enumerate() {
            let (left, base) = self.start(number);
            if y > base + 1.2 || y < base - 3.2 || x < left {
                continue;
            }
            let column = ((x - left) / PITCH) as usize;
            if let Some(&character) = line.as_bytes().get(column) {
                let ink = self.font.ink(character, x - left - column as f32 * PITCH, base - y, self.weight);
                return Some(paper + (self.ink - paper) * ink);
            }
        }
        let photo = (width * 0.05, height * 0.18, width * 0.30, height * 0.62);
        if self.printed && self.lines.len() == 2 {
            if x > photo.0 && x < photo.2 && y > photo.1 && y < photo.3 {
                // A head before a background: dark hair, a light oval.
                let (a, b) =
                    ((x - photo.0) / (photo.2 - photo.0) - 0.5, (y - photo.1) / (photo.3 - photo.1) - 0.5);
                let head = a * a / 0.09 + b * b / 0.14;
                return Some(if head < 0.7 {
                    0.65
                } else if head < 1.0 {
                    0.15
                } else {
                    0.8
                });
            }
            // Printed for the eye: six lines of 1.6 mm type.
            let (left, row) = (width * 0.36, (y - height * 0.15) / (height * 0.075));
            if row >= 0.0 && row < 6.0 && x > left && x < width * 0.85 {
                let size = 1.6 / CAPITAL;
                let (column, line) = (((x - left) / (PITCH * size)) as usize, row as usize);
                let below = (row - line as f32) * height * 0.075 / size;
                let class = (line * 31 + column * 17 + column * column * 5) % 36;
                if (line * 7 + column * 3) % 6 > 0 {
                    let across = (x - left) / size - column as f32 * PITCH;
                    let ink = self.font.ink_of(class, across, 3.0 - below, 0.0);
                    return Some(paper + (self.ink - paper) * ink);
                }
            }
        }
        Some(paper)
    }

    /// The page on a plate, seen by a camera above it: `scale` pixels to the millimetre, the page's middle at
    /// `middle` (pixels), turned by `turn` (radians, clockwise), and `tilt` for how much larger the right and the lower
    /// side are (shares of the whole, -0.2 to 0.2). In reflectance.
    pub fn seen(
        &self,
        size: (usize, usize),
        scale: f32,
        middle: (f32, f32),
        turn: f32,
        tilt: (f32, f32),
        plate: f32,
    ) -> Grey {
        const FINE: usize = 3;
        let (page_width, page_height) = self.size();
        let (c, s) = (cos(turn), sin(turn));
        let mut data = Vec::with_capacity(size.0 * size.1);
        for y in 0..size.1 {
            for x in 0..size.0 {
                let mut sum = 0.0;
                for part in 0..FINE * FINE {
                    let px = x as f32 + ((part % FINE) as f32 + 0.5) / FINE as f32 - middle.0;
                    let py = y as f32 + ((part / FINE) as f32 + 0.5) / FINE as f32 - middle.1;
                    let (u, v) = ((c * px + s * py) / scale, (c * py - s * px) / scale);
                    let depth = 1.0 + tilt.0 * u / page_width + tilt.1 * v / page_height;
                    sum +=
                        self.at(u / depth + page_width / 2.0, v / depth + page_height / 2.0).unwrap_or(plate);
                }
                data.push(sum / (FINE * FINE) as f32);
            }
        }
        Grey { width: size.0, height: size.1, data }
    }
}
