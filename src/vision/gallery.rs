//! The gallery: whose face is it? Exact 1:N search over all enrolled templates, in memory.
//!
//! A search reads every template once, so its cost is the memory it touches. A template is therefore kept in
//! two planes of 8 bits. The *high* plane is scanned; the *low* plane holds what the high one leaves out and is
//! read only for the few rows that can still matter. With `v` the 16-bit values of a template
//! ([`Template::to_bytes`]), `s` the row's own step, `h` and `l` its planes and `q` the query's 16-bit values:
//!
//! ```text
//! v = s·h + l        h in -128..=127, l in 0..s, s in 1..=256, the smallest step that holds the row
//! v·q = s·(h·q + Σq/2) + (l - s/2)·q
//! ```
//!
//! The scan knows the first term exactly; the second is at most `‖l - s/2‖·‖q‖` (Cauchy-Schwarz), and the norm
//! of the residual is stored with the row. A row whose upper bound does not reach the cosine that it would have
//! to beat cannot be an answer; every other row is computed exactly from both planes, in integers. The answer is
//! thus that of the 16-bit templates, not an approximation of it: the tests hold it against a plain `f64` loop.
//!
//! Rows live in blocks of [`BLOCK`] and never move: a row that is removed is left empty and used again. Each block
//! has a lock of its own, which a search holds for the scan of that block (some 10 µs, some 100 µs on a small ARM
//! core) and a change for copying one row (below 1 µs). So neither waits long for the other, and a face that is
//! there during a whole search is seen by it exactly once. A lock-free scheme would have to copy a block for each
//! change or read bytes while they are written; both cost more than the wait they spare.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use arc_swap::ArcSwap;

use super::template::Template;
use crate::error::{Error, Kind, Result};

/// Rows of a block: small enough that a lock is held briefly, large enough that its cost vanishes.
const BLOCK: usize = 1024;

/// Values of a cache line of the high plane; rows are padded with zeros to whole lanes.
const LANE: usize = 64;

/// Lanes by which the scan asks for memory before it needs it: 8 KB. The processor's own prefetching ends at each
/// page of 4 KB, and the arithmetic on a lane is too long for the next lanes to be asked for out of order.
const AHEAD: usize = 128;

/// Sums that one row's scan keeps side by side: what the widest vector register holds.
const PARTS: usize = 16;

/// The longest template.
const LONGEST: usize = 16_384;

/// One face of the gallery and how alike it is to the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit<F, P> {
    /// The face.
    pub face: F,
    /// Whose.
    pub person: P,
    /// Cosine similarity to the query, -1 to 1.
    pub cosine: f32,
}

/// The answer of a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found<F, P> {
    /// The face most like the query; of several that are equally like it, the one with the smallest key.
    pub best: Hit<F, P>,
    /// The face most like the query among those of all *other* people; `None` with one person in the gallery.
    pub runner_up: Option<Hit<F, P>>,
}

/// All enrolled templates of one model, each under a face `F` of a person `P`. Shared by reference: faces come and
/// go while searches run.
///
/// Memory: 2 bytes for each value of a template, 26 bytes for the row and 17 to 39 for the way from face to row;
/// below 1.1 KB with templates of 512 values.
pub struct Gallery<F, P> {
    dimension: usize,
    /// Lanes of one row.
    stride: usize,
    blocks: ArcSwap<Blocks<F, P>>,
    index: Mutex<Index<F>>,
}

/// All blocks; the list is replaced when one is added, the blocks are shared by the old list and the new.
type Blocks<F, P> = Vec<Arc<RwLock<Block<F, P>>>>;

/// Where the faces are. Whoever changes the gallery holds it; searches do not.
struct Index<F> {
    slots: HashMap<F, Slot>,
    /// Rows that were removed, to be used again.
    free: Vec<Slot>,
    /// The row that is being coded.
    coded: Coded,
}

/// A row of all blocks: `block * BLOCK + row`.
type Slot = u32;

/// Part of a row's high plane, on one cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct High([i8; LANE]);

/// Part of a row's low plane.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Low([u8; LANE]);

/// Part of the query.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Wide([i16; LANE]);

/// A template in two planes.
struct Coded {
    high: Vec<High>,
    low: Vec<Low>,
    facts: Facts,
}

/// What the scan needs to know of a row besides its high plane.
#[derive(Clone, Copy)]
struct Facts {
    /// `s/‖v‖`: turns `h·q + Σq/2` into a cosine times `‖q‖`. 0 for an empty row.
    factor: f32,
    /// How far that may be from the truth, as a cosine, rounding of the scan included. `-inf` for an empty row,
    /// which therefore never reaches anything.
    bound: f32,
    /// `s`.
    step: u16,
}

const EMPTY: Facts = Facts { factor: 0.0, bound: f32::NEG_INFINITY, step: 1 };

/// Up to [`BLOCK`] rows.
struct Block<F, P> {
    high: Vec<High>,
    low: Vec<Low>,
    facts: Vec<Facts>,
    keys: Vec<(F, P)>,
}

/// The query in the form of the scan.
struct Query {
    values: Vec<Wide>,
    /// `Σq/2`.
    half_sum: f32,
    /// `‖q‖`.
    norm: f64,
}

impl<F, P> Gallery<F, P>
where
    F: Copy + Ord + Hash,
    P: Copy + Eq,
{
    /// An empty gallery for templates of `dimension` values; `Model` unless that is 1 to 16 384.
    pub fn new(dimension: usize) -> Result<Self> {
        if !(1..=LONGEST).contains(&dimension) {
            return Err(Error::new(
                Kind::Model,
                format!("templates of {dimension} values are not supported: 1 to {LONGEST} are"),
            ));
        }
        let stride = dimension.div_ceil(LANE);
        Ok(Self {
            dimension,
            stride,
            blocks: ArcSwap::default(),
            index: Mutex::new(Index {
                slots: HashMap::new(),
                free: Vec::new(),
                coded: Coded {
                    high: vec![High([0; LANE]); stride],
                    low: vec![Low([0; LANE]); stride],
                    facts: EMPTY,
                },
            }),
        })
    }

    /// Values of a template.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Faces in the gallery.
    pub fn len(&self) -> usize {
        self.index().slots.len()
    }

    /// Whether nobody is enrolled.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Enrols a face, in place of the one that had this key. `template` is what [`Template::to_bytes`] gave.
    /// `Model` if it is of another dimension, `Store` if it is damaged; the gallery is then as it was.
    pub fn insert(&self, face: F, person: P, template: &[u8]) -> Result<()> {
        if template.len() != 2 * self.dimension {
            return Err(Error::new(
                Kind::Model,
                format!(
                    "a template of {} bytes does not fit a gallery of {} values (2 bytes each): \
                     it was made by another model",
                    template.len(),
                    self.dimension
                ),
            ));
        }
        let mut index = self.index();
        let Index { slots, free, coded } = &mut *index;
        coded.code(template)?;
        if let Some(&slot) = slots.get(&face) {
            self.overwrite(slot, coded, (face, person));
        } else if let Some(slot) = free.pop() {
            self.overwrite(slot, coded, (face, person));
            slots.insert(face, slot);
        } else {
            slots.insert(face, self.append(coded, (face, person))?);
        }
        Ok(())
    }

    /// Removes a face; `false` if it was not there.
    pub fn remove(&self, face: F) -> bool {
        let mut index = self.index();
        let Some(slot) = index.slots.remove(&face) else { return false };
        let blocks = self.blocks.load();
        let mut block = blocks[slot as usize / BLOCK].write().unwrap_or_else(PoisonError::into_inner);
        block.facts[slot as usize % BLOCK] = EMPTY;
        index.free.push(slot);
        true
    }

    /// Removes all faces and frees their memory. A search under way may still find one of them.
    pub fn clear(&self) {
        let mut index = self.index();
        index.slots = HashMap::new();
        index.free = Vec::new();
        self.blocks.store(Arc::default());
    }

    /// The face most like `query`, and the one most like it of another person; `None` in an empty gallery.
    /// `Model` if `query` is of another dimension.
    ///
    /// Exact for the 16-bit form of all templates. A face that is enrolled or removed meanwhile may or may not be
    /// seen; one that is there all the time is.
    pub fn search(&self, query: &Template) -> Result<Option<Found<F, P>>> {
        self.search_without(query, &[])
    }

    /// [`Gallery::search`] as if the people of `apart` were not there. Made for a few of them.
    pub fn search_without(&self, query: &Template, apart: &[P]) -> Result<Option<Found<F, P>>> {
        let query = self.query(query)?;
        let kernel = Kernel::of_this_machine();
        let mut top = Top { best: None, runner_up: None, apart };
        let mut dots = [0; BLOCK];
        for block in self.blocks.load().iter() {
            let block = block.read().unwrap_or_else(PoisonError::into_inner);
            let dots = &mut dots[..block.facts.len()];
            kernel.scan(&block.high, &query.values, dots);
            block.refine(dots, &query, &mut top);
        }
        Ok(top
            .best
            .map(|best| Found { best: best.hit(), runner_up: top.runner_up.map(|second| second.hit()) }))
    }

    /// How alike two enrolled faces are: the cosine of their templates, -1 to 1. `None` if one of them is not here.
    pub fn likeness(&self, one: F, other: F) -> Option<f32> {
        // The index is held so that neither row is given to another face meanwhile.
        let index = self.index();
        let (one, other) = (self.values(*index.slots.get(&one)?), self.values(*index.slots.get(&other)?));
        let dot =
            |a: &[i32], b: &[i32]| a.iter().zip(b).map(|(a, b)| i64::from(*a) * i64::from(*b)).sum::<i64>();
        Some(cosine(dot(&one, &other), dot(&one, &one), (dot(&other, &other) as f64).sqrt()) as f32)
    }

    /// The 16-bit values of a row that exists. The caller holds the index.
    fn values(&self, slot: Slot) -> Vec<i32> {
        let (block, row) = (slot as usize / BLOCK, slot as usize % BLOCK);
        let blocks = self.blocks.load();
        let block = blocks[block].read().unwrap_or_else(PoisonError::into_inner);
        let step = i32::from(block.facts[row].step);
        let lanes = row * self.stride..(row + 1) * self.stride;
        let planes = block.high[lanes.clone()].iter().zip(&block.low[lanes]);
        planes
            .flat_map(|(high, low)| high.0.iter().zip(&low.0))
            .map(|(high, low)| step * i32::from(*high) + i32::from(*low))
            .collect()
    }

    fn query(&self, query: &Template) -> Result<Query> {
        if query.values().len() != self.dimension {
            return Err(Error::new(
                Kind::Model,
                format!(
                    "a template of {} values cannot be searched in a gallery of {}: it was made by another model",
                    query.values().len(),
                    self.dimension
                ),
            ));
        }
        let mut values = vec![Wide([0; LANE]); self.stride];
        let (mut sum, mut squares) = (0_i64, 0_i64);
        let scale = query_scale(query);
        for (place, value) in values.iter_mut().flat_map(|lane| &mut lane.0).zip(query.values()) {
            *place = (value * scale).round() as i16;
            sum += i64::from(*place);
            squares += i64::from(*place) * i64::from(*place);
        }
        Ok(Query { values, half_sum: sum as f32 / 2.0, norm: (squares as f64).sqrt() })
    }

    fn index(&self) -> MutexGuard<'_, Index<F>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a row that exists. The caller holds the index.
    fn overwrite(&self, slot: Slot, coded: &Coded, key: (F, P)) {
        let (block, row) = (slot as usize / BLOCK, slot as usize % BLOCK);
        let blocks = self.blocks.load();
        let mut block = blocks[block].write().unwrap_or_else(PoisonError::into_inner);
        let lanes = row * self.stride..(row + 1) * self.stride;
        block.high[lanes.clone()].copy_from_slice(&coded.high);
        block.low[lanes].copy_from_slice(&coded.low);
        block.facts[row] = coded.facts;
        block.keys[row] = key;
    }

    /// Adds a row behind the last. The caller holds the index.
    fn append(&self, coded: &Coded, key: (F, P)) -> Result<Slot> {
        let blocks = self.blocks.load_full();
        if let Some(last) = blocks.last() {
            let mut block = last.write().unwrap_or_else(PoisonError::into_inner);
            if block.facts.len() < BLOCK {
                block.push(coded, key);
                // `slot` was checked when the block was begun.
                return Ok(((blocks.len() - 1) * BLOCK + block.facts.len() - 1) as Slot);
            }
        }
        let slot = Slot::try_from(blocks.len() * BLOCK)
            .ok()
            .filter(|slot| *slot <= Slot::MAX - BLOCK as Slot)
            .ok_or_else(|| Error::new(Kind::Full, "the gallery is full"))?;
        let mut block = Block {
            high: Vec::with_capacity(BLOCK * self.stride),
            low: Vec::with_capacity(BLOCK * self.stride),
            facts: Vec::with_capacity(BLOCK),
            keys: Vec::with_capacity(BLOCK),
        };
        block.push(coded, key);
        let mut more = Vec::with_capacity(blocks.len() + 1);
        more.extend_from_slice(&blocks);
        more.push(Arc::new(RwLock::new(block)));
        self.blocks.store(Arc::new(more));
        Ok(slot)
    }
}

impl<F, P> Block<F, P> {
    fn push(&mut self, coded: &Coded, key: (F, P)) {
        self.high.extend_from_slice(&coded.high);
        self.low.extend_from_slice(&coded.low);
        self.facts.push(coded.facts);
        self.keys.push(key);
    }
}

impl<F: Copy + Ord, P: Copy + Eq> Block<F, P> {
    /// Computes exactly every row that the scan could not exclude. `dots` holds `h·q` of each row.
    fn refine(&self, dots: &[i32], query: &Query, top: &mut Top<'_, F, P>) {
        let norm = query.norm as f32;
        let mut uppers = [0.0_f32; BLOCK];
        let uppers = &mut uppers[..dots.len()];
        for ((upper, facts), dot) in uppers.iter_mut().zip(&self.facts).zip(dots) {
            *upper = facts.factor * (*dot as f32 + query.half_sum) + facts.bound * norm;
        }
        // The most promising row comes first: it spares most of the others.
        let first = uppers.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(row, _)| row);
        let Some(first) = first.filter(|row| uppers[*row] >= top.to_reach(query.norm)) else { return };
        if uppers[first] == f32::NEG_INFINITY {
            return;
        }
        top.meet(self.exact(first, dots[first], query));
        let mut to_reach = top.to_reach(query.norm);
        for (row, upper) in uppers.iter().enumerate() {
            if *upper >= to_reach && row != first && *upper > f32::NEG_INFINITY {
                top.meet(self.exact(row, dots[row], query));
                to_reach = top.to_reach(query.norm);
            }
        }
    }

    /// The cosine of a row, from both planes.
    fn exact(&self, row: usize, high_dot: i32, query: &Query) -> Candidate<F, P> {
        let step = i64::from(self.facts[row].step);
        let lanes = row * query.values.len()..(row + 1) * query.values.len();
        let (mut low_dot, mut squares) = (0_i64, 0_i64);
        for ((high, low), query) in self.high[lanes.clone()].iter().zip(&self.low[lanes]).zip(&query.values) {
            for ((high, low), value) in high.0.iter().zip(&low.0).zip(&query.0) {
                let row_value = step * i64::from(*high) + i64::from(*low);
                low_dot += i64::from(*low) * i64::from(*value);
                squares += row_value * row_value;
            }
        }
        let dot = step * i64::from(high_dot) + low_dot;
        let (face, person) = self.keys[row];
        Candidate { face, person, cosine: cosine(dot, squares, query.norm) }
    }
}

/// What the values of a query are multiplied with before they are rounded to 16 bits: as much as these hold, but no
/// more than what keeps every sum of the scan within 32 bits: `|h·q| <= ‖h‖·‖q‖`, where `‖h‖` is at most `128·√n`, and
/// `‖q‖` is the scale and at most `√n/2` of rounding. So the product is at most `2^30 + 64·n`, below `2^31`.
fn query_scale(query: &Template) -> f32 {
    let largest = query.values().iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let longest = (1_u32 << 30) as f32 / (128.0 * (query.values().len() as f32).sqrt());
    (32767.0 / largest).min(longest)
}

/// The cosine of two vectors of integers, from their product, the square of one norm, and the other norm.
fn cosine(dot: i64, squares: i64, norm: f64) -> f64 {
    dot as f64 / ((squares as f64).sqrt() * norm)
}

/// A row whose cosine is known exactly.
#[derive(Clone, Copy)]
struct Candidate<F, P> {
    face: F,
    person: P,
    cosine: f64,
}

impl<F: Copy + Ord, P: Copy> Candidate<F, P> {
    /// More like the query; of two that are equally like it, the one with the smaller key.
    fn beats(&self, other: &Self) -> bool {
        self.cosine > other.cosine || (self.cosine == other.cosine && self.face < other.face)
    }

    fn hit(&self) -> Hit<F, P> {
        Hit { face: self.face, person: self.person, cosine: self.cosine as f32 }
    }
}

/// The best so far, and the best so far of all others than its person.
struct Top<'a, F, P> {
    best: Option<Candidate<F, P>>,
    runner_up: Option<Candidate<F, P>>,
    /// Who does not count.
    apart: &'a [P],
}

impl<F: Copy + Ord, P: Copy + Eq> Top<'_, F, P> {
    fn meet(&mut self, new: Candidate<F, P>) {
        if self.apart.contains(&new.person) {
            return;
        }
        match self.best {
            Some(best) if best.person == new.person => {
                if new.beats(&best) {
                    self.best = Some(new);
                }
            }
            // Everybody else's best is at most the old best, so that one is second now.
            Some(best) if new.beats(&best) => {
                self.runner_up = Some(best);
                self.best = Some(new);
            }
            Some(_) => {
                if self.runner_up.is_none_or(|second| new.beats(&second)) {
                    self.runner_up = Some(new);
                }
            }
            None => self.best = Some(new),
        }
    }

    /// What the upper bound of a row must reach to matter, in the scale of the scan (cosine times `norm`), less
    /// what the last additions of the scan may round away.
    fn to_reach(&self, norm: f64) -> f32 {
        match &self.runner_up {
            Some(second) => ((second.cosine - 1e-6) * norm) as f32,
            None => f32::NEG_INFINITY,
        }
    }
}

impl Coded {
    /// Codes a template, given as little-endian `i16`. `Store` if all its values are zero.
    fn code(&mut self, template: &[u8]) -> Result<()> {
        let (mut least, mut most, mut squares) = (0_i16, 0_i16, 0_i64);
        for value in words(template) {
            least = least.min(value);
            most = most.max(value);
            squares += i64::from(i32::from(value) * i32::from(value));
        }
        if squares == 0 {
            return Err(Error::new(Kind::Store, "a template that is all zero is damaged"));
        }
        // floor(most/s) <= 127 and floor(least/s) >= -128 hold from here on; s is at most 256.
        let step = (i32::from(most) / 128 + 1).max((-i32::from(least) + 127) / 128) as u32;
        let reciprocal = (1 << 24) / step + 1;
        let offset = 128 * step as i32;
        let (mut high_squares, mut residual_squares) = (0_u64, 0_u64);
        for ((high, low), words) in self.high.iter_mut().zip(&mut self.low).zip(template.chunks(2 * LANE)) {
            let (mut highs, mut residuals) = (0_u32, 0_u32);
            for ((high, low), value) in high.0.iter_mut().zip(&mut low.0).zip(self::words(words)) {
                let above = (i32::from(value) + offset) as u32;
                let quotient = divide(above, reciprocal);
                let rest = above - quotient * step;
                let quotient = quotient as i32 - 128;
                *high = quotient as i8;
                *low = rest as u8;
                highs += (quotient * quotient) as u32;
                // Twice the residual, to stay in integers.
                let residual = 2 * rest as i32 - step as i32;
                residuals += (residual * residual) as u32;
            }
            high_squares += u64::from(highs);
            residual_squares += u64::from(residuals);
        }
        let norm = (squares as f64).sqrt();
        let step_of_norm = f64::from(step) / norm;
        let residual = (residual_squares as f64).sqrt() / 2.0 / norm;
        // The scan computes `factor·(h·q + Σq/2)` with four roundings to `f32`, each of at most 2^-24 of
        // `factor·(|h·q| + |Σq/2|)`, and that is at most this times `‖q‖`.
        let values = template.len() / 2;
        let largest = step_of_norm * ((high_squares as f64).sqrt() + (values as f64).sqrt() / 2.0);
        self.facts = Facts {
            factor: step_of_norm as f32,
            bound: (residual + largest * 2.0_f64.powi(-20)) as f32,
            step: step as u16,
        };
        Ok(())
    }
}

/// `above / step` for `above < 256·step` and `step` in 1..=256, where `reciprocal = 2^24/step + 1`, rounded down.
/// Exact: the reciprocal is too large by at most 1, which makes the quotient too large by less than
/// `256·step/2^24 = step/2^16 <= 1/step`, the distance of any `above/step` to the next whole number above it; and
/// the product is at most `(256·step - 1)·(2^24/step + 1) < 2^32`. The test goes through all of them.
#[inline(always)]
fn divide(above: u32, reciprocal: u32) -> u32 {
    above.wrapping_mul(reciprocal) >> 24
}

/// The values of a template's bytes.
fn words(bytes: &[u8]) -> impl Iterator<Item = i16> + '_ {
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
}

/// Which build of the scan this machine runs. The source is the same; the compiler makes vector code of it.
#[derive(Clone, Copy)]
enum Kernel {
    /// What the target guarantees: SSE2 on x86-64, NEON on aarch64.
    Baseline,
    /// x86-64 with AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F and BW.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    fn of_this_machine() -> Self {
        // The standard library remembers the answers of the processor: each of these is one load.
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
            return Self::Avx512;
        } else if is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Baseline
    }

    /// `dots[row] = h·q` for each row.
    fn scan(self, high: &[High], query: &[Wide], dots: &mut [i32]) {
        match self {
            Self::Baseline => scan(high, query, dots),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Avx2` is only made where the processor has said that it has AVX2, and that is all that
            // `scan_avx2`, safe code otherwise, asks for.
            Self::Avx2 => unsafe { scan_avx2(high, query, dots) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: likewise, with AVX-512 F and BW.
            Self::Avx512 => unsafe { scan_avx512(high, query, dots) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn scan_avx512(high: &[High], query: &[Wide], dots: &mut [i32]) {
    scan(high, query, dots);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn scan_avx2(high: &[High], query: &[Wide], dots: &mut [i32]) {
    scan(high, query, dots);
}

/// Asks for a lane's cache line; on other processors than x86-64 it is left to the hardware.
#[inline(always)]
fn prefetch(lane: &High) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads and writes nothing that a program can see, and its address is that of a reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(lane).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = lane;
}

/// Four rows at a time, so that the query is loaded once for them.
#[inline(always)]
fn scan(high: &[High], query: &[Wide], dots: &mut [i32]) {
    let stride = query.len();
    let (fours, rest) = dots.as_chunks_mut::<4>();
    let (rows, rest_rows) = high.split_at(fours.len() * 4 * stride);
    for (four, (dots, rows)) in fours.iter_mut().zip(rows.chunks_exact(4 * stride)).enumerate() {
        let ahead = four * 4 * stride + AHEAD;
        high.iter().skip(ahead).take(4 * stride).for_each(prefetch);
        let (a, rows) = rows.split_at(stride);
        let (b, rows) = rows.split_at(stride);
        let (c, d) = rows.split_at(stride);
        let mut sums = [[0_i32; PARTS]; 4];
        for ((((query, a), b), c), d) in query.iter().zip(a).zip(b).zip(c).zip(d) {
            for from in (0..LANE).step_by(PARTS) {
                for part in 0..PARTS {
                    let other = i32::from(query.0[from + part]);
                    // No sum can overflow (see query_scale); wrapping keeps checks out of the loop of a debug build.
                    for (sums, row) in sums.iter_mut().zip([a, b, c, d]) {
                        sums[part] = sums[part].wrapping_add(i32::from(row.0[from + part]) * other);
                    }
                }
            }
        }
        for (dot, sums) in dots.iter_mut().zip(sums) {
            *dot = sums.into_iter().fold(0, i32::wrapping_add);
        }
    }
    for (dot, row) in rest.iter_mut().zip(rest_rows.chunks_exact(stride)) {
        *dot = 0;
        for (row, query) in row.iter().zip(query) {
            for (value, other) in row.0.iter().zip(&query.0) {
                *dot = dot.wrapping_add(i32::from(*value) * i32::from(*other));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use proptest::prelude::*;

    use super::*;

    fn bytes(values: &[i16]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// Numbers that look random, the same ones every time.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        /// Twelve uniform numbers make nearly a normal one.
        fn normal(&mut self) -> f32 {
            (0..12).map(|_| (self.next() >> 40) as f32 / (1_u64 << 24) as f32).sum::<f32>() - 6.0
        }

        fn template(&mut self, dimension: usize) -> Template {
            Template::normalised((0..dimension).map(|_| self.normal()).collect()).unwrap()
        }
    }

    /// A plain loop in `f64` over what was enrolled: the cosine of the 16-bit values, ordered by cosine, then key.
    fn oracle(rows: &[(i64, i64, Vec<i16>)], query: &Template) -> Option<Found<i64, i64>> {
        let scale = query_scale(query);
        let query: Vec<f64> =
            query.values().iter().map(|value| f64::from((value * scale).round() as i16)).collect();
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        let mut all: Vec<Hit<i64, i64>> = Vec::new();
        let mut order: Vec<(f64, i64, i64)> = rows
            .iter()
            .map(|(face, person, values)| {
                let values: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
                let dot: f64 = values.iter().zip(&query).map(|(a, b)| a * b).sum();
                (dot / (norm(&values) * norm(&query)), *face, *person)
            })
            .collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.extend(order.iter().map(|row| Hit { face: row.1, person: row.2, cosine: row.0 as f32 }));
        let best = *all.first()?;
        Some(Found { best, runner_up: all.into_iter().find(|hit| hit.person != best.person) })
    }

    fn gallery(dimension: usize, rows: &[(i64, i64, Vec<i16>)]) -> Gallery<i64, i64> {
        let gallery = Gallery::new(dimension).unwrap();
        for (face, person, values) in rows {
            gallery.insert(*face, *person, &bytes(values)).unwrap();
        }
        gallery
    }

    #[test]
    fn the_division_is_exact() {
        for step in 1..=256_u32 {
            let reciprocal = (1 << 24) / step + 1;
            for above in 0..256 * step {
                assert!(u64::from(above) * u64::from(reciprocal) < 1 << 32);
                assert_eq!(divide(above, reciprocal), above / step, "{above}/{step}");
            }
        }
    }

    #[test]
    fn a_row_is_kept_whole() {
        let mut numbers = Numbers(7);
        for extreme in [1_i32, 127, 128, 129, 5000, 32639, 32640, 32767, 32768] {
            for dimension in [1_usize, 3, 64, 65, 512] {
                let mut coded = Coded {
                    high: vec![High([0; LANE]); dimension.div_ceil(LANE)],
                    low: vec![Low([0; LANE]); dimension.div_ceil(LANE)],
                    facts: EMPTY,
                };
                let mut values: Vec<i16> =
                    (0..dimension).map(|_| (numbers.next() as i64 % i64::from(extreme)) as i16).collect();
                values[0] = (-extreme) as i16;
                *values.last_mut().unwrap() = if dimension == 1 { -1 } else { (extreme - 1) as i16 };
                coded.code(&bytes(&values)).unwrap();
                let (high, low) = (&coded.high, &coded.low);
                for (place, value) in values.iter().enumerate() {
                    let kept = i32::from(coded.facts.step) * i32::from(high[place / LANE].0[place % LANE])
                        + i32::from(low[place / LANE].0[place % LANE]);
                    assert_eq!(kept, i32::from(*value));
                }
            }
        }
    }

    #[test]
    fn people_can_be_left_out_and_faces_compared() {
        let mut numbers = Numbers(11);
        let rows: Vec<(i64, i64, Vec<i16>)> = (0..2_000)
            .map(|face| (face, face / 2, (0..65).map(|_| (numbers.next() as i64 % 20_000) as i16).collect()))
            .collect();
        let gallery = gallery(65, &rows);
        let query = numbers.template(65);
        let all = gallery.search(&query).unwrap().unwrap();
        let mut apart = vec![all.best.person];
        for _ in 0..3 {
            let others: Vec<_> = rows.iter().filter(|row| !apart.contains(&row.1)).cloned().collect();
            let found = gallery.search_without(&query, &apart).unwrap();
            assert_eq!(
                found.map(|found| (found.best.face, found.runner_up.map(|second| second.face))),
                oracle(&others, &query)
                    .map(|found| (found.best.face, found.runner_up.map(|second| second.face)))
            );
            apart.push(found.unwrap().best.person);
        }
        let nobody: Vec<i64> = (0..1_000).collect();
        assert_eq!(gallery.search_without(&query, &nobody).unwrap(), None);

        let wide = |face: usize| rows[face].2.iter().map(|value| f64::from(*value)).collect::<Vec<_>>();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for (one, other) in [(0, 1), (3, 1999), (7, 7)] {
            let (a, b) = (wide(one), wide(other));
            let wanted = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
            let got = gallery.likeness(one as i64, other as i64).unwrap();
            assert!((f64::from(got) - wanted).abs() < 1e-6, "{got} {wanted}");
        }
        assert!(gallery.remove(1));
        assert_eq!((gallery.likeness(0, 1), gallery.likeness(5000, 0)), (None, None));
    }

    #[test]
    fn knows_nobody_one_and_another() {
        let gallery = Gallery::<i64, i64>::new(3).unwrap();
        let query = Template::normalised(vec![1.0, 0.0, 0.0]).unwrap();
        assert_eq!(gallery.search(&query).unwrap(), None);
        let near = Template::normalised(vec![0.8, 0.6, 0.0]).unwrap().to_bytes();
        let far = Template::normalised(vec![-0.6, 0.0, 0.8]).unwrap().to_bytes();
        gallery.insert(1, 10, &far).unwrap();
        gallery.insert(2, 10, &near).unwrap();
        let found = gallery.search(&query).unwrap().unwrap();
        assert_eq!((found.best.face, found.best.person, found.runner_up), (2, 10, None));
        assert!((found.best.cosine - 0.8).abs() < 2e-5);
        // Another person, less like the query than either: still the runner-up, and never the same person.
        gallery.insert(3, 11, &Template::normalised(vec![-1.0, 0.0, 0.0]).unwrap().to_bytes()).unwrap();
        let found = gallery.search(&query).unwrap().unwrap();
        let second = found.runner_up.unwrap();
        assert_eq!((found.best.face, second.face, second.person), (2, 3, 11));
        assert_eq!(second.cosine, -1.0);
        // Replaced in place: now the other one's.
        gallery.insert(2, 11, &near).unwrap();
        assert_eq!(gallery.len(), 3);
        let found = gallery.search(&query).unwrap().unwrap();
        assert_eq!((found.best.person, found.runner_up.unwrap().person), (11, 10));
        assert!(gallery.remove(2) && !gallery.remove(2));
        let found = gallery.search(&query).unwrap().unwrap();
        assert_eq!((found.best.face, found.runner_up.unwrap().face), (1, 3));
        gallery.clear();
        assert!(gallery.is_empty());
        assert_eq!(gallery.search(&query).unwrap(), None);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(Gallery::<i64, i64>::new(0).err().unwrap().kind(), Kind::Model);
        assert_eq!(Gallery::<i64, i64>::new(16_385).err().unwrap().kind(), Kind::Model);
        let gallery = Gallery::<i64, i64>::new(2).unwrap();
        gallery.insert(1, 1, &bytes(&[3, 4])).unwrap();
        for wrong in [&[][..], &[1], &[1, 0], &[1, 0, 1], &[1, 0, 1, 0, 1, 0]] {
            assert_eq!(gallery.insert(1, 1, wrong).unwrap_err().kind(), Kind::Model);
        }
        assert_eq!(gallery.insert(1, 1, &[0; 4]).unwrap_err().kind(), Kind::Store);
        let long = Template::normalised(vec![1.0; 3]).unwrap();
        assert_eq!(gallery.search(&long).unwrap_err().kind(), Kind::Model);
        // Nothing of that has touched what was there.
        let query = Template::normalised(vec![3.0, 4.0]).unwrap();
        assert!(gallery.search(&query).unwrap().unwrap().best.cosine > 0.9999);
    }

    #[test]
    fn equal_rows_go_by_their_keys() {
        let mut numbers = Numbers(3);
        let query = numbers.template(512);
        let rows: Vec<_> = (0..2500_i64)
            .map(|face| {
                (
                    face * 7919 % 2503,
                    face % 3,
                    query.values().iter().map(|v| (v * 32767.0).round() as i16).collect(),
                )
            })
            .collect();
        let found = gallery(512, &rows).search(&query).unwrap();
        assert_eq!(found, oracle(&rows, &query));
        assert_eq!(found.unwrap().best.face, 0);
    }

    #[test]
    fn is_exact_over_several_blocks() {
        let mut numbers = Numbers(11);
        let rows: Vec<_> = (0..3000_i64)
            .map(|face| {
                let template = numbers.template(512);
                (
                    face,
                    face / 3,
                    template.values().iter().map(|v| (v * 32767.0).round() as i16).collect::<Vec<_>>(),
                )
            })
            .collect();
        let gallery = gallery(512, &rows);
        for _ in 0..20 {
            let query = numbers.template(512);
            assert_eq!(gallery.search(&query).unwrap(), oracle(&rows, &query));
        }
    }

    /// Where the sums of the scan are largest: nothing wraps round.
    #[test]
    fn the_longest_and_flattest_templates_do_not_overflow() {
        for dimension in [512, 513, 1024, LONGEST] {
            let gallery = Gallery::<i64, i64>::new(dimension).unwrap();
            gallery.insert(1, 1, &bytes(&vec![i16::MIN; dimension])).unwrap();
            gallery.insert(2, 2, &bytes(&vec![i16::MAX; dimension])).unwrap();
            let query = Template::normalised(vec![1.0; dimension]).unwrap();
            let found = gallery.search(&query).unwrap().unwrap();
            assert_eq!((found.best.face, found.best.cosine), (2, 1.0), "{dimension}");
            assert_eq!(found.runner_up.unwrap().cosine, -1.0, "{dimension}");
        }
    }

    #[test]
    fn all_builds_of_the_scan_agree() {
        let mut numbers = Numbers(5);
        let gallery = Gallery::<i64, i64>::new(512).unwrap();
        for face in 0..50 {
            gallery.insert(face, face, &numbers.template(512).to_bytes()).unwrap();
        }
        let query = gallery.query(&numbers.template(512)).unwrap();
        let blocks = gallery.blocks.load();
        let block = blocks[0].read().unwrap();
        let kernels = [
            Kernel::Baseline,
            Kernel::of_this_machine(),
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") { Kernel::Avx2 } else { Kernel::Baseline },
        ];
        for kernel in kernels {
            // 50 rows are twelve times four, and two.
            let mut dots = [0; 50];
            kernel.scan(&block.high, &query.values, &mut dots);
            for (row, dot) in block.high.chunks(8).zip(dots) {
                let pairs = row.iter().zip(&query.values).flat_map(|(row, query)| row.0.iter().zip(&query.0));
                let plain: i64 = pairs.map(|(a, b)| i64::from(*a) * i64::from(*b)).sum();
                assert_eq!(i64::from(dot), plain);
            }
        }
    }

    #[test]
    fn rows_are_used_again() {
        let gallery = Gallery::<i64, i64>::new(4).unwrap();
        for round in 0..5_i64 {
            for face in 0..3000 {
                gallery.insert(round * 3000 + face, face, &bytes(&[1, 2, 3, face as i16])).unwrap();
            }
            for face in 0..3000 {
                assert!(gallery.remove(round * 3000 + face));
            }
        }
        assert_eq!(gallery.blocks.load().len(), 3);
        assert!(gallery.is_empty());
        let query = Template::normalised(vec![1.0; 4]).unwrap();
        assert_eq!(gallery.search(&query).unwrap(), None);
    }

    /// Two people are always there, one exactly like the query; others come and go meanwhile.
    #[test]
    fn changes_while_searches_run() {
        let mut numbers = Numbers(13);
        let query = numbers.template(128);
        let opposite: Vec<f32> = query.values().iter().map(|value| -value).collect();
        let opposite = Template::normalised(opposite).unwrap();
        let gallery = Gallery::<i64, i64>::new(128).unwrap();
        for face in 0..1500 {
            gallery.insert(face, face, &opposite.to_bytes()).unwrap();
        }
        gallery.insert(10_000, 10_000, &query.to_bytes()).unwrap();
        let others: Vec<Template> = (0..200).map(|_| numbers.template(128)).collect();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..2_i64 {
                let (gallery, others, stop) = (&gallery, &others, &stop);
                scope.spawn(move || {
                    let mut turn = 0_i64;
                    while !stop.load(Ordering::Relaxed) {
                        let face = 20_000 + thread * 1000 + turn % 700;
                        gallery.insert(face, face, &others[(turn % 200) as usize].to_bytes()).unwrap();
                        // Replaced in place, by another template, while searches read it.
                        let other = &others[(turn / 1500 % 200) as usize];
                        gallery.insert(turn % 1500, turn % 1500, &other.to_bytes()).unwrap();
                        gallery.remove(20_000 + thread * 1000 + (turn + 350) % 700);
                        turn += 1;
                    }
                });
            }
            for _ in 0..300 {
                let found = gallery.search(&query).unwrap().unwrap();
                assert_eq!(found.best.person, 10_000);
                assert!(found.best.cosine > 0.9999);
                assert_ne!(found.runner_up.unwrap().person, 10_000);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let faces: HashSet<i64> = gallery.index().slots.values().map(|slot| i64::from(*slot)).collect();
        assert_eq!(faces.len(), gallery.len(), "no two faces share a row");
    }

    /// Face, person and values of each row.
    type Rows = Vec<(i64, i64, Vec<i16>)>;

    /// Values of all sizes, with many that are alike: small sets of values make duplicates and near-ties.
    fn rows() -> impl Strategy<Value = (usize, Rows, Vec<f32>)> {
        let size = prop_oneof![Just(1_i16), Just(3), Just(200), Just(2000), Just(i16::MAX)];
        (1_usize..150, size).prop_flat_map(|(dimension, size)| {
            let row = proptest::collection::vec(-size..=size, dimension);
            let rows = proptest::collection::vec((0_i64..60, 0_i64..6, row), 0..60);
            let query = proptest::collection::vec(-1.0_f32..1.0, dimension);
            (Just(dimension), rows, query)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn finds_what_a_plain_loop_finds(
            (dimension, rows, query) in rows(),
            removed in proptest::collection::vec(0_i64..60, 0..20),
            like in 0_usize..60,
            noise in 0.0_f32..0.01,
        ) {
            let mut kept: Vec<(i64, i64, Vec<i16>)> = Vec::new();
            let gallery = Gallery::new(dimension).unwrap();
            for row in rows {
                if row.2.iter().all(|value| *value == 0) {
                    continue;
                }
                gallery.insert(row.0, row.1, &bytes(&row.2)).unwrap();
                kept.retain(|other| other.0 != row.0);
                kept.push(row);
            }
            for face in removed {
                let there = kept.iter().any(|row| row.0 == face);
                prop_assert_eq!(gallery.remove(face), there);
                kept.retain(|row| row.0 != face);
            }
            prop_assert_eq!(gallery.len(), kept.len());
            // A query of its own, and one that is nearly or exactly some row.
            let near = kept.get(like).map(|row| {
                row.2.iter().zip(&query).map(|(v, q)| f32::from(*v) / 32767.0 + noise * q).collect::<Vec<_>>()
            });
            for values in [Some(query), near].into_iter().flatten() {
                let Ok(query) = Template::normalised(values) else { continue };
                prop_assert_eq!(gallery.search(&query).unwrap(), oracle(&kept, &query));
            }
        }
    }
}
