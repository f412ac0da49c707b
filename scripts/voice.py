#!/usr/bin/env python3
"""Speaks a list of sentences into 16 kHz mono WAV files: see scripts/voice.sh."""

import hashlib
import io
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np

RATE = 16_000  # what telephones and the loudspeakers of gates carry
VOICES = {"zh-CN": ["-v", "cmn-latn-pinyin", "-s", "170"], "en": ["-v", "en", "-s", "160"]}

# What the dictionary of espeak-ng 1.51 reads with another sound or no tone, as pinyin.
READINGS = {
    "欢迎": " huan1 ying2 ",
    "识别": " shi2 bie2 ",
    "重试": " chong2 shi4 ",
    "重复": " chong2 fu4 ",
    "应答": " ying4 da2 ",
}

QUIET = 200  # of 32768: what is below at both ends is not speech
LOUDEST = 29_000  # of 32767: all sentences are equally loud
TAPS = 64  # of the low-pass filter, in samples of the input


def spoken(text, language):
    """Samples at the rate of espeak-ng, and that rate."""
    if language == "zh-CN":
        for word, reading in READINGS.items():
            text = text.replace(word, reading)
    command = ["espeak-ng", *VOICES[language], "-b", "1", "--stdout", text]
    made = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with wave.open(io.BytesIO(made)) as sound:
        if (sound.getnchannels(), sound.getsampwidth()) != (1, 2):
            sys.exit(f"voice: espeak-ng made no 16 bit mono sound of {text!r}")
        # To standard output espeak-ng does not know the length when it writes the header.
        return np.frombuffer(made[44:], "<i2"), sound.getframerate()


def resampled(samples, rate):
    """The same at RATE, by a windowed sinc (Hann). In whole numbers, so that every machine gets the same."""
    count = len(samples) * RATE // rate
    at = np.arange(count, dtype=np.int64) * rate
    first, phase = at // RATE - TAPS // 2 + 1, (at % RATE) / RATE
    offsets = np.arange(TAPS) - TAPS // 2 + 1 - phase[:, None]
    cut = min(1.0, RATE / rate) * 0.95
    window = 0.5 + 0.5 * np.cos(2 * np.pi * offsets / (TAPS + 2))
    taps = np.rint(np.sinc(offsets * cut) * cut * window * (1 << 20)).astype(np.int64)
    padded = np.pad(samples.astype(np.int64), (TAPS, TAPS))
    around = padded[first[:, None] + TAPS + np.arange(TAPS)]
    return (taps * around).sum(axis=1) >> 20


def made_equal(samples):
    """Without the silence at both ends, and as loud as the others."""
    loud = np.flatnonzero(np.abs(samples) > QUIET)
    if not len(loud):
        sys.exit("voice: espeak-ng made silence")
    margin = RATE // 50
    samples = samples[max(0, loud[0] - margin) : loud[-1] + 2 * margin]
    return (samples * LOUDEST // np.abs(samples).max()).astype("<i2")


def main(listed, folder):
    rows = []
    for line in Path(listed).read_text().splitlines():
        key, language, text = line.split("\t")
        samples = made_equal(resampled(*spoken(text, language)))
        file = Path(folder) / f"{key}.{language}.wav"
        with wave.open(str(file), "wb") as sound:
            sound.setparams((1, 2, RATE, 0, "NONE", ""))
            sound.writeframes(samples.tobytes())
        rows.append(f"{file.name}\t{hashlib.sha256(file.read_bytes()).hexdigest()}\t{text}\n")
    Path(folder, "manifest.tsv").write_text("".join(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
