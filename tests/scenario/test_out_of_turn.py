"""Nobody speaks for the server: replies before it has the message, its last words, and what the client hears when one of
the two has gone."""
import socket
import struct

from harness import CLOSE, ScenarioCase, compose, infected_attachment, main, wait_until, without_header
from harness.fault_case import FaultCase

SMALL = compose(b"x\r\n")
# More than the sockets between the two hold.
LARGE = compose(b"0123456789abcdef" * 4 + b"\r\n") + b"and more of it, to fill the sockets\r\n" * 600_000
WAYS = (["8BITMIME"], ["CHUNKING"])


class EarlyReply(ScenarioCase):
    """A reply that arrives before the end of the message was sent does not count."""

    bivalve_only = True

    def lost(self, content, **options):
        sink = self.sink(**options)
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(content), 451)
            client.wait_closed()
        sink.wait_sessions_closed()
        self.assertEqual(sink.received, [], "the end of the message is not sent")
        daemon.expect_messages(received=1, lost=1, delivered=0, refused=0)
        return daemon

    def test_with_the_354(self):
        for early in (b"250 2.0.0 early\r\n", b"25", b"nonsense\r\n", b"354 again\r\n"):
            with self.subTest(early=early):
                daemon = self.lost(SMALL, replies={"DATA": b"354 go\r\n" + early, "BODY": "550 5.7.1 no"})
                daemon.wait_log("mail server answered before it had the whole message")

    def test_in_the_middle_of_the_message(self):
        for extensions in WAYS:
            with self.subTest(extensions=extensions):
                self.lost(LARGE, extensions=extensions, close_after_body_bytes=100_000, early=b"250 2.0.0 early\r\n")

    def test_in_the_middle_and_then_it_reads_on(self):
        """The server would take the message and answer 550, and that would be taken for the reply to our next command."""
        for extensions in WAYS:
            with self.subTest(extensions=extensions):
                sink = self.sink(extensions=extensions, close_after_body_bytes=100_000, early=b"250 2.0.0 early\r\n",
                                 early_only=True, replies={"BODY": "550 5.7.1 no"})
                daemon = self.bivalved(sink)
                with daemon.client() as client:
                    client.ehlo()
                    self.assertNotEqual(client.deliver(LARGE).code // 100, 2)
                daemon.expect_messages(received=1, delivered=0)

    def test_a_refusal_in_the_middle_counts(self):
        for extensions in WAYS:
            with self.subTest(extensions=extensions):
                sink = self.sink(extensions=extensions, close_after_body_bytes=100_000, early=b"552 5.3.4 too large\r\n")
                daemon = self.bivalved(sink)
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(LARGE), 552, "5.3.4 too large")
                daemon.expect_messages(received=1, refused=1)


class DataWithArguments(ScenarioCase):
    bivalve_only = True

    def test_is_refused_and_ends_nothing(self):
        """Some servers ignore the argument, say 354, and would take an empty message for the dot."""
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            client.rcpt()
            for line in ("DATA foo", "DATA\t.", "data  x y"):
                self.assertReply(client.command(line), 501, "5.5.4 Syntax error in arguments")
            self.assertReply(client.data(SMALL), 250)
        self.assertEqual(sink.commands.count(b"DATA"), 1)
        self.assertEqual([message.content.endswith(b"x\r\n") for message in sink.received], [True])


class StartMailWithoutRecipients(ScenarioCase):
    """A server that says 354 without any recipient (RFC 2920 section 3.1) gets the end of the data and no mail."""

    bivalve_only = True

    def check(self, end, text):
        sink = self.sink(replies={"RCPT": ["550 5.1.1 sink: nobody"], "DATA": ["354 go on"], "BODY": [end]})
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.mail(), 250)
            self.assertReply(client.rcpt(), 550)
            self.assertReply(client.command("DATA"), 554, text)
            self.assertEqual([m.wire for m in sink.received], [b""])
            # The transaction is over on both sides, and nothing is left unread.
            self.assertReply(client.rcpt(), 503)
            self.assertReply(client.deliver(SMALL), 250)
        self.assertEqual([m.content.endswith(b"x\r\n") for m in sink.received], [False, True])
        daemon.expect_messages(received=1, delivered=1)

    def test_its_refusal_is_the_reply(self):
        self.check("554 5.5.1 sink: nobody to go to", "5.5.1 sink: nobody to go to")

    def test_it_takes_nothing_for_a_message(self):
        self.check("250 2.0.0 sink: taken", "5.5.1 No valid recipients")


class MixedCodes(ScenarioCase):
    """The code of the last line is the code of the reply."""

    bivalve_only = True

    def test_a_greeting(self):
        for greeting, code, text in (("220-mx.example\n521 5.7.1 no mail here", 521, "mx.example\n5.7.1 no mail here"),
                                     ("554-mx.example\n421 4.3.2 later", 421, "mx.example\n4.3.2 later")):
            with self.subTest(greeting=greeting):
                daemon = self.bivalved(self.sink(replies={"CONNECT": greeting}))
                with daemon.client(greeting=False) as client:
                    self.assertReply(client.reply(), code, text)
                    client.wait_closed()

    def test_any_reply(self):
        sink = self.sink(replies={"RCPT": ["250-2.1.5 one\n550 5.1.1 nobody", "550-5.1.1 one\n250 2.1.5 well"],
                                  "BODY": "250-2.0.0 almost\n554 5.6.0 no"})
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            self.assertReply(client.rcpt(), 550, "2.1.5 one\n5.1.1 nobody")
            self.assertReply(client.rcpt(), 250, "5.1.1 one\n2.1.5 well")
            self.assertReply(client.data(SMALL), 554, "2.0.0 almost\n5.6.0 no")
        daemon.expect_messages(received=1, refused=1)


class ControlCharacters(ScenarioCase):
    bivalve_only = True

    def test_in_replies_are_made_harmless(self):
        """For some clients a CR alone ends a line: they would read a second reply."""
        sink = self.sink(replies={"NOOP": b"250 ok\r550 no\0\x1b[2J\r\n", "CONNECT": b"554 a\rb\r\n"})
        daemon = self.bivalved(sink)
        with daemon.client(greeting=False) as client:
            self.assertEqual(client.wait_closed(), b"554 a?b\r\n")
        sink.replies.pop("CONNECT")
        with daemon.client() as client:
            client.ehlo()
            client.send(b"NOOP\r\nQUIT\r\n")
            self.assertEqual(client.wait_closed().split(b"\r\n")[0], b"250 ok?550 no??[2J")

    def test_between_words_hide_nothing(self):
        sink = self.sink(extensions=["AUTH PLAIN DIGEST-MD5"])
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            for line in ("AUTH DIGEST-MD5\v", "AUTH\vDIGEST-MD5", "AUTH DIGEST-MD5\fx", "AUTH DIGEST-MD5\tx", "\vSTARTTLS"):
                self.assertReply(client.command(line), 502)
            for line in (b"NOOP\0\r\n", b"NOOP \r x\r\n"):
                self.assertReply(client.command(line), 500, "5.5.2 Control character in command")
        self.assertEqual(len(sink.commands), 1, sink.commands)


class UnprovenChunking(ScenarioCase):
    """A server that lists CHUNKING but does not know BDAT would take the message for commands."""

    bivalve_only = True
    CONTENT = compose(b"RSET\r\nMAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n")

    def start(self, bdat, body=None):
        def answer(session, line):
            return bdat
        sink = self.sink(extensions=["CHUNKING", "PIPELINING"], replies={"BDAT": answer, **({"BODY": body} if body else {})})
        return sink, self.bivalved(sink, settings={"Workers": 1})

    def bdat(self, sink):
        return [line for line in sink.commands if line.startswith(b"BDAT")]

    def by_data(self, daemon, sink):
        """CHUNKING is not shown any more, and messages are sent by DATA."""
        with daemon.client() as client:
            client.ehlo()
            self.assertNotIn("CHUNKING", client.extensions)
            self.assertReply(client.deliver(self.CONTENT), 250)
        self.assertEqual([message.how for message in sink.messages][-1], "DATA")
        self.assertNotIn(b"evil", b" ".join(sink.commands))

    def test_is_proven_once(self):
        sink, daemon = self.start(None)
        for _ in range(2):
            with daemon.client() as client:
                client.ehlo()
                self.assertReply(client.deliver(SMALL), 250)
                self.assertReply(client.deliver(SMALL), 250)
        self.assertEqual(self.bdat(sink)[0], b"BDAT 1", "Postfix refuses chunks of no bytes")
        self.assertEqual(len(self.bdat(sink)), 5)
        self.assertEqual([message.how for message in sink.messages], ["BDAT"] * 4)
        self.assertEqual({without_header(message.content) for message in sink.messages}, {SMALL})

    def test_gets_one_byte_and_no_more_where_it_is_none(self):
        for code in (500, 502, 503):
            for by_bdat in (False, True):
                with self.subTest(code=code, by_bdat=by_bdat):
                    sink, daemon = self.start(f"{code} 5.5.1 what")
                    with daemon.client() as client:
                        client.ehlo()
                        client.mail()
                        client.rcpt()
                        reply = client.bdat(self.CONTENT, last=True) if by_bdat else client.data(self.CONTENT)
                        self.assertReply(reply, 451)
                    sink.wait_sessions_closed()
                    self.assertEqual((self.bdat(sink), sink.commands[-1]), ([b"BDAT 1"], b"BDAT 1"))
                    daemon.wait_log("mail server lists CHUNKING and refuses BDAT")
                    self.by_data(daemon, sink)
                    daemon.expect_messages(received=2, lost=1, delivered=1)

    def test_a_refusal_for_another_reason_is_the_messages(self):
        sink, daemon = self.start("452 4.2.2 full")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(SMALL), 452, "4.2.2 full")
            self.assertReply(client.mail(), 250)
        self.assertIn(b"RSET", sink.commands)
        daemon.expect_messages(received=1, refused=1)

    def test_nothing_follows_a_chunk_that_was_refused_unread(self):
        """CHUNKING was proven, and then another server took the server's place."""
        sink, daemon = self.start(None, body=["250 ok", "502 5.5.1 what", None])
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(SMALL), 250)
            self.assertReply(client.deliver(self.CONTENT), 502, "5.5.1 what")
            self.assertEqual(client.wait_closed() or b"", b"")
        sink.wait_sessions_closed()
        self.assertTrue(sink.commands[-1].endswith(b"LAST"), "neither RSET nor QUIT goes there")
        self.by_data(daemon, sink)


class LastWords(ScenarioCase):
    """The message is delivered: events after it must not make it count as lost."""

    bivalve_only = True

    def test_a_server_that_closes_at_quit(self):
        for quit_reply in (CLOSE, (b"22", CLOSE), "garbage", "354 what"):
            with self.subTest(reply=str(quit_reply)):
                daemon = self.bivalved(self.sink(replies={"QUIT": quit_reply}))
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(SMALL), 250)
                    self.assertReply(client.quit(), 221, "2.0.0 Bye")

    def test_a_server_that_closes_behind_the_message(self):
        daemon = self.bivalved(self.sink(replies={"BODY": ("250 2.0.0 taken", CLOSE)}))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(SMALL), 250)
            self.assertReply(client.quit(), 221, "2.0.0 Bye")

    def test_and_the_client_says_nothing(self):
        sink = self.sink(replies={"BODY": ("250 2.0.0 taken", CLOSE)})
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(SMALL), 250)
            self.assertEqual(client.wait_closed() or b"", b"", "a plain close")

    def test_and_the_client_goes_on(self):
        sink = self.sink(replies={"BODY": ("250 2.0.0 taken", CLOSE)})
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(SMALL), 250)
            self.assertReply(client.mail(), 421)

    def test_a_server_that_says_421_to_rset(self):
        """After a message that was not sent to it: its own words, and no claim that it broke the protocol."""
        for settings, code in (({"Action": "drop"}, 250), ({"Action": "bounce"}, 550)):
            with self.subTest(settings=settings):
                sink = self.sink(replies={"RSET": ("421 4.3.2 sink: that is all", CLOSE)})
                daemon = self.bivalved(sink, settings=settings)
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(infected_attachment()), code)
                    self.assertReply(client.reply(), 421, "4.3.2 sink: that is all")
                    client.wait_closed()
                self.assertNotIn("broke the protocol", daemon.log)


    def test_a_server_that_refuses_rset(self):
        """The server's transaction is still open, and the next message could go to the previous recipients."""
        for refusal in ("500 5.5.1 sink: what", "451 4.3.0 sink: later", "354 sink: go on"):
            with self.subTest(refusal=refusal):
                sink = self.sink(replies={"RSET": refusal})
                daemon = self.bivalved(sink, settings={"Action": "drop"})
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(infected_attachment()), 250)
                    self.assertReply(client.reply(), 421)
                    client.wait_closed()
                daemon.wait_log("mail server broke the protocol")
                self.assertEqual(sink.received, [])


class HalfClosed(FaultCase):
    """The client ends its side after the message, while it is scanned."""

    def held(self, end):
        released = []

        def answer(content, number):
            wait_until("the verdict", lambda: released)
            return "OK"
        scanner = self.scripted(answer)
        sink = self.sink(extensions=["CHUNKING"])
        daemon = self.daemon(scanner, sink=sink)
        client = daemon.client()
        self.addCleanup(client.close)
        client.ehlo()
        client.mail()
        client.rcpt()
        end(client)
        daemon.wait_stats("the scan", lambda stats: stats["scanners"][0]["in_flight"] == 1)
        return daemon, client, sink, released

    def test_is_told_that_nothing_was_delivered(self):
        def data(client):
            self.assertReply(client.command("DATA"), 354)
            client.content(SMALL)

        def bdat(client):
            client.send(b"BDAT %d LAST\r\n" % len(SMALL) + SMALL)
        for end in (data, bdat):
            with self.subTest(end=end.__name__):
                daemon, client, sink, released = self.held(end)
                client.socket.shutdown(socket.SHUT_WR)
                self.assertReply(client.reply(), 451, "4.4.2 Connection ended before the message was scanned")
                client.wait_closed()
                released.append(True)
                daemon.expect_messages(received=1, tempfailed=1)
                self.assertEqual(sink.received, [])

    def test_with_quit_behind_the_message_it_is_delivered(self):
        def data_and_quit(client):
            self.assertReply(client.command("DATA"), 354)
            client.send(SMALL + b".\r\nQUIT\r\n")
        daemon, client, sink, released = self.held(data_and_quit)
        client.socket.shutdown(socket.SHUT_WR)
        released.append(True)
        self.assertReply(client.reply(), 250)
        self.assertReply(client.reply(), 221)
        daemon.expect_messages(received=1, delivered=1)
        self.assertEqual(len(sink.messages), 1)


class ResetBeforeAccept(ScenarioCase):
    bivalve_only = True

    def test_opens_no_session_with_the_server(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"Workers": 1})
        # While the only worker is stopped, connections come and go.
        daemon.process.signal(19)
        for _ in range(5):
            one = socket.create_connection(daemon.address)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
        daemon.process.signal(18)
        with daemon.client() as client:
            client.ehlo()
        self.assertEqual(len(sink.sessions), 1)
        self.assertNotRegex(daemon.log, r"connection from: *\n")
        daemon.wait_stats("the end of all", lambda stats: stats["connections"]["active"] == 0)


if __name__ == "__main__":
    main()
