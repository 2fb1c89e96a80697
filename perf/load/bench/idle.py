"""Memory of idle connections, and the limit on held messages: for scale's output and the target check."""
import socket
import threading
import time
from pathlib import Path

from .load import LoadFailed, send
from .peers import CpuClock, memory
from harness import wait_until

# Postfix's smtp-sink searches all its sessions for each event, and is slow to greet the last of ten thousand.
_SECONDS = 120


def descriptors_each(with_mail):
    """How many descriptors one session of Bivalve needs: two sockets, and two of the body while it holds a message."""
    return 4 if with_mail else 2


def sessions_possible(descriptors, with_mail=False):
    """How many sessions bivalved can have with this limit; it keeps a thousand descriptors for everything else."""
    return (descriptors - 1100) // descriptors_each(with_mail)


def _reply(sock):
    data = b""
    while True:
        block = sock.recv(4096)
        if not block:
            raise OSError(f"the connection ended after {data!r}")
        data += block
        lines = data.split(b"\r\n")
        if data.endswith(b"\r\n") and lines[-2][3:4] == b" ":
            return data


def _expect(sock, code):
    reply = _reply(sock)
    if not reply.startswith(code):
        raise OSError(f"answered {reply.decode('latin-1').strip()} where {code.decode()} was due")


def idle_connections(target, count):
    """Opens this many connections to a started target, says EHLO on each, and returns its memory before and with them."""
    clients = []
    before = memory(target.pid)
    cpu = CpuClock(target.pid)
    try:
        for _ in range(count):
            clients.append(socket.create_connection(target.port.pair, timeout=_SECONDS))
        for client in clients:
            _expect(client, b"220")
            client.sendall(b"EHLO client.example.com\r\n")
            _expect(client, b"250")
        time.sleep(0.5)
        with_them = memory(target.pid)
        used = cpu.read()
        time.sleep(2)
        idle_cpu = (cpu.read() - used) / 2
        # They must be idle and still connected.
        for client in clients[::max(1, count // 50)]:
            client.sendall(b"NOOP\r\n")
            _expect(client, b"250")
    finally:
        for client in clients:
            client.close()
    return {"connections": count, "resident_before": before["resident"], "resident": with_them["resident"],
            "bytes_each": (with_them["resident"] - before["resident"]) / count,
            "whole_process_bytes_each": with_them["resident"] / count, "cpu_ns_per_second": idle_cpu}


class _MemoryWatch(threading.Thread):
    """Reads a process's memory, and the machine's shared memory, every few milliseconds; keeps the peaks."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self._pid = pid
        self._done = threading.Event()
        self.peaks = {}

    @staticmethod
    def _machine_shared():
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("Shmem:"):
                return int(line.split()[1]) * 1024
        return 0

    def run(self):
        start = self._machine_shared()
        while not self._done.wait(0.02):
            try:
                seen = memory(self._pid)
            except OSError:
                return
            # A body that is not mapped at the moment is in no process's figures, but in the machine's sum.
            seen["machine_shared_growth"] = self._machine_shared() - start
            for name, value in seen.items():
                self.peaks[name] = max(self.peaks.get(name, 0), value)

    def end(self):
        self._done.set()
        self.join()
        return self.peaks


def many_at_once(target, cell, messages, limit_seconds):
    """Sends messages through a target that was started with little BodyMemory; returns their outcomes and the peaks."""
    watch = _MemoryWatch(target.pid)
    watch.start()
    result = {"cell": str(cell), "messages": messages}
    try:
        result["seconds"] = send(target.port, cell, messages, limit_seconds).seconds
    except LoadFailed as failure:
        result["error"] = str(failure)
    try:
        wait_until("the last message to be counted", lambda: target.daemon.stats()["messages"]["in_progress"] == 0, 10)
        result["counted"] = {name: value for name, value in target.daemon.stats()["messages"].items() if value}
    except (AssertionError, OSError) as failure:
        result["error"] = str(failure)
    result["peaks"] = watch.end()
    return result
