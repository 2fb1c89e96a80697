"""Clean mail: the dialogue of one session, its limits, and the addresses on both sides."""
from harness import ScenarioCase, SmtpClient, compose, free_port, log_line, main, text_message, without_header


class Dialogue(ScenarioCase):
    """Commands go to the server, its replies come back unchanged, and the transaction state is the server's."""

    def test_greets_in_its_own_name(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            self.assertReply(client.greeting, 220, "smtp.passthru")
            self.assertEqual(client.ehlo().lines[0], "smtp.passthru")
            self.assertReply(client.helo(), 250)

    def test_delivers_a_clean_message(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        content = compose(b"Hello.\r\n")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.mail("ada@example.com"), 250, "2.0.0 sink: MAIL ok")
            self.assertReply(client.rcpt("bob@example.net"), 250, "2.0.0 sink: RCPT ok")
            self.assertReply(client.rcpt("cy@example.net"), 250)
            self.assertReply(client.command("DATA"), 354, "Start mail input; end with <CRLF>.<CRLF>")
            client.content(content)
            self.assertReply(client.reply(), 250, "2.0.0 sink: queued as 1")
            self.assertReply(client.quit(), 221, "2.0.0 sink: bye")
        [message] = sink.messages
        self.assertEqual(message.sender, "ada@example.com")
        self.assertEqual(message.recipients, ["bob@example.net", "cy@example.net"])
        self.assertEqual(without_header(message.content), content)
        daemon.expect_messages(received=1, delivered=1, clean=1, infected=0, aborted=0)
        sink.wait_sessions_closed()

    def test_logs_to_the_letter(self):
        daemon = self.bivalved(self.sink())
        with daemon.client() as client:
            client.ehlo()
            client.deliver(compose(b"Hello.\r\n"), "a@example.com", ["b@example.net", "c@example.net"])
            client.quit()
        first = daemon.wait_log(log_line("accepted connection from: 127.0.0.1")).group(1)
        second = daemon.wait_log(
            log_line("from=a@example.com, to=b@example.net, to=c@example.net, status=CLEAN")).group(1)
        self.assertEqual(first, second, "one session, one number")
        self.assertEqual(len([x for x in daemon.process.lines if "status=" in x]), 1)

    def test_a_client_cannot_forge_a_log_line(self):
        daemon = self.bivalved(self.sink())
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd does not escape")
        with daemon.client() as client:
            client.ehlo()
            client.deliver(compose(b"x\r\n"), "a\x1b[31m\x07\tb@example.com")
        line = daemon.wait_log(r"status=CLEAN").string
        self.assertNotRegex(line, r"[\x00-\x1f\x7f]")
        self.assertIn("b@example.com", line)

    def test_two_transactions_in_one_session(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"one\r\n"), "one@example.com", ["1@example.net"]), 250)
            self.assertReply(client.deliver(compose(b"two\r\n"), "two@example.com", ["2@example.net"]), 250)
            client.quit()
        one, two = sink.messages
        self.assertEqual((one.sender, one.recipients), ("one@example.com", ["1@example.net"]))
        self.assertEqual((two.sender, two.recipients), ("two@example.com", ["2@example.net"]))
        self.assertIs(one.session, two.session)
        daemon.wait_log(log_line("from=two@example.com, to=2@example.net, status=CLEAN"))
        daemon.expect_messages(received=2, delivered=2)

    def test_relays_replies_word_for_word(self):
        replies = {
            "MAIL": "250-2.1.0 line one\n250-\n250-2.1.0   spaced  out \n250 2.1.0 end",
            "RCPT": ["550-5.1.1 nobody of that name\n550-5.1.1 see http://sink.example/\n550 5.1.1 sorry",
                     "251 forwarded"],
            "VRFY": "252-2.5.2 cannot tell\n252 2.5.2 try",
            "NOOP": "250-yawn\n250 ok",
            "BODY": "250-2.0.0 taken\n250-2.0.0 with thanks\n250 2.0.0 queued as X",
            "QUIT": "221-bye\n221 bye",
        }
        sink = self.sink(replies=dict(replies))
        daemon = self.bivalved(sink)

        def raw(text):
            return "".join(line + "\r\n" for line in text.split("\n")).encode()
        with daemon.client() as client:
            client.ehlo()
            self.assertEqual(client.command("VRFY bob").raw, raw(replies["VRFY"]))
            self.assertEqual(client.command("NOOP").raw, raw(replies["NOOP"]))
            self.assertEqual(client.command("XYZZY now").raw, b"502 5.5.1 sink: no such command\r\n")
            self.assertEqual(client.mail().raw, raw(replies["MAIL"]))
            self.assertEqual(client.rcpt("no@example.net").raw,
                             raw("550-5.1.1 nobody of that name\n550-5.1.1 see http://sink.example/\n550 5.1.1 sorry"))
            self.assertEqual(client.rcpt("bob@example.net").raw, b"251 forwarded\r\n")
            self.assertEqual(client.data(compose(b"x\r\n")).raw, raw(replies["BODY"]))
            self.assertEqual(client.quit().raw, raw(replies["QUIT"]))
        self.assertIn(b"XYZZY now", sink.commands)
        [message] = sink.messages
        self.assertEqual(message.recipients, ["bob@example.net"])

    def test_passes_parameters_on(self):
        sink = self.sink(extensions=["8BITMIME", "SIZE 1000000", "DSN"])
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            client.command("MAIL FROM:<ada@example.com> BODY=8BITMIME RET=HDRS ENVID=abc")
            client.command("RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.net")
            self.assertReply(client.data(compose(b"x\r\n")), 250)
        [message] = sink.messages
        self.assertEqual(message.mail_line, b"MAIL FROM:<ada@example.com> BODY=8BITMIME RET=HDRS ENVID=abc")
        self.assertEqual(message.rcpt_lines,
                         [b"RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.net"])

    def test_takes_the_null_sender(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"bounce\r\n"), ""), 250)
        self.assertEqual(sink.messages[0].sender, "")
        daemon.wait_log(log_line("from=<>, to=bob@example.net, status=CLEAN"))

    def test_refused_recipients_and_a_good_one(self):
        sink = self.sink(replies={"RCPT": ["550 5.1.1 sink: no such user", None, "452 4.5.3 sink: too many"]})
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            client.mail()
            self.assertReply(client.rcpt("no@example.net"), 550, "5.1.1 sink: no such user")
            self.assertReply(client.rcpt("yes@example.net"), 250)
            self.assertReply(client.rcpt("later@example.net"), 452, "4.5.3 sink: too many")
            self.assertReply(client.data(compose(b"x\r\n")), 250)
        self.assertEqual(sink.messages[0].recipients, ["yes@example.net"])

    def test_no_data_without_a_recipient(self):
        """A 354 here would make the client send a message that the server cannot take."""
        sink = self.sink(replies={"RCPT": ["550 5.1.1 sink: no such user"]})
        daemon = self.bivalved(sink)
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd answers 354 to every DATA")
        with daemon.client() as client:
            client.ehlo()
            self.assertGreaterEqual(client.command("DATA").code, 400, "DATA without MAIL")
            client.mail()
            self.assertGreaterEqual(client.command("DATA").code, 400, "DATA without RCPT")
            self.assertReply(client.command("RSET"), 250)
            client.mail()
            self.assertReply(client.rcpt("no@example.net"), 550)
            self.assertGreaterEqual(client.command("DATA").code, 400, "DATA after a refused RCPT")
            self.assertReply(client.command("RSET"), 250)
            self.assertReply(client.deliver(compose(b"after all\r\n")), 250)
            client.quit()
        self.assertEqual(len(sink.messages), 1)
        daemon.expect_messages(received=1, delivered=1)

    def test_no_data_after_refused_mail(self):
        sink = self.sink(replies={"MAIL": ["550 5.7.1 sink: not you"],
                                  "RCPT": lambda s, _: None if s.mail_line else "503 5.5.1 sink: MAIL first"})
        daemon = self.bivalved(sink)
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd answers 354 to every DATA")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.mail("eve@example.com"), 550, "5.7.1 sink: not you")
            self.assertReply(client.rcpt(), 503)
            self.assertGreaterEqual(client.command("DATA").code, 400)
            self.assertReply(client.deliver(compose(b"x\r\n"), "ada@example.com"), 250)
        self.assertEqual([m.sender for m in sink.messages], ["ada@example.com"])
        daemon.wait_log(r"from=ada@example\.com, to=bob@example\.net, status=CLEAN$")

    def test_rset_forgets_the_transaction(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.ehlo()
            client.mail("old@example.com")
            client.rcpt("old@example.net")
            self.assertReply(client.command("RSET"), 250, "2.0.0 sink: RSET ok")
            if daemon.is_bivalve:
                self.assertGreaterEqual(client.command("DATA").code, 400)
            self.assertReply(client.deliver(compose(b"x\r\n"), "new@example.com", ["new@example.net"]), 250)
        [message] = sink.messages
        self.assertEqual((message.sender, message.recipients), ("new@example.com", ["new@example.net"]))
        daemon.wait_log(log_line("from=new@example.com, to=new@example.net, status=CLEAN"))

    def test_ehlo_forgets_the_transaction(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd answers 354 to every DATA")
        with daemon.client() as client:
            client.ehlo()
            client.mail("old@example.com")
            client.rcpt("old@example.net")
            client.ehlo()
            self.assertGreaterEqual(client.command("DATA").code, 400)
        self.assertEqual(sink.received, [])

    def test_helo_works_as_well(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            self.assertReply(client.helo(), 250)
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
            self.assertReply(client.quit(), 221)
        self.assertEqual(len(sink.messages), 1)

    def test_verbs_in_any_case_and_with_spaces(self):
        sink = self.sink()
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            self.assertReply(client.command("ehlo client.example"), 250)
            self.assertReply(client.command("mail from:<ada@example.com>"), 250)
            self.assertReply(client.command("Rcpt To:<bob@example.net>"), 250)
            self.assertReply(client.command("dAtA"), 354)
            client.content(compose(b"x\r\n"))
            self.assertReply(client.reply(), 250)
            self.assertReply(client.command("quit"), 221)
        self.assertEqual(len(sink.messages), 1)

    def test_a_line_too_long_is_refused(self):
        daemon = self.bivalved(self.sink())
        if not daemon.is_bivalve:
            self.skipTest("clamsmtpd has limits of its own")
        with daemon.client() as client:
            client.ehlo()
            client.send(b"VRFY " + b"x" * 20000 + b"\r\n")
            self.assertRegex(str(client.reply()), r"^500 (5\.5\.2 )?Line too long")

    def test_the_server_refuses_the_message(self):
        """The server's own 4xx and 5xx, to DATA and to the end of data, are passed to the client."""
        for step, reply in (("DATA", "451 4.3.2 sink: not now"), ("DATA", "554 5.3.2 sink: never"),
                            ("BODY", "452 4.3.1 sink: no room"), ("BODY", "550-5.7.1 sink: spam\n550 5.7.1 sink: go")):
            with self.subTest(step=step, reply=reply):
                sink = self.sink(replies={step: [reply]})
                daemon = self.bivalved(sink)
                with daemon.client() as client:
                    client.ehlo()
                    answer = client.deliver(compose(b"x\r\n"))
                    self.assertEqual(answer.raw.decode(), "".join(x + "\r\n" for x in reply.split("\n")))
                    self.assertReply(client.deliver(compose(b"again\r\n")), 250)
                    client.quit()
                self.assertEqual(len(sink.messages), 1)
                daemon.expect_messages(received=2, refused=1, delivered=1)


class Limits(ScenarioCase):
    """Anything that is too large, or could be read as two messages, is refused without harm to the session."""

    bivalve_only = True

    def test_a_message_too_large(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"MaxMessageSize": "64K"})
        with daemon.client() as client:
            client.ehlo()
            reply = client.deliver(text_message(200 * 1024))
            self.assertRegex(str(reply), r"^552 ")
            self.assertReply(client.command("RSET"), 250)
            self.assertReply(client.deliver(text_message(60 * 1024)), 250)
            self.assertReply(client.quit(), 221)
        self.assertEqual(len(sink.messages), 1)
        self.assertEqual(len(sink.received), 1)
        daemon.expect_messages(received=2, delivered=1, rejected=1)
        daemon.wait_log(r"from=ada@example\.com, to=bob@example\.net, status=REJECTED:\S")

    def test_a_size_announced_too_large(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"MaxMessageSize": "64K"})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.mail(parameters=" SIZE=1000000"), 552)
            self.assertReply(client.mail(parameters=" SIZE=1000"), 250)
        daemon.expect_messages(received=0)

    def test_what_some_server_reads_as_two_messages(self):
        """SMTP smuggling: a dot line whose line ends are not both CRLF."""
        for middle in (b"\n.\r\n", b"\r\n.\n", b"\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\r\n.\r\r\n",
                       b"\r\n\0.\r\n", b"\r\n.\0\r\n"):
            with self.subTest(middle=middle):
                sink = self.sink()
                daemon = self.bivalved(sink)
                smuggled = (b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n"
                            b"Subject: 2\r\n\r\nevil")
                with daemon.client() as client:
                    client.ehlo()
                    client.begin_data()
                    client.send(compose(b"one") + middle + smuggled + b"\r\n.\r\n")
                    self.assertRegex(str(client.reply()), r"^550 ")
                    self.assertReply(client.command("NOOP"), 250)
                self.assertEqual(sink.received, [])
                daemon.expect_messages(received=1, rejected=1, delivered=0)

    def test_bare_newlines_rejected_on_request(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"BareNewline": "reject"})
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"a\nb\r\n")), 550)
            self.assertReply(client.deliver(compose(b"a\rb\r\n")), 550)
            self.assertReply(client.deliver(compose(b"fine\r\n")), 250)
        self.assertEqual(len(sink.received), 1)
        daemon.expect_messages(received=3, rejected=2, delivered=1)

    def test_too_many_connections(self):
        sink = self.sink()
        daemon = self.bivalved(sink, settings={"MaxConnections": 3})
        clients = [daemon.client() for _ in range(3)]
        try:
            for client in clients:
                self.assertReply(client.greeting, 220)
            with daemon.client() as late:
                self.assertReply(late.greeting, 421, "4.3.2 Server busy, too many connections")
                late.wait_closed()
            clients.pop().quit()
            daemon.wait_stats("a free place", lambda s: s["connections"]["active"] == 2)
            with daemon.client() as next_one:
                self.assertReply(next_one.greeting, 220)
            self.assertGreaterEqual(daemon.stats()["connections"]["refused_busy"], 1)
        finally:
            for client in clients:
                client.close()

    def test_a_silent_client_is_told_and_left(self):
        daemon = self.bivalved(self.sink(), settings={"TimeOut": 1})
        with daemon.client() as client:
            client.ehlo()
            self.assertRegex(str(client.reply()), r"^421 4\.4\.2 ")
            client.wait_closed()


class Addresses(ScenarioCase):
    """Listening and connecting by IPv4 and IPv6, on several addresses."""

    bivalve_only = True

    def test_ipv6_on_both_sides(self):
        sink = self.sink(host="::1")
        daemon = self.bivalved(sink, host="::1")
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"six\r\n")), 250)
        self.assertEqual(len(sink.messages), 1)
        daemon.wait_log(log_line("accepted connection from: ::1"))

    def test_several_listeners(self):
        other = free_port()
        self.addCleanup(other.release)
        sink = self.sink()
        daemon = self.bivalved(sink, start=False)
        daemon.settings["Listen"] = [str(daemon.port), str(other)]
        daemon.start()
        for address in (daemon.address, other.pair):
            with SmtpClient(address) as client:
                client.ehlo()
                self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(sink.messages), 2)

    def test_port_only_connects_back_to_the_client(self):
        sink = self.sink()
        daemon = self.bivalved(str(sink.port.number))
        with daemon.client() as client:
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(sink.messages), 1)

    def test_a_name_as_the_server(self):
        sink = self.sink()
        daemon = self.bivalved(f"localhost:{sink.port.number}")
        with daemon.client() as client:
            self.assertReply(client.greeting, 220)
            client.ehlo()
            self.assertReply(client.deliver(compose(b"x\r\n")), 250)
        self.assertEqual(len(sink.messages), 1)


if __name__ == "__main__":
    main()
