#!/usr/bin/env python3
"""The gate's root filesystem, as far as it can be tried without booting it: who a gate is, users, units, partitions.

The scripts of the image run here as they are, under another top and with the machine's own sh.
"""

import configparser
import re
import shutil
import subprocess
import tempfile
import tomllib
import unittest
import uuid
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
ROOTFS = TOP / "rootfs"
TREE = ROOTFS / "tree"
UNITS = TREE / "usr/lib/systemd/system"
HASH = "$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS130MTSuDDl3aCI6WouIL9AjRbLCelDCy.g."


def words(name):
    """The lines of a list in rootfs/, without comments."""
    lines = (re.sub(r"(^|\s)#.*", "", line).split() for line in (ROOTFS / name).read_text().splitlines())
    return [line for line in lines if line]


def table(name):
    return [line.split(":") for line in (TREE / "etc" / name).read_text().splitlines()]


def unit(name):
    parser = configparser.RawConfigParser(strict=False, interpolation=None, dict_type=Many)
    parser.optionxform = str
    parser.read(UNITS / name)
    return {section: dict(parser[section]) for section in parser.sections()}


class Many(dict):
    """A unit may say a key several times; all values count."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and key in self and isinstance(self[key], list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


class Identity(unittest.TestCase):
    def setUp(self):
        self.top = Path(tempfile.mkdtemp(prefix="menshen-identity-"))
        self.addCleanup(shutil.rmtree, self.top)
        for folder in ("data", "etc", "usr/share/menshen", "proc/sys/kernel/random", "sys/firmware/devicetree/base", "sys/class/dmi/id"):
            (self.top / folder).mkdir(parents=True)
        shutil.copy(TREE / "etc/shadow", self.top / "etc/shadow")
        shutil.copy(ROOTFS / "menshen.toml", self.top / "usr/share/menshen/menshen.toml")
        (self.top / "proc/sys/kernel/random/uuid").write_text("6fd0dcd6-8c1c-4bd8-a4ec-0f3a5b1c2d3e\n")

    def run_it(self):
        done = subprocess.run([TREE / "usr/lib/menshen/identity"], env={"MENSHEN_TOP": str(self.top), "PATH": "/usr/bin:/bin"},
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(list(self.top.glob("data/**/*.new")), [])

    def text(self, path):
        return (self.top / path).read_text()

    def serial(self):
        return self.text("data/system/serial").strip()

    def configured(self):
        return re.search(r'^serial = "(.*)"$', self.text("data/etc/menshen/menshen.toml"), re.M)[1]

    def technician(self):
        return next(line.split(":")[1] for line in self.text("etc/shadow").splitlines() if line.startswith("technician:"))

    def test_random_without_a_number_of_the_board_and_kept(self):
        self.run_it()
        self.assertEqual(self.serial(), "6FD0DCD68C1C4BD8")
        self.assertEqual(self.configured(), "6FD0DCD68C1C4BD8")
        self.assertEqual(self.text("etc/hostname"), "gate-8c1c4bd8\n")
        # Another boot, another random number: it is still the same gate.
        (self.top / "proc/sys/kernel/random/uuid").write_text("00000000-1111-4222-8333-444444444444\n")
        self.run_it()
        self.assertEqual(self.serial(), "6FD0DCD68C1C4BD8")

    def test_number_of_the_board(self):
        (self.top / "sys/class/dmi/id/product_serial").write_text("Not Specified\n")
        (self.top / "sys/firmware/devicetree/base/serial-number").write_bytes(b"10000000abcd1234\0")
        self.run_it()
        self.assertEqual(self.serial(), "10000000abcd1234")

    def test_number_of_the_firmware_and_none_that_is_filler(self):
        (self.top / "sys/firmware/devicetree/base/serial-number").write_bytes(b"0000000000000000\0")
        (self.top / "sys/class/dmi/id/product_serial").write_text("GATE-0007\n")
        self.run_it()
        self.assertEqual(self.serial(), "GATE0007")

    def test_longer_than_a_platform_takes(self):
        (self.top / "sys/class/dmi/id/product_serial").write_text("A" * 40)
        self.run_it()
        self.assertEqual(self.serial(), "A" * 32)

    def test_configuration_of_the_technician_stays(self):
        self.run_it()
        (self.top / "data/etc/menshen/menshen.toml").write_text("# mine\n")
        self.run_it()
        self.assertEqual(self.text("data/etc/menshen/menshen.toml"), "# mine\n")

    def test_cut_off_in_the_middle(self):
        # What a power cut leaves: a part of a file beside its place, and an empty one in it.
        (self.top / "data/system").mkdir()
        (self.top / "data/etc/menshen").mkdir(parents=True)
        (self.top / "data/system/serial.new").write_text("6F")
        (self.top / "data/system/serial").write_text("")
        (self.top / "data/etc/menshen/menshen.toml").write_text("")
        self.run_it()
        self.assertEqual(self.serial(), "6FD0DCD68C1C4BD8")
        self.assertEqual(self.configured(), "6FD0DCD68C1C4BD8")

    def test_modes(self):
        (self.top / "usr/share/menshen/technician.hash").write_text(HASH + "\n")
        self.run_it()
        self.assertEqual((self.top / "data/etc/menshen/menshen.toml").stat().st_mode & 0o777, 0o640)
        self.assertEqual((self.top / "etc/shadow").stat().st_mode & 0o777, 0o640)

    def test_shut_without_a_password(self):
        self.run_it()
        self.assertEqual(self.technician(), "!")

    def test_password_of_the_image(self):
        (self.top / "usr/share/menshen/technician.hash").write_text(HASH + "\n")
        self.run_it()
        self.assertEqual(self.technician(), HASH)

    def test_password_set_on_the_gate_wins(self):
        (self.top / "usr/share/menshen/technician.hash").write_text(HASH + "\n")
        (self.top / "data/system").mkdir()
        (self.top / "data/system/technician.hash").write_text("$y$j9T$own/hash.$kept\n")
        before = self.text("etc/shadow").splitlines()
        self.run_it()
        self.assertEqual(self.technician(), "$y$j9T$own/hash.$kept")
        after = self.text("etc/shadow").splitlines()
        self.assertEqual([a for a, b in zip(after, before) if a != b], [line for line in after if line.startswith("technician:")])

    def lose_the_data(self):
        (self.top / "run/menshen").mkdir(parents=True)
        (self.top / "run/menshen/data-lost").write_text("e2fsck could not repair it\n")

    def configure(self, text):
        with (self.top / "usr/share/menshen/menshen.toml").open("a") as file:
            file.write(text)

    def configuration(self):
        return tomllib.loads(self.text("data/etc/menshen/menshen.toml"))

    CALLS = """
[platform.qyzn] # ours
server = "10.0.0.5:5005"

[ platform . "terminal_ws" ]
url = "ws://10.0.0.6/devs/"
[platform]
http_push = { pinned_certificate = "" }
[settings.push]
urls = [
    ["a", "b"],
]
[settings.push.tls]
on = true
[intercom]
media = "sim"
[settings.relay]
pulse_ms = 1500
[[camera]]
role = "visible"
"""

    def test_lost_data_make_no_other_gate(self):
        self.lose_the_data()
        self.configure(self.CALLS)
        self.run_it()
        self.assertFalse((self.top / "data/system/serial").exists())
        found = self.configuration()
        self.assertEqual(found["terminal"]["serial"], "0000")
        self.assertEqual(set(found), {"terminal", "vision", "device", "service", "update", "settings", "camera"})
        # The exit button and the relay go on as they were.
        self.assertEqual(found["settings"], {"relay": {"pulse_ms": 1500}})
        self.assertEqual(found["camera"], [{"role": "visible"}])
        self.assertEqual(self.text("etc/hostname"), "gate-0000\n")

    def test_lost_data_and_the_number_of_the_board(self):
        self.lose_the_data()
        self.configure('[platform.qyzn]\nserver = "10.0.0.5:5005"\n')
        (self.top / "sys/class/dmi/id/product_serial").write_text("GATE-0007\n")
        self.run_it()
        found = self.configuration()
        self.assertEqual(found["terminal"]["serial"], "GATE0007")
        self.assertNotIn("platform", found)

    def test_lost_data_and_platforms_in_another_spelling(self):
        for text in ('[settings]\npush = { mode = "every" }\n', '[settings]\npush.mode = "every"\n', ):
            with self.subTest(text):
                if not (self.top / "run").exists():
                    self.lose_the_data()
                shutil.copy(ROOTFS / "menshen.toml", self.top / "usr/share/menshen/menshen.toml")
                self.configure(text)
                self.run_it()
                self.assertEqual(set(self.configuration()), {"terminal", "vision", "device", "service"})
        (self.top / "usr/share/menshen/menshen.toml").write_text(
            'platform.qyzn.server = "10.0.0.5:5005"\n' + (ROOTFS / "menshen.toml").read_text())
        self.run_it()
        self.assertEqual(set(self.configuration()), {"terminal", "vision", "device", "service"})

    def image_with(self, text):
        shutil.copy(ROOTFS / "menshen.toml", self.top / "usr/share/menshen/menshen.toml")
        self.configure(text)

    def test_configuration_follows_the_image_and_back(self):
        self.run_it()
        factory = self.text("data/etc/menshen/menshen.toml")
        self.image_with("[settings.relay]\npulse_ms = 1500\n")
        self.run_it()
        self.assertEqual(self.configuration()["settings"]["relay"], {"pulse_ms": 1500})
        self.assertEqual(self.configured(), "6FD0DCD68C1C4BD8")
        # The update is left again: the slot of before brings its own.
        self.image_with("")
        self.run_it()
        self.assertEqual(self.text("data/etc/menshen/menshen.toml"), factory)

    def test_configuration_that_was_changed_here_does_not_follow(self):
        self.run_it()
        path = self.top / "data/etc/menshen/menshen.toml"
        path.write_text(path.read_text() + "[settings.relay]\npulse_ms = 700\n")
        mine = path.read_text()
        for text in ("[settings.relay]\npulse_ms = 1500\n", ""):
            self.image_with(text)
            self.run_it()
            self.assertEqual(path.read_text(), mine)

    def test_configuration_cut_off_between_the_two_files(self):
        path = self.top / "data/etc/menshen/menshen.toml"
        self.run_it()
        old = path.read_text()
        self.image_with("[settings.relay]\npulse_ms = 1500\n")
        self.run_it()
        new = path.read_text()
        # The sums were written, the configuration was not.
        path.write_text(old)
        self.run_it()
        self.assertEqual(path.read_text(), new)
        self.image_with("")
        self.run_it()
        self.assertEqual(path.read_text(), old)

    def test_a_hash_adds_no_user(self):
        (self.top / "data/system").mkdir()
        (self.top / "data/system/technician.hash").write_text("x:0:0\nroot::19700::::::\n")
        self.run_it()
        self.assertEqual(self.technician(), "x00")
        self.assertEqual([line for line in self.text("etc/shadow").splitlines() if line.startswith("root:")], ["root:!*:19700::::::"])


class Forget(unittest.TestCase):
    """What root forgets in a factory reset."""

    def setUp(self):
        self.top = Path(tempfile.mkdtemp(prefix="menshen-forget-"))
        self.addCleanup(shutil.rmtree, self.top)
        self.journal = self.top / "data/var/log/journal/0123"
        for folder in (self.journal, self.top / "data/system", self.top / "data/menshen", self.top / "data/var/lib/technician/more",
                       self.top / "data/var/tmp/systemd-private-1", self.top / "bin", self.top / "run"):
            folder.mkdir(parents=True)
        for name in ("system.journal", "system@1-2-3.journal", "user-1000@1-2-3.journal", "system@1-2.journal~"):
            (self.journal / name).write_text("p-7 may pass")
        for name in ("lib/technician/bundle.tar", "lib/technician/more/.notes", "tmp/bundle.tar"):
            (self.top / "data/var" / name).write_text("p-7")
        (self.top / "data/system/technician.hash").write_text(HASH)
        (self.top / "data/system/serial").write_text("A1")
        self.rotates(True)

    def rotates(self, well):
        """A journalctl in the place of the gate's: what is written becomes an archive, and a new one begins."""
        program = self.top / "bin/journalctl"
        program.write_text(f'#!/bin/sh\n[ "$*" = --rotate ] || exit 2\n{"" if well else "exit 1"}\n'
                           f'mv {self.journal}/system.journal {self.journal}/system@9-9-9.journal && echo new >{self.journal}/system.journal\n')
        program.chmod(0o755)

    def run_it(self):
        return subprocess.run([TREE / "usr/lib/menshen/forget"], capture_output=True, text=True,
                              env={"MENSHEN_TOP": str(self.top), "PATH": f"{self.top}/bin:/usr/bin:/bin"})

    def left(self):
        return {str(p.relative_to(self.top / "data")): p.read_text() for p in (self.top / "data").rglob("*") if p.is_file()}

    KEPT = {"var/log/journal/0123/system.journal": "new\n", "system/technician.hash": HASH, "system/serial": "A1"}

    def test_nobody_is_named_and_the_password_is_kept(self):
        done = self.run_it()
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.left(), self.KEPT)
        self.assertTrue((self.top / "data/var/lib/technician").is_dir())
        self.assertTrue((self.top / "data/var/tmp/systemd-private-1").is_dir(), "a running program's folder")

    def test_a_journal_that_is_not_rotated_is_tried_again(self):
        self.rotates(False)
        self.assertNotEqual(self.run_it().returncode, 0)
        self.assertTrue((self.top / "data/system/forgetting").exists())
        self.rotates(True)
        self.assertEqual(self.run_it().returncode, 0)
        self.assertEqual(self.left(), self.KEPT)

    def test_once_for_each_order(self):
        mark = self.top / "data/menshen/factory-reset"
        mark.touch()
        self.assertEqual(self.run_it().returncode, 0)
        # The agent cannot start, and said why.
        (self.journal / "system@why.journal").write_text("the key cannot be read")
        self.assertEqual(self.run_it().returncode, 0)
        self.assertTrue((self.journal / "system@why.journal").exists())
        mark.unlink()
        (self.top / "data/menshen/other").touch()
        mark.touch()
        self.assertEqual(self.run_it().returncode, 0)
        self.assertFalse((self.journal / "system@why.journal").exists())

    def test_before_the_agent_takes_its_mark_away(self):
        conditions = (UNITS / "menshen-forget.service").read_text()
        mark = re.search(r'^const MARK: &str = "(.*)";', (TOP / "src/store/erase.rs").read_text(), re.M)[1]
        self.assertIn(f"ConditionPathExists=|/data/menshen/{mark}\n", conditions)
        self.assertIn("ConditionPathExists=|/data/system/forgetting\n", conditions)
        self.assertNotIn("RemainAfterExit=yes", conditions)
        agent = unit("menshen.service")["Unit"]
        for key in ("After", "Wants"):
            self.assertIn("menshen-forget.service", agent[key].split())


class DataPartition(unittest.TestCase):
    """How the initial RAM disk makes the data partition, on a file in its place; each step is that of rootfs/initramfs/init."""

    MIB = 1 << 20
    SIZE = 64 * MIB

    def setUp(self):
        if not shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin"):
            self.skipTest("there is no mke2fs: run scripts/setup.sh test")
        folder = tempfile.mkdtemp(prefix="menshen-data-")
        self.addCleanup(shutil.rmtree, folder)
        self.disk = Path(folder, "data")
        with self.disk.open("wb") as file:
            file.truncate(self.SIZE)
        text = (ROOTFS / "initramfs/init").read_text()
        self.functions = re.search(r'^mark=.*?^make_data\(\) \{.*?^\}$', text, re.M | re.S)[0]
        # The file stands for the partition, this machine's program for the gate's.
        self.functions = re.sub(r"^sectors\(\).*$", 'sectors() { echo $(($(stat -c %s "$1") / 512)); }', self.functions, flags=re.M)
        self.mke2fs = "mke2fs"

    def sh(self, command):
        script = self.functions + f'\nchroot() {{ shift 2; {self.mke2fs} "$@"; }}\nsync() {{ :; }}\n{command} "$1"\n'
        return subprocess.run(["sh", "-c", script, "sh", self.disk], env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}).returncode

    def write(self, at, data):
        with self.disk.open("r+b") as file:
            file.seek(at)
            file.write(data)

    def read(self, at, size):
        with self.disk.open("rb") as file:
            file.seek(at)
            return file.read(size)

    def fsck(self):
        done = subprocess.run(["e2fsck", "-f", "-n", self.disk], env={"PATH": "/usr/sbin:/sbin"}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_zeros_are_new_and_what_was_made_is_not(self):
        self.assertEqual(self.sh("is_new"), 0)
        self.assertEqual(self.sh("make_data"), 0)
        self.fsck()
        self.assertEqual(self.read(1024 + 56, 2), b"\x53\xef")
        self.assertEqual(self.read(self.SIZE - self.MIB, self.MIB), bytes(self.MIB), "no mark is left")
        self.assertNotEqual(self.sh("is_new"), 0)

    def test_rubbish_is_not_new(self):
        self.write(self.MIB // 32, b"x")
        self.assertNotEqual(self.sh("is_new"), 0)

    def test_a_file_system_whose_first_block_is_lost_is_not_new(self):
        self.assertEqual(self.sh("make_data"), 0)
        self.write(0, bytes(4096))
        self.assertNotEqual(self.sh("is_new"), 0)

    def test_mke2fs_cut_off_at_any_moment_is_done_again(self):
        self.assertEqual(self.sh("make_data"), 0)
        whole = self.read(0, self.SIZE)
        # What a cut leaves of it: any part, in any order. The program that was cut off, and the next boot's.
        for at, keep in ((0, 4096), (1024, 1024), (4096, 61440), (65536, 1 << 20), (0, 0), (0, self.SIZE - self.MIB)):
            with self.disk.open("wb") as file:
                file.truncate(self.SIZE)
            part = Path(str(self.disk) + ".part")
            part.write_bytes(whole[at : at + keep])
            self.mke2fs = f"dd if={part} of={self.disk} bs=1024 seek={at // 1024} conv=notrunc status=none; false"
            self.assertNotEqual(self.sh("make_data"), 0)
            self.assertEqual(self.read(at, keep), whole[at : at + keep])
            self.assertEqual(self.sh("marked"), 0, (at, keep))
            self.assertEqual(self.sh("is_new"), 0, (at, keep))
            self.mke2fs = "mke2fs"
            self.assertEqual(self.sh("make_data"), 0)
            self.fsck()
            self.assertNotEqual(self.sh("is_new"), 0)

    def test_the_mark_is_outside_of_the_file_system(self):
        self.assertEqual(self.sh('put_mark "$1" "$mark"; marked'), 0)
        self.write(0, b"\xff" * (self.SIZE - self.MIB))
        self.mke2fs = 'mke2fs "$@" && false'
        self.assertNotEqual(self.sh("make_data"), 0)
        self.fsck()
        self.assertEqual(self.sh("marked"), 0, "mke2fs leaves it alone")

    def test_only_what_was_made_now_is_a_first_boot(self):
        text = (ROOTFS / "initramfs/init").read_text()
        self.assertEqual(re.findall(r".*first-boot.*", text), ['        if make_data "$data"; then : >/run/menshen/first-boot; fi'])
        conditions = (UNITS / "menshen-password@.service").read_text()
        for condition in ("/run/menshen/first-boot", "!/run/menshen/data-lost", "!/data/system/technician.hash"):
            self.assertIn(f"ConditionPathExists={condition}\n", conditions)


class Users(unittest.TestCase):
    def test_nobody_has_a_password_and_two_have_a_use(self):
        for name, password, *_ in table("shadow"):
            self.assertTrue(password.startswith("!"), f"{name} could log in with any image")
        self.assertEqual({r[0] for r in table("passwd")}, {r[0] for r in table("shadow")})
        shells = {r[0]: r[6] for r in table("passwd") if not r[6].endswith("/nologin")}
        self.assertEqual(shells, {"technician": "/usr/lib/menshen/technician-shell"})
        self.assertTrue((TREE / "usr/lib/menshen/technician-shell").exists())

    def test_numbers_are_one_each(self):
        for name in ("passwd", "group"):
            numbers = [r[2] for r in table(name)]
            self.assertEqual(len(numbers), len(set(numbers)), name)
        groups = {r[2]: r[0] for r in table("group")}
        for r in table("passwd"):
            self.assertIn(r[3], groups, r[0])

    def test_groups_of_the_agent(self):
        mine = {r[0] for r in table("group") if "menshen" in r[3].split(",")}
        self.assertEqual(mine, {"video", "dialout", "gpio", "audio", "plugdev", "systemd-journal"})

    def test_modes_name_users_that_exist(self):
        users, groups = {r[0] for r in table("passwd")}, {r[0] for r in table("group")}
        for path, mode, user, group in words("modes"):
            self.assertRegex(mode, "^[0-7]{4}$")
            self.assertIn(user, users, path)
            self.assertIn(group, groups, path)
            if path == "/usr/sbin/unix_chkpwd":
                continue
            self.assertEqual(int(mode, 8) & 0o6000, 0, f"{path} would raise its rights")


class Units(unittest.TestCase):
    def test_units_exist(self):
        for what, name, *rest in words("units"):
            if what == "on" and name.startswith("menshen"):
                self.assertTrue((UNITS / name).exists(), name)
            self.assertEqual(len(rest), 0 if what == "off" else 1, name)
        on = {w[1] for w in words("units") if w[0] == "on"}
        for path in UNITS.glob("menshen*.service"):
            if "[Install]" in path.read_text():
                self.assertIn(path.name, on)

    def test_the_agent_is_confined(self):
        service = unit("menshen.service")["Service"]
        wanted = {"User": "menshen", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "DevicePolicy": "closed", "CapabilityBoundingSet": "",
                  "ProtectHome": "yes", "PrivateTmp": "yes", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes",
                  "ProtectControlGroups": "yes", "RestrictNamespaces": "yes", "LockPersonality": "yes", "LimitCORE": "0",
                  "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native"}
        for key, value in wanted.items():
            self.assertEqual(service.get(key), value, key)
        for key in ("MemoryMax", "SystemCallFilter", "DeviceAllow", "RestrictAddressFamilies", "TasksMax"):
            self.assertIn(key, service)

    def test_the_card_service_is_confined_and_the_agents_alone(self):
        service = unit("pcscd.service.d/50-gate.conf")["Service"]
        wanted = {"User": "pcscd", "Group": "pcscd", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ReadWritePaths": "/run/pcscd",
                  "DevicePolicy": "closed", "DeviceAllow": "char-usb_device rw", "CapabilityBoundingSet": "", "ProtectHome": "yes",
                  "RestrictAddressFamilies": "AF_UNIX AF_NETLINK", "IPAddressDeny": "any", "RestrictNamespaces": "yes", "LimitCORE": "0",
                  "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native", "Restart": "on-failure"}
        for key, value in wanted.items():
            self.assertEqual(service.get(key), value, key)
        self.assertIn("SystemCallFilter", service)
        self.assertEqual(unit("pcscd.socket.d/50-gate.conf")["Socket"],
                         {"SocketMode": "0660", "SocketUser": "root", "SocketGroup": "menshen"})
        self.assertIn(["on", "pcscd.socket", "sockets.target"], words("units"))
        # Its user, whose the nodes of readers are, is nobody else.
        self.assertEqual([r[0] for r in table("group") if "pcscd" in r[3].split(",")], [])
        self.assertEqual([r[3] for r in table("group") if r[0] == "pcscd"], [""])
        rules = (TREE / "usr/lib/udev/rules.d/70-gate.rules").read_text()
        self.assertIn('ENV{ID_USB_INTERFACES}=="*:0b????:*", GROUP="pcscd", MODE="0660"', rules)
        made = [line.split() for line in (TREE / "usr/lib/tmpfiles.d/gate.conf").read_text().splitlines()]
        self.assertIn(["d", "/run/pcscd", "0755", "pcscd", "pcscd", "-"], made)
        # A reader that is plugged in later is of a kind of devices that is known when the service starts.
        self.assertIn("usbcore", (TREE / "usr/lib/modules-load.d/gate.conf").read_text().split())

    def test_the_agent_may_have_port_90_without_a_capability(self):
        lines = (TREE / "usr/lib/sysctl.d/50-gate-ports.conf").read_text().splitlines()
        settings = [line for line in lines if line and not line.startswith("#")]
        self.assertEqual(settings, ["net.ipv4.ip_unprivileged_port_start = 90"])
        service = unit("menshen.service")["Service"]
        self.assertEqual((service["CapabilityBoundingSet"], service["AmbientCapabilities"]), ("", ""))

    def test_the_agent_comes_back(self):
        sections = unit("menshen.service")
        self.assertEqual(sections["Unit"]["StartLimitIntervalSec"], "0")
        self.assertEqual(sections["Service"]["Restart"], "always")
        self.assertLessEqual(int(sections["Service"]["RestartSec"]), 2)
        self.assertIn("door safe", sections["Service"]["ExecStopPost"])

    def test_one_owner_of_the_watchdog(self):
        manager = configparser.ConfigParser()
        manager.optionxform = str
        manager.read(TREE / "etc/systemd/system.conf.d/50-gate.conf")
        self.assertEqual(manager["Manager"]["RuntimeWatchdogSec"], "30s")
        self.assertEqual(manager["Manager"]["RebootWatchdogSec"], "2min")
        # The agent is not configured to feed it, and could not.
        for configuration in (ROOTFS / "menshen.toml", TOP / "scripts/gate/overlay/usr/share/menshen/menshen.toml"):
            self.assertNotIn("watchdog", tomllib.loads(configuration.read_text())["device"])
        self.assertNotIn("DeviceAllow=/dev/watchdog", (UNITS / "menshen.service").read_text())
        self.assertNotIn("DeviceAllow=char-watchdog", (UNITS / "menshen.service").read_text())
        self.assertEqual(unit("menshen.service")["Service"]["WatchdogSec"], "60")
        # Its drivers are there before the first process is.
        drivers = {w[1]: w[0] for w in words("modules")}
        self.assertEqual({drivers[name] for name in ("dw_wdt", "bcm2835_wdt", "i6300esb")}, {"boot"})

    def test_programs_of_units_exist(self):
        for path in UNITS.glob("menshen*.service"):
            for program in re.findall(r"^Exec\w+=[-+!@]*(/usr/lib/menshen/\S+)", path.read_text(), re.M):
                self.assertTrue((TREE / program.lstrip("/")).exists(), f"{path.name}: {program}")

    def test_scripts_are_sh(self):
        for path in [ROOTFS / "initramfs/init", *(TREE / "usr/lib/menshen").iterdir()]:
            self.assertTrue(path.stat().st_mode & 0o100, f"{path.name} cannot be run")
            done = subprocess.run(["sh", "-n", path], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, f"{path.name}: {done.stderr}")

    def test_tmpfiles_make_what_the_agent_writes(self):
        made = {w[1] for w in (line.split() for line in (TREE / "usr/lib/tmpfiles.d/gate.conf").read_text().splitlines()) if w and w[0] == "d"}
        for path in unit("menshen.service")["Service"]["ReadWritePaths"].split():
            self.assertIn(path.lstrip("-"), made)


class Disk(unittest.TestCase):
    def test_partitions(self):
        rows = words("partitions")
        self.assertEqual([r[0] for r in rows], ["boot", "root-a", "root-b", "data"])
        self.assertEqual(rows[1][1], rows[2][1], "an update of one slot must fit the other")
        self.assertEqual(len({uuid.UUID(r[3]) for r in rows}), 4)
        # systemd-repart grows the only partition of its type.
        self.assertEqual([r[2] for r in rows].count(rows[3][2]), 1)
        self.assertEqual(rows[3][2].lower(), "0fc63daf-8483-4772-8e79-3d69d8477de4")
        self.assertIn("Type=linux-generic", (TREE / "usr/lib/repart.d/40-data.conf").read_text())

    def test_boot_script_and_ram_disk_go_by_the_same_names(self):
        init, boot = (ROOTFS / "initramfs/init").read_text(), (ROOTFS / "boot/boot.cmd").read_text()
        for word in ("menshen.slot=", "root-"):
            self.assertIn(word, init)
        self.assertIn("menshen.slot=${slot}", boot)
        self.assertIn("rauc.slot=${slot}", boot)
        for slot in ("A", "B"):
            number = [r[0] for r in words("partitions")].index(f"root-{slot.lower()}") + 1
            self.assertRegex(boot, rf"setenv part {number}\b")
        for file in ("/boot/Image", "/boot/initrd"):
            self.assertIn(file, boot)
            self.assertIn(file, (TOP / "scripts/image.sh").read_text())

    def test_rauc_knows_the_slots(self):
        system = (ROOTFS / "rauc/system.conf").read_text()
        for device in re.findall(r"^device=(.*)$", system, re.M):
            self.assertIn(device.removeprefix("/dev/gate/"), {r[0] for r in words("partitions")})

    def test_no_package_is_wanted_and_dropped(self):
        self.assertEqual({w[0] for w in words("packages")} & {w[0] for w in words("packages.drop")}, set())


class Builder(unittest.TestCase):
    def image(self, *arguments, **variables):
        return subprocess.run([TOP / "scripts/image.sh", *arguments], capture_output=True, text=True,
                              env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": tempfile.gettempdir(), **variables})

    def test_a_password_is_no_hash(self):
        if not all(shutil.which(t, path="/usr/bin:/bin:/usr/sbin:/sbin") for t in ("mkimage", "sfdisk", "mcopy", "zstd", "cpio")):
            self.skipTest("the tools of scripts/setup.sh image are not here")
        for password in ("secret123", "$6$salt$with:colon"):
            done = self.image(MENSHEN_TECHNICIAN_HASH=password)
            self.assertEqual(done.returncode, 1)
            self.assertIn("MENSHEN_TECHNICIAN_HASH", done.stderr)
            self.assertNotIn(password, done.stderr)

    def test_what_a_script_asks_for_is_set_up(self):
        """Tools that the builders look for and that a Debian 12 of "debootstrap --variant=minbase" has not."""
        package = {"mkimage": "u-boot-tools", "mkenvimage": "u-boot-tools", "mke2fs": "e2fsprogs", "debugfs": "e2fsprogs", "mkfs.vfat": "dosfstools",
                   "mcopy": "mtools", "sfdisk": "fdisk", "cpio": "cpio", "zstd": "zstd", "modprobe": "kmod", "depmod": "kmod", "openssl": "openssl",
                   "rauc": "rauc", "mksquashfs": "squashfs-tools", "pkg-config": "pkg-config", "make": "make", "xz": "xz-utils", "dpkg-deb": None,
                   "qemu-system-aarch64": "qemu-system-arm", "python3": "python3"}
        setup = (TOP / "scripts/setup.sh").read_text()
        for name in ("image.sh", "bundle.sh", "cross.sh", "test_boot.sh", "gate/modules.sh"):
            for tools in re.findall(r"^ *for tool in (.*); do$", (TOP / "scripts" / name).read_text(), re.M):
                for tool in tools.split():
                    wanted = "gcc-aarch64-linux-gnu" if tool.startswith("aarch64-linux-gnu-") else package[tool]
                    if wanted:
                        self.assertRegex(setup, rf"missing\+=\((?:[\w.-]+ )*{re.escape(wanted)}[ )]", f"scripts/{name} asks for {tool}")

    def test_compare_finds_a_difference(self):
        with tempfile.TemporaryDirectory() as top:
            for name in ("a", "b"):
                Path(top, name).mkdir()
                for file in ("gate.packages", "gate.kernel", "gate-root.tar.zst", "root.ext4", "gate.img"):
                    Path(top, name, file).write_bytes(b"same")
            self.assertEqual(self.image("compare", f"{top}/a", f"{top}/b").returncode, 0)
            Path(top, "b/root.ext4").write_bytes(b"Same")
            done = self.image("compare", f"{top}/a", f"{top}/b")
            self.assertEqual(done.returncode, 1)
            self.assertIn("DIFFERENT: root.ext4", done.stdout)

    def test_wrong_usage(self):
        done = self.image("nonsense")
        self.assertEqual(done.returncode, 2)
        self.assertIn("usage:", done.stderr)


if __name__ == "__main__":
    unittest.main()
