//! Whether anything lies before a document camera: the picture against the one of the empty plate.

use std::time::{Duration, Instant};

use super::find::Grey;

/// Cells of a glance, across and down.
const COLUMNS: usize = 24;
const ROWS: usize = 18;
/// A cell has changed if it differs by this, of 255, beyond what the light did to all.
const CHANGE: f32 = 12.0;
/// Cells that a document covers at least: a card fills a twentieth of the plate.
const COVERED: usize = COLUMNS * ROWS / 24;
/// A document lies still if fewer cells than this changed since the last glance.
const MOVING: usize = 6;
/// How long a picture without a zone must stay the same to be taken for the plate: what was left lying there is then no
/// document any more.
const LEARNS_IN: Duration = Duration::from_secs(60);

type Glance = [f32; COLUMNS * ROWS];

/// What the plate shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plate {
    /// Nothing lies there.
    Empty,
    /// Something is being laid there, or lifted.
    Moving,
    /// Something lies there, still.
    Covered,
}

/// Knows the empty plate.
#[derive(Default)]
pub struct PlateWatch {
    empty: Option<Glance>,
    /// What the plate was before something that lay there, or new light on it, was taken for it.
    former: Option<Glance>,
    /// What lay there before the plate was ever seen.
    first: Option<Glance>,
    last: Option<Glance>,
    /// Since when the picture is the same and not the plate's.
    same_since: Option<Instant>,
}

impl PlateWatch {
    /// Knows no plate yet: the first picture that is like the one before it, in its light too, is taken for it: a camera's
    /// first ones are dark. Unless told otherwise with [`PlateWatch::occupied`].
    pub fn new() -> Self {
        Self::default()
    }

    /// What the picture, taken at `at`, shows. The plate is learnt from the first pictures, and slowly followed as the light
    /// changes.
    pub fn look(&mut self, picture: &Grey, at: Instant) -> Plate {
        let glance = glance(picture);
        let moving = self.last.as_ref().is_some_and(|last| changed(last, &glance) >= MOVING);
        let settled = self.last.as_ref().is_some_and(|last| differing(last, &glance, 1.0) < MOVING);
        self.last = Some(glance);
        let Some(empty) = &mut self.empty else {
            let Some(first) = &self.first else {
                if !settled {
                    return Plate::Moving;
                }
                self.empty = Some(glance);
                return Plate::Empty;
            };
            if moving {
                return Plate::Moving;
            }
            if changed(first, &glance) < COVERED {
                return Plate::Covered;
            }
            self.empty = Some(glance);
            return Plate::Empty;
        };
        if changed(empty, &glance) < COVERED {
            self.same_since = None;
            for (then, now) in empty.iter_mut().zip(&glance) {
                *then += (now - *then) * 0.05;
            }
            return Plate::Empty;
        }
        if moving {
            self.same_since = None;
            return Plate::Moving;
        }
        if self.former.as_ref().is_some_and(|former| changed(former, &glance) < COVERED) {
            // What was taken for the plate is gone. It is forgotten: another document may lie just so.
            (self.empty, self.former, self.same_since) = (self.former.take(), None, None);
            return Plate::Empty;
        }
        self.same_since.get_or_insert(at);
        Plate::Covered
    }

    /// There is no document in what lies there: when it has lain there for a minute it is the plate.
    pub fn no_document(&mut self, at: Instant) {
        if self.same_since.is_some_and(|since| at.saturating_duration_since(since) >= LEARNS_IN) {
            self.learn();
        }
    }

    /// What lies there now, or the light that falls on it, is the plate. The one that was is still known when it comes back.
    pub fn learn(&mut self) {
        self.former = self.former.take().or(self.empty);
        (self.empty, self.same_since) = (self.last, None);
    }

    /// There is a document in the first picture already: the plate is what comes when it is gone.
    pub fn occupied(&mut self, picture: &Grey) {
        self.first = Some(glance(picture));
    }

    /// Whether the plate is known, or that it is not to be seen yet.
    pub fn knows_plate(&self) -> bool {
        self.empty.is_some() || self.first.is_some()
    }
}

fn glance(picture: &Grey) -> Glance {
    let mut glance = [0.0; COLUMNS * ROWS];
    let lines = |cell: usize, cells: usize, side: usize| {
        let start = cell * side / cells;
        start..((cell + 1) * side / cells).max(start + 1).min(side.max(start))
    };
    for (index, cell) in glance.iter_mut().enumerate() {
        let (mut sum, mut count) = (0_u32, 0_u32);
        // Every third pixel will do.
        for y in lines(index / COLUMNS, ROWS, picture.height).step_by(3) {
            for x in lines(index % COLUMNS, COLUMNS, picture.width).step_by(3) {
                sum += u32::from(picture.data[y * picture.width + x]);
                count += 1;
            }
        }
        *cell = sum as f32 / count.max(1) as f32;
    }
    glance
}

/// How many cells differ in more than the light of the whole.
fn changed(before: &Glance, now: &Glance) -> usize {
    let mut ratios: Vec<f32> =
        before.iter().zip(now).map(|(then, now)| (now + 16.0) / (then + 16.0)).collect();
    // The quarter that changed least upwards and downwards is the light; the median would be a document that fills the view.
    ratios.sort_by(|one, other| (one - 1.0).abs().total_cmp(&(other - 1.0).abs()));
    let quarter = &ratios[..ratios.len() / 4];
    differing(before, now, quarter.iter().sum::<f32>() / quarter.len().max(1) as f32)
}

/// How many cells differ in more than what a light that is so many times as strong does to them.
fn differing(before: &Glance, now: &Glance, light: f32) -> usize {
    before
        .iter()
        .zip(now)
        .filter(|(then, now)| (**now - ((**then + 16.0) * light - 16.0)).abs() >= CHANGE)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(light: f32, card: Option<(usize, usize)>) -> Grey {
        let (width, height) = (320, 240);
        let mut grey = Grey { width, height, data: Vec::new() };
        for y in 0..height {
            for x in 0..width {
                let on = card.is_some_and(|(left, top)| {
                    (left..left + 120).contains(&x) && (top..top + 76).contains(&y)
                });
                let value = if on { 190.0 } else { 50.0 + (x + y) as f32 * 0.05 };
                grey.data.push((value * light).min(255.0) as u8);
            }
        }
        grey
    }

    #[test]
    fn a_document_is_noticed_when_it_lies_still_and_when_it_is_gone() {
        let (mut watch, now) = (PlateWatch::new(), Instant::now());
        let mut look = |light: f32, card: Option<(usize, usize)>| watch.look(&picture(light, card), now);
        assert_eq!(look(1.0, None), Plate::Moving, "nothing is known of it yet");
        assert_eq!(look(1.0, None), Plate::Empty);
        assert_eq!(look(1.02, None), Plate::Empty);
        assert_eq!(look(1.0, Some((40, 40))), Plate::Moving);
        assert_eq!(look(1.0, Some((90, 60))), Plate::Moving);
        assert_eq!(look(1.0, Some((90, 60))), Plate::Covered);
        assert_eq!(look(1.1, Some((90, 60))), Plate::Covered);
        assert_eq!(look(1.0, None), Plate::Empty);
        // Somebody switches the light on.
        assert_eq!(look(1.5, None), Plate::Empty);
    }

    #[test]
    fn a_document_may_lie_there_from_the_start() {
        let (mut watch, now) = (PlateWatch::new(), Instant::now());
        let card = picture(1.0, Some((90, 60)));
        watch.occupied(&card);
        assert_eq!(watch.look(&card, now), Plate::Covered);
        assert_eq!(watch.look(&picture(1.0, None), now), Plate::Moving);
        assert_eq!(watch.look(&picture(1.0, None), now), Plate::Empty);
        watch.look(&card, now);
        assert_eq!(watch.look(&card, now), Plate::Covered);
    }

    #[test]
    fn the_plate_is_learnt_when_the_light_has_settled() {
        let (mut watch, now) = (PlateWatch::new(), Instant::now());
        let mut look = |light: f32, card: Option<(usize, usize)>| watch.look(&picture(light, card), now);
        // A camera's exposure settles: nothing, too dark, too light, right.
        for light in [0.0, 0.2, 0.7, 1.3] {
            assert_eq!(look(light, None), Plate::Moving, "{light}");
        }
        assert_eq!(look(1.0, None), Plate::Moving);
        assert_eq!(look(1.0, None), Plate::Empty);
        assert_eq!(look(1.0, Some((90, 60))), Plate::Moving);
        assert_eq!(look(1.0, Some((90, 60))), Plate::Covered);
    }

    #[test]
    fn what_is_left_lying_becomes_the_plate() {
        let (mut watch, start) = (PlateWatch::new(), Instant::now());
        let card = Some((90, 60));
        watch.look(&picture(1.0, None), start);
        watch.look(&picture(1.0, None), start);
        watch.look(&picture(1.0, card), start);
        assert_eq!(watch.look(&picture(1.0, card), start), Plate::Covered);
        watch.no_document(start + Duration::from_secs(59));
        assert_eq!(watch.look(&picture(1.0, card), start), Plate::Covered);
        watch.no_document(start + Duration::from_secs(61));
        assert_eq!(watch.look(&picture(1.0, card), start), Plate::Empty);
        // Without it the plate is the one that was, and it, laid down again, is a document.
        assert_eq!(watch.look(&picture(1.0, None), start), Plate::Moving);
        assert_eq!(watch.look(&picture(1.0, None), start), Plate::Empty);
        watch.look(&picture(1.0, card), start);
        assert_eq!(watch.look(&picture(1.0, card), start), Plate::Covered);
    }
}
