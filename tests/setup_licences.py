#!/usr/bin/env python3
"""Every crate that may be linked into a gate has a licence that deny.toml allows and comes from the registry.

The part of `make deny` that must hold at every change, without building cargo-deny for it.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


def allowed(expression, licences):
    """Does an SPDX expression (OR, AND, parentheses; a slash is an old OR) leave a choice within `licences`?"""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            if not tokens or tokens.pop(0) != ")":
                raise ValueError(expression)
            return result
        if tokens and tokens[0] == "WITH":
            token = f"{token} {tokens.pop(0)} {tokens.pop(0)}"
        return token in licences

    result = either()
    if tokens:
        raise ValueError(expression)
    return result


class Licences(unittest.TestCase):
    def test_expressions(self):
        for expression, expected in (("MIT", True), ("GPL-3.0", False), ("MIT OR GPL-3.0", True), ("GPL-3.0 OR MIT", True),
                                     ("MIT AND GPL-3.0", False), ("GPL-3.0 AND MIT", False), ("MIT/Zlib", True),
                                     ("(GPL-3.0 OR MIT) AND Zlib", True), ("(GPL-3.0 OR MIT) AND BSD", False),
                                     ("GPL-3.0 OR MIT AND BSD", False), ("MIT WITH LLVM-exception", False)):
            self.assertEqual(allowed(expression, {"MIT", "Zlib"}), expected, expression)

    def test_models_that_are_trained_here_are_named_with_what_they_were_drawn_from(self):
        sys.path.insert(0, str(TOP / "scripts"))
        import licences

        text, missing = licences.models("aarch64-unknown-linux-gnu")
        trained = tomllib.loads((TOP / "models/models.toml").read_text())["train"]
        self.assertIn("models/ocrb.onnx", [t["to"] for t in trained])
        for t in trained:
            self.assertIn(f"{Path(t['to']).name}, trained by models/{t['script']}: {t['what']}", text)
            self.assertIn(t["licence"], text)
            self.assertFalse([line for line in missing if t["to"] in line])
        self.assertIn("Norbert Schwarz", text)

    def test_every_crate(self):
        deny = tomllib.loads((TOP / "deny.toml").read_text())
        licences, seen = set(deny["licenses"]["allow"]), set()
        for target in deny["graph"]["targets"]:
            done = subprocess.run([os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--format-version", "1",
                                   "--filter-platform", target], cwd=TOP, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            metadata = json.loads(done.stdout)
            used = {node["id"] for node in metadata["resolve"]["nodes"]}
            seen |= {(p["name"], p["version"], p["license"] or "", p["source"]) for p in metadata["packages"] if p["id"] in used}
        self.assertGreater(len(seen), 50)
        # One registry for all: a fork in a git repository, a folder or a second registry would escape the pins.
        sources = {source for name, _, _, source in seen if name != "menshen"}
        self.assertEqual(len(sources), 1, sources)
        self.assertTrue(str(*sources).startswith("registry+"), sources)
        for name, version, licence, _ in sorted(seen, key=str):
            with self.subTest(crate=f"{name} {version}"):
                self.assertTrue(licence and allowed(licence, licences), f"licence {licence!r} is not in deny.toml")


if __name__ == "__main__":
    unittest.main()
