//! Measuring this machine: what a frame costs, stage by stage, beside the bare runs of its models; what a search
//! costs; how much memory a full gallery takes and how soon the gate sees. Measured is what the gate itself runs.

pub mod wiegand;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use ort::value::Tensor;
use serde::Serialize;

use crate::error::{Context, Error, Kind, Result};
use crate::frame::{Frame, PixelFormat};
use crate::vision::find::input_sizes;
use crate::vision::gallery::Gallery;
use crate::vision::liveness::Level;
use crate::vision::models::Models;
use crate::vision::mrz::find::Grey;
use crate::vision::mrz::read::{Sight, ZoneReader};
use crate::vision::picture::Picture;
use crate::vision::template::Template;
use crate::vision::watch::{LookParams, Watcher};

/// What is measured, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Frames looked at.
    pub frames: usize,
    /// Searches in each gallery.
    pub searches: usize,
    /// Faces in the gallery while frames are looked at, each of another person.
    pub faces: usize,
    /// Width between the ears, in pixels, of the smallest face to find.
    pub smallest_face: u32,
}

/// A distribution of durations, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// Exceeded by one in twenty.
    pub p95: f64,
    /// The mean.
    pub mean: f64,
}

/// A frame, stage by stage.
#[derive(Debug, Clone, Serialize)]
pub struct FrameCost {
    /// Width and height of the picture.
    pub size: (u32, u32),
    /// Frames that were looked at.
    pub frames: usize,
    /// The motion gate.
    pub motion: Spread,
    /// JPEG to pixels.
    pub decode: Spread,
    /// Finding the faces; dearer each half second, when the whole frame is searched for further ones.
    pub detect: Spread,
    /// Taking the face out, and its quality.
    pub align: Spread,
    /// The template.
    pub template: Spread,
    /// The gallery.
    pub search: Spread,
    /// The liveness model and the motion of the face.
    pub liveness: Spread,
    /// All of it, from frame to answer.
    pub total: Spread,
}

/// The models without anything around them, each on an input that is ready.
#[derive(Debug, Clone, Serialize)]
pub struct BareModels {
    /// The detector as it looks at most frames.
    pub detector: Spread,
    /// Size of its input.
    pub detector_input: (u32, u32),
    /// The detector as it looks twice a second.
    pub full_detector: Spread,
    /// Size of its input.
    pub full_detector_input: (u32, u32),
    /// The embedder.
    pub embedder: Spread,
    /// The liveness model, if there is one.
    pub liveness: Option<Spread>,
    /// The medians of detector, embedder and liveness together.
    pub total: f64,
}

/// Searches in a gallery.
#[derive(Debug, Clone, Serialize)]
pub struct SearchCost {
    /// Faces in the gallery.
    pub faces: usize,
    /// One search.
    pub search: Spread,
    /// Filling the gallery from stored templates, in milliseconds.
    pub fill: f64,
}

/// Reading a page with a machine readable zone.
#[derive(Debug, Clone, Serialize)]
pub struct ZoneCost {
    /// Width and height of the picture.
    pub size: (usize, usize),
    /// Finding the lines, reading and understanding them; without decoding.
    pub page: Spread,
    /// The lines of the zone in a second of that, at the median.
    pub lines_per_second: f64,
}

/// Reads one picture of a page `runs` times. `Input` if it has no zone that can be read.
pub fn zone(models: &Models, picture: &[u8], runs: usize) -> Result<ZoneCost> {
    let mut reader = ZoneReader::new(models, 1)?;
    let (mut page, mut grey) = (Picture::new(), Grey::default());
    page.decode_file(picture).context(|| "the page to measure with cannot be used")?;
    let (width, height) = page.size();
    grey.fill_from_rgb(width as usize, height as usize, page.pixels());
    let (mut times, mut lines) = (Vec::with_capacity(runs), 0);
    for number in 0..runs + 2 {
        let begin = Instant::now();
        // The centuries do not matter here.
        let sight = reader.read(&grey, jiff::civil::date(2026, 1, 1), Duration::from_secs(60))?;
        let Sight::Zone(found) = sight else {
            return Err(Error::new(
                Kind::Input,
                "the page to measure with has no machine readable zone that can be read",
            ));
        };
        lines = found.lines.len();
        if number >= 2 {
            times.push(begin.elapsed());
        }
    }
    let page = spread(times)?;
    Ok(ZoneCost { size: (grey.width, grey.height), lines_per_second: lines as f64 * 1000.0 / page.p50, page })
}

/// What `menshen bench` prints. All durations are milliseconds, all on one thread.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of Menshen.
    pub version: &'static str,
    /// Processor architecture.
    pub machine: &'static str,
    /// From the start to a watcher that can look: manifest, check of the models, runtime, sessions, and the gallery
    /// from templates in memory. The store is not read.
    pub ready: f64,
    /// A frame.
    pub frame: FrameCost,
    /// Its models alone.
    pub bare_models: BareModels,
    /// `frame.total.p50 / bare_models.total`.
    pub total_of_bare: f64,
    /// Galleries of several sizes.
    pub search: Vec<SearchCost>,
    /// Resident memory with models, watcher and `faces` people, in MiB; `None` where the system does not tell.
    pub resident_mib: Option<f64>,
    /// The same at its highest.
    pub resident_peak_mib: Option<f64>,
    /// People in the gallery at that time.
    pub faces: usize,
}

/// Measures everything with one JPEG that shows one face. `Face` if it does not.
pub fn measure(open: impl FnOnce() -> Result<Models>, jpeg: &[u8], plan: &Plan) -> Result<Report> {
    let begin = Instant::now();
    let models = open()?;
    let mut watcher = Watcher::new(&models, 1)?;
    let mut ready = begin.elapsed();
    let dimension = models.manifest().embedder.dimension;
    // Made one by one, so that the memory measured below is the gallery's alone; the making is not timed.
    let mut numbers = Numbers::default();
    let gallery = Gallery::new(dimension)?;
    for number in (0_i64..).take(plan.faces) {
        let template = numbers.template(dimension)?.to_bytes();
        let begin = Instant::now();
        gallery.insert(number, number, &template)?;
        ready += begin.elapsed();
    }
    let frames = frames(jpeg)?;
    let frame = look(&mut watcher, &gallery, &frames, plan)?;
    let (resident_mib, resident_peak_mib) = (status("VmRSS:"), status("VmHWM:"));
    let bare_models = bare(&models, frame.size, plan)?;
    drop(gallery);
    let search = [50_000, 100_000]
        .into_iter()
        .map(|faces| search(dimension, faces, plan.searches))
        .collect::<Result<Vec<_>>>()?;
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        machine: std::env::consts::ARCH,
        ready: millis(ready),
        total_of_bare: frame.total.p50 / bare_models.total,
        frame,
        bare_models,
        search,
        resident_mib,
        resident_peak_mib,
        faces: plan.faces,
    })
}

/// Searches templates and queries of somebody else's making: the way to compare with another index. `templates` are
/// rows of little-endian `i16` ([`Template::to_bytes`]), the row's number is its key.
pub fn search_given(
    dimension: usize,
    templates: &[u8],
    queries: &[Template],
) -> Result<(SearchCost, Vec<i64>)> {
    let begin = Instant::now();
    let gallery = Gallery::new(dimension)?;
    for (number, row) in (0_i64..).zip(templates.chunks_exact(2 * dimension)) {
        gallery.insert(number, number, row)?;
    }
    let fill = millis(begin.elapsed());
    let mut best = Vec::with_capacity(queries.len());
    let mut times = Vec::with_capacity(queries.len());
    for query in queries {
        let begin = Instant::now();
        let found = gallery.search(query)?;
        times.push(begin.elapsed());
        best.push(found.map_or(-1, |found| found.best.face));
    }
    Ok((SearchCost { faces: gallery.len(), search: spread(times)?, fill }, best))
}

fn search(dimension: usize, faces: usize, searches: usize) -> Result<SearchCost> {
    let mut numbers = Numbers::default();
    let mut templates = Vec::with_capacity(faces * 2 * dimension);
    for _ in 0..faces {
        templates.extend(numbers.template(dimension)?.to_bytes());
    }
    // Every other query is somebody who is there, on another day.
    let queries = (0..searches)
        .map(|number| {
            let stranger = numbers.template(dimension)?;
            let row = number * 7919 % faces.max(1);
            let known = Template::from_bytes(&templates[row * 2 * dimension..][..2 * dimension])?;
            let mix = if number % 2 == 0 { 0.75 } else { 0.0 };
            let pairs = known.values().iter().zip(stranger.values());
            Template::normalised(pairs.map(|(known, stranger)| mix * known + stranger).collect())
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(search_given(dimension, &templates, &queries)?.0)
}

/// The picture as a camera would give it: it trembles a little, so that no two frames are the same.
fn frames(jpeg: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut picture = Picture::new();
    picture.decode_file(jpeg).context(|| "the picture to measure with cannot be used")?;
    let (width, height) = picture.size();
    let mut frames = Vec::new();
    for (right, down) in [(0, 0), (1, 0), (1, 1), (0, 1)] {
        let mut shifted = Vec::with_capacity(picture.pixels().len());
        for y in 0..height {
            for x in 0..width {
                shifted.extend(picture.pixel((x + right).min(width - 1), (y + down).min(height - 1)));
            }
        }
        let mut bytes = Vec::new();
        let size = |side: u32| {
            u16::try_from(side)
                .map_err(|_| Error::new(Kind::Input, "the picture to measure with is too large"))
        };
        jpeg_encoder::Encoder::new(&mut bytes, 90)
            .encode(&shifted, size(width)?, size(height)?, jpeg_encoder::ColorType::Rgb)
            .map_err(|error| {
                Error::caused(Kind::Input, "the picture to measure with cannot be encoded", error)
            })?;
        frames.push(bytes);
    }
    Ok(frames)
}

fn look(
    watcher: &mut Watcher,
    gallery: &Gallery<i64, i64>,
    frames: &[Vec<u8>],
    plan: &Plan,
) -> Result<FrameCost> {
    const WARM_UP: usize = 10;
    let params = LookParams {
        live_threshold: 50,
        detect_threshold: 65,
        distance: 0,
        smallest_face: plan.smallest_face,
        live_level: Level::Strict,
    };
    let begin = Instant::now();
    let mut stages: [Vec<Duration>; 8] = Default::default();
    let mut size = (0, 0);
    for number in 0..WARM_UP + plan.frames {
        // Captured at 15 frames a second, whatever it costs here.
        let captured = begin + Duration::from_millis(1000 * number as u64 / 15);
        let bytes = frames[number % frames.len()].clone();
        let clock = Instant::now();
        let frame = Frame::jpeg(bytes, captured, Timestamp::UNIX_EPOCH, number as u64, 0)?;
        debug_assert_eq!(frame.format(), PixelFormat::Jpeg);
        size = frame.size();
        let look = watcher.look(&frame, &params, gallery)?;
        let total = clock.elapsed();
        let [face] = &look.faces[..] else {
            return Err(Error::new(
                Kind::Face,
                format!("the picture to measure with must show one face, not {}", look.faces.len()),
            ));
        };
        if let Some(fault) = face.fault {
            return Err(Error::new(
                Kind::Face,
                format!(
                    "the face in the picture to measure with is not good enough to be compared: {fault:?}"
                ),
            ));
        }
        if number >= WARM_UP {
            let timings = &look.timings;
            let all = [
                timings.motion,
                timings.decode,
                timings.detect,
                timings.align,
                timings.embed,
                timings.search,
                timings.liveness,
                total,
            ];
            stages.iter_mut().zip(all).for_each(|(stage, time)| stage.push(time));
        }
    }
    let [motion, decode, detect, align, template, search, liveness, total] = stages;
    Ok(FrameCost {
        size,
        frames: plan.frames,
        motion: spread(motion)?,
        decode: spread(decode)?,
        detect: spread(detect)?,
        align: spread(align)?,
        template: spread(template)?,
        search: spread(search)?,
        liveness: spread(liveness)?,
        total: spread(total)?,
    })
}

fn bare(models: &Models, size: (u32, u32), plan: &Plan) -> Result<BareModels> {
    let manifest = models.manifest();
    let (full, coarse) = input_sizes(size, plan.smallest_face.max(1) as f32);
    let detector = &manifest.detector;
    let look = |(width, height): (u32, u32)| {
        run_bare(models, &detector.file, &detector.sha256, &detector.input, (width, height), plan.frames)
    };
    let embedder = &manifest.embedder;
    let square = |side: u32| (side, side);
    let detector_cost = look(coarse)?;
    let embedder_cost = run_bare(
        models,
        &embedder.file,
        &embedder.sha256,
        &embedder.input,
        square(embedder.size),
        plan.frames,
    )?;
    let liveness_cost = match &manifest.liveness {
        None => None,
        Some(liveness) => Some(run_bare(
            models,
            &liveness.file,
            &liveness.sha256,
            &liveness.input,
            square(liveness.size),
            plan.frames,
        )?),
    };
    Ok(BareModels {
        detector: detector_cost,
        detector_input: coarse,
        full_detector: look(full)?,
        full_detector_input: full,
        embedder: embedder_cost,
        liveness: liveness_cost,
        total: detector_cost.p50 + embedder_cost.p50 + liveness_cost.map_or(0.0, |cost| cost.p50),
    })
}

/// One model on grey.
fn run_bare(
    models: &Models,
    file: &str,
    sha256: &str,
    input: &str,
    (width, height): (u32, u32),
    runs: usize,
) -> Result<Spread> {
    let failed = |error: ort::Error| Error::new(Kind::Model, format!("the model {file} failed: {error}"));
    let dimensions = [1, 3, i64::from(height), i64::from(width)];
    let mut session = models.session(file, sha256, 1, input, dimensions, &[])?;
    let values = vec![0.5_f32; 3 * width as usize * height as usize];
    let tensor = Tensor::from_array(([1, 3, height as usize, width as usize], values)).map_err(failed)?;
    let mut times = Vec::with_capacity(runs);
    for number in 0..runs + 5 {
        let begin = Instant::now();
        session.run([(&tensor).into()]).map_err(failed)?;
        if number >= 5 {
            times.push(begin.elapsed());
        }
    }
    spread(times)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn spread(mut times: Vec<Duration>) -> Result<Spread> {
    if times.is_empty() {
        return Err(Error::new(Kind::Input, "nothing was measured: ask for at least one run"));
    }
    times.sort_unstable();
    let at = |share: f64| millis(times[((times.len() - 1) as f64 * share).round() as usize]);
    let mean = millis(times.iter().sum::<Duration>()) / times.len() as f64;
    Ok(Spread { p50: at(0.5), p95: at(0.95), mean })
}

/// A line of `/proc/self/status` in MiB.
fn status(name: &str) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// Numbers that look random and are the same every time (xorshift64*, Vigna 2016).
struct Numbers(u64);

impl Default for Numbers {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The sum of four uniform numbers: near enough to a normal one for directions.
    fn normal(&mut self) -> f32 {
        let bits = self.next();
        (0..4).map(|part| ((bits >> (16 * part)) & 0xffff) as f32 / 65_536.0 - 0.5).sum()
    }

    fn template(&mut self, dimension: usize) -> Result<Template> {
        Template::normalised((0..dimension).map(|_| self.normal()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_those_of_the_list() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        // Ranks 0 to 99: the rank of the median is 49.5, rounded to 50, of the 95th percentile 94.05.
        assert_eq!(spread(times).unwrap(), Spread { p50: 51.0, p95: 95.0, mean: 50.5 });
        assert_eq!(spread(vec![]).unwrap_err().kind(), Kind::Input);
    }

    #[test]
    fn searches_what_it_is_given() {
        let mut numbers = Numbers::default();
        let templates: Vec<u8> = (0..300).flat_map(|_| numbers.template(64).unwrap().to_bytes()).collect();
        let queries: Vec<_> =
            [5, 299, 0].map(|row| Template::from_bytes(&templates[row * 128..][..128]).unwrap()).into();
        let (cost, best) = search_given(64, &templates, &queries).unwrap();
        assert_eq!((cost.faces, best), (300, vec![5, 299, 0]));
        assert!(cost.search.p50 > 0.0 && cost.search.p50 <= cost.search.p95);
    }

    #[test]
    fn the_system_tells_the_memory() {
        assert!(status("VmRSS:").unwrap() > 1.0);
        assert_eq!(status("VmNothing:"), None);
    }
}
