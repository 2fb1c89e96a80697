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
            b"EHLO m=x.example",
            b"XCLIENT NAME=[UNAVAILABLE] ADDR=127.0.0.1 PORT=%d PROTO=ESMTP HELO=m+3Dx.example "
            b"DESTADDR=127.0.0.1 DESTPORT=%d" % (port, daemon.port.number),
            b"EHLO m=x.example", b"MAIL FROM:<ada@example.com>"])
        self.assertEqual(sum(line.startswith(b"XCLIENT") for line in sink.commands), 1)

    def test_a_client_that_says_helo(self):
        sink, daemon = self.start(["XCLIENT PROTO ADDR"])
        with daemon.client() as client:
            self.assertReply(client.helo("old.example"), 250, "smtp.passthru")
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(sink.commands[:3], [b"EHLO old.example", b"XCLIENT PROTO=SMTP ADDR=127.0.0.1", b"HELO old.example"])

    def test_ipv6(self):
        sink, daemon = self.start(["XCLIENT ADDR"], host="::1")
        with daemon.client() as client:
            client.ehlo()
        self.assertEqual(sink.commands[1], b"XCLIENT ADDR=IPV6:::1")

    def test_a_server_that_does_not_offer_it(self):
        for extensions in (["8BITMIME"], ["XCLIENT NAME"]):
            with self.subTest(extensions=extensions):
                sink, daemon = self.start(extensions)
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.deliver(compose(b"x\r\n")), 250)
                self.assertFalse([line for line in sink.commands if line.startswith(b"XCLIENT")])

    def test_a_server_that_refuses_it(self):
        """Not authorized is no reason to lose mail; the log says what to set."""
        sink, daemon = self.start(replies={"XCLIENT": ["550 5.7.0 Insufficient authorization"]})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        daemon.wait_log("the mail server refused XCLIENT: 550 5.7.0 Insufficient authorization")
        self.assertEqual(len(sink.messages), 1)

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
        sink, daemon = self.start(replies={"EHLO": ["501 5.5.2 bad name", "501 5.5.2 bad name"]})
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
