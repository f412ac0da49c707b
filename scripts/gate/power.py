"""What the gate's disk holds when the power goes: any moment of one run, out of QEMU's log of its writes.

QEMU's blklogwrites (the format of the kernel's dm-log-writes, Documentation/admin-guide/device-mapper/log-writes.rst)
keeps every write and flush in order. A cut after entry N leaves what was flushed before N, and of the writes since
the last flush any part: a disk may hold them back, reorder them and tear them at its sectors. That is harsher than
ending QEMU, which loses nothing that the disk was given.
"""

import os
import random
import shutil
import struct
import subprocess
import zlib

from gate import Failed

SECTOR = 512
MAGIC, VERSION = 0x6A736677736872, 1
FLUSH, DISCARD = 1, 4
# GPT type of a Linux filesystem; the partition is found by its name.
ENTRY = struct.Struct("<16s16sQQQ72s")


class Log:
    """The writes of a disk since it was started."""

    def __init__(self, path):
        self.path = path
        # (first sector, sectors, flags, where the data lies, where the entry begins)
        self.entries = []
        size = path.stat().st_size
        with open(path, "rb") as file:
            magic, version, count, sector = struct.unpack("<QQQI", file.read(28))
            if (magic, version, sector) != (MAGIC, VERSION, SECTOR):
                raise Failed(f"{path} is no log of writes with sectors of {SECTOR} bytes")
            at = SECTOR
            # The count in the head lags behind where QEMU was killed: entries end where the file does.
            while at + SECTOR <= size:
                file.seek(at)
                first, sectors, flags, length = struct.unpack("<QQQQ", file.read(32))
                data = at + SECTOR
                if flags & ~0xF or (sectors == 0 and flags == 0):
                    break
                end = data if flags & DISCARD else data + sectors * SECTOR
                if end > size:
                    break
                self.entries.append((first, sectors, flags, data, at))
                at = end
        if len(self.entries) < count:
            raise Failed(f"{path} has {len(self.entries)} entries, its head says {count}")

    def position(self, size):
        """How many entries had begun when the log had this size: what was acknowledged by then is in them."""
        return sum(1 for entry in self.entries if entry[4] < size)


class Cuts:
    """Disks after power cuts at rising moments of one log."""

    def __init__(self, base, log, seed=1):
        self.log = log
        self.random = random.Random(seed)
        self.disk = base
        self.durable = 0
        self.file = open(log.path, "rb")

    def write(self, out, entry, torn=False):
        first, sectors, flags, data, _ = entry
        if flags & DISCARD:
            return
        self.file.seek(data)
        content = self.file.read(sectors * SECTOR)
        if not torn:
            out.seek(first * SECTOR)
            out.write(content)
            return
        for index in range(sectors):
            if self.random.random() < 0.5:
                out.seek((first + index) * SECTOR)
                out.write(content[index * SECTOR:(index + 1) * SECTOR])

    def cut(self, number, to):
        """Writes the disk as it is after a cut before entry `number` to `to`; numbers may only rise. Answers with how
        many writes were lost or torn."""
        flushed = self.durable
        for index in range(self.durable, number):
            if self.log.entries[index][2] & FLUSH:
                flushed = index + 1
        with open(self.disk, "r+b") as out:
            for entry in self.log.entries[self.durable:flushed]:
                self.write(out, entry)
        self.durable = flushed
        copy(self.disk, to)
        lost = 0
        with open(to, "r+b") as out:
            for entry in self.log.entries[flushed:number]:
                fate = self.random.choice(("kept", "lost", "torn"))
                if fate != "kept":
                    lost += 1
                if fate != "lost":
                    self.write(out, entry, torn=fate == "torn")
        return lost


def copy(source, target):
    """Copies a disk, holes and all."""
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True)


def partition(disk, name):
    """Where a GPT partition lies: its offset and size in bytes."""
    with open(disk, "rb") as file:
        file.seek(SECTOR)
        head = file.read(92)
        if head[:8] != b"EFI PART":
            raise Failed(f"{disk} has no GPT")
        table, count, size, checksum = struct.unpack("<QIII", head[72:92])
        file.seek(table * SECTOR)
        entries = file.read(count * size)
    if zlib.crc32(entries) != checksum:
        raise Failed(f"the partition table of {disk} is damaged")
    for at in range(0, len(entries), size):
        _, _, first, last, _, label = ENTRY.unpack_from(entries, at)
        if label.decode("utf-16-le").rstrip("\0") == name:
            return first * SECTOR, (last - first + 1) * SECTOR
    raise Failed(f"{disk} has no partition {name}")


def extract(disk, name, to):
    """Copies a partition out of a disk; a disk without partitions (name None) as it is."""
    if name is None:
        copy(disk, to)
        return
    offset, size = partition(disk, name)
    step = 1 << 20
    with open(disk, "rb") as source, open(to, "wb") as target:
        source.seek(offset)
        left = size
        while left > 0:
            chunk = source.read(min(step, left))
            if not chunk:
                break
            left -= len(chunk)
            if chunk.count(0) == len(chunk):
                target.seek(len(chunk), os.SEEK_CUR)
            else:
                target.write(chunk)
        target.truncate(size)


def replace(disk, name, source):
    """Writes a partition's content back, which `extract` has taken out."""
    offset, _ = partition(disk, name)
    tool("dd", f"if={source}", f"of={disk}", "bs=1M", f"seek={offset >> 20}", "conv=notrunc", "status=none")


def tool(*command, good=(0,)):
    """Runs a tool for file systems, of which some lie in sbin."""
    environment = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin", LC_ALL="C")
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode not in good:
        raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}: {done.stdout.decode(errors='replace')[-800:]}")


def files(filesystem, to):
    """What an ext4 filesystem holds once its journal was replayed, as at the next mount. Damage that a mount would
    not mend is refused."""
    tool("e2fsck", "-y", "-E", "journal_only", filesystem, good=(0, 1))
    # Preening mends what the kernel mends at a mount (orphans) and stops at anything else.
    tool("e2fsck", "-f", "-p", filesystem, good=(0, 1))
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    tool("debugfs", "-R", f"rdump / {to}", filesystem, good=(0,))
