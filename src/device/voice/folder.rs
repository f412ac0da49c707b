//! The folder of spoken sentences, as `scripts/voice.sh` makes it: WAV files, and `manifest.tsv` that names each with
//! its SHA-256 and its text.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::wav::{self, Sound};
use crate::error::{Context, Error, Kind, Result};
use crate::text::Language;
use crate::text::spoken::{Sentence, sentences};

/// The largest manifest.
const MANIFEST_BYTES: u64 = 1 << 20;

/// The sentences of both languages in a folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file of each text.
    files: HashMap<(Language, &'static str), String>,
}

impl Folder {
    /// The folder at `path`, which need not be there.
    pub fn new(path: &Path) -> Self {
        let all = [Language::Chinese, Language::English].into_iter().flat_map(sentences);
        let files = all.map(|sentence| ((sentence.language, sentence.text), sentence.file())).collect();
        Self { path: path.to_owned(), files }
    }

    /// The sound of a sentence. `NotFound` without it, `Input` for a file that is none.
    pub(super) fn sound(&self, text: &str, language: Language) -> Result<Sound> {
        let file = self.files.get(&(language, text)).ok_or_else(|| {
            Error::new(Kind::NotFound, format!("{text:?} is no sentence of this gate's voice"))
        })?;
        let path = self.path.join(file);
        let bytes = read(&path, wav::MOST_BYTES)?;
        wav::parse(&bytes).map_err(|error| {
            Error::new(
                error.kind(),
                format!(
                    "the sentence {} {}: make it again with scripts/voice.sh",
                    path.display(),
                    error.message()
                ),
            )
        })
    }
}

/// A whole file of at most `most` bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let what = || format!("the sentence {} cannot be read: is device.voice_dir right?", path.display());
    let file = File::open(path).context(what)?;
    let length = file.metadata().context(what)?.len();
    let mut bytes = Vec::new();
    // Not by what the file says of itself: a device or a pipe has no length.
    file.take(most + 1).read_to_end(&mut bytes).context(what)?;
    if bytes.len() as u64 > most {
        return Err(Error::new(
            Kind::Input,
            format!(
                "{} has {length} bytes, which no sentence has: make it again with scripts/voice.sh",
                path.display()
            ),
        ));
    }
    Ok(bytes)
}

/// Whether the folder has every sentence of a language, as the program says it. Answers with how many; the error
/// names those that are missing, say something else by now, or are damaged.
pub fn check_sentences(folder: &Path, language: Language) -> Result<usize> {
    let path = folder.join("manifest.tsv");
    let bytes = read(&path, MANIFEST_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let rows: HashMap<&str, (&str, &str)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, '\t');
            Some((fields.next()?, (fields.next()?, fields.next()?)))
        })
        .collect();
    let all = sentences(language);
    let (mut missing, mut stale, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    for sentence in &all {
        match state(folder, sentence, rows.get(&*sentence.file())) {
            State::Good => {}
            State::Missing => missing.push(sentence.file()),
            State::Stale => stale.push(sentence.file()),
            State::Damaged => damaged.push(sentence.file()),
        }
    }
    let problems: Vec<String> = [("missing", missing), ("of another version", stale), ("damaged", damaged)]
        .into_iter()
        .filter(|(_, files)| !files.is_empty())
        .map(|(what, files)| {
            let more = if files.len() > 3 { format!(" and {} more", files.len() - 3) } else { String::new() };
            format!(
                "{what}: {}{more}",
                files.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ")
            )
        })
        .collect();
    if problems.is_empty() {
        return Ok(all.len());
    }
    Err(Error::new(
        Kind::Device,
        format!(
            "sentences in {} cannot be said ({}): make them again with scripts/voice.sh",
            folder.display(),
            problems.join("; ")
        ),
    ))
}

enum State {
    Good,
    Missing,
    Stale,
    Damaged,
}

fn state(folder: &Path, sentence: &Sentence, row: Option<&(&str, &str)>) -> State {
    let path = folder.join(sentence.file());
    let Some((sum, text)) = row.filter(|_| path.exists()) else { return State::Missing };
    if *text != sentence.text {
        return State::Stale;
    }
    let sound = read(&path, wav::MOST_BYTES).ok().filter(|bytes| {
        let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        found == *sum && wav::parse(bytes).is_ok()
    });
    if sound.is_some() { State::Good } else { State::Damaged }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the set-up has made, copied.
    fn made() -> tempfile::TempDir {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(".setup/voice");
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(&source).expect("run scripts/setup.sh test").flatten() {
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        folder
    }

    #[test]
    fn the_script_makes_every_sentence() {
        let made = made();
        for language in [Language::Chinese, Language::English] {
            assert_eq!(check_sentences(made.path(), language).unwrap(), sentences(language).len());
            let folder = Folder::new(made.path());
            for sentence in sentences(language) {
                let sound = folder.sound(sentence.text, language).unwrap();
                assert_eq!(sound.rate, 16_000);
                let seconds = sound.samples.len() as f64 / 16_000.0;
                assert!((0.3..6.0).contains(&seconds), "{}: {seconds} s", sentence.text);
                let peak = sound.samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
                assert!((28_900..=29_000).contains(&peak), "{}: {peak}", sentence.text);
            }
        }
    }

    #[test]
    fn what_cannot_be_said_is_told() {
        let made = made();
        let file = |name: &str| made.path().join(name);
        std::fs::remove_file(file("welcome-1.zh-CN.wav")).unwrap();
        let sound = std::fs::read(file("prompt-card.zh-CN.wav")).unwrap();
        std::fs::write(file("prompt-card.zh-CN.wav"), &sound[..sound.len() / 2]).unwrap();
        let manifest = std::fs::read_to_string(file("manifest.tsv")).unwrap();
        assert!(manifest.contains("请刷卡") && manifest.contains("请慢走"));
        std::fs::write(file("manifest.tsv"), manifest.replace("请慢走", "再见")).unwrap();
        let error = check_sentences(made.path(), Language::Chinese).unwrap_err();
        let words = "missing: welcome-1.zh-CN.wav; of another version: welcome-6.zh-CN.wav; damaged: \
                     prompt-card.zh-CN.wav";
        assert!(error.message().contains(words), "{error}");
        check_sentences(made.path(), Language::English).unwrap();

        let folder = Folder::new(made.path());
        let error = folder.sound("识别成功", Language::Chinese).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        let error = folder.sound("请刷卡", Language::Chinese).unwrap_err();
        assert!(error.message().contains("is cut short"), "{error}");
        // A text that is none of the table's, and a file as large as a disk.
        assert_eq!(folder.sound("再见", Language::Chinese).unwrap_err().kind(), Kind::NotFound);
        let huge = File::create(file("prompt-qr.zh-CN.wav")).unwrap();
        huge.set_len(1 << 40).unwrap();
        let error = folder.sound("请出示二维码", Language::Chinese).unwrap_err();
        assert!(error.message().contains("has 1099511627776 bytes"), "{error}");
        // No folder at all.
        let error = check_sentences(&file("none"), Language::Chinese).unwrap_err();
        assert!(error.message().contains("device.voice_dir"), "{error}");
    }
}
