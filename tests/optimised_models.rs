//! The promise of `models/optimise.py`: a rewritten model answers like the published one, on real faces.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

#[path = "support/vision.rs"]
mod support;

use menshen::vision::align::AlignedFace;
use menshen::vision::detect::Detector;
use menshen::vision::picture::{Normalisation, Region, Scaler};
use menshen::vision::{DetectedFace, Models, Picture};
use ort::session::Session;
use ort::value::Tensor;

/// The published and the rewritten model of this kind.
struct Pair {
    sessions: [Session; 2],
    input: Tensor<f32>,
    output: String,
}

impl Pair {
    fn new(
        models: &Models,
        kind: &str,
        file: &str,
        sha256: &str,
        size: u32,
        input: &str,
        output: &str,
    ) -> Self {
        let manifest = models.manifest();
        let text = |entry: &toml::Value, key: &str| entry[key].as_str().unwrap().to_owned();
        let convert = manifest.convert.iter().find(|entry| text(entry, "kind") == kind).unwrap();
        assert_eq!(
            text(convert, "to"),
            format!("models/{file}"),
            "the gate does not run the rewritten {kind}"
        );
        assert_eq!(text(convert, "sha256"), sha256);
        let published = text(convert, "from");
        let extract = manifest.extract.iter().find(|entry| text(entry, "to") == published).unwrap();
        let published_sha256 = text(extract, "sha256");
        assert_ne!(published_sha256, sha256, "the same file twice");
        let side = i64::from(size);
        let session = |file: &str, sha256: &str| {
            models.session(file, sha256, 1, input, [1, 3, side, side], &[output]).unwrap()
        };
        Self {
            sessions: [
                session(published.strip_prefix("models/").unwrap(), &published_sha256),
                session(file, sha256),
            ],
            input: Tensor::from_array(([1, 3, side, side], vec![0.0; (3 * size * size) as usize])).unwrap(),
            output: output.to_owned(),
        }
    }

    /// Fills the input and gives what the published and the rewritten model make of it.
    fn answers(&mut self, fill: impl FnOnce(&mut [f32])) -> [Vec<f32>; 2] {
        fill(self.input.extract_tensor_mut().1);
        self.sessions.each_mut().map(|session| {
            let outputs = session.run([(&self.input).into()]).unwrap();
            outputs[self.output.as_str()].try_extract_tensor::<f32>().unwrap().1.to_vec()
        })
    }
}

/// Calls `see` with the pictures of a folder, every `step`th, and the most certain face in each.
fn faces(
    detector: &mut Detector,
    folder: &str,
    step: usize,
    mut see: impl FnMut(&str, &Picture, &DetectedFace),
) {
    for name in support::names(folder).iter().step_by(step) {
        let picture = support::picture(name);
        if let Some(face) = detector.detect(&picture, 0.6).unwrap().first() {
            see(name, &picture, face);
        }
    }
}

#[test]
fn the_rewritten_embedder_makes_the_same_templates() {
    let models = support::models();
    let embedder = &models.manifest().embedder;
    let mut pair = Pair::new(
        &models,
        "embedder",
        &embedder.file,
        &embedder.sha256,
        embedder.size,
        &embedder.input,
        &embedder.output,
    );
    let normalisation =
        Normalisation { colour: embedder.colour, mean: [embedder.mean; 3], scale: embedder.scale };
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let mut aligned = AlignedFace::new();
    let mut seen = 0;
    faces(&mut detector, "pictures", 1, |name, picture, face| {
        assert!(aligned.take(picture, &face.landmarks, embedder.size), "{name}");
        for mirrored in [false, true] {
            let [published, rewritten] = pair.answers(|input| aligned.write(&normalisation, mirrored, input));
            assert_eq!((published.len(), rewritten.len()), (embedder.dimension, embedder.dimension));
            let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
            let lengths = [dot(&published, &published).sqrt(), dot(&rewritten, &rewritten).sqrt()];
            let cosine = dot(&published, &rewritten) / (lengths[0] * lengths[1]);
            assert!(cosine >= 0.99999, "{name}: cosine {cosine}");
            assert!((lengths[1] / lengths[0] - 1.0).abs() < 1e-4, "{name}: lengths {lengths:?}");
        }
        seen += 1;
    });
    assert!(seen >= 50, "only {seen} faces were found to compare by");
}

#[test]
fn the_rewritten_liveness_model_gives_the_same_probability() {
    let models = support::models();
    let liveness = models.manifest().liveness.as_ref().unwrap();
    let mut pair = Pair::new(
        &models,
        "liveness",
        &liveness.file,
        &liveness.sha256,
        liveness.size,
        &liveness.input,
        &liveness.output,
    );
    let normalisation =
        Normalisation { colour: liveness.colour, mean: [liveness.mean; 3], scale: liveness.scale };
    let mut detector = Detector::new(&models, (640, 640), 1).unwrap();
    let mut scaler = Scaler::new();
    let mut live = Vec::new();
    let attacks = std::fs::read_dir(support::file("attacks")).unwrap();
    let attacks = attacks.map(|folder| format!("attacks/{}", folder.unwrap().file_name().to_string_lossy()));
    let folders = attacks.map(|folder| (folder, 10)).chain([
        ("clips/p03-a".into(), 25),
        ("clips/p04-a".into(), 25),
        ("pictures".into(), 1),
    ]);
    for (folder, step) in folders {
        faces(&mut detector, &folder, step, |name, picture, face| {
            let Some(region) = Region::square_around(&face.rect, liveness.crop, picture) else {
                return;
            };
            let size = (liveness.size, liveness.size);
            let answers = pair.answers(|input| {
                scaler.fill(picture, region, size, size, &normalisation, input).unwrap();
            });
            let [published, rewritten] = answers.map(|classes| {
                assert_eq!(classes.len(), liveness.classes);
                let most = classes.iter().copied().fold(f32::MIN, f32::max);
                let powers: Vec<f32> = classes.iter().map(|class| (class - most).exp()).collect();
                powers[liveness.live_class] / powers.iter().sum::<f32>()
            });
            assert!((published - rewritten).abs() <= 1e-4, "{name}: {published} and {rewritten}");
            live.push(published);
        });
    }
    // Answers of both kinds, or two models that always say the same would pass.
    let (low, high) = live.iter().fold((1.0f32, 0.0f32), |(low, high), p| (low.min(*p), high.max(*p)));
    assert!(live.len() >= 100 && low < 0.1 && high > 0.9, "{} faces, live {low} to {high}", live.len());
}
