//! What the boot loader goes by: which slot is preferred, how many attempts each has left, and which one is on
//! trial. The other side is `rootfs/boot/boot.cmd`, which says what each variable means.
//!
//! There are two copies on the boot partition, `choice0/boot.env` and `choice1/boot.env`, [`BYTES`] each in
//! U-Boot's own format: the CRC-32 of the rest (little-endian), then `NAME=VALUE` texts, each ended by a zero,
//! and zeros to the end. The valid copy with the higher serial number counts; a write goes to the other one, in
//! place, so that a power cut in the middle of it leaves what counted before.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Kind, Result};

/// Length of a copy: one sector, so that a write is one sector.
pub const BYTES: usize = 512;

/// Attempts of a slot that is good, or new.
pub const ATTEMPTS: u32 = 3;

/// Where the boot partition is mounted on a gate.
pub const FOLDER: &str = "/boot/env";

/// One of the two systems of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// `A` or `B`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The slot that a kernel was started from, by its command line (`rauc.slot=A`).
    pub fn booted(command_line: &str) -> Option<Self> {
        command_line.split_whitespace().find_map(|word| word.strip_prefix("rauc.slot=")?.parse().ok())
    }
}

impl std::str::FromStr for Slot {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "A" => Ok(Self::A),
            "B" => Ok(Self::B),
            other => Err(Error::new(Kind::Input, format!("there is no slot {other:?}: use A or B"))),
        }
    }
}

/// What one copy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Counts the writes.
    pub serial: u32,
    /// The preferred slot first. A slot that is not in it is not booted.
    pub order: Vec<Slot>,
    /// Attempts left, of A and of B.
    pub left: [u32; 2],
    /// The slot of an update that has not been healthy yet.
    pub trial: Option<Slot>,
}

impl Default for Choice {
    /// What the boot loader goes by where nothing is said.
    fn default() -> Self {
        Self { serial: 0, order: Slot::ALL.to_vec(), left: [ATTEMPTS; 2], trial: None }
    }
}

impl Choice {
    /// The slot that the boot loader tries next.
    pub fn primary(&self) -> Slot {
        let left = self.order.iter().copied().find(|slot| self.left[*slot as usize] > 0);
        // Without any attempts left it gives each of them new ones.
        left.or(self.order.first().copied()).unwrap_or(Slot::A)
    }

    /// Whether a slot may be booted and has attempts left.
    pub fn is_good(&self, slot: Slot) -> bool {
        self.order.contains(&slot) && self.left[slot as usize] > 0
    }

    /// Prefers a slot, with all its attempts. It is on trial unless it is the one that runs.
    pub fn set_primary(&mut self, slot: Slot, booted: Option<Slot>) {
        self.order.retain(|other| *other != slot);
        self.order.insert(0, slot);
        self.left[slot as usize] = ATTEMPTS;
        self.trial = (booted != Some(slot)).then_some(slot);
    }

    /// A slot has proved itself: all its attempts, and no trial.
    pub fn set_good(&mut self, slot: Slot) {
        if !self.order.contains(&slot) {
            self.order.push(slot);
        }
        self.left[slot as usize] = ATTEMPTS;
        if self.trial == Some(slot) {
            self.trial = None;
        }
    }

    /// A slot is not to be booted: what is in it is bad, or is about to be written over.
    pub fn set_bad(&mut self, slot: Slot) {
        self.order.retain(|other| *other != slot);
        self.left[slot as usize] = 0;
        if self.trial == Some(slot) {
            self.trial = None;
        }
    }

    /// A copy as the boot loader reads it.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let order: Vec<&str> = self.order.iter().map(|slot| slot.as_str()).collect();
        let mut text = format!(
            "BOOT_A_LEFT={:x}\0BOOT_B_LEFT={:x}\0BOOT_ORDER={}\0BOOT_SERIAL={:x}\0",
            self.left[0],
            self.left[1],
            order.join(" "),
            self.serial,
        );
        if let Some(trial) = self.trial {
            text.push_str("BOOT_TRIAL=");
            text.push_str(trial.as_str());
            text.push('\0');
        }
        let mut bytes = [0; BYTES];
        bytes[4..4 + text.len()].copy_from_slice(text.as_bytes());
        let crc = crc32(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a copy; `None` if it does not count: its length or its CRC is wrong, or it has no serial number.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != BYTES || crc32(&bytes[4..]).to_le_bytes() != bytes[..4] {
            return None;
        }
        let variable = |name: &str| {
            bytes[4..].split(|byte| *byte == 0).take_while(|entry| !entry.is_empty()).find_map(|entry| {
                std::str::from_utf8(entry).ok()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned)
            })
        };
        let number = |name| u32::from_str_radix(variable(name)?.trim_start_matches("0x"), 16).ok();
        let serial = number("BOOT_SERIAL").filter(|serial| *serial > 0)?;
        let mut order = Vec::new();
        for slot in variable("BOOT_ORDER").unwrap_or_default().split(' ').filter_map(|slot| slot.parse().ok())
        {
            if !order.contains(&slot) {
                order.push(slot);
            }
        }
        // As the boot loader takes it.
        if order.is_empty() {
            order = Slot::ALL.to_vec();
        }
        let left = [number("BOOT_A_LEFT").unwrap_or(ATTEMPTS), number("BOOT_B_LEFT").unwrap_or(ATTEMPTS)];
        let trial = variable("BOOT_TRIAL").and_then(|slot| slot.parse().ok());
        Some(Self { serial, order, left, trial })
    }
}

/// CRC-32 of IEEE 802.3, as zlib and U-Boot have it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
            },
        )
    })
}

/// The two copies, in the folder where the boot partition is mounted.
#[derive(Debug, Clone)]
pub struct Copies {
    folder: PathBuf,
}

impl Copies {
    /// The copies below `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    fn path(&self, copy: usize) -> PathBuf {
        self.folder.join(format!("choice{copy}")).join("boot.env")
    }

    /// The copy that counts and its number; `None` where neither does.
    fn newest(&self) -> Option<(usize, Choice)> {
        let mut newest: Option<(usize, Choice)> = None;
        for copy in [0, 1] {
            // What cannot be read does not count, as for the boot loader.
            let Some(choice) =
                std::fs::read(self.path(copy)).ok().and_then(|bytes| Choice::from_bytes(&bytes))
            else {
                continue;
            };
            if newest.as_ref().is_none_or(|(_, best)| choice.serial > best.serial) {
                newest = Some((copy, choice));
            }
        }
        newest
    }

    /// What counts; what the boot loader goes by where neither copy does. `NotFound` where there is no boot
    /// partition.
    pub fn read(&self) -> Result<Choice> {
        if !self.path(0).exists() && !self.path(1).exists() {
            return Err(Error::new(
                Kind::NotFound,
                format!(
                    "there is no boot choice in {}: is the boot partition mounted?",
                    self.folder.display()
                ),
            ));
        }
        Ok(self.newest().map(|(_, choice)| choice).unwrap_or_default())
    }

    /// Changes what counts: on the medium when this returns, and as before if it fails.
    pub fn change(&self, change: impl FnOnce(&mut Choice)) -> Result<Choice> {
        let _lock = self.lock()?;
        let (copy, mut choice) = match self.newest() {
            Some((copy, choice)) => (1 - copy, choice),
            None => (0, Choice::default()),
        };
        let before = choice.clone();
        change(&mut choice);
        if choice == before && choice.serial > 0 {
            return Ok(choice);
        }
        choice.serial = choice.serial.checked_add(1).ok_or_else(|| {
            Error::new(Kind::Device, "the boot choice has been written too often: make both copies anew")
        })?;
        self.put(copy, &choice)?;
        Ok(choice)
    }

    /// Makes both copies, as an image begins with them.
    pub fn make(&self) -> Result<()> {
        for copy in [0, 1] {
            let folder = self.folder.join(format!("choice{copy}"));
            std::fs::create_dir_all(&folder).context(|| format!("{} cannot be made", folder.display()))?;
            self.put(copy, &Choice { serial: 1, ..Choice::default() })?;
        }
        Ok(())
    }

    /// One writer at a time: RAUC's and a technician's.
    fn lock(&self) -> Result<File> {
        let lock = File::open(&self.folder).context(|| {
            format!("{} cannot be opened: is the boot partition mounted?", self.folder.display())
        })?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(std::io::Error::from)
            .context(|| format!("{} cannot be locked", self.folder.display()))?;
        Ok(lock)
    }

    /// Writes a copy in place: no cluster is taken or given back, so that nothing else on the partition changes.
    fn put(&self, copy: usize, choice: &Choice) -> Result<()> {
        let path = self.path(copy);
        let step = || format!("the boot choice cannot be written to {}", path.display());
        let write = |file: File| -> std::io::Result<()> {
            // Only of a copy that somebody has damaged, or that is new.
            if file.metadata()?.len() != BYTES as u64 {
                file.set_len(BYTES as u64)?;
            }
            file.write_all_at(&choice.to_bytes(), 0)?;
            file.sync_all()
        };
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        match open() {
            Ok(file) => write(file).context(step),
            Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                // Mounted for reading, so that nothing but this ever writes there.
                remount(&self.folder, true).context(step)?;
                let outcome = open().and_then(write).context(step);
                if let Err(error) = remount(&self.folder, false) {
                    tracing::warn!(%error, "the boot partition stays writable");
                }
                outcome
            }
            Err(error) => Err(error).context(step),
        }
    }
}

fn remount(folder: &Path, writable: bool) -> std::io::Result<()> {
    use rustix::mount::MountFlags;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if !writable {
        flags |= MountFlags::RDONLY;
    }
    Ok(rustix::mount::mount_remount(folder, flags, c"")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'BOOT_A_LEFT=3\nBOOT_B_LEFT=0\nBOOT_ORDER=B A\nBOOT_SERIAL=1f\nBOOT_TRIAL=B\n' |
    /// mkenvimage -s 512 -p 0 -o out -` (u-boot-tools 2023.01), its bytes but for the zeros behind them.
    const MKENVIMAGE: &str = "d2790ec3424f4f545f415f4c4546543d3300424f4f545f425f4c4546543d3000424f4f545f4f524445523d42204100424f4f545f53455249414c3d316600424f4f545f545249414c3d4200";

    fn golden() -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..MKENVIMAGE.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&MKENVIMAGE[at..at + 2], 16).unwrap())
            .collect();
        bytes.resize(BYTES, 0);
        bytes
    }

    fn golden_choice() -> Choice {
        Choice { serial: 0x1f, order: vec![Slot::B, Slot::A], left: [3, 0], trial: Some(Slot::B) }
    }

    fn copies() -> (tempfile::TempDir, Copies) {
        let folder = tempfile::tempdir().unwrap();
        let copies = Copies::new(folder.path());
        copies.make().unwrap();
        (folder, copies)
    }

    #[test]
    fn the_format_is_that_of_the_boot_loader() {
        assert_eq!(Choice::from_bytes(&golden()), Some(golden_choice()));
        assert_eq!(golden_choice().to_bytes().to_vec(), golden());
        // Check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn what_is_not_whole_does_not_count() {
        let golden = golden();
        for at in 0..BYTES {
            let mut bytes = golden.clone();
            bytes[at] ^= 1;
            assert_eq!(Choice::from_bytes(&bytes), None, "byte {at}");
            assert_eq!(Choice::from_bytes(&golden[..at]), None, "cut at {at}");
        }
        let mut long = golden;
        long.push(0);
        assert_eq!(Choice::from_bytes(&long), None);
        assert_eq!(Choice::from_bytes(&Choice::default().to_bytes()), None, "no write is numbered 0");
    }

    #[test]
    fn a_cut_at_any_byte_of_a_write_leaves_the_choice_of_before_or_after() {
        let (folder, copies) = copies();
        let mut seen = [0, 0];
        // Long enough for each copy to be the target of several writes.
        for round in 0..6_u32 {
            let before = copies.read().unwrap();
            let old: Vec<Vec<u8>> = [0, 1].map(|copy| std::fs::read(copies.path(copy)).unwrap()).to_vec();
            let after = copies
                .change(|choice| match round % 3 {
                    0 => choice.set_bad(Slot::B),
                    1 => choice.set_primary(Slot::B, Some(Slot::A)),
                    _ => choice.set_good(Slot::A),
                })
                .unwrap_or_else(|error| panic!("{error}"));
            if after == before {
                continue;
            }
            let new: Vec<Vec<u8>> = [0, 1].map(|copy| std::fs::read(copies.path(copy)).unwrap()).to_vec();
            let target = usize::from(old[1] != new[1]);
            assert_eq!(old[1 - target], new[1 - target], "only one copy is written");
            seen[target] += 1;
            for cut in 0..=BYTES {
                // A mix at this byte, the same cut short, and rubbish behind it.
                let mixed = [&new[target][..cut], &old[target][cut..]].concat();
                let short = new[target][..cut].to_vec();
                let rubbish = [&new[target][..cut], &vec![0xa5; BYTES - cut][..]].concat();
                for torn in [mixed, short, rubbish] {
                    std::fs::write(copies.path(target), &torn).unwrap();
                    let read = copies.read().unwrap();
                    assert!(read == before || read == after, "round {round}, cut at {cut}: {read:?}");
                    // And the next write does not touch what counts now.
                    let counted = read.clone();
                    let again = copies.change(|choice| choice.left[0] = 9).unwrap();
                    assert_eq!(again.serial, counted.serial + 1);
                    assert_eq!(copies.read().unwrap(), again);
                    for copy in [0, 1] {
                        std::fs::write(copies.path(copy), &old[copy]).unwrap();
                    }
                }
            }
            for copy in [0, 1] {
                std::fs::write(copies.path(copy), &new[copy]).unwrap();
            }
        }
        assert!(seen.iter().all(|writes| *writes > 0), "{seen:?}");
        drop(folder);
    }

    #[test]
    fn without_any_copy_both_slots_are_tried() {
        let (_folder, copies) = copies();
        for copy in [0, 1] {
            std::fs::write(copies.path(copy), b"rubbish").unwrap();
        }
        assert_eq!(copies.read().unwrap(), Choice::default());
        let made = copies.change(|choice| choice.set_primary(Slot::B, Some(Slot::A))).unwrap();
        assert_eq!((made.serial, copies.read().unwrap()), (1, made.clone()));
        // Rubbish that was longer than a copy.
        std::fs::write(copies.path(0), vec![1; 600]).unwrap();
        std::fs::write(copies.path(1), vec![1; 600]).unwrap();
        copies.change(|choice| choice.set_bad(Slot::B)).unwrap();
        assert_eq!(copies.read().unwrap().order, [Slot::A]);
        let nowhere = Copies::new("/nowhere");
        assert_eq!(nowhere.read().unwrap_err().kind(), Kind::NotFound);
        assert!(nowhere.change(|_| ()).unwrap_err().to_string().contains("is the boot partition mounted?"));
    }

    #[test]
    fn an_update_goes_its_way() {
        let mut choice = Choice::default();
        assert_eq!(choice.primary(), Slot::A);
        // RAUC: the other slot is bad while it is written, and then preferred.
        choice.set_bad(Slot::B);
        assert_eq!(
            (&choice.order[..], choice.primary(), choice.is_good(Slot::B)),
            (&[Slot::A][..], Slot::A, false)
        );
        choice.set_primary(Slot::B, Some(Slot::A));
        assert_eq!((&choice.order[..], choice.trial), (&[Slot::B, Slot::A][..], Some(Slot::B)));
        assert_eq!(choice.primary(), Slot::B);
        // It used its attempts up.
        choice.left[1] = 0;
        assert_eq!((choice.primary(), choice.is_good(Slot::B)), (Slot::A, false));
        assert_eq!(choice.trial, Some(Slot::B), "still known");
        choice.set_good(Slot::A);
        assert_eq!(choice.trial, Some(Slot::B));
        choice.set_bad(Slot::B);
        assert_eq!((choice.trial, &choice.order[..]), (None, &[Slot::A][..]));
        // Or it was healthy.
        choice.set_primary(Slot::B, Some(Slot::A));
        choice.left[1] = 2;
        choice.set_good(Slot::B);
        assert_eq!((choice.left, choice.trial, choice.primary()), ([3, 3], None, Slot::B));
        // A technician who goes on with the one that runs tries nothing.
        choice.set_primary(Slot::B, Some(Slot::B));
        assert_eq!(choice.trial, None);
        // Nothing left at all.
        choice.left = [0, 0];
        assert_eq!(choice.primary(), Slot::B);
    }

    #[test]
    fn the_kernel_tells_its_slot() {
        let line = "console=ttyAMA0 root=PARTLABEL=slot-b ro panic=10 rauc.slot=B";
        assert_eq!(Slot::booted(line), Some(Slot::B));
        assert_eq!(Slot::booted("root=/dev/sda1 ro quiet"), None);
        assert_eq!(Slot::booted("rauc.slot=C"), None);
    }
}
