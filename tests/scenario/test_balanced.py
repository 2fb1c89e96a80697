"""More than one machine: the example with HAProxy in front of three Bivalves and two clamds behind them, on machines made of
network namespaces, under load. One Bivalve is killed and one clamd is stopped, and no mail is lost."""
import collections
import os
import re
import shutil
import signal
import threading
import unittest

from harness import (PROJECT, SLOW, Bivalved, Clamd, Port, Process, ScenarioCase, SmtpClient, SmtpSink, Switched, compose,
                     infected_attachment, main, wait_until)

EXAMPLE = PROJECT / "appliance/examples/balanced"
# As in the example, on a network of the test.
ADDRESSES = {"client": 5, "haproxy": 10, "bivalve1": 11, "bivalve2": 12, "bivalve3": 13, "clamd1": 21, "clamd2": 22,
             "server": 30}
NETWORK = "10.98.0."
_IDENTITY = re.compile(rb"^X-Identity: (\S+)\r$", re.M)


def example(name):
    """An example's text with this network's addresses."""
    return (EXAMPLE / name).read_text().replace("192.0.2.", NETWORK)


class Senders:
    """Mail clients that send each message again until it is answered 250, like a mail server's queue."""

    def __init__(self, net, address, count):
        self.net = net
        self.address = address
        self.outcomes = {}          # identity of an attempt -> "250", "4xx", or where the connection was lost
        self.answered = set()       # messages answered 250
        self.failures = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._next = 0
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        try:
            while not self._stop.is_set():
                with self._lock:
                    self._next += 1
                    message = self._next
                # A message that was begun is completed, however long that takes.
                for attempt in range(1000):
                    identity = f"{message}-{attempt}"
                    outcome = self._send(identity)
                    with self._lock:
                        self.outcomes[identity] = outcome
                    if outcome == "250":
                        with self._lock:
                            self.answered.add(message)
                        break
                else:
                    self.failures.append(f"message {message} was never taken")
        except Exception as failure:  # pylint: disable=W0718
            self.failures.append(repr(failure))

    def _send(self, identity):
        where = "before"
        try:
            with self.net.inside("client"):
                client = SmtpClient(self.address)
            with client:
                if client.greeting.code != 220:
                    return "4xx"
                client.ehlo()
                for command in ("MAIL FROM:<ada@example.com>", "RCPT TO:<bob@example.net>", "DATA"):
                    if client.command(command).code not in (250, 354):
                        return "4xx"
                client.content(compose(b"some text\r\n" * 200, [f"X-Identity: {identity}"]))
                where = "after the final dot"
                reply = client.reply()
                assert reply.code == 250 or 400 <= reply.code < 500, str(reply)
                return "250" if reply.code == 250 else "4xx"
        except (OSError, EOFError):
            return f"lost {where}"

    def wait_answered(self, count):
        """Waits for this many further messages."""
        goal = len(self.answered) + count
        wait_until(f"{goal} messages answered 250", lambda: len(self.answered) >= goal or self.failures, 120)
        if self.failures:
            raise AssertionError("; ".join(self.failures[:5]))

    def finish(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        if self.failures or any(thread.is_alive() for thread in self._threads):
            raise AssertionError("; ".join(self.failures[:5]) or "a client was never answered")


@unittest.skipUnless(os.geteuid() == 0, "only root can make network namespaces")
@unittest.skipUnless(shutil.which("ip"), "iproute2 is not installed")
@unittest.skipUnless(shutil.which("haproxy") or os.path.exists("/usr/sbin/haproxy"), "haproxy is not installed")
class Balanced(ScenarioCase):
    bivalve_only = True

    def setUp(self):
        super().setUp()
        self.net = Switched({role: f"{NETWORK}{host}" for role, host in ADDRESSES.items()})
        self.addCleanup(self.net.close)
        with self.net.inside("server"):
            self.sink = SmtpSink(port=Port(self.net.addresses["server"], 25))
        self.addCleanup(self.sink.close)
        self.scanners = [self.scanner(role) for role in ("clamd1", "clamd2")]
        self.addCleanup(self.scanners[0].process.signal, signal.SIGCONT)
        self.daemons = {role: self.daemon(role) for role in ("bivalve1", "bivalve2", "bivalve3")}
        self.haproxy = self.balancer()

    def scanner(self, role):
        settings = dict(line.split(None, 1) for line in example("clamd.conf").splitlines()
                        if line and not line.startswith("#"))
        settings["TCPAddr"] = self.net.addresses[role]
        with self.net.inside(role):
            clamd = Clamd(self._path("clamd"), options=settings)
        self.addCleanup(clamd.close)
        return clamd

    def daemon(self, role):
        address = self.net.addresses[role]
        settings = collections.defaultdict(list)
        for line in example("bivalved.conf").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.partition(": ")
                settings[name].append(value.replace(self.net.addresses["bivalve1"], address))
        # A stopped scanner delays a client this long.
        settings.update({"ClamTimeOut": [4], "Workers": [1]})
        del settings["TempDirectory"]
        with self.net.inside(role):
            daemon = Bivalved(self._path("bivalved"), None, None, settings, port=Port(address, 10025),
                              stats_port=Port(address, 10027))
            daemon.start()
        self._daemons.append(daemon)
        end = daemon.stop

        def stop_inside():
            with self.net.inside(role):
                end()
        daemon.stop = stop_inside
        self.addCleanup(self._end_daemon, daemon)
        return daemon

    def stats(self, role):
        with self.net.inside(role):
            return self.daemons[role].stats()

    def balancer(self):
        text = re.sub(r"^ *(user|group|log /dev/log) .*\n", "", example("haproxy.cfg"), flags=re.M)
        # The same checks, only more often, so that the test need not wait for them.
        text = text.replace("inter 2s", "inter 200ms").replace("maxconn 60000", "maxconn 1000")
        path = self._path("haproxy.cfg")
        path.write_text(text)
        for role in self.daemons:
            wait_until(f"{role} to be ready", lambda role=role: self.ready(role))
        with self.net.inside("haproxy"):
            process = self.process("haproxy", [shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", path])
            wait_until("haproxy to listen", lambda: self.listens(process))
        return process

    def ready(self, role):
        with self.net.inside(role):
            return self.daemons[role].http("/readyz")[0] == 200

    def listens(self, process):
        if not process.running():
            raise AssertionError("haproxy has ended:\n" + process.output)
        try:
            SmtpClient((self.net.addresses["haproxy"], 25)).close()
            return True
        except (OSError, EOFError):
            return False

    def test_a_bivalve_dies_and_a_clamd_stops(self):
        target = (self.net.addresses["haproxy"], 25)
        senders = Senders(self.net, target, 8)
        try:
            senders.wait_answered(30 if SLOW else 100)
            counts = {role: self.stats(role)["messages"]["delivered"] for role in self.daemons}
            self.assertTrue(all(counts.values()), f"HAProxy gives mail to all of them: {counts}")
            self.daemons["bivalve1"].kill()
            self.scanners[0].process.signal(signal.SIGSTOP)
            senders.wait_answered(100 if SLOW else 300)
        finally:
            senders.finish()
        self.daemons["bivalve1"].wait_log(rf'"client":"{re.escape(self.net.addresses["client"])}"')
        self.judge(senders)

        with self.net.inside("client"):
            client = SmtpClient(target)
        with client:
            client.ehlo()
            self.assertReply(client.deliver(infected_attachment()), 250, "Virus Detected; Discarded Email")

    def judge(self, senders):
        received = collections.Counter()
        for message in self.sink.messages:
            received[_IDENTITY.search(message.content)[1].decode()] += 1
        outcomes = collections.Counter(senders.outcomes.values())
        # The replies to clients must be true: 250 means taken once, 4xx means not taken.
        for identity, outcome in senders.outcomes.items():
            taken = received[identity]
            if outcome == "250":
                self.assertEqual(taken, 1, f"{identity} was answered 250")
            elif outcome == "lost after the final dot":
                self.assertLessEqual(taken, 1, identity)
            else:
                self.assertEqual(taken, 0, f"{identity}: {outcome}")
        self.assertEqual(set(received) - set(senders.outcomes), set())
        # A client that lost its connection after the final dot has to send again, whether the server took the message or not (RFC
        # 1047). Only these messages may be there twice.
        messages = collections.Counter(identity.split("-")[0] for identity in received.elements())
        self.assertEqual({int(m) for m in messages}, senders.answered, "each is there")
        twice = sum(count - 1 for count in messages.values())
        self.assertLessEqual(twice, outcomes["lost after the final dot"])
        self.note(f"{len(senders.answered)} messages, none lost, {twice} twice; attempts: {dict(sorted(outcomes.items()))}")

    def test_a_bivalve_that_is_told_to_stop_loses_nobody(self):
        """Its sessions come to their end. If HAProxy cannot connect to it, HAProxy tries the next one at once."""
        senders = Senders(self.net, (self.net.addresses["haproxy"], 25), 6)
        try:
            senders.wait_answered(50)
            self.daemons["bivalve2"].stop()
            senders.wait_answered(50)
        finally:
            senders.finish()
        self.judge(senders)
        lost = [o for o in senders.outcomes.values() if o == "lost after the final dot"]
        self.assertEqual(lost, [], "no message was cut")


if __name__ == "__main__":
    main()
