//! `menshen bench`: measures, never asserts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use menshen::bench::{Plan, Report, Spread, measure, search_given};
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
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelsArgs,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let vision = args.models.vision()?;
    if let (Some(templates), Some(queries)) = (&args.templates, &args.queries) {
        return only_search(&vision.models_dir, templates, queries);
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
    if args.json {
        say(json(&report)?)?;
    } else {
        print(&report)?;
    }
    Ok(ExitCode::SUCCESS)
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
