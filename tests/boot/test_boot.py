"""The boot script in U-Boot itself, on an emulated aarch64 machine, with slots that are a few instructions long.

Each run of QEMU is one boot: it ends when the slot, or U-Boot, resets the machine. What the disk was written in the
meantime is logged write by write, and every power cut that could have come between is looked at.

    MENSHEN=target/debug/menshen python3 -m unittest -v tests/boot/test_boot.py

The format of the boot choice is read here by a reader of its own, and changed by the program under test.
"""

import os
import shutil
import struct
import subprocess
import tempfile
import threading
import unittest
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MENSHEN = Path(os.environ.get("MENSHEN", ROOT / "target/debug/menshen")).resolve()
UBOOT = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
MIB = 1 << 20
SECTOR = 512
# Where the partitions begin and how long they are, in MiB: boot, A, B.
PARTITIONS = [(1, 16), (17, 4), (21, 4)]


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def kernel(says):
    """An arm64 Image that prints a line and the first 64 KiB of its device tree on the PL011, and resets."""
    code = [
        0xAA0003E3,  # mov x3, x0: the device tree
        0xD2A12000,  # movz x0, #0x900, lsl #16: the PL011 of the virt machine
        None,  # adr x1, text
        0x38401422,  # ldrb w2, [x1], #1
        0x34000062,  # cbz w2, +3
        0xB9000002,  # str w2, [x0]
        0x17FFFFFD,  # b -3
        0x52A00024,  # movz w4, #1, lsl #16
        0x38401462,  # ldrb w2, [x3], #1
        0xB9000002,  # str w2, [x0]
        0x71000484,  # subs w4, w4, #1
        0x54FFFFA1,  # b.ne -3
        0x52800120,  # movz w0, #9
        0x72B08000,  # movk w0, #0x8400, lsl #16: PSCI SYSTEM_RESET
        0xD4000002,  # hvc #0
        0x14000000,  # b .
    ]
    adr, to = 2, len(code) - 2
    code[adr] = 0x10000001 | (to << 5)
    body = b"".join(struct.pack("<I", word) for word in code) + says.encode() + b"\n\0"
    # Documentation/arm64/booting.rst: a branch over the header, which ends with the magic.
    size = 64 + len(body)
    header = struct.pack("<IIQQQQQQ4sI", 0x14000010, 0, 0, size, 0xA, 0, 0, 0, b"ARM\x64", 0)
    return header + body


def copy_bytes(serial, order, a, b, trial=None):
    text = f"BOOT_A_LEFT={a}\0BOOT_B_LEFT={b}\0BOOT_ORDER={order}\0BOOT_SERIAL={serial:x}\0"
    if trial:
        text += f"BOOT_TRIAL={trial}\0"
    data = text.encode().ljust(SECTOR - 4, b"\0")
    return struct.pack("<I", zlib.crc32(data)) + data


def read_copy(data):
    """What a copy says, or None if it does not count."""
    if len(data) != SECTOR or struct.unpack("<I", data[:4])[0] != zlib.crc32(data[4:]):
        return None
    entries = data[4:].split(b"\0\0")[0].split(b"\0")
    return dict(entry.decode().split("=", 1) for entry in entries if entry)


class Disk:
    def __init__(self, folder, a, b, copies=None):
        """Slots hold a kernel that says `a` and `b`; None is a slot without one."""
        self.folder = folder
        self.path = folder / "disk.img"
        copies = copies or [copy_bytes(1, "A B", 3, 3)] * 2
        boot = folder / "boot"
        boot.mkdir()
        run("mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-d", ROOT / "rootfs/boot/boot.cmd", boot / "boot.scr")
        for number, data in enumerate(copies):
            (boot / f"choice{number}").mkdir()
            (boot / f"choice{number}" / "boot.env").write_bytes(data)
        (boot / "board.env").write_text("board_args=console=ttyAMA0 board.said=so\n")
        with self.path.open("wb") as disk:
            disk.truncate(26 * MIB)
        layout = "label: gpt\n" + "".join(
            f"start={at}MiB, size={size}MiB{', attrs=LegacyBIOSBootable' if at == 1 else ''}\n" for at, size in PARTITIONS
        )
        run("sfdisk", "--quiet", self.path, input=layout)
        fat = folder / "boot.vfat"
        with fat.open("wb") as file:
            file.truncate(PARTITIONS[0][1] * MIB)
        run("mkfs.vfat", "--invariant", "-n", "GATEBOOT", fat)
        run("mcopy", "-s", "-i", fat, *sorted(boot.iterdir()), "::")
        self.put(fat.read_bytes(), PARTITIONS[0][0] * MIB)
        for says, (at, size) in zip((a, b), PARTITIONS[1:]):
            tree = folder / "slot"
            shutil.rmtree(tree, ignore_errors=True)
            (tree / "boot").mkdir(parents=True)
            if says is not None:
                (tree / "boot/Image").write_bytes(kernel(says))
                (tree / "boot/initrd").write_bytes(b"nothing")
            image = folder / "slot.ext4"
            image.unlink(missing_ok=True)
            run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", tree, image, f"{size}M")
            self.put(image.read_bytes(), at * MIB)
        # A copy's sector, by what is in it.
        image = self.path.read_bytes()
        self.sectors = []
        for number, data in enumerate(copies):
            first = 0
            for _ in range(number if copies[0] == copies[1] else 0):
                first = image.index(data, first) + 1
            self.sectors.append(image.index(data, first) // SECTOR)
        assert self.copies() == copies, "mtools and the image agree where the copies are"

    def put(self, data, at):
        with self.path.open("r+b") as disk:
            disk.seek(at)
            disk.write(data)

    def copies(self):
        """The copies as the FAT has them; a file that cannot be read is empty."""
        out = []
        for number in (0, 1):
            done = subprocess.run(
                ["mtype", "-i", f"{self.path}@@{PARTITIONS[0][0]}M", f"::choice{number}/boot.env"], capture_output=True
            )
            out.append(done.stdout if done.returncode == 0 else b"")
        return out

    def choice(self):
        """What counts."""
        counting = [copy for copy in map(read_copy, self.copies()) if copy]
        return max(counting, key=lambda copy: int(copy["BOOT_SERIAL"], 16), default=None)

    def boot(self, whole=False, log=None):
        """One boot; what the serial line said. `whole` goes U-Boot's own way to the script."""
        command = ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-smp", "1", "-m", "256", "-nographic"]
        command += ["-no-reboot", "-nic", "none", "-bios", UBOOT]
        command += ["-blockdev", f"driver=file,filename={self.path},node-name=file"]
        if log:
            command += ["-blockdev", f"driver=file,filename={log},node-name=log"]
            command += ["-blockdev", "driver=blklogwrites,file=file,log=log,log-sector-size=512,node-name=disk"]
        else:
            command += ["-blockdev", "driver=raw,file=file,node-name=disk"]
        command += ["-device", "virtio-blk-pci,drive=disk"]
        said = b""
        # A key ends the wait for a key, and the disk is gone to at once. Each is typed when it is asked for: what comes
        # before U-Boot has its serial line may be lost.
        typed = [] if whole else [(b"autoboot", b" "), (b"=> ", b"run bootcmd_virtio0\n")]
        machine = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(240, machine.kill)
        timer.start()
        try:
            while piece := os.read(machine.stdout.fileno(), 65536):
                said += piece
                if typed and typed[0][0] in said:
                    os.write(machine.stdin.fileno(), typed.pop(0)[1])
        finally:
            timer.cancel()
            code = machine.wait()
            machine.stdin.close()
            machine.stdout.close()
        said = said.decode("latin-1")
        assert code == 0, f"QEMU ended with {code}: {said}"
        return said

    def menshen(self, *arguments, booted="A"):
        """`menshen boot-choice` on this disk's copies, written back as Linux would: in place."""
        before = self.copies()
        with tempfile.TemporaryDirectory(dir=self.folder) as mounted:
            mounted = Path(mounted)
            for number, data in enumerate(before):
                (mounted / f"choice{number}").mkdir()
                (mounted / f"choice{number}/boot.env").write_bytes(data)
            line = mounted / "cmdline"
            line.write_text(f"ro rauc.slot={booted}\n")
            said = run(MENSHEN, "boot-choice", *arguments, "--boot", mounted, "--command-line", line)
            for number, data in enumerate(before):
                after = (mounted / f"choice{number}/boot.env").read_bytes()
                assert len(after) == SECTOR
                if after != data:
                    self.put(after, self.sectors[number] * SECTOR)
        return said.strip()


def writes(log):
    """The writes of a blklogwrites log, as (sector, bytes)."""
    data = log.read_bytes()
    magic, version, entries, size = struct.unpack("<QQQI", data[:28])
    assert (magic, version, size) == (0x6A736677736872, 1, SECTOR), "a log of QEMU"
    at, out = SECTOR, []
    for _ in range(entries):
        sector, count, flags, _length = struct.unpack("<QQQQ", data[at : at + 32])
        at += SECTOR
        if count and not flags & 4:
            out.append((sector, data[at : at + count * SECTOR]))
            at += count * SECTOR
    return out


class Boot(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="menshen-boot-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def disk(self, a="SLOT-A-1.0", b="SLOT-B-1.1", copies=None):
        return Disk(self.folder, a, b, copies)

    def booted(self, said):
        """The slot whose kernel ran, and what it was told is the same."""
        slots = [slot for slot in "AB" if f"SLOT-{slot}-" in said]
        self.assertEqual(len(slots), 1, said)
        self.assertIn(f"rauc.slot={slots[0]} ", said)
        self.assertIn(f"menshen.slot={slots[0]} ", said)
        return slots[0]

    def test_a_fresh_disk_boots_a_by_itself(self):
        disk = self.disk()
        said = disk.boot(whole=True)
        self.assertEqual(self.booted(said), "A")
        self.assertIn("console=ttyAMA0 board.said=so", said)
        self.assertEqual(
            disk.choice(), {"BOOT_A_LEFT": "2", "BOOT_B_LEFT": "3", "BOOT_ORDER": "A B", "BOOT_SERIAL": "2"}
        )
        # The program reads what U-Boot wrote, and the other way round.
        self.assertEqual(disk.menshen("show"), "serial=2 order=A,B left_a=2 left_b=3 trial=none")
        disk.menshen("set-state", "A", "good")
        self.assertEqual(disk.choice()["BOOT_A_LEFT"], "3")
        self.assertEqual(self.booted(disk.boot()), "A")
        self.assertEqual(disk.choice()["BOOT_SERIAL"], "4")

    def test_a_good_update_stays(self):
        disk = self.disk()
        # As RAUC does: bad while it is written, then preferred.
        disk.menshen("set-state", "B", "bad")
        self.assertEqual(disk.menshen("get-primary"), "A")
        self.assertEqual(self.booted(disk.boot()), "A", "the power went while it was written")
        disk.menshen("set-state", "B", "bad")
        disk.menshen("set-primary", "B")
        self.assertEqual(disk.menshen("get-primary"), "B")
        self.assertEqual(self.booted(disk.boot()), "B")
        self.assertEqual((disk.choice()["BOOT_TRIAL"], disk.choice()["BOOT_B_LEFT"]), ("B", "2"))
        self.assertEqual(disk.menshen("get-current", booted="B"), "B")
        disk.menshen("set-state", "B", "good", booted="B")
        # Five writes since serial 1: the second "bad" said nothing new.
        self.assertEqual(disk.menshen("show"), "serial=6 order=B,A left_a=2 left_b=3 trial=none")
        self.assertEqual(self.booted(disk.boot()), "B")

    def test_a_bad_update_is_left_again(self):
        disk = self.disk()
        disk.menshen("set-primary", "B")
        # Each start of it ends before it is healthy.
        for left in (2, 1, 0):
            self.assertEqual(self.booted(disk.boot()), "B")
            self.assertEqual(disk.choice()["BOOT_B_LEFT"], str(left))
        self.assertEqual(self.booted(disk.boot()), "A")
        self.assertEqual(disk.choice()["BOOT_TRIAL"], "B", "the system of before sees what was tried")
        self.assertEqual(disk.menshen("get-primary"), "A")
        self.assertEqual(disk.menshen("get-state", "B"), "bad")
        disk.menshen("set-state", "B", "bad")
        disk.menshen("set-state", "A", "good")
        self.assertEqual(self.booted(disk.boot()), "A")
        self.assertEqual(disk.menshen("show").split()[1:], ["order=A", "left_a=2", "left_b=0", "trial=none"])

    def test_a_slot_without_a_kernel_is_left_too(self):
        disk = self.disk(b=None)
        disk.menshen("set-primary", "B")
        for _ in range(3):
            self.assertIn("menshen: slot B does not boot", disk.boot())
        self.assertEqual(self.booted(disk.boot()), "A")

    def test_attempts_that_are_used_up_begin_anew(self):
        disk = self.disk(copies=[copy_bytes(7, "B A", 0, 0), copy_bytes(6, "A B", 3, 3)])
        said = disk.boot()
        self.assertIn("no attempts left in B A; beginning anew", said)
        self.assertEqual(self.booted(said), "B")
        self.assertEqual(
            disk.choice(), {"BOOT_A_LEFT": "3", "BOOT_B_LEFT": "2", "BOOT_ORDER": "B A", "BOOT_SERIAL": "8"}
        )

    def test_without_any_choice_it_boots(self):
        disk = self.disk(copies=[b"\xff" * SECTOR, copy_bytes(5, "B A", 1, 1)[:-1] + b"x"])
        said = disk.boot()
        self.assertEqual(self.booted(said), "A")
        self.assertEqual(disk.choice()["BOOT_SERIAL"], "1")
        self.assertEqual(read_copy(disk.copies()[0])["BOOT_A_LEFT"], "2")
        self.assertEqual(self.booted(disk.boot()), "A")

    def test_a_power_cut_in_any_write_of_a_boot(self):
        # On trial, with one attempt left: a choice that was lost would boot A, or B too often.
        old = [copy_bytes(9, "B A", 3, 1, "B"), copy_bytes(8, "A B", 3, 0)]
        disk = self.disk(copies=old)
        before = disk.path.read_bytes()
        log = self.folder / "log"
        log.write_bytes(b"")
        self.assertEqual(self.booted(disk.boot(log=log)), "B")
        after = disk.path.read_bytes()
        new = disk.choice()
        self.assertEqual((new["BOOT_SERIAL"], new["BOOT_B_LEFT"], new["BOOT_TRIAL"]), ("a", "0", "B"))
        self.assertEqual(disk.copies()[0], old[0], "the copy that counted is as it was")
        written = writes(log)
        self.assertTrue(written, "the log has the writes")
        # Only the copy's own sector changes, and no sector but its folder's is written besides.
        changed = [at for at in range(len(before) // SECTOR) if before[at * 512 : at * 512 + 512] != after[at * 512 : at * 512 + 512]]
        self.assertIn(disk.sectors[1], changed)
        folder_sectors = {sector + i for sector, data in written for i in range(len(data) // SECTOR)} - {disk.sectors[1]}
        for sector in folder_sectors:
            held = before[sector * SECTOR : (sector + 1) * SECTOR]
            # The folder of copy 1 has its own name ".", and the file; or it is the empty rest of that cluster.
            self.assertTrue(
                b"BOOT    ENV" in held or held == b"\0" * SECTOR, f"sector {sector} is not of the copy's folder"
            )
        self.assertNotIn(disk.sectors[0], folder_sectors)
        # Every cut: between two sectors, and at bytes within one, of old, and of rubbish where the medium gives up.
        image, states = bytearray(before), 0
        for sector, data in written:
            for part in range(len(data) // SECTOR):
                at = (sector + part) * SECTOR
                fresh, stale = data[part * SECTOR : (part + 1) * SECTOR], bytes(image[at : at + SECTOR])
                for cut in (0, 1, 3, 4, 5, 64, 255, 511):
                    for rest in (stale, b"\xa5" * SECTOR):
                        image[at : at + SECTOR] = fresh[:cut] + rest[cut:]
                        disk.path.write_bytes(image)
                        choice = disk.choice()
                        self.assertIn(choice, (read_copy(old[0]), new), f"sector {sector + part}, cut at {cut}")
                        states += 1
                image[at : at + SECTOR] = fresh
        self.assertGreaterEqual(states, 16)
        self.assertEqual(bytes(image), after, "all writes were looked at")
        # And U-Boot itself takes such a disk as the reader here does: the attempt was not counted, so it is made.
        for broken in ("data", "folder"):
            image = bytearray(before)
            for sector in [disk.sectors[1]] if broken == "data" else folder_sectors:
                image[sector * SECTOR + 3 : (sector + 1) * SECTOR] = b"\xa5" * (SECTOR - 3)
            disk.path.write_bytes(image)
            self.assertEqual(self.booted(disk.boot()), "B", broken)
            disk.put(old[1], disk.sectors[1] * SECTOR)


if __name__ == "__main__":
    unittest.main(verbosity=2)
