#!/usr/bin/env bash
# cargo-deny over deny.toml. Licences, bans and sources need nothing from outside; the advisory
# database is fetched from its own server, and where that cannot be reached this says so.
#
#   scripts/deny.sh                 builds cargo-deny once when it is not there (about three minutes)
#   scripts/deny.sh --if-installed  without cargo-deny, says that this was left out
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
PATH=$PWD/.setup/cargo/bin:$PATH
if ! cargo deny --version 2>/dev/null | grep -qx "cargo-deny $version"; then
    if [ "${1:-}" = --if-installed ]; then
        echo "deny: LEFT OUT: bans and advisories, because cargo-deny $version is not installed; make deny builds it and checks all." >&2
        echo "deny: licences and sources were checked by tests/setup_licences.py" >&2
        exit 0
    fi
    echo "deny: building cargo-deny $version once into .setup/cargo (about three minutes)" >&2
    cargo install --locked --root .setup/cargo cargo-deny --version "=$version"
fi

cargo fetch --locked
cargo deny --offline --locked check bans licenses sources
echo "deny: checked: bans, licences, sources"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if cargo deny --locked check advisories >"$log" 2>&1; then
    cat "$log"
    echo "deny: checked: advisories"
elif grep -qE 'failed to fetch advisory database|failed to clone|failed to load advisory database' "$log"; then
    echo "deny: NOT checked: advisories; the advisory database cannot be reached from here:"
    grep -m1 -iE 'failed|error' "$log" | sed 's/^/  /'
else
    cat "$log"
    exit 1
fi
