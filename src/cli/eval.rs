//! `menshen eval`: the models of this gate on an owner's own pictures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use menshen::config::{Config, Vision};
use menshen::eval::comparison::Column;
use menshen::eval::pairs::Pairs;
use menshen::eval::{comparison, document_photo, liveness, mrz, plot};
use menshen::vision::calibration::Calibration;
use menshen::vision::enrolment::Examiner;
use menshen::vision::models::{MANIFEST, Models};
use menshen::vision::picture::Picture;
use menshen::{Context, Error, Kind, Result};
use serde::Serialize;

use super::{ConfigArgs, say};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Compares pairs of pictures: how well one threshold tells the same person from another
    Match(MatchArgs),
    /// Judges presentations: how many attacks pass and how many people are refused (ISO/IEC 30107-3)
    Liveness(LivenessArgs),
    /// Reads the machine readable zones in pictures of documents: how many are read, rightly where a text is beside them
    Mrz(MrzArgs),
}

#[derive(clap::Args)]
struct MrzArgs {
    /// The pictures; what the zone of NAME.jpg says may be in NAME.txt
    #[arg(long, value_name = "DIR")]
    pages: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelsArgs,
}

#[derive(clap::Args)]
struct MatchArgs {
    /// The pairs: CSV with the columns a,b,same (1 one person, 0 two)
    #[arg(long, value_name = "FILE")]
    pairs: PathBuf,
    /// The folder below which the pictures are
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Makes the pictures of column a as coarse as the photos of identity documents (102 by 126 pixels, JPEG of at
    /// most 2 KiB) and suggests settings.documents.photo_threshold
    #[arg(long)]
    document: bool,
    /// Draws the two distributions and the ROC
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelsArgs,
}

#[derive(clap::Args)]
struct LivenessArgs {
    /// Presentations of people: pictures, or sub-folders of frames
    #[arg(long, value_name = "DIR")]
    live: PathBuf,
    /// Presentations of attacks: pictures, or sub-folders of frames; what stands before the first hyphen of a name
    /// is its kind
    #[arg(long, value_name = "DIR")]
    attack: PathBuf,
    /// The score from which a face is live (LiveThres)
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: u8,
    /// Frames a second of the sub-folders
    #[arg(long, default_value_t = 15)]
    fps: u32,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    models: ModelsArgs,
}

/// Which models.
#[derive(clap::Args)]
pub struct ModelsArgs {
    /// The folder of the models, in place of the configuration's; without a configuration, `models` here if there is
    /// one
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl ModelsArgs {
    /// The configuration, where there is one that can be used.
    pub fn loaded(&self) -> Option<Config> {
        self.config.load().ok()
    }

    /// What the configuration says of vision, with the folder as it was asked for.
    pub fn vision(&self) -> Result<Vision> {
        let mut vision = match self.config.load() {
            Ok(config) => config.vision,
            Err(error) if error.kind() == Kind::NotFound || !self.config.path().exists() => {
                let mut vision = Config::default().vision;
                if Path::new("models").join(MANIFEST).exists() {
                    vision.models_dir = "models".into();
                }
                vision
            }
            Err(error) => return Err(error),
        };
        if let Some(models) = &self.models {
            vision.models_dir.clone_from(models);
        }
        Ok(vision)
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.what {
        What::Match(args) => compare(args),
        What::Liveness(args) => judge(args),
        What::Mrz(args) => zones(args),
    }
}

fn compare(args: &MatchArgs) -> Result<ExitCode> {
    let text = std::fs::read_to_string(&args.pairs)
        .context(|| format!("the pairs {} cannot be read", args.pairs.display()))?;
    let vision = args.models.vision()?;
    let models = Models::open(&vision.models_dir, &vision.onnxruntime)?;
    let calibration = Calibration::new(models.manifest().embedder.calibration.points.clone())?;
    let pairs = Pairs::parse(&text);
    let workers = match vision.enrol_workers {
        0 => available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let embed = |column| {
        comparison::embed(&pairs, column, &args.root, workers, || {
            let mut examiner = Examiner::new(&models, 1)?;
            Ok(move |bytes: &[u8]| Ok(examiner.template(bytes, false)?.map(|(template, ..)| template)))
        })
    };
    let report = if args.document {
        let photos = comparison::embed(&pairs, Column::A, &args.root, workers, || {
            let (mut examiner, mut picture) = (Examiner::new(&models, 1)?, Picture::new());
            Ok(move |bytes: &[u8]| {
                let Some((_, face, _)) = examiner.template(bytes, false)? else { return Ok(None) };
                picture.decode_file(bytes)?;
                match examiner.portrait(&document_photo::portrait(&picture, &face)?) {
                    Ok(template) => Ok(Some(template)),
                    Err(error) if error.kind() == Kind::Face => Ok(None),
                    Err(error) => Err(error),
                }
            })
        })?;
        comparison::compare(&pairs, (&photos, &embed(Column::B)?), &calibration, &models.embedder_id())?
            .of_document_photos(&calibration)
    } else {
        let embedded = embed(Column::Both)?;
        comparison::compare(&pairs, (&embedded, &embedded), &calibration, &models.embedder_id())?
    };
    if let Some(file) = &args.plot {
        std::fs::write(file, plot::svg(&report))
            .context(|| format!("the plot {} cannot be written", file.display()))?;
    }
    if args.json {
        say(json(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let number = |value: Option<f32>| value.map_or("-".into(), |value| format!("{value:.4}"));
    say(format_args!("model           {}", report.model))?;
    say(format_args!(
        "pairs           {}: {} genuine, {} impostor",
        report.pairs, report.genuine, report.impostor
    ))?;
    say(format_args!(
        "left out        {} without a face, {} unreadable; {} malformed lines",
        report.no_face, report.unreadable, report.malformed
    ))?;
    say(format_args!("genuine from    {}", number(report.genuine_min)))?;
    say(format_args!("impostor up to  {}", number(report.impostor_max)))?;
    if let (Some(eer), Some(at)) = (report.eer, report.eer_threshold) {
        say(format_args!(
            "EER             {:.3} % at cosine {:.4}, score {:.1}",
            100.0 * eer,
            at.cosine,
            at.score
        ))?;
    }
    for (rate, at) in report.tar_at_far.iter().rev() {
        say(format_args!(
            "TAR at FAR {rate}  {:.3} % at cosine {:.4}, score {:.1}",
            100.0 * at.tar,
            at.cosine,
            at.score
        ))?;
    }
    if let Some(suggested) = report.document_photo {
        say(format_args!(
            "photo_threshold {} (cosine {:.4}): FAR {:.3} %, FRR {:.3} %",
            suggested.threshold,
            suggested.cosine,
            100.0 * suggested.far,
            100.0 * suggested.frr
        ))?;
    }
    for name in &report.no_face_pictures {
        say(format_args!("no face         {name}"))?;
    }
    for (name, why) in &report.unreadable_pictures {
        say(format_args!("unreadable      {name}: {why}"))?;
    }
    for line in &report.malformed_lines {
        say(format_args!("malformed       line {line} of {}", args.pairs.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn zones(args: &MrzArgs) -> Result<ExitCode> {
    use mrz::Outcome;
    let vision = args.models.vision()?;
    let models = Models::open(&vision.models_dir, &vision.onnxruntime)?;
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let report = mrz::evaluate(&models, vision.threads, &args.pages, today)?;
    if args.json {
        say(json(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in &report.pictures {
        say(format_args!(
            "{:<24} {:?}, {} corrected, {:.0} ms",
            line.picture, line.outcome, line.corrections, line.milliseconds
        ))?;
    }
    say(format_args!(
        "pictures        {}: {} read rightly, {} wrongly, {} without a text; {} unread, {} without a zone, {} no pictures",
        report.pictures.len(),
        report.count(Outcome::Right),
        report.count(Outcome::Wrong),
        report.count(Outcome::Read),
        report.count(Outcome::Unread),
        report.count(Outcome::Nothing),
        report.count(Outcome::NoPicture)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn judge(args: &LivenessArgs) -> Result<ExitCode> {
    if !(1..=60).contains(&args.fps) {
        return Err(Error::new(Kind::Input, format!("--fps must be 1 to 60, not {}", args.fps)));
    }
    let vision = args.models.vision()?;
    let models = Models::open(&vision.models_dir, &vision.onnxruntime)?;
    let conditions = liveness::Conditions {
        fps: args.fps as f32,
        threshold: args.threshold,
        smallest_face: vision.smallest_face,
        detect_threshold: 0.6,
    };
    let report = liveness::evaluate(&models, &args.live, &args.attack, &conditions)?;
    if args.json {
        say(json(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!("presentations   {} of people, {} attacks", report.live, report.attack))?;
    for (name, rates) in [
        ("LiveSwitch 1", report.strict),
        ("LiveSwitch 2", report.lenient),
        ("model alone", report.model_alone),
    ] {
        let share = |rate: Option<f64>| rate.map_or("-".into(), |rate| format!("{:.1} %", 100.0 * rate));
        say(format_args!(
            "{name:<15} APCER {}, BPCER {}, ACER {}",
            share(rates.apcer),
            share(rates.bpcer),
            share(rates.acer)
        ))?;
    }
    for (kind, rate) in &report.apcer_by_kind {
        say(format_args!("APCER of {kind:<6} {:.1} %", 100.0 * rate))?;
    }
    for name in &report.no_face {
        say(format_args!("no face         {name}"))?;
    }
    for (name, why) in &report.unreadable {
        say(format_args!("unreadable      {name}: {why}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A report as indented JSON.
pub fn json(report: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(report)
        .map_err(|error| Error::caused(Kind::Io, "the report cannot be written as JSON", error))
}
