//! Reads machine readable zones: lines out of a picture, through the OCR-B model, to a [`crate::document::mrz::Zone`].
//!
//! The model (`models/ocrb`) sees a strip with one line and says for every four pixels which character has its middle
//! there, or none. Characters stand at even distances (ICAO 9303-3, section 4.2), so that a line is read by laying the grid of
//! 30, 36 or 44 places over the strip that explains all of the answer best; a smudge costs one character and shifts none.

use std::time::{Duration, Instant};

use jiff::civil::Date;
use ort::session::Session;
use ort::value::Tensor;

use super::find::{Grey, Line, LineFinder};
use crate::document::mrz::correct::{self, ALPHABET, Corrected, Shares};
use crate::error::{Error, Kind, Result};
use crate::vision::models::{Models, MrzModel, run_failed};

/// The classes of the model: the characters of [`ALPHABET`] in its order, and behind them "no character".
const CLASSES: usize = ALPHABET.len() + 1;
/// Pixels of a strip for each step of the answer.
const STEP: usize = 4;
/// Distance of two characters over the height of a capital, as designed: 723 to 700 units; digits are 770 high, so that
/// a line of both measures a little more.
const PITCH: f32 = 723.0 / 700.0;
const MEASURED: f32 = 1.06;
/// Numbers of characters of a line.
const WIDTHS: [usize; 3] = [44, 36, 30];
/// What a share is taken for at least: one step may be wrong about everything.
const LEAST_SHARE: f32 = 0.003;
/// A line whose characters are less certain than this, on average, is none of a zone.
const LEAST_CERTAINTY: f32 = 0.75;
/// Distance of two lines over the height of a capital: 6.35 mm to 2.46 mm, give or take a tilted page.
const LINE_STEP: (f32, f32) = (1.8, 3.4);
/// Distances of the grid that are tried, as shares of the one that is expected.
const DISTANCES: (f32, f32) = (0.86, 1.16);

/// What was read of a line.
#[derive(Clone)]
struct ReadLine {
    line: Line,
    /// For each place: the shares of the characters, without "none".
    places: Vec<Shares>,
    /// Mean share of the likeliest character of a place.
    certainty: f32,
    /// How well the grid explains the strip; higher is better, 0 at best.
    fit: f32,
}

/// A zone that was read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The zone.
    pub read: Corrected,
    /// The picture shows the page upside down.
    pub upside_down: bool,
    /// The lines of the zone in the picture, the first first, in the direction of reading.
    pub lines: Vec<Line>,
}

/// What a picture shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    /// No machine readable zone.
    Nothing,
    /// Lines of one, which could not be read for sure.
    Unread,
    /// One that was read.
    Zone(Box<Found>),
}

/// The model with buffers of its own.
pub struct ZoneReader {
    session: Session,
    model: MrzModel,
    input: Tensor<f32>,
    answer: Vec<[f32; CLASSES]>,
    finder: LineFinder,
}

impl ZoneReader {
    /// The reader of the manifest on `threads` threads. `Model` if the manifest has none, or if it does not fit its
    /// description.
    pub fn new(models: &Models, threads: usize) -> Result<Self> {
        let model = models.manifest().mrz.clone().ok_or_else(|| {
            Error::new(
                Kind::Model,
                "the manifest of the models has no [mrz], which reads machine readable zones; run make setup",
            )
        })?;
        let shape = [1, 1, model.height, model.width];
        let session = models.session(
            &model.file,
            &model.sha256,
            threads,
            &model.input,
            shape.map(|side| side as i64),
            &[&model.output],
        )?;
        let input = Tensor::from_array((shape, vec![0.0; model.height * model.width]))
            .map_err(|error| run_failed(&model.name, error))?;
        let mut reader = Self { session, model, input, answer: Vec::new(), finder: LineFinder::new() };
        // Finds out a wrong answer now.
        reader.run()?;
        Ok(reader)
    }

    /// Looks for a zone in a picture and reads it, for about `limit` at most: lines that are left then are not read.
    /// `today` tells the centuries.
    pub fn read(&mut self, picture: &Grey, today: Date, limit: Duration) -> Result<Sight> {
        let end = Instant::now() + limit;
        let lines = self.finder.find(picture);
        let mut legible = Legible::default();
        let mut sight = Sight::Nothing;
        for line in lines {
            if Instant::now() >= end {
                break;
            }
            let mut best: Option<(ReadLine, bool)> = None;
            for upside_down in [false, true] {
                if legible.turned.is_some_and(|turned| turned != upside_down) {
                    continue;
                }
                if let Some(found) = self.read_line(picture, line, upside_down)?
                    && best.as_ref().is_none_or(|(best, _)| found.certainty > best.certainty)
                {
                    best = Some((found, upside_down));
                }
            }
            let Some((found, upside_down)) = best.filter(|(found, _)| found.certainty >= LEAST_CERTAINTY)
            else {
                continue;
            };
            // The lines of a zone are the longest of a page: the others need not be read.
            for group in legible.take(found, upside_down) {
                match understand(&group, today) {
                    Ok(read) => {
                        let lines = group.iter().map(|line| line.line).collect();
                        return Ok(Sight::Zone(Box::new(Found { read, upside_down, lines })));
                    }
                    Err(_) => sight = Sight::Unread,
                }
            }
        }
        Ok(sight)
    }

    /// Reads one line in the way that explains it best; `None` if it is no line of 30, 36 or 44 characters.
    fn read_line(&mut self, picture: &Grey, line: Line, upside_down: bool) -> Result<Option<ReadLine>> {
        let line = if upside_down { Line { from: line.to, to: line.from, ..line } } else { line };
        let line = centred(picture, line);
        let mut best: Option<ReadLine> = None;
        for width in WIDTHS {
            // The height of capitals if the line has so many characters.
            let capital = line.length() / (width as f32 * PITCH - 0.3);
            if !(0.80..=1.25).contains(&(line.height / MEASURED / capital)) {
                continue;
            }
            self.cut(picture, &line, capital);
            self.run()?;
            let expected = PITCH * self.model.capital as f32 / STEP as f32;
            let Some(grid) = Grid::lay(&self.answer, width, expected) else { continue };
            let found = self.take(line, &grid, width);
            if best.as_ref().is_none_or(|best| found.fit > best.fit) {
                best = Some(found);
            }
        }
        Ok(best)
    }

    /// Cuts a strip out of the picture along a line, with capitals of the height that the model wants, in the middle.
    fn cut(&mut self, picture: &Grey, line: &Line, capital: f32) {
        let scale = capital / self.model.capital as f32;
        let (length, (x, y)) = (line.length().max(1.0), line.middle());
        let (dx, dy) =
            ((line.to.0 - line.from.0) / length * scale, (line.to.1 - line.from.1) / length * scale);
        let (width, height) = (self.model.width, self.model.height);
        let (_, values) = self.input.extract_tensor_mut();
        // Beside the line the page soon ends; what lies there must not spoil the contrast of the type.
        let reach = length / scale / 2.0 + 1.5 * PITCH * self.model.capital as f32;
        // Where the strip has fewer pixels than the picture, each takes the mean of as many as fall on it.
        let fine = (scale.round() as usize).clamp(1, 4);
        let mut values_of = values.iter_mut();
        for row in 0..height {
            for column in 0..width {
                let mut sum = 0.0;
                for part in 0..fine * fine {
                    let inside = |part: usize| (part as f32 + 0.5) / fine as f32;
                    let u = column as f32 + inside(part % fine) - width as f32 / 2.0;
                    let u = u.clamp(-reach, reach);
                    let v = row as f32 + inside(part / fine) - height as f32 / 2.0;
                    sum += picture.at(x + u * dx - v * dy, y + u * dy + v * dx);
                }
                if let Some(value) = values_of.next() {
                    *value = sum / (fine * fine) as f32;
                }
            }
        }
        normalise(values);
    }

    /// Runs the model on the strip; the answer holds shares.
    fn run(&mut self) -> Result<()> {
        let model = &self.model;
        let outputs =
            self.session.run([(&self.input).into()]).map_err(|error| run_failed(&model.name, error))?;
        let (_, values) = outputs
            .get(&model.output)
            .ok_or_else(|| Error::new(Kind::Model, format!("{} gave no {}", model.name, model.output)))?
            .try_extract_tensor::<f32>()
            .map_err(|error| run_failed(&model.name, error))?;
        let steps = model.width / STEP;
        if values.len() != CLASSES * steps {
            return Err(Error::new(
                Kind::Model,
                format!("{} gave {} values instead of {}", model.name, values.len(), CLASSES * steps),
            ));
        }
        self.answer.clear();
        self.answer.extend((0..steps).map(|step| {
            let mut shares = std::array::from_fn(|class| values[class * steps + step]);
            softmax(&mut shares);
            shares
        }));
        Ok(())
    }

    /// The places of a grid.
    fn take(&self, line: Line, grid: &Grid, width: usize) -> ReadLine {
        let mut places = Vec::with_capacity(width);
        let mut certainty = 0.0;
        for place in 0..width {
            let at = grid.at(place as f32).clamp(0.0, (self.answer.len() - 2) as f32);
            let (step, share) = (at as usize, at.fract());
            let mut characters: Shares = std::array::from_fn(|class| {
                self.answer[step][class] * (1.0 - share) + self.answer[step + 1][class] * share
            });
            let sum = characters.iter().sum::<f32>().max(1e-6);
            characters.iter_mut().for_each(|character| *character /= sum);
            certainty += characters.iter().fold(0.0_f32, |most, share| most.max(*share));
            places.push(characters);
        }
        ReadLine { line, places, certainty: certainty / width as f32, fit: grid.fit }
    }
}

/// Mean 0 and deviation 1, as in training; a strip of one grey stays nearly 0.
fn normalise(values: &mut [f32]) {
    let count = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>() / count;
    let scale = 1.0 / variance.sqrt().max(4.0);
    for value in values {
        *value = (*value - mean) * scale;
    }
}

fn softmax(values: &mut [f32; CLASSES]) {
    let highest = values.iter().fold(f32::NEG_INFINITY, |high, value| high.max(*value));
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = (*value - highest).exp();
        sum += *value;
    }
    for value in values {
        *value /= sum;
    }
}

/// The line moved onto its type, with the height of it: measured by how dark the rows around it are, on its left, on its right
/// and as a whole.
fn centred(picture: &Grey, line: Line) -> Line {
    let length = line.length().max(1.0);
    let (dx, dy) = ((line.to.0 - line.from.0) / length, (line.to.1 - line.from.1) / length);
    // How far the type's middle lies below the line between two shares of its length, and how high it is.
    let band = |from: f32, to: f32| -> Option<(f32, f32)> {
        const ROWS: usize = 48;
        const COLUMNS: usize = 160;
        let row_of = |row: usize| (row as f32 + 0.5 - ROWS as f32 / 2.0) * line.height * 2.4 / ROWS as f32;
        let mut rows = [0.0_f32; ROWS];
        for (row, sum) in rows.iter_mut().enumerate() {
            let v = row_of(row);
            for column in 0..COLUMNS {
                let u = length * (from + (to - from) * (column as f32 + 0.5) / COLUMNS as f32);
                *sum += picture.at(line.from.0 + u * dx - v * dy, line.from.1 + u * dy + v * dx);
            }
        }
        let light = rows.iter().fold(0.0_f32, |light, row| light.max(*row));
        let dark = rows[ROWS / 4..ROWS * 3 / 4].iter().fold(f32::MAX, |dark, row| dark.min(*row));
        let edge = light - 0.35 * (light - dark);
        let middle = (ROWS / 4..ROWS * 3 / 4).min_by(|one, other| rows[*one].total_cmp(&rows[*other]))?;
        // A line of type has rows that are a little lighter in the middle, between the bars of an E: two may be bridged.
        let reach = |rows: &mut dyn Iterator<Item = usize>, sums: &[f32; ROWS]| {
            let (mut last, mut light) = (middle, 0);
            for row in rows {
                if sums[row] < edge {
                    (last, light) = (row, 0);
                } else {
                    light += 1;
                    if light > 2 {
                        break;
                    }
                }
            }
            last
        };
        let top = reach(&mut (0..=middle).rev(), &rows);
        let bottom = reach(&mut (middle..ROWS), &rows);
        if top == 0 || bottom == ROWS - 1 {
            return None;
        }
        let height = row_of(bottom) - row_of(top) + row_of(1) - row_of(0);
        Some(((row_of(top) + row_of(bottom)) / 2.0, height))
    };
    let Some((whole, height)) = band(0.0, 1.0) else { return line };
    let ends = band(0.0, 0.3).zip(band(0.7, 1.0)).map(|((left, _), (right, _))| (left, right));
    let near = |(left, right): &(f32, f32)| (left - right).abs() < 0.6 * line.height;
    // Found 15 % and 85 % along.
    let (left, right) = ends.filter(near).map_or((whole, whole), |(left, right)| {
        (left - (right - left) * 0.214, right + (right - left) * 0.214)
    });
    let moved = |(x, y): (f32, f32), below: f32| (x - below * dy, y + below * dx);
    Line {
        from: moved(line.from, left),
        to: moved(line.to, right),
        height: height.clamp(0.7 * line.height, 1.4 * line.height),
    }
}

/// Places at even distances over the steps of an answer, or nearly even where the page is tilted.
struct Grid {
    /// Step of the first place.
    start: f32,
    /// Steps from one place to the next, at the start.
    distance: f32,
    /// By how much that grows from place to place.
    growth: f32,
    fit: f32,
}

impl Grid {
    fn at(&self, place: f32) -> f32 {
        self.start + self.distance * place + self.growth * place * (place - 1.0) / 2.0
    }

    /// The grid of `width` places that fits best, about `expected` steps apart: characters on its places, none between
    /// them and none beside it. `None` if the answer is shorter than the grid.
    fn lay(answer: &[[f32; CLASSES]], width: usize, expected: f32) -> Option<Self> {
        let log = |share: f32| share.max(LEAST_SHARE).ln();
        let taken: Vec<f32> = answer.iter().map(|shares| log(1.0 - shares[CLASSES - 1])).collect();
        let free: Vec<f32> = answer.iter().map(|shares| log(shares[CLASSES - 1])).collect();
        let mut before = Vec::with_capacity(free.len() + 1);
        before.push(0.0);
        for value in &free {
            before.push(before[before.len() - 1] + value);
        }
        let steps = answer.len();
        let between = |values: &[f32], at: f32| {
            let at = at.clamp(0.0, (steps - 1) as f32);
            let step = (at as usize).min(steps - 2);
            let share = at - step as f32;
            values[step] * (1.0 - share) + values[step + 1] * share
        };
        let fit = |grid: &Self| {
            let mut sum = between(&taken, grid.at(0.0));
            for place in 1..width {
                sum += between(&taken, grid.at(place as f32));
                sum += 0.5 * between(&free, (grid.at(place as f32 - 1.0) + grid.at(place as f32)) / 2.0);
            }
            // What is beside the grid ought to be none: a step counts as the share of a place that it is.
            let (left, right) = (grid.at(0.0) - 0.7 * expected, grid.at(width as f32 - 1.0) + 0.7 * expected);
            let left = (left.max(0.0) as usize).min(steps);
            let right = (right.max(0.0).ceil() as usize).min(steps);
            let beside = before[left] + before[steps] - before[right];
            (sum + beside / expected) / width as f32
        };
        let mut best: Option<Self> = None;
        let consider = |grid: Self, best: &mut Option<Self>| {
            let fit = fit(&grid);
            if best.as_ref().is_none_or(|best| fit > best.fit) {
                *best = Some(Self { fit, ..grid });
            }
        };
        let long = (width - 1) as f32;
        // Coarsely: half a step at the far end.
        let count = ((DISTANCES.1 - DISTANCES.0) * expected * long / 0.5) as usize;
        for number in 0..=count {
            let distance = expected * DISTANCES.0 + number as f32 * 0.5 / long;
            let room = (steps - 1) as f32 - distance * long;
            if room < 0.0 {
                break;
            }
            for start in 0..=room as usize {
                consider(Self { start: start as f32, distance, growth: 0.0, fit: 0.0 }, &mut best);
            }
        }
        let coarse = best.take()?;
        let last = coarse.at(long);
        // Finely, and a place or two to either side: coarsely, half a step weighs more than a place at the end.
        for shift in -2_i32..=2 {
            let shift = shift as f32 * coarse.distance;
            for bend in -3_i32..=3 {
                for start in -3_i32..=3 {
                    for end in -3_i32..=3 {
                        let start = coarse.start + shift + start as f32 * 0.33;
                        let end = last + shift + end as f32 * 0.33;
                        if start < 0.0 || end > (steps - 1) as f32 {
                            continue;
                        }
                        // `bend` half steps off the straight in the middle.
                        let growth = -8.0 * (bend as f32 * 0.5) / (long * long);
                        let distance = (end - start) / long - growth * (long - 1.0) / 2.0;
                        consider(Self { start, distance, growth, fit: 0.0 }, &mut best);
                    }
                }
            }
        }
        Some(best.unwrap_or(coarse))
    }
}

/// The lines of a picture that were legible.
#[derive(Default)]
struct Legible {
    /// Those that were upright, and those that were upside down; each from the first to the last as they are read.
    lines: [Vec<ReadLine>; 2],
    /// Which way up the page lies. One line does not tell, which may be of something else that lies there: lines that
    /// belong together do.
    turned: Option<bool>,
}

impl Legible {
    /// One line more; gives those that belong together, in the order in which they are read.
    fn take(&mut self, found: ReadLine, upside_down: bool) -> Vec<Vec<&ReadLine>> {
        let lines = &mut self.lines[usize::from(upside_down)];
        lines.push(found);
        lines.sort_by(|one, other| {
            let (one, other) = (one.line.middle().1, other.line.middle().1);
            if upside_down { other.total_cmp(&one) } else { one.total_cmp(&other) }
        });
        let groups = groups(lines);
        if !groups.is_empty() {
            self.turned = Some(upside_down);
        }
        groups
    }
}

/// Lines that belong together: two or three below each other, of one length.
fn groups(lines: &[ReadLine]) -> Vec<Vec<&ReadLine>> {
    let mut groups = Vec::new();
    for (index, first) in lines.iter().enumerate() {
        let wanted = if first.places.len() == 30 { 3 } else { 2 };
        let mut group = vec![first];
        for next in &lines[index + 1..] {
            let last = group[group.len() - 1];
            let apart = next.line.below(last.line.middle()) / (last.line.height / MEASURED);
            let shift = (next.line.from.0 - last.line.from.0).abs() + (next.line.to.0 - last.line.to.0).abs();
            if next.places.len() == first.places.len()
                && (LINE_STEP.0..=LINE_STEP.1).contains(&apart)
                && shift < 0.25 * first.line.length()
                && group.len() < wanted
            {
                group.push(next);
            }
        }
        if group.len() == wanted {
            groups.push(group);
        }
    }
    groups
}

/// The zone that lines show. `Input` if it cannot be told for sure.
fn understand(lines: &[&ReadLine], today: Date) -> Result<Corrected> {
    let shares: Vec<&[Shares]> = lines.iter().map(|line| &line.places[..]).collect();
    correct::understand(&shares, today)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer that has characters at places `distance` steps apart from `start` on.
    fn answer(width: usize, start: f32, distance: f32) -> Vec<[f32; CLASSES]> {
        let mut answer = vec![[0.0; CLASSES]; 192];
        for (step, shares) in answer.iter_mut().enumerate() {
            let place = (step as f32 - start) / distance;
            let near = place.round();
            let on = near >= 0.0 && near < width as f32 && (place - near).abs() < 0.3;
            let class = (near.max(0.0) as usize * 7) % 37;
            shares[if on { class } else { CLASSES - 1 }] = 0.97;
            shares[0] += 0.03;
        }
        answer
    }

    #[test]
    fn the_grid_is_laid_over_the_characters() {
        for (width, start, distance) in [(44, 8.3, 3.87), (44, 3.0, 4.1), (36, 20.0, 3.5), (30, 40.5, 4.2)] {
            let answer = answer(width, start, distance);
            let grid = Grid::lay(&answer, width, 3.87).unwrap();
            for place in [0, width / 2, width - 1] {
                let wanted = start + distance * place as f32;
                let found = grid.at(place as f32);
                assert!((found - wanted).abs() < 0.8, "{width} at {distance}: {found} for {wanted}");
            }
            // Another number of places explains it worse.
            for other in WIDTHS.into_iter().filter(|other| *other != width) {
                let fit = Grid::lay(&answer, other, 3.87).map_or(f32::MIN, |other| other.fit);
                assert!(fit < grid.fit - 0.1, "{other} fits {width}: {fit} to {}", grid.fit);
            }
        }
        assert!(Grid::lay(&answer(30, 10.0, 3.9)[..80], 44, 3.87).is_none());
    }

    /// A line of the passport's width, upright or upside down, at a height.
    fn line(y: f32, upside_down: bool) -> ReadLine {
        let (from, to) = if upside_down { ((460.0, y), (0.0, y)) } else { ((0.0, y), (460.0, y)) };
        ReadLine {
            line: Line { from, to, height: 10.0 },
            places: vec![[0.0; ALPHABET.len()]; 44],
            certainty: 1.0,
            fit: 0.0,
        }
    }

    #[test]
    fn one_line_does_not_tell_which_way_up_the_page_lies() {
        let mut legible = Legible::default();
        // A line of something else, upside down, before those of the page.
        assert!(legible.take(line(400.0, true), true).is_empty());
        assert_eq!(legible.turned, None);
        assert!(legible.take(line(100.0, false), false).is_empty());
        assert_eq!(legible.turned, None);
        let groups = legible.take(line(76.0, false), false);
        let heights: Vec<f32> = groups.iter().flatten().map(|line| line.line.middle().1).collect();
        assert_eq!(heights, [76.0, 100.0]);
        assert_eq!(legible.turned, Some(false));
        // Upside down the lower line is the first.
        let mut legible = Legible::default();
        legible.take(line(76.0, true), true);
        let groups = legible.take(line(100.0, true), true);
        let heights: Vec<f32> = groups.iter().flatten().map(|line| line.line.middle().1).collect();
        assert_eq!(heights, [100.0, 76.0]);
        assert_eq!(legible.turned, Some(true));
    }
}
