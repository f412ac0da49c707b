//! The models: the manifest that describes them, the check that they are the ones it describes, and ONNX
//! Runtime, which is loaded once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{TensorElementType, ValueType};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::picture::{Colour, Normalisation};
use crate::error::{Context, Error, Kind, Result};

/// Name of the manifest in the folder of the models.
pub const MANIFEST: &str = "models.toml";

/// Version of the way from landmarks to the embedder's input; templates of another are not comparable.
const ALIGNMENT_VERSION: u32 = 1;

/// `models.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the set-up trains; nothing to the agent.
    #[serde(default)]
    pub train: Vec<toml::Value>,
    /// What the set-up downloads; nothing to the agent.
    #[serde(default)]
    pub download: Vec<toml::Value>,
    /// What the set-up takes out of downloads; nothing to the agent.
    #[serde(default)]
    pub extract: Vec<toml::Value>,
    /// Which of these the set-up rewrites into faster ones; nothing to the agent.
    #[serde(default)]
    pub convert: Vec<toml::Value>,
    /// Finds faces and landmarks.
    pub detector: DetectorModel,
    /// Makes templates.
    pub embedder: EmbedderModel,
    /// Looks for prints and screens in one colour picture. A gate can be without.
    pub liveness: Option<LivenessModel>,
    /// Reads lines of OCR-B. Only a gate with a document camera needs it.
    pub mrz: Option<MrzModel>,
}

/// Names of the detector's outputs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorOutputs {
    /// `[1, anchors, 4]`: offsets of centre and size.
    pub loc: String,
    /// `[1, anchors, 2]`: probabilities, 1 is face.
    pub conf: String,
    /// `[1, anchors, 10]`: offsets of the five landmarks.
    pub landmarks: String,
}

/// `[detector]`: a RetinaFace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorModel {
    /// For logs and pages.
    pub name: String,
    /// In the folder of the manifest.
    pub file: String,
    /// Of the file, hexadecimal.
    pub sha256: String,
    /// Name of the input, `[1, 3, height, width]`.
    pub input: String,
    /// Names of the outputs.
    pub outputs: DetectorOutputs,
    /// Order of the planes.
    pub colour: Colour,
    /// For each plane.
    pub mean: [f32; 3],
    /// See [`Normalisation`].
    pub scale: f32,
    /// Pixels between anchors, for each of the grids.
    pub strides: Vec<u32>,
    /// Sides of the square anchors of each grid, in pixels.
    pub anchors: Vec<Vec<f32>>,
    /// Of centre and landmarks, and of size.
    pub variances: [f32; 2],
    /// Of the weights.
    pub licence: String,
    /// Who trained it on what.
    pub provenance: String,
    /// Paper and package.
    #[serde(default)]
    pub source: String,
}

/// `[embedder.calibration]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationPoints {
    /// `[cosine, score]`, both rising.
    pub points: Vec<[f32; 2]>,
    /// On what, and how.
    pub fitted_on: String,
}

/// `[embedder]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedderModel {
    /// For logs and pages, and part of the model's id.
    pub name: String,
    /// In the folder of the manifest.
    pub file: String,
    /// Of the file, hexadecimal.
    pub sha256: String,
    /// Name of the input, `[1, 3, size, size]`.
    pub input: String,
    /// Name of the output, `[1, dimension]`.
    pub output: String,
    /// Side of the input in pixels.
    pub size: u32,
    /// Order of the planes.
    pub colour: Colour,
    /// For all planes.
    pub mean: f32,
    /// See [`Normalisation`].
    pub scale: f32,
    /// Of the template.
    pub dimension: usize,
    /// Where the landmarks go.
    pub alignment: Alignment,
    /// Of the weights.
    pub licence: String,
    /// Who trained it on what.
    pub provenance: String,
    /// Paper and package.
    #[serde(default)]
    pub source: String,
    /// From cosine to score.
    pub calibration: CalibrationPoints,
}

/// Where the five landmarks go in the embedder's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Alignment {
    /// ArcFace's five points on 112 x 112, scaled if the input is larger.
    #[serde(rename = "arcface-112")]
    Arcface112,
}

impl Alignment {
    fn name(self) -> &'static str {
        match self {
            Alignment::Arcface112 => "arcface-112",
        }
    }
}

/// `[liveness]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LivenessModel {
    /// For logs and pages.
    pub name: String,
    /// In the folder of the manifest.
    pub file: String,
    /// Of the file, hexadecimal.
    pub sha256: String,
    /// Name of the input, `[1, 3, size, size]`.
    pub input: String,
    /// Name of the output, `[1, classes]`, not softmaxed.
    pub output: String,
    /// Side of the input in pixels.
    pub size: u32,
    /// Order of the planes.
    pub colour: Colour,
    /// For all planes.
    pub mean: f32,
    /// See [`Normalisation`].
    pub scale: f32,
    /// Side of the region, in sides of the face's box.
    pub crop: f32,
    /// Which class is a live face.
    pub live_class: usize,
    /// How many classes.
    pub classes: usize,
    /// Of the weights.
    pub licence: String,
    /// Who trained it on what.
    pub provenance: String,
    /// What it cannot do.
    #[serde(default)]
    pub limits: String,
    /// Paper and package.
    #[serde(default)]
    pub source: String,
}

/// `[mrz]`: a reader of one line of OCR-B, of the 37 characters of machine readable zones.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MrzModel {
    /// For logs and pages.
    pub name: String,
    /// In the folder of the manifest.
    pub file: String,
    /// Of the file, hexadecimal.
    pub sha256: String,
    /// Name of the input, `[1, 1, height, width]`: a strip of mean 0 and deviation 1.
    pub input: String,
    /// Name of the output, `[1, 38, 1, width / 4]`, not softmaxed: digits, letters, filler, none.
    pub output: String,
    /// Pixels of the strip.
    pub height: usize,
    /// Likewise; 45 characters at least.
    pub width: usize,
    /// Height of a capital in the strip, in pixels.
    pub capital: usize,
    /// Of the weights.
    pub licence: String,
    /// Who trained it on what.
    pub provenance: String,
    /// What it cannot do.
    #[serde(default)]
    pub limits: String,
}

impl Manifest {
    /// Reads `models.toml` of a folder. `Model` if it is absent, malformed or contradicts itself.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(MANIFEST);
        let text = std::fs::read_to_string(&path).context_as(Kind::Model, || {
            format!("cannot read the manifest of the models {}; run make setup", path.display())
        })?;
        Self::parse(&text).context(|| format!("the manifest of the models {} cannot be used", path.display()))
    }

    /// The same from a text.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Self =
            toml::from_str(text).map_err(|error| Error::caused(Kind::Model, "malformed", error))?;
        let detector = &manifest.detector;
        let wrong = |what: String| Err(Error::new(Kind::Model, what));
        if detector.strides.is_empty()
            || detector.strides.contains(&0)
            || detector.strides.len() != detector.anchors.len()
            || detector.anchors.iter().any(Vec::is_empty)
        {
            return wrong("[detector] needs anchors for each of its strides".into());
        }
        let embedder = &manifest.embedder;
        if !(16..=1024).contains(&embedder.size) || !(1..=4096).contains(&embedder.dimension) {
            return wrong(format!(
                "[embedder] size {} or dimension {} is out of range",
                embedder.size, embedder.dimension
            ));
        }
        if let Some(liveness) = &manifest.liveness
            && (liveness.live_class >= liveness.classes
                || !(16..=1024).contains(&liveness.size)
                || !(liveness.crop >= 1.0 && liveness.crop <= 10.0))
        {
            return wrong("[liveness] has a size, crop or live_class out of range".into());
        }
        if let Some(mrz) = &manifest.mrz
            && (!(8..=64).contains(&mrz.capital)
                || !(mrz.capital..=256).contains(&mrz.height)
                || !(45 * mrz.capital..=4096).contains(&mrz.width)
                || mrz.width % 4 != 0)
        {
            return wrong("[mrz] has a height, width or capital out of range".into());
        }
        Ok(manifest)
    }
}

/// The models of a folder, described and checked, and the runtime that runs them. Cheap to clone; sessions
/// belong to the thread that made them.
#[derive(Clone)]
pub struct Models {
    dir: PathBuf,
    manifest: std::sync::Arc<Manifest>,
    environment: Environment,
}

impl Models {
    /// Reads the manifest of `dir`, checks that all its files are there and unaltered, and loads ONNX Runtime
    /// (`library`: a path, or `auto` for `libonnxruntime.so` in `dir` and then wherever the system keeps it).
    /// All errors are `Model`.
    pub fn open(dir: &Path, library: &str) -> Result<Self> {
        let manifest = Manifest::load(dir)?;
        let models = Self {
            dir: dir.to_path_buf(),
            environment: runtime(dir, library)?,
            manifest: std::sync::Arc::new(manifest),
        };
        let manifest = &models.manifest;
        models.read(&manifest.detector.file, &manifest.detector.sha256)?;
        models.read(&manifest.embedder.file, &manifest.embedder.sha256)?;
        if let Some(liveness) = &manifest.liveness {
            models.read(&liveness.file, &liveness.sha256)?;
        }
        Ok(models)
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Id of the embedder, stored with every template: name, beginning of its hash, and the alignment.
    /// Templates of different ids are never compared.
    pub fn embedder_id(&self) -> String {
        let embedder = &self.manifest.embedder;
        let hash = embedder.sha256.get(..12).unwrap_or(&embedder.sha256).to_ascii_lowercase();
        format!("{}@{hash}/{}.{ALIGNMENT_VERSION}", embedder.name, embedder.alignment.name())
    }

    /// The bytes of a model, if they are the right ones.
    fn read(&self, file: &str, sha256: &str) -> Result<Vec<u8>> {
        let path = self.dir.join(file);
        let bytes = std::fs::read(&path).context_as(Kind::Model, || {
            format!("cannot read the model {}; run make setup", path.display())
        })?;
        let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if !hash.eq_ignore_ascii_case(sha256) {
            return Err(Error::new(
                Kind::Model,
                format!(
                    "the model {} is not the one that {MANIFEST} describes: sha256 {hash} instead of {sha256}; \
                     restore the file or correct the manifest",
                    path.display()
                ),
            ));
        }
        Ok(bytes)
    }

    /// A session of a model in the folder on `threads` threads of its own, with the symbolic dimensions of its
    /// input fixed by `dimensions`. Checked again, so that the file that runs is the file that was checked.
    /// `Model` if it is not, if the runtime refuses it, or if it has no such input or outputs.
    pub fn session(
        &self,
        file: &str,
        sha256: &str,
        threads: usize,
        input: &str,
        dimensions: [i64; 4],
        outputs: &[&str],
    ) -> Result<Session> {
        let bytes = self.read(file, sha256)?;
        let symbols = {
            let session = self.build(file, &bytes, 1, &[], false)?;
            symbols_of_input(&session, file, input, dimensions)?
        };
        let session = self.build(file, &bytes, threads, &symbols, true)?;
        for name in outputs {
            if !session.outputs().iter().any(|output| output.name() == *name) {
                let has: Vec<_> = session.outputs().iter().map(|output| output.name()).collect();
                return Err(Error::new(
                    Kind::Model,
                    format!("the model {file} has no output {name}, only {}", has.join(", ")),
                ));
            }
        }
        Ok(session)
    }

    fn build(
        &self,
        file: &str,
        bytes: &[u8],
        threads: usize,
        symbols: &[(String, i64)],
        optimise: bool,
    ) -> Result<Session> {
        let build = || -> ort::Result<Session> {
            let level = if optimise { GraphOptimizationLevel::All } else { GraphOptimizationLevel::Disable };
            let mut builder: SessionBuilder = Session::builder(&self.environment)?
                .with_optimization_level(level)?
                .with_intra_threads(threads.max(1))?
                .with_inter_threads(1)?
                // Threads that spin between two frames would eat what the motion gate saves.
                .with_intra_op_spinning(false)?;
            for (symbol, size) in symbols {
                builder = builder.with_dimension_override(symbol, *size)?;
            }
            builder.commit_from_memory(bytes)
        };
        build().map_err(|error| {
            Error::new(Kind::Model, format!("ONNX Runtime refuses the model {file}: {error}"))
        })
    }
}

/// The symbolic dimensions of `input` with the sizes that make it `dimensions`.
fn symbols_of_input(
    session: &Session,
    file: &str,
    input: &str,
    dimensions: [i64; 4],
) -> Result<Vec<(String, i64)>> {
    let wrong = |what: String| Error::new(Kind::Model, format!("the model {file} {what}"));
    let [found] = session.inputs() else {
        return Err(wrong(format!("has {} inputs, not one", session.inputs().len())));
    };
    if found.name() != input {
        return Err(wrong(format!("has no input {input}, only {}", found.name())));
    }
    let ValueType::Tensor { ty: TensorElementType::Float32, shape, dimension_symbols } = found.dtype() else {
        return Err(wrong(format!("takes {:?}, not 32-bit floats", found.dtype())));
    };
    let fits =
        shape.len() == 4 && shape.iter().zip(dimensions).all(|(&has, wanted)| has == wanted || has == -1);
    if !fits {
        return Err(wrong(format!("takes {shape:?}, not {dimensions:?}")));
    }
    let unknown = shape.iter().zip(dimension_symbols.iter()).zip(dimensions);
    Ok(unknown
        .filter(|((has, symbol), _)| **has == -1 && !symbol.is_empty())
        .map(|((_, symbol), wanted)| (symbol.clone(), wanted))
        .collect())
}

/// ONNX Runtime, once for the process: it cannot be unloaded, and a failed attempt cannot be repeated.
static RUNTIME: Mutex<Option<std::result::Result<Environment, String>>> = Mutex::new(None);

fn runtime(dir: &Path, library: &str) -> Result<Environment> {
    let path = match library {
        "auto" => {
            let beside = dir.join("libonnxruntime.so");
            if beside.exists() { beside } else { system_library()? }
        }
        path => PathBuf::from(path),
    };
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = runtime.as_ref() {
        return known.clone().map_err(|error| Error::new(Kind::Model, error));
    }
    // Files that cannot be loaded are told apart before the loader sees them: it would take the process down.
    check_library(&path)?;
    let path = path.canonicalize().context_as(Kind::Model, || format!("cannot find {}", path.display()))?;
    let loaded = catch_unwind(AssertUnwindSafe(|| {
        let builder = ort::init_from(&path).map_err(|error| error.to_string())?;
        builder.with_name("menshen").with_telemetry(false).build().map_err(|error| error.to_string())
    }))
    .unwrap_or_else(|_| Err("its interface is not the expected one".into()))
    .map_err(|error| {
        format!(
            "ONNX Runtime cannot be loaded from {}: {error}; restore it with make setup, or name another \
             library in vision.onnxruntime and start again",
            path.display()
        )
    });
    *runtime = Some(loaded.clone());
    loaded.map_err(|error| Error::new(Kind::Model, error))
}

/// Where Debian, Yocto and Buildroot put shared libraries.
fn system_library() -> Result<PathBuf> {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders =
        ["/usr/local/lib".into(), format!("/usr/lib/{triple}"), "/usr/lib".into(), "/usr/lib64".into()];
    for folder in &folders {
        for name in ["libonnxruntime.so", "libonnxruntime.so.1"] {
            let path = Path::new(folder).join(name);
            if path.exists() {
                return Ok(path);
            }
        }
    }
    Err(Error::new(
        Kind::Model,
        format!(
            "no libonnxruntime.so beside the models nor in {}; run make setup, or name the library in \
             vision.onnxruntime",
            folders.join(", ")
        ),
    ))
}

/// `Model` unless the file is a whole ELF library for this processor. The loader maps what the headers
/// promise: a file cut short would end the process with SIGBUS instead of an error.
fn check_library(path: &Path) -> Result<()> {
    use std::io::Read;
    let wrong = |what: &str| {
        Error::new(
            Kind::Model,
            format!(
                "{} {what}; restore it with make setup, or name another library in vision.onnxruntime",
                path.display()
            ),
        )
    };
    let mut file = std::fs::File::open(path).context_as(Kind::Model, || {
        format!("cannot open ONNX Runtime at {}; run make setup", path.display())
    })?;
    let length = file.metadata().context_as(Kind::Model, || format!("cannot read {}", path.display()))?.len();
    let mut header = [0u8; 64];
    file.read_exact(&mut header).map_err(|_| wrong("is too short for a library"))?;
    // ELF-64 header (System V ABI): identification, machine at 18, section table at 40, its entry size and
    // number at 58 and 60. Linkers put that table last, so that it shows where the file must end.
    if header[..4] != *b"\x7fELF" || header[4] != 2 || header[5] != 1 {
        return Err(wrong("is no 64-bit library"));
    }
    let machine = u16::from_le_bytes([header[18], header[19]]);
    let expected = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        _ => machine,
    };
    if machine != expected {
        return Err(wrong("is for another processor"));
    }
    let half = |at: usize| u64::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let word = |bytes: &[u8], at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let table_end = |at: u64, entry: u64, number: u64| at.checked_add(entry * number);
    let sections = table_end(word(&header, 40), half(58), half(60));
    let (programs_at, program, programs) = (word(&header, 32), half(54), half(56));
    let whole = |end: Option<u64>| end.is_some_and(|end| end <= length);
    if !whole(sections) || !whole(table_end(programs_at, program, programs)) || program < 56 {
        return Err(wrong("is cut short"));
    }
    let mut table = vec![0; (program * programs) as usize];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut table, programs_at)
        .map_err(|_| wrong("is cut short"))?;
    for entry in table.chunks_exact(program as usize) {
        // Offset in the file at 8, length in the file at 32.
        if !whole(word(entry, 8).checked_add(word(entry, 32))) {
            return Err(wrong("is cut short"));
        }
    }
    Ok(())
}

/// One number for all planes.
pub(super) fn uniform(colour: Colour, mean: f32, scale: f32) -> Normalisation {
    Normalisation { colour, mean: [mean; 3], scale }
}

/// An error of a model run.
pub(super) fn run_failed(model: &str, error: ort::Error) -> Error {
    Error::new(Kind::Model, format!("the model {model} failed: {error}"))
}
