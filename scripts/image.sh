#!/usr/bin/env bash
# Builds the image of a gate: target/image/gate.img, a whole disk to boot in QEMU or to write to a board's
# flash, and the same root filesystem by itself. Debian 12's arm64 packages are unpacked and set up without
# running anything of theirs, so neither binfmt nor a container is needed; a user who is not root goes through
# fakeroot.
#
#   scripts/image.sh                     builds it
#   scripts/image.sh compare DIR DIR     says whether two builds are the same bytes, and where they differ
#   scripts/image.sh boot [ARGUMENT…]    boots a copy of it in QEMU until it is ready for faces
#
#   MENSHEN_IMAGE_OUT=DIR         where it goes (default target/image)
#   MENSHEN_IMAGE_LOCK=FILE       exactly these packages: gate.packages of an earlier build
#   MENSHEN_IMAGE_OVERLAY=DIR     laid over the root filesystem at last, with its modes; several with ":" between
#   MENSHEN_IMAGE_MODULES="…"     further modules of Debian's kernel
#   MENSHEN_IMAGE_PACKAGES="…"    further Debian packages
#   MENSHEN_BINARY=FILE           this program instead of what scripts/cross.sh builds
#   MENSHEN_TECHNICIAN_HASH=HASH  password of the technician's login, as `mkpasswd` or `openssl passwd -6` print
#                                 it; without it every gate asks for one on the serial line at its first boot
#   MENSHEN_VERSION=TEXT          what the image calls itself (default: the version in Cargo.toml)
#   SOURCE_DATE_EPOCH             the date of all files (default: that of the last commit)
#
# Two builds from the same packages, program and models give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C TZ=UTC PATH=$PATH:/usr/sbin:/sbin
# shellcheck source=scripts/debian.sh
. scripts/debian.sh
# shellcheck source=scripts/rustc.sh
. scripts/rustc.sh

built=${CARGO_TARGET_DIR:-target}
out=$(realpath -m "${MENSHEN_IMAGE_OUT:-$built/image}")
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}

say() { echo "image: $*" >&2; }
die() {
    say "$*"
    exit 1
}
# The lines of a list in rootfs/ without comments.
list() { sed -E 's/(^|[[:space:]])#.*//; /^[[:space:]]*$/d' "$1"; }
mib() { awk "BEGIN { printf \"%.1f\", $1 / 1048576 }"; }

# ---- building ------------------------------------------------------------------------------

build() {
    for tool in mkimage mkenvimage mke2fs debugfs mkfs.vfat mcopy sfdisk cpio zstd modprobe depmod openssl; do
        command -v $tool >/dev/null || die "there is no $tool: run scripts/setup.sh image"
    done
    case ${MENSHEN_TECHNICIAN_HASH:-} in
    '') ;;
    \$*\$*\$*) [[ $MENSHEN_TECHNICIAN_HASH != *[!A-Za-z0-9./\$=,_+-]* ]] || die "MENSHEN_TECHNICIAN_HASH is no hash of a password" ;;
    *) die "MENSHEN_TECHNICIAN_HASH must be the hash of a password (openssl passwd -6), never the password" ;;
    esac
    mkdir -p "$out"
    exec 9>"$out/lock"
    flock -n 9 || die "another build is writing to $out"
    rm -rf "$out/work"
    mkdir -p "$out/work/share"

    local program=${MENSHEN_BINARY:-}
    if [ -z "$program" ]; then
        # Before the date is set, which would make cargo build C code anew after every commit.
        env -u SOURCE_DATE_EPOCH scripts/cross.sh
        program=$built/aarch64-unknown-linux-gnu/release/menshen
    fi
    file -b "$program" 2>/dev/null | grep -q 'ARM aarch64' || aarch64-linux-gnu-objdump -f "$program" 2>/dev/null | grep -q aarch64 ||
        die "$program is no program for aarch64"
    install -m 0755 "$program" "$out/work/menshen"

    say "models"
    local python=.setup/venv/bin/python
    [ -x $python ] || die "there is no Python environment: run scripts/setup.sh image"
    # One of them is trained here, by a program that is compiled first.
    choose_rustc
    $python models/fetch.py --for run --arch aarch64 --models "$out/models" >&2
    mkdir "$out/work/share/models"
    # What the manifest's optimised models are made of is not read on a gate.
    local name
    for name in models.toml libonnxruntime.so $(sed -nE 's/^file = "([a-z0-9_.]+\.onnx)".*/\1/p' models/models.toml | sort -u); do
        [ -e "$out/models/$name" ] || die "models/fetch.py made no $name"
        cp "$out/models/$name" "$out/work/share/models/"
    done
    if [ -x scripts/voice.sh ]; then
        say "voice"
        scripts/voice.sh "$out/work/share/voice" >&2
    fi
    $python scripts/licences.py --target aarch64-unknown-linux-gnu --models >"$out/work/licences.txt"

    debian_update
    local names lock=$out/work/gate.packages
    if [ -n "${MENSHEN_IMAGE_LOCK:-}" ]; then
        list "$MENSHEN_IMAGE_LOCK" >"$lock"
    else
        # shellcheck disable=SC2046,SC2086 # words
        debian_resolve $(list rootfs/packages | cut -d' ' -f1) ${MENSHEN_IMAGE_PACKAGES:-} >"$out/work/all"
        names=$(list rootfs/packages.drop)
        awk 'NR == FNR { drop[$1]; next } !($1 in drop)' <(echo "$names") "$out/work/all" >"$lock"
    fi
    debian_fetch <"$lock" >"$out/work/debs"

    if [ "$(id -u)" = 0 ]; then
        assemble
    else
        command -v fakeroot >/dev/null || die "needs root or fakeroot: run scripts/setup.sh image"
        export -f
        fakeroot -- "$0" assemble
    fi
    mv -f "$lock" "$out/gate.packages"
    rm -rf "$out/work"
    report
}

assemble() {
    work=$out/work root=$out/work/root
    mkdir -p "$root"/usr/{bin,sbin,lib} "$root"/{boot/env,data,dev,etc,mnt,proc,root,run,srv,sys,tmp,var,media}
    local d
    for d in bin sbin lib; do ln -s usr/$d "$root/$d"; done

    say "unpacking $(wc -l <"$work/debs") packages"
    local deb
    list rootfs/paths.drop >"$work/drop"
    while read -r deb; do
        case ${deb##*/} in
        linux-image-[0-9]*) kernel_deb=$deb && continue ;;
        linux-image-*) continue ;;
        esac
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --numeric-owner -p --keep-directory-symlink \
            --anchored --wildcards --exclude-from="$work/drop"
    done <"$work/debs"
    [ -n "${kernel_deb:-}" ] || die "no kernel among the packages"
    find "$root/usr/lib/systemd/catalog" -name '*.*.catalog' -delete

    # What the packages' own scripts would have done and a gate needs.
    ln -sf mawk "$root/usr/bin/awk"
    mkdir -p "$root/etc/ssl/certs"
    find "$root/usr/share/ca-certificates/mozilla" -name '*.crt' -print0 | sort -z | xargs -0 cat >"$root/etc/ssl/certs/ca-certificates.crt"
    ln -sf /usr/share/zoneinfo/Etc/GMT-8 "$root/etc/localtime"
    ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
    ln -sf ../proc/self/mounts "$root/etc/mtab"
    : >"$root/etc/machine-id"
    rm -rf "$root"/etc/{rauc,X11,kernel,pam.conf,issue.net,motd,update-motd.d,default/useradd,skel} "$root"/usr/games

    # Ours.
    tar -c -C rootfs/tree --owner=0 --group=0 . | tar -x -C "$root" --numeric-owner
    install -D -m 0755 "$work/menshen" "$root/usr/bin/menshen"
    mkdir -p "$root/usr/share/menshen" "$root/usr/share/doc/menshen"
    cp -R "$work/share/." "$root/usr/share/menshen/"
    install -m 0644 rootfs/menshen.toml "$root/usr/share/menshen/menshen.toml"
    install -m 0644 "$work/licences.txt" docs/install.md docs/update.md "$root/usr/share/doc/menshen/"
    install -m 0644 "$work/gate.packages" "$root/usr/share/doc/menshen/packages"
    [ -z "${MENSHEN_TECHNICIAN_HASH:-}" ] || (umask 077 && echo "$MENSHEN_TECHNICIAN_HASH" >"$root/usr/share/menshen/technician.hash")
    local f
    mkdir -p "$root/etc/rauc"
    for f in rootfs/rauc/*; do install -m 0644 "$f" "$root/etc/rauc/"; done
    # Whose bundles this gate takes: the development keys of this clone, or MENSHEN_UPDATE_KEYRING.
    install -m 0644 "$(scripts/bundle.sh keyring)" "$root/etc/rauc/keyring.pem"
    local version=${MENSHEN_VERSION:-$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)}
    rm -f "$root/etc/os-release"
    ln -s ../usr/lib/os-release "$root/etc/os-release"
    cat >>"$root/usr/lib/os-release" <<RELEASE
IMAGE_ID=menshen-gate
IMAGE_VERSION=$version
RELEASE
    units
    kernel
    overlays

    say "modes and dates"
    # Whoever cloned this had an umask of their own; what git knows is whether a file is a program.
    find "$root" -type d -exec chmod u+rwx,go+rx {} +
    local path mode user group
    while read -r path mode user group; do
        [ -e "$root$path" ] || continue
        chown "$(id_of passwd "$user"):$(id_of group "$group")" "$root$path"
        chmod "$mode" "$root$path"
    done < <(list rootfs/modes)
    # No program may raise its rights but those that "modes" names.
    local raised
    raised=$(find "$root" -xdev -type f -perm /6000 -printf '/%P\n' | grep -vxFf <(list rootfs/modes | cut -d' ' -f1) || true)
    [ -z "$raised" ] || die "these programs would run with the rights of another user; name them in rootfs/modes: $raised"

    find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    disk
}

# The number of a user or group of the image.
id_of() { awk -F: -v name="$2" '$1 == name { print $3 }' "$root/etc/$1"; }

units() {
    local etc=$root/etc/systemd/system what unit target
    mkdir -p "$etc"
    while read -r what unit target; do
        case $what in
        on)
            [ -e "$root/usr/lib/systemd/system/$unit" ] || die "rootfs/units: there is no unit $unit"
            mkdir -p "$etc/$target.wants"
            ln -s "/usr/lib/systemd/system/$unit" "$etc/$target.wants/$unit"
            ;;
        alias) ln -s "/usr/lib/systemd/system/$target" "$etc/$unit" ;;
        off) ln -s /dev/null "$etc/$unit" ;;
        *) die "rootfs/units: unknown word $what" ;;
        esac
    done < <(list rootfs/units)
}

# The kernel, the modules that rootfs/modules names, the device trees and the initial RAM disk.
kernel() {
    local whole=$work/kernel release modules
    mkdir "$whole"
    dpkg-deb -x "$kernel_deb" "$whole"
    [ -e "$whole/usr/lib/modules" ] || { mkdir -p "$whole/usr/lib" && ln -s ../../lib/modules "$whole/usr/lib/modules"; }
    release=$(ls "$whole/lib/modules")
    modules=$root/usr/lib/modules/$release
    depmod -b "$whole" "$release"
    mkdir -p "$modules" "$root/boot/dtbs"
    cp "$whole"/lib/modules/"$release"/modules.{builtin,builtin.modinfo,order} "$modules/"
    cp "$whole/boot/vmlinuz-$release" "$root/boot/Image"
    install -D -m 0644 "$whole/usr/share/doc/linux-image-$release/copyright" "$root/usr/share/doc/linux-image-$release/copyright"

    # Patterns become names; "-" and "_" are one to the kernel.
    local all when name found pattern
    all=$(find "$whole/lib/modules/$release" -name '*.ko' -printf '%f\n' | sed 's/\.ko$//' | sort)
    : >"$work/modules"
    { list rootfs/modules; for name in ${MENSHEN_IMAGE_MODULES:-}; do echo "root $name"; done; } | while read -r when name; do
        pattern=$(sed 's/[-_]/[-_]/g; s/\*/.*/g' <<<"$name")
        found=$(grep -x "$pattern" <<<"$all") || {
            grep -qE "/$pattern\.ko" "$modules/modules.builtin" || say "this kernel has no module $name"
            continue
        }
        sed "s/^/$when /" <<<"$found"
    done >"$work/modules"
    local path
    while read -r when name; do
        modprobe -d "$whole" -S "$release" --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r path; do
            echo "$when ${path#*/lib/modules/"$release"/}"
        done
    done <"$work/modules" | sort -u >"$work/modules.files"
    cut -d' ' -f2 "$work/modules.files" | sort -u | while read -r path; do
        install -D -m 0644 "$whole/lib/modules/$release/$path" "$modules/$path"
    done

    local tree=$whole/usr/lib/linux-image-$release dtb
    while read -r pattern; do
        for dtb in "$tree"/$pattern; do
            [ -e "$dtb" ] || { say "this kernel has no device tree $pattern" && continue; }
            install -D -m 0644 "$dtb" "$root/boot/dtbs/${dtb#"$tree"/}"
        done
    done < <(list rootfs/dtbs)

    local initial=$work/initial
    mkdir -p "$initial"/{bin,etc,usr/lib/modules/"$release"}
    ln -s usr/lib "$initial/lib"
    cp "$root/bin/busybox" "$initial/bin/busybox"
    install -m 0755 rootfs/initramfs/init "$initial/init"
    cp "$modules"/modules.{builtin,builtin.modinfo,order} "$initial/usr/lib/modules/$release/"
    awk '$1 == "boot" { print $2 }' "$work/modules.files" | while read -r path; do
        install -D -m 0644 "$modules/$path" "$initial/usr/lib/modules/$release/$path"
    done
    awk '$1 == "boot" { print $2 }' "$work/modules" | tr - _ >"$initial/etc/modules"
    depmod -b "$initial" "$release"
    find "$initial" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$initial" && find . -mindepth 1 -print0 | sort -z |
        cpio --quiet --null --create --format=newc --reproducible --owner=0:0) | zstd -q -19 -T1 >"$root/boot/initrd"

    local package version
    read -r package version _ <<<"$(basename "$kernel_deb" .deb | tr _ ' ')"
    printf 'release=%s\npackage=%s\nversion=%s\n' "$release" "$package" "${version//%3a/:}" >"$out/gate.kernel"
    kernel_release=$release
}

overlays() {
    local directory directories
    IFS=: read -ra directories <<<"${MENSHEN_IMAGE_OVERLAY:-}"
    for directory in "${directories[@]}"; do
        [ -d "$directory" ] || die "MENSHEN_IMAGE_OVERLAY: there is no folder $directory"
        say "overlay $directory"
        tar -c -C "$directory" --owner=0 --group=0 . | tar -x -C "$root" -p --numeric-owner --keep-directory-symlink
    done
    # After it: an overlay may bring modules of its own.
    depmod -b "$root" "$kernel_release"
}

# ---- file systems and the disk -------------------------------------------------------------

# uuid NAME: that of a partition. size NAME: in MiB.
uuid() { list rootfs/partitions | awk -v n="$1" '$1 == n { print $4 }'; }
size() { list rootfs/partitions | awk -v n="$1" '$1 == n { print $2 }'; }

disk() {
    say "file systems"
    tar -c -C "$root" --sort=name --numeric-owner --format=posix \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime . | zstd -q -10 -T1 >"$out/gate-root.tar.zst.new"

    # Read-only and replaced as a whole, so without a journal. No dates but ours: mke2fs takes over when a file's
    # inode was changed here, which debugfs puts right.
    local image=$out/root.ext4.new
    rm -f "$image"
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -b 4096 -m 0 -L root -U "$(uuid root-a)" \
        -O ^has_journal,^resize_inode,^orphan_file -E "hash_seed=$(uuid root-a),root_owner=0:0,lazy_itable_init=0,nodiscard" \
        -d "$root" "$image" "$(size root-a)M" >/dev/null
    (cd "$root" && find . -printf '%P\n') | while read -r path; do
        case $path in *\"*) die "a file name with a quotation mark: $path" ;; esac
        for field in atime ctime mtime crtime; do echo "set_inode_field \"/$path\" $field @$SOURCE_DATE_EPOCH"; done
    done >"$work/dates"
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f "$work/dates" "$image" >"$work/debugfs.log" 2>&1
    ! grep -vE '^(debugfs|$)' "$work/debugfs.log" | grep . || die "debugfs could not set the dates"
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH e2fsck -f -n "$image" >"$work/fsck.log" 2>&1 || die "the root file system is damaged: $(tail -3 "$work/fsck.log")"

    local boot=$work/boot.vfat
    mkdir "$work/boot"
    mkimage -A arm64 -O linux -T script -C none -n menshen -d rootfs/boot/boot.cmd "$work/boot/boot.scr" >/dev/null
    # What the boot script goes by, twice (docs/update.md); each copy in a folder of its own.
    local copy
    for copy in 0 1; do
        mkdir "$work/boot/choice$copy"
        printf 'BOOT_A_LEFT=3\nBOOT_B_LEFT=3\nBOOT_ORDER=A B\nBOOT_SERIAL=1\n' | mkenvimage -s 512 -p 0 -o "$work/boot/choice$copy/boot.env" -
    done
    find "$work/boot" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    truncate -s "$(size boot)M" "$boot"
    mkfs.vfat --invariant -i 4d534731 -n GATEBOOT "$boot" >/dev/null
    mcopy -m -s -i "$boot" "$work/boot/boot.scr" "$work/boot/choice0" "$work/boot/choice1" ::

    say "disk"
    local gate=$out/gate.img.new at=16 name part type id
    rm -f "$gate"
    {
        printf 'label: gpt\nlabel-id: 8d1c2a3e-7f5b-4c1d-9a60-4d656e736800\nfirst-lba: 34\n'
        while read -r name part type id; do
            printf 'start=%dMiB, size=%dMiB, type=%s, uuid=%s, name="%s"%s\n' $at "$part" "$type" "$id" "$name" \
                "$([ "$name" = boot ] && echo ', attrs="LegacyBIOSBootable"')"
            at=$((at + part))
        done < <(list rootfs/partitions)
        echo "$at" >"$work/end"
    } >"$work/sfdisk"
    truncate -s "$(($(cat "$work/end") + 1))M" "$gate"
    sfdisk --quiet --no-reread --no-tell-kernel "$gate" <"$work/sfdisk"
    at=16
    while read -r name part _; do
        case $name in
        boot) sparse "$boot" "$gate" $at ;;
        # The second slot holds the same: a gate that leaves the factory has two that boot.
        root-*) sparse "$image" "$gate" $at ;;
        esac
        at=$((at + part))
    done < <(list rootfs/partitions)

    for name in gate.img root.ext4 gate-root.tar.zst; do mv -f "$out/$name.new" "$out/$name"; done
}

# sparse FROM TO MIB: copies a file system into the disk, leaving out what is zero.
sparse() { dd if="$1" of="$2" bs=1M seek="$3" conv=notrunc,sparse status=none; }

report() {
    local part
    echo "image: $out/gate.img: $(mib "$(stat -c %s "$out/gate.img")") MiB as a disk, $(mib "$(($(stat -c %b "$out/gate.img") * 512))") MiB of it in use here"
    part=$(dumpe2fs -h "$out/root.ext4" 2>/dev/null | awk '/^Block count/ { all = $3 } /^Free blocks/ { free = $3 } END { printf "%.0f of %.0f", (all - free) / 256, all / 256 }')
    echo "image: root filesystem: $part MiB used; $(wc -l <"$out/gate.packages") packages; as an archive $(mib "$(stat -c %s "$out/gate-root.tar.zst")") MiB"
    echo "image: kernel $(sed -n 's/^release=//p' "$out/gate.kernel"); packages with their sums: $out/gate.packages"
    (cd "$out" && sha256sum gate.img root.ext4 gate-root.tar.zst | tee gate.sums | sed 's/^/image: sha256 /')
}

# ---- comparing -----------------------------------------------------------------------------

compare() {
    [ $# = 2 ] || die "usage: scripts/image.sh compare DIR DIR"
    local name different=0
    for name in gate.packages gate.kernel gate-root.tar.zst root.ext4 gate.img; do
        if cmp -s "$1/$name" "$2/$name"; then
            echo "image: the same bytes: $name ($(sha256sum <"$1/$name" | cut -c1-16))"
        else
            different=1
            echo "image: DIFFERENT: $name"
        fi
    done
    if [ $different = 1 ] && [ -e "$1/gate-root.tar.zst" ] && [ -e "$2/gate-root.tar.zst" ]; then
        contents() { zstd -dcq "$1" | tar -t --full-time -v --numeric-owner -f - | sort -k 6; }
        diff <(contents "$1/gate-root.tar.zst") <(contents "$2/gate-root.tar.zst") | head -40 || true
        sums() { zstd -dcq "$1" | tar -x --to-command='printf "%s  %s\n" "$(sha256sum | cut -c1-64)" "$TAR_FILENAME"' -f - | sort -k 2; }
        diff <(sums "$1/gate-root.tar.zst") <(sums "$2/gate-root.tar.zst") | head -40 || true
    fi
    return $different
}

# ---- a first boot --------------------------------------------------------------------------

boot() {
    command -v qemu-system-aarch64 >/dev/null || die "there is no qemu-system-aarch64: run scripts/setup.sh image"
    local disk=$out/boot.img log=$out/boot.log within=${MENSHEN_BOOT_WITHIN:-300} began=$SECONDS
    cp --sparse=always "$out/gate.img" "$disk"
    : >"$log"
    # Larger than the image, so that the data partition has to grow.
    truncate -s +256M "$disk"
    sfdisk --quiet --relocate gpt-bak-std "$disk" 2>/dev/null || true
    qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 1 -m 1024 -nographic -nic user,model=virtio-net-pci \
        -bios /usr/lib/u-boot/qemu_arm64/u-boot.bin -drive "if=none,id=disk,format=raw,file=$disk" \
        -device virtio-blk-pci,drive=disk "$@" </dev/null >"$log" 2>&1 &
    machine=$!
    trap 'kill "$machine" 2>/dev/null || true' EXIT
    until grep -qa 'menshen: ready for faces' "$log"; do
        kill -0 "$machine" 2>/dev/null || die "QEMU ended; $log has its last words"
        [ $((SECONDS - began)) -lt "$within" ] || die "not ready within $within s; the console is in $log"
        sleep 0.5
    done
    echo "image: $(grep -ao 'menshen: ready for faces.*' "$log" | tr -d '\r' | head -1); $((SECONDS - began)) s after power-on, in emulation on this machine"
}

export SOURCE_DATE_EPOCH=$epoch
case ${1:-build} in
build) build ;;
assemble) assemble ;;
compare | boot) "$@" ;;
*)
    echo "usage: scripts/image.sh [compare DIR DIR | boot [ARGUMENT…]]" >&2
    exit 2
    ;;
esac
