//! How many pictures of pages are read: a folder of pictures of documents, with what their machine readable zones say in
//! text files beside them (`NAME.txt` for `NAME.jpg`, a line for each). What a zone says is not printed.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::civil::Date;
use serde::Serialize;

use crate::error::{Context, Result};
use crate::vision::mrz::find::Grey;
use crate::vision::mrz::read::{Sight, ZoneReader};
use crate::vision::{Models, Picture};

/// One picture is read for this long at most.
const ONE_PICTURE: Duration = Duration::from_secs(5);

/// What became of one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Read, and as the text beside it says.
    Right,
    /// Read, and not as the text beside it says.
    Wrong,
    /// Read; there is no text beside it.
    Read,
    /// A zone is there but cannot be read for sure.
    Unread,
    /// No zone was found.
    Nothing,
    /// The file is no picture.
    NoPicture,
}

/// One picture.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Its file name.
    pub picture: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Characters that the check digits put right.
    pub corrections: usize,
    /// Milliseconds, without decoding.
    pub milliseconds: f64,
}

/// All of a folder.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// In the order of their names.
    pub pictures: Vec<Line>,
}

impl Report {
    /// How many came out so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.pictures.iter().filter(|line| line.outcome == outcome).count()
    }
}

/// What the zone of a picture says, by the file beside it; `None` where there is no such file. One that cannot be read, or
/// is no UTF-8, is an error: its picture would count as one without a text.
fn text_beside(picture: &Path) -> Result<Option<String>> {
    let path = picture.with_extension("txt");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        failed => failed.map(Some).context(|| {
            format!("what the zone of {} says, {}, cannot be read", picture.display(), path.display())
        }),
    }
}

/// Reads every picture of a folder. `today` tells the centuries. An error if a picture, or a text beside one, cannot be read.
pub fn evaluate(models: &Models, threads: usize, folder: &Path, today: Date) -> Result<Report> {
    let (pictures, _) = super::list(folder)?;
    let mut reader = ZoneReader::new(models, threads)?;
    let (mut picture, mut grey) = (Picture::new(), Grey::default());
    let mut report = Report::default();
    for path in pictures {
        let bytes =
            std::fs::read(&path).context(|| format!("the picture {} cannot be read", path.display()))?;
        let text = text_beside(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut line = Line { picture: name, outcome: Outcome::NoPicture, corrections: 0, milliseconds: 0.0 };
        if picture.decode_file(&bytes).is_ok() {
            let (width, height) = picture.size();
            grey.fill_from_rgb(width as usize, height as usize, picture.pixels());
            let began = Instant::now();
            let sight = reader.read(&grey, today, ONE_PICTURE)?;
            line.milliseconds = began.elapsed().as_secs_f64() * 1000.0;
            line.outcome = match sight {
                Sight::Nothing => Outcome::Nothing,
                Sight::Unread => Outcome::Unread,
                Sight::Zone(found) => {
                    line.corrections = found.read.corrections;
                    match &text {
                        Some(text) if text.split_whitespace().eq(&found.read.zone.lines) => Outcome::Right,
                        Some(_) => Outcome::Wrong,
                        None => Outcome::Read,
                    }
                }
            };
        }
        report.pictures.push(line);
    }
    Ok(report)
}
