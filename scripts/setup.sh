#!/usr/bin/env bash
# Sets up what Menshen needs on Debian 12 with a Rust toolchain, as root or with sudo.
#
#   scripts/setup.sh run     to build it and run the demonstration
#   scripts/setup.sh test    and to run the tests (a browser, a Chinese font, test pictures)
#   scripts/setup.sh bench   and to measure it against others (Python packages)
#   scripts/setup.sh cross   to build it for a gate (a C cross compiler, a Rust one for aarch64)
#   scripts/setup.sh image   and to build a gate's image and boot it in QEMU
#   scripts/setup.sh gate    and to build the emulated gate and run its acceptance
#
# Installs only what is missing and says what it does; a second run ends within a second. All that
# is not a Debian package goes to .setup/ and models/, and may be deleted.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-}
case $what in
run | test | bench | cross | image | gate) ;;
*)
    echo "usage: scripts/setup.sh run|test|bench|cross|image|gate" >&2
    exit 2
    ;;
esac

say() { echo "setup: $*" >&2; }
die() {
    echo "setup: $*" >&2
    exit 1
}

mkdir -p .setup/stamps
exec 9>.setup/lock
if ! flock -n 9; then
    say "another set-up is running here; waiting for it"
    flock 9
fi

# ---- Debian packages -------------------------------------------------------------------------

# Asked by what is there, not by package: a machine may have got it another way.
missing=()
have() { command -v "$1" >/dev/null 2>&1; }
any() { compgen -G "$1" >/dev/null; }

have cc || missing+=(gcc libc6-dev)
have make || missing+=(make)
have pkg-config || missing+=(pkg-config)
[ -e /usr/include/alsa/asoundlib.h ] || missing+=(libasound2-dev) # the loudspeaker
[ -e /usr/include/PCSC/winscard.h ] || missing+=(libpcsclite-dev) # readers of chip cards
have espeak-ng || missing+=(espeak-ng)                             # its sentences
have npm || missing+=(npm) # two models come from npm packages
[ -e /usr/share/fonts/opentype/ocr-b/OCRB.otf ] || missing+=(fonts-ocr-b) # a third is trained on its outlines
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
# Crates that read C headers at build time (bindgen) need libclang.
if grep -qs '^name = "clang-sys"' Cargo.lock; then
    any '/usr/lib/llvm-*/lib/libclang*.so*' || [ -n "${LIBCLANG_PATH:-}" ] || missing+=(libclang-dev)
fi
if [ "$what" = test ]; then
    have chromium || missing+=(chromium)
    have chromedriver || missing+=(chromium-driver)
    # A card service of the tests' own, with virtual cards.
    have pcscd || [ -x /usr/sbin/pcscd ] || missing+=(pcscd libccid)
    [ -e /usr/lib/pcsc/drivers/serial/libifdvpcd.so ] || missing+=(vsmartcard-vpcd)
    any '/usr/share/fonts/*/wqy*/*' || any '/usr/share/fonts/*/noto/*CJK*' || missing+=(fonts-wqy-microhei)
fi
if [ "$what" = cross ] || [ "$what" = image ] || [ "$what" = gate ]; then
    have aarch64-linux-gnu-gcc || missing+=(gcc-aarch64-linux-gnu)
    [ -e /usr/aarch64-linux-gnu/include/stdio.h ] || [ "$(uname -m)" = aarch64 ] || missing+=(libc6-dev-arm64-cross)
    have file || missing+=(file)
fi
# The boot script runs in U-Boot, updates in RAUC.
if [ "$what" = image ] || [ "$what" = gate ] || [ "$what" = test ]; then
    have mkimage || missing+=(u-boot-tools)
    have qemu-system-aarch64 || missing+=(qemu-system-arm)
    [ -e /usr/lib/u-boot/qemu_arm64/u-boot.bin ] || missing+=(u-boot-qemu)
    have mke2fs || [ -x /usr/sbin/mke2fs ] || missing+=(e2fsprogs)
    have mkfs.vfat || [ -x /usr/sbin/mkfs.vfat ] || missing+=(dosfstools)
    have mcopy || missing+=(mtools)
    have sfdisk || [ -x /usr/sbin/sfdisk ] || missing+=(fdisk)
    have rauc || missing+=(rauc)
    have mksquashfs || missing+=(squashfs-tools)
    have openssl || missing+=(openssl)
    have dbus-daemon || missing+=(dbus-daemon)
fi
if [ "$what" = image ] || [ "$what" = gate ]; then
    have depmod || [ -x /usr/sbin/depmod ] || missing+=(kmod)
    have cpio || missing+=(cpio)
    have zstd || missing+=(zstd)
    [ "$(id -u)" = 0 ] || have fakeroot || missing+=(fakeroot)
    # QEMU's network card has a ROM of its own.
    any '/usr/*/*/*/efi-virtio.rom' || any '/usr/share/qemu/efi-virtio.rom' || missing+=(ipxe-qemu)
fi

if [ "$what" = gate ]; then
    have xz || missing+=(xz-utils) # the kernel's sources, for the rig's modules
fi

# The first of these that is Python 3.11 or newer and can make environments.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.11 python3.12 python3.13; do
        if "$candidate" -S -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.version_info >= (3, 14))' 2>/dev/null &&
            "$candidate" -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("ensurepip") and u.find_spec("venv")))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}
venv=.setup/venv
if [ ! -x $venv/bin/python ]; then
    find_python >/dev/null || missing+=(python3 python3-venv)
fi

if [ ${#missing[@]} -gt 0 ]; then
    have apt-get || die "this machine has no apt-get; install by its own means: ${missing[*]}"
    root=()
    if [ "$(id -u)" != 0 ]; then
        have sudo || die "needs root or sudo to install: apt-get install --no-install-recommends ${missing[*]}"
        root=(sudo)
    fi
    say "installing Debian packages: ${missing[*]}"
    "${root[@]}" apt-get -o DPkg::Lock::Timeout=300 update -q >&2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}" >&2
fi

# Debian's own compiler of its security archive will do for a gate (scripts/cross.sh).
[ "$what" = cross ] || [ "$what" = image ] || have cargo || die "there is no cargo: install a Rust toolchain (rust-version in Cargo.toml or newer) and run this again"

if [ "$what" = cross ] || [ "$what" = image ] || [ "$what" = gate ]; then
    scripts/cross.sh setup
    [ "$what" != cross ] || exit 0
fi

# ---- Python environment ----------------------------------------------------------------------

# pip_install STAMP FILES OPTIONS...: once for each content of FILES.
pip_install() {
    local stamp=.setup/stamps/$1 files=() f
    IFS=, read -ra files <<<"$2"
    shift 2
    local sum
    sum=$(cat "${files[@]}" | sha256sum)
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$sum" ] && return
    local arguments=()
    for f in "${files[@]}"; do arguments+=(-r "$f"); done
    say "installing Python packages of ${files[*]} (pinned, with their sums) into $venv"
    PIP_DISABLE_PIP_VERSION_CHECK=1 $venv/bin/python -m pip install --require-hashes --no-deps --no-warn-script-location \
        "$@" "${arguments[@]}" >&2
    echo "$sum" >"$stamp"
}

# An environment whose Python has gone (an upgrade, a moved folder) is made anew.
if ! $venv/bin/python -S -c '' 2>/dev/null; then
    python=$(find_python) || die "needs Python 3.11 to 3.13 with venv: apt-get install python3 python3-venv"
    say "making a Python environment in $venv with $($python --version)"
    rm -rf $venv .setup/stamps/pip-*
    "$python" -m venv $venv
fi
pip_install pip-demo scripts/requirements-demo.txt --only-binary :all:
pip_install pip-models scripts/requirements-models.txt --only-binary :all:
if [ "$what" = bench ]; then
    pip_install pip-bench scripts/requirements-bench.txt --only-binary :all:
    pip_install pip-bench-source scripts/requirements-bench-source.txt --no-build-isolation
fi

# ---- models and pictures ---------------------------------------------------------------------

if [ "$what" = image ]; then
    exit
fi
$venv/bin/python models/fetch.py --for "${what/gate/run}"
scripts/voice.sh
$venv/bin/python scripts/demo_frames.py demo
if [ "$what" = test ]; then
    $venv/bin/python scripts/demo_frames.py test
    $venv/bin/python models/ocrb/build.py --outlines .setup/ocrb/outlines
fi
