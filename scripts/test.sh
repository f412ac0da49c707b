#!/usr/bin/env bash
# Every test that a laptop can run, then what was left out. Arguments go to cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."

.setup/venv/bin/python tests/setup_fetch.py
.setup/venv/bin/python tests/setup_optimise.py
.setup/venv/bin/python tests/setup_licences.py
.setup/venv/bin/python tests/setup_docs.py
.setup/venv/bin/python tests/setup_gate.py
.setup/venv/bin/python tests/setup_cross.py
.setup/venv/bin/python tests/setup_rootfs.py

scripts/test_boot.sh

log=.setup/test.log
cargo test --locked --no-fail-fast "$@" 2>&1 | tee $log

# cargo test's closing line of each program: "test result: ok. 12 passed; 0 failed; 3 ignored; …".
sum() { grep -E '^test result:' $log | grep -oE "[0-9]+ $1" | awk '{n += $1} END {print n + 0}'; }
echo
echo "In all: $(sum passed) passed, $(sum failed) failed, $(sum ignored) left out by name."
echo "Left out here, and how to run it:"
if [ "$(sum ignored)" -gt 0 ]; then
    sed -nE 's/^test (.*) \.\.\. ignored(, )?(.*)$/  \1: \3/p' $log
    echo "  these run with: cargo test --release -- --ignored"
fi
echo "  speed against other programs: make bench"
echo "  the code's form: make lint; licences and known holes of the crates: make deny"
echo "  the program for a gate, aarch64: make cross says its size and the glibc it needs; an image of a gate: make image"
echo "  boot, camera, wires, voice, platform, updates and power cuts on an emulated aarch64 gate: make test-gate (long)"
echo "  real relays, Wiegand and serial lines, and an infrared camera: on a gate, menshen doctor"
