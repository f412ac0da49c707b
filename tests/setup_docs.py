#!/usr/bin/env python3
"""The documents say what is there: links lead somewhere, commands of make exist, messages are the program's own."""

import re
import unittest
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
DOCUMENTS = [TOP / "README.md", TOP / "CHANGELOG.md", TOP / "models/README.md", *sorted((TOP / "docs").glob("*.md"))]


def messages():
    """All that the sources could print, without Rust's line breaks inside strings; a value is "…"."""
    files = [*TOP.glob("src/**/*.rs"), *TOP.glob("scripts/*.sh"), *TOP.glob(".ci/run"), *TOP.glob("models/*.py")]
    text = "\n".join(f.read_text() for f in files)
    text = re.sub(r"\\\n\s*", "", text)
    text = re.sub(r'"\n\s*f?"', "", text)  # Python's strings side by side
    text = re.sub(r'"\s*"\$\w+"', "…", text)
    return re.sub(r"\$?\{[^{}\n]*\}|\$\w+", "…", text)


class Documents(unittest.TestCase):
    def test_links_lead_somewhere(self):
        for document in DOCUMENTS:
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
                if not link.startswith(("http://", "https://")):
                    with self.subTest(document=document.name, link=link):
                        self.assertTrue((document.parent / link).exists())

    def test_commands_of_make_exist(self):
        targets = set(re.findall(r"^(\w+):", (TOP / "Makefile").read_text(), re.M))
        for document in DOCUMENTS:
            text = document.read_text()
            named = re.findall(r"`make (\w+)`", text) + re.findall(r"^make (\w+)$", text, re.M)
            self.assertLessEqual(set(named), targets, document.name)

    def test_folders_and_files_exist(self):
        for name in re.findall(r"`((?:src|models|scripts|tests|docs)/[\w./]*)`", (TOP / "README.md").read_text()):
            with self.subTest(name=name):
                self.assertTrue((TOP / name).exists())

    def test_messages_are_the_program_s_own(self):
        said, seen = messages(), 0
        rows = [r for r in (TOP / "docs/troubleshoot.md").read_text().splitlines() if r.startswith("|")]
        for phrase in (p for r in rows for p in re.findall(r"\*\*(.+?)\*\*", r.split("|")[1])):
            with self.subTest(message=phrase):
                parts = [re.escape(part.strip()) for part in phrase.split("…")]
                self.assertRegex(said, r"[^\n]{0,80}?".join(parts))
                seen += 1
        self.assertGreater(seen, 30)


if __name__ == "__main__":
    unittest.main()
