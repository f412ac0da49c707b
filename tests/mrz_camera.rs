//! Machine readable zones before a document camera: pages drawn from the OCR-B font's outlines, with what cameras do to them.
//!
//! The pages show the specimens of ICAO 9303.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

mod support {
    pub mod vision;
}
#[allow(dead_code, missing_docs, clippy::all, reason = "the trainer's own file")]
#[path = "../models/ocrb/render.rs"]
mod render;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::civil::Date;
use menshen::clock::SystemClock;
use menshen::config::{Camera, CameraRole};
use menshen::device::id_reader::{IdReader, Wanted};
use menshen::document::{DocumentKind, Happening, Reading};
use menshen::gate::document_camera::DocumentCamera;
use menshen::vision::Models;
use menshen::vision::mrz::find::Grey;
use menshen::vision::mrz::read::{Found, Sight, ZoneReader};
use render::{CAPITAL, Degradation, Font, Page, Paper, Rng};
use support::vision::models_dir;

const TODAY: Date = jiff::civil::date(2026, 11, 22);
const PASSPORT: [&str; 2] =
    ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];
const CARD: [&str; 3] =
    ["I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F1204159UTO<<<<<<<<<<<6", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"];
const LARGE_CARD: [&str; 2] =
    ["I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"];
const VISA: [&str; 2] =
    ["V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L8988901C4XXX4009078F96121096ZE184226B<<<<<<"];

fn outlines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".setup/ocrb/outlines")
}

/// The cut of the font that the model was trained on, or the one that it has never seen.
fn font(name: &str) -> Font {
    let text = std::fs::read_to_string(outlines())
        .unwrap_or_else(|error| panic!("{}: {error}; run make setup", outlines().display()));
    let fonts = Font::parse(&text).unwrap();
    fonts.into_iter().find(|(other, _)| other == name).unwrap().1
}

/// How a page lies before the camera.
#[derive(Clone, Copy)]
struct Scene {
    /// Pixels of a capital.
    capital: f32,
    degrees: f32,
    /// By how much the far side is smaller, both ways.
    tilt: (f32, f32),
    /// Pixels by which the page is off the middle.
    off: (f32, f32),
}

const LEVEL: Scene = Scene { capital: 16.0, degrees: 0.0, tilt: (0.0, 0.0), off: (0.0, 0.0) };

fn picture(
    font: &Font,
    lines: &[&str],
    scene: Scene,
    paper: Paper,
    camera: &Degradation,
    rng: &mut Rng,
) -> Grey {
    let page = Page { font, lines, paper, ink: 0.15, weight: 0.0, printed: true };
    let scale = scene.capital / CAPITAL;
    let (width, height) = page.size();
    let size = ((width * scale * 1.25) as usize, (height * scale * 1.4) as usize);
    let middle = (size.0 as f32 / 2.0 + scene.off.0, size.1 as f32 / 2.0 + scene.off.1);
    let mut seen = page.seen(size, scale, middle, scene.degrees.to_radians(), scene.tilt, 0.2);
    camera.apply(&mut seen, rng);
    Grey { width: seen.width, height: seen.height, data: seen.to_bytes() }
}

fn reader() -> ZoneReader {
    ZoneReader::new(&Models::open(&models_dir(), "auto").unwrap(), 1).unwrap()
}

fn zone(reader: &mut ZoneReader, grey: &Grey) -> Option<Found> {
    match reader.read(grey, TODAY, Duration::from_secs(60)).unwrap() {
        Sight::Zone(found) => Some(*found),
        Sight::Nothing | Sight::Unread => None,
    }
}

#[test]
fn each_layout_is_read_level_turned_and_upside_down() {
    let (mut reader, font) = (reader(), font("OCRB"));
    let camera = Degradation { blur: 0.4, noise: 3.0, ..Degradation::NONE };
    for lines in [&PASSPORT[..], &CARD, &LARGE_CARD, &VISA] {
        for degrees in [0.0, 5.0, -13.0, 180.0, 171.0] {
            let grey = picture(
                &font,
                lines,
                Scene { degrees, ..LEVEL },
                Paper::plain(0.85),
                &camera,
                &mut Rng::new(5),
            );
            let found = zone(&mut reader, &grey).unwrap_or_else(|| panic!("{} at {degrees}", lines[0]));
            assert_eq!(found.read.zone.lines, lines, "{degrees}");
            assert_eq!(found.upside_down, degrees > 90.0);
            assert_eq!(found.lines.len(), lines.len());
        }
    }
}

/// Held-out renderings: how many are read, and that none is read wrongly. The bounds are what the model reaches, less a
/// margin for another processor's rounding.
#[test]
fn hard_pictures_are_read_or_left_unread_and_never_misread() {
    const EACH: usize = 6;
    let mut reader = reader();
    let mut spent = Duration::ZERO;
    let mut table = String::new();
    let mut read_of_all = 0;
    for name in ["OCRB", "OCRBS"] {
        let font = font(name);
        for capital in [9.0, 14.0] {
            let mut right = 0;
            for number in 0..EACH {
                let rng = &mut Rng::new(0xcafe_0000 + number as u64);
                let lines = [&PASSPORT[..], &CARD, &LARGE_CARD, &VISA][number % 4];
                let scene = Scene {
                    capital,
                    degrees: rng.between(-8.0, 8.0) + if number % 3 == 2 { 180.0 } else { 0.0 },
                    tilt: (rng.between(-0.04, 0.04), rng.between(-0.04, 0.04)),
                    off: (rng.between(-8.0, 8.0), rng.between(-8.0, 8.0)),
                };
                let camera = Degradation {
                    blur: rng.between(0.0, 0.06) * capital,
                    noise: rng.between(0.0, 7.0),
                    jpeg: rng.between(45.0, 95.0),
                    gradient: (rng.between(-0.4, 0.4), rng.between(-0.3, 0.3)),
                    gain: rng.between(150.0, 245.0),
                    ..Degradation::NONE
                };
                let paper = Paper::random(rng, 0.6);
                let grey = picture(&font, lines, scene, paper, &camera, rng);
                let began = Instant::now();
                let found = zone(&mut reader, &grey);
                spent += began.elapsed();
                if let Some(found) = found {
                    assert_eq!(found.read.zone.lines, lines, "{name}, {capital} px, {number}: misread");
                    right += 1;
                }
            }
            read_of_all += right;
            table += &format!("{name:6} {capital:4} px: {right} of {EACH}\n");
        }
    }
    println!("{table}{:?} a picture", spent / (4 * EACH as u32));
    assert!(read_of_all * 100 >= 4 * EACH * 60, "{table}");
}

#[test]
fn what_has_no_zone_shows_nothing() {
    let (mut reader, font) = (reader(), font("OCRB"));
    let plain = |lines: &[&str]| {
        let camera = Degradation { noise: 3.0, ..Degradation::NONE };
        picture(&font, lines, LEVEL, Paper::plain(0.85), &camera, &mut Rng::new(9))
    };
    // A page without its zone, lines of another length, and a zone whose composite digit is wrong.
    assert_eq!(reader.read(&plain(&["", ""]), TODAY, Duration::from_secs(60)).unwrap(), Sight::Nothing);
    let wrong = [PASSPORT[0], "L898902C36UTO7408122F1204159ZE184226B<<<<<14"];
    assert_eq!(reader.read(&plain(&wrong), TODAY, Duration::from_secs(60)).unwrap(), Sight::Unread);
    // No time, no lines.
    assert_eq!(reader.read(&plain(&PASSPORT), TODAY, Duration::ZERO).unwrap(), Sight::Nothing);
}

/// In place of lines: the empty plate, with the sun on a strip of it.
const SUN: &[&str] = &["sun"];

/// Writes the frames of a plate: dark and empty, or with a page. What is shown again is the same file again.
fn frames(folder: &Path, shown: &[Option<&[&str]>]) {
    let font = font("OCRB");
    let camera = Degradation { blur: 0.4, noise: 2.0, ..Degradation::NONE };
    let mut drawn: Vec<(Option<&[&str]>, PathBuf)> = Vec::new();
    for (number, lines) in shown.iter().enumerate() {
        let path = folder.join(format!("{number:03}.jpg"));
        if let Some((_, same)) = drawn.iter().find(|(other, _)| other == lines) {
            std::fs::hard_link(same, &path).unwrap();
            continue;
        }
        let (width, height) = (1000, 760);
        let mut seen = match lines {
            Some(lines) if *lines == SUN => {
                let level = |at: usize| if (100..200).contains(&(at / width)) { 0.9 } else { 0.2 };
                render::Grey { width, height, data: (0..width * height).map(level).collect() }
            }
            Some(lines) => {
                let paper = Paper::plain(0.85);
                let page = Page { font: &font, lines, paper, ink: 0.15, weight: 0.0, printed: true };
                page.seen((width, height), 16.0 / CAPITAL, (500.0, 380.0), 0.05, (0.0, 0.0), 0.2)
            }
            None => render::Grey { width, height, data: vec![0.2; width * height] },
        };
        camera.apply(&mut seen, &mut Rng::new(number as u64));
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(file, 90);
        encoder.encode(&seen.to_bytes(), width as u32, height as u32, image::ExtendedColorType::L8).unwrap();
        drawn.push((*lines, path));
    }
}

fn camera_over(folder: &Path) -> DocumentCamera {
    let source = format!("files:{}", folder.display());
    let camera = Camera { fps: 8, ..Camera::new(CameraRole::Document, source) };
    DocumentCamera::new(0, camera, Models::open(&models_dir(), "auto").unwrap(), 1, Arc::new(SystemClock))
}

/// What happens next, for as long as it takes.
fn next(reader: &mut DocumentCamera) -> Happening {
    next_wanted(reader, &Wanted::default())
}

fn next_wanted(reader: &mut DocumentCamera, wanted: &Wanted) -> Happening {
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        if let Some(happening) = reader.look(wanted).unwrap() {
            return happening;
        }
    }
    panic!("nothing happens");
}

fn read(happening: Happening) -> Arc<Reading> {
    match happening {
        Happening::Read(reading) => reading,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_passport_is_detected_read_and_taken_away_and_then_a_card() {
    let folder = tempfile::tempdir().unwrap();
    // Three seconds of each.
    let shown: Vec<Option<&[&str]>> =
        [vec![None; 24], vec![Some(&PASSPORT[..]); 24], vec![None; 24], vec![Some(&CARD[..]); 24]].concat();
    frames(folder.path(), &shown);
    let mut reader = camera_over(folder.path());
    assert!(matches!(next(&mut reader), Happening::Online { name, .. } if name == "document camera"));
    // A slow machine may miss one of them in the first round.
    let mut seen = Vec::new();
    for _ in 0..6 {
        assert!(matches!(next(&mut reader), Happening::Detected));
        let reading = read(next(&mut reader));
        assert!(matches!(next(&mut reader), Happening::TakenAway));
        assert_eq!(reading.document.name, "ERIKSSON ANNA MARIA");
        assert!(!format!("{reading:?}").contains("ERIKSSON"));
        let (first, kind, number, lines) = match reading.mrz.len() {
            2 => (24, DocumentKind::Passport, "L898902C3", &PASSPORT[..]),
            _ => (72, DocumentKind::TravelCard, "D23145890", &CARD[..]),
        };
        assert_eq!((reading.document.kind, &reading.document.number[..]), (kind, number));
        assert_eq!(reading.mrz, lines);
        // The page as the camera saw it.
        let shown = std::fs::read(folder.path().join(format!("{first:03}.jpg"))).unwrap();
        assert_eq!(reading.pictures.white.as_deref(), Some(&shown[..]));
        seen.push(kind);
        if seen.contains(&DocumentKind::Passport) && seen.contains(&DocumentKind::TravelCard) {
            return;
        }
    }
    panic!("{seen:?}");
}

/// Prints a bar code on the page of a frame, black on white.
fn print_bars(frame: &Path, content: &str) {
    const BAR: u32 = 3;
    let bars = barcoders::sym::code128::Code128::new(format!("Ɓ{content}")).unwrap().encode();
    let mut page = image::open(frame).unwrap().into_luma8();
    let (left, top, quiet, high) = (300, 180, 10 * BAR, 70);
    for x in 0..bars.len() as u32 * BAR + 2 * quiet {
        let bar = x.checked_sub(quiet).and_then(|x| bars.get((x / BAR) as usize));
        for y in 0..high {
            page.put_pixel(left + x, top + y, image::Luma([if bar == Some(&1) { 20 } else { 235 }]));
        }
    }
    // What is linked to it is the same frame.
    let mut bytes = std::io::Cursor::new(Vec::new());
    page.write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
    std::fs::write(frame, bytes.into_inner()).unwrap();
}

#[test]
fn a_bar_code_on_the_page_is_read_where_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    frames(folder.path(), &[vec![None; 24], vec![Some(&PASSPORT[..]); 24]].concat());
    print_bars(&folder.path().join("024.jpg"), "AB-4711");
    for bar_code in [true, false] {
        let wanted = Wanted { bar_code, ..Wanted::default() };
        let mut reader = camera_over(folder.path());
        assert!(matches!(next_wanted(&mut reader, &wanted), Happening::Online { .. }));
        assert!(matches!(next_wanted(&mut reader, &wanted), Happening::Detected));
        let reading = read(next_wanted(&mut reader, &wanted));
        assert_eq!(reading.document.number, "L898902C3");
        assert_eq!(reading.bar_code.as_deref(), bar_code.then_some("AB-4711"));
    }
}

#[test]
fn another_document_may_lie_there_without_the_plate_having_been_empty() {
    let folder = tempfile::tempdir().unwrap();
    let shown: Vec<Option<&[&str]>> =
        [vec![None; 24], vec![Some(&PASSPORT[..]); 24], vec![Some(&CARD[..]); 24]].concat();
    frames(folder.path(), &shown);
    let mut reader = camera_over(folder.path());
    assert!(matches!(next(&mut reader), Happening::Online { .. }));
    for lines in [&PASSPORT[..], &CARD] {
        assert!(matches!(next(&mut reader), Happening::Detected));
        assert_eq!(read(next(&mut reader)).mrz, lines);
        assert!(matches!(next(&mut reader), Happening::TakenAway));
    }
}

#[test]
fn when_the_light_on_the_plate_changed_with_the_document_it_is_away_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let page = Some(&PASSPORT[..]);
    let shown = [vec![None; 12], vec![page; 20], vec![Some(SUN); 30], vec![page; 40]].concat();
    frames(folder.path(), &shown);
    let mut reader = camera_over(folder.path());
    assert!(matches!(next(&mut reader), Happening::Online { .. }));
    for _ in 0..2 {
        assert!(matches!(next(&mut reader), Happening::Detected));
        assert_eq!(read(next(&mut reader)).mrz, PASSPORT);
        assert!(matches!(next(&mut reader), Happening::TakenAway));
    }
}

#[test]
fn a_camera_that_is_unplugged_while_a_document_lies_there_reads_it_again_when_it_is_back() {
    let top = tempfile::tempdir().unwrap();
    let (folder, away) = (top.path().join("camera"), top.path().join("away"));
    std::fs::create_dir(&folder).unwrap();
    let shown: Vec<Option<&[&str]>> = [vec![None; 12], vec![Some(&PASSPORT[..]); 60]].concat();
    frames(&folder, &shown);
    let mut reader = camera_over(&folder);
    assert!(matches!(next(&mut reader), Happening::Online { .. }));
    assert!(matches!(next(&mut reader), Happening::Detected));
    assert_eq!(read(next(&mut reader)).mrz, PASSPORT);
    std::fs::rename(&folder, &away).unwrap();
    // In the middle of the document, and as long as it is not there.
    for _ in 0..3 {
        let end = Instant::now() + Duration::from_secs(120);
        let error = loop {
            assert!(Instant::now() < end, "nothing is noticed");
            match reader.look(&Wanted::default()) {
                Ok(happening) => assert!(happening.is_none(), "{happening:?}"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("camera"), "{error}");
    }
    std::fs::rename(&away, &folder).unwrap();
    assert!(matches!(next(&mut reader), Happening::Online { .. }));
    assert!(matches!(next(&mut reader), Happening::Detected));
    assert_eq!(read(next(&mut reader)).mrz, PASSPORT);
}

#[test]
fn pictures_of_pages_are_counted_without_a_word_of_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    frames(folder.path(), &[Some(&PASSPORT[..]), Some(&CARD), None, Some(&LARGE_CARD)]);
    let text =
        |name: &str, lines: &[&str]| std::fs::write(folder.path().join(name), lines.join("\n")).unwrap();
    text("000.txt", &PASSPORT);
    // A card's text with another name.
    text("001.txt", &[CARD[0], CARD[1], "ERIKSSON<<ANNE<MARIA<<<<<<<<<<"]);
    text("002.txt", &PASSPORT);
    std::fs::write(folder.path().join("004.jpg"), b"no picture").unwrap();
    let eval = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_menshen"));
        command
            .args(["eval", "mrz", "--models"])
            .arg(models_dir())
            .arg("--pages")
            .arg(folder.path())
            .args(more);
        command.output().unwrap()
    };
    for more in [&[][..], &["--json"]] {
        let done = eval(more);
        let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
        assert!(done.status.success(), "{said}");
        for secret in ["ERIKSSON", "L898902C", "D23145890", "<<"] {
            assert!(!said.contains(secret), "{said}");
        }
        if more.is_empty() {
            let counts =
                "5: 1 read rightly, 1 wrongly, 1 without a text; 0 unread, 1 without a zone, 1 no pictures";
            assert!(said.contains(counts), "{said}");
        } else {
            let report: serde_json::Value = serde_json::from_str(&said).unwrap();
            let outcomes: Vec<_> =
                report["pictures"].as_array().unwrap().iter().map(|line| &line["outcome"]).collect();
            assert_eq!(outcomes, ["right", "wrong", "nothing", "read", "no_picture"]);
        }
    }
    // What reading one costs is measured with such a picture too.
    let bench = |page: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_menshen"));
        command.args(["bench", "--frames", "1", "--json", "--models"]).arg(models_dir());
        command.arg("--page").arg(folder.path().join(page)).output().unwrap()
    };
    let cost: serde_json::Value = serde_json::from_slice(&bench("000.jpg").stdout).unwrap();
    let (page, lines) = (cost["page"]["p50"].as_f64().unwrap(), cost["lines_per_second"].as_f64().unwrap());
    assert!(page > 0.0 && (lines * page - 2000.0).abs() < 1.0, "{cost}");
    assert!(!bench("002.jpg").status.success());
    // A text that cannot be read is not the same as none.
    std::fs::write(folder.path().join("003.txt"), b"I<UTO\xff").unwrap();
    let done = eval(&[]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(!done.status.success() && said.contains("003.txt"), "{said}");
}

#[test]
fn a_paper_without_a_zone_fails_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let page: &[&str] = &["", ""];
    // Shown for longer than a document is looked at.
    let shown: Vec<Option<&[&str]>> = [vec![None; 6], vec![Some(page); 100]].concat();
    frames(folder.path(), &shown);
    let mut reader = camera_over(folder.path());
    assert!(matches!(next(&mut reader), Happening::Online { .. }));
    assert!(matches!(next(&mut reader), Happening::Detected));
    match next(&mut reader) {
        Happening::Failed { why } => assert!(why.contains("no machine readable zone"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_camera_that_is_not_there_is_an_error_that_names_it() {
    let mut reader = camera_over(Path::new("/nonexistent/plate"));
    let error = reader.look(&Wanted::default()).unwrap_err().to_string();
    assert!(error.contains("the document camera 0 (files:/nonexistent/plate) cannot be used"), "{error}");
}
