"""Scanners that are gone, slow, wrong or back again: no message without a verdict is let through silently."""
import signal
import socket
import threading

from harness import (ScenarioCase, compose, eicar_message, infected_attachment, log_line, main, read_test_file, text_message, wait_until,
                     with_attachment)

FAILED = "from=ada@example.com, to=bob@example.net, status=CLAMAV-ERROR"


def scanner(stats, address):
    """The statistics about the scanner at `address`."""
    return next(s for s in stats["scanners"] if s["address"] == address)


class Unreachable(ScenarioCase):
    """No scanner answers."""

    def test_is_a_temporary_error(self):
        sink = self.sink()
        daemon = self.bivalved(sink, str(self.directory / "nobody.ctl"), {"ClamTimeOut": 5})
        with daemon.client() as client:
            client.ehlo()
            reply = client.deliver(compose(b"x\r\n"))
            self.assertEqual(reply.code, 451, str(reply))
            if daemon.is_bivalve:
                self.assertReply(client.quit(), 221)
        self.assertEqual(sink.received, [], "not delivered")
        daemon.wait_log(log_line(FAILED))
        stats = daemon.expect_messages(received=1, tempfailed=1, scan_failed=1, delivered=0, clean=0)
        if stats:
            self.assertEqual(stats["scan_failures"], {"down": 1, "timeout": 0, "error": 0, "size": 0, "limits": 0})
            self.assertFalse(stats["scanners"][0]["up"])

    def test_over_tcp(self):
        from harness import free_port
        nobody = free_port()
        self.addCleanup(nobody.release)
        sink = self.sink()
        daemon = self.bivalved(sink, str(nobody), {"ClamTimeOut": 5})
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.deliver(compose(b"x\r\n")).code, 451)
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=1, tempfailed=1, scan_failed=1)

    def test_the_reply_says_so(self):
        if not self.is_bivalve():
            self.skipTest("clamsmtpd says Local Error")
        daemon = self.bivalved(self.sink(extensions=["ENHANCEDSTATUSCODES"]), str(self.directory / "no.ctl"),
                               {"ClamTimeOut": 5})
        with daemon.client() as client:
            client.ehlo()
            self.assertRegex(str(client.deliver(compose(b"x\r\n"))), r"^451 4\.7\.1 \S")

    @staticmethod
    def is_bivalve():
        from harness.bivalved import program
        return program().name != "clamsmtpd"

    def test_many_messages_and_none_is_lost(self):
        if not self.is_bivalve():
            self.skipTest("clamsmtpd ends such a session")
        sink = self.sink()
        daemon = self.bivalved(sink, str(self.directory / "nobody.ctl"), {"ClamTimeOut": 5})
        with daemon.client() as client:
            client.ehlo()
            for _ in range(20):
                self.assertEqual(client.deliver(compose(b"x\r\n")).code, 451)
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=20, tempfailed=20, scan_failed=20)


class ComesBack(ScenarioCase):
    """A clamd that dies, or that starts after the daemon, is used again without any intervention."""

    bivalve_only = True

    def test_after_it_died(self):
        clamd = self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"ClamTimeOut": 10})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"before\r\n")), 250)
            clamd.kill()
            self.assertEqual(client.deliver(compose(b"while it is dead\r\n")).code, 451)
            clamd.start()
            wait_until("a message to be taken again",
                       lambda: client.deliver(compose(b"after\r\n")).code == 250)
            self.assertReply(client.deliver(eicar_message()), 250, "Virus Detected; Discarded Email")
            client.quit()
        self.assertFalse(any(b"while it is dead" in m.content for m in sink.received))
        stats = daemon.stats()
        self.assertTrue(stats["scanners"][0]["up"])
        self.assertGreaterEqual(stats["messages"]["tempfailed"], 1)
        self.assertEqual(stats["messages"]["delivered"], len(sink.messages))

    def test_restarts_between_messages(self):
        """No message fails because of a restart that was over before it came: the message itself makes Bivalve connect again."""
        clamd = self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"Workers": 1})
        with daemon.client() as client:
            client.ehlo()
            for n in range(5):
                self.assertReply(client.deliver(compose(b"message %d\r\n" % n)), 250)
                clamd.process.end()
                daemon.wait_stats("the end of clamd to be noticed", lambda s: not s["scanners"][0]["up"])
                clamd.start()
            self.assertReply(client.deliver(compose(b"last\r\n")), 250)
        self.assertEqual(len(sink.messages), 6)
        daemon.expect_messages(received=6, delivered=6, scan_failed=0)

    def test_connections_cut_between_messages(self):
        """A connection that closed while idle is no error and causes no wait."""
        tap = self.tap(self.shared_clamd())
        sink = self.sink()
        daemon = self.bivalved(sink, tap)
        with daemon.client() as client:
            client.ehlo()
            for n in range(5):
                self.assertReply(client.deliver(compose(b"message %d\r\n" % n)), 250)
                tap.cut()
                wait_until("the cut", lambda: tap.current == 0 or tap.total > n + 1)
        self.assertEqual(len(sink.messages), 5)

    def test_started_after_the_daemon(self):
        clamd = self.clamd()
        clamd.process.end()
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"ClamTimeOut": 5})
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.deliver(compose(b"x\r\n")).code, 451)
            clamd.start()
            wait_until("a message to be taken", lambda: client.deliver(compose(b"y\r\n")).code == 250)

    def test_dies_during_a_scan(self):
        """A scan is held and its scanner dies: retried or refused, never delivered unscanned, never without an answer."""
        clamd = self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"ClamTimeOut": 5})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"warm\r\n")), 250)
            clamd.process.signal(signal.SIGSTOP)
            client.begin_data()
            client.content(compose(b"held\r\n"))
            daemon.wait_stats("the scan", lambda s: s["scanners"][0]["in_flight"] == 1)
            clamd.kill()
            self.assertEqual(client.reply().code, 451)
            self.assertReply(client.quit(), 221)
        self.assertEqual(len(sink.received), 1)
        daemon.expect_messages(received=2, delivered=1, tempfailed=1, scan_failed=1)


class Several(ScenarioCase):
    """ClamAddress repeated."""

    bivalve_only = True

    def test_both_are_used(self):
        first, second = self.clamd(), self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, [first.address, second.address])

        def send():
            with daemon.client() as client:
                client.ehlo()
                for _ in range(25):
                    self.assertReply(client.deliver(text_message(20000)), 250)
        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stats = daemon.expect_messages(received=200, delivered=200)
        for clamd in (first, second):
            self.assertGreater(scanner(stats, clamd.address)["scans"], 0)
        self.assertEqual(sum(s["scans"] for s in stats["scanners"]), 200)

    def test_one_is_dead_from_the_start(self):
        alive = self.shared_clamd()
        sink = self.sink()
        dead = str(self.directory / "nobody.ctl")
        daemon = self.bivalved(sink, [dead, alive.address])
        with daemon.client() as client:
            client.ehlo()
            for _ in range(10):
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            self.assertReply(client.deliver(eicar_message()), 250, "Virus Detected; Discarded Email")
        stats = daemon.expect_messages(received=11, delivered=10, dropped=1, scan_failed=0)
        self.assertFalse(scanner(stats, dead)["up"])
        self.assertTrue(scanner(stats, alive.address)["up"])

    def test_one_dies_and_the_other_takes_over(self):
        first, second = self.clamd(), self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, [first.address, second.address])
        with daemon.client() as client:
            client.ehlo()
            for n in range(20):
                if n == 5:
                    first.kill()
                self.assertReply(client.deliver(compose(b"message %d\r\n" % n)), 250)
        self.assertEqual(len(sink.messages), 20)
        daemon.expect_messages(received=20, delivered=20, scan_failed=0)

    def test_one_dies_during_a_scan(self):
        """The other scanner gets the scans that were outstanding on it."""
        first, second = self.clamd(), self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, [first.address, second.address])
        # Before its canaries are found, the stopped scanner would get nothing.
        daemon.wait_stats("both scanners to prove themselves",
                          lambda s: all(one["canary"] == "found" for one in s["scanners"]))
        clients = [daemon.client() for _ in range(4)]
        for client in clients:
            self.addCleanup(client.close)
            client.ehlo()
        first.process.signal(signal.SIGSTOP)
        for n, client in enumerate(clients):
            client.begin_data()
            client.content(compose(b"message %d\r\n" % n))
        daemon.wait_stats("a scan that is held", lambda s: scanner(s, first.address)["in_flight"] > 0)
        first.kill()
        for client in clients:
            self.assertReply(client.reply(), 250)
        self.assertEqual(len(sink.messages), 4)
        daemon.expect_messages(received=4, delivered=4, scan_failed=0)

    def test_local_and_tcp_together(self):
        local, remote = self.clamd(), self.clamd(local=False, tcp=True)
        sink = self.sink()
        daemon = self.bivalved(sink, [local.address, remote.address])
        with daemon.client() as client:
            client.ehlo()
            for _ in range(10):
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
                self.assertReply(client.deliver(eicar_message()), 250, "Virus Detected; Discarded Email")
        daemon.expect_messages(received=20, delivered=10, dropped=10)


class Failures(ScenarioCase):
    """Each cause of a missing verdict, and how ScanFailure handles it."""

    bivalve_only = True

    def one(self, clamd, settings, cause):
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"Canary": "off", **settings} if self.knows_canary() else settings)
        with daemon.client() as client:
            client.ehlo()
            reply = client.deliver(compose(b"x\r\n"))
            client.quit()
        stats = daemon.wait_stats(f"the cause {cause}", lambda s: s["scan_failures"][cause] == 1)
        self.assertEqual(sum(stats["scan_failures"].values()), 1)
        self.assertEqual(stats["messages"]["scan_failed"], 1)
        return daemon, sink, reply

    @classmethod
    def knows_canary(cls):
        """Whether the daemon has the setting Canary; a scanner that finds nothing cannot pass that test."""
        from harness import run_program
        from harness.bivalved import program
        if not hasattr(cls, "_knows_canary"):
            path = cls.class_directory / "canary.conf"
            path.write_text("OutAddress: 25\nCanary: off\n")
            cls._knows_canary = run_program([program(), "--check-config", "-f", path]).returncode == 0
        return cls._knows_canary

    def test_timeout(self):
        daemon, sink, reply = self.one(self.null_clamd(delay_ms=60000), {"ClamTimeOut": 1}, "timeout")
        self.assertEqual(reply.code, 451)
        self.assertEqual(sink.received, [])
        daemon.wait_log(log_line(FAILED))
        daemon.expect_messages(received=1, tempfailed=1)

    def test_timeout_of_a_clamd_that_hangs(self):
        clamd = self.clamd()
        clamd.process.signal(signal.SIGSTOP)
        self.addCleanup(clamd.process.signal, signal.SIGCONT)
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"ClamTimeOut": 1})
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.deliver(compose(b"x\r\n")).code, 451)
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=1, tempfailed=1, scan_failed=1)

    def test_error(self):
        daemon, sink, reply = self.one(self.null_clamd(reply="Can't allocate memory ERROR"), {}, "error")
        self.assertEqual(reply.code, 451)
        self.assertEqual(sink.received, [])
        daemon.wait_log(log_line(FAILED))
        stats = daemon.expect_messages(received=1, tempfailed=1)
        self.assertGreaterEqual(stats["scanners"][0]["errors"], 1)

    def test_nonsense(self):
        """A scanner that answers outside its protocol: an error, not a clean message."""
        path = self.directory / "nonsense.ctl"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(16)

        def serve():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    while data := client.recv(4096):
                        # The session's PING is answered correctly; anything else gets a reply without its number.
                        client.sendall(b"1: PONG\0" if b"PING" in data else b"whatever OK\0")
        threading.Thread(target=serve, daemon=True).start()
        self.addCleanup(lambda: (listener.shutdown(socket.SHUT_RDWR), listener.close()))
        sink = self.sink()
        daemon = self.bivalved(sink, str(path), {"ClamTimeOut": 5})
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.deliver(compose(b"x\r\n")).code, 451)
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=1, tempfailed=1, scan_failed=1)

    def test_more_than_the_scanner_takes(self):
        clamd = self.clamd(local=False, tcp=True, options={"StreamMaxLength": "100K"})
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"ScanFailure": "size=reject"})
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.deliver(compose(b"x" * 300000 + b"\r\n")).code, 554)
            self.assertReply(client.deliver(compose(b"small\r\n")), 250)
        self.assertEqual(len(sink.received), 1)
        stats = daemon.expect_messages(received=2, rejected=1, delivered=1, scan_failed=1)
        self.assertEqual(stats["scan_failures"]["size"], 1)

    def test_scanner_limits(self):
        """clamd stops at a limit and says so with AlertExceedsMax: this is not a virus."""
        clamd = self.clamd(options={"MaxFileSize": "50K", "MaxScanSize": "50K"})
        sink = self.sink()
        daemon = self.bivalved(sink, clamd, {"ScanFailure": "limits=pass"})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"0123456789\r\n" * 30000)), 250)
        self.assertIn(b"\r\nX-Virus-Scanned: not scanned (limits)\r\n", sink.messages[0].content)
        stats = daemon.expect_messages(received=1, delivered=1, scan_failed=1, infected=0)
        self.assertEqual(stats["scan_failures"]["limits"], 1)
        daemon.wait_log(log_line("from=ada@example.com, to=bob@example.net, status=NOT-SCANNED:limits"))

    def test_too_many_layers(self):
        """The same for an archive in archives: content that clamd has not looked into is held back."""
        clamd = self.clamd(options={"MaxRecursion": "16"})
        sink = self.sink()
        daemon = self.bivalved(sink, clamd)
        name = "clam_cache_emax.tgz"
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(with_attachment(name, read_test_file(name))), 554,
                             "5.7.1 Message exceeds the limits of the virus scanner")
        self.assertEqual(sink.received, [])
        stats = daemon.expect_messages(received=1, rejected=1, infected=0)
        self.assertEqual(stats["scan_failures"]["limits"], 1)

    def test_reject(self):
        daemon, sink, reply = self.one(str(self.directory / "no.ctl"),
                                       {"ScanFailure": "reject", "ClamTimeOut": 5}, "down")
        self.assertRegex(str(reply), r"^554 ")
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=1, rejected=1)

    def test_pass(self):
        daemon, sink, reply = self.one(str(self.directory / "no.ctl"),
                                       {"ScanFailure": "down=pass", "ClamTimeOut": 5}, "down")
        self.assertReply(reply, 250, "2.0.0 sink: queued as 1")
        [message] = sink.messages
        self.assertIn(b"\r\nX-Virus-Scanned: not scanned (down)\r\n", message.content)
        self.assertEqual(message.content.count(b"X-Virus-Scanned"), 1)
        daemon.expect_messages(received=1, delivered=1, clean=0)
        daemon.wait_log(log_line("from=ada@example.com, to=bob@example.net, status=NOT-SCANNED:down"))


class UnknownLimits(ScenarioCase):
    """No clamd.conf names this scanner as its own, so clamd's OK about content that it does not look at is doubted."""

    bivalve_only = True

    def test_a_message_beyond_them(self):
        small = self.clamd(tcp=True, options={"MaxFileSize": "1M", "AlertExceedsMax": "no"})
        elsewhere = self._path("elsewhere")
        elsewhere.mkdir()
        link = elsewhere / "clamd.ctl"
        link.symlink_to(small.socket_path)
        for address in (small.tcp_address, str(link)):
            with self.subTest(address=address):
                sink = self.sink()
                daemon = self.bivalved(sink, address, {"Workers": 1})
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(compose(b"some text\r\n" * 50_000)), 250)
                    self.assertReply(client.deliver(compose(b"some text\r\n" * 200_000)), 554,
                                     "5.7.1 Message is larger than the virus scanner takes")
                    self.assertReply(client.deliver(compose(b"some text\r\n" * 50_000)), 250)
                    self.assertReply(client.deliver(infected_attachment()), 250)
                daemon.wait_log("it does not find a test message of")
                stats = daemon.stats()
                self.assertEqual((stats["scan_failures"]["size"], stats["messages"]["dropped"], len(sink.messages)), (1, 1, 2))
                self.assertGreaterEqual(stats["scanners"][0]["size_proofs"], 2)
                self.assertFalse(stats["scanners"][0]["limits"]["known"])


if __name__ == "__main__":
    main()
