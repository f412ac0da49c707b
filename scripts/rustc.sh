# Sourced: a compiler for what the set-up builds and runs on this machine.
# shellcheck shell=bash

# RUSTC for models/ocrb/build.py: this machine's where it is at least as new as Menshen wants one, else Debian's, which
# scripts/cross.sh has unpacked. Unset where there is none: who needs one says so.
choose_rustc() {
    local needed found unpacked=${MENSHEN_CACHE:-$HOME/.cache/menshen}/cross/rust/bin/rustc
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$("${RUSTC:-rustc}" -V 2>/dev/null | cut -d' ' -f2) || found=
    [ -n "$found" ] && [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -1)" = "$needed" ] && return 0
    [ ! -x "$unpacked" ] || export RUSTC=$unpacked
}
