"""Feeds a clamd directly, as fast as it scans: open descriptors over sessions, always the same content.

Its rate is the most that a filter in front of the same clamd can reach.
"""
import array
import os
import re
import selectors
import socket
import time
from dataclasses import dataclass

from . import PROJECT
from harness import SmtpSink

_FILDES = b"zFILDES\0" + b"\0"  # the byte after the command carries the descriptor


@dataclass(frozen=True)
class Fed:
    scans: int
    seconds: float
    not_clean: int


def scan_front():
    """The lines that Bivalve adds before the scanned content, read from its source."""
    source = (PROJECT / "scan/scan_image.h").read_text()
    line = re.search(r'kFrontLine\s*=\s*"((?:[^"\\]|\\.)*)"', source).group(1)
    line = line.encode("ascii").decode("unicode_escape").encode("ascii")
    parts = [int(re.search(rf"{name} = (\d+);", source).group(1)) for name in ("kFrontBytesMin", "kHeadGrowthMax")]
    return line * (sum(parts) // len(line))


def message_of(cell, send):
    """The content of a message as smtp-source sends it, taken from the wire once. `send` is load.send."""
    sink = SmtpSink()
    try:
        send(sink.port, cell, 1, 60)
        sink.wait_messages(1)
        return sink.received[0].content
    finally:
        sink.close()


class _Session:
    """One confirmed session of clamd, with its outstanding commands by number."""

    def __init__(self, path, content):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
        self.sock.sendall(b"zIDSESSION\0zPING\0")
        if self.sock.recv(200) != b"1: PONG\0":
            raise OSError("clamd does not begin a session")
        self._last = 1
        self._outstanding = set()
        self._input = b""
        # One file for each session, so that they share nothing except reading.
        writing = os.memfd_create("feeder")
        os.write(writing, content)
        self._file = os.open(f"/proc/self/fd/{writing}", os.O_RDONLY)
        os.close(writing)

    def scan(self):
        self._last += 1
        self._outstanding.add(self._last)
        self.sock.sendmsg([_FILDES], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self._file]))])

    def take(self):
        """Reads what has arrived; returns for each answer whether it was a clean scan."""
        block = self.sock.recv(4096)
        if not block:
            raise OSError("clamd has ended the session")
        *records, self._input = (self._input + block).split(b"\0")
        clean = []
        for record in records:
            number, _, text = record.partition(b": ")
            self._outstanding.remove(int(number))
            clean.append(re.fullmatch(rb"fd\[\d+\]: OK", text) is not None)
        return clean

    def close(self):
        self.sock.close()
        os.close(self._file)


def feed(path, content, seconds, *, sessions=4, outstanding=4):
    """Keeps this many scans outstanding on this many sessions for this long."""
    feeders = [_Session(path, content) for _ in range(sessions)]
    selector = selectors.EpollSelector()
    scans = not_clean = 0
    try:
        for feeder in feeders:
            selector.register(feeder.sock, selectors.EVENT_READ, feeder)
            for _ in range(outstanding):
                feeder.scan()
        start = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            ready = selector.select(5)
            if not ready:
                raise OSError("clamd has not answered for 5 s")
            for key, _ in ready:
                for clean in key.data.take():
                    scans += 1
                    not_clean += not clean
                    key.data.scan()
        return Fed(scans, now - start, not_clean)
    finally:
        selector.close()
        for feeder in feeders:
            feeder.close()
