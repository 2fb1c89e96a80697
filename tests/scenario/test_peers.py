"""Servers and clients that vanish, hang or refuse at any step: the right reply, and no message lost or doubled."""
import signal

from harness import CLOSE, RESET, STALL, ScenarioCase, compose, free_port, main

LARGE = compose(b"0123456789abcdef0123456789abcdef\r\n" * 60000)


class ServerUnreachable(ScenarioCase):
    """The session cannot begin."""

    bivalve_only = True

    def test_is_said_in_the_greeting(self):
        nobody = free_port()
        self.addCleanup(nobody.release)
        daemon = self.bivalved(str(nobody))
        with daemon.client() as client:
            self.assertRegex(str(client.greeting), r"^421 4\.3\.0 \S")
            client.wait_closed()
        stats = daemon.wait_stats("the end of the session", lambda s: s["connections"]["active"] == 0)
        self.assertGreaterEqual(stats["server"]["connect_errors"], 1)
        self.assertEqual(stats["messages"]["received"], 0)

    def test_a_later_client_finds_it_back(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        sink.stop()
        with daemon.client() as client:
            self.assertEqual(client.greeting.code, 421)
        sink.start()
        with daemon.client() as client:
            self.assertReply(client.greeting, 220)
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)

    def test_the_next_out_address_is_tried(self):
        nobody = free_port()
        self.addCleanup(nobody.release)
        sink = self.sink()
        daemon = self.bivalved([str(nobody), sink.address])
        for _ in range(3):
            with daemon.client() as client:
                client.ehlo()
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(sink.messages), 3)

    def test_closes_or_refuses_in_the_greeting(self):
        for greeting in (CLOSE, RESET, "421 4.3.2 sink: shutting down", "554 5.3.2 sink: go away",
                         b"HTTP/1.1 400 Bad Request\r\n", (b"220 sin", CLOSE)):
            with self.subTest(greeting=greeting):
                daemon = self.bivalved(self.sink(replies={"CONNECT": greeting}))
                with daemon.client() as client:
                    self.assertIn(client.greeting.code, (421, 554))
                    client.wait_closed()

    def test_says_nothing(self):
        daemon = self.bivalved(self.sink(replies={"CONNECT": STALL}), settings={"TimeOut": 1})
        with daemon.client() as client:
            self.assertEqual(client.greeting.code, 421)
            client.wait_closed()


class ServerGone(ScenarioCase):
    """The server ends the connection in the middle of a session."""

    bivalve_only = True

    def test_between_commands(self):
        """The client is told at once, not at its next command."""
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            sink.drop_connections()
            self.assertEqual(client.reply().code, 421)
            client.wait_closed()
        daemon.wait_stats("the end of the session", lambda s: s["connections"]["active"] == 0)

    def test_says_421_between_commands(self):
        daemon = self.bivalved(self.sink(replies={"NOOP": ("250 ok\n421 4.3.2 sink: shutting down", CLOSE)}))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.command("NOOP"), 250)
            self.assertEqual(client.reply().code, 421)
            client.wait_closed()

    def test_at_each_command(self):
        for step in ("EHLO", "MAIL", "RCPT", "NOOP"):
            for how in (CLOSE, RESET, (b"250-cut", CLOSE)):
                with self.subTest(step=step, how=how):
                    daemon = self.bivalved(self.sink(replies={step: how}))
                    with daemon.client() as client:
                        client.send("EHLO a.example\r\n")
                        if step != "EHLO":
                            self.assertReply(client.reply(), 250)
                            client.send({"MAIL": "MAIL FROM:<ada@example.com>\r\n", "NOOP": "NOOP\r\n",
                                         "RCPT": "MAIL FROM:<ada@example.com>\r\nRCPT TO:<bob@example.net>\r\n"}[step])
                        if step == "RCPT":
                            self.assertReply(client.reply(), 250)
                        self.assertEqual(client.reply().code, 421)
                        client.wait_closed()
                    daemon.expect_messages(received=0, aborted=0)

    def test_the_servers_421_is_relayed(self):
        daemon = self.bivalved(self.sink(replies={"MAIL": ("421 4.7.0 sink: too much", CLOSE)}))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.mail(), 421, "4.7.0 sink: too much")
            client.wait_closed()

    def lost(self, content, sink, settings=None):
        """Sends one message that the server does not finish. Exactly one outcome: lost, and 451 for the client."""
        daemon = self.bivalved(sink, settings=settings)
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.deliver(content).code, 451)
        self.assertLessEqual(len(sink.received), 1, "not tried again by itself")
        daemon.expect_messages(received=1, lost=1, delivered=0, refused=0, tempfailed=0)

    def test_at_data(self):
        for how in (CLOSE, RESET, (b"35", CLOSE)):
            with self.subTest(how=how):
                self.lost(compose(b"x\r\n"), self.sink(replies={"DATA": how}))

    def test_before_the_final_reply(self):
        for extensions in (["8BITMIME"], ["CHUNKING"], ["CHUNKING", "PIPELINING"]):
            for how in (CLOSE, RESET, (b"250 2.0.0 o", CLOSE), (b"250-2.0.0 one\r\n", CLOSE)):
                with self.subTest(extensions=extensions, how=how):
                    self.lost(compose(b"x\r\n"), self.sink(extensions=extensions, replies={"BODY": how}))

    def test_in_the_middle_of_the_body(self):
        for extensions in (["8BITMIME"], ["CHUNKING"]):
            with self.subTest(extensions=extensions):
                self.lost(LARGE, self.sink(extensions=extensions, close_after_body_bytes=200000))

    def test_hangs_at_the_end(self):
        self.lost(compose(b"x\r\n"), self.sink(replies={"BODY": STALL}), {"TimeOut": 1})

    def test_stops_reading_the_body(self):
        self.lost(LARGE, self.sink(reading=False), {"TimeOut": 1})

    def test_while_the_client_sends_its_message(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            client.begin_data()
            client.send(b"Subject: half\r\n\r\n")
            sink.drop_connections()
            sink.wait_sessions_closed()
            try:
                client.send(b"the rest\r\n.\r\n")
                self.assertIn(client.reply().code, (421, 451))
            except ConnectionError:
                self.fail("the client must be told before the connection is closed")
        self.assertEqual(sink.received, [])
        daemon.wait_stats("the end of the session", lambda s: s["connections"]["active"] == 0)

    def test_while_the_message_is_scanned(self):
        clamd = self.clamd()
        sink = self.sink()
        daemon = self.bivalved(sink, clamd)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"warm\r\n")), 250)
            clamd.process.signal(signal.SIGSTOP)
            client.begin_data()
            client.content(compose(b"held\r\n"))
            daemon.wait_stats("the scan", lambda s: s["messages"]["in_progress"] == 1)
            sink.drop_connections()
            sink.wait_sessions_closed()
            clamd.process.signal(signal.SIGCONT)
            self.assertEqual(client.reply().code, 451)
        self.assertEqual(len(sink.received), 1)
        daemon.expect_messages(received=2, delivered=1, lost=1)


class ClientGone(ScenarioCase):
    """The client leaves without QUIT. The server gets one, so that it does not wait for a session that is over."""

    bivalve_only = True

    def leave(self, daemon, client, how):
        (client.close if how == "close" else client.reset)()
        return daemon.wait_stats("the end of the session", lambda s: s["connections"]["active"] == 0)

    def expect_quit(self, sink):
        sessions = list(sink.sessions)
        sink.wait("the connections to close", lambda: not any(session.open for session in sessions))
        self.assertEqual({session.verbs()[-1] if session.commands else "nothing" for session in sessions}, {"QUIT"})

    def test_before_data(self):
        for how in ("close", "reset"):
            sink = self.sink()
            daemon = self.bivalved(sink)
            client = daemon.client()
            client.ehlo()
            client.mail()
            client.rcpt()
            self.leave(daemon, client, how)
            self.expect_quit(sink)
            daemon.expect_messages(received=0, aborted=0)

    def test_in_data(self):
        for how in ("close", "reset"):
            for sent in (b"", b"Subject: half a mess", LARGE[:500000], b"all but the dot\r\n.", b"x\r\n.\r"):
                with self.subTest(how=how, sent=len(sent)):
                    sink = self.sink()
                    daemon = self.bivalved(sink)
                    client = daemon.client()
                    client.ehlo()
                    client.begin_data()
                    client.send(sent)
                    self.leave(daemon, client, how)
                    self.expect_quit(sink)
                    self.assertEqual(sink.received, [])
                    self.assertNotIn(b"DATA", sink.commands)
                    daemon.expect_messages(received=0, aborted=1)

    def test_during_the_scan(self):
        """The message counts as a temporary failure and is not sent to the server: the client will send it again."""
        for how in ("close", "reset"):
            with self.subTest(how=how):
                clamd = self.clamd()
                sink = self.sink()
                daemon = self.bivalved(sink, clamd)
                client = daemon.client()
                client.ehlo()
                self.assertReply(client.deliver(compose(b"warm\r\n")), 250)
                clamd.process.signal(signal.SIGSTOP)
                client.begin_data()
                client.content(compose(b"held\r\n"))
                daemon.wait_stats("the scan", lambda s: s["messages"]["in_progress"] == 1)
                self.leave(daemon, client, how)
                clamd.process.signal(signal.SIGCONT)
                self.expect_quit(sink)
                self.assertEqual(len(sink.received), 1)
                daemon.expect_messages(received=2, delivered=1, tempfailed=1)

    def test_silent_in_data(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"TimeOut": 1})
        with daemon.client() as client:
            client.ehlo()
            client.begin_data()
            client.send(b"Subject: and then\r\n")
            self.assertRegex(str(client.reply()), r"^421 4\.4\.2 ")
            client.wait_closed()
        self.expect_quit(sink)
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=0, aborted=1)

    def test_scanners_that_look_in(self):
        """Port scanners and health checks: connections without a command, at any time, do no harm."""
        sink = self.sink()
        daemon = self.bivalved(sink)
        for n in range(50):
            client = daemon.client(greeting=n % 3 == 0)
            (client.reset if n % 2 else client.close)()
        daemon.wait_stats("the sessions to end", lambda s: s["connections"]["active"] == 0)
        self.expect_quit(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        sink.wait_messages(1)


if __name__ == "__main__":
    main()
