//! QR and bar codes in pictures, as a camera sees them: turned, tilted, out of focus and noisy.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use barcoders::sym::code128::Code128;
use barcoders::sym::ean13::EAN13;

/// A code of dark and light modules, `width` of them in each line, with the quiet zone that its standard asks for.
pub struct Symbol {
    pub width: usize,
    pub height: usize,
    dark: Vec<bool>,
}

impl Symbol {
    pub fn qr(content: &[u8]) -> Self {
        let code = qrcode::QrCode::new(content).unwrap();
        let inner = code.width();
        let dark: Vec<bool> =
            code.to_colors().into_iter().map(|color| color == qrcode::Color::Dark).collect();
        Self::framed(inner, inner, 4, |x, y| dark[y * inner + x])
    }

    /// Letters and digits, code set B.
    pub fn code128(content: &str) -> Self {
        Self::bars(&Code128::new(format!("Ɓ{content}")).unwrap().encode())
    }

    /// Twelve digits.
    pub fn ean13(digits: &str) -> Self {
        Self::bars(&EAN13::new(digits).unwrap().encode())
    }

    fn bars(bars: &[u8]) -> Self {
        Self::framed(bars.len(), bars.len() / 3, 10, |x, _| bars[x] == 1)
    }

    fn framed(width: usize, height: usize, quiet: usize, inner: impl Fn(usize, usize) -> bool) -> Self {
        let (outer_width, outer_height) = (width + 2 * quiet, height + 2 * quiet);
        let mut dark = vec![false; outer_width * outer_height];
        for y in 0..height {
            for x in 0..width {
                dark[(y + quiet) * outer_width + x + quiet] = inner(x, y);
            }
        }
        Self { width: outer_width, height: outer_height, dark }
    }

    /// The brightness at a place in modules; `None` beside the code.
    fn at(&self, x: f64, y: f64) -> Option<f64> {
        if x < 0.0 || y < 0.0 || x >= self.width as f64 || y >= self.height as f64 {
            return None;
        }
        Some(if self.dark[y as usize * self.width + x as usize] { 30.0 } else { 225.0 })
    }
}

/// How a code is held.
#[derive(Debug, Clone, Copy)]
pub struct Pose {
    /// Pixels of a module.
    pub module: f64,
    /// Degrees.
    pub turned: f64,
    /// How much nearer one edge is than the other, 0 for level.
    pub tilted: f64,
    /// Blur of the lens in pixels to each side.
    pub blur: usize,
    /// Brightness levels of noise, up and down.
    pub noise: f64,
    /// Pixels from the middle of the frame.
    pub shift: (f64, f64),
}

impl Default for Pose {
    fn default() -> Self {
        Self { module: 5.0, turned: 0.0, tilted: 0.0, blur: 0, noise: 0.0, shift: (0.0, 0.0) }
    }
}

pub const WIDTH: usize = 640;
pub const HEIGHT: usize = 480;

/// A frame of 640 by 480 brightnesses with the code in its middle, before a wall that is not quite grey.
pub fn frame(symbol: &Symbol, pose: Pose) -> Vec<u8> {
    let (sin, cos) = pose.turned.to_radians().sin_cos();
    let sample = |x: f64, y: f64| {
        let (x, y) = (x - WIDTH as f64 / 2.0 - pose.shift.0, y - HEIGHT as f64 / 2.0 - pose.shift.1);
        let (u, v) = (cos * x + sin * y, cos * y - sin * x);
        // The far edge is smaller.
        let depth = 1.0 + pose.tilted * u / WIDTH as f64;
        let (u, v) = (u / depth / pose.module, v / depth / pose.module);
        symbol
            .at(u + symbol.width as f64 / 2.0, v + symbol.height as f64 / 2.0)
            .unwrap_or_else(|| 120.0 + 40.0 * ((x / 37.0).sin() + (y / 23.0).cos()))
    };
    let mut seed = 12_345_u32;
    let mut grey = vec![0.0; WIDTH * HEIGHT];
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let mut sum = 0.0;
            for (dx, dy) in [(0.17, 0.17), (0.5, 0.5), (0.83, 0.83), (0.17, 0.83), (0.83, 0.17)] {
                sum += sample(x as f64 + dx, y as f64 + dy);
            }
            grey[y * WIDTH + x] = sum / 5.0;
        }
    }
    for across in [true, false] {
        grey = blurred(&grey, pose.blur, across);
    }
    grey.into_iter()
        .map(|brightness| {
            // Numerical Recipes' generator: the same noise in each run.
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (f64::from(seed >> 8) / f64::from(1 << 23) - 1.0) * pose.noise;
            (brightness + noise).clamp(0.0, 255.0) as u8
        })
        .collect()
}

fn blurred(grey: &[f64], radius: usize, across: bool) -> Vec<f64> {
    let mut result = grey.to_vec();
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (at, end) = if across { (x, WIDTH) } else { (y, HEIGHT) };
            let (from, to) = (at.saturating_sub(radius), (at + radius).min(end - 1));
            let pixel = |i: usize| if across { grey[y * WIDTH + i] } else { grey[i * WIDTH + x] };
            result[y * WIDTH + x] = (from..=to).map(pixel).sum::<f64>() / (to - from + 1) as f64;
        }
    }
    result
}
