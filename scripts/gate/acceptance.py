#!/usr/bin/env python3
"""The acceptance of the emulated gate: the image boots in QEMU with kernel devices, real people stand before its camera,
and every promise is looked at from outside: on the GPIO lines by the kernel's own clock, on the serial line, at the
loudspeaker, at the platform, on the disk.

    acceptance.py [--menshen FILE] [--image FILE] [--bundles DIR] [--tests DIR] [--cuts N] [NAME...]

NAMEs choose checks (those that they need run too). With --thorough, those too that take minutes each and are for a
release, not for every change. Exit code 0: all passed.
"""

import argparse
import array
import base64
import hashlib
import http.server
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import power
from gate import PATIENCE, ROOT, WORK, Card, Failed, Gate, Platform, say

DEMO = ROOT / ".setup/demo"
# Of the demonstration's round at 15 frames a second (scripts/demo_frames.py): first frame, how many, every which.
SCENES = {"empty": (0, 2, 3), "enrolled": (18, 6, 6), "stranger": (138, 6, 6)}
# What the overlay's menshen.toml says.
PULSE_S = 1.5
# What is printed on the simulated social security card, and a bank card's account number (src/simulate/card/profile.rs).
PRINTED, ACCOUNT = "T00000001", "6200000000000005"
# What libccid calls QEMU's reader of chip cards.
READER = "Gemplus USB SmartCard Reader"
# How much slower than a real gate the emulation may be where a promise has a time.
SLOWER = 4

CHECKS = []


class Skipped(Exception):
    """A check that could not be made, with the reason."""


def check(needs=(), thorough=False):
    def register(function):
        CHECKS.append((function.__name__.replace("_", " "), function, needs, thorough))
        return function
    return register


def expect(truth, text):
    if not truth:
        raise Failed(text)


def wiegand_frame(number, width):
    """The frame of a number, as docs/wire.md lays it down: even parity, data, odd parity."""
    bits = width - 2
    data = format(number & ((1 << bits) - 1), f"0{bits}b")
    half = bits // 2
    even = str(data[:half].count("1") % 2)
    odd = str(1 - data[half:].count("1") % 2)
    return even + data + odd


def person(number, card="", faces=()):
    return {
        "personId": number, "personCode": number, "name": "张三", "type": 1, "icNum": card,
        **{f"pass{day}": True for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")},
        "passMode": 255, "extPassRule": {},
        "faces": [{"faceId": f"face-{number}-{index}", "image": base64.b64encode(face).decode()} for index, face in enumerate(faces)],
    }


class Site:
    """What the checks share."""

    def __init__(self, options):
        self.options = options
        self.menshen = options.menshen
        self.host = WORK / "host"
        self.runs = WORK / "run"
        for folder in (self.host, self.runs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        frames = sorted((DEMO / "frames").glob("*.jpg"))
        expect(frames, "there are no demonstration frames: run scripts/setup.sh gate")
        for scene, (first, count, step) in SCENES.items():
            folder = self.host / "scenes" / scene
            folder.mkdir(parents=True)
            for index in range(count):
                shutil.copy(frames[first + index * step], folder / f"{index:02d}.jpg")
        self.face = (DEMO / "enrol/A.jpg").read_bytes()
        self.other_face = (DEMO / "enrol/B.jpg").read_bytes()
        if options.tests:
            shutil.copytree(options.tests, self.host / "tests")
        self.platform = Platform(self.menshen, self.runs)
        self.bundles = self.serve(options.bundles) if options.bundles else None
        self.gate = None
        self.disk = self.runs / "gate.img"
        self.log = self.runs / "writes.log"
        self.rng = random.Random(options.seed)

    @staticmethod
    def serve(folder):
        """An HTTP server for update bundles; answers with its port."""
        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments):
                super().__init__(*arguments, directory=str(folder))

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_port

    def switch_on(self, disk, log=None, devices=()):
        """Switches a gate on and does not wait for it."""
        forwards = {"10.0.2.100:5005": self.platform.port}
        if self.bundles:
            forwards["10.0.2.101:80"] = self.bundles
        self.gate = Gate(self.options.boot, disk, self.host, forwards, log, self.runs, devices=devices)
        return self.gate

    def start(self, disk, log=None, devices=()):
        """Switches a gate on and waits for its shells."""
        self.switch_on(disk, log, devices)
        self.gate.wait_for_shell()
        self.gate.page.listen()
        return self.gate

    def ready(self, within=240):
        """Waits until the agent is ready for faces."""
        until = time.monotonic() + within
        while True:
            try:
                status = self.gate.page.get("/api/v1/status", 10)
                if status["ready"]:
                    return status
            except (OSError, Failed, ValueError):
                pass
            if time.monotonic() > until:
                journal = self.gate.shell.run("systemctl status menshen; journalctl -u menshen -n 40 --no-pager", 60, False)
                raise Failed(f"the agent was not ready within {within} s:\n{journal}")
            time.sleep(0.5)

    def pid(self):
        return int(self.gate.shell.run("systemctl show -p MainPID --value menshen 2>/dev/null || pidof menshen"))

    def people(self):
        """How many people the gate has."""
        return self.gate.page.get("/api/v1/status")["store"]["people"]

    def switch_off(self):
        """Ends the gate that is on, if one is."""
        if self.gate:
            self.gate.close()
            self.gate = None

    def close(self):
        self.switch_off()
        self.platform.close()


# ---- it starts -----------------------------------------------------------------------------------


@check()
def it_boots_until_it_is_ready_for_faces(site):
    power.copy(site.options.image, site.disk)
    site.start(site.disk, site.log)
    shell = time.monotonic() - site.gate.started
    status = site.ready()
    ready = time.monotonic() - site.gate.started
    cameras = [camera.get("state") for camera in status["cameras"]]
    return f"shell after {shell:.0f} s, ready after {ready:.0f} s ({status['ready_ms']} ms of them the agent's), cameras {cameras}"


@check(needs=["it boots until it is ready for faces"])
def it_logs_in_to_its_platform(site):
    site.platform.wait("logged_in", 0, 120)
    return f"as {[e for e in site.platform.entries.since(0) if e.get('event') == 'register'][0]['serial']}"


@check(needs=["it logs in to its platform"])
def its_devices_are_found(site):
    text = site.gate.shell.run("menshen doctor", 120, check=False)
    bad = [line for line in text.splitlines() if line.startswith("FAIL")]
    expect(not bad, f"menshen doctor finds: {bad}")
    reader = [line for line in text.splitlines() if line.startswith("ok") and READER in line]
    expect(reader, f"menshen doctor does not name the reader of chip cards, {READER}:\n{text}")
    names = site.gate.shell.run("ls /dev/gate").split()
    for kind in ("serial-", "gpio-", "camera-", "rtc"):
        expect(any(name.startswith(kind) for name in names), f"/dev/gate has no name for {kind}: {names}")
    return f"menshen doctor: {sum(line.startswith('ok') for line in text.splitlines())} things in order; {len(names)} names in /dev/gate"


# A door that is opened soon after an opening is not forced, so this comes first.
@check(needs=["it logs in to its platform"])
def a_forced_door_and_an_opened_case_are_told(site):
    gate = site.gate
    line, page = gate.trace.here(), gate.page.mark()
    gate.rig(f"pull {gate.line('door-contact')} 1000")
    gate.page.wait("door", page, state="forced")
    gate.page.wait("door", page, state="closed")
    gate.rig(f"pull {gate.line('tamper')} 1000")
    gate.page.wait("input", page, input="tamper", state="open")
    gate.page.wait("input", page, input="tamper", state="closed")
    changes = gate.trace.changes("relay-lock", line, 0)
    expect(not changes, f"the relay moved: {changes}")
    return "events of both, and the relay did not move"


# ---- people and passages -------------------------------------------------------------------------


@check(needs=["it logs in to its platform"])
def people_are_enrolled_by_the_platform(site):
    began = time.monotonic()
    site.platform.command("add_person_face", person("100001", "3000001", [site.face]))
    with_face = time.monotonic() - began
    site.platform.command("add_person_face", person("100002", "3000002", [site.other_face]))
    return f"with a face in {with_face:.1f} s"


def leave(site):
    """Nobody stands before the camera any more, and the gate has seen it: pictures that were on their way are through."""
    mark = site.gate.page.mark()
    site.gate.scene("empty")
    site.gate.page.wait("face", mark, faces=[])


def opened(site, line, within=PATIENCE):
    """The pulse of the relay after mark `line`: its beginning and length."""
    trace = site.gate.trace
    on = trace.wait_level("relay-lock", 1, line, within)
    trace.sets.wait("relay-lock back", lambda s: s[1:] == ("relay-lock", 0) and s[0] > on, line)
    pulses = trace.pulses("relay-lock", line, 0)
    return next(pulse for pulse in pulses if pulse[0] == on)


@check(needs=["people are enrolled by the platform"])
def an_enrolled_face_opens(site):
    gate = site.gate
    line, serial, platform, page = gate.trace.here(), gate.rs485.mark(), site.platform.mark(), gate.page.mark()
    sound = start_listening(site)
    expect(gate.level("relay-lock") == 0, "the relay is up before anybody came")
    gate.scene("enrolled")
    began = time.monotonic()
    _, length = opened(site, line)
    seconds = time.monotonic() - began
    leave(site)
    # Kernel time stamps; the end of the pulse waits for the emulated processor.
    expect(PULSE_S - 0.005 <= length <= PULSE_S + 0.15, f"the relay was up for {length:.3f} s, outputInterval is {PULSE_S} s")
    record = site.platform.wait("snapshot_face", platform, personId="100001")
    expect(record["result"] == 1, f"the record says result {record['result']}")
    expect(record["snapPic_bytes"] > 2000, f"the record's picture has {record['snapPic_bytes']} bytes")
    gate.rs485.wait(rb"100001", serial)
    verdict = gate.page.wait("verdict", page, verdict="pass")
    site.heard = sound
    return f"relay {length * 1000:.1f} ms, {seconds:.0f} s after coming, picture {record['snapPic_bytes']} bytes, score {record['score']}, latency {verdict.get('latency_ms')} ms"


@check(needs=["an enrolled face opens"])
def wiegand_out_carries_the_card_number(site):
    bits, pulses = site.gate.trace.wiegand("wiegand-out-d0", "wiegand-out-d1", 0)
    wanted = wiegand_frame(3000001, 34)
    expect(bits == wanted, f"the lines carried {bits or 'nothing'}, not {wanted}")
    lengths = [length for _, length, _ in pulses]
    gaps = [b[0] - a[0] for a, b in zip(pulses, pulses[1:])]
    return f"{len(bits)} bits, pulses {min(lengths) * 1e6:.0f} to {max(lengths) * 1e6:.0f} us, every {min(gaps) * 1e3:.2f} to {max(gaps) * 1e3:.2f} ms (emulated)"


@check(needs=["an enrolled face opens"])
def the_voice_is_heard(site):
    samples = stop_listening(site, site.heard)
    expect(len(samples) > 8000, f"the loudspeaker's other end had {len(samples)} samples")
    loudest = max(abs(sample) for sample in samples)
    loud = sum(abs(sample) > 500 for sample in samples)
    expect(loudest > 2000 and loud > 1000, f"it was silent: loudest {loudest}, {loud} loud samples of {len(samples)}")
    return f"loudest sample {loudest} of 32767, {loud} of {len(samples)} above 500"


def start_listening(site):
    """Keeps what is played from now on; answers with the name of the file."""
    name = f"heard-{time.monotonic_ns()}.raw"
    site.gate.shell.run(
        f"/usr/lib/gate-rig/arecord -q -D hw:Loopback,1,0 -t raw -f S16_LE -c 1 -r 16000 /run/gate-rig/{name} "
        f">/run/gate-rig/arecord.log 2>&1 & echo $! >/run/gate-rig/arecord.pid"
    )
    return name


def stop_listening(site, name):
    site.gate.shell.run(
        f"kill $(cat /run/gate-rig/arecord.pid) 2>/dev/null; cat /run/gate-rig/arecord.log >&2; "
        f"cp /run/gate-rig/{name} /run/gate-rig/host/{name}"
    )
    samples = array.array("h")
    data = (site.host / name).read_bytes()
    samples.frombytes(data[:len(data) // 2 * 2])
    return samples


@check(needs=["people are enrolled by the platform"])
def a_stranger_stays_outside(site):
    gate = site.gate
    line, platform = gate.trace.here(), site.platform.mark()
    gate.scene("stranger")
    try:
        record = site.platform.entries.wait(
            "the stranger's record", lambda e: e.get("event") == "snapshot_face", platform, 2 * PATIENCE)
    finally:
        leave(site)
    expect(record["result"] != 1, f"the record says result {record['result']}")
    expect(record["personId"] == "", f"the record names {record['personId']}")
    expect(record["snapPic_bytes"] > 2000, "the record has no picture")
    changes = gate.trace.changes("relay-lock", line, 0)
    expect(not changes, f"the relay moved: {changes}")
    return f"recorded with result {record['result']}, the relay did not move"


@check(needs=["people are enrolled by the platform"])
def a_card_opens_through_wiegand_in(site):
    gate = site.gate
    line, platform, serial = gate.trace.here(), site.platform.mark(), gate.rs485.mark()
    sent = present_card(site, 3000002)
    began, length = opened(site, line)
    expect(PULSE_S - 0.005 <= length <= PULSE_S + 0.15, f"the relay was up for {length:.3f} s")
    record = site.platform.wait("snapshot_face", platform, personId="100002")
    expect(record["result"] == 1, f"the record says result {record['result']}")
    gate.rs485.wait(rb"100002", serial)
    # A card of nobody's, sent after it: what the gate answers to it comes after any late opening.
    line, platform, page = gate.trace.here(), site.platform.mark(), gate.page.mark()
    present_card(site, 3999999)
    gate.page.wait("verdict", page, verdict="refuse")
    changes = gate.trace.changes("relay-lock", line, 0)
    expect(not changes, f"the relay moved for a card of nobody's: {changes}")
    return f"relay {length * 1000:.1f} ms; reader: {sent}; a card of nobody's opens nothing"


def present_card(site, number):
    """Holds a card before the reader, again where the gate says that edges were missed: a host that is busy for some
    milliseconds is no disturbed line, and whoever stands there would do the same."""
    page = site.gate.page
    for attempt in range(1, 8):
        mark = page.mark()
        sent = send_card(site.gate, number)
        try:
            answer = page.events.wait(
                "the gate's word on a card",
                lambda e: e.get("kind") == "verdict" or (e.get("kind") == "reader" and e.get("state") == "damaged"),
                mark, PATIENCE / 6)
        except Failed as failure:
            # What disturbs the line is told once, until a frame comes whole.
            answer = failure
            continue
        if answer["kind"] == "verdict":
            return f"{sent}, {attempt} tries"
    raise Failed(f"no frame of a card came whole in seven tries: {answer}")


def send_card(gate, number, width=34):
    """Bits as a reader sends them: pulses of 50 us every 2 ms."""
    return gate.rig(f"wiegand {gate.line('wiegand-in-d0')} {gate.line('wiegand-in-d1')} {wiegand_frame(number, width)} 50 2000")


@check(needs=["people are enrolled by the platform"])
def a_chip_card_opens_through_the_card_service(site):
    gate, page, reader = site.gate, site.gate.page, site.gate.reader
    reached = {user: gate.rig(f"reach /run/pcscd/pcscd.comm $(id -u {user})") for user in ("menshen", "nobody", "systemd-network")}
    expect(reached == {"menshen": "reached", "nobody": "Permission denied", "systemd-network": "Permission denied"},
           f"who may talk to chip cards: {reached}")
    runs_as = gate.shell.run("ps -o user= -C pcscd 2>/dev/null || stat -c %U /proc/$(systemctl show -p MainPID --value pcscd)")
    expect(runs_as.strip() == "pcscd", f"the card service runs as {runs_as}")
    site.platform.command("add_person_face", person("100003", PRINTED))
    line, platform, mark = gate.trace.here(), site.platform.mark(), page.mark()
    began = time.monotonic()

    def refused(since):
        """A card was read, and opens for nobody."""
        page.wait("credential", since, credential="card")
        page.wait("verdict", since, verdict="refuse")

    card = Card(site.menshen, reader.port, site.runs, "social-security")
    try:
        # The number of its print is that of its holder.
        card.wait("inserted")
        page.wait("credential", mark, credential="card")
        seconds = time.monotonic() - began
        opened(site, line)
        record = site.platform.wait("snapshot_face", platform, personId="100003")
        expect(record["result"] == 1, f"the record says result {record['result']}")

        def take_out():
            """Out of the reader, which has seen it: the doctor asks the card service."""
            card.order("remove", "removed")
            until = time.monotonic() + PATIENCE
            while "no card in it" not in (seen := gate.shell.run(f"menshen doctor | grep '{READER}'", check=False)):
                expect(time.monotonic() < until, f"the card was taken out, and the reader says {seen!r}")

        # One without a number that may be used.
        take_out()
        mark, line = page.mark(), gate.trace.here()
        card.order("insert bank-without-directory", "inserted")
        unread = page.wait("reader", mark, reader="contact_reader", state="unreadable")["error"]
        expect("no number that may be used here" in unread, f"a card without a number: {unread}")
        # One of nobody's.
        take_out()
        mark = page.mark()
        card.order("insert bank", "inserted")
        refused(mark)

        # The reader is unplugged with it and plugged in again.
        mark = page.mark()
        reader.unplug(gate.monitor)
        lost = page.wait("reader", mark, reader="contact_reader", state="failed")["error"]
        expect("unplugged" in lost or "is it plugged in" in lost, f"an unplugged reader: {lost}")
        mark, began = page.mark(), time.monotonic()
        reader.plug(gate.monitor)
        page.wait("reader", mark, reader="contact_reader", state="ok")
        refused(mark)
        found = time.monotonic() - began

        # The service dies, and is back with its readers.
        mark, began = page.mark(), time.monotonic()
        gate.shell.run("systemctl kill --signal=KILL pcscd")
        page.wait("reader", mark, reader="contact_reader", state="failed")
        page.wait("reader", mark, reader="contact_reader", state="ok")
        refused(mark)
        back = time.monotonic() - began
    finally:
        card.close()
    changes = gate.trace.changes("relay-lock", line, 0)
    expect(not changes, f"the relay moved for a card of nobody's: {changes}")
    said = gate.shell.run(f"journalctl --sync; journalctl -b --no-pager | grep -F -e {PRINTED} -e {ACCOUNT}", check=False)
    expect(not said, f"the journal has numbers of cards: {said}")
    return (f"read {seconds * 1000:.0f} ms after it was put in; other users do not reach the service; card read again {found:.1f} s after its "
            f"reader was plugged in, {back:.1f} s after the service was killed; unplugged: {lost}")


@check(needs=["it logs in to its platform"])
def the_exit_button_opens(site):
    gate = site.gate
    line, page = gate.trace.here(), gate.page.mark()
    gate.rig(f"pull {gate.line('exit-button')} 300")
    _, length = opened(site, line)
    expect(PULSE_S - 0.005 <= length <= PULSE_S + 0.15, f"the relay was up for {length:.3f} s")
    return f"relay {length * 1000:.1f} ms"


@check(needs=["it logs in to its platform"])
def the_platform_opens(site):
    gate = site.gate
    line = gate.trace.here()
    site.platform.command("open_door", {})
    _, length = opened(site, line)
    return f"relay {length * 1000:.1f} ms"


# ---- what goes wrong -----------------------------------------------------------------------------


@check(needs=["it boots until it is ready for faces"])
def the_camera_comes_back(site):
    gate = site.gate
    page = gate.page.mark()
    gate.shell.run("systemctl stop gate-rig-camera")
    lost = gate.page.wait("camera", page, 60, state="lost")
    # A program that holds the device keeps the module; the gate lets go of it when it sees no frames.
    gate.shell.run("i=0; until rmmod v4l2loopback 2>/run/gate-rig/rmmod; do i=$((i+1)); [ $i -lt 100 ] || { cat /run/gate-rig/rmmod; exit 1; }; sleep 0.1; done; ! [ -e /dev/video10 ]", 60)
    time.sleep(1)
    page = gate.page.mark()
    began = time.monotonic()
    gate.shell.run(
        "insmod /usr/lib/gate-rig/modules/v4l2loopback.ko devices=1 video_nr=10 card_label=gate-camera exclusive_caps=1 max_buffers=4; "
        "systemctl start gate-rig-camera"
    )
    gate.page.wait("camera", page, 60, state="watching")
    seconds = time.monotonic() - began
    expect(seconds <= 2 * SLOWER, f"back {seconds:.1f} s after it was plugged in; 2 s on a real gate, {2 * SLOWER} s here")
    return f"watching {seconds:.1f} s after it was plugged in; lost: {lost.get('error')}"


@check(needs=["people are enrolled by the platform"])
def a_killed_process_is_back_and_the_door_shut(site):
    gate = site.gate
    pid = site.pid()
    watched = f"/run/gate-rig/watched-{pid}"
    line = gate.trace.here()
    gate.rig(f"pull {gate.line('exit-button')} 300")
    gate.trace.wait_level("relay-lock", 1, line)
    gate.shell.run(f"/usr/lib/gate-rig/rig watch {gate.line('relay-lock', 'value')} 3000 >{watched} & sleep 0.1; "
                   f"cat /proc/uptime; kill -9 {pid}", 30)
    began = time.monotonic()
    until = began + 5 * SLOWER
    while True:
        now = gate.shell.run("systemctl show -p MainPID --value menshen 2>/dev/null || pidof menshen || echo 0").strip()
        if now not in ("0", "", str(pid)):
            break
        expect(time.monotonic() < until, f"no new process within {5 * SLOWER} s")
        time.sleep(0.2)
    back = time.monotonic() - began
    site.ready(120)
    ready = time.monotonic() - began
    gate.shell.run("sleep 1")
    levels = [line.split() for line in gate.shell.run(f"cat {watched}").splitlines()]
    expect(levels and levels[0][1] == "1", f"the relay was not up when the process was killed: {levels}")
    expect(levels[-1][1] == "0", f"the relay stayed up after the process had died: {levels}")
    fell = (int(levels[-1][0]) - int(levels[0][0])) / 1e6
    expect(back <= 5 * SLOWER, f"back after {back:.1f} s")
    return f"the relay fell within {fell:.0f} ms of the watch, the process was back after {back:.1f} s, ready after {ready:.1f} s"


# ---- the technician's line -----------------------------------------------------------------------


def log_in(console, password):
    """Logs in at the prompt that is there; answers with the mark after the password."""
    mark = console.mark()
    console.send(b"technician\r")
    console.wait(rb"[Pp]assword: ", mark)
    mark = console.mark()
    console.send(password + b"\r")
    return mark


@check(needs=["it boots until it is ready for faces"])
def the_technician_logs_in_on_the_serial_line(site):
    console = site.gate.console

    mark = console.mark()
    console.send(b"\r")
    console.wait(rb"login: ", mark)
    mark = log_in(console, b"not-the-password")
    console.wait(rb"[Ll]ogin incorrect", mark)
    console.wait(rb"login: ", mark)
    mark = log_in(console, site.options.password.encode())
    # The first thing that a technician sees: the console's screen, or a prompt of the shell.
    seen = console.wait(rb"\x1b\[|[$#] ", mark)
    console.send(b"\x04")
    refused = console.since(mark)
    expect(b"incorrect" not in refused, f"the password was refused: {refused[-300:]!r}")
    what = "a screen" if seen[0].startswith(b"\x1b") else "a shell"
    return f"a wrong password is refused, the right one brings {what}"


# ---- drivers in the gate -------------------------------------------------------------------------

# How each test program is told of the rig's devices.
TESTS = {
    "camera_v4l2": "MENSHEN_VIVID=/dev/video20,/dev/video21 "
                   "MENSHEN_VIVID_UNPLUG='echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind' "
                   "MENSHEN_VIVID_REPLUG='echo vivid.0 >/sys/bus/platform/drivers/vivid/bind'",
    "gpio_lines": "MENSHEN_GPIO_SIM=$(cat /run/gate-rig/test-chip)",
}


@check(needs=["it boots until it is ready for faces"])
def the_drivers_own_tests_pass_here(site):
    tests = [name for name in TESTS if (site.host / "tests" / name).is_file()]
    if not tests:
        raise Skipped("no test programs were given (--tests)")
    results = []
    site.gate.shell.run("systemctl stop menshen", 60)
    try:
        for name in tests:
            output = site.gate.shell.run(
                f"cp /run/gate-rig/host/tests/{name} /run/ && {TESTS[name]} /run/{name} --ignored --test-threads=1; echo code $?", 300)
            (site.runs / f"{name}.log").write_text(output)
            summary = [line for line in output.splitlines() if line.startswith("test result:")]
            expect(output.endswith("code 0") and summary, f"{name}: {output[-2500:]}")
            expect(" 0 passed" not in summary[-1], f"{name} ran no test: {summary[-1]}")
            results.append(f"{name}: {summary[-1].removeprefix('test result: ok. ')}")
    finally:
        site.gate.shell.run("systemctl start menshen", 60)
    site.ready(120)
    return "; ".join(results)


# ---- the power goes ------------------------------------------------------------------------------


@check(needs=["people are enrolled by the platform"])
def power_cuts_lose_nothing_acknowledged(site):
    gate, platform = site.gate, site.platform
    people = [f"2000{number:02d}" for number in range(8)]
    for number in people:
        platform.command("add_person_face", person(number, f"40{number}"))
    size = lambda: site.log.stat().st_size  # noqa: E731
    gate.trace.sets.stamp = size
    platform.entries.stamp = size
    line, journal = gate.trace.here(), platform.mark()
    before = size()
    over = threading.Event()

    def passages():
        while not over.is_set():
            for number in people:
                if over.is_set():
                    return
                try:
                    send_card(gate, int(f"40{number}"))
                except Failed:
                    return
                over.wait(2.2)

    walker = threading.Thread(target=passages, daemon=True)
    walker.start()
    until, number = time.monotonic() + site.options.storm, 0
    while time.monotonic() < until or number < 4 or len(gate.trace.pulses("relay-lock", line, 0)) < 6:
        expect(time.monotonic() < until + PATIENCE, "too little happened in this time")
        number += 1
        platform.command("add_person_face", person(f"9{number:05d}", "", [site.other_face]))
    # One more is under way when the power goes.
    platform.send("add_person_face", person(f"9{number + 1:05d}", "", [site.other_face]))
    time.sleep(site.rng.random() * 2)
    gate.cut_power()
    over.set()
    site.switch_off()

    log = power.Log(site.log)
    end_ = len(log.entries)
    # Sequences of answers to people in order: each command was answered before the next was sent.
    acknowledged = []
    with platform.entries.changed:
        answers = [(entry, stamp) for entry, stamp in zip(platform.entries.items[journal:], platform.entries.stamps[journal:])
                   if entry.get("event") == "answer" and entry.get("message") == "add_person_face" and entry.get("result") == 0]
    for index, (_, stamp) in enumerate(answers):
        acknowledged.append((log.position(stamp), f"9{index + 1:05d}"))
    openings = []
    level = 0
    with gate.trace.sets.changed:
        for (_, name, value), stamp in zip(gate.trace.sets.items[line:], gate.trace.sets.stamps[line:]):
            if name == "relay-lock":
                if value and not level:
                    openings.append(log.position(stamp))
                level = value
    first = log.position(before)
    moments = sorted(site.rng.randrange(first, end_) for _ in range(site.options.cuts - 1)) + [end_]
    base = site.runs / "base.img"
    power.copy(site.options.image, base)
    cuts = power.Cuts(base, log, site.options.seed)
    lost_writes = 0
    for index, moment in enumerate(moments):
        disk = site.runs / "cut.img"
        lost_writes += cuts.cut(moment, disk)
        people_there, opened_there = examine(site, disk)
        wanted = {number for at, number in acknowledged if at <= moment} | {"100001", "100002", *people}
        missing = wanted - people_there
        expect(not missing, f"cut {index + 1} at write {moment} of {end_}: acknowledged people are gone: {sorted(missing)}")
        needed = sum(at <= moment for at in openings)
        expect(opened_there >= needed, f"cut {index + 1} at write {moment} of {end_}: the door opened {needed} times, {opened_there} records of it are there")
    site.cut = disk
    return (f"{len(moments)} cuts among {end_ - first} writes ({lost_writes} lost or torn), {len(acknowledged)} enrolments and "
            f"{len(openings)} passages acknowledged meanwhile, all there")


@check(needs=["power cuts lose nothing acknowledged"])
def after_the_cut_it_boots_and_reports_what_was_left(site):
    platform = site.platform
    before = platform.mark()
    people_there, opened_there = examine(site, site.cut)
    site.start(site.cut)
    status = site.ready()
    platform.wait("logged_in", before)
    expect(status["store"]["people"] == len(people_there), f"{status['store']['people']} people, {len(people_there)} were on the disk")
    until = time.monotonic() + PATIENCE
    while site.gate.page.get("/api/v1/status")["outbox"]:
        expect(time.monotonic() < until, "the records that were left were not reported")
        time.sleep(0.5)
    passes = [entry for entry in platform.entries.since(0) if entry.get("event") == "snapshot_face" and entry.get("result") == 1]
    numbers = {entry["seq"] for entry in passes}
    expect(len(numbers) == opened_there, f"{opened_there} records opened, the platform was told of {len(numbers)} passages")
    again = len(passes) - len(numbers)
    expect(all(entry["resent"] for entry in passes[-again:]) if again else True, "a record came twice without being sent again")
    return f"{len(people_there)} people, {opened_there} passages, each reported under one sequence ({again} sent again)"


# ---- updates -------------------------------------------------------------------------------------


def upgrade(site, name):
    """Orders an update over the wire; answers with the boot before it and the version."""
    bundle = (site.options.bundles or Path("/nowhere")) / f"{name}.raucb"
    if not bundle.is_file():
        raise Skipped(f"there is no {bundle} (--bundles)")
    gate = site.gate
    gate.scene("empty")
    before = gate.boot_id()
    site.platform.command("device_upgrade", {
        "url": f"http://10.0.2.101/{name}.raucb", "check": hashlib.md5(bundle.read_bytes()).hexdigest(), "version": name,
    })
    return before


@check(needs=["after the cut it boots and reports what was left"])
def an_update_over_the_wire_is_installed(site):
    gate = site.gate
    began, slot, page = time.monotonic(), gate.slot(), gate.page.mark()
    people = site.people()
    before = upgrade(site, "good")
    gate.page.wait("update", page, 4 * PATIENCE, state="installed")
    installed = time.monotonic() - began
    gate.wait_for_reboot(before)
    status = site.ready()
    expect(gate.slot() != slot, f"it started slot {slot} again")
    expect(".good" in gate.shell.run("cat /etc/os-release"), "another system runs than the one that was sent")
    gate.page.wait("update", page, 2 * PATIENCE, state="good")
    expect(status["store"]["people"] == people, f"{people} people before, {status['store']['people']} after")
    site.slot = gate.slot()
    return f"from slot {slot} to {site.slot}: installed after {installed:.0f} s, good after {time.monotonic() - began:.0f} s, {people} people kept"


@check(needs=["an update over the wire is installed"])
def a_bad_update_rolls_back(site):
    gate, platform = site.gate, site.platform
    began, page, journal = time.monotonic(), gate.page.mark(), platform.mark()
    console = gate.console.mark()
    people = site.people()
    before = upgrade(site, "bad")
    gate.page.wait("update", page, 4 * PATIENCE, state="installed")
    # Every attempt of the bad one is a boot; the one that is ready again is the good one's.
    gate.console.wait(rb"menshen: slot " + (b"A" if site.slot == "B" else b"B"), console, 4 * PATIENCE)
    gate.page.wait("update", page, 8 * PATIENCE, state="failed")
    tries = gate.console.since(console).count(b"menshen: slot ")
    gate.wait_for_reboot(before)
    status = site.ready()
    expect(gate.slot() == site.slot, f"it runs slot {gate.slot()}, not {site.slot}")
    expect(".good" in gate.shell.run("cat /etc/os-release"), "it does not run the system of before")
    expect(status["store"]["people"] == people, f"{people} people before, {status['store']['people']} after")
    platform.wait("logged_in", journal)
    return f"back in slot {site.slot} after {tries} starts and {time.monotonic() - began:.0f} s, {people} people kept"


# ---- what takes minutes --------------------------------------------------------------------------


@check(needs=["it boots until it is ready for faces"], thorough=True)
def a_process_that_hangs_is_ended_by_its_watchdog(site):
    gate = site.gate
    pid = site.pid()
    within = int(gate.shell.run("systemctl show -p WatchdogUSec --value menshen | sed 's/1min/60/; s/s$//'"))
    gate.shell.run(f"kill -STOP {pid}")
    began = time.monotonic()
    while site.pid() in (0, pid):
        expect(time.monotonic() < began + within + PATIENCE, f"it hangs since {within + PATIENCE:.0f} s and nobody has ended it")
        time.sleep(1)
    back = time.monotonic() - began
    expect(back > within / 2, f"it was ended after {back:.0f} s, its watchdog gives it {within}")
    site.ready()
    why = gate.shell.run("journalctl -u menshen --no-pager -n 60 | grep -ic watchdog")
    expect(int(why) > 0, "the journal does not say that it was the watchdog")
    return f"a new process after {back:.0f} s (the watchdog gives it {within})"


@check(needs=["an update over the wire is installed"], thorough=True)
def an_update_on_a_stick_is_installed(site):
    bundle = site.options.bundles / "newer.raucb"
    if not bundle.is_file():
        raise Skipped(f"there is no {bundle} (--bundles)")
    stick = site.runs / "stick.vfat"
    subprocess.run(["truncate", "-s", "256M", stick], check=True)
    power.tool("mkfs.vfat", "-n", "STICK", stick)
    power.tool("mcopy", "-i", stick, bundle, "::menshen-newer.raucb")
    # The gate as it is after the update, switched off and on again with a stick in it.
    before, people = site.gate.slot(), site.people()
    site.gate.shell.run("sync")
    site.switch_off()
    site.start(site.cut, devices=[
        "-drive", f"if=none,id=stick,format=raw,readonly=on,file={stick}",
        "-device", "usb-storage,drive=stick",
    ])
    gate = site.gate
    # It begins by itself, perhaps before anybody could listen; the restart is its sign.
    boot, began = gate.boot_id(), time.monotonic()
    gate.wait_for_reboot(boot)
    status = site.ready()
    while (attempt := gate.page.get("/api/v1/update")["attempt"])["state"] != "good":
        expect(time.monotonic() < began + 4 * PATIENCE, f"the update did not become good: {attempt}")
        time.sleep(1)
    expect(gate.slot() != before, f"it started slot {gate.slot()} again")
    expect(".newer" in gate.shell.run("cat /etc/os-release"), "another system runs than the one on the stick")
    expect(status["store"]["people"] == people, f"{people} people before, {status['store']['people']} after")
    # The stick is still in: it must not be installed again and again.
    said = gate.shell.run("journalctl -b -u 'menshen-stick@*' --no-pager -o cat")
    expect("not newer" in said, f"the stick that is still in was not refused as no newer: {said}")
    return f"from slot {before} to {gate.slot()} and good after {time.monotonic() - began:.0f} s; left in, it is refused"


@check(needs=["an update over the wire is installed"], thorough=True)
def power_cuts_during_an_update_leave_a_gate_that_boots(site):
    site.switch_off()
    base, disk, log = site.runs / "update-base.img", site.runs / "update.img", site.runs / "update.log"
    power.copy(site.cut, base)
    power.copy(base, disk)
    gate = site.start(disk, log)
    site.ready()
    people = site.people()
    site.platform.wait("logged_in", 0)
    first = log.stat().st_size
    page = gate.page.mark()
    boot = upgrade(site, "newer")
    gate.page.wait("update", page, 4 * PATIENCE, state="installed")
    installed = log.stat().st_size
    gate.wait_for_reboot(boot)
    site.ready()
    gate.page.wait("update", page, 2 * PATIENCE, state="good")
    site.switch_off()
    writes = power.Log(log)
    begins, ends = writes.position(first), len(writes.entries)
    # Half of them while it is being written, half from its last writes to the new system's word that it is good.
    done = writes.position(installed)
    moments = sorted(
        [site.rng.randrange(begins, done) for _ in range(3)] + [site.rng.randrange(max(begins, done - 40), ends) for _ in range(3)])
    cuts, slots = power.Cuts(base, writes, site.options.seed), []
    for moment in moments:
        cut = site.runs / "update-cut.img"
        cuts.cut(moment, cut)
        gate = site.start(cut)
        status = site.ready(2 * PATIENCE)
        expect(status["store"]["people"] == people, f"cut at write {moment}: {status['store']['people']} people, not {people}")
        slots.append(gate.slot())
        site.switch_off()
    log.unlink()
    return f"cuts at {moments} of writes {begins} to {ends} (installed at {done}): each boots, slots {''.join(slots)}, {people} people kept"


@check(needs=["people are enrolled by the platform"], thorough=True)
def a_factory_reset_leaves_nobody(site):
    site.switch_off()
    disk = site.runs / "reset.img"
    power.copy(site.disk, disk)
    gate = site.start(disk)
    site.ready()
    before = site.people()
    expect(before > 0, "nobody was enrolled before the reset")
    serial = gate.page.get("/api/v1/status")["serial"]
    gate.shell.run("touch /var/lib/technician/left-here; systemd-cat -t left-there echo of-before; journalctl --sync")
    boot = gate.boot_id()
    gate.shell.run("menshen factory-reset --confirm RESET", 60)
    gate.wait_for_reboot(boot)
    status = site.ready()
    expect(status["store"]["people"] == 0, f"{status['store']['people']} people are left")
    expect(status["serial"] == serial, "the gate has another serial number")
    left = gate.shell.run("ls -A /var/lib/technician /data/system; journalctl --no-pager -t left-there | grep of-before", check=False)
    expect(not any(word in left for word in ("left-here", "forgetting", "of-before")), f"this is left: {left}")
    gate.shell.run("sync")
    site.switch_off()
    people, _ = examine(site, disk)
    expect(not people, f"the store still has {people}")
    return f"{before} people before, nobody after; the serial number stays"


@check(thorough=True)
def a_new_gate_asks_for_the_technicians_password_once(site):
    site.switch_off()
    disk, system = site.runs / "new.img", site.runs / "new-root.ext4"
    power.copy(site.options.image, disk)
    # As the product's image is: without a password.
    for name in ("root-a", "root-b"):
        power.extract(disk, name, system)
        power.tool("debugfs", "-w", "-R", "rm /usr/share/menshen/technician.hash", system)
        power.replace(disk, name, system)
    gate = site.switch_on(disk)
    console = gate.console

    def type_at(prompt, text, since, within=2 * PATIENCE):
        console.wait(prompt, since, within)
        mark = console.mark()
        console.send(text + b"\r")
        return mark

    mark = type_at(rb"Password \(8\+\): ", b"short", 0)
    mark = type_at(rb"at least 8.*Password \(8\+\): ", b"a-long-one", mark)
    mark = type_at(rb"again: ", b"another-one", mark)
    mark = type_at(rb"they differ.*Password \(8\+\): ", b"a-long-one", mark)
    mark = type_at(rb"again: ", b"a-long-one", mark)
    console.wait(rb"The password is set", mark)
    gate.wait_for_shell()
    site.ready()
    mark = console.mark()
    console.send(b"\r")
    console.wait(rb"login: ", mark)
    mark = log_in(console, b"a-long-one")
    console.wait(rb"\x1b\[", mark)
    gate.shell.run("sync")
    site.switch_off()
    # Whoever switches it off and on is not asked again, and the password still holds.
    gate = site.switch_on(disk)
    gate.console.wait(rb"login: ", 0, 2 * PATIENCE)
    expect(b"Password (8+)" not in gate.console.since(0), "it asks again on its second boot")
    mark = log_in(gate.console, b"a-long-one")
    gate.console.wait(rb"\x1b\[", mark)
    site.switch_off()
    return "too short and mistyped ones are refused; it holds after a restart, which does not ask again"


def examine(site, disk):
    """What `menshen check` and the lists say of the store on a disk: ids of people, and records since the storm that
    opened."""
    partition, root = site.runs / "data.ext4", site.runs / "data"
    power.extract(disk, site.options.partition, partition)
    power.files(partition, root)
    store = root / "menshen"
    if not store.is_dir():
        found = [path.parent for path in root.rglob("*.db")]
        raise Failed(f"the data partition has no folder menshen; databases are in {found}")
    config = site.runs / "check.toml"
    config.write_text(f'[terminal]\nserial = "FEDCBA9876543210"\ndata_dir = "{store}"\n')

    def menshen(*arguments):
        done = subprocess.run([site.menshen, *arguments, "--config", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise Failed(f"menshen {' '.join(arguments)} ended with {done.returncode}: {(done.stdout + done.stderr).decode()[-1500:]}")
        return done.stdout.decode()

    # Repair is what the agent does at its start; nothing may be left to do by hand.
    menshen("check", "--repair")
    ids = {entry["id"] for entry in map(json.loads, menshen("people", "list", "--json").splitlines())}
    records = [json.loads(entry) for entry in menshen("records", "export").splitlines()]
    return ids, sum(bool(record["opened"]) for record in records)


def firmware():
    """U-Boot, as on a board."""
    return ["-bios", "/usr/lib/u-boot/qemu_arm64/u-boot.bin"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--menshen", default=str(ROOT / "target/debug/menshen"), help="the program for this machine")
    parser.add_argument("--image", type=Path, default=ROOT / "target/gate/gate.img")
    parser.add_argument("--kernel", type=Path, help="start this kernel instead of the image's boot loader")
    parser.add_argument("--initrd", type=Path)
    parser.add_argument("--partition", default="data", help="name of the data partition; - for a disk without partitions")
    parser.add_argument("--tests", type=Path, help="a folder of test programs to run in the gate")
    parser.add_argument("--bundles", type=Path, help="a folder with good.raucb and bad.raucb to update to")
    parser.add_argument("--password", default="menshen-gate", help="of the technician's login in the image")
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--storm", type=float, default=30, help="seconds of passages and enrolments before the power goes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--thorough", action="store_true", help="the checks too that take minutes each")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    options.partition = None if options.partition == "-" else options.partition
    if options.kernel:
        options.boot = ["-kernel", str(options.kernel), "-initrd", str(options.initrd), "-append", "console=ttyAMA0 rdinit=/init panic=-1 quiet"]
    else:
        options.boot = firmware()
    sys.exit(run(options))


def chosen(names, thorough):
    """The checks to make, with what they need, in their order."""
    by_name = {name: needs for name, _, needs, _ in CHECKS}
    wanted = {name for name, _, _, slow in CHECKS if thorough or not slow} if not names else set()
    queue = [name for name in by_name if any(word in name for word in names)]
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue.extend(by_name[name])
    return [entry for entry in CHECKS if entry[0] in wanted]


def run(options):
    # Whoever ends this ends the machine and the platform with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    say(f"random seed {options.seed}")
    site = Site(options)
    outcome = {}
    try:
        for name, function, needs, _ in chosen(options.names, options.thorough):
            missing = [need for need in needs if outcome.get(need) != "passed"]
            started = time.monotonic()
            if missing:
                outcome[name] = "skipped"
                print(f"SKIP  {name}: needs \"{missing[0]}\"", flush=True)
                continue
            try:
                text = function(site)
                outcome[name] = "passed"
                mark = "ok  "
            except Skipped as reason:
                outcome[name], mark, text = "skipped", "SKIP", str(reason)
            except Exception as failure:  # every check gets its turn
                outcome[name], mark, text = "failed", "FAIL", str(failure) or repr(failure)
                if not isinstance(failure, Failed):
                    text += "\n" + traceback.format_exc()
            print(f"{mark}  {name} ({time.monotonic() - started:.0f} s): {text}", flush=True)
        violations = site.platform.violations()
        if violations:
            outcome["the platform"] = "failed"
            print(f"FAIL  the gate kept to the platform's document: {violations[:5]}", flush=True)
    finally:
        site.close()
    count = {word: list(outcome.values()).count(word) for word in ("passed", "failed", "skipped")}
    print(f"after {time.monotonic() - began:.0f} s")
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] or count["skipped"] and not options.names else 0


if __name__ == "__main__":
    main()
