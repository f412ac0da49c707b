#!/usr/bin/env python3
"""Measures Menshen beside its peers on this machine, and prints one table. Nothing is asserted.

    bench_peers.py [--menshen target/release/menshen] [--models models] [--picture FILE]
                   [--rounds 5] [--json]

One thread each, one after the other, in rounds, so that a busy moment of the machine meets all of
them; printed are the medians over the rounds of the medians within each.

  frame, OpenCV    the same published models in Python: OpenCV decodes, scales, aligns and crops,
                   onnxruntime runs; the detector on the whole 640 x 480, and, for a fair look at
                   the rest, on the coarse size that Menshen gives its detector most of the time
  frame, dlib      face_recognition (dlib-bin): HOG detector, 5 landmarks, 128 values; no liveness
  search           faiss-cpu, IndexFlatIP, exact, 32-bit floats
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

# Before numpy and its like are loaded: they read these once.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import cv2
import faiss
import numpy as np
import onnxruntime

ROOT = Path(__file__).resolve().parent.parent
# ArcFace's five points on 112 x 112.
REFERENCE = np.float32([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366],
                        [41.5493, 92.3655], [70.7299, 92.2041]])
SEARCHED = (50_000, 100_000)
QUERIES = 1000


def timed(times, action, *arguments):
    began = time.perf_counter()
    result = action(*arguments)
    times.append((time.perf_counter() - began) * 1e3)
    return result


class Python:
    """The published models by OpenCV and onnxruntime."""

    def __init__(self, models, size):
        manifest = tomllib.loads((models / "models.toml").read_text())
        self.detector, self.embedder, self.liveness = (manifest[n] for n in ("detector", "embedder", "liveness"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3

        def session(model):
            file = published(manifest, model)
            return onnxruntime.InferenceSession(str(models / file), options, providers=["CPUExecutionProvider"])

        self.sessions = [session(m) for m in (self.detector, self.embedder, self.liveness)]
        self.size = size
        anchors = []
        for stride, sides in zip(self.detector["strides"], self.detector["anchors"]):
            y, x = np.mgrid[:-(-size[1] // stride), :-(-size[0] // stride)]
            centre = (np.stack([x.ravel(), y.ravel()], 1) + 0.5) * stride
            anchors.append(np.stack([np.column_stack([centre, np.full(len(centre), s), np.full(len(centre), s)])
                                     for s in sides], 1).reshape(-1, 4))
        self.anchors = np.concatenate(anchors).astype(np.float32)

    def detect(self, picture):
        # Menshen's input sizes need not be whole strides; OpenCV scales to the same.
        scaled = picture if self.size == picture.shape[1::-1] else cv2.resize(picture, self.size, interpolation=cv2.INTER_AREA)
        blob = cv2.dnn.blobFromImage(scaled, 1.0, self.size, self.detector["mean"])
        loc, conf, marks = self.sessions[0].run(
            [self.detector["outputs"][n] for n in ("loc", "conf", "landmarks")], {self.detector["input"]: blob})
        sure = conf[0, :, 1] > 0.65
        anchors, loc, marks, scores = self.anchors[sure], loc[0][sure], marks[0][sure], conf[0, sure, 1]
        centre = anchors[:, :2] + loc[:, :2] * 0.1 * anchors[:, 2:]
        side = anchors[:, 2:] * np.exp(loc[:, 2:] * 0.2)
        boxes = np.concatenate([centre - side / 2, side], 1)
        points = anchors[:, None, :2] + marks.reshape(-1, 5, 2) * 0.1 * anchors[:, None, 2:]
        kept = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), 0.65, 0.4)).ravel()
        back = picture.shape[1] / self.size[0]
        best = kept[np.argmax(boxes[kept, 2] * boxes[kept, 3])]
        return boxes[best] * back, points[best] * back

    def frame(self, data, index, stages):
        picture = timed(stages["decode"], cv2.imdecode, np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        box, points = timed(stages["detect"], self.detect, picture)

        def align():
            turn, _ = cv2.estimateAffinePartial2D(points.astype(np.float32), REFERENCE, method=cv2.LMEDS)
            return cv2.warpAffine(picture, turn, (112, 112))

        face = timed(stages["align"], align)

        def template():
            blob = cv2.dnn.blobFromImage(face, self.embedder["scale"], (112, 112), (self.embedder["mean"],) * 3)
            values = self.sessions[1].run(None, {self.embedder["input"]: blob})[0]
            return values / np.linalg.norm(values)

        values = timed(stages["template"], template)
        timed(stages["search"], index.search, values, 1)

        def liveness():
            x, y, w, h = box
            cx, cy, half = x + w / 2, y + h / 2, self.liveness["crop"] * max(w, h) / 2
            height, width = picture.shape[:2]
            half = min(half, width / 2, height / 2)
            cx, cy = min(max(cx, half), width - half), min(max(cy, half), height - half)
            crop = picture[int(cy - half):int(cy + half), int(cx - half):int(cx + half)]
            side = self.liveness["size"]
            blob = cv2.dnn.blobFromImage(crop, self.liveness["scale"], (side, side), (self.liveness["mean"],) * 3)
            return self.sessions[2].run(None, {self.liveness["input"]: blob})[0]

        timed(stages["liveness"], liveness)


def published(manifest, model):
    """The file as its package ships it, if the set-up has made a faster one of it."""
    for convert in manifest.get("convert", []):
        if Path(convert.get("to", "")).name == model["file"]:
            return Path(convert["from"]).name
    return model["file"]


def dlib_frame(recognition, data, known, stages):
    import io
    from PIL import Image
    picture = timed(stages["decode"], lambda: np.array(Image.open(io.BytesIO(data)).convert("RGB")))
    boxes = timed(stages["detect"], recognition.face_locations, picture)
    values = timed(stages["template"], recognition.face_encodings, picture, boxes, 1, "small")
    timed(stages["search"], lambda: np.linalg.norm(known - values[0], axis=1).argmin())


def measure_frame(run, frames):
    stages = {n: [] for n in ("decode", "detect", "align", "template", "search", "liveness", "total")}
    for i in range(frames + 3):
        timed(stages["total"], run, stages)
        if i == 2:
            for times in stages.values():
                times.clear()
    return {n: statistics.median(t) if t else 0.0 for n, t in stages.items()}


def menshen(arguments, *options):
    command = [arguments.menshen, "bench", "--json", "--models", str(arguments.models), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"bench_peers.py: {' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--menshen", default=str(ROOT / "target/release/menshen"))
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument("--picture", type=Path, default=ROOT / ".setup/demo/enrol/A.jpg")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    data = arguments.picture.read_bytes()
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]

    try:
        import face_recognition as recognition
    except ImportError:
        recognition = None
        print("bench_peers.py: face_recognition is not installed and is left out", file=sys.stderr)

    random = np.random.default_rng(1)
    known = random.normal(size=(SEARCHED[0], 512)).astype(np.float32)
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(512)
    index.add(known)
    known_128 = random.normal(size=(SEARCHED[0], 128))

    first = menshen(arguments, "--picture", str(arguments.picture), "--frames", "5", "--searches", "5")
    coarse = tuple(first["bare_models"]["detector_input"])
    full, half = Python(arguments.models, (width, height)), Python(arguments.models, coarse)

    runs = {"menshen": [], "opencv": [], "opencv coarse": [], "dlib": []}
    bare, ready, resident, searches = [], [], [], {n: {"menshen": [], "faiss": [], "same": []} for n in SEARCHED}
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
        report = menshen(arguments, "--picture", str(arguments.picture), "--frames", "150", "--searches", "20")
        frame = report["frame"]
        runs["menshen"].append({n: frame[n]["p50"] for n in frame if isinstance(frame[n], dict)} | {"mean": frame["total"]["mean"], "p95": frame["total"]["p95"]})
        bare.append(report["bare_models"]["total"])
        ready.append(report["ready"])
        resident.append(report["resident_mib"])
        runs["opencv"].append(measure_frame(lambda stages: full.frame(data, index, stages), 40))
        runs["opencv coarse"].append(measure_frame(lambda stages: half.frame(data, index, stages), 40))
        if recognition:
            runs["dlib"].append(measure_frame(lambda stages: dlib_frame(recognition, data, known_128, stages), 8))
    for count in SEARCHED:
        templates = random.normal(size=(count, 512)).astype(np.float32)
        templates /= np.linalg.norm(templates, axis=1, keepdims=True)
        queries = random.normal(size=(QUERIES, 512)).astype(np.float32)
        # Half of the queries are people who are there, on another day: cosine about 0.6.
        queries[::2] = 0.6 * templates[random.integers(0, count, QUERIES // 2)] * np.sqrt(512) + 0.8 * queries[::2]
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        flat = faiss.IndexFlatIP(512)
        flat.add(templates)
        with tempfile.TemporaryDirectory() as folder:
            # As the store has them: 16 bits, the largest value of a row 32767.
            rows = templates * (32767 / np.abs(templates).max(axis=1, keepdims=True))
            np.round(rows).astype("<i2").tofile(f"{folder}/templates")
            queries.astype("<f4").tofile(f"{folder}/queries")
            for _ in range(arguments.rounds):
                times, best = [], []
                for query in queries:
                    best.append(timed(times, flat.search, query[None], 1)[1][0, 0])
                mine = menshen(arguments, "--templates", f"{folder}/templates", "--queries", f"{folder}/queries")
                searches[count]["faiss"].append(statistics.median(times))
                searches[count]["menshen"].append(mine["search"]["search"]["p50"])
                searches[count]["same"].append(int((np.array(best) == np.array(mine["best"])).sum()))

    middle = lambda values: statistics.median(values) if values else None
    summary = {
        "frame_ms": {peer: {n: middle([r[n] for r in rounds]) for n in rounds[0]} for peer, rounds in runs.items() if rounds},
        "bare_models_ms": middle(bare),
        "ready_ms": middle(ready),
        "resident_mib": middle(resident),
        "search_ms": {str(n): {"menshen": middle(s["menshen"]), "faiss": middle(s["faiss"]),
                               "same_of_1000": min(s["same"])} for n, s in searches.items()},
    }
    if arguments.json:
        print(json.dumps(summary, indent=2))
        return
    table(summary, coarse, (width, height))


def table(summary, coarse, size):
    frames = summary["frame_ms"]
    mine = frames["menshen"]
    names = {"menshen": "Menshen", "opencv": f"Python, {size[0]} x {size[1]}",
             "opencv coarse": f"Python, {coarse[0]} x {coarse[1]}", "dlib": "face_recognition"}
    stages = ("decode", "detect", "align", "template", "search", "liveness", "total")
    print(f"{'ms, medians, one thread':<26}" + "".join(f"{s:>10}" for s in stages) + f"{'Menshen /':>12}")
    for peer, values in frames.items():
        ratio = "" if peer == "menshen" else f"{mine['total'] / values['total']:>12.3f}"
        print(f"{names[peer]:<26}" + "".join(f"{values[s]:>10.2f}" for s in stages) + ratio)
    print(f"{'bare model runs':<26}{'':>60}{summary['bare_models_ms']:>10.2f}{mine['total'] / summary['bare_models_ms']:>12.3f}")
    print(f"Menshen's mean frame {mine['mean']:.2f}, p95 {mine['p95']:.2f} (a full look twice a second)")
    for count, values in summary["search_ms"].items():
        print(f"search of {count:>6}: Menshen {values['menshen']:.3f}, faiss {values['faiss']:.3f}, "
              f"ratio {values['menshen'] / values['faiss']:.3f}, same best on {values['same_of_1000']} of 1000")
    print(f"ready in {summary['ready_ms']:.0f} ms, {summary['resident_mib']:.0f} MiB with 50000 people")


if __name__ == "__main__":
    main()
