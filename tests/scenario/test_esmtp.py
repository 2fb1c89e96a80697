"""ESMTP to the letter: CHUNKING in every form, AUTH, SIZE, and commands that pass unchanged."""
import bz2
import gzip
import lzma
import re

from harness import ScenarioCase, compose, eicar, eicar_message, main, stuffed, text_message, without_header
from harness.shapes import harmless

CHUNKING = ["8BITMIME", "PIPELINING", "CHUNKING", "BINARYMIME", "SIZE 104857600"]


class Case(ScenarioCase):
    bivalve_only = True

    def session(self, extensions, settings=None, **sink_options):
        sink = self.sink(extensions=extensions, **sink_options)
        daemon = self.bivalved(sink, settings=settings)
        client = daemon.client()
        self.addCleanup(client.close)
        client.ehlo()
        return daemon, sink, client

    def envelope(self, client, parameters=""):
        self.assertReply(client.mail(parameters=parameters), 250)
        self.assertReply(client.rcpt(), 250)


class Bdat(Case):
    """RFC 3030, from a client."""

    def test_without_any_wait(self):
        """RFC 3030 section 4.2: the whole transaction, and the next one, in one write."""
        daemon, sink, client = self.session(CHUNKING)
        one, two = compose(b"one\r\n.\r\n"), compose(b"two\r\n")
        wire = b""
        for content in (one, two):
            wire += b"MAIL FROM:<ada@example.com>\r\nRCPT TO:<bob@example.net>\r\n"
            wire += b"BDAT 10\r\n" + content[:10] + b"BDAT %d LAST\r\n" % (len(content) - 10) + content[10:]
        client.send(wire + b"QUIT\r\n")
        self.assertEqual([r.code for r in client.replies(9)], [250, 250, 250, 250, 250, 250, 250, 250, 221])
        self.assertEqual([without_header(m.content) for m in sink.messages], [one, two])
        self.assertEqual([m.how for m in sink.messages], ["BDAT", "BDAT"])
        daemon.expect_messages(received=2, delivered=2)

    def test_one_byte_in_each_chunk(self):
        _, sink, client = self.session(CHUNKING)
        content = compose(b".\r\nx\r\n")
        self.envelope(client)
        client.send(b"".join(b"BDAT 1\r\n" + content[i:i + 1] for i in range(len(content))) + b"BDAT 0 LAST\r\n")
        self.assertEqual({r.code for r in client.replies(len(content) + 1)}, {250})
        self.assertEqual(without_header(sink.messages[0].content), content)

    def test_bdat_0_last_alone(self):
        daemon, sink, client = self.session(CHUNKING)
        self.envelope(client)
        self.assertReply(client.bdat(b"", last=True), 250)
        self.assertEqual(without_header(sink.messages[0].content), b"")
        daemon.expect_messages(received=1, delivered=1)

    def test_rset_between_chunks(self):
        daemon, sink, client = self.session(CHUNKING)
        self.envelope(client)
        self.assertReply(client.bdat(b"Subject: never\r\n"), 250)
        self.assertReply(client.command("RSET"), 250)
        self.assertReply(client.bdat(b"x", last=True), 503)
        content = compose(b"after all\r\n")
        self.envelope(client)
        self.assertReply(client.bdat(content, last=True), 250)
        self.assertEqual([without_header(m.content) for m in sink.messages], [content])
        daemon.expect_messages(received=1, delivered=1)

    def test_a_failed_rcpt_before(self):
        """All recipients refused: the pipelined chunks are read, refused, and not taken for commands."""
        daemon, sink, client = self.session(CHUNKING, replies={"RCPT": ["550 5.1.1 sink: nobody"]})
        trap = b"MAIL FROM:<eve@example.com>\r\nRCPT TO:<victim@example.net>\r\n"
        client.send(b"MAIL FROM:<ada@example.com>\r\nRCPT TO:<bob@example.net>\r\n"
                    b"BDAT %d\r\n" % len(trap) + trap + b"BDAT %d LAST\r\n" % len(trap) + trap + b"RSET\r\n")
        self.assertEqual([r.code for r in client.replies(5)], [250, 550, 503, 503, 250])
        self.assertNotIn(b"MAIL FROM:<eve@example.com>", sink.commands)
        self.envelope(client)
        self.assertReply(client.bdat(compose(b"x\r\n"), last=True), 250)
        daemon.expect_messages(received=1, delivered=1)

    def test_data_after_bdat_is_out_of_sequence(self):
        """RFC 3030 section 2: not in one transaction, but in one session."""
        daemon, sink, client = self.session(CHUNKING)
        self.envelope(client)
        self.assertReply(client.bdat(b"Subject: half\r\n"), 250)
        self.assertReply(client.command("DATA"), 503)
        self.assertReply(client.bdat(b"\r\nrest\r\n", last=True), 250)
        self.assertReply(client.deliver(compose(b"by DATA\r\n")), 250)
        self.envelope(client)
        self.assertReply(client.bdat(compose(b"by BDAT\r\n"), last=True), 250)
        self.assertEqual(len(sink.messages), 3)
        daemon.expect_messages(received=3, delivered=3)

    def test_after_helo(self):
        """The extension was not offered to the client: the chunk is refused and not taken for commands; DATA still works."""
        sink = self.sink(extensions=CHUNKING)
        daemon = self.bivalved(sink)
        with daemon.client() as client:
            client.helo()
            self.envelope(client)
            self.assertReply(client.bdat(b"NOOP\r\nQUIT\r\n", last=True), 502)
            self.assertReply(client.data(compose(b"x\r\n")), 250)
        self.assertEqual([m.how for m in sink.messages], ["DATA"])
        self.assertFalse([c for c in sink.commands if c.startswith((b"BDAT", b"NOOP"))])
        daemon.expect_messages(received=1, delivered=1)

    def test_to_a_server_without_chunking_after_all(self):
        _, sink, client = self.session(["8BITMIME"])
        self.assertNotIn("CHUNKING", client.extensions)
        self.assertNotIn("BINARYMIME", client.extensions)
        self.envelope(client)
        self.assertReply(client.bdat(b"RSET\r\n", last=True), 502)
        self.assertReply(client.data(compose(b"x\r\n")), 250)
        self.assertEqual(sink.messages[0].how, "DATA")
        self.assertNotIn(b"RSET", sink.commands)

    def test_a_size_that_cannot_be_read_ends_the_session(self):
        """A chunk or commands may follow, and a peer that counts differently would see a different message."""
        for line in ("BDAT", "BDAT x", "BDAT -1", "BDAT 1 FIRST", "BDAT 99999999999999999999 LAST"):
            with self.subTest(line):
                _, sink, client = self.session(CHUNKING)
                self.envelope(client)
                client.send(line.encode() + b"\r\nRSET\r\nMAIL FROM:<evil@example.com>\r\n")
                self.assertReply(client.reply(), 501)
                self.assertReply(client.reply(), 421, "4.5.0 Chunk of unknown size, closing connection")
                self.assertFalse([one for one in sink.commands if b"evil" in one])

    def test_binary_mime_is_hidden_and_refused(self):
        """clamd does not look into binary parts."""
        _, sink, client = self.session(CHUNKING)
        self.assertNotIn("BINARYMIME", client.extensions)
        for parameter in ("BODY=BINARYMIME", "SIZE=9 body=binarymime", "BODY=8BITMIME BODY=BINARYMIME"):
            self.assertReply(client.command(f"MAIL FROM:<a@example.com> {parameter}"), 555, "5.5.4 BODY=BINARYMIME is not supported")
        self.assertReply(client.command("MAIL FROM:<a@example.com> BODY=8BITMIME"), 250)
        self.assertFalse(any(b"BINARY" in command.upper() for command in sink.commands))

    def test_binary_mime_needs_chunking(self):
        """RFC 3030 section 3: such a server could not get the message."""
        _, sink, client = self.session(["8BITMIME", "BINARYMIME"], {"BinaryMime": "on"})
        self.assertNotIn("BINARYMIME", client.extensions)
        self.assertReply(client.command("MAIL FROM:<a@example.com> BODY=BINARYMIME"), 555, "5.5.4 BODY=BINARYMIME is not supported")
        self.assertFalse(any(b"BINARY" in command.upper() for command in sink.commands))

    def test_binary_mail_is_not_taken_by_data(self):
        _, sink, client = self.session(CHUNKING, {"BinaryMime": "on"})
        self.assertReply(client.command("MAIL FROM:<a@example.com> BODY=BINARYMIME"), 250)
        self.assertReply(client.command("RCPT TO:<b@example.net>"), 250)
        self.assertReply(client.command("DATA"), 503)
        self.assertReply(client.bdat(compose(b"\0\n\r"), last=True), 250)
        self.assertEqual(len(sink.messages), 1)

    def test_30_mb_in_one_chunk(self):
        daemon, sink, client = self.session(CHUNKING)
        content = text_message(30 << 20)
        self.envelope(client, " SIZE=%d" % len(content))
        self.assertReply(client.bdat(content, last=True), 250)
        self.assertTrue(without_header(sink.messages[0].content) == content)
        daemon.expect_messages(received=1, delivered=1)

    def test_infected_leaves_the_session_usable(self):
        daemon, sink, client = self.session(CHUNKING, {"Action": "bounce"})
        content = eicar_message()
        for cut in (0, 100, len(content)):
            self.envelope(client)
            if cut:
                self.assertReply(client.bdat(content[:cut]), 250)
            self.assertReply(client.bdat(content[cut:], last=True), 550)
        self.envelope(client)
        self.assertReply(client.bdat(compose(b"clean\r\n"), last=True), 250)
        self.assertReply(client.deliver(compose(b"clean too\r\n")), 250)
        self.assertEqual(len(sink.received), 2)
        daemon.expect_messages(received=5, bounced=3, delivered=2)

    def test_binary_content(self):
        """BODY=BINARYMIME: no line ends are added, and every byte is unchanged."""
        _, sink, client = self.session(CHUNKING, {"BinaryMime": "on"})
        self.assertIn("BINARYMIME", client.extensions)
        content = compose(bytes(range(256)) * 50 + b"\r\n.\r\n\n.\n\r.\r\0.\0", ["Content-Transfer-Encoding: binary"])
        self.envelope(client, " BODY=BINARYMIME")
        self.assertReply(client.bdat(content, last=True), 250)
        [message] = sink.messages
        self.assertIn(b"BODY=BINARYMIME", message.mail_line)
        self.assertEqual(message.how, "BDAT")
        self.assertEqual(without_header(message.content), content)

    def test_viruses_in_binary_parts(self):
        """clamd reads a binary part as lines of text and would not unpack it."""
        daemon = self.bivalved(self.sink(extensions=CHUNKING), self.shared_clamd(), {"BinaryMime": "on", "Action": "bounce"})
        packed = {"gz": lambda data: gzip.compress(data, mtime=0), "bz2": bz2.compress, "xz": lzma.compress, "nothing": lambda data: data}
        with daemon.client() as client:
            client.ehlo()
            for name, pack in packed.items():
                for data, expected in ((eicar(), 550), (harmless(), 250)):
                    part = (b"--BB\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + pack(data)
                            + b"\r\n--BB--\r\n")
                    with self.subTest(name, expected=expected):
                        self.envelope(client, " BODY=BINARYMIME")
                        content = compose(part, ["Content-Type: multipart/mixed; boundary=BB"])
                        self.assertReply(client.bdat(content, last=True), expected)

    def test_too_large_by_chunks(self):
        daemon, sink, client = self.session(CHUNKING, {"MaxMessageSize": "64K"})
        self.envelope(client)
        self.assertReply(client.bdat(b"x" * 60000), 250)
        self.assertReply(client.bdat(b"x" * 60000), 552)
        self.assertReply(client.bdat(b"x" * 10), 552)
        self.assertReply(client.bdat(b"", last=True), 552)
        self.envelope(client)
        self.assertReply(client.bdat(compose(b"small\r\n"), last=True), 250)
        self.assertEqual(len(sink.received), 1)
        daemon.expect_messages(received=2, rejected=1, delivered=1)

    def test_a_client_that_leaves_in_a_chunk(self):
        daemon, sink, client = self.session(CHUNKING)
        self.envelope(client)
        client.send(b"BDAT 1000 LAST\r\nhalf")
        client.close()
        daemon.wait_stats("the end", lambda s: s["connections"]["active"] == 0)
        self.assertEqual(sink.received, [])
        daemon.expect_messages(received=0, aborted=1)


class Delivery(Case):
    """By BDAT if the server has CHUNKING, however the message was received."""

    def test_data_goes_out_by_bdat(self):
        _, sink, client = self.session(CHUNKING)
        content = compose(b"..\r\n.\r\nx\r\n")
        self.assertReply(client.deliver(content), 250)
        [message] = sink.messages
        self.assertEqual((message.how, without_header(message.content)), ("BDAT", content))
        self.assertEqual([c for c in sink.commands if c.startswith(b"BDAT")], [b"BDAT 1", b"BDAT %d LAST" % (len(message.content) - 1)])

    def expect_reset(self, extensions, step, code, send):
        """The server refuses one message and may still have its transaction open; the next message must not meet it."""
        text = f"{code // 100}.7.1 sink: no"
        _, sink, client = self.session(extensions, replies={step: [f"{code} {text}"]})
        content = compose(b"x\r\n")
        client.mail()
        client.rcpt()
        self.assertReply(send(client, content), code, text)
        client.mail()
        client.rcpt()
        self.assertReply(send(client, content), 250)
        verb = "BDAT" if step == "BODY" else "DATA"
        first = [verb, verb] if verb == "BDAT" else [verb]  # for a server's first message a chunk of one byte is sent first
        self.assertEqual(sink.sessions[0].verbs(), ["EHLO", "MAIL", "RCPT", *first, "RSET", "MAIL", "RCPT", verb])
        self.assertEqual(len(sink.messages), 1)

    def test_after_a_bdat_that_was_refused(self):
        for code in (451, 554):
            for send in (lambda client, content: client.data(content),
                         lambda client, content: client.bdat(content, last=True)):
                with self.subTest(code=code):
                    self.expect_reset(CHUNKING, "BODY", code, send)

    def test_after_a_data_that_was_refused(self):
        for code in (451, 554):
            with self.subTest(code=code):
                self.expect_reset(["8BITMIME"], "DATA", code, lambda client, content: client.data(content))


class Auth(Case):
    """RFC 4954: after 334 a line is a response, whatever its text is."""

    def dialogue(self, responses, replies):
        seen = []
        # For the sink, the lines of the exchange are unknown verbs; each is answered with the next reply.
        steps = list(replies)

        def answer(_session, line):
            seen.append(line)
            return steps.pop(0)
        verbs = {"AUTH": answer, **{r.split(" ")[0].upper(): answer for r in responses}}
        daemon, sink, client = self.session(["AUTH LOGIN PLAIN", "8BITMIME"], replies=verbs)
        return seen, daemon, sink, client

    def test_several_steps(self):
        seen, _, _, client = self.dialogue(["dXNlcg==", "cGFzcw=="], ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 ok"])
        self.assertReply(client.command("AUTH LOGIN"), 334, "VXNlcm5hbWU6")
        self.assertReply(client.command("dXNlcg=="), 334, "UGFzc3dvcmQ6")
        self.assertReply(client.command("cGFzcw=="), 235, "2.7.0 ok")
        self.assertEqual(seen, [b"AUTH LOGIN", b"dXNlcg==", b"cGFzcw=="])
        self.assertReply(client.command("NOOP"), 250)

    def test_responses_that_read_as_commands(self):
        for response in ("DATA", "QUIT", "RSET", "STARTTLS", "BDAT 5 LAST"):
            with self.subTest(response=response):
                # The sink's own DATA, QUIT and BDAT would act, so a special server answers the response by the line before it.
                seen = []
                sink = _AuthServer(self)
                daemon = self.bivalved(sink.address)
                with daemon.client() as client:
                    client.ehlo()
                    self.assertReply(client.command("AUTH LOGIN"), 334)
                    self.assertReply(client.command(response), 535, "5.7.8 no")
                    self.assertReply(client.command("NOOP"), 250)
                    seen = sink.lines
                self.assertEqual(seen[1:3], [b"AUTH LOGIN", response.encode()])
                daemon.expect_messages(received=0)

    def test_cancelled_by_the_client(self):
        seen, _, _, client = self.dialogue(["*"], ["334 ", "501 5.7.0 cancelled"])
        self.assertReply(client.command("AUTH LOGIN"), 334)
        self.assertReply(client.command("*"), 501)
        self.assertEqual(seen[-1], b"*")

    def test_a_response_with_nul_never_reaches_the_server(self):
        seen, _, _, client = self.dialogue(["*"], ["334 ", "501 5.7.0 cancelled"])
        self.assertReply(client.command("AUTH PLAIN"), 334)
        self.assertReply(client.command(b"a\0b\r\n"), 501)
        self.assertEqual(seen[-1], b"*")

    def test_a_response_too_long_ends_the_exchange(self):
        """Not a 500 of our own: the server would continue waiting, and take the next command for the response."""
        seen, _, _, client = self.dialogue(["*"], ["334 ", "501 5.7.0 cancelled"])
        self.assertReply(client.command("AUTH PLAIN"), 334)
        self.assertReply(client.command(b"a" * 20000 + b"\r\n"), 501, "5.7.0 cancelled")
        self.assertEqual(seen[-1], b"*")
        self.assertReply(client.command("NOOP"), 250)

    def test_a_security_layer_is_refused(self):
        _, _, sink, client = self.dialogue([], [])
        for mechanism in ("GSSAPI", "digest-md5", "KERBEROS_V4"):
            self.assertReply(client.command(f"AUTH {mechanism} abc"), 502)
        self.assertFalse([c for c in sink.commands if c.upper().startswith(b"AUTH")])

    def test_a_binding_to_tls_is_refused(self):
        _, _, sink, client = self.dialogue([], [])
        for mechanism in ("SCRAM-SHA-256-PLUS", "x-plus"):
            self.assertReply(client.command(f"AUTH {mechanism} abc"), 504, "5.5.4 Authentication mechanism is not supported")
        self.assertFalse([c for c in sink.commands if c.upper().startswith(b"AUTH")])


class _AuthServer:
    """A server that implements AUTH as in RFC 4954: after 334 the next line is a response."""

    def __init__(self, case):
        import socket
        import threading
        self.lines = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        case.addCleanup(self.listener.close)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        with connection, connection.makefile("rwb") as stream:
            def say(line):
                stream.write(line + b"\r\n")
                stream.flush()
            say(b"220 auth.example")
            response = False
            for raw in stream:
                line = raw.rstrip(b"\r\n")
                self.lines.append(line)
                if response:
                    say(b"535 5.7.8 no")
                    response = False
                elif line.upper().startswith(b"AUTH"):
                    say(b"334 VXNlcm5hbWU6")
                    response = True
                elif line.upper().startswith(b"EHLO"):
                    say(b"250-auth.example\r\n250 AUTH LOGIN")
                elif line.upper() == b"QUIT":
                    say(b"221 bye")
                    return
                else:
                    say(b"250 ok")


class Passes(Case):
    """Commands that do not concern Bivalve pass unchanged in both directions."""

    def test_commands_and_replies(self):
        replies = {"ETRN": "458-4.0.0 unable\n458 4.0.0 to queue", "VRFY": "252 2.0.0 maybe", "EXPN": "550 5.7.1 no lists",
                   "HELP": "214-2.0.0 commands:\n214 2.0.0 none", "X-ODD": "299 yes", "XDEBUG": "501-5.5.4 one\n501 5.5.4 two"}
        _, sink, client = self.session(["ETRN", "8BITMIME"], replies=replies)
        for line in ("ETRN @example.com", "VRFY  two  blanks ", "EXPN list", "HELP me", "x-odd \t\xe4\xf6", "XDEBUG 1,2;3"):
            reply = client.command(line)
            verb = line.split()[0].upper()
            self.assertEqual(reply.raw, "".join(x + "\r\n" for x in replies[verb].split("\n")).encode())
            self.assertIn(line.encode("utf-8"), sink.commands)

    def test_smtputf8_and_dsn(self):
        _, sink, client = self.session(["8BITMIME", "SMTPUTF8", "DSN"])
        mail = "MAIL FROM:<jörg@例え.example> SMTPUTF8 BODY=8BITMIME RET=FULL ENVID=x+3Dy"
        rcpt = "RCPT TO:<用户@例え.example> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;x+C3"
        self.assertReply(client.command(mail), 250)
        self.assertReply(client.command(rcpt), 250)
        self.assertReply(client.data(compose("grüße\r\n".encode())), 250)
        [message] = sink.messages
        self.assertEqual((message.mail_line, message.rcpt_lines), (mail.encode(), [rcpt.encode()]))

    def test_lf_alone_ends_a_command(self):
        """It is sent on with CRLF: the sink waits for CRLF."""
        _, sink, client = self.session(["8BITMIME"])
        self.assertReply(client.command(b"NOOP one\n"), 250)
        client.send(b"VRFY a\nNOOP two\r\n")
        self.assertEqual([r.code for r in client.replies(2)], [502, 250])
        self.assertEqual(sink.commands[1:], [b"NOOP one", b"VRFY a", b"NOOP two"])

    def test_cr_or_nul_in_a_command_is_500(self):
        daemon, sink, client = self.session(["8BITMIME", "PIPELINING"])
        for line in (b"NOOP a\rb\r\n", b"NO\0OP\r\n", b"DATA\r\r\n", b"\rQUIT\r\n", b"MAIL FROM:<a@b>\rRCPT TO:<c@d>\r\n"):
            self.assertReply(client.command(line), 500, "5.5.2 Control character in command")
        client.send(b"NOOP\r\nRS\0ET\r\nNOOP\r\n")
        self.assertEqual([r.code for r in client.replies(3)], [250, 500, 250])
        self.assertEqual(sink.commands[1:], [b"NOOP", b"NOOP"])
        self.assertGreaterEqual(daemon.stats()["errors"]["protocol"], 6)


class Size(Case):
    """RFC 1870: the smaller of MaxMessageSize and the server's."""

    def exceed(self, extensions, settings):
        daemon, sink, client = self.session(extensions, settings)
        self.assertEqual(client.extensions["SIZE"], "50000")
        self.assertReply(client.mail(parameters=" SIZE=50001"), 552, "5.3.4 Message exceeds the size limit")
        self.assertNotIn(b"SIZE=50001", b" ".join(sink.commands))
        self.assertReply(client.deliver(text_message(50001)), 552, "5.3.4 Message exceeds the size limit")
        # A message of exactly the limit is allowed.
        self.assertReply(client.mail(parameters=" SIZE=50000"), 250)
        self.assertReply(client.rcpt(), 250)
        self.assertReply(client.data(text_message(50000)), 250)
        self.assertEqual(len(sink.received), 1)
        daemon.expect_messages(received=2, rejected=1, delivered=1)

    def test_our_limit_is_smaller(self):
        self.exceed(["SIZE 1000000"], {"MaxMessageSize": "50000"})

    def test_the_servers_limit_is_smaller(self):
        self.exceed(["SIZE 50000"], {"MaxMessageSize": "1M"})

    def test_the_rest_is_read_and_thrown_away(self):
        daemon, sink, client = self.session(["SIZE 1000000"], {"MaxMessageSize": "50000"})
        self.envelope(client)
        self.assertReply(client.command("DATA"), 354)
        client.send(stuffed(text_message(20 << 20)) + b".\r\nMAIL FROM:<b@example.com>\r\n")
        self.assertEqual([r.code for r in client.replies(2)], [552, 250])
        self.assertEqual(sink.received, [])

    def test_the_parameter_is_cut_for_a_server_without_size(self):
        _, sink, client = self.session(["8BITMIME"])
        for given, sent in (("MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME", "MAIL FROM:<a@b.example> BODY=8BITMIME"),
                            ("MAIL FROM:<a@b.example>\tsize=5", "MAIL FROM:<a@b.example>"),
                            ("MAIL FROM:<a@b.example>SIZE=5", "MAIL FROM:<a@b.example>")):
            client.command(given)
            self.assertEqual(sink.commands[-1], sent.encode())
            client.command("RSET")


class Switches(Case):
    """Bytes that arrived before a switch are not used after it."""

    def test_commands_behind_starttls_are_commands(self):
        """There is no switch: 502, and the following commands are answered in clear text."""
        _, sink, client = self.session(["STARTTLS", "8BITMIME"])
        replies = client.pipeline(["STARTTLS", "NOOP inside", "RSET"])
        self.assertEqual([r.code for r in replies], [502, 250, 250])
        self.assertNotIn(b"STARTTLS", sink.commands)

    def test_commands_behind_xclient_are_commands(self):
        _, sink, client = self.session(["XCLIENT ADDR", "8BITMIME"])
        self.assertEqual([r.code for r in client.pipeline(["XCLIENT ADDR=192.0.2.9", "NOOP"])], [554, 250])
        self.assertFalse([c for c in sink.commands if c.startswith(b"XCLIENT")])

    def test_a_reply_that_nobody_asked_for_ends_the_session(self):
        """It would be taken for the reply to the next command."""
        daemon, sink, client = self.session(["8BITMIME"], replies={"NOOP": b"250 ok\r\n250 and one more\r\n"})
        client.send(b"NOOP\r\nMAIL FROM:<ada@example.com>\r\n")
        self.assertReply(client.reply(), 250, "ok")
        self.assertRegex(str(client.reply()), r"^421 4\.3\.0 ")
        client.wait_closed()
        self.assertFalse([c for c in sink.commands if c.startswith(b"MAIL")])

    def test_354_to_another_command_ends_the_session(self):
        _, _, client = self.session(["8BITMIME"], replies={"NOOP": "354 go ahead"})
        self.assertRegex(str(client.command("NOOP")), r"^421 4\.3\.0 ")
        client.wait_closed()


if __name__ == "__main__":
    main()
