#!/usr/bin/env bash
# Kernel modules that the emulated gate has beside the product image: gpio-sim and v4l2loopback, which
# Debian does not build, compiled for Debian 12's own arm64 kernel; vivid, snd-aloop and others out of
# the kernel's package, as the image need not carry them.
#
#   scripts/gate/modules.sh [RELEASE]
#
# RELEASE is the kernel's, such as 6.1.0-50-arm64 (what `uname -r` says on the gate); without it, that
# of the kernel that apt would install now. Prints the folder where the modules lie, with a file `order`: one module
# a line, each after those it needs. A second run with the same kernel only prints.
#
# Packages come from where apt is configured to get them (scripts/debian.sh), into the cache. Nothing of
# it is committed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../debian.sh"
PATH=$PATH:/usr/sbin:/sbin

say() { echo "gate: $*" >&2; }
die() {
    say "$*"
    exit 1
}

# The release of the kernel that linux-image-arm64 stands for now.
newest_kernel() {
    debian_update
    debian_cache host show linux-image-arm64:arm64 | sed -nE 's/^Depends: linux-image-([^ ,]*).*/\1/p' | head -n 1
}

# Packages into the cache; prints their files.
packages() {
    debian_update
    debian_latest "$@" | debian_fetch
}

# Out of the kernel's package, with all that they need.
stock=(videodev videobuf2-vmalloc vivid snd-aloop i6300esb virtio_console 9pnet_virtio 9p)

release=${1:-$(newest_kernel)}
version=${release%-arm64} # 6.1.0-50
series=${release%%.0-*}   # 6.1
cache=${MENSHEN_CACHE:-${HOME:?}/.cache/menshen}/modules
out=$cache/$release
stamp=$(sha256sum <"$here/modules.sh" | cut -c1-16)
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then
    echo "$out"
    exit
fi

for tool in aarch64-linux-gnu-gcc make dpkg-deb modprobe depmod xz; do
    command -v $tool >/dev/null || die "there is no $tool: run scripts/setup.sh gate"
done
work=$cache/.$release.$$
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root" "$work/image" "$work/out"

say "kernel modules for $release"
debs=$(packages "linux-image-$release:arm64" "linux-headers-$release:arm64" "linux-headers-$version-common" \
    "linux-kbuild-$series:$DEBIAN_HOST" v4l2loopback-dkms)
while read -r file; do
    case $file in
    */linux-image-*) dpkg-deb -x "$file" "$work/image" ;;
    *) dpkg-deb -x "$file" "$work/root" ;;
    esac
done <<<"$debs"

# Of the kernel's source only three files; the package has 140 MB and is not kept.
sources=$cache/source-$release
if [ ! -e "$sources/irq_sim.c" ]; then
    mkdir -p "$sources.$$"
    tarball=$(packages "linux-source-$series")
    dpkg-deb --fsys-tarfile "$tarball" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
        tar -xJ -C "$sources.$$" --strip-components=1 --wildcards '*/drivers/gpio/gpio-sim.c' '*/drivers/gpio/gpiolib.h' '*/kernel/irq/irq_sim.c'
    find "$sources.$$" -type f -exec mv -t "$sources.$$" {} +
    rm -r "$sources.$$"/*/
    rm -rf "${sources:?}"
    mv "$sources.$$" "$sources"
    rm -f "$tarball"
fi

# The packages' links are absolute: they are pointed into this folder.
usr=$work/root/usr
headers=$usr/src/linux-headers-$release
sed -i "s#/usr/src/#$usr/src/#g; s#/usr/lib/linux-kbuild#$usr/lib/linux-kbuild#g" "$headers/Makefile"
if [ -e "$headers/.kernelvariables" ]; then
    sed -i "s#/usr/src/#$usr/src/#g; s#/usr/lib/linux-kbuild#$usr/lib/linux-kbuild#g" "$headers/.kernelvariables"
fi
for folder in "$headers" "$usr/src/linux-headers-$version-common"; do
    for name in scripts tools; do
        rm -rf "${folder:?}/$name"
        ln -s "$usr/lib/linux-kbuild-$series/$name" "$folder/$name"
    done
done

# irq_sim is part of a kernel with gpio-sim; Debian's has neither, so here it is a module. The one
# function that the kernel does not export to modules has an exported twin.
mkdir -p "$work/gpio"
cp "$sources"/{gpio-sim.c,gpiolib.h,irq_sim.c} "$work/gpio/"
sed -i '0,/#include <linux\/slab.h>/s//#include <linux\/slab.h>\n#include <linux\/irqdesc.h>\n#define irq_to_desc(i) irq_data_to_desc(irq_get_irq_data(i))/' "$work/gpio/irq_sim.c"
cat >"$work/gpio/Kbuild" <<'KBUILD'
obj-m += irq-sim.o gpio-sim.o
irq-sim-y := irq_sim.o licence.o
KBUILD
printf '#include <linux/module.h>\nMODULE_LICENSE("GPL");\n' >"$work/gpio/licence.c"
cp -r "$usr"/src/v4l2loopback-* "$work/v4l2loopback"
for part in gpio v4l2loopback; do
    make -s -C "$headers" M="$work/$part" ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- modules >"$work/$part.log" 2>&1 || {
        cat "$work/$part.log" >&2
        die "$part cannot be built for $release"
    }
done

aarch64-linux-gnu-strip -g "$work"/gpio/*.ko "$work"/v4l2loopback/*.ko
# modprobe knows what needs what once all lie in one tree.
tree=$work/image
[ -d "$tree/lib/modules/$release" ] || tree=$work/image/usr
mkdir -p "$tree/lib/modules/$release/extra"
cp "$work"/gpio/*.ko "$work"/v4l2loopback/*.ko "$tree/lib/modules/$release/extra/"
depmod -b "$tree" "$release" 2>/dev/null
for name in "${stock[@]}" irq-sim gpio-sim v4l2loopback; do
    modprobe -d "$tree" -S "$release" --show-depends "$name" >"$work/depends" || die "the kernel $release has no module $name"
    sed -nE 's/^insmod ([^ ]+).*/\1/p' "$work/depends"
done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$work/out/"
    basename "$file" >>"$work/out/order"
done
echo "$stamp" >"$work/out/stamp"
rm -rf "$out"
mv "$work/out" "$out"
echo "$out"
