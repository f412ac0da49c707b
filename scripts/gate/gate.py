"""The emulated gate, seen from the host: QEMU, a root shell in it, its GPIO lines with the kernel's own times, its
serial lines, the platform it talks to. Python's standard library only.

Everything waits for events. Times of the gate are its CLOCK_MONOTONIC in seconds.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / ".setup/gate"
# How long to wait for what takes a moment on a gate: code runs about 20 times slower here, and this machine may be busy.
PATIENCE = float(os.environ.get("MENSHEN_GATE_PATIENCE", "180"))
TOKEN = "the-emulated-gate-only"


class Failed(Exception):
    """A promise of the gate that did not hold, in words."""


def say(text):
    print(f"gate: {text}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Record:
    """Things that come one after another, kept with the host's time, to wait for."""

    def __init__(self):
        self.items = []
        # What `stamp` answers as each item comes, such as how long the disk's log is by then.
        self.stamp = lambda: None
        self.stamps = []
        self.changed = threading.Condition()
        self.over = None

    def add(self, item):
        stamp = self.stamp()
        with self.changed:
            self.items.append(item)
            self.stamps.append(stamp)
            self.changed.notify_all()

    def end(self, why):
        with self.changed:
            self.over = why
            self.changed.notify_all()

    def mark(self):
        with self.changed:
            return len(self.items)

    def since(self, mark):
        with self.changed:
            return self.items[mark:]

    def wait(self, what, wanted, since=0, within=PATIENCE):
        """The first item from number `since` on that `wanted` accepts."""
        until = time.monotonic() + within
        with self.changed:
            next_one = since
            while True:
                while next_one < len(self.items):
                    item = self.items[next_one]
                    next_one += 1
                    if wanted(item):
                        return item
                if self.over:
                    raise Failed(f"{what} did not come: {self.over}")
                left = until - time.monotonic()
                if left <= 0:
                    last = "\n  ".join(str(item)[:300] for item in self.items[-8:])
                    raise Failed(f"{what} did not come within {within:.0f} s; the last were\n  {last}")
                self.changed.wait(left)


class Wire:
    """A socket that QEMU connects to: what the gate sends is kept, with the moment each byte came."""

    def __init__(self, folder, name):
        self.name = name
        self.path = folder / f"{name}.sock"
        self.data = bytearray()
        self.changed = threading.Condition()
        self.peer = None
        self.gone = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        threading.Thread(target=self._read, daemon=True).start()

    def chardev(self):
        return f"socket,id={self.name},path={self.path},server=off"

    def _read(self):
        try:
            peer, _ = self.listener.accept()
        except OSError:
            return
        with self.changed:
            self.peer = peer
            self.changed.notify_all()
        self.connected()
        while True:
            try:
                data = peer.recv(65536)
            except OSError:
                data = b""
            with self.changed:
                self.data += data
                self.gone = not data
                self.changed.notify_all()
            if not data:
                return
            self.received(data)

    def connected(self):
        """For those who speak first."""

    def received(self, data):
        """For those who read lines."""

    def mark(self):
        with self.changed:
            return len(self.data)

    def since(self, mark):
        with self.changed:
            return bytes(self.data[mark:])

    def send(self, data):
        with self.changed:
            self.changed.wait_for(lambda: self.peer or self.gone, 10)
        if not self.peer:
            raise Failed(f"{self.name}: QEMU did not connect")
        self.peer.sendall(data)

    def wait(self, pattern, since=0, within=PATIENCE):
        """The first match of the bytes pattern after byte `since`."""
        until = time.monotonic() + within
        compiled = re.compile(pattern, re.S)
        with self.changed:
            while True:
                found = compiled.search(self.data, since)
                if found:
                    return found
                left = until - time.monotonic()
                if left <= 0 or self.gone:
                    why = "the machine has gone" if self.gone else f"within {within:.0f} s"
                    tail = bytes(self.data[max(since, len(self.data) - 600):])
                    raise Failed(f"{self.name}: {pattern!r} did not come ({why}); the last was {tail!r}")
                self.changed.wait(left)

    def close(self):
        self.listener.close()
        if self.peer:
            with contextlib.suppress(OSError):
                self.peer.shutdown(socket.SHUT_RDWR)
            self.peer.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()


class Shell(Wire):
    """A root shell in the gate."""

    count = 0

    def __init__(self, folder, name):
        super().__init__(folder, name)
        self.lock = threading.Lock()

    def ready(self, within):
        """Waits until it answers. What is sent before the shell is there may be lost, so it is asked again."""
        until = time.monotonic() + within
        while True:
            mark = self.mark()
            Shell.count += 1
            self.send(b"echo ready-%d\n" % Shell.count)
            try:
                self.wait(rb"ready-%d\n" % Shell.count, mark, min(5.0, max(0.1, until - time.monotonic())))
                return
            except Failed:
                if self.gone or time.monotonic() > until:
                    raise

    def run(self, command, within=PATIENCE, check=True):
        """What a command prints on both outputs; with `check`, it must succeed."""
        with self.lock:
            Shell.count += 1
            mark = self.mark()
            token = b"done-%d" % Shell.count
            # A subshell, so that `exit` and `cd` end with the command.
            self.send(b"( " + command.encode() + b"\n) </dev/null 2>&1; echo; echo " + token + b" $?\n")
            found = self.wait(rb"\n" + token + rb" (\d+)\n", mark, within)
            output = bytes(self.data[mark:found.start()]).decode(errors="replace").strip("\n")
        if check and found[1] != b"0":
            raise Failed(f"on the gate: {command}\n  ended with {int(found[1])}: {output[-1500:]}")
        return output

    def stream(self, command):
        """Gives the shell away to a command that prints for ever."""
        self.send(f"exec {command} </dev/null\n".encode())


class Trace(Shell):
    """The GPIO lines: each time the gate sets one, by the kernel's trace."""

    EVENT = re.compile(r"\s(\d+\.\d+): gpio_value: (\d+) set (\d)")

    def __init__(self, folder, name):
        super().__init__(folder, name)
        self.sets = Record()
        self.names = {}
        self.rest = b""

    def begin(self, lines):
        """From now on; `lines` is the file that the rig has left in the gate."""
        for line in lines.splitlines():
            name, _, number = line.split()
            self.names[int(number)] = name
        self.rest = b""
        self.stream("cat /sys/kernel/tracing/trace_pipe")

    def received(self, data):
        if not self.names:
            return
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            found = self.EVENT.search(line.decode(errors="replace"))
            if found and int(found[2]) in self.names:
                self.sets.add((float(found[1]), self.names[int(found[2])], int(found[3])))

    def here(self):
        return self.sets.mark()

    def wait_level(self, name, level, since, within=PATIENCE):
        """When the gate next sets a line so."""
        return self.sets.wait(f"{name} {level}", lambda s: s[1:] == (name, level), since, within)[0]

    def changes(self, name, since, level):
        """The changes of a line that stood at `level`: pairs of time and level."""
        changes = []
        for moment, line, value in self.sets.since(since):
            if line == name and value != level:
                changes.append((moment, value))
                level = value
        return changes

    def pulses(self, name, since, idle):
        """Whole pulses of a line: pairs of beginning and length."""
        changes = self.changes(name, since, idle)
        return [(a[0], b[0] - a[0]) for a, b in zip(changes[::2], changes[1::2])]

    def wiegand(self, d0, d1, since):
        """Bits in the order of the falling edges, with the pulses."""
        both = [(moment, length, bit) for bit, name in (("0", d0), ("1", d1)) for moment, length in self.pulses(name, since, 1)]
        both.sort()
        return "".join(bit for _, _, bit in both), both


class Monitor(Wire):
    """QEMU's own ear (QMP): what is plugged in and pulled out while the machine runs."""

    def __init__(self, folder, name):
        super().__init__(folder, name)
        self.said = Record()
        self.rest = b""
        self.asked = 0

    def connected(self):
        self.send(b'{"execute": "qmp_capabilities", "id": 0}\n')

    def received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.said.add(json.loads(line))

    def run(self, command, within=PATIENCE, **arguments):
        """What a command returns."""
        self.asked += 1
        mark, number = self.said.mark(), self.asked
        self.send(json.dumps({"execute": command, "arguments": arguments, "id": number}).encode() + b"\n")
        answer = self.said.wait(f"QEMU's answer to {command}", lambda said: said.get("id") == number, mark, within)
        if "return" not in answer:
            raise Failed(f"QEMU refuses {command}: {answer.get('error')}")
        return answer["return"]

    def wait(self, event, since=0, within=PATIENCE, **data):
        """The next event with these data after mark `since` of what was said."""
        def wanted(said):
            return said.get("event") == event and all(said.get("data", {}).get(k) == v for k, v in data.items())
        return self.said.wait(f"QEMU's {event}", wanted, since, within)


class CardReader(Wire):
    """The gate's USB reader of chip cards, QEMU's usb-ccid, and its slot: a port of the host where cards are put in as into
    vsmartcard's virtual reader (`menshen simulate card --vpcd`).

    To QEMU it speaks the protocol of its ccid-card-passthru (libcacard's vscard_common.h): frames of type, reader and length,
    four bytes each, high ones first, and as many bytes. To a card it speaks vpcd's: frames of a length of two bytes, high one
    first; one byte is an order. What QEMU does not pass on, a card is not told: the guest's resets.
    """

    INIT, ERROR, READER_ADD, ATR, CARD_REMOVE, APDU = 1, 2, 3, 5, 6, 7
    # The magic number as it is, version 0.0.2, no capabilities.
    HELLO = b"VSCD" + struct.pack(">II", 2, 0)
    UNDEFINED = 0xFFFFFFFF
    POWER_ON, GIVE_ATR = b"\x01", b"\x04"

    def __init__(self, folder, name):
        self.rest = b""
        self.card = None
        self.atr = None
        self.sending = threading.Lock()
        self.slot = socket.create_server(("127.0.0.1", 0))
        self.port = self.slot.getsockname()[1]
        super().__init__(folder, name)
        threading.Thread(target=self._take_cards, daemon=True).start()

    def devices(self):
        """QEMU's arguments for the reader on the USB host `usb`."""
        return ["-chardev", self.chardev(), "-device", "usb-ccid,id=reader,bus=usb.0",
                "-device", f"ccid-card-passthru,chardev={self.name},bus=reader.0"]

    def unplug(self, monitor):
        mark = monitor.said.mark()
        monitor.run("device_del", id="reader")
        monitor.wait("DEVICE_DELETED", mark, device="reader")

    def plug(self, monitor):
        monitor.run("device_add", driver="usb-ccid", id="reader", bus="usb.0")
        monitor.run("device_add", driver="ccid-card-passthru", chardev=self.name, bus="reader.0")
        self.connected()

    def say(self, kind, data=b"", reader=0):
        with self.sending:
            self.send(struct.pack(">III", kind, reader, len(data)) + data)

    def connected(self):
        self.say(self.INIT, self.HELLO, self.UNDEFINED)
        self.say(self.READER_ADD, b"gate\0", self.UNDEFINED)
        if self.atr:
            self.say(self.ATR, self.atr)

    def received(self, data):
        self.rest += data
        while len(self.rest) >= 12:
            kind, _, length = struct.unpack(">III", self.rest[:12])
            if len(self.rest) < 12 + length:
                return
            data, self.rest = self.rest[12:12 + length], self.rest[12 + length:]
            if kind == self.APDU and self.card:
                # One that was taken out just now: its removal is on its way.
                with contextlib.suppress(OSError):
                    self.card.sendall(struct.pack(">H", len(data)) + data)
            elif kind == self.ERROR and any(data):
                say(f"{self.name}: QEMU says error {data.hex()}")

    def _take_cards(self):
        with contextlib.suppress(OSError):
            while True:
                card, _ = self.slot.accept()
                with card, contextlib.suppress(OSError, Failed):
                    self._serve(card)

    def _serve(self, card):
        """One card, as long as it is in."""
        stream = card.makefile("rb")

        def frame():
            length = stream.read(2)
            data = stream.read(int.from_bytes(length, "big")) if len(length) == 2 else b""
            return data or None

        for order in (self.POWER_ON, self.GIVE_ATR):
            card.sendall(struct.pack(">H", len(order)) + order)
        try:
            self.atr, self.card = frame(), card
            if self.atr:
                self.say(self.ATR, self.atr)
            while answer := frame():
                self.say(self.APDU, answer)
        finally:
            self.atr = self.card = None
            self.say(self.CARD_REMOVE)

    def close(self):
        # A listener that is only closed lets its thread wait for ever.
        with contextlib.suppress(OSError):
            self.slot.shutdown(socket.SHUT_RDWR)
        self.slot.close()
        super().close()


class Card:
    """`menshen simulate card` on the host: a chip card to put into a reader's slot."""

    def __init__(self, menshen, port, folder, profile):
        self.heard = Record()
        self.log = open(folder / "card.log", "ab")
        self.process = subprocess.Popen(
            [menshen, "simulate", "card", "--vpcd", f"127.0.0.1:{port}", "--profile", profile, "--interactive"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.log.write(line)
            self.log.flush()
            self.heard.add(line.decode().strip())
        self.heard.end("the card has ended")

    def order(self, text, until):
        """Orders something ("insert", "remove") and waits for its line."""
        mark = self.heard.mark()
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        self.wait(until, mark)

    def wait(self, line, since=0, within=PATIENCE):
        return self.heard.wait(f"the card's {line!r}", lambda heard: heard == line, since, within)

    def close(self):
        end(self.process)
        self.log.close()


class Platform:
    """`menshen simulate qyzn` on the host."""

    def __init__(self, menshen, folder):
        self.port = free_port()
        self.entries = Record()
        self.answers = Record()
        self.log = open(folder / "platform.jsonl", "wb")
        self.process = subprocess.Popen(
            [menshen, "simulate", "qyzn", "--listen", f"127.0.0.1:{self.port}", "--json", "--interactive"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(folder / "platform.log", "wb"),
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.entries.wait("the platform's first word", lambda e: e.get("event") == "listening", within=20)

    def _read(self):
        for line in self.process.stdout:
            self.log.write(line)
            self.log.flush()
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            (self.entries if "event" in entry else self.answers).add(entry)
        self.entries.end("the platform has ended")

    def order(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def mark(self):
        return self.entries.mark()

    def send(self, message, data):
        """Orders something and does not wait; answers with the mark from which its answer comes."""
        mark = self.mark()
        self.order(f"send {message} {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}")
        return mark

    def command(self, message, data, result=0, within=PATIENCE):
        """Orders something and waits for the gate's answer, which must have this result."""
        mark = self.send(message, data)
        answer = self.wait("answer", mark, within, message=message)
        if answer.get("result") != result:
            raise Failed(f"{message} was answered {answer.get('result')} {answer.get('desc')}, not {result}")
        return answer

    def wait(self, event, since=0, within=PATIENCE, **fields):
        """The next entry of a kind with these fields."""
        def wanted(entry):
            return entry.get("event") == event and all(entry.get(k) == v for k, v in fields.items())
        return self.entries.wait(f"the platform's {event} {fields or ''}", wanted, since, within)

    def violations(self):
        return [entry.get("what") for entry in self.entries.since(0) if entry.get("event") == "violation"]

    def close(self):
        end(self.process)
        self.log.close()


class Page:
    """The technician's page of the gate: its status and its events."""

    def __init__(self, port):
        self.port = port
        self.events = Record()
        self.stopped = False

    def ask(self, path, within=30.0, method="GET"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within)
        connection.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"})
        return connection, connection.getresponse()

    def get(self, path, within=30.0):
        connection, response = self.ask(path, within)
        body = response.read()
        connection.close()
        if response.status != 200:
            raise Failed(f"the page answers {response.status} to {path}: {body[:300]!r}")
        return json.loads(body)

    def listen(self):
        """Keeps events from now on, through restarts of the agent."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        seen = set()
        while not self.stopped:
            try:
                connection, response = self.ask("/api/v1/events", within=None)
                if response.status != 200:
                    raise OSError(response.status)
                for line in response:
                    if line.startswith(b"data:"):
                        event = json.loads(line[5:])
                        # Each connection begins with what is remembered.
                        key = json.dumps(event, sort_keys=True)
                        if key not in seen:
                            seen.add(key)
                            self.events.add(event)
            except (OSError, http.client.HTTPException, ValueError):
                pass
            time.sleep(0.3)

    def mark(self):
        return self.events.mark()

    def wait(self, kind, since=0, within=PATIENCE, **fields):
        def wanted(event):
            return event.get("kind") == kind and all(event.get(k) == v for k, v in fields.items())
        return self.events.wait(f"the gate's event {kind} {fields or ''}", wanted, since, within)


def end(process, patience=10.0):
    """Ends a process that was started here."""
    if process and process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Gate:
    """A gate in QEMU.

    boot      what QEMU starts: ["-bios", …] with the image as its disk, or a kernel
    disk      the raw image, written to
    host      a folder that the gate sees as /run/gate-rig/host
    forwards  the gate's only neighbours: {"10.0.2.100:5005": port on the host}
    log       if given, every write of the disk goes there too (QEMU's blklogwrites), for power cuts
    devices   further arguments for QEMU
    """

    def __init__(self, boot, disk, host, forwards, log=None, folder=None, cores=None, devices=()):
        # Paths of sockets have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="menshen-gate."))
        self.logs = folder or WORK / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.shell = Shell(self.folder, "shell")
        self.trace = Trace(self.folder, "trace")
        self.console = Wire(self.folder, "console")
        self.rs485 = Wire(self.folder, "rs485")
        self.monitor = Monitor(self.folder, "monitor")
        self.reader = CardReader(self.folder, "reader-slot")
        self.page_port = free_port()
        self.page = Page(self.page_port)
        relay = Path(__file__).resolve().with_name("neighbour.py")
        net = "user,id=net,restrict=on"
        for address, port in forwards.items():
            net += f",guestfwd=tcp:{address}-cmd:{sys.executable} {relay} {port}"
        net += f",hostfwd=tcp:127.0.0.1:{self.page_port}-10.0.2.15:8080"
        arguments = [
            "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a72", "-m", "1536",
            "-smp", str(cores or os.environ.get("MENSHEN_GATE_CORES", "2")),
            "-accel", "tcg,thread=multi,tb-size=512",
            "-display", "none", "-no-user-config", "-nodefaults", *boot,
            "-chardev", self.monitor.chardev(), "-mon", "chardev=monitor,mode=control",
            "-chardev", self.console.chardev(), "-serial", "chardev:console",
            "-device", "virtio-rng-pci",
        ]
        if log:
            log.write_bytes(b"")
            arguments += [
                "-blockdev", f"driver=file,node-name=image,filename={disk}",
                "-blockdev", f"driver=file,node-name=log,filename={log}",
                "-blockdev", "driver=blklogwrites,node-name=disk,file=image,log=log,log-sector-size=512",
            ]
        else:
            arguments += ["-blockdev", f"driver=file,node-name=disk,filename={disk}"]
        arguments += [
            "-device", "virtio-blk-pci,drive=disk",
            "-device", "virtio-serial-pci",
            "-chardev", self.shell.chardev(), "-device", "virtserialport,chardev=shell,name=gate-rig.shell",
            "-chardev", self.trace.chardev(), "-device", "virtserialport,chardev=trace,name=gate-rig.trace",
            "-chardev", self.rs485.chardev(), "-device", "pci-serial,chardev=rs485",
            "-netdev", net, "-device", "virtio-net-pci,netdev=net",
            "-virtfs", f"local,path={host},mount_tag=gate-rig,security_model=none",
            "-device", "i6300esb", "-action", "watchdog=reset",
            "-device", "qemu-xhci,id=usb", *self.reader.devices(), *devices,
        ]
        self.started = time.monotonic()
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=open(self.logs / "qemu.log", "ab"))

    def wait_for_shell(self, within=2 * PATIENCE):
        """Waits until the rig's shells answer, and follows the lines."""
        try:
            self.shell.ready(within)
        except Failed:
            if self.process.poll() is not None:
                raise Failed(f"QEMU ended at once: {(self.logs / 'qemu.log').read_text()[-800:]}") from None
            raise
        self.shell.run("while [ ! -s /run/gate-rig/lines ]; do sleep 0.2; done", within)
        self.trace.ready(within)
        self.trace.begin(self.shell.run("cat /run/gate-rig/lines"))

    def boot_id(self):
        return self.shell.run("cat /proc/sys/kernel/random/boot_id")

    def wait_for_reboot(self, before, within=4 * PATIENCE):
        """Waits until the machine has started anew since the boot id `before`, and follows it again."""
        until = time.monotonic() + within
        while True:
            try:
                if self.shell.run("cat /proc/sys/kernel/random/boot_id", 10) != before:
                    break
            except Failed as failure:
                if self.shell.gone:
                    raise Failed("QEMU has ended where the gate should have restarted") from failure
            if time.monotonic() > until:
                raise Failed(f"the gate did not restart within {within:.0f} s")
            time.sleep(1)
        self.wait_for_shell()

    def slot(self):
        """The slot that the boot loader has started: A or B."""
        return self.shell.run("sed -n 's/.*menshen.slot=\\([AB]\\).*/\\1/p' /proc/cmdline")

    def line(self, name, file="pull"):
        return f"/run/gate-rig/line/{name}/{file}"

    def rig(self, arguments, within=PATIENCE, check=True):
        """A tool of the rig in the gate."""
        return self.shell.run(f"/usr/lib/gate-rig/rig {arguments}", within, check)

    def level(self, name):
        """What a line stands at now, as whoever is at its other end sees it."""
        return int(self.shell.run(f"cat {self.line(name, 'value')}"))

    def scene(self, name):
        """Who stands before the camera."""
        self.shell.run(f"ln -sfn scenes/{name} /run/gate-rig/scene.new && mv -T /run/gate-rig/scene.new /run/gate-rig/scene")

    def cut_power(self):
        """At once: nothing that the gate has not handed to its disk survives."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self):
        self.page.stopped = True
        self.cut_power()
        for wire in (self.shell, self.trace, self.console, self.rs485, self.monitor, self.reader):
            (self.logs / f"{wire.name}.log").write_bytes(wire.since(0))
            wire.close()
        with contextlib.suppress(OSError):
            self.folder.rmdir()
