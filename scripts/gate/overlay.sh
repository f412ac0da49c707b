#!/usr/bin/env bash
# What the emulated gate has beside the product image, as a folder for MENSHEN_IMAGE_OVERLAY: kernel
# modules, the tools of the rig, its units and configuration, and Debian's arecord.
#
#   scripts/gate/overlay.sh FOLDER [RELEASE]    RELEASE of the kernel: see modules.sh
#
# Prints FOLDER. Never part of a product image: it holds a root shell for the tester.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:?the folder to make}
modules=$("$here/modules.sh" ${2:+"$2"})
. "$here/../debian.sh"

rm -rf "$out"
mkdir -p "$out/usr/lib/gate-rig/modules"
cp -r "$here/overlay/." "$out/"
cp "$modules"/*.ko "$modules/order" "$out/usr/lib/gate-rig/modules/"
basename "$modules" >"$out/usr/lib/gate-rig/kernel"
aarch64-linux-gnu-gcc -std=gnu11 -O2 -static -Wall -Wextra -Werror -s \
    -o "$out/usr/lib/gate-rig/rig" "$here/guest/rig.c"

# arecord needs libc and libasound, which the product has.
debian_update
file=$(debian_latest alsa-utils:arm64 | debian_fetch)
dpkg-deb --fsys-tarfile "$file" | tar -xO ./usr/bin/aplay >"$out/usr/lib/gate-rig/arecord"
chmod 755 "$out/usr/lib/gate-rig/arecord"

# Units are enabled as systemctl would.
units=$out/etc/systemd/system
mkdir -p "$units/sysinit.target.wants" "$units/multi-user.target.wants"
ln -s ../gate-rig.service "$units/sysinit.target.wants/"
ln -s ../gate-rig-camera.service "$units/multi-user.target.wants/"
for port in shell trace; do
    ln -s ../gate-rig-shell@.service "$units/multi-user.target.wants/gate-rig-shell@$port.service"
done
echo "$out"
