"""Infected mail: all of it is stopped, with both ways to the scanner, and each Action does what it says."""
from harness import (ScenarioCase, compose, eicar, eicar_message, infected_attachment, log_line, main, read_test_file,
                     test_file_names, with_attachment)
from harness.messages import base64_lines

EICAR_NAME = "Eicar-Test-Signature.UNOFFICIAL"
DISCARDED = "Virus Detected; Discarded Email"


class _AllStopped:
    """The same messages for each way to hand them to the scanner. Subclasses choose the way."""

    class_timeout = 400

    def daemon_and_sink(self):
        raise NotImplementedError

    def stop_all(self, messages):
        daemon, sink = self.daemon_and_sink()
        with daemon.client() as client:
            client.ehlo()
            for name, content in messages:
                with self.subTest(message=name):
                    self.assertReply(client.deliver(content), 250, DISCARDED)
            self.assertReply(client.deliver(compose(b"the end\r\n")), 250, "2.0.0 sink: queued as 1")
            client.quit()
        self.assertEqual(len(sink.received), 1, "only the clean message has reached the server")
        self.assertNotIn(eicar(), sink.received[0].content)
        count = len(messages)
        stats = daemon.expect_messages(received=count + 1, dropped=count, infected=count, delivered=1, clean=1)
        if stats:
            self.assertEqual(sum(stats["viruses"].values()), count)
            self.assertEqual(sum(s["scans"] for s in stats["scanners"]), count + 1)
        return daemon

    def test_all_of_clamavs_test_files(self):
        names = test_file_names()
        self.assertEqual(len(names), 44, "Debian's clamav-testfiles has 44 files")
        self.note(f"{len(names)} files")
        self.stop_all([(name, with_attachment(name, read_test_file(name))) for name in names])

    def test_eicar(self):
        daemon = self.stop_all([("text", eicar_message()), ("attachment", infected_attachment())])
        daemon.wait_log(log_line(
            f"from=ada@example.com, to=bob@example.net, status=VIRUS:{EICAR_NAME}"))
        if daemon.is_bivalve:
            self.assertEqual(daemon.stats()["viruses"], {EICAR_NAME: 2})

    def test_behind_3_kb_of_unknown_headers(self):
        """libclamav decides only by the first kilobytes whether a file is mail."""
        padding = b"".join(b"X-Padding-%03d: nothing that a scanner would know\r\n" % n for n in range(70))
        self.assertGreater(len(padding), 3000)
        part = (b"Content-Type: application/octet-stream; name=eicar.com\r\n"
                b"Content-Transfer-Encoding: base64\r\n\r\n" + base64_lines(eicar()) + b"\r\n")
        multipart = (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + part + b"--b--\r\n")
        daemon, sink = self.daemon_and_sink()
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd lets it through")
        with daemon.client() as client:
            client.ehlo()
            for content in (padding + part, padding + multipart):
                self.assertReply(client.deliver(content), 250, DISCARDED)
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=2, dropped=2, infected=2)

    def test_large_and_infected(self):
        """EICAR as the last part after 5 MB of text, in a message larger than every buffer."""
        filler = b"0123456789abcdef" * 4 + b"\r\n"
        body = (b"--b\r\nContent-Type: text/plain\r\n\r\n" + filler * (5 * 1024 * 1024 // len(filler)) +
                b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
                base64_lines(eicar()) + b"\r\n--b--\r\n")
        self.stop_all([("large", compose(body, ["Content-Type: multipart/mixed; boundary=b"]))])

    def test_stuffed_dots_do_not_hide_it(self):
        """The scanner gets the content, not the wire form: a line of an attachment begins with a dot."""
        body = (b"--b\r\nContent-Type: text/plain\r\n\r\n.\r\n..\r\n.dots\r\n"
                b"--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
                base64_lines(eicar()) + b"\r\n--b--\r\n")
        self.stop_all([("dots", compose(body, ["Content-Type: multipart/mixed; boundary=b"]))])


class StoppedByFildes(_AllStopped, ScenarioCase):
    """By descriptor on the local socket: ClamMethod auto."""

    def daemon_and_sink(self):
        sink = self.sink()
        if not hasattr(self, "taps"):
            self.taps = []
        tap = self.tap(self.shared_clamd())
        self.taps.append(tap)
        return self.bivalved(sink, tap), sink

    def stop_all(self, messages):
        daemon = super().stop_all(messages)
        if daemon.is_bivalve:
            self.assertGreaterEqual(self.taps[-1].descriptors, len(messages) + 1, "each message by a descriptor")
        self.assertEqual(self.shared_clamd().temporary_files(), [])
        return daemon


class StoppedByInstream(_AllStopped, ScenarioCase):
    """As a stream over TCP."""

    bivalve_only = True

    def daemon_and_sink(self):
        sink = self.sink()
        return self.bivalved(sink, self.shared_clamd().tcp_address), sink


class StoppedByInstreamOnTheLocalSocket(_AllStopped, ScenarioCase):
    """As a stream on a local socket, if the configuration says so."""

    bivalve_only = True

    def daemon_and_sink(self):
        sink = self.sink()
        tap = self.tap(self.shared_clamd())
        self.addCleanup(lambda: self.assertEqual(tap.descriptors, 0))
        return self.bivalved(sink, tap, {"ClamMethod": "instream"}), sink


class Actions(ScenarioCase):
    """What happens to an infected message."""

    def run_one(self, settings, sink=None, content=None):
        sink = sink or self.sink()
        daemon = self.bivalved(sink, settings=settings)
        with daemon.client() as client:
            client.ehlo()
            reply = client.deliver(content or infected_attachment(), "eve@example.com",
                                   ["bob@example.net", "cy@example.net"])
            after = client.deliver(compose(b"clean\r\n"))
            client.quit()
        self.assertReply(after, 250)
        self.assertEqual(sink.messages[-1].sender, "ada@example.com")
        daemon.wait_log(log_line(
            f"from=eve@example.com, to=bob@example.net, to=cy@example.net, status=VIRUS:{EICAR_NAME}"))
        return daemon, sink, reply

    def test_drop(self):
        daemon, sink, reply = self.run_one({"Action": "drop"})
        self.assertEqual(reply.raw, b"250 Virus Detected; Discarded Email\r\n")
        self.assertEqual(len(sink.received), 1)
        self.assertEqual(sink.commands.count(b"DATA"), 1, "DATA for the clean message only")
        daemon.expect_messages(received=2, dropped=1, delivered=1, infected=1, clean=1, passed=0)

    def test_drop_is_the_default(self):
        _, sink, reply = self.run_one({})
        self.assertEqual(reply.raw, b"250 Virus Detected; Discarded Email\r\n")
        self.assertEqual(len(sink.received), 1)

    def test_bounce(self):
        daemon, sink, reply = self.run_one({"Action": "bounce"})
        self.assertEqual(reply.raw, b"550 Virus Detected; Content Rejected\r\n")
        self.assertEqual(len(sink.received), 1)
        daemon.expect_messages(received=2, bounced=1, delivered=1, infected=1, clean=1)

    def test_pass(self):
        content = infected_attachment()
        daemon, sink, reply = self.run_one({"Action": "pass"}, content=content)
        self.assertReply(reply, 250, "2.0.0 sink: queued as 1")
        first, second = sink.messages
        self.assertIn(b"\r\nX-Virus-Infected: " + EICAR_NAME.encode() + b"\r\n", first.content)
        self.assertNotIn(b"X-Virus-Infected", second.content)
        left = b"".join(line for line in first.content.splitlines(keepends=True) if not line.startswith(b"X-Virus-"))
        self.assertEqual(left, content)
        self.assertEqual(first.recipients, ["bob@example.net", "cy@example.net"])
        daemon.expect_messages(received=2, delivered=2, infected=1, clean=1, passed=1, dropped=0)

    def test_pass_to_a_server_with_chunking(self):
        _, sink, reply = self.run_one({"Action": "pass"}, self.sink(extensions=["CHUNKING", "PIPELINING"]))
        self.assertReply(reply, 250)
        self.assertIn(b"\r\nX-Virus-Infected: " + EICAR_NAME.encode() + b"\r\n", sink.messages[0].content)

    def test_enhanced_codes_when_the_server_has_them(self):
        for action, pattern in (("drop", rb"^250 2\.\d\.\d Virus Detected; Discarded Email\r\n$"),
                                ("bounce", rb"^550 5\.7\.\d Virus Detected; Content Rejected\r\n$")):
            daemon, _, reply = self.run_one({"Action": action}, self.sink(extensions=["ENHANCEDSTATUSCODES"]))
            if not daemon.is_bivalve:
                self.skipTest("clamsmtpd has no enhanced codes")
            self.assertRegex(reply.raw, pattern)

    def test_names_are_counted(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            for _ in range(3):
                client.deliver(eicar_message())
            client.deliver(with_attachment("clam.exe", read_test_file("clam.exe")))
        daemon.expect_messages(received=4, dropped=4, infected=4)
        self.assertEqual(daemon.stats()["viruses"], {EICAR_NAME: 3, "ClamAV-Test-File.UNOFFICIAL": 1})


if __name__ == "__main__":
    main()
