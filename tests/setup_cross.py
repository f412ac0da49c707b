#!/usr/bin/env python3
"""Cross.toml and scripts/cross.sh build the same: one list of packages, one target, no library left out."""

import re
import subprocess
import sys
import tempfile
import tomllib
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
TRIPLE = "aarch64-unknown-linux-gnu"

# Crates that need a Debian package to be built: (crate, kind in cross-packages.txt, package).
NEEDS = (("alsa-sys", "target", "libasound2-dev"), ("pcsc-sys", "target", "libpcsclite-dev"), ("clang-sys", "build", "libclang-dev"),
         ("libudev-sys", "target", "libudev-dev"), ("cmake", "build", "cmake"), ("pkg-config", "build", "pkg-config"))


def listed():
    lines = (line.split("#")[0].split() for line in (TOP / "scripts/cross-packages.txt").read_text().splitlines())
    return [tuple(line) for line in lines if line]


def of_cross_toml():
    """The packages that its pre-build installs, as the list has them."""
    table = tomllib.loads((TOP / "Cross.toml").read_text())["target"][TRIPLE]
    found = []
    for command in table["pre-build"]:
        for part in command.split("&&"):
            words = part.split()
            if words[:2] == ["apt-get", "install"]:
                for word in (w for w in words[2:] if not w.startswith("-")):
                    name, _, arch = word.partition(":")
                    found.append(("target" if arch == "$CROSS_DEB_ARCH" else "build", name))
                    assert arch in ("", "$CROSS_DEB_ARCH"), word
    return found


class Cross(unittest.TestCase):
    def test_one_list_of_packages(self):
        self.assertEqual(sorted(of_cross_toml()), sorted(listed()))
        self.assertEqual(len(set(listed())), len(listed()))
        for kind, _ in listed():
            self.assertIn(kind, ("target", "build"))

    def test_cross_toml_says_the_target(self):
        cross = tomllib.loads((TOP / "Cross.toml").read_text())
        self.assertEqual(set(cross), {"target"})
        self.assertEqual(set(cross["target"]), {TRIPLE})
        self.assertEqual(set(cross["target"][TRIPLE]), {"image", "pre-build"})
        commands = cross["target"][TRIPLE]["pre-build"]
        # A package of another architecture is only found after that architecture was added.
        self.assertEqual(commands[0], "dpkg --add-architecture $CROSS_DEB_ARCH")
        self.assertIn(f"triple={TRIPLE}\n", (TOP / "scripts/cross.sh").read_text())

    def test_what_crates_need_is_listed(self):
        crates = {p["name"] for p in tomllib.loads((TOP / "Cargo.lock").read_text())["package"]}
        for crate, kind, package in NEEDS:
            with self.subTest(crate=crate):
                if crate in crates:
                    self.assertIn((kind, package), listed())

    def test_setup_installs_what_builds(self):
        setup = (TOP / "scripts/setup.sh").read_text()
        for kind, package in listed():
            if kind == "build":
                self.assertRegex(setup, rf"missing\+=\([^)]*\b{re.escape(package)}\b")

    def test_wrong_usage_says_so(self):
        for arguments in (["nonsense"], ["test"], ["setup", "more"]):
            done = subprocess.run([TOP / "scripts/cross.sh", *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("usage: scripts/cross.sh", done.stderr)


class TrainersCompiler(unittest.TestCase):
    """One model is trained at set-up by a program that is compiled first: with this machine's compiler, or with Debian's that
    scripts/cross.sh has unpacked."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        self.environment = {"PATH": f"{self.top}/bin:/usr/bin:/bin", "HOME": str(self.top), "MENSHEN_CACHE": str(self.top / "cache")}
        (self.top / "bin").mkdir()
        for tool in ("/usr/bin/rustc", "/bin/rustc"):
            if Path(tool).exists():
                self.skipTest(f"there is {tool}, which hides that there is none")

    def compiler(self, place, version):
        path = self.top / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho 'rustc {version} (made up)'\n")
        path.chmod(0o755)
        return str(path)

    def chosen(self, **more):
        done = subprocess.run(["bash", "-euc", '. scripts/rustc.sh; choose_rustc; echo "${RUSTC:-none}"'], cwd=TOP, text=True,
                              capture_output=True, env={**self.environment, **more})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_which_compiler(self):
        self.assertEqual(self.chosen(), "none")
        unpacked = self.compiler("cache/cross/rust/bin/rustc", "1.90.0")
        self.assertEqual(self.chosen(), unpacked)
        self.compiler("bin/rustc", "1.63.0")
        self.assertEqual(self.chosen(), unpacked, "Debian 12's own is too old")
        self.compiler("bin/rustc", "1.95.0")
        self.assertEqual(self.chosen(), "none", "the machine's will do")
        own = self.compiler("own", "1.92.0")
        self.assertEqual(self.chosen(RUSTC=own), own)
        self.assertIn(". scripts/rustc.sh\n", (TOP / "scripts/image.sh").read_text())

    def built(self, **more):
        code = ("import sys; sys.path.insert(0, 'models/ocrb'); import build\n"
                "try: print('uses', build.compiler())\nexcept build.Failure as e: print(e)")
        done = subprocess.run([sys.executable, "-c", code], cwd=TOP, text=True, capture_output=True, env={**self.environment, **more})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_trainer_s_set_up_says_what_is_wrong_with_a_compiler(self):
        said = self.built()
        for word in ("rustc cannot be run", "rustup", "RUSTC", "scripts/cross.sh setup"):
            self.assertIn(word, said)
        said = self.built(RUSTC=self.compiler("old", "1.63.0"))
        self.assertIn("needs Rust 1.82 or newer, and this is rustc 1.63.0", said)
        self.assertIn("does not say its version", self.built(RUSTC="/bin/echo"))
        new = self.compiler("new", "1.82.0")
        self.assertEqual(self.built(RUSTC=new), f"uses {new}\n")


class DebianSources(unittest.TestCase):
    """The machine's own sources, in both forms that Debian 12 knows, become sources for the gate."""

    ONE_LINE = "deb [arch=amd64 signed-by=/k.gpg] http://one.invalid/debian bookworm main contrib\n"
    DEB822 = ("Types: deb\nURIs: http://two.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
              "Types: deb\nURIs: http://three.invalid/vendor\nSuites: stable\nComponents: main\n")

    def sources(self, one_line="", deb822=""):
        with tempfile.TemporaryDirectory() as top:
            Path(top, "parts").mkdir()
            Path(top, "sources.list").write_text(one_line)
            Path(top, "parts/debian.sources").write_text(deb822)
            Path(top, "lists/partial").mkdir(parents=True)
            configuration = Path(top, "apt.conf")
            configuration.write_text(f'Dir::Etc::sourcelist "{top}/sources.list";\nDir::Etc::sourceparts "{top}/parts";\n'
                                     f'Dir::State::lists "{top}/lists";\n')
            done = subprocess.run(["bash", "-c", ". scripts/debian.sh; debian_sources"], cwd=TOP, text=True, capture_output=True,
                                  env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": top, "APT_CONFIG": str(configuration)})
            self.assertEqual(done.returncode, 0, done.stderr)
            return sorted(re.sub(r"\[[^]]*] ", "", line) for line in done.stdout.splitlines()), done.stdout

    def test_one_line(self):
        lines, text = self.sources(one_line=self.ONE_LINE)
        self.assertEqual(lines, ["deb http://one.invalid/debian/ bookworm main"])
        self.assertIn("arm64", text)
        self.assertIn("signed-by=/", text)

    def test_deb822_and_no_other_release(self):
        lines, _ = self.sources(deb822=self.DEB822)
        self.assertEqual(lines, ["deb http://two.invalid/debian/ bookworm main",
                                 "deb http://two.invalid/debian/ bookworm-updates main"])

    def test_none(self):
        self.assertEqual(self.sources(deb822=self.DEB822.partition("\n\n")[2])[0], [])


if __name__ == "__main__":
    unittest.main()
