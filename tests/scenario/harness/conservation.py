"""The conservation run: mail from many clients while scanners, server, clients and connections are killed, stopped and
restarted at random. Afterwards, these must be true:

  - a message that was answered 250 was received by the server exactly once, or is infected;
  - no infected message was received by the server;
  - a message that was not answered 250 was received at most once (a peer may have died while its reply was on the way);
  - the accounts were right at every check.

Every attempt to send has its own identity, so that a message that was sent again differs from one that was doubled.
"""
import collections
import random
import re
import signal
import threading
import time

from .bivalved import Bivalved, check_accounting
from .clamd import Clamd
from .messages import compose, eicar, with_attachment
from .process import SLOW, wait_until
from .smtp_server import SmtpSink

_IDENTITY = re.compile(rb"^X-Identity: (\S+)\r$", re.M)


class Violation(AssertionError):
    pass


class ConservationRun:
    """One round. `ending`: with "calm" everything comes to its end; "term" and "kill" end the daemon in the middle."""

    def __init__(self, directory, seed, *, messages=5000, clients=20, ending="calm", settings=None, seconds=600,
                 pause=0.1):
        self.seed = seed
        self.messages = messages
        self.clients = clients
        self.ending = ending
        self.pause = pause                        # of a client between two attempts, on average
        self.deadline = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.attempts = {}                        # identity -> (infected, outcome)
        self.counts = collections.Counter()
        self.chaos = collections.Counter()
        self.failures = []
        self._lock = threading.Lock()
        self._left = messages
        self._stop = threading.Event()
        directory.mkdir(parents=True, exist_ok=True)
        self.scanners = [Clamd(directory / f"clamd{n}", options={"MaxThreads": "2"}) for n in range(2)]
        self.sink = SmtpSink(extensions=self.random.choice((["8BITMIME"], ["CHUNKING", "PIPELINING"])))
        self.daemon = Bivalved(directory / "bivalved", self.sink.address, [s.address for s in self.scanners],
                               {"ClamTimeOut": 8, "TimeOut": 20, "ShutdownTimeOut": 25, **(settings or {})})

    # The clients.

    def _next(self):
        with self._lock:
            if self._left == 0 or self._stop.is_set():
                return None
            self._left -= 1
            return self.messages - self._left

    def _note(self, identity, infected, outcome):
        with self._lock:
            self.attempts[identity] = (infected, outcome)
            self.counts[outcome] += 1

    def _client(self, number):
        rng = random.Random(f"{self.seed}/{number}")
        connection = None
        while (message := self._next()) is not None:
            infected = rng.random() < 0.1
            for attempt in range(rng.choice((1, 1, 2, 4))):
                if self._stop.is_set():
                    break
                identity = f"{self.seed}-{message}-{attempt}"
                if connection is None:
                    connection = self._connect()
                if connection is None:
                    self._note(identity, infected, "no connection")
                    continue
                time.sleep(rng.expovariate(1 / self.pause))
                outcome, connection = self._send(rng, connection, identity, infected)
                self._note(identity, infected, outcome)
                if outcome == "250":
                    break
        if connection is not None:
            connection.close()

    def _connect(self):
        try:
            connection = self.daemon.client(timeout=60)
            if connection.greeting.code == 220 and connection.ehlo().code == 250:
                return connection
            connection.close()
        except (OSError, EOFError):
            pass
        time.sleep(0.02)
        return None

    def _send(self, rng, connection, identity, infected):
        filler = b"a line of text, and another one behind it\r\n" * int(rng.paretovariate(0.7))
        filler = filler[:rng.choice((2_000, 20_000, 400_000))]
        header = [f"X-Identity: {identity}"]
        content = (with_attachment("eicar.com", eicar(), header) if infected else
                   compose(filler + b"\r\n.\r\n..\r\n", header))
        try:
            for command in ("MAIL FROM:<ada@example.com>", "RCPT TO:<bob@example.net>", "DATA"):
                reply = connection.command(command)
                if reply.code not in (250, 354):
                    if reply.code != 421:
                        connection.command("RSET")
                        return "4xx before", connection
                    connection.close()
                    return "421", None
            leave = rng.random()
            if leave < 0.02:  # in the middle of its message
                connection.send(content[:len(content) // 2])
                (connection.reset if leave < 0.01 else connection.close)()
                return "left in data", None
            connection.content(content)
            if leave < 0.04:  # while it is scanned, or just before the reply
                time.sleep(rng.choice((0, 0.002, 0.05)))
                (connection.reset if leave < 0.03 else connection.close)()
                return "left in scan", None
            reply = connection.reply()
            if reply.code == 421:
                connection.close()
                return "421", None
            return ("250" if reply.code == 250 else "4xx" if 400 <= reply.code < 500 else f"{reply.code}"), connection
        except (OSError, EOFError):
            connection.close()
            return "connection lost", None

    # What happens to the other programs.

    def _disturb(self):
        stopped = {}
        while not self._stop.is_set() and self._left > 0:
            time.sleep(self.random.uniform(0.02, 0.4))
            scanner = self.random.choice(self.scanners)
            for one, until in list(stopped.items()):
                if time.monotonic() > until:
                    one.process.signal(signal.SIGCONT)
                    del stopped[one]
            what = self.random.choice(("kill scanner", "stop scanner", "reload", "drop server connections", "stop server",
                                       "read again", "hot restart", "look", "look", "look"))
            self.chaos[what] += 1
            try:
                if what == "kill scanner" and scanner not in stopped:
                    scanner.kill()
                    time.sleep(self.random.uniform(0, 0.3))
                    scanner.start(wait=False)
                elif what == "stop scanner":
                    scanner.process.signal(signal.SIGSTOP)
                    stopped[scanner] = time.monotonic() + self.random.uniform(0.1, 4)
                elif what == "reload" and not stopped:
                    scanner.command("RELOAD")
                elif what == "drop server connections":
                    self.sink.drop_connections()
                elif what == "stop server":
                    self.sink.stop()
                    time.sleep(self.random.uniform(0, 0.3))
                    self.sink.start()
                elif what == "read again":
                    self.daemon.settings["Header"] = f"X-Reading: {self.chaos[what]}"
                    self.daemon.write_configuration()
                    self.daemon.process.signal(signal.SIGHUP)
                elif what == "hot restart" and self.ending == "calm":
                    self.daemon.restart()
                self._look()
            except OSError:
                pass
            except Exception as failure:  # pylint: disable=W0718
                self.failures.append(repr(failure))
                break
        for one in stopped:
            one.process.signal(signal.SIGCONT)

    def _look(self):
        stats = self.daemon.stats()
        try:
            check_accounting(stats)
        except AssertionError as failure:
            self.failures.append(str(failure))
        self.counts["looks"] += 1

    # The round.

    def run(self):
        """Raises Violation if one of the properties does not hold. Returns a line about the round."""
        self.daemon.start()
        began = time.monotonic()
        threads = [threading.Thread(target=self._client, args=(n,)) for n in range(self.clients)]
        chaos = threading.Thread(target=self._disturb)
        for thread in [*threads, chaos]:
            thread.start()
        try:
            if self.ending != "calm":
                wait_until("half of the messages", lambda: self._left < self.messages // 2, 300)
                self._end_daemon()
            for thread in threads:
                thread.join(max(1, self.deadline - time.monotonic()))
            if any(thread.is_alive() for thread in threads):
                self.failures.append("the clients did not come to their end in time: somebody was never answered")
        finally:
            self._stop.set()
            chaos.join(60)
        if self.ending == "calm" and not self.failures:
            stats = self.daemon.wait_stats("the end of all messages", lambda s: s["messages"]["in_progress"] == 0
                                           and s["connections"]["active"] == 0)
            self.counts["received by the daemon"] = stats["messages"]["received"]
            self.daemon.stop()
        self._judge()
        self.counts["seconds"] = round(time.monotonic() - began)
        if self.failures:
            raise Violation(f"seed {self.seed}, ending {self.ending}: " + "; ".join(self.failures[:10]))
        return (f"seed {self.seed} {self.ending}: {dict(sorted(self.counts.items()))}, "
                f"chaos {dict(sorted(self.chaos.items()))}")

    def _end_daemon(self):
        if self.ending == "kill":
            self.daemon.kill()
        else:
            self.daemon.process.signal(signal.SIGTERM)
            status = self.daemon.process.wait(90)
            self.daemon.check_sanitizers()
            if status != 0:
                self.failures.append(f"ended with {status} after SIGTERM")
        self._stop.set()

    def _judge(self):
        received = collections.Counter()
        taken = collections.Counter()
        for message in self.sink.received:
            identity = _IDENTITY.search(message.content)
            name = identity.group(1).decode() if identity else "?"
            received[name] += 1
            if message.reply and message.reply.startswith(b"2"):
                taken[name] += 1
        for name, count in received.items():
            infected, outcome = self.attempts.get(name, (False, "never sent"))
            if outcome == "never sent" and self.ending == "calm":
                self.failures.append(f"{name} was received and never sent")
            if infected:
                self.failures.append(f"{name} is infected and was received")
            if count > 1:
                self.failures.append(f"{name} ({outcome}) was received {count} times")
        for name, (infected, outcome) in self.attempts.items():
            if outcome == "250" and not infected and taken[name] != 1:
                self.failures.append(f"{name} was answered 250 and received {taken[name]} times")
            if outcome.startswith("5"):
                self.failures.append(f"{name} was answered {outcome}")
            if outcome == "left in data" and received[name] > 0:
                self.failures.append(f"{name} was cut and received")
        self.counts["taken by the server"] = sum(taken.values())

    def close(self):
        self._stop.set()
        self.daemon.kill()
        for scanner in self.scanners:
            scanner.process.signal(signal.SIGCONT)
            scanner.close()
        self.sink.close()
        self.daemon.release()


def short_round(directory, seed, ending):
    """For the suite."""
    run = ConservationRun(directory, seed, messages=120 if SLOW else 400, clients=12, ending=ending)
    try:
        return run.run()
    finally:
        run.close()
