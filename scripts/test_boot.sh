#!/usr/bin/env bash
# Runs the boot script in U-Boot, on an emulated machine with tiny slots: updates that are good and bad, attempts
# that are used up, power cuts. Takes a minute or two; scripts/setup.sh test brings what it needs.
#
#   MENSHEN=FILE   the program (default: built here)
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

for tool in qemu-system-aarch64 mkimage mcopy mkfs.vfat mke2fs sfdisk python3; do
    command -v $tool >/dev/null || {
        echo "test_boot: there is no $tool: run scripts/setup.sh test" >&2
        exit 1
    }
done
[ -e /usr/lib/u-boot/qemu_arm64/u-boot.bin ] || {
    echo "test_boot: there is no U-Boot for QEMU: run scripts/setup.sh test" >&2
    exit 1
}
if [ -z "${MENSHEN:-}" ]; then
    cargo build --locked --quiet
    MENSHEN=${CARGO_TARGET_DIR:-target}/debug/menshen
fi
MENSHEN=$(realpath "$MENSHEN") exec python3 tests/boot/test_boot.py "$@"
