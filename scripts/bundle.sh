#!/usr/bin/env bash
# Makes a signed bundle of a root filesystem, as gates take it (docs/update.md).
#
#   scripts/bundle.sh [ROOT.ext4 [BUNDLE]]   makes target/image/menshen-VERSION.raucb of target/image/root.ext4
#   scripts/bundle.sh keyring                prints the file of the certificates that gates trust
#
#   MENSHEN_UPDATE_CERT=FILE      certificate and key of whoever signs; without them the development ones of this
#   MENSHEN_UPDATE_KEY=FILE       clone, made on first use in .setup/keys (the key may be a pkcs11: URI)
#   MENSHEN_UPDATE_KEYRING=FILE   certificates that gates trust, to build into images
#   MENSHEN_VERSION=TEXT          version of the bundle (default: the version in Cargo.toml)
#
# Keys never belong into the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077
export LC_ALL=C

say() { echo "bundle: $*" >&2; }
die() {
    say "$*"
    exit 1
}

keys=.setup/keys
# A root that signs, once, a certificate for bundles; gates trust the root.
development_keys() {
    mkdir -p $keys
    exec 8>$keys/lock
    flock 8
    [ -e $keys/keyring.pem ] && [ -e $keys/bundle.key ] && [ -e $keys/bundle.pem ] && return
    command -v openssl >/dev/null || die "there is no openssl: run scripts/setup.sh image"
    say "making development keys in $keys: only images of this clone trust them"
    local new=$keys/new curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    rm -rf $new
    mkdir $new
    # shellcheck disable=SC2086 # words
    openssl req -x509 $curve -keyout $new/root.key -out $new/keyring.pem -days 7300 -subj "/CN=Menshen development root" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
    # shellcheck disable=SC2086
    openssl req $curve -keyout $new/bundle.key -out $new/bundle.csr -subj "/CN=Menshen development bundles" 2>/dev/null
    openssl x509 -req -in $new/bundle.csr -CA $new/keyring.pem -CAkey $new/root.key -CAcreateserial -out $new/bundle.pem -days 7300 \
        -extfile <(printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=emailProtection\n') 2>/dev/null
    rm -f $new/bundle.csr
    mv -f $new/* $keys/
    rmdir $new
}

keyring() {
    if [ -n "${MENSHEN_UPDATE_KEYRING:-}" ]; then
        [ -r "$MENSHEN_UPDATE_KEYRING" ] || die "MENSHEN_UPDATE_KEYRING: $MENSHEN_UPDATE_KEYRING cannot be read"
        realpath "$MENSHEN_UPDATE_KEYRING"
    else
        development_keys
        realpath $keys/keyring.pem
    fi
}

if [ "${1:-}" = keyring ]; then
    keyring
    exit
fi
case ${1:-} in -*)
    echo "usage: scripts/bundle.sh [ROOT.ext4 [BUNDLE]] | keyring" >&2
    exit 2
    ;;
esac

for tool in rauc mksquashfs; do
    command -v $tool >/dev/null || die "there is no $tool: run scripts/setup.sh image"
done
image=${1:-${CARGO_TARGET_DIR:-target}/image/root.ext4}
[ -s "$image" ] || die "there is no root filesystem at $image: make image"
version=${MENSHEN_VERSION:-$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)}
[[ $version =~ ^[0-9A-Za-z][0-9A-Za-z.+_-]*$ ]] || die "MENSHEN_VERSION: \"$version\" is no version"
bundle=$(realpath -m "${2:-$(dirname "$image")/menshen-$version.raucb}")
compatible=$(sed -n 's/^compatible=//p' rootfs/rauc/system.conf)
[ -n "$compatible" ] || die "rootfs/rauc/system.conf names no compatible"

if [ -n "${MENSHEN_UPDATE_CERT:-}${MENSHEN_UPDATE_KEY:-}" ]; then
    cert=${MENSHEN_UPDATE_CERT:?the key needs its certificate} key=${MENSHEN_UPDATE_KEY:?the certificate needs its key}
    [ -r "$cert" ] || die "MENSHEN_UPDATE_CERT: $cert cannot be read"
    case $key in pkcs11:*) ;; *) [ -r "$key" ] || die "MENSHEN_UPDATE_KEY: $key cannot be read" ;; esac
else
    development_keys
    cert=$keys/bundle.pem key=$keys/bundle.key
fi

mkdir -p "$(dirname "$bundle")"
work=$(mktemp -d "$(dirname "$bundle")/bundle.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/content"
cp --sparse=always "$image" "$work/content/root.img"
cat >"$work/content/manifest.raucm" <<MANIFEST
[update]
compatible=$compatible
version=$version

[bundle]
format=verity

[image.rootfs]
filename=root.img
MANIFEST
rauc bundle --cert "$cert" --key "$key" --keyring "$(keyring)" "$work/content" "$work/bundle.raucb" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    die "rauc could not make the bundle"
}
chmod 0644 "$work/bundle.raucb"
mv -f "$work/bundle.raucb" "$bundle"
echo "bundle: $bundle: version $version for $compatible, $(stat -c %s "$bundle") bytes, md5 $(md5sum <"$bundle" | cut -d' ' -f1)"
