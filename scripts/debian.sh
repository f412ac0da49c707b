# Debian packages for the gate, from the machine's own apt and without touching its dpkg. Sourced, not run.
#
# Asks apt where the Debian 12 archives are (deb822 or one-line sources, with their keyrings, proxies
# and passwords) and keeps a state of its own in the cache, with arm64 beside the machine's architecture.
# Nothing is installed on this machine; apt checks the archives' signatures, and every package its sum.
#
#   debian_update            the lists, when they are older than six hours (MENSHEN_APT_UPDATE=1: now)
#   debian_apt gate|host …   apt-get on an empty arm64 machine, or on this machine's packages
#   debian_cache gate|host … apt-cache on the same
#   debian_resolve NAME…     prints "NAME VERSION ARCH SHA256" of an empty arm64 machine with these installed
#   debian_fetch             reads such lines, brings the packages into $DEBIAN_POOL, prints their paths
#   debian_latest NAME:ARCH… prints the same kind of lines for these packages alone

# shellcheck shell=bash

DEBIAN_RELEASE=bookworm
DEBIAN_HOME=${MENSHEN_CACHE:-${HOME:?}/.cache/menshen}/debian
DEBIAN_POOL=$DEBIAN_HOME/pool
DEBIAN_HOST=$(dpkg --print-architecture)

debian_say() { echo "debian: $*" >&2; }
debian_die() {
    debian_say "$*"
    exit 1
}

# The machine's Debian 12 sources as one-line entries for both architectures. apt itself reads its
# sources; what it does not say about a source (no keyring of its own) it does not need to be told.
debian_sources() {
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets -o APT::Get::IndexTargets::ReleaseInfo=false --format '$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)' 'Created-By: Packages' | LC_ALL=C sort -u |
        while IFS='|' read -r uri release component keyring; do
            case $release in
            "$DEBIAN_RELEASE" | "$DEBIAN_RELEASE-updates" | "$DEBIAN_RELEASE-security" | "$DEBIAN_RELEASE/updates") ;;
            *) continue ;;
            esac
            [ "$component" = main ] || continue
            case $keyring in
            /*) keyring=" signed-by=$keyring" ;;
            *) # apt before 2.7 does not print it; Debian's own archives are signed by this one
                keyring=
                [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] &&
                    keyring=" signed-by=/usr/share/keyrings/debian-archive-keyring.gpg"
                ;;
            esac
            architectures=$DEBIAN_HOST
            [ "$DEBIAN_HOST" = arm64 ] || architectures=$DEBIAN_HOST,arm64
            echo "deb [arch=$architectures$keyring] $uri $release $component"
        done
}

debian_configuration() { # NAME ARCH STATUS
    local other=
    [ "$1" = host ] && [ "$2" != arm64 ] && other='"arm64";'
    cat <<CONF
#clear APT::Architectures;
#clear APT::Update;
#clear DPkg::Post-Invoke;
APT::Architecture "$2";
APT::Architectures { "$2"; $other };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Cmd::Disable-Script-Warning "true";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Debug::NoLocking "true";
Dir::State "$DEBIAN_HOME/state";
Dir::State::status "$3";
Dir::State::extended_states "$DEBIAN_HOME/state/extended_$1";
Dir::Cache "$DEBIAN_HOME/cache-$1";
Dir::Etc::sourcelist "$DEBIAN_HOME/sources.list";
Dir::Etc::sourceparts "$DEBIAN_HOME/none";
Dir::Etc::preferences "$DEBIAN_HOME/preferences";
Dir::Etc::preferencesparts "$DEBIAN_HOME/none";
CONF
}

debian_update() {
    mkdir -p "$DEBIAN_HOME"/{none,pool,state/lists/partial,cache-host/archives/partial,cache-gate/archives/partial}
    exec 8>"$DEBIAN_HOME/lock"
    flock 8
    local sources
    sources=$(debian_sources)
    grep -q " $DEBIAN_RELEASE main" <<<"$sources" ||
        debian_die "apt's sources name no Debian 12 ($DEBIAN_RELEASE main): see \`apt-get indextargets\`; the gate is made of Debian 12"
    : >"$DEBIAN_HOME/status-gate"
    debian_configuration host "$DEBIAN_HOST" /var/lib/dpkg/status >"$DEBIAN_HOME/host.conf"
    debian_configuration gate arm64 "$DEBIAN_HOME/status-gate" >"$DEBIAN_HOME/gate.conf"
    # Where a third party's archive has the same package, Debian's is taken.
    printf 'Package: *\nPin: release o=Debian\nPin-Priority: 990\n' >"$DEBIAN_HOME/preferences"
    if [ "${MENSHEN_APT_UPDATE:-}" = 1 ] || ! cmp -s <(echo "$sources") "$DEBIAN_HOME/sources.list" ||
        [ -z "$(find "$DEBIAN_HOME/updated" -mmin -360 2>/dev/null)" ]; then
        echo "$sources" >"$DEBIAN_HOME/sources.list"
        debian_say "reading the lists of Debian 12's packages"
        if apt-get -c "$DEBIAN_HOME/host.conf" -q update >"$DEBIAN_HOME/update.log" 2>&1 &&
            ! grep -qE '^(E|Err)' "$DEBIAN_HOME/update.log"; then
            touch "$DEBIAN_HOME/updated"
        elif debian_cache gate policy libc6 2>/dev/null | grep -q 'Candidate: [0-9]'; then
            debian_say "the lists cannot be read anew; those of the last time are used:"
            grep -m2 -E '^(E|W|Err)' "$DEBIAN_HOME/update.log" | sed 's/^/debian:   /' >&2
        else
            sed 's/^/debian:   /' "$DEBIAN_HOME/update.log" >&2
            debian_die "the lists of Debian's packages cannot be read"
        fi
    fi
    flock -u 8
}

debian_apt() {
    local which=$1
    shift
    apt-get -c "$DEBIAN_HOME/$which.conf" "$@"
}

debian_cache() {
    local which=$1
    shift
    apt-cache -c "$DEBIAN_HOME/$which.conf" "$@"
}

# Reads "NAME=VERSION" or "NAME:ARCH=VERSION" lines, prints "NAME VERSION ARCH SHA256", sorted.
debian_sums() { # gate|host
    local names
    mapfile -t names
    debian_cache "$1" show "${names[@]}" | awk '
        /^Package: / { name = $2 }
        /^Version: / { version = $2 }
        /^Architecture: / { arch = $2 }
        /^SHA256: / { sum = $2 }
        /^$/ { if (name) print name, version, arch, sum; name = "" }
        END { if (name) print name, version, arch, sum }' | LC_ALL=C sort -u
}

debian_resolve() {
    local log
    log=$(debian_apt gate -s --no-install-recommends install "$@" 2>&1) || {
        sed 's/^/debian:   /' <<<"$log" >&2
        debian_die "the packages of the gate do not fit together"
    }
    sed -nE 's/^Inst ([^ ]+) \(([^ ]+) .*/\1=\2/p' <<<"$log" | debian_sums gate
}

debian_latest() {
    local package
    for package in "$@"; do
        local version
        version=$(debian_cache host policy "$package" | sed -n 's/^  Candidate: //p')
        case $version in
        '' | '(none)') debian_die "Debian 12's archives have no package $package" ;;
        esac
        echo "$package=$version"
    done | debian_sums host
}

debian_file() { echo "${1}_${2//:/%3a}_$3.deb"; } # NAME VERSION ARCH: as apt names it

debian_fetch() {
    local name version arch sum missing=() lines=()
    mapfile -t lines
    for line in "${lines[@]}"; do
        read -r name version arch sum <<<"$line"
        local file
        file=$DEBIAN_POOL/$(debian_file "$name" "$version" "$arch")
        if [ -f "$file" ] && ! sha256sum --status -c <<<"$sum  $file"; then
            debian_say "$(basename "$file"): the copy in the cache is not what the list says; downloading it again"
            rm -f "$file"
        fi
        [ -f "$file" ] && continue
        case $arch in
        all) missing+=("$name=$version") ;; # which apt counts to the machine's own
        *) missing+=("$name:$arch=$version") ;;
        esac
    done
    if [ ${#missing[@]} -gt 0 ]; then
        debian_say "downloading ${#missing[@]} packages"
        local part log
        part=$(mktemp -d "$DEBIAN_POOL/part.XXXXXX")
        if ! log=$(cd "$part" && debian_apt host -q download "${missing[@]}" 2>&1); then
            rm -rf "$part"
            grep -E '^E' <<<"$log" | sed 's/^/debian:   /' >&2
            debian_die "packages cannot be downloaded; of those that a lock names, the archive may have newer versions only"
        fi
        mv -f "$part"/*.deb "$DEBIAN_POOL/"
        rmdir "$part"
    fi
    for line in "${lines[@]}"; do
        read -r name version arch sum <<<"$line"
        local file
        file=$DEBIAN_POOL/$(debian_file "$name" "$version" "$arch")
        sha256sum --status -c <<<"$sum  $file" 2>/dev/null ||
            debian_die "$(basename "$file") is not the package that the list names (sha256 $sum)"
        echo "$file"
    done
}
