"""Under a service manager: sockets that it has opened (LISTEN_FDS), its watchdog, and the messages to it about a reload and a
hot restart."""
import ctypes
import os
import re
import signal
import socket
import sys
import threading
import time
import unittest
from pathlib import Path

from harness import Process, ScenarioCase, SmtpClient, compose, free_port, main, wait_until
from harness.bivalved import program
from harness.process import adopt_orphans

MESSAGE = compose(b"x\r\n")

# Opens sockets as systemd does, at the descriptors from 3 on, and becomes the program. Arguments: the value of
# LISTEN_FDNAMES, the addresses, "--", the program.
LAUNCHER = """
import os, socket, sys
names, *words = sys.argv[1:]
end = words.index("--")
sockets = []
for word in words[:end]:
    if word.startswith("/"):
        one = socket.socket(socket.AF_UNIX)
        one.bind(word)
    else:
        host, _, port = word.rpartition(":")
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind((host, int(port)))
    one.listen(64)
    sockets.append(one)
high = [os.dup(one.fileno()) for one in sockets for _ in range(20)][19::20]
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names, LISTEN_PID=str(os.getpid()))
os.execv(words[end + 1], words[end + 1:])
"""

_libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class Manager:
    """The other end of NOTIFY_SOCKET: the messages received, in order, with their times."""

    def __init__(self, path):
        self.path = str(path)
        self.told = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while True:
            text = self._socket.recv(4096).decode()
            if not text:
                return
            self.told.append((time.monotonic(), text))

    def wait(self, pattern, start=0):
        """The first matching message, from number `start` on."""
        def found():
            return next((m for m in (re.search(pattern, t) for _, t in self.told[start:]) if m), None)
        wait_until(f"the service manager to be told {pattern!r}", found)
        return found()

    def count(self, text):
        return sum(one == text for _, one in self.told)

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self.path)
        self._thread.join()
        self._socket.close()


class ServiceCase(ScenarioCase):
    bivalve_only = True

    def managed(self, settings=None, env=None, launch=()):
        """A daemon that a service manager watches. `launch`: names and addresses for LAUNCHER."""
        self.manager = Manager(self.directory / "notify")
        self.addCleanup(self.manager.close)
        daemon = self.bivalved(self.sink(), settings=settings, start=False)
        daemon.write_configuration()
        launcher = [sys.executable, "-c", LAUNCHER, *map(str, launch), "--"] if launch else []
        daemon.process = Process("bivalved", [*launcher, program(), "-d", "4", "-f", daemon.configuration],
                                 env={"NOTIFY_SOCKET": self.manager.path, **(env or {})})
        self.manager.wait("^READY=1")
        return daemon

    def deliver(self, address):
        with SmtpClient(address) as client:
            client.ehlo()
            self.assertReply(client.deliver(MESSAGE), 250)


class Activation(ServiceCase):
    def test_sockets_of_the_manager(self):
        """All workers serve them, whatever Listen and StatsAddress say, and they survive a hot restart."""
        port, stats, path = free_port(), free_port(), self.directory / "smtp.sock"
        daemon = self.managed({"Workers": 3}, launch=("smtp:stats:other", port, stats, path))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(daemon.address)
        daemon.stats_port = stats
        for restarted in (False, True):
            if restarted:
                daemon.restart()
            self.deliver(port.pair)
            with socket.socket(socket.AF_UNIX) as local:
                local.connect(str(path))
                self.assertTrue(local.recv(100).startswith(b"220 "))
            clients = [SmtpClient(port.pair) for _ in range(30)]
            self.assertEqual(daemon.stats()["restart"]["generation"], 1 + restarted)
            for client in clients:
                client.close()
        daemon.stop()
        self.assertTrue(path.exists(), "it is the service manager's")
        stats.release()
        port.release()

    def test_what_is_meant_for_another_process(self):
        daemon = self.managed(env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
        self.deliver(daemon.address)


class Told(ServiceCase):
    def test_of_a_reload(self):
        daemon = self.managed()
        start = len(self.manager.told)
        daemon.process.signal(signal.SIGHUP)
        stamp = int(self.manager.wait(r"^RELOADING=1\nMONOTONIC_USEC=(\d+)$", start).group(1))
        self.assertLess(abs(stamp / 1e6 - time.clock_gettime(time.CLOCK_MONOTONIC)), 60)
        self.manager.wait("^READY=1\nSTATUS=The configuration was read again", start)
        start = len(self.manager.told)
        daemon.configuration.write_text("Nonsense: 1\n")
        daemon.process.signal(signal.SIGHUP)
        self.manager.wait("^RELOADING=1", start)
        self.manager.wait("^READY=1\nSTATUS=The configuration was not taken: .*Nonsense", start)

    def test_of_a_hot_restart(self):
        """MAINPID from the process that the manager knows, then READY from the next one."""
        adopt_orphans()
        daemon = self.managed(env={"WATCHDOG_USEC": "400000"})
        pid = daemon.restart()
        self.assertEqual(int(self.manager.wait(r"^MAINPID=(\d+)$").group(1)), pid)
        wait_until("the new one to be ready", lambda: sum(t.startswith("READY=1") for _, t in self.manager.told) == 2)
        beats = self.manager.count("WATCHDOG=1")
        wait_until("its watchdog", lambda: self.manager.count("WATCHDOG=1") > beats + 2)
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        self.assertIn(b"NOTIFY_SOCKET=" + self.manager.path.encode(), environment)

    def test_of_the_end(self):
        daemon = self.managed({"ShutdownTimeOut": 5}, env={"WATCHDOG_USEC": "60000000"})
        daemon.process.signal(signal.SIGTERM)
        self.manager.wait("^STOPPING=1")
        self.manager.wait(r"^WATCHDOG_USEC=35000000\n")
        self.assertEqual(daemon.process.wait(), 0)


class Watchdog(ServiceCase):
    def test_comes_at_half_of_the_time(self):
        self.managed(env={"WATCHDOG_USEC": "400000"})
        wait_until("ten beats", lambda: self.manager.count("WATCHDOG=1") > 10)
        times = [when for when, text in self.manager.told if text == "WATCHDOG=1"]
        self.assertGreater((times[10] - times[0]) / 10, 0.15)

    def test_not_for_another_process(self):
        daemon = self.managed(env={"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
        self.deliver(daemon.address)
        daemon.process.end()
        self.assertEqual(self.manager.count("WATCHDOG=1"), 0)

    def test_stops_when_a_worker_hangs(self):
        """One thread is stopped, as by a debugger, and the others continue."""
        daemon = self.managed(env={"WATCHDOG_USEC": "200000"})
        self.manager.wait("^WATCHDOG=1$")
        tasks = Path(f"/proc/{daemon.process.pid}/task")
        thread = next(int(t.name) for t in tasks.iterdir() if (t / "comm").read_text().strip() == "worker-1")
        if _libc.ptrace(PTRACE_SEIZE, thread, None, None) != 0:
            raise unittest.SkipTest("no ptrace here")
        self.assertEqual(_libc.ptrace(PTRACE_INTERRUPT, thread, None, None), 0)
        os.waitpid(thread, 0x40000000)  # __WALL
        try:
            daemon.wait_log("worker 1 does not answer")
            beats = self.manager.count("WATCHDOG=1")
            # The control thread lives, and is still silent after some more of its turns.
            for _ in range(5):
                daemon.stats()
            self.assertEqual(self.manager.count("WATCHDOG=1"), beats)
        finally:
            _libc.ptrace(PTRACE_DETACH, thread, None, None)
        wait_until("the beat to come back", lambda: self.manager.count("WATCHDOG=1") > beats)


if __name__ == "__main__":
    main()
