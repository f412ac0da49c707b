//! The document camera as a reader of documents (`device.id_reader = "camera"`): what is laid on its plate is looked at until
//! its machine readable zone is read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sighting;
use crate::clock::SharedClock;
use crate::config;
use crate::device::camera::{self, Camera};
use crate::device::code_reader::picture;
use crate::device::id_reader::{IdReader, Wanted};
use crate::document::mrz::correct::Corrected;
use crate::document::{Happening, Pictures, Reading};
use crate::error::{Context, Kind, Result};
use crate::frame::{Frame, PixelFormat};
use crate::vision::find::Finder;
use crate::vision::mrz::find::Grey;
use crate::vision::mrz::plate::{Plate, PlateWatch};
use crate::vision::mrz::read::{Sight, ZoneReader};
use crate::vision::picture::{Picture, Region};
use crate::vision::{DetectedFace, Models};

/// What the reader is called.
const NAME: &str = "document camera";
/// The empty plate is glanced at this often.
const GLANCE_EVERY: Duration = Duration::from_millis(200);
/// One picture is read for this long at most.
const ONE_PICTURE: Duration = Duration::from_secs(3);
/// A document is looked at for this long, in this many pictures at least, before it is given up.
const GIVES_UP_AFTER: Duration = Duration::from_secs(4);
const LEAST_PICTURES: u32 = 4;
/// After something moved on the plate, the document that lies there is looked at this often to see whether it is
/// another one.
const LOOKS_AGAIN: u32 = 5;
/// The photo around the face that was found in it, in heights of the face.
const PHOTO: f32 = 1.7;
/// Score and width, in pixels, from which a printed face is one.
const FACE: (f32, f32) = (0.6, 40.0);

/// A camera over a plate, its reader, and what lies there.
pub struct DocumentCamera {
    index: usize,
    config: config::Camera,
    models: Models,
    threads: usize,
    clock: SharedClock,
    opened: Option<Opened>,
    /// What has happened and was not told yet.
    untold: VecDeque<Happening>,
}

/// What is there while the camera is.
struct Opened {
    camera: Box<dyn Camera>,
    eye: Eye,
    buffer: Vec<u8>,
    glanced: Option<Instant>,
}

/// What becomes of the document on the plate.
enum State {
    /// Nothing lies there.
    Waiting,
    /// It is being read.
    Reading { since: Instant, pictures: u32 },
    /// It was read, with this number, or given up; `looks` says how often it is still looked at since it moved.
    Done { number: Option<String>, looks: u32 },
}

impl State {
    /// Nothing happens before something moves.
    fn is_idle(&self) -> bool {
        matches!(self, Self::Waiting | Self::Done { looks: 0, .. })
    }
}

/// The lines that the last picture with a zone showed, if they were not plain to see.
#[derive(Default)]
struct Twice(Option<Vec<String>>);

impl Twice {
    /// Whether a zone counts: one that was plain to see, or that two pictures show alike.
    fn counts(&mut self, read: &Corrected) -> bool {
        let before = self.0.take();
        if read.plain || before.as_ref() == Some(&read.zone.lines) {
            return true;
        }
        self.0 = Some(read.zone.lines.clone());
        false
    }
}

/// The plate, the reader and their buffers.
struct Eye {
    reader: ZoneReader,
    finder: Finder,
    plate: PlateWatch,
    state: State,
    twice: Twice,
    grey: Grey,
    scratch: Vec<u8>,
    picture: Picture,
    /// Whether a service wants the bar codes of documents.
    bar_codes: bool,
}

impl DocumentCamera {
    /// The camera that stands at `index` in the configuration. It is opened, and the models are loaded, with the first
    /// look: what is wrong with them is told as a reader that is offline.
    pub fn new(
        index: usize,
        config: config::Camera,
        models: Models,
        threads: usize,
        clock: SharedClock,
    ) -> Self {
        Self { index, config, models, threads, clock, opened: None, untold: VecDeque::new() }
    }

    fn open(&self) -> Result<Opened> {
        let context =
            || format!("the document camera {} ({}) cannot be used", self.index, self.config.source);
        let camera = camera::open(&self.config, self.index, Arc::clone(&self.clock)).context(context)?;
        let eye = self.eye().context(context)?;
        Ok(Opened { camera, eye, buffer: Vec::new(), glanced: None })
    }

    fn eye(&self) -> Result<Eye> {
        Ok(Eye {
            reader: ZoneReader::new(&self.models, self.threads)?,
            finder: Finder::new(&self.models, self.threads)?,
            plate: PlateWatch::new(),
            state: State::Waiting,
            twice: Twice::default(),
            grey: Grey::default(),
            scratch: Vec::new(),
            picture: Picture::new(),
            bar_codes: false,
        })
    }
}

impl IdReader for DocumentCamera {
    fn name(&self) -> &str {
        NAME
    }

    // The passage needs the zone whatever a service wants; bar codes are read where one wants them.
    fn look(&mut self, wanted: &Wanted) -> Result<Option<Happening>> {
        if let Some(happening) = self.untold.pop_front() {
            return Ok(Some(happening));
        }
        let Some(opened) = &mut self.opened else {
            self.opened = Some(self.open()?);
            return Ok(Some(Happening::Online { name: NAME.into(), serial: String::new() }));
        };
        opened.eye.bar_codes = wanted.bar_code;
        let now = Instant::now();
        let idle = opened.eye.state.is_idle() && opened.eye.plate.knows_plate();
        if idle && opened.glanced.is_some_and(|then| now.saturating_duration_since(then) < GLANCE_EVERY) {
            return pass_over(opened.camera.pass().map(|()| None)).inspect_err(|_| self.opened = None);
        }
        opened.glanced = Some(now);
        let frame = match opened.camera.capture(std::mem::take(&mut opened.buffer)) {
            Ok(frame) => frame,
            failed => return pass_over(failed.map(|_| None)).inspect_err(|_| self.opened = None),
        };
        let today = self.clock.now().to_zoned(jiff::tz::TimeZone::UTC).date();
        let seen = opened.eye.see(&frame, today, &mut self.untold);
        opened.buffer = frame.into_data();
        pass_over(seen.map(|()| self.untold.pop_front()))
    }

    fn period(&self) -> Duration {
        // The camera keeps the pace.
        Duration::ZERO
    }
}

/// A damaged picture is passed over.
fn pass_over(looked: Result<Option<Happening>>) -> Result<Option<Happening>> {
    match looked {
        Err(error) if error.kind() == Kind::Input => {
            tracing::debug!(%error, "a damaged picture of the document camera was dropped");
            Ok(None)
        }
        looked => looked,
    }
}

impl Eye {
    /// Takes one picture in and adds what happened to `happened`.
    fn see(
        &mut self,
        frame: &Frame,
        today: jiff::civil::Date,
        happened: &mut VecDeque<Happening>,
    ) -> Result<()> {
        self.grey.fill_from_frame(frame, &mut self.scratch)?;
        if !self.plate.knows_plate() {
            // A document may lie there already when the gate starts.
            if let Sight::Zone(_) = self.reader.read(&self.grey, today, ONE_PICTURE)? {
                self.plate.occupied(&self.grey);
            }
        }
        let plate = self.plate.look(&self.grey, frame.captured);
        let now = frame.captured;
        match (&mut self.state, plate) {
            (State::Waiting, Plate::Covered) => {
                self.state = State::Reading { since: now, pictures: 0 };
                self.twice = Twice::default();
                happened.push_back(Happening::Detected);
                self.read(frame, today, happened)?;
            }
            (State::Waiting, _) | (State::Reading { .. }, Plate::Moving) => {}
            (State::Reading { .. } | State::Done { .. }, Plate::Empty) => {
                self.state = State::Waiting;
                happened.push_back(Happening::TakenAway);
            }
            (State::Done { looks, .. }, Plate::Moving) => *looks = LOOKS_AGAIN,
            (State::Reading { .. }, Plate::Covered) => self.read(frame, today, happened)?,
            (State::Done { looks: 0, number: None }, Plate::Covered) => self.plate.no_document(now),
            (State::Done { looks: 0, .. }, Plate::Covered) => {}
            (State::Done { .. }, Plate::Covered) => self.look_again(frame, today, happened)?,
        }
        Ok(())
    }

    /// What the picture shows. A zone that was not plain to see counts when the next picture with one says the same.
    fn sight(&mut self, today: jiff::civil::Date) -> Result<Sight> {
        let sight = self.reader.read(&self.grey, today, ONE_PICTURE)?;
        Ok(match sight {
            Sight::Zone(found) if !self.twice.counts(&found.read) => Sight::Unread,
            sight => sight,
        })
    }

    /// Tries to read what has been detected.
    fn read(
        &mut self,
        frame: &Frame,
        today: jiff::civil::Date,
        happened: &mut VecDeque<Happening>,
    ) -> Result<()> {
        let sight = self.sight(today)?;
        if let Sight::Zone(found) = sight {
            let reading = self.reading(frame, found);
            self.state = State::Done { number: Some(reading.document.number.clone()), looks: 0 };
            happened.push_back(Happening::Read(Arc::new(reading)));
            return Ok(());
        }
        let State::Reading { since, pictures } = &mut self.state else { return Ok(()) };
        *pictures += 1;
        let long = frame.captured.saturating_duration_since(*since) >= GIVES_UP_AFTER;
        if long && *pictures >= LEAST_PICTURES {
            let why = match sight {
                Sight::Unread => {
                    "the machine readable zone could not be read: lay the document flat, without gloss"
                }
                _ => "no machine readable zone was found: lay the page with the lines of < down",
            };
            self.state = State::Done { number: None, looks: 0 };
            happened.push_back(Happening::Failed { why: why.into() });
        }
        Ok(())
    }

    /// After something moved: the document may be another one now, without the plate having been empty.
    fn look_again(
        &mut self,
        frame: &Frame,
        today: jiff::civil::Date,
        happened: &mut VecDeque<Happening>,
    ) -> Result<()> {
        let sight = self.sight(today)?;
        self.looked_again(sight, frame, happened);
        Ok(())
    }

    fn looked_again(&mut self, sight: Sight, frame: &Frame, happened: &mut VecDeque<Happening>) {
        let State::Done { number, looks } = &mut self.state else { return };
        let Sight::Zone(found) = sight else {
            *looks = looks.saturating_sub(1);
            // Lines that cannot be read are a document's all the same.
            let there = sight == Sight::Unread;
            if *looks == 0 && number.is_some() && !there {
                // The document is gone, and what is left is the plate in another light.
                self.plate.learn();
                self.state = State::Waiting;
                happened.push_back(Happening::TakenAway);
            }
            return;
        };
        *looks = 0;
        if number.as_ref() == Some(&found.read.zone.number) {
            return;
        }
        let reading = self.reading(frame, found);
        self.state = State::Done { number: Some(reading.document.number.clone()), looks: 0 };
        happened.extend([Happening::TakenAway, Happening::Detected, Happening::Read(Arc::new(reading))]);
    }

    /// The reading of a zone, with the picture of the page and the printed photo where a face is found in it.
    fn reading(&mut self, frame: &Frame, found: Box<crate::vision::mrz::read::Found>) -> Reading {
        let corrections = found.read.corrections;
        tracing::debug!(layout = ?found.read.zone.layout, corrections, "a machine readable zone was read");
        let upside_down = found.upside_down;
        let mut reading = found.read.zone.into_reading();
        reading.bar_code = self.bar_codes.then(|| bar_code(&self.grey)).flatten();
        // Without its pictures a document is still one.
        reading.pictures = self.pictures(frame, upside_down).unwrap_or_else(|error| {
            tracing::warn!(%error, "the picture of a document could not be kept");
            Pictures::default()
        });
        reading
    }

    fn pictures(&mut self, frame: &Frame, upside_down: bool) -> Result<Pictures> {
        self.picture.decode_frame(frame)?;
        if upside_down {
            self.picture.turn_round();
        }
        let (width, height) = self.picture.size();
        let white = if frame.format() == PixelFormat::Jpeg && !upside_down {
            frame.data().to_vec()
        } else {
            sighting::encode(self.picture.pixels(), width, height)?
        };
        let faces = self.finder.find(&self.picture, frame.captured, &[], FACE.0, FACE.1)?;
        let largest = faces.iter().max_by(|one, other| one.rect.area().total_cmp(&other.rect.area()));
        let printed_photo = largest.and_then(|face| photo(&self.picture, face));
        self.picture.shrink();
        Ok(Pictures { white: Some(white.into()), printed_photo, ..Pictures::default() })
    }
}

/// What a QR or bar code on the page says.
fn bar_code(page: &Grey) -> Option<String> {
    let size = (u32::try_from(page.width).ok()?, u32::try_from(page.height).ok()?);
    picture::on_page(&page.data, size)
}

/// The part of the page around a face.
fn photo(picture: &Picture, face: &DetectedFace) -> Option<Arc<[u8]>> {
    let region = Region::around(&face.rect, PHOTO, picture)?;
    let (width, _) = picture.size();
    let mut pixels = Vec::with_capacity(region.width as usize * region.height as usize * 3);
    for y in region.y..region.y + region.height {
        let from = (y as usize * width as usize + region.x as usize) * 3;
        pixels.extend_from_slice(&picture.pixels()[from..from + region.width as usize * 3]);
    }
    sighting::encode(&pixels, region.width, region.height).ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::SystemClock;
    use crate::config::CameraRole;
    use crate::document::mrz::Zone;
    use crate::error::Error;

    const TODAY: jiff::civil::Date = jiff::civil::date(2026, 11, 22);
    /// ICAO 9303-4, appendix B.
    const LINES: [&str; 2] =
        ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"];

    #[test]
    fn what_was_not_plain_to_see_counts_when_two_pictures_say_it() {
        let read = |lower: &str, plain: bool| {
            let zone = Zone::parse(&[LINES[0], lower], TODAY).unwrap();
            Corrected { zone, corrections: usize::from(!plain), plain }
        };
        // The C of the number exchanged for an M, which the digits let through: both count 2.
        let (right, wrong) = (LINES[1], "L898902M36UTO7408122F1204159ZE184226B<<<<<10");
        let mut twice = Twice::default();
        assert!(twice.counts(&read(right, true)));
        assert!(!twice.counts(&read(wrong, false)));
        assert!(!twice.counts(&read(right, false)), "two pictures say two things");
        assert!(twice.counts(&read(right, false)));
        assert!(!twice.counts(&read(right, false)), "of another document nothing is known");
        assert!(twice.counts(&read(wrong, true)));
        assert!(!twice.counts(&read(wrong, false)));
    }

    /// A camera over a grey plate that counts what is wanted of it.
    struct Still(Arc<[AtomicUsize; 2]>);

    impl Camera for Still {
        fn capture(&mut self, _: Vec<u8>) -> Result<Frame> {
            let number = self.0[0].fetch_add(1, Ordering::SeqCst);
            let pixels = vec![60; 320 * 240];
            let (at, wall) = (Instant::now(), jiff::Timestamp::now());
            Frame::raw(pixels, PixelFormat::Grey, 320, 240, 320, at, wall, number as u64, 0)
        }

        fn pass(&mut self) -> Result<()> {
            let passed = self.0[1].fetch_add(1, Ordering::SeqCst);
            if passed == 1000 { Err(Error::new(Kind::Device, "unplugged")) } else { Ok(()) }
        }
    }

    fn reader() -> DocumentCamera {
        let models = std::env::var_os("MENSHEN_MODELS")
            .map_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models"), Into::into);
        let models = Models::open(&models, "auto").unwrap_or_else(|error| panic!("{error}; run make setup"));
        let config = config::Camera::new(CameraRole::Document, "files:/nonexistent".to_owned());
        DocumentCamera::new(0, config, models, 1, Arc::new(SystemClock))
    }

    #[test]
    fn a_document_whose_lines_are_seen_and_not_read_still_lies_there() {
        let mut eye = reader().eye().unwrap();
        let frame = Still(Arc::default()).capture(Vec::new()).unwrap();
        let number = Some("L898902C3".to_owned());
        for (last, gone) in [(Sight::Unread, false), (Sight::Nothing, true)] {
            eye.state = State::Done { number: number.clone(), looks: LOOKS_AGAIN };
            let mut happened = VecDeque::new();
            for _ in 1..LOOKS_AGAIN {
                eye.looked_again(Sight::Nothing, &frame, &mut happened);
                assert!(happened.is_empty() && !eye.state.is_idle());
            }
            eye.looked_again(last, &frame, &mut happened);
            assert!(eye.state.is_idle());
            assert_eq!(matches!(eye.state, State::Waiting), gone);
            assert_eq!(matches!(happened.make_contiguous(), [Happening::TakenAway]), gone);
            assert_eq!(happened.is_empty(), !gone);
        }
    }

    #[test]
    fn a_document_that_is_left_lying_is_glanced_at_only() {
        let mut reader = reader();
        let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let eye = reader.eye().unwrap();
        let camera = Box::new(Still(Arc::clone(&counts)));
        let opened = reader.opened.insert(Opened { camera, eye, buffer: Vec::new(), glanced: None });
        let learn = |reader: &mut DocumentCamera| {
            while !reader.opened.as_ref().unwrap().eye.plate.knows_plate() {
                assert!(reader.look(&Wanted::default()).unwrap().is_none());
            }
        };
        assert!(!opened.eye.plate.knows_plate());
        learn(&mut reader);
        // It was read, and lies there; that it is as grey as the plate is no matter here.
        for number in [Some("L898902C3".to_owned()), None] {
            for count in &*counts {
                count.store(0, Ordering::SeqCst);
            }
            let began = Instant::now();
            for _ in 0..100 {
                reader.opened.as_mut().unwrap().eye.state = State::Done { number: number.clone(), looks: 0 };
                reader.look(&Wanted::default()).unwrap();
            }
            let most = 1 + began.elapsed().as_millis() / GLANCE_EVERY.as_millis();
            let [captured, passed] = [&counts[0], &counts[1]].map(|count| count.load(Ordering::SeqCst));
            assert!(captured as u128 <= most, "{captured} of 100 pictures in {:?}", began.elapsed());
            assert!(captured + passed >= 98);
        }
        // A camera that is unplugged meanwhile is noticed.
        counts[1].store(1000, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(60);
        let error = loop {
            assert!(Instant::now() < end);
            match reader.look(&Wanted::default()) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), Kind::Device);
        let error = reader.look(&Wanted::default()).unwrap_err().to_string();
        assert!(error.contains("files:/nonexistent"), "{error}");
    }
}
