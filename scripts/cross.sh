#!/usr/bin/env bash
# Builds menshen for the gate (aarch64, Debian 12) on a Debian 12 machine without containers.
#
#   scripts/cross.sh                    target/aarch64-unknown-linux-gnu/release/menshen, and what it needs
#   scripts/cross.sh test NAME [ARG]…   the test program NAME of tests/ ("lib": those of the library) to run on
#                                       a gate; prints its path; arguments go to cargo
#   scripts/cross.sh cargo ARGUMENT…    any cargo command for the gate, such as: clippy --all-targets
#   scripts/cross.sh setup              only gets the compiler and the libraries
#
# The compiler is rustup's where it has the target or can get it, else Debian's rustc-web of
# bookworm-security, unpacked into ~/.cache/menshen (MENSHEN_CROSS_RUST=rustup|debian decides).
# MENSHEN_CROSS_PROFILE names another profile than release (tests: dev).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/debian.sh
. scripts/debian.sh

triple=aarch64-unknown-linux-gnu
home=${MENSHEN_CACHE:-$HOME/.cache/menshen}/cross
built=${CARGO_TARGET_DIR:-target}

say() { echo "cross: $*" >&2; }
die() {
    say "$*"
    exit 1
}

what=${1:-build}
case $what in
build | setup) [ $# -le 1 ] || die "usage: scripts/cross.sh [setup | test NAME [ARGUMENT]… | cargo ARGUMENT…]" ;;
test | cargo) [ $# -ge 2 ] || die "usage: scripts/cross.sh $what …" ;;
*) die "usage: scripts/cross.sh [setup | test NAME [ARGUMENT]… | cargo ARGUMENT…]" ;;
esac
[ "$what" = build ] || shift

for tool in aarch64-linux-gnu-gcc aarch64-linux-gnu-ar aarch64-linux-gnu-objdump pkg-config; do
    command -v $tool >/dev/null || die "there is no $tool: run scripts/setup.sh cross"
done
mkdir -p "$home"
exec 9>"$home/lock"
flock 9

# ---- the compiler ----------------------------------------------------------------------------

needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -1)" = "$1" ]; }

rustup_has() { rustup target list --installed 2>/dev/null | grep -qx $triple; }

use_rustup() {
    command -v rustup >/dev/null || return 1
    at_least "$needed" "$(rustc -V 2>/dev/null | cut -d' ' -f2)" || return 1
    rustup_has && return 0
    [ -e "$home/rust/ready" ] && [ "${MENSHEN_CROSS_RUST:-}" != rustup ] && return 1
    say "asking rustup for the target $triple"
    timeout 300 rustup target add $triple >"$home/rustup.log" 2>&1 && return 0
    say "rustup cannot get it ($(grep -m1 -iE 'error|could not' "$home/rustup.log" || echo "no answer")): taking Debian's compiler"
    return 1
}

# Debian's rustc-web is newer than its rustc: the security team builds browsers with it. Only unpacked: it
# conflicts with rustup's and Debian's own, and the machine's packages are none of our business.
use_debian() {
    local rust=$home/rust version release
    debian_update
    version=$(debian_cache host policy libstd-rust-web-dev:arm64 | sed -n 's/^  Candidate: //p')
    release=$(grep -oE '^[0-9]+\.[0-9]+' <<<"$version") ||
        die "Debian's archives have no libstd-rust-web-dev:arm64: is bookworm-security in apt's sources?"
    at_least "$needed" "$release.0" || die "Debian has Rust $release, Menshen needs $needed or newer: use rustup"
    if [ "$(cat "$rust/ready" 2>/dev/null)" != "$version" ]; then
        say "unpacking Debian's Rust $release into $rust"
        local log files
        # What this machine lacks of the compiler and of cargo, as apt would install them.
        log=$(debian_apt host -s --no-install-recommends install rustc-web cargo-web libstd-rust-web-dev 2>&1) ||
            die "Debian's compiler does not fit this machine: $(grep -m1 '^E' <<<"$log")"
        files=$({
            sed -nE "s/^Inst ([^ ]+) \(([^ ]+) .*\[$DEBIAN_HOST\].*/\1:$DEBIAN_HOST=\2/p" <<<"$log"
            echo "libstd-rust-web-dev:arm64=$version"
        } | debian_sums host | debian_fetch)
        rm -rf "$rust" "$rust.new"
        mkdir -p "$rust.new"
        while read -r file; do dpkg-deb -x "$file" "$rust.new"; done <<<"$files"
        # The compiler finds its own library beside it, wherever it lies.
        local name
        for name in rustc cargo rustdoc clippy-driver; do
            [ -x "$rust.new/usr/bin/$name" ] || continue
            mkdir -p "$rust.new/bin"
            # shellcheck disable=SC2016 # for the script that is written
            printf '#!/bin/sh\nhere=$(dirname "$0")/..\nLD_LIBRARY_PATH=$here/usr/lib/%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/usr/bin/%s" "$@"\n' \
                "$(gcc -print-multiarch)" $name >"$rust.new/bin/$name"
            chmod +x "$rust.new/bin/$name"
        done
        "$rust.new/bin/rustc" -V >/dev/null || die "Debian's compiler does not run here: see above"
        echo "$version" >"$rust.new/ready"
        mv "$rust.new" "$rust"
    fi
    export RUSTC=$rust/bin/rustc
    local cargo
    cargo=$("${CARGO:-cargo}" -V 2>/dev/null | cut -d' ' -f2) || cargo=0
    at_least "$needed" "${cargo:-0}" || export CARGO=$rust/bin/cargo
}

case ${MENSHEN_CROSS_RUST:-any} in
rustup) use_rustup || die "rustup has no $triple" ;;
debian) use_debian ;;
any) use_rustup || use_debian ;;
*) die "MENSHEN_CROSS_RUST must be rustup or debian" ;;
esac
CARGO=${CARGO:-cargo}

# ---- libraries to link with ------------------------------------------------------------------

# Unpacked beside each other, headers and libraries of one Debian; never on this machine.
sysroot=$home/sysroot
mapfile -t names < <(sed -n 's/^target \([^ ]*\).*/\1/p' scripts/cross-packages.txt)
if [ ${#names[@]} -gt 0 ]; then
    debian_update
    # With what they need; but the C library is the cross compiler's own.
    lines=$(debian_resolve "${names[@]}" | grep -vE '^(libc6|libc6-dev|libc-dev-bin|linux-libc-dev|libcrypt1|libcrypt-dev|gcc-12-base|libgcc-s1|libnsl-dev|libtirpc.*|libnsl2|rpcsvc-proto|libcom-err2|libk.*|libgssapi.*|libssl3|debconf|perl-base|dpkg|tar) ')
    if [ "$(cat "$sysroot/ready" 2>/dev/null)" != "$lines" ]; then
        say "unpacking libraries for the gate: ${names[*]}"
        files=$(debian_fetch <<<"$lines")
        rm -rf "$sysroot" "$sysroot.new"
        mkdir -p "$sysroot.new"
        while read -r file; do dpkg-deb -x "$file" "$sysroot.new"; done <<<"$files"
        echo "$lines" >"$sysroot.new/ready"
        mv "$sysroot.new" "$sysroot"
    fi
    export PKG_CONFIG_ALLOW_CROSS=1
    export PKG_CONFIG_SYSROOT_DIR_aarch64_unknown_linux_gnu=$sysroot
    export PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu=$sysroot/usr/lib/aarch64-linux-gnu/pkgconfig:$sysroot/usr/share/pkgconfig
fi
flock -u 9
[ "$what" != setup ] || exit 0

# ---- the build -------------------------------------------------------------------------------

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--target=aarch64-linux-gnu --sysroot=/usr/aarch64-linux-gnu -I/usr/aarch64-linux-gnu/include"
# Folders of this machine do not belong into a program that is shipped, and two machines build the same bytes.
from=("$PWD=menshen" "${CARGO_HOME:-$HOME/.cargo}=cargo" "$(realpath -m "$built")=target" "$sysroot=sysroot" "$home/rust=rust")
rustflags=${RUSTFLAGS:-} cflags=${CFLAGS:-}
for pair in "${from[@]}"; do
    rustflags+=" --remap-path-prefix=$pair"
    cflags+=" -ffile-prefix-map=$pair"
done
# The program knows the day of its build: that of the commit, so that two builds of it are the same. A day only,
# because a change of it has C code compiled anew.
day=$(git log -1 --format=%ct 2>/dev/null) && export SOURCE_DATE_EPOCH=$((day / 86400 * 86400))
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$rustflags CFLAGS_aarch64_unknown_linux_gnu=$cflags
unset RUSTFLAGS

case $what in
build)
    profile=${MENSHEN_CROSS_PROFILE:-release}
    "$CARGO" build --locked --target $triple --profile "$profile" --bin menshen
    program=$built/$triple/${profile/#dev/debug}/menshen
    # Of the symbols that it takes from the C library, the newest version: what the gate must have at least.
    glibc=$(aarch64-linux-gnu-objdump -T "$program" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
    libraries=$(aarch64-linux-gnu-objdump -p "$program" | awk '/NEEDED/ { print $2 }' | paste -sd' ')
    size=$(stat -c %s "$program")
    echo "cross: $program: $(awk "BEGIN { printf \"%.1f\", $size / 1048576 }") MiB ($size bytes, stripped), needs ${glibc/GLIBC_/glibc } and $libraries"
    ;;
cargo)
    "$CARGO" "$1" --target $triple "${@:2}"
    ;;
test)
    name=$1
    shift
    case $name in
    lib) which=(--lib) ;;
    *) which=(--test "$name") ;;
    esac
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    "$CARGO" test --locked --target $triple --profile "${MENSHEN_CROSS_PROFILE:-dev}" "${which[@]}" --no-run \
        --message-format=json-render-diagnostics "$@" >"$log"
    program=$(python3 -c '
import json, sys
found = [m["executable"] for m in map(json.loads, open(sys.argv[1])) if m.get("executable") and m["profile"]["test"]]
print(*found, sep="\n")' "$log")
    [ -n "$program" ] && [ "$(wc -l <<<"$program")" = 1 ] || die "cargo built no single test program $name"
    mkdir -p "$built/$triple/tests"
    aarch64-linux-gnu-strip -o "$built/$triple/tests/$name" "$program"
    echo "$built/$triple/tests/$name"
    ;;
esac
