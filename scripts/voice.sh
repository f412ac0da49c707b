#!/usr/bin/env bash
# Makes the sentences that visitors hear: 16 kHz mono WAV files and their manifest, from src/text/spoken.tsv, with
# espeak-ng. The same list, espeak-ng and options give the same bytes. Takes a few seconds; made again only when the
# list, the scripts or espeak-ng have changed.
#
#   scripts/voice.sh [FOLDER]    FOLDER is .setup/voice if not given; on a gate it is /usr/share/menshen/voice
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-.setup/voice}
python=${MENSHEN_PYTHON:-.setup/venv/bin/python}
die() {
    echo "voice: $*" >&2
    exit 1
}
command -v espeak-ng >/dev/null || die "there is no espeak-ng: apt-get install espeak-ng"
"$python" -c 'import numpy' 2>/dev/null || die "$python has no numpy: run scripts/setup.sh run first"

sum=$({
    cat src/text/spoken.tsv scripts/voice.sh scripts/voice.py
    espeak-ng --version | sed 's/ Data at:.*//'
} | sha256sum)
if [ -f "$folder/.made-of" ] && [ "$(cat "$folder/.made-of")" = "$sum" ]; then
    exit 0
fi

# Made aside and put in place whole: a gate must not find half of it.
new=$folder.new
rm -rf "$new"
mkdir -p "$new"
"$python" scripts/voice.py src/text/spoken.tsv "$new"
echo "$sum" >"$new/.made-of"
rm -rf "$folder"
mv "$new" "$folder"
echo "voice: $(($(wc -l <"$folder/manifest.tsv"))) sentences in $folder, $(du -sk "$folder" | cut -f1) KiB" >&2
