#!/usr/bin/env python3
"""models/fetch.py against a server on loopback: resuming, damage, wrong pins, broken lines, mirrors, rewriting.

Uses no network. pip is real, with PIP_INDEX_URL at the server; npm is a small stand-in that answers
`npm view` as npm does, so that the test does not depend on an installed one.
"""

import base64
import hashlib
import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest
import zipfile
from pathlib import Path

import setup_optimise

FETCH = Path(__file__).resolve().parent.parent / "models/fetch.py"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def noise(n, seed):
    """Bytes that do not compress, the same every time."""
    out, block = bytearray(), seed.encode()
    while len(out) < n:
        block = hashlib.sha256(block).digest()
        out += block
    return bytes(out[:n])


MODEL = noise(300_000, "model")
LITERAL = noise(5_000, "literal")
LIBRARY = {arch: noise(200_000, arch) for arch in ("x86_64", "aarch64")}


def embedder():
    """A real, small model, and what it is rewritten into."""
    with tempfile.TemporaryDirectory() as top:
        published, fast = Path(top, "published.onnx"), Path(top, "fast.onnx")
        setup_optimise.embedder(published)
        subprocess.run([sys.executable, str(setup_optimise.OPTIMISE), str(published), str(fast), "embedder"], check=True)
        return published.read_bytes(), fast.read_bytes()


EMBEDDER, FAST = embedder()


def npm_archive():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as t:
        for name, data in (("a", MODEL), ("b", EMBEDDER)):
            info = tarfile.TarInfo(f"package/model/{name}.onnx")
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def wheel(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, data in files.items():
            z.writestr(name, data)
    return buffer.getvalue()


NPM = npm_archive()
DETECTOR = wheel({"detector/weights.py": f"# made up\nWEIGHTS = {LITERAL!r}\n"})
RUNTIME = {arch: wheel({"rt/lib.so": data}) for arch, data in LIBRARY.items()}


class Server(http.server.ThreadingHTTPServer):
    """A registry that can be told to misbehave."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {
            "/npm/thing/-/thing-1.0.0.tgz": NPM,
            "/files/detector-2.0-py3-none-any.whl": DETECTOR,
            **{f"/files/rt-3.0-{arch}.whl": data for arch, data in RUNTIME.items()},
        }
        self.requests = []  # (path, Range header or None, status)
        self.break_after = []  # for the coming answers: send so many bytes, then close
        self.stall_after = None  # send so many bytes, then wait until the test has seen it
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self.ranges = True
        self.json = True
        self.login = None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def downloads(self):
        return [r for r in self.requests if r[0] in self.files]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        s = self.server
        if s.login and self.headers.get("Authorization") != "Basic " + base64.b64encode(s.login.encode()).decode():
            return self.answer(401, b"who are you?", "text/plain")
        page = re.fullmatch(r"/simple/([a-z0-9-]+)/", self.path)
        if page:
            names = [p.rpartition("/")[2] for p in s.files if p.startswith(f"/files/{page[1]}-")]
            if not names:
                return self.answer(404, b"no such project", "text/plain")
            if s.json and "json" in self.headers.get("Accept", ""):
                body = {"meta": {"api-version": "1.0"}, "files": [{"filename": n, "url": f"../../files/{n}"} for n in names]}
                return self.answer(200, json.dumps(body).encode(), "application/vnd.pypi.simple.v1+json")
            links = "".join(f'<a href="../../files/{n}#sha256=00">{n}</a><br>' for n in names)
            return self.answer(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")
        if self.path not in s.files:
            return self.answer(404, b"no such file", "text/plain")
        self.send_file(s, s.files[self.path])

    def send_file(self, s, data):
        asked = self.headers.get("Range")
        start = re.fullmatch(r"bytes=(\d+)-", asked or "")
        if start and s.ranges:
            first = int(start[1])
            if first >= len(data):
                s.requests.append((self.path, asked, 416))
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            s.requests.append((self.path, asked, 206))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
            data = data[first:]
        else:
            s.requests.append((self.path, asked, 200))
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if s.stall_after is not None:
            self.wfile.write(data[:s.stall_after])
            self.wfile.flush()
            s.stalled.set()
            s.go_on.wait(30)
            self.close_connection = True
        elif s.break_after:
            self.wfile.write(data[:s.break_after.pop(0)])
            self.close_connection = True
        else:
            self.wfile.write(data)

    def answer(self, status, body, kind):
        self.server.requests.append((self.path, None, status))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def entry(table, **keys):
    return f"[[{table}]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())


def manifest(npm_sum=sha256(NPM), model_sum=sha256(MODEL)):
    out = [
        entry("download", name="thing", registry="npm", package="thing", version="1.0.0", file="thing-1.0.0.tgz",
              sha256=npm_sum, licence="MIT-of-thing", what="a model", **{"for": ["run", "test"]}),
        entry("extract", **{"from": "thing"}, member="package/model/a.onnx", to="models/a.onnx", sha256=model_sum),
        entry("download", name="detector", registry="pypi", package="Detector", version="2.0",
              file="detector-2.0-py3-none-any.whl", sha256=sha256(DETECTOR), licence="Apache-of-detector",
              what="a literal", **{"for": ["test"]}),
        entry("extract", **{"from": "detector"}, member="detector/weights.py", literal="WEIGHTS",
              to=".setup/media/w.bin", sha256=sha256(LITERAL)),
    ]
    for arch in LIBRARY:
        out += [
            entry("download", name=f"rt-{arch}", registry="pypi", package="rt", version="3.0", file=f"rt-3.0-{arch}.whl",
                  sha256=sha256(RUNTIME[arch]), licence="MIT", what="a library", arch=arch, **{"for": ["bench"]}),
            entry("extract", **{"from": f"rt-{arch}"}, member="rt/lib.so", to="models/lib.so",
                  sha256=sha256(LIBRARY[arch]), arch=arch),
        ]
    return "\n".join(out)


def convert(source="b", sum=sha256(FAST), **changes):
    """A published model and its rewriting, to be added to the manifest."""
    member = {"a": MODEL, "b": EMBEDDER}[source]
    published = "" if source == "a" else entry("extract", **{"from": "thing"}, member="package/model/b.onnx",
                                               to="models/b.onnx", sha256=sha256(member))
    return "\n" + published + "\n" + entry("convert", **{
        "from": f"models/{source}.onnx", "to": "models/b.fast.onnx", "kind": "embedder", "sha256": sum, **changes})


class Fetch(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name)
        self.root, self.cache = self.top / "root", self.top / "cache"
        (self.root / "models").mkdir(parents=True)
        self.write_manifest()
        self.server = Server()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.addCleanup(self.server.go_on.set)
        npm = self.top / "bin/npm"
        npm.parent.mkdir()
        npm.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "view thing@1.0.0 dist.tarball" ] || exit 1\n'
                       f"echo {self.server.address}/npm/thing/-/thing-1.0.0.tgz\n")
        npm.chmod(0o755)
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("PIP_")},
            "PATH": f"{npm.parent}:{os.environ['PATH']}",
            "MENSHEN_CACHE": str(self.cache),
            "MENSHEN_FETCH_PAUSE": "0.01",
            "PIP_INDEX_URL": f"{self.server.address}/simple",
            "PIP_CONFIG_FILE": os.devnull,
        }

    def write_manifest(self, **sums):
        (self.top / "models.toml").write_text(manifest(**sums))

    def command(self, *arguments):
        return [sys.executable, str(FETCH), "--root", str(self.root), "--manifest", str(self.top / "models.toml"), *arguments]

    def fetch(self, *arguments, code=0, **environment):
        done = subprocess.run(self.command(*arguments), env={**self.environment, **environment},
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done

    def archive(self):
        return self.cache / "downloads" / f"{sha256(NPM)[:16]}-thing-1.0.0.tgz"

    def part(self):
        return self.archive().with_name(self.archive().name + ".part")

    def installed(self):
        return (self.root / "models/a.onnx").read_bytes()

    def test_empty_cache_then_nothing_to_do(self):
        said = self.fetch("--for", "test").stderr
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual((self.root / ".setup/media/w.bin").read_bytes(), LITERAL)
        self.assertIn("MIT-of-thing", said)
        self.assertIn("Apache-of-detector", said)
        self.assertIn("100 %", said)
        self.server.requests.clear()
        again = self.fetch("--for", "test", PATH="/nonexistent")
        self.assertEqual((again.stdout, again.stderr, self.server.requests), ("", "", []))

    def test_only_what_the_set_up_wants(self):
        self.fetch("--for", "run")
        self.assertFalse((self.root / ".setup/media/w.bin").exists())
        self.assertEqual([r[0] for r in self.server.downloads()], ["/npm/thing/-/thing-1.0.0.tgz"])

    def test_killed_in_the_middle_goes_on_there(self):
        self.server.stall_after = 100_000
        running = subprocess.Popen(self.command(), env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(running.kill)
        self.assertTrue(self.server.stalled.wait(60))
        end = time.monotonic() + 60
        while not (self.part().exists() and self.part().stat().st_size == 100_000):
            self.assertIsNone(running.poll())
            self.assertLess(time.monotonic(), end, "what was received is not on disk")
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        self.server.stall_after = None
        self.server.go_on.set()
        self.assertFalse((self.root / "models/a.onnx").exists())
        self.fetch()
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual(self.server.downloads()[-1][1:], ("bytes=100000-", 206))

    def test_a_part_in_the_cache_is_resumed_and_not_fetched_again(self):
        self.part().parent.mkdir(parents=True)
        self.part().write_bytes(NPM[:123_456])
        said = self.fetch().stderr
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual([r[1:] for r in self.server.downloads()], [("bytes=123456-", 206)])
        self.assertIn("going on at 0.1 MB", said)
        self.assertFalse(self.part().exists())

    def test_a_line_that_breaks_twice_is_resumed_within_the_run(self):
        self.server.break_after = [70_000, 80_000]
        said = self.fetch().stderr
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual([r[1:] for r in self.server.downloads()],
                         [(None, 200), ("bytes=70000-", 206), ("bytes=150000-", 206)])
        self.assertIn("broke off", said)

    def test_a_line_that_always_breaks_gives_up_and_keeps_what_came(self):
        self.server.break_after = [1000] * 50
        said = self.fetch(code=1).stderr
        self.assertEqual(len(self.server.downloads()), 5)
        self.assertEqual(self.part().read_bytes(), NPM[:5000])
        self.assertIn("cannot download thing-1.0.0.tgz", said)
        self.assertIn("the next run goes on from there", said)
        self.server.break_after = []
        self.fetch()
        self.assertEqual(self.installed(), MODEL)

    def test_a_server_without_ranges_is_downloaded_anew(self):
        self.server.ranges = False
        self.part().parent.mkdir(parents=True)
        self.part().write_bytes(NPM[:1000])
        self.fetch()
        self.assertEqual(self.installed(), MODEL)

    def test_a_complete_part_needs_no_byte_more(self):
        self.part().parent.mkdir(parents=True)
        self.part().write_bytes(NPM)
        self.fetch()
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual([r[2] for r in self.server.downloads()], [416])

    def test_a_part_longer_than_the_file_is_thrown_away(self):
        self.part().parent.mkdir(parents=True)
        self.part().write_bytes(NPM + b"x")
        self.fetch()
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual([r[2] for r in self.server.downloads()], [416, 200])

    def test_a_damaged_part_is_fetched_anew_once(self):
        self.part().parent.mkdir(parents=True)
        self.part().write_bytes(b"\0" * 100_000)
        said = self.fetch().stderr
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual([r[1:] for r in self.server.downloads()], [("bytes=100000-", 206), (None, 200)])
        self.assertIn("starting it anew", said)

    def test_a_damaged_archive_in_the_cache_is_fetched_again(self):
        self.fetch()
        damaged = bytearray(self.archive().read_bytes())
        damaged[1000] ^= 1
        self.archive().write_bytes(damaged)
        (self.root / "models/a.onnx").unlink()
        self.server.requests.clear()
        said = self.fetch().stderr
        self.assertIn("damaged", said)
        self.assertEqual([r[1:] for r in self.server.downloads()], [(None, 200)])
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual(sha256(self.archive().read_bytes()), sha256(NPM))

    def test_an_archive_with_another_sum_than_pinned_is_refused(self):
        self.write_manifest(npm_sum="0" * 64)
        said = self.fetch(code=1).stderr
        self.assertIn("0" * 64, said)
        self.assertIn(sha256(NPM), said)
        self.assertIn("Nothing of it was used", said)
        self.assertFalse((self.root / "models/a.onnx").exists())
        self.assertEqual([p for p in (self.cache / "downloads").iterdir() if p.suffix != ".lock"], [])
        self.assertEqual(len(self.server.downloads()), 1)

    def test_a_member_with_another_sum_than_pinned_is_refused(self):
        (self.root / "models/a.onnx").write_bytes(b"what was there before")
        self.write_manifest(model_sum="1" * 64)
        said = self.fetch(code=1).stderr
        self.assertIn("1" * 64, said)
        self.assertIn(sha256(MODEL), said)
        self.assertEqual(self.installed(), b"what was there before")
        self.assertEqual(list((self.root / "models").glob(".*")), [])

    def test_check_finds_missing_and_altered_files(self):
        self.assertIn("missing models/a.onnx", self.fetch("--check", code=1).stdout)
        self.fetch()
        self.assertIn("ok      models/a.onnx", self.fetch("--check").stdout)
        (self.root / "models/a.onnx").write_bytes(MODEL[:-1] + b"x")
        self.assertIn("altered models/a.onnx", self.fetch("--check", code=1).stdout)
        # And the next run sees it, takes it from the cache, and asks no registry.
        self.server.requests.clear()
        self.fetch()
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual(self.server.requests, [])

    def test_a_changed_manifest_keeps_what_is_right(self):
        self.fetch()
        with open(self.top / "models.toml", "a") as f:
            f.write("\n# another comment\n")
        self.server.requests.clear()
        self.fetch()
        self.assertEqual(self.server.requests, [])

    def add(self, text):
        with open(self.top / "models.toml", "a") as f:
            f.write(text)

    def test_a_model_is_rewritten_beside_the_published_one(self):
        self.add(convert())
        fast, published = self.root / "models/b.fast.onnx", self.root / "models/b.onnx"
        self.assertIn("missing models/b.fast.onnx", self.fetch("--check", code=1).stdout)
        self.assertIn("models/b.fast.onnx", self.fetch().stderr)
        self.assertEqual((fast.read_bytes(), published.read_bytes()), (FAST, EMBEDDER))
        self.assertIn("ok      models/b.fast.onnx", self.fetch("--check").stdout)
        self.server.requests.clear()
        self.assertEqual(self.fetch().stderr, "")
        # Altered or gone, it is made again, from what is there.
        fast.write_bytes(FAST[:-1] + b"x")
        self.assertIn("altered models/b.fast.onnx", self.fetch("--check", code=1).stdout)
        self.fetch()
        self.assertEqual(fast.read_bytes(), FAST)
        fast.unlink()
        self.fetch()
        self.assertEqual(fast.read_bytes(), FAST)
        self.assertEqual(self.server.requests, [])

    def test_a_rewritten_model_for_another_machine_s_image(self):
        self.add(convert())
        image = self.top / "image"
        self.fetch("--arch", "aarch64", "--models", str(image))
        self.assertEqual((image / "b.fast.onnx").read_bytes(), FAST)
        # An agent needs the manifest beside what it describes.
        self.assertEqual((image / "models.toml").read_bytes(), (self.top / "models.toml").read_bytes())
        self.assertFalse((self.root / "models/b.fast.onnx").exists())

    def test_a_rewritten_model_with_another_sum_than_pinned_is_refused(self):
        (self.root / "models/b.fast.onnx").write_bytes(b"what was there before")
        self.add(convert(sum="2" * 64))
        said = self.fetch(code=1).stderr
        for word in ("2" * 64, sha256(FAST), "onnx 1.", "numpy 2.", "requirements-models.txt"):
            self.assertIn(word, said)
        self.assertEqual((self.root / "models/b.fast.onnx").read_bytes(), b"what was there before")
        self.assertEqual(list((self.root / "models").glob(".*")), [])

    def test_what_is_no_model_cannot_be_rewritten(self):
        self.add(convert("a"))
        said = self.fetch(code=1).stderr
        self.assertIn("models/a.onnx cannot be rewritten", said)
        self.assertEqual([p.name for p in (self.root / "models").iterdir()], ["a.onnx"])

    def test_without_onnx_it_says_what_to_do(self):
        self.add(convert())
        (self.top / "onnx.py").write_text("raise ImportError")
        said = self.fetch(code=1, PYTHONPATH=str(self.top)).stderr
        self.assertIn("scripts/setup.sh", said)
        # What could be installed is.
        self.assertEqual((self.root / "models/b.onnx").read_bytes(), EMBEDDER)

    def test_each_kind_of_machine_gets_its_own_library(self):
        for arch, library in LIBRARY.items():
            image = self.top / f"image-{arch}"
            self.fetch("--for", "bench", "--arch", arch, "--models", str(image))
            self.assertEqual((image / "lib.so").read_bytes(), library)
        said = self.fetch("--for", "bench", "--arch", "riscv64", code=1).stderr
        self.assertIn("riscv64", said)

    def test_an_index_that_speaks_html_only(self):
        self.server.json = False
        self.fetch("--for", "test")
        self.assertEqual((self.root / ".setup/media/w.bin").read_bytes(), LITERAL)

    def test_an_index_behind_a_password_which_is_never_shown(self):
        self.server.login = "me:se%cret"
        mirror = self.server.address.replace("//", "//me:se%25cret@") + "/simple"
        self.fetch("--for", "bench", "--arch", "aarch64", PIP_INDEX_URL=mirror)
        self.assertEqual((self.root / "models/lib.so").read_bytes(), LIBRARY["aarch64"])
        self.server.login = "me:other"
        said = self.fetch("--for", "bench", "--arch", "x86_64", PIP_INDEX_URL=mirror, code=1).stderr
        self.assertIn("401", said)
        self.assertNotIn("se%25cret", said)
        self.assertNotIn("se%cret", said)

    def test_a_package_that_is_not_there(self):
        self.server.files.pop("/files/detector-2.0-py3-none-any.whl")
        said = self.fetch("--for", "test", code=1).stderr
        self.assertIn("does not have detector-2.0-py3-none-any.whl", said)
        self.assertIn("404", said)

    def test_a_manifest_with_a_key_too_many_or_a_way_out(self):
        good = manifest()
        for bad, word in ((good.replace("member = ", "memberr = ", 1), "member"),
                          (good + "\n[surprise]\n", "surprise"),
                          (good.replace('"models/a.onnx"', '"../a.onnx"'), "below models/"),
                          (good.replace('"models/a.onnx"', '"models/../../a.onnx"'), "below models/"),
                          (good.replace('registry = "npm"', 'registry = "ftp"'), "ftp"),
                          (good.replace(sha256(NPM), "abc"), "sha256"),
                          (good + convert(**{"from": "models/c.onnx"}), "models/c.onnx"),
                          (good + convert(to="models/a.onnx"), "something else"),
                          (good + convert(to="../b.onnx"), "below models/"),
                          (good + convert(size="1"), "size"),
                          ("[[download", "cannot read")):
            (self.top / "models.toml").write_text(bad)
            self.assertIn(word, self.fetch(code=1).stderr)
        self.assertEqual(self.server.requests, [])

    def test_two_at_once_download_once(self):
        both = [subprocess.Popen(self.command(), env=self.environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for one in both:
            said = one.communicate(timeout=60)[1]
            self.assertEqual(one.returncode, 0, said)
        self.assertEqual(self.installed(), MODEL)
        self.assertEqual(len(self.server.downloads()), 1)

    def trainer(self, body, sum=None, sets=("run", "test")):
        """A copy of fetch.py beside a script that trains, or does not, and a manifest that wants a model of it."""
        here = self.top / "models"
        here.mkdir(exist_ok=True)
        for name in ("fetch.py", "optimise.py"):
            (here / name).write_bytes((FETCH.parent / name).read_bytes())
        (here / "stub.py").write_text(f"import os, signal, subprocess, sys, time\nfrom pathlib import Path\nout = Path(sys.argv[1])\n"
                                      f"top = Path({str(self.top)!r})\nwith open(top / 'trained', 'a') as f: f.write('once\\n')\n{body}\n")
        self.write_manifest()
        self.add("\n" + entry("train", to="models/t.onnx", script="stub.py", sha256=sum or sha256(LITERAL), licence="ours",
                              what="a reader of lines", **{"for": list(sets)}))
        self.command = lambda *arguments: [sys.executable, str(here / "fetch.py"), "--root", str(self.root), "--manifest",
                                           str(self.top / "models.toml"), *arguments]

    # What LITERAL is, without a copy of it in the script.
    TRAINS = ("import hashlib\ndata, block = bytearray(), b'literal'\nwhile len(data) < 5000:\n"
              "    block = hashlib.sha256(block).digest()\n    data += block\nout.write_bytes(bytes(data[:5000]))")

    def trained(self):
        return (self.top / "trained").read_text().count("once") if (self.top / "trained").exists() else 0

    def test_a_model_is_trained_once_and_kept(self):
        self.trainer(self.TRAINS)
        model = self.root / "models/t.onnx"
        self.assertIn("a reader of lines", self.fetch().stderr)
        self.assertEqual(model.read_bytes(), LITERAL)
        self.assertEqual(self.fetch().stderr, "")
        self.assertIn("ok      models/t.onnx", self.fetch("--check").stdout)
        # Gone or altered it comes from the cache; damaged there, it is trained again.
        model.unlink()
        self.fetch()
        self.assertEqual((model.read_bytes(), self.trained()), (LITERAL, 1))
        cached = next((self.cache / "trained").glob("*-t.onnx"))
        cached.write_bytes(b"damaged")
        model.write_bytes(b"altered")
        self.fetch()
        self.assertEqual((model.read_bytes(), self.trained()), (LITERAL, 2))

    def test_two_at_once_train_once(self):
        # The first goes on when the second says that it waits.
        self.trainer(f"while not (top / 'go').exists(): time.sleep(0.01)\n{self.TRAINS}")
        self.fetch_all_but_the_trained()
        first, second = (subprocess.Popen(self.command(), env=self.environment, stderr=subprocess.PIPE, text=True) for _ in range(2))
        for one in (first, second):
            self.addCleanup(one.kill)
        waits, said = None, {}
        while waits is None:
            for one in (first, second):
                line = one.stderr.readline() if one not in said else ""
                if "waiting: another process is training t.onnx" in line:
                    waits = one
                elif "training it here" in line:
                    said[one] = line
                self.assertIsNone(one.poll())
        (self.top / "go").touch()
        for one in (first, second):
            rest = one.communicate(timeout=60)[1]
            self.assertEqual(one.returncode, 0, rest)
            one.stderr.close()
        self.assertEqual(((self.root / "models/t.onnx").read_bytes(), self.trained()), (LITERAL, 1))

    def fetch_all_but_the_trained(self):
        whole = (self.top / "models.toml").read_text()
        (self.top / "models.toml").write_text(whole.partition("[[train]]")[0])
        self.fetch()
        (self.top / "models.toml").write_text(whole)

    def test_a_trained_model_with_another_sum_than_pinned_is_refused(self):
        self.trainer("out.write_bytes(b'another')")
        (self.root / "models/t.onnx").write_bytes(b"what was there before")
        said = self.fetch("--for", "test", code=1).stderr
        for word in ("models/t.onnx, trained by stub.py, is not what models.toml pins", sha256(LITERAL), sha256(b"another")):
            self.assertIn(word, said)
        self.assertEqual((self.root / "models/t.onnx").read_bytes(), b"what was there before")
        self.assertEqual([p for p in (self.cache / "trained").iterdir() if p.suffix != ".lock"], [])

    def test_without_what_only_document_cameras_need_a_gate_can_run(self):
        self.trainer("print('no compiler'); sys.exit(1)")
        said = self.fetch("--for", "run").stderr
        for word in ("models/t.onnx cannot be trained", "going on without models/t.onnx (a reader of lines)", "document camera"):
            self.assertIn(word, said)
        self.assertEqual(self.installed(), MODEL)
        # It is tried again, and whatever must be whole is not without it.
        self.assertIn("going on without", self.fetch("--for", "run").stderr)
        self.assertEqual(self.trained(), 2)
        for arguments in (["--for", "test"], ["--for", "run", "--for", "test"], ["--models", str(self.top / "image")]):
            self.assertIn("models/t.onnx cannot be trained", self.fetch(*arguments, code=1).stderr)
        self.assertIn("missing models/t.onnx", self.fetch("--check", code=1).stdout)
        self.trainer(self.TRAINS)
        self.fetch("--for", "run")
        self.assertEqual((self.root / "models/t.onnx").read_bytes(), LITERAL)

    def test_a_full_disk_is_said(self):
        self.trainer(self.TRAINS)
        (self.root / "models/t.onnx").mkdir()  # Nothing can be put there.
        self.assertIn("models/t.onnx cannot be trained and installed", self.fetch("--for", "test", code=1).stderr)
        (self.root / "models/t.onnx").rmdir()
        # The trainer's place is as full as a disk: a file may have 4000 bytes.
        self.trainer("import resource\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
                     "try: out.write_bytes(b'x' * 5000)\nexcept OSError as e: sys.exit(str(e))", sum="3" * 64)
        self.assertIn("models/t.onnx cannot be trained: see above", self.fetch("--for", "test", code=1).stderr)
        self.assertEqual([p.name for p in (self.cache / "trained").iterdir() if p.suffix != ".lock" and "333" in p.name], [])

    def gone(self, pid):
        """Waits until a process has ended."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0.01)
        self.fail(f"process {pid} is still there")

    def test_a_training_that_is_ended_leaves_no_process(self):
        # The script starts another one, as build.py starts the trainer.
        self.trainer("child = subprocess.Popen(['sleep', '1000'])\n(top / 'pids.new').write_text(f'{os.getpid()} {child.pid}')\n"
                     "os.replace(top / 'pids.new', top / 'pids')\ntry: child.wait()\nexcept KeyboardInterrupt: sys.exit(130)")
        for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            with self.subTest(signal=number):
                # Whoever runs the tests in the background has Ctrl-C ignored.
                running = subprocess.Popen(self.command("--for", "test"), env=self.environment, stdout=subprocess.DEVNULL,
                                           stderr=subprocess.PIPE, text=True,
                                           preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
                self.addCleanup(running.kill)
                end = time.monotonic() + 60
                while not (self.top / "pids").exists():
                    self.assertIsNone(running.poll())
                    self.assertLess(time.monotonic(), end)
                    time.sleep(0.01)
                pids = (self.top / "pids").read_text().split()
                (self.top / "pids").unlink()
                running.send_signal(number)
                self.assertNotIn("Traceback", running.communicate(timeout=60)[1])
                self.assertEqual(running.returncode, code)
                for pid in pids:
                    self.gone(pid)
        # The lock went with it: the next run trains.
        self.trainer(self.TRAINS)
        self.fetch("--for", "test")
        self.assertEqual((self.root / "models/t.onnx").read_bytes(), LITERAL)

    def test_the_real_manifest_is_well_formed(self):
        real = FETCH.parent / "models.toml"
        done = subprocess.run([sys.executable, str(FETCH), "--check", "--root", str(self.root), "--manifest", str(real),
                               "--for", "run", "--for", "test", "--for", "bench"], capture_output=True, text=True)
        self.assertNotIn("fetch.py:", done.stderr)
        self.assertIn("missing models/fr_feature.onnx", done.stdout)
        self.assertIn("missing models/fr_feature.fast.onnx", done.stdout)


if __name__ == "__main__":
    unittest.main()
