// Trains the reader of OCR-B lines. `rustc -O` of this one file; `build.py` calls it.
//
//   train OUTLINES WEIGHTS [UPDATES]      trains and writes the weights: f32, little-endian, layer by layer
//   train --measure OUTLINES WEIGHTS      characters and lines read right, on held-out renderings
//
// The weights are the same bytes on every machine: the arithmetic is IEEE 754 in a fixed order (render.rs), a batch is always
// summed in the same groups however many cores there are, and rustc neither fuses nor reorders operations.

#[path = "render.rs"]
mod render;

use render::{ALPHABET, CAPITAL, Degradation, Font, Grey, PITCH, Paper, Rng, cos, exp, sin};
use std::io::Write;

/// Height of a strip, and of a capital in it, in pixels.
const HEIGHT: usize = 24;
const CAPITAL_PIXELS: f32 = 15.0;
/// Width of a strip in training.
const WIDTH: usize = 208;
/// Pixels of one step of the answer.
const STEP: usize = 4;
const CLASSES: usize = 38;
const BLANK: usize = 37;
/// What a step without a target is marked with.
const IGNORED: usize = usize::MAX;
const BATCH: usize = 16;
/// Partial sums of a batch, always this many.
const GROUPS: usize = 4;
const UPDATES: usize = 6000;
const RATE: f32 = 0.003;

/// Kernel, padding and channels of the layers, and what is pooled after each. Channels are a multiple of 8.
struct Layer {
    kernel: (usize, usize),
    pad: (usize, usize),
    from: usize,
    to: usize,
    pool: (usize, usize),
    relu: bool,
}

const LAYERS: [Layer; 5] = [
    Layer { kernel: (3, 3), pad: (1, 1), from: 1, to: 8, pool: (2, 2), relu: true },
    Layer { kernel: (3, 3), pad: (1, 1), from: 8, to: 24, pool: (2, 2), relu: true },
    Layer { kernel: (3, 3), pad: (1, 1), from: 24, to: 40, pool: (2, 1), relu: true },
    Layer { kernel: (3, 5), pad: (0, 2), from: 40, to: 64, pool: (1, 1), relu: true },
    Layer { kernel: (1, 1), pad: (0, 0), from: 64, to: 40, pool: (1, 1), relu: false },
];

impl Layer {
    fn inputs(&self) -> usize {
        self.kernel.0 * self.kernel.1 * self.from
    }

    /// Weights `[inputs][to]` and then the biases.
    fn parameters(&self) -> usize {
        (self.inputs() + 1) * self.to
    }
}

fn parameters() -> usize {
    LAYERS.iter().map(Layer::parameters).sum()
}

/// `c += a * b`: a is m x k by its strides, b is k x n, c is m x n; n is a multiple of 8. Each element is summed in the
/// order of k, in blocks that fit the processor's nearest cache.
fn multiply(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    strides: (usize, usize),
    b: &[f32],
    c: &mut [f32],
    packed: &mut Vec<f32>,
) {
    const R: usize = 8;
    const BLOCK: usize = 192;
    for start in (0..k).step_by(BLOCK) {
        let deep = BLOCK.min(k - start);
        packed.clear();
        for column in (0..n).step_by(R) {
            for row in start..start + deep {
                packed.extend_from_slice(&b[row * n + column..row * n + column + R]);
            }
        }
        let offset = packed.len();
        packed.resize(offset + deep * R, 0.0);
        let (b_packed, a_packed) = packed.split_at_mut(offset);
        for row in (0..m).step_by(R) {
            let rows = R.min(m - row);
            for (column, values) in a_packed.chunks_exact_mut(R).enumerate() {
                let at = row * strides.0 + (start + column) * strides.1;
                if strides.0 == 1 && rows == R {
                    values.copy_from_slice(&a[at..at + R]);
                } else {
                    for (index, value) in values.iter_mut().enumerate() {
                        *value = if index < rows { a[at + index * strides.0] } else { 0.0 };
                    }
                }
            }
            for (panel, columns) in b_packed.chunks_exact(deep * R).enumerate() {
                let mut sums = [[0.0_f32; R]; R];
                for (left, right) in a_packed.as_chunks::<R>().0.iter().zip(columns.as_chunks::<R>().0) {
                    for (sums, factor) in sums.iter_mut().zip(left) {
                        // In two steps: in one, LLVM finds no vectors of eight.
                        let mut products = [0.0_f32; R];
                        for j in 0..R {
                            products[j] = factor * right[j];
                        }
                        for j in 0..R {
                            sums[j] += products[j];
                        }
                    }
                }
                for (index, sums) in sums.iter().enumerate().take(rows) {
                    let at = (row + index) * n + panel * R;
                    for (value, sum) in c[at..at + R].iter_mut().zip(sums) {
                        *value += sum;
                    }
                }
            }
        }
    }
}

/// What one thread works in.
#[derive(Default)]
struct Work {
    columns: Vec<Vec<f32>>,
    before: Vec<Vec<f32>>,
    after: Vec<Vec<f32>>,
    chosen: Vec<Vec<u32>>,
    packed: Vec<f32>,
    spare: Vec<f32>,
    turned: Vec<f32>,
}

/// Gathers what each output pixel sees, height x width x channels.
fn gather(input: &[f32], height: usize, width: usize, layer: &Layer, out: &mut Vec<f32>) -> (usize, usize) {
    let (high, wide) =
        (height + 2 * layer.pad.0 + 1 - layer.kernel.0, width + 2 * layer.pad.1 + 1 - layer.kernel.1);
    let depth = layer.from;
    out.clear();
    out.resize(high * wide * layer.inputs(), 0.0);
    for y in 0..high {
        for x in 0..wide {
            let at = (y * wide + x) * layer.inputs();
            for ky in 0..layer.kernel.0 {
                let Some(row) = (y + ky).checked_sub(layer.pad.0).filter(|row| *row < height) else {
                    continue;
                };
                for kx in 0..layer.kernel.1 {
                    let Some(column) = (x + kx).checked_sub(layer.pad.1).filter(|column| *column < width)
                    else {
                        continue;
                    };
                    let (from, to) =
                        ((row * width + column) * depth, at + (ky * layer.kernel.1 + kx) * depth);
                    out[to..to + depth].copy_from_slice(&input[from..from + depth]);
                }
            }
        }
    }
    (high, wide)
}

/// The answer, `[steps][40]`, for a strip of `width`; everything on the way is kept in `work`.
fn forward(strip: &[f32], width: usize, weights: &[f32], work: &mut Work) -> Vec<(usize, usize)> {
    let count = LAYERS.len();
    work.columns.resize_with(count, Vec::new);
    work.before.resize_with(count, Vec::new);
    work.after.resize_with(count + 1, Vec::new);
    work.chosen.resize_with(count, Vec::new);
    work.after[0].clear();
    work.after[0].extend_from_slice(strip);
    let mut sizes = vec![(HEIGHT, width)];
    let mut offset = 0;
    for (index, layer) in LAYERS.iter().enumerate() {
        let (height, width) = sizes[index];
        let (high, wide) = gather(&work.after[index], height, width, layer, &mut work.columns[index]);
        let (matrix, biases) =
            weights[offset..offset + layer.parameters()].split_at(layer.inputs() * layer.to);
        offset += layer.parameters();
        let sums = &mut work.before[index];
        sums.clear();
        for _ in 0..high * wide {
            sums.extend_from_slice(biases);
        }
        let k = layer.inputs();
        multiply(high * wide, layer.to, k, &work.columns[index], (k, 1), matrix, sums, &mut work.packed);
        if layer.relu {
            for value in sums.iter_mut() {
                *value = value.max(0.0);
            }
        }
        let (down, across) = layer.pool;
        let (low, narrow) = (high / down, wide / across);
        let (out, chosen) = (&mut work.after[index + 1], &mut work.chosen[index]);
        out.clear();
        chosen.clear();
        for y in 0..low {
            for x in 0..narrow {
                for channel in 0..layer.to {
                    let mut best = (f32::NEG_INFINITY, 0);
                    for dy in 0..down {
                        for dx in 0..across {
                            let at = ((y * down + dy) * wide + x * across + dx) * layer.to + channel;
                            if sums[at] > best.0 {
                                best = (sums[at], at as u32);
                            }
                        }
                    }
                    out.push(best.0);
                    chosen.push(best.1);
                }
            }
        }
        sizes.push((low, narrow));
    }
    sizes
}

/// Adds the gradients of one strip to `sums`; gives the loss.
fn learn(strip: &[f32], targets: &[usize], weights: &[f32], sums: &mut [f32], work: &mut Work) -> f32 {
    let sizes = forward(strip, WIDTH, weights, work);
    let answer = &work.after[LAYERS.len()];
    let mut gradient = vec![0.0; answer.len()];
    let (mut loss, mut total) = (0.0, 0.0);
    for &target in targets {
        total += match target {
            IGNORED => 0.0,
            BLANK => 0.4,
            _ => 1.0,
        };
    }
    for (step, &target) in targets.iter().enumerate() {
        if target == IGNORED {
            continue;
        }
        let weight = if target == BLANK { 0.4 } else { 1.0 } / total;
        let values = &answer[step * 40..step * 40 + CLASSES];
        let highest = values.iter().fold(f32::NEG_INFINITY, |high, value| high.max(*value));
        let mut shares = [0.0; CLASSES];
        let mut sum = 0.0;
        for (share, value) in shares.iter_mut().zip(values) {
            *share = exp(value - highest);
            sum += *share;
        }
        for (class, share) in shares.iter().enumerate() {
            let wanted = if class == target { 1.0 } else { 0.0 };
            gradient[step * 40 + class] = (share / sum - wanted) * weight;
        }
        loss += (1.0 - shares[target] / sum) * weight;
    }
    let mut offset = parameters();
    for (index, layer) in LAYERS.iter().enumerate().rev() {
        offset -= layer.parameters();
        let k = layer.inputs();
        // Back through the pooling and the cut at zero.
        let before = &work.before[index];
        work.spare.clear();
        work.spare.resize(before.len(), 0.0);
        for (value, &at) in gradient.iter().zip(&work.chosen[index]) {
            if !layer.relu || before[at as usize] > 0.0 {
                work.spare[at as usize] += value;
            }
        }
        let pixels = before.len() / layer.to;
        let (matrix, biases) = sums[offset..offset + layer.parameters()].split_at_mut(k * layer.to);
        multiply(k, layer.to, pixels, &work.columns[index], (1, k), &work.spare, matrix, &mut work.packed);
        for values in work.spare.chunks_exact(layer.to) {
            for (bias, value) in biases.iter_mut().zip(values) {
                *bias += value;
            }
        }
        if index == 0 {
            break;
        }
        // Back to what each pixel saw, and from there to the layer before.
        work.turned.clear();
        work.turned.resize(k * layer.to, 0.0);
        for row in 0..k {
            for column in 0..layer.to {
                work.turned[column * k + row] = weights[offset + row * layer.to + column];
            }
        }
        let mut columns = vec![0.0; pixels * k];
        multiply(
            pixels,
            k,
            layer.to,
            &work.spare,
            (layer.to, 1),
            &work.turned,
            &mut columns,
            &mut work.packed,
        );
        let (height, width) = sizes[index];
        let wide = width + 2 * layer.pad.1 + 1 - layer.kernel.1;
        let depth = layer.from;
        gradient = vec![0.0; height * width * depth];
        for pixel in 0..pixels {
            let (y, x) = (pixel / wide, pixel % wide);
            for ky in 0..layer.kernel.0 {
                let Some(row) = (y + ky).checked_sub(layer.pad.0).filter(|row| *row < height) else {
                    continue;
                };
                for kx in 0..layer.kernel.1 {
                    let Some(column) = (x + kx).checked_sub(layer.pad.1).filter(|column| *column < width)
                    else {
                        continue;
                    };
                    let to = (row * width + column) * depth;
                    let from = pixel * k + (ky * layer.kernel.1 + kx) * depth;
                    for (value, more) in gradient[to..to + depth].iter_mut().zip(&columns[from..from + depth])
                    {
                        *value += more;
                    }
                }
            }
        }
    }
    loss
}

/// Classes of a text as machine readable zones have them: letters, digits, and fillers that come in runs.
fn text(rng: &mut Rng, length: usize) -> Vec<usize> {
    let mut classes = Vec::with_capacity(length + 8);
    while classes.len() < length {
        match rng.below(10) {
            0..=1 => classes.extend(std::iter::repeat_n(36, 1 + rng.below(6))),
            2..=4 => (0..1 + rng.below(6)).for_each(|_| classes.push(rng.below(10))),
            5..=6 => (0..1 + rng.below(6)).for_each(|_| classes.push(10 + rng.below(26))),
            _ => classes.push(rng.below(37)),
        }
    }
    classes.truncate(length);
    classes
}

/// How a strip differs from one that was cut out exactly.
struct Cut {
    /// Height of its capitals against what is wanted.
    size: f32,
    /// Its text's height against the middle, pixels.
    rise: f32,
    /// Its turn, radians.
    turn: f32,
}

/// A strip of a line as the finder would cut it out of a camera's picture: grey values, and the middles of the characters.
fn strip(
    rng: &mut Rng,
    font: &Font,
    classes: &[usize],
    width: usize,
    start: f32,
    height: f32,
    camera: &Degradation,
    paper: &Paper,
    cut: &Cut,
) -> (Vec<f32>, Vec<f32>) {
    let scale = height / CAPITAL;
    let weight = rng.between(-0.22, 0.25);
    let ink = rng.between(0.02, 0.32);
    let shear = rng.between(-0.08, 0.08);
    let squeeze = rng.between(0.94, 1.06);
    // Neighbouring lines and whatever is printed there.
    let above = if rng.chance(0.15) { text(rng, classes.len()) } else { Vec::new() };
    let distance = rng.between(4.6, 6.4);
    // Pixels of the strip to millimetres on the paper, from the middle of the strip.
    let to_mm = CAPITAL / (CAPITAL_PIXELS * cut.size);
    let rise = cut.rise * to_mm;
    let span = width as f32 * to_mm;
    // The camera's picture of that part of the page, turned against the strip by `cut.turn`.
    let half = HEIGHT as f32 / 2.0 * to_mm + rise.abs() + span / 2.0 * cut.turn.abs() + 0.5;
    let (wide, high) = (((span + 2.0) * scale) as usize + 1, (2.0 * half * scale) as usize + 1);
    let (c, s) = (cos(cut.turn), sin(cut.turn));
    let mut picture = Grey { width: wide, height: high, data: Vec::with_capacity(wide * high) };
    let fine = if height < 14.0 { 3 } else { 2 };
    for y in 0..high {
        for x in 0..wide {
            let light = paper.at(x as f32 / scale, y as f32 / scale);
            let mut sum = 0.0;
            for part in 0..fine * fine {
                let px = (x as f32 + ((part % fine) as f32 + 0.5) / fine as f32) / scale - (span + 2.0) / 2.0;
                let py = (y as f32 + ((part / fine) as f32 + 0.5) / fine as f32) / scale - half;
                // On the paper: x from the left end of the strip, y upwards from the base line.
                let (u, v) = (c * px + s * py, c * py - s * px);
                let up = CAPITAL / 2.0 - v;
                let across = (u + span / 2.0 + shear * v) / squeeze - start;
                let place = across / PITCH;
                let mut covered = 0.0;
                if place >= 0.0 {
                    let column = place as usize;
                    let inside = across - column as f32 * PITCH;
                    if let Some(&class) = classes.get(column) {
                        covered = font.ink_of(class, inside, up, weight);
                    }
                    if let Some(&class) = above.get(column) {
                        covered += font.ink_of(class, inside, up - distance, weight);
                    }
                }
                sum += light + (ink - light) * covered.min(1.0);
            }
            picture.data.push(sum / (fine * fine) as f32);
        }
    }
    camera.apply(&mut picture, rng);
    let mut out = Vec::with_capacity(width * HEIGHT);
    for y in 0..HEIGHT {
        for x in 0..width {
            let u = (x as f32 + 0.5) * to_mm - span / 2.0;
            let v = (y as f32 + 0.5 - HEIGHT as f32 / 2.0) * to_mm + rise;
            let (px, py) = (c * u - s * v, s * u + c * v);
            out.push(picture.at((px + (span + 2.0) / 2.0) * scale, (py + half) * scale));
        }
    }
    normalise(&mut out);
    let middles =
        (0..classes.len()).map(|column| (start + (column as f32 + 0.5) * PITCH) * squeeze / to_mm).collect();
    (out, middles)
}

/// Mean 0 and deviation 1, of the strip as a whole.
fn normalise(strip: &mut [f32]) {
    let count = strip.len() as f32;
    let mean = strip.iter().fold(0.0, |sum, value| sum + value) / count;
    let variance = strip.iter().fold(0.0, |sum, value| sum + (value - mean) * (value - mean)) / count;
    let scale = 1.0 / variance.sqrt().max(4.0);
    for value in strip.iter_mut() {
        *value = (*value - mean) * scale;
    }
}

/// What each step is to answer.
fn targets(middles: &[f32], classes: &[usize], width: usize) -> Vec<usize> {
    let pitch = middles[1] - middles[0];
    (0..width / STEP)
        .map(|step| {
            let x = (step * STEP) as f32 + STEP as f32 / 2.0;
            let place = (x - middles[0]) / pitch;
            let nearest = place.round();
            let away = (place - nearest).abs();
            if nearest < 0.0 || nearest >= classes.len() as f32 {
                if place > -0.75 && place < classes.len() as f32 - 0.25 { IGNORED } else { BLANK }
            } else if away < 0.27 {
                classes[nearest as usize]
            } else if away < 0.40 {
                IGNORED
            } else {
                BLANK
            }
        })
        .collect()
}

fn example(seed: u64, fonts: &[&Font]) -> (Vec<f32>, Vec<usize>) {
    let mut rng = Rng::new(seed);
    let font = fonts[rng.below(fonts.len())];
    let classes = text(&mut rng, 20);
    let height = rng.between(7.5, 24.0);
    let camera = Degradation::random(&mut rng, height);
    let paper = Paper::random(&mut rng, 1.0);
    let cut =
        Cut { size: rng.between(0.85, 1.17), rise: rng.between(-1.9, 1.9), turn: rng.between(-0.010, 0.010) };
    let start = rng.between(-8.0, 3.0) * PITCH;
    let (strip, middles) = strip(&mut rng, font, &classes, WIDTH, start, height, &camera, &paper, &cut);
    let targets = targets(&middles, &classes, WIDTH);
    (strip, targets)
}

fn train(fonts: &[&Font], updates: usize) -> Vec<f32> {
    let mut rng = Rng::new(1);
    let mut weights = Vec::with_capacity(parameters());
    for layer in &LAYERS {
        let deviation = (2.0 / layer.inputs() as f32).sqrt();
        weights.extend((0..layer.inputs() * layer.to).map(|_| rng.noise() * deviation));
        weights.extend(std::iter::repeat_n(0.0, layer.to));
    }
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get()).min(GROUPS);
    let (mut mean, mut square) = (vec![0.0_f32; weights.len()], vec![0.0_f32; weights.len()]);
    let (mut fade_mean, mut fade_square) = (1.0_f32, 1.0_f32);
    let mut recent = 0.0;
    for update in 0..updates {
        let mut groups: Vec<(Vec<f32>, f32)> = (0..GROUPS).map(|_| (vec![0.0; weights.len()], 0.0)).collect();
        std::thread::scope(|scope| {
            let mut shares: Vec<Vec<(usize, &mut (Vec<f32>, f32))>> =
                (0..cores).map(|_| Vec::new()).collect();
            for (number, group) in groups.iter_mut().enumerate() {
                shares[number % cores].push((number, group));
            }
            for share in shares {
                let weights = &weights;
                scope.spawn(move || {
                    let mut work = Work::default();
                    for (number, (sums, loss)) in
                        share.into_iter().map(|(number, group)| (number, (&mut group.0, &mut group.1)))
                    {
                        for index in 0..BATCH / GROUPS {
                            let seed = (update * BATCH + number * (BATCH / GROUPS) + index) as u64 + 1000;
                            let (strip, targets) = example(seed, fonts);
                            *loss += learn(&strip, &targets, weights, sums, &mut work);
                        }
                    }
                });
            }
        });
        // Adam, with a warm start and then a rate that falls to nothing.
        let progress = update as f32 / updates as f32;
        let warm = ((update + 1) as f32 / 200.0).min(1.0);
        let rate = RATE * warm * 0.5 * (1.0 + cos(3.141_592_7 * progress));
        fade_mean *= 0.9;
        fade_square *= 0.999;
        for index in 0..weights.len() {
            let mut gradient = 0.0;
            for (sums, _) in &groups {
                gradient += sums[index];
            }
            gradient /= BATCH as f32;
            mean[index] += 0.1 * (gradient - mean[index]);
            square[index] += 0.001 * (gradient * gradient - square[index]);
            let deviation = (square[index] / (1.0 - fade_square)).sqrt() + 1e-8;
            weights[index] -= rate * (mean[index] / (1.0 - fade_mean)) / deviation;
        }
        recent += groups.iter().fold(0.0, |sum, group| sum + group.1) / BATCH as f32;
        if (update + 1) % 500 == 0 {
            eprintln!("  {:5} of {updates} updates: {:.2} % of the steps doubted", update + 1, recent / 5.0);
            recent = 0.0;
        }
    }
    weights
}

/// Characters and whole lines of 44 read right at the places where they are.
fn measure(
    name: &str,
    font: &Font,
    weights: &[f32],
    condition: impl Fn(&mut Rng) -> (f32, Degradation, Paper, Cut),
) {
    const LINES: usize = 250;
    const LONG: usize = 44;
    let width = 768;
    let mut work = Work::default();
    let (mut right, mut whole) = (0, 0);
    for line in 0..LINES {
        let mut rng = Rng::new(0xfeed_0000_0000 + line as u64);
        let classes = text(&mut rng, LONG);
        let (height, camera, paper, cut) = condition(&mut rng);
        let start = rng.between(0.5, 1.0) * PITCH;
        let (strip, middles) = strip(&mut rng, font, &classes, width, start, height, &camera, &paper, &cut);
        forward(&strip, width, weights, &mut work);
        let answer = &work.after[LAYERS.len()];
        let mut correct = 0;
        for (&middle, &class) in middles.iter().zip(&classes) {
            let step = ((middle / STEP as f32) as usize).min(width / STEP - 1);
            let values = &answer[step * 40..step * 40 + BLANK];
            let best =
                (0..BLANK).fold(0, |best, other| if values[other] > values[best] { other } else { best });
            correct += usize::from(best == class);
        }
        right += correct;
        whole += usize::from(correct == LONG);
    }
    println!(
        "{name:44} characters {:7.3} %   lines of {LONG} {:5.1} %",
        100.0 * right as f32 / (LINES * LONG) as f32,
        100.0 * whole as f32 / LINES as f32
    );
}

fn run() -> Result<(), String> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let measuring = arguments.first().is_some_and(|first| first == "--measure");
    if measuring {
        arguments.remove(0);
    }
    let [outlines, file, rest @ ..] = &arguments[..] else {
        return Err("usage: train [--measure] OUTLINES WEIGHTS [UPDATES]".into());
    };
    let text =
        std::fs::read_to_string(outlines).map_err(|error| format!("cannot read {outlines}: {error}"))?;
    let fonts = Font::parse(&text).map_err(|error| format!("{outlines}: {error}"))?;
    let cut = |name: &str| {
        fonts
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, font)| font)
            .ok_or(format!("{outlines} has no {name}"))
    };
    assert_eq!(ALPHABET.len(), BLANK);
    if !measuring {
        let updates = match rest.first() {
            Some(count) => count.parse().map_err(|_| format!("{count} is no number of updates"))?,
            None => UPDATES,
        };
        let weights = train(&[cut("OCRB")?], updates);
        let bytes: Vec<u8> = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut out = std::fs::File::create(file).map_err(|error| format!("cannot write {file}: {error}"))?;
        return out.write_all(&bytes).map_err(|error| format!("cannot write {file}: {error}"));
    }
    let bytes = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"))?;
    let weights: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    if weights.len() != parameters() {
        return Err(format!("{file} holds {} weights, not {}", weights.len(), parameters()));
    }
    let exact = || Cut { size: 1.0, rise: 0.0, turn: 0.0 };
    let loose = |rng: &mut Rng| Cut {
        size: rng.between(0.88, 1.03),
        rise: rng.between(-1.6, 1.6),
        turn: rng.between(-0.004, 0.004),
    };
    let (usual, other) = (cut("OCRB")?, cut("OCRBS")?);
    for (name, font) in [("as designed", usual), ("another cut, never trained on", other)] {
        measure(&format!("{name}: clean, 20 px"), font, &weights, |_| {
            (20.0, Degradation::NONE, Paper::plain(0.9), exact())
        });
        for height in [8.0, 10.0, 12.0, 16.0, 20.0] {
            measure(&format!("{name}: as in training, {height} px"), font, &weights, |rng| {
                (height, Degradation::random(rng, height), Paper::random(rng, 1.0), loose(rng))
            });
        }
        measure(&format!("{name}: strong noise, 14 px"), font, &weights, |rng| {
            let camera = Degradation { noise: 18.0, gain: 190.0, lift: 30.0, ..Degradation::NONE };
            (14.0, camera, Paper::random(rng, 1.0), loose(rng))
        });
        measure(&format!("{name}: JPEG 15, 14 px"), font, &weights, |rng| {
            (
                14.0,
                Degradation { jpeg: 15.0, blur: 0.6, ..Degradation::NONE },
                Paper::random(rng, 1.0),
                loose(rng),
            )
        });
        measure(&format!("{name}: busy paper, faint light, 14 px"), font, &weights, |rng| {
            let camera = Degradation {
                gain: 90.0,
                lift: 20.0,
                noise: 3.0,
                gradient: (0.9, 0.3),
                blur: 0.8,
                ..Degradation::NONE
            };
            (14.0, camera, Paper::random(rng, 1.7), loose(rng))
        });
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("train: {error}");
        std::process::exit(1);
    }
}
