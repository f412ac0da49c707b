#!/usr/bin/env python3
"""Makes the reader of OCR-B lines: draws its own examples, trains on them, writes the model.

    build.py OUT.onnx            the model (about three minutes on two cores)
    build.py --outlines OUT      only the outlines of the font, which the tests draw pages with
    build.py --measure OUT.onnx  the model, and then its accuracy on held-out renderings

The font is Debian's fonts-ocr-b, taken by its sum; the trainer is train.rs, compiled by the rustc of the machine
($RUSTC, default rustc; 1.82 or newer). The trainer's arithmetic and its random numbers are the same on every machine, so the
model is the same bytes, and models.toml pins its sum like any other's. Needs fonttools, onnx and numpy
(scripts/requirements-demo.txt and requirements-models.txt).
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FONTS = Path(os.environ.get("MENSHEN_OCRB_FONTS", "/usr/share/fonts/opentype/ocr-b"))
# fonts-ocr-b 0.3~dfsg1-1 of Debian 12.
SUMS = {
    "OCRB": "84558d47dbc19bb5887cc7b72ed62c64534fd00f0b569d28e6dc63b71fe27707",
    "OCRBS": "6fc670f99123dc88677c8aea548c601b5094fed35b9dd8bddba6843a1fdf966d",
}
# The oldest compiler that knows all that train.rs uses.
RUST = (1, 82)
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<"
# As in train.rs: kernel, padding, channels in and out, pooling; the last layer has two channels more than classes.
LAYERS = [((3, 3), (1, 1), 1, 8, (2, 2)), ((3, 3), (1, 1), 8, 24, (2, 2)), ((3, 3), (1, 1), 24, 40, (2, 1)),
          ((3, 5), (0, 2), 40, 64, None), ((1, 1), (0, 0), 64, 40, None)]
CLASSES = 38
HEIGHT, WIDTH = 24, 768


class Failure(Exception):
    """Something that the person at the keyboard has to know."""


def outlines():
    """The outlines of the alphabet as text: curves cut into short lines, in whole units of the font."""
    from fontTools.pens.basePen import BasePen
    from fontTools.ttLib import TTFont

    class Lines(BasePen):
        def __init__(self, glyphs):
            super().__init__(glyphs)
            self.contours = []

        def _moveTo(self, point):
            self.contours.append([point])

        def _lineTo(self, point):
            self.contours[-1].append(point)

        def _curveToOne(self, one, two, end):
            start = self.contours[-1][-1]
            for step in range(1, 9):
                t = step / 8
                weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3)
                self.contours[-1].append(tuple(sum(w * p[axis] for w, p in zip(weights, (start, one, two, end)))
                                               for axis in (0, 1)))

    text = []
    for name, pinned in SUMS.items():
        path = FONTS / f"{name}.otf"
        if not path.is_file():
            raise Failure(f"the font {path} is missing: apt-get install fonts-ocr-b, or run scripts/setup.sh")
        got = hashlib.sha256(path.read_bytes()).hexdigest()
        if got != pinned:
            raise Failure(f"{path} is not the font that the model is made of (Debian 12, fonts-ocr-b 0.3~dfsg1-1): "
                          f"sha256 {got} instead of {pinned}")
        font = TTFont(path)
        names, glyphs = font.getBestCmap(), font.getGlyphSet()
        text.append(f"font {name}")
        for character in ALPHABET:
            pen = Lines(glyphs)
            glyphs[names[ord(character)]].draw(pen)
            text.append(f"glyph {character}")
            for contour in pen.contours:
                text.append("contour " + " ".join(f"{round(x)} {round(y)}" for x, y in contour))
    return "\n".join(text) + "\n"


def model(weights):
    """The weights as ONNX: a strip [1, 1, 24, 768] to the classes of its steps, [1, 38, 1, 192]."""
    import numpy
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    values = numpy.frombuffer(weights, dtype="<f4")
    nodes, tensors, name, at = [], [], "strip", 0
    for index, (kernel, pad, depth, channels, pool) in enumerate(LAYERS, 1):
        count = kernel[0] * kernel[1] * depth * channels
        matrix = values[at:at + count].reshape(*kernel, depth, channels).transpose(3, 2, 0, 1)
        bias = values[at + count:at + count + channels]
        at += count + channels
        last = index == len(LAYERS)
        if last:
            matrix, bias = matrix[:CLASSES], bias[:CLASSES]
        tensors += [numpy_helper.from_array(numpy.ascontiguousarray(matrix), f"w{index}"),
                    numpy_helper.from_array(numpy.ascontiguousarray(bias), f"b{index}")]
        out = "classes" if last else f"sum{index}"
        nodes.append(helper.make_node("Conv", [name, f"w{index}", f"b{index}"], [out], kernel_shape=kernel,
                                      pads=[pad[0], pad[1], pad[0], pad[1]]))
        name = out
        if not last:
            nodes.append(helper.make_node("Relu", [name], [f"relu{index}"]))
            name = f"relu{index}"
        if pool:
            nodes.append(helper.make_node("MaxPool", [name], [f"pool{index}"], kernel_shape=pool, strides=pool))
            name = f"pool{index}"
    if at != len(values):
        raise Failure(f"the trainer wrote {len(values)} weights instead of {at}")
    graph = helper.make_graph(
        nodes, "ocrb", [helper.make_tensor_value_info("strip", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("classes", TensorProto.FLOAT, [1, CLASSES, 1, WIDTH // 4])], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="menshen")
    onnx.checker.check_model(made)
    return made.SerializeToString()


def compiler():
    """The compiler, which is new enough."""
    rustc = os.environ.get("RUSTC") or "rustc"
    what_to_do = ("install a Rust toolchain (https://rustup.rs), or name a compiler in RUSTC; on Debian 12 scripts/cross.sh setup "
                  "unpacks one into ~/.cache/menshen/cross/rust/bin/rustc")
    try:
        said = subprocess.run([rustc, "-V"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except OSError as e:
        raise Failure(f"the trainer cannot be compiled: {rustc} cannot be run: {e.strerror}; {what_to_do}") from e
    version = re.match(r"rustc (\d+)\.(\d+)", said.stdout)
    if said.returncode != 0 or not version:
        raise Failure(f"the trainer cannot be compiled: {rustc} does not say its version: {said.stdout.strip()}; {what_to_do}")
    if tuple(map(int, version.groups())) < RUST:
        raise Failure(f"the trainer cannot be compiled: it needs Rust {RUST[0]}.{RUST[1]} or newer, and this is {said.stdout.strip()}; "
                      f"{what_to_do}")
    return rustc


def compile_trainer(directory):
    trainer = directory / "train"
    # The processor's own instructions: rustc rounds with them as without them.
    command = [compiler(), "--edition", "2021", "-C", "opt-level=3", "-C", "target-cpu=native", "-A", "dead_code",
               "-o", str(trainer), str(HERE / "train.rs")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise Failure(f"the trainer cannot be compiled:\n{done.stdout.strip()}")
    return trainer


def write(path, data):
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(data)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def main(arguments):
    parser = argparse.ArgumentParser(description="Make the reader of OCR-B lines.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--outlines", action="store_true", help="write only the outlines of the font")
    parser.add_argument("--measure", action="store_true", help="measure the accuracy afterwards")
    parser.add_argument("--updates", type=int, help="train shorter or longer than the pinned model was")
    options = parser.parse_args(arguments)
    text = outlines()
    if options.outlines:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write(options.out, text.encode())
        return 0
    with tempfile.TemporaryDirectory(prefix="menshen-ocrb-") as directory:
        directory = Path(directory)
        (directory / "outlines").write_text(text)
        trainer = compile_trainer(directory)
        command = [trainer, directory / "outlines", directory / "weights"]
        if options.updates:
            command.append(str(options.updates))
        if subprocess.run(command, stdin=subprocess.DEVNULL, preexec_fn=lambda: os.nice(19)).returncode != 0:
            raise Failure("the training failed")
        write(options.out, model((directory / "weights").read_bytes()))
        if options.measure:
            subprocess.run([trainer, "--measure", directory / "outlines", directory / "weights"], check=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failure, OSError) as e:
        print(f"build.py: {e}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
