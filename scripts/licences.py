#!/usr/bin/env python3
"""The licences of all that is linked into menshen, as text: every crate with its licence files.

    licences.py [--target TRIPLE] [--models]   prints the report
    licences.py --check …                      only says what is missing; 1 when something is

Asks `cargo metadata` for what the target really links: neither what only builds or tests it, nor what other
machines need. A crate's files are looked for in its published archive, in its folders too, because C code
that a crate brings along has licences of its own. With --models the report ends with the models and ONNX
Runtime, whose notices are read from the archive that models/fetch.py has kept, and of models that are trained here from
the NOTICE beside their script.

A crate whose archive has no licence file is named with its licence, its makers and the wording that another
crate has for the same licence; a crate for which there is no wording at all is an error.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
NAME = re.compile(r"(?i)^(licen[cs]e|copying|copyright|notice|unlicense|authors|ijg|thirdpartynotices)([-_.].*)?$")
CODE = {".rs", ".c", ".h", ".py", ".toml", ".json", ".html", ".js"}
DEPTH = 4  # of folders below a crate's
RULE = "=" * 100


def linked(target):
    """Packages that end up in the program, by name and version."""
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    done = subprocess.run(command, cwd=TOP, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit("licences.py: cargo metadata failed")
    metadata = json.loads(done.stdout)
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    waiting, found = [metadata["resolve"]["root"]], set()
    while waiting:
        package = waiting.pop()
        if package in found:
            continue
        found.add(package)
        # A procedural macro runs in the compiler, but what it writes is its makers' text: it stays.
        waiting += [d["pkg"] for d in nodes[package]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
    found.discard(metadata["resolve"]["root"])
    return sorted((packages[i] for i in found), key=lambda p: (p["name"], p["version"]))


def files(package):
    """(path inside the crate, text) of its licence files."""
    folder = Path(package["manifest_path"]).parent
    seen = []
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if len(below.parts) > DEPTH or {"tests", "target", "benches", "examples"} & set(below.parts[:-1]):
            continue
        if path.is_file() and NAME.match(path.name) and path.suffix.lower() not in CODE:
            text = path.read_text(errors="replace").strip("\n")
            if text.strip():
                seen.append((below.as_posix(), text))
    named = package.get("license_file")
    if named and all(name != named for name, _ in seen):
        seen.append((named, (folder / named).read_text(errors="replace")))
    return seen


def words(expression):
    return set(re.findall(r"[A-Za-z0-9.+-]+", expression or "")) - {"OR", "AND", "WITH"}


def report(packages):
    """(text, what is missing)"""
    texts, out, missing = {}, [], []
    # Of each licence, a wording that stands alone in somebody's file of that name.
    wording = {}
    found = {p["id"]: files(p) for p in packages}
    for package in packages:
        for name, text in found[package["id"]]:
            upper = name.upper()
            for licence, mark in (("MIT", "MIT"), ("Apache-2.0", "APACHE"), ("Zlib", "ZLIB"), ("BSD-3-Clause", "BSD"), ("ISC", "ISC")):
                if mark in upper or (package["license"] == licence and upper.startswith("LICENSE")):
                    wording.setdefault(licence, text)
    out.append(f"Licences of what is linked into menshen: {len(packages)} crates.\n")
    for package in packages:
        licence = package["license"] or f"see {package['license_file']}"
        makers = ", ".join(package["authors"]) or "its contributors"
        out.append(f"{package['name']} {package['version']}: {licence}\n    {package.get('repository') or 'no address given'}")
        mine = found[package["id"]]
        for name, text in mine:
            key = hashlib.sha256(re.sub(r"\s+", " ", text).encode()).hexdigest()
            number = texts.setdefault(key, (len(texts) + 1, text))[0]
            out.append(f"    {name}: text {number}")
        if not mine:
            known = sorted(words(package["license"]) & wording.keys())
            if not known:
                missing.append(f"{package['name']} {package['version']}: its archive has no licence file, and {licence} has no wording here")
                continue
            text = wording[known[0]]
            key = hashlib.sha256(re.sub(r"\s+", " ", text).encode()).hexdigest()
            number = texts.setdefault(key, (len(texts) + 1, text))[0]
            out.append(f"    no file in its archive; by {makers}; for the wording of {known[0]} see text {number}")
    for number, text in sorted(texts.values()):
        out.append(f"\n{RULE}\ntext {number}\n{RULE}\n{text}")
    return "\n".join(out) + "\n", missing


def models(target):
    manifest = tomllib.loads((TOP / "models/models.toml").read_text())
    arch = target.split("-")[0]
    cache = Path(os.environ.get("MENSHEN_CACHE") or Path.home() / ".cache/menshen") / "downloads"
    used = {e["from"] for e in manifest["extract"] if e["to"].startswith("models/") and e.get("arch", arch) == arch}
    out, missing = [f"\n{RULE}\nModels and the library that runs them\n{RULE}"], []
    for d in manifest["download"]:
        if d["name"] not in used or d.get("arch", arch) != arch:
            continue
        out.append(f"\n{d['package']} {d['version']} ({d['registry']}): {d['what']}\n    licence: {d['licence']}")
        archive = cache / f"{d['sha256'][:16]}-{d['file']}"
        if d["file"].endswith(".whl") and archive.exists():
            with zipfile.ZipFile(archive) as z:
                for name in sorted(z.namelist()):
                    if NAME.match(name.rpartition("/")[2]) and Path(name).suffix.lower() not in CODE:
                        out.append(f"\n{RULE}\n{d['package']}: {name}\n{RULE}\n{z.read(name).decode(errors='replace').strip()}")
        elif d["file"].endswith(".whl"):
            missing.append(f"{d['package']}: {archive} is not there: run models/fetch.py --arch {arch}")
    for t in manifest.get("train", []):
        if t["to"].startswith("models/"):
            out.append(f"\n{t['to'].removeprefix('models/')}, trained by models/{t['script']}: {t['what']}\n    licence: {t['licence']}")
            notices = sorted((TOP / "models" / t["script"]).parent.glob("NOTICE*"))
            out += [f"\n{RULE}\n{t['to'].removeprefix('models/')}: {n.name}\n{RULE}\n{n.read_text().strip()}" for n in notices]
            if not notices:
                missing.append(f"{t['to']}: there is no NOTICE beside models/{t['script']} for what it was drawn from")
    return "\n".join(out) + "\n", missing


def main():
    parser = argparse.ArgumentParser(description="Report the licences of what is linked into menshen.")
    parser.add_argument("--target", default="aarch64-unknown-linux-gnu")
    parser.add_argument("--models", action="store_true", help="the models and ONNX Runtime too")
    parser.add_argument("--check", action="store_true", help="print only what is missing")
    options = parser.parse_args()
    text, missing = report(linked(options.target))
    if options.models:
        more, also = models(options.target)
        text, missing = text + more, missing + also
    if not options.check:
        sys.stdout.write(text)
    for line in missing:
        print(f"licences.py: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
