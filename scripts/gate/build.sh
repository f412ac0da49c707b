#!/usr/bin/env bash
# Builds the emulated gate in target/gate: the product's image with the rig laid over it. With "test", what its
# acceptance needs as well: bundles of a version that works and of one that does not, and the drivers' own tests; with
# "thorough", a bundle too that is newer than both.
#
#   scripts/gate/build.sh [test | thorough]
#
#   MENSHEN_BINARY=FILE   this program for aarch64 instead of what scripts/cross.sh builds
set -euo pipefail
cd "$(dirname "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin
built=${CARGO_TARGET_DIR:-target}
out=$built/gate
password=${MENSHEN_GATE_PASSWORD:-menshen-gate}

say() { echo "gate: $*" >&2; }

case ${1:-} in
'' | test | thorough) ;;
*)
    echo "usage: scripts/gate/build.sh [test | thorough]" >&2
    exit 2
    ;;
esac

# The rig's modules are those of the kernel that the image has: both take the newest of Debian 12, and the image
# refuses a package set without it.
overlay=$out/overlay
mkdir -p "$out"
scripts/gate/overlay.sh "$overlay" >/dev/null
hash=$(openssl passwd -6 -salt emulated.gate "$password")
MENSHEN_IMAGE_OVERLAY=$overlay MENSHEN_IMAGE_OUT=$out MENSHEN_TECHNICIAN_HASH=$hash scripts/image.sh
release=$(sed -n 's/^release=//p' "$out/gate.kernel")
[ "$release" = "$(cat "$overlay/usr/lib/gate-rig/kernel")" ] || {
    say "the image has the kernel $release, the rig's modules are for $(cat "$overlay/usr/lib/gate-rig/kernel"): run this again"
    exit 1
}
[ -n "${1:-}" ] || exit 0

# Versions to update to are copies of the root filesystem with another number; what differs is written into them.
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
bundle() { # NAME FILE-IN-THE-GATE CONTENT [FILE-IN-THE-GATE CONTENT]…
    local name=$1 root=$out/root-$1.ext4 number=$version+$((++bundles)).$1
    shift
    cp --sparse=always --reflink=auto "$out/root.ext4" "$root"
    debugfs -R "cat /usr/lib/os-release" "$root" 2>/dev/null | sed "s/^IMAGE_VERSION=.*/IMAGE_VERSION=$number/" >"$out/content"
    replace "$root" /usr/lib/os-release "$out/content"
    while [ $# -gt 0 ]; do
        printf '%s' "$2" >"$out/content"
        replace "$root" "$1" "$out/content"
        shift 2
    done
    rm -f "$out/content"
    e2fsck -f -n "$root" >"$out/fsck.log" 2>&1 || { cat "$out/fsck.log" >&2 && exit 1; }
    MENSHEN_VERSION=$number scripts/bundle.sh "$root" "$out/bundles/$name.raucb"
    rm -f "$root"
}
replace() { # IMAGE PATH FILE
    # debugfs makes a folder a second time where it is there already, which damages the file system.
    debugfs -R "stat ${2%/*}" "$1" 2>&1 | grep -q '^Inode:' || debugfs -w -R "mkdir ${2%/*}" "$1" >/dev/null 2>&1
    debugfs -w -f - "$1" >/dev/null 2>&1 <<COMMANDS
rm $2
write $3 $2
sif $2 mode 0100644
COMMANDS
    cmp -s "$3" <(debugfs -R "cat $2" "$1" 2>/dev/null) || { say "$2 could not be written into $1" && exit 1; }
}
mkdir -p "$out/bundles"
say "bundles"
# Each is newer than the one before.
bundles=0
bundle good
# Its agent ends at once; its judge has less patience than the product's five minutes.
bundle bad /etc/systemd/system/menshen.service.d/broken.conf $'[Service]\nExecStart=\nExecStart=/bin/false\n' \
    /etc/systemd/system/menshen-healthy.service.d/soon.conf \
    $'[Service]\nExecStart=\nExecStart=/usr/bin/menshen healthy --confirm --within 15 --steady 5\n'
[ "$1" = test ] || bundle newer

say "the drivers' own tests"
mkdir -p "$out/tests"
for name in camera_v4l2 gpio_lines; do
    cp "$(MENSHEN_CROSS_PROFILE=release scripts/cross.sh test $name | tail -n 1)" "$out/tests/$name"
done
