#!/usr/bin/env bash
# The demonstration: a QYZN platform (simulated) and a gate whose camera plays pictures of real people.
# Ctrl-C ends both. `make run` sets up, builds and starts this.
#
#   MENSHEN_DEMO_PLATFORM  where the platform listens (default 127.0.0.1:5005)
#   MENSHEN_DEMO_PAGE      where the gate's page is (default 127.0.0.1:8080)
#   MENSHEN                the program (default target/release/menshen)
set -euo pipefail
cd "$(dirname "$0")/.."

menshen=${MENSHEN:-${CARGO_TARGET_DIR:-target}/release/menshen}
platform=${MENSHEN_DEMO_PLATFORM:-127.0.0.1:5005}
page=${MENSHEN_DEMO_PAGE:-127.0.0.1:8080}

die() {
    echo "demo: $*" >&2
    exit 1
}
answers() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }

[ -x "$menshen" ] || die "there is no $menshen: run make run, or cargo build --release"
[ -f .setup/demo/script.jsonl ] || die "there are no demonstration pictures: run scripts/setup.sh run"
for address in "$platform" "$page"; do
    if answers "$address"; then
        die "something listens on $address already; stop it, or choose others with MENSHEN_DEMO_PLATFORM and MENSHEN_DEMO_PAGE"
    fi
done

cat >.setup/demo/menshen.toml <<EOF
# Written by scripts/demo.sh at each start. Paths count from the top of the repository.
[terminal]
serial   = "FEDCBA9876543210"
data_dir = ".setup/demo/data"

[[camera]]
role   = "visible"
source = "files:.setup/demo/frames"
fps    = 15

[vision]
models_dir = "models"

[device]
relay       = "sim"
wiegand_out = "sim"

[platform.qyzn]
server = "$platform"

[service]
admin = { listen = "$page" }
EOF

children=()
stop() {
    trap '' INT TERM
    for child in "${children[@]}"; do kill -TERM "$child" 2>/dev/null || true; done
    for child in "${children[@]}"; do wait "$child" 2>/dev/null || true; done
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$menshen" simulate qyzn --listen "$platform" --script .setup/demo/script.jsonl &
children+=($!)
"$menshen" run --config .setup/demo/menshen.toml &
children+=($!)

for _ in $(seq 150); do
    answers "$page" && break
    for child in "${children[@]}"; do kill -0 "$child" 2>/dev/null || break 2; done
    sleep 0.1
done
if answers "$page"; then
    echo "demo: the gate's page is http://$page/   (Ctrl-C stops the gate and the platform)" >&2
fi

# Whichever ends first ends the demonstration.
code=0
wait -n "${children[@]}" || code=$?
exit "$code"
