"""Hot restarts and reloads of the configuration, one after the other, while mail is sent.

These must be true: every connection is accepted, greeted and served to its end; every message is answered 250 and
received exactly once; no process and no file is left over.
"""
import collections
import random
import signal
import threading
import time

from .bivalved import Bivalved, check_accounting
from .clamd import NullClamd
from .messages import compose
from .process import TIMEOUT, process_runs, wait_until
from .smtp_server import SmtpSink


class RestartRun:
    """`clients` send until the end: some send one message for each connection, some several, some slowly."""

    def __init__(self, directory, *, restarts, reloads, clients=8, seed=1):
        self.restarts = restarts
        self.reloads = reloads
        self.clients = clients
        self.random = random.Random(seed)
        self.failures = []
        self.sent = collections.Counter()
        self.connections = 0
        self.slowest = 0.0
        self.takeover_seconds = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        directory.mkdir(parents=True, exist_ok=True)
        self.sink = SmtpSink(extensions=["8BITMIME", "CHUNKING", "PIPELINING"])
        self.scanner = NullClamd(directory, delay_ms=2)
        self.pid_file = directory / "pid"
        self.daemon = Bivalved(directory / "bivalved", self.sink.address, self.scanner.address,
                               {"PidFile": self.pid_file})

    def _client(self, number):
        rng = random.Random(number)
        count = 0
        while not self._stop.is_set():
            began = time.monotonic()
            name = "?"
            try:
                with self.daemon.client() as client:
                    assert client.greeting.code == 220, str(client.greeting)
                    client.ehlo()
                    for _ in range(1 if number % 2 else rng.randrange(2, 20)):
                        name = f"{number}.{count}@example.com"
                        count += 1
                        content = compose(b"a line of text\r\n" * rng.choice((1, 10, 1000)))
                        reply = client.deliver(content, sender=name, slowly=rng.random() < 0.01)
                        assert reply.code == 250, str(reply)
                        with self._lock:
                            self.sent[name] += 1
                        if number % 4 == 0:
                            time.sleep(rng.expovariate(50))
                    reply = client.quit()
                    assert reply.code == 221, str(reply)
            except (OSError, EOFError, AssertionError, AttributeError) as failure:
                self.failures.append(f"{name} after {time.monotonic() - began:.1f} s: {failure!r}")
                if len(self.failures) > 20:
                    return
            with self._lock:
                self.connections += 1
                self.slowest = max(self.slowest, time.monotonic() - began)

    def _reload(self, turn):
        self.daemon.settings["Header"] = f"X-Turn: {turn}"
        self.daemon.settings["ClamConnections"] = 1 + turn % 3
        self.daemon.write_configuration()
        start = len(self.daemon.process.lines)
        self.daemon.process.signal(signal.SIGHUP)
        self.daemon.process.wait_line("the configuration was read again", start=start)

    def _restart(self):
        self.daemon.settings["Workers"] = self.random.choice((1, 2, 3))
        self.daemon.write_configuration()
        began = time.monotonic()
        pid = self.daemon.restart()
        self.takeover_seconds.append(time.monotonic() - began)
        if self.pid_file.read_text() != f"{pid}\n":
            self.failures.append(f"the pid file says {self.pid_file.read_text()!r} and not {pid}")
        check_accounting(self.daemon.stats())

    def run(self):
        """Returns a line of figures; raises AssertionError if one of these properties does not hold."""
        self.daemon.start()
        first = self.daemon.process.pid
        pids = [first]
        threads = [threading.Thread(target=self._client, args=(n,)) for n in range(self.clients)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        turns = ["restart"] * self.restarts + ["reload"] * self.reloads
        self.random.shuffle(turns)
        try:
            for number, turn in enumerate(turns):
                if turn == "restart":
                    self._restart()
                    pids.append(self.daemon.process.pid)
                else:
                    self._reload(number)
                if len(self.failures) > 20:
                    break
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(TIMEOUT)
        seconds = time.monotonic() - began
        for pid in pids[:-1]:
            wait_until(f"process {pid} to end", lambda pid=pid: not process_runs(pid))
        generation = self.daemon.stats()["restart"]["generation"]
        self._judge(generation)
        self.daemon.stop()
        assert not self.pid_file.exists(), "the pid file is left"
        assert not self.failures, f"{len(self.failures)} failures: " + "; ".join(self.failures[:10])
        self.takeover_seconds.sort()
        middle = self.takeover_seconds[len(self.takeover_seconds) // 2] if self.takeover_seconds else 0
        longest = self.takeover_seconds[-1] if self.takeover_seconds else 0
        return (f"{self.restarts} restarts and {self.reloads} reloads in {seconds:.1f} s: {self.connections} connections "
                f"and {len(self.sent)} messages, none failed, lost or doubled; a restart took {middle:.2f} s "
                f"({longest:.2f} s the longest), the longest connection {self.slowest:.2f} s")

    def _judge(self, generation):
        received = collections.Counter(message.sender for message in self.sink.messages)
        for name in self.sent:
            if received[name] != 1:
                self.failures.append(f"{name} was answered 250 and received {received[name]} times")
        for name in received.keys() - self.sent.keys():
            self.failures.append(f"{name} was received and not answered 250")
        if generation != self.restarts + 1:
            self.failures.append(f"generation {generation}")
        accounts = sum("all in all:" in line for line in self.daemon.process.lines)
        if accounts != self.restarts:
            self.failures.append(f"{accounts} accounts of processes that ended")

    def close(self):
        self._stop.set()
        self.daemon.kill()
        self.scanner.close()
        self.sink.close()
        self.daemon.release()
