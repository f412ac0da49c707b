#!/usr/bin/env python3
"""Boots the emulated gate to look at: its serial console here, its page in a browser, a simulated platform beside it.

    boot.py [--menshen FILE] [--image FILE] [--fresh]

What the gate writes is kept in .setup/gate/boot.img from one time to the next; --fresh forgets it. Ctrl-] switches the
gate off, as pulling the plug does.
"""

import argparse
import os
import select
import sys
import termios
import tty
from pathlib import Path

import power
from acceptance import Site, firmware
from gate import ROOT, TOKEN, WORK, Failed, say


def proxy(console):
    """The gate's serial line on this terminal until Ctrl-]."""
    before = termios.tcgetattr(0) if os.isatty(0) else None
    if before:
        tty.setraw(0)
    at = 0
    try:
        while not console.gone:
            data = console.since(at)
            at += len(data)
            while data:
                data = data[os.write(1, data):]
            if select.select([0], [], [], 0.05)[0]:
                typed = os.read(0, 1024)
                if not typed or b"\x1d" in typed:
                    return
                console.send(typed)
    finally:
        if before:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--menshen", default=str(ROOT / "target/debug/menshen"))
    parser.add_argument("--image", type=Path, default=ROOT / "target/gate/gate.img")
    parser.add_argument("--fresh", action="store_true", help="begin with the image as it was built")
    options = parser.parse_args()
    options.tests = options.bundles = None
    options.boot, options.seed = firmware(), 0
    disk = WORK / "boot.img"
    disk.parent.mkdir(parents=True, exist_ok=True)
    if options.fresh or not disk.exists():
        power.copy(options.image, disk)
    site = Site(options)
    try:
        gate = site.switch_on(disk)
        say(f"the page will be at http://127.0.0.1:{gate.page_port}/ (token {TOKEN}); Ctrl-] pulls the plug")
        say(f"chip cards: {options.menshen} simulate card --interactive --vpcd 127.0.0.1:{gate.reader.port}")
        say(f"faces before the camera: in a root shell there, ln -sfn scenes/enrolled /run/gate-rig/scene ({', '.join(sorted(path.name for path in (site.host / 'scenes').iterdir()))})")
        proxy(gate.console)
    finally:
        site.close()


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        say(failure)
        sys.exit(1)
