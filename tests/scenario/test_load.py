"""Many messages, many connections, and the figures that must be reached."""
import os
import re
import resource
import socket
import threading
import time
import unittest

from harness import (SLOW, ScenarioCase, SmtpClient, compose, free_port, infected_attachment, main, run_program,
                     wait_until, with_attachment, without_header)

SOURCE, SINK = "/usr/sbin/smtp-source", "/usr/sbin/smtp-sink"


@unittest.skipUnless(os.access(SOURCE, os.X_OK), "Postfix is not installed")
class Throughput(ScenarioCase):
    alone = True
    bivalve_only = True

    def test_1000_messages_over_20_connections(self):
        """No more clamd connections than the pool allows, nothing left behind, every message accounted for."""
        clamd = self.clamd()
        tap = self.tap(clamd)
        sink = self.sink()
        daemon = self.bivalved(sink, tap, {"Workers": 2, "ClamConnections": 2})
        seen = set()
        done = threading.Event()

        def watch():
            while not done.is_set():
                seen.add(clamd.connections())
                done.wait(0.02)
        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.monotonic()
        source = run_program([SOURCE, "-s", "20", "-m", "1000", "-d", "-l", "5000", "-f", "ada@example.com", "-t",
                              "bob@example.net", f"inet:{daemon.port}"])
        seconds = time.monotonic() - started
        done.set()
        watcher.join()
        self.assertEqual(source.returncode, 0, source.stdout)
        sink.wait_messages(1000)
        stats = daemon.expect_messages(received=1000, delivered=1000, clean=1000, tempfailed=0, lost=0)
        allowed = stats["workers"] * 2
        self.note(f"{1000 / seconds:.0f} messages/s, {tap.total} connections to clamd")
        self.assertEqual(stats["connections"]["accepted"], 20)
        # Each worker asks for the version on a connection of its own, for a moment.
        self.assertLessEqual(max(seen), allowed + stats["workers"], "connections to clamd at one time")
        self.assertLessEqual(tap.peak, allowed, "connections to clamd at one time")
        self.assertLessEqual(tap.total, allowed, "connections to clamd in all: they are kept, not made anew")
        self.assertEqual(tap.descriptors, 1000 + tap.total, "one for each message, and a canary on each connection")
        self.assertEqual(daemon.temporary_files(), [])
        self.assertEqual(clamd.temporary_files(), [])

    def test_1000_messages_on_1000_connections(self):
        clamd = self.clamd()
        tap = self.tap(clamd)
        sink = self.sink()
        daemon = self.bivalved(sink, tap, {"Workers": 2, "ClamConnections": 2})
        source = run_program([SOURCE, "-s", "20", "-m", "1000", "-l", "2000", f"inet:{daemon.port}"])
        self.assertEqual(source.returncode, 0, source.stdout)
        sink.wait_messages(1000)
        stats = daemon.expect_messages(received=1000, delivered=1000)
        self.assertEqual(stats["connections"]["accepted"], 1000)
        self.assertLessEqual(tap.total, 4)
        daemon.wait_stats("the sessions to end", lambda s: s["connections"]["active"] == 0)

    def test_one_session_without_waiting(self):
        """One session, messages of 1 kB one after the other, the null scanner: no delayed acknowledgement anywhere."""
        port = self.postfix_sink()
        daemon = self.bivalved(f"127.0.0.1:{port}", self.null_clamd(), {"Workers": 1})
        count = 500 if SLOW else 2000
        rates = []
        # The best of a few rounds, because the question is whether anything waits, not whether the machine is busy.
        while not rates or (max(rates) <= 1000 and len(rates) < 5 and not SLOW):
            started = time.monotonic()
            source = run_program([SOURCE, "-s", "1", "-m", str(count), "-d", "-l", "1024", f"inet:{daemon.port}"],
                                 timeout=120)
            rates.append(count / (time.monotonic() - started))
            self.assertEqual(source.returncode, 0, source.stdout)
        self.note(f"{max(rates):.0f} messages/s in one session")
        daemon.expect_messages(received=count * len(rates), delivered=count * len(rates))
        if not SLOW:
            self.assertGreater(max(rates), 1000)

    def postfix_sink(self, *arguments):
        """Postfix's smtp-sink on its own port; returns the port."""
        port = free_port()
        self.addCleanup(port.release)
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        self.process("smtp-sink", [SINK, *user, "-m", "5000", *arguments, f"inet:{port}", "1024"])

        def ready():
            try:
                socket.create_connection(port.pair, timeout=1).close()
                return True
            except OSError:
                return False
        wait_until("smtp-sink to listen", ready)
        return port.number


class Idle(ScenarioCase):
    alone = True
    bivalve_only = True

    COUNT = 2000

    def test_2000_idle_connections(self):
        """One process holds them with less than 8 kB each, and mail is still delivered."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit < 3 * self.COUNT:
            self.skipTest(f"only {limit} descriptors are allowed here")
        daemon = self.bivalved(self.sink(), settings={"TimeOut": 300})
        # Some of them first, so that one-time allocations do not count for each connection.
        warm = [daemon.client() for _ in range(20)]
        for client in warm:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"warm\r\n")), 250)
        before = daemon.process.memory_bytes()
        clients = []
        try:
            for _ in range(self.COUNT):
                client = SmtpClient(daemon.address, greeting=False)
                clients.append(client)
            for client in clients:
                self.assertReply(client.reply(), 220)
                self.assertReply(client.ehlo(), 250)
            daemon.wait_stats("all of them", lambda s: s["connections"]["active"] == self.COUNT + len(warm))
            each = (daemon.process.memory_bytes() - before) / self.COUNT
            self.note(f"{each:.0f} bytes for each of {self.COUNT} idle connections, "
                      f"{daemon.process.memory_bytes() / 1048576:.1f} MB in all")
            with daemon.client() as client:
                client.ehlo()
                self.assertReply(client.deliver(compose(b"beside them\r\n")), 250)
            for client in clients[::100]:
                self.assertReply(client.deliver(compose(b"awake\r\n")), 250)
            if not SLOW:
                self.assertLess(each, 8192)
        finally:
            for client in clients + warm:
                client.close()
        daemon.wait_stats("the sessions to end", lambda s: s["connections"]["active"] == 0)


class Mixed(ScenarioCase):
    """Clean and infected mail of all sizes from many clients at once."""

    class_timeout = 300

    def test_every_message_gets_its_own_verdict(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        failures = []
        expected = {}

        def send(number):
            try:
                with daemon.client() as client:
                    client.ehlo()
                    for n in range(20):
                        infected = (number + n) % 3 == 0
                        mark = f"client{number}-{n}"
                        content = infected_attachment() if infected else \
                            with_attachment(mark, mark.encode() * (1 + n * n * 40), [f"X-Mark: {mark}"])
                        if not infected:
                            expected[mark] = content
                        reply = client.deliver(content, f"{mark}@example.com")
                        want = "Virus Detected; Discarded Email" if infected else "2.0.0 sink: queued as"
                        if reply.code != 250 or not reply.text.startswith(want):
                            failures.append(f"{mark}: {reply}")
            except Exception as failure:  # pylint: disable=W0718
                failures.append(f"client {number}: {failure!r}")
        threads = [threading.Thread(target=send, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(len(sink.received), len(expected), "as many as were clean, none twice")
        for message in sink.received:
            mark = re.search(rb"X-Mark: (\S+)", message.content).group(1).decode()
            self.assertEqual(message.sender, f"{mark}@example.com")
            self.assertTrue(without_header(message.content) == expected[mark], mark)
        daemon.expect_messages(received=240, delivered=len(expected), dropped=240 - len(expected))


if __name__ == "__main__":
    main()
