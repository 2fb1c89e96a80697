"""Messages arrive as they were sent: byte for byte the same, except for the one header line."""
import random

from harness import ScenarioCase, compose, main, stuffed, text_message, without_header
from harness.fault_case import FaultCase

HEADER = b"X-Virus-Scanned: ClamAV using Bivalve\r\n"

class Content(ScenarioCase):
    """Byte for byte the same except for the one header line, whatever the message contains and however it is sent."""

    class_timeout = 400

    SERVERS = {"DATA": ["8BITMIME", "SIZE 104857600"], "BDAT": ["8BITMIME", "SIZE 104857600", "CHUNKING"]}

    def check(self, content, *, slowly=False, clamd=None):
        """Sends one message to each kind of server, and compares."""
        expected = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
        for how, extensions in self.SERVERS.items():
            with self.subTest(how=how, size=len(content)):
                sink = self.sink(extensions=extensions)
                daemon = self.bivalved(sink, clamd)
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(content, slowly=slowly), 250, "2.0.0 sink: queued as 1")
                    self.assertReply(client.quit(), 221)
                [message] = sink.messages
                if daemon.is_bivalve:
                    self.assertEqual(message.how, how)
                arrived = without_header(message.content)
                # assertEqual would try to print a difference of megabytes.
                if arrived != expected:
                    self.fail(self.first_difference(arrived, expected))
                daemon.expect_messages(received=1, delivered=1, clean=1)

    @staticmethod
    def first_difference(arrived, expected):
        at = next((i for i, (a, b) in enumerate(zip(arrived, expected)) if a != b), min(len(arrived), len(expected)))
        return (f"{len(arrived)} bytes arrived for {len(expected)}, first difference at {at}: "
                f"{arrived[max(0, at - 20):at + 40]!r} for {expected[max(0, at - 20):at + 40]!r}")

    def test_empty(self):
        self.check(b"")

    def test_one_byte(self):
        self.check(b"x")

    def test_one_line_end(self):
        self.check(b"\r\n")

    def test_4_kb(self):
        self.check(text_message(4096))

    def test_64_kb(self):
        self.check(text_message(64 * 1024))

    def test_1_mb(self):
        self.check(text_message(1024 * 1024))

    def test_20_mb(self):
        self.check(text_message(20 * 1024 * 1024))

    def test_20_mb_scanned_as_a_stream(self):
        self.check(text_message(20 * 1024 * 1024), clamd=self.shared_clamd().tcp_address)

    def test_sizes_around_every_power_of_two(self):
        """Sizes around the ends of buffers: one byte less and more, all in one session."""
        for how, extensions in self.SERVERS.items():
            sink = self.sink(extensions=extensions)
            daemon = self.bivalved(sink)
            sizes = [size + delta for size in (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
                     for delta in (-3, -2, -1, 0, 1, 2, 3)]
            with daemon.client() as client:
                client.ehlo()
                for size in sizes:
                    self.assertReply(client.deliver(text_message(size)), 250)
            for size, message in zip(sizes, sink.messages, strict=True):
                self.assertTrue(without_header(message.content) == text_message(size), f"{how}, {size} bytes")

    def test_dots_at_line_starts(self):
        self.check(compose(b".\r\n..\r\n.x\r\n...\r\n\r\n.\r\nx.\r\n. \r\n" + b".\r\n" * 3000 + b"....."))

    def test_a_dot_as_the_very_first_byte(self):
        self.check(b".\r\n\r\n.\r\n")

    def test_nuls(self):
        self.check(compose(b"a\0b\r\n" + b"\0" * 5000 + b"x\r\nend\r\n"))

    def test_8_bit_bytes(self):
        every = bytes(b for b in range(1, 256) if b not in b"\r\n")
        self.check(compose((every + b"\r\n") * 40, ["Content-Transfer-Encoding: 8bit"], subject="Grüße, 你好"))

    def test_lines_of_100_kb(self):
        self.check(compose((b"0123456789" * 10240 + b"\r\n") * 3 + b"." + b"x" * 102400 + b"\r\n"))

    def test_no_line_end_at_all(self):
        self.check(b"x" * 300000)

    def test_bare_carriage_returns_and_line_feeds(self):
        """The guard rejects only what could be read as two messages; everything else is content."""
        self.check(compose(b"a\nb\rc\r\rd\n\ne\r\r\n\n\r\nend\r\n"))

    def test_random_bytes(self):
        seed = random.randrange(1 << 32)
        self.note(f"seed {seed}")
        generator = random.Random(seed)
        # No dot, because the guard exists for a random dot beside a bare CR or LF.
        alphabet = bytes(b for b in range(256) if b != ord("."))
        body = bytes(generator.choice(alphabet) for _ in range(50000))
        body += b"".join(b"\r\n" + b"." * generator.randrange(1, 4) + b"x" * generator.randrange(3) + b"\r\n"
                         for _ in range(2000))
        self.check(compose(b"begin\r\n" + body))

    def test_one_byte_at_a_time(self):
        for content in (b"", b"x", text_message(4096), compose(b".\r\n..\r\n\r\n.\r\n" * 20 + b"\0\xff" * 50)):
            self.check(content, slowly=True)

    def test_one_byte_at_a_time_64_kb(self):
        self.check(text_message(64 * 1024), slowly=True)

    def test_cut_around_the_end_of_data(self):
        """Every split of the last bytes, with the next command behind them."""
        tail = b"line\r\n..\r\nend\r\n.\r\nNOOP\r\n"
        content = compose(b"line\r\n.\r\nend\r\n")
        sink = self.sink()
        daemon = self.bivalved(sink)
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd has no pipelining")
        head = stuffed(content)[:-len(b"line\r\n..\r\nend\r\n")]
        with daemon.client() as client:
            client.ehlo()
            for cut in range(1, len(tail)):
                self.assertReply(client.begin_data(), 354)
                client.send(head + tail[:cut])
                client.quiet(0.003)
                client.send(tail[cut:])
                self.assertEqual([r.code for r in client.replies(2)], [250, 250], f"cut at {cut}")
        for message in sink.messages:
            self.assertEqual(without_header(message.content), content)


class BareDots(ScenarioCase):
    """A dot behind a bare LF or CR, which some servers remove and others do not."""

    bivalve_only = True
    CONTENT = b"Subject: x\r\n\r\na\n..box\nb\n.one\r\nend\r\n"

    def deliver(self, settings=None, extensions=(), content=CONTENT):
        sink = self.sink(extensions=["8BITMIME", *extensions])
        daemon = self.bivalved(sink, settings={"Header": "", **(settings or {})})
        with daemon.client() as client:
            client.ehlo()
            reply = client.deliver(content)
        return reply, sink, daemon

    def test_are_ambiguous_to_a_server_without_chunking(self):
        for content in (self.CONTENT, b"Subject: x\r\n\r\na\r.box\r\n"):
            reply, sink, daemon = self.deliver(content=content)
            self.assertReply(reply, 550, "5.5.2 Message has a dot behind a bare CR or LF")
            self.assertEqual(sink.messages, [])
            daemon.wait_log(r"status=REJECTED:ambiguous dot$")
            daemon.expect_messages(received=1, rejected=1)

    def test_are_taken_out_for_a_server_with_chunking(self):
        """As such a server would get them by DATA without Bivalve in between."""
        reply, sink, _ = self.deliver(extensions=["CHUNKING"])
        self.assertReply(reply, 250)
        self.assertEqual(sink.messages[0].content, b"Subject: x\r\n\r\na\n.box\nb\none\r\nend\r\n")

    def test_are_the_same_to_every_server_when_they_pass(self):
        reply, sink, _ = self.deliver({"BareNewline": "pass"})
        self.assertReply(reply, 250)
        self.assertEqual(sink.messages[0].wire, b"Subject: x\r\n\r\na\r\n..box\nb\none\r\nend\r\n")

    def test_may_come_by_bdat(self):
        sink = self.sink(extensions=["CHUNKING"])
        daemon = self.bivalved(sink, settings={"Header": ""})
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            client.rcpt()
            self.assertReply(client.bdat(self.CONTENT, last=True), 250)
        self.assertEqual(sink.messages[0].content, self.CONTENT)


class Readings(FaultCase):
    """A message that servers understand in several ways is scanned in each, whatever its size, and arrives unchanged."""

    def test_a_large_one(self):
        odd = b"Subject: x\r\nX-Foo : y\r\na text\r\n" + text_message(5 << 20) + b"a\rb\r\n"
        for settings in ({}, {"ClamMethod": "instream"}, {"BodyMemory": "1M"}):
            with self.subTest(settings=settings):
                sink = self.sink(extensions=["CHUNKING"])
                daemon = self.bivalved(sink, settings={"Header": "", **settings})
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(odd), 250)
                    self.assertReply(client.deliver(compose(b"and one more\r\n")), 250)
                self.assertTrue(sink.messages[0].content == odd, "it was changed")
                stats = daemon.expect_messages(received=2, delivered=2, clean=2)
                # Its readings and the other one; and the parts that some program may find.
                self.assertGreater(sum(s["scans"] for s in stats["scanners"]), 7 + 1)

    def test_a_failed_one_is_not_clean(self):
        """A reading without a verdict decides, unless another reading is infected."""
        for readings, status in (([b"alone"], "CLAMAV-ERROR"), ([b"alone", b"mail"], "VIRUS:Sim.Found")):
            def answer(image, _number):
                if b"alone" in readings and image.startswith(b"no field"):
                    return "Can't read file ERROR"
                if b"mail" in readings and image.startswith(b"\r\nno field"):
                    return "Sim.Found FOUND"
                return "OK"
            daemon = self.daemon(self.scripted(answer))
            with daemon.client() as client:
                client.ehlo()
                client.deliver(b"no field\r\n")
            daemon.wait_log(rf"status={status}$")


class Header(ScenarioCase):
    """Where the header line is inserted, and what it says."""

    def deliver(self, content, settings=None):
        sink = self.sink()
        daemon = self.bivalved(sink, settings=settings)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(content), 250)
        self.is_bivalve = daemon.is_bivalve
        return sink.messages[0].content

    def test_stands_at_the_end_of_the_header_section(self):
        content = compose(b"body\r\n\r\nmore\r\n")
        arrived = self.deliver(content)
        header = HEADER if self.is_bivalve else HEADER.replace(b"Bivalve", b"ClamSMTP")
        self.assertEqual(arrived, content.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n", 1))

    def test_a_message_without_a_blank_line(self):
        arrived = self.deliver(b"Subject: all header\r\n")
        if not self.is_bivalve:
            self.skipTest("clamsmtpd puts it elsewhere")
        self.assertEqual(arrived, b"Subject: all header\r\n" + HEADER)

    def test_a_message_that_begins_with_the_blank_line(self):
        arrived = self.deliver(b"\r\nall body\r\n")
        self.assertRegex(arrived, rb"^X-Virus-Scanned: [^\r\n]*\r\n\r\nall body\r\n$")

    def test_stands_before_the_first_line_that_is_no_field(self):
        """Where servers end the header section; behind it, the line would be in the visible body and break its DKIM hash."""
        for separator in (b" \r\n", b"\t\r\n", b"text\r\n", b"..\r\n", b": x\r\n", b"X-Foo : y\r\n"):
            with self.subTest(separator=separator):
                arrived = self.deliver(b"Subject: x\r\n" + separator + b"body: a\r\n\r\nmore\r\n")
                if not self.is_bivalve:
                    self.skipTest("clamsmtpd puts it elsewhere")
                self.assertEqual(arrived, b"Subject: x\r\n" + HEADER + separator + b"body: a\r\n\r\nmore\r\n")

    def test_empty_means_none(self):
        content = compose(b"body\r\n")
        self.assertEqual(self.deliver(content, {"Header": ""}), content)

    def test_is_filled_in(self):
        arrived = self.deliver(compose(b"body\r\n"), {"Header": "X-Mine: from %i to %l, 100%%"})
        if not self.is_bivalve:
            self.skipTest("clamsmtpd differs in %%")
        self.assertIn(b"\r\nX-Mine: from 127.0.0.1 to 127.0.0.1, 100%\r\n\r\n", arrived)

    def test_has_the_date(self):
        arrived = self.deliver(compose(b"body\r\n"), {"Header": "X-Mine: %d"})
        self.assertRegex(arrived, rb"\r\nX-Mine: \w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [^\r\n]+\r\n\r\n")

    def test_may_be_folded(self):
        arrived = self.deliver(compose(b"body\r\n"), {"Header": r"X-Mine: one\r\n\ttwo"})
        self.assertIn(b"\r\nX-Mine: one\r\n\ttwo\r\n\r\n", arrived)

    def test_received_goes_to_the_top(self):
        content = compose(b"body\r\n")
        arrived = self.deliver(content, {"Header": "Received: by smtp.passthru for %i"})
        if not self.is_bivalve:
            self.skipTest("clamsmtpd has one place")
        self.assertEqual(arrived, b"Received: by smtp.passthru for 127.0.0.1\r\n" + content)


class Chunking(ScenarioCase):
    """Clients that send by BDAT (RFC 3030), if the server has it."""

    bivalve_only = True

    def client_with_chunking(self, **sink_options):
        sink = self.sink(extensions=["8BITMIME", "PIPELINING", "CHUNKING"], **sink_options)
        daemon = self.bivalved(sink)
        client = daemon.client()
        self.addCleanup(client.close)
        client.ehlo()
        self.assertIn("CHUNKING", client.extensions)
        return daemon, sink, client

    def test_sizes(self):
        daemon, sink, client = self.client_with_chunking()
        contents = [b"", b"x", b".", b"\r\n.\r\n", compose(b"no line end"), text_message(65536), text_message(1 << 20)]
        for content in contents:
            client.mail()
            client.rcpt()
            self.assertReply(client.bdat(content, last=True), 250)
        self.assertEqual(len(sink.messages), len(contents))
        for content, message in zip(contents, sink.messages):
            self.assertIn(content.partition(b"\r\n\r\n")[2], message.content)
        daemon.expect_messages(received=len(contents), delivered=len(contents))

    def test_several_chunks(self):
        daemon, sink, client = self.client_with_chunking()
        content = text_message(300000)
        client.mail()
        client.rcpt()
        for start in range(0, len(content), 70000):
            self.assertReply(client.bdat(content[start:start + 70000]), 250)
        self.assertReply(client.bdat(b"", last=True), 250)
        self.assertEqual(without_header(sink.messages[0].content), content)
        daemon.expect_messages(received=1, delivered=1)


if __name__ == "__main__":
    main()
