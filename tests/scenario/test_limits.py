"""The limits for one client, with the reply and the counter of each."""
import socket
import threading
import time

from harness import SLOW, ScenarioCase, SmtpClient, compose, main, text_message


class Case(ScenarioCase):
    bivalve_only = True

    def expect_error(self, daemon, name, count=1):
        daemon.wait_stats(name, lambda s: s["errors"][name] == count)


class Commands(Case):
    """Lines, errors, commands and recipients."""

    def test_line_length(self):
        """The longest accepted line has 12,288 bytes with its line end; a longer one is refused once."""
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            longest = b"VRFY " + b"x" * (12288 - 7)
            self.assertReply(client.command(longest + b"\r\n"), 502, "5.5.1 sink: no such command")
            self.assertIn(longest, sink.commands)
            for size in (12287, 20000, 300000):
                self.assertReply(client.command(b"VRFY " + b"x" * size + b"\r\n"), 500, "5.5.2 Line too long")
            self.assertReply(client.command("NOOP"), 250)
        self.expect_error(daemon, "line_too_long", 3)

    def test_errors_in_a_row(self):
        daemon = self.bivalved(self.sink(extensions=["PIPELINING"]))
        with daemon.client() as client:
            for _ in range(45):
                self.assertReply(client.command("XYZZY"), 502)
            self.assertReply(client.command("NOOP"), 250)  # errors no longer count
            for _ in range(50):
                self.assertReply(client.command("STARTTLS"), 502)
            self.assertReply(client.command("XYZZY"), 502)
            self.assertReply(client.reply(), 421, "4.7.0 Too many errors")
            client.wait_closed()
        self.expect_error(daemon, "too_many_errors")

    def test_garbage_is_cut_off(self):
        """A web browser, a TLS client or noise on the port."""
        daemon = self.bivalved(self.sink())
        for noise in (b"\x16\x03\x01\x02\0" + bytes(range(256)) * 40 + b"\n" * 200, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
                      b"\0\r\n" * 200):
            with daemon.client() as client:
                client.send(noise)
                self.assertIn(b"421 4.7.0 Too many errors\r\n", client.wait_closed())
        self.expect_error(daemon, "too_many_errors", 3)

    def test_refused_recipients_are_no_errors_of_form(self):
        sink = self.sink(extensions=["PIPELINING"], replies={"RCPT": "550 5.1.1 sink: nobody"})
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            replies = client.pipeline(["MAIL FROM:<ada@example.com>", *["RCPT TO:<a@example.net>"] * 200, "RSET"])
            self.assertEqual([r.code for r in replies], [250] + [550] * 200 + [250])

    def test_commands_without_a_message(self):
        daemon = self.bivalved(self.sink(extensions=["PIPELINING"]))
        with daemon.client() as client:
            client.send(b"RSET\r\n" * 990)
            self.assertEqual({r.code for r in client.replies(990)}, {250})
            self.assertReply(client.deliver(compose(b"a message\r\n")), 250)
            client.send(b"RSET\r\n" * 1100)
            received = client.wait_closed()
            self.assertTrue(received.endswith(b"421 4.7.0 Too many commands without a message\r\n"), received[-200:])
            self.assertLess(received.count(b"250 "), 1100)
        self.expect_error(daemon, "too_many_commands")

    def test_recipients_of_one_message(self):
        daemon = self.bivalved(self.sink(extensions=["PIPELINING"]))
        with daemon.client() as client:
            self.assertReply(client.mail(), 250)
            for _ in range(10):
                client.send(b"RCPT TO:<a@example.net>\r\n" * 1000)
                self.assertEqual({r.code for r in client.replies(1000)}, {250})
            self.assertReply(client.rcpt(), 452, "4.5.3 Too many recipients")
            self.assertReply(client.data(compose(b"x\r\n")), 250)
            self.assertReply(client.deliver(compose(b"y\r\n")), 250)
        self.expect_error(daemon, "too_many_recipients")

    def test_the_servers_own_limit_of_recipients(self):
        daemon = self.bivalved(self.sink(replies={"RCPT": [None, "452 4.5.3 sink: one is enough"]}))
        with daemon.client() as client:
            client.mail()
            self.assertReply(client.rcpt(), 250)
            self.assertReply(client.rcpt(), 452, "4.5.3 sink: one is enough")
            self.assertReply(client.data(compose(b"x\r\n")), 250)

    def test_header_section(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            reply = client.deliver(b"X-Long: x\r\n" * (5 << 17) + b"\r\nbody\r\n")
            self.assertReply(reply, 552, "5.3.4 Header section exceeds the size limit")
            self.assertReply(client.deliver(b"X-Long: x\r\n" * (3 << 16) + b"\r\nbody\r\n"), 250)
            self.assertReply(client.deliver(compose(b"x" * (6 << 20))), 250)
            # The header section ends where servers end it, which may be before a blank line.
            self.assertReply(client.deliver(b"Subject: x\r\n" + b"a text without a blank line before it\r\n" * 150_000), 250)
            self.assertReply(client.deliver(b"no field at all " * 400_000), 250)
        self.expect_error(daemon, "header_too_large")
        daemon.expect_messages(received=5, rejected=1, delivered=4)

    def test_a_client_that_does_not_read(self):
        """Bivalve stops reading from it, so that the bytes held for it stay limited."""
        daemon = self.bivalved(self.sink(extensions=["PIPELINING"], replies={"NOOP": "250 " + "x" * 500}))
        with daemon.client() as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            before = daemon.process.memory_bytes()
            client.socket.settimeout(1)
            sent = 0
            try:
                while sent < 64 << 20:
                    sent += client.socket.send(b"NOOP\r\n" * 10000)
            except (TimeoutError, ConnectionError):
                pass
            self.assertLess(sent, 64 << 20, "it went on reading")
            if not SLOW:
                self.assertLess(daemon.process.memory_bytes() - before, 8 << 20)
            with daemon.client() as other:
                self.assertReply(other.deliver(compose(b"beside\r\n")), 250)


class Rate(Case):
    """128 bytes a second on average over each TimeOut, in DATA and in BDAT."""

    def dribble(self, start, each, pause, seconds, head=b""):
        """Sends `each` every `pause` after `start` and `head`; returns the daemon's words and when they came."""
        sink = self.sink(extensions=["CHUNKING"])
        daemon = self.bivalved(sink, settings={"TimeOut": 2})
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            client.rcpt()
            client.send(start)
            if start == b"DATA\r\n":
                self.assertReply(client.reply(), 354)
            began = time.monotonic()
            client.send(head)
            stop = threading.Event()

            def send():
                while not stop.is_set() and time.monotonic() - began < seconds:
                    try:
                        client.send(each)
                    except OSError:
                        return
                    time.sleep(pause)
            sender = threading.Thread(target=send)
            sender.start()
            try:
                if client.quiet(seconds):
                    return daemon, sink, client, None, None
                try:
                    return daemon, sink, client, client.reply(), time.monotonic() - began
                except ConnectionResetError:
                    self.fail("reset before the reply")
            finally:
                stop.set()
                sender.join()

    def test_a_dribble_ends_with_421(self):
        for start in (b"DATA\r\n", b"BDAT 100000 LAST\r\n"):
            with self.subTest(start=start):
                daemon, sink, _, reply, after = self.dribble(start, b"x", 0.1, 8)
                self.assertIsNotNone(reply, "it went on for ever")
                self.assertRegex(str(reply), r"^421 4\.4\.2 Message data comes too slowly")
                self.assertLess(after, 6 * (3 if SLOW else 1))
                self.assertEqual(sink.received, [])
                self.expect_error(daemon, "too_slow")
                daemon.expect_messages(received=0, aborted=1)

    def test_a_good_start_does_not_pay_for_what_follows(self):
        for start in (b"DATA\r\n", b"BDAT 100000 LAST\r\n"):
            with self.subTest(start=start):
                daemon, sink, _, reply, after = self.dribble(start, b"x", 0.1, 12, head=b"x" * 1000)
                self.assertIsNotNone(reply, "it went on for ever")
                self.assertRegex(str(reply), r"^421 4\.4\.2 Message data comes too slowly")
                self.assertGreater(after, 3, "the first two seconds were fast enough")
                self.assertEqual(sink.received, [])

    def test_tiny_chunks_do_not_help(self):
        daemon, _, _, reply, _ = self.dribble(b"", b"BDAT 1\r\nx", 0.1, 1)
        self.assertReply(reply, 250)
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            client.rcpt()
            for _ in range(100):
                client.send(b"BDAT 1\r\nx")
                reply = client.reply()
                if reply.code != 250:
                    break
                time.sleep(0.1)
            self.assertRegex(str(reply), r"^421 4\.4\.2 Message data comes too slowly")

    def test_a_slow_but_honest_link_passes(self):
        """400 bytes a second, for twice TimeOut."""
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"TimeOut": 2})
        content = text_message(1600)
        with daemon.client() as client:
            client.ehlo()
            client.begin_data()
            for start in range(0, len(content), 40):
                client.send(content[start:start + 40])
                time.sleep(0.1)
            client.send(b".\r\n")
            self.assertReply(client.reply(), 250)


class Connections(Case):
    """MaxConnectionsPerClient."""

    def test_is_off_by_default(self):
        daemon = self.bivalved(self.sink())
        clients = [daemon.client() for _ in range(40)]
        for client in clients:
            self.assertReply(client.greeting, 220)
            client.close()

    def test_of_one_client_over_all_workers(self):
        daemon = self.bivalved(self.sink(), settings={"MaxConnectionsPerClient": 5, "Workers": 2})
        clients = [daemon.client() for _ in range(5)]
        for client in clients:
            self.assertReply(client.greeting, 220)
        for _ in range(4):
            with daemon.client() as client:
                self.assertReply(client.greeting, 421, "4.7.0 Too many connections from your address")
                client.wait_closed()
        # Another address has its own limit.
        other = socket.create_connection(daemon.address, source_address=("127.0.0.2", 0))
        self.assertTrue(other.recv(100).startswith(b"220 "))
        other.close()
        clients.pop().quit()
        daemon.wait_stats("room", lambda s: s["connections"]["active"] == 4)
        with daemon.client() as client:
            self.assertReply(client.greeting, 220)
        self.assertEqual(daemon.stats()["connections"]["refused_per_client"], 4)
        for client in clients:
            client.close()


class Memory(Case):
    """When BodyMemory and the disk are used up, reading stops and continues by itself."""

    SETTINGS = {"BodyMemory": "1M", "Workers": 1, "TimeOut": 20, "Canary": "off"}  # the canary needs room of its own

    def start(self, sink, settings=None):
        gone = self.directory / "gone"
        gone.mkdir()
        daemon = self.bivalved(sink, settings={**self.SETTINGS, "TempDirectory": gone, **(settings or {})})
        gone.rmdir()
        return daemon

    def begin(self, daemon, content):
        client = daemon.client()
        self.addCleanup(client.close)
        client.ehlo()
        self.assertReply(client.begin_data(), 354)
        client.send(content)
        return client

    def test_reading_goes_on_when_memory_is_free_again(self):
        sink = self.sink()
        daemon = self.start(sink)
        part = b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 13000  # 234 KB: a block of 256 KiB
        holders = [self.begin(daemon, part) for _ in range(3)]
        waiting = self.begin(daemon, part)
        late = SmtpClient(daemon.address)
        self.addCleanup(late.close)
        late.ehlo()
        late.mail()
        late.rcpt()
        late.send(b"DATA\r\n")
        self.assertTrue(late.quiet(0.5), "there is no room for another message")
        for client in (*holders, waiting):
            client.send(b".\r\n")
            self.assertReply(client.reply(), 250)
        self.assertReply(late.reply(), 354)
        late.content(compose(b"late\r\n"))
        self.assertReply(late.reply(), 250)
        self.assertEqual(len(sink.messages), 5)
        stats = daemon.expect_messages(received=5, delivered=5)
        self.assertGreaterEqual(stats["errors"]["room_waits"], 1)
        self.assertEqual(stats["errors"]["out_of_room"], 0)

    def test_sessions_that_each_hold_a_part_do_not_wait_for_each_other(self):
        """Ten messages that need 1 MB each in 4 MB: some are told to come back, none hangs, all are accepted in the end."""
        sink = self.sink()
        daemon = self.start(sink, {"BodyMemory": "4M"})
        content = text_message(300000)
        replies = []

        def send():
            for _ in range(50):
                with daemon.client() as client:
                    client.ehlo()
                    client.mail()
                    client.rcpt()
                    if client.command("DATA").code != 354:
                        continue
                    client.content(content)
                    reply = client.reply()
                    replies.append(reply.code)
                    if reply.code == 250:
                        return
        threads = [threading.Thread(target=send) for _ in range(10)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(replies.count(250), 10)
        self.assertLessEqual(set(replies), {250, 452})
        self.note(f"{time.monotonic() - began:.1f} s, {replies.count(452)} told to come back")
        self.assertEqual(len(sink.messages), 10)

    def test_the_wait_is_bounded(self):
        daemon = self.start(self.sink(), {"TimeOut": 2, "BodyMemory": "128K"})
        holders = [self.begin(daemon, b"x\r\n") for _ in range(2)]
        stop = threading.Event()

        def keep_alive():
            while not stop.wait(0.2):
                for client in holders:
                    client.send(b"a line that keeps the session in good standing, with its bytes\r\n" * 2)
        keeper = threading.Thread(target=keep_alive)
        keeper.start()
        try:
            with daemon.client() as client:
                client.ehlo()
                self.assertReply(client.begin_data(), 452, "4.3.1 Insufficient room for the message, try again later")
                self.assertReply(client.command("RSET"), 250)
        finally:
            stop.set()
            keeper.join()
        self.expect_error(daemon, "out_of_room")

    def test_a_message_that_can_never_have_room_is_refused(self):
        daemon = self.start(self.sink())
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(text_message(3 << 20)), 452)
            self.assertReply(client.deliver(compose(b"small\r\n")), 250)
        daemon.expect_messages(received=2, tempfailed=1, delivered=1)

    def test_a_chunk_without_room_is_read_and_refused(self):
        sink = self.sink(extensions=["CHUNKING"])
        daemon = self.start(sink)
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            client.rcpt()
            self.assertReply(client.bdat(b"QUIT\r\n" * (1 << 19)), 452)
            self.assertReply(client.bdat(b"x", last=True), 452)
            client.mail()
            client.rcpt()
            self.assertReply(client.bdat(compose(b"small\r\n"), last=True), 250)
        daemon.expect_messages(received=2, tempfailed=1, delivered=1)


if __name__ == "__main__":
    main()
