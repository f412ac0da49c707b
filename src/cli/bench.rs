//! `menshen bench`: measures, never asserts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use menshen::bench::wiegand::{self, Errors, Timing};
use menshen::bench::{Plan, Report, Spread, measure, search_given, zone};
use menshen::device::wiegand_out;
use menshen::vision::models::{Manifest, Models};
use menshen::vision::template::Template;
use menshen::{Context, Error, Kind, Result};

use super::eval::{ModelsArgs, json};
use super::say;

/// A picture that a set-up has put there.
const PICTURE: &str = ".setup/demo/enrol/A.jpg";

#[derive(clap::Args)]
pub struct Args {
    /// A JPEG that shows one face, best of 640 x 480
    #[arg(long, value_name = "FILE", default_value = PICTURE)]
    picture: PathBuf,
    /// People in the gallery while frames are looked at
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    faces: usize,
    /// Frames to look at
    #[arg(long, value_name = "N", default_value_t = 300)]
    frames: usize,
    /// Searches in each gallery
    #[arg(long, value_name = "N", default_value_t = 200)]
    searches: usize,
    /// Only searches: templates as rows of little-endian 16-bit numbers, of any scale
    #[arg(long, value_name = "FILE", requires = "queries")]
    templates: Option<PathBuf>,
    /// With --templates: queries as rows of little-endian 32-bit floats
    #[arg(long, value_name = "FILE", requires = "templates")]
    queries: Option<PathBuf>,
    /// Only the pulses of the Wiegand output, which needs neither models nor a picture
    #[arg(long, conflicts_with = "templates")]
    wiegand: bool,
    /// Frames to send on the Wiegand output
    #[arg(long, value_name = "N", default_value_t = 100)]
    wiegand_frames: usize,
    /// Only a page: a picture of a document with a machine readable zone, which is read --frames times
    #[arg(long, value_name = "FILE", conflicts_with_all = ["templates", "wiegand"])]
    page: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelsArgs,
}

/// On lines that do nothing, then on the real ones of the configuration. Real lines that cannot be had, because the
/// agent has them, cost only their own line.
fn wiegand_timings(args: &Args) -> Result<Vec<Timing>> {
    let frames = args.wiegand_frames.max(1);
    let mut timings = vec![wiegand::simulated(frames)?];
    let configured = args.models.loaded().map(|config| config.device.wiegand_out).unwrap_or_default();
    if configured.starts_with("gpio:") {
        match wiegand_out::lines(&configured).and_then(|name| wiegand::real(&configured, name, frames)) {
            Ok(timing) => timings.push(timing),
            Err(error) => eprintln!("menshen: {configured} is not measured: {error}"),
        }
    }
    Ok(timings)
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if args.wiegand {
        let timings = wiegand_timings(args)?;
        if args.json {
            say(json(&serde_json::json!({ "wiegand": timings }))?)?;
        } else {
            print_wiegand(&timings)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let vision = args.models.vision()?;
    if let (Some(templates), Some(queries)) = (&args.templates, &args.queries) {
        return only_search(&vision.models_dir, templates, queries);
    }
    if let Some(page) = &args.page {
        let picture = std::fs::read(page).context(|| format!("cannot read {}", page.display()))?;
        let models = Models::open(&vision.models_dir, &vision.onnxruntime)?;
        let cost = zone(&models, &picture, args.frames.max(1))?;
        if args.json {
            say(json(&cost)?)?;
        } else {
            let (Spread { p50, p95, mean }, (width, height)) = (cost.page, cost.size);
            say(format_args!("{:<34} {:>8} {:>8} {:>8}", "ms", "p50", "p95", "mean"))?;
            let name = format!("page, {width} x {height}");
            say(format_args!("{name:<34} {p50:>8.2} {p95:>8.2} {mean:>8.2}"))?;
            say(format_args!("lines of zones a second             {:>8.1}", cost.lines_per_second))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let jpeg = std::fs::read(&args.picture).context(|| {
        format!("cannot read {}: name a JPEG with one face by --picture", args.picture.display())
    })?;
    let plan = Plan {
        frames: args.frames.max(1),
        searches: args.searches.max(1),
        faces: args.faces,
        smallest_face: vision.smallest_face,
    };
    let report = measure(|| Models::open(&vision.models_dir, &vision.onnxruntime), &jpeg, &plan)?;
    let timings = wiegand_timings(args)?;
    if args.json {
        let mut whole = serde_json::to_value(&report)
            .map_err(|error| Error::caused(Kind::Io, "the report cannot be written", error))?;
        whole["wiegand"] = serde_json::json!(timings);
        say(json(&whole)?)?;
    } else {
        print(&report)?;
        print_wiegand(&timings)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_wiegand(timings: &[Timing]) -> Result<()> {
    say(format_args!("{:<34} {:>8} {:>8} {:>8} {:>8}", "Wiegand, error in us", "min", "p50", "p99", "max"))?;
    let row = |name: &str, errors: &Errors| {
        let Errors { min, p50, p99, max } = errors;
        say(format_args!("{name:<34} {min:>8.1} {p50:>8.1} {p99:>8.1} {max:>8.1}"))
    };
    for timing in timings {
        row(&format!("{}: pulse of 50 us", timing.line), &timing.width)?;
        row(&format!("{}: 1500 us to the next", timing.line), &timing.interval)?;
        if let Some(why) = &timing.no_real_time {
            say(format_args!("{}: {why}", timing.line))?;
        }
    }
    Ok(())
}

fn print(report: &Report) -> Result<()> {
    let row = |name: &str, spread: &Spread| {
        say(format_args!("{name:<34} {:>8.2} {:>8.2} {:>8.2}", spread.p50, spread.p95, spread.mean))
    };
    let (frame, bare) = (&report.frame, &report.bare_models);
    say(format_args!(
        "Menshen {} on {}, one thread; {} frames of {} x {}, {} people",
        report.version, report.machine, frame.frames, frame.size.0, frame.size.1, report.faces
    ))?;
    say(format_args!("{:<34} {:>8} {:>8} {:>8}", "ms", "p50", "p95", "mean"))?;
    row("motion", &frame.motion)?;
    row("decode", &frame.decode)?;
    row("detect", &frame.detect)?;
    row("align", &frame.align)?;
    row("template", &frame.template)?;
    row("search", &frame.search)?;
    row("liveness", &frame.liveness)?;
    row("total", &frame.total)?;
    let (width, height) = bare.detector_input;
    row(&format!("bare detector, {width} x {height}"), &bare.detector)?;
    let (width, height) = bare.full_detector_input;
    row(&format!("bare detector, {width} x {height}"), &bare.full_detector)?;
    row("bare embedder", &bare.embedder)?;
    if let Some(liveness) = &bare.liveness {
        row("bare liveness", liveness)?;
    }
    say(format_args!("total / bare models                {:>8.3}", report.total_of_bare))?;
    for search in &report.search {
        row(&format!("search of {} (filled in {:.0} ms)", search.faces, search.fill), &search.search)?;
    }
    say(format_args!("ready                              {:>8.0} ms", report.ready))?;
    if let Some(resident) = report.resident_mib {
        say(format_args!("resident memory                    {resident:>8.0} MiB"))?;
    }
    Ok(())
}

fn only_search(models_dir: &Path, templates: &Path, queries: &Path) -> Result<ExitCode> {
    let dimension = Manifest::load(models_dir)?.embedder.dimension;
    let read = |path: &Path, row: usize| -> Result<Vec<u8>> {
        let bytes = std::fs::read(path).context(|| format!("cannot read {}", path.display()))?;
        if bytes.is_empty() || bytes.len() % row != 0 {
            return Err(Error::new(
                Kind::Input,
                format!("{} does not hold whole rows of {row} bytes", path.display()),
            ));
        }
        Ok(bytes)
    };
    let rows = read(templates, 2 * dimension)?;
    let queries = read(queries, 4 * dimension)?
        .chunks_exact(4 * dimension)
        .map(|row| {
            let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            Template::normalised(row.chunks_exact(4).map(value).collect())
        })
        .collect::<Result<Vec<_>>>()?;
    let (cost, best) = search_given(dimension, &rows, &queries)?;
    say(json(&serde_json::json!({ "search": cost, "best": best }))?)?;
    Ok(ExitCode::SUCCESS)
}
