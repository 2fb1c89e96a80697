"""EHLO: pipelining, and which of the server's extensions are shown or hidden."""
from harness import ScenarioCase, compose, main, stuffed, without_header


class Pipelining(ScenarioCase):
    """RFC 2920: whole groups of commands in one packet, replies in order."""

    bivalve_only = True

    def test_is_offered_whatever_the_server_has(self):
        for extensions in (["SIZE 1000"], ["PIPELINING", "SIZE 1000"]):
            daemon = self.bivalved(self.sink(extensions=extensions))
            with daemon.client() as client:
                client.ehlo()
                self.assertIn("PIPELINING", client.extensions)

    def check_groups(self, extensions):
        sink = self.sink(extensions=extensions)
        daemon = self.bivalved(sink)
        first, second = compose(b"first\r\n.dot\r\n"), compose(b"second\r\n")
        with daemon.client() as client:
            client.ehlo()
            codes = [r.code for r in client.pipeline(
                ["MAIL FROM:<one@example.com>", "RCPT TO:<a@example.net>", "RCPT TO:<b@example.net>", "DATA"])]
            self.assertEqual(codes, [250, 250, 250, 354])
            # In one write: the content, and after its dot the whole next envelope.
            client.send(stuffed(first) + b".\r\nMAIL FROM:<two@example.com>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n")
            self.assertEqual([r.code for r in client.replies(4)], [250, 250, 250, 354])
            client.send(stuffed(second) + b".\r\nNOOP\r\nQUIT\r\n")
            self.assertEqual([r.code for r in client.replies(3)], [250, 250, 221])
            client.wait_closed()
        one, two = sink.messages
        self.assertEqual(without_header(one.content), first)
        self.assertEqual((two.sender, two.recipients), ("two@example.com", ["c@example.net"]))
        self.assertEqual(without_header(two.content), second)
        daemon.expect_messages(received=2, delivered=2)

    def test_groups_to_a_server_with_pipelining(self):
        self.check_groups(["PIPELINING", "8BITMIME"])

    def test_groups_to_a_server_without_pipelining(self):
        self.check_groups(["8BITMIME"])

    def test_groups_to_a_server_with_chunking(self):
        self.check_groups(["PIPELINING", "CHUNKING"])

    def test_group_with_all_recipients_refused(self):
        for extensions in (["PIPELINING"], []):
            with self.subTest(extensions=extensions):
                sink = self.sink(extensions=["8BITMIME", *extensions], replies={"RCPT": "550 5.1.1 sink: nobody"})
                daemon = self.bivalved(sink)
                with daemon.client() as client:
                    client.ehlo()
                    replies = client.pipeline(["MAIL FROM:<ada@example.com>", "RCPT TO:<a@example.net>",
                                               "RCPT TO:<b@example.net>", "DATA"])
                    self.assertEqual([r.code for r in replies[:3]], [250, 550, 550])
                    self.assertGreaterEqual(replies[3].code, 400)
                    self.assertReply(client.command("RSET"), 250)
                    self.assertReply(client.quit(), 221)
                self.assertEqual(sink.received, [])
                daemon.expect_messages(received=0)

    def test_group_with_one_recipient_of_three(self):
        sink = self.sink(extensions=["PIPELINING"], replies={"RCPT": ["550 no", None, "451 later"]})
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            replies = client.pipeline(["MAIL FROM:<ada@example.com>", "RCPT TO:<a@example.net>",
                                       "RCPT TO:<b@example.net>", "RCPT TO:<c@example.net>", "DATA"])
            self.assertEqual([r.code for r in replies], [250, 550, 250, 451, 354])
            client.content(compose(b"x\r\n"))
            self.assertReply(client.reply(), 250)
        self.assertEqual(sink.messages[0].recipients, ["b@example.net"])

    def test_many_recipients_in_one_group(self):
        recipients = [f"user{i}@example.net" for i in range(1000)]
        sink = self.sink(extensions=["PIPELINING"])
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            replies = client.pipeline(["MAIL FROM:<ada@example.com>", *(f"RCPT TO:<{r}>" for r in recipients), "DATA"])
            self.assertEqual({r.code for r in replies[:-1]}, {250})
            self.assertReply(replies[-1], 354)
            client.content(compose(b"x\r\n"))
            self.assertReply(client.reply(), 250)
        self.assertEqual(sink.messages[0].recipients, recipients)

    def test_commands_in_pieces(self):
        """Line ends, verbs and arguments split over segments at every byte."""
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.send_slowly(b"EHLO client.example\r\n")
            self.assertReply(client.reply(), 250)
            client.send_slowly(b"MAIL FROM:<ada@example.com>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n")
            self.assertEqual([r.code for r in client.replies(3)], [250, 250, 354])
            client.content(compose(b"slow\r\n..\r\n"), slowly=True)
            self.assertReply(client.reply(), 250)
            client.send_slowly(b"QUIT\r\n")
            self.assertReply(client.reply(), 221)
        self.assertEqual(without_header(sink.messages[0].content), compose(b"slow\r\n..\r\n"))


class Extensions(ScenarioCase):
    """The server's extensions are shown, except those that would pass the scanner by."""

    bivalve_only = True
    HIDDEN = ["STARTTLS", "XCLIENT NAME ADDR PROTO HELO", "XEXCH50", "CHECKPOINT", "BURL imap://x", "TURN", "ATRN",
              "X_PIPE_CONNECT", "X-EXPS GSSAPI NTLM", "X-ANONYMOUSTLS", "X-LINK2STATE", "XSHADOW", "XPROXY", "X-STRANGE one"]

    def test_shows_the_servers_own(self):
        own = ["8BITMIME", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES", "LIMITS RCPTMAX=100", "VRFY", "ETRN",
               "XFORWARD NAME ADDR PROTO HELO SOURCE PORT", "AUTH PLAIN LOGIN"]
        daemon = self.bivalved(self.sink(extensions=own))
        with daemon.client() as client:
            reply = client.ehlo()
            self.assertLessEqual(set(own), set(reply.lines))

    def test_hides_what_goes_by_the_scanner(self):
        daemon = self.bivalved(self.sink(extensions=["8BITMIME", *self.HIDDEN, "AUTH PLAIN GSSAPI DIGEST-MD5"]))
        with daemon.client() as client:
            client.ehlo()
            for line in self.HIDDEN:
                self.assertNotIn(line.split()[0], client.extensions)
            self.assertIn("8BITMIME", client.extensions)
            self.assertEqual(client.extensions["AUTH"], "PLAIN")

    def test_refuses_hidden_commands(self):
        sink = self.sink(extensions=["8BITMIME", *self.HIDDEN])
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            for line in ("STARTTLS", "starttls", "XEXCH50 100 2", "BURL imap://x LAST", "TURN", "ATRN example.com",
                         "CHECKPOINT 1", "X-EXPS NTLM", "X-ANONYMOUSTLS", "X-LINK2STATE FIRST", "XSHADOW x", "XBLOB 10",
                         "STARTTLS:", "X-EXPS:", "CHECKPOINT;"):
                self.assertRegex(str(client.command(line)), r"^502 (5\.5\.1 )?Command not implemented$", line)
            self.assertRegex(str(client.command("XCLIENT ADDR=192.0.2.9")),
                             r"^554 (5\.7\.0 )?Insufficient authorization$")
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        for line in sink.commands:
            self.assertNotRegex(line.upper(), rb"STARTTLS|XEXCH50|BURL|TURN|ATRN|XCLIENT|CHECKPOINT|X-|XSHADOW|XBLOB")

    def test_refuses_bdat_where_the_server_has_no_chunking(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            self.assertNotIn("CHUNKING", client.extensions)
            client.mail()
            client.rcpt()
            self.assertRegex(str(client.command("BDAT 0 LAST")), r"^50[0-9] ")

    def test_size_is_the_smaller_one(self):
        for server, own, shown in (("SIZE 5000", "1M", "5000"), ("SIZE 50000000", "1M", "1048576"),
                                   (None, "1M", "1048576"),
                                   ("SIZE 0", "2K", "2048"), ("SIZE", "2K", "2048"), ("SIZE 700", "0", "700")):
            with self.subTest(server=server, own=own):
                daemon = self.bivalved(self.sink(extensions=["8BITMIME", *([server] if server else [])]),
                                       settings={"MaxMessageSize": own})
                with daemon.client() as client:
                    client.ehlo()
                    self.assertEqual(client.extensions.get("SIZE"), shown)

    def test_passes_xforward(self):
        sink = self.sink(extensions=["XFORWARD NAME ADDR PROTO HELO"])
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.command("XFORWARD NAME=mx.example ADDR=192.0.2.1"), 250, "2.0.0 sink: XFORWARD ok")
        self.assertIn(b"XFORWARD NAME=mx.example ADDR=192.0.2.1", sink.commands)

    def test_its_own_replies_have_enhanced_codes_when_the_server_has(self):
        daemon = self.bivalved(self.sink(extensions=["ENHANCEDSTATUSCODES"]))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.command("STARTTLS"), 502, "5.5.1 Command not implemented")


if __name__ == "__main__":
    main()
