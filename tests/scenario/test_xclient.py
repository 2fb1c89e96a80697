"""XCLIENT to the server: who the client is, before its own greeting, once for each connection."""
from harness import CLOSE, ScenarioCase, compose, main


class XClient(ScenarioCase):
    bivalve_only = True

    OFFER = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"

    def start(self, extensions=None, replies=None, settings=None, host="127.0.0.1"):
        sink = self.sink(extensions=extensions or ["8BITMIME", self.OFFER], replies=replies)
        return sink, self.bivalved(sink, settings={"XClient": "on", **(settings or {})}, host=host)

    def test_before_the_clients_greeting(self):
        sink, daemon = self.start()
        with daemon.client() as client:
            port = client.socket.getsockname()[1]
            reply = client.ehlo("m=x.example")
            self.assertNotIn("XCLIENT", client.extensions)
            self.assertIn("8BITMIME", client.extensions)
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            client.ehlo("again.example")
            self.assertReply(client.deliver(compose(b"y\r\n")), 250)
            self.assertReply(client.quit(), 221)
        self.assertEqual(reply.code, 250)
        self.assertEqual(sink.commands[:4], [
            b"EHLO smtp.passthru",
            b"XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.1 PORT=%d PROTO=ESMTP HELO=m+3Dx.example "
            b"DESTADDR=127.0.0.1 DESTPORT=%d" % (port, daemon.port.number),
            b"EHLO m=x.example", b"MAIL FROM:<ada@example.com>"])
        self.assertEqual(sum(line.startswith(b"XCLIENT") for line in sink.commands), 1)

    def test_a_client_that_says_helo(self):
        sink, daemon = self.start(["XCLIENT PROTO ADDR"])
        with daemon.client() as client:
            self.assertReply(client.helo("old.example"), 250, "smtp.passthru")
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(sink.commands[:3], [b"EHLO smtp.passthru", b"XCLIENT PROTO=SMTP ADDR=127.0.0.1", b"HELO old.example"])

    def test_ipv6(self):
        sink, daemon = self.start(["XCLIENT ADDR"], host="::1")
        with daemon.client() as client:
            client.ehlo()
        self.assertEqual(sink.commands[1], b"XCLIENT ADDR=IPV6:::1")

    def refused(self, daemon, first="EHLO client.example"):
        with daemon.client() as client:
            self.assertReply(client.command(first), 421, "4.3.0 Mail server does not take the client's address, try again later")
            client.wait_closed()
        self.assertEqual(daemon.stats()["errors"]["xclient"], 1)

    def test_before_any_command(self):
        """A client without EHLO is introduced as well: otherwise it could send anywhere in our name."""
        for first in ("MAIL FROM:<ada@example.com>", "NOOP", "RSET", "VRFY x", "AUTH PLAIN x", "X-UNKNOWN", "STARTTLS", "DATA",
                      "BDAT 0 LAST"):
            with self.subTest(first=first):
                sink, daemon = self.start(["XCLIENT ADDR HELO PROTO"])
                with daemon.client() as client:
                    client.command(first)
                self.assertEqual(sink.commands[:2], [b"EHLO smtp.passthru", b"XCLIENT ADDR=127.0.0.1 PROTO=SMTP"])
                self.assertNotIn(first.encode(), sink.commands[:2])

    def test_before_mail_behind_a_greeting_that_is_refused(self):
        """The server's own refusal of a bare EHLO does not open a way around it."""
        sink, daemon = self.start(["XCLIENT ADDR"], replies={
            "EHLO": lambda session, line: "501 5.5.4 Syntax: EHLO hostname" if line == b"EHLO" else None})
        with daemon.client() as client:
            self.assertReply(client.command("EHLO"), 501, "5.5.4 Syntax: EHLO hostname")
            self.assertReply(client.mail(), 250)
        self.assertEqual(sink.commands[:4], [b"EHLO smtp.passthru", b"XCLIENT ADDR=127.0.0.1", b"EHLO",
                                             b"MAIL FROM:<ada@example.com>"])

    def test_not_before_quit(self):
        sink, daemon = self.start()
        with daemon.client() as client:
            self.assertReply(client.quit(), 221)
        self.assertEqual(sink.commands, [b"QUIT"])

    def test_a_server_that_does_not_offer_it(self):
        for extensions in (["8BITMIME"], ["XCLIENT NAME"]):
            with self.subTest(extensions=extensions):
                sink, daemon = self.start(extensions)
                self.refused(daemon)
                daemon.wait_log("the mail server does not offer XCLIENT; the client is refused")
                sink.wait_command(b"QUIT")
                self.assertEqual(sink.commands, [b"EHLO smtp.passthru", b"QUIT"])

    def test_a_server_that_refuses_it(self):
        """The client would get our own rights: with mynetworks, an open relay."""
        for reply in ("550 5.7.0 Insufficient authorization", "501 5.5.4 Bad HELO syntax", "451 4.3.0 Later",
                      "502 5.5.1 No", "250 Ok"):
            for first in ("EHLO client.example", "MAIL FROM:<ada@example.com>"):
                with self.subTest(reply=reply, first=first):
                    sink, daemon = self.start(replies={"XCLIENT": [reply]})
                    self.refused(daemon, first)
                    daemon.wait_log(f"the mail server refused XCLIENT: {reply}; the client is refused")
                    sink.wait_command(b"QUIT")
                    self.assertEqual(len(sink.commands), 3, sink.commands)

    def test_a_server_that_refuses_our_greeting(self):
        _, daemon = self.start(replies={"EHLO": ["550 5.7.1 Helo command rejected"]})
        self.refused(daemon)
        daemon.wait_log("the mail server refused EHLO: 550 5.7.1 Helo command rejected; the client is refused")

    def test_a_server_that_wants_nothing_of_the_client(self):
        """The server greets the client again, and the client gets its words."""
        for reply in ("554 5.7.1 Client host rejected", "521 5.7.1 No mail here"):
            with self.subTest(reply=reply):
                _, daemon = self.start(replies={"XCLIENT": [reply]})
                with daemon.client() as client:
                    self.assertReply(client.ehlo(), int(reply[:3]), reply[4:])
                    client.wait_closed()

    def test_allowed_all_the_same(self):
        for extensions, replies in ((["8BITMIME"], None), (None, {"XCLIENT": ["550 5.7.0 Insufficient authorization"]}),
                                    (None, {"EHLO": ["502 5.5.1 What"]})):
            with self.subTest(replies=str(replies)):
                sink, daemon = self.start(extensions, replies, {"XClientFailure": "allow"})
                with daemon.client() as client:
                    self.assertReply(client.ehlo(), 250)
                    self.assertReply(client.deliver(compose(b"x\r\n")), 250)
                daemon.wait_log("the client passes for this filter")
                self.assertEqual(len(sink.messages), 1)
                self.assertEqual(daemon.stats()["errors"]["xclient"], 0)

    def test_a_server_that_fails_at_it(self):
        for replies, text in (({"XCLIENT": ["421 4.7.0 sink: no"]}, "4.7.0 sink: no"),
                              ({"EHLO": ["421 4.3.2 sink: later"]}, "4.3.2 sink: later"),
                              ({"XCLIENT": [CLOSE]}, None), ({"XCLIENT": ["354 go"]}, None)):
            with self.subTest(replies=str(replies)):
                _, daemon = self.start(replies=replies)
                with daemon.client() as client:
                    self.assertReply(client.ehlo(), 421, text)
                    client.wait_closed()

    def test_a_greeting_that_is_refused(self):
        sink, daemon = self.start(replies={"EHLO": [None, "501 5.5.2 bad name"]})
        with daemon.client() as client:
            self.assertReply(client.ehlo("bad"), 501, "5.5.2 bad name")
            self.assertReply(client.ehlo(), 250)
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(sink.messages), 1)
        self.assertEqual(sum(line.startswith(b"XCLIENT") for line in sink.commands), 1)

    def test_off_by_default_and_never_from_a_client(self):
        for settings in ({"XClient": "off"}, {"XClient": "on"}):
            with self.subTest(settings=settings):
                sink, daemon = self.start(settings=settings)
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.command("XCLIENT ADDR=192.0.2.66"), 554)
                self.assertNotIn(b"192.0.2.66", b" ".join(sink.commands))
                self.assertEqual(sum(line.startswith(b"XCLIENT") for line in sink.commands),
                                 int(settings["XClient"] == "on"))


if __name__ == "__main__":
    main()
