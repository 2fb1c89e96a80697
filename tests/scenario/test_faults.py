"""Every fault by its name: what clamd, the mail server, the machine and the operator's tools can do wrong.

In each case: no message is delivered unscanned, none that was answered 250 is missing, the client gets an answer, and the
accounts are right (the end of every daemon checks them). Faults that test_peers and test_scanner test in depth are repeated
here by name; test_fault_resources has disk, memory, descriptors and queues. tests/README.md is the list.
"""
import base64
import http.client
import os
import signal
import socket
import subprocess
import threading
import time

from harness import (CLOSE, RESET, STALL, compose, eicar_message, free_port, infected_attachment, main, run_program,
                     wait_until)
from harness.bivalved import log_line
from harness.clamd import build_database
from harness.fault_case import FaultCase, proven


class ScannerFaults(FaultCase):
    """clamd in each state."""

    def test_stopped_and_continued(self):
        """SIGSTOP: a swapping or looping clamd behaves like this. The message waits and is scanned in the end."""
        clamd = self.clamd()
        daemon = self.daemon(clamd)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"before\r\n")), 250)
            clamd.process.signal(signal.SIGSTOP)
            self.hold(client, compose(b"held\r\n"))
            daemon.wait_stats("the scan", lambda s: s["messages"]["in_progress"] == 1)
            time.sleep(1)
            self.assertEqual(len(self.server.received), 1)
            clamd.process.signal(signal.SIGCONT)
            self.assertReply(client.reply(), 250)
        daemon.expect_messages(received=2, delivered=2, scan_failed=0)

    def test_stopped_beside_another(self):
        first, second = self.clamd(), self.clamd()
        daemon = self.daemon([first.address, second.address])
        daemon.wait_stats("both scanners to prove themselves", proven)
        first.process.signal(signal.SIGSTOP)
        self.addCleanup(first.process.signal, signal.SIGCONT)
        with daemon.client() as client:
            client.ehlo()
            for n in range(4):
                began = time.monotonic()
                self.assertReply(client.deliver(compose(b"%d\r\n" % n)), 250)
                self.assertLess(time.monotonic() - began, 15, "the other scanner was asked")
        stats = daemon.expect_messages(received=4, delivered=4)
        self.assertEqual(stats["scanners"][0]["scans"], 0)
        self.assertEqual(stats["scanners"][1]["scans"], 4)
        first.process.signal(signal.SIGCONT)

    def test_killed_during_a_scan(self):
        first, second = self.clamd(), self.clamd()
        daemon = self.daemon([first.address, second.address])
        daemon.wait_stats("both scanners to prove themselves", proven)
        first.process.signal(signal.SIGSTOP)
        clients = [daemon.client() for _ in range(4)]
        for n, client in enumerate(clients):
            self.addCleanup(client.close)
            client.ehlo()
            self.hold(client, compose(b"message %d\r\n" % n))
        daemon.wait_stats("scans", lambda s: s["scanners"][0]["in_flight"] > 0)
        first.kill()
        for client in clients:
            self.assertReply(client.reply(), 250)
        self.assertEqual(len(self.server.messages), 4)

    def test_reloads_its_database_and_answers_nobody(self):
        """ConcurrentDatabaseReload no: the whole clamd stops. Mail waits for it."""
        clamd = self.clamd(options={"ConcurrentDatabaseReload": "no", "IdleTimeout": "5"})
        daemon = self.daemon(clamd, {"ClamTimeOut": 60})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"before\r\n")), 250)
            self.assertEqual(clamd.command("RELOAD"), "RELOADING")
            began = time.monotonic()
            for n in range(5):
                self.assertReply(client.deliver(compose(b"during %d\r\n" % n)), 250)
                self.assertReply(client.deliver(infected_attachment()), 250, "Virus Detected; Discarded Email")
                time.sleep(0.2)
            self.note(f"{time.monotonic() - began:.1f} s for ten messages")
        daemon.expect_messages(received=11, delivered=6, dropped=5, scan_failed=0)

    def test_queue_full(self):
        """Many more messages than MaxQueue: they wait in Bivalve's queue, and clamd's own queue never fills up."""
        clamd = self.clamd(options={"MaxThreads": "1", "MaxQueue": "8"})
        daemon = self.daemon(clamd, {"Workers": 4}, start=False)
        daemon.write_configuration()
        checked = run_program([daemon.executable, "--check-config", "-f", daemon.configuration])
        self.assertEqual(checked.returncode, 0)
        self.assertRegex(checked.stdout, rb"2 for each of 4 workers are not below half of the MaxQueue \(8\)")
        daemon = self.daemon(clamd, {"Workers": 1, "ClamConnections": 1, "ClamTimeOut": 60})
        clients = [daemon.client() for _ in range(30)]
        for client in clients:
            self.addCleanup(client.close)
            client.ehlo()
        clamd.process.signal(signal.SIGSTOP)
        for n, client in enumerate(clients):
            self.hold(client, compose(b"message %d\r\n" % n))
        stats = daemon.wait_stats("all messages", lambda s: s["messages"]["in_progress"] == 30)
        self.assertLessEqual(stats["scanners"][0]["in_flight"], 3, "below half of MaxQueue")
        clamd.process.signal(signal.SIGCONT)
        for client in clients:
            self.assertReply(client.reply(), 250)
        daemon.expect_messages(received=30, delivered=30, scan_failed=0)

    def test_time_limit(self):
        """MaxScanTime: clamd says OK about content that it has not looked at."""
        clamd = self.clamd(options={"MaxScanTime": "50", "AlertExceedsMax": "no"})
        daemon = self.daemon(clamd, {"Workers": 1})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"small\r\n")), 250)
            large = compose(base64.encodebytes(os.urandom(12 << 20)).replace(b"\n", b"\r\n"),
                            ["Content-Type: application/octet-stream", "Content-Transfer-Encoding: base64"])
            self.assertReply(client.deliver(large), 451)
        self.assertEqual(len(self.server.received), 1)
        stats = daemon.expect_messages(received=2, tempfailed=1, scan_failed=1)
        self.assertEqual(stats["scan_failures"]["timeout"], 1)

    def test_file_size_limit(self):
        """MaxFileSize: clamd says OK about EICAR in a larger message, and Bivalve does not believe it."""
        clamd = self.clamd(options={"MaxFileSize": "50K", "AlertExceedsMax": "no"})
        infected = compose(b"x" * 60 + b"\r\n") + b"0123456789\r\n" * 6000
        self.assertGreater(len(infected), 50 << 10)
        daemon = self.daemon(clamd)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(infected), 554)
            self.assertReply(client.deliver(compose(b"small\r\n")), 250)
        stats = daemon.expect_messages(received=2, rejected=1, delivered=1)
        self.assertEqual(stats["scan_failures"]["size"], 1)

    def test_limits_that_change(self):
        """clamd is restarted with another clamd.conf: Bivalve reads it when it connects again."""
        clamd = self.clamd(options={"MaxFileSize": "50K", "AlertExceedsMax": "no"})
        daemon = self.daemon(clamd)
        large = compose(b"x" * 60 + b"\r\n") + b"0123456789\r\n" * 6000
        with daemon.client() as client:
            client.ehlo()
            for size, code in (("5M", 250), ("50K", 554)):
                self.assertReply(client.deliver(large), {250: 554, 554: 250}[code])
                clamd.process.end()
                clamd.options["MaxFileSize"] = size
                clamd.start()
                wait_until("the new limit", lambda c=code: client.deliver(large).code == c)

    def test_stream_length_limit(self):
        for how, clamd, method in (
                ("told by clamd", self.clamd(local=False, tcp=True, options={"StreamMaxLength": "100K"}), "instream"),
                ("known beforehand", self.clamd(options={"StreamMaxLength": "100K"}), "instream")):
            with self.subTest(how=how):
                daemon = self.daemon(clamd, {"ClamMethod": method})
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(compose(b"x" * 300000 + b"\r\n")), 554)
                    self.assertReply(client.deliver(compose(b"small\r\n")), 250)
                stats = daemon.expect_messages(received=2, rejected=1, delivered=1)
                self.assertEqual(stats["scan_failures"]["size"], 1)

    def empty_database(self):
        """There are signatures, but not the one for the canary."""
        database = self._path("database")
        database.mkdir()
        (database / "other.ndb").write_text("Other-Signature:0:*:" + b"nothing that mail has in it".hex() + "\n")
        return database

    def test_empty_database(self):
        clamd = self.clamd(database=self.empty_database())
        daemon = self.daemon(clamd)
        daemon.wait_log(r"SCANNER UNUSABLE: \S+: it does not find the test virus \(Canary\).*What to do:")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(eicar_message()), 451)
            self.assertReply(client.deliver(compose(b"clean\r\n")), 451)
        self.assertEqual(self.server.received, [])
        stats = daemon.expect_messages(received=2, tempfailed=2, scan_failed=2)
        self.assertEqual(stats["scan_failures"]["down"], 2)
        scanner = stats["scanners"][0]
        self.assertEqual((scanner["up"], scanner["canary"], scanner["circuit"], scanner["scans"]), (False, "missed", "open", 0))
        self.assertTrue(scanner["version"].startswith("ClamAV "), scanner["version"])
        self.assertEqual(daemon.http("/readyz")[0], 503)

    def test_empty_database_that_is_filled(self):
        database = self.empty_database()
        clamd = self.clamd(database=database)
        daemon = self.daemon(clamd)
        daemon.wait_stats("the miss", lambda s: s["scanners"][0]["canary"] == "missed")
        build_database(database)
        clamd.command("RELOAD")
        daemon.wait_stats("the canary to be found", lambda s: s["scanners"][0]["canary"] == "found")
        self.assertEqual(daemon.http("/readyz")[0], 200)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"clean\r\n")), 250, "2.0.0 sink: queued as 1")
            self.assertReply(client.deliver(eicar_message()), 250, "Virus Detected; Discarded Email")

    def test_empty_database_with_a_warning_only(self):
        daemon = self.daemon(self.clamd(database=self.empty_database()), {"Canary": "warn"})
        daemon.wait_log(r"SCANNER UNUSABLE: .*Canary: warn")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"clean\r\n")), 250)
        self.assertEqual(daemon.stats()["scanners"][0]["canary"], "missed")
        self.assertEqual(daemon.http("/readyz")[0], 200)

    def test_empty_database_beside_a_good_one(self):
        bad, good = self.clamd(database=self.empty_database()), self.clamd()
        daemon = self.daemon([bad.address, good.address])
        with daemon.client() as client:
            client.ehlo()
            for _ in range(6):
                self.assertReply(client.deliver(compose(b"clean\r\n")), 250)
                self.assertReply(client.deliver(eicar_message()), 250, "Virus Detected; Discarded Email")
        stats = daemon.expect_messages(received=12, delivered=6, dropped=6)
        self.assertEqual([one["scans"] for one in stats["scanners"]], [0, 12])

    def test_mail_not_scanned_at_all(self):
        """ScanMail no: the canary is a mail, so it is missed."""
        clamd = self.clamd(options={"ScanMail": "no"})
        daemon = self.daemon(clamd)
        daemon.wait_stats("the miss", lambda s: s["scanners"][0]["canary"] == "missed")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(infected_attachment()), 451)
        self.assertEqual(self.server.received, [])

    def test_content_that_takes_scanners_down(self):
        """The content breaks two connections: it is answered by policy, and no third scanner is tried."""
        def answer(content, _):
            return "CLOSE" if b"poison" in content else "OK"
        scanners = [self.scripted(answer) for _ in range(3)]
        daemon = self.daemon([one.address for one in scanners])
        daemon.wait_stats("the scanners to prove themselves", proven)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"poison\r\n")), 451)
            self.assertReply(client.deliver(compose(b"harmless\r\n")), 250)
        self.assertEqual(sum(len([c for c in one.scanned if b"poison" in c]) for one in scanners), 2)
        stats = daemon.expect_messages(received=2, tempfailed=1, delivered=1)
        self.assertEqual(stats["scan_failures"]["error"], 1)

    def test_another_clients_verdict(self):
        """clamd's bug: somebody else's result arrives on our session. It is not believed; everything is scanned again."""
        times = []

        def answer(content, number):
            times.append(content)
            return f"{number + 7}: fd[3]: OK\0".encode() if len(times) == 1 else "Worm FOUND"
        scanner = self.scripted(answer)
        daemon = self.daemon(scanner.address)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250, "Virus Detected; Discarded Email")
        self.assertEqual(len(times), 2)
        self.assertEqual(self.server.received, [])

    def test_garbage(self):
        scanner = self.scripted(lambda content, number: b"\xff\xfe OK\0")
        daemon = self.daemon(scanner.address)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 451)
        self.assertEqual(self.server.received, [])
        daemon.wait_log(r"scanner \S+: its reply was not understood: \"\S+ OK\"; the session is closed")
        daemon.wait_log(r"two connections to scanners ended .*: its reply was not understood")

    def test_a_name_as_long_as_it_likes(self):
        """The name goes into a header: one line, within the limit of RFC 5322 section 2.1.1."""
        scanner = self.scripted(lambda content, number: "W" * 3000 + " FOUND")
        daemon = self.daemon(scanner.address, {"Action": "pass"})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        headers = [line for line in self.server.messages[0].content.split(b"\r\n") if line.startswith(b"X-Virus")]
        self.assertEqual(len(headers), 1, headers)
        self.assertLess(len(headers[0]), 998)

    def test_a_name_that_is_not_ascii(self):
        """A header is ASCII (RFC 5322 section 2.2), and its line is short enough. VirusAction gets the exact name."""
        out = self.directory / "name"
        name = "Win.Caf\u00e9"
        scanner = self.scripted(lambda content, number: (name if b"short" in content else "\u00e9" * 1000) + " FOUND")
        daemon = self.daemon(scanner.address, {
            "Action": "pass", "VirusAction": f'printf %s "$VIRUS" >{out}.x; mv {out}.x {out}'})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"short\r\n")), 250)
            wait_until("the action", out.exists)
            self.assertEqual(out.read_bytes(), name.encode())
            self.assertReply(client.deliver(compose(b"long\r\n")), 250)
        short, long = [next(line for line in message.content.split(b"\r\n") if line.startswith(b"X-Virus"))
                       for message in self.server.messages]
        self.assertEqual(short, b"X-Virus-Infected: Win.Caf\\xc3\\xa9")
        self.assertRegex(long, rb"^X-Virus-Infected: (\\xc3\\xa9){20,}\.\.\.$")
        self.assertLess(len(long), 998)

    def test_a_hostile_name_in_the_log(self):
        """Escaped once: undoing the escapes gives the exact name. It can neither break the line nor look like fields."""
        scanner = self.scripted(lambda content, number: "Worm\\a\x1b[1m\t, status=CLEAN FOUND")
        daemon = self.daemon(scanner.address)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        daemon.wait_log(log_line(r"from=ada@example.com, to=bob@example.net, "
                                 r"status=VIRUS:Worm\\a\x1b[1m\t\x2c status=CLEAN"))

    def test_hangs_on_one_message(self):
        """The scanner answers PINGs and other scans: the message is given to the other scanner, whose answer counts."""
        slow = self.scripted(lambda content, number: None if b"hang" in content else "OK")
        fast = self.scripted(lambda content, number: "Worm FOUND" if b"hang" in content else "OK")
        daemon = self.daemon([slow.address, fast.address], {"Workers": 1})
        daemon.wait_stats("the scanners to prove themselves", proven)
        with daemon.client() as client:
            client.ehlo()
            for n in range(2):  # each scanner gets one of two
                self.assertReply(client.deliver(compose(b"hang %d\r\n" % n)), 250, "Virus Detected; Discarded Email")
        stats = daemon.expect_messages(received=2, dropped=2)
        self.assertEqual(sum(one["hedges"] for one in stats["scanners"]), 1)

    def test_hangs_on_everything(self):
        daemon = self.daemon(self.scripted(lambda content, number: None).address, {"ClamTimeOut": 1})
        with daemon.client() as client:
            client.ehlo()
            for _ in range(3):
                self.assertReply(client.deliver(compose(b"x\r\n")), 451)
        stats = daemon.expect_messages(received=3, tempfailed=3)
        self.assertEqual(stats["scan_failures"]["timeout"], 3)


class Deadlines(FaultCase):
    """What waits while a scan takes long."""

    def test_a_client_that_left_gets_nothing_delivered(self):
        gate = threading.Event()
        scanner = self.scripted(lambda content, number: gate.wait(20) and "OK")
        daemon = self.daemon(scanner.address)
        client = daemon.client()
        client.ehlo()
        self.hold(client, compose(b"x\r\n"))
        wait_until("the scan", lambda: scanner.scanned)
        client.close()
        daemon.wait_stats("the end of the session", lambda s: s["connections"]["active"] == 0)
        gate.set()
        self.server.wait_sessions_closed()
        self.assertEqual(self.server.received, [])
        self.assertNotIn(b"DATA", self.server.commands)
        daemon.expect_messages(received=1, tempfailed=1)

    def test_sent_again_while_the_first_scan_runs(self):
        """The client gave up. The same message, with other trace headers, waits for the running scan."""
        gate = threading.Event()
        scanner = self.scripted(lambda content, number: gate.wait(60) and "Worm FOUND")
        daemon = self.daemon(scanner.address, {"Workers": 1, "ClamTimeOut": 60})
        client = daemon.client()
        client.ehlo()
        message = compose(b"0123456789\r\n" * 100000)
        self.hold(client, b"Received: from a by b; first time\r\n" + message)
        wait_until("the scan", lambda: scanner.scanned)
        time.sleep(6)
        client.close()
        daemon.wait_stats("the client to be gone", lambda s: s["connections"]["active"] == 0)
        with daemon.client() as again:
            again.ehlo()
            self.hold(again, b"Received: from a by b; the second time\r\n" + message)
            time.sleep(1)
            self.assertEqual(len(scanner.scanned), 1)
            gate.set()
            self.assertReply(again.reply(), 250, "Virus Detected; Discarded Email")
        self.assertEqual(len(scanner.scanned), 1)
        daemon.expect_messages(received=2, tempfailed=1, dropped=1)

    def test_the_server_is_not_kept_in_data(self):
        gate = threading.Event()
        scanner = self.scripted(lambda content, number: gate.wait(20) and "OK")
        for extensions in (["8BITMIME"], ["CHUNKING"]):
            gate.clear()
            scanner.scanned.clear()
            sink = self.sink(extensions=extensions)
            daemon = self.daemon(scanner.address, sink=sink)
            with daemon.client() as client:
                client.ehlo()
                self.hold(client, compose(b"x\r\n"))
                wait_until("the scan", lambda: scanner.scanned)
                time.sleep(0.3)
                self.assertEqual([c for c in sink.commands if c.startswith((b"DATA", b"BDAT"))], [])
                gate.set()
                self.assertReply(client.reply(), 250)


class ServerFaults(FaultCase):
    """The mail server at each step."""

    def lost(self, replies, settings=None, content=compose(b"x\r\n"), **options):
        sink = self.sink(replies=replies, **options)
        daemon = self.daemon(sink=sink, settings=settings)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(content), 451)
        daemon.expect_messages(received=1, lost=1)

    def test_unreachable(self):
        nobody = free_port()
        self.addCleanup(nobody.release)
        daemon = self.bivalved(str(nobody))
        with daemon.client() as client:
            self.assertReply(client.greeting, 421)
            client.wait_closed()

    def test_dies_after_data(self):
        for how in (CLOSE, RESET):
            self.lost({"DATA": how})

    def test_dies_in_the_body(self):
        self.lost({}, content=compose(b"0123456789\r\n" * 100000), close_after_body_bytes=200000)

    def test_dies_after_the_final_dot(self):
        for how in (CLOSE, RESET):
            self.lost({"BODY": how})

    def test_dies_between_two_replies(self):
        sink = self.sink(extensions=["PIPELINING"], replies={"RCPT": CLOSE})
        daemon = self.daemon(sink=sink)
        with daemon.client() as client:
            client.ehlo()
            client.send("MAIL FROM:<ada@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
            self.assertReply(client.reply(), 250)
            self.assertReply(client.reply(), 421)
            client.wait_closed()
        daemon.expect_messages(received=0)

    def test_talks_garbage(self):
        for step in ("CONNECT", "EHLO", "MAIL", "RCPT"):
            with self.subTest(step=step):
                daemon = self.daemon(sink=self.sink(replies={step: b"\x00\xff garbage\r\n"}))
                client = daemon.client(greeting=False)
                self.addCleanup(client.close)
                client.send("EHLO a.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n")
                self.assertIn(b"\r\n421 " if step != "CONNECT" else b"421 ", client.wait_closed())
        for step in ("DATA", "BODY"):
            with self.subTest(step=step):
                self.lost({step: b"\x00\xff garbage\r\n"})

    def test_stalls(self):
        self.lost({"DATA": STALL}, {"TimeOut": 1})
        self.lost({"BODY": STALL}, {"TimeOut": 1})


class Surroundings(FaultCase):
    """Faults beside the mail path."""

    def test_statistics_clients_that_hang(self):
        daemon = self.daemon()
        for n in range(60):
            sock = socket.create_connection(daemon.stats_port.pair, timeout=5)
            self.addCleanup(sock.close)
            sock.sendall(b"GET /stats HT" if n % 2 else b"GET /stats HTTP/1.1\r\n\r\n")  # the answer is never read
        began = time.monotonic()
        with daemon.client() as client:
            client.ehlo()
            for _ in range(20):
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertLess(time.monotonic() - began, 10)
        wait_until("statistics to be answered again", lambda: self._asks(daemon))

    @staticmethod
    def _asks(daemon):
        try:
            return daemon.http("/healthz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def test_no_syslog(self):
        """In the background and without a syslog daemon: mail flows."""
        daemon = self.daemon(start=False)
        pid_file = self.directory / "pid"
        daemon.settings["PidFile"] = pid_file
        daemon.write_configuration()
        result = run_program([daemon.executable, "-f", daemon.configuration])
        self.assertEqual(result.returncode, 0, result.stdout)
        pid = int(pid_file.read_text())
        self.addCleanup(lambda: os.path.exists(f"/proc/{pid}") and os.kill(pid, signal.SIGKILL))
        with daemon.client() as client:
            client.ehlo()
            for _ in range(50):
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(self.server.messages), 50)
        os.kill(pid, signal.SIGTERM)
        wait_until("its end", lambda: not os.path.exists(f"/proc/{pid}") or
                   open(f"/proc/{pid}/stat", encoding="ascii").read().rpartition(")")[2].split()[0] == "Z")

    def test_nobody_reads_the_log(self):
        """Standard error is a full pipe: lines are lost, and mail is not delayed."""
        daemon = self.daemon(start=False)
        daemon.write_configuration()
        with subprocess.Popen([daemon.executable, "-d", "4", "-f", daemon.configuration], stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL) as process:
            self.addCleanup(process.kill)
            wait_until("it to listen", lambda: self._asks(daemon))
            with daemon.client() as client:
                client.ehlo()
                for _ in range(400):
                    self.assertReply(client.deliver(compose(b"x\r\n"), "a" * 200 + "@example.com"), 250)
            self.assertEqual(len(self.server.messages), 400)
            process.kill()

    def test_signals_at_any_moment(self):
        daemon = self.daemon()
        stop = threading.Event()

        def disturb():
            numbers = [signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG]
            n = 0
            while not stop.is_set():
                if n % 25 == 24:
                    daemon.process.signal(signal.SIGSTOP)
                    time.sleep(0.02)
                    daemon.process.signal(signal.SIGCONT)
                daemon.process.signal(numbers[n % len(numbers)])
                n += 1
                time.sleep(0.005)
        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            with daemon.client() as client:
                client.ehlo()
                for _ in range(100):
                    self.assertReply(client.deliver(compose(b"x" * 5000 + b"\r\n")), 250)
                self.assertReply(client.deliver(eicar_message()), 250, "Virus Detected; Discarded Email")
        finally:
            stop.set()
            thread.join()
        daemon.expect_messages(received=101, delivered=100, dropped=1)


if __name__ == "__main__":
    main()
