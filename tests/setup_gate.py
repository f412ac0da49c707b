#!/usr/bin/env python3
"""The parts of the emulated gate's acceptance that need no gate: what a disk holds after a power cut, how Wiegand bits
and pulses are read from the kernel's trace, which checks a choice of them needs."""

import socket
import struct
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts/gate"))
sys.dont_write_bytecode = True

import acceptance  # noqa: E402
import gate  # noqa: E402
import power  # noqa: E402


def log(folder, entries):
    """A log as Documentation/admin-guide/device-mapper/log-writes.rst lays it down: a head, then for each entry a sector
    with its numbers and the data. Entries are (sector, bytes, flags)."""
    path = folder / "log"
    head = struct.pack("<QQQI", 0x6A736677736872, 1, len(entries), 512)
    content = head.ljust(512, b"\0")
    for sector, data, flags in entries:
        content += struct.pack("<QQQQ", sector, len(data) // 512, flags, 0).ljust(512, b"\0") + data
    path.write_bytes(content)
    return path


def sector(letter):
    return letter.encode() * 512


class PowerCuts(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.at = Path(self.folder.name)
        self.base = self.at / "base"

    def cuts(self, entries, seed=1):
        self.base.write_bytes(sector(".") * 8)
        made = power.Cuts(self.base, power.Log(log(self.at, entries)), seed)
        self.addCleanup(made.file.close)
        return made

    def disk(self, cuts, number):
        lost = cuts.cut(number, self.at / "cut")
        content = (self.at / "cut").read_bytes()
        return lost, "".join(chr(content[at]) for at in range(0, len(content), 512))

    def test_what_was_flushed_is_always_there(self):
        entries = [(0, sector("a"), 0), (1, sector("b") + sector("c"), 0), (0, b"", 1), (0, sector("d"), 0)]
        seen = set()
        for seed in range(20):
            cuts = self.cuts(entries, seed)
            _, content = self.disk(cuts, 4)
            self.assertEqual(content[1:], "bc.....")
            seen.add(content[0])
        # The write after the flush is sometimes there and sometimes not.
        self.assertEqual(seen, {"a", "d"})

    def test_writes_after_the_flush_are_kept_lost_or_torn(self):
        entries = [(0, sector("x"), 0), (0, b"", 1), (2, sector("a") * 4, 0)]
        seen = {self.disk(self.cuts(entries, seed), 3)[1][2:6] for seed in range(60)}
        self.assertIn("aaaa", seen)
        self.assertIn("....", seen)
        self.assertTrue(any(0 < content.count("a") < 4 for content in seen), seen)

    def test_an_earlier_cut_does_not_show_in_a_later_one(self):
        entries = [(0, sector("a"), 0), (0, b"", 1), (1, sector("b"), 0), (0, b"", 1)]
        cuts = self.cuts(entries)
        self.assertEqual(self.disk(cuts, 1)[1][1:], ".......")
        self.assertEqual(self.disk(cuts, 2)[1], "a.......")
        self.assertEqual(self.disk(cuts, 4), (0, "ab......"))

    def test_positions_count_entries_that_had_begun(self):
        path = log(self.at, [(0, sector("a"), 0), (0, b"", 1), (1, sector("b"), 0)])
        made = power.Log(path)
        self.assertEqual([made.position(size) for size in (512, 513, 1536, 1537, 2048, 2049, 9999)], [0, 1, 1, 2, 2, 3, 3])

    def test_a_log_that_was_cut_off_ends_at_its_last_whole_entry(self):
        path = log(self.at, [(0, sector("a"), 0), (1, sector("b"), 0)])
        content = bytearray(path.read_bytes()[:-1])
        # The head of a log whose machine was killed counts fewer.
        content[16:24] = struct.pack("<Q", 1)
        path.write_bytes(content)
        self.assertEqual(len(power.Log(path).entries), 1)
        content[16:24] = struct.pack("<Q", 2)
        path.write_bytes(content)
        self.assertRaises(gate.Failed, power.Log, path)

    def test_something_else_is_no_log(self):
        path = self.at / "log"
        path.write_bytes(b"\0" * 4096)
        self.assertRaises(gate.Failed, power.Log, path)


class Lines(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.trace = gate.Trace(Path(self.folder.name), "trace")
        self.addCleanup(self.trace.close)
        self.trace.names = {600: "relay", 601: "d0", 602: "d1"}

    def feed(self, *sets):
        for moment, number, value in sets:
            self.trace.received(b"          menshen-214     [000] d..1. %12.6f: gpio_value: %d set %d\n" % (moment, number, value))

    def test_pulses_come_from_the_kernels_times(self):
        self.feed((10.0, 600, 0), (11.25, 600, 1), (11.5, 600, 1), (12.75, 600, 0), (20.0, 600, 1))
        self.assertEqual(self.trace.pulses("relay", 0, 0), [(11.25, 1.5)])
        self.assertEqual(self.trace.changes("relay", 0, 0), [(11.25, 1), (12.75, 0), (20.0, 1)])

    def test_lines_of_others_and_readings_are_left_out(self):
        self.trace.received(b" x-1 [000] d..1. 1.000000: gpio_value: 600 get 1\n x-1 [000] d..1. 1.000000: gpio_value: 700 set 1\n")
        self.assertEqual(self.trace.sets.items, [])

    def test_a_line_that_comes_in_pieces_is_read_whole(self):
        for piece in (b" x-1 [000] d..1. 1.5000", b"00: gpio_value: 600 s", b"et 1\n"):
            self.trace.received(piece)
        self.assertEqual(self.trace.sets.items, [(1.5, "relay", 1)])

    def test_bits_are_in_the_order_of_falling_edges(self):
        self.feed((1.0, 602, 0), (1.00005, 602, 1), (1.001, 601, 0), (1.00105, 601, 1), (1.002, 602, 0), (1.00205, 602, 1))
        bits, pulses = self.trace.wiegand("d0", "d1", 0)
        self.assertEqual(bits, "101")
        self.assertAlmostEqual(pulses[0][1], 50e-6, places=9)


class Reader(unittest.TestCase):
    """The reader's slot between a card that speaks vpcd and QEMU's ccid-card-passthru. Frames of the latter are written out
    as libcacard's vscard_common.h lays them down: type, reader, length, data."""

    HELLO = bytes.fromhex("00000001 ffffffff 0000000c") + b"VSCD" + bytes.fromhex("00000002 00000000")
    READER = bytes.fromhex("00000003 ffffffff 00000005") + b"gate\0"
    ATR = bytes.fromhex("3b6800004d454e5348454e31")

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.reader = gate.CardReader(Path(self.folder.name), "slot")
        self.addCleanup(self.reader.close)
        self.qemu = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.qemu.close)
        self.qemu.settimeout(10)
        self.qemu.connect(str(self.reader.path))
        self.assertEqual(self.take(self.qemu, len(self.HELLO + self.READER)), self.HELLO + self.READER)

    def take(self, wire, length):
        data = b""
        while len(data) < length:
            more = wire.recv(length - len(data))
            self.assertTrue(more, "the wire has ended")
            data += more
        return data

    def put_in(self):
        card = socket.create_connection(("127.0.0.1", self.reader.port), 10)
        self.addCleanup(card.close)
        # Power on, then its ATR.
        self.assertEqual(self.take(card, 6), bytes.fromhex("000101 000104"))
        card.sendall(b"\x00\x0c" + self.ATR)
        self.assertEqual(self.take(self.qemu, 24), bytes.fromhex("00000005 00000000 0000000c") + self.ATR)
        return card

    def test_commands_and_answers_go_through_whole(self):
        card = self.put_in()
        select = bytes.fromhex("00a4040008a000000333010101")
        frame = bytes.fromhex("00000007 00000000 0000000d") + select
        # In pieces, behind an answer of QEMU's that all is well.
        for piece in (bytes.fromhex("00000002 00000000 00000004 000000"), b"\0" + frame[:5], frame[5:14], frame[14:]):
            self.qemu.sendall(piece)
        self.assertEqual(self.take(card, 15), b"\x00\x0d" + select)
        card.sendall(bytes.fromhex("0002 9000"))
        self.assertEqual(self.take(self.qemu, 14), bytes.fromhex("00000007 00000000 00000002 9000"))

    def test_a_card_that_goes_is_told_and_another_comes(self):
        for _ in range(2):
            self.put_in().close()
            self.assertEqual(self.take(self.qemu, 12), bytes.fromhex("00000006 00000000 00000000"))
        # For nobody.
        self.qemu.sendall(bytes.fromhex("00000007 00000000 00000002 00b0"))
        self.put_in()

    def test_a_card_stays_in_a_reader_that_is_unplugged(self):
        self.put_in()
        self.reader.connected()
        again = self.HELLO + self.READER + bytes.fromhex("00000005 00000000 0000000c") + self.ATR
        self.assertEqual(self.take(self.qemu, len(again)), again)


class Monitor(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.monitor = gate.Monitor(Path(self.folder.name), "monitor")
        self.addCleanup(self.monitor.close)
        self.monitor.send = self.sent

    def sent(self, data):
        self.monitor.received(self.answer)

    def test_an_answer_is_found_among_events(self):
        self.answer = (b'{"event": "DEVICE_DELETED", "data": {"path": "/x"}}\r\n{"return": {"a": 1}, "id": 1}\r\n'
                       b'{"event": "DEVICE_DELETED", "data": {"device": "reader"}}\r\n')
        self.assertEqual(self.monitor.run("device_del", id="reader"), {"a": 1})
        self.assertEqual(self.monitor.wait("DEVICE_DELETED", 0, device="reader")["data"], {"device": "reader"})

    def test_what_is_refused_is_an_error(self):
        self.answer = b'{"error": {"class": "DeviceNotFound", "desc": "there is none"}, "id": 1}\r\n'
        with self.assertRaisesRegex(gate.Failed, "there is none"):
            self.monitor.run("device_del", id="reader")


class Frames(unittest.TestCase):
    def test_parity_of_26_and_34_bits(self):
        # Worked out by hand from docs/wire.md.
        self.assertEqual(acceptance.wiegand_frame(1, 26), "0" + "0" * 23 + "1" + "0")
        self.assertEqual(acceptance.wiegand_frame(0x800000, 26), "1" + "1" + "0" * 23 + "1")
        self.assertEqual(acceptance.wiegand_frame(0xFFFFFF, 26), "0" + "1" * 24 + "1")
        self.assertEqual(acceptance.wiegand_frame(3000001, 34), "0" + "00000000001011011100011011000001" + "0")


class Choice(unittest.TestCase):
    def test_every_need_is_an_earlier_check(self):
        earlier = set()
        for name, _, needs, _ in acceptance.CHECKS:
            for need in needs:
                self.assertIn(need, earlier, f"{name} needs {need}")
            earlier.add(name)

    def test_what_is_chosen_brings_what_it_needs(self):
        names = [name for name, *_ in acceptance.chosen(["exit button"], False)]
        self.assertEqual(names, ["it boots until it is ready for faces", "it logs in to its platform", "the exit button opens"])
        self.assertEqual(acceptance.chosen([], True), acceptance.CHECKS)

    def test_what_takes_minutes_is_made_where_it_is_asked_for(self):
        every_change = acceptance.chosen([], False)
        self.assertEqual([check for check in every_change if check[3]], [])
        self.assertEqual(len(every_change), sum(not check[3] for check in acceptance.CHECKS))
        names = [name for name, *_ in acceptance.chosen(["factory reset"], False)]
        self.assertIn("a factory reset leaves nobody", names)


if __name__ == "__main__":
    unittest.main()
