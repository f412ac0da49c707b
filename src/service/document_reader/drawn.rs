//! Front and back of an identity card, drawn of what its chip says: `SidFront` and `SidBack`. The layout is that of the
//! card (85.6 mm by 54 mm, 300 dots an inch); emblem and guilloches are left out, so that nobody takes a drawing for a
//! photograph of a card.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ab_glyph::{Font, FontVec, Glyph, PxScale, ScaleFont as _, point};
use jiff::civil::Date;

use crate::document::{Document, DocumentKind};
use crate::error::{Context, Error, Kind, Result};
use crate::vision::picture::Picture;

/// Width and height of a drawing, in pixels.
pub const SIZE: (u32, u32) = (1011, 638);

/// Quality of its JPEG.
const QUALITY: u8 = 90;

/// Where the photo goes: 26 mm by 32 mm, as on the card.
const PHOTO: (u32, u32, u32, u32) = (640, 88, 307, 378);

type Colour = [u8; 3];
const PAPER: Colour = [236, 243, 247];
const LABEL: Colour = [48, 112, 168];
const INK: Colour = [24, 24, 24];
const TITLE: Colour = [40, 40, 40];

/// Largest font file.
const FONT_BYTES: u64 = 64 << 20;

/// A side of the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// With the photo.
    Front,
    /// With the authority that issued it.
    Back,
}

/// What draws. The font is read with the first drawing and kept: it is some megabytes long.
pub struct Pen {
    path: PathBuf,
    font: Mutex<Option<Arc<FontVec>>>,
    drawings: AtomicU64,
}

impl Pen {
    /// With the font of this file; whether it can be used is seen when something is drawn.
    pub fn new(font: &Path) -> Self {
        Self { path: font.to_owned(), font: Mutex::default(), drawings: AtomicU64::new(0) }
    }

    /// How many sides have been drawn.
    pub fn drawings(&self) -> u64 {
        self.drawings.load(Ordering::Relaxed)
    }

    /// A font that cannot be used is looked for with the next drawing again: it may be installed by then.
    fn font(&self) -> Result<Arc<FontVec>> {
        let mut font = self.font.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(font) = &*font {
            return Ok(Arc::clone(font));
        }
        let read = Arc::new(read_font(&self.path)?);
        *font = Some(Arc::clone(&read));
        Ok(read)
    }

    /// Draws a side, as a JPEG file. `None` for a document that is no identity card; `Config` if there is no font that
    /// can be used.
    pub fn draw(&self, document: &Document, face: Face, photo: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        if !matches!(
            document.kind,
            DocumentKind::Resident | DocumentKind::HongKongMacaoTaiwan | DocumentKind::Foreigner
        ) {
            return Ok(None);
        }
        let mut canvas = Canvas::new(self.font()?);
        self.drawings.fetch_add(1, Ordering::Relaxed);
        match (document.kind, face) {
            (DocumentKind::Foreigner, Face::Front) => foreigner_front(&mut canvas, document),
            (DocumentKind::Foreigner, Face::Back) => foreigner_back(&mut canvas, document),
            (_, Face::Front) => front(&mut canvas, document),
            (_, Face::Back) => back(&mut canvas, document),
        }
        if face == Face::Front
            && let Some(photo) = photo
        {
            // A card without its photo is still worth showing.
            if let Err(error) = canvas.photo(photo) {
                tracing::warn!(%error, "the photo of an identity card cannot be drawn");
            }
        }
        canvas.jpeg().map(Some)
    }
}

/// Whether there is a font that can be used.
pub fn check_font(font: &Path) -> Result<()> {
    read_font(font).map(drop)
}

fn read_font(path: &Path) -> Result<FontVec> {
    let unusable = || {
        format!(
            "service.document_reader.font {} cannot be used: front and back of identity cards are not drawn (Debian: \
             apt-get install fonts-wqy-microhei)",
            path.display()
        )
    };
    let bytes = std::fs::metadata(path)
        .and_then(|about| match about.len() {
            0..=FONT_BYTES => std::fs::read(path),
            _ => Err(std::io::ErrorKind::FileTooLarge.into()),
        })
        .context_as(Kind::Config, unusable)?;
    let font = FontVec::try_from_vec_and_index(bytes, 0)
        .map_err(|error| Error::caused(Kind::Config, unusable(), error))?;
    // A font without Chinese would draw boxes.
    if font.glyph_id('姓').0 == 0 {
        return Err(Error::new(Kind::Config, format!("{}: it has no Chinese characters", unusable())));
    }
    Ok(font)
}

fn front(canvas: &mut Canvas, document: &Document) {
    let label = |canvas: &mut Canvas, x, y, text: &str| canvas.text(x, y, 33.0, LABEL, text);
    label(canvas, 70.0, 82.0, "姓名");
    canvas.fitted(176.0, 76.0, 42.0, INK, &document.name, 440.0);
    label(canvas, 70.0, 164.0, "性别");
    canvas.text(176.0, 160.0, 37.0, INK, &document.gender);
    if document.kind == DocumentKind::Resident {
        label(canvas, 290.0, 164.0, "民族");
        canvas.fitted(386.0, 160.0, 37.0, INK, &document.ethnic, 240.0);
    }
    label(canvas, 70.0, 246.0, "出生");
    if let Some(day) = document.birthday {
        canvas.text(176.0, 242.0, 37.0, INK, &day.year().to_string());
        canvas.centred(358.0, 242.0, 37.0, INK, &day.month().to_string());
        canvas.centred(458.0, 242.0, 37.0, INK, &day.day().to_string());
    }
    for (x, text) in [(276.0, "年"), (388.0, "月"), (488.0, "日")] {
        label(canvas, x, 246.0, text);
    }
    label(canvas, 70.0, 328.0, "住址");
    for (line, text) in canvas.lines(&document.address, 37.0, 420.0, 3).into_iter().enumerate() {
        canvas.fitted(176.0, 324.0 + 50.0 * line as f32, 37.0, INK, &text, 440.0);
    }
    label(canvas, 70.0, 545.0, "公民身份号码");
    canvas.spaced(340.0, 536.0, 46.0, INK, &document.number, 580.0);
}

fn back(canvas: &mut Canvas, document: &Document) {
    canvas.centred(615.0, 88.0, 66.0, TITLE, "中华人民共和国");
    let (title, size) = match document.kind {
        DocumentKind::HongKongMacaoTaiwan => ("港澳台居民居住证", 80.0),
        _ => ("居民身份证", 104.0),
    };
    canvas.centred(615.0, 190.0, size, TITLE, title);
    let mut rows = vec![("签发机关", document.issuer.clone()), ("有效期限", validity(document))];
    if document.kind == DocumentKind::HongKongMacaoTaiwan {
        rows.push(("通行证号码", document.permit_number.clone()));
        rows.push(("签发次数", document.issue_count.clone()));
    }
    let top = if rows.len() > 2 { 376.0 } else { 462.0 };
    for (row, (name, text)) in rows.iter().enumerate() {
        let y = top + 62.0 * row as f32;
        canvas.right(400.0, y, 34.0, TITLE, name);
        canvas.fitted(424.0, y - 2.0, 37.0, INK, text, 560.0);
    }
}

/// The layout of 2017; that of 2023 has the same texts.
fn foreigner_front(canvas: &mut Canvas, document: &Document) {
    canvas.centred(505.0, 30.0, 36.0, TITLE, "中华人民共和国  外国人永久居留身份证");
    let day = |day: Option<Date>| day.map(dotted).unwrap_or_default();
    let name = match (document.latin_name.as_str(), document.name.as_str()) {
        ("", name) | (name, "") => name.to_owned(),
        (latin, name) if latin == name => name.to_owned(),
        (latin, name) => format!("{latin}  {name}"),
    };
    let state = match document.nationality.as_str() {
        "" => &document.issuing_state,
        state => state,
    };
    let rows = [
        ("姓名/Name", name),
        ("性别/Sex", document.gender.clone()),
        ("出生日期/Date of Birth", day(document.birthday)),
        ("国籍/Nationality", state.to_owned()),
        ("有效期限/Period of Validity", validity(document)),
        ("证件号码/ID No.", document.number.clone()),
    ];
    for (row, (name, text)) in rows.iter().enumerate() {
        let y = 92.0 + 86.0 * row as f32;
        canvas.text(64.0, y, 24.0, LABEL, name);
        canvas.fitted(64.0, y + 28.0, 38.0, INK, text, 550.0);
    }
}

fn foreigner_back(canvas: &mut Canvas, document: &Document) {
    canvas.centred(505.0, 150.0, 64.0, TITLE, "外国人永久居留身份证");
    canvas.centred(505.0, 240.0, 30.0, TITLE, "FOREIGN PERMANENT RESIDENT ID CARD");
    canvas.text(64.0, 420.0, 26.0, LABEL, "签发机关/Issuing Authority");
    canvas.fitted(64.0, 452.0, 38.0, INK, &document.issuer, 880.0);
}

fn dotted(day: Date) -> String {
    day.strftime("%Y.%m.%d").to_string()
}

/// As printed: `2010.01.01-2030.01.01` or `2010.01.01-长期`.
fn validity(document: &Document) -> String {
    match (document.valid_from, document.expires) {
        (None, None) => String::new(),
        (from, until) => {
            let until = until.map_or_else(|| "长期".to_owned(), dotted);
            format!("{}-{until}", from.map(dotted).unwrap_or_default())
        }
    }
}

/// The drawing.
struct Canvas {
    font: Arc<FontVec>,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(font: Arc<FontVec>) -> Self {
        let pixels = PAPER.repeat((SIZE.0 * SIZE.1) as usize);
        Self { font, pixels }
    }

    /// Mixes a colour into a pixel; outside of the drawing nothing happens.
    fn blend(&mut self, x: i64, y: i64, colour: Colour, cover: f32) {
        if !(0..i64::from(SIZE.0)).contains(&x) || !(0..i64::from(SIZE.1)).contains(&y) {
            return;
        }
        let at = 3 * (y * i64::from(SIZE.0) + x) as usize;
        for (pixel, wanted) in self.pixels[at..at + 3].iter_mut().zip(colour) {
            *pixel = (f32::from(*pixel) * (1.0 - cover) + f32::from(wanted) * cover).round() as u8;
        }
    }

    fn width(&self, size: f32, text: &str) -> f32 {
        let font = self.font.as_scaled(PxScale::from(size));
        text.chars().map(|letter| font.h_advance(font.glyph_id(letter))).sum()
    }

    fn glyph(&mut self, glyph: Glyph, colour: Colour) {
        let Some(outline) = self.font.outline_glyph(glyph) else { return };
        let bounds = outline.px_bounds();
        let (left, top) = (bounds.min.x as i64, bounds.min.y as i64);
        let mut dots = Vec::new();
        outline.draw(|x, y, cover| dots.push((left + i64::from(x), top + i64::from(y), cover)));
        for (x, y, cover) in dots {
            self.blend(x, y, colour, cover.clamp(0.0, 1.0));
        }
    }

    /// A line of text whose upper left corner is at `x`, `y`; where it ends.
    fn text(&mut self, x: f32, y: f32, size: f32, colour: Colour, text: &str) -> f32 {
        let scale = PxScale::from(size);
        let (glyphs, end) = {
            let font = self.font.as_scaled(scale);
            let base = y + font.ascent();
            let mut at = x;
            let mut glyphs = Vec::new();
            for letter in text.chars().filter(|letter| !letter.is_control()) {
                let id = font.glyph_id(letter);
                glyphs.push(id.with_scale_and_position(scale, point(at, base)));
                at += font.h_advance(id);
            }
            (glyphs, at)
        };
        for glyph in glyphs {
            self.glyph(glyph, colour);
        }
        end
    }

    /// The same, smaller where it would be wider than `width`.
    fn fitted(&mut self, x: f32, y: f32, size: f32, colour: Colour, text: &str, width: f32) {
        let wide = self.width(size, text);
        let smaller = if wide > width { size * width / wide } else { size };
        self.text(x, y + (size - smaller) / 2.0, smaller, colour, text);
    }

    fn centred(&mut self, x: f32, y: f32, size: f32, colour: Colour, text: &str) {
        self.text(x - self.width(size, text) / 2.0, y, size, colour, text);
    }

    fn right(&mut self, x: f32, y: f32, size: f32, colour: Colour, text: &str) {
        self.text(x - self.width(size, text), y, size, colour, text);
    }

    /// Letters spread over `width`, as the number of a card is.
    fn spaced(&mut self, x: f32, y: f32, size: f32, colour: Colour, text: &str, width: f32) {
        let letters = text.chars().count().max(1) as f32;
        let gap = ((width - self.width(size, text)) / letters).max(0.0);
        if gap == 0.0 {
            return self.fitted(x, y, size, colour, text, width);
        }
        let mut at = x;
        for letter in text.chars() {
            at = self.text(at, y, size, colour, letter.encode_utf8(&mut [0; 4])) + gap;
        }
    }

    /// A text in lines of at most `width`. What does not fit into `most` lines is in the last all the same: an address is
    /// never cut.
    fn lines(&self, text: &str, size: f32, width: f32, most: usize) -> Vec<String> {
        let mut lines = vec![String::new()];
        for letter in text.chars() {
            let count = lines.len();
            let Some(line) = lines.last_mut() else { break };
            line.push(letter);
            if count < most && self.width(size, line) > width {
                line.pop();
                lines.push(letter.to_string());
            }
        }
        lines
    }

    /// Puts the photo in its place, in its own proportions.
    fn photo(&mut self, jpeg: &[u8]) -> Result<()> {
        let mut picture = Picture::new();
        picture.decode_file(jpeg)?;
        let (width, height) = picture.size();
        let (left, top, wide, high) = PHOTO;
        let scale = (wide as f32 / width.max(1) as f32).min(high as f32 / height.max(1) as f32);
        let (w, h) = ((width as f32 * scale) as u32, (height as f32 * scale) as u32);
        let (left, top) = (left + (wide - w.min(wide)) / 2, top + (high - h.min(high)) / 2);
        for y in 0..h.min(high) {
            for x in 0..w.min(wide) {
                let colour = sample(&picture, (x as f32 + 0.5) / scale - 0.5, (y as f32 + 0.5) / scale - 0.5);
                self.blend(i64::from(left + x), i64::from(top + y), colour, 1.0);
            }
        }
        Ok(())
    }

    fn jpeg(self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(128 << 10);
        jpeg_encoder::Encoder::new(&mut bytes, QUALITY)
            .encode(&self.pixels, SIZE.0 as u16, SIZE.1 as u16, jpeg_encoder::ColorType::Rgb)
            .map_err(|error| Error::caused(Kind::Io, "a drawn identity card could not be encoded", error))?;
        Ok(bytes)
    }
}

/// The colour between pixels.
fn sample(picture: &Picture, x: f32, y: f32) -> Colour {
    let (width, height) = picture.size();
    let clamp = |value: f32, most: u32| value.clamp(0.0, most.saturating_sub(1) as f32);
    let (x, y) = (clamp(x, width), clamp(y, height));
    let (left, top) = (x as u32, y as u32);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (fx, fy) = (x.fract(), y.fract());
    let corners =
        [(left, top), (right, top), (left, bottom), (right, bottom)].map(|(x, y)| picture.pixel(x, y));
    let weights = [(1.0 - fx) * (1.0 - fy), fx * (1.0 - fy), (1.0 - fx) * fy, fx * fy];
    std::array::from_fn(|channel| {
        let sum: f32 =
            corners.iter().zip(weights).map(|(corner, weight)| f32::from(corner[channel]) * weight).sum();
        sum.round() as u8
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    /// Where Debian puts it (scripts/setup.sh test).
    fn font() -> &'static Path {
        Path::new("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc")
    }

    fn resident() -> Document {
        Document {
            number: "11010519491231002X".into(),
            name: "张三".into(),
            gender: "男".into(),
            ethnic: "维吾尔".into(),
            birthday: Some(date(1949, 12, 31)),
            address: "北京市朝阳区某某街道某某路某某小区12号楼3单元401室".into(),
            issuer: "北京市公安局朝阳分局".into(),
            valid_from: Some(date(2010, 1, 1)),
            expires: Some(date(2030, 1, 1)),
            ..Document::default()
        }
    }

    fn draw(document: &Document, face: Face, photo: Option<&[u8]>, font: &Path) -> Result<Option<Vec<u8>>> {
        Pen::new(font).draw(document, face, photo)
    }

    fn decoded(jpeg: &[u8]) -> Picture {
        let mut picture = Picture::new();
        picture.decode_file(jpeg).unwrap();
        picture
    }

    /// The share of dark pixels in a rectangle: what is written there.
    fn ink(picture: &Picture, x: std::ops::Range<u32>, y: std::ops::Range<u32>) -> f32 {
        let all = (x.len() * y.len()) as f32;
        let dark = y.flat_map(|y| x.clone().map(move |x| (x, y)));
        dark.filter(|(x, y)| picture.pixel(*x, *y).iter().all(|part| *part < 110)).count() as f32 / all
    }

    #[test]
    fn both_sides_of_a_card_are_drawn_where_they_belong() {
        let mut photo = Vec::new();
        jpeg_encoder::Encoder::new(&mut photo, 90)
            .encode(&[200, 30, 30].repeat(102 * 126), 102, 126, jpeg_encoder::ColorType::Rgb)
            .unwrap();
        let front = draw(&resident(), Face::Front, Some(&photo), font()).unwrap().unwrap();
        let back = draw(&resident(), Face::Back, Some(&photo), font()).unwrap().unwrap();
        if let Some(folder) = std::env::var_os("MENSHEN_SCREENSHOTS") {
            let folder = Path::new(&folder);
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("sid_front.jpg"), &front).unwrap();
            std::fs::write(folder.join("sid_back.jpg"), &back).unwrap();
        }
        let (front, back) = (decoded(&front), decoded(&back));
        assert_eq!((front.size(), back.size()), (SIZE, SIZE));
        assert!(ink(&front, 176..246, 76..124) > 0.05, "the name");
        assert!(ink(&front, 176..580, 324..370) > 0.05, "the address");
        assert!(ink(&front, 340..910, 540..580) > 0.03, "the number");
        assert_eq!(ink(&front, 640..1000, 480..530), 0.0, "nothing below the photo");
        let [red, green, blue] = front.pixel(793, 277);
        assert!(red > 180 && green < 60 && blue < 60, "the photo");
        assert!(ink(&back, 424..740, 462..500) > 0.05, "the authority");
        assert!(ink(&back, 424..740, 524..562) > 0.03, "its validity");
        // Another name is another picture: it is the data that is drawn.
        let other = Document { name: "李四光".into(), ..resident() };
        let other = decoded(&draw(&other, Face::Front, None, font()).unwrap().unwrap());
        assert!(ink(&other, 248..284, 76..124) > 0.05, "a third character");
        assert_eq!(ink(&front, 248..284, 76..124), 0.0);
    }

    #[test]
    fn the_other_cards_have_their_own_layouts() {
        let permit = Document {
            kind: DocumentKind::HongKongMacaoTaiwan,
            permit_number: "H12345678".into(),
            issue_count: "01".into(),
            ..resident()
        };
        let back = draw(&permit, Face::Back, None, font()).unwrap().unwrap();
        assert!(ink(&decoded(&back), 424..600, 500..536) > 0.03, "the number of the permit");
        let foreigner = Document {
            kind: DocumentKind::Foreigner,
            latin_name: "SPECIMEN, ANNA".into(),
            nationality: "UTO".into(),
            ..resident()
        };
        let front = draw(&foreigner, Face::Front, None, font()).unwrap().unwrap();
        assert!(ink(&decoded(&front), 64..340, 120..158) > 0.03, "the name");
        assert!(draw(&foreigner, Face::Back, None, font()).unwrap().is_some());
        let passport = Document { kind: DocumentKind::Passport, ..resident() };
        assert!(draw(&passport, Face::Front, None, font()).unwrap().is_none());
    }

    #[test]
    fn whatever_is_written_on_a_card_is_drawn() {
        let long = "长".repeat(200);
        let odd = Document {
            name: long.clone(),
            ethnic: long.clone(),
            address: format!("{long}\u{20000}\u{7}"),
            issuer: long.clone(),
            number: long,
            ..resident()
        };
        for face in [Face::Front, Face::Back] {
            assert!(draw(&odd, face, Some(b"no picture"), font()).unwrap().is_some());
            assert!(draw(&Document::default(), face, None, font()).unwrap().is_some());
        }
    }

    #[test]
    fn a_font_that_cannot_be_used_is_named() {
        let error = draw(&resident(), Face::Front, None, Path::new("/none.ttf")).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("service.document_reader.font /none.ttf"), "{error}");
        let error = check_font(Path::new("Cargo.toml")).unwrap_err();
        assert!(error.to_string().contains("apt-get install"), "{error}");
    }

    #[test]
    fn the_font_is_read_once_and_looked_for_until_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("font.ttc");
        let pen = Pen::new(&file);
        assert!(pen.draw(&resident(), Face::Front, None).is_err());
        assert_eq!(pen.drawings(), 0);
        std::fs::copy(font(), &file).unwrap();
        assert!(pen.draw(&resident(), Face::Front, None).unwrap().is_some());
        // It is kept: the file is not needed any more.
        std::fs::remove_file(&file).unwrap();
        assert!(pen.draw(&resident(), Face::Back, None).unwrap().is_some());
        assert_eq!(pen.drawings(), 2);
    }
}
