//! Rebuilding a store whose pages are damaged.
//!
//! SQLite gives up at the first damaged page on its way down a tree, and one damaged page near a root hides
//! every row below it. So this reads the file by itself, page by page, as <https://sqlite.org/fileformat2.html>
//! describes it, with the committed part of the log laid over it. Which table a leaf belongs to is known twice:
//! from the trees, and from the pointer map that an auto-vacuum file keeps (each page's parent). A page that is
//! free according to the map is never read: deleted people and records stay deleted.
//!
//! What was read goes into a new file; the damaged one is kept beside it. The rows are verified afterwards
//! (`check.rs`): damage that only changed bytes shows when a sealed value does not open.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::check::{Done, Finding};
use super::seal::{KEY_CHECK, Place, Seal};
use super::sqlite::At;
use super::types::NoticeKind;
use super::{retention, upgrade};
use crate::durable::sync_folder_of;
use crate::error::{Context, Error, Kind, Result};

/// SQLite's default, and ours since the first version.
const PAGE: usize = 4096;
/// Longest value that is believed: a length beyond it is damage.
const LONGEST: u64 = 64 << 20;
/// After rows or counters could not be read, numbers go on this far beyond the highest that is known.
const JUMP: i64 = 1_000_000;
/// The page that SQLite keeps its locks in and never uses.
const LOCK_PAGE: u32 = (0x4000_0000 / PAGE + 1) as u32;

/// With another ending.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A rebuilt store that has not taken the damaged one's place yet.
pub(super) struct Rebuilt {
    file: PathBuf,
    new: PathBuf,
    /// What could not be read.
    pub(super) findings: Vec<Finding>,
    /// Whether the key opened the damaged store's key check.
    pub(super) key_proved: bool,
}

/// Builds a new file of what can be read of `file`. Nobody may have it open.
pub(super) fn rebuild(file: &Path, seal: &Seal, now_ms: i64) -> Result<Rebuilt> {
    let new = beside(file, ".salvage");
    for old in [new.clone(), beside(&new, "-journal")] {
        remove(&old)?;
    }
    let pages = Pages::open(file)?;
    let mut findings = Vec::new();
    let db = Connection::open(&new).at(|| format!("the new store {} cannot be made", new.display()))?;
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .context(|| format!("the new store {} cannot be made private", new.display()))?;
    // The file counts only once it is whole and fsynced; until then nothing needs to survive.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    db.pragma_update(None, "journal_mode", "MEMORY")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    db.pragma_update(None, "foreign_keys", false)?;
    upgrade::create(&db, seal)?;

    let trees = Trees::find(&pages, &db, &mut findings)?;
    let mut lost_rows = false;
    let key_proved = trees.tables.get("meta").is_some_and(|root| pages.key_opens(*root, seal));
    for (name, root) in &trees.tables {
        let columns = columns(&db, name)?;
        let leaves = pages.leaves(*root, Leaf::Table);
        lost_rows |= !leaves.unreadable.is_empty();
        for page in &leaves.unreadable {
            findings.push(Finding {
                table: name.clone(),
                row: None,
                problem: format!("page {page} of the table cannot be read; the rows in it are lost"),
                done: Done::Removed,
            });
        }
        lost_rows |= copy_rows(&pages, &db, name, &columns, &leaves.pages, &mut findings)?;
    }
    if let Some(unique) = trees.indexes.get("sqlite_autoindex_outbox_1") {
        let waiting = trees.indexes.get("outbox_waiting").copied();
        recover_outbox(&pages, &db, *unique, waiting, &mut findings)?;
    }
    if let Some(unique) = trees.indexes.get("sqlite_autoindex_people_1") {
        name_lost_people(&pages, &db, *unique, &mut findings)?;
    }
    raise_counters(&db, lost_rows || trees.counters_lost)?;
    retention::notice(&db, NoticeKind::Salvaged, 1, now_ms)?;
    db.close().map_err(|(_, error)| error).at(|| "the new store cannot be closed")?;
    std::fs::File::open(&new)
        .and_then(|file| file.sync_all())
        .context(|| format!("the new store {} cannot be written out", new.display()))?;
    Ok(Rebuilt { file: file.to_owned(), new, findings, key_proved })
}

impl Rebuilt {
    /// The new file, for a look before it takes its place.
    pub(super) fn path(&self) -> &Path {
        &self.new
    }

    /// Throws the new file away.
    pub(super) fn discard(self) -> Result<()> {
        remove(&self.new)
    }

    /// Keeps the damaged file under a name that is returned, and puts the new one in its place. A power cut
    /// at any instant leaves one of the two: before the rename below nothing has happened, after it
    /// [`finish`] does the rest at the next start.
    pub(super) fn take_place(self) -> Result<PathBuf> {
        let evidence = (1..)
            .map(|number| beside(&self.file, &format!(".damaged-{number}")))
            .find(|path| !path.exists())
            .expect("numbers do not run out");
        for ending in ["", "-wal"] {
            let from = beside(&self.file, ending);
            let to = beside(&evidence, ending);
            match std::fs::hard_link(&from, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // A file system without links.
                Err(_) => {
                    std::fs::copy(&from, &to)
                        .context(|| format!("the damaged store cannot be kept as {}", to.display()))?;
                }
            }
        }
        std::fs::rename(&self.new, beside(&self.file, ".salvaged"))
            .and_then(|()| sync_folder_of(&self.file))
            .context(|| "the new store cannot take the place of the damaged one")?;
        finish(&self.file)?;
        Ok(evidence)
    }
}

/// Finishes an exchange of files that the power interrupted: the log of the damaged store must not be laid over
/// the new one, so it goes first.
pub(super) fn finish(file: &Path) -> Result<()> {
    let whole = beside(file, ".salvaged");
    if !whole.exists() {
        return Ok(());
    }
    remove(&beside(file, "-wal"))?;
    remove(&beside(file, "-shm"))?;
    std::fs::rename(&whole, file)
        .and_then(|()| sync_folder_of(file))
        .context(|| format!("the rebuilt store cannot take its place as {}", file.display()))
}

/// Whether [`finish`] has something to do.
pub(super) fn waits(file: &Path) -> bool {
    beside(file, ".salvaged").exists()
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// The file as pages numbered from 1, with the committed part of its log laid over it.
struct Pages {
    file: std::fs::File,
    log: Option<std::fs::File>,
    /// Where in the log the last committed version of a page is.
    overlay: BTreeMap<u32, u64>,
    count: u32,
    /// Type and parent of each page from the pointer map; type 0 where there is none or it is damaged.
    map: Vec<(u8, u32)>,
}

/// Types in the pointer map.
const ROOT: u8 = 1;
const TREE: u8 = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Table,
    Index,
}

impl Leaf {
    fn leaf(self) -> u8 {
        match self {
            Leaf::Table => 0x0d,
            Leaf::Index => 0x0a,
        }
    }

    fn interior(self) -> u8 {
        match self {
            Leaf::Table => 0x05,
            Leaf::Index => 0x02,
        }
    }
}

/// The pages of one tree that hold rows.
struct Leaves {
    pages: Vec<u32>,
    /// Pages that belong to the tree and are no page of one.
    unreadable: Vec<u32>,
}

impl Pages {
    fn open(path: &Path) -> Result<Self> {
        let step = || format!("the damaged store {} cannot be read", path.display());
        let file = std::fs::File::open(path).context(step)?;
        let in_file = file.metadata().context(step)?.len() / PAGE as u64;
        let mut pages = Self {
            file,
            log: None,
            overlay: BTreeMap::new(),
            count: u32::try_from(in_file).map_err(|_| Error::new(Kind::Store, step()))?,
            map: Vec::new(),
        };
        match std::fs::File::open(beside(path, "-wal")) {
            Ok(log) => {
                if let Some(count) = pages.lay_over(&log).context(step)? {
                    pages.count = count;
                    pages.log = Some(log);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(step),
        }
        if pages.log.is_none()
            && let Some(first) = pages.read(1)
            && first.starts_with(b"SQLite format 3\0")
            && first[24..28] == first[92..96]
            && (1..=pages.count).contains(&be32(&first, 28))
        {
            // What lies behind the last page of the header is what a cut off commit left.
            pages.count = be32(&first, 28);
        }
        pages.read_map();
        Ok(pages)
    }

    /// Reads the log (file format, chapter 4): frames count while salts and running checksum hold, up to the
    /// last commit. The number of pages after that commit.
    fn lay_over(&mut self, log: &std::fs::File) -> std::io::Result<Option<u32>> {
        let mut header = [0; 32];
        if log.read_exact_at(&mut header, 0).is_err() {
            return Ok(None);
        }
        let magic = be32(&header, 0);
        if magic & !1 != 0x377f_0682 || be32(&header, 8) as usize != PAGE {
            return Ok(None);
        }
        let big_endian = magic & 1 == 1;
        let mut sum = checksum((0, 0), &header[..24], big_endian);
        if sum != (be32(&header, 24), be32(&header, 28)) {
            return Ok(None);
        }
        let mut committed = None;
        let mut since = BTreeMap::new();
        let mut frame = vec![0; 24 + PAGE];
        let mut at = 32;
        while log.read_exact_at(&mut frame, at).is_ok() {
            sum = checksum(sum, &frame[..8], big_endian);
            sum = checksum(sum, &frame[24..], big_endian);
            if frame[8..16] != header[16..24] || sum != (be32(&frame, 16), be32(&frame, 20)) {
                break;
            }
            since.insert(be32(&frame, 0), at + 24);
            let count = be32(&frame, 4);
            if count > 0 {
                self.overlay.append(&mut since);
                committed = Some(count);
            }
            at += frame.len() as u64;
        }
        Ok(committed)
    }

    fn read(&self, number: u32) -> Option<Vec<u8>> {
        if number == 0 || number > self.count {
            return None;
        }
        let mut page = vec![0; PAGE];
        let read = match (self.overlay.get(&number), &self.log) {
            (Some(at), Some(log)) => log.read_exact_at(&mut page, *at),
            _ => self.file.read_exact_at(&mut page, u64::from(number - 1) * PAGE as u64),
        };
        // A sector that cannot be read is a damaged page.
        read.ok().map(|()| page)
    }

    /// The pointer map (file format, chapter 1.8): a map page, then the pages it speaks of.
    fn read_map(&mut self) {
        let each = (PAGE / 5) as u32;
        self.map = vec![(0, 0); self.count as usize + 1];
        let mut number = 2;
        while number <= self.count {
            let map_page = if number == LOCK_PAGE { number + 1 } else { number };
            if let Some(page) = self.read(map_page) {
                for entry in 0..each {
                    let of = map_page + 1 + entry;
                    if of > self.count {
                        break;
                    }
                    let at = entry as usize * 5;
                    let (kind, parent) = (page[at], be32(&page, at + 1));
                    if (1..=5).contains(&kind) && parent <= self.count {
                        self.map[of as usize] = (kind, parent);
                    }
                }
            }
            number += each + 1;
        }
    }

    /// The version of the store, where the first page can be read.
    fn version(&self) -> Option<i64> {
        let first = self.read(1).filter(|first| first.starts_with(b"SQLite format 3\0"))?;
        let version = i64::from(be32(&first, 60));
        (1..=upgrade::VERSION).contains(&version).then_some(version)
    }

    /// Whether the map does not speak against this page being a root.
    fn may_be_root(&self, page: u32) -> bool {
        self.map.get(page as usize).is_some_and(|(kind, _)| matches!(*kind, 0 | ROOT))
    }

    /// The root of the tree that the map says a page belongs to.
    fn root_of(&self, page: u32) -> Option<u32> {
        let mut page = page;
        // No tree is deeper than this; a damaged map may go round in circles.
        for _ in 0..20 {
            // The root of the list of tables is in no map.
            if page == 1 {
                return Some(1);
            }
            match self.map.get(page as usize)? {
                (ROOT, _) => return Some(page),
                (TREE, parent) => page = *parent,
                _ => return None,
            }
        }
        None
    }

    /// All pages of the tree of `root` that hold rows: by walking down, and by the map.
    fn leaves(&self, root: u32, leaf: Leaf) -> Leaves {
        let mut seen = BTreeSet::new();
        let mut leaves = Leaves { pages: Vec::new(), unreadable: Vec::new() };
        let mut next = vec![root];
        // By the map first: it knows the children of damaged pages.
        next.extend(
            (3..=self.count)
                .filter(|page| self.map[*page as usize].0 == TREE && self.root_of(*page) == Some(root)),
        );
        next.reverse();
        while let Some(number) = next.pop() {
            if !seen.insert(number) {
                continue;
            }
            let page = self.read(number);
            let start = if number == 1 { 100 } else { 0 };
            match page.as_deref().map(|page| page[start]) {
                Some(kind) if kind == leaf.leaf() => leaves.pages.push(number),
                Some(kind) if kind == leaf.interior() => {
                    // Rows of an index are on its interior pages too.
                    if leaf == Leaf::Index {
                        leaves.pages.push(number);
                    }
                    let page = page.unwrap_or_default();
                    let children = cells(&page, start)
                        .into_iter()
                        .map(|at| be32(&page, at))
                        .chain([be32(&page, start + 8)]);
                    for child in children {
                        let known = self.map.get(child as usize).copied().unwrap_or((0, 0));
                        // A map that speaks against it is right: a damaged pointer could lead anywhere.
                        if child != 0 && child <= self.count && (known == (TREE, number) || known.0 == 0) {
                            next.push(child);
                        }
                    }
                }
                _ => leaves.unreadable.push(number),
            }
        }
        leaves.pages.sort_unstable();
        leaves
    }

    /// A cell's content, followed through its overflow pages; `total` and `local` bytes of it at `at`.
    fn payload(&self, page: &[u8], at: usize, total: u64, leaf: Leaf) -> Option<Vec<u8>> {
        if total > LONGEST {
            return None;
        }
        let total = total as usize;
        let most = match leaf {
            Leaf::Table => PAGE - 35,
            Leaf::Index => (PAGE - 12) * 64 / 255 - 23,
        };
        let least = (PAGE - 12) * 32 / 255 - 23;
        if total <= most {
            return page.get(at..at + total).map(<[u8]>::to_vec);
        }
        let wanted = least + (total - least) % (PAGE - 4);
        let local = if wanted <= most { wanted } else { least };
        let mut content = page.get(at..at + local)?.to_vec();
        let mut next = be32(page.get(at + local..at + local + 4)?, 0);
        while content.len() < total {
            let page = self.read(next)?;
            next = be32(&page, 0);
            let take = (total - content.len()).min(PAGE - 4);
            content.extend_from_slice(&page[4..4 + take]);
        }
        Some(content)
    }

    /// The rows of a table's leaf: number, and values where they could be read.
    fn rows(&self, number: u32) -> Vec<(Option<i64>, Option<Vec<Value>>)> {
        let Some(page) = self.read(number) else { return Vec::new() };
        let start = if number == 1 { 100 } else { 0 };
        cells(&page, start)
            .into_iter()
            .map(|at| {
                let mut at = at;
                let Some(total) = varint(&page, &mut at) else { return (None, None) };
                let Some(row) = varint(&page, &mut at) else { return (None, None) };
                let values = self.payload(&page, at, total, Leaf::Table).and_then(|content| values(&content));
                (Some(row as i64), values)
            })
            .collect()
    }

    /// Whether `seal` opens the key check in the table `meta`.
    fn key_opens(&self, meta: u32, seal: &Seal) -> bool {
        self.leaves(meta, Leaf::Table).pages.into_iter().flat_map(|page| self.rows(page)).any(|(_, values)| {
            matches!(
                values.as_deref(),
                Some([Value::Text(key), Value::Blob(sealed)])
                    if key == "key_check" && seal.open(Place::KeyCheck, sealed).is_ok_and(|value| value == KEY_CHECK)
            )
        })
    }

    /// The entries of an index, from all its pages; whether all of them could be read.
    fn entries(&self, root: u32) -> (Vec<Vec<Value>>, bool) {
        let leaves = self.leaves(root, Leaf::Index);
        let mut whole = leaves.unreadable.is_empty();
        let mut entries = Vec::new();
        for number in leaves.pages {
            let Some(page) = self.read(number) else {
                whole = false;
                continue;
            };
            let skip = if page[0] == Leaf::Index.interior() { 4 } else { 0 };
            for at in cells(&page, 0) {
                let mut at = at + skip;
                let entry = varint(&page, &mut at)
                    .and_then(|total| self.payload(&page, at, total, Leaf::Index))
                    .and_then(|content| values(&content));
                whole &= entry.is_some();
                entries.extend(entry);
            }
        }
        (entries, whole)
    }
}

/// Where the cells of a page begin (file format, chapter 1.6); those that cannot be are left out.
fn cells(page: &[u8], start: usize) -> Vec<usize> {
    let interior = matches!(page[start], 0x02 | 0x05);
    let count = usize::from(be16(page, start + 3));
    let first = start + if interior { 12 } else { 8 };
    (0..count)
        .map(|i| first + 2 * i)
        .take_while(|at| at + 2 <= page.len())
        .map(|at| usize::from(be16(page, at)))
        .filter(|at| *at >= first && *at + 4 <= page.len())
        .collect()
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The checksum of the log (file format, chapter 4.2).
fn checksum(sum: (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let (mut one, mut two) = sum;
    for words in bytes.chunks_exact(8) {
        let word = |at: usize| {
            let bytes = [words[at], words[at + 1], words[at + 2], words[at + 3]];
            if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        one = one.wrapping_add(word(0)).wrapping_add(two);
        two = two.wrapping_add(word(4)).wrapping_add(one);
    }
    (one, two)
}

/// A variable-length integer (file format, chapter 1.6), moving `at` behind it.
fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0_u64;
    for i in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if i == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The values of a record (file format, chapter 2.1).
fn values(content: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let header = usize::try_from(varint(content, &mut at)?).ok()?;
    if header > content.len() {
        return None;
    }
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let kind = varint(content, &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let bytes = content.get(body..body.checked_add(length)?)?;
        body += length;
        values.push(match kind {
            0 => Value::Null,
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            1..=6 => {
                // Big-endian two's complement, extended from its first byte.
                let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1_i64 };
                Value::Integer(bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte)))
            }
            7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            _ if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(String::from_utf8(bytes.to_vec()).ok()?),
        });
    }
    (at == header).then_some(values)
}

/// Where each table and index begins.
struct Trees {
    tables: BTreeMap<String, u32>,
    indexes: BTreeMap<String, u32>,
    /// Whether `sqlite_sequence` could not be read whole.
    counters_lost: bool,
}

impl Trees {
    /// From the damaged file's own schema, or, where its first page is gone, from the new one's: a store is
    /// made by one text in one go, so its trees begin at the same pages.
    ///
    /// A file of an older version has no trees for what was added since: their place may hold anything.
    fn find(pages: &Pages, new: &Connection, findings: &mut Vec<Finding>) -> Result<Self> {
        let mut wanted: BTreeMap<(String, String), u32> = BTreeMap::new();
        {
            let mut statement =
                new.prepare("SELECT type, name, rootpage FROM sqlite_schema WHERE rootpage > 0")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                wanted.insert((row.get(0)?, row.get(1)?), row.get(2)?);
            }
        }
        let mut found = BTreeMap::new();
        for page in pages.leaves(1, Leaf::Table).pages {
            for (_, values) in pages.rows(page) {
                if let Some([Value::Text(kind), Value::Text(name), _, Value::Integer(root), ..]) =
                    values.as_deref()
                    && let Ok(root) = u32::try_from(*root)
                    && (1..=pages.count).contains(&root)
                {
                    found.insert((kind.clone(), name.clone()), root);
                }
            }
        }
        let version = pages.version();
        wanted.retain(|tree, fresh| {
            let added = upgrade::ADDED.iter().find(|(name, _)| *name == tree.1);
            found.contains_key(tree)
                || added.is_none_or(|(_, since)| {
                    version.is_none_or(|version| version >= *since) && pages.may_be_root(*fresh)
                })
        });
        if wanted.keys().any(|tree| !found.contains_key(tree)) {
            findings.push(Finding {
                table: "sqlite_schema".into(),
                row: None,
                problem: "the list of tables is damaged; the tables were sought where a fresh store has them"
                    .into(),
                done: Done::Repaired,
            });
        }
        let mut trees = Self { tables: BTreeMap::new(), indexes: BTreeMap::new(), counters_lost: false };
        for ((kind, name), fresh) in wanted {
            let root = found.get(&(kind.clone(), name.clone())).copied().unwrap_or(fresh);
            if kind == "table" {
                if name == "sqlite_sequence" {
                    trees.counters_lost = pages.leaves(root, Leaf::Table).pages.is_empty();
                }
                trees.tables.insert(name, root);
            } else {
                trees.indexes.insert(name, root);
            }
        }
        Ok(trees)
    }
}

/// Names of a table's columns; whether the first is the row's number.
struct Columns {
    names: Vec<String>,
    numbered: bool,
}

fn columns(db: &Connection, table: &str) -> Result<Columns> {
    let mut statement = db.prepare("SELECT name, type, pk FROM pragma_table_info(?1) ORDER BY cid")?;
    let mut rows = statement.query([table])?;
    let mut columns = Columns { names: Vec::new(), numbered: false };
    while let Some(row) = rows.next()? {
        if columns.names.is_empty() {
            columns.numbered = row.get::<_, String>(1)? == "INTEGER" && row.get::<_, i64>(2)? == 1;
        }
        columns.names.push(row.get(0)?);
    }
    Ok(columns)
}

/// Copies what the leaves of a table hold; whether something was lost.
fn copy_rows(
    pages: &Pages,
    db: &Connection,
    table: &str,
    columns: &Columns,
    leaves: &[u32],
    findings: &mut Vec<Finding>,
) -> Result<bool> {
    let places: Vec<_> = (1..=columns.names.len()).map(|number| format!("?{number}")).collect();
    // `meta.key_check` is there already, made with the key that was proved.
    let mut insert = db
        .prepare(&format!(
            "INSERT OR IGNORE INTO {table} ({}) VALUES ({})",
            columns.names.join(", "),
            places.join(", ")
        ))
        .at(|| format!("the table {table} cannot be rebuilt"))?;
    let mut lost = false;
    let mut lose = |row: Option<i64>, problem: String| {
        findings.push(Finding { table: table.into(), row, problem, done: Done::Removed });
        lost = true;
    };
    db.execute_batch("BEGIN")?;
    for page in leaves {
        for (row, values) in pages.rows(*page) {
            let Some(mut values) = values.filter(|values| values.len() == columns.names.len()) else {
                lose(row, format!("the row, on page {page}, cannot be read whole and is lost"));
                continue;
            };
            let Some(number) = row else { continue };
            if columns.numbered {
                values[0] = Value::Integer(number);
            }
            if let Some(problem) = mend(table, &mut values) {
                lose(row, problem);
            }
            match insert.execute(params_from_iter(values)) {
                Ok(0) if table == "meta" || table == "sqlite_sequence" => {}
                Ok(0) => lose(row, "the row contradicts another and is lost".into()),
                Ok(_) => {}
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => {
                    return Err(error).at(|| "there is no room for the new store beside the damaged one");
                }
                Err(error) => lose(row, format!("the row does not fit its table and is lost ({error})")),
            }
        }
    }
    db.execute_batch("COMMIT").at(|| "the new store cannot be written")?;
    Ok(lost)
}

/// Puts values that cannot be to what does least harm; says so.
fn mend(table: &str, values: &mut [Value]) -> Option<String> {
    match (table, values) {
        ("outbox", [.., delivered]) if !matches!(delivered, Value::Integer(0 | 1)) => {
            *delivered = Value::Integer(0);
            Some("whether it was delivered is damaged; it is delivered again with its number".into())
        }
        ("people", [_, _, _, passes_left, ..])
            if !matches!(passes_left, Value::Null | Value::Integer(0..=0xffff_ffff)) =>
        {
            *passes_left = Value::Integer(0);
            Some("the passages left are damaged; there are none until the platform says otherwise".into())
        }
        _ => None,
    }
}

/// Rows of the outbox stand a second time in its indexes: no record goes undelivered for one damaged page.
fn recover_outbox(
    pages: &Pages,
    db: &Connection,
    unique: u32,
    waiting: Option<u32>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let (waiting, waiting_whole) = waiting.map_or((Vec::new(), false), |root| pages.entries(root));
    let waiting: HashSet<i64> = waiting
        .iter()
        .filter_map(|entry| match entry.as_slice() {
            [Value::Text(_), Value::Integer(id), ..] => Some(*id),
            _ => None,
        })
        .collect();
    for entry in pages.entries(unique).0 {
        let [Value::Integer(record), Value::Text(destination), Value::Integer(id)] = entry.as_slice() else {
            continue;
        };
        // In doubt it is sent again: the platform knows the number.
        let delivered = waiting_whole && !waiting.contains(id);
        let added = db
            .prepare_cached(
                "INSERT OR IGNORE INTO outbox (id, record, destination, delivered) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![id, record, destination, delivered])?;
        if added > 0 {
            // Its page may have been reported as lost above; this row is not.
            findings.push(Finding {
                table: "outbox".into(),
                row: Some(*id),
                problem: "the row was lost and has been made again from an index".into(),
                done: Done::Repaired,
            });
        }
    }
    Ok(())
}

/// Says which people are lost, so that their platform can send them again.
fn name_lost_people(pages: &Pages, db: &Connection, unique: u32, findings: &mut Vec<Finding>) -> Result<()> {
    for entry in pages.entries(unique).0 {
        let [Value::Text(origin), Value::Text(key), Value::Integer(row)] = entry.as_slice() else { continue };
        let there: Option<i64> = db
            .prepare_cached("SELECT 1 FROM people WHERE id = ?1")?
            .query_row([row], |row| row.get(0))
            .optional()?;
        if there.is_none() {
            findings.push(Finding {
                table: "people".into(),
                row: Some(*row),
                problem: format!("the person {key} ({origin}) is lost; let the platform send them again"),
                done: Done::Removed,
            });
        }
    }
    Ok(())
}

/// No number that was ever given out comes again.
fn raise_counters(db: &Connection, in_doubt: bool) -> Result<()> {
    let floors: BTreeMap<String, i64> = db
        .query_row("SELECT value FROM meta WHERE key = 'floors'", [], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
        .and_then(|json| serde_json::from_slice(&json).ok())
        .unwrap_or_default();
    for table in super::check::NUMBERED {
        let highest: i64 = db.query_row(
            &format!(
                "SELECT max((SELECT ifnull(max(id), 0) FROM {table}),
                            (SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = '{table}'), ?1)"
            ),
            [floors.get(table).copied().unwrap_or(0)],
            |row| row.get(0),
        )?;
        let next = if in_doubt { highest.saturating_add(JUMP) } else { highest };
        db.execute("DELETE FROM sqlite_sequence WHERE name = ?1", [table])?;
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", params![table, next])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_length_integers_are_those_of_the_file_format() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x81, 0x00], 128),
            (&[0x81, 0x80, 0x00], 16384),
            (&[0xff; 9], u64::MAX),
            (&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x05], 0x7fff_ffff_ffff_ff05),
        ] {
            let mut at = 0;
            assert_eq!(varint(bytes, &mut at), Some(value), "{bytes:x?}");
            assert_eq!(at, bytes.len());
        }
        assert_eq!(varint(&[0x80], &mut 0), None);
    }

    #[test]
    fn values_of_every_type_are_decoded() {
        // Header of 9 bytes: NULL, 8-bit, 16-bit, 24-bit, real, 0, 1, text of 2, blob of 1; then the bodies.
        let mut record = vec![10, 0, 1, 2, 3, 7, 8, 9, 17, 14];
        record.extend([0xff, 0x01, 0x00, 0xff, 0x00, 0x00]);
        record.extend(1.5_f64.to_be_bytes());
        record.extend(*b"ab\x07");
        assert_eq!(
            values(&record).unwrap(),
            [
                Value::Null,
                Value::Integer(-1),
                Value::Integer(256),
                Value::Integer(-65536),
                Value::Real(1.5),
                Value::Integer(0),
                Value::Integer(1),
                Value::Text("ab".into()),
                Value::Blob(vec![7]),
            ]
        );
        for cut in 0..record.len() {
            assert_eq!(values(&record[..cut]), None, "cut at {cut}");
        }
    }
}
